/*
 * membership_test.c — gossip between simulated nodes: deaths are found in time, the living are not
 * called dead, and nothing that is not fresh, ours and meant for us changes anything.
 *
 * MEMBERSHIP_MINUTES=n: how long the clusters without a death live (default 10 simulated minutes).
 * MEMBERSHIP_MEASURE=1: prints what docs/decisions/0008-gossip.md shows.
 */
#include "membership_world.h"

static uint64_t minutes(void)
{
    const char *text = getenv("MEMBERSHIP_MINUTES");
    return text != NULL ? strtoul(text, NULL, 10) : 10;
}

static bool measures(void)
{
    return getenv("MEMBERSHIP_MEASURE") != NULL;
}

/* ── deaths ──────────────────────────────────────────────────────────────────────────────────── */

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* In what time a killed node is dead everywhere: 99 of 100; and always within five seconds. */
static uint64_t detect(uint32_t count, uint32_t loss_percent, uint32_t runs)
{
    static uint64_t times[1000];
    for (uint32_t run = 0; run < runs; run++) {
        struct world *world = world_formed(run * 31 + count, count);
        world->loss_percent = loss_percent;
        uint32_t victim = (uint32_t)prng_below(&world->prng, count);
        world_run(world, 1000 + prng_below(&world->prng, 1000));
        world_kill(world, victim);
        times[run] = world_until(world, victim, MEMBERSHIP_DEAD, 20000);
        CHECK_EQ(world->false_deaths, 0);
        world_free(world);
    }
    qsort(times, runs, sizeof(times[0]), compare);
    if (measures()) {
        printf("%2u nodes, %2u %% loss: dead everywhere after p50 %" PRIu64 " p99 %" PRIu64
               " max %" PRIu64 " ms\n",
               count, loss_percent, times[runs / 2], times[runs * 99 / 100], times[runs - 1]);
    }
    CHECK(times[runs - 1] <= 5000);
    return times[runs * 99 / 100];
}

TEST(a_killed_node_is_dead_everywhere_within_two_seconds)
{
    uint32_t runs = measures() ? 1000 : 200;
    for (uint32_t count = 2; count <= 7; count++) {
        CHECK(detect(count, 0, runs) <= 2000);
    }
    CHECK(detect(16, 0, runs / 4) <= 2500);
}

TEST(also_when_a_third_of_the_packets_is_lost)
{
    uint32_t runs = measures() ? 1000 : 50;
    for (uint32_t count = 2; count <= 7; count++) {
        CHECK(detect(count, 30, runs) <= 3500);
    }
}

/* ── the living ──────────────────────────────────────────────────────────────────────────────── */

static void live(struct world *world, const char *what)
{
    world->suspicions = 0;
    world_run(world, minutes() * 60000);
    if (measures()) {
        printf("%2u nodes, %s, %" PRIu64 " min: %u false deaths, %u suspicions\n", world->count,
               what, minutes(), world->false_deaths, world->suspicions);
    }
    CHECK_EQ(world->false_deaths, 0);
    CHECK_EQ(world->deaths, 0);
}

TEST(loss_and_delay_kill_nobody)
{
    for (uint32_t count = 2; count <= 7; count++) {
        struct world *world = world_formed(count, count);
        world->loss_percent = 30;
        world->double_percent = 10;
        world->delay_more_ms = 60;
        live(world, "30 % loss, 0-60 ms delay");
        world_free(world);
    }
}

TEST(loss_without_links_kills_nobody)
{
    for (uint32_t count = 3; count <= 7; count++) {
        struct world *world = world_formed(count + 40, count);
        world->has_links = false;
        world->loss_percent = 30;
        world->delay_more_ms = 20;
        live(world, "30 % loss, UDP only");
        world_free(world);
    }
}

TEST(starved_processes_kill_nobody)
{
    for (uint32_t count = 2; count <= 7; count++) {
        struct world *world = world_formed(count + 20, count);
        world->loss_percent = 2;
        world->pause_percent = 10;
        world->pause_max_ms = 800;
        live(world, "2 % loss, every 10th tick 0-800 ms late");
        world_free(world);
    }
}

