/*
 * raft_pitfalls_test.c — what other implementations fell into, one test each.
 *
 * The numbers are those of the list that the project keeps of known Raft bugs; each test says what
 * went wrong elsewhere.  What concerns storage or clients (2, 6, 13, 30 to 35, 37, 38) is tested
 * with the layers that could get it wrong.
 */
#include "test.h"

#include "solo.h"

enum { T = 100, HEARTBEAT = 10 }; /* world_options_default */

#define TERMS(...) ((const uint64_t[]){ __VA_ARGS__ })

static struct raft *raft_of(struct world *world, uint64_t id)
{
    return world_node(world, id)->raft;
}

static struct world *led_world(uint32_t nodes, uint32_t voters)
{
    struct world_options options = world_options_default(voters);
    struct world *world = world_new(nodes, &options);
    world_start_all(world);
    world_elect(world, 1);
    return world;
}

static void end(struct world *world)
{
    if (world->violation[0] != '\0') {
        test_fail(__FILE__, __LINE__, world->violation);
    }
    world_free(world);
}

static struct raft_config voters(const uint64_t *nodes, size_t count)
{
    struct raft_config config = { 0 };
    for (size_t i = 0; i < count; i++) {
        CHECK(raft_config_add(&config, nodes[i], 1, RAFT_VOTER));
    }
    return config;
}

/* Time passes for all in steps of a heartbeat; everything is delivered but to the isolated. */
static void pass(struct world *world, uint64_t ms, uint32_t isolated)
{
    for (uint64_t passed = 0; passed < ms; passed += HEARTBEAT) {
        world->now_us += HEARTBEAT * 1000;
        for (uint64_t id = 1; id <= world->nodes_count; id++) {
            world_tick_now(world, id);
        }
        world_settle_without(world, isolated);
    }
}

/* Delivers what runs along these links only, for a while: bit b of links[a] is a -> b. */
static void pass_along(struct world *world, uint64_t ms, const uint32_t *links)
{
    for (uint64_t passed = 0; passed < ms; passed += HEARTBEAT) {
        world->now_us += HEARTBEAT * 1000;
        for (uint64_t id = 1; id <= world->nodes_count; id++) {
            world_tick_now(world, id);
        }
        for (int round = 0; round < 200; round++) {
            struct world_flight *flight = world_find(world, 0, 0);
            for (uint64_t id = 1; id <= world->nodes_count; id++) {
                world_persist(world, id);
            }
            if (flight == NULL) {
                continue;
            }
            if ((links[flight->message.from] >> flight->message.to & 1) != 0) {
                world_deliver(world, flight);
            } else {
                world_flight_free(world, flight);
            }
        }
    }
}

static uint64_t leader_of(struct world *world)
{
    uint64_t leader = 0;
    for (uint64_t id = 1; id <= world->nodes_count; id++) {
        bool leads = world_node(world, id)->is_up && raft_role(raft_of(world, id)) == RAFT_LEADER;
        if (leads &&
            (leader == 0 || raft_term(raft_of(world, id)) > raft_term(raft_of(world, leader)))) {
            leader = id;
        }
    }
    return leader;
}

/* 1: a vote, a vote request or an acknowledgement left before it was durable. */
TEST(p01_nothing_that_binds_leaves_before_the_disk)
{
    struct solo solo = solo_new(3);
    solo_tick(&solo, T);
    (void)solo_feed_kind(&solo, 2, RAFT_MESSAGE_VOTE, 1);
    CHECK_EQ(solo.world->output->messages_count, 0);
    solo_persist(&solo);
    CHECK_EQ(solo_sent_count(&solo, RAFT_MESSAGE_VOTE_RESPONSE), 1);
    (void)solo_append(&solo, 1, 0, 0, 0, TERMS(1, 1), 2);
    CHECK_EQ(solo.world->output->messages_count, 0);
    solo_persist(&solo);
    CHECK_EQ(solo_sent_count(&solo, RAFT_MESSAGE_APPEND_RESPONSE), 1);
    /* A vote that was forgotten in a crash was never given. */
    (void)solo_feed_kind(&solo, 3, RAFT_MESSAGE_HEARTBEAT, 4);
    world_crash(solo.world, 1, 0);
    world_start(solo.world, 1);
    CHECK_EQ(raft_term(solo.node->raft), 1);
    solo_end(&solo);
}

/* 3: entries of older terms committed by counting. */
TEST(p03_old_terms_commit_only_with_the_current_one)
{
    struct world_options options = world_options_default(3);
    struct solo solo = solo_begin(&options, 2, TERMS(1, 2, 2), 3);
    solo_lead(&solo);
    solo_ack(&solo, 2, 3);
    solo_ack(&solo, 3, 3);
    CHECK_EQ(raft_commit_index(solo.raft), 0);
    solo_ack(&solo, 2, 4);
    CHECK_EQ(raft_commit_index(solo.raft), 4);
    solo_end(&solo);
}

/* 4: a new leader served reads before it knew what is committed. */
TEST(p04_reads_wait_for_a_commit_of_the_term)
{
    struct world_options options = world_options_default(3);
    options.lease_reads = true;
    struct solo solo = solo_begin(&options, 1, TERMS(1), 1);
    solo_lead(&solo);
    struct raft_message echo = solo_message(&solo, 2, RAFT_MESSAGE_HEARTBEAT_RESPONSE, 2);
    echo.sent_ms = world_clock_ms(solo.world, solo.node);
    (void)solo_feed(&solo, &echo);
    CHECK(raft_lease_holds(solo.raft, echo.sent_ms));
    world_read(solo.world, 1);
    CHECK_EQ(solo.world->output->read_id_confirmed, 0);
    solo_ack(&solo, 2, 2);
    CHECK_EQ(solo.world->output->read_id_confirmed, 1);
    CHECK_EQ(solo.world->output->read_index, 2);
    solo_end(&solo);
}

