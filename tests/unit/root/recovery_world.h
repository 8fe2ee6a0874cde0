/*
 * recovery_world.h — one member's disk, and a model of what is on it.
 *
 * The model is a list of entries per group with where its log, its hints and its snapshots stand.
 * Records and snapshots are written the way consensus.c does; recover() begins another life of the
 * process, and check_group compares what recovery found with the list.
 */
#pragma once

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
    bool is_suspect; /* as its hard states say */
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

static inline struct member member_make(unsigned i, uint16_t port)
{
    struct member member = { .incarnation = i == 0 ? IDENTITY : 1000 + i,
                             .cluster_port = port,
                             .weight = 1,
                             .state = MEMBER_ACTIVE };
    (void)snprintf(member.id, sizeof(member.id), "node%u", i + 1);
    member.number = members_number(member.id);
    return member;
}

static inline void meta_set_members(struct data_dir_meta *meta, const struct members *members)
{
    struct buffer bytes = { 0 };
    members_encode(members, &bytes);
    meta->members_size = (uint32_t)bytes.size;
    memcpy(meta->members, bytes.data, bytes.size);
    buffer_free(&bytes);
}

static inline struct world *world_new(uint64_t seed)
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

static inline void life_end(struct world *world)
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

static inline int recover_as(struct world *world, bool salvage, enum aof_sync sync)
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

static inline void recover(struct world *world)
{
    int status = recover_as(world, /* salvage= */ false, AOF_SYNC_ALWAYS);
    if (status < 0) {
        printf("%s\n", world->error);
    }
    CHECK_EQ(status, 0);
}

static inline void world_free(struct world *world)
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

static inline uint64_t term_at(const struct model_group *group, uint64_t index)
{
    struct entry entry = { .term = 0 };
    CHECK(index == 0 || entry_decode(group->entries[index], &entry));
    return entry.term;
}

/* Sets the model's entry at last + 1. */
static inline void model_append(struct model_group *group, struct entry entry, struct slice body)
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

static inline struct raft_config config_random(struct prng *prng)
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

static inline void append_random_meta(struct world *world, struct model_group *group)
{
    struct buffer body = { 0 };
    struct member member = member_make(1 + (unsigned)prng_below(&world->prng, 5),
                                       (uint16_t)prng_below(&world->prng, 9000));
    members_change_encode(prng_chance(&world->prng, 1, 4) ? MEMBER_REMOVE : MEMBER_ADD, &member,
                          &body);
    model_append(group, (struct entry){ .kind = ENTRY_META }, buffer_slice(&body));
    buffer_free(&body);
}

static inline void append_random_effect(struct world *world, struct model_group *group)
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

static inline void append_random(struct world *world, struct model_group *group)
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

static inline uint64_t put_record(struct world *world, const struct model_group *group,
                                  enum aof_type type, struct slice body)
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

static inline void put_entries(struct world *world, struct model_group *group, uint64_t from)
{
    for (uint64_t index = from; index <= group->last; index++) {
        (void)put_record(world, group, AOF_ENTRY, group->entries[index]);
    }
}

static inline void put_hard_state(struct world *world, struct model_group *group)
{
    char body[HARD_STATE_BYTES_MAX];
    struct hard_state state = { group->term, group->voted_for, group->commit, group->is_suspect };
    size_t size = hard_state_write(&state, body);
    (void)put_record(world, group, AOF_HARD_STATE, slice_make(body, size));
    group->hinted = group->commit > group->hinted ? group->commit : group->hinted;
}

static inline void put_reset(struct world *world, struct model_group *group, uint64_t index)
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

static inline void reference_apply(struct reference *reference, const struct entry *entry)
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

static inline struct reference reference_new(const struct model_group *group, uint64_t index)
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

static inline void reference_free(struct reference *reference)
{
    sessions_deinit(&reference->sessions);
    kv_free(reference->kv);
}

static inline void kv_bytes(struct kv *kv, struct buffer *out)
{
    uint32_t entries = 0;
    struct kv_view *view = kv_view_begin(kv);
    while (snapshot_block_fill(view, 1000, SIZE_MAX, out, &entries)) {
    }
    kv_view_end(view);
}

static inline bool same_kv(struct kv *a, struct kv *b)
{
    struct buffer bytes[2] = { { 0 }, { 0 } };
    kv_bytes(a, &bytes[0]);
    kv_bytes(b, &bytes[1]);
    bool same = slice_equal(buffer_slice(&bytes[0]), buffer_slice(&bytes[1]));
    buffer_free(&bytes[0]);
    buffer_free(&bytes[1]);
    return same;
}

static inline bool same_members(const struct members *a, const struct members *b)
{
    struct buffer bytes[2] = { { 0 }, { 0 } };
    members_encode(a, &bytes[0]);
    members_encode(b, &bytes[1]);
    bool same = slice_equal(buffer_slice(&bytes[0]), buffer_slice(&bytes[1]));
    buffer_free(&bytes[0]);
    buffer_free(&bytes[1]);
    return same;
}

static inline const struct replica_log *log_of(const struct world *world,
                                               const struct model_group *group)
{
    return &world->result.logs[group->number == GROUP_META ? PARTITIONS : group->number];
}

/* What is applied is what the first so many entries make. */
static inline bool is_applied_right(struct world *world, const struct model_group *group)
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
static inline bool is_log_right(const struct world *world, const struct model_group *group)
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

static inline void check_group(struct world *world, const struct model_group *group)
{
    const struct replica_log *log = log_of(world, group);
    uint64_t applied = group->hinted > group->base ? group->hinted : group->base;
    CHECK_EQ(log->boot.base.index, applied);
    CHECK(!log->boot.is_suspect);
    CHECK(is_applied_right(world, group));
    CHECK(is_log_right(world, group));
}

static inline void check_all(struct world *world)
{
    for (uint32_t i = 0; i < GROUPS; i++) {
        check_group(world, &world->groups[i]);
    }
    CHECK_EQ(world->result.suspects, 0);
    CHECK_EQ(world->shard.damaged_count, 0);
}

/* ── snapshots ───────────────────────────────────────────────────────────────────────────────── */

static inline void write_snapshot(struct world *world, struct model_group *group, uint64_t index)
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
        .sequence = world->aof != NULL ? aof_stats(world->aof).next_sequence - 1 : 0,
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
static inline void write_members(struct world *world, struct model_group *group, uint64_t index)
{
    struct reference reference = reference_new(group, index);
    meta_set_members(&world->meta, &reference.members);
    reference_free(&reference);
    group->base = index;
}

static inline void take_snapshot(struct world *world, struct model_group *group, uint64_t index)
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
