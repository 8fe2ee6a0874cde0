/*
 * io_sim_test.c — the simulated machine keeps its promises: order, durability, determinism.
 * Read next: io_sim_disk_test.c (what crashes leave).
 */
#include "io/io_sim.h"

#include "base/buffer.h"
#include "base/mem.h"
#include "base/prng.h"
#include "sim_files.h"
#include "test.h"

#include <errno.h>

/* ── an echo server, the smallest program there is ───────────────────────────────────────────── */

enum { ECHO_CONNS_MAX = 16, ECHO_PORT = 7 };

struct echo_conn {
    struct io_socket *socket;
    struct buffer owed;
    bool ended;
};

struct echo {
    struct io *io;
    struct io_socket *listener;
    struct echo_conn conns[ECHO_CONNS_MAX];
    uint64_t received;
    int accept_errors;
};

static struct echo *echo_start(struct sim_node *node)
{
    struct echo *echo = mem_zalloc(sizeof(*echo));
    echo->io = sim_node_boot(node);
    CHECK_EQ(io_listen(echo->io, "0.0.0.0", ECHO_PORT, echo, &echo->listener), 0);
    sim_node_owner_set(node, echo);
    io_wait(echo->io, UINT64_MAX);
    return echo;
}

static void echo_conn_end(struct echo *echo, struct echo_conn *conn)
{
    io_close(echo->io, conn->socket);
    buffer_free(&conn->owed);
    *conn = (struct echo_conn){ 0 };
}

static void echo_stop(struct echo *echo)
{
    for (int i = 0; i < ECHO_CONNS_MAX; i++) {
        if (echo->conns[i].socket != NULL) {
            echo_conn_end(echo, &echo->conns[i]);
        }
    }
    io_free(echo->io);
    mem_free(echo);
}

static void echo_flush(struct echo *echo, struct echo_conn *conn)
{
    int64_t sent = io_send(echo->io, conn->socket, buffer_slice(&conn->owed));
    if (sent < 0) {
        echo_conn_end(echo, conn);
        return;
    }
    buffer_consume(&conn->owed, (size_t)sent);
    if (conn->owed.size > 10000) {
        io_recv_pause(echo->io, conn->socket);
    } else {
        io_recv_resume(echo->io, conn->socket);
    }
    if (conn->ended && conn->owed.size == 0) {
        echo_conn_end(echo, conn);
    }
}

static void echo_accept(struct echo *echo, const struct io_event *event)
{
    if (event->result < 0) {
        echo->accept_errors += 1;
        return;
    }
    for (int i = 0; i < ECHO_CONNS_MAX; i++) {
        if (echo->conns[i].socket == NULL) {
            echo->conns[i].socket = event->socket;
            io_socket_own(echo->io, event->socket, &echo->conns[i]);
            return;
        }
    }
    io_close(echo->io, event->socket);
}

static void echo_turn(struct echo *echo)
{
    struct io_event event;
    while (io_next(echo->io, &event)) {
        struct echo_conn *conn = event.owner;
        if (event.kind == IO_EVENT_ACCEPT) {
            echo_accept(echo, &event);
        } else if (event.kind == IO_EVENT_RECV && event.result > 0) {
            echo->received += (uint64_t)event.result;
            buffer_append(&conn->owed, event.data, (size_t)event.result);
            echo_flush(echo, conn);
        } else if (event.kind == IO_EVENT_RECV && event.result < 0) {
            echo_conn_end(echo, conn);
        } else {
            conn->ended = conn->ended || event.kind == IO_EVENT_RECV;
            echo_flush(echo, conn);
        }
    }
    io_wait(echo->io, UINT64_MAX);
}

/* Lets the world go on; echo servers answer. */
static struct sim_client *world_run(struct sim_world *world, uint64_t until_ns)
{
    struct sim_turn turn;
    while (sim_world_step(world, until_ns, &turn)) {
        if (turn.client != NULL) {
            return turn.client;
        }
        echo_turn(sim_node_owner(turn.node));
    }
    return NULL;
}

