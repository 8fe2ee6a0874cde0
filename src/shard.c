/*
 * shard.c — see shard.h.  Order of this file: life, propose, apply, reads.
 */
#include "shard.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/varint.h"
#include "io/io.h"

enum {
    PENDING_FIRST = 1024,   /* ring slots at the start; doubles on demand */
    EXPIRY_BATCH = 128,     /* key hashes in one EXPIRE entry */
    EXPIRY_ROUND_MAX = 2048 /* key hashes proposed in one iteration, so that none takes long */
};

/* One durable record on its way through the stages of apply. */
struct shard_stage {
    struct entry entry;
    uint64_t sequence;
    struct command_decoded decoded;
    struct command_args args; /* owned */
    uint64_t hash;
    bool has_key;
    bool is_metered; /* was timed by itself */
};

static void pending_push(struct shard *shard, struct pending pending);
static void apply_staged(struct shard *shard, uint32_t count);
static void answer_end(struct shard *shard, const struct command *command, struct conn *conn,
                       uint64_t ticket, const struct reply *reply);

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

void shard_init(struct shard *shard, struct io *io, uint32_t partitions, uint64_t hash_seed,
                struct meter *meter)
{
    *shard = (struct shard){ .io = io, .meter = meter };
    keyspace_init(&shard->keyspace, partitions, hash_seed);
    shard->groups = mem_zalloc(partitions * sizeof(*shard->groups));
    for (uint32_t i = 0; i < partitions; i++) {
        shard->groups[i].term = 1; /* a lone node leads every group in its first term */
        shard->groups[i].needed_sequence = UINT64_MAX;
    }
    prng_init(&shard->prng, io_random(io));
    shard->pending_capacity = PENDING_FIRST;
    shard->pending = mem_alloc(PENDING_FIRST * sizeof(*shard->pending));
    shard->stage = mem_zalloc(PIPELINE_BATCH * sizeof(*shard->stage));
    shard->now_ms = io_wall_ms(io);
    shard->now_sampled_ns = io_clock_ns(io);
}

static void pending_drop(struct pending *pending)
{
    mem_free(pending->typed);
    switch (pending->kind) {
    case PENDING_READ:
        late_request_free(pending->read);
        break;
    case PENDING_PART:
        if (--pending->gather->parts_left == 0) {
            mem_free(pending->gather);
        }
        break;
    case PENDING_EFFECTS:
        buffer_free(&pending->answer);
        break;
    case PENDING_WRITE:
        break;
    }
}

void shard_deinit(struct shard *shard)
{
    for (uint64_t at = shard->pending_head; at != shard->pending_tail; at++) {
        pending_drop(&shard->pending[at & (shard->pending_capacity - 1)]);
    }
    for (uint32_t i = 0; i < PIPELINE_BATCH; i++) {
        mem_free(shard->stage[i].args.argv);
    }
    mem_free(shard->stage);
    mem_free(shard->pending);
    mem_free(shard->split);
    mem_free(shard->groups);
    effects_deinit(&shard->effects);
    buffer_free(&shard->captured);
    keyspace_deinit(&shard->keyspace);
}

void shard_tick(struct shard *shard)
{
    uint64_t wall_ms = io_wall_ms(shard->io);
    uint64_t clock_ns = io_clock_ns(shard->io);
    if (wall_ms >= shard->now_ms) {
        shard->now_ms = wall_ms;
        shard->now_sampled_ns = clock_ns;
        return;
    }
    /* The wall clock was set back.  Time must not go back for the keys, nor may it stand still, or
     * nothing would expire: run at half speed until the wall clock has caught up. */
    uint64_t elapsed_ms = (clock_ns - shard->now_sampled_ns) / 1000000;
    if (elapsed_ms >= 2) {
        shard->now_ms += elapsed_ms / 2;
        shard->now_sampled_ns = clock_ns;
    }
}

/* ── propose ─────────────────────────────────────────────────────────────────────────────────── */

