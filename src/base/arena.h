/*
 * arena.h — memory for one pass: many small allocations, given back all at once.
 *
 * A list of chunks; the newest is cut from the front.  Nothing handed out moves before arena_reset.
 * A zeroed struct is a valid empty arena.
 */
#pragma once

#include <stddef.h>

enum { ARENA_CHUNK_BYTES = 64 << 10, ARENA_ALIGNMENT = 16 };

struct arena {
    char *at; /* the free rest of the newest chunk */
    size_t left;
    struct arena_chunk *newest; /* owned, as is the list behind it */
};

/* Gives everything back; one chunk of the usual size is kept for the next pass. */
void arena_reset(struct arena *arena);
/* Back to the empty state. */
void arena_free(struct arena *arena);
/* Out of line: called by arena_reserve. */
void arena_grow(struct arena *arena, size_t size);

/* Room for `size` bytes, aligned to 16, not yet taken: the next reserve returns the same place. */
static inline void *arena_reserve(struct arena *arena, size_t size)
{
    if (__builtin_expect(arena->left < size, 0)) {
        arena_grow(arena, size);
    }
    return arena->at;
}

/* Takes `size` bytes that were reserved. */
static inline void arena_take(struct arena *arena, size_t size)
{
    size_t rounded = (size + ARENA_ALIGNMENT - 1) & ~(size_t)(ARENA_ALIGNMENT - 1);
    rounded = rounded < arena->left ? rounded : arena->left;
    arena->at += rounded;
    arena->left -= rounded;
}

static inline void *arena_alloc(struct arena *arena, size_t size)
{
    void *memory = arena_reserve(arena, size);
    arena_take(arena, size);
    return memory;
}
