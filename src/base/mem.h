/*
 * mem.h — the heap.  mem.c is the only file that may call an allocator.
 *
 * Allocation does not fail: when the machine has no memory left the process says so in one line
 * and ends (a database that limps on after a failed allocation cannot keep its promises).  What a
 * client may cause to be allocated is bounded before it comes to that (limits.h, maxmemory).
 */
#pragma once

#include "base/compiler.h"

#include <stddef.h>

/* Uninitialised memory of `size` bytes (size > 0), owned by the caller until mem_free. */
MUST_USE void *mem_alloc(size_t size);
/* Zeroed memory. */
MUST_USE void *mem_zalloc(size_t size);
/* Zeroed memory aligned to `alignment` (a power of two); freed with mem_free. */
MUST_USE void *mem_zalloc_aligned(size_t alignment, size_t size);
/* As realloc; `memory` may be NULL. */
MUST_USE void *mem_realloc(void *memory, size_t size);
/* NULL is allowed. */
void mem_free(void *memory);
/* As mem_free, for a caller that knows the size it asked for (cheaper with jemalloc). */
void mem_free_sized(void *memory, size_t size);
/* The bytes really reserved for an allocation of `size` bytes. */
size_t mem_good_size(size_t size);
/* Bytes the process has allocated and not freed, as the allocator counts them; refreshed at most
 * when mem_stats_refresh is called (that call costs microseconds). */
size_t mem_allocated_bytes(void);
size_t mem_resident_bytes(void);
void mem_stats_refresh(void);
/* Name and version of the allocator built in. */
const char *mem_allocator_name(void);
