/*
 * varint.h — LEB128 unsigned integers: 7 bits a byte, low bits first.
 *
 * The reader takes untrusted bytes: it never reads past `end`, refuses more than 10 bytes and
 * values over 64 bits.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VARINT_BYTES_MAX = 10 };

static inline size_t varint_size(uint64_t value)
{
    return (size_t)(64 - __builtin_clzll(value | 1) + 6) / 7;
}

/* Writes at most VARINT_BYTES_MAX bytes; returns the byte after the last. */
static inline char *varint_write(char *to, uint64_t value)
{
    while (value >= 0x80) {
        *to++ = (char)(value | 0x80);
        value >>= 7;
    }
    *to++ = (char)value;
    return to;
}

/* Reads one; returns the byte after it, or NULL when the bytes up to `end` hold no valid varint. */
static inline const char *varint_read(const char *from, const char *end, uint64_t *out)
{
    uint64_t value = 0;
    for (unsigned shift = 0; from < end && shift < 64; shift += 7) {
        uint64_t byte = (unsigned char)*from++;
        if (shift == 63 && byte > 1) {
            return NULL;
        }
        value |= (byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            return from;
        }
    }
    return NULL;
}
