/*
 * vacancy_test.c — files of a group that was forgotten stay in the way until they are gone for
 * good, and for every time that it was forgotten.
 *
 * Read next: consensus_world.h.
 */
#include "vacancy.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function" /* of a world made for other tests */
#include "consensus_world.h"
#pragma GCC diagnostic pop
#include "vacancy_wire.h"

enum { GROUP = 2 };

/* The second host says that the first belongs to the group no more. */
static void say_gone(struct world *world)
{
    struct node *node = &world->hosts[0].node;
    char bytes[VACANCY_GONE_BYTES];
    const struct vacancy_gone gone = {
        .group = GROUP, .term = raft_term(replica_at(&world->hosts[0], GROUP)->raft) + 1, .index = 9
    };
    (void)vacancy_gone_write(bytes, &gone);
    const struct peer_event event = {
        .kind = PEER_EVENT_FRAME,
        .channel = PEER_RAFT,
        .number = number_of(1),
        .frame_kind = PEER_FRAME_GONE,
        .body = slice_make(bytes, sizeof(bytes)),
    };
    CHECK(vacancy_on_frame(node, &event));
}

/* A host that holds the group, and has heard of no leader for a while. */
static struct world *cut_world_new(void)
{
    struct world *world = world_new(3, 1);
    world->is_on_disk = true;
    world_start(world);
    world_run(world, 2000);
    make_leader(world, GROUP, 1);
    world_isolate(world, 0, true);
    world_run(world, 3000);
    world->hosts[0].node.vacancy = vacancy_new("d", GROUPS + 1);
    return world;
}

static void cut_world_free(struct world *world)
{
    vacancy_free(&world->hosts[0].node);
    world_free(world);
}

/* What was forgotten is synced, then a round begins and ends. */
static void round_begin(struct world *world)
{
    world_run(world, 300);
    vacancy_step(&world->hosts[0].node); /* counts what the last process left, or begins */
    CHECK(!vacancy_has_work(&world->hosts[0].node));
}

TEST(what_is_forgotten_is_purged_in_one_round)
{
    struct world *world = cut_world_new();
    struct replica *replica = replica_at(&world->hosts[0], GROUP);
    say_gone(world);
    CHECK(replica->is_purging && replica->is_vacated);
    round_begin(world);
    CHECK(replica->is_purging);
    world_run(world, 300);
    CHECK(!replica->is_purging);
    cut_world_free(world);
}

TEST(what_is_forgotten_again_meanwhile_waits_for_the_next_round)
{
    struct world *world = cut_world_new();
    struct replica *replica = replica_at(&world->hosts[0], GROUP);
    say_gone(world);
    round_begin(world);
    replica->is_vacated = false; /* as if it had been taken in again in between */
    say_gone(world);
    CHECK(replica->is_vacated);
    world_run(world, 300); /* the round ends; it was not one of this reset */
    CHECK(replica->is_purging);
    round_begin(world);
    world_run(world, 300);
    CHECK(!replica->is_purging);
    cut_world_free(world);
}

static void own_state_set(struct machine *host, enum member_state state)
{
    for (uint32_t i = 0; i < host->world->count; i++) {
        struct member *member = &host->node.members.items[i];
        member->state = member->number == number_of(host->at) ? (uint8_t)state : member->state;
    }
}

/* Whoever still names it: a node that is to leave takes no group in again.  Its others it keeps. */
TEST(a_node_that_drains_takes_nothing_in)
{
    struct world *world = cut_world_new();
    struct replica *replica = replica_at(&world->hosts[0], GROUP);
    const struct replica *kept = replica_at(&world->hosts[0], GROUP + 1);
    say_gone(world);
    CHECK(replica_is_empty(replica));
    own_state_set(&world->hosts[0], MEMBER_DRAINING);
    world_isolate(world, 0, false);
    make_leader(world, GROUP + 1, 1);
    uint64_t last = raft_last_index(kept->raft);
    (void)ask_write(&world->hosts[1], GROUP);
    (void)ask_write(&world->hosts[1], GROUP + 1);
    world_run(world, 3000);
    CHECK(replica_is_empty(replica));
    CHECK(raft_last_index(kept->raft) > last);
    own_state_set(&world->hosts[0], MEMBER_ACTIVE); /* not after all */
    world_run(world, 3000);
    CHECK(!replica_is_empty(replica));
    CHECK(raft_last_index(replica->raft) > 0);
    cut_world_free(world);
}

TEST_MAIN
