/*
 * election.c — who leads: timers, pre-votes, votes, and handing leadership over.
 *
 * A follower that hears no leader for one to two election timeouts asks first whether it *would*
 * be elected (PreVote, thesis §9.6): no term moves, nobody is disturbed.  Only with a majority's
 * yes it raises its term and campaigns.  Two promises make leases and stability possible: who
 * heard a leader within the election timeout does not vote (raft.c, is_vote_forbidden), and a
 * leader that a majority did not answer for an election timeout steps down (CheckQuorum).
 *
 * What binds us is sent only when it is durable: the answer to a vote, our own vote, and also the
 * vote *requests*, because they describe the log we would lead with.
 *
 * Transfer (thesis §3.10): the leader stops taking proposals, brings the target up to date and
 * tells it to campaign at once.  From then on its lease is void for the rest of the term, since
 * that order may be delivered at any later time.
 *
 * Read next: replication.c.
 */
#include "cluster/raft_internal.h"

#include "base/assert.h"

static void campaign(struct raft *raft, bool is_transfer);
static void candidate_begin(struct raft *raft, bool is_transfer);
static void become_leader(struct raft *raft);
static void leader_tick(struct raft *raft);
static void request_votes(struct raft *raft);
static void count_votes(struct raft *raft);

static void election_timer_reset(struct raft *raft)
{
    uint64_t timeout_ms = raft->options.election_timeout_ms;
    raft->election_deadline_ms = raft->now_ms + timeout_ms + prng_below(&raft->prng, timeout_ms);
}

/* A voter, also one whose removal is in its log but not committed: it may be the only one whose log
 * is long enough to win and so to complete that very change (thesis §4.2.2). */
static bool is_candidate_by_config(const struct raft *raft)
{
    bool may_be_undone = raft_config_pending(raft) != 0;
    return raft_self_votes(raft) ||
           (may_be_undone && raft_self_votes_in(raft, &raft->config_before.config));
}

/* By configuration, with a disk that moves, a trusted log, and room for its first entry. */
bool raft_is_promotable(const struct raft *raft)
{
    return is_candidate_by_config(raft) && !raft->is_suspect && raft->installing_index == 0 &&
           !raft_disk_is_stalled(raft) && raft_log_room(&raft->log) > 0;
}

/* Nobody else need be asked or waited for, and no other leader's lease rests on us: either our
 * promise has run out, or we gave none since we were alone for certain. */
static bool may_lead_at_once(const struct raft *raft)
{
    bool was_always_alone = !raft->has_heard_leader && raft->config.index <= raft->commit_index;
    return raft_is_alone(raft) && raft_is_promotable(raft) &&
           (was_always_alone || raft->now_ms >= raft->promise_until_ms);
}

void raft_election_tick(struct raft *raft)
{
    if (raft->role == RAFT_LEADER) {
        leader_tick(raft);
        return;
    }
    bool is_due = raft->now_ms >= raft->election_deadline_ms;
    bool is_candidate = raft->role != RAFT_FOLLOWER;
    if (is_due || (!is_candidate && may_lead_at_once(raft))) {
        campaign(raft, /* is_transfer= */ false);
    } else if (is_candidate && raft->now_ms >= raft->resend_deadline_ms) {
        request_votes(raft);
    }
}

/* When the watchdog wants to look. */
static uint64_t stall_deadline(const struct raft *raft)
{
    bool is_waiting = raft->persisted_id < raft->persist_id;
    return is_waiting ? raft->persist_progress_ms + raft->options.disk_stall_ms : UINT64_MAX;
}

uint64_t raft_election_deadline(const struct raft *raft)
{
    switch (raft->role) {
    case RAFT_LEADER:
        /* Step-down times are looked at with every heartbeat; alone there are none to send. */
        return raft_is_alone(raft) && raft->config.config.members_count == 1
                   ? stall_deadline(raft)
                   : raft->heartbeat_deadline_ms;
    case RAFT_FOLLOWER:
        return may_lead_at_once(raft) ? raft->now_ms : raft->election_deadline_ms;
    case RAFT_PRECANDIDATE:
    case RAFT_CANDIDATE:
        return raft->resend_deadline_ms < raft->election_deadline_ms ? raft->resend_deadline_ms
                                                                     : raft->election_deadline_ms;
    }
    UNREACHABLE();
}

