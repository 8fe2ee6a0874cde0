/*
 * shard_apply.c — committed entries change the partitions, and whoever waits is answered.
 *
 * The same code runs on a lone node (entries come from the AOF, in its order), on a member (from
 * the replicas' windows, as each group commits) and at recovery.  It looks at the entry and the
 * partition and at nothing else, so every replica comes to the same state.
 *
 * Entries are taken in batches through three stages (decode and touch buckets, touch entries,
 * run), so that memory latency overlaps.
 */
#include "shard.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "base/varint.h"
#include "cluster/confchange.h"
#include "consensus.h"
#include "io/io.h"
#include "log.h"
#include "members.h"
#include "storage/snapshot.h"

enum { APPLY_ROUND_MAX = 4096 }; /* entries of one group applied in one iteration */

/* One committed entry on its way through the stages of apply. */
struct shard_stage {
    struct entry entry;
    uint64_t sequence;       /* lone node */
    struct replica *replica; /* member */
    struct command_decoded decoded;
    struct command_args args; /* owned */
    uint64_t hash;
    bool has_key;
    bool is_metered; /* was timed by itself */
};

static const struct asker nobody = { .kind = ASKER_NOBODY };

static void apply_staged(struct shard *shard, uint32_t count);

struct shard_stage *shard_stage_new(void)
{
    return mem_zalloc(PIPELINE_BATCH * sizeof(struct shard_stage));
}

void shard_stage_free(struct shard_stage *stage)
{
    for (uint32_t i = 0; stage != NULL && i < PIPELINE_BATCH; i++) {
        mem_free(stage[i].args.argv);
    }
    mem_free(stage);
}

/* ── where committed entries come from ───────────────────────────────────────────────────────── */

/* Lone node: durable is committed. */
static void apply_lone(struct shard *shard)
{
    struct aof_record record;
    uint32_t count = 0;
    while (aof_durable_next(shard->aof, &record)) {
        struct shard_stage *stage = &shard->stage[count];
        stage->sequence = record.sequence;
        stage->replica = NULL;
        bool is_entry = entry_decode(record.body, &stage->entry);
        ASSERT(is_entry && stage->entry.group == record.group);
        if (++count == PIPELINE_BATCH) {
            apply_staged(shard, count);
            count = 0;
        }
    }
    apply_staged(shard, count);
}

void shard_apply_durable(struct shard *shard)
{
    if (LIKELY(shard->consensus == NULL)) {
        apply_lone(shard);
        return;
    }
    uint64_t sequence = aof_durable_take(shard->aof);
    if (sequence != 0) {
        consensus_on_durable(shard->consensus, sequence);
    }
}

static void run_waiting_reads(struct shard *shard, struct replica *replica);

/* Stages a replica's committed entries; returns how many lie in the stages now. */
static uint32_t stage_replica(struct shard *shard, struct replica *replica, uint32_t count)
{
    uint64_t end =
        MUTANT(MUT_APPLY_UNCOMMITTED) ? raft_last_index(replica->raft) : replica->commit_index;
    if (end > replica->applied + APPLY_ROUND_MAX) {
        end = replica->applied + APPLY_ROUND_MAX;
    }
    for (uint64_t index = replica->applied + 1; index <= end; index++) {
        struct shard_stage *stage = &shard->stage[count];
        stage->replica = replica;
        stage->sequence = 0;
        bool is_entry = entry_decode(replica_bytes(replica, index), &stage->entry);
        ASSERT(is_entry && stage->entry.index == index);
        if (++count == PIPELINE_BATCH) {
            apply_staged(shard, count);
            count = 0;
        }
    }
    return count;
}