/* A client that sends numbered bytes and checks that they come back in order. */
static void echo_talk(struct sim_world *world, struct sim_node *node, uint64_t total)
{
    struct sim_client *client = sim_client_connect(world, node, ECHO_PORT, NULL);
    struct buffer back = { 0 };
    uint64_t sent = 0;
    uint64_t checked = 0;
    uint64_t until_ns = sim_world_now_ns(world) + 3600 * NS_PER_S;
    while (checked < total && world_run(world, until_ns) != NULL) {
        char block[4096];
        size_t size = 0;
        while (size < sizeof(block) && sent + size < total) {
            block[size] = (char)((sent + size) * 7 % 253);
            size += 1;
        }
        sent += sim_client_send(client, slice_make(block, size));
        back.size = 0;
        (void)sim_client_recv(client, &back);
        for (size_t i = 0; i < back.size; i++) {
            if (back.data[i] != (char)((checked + i) * 7 % 253)) {
                CHECK(false);
                break;
            }
        }
        checked += back.size;
    }
    CHECK_EQ(checked, total);
    CHECK_EQ(sim_client_state(client), SIM_CLIENT_OPEN);
    sim_client_close(client);
    buffer_free(&back);
}

/* ── network ─────────────────────────────────────────────────────────────────────────────────── */

TEST(bytes_arrive_in_order)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct prng prng;
        prng_init(&prng, seed);
        struct sim_options options = sim_options_draw(&prng);
        options.reset_ppm = 0;
        options.stall_ppm /= 10;
        struct sim_world *world = sim_world_new(seed, &options);
        struct sim_node *node = sim_node_new(world, "n1");
        struct echo *echo = echo_start(node);
        echo_talk(world, node, 20000 + prng_below(&prng, 30000));
        (void)world_run(world, sim_world_now_ns(world) + 3600 * NS_PER_S);
        CHECK(echo->conns[0].socket == NULL); /* it saw the client go */
        echo_stop(echo);
        sim_world_free(world);
    }
}

/* Connects two nodes with each other and with themselves; each end is an echo connection, so one
 * byte put in goes round for ever. */
TEST(nodes_talk_to_each_other)
{
    struct sim_options options = sim_options_calm();
    struct sim_world *world = sim_world_new(5, &options);
    struct sim_node *nodes[2] = { sim_node_new(world, "alpha"), sim_node_new(world, "beta") };
    struct echo *echos[2] = { echo_start(nodes[0]), echo_start(nodes[1]) };
    struct echo_conn *conn = &echos[0]->conns[9];
    CHECK_EQ(io_connect(echos[0]->io, "beta", ECHO_PORT, conn, &conn->socket), 0);
    char name[64];
    io_socket_name(echos[0]->io, conn->socket, true, name, sizeof(name));
    CHECK(strcmp(name, "10.0.0.2:7") == 0);
    buffer_append_text(&conn->owed, "x");
    (void)world_run(world, NS_PER_S);
    CHECK(echos[0]->received > 100);
    CHECK(echos[1]->received - echos[0]->received <= 1);
    struct io_socket *none = NULL;
    CHECK_EQ(io_connect(echos[0]->io, "gamma", 1, NULL, &none), -EINVAL);
    CHECK_EQ(io_listen(echos[0]->io, "beta", 1, NULL, &none), -EADDRNOTAVAIL);
    CHECK_EQ(io_listen(echos[0]->io, "alpha", ECHO_PORT, NULL, &none), -EADDRINUSE);

    uint64_t before = echos[1]->received;
    sim_net_block(world, nodes[0], nodes[1], true); /* one way is enough to stop it */
    (void)world_run(world, 2 * NS_PER_S);
    CHECK(echos[1]->received <= before + 1);
    before = echos[1]->received;
    (void)world_run(world, 12 * NS_PER_S);
    CHECK_EQ(echos[1]->received, before);
    sim_net_heal(world);
    (void)world_run(world, 20 * NS_PER_S);
    CHECK(echos[1]->received > before + 100);

    before = echos[1]->received;
    sim_net_clog(world, nodes[1], nodes[0], 5 * NS_PER_S);
    (void)world_run(world, 24 * NS_PER_S);
    CHECK(echos[1]->received <= before + 1);
    (void)world_run(world, 30 * NS_PER_S);
    CHECK(echos[1]->received > before + 100);
    echo_stop(echos[0]);
    echo_stop(echos[1]);
    sim_world_free(world);
}

