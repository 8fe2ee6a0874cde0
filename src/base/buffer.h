/*
 * buffer.h — a growable run of bytes with one owner.
 *
 * Grows by doubling; never shrinks by itself.  A zeroed struct is a valid empty buffer.
 */
#pragma once

#include "base/slice.h"

#include <stdint.h>

struct buffer {
    char *data;      /* owned; NULL while capacity is 0 */
    size_t size;     /* bytes in use */
    size_t capacity; /* bytes allocated; size <= capacity */
};

void buffer_free(struct buffer *buffer);              /* back to the empty state */
void buffer_grow(struct buffer *buffer, size_t more); /* out of line: called by buffer_reserve */
void buffer_append_text(struct buffer *buffer, const char *text);
void buffer_printf(struct buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Drops the first `count` bytes (count <= size), moving the rest down. */
void buffer_consume(struct buffer *buffer, size_t count);

/* Room for `more` bytes; returns where to write them.  The caller then adds to `size`. */
static inline char *buffer_reserve(struct buffer *buffer, size_t more)
{
    if (__builtin_expect(buffer->capacity - buffer->size < more, 0)) {
        buffer_grow(buffer, more);
    }
    return buffer->data + buffer->size;
}

static inline void buffer_append(struct buffer *buffer, const void *data, size_t size)
{
    if (size > 0) {
        memcpy(buffer_reserve(buffer, size), data, size);
        buffer->size += size;
    }
}

static inline void buffer_append_byte(struct buffer *buffer, char byte)
{
    *buffer_reserve(buffer, 1) = byte;
    buffer->size += 1;
}

static inline void buffer_append_slice(struct buffer *buffer, struct slice slice)
{
    buffer_append(buffer, slice.data, slice.size);
}

static inline struct slice buffer_slice(const struct buffer *buffer)
{
    return (struct slice){ buffer->data, buffer->size };
}