void shard_apply_committed(struct shard *shard)
{
    struct consensus *consensus = shard->consensus;
    uint32_t *taken = consensus->dirty;
    uint32_t taken_count = consensus->dirty_count;
    consensus->dirty = consensus->taken;
    consensus->taken = taken;
    consensus->dirty_count = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < taken_count; i++) {
        struct replica *replica = consensus->replicas[taken[i]];
        replica->is_dirty = false;
        count = stage_replica(shard, replica, count);
    }
    apply_staged(shard, count);
    for (uint32_t i = 0; i < taken_count; i++) {
        struct replica *replica = consensus->replicas[taken[i]];
        run_waiting_reads(shard, replica);
        if (replica->commit_index > replica->applied || replica_has_queued(replica) ||
            replica->next_read_id > replica->sent_read_id) {
            consensus_touch(consensus, replica);
        }
    }
}

/* ── running an entry ────────────────────────────────────────────────────────────────────────── */

/* Decodes a command entry and touches the bucket of its key. */
static void stage_decode(struct shard *shard, struct shard_stage *stage)
{
    stage->has_key = false;
    stage->is_metered = false;
    if (stage->entry.kind != ENTRY_COMMAND) {
        return;
    }
    bool is_command = command_decode(stage->entry.body, &stage->args, &stage->decoded);
    ASSERT(is_command); /* a leader encoded it, and its checksum was right */
    ASSERT(stage->entry.group < shard->keyspace.count);
    if (stage->decoded.command->first_key == 1 && stage->decoded.argc > 1) {
        struct kv *kv = shard->keyspace.partitions[stage->entry.group];
        stage->hash = kv_hash(kv, stage->decoded.argv[1]);
        stage->has_key = true;
        kv_prefetch_bucket(kv, stage->hash);
    }
}

static void run_command(struct shard *shard, const struct shard_stage *stage, struct reply *reply)
{
    struct command_ctx ctx = {
        .command = stage->decoded.command,
        .argv = stage->decoded.argv,
        .argc = stage->decoded.argc,
        .reply = reply,
        .keyspace = &shard->keyspace,
        .now_ms = MUTANT(MUT_LOCAL_TIME) ? shard->now_ms : stage->entry.time_ms,
        .version = stage->entry.index,
        .seed = stage->entry.seed,
        .first_key_hash = stage->hash,
        .first_key_partition = stage->entry.group,
        .has_first_key_hash = stage->has_key,
        .stats = &shard->delta,
    };
    stage->decoded.command->run(&ctx);
}

/* Runs a COMMAND or an EFFECT; false when its body is malformed. */
static bool run_write(struct shard *shard, const struct shard_stage *stage, struct reply *reply)
{
    if (LIKELY(stage->entry.kind == ENTRY_COMMAND)) {
        run_command(shard, stage, reply);
        return true;
    }
    struct kv *kv = shard->keyspace.partitions[stage->entry.group];
    bool is_good = effects_apply(kv, stage->entry.body, stage->entry.index);
    reply_ok(reply);
    return is_good;
}

/* A write that says where it comes from is run once; its answer is kept for repetitions. */
static bool apply_once(struct shard *shard, const struct shard_stage *stage,
                       const struct asker *asker, const struct command *command)
{
    const struct entry *entry = &stage->entry;
    struct sessions *sessions = &shard->sessions[entry->group];
    struct slice answer = { 0 };
    switch (sessions_look(sessions, entry->origin_node, entry->origin_boot, entry->origin_seq,
                          &answer)) {
    case SESSION_DONE:
        answer_replay(&shard->answers, asker, command, answer, 0);
        return true;
    case SESSION_STALE:
        answer_error(&shard->answers, asker, command,
                     "UNKNOWN this request was sent before, and its answer is not kept any more");
        return true;
    case SESSION_NEW:
        break;
    }
    struct reply capture;
    shard->captured.size = 0;
    reply_begin(&capture, PROTOCOL_RESP3, &shard->captured, (struct slice){ 0 });
    bool is_good = run_write(shard, stage, &capture);
    reply_end(&capture);
    answer = buffer_slice(&shard->captured);
    sessions_note(sessions, entry->index, entry->origin_node, entry->origin_boot, entry->origin_seq,
                  entry->origin_floor, answer);
    answer_replay(&shard->answers, asker, command, answer, entry->index);
    return is_good;
}

