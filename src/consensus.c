/*
 * consensus.c — see consensus.h.  Order: life, one step and its output, the loop, proposing, reads,
 * what may be forgotten, members.
 */
#include "consensus.h"

#include "base/assert.h"
#include "base/endian.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "cluster/confchange.h"
#include "forward.h"
#include "io/io.h"
#include "log.h"
#include "members.h"
#include "shard.h"
#include "storage/aof.h"
#include "storage/entry.h"
#include "storage/hard_state.h"
#include "transfer.h"

enum {
    NS_PER_MS = 1000000,
    TICK_GRID_MS = 10,    /* timers fire on a grid, so that heartbeats share frames */
    SWEEP_MS = 50,        /* requests that waited too long are looked for this often */
    BUSY_ENTRIES = 16,    /* proposed in one iteration: then COMMIT messages are left out ... */
    BUSY_FOR_MS = 20,     /* ... for so long */
    MARKS_FIRST = 256,    /* ring slots at the start; doubled on demand */
    HINT_ENTRIES = 256,   /* a commit hint is written at least so often ... */
    HINT_BYTES = 1 << 20, /* ... or after so many bytes of a group's entries */
    OUTBOX_FRAME_BYTES = 1 << 20, /* larger outboxes leave at once */
    KEEP_ENTRIES = 32,            /* kept in memory when everybody has them: few, so that the */
    KEEP_BYTES = 8 << 10,         /* windows of all groups stay in the processor's cache */
    LAG_ENTRIES_MAX = 16 << 10,   /* kept for peers that are behind; beyond: a snapshot */
    LAG_BYTES_MAX = 32 << 20,     /* well over what may be in flight ... */
    LAG_BYTES_SHORT = 512 << 10,  /* ... but so much when all windows together are large */
    WINDOWS_BYTES_MAX = 64 << 20,
    LOG_CAPACITY_MAX = 64 << 10,      /* slots of raft's log */
    APPEND_BYTES_MAX = 64 << 10,      /* entries of one APPEND message */
    INFLIGHT_BYTES_MAX = 1 << 20,     /* unacknowledged bytes to one peer, a group */
    UNCOMMITTED_BYTES_MAX = 16 << 20, /* proposals of a group beyond it are refused */
};

static void append_hard_state(struct consensus *consensus, struct replica *replica);
static void step(struct consensus *consensus, struct replica *replica, struct raft_input input);
static void flush_queued(struct consensus *consensus, struct replica *replica);
static void take_output(struct consensus *consensus, struct replica *replica, bool is_proposal);
static void fail_queued(struct consensus *consensus, struct replica *replica, uint64_t from,
                        uint64_t term);
static void fail_unknown(struct consensus *consensus, struct replica *replica);

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

static struct raft_options raft_options_of(const struct consensus_options *options, uint32_t group)
{
    return (struct raft_options){
        .cluster = options->cluster,
        .node = options->node,
        .incarnation = options->incarnation,
        .group = group,
        .boot = options->boot,
        .seed = options->seed ^ ((uint64_t)group * 0x9E3779B97F4A7C15u),
        .heartbeat_ms = options->heartbeat_ms,
        .election_timeout_ms = options->election_timeout_ms,
        .disk_stall_ms = options->disk_stall_ms,
        .clock_drift_percent = options->clock_drift_percent,
        .lease_reads = options->lease_reads,
        .entry_overhead_bytes = ENTRY_HEADER_BYTES,
        .append_bytes_max = APPEND_BYTES_MAX,
        .inflight_bytes_max = INFLIGHT_BYTES_MAX,
        .uncommitted_bytes_max = UNCOMMITTED_BYTES_MAX,
    };
}

struct consensus *consensus_new(struct shard *shard, struct peers *peers, struct log *log,
                                const struct consensus_options *options,
                                const struct replica_log *logs, uint32_t count)
{
    ASSERT(count == shard->keyspace.count + 1);
    struct consensus *consensus = mem_zalloc(sizeof(*consensus));
    consensus->shard = shard;
    consensus->peers = peers;
    consensus->log = log;
    consensus->options = *options;
    consensus->count = count;
    consensus->replicas = mem_zalloc(count * sizeof(struct replica *));
    consensus->dirty = mem_alloc(count * sizeof(*consensus->dirty));
    consensus->deadlines_ms = mem_zalloc(count * sizeof(*consensus->deadlines_ms));
    consensus->taken = mem_alloc(count * sizeof(*consensus->taken));
    consensus->marks_capacity = MARKS_FIRST;
    consensus->marks = mem_alloc(MARKS_FIRST * sizeof(*consensus->marks));
    consensus->output = mem_zalloc(sizeof(*consensus->output));
    consensus->message = mem_zalloc(sizeof(*consensus->message));
    consensus->entries = mem_alloc(RAFT_APPEND_ENTRIES_MAX * sizeof(*consensus->entries));
    consensus->now_ms = io_clock_ns(shard->io) / NS_PER_MS;
    for (uint32_t slot = 0; slot < count; slot++) {
        uint32_t group = slot == count - 1 ? (uint32_t)GROUP_META : slot;
        struct raft_options raft = raft_options_of(options, group);
        struct replica *replica = replica_new(group, &raft, &logs[slot].boot, consensus->now_ms,
                                              logs[slot].entries, logs[slot].entries_count);
        if (replica == NULL) { /* its log contradicts its snapshot: what peers have counts */
            struct replica_boot boot = logs[slot].boot;
            boot.is_suspect = true;
            log_event(log, LOG_ERROR, "replica_log_invalid", LOG_U64("group", group));
            replica = replica_new(group, &raft, &boot, consensus->now_ms, NULL, 0);
        }
        replica->slot = slot;
        replica->last_time_ms =
            group != GROUP_META && shard->groups[slot].last_time_ms > replica->last_time_ms
                ? shard->groups[slot].last_time_ms
                : replica->last_time_ms;
        consensus->replicas[slot] = replica;
        consensus_touch(consensus, replica);
        if (raft_is_suspect(replica->raft)) {
            append_hard_state(consensus, replica); /* should what shows it be lost as well */
        }
    }
    return consensus;
}