/* 5: a late answer to a first attempt satisfied a read that began later. */
TEST(p05_an_answer_counts_for_its_own_attempt_only)
{
    struct solo solo = solo_new(3);
    (void)solo_feed_kind(&solo, 2, RAFT_MESSAGE_HEARTBEAT, 1);
    solo_persist(&solo);
    world_read(solo.world, 1);
    const struct raft_message *asked = solo_sent(&solo, 2, RAFT_MESSAGE_READ);
    CHECK(asked != NULL);
    uint64_t first_seq = asked != NULL ? asked->read_seq : 0;
    solo_tick(&solo, 2 * HEARTBEAT);
    asked = solo_sent(&solo, 2, RAFT_MESSAGE_READ);
    CHECK(asked != NULL && asked->read_seq != first_seq);
    uint64_t second_seq = asked != NULL ? asked->read_seq : 0;
    world_read(solo.world, 1);
    struct raft_message answer = solo_message(&solo, 2, RAFT_MESSAGE_READ_RESPONSE, 1);
    answer.read_seq = first_seq;
    (void)solo_feed(&solo, &answer);
    CHECK_EQ(solo.world->output->read_id_confirmed, 0);
    answer.read_seq = second_seq;
    (void)solo_feed(&solo, &answer);
    CHECK_EQ(solo.world->output->read_id_confirmed, 1); /* the second read began after it */
    asked = solo_sent(&solo, 2, RAFT_MESSAGE_READ);
    CHECK(asked != NULL && asked->read_seq != second_seq);
    solo_end(&solo);
}

/* 5: not even the next process uses a number again; and a deposed leader's answer is void. */
TEST(p05_numbers_are_not_reused_after_a_restart)
{
    struct solo solo = solo_new(3);
    uint64_t seqs[2] = { 0 };
    for (int life = 0; life < 2; life++) {
        (void)solo_feed_kind(&solo, 2, RAFT_MESSAGE_HEARTBEAT, 1);
        solo_persist(&solo);
        world_read(solo.world, 1);
        const struct raft_message *asked = solo_sent(&solo, 2, RAFT_MESSAGE_READ);
        CHECK(asked != NULL);
        seqs[life] = asked != NULL ? asked->read_seq : 0;
        if (life == 0) {
            world_crash(solo.world, 1, 9);
            world_start(solo.world, 1);
        }
    }
    CHECK(seqs[0] != seqs[1]);
    struct raft_message answer = solo_message(&solo, 2, RAFT_MESSAGE_READ_RESPONSE, 1);
    answer.read_seq = seqs[1];
    (void)solo_feed_kind(&solo, 3, RAFT_MESSAGE_HEARTBEAT, 2);
    (void)solo_feed(&solo, &answer);
    CHECK_EQ(solo.world->output->read_id_confirmed, 0);
    solo_end(&solo);
}

/* 7: a lease without the followers' promise, without a drift bound, or after a pause. */
TEST(p07_a_lease_ends_before_the_promises_it_rests_on)
{
    for (uint32_t drift = 0; drift < 50; drift += 7) {
        struct world_options options = world_options_default(3);
        options.lease_reads = true;
        options.clock_drift_percent = drift;
        struct solo solo = solo_begin(&options, 0, NULL, 0);
        solo_lead(&solo);
        solo_ack(&solo, 2, 1);
        uint64_t sent_ms = world_clock_ms(solo.world, solo.node);
        CHECK(!raft_lease_holds(solo.raft, sent_ms)); /* votes are no heartbeats */
        struct raft_message echo = solo_message(&solo, 2, RAFT_MESSAGE_HEARTBEAT_RESPONSE, 1);
        echo.sent_ms = sent_ms;
        (void)solo_feed(&solo, &echo);
        uint64_t held_ms = 0;
        while (raft_lease_holds(solo.raft, sent_ms + held_ms)) {
            held_ms++;
        }
        /* In real time: ours slow by the drift, theirs fast by it. */
        CHECK(held_ms > 0);
        CHECK(held_ms * (100 + drift) < (uint64_t)T * (100 - drift));
        /* A pause: the clock jumped, the lease is gone, the read asks. */
        solo.world->now_us += T * 1000;
        world_read(solo.world, 1);
        CHECK_EQ(solo.world->output->read_id_confirmed, 0);
        solo_end(&solo);
    }
}

/* 7: a node that restarts has forgotten its promise, not its effect. */
TEST(p07_a_restarted_voter_keeps_quiet_for_a_while)
{
    struct solo solo = solo_new(3);
    solo_tick(&solo, T - 1);
    (void)solo_feed_kind(&solo, 3, RAFT_MESSAGE_VOTE, 1);
    CHECK_EQ(raft_voted_for(solo.raft), 0);
    solo_tick(&solo, 1);
    (void)solo_feed_kind(&solo, 3, RAFT_MESSAGE_VOTE, 1);
    CHECK_EQ(raft_voted_for(solo.raft), 3);
    solo_end(&solo);
}

/* 7: the order to campaign voids the lease for good: it may be obeyed at any later time. */
TEST(p07_no_lease_after_a_transfer_began)
{
    struct world *world = led_world(3, 3);
    struct raft *raft = raft_of(world, 1);
    pass(world, 20, 0);
    CHECK(raft_lease_holds(raft, world_clock_ms(world, world_node(world, 1))));
    CHECK_EQ(world_transfer(world, 1, 2), RAFT_OK);
    pass(world, 2 * T, 1u << 2);
    CHECK(!raft_has_transfer(raft));
    CHECK_EQ(raft_role(raft), RAFT_LEADER);
    CHECK(!raft_lease_holds(raft, world_clock_ms(world, world_node(world, 1))));
    end(world);
}

