/*
 * decimal_test.c — INCRBYFLOAT's sums and RESTORE's payloads against models of their own.
 */
#include "test.h"

#include "base/endian.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/prng.h"
#include "command/decimal.h"
#include "command/rdb_string.h"

/* The sum as text, or "nan" / "inf" for the errors. */
static const char *add(const char *a, const char *b, char out[DECIMAL_BYTES_MAX + 1])
{
    size_t size = 0;
    switch (decimal_add(slice_from(a), slice_from(b), out, &size)) {
    case DECIMAL_OK:
        out[size] = '\0';
        return out;
    case DECIMAL_NOT_A_NUMBER:
        return "nan";
    case DECIMAL_NOT_FINITE:
        return "inf";
    }
    return "";
}

TEST(sums_of_every_notation)
{
    static const char *const cases[][3] = {
        { "0.1", "0.2", "0.3" },
        { "3", "1.1", "4.1" },
        { "1", "-1.1", "-0.1" },
        { "-0.5", "0.5", "0" },
        { "-0", "0", "0" },
        { "1e3", "1E-3", "1000.001" },
        { "+5", ".5", "5.5" },
        { "5.", "-.5", "4.5" },
        { "00012", "1", "13" },
        { "1e20", "1", "100000000000000000001" },
        { "-1e20", "-1", "-100000000000000000001" },
        { "1e300", "1e300", NULL },
        { "0.00000000000000001", "0", "0.00000000000000001" },
        { "0.000000000000000005", "0", "0.00000000000000001" },
        { "0.000000000000000004999999", "0", "0" },
        { "1.123456789012345678901234567890123456789012345", "0", "1.12345678901234568" },
        { "1e-99", "1", "1" },
        { "1e-5000", "1", "nan" },
        { "0x10", "1", "17" },
        { "", "1", "nan" },
        { "1", "", "nan" },
        { ".", "1", "nan" },
        { "-", "1", "nan" },
        { "e5", "1", "nan" },
        { "1e", "1", "nan" },
        { "1e+", "1", "nan" },
        { "1.2.3", "1", "nan" },
        { " 1", "1", "nan" },
        { "1 ", "1", "nan" },
        { "nan", "1", "nan" },
        { "inf", "1", "inf" },
        { "inf", "-inf", "inf" },
        { "1e308", "1e308", "inf" },
    };
    char out[DECIMAL_BYTES_MAX + 1];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *sum = add(cases[i][0], cases[i][1], out);
        if (cases[i][2] != NULL && strcmp(sum, cases[i][2]) != 0) {
            printf("%s + %s = %s, not %s\n", cases[i][0], cases[i][1], sum, cases[i][2]);
            CHECK(false);
        }
    }
}

/* Random decimals of up to 9 places, whose sum long integers tell exactly. */
TEST(sums_match_scaled_integers)
{
    struct prng prng;
    prng_init(&prng, 1);
    for (int round = 0; round < 100000; round++) {
        const int64_t scale = 1000000000;
        int64_t a = (int64_t)prng_below(&prng, (uint64_t)scale * 1000) - scale * 500;
        int64_t b = (int64_t)prng_below(&prng, (uint64_t)scale * 1000) - scale * 500;
        char text_a[64], text_b[64], expected[64], out[DECIMAL_BYTES_MAX + 1];
        const int64_t values[] = { a, b, a + b };
        char *const texts[] = { text_a, text_b, expected };
        for (int i = 0; i < 3; i++) {
            uint64_t size = (uint64_t)(values[i] < 0 ? -values[i] : values[i]);
            (void)snprintf(texts[i], 64, "%s%" PRIu64 ".%09" PRIu64, values[i] < 0 ? "-" : "",
                           size / (uint64_t)scale, size % (uint64_t)scale);
        }
        size_t end = strlen(expected);
        while (expected[end - 1] == '0') {
            expected[--end] = '\0';
        }
        if (expected[end - 1] == '.') {
            expected[end - 1] = '\0';
        }
        CHECK(strcmp(add(text_a, text_b, out), expected) == 0);
    }
}

