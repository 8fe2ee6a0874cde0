/*
 * text.h — small text routines with Redis's exact rules: integers, doubles, glob patterns, UTF-8.
 */
#pragma once

#include "base/slice.h"

#include <stdint.h>

enum {
    TEXT_I64_BYTES_MAX = 21,    /* sign, 19 digits, room for a NUL */
    TEXT_DOUBLE_BYTES_MAX = 32, /* shortest form that reads back equal */
};

static inline char text_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Strict decimal int64: no spaces, no '+', no leading zeros (but "0"), no "-0", no overflow.
 * Exactly the strings that print back to themselves.  `out` is written only on success. */
bool text_to_i64(struct slice text, int64_t *out);
/* As text_to_i64 for unsigned 64-bit (used by cursors and sizes). */
bool text_to_u64(struct slice text, uint64_t *out);
/* Finite or infinite double as Redis's INCRBYFLOAT and friends read it: the whole text, no leading
 * space, no NaN. */
bool text_to_double(struct slice text, double *out);
/* Memory sizes of configuration: 1024, 64kb, 8mb, 1gb, 1k, 1m, 1g (Redis's units). */
bool text_to_bytes(struct slice text, uint64_t *out);
/* Writes the digits (no NUL); returns their count, at most TEXT_I64_BYTES_MAX - 1. */
size_t text_from_i64(int64_t value, char *out);
size_t text_from_u64(uint64_t value, char *out);
/* Shortest decimal that reads back to the same double; inf, -inf, nan; integers without a point. No
 * NUL. */
size_t text_from_double(double value, char *out);
/* Redis's glob: * ? [set] [^set] [a-z] \escape.  Iterative, at most TEXT_GLOB_STEPS_MAX steps
 * (then it answers false), so no pattern can cost more than microseconds. */
bool text_glob(struct slice pattern, struct slice text, bool ignore_case);
/* True when the bytes are well-formed UTF-8 (no surrogates, no overlong forms). */
bool text_is_utf8(struct slice text);