void consensus_free(struct consensus *consensus)
{
    if (consensus == NULL) {
        return;
    }
    for (uint32_t i = 0; i < consensus->count; i++) {
        replica_free(consensus->replicas[i]);
    }
    for (uint32_t i = 0; i < consensus->outboxes_count; i++) {
        buffer_free(&consensus->outboxes[i].bytes);
    }
    mem_free(consensus->replicas);
    mem_free(consensus->dirty);
    mem_free(consensus->taken);
    mem_free(consensus->deadlines_ms);
    mem_free(consensus->marks);
    mem_free(consensus->output);
    mem_free(consensus->message);
    mem_free(consensus->entries);
    mem_free(consensus);
}

struct replica *consensus_replica(const struct consensus *consensus, uint32_t group)
{
    if (group == GROUP_META) {
        return consensus->replicas[consensus->count - 1];
    }
    return group < consensus->count - 1 ? consensus->replicas[group] : NULL;
}

void consensus_touch(struct consensus *consensus, struct replica *replica)
{
    if (!replica->is_dirty) {
        replica->is_dirty = true;
        consensus->dirty[consensus->dirty_count++] = replica->slot;
    }
}

/* ── one step ────────────────────────────────────────────────────────────────────────────────── */

/* Raft's log in memory grows ahead of what it may have to take. */
static void make_room(struct replica *replica)
{
    if (LIKELY(raft_log_space(replica->raft) > 2 * RAFT_APPEND_ENTRIES_MAX) ||
        replica->log_capacity >= LOG_CAPACITY_MAX) {
        return;
    }
    uint32_t capacity = replica->log_capacity * 2;
    while (capacity < 4 * RAFT_APPEND_ENTRIES_MAX) {
        capacity *= 2;
    }
    void *memory = mem_alloc(raft_log_memory_bytes(capacity));
    void *old = raft_log_resize(replica->raft, memory, capacity);
    ASSERT(old == replica->log_memory);
    mem_free(old);
    replica->log_memory = memory;
    replica->log_capacity = capacity;
}

/* Inputs that make no entries: what is queued may be given to raft later, as it is. */
static bool leaves_log_alone(const struct replica *replica, const struct raft_input *input)
{
    bool is_answer = input->kind == RAFT_INPUT_MESSAGE &&
                     (input->message->kind == RAFT_MESSAGE_APPEND_RESPONSE ||
                      input->message->kind == RAFT_MESSAGE_HEARTBEAT_RESPONSE);
    bool is_quiet = input->kind == RAFT_INPUT_PERSISTED || input->kind == RAFT_INPUT_READ ||
                    input->kind == RAFT_INPUT_COMPACT;
    uint64_t index = 0;
    return (is_answer || is_quiet) && !raft_config_is_joint(raft_config(replica->raft, &index));
}

static void step(struct consensus *consensus, struct replica *replica, struct raft_input input)
{
    if (UNLIKELY(replica_has_queued(replica)) && !leaves_log_alone(replica, &input)) {
        flush_queued(consensus, replica);
    }
    if (input.kind == RAFT_INPUT_MESSAGE && input.message->entries_count > 0) {
        make_room(replica);
    }
    uint64_t term = replica->term;
    input.now_ms = consensus->now_ms;
    raft_step(replica->raft, &input, consensus->output);
    take_output(consensus, replica, /* is_proposal= */ false);
    if (UNLIKELY(replica_has_queued(replica)) &&
        (replica->role != RAFT_LEADER || replica->term != term)) {
        flush_queued(consensus, replica); /* raft refuses them */
    }
}

