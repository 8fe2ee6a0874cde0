/*
 * peers_test.c — links between nodes: they come up, carry frames, break, and come up again.
 *
 * Read next: peers_world.h.
 */
#include "peers_world.h"

/* ── two or three nodes ──────────────────────────────────────────────────────────────────────── */

TEST(members_link_up_and_talk)
{
    struct world *world = world_new(3, 1);
    world_run(world, 300 * MS);
    CHECK(all_linked(world));
    for (uint32_t i = 0; i < 3; i++) {
        struct host *host = &world->hosts[i];
        CHECK_EQ(host->ups, 8); /* two links to each of two members, two from each */
        CHECK_EQ(peers_stats(host->peers)->links_up, 8);
        CHECK_EQ(peers_stats(host->peers)->links, 8);
        host->send_every_ns = 1 * MS;
    }
    world_run(world, 2 * SECOND);
    uint64_t sent = 0;
    uint64_t received = 0;
    for (uint32_t i = 0; i < 3; i++) {
        sent += world->hosts[i].sent;
        received += world->hosts[i].frames;
        world->hosts[i].send_every_ns = 0;
        CHECK_EQ(world->hosts[i].downs, 0);
    }
    CHECK(sent > 3000);
    world_run(world, 1 * SECOND);
    received = world->hosts[0].frames + world->hosts[1].frames + world->hosts[2].frames;
    CHECK_EQ(sent, received);
    world_free(world);
}

TEST(idle_links_stay_up_and_cost_little)
{
    struct world *world = world_new(2, 2);
    world_run(world, 1 * SECOND);
    CHECK(all_linked(world));
    uint64_t turns = sim_node_turns(world->hosts[0].node);
    world_run(world, 60 * SECOND);
    CHECK(all_linked(world));
    CHECK_EQ(world->hosts[0].downs + world->hosts[1].downs, 0);
    turns = sim_node_turns(world->hosts[0].node) - turns;
    CHECK(turns > 60);
    CHECK(turns < 60 * 40); /* a few pings a second and link */
    uint32_t at = 0;
    unsigned count = 0;
    struct peer_link_info info;
    while (peers_link_next(world->hosts[0].peers, &at, &info)) {
        count++;
        CHECK(info.is_up);
        CHECK_EQ(info.number, world->hosts[1].options.self.number);
        CHECK(strcmp(info.node, "n2") == 0);
        CHECK(info.rtt_us > 50);
        CHECK(info.rtt_us < 100000);
        CHECK(info.heard_ms <= 1100);
        CHECK(info.age_ms > 60000);
    }
    CHECK_EQ(count, 4);
    world_free(world);
}

TEST(largest_frame_arrives)
{
    struct world *world = world_new(2, 3);
    world_run(world, 1 * SECOND);
    struct host *host = &world->hosts[0];
    struct seen *seen = seen_last(host, PEER_RAFT, true);
    CHECK(send_numbered(host, seen, PEER_FRAME_BYTES_MAX - NUMBERED_BYTES - 7));
    CHECK(send_numbered(host, seen, 5) == false); /* the queue is over its bound */
    CHECK_EQ(peers_stats(host->peers)->queue_full, 1);
    peers_flush(host->peers);
    world_run(world, 5 * SECOND);
    CHECK(send_numbered(host, seen, 5));
    peers_flush(host->peers);
    world_run(world, 1 * SECOND);
    CHECK_EQ(world->hosts[1].frames, 2);
    CHECK_EQ(host->downs, 0);
    world_free(world);
}

/* A frame that was begun and not ended leaves no trace. */
TEST(abandoned_frame_is_not_sent)
{
    struct world *world = world_new(2, 4);
    world_run(world, 1 * SECOND);
    struct host *host = &world->hosts[0];
    struct seen *seen = seen_last(host, PEER_CLIENT, true);
    char *body = peers_frame_begin(host->peers, seen->link, 3, 1000);
    memset(body, 'x', 1000);
    CHECK_EQ(peers_queued_bytes(host->peers, seen->link), 0);
    CHECK(send_numbered(host, seen, 10));
    CHECK_EQ(peers_queued_bytes(host->peers, seen->link),
             PEER_FRAME_HEADER_BYTES + NUMBERED_BYTES + 10);
    peers_flush(host->peers);
    world_run(world, 1 * SECOND);
    CHECK_EQ(world->hosts[1].frames, 1);
    CHECK_EQ(world->hosts[1].downs, 0);
    world_free(world);
}