/* 8: a node that returns, or one that was removed, deposed a healthy leader. */
TEST(p08_who_returns_disturbs_nobody)
{
    struct world *world = led_world(4, 4);
    pass(world, 10 * T, 1u << 4);
    uint64_t term = raft_term(raft_of(world, 1));
    CHECK_EQ(raft_term(raft_of(world, 4)), term);
    pass(world, 50, 0);
    CHECK_EQ(leader_of(world), 1);
    CHECK_EQ(raft_term(raft_of(world, 1)), term);
    struct raft_config three = voters(TERMS(1, 2, 3), 3);
    CHECK_EQ(world_confchange(world, 1, &three), RAFT_OK);
    pass(world, 10 * T, 0); /* 4 hears nothing any more, and knows nothing */
    CHECK_EQ(leader_of(world), 1);
    CHECK_EQ(raft_term(raft_of(world, 1)), term);
    end(world);
}

/* 9: a pre-candidate of an older term was ignored for ever by nodes with shorter logs. */
TEST(p09_an_older_term_is_told_the_newer)
{
    struct world_options options = world_options_default(3);
    struct solo solo = solo_begin(&options, 9, TERMS(1), 1);
    solo_tick(&solo, T);
    struct raft_message ask = solo_message(&solo, 2, RAFT_MESSAGE_PREVOTE, 4);
    ask.index = 5;
    ask.log_term = 3;
    (void)solo_feed(&solo, &ask);
    const struct raft_message *no = solo_sent(&solo, 2, RAFT_MESSAGE_PREVOTE_RESPONSE);
    CHECK(no != NULL && no->is_rejected && no->term == 9);
    ask.term = 10; /* as it asks then */
    (void)solo_feed(&solo, &ask);
    const struct raft_message *yes = solo_sent(&solo, 2, RAFT_MESSAGE_PREVOTE_RESPONSE);
    CHECK(yes != NULL && !yes->is_rejected && yes->term == 10);
    CHECK_EQ(raft_term(solo.raft), 9);
    solo_end(&solo);
}

/* 10: partial connectivity: a chain keeps its leader; when only one node sees a majority, that one
 * leads before long. */
TEST(p10_partial_connectivity)
{
    struct world *world = led_world(3, 3);
    static const uint32_t chain[] = { 0, 1u << 2, 1u << 1 | 1u << 3, 1u << 2 }; /* 1 - 2 - 3 */
    uint64_t term = raft_term(raft_of(world, 1));
    pass_along(world, 20 * T, chain);
    CHECK_EQ(leader_of(world), 1);
    CHECK_EQ(raft_term(raft_of(world, 1)), term);
    end(world);

    world = led_world(5, 5);
    uint32_t star[6] = { 0, 0, 0, 1u << 1 | 1u << 2 | 1u << 4 | 1u << 5, 0, 0 };
    star[1] = star[2] = star[4] = star[5] = 1u << 3; /* all see 3 alone: quorum loss of 1 */
    pass_along(world, 20 * T, star);
    CHECK_EQ(leader_of(world), 3);
    uint64_t before = raft_commit_index(raft_of(world, 3));
    CHECK_EQ(world_propose(world, 3, 1), RAFT_OK);
    pass_along(world, 50, star);
    CHECK_EQ(raft_commit_index(raft_of(world, 3)), before + 1);
    end(world);
}

/* 11: a leader that could send but not receive kept its office. */
TEST(p11_acknowledgements_keep_a_leader_not_its_sending)
{
    struct world *world = led_world(3, 3);
    uint32_t links[] = { 0, 1u << 2 | 1u << 3, 1u << 3, 1u << 2 }; /* nobody reaches 1 */
    pass_along(world, T + 2 * HEARTBEAT, links);
    CHECK_EQ(raft_role(raft_of(world, 1)), RAFT_FOLLOWER);
    pass_along(world, 5 * T, links);
    CHECK(leader_of(world) > 1);
    end(world);
}

/* 12: the leader's disk stood still while its heartbeats kept everybody from electing another. */
TEST(p12_a_stalled_disk_ends_leadership)
{
    struct world *world = led_world(3, 3);
    CHECK_EQ(world_propose(world, 1, 1), RAFT_OK);
    for (int i = 0; i < 130; i++) {
        world->now_us += HEARTBEAT * 1000;
        for (uint64_t id = 1; id <= 3; id++) {
            world_tick_now(world, id);
        }
        world_settle_parts(world, 0, 1u << 1);
    }
    CHECK(leader_of(world) > 1);
    CHECK(raft_role(raft_of(world, 1)) != RAFT_LEADER);
    /* A disk that moves, however slowly, is none that stands. */
    uint64_t leader = leader_of(world);
    for (int i = 0; i < 400; i++) {
        (void)world_propose(world, leader, 1);
        world->now_us += HEARTBEAT * 1000;
        for (uint64_t id = 1; id <= 3; id++) {
            world_tick_now(world, id);
        }
        world_settle_parts(world, 0, 1u << leader | 1u << 1);
        if (i % 50 == 0) {
            world_persist(world, leader);
        }
    }
    CHECK_EQ(leader_of(world), leader);
    end(world);
}

/* 14: a transfer that came to nothing blocked proposals for ever; a node that may not lead obeyed
 * the order. */
TEST(p14_a_transfer_ends_either_way)
{
    struct world *world = led_world(3, 3);
    CHECK_EQ(world_transfer(world, 1, 2), RAFT_OK);
    CHECK_EQ(world_propose(world, 1, 1), RAFT_TRANSFERRING);
    CHECK_EQ(world_transfer(world, 1, 3), RAFT_TRANSFERRING);
    pass(world, T + HEARTBEAT, 1u << 2);
    CHECK_EQ(world_propose(world, 1, 1), RAFT_OK);
    end(world);

    struct world_options options = world_options_default(2);
    world = world_new(3, &options);
    world_start_all(world);
    world_elect(world, 2);
    struct raft_message now = { .kind = RAFT_MESSAGE_TIMEOUT_NOW,
                                .group = 5,
                                .cluster = 77,
                                .from = 2,
                                .from_incarnation = 1,
                                .to = 3,
                                .to_incarnation = 1,
                                .term = raft_term(raft_of(world, 2)) };
    struct raft_message beat = now;
    beat.kind = RAFT_MESSAGE_HEARTBEAT;
    struct world_node *stranger = world_node(world, 3);
    struct raft_input input = { .kind = RAFT_INPUT_MESSAGE, .message = &beat };
    (void)world_step(world, stranger, input);
    input.message = &now;
    (void)world_step(world, stranger, input);
    CHECK_EQ(raft_role(stranger->raft), RAFT_FOLLOWER);
    CHECK_EQ(raft_term(stranger->raft), now.term);
    end(world);
}

