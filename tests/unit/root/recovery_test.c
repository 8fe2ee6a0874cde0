/*
 * recovery_test.c — logs of a member, written by hand and at random, and what recovery makes of
 * them.
 *
 * The model is a list of entries per group, with the rules of Raft for what may replace what.  Each
 * history is several lives of one node: records and snapshots are written the way consensus.c does,
 * the process ends, recovery runs, and every group is compared with the list.  Then bytes of the
 * log are flipped: whatever recovery does not call suspect must be exactly what was written, and
 * what it has applied must be a prefix of what was committed.
 */
#include "recovery.h"

#include "../storage/fake_disk.h"
#include "base/prng.h"
#include "cluster/confchange.h"
#include "command/effect.h"
#include "group_aux.h"
#include "members.h"
#include "storage/entry.h"
#include "storage/hard_state.h"
#include "storage/snapshot.h"
#include "storage/snapshot_block.h"
#include "test.h"

enum {
    PARTITIONS = 16,
    USED = 3,          /* partitions that the random histories write to */
    GROUPS = USED + 1, /* and the meta group */
    ENTRIES_MAX = 2000,
    IDENTITY = 77,
};

/* ── the model ───────────────────────────────────────────────────────────────────────────────── */

struct model_group {
    uint32_t number;
    struct slice entries[ENTRIES_MAX]; /* by index; owned */
    uint64_t last;
    uint64_t commit; /* what raft knows */
    uint64_t hinted; /* what the log says */
    uint64_t base;   /* newest snapshot */
    uint64_t term, voted_for;
    bool needs_reset;        /* a snapshot was adopted, and the process ended before the reset */
    uint64_t conflict_index; /* then: what raft must be shown; 0: nothing */
};

struct world {
    struct disk *disk;
    struct prng prng;
    struct data_dir_meta meta;
    struct model_group groups[GROUPS];
    struct aof *aof;
    /* of a life */
    struct shard shard;
    struct meter meter;
    struct recovery_result result;
    bool is_recovered;
    char error[256];
};

static struct member member_make(unsigned i, uint16_t port)
{
    struct member member = { .incarnation = i == 0 ? IDENTITY : 1000 + i, .cluster_port = port };
    (void)snprintf(member.id, sizeof(member.id), "node%u", i + 1);
    member.number = members_number(member.id);
    return member;
}

static void meta_set_members(struct data_dir_meta *meta, const struct members *members)
{
    struct buffer bytes = { 0 };
    members_encode(members, &bytes);
    meta->members_size = (uint32_t)bytes.size;
    memcpy(meta->members, bytes.data, bytes.size);
    buffer_free(&bytes);
}

static struct world *world_new(uint64_t seed)
{
    struct world *world = mem_zalloc(sizeof(*world));
    struct member self = member_make(0, 1);
    struct members members;
    world->disk = disk_new();
    prng_init(&world->prng, seed);
    members_found(&members, &self);
    world->meta = (struct data_dir_meta){
        .identity = IDENTITY, .partitions = PARTITIONS, .node_id = "node1", .clean = true
    };
    meta_set_members(&world->meta, &members);
    for (uint32_t i = 0; i < GROUPS; i++) {
        world->groups[i].number = i < USED ? i : GROUP_META;
    }
    return world;
}

static void life_end(struct world *world)
{
    if (world->aof != NULL) {
        CHECK_EQ(aof_close(world->aof), 0);
        world->meta.aof_segment = 0; /* set by those who care */
        world->aof = NULL;
    }
    if (world->is_recovered) {
        recovery_logs_drop(&world->result);
        shard_deinit(&world->shard);
        meter_deinit(&world->meter);
        world->is_recovered = false;
    }
    disk_reboot(world->disk);
}

static int recover_as(struct world *world, bool salvage, enum aof_sync sync)
{
    life_end(world);
    struct recovery_options options = {
        .dir = "d",
        .salvage = salvage,
        .sync = sync,
        .segment_bytes = 64 << 10,
        .meta = &world->meta,
    };
    meter_init(&world->meter, -1, 0, 0);
    shard_init(&world->shard, &world->disk->io, PARTITIONS, 5, &world->meter);
    int status = recovery_run(&world->disk->io, NULL, &options, &world->shard, &world->result,
                              world->error, sizeof(world->error));
    world->is_recovered = true;
    world->aof = world->shard.aof;
    if (status < 0) {
        world->aof = NULL;
    }
    return status;
}