/* Opens a record for an entry of the group; returns where its body goes. */
static char *propose_begin(struct shard *shard, uint32_t partition, enum entry_kind kind,
                           size_t body_max)
{
    struct group *group = &shard->groups[partition];
    ASSERT(group->applied <= group->last_index);
    if (shard->now_ms > group->last_time_ms) {
        group->last_time_ms = shard->now_ms;
    }
    struct entry entry = {
        .index = ++group->last_index,
        .term = group->term,
        .time_ms = group->last_time_ms,
        .kind = kind,
        .group = (uint16_t)partition,
        .seed = (uint32_t)prng_next(&shard->prng),
    };
    char *to = aof_record_begin(shard->aof, ENTRY_HEADER_BYTES + body_max);
    entry_header_write(&entry, to);
    return to + ENTRY_HEADER_BYTES;
}

static void propose_end(struct shard *shard, uint32_t partition, size_t body_size, bool more)
{
    uint64_t sequence = aof_record_end(shard->aof, ENTRY_HEADER_BYTES + body_size, AOF_ENTRY,
                                       (uint16_t)partition, more);
    ASSERT(sequence > shard->proposed_sequence); /* the log takes numbers for its own marks */
    shard->proposed_sequence = sequence;
    struct group *group = &shard->groups[partition];
    if (group->needed_sequence == UINT64_MAX) {
        group->needed_sequence = sequence;
    }
}

static void propose_command(struct shard *shard, uint32_t partition, const struct command *command,
                            uint32_t argc, const struct slice *argv, bool more)
{
    char *to = propose_begin(shard, partition, ENTRY_COMMAND, command_encode_max(argc, argv));
    propose_end(shard, partition, command_encode(command, argc, argv, to), more);
}

void shard_propose_command(struct shard *shard, uint32_t partition, const struct command *command,
                           uint32_t argc, const struct slice *argv, struct conn *conn,
                           uint64_t ticket, struct slowlog_args *typed)
{
    propose_command(shard, partition, command, argc, argv, /* more= */ false);
    pending_push(shard, (struct pending){
                            .sequence = shard->proposed_sequence,
                            .kind = PENDING_WRITE,
                            .client = { conn, ticket },
                            .typed = typed,
                        });
}

/* Sorts the key groups of a command by partition (a counting sort: linear in the arguments).
 * Writes argument lists one after another into shard->split; out_ends[p] is where p's ends. */
static void split_by_partition(struct shard *shard, uint32_t first, uint32_t step, uint32_t argc,
                               const struct slice *argv, uint32_t *out_ends)
{
    uint32_t partitions = shard->keyspace.count;
    if (shard->split_capacity < argc) {
        shard->split_capacity = argc;
        shard->split = mem_realloc(shard->split, argc * sizeof(*shard->split));
    }
    memset(out_ends, 0, partitions * sizeof(*out_ends));
    for (uint32_t i = first; i < argc; i += step) {
        out_ends[keyspace_partition(&shard->keyspace, argv[i])] += step;
    }
    uint32_t start = 0;
    for (uint32_t p = 0; p < partitions; p++) {
        uint32_t size = out_ends[p];
        out_ends[p] = start;
        start += size;
    }
    ASSERT(start + first == argc);
    for (uint32_t i = first; i < argc; i += step) {
        uint32_t *to = &out_ends[keyspace_partition(&shard->keyspace, argv[i])];
        for (uint32_t k = 0; k < step; k++) {
            shard->split[(*to)++] = argv[i + k];
        }
    }
}

void shard_propose_split(struct shard *shard, const struct command *command, uint32_t argc,
                         const struct slice *argv, struct conn *conn, uint64_t ticket,
                         struct slowlog_args *typed)
{
    uint32_t ends[PARTITIONS_MAX];
    uint32_t first = (uint32_t)command->first_key;
    ASSERT(first == 1 && command->key_step > 0);
    split_by_partition(shard, first, (uint32_t)command->key_step, argc, argv, ends);

