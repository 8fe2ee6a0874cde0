/*
 * recovery_test.c — logs of a member, written by hand and at random, and what recovery makes of
 * them.
 *
 * A random history is several lives of one node that keep the rules of Raft for what may replace
 * what (recovery_world.h).  Then bytes of the log are flipped: whatever recovery does not call
 * suspect must be exactly what was written, and what it has applied must be a prefix of what was
 * committed.
 */
#include "recovery_world.h"

/* ── random histories ────────────────────────────────────────────────────────────────────────── */

/* Another leader: what is not committed may be replaced. */
static void step_rewrite(struct world *world, struct model_group *group)
{
    group->term += 1 + prng_below(&world->prng, 2);
    group->voted_for = prng_below(&world->prng, 3);
    put_hard_state(world, group);
    uint64_t from = group->commit + 1 + prng_below(&world->prng, group->last - group->commit + 1);
    group->last = from - 1;
    uint64_t count = 1 + prng_below(&world->prng, 4);
    for (uint64_t i = 0; i < count; i++) {
        append_random(world, group);
    }
    put_entries(world, group, from);
}

/* Another node's snapshot, ahead of what this one knows to be committed.  The process may end
 * before the reset is written. */
static void step_adopt(struct world *world, struct model_group *group)
{
    uint64_t last = group->last;
    bool is_other = last > group->commit && prng_chance(&world->prng, 1, 2);
    group->term += 1;
    group->voted_for = 0;
    put_hard_state(world, group);
    if (is_other) {
        group->last = group->commit;
    }
    uint64_t count = 1 + prng_below(&world->prng, 8);
    for (uint64_t i = 0; i < count; i++) {
        append_random(world, group);
    }
    uint64_t index = group->last;
    take_snapshot(world, group, index);
    group->commit = index;
    if (prng_chance(&world->prng, 1, 2)) {
        put_reset(world, group, index);
        if (prng_chance(&world->prng, 1, 2)) {
            put_hard_state(world, group);
        }
    } else {
        group->needs_reset = true;
        group->conflict_index = is_other && last >= index ? index : 0;
    }
}

static void step(struct world *world, struct model_group *group)
{
    uint64_t dice = prng_below(&world->prng, 100);
    if (group->needs_reset || group->last + 20 >= ENTRIES_MAX) {
        return;
    }
    if (dice < 50) {
        append_random(world, group);
        put_entries(world, group, group->last);
    } else if (dice < 70) {
        group->commit += prng_below(&world->prng, group->last - group->commit + 1);
    } else if (dice < 82) {
        put_hard_state(world, group);
    } else if (dice < 90) {
        step_rewrite(world, group);
    } else if (dice < 97) {
        take_snapshot(world, group, group->commit);
    } else if (group->number != GROUP_META) {
        step_adopt(world, group);
    }
}

/* What was written while the node was alone is committed as it stands. */
static void live_alone(struct world *world)
{
    CHECK_EQ(recover_as(world, false, AOF_SYNC_ALWAYS), 0);
    for (uint32_t i = 0; i < USED; i++) {
        struct model_group *group = &world->groups[i];
        group->term = 1;
        for (uint64_t n = prng_below(&world->prng, 30); n > 0; n--) {
            append_random_effect(world, group);
            put_entries(world, group, group->last);
            group->commit = group->hinted = group->last;
            if (prng_chance(&world->prng, 1, 20)) {
                write_snapshot(world, group, group->last);
            }
        }
        group->term = group->last > 0 ? 1 : 0;
    }
    world->meta.clustered_sequence = aof_stats(world->aof).next_sequence;
    world->meta.is_clustered = true;
}

/* What a process does first with what recovery gave it. */
static void begin_life(struct world *world)
{
    recover(world);
    check_all(world);
    for (uint32_t i = 0; i < GROUPS; i++) {
        struct model_group *group = &world->groups[i];
        if (group->needs_reset) {
            if (log_of(world, group)->entries_count > 0) {
                put_reset(world, group, group->base);
            }
            group->needs_reset = false;
            group->last = group->base;
        }
    }
}