static void recover(struct world *world)
{
    int status = recover_as(world, /* salvage= */ false, AOF_SYNC_ALWAYS);
    if (status < 0) {
        printf("%s\n", world->error);
    }
    CHECK_EQ(status, 0);
}

static void world_free(struct world *world)
{
    life_end(world);
    for (uint32_t i = 0; i < GROUPS; i++) {
        for (uint64_t j = 0; j < ENTRIES_MAX; j++) {
            mem_free((char *)(uintptr_t)world->groups[i].entries[j].data);
        }
    }
    disk_free(world->disk);
    mem_free(world);
}

/* ── what is written ─────────────────────────────────────────────────────────────────────────── */

static uint64_t term_at(const struct model_group *group, uint64_t index)
{
    struct entry entry = { .term = 0 };
    CHECK(index == 0 || entry_decode(group->entries[index], &entry));
    return entry.term;
}

/* Sets the model's entry at last + 1. */
static void model_append(struct model_group *group, struct entry entry, struct slice body)
{
    entry.index = ++group->last;
    entry.term = group->term;
    entry.time_ms = 1000 + group->last;
    entry.group = (uint16_t)group->number;
    size_t header = entry_header_size(&entry);
    char *bytes = mem_alloc(header + body.size);
    entry_header_write(&entry, bytes);
    if (body.size > 0) {
        memcpy(bytes + header, body.data, body.size);
    }
    mem_free((char *)(uintptr_t)group->entries[group->last].data);
    group->entries[group->last] = slice_make(bytes, header + body.size);
}

static struct raft_config config_random(struct prng *prng)
{
    struct raft_config config = { .members_count = 0 };
    for (unsigned i = 0; i < 4; i++) {
        struct member member = member_make(i, 1);
        if (i == 0 || prng_chance(prng, 1, 2)) {
            CHECK(raft_config_add(&config, member.number, member.incarnation,
                                  i < 3 ? RAFT_VOTER : RAFT_LEARNER));
        }
    }
    return config;
}

static void append_random_meta(struct world *world, struct model_group *group)
{
    struct buffer body = { 0 };
    struct member member = member_make(1 + (unsigned)prng_below(&world->prng, 5),
                                       (uint16_t)prng_below(&world->prng, 9000));
    members_change_encode(prng_chance(&world->prng, 1, 4) ? MEMBER_REMOVE : MEMBER_ADD, &member,
                          &body);
    model_append(group, (struct entry){ .kind = ENTRY_META }, buffer_slice(&body));
    buffer_free(&body);
}

static void append_random_effect(struct world *world, struct model_group *group)
{
    char key[16];
    char value[32];
    struct effects effects = { 0 };
    struct entry entry = { .kind = ENTRY_EFFECT };
    (void)snprintf(key, sizeof(key), "key%u", (unsigned)prng_below(&world->prng, 8));
    (void)snprintf(value, sizeof(value), "%" PRIx64, prng_next(&world->prng));
    effects_put(&effects, 0, slice_from(key), slice_from(value), 0, false);
    if (prng_chance(&world->prng, 1, 3)) {
        entry.flags = ENTRY_HAS_ORIGIN;
        entry.origin_node = 1 + prng_below(&world->prng, 3);
        entry.origin_boot = 1 + group->last / 50;
        entry.origin_seq = group->last;
        entry.origin_floor = group->last > 10 ? group->last - 10 : 0;
    }
    model_append(group, entry, buffer_slice(&effects.parts[0].body));
    effects_deinit(&effects);
}

static void append_random(struct world *world, struct model_group *group)
{
    char body[RAFT_CONFIG_BYTES_MAX];
    if (prng_chance(&world->prng, 1, 12)) {
        model_append(group, (struct entry){ .kind = ENTRY_NOOP }, (struct slice){ 0 });
    } else if (prng_chance(&world->prng, 1, 12)) {
        struct raft_config config = config_random(&world->prng);
        size_t size = raft_config_encode(&config, body);
        model_append(group, (struct entry){ .kind = ENTRY_CONFIG }, slice_make(body, size));
    } else if (group->number == GROUP_META) {
        append_random_meta(world, group);
    } else {
        append_random_effect(world, group);
    }
}

static uint64_t put_record(struct world *world, const struct model_group *group, enum aof_type type,
                           struct slice body)
{
    memcpy(aof_record_begin(world->aof, body.size), body.data, body.size);
    uint64_t sequence =
        aof_record_end(world->aof, body.size, type, (uint16_t)group->number, /* more= */ false);
    aof_flush(world->aof, world->disk->now_ns);
    disk_run_all(world->disk);
    struct io_event event;
    while (io_next(&world->disk->io, &event)) {
        aof_on_event(world->aof, &event);
    }
    (void)aof_durable_take(world->aof);
    return sequence;
}

