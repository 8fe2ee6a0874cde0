/*
 * raft_paper_test.c — the rules of the paper, sentence by sentence.
 *
 * "In Search of an Understandable Consensus Algorithm (Extended Version)", Ongaro and Ousterhout,
 * 2014: names begin with the section number.  Those with `thesis` cite Ongaro's dissertation.
 */
#include "test.h"

#include "solo.h"

enum { T = 100, HEARTBEAT = 10 }; /* world_options_default */

#define CHECK_LOG(solo, expected)                                                                  \
    do {                                                                                           \
        char log_text[128];                                                                        \
        CHECK(strcmp(solo_log(&(solo), log_text, sizeof(log_text)), expected) == 0);               \
    } while (0)

#define TERMS(...) ((const uint64_t[]){ __VA_ARGS__ })

static struct solo solo_with_log(uint32_t count, uint64_t term, const uint64_t *terms,
                                 uint64_t terms_count)
{
    struct world_options options = world_options_default(count);
    return solo_begin(&options, term, terms, terms_count);
}

/* ── §5.1 terms ─────────────────────────────────────────────────────────────────────────────── */

static void make_role(struct solo *solo, enum raft_role role)
{
    if (role == RAFT_PRECANDIDATE) {
        solo_timeout(solo);
    } else if (role == RAFT_CANDIDATE) {
        solo_campaign(solo);
    } else if (role == RAFT_LEADER) {
        solo_lead(solo);
    }
    CHECK_EQ(raft_role(solo->raft), role);
}

/* "If one server's current term is smaller than the other's, then it updates its current term to
 * the larger value.  If a candidate or leader discovers that its term is out of date, it
 * immediately reverts to follower state." */
TEST(s5_1_a_larger_term_is_taken_over)
{
    for (int role = RAFT_FOLLOWER; role <= RAFT_LEADER; role++) {
        struct solo solo = solo_new(3);
        make_role(&solo, (enum raft_role)role);
        (void)solo_feed_kind(&solo, 2, RAFT_MESSAGE_HEARTBEAT, 7);
        CHECK_EQ(raft_term(solo.raft), 7);
        CHECK_EQ(raft_role(solo.raft), RAFT_FOLLOWER);
        CHECK_EQ(raft_leader(solo.raft), 2);
        solo_end(&solo);
    }
}

/* "If a server receives a request with a stale term number, it rejects the request." */
TEST(s5_1_a_stale_term_is_rejected)
{
    struct solo solo = solo_with_log(3, 5, TERMS(1), 1);
    (void)solo_append(&solo, 4, 1, 1, 0, TERMS(4), 1);
    CHECK_LOG(solo, "1");
    const struct raft_message *reply = solo_sent(&solo, 2, RAFT_MESSAGE_APPEND_RESPONSE);
    CHECK(reply != NULL && reply->is_rejected && reply->term == 5);
    (void)solo_feed_kind(&solo, 3, RAFT_MESSAGE_VOTE, 4);
    CHECK_EQ(solo.world->output->messages_count, 0);
    CHECK_EQ(raft_term(solo.raft), 5);
    solo_end(&solo);
}

/* ── §5.2 leader election ───────────────────────────────────────────────────────────────────── */

/* "When servers start up, they begin as followers." */
TEST(s5_2_servers_begin_as_followers)
{
    struct solo solo = solo_new(3);
    CHECK_EQ(raft_role(solo.raft), RAFT_FOLLOWER);
    CHECK_EQ(raft_leader(solo.raft), 0);
    solo_end(&solo);
}

/* "Leaders send periodic heartbeats to all followers in order to maintain their authority." */
TEST(s5_2_leaders_send_heartbeats)
{
    struct solo solo = solo_new(5);
    solo_lead(&solo);
    for (int i = 0; i < 5; i++) {
        solo_tick(&solo, HEARTBEAT);
        CHECK_EQ(solo_sent_count(&solo, RAFT_MESSAGE_HEARTBEAT), 4);
        solo_tick(&solo, HEARTBEAT / 2);
        CHECK_EQ(solo_sent_count(&solo, RAFT_MESSAGE_HEARTBEAT), 0);
        solo.world->now_us -= 1000 * (HEARTBEAT / 2);
    }
    solo_end(&solo);
}

