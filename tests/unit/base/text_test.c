/*
 * text_test.c — integers, doubles, sizes, globs and UTF-8 against tables and slow twins.
 */
#include "base/text.h"

#include "base/limits.h"
#include "base/prng.h"
#include "test.h"

#include <math.h>

TEST(i64_table)
{
    static const struct {
        const char *text;
        bool ok;
        int64_t value;
    } rows[] = {
        { "0", true, 0 },
        { "7", true, 7 },
        { "-1", true, -1 },
        { "9223372036854775807", true, INT64_MAX },
        { "-9223372036854775808", true, INT64_MIN },
        { "9223372036854775808", false, 0 },
        { "-9223372036854775809", false, 0 },
        { "18446744073709551616", false, 0 },
        { "", false, 0 },
        { "-", false, 0 },
        { "-0", false, 0 },
        { "00", false, 0 },
        { "01", false, 0 },
        { "-01", false, 0 },
        { "+1", false, 0 },
        { " 1", false, 0 },
        { "1 ", false, 0 },
        { "1a", false, 0 },
        { "99999999999999999999999999", false, 0 },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t value = 12345;
        bool ok = text_to_i64(slice_from(rows[i].text), &value);
        CHECK_EQ(ok, rows[i].ok);
        CHECK_EQ(value, rows[i].ok ? rows[i].value : 12345);
    }
    int64_t untouched = 5;
    CHECK(!text_to_i64(slice_make("1\0", 2), &untouched));
    CHECK(!text_to_i64((struct slice){ NULL, 0 }, &untouched));
    CHECK_EQ(untouched, 5);
}

TEST(integers_round_trip)
{
    struct prng prng;
    prng_init(&prng, 1);
    for (unsigned i = 0; i < 100000; i++) {
        int64_t value = (int64_t)(prng_next(&prng) >> prng_below(&prng, 64));
        value = prng_chance(&prng, 1, 2) ? value : (int64_t)(0 - (uint64_t)value);
        char text[TEXT_I64_BYTES_MAX];
        char expected[32];
        size_t size = text_from_i64(value, text);
        int expected_size = snprintf(expected, sizeof(expected), "%" PRId64, value);
        CHECK(size == (size_t)expected_size && memcmp(text, expected, size) == 0);
        int64_t back = ~value;
        CHECK(text_to_i64(slice_make(text, size), &back));
        CHECK_EQ(back, value);
        uint64_t back_unsigned = 0;
        size = text_from_u64((uint64_t)value, text);
        expected_size = snprintf(expected, sizeof(expected), "%" PRIu64, (uint64_t)value);
        CHECK(size == (size_t)expected_size && memcmp(text, expected, size) == 0);
        CHECK(text_to_u64(slice_make(text, size), &back_unsigned));
        CHECK_EQ(back_unsigned, (uint64_t)value);
    }
}

TEST(bytes_table)
{
    static const struct {
        const char *text;
        bool ok;
        uint64_t value;
    } rows[] = {
        { "0", true, 0 },
        { "1024", true, 1024 },
        { "10b", true, 10 },
        { "1k", true, 1000 },
        { "64kb", true, 65536 },
        { "3M", true, 3000000 },
        { "8MB", true, 8u << 20 },
        { "1g", true, 1000000000 },
        { "2gb", true, 2ull << 30 },
        { "17179869183gb", true, 17179869183ull << 30 },
        { "17179869184gb", false, 0 },
        { "gb", false, 0 },
        { "-1", false, 0 },
        { "1 kb", false, 0 },
        { "1tb", false, 0 },
        { "", false, 0 },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t value = 0;
        bool ok = text_to_bytes(slice_from(rows[i].text), &value);
        CHECK_EQ(ok, rows[i].ok);
        CHECK_EQ(ok ? value : 0, rows[i].value);
    }
}

TEST(double_reading)
{
    static const char *const good[] = { "1",   "-1.5", "3e2",  "inf",  "-inf",
                                        "+2.", ".5",   "1e-9", "0x10", "infinity" };
    static const char *const bad[] = { "",   " 1",  "1 ",     "nan",     "-nan", "abc", "1.2.3",
                                       "1e", "\t1", "1e9999", "1e-9999", "--1",  "0x",  "." };
    double value = 0;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        CHECK(text_to_double(slice_from(good[i]), &value));
        CHECK(value == strtod(good[i], NULL));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK(!text_to_double(slice_from(bad[i]), &value));
    }
    CHECK(!text_to_double(slice_make("1\0", 2), &value));
    CHECK(!text_to_double(slice_make("\0", 1), &value));
    CHECK(text_to_double(slice_make("12", 1), &value) && value == 1);
    static char digits[8000];
    memset(digits, '1', sizeof(digits));
    CHECK(!text_to_double(slice_make(digits, sizeof(digits)), &value));
}