    struct gather *gather = mem_zalloc(sizeof(*gather));
    *gather = (struct gather){ .conn = conn, .ticket = ticket, .command = command };
    uint32_t last = shard->keyspace.count - 1;
    while (last > 0 && ends[last] == ends[last - 1]) {
        last--;
    }
    struct slice *part = mem_alloc(argc * sizeof(*part));
    part[0] = argv[0];
    uint32_t start = 0;
    for (uint32_t p = 0; p <= last; start = ends[p], p++) {
        uint32_t size = ends[p] - start;
        if (size == 0) {
            continue;
        }
        memcpy(part + 1, shard->split + start, size * sizeof(*part));
        propose_command(shard, p, command, size + 1, part, /* more= */ p < last);
        gather->parts_left++;
        pending_push(shard, (struct pending){
                                .sequence = shard->proposed_sequence,
                                .kind = PENDING_PART,
                                .gather = gather,
                                .typed = p == last ? typed : NULL,
                            });
    }
    mem_free(part);
}

/* Logs the collected effects of one command as one batch. */
static void propose_effects_batch(struct shard *shard)
{
    struct effects *effects = &shard->effects;
    for (uint32_t i = 0; i < effects->count; i++) {
        const struct effects_part *part = &effects->parts[i];
        char *to = propose_begin(shard, part->partition, ENTRY_EFFECT, part->body.size);
        memcpy(to, part->body.data, part->body.size);
        propose_end(shard, part->partition, part->body.size, /* more= */ i + 1 < effects->count);
    }
}

/* A reply that is kept, in RESP2, in shard->captured. */
static void capture_begin(struct shard *shard, struct reply *capture)
{
    shard->captured.size = 0;
    reply_begin(capture, PROTOCOL_RESP2, &shard->captured, (struct slice){ 0 });
}

void shard_propose_effects(struct shard *shard, const struct command *command, uint32_t argc,
                           const struct slice *argv, struct conn *conn, uint64_t ticket)
{
    ASSERT(!shard_is_busy(shard));
    effects_deinit(&shard->effects);
    struct reply capture;
    capture_begin(shard, &capture);
    struct command_ctx ctx = {
        .command = command,
        .argv = argv,
        .argc = argc,
        .reply = &capture,
        .keyspace = &shard->keyspace,
        .now_ms = shard->now_ms,
        .seed = prng_next(&shard->prng),
        .effects = &shard->effects,
        .stats = &shard->delta,
    };
    uint64_t start_ns = io_clock_ns(shard->io);
    command->run(&ctx);
    meter_one(shard->meter, command, argv, argc, conn, shard->now_ms,
              io_clock_ns(shard->io) - start_ns);
    reply_end(&capture);
    if (capture.is_error || shard->effects.count == 0) {
        struct reply *reply = conn_deferred_begin(conn, ticket); /* nothing changes */
        reply_replay(reply, buffer_slice(&shard->captured));
        answer_end(shard, command, conn, ticket, reply);
        return;
    }
    struct buffer answer = { 0 };
    buffer_append_slice(&answer, buffer_slice(&shard->captured));
    propose_effects_batch(shard);
    pending_push(shard, (struct pending){
                            .sequence = shard->proposed_sequence,
                            .kind = PENDING_EFFECTS,
                            .client = { conn, ticket },
                            .answer = answer,
                        });
}

void shard_propose_entry(struct shard *shard, uint32_t partition, enum entry_kind kind,
                         struct slice body)
{
    char *to = propose_begin(shard, partition, kind, body.size);
    if (body.size > 0) {
        memcpy(to, body.data, body.size);
    }
    propose_end(shard, partition, body.size, /* more= */ false);
}

static void propose_expire(struct shard *shard, uint32_t partition, const uint64_t *hashes,
                           uint32_t count)
{
    char body[VARINT_BYTES_MAX + EXPIRY_BATCH * 8];
    char *to = varint_write(body, count);
    memcpy(to, hashes, count * sizeof(*hashes));
    to += count * sizeof(*hashes);
    shard_propose_entry(shard, partition, ENTRY_EXPIRE, slice_make(body, (size_t)(to - body)));
}