/* "If a follower receives no communication over a period of time called the election timeout, then
 * it assumes there is no viable leader and begins an election", after asking (thesis §9.6). */
TEST(s5_2_silence_begins_an_election)
{
    struct solo solo = solo_new(3);
    solo_tick(&solo, T - 1);
    CHECK_EQ(raft_role(solo.raft), RAFT_FOLLOWER);
    solo_tick(&solo, T + 1);
    CHECK_EQ(raft_role(solo.raft), RAFT_PRECANDIDATE);
    CHECK_EQ(raft_term(solo.raft), 0);
    CHECK_EQ(solo_sent_count(&solo, RAFT_MESSAGE_PREVOTE), 2);
    solo_end(&solo);
}

/* "To begin an election, a follower increments its current term and transitions to candidate
 * state.  It then votes for itself and issues RequestVote RPCs in parallel to each of the other
 * servers" — ours leave when its own vote is durable. */
TEST(s5_2_a_candidate_votes_for_itself_and_asks_all)
{
    struct solo solo = solo_new(5);
    solo_timeout(&solo);
    (void)solo_feed_kind(&solo, 2, RAFT_MESSAGE_PREVOTE_RESPONSE, 1);
    (void)solo_feed_kind(&solo, 3, RAFT_MESSAGE_PREVOTE_RESPONSE, 1);
    CHECK_EQ(raft_role(solo.raft), RAFT_CANDIDATE);
    CHECK_EQ(raft_term(solo.raft), 1);
    CHECK_EQ(raft_voted_for(solo.raft), 1);
    CHECK_EQ(solo_sent_count(&solo, RAFT_MESSAGE_VOTE), 0);
    solo_persist(&solo);
    CHECK_EQ(solo_sent_count(&solo, RAFT_MESSAGE_VOTE), 4);
    solo_end(&solo);
}

/* "Each server will vote for at most one candidate in a given term, on a first-come-first-served
 * basis." */
TEST(s5_2_one_vote_a_term_first_come_first_served)
{
    struct solo solo = solo_new(3);
    solo_tick(&solo, T); /* the grace after the start */
    (void)solo_feed_kind(&solo, 2, RAFT_MESSAGE_VOTE, 1);
    solo_persist(&solo);
    const struct raft_message *reply = solo_sent(&solo, 2, RAFT_MESSAGE_VOTE_RESPONSE);
    CHECK(reply != NULL && !reply->is_rejected);
    (void)solo_feed_kind(&solo, 3, RAFT_MESSAGE_VOTE, 1);
    reply = solo_sent(&solo, 3, RAFT_MESSAGE_VOTE_RESPONSE);
    CHECK(reply != NULL && reply->is_rejected);
    /* Asked again, the same answer to the same candidate. */
    (void)solo_feed_kind(&solo, 2, RAFT_MESSAGE_VOTE, 1);
    reply = solo_sent(&solo, 2, RAFT_MESSAGE_VOTE_RESPONSE);
    CHECK(reply != NULL && !reply->is_rejected);
    (void)solo_feed_kind(&solo, 3, RAFT_MESSAGE_VOTE, 2);
    CHECK_EQ(raft_voted_for(solo.raft), 3);
    solo_end(&solo);
}

/* "A candidate wins an election if it receives votes from a majority of the servers in the full
 * cluster for the same term." */
TEST(s5_2_a_majority_of_votes_wins)
{
    for (uint32_t count = 2; count <= 7; count++) {
        for (uint32_t granted = 0; granted < count; granted++) {
            struct solo solo = solo_new(count);
            solo_campaign(&solo);
            for (uint64_t id = 2; id < 2 + granted; id++) {
                (void)solo_feed_kind(&solo, id, RAFT_MESSAGE_VOTE_RESPONSE, 1);
                (void)solo_feed_kind(&solo, id, RAFT_MESSAGE_VOTE_RESPONSE, 1); /* counts once */
            }
            bool has_majority = granted + 1 > count / 2;
            CHECK_EQ(raft_role(solo.raft), has_majority ? RAFT_LEADER : RAFT_CANDIDATE);
            solo_end(&solo);
        }
    }
}