/* Gives raft the entries queued at the window's end, in batches. */
static void flush_queued(struct consensus *consensus, struct replica *replica)
{
    replica->queued_bytes = 0;
    while (replica_has_queued(replica)) {
        make_room(replica);
        uint64_t first = replica->queued_first;
        uint64_t term = load_u64(replica_bytes(replica, first).data + 8); /* theirs, maybe past */
        uint64_t left = replica->window_last + 1 - first;
        uint32_t count = left < RAFT_APPEND_ENTRIES_MAX ? (uint32_t)left : RAFT_APPEND_ENTRIES_MAX;
        for (uint32_t i = 0; i < count; i++) {
            const struct window_entry *at = replica_window_at(replica, first + i);
            consensus->entries[i] = (struct raft_entry){
                .index = first + i,
                .term = term,
                .size = at->size,
                .kind = (uint8_t)at->bytes[24],
                .bytes = at->bytes,
            };
        }
        struct raft_input input = {
            .kind = RAFT_INPUT_PROPOSE,
            .now_ms = consensus->now_ms,
            .propose = { consensus->entries, count },
        };
        raft_step(replica->raft, &input, consensus->output);
        if (consensus->output->result != RAFT_OK) {
            /* Not ours to decide any more, or too much at once: surely not done. */
            replica_window_truncate(replica, first);
            fail_queued(consensus, replica, first, term);
            take_output(consensus, replica, /* is_proposal= */ false);
            return;
        }
        replica->queued_first = first + count;
        take_output(consensus, replica, /* is_proposal= */ true);
    }
}

/* ── what a step wants done ──────────────────────────────────────────────────────────────────── */

static void append_hard_state(struct consensus *consensus, struct replica *replica)
{
    uint64_t durable = raft_durable_index(replica->raft);
    uint64_t commit = raft_commit_index(replica->raft);
    uint64_t hint = commit < durable ? commit : durable;
    struct hard_state state = {
        .term = raft_term(replica->raft),
        .voted_for = MUTANT(MUT_VOTE_NOT_WRITTEN) ? 0 : raft_voted_for(replica->raft),
        .commit = MUTANT(MUT_HINT_UNCOMMITTED) ? durable : hint,
        .is_suspect = raft_is_suspect_on_disk(replica->raft),
    };
    struct aof *aof = consensus->shard->aof;
    size_t size = hard_state_write(&state, aof_record_begin(aof, HARD_STATE_BYTES_MAX));
    replica->hard_state_sequence =
        aof_record_end(aof, size, AOF_HARD_STATE, (uint16_t)replica->group, /* more= */ false);
    consensus->shard->proposed_sequence = replica->hard_state_sequence;
    replica->hinted_commit = hint;
    replica->unhinted_bytes = 0;
}

static void append_log_reset(struct consensus *consensus, struct replica *replica)
{
    const struct raft_output *output = consensus->output;
    struct log_reset reset = { output->log_reset_index, output->log_reset_term };
    struct aof *aof = consensus->shard->aof;
    log_reset_write(&reset, aof_record_begin(aof, LOG_RESET_BYTES));
    consensus->shard->proposed_sequence = aof_record_end(
        aof, LOG_RESET_BYTES, AOF_LOG_RESET, (uint16_t)replica->group, /* more= */ false);
    log_event(consensus->log, LOG_DEBUG, "log_reset", LOG_U64("group", replica->group),
              LOG_U64("index", reset.index));
    fail_unknown(consensus, replica);
    replica_window_reset(replica, output->log_reset_index + 1);
}

/* An entry raft made itself: NOOP or CONFIG. */
static char *encode_own(struct consensus *consensus, struct replica *replica,
                        const struct raft_entry *from, uint32_t *out_size)
{
    if (consensus->shard->now_ms > replica->last_time_ms) {
        replica->last_time_ms = consensus->shard->now_ms;
    }
    struct entry entry = {
        .index = from->index,
        .term = from->term,
        .time_ms = replica->last_time_ms,
        .kind = from->config == NULL ? ENTRY_NOOP : ENTRY_CONFIG,
        .group = (uint16_t)replica->group,
    };
    size_t body = from->config == NULL ? 0 : raft_config_encoded_size(from->config);
    char *bytes = mem_alloc(ENTRY_HEADER_BYTES + body);
    entry_header_write(&entry, bytes);
    if (from->config != NULL) {
        (void)raft_config_encode(from->config, bytes + ENTRY_HEADER_BYTES);
    }
    *out_size = (uint32_t)(ENTRY_HEADER_BYTES + body);
    return bytes;
}

/* Takes an entry that is not in the window yet: raft's own, or one a leader sent. */
static void window_take(struct consensus *consensus, struct replica *replica,
                        const struct raft_entry *entry)
{
    if (entry->index <= replica->window_last) {
        /* Who waits for an entry that is replaced here waits on: it may yet be committed by way of
         * another replica (Raft, figure 8).  What is applied in its place decides. */
        replica_window_truncate(replica, entry->index);
    }
    ASSERT(entry->index == replica->window_last + 1);
    uint32_t size = 0;
    char *bytes = NULL;
    if (entry->bytes == NULL) {
        bytes = encode_own(consensus, replica, entry, &size);
    } else {
        const struct slice *sent = entry->bytes;
        struct entry decoded;
        bool is_entry = entry_decode(*sent, &decoded);
        ASSERT(is_entry);
        if (decoded.time_ms > replica->last_time_ms) {
            replica->last_time_ms = decoded.time_ms; /* should we lead: time goes on from here */
        }
        size = (uint32_t)sent->size;
        bytes = mem_alloc(size);
        memcpy(bytes, sent->data, size);
    }
    replica_window_append(replica, bytes, size, /* queued= */ false);
}

