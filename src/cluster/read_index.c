/*
 * read_index.c — linearizable reads without writing the log.
 *
 * A read may be answered from the state machine at any index that was committed when the read
 * began, or later, once the replica has applied it.  Three ways to learn such an index:
 *
 *   ReadIndex  the leader notes its commit index, numbers a round, and lets its heartbeats carry
 *              the number; a majority's echo proves that it still led after the round began
 *              (thesis §6.4).  Rounds are pipelined; reads that come meanwhile share the next.
 *   lease      a majority that answered a heartbeat sent at s has promised to elect nobody before
 *              s + election timeout on their clocks; within the drift bound that is known to
 *              lie ahead on ours (thesis §6.4.1, pitfall 7).
 *   forwarded  a follower or learner asks the leader, which uses one of the above.
 *
 * A new leader knows what is committed only when an entry of its own term is (pitfall 4).  Numbers
 * of rounds and attempts are never used twice, not even by the next process (pitfall 5): a late
 * echo proves something about the past only.
 */
#include "cluster/raft_internal.h"

#include "base/assert.h"

enum { BOOT_SHIFT = 32 }; /* numbers of one process: boot << 32, boot << 32 | 1, ... */

static void leader_settle(struct raft *raft);
static void follower_settle(struct raft *raft);

void raft_reads_init(struct raft *raft)
{
    raft->reads = (struct raft_reads){ .seq = raft->options.boot << BOOT_SHIFT };
}

void raft_reads_restart(struct raft *raft)
{
    struct raft_reads *reads = &raft->reads;
    reads->rounds_count = 0;
    reads->attempt_seq = 0;
    reads->begun_id = reads->confirmed_id;
}

void raft_read(struct raft *raft, uint64_t read_id)
{
    if (read_id > raft->reads.requested_id) {
        raft->reads.requested_id = read_id;
    }
}

void raft_reads_settle(struct raft *raft)
{
    if (raft->role == RAFT_LEADER) {
        leader_settle(raft);
    } else if (raft->role == RAFT_FOLLOWER && raft->leader != 0) {
        follower_settle(raft);
    }
}

static void confirm(struct raft *raft, uint64_t read_id, uint64_t index)
{
    struct raft_reads *reads = &raft->reads;
    if (read_id > reads->confirmed_id) {
        reads->confirmed_id = read_id;
        raft->out->read_id_confirmed = read_id;
        raft->out->read_index = index > raft->out->read_index ? index : raft->out->read_index;
    }
    if (reads->begun_id < reads->confirmed_id) {
        reads->begun_id = reads->confirmed_id;
    }
}

/* ── the lease ──────────────────────────────────────────────────────────────────────────────── */

uint64_t raft_quorum_heard_ms(const struct raft *raft)
{
    uint64_t values[RAFT_PEERS_MAX] = { 0 };
    for (uint32_t i = 0; i < raft->config.config.members_count; i++) {
        values[i] = raft_is_self(raft, i) ? raft->now_ms : raft->progress[i].ack_sent_ms;
    }
    return quorum_reached(&raft->config.config, values);
}

/* Their clocks may run fast and ours slow, both by the drift bound; two milliseconds are what
 * rounding down two clocks can cost. */
static uint64_t lease_ms(const struct raft *raft)
{
    uint64_t timeout_ms = raft->options.election_timeout_ms;
    uint64_t drift = raft->options.clock_drift_percent;
    if (MUTANT(MUT_LEASE_IGNORES_DRIFT)) {
        return timeout_ms;
    }
    uint64_t safe_ms = timeout_ms * (100 - drift) / (100 + drift);
    return safe_ms > 2 ? safe_ms - 2 : 0;
}

bool raft_lease_holds(const struct raft *raft, uint64_t now_ms)
{
    if (raft->role != RAFT_LEADER || (raft->is_lease_void && !MUTANT(MUT_LEASE_AFTER_TRANSFER))) {
        return false;
    }
    if (MUTANT(MUT_LEASE_NO_CHECKQUORUM)) {
        return true;
    }
    uint64_t heard_ms = raft_quorum_heard_ms(raft);
    return heard_ms != 0 && now_ms < heard_ms + lease_ms(raft);
}

uint64_t raft_lease_until_ms(const struct raft *raft)
{
    if (raft->role != RAFT_LEADER || raft->is_lease_void || !raft_has_committed_in_term(raft)) {
        return 0;
    }
    if (raft_is_alone(raft)) {
        return UINT64_MAX;
    }
    uint64_t heard_ms = raft->options.lease_reads ? raft_quorum_heard_ms(raft) : 0;
    return heard_ms == 0 ? 0 : heard_ms + lease_ms(raft);
}

/* ── the leader ─────────────────────────────────────────────────────────────────────────────── */

static void answer_peers(struct raft *raft, uint64_t acked)
{
    for (uint32_t i = 0; i < raft->config.config.members_count; i++) {
        struct raft_progress *progress = &raft->progress[i];
        if (progress->read_round_seq == 0 || progress->read_round_seq > acked) {
            continue;
        }
        struct raft_message *message = raft_send_peer(raft, RAFT_MESSAGE_READ_RESPONSE, i);
        if (message != NULL) {
            message->read_seq = progress->read_asked_seq;
            message->index = progress->read_index;
        }
        progress->read_asked_seq = 0;
        progress->read_round_seq = 0;
    }
}