bool shard_propose_expiry(struct shard *shard)
{
    uint32_t proposed = 0;
    for (uint32_t p = 0; p < shard->keyspace.count; p++) {
        struct kv *kv = shard->keyspace.partitions[p];
        while (!shard->groups[p].is_damaged && kv_expiry_next_ms(kv) <= shard->now_ms) {
            uint64_t hashes[EXPIRY_BATCH];
            uint32_t count = kv_expiry_collect(kv, shard->now_ms, hashes, EXPIRY_BATCH);
            if (count == 0) {
                break;
            }
            propose_expire(shard, p, hashes, count);
            proposed += count;
            if (proposed >= EXPIRY_ROUND_MAX) {
                return true;
            }
        }
    }
    return false;
}

/* ── pending ─────────────────────────────────────────────────────────────────────────────────── */

static void pending_grow(struct shard *shard)
{
    uint32_t capacity = shard->pending_capacity * 2;
    struct pending *ring = mem_alloc(capacity * sizeof(*ring));
    for (uint64_t at = shard->pending_head; at != shard->pending_tail; at++) {
        ring[at & (capacity - 1)] = shard->pending[at & (shard->pending_capacity - 1)];
    }
    mem_free(shard->pending);
    shard->pending = ring;
    shard->pending_capacity = capacity;
}

static void pending_push(struct shard *shard, struct pending pending)
{
    if (shard->pending_tail - shard->pending_head == shard->pending_capacity) {
        pending_grow(shard);
    }
    shard->pending[shard->pending_tail++ & (shard->pending_capacity - 1)] = pending;
}

/* The next one that waits for `sequence` or an earlier record; NULL when there is none. */
static struct pending *pending_front(struct shard *shard, uint64_t sequence)
{
    if (shard->pending_head == shard->pending_tail) {
        return NULL;
    }
    struct pending *front = &shard->pending[shard->pending_head & (shard->pending_capacity - 1)];
    return front->sequence <= sequence ? front : NULL;
}

/* ── apply ───────────────────────────────────────────────────────────────────────────────────── */

/* Ends an answer opened with conn_deferred_begin. */
static void answer_end(struct shard *shard, const struct command *command, struct conn *conn,
                       uint64_t ticket, const struct reply *reply)
{
    if (UNLIKELY(reply->is_error)) {
        meter_error(shard->meter, command, reply);
    }
    conn_deferred_end(conn, ticket);
}

void shard_apply_durable(struct shard *shard)
{
    struct aof_record record;
    uint32_t count = 0;
    while (aof_durable_next(shard->aof, &record)) {
        struct shard_stage *stage = &shard->stage[count];
        stage->sequence = record.sequence;
        bool is_entry = entry_decode(record.body, &stage->entry);
        ASSERT(is_entry && stage->entry.group == record.group);
        if (++count == PIPELINE_BATCH) {
            apply_staged(shard, count);
            count = 0;
        }
    }
    apply_staged(shard, count);
}

/* Decodes a command entry and touches the bucket of its key. */
static void stage_decode(struct shard *shard, struct shard_stage *stage)
{
    stage->has_key = false;
    if (stage->entry.kind != ENTRY_COMMAND) {
        return;
    }
    bool is_command = command_decode(stage->entry.body, &stage->args, &stage->decoded);
    ASSERT(is_command); /* we encoded it, and its checksum was right */
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
        .now_ms = stage->entry.time_ms,
        .version = stage->entry.index,
        .seed = stage->entry.seed,
        .first_key_hash = stage->hash,
        .first_key_partition = stage->entry.group,
        .has_first_key_hash = stage->has_key,
        .stats = &shard->delta,
    };
    stage->decoded.command->run(&ctx);
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

/* Everything but commands; false when the body is malformed or the kind cannot be applied. */
static bool apply_other(struct kv *kv, const struct entry *entry)
{
    switch (entry->kind) {
    case ENTRY_NOOP:
        return entry->body.size == 0;
    case ENTRY_EFFECT:
        return effects_apply(kv, entry->body, entry->index);
    case ENTRY_EXPIRE:
        return apply_expire(kv, entry);
    case ENTRY_COMMAND:
    case ENTRY_CONFIG:
    case ENTRY_VERIFY:
    case ENTRY_META:
        break;
    }
    return false;
}

