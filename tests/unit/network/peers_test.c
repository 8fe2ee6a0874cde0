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
    uint64_t dialed = peers_dial(host->peers, "n2", CLUSTER_PORT, PEER_BULK, 101);
    (void)seen_add(host, dialed);
    peers_tick(host->peers, peers_deadline_ns(host->peers) + 600 * SECOND);
    host_drain(host);
    CHECK_EQ(host->downs, 0);
    CHECK_EQ(peers_stats(host->peers)->links_up, 4);
    CHECK_EQ(peers_stats(host->peers)->links, 5);
    peers_tick(host->peers, peers_deadline_ns(host->peers) + 400 * MS);
    peers_tick(host->peers, peers_deadline_ns(host->peers) + 400 * MS);
    peers_tick(host->peers, peers_deadline_ns(host->peers) + 400 * MS);
    peers_tick(host->peers, peers_deadline_ns(host->peers) + 400 * MS);
    host_drain(host);
    peers_tick(host->peers, peers_deadline_ns(host->peers) + 400 * MS);
    host_drain(host);
    CHECK_EQ(host->downs, 5); /* but this was silence */
    world_free(world);
}

/* A slow wire under load is no silence: five seconds of one frame. */
TEST(slow_transfer_is_no_silence)
{
    struct world *world = world_new(2, 9);
    struct host *host = &world->hosts[0];
    world_run(world, 1 * SECOND);
    sim_world_options(world->sim)->bandwidth_bytes_per_s = 300000;
    sim_world_options(world->sim)->window_bytes = 64 << 10;
    struct seen *seen = seen_last(host, PEER_RAFT, true);
    CHECK(send_numbered(host, seen, 1500000));
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

/* ── members come and go ─────────────────────────────────────────────────────────────────────── */

TEST(removed_member_is_unlinked)
{
    struct world *world = world_new(3, 20);
    struct host *host = &world->hosts[0];
    world_run(world, 1 * SECOND);
    world->members[2].number = 999; /* not there, and nobody there has that number */
    uint32_t ups = (uint32_t)host->ups;
    peers_set_members(host->peers, world->members, 2);
    host_drain(host);
    CHECK_EQ(host->downs, 4);
    CHECK_EQ(peers_stats(host->peers)->links_up, 4);
    CHECK_EQ(peers_link(host->peers, 102, PEER_RAFT), 0);
    world_run(world, 5 * SECOND);
    CHECK_EQ(host->ups, ups); /* it dials us, in vain */
    CHECK(peers_stats(host->peers)->hellos_refused > 4);
    CHECK(peers_stats(world->hosts[2].peers)->refusals > 4);
    CHECK(strcmp(peers_trouble(world->hosts[2].peers, 100, PEER_RAFT),
                 "STRANGER: that node is no member of this cluster") == 0);
    CHECK(is_linked(world, 0, 1));
    CHECK(is_linked(world, 1, 2));
    CHECK(!is_linked(world, 2, 0));
    world->members[2] = host_member(&world->hosts[2]);
    peers_set_members(host->peers, world->members, 3);
    world_run(world, 2 * SECOND);
    CHECK(all_linked(world));
    world_free(world);
}

/* A list of members reaches us through the cluster's leader, who may be known to us by none but
 * that list: he is linked all the same, until our list is as late as his. */
TEST(member_of_a_later_list_is_linked)
{
    struct world *world = world_new(3, 23);
    struct host *host = &world->hosts[0];
    struct host *newcomer = &world->hosts[2];
    peers_set_members(host->peers, world->members, 2);
    host->options.self.epoch = 4;
    peers_set_self(host->peers, &host->options.self);
    newcomer->options.self.epoch = 4;
    peers_set_self(newcomer->peers, &newcomer->options.self);
    world_run(world, 2 * SECOND);
    CHECK(!is_linked(world, 2, 0)); /* it knows no more than we do: not a member */
    newcomer->options.self.epoch = 5;
    peers_set_self(newcomer->peers, &newcomer->options.self);
    world_run(world, 2 * SECOND);
    CHECK(all_linked(world)); /* we dial it, too */
    struct peer_member at;
    CHECK(peers_address(host->peers, newcomer->options.self.number, &at));
    CHECK_EQ(at.port, newcomer->options.self.cluster_port);
    peers_set_members(host->peers, world->members, 2); /* the same old list */
    world_run(world, 1 * SECOND);
    CHECK(all_linked(world));
    uint64_t downs = host->downs;
    host->options.self.epoch = 5;
    peers_set_self(host->peers, &host->options.self);
    peers_set_members(host->peers, world->members, 3);
    world_run(world, 1 * SECOND);
    CHECK(all_linked(world));
    CHECK_EQ(host->downs, downs);
    host->options.self.epoch = 6; /* and of the next list it is none */
    peers_set_self(host->peers, &host->options.self);
    peers_set_members(host->peers, world->members, 2);
    world_run(world, 2 * SECOND);
    CHECK(!is_linked(world, 0, 2));
    CHECK(!is_linked(world, 2, 0));
    world_free(world);
}

/* The same when the later list has another data directory under an id that we know. */
TEST(wiped_member_of_a_later_list_is_linked)
{
    struct world *world = world_new(2, 24);
    struct host *other = &world->hosts[1];
    world_run(world, 1 * SECOND);
    host_crash(other, false);
    other->options.self.incarnation += 1;
    other->options.self.epoch = 2;
    host_boot(other);
    world_run(world, 5 * SECOND);
    CHECK(all_linked(world));
    world_free(world);
}

TEST(setting_the_same_members_changes_nothing)
{
    struct world *world = world_new(3, 21);
    struct host *host = &world->hosts[0];
    world_run(world, 1 * SECOND);
    uint64_t link = peers_link(host->peers, 101, PEER_CLIENT);
    struct peer_member swapped[4] = { world->members[2], world->members[1], world->members[0],
                                      world->members[2] };
    peers_set_members(host->peers, swapped, 4);
    peers_set_self(host->peers, &host->options.self);
    world_run(world, 1 * SECOND);
    CHECK_EQ(host->downs, 0);
    CHECK_EQ(peers_link(host->peers, 101, PEER_CLIENT), link);
    /* Another address: what we dialed is dialed again; what was dialed to us stays. */
    swapped[1].port = 9999;
    peers_set_members(host->peers, swapped, 3);
    world_run(world, 1 * SECOND);
    CHECK_EQ(host->downs, 2);
    CHECK_EQ(peers_link(host->peers, 101, PEER_CLIENT), 0);
    CHECK(is_linked(world, 1, 0));
    world_free(world);
}

TEST(wiped_node_is_another_node)
{
    struct world *world = world_new(2, 22);
    struct host *host = &world->hosts[0];
    struct host *other = &world->hosts[1];
    world_run(world, 1 * SECOND);
    host_crash(other, false);
    other->options.self.incarnation += 1;
    host_boot(other);
    world_run(world, 5 * SECOND);
    CHECK(!is_linked(world, 0, 1));
    CHECK(!is_linked(world, 1, 0));
    CHECK_EQ(peers_stats(host->peers)->links_up, 0);
    CHECK(strncmp(peers_trouble(other->peers, 100, PEER_RAFT), "INCARNATION: ", 13) == 0);
    CHECK(strncmp(peers_trouble(host->peers, 101, PEER_RAFT), "the member of that id", 21) == 0);
    world->members[1] = host_member(other);
    peers_set_members(host->peers, world->members, 2);
    world_run(world, 5 * SECOND);
    CHECK(all_linked(world));
    world_free(world);
}

TEST(new_cluster_id_closes_what_was_said_with_the_old)
{
    struct world *world = world_new(2, 23);
    world_run(world, 1 * SECOND);
    for (uint32_t i = 0; i < 2; i++) {
        struct host *host = &world->hosts[i];
        host->options.self.cluster[0] = 'f';
        peers_set_self(host->peers, &host->options.self);
        host_drain(host);
        CHECK_EQ(host->downs, 4);
        world_run(world, 2 * SECOND);
        CHECK(i == 1 || strcmp(peers_trouble(host->peers, 101, PEER_CLIENT),
                               "CLUSTER: this node belongs to another cluster") == 0);
    }
    CHECK(all_linked(world));
    world_free(world);
}

/* ── joining, and other links on demand ──────────────────────────────────────────────────────── */

static struct seen *dial(struct host *host, const char *to, uint16_t port,
                         enum peer_channel channel, uint64_t number)
{
    uint64_t link = peers_dial(host->peers, to, port, channel, number);
    CHECK(link != 0);
    return seen_add(host, link);
}

static bool send_text(struct host *host, uint64_t link, const char *text)
{
    size_t size = strlen(text);
    char *body = peers_frame_begin(host->peers, link, KIND_OTHER, size);
    if (body == NULL) {
        return false;
    }
    memcpy(body, text, size);
    peers_frame_end(host->peers, link, size);
    return true;
}

static bool extra_is(const struct host *host, const char *text)
{
    return slice_equal(buffer_slice(&host->extra), slice_from(text));
}

TEST(node_without_cluster_joins)
{
    struct world *world = world_new(2, 30);
    struct host *founder = &world->hosts[0];
    struct host *joiner = &world->hosts[1];
    char cluster[33];
    memcpy(cluster, joiner->options.self.cluster, sizeof(cluster));
    joiner->options.self.cluster[0] = '\0';
    peers_set_self(joiner->peers, &joiner->options.self);
    peers_set_members(founder->peers, world->members, 1);
    world_run(world, 1 * SECOND);
    CHECK_EQ(joiner->ups, 0);

    struct seen *out = dial(joiner, "10.0.0.1", CLUSTER_PORT, PEER_JOIN, 0);
    world_run(world, 1 * SECOND);
    CHECK(out->is_up);
    CHECK_EQ(out->number, 0);
    CHECK(strcmp(out->node, "n1") == 0);
    CHECK(send_text(joiner, out->link, "let me in"));
    peers_flush(joiner->peers);
    world_run(world, 1 * SECOND);
    CHECK(extra_is(founder, "let me in"));
    struct seen *in = seen_last(founder, PEER_JOIN, false);
    CHECK(strcmp(in->node, "n2") == 0);
    CHECK(send_text(founder, in->link, "welcome"));
    peers_close_after_flush(founder->peers, in->link);
    CHECK(!in->is_down);
    CHECK(!send_text(founder, in->link, "too late"));
    world_run(world, 1 * SECOND);
    CHECK(extra_is(joiner, "welcome"));
    CHECK(in->is_down);
    CHECK(out->is_down);

    memcpy(joiner->options.self.cluster, cluster, sizeof(cluster));
    peers_set_self(joiner->peers, &joiner->options.self);
    peers_set_members(founder->peers, world->members, 2);
    world_run(world, 2 * SECOND);
    CHECK(all_linked(world));
    world_free(world);
}

TEST(join_link_survives_the_new_identity)
{
    struct world *world = world_new(2, 31);
    struct host *joiner = &world->hosts[1];
    joiner->options.self.cluster[0] = '\0';
    peers_set_self(joiner->peers, &joiner->options.self);
    struct seen *out = dial(joiner, "n1", CLUSTER_PORT, PEER_JOIN, 100);
    world_run(world, 1 * SECOND);
    joiner->options.self.cluster[0] = '0';
    peers_set_self(joiner->peers, &joiner->options.self);
    world_run(world, 10 * SECOND);
    CHECK(out->is_up && !out->is_down);
    CHECK(send_text(joiner, out->link, "still there"));
    peers_flush(joiner->peers);
    world_run(world, 1 * SECOND);
    CHECK(extra_is(&world->hosts[0], "still there"));
    CHECK(all_linked(world));
    world_free(world);
}

TEST(bulk_links_on_demand)
{
    struct world *world = world_new(3, 32);
    struct host *host = &world->hosts[0];
    world_run(world, 1 * SECOND);
    struct seen *a = dial(host, "n2", CLUSTER_PORT, PEER_BULK, 101);
    struct seen *b = dial(host, "n2", CLUSTER_PORT, PEER_BULK, 0);
    struct seen *c = dial(host, "n2", CLUSTER_PORT, PEER_BULK, 102); /* somebody else lives there */
    struct seen *d = dial(host, "n2", 1234, PEER_BULK, 101);
    struct seen *e = dial(host, "nowhere", 1234, PEER_BULK, 101);
    struct seen *f = dial(host, "n1", CLUSTER_PORT, PEER_BULK, 0);
    world_run(world, 3 * SECOND);
    CHECK(a->is_up && !a->is_down && a->number == 101);
    CHECK(b->is_up && !b->is_down && b->number == 101);
    CHECK(!c->is_up && strcmp(c->reason, "another node answered there") == 0);
    CHECK(!d->is_up && d->is_down);
    CHECK(!e->is_up && e->is_down);
    CHECK(!f->is_up && strncmp(f->reason, "SELF: ", 6) == 0);
    peers_close(host->peers, a->link);
    host_drain(host);
    CHECK(a->is_down && strcmp(a->reason, "closed") == 0);
    for (unsigned i = 0; i < 100; i++) {
        (void)send_numbered(host, b, 50000);
        peers_flush(host->peers);
    }
    CHECK(peers_queued_bytes(host->peers, b->link) <= PEER_BULK_QUEUE_BYTES_MAX + 51000);
    CHECK(b->sent < 60);
    world_run(world, 3 * SECOND);
    CHECK_EQ(world->hosts[1].frames, b->sent);
    CHECK_EQ(host->downs, 5);
    unsigned dialed = 0;
    while (dialed < 1000 && peers_dial(host->peers, "n3", 1234, PEER_BULK, 0) != 0) {
        dialed++;
    }
    CHECK_EQ(dialed, PEER_DIALED_MAX - 5); /* four to members, and b */
    peers_free(host->peers);
    host->peers = NULL;
    io_free(host->io);
    world_free(world);
}

/* ── strangers ───────────────────────────────────────────────────────────────────────────────── */

/* Somebody at the cluster port, who says what the test says. */
struct raw {
    struct sim_client *client;
    struct buffer got;
};

static struct raw raw_connect(struct world *world)
{
    return (struct raw){ sim_client_connect(world->sim, world->hosts[0].node, CLUSTER_PORT, NULL),
                         { 0 } };
}

static void raw_send(struct world *world, struct raw *raw, struct slice bytes, size_t piece)
{
    for (size_t at = 0; at < bytes.size; at += piece) {
        size_t size = piece < bytes.size - at ? piece : bytes.size - at;
        (void)sim_client_send(raw->client, slice_make(bytes.data + at, size));
        if (piece < bytes.size) {
            world_run(world, 1 * MS);
        }
    }
}

static void raw_close(struct raw *raw)
{
    sim_client_close(raw->client);
    buffer_free(&raw->got);
}

/* What comes back within a second; the connection must be closed then. */
static bool raw_refused(struct world *world, const char *line, const char *code)
{
    struct raw raw = raw_connect(world);
    world_run(world, 10 * MS);
    raw_send(world, &raw, slice_from(line), SIZE_MAX);
    world_run(world, 1 * SECOND);
    (void)sim_client_recv(raw.client, &raw.got);
    buffer_append_byte(&raw.got, '\0');
    char expected[64];
    (void)snprintf(expected, sizeof(expected), "\"code\":\"%s\"}\n", code);
    bool is_refused = strncmp(raw.got.data, "{\"success\":false,\"error\":\"", 26) == 0 &&
                      strstr(raw.got.data, expected) != NULL &&
                      sim_client_state(raw.client) == SIM_CLIENT_ENDED;
    if (!is_refused) {
        printf("  got %s\n", raw.got.data);
    }
    raw_close(&raw);
    return is_refused;
}

/* The HELLO of member n2, with something changed. */
static const char *hello_line(char *line, const struct peer_hello *hello)
{
    line[peer_hello_encode(hello, line)] = '\0';
    return line;
}

static struct peer_hello member_hello(enum peer_channel channel)
{
    struct peer_hello hello = host_hello(1);
    hello.channel = (uint8_t)channel;
    return hello;
}

/* A world of one, which believes that it has members n2 and n3. */
static struct world *lone_world(uint64_t seed)
{
    struct world *world = world_new(3, seed);
    world_run(world, 100 * MS);
    host_crash(&world->hosts[1], true);
    host_crash(&world->hosts[2], true);
    world_run(world, 4 * SECOND);
    CHECK_EQ(peers_stats(world->hosts[0].peers)->links_up, 0);
    return world;
}

TEST(strangers_get_a_clear_line)
{
    struct world *world = lone_world(40);
    struct host *host = &world->hosts[0];
    char line[PEER_HELLO_BYTES_MAX + 1];
    uint64_t ups = host->ups;
    struct peer_hello hello = member_hello(PEER_RAFT);
    hello.cluster[0] = 'f';
    CHECK(raw_refused(world, hello_line(line, &hello), "CLUSTER"));
    hello.cluster[0] = '\0';
    CHECK(raw_refused(world, hello_line(line, &hello), "CLUSTER"));
    hello = member_hello(PEER_CLIENT);
    hello.incarnation += 1;
    CHECK(raw_refused(world, hello_line(line, &hello), "INCARNATION"));
    hello = member_hello(PEER_BULK);
    hello.number = 1234;
    CHECK(raw_refused(world, hello_line(line, &hello), "STRANGER"));
    hello = member_hello(PEER_JOIN);
    hello.number = host->options.self.number;
    CHECK(raw_refused(world, hello_line(line, &hello), "SELF"));
    CHECK(
        raw_refused(world, "{\"type\":\"HELLO\",\"protocol\":9,\"new\":\"things\"}\n", "PROTOCOL"));
    CHECK(raw_refused(world, "{\"type\":\"CLIENT\",\"command\":\"PING\"}\n", "HELLO"));
    CHECK(raw_refused(world, "*1\r\n$4\r\nPING\r\n", "HELLO"));
    CHECK(raw_refused(world, "\n", "HELLO"));
    memset(line, 'x', sizeof(line));
    line[PEER_HELLO_BYTES_MAX] = '\0';
    CHECK(raw_refused(world, line, "HELLO"));
    CHECK_EQ(host->ups, ups);
    CHECK_EQ(peers_stats(host->peers)->hellos_refused, 10);
    CHECK(strstr(peers_complaint(host->peers), "raft link from ") != NULL);
    CHECK_EQ(peers_stats(host->peers)->links_up, 0);
    world_free(world);
}

TEST(silent_strangers_are_bounded_in_time_and_number)
{
    struct world *world = lone_world(41);
    struct host *host = &world->hosts[0];
    struct raw raws[PEER_STRANGERS_MAX + 8];
    for (unsigned i = 0; i < ARRAY_COUNT(raws); i++) {
        raws[i] = raw_connect(world);
        world_run(world, 5 * MS);
        raw_send(world, &raws[i], slice_from("{\"type\":"), SIZE_MAX);
    }
    world_run(world, 20 * MS);
    for (unsigned i = 0; i < ARRAY_COUNT(raws); i++) {
        bool is_pushed_out = i < 8;
        CHECK((sim_client_state(raws[i].client) == SIM_CLIENT_OPEN) == !is_pushed_out);
    }
    /* A member still gets in. */
    char line[PEER_HELLO_BYTES_MAX + 1];
    struct peer_hello hello = member_hello(PEER_RAFT);
    struct raw member = raw_connect(world);
    world_run(world, 10 * MS);
    raw_send(world, &member, slice_from(hello_line(line, &hello)), SIZE_MAX);
    world_run(world, 10 * MS);
    CHECK_EQ(peers_stats(host->peers)->links_up, 1);
    world_run(world, 2 * SECOND);
    for (unsigned i = 0; i < ARRAY_COUNT(raws); i++) {
        CHECK(sim_client_state(raws[i].client) != SIM_CLIENT_OPEN);
        raw_close(&raws[i]);
    }
    raw_close(&member);
    world_free(world);
}

TEST(joining_nodes_are_bounded)
{
    struct world *world = lone_world(42);
    struct raw raws[PEER_JOINS_MAX];
    char line[PEER_HELLO_BYTES_MAX + 1];
    struct peer_hello hello = member_hello(PEER_JOIN);
    for (unsigned i = 0; i < ARRAY_COUNT(raws); i++) {
        raws[i] = raw_connect(world);
        world_run(world, 10 * MS);
        hello.number = 1000 + i;
        raw_send(world, &raws[i], slice_from(hello_line(line, &hello)), SIZE_MAX);
    }
    world_run(world, 10 * MS);
    CHECK_EQ(peers_stats(world->hosts[0].peers)->links_up, PEER_JOINS_MAX);
    CHECK(raw_refused(world, line, "BUSY"));
    for (unsigned i = 0; i < ARRAY_COUNT(raws); i++) {
        raw_close(&raws[i]);
    }
    world_free(world);
}

TEST(newer_link_replaces_the_older)
{
    struct world *world = lone_world(43);
    struct host *host = &world->hosts[0];
    char line[PEER_HELLO_BYTES_MAX + 1];
    struct peer_hello hello = member_hello(PEER_RAFT);
    hello.boot = 5;
    struct raw first = raw_connect(world);
    raw_send(world, &first, slice_from(hello_line(line, &hello)), SIZE_MAX);
    world_run(world, 10 * MS);
    raw_send(world, &first, slice_from(hello_line(line, &hello)), SIZE_MAX);
    world_run(world, 10 * MS);
    CHECK(!seen_last(host, PEER_RAFT, false)->is_down);
    struct seen *old = seen_last(host, PEER_RAFT, false);
    hello.boot = 4;
    CHECK(raw_refused(world, hello_line(line, &hello), "STALE"));
    hello.boot = 5;
    struct raw second = raw_connect(world);
    world_run(world, 10 * MS);
    raw_send(world, &second, slice_from(hello_line(line, &hello)), SIZE_MAX);
    world_run(world, 10 * MS);
    CHECK(old->is_down);
    CHECK(seen_last(host, PEER_RAFT, false) != old);
    CHECK_EQ(peers_stats(host->peers)->links_up, 1);
    raw_close(&first);
    raw_close(&second);
    world_free(world);
}

/* ── frames from a hand-made member ──────────────────────────────────────────────────────────── */

static const struct peer_route route_of_n2 = { 0x7766554433221100, 0xabcdef0000000001,
                                               0xabcdef0000000000 };

static void frame_append(struct buffer *out, const struct peer_route *route, uint8_t kind,
                         struct slice body)
{
    char *frame = buffer_reserve(out, PEER_FRAME_HEADER_BYTES + body.size);
    memcpy(frame + PEER_FRAME_HEADER_BYTES, body.data, body.size);
    peer_frame_seal(frame, route, kind, 0, body.size);
    out->size += PEER_FRAME_HEADER_BYTES + body.size;
}

/* HELLO and bytes behind it; true when the link is still up afterwards. */
static bool raw_member_says(struct world *world, enum peer_channel channel, struct slice bytes,
                            size_t piece)
{
    char line[PEER_HELLO_BYTES_MAX + 1];
    struct peer_hello hello = member_hello(channel);
    struct raw raw = raw_connect(world);
    world_run(world, 10 * MS);
    raw_send(world, &raw, slice_from(hello_line(line, &hello)), piece);
    raw_send(world, &raw, bytes, piece);
    world_run(world, 200 * MS);
    bool is_up = peers_stats(world->hosts[0].peers)->links_up == 1;
    raw_close(&raw);
    world_run(world, 100 * MS);
    CHECK_EQ(peers_stats(world->hosts[0].peers)->links_up, 0);
    return is_up;
}

TEST(frames_in_any_pieces)
{
    static const size_t pieces[] = { 1, 2, 7, 47, 48, 49, 100, 1000, SIZE_MAX };
    struct world *world = lone_world(50);
    struct host *host = &world->hosts[0];
    struct buffer bytes = { 0 };
    for (unsigned i = 0; i < 20; i++) {
        char text[64];
        int size = snprintf(text, sizeof(text), "frame number %*u", (int)(i % 5 * 8), i);
        frame_append(&bytes, &route_of_n2, KIND_OTHER, slice_make(text, i == 9 ? 0 : (size_t)size));
    }
    for (size_t i = 0; i < ARRAY_COUNT(pieces); i++) {
        uint64_t before = host->frames;
        CHECK(raw_member_says(world, PEER_RAFT, buffer_slice(&bytes), pieces[i]));
        CHECK_EQ(host->frames - before, 20);
        CHECK(extra_is(host, "frame number                               19"));
    }
    buffer_free(&bytes);
    world_free(world);
}

TEST(frames_that_close_the_link)
{
    struct world *world = lone_world(51);
    struct host *host = &world->hosts[0];
    struct buffer bytes = { 0 };
    uint64_t bad = 0;
    for (unsigned i = 0; i < 8; i++) {
        bytes.size = 0;
        frame_append(&bytes, &route_of_n2, KIND_OTHER, slice_from("good"));
        struct peer_route route = route_of_n2;
        route.cluster += i == 0;
        route.sender += i == 1;
        route.target += i == 2;
        size_t at = bytes.size;
        frame_append(&bytes, &route, i == 3 ? 255 : i == 4 ? 240 : 1, slice_from("bad"));
        bytes.data[at + 20] ^= i == 5 ? 1 : 0;
        bytes.data[at + 50] ^= i == 6 ? 1 : 0;
        bytes.data[at] ^= i == 7 ? 1 : 0;
        uint64_t before = host->frames;
        CHECK(!raw_member_says(world, PEER_RAFT, buffer_slice(&bytes), i % 2 == 0 ? SIZE_MAX : 9));
        /* Kinds of ours are bad frames too, but not handed out. */
        CHECK_EQ(host->frames - before, 1);
        CHECK_EQ(peers_stats(host->peers)->bad_frames, ++bad);
    }
    buffer_free(&bytes);
    world_free(world);
}

TEST(strangers_send_small_frames_only)
{
    struct world *world = lone_world(52);
    struct buffer bytes = { 0 };
    char *body = mem_zalloc(PEER_JOIN_BYTES_MAX + 1);
    frame_append(&bytes, &route_of_n2, KIND_OTHER, slice_make(body, PEER_JOIN_BYTES_MAX));
    CHECK(raw_member_says(world, PEER_JOIN, buffer_slice(&bytes), SIZE_MAX));
    CHECK_EQ(world->hosts[0].extra.size, PEER_JOIN_BYTES_MAX);
    bytes.size = 0;
    frame_append(&bytes, &route_of_n2, KIND_OTHER, slice_make(body, PEER_JOIN_BYTES_MAX + 1));
    CHECK(!raw_member_says(world, PEER_JOIN, slice_make(bytes.data, 48), SIZE_MAX));
    CHECK(raw_member_says(world, PEER_BULK, buffer_slice(&bytes), SIZE_MAX));
    mem_free(body);
    buffer_free(&bytes);
    world_free(world);
}

/* ── the real machine ────────────────────────────────────────────────────────────────────────── */

static void real_turn(struct host *hosts, uint32_t count, struct prng *prng)
{
    struct io *io = hosts[0].io;
    struct io_event event;
    while (io_next(io, &event)) {
        for (uint32_t i = 0; i < count; i++) {
            if (peers_owns(hosts[i].peers, &event)) {
                peers_on_event(hosts[i].peers, &event);
                host_drain(&hosts[i]);
                break;
            }
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        peers_tick(hosts[i].peers, io_clock_ns(io));
        struct seen *seen =
            hosts[i].seen_count == 0 ? NULL : &hosts[i].seen[prng_below(prng, hosts[i].seen_count)];
        if (seen != NULL && seen->is_up && !seen->is_down) {
            (void)send_numbered(&hosts[i], seen, prng_below(prng, 200000));
        }
        peers_flush(hosts[i].peers);
        host_drain(&hosts[i]);
    }
    io_wait(io, io_clock_ns(io) + 1 * MS);
}

TEST(real_machine)
{
    enum { COUNT = 3 };
    struct io *io = io_epoll_new();
    struct host hosts[COUNT] = { 0 };
    struct peer_member members[COUNT];
    struct prng prng;
    prng_init(&prng, 60);
    for (uint32_t i = 0; i < COUNT; i++) {
        struct host *host = &hosts[i];
        host->io = io;
        host->options.self = host_hello(i);
        host->options.seed = i;
        host->seen = mem_zalloc(SEEN_MAX * sizeof(host->seen[0]));
        host->peers = peers_new(io, &host->options);
        CHECK_EQ(peers_listen(host->peers, "127.0.0.1", 0), 0);
        (void)snprintf(host->options.self.host, sizeof(host->options.self.host), "127.0.0.1");
        host->options.self.cluster_port = peers_port(host->peers);
        peers_set_self(host->peers, &host->options.self);
        members[i] = host_member(host);
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        peers_set_members(hosts[i].peers, members, COUNT);
    }
    for (unsigned turn = 0; turn < 2000 && hosts[0].frames < 1000; turn++) {
        real_turn(hosts, COUNT, &prng);
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        CHECK(hosts[i].frames > 300);
        CHECK_EQ(hosts[i].ups, 8);
        CHECK_EQ(hosts[i].downs, 0);
    }
    /* One of them ends; it is dialed in vain, comes back and is linked again. */
    uint16_t port = peers_port(hosts[2].peers);
    peers_free(hosts[2].peers);
    for (unsigned turn = 0; turn < 300; turn++) {
        real_turn(hosts, 2, &prng);
    }
    CHECK_EQ(hosts[0].downs, 4);
    CHECK_EQ(peers_link(hosts[0].peers, 102, PEER_RAFT), 0);
    hosts[2].peers = peers_new(io, &hosts[2].options);
    hosts[2].seen_count = 0;
    CHECK_EQ(peers_listen(hosts[2].peers, "127.0.0.1", port), 0);
    peers_set_members(hosts[2].peers, members, COUNT);
    for (unsigned turn = 0; turn < 3000 && hosts[0].ups < 12; turn++) {
        real_turn(hosts, COUNT, &prng);
    }
    CHECK(peers_link(hosts[0].peers, 102, PEER_RAFT) != 0);
    CHECK(peers_link(hosts[0].peers, 102, PEER_CLIENT) != 0);
    for (uint32_t i = 0; i < COUNT; i++) {
        peers_free(hosts[i].peers);
        mem_free(hosts[i].seen);
        buffer_free(&hosts[i].extra);
    }
    io_free(io);
}

TEST_MAIN