TEST(a_slow_node_does_not_accuse_the_others)
{
    for (uint32_t count = 2; count <= 5; count++) {
        struct world *world = world_formed(count + 60, count);
        for (uint32_t i = 0; i < 300; i++) {
            world_pause(world, 0, 200 + prng_below(&world->prng, 900));
            world_run(world, 1200);
            for (uint32_t other = 1; other < count; other++) {
                CHECK(world_state(world, other, 0) != MEMBERSHIP_DEAD);
            }
        }
        CHECK_EQ(world->false_deaths, 0);
        CHECK(membership_stats(world->nodes[0].core).late_steps > 0);
        CHECK(membership_stats(world->nodes[1].core).late_steps == 0);
        world_free(world);
    }
}

TEST(who_sleeps_for_a_minute_calls_nobody_dead_when_it_wakes)
{
    struct world *world = world_formed(5, 3);
    world_pause(world, 0, 60000);
    world_run(world, 59000);
    CHECK_EQ(world_state(world, 0, 1), MEMBERSHIP_DEAD); /* that one was right: nobody answered */
    CHECK_EQ(world_state(world, 0, 2), MEMBERSHIP_DEAD);
    world_run(world, 1000 + 1500);
    CHECK(world_is_whole(world)); /* it has refuted */
    CHECK_EQ(membership_stats(world->nodes[1].core).refutations, 0);
    CHECK_EQ(membership_stats(world->nodes[2].core).refutations, 0);
    CHECK(membership_stats(world->nodes[0].core).refutations > 0);
    world_free(world);
}

/* ── cuts ────────────────────────────────────────────────────────────────────────────────────── */

static void cut_both(struct world *world, uint32_t a, uint32_t b, bool is_cut)
{
    world->cut[a][b] = is_cut;
    world->cut[b][a] = is_cut;
    world->cut_link[a][b] = is_cut;
}

TEST(a_cut_between_two_is_bridged_by_a_third)
{
    struct world *world = world_formed(7, 3);
    cut_both(world, 0, 1, true);
    world_run(world, 60000);
    CHECK_EQ(world->deaths, 0);
    world_free(world);
}

TEST(blocked_datagrams_kill_nobody)
{
    for (uint32_t count = 2; count <= 5; count++) {
        struct world *world = world_formed(count, count);
        world->loss_percent = 100;
        world_run(world, 60000);
        CHECK_EQ(world->deaths, 0);
        CHECK(world_is_whole(world));
        world_kill(world, 1); /* but the dead are found, and found to be back */
        CHECK(world_until(world, 1, MEMBERSHIP_DEAD, 5000) <= 5000);
        world_start(world, 1);
        CHECK(world_until(world, 1, MEMBERSHIP_ALIVE, 5000) <= 5000);
        world_free(world);
    }
}

TEST(blocked_links_change_nothing)
{
    struct world *world = world_formed(3, 3);
    world->has_links = false;
    world_run(world, 60000);
    CHECK_EQ(world->suspicions + world->deaths, 0);
    world_free(world);
}

TEST(who_hears_nobody_does_not_get_the_others_killed)
{
    for (uint32_t count = 3; count <= 5; count++) {
        struct world *world = world_formed(count + 9, count);
        world->has_links = false;
        for (uint32_t i = 1; i < count; i++) {
            world->cut[i][0] = true;
        }
        for (uint32_t second = 0; second < 120; second++) {
            world_run(world, 1000);
            for (uint32_t a = 1; a < count; a++) {
                for (uint32_t b = 1; b < count; b++) {
                    CHECK(a == b || world_state(world, a, b) != MEMBERSHIP_DEAD);
                }
            }
        }
        CHECK(world_all_see(world, 0, MEMBERSHIP_DEAD)); /* it never answers */
        world_free(world);
    }
}

TEST(views_converge_after_a_partition)
{
    for (uint32_t seed = 0; seed < 20; seed++) {
        struct world *world = world_formed(seed, 5);
        for (uint32_t a = 0; a < 2; a++) {
            for (uint32_t b = 2; b < 5; b++) {
                cut_both(world, a, b, true);
            }
        }
        world_run(world, 10000);
        CHECK_EQ(world_state(world, 3, 0), MEMBERSHIP_DEAD);
        CHECK_EQ(world_state(world, 0, 3), MEMBERSHIP_DEAD);
        CHECK_EQ(world_state(world, 1, 0), MEMBERSHIP_ALIVE);
        for (uint32_t a = 0; a < 2; a++) {
            for (uint32_t b = 2; b < 5; b++) {
                cut_both(world, a, b, false);
            }
        }
        world_run(world, 3000);
        CHECK(world_is_whole(world));
        world_free(world);
    }
}