/* ── what breaks ─────────────────────────────────────────────────────────────────────────────── */

TEST(silent_machine_is_noticed_in_three_seconds)
{
    for (unsigned power_loss = 0; power_loss < 2; power_loss++) {
        struct world *world = world_new(2, 5 + power_loss);
        struct host *other = &world->hosts[1];
        struct host *host = &world->hosts[0];
        world_run(world, 10 * SECOND);
        host_crash(other, power_loss != 0);
        world_run(world, power_loss != 0 ? 1900 * MS : 100 * MS);
        CHECK_EQ(host->downs, power_loss != 0 ? 0 : 4); /* a dead process resets its connections */
        world_run(world, 1200 * MS);
        CHECK_EQ(host->downs, 4);
        CHECK_EQ(peers_link(host->peers, other->options.self.number, PEER_RAFT), 0);
        CHECK(peers_trouble(host->peers, other->options.self.number, PEER_RAFT)[0] != '\0');
        world_run(world, 20 * SECOND);
        host_boot(other);
        world_run(world, 3 * SECOND); /* the connect of ours that is underway is repeated by then */
        CHECK(all_linked(world));
        CHECK_EQ(peers_trouble(host->peers, other->options.self.number, PEER_RAFT)[0], '\0');
        world_free(world);
    }
}

/* One direction is gone: both sides must see it. */
TEST(deaf_in_one_direction)
{
    struct world *world = world_new(2, 7);
    world_run(world, 1 * SECOND);
    sim_net_block(world->sim, world->hosts[0].node, world->hosts[1].node, true);
    world_run(world, 4 * SECOND);
    CHECK_EQ(peers_stats(world->hosts[0].peers)->links_up, 0);
    CHECK_EQ(peers_stats(world->hosts[1].peers)->links_up, 0);
    CHECK(peers_stats(world->hosts[1].peers)->silences > 0);
    sim_net_heal(world->sim);
    world_run(world, 4 * SECOND);
    CHECK(all_linked(world));
    world_free(world);
}

TEST(own_pause_is_no_silence_of_others)
{
    struct world *world = world_new(2, 8);
    struct host *host = &world->hosts[0];
    world_run(world, 1 * SECOND);
    peers_tick(host->peers, peers_deadline_ns(host->peers) + 600 * SECOND);
    host_drain(host);
    CHECK_EQ(host->downs, 0);
    CHECK_EQ(peers_stats(host->peers)->links_up, 4);
    peers_tick(host->peers, peers_deadline_ns(host->peers) + 400 * MS);
    peers_tick(host->peers, peers_deadline_ns(host->peers) + 400 * MS);
    peers_tick(host->peers, peers_deadline_ns(host->peers) + 400 * MS);
    peers_tick(host->peers, peers_deadline_ns(host->peers) + 400 * MS);
    host_drain(host);
    CHECK_EQ(host->downs, 4); /* but this was silence */
    world_free(world);
}

/* A slow wire under load is no silence: 9 MiB at 1 MB/s in one direction. */
TEST(slow_transfer_is_no_silence)
{
    struct world *world = world_new(2, 9);
    struct host *host = &world->hosts[0];
    world_run(world, 1 * SECOND);
    sim_world_options(world->sim)->bandwidth_bytes_per_s = 1000000;
    struct seen *seen = seen_last(host, PEER_RAFT, true);
    CHECK(send_numbered(host, seen, 9000000));
    peers_flush(host->peers);
    world_run(world, 15 * SECOND);
    CHECK_EQ(world->hosts[1].frames, 1);
    CHECK_EQ(host->downs + world->hosts[1].downs, 0);
    world_free(world);
}

