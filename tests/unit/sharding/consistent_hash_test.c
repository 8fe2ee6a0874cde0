/*
 * consistent_hash_test.c — the ring: in order, the same for every order of the list, and nothing
 * but a member's own points comes or goes with it.
 */
#include "sharding/consistent_hash.h"

#include "base/prng.h"
#include "test.h"

enum { ROUNDS = 100 };

static struct ring_point points[RING_POINTS_MAX];
static struct ring_point others[RING_POINTS_MAX];

static uint32_t random_members(struct prng *prng, struct ring_member members[RAFT_PEERS_MAX])
{
    uint32_t count = 1 + (uint32_t)prng_below(prng, RAFT_PEERS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        members[i] = (struct ring_member){
            .node = prng_next(prng) | 1,
            .weight = 1 + (uint32_t)prng_below(prng, 3),
        };
    }
    return count;
}

TEST(points_are_in_order_and_follow_weights)
{
    struct prng prng;
    prng_init(&prng, 1);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct ring_member members[RAFT_PEERS_MAX];
        uint32_t count = random_members(&prng, members);
        uint32_t size = ring_size(members, count);
        uint32_t owned[RAFT_PEERS_MAX] = { 0 };
        ring_build(members, count, points);
        for (uint32_t i = 0; i < size; i++) {
            CHECK(i == 0 || points[i].position > points[i - 1].position);
            owned[points[i].member]++;
        }
        for (uint32_t i = 0; i < count; i++) {
            CHECK_EQ(owned[i], members[i].weight * RING_POINTS_PER_WEIGHT);
        }
    }
}

/* Taking one member away leaves all points of the others as they are. */
TEST(a_member_brings_and_takes_its_own_points)
{
    struct prng prng;
    prng_init(&prng, 2);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct ring_member members[RAFT_PEERS_MAX];
        uint32_t count = random_members(&prng, members);
        uint32_t size = ring_size(members, count);
        uint32_t gone = (uint32_t)prng_below(&prng, count);
        struct ring_member left[RAFT_PEERS_MAX];
        uint32_t left_count = 0;
        for (uint32_t i = count; i-- > 0;) { /* and in another order */
            if (i != gone) {
                left[left_count++] = members[i];
            }
        }
        ring_build(members, count, points);
        ring_build(left, left_count, others);
        uint32_t at = 0;
        for (uint32_t i = 0; i < size; i++) {
            if (points[i].member != gone) {
                CHECK_EQ(points[i].position, others[at].position);
                CHECK_EQ(members[points[i].member].node, left[others[at].member].node);
                at++;
            }
        }
        CHECK_EQ(at, ring_size(left, left_count));
    }
}

/* The largest ring there is: arcs add up to about what weights say. */
TEST(arcs_follow_weights)
{
    struct prng prng;
    struct ring_member members[RAFT_PEERS_MAX];
    double arc[RAFT_PEERS_MAX] = { 0 };
    uint32_t weights = 0;
    prng_init(&prng, 3);
    for (uint32_t i = 0; i < RAFT_PEERS_MAX; i++) {
        members[i] = (struct ring_member){ .node = prng_next(&prng) | 1, .weight = i + 1 };
        weights += i + 1;
    }
    uint32_t size = ring_size(members, RAFT_PEERS_MAX);
    ring_build(members, RAFT_PEERS_MAX, points);
    for (uint32_t i = 0; i < size; i++) {
        uint64_t before = points[i > 0 ? i - 1 : size - 1].position;
        arc[points[i].member] += (double)(points[i].position - before) / 0x1p64;
    }
    for (uint32_t i = 0; i < RAFT_PEERS_MAX; i++) {
        double share = (double)members[i].weight / weights;
        CHECK(arc[i] > share * 0.7);
        CHECK(arc[i] < share * 1.3);
    }
}

/* Nodes of every version must agree, for ever. */
TEST(positions_never_change)
{
    struct ring_member member = { .node = 7, .weight = 1 };
    ring_build(&member, 1, points);
    CHECK_EQ(points[0].position, UINT64_C(99081450712229213));
    CHECK_EQ(points[127].position, UINT64_C(18345425912203285643));
}

TEST_MAIN
