/*
 * replication.c — how entries spread: proposals, APPEND, HEARTBEAT, commit.
 *
 * The leader appends, sends and writes its own disk in parallel; its own entry counts when it is
 * durable, like everybody's.  A follower takes an APPEND into its log at once and remembers how
 * far its log equals the leader's (verified_index); it acknowledges min(verified, durable), which
 * moves when an APPEND or a PERSISTED comes in (raft_acknowledge).  So there is one place that can
 * acknowledge, and it cannot acknowledge what is not on the platter.
 *
 * Commit: the largest index that a majority of each half holds durably, and only if that entry is
 * of the leader's own term (Raft §5.4.2, figure 8).
 *
 * Lost messages: an APPEND that leaves a gap is refused and the leader goes back to probing; when
 * the last one of a burst was lost, the next heartbeat's answer makes the leader send an empty
 * APPEND, which is refused in turn (pitfall 26).
 *
 * Read next: snapshot.c, read_index.c.
 */
#include "cluster/raft_internal.h"

#include "base/assert.h"

static void append_entries(struct raft *raft, uint64_t prev, const struct raft_entry *entries,
                           uint32_t count);
static void reject_append(struct raft *raft, const struct raft_message *message);
static bool send_append(struct raft *raft, uint32_t i, uint32_t entries_max);

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* ── the leader's log ───────────────────────────────────────────────────────────────────────── */

enum raft_result raft_propose(struct raft *raft, const struct raft_entry *entries, uint32_t count)
{
    if (raft->role != RAFT_LEADER) {
        return RAFT_NOT_LEADER;
    }
    if (raft->transfer_target != 0) {
        return RAFT_TRANSFERRING;
    }
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        ASSERT(entries[i].kind != RAFT_ENTRY_CONFIG);
        if (entries[i].index != raft->log.last_index + 1 + i || entries[i].term != raft->term) {
            return RAFT_STALE;
        }
        bytes += entries[i].size;
    }
    uint64_t uncommitted = raft_uncommitted_bytes(raft);
    if (count > raft_log_space(raft) ||
        (uncommitted > 0 && uncommitted + bytes > raft->options.uncommitted_bytes_max)) {
        return RAFT_FULL;
    }
    for (uint32_t i = 0; i < count; i++) {
        raft_log_append(&raft->log, entries[i].term, entries[i].kind, entries[i].size);
    }
    raft->out->entries = entries;
    raft->out->entries_count = count;
    return RAFT_OK;
}

/* Pitfall 15: one change at a time, and none before this term has committed an entry. */
enum raft_result raft_change_config(struct raft *raft, const struct raft_config *wanted)
{
    if (raft->role != RAFT_LEADER) {
        return RAFT_NOT_LEADER;
    }
    if (raft->transfer_target != 0) {
        return RAFT_TRANSFERRING;
    }
    bool may_change = raft_has_committed_in_term(raft) && raft_config_pending(raft) == 0;
    if ((!may_change && !MUTANT(MUT_CONFIG_ANY_TIME)) ||
        raft_config_is_joint(&raft->config.config)) {
        return RAFT_CONFIG_PENDING;
    }
    struct raft_config next;
    switch (confchange_next(&raft->config.config, wanted, &next)) {
    case CONFCHANGE_INVALID:
        return RAFT_CONFIG_INVALID;
    case CONFCHANGE_SAME:
        return RAFT_CONFIG_SAME;
    case CONFCHANGE_SIMPLE:
    case CONFCHANGE_JOINT:
        break;
    }
    if (raft_log_room(&raft->log) == 0) {
        return RAFT_FULL;
    }
    raft_append_own(raft, &next);
    return RAFT_OK;
}

bool raft_has_committed_in_term(const struct raft *raft)
{
    ASSERT(raft->role == RAFT_LEADER);
    return raft->commit_index >= raft->term_begins_index;
}

void raft_commit_to(struct raft *raft, uint64_t index)
{
    ASSERT(index <= raft->log.last_index);
    if (index > raft->commit_index) {
        raft->commit_index = index;
        raft_config_commit(raft);
    }
}