/* Runs until the client's state changes or the time is up. */
static enum sim_client_state client_await(struct sim_world *world, struct sim_client *client,
                                          enum sim_client_state while_state, uint64_t duration_ns)
{
    uint64_t until_ns = sim_world_now_ns(world) + duration_ns;
    while (sim_client_state(client) == while_state && world_run(world, until_ns) != NULL) {
        /* news */
    }
    return sim_client_state(client);
}

TEST(connecting_can_fail)
{
    struct sim_options options = sim_options_calm();
    struct sim_world *world = sim_world_new(6, &options);
    struct sim_node *node = sim_node_new(world, "n1");
    struct sim_client *client = sim_client_connect(world, node, ECHO_PORT, NULL);
    CHECK_EQ(client_await(world, client, SIM_CLIENT_CONNECTING, NS_PER_S), SIM_CLIENT_BROKEN);
    sim_client_close(client);

    struct echo *echo = echo_start(node);
    client = sim_client_connect(world, node, ECHO_PORT + 1, NULL);
    CHECK_EQ(client_await(world, client, SIM_CLIENT_CONNECTING, NS_PER_S), SIM_CLIENT_BROKEN);
    sim_client_close(client);

    sim_net_block(world, NULL, node, true);
    client = sim_client_connect(world, node, ECHO_PORT, NULL);
    CHECK_EQ(client_await(world, client, SIM_CLIENT_CONNECTING, 10 * NS_PER_S),
             SIM_CLIENT_CONNECTING);
    CHECK_EQ(client_await(world, client, SIM_CLIENT_CONNECTING, 100 * NS_PER_S), SIM_CLIENT_BROKEN);
    sim_client_close(client);
    sim_net_heal(world);

    client = sim_client_connect(world, node, ECHO_PORT, NULL);
    CHECK_EQ(client_await(world, client, SIM_CLIENT_CONNECTING, NS_PER_S), SIM_CLIENT_OPEN);
    echo_stop(echo); /* a clean stop says goodbye */
    CHECK_EQ(client_await(world, client, SIM_CLIENT_OPEN, NS_PER_S), SIM_CLIENT_ENDED);
    sim_client_close(client);
    sim_world_free(world);
}

TEST(power_loss_leaves_connections_half_open)
{
    struct sim_options options = sim_options_calm();
    struct sim_world *world = sim_world_new(7, &options);
    struct sim_node *node = sim_node_new(world, "n1");
    struct echo *echo = echo_start(node);
    struct sim_client *client = sim_client_connect(world, node, ECHO_PORT, NULL);
    CHECK_EQ(client_await(world, client, SIM_CLIENT_CONNECTING, NS_PER_S), SIM_CLIENT_OPEN);
    sim_node_crash(node, /* power_loss= */ true);
    CHECK(!sim_node_is_up(node));
    echo_stop(echo);
    CHECK_EQ(sim_client_send(client, slice_from("anybody?")), 8);
    CHECK_EQ(client_await(world, client, SIM_CLIENT_OPEN, 100 * NS_PER_S), SIM_CLIENT_OPEN);
    echo = echo_start(node); /* the machine is back and knows nothing of this connection */
    CHECK_EQ(client_await(world, client, SIM_CLIENT_OPEN, 10 * NS_PER_S), SIM_CLIENT_BROKEN);
    sim_client_close(client);

    client = sim_client_connect(world, node, ECHO_PORT, NULL);
    CHECK_EQ(client_await(world, client, SIM_CLIENT_CONNECTING, NS_PER_S), SIM_CLIENT_OPEN);
    sim_node_crash(node, /* power_loss= */ false); /* the kernel lives and says goodbye */
    CHECK(client_await(world, client, SIM_CLIENT_OPEN, NS_PER_S) != SIM_CLIENT_OPEN);
    sim_client_close(client);
    echo_stop(echo);
    sim_world_free(world);
}