static void gather_part(struct shard *shard, const struct shard_stage *stage, struct gather *gather)
{
    struct reply capture;
    capture_begin(shard, &capture);
    run_command(shard, stage, &capture);
    reply_end(&capture);
    int64_t number = 0;
    struct slice answer = buffer_slice(&shard->captured);
    bool is_number =
        answer.data[0] == ':' && text_to_i64(slice_make(answer.data + 1, answer.size - 3), &number);
    gather->sum += number;
    if (--gather->parts_left > 0) {
        return;
    }
    struct reply *reply = conn_deferred_begin(gather->conn, gather->ticket);
    if (is_number) {
        reply_integer(reply, gather->sum);
    } else {
        reply_replay(reply, answer);
    }
    answer_end(shard, gather->command, gather->conn, gather->ticket, reply);
    mem_free(gather);
}

/* Runs a command entry for whoever waits for it (nobody, when `owner` is NULL). */
static void apply_command(struct shard *shard, const struct shard_stage *stage,
                          const struct pending *owner)
{
    if (owner != NULL && owner->kind == PENDING_WRITE) {
        struct conn *conn = owner->client.conn;
        struct reply *reply = conn_deferred_begin(conn, owner->client.ticket);
        run_command(shard, stage, reply);
        answer_end(shard, stage->decoded.command, conn, owner->client.ticket, reply);
    } else if (owner != NULL) {
        ASSERT(owner->kind == PENDING_PART);
        gather_part(shard, stage, owner->gather);
    } else {
        struct reply sink;
        reply_begin_sink(&sink);
        run_command(shard, stage, &sink);
    }
}

static void answer_effects(struct pending *pending)
{
    struct reply *reply = conn_deferred_begin(pending->client.conn, pending->client.ticket);
    reply_replay(reply, buffer_slice(&pending->answer));
    conn_deferred_end(pending->client.conn, pending->client.ticket);
    buffer_free(&pending->answer);
}

static void answer_read(struct shard *shard, struct late_request *late)
{
    struct reply *reply = conn_deferred_begin(late->conn, late->ticket);
    uint64_t start_ns = io_clock_ns(shard->io);
    shard_run_read(shard, late->command, late->argc, late->argv, (struct key_place){ 0 }, reply);
    meter_one(shard->meter, late->command, late->argv, late->argc, late->conn, shard->now_ms,
              io_clock_ns(shard->io) - start_ns);
    answer_end(shard, late->command, late->conn, late->ticket, reply);
    late_request_free(late);
}

/* Answers everything that waited for records up to this one. */
static void answer_waiting(struct shard *shard, uint64_t sequence)
{
    struct pending *front = NULL;
    while ((front = pending_front(shard, sequence)) != NULL) {
        struct pending pending = *front; /* answering may push */
        shard->pending_head++;
        if (pending.kind == PENDING_EFFECTS) {
            answer_effects(&pending);
        } else {
            ASSERT(pending.kind == PENDING_READ);
            answer_read(shard, pending.read);
        }
    }
}

/* Applies a command entry for the client that waits for it, if one does. */
static void apply_owned(struct shard *shard, struct shard_stage *stage)
{
    struct pending *front = pending_front(shard, stage->sequence);
    bool is_owned = front != NULL && (front->kind == PENDING_WRITE || front->kind == PENDING_PART);
    struct pending owner = is_owned ? *front : (struct pending){ 0 };
    shard->pending_head += is_owned;
    const struct command *command = stage->decoded.command;
    stage->is_metered = meter_times_alone(shard->meter, command);
    if (LIKELY(!stage->is_metered)) {
        mem_free(owner.typed);
        apply_command(shard, stage, is_owned ? &owner : NULL);
        return;
    }
    struct conn *conn = !is_owned                     ? NULL
                        : owner.kind == PENDING_WRITE ? owner.client.conn
                                                      : owner.gather->conn;
    bool is_last = !is_owned || owner.kind == PENDING_WRITE || owner.gather->parts_left == 1;
    uint64_t start_ns = io_clock_ns(shard->io);
    apply_command(shard, stage, is_owned ? &owner : NULL);
    shard->parts_ns += io_clock_ns(shard->io) - start_ns;
    if (is_last) {
        meter_typed(shard->meter, command, owner.typed, conn, shard->now_ms, shard->parts_ns);
        shard->parts_ns = 0;
    }
}

