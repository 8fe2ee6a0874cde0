/*
 * decimal.h — adding decimal numbers as INCRBYFLOAT does.
 *
 * Redis adds in the long doubles of x86 and prints 17 decimals, so 0.1 + 0.2 is 0.3 there.  Long
 * doubles differ between machines, and replicas must not.  Here numbers of usual size are added as
 * fixed-point decimals of 17 places in 128-bit integers: exact, the same everywhere, and the same
 * text as Redis's as long as that is exact (19 digits).  Numbers too large for that (over about
 * 10^20) are added as doubles.
 */
#pragma once

#include "base/slice.h"

enum { DECIMAL_BYTES_MAX = 512 }; /* a double's 309 digits, 17 decimals, sign, point */

enum decimal_result {
    DECIMAL_OK,
    DECIMAL_NOT_A_NUMBER, /* an operand is not a number */
    DECIMAL_NOT_FINITE,   /* the sum is infinite or undefined */
};

/* Writes the text of a + b (no NUL) and its size, on DECIMAL_OK only. */
enum decimal_result decimal_add(struct slice a, struct slice b, char out[DECIMAL_BYTES_MAX],
                                size_t *out_size);