/* 15: two changes by leaders of two terms, neither committed, with disjoint quorums. */
TEST(p15_no_change_before_the_term_has_committed)
{
    struct world_options options = world_options_default(4);
    struct solo solo = solo_begin(&options, 0, NULL, 0);
    struct raft_config three = voters(TERMS(1, 2, 3), 3);
    struct raft_config two = voters(TERMS(1, 2), 2);
    solo_lead(&solo);
    CHECK_EQ(world_confchange(solo.world, 1, &three), RAFT_CONFIG_PENDING);
    solo_ack(&solo, 2, 1);
    solo_ack(&solo, 3, 1);
    CHECK_EQ(world_confchange(solo.world, 1, &three), RAFT_OK);
    CHECK_EQ(world_confchange(solo.world, 1, &two), RAFT_CONFIG_PENDING);
    solo_persist(&solo);
    solo_ack(&solo, 2, 2);
    CHECK_EQ(world_confchange(solo.world, 1, &two), RAFT_OK);
    solo_end(&solo);
}

/* 16: a configuration counted when applied, or was not undone when its entry was cut off. */
TEST(p16_a_configuration_lives_and_dies_with_its_entry)
{
    struct world_options options = world_options_default(3);
    struct solo solo = solo_begin(&options, 0, NULL, 0);
    struct raft_config wanted = voters(TERMS(1, 2), 2);
    uint64_t at = 0;
    struct raft_config first = *raft_config(solo.raft, &at);
    solo_lead(&solo);
    solo_ack(&solo, 2, 1);
    CHECK_EQ(world_confchange(solo.world, 1, &wanted), RAFT_OK);
    CHECK(raft_config_equal(raft_config(solo.raft, &at), &wanted));
    CHECK_EQ(at, 2);
    (void)solo_append(&solo, 3, 1, 1, 1, TERMS(3), 1); /* 2 leads term 3 and has another entry 2 */
    CHECK(raft_config_equal(raft_config(solo.raft, &at), &first));
    CHECK_EQ(at, 0);
    solo_end(&solo);
}

/* 16: and it is found again in the log after a crash. */
TEST(p16_a_configuration_survives_a_restart)
{
    struct world *world = led_world(4, 3);
    struct raft_config four = voters(TERMS(1, 2, 3, 4), 4);
    CHECK_EQ(world_confchange(world, 1, &four), RAFT_OK);
    world_settle(world);
    uint64_t at = 0;
    world_crash(world, 2, 9);
    world_start(world, 2);
    CHECK(raft_config_equal(raft_config(raft_of(world, 2), &at), &four));
    CHECK_EQ(at, 2);
    end(world);
}

/* 17: the configuration was missing from a snapshot of a snapshot. */
TEST(p17_a_snapshot_of_a_snapshot_has_the_configuration)
{
    struct world *world = led_world(5, 3);
    struct raft_config four = voters(TERMS(1, 2, 3, 4), 4);
    struct raft_config five = voters(TERMS(1, 2, 3, 4, 5), 5);
    CHECK_EQ(world_confchange(world, 1, &four), RAFT_OK);
    world_settle_without(world, 1u << 4);
    (void)world_propose(world, 1, 3);
    world_settle_without(world, 1u << 4);
    world_compact(world, 1, 0);
    pass(world, 30, 0);
    world_fetch_done(world, 4, false); /* 4 has it from a snapshot only */
    pass(world, 30, 0);
    world_compact(world, 4, 0);
    CHECK_EQ(world_transfer(world, 1, 4), RAFT_OK);
    pass(world, 50, 0);
    CHECK_EQ(leader_of(world), 4);
    CHECK_EQ(world_confchange(world, 4, &five), RAFT_OK);
    world_settle_without(world, 1u << 5);
    world_compact(world, 4, 0);
    pass(world, 30, 0);
    world_fetch_done(world, 5, false); /* and 5 from a snapshot of that replica */
    pass(world, 30, 0);
    uint64_t at = 0;
    CHECK(raft_config_equal(raft_config(raft_of(world, 5), &at), &five));
    world_crash(world, 5, 9);
    world_start(world, 5);
    CHECK(raft_config_equal(raft_config(raft_of(world, 5), &at), &five));
    CHECK_EQ(world_node(world, 5)->hash, world->canon_hash[world_node(world, 5)->applied]);
    end(world);
}

/* 18: the step out of a joint configuration was proposed again and again. */
TEST(p18_a_joint_configuration_is_left_once)
{
    struct world *world = led_world(5, 3);
    struct raft_config wanted = voters(TERMS(1, 4, 5), 3);
    CHECK_EQ(world_confchange(world, 1, &wanted), RAFT_OK);
    pass(world, 10 * HEARTBEAT, 0);
    unsigned changes = 0;
    for (uint64_t index = 1; index <= raft_last_index(raft_of(world, 1)); index++) {
        changes += world_node(world, 1)->log[index].kind == RAFT_ENTRY_CONFIG;
    }
    CHECK_EQ(changes, 2);
    end(world);
}

