/*
 * arena.c — chunks of an arena.
 */
#include "base/arena.h"

#include "base/assert.h"
#include "base/mem.h"

#include <stdint.h>

struct arena_chunk {
    struct arena_chunk *older;
    size_t size; /* bytes behind this header */
};

_Static_assert(sizeof(struct arena_chunk) % ARENA_ALIGNMENT == 0, "memory begins aligned");

static void arena_use(struct arena *arena, struct arena_chunk *chunk)
{
    arena->newest = chunk;
    arena->at = (char *)(chunk + 1);
    arena->left = chunk->size;
}

void arena_grow(struct arena *arena, size_t size)
{
    ASSERT(size < SIZE_MAX / 2);
    size = size < ARENA_CHUNK_BYTES ? ARENA_CHUNK_BYTES : size;
    struct arena_chunk *chunk = mem_alloc(sizeof(*chunk) + size);
    *chunk = (struct arena_chunk){ arena->newest, size };
    arena_use(arena, chunk);
}

void arena_reset(struct arena *arena)
{
    struct arena_chunk *kept = NULL;
    struct arena_chunk *older = NULL;
    for (struct arena_chunk *chunk = arena->newest; chunk != NULL; chunk = older) {
        older = chunk->older;
        if (kept == NULL && chunk->size == ARENA_CHUNK_BYTES) {
            kept = chunk;
        } else {
            mem_free(chunk);
        }
    }
    *arena = (struct arena){ 0 };
    if (kept != NULL) {
        kept->older = NULL;
        arena_use(arena, kept);
    }
}

void arena_free(struct arena *arena)
{
    arena_reset(arena);
    mem_free(arena->newest);
    *arena = (struct arena){ 0 };
}
