/*
 * raft_shared_test.c — how far every member has the log: what may be forgotten everywhere.
 */
#include "test.h"

#include "world.h"

enum { HEARTBEAT = 10 }; /* world_options_default */

/* Time goes on; `isolated`: a set of nodes that nobody hears. */
static void pass(struct world *world, uint64_t ms, uint32_t isolated)
{
    for (uint64_t at = 0; at < ms; at += 5) {
        for (uint64_t id = 1; id <= 3; id++) {
            world_tick(world, id, 5);
        }
        world_settle_without(world, isolated);
    }
}

static struct raft *raft_of(struct world *world, uint64_t id)
{
    return world_node(world, id)->raft;
}

/* Followers may forget what every member has, and no more than that: one of them may lead next. */
TEST(followers_learn_what_everybody_has)
{
    struct world_options options = world_options_default(3);
    struct world *world = world_new(3, &options);
    world_start_all(world);
    world_elect(world, 1);
    CHECK_EQ(world_propose(world, 1, 5), RAFT_OK);
    pass(world, 5 * HEARTBEAT, 0);
    uint64_t shared = raft_last_index(raft_of(world, 1));
    for (uint64_t id = 1; id <= 3; id++) {
        CHECK_EQ(raft_shared_index(raft_of(world, id)), shared);
    }
    CHECK_EQ(world_propose(world, 1, 5), RAFT_OK); /* which 3 does not get */
    pass(world, 5 * HEARTBEAT, 1u << 3);
    CHECK_EQ(raft_commit_index(raft_of(world, 2)), shared + 5);
    for (uint64_t id = 1; id <= 3; id++) {
        CHECK_EQ(raft_shared_index(raft_of(world, id)), shared);
    }
    pass(world, 10 * HEARTBEAT, 0);
    CHECK(raft_shared_index(raft_of(world, 2)) >= shared + 5);
    world_free(world);
}

TEST_MAIN