TEST(resets_come_to_light)
{
    struct sim_options options = sim_options_calm();
    options.reset_ppm = 20000;
    struct sim_world *world = sim_world_new(8, &options);
    struct sim_node *node = sim_node_new(world, "n1");
    struct echo *echo = echo_start(node);
    int broken = 0;
    for (int i = 0; i < 50; i++) {
        struct sim_client *client = sim_client_connect(world, node, ECHO_PORT, NULL);
        (void)client_await(world, client, SIM_CLIENT_CONNECTING, NS_PER_S);
        for (int k = 0; k < 30 && sim_client_state(client) == SIM_CLIENT_OPEN; k++) {
            (void)sim_client_send(client, slice_from("data data data"));
            (void)client_await(world, client, SIM_CLIENT_OPEN, NS_PER_S / 10);
        }
        broken += sim_client_state(client) == SIM_CLIENT_BROKEN;
        sim_client_close(client);
    }
    CHECK(broken > 5);
    CHECK(broken < 50);
    (void)world_run(world, sim_world_now_ns(world) + 100 * NS_PER_S);
    echo_stop(echo);
    sim_world_free(world);
}

/* ── datagrams ───────────────────────────────────────────────────────────────────────────────── */

struct datagrams {
    struct sim_world *world;
    struct sim_node *nodes[2];
    struct io *ios[2];
    struct io_socket *sockets[2];
};

static void datagrams_open(struct datagrams *test, const struct sim_options *options)
{
    *test = (struct datagrams){ .world = sim_world_new(31, options) };
    for (int i = 0; i < 2; i++) {
        test->nodes[i] = sim_node_new(test->world, i == 0 ? "n1" : "n2");
        test->ios[i] = sim_node_boot(test->nodes[i]);
        CHECK_EQ(io_datagram_open(test->ios[i], "0.0.0.0", 53, NULL, &test->sockets[i]), 0);
        io_wait(test->ios[i], UINT64_MAX);
    }
}

static void datagrams_close(struct datagrams *test)
{
    io_free(test->ios[0]);
    io_free(test->ios[1]);
    sim_world_free(test->world);
}

/* Sends numbers from the first to the second; what arrived: how many, how many of them damaged, and
 * how many after one that was sent later. */
static int datagrams_pass(struct datagrams *test, uint32_t count, int *out_bad, int *out_overtaken)
{
    int arrived = 0;
    uint32_t newest = 0;
    *out_bad = 0;
    *out_overtaken = 0;
    for (uint32_t i = 1; i <= count; i++) {
        uint32_t text[2] = { i, ~i };
        CHECK_EQ(io_datagram_send(test->ios[0], test->sockets[0], "n2", 53,
                                  slice_make(text, sizeof(text))),
                 0);
        struct sim_turn turn;
        uint64_t until_ns =
            sim_world_now_ns(test->world) + (i < count ? NS_PER_MS / 10 : 60 * NS_PER_S);
        while (sim_world_step(test->world, until_ns, &turn)) {
            CHECK(turn.node == test->nodes[1]);
            struct io_event event;
            while (io_next(test->ios[1], &event)) {
                uint32_t got[2];
                CHECK_EQ(event.kind, IO_EVENT_DATAGRAM);
                CHECK_EQ(event.result, sizeof(got));
                memcpy(got, event.data, sizeof(got));
                char from[32];
                io_datagram_from(test->ios[1], event.socket, from, sizeof(from));
                CHECK(strcmp(from, "10.0.0.1:53") == 0);
                arrived++;
                *out_bad += got[0] != ~got[1];
                *out_overtaken += got[0] < newest;
                newest = got[0] > newest ? got[0] : newest;
            }
            io_wait(test->ios[1], UINT64_MAX);
        }
    }
    return arrived;
}

TEST(datagrams_arrive_when_nothing_goes_wrong)
{
    struct sim_options options = sim_options_calm();
    struct datagrams test;
    int bad = 0;
    int overtaken = 0;
    datagrams_open(&test, &options);
    CHECK_EQ(datagrams_pass(&test, 1000, &bad, &overtaken), 1000);
    CHECK_EQ(bad, 0);
    CHECK(overtaken > 0); /* each has its own latency */
    struct io_socket *other = NULL;
    CHECK_EQ(io_datagram_open(test.ios[0], "0.0.0.0", 53, NULL, &other), -EADDRINUSE);
    CHECK_EQ(io_datagram_open(test.ios[0], "n2", 54, NULL, &other), -EADDRNOTAVAIL);
    CHECK_EQ(io_datagram_send(test.ios[0], test.sockets[0], "n9", 53, slice_from("x")), -EINVAL);
    datagrams_close(&test);
}

