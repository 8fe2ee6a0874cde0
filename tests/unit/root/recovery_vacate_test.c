/*
 * recovery_vacate_test.c — a replica that was vacated, and what the next start makes of it: at
 * every point at which a crash may come, from the hard state that says "suspect" to the next life's
 * cure.
 */
#include "recovery_world.h"

enum { OLD_LAST = 30 };

/* A member, not the founder unless said, in a cluster of two; a group with a long life behind it.
 */
static struct world *world_with_history(bool is_founder)
{
    struct world *world = world_new(3);
    struct members members;
    struct member self = member_make(0, 1);
    struct member other = member_make(1, 1);
    struct buffer body = { 0 };
    members_found(&members, &self);
    members_change_encode(MEMBER_ADD, &other, &body);
    CHECK(members_apply(&members, buffer_slice(&body), 1, 1));
    members.index = 0;
    buffer_free(&body);
    meta_set_members(&world->meta, &members);
    world->meta.is_clustered = true;
    world->meta.clustered_sequence = is_founder ? 1 : 0;
    recover(world);
    struct model_group *group = &world->groups[1];
    group->term = 4;
    group->voted_for = 9;
    for (unsigned i = 0; i < OLD_LAST; i++) {
        append_random_effect(world, group);
    }
    put_entries(world, group, 1);
    group->commit = OLD_LAST;
    put_hard_state(world, group);
    write_snapshot(world, group, 20);
    return world;
}

static void put_state(struct world *world, struct model_group *group, uint64_t commit, bool suspect)
{
    char body[HARD_STATE_BYTES_MAX];
    struct hard_state state = { group->term, group->voted_for, commit, suspect };
    size_t size = hard_state_write(&state, body);
    (void)put_record(world, group, AOF_HARD_STATE, slice_make(body, size));
}

static void put_vacated(struct world *world, struct model_group *group)
{
    char body[LOG_RESET_BYTES];
    struct log_reset reset = { 0, 0 };
    put_state(world, group, 0, /* suspect= */ true);
    log_reset_write(&reset, body);
    (void)put_record(world, group, AOF_LOG_RESET, slice_make(body, sizeof(body)));
}

/* What is applied is what the first so many entries make. */
static const struct replica_log *start_again(struct world *world, struct model_group *group)
{
    recover(world);
    const struct replica_log *log = log_of(world, group);
    const struct shard *shard = &world->shard;
    uint32_t number = group->number;
    struct reference reference = reference_new(group, log->boot.base.index);
    CHECK_EQ(shard->damaged_count, 0);
    CHECK_EQ(log->boot.base.term, term_at(group, log->boot.base.index));
    CHECK_EQ(shard->groups[number].applied, log->boot.base.index);
    CHECK(same_kv(shard->keyspace.partitions[number], reference.kv));
    CHECK_EQ(sessions_digest(&shard->sessions[number]), sessions_digest(&reference.sessions));
    reference_free(&reference);
    return log;
}

static void check_vacant(struct world *world, struct model_group *group)
{
    const struct replica_log *log = start_again(world, group);
    CHECK(log->boot.is_suspect);
    CHECK(log->boot.is_vacated);
    CHECK_EQ(world->result.suspects, 0); /* none that anybody need wait for */
    CHECK_EQ(log->boot.base.index, 0);
    CHECK_EQ(log->entries_count, 0);
    CHECK_EQ(log->boot.term, group->term); /* what it promised it keeps */
    CHECK_EQ(log->boot.voted_for, group->voted_for);
    CHECK(!raft_config_is_voter(&log->boot.base.config, members_number("node1")));
    CHECK_EQ(kv_stats(world->shard.keyspace.partitions[group->number])->keys, 0);
    CHECK_EQ(world->shard.sessions[group->number].count, 0);
    CHECK_EQ(world->shard.groups[group->number].snapshot_index, 0);
    CHECK_EQ(world->shard.groups[group->number].needed_sequence, UINT64_MAX);
}

TEST(before_the_reset_it_is_a_suspect_that_holds_everything)
{
    struct world *world = world_with_history(false);
    struct model_group *group = &world->groups[1];
    put_state(world, group, 0, /* suspect= */ true);
    const struct replica_log *log = start_again(world, group);
    CHECK(log->boot.is_suspect);
    CHECK(!log->boot.is_vacated);
    CHECK_EQ(world->result.suspects, 1);
    CHECK_EQ(log->boot.base.index, OLD_LAST);
    world_free(world);
}