TEST(s5_2_a_majority_of_refusals_ends_the_campaign)
{
    struct solo solo = solo_new(3);
    solo_campaign(&solo);
    for (uint64_t id = 2; id <= 3; id++) {
        struct raft_message no = solo_message(&solo, id, RAFT_MESSAGE_VOTE_RESPONSE, 1);
        no.is_rejected = true;
        (void)solo_feed(&solo, &no);
    }
    CHECK_EQ(raft_role(solo.raft), RAFT_FOLLOWER);
    CHECK_EQ(raft_term(solo.raft), 1);
    solo_end(&solo);
}

/* "If the leader's term is at least as large as the candidate's current term, then the candidate
 * recognizes the leader as legitimate and returns to follower state." */
TEST(s5_2_a_candidate_recognizes_a_leader)
{
    struct solo solo = solo_new(3);
    solo_campaign(&solo);
    (void)solo_append(&solo, 1, 0, 0, 0, NULL, 0);
    CHECK_EQ(raft_role(solo.raft), RAFT_FOLLOWER);
    CHECK_EQ(raft_leader(solo.raft), 2);
    CHECK_EQ(raft_term(solo.raft), 1);
    CHECK_EQ(raft_voted_for(solo.raft), 1); /* in this term for good */
    solo_end(&solo);
}

/* "Each candidate will time out and start a new election." */
TEST(s5_2_a_split_vote_is_followed_by_another_election)
{
    struct solo solo = solo_new(3);
    solo_campaign(&solo);
    CHECK_EQ(raft_role(solo.raft), RAFT_CANDIDATE);
    solo_tick(&solo, 2 * T);
    CHECK_EQ(raft_role(solo.raft), RAFT_PRECANDIDATE);
    (void)solo_feed_kind(&solo, 2, RAFT_MESSAGE_PREVOTE_RESPONSE, 2);
    CHECK_EQ(raft_role(solo.raft), RAFT_CANDIDATE);
    CHECK_EQ(raft_term(solo.raft), 2);
    solo_end(&solo);
}

/* "Election timeouts are chosen randomly from a fixed interval": T to 2T. */
TEST(s5_2_election_timeouts_are_spread)
{
    unsigned early = 0;
    unsigned late = 0;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct world_options options = world_options_default(3);
        options.seed = seed;
        struct solo solo = solo_begin(&options, 0, NULL, 0);
        uint64_t wait_ms = solo.node->deadline_ms - world_clock_ms(solo.world, solo.node);
        CHECK(wait_ms >= T);
        CHECK(wait_ms < 2 * T);
        early += wait_ms < T + T / 4;
        late += wait_ms >= 2 * T - T / 4;
        solo_end(&solo);
    }
    CHECK(early > 50);
    CHECK(late > 50);
}

/* ── §5.3 log replication ───────────────────────────────────────────────────────────────────── */

/* "The leader appends the command to its log as a new entry, then issues AppendEntries RPCs in
 * parallel to each of the other servers": and in parallel with its own disk. */
TEST(s5_3_the_leader_appends_and_sends)
{
    struct solo solo = solo_new(3);
    solo_lead(&solo);
    solo_ack(&solo, 2, 1);
    solo_ack(&solo, 3, 1);
    CHECK_EQ(world_propose(solo.world, 1, 2), RAFT_OK);
    CHECK_EQ(raft_last_index(solo.raft), 3);
    CHECK_EQ(solo.world->output->entries_count, 2);
    for (uint64_t id = 2; id <= 3; id++) {
        const struct raft_message *append = solo_sent(&solo, id, RAFT_MESSAGE_APPEND);
        CHECK(append != NULL && append->index == 1 && append->log_term == 1);
        CHECK(append != NULL && append->entries_count == 2);
    }
    CHECK(solo.node->writes != NULL);
    solo_end(&solo);
}

/* "A log entry is committed once the leader that created the entry has replicated it on a majority
 * of the servers": all sets of acknowledgements of up to seven servers. */