/* 18: a leader that crashes in the middle of it leaves it to the next. */
TEST(p18_the_next_leader_leaves_the_joint_configuration)
{
    struct world *world = led_world(5, 3);
    struct raft_config wanted = voters(TERMS(3, 4, 5), 3);
    CHECK_EQ(world_confchange(world, 1, &wanted), RAFT_OK);
    for (int i = 0; i < 3 && world_find(world, 1, 0) != NULL; i++) {
        pass(world, HEARTBEAT, 0);
        if (world_node(world, 1)->last >= 3) {
            break; /* the second entry is in its log */
        }
    }
    world_crash(world, 1, 0);
    pass(world, 10 * T, 0);
    uint64_t leader = leader_of(world);
    uint64_t at = 0;
    CHECK(leader >= 3);
    CHECK(raft_config_equal(raft_config(raft_of(world, leader), &at), &wanted));
    end(world);
}

/* 19: a leader that was removed or demoted went on. */
TEST(p19_a_removed_or_demoted_leader_steps_down)
{
    struct world *world = led_world(3, 3);
    struct raft_config demoted = voters(TERMS(2, 3), 2);
    CHECK(raft_config_add(&demoted, 1, 1, RAFT_LEARNER));
    CHECK_EQ(world_confchange(world, 1, &demoted), RAFT_OK);
    CHECK_EQ(raft_role(raft_of(world, 1)), RAFT_LEADER); /* until it is committed */
    world_settle(world);
    CHECK_EQ(raft_role(raft_of(world, 1)), RAFT_FOLLOWER);
    pass(world, 5 * T, 0);
    CHECK(leader_of(world) > 1);
    CHECK_EQ(raft_leader(raft_of(world, 1)), leader_of(world)); /* it learns */
    end(world);
}

/* 19: the entry that removes the one node with the longest log: only that node can complete it. */
TEST(p19_a_removed_node_completes_its_removal)
{
    struct world *world = led_world(3, 3);
    struct raft_config one = voters(TERMS(3), 1);
    struct raft_config two = voters(TERMS(1, 3), 2);
    CHECK_EQ(world_confchange(world, 1, &two), RAFT_OK);
    world_settle(world);
    CHECK_EQ(world_confchange(world, 1, &one), RAFT_OK);
    world_persist(world, 1);
    world_drop(world, 1, 3); /* only 1 has the entry that makes 3 alone */
    world_crash(world, 1, 9);
    pass(world, 5 * T, 0);
    CHECK_EQ(leader_of(world), 0); /* 3 still needs 1 */
    world_start(world, 1);
    pass(world, 10 * T, 0);
    CHECK_EQ(leader_of(world), 3);
    end(world);
}

/* 20: a learner that did not know of its promotion refused to vote, and no one could be elected. */
TEST(p20_who_is_asked_votes)
{
    struct world_options options = world_options_default(3);
    struct world *world = world_new(4, &options);
    world_start_all(world);
    world->now_us += T * 1000;
    struct raft_message ask = { .kind = RAFT_MESSAGE_VOTE,
                                .group = 5,
                                .cluster = 77,
                                .from = 1,
                                .from_incarnation = 1,
                                .to = 4,
                                .to_incarnation = 1,
                                .term = 3 };
    struct world_node *stranger = world_node(world, 4);
    (void)world_step(world, stranger,
                     (struct raft_input){ .kind = RAFT_INPUT_MESSAGE, .message = &ask });
    world_persist(world, 4);
    CHECK_EQ(raft_voted_for(stranger->raft), 1);
    CHECK(world_find_kind(world, 4, 1, RAFT_MESSAGE_VOTE_RESPONSE) != NULL);
    pass(world, 5 * T, 0);
    CHECK_EQ(raft_role(stranger->raft), RAFT_FOLLOWER); /* but it does not campaign itself */
    end(world);
}

/* 21, 36: a new node at an old address took its predecessor's mail; a wiped one voted again. */
TEST(p21_mail_is_for_one_incarnation_of_one_group)
{
    struct solo solo = solo_new(3);
    struct raft_message good = solo_message(&solo, 2, RAFT_MESSAGE_HEARTBEAT, 5);
    struct raft_message counts = solo_message(&solo, 2, RAFT_MESSAGE_HEARTBEAT_RESPONSE, 5);
    struct raft_message bad[6];
    for (int i = 0; i < 6; i++) {
        bad[i] = good;
    }
    bad[0].cluster = 78;
    bad[1].group = 6;
    bad[2].to = 2;
    bad[3].to_incarnation = 2;
    bad[4] = counts;
    bad[4].from_incarnation = 2; /* member 2 is another */
    bad[5].from = 0;
    for (int i = 0; i < 6; i++) {
        (void)solo_feed(&solo, &bad[i]);
        CHECK_EQ(raft_term(solo.raft), 0);
        CHECK_EQ(solo.world->output->messages_count, 0);
    }
    (void)solo_feed(&solo, &good);
    CHECK_EQ(raft_term(solo.raft), 5);
    good.from_incarnation = 2; /* but a leader is heard, whoever had that id before */
    (void)solo_feed(&solo, &good);
    CHECK_EQ(solo.world->output->messages[0].to_incarnation, 2);
    solo_end(&solo);
}

/* 36: amnesia.  The node is wiped, comes back under its old number, and is nobody's voter. */
TEST(p36_a_wiped_node_is_another)
{
    struct world *world = led_world(3, 3);
    struct world_node *wiped = world_node(world, 3);
    (void)world_propose(world, 1, 3);
    world_settle(world);
    uint64_t at = 0;
    struct raft_config first = *raft_config(wiped->raft, &at);
    world_crash(world, 3, 9);
    memset(&wiped->disk, 0, sizeof(wiped->disk));
    wiped->disk.first = 1;
    wiped->disk.snapshot.meta.config = first;
    wiped->incarnation = 2;
    wiped->last = 0;
    world_start(world, 3);
    world_crash(world, 2, 0); /* 1 and the empty 3 are no majority */
    pass(world, 10 * T, 0);
    CHECK_EQ(leader_of(world), 0);
    CHECK_EQ(raft_role(wiped->raft), RAFT_FOLLOWER);
    CHECK_EQ(raft_last_index(wiped->raft), 0);
    end(world);
}