static bool apply_write(struct shard *shard, const struct shard_stage *stage,
                        const struct asker *asker)
{
    const struct command *command =
        stage->entry.kind == ENTRY_COMMAND ? stage->decoded.command : NULL;
    bool has_origin = (stage->entry.flags & ENTRY_HAS_ORIGIN) != 0;
    if (UNLIKELY(has_origin && !MUTANT(MUT_RETRY_TWICE))) {
        return apply_once(shard, stage, asker, command);
    }
    struct reply *reply = answer_begin(&shard->answers, asker);
    bool is_good = run_write(shard, stage, reply);
    answer_end(&shard->answers, asker, command);
    return is_good;
}

/* Drops the listed keys that had expired at the entry's time; false when the body is malformed. */
static bool apply_expire(struct kv *kv, const struct entry *entry)
{
    const char *end = entry->body.data + entry->body.size;
    uint64_t count = 0;
    const char *at = varint_read(entry->body.data, end, &count);
    if (at == NULL || count != (uint64_t)(end - at) / 8 || (end - at) % 8 != 0) {
        return false;
    }
    for (; at < end; at += 8) {
        uint64_t hash = 0;
        memcpy(&hash, at, sizeof(hash));
        (void)kv_expire_hash(kv, hash, entry->time_ms);
    }
    return true;
}

/* Everything but writes; false when the body is malformed or the kind cannot be applied. */
static bool apply_other(struct shard *shard, const struct entry *entry)
{
    struct raft_config config;
    switch (entry->kind) {
    case ENTRY_NOOP:
        return entry->body.size == 0;
    case ENTRY_EXPIRE:
        return apply_expire(shard->keyspace.partitions[entry->group], entry);
    case ENTRY_CONFIG:
        return raft_config_decode(entry->body, &config); /* counts from its append: raft's */
    case ENTRY_COMMAND:
    case ENTRY_EFFECT:
    case ENTRY_VERIFY:
    case ENTRY_META:
        break;
    }
    return false;
}

/* ── who waits ───────────────────────────────────────────────────────────────────────────────── */

/* `replica`: which the read waited for; NULL: a lone node. */
static void answer_read(struct shard *shard, const struct replica *replica,
                        struct late_request *late)
{
    struct reply *reply = answer_begin(&shard->answers, &late->asker);
    uint64_t start_ns = io_clock_ns(shard->io);
    bool is_part = replica != NULL && (late->command->flags & COMMAND_KEYSPACE) != 0;
    struct key_place place = { .is_known = is_part, .partition = is_part ? replica->group : 0 };
    shard_run_read(shard, late->command, late->argc, late->argv, place, reply);
    struct conn *conn = late->asker.kind == ASKER_CLIENT ? late->asker.client.conn : NULL;
    if (!is_part) {
        meter_one(shard->meter, late->command, late->argv, late->argc, conn, shard->now_ms,
                  io_clock_ns(shard->io) - start_ns);
    }
    answer_end(&shard->answers, &late->asker, late->command);
    late_request_free(late);
}

static void answer_effects(struct shard *shard, const struct pending *pending)
{
    answer_replay(&shard->answers, &pending->asker, pending->command, buffer_slice(pending->answer),
                  0);
    buffer_free(pending->answer);
    mem_free(pending->answer);
}

/* Lone node: answers everything that waited for records up to this one. */
static void answer_waiting(struct shard *shard, uint64_t sequence)
{
    const struct pending *front = NULL;
    while ((front = pending_front(&shard->pending, sequence)) != NULL) {
        struct pending pending = *front; /* answering may push */
        shard->pending.head++;
        if (pending.kind == PENDING_EFFECTS) {
            answer_effects(shard, &pending);
        } else {
            ASSERT(pending.kind == PENDING_READ);
            answer_read(shard, /* replica= */ NULL, pending.read);
        }
    }
}

