/*
 * shard.c — see shard.h.  Order of this file: life, propose (lone node, member), expiry, reads.
 *
 * Read next: shard_apply.c.
 */
#include "shard.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/varint.h"
#include "consensus.h"
#include "forward.h"
#include "gather.h"
#include "io/io.h"
#include "storage/snapshot.h"

enum {
    EXPIRY_BATCH = 128,     /* key hashes in one EXPIRE entry */
    EXPIRY_ROUND_MAX = 2048 /* key hashes proposed in one iteration, so that none takes long */
};

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

void shard_init(struct shard *shard, struct io *io, uint32_t partitions, uint64_t hash_seed,
                struct meter *meter)
{
    *shard = (struct shard){ .io = io, .meter = meter };
    keyspace_init(&shard->keyspace, partitions, hash_seed);
    shard->groups = mem_zalloc(partitions * sizeof(*shard->groups));
    shard->sessions = mem_zalloc(partitions * sizeof(*shard->sessions));
    for (uint32_t i = 0; i < partitions; i++) {
        shard->groups[i].term = 1; /* a lone node leads every group in its first term */
        shard->groups[i].needed_sequence = UINT64_MAX;
        sessions_init(&shard->sessions[i]);
    }
    answers_init(&shard->answers, meter);
    prng_init(&shard->prng, io_random(io));
    shard->stage = shard_stage_new();
    shard->now_ms = io_wall_ms(io);
    shard->now_sampled_ns = io_clock_ns(io);
}

static void parts_free(struct key_parts *parts)
{
    mem_free(parts->partitions);
    mem_free(parts->ends);
    mem_free(parts->order);
    mem_free((void *)(uintptr_t)parts->argv);
}