TEST(s5_3_a_majority_commits)
{
    for (uint32_t count = 1; count <= 7; count++) {
        for (uint32_t acks = 0; acks < 1u << (count - 1); acks++) {
            struct solo solo = solo_new(count);
            if (count > 1) {
                solo_lead(&solo);
            } else {
                solo_persist(&solo);
            }
            CHECK_EQ(raft_role(solo.raft), RAFT_LEADER);
            for (uint32_t i = 0; i < count - 1; i++) {
                if ((acks >> i & 1) != 0) {
                    solo_ack(&solo, i + 2, 1);
                }
            }
            uint32_t holders = 1 + (uint32_t)__builtin_popcount(acks);
            CHECK_EQ(raft_commit_index(solo.raft), holders > count / 2);
            solo_end(&solo);
        }
    }
}

/* "This also commits all preceding entries in the leader's log, including entries created by
 * previous leaders." */
TEST(s5_3_preceding_entries_commit_along)
{
    struct solo solo = solo_with_log(3, 2, TERMS(1, 2, 2), 3);
    solo_lead(&solo);
    CHECK_EQ(raft_commit_index(solo.raft), 0);
    solo_ack(&solo, 2, 4);
    CHECK_EQ(raft_commit_index(solo.raft), 4);
    solo_end(&solo);
}

/* "The leader keeps track of the highest index it knows to be committed, and it includes that index
 * in future AppendEntries RPCs." */
TEST(s5_3_the_commit_index_travels)
{
    struct solo solo = solo_new(3);
    solo_lead(&solo);
    solo_ack(&solo, 2, 1);
    const struct raft_message *notice = solo_sent(&solo, 2, RAFT_MESSAGE_COMMIT);
    CHECK(notice != NULL && notice->commit == 1);
    (void)world_propose(solo.world, 1, 1);
    const struct raft_message *append = solo_sent(&solo, 2, RAFT_MESSAGE_APPEND);
    CHECK(append != NULL && append->commit == 1);
    solo_end(&solo);
}

/* "If leaderCommit > commitIndex, set commitIndex = min(leaderCommit, index of last new entry)." */
TEST(s5_3_a_follower_commits_what_it_verified)
{
    struct solo solo = solo_with_log(3, 1, TERMS(1, 1, 1), 3);
    (void)solo_append(&solo, 2, 1, 1, 3, NULL, 0); /* equal up to 1; 2 and 3 are unverified */
    CHECK_EQ(raft_commit_index(solo.raft), 1);
    (void)solo_append(&solo, 2, 1, 1, 9, TERMS(1), 1);
    CHECK_EQ(raft_commit_index(solo.raft), 2);
    (void)solo_append(&solo, 2, 2, 1, 1, TERMS(1, 2), 2);
    CHECK_EQ(raft_commit_index(solo.raft), 2); /* never back */
    solo_end(&solo);
}

/* "If the follower does not find an entry in its log with the same index and term, then it refuses
 * the new entries." */
TEST(s5_3_a_gap_or_another_term_is_refused)
{
    struct {
        uint64_t index, term;
        bool is_refused;
    } cases[] = { { 0, 0, false }, { 1, 1, false }, { 2, 2, false },
                  { 2, 1, true },  { 2, 3, true },  { 3, 3, true } };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct solo solo = solo_with_log(3, 3, TERMS(1, 2), 2);
        (void)solo_append(&solo, 4, cases[i].index, cases[i].term, 0, NULL, 0);
        solo_persist(&solo);
        const struct raft_message *reply = solo_sent(&solo, 2, RAFT_MESSAGE_APPEND_RESPONSE);
        if (cases[i].is_refused) {
            CHECK_EQ(raft_last_index(solo.raft), 2);
        } else {
            CHECK(reply != NULL && !reply->is_rejected && reply->index == cases[i].index);
        }
        solo_end(&solo);
    }
}

/* "If an existing entry conflicts with a new one, delete the existing entry and all that follow it.
 * Append any new entries not already in the log." */
TEST(s5_3_conflicts_are_replaced)
{
    struct {
        uint64_t index, log_term;
        uint64_t terms[2];
        uint32_t count;
        const char *log;
        uint32_t written;
    } cases[] = {
        { 2, 2, { 3 }, 1, "1 2 3", 1 },  { 1, 1, { 3, 4 }, 2, "1 3 4", 2 },
        { 0, 0, { 1 }, 1, "1 2", 0 },    { 0, 0, { 3 }, 1, "3", 1 },
        { 0, 0, { 1, 2 }, 2, "1 2", 0 }, { 0, 0, { 1, 3 }, 2, "1 3", 1 },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct solo solo = solo_with_log(3, 4, TERMS(1, 2), 2);
        const struct raft_output *output = solo_append(&solo, 4, cases[i].index, cases[i].log_term,
                                                       0, cases[i].terms, cases[i].count);
        CHECK_EQ(output->entries_count, cases[i].written);
        CHECK_LOG(solo, cases[i].log);
        solo_end(&solo);
    }
}

