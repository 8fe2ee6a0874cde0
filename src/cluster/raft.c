/*
 * raft.c — one step: an input in, its consequences out.
 *
 * raft_step runs the handler of the input, then raft_settle; step_begin and step_end frame the
 * output.  Also here: who a message is for and what its term means (Raft §5.1), the numbering of
 * what must become durable, and which configuration is in force.
 */
#include "cluster/raft_internal.h"

#include "base/assert.h"
#include "base/mutant.h"

#include <string.h>

static void step_begin(struct raft *raft, const struct raft_input *input,
                       struct raft_output *output);
static void step_end(struct raft *raft, struct raft_output *output);
static void step_message(struct raft *raft, const struct raft_message *message);
static void step_persisted(struct raft *raft, struct raft_persist persist);
static void dispatch(struct raft *raft, const struct raft_message *message);

void raft_step(struct raft *raft, const struct raft_input *input, struct raft_output *output)
{
    step_begin(raft, input, output);
    switch (input->kind) {
    case RAFT_INPUT_TICK:
        raft_election_tick(raft);
        break;
    case RAFT_INPUT_MESSAGE:
        step_message(raft, input->message);
        break;
    case RAFT_INPUT_PROPOSE:
        output->result = raft_propose(raft, input->propose.entries, input->propose.count);
        break;
    case RAFT_INPUT_READ:
        raft_read(raft, input->read.read_id);
        break;
    case RAFT_INPUT_PERSISTED:
        step_persisted(raft, input->persisted);
        break;
    case RAFT_INPUT_SNAPSHOT_DONE:
        raft_snapshot_done(raft, input->snapshot_done.snapshot, input->snapshot_done.has_failed);
        break;
    case RAFT_INPUT_TRANSFER:
        output->result = raft_transfer(raft, input->transfer.target);
        break;
    case RAFT_INPUT_CONFCHANGE:
        output->result = raft_change_config(raft, input->confchange);
        break;
    case RAFT_INPUT_COMPACT:
        raft_compact(raft, input->compact.index, input->compact.snapshot);
        break;
    case RAFT_INPUT_VACATE:
        output->result =
            raft_vacate(raft, input->vacate.term, input->vacate.index, input->vacate.config);
        break;
    }
    raft_settle(raft);
    step_end(raft, output);
}

static void step_begin(struct raft *raft, const struct raft_input *input,
                       struct raft_output *output)
{
    ASSERT(raft->out == NULL);
    raft->out = output;
    raft->has_more_to_send = false;
    raft->has_disk_moved = false;
    if (input->now_ms > raft->now_ms) {
        raft->now_ms = input->now_ms;
    }
    output->persist = (struct raft_persist){ 0 };
    output->hard_state_changed = false;
    output->log_reset = false;
    output->snapshot_adopted = false;
    output->entries = NULL;
    output->entries_count = 0;
    output->messages_count = 0;
    output->read_id_confirmed = 0;
    output->read_index = 0;
    output->snapshot_wanted = false;
    output->result = RAFT_OK;
}

/* A suspect that has been cured is trusted when its disk knows: a crash must not make it one again
 * after others have relied on it. */
static void settle_cure(struct raft *raft)
{
    if (raft->is_cured && raft_hard_state_is_durable(raft)) {
        raft->is_suspect = false;
        raft->is_cured = false;
    }
}

/* What follows from the new state, whatever brought it about. */
void raft_settle(struct raft *raft)
{
    settle_cure(raft);
    raft_keep_promises(raft);
    raft_advance_commit(raft);
    raft_acknowledge(raft);
    raft_replicate(raft);
    raft_reads_settle(raft);
    raft_leave_if_removed(raft);
}

static uint64_t next_deadline(const struct raft *raft)
{
    if (raft->has_more_to_send) {
        return raft->now_ms;
    }
    uint64_t election = raft_election_deadline(raft);
    uint64_t reads = raft_reads_deadline(raft);
    return election < reads ? election : reads;
}