/* ── followers ──────────────────────────────────────────────────────────────────────────────── */

void raft_become_follower(struct raft *raft, uint64_t term, uint64_t leader)
{
    ASSERT(term >= raft->term);
    ASSERT(leader != raft->options.node);
    if (term > raft->term) {
        raft->term = term;
        raft->voted_for = 0;
        raft->verified_index = 0;
        raft->acked_index = 0;
        raft->suspect_target_index = 0;
        raft->owes_vote = false;
        raft->owes_ack = false;
    }
    if (raft->role != RAFT_FOLLOWER) {
        election_timer_reset(raft);
    }
    raft->role = RAFT_FOLLOWER;
    raft->leader = leader;
    raft->has_sent_votes = false;
    raft->transfer_target = 0;
    raft_reads_restart(raft);
}

/* The leader of our term spoke. */
void raft_leader_heard(struct raft *raft, uint64_t leader)
{
    if (raft->role != RAFT_FOLLOWER || raft->leader != leader) {
        raft_become_follower(raft, raft->term, leader);
    }
    election_timer_reset(raft);
    raft->has_heard_leader = true;
    raft->promise_until_ms = raft->now_ms + raft->options.election_timeout_ms;
}

/* ── campaigning ────────────────────────────────────────────────────────────────────────────── */

static void votes_clear(struct raft *raft)
{
    for (uint32_t i = 0; i < raft->config.config.members_count; i++) {
        raft->progress[i].vote = RAFT_VOTE_MISSING;
    }
}

static void vote_record(struct raft *raft, uint64_t node, bool is_granted)
{
    int at = raft_config_find(&raft->config.config, node);
    if (at >= 0 && raft->progress[at].vote == RAFT_VOTE_MISSING) {
        raft->progress[at].vote = is_granted ? RAFT_VOTE_GRANTED : RAFT_VOTE_REJECTED;
    }
}

static void campaign(struct raft *raft, bool is_transfer)
{
    election_timer_reset(raft);
    if (!raft_is_promotable(raft)) {
        return;
    }
    if (is_transfer) {
        candidate_begin(raft, true);
        return;
    }
    raft_become_follower(raft, raft->term, 0);
    raft->role = RAFT_PRECANDIDATE;
    votes_clear(raft);
    vote_record(raft, raft->options.node, true);
    request_votes(raft);
    count_votes(raft);
}

/* Our term rises; the rest waits for the disk (raft_keep_promises). */
static void candidate_begin(struct raft *raft, bool is_transfer)
{
    raft_become_follower(raft, raft->term + 1, 0);
    raft->role = RAFT_CANDIDATE;
    raft->voted_for = raft->options.node;
    raft->is_transfer_campaign = is_transfer;
    raft->resend_deadline_ms = raft->now_ms + raft->options.heartbeat_ms;
    election_timer_reset(raft);
    votes_clear(raft);
    if (MUTANT(MUT_VOTE_REQUEST_BEFORE_PERSIST)) {
        raft->has_sent_votes = true;
        vote_record(raft, raft->options.node, true);
        request_votes(raft);
    }
}

/* Asks every voter that has not answered yet. */
static void request_votes(struct raft *raft)
{
    bool is_pre = raft->role == RAFT_PRECANDIDATE;
    raft->resend_deadline_ms = raft->now_ms + raft->options.heartbeat_ms;
    if (!is_pre && !raft->has_sent_votes) {
        return; /* not durable yet */
    }
    for (uint32_t i = 0; i < raft->config.config.members_count; i++) {
        const struct raft_member *member = &raft->config.config.members[i];
        if (!raft_member_votes(member) || raft->progress[i].vote != RAFT_VOTE_MISSING) {
            continue;
        }
        struct raft_message *message =
            raft_send_peer(raft, is_pre ? RAFT_MESSAGE_PREVOTE : RAFT_MESSAGE_VOTE, i);
        if (message != NULL) {
            message->term = raft->term + is_pre;
            message->index = raft->log.last_index;
            message->log_term = raft->log.last_term;
            message->is_transfer = !is_pre && raft->is_transfer_campaign;
        }
    }
}