static void live(struct world *world, unsigned steps)
{
    for (unsigned i = 0; i < steps; i++) {
        step(world, &world->groups[prng_below(&world->prng, GROUPS)]);
    }
}

TEST(random_histories)
{
    for (uint64_t seed = 1; seed <= 300 && test_failures == 0; seed++) {
        struct world *world = world_new(seed);
        if (prng_chance(&world->prng, 2, 3)) {
            live_alone(world);
        }
        world->meta.is_clustered = true;
        world->meta.clustered_sequence += world->meta.clustered_sequence == 0; /* a founder's */
        for (unsigned lives = 0; lives < 5; lives++) {
            begin_life(world);
            live(world, (unsigned)prng_below(&world->prng, 120));
        }
        recover(world);
        check_all(world);
        if (test_failures > 0) {
            printf("seed %" PRIu64 "\n", seed);
        }
        world_free(world);
    }
}

/* ── damage ──────────────────────────────────────────────────────────────────────────────────── */

static struct world *world_lived(uint64_t seed, unsigned lives, unsigned steps)
{
    struct world *world = world_new(seed);
    if (prng_chance(&world->prng, 2, 3)) {
        live_alone(world);
    }
    world->meta.is_clustered = true;
    world->meta.clustered_sequence += world->meta.clustered_sequence == 0;
    for (unsigned i = 0; i < lives; i++) {
        begin_life(world);
        live(world, steps);
    }
    life_end(world);
    return world;
}

/* Changes some bytes of a random file of the log; false when it picked none that counts. */
static bool damage_log(struct world *world)
{
    struct disk_file *file = &world->disk->files[prng_below(&world->prng, DISK_FILES_MAX)];
    if (!file->exists || strstr(file->name, "aof-0") == NULL) {
        return false;
    }
    size_t used = file->bytes.size;
    while (used > 0 && file->bytes.data[used - 1] == 0) {
        used--;
    }
    if (used <= 8192) {
        return false;
    }
    size_t at = 8192 + prng_below(&world->prng, used - 8192);
    size_t size = 1 + (prng_chance(&world->prng, 1, 2) ? prng_below(&world->prng, 600) : 0);
    for (size_t i = at; i < at + size && i < used; i++) {
        file->bytes.data[i] ^= (char)(1 + prng_below(&world->prng, 255));
    }
    return true;
}

/* Whoever is not suspect has all; what anybody has applied was committed.  Bytes that went bad at
 * the very end look like a write that a crash has cut short, unless the stop was clean. */
static void check_damaged_group(struct world *world, const struct model_group *group)
{
    const struct replica_log *log = log_of(world, group);
    uint64_t applied = group->hinted > group->base ? group->hinted : group->base;
    CHECK(is_applied_right(world, group));
    CHECK(log->boot.base.index <= applied);
    bool is_cut_short = world->result.is_torn && !world->meta.clean;
    if (!log->boot.is_suspect && !is_cut_short) {
        CHECK_EQ(log->boot.base.index, applied);
        CHECK(is_log_right(world, group));
    }
}

/* What a leader does for a suspect: it sends what is behind its base, and something new. */
static void cure(struct world *world, struct model_group *group)
{
    const struct replica_log *log = log_of(world, group);
    uint64_t base = log->boot.base.index;
    struct entry entry;
    if (log->entries_count > 0 && entry_decode(log->entries[0], &entry) && entry.index == base) {
        put_reset(world, group, base); /* the log contradicts the snapshot */
    }
    group->needs_reset = false;
    group->last = group->commit > base ? group->commit : base; /* the rest nobody else has */
    group->term += 1;
    group->voted_for = 0;
    group->hinted = 0;
    append_random(world, group);
    put_entries(world, group, base + 1);
    group->commit = group->last;
    put_hard_state(world, group);
}