static bool is_suspect_for_disk(const struct raft *raft)
{
    return raft->is_suspect && !raft->is_cured;
}

static bool is_hard_state_new(const struct raft *raft)
{
    return raft->term != raft->emitted_term || raft->voted_for != raft->emitted_vote ||
           is_suspect_for_disk(raft) != raft->emitted_suspect;
}

static void step_end(struct raft *raft, struct raft_output *output)
{
    bool is_changed = is_hard_state_new(raft);
    if (raft->must_reset_log) {
        raft->must_reset_log = false;
        output->log_reset = true;
        output->log_reset_index = raft->log.base_index;
        output->log_reset_term = raft->log.base_term;
    }
    if (is_changed || output->log_reset || output->entries_count > 0) {
        if (raft->persisted_id == raft->persist_id) {
            raft->persist_progress_ms = raft->now_ms; /* the wait for the disk begins */
        }
        raft->persist_id += 1;
        output->persist = (struct raft_persist){ raft->persist_id, raft->log.last_index };
    }
    if (is_changed) {
        raft->hard_state_id = raft->persist_id;
        raft->emitted_term = raft->term;
        raft->emitted_vote = raft->voted_for;
        raft->emitted_suspect = is_suspect_for_disk(raft);
    }
    output->hard_state_changed = is_changed;
    output->term = raft->term;
    output->voted_for = raft->voted_for;
    output->is_suspect = raft->emitted_suspect;
    output->commit_index = raft->commit_index;
    output->deadline_ms = next_deadline(raft);
    raft->out = NULL;
    ASSERT(raft->log.base_index <= raft->snapshot.index);
    ASSERT(raft->snapshot.index <= raft->commit_index);
    ASSERT(raft->commit_index <= raft->log.last_index);
    ASSERT(raft->truncated_id <= raft->persist_id);
}

static bool is_vote_request(const struct raft_message *message)
{
    return message->kind == RAFT_MESSAGE_PREVOTE || message->kind == RAFT_MESSAGE_VOTE;
}

/* From a leader to its followers. */
static bool is_from_leader(const struct raft_message *message)
{
    return message->kind == RAFT_MESSAGE_APPEND || message->kind == RAFT_MESSAGE_HEARTBEAT ||
           message->kind == RAFT_MESSAGE_COMMIT || message->kind == RAFT_MESSAGE_SNAPSHOT;
}

/* Pitfall 21: only mail for exactly this replica.  What counts towards a majority counts for
 * exactly the member that we know, or comes from strangers and counts for nobody.  A candidate's
 * and a leader's word is judged by term and log alone: our configuration may be older than his, and
 * name a predecessor whose disk was wiped; it is he who brings the newer one. */
static bool is_for_us(const struct raft *raft, const struct raft_message *message)
{
    const struct raft_options *self = &raft->options;
    if (message->cluster != self->cluster || message->group != self->group ||
        message->to != self->node || message->from == self->node || message->from == 0) {
        return false;
    }
    if (MUTANT(MUT_ANY_INCARNATION)) {
        return true;
    }
    int at = raft_config_find(&raft->config.config, message->from);
    bool counts = at >= 0 && !is_from_leader(message) && !is_vote_request(message);
    counts = MUTANT(MUT_LEADER_UNHEARD) ? at >= 0 : counts;
    return message->to_incarnation == self->incarnation &&
           (!counts || raft->config.config.members[at].incarnation == message->from_incarnation);
}

/* Pitfalls 7 and 8: who heard a leader within the election timeout helps nobody to replace it,
 * unless that leader itself asked for the election. */
static bool is_vote_forbidden(const struct raft *raft, const struct raft_message *message)
{
    if (!is_vote_request(message) || message->is_transfer || MUTANT(MUT_LEASE_NO_PROMISE)) {
        return false;
    }
    return raft->role == RAFT_LEADER || raft->now_ms < raft->promise_until_ms;
}