static void put_entries(struct world *world, struct model_group *group, uint64_t from)
{
    for (uint64_t index = from; index <= group->last; index++) {
        (void)put_record(world, group, AOF_ENTRY, group->entries[index]);
    }
}

static void put_hard_state(struct world *world, struct model_group *group)
{
    char body[HARD_STATE_BYTES];
    struct hard_state state = { group->term, group->voted_for, group->commit };
    hard_state_write(&state, body);
    (void)put_record(world, group, AOF_HARD_STATE, slice_make(body, sizeof(body)));
    group->hinted = group->commit > group->hinted ? group->commit : group->hinted;
}

static void put_reset(struct world *world, struct model_group *group, uint64_t index)
{
    char body[LOG_RESET_BYTES];
    struct log_reset reset = { index, term_at(group, index) };
    log_reset_write(&reset, body);
    (void)put_record(world, group, AOF_LOG_RESET, slice_make(body, sizeof(body)));
}

/* ── what should come out ────────────────────────────────────────────────────────────────────── */

/* The state machine of a partition, from its entries. */
struct reference {
    struct kv *kv;
    struct sessions sessions;
    struct raft_config config;
    struct members members;
};

static void reference_apply(struct reference *reference, const struct entry *entry)
{
    struct slice answer;
    bool is_new = (entry->flags & ENTRY_HAS_ORIGIN) == 0 ||
                  sessions_look(&reference->sessions, entry->origin_node, entry->origin_boot,
                                entry->origin_seq, &answer) == SESSION_NEW;
    if (entry->kind == ENTRY_CONFIG) {
        CHECK(raft_config_decode(entry->body, &reference->config));
        reference->members.config = reference->config;
    } else if (entry->kind == ENTRY_META) {
        CHECK(members_apply(&reference->members, entry->body, entry->index, entry->term));
    } else if (entry->kind == ENTRY_EFFECT && is_new) {
        CHECK(effects_apply(reference->kv, entry->body, entry->index));
        if ((entry->flags & ENTRY_HAS_ORIGIN) != 0) {
            sessions_note(&reference->sessions, entry->index, entry->origin_node,
                          entry->origin_boot, entry->origin_seq, entry->origin_floor,
                          slice_from("+OK\r\n"));
        }
    }
    reference->members.index = entry->index;
    reference->members.term = entry->term;
}

static struct reference reference_new(const struct model_group *group, uint64_t index)
{
    struct member self = member_make(0, 1);
    struct reference reference = { .kv = kv_new(5) };
    sessions_init(&reference.sessions);
    members_found(&reference.members, &self);
    reference.config = reference.members.config;
    for (uint64_t i = 1; i <= index; i++) {
        struct entry entry;
        CHECK(entry_decode(group->entries[i], &entry));
        reference_apply(&reference, &entry);
    }
    return reference;
}

static void reference_free(struct reference *reference)
{
    sessions_deinit(&reference->sessions);
    kv_free(reference->kv);
}

static void kv_bytes(struct kv *kv, struct buffer *out)
{
    uint32_t entries = 0;
    struct kv_view *view = kv_view_begin(kv);
    while (snapshot_block_fill(view, 1000, SIZE_MAX, out, &entries)) {
    }
    kv_view_end(view);
}

static bool same_kv(struct kv *a, struct kv *b)
{
    struct buffer bytes[2] = { { 0 }, { 0 } };
    kv_bytes(a, &bytes[0]);
    kv_bytes(b, &bytes[1]);
    bool same = slice_equal(buffer_slice(&bytes[0]), buffer_slice(&bytes[1]));
    buffer_free(&bytes[0]);
    buffer_free(&bytes[1]);
    return same;
}

static bool same_members(const struct members *a, const struct members *b)
{
    struct buffer bytes[2] = { { 0 }, { 0 } };
    members_encode(a, &bytes[0]);
    members_encode(b, &bytes[1]);
    bool same = slice_equal(buffer_slice(&bytes[0]), buffer_slice(&bytes[1]));
    buffer_free(&bytes[0]);
    buffer_free(&bytes[1]);
    return same;
}

static const struct replica_log *log_of(const struct world *world, const struct model_group *group)
{
    return &world->result.logs[group->number == GROUP_META ? PARTITIONS : group->number];
}

