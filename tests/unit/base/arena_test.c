/*
 * arena_test.c — nothing moves or overlaps before the reset; a reset keeps one usual chunk.
 */
#include "base/arena.h"

#include "base/prng.h"
#include "test.h"

enum { PIECES = 2000 };

TEST(pieces_keep_their_bytes)
{
    struct prng prng;
    prng_init(&prng, 1);
    struct arena arena = { 0 };
    for (unsigned round = 0; round < 20; round++) {
        char *pieces[PIECES];
        size_t sizes[PIECES];
        for (unsigned i = 0; i < PIECES; i++) {
            sizes[i] = 1 + prng_below(&prng, prng_chance(&prng, 1, 100) ? 200000 : 100);
            char *reserved = arena_reserve(&arena, sizes[i]);
            pieces[i] = arena_alloc(&arena, sizes[i]);
            CHECK(pieces[i] == reserved);
            CHECK_EQ((uintptr_t)pieces[i] % ARENA_ALIGNMENT, 0);
            memset(pieces[i], (int)(i % 251), sizes[i]);
        }
        for (unsigned i = 0; i < PIECES; i++) {
            CHECK(pieces[i][0] == (char)(i % 251));
            CHECK(memcmp(pieces[i], pieces[i] + 1, sizes[i] - 1) == 0);
        }
        arena_reset(&arena);
        CHECK_EQ(arena.left, ARENA_CHUNK_BYTES);
    }
    arena_free(&arena);
    CHECK(arena.newest == NULL && arena.left == 0);
}

TEST(large_chunks_are_given_back)
{
    struct arena arena = { 0 };
    (void)arena_alloc(&arena, 1 << 20);
    CHECK_EQ(arena.left, 0);
    arena_reset(&arena);
    CHECK(arena.newest == NULL);
    arena_free(&arena);
}

TEST_MAIN
