/*
 * hash_test.c — slots against Redis Cluster's published values and a bitwise CRC16.
 */
#include "base/hash.h"

#include "base/limits.h"
#include "base/prng.h"
#include "test.h"

static uint16_t crc16_bitwise(const char *data, size_t size)
{
    unsigned crc = 0;
    for (size_t i = 0; i < size; i++) {
        crc ^= (unsigned)(unsigned char)data[i] << 8;
        for (unsigned bit = 0; bit < 8; bit++) {
            crc = (crc & 0x8000) != 0 ? (crc << 1 ^ 0x1021) & 0xffff : crc << 1 & 0xffff;
        }
    }
    return (uint16_t)crc;
}

TEST(known_vectors)
{
    CHECK_EQ(hash_crc16("123456789", 9), 0x31c3);
    CHECK_EQ(hash_crc16("", 0), 0);
    CHECK_EQ(hash_slot(slice_from("foo")), 12182);
    CHECK_EQ(hash_slot(slice_from("bar")), 5061);
    CHECK_EQ(hash_slot(slice_from("hello")), 866);
    CHECK_EQ(hash_slot(slice_from("")), 0);
    CHECK_EQ(hash_slot((struct slice){ NULL, 0 }), 0);
    _Static_assert((int)HASH_SLOTS == (int)SLOTS_COUNT, "two names of one number");
}

TEST(crc16_equals_bitwise)
{
    struct prng prng;
    prng_init(&prng, 1);
    for (unsigned i = 0; i < 50000; i++) {
        char data[80];
        size_t size = prng_below(&prng, sizeof(data) + 1);
        for (size_t k = 0; k < size; k++) {
            data[k] = (char)prng_next(&prng);
        }
        CHECK_EQ(hash_crc16(data, size), crc16_bitwise(data, size));
    }
}

TEST(hashtags)
{
    static const struct {
        const char *key, *hashed;
    } rows[] = {
        { "{user1000}.following", "user1000" },
        { "{user1000}.followers", "user1000" },
        { "foo{}{bar}", "foo{}{bar}" }, /* an empty first tag: the whole key */
        { "{}", "{}" },
        { "{}key", "{}key" },
        { "foo{{bar}}zap", "{bar" },
        { "foo{bar}{zap}", "bar" },
        { "foo{bar", "foo{bar" },
        { "foo}bar{", "foo}bar{" },
        { "}{x}", "x" },
        { "{", "{" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct slice hashed = slice_from(rows[i].hashed);
        CHECK_EQ(hash_slot(slice_from(rows[i].key)),
                 crc16_bitwise(hashed.data, hashed.size) % HASH_SLOTS);
    }
}

TEST(key_hash_depends_on_seed)
{
    struct slice key = slice_from("key");
    CHECK(hash_key(key, 1) != hash_key(key, 2));
    CHECK(hash_key(key, 1) == hash_key(slice_from("key"), 1));
}

TEST_MAIN
