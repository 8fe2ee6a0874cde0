/*
 * mem.c — the heap, by jemalloc (build with ALLOCATOR=libc for the C library's).
 */
#include "base/mem.h"

#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef MINIDB_LIBC_MALLOC
#include <malloc.h>
#else
#include <jemalloc/jemalloc.h>

/* Read by jemalloc at start.  Keys lie all over the memory, so each access is a miss of the
 * translation cache with pages of 4 KiB.  No process of ours forks to copy them. */
extern const char *malloc_conf;
const char *malloc_conf = "thp:always";
#endif

NORETURN COLD static void out_of_memory(size_t size)
{
    (void)fprintf(stderr, "minidb: out of memory allocating %zu bytes\n", size);
    _Exit(1);
}

static void *checked(void *memory, size_t size)
{
    if (UNLIKELY(memory == NULL)) {
        out_of_memory(size);
    }
    return memory;
}

void *mem_alloc(size_t size)
{
    ASSERT(size > 0);
    return checked(malloc(size), size);
}

void *mem_zalloc(size_t size)
{
    ASSERT(size > 0);
    return checked(calloc(1, size), size);
}

void *mem_zalloc_aligned(size_t alignment, size_t size)
{
    ASSERT(size > 0);
    size_t rounded = (size + alignment - 1) / alignment * alignment;
    void *memory = checked(aligned_alloc(alignment, rounded), rounded);
    return memset(memory, 0, rounded);
}

void *mem_realloc(void *memory, size_t size)
{
    ASSERT(size > 0);
    return checked(realloc(memory, size), size);
}

void mem_free(void *memory)
{
    free(memory);
}

#ifdef MINIDB_LIBC_MALLOC

void mem_free_sized(void *memory, size_t size)
{
    (void)size;
    free(memory);
}

size_t mem_good_size(size_t size)
{
    return size < 24 ? 32 : (size + 8 + 15) / 16 * 16; /* glibc's chunk header and granularity */
}

size_t mem_allocated_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

size_t mem_resident_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.arena + info.hblkhd;
}

void mem_stats_refresh(void)
{
}

const char *mem_allocator_name(void)
{
    return "libc";
}

#else

void mem_free_sized(void *memory, size_t size)
{
    if (memory != NULL) {
        sdallocx(memory, size, 0);
    }
}

size_t mem_good_size(size_t size)
{
    return nallocx(size, 0);
}

static size_t stat_read(const char *name)
{
    size_t value = 0;
    size_t size = sizeof(value);
    (void)mallctl(name, &value, &size, NULL, 0);
    return value;
}

size_t mem_allocated_bytes(void)
{
    return stat_read("stats.allocated");
}

size_t mem_resident_bytes(void)
{
    return stat_read("stats.resident");
}

void mem_stats_refresh(void)
{
    size_t epoch = 1;
    (void)mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch));
}

const char *mem_allocator_name(void)
{
    return "jemalloc " JEMALLOC_VERSION;
}

#endif
