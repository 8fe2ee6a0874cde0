/*
 * text.c — numbers to text and back, glob patterns, UTF-8.
 *
 * Integers are strict: exactly the strings that print back to themselves, because Redis decides by
 * this rule whether a value is an integer.  Doubles print as the shortest decimal that reads back
 * equal, laid out as Redis 7.2 lays them out (plain digits while they are short, else 1.5e+30).
 *
 * Read next: text.h.
 */
#include "base/text.h"

#include "base/assert.h"
#include "base/compiler.h"
#include "base/endian.h"
#include "base/limits.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    DOUBLE_TEXT_BYTES_MAX = 5 << 10, /* Redis's bound on the text of a floating point number */
    DOUBLE_DIGITS_MAX = 17,          /* digits that identify any double */
    DOUBLE_DIGITS_SAFE = 15,         /* digits that any double keeps */
};

/* ── integers ────────────────────────────────────────────────────────────────────────────────── */

bool text_to_u64(struct slice text, uint64_t *out)
{
    if (text.size == 0 || text.size > TEXT_I64_BYTES_MAX) {
        return false;
    }
    if (text.data[0] == '0' && text.size > 1) {
        return false;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < text.size; i++) {
        unsigned digit = (unsigned char)text.data[i] - (unsigned)'0';
        if (digit > 9 || __builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)digit, &value)) {
            return false;
        }
    }
    *out = value;
    return true;
}

bool text_to_i64(struct slice text, int64_t *out)
{
    uint64_t value = 0;
    if (text.size == 0 || text.data[0] != '-') {
        if (!text_to_u64(text, &value) || value > INT64_MAX) {
            return false;
        }
        *out = (int64_t)value;
        return true;
    }
    text.data += 1;
    text.size -= 1;
    if (!text_to_u64(text, &value) || value == 0 || value > (uint64_t)INT64_MAX + 1) {
        return false;
    }
    *out = (int64_t)(0 - value);
    return true;
}

static unsigned decimal_digits(uint64_t value)
{
    unsigned digits = 1;
    for (; value >= 10000; value /= 10000) {
        digits += 4;
    }
    return digits + (value >= 10) + (value >= 100) + (value >= 1000);
}

size_t text_from_u64(uint64_t value, char *out)
{
    static const char pairs[201] = "00010203040506070809101112131415161718192021222324"
                                   "25262728293031323334353637383940414243444546474849"
                                   "50515253545556575859606162636465666768697071727374"
                                   "75767778798081828384858687888990919293949596979899";
    size_t size = decimal_digits(value);
    char *at = out + size;
    for (; value >= 100; value /= 100) {
        at -= 2;
        memcpy(at, &pairs[value % 100 * 2], 2);
    }
    if (value >= 10) {
        memcpy(out, &pairs[value * 2], 2);
    } else {
        *out = (char)('0' + value);
    }
    return size;
}

size_t text_from_i64(int64_t value, char *out)
{
    if (value >= 0) {
        return text_from_u64((uint64_t)value, out);
    }
    *out = '-';
    return 1 + text_from_u64(0 - (uint64_t)value, out + 1);
}

bool text_to_bytes(struct slice text, uint64_t *out)
{
    static const struct {
        const char *name;
        uint64_t factor;
    } units[] = {
        { "", 1 },        { "b", 1 },         { "k", 1000 },       { "kb", 1u << 10 },
        { "m", 1000000 }, { "mb", 1u << 20 }, { "g", 1000000000 }, { "gb", 1u << 30 },
    };
    size_t digits = 0;
    while (digits < text.size && text.data[digits] >= '0' && text.data[digits] <= '9') {
        digits++;
    }
    uint64_t value = 0;
    if (!text_to_u64((struct slice){ text.data, digits }, &value)) {
        return false;
    }
    struct slice unit = { text.data + digits, text.size - digits };
    for (size_t i = 0; i < ARRAY_COUNT(units); i++) {
        if (slice_equal_nocase(unit, units[i].name)) {
            return !__builtin_mul_overflow(value, units[i].factor, out);
        }
    }
    return false;
}