/* A delayed, shorter AppendEntries says nothing about what follows its entries. */
TEST(s5_3_matching_entries_are_kept)
{
    struct solo solo = solo_with_log(3, 2, TERMS(1, 2, 2, 2), 4);
    (void)solo_append(&solo, 2, 0, 0, 0, TERMS(1, 2), 2);
    CHECK_LOG(solo, "1 2 2 2");
    CHECK_EQ(solo.world->output->entries_count, 0);
    solo_end(&solo);
}

/* "A leader never overwrites or deletes entries in its own log." */
TEST(s5_3_a_leader_is_append_only)
{
    struct solo solo = solo_with_log(3, 2, TERMS(1, 2), 2);
    solo_lead(&solo);
    (void)solo_append(&solo, 3, 0, 0, 0, TERMS(3), 1); /* impossible: a second leader of term 3 */
    CHECK_LOG(solo, "1 2 3");
    CHECK_EQ(raft_role(solo.raft), RAFT_LEADER);
    solo_end(&solo);
}

/* "After a rejection, the leader decrements nextIndex and retries"; the follower helps by naming
 * where its log may agree. */
TEST(s5_3_the_leader_finds_where_logs_agree)
{
    struct solo solo = solo_with_log(3, 5, TERMS(1, 1, 4, 4, 5), 5);
    solo_lead(&solo);
    struct raft_message no = solo_message(&solo, 2, RAFT_MESSAGE_APPEND_RESPONSE, 6);
    no.is_rejected = true;
    no.index = 5;
    no.hint = 4; /* its log: 1 1 2 2 */
    no.log_term = 2;
    (void)solo_feed(&solo, &no);
    const struct raft_message *append = solo_sent(&solo, 2, RAFT_MESSAGE_APPEND);
    CHECK(append != NULL && append->index == 2 && append->log_term == 1);
    CHECK(append != NULL && append->entries_count == 4);
    solo_end(&solo);
}

/* ── §5.4 safety ────────────────────────────────────────────────────────────────────────────── */

/* §5.4.1: "The voter denies its vote if its own log is more up-to-date than that of the
 * candidate." */
TEST(s5_4_1_a_vote_needs_an_up_to_date_log)
{
    struct {
        uint64_t index, term;
        bool is_granted;
    } cases[] = { { 3, 2, true },  { 4, 2, true },  { 1, 3, true }, { 2, 2, false },
                  { 9, 1, false }, { 0, 0, false }, { 3, 1, false } };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct solo solo = solo_with_log(3, 3, TERMS(1, 2, 2), 3);
        solo_tick(&solo, T);
        for (int is_pre = 1; is_pre >= 0; is_pre--) {
            struct raft_message ask =
                solo_message(&solo, 3, is_pre ? RAFT_MESSAGE_PREVOTE : RAFT_MESSAGE_VOTE, 4);
            ask.index = cases[i].index;
            ask.log_term = cases[i].term;
            (void)solo_feed(&solo, &ask);
            enum raft_message_kind kind =
                is_pre ? RAFT_MESSAGE_PREVOTE_RESPONSE : RAFT_MESSAGE_VOTE_RESPONSE;
            const struct raft_message *reply = solo_sent(&solo, 3, kind);
            if (is_pre || !cases[i].is_granted) {
                CHECK(reply != NULL && reply->is_rejected == !cases[i].is_granted);
            } else {
                CHECK(reply == NULL); /* it waits for the disk */
                solo_persist(&solo);
                CHECK(solo_sent(&solo, 3, kind) != NULL);
            }
        }
        CHECK_EQ(raft_voted_for(solo.raft), cases[i].is_granted ? 3 : 0);
        solo_end(&solo);
    }
}

/* §5.4.2: "Raft never commits log entries from previous terms by counting replicas.  Only log
 * entries from the leader's current term are committed by counting replicas." */