/* A message of an older term.  Its sender learns the newer one where it would be stuck without. */
static void meet_lower_term(struct raft *raft, const struct raft_message *message)
{
    if (message->kind == RAFT_MESSAGE_PREVOTE) {
        struct raft_message *reply = raft_reply(raft, RAFT_MESSAGE_PREVOTE_RESPONSE, message);
        if (reply != NULL) {
            reply->is_rejected = true; /* pitfall 9: answered, not dropped */
        }
    } else if (is_from_leader(message)) {
        struct raft_message *reply = raft_reply(raft, RAFT_MESSAGE_APPEND_RESPONSE, message);
        if (reply != NULL) {
            reply->is_rejected = true; /* a leader of the past steps down when it reads our term */
        }
    }
}

static void step_message(struct raft *raft, const struct raft_message *message)
{
    if (!is_for_us(raft, message)) {
        return;
    }
    bool is_old_ack = MUTANT(MUT_OLD_TERM_ACK) && message->kind == RAFT_MESSAGE_APPEND_RESPONSE;
    if (message->term < raft->term && !is_old_ack) {
        meet_lower_term(raft, message);
        return;
    }
    if (is_vote_forbidden(raft, message)) {
        return;
    }
    bool is_prospective = message->kind == RAFT_MESSAGE_PREVOTE ||
                          (message->kind == RAFT_MESSAGE_PREVOTE_RESPONSE && !message->is_rejected);
    if (message->term > raft->term && !is_prospective) {
        raft_become_follower(raft, message->term, is_from_leader(message) ? message->from : 0);
    }
    if (is_from_leader(message)) {
        if (raft->role == RAFT_LEADER) {
            return; /* two leaders of one term: impossible; a corrupt peer is not obeyed */
        }
        raft_leader_heard(raft, message->from);
        raft->leader_incarnation = message->from_incarnation;
    }
    dispatch(raft, message);
}

static void dispatch(struct raft *raft, const struct raft_message *message)
{
    switch (message->kind) {
    case RAFT_MESSAGE_PREVOTE:
    case RAFT_MESSAGE_VOTE:
        raft_on_vote_request(raft, message);
        break;
    case RAFT_MESSAGE_PREVOTE_RESPONSE:
    case RAFT_MESSAGE_VOTE_RESPONSE:
        raft_on_vote_response(raft, message);
        break;
    case RAFT_MESSAGE_APPEND:
        raft_on_append(raft, message);
        break;
    case RAFT_MESSAGE_APPEND_RESPONSE:
        raft_on_append_response(raft, message);
        break;
    case RAFT_MESSAGE_HEARTBEAT:
        raft_on_heartbeat(raft, message);
        break;
    case RAFT_MESSAGE_HEARTBEAT_RESPONSE:
        raft_on_heartbeat_response(raft, message);
        break;
    case RAFT_MESSAGE_COMMIT:
        raft_on_commit(raft, message);
        break;
    case RAFT_MESSAGE_SNAPSHOT:
        raft_on_snapshot(raft, message);
        break;
    case RAFT_MESSAGE_TIMEOUT_NOW:
        raft_on_timeout_now(raft, message);
        break;
    case RAFT_MESSAGE_READ:
        raft_on_read(raft, message);
        break;
    case RAFT_MESSAGE_READ_RESPONSE:
        raft_on_read_response(raft, message);
        break;
    case RAFT_MESSAGE_KINDS:
        break; /* no kind: the decoder refuses it, and so do we */
    }
}

/* ── durability ─────────────────────────────────────────────────────────────────────────────── */

/* Everything up to output `persist.id` is on the platter.  It proves something about the log only
 * when the log was not cut since (pitfall 29: a completion of the past must not bless entries that
 * have the same index now). */