static void append_entries(struct consensus *consensus, struct replica *replica, bool is_proposal)
{
    const struct raft_output *output = consensus->output;
    struct aof *aof = consensus->shard->aof;
    for (uint32_t i = 0; i < output->entries_count; i++) {
        const struct raft_entry *entry = &output->entries[i];
        if (!is_proposal) {
            window_take(consensus, replica, entry);
        }
        struct window_entry *at = replica_window_at(replica, entry->index);
        memcpy(aof_record_begin(aof, at->size), at->bytes, at->size);
        at->sequence = aof_record_end(aof, at->size, AOF_ENTRY, (uint16_t)replica->group,
                                      /* more= */ false);
        consensus->shard->proposed_sequence = at->sequence;
        replica->unhinted_bytes += at->size;
        if (UNLIKELY(entry->config != NULL)) {
            log_event(consensus->log, LOG_DEBUG, "config_appended",
                      LOG_U64("group", replica->group), LOG_U64("index", entry->index),
                      LOG_BOOL("joint", raft_config_is_joint(entry->config)));
        }
    }
    if (output->entries_count > 0) {
        shard_note_appended(consensus->shard, replica,
                            output->entries[0].index); /* the log is needed from here on */
    }
}

static void push_mark(struct consensus *consensus, struct persist_mark mark)
{
    if (consensus->marks_tail - consensus->marks_head == consensus->marks_capacity) {
        uint32_t capacity = consensus->marks_capacity * 2;
        struct persist_mark *ring = mem_alloc(capacity * sizeof(*ring));
        for (uint64_t at = consensus->marks_head; at != consensus->marks_tail; at++) {
            ring[at & (capacity - 1)] = consensus->marks[at & (consensus->marks_capacity - 1)];
        }
        mem_free(consensus->marks);
        consensus->marks = ring;
        consensus->marks_capacity = capacity;
    }
    consensus->marks[consensus->marks_tail++ & (consensus->marks_capacity - 1)] = mark;
}

static struct raft_outbox *outbox_of(struct consensus *consensus, uint64_t node)
{
    for (uint32_t i = 0; i < consensus->outboxes_count; i++) {
        if (consensus->outboxes[i].node == node) {
            return &consensus->outboxes[i];
        }
    }
    if (consensus->outboxes_count == RAFT_PEERS_MAX) {
        for (uint32_t i = 0; i < consensus->outboxes_count; i++) { /* members come and go */
            if (consensus->outboxes[i].bytes.size == 0) {
                consensus->outboxes[i].node = node;
                return &consensus->outboxes[i];
            }
        }
        return NULL;
    }
    struct raft_outbox *outbox = &consensus->outboxes[consensus->outboxes_count++];
    outbox->node = node;
    return outbox;
}

static void outbox_send(struct consensus *consensus, struct raft_outbox *outbox)
{
    uint64_t link = peers_link(consensus->peers, outbox->node, PEER_RAFT);
    char *to = link == 0
                   ? NULL
                   : peers_frame_begin(consensus->peers, link, PEER_FRAME_RAFT, outbox->bytes.size);
    if (to != NULL) { /* else lost, like any message: raft sends again */
        memcpy(to, outbox->bytes.data, outbox->bytes.size);
        peers_frame_end(consensus->peers, link, outbox->bytes.size);
    }
    outbox->bytes.size = 0;
    if (outbox->bytes.capacity > OUTBOX_FRAME_BYTES) {
        buffer_free(&outbox->bytes);
    }
}

/* That something was committed: under load the next entries and heartbeats say it as well. */
static bool is_spare(const struct consensus *consensus, const struct raft_message *message)
{
    return message->kind == RAFT_MESSAGE_COMMIT &&
           consensus->now_ms < consensus->busy_ms + BUSY_FOR_MS;
}

static void post(struct consensus *consensus, struct replica *replica,
                 const struct raft_message *message)
{
    if (is_spare(consensus, message)) {
        return;
    }
    struct raft_outbox *outbox = outbox_of(consensus, message->to);
    if (outbox == NULL) {
        return;
    }
    size_t size = RAFT_WIRE_HEAD_BYTES_MAX;
    for (uint32_t i = 0; i < message->entries_count; i++) {
        size +=
            RAFT_WIRE_ENTRY_HEAD_BYTES + replica_window_at(replica, message->index + 1 + i)->size;
    }
    if (outbox->bytes.size > 0 && outbox->bytes.size + size > OUTBOX_FRAME_BYTES) {
        outbox_send(consensus, outbox);
    }
    char *to = buffer_reserve(&outbox->bytes, size);
    char *end = to + raft_wire_head_write(message, to);
    for (uint32_t i = 0; i < message->entries_count; i++) {
        end += raft_wire_entry_write(replica_bytes(replica, message->index + 1 + i), end);
    }
    outbox->bytes.size += (size_t)(end - to);
}