TEST(random_damage)
{
    unsigned suspects = 0;
    unsigned damaged = 0;
    for (uint64_t seed = 1; seed <= 600 && test_failures == 0; seed++) {
        struct world *world = world_lived(seed, 3, 60);
        for (unsigned tries = 0; tries < 5000 && !damage_log(world); tries++) {
        }
        world->meta.clean = prng_chance(&world->prng, 1, 2);
        recover(world);
        for (uint32_t i = 0; i < GROUPS; i++) {
            check_damaged_group(world, &world->groups[i]);
            suspects += log_of(world, &world->groups[i])->boot.is_suspect;
        }
        damaged += world->result.damages > 0;
        for (uint32_t i = 0; i < GROUPS; i++) {
            cure(world, &world->groups[i]);
        }
        recover(world);
        for (uint32_t i = 0; i < GROUPS; i++) {
            check_group(world, &world->groups[i]);
        }
        if (test_failures > 0) {
            printf("seed %" PRIu64 "\n", seed);
        }
        world_free(world);
    }
    CHECK(damaged > 200);
    CHECK(suspects > 200);
    CHECK(suspects < damaged * GROUPS);
}

/* ── by hand ─────────────────────────────────────────────────────────────────────────────────── */

/* A founder in its first life as a member. */
static struct world *world_plain(void)
{
    struct world *world = world_new(1);
    world->meta.is_clustered = true;
    world->meta.clustered_sequence = 1;
    recover(world);
    return world;
}

static void write_entries(struct world *world, struct model_group *group, unsigned count)
{
    uint64_t from = group->last + 1;
    group->term = group->term > 0 ? group->term : 1;
    for (unsigned i = 0; i < count; i++) {
        append_random_effect(world, group);
    }
    put_entries(world, group, from);
}

static void write_committed(struct world *world, struct model_group *group, unsigned count)
{
    write_entries(world, group, count);
    group->commit = group->last;
    put_hard_state(world, group);
}

static void flip(struct world *world, const char *file, size_t at)
{
    disk_need(world->disk, file)->bytes.data[at] ^= 1;
}

/* This group is suspect and stands at `applied`; all others of the first three are as they were. */
static void check_suspect(struct world *world, struct model_group *group, uint64_t applied)
{
    const struct replica_log *log = log_of(world, group);
    CHECK(log->boot.is_suspect);
    CHECK_EQ(log->boot.base.index, applied);
    CHECK(is_applied_right(world, group));
    for (uint32_t i = 0; i < USED; i++) {
        if (&world->groups[i] != group) {
            check_group(world, &world->groups[i]);
        }
    }
    CHECK_EQ(world->result.suspects, 1);
}

TEST(the_newest_snapshot_is_bad_and_the_log_is_gone)
{
    struct world *world = world_plain();
    struct model_group *group = &world->groups[1];
    write_committed(world, group, 30);
    write_snapshot(world, group, 20);
    write_snapshot(world, group, 30);
    life_end(world);
    disk_need(world->disk, "d/aof-000000000001.log")->exists = false;
    flip(world, "d/snap-00001-000000000000030.mdb", 130);
    for (unsigned starts = 0; starts < 3; starts++) { /* the evidence stays */
        recover(world);
        check_suspect(world, group, 20);
        CHECK(disk_find(world->disk, "d/snap-00001-000000000000030.mdb") != NULL);
    }
    world_free(world);
}

/* What a node writes before it gives up log: every group's hard state. */
static void put_hard_states(struct world *world)
{
    for (uint32_t i = 0; i < GROUPS; i++) {
        put_hard_state(world, &world->groups[i]);
    }
    for (uint32_t i = USED; i < PARTITIONS; i++) {
        struct model_group unused = { .number = i };
        put_hard_state(world, &unused);
    }
}