/* A joint configuration that is committed is left by itself; the pending index guards that it
 * happens once (pitfall 18). */
static void leave_joint(struct raft *raft)
{
    bool is_due = raft_config_is_joint(&raft->config.config) && raft_config_pending(raft) == 0 &&
                  raft_has_committed_in_term(raft);
    if (is_due && raft->out->entries_count == 0 && raft_log_room(&raft->log) > 0) {
        struct raft_config next;
        confchange_leave(&raft->config.config, &next);
        raft_append_own(raft, &next);
    }
}

void raft_advance_commit(struct raft *raft)
{
    if (raft->role != RAFT_LEADER) {
        return;
    }
    uint64_t values[RAFT_PEERS_MAX] = { 0 };
    for (uint32_t i = 0; i < raft->config.config.members_count; i++) {
        const struct raft_progress *progress = &raft->progress[i];
        if (raft_is_self(raft, i)) {
            values[i] = MUTANT(MUT_COUNT_SELF_BEFORE_PERSIST) ? raft->log.last_index
                                                              : raft->log.durable_index;
        } else {
            values[i] = progress->is_suspect ? 0 : progress->match;
        }
    }
    uint64_t reached = quorum_reached(&raft->config.config, values);
    if (reached > raft->commit_index &&
        (reached >= raft->term_begins_index || MUTANT(MUT_COMMIT_OLD_TERM))) {
        raft_commit_to(raft, reached);
    }
    leave_joint(raft);
}

void raft_leave_if_removed(struct raft *raft)
{
    bool is_removed =
        raft->role == RAFT_LEADER && raft_config_pending(raft) == 0 && !raft_self_votes(raft);
    if (is_removed && !MUTANT(MUT_REMOVED_LEADER_STAYS)) {
        raft_become_follower(raft, raft->term, 0);
    }
}

/* ── the leader sends ───────────────────────────────────────────────────────────────────────── */

static bool may_send(const struct raft *raft, const struct raft_progress *progress)
{
    uint64_t last = raft->log.last_index;
    switch (progress->state) {
    case RAFT_PROGRESS_PROBE:
        return !progress->is_probing && progress->match < last;
    case RAFT_PROGRESS_REPLICATE:
        return progress->next <= last && !progress_is_full(progress) &&
               raft_log_bytes(&raft->log, progress->match, progress->next - 1) <
                   raft->options.inflight_bytes_max;
    case RAFT_PROGRESS_SNAPSHOT:
        return false;
    }
    UNREACHABLE();
}

/* What this peer can be told: committed, and known to be in its log. */
static uint64_t commit_known(const struct raft *raft, const struct raft_progress *progress)
{
    return MUTANT(MUT_HEARTBEAT_COMMIT) ? raft->commit_index
                                        : min_u64(progress->match, raft->commit_index);
}

static void replicate_peer(struct raft *raft, uint32_t i)
{
    struct raft_progress *progress = &raft->progress[i];
    for (unsigned sent = 0; may_send(raft, progress); sent++) {
        if (sent == RAFT_APPENDS_PER_STEP) {
            raft->has_more_to_send = true;
            break;
        }
        if (!send_append(raft, i, RAFT_APPEND_ENTRIES_MAX)) {
            break;
        }
    }
    uint64_t known = commit_known(raft, progress);
    if (progress->state == RAFT_PROGRESS_REPLICATE && known > progress->commit_sent) {
        struct raft_message *message = raft_send_peer(raft, RAFT_MESSAGE_COMMIT, i);
        if (message != NULL) {
            message->commit = known;
            progress->commit_sent = known;
        }
    }
}

void raft_replicate(struct raft *raft)
{
    if (raft->role != RAFT_LEADER) {
        return;
    }
    for (uint32_t i = 0; i < raft->config.config.members_count; i++) {
        if (!raft_is_self(raft, i)) {
            replicate_peer(raft, i);
        }
    }
}

/* How many entries after `prev` one APPEND takes: at least one, if there is one. */
static uint32_t append_count(const struct raft *raft, uint64_t prev, uint32_t entries_max)
{
    uint64_t available = min_u64(raft->log.last_index - prev, entries_max);
    uint32_t count = available > 0;
    while (count < available &&
           raft_log_bytes(&raft->log, prev, prev + count + 1) <= raft->options.append_bytes_max) {
        count++;
    }
    return count;
}