static void apply_one(struct shard *shard, struct shard_stage *stage)
{
    const struct entry *entry = &stage->entry;
    struct group *group = &shard->groups[entry->group];
    ASSERT(entry->index == group->applied + 1);
    ASSERT(stage->sequence > shard->applied_sequence);
    group->applied = entry->index;
    shard->applied_sequence = stage->sequence;
    shard->entries_applied++;
    if (entry->kind == ENTRY_COMMAND) {
        apply_owned(shard, stage);
    } else {
        bool applied = apply_other(shard->keyspace.partitions[entry->group], entry);
        ASSERT(applied); /* we proposed it, and its checksum was right */
    }
    answer_waiting(shard, stage->sequence);
}

/* The stages of a batch: decode and touch buckets, touch entries, run.  Memory latency overlaps. */
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
}

bool shard_apply_recovered(struct shard *shard, const struct entry *entry)
{
    struct shard_stage *stage = &shard->stage[0];
    stage->entry = *entry;
    struct group *group = &shard->groups[entry->group];
    struct kv *kv = shard->keyspace.partitions[entry->group];
    if (entry->kind == ENTRY_COMMAND) {
        if (!command_decode(entry->body, &stage->args, &stage->decoded)) {
            return false;
        }
        stage->has_key = false;
        apply_command(shard, stage, NULL);
    } else if (!apply_other(kv, entry)) {
        return false;
    }
    group->applied = entry->index;
    group->last_index = entry->index;
    group->term = entry->term;
    group->last_time_ms = entry->time_ms;
    return true;
}

/* ── reads ───────────────────────────────────────────────────────────────────────────────────── */

struct late_request *late_request_new(struct conn *conn, uint64_t ticket,
                                      const struct command *command, uint32_t argc,
                                      const struct slice *argv)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < argc; i++) {
        bytes += argv[i].size;
    }
    struct late_request *late = mem_alloc(sizeof(*late) + argc * sizeof(struct slice) + bytes);
    *late =
        (struct late_request){ .conn = conn, .ticket = ticket, .command = command, .argc = argc };
    late->argv = (struct slice *)(void *)(late + 1);
    char *to = (char *)(late->argv + argc);
    for (uint32_t i = 0; i < argc; i++) {
        late->argv[i] = slice_make(to, argv[i].size);
        if (argv[i].size > 0) {
            memcpy(to, argv[i].data, argv[i].size);
        }
        to += argv[i].size;
    }
    return late;
}

void late_request_free(struct late_request *late)
{
    mem_free(late);
}

void shard_read_later(struct shard *shard, struct late_request *late)
{
    ASSERT(shard_is_busy(shard));
    pending_push(shard, (struct pending){
                            .sequence = shard->proposed_sequence,
                            .kind = PENDING_READ,
                            .read = late,
                        });
}

void shard_run_read(struct shard *shard, const struct command *command, uint32_t argc,
                    const struct slice *argv, struct key_place place, struct reply *reply)
{
    struct command_ctx ctx = {
        .command = command,
        .argv = argv,
        .argc = argc,
        .reply = reply,
        .keyspace = &shard->keyspace,
        .now_ms = shard->now_ms,
        .seed = prng_next(&shard->prng),
        .first_key_hash = place.hash,
        .first_key_partition = place.partition,
        .has_first_key_hash = place.is_known,
        .stats = &shard->delta,
    };
    command->run(&ctx);
}