/* Member: the entry (index, term) comes next; term 0: it is not known yet.  Entries of lower terms
 * that are still waited for cannot come any more; nor can others at its place or before.  Reads
 * that waited for entries before this one run. */
static void settle(struct shard *shard, struct replica *replica, uint64_t index, uint64_t term)
{
    struct pending_queue *queue = &replica->pending;
    while (queue->head != queue->tail) {
        struct pending pending = *pending_at(queue, queue->head);
        bool is_read = pending.kind == PENDING_READ;
        bool is_replaced =
            !is_read && term != 0 && pending.position == index && pending.term != term;
        if (pending.term >= term && pending.position >= index && !is_replaced) {
            return;
        }
        queue->head++;
        if (is_read) {
            answer_read(shard, replica, pending.read);
        } else {
            mem_free(pending.typed);
            answer_error(&shard->answers, &pending.asker, pending.command, consensus_not_done);
        }
    }
}

/* True when what the read's connection wrote before it has been applied, or never will be. */
static bool is_behind_its_writes(const struct replica *replica, const struct pending *read)
{
    return replica->applied >= read->behind || replica->applied_term > read->term;
}

static void run_waiting_reads(struct shard *shard, struct replica *replica)
{
    settle(shard, replica, replica->applied + 1, /* term= */ 0);
    const struct pending *front = NULL;
    while (replica->applied >= replica->read_index &&
           (front = pending_front(&replica->reads, replica->confirmed_read_id)) != NULL &&
           is_behind_its_writes(replica, front)) {
        struct late_request *late = front->read;
        replica->reads.head++;
        answer_read(shard, replica, late);
    }
}

/* Takes the one who waits for this very entry out of its queue; false: nobody does. */
static bool take_owner(struct shard *shard, const struct shard_stage *stage,
                       struct pending *out_owner)
{
    struct pending_queue *queue = &shard->pending;
    uint64_t position = stage->sequence;
    if (stage->replica != NULL) {
        settle(shard, stage->replica, stage->entry.index, stage->entry.term);
        queue = &stage->replica->pending;
        position = stage->entry.index;
    }
    const struct pending *front = pending_front(queue, position);
    if (front == NULL || front->kind != PENDING_WRITE) {
        return false;
    }
    ASSERT(front->position == position);
    ASSERT(stage->replica == NULL || front->term == stage->entry.term);
    *out_owner = *front;
    queue->head++;
    return true;
}

/* ── apply ───────────────────────────────────────────────────────────────────────────────────── */

static bool times_alone(const struct shard *shard, const struct shard_stage *stage)
{
    return stage->entry.kind == ENTRY_COMMAND &&
           meter_times_alone(shard->meter, stage->decoded.command);
}

/* Applies a write for whoever waits for it, if somebody does. */
static void apply_owned(struct shard *shard, struct shard_stage *stage)
{
    struct pending owner = { .asker = nobody };
    bool is_owned = take_owner(shard, stage, &owner);
    stage->is_metered = times_alone(shard, stage);
    bool is_good = false;
    if (LIKELY(!stage->is_metered)) {
        mem_free(owner.typed);
        is_good = apply_write(shard, stage, &owner.asker);
    } else {
        uint64_t start_ns = io_clock_ns(shard->io);
        is_good = apply_write(shard, stage, &owner.asker);
        shard->parts_ns += io_clock_ns(shard->io) - start_ns;
        if (!is_owned || !owner.is_partial) {
            struct conn *conn = owner.asker.kind == ASKER_CLIENT ? owner.asker.client.conn : NULL;
            meter_typed(shard->meter, stage->decoded.command, owner.typed, conn, shard->now_ms,
                        shard->parts_ns);
            shard->parts_ns = 0;
        }
    }
    ASSERT(is_good); /* a leader made it, and its checksum was right */
}