TEST(all_snapshots_are_bad)
{
    struct world *world = world_plain();
    struct model_group *group = &world->groups[2];
    write_committed(world, group, 30);
    write_snapshot(world, group, 20);
    write_snapshot(world, group, 30);
    life_end(world);
    flip(world, "d/snap-00002-000000000000020.mdb", 130);
    flip(world, "d/snap-00002-000000000000030.mdb", 130);
    recover(world); /* the log has it all */
    group->base = 0;
    check_all(world);
    put_hard_states(world);
    CHECK_EQ(world->result.snapshots_rejected, 2);
    CHECK(disk_find(world->disk, "d/snap-00002-000000000000030.mdb.damaged") != NULL);
    life_end(world);
    write_snapshot(world, group, 30);
    flip(world, "d/snap-00002-000000000000030.mdb", 130);
    disk_need(world->disk, "d/aof-000000000001.log")->exists = false;
    recover(world);
    check_suspect(world, group, 0);
    CHECK_EQ(kv_stats(world->shard.keyspace.partitions[2])->keys, 0);
    world_free(world);
}

/* A hint for an entry that is not there: it was, and is lost. */
TEST(a_hint_beyond_the_log)
{
    struct world *world = world_plain();
    struct model_group *group = &world->groups[0];
    write_committed(world, group, 5);
    group->commit = 7;
    put_hard_state(world, group);
    recover(world);
    check_suspect(world, group, 5);
    world_free(world);
}

TEST(a_reset_beyond_the_snapshot)
{
    struct world *world = world_plain();
    struct model_group *group = &world->groups[0];
    write_committed(world, group, 5);
    write_entries(world, group, 3);
    append_random_effect(world, group);
    put_reset(world, group, 9);
    write_entries(world, group, 2);
    recover(world);
    check_suspect(world, group, 5);
    CHECK_EQ(log_of(world, group)->entries_count, 0);
    world_free(world);
}

/* A hole is closed when a leader sends what is behind the last good entry; hints from before say
 * nothing about what comes then. */
TEST(what_follows_a_hole_waits_for_a_hint_of_its_own)
{
    struct world *world = world_plain();
    struct model_group *group = &world->groups[0];
    write_committed(world, group, 5);
    group->commit = 20;
    put_hard_state(world, group);
    group->hinted = group->commit = 5;
    write_entries(world, group, 3);
    recover(world);
    check_all(world);
    CHECK_EQ(log_of(world, group)->entries_count, 3);
    group->commit = 8;
    put_hard_state(world, group);
    recover(world);
    check_all(world);
    CHECK_EQ(log_of(world, group)->entries_count, 0);
    world_free(world);
}

/* A vote counts for the term in which it was given. */
TEST(a_vote_of_an_older_term)
{
    struct world *world = world_plain();
    struct model_group *group = &world->groups[0];
    group->term = 3;
    group->voted_for = 2;
    put_hard_state(world, group);
    group->term = 4;
    group->voted_for = 0;
    write_entries(world, group, 1);
    recover(world);
    check_all(world);
    world_free(world);
}

TEST(the_newest_file_is_missing)
{
    struct world *world = world_plain();
    write_committed(world, &world->groups[0], 5);
    recover(world); /* a second file */
    write_committed(world, &world->groups[1], 5);
    life_end(world);
    world->meta.aof_segment = 2;
    disk_need(world->disk, "d/aof-000000000002.log")->exists = false;
    recover(world);
    CHECK_EQ(world->result.suspects, PARTITIONS + 1);
    CHECK_EQ(log_of(world, &world->groups[0])->boot.base.index, 5);
    CHECK_EQ(log_of(world, &world->groups[1])->boot.base.index, 0);
    world_free(world);
}

/* Nothing in the files that are left shows that a group has lost anything, nor that it has not. */
TEST(the_oldest_file_is_missing)
{
    struct world *world = world_plain();
    write_committed(world, &world->groups[0], 5);
    recover(world); /* a second file */
    write_committed(world, &world->groups[1], 5);
    life_end(world);
    disk_need(world->disk, "d/aof-000000000001.log")->exists = false;
    recover(world);
    CHECK(log_of(world, &world->groups[0])->boot.is_suspect);
    CHECK(!log_of(world, &world->groups[1])->boot.is_suspect);
    CHECK_EQ(world->result.suspects, PARTITIONS);
    world_free(world);
}