/* ── coming and going ────────────────────────────────────────────────────────────────────────── */

TEST(who_restarts_beats_its_obituary)
{
    for (uint32_t count = 2; count <= 5; count++) {
        struct world *world = world_formed(count, count);
        world_kill(world, 1);
        CHECK(world_until(world, 1, MEMBERSHIP_DEAD, 5000) <= 5000);
        world_start(world, 1);
        CHECK(world_until(world, 1, MEMBERSHIP_ALIVE, 3000) <= 3000);
        world_run(world, 5000);
        CHECK(world_is_whole(world));
        world_free(world);
    }
}

TEST(a_quick_restart_is_no_death)
{
    struct world *world = world_formed(4, 3);
    world_kill(world, 1);
    world_run(world, 300);
    world_start(world, 1);
    world_run(world, 5000);
    CHECK_EQ(world->deaths, 0);
    CHECK(world_is_whole(world));
    world_free(world);
}

TEST(who_says_goodbye_has_left_at_once)
{
    for (uint32_t count = 2; count <= 5; count++) {
        struct world *world = world_formed(count, count);
        world_step(world, 1, (struct membership_input){ .kind = MEMBERSHIP_LEAVE });
        world_kill(world, 1);
        world_run(world, 10);
        CHECK(world_all_see(world, 1, MEMBERSHIP_LEFT));
        world_run(world, 30000);
        CHECK(world_all_see(world, 1, MEMBERSHIP_LEFT)); /* and is not dead later */
        world_start(world, 1);
        CHECK(world_until(world, 1, MEMBERSHIP_ALIVE, 3000) <= 3000);
        world_free(world);
    }
}

TEST(a_goodbye_over_the_link_is_enough)
{
    struct world *world = world_formed(3, 3);
    world->loss_percent = 100;
    world_step(world, 1, (struct membership_input){ .kind = MEMBERSHIP_LEAVE });
    world_kill(world, 1);
    world_run(world, 10);
    CHECK(world_all_see(world, 1, MEMBERSHIP_LEFT));
    world_free(world);
}

TEST(incarnations_never_go_back)
{
    struct world *world = world_formed(8, 4);
    uint64_t seen[4][4] = { { 0 } };
    world->loss_percent = 20;
    world->pause_percent = 5;
    world->pause_max_ms = 4000;
    for (uint32_t i = 0; i < 3000; i++) {
        world_run(world, 100);
        if (i % 100 == 50) {
            uint32_t at = (uint32_t)prng_below(&world->prng, 4);
            world_kill(world, at);
            memset(seen[at], 0, sizeof(seen[at])); /* what it knew is gone */
            world_start(world, at);
        }
        for (uint32_t a = 0; a < 4; a++) {
            for (uint32_t b = 0; b < 4; b++) {
                struct membership_view view = { .incarnation = UINT64_MAX };
                if (membership_view(world->nodes[a].core, world_number(b), &view)) {
                    CHECK(view.incarnation >= seen[a][b]);
                    CHECK(view.incarnation <= membership_stats(world->nodes[b].core).incarnation);
                    seen[a][b] = view.incarnation;
                }
            }
        }
    }
    world_free(world);
}

TEST(advice_reaches_everybody)
{
    struct world *world = world_formed(2, 16);
    struct membership_advice advice = { .host = "fd00::17", .version = "9.9.9", .port = 4242 };
    memset(advice.host, 'h', sizeof(advice.host) - 1);
    world_step(world, 3, (struct membership_input){ .kind = MEMBERSHIP_ADVISE, .advice = &advice });
    world_run(world, 8000);
    for (uint32_t i = 0; i < 16; i++) {
        struct membership_view view = { .boot = 0 };
        CHECK(i == 3 || membership_view(world->nodes[i].core, world_number(3), &view));
        CHECK(i == 3 || strcmp(view.advice.host, advice.host) == 0);
        CHECK(i == 3 || view.advice.port == 4242);
    }
    world_free(world);
}