static void finish_rounds(struct raft *raft)
{
    struct raft_reads *reads = &raft->reads;
    if (reads->rounds_count == 0) {
        return; /* then no peer waits either */
    }
    uint64_t values[RAFT_PEERS_MAX] = { 0 };
    for (uint32_t i = 0; i < raft->config.config.members_count; i++) {
        values[i] = raft_is_self(raft, i) ? reads->seq : raft->progress[i].read_seq_acked;
    }
    uint64_t acked = quorum_reached(&raft->config.config, values);
    if (MUTANT(MUT_READ_NO_QUORUM)) {
        acked = reads->seq;
    }
    while (reads->rounds_count > 0 && reads->rounds[reads->rounds_first].seq <= acked) {
        const struct raft_read_round *round = &reads->rounds[reads->rounds_first];
        confirm(raft, round->read_id, round->index);
        reads->rounds_first = (reads->rounds_first + 1) % RAFT_READ_ROUNDS_MAX;
        reads->rounds_count -= 1;
    }
    answer_peers(raft, acked);
}

static bool is_round_wanted(const struct raft *raft)
{
    if (raft->reads.requested_id > raft->reads.begun_id) {
        return true;
    }
    for (uint32_t i = 0; i < raft->config.config.members_count; i++) {
        if (raft->progress[i].read_asked_seq != 0 && raft->progress[i].read_round_seq == 0) {
            return true;
        }
    }
    return false;
}

/* Everything that waits becomes part of round `seq`. */
static void join_round(struct raft *raft, uint64_t seq)
{
    raft->reads.begun_id = raft->reads.requested_id;
    for (uint32_t i = 0; i < raft->config.config.members_count; i++) {
        struct raft_progress *progress = &raft->progress[i];
        if (progress->read_asked_seq != 0 && progress->read_round_seq == 0) {
            progress->read_round_seq = seq;
            if (progress->read_index < raft->commit_index) {
                progress->read_index = raft->commit_index;
            }
        }
    }
}

static void begin_round(struct raft *raft)
{
    struct raft_reads *reads = &raft->reads;
    ASSERT(reads->rounds_count < RAFT_READ_ROUNDS_MAX);
    reads->seq += 1;
    join_round(raft, reads->seq);
    uint32_t at = (reads->rounds_first + reads->rounds_count) % RAFT_READ_ROUNDS_MAX;
    reads->rounds[at] =
        (struct raft_read_round){ reads->seq, reads->requested_id, raft->commit_index };
    reads->rounds_count += 1;
    raft_heartbeat(raft);
}

static void leader_settle(struct raft *raft)
{
    if (!raft_has_committed_in_term(raft) && !MUTANT(MUT_READ_BEFORE_NOOP)) {
        return;
    }
    finish_rounds(raft);
    if (!is_round_wanted(raft)) {
        return;
    }
    if (raft_is_alone(raft) ||
        (raft->options.lease_reads && raft_lease_holds(raft, raft->now_ms))) {
        raft->reads.seq += 1;
        join_round(raft, raft->reads.seq);
        confirm(raft, raft->reads.requested_id, raft->commit_index);
        answer_peers(raft, raft->reads.seq);
    } else if (raft->reads.rounds_count < RAFT_READ_ROUNDS_MAX) {
        begin_round(raft);
    }
}

/* One question a peer: a newer one replaces an older one, whose answer it would ignore anyway.  A
 * peer that may have lost entries wants to know how long our log is *now*. */
void raft_on_read(struct raft *raft, const struct raft_message *message)
{
    int at = raft_config_find(&raft->config.config, message->from);
    if (raft->role != RAFT_LEADER || at < 0) {
        return;
    }
    struct raft_progress *progress = &raft->progress[at];
    if (message->boot < progress->boot || message->read_seq <= progress->read_asked_seq) {
        return;
    }
    if (message->is_suspect) {
        raft_peer_lost(raft, progress, message->boot);
    }
    progress->read_asked_seq = message->read_seq;
    progress->read_round_seq = 0;
    progress->read_index = message->is_suspect ? raft->log.last_index : 0;
}

/* ── followers and learners ─────────────────────────────────────────────────────────────────── */

static void follower_settle(struct raft *raft)
{
    struct raft_reads *reads = &raft->reads;
    bool is_wanted = reads->requested_id > reads->confirmed_id ||
                     (raft->is_suspect && raft->suspect_target_index == 0);
    if (!is_wanted || (reads->attempt_seq != 0 && raft->now_ms < reads->attempt_deadline_ms)) {
        return;
    }
    reads->seq += 1;
    reads->attempt_seq = reads->seq;
    reads->attempt_deadline_ms = raft->now_ms + 2 * (uint64_t)raft->options.heartbeat_ms;
    reads->begun_id = reads->requested_id;
    struct raft_message *message =
        raft_send(raft, RAFT_MESSAGE_READ, raft->leader, raft->leader_incarnation);
    if (message != NULL) {
        message->read_seq = reads->attempt_seq;
        message->is_suspect = raft->is_suspect;
    }
}

/* Only the answer to the latest attempt, from the leader we still follow. */
void raft_on_read_response(struct raft *raft, const struct raft_message *message)
{
    struct raft_reads *reads = &raft->reads;
    bool is_late = MUTANT(MUT_READ_SEQ_REUSED) ? false : message->read_seq != reads->attempt_seq;
    if (raft->role != RAFT_FOLLOWER || raft->leader != message->from || reads->attempt_seq == 0 ||
        is_late) {
        return;
    }
    reads->attempt_seq = 0;
    if (raft->is_suspect) {
        raft->suspect_target_index = message->index;
    }
    confirm(raft, MUTANT(MUT_READ_SEQ_REUSED) ? reads->requested_id : reads->begun_id,
            message->index);
}

uint64_t raft_reads_deadline(const struct raft *raft)
{
    return raft->reads.attempt_seq != 0 ? raft->reads.attempt_deadline_ms : UINT64_MAX;
}