/* What showed the damage may be lost as well: that it was suspect is written down, too. */
TEST(who_was_suspect_is_suspect)
{
    struct world *world = world_plain();
    struct model_group *group = &world->groups[1];
    write_committed(world, group, 5);
    group->is_suspect = true;
    put_hard_state(world, group);
    life_end(world);
    recover(world);
    CHECK(log_of(world, group)->boot.is_suspect);
    CHECK_EQ(log_of(world, group)->boot.voted_for, group->voted_for);
    CHECK_EQ(world->result.suspects, 1);
    group->is_suspect = false;
    put_hard_state(world, group); /* it has become whole */
    life_end(world);
    recover(world);
    check_all(world);
    world_free(world);
}

/* A member that acknowledged what it had not synced, and whose machine lost its power. */
TEST(power_losses)
{
    for (unsigned i = 0; i < 32; i++) {
        struct world *world = world_plain();
        struct model_group *group = &world->groups[0];
        bool is_lax = (i & 1) != 0, was_lax = (i & 2) != 0, is_clean = (i & 4) != 0;
        bool has_power = (i & 8) != 0, is_alone = (i & 16) != 0;
        struct raft_config config = config_random(&world->prng);
        while ((config.members_count > 1) == is_alone) {
            config = config_random(&world->prng);
        }
        char body[RAFT_CONFIG_BYTES_MAX];
        size_t size = raft_config_encode(&config, body);
        group->term = 1;
        model_append(group, (struct entry){ .kind = ENTRY_CONFIG }, slice_make(body, size));
        put_entries(world, group, 1);
        recovery_stamp(&world->disk->io, /* is_settled= */ true,
                       was_lax ? AOF_SYNC_EVERYSEC : AOF_SYNC_ALWAYS, &world->meta);
        world->meta.clean = is_clean;
        life_end(world);
        world->disk->machine_boots += !has_power;
        CHECK_EQ(recover_as(world, false, is_lax ? AOF_SYNC_NO : AOF_SYNC_ALWAYS), 0);
        bool wanted = (is_lax || was_lax) && !is_clean && !has_power && !is_alone;
        CHECK_EQ(log_of(world, group)->boot.is_suspect, wanted);
        CHECK_EQ(log_of(world, group)->entries_count, 1);
        /* As long as it is suspect, the next start must find it so; then no more. */
        recovery_stamp(&world->disk->io, /* is_settled= */ false, AOF_SYNC_ALWAYS, &world->meta);
        recover(world);
        CHECK_EQ(log_of(world, group)->boot.is_suspect, wanted && was_lax);
        recovery_stamp(&world->disk->io, /* is_settled= */ true, AOF_SYNC_ALWAYS, &world->meta);
        recover(world);
        CHECK_EQ(world->result.suspects, 0);
        world_free(world);
    }
}

TEST(salvage_suspects_nobody)
{
    struct world *world = world_plain();
    struct model_group *group = &world->groups[0];
    write_committed(world, group, 5);
    group->commit = 7;
    put_hard_state(world, group);
    CHECK_EQ(recover_as(world, /* salvage= */ true, AOF_SYNC_EVERYSEC), 0);
    CHECK_EQ(world->result.suspects, 0);
    CHECK_EQ(log_of(world, group)->boot.base.index, 5);
    world_free(world);
}

TEST(what_no_version_of_this_can_read_is_refused)
{
    for (unsigned i = 0; i < 5; i++) {
        struct world *world = world_plain();
        struct model_group *group = &world->groups[0];
        struct model_group stranger = { .number = PARTITIONS };
        char body[HARD_STATE_BYTES + 1] = { 0 };
        if (i == 0) {
            (void)put_record(world, &stranger, AOF_HARD_STATE, slice_make(body, HARD_STATE_BYTES));
        } else if (i == 1) {
            (void)put_record(world, group, AOF_HARD_STATE, slice_make(body, sizeof(body)));
        } else if (i == 2) {
            (void)put_record(world, group, AOF_LOG_RESET, slice_make(body, sizeof(body)));
        } else if (i == 3) { /* an entry of the meta group in a partition */
            append_random_meta(world, group);
            group->commit = 1;
            put_entries(world, group, 1);
            put_hard_state(world, group);
        } else {
            world->meta.members[0] ^= 1;
        }
        CHECK_EQ(recover_as(world, false, AOF_SYNC_ALWAYS), -EINVAL);
        CHECK(strlen(world->error) > 20);
        world_free(world);
    }
}