TEST(behind_the_reset_nothing_is_left)
{
    for (unsigned founder = 0; founder < 2; founder++) {
        struct world *world = world_with_history(founder != 0);
        struct model_group *group = &world->groups[1];
        put_vacated(world, group);
        check_vacant(world, group); /* the files are still there ... */
        CHECK(disk_find(world->disk, "d/snap-00001-000000000000020.mdb") != NULL);
        check_vacant(world, group);
        disk_need(world->disk, "d/snap-00001-000000000000020.mdb")->exists = false;
        check_vacant(world, group); /* ... or gone */
        put_state(world, group, 0, /* suspect= */ true);
        check_vacant(world, group);
        world_free(world);
    }
}

/* The log was released: all that is left is the hard state, written again. */
TEST(the_hard_state_alone_keeps_it_a_suspect)
{
    for (unsigned founder = 0; founder < 2; founder++) {
        struct world *world = world_with_history(founder != 0);
        struct model_group *group = &world->groups[2];
        group->term = 7;
        put_state(world, group, 0, /* suspect= */ true);
        check_vacant(world, group);
        CHECK_EQ(recover_as(world, /* salvage= */ true, AOF_SYNC_ALWAYS), 0);
        CHECK(log_of(world, group)->boot.is_suspect); /* there is nothing to be salvaged */
        world_free(world);
    }
}

/* The next life, from the first entry on; it is trusted when its hard state says so. */
TEST(a_next_life_from_the_log)
{
    struct world *world = world_with_history(false);
    struct model_group *group = &world->groups[1];
    put_vacated(world, group);
    disk_need(world->disk, "d/snap-00001-000000000000020.mdb")->exists = false;
    for (uint64_t index = 1; index <= OLD_LAST; index++) {
        (void)put_record(world, group, AOF_ENTRY, group->entries[index]);
        if (index % 7 == 0) {
            put_state(world, group, index - 2, /* suspect= */ true);
            const struct replica_log *log = start_again(world, group);
            CHECK(log->boot.is_suspect);
            CHECK(!log->boot.is_vacated);
            CHECK_EQ(log->boot.base.index, index - 2);
            CHECK_EQ(log->entries_count, 2);
        }
    }
    put_state(world, group, OLD_LAST, /* suspect= */ false);
    const struct replica_log *log = start_again(world, group);
    CHECK(!log->boot.is_suspect);
    CHECK_EQ(log->boot.base.index, OLD_LAST);
    world_free(world);
}

/* The next life, from a snapshot: at an index that is lower, equal or higher than where the former
 * life ended.  The file comes first, then its reset. */
TEST(a_next_life_from_a_snapshot)
{
    for (uint64_t index = OLD_LAST - 5; index <= OLD_LAST + 5; index += 5) {
        struct world *world = world_with_history(false);
        struct model_group *group = &world->groups[1];
        put_vacated(world, group);
        disk_need(world->disk, "d/snap-00001-000000000000020.mdb")->exists = false;
        while (group->last < OLD_LAST + 10) {
            append_random_effect(world, group);
        }
        write_snapshot(world, group, index);
        const struct replica_log *log = start_again(world, group);
        CHECK(log->boot.is_suspect);
        CHECK(!log->boot.is_vacated);
        CHECK(log->boot.base.index >= index);
        put_reset(world, group, index);
        for (uint64_t next = index + 1; next <= group->last; next++) {
            (void)put_record(world, group, AOF_ENTRY, group->entries[next]);
        }
        CHECK(start_again(world, group)->boot.is_suspect);
        put_state(world, group, group->last, /* suspect= */ false);
        log = start_again(world, group);
        CHECK(!log->boot.is_suspect);
        CHECK_EQ(log->boot.base.index, group->last);
        CHECK_EQ(log->entries_count, 0);
        world_free(world);
    }
}

/* Other groups of the same log are not touched. */
TEST(others_are_left_alone)
{
    struct world *world = world_with_history(false);
    struct model_group *other = &world->groups[0];
    other->term = 2;
    append_random_effect(world, other);
    append_random_effect(world, other);
    put_entries(world, other, 1);
    put_vacated(world, &world->groups[1]);
    other->commit = 2;
    put_hard_state(world, other);
    const struct replica_log *log = start_again(world, other);
    CHECK(!log->boot.is_suspect);
    CHECK_EQ(log->boot.base.index, 2);
    world_free(world);
}

TEST_MAIN