/* 22: a log that does not fit its snapshot. */
TEST(p22_a_log_is_held_against_its_snapshot)
{
    struct {
        uint64_t index, term;
        enum raft_boot_outcome outcome;
    } cases[] = { { 4, 2, RAFT_BOOT_COVERED },  { 5, 3, RAFT_BOOT_COVERED },
                  { 5, 2, RAFT_BOOT_CONFLICT }, { 6, 3, RAFT_BOOT_OK },
                  { 7, 3, RAFT_BOOT_GAP },      { 6, 2, RAFT_BOOT_INVALID },
                  { 6, 9, RAFT_BOOT_INVALID } };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world_options options = world_options_default(3);
        struct world *world = world_new(3, &options);
        struct world_node *node = world_node(world, 1);
        node->disk.term = 4;
        node->disk.snapshot.meta.index = 5;
        node->disk.snapshot.meta.term = 3;
        node->disk.first = 6;
        node->disk.last = 5;
        world_start(world, 1);
        /* A replica that was not stepped yet. */
        struct raft *raft = mem_zalloc(raft_sizeof());
        void *memory = mem_zalloc(raft_log_memory_bytes(16));
        struct raft_options raft_options = { .cluster = 77,
                                             .node = 1,
                                             .incarnation = 1,
                                             .heartbeat_ms = 10,
                                             .election_timeout_ms = 100,
                                             .disk_stall_ms = 100,
                                             .append_bytes_max = 1,
                                             .inflight_bytes_max = 1 };
        struct raft_boot boot = { .term = 4, .snapshot = node->disk.snapshot.meta };
        raft_init(raft, &raft_options, &boot, memory, 16);
        struct raft_entry entry = { .index = cases[i].index, .term = cases[i].term, .kind = 1 };
        CHECK_EQ(raft_boot_append(raft, &entry), cases[i].outcome);
        struct raft_input tick = { .kind = RAFT_INPUT_TICK, .now_ms = 1 };
        raft_step(raft, &tick, world->output);
        CHECK_EQ(world->output->log_reset, cases[i].outcome == RAFT_BOOT_CONFLICT);
        mem_free(memory);
        mem_free(raft);
        world_free(world);
    }
}

static void offer(struct solo *solo, uint64_t index, uint64_t term)
{
    struct raft_config config = voters(TERMS(1, 2, 3), 3);
    struct raft_message message = solo_message(solo, 2, RAFT_MESSAGE_SNAPSHOT, 5);
    message.index = index;
    message.log_term = term;
    message.config = &config;
    (void)solo_feed(solo, &message);
}

/* 23, 24: an older snapshot replaced newer state; two were installed at once. */
TEST(p23_p24_snapshots_are_taken_one_by_one_and_never_back)
{
    struct solo solo = solo_new(3);
    offer(&solo, 9, 4);
    CHECK(solo.world->output->snapshot_wanted);
    offer(&solo, 12, 4);
    CHECK(!solo.world->output->snapshot_wanted); /* one at a time */
    /* Meanwhile another leader's log brought us further than the snapshot. */
    struct raft_snapshot fetched = solo.node->wanted.meta;
    (void)solo_append(&solo, 6, 0, 0, 0, TERMS(1, 1, 1, 1, 1, 1, 1, 1, 1, 4), 10);
    (void)solo_append(&solo, 6, 10, 4, 10, NULL, 0);
    CHECK_EQ(raft_commit_index(solo.raft), 10);
    solo.node->is_fetching = false;
    struct raft_input done = { .kind = RAFT_INPUT_SNAPSHOT_DONE,
                               .snapshot_done = { &fetched, false } };
    (void)world_step(solo.world, solo.node, done);
    CHECK(!solo.world->output->snapshot_adopted);
    CHECK_EQ(raft_last_index(solo.raft), 10);
    offer(&solo, 3, 1); /* from the past: answered, not taken */
    CHECK(!solo.world->output->snapshot_wanted);
    solo_end(&solo);
}

/* 25: entries compacted while an APPEND was made: "term 0" matched a follower's 0. */
TEST(p25_compacted_is_no_term)
{
    struct world *world = led_world(3, 3);
    (void)world_propose(world, 1, 5);
    world_settle_without(world, 1u << 3);
    world_compact(world, 1, 0);
    uint64_t term = 7;
    struct raft_log log;
    struct raft_log_slot slots[8];
    raft_log_init(&log, slots, 8, 5, 2);
    CHECK_EQ(raft_log_term(&log, 4, &term), RAFT_LOG_COMPACTED);
    CHECK_EQ(raft_log_term(&log, 6, &term), RAFT_LOG_BEYOND);
    CHECK_EQ(term, 7);
    CHECK(!raft_log_matches(&log, 4, 0));
    CHECK(!raft_log_matches(&log, 6, 0));
    pass(world, 2 * HEARTBEAT, 0);
    CHECK(world_node(world, 3)->is_fetching);
    CHECK_EQ(raft_last_index(raft_of(world, 3)), 1);
    world_fetch_done(world, 3, false);
    pass(world, 2 * HEARTBEAT, 0);
    CHECK_EQ(raft_commit_index(raft_of(world, 3)), 6);
    end(world);
}

/* 26: a full window was overrun, or a follower whose window was full paused for ever. */
TEST(p26_windows_are_bounded_and_reopen)
{
    struct world_options options = world_options_default(3);
    options.append_bytes_max = WORLD_ENTRY_BYTES;
    options.inflight_bytes_max = 1 << 30;
    struct world *world = world_new(3, &options);
    world_start_all(world);
    world_elect(world, 1);
    for (int i = 0; i < 100; i++) {
        (void)world_propose(world, 1, 1);
        world_tick_now(world, 1);
    }
    uint32_t appends = 0;
    for (struct world_flight *f = world->flights.next; f != &world->flights; f = f->next) {
        appends += f->message.to == 2 && f->message.kind == RAFT_MESSAGE_APPEND;
    }
    CHECK_EQ(appends, RAFT_INFLIGHT_MAX); /* in messages */
    world_drop(world, 1, 2);
    world_drop(world, 1, 3);
    pass(world, 20 * HEARTBEAT, 0); /* all was lost: heartbeats find out */
    CHECK_EQ(raft_commit_index(raft_of(world, 2)), 101);
    end(world);

    options.inflight_bytes_max = 3 * WORLD_ENTRY_BYTES; /* in bytes */
    world = world_new(3, &options);
    world_start_all(world);
    world_elect(world, 1);
    for (int i = 0; i < 20; i++) {
        (void)world_propose(world, 1, 1);
    }
    struct raft_peer_view peer;
    CHECK(raft_peer(raft_of(world, 1), 2, &peer));
    CHECK_EQ(peer.next - 1 - peer.match, 3);
    end(world);
}