/* What is applied is what the first so many entries make. */
static bool is_applied_right(struct world *world, const struct model_group *group)
{
    const struct raft_snapshot *base = &log_of(world, group)->boot.base;
    if (base->index > group->last || base->term != term_at(group, base->index)) {
        return false;
    }
    struct reference reference = reference_new(group, base->index);
    bool is_right = raft_config_equal(&base->config, &reference.config);
    if (group->number == GROUP_META) {
        is_right = is_right && same_members(&world->result.members, &reference.members);
    } else {
        const struct shard *shard = &world->shard;
        is_right = is_right && same_kv(shard->keyspace.partitions[group->number], reference.kv) &&
                   sessions_digest(&shard->sessions[group->number]) ==
                       sessions_digest(&reference.sessions) &&
                   shard->groups[group->number].applied == base->index &&
                   !shard->groups[group->number].is_damaged;
    }
    reference_free(&reference);
    return is_right;
}

/* All that was written is there, and nothing else. */
static bool is_log_right(const struct world *world, const struct model_group *group)
{
    const struct replica_log *log = log_of(world, group);
    uint64_t base = log->boot.base.index;
    if (log->boot.term != group->term || log->boot.voted_for != group->voted_for) {
        return false;
    }
    if (group->needs_reset && log->entries_count == 1 && group->conflict_index == base) {
        struct entry entry;
        return entry_decode(log->entries[0], &entry) && entry.index == base &&
               entry.term != log->boot.base.term;
    }
    if (base + log->entries_count != group->last) {
        return false;
    }
    for (uint32_t i = 0; i < log->entries_count; i++) {
        if (!slice_equal(log->entries[i], group->entries[base + 1 + i])) {
            return false;
        }
    }
    return log->boot.commit_index >= base && log->boot.commit_index <= group->commit;
}

static void check_group(struct world *world, const struct model_group *group)
{
    const struct replica_log *log = log_of(world, group);
    uint64_t applied = group->hinted > group->base ? group->hinted : group->base;
    CHECK_EQ(log->boot.base.index, applied);
    CHECK(!log->boot.is_suspect);
    CHECK(is_applied_right(world, group));
    CHECK(is_log_right(world, group));
}

static void check_all(struct world *world)
{
    for (uint32_t i = 0; i < GROUPS; i++) {
        check_group(world, &world->groups[i]);
    }
    CHECK_EQ(world->result.suspects, 0);
    CHECK_EQ(world->shard.damaged_count, 0);
}

/* ── snapshots ───────────────────────────────────────────────────────────────────────────────── */

static void write_snapshot(struct world *world, struct model_group *group, uint64_t index)
{
    struct reference reference = reference_new(group, index);
    struct buffer aux = { 0 };
    group_aux_encode(&reference.config, &reference.sessions, &aux);
    struct kv_view *view = kv_view_begin(reference.kv);
    struct snapshot_writer *writer = snapshot_writer_new(&world->disk->io, "d");
    struct snapshot_meta meta = {
        .identity = IDENTITY,
        .group = group->number,
        .index = index,
        .term = term_at(group, index),
        .time_ms = 1000 + index,
        .aux = buffer_slice(&aux),
    };
    snapshot_writer_begin(writer, &meta, view);
    while (snapshot_writer_state(writer) != SNAPSHOT_DONE) {
        if (snapshot_writer_state(writer) == SNAPSHOT_READY) {
            snapshot_writer_step(writer, 10);
        }
        disk_run_all(world->disk);
        struct io_event event;
        while (io_next(&world->disk->io, &event)) {
            if (event.owner == writer) {
                snapshot_writer_on_event(writer, &event);
            } else {
                aof_on_event(world->aof, &event);
            }
        }
    }
    snapshot_writer_free(writer);
    kv_view_end(view);
    reference_free(&reference);
    buffer_free(&aux);
    group->base = index;
}

/* The meta group's snapshot is the meta file. */
static void write_members(struct world *world, struct model_group *group, uint64_t index)
{
    struct reference reference = reference_new(group, index);
    meta_set_members(&world->meta, &reference.members);
    reference_free(&reference);
    group->base = index;
}

static void take_snapshot(struct world *world, struct model_group *group, uint64_t index)
{
    if (index <= group->base) {
        return;
    }
    if (group->number == GROUP_META) {
        write_members(world, group, index);
    } else {
        write_snapshot(world, group, index);
    }
}

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