/* False when nothing could be sent: the outbox is full, or the peer needs a snapshot. */
static bool send_append(struct raft *raft, uint32_t i, uint32_t entries_max)
{
    struct raft_progress *progress = &raft->progress[i];
    uint64_t prev = progress->next - 1;
    uint64_t prev_term = 0;
    if (raft_log_term(&raft->log, prev, &prev_term) != RAFT_LOG_FOUND) {
        raft_offer_snapshot(raft, i); /* pitfall 25: compacted is no term */
        return false;
    }
    struct raft_message *message = raft_send_peer(raft, RAFT_MESSAGE_APPEND, i);
    if (message == NULL) {
        return false;
    }
    uint32_t count = append_count(raft, prev, entries_max);
    message->index = prev;
    message->log_term = prev_term;
    message->commit = raft->commit_index;
    message->hint = raft->log.last_index;
    message->entries_count = count;
    if (count > 0) {
        progress_sent(progress, prev + count);
    } else {
        progress->is_probing = progress->state == RAFT_PROGRESS_PROBE;
    }
    progress->probe_ms = raft->now_ms;
    progress->commit_sent =
        max_u64(progress->commit_sent, min_u64(raft->commit_index, prev + count));
    return true;
}

void raft_heartbeat(struct raft *raft)
{
    ASSERT(raft->role == RAFT_LEADER);
    raft->heartbeat_deadline_ms = raft->now_ms + raft->options.heartbeat_ms;
    uint64_t shared = raft_shared_index(raft);
    for (uint32_t i = 0; i < raft->config.config.members_count; i++) {
        if (raft_is_self(raft, i)) {
            continue;
        }
        struct raft_message *message = raft_send_peer(raft, RAFT_MESSAGE_HEARTBEAT, i);
        if (message != NULL) {
            message->index = shared;
            message->commit = commit_known(raft, &raft->progress[i]);
            message->sent_ms = raft->now_ms;
            message->read_seq = raft->reads.seq;
            raft->progress[i].commit_sent = message->commit;
        }
    }
}

/* ── the leader listens ─────────────────────────────────────────────────────────────────────── */

/* The row of a peer whose answer counts; NULL otherwise. */
static struct raft_progress *row_of(struct raft *raft, const struct raft_message *message)
{
    int at = raft_config_find(&raft->config.config, message->from);
    if (raft->role != RAFT_LEADER || at < 0) {
        return NULL;
    }
    return &raft->progress[at];
}

/* A peer that may have lost what it acknowledged starts again from nothing. */
void raft_peer_lost(struct raft *raft, struct raft_progress *progress, uint64_t boot)
{
    if (boot > progress->boot || !progress->is_suspect) {
        progress->match = 0;
        progress_probe(progress);
        progress->next = raft->log.last_index + 1;
    }
    progress->boot = boot;
    progress->is_suspect = true;
}

/* What a peer said before its latest start is void, however late it arrives. */
static bool is_of_latest_boot(struct raft *raft, struct raft_progress *progress,
                              const struct raft_message *message)
{
    if (message->boot < progress->boot) {
        return false;
    }
    if (message->is_suspect) {
        raft_peer_lost(raft, progress, message->boot);
        return true;
    }
    /* Who is cured has all that it acknowledged as a suspect.  Less is a word of before it was
     * vacated, which may be late without a start in between. */
    bool is_cured = !message->is_rejected && message->index >= progress->match;
    progress->is_suspect = progress->is_suspect && message->boot == progress->boot && !is_cured;
    progress->boot = message->boot;
    return true;
}