/* Raft's role, term or leader is another one than before this step. */
static void note_leadership(struct consensus *consensus, struct replica *replica,
                            enum raft_role role, uint64_t leader)
{
    bool was_leader = role == RAFT_LEADER;
    bool is_leader = replica->role == RAFT_LEADER;
    consensus->leadership_changes++;
    consensus->leaders_count += (is_leader ? 1u : 0u) - (was_leader ? 1u : 0u);
    if (replica->role == RAFT_CANDIDATE && role != RAFT_CANDIDATE) {
        consensus->elections++;
    }
    if (replica->leader != leader && replica->leader != 0) {
        consensus->leader_changes++;
        log_event(consensus->log, replica->group == GROUP_META ? LOG_INFO : LOG_DEBUG,
                  "leader_changed", LOG_U64("group", replica->group),
                  LOG_U64("term", replica->term), LOG_U64("leader", replica->leader),
                  LOG_BOOL("self", is_leader));
    }
    if (consensus->forward != NULL) {
        forward_leader_changed(consensus->forward, replica->group);
    }
}

/* Timers may be late by the grid, so that those of many groups fire together; "at once" may not. */
static uint64_t on_grid(const struct consensus *consensus, uint64_t deadline_ms)
{
    if (deadline_ms <= consensus->now_ms || deadline_ms == UINT64_MAX) {
        return deadline_ms;
    }
    return (deadline_ms + TICK_GRID_MS - 1) / TICK_GRID_MS * TICK_GRID_MS;
}

static void take_output(struct consensus *consensus, struct replica *replica, bool is_proposal)
{
    const struct raft_output *output = consensus->output;
    enum raft_role role = replica->role;
    uint64_t term = replica->term;
    uint64_t leader = replica->leader;
    if (output->hard_state_changed) {
        append_hard_state(consensus, replica);
    }
    if (output->log_reset) {
        append_log_reset(consensus, replica);
    }
    append_entries(consensus, replica, is_proposal);
    if (output->persist.id != 0) {
        push_mark(consensus, (struct persist_mark){ consensus->shard->proposed_sequence,
                                                    replica->slot, output->persist });
    }
    for (uint32_t i = 0; i < output->messages_count; i++) {
        post(consensus, replica, &output->messages[i]);
    }
    replica_refresh(replica);
    uint64_t deadline_ms = on_grid(consensus, output->deadline_ms);
    consensus->deadlines_ms[replica->slot] = deadline_ms;
    if (deadline_ms < consensus->deadline_ms) {
        consensus->deadline_ms = deadline_ms;
    }
    if (output->read_id_confirmed != 0) {
        replica->confirmed_read_id = output->read_id_confirmed;
        if (output->read_index > replica->read_index) {
            replica->read_index = output->read_index;
        }
        consensus_touch(consensus, replica);
    }
    if (replica->commit_index > replica->applied) {
        consensus_touch(consensus, replica);
    }
    if (output->snapshot_wanted && consensus->transfers != NULL) {
        replica->is_fetching = true;
        transfers_fetch(consensus->transfers, replica, output->snapshot_from, &output->snapshot);
    }
    if (replica->role != role || replica->term != term || replica->leader != leader) {
        note_leadership(consensus, replica, role, leader); /* last: it may propose */
    }
}

/* ── the loop ────────────────────────────────────────────────────────────────────────────────── */

static void sweep(struct consensus *consensus);

static void look_at_clock(struct consensus *consensus)
{
    consensus_set_clock(consensus, io_clock_ns(consensus->shard->io));
}

void consensus_tick(struct consensus *consensus)
{
    look_at_clock(consensus);
    if (consensus->now_ms >= consensus->next_sweep_ms) {
        consensus->next_sweep_ms = consensus->now_ms + SWEEP_MS;
        sweep(consensus);
    }
    if (consensus->now_ms < consensus->deadline_ms) {
        return;
    }
    uint64_t earliest_ms = UINT64_MAX;
    for (uint32_t i = 0; i < consensus->count; i++) {
        if (consensus->deadlines_ms[i] <= consensus->now_ms) {
            step(consensus, consensus->replicas[i], (struct raft_input){ .kind = RAFT_INPUT_TICK });
        }
        if (consensus->deadlines_ms[i] < earliest_ms) {
            earliest_ms = consensus->deadlines_ms[i];
        }
    }
    consensus->deadline_ms = earliest_ms;
}

static struct raft_source *source_of(struct consensus *consensus, uint64_t link)
{
    for (uint32_t i = 0; i < 2 * RAFT_PEERS_MAX; i++) {
        if (consensus->sources[i].link == link) {
            return &consensus->sources[i];
        }
    }
    return NULL;
}

void consensus_on_up(struct consensus *consensus, uint64_t link, const struct peer_hello *hello)
{
    struct raft_source *source = source_of(consensus, /* a free one: */ 0);
    if (source == NULL) {
        peers_close(consensus->peers, link); /* it will be dialed again */
        return;
    }
    *source = (struct raft_source){ link, hello->number, hello->incarnation, hello->boot };
}

void consensus_on_down(struct consensus *consensus, uint64_t link)
{
    struct raft_source *source = source_of(consensus, link);
    if (source != NULL) {
        *source = (struct raft_source){ 0 };
    }
}

/* A node that is to leave takes no partition in any more, whoever still puts it into one: what it
 * says of holding nothing (hints.h) stays true.  As a learner that never answers it never votes. */