static void step_persisted(struct raft *raft, struct raft_persist persist)
{
    ASSERT(persist.id > 0);
    ASSERT(persist.id <= raft->persist_id);
    if (persist.id <= raft->persisted_id) {
        return;
    }
    raft->persisted_id = persist.id;
    raft->persist_progress_ms = raft->now_ms;
    raft->has_disk_moved = true;
    uint64_t index = persist.index;
    if (MUTANT(MUT_PERSIST_ABA)) {
        index = index < raft->log.last_index ? index : raft->log.last_index;
    } else if (persist.id < raft->truncated_id) {
        return;
    }
    ASSERT(index <= raft->log.last_index);
    if (index > raft->log.durable_index) {
        raft->log.durable_index = index;
    }
}

bool raft_hard_state_is_durable(const struct raft *raft)
{
    return !is_hard_state_new(raft) && raft->persisted_id >= raft->hard_state_id;
}

/* Pitfall 12.  Progress, not the age of a write: a slow disk that moves is no stalled one. */
bool raft_disk_is_stalled(const struct raft *raft)
{
    return raft->persisted_id < raft->persist_id &&
           raft->now_ms - raft->persist_progress_ms >= raft->options.disk_stall_ms;
}

/* ── messages ───────────────────────────────────────────────────────────────────────────────── */

/* NULL when the outbox is full: the message is lost, as any may be, and its sender's timers send
 * it again. */
struct raft_message *raft_send(struct raft *raft, enum raft_message_kind kind, uint64_t to,
                               uint64_t to_incarnation)
{
    ASSERT(raft->out != NULL);
    ASSERT(to != raft->options.node);
    if (raft->out->messages_count == RAFT_OUTBOX_MAX) {
        raft->has_more_to_send = true;
        return NULL;
    }
    struct raft_message *message = &raft->out->messages[raft->out->messages_count++];
    *message = (struct raft_message){
        .kind = kind,
        .group = raft->options.group,
        .cluster = raft->options.cluster,
        .from = raft->options.node,
        .from_incarnation = raft->options.incarnation,
        .to = to,
        .to_incarnation = to_incarnation,
        .boot = raft->options.boot,
        .term = raft->term,
    };
    return message;
}

struct raft_message *raft_send_peer(struct raft *raft, enum raft_message_kind kind, uint32_t i)
{
    const struct raft_member *member = &raft->config.config.members[i];
    return raft_send(raft, kind, member->node, member->incarnation);
}

struct raft_message *raft_reply(struct raft *raft, enum raft_message_kind kind,
                                const struct raft_message *to)
{
    return raft_send(raft, kind, to->from, to->from_incarnation);
}

/* ── the log's own entries and configurations ───────────────────────────────────────────────── */

void raft_append_own(struct raft *raft, const struct raft_config *config)
{
    struct raft_output *out = raft->out;
    ASSERT(out->entries_count == 0);
    ASSERT(raft->role == RAFT_LEADER);
    uint32_t size = raft->options.entry_overhead_bytes;
    if (config != NULL) {
        size += (uint32_t)raft_config_encoded_size(config);
        out->own_config = *config;
    }
    unsigned kind = config != NULL ? RAFT_ENTRY_CONFIG : RAFT_ENTRY_NOOP;
    raft_log_append(&raft->log, raft->term, kind, size);
    out->own_entry = (struct raft_entry){
        .index = raft->log.last_index,
        .term = raft->term,
        .size = size,
        .kind = (uint8_t)kind,
        .config = config != NULL ? &out->own_config : NULL,
    };
    out->entries = &out->own_entry;
    out->entries_count = 1;
    if (config != NULL) {
        raft_config_append(raft, config, raft->log.last_index);
    }
}

