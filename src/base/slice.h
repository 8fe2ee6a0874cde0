/*
 * slice.h — a borrowed run of bytes.  Never owns; whoever hands one out says how long it lives.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct slice {
    const char *data;
    size_t size;
};

/* A slice over a string literal or any NUL-terminated string (which it borrows). */
static inline struct slice slice_from(const char *text)
{
    return (struct slice){ text, strlen(text) };
}

static inline struct slice slice_make(const void *data, size_t size)
{
    return (struct slice){ (const char *)data, size };
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* ASCII case-insensitive comparison against a NUL-terminated word. */
bool slice_equal_nocase(struct slice a, const char *word);