static bool takes_in(const struct consensus *consensus, const struct replica *replica)
{
    if (LIKELY(!replica->is_vacant) || replica->group == GROUP_META || !replica_is_empty(replica) ||
        MUTANT(MUT_LEAVING_TAKES_IN)) {
        return true;
    }
    const struct member *self = members_find(consensus->members, consensus->options.node);
    return self == NULL || (self->state != MEMBER_DRAINING && self->state != MEMBER_LEFT);
}

bool consensus_on_frame(struct consensus *consensus, uint64_t link, struct slice body)
{
    const struct raft_source *source = source_of(consensus, link);
    if (source == NULL) {
        return false;
    }
    struct raft_wire_route route = {
        .cluster = consensus->options.cluster,
        .from = source->node,
        .from_incarnation = source->incarnation,
        .to = consensus->options.node,
        .to_incarnation = consensus->options.incarnation,
        .boot = source->boot,
    };
    look_at_clock(consensus);
    while (body.size > 0) {
        if (!raft_wire_read(&body, &route, consensus->message)) {
            return false;
        }
        struct replica *replica = consensus_replica(consensus, consensus->message->message.group);
        if (replica != NULL && takes_in(consensus, replica)) {
            step(consensus, replica,
                 (struct raft_input){ .kind = RAFT_INPUT_MESSAGE,
                                      .message = &consensus->message->message });
        }
    }
    return true;
}

static bool needs_hint(const struct replica *replica)
{
    uint64_t durable = raft_durable_index(replica->raft);
    uint64_t commit = replica->commit_index < durable ? replica->commit_index : durable;
    return commit >= replica->hinted_commit + HINT_ENTRIES ||
           (replica->unhinted_bytes > HINT_BYTES && commit > replica->hinted_commit);
}

void consensus_flush(struct consensus *consensus)
{
    look_at_clock(consensus);
    uint32_t proposed = 0;
    for (uint32_t i = 0; i < consensus->dirty_count; i++) {
        struct replica *replica = consensus->replicas[consensus->dirty[i]];
        if (replica_has_queued(replica)) {
            proposed += (uint32_t)(replica->window_last + 1 - replica->queued_first);
            flush_queued(consensus, replica);
        }
        if (replica->next_read_id > replica->sent_read_id) {
            replica->sent_read_id = replica->next_read_id;
            step(consensus, replica,
                 (struct raft_input){ .kind = RAFT_INPUT_READ, .read = { replica->next_read_id } });
        }
        if (needs_hint(replica)) {
            append_hard_state(consensus, replica);
        }
    }
    if (proposed >= BUSY_ENTRIES) {
        consensus->busy_ms = consensus->now_ms;
    }
}

void consensus_hint_all(struct consensus *consensus)
{
    for (uint32_t i = 0; i < consensus->count; i++) {
        struct replica *replica = consensus->replicas[i];
        uint64_t durable = raft_durable_index(replica->raft);
        uint64_t commit = replica->commit_index < durable ? replica->commit_index : durable;
        if (commit > replica->hinted_commit) {
            append_hard_state(consensus, replica);
        }
    }
}

void consensus_send(struct consensus *consensus)
{
    for (uint32_t i = 0; i < consensus->outboxes_count; i++) {
        if (consensus->outboxes[i].bytes.size > 0) {
            outbox_send(consensus, &consensus->outboxes[i]);
        }
    }
}

void consensus_on_durable(struct consensus *consensus, uint64_t sequence)
{
    look_at_clock(consensus);
    uint64_t from = consensus->marks_head;
    uint64_t end = from;
    uint32_t mask = consensus->marks_capacity - 1;
    while (end != consensus->marks_tail && consensus->marks[end & mask].sequence <= sequence) {
        const struct persist_mark *mark = &consensus->marks[end & mask];
        consensus->replicas[mark->slot]->persisted = mark->persist;
        end++;
    }
    /* A step may push marks and move the ring; what is taken here stays where it was counted. */
    for (uint64_t at = from; at != end; at++) {
        uint32_t slot = consensus->marks[at & (consensus->marks_capacity - 1)].slot;
        struct replica *replica = consensus->replicas[slot];
        if (replica->persisted.id != 0) {
            struct raft_persist persisted = replica->persisted;
            replica->persisted = (struct raft_persist){ 0 };
            step(consensus, replica,
                 (struct raft_input){ .kind = RAFT_INPUT_PERSISTED, .persisted = persisted });
        }
    }
    consensus->marks_head = end;
}

uint64_t consensus_deadline_ns(const struct consensus *consensus)
{
    uint64_t deadline_ms = consensus->deadline_ms < consensus->next_sweep_ms
                               ? consensus->deadline_ms
                               : consensus->next_sweep_ms;
    uint64_t deadline_ns =
        deadline_ms > UINT64_MAX / NS_PER_MS ? UINT64_MAX : deadline_ms * NS_PER_MS;
    return consensus->dirty_count == 0 ? deadline_ns : 0;
}

/* ── proposing and reading ───────────────────────────────────────────────────────────────────── */