TEST(s5_4_2_only_the_current_term_commits_by_counting)
{
    struct solo solo = solo_with_log(3, 2, TERMS(1, 2), 2);
    solo_lead(&solo);
    solo_ack(&solo, 2, 1);
    CHECK_EQ(raft_commit_index(solo.raft), 0);
    solo_ack(&solo, 3, 2);
    CHECK_EQ(raft_commit_index(solo.raft), 0);
    solo_ack(&solo, 3, 3);
    CHECK_EQ(raft_commit_index(solo.raft), 3);
    solo_end(&solo);
}

/* §5.5: "Raft RPCs are idempotent": everything twice is everything once. */
TEST(s5_5_requests_are_idempotent)
{
    struct solo solo = solo_new(3);
    for (int i = 0; i < 2; i++) {
        (void)solo_append(&solo, 1, 0, 0, 1, TERMS(1, 1), 2);
        CHECK_LOG(solo, "1 1");
        CHECK_EQ(solo.world->output->entries_count, i == 0 ? 2 : 0);
        CHECK_EQ(raft_commit_index(solo.raft), 1);
    }
    solo_end(&solo);
}

/* ── §6 membership ──────────────────────────────────────────────────────────────────────────── */

static struct raft_config members(const uint64_t *voters, size_t count)
{
    struct raft_config config = { 0 };
    for (size_t i = 0; i < count; i++) {
        CHECK(raft_config_add(&config, voters[i], 1, RAFT_VOTER));
    }
    return config;
}

/* "Agreement (for elections and entry commitment) requires separate majorities from both the old
 * and new configurations." */
TEST(s6_joint_consensus_needs_both_majorities)
{
    struct world_options options = world_options_default(3);
    struct world *world = world_new(5, &options);
    struct raft_config wanted = members(TERMS(1, 4, 5), 3);
    world_start_all(world);
    world_elect(world, 1);
    CHECK_EQ(world_confchange(world, 1, &wanted), RAFT_OK);
    world_settle_without(world, 1u << 4 | 1u << 5); /* the old majority alone */
    uint64_t at = 0;
    CHECK(raft_config_is_joint(raft_config(world_node(world, 1)->raft, &at)));
    CHECK(raft_commit_index(world_node(world, 1)->raft) < at);
    world_tick(world, 1, 20);
    world_settle_without(world, 1u << 2 | 1u << 3); /* now the new one, too */
    CHECK(raft_config_equal(raft_config(world_node(world, 1)->raft, &at), &wanted));
    CHECK_EQ(raft_commit_index(world_node(world, 1)->raft), at);
    CHECK(world->violation[0] == '\0');
    world_free(world);
}

/* "Once a given server adds the new configuration entry to its log, it uses that configuration for
 * all future decisions (a server always uses the latest configuration in its log, regardless of
 * whether the entry is committed)." */
TEST(s6_a_configuration_counts_from_its_append)
{
    struct world_options options = world_options_default(1);
    struct world *world = world_new(3, &options);
    struct raft_config wanted = members(TERMS(1, 2), 2);
    world_start_all(world);
    world_settle(world);
    CHECK_EQ(raft_role(world_node(world, 1)->raft), RAFT_LEADER);
    CHECK_EQ(world_confchange(world, 1, &wanted), RAFT_OK);
    world_settle_without(world, 1u << 2);
    uint64_t at = 0;
    CHECK_EQ(raft_config(world_node(world, 1)->raft, &at)->members_count, 2);
    CHECK(raft_commit_index(world_node(world, 1)->raft) < at); /* one is no majority any more */
    world_tick(world, 1, 20);
    world_settle(world);
    CHECK_EQ(raft_commit_index(world_node(world, 1)->raft), at);
    world_free(world);
}

/* "The cluster leader may not be part of the new configuration.  In this case, the leader steps
 * down once it has committed the C_new log entry." */