/* The meta group has no keys: its state machine is the list of members. */
static void apply_meta(struct shard *shard, const struct entry *entry)
{
    struct members *members = shard->consensus->members;
    bool is_good = entry->kind == ENTRY_NOOP;
    if (entry->kind == ENTRY_META) {
        is_good = members_apply(members, entry->body, entry->index, entry->term);
    } else if (entry->kind == ENTRY_CONFIG) {
        is_good = raft_config_decode(entry->body, &members->config);
    }
    ASSERT(is_good); /* a leader made it, and its checksum was right */
    members->index = entry->index;
    members->term = entry->term;
}

static void apply_to_partition(struct shard *shard, struct shard_stage *stage)
{
    const struct entry *entry = &stage->entry;
    struct group *group = &shard->groups[entry->group];
    ASSERT(entry->index == group->applied + 1);
    group->applied = entry->index;
    if (entry->kind == ENTRY_COMMAND || entry->kind == ENTRY_EFFECT) {
        apply_owned(shard, stage);
        return;
    }
    if (stage->replica != NULL) {
        settle(shard, stage->replica, entry->index, entry->term);
    }
    bool is_good = apply_other(shard, entry);
    ASSERT(is_good);
}

static void apply_one(struct shard *shard, struct shard_stage *stage)
{
    const struct entry *entry = &stage->entry;
    struct replica *replica = stage->replica;
    shard->entries_applied++;
    if (LIKELY(replica == NULL)) {
        ASSERT(stage->sequence > shard->applied_sequence);
        shard->applied_sequence = stage->sequence;
        apply_to_partition(shard, stage);
        answer_waiting(shard, stage->sequence);
        return;
    }
    ASSERT(entry->index == replica->applied + 1);
    if (entry->group == GROUP_META) {
        apply_meta(shard, entry);
    } else {
        apply_to_partition(shard, stage);
    }
    if (entry->kind == ENTRY_CONFIG) {
        bool is_config = raft_config_decode(entry->body, &replica->applied_config);
        ASSERT(is_config);
        log_event(shard->consensus->log, LOG_DEBUG, "config_applied",
                  LOG_U64("group", replica->group), LOG_U64("index", entry->index),
                  LOG_BOOL("joint", raft_config_is_joint(&replica->applied_config)));
    }
    replica->applied = entry->index;
    replica->applied_term = entry->term;
    if (entry->time_ms > replica->last_time_ms) {
        replica->last_time_ms = entry->time_ms;
    }
}