TEST(datagrams_are_lost_doubled_late_and_damaged)
{
    struct sim_options options = sim_options_calm();
    options.datagram_loss_ppm = 200000;
    options.datagram_double_ppm = 500000;
    options.datagram_late_ppm = 100000;
    options.datagram_corrupt_ppm = 100000;
    options.stall_max_ns = NS_PER_S;
    struct datagrams test;
    int bad = 0;
    int overtaken = 0;
    datagrams_open(&test, &options);
    int arrived = datagrams_pass(&test, 10000, &bad, &overtaken);
    CHECK(arrived > 11500 && arrived < 12500); /* 10000 * 1.5 * 0.8 */
    CHECK(bad > 1000 && bad < 1400);
    CHECK(overtaken > 1000);
    datagrams_close(&test);
}

TEST(datagrams_and_connections_are_blocked_apart)
{
    struct sim_options options = sim_options_calm();
    struct datagrams test;
    int bad = 0;
    int overtaken = 0;
    datagrams_open(&test, &options);
    sim_net_block_traffic(test.world, test.nodes[0], test.nodes[1], SIM_STREAMS, true);
    CHECK_EQ(datagrams_pass(&test, 10, &bad, &overtaken), 10);
    sim_net_block_traffic(test.world, test.nodes[0], test.nodes[1], SIM_DATAGRAMS, true);
    CHECK_EQ(datagrams_pass(&test, 10, &bad, &overtaken), 0);
    sim_net_heal(test.world);
    sim_net_block(test.world, test.nodes[0], test.nodes[1], true);
    CHECK_EQ(datagrams_pass(&test, 10, &bad, &overtaken), 0);
    sim_net_heal(test.world);
    sim_net_clog(test.world, test.nodes[0], test.nodes[1], NS_PER_S);
    CHECK_EQ(datagrams_pass(&test, 10, &bad, &overtaken), 10); /* later */
    io_close(test.ios[1], test.sockets[1]);
    CHECK_EQ(datagrams_pass(&test, 10, &bad, &overtaken), 0); /* nobody listens */
    datagrams_close(&test);
}

/* ── time ────────────────────────────────────────────────────────────────────────────────────── */

TEST(deadlines_and_clocks)
{
    struct sim_options options = sim_options_calm();
    struct sim_world *world = sim_world_new(9, &options);
    struct sim_node *fast = sim_node_new(world, "fast");
    struct sim_node *slow = sim_node_new(world, "slow");
    sim_node_clock_rate(fast, 1200000);
    sim_node_clock_rate(slow, 800000);
    struct sim_node *nodes[2] = { fast, slow };
    struct io *ios[2] = { sim_node_boot(fast), sim_node_boot(slow) };
    uint64_t base_ns[2] = { io_clock_ns(ios[0]), io_clock_ns(ios[1]) };
    int ticks[2] = { 0, 0 };
    io_wait(ios[0], base_ns[0] + 10 * NS_PER_MS);
    io_wait(ios[1], base_ns[1] + 10 * NS_PER_MS);
    struct sim_turn turn;
    while (sim_world_step(world, 10 * NS_PER_S, &turn)) {
        int i = turn.node == nodes[1];
        ticks[i] += 1;
        uint64_t due_ns = base_ns[i] + (uint64_t)ticks[i] * 10 * NS_PER_MS;
        CHECK(io_clock_ns(ios[i]) >= due_ns);
        CHECK(io_clock_ns(ios[i]) < due_ns + NS_PER_MS);
        io_wait(ios[i], due_ns + 10 * NS_PER_MS);
    }
    CHECK_EQ(sim_world_now_ns(world), 10 * NS_PER_S);
    CHECK_EQ(ticks[0], 1200);
    CHECK_EQ(ticks[1], 800);
    CHECK_EQ(sim_node_turns(fast), 1200);
    uint64_t wall_ms = io_wall_ms(ios[0]);
    sim_node_wall_step(fast, -3600000);
    CHECK_EQ(io_wall_ms(ios[0]), wall_ms - 3600000);
    sim_node_pause(fast, 5 * NS_PER_S);
    io_wait(ios[0], 0);
    io_wait(ios[1], UINT64_MAX);
    CHECK(sim_world_step(world, 20 * NS_PER_S, &turn));
    CHECK(turn.node == fast);
    CHECK(sim_world_now_ns(world) >= 15 * NS_PER_S);
    io_wait(ios[0], 0); /* never sleeping does not stop time */
    for (int i = 0; i < 1000; i++) {
        CHECK(sim_world_step(world, 20 * NS_PER_S, &turn));
        io_wait(ios[0], 0);
    }
    CHECK(sim_world_now_ns(world) > 15 * NS_PER_S + 1000 * options.turn_min_ns);
    io_wake(ios[1]);
    CHECK(sim_world_step(world, 20 * NS_PER_S, &turn));
    io_free(ios[0]);
    io_free(ios[1]);
    CHECK(!sim_node_is_up(fast));
    sim_world_free(world);
}