TEST(s6_a_leader_outside_steps_down_after_the_commit)
{
    struct world_options options = world_options_default(3);
    struct world *world = world_new(3, &options);
    struct raft_config wanted = members(TERMS(2, 3), 2);
    world_start_all(world);
    world_elect(world, 1);
    struct raft *raft = world_node(world, 1)->raft;
    CHECK_EQ(world_confchange(world, 1, &wanted), RAFT_OK);
    world_settle_without(world, 1u << 3); /* 2 alone is no majority of 2, 3: 1 does not count */
    CHECK_EQ(raft_role(raft), RAFT_LEADER);
    world_tick(world, 1, 20);
    world_settle(world);
    CHECK_EQ(raft_role(raft), RAFT_FOLLOWER);
    CHECK_EQ(raft_commit_index(world_node(world, 2)->raft), raft_last_index(raft));
    world_free(world);
}

/* "If a server receives a RequestVote RPC within the minimum election timeout of hearing from a
 * current leader, it does not update its term or grant its vote." */
TEST(s6_who_hears_a_leader_does_not_vote)
{
    struct solo solo = solo_new(3);
    (void)solo_feed_kind(&solo, 2, RAFT_MESSAGE_HEARTBEAT, 1);
    solo_tick(&solo, T - 1);
    (void)solo_feed_kind(&solo, 3, RAFT_MESSAGE_VOTE, 9);
    CHECK_EQ(raft_term(solo.raft), 1);
    CHECK_EQ(raft_voted_for(solo.raft), 0);
    CHECK_EQ(solo.world->output->messages_count, 0);
    solo.world->now_us += 1000;
    (void)solo_feed_kind(&solo, 3, RAFT_MESSAGE_VOTE, 9);
    CHECK_EQ(raft_voted_for(solo.raft), 3);
    solo_end(&solo);
}

/* ── §7 log compaction ──────────────────────────────────────────────────────────────────────── */

static void offer_snapshot(struct solo *solo, uint64_t index, uint64_t term,
                           const struct raft_config *config)
{
    struct raft_message offer = solo_message(solo, 2, RAFT_MESSAGE_SNAPSHOT, 5);
    offer.index = index;
    offer.log_term = term;
    offer.config = config;
    (void)solo_feed(solo, &offer);
}

/* "The snapshot will contain new information not already in the recipient's log.  In this case, the
 * follower discards its entire log." */
TEST(s7_a_newer_snapshot_replaces_the_log)
{
    struct solo solo = solo_with_log(3, 4, TERMS(1, 2, 3), 3);
    struct raft_config config = members(TERMS(1, 2, 4), 3);
    solo.world->canon_count = 0;
    offer_snapshot(&solo, 9, 4, &config);
    CHECK(solo.world->output->snapshot_wanted);
    CHECK_EQ(solo.world->output->snapshot.index, 9);
    world_fetch_done(solo.world, 1, false);
    const struct raft_output *output = solo.world->output;
    CHECK(output->snapshot_adopted && output->log_reset && output->log_reset_index == 9);
    CHECK_EQ(raft_commit_index(solo.raft), 9);
    CHECK_EQ(raft_last_index(solo.raft), 9);
    uint64_t at = 0;
    CHECK(raft_config_equal(raft_config(solo.raft, &at), &config));
    CHECK_EQ(solo_sent_count(&solo, RAFT_MESSAGE_APPEND_RESPONSE), 0);
    solo_persist(&solo);
    const struct raft_message *ack = solo_sent(&solo, 2, RAFT_MESSAGE_APPEND_RESPONSE);
    CHECK(ack != NULL && ack->index == 9 && !ack->is_rejected);
    solo_end(&solo);
}

/* "If instead the follower receives a snapshot that describes a prefix of its log, entries
 * following the snapshot are still valid and must be retained." */
TEST(s7_entries_behind_a_snapshot_are_kept)
{
    struct solo solo = solo_with_log(3, 4, TERMS(1, 2, 3), 3);
    struct raft_config config = members(TERMS(1, 2, 3), 3);
    offer_snapshot(&solo, 2, 2, &config);
    CHECK(!solo.world->output->snapshot_wanted);
    CHECK_LOG(solo, "1 2 3");
    CHECK_EQ(raft_commit_index(solo.raft), 2);
    solo_end(&solo);
}

/* ── §8 client interaction ──────────────────────────────────────────────────────────────────── */