/* 26: a follower without room must not make the leader send the same for ever. */
TEST(p26_a_full_follower_is_asked_with_heartbeats_only)
{
    struct world_options options = world_options_default(3);
    struct world *world = world_new(3, &options);
    world_start(world, 1);
    world_start(world, 2);
    world->options.log_capacity = 16;
    world_start(world, 3);
    world_elect(world, 1);
    for (int i = 0; i < 60; i++) {
        (void)world_propose(world, 1, 1);
    }
    pass(world, 5 * HEARTBEAT, 0);
    uint64_t steps = world->steps;
    pass(world, 10 * HEARTBEAT, 0);
    CHECK(world->steps - steps < 200);
    CHECK(raft_last_index(raft_of(world, 3)) < 20);
    world_grow(world, 3, 1024);
    pass(world, 5 * HEARTBEAT, 0);
    CHECK_EQ(raft_commit_index(raft_of(world, 3)), 61);
    end(world);
}

/* 27: the log of what is not committed grew without bound; the counter against it leaked until no
 * proposal was taken any more. */
TEST(p27_uncommitted_bytes_are_bounded_and_return_to_zero)
{
    struct world_options options = world_options_default(3);
    options.uncommitted_bytes_max = 10 * WORLD_ENTRY_BYTES;
    struct world *world = world_new(3, &options);
    world_start_all(world);
    world_elect(world, 1);
    for (int round = 0; round < 20; round++) {
        CHECK_EQ(raft_uncommitted_bytes(raft_of(world, leader_of(world))), 0);
        unsigned taken = 0;
        while (world_propose(world, leader_of(world), 1) == RAFT_OK) {
            taken++;
        }
        CHECK_EQ(taken, 10);
        CHECK_EQ(raft_uncommitted_bytes(raft_of(world, leader_of(world))), 10 * WORLD_ENTRY_BYTES);
        if (round % 4 == 3) { /* and through a change of leaders that cuts the tail off */
            uint64_t deposed = leader_of(world);
            world_drop(world, deposed, 0);
            pass(world, 6 * T, 1u << deposed);
        }
        pass(world, 5 * HEARTBEAT, 0);
    }
    for (uint64_t id = 1; id <= 3; id++) {
        CHECK_EQ(raft_uncommitted_bytes(raft_of(world, id)), 0);
    }
    end(world);
}

/* 28: the commit index went back, or beyond what was verified. */
TEST(p28_commit_never_goes_back)
{
    struct solo solo = solo_new(3);
    (void)solo_append(&solo, 1, 0, 0, 3, TERMS(1, 1, 1), 3);
    CHECK_EQ(raft_commit_index(solo.raft), 3);
    (void)solo_append(&solo, 1, 0, 0, 1, TERMS(1), 1);
    CHECK_EQ(raft_commit_index(solo.raft), 3);
    struct raft_message beat = solo_message(&solo, 2, RAFT_MESSAGE_HEARTBEAT, 1);
    beat.commit = 2;
    (void)solo_feed(&solo, &beat);
    CHECK_EQ(raft_commit_index(solo.raft), 3);
    beat.commit = 1000; /* a lie: no more than we have */
    (void)solo_feed(&solo, &beat);
    CHECK_EQ(raft_commit_index(solo.raft), 3);
    solo_end(&solo);
}

/* 29: entry 2 of term 1 is being written; it is replaced by one of term 2, and that again by the
 * one of term 1.  The first write's completion says nothing about the third. */
TEST(p29_a_completion_of_the_past_blesses_nothing)
{
    struct solo solo = solo_new(3);
    (void)solo_append(&solo, 1, 0, 0, 0, TERMS(1, 1), 2);
    (void)solo_append(&solo, 2, 1, 1, 0, TERMS(2), 1);
    (void)solo_append(&solo, 3, 1, 1, 0, TERMS(1), 1);
    world_persist(solo.world, 1); /* 1/1 2/1 */
    CHECK_EQ(raft_durable_index(solo.raft), 0);
    CHECK_EQ(solo_sent_count(&solo, RAFT_MESSAGE_APPEND_RESPONSE), 0);
    world_persist(solo.world, 1); /* 2/2 */
    CHECK_EQ(solo_sent_count(&solo, RAFT_MESSAGE_APPEND_RESPONSE), 0);
    world_persist(solo.world, 1); /* 2/1 again */
    CHECK_EQ(raft_durable_index(solo.raft), 2);
    const struct raft_message *ack = solo_sent(&solo, 2, RAFT_MESSAGE_APPEND_RESPONSE);
    CHECK(ack != NULL && ack->index == 2);
    solo_end(&solo);
}

/* A peer that lost what it had acknowledged (unsynced writes, a damaged log) neither votes nor
 * counts until it holds all that the leader had when it asked; nor do its words from before. */