void raft_on_append_response(struct raft *raft, const struct raft_message *message)
{
    struct raft_progress *progress = row_of(raft, message);
    if (progress == NULL || message->index > raft->log.last_index ||
        !is_of_latest_boot(raft, progress, message)) {
        return;
    }
    if (message->is_rejected) {
        uint64_t term = 0;
        uint64_t hint = raft_log_conflict_hint(&raft->log, message->hint, message->log_term, &term);
        (void)progress_rejected(progress, message->index, min_u64(hint, message->hint));
        return;
    }
    if (!progress_acked(progress, message->index)) {
        return;
    }
    bool is_caught_up =
        progress->state == RAFT_PROGRESS_PROBE ||
        (progress->state == RAFT_PROGRESS_SNAPSHOT && progress->match >= raft->log.base_index);
    if (is_caught_up) {
        progress_probe(progress);
        progress->state = RAFT_PROGRESS_REPLICATE;
    }
    if (message->from == raft->transfer_target) {
        raft_transfer_go(raft);
    }
}

void raft_on_heartbeat_response(struct raft *raft, const struct raft_message *message)
{
    struct raft_progress *progress = row_of(raft, message);
    if (progress == NULL || message->sent_ms > raft->now_ms ||
        message->read_seq > raft->reads.seq) {
        return;
    }
    progress->ack_sent_ms = max_u64(progress->ack_sent_ms, message->sent_ms);
    progress->read_seq_acked = max_u64(progress->read_seq_acked, message->read_seq);
    uint32_t i = (uint32_t)(progress - raft->progress);
    switch (progress->state) {
    case RAFT_PROGRESS_PROBE:
        /* This heartbeat left after the probe, which has not been answered: again, then. */
        if (message->sent_ms > progress->probe_ms && !MUTANT(MUT_PROBE_STUCK)) {
            progress->is_probing = false;
        }
        break;
    case RAFT_PROGRESS_REPLICATE:
        if (progress->match + 1 < progress->next && !may_send(raft, progress)) {
            (void)send_append(raft, i, 0); /* has it got everything we sent? */
        }
        break;
    case RAFT_PROGRESS_SNAPSHOT:
        raft_offer_snapshot(raft, i);
        break;
    }
}

/* ── the follower ───────────────────────────────────────────────────────────────────────────── */

/* Consecutive, terms ascending and not of the future, configurations present. */
static bool entries_are_sane(const struct raft_message *message)
{
    uint64_t term = message->log_term;
    for (uint32_t i = 0; i < message->entries_count; i++) {
        const struct raft_entry *entry = &message->entries[i];
        bool is_config = entry->kind == RAFT_ENTRY_CONFIG;
        if (entry->index != message->index + 1 + i || entry->term < term ||
            entry->term > message->term) {
            return false;
        }
        if (is_config && (entry->config == NULL || !raft_config_is_valid(entry->config))) {
            return false;
        }
        term = entry->term;
    }
    return true;
}

void raft_on_append(struct raft *raft, const struct raft_message *message)
{
    if (!entries_are_sane(message)) {
        return;
    }
    uint64_t end = message->index + message->entries_count;
    uint64_t prev = max_u64(message->index, raft->commit_index);
    if (end <= raft->commit_index) {
        prev = raft->commit_index; /* nothing new: what is committed is in every leader's log */
    } else if (prev > message->index) {
        /* It begins below our commit index: there, it cannot but agree. */
        const struct raft_entry *known = &message->entries[prev - message->index - 1];
        if (!raft_log_matches(&raft->log, prev, known->term)) {
            return; /* a leader that contradicts a committed entry is none */
        }
    } else if (!raft_log_matches(&raft->log, prev, message->log_term)) {
        reject_append(raft, message);
        return;
    }
    raft->owes_ack = true;
    raft->verified_index = max_u64(raft->verified_index, prev);
    if (end > prev) {
        append_entries(raft, prev, &message->entries[prev - message->index],
                       (uint32_t)(end - prev));
    }
    raft_commit_to(raft, min_u64(message->commit, raft->verified_index));
}

/* Raft §5.3: entries we have are kept, a conflicting one goes with all that follow, new ones are
 * appended.  When the log is short of slots a part is taken.  When nothing could be taken we do not
 * answer: an answer would make the leader send the same again at once, and so forever; like this
 * it tries again with its next heartbeat. */