/* Code that waits for its own operations without returning to the driver. */
TEST(nested_waits_end)
{
    struct sim_options options = sim_options_calm();
    struct sim_world *world = sim_world_new(10, &options);
    struct sim_node *node = sim_node_new(world, "n1");
    struct io *io = sim_node_boot(node);
    int file = file_open(io, "f", IO_FILE_RDWR | IO_FILE_CREATE);
    struct io_file_op ops[3];
    char byte = 'x';
    for (int i = 0; i < 3; i++) {
        ops[i] = (struct io_file_op){
            .kind = IO_FILE_WRITE, .file = file, .data = &byte, .size = 1, .offset = (uint64_t)i
        };
        io_file_submit(io, &ops[i]);
    }
    int ended = 0;
    for (int i = 0; i < 1000 && ended < 3; i++) {
        struct io_event event;
        io_wait(io, UINT64_MAX);
        ended += io_next(io, &event);
    }
    CHECK_EQ(ended, 3);
    uint64_t deadline_ns = io_clock_ns(io) + NS_PER_S;
    for (int i = 0; i < 1000 && io_clock_ns(io) < deadline_ns; i++) {
        io_wait(io, deadline_ns);
    }
    CHECK(io_clock_ns(io) >= deadline_ns);
    io_free(io);
    CHECK(disk_has(node, "f", SIM_DISK_CACHE, "xxx"));
    sim_world_free(world);
}

/* ── determinism ─────────────────────────────────────────────────────────────────────────────── */

/* A scene with a bit of everything; its fingerprint. */
static uint64_t scene(uint64_t seed)
{
    struct prng prng;
    prng_init(&prng, seed);
    struct sim_options options = sim_options_draw(&prng);
    struct sim_world *world = sim_world_new(seed, &options);
    struct sim_node *node = sim_node_new(world, "n1");
    struct echo *echo = echo_start(node);
    struct sim_client *clients[4] = { 0 };
    struct buffer got = { 0 };
    char block[600];
    for (int i = 0; i < 300; i++) {
        struct sim_client **client = &clients[prng_below(&prng, 4)];
        if (*client == NULL) {
            *client = sim_client_connect(world, node, ECHO_PORT, NULL);
        } else if (prng_chance(&prng, 1, 20)) {
            sim_client_close(*client);
            *client = NULL;
        } else {
            memset(block, i, sizeof(block));
            (void)sim_client_send(*client, slice_make(block, prng_below(&prng, sizeof(block))));
            (void)sim_client_recv(*client, &got);
        }
        if (prng_chance(&prng, 1, 40)) {
            sim_node_crash(node, prng_chance(&prng, 1, 2));
            echo_stop(echo);
            echo = echo_start(node);
        }
        int file = file_open(echo->io, "f", IO_FILE_RDWR | IO_FILE_CREATE);
        if (file >= 0) {
            (void)file_write(echo->io, file, block, sizeof(block), prng_below(&prng, 2000));
            (void)file_close(echo->io, file);
        }
        (void)world_run(world, sim_world_now_ns(world) + prng_below(&prng, 20 * NS_PER_MS));
    }
    echo_stop(echo);
    uint64_t hash = sim_trace_hash(world);
    sim_world_free(world);
    buffer_free(&got);
    return hash;
}

TEST(same_seed_same_world)
{
    uint64_t seen[30];
    for (uint64_t seed = 0; seed < 30; seed++) {
        seen[seed] = scene(seed);
        void *shift = mem_alloc(1000 + seed * 64); /* other addresses must not matter */
        CHECK_EQ(scene(seed), seen[seed]);
        mem_free(shift);
        for (uint64_t other = 0; other < seed; other++) {
            CHECK(seen[seed] != seen[other]);
        }
    }
}

TEST_MAIN
