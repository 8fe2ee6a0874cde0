/*
 * confchange_test.c — every change between small configurations, against counting out quorums.
 */
#include "test.h"

#include "world.h"

enum { NODES = 4, CHOICES = 81 }; /* 3 to the power of NODES: absent, voter, learner */

static struct raft_config numbered_config(uint32_t number)
{
    struct raft_config config = { 0 };
    for (uint64_t node = 1; node <= NODES; node++, number /= 3) {
        if (number % 3 != 0) {
            CHECK(raft_config_add(&config, node, 1, number % 3 == 1 ? RAFT_VOTER : RAFT_LEARNER));
        }
    }
    return config;
}

static void check_joint(const struct raft_config *current, const struct raft_config *wanted,
                        const struct raft_config *joint)
{
    struct raft_config after;
    CHECK(raft_config_is_valid(joint));
    CHECK(raft_config_is_joint(joint));
    CHECK(world_configs_intersect(current, joint));
    confchange_leave(joint, &after);
    CHECK(world_configs_intersect(joint, &after));
    CHECK(raft_config_equal(&after, wanted));
}

TEST(every_change_keeps_quorums_together)
{
    unsigned simple = 0;
    unsigned joint = 0;
    for (uint32_t from = 0; from < CHOICES; from++) {
        struct raft_config current = numbered_config(from);
        if (!raft_config_is_valid(&current)) {
            continue;
        }
        for (uint32_t to = 0; to < CHOICES; to++) {
            struct raft_config wanted = numbered_config(to);
            struct raft_config next = { 0 };
            switch (confchange_next(&current, &wanted, &next)) {
            case CONFCHANGE_SIMPLE:
                simple++;
                CHECK(raft_config_equal(&next, &wanted));
                CHECK(world_configs_intersect(&current, &next));
                break;
            case CONFCHANGE_JOINT:
                joint++;
                check_joint(&current, &wanted, &next);
                break;
            case CONFCHANGE_SAME:
                CHECK_EQ(from, to);
                break;
            case CONFCHANGE_INVALID:
                CHECK(!raft_config_is_valid(&wanted));
                break;
            }
        }
    }
    CHECK(simple > 500);
    CHECK(joint > 500);
}

/* The checker itself: it sees disjoint quorums where there are some. */
TEST(the_checker_can_say_no)
{
    struct raft_config a = { 0 };
    struct raft_config b = { 0 };
    CHECK(raft_config_add(&a, 1, 1, RAFT_VOTER));
    CHECK(raft_config_add(&b, 1, 1, RAFT_VOTER));
    CHECK(raft_config_add(&b, 2, 1, RAFT_VOTER));
    CHECK(raft_config_add(&b, 3, 1, RAFT_VOTER));
    CHECK(!world_configs_intersect(&a, &b));
    struct raft_config next;
    CHECK_EQ(confchange_next(&a, &b, &next), CONFCHANGE_JOINT);
}

TEST(another_incarnation_must_leave_first)
{
    struct raft_config current = { 0 };
    struct raft_config wanted = { 0 };
    struct raft_config next;
    CHECK(raft_config_add(&current, 1, 1, RAFT_VOTER));
    CHECK(raft_config_add(&current, 2, 1, RAFT_VOTER));
    CHECK(raft_config_add(&wanted, 1, 1, RAFT_VOTER));
    CHECK(raft_config_add(&wanted, 2, 8, RAFT_VOTER));
    CHECK_EQ(confchange_next(&current, &wanted, &next), CONFCHANGE_INVALID);
}

TEST(bounds_are_kept)
{
    struct raft_config current = { 0 };
    struct raft_config wanted = { 0 };
    struct raft_config next;
    for (uint64_t node = 1; node <= RAFT_VOTERS_MAX; node++) {
        CHECK(raft_config_add(&current, node, 1, RAFT_VOTER));
        CHECK(raft_config_add(&wanted, 100 + node, 1, RAFT_VOTER));
    }
    CHECK_EQ(confchange_next(&current, &wanted, &next), CONFCHANGE_JOINT);
    CHECK_EQ(next.members_count, 2 * RAFT_VOTERS_MAX);
    CHECK(raft_config_add(&wanted, 201, 1, RAFT_LEARNER));
    CHECK(raft_config_add(&wanted, 202, 1, RAFT_LEARNER));
    CHECK_EQ(confchange_next(&current, &wanted, &next), CONFCHANGE_JOINT);
    CHECK(raft_config_add(&wanted, 203, 1, RAFT_LEARNER));
    CHECK_EQ(confchange_next(&current, &wanted, &next), CONFCHANGE_INVALID); /* no room for both */
    struct raft_config crowd = wanted;
    CHECK(raft_config_add(&crowd, 300, 1, RAFT_VOTER));
    CHECK(!raft_config_is_valid(&crowd));
    while (raft_config_add(&crowd, 400 + crowd.members_count, 1, RAFT_LEARNER)) {
    }
    CHECK_EQ(crowd.members_count, RAFT_PEERS_MAX);
    CHECK(!raft_config_add(&crowd, 100, 1, RAFT_LEARNER));
}

TEST(encoding_round_trips)
{
    char bytes[RAFT_CONFIG_BYTES_MAX];
    for (uint32_t number = 0; number < CHOICES; number++) {
        struct raft_config config = numbered_config(number);
        if (!raft_config_is_valid(&config)) {
            continue;
        }
        struct raft_config back;
        size_t size = raft_config_encode(&config, bytes);
        CHECK_EQ(size, raft_config_encoded_size(&config));
        CHECK(raft_config_decode(slice_make(bytes, size), &back));
        CHECK(raft_config_equal(&config, &back));
        for (size_t cut = 0; cut < size; cut++) {
            CHECK(!raft_config_decode(slice_make(bytes, cut), &back));
        }
    }
}

/* Whatever bytes are accepted are a valid configuration, and encode to the same bytes. */
TEST(decoding_survives_anything)
{
    struct prng prng;
    prng_init(&prng, 3);
    unsigned accepted = 0;
    for (int round = 0; round < 50000; round++) {
        char bytes[RAFT_CONFIG_BYTES_MAX + 1];
        char again[RAFT_CONFIG_BYTES_MAX];
        struct raft_config config = numbered_config((uint32_t)prng_below(&prng, CHOICES));
        if (!raft_config_is_valid(&config)) {
            continue;
        }
        size_t size = raft_config_encode(&config, bytes);
        for (uint64_t flips = prng_below(&prng, 4); flips > 0; flips--) {
            bytes[prng_below(&prng, size)] ^= (char)(1u << prng_below(&prng, 8));
        }
        struct raft_config back;
        if (raft_config_decode(slice_make(bytes, size), &back)) {
            accepted++;
            CHECK(raft_config_is_valid(&back));
            CHECK_EQ(raft_config_encode(&back, again), size);
            CHECK(memcmp(bytes, again, size) == 0);
        }
    }
    CHECK(accepted > 1000);
}

TEST_MAIN