static void append_entries(struct raft *raft, uint64_t prev, const struct raft_entry *entries,
                           uint32_t count)
{
    struct raft_log *log = &raft->log;
    uint32_t at = 0;
    bool was_cut = false;
    while (at < count && raft_log_matches(log, prev + 1 + at, entries[at].term) &&
           !MUTANT(MUT_TRUNCATE_ON_MATCH)) {
        at++;
    }
    if (at < count && prev + 1 + at <= log->last_index) {
        raft_truncate(raft, prev + 1 + at);
        was_cut = true;
    }
    uint32_t space = raft_log_space(raft);
    uint32_t room = space > 0 || !was_cut ? space : 1;
    uint32_t new_count = count - at < room ? count - at : room;
    for (uint32_t i = at; i < at + new_count; i++) {
        raft_log_append(log, entries[i].term, entries[i].kind, entries[i].size);
        if (entries[i].kind == RAFT_ENTRY_CONFIG) {
            raft_config_append(raft, entries[i].config, entries[i].index);
        }
    }
    if (new_count == 0 && at < count) {
        raft->owes_ack = false;
    }
    raft->out->entries = new_count > 0 ? &entries[at] : NULL;
    raft->out->entries_count = new_count;
    raft->verified_index = max_u64(raft->verified_index, prev + at + new_count);
}

static void reject_append(struct raft *raft, const struct raft_message *message)
{
    struct raft_message *reply = raft_reply(raft, RAFT_MESSAGE_APPEND_RESPONSE, message);
    if (reply != NULL) {
        reply->is_rejected = true;
        reply->is_suspect = raft->is_suspect;
        reply->index = message->index;
        reply->hint =
            raft_log_conflict_hint(&raft->log, message->index, message->log_term, &reply->log_term);
    }
}

/* Pitfall 1: the one place where a follower acknowledges. */
void raft_acknowledge(struct raft *raft)
{
    if (raft->role != RAFT_FOLLOWER || raft->leader == 0) {
        return;
    }
    uint64_t index = min_u64(raft->verified_index, raft->log.durable_index);
    bool is_durable = raft_hard_state_is_durable(raft);
    if (MUTANT(MUT_ACK_BEFORE_PERSIST)) {
        index = raft->verified_index;
        is_durable = true;
    }
    if (!is_durable) {
        return;
    }
    /* While writes are under way only the disk's progress is worth a message of its own. */
    bool is_complete = index == raft->verified_index;
    bool is_news = index > raft->acked_index && (is_complete || raft->has_disk_moved);
    bool is_answer = raft->owes_ack && is_complete;
    /* All that we can ever have acknowledged is ours again; the disk is told first. */
    bool is_whole =
        raft->is_suspect && raft->suspect_target_index != 0 && index >= raft->suspect_target_index;
    if (is_whole && !raft->is_cured) {
        raft->is_cured = true;
        raft->owes_ack = true;
        return;
    }
    if (!is_news && !is_answer) {
        return;
    }
    struct raft_message *message =
        raft_send(raft, RAFT_MESSAGE_APPEND_RESPONSE, raft->leader, raft->leader_incarnation);
    if (message != NULL) {
        message->index = index;
        message->is_suspect = raft->is_suspect;
        raft->acked_index = max_u64(raft->acked_index, index);
        raft->owes_ack = raft->owes_ack && !is_answer;
    }
}

/* `commit` is known to be in our log.  Only a log that lost something must not take that for
 * granted. */
static void take_commit(struct raft *raft, uint64_t commit)
{
    uint64_t limit = raft->is_suspect ? raft->verified_index : raft->log.last_index;
    raft_commit_to(raft, min_u64(commit, limit));
}

void raft_on_heartbeat(struct raft *raft, const struct raft_message *message)
{
    raft->shared_index = max_u64(raft->shared_index, message->index);
    take_commit(raft, message->commit);
    struct raft_message *reply = raft_reply(raft, RAFT_MESSAGE_HEARTBEAT_RESPONSE, message);
    if (reply != NULL) {
        reply->sent_ms = message->sent_ms;
        reply->read_seq = message->read_seq;
    }
}

void raft_on_commit(struct raft *raft, const struct raft_message *message)
{
    take_commit(raft, message->commit);
}