/* Puts `next` into force.  Progress rows follow their members. */
static void config_switch(struct raft *raft, const struct raft_config_at *next)
{
    struct raft_progress old_rows[RAFT_PEERS_MAX];
    struct raft_config old = raft->config.config;
    memcpy(old_rows, raft->progress, sizeof(old_rows));
    raft->config = *next;
    for (uint32_t i = 0; i < next->config.members_count; i++) {
        const struct raft_member *member = &next->config.members[i];
        int at = raft_config_find(&old, member->node);
        if (at >= 0 && old.members[at].incarnation == member->incarnation) {
            raft->progress[i] = old_rows[at];
        } else {
            progress_init(&raft->progress[i], raft->log.last_index + 1);
        }
    }
}

/* Pitfall 16: from here on it is in force, committed or not.  The one before it was committed: no
 * leader appends a change while another is pending.  So one step back is all that can be needed. */
void raft_config_append(struct raft *raft, const struct raft_config *config, uint64_t index)
{
    ASSERT(index > raft->config.index);
    struct raft_config_at next = { index, *config };
    if (MUTANT(MUT_CONFIG_ON_APPLY)) {
        raft->config_before = next;
        return;
    }
    raft->config_before = raft->config;
    config_switch(raft, &next);
}

uint64_t raft_config_pending(const struct raft *raft)
{
    uint64_t index = raft->config.index;
    if (MUTANT(MUT_CONFIG_ON_APPLY) && raft->config_before.index > index) {
        index = raft->config_before.index;
    }
    return index > raft->commit_index ? index : 0;
}

void raft_config_commit(struct raft *raft)
{
    if (MUTANT(MUT_CONFIG_ON_APPLY) && raft->config_before.index > raft->config.index &&
        raft->config_before.index <= raft->commit_index) {
        struct raft_config_at next = raft->config_before;
        config_switch(raft, &next);
    }
}

void raft_config_install(struct raft *raft, const struct raft_config *config, uint64_t index)
{
    struct raft_config_at next = { index, *config };
    config_switch(raft, &next);
    raft->config_before = next;
}

/* Entries from `index` on are void; what replaces them is part of this step's output. */
void raft_truncate(struct raft *raft, uint64_t index)
{
    ASSERT(index > raft->commit_index);
    raft_log_truncate(&raft->log, index);
    raft->truncated_id = raft->persist_id + 1;
    if (raft->verified_index >= index) {
        raft->verified_index = index - 1;
    }
    if (MUTANT(MUT_CONFIG_ON_APPLY)) {
        if (raft->config_before.index >= index) {
            raft->config_before = raft->config;
        }
    } else if (raft->config.index >= index && !MUTANT(MUT_CONFIG_NO_ROLLBACK)) {
        struct raft_config_at before = raft->config_before;
        config_switch(raft, &before);
    }
}

bool raft_is_self(const struct raft *raft, uint32_t i)
{
    const struct raft_member *member = &raft->config.config.members[i];
    return member->node == raft->options.node && member->incarnation == raft->options.incarnation;
}

bool raft_self_votes_in(const struct raft *raft, const struct raft_config *config)
{
    int at = raft_config_find(config, raft->options.node);
    return at >= 0 && config->members[at].incarnation == raft->options.incarnation &&
           raft_member_votes(&config->members[at]);
}

bool raft_self_votes(const struct raft *raft)
{
    return raft_self_votes_in(raft, &raft->config.config);
}

bool raft_is_alone(const struct raft *raft)
{
    return raft_config_is_alone(&raft->config.config, raft->options.node) && raft_self_votes(raft);
}

/* ── beginning ──────────────────────────────────────────────────────────────────────────────── */

size_t raft_sizeof(void)
{
    return sizeof(struct raft);
}

size_t raft_log_memory_bytes(uint32_t capacity)
{
    return (size_t)capacity * sizeof(struct raft_log_slot);
}