TEST(a_suspect_counts_again_when_it_has_caught_up)
{
    struct world *world = led_world(3, 3);
    (void)world_propose(world, 1, 5);
    world_settle(world);
    world_crash(world, 3, 9);
    world_node(world, 3)->disk.last = 2;
    world_node(world, 3)->disk.commit = 0;
    world_node(world, 3)->is_suspect_next = true;
    world_start(world, 3);
    CHECK(raft_is_suspect(raft_of(world, 3)));
    world_node(world, 3)->is_suspect_next = false;
    pass(world, 3 * T, 1u << 1); /* 2 and the suspect elect nobody */
    CHECK(leader_of(world) != 2 && leader_of(world) != 3);
    pass(world, 10 * T, 0);
    CHECK(leader_of(world) != 0);
    CHECK(!raft_is_suspect(raft_of(world, 3)));
    CHECK_EQ(raft_commit_index(raft_of(world, 3)), raft_last_index(raft_of(world, 1)));
    /* It counts again. */
    world_crash(world, leader_of(world) == 1 ? 2 : 1, 9);
    pass(world, 10 * T, 0);
    CHECK(leader_of(world) != 0);
    end(world);
}

TEST(a_suspect_of_a_steady_leader_is_sent_everything_again)
{
    struct world *world = led_world(3, 3);
    (void)world_propose(world, 1, 5);
    world_settle(world);
    struct raft_peer_view peer;
    CHECK(raft_peer(raft_of(world, 1), 3, &peer) && peer.match == 6);
    world_crash(world, 3, 9);
    world_node(world, 3)->disk.last = 2;
    world_node(world, 3)->disk.commit = 0;
    world_node(world, 3)->is_suspect_next = true;
    world_start(world, 3);
    world_node(world, 3)->is_suspect_next = false;
    struct raft_message late = { .kind = RAFT_MESSAGE_APPEND_RESPONSE,
                                 .group = 5,
                                 .cluster = 77,
                                 .from = 3,
                                 .from_incarnation = 1,
                                 .to = 1,
                                 .to_incarnation = 1,
                                 .boot = 1, /* said before the crash */
                                 .term = raft_term(raft_of(world, 1)),
                                 .index = 6 };
    world_tick(world, 1, HEARTBEAT);
    while (world_find(world, 3, 1) == NULL ||
           world_find_kind(world, 3, 1, RAFT_MESSAGE_READ) == NULL) {
        world_deliver(world, world_find(world, 0, 3));
    }
    world_deliver(world, world_find_kind(world, 3, 1, RAFT_MESSAGE_READ));
    CHECK(raft_peer(raft_of(world, 1), 3, &peer) && peer.match == 0);
    (void)world_step(world, world_node(world, 1),
                     (struct raft_input){ .kind = RAFT_INPUT_MESSAGE, .message = &late });
    CHECK(raft_peer(raft_of(world, 1), 3, &peer) && peer.match == 0);
    pass(world, 5 * HEARTBEAT, 0);
    CHECK_EQ(leader_of(world), 1);
    CHECK(raft_peer(raft_of(world, 1), 3, &peer) && peer.match == 6);
    CHECK(!raft_is_suspect(raft_of(world, 3)));
    end(world);
}

/* Hostile or corrupt messages change nothing and crash nothing. */
TEST(nonsense_is_survived)
{
    struct prng prng;
    prng_init(&prng, 5);
    for (int life = 0; life < 200; life++) {
        struct world_options options = world_options_default(3);
        struct solo solo = solo_begin(&options, 3, TERMS(1, 2, 3), 3);
        struct raft_config config = voters(TERMS(1, 2, 3), 3);
        if (life % 2 == 1) {
            solo_lead(&solo);
        }
        for (int i = 0; i < 100; i++) {
            struct raft_entry entries[3];
            uint64_t term = raft_term(solo.raft) + prng_below(&prng, 2);
            struct raft_message m = solo_message(
                &solo, 2 + prng_below(&prng, 3),
                (enum raft_message_kind)(1 + prng_below(&prng, RAFT_MESSAGE_KINDS)), term);
            m.index = prng_chance(&prng, 1, 4) ? prng_next(&prng) : prng_below(&prng, 9);
            m.log_term = prng_below(&prng, 5);
            m.commit = prng_chance(&prng, 1, 4) ? prng_next(&prng) : prng_below(&prng, 9);
            m.hint = prng_chance(&prng, 1, 4) ? prng_next(&prng) : prng_below(&prng, 9);
            m.sent_ms = prng_chance(&prng, 1, 2) ? prng_next(&prng) : 1000;
            m.read_seq = prng_chance(&prng, 1, 2) ? prng_next(&prng) : 1;
            m.is_rejected = prng_chance(&prng, 1, 2);
            m.is_suspect = prng_chance(&prng, 1, 8);
            m.config = prng_chance(&prng, 1, 2) ? &config : NULL;
            m.entries = entries;
            m.entries_count = (uint32_t)prng_below(&prng, 4);
            for (uint32_t e = 0; e < m.entries_count; e++) {
                entries[e] = (struct raft_entry){
                    .index = m.index + 1 + e + prng_chance(&prng, 1, 20),
                    .term = m.log_term + prng_below(&prng, 3),
                    .size = (uint32_t)prng_next(&prng),
                    .kind = prng_chance(&prng, 1, 4) ? RAFT_ENTRY_CONFIG : 1,
                    .config = prng_chance(&prng, 1, 2) ? &config : NULL,
                };
            }
            struct raft_input input = { .kind = RAFT_INPUT_MESSAGE,
                                        .now_ms = 2000 + (uint64_t)i * 7,
                                        .message = &m };
            raft_step(solo.raft, &input, solo.world->output);
            CHECK(raft_commit_index(solo.raft) <= raft_last_index(solo.raft));
            if (solo.world->output->snapshot_wanted) {
                struct raft_snapshot wanted = solo.world->output->snapshot;
                struct raft_input done = { .kind = RAFT_INPUT_SNAPSHOT_DONE,
                                           .now_ms = input.now_ms,
                                           .snapshot_done = { &wanted, false } };
                raft_step(solo.raft, &done, solo.world->output);
            }
            if (raft_log_space(solo.raft) < 10) {
                break;
            }
        }
        solo_end(&solo);
    }
}

TEST_MAIN
