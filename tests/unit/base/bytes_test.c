/*
 * bytes_test.c — varint, CRC-32C, buffer and slice.
 */
#include "base/buffer.h"
#include "base/crc32c.h"
#include "base/prng.h"
#include "base/varint.h"
#include "test.h"

TEST(varint_round_trip)
{
    struct prng prng;
    prng_init(&prng, 1);
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t value = prng_next(&prng) >> prng_below(&prng, 64);
        char bytes[VARINT_BYTES_MAX];
        size_t size = (size_t)(varint_write(bytes, value) - bytes);
        CHECK_EQ(size, varint_size(value));
        uint64_t back = ~value;
        CHECK(varint_read(bytes, bytes + size, &back) == bytes + size);
        CHECK_EQ(back, value);
        for (size_t cut = 0; cut < size; cut++) {
            CHECK(varint_read(bytes, bytes + cut, &back) == NULL);
        }
    }
}

TEST(varint_limits)
{
    uint64_t value = 7;
    static const char max[] = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    CHECK(varint_read(max, max + 10, &value) == max + 10);
    CHECK_EQ(value, UINT64_MAX);
    static const char over[] = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02";
    CHECK(varint_read(over, over + 10, &value) == NULL);
    static const char endless[] = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    CHECK(varint_read(endless, endless + 12, &value) == NULL);
    CHECK_EQ(varint_size(0), 1);
    CHECK_EQ(varint_size(127), 1);
    CHECK_EQ(varint_size(128), 2);
    CHECK_EQ(varint_size(UINT64_MAX), 10);
}

TEST(crc32c_vectors)
{
    char bytes[32];
    CHECK_EQ(crc32c(0, "123456789", 9), 0xe3069283);
    CHECK_EQ(crc32c(0, "", 0), 0);
    memset(bytes, 0, sizeof(bytes)); /* RFC 3720, B.4 */
    CHECK_EQ(crc32c(0, bytes, sizeof(bytes)), 0x8a9136aa);
    memset(bytes, 0xff, sizeof(bytes));
    CHECK_EQ(crc32c(0, bytes, sizeof(bytes)), 0x62a8ab43);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (char)i;
    }
    CHECK_EQ(crc32c(0, bytes, sizeof(bytes)), 0x46dd794e);
    CHECK_EQ(crc32c_portable(0, bytes, sizeof(bytes)), 0x46dd794e);
}

TEST(crc32c_hardware_equals_portable)
{
    struct prng prng;
    prng_init(&prng, 2);
    char data[300];
    for (unsigned i = 0; i < 20000; i++) {
        size_t offset = prng_below(&prng, 9);
        size_t size = prng_below(&prng, sizeof(data) - offset);
        for (size_t k = 0; k < size; k++) {
            data[offset + k] = (char)prng_next(&prng);
        }
        const char *at = data + offset;
        uint32_t whole = crc32c_portable(0, at, size);
        CHECK_EQ(crc32c(0, at, size), whole);
        size_t cut = size > 0 ? prng_below(&prng, size) : 0;
        CHECK_EQ(crc32c(crc32c(0, at, cut), at + cut, size - cut), whole);
        CHECK_EQ(crc32c_portable(crc32c_portable(0, at, cut), at + cut, size - cut), whole);
    }
}

TEST(buffer_equals_array)
{
    enum { MODEL_BYTES = 1 << 16 };
    struct prng prng;
    prng_init(&prng, 3);
    static char model[MODEL_BYTES];
    size_t model_size = 0;
    struct buffer buffer = { 0 };
    for (unsigned i = 0; i < 20000; i++) {
        char piece[100];
        size_t size = prng_below(&prng, sizeof(piece));
        memset(piece, (int)('a' + i % 26), sizeof(piece));
        if (prng_chance(&prng, 1, 3) || model_size + 200 > MODEL_BYTES) {
            size_t drop = prng_below(&prng, model_size + 1);
            buffer_consume(&buffer, drop);
            memmove(model, model + drop, model_size - drop);
            model_size -= drop;
        } else if (prng_chance(&prng, 1, 4)) {
            buffer_printf(&buffer, "%u:%s", i, "text");
            model_size += (size_t)sprintf(model + model_size, "%u:%s", i, "text");
        } else {
            buffer_append(&buffer, piece, size);
            memcpy(model + model_size, piece, size);
            model_size += size;
        }
        CHECK(slice_equal(buffer_slice(&buffer), slice_make(model, model_size)));
        CHECK(buffer.size <= buffer.capacity);
    }
    buffer_append_text(&buffer, "end");
    buffer_append_byte(&buffer, '!');
    CHECK(memcmp(buffer.data + buffer.size - 4, "end!", 4) == 0);
    buffer_free(&buffer);
    CHECK(buffer.data == NULL && buffer.size == 0 && buffer.capacity == 0);
}

TEST(slices)
{
    CHECK(slice_equal(slice_from("abc"), slice_make("abcd", 3)));
    CHECK(!slice_equal(slice_from("abc"), slice_from("abd")));
    CHECK(slice_equal((struct slice){ NULL, 0 }, slice_from("")));
    CHECK(slice_equal_nocase(slice_from("GeT"), "get"));
    CHECK(!slice_equal_nocase(slice_from("ge"), "get"));
    CHECK(!slice_equal_nocase(slice_from("gett"), "get"));
    CHECK(!slice_equal_nocase(slice_make("ge\0", 3), "ge"));
}

TEST_MAIN