/* A power loss took the end of what the node wrote alone: what comes now is not committed. */
TEST(the_log_ended_before_the_cluster_began)
{
    struct world *world = world_plain();
    write_entries(world, &world->groups[0], 5);
    world->meta.clustered_sequence = 100;
    recover(world);
    CHECK(world->result.clustered_sequence < 100);
    CHECK(world->result.clustered_sequence >= 6);
    CHECK_EQ(log_of(world, &world->groups[0])->boot.base.index, 5);
    world->meta.clustered_sequence = world->result.clustered_sequence;
    write_entries(world, &world->groups[0], 2);
    recover(world);
    CHECK_EQ(log_of(world, &world->groups[0])->boot.base.index, 5);
    CHECK_EQ(log_of(world, &world->groups[0])->entries_count, 2);
    world_free(world);
}

/* In an empty group the founder votes, and nobody takes himself for him. */
TEST(the_first_configuration)
{
    struct member members[2] = { member_make(0, 1), member_make(1, 1) };
    for (unsigned i = 0; i < 4; i++) {
        bool is_founder = (i & 1) != 0;
        bool is_first = (i & 2) != 0;
        struct world *world = world_new(1);
        struct members list;
        members_found(&list, &members[!is_first]);
        list.items[list.count++] = members[is_first];
        meta_set_members(&world->meta, &list);
        world->meta.is_clustered = true;
        world->meta.clustered_sequence = is_founder;
        recover(world);
        const struct raft_config *config = &world->result.logs[3].boot.base.config;
        CHECK_EQ(config->members_count, 1);
        CHECK_EQ(config->members[0].node, members[!is_founder].number);
        world_free(world);
    }
}

/* ── aux ─────────────────────────────────────────────────────────────────────────────────────── */

TEST(aux_of_any_bytes)
{
    struct prng prng;
    struct buffer bytes = { 0 };
    struct sessions sessions = { 0 };
    struct sessions decoded = { 0 };
    prng_init(&prng, 5);
    for (unsigned i = 1; i < 20; i++) {
        sessions_note(&sessions, i, i % 4 + 1, 1, i, i / 2, slice_from("+OK\r\n"));
    }
    for (unsigned round = 0; round < 200; round++) {
        struct raft_config config = { .members_count = 0 };
        struct raft_config read;
        if (round % 2 == 0) {
            config = config_random(&prng);
        }
        bytes.size = 0;
        group_aux_encode(&config, &sessions, &bytes);
        CHECK(group_aux_decode(buffer_slice(&bytes), &read, &decoded));
        CHECK(raft_config_equal(&read, &config));
        CHECK_EQ(sessions_digest(&decoded), sessions_digest(&sessions));
        size_t cut = 1 + prng_below(&prng, bytes.size - 1);
        CHECK(!group_aux_decode(slice_make(bytes.data, cut), &read, &decoded));
        CHECK_EQ(decoded.count + read.members_count, 0);
        bytes.data[prng_below(&prng, bytes.size)] ^= (char)(1 << prng_below(&prng, 8));
        (void)!group_aux_decode(buffer_slice(&bytes), &read, &decoded); /* whatever it says */
    }
    struct raft_config none;
    CHECK(group_aux_decode((struct slice){ 0 }, &none, &decoded));
    CHECK_EQ(decoded.count + none.members_count, 0);
    sessions_deinit(&sessions);
    sessions_deinit(&decoded);
    buffer_free(&bytes);
}

TEST_MAIN