TEST(queue_is_bounded)
{
    struct world *world = world_new(2, 10);
    struct host *host = &world->hosts[0];
    world_run(world, 1 * SECOND);
    struct seen *seen = seen_last(host, PEER_CLIENT, true);
    unsigned taken = 0;
    while (taken < 1000 && send_numbered(host, seen, 100000)) {
        taken++;
        peers_flush(host->peers);
    }
    CHECK(taken > 80);
    CHECK(taken < 100);
    CHECK(peers_queued_bytes(host->peers, seen->link) <= PEER_CLIENT_QUEUE_BYTES_MAX + 110000);
    world_run(world, 2 * SECOND);
    CHECK_EQ(world->hosts[1].frames, taken);
    CHECK_EQ(peers_queued_bytes(host->peers, seen->link), 0);
    world_free(world);
}

TEST(corruption_never_gets_through)
{
    struct sim_options options = sim_options_calm();
    options.corrupt_ppm = 20000;
    struct world *world = world_new_of(2, 11, &options);
    for (uint32_t i = 0; i < 2; i++) {
        host_boot(&world->hosts[i]);
        world->hosts[i].send_every_ns = 5 * MS;
        world->hosts[i].size_max = 20000;
    }
    world_run(world, 60 * SECOND);
    struct host *host = &world->hosts[0];
    CHECK(peers_stats(host->peers)->bad_frames > 20);
    CHECK(peers_stats(host->peers)->hellos_refused > 2);
    CHECK(host->frames > 1000);
    CHECK(peers_complaint(host->peers) != NULL);
    CHECK(peers_complaint(host->peers) == NULL); /* not so soon again */
    sim_world_options(world->sim)->corrupt_ppm = 0;
    world_run(world, 5 * SECOND);
    CHECK(all_linked(world));
    world_free(world);
}

/* Everything at once, many seeds; the hosts check what they see. */
TEST(random_faults)
{
    uint64_t downs = 0;
    uint64_t frames = 0;
    for (uint64_t seed = 100; seed < 130; seed++) {
        struct prng prng;
        prng_init(&prng, seed);
        struct sim_options options = sim_options_draw(&prng);
        options.corrupt_ppm = prng_chance(&prng, 1, 2) ? (uint32_t)prng_below(&prng, 5000) : 0;
        options.segment_bytes_max = options.segment_bytes_max < 200 ? 200 : 9000;
        struct world *world = world_new_of(3, seed, &options);
        for (uint32_t i = 0; i < 3; i++) {
            host_boot(&world->hosts[i]);
            world->hosts[i].send_every_ns = (1 + prng_below(&prng, 20)) * MS;
            world->hosts[i].size_max = 30000;
        }
        for (unsigned round = 0; round < 10; round++) {
            struct host *host = &world->hosts[prng_below(&prng, 3)];
            struct host *other = &world->hosts[prng_below(&prng, 3)];
            switch (prng_below(&prng, 5)) {
            case 0:
                sim_net_block(world->sim, host->node, other->node, true);
                break;
            case 1:
                sim_net_heal(world->sim);
                break;
            case 2:
                sim_node_pause(host->node, prng_below(&prng, 5 * SECOND));
                break;
            case 3:
                if (host->peers != NULL) {
                    host_crash(host, prng_chance(&prng, 1, 2));
                }
                break;
            default:
                if (host->peers == NULL) {
                    host_boot(host);
                }
                break;
            }
            world_run(world, prng_below(&prng, 3 * SECOND));
        }
        /* Calm again: everything comes back by itself. */
        *sim_world_options(world->sim) = sim_options_calm();
        sim_net_heal(world->sim);
        for (uint32_t i = 0; i < 3; i++) {
            if (world->hosts[i].peers == NULL) {
                host_boot(&world->hosts[i]);
            }
        }
        world_run(world, 15 * SECOND);
        CHECK(all_linked(world));
        for (uint32_t i = 0; i < 3; i++) {
            downs += world->hosts[i].downs;
            frames += world->hosts[i].frames;
        }
        if (test_failures > 0) {
            printf("  seed %" PRIu64 "\n", seed);
        }
        world_free(world);
    }
    CHECK(downs > 100);
    CHECK(frames > 10000);
}

TEST_MAIN
