/*
 * decimal.c — adding decimal numbers as INCRBYFLOAT does.
 *
 * Read next: decimal.h (why not simply doubles).
 */
#include "command/decimal.h"

#include "base/assert.h"
#include "base/compiler.h"
#include "base/text.h"

#include <math.h>
#include <stdio.h>

enum {
    DECIMAL_PLACES = 17,       /* Redis prints with %.17Lf */
    DECIMAL_EXPONENT_MAX = 99, /* larger ones are left to doubles */
};

typedef __int128 fixed; /* a number times 10^17 */

/* Half of the range: two of them can be added. */
#define FIXED_MAX ((fixed)((unsigned __int128)-1 >> 2))

/* ── fixed point ─────────────────────────────────────────────────────────────────────────────── */

struct decimal {
    bool is_negative;
    fixed digits;    /* all digits, the point left out */
    int places;      /* of them behind the point, exponent included */
    bool is_half_up; /* digits were cut off, and the first of them was 5 or more */
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The digits and the point; returns the byte after them, NULL when there are none or too many. */
static const char *parse_digits(const char *at, const char *end, struct decimal *out)
{
    bool has_point = false;
    bool has_digits = false;
    bool is_cut = false;
    for (; at < end && (is_digit(*at) || (*at == '.' && !has_point)); at++) {
        if (*at == '.') {
            has_point = true;
            continue;
        }
        has_digits = true;
        if (out->digits > FIXED_MAX / 10 - 1) {
            /* What does not fit is dropped behind the point, and in front of it too much. */
            if (!has_point) {
                return NULL;
            }
            out->is_half_up = is_cut ? out->is_half_up : *at >= '5';
            is_cut = true;
            continue;
        }
        out->digits = out->digits * 10 + (*at - '0');
        out->places += has_point;
    }
    return has_digits ? at : NULL;
}

/* e[+-]digits; returns the end, or NULL. */
static const char *parse_exponent(const char *at, const char *end, struct decimal *out)
{
    if (at == end) {
        return end;
    }
    if (*at != 'e' && *at != 'E') {
        return NULL;
    }
    at++;
    bool is_negative = at < end && *at == '-';
    at += at < end && (*at == '-' || *at == '+');
    if (at == end) {
        return NULL;
    }
    int exponent = 0;
    for (; at < end && is_digit(*at) && exponent <= DECIMAL_EXPONENT_MAX; at++) {
        exponent = exponent * 10 + (*at - '0');
    }
    if (exponent > DECIMAL_EXPONENT_MAX) {
        return NULL;
    }
    out->places -= is_negative ? -exponent : exponent;
    return at;
}

/* Shifts the digits so that exactly 17 are behind the point, rounding half up; false when the
 * number is too large. */
static bool to_fixed(struct decimal *decimal, fixed *out)
{
    fixed value = decimal->digits;
    bool rounds_up = decimal->is_half_up;
    for (int places = decimal->places; places > DECIMAL_PLACES; places--) {
        rounds_up = value % 10 >= 5;
        value /= 10;
    }
    for (int places = decimal->places; places < DECIMAL_PLACES && value != 0; places++) {
        if (value > FIXED_MAX / 10) {
            return false;
        }
        value *= 10;
    }
    value += rounds_up;
    *out = decimal->is_negative ? -value : value;
    return true;
}

/* False: not plain decimal notation, or too large; a double may still read it. */
static bool parse_fixed(struct slice text, fixed *out)
{
    struct decimal decimal = { 0 };
    const char *at = text.data;
    const char *end = text.data + text.size;
    decimal.is_negative = at < end && *at == '-';
    at += at < end && (*at == '-' || *at == '+');
    at = parse_digits(at, end, &decimal);
    at = at == NULL ? NULL : parse_exponent(at, end, &decimal);
    return at != NULL && at == end && to_fixed(&decimal, out);
}

static size_t print_fixed(fixed value, char *out)
{
    char digits[64]; /* from the last to the first */
    size_t count = 0;
    bool is_negative = value < 0;
    unsigned __int128 rest = (unsigned __int128)(is_negative ? -value : value);
    while (rest != 0 || count <= DECIMAL_PLACES) {
        digits[count++] = (char)('0' + (int)(rest % 10));
        rest /= 10;
    }
    ASSERT(count < sizeof(digits));
    size_t last = 0; /* trailing zeros behind the point are left out */
    while (last < DECIMAL_PLACES && digits[last] == '0') {
        last++;
    }
    size_t size = 0;
    if (is_negative) {
        out[size++] = '-';
    }
    for (size_t i = count; i-- > last;) {
        out[size++] = digits[i];
        if (i == DECIMAL_PLACES && last < DECIMAL_PLACES) {
            out[size++] = '.';
        }
    }
    return size;
}

/* ── doubles ─────────────────────────────────────────────────────────────────────────────────── */

/* As Redis prints: 17 decimals, trailing zeros and a bare point left out. */
static size_t print_double(double value, char *out)
{
    int wrote = snprintf(out, DECIMAL_BYTES_MAX, "%.*f", DECIMAL_PLACES, value);
    ASSERT(wrote > 0 && wrote < DECIMAL_BYTES_MAX);
    size_t size = (size_t)wrote;
    while (out[size - 1] == '0') {
        size--;
    }
    size -= out[size - 1] == '.';
    if (size == 2 && memcmp(out, "-0", 2) == 0) {
        out[0] = '0';
        size = 1;
    }
    return size;
}

enum decimal_result decimal_add(struct slice a, struct slice b, char out[DECIMAL_BYTES_MAX],
                                size_t *out_size)
{
    fixed fixed_a = 0;
    fixed fixed_b = 0;
    if (parse_fixed(a, &fixed_a) && parse_fixed(b, &fixed_b)) {
        *out_size = print_fixed(fixed_a + fixed_b, out);
        return DECIMAL_OK;
    }
    double double_a = 0;
    double double_b = 0;
    if (!text_to_double(a, &double_a) || !text_to_double(b, &double_b)) {
        return DECIMAL_NOT_A_NUMBER;
    }
    double sum = double_a + double_b;
    if (!isfinite(sum)) {
        return DECIMAL_NOT_FINITE;
    }
    *out_size = print_double(sum, out);
    return DECIMAL_OK;
}