TEST(double_layout)
{
    static const struct {
        double value;
        const char *text;
    } rows[] = {
        { 0, "0" },
        { -0.0, "-0" },
        { 1, "1" },
        { -3, "-3" },
        { 1.5, "1.5" },
        { 0.1, "0.1" },
        { 3.0e2, "300" },
        { 100.5, "100.5" },
        { 1e-5, "0.00001" },
        { 1.23e-7, "1.23e-7" },
        { 5e-324, "5e-324" },
        { 1.7976931348623157e308, "1.7976931348623157e+308" },
        { 1e17, "1e+17" },
        { 123456789012345680.0, "123456789012345680" },
        { 0.30000000000000004, "0.30000000000000004" },
        { 4503599627370495.0, "4503599627370495" },
        { -1e100, "-1e+100" },
        { 3.141592653589793, "3.141592653589793" },
    };
    char text[TEXT_DOUBLE_BYTES_MAX];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t size = text_from_double(rows[i].value, text);
        CHECK(slice_equal(slice_make(text, size), slice_from(rows[i].text)));
    }
    CHECK_EQ(text_from_double(INFINITY, text), 3);
    CHECK_EQ(text_from_double(-INFINITY, text), 4);
    CHECK_EQ(text_from_double((double)NAN, text), 3);
}

TEST(doubles_round_trip)
{
    struct prng prng;
    prng_init(&prng, 2);
    for (unsigned i = 0; i < 50000; i++) {
        uint64_t bits = prng_next(&prng);
        double value = 0;
        memcpy(&value, &bits, sizeof(value));
        if (prng_chance(&prng, 1, 2)) {
            value = (double)(int64_t)prng_below(&prng, 1000000) / 1000;
        }
        if (isnan(value)) {
            continue;
        }
        char text[TEXT_DOUBLE_BYTES_MAX];
        size_t size = text_from_double(value, text);
        CHECK(size < TEXT_DOUBLE_BYTES_MAX);
        double back = 0;
        CHECK(text_to_double(slice_make(text, size), &back));
        CHECK(back == value);
    }
}

/* Redis's own algorithm, recursive, without its step limit: the dumb twin. */
static bool glob_twin(const char *p, size_t p_size, const char *t, size_t t_size, bool nocase)
{
    if (p_size == 0) {
        return t_size == 0;
    }
    if (*p == '*') {
        for (size_t i = 0; i <= t_size; i++) {
            if (glob_twin(p + 1, p_size - 1, t + i, t_size - i, nocase)) {
                return true;
            }
        }
        return false;
    }
    if (t_size == 0) {
        return false;
    }
    size_t used = 1;
    bool match = false;
    if (*p == '?') {
        match = true;
    } else if (*p == '[') {
        bool negated = p_size > 1 && p[1] == '^';
        used = negated ? 2 : 1;
        while (used < p_size && p[used] != ']') {
            char low = p[used];
            char high = low;
            if (low == '\\' && used + 1 < p_size) {
                match = match || p[used + 1] == *t;
                used += 2;
                continue;
            }
            if (used + 2 < p_size && p[used + 1] == '-') {
                high = p[used + 2];
                used += 2;
            }
            used += 1;
            char c = nocase ? text_lower(*t) : *t;
            low = nocase ? text_lower(low) : low;
            high = nocase ? text_lower(high) : high;
            match = match || (c >= low && c <= high) || (c >= high && c <= low);
        }
        used += used < p_size ? 1 : 0;
        match = match != negated;
    } else {
        used = *p == '\\' && p_size > 1 ? 2 : 1;
        match = nocase ? text_lower(p[used - 1]) == text_lower(*t) : p[used - 1] == *t;
    }
    return match && glob_twin(p + used, p_size - used, t + 1, t_size - 1, nocase);
}