static void apply_staged(struct shard *shard, uint32_t count)
{
    if (count == 0) {
        return;
    }
    uint64_t start_ns = io_clock_ns(shard->io);
    for (uint32_t i = 0; i < count; i++) {
        stage_decode(shard, &shard->stage[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct shard_stage *stage = &shard->stage[i];
        if (stage->has_key) {
            kv_prefetch_entry(shard->keyspace.partitions[stage->entry.group], stage->hash);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        apply_one(shard, &shard->stage[i]);
    }
    uint64_t took_ns = io_clock_ns(shard->io) - start_ns;
    for (uint32_t i = 0; i < count; i++) {
        const struct shard_stage *stage = &shard->stage[i];
        if (stage->entry.kind == ENTRY_COMMAND && !stage->is_metered) {
            meter_share(shard->meter, stage->decoded.command, took_ns, count);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        struct replica *replica = shard->stage[i].replica;
        bool is_last = i + 1 == count || shard->stage[i + 1].replica != replica;
        if (replica != NULL && is_last) {
            consensus_applied(shard->consensus, replica);
        }
    }
}

bool shard_apply_recovered(struct shard *shard, const struct entry *entry)
{
    struct shard_stage *stage = &shard->stage[0];
    stage->entry = *entry;
    stage->replica = NULL;
    stage->has_key = false;
    bool is_good = false;
    if (entry->kind == ENTRY_COMMAND) {
        is_good = command_decode(entry->body, &stage->args, &stage->decoded) &&
                  apply_write(shard, stage, &nobody);
    } else if (entry->kind == ENTRY_EFFECT) {
        is_good = apply_write(shard, stage, &nobody);
    } else {
        is_good = apply_other(shard, entry);
    }
    if (!is_good) {
        return false;
    }
    struct group *group = &shard->groups[entry->group];
    group->applied = entry->index;
    group->last_index = entry->index;
    group->term = entry->term;
    group->last_time_ms = entry->time_ms;
    return true;
}

/* ── replicas: where they stand in the AOF, and snapshots they receive ───────────────────────── */

void shard_note_appended(struct shard *shard, const struct replica *replica, uint64_t index)
{
    if (replica->group == GROUP_META) {
        return; /* the members are written to the meta file at every change */
    }
    struct group *group = &shard->groups[replica->group];
    uint64_t sequence = shard_sequence_of(shard, replica->group, index);
    if (group->needed_sequence == UINT64_MAX) {
        group->needed_sequence = sequence;
    }
    group->last_index = replica->window_last;
    group->term = replica->term;
}

uint64_t shard_sequence_of(const struct shard *shard, uint32_t group, uint64_t index)
{
    const struct replica *replica = consensus_replica(shard->consensus, group);
    if (index < replica->window_first || index > replica->window_last) {
        return 0;
    }
    return replica_window_at(replica, index)->sequence;
}

void shard_adopt(struct shard *shard, uint32_t partition, struct kv *kv, struct sessions *sessions,
                 const struct snapshot_meta *meta, const struct raft_config *config)
{
    struct replica *replica = consensus_replica(shard->consensus, partition);
    struct group *group = &shard->groups[partition];
    shard_discard(shard, shard->keyspace.partitions[partition]);
    shard->keyspace.partitions[partition] = kv;
    sessions_deinit(&shard->sessions[partition]);
    shard->sessions[partition] = *sessions;
    sessions_init(sessions);
    replica->applied = meta->index;
    replica->applied_term = meta->term;
    replica->applied_config = *config;
    if (meta->time_ms > replica->last_time_ms) {
        replica->last_time_ms = meta->time_ms;
    }
    group->applied = meta->index;
    group->last_index = meta->index;
    group->term = meta->term;
    group->last_time_ms = replica->last_time_ms;
    shard->damaged_count -= group->is_damaged;
    group->is_damaged = false;
}

void shard_vacate(struct shard *shard, uint32_t partition)
{
    struct group *group = &shard->groups[partition];
    shard_discard(shard, shard->keyspace.partitions[partition]);
    shard->keyspace.partitions[partition] = kv_new(shard->keyspace.hash_seed);
    sessions_deinit(&shard->sessions[partition]);
    sessions_init(&shard->sessions[partition]);
    shard->damaged_count -= group->is_damaged;
    *group = (struct group){ .needed_sequence = UINT64_MAX };
}

/* ── contents that nobody needs any more ─────────────────────────────────────────────────────── */

void shard_discard(struct shard *shard, struct kv *kv)
{
    if (shard->discarded_count == shard->discarded_capacity) {
        shard->discarded_capacity =
            shard->discarded_capacity == 0 ? 4 : 2 * shard->discarded_capacity;
        shard->discarded =
            mem_realloc(shard->discarded, shard->discarded_capacity * sizeof(struct kv *));
    }
    kv_clear(kv); /* views go on with what was there */
    shard->discarded[shard->discarded_count++] = kv;
}

/* The first that no view shows any more; discarded_count: none. */
static uint32_t discarded_first(const struct shard *shard)
{
    uint32_t at = 0;
    while (at < shard->discarded_count && kv_views_count(shard->discarded[at]) > 0) {
        at++;
    }
    return at;
}

bool shard_has_discarded(const struct shard *shard)
{
    return discarded_first(shard) < shard->discarded_count;
}

void shard_reclaim(struct shard *shard)
{
    uint32_t at = discarded_first(shard);
    if (at == shard->discarded_count || kv_reclaim(shard->discarded[at], RECLAIM_BATCH)) {
        return;
    }
    kv_free(shard->discarded[at]);
    shard->discarded[at] = shard->discarded[--shard->discarded_count];
}