/* "Raft handles this by having each leader commit a blank no-op entry at the start of its term." */
TEST(s8_a_leader_begins_with_a_noop)
{
    struct solo solo = solo_new(3);
    solo_campaign(&solo);
    const struct raft_output *output = solo_feed_kind(&solo, 2, RAFT_MESSAGE_VOTE_RESPONSE, 1);
    CHECK_EQ(output->entries_count, 1);
    CHECK_EQ(output->entries[0].kind, RAFT_ENTRY_NOOP);
    CHECK_EQ(output->entries[0].term, 1);
    CHECK(output->entries[0].bytes == NULL);
    solo_end(&solo);
}

/* "Raft handles this by having the leader exchange heartbeat messages with a majority of the
 * cluster before responding to read-only requests." */
TEST(s8_a_read_needs_a_majority_after_it_began)
{
    struct solo solo = solo_new(3);
    solo_lead(&solo);
    solo_ack(&solo, 2, 1);
    solo_tick(&solo, HEARTBEAT);
    struct raft_message old_echo = solo_message(&solo, 2, RAFT_MESSAGE_HEARTBEAT_RESPONSE, 1);
    const struct raft_message *beat = solo_sent(&solo, 2, RAFT_MESSAGE_HEARTBEAT);
    CHECK(beat != NULL);
    old_echo.read_seq = beat != NULL ? beat->read_seq : 0;
    world_read(solo.world, 1);
    CHECK_EQ(solo.world->output->read_id_confirmed, 0);
    struct raft_message echo = old_echo;
    beat = solo_sent(&solo, 2, RAFT_MESSAGE_HEARTBEAT);
    CHECK(beat != NULL);
    echo.read_seq = beat != NULL ? beat->read_seq : 0;
    (void)solo_feed(&solo, &old_echo);
    CHECK_EQ(solo.world->output->read_id_confirmed, 0);
    (void)solo_feed(&solo, &echo);
    CHECK_EQ(solo.world->output->read_id_confirmed, 1);
    CHECK_EQ(solo.world->output->read_index, 1);
    solo_end(&solo);
}

/* ── the thesis ─────────────────────────────────────────────────────────────────────────────── */

/* §3.10: "The prior leader stops accepting new client requests ... sends a TimeoutNow request";
 * "the target server starts an election" at once, and others grant despite the leader they hear. */
TEST(thesis_3_10_leadership_transfer)
{
    struct solo solo = solo_new(3);
    (void)solo_feed_kind(&solo, 2, RAFT_MESSAGE_HEARTBEAT, 1);
    (void)solo_feed_kind(&solo, 2, RAFT_MESSAGE_TIMEOUT_NOW, 1);
    CHECK_EQ(raft_role(solo.raft), RAFT_CANDIDATE);
    CHECK_EQ(raft_term(solo.raft), 2);
    solo_persist(&solo);
    const struct raft_message *vote = solo_sent(&solo, 3, RAFT_MESSAGE_VOTE);
    CHECK(vote != NULL && vote->is_transfer);
    solo_end(&solo);

    solo = solo_new(3);
    (void)solo_feed_kind(&solo, 2, RAFT_MESSAGE_HEARTBEAT, 1);
    struct raft_message ask = solo_message(&solo, 3, RAFT_MESSAGE_VOTE, 2);
    ask.is_transfer = true;
    (void)solo_feed(&solo, &ask);
    CHECK_EQ(raft_voted_for(solo.raft), 3);
    solo_end(&solo);
}

/* §9.6: "In the Pre-Vote algorithm, a candidate only increments its term if it first learns from a
 * majority of the cluster that they would be willing to grant the candidate their votes." */
TEST(thesis_9_6_prevote_moves_no_terms)
{
    struct solo solo = solo_new(5);
    for (int i = 0; i < 20; i++) {
        solo_tick(&solo, T);
    }
    CHECK_EQ(raft_term(solo.raft), 0);
    CHECK_EQ(raft_role(solo.raft), RAFT_PRECANDIDATE);
    (void)solo_feed_kind(&solo, 2, RAFT_MESSAGE_PREVOTE_RESPONSE, 1);
    CHECK_EQ(raft_term(solo.raft), 0);
    (void)solo_feed_kind(&solo, 3, RAFT_MESSAGE_PREVOTE_RESPONSE, 1);
    CHECK_EQ(raft_term(solo.raft), 1);
    solo_end(&solo);
}

TEST_MAIN