static void check_options(const struct raft_options *options)
{
    ASSERT(options->node > 0);
    ASSERT(options->heartbeat_ms > 0);
    ASSERT(options->election_timeout_ms >= 2 * options->heartbeat_ms);
    ASSERT(options->clock_drift_percent < 50);
    ASSERT(options->disk_stall_ms > 0);
    ASSERT(options->append_bytes_max > 0);
    ASSERT(options->inflight_bytes_max > 0);
}

void raft_init(struct raft *raft, const struct raft_options *options, const struct raft_boot *boot,
               void *log_memory, uint32_t log_capacity)
{
    check_options(options);
    ASSERT(log_capacity > RAFT_LOG_RESERVE);
    ASSERT(raft_config_is_valid(&boot->snapshot.config));
    /* A snapshot may be durable before the term in which it was received: no vote was sent in it.
     */
    bool is_behind = boot->term < boot->snapshot.term;
    uint64_t term = is_behind ? boot->snapshot.term : boot->term;
    uint64_t voted_for = is_behind ? 0 : boot->voted_for;
    *raft = (struct raft){
        .options = *options,
        .now_ms = boot->now_ms,
        .term = term,
        .voted_for = voted_for,
        .emitted_term = boot->term, /* a raised term is written by the first output */
        .emitted_vote = boot->voted_for,
        .commit_index = boot->snapshot.index,
        .snapshot = boot->snapshot,
        .boot_commit_index = boot->is_suspect ? 0 : boot->commit_index,
        .is_suspect = boot->is_suspect,
        .emitted_suspect = boot->is_suspect,
    };
    prng_init(&raft->prng, options->seed);
    raft_log_init(&raft->log, log_memory, log_capacity, boot->snapshot.index, boot->snapshot.term);
    raft_config_install(raft, &boot->snapshot.config, boot->snapshot.index);
    raft_reads_init(raft);
    raft_become_follower(raft, term, 0);
    /* We may have heard a leader just before we stopped: its lease must not be broken. */
    raft->promise_until_ms = boot->now_ms;
    if (!MUTANT(MUT_LEASE_BOOT)) {
        raft->promise_until_ms += options->election_timeout_ms;
    }
    raft->election_deadline_ms = boot->now_ms + options->election_timeout_ms +
                                 prng_below(&raft->prng, options->election_timeout_ms);
}

/* The log on disk belongs to another history than the snapshot.  It will be there at every start
 * until a reset is written behind it, and new entries would follow it: so reset first. */
static enum raft_boot_outcome boot_conflict(struct raft *raft)
{
    raft->must_reset_log = true;
    return RAFT_BOOT_CONFLICT;
}

enum raft_boot_outcome raft_boot_append(struct raft *raft, const struct raft_entry *entry)
{
    ASSERT(raft->persist_id == 0);
    struct raft_log *log = &raft->log;
    if (entry->index <= log->base_index) {
        bool is_other = entry->index == log->base_index && entry->term != log->base_term;
        return is_other ? boot_conflict(raft) : RAFT_BOOT_COVERED;
    }
    if (entry->index > log->last_index + 1) {
        return RAFT_BOOT_GAP;
    }
    if (entry->index <= raft->commit_index || entry->term > raft->term) {
        return RAFT_BOOT_INVALID;
    }
    if (entry->index <= log->last_index) {
        raft_truncate(raft, entry->index); /* written later: it replaced the one before it */
        raft->truncated_id = 0;
    }
    if (entry->term < log->last_term) {
        return RAFT_BOOT_INVALID;
    }
    if (raft_log_room(log) == 0) {
        return RAFT_BOOT_FULL;
    }
    raft_log_append(log, entry->term, entry->kind, entry->size);
    log->durable_index = entry->index;
    if (entry->kind == RAFT_ENTRY_CONFIG) {
        raft_config_append(raft, entry->config, entry->index);
    }
    if (entry->index <= raft->boot_commit_index) {
        raft_commit_to(raft, entry->index);
    }
    return RAFT_BOOT_OK;
}