/* ── doubles ─────────────────────────────────────────────────────────────────────────────────── */

bool text_to_double(struct slice text, double *out)
{
    char copy[DOUBLE_TEXT_BYTES_MAX];
    if (text.size == 0 || text.size >= sizeof(copy) || strchr(" \t\n\v\f\r", text.data[0])) {
        return false; /* strchr finds the NUL too: a text may not begin with one */
    }
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    char *end = NULL;
    errno = 0;
    double value = strtod(copy, &end);
    if (end != copy + text.size || isnan(value)) {
        return false;
    }
    if (errno == ERANGE && (isinf(value) || value == 0)) {
        return false;
    }
    *out = value;
    return true;
}

/* The shortest digits that read back to `value` (finite, > 0): value == 0.d1d2d3... * 10^point. */
static int shortest_digits(double value, char *digits, int *out_point)
{
    char text[40];
    int count = value < DBL_MIN ? 1 : DOUBLE_DIGITS_SAFE; /* subnormals keep fewer */
    for (; count <= DOUBLE_DIGITS_MAX; count++) {
        (void)snprintf(text, sizeof(text), "%.*e", count - 1, value);
        if (count == DOUBLE_DIGITS_MAX || strtod(text, NULL) == value) {
            break;
        }
    }
    digits[0] = text[0];
    memcpy(digits + 1, text + 2, (size_t)count - 1);
    *out_point = atoi(strchr(text, 'e') + 1) + 1;
    while (count > 1 && digits[count - 1] == '0') {
        count--;
    }
    return count;
}

/* Redis's layout (fpconv): 1234500, 0.000123, 1.5e+30. */
static size_t double_layout(const char *digits, int count, int point, char *out)
{
    char *at = out;
    int zeros = point - count; /* behind the digits, were it written without an exponent */
    int exponent = point - 1;
    if (zeros >= 0 && abs(exponent) < count + 7) {
        memcpy(at, digits, (size_t)count);
        memset(at + count, '0', (size_t)zeros);
        return (size_t)point;
    }
    if (zeros < 0 && (zeros > -7 || abs(exponent) < 4)) {
        if (point <= 0) {
            at += sprintf(at, "0.%.*s", -point, "000000000");
            memcpy(at, digits, (size_t)count);
            return (size_t)(at - out) + (size_t)count;
        }
        return (size_t)sprintf(out, "%.*s.%.*s", point, digits, count - point, digits + point);
    }
    *at++ = digits[0];
    if (count > 1) {
        *at++ = '.';
        memcpy(at, digits + 1, (size_t)count - 1);
        at += count - 1;
    }
    return (size_t)(at - out) + (size_t)sprintf(at, "e%+d", exponent);
}

size_t text_from_double(double value, char *out)
{
    if (isnan(value)) {
        memcpy(out, "nan", 3);
        return 3;
    }
    size_t sign = signbit(value) ? 1 : 0;
    if (sign > 0) {
        *out = '-';
        value = -value;
    }
    if (isinf(value)) {
        memcpy(out + sign, "inf", 3);
        return sign + 3;
    }
    if (value < 0x1p52 && value == (double)(uint64_t)value) {
        return sign + text_from_u64((uint64_t)value, out + sign);
    }
    char digits[DOUBLE_DIGITS_MAX];
    int point = 0;
    int count = shortest_digits(value, digits, &point);
    size_t size = sign + double_layout(digits, count, point, out + sign);
    ASSERT(size < TEXT_DOUBLE_BYTES_MAX);
    return size;
}

/* ── glob ────────────────────────────────────────────────────────────────────────────────────── */

/* Matches one byte against the set that begins behind '[' at *at; moves *at behind the ']'.
 * An unclosed set ends with the pattern, as in Redis; ranges compare signed, as in Redis. */