char *consensus_propose_begin(struct consensus *consensus, struct replica *replica,
                              struct entry *entry, size_t body_max, enum raft_result *out_result)
{
    if (replica->window_last + 1 - replica->queued_first >= RAFT_APPEND_ENTRIES_MAX) {
        flush_queued(consensus, replica);
    }
    if (replica->role != RAFT_LEADER || replica->has_transfer) {
        *out_result = replica->has_transfer ? RAFT_TRANSFERRING : RAFT_NOT_LEADER;
        return NULL;
    }
    size_t header = entry_header_size(entry);
    uint64_t queued = replica->window_last + 1 - replica->queued_first;
    uint64_t uncommitted = raft_uncommitted_bytes(replica->raft) + replica->queued_bytes;
    if (uncommitted + header + body_max > UNCOMMITTED_BYTES_MAX ||
        raft_log_space(replica->raft) <= queued) {
        *out_result = RAFT_FULL;
        return NULL;
    }
    if (consensus->shard->now_ms > replica->last_time_ms) {
        replica->last_time_ms = consensus->shard->now_ms;
    }
    entry->index = replica->window_last + 1;
    entry->term = replica->term;
    entry->time_ms = replica->last_time_ms;
    entry->group = (uint16_t)replica->group;
    *out_result = RAFT_OK;
    char *bytes = mem_alloc(header + body_max);
    entry_header_write(entry, bytes);
    return bytes + header;
}

void consensus_propose_end(struct consensus *consensus, struct replica *replica,
                           const struct entry *entry, char *body, size_t body_size)
{
    size_t header = entry_header_size(entry);
    replica->queued_bytes += header + body_size;
    replica_window_append(replica, body - header, (uint32_t)(header + body_size),
                          /* queued= */ true);
    consensus_touch(consensus, replica);
}

void consensus_read(struct consensus *consensus, struct replica *replica, struct late_request *late,
                    uint64_t behind)
{
    struct pending pending = {
        .position = ++replica->next_read_id,
        .term = replica->term,
        .until_ms = consensus->now_ms + consensus->options.request_timeout_ms,
        .behind = behind,
        .kind = PENDING_READ,
        .asker = late->asker,
        .command = late->command,
        .read = late,
    };
    pending_push(&replica->reads, &pending);
    consensus_touch(consensus, replica);
}

/* ── requests that get no good answer ────────────────────────────────────────────────────────── */

const char consensus_not_done[] =
    "NOQUORUM the partition's leader changed before the write was accepted; it was not carried out";
static const char unknown[] =
    "UNKNOWN the write was not acknowledged by a majority in time; it may "
    "or may not take effect";
static const char no_read[] = "NOQUORUM no majority confirmed the read in time";

static void answer_pending(struct consensus *consensus, struct pending *pending, const char *text)
{
    ASSERT(pending->kind != PENDING_EFFECTS);
    answer_error(&consensus->shard->answers, &pending->asker, pending->command, text);
    mem_free(pending->typed);
    if (pending->kind == PENDING_READ) {
        late_request_free(pending->read);
    }
}

/* The entries of this term queued from `from` on were refused by raft: nobody has seen them. */
static void fail_queued(struct consensus *consensus, struct replica *replica, uint64_t from,
                        uint64_t term)
{
    struct pending_queue *queue = &replica->pending;
    uint64_t kept = queue->head;
    for (uint64_t at = queue->head; at != queue->tail; at++) {
        struct pending pending = *pending_at(queue, at);
        bool is_refused = pending.position >= from && pending.term == term;
        if (is_refused && pending.kind == PENDING_WRITE) {
            answer_pending(consensus, &pending, consensus_not_done);
            continue;
        }
        if (is_refused) { /* a read behind it waits for what is before it */
            pending.position = from - 1;
        }
        *pending_at(queue, kept++) = pending;
    }
    queue->tail = kept;
    consensus_touch(consensus, replica);
}

static void fail_queue(struct consensus *consensus, struct pending_queue *queue)
{
    while (queue->head != queue->tail) {
        struct pending pending = *pending_at(queue, queue->head++);
        answer_pending(consensus, &pending, pending.kind == PENDING_READ ? no_read : unknown);
    }
}

/* The log gives way to a snapshot, or to nothing: which entries were committed is not known. */
static void fail_unknown(struct consensus *consensus, struct replica *replica)
{
    fail_queue(consensus, &replica->pending);
    if (raft_last_index(replica->raft) == 0) {
        fail_queue(consensus, &replica->reads);
    }
}

/* Answers what has waited longer than clients should. */
static void sweep_queue(struct consensus *consensus, struct pending_queue *queue)
{
    while (queue->head != queue->tail) {
        struct pending pending = *pending_at(queue, queue->head);
        if (pending.until_ms == 0 || pending.until_ms > consensus->now_ms) {
            return;
        }
        queue->head++;
        bool is_sure = pending.kind == PENDING_READ || MUTANT(MUT_TIMEOUT_IS_DEFINITE);
        answer_pending(consensus, &pending, is_sure ? no_read : unknown);
    }
}

static void sweep(struct consensus *consensus)
{
    for (uint32_t i = 0; i < consensus->count; i++) {
        sweep_queue(consensus, &consensus->replicas[i]->pending);
        sweep_queue(consensus, &consensus->replicas[i]->reads);
        consensus_applied(consensus, consensus->replicas[i]); /* others have caught up meanwhile */
    }
}

/* ── what may be forgotten ───────────────────────────────────────────────────────────────────── */