void *raft_log_resize(struct raft *raft, void *log_memory, uint32_t capacity)
{
    if (capacity < raft_log_count(&raft->log) + RAFT_LOG_RESERVE) {
        return NULL;
    }
    return raft_log_move(&raft->log, log_memory, capacity);
}

/* ── looking ────────────────────────────────────────────────────────────────────────────────── */

enum raft_role raft_role(const struct raft *raft)
{
    return raft->role;
}

uint64_t raft_term(const struct raft *raft)
{
    return raft->term;
}

uint64_t raft_voted_for(const struct raft *raft)
{
    return raft->voted_for;
}

uint64_t raft_leader(const struct raft *raft)
{
    return raft->leader;
}

uint64_t raft_first_index(const struct raft *raft)
{
    return raft->log.base_index + 1;
}

uint64_t raft_last_index(const struct raft *raft)
{
    return raft->log.last_index;
}

uint64_t raft_commit_index(const struct raft *raft)
{
    return raft->commit_index;
}

uint64_t raft_durable_index(const struct raft *raft)
{
    return raft->log.durable_index;
}

uint64_t raft_shared_index(const struct raft *raft)
{
    if (raft->role != RAFT_LEADER) {
        return raft->shared_index;
    }
    uint64_t shared = raft->log.durable_index;
    for (uint32_t i = 0; i < raft->config.config.members_count; i++) {
        const struct raft_progress *progress = &raft->progress[i];
        if (!raft_is_self(raft, i) && progress->match < shared) {
            shared = progress->match;
        }
    }
    return shared;
}

uint32_t raft_log_space(const struct raft *raft)
{
    uint32_t room = raft_log_room(&raft->log);
    return room > RAFT_LOG_RESERVE ? room - RAFT_LOG_RESERVE : 0;
}

uint64_t raft_uncommitted_bytes(const struct raft *raft)
{
    return raft_log_bytes(&raft->log, raft->commit_index, raft->log.last_index);
}

bool raft_entry_at(const struct raft *raft, uint64_t index, uint64_t *out_term, uint8_t *out_kind)
{
    if (index <= raft->log.base_index ||
        raft_log_term(&raft->log, index, out_term) != RAFT_LOG_FOUND) {
        return false;
    }
    *out_kind = (uint8_t)raft_log_kind(&raft->log, index);
    return true;
}

const struct raft_config *raft_config(const struct raft *raft, uint64_t *out_index)
{
    *out_index = raft->config.index;
    return &raft->config.config;
}

bool raft_self_is_voter(const struct raft *raft, const struct raft_config *config)
{
    return raft_self_votes_in(raft, config);
}

bool raft_is_suspect(const struct raft *raft)
{
    return raft->is_suspect;
}

bool raft_is_suspect_on_disk(const struct raft *raft)
{
    return raft->emitted_suspect;
}

uint64_t raft_leader_heard_ms(const struct raft *raft)
{
    return raft->role == RAFT_LEADER ? raft->now_ms
                                     : raft->promise_until_ms - raft->options.election_timeout_ms;
}

bool raft_has_transfer(const struct raft *raft)
{
    return raft->transfer_target != 0;
}

bool raft_peer(const struct raft *raft, uint64_t node, struct raft_peer_view *out_view)
{
    int at = raft_config_find(&raft->config.config, node);
    if (raft->role != RAFT_LEADER || at < 0) {
        return false;
    }
    const struct raft_progress *progress = &raft->progress[at];
    bool is_self = node == raft->options.node;
    *out_view = (struct raft_peer_view){
        .match = is_self ? raft->log.durable_index : progress->match,
        .next = is_self ? raft->log.last_index + 1 : progress->next,
        .state = (uint8_t)progress->state,
        .answered_ms = is_self ? raft->now_ms : progress->ack_sent_ms,
        .is_suspect = !is_self && progress->is_suspect,
    };
    return true;
}