static bool glob_set(struct slice pattern, size_t *at, char byte, bool ignore_case)
{
    size_t i = *at;
    bool negated = i < pattern.size && pattern.data[i] == '^';
    i += negated ? 1 : 0;
    bool found = false;
    signed char c = (signed char)(ignore_case ? text_lower(byte) : byte);
    for (; i < pattern.size && pattern.data[i] != ']'; i++) {
        const char *p = pattern.data + i;
        size_t left = pattern.size - i;
        if (*p == '\\' && left >= 2) {
            i += 1;
            found |= p[1] == byte;
            continue;
        }
        signed char low = (signed char)(ignore_case ? text_lower(*p) : *p);
        signed char high = low;
        if (left >= 3 && p[1] == '-') {
            high = (signed char)(ignore_case ? text_lower(p[2]) : p[2]);
            i += 2;
        }
        found |= low <= high ? c >= low && c <= high : c >= high && c <= low;
    }
    *at = i < pattern.size ? i + 1 : i;
    return found != negated;
}

/* Matches one byte against the pattern element at *at (not a star); moves *at behind it. */
static bool glob_one(struct slice pattern, size_t *at, char byte, bool ignore_case)
{
    char c = pattern.data[(*at)++];
    if (c == '?') {
        return true;
    }
    if (c == '[') {
        return glob_set(pattern, at, byte, ignore_case);
    }
    if (c == '\\' && *at < pattern.size) {
        c = pattern.data[(*at)++];
    }
    return ignore_case ? text_lower(c) == text_lower(byte) : c == byte;
}

bool text_glob(struct slice pattern, struct slice text, bool ignore_case)
{
    size_t p = 0;
    size_t t = 0;
    size_t star = SIZE_MAX; /* where the pattern goes on behind the last star */
    size_t star_text = 0;   /* the text that star has not swallowed */
    size_t steps = 0;
    while (t < text.size) {
        size_t begin = p;
        if (p < pattern.size && pattern.data[p] == '*') {
            star = ++p;
            star_text = t;
            if (p == pattern.size) {
                return true;
            }
        } else if (p < pattern.size && glob_one(pattern, &p, text.data[t], ignore_case)) {
            t++;
        } else if (star != SIZE_MAX) {
            steps += p - begin; /* a long set costs its length at every try */
            p = star;
            t = ++star_text;
        } else {
            return false;
        }
        steps += p > begin ? p - begin : 1;
        if (steps > TEXT_GLOB_STEPS_MAX) {
            return false;
        }
    }
    while (p < pattern.size && pattern.data[p] == '*') {
        p++;
    }
    return p == pattern.size;
}

/* ── UTF-8 ───────────────────────────────────────────────────────────────────────────────────── */

/* Bytes of the well-formed sequence at `at` (Unicode 15, table 3-7), or 0. */
static size_t utf8_sequence(const unsigned char *at, size_t left)
{
    unsigned char first = at[0];
    size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || left < size) {
        return 0;
    }
    for (size_t i = 1; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool overlong = (first == 0xe0 && at[1] < 0xa0) || (first == 0xf0 && at[1] < 0x90);
    bool surrogate = first == 0xed && at[1] > 0x9f;
    bool too_large = first == 0xf4 && at[1] > 0x8f;
    return overlong || surrogate || too_large ? 0 : size;
}

bool text_is_utf8(struct slice text)
{
    const unsigned char *at = (const unsigned char *)text.data;
    size_t left = text.size;
    while (left > 0) {
        size_t size = 1;
        if (left >= 8 && (load_u64(at) & 0x8080808080808080u) == 0) {
            size = 8;
        } else if (*at >= 0x80) {
            size = utf8_sequence(at, left);
        }
        if (size == 0) {
            return false;
        }
        at += size;
        left -= size;
    }
    return true;
}