TEST(only_members_count)
{
    struct world *world = world_new(1, 4);
    for (uint32_t i = 0; i < 4; i++) {
        world_start(world, i);
    }
    world_members(world, 0, 3); /* it does not know the fourth */
    world_run(world, 5000);
    struct membership_view view;
    CHECK(!membership_view(world->nodes[0].core, world_number(3), &view));
    CHECK(membership_stats(world->nodes[0].core).drops[MEMBERSHIP_DROP_STRANGER] > 0);
    world_members(world, 0, 4);
    world_run(world, 3000);
    CHECK(world_is_whole(world));
    world_members(world, 0, 2); /* two were removed */
    world_run(world, 1000);
    CHECK(!membership_view(world->nodes[0].core, world_number(2), &view));
    world_free(world);
}

TEST(alone_it_is_silent)
{
    struct world *world = world_new(1, 1);
    world_start(world, 0);
    world_run(world, 60000);
    CHECK_EQ(world->packets, 0);
    CHECK_EQ(world->nodes[0].deadline_ms, UINT64_MAX);
    world_free(world);
}

TEST(in_a_round_each_other_node_is_pinged_once)
{
    for (uint32_t count = 2; count <= 6; count++) {
        struct world *world = world_formed(count, count);
        uint32_t pinged[WORLD_NODES] = { 0 };
        uint64_t end_ms = world->now_ms + 200 * (count - 1) * 10;
        while (world->nodes[0].deadline_ms <= end_ms) { /* node 0 by hand */
            world_run(world, world->nodes[0].deadline_ms - world->now_ms - 1);
            world->now_ms++;
            world_step(world, 0, (struct membership_input){ .kind = MEMBERSHIP_TICK });
            const struct membership_datagram *ping = world->output.datagrams;
            if (world->output.datagrams_count > 0 && ping->bytes[4] == MEMBERSHIP_PING) {
                pinged[ping->to - 1]++;
            }
        }
        for (uint32_t i = 1; i < count; i++) {
            CHECK(pinged[i] >= 9 && pinged[i] <= 11);
        }
        world_free(world);
    }
}

/* ── packets ─────────────────────────────────────────────────────────────────────────────────── */

/* A ping from node 2 to node 1, as the real one would send it. */
static struct membership_head fresh(struct world *world)
{
    struct membership_view view = { .boot = 0 };
    CHECK(membership_view(world->nodes[0].core, world_number(1), &view));
    return (struct membership_head){
        .kind = MEMBERSHIP_PING,
        .cluster = WORLD_CLUSTER,
        .from = world_number(1),
        .from_identity = 101,
        .from_boot = world->nodes[1].boot,
        .to = world_number(0),
        .to_identity = 100,
        .to_boot = world->nodes[0].boot,
        .counter = 1u << 30,
        .incarnation = view.incarnation,
        .token = 1,
    };
}

/* Sends the head and the news that node 3 is dead to node 1: what becomes of it. */
static enum membership_drop give(struct world *world, const struct membership_head *head,
                                 bool *out_counted)
{
    char bytes[MEMBERSHIP_PACKET_BYTES_MAX];
    struct membership_view before = { .boot = 0 };
    struct membership_view after = { .boot = 0 };
    CHECK(membership_view(world->nodes[0].core, world_number(2), &before));
    struct membership_item item = { .kind = MEMBERSHIP_ITEM_STATE,
                                    .number = world_number(2),
                                    .identity = 102,
                                    .state = MEMBERSHIP_SUSPECT,
                                    .incarnation = before.incarnation + 1 };
    membership_head_write(head, bytes);
    char *end = membership_item_write(&item, bytes + MEMBERSHIP_HEAD_BYTES);
    world_step(world, 0,
               (struct membership_input){
                   .kind = MEMBERSHIP_PACKET,
                   .packet = slice_make(bytes, (size_t)(end - bytes)),
               });
    enum membership_drop drop = world->output.drop;
    CHECK(membership_view(world->nodes[0].core, world_number(2), &after));
    *out_counted = after.incarnation != before.incarnation;
    return drop;
}