/* The newest applied entry that every member has. */
static uint64_t everybody_has(const struct replica *replica)
{
    uint64_t shared = raft_shared_index(replica->raft);
    return shared < replica->applied ? shared : replica->applied;
}

/* How much of a window is kept: of what everybody has, and of what somebody lacks. */
struct keep {
    uint64_t entries, bytes;
};

static struct keep keep_for_laggards(const struct consensus *consensus)
{
    bool is_short = consensus->window_bytes > WINDOWS_BYTES_MAX;
    return (struct keep){ LAG_ENTRIES_MAX, is_short ? LAG_BYTES_SHORT : LAG_BYTES_MAX };
}

static void count_window(struct consensus *consensus, struct replica *replica)
{
    consensus->window_bytes += replica->window_bytes - replica->counted_bytes;
    replica->counted_bytes = replica->window_bytes;
}

/* The last entry to be forgotten: nobody needs it, or only those who are too far behind: they get a
 * snapshot.  What is not applied always stays. */
static uint64_t forget_until(const struct consensus *consensus, const struct replica *replica)
{
    struct keep all = { KEEP_ENTRIES, KEEP_BYTES };
    struct keep laggards = keep_for_laggards(consensus);
    uint64_t matched = everybody_has(replica);
    uint64_t forget = replica->window_first - 1;
    uint64_t uncommitted = raft_uncommitted_bytes(replica->raft) + replica->queued_bytes;
    uint64_t bytes = replica->window_bytes - uncommitted; /* of the committed ones behind it */
    while (forget < replica->applied) {
        const struct keep *keep = forget + 1 > matched ? &laggards : &all;
        if (replica->applied - forget <= keep->entries && bytes <= keep->bytes) {
            break;
        }
        bytes -= replica_window_at(replica, ++forget)->size;
    }
    return forget;
}

void consensus_applied(struct consensus *consensus, struct replica *replica)
{
    count_window(consensus, replica);
    uint64_t count = replica->window_last + 1 - replica->window_first;
    if (LIKELY(count < 2 * KEEP_ENTRIES && replica->window_bytes < 2 * KEEP_BYTES)) {
        return;
    }
    uint64_t forget = forget_until(consensus, replica);
    if (forget < replica->window_first) {
        return;
    }
    struct raft_snapshot snapshot = { replica->applied, replica->applied_term,
                                      replica->applied_config };
    step(consensus, replica,
         (struct raft_input){ .kind = RAFT_INPUT_COMPACT, .compact = { forget, &snapshot } });
    replica_window_forget(replica, forget);
    count_window(consensus, replica);
}

/* ── members, leadership, snapshots ──────────────────────────────────────────────────────────── */

enum raft_result consensus_transfer(struct consensus *consensus, struct replica *replica,
                                    uint64_t node)
{
    step(consensus, replica,
         (struct raft_input){ .kind = RAFT_INPUT_TRANSFER, .transfer = { node } });
    if (consensus->output->result == RAFT_OK) {
        log_event(consensus->log, LOG_DEBUG, "leadership_offered", LOG_U64("group", replica->group),
                  LOG_U64("node", node));
    }
    return consensus->output->result;
}

enum raft_result consensus_change(struct consensus *consensus, struct replica *replica,
                                  const struct raft_config *wanted)
{
    step(consensus, replica,
         (struct raft_input){ .kind = RAFT_INPUT_CONFCHANGE, .confchange = wanted });
    return consensus->output->result;
}

bool consensus_snapshot_done(struct consensus *consensus, struct replica *replica,
                             const struct raft_snapshot *snapshot)
{
    struct raft_snapshot none = { 0 };
    ASSERT(replica->role != RAFT_LEADER); /* who waits for a snapshot is not elected */
    replica->is_fetching = false;
    step(consensus, replica,
         (struct raft_input){
             .kind = RAFT_INPUT_SNAPSHOT_DONE,
             .snapshot_done = { snapshot == NULL ? &none : snapshot, snapshot == NULL },
         });
    return consensus->output->snapshot_adopted;
}

void consensus_hint(struct consensus *consensus, struct replica *replica, uint64_t leader,
                    uint64_t term)
{
    uint64_t known_leader = replica->leader;
    uint64_t known_term = replica->term;
    replica->hint_leader = leader;
    replica->hint_term = term;
    replica_refresh(replica);
    if (replica->leader != known_leader || replica->term != known_term) {
        note_leadership(consensus, replica, replica->role, known_leader);
    }
}

enum raft_result consensus_vacate(struct consensus *consensus, struct replica *replica,
                                  uint64_t term, uint64_t index, const struct raft_config *config)
{
    step(consensus, replica,
         (struct raft_input){ .kind = RAFT_INPUT_VACATE, .vacate = { term, index, config } });
    return consensus->output->result;
}

uint64_t consensus_rewrite_hard_states(struct consensus *consensus, uint64_t sequence)
{
    for (uint32_t i = 0; i < consensus->count; i++) {
        struct replica *replica = consensus->replicas[i];
        if (replica->hard_state_sequence < sequence && !MUTANT(MUT_COMPACT_FORGETS_VOTE)) {
            append_hard_state(consensus, replica);
        }
    }
    return consensus->shard->proposed_sequence;
}