static void count_votes(struct raft *raft)
{
    enum raft_vote votes[RAFT_PEERS_MAX];
    for (uint32_t i = 0; i < RAFT_PEERS_MAX; i++) {
        votes[i] = raft->progress[i].vote;
    }
    switch (quorum_tally(&raft->config.config, votes)) {
    case RAFT_TALLY_OPEN:
        break;
    case RAFT_TALLY_WON:
        if (raft->role == RAFT_PRECANDIDATE) {
            candidate_begin(raft, /* is_transfer= */ false);
        } else {
            become_leader(raft);
        }
        break;
    case RAFT_TALLY_LOST:
        raft_become_follower(raft, raft->term, 0);
        break;
    }
}

void raft_on_vote_response(struct raft *raft, const struct raft_message *message)
{
    bool is_pre = message->kind == RAFT_MESSAGE_PREVOTE_RESPONSE;
    if (raft->role != (is_pre ? RAFT_PRECANDIDATE : RAFT_CANDIDATE)) {
        return;
    }
    bool is_granted = !message->is_rejected;
    if (is_pre && is_granted && message->term != raft->term + 1) {
        return; /* for a term we no longer ask for */
    }
    vote_record(raft, message->from, is_granted);
    count_votes(raft);
}

/* ── voting ─────────────────────────────────────────────────────────────────────────────────── */

/* Raft §5.4.1. */
static bool is_up_to_date(const struct raft *raft, const struct raft_message *message)
{
    if (MUTANT(MUT_NO_LOG_UP_TO_DATE_CHECK)) {
        return true;
    }
    if (message->log_term != raft->log.last_term) {
        return message->log_term > raft->log.last_term;
    }
    return message->index >= raft->log.last_index;
}

/* Whether we are a voter is the candidate's configuration's business, not ours (pitfall 20): we
 * may be a learner that does not know yet of its promotion. */
void raft_on_vote_request(struct raft *raft, const struct raft_message *message)
{
    if (raft->is_suspect && !MUTANT(MUT_SUSPECT_VOTES)) {
        return; /* we may have forgotten a promise */
    }
    bool is_pre = message->kind == RAFT_MESSAGE_PREVOTE;
    bool is_free = raft->voted_for == message->from ||
                   (raft->voted_for == 0 && raft->leader == 0) ||
                   (is_pre && message->term > raft->term) ||
                   (MUTANT(MUT_VOTE_TWICE) && raft->role == RAFT_FOLLOWER);
    bool is_granted = is_free && is_up_to_date(raft, message);
    if (is_pre || !is_granted) {
        struct raft_message *reply = raft_reply(
            raft, is_pre ? RAFT_MESSAGE_PREVOTE_RESPONSE : RAFT_MESSAGE_VOTE_RESPONSE, message);
        if (reply != NULL) {
            reply->is_rejected = !is_granted;
            reply->term = is_granted ? message->term : raft->term; /* pitfall 9 */
        }
        return;
    }
    if (raft->role == RAFT_PRECANDIDATE) {
        raft_become_follower(raft, raft->term, 0);
    }
    raft->voted_for = message->from;
    raft->vote_incarnation = message->from_incarnation;
    raft->owes_vote = true;
    election_timer_reset(raft);
}