TEST(what_is_not_fresh_and_meant_for_us_changes_nothing)
{
    struct world *world = world_formed(1, 3);
    bool counted = false;
    struct membership_head good = fresh(world);
    struct membership_head bad = good;
    bad.cluster++;
    CHECK_EQ(give(world, &bad, &counted), MEMBERSHIP_DROP_CLUSTER);
    CHECK(!counted);
    bad = good;
    bad.to++;
    CHECK_EQ(give(world, &bad, &counted), MEMBERSHIP_DROP_TARGET);
    CHECK(!counted);
    bad = good;
    bad.from = 99;
    CHECK_EQ(give(world, &bad, &counted), MEMBERSHIP_DROP_STRANGER);
    CHECK(!counted);
    bad = good;
    bad.from_identity++;
    CHECK_EQ(give(world, &bad, &counted), MEMBERSHIP_DROP_IDENTITY);
    bad = good;
    bad.to_identity++;
    CHECK_EQ(give(world, &bad, &counted), MEMBERSHIP_DROP_IDENTITY);
    CHECK(!counted);
    bad = good;
    bad.from_boot--;
    CHECK_EQ(give(world, &bad, &counted), MEMBERSHIP_DROP_STALE);
    CHECK(!counted);
    bad = good;
    bad.to_boot += 5;
    CHECK_EQ(give(world, &bad, &counted), MEMBERSHIP_DROP_STALE);
    CHECK(!counted);
    bad.to_boot = 0; /* the sender does not know us yet: it is told our boot, nothing more */
    CHECK_EQ(give(world, &bad, &counted), MEMBERSHIP_KEPT);
    CHECK(!counted);
    CHECK_EQ(world->output.datagrams_count, 1);
    bad = good;
    bad.state = MEMBERSHIP_DEAD;
    CHECK_EQ(give(world, &bad, &counted), MEMBERSHIP_DROP_MALFORMED);
    CHECK(!counted);
    CHECK_EQ(give(world, &good, &counted), MEMBERSHIP_KEPT);
    CHECK(counted);
    CHECK_EQ(give(world, &good, &counted), MEMBERSHIP_DROP_REPLAYED);
    CHECK(!counted);
    good.counter -= 63; /* overtaken, but not too far behind */
    CHECK_EQ(give(world, &good, &counted), MEMBERSHIP_KEPT);
    CHECK(counted);
    CHECK_EQ(give(world, &good, &counted), MEMBERSHIP_DROP_REPLAYED);
    good.counter -= 1;
    CHECK_EQ(give(world, &good, &counted), MEMBERSHIP_DROP_REPLAYED);
    CHECK(!counted);
    world_free(world);
}

TEST(a_death_by_hearsay_waits_for_our_own_pings)
{
    struct world *world = world_formed(1, 3);
    struct membership_head head = fresh(world);
    struct membership_view view = { .boot = 0 };
    CHECK(membership_view(world->nodes[0].core, world_number(2), &view));
    char bytes[MEMBERSHIP_PACKET_BYTES_MAX];
    struct membership_item item = { .kind = MEMBERSHIP_ITEM_STATE,
                                    .number = world_number(2),
                                    .identity = 102,
                                    .state = MEMBERSHIP_DEAD,
                                    .incarnation = view.incarnation };
    membership_head_write(&head, bytes);
    char *end = membership_item_write(&item, bytes + MEMBERSHIP_HEAD_BYTES);
    world_step(world, 0,
               (struct membership_input){
                   .kind = MEMBERSHIP_PACKET,
                   .packet = slice_make(bytes, (size_t)(end - bytes)),
               });
    CHECK_EQ(world_state(world, 2, 0), MEMBERSHIP_SUSPECT);
    world_run(world, 1000); /* node 3 was pinged at once, and has refuted */
    CHECK_EQ(world_state(world, 2, 0), MEMBERSHIP_ALIVE);
    CHECK_EQ(world->deaths, 0);
    CHECK_EQ(membership_stats(world->nodes[2].core).refutations, 1);
    world_free(world);
}

TEST(every_cut_packet_is_malformed_or_shorter)
{
    struct world *world = world_formed(6, 16);
    world_run(world, 5000);
    const char *whole = world->largest.bytes;
    uint32_t size = world->largest.size;
    CHECK(size > 500);
    uint32_t good = 0;
    for (uint32_t cut = 0; cut <= size; cut++) {
        char *copy = mem_alloc(cut + 1); /* so that a sanitizer sees what lies behind */
        memcpy(copy, whole, cut);
        struct membership_head head;
        struct slice items;
        good += membership_packet_read(slice_make(copy, cut), &head, &items);
        mem_free(copy);
    }
    CHECK(good >= 2 && good <= 40); /* between two items it is a packet with fewer of them */
    world_free(world);
}

TEST_MAIN