TEST(random_text_is_bounded)
{
    static const char alphabet[] = "0123456789.eE+-xinfa ";
    struct prng prng;
    prng_init(&prng, 2);
    uint32_t sums = 0;
    for (int round = 0; round < 300000; round++) {
        char text[24], out[DECIMAL_BYTES_MAX + 1];
        size_t size = prng_below(&prng, sizeof(text));
        for (size_t i = 0; i < size; i++) {
            text[i] = alphabet[prng_below(&prng, sizeof(alphabet) - 1)];
        }
        text[size] = '\0';
        const char *sum = add(text, "1", out);
        sums += sum == out;
        CHECK(strlen(sum) < DECIMAL_BYTES_MAX);
        char *end = NULL;
        double value = strtod(text, &end);
        bool is_number = size > 0 && *end == '\0' && text[0] != ' ' && value == value;
        if (sum == out) {
            CHECK(is_number || value == 0); /* tiny ones underflow in strtod only */
        }
    }
    CHECK(sums > 10000);
}

/* ── RDB strings ─────────────────────────────────────────────────────────────────────────────── */

/* The plainest CRC-64 of Jones there is. */
static uint64_t crc64_slowly(const char *bytes, size_t size)
{
    uint64_t crc = 0;
    for (size_t i = 0; i < size; i++) {
        crc ^= (unsigned char)bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc & 1) != 0 ? crc >> 1 ^ 0x95ac9329ac4bc9b5u : crc >> 1;
        }
    }
    return crc;
}

TEST(crc_is_the_published_one)
{
    CHECK_EQ(crc64_slowly("123456789", 9), 0xe9c6d914c4b8d9cau);
}

TEST(dumped_strings_come_back)
{
    struct prng prng;
    prng_init(&prng, 3);
    struct buffer payload = { 0 };
    struct buffer room = { 0 };
    for (int round = 0; round < 3000; round++) {
        char value[20000];
        size_t size = prng_below(&prng, prng_chance(&prng, 1, 10) ? sizeof(value) : 100);
        for (size_t i = 0; i < size; i++) {
            value[i] = (char)prng_next(&prng);
        }
        if (prng_chance(&prng, 1, 2)) {
            int64_t number = (int64_t)prng_next(&prng) >> prng_below(&prng, 64);
            size = (size_t)snprintf(value, sizeof(value), "%" PRId64, number);
        }
        payload.size = 0;
        rdb_string_encode((struct slice){ value, size }, &payload);
        CHECK_EQ(crc64_slowly(payload.data, payload.size - 8),
                 load_u64(payload.data + payload.size - 8));
        struct slice back;
        CHECK_EQ(rdb_string_decode(buffer_slice(&payload), &room, &back), RDB_OK);
        CHECK(slice_equal(back, (struct slice){ value, size }));
        payload.data[prng_below(&prng, payload.size)] ^= (char)(1 << prng_below(&prng, 8));
        CHECK_EQ(rdb_string_decode(buffer_slice(&payload), &room, &back), RDB_BAD_CHECKSUM);
    }
    buffer_free(&payload);
    buffer_free(&room);
}

/* Random bytes behind the type, with a right checksum: any outcome but a read outside. */
TEST(hostile_payloads_stay_in_bounds)
{
    struct prng prng;
    prng_init(&prng, 4);
    struct buffer room = { 0 };
    uint32_t decoded = 0;
    for (int round = 0; round < 300000; round++) {
        size_t size = 1 + prng_below(&prng, 24);
        char *payload = mem_alloc(size + 10);
        payload[0] = 0;
        for (size_t i = 1; i < size; i++) {
            payload[i] = (char)prng_below(&prng, prng_chance(&prng, 1, 2) ? 8 : 256);
        }
        if (size > 3 && prng_chance(&prng, 1, 2)) { /* aim at LZF */
            payload[1] = (char)0xc3;
            payload[2] = (char)(size - 4);
            payload[3] = (char)prng_below(&prng, 64);
        }
        store_u16(payload + size, 10);
        store_u64(payload + size + 2, crc64_slowly(payload, size + 2));
        struct slice value;
        if (rdb_string_decode((struct slice){ payload, size + 10 }, &room, &value) == RDB_OK) {
            decoded++;
            CHECK(value.size <= REQUEST_BYTES_MAX);
            char *copy = mem_alloc(value.size + 1);
            memcpy(copy, value.data, value.size);
            mem_free(copy);
        }
        mem_free(payload);
    }
    CHECK(decoded > 100);
    buffer_free(&room);
}

TEST_MAIN
