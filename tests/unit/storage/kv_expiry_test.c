/*
 * kv_expiry_test.c — which keys are due: what collecting costs, and what the wheel holds on to.
 *
 * That the right keys are handed out at the right time is checked at random in kv_store_test.c.
 */
#include "base/prng.h"
#include "base/text.h"
#include "storage/kv_internal.h"
#include "test.h"

enum { SEED = 12345 };

static void put_number(struct kv *kv, uint64_t number, uint64_t expire_ms)
{
    char text[32];
    struct slice key = slice_make(text, text_from_u64(number, text));
    kv_put(kv, key, kv_hash(kv, key), slice_make(text, 0), expire_ms, /* version= */ number);
}

TEST(a_million_keys_at_one_millisecond)
{
    enum { KEYS = 300000, DUE_MS = 5000000 };
    struct kv *kv = kv_new(SEED);
    for (uint64_t i = 0; i < KEYS; i++) {
        put_number(kv, i, DUE_MS);
    }
    uint64_t hashes[100];
    CHECK_EQ(kv_expiry_collect(kv, DUE_MS - 1, hashes, 100), 0);
    uint32_t dropped = 0;
    uint32_t rounds = 0;
    for (; dropped < KEYS && rounds < KEYS; rounds++) {
        CHECK(kv_expiry_next_ms(kv) <= DUE_MS);
        uint32_t count = kv_expiry_collect(kv, DUE_MS, hashes, 100);
        for (uint32_t i = 0; i < count; i++) {
            dropped += kv_expire_hash(kv, hashes[i], DUE_MS);
        }
    }
    CHECK_EQ(dropped, KEYS);
    CHECK(rounds < KEYS / 100 * 2);
    CHECK_EQ(kv_stats(kv)->keys, 0);
    CHECK_EQ(kv_stats(kv)->expired, KEYS);
    kv_free(kv);
}

static uint64_t wheel_items(const struct kv *kv)
{
    return (kv->wheel != NULL ? kv_wheel_count(kv->wheel) : 0) +
           (kv->wheel_old != NULL ? kv_wheel_count(kv->wheel_old) : 0);
}

TEST(changing_expiries_does_not_grow_the_wheel)
{
    enum { KEYS = 100 };
    struct kv *kv = kv_new(SEED);
    struct prng prng;
    prng_init(&prng, 3);
    for (uint64_t lowest = 0; lowest < 2; lowest++) { /* 0: now and then no expiry */
        uint64_t most = 0;
        for (uint32_t step = 0; step < 100000; step++) {
            /* The same few times over and over. */
            uint64_t number = prng_below(&prng, KEYS);
            put_number(kv, number, (lowest + prng_below(&prng, 5)) * 1000000);
            most = wheel_items(kv) > most ? wheel_items(kv) : most;
        }
        CHECK(most > KEYS);
        CHECK(most <= KEYS * 5 + 2 * 256);
    }
    for (uint64_t i = 0; i < KEYS; i++) {
        put_number(kv, i, 0);
    }
    while (kv_reclaim(kv, 10)) {
    }
    CHECK(wheel_items(kv) <= 256);
    kv_free(kv);
}

/* Once a wheel has been swept there is one item for each key. */
TEST(sweeping_drops_all_that_is_superfluous)
{
    enum { KEYS = 500 };
    struct kv *kv = kv_new(SEED);
    for (uint64_t i = 0; i < KEYS; i++) {
        put_number(kv, i, 9000000);
    }
    for (uint64_t round = 1; kv->wheel_old == NULL; round++) {
        put_number(kv, round % KEYS, 9000000 - round);
    }
    CHECK(wheel_items(kv) > KEYS * 2);
    while (kv_reclaim(kv, 10)) {
    }
    CHECK_EQ(wheel_items(kv), KEYS);
    kv_free(kv);
}

TEST(extending_an_expiry_adds_nothing)
{
    struct kv *kv = kv_new(SEED);
    for (uint64_t i = 0; i < 10000; i++) {
        put_number(kv, 1, 1000 + i);
    }
    CHECK_EQ(wheel_items(kv), 1);
    uint64_t hash;
    CHECK_EQ(kv_expiry_collect(kv, 5000, &hash, 1), 0);
    CHECK(kv_expiry_next_ms(kv) > 5000);
    CHECK(kv_expiry_next_ms(kv) <= 10999);
    CHECK_EQ(kv_expiry_collect(kv, 10998, &hash, 1), 0);
    CHECK_EQ(kv_expiry_collect(kv, 10999, &hash, 1), 1);
    CHECK_EQ(kv_expiry_collect(kv, 11998, &hash, 1), 0);
    CHECK_EQ(kv_expiry_collect(kv, 11999, &hash, 1), 1);
    kv_free(kv);
}

TEST_MAIN