TEST(glob_table)
{
    static const struct {
        const char *pattern, *text;
        bool match;
    } rows[] = {
        { "*", "", true },
        { "*", "anything", true },
        { "", "", true },
        { "", "a", false },
        { "h?llo", "hello", true },
        { "h?llo", "hllo", false },
        { "h*llo", "heeello", true },
        { "h[ae]llo", "hallo", true },
        { "h[ae]llo", "hillo", false },
        { "h[^e]llo", "hallo", true },
        { "h[^e]llo", "hello", false },
        { "h[a-b]llo", "hbllo", true },
        { "h[b-a]llo", "hallo", true },
        { "\\*", "*", true },
        { "\\*", "a", false },
        { "a**b", "axxb", true },
        { "*a*b*", "xxaxxbxx", true },
        { "[", "a", false },
        { "[a", "a", true },
        { "[^]", "a", true },
        { "a\\", "a\\", true },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bool match = text_glob(slice_from(rows[i].pattern), slice_from(rows[i].text), false);
        CHECK_EQ(match, rows[i].match);
    }
    CHECK(text_glob(slice_from("HeL[A-L]o"), slice_from("hello"), true));
    CHECK(!text_glob(slice_from("HeL[A-L]o"), slice_from("hello"), false));
}

TEST(glob_equals_twin)
{
    static const char letters[] = "aabbAB**??[]^-\\c";
    struct prng prng;
    prng_init(&prng, 3);
    unsigned matches = 0;
    for (unsigned i = 0; i < 300000; i++) {
        char pattern[10];
        char text[8];
        size_t pattern_size = prng_below(&prng, sizeof(pattern));
        size_t text_size = prng_below(&prng, sizeof(text));
        for (size_t k = 0; k < pattern_size; k++) {
            pattern[k] = letters[prng_below(&prng, sizeof(letters) - 1)];
        }
        for (size_t k = 0; k < text_size; k++) {
            text[k] = "aabbABc"[prng_below(&prng, 7)];
        }
        bool nocase = prng_chance(&prng, 1, 4);
        bool expected = glob_twin(pattern, pattern_size, text, text_size, nocase);
        matches += expected;
        CHECK_EQ(text_glob(slice_make(pattern, pattern_size), slice_make(text, text_size), nocase),
                 expected);
    }
    CHECK(matches > 1000);
}

TEST(glob_is_bounded)
{
    enum { BYTES = 1 << 20 };
    char *text = malloc(BYTES);
    memset(text, 'a', BYTES);
    CHECK(!text_glob(slice_from("a*a*a*a*a*a*a*a*a*b"), slice_make(text, BYTES), false));
    /* A set as long as the text, tried at every place. */
    text[0] = '*';
    text[1] = '[';
    CHECK(!text_glob(slice_make(text, BYTES / 2), slice_make(text + BYTES / 2, BYTES / 2), false));
    free(text);
}

TEST(utf8_table)
{
    static const struct {
        const char *text;
        bool ok;
    } rows[] = {
        { "", true },
        { "plain ascii, longer than eight bytes", true },
        { "gr\xc3\xbc\xc3\x9f", true },
        { "\xe2\x82\xac", true },
        { "\xf0\x9f\x98\x80", true },
        { "\xf4\x8f\xbf\xbf", true },
        { "\xf4\x90\x80\x80", false }, /* over U+10FFFF */
        { "\xc0\x80", false },         /* overlong NUL */
        { "\xc1\xbf", false },
        { "\xe0\x9f\xbf", false },
        { "\xf0\x8f\xbf\xbf", false },
        { "\xed\xa0\x80", false }, /* surrogate */
        { "\xed\x9f\xbf", true },
        { "\x80", false },
        { "\xff", false },
        { "12345678\xc3", false },
        { "1234567\xc3\x28", false },
        { "\xe2\x82", false },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CHECK_EQ(text_is_utf8(slice_from(rows[i].text)), rows[i].ok);
    }
}

/* Every code point encoded is accepted; every way to damage its bytes that changes the count of
 * sequences is decided as by a decoder that works bit by bit. */
TEST(utf8_all_code_points)
{
    for (uint32_t c = 0x80; c <= 0x10ffff; c += c < 0x11000 ? 1 : 17) {
        char text[4];
        size_t size = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        uint32_t left = c;
        for (size_t i = size; i-- > 1; left >>= 6) {
            text[i] = (char)(0x80 | (left & 0x3f));
        }
        text[0] = (char)((0xf00u >> size & 0xff) | left);
        CHECK_EQ(text_is_utf8(slice_make(text, size)), c < 0xd800 || c > 0xdfff);
        CHECK(!text_is_utf8(slice_make(text, size - 1)));
        CHECK(!text_is_utf8(slice_make(text + 1, size - 1)));
    }
}

TEST_MAIN