/* Runs in every step: what was promised becomes sendable when term and vote are durable. */
void raft_keep_promises(struct raft *raft)
{
    bool is_durable = raft_hard_state_is_durable(raft) || MUTANT(MUT_VOTE_BEFORE_PERSIST);
    if (!is_durable) {
        return;
    }
    if (raft->owes_vote) {
        raft->owes_vote = false;
        (void)raft_send(raft, RAFT_MESSAGE_VOTE_RESPONSE, raft->voted_for, raft->vote_incarnation);
    }
    if (raft->role == RAFT_CANDIDATE && !raft->has_sent_votes) {
        raft->has_sent_votes = true;
        vote_record(raft, raft->options.node, true);
        request_votes(raft);
        count_votes(raft);
    }
}

/* ── leading ────────────────────────────────────────────────────────────────────────────────── */

static void become_leader(struct raft *raft)
{
    ASSERT(raft->role == RAFT_CANDIDATE);
    ASSERT(raft->voted_for == raft->options.node);
    raft->role = RAFT_LEADER;
    raft->leader = raft->options.node;
    raft->led_since_ms = raft->now_ms;
    raft->transfer_target = 0;
    raft->is_lease_void = false;
    for (uint32_t i = 0; i < raft->config.config.members_count; i++) {
        progress_init(&raft->progress[i], raft->log.last_index + 1);
    }
    raft_reads_restart(raft);
    raft->term_begins_index = raft->log.last_index + 1;
    raft_append_own(raft, NULL); /* Raft §8: a no-op, so that something of this term can commit */
    raft_heartbeat(raft);
}

/* CheckQuorum and the disk watchdog: a leader that cannot lead makes room (pitfalls 11 and 12). */
static bool must_step_down(const struct raft *raft)
{
    uint64_t heard_ms = raft_quorum_heard_ms(raft);
    uint64_t since_ms = heard_ms > raft->led_since_ms ? heard_ms : raft->led_since_ms;
    return raft_disk_is_stalled(raft) ||
           raft->now_ms >= since_ms + raft->options.election_timeout_ms;
}

static void leader_tick(struct raft *raft)
{
    if (must_step_down(raft)) {
        raft_become_follower(raft, raft->term, 0);
        return;
    }
    if (raft->transfer_target != 0 && raft->now_ms >= raft->transfer_deadline_ms &&
        !MUTANT(MUT_TRANSFER_NEVER_ABORTS)) {
        raft->transfer_target =
            0; /* pitfall 14: it did not work out; proposals are welcome again */
    }
    if (raft->now_ms >= raft->heartbeat_deadline_ms) {
        raft_heartbeat(raft);
        raft_transfer_go(raft);
    }
}

/* ── transfer ───────────────────────────────────────────────────────────────────────────────── */

enum raft_result raft_transfer(struct raft *raft, uint64_t target)
{
    int at = raft_config_find(&raft->config.config, target);
    if (raft->role != RAFT_LEADER) {
        return RAFT_NOT_LEADER;
    }
    if (at < 0 || target == raft->options.node ||
        (raft->config.config.members[at].roles & RAFT_VOTER) == 0) {
        return RAFT_TARGET_INVALID;
    }
    if (raft->transfer_target != 0) {
        return RAFT_TRANSFERRING;
    }
    raft->transfer_target = target;
    raft->transfer_deadline_ms = raft->now_ms + raft->options.election_timeout_ms;
    raft_transfer_go(raft);
    return RAFT_OK;
}

/* Says "now" to a target that has the whole log. */
void raft_transfer_go(struct raft *raft)
{
    if (raft->transfer_target == 0) {
        return;
    }
    int at = raft_config_find(&raft->config.config, raft->transfer_target);
    if (at < 0) {
        raft->transfer_target = 0; /* a configuration change removed it */
        return;
    }
    if (raft->progress[at].match == raft->log.last_index && !raft->progress[at].is_suspect) {
        raft->is_lease_void = true;
        (void)raft_send_peer(raft, RAFT_MESSAGE_TIMEOUT_NOW, (uint32_t)at);
    }
}

/* Pitfall 14: obeyed only by a node that may lead. */
void raft_on_timeout_now(struct raft *raft, const struct raft_message *message)
{
    if (raft->role == RAFT_FOLLOWER && raft->leader == message->from) {
        campaign(raft, /* is_transfer= */ true);
    }
}