void shard_deinit(struct shard *shard)
{
    pending_queue_deinit(&shard->pending);
    shard_stage_free(shard->stage);
    parts_free(&shard->parts);
    mem_free(shard->part_argv);
    for (uint32_t i = 0; i < shard->keyspace.count; i++) {
        sessions_deinit(&shard->sessions[i]);
    }
    mem_free(shard->sessions);
    mem_free(shard->groups);
    effects_deinit(&shard->effects);
    buffer_free(&shard->captured);
    answers_deinit(&shard->answers);
    for (uint32_t i = 0; i < shard->discarded_count; i++) {
        kv_free(shard->discarded[i]);
    }
    mem_free(shard->discarded);
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

/* ── propose: a lone node ────────────────────────────────────────────────────────────────────── */

static void set_origin(struct entry *entry, const struct request_origin *origin)
{
    if (origin == NULL || origin->node == 0) {
        return;
    }
    entry->flags |= ENTRY_HAS_ORIGIN;
    entry->origin_node = origin->node;
    entry->origin_boot = origin->boot;
    entry->origin_seq = origin->seq;
    entry->origin_floor = origin->floor;
}

/* Opens a record for an entry of the group; returns where its body goes. */
static char *lone_begin(struct shard *shard, uint32_t partition, struct entry *entry,
                        size_t body_max)
{
    struct group *group = &shard->groups[partition];
    ASSERT(shard->consensus == NULL);
    ASSERT(group->applied <= group->last_index);
    if (shard->now_ms > group->last_time_ms) {
        group->last_time_ms = shard->now_ms;
    }
    entry->index = ++group->last_index;
    entry->term = group->term;
    entry->time_ms = group->last_time_ms;
    entry->group = (uint16_t)partition;
    size_t header = entry_header_size(entry);
    char *to = aof_record_begin(shard->aof, header + body_max);
    entry_header_write(entry, to);
    return to + header;
}

static void lone_end(struct shard *shard, const struct entry *entry, size_t body_size, bool more)
{
    uint64_t sequence = aof_record_end(shard->aof, entry_header_size(entry) + body_size, AOF_ENTRY,
                                       entry->group, more);
    ASSERT(sequence > shard->proposed_sequence); /* the log takes numbers for its own marks */
    shard->proposed_sequence = sequence;
    struct group *group = &shard->groups[entry->group];
    if (group->needed_sequence == UINT64_MAX) {
        group->needed_sequence = sequence;
    }
}

static void lone_command(struct shard *shard, uint32_t partition, const struct proposal *proposal,
                         bool more)
{
    struct entry entry = { .kind = ENTRY_COMMAND, .seed = (uint32_t)prng_next(&shard->prng) };
    set_origin(&entry, proposal->origin);
    size_t body_max = command_encode_max(proposal->argc, proposal->argv);
    char *to = lone_begin(shard, partition, &entry, body_max);
    size_t size = command_encode(proposal->command, proposal->argc, proposal->argv, to);
    lone_end(shard, &entry, size, more);
    struct pending pending = {
        .position = shard->proposed_sequence,
        .kind = PENDING_WRITE,
        .is_partial = proposal->is_partial,
        .typed = proposal->typed,
        .asker = proposal->asker,
        .command = proposal->command,
    };
    pending_push(&shard->pending, &pending);
}

void shard_propose_split(struct shard *shard, const struct proposal *proposal)
{
    const struct key_parts *parts =
        shard_split_keys(shard, proposal->command, proposal->argc, proposal->argv);
    struct gather *gather =
        gather_new(&proposal->asker, proposal->command, parts->count, /* order= */ NULL, 0);
    uint32_t key_step = (uint32_t)proposal->command->key_step;
    uint32_t start = 0;
    for (uint32_t i = 0; i < parts->count; start = parts->ends[i], i++) {
        bool is_last = i + 1 == parts->count;
        uint32_t size = parts->ends[i] - start;
        shard->part_argv[0] = proposal->argv[0];
        memcpy(shard->part_argv + 1, parts->argv + start, size * sizeof(struct slice));
        struct proposal part = {
            .command = proposal->command,
            .argc = size + 1,
            .argv = shard->part_argv,
            .typed = is_last ? proposal->typed : NULL,
            .is_partial = !is_last,
            .asker = gather_part(gather, i, size / key_step),
        };
        lone_command(shard, parts->partitions[i], &part, /* more= */ !is_last);
    }
}

/* Logs the collected effects of one command as one batch. */
static void propose_effects_batch(struct shard *shard)
{
    struct effects *effects = &shard->effects;
    for (uint32_t i = 0; i < effects->count; i++) {
        const struct effects_part *part = &effects->parts[i];
        struct entry entry = { .kind = ENTRY_EFFECT, .seed = (uint32_t)prng_next(&shard->prng) };
        char *to = lone_begin(shard, part->partition, &entry, part->body.size);
        memcpy(to, part->body.data, part->body.size);
        lone_end(shard, &entry, part->body.size, /* more= */ i + 1 < effects->count);
    }
}

void shard_propose_effects(struct shard *shard, const struct command *command, uint32_t argc,
                           const struct slice *argv, const struct asker *asker)
{
    ASSERT(!shard_is_busy(shard));
    effects_deinit(&shard->effects);
    struct reply capture;
    shard->captured.size = 0;
    reply_begin(&capture, PROTOCOL_RESP3, &shard->captured, (struct slice){ 0 });
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
    struct conn *conn = asker->kind == ASKER_CLIENT ? asker->client.conn : NULL;
    meter_one(shard->meter, command, argv, argc, conn, shard->now_ms,
              io_clock_ns(shard->io) - start_ns);
    reply_end(&capture);
    if (capture.is_error || shard->effects.count == 0) { /* nothing changes */
        answer_replay(&shard->answers, asker, command, buffer_slice(&shard->captured), 0);
        return;
    }
    struct buffer *answer = mem_zalloc(sizeof(*answer));
    buffer_append_slice(answer, buffer_slice(&shard->captured));
    propose_effects_batch(shard);
    struct pending pending = {
        .position = shard->proposed_sequence,
        .kind = PENDING_EFFECTS,
        .asker = *asker,
        .command = command,
        .answer = answer,
    };
    pending_push(&shard->pending, &pending);
}

/* ── propose: a member of a cluster ──────────────────────────────────────────────────────────── */

static enum propose_result result_of(enum raft_result result)
{
    return result == RAFT_FULL ? PROPOSE_BUSY : PROPOSE_NOT_LEADER;
}

/* The proposer of the newest entry waits for it. */
static void await(struct shard *shard, struct replica *replica, const struct proposal *proposal)
{
    const struct consensus *consensus = shard->consensus;
    struct pending pending = {
        .position = replica->window_last,
        .term = replica->term,
        .until_ms = consensus->now_ms + consensus->options.request_timeout_ms,
        .kind = PENDING_WRITE,
        .is_partial = proposal->is_partial,
        .typed = proposal->typed,
        .asker = proposal->asker,
        .command = proposal->command,
    };
    pending_push(&replica->pending, &pending);
}

static enum propose_result member_command(struct shard *shard, uint32_t partition,
                                          const struct proposal *proposal)
{
    struct consensus *consensus = shard->consensus;
    struct replica *replica = consensus_replica(consensus, partition);
    struct entry entry = { .kind = ENTRY_COMMAND, .seed = (uint32_t)prng_next(&shard->prng) };
    set_origin(&entry, proposal->origin);
    size_t body_max = command_encode_max(proposal->argc, proposal->argv);
    enum raft_result result = RAFT_OK;
    char *to = consensus_propose_begin(consensus, replica, &entry, body_max, &result);
    if (to == NULL) {
        return result_of(result);
    }
    size_t size = command_encode(proposal->command, proposal->argc, proposal->argv, to);
    consensus_propose_end(consensus, replica, &entry, to, size);
    await(shard, replica, proposal);
    return PROPOSE_OK;
}

enum propose_result shard_propose_command(struct shard *shard, uint32_t partition,
                                          const struct proposal *proposal)
{
    if (UNLIKELY(shard->consensus != NULL)) {
        return member_command(shard, partition, proposal);
    }
    lone_command(shard, partition, proposal, /* more= */ false);
    return PROPOSE_OK;
}

enum propose_result shard_propose_clear(struct shard *shard, uint32_t partition,
                                        const struct proposal *proposal)
{
    struct consensus *consensus = shard->consensus;
    struct replica *replica = consensus_replica(consensus, partition);
    effects_deinit(&shard->effects);
    effects_clear(&shard->effects, partition);
    ASSERT(shard->effects.count == 1);
    struct slice body = buffer_slice(&shard->effects.parts[0].body);
    struct entry entry = { .kind = ENTRY_EFFECT, .seed = (uint32_t)prng_next(&shard->prng) };
    set_origin(&entry, proposal->origin);
    enum raft_result result = RAFT_OK;
    char *to = consensus_propose_begin(consensus, replica, &entry, body.size, &result);
    if (to == NULL) {
        return result_of(result);
    }
    memcpy(to, body.data, body.size);
    consensus_propose_end(consensus, replica, &entry, to, body.size);
    await(shard, replica, proposal);
    return PROPOSE_OK;
}

/* ── propose: what no client waits for ───────────────────────────────────────────────────────── */

bool shard_propose_entry(struct shard *shard, uint32_t group, enum entry_kind kind,
                         struct slice body)
{
    struct entry entry = { .kind = kind, .seed = (uint32_t)prng_next(&shard->prng) };
    if (shard->consensus == NULL) {
        char *to = lone_begin(shard, group, &entry, body.size);
        if (body.size > 0) {
            memcpy(to, body.data, body.size);
        }
        lone_end(shard, &entry, body.size, /* more= */ false);
        return true;
    }
    struct replica *replica = consensus_replica(shard->consensus, group);
    enum raft_result result = RAFT_OK;
    char *to = consensus_propose_begin(shard->consensus, replica, &entry, body.size, &result);
    if (to == NULL) {
        return false;
    }
    if (body.size > 0) {
        memcpy(to, body.data, body.size);
    }
    consensus_propose_end(shard->consensus, replica, &entry, to, body.size);
    return true;
}

static bool propose_expire(struct shard *shard, uint32_t partition, const uint64_t *hashes,
                           uint32_t count)
{
    char body[VARINT_BYTES_MAX + EXPIRY_BATCH * 8];
    char *to = varint_write(body, count);
    memcpy(to, hashes, count * sizeof(*hashes));
    to += count * sizeof(*hashes);
    return shard_propose_entry(shard, partition, ENTRY_EXPIRE,
                               slice_make(body, (size_t)(to - body)));
}

/* Only the leader expires; what a follower holds expires when the leader's entry comes. */
static bool may_expire(const struct shard *shard, uint32_t partition)
{
    if (shard->consensus == NULL) {
        return !shard->groups[partition].is_damaged;
    }
    const struct replica *replica = consensus_replica(shard->consensus, partition);
    return replica_is_leader(replica) && !replica->has_transfer;
}

bool shard_propose_expiry(struct shard *shard)
{
    uint32_t proposed = 0;
    for (uint32_t p = 0; p < shard->keyspace.count; p++) {
        struct kv *kv = shard->keyspace.partitions[p];
        while (kv_expiry_next_ms(kv) <= shard->now_ms && may_expire(shard, p)) {
            uint64_t hashes[EXPIRY_BATCH];
            uint32_t count = kv_expiry_collect(kv, shard->now_ms, hashes, EXPIRY_BATCH);
            if (count == 0 || !propose_expire(shard, p, hashes, count)) {
                break;
            }
            proposed += count;
            if (proposed >= EXPIRY_ROUND_MAX) {
                return true;
            }
        }
    }
    return false;
}

/* ── split ───────────────────────────────────────────────────────────────────────────────────── */

static void parts_reserve(struct shard *shard, uint32_t argc)
{
    struct key_parts *parts = &shard->parts;
    if (parts->partitions == NULL) {
        parts->partitions = mem_alloc(shard->keyspace.count * sizeof(uint32_t));
        parts->ends = mem_alloc(shard->keyspace.count * sizeof(uint32_t));
    }
    if (shard->parts_capacity < argc) {
        shard->parts_capacity = argc;
        parts->argv = mem_realloc((void *)(uintptr_t)parts->argv, argc * sizeof(struct slice));
        parts->order = mem_realloc(parts->order, argc * sizeof(uint32_t));
        shard->part_argv = mem_realloc(shard->part_argv, argc * sizeof(struct slice));
    }
}

const struct key_parts *shard_split_keys(struct shard *shard, const struct command *command,
                                         uint32_t argc, const struct slice *argv)
{
    ASSERT(command->first_key == 1 && command->key_step > 0);
    parts_reserve(shard, argc);
    struct key_parts *parts = &shard->parts;
    struct slice *to = (struct slice *)(uintptr_t)parts->argv;
    uint32_t step = (uint32_t)command->key_step;
    uint32_t at[PARTITIONS_MAX] = { 0 }; /* a counting sort: first sizes, then places */
    for (uint32_t i = 1; i < argc; i += step) {
        at[keyspace_partition(&shard->keyspace, argv[i])] += step;
    }
    uint32_t start = 0;
    parts->count = 0;
    for (uint32_t p = 0; p < shard->keyspace.count; p++) {
        uint32_t size = at[p];
        at[p] = start;
        start += size;
        if (size > 0) {
            parts->partitions[parts->count] = p;
            parts->ends[parts->count++] = start;
        }
    }
    ASSERT(start + 1 == argc);
    parts->keys = start / step;
    for (uint32_t i = 1; i < argc; i += step) {
        uint32_t *place = &at[keyspace_partition(&shard->keyspace, argv[i])];
        parts->order[*place / step] = (i - 1) / step;
        for (uint32_t k = 0; k < step; k++) {
            to[(*place)++] = argv[i + k];
        }
    }
    return parts;
}

/* ── reads ───────────────────────────────────────────────────────────────────────────────────── */

void shard_read_later(struct shard *shard, struct late_request *late)
{
    ASSERT(shard_is_busy(shard));
    struct pending pending = {
        .position = shard->proposed_sequence,
        .kind = PENDING_READ,
        .asker = late->asker,
        .command = late->command,
        .read = late,
    };
    pending_push(&shard->pending, &pending);
}

void shard_read_behind(struct shard *shard, struct replica *replica, struct late_request *late)
{
    const struct consensus *consensus = shard->consensus;
    struct pending pending = {
        .position = replica->window_last,
        .term = replica->term,
        .until_ms = consensus->now_ms + consensus->options.request_timeout_ms,
        .kind = PENDING_READ,
        .asker = late->asker,
        .command = late->command,
        .read = late,
    };
    pending_push(&replica->pending, &pending);
    consensus_touch(shard->consensus, replica);
}

static uint64_t time_ms(const struct shard *shard, uint32_t partition)
{
    uint64_t last_ms = consensus_replica(shard->consensus, partition)->last_time_ms;
    return last_ms > shard->now_ms ? last_ms : shard->now_ms;
}

uint64_t shard_key_time_ms(const struct shard *shard, struct slice key)
{
    return LIKELY(shard->consensus == NULL)
               ? shard->now_ms
               : time_ms(shard, keyspace_partition(&shard->keyspace, key));
}

static uint64_t read_time_ms(const struct shard *shard, const struct command *command,
                             uint32_t argc, const struct slice *argv, struct key_place place)
{
    if (LIKELY(shard->consensus == NULL)) {
        return shard->now_ms;
    }
    if (place.is_known) {
        return time_ms(shard, place.partition);
    }
    bool has_key = command->first_key == 1 && argc > 1;
    return has_key ? shard_key_time_ms(shard, argv[1]) : shard->now_ms;
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
        .is_part = place.is_known && (command->flags & COMMAND_KEYSPACE) != 0,
        .partition = place.partition,
        .now_ms = read_time_ms(shard, command, argc, argv, place),
        .seed = prng_next(&shard->prng),
        .first_key_hash = place.hash,
        .first_key_partition = place.partition,
        .has_first_key_hash = place.is_known,
        .stats = &shard->delta,
    };
    command->run(&ctx);
}
