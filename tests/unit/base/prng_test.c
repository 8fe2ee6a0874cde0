/*
 * prng_test.c — the published stream, bounds, and independence of forks.
 */
#include "base/prng.h"

#include "test.h"

TEST(known_stream)
{
    /* xoshiro256** seeded by splitmix64(0), as the reference implementations give it. */
    struct prng prng;
    prng_init(&prng, 0);
    CHECK_EQ(prng.state[0], 0xe220a8397b1dcdafu);
    CHECK_EQ(prng.state[1], 0x6e789e6aa1b965f4u);
    CHECK_EQ(prng_next(&prng), 0x99ec5f36cb75f2b4u);
    CHECK_EQ(prng_next(&prng), 0xbf6e1f784956452au);
}

TEST(below_is_in_range_and_even)
{
    struct prng prng;
    prng_init(&prng, 1);
    unsigned counts[10] = { 0 };
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t value = prng_below(&prng, 10);
        CHECK(value < 10);
        counts[value % 10]++;
    }
    for (unsigned i = 0; i < 10; i++) {
        CHECK(counts[i] > 9000 && counts[i] < 11000);
    }
    CHECK_EQ(prng_below(&prng, 1), 0);
}

TEST(chance)
{
    struct prng prng;
    prng_init(&prng, 2);
    unsigned hits = 0;
    for (unsigned i = 0; i < 40000; i++) {
        hits += prng_chance(&prng, 1, 4);
        CHECK(!prng_chance(&prng, 0, 4));
        CHECK(prng_chance(&prng, 4, 4));
    }
    CHECK(hits > 9000 && hits < 11000);
}

TEST(forks_differ_and_repeat)
{
    struct prng a;
    struct prng b;
    prng_init(&a, 5);
    prng_init(&b, 5);
    struct prng a_disk = prng_fork(&a, "disk");
    struct prng b_disk = prng_fork(&b, "disk");
    struct prng a_net = prng_fork(&a, "net");
    CHECK_EQ(prng_next(&a_disk), prng_next(&b_disk));
    CHECK(prng_next(&a_disk) != prng_next(&a_net));
}

TEST_MAIN
