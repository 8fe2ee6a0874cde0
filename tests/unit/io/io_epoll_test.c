/*
 * io_epoll_test.c — the real machine: loopback sockets, worker threads, files in a scratch folder.
 *
 * Nothing here asserts how long something takes; loops are bounded by a generous deadline so that
 * a lost event fails the test instead of hanging it.
 */
#include "io/io.h"

#include "base/buffer.h"
#include "base/mem.h"
#include "base/prng.h"
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static const uint64_t NS_PER_S = 1000000000;

static uint64_t soon(struct io *io)
{
    return io_clock_ns(io) + NS_PER_S / 10;
}

/* Waits for the next event, for at most ten seconds. */
static bool event_await(struct io *io, struct io_event *event)
{
    for (int i = 0; i < 100; i++) {
        if (io_next(io, event)) {
            return true;
        }
        io_wait(io, soon(io));
    }
    return io_next(io, event);
}

static struct io_event event_expect(struct io *io, enum io_event_kind kind)
{
    struct io_event event = { 0 };
    bool came = event_await(io, &event);
    CHECK(came);
    CHECK_EQ(event.kind, kind);
    return event;
}

static bool nothing_comes(struct io *io)
{
    struct io_event event;
    for (int i = 0; i < 3; i++) {
        io_wait(io, io_clock_ns(io) + NS_PER_S / 100);
        if (io_next(io, &event)) {
            return false;
        }
    }
    return true;
}

/* A connection within one io: `client` connected to `server` through a listener. */
struct pair {
    struct io *io;
    struct io_socket *listener;
    struct io_socket *client;
    struct io_socket *server;
    int client_owner;
    int server_owner;
    int listener_owner;
};

static void pair_open(struct pair *pair, const char *host)
{
    *pair = (struct pair){ .io = io_epoll_new() };
    CHECK_EQ(io_listen(pair->io, host, 0, &pair->listener_owner, &pair->listener), 0);
    uint16_t port = io_socket_port(pair->io, pair->listener);
    CHECK(port != 0);
    CHECK_EQ(io_connect(pair->io, host, port, &pair->client_owner, &pair->client), 0);
    for (int i = 0; i < 2; i++) {
        struct io_event event = { 0 };
        CHECK(event_await(pair->io, &event));
        CHECK_EQ(event.result, 0);
        if (event.kind == IO_EVENT_ACCEPT) {
            CHECK(event.owner == &pair->listener_owner);
            pair->server = event.socket;
            io_socket_own(pair->io, pair->server, &pair->server_owner);
        } else {
            CHECK_EQ(event.kind, IO_EVENT_CONNECT);
            CHECK(event.owner == &pair->client_owner);
            CHECK(event.socket == pair->client);
        }
    }
    CHECK(pair->server != NULL);
}

static void pair_close(struct pair *pair)
{
    io_free(pair->io);
}

TEST(echo_both_ways)
{
    struct pair pair;
    pair_open(&pair, "127.0.0.1");
    CHECK_EQ(io_send(pair.io, pair.client, slice_from("hello")), 5);
    struct io_event event = event_expect(pair.io, IO_EVENT_RECV);
    CHECK(event.owner == &pair.server_owner);
    CHECK_EQ(event.result, 5);
    CHECK(memcmp(event.data, "hello", 5) == 0);
    CHECK_EQ(io_send(pair.io, pair.server, slice_make(event.data, 5)), 5);
    event = event_expect(pair.io, IO_EVENT_RECV);
    CHECK(event.owner == &pair.client_owner);
    CHECK(memcmp(event.data, "hello", 5) == 0);
    CHECK(nothing_comes(pair.io));
    pair_close(&pair);
}

TEST(names_and_ports)
{
    static const char *const hosts[] = { "127.0.0.1", "::1", "localhost" };
    for (int i = 0; i < 3; i++) {
        struct pair pair;
        pair_open(&pair, hosts[i]);
        char name[64];
        char expected[64];
        const char *shown = i == 1 ? "[::1]" : "127.0.0.1";
        (void)snprintf(expected, sizeof(expected), "%s:%u", shown,
                       io_socket_port(pair.io, pair.listener));
        io_socket_name(pair.io, pair.server, false, name, sizeof(name));
        CHECK(strcmp(name, expected) == 0);
        io_socket_name(pair.io, pair.client, true, name, sizeof(name));
        CHECK(strcmp(name, expected) == 0);
        (void)snprintf(expected, sizeof(expected), "%s:%u", shown,
                       io_socket_port(pair.io, pair.client));
        io_socket_name(pair.io, pair.server, true, name, sizeof(name));
        CHECK(strcmp(name, expected) == 0);
        CHECK(io_socket_descriptor(pair.io, pair.server) >= 0);
        io_socket_name(pair.io, pair.server, true, name, 4);
        CHECK_EQ(strlen(name), 3);
        pair_close(&pair);
    }
}

TEST(bad_addresses_are_refused)
{
    struct io *io = io_epoll_new();
    struct io_socket *socket = NULL;
    CHECK_EQ(io_listen(io, "no.such.host", 0, NULL, &socket), -EINVAL);
    CHECK_EQ(io_listen(io, "", 0, NULL, &socket), -EINVAL);
    CHECK_EQ(io_connect(io, "300.1.1.1", 1, NULL, &socket), -EINVAL);
    CHECK(io_listen(io, "192.0.2.1", 0, NULL, &socket) < 0); /* not one of ours */
    CHECK_EQ(io_listen(io, "127.0.0.1", 0, NULL, &socket), 0);
    struct io_socket *second = NULL;
    CHECK_EQ(io_listen(io, "127.0.0.1", io_socket_port(io, socket), NULL, &second), -EADDRINUSE);
    io_free(io);
}

TEST(connect_refused_is_an_event)
{
    struct io *io = io_epoll_new();
    struct io_socket *listener = NULL;
    struct io_socket *client = NULL;
    CHECK_EQ(io_listen(io, "127.0.0.1", 0, NULL, &listener), 0);
    uint16_t port = io_socket_port(io, listener);
    io_close(io, listener);
    int owner = 0;
    int result = io_connect(io, "127.0.0.1", port, &owner, &client);
    if (result == 0) {
        struct io_event event = event_expect(io, IO_EVENT_CONNECT);
        CHECK_EQ(event.result, -ECONNREFUSED);
        CHECK(event.owner == &owner);
        CHECK(nothing_comes(io));
        io_close(io, client);
    } else {
        CHECK_EQ(result, -ECONNREFUSED);
    }
    io_free(io);
}

/* Sends until the socket takes no more; returns what it took. */
static uint64_t send_until_full(struct io *io, struct io_socket *socket, struct prng *prng)
{
    char *block = mem_alloc(1 << 16);
    uint64_t total = 0;
    for (;;) {
        size_t size = 1 + (size_t)prng_below(prng, 1 << 16);
        for (size_t i = 0; i < size; i++) {
            block[i] = (char)((total + i) * 31 % 251);
        }
        int64_t sent = io_send(io, socket, slice_make(block, size));
        CHECK(sent >= 0);
        total += (uint64_t)sent;
        if (sent < (int64_t)size) {
            break;
        }
    }
    mem_free(block);
    return total;
}

TEST(backpressure)
{
    struct pair pair;
    pair_open(&pair, "127.0.0.1");
    struct prng prng;
    prng_init(&prng, 1);
    io_recv_pause(pair.io, pair.server);
    uint64_t sent = send_until_full(pair.io, pair.client, &prng);
    CHECK(sent > 0);
    CHECK(nothing_comes(pair.io)); /* full, and nobody reads */
    io_recv_resume(pair.io, pair.server);
    uint64_t received = 0;
    int ready = 0;
    while ((received < sent || ready == 0) && test_failures == 0) {
        struct io_event event = { 0 };
        CHECK(event_await(pair.io, &event));
        if (event.kind == IO_EVENT_SEND_READY) {
            CHECK(event.owner == &pair.client_owner);
            ready += 1;
            continue;
        }
        CHECK_EQ(event.kind, IO_EVENT_RECV);
        CHECK(event.result > 0);
        for (int64_t i = 0; i < event.result; i++) {
            if (event.data[i] != (char)((received + (uint64_t)i) * 31 % 251)) {
                CHECK(false);
                break;
            }
        }
        received += (uint64_t)event.result;
    }
    CHECK_EQ(received, sent);
    CHECK_EQ(ready, 1); /* once per short send */
    CHECK(nothing_comes(pair.io));
    pair_close(&pair);
}

TEST(short_sends_go_on_when_paused_too)
{
    struct pair pair;
    pair_open(&pair, "127.0.0.1");
    struct prng prng;
    prng_init(&prng, 2);
    io_recv_pause(pair.io, pair.client);
    CHECK_EQ(io_send(pair.io, pair.server, slice_from("unread")), 6);
    CHECK(nothing_comes(pair.io)); /* readiness nobody wants was seen: interest is dropped */
    for (int round = 0; round < 3; round++) {
        io_recv_pause(pair.io, pair.server);
        uint64_t sent = send_until_full(pair.io, pair.client, &prng);
        (void)sent;
        CHECK(nothing_comes(pair.io));
        io_recv_resume(pair.io, pair.server);
        bool ready = false;
        while (!ready && test_failures == 0) {
            struct io_event event = { 0 };
            CHECK(event_await(pair.io, &event));
            ready = event.kind == IO_EVENT_SEND_READY;
        }
        CHECK(ready);
        struct io_event event;
        io_wait(pair.io, 0);
        while (io_next(pair.io, &event)) {
            CHECK_EQ(event.kind, IO_EVENT_RECV);
            io_wait(pair.io, soon(pair.io));
        }
    }
    io_recv_resume(pair.io, pair.client);
    struct io_event event = event_expect(pair.io, IO_EVENT_RECV);
    CHECK(event.owner == &pair.client_owner);
    CHECK_EQ(event.result, 6);
    pair_close(&pair);
}

TEST(pause_and_resume)
{
    struct pair pair;
    pair_open(&pair, "127.0.0.1");
    for (int i = 0; i < 20; i++) {
        io_recv_pause(pair.io, pair.server);
        CHECK_EQ(io_send(pair.io, pair.client, slice_from("x")), 1);
        if (i % 2 == 0) {
            CHECK(nothing_comes(pair.io));
        }
        io_recv_resume(pair.io, pair.server);
        struct io_event event = event_expect(pair.io, IO_EVENT_RECV);
        CHECK_EQ(event.result, 1);
    }
    pair_close(&pair);
}

TEST(peer_closes)
{
    struct pair pair;
    pair_open(&pair, "127.0.0.1");
    CHECK_EQ(io_send(pair.io, pair.client, slice_from("bye")), 3);
    io_close(pair.io, pair.client);
    struct io_event event = event_expect(pair.io, IO_EVENT_RECV);
    CHECK_EQ(event.result, 3);
    event = event_expect(pair.io, IO_EVENT_RECV);
    CHECK_EQ(event.result, 0);
    CHECK(nothing_comes(pair.io)); /* said once, no spinning */
    int64_t sent = 0;
    for (int i = 0; i < 100 && sent >= 0; i++) {
        sent = io_send(pair.io, pair.server, slice_from("to nobody"));
        io_wait(pair.io, soon(pair.io) / 1000);
    }
    CHECK(sent == -EPIPE || sent == -ECONNRESET);
    io_close(pair.io, pair.server);
    pair_close(&pair);
}

/* A peer that resets while we are paused: silence until we resume, then the error or the end. */
TEST(reset_while_paused_does_not_spin)
{
    struct pair pair;
    pair_open(&pair, "127.0.0.1");
    io_recv_pause(pair.io, pair.server);
    struct linger linger = { .l_onoff = 1 };
    int fd = io_socket_descriptor(pair.io, pair.client);
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    io_close(pair.io, pair.client); /* linger 0: sends RST */
    CHECK(nothing_comes(pair.io));
    uint64_t wakes = 0;
    uint64_t until = io_clock_ns(pair.io) + NS_PER_S / 20;
    while (io_clock_ns(pair.io) < until) {
        struct io_event event;
        io_wait(pair.io, until);
        CHECK(!io_next(pair.io, &event));
        wakes += 1;
    }
    CHECK(wakes < 5);
    io_recv_resume(pair.io, pair.server);
    struct io_event event = event_expect(pair.io, IO_EVENT_RECV);
    CHECK_EQ(event.result, -ECONNRESET);
    CHECK(nothing_comes(pair.io));
    pair_close(&pair);
}

/* Every event of a batch closes another connection of the same batch. */
TEST(close_during_iteration)
{
    enum { CLIENTS = 50 };
    struct io *io = io_epoll_new();
    struct io_socket *listener = NULL;
    struct io_socket *clients[CLIENTS];
    struct io_socket *servers[CLIENTS];
    int owners[CLIENTS];
    int accepted = 0;
    int connected = 0;
    CHECK_EQ(io_listen(io, "127.0.0.1", 0, NULL, &listener), 0);
    for (int i = 0; i < CLIENTS; i++) {
        CHECK_EQ(io_connect(io, "127.0.0.1", io_socket_port(io, listener), NULL, &clients[i]), 0);
    }
    struct io_event event;
    while ((accepted < CLIENTS || connected < CLIENTS) && event_await(io, &event)) {
        if (event.kind == IO_EVENT_CONNECT) {
            connected += 1;
        } else {
            servers[accepted] = event.socket;
            owners[accepted] = accepted;
            io_socket_own(io, event.socket, &owners[accepted]);
            accepted += 1;
        }
    }
    for (int i = 0; i < CLIENTS; i++) {
        CHECK_EQ(io_send(io, clients[i], slice_from("x")), 1);
    }
    bool closed[CLIENTS] = { false };
    int received = 0;
    int open = CLIENTS;
    while (open > 0 && event_await(io, &event)) {
        if (event.owner == NULL) {
            continue; /* a client sees its server go */
        }
        int at = *(int *)event.owner;
        CHECK(!closed[at]);
        received += 1;
        int victim = at;
        for (int i = 1; i < CLIENTS && open > 0; i++) { /* itself and the next in line */
            victim = (at + i) % CLIENTS;
            if (!closed[victim] && victim != at) {
                closed[victim] = true;
                open -= 1;
                io_close(io, servers[victim]);
                break;
            }
        }
        closed[at] = true;
        open -= 1;
        io_close(io, servers[at]);
    }
    CHECK_EQ(received, CLIENTS / 2);
    io_free(io);
}

static void *wake_main(void *argument)
{
    for (int i = 0; i < 1000; i++) {
        io_wake(argument);
    }
    return NULL;
}

TEST(wake_from_another_thread)
{
    struct io *io = io_epoll_new();
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, wake_main, io), 0);
    (void)event_expect(io, IO_EVENT_WAKE);
    struct io_event event;
    for (int i = 0; i < 100; i++) {
        io_wait(io, io_clock_ns(io) + 10000);
        while (io_next(io, &event)) {
            CHECK_EQ(event.kind, IO_EVENT_WAKE);
        }
    }
    CHECK_EQ(pthread_join(thread, NULL), 0);
    io_wait(io, 0);
    while (io_next(io, &event)) {
        CHECK_EQ(event.kind, IO_EVENT_WAKE);
    }
    CHECK(nothing_comes(io));
    io_wake(io); /* before the wait: must not be lost, not even with an endless deadline */
    io_wait(io, UINT64_MAX);
    CHECK(io_next(io, &event));
    CHECK_EQ(event.kind, IO_EVENT_WAKE);
    io_free(io);
}

TEST(wait_reaches_its_deadline)
{
    struct io *io = io_epoll_new();
    for (int i = 0; i < 20; i++) {
        uint64_t deadline_ns = io_clock_ns(io) + 300000;
        io_wait(io, deadline_ns);
        CHECK(io_clock_ns(io) >= deadline_ns);
    }
    io_wait(io, 0);
    io_wait(io, 1); /* long past */
    uint64_t a = io_random(io);
    bool differs = false;
    for (int i = 0; i < 200; i++) {
        differs = differs || io_random(io) != a;
    }
    CHECK(differs);
    CHECK(io_wall_ms(io) > 1600000000000u);
    char boot[IO_MACHINE_BOOT_BYTES];
    char again[IO_MACHINE_BOOT_BYTES];
    io_machine_boot(io, boot);
    io_machine_boot(io, again);
    CHECK_EQ(strlen(boot), 36);
    CHECK(strcmp(boot, again) == 0);
    io_free(io);
}

TEST(descriptors_run_out)
{
    struct io *io = io_epoll_new();
    struct io_socket *listener = NULL;
    int owner = 0;
    CHECK_EQ(io_listen(io, "127.0.0.1", 0, &owner, &listener), 0);
    int raw[3];
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons(io_socket_port(io, listener)),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    for (int i = 0; i < 3; i++) {
        raw[i] = socket(AF_INET, SOCK_STREAM, 0);
    }
    struct rlimit before;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = { .rlim_cur = (rlim_t)raw[2] + 1, .rlim_max = before.rlim_max };
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(connect(raw[i], (const struct sockaddr *)&to, sizeof(to)), 0);
    }
    struct io_event event = event_expect(io, IO_EVENT_ACCEPT);
    CHECK_EQ(event.result, -EMFILE);
    CHECK(event.owner == &owner);
    CHECK(nothing_comes(io)); /* rests, does not spin */
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (int i = 0; i < 3; i++) {
        do { /* a slow machine may see the error once more */
            event = event_expect(io, IO_EVENT_ACCEPT);
        } while (event.result == -EMFILE);
        CHECK_EQ(event.result, 0);
        io_socket_own(io, event.socket, NULL);
        (void)close(raw[i]);
    }
    CHECK(io_connections_limit(io, 10) == 10);
    CHECK(io_connections_limit(io, UINT32_MAX) > 0);
    io_free(io);
}

/* ── files ───────────────────────────────────────────────────────────────────────────────────── */

struct scratch {
    struct io *io;
    char dir[64];
    char path[128];
    char path_to[128];
};

static void scratch_open(struct scratch *scratch)
{
    *scratch = (struct scratch){ .io = io_epoll_new(), .dir = "/tmp/minidb-io-XXXXXX" };
    CHECK(mkdtemp(scratch->dir) != NULL);
    (void)snprintf(scratch->path, sizeof(scratch->path), "%s/file", scratch->dir);
    (void)snprintf(scratch->path_to, sizeof(scratch->path_to), "%s/other", scratch->dir);
}

static void scratch_close(struct scratch *scratch)
{
    (void)unlink(scratch->path);
    (void)unlink(scratch->path_to);
    CHECK_EQ(rmdir(scratch->dir), 0);
    io_free(scratch->io);
}

static int64_t run(struct io *io, struct io_file_op op)
{
    return io_file_run(io, &op);
}

static int file_create(struct scratch *scratch)
{
    int64_t file = run(scratch->io, (struct io_file_op){ .kind = IO_FILE_OPEN,
                                                         .path = scratch->path,
                                                         .flags = IO_FILE_RDWR | IO_FILE_CREATE });
    CHECK(file >= 0);
    return (int)file;
}

TEST(files_synchronously)
{
    struct scratch scratch;
    scratch_open(&scratch);
    struct io *io = scratch.io;
    CHECK_EQ(run(io, (struct io_file_op){ .kind = IO_FILE_OPEN, .path = scratch.path }), -ENOENT);
    int file = file_create(&scratch);
    CHECK_EQ(run(io, (struct io_file_op){ .kind = IO_FILE_OPEN,
                                          .path = scratch.path,
                                          .flags = IO_FILE_CREATE | IO_FILE_EXCLUSIVE }),
             -EEXIST);
    char text[] = "0123456789";
    CHECK_EQ(run(io, (struct io_file_op){ .kind = IO_FILE_WRITE,
                                          .flags = IO_FILE_THEN_SYNC,
                                          .file = file,
                                          .data = text,
                                          .size = 10,
                                          .offset = 5 }),
             0);
    CHECK_EQ(run(io, (struct io_file_op){ .kind = IO_FILE_SIZE, .file = file }), 15);
    char back[32] = { 0 };
    CHECK_EQ(run(io,
                 (struct io_file_op){
                     .kind = IO_FILE_READ, .file = file, .data = back, .size = 32, .offset = 3 }),
             12);
    CHECK(memcmp(back,
                 "\0\0"
                 "0123456789",
                 12) == 0);
    CHECK_EQ(run(io,
                 (struct io_file_op){
                     .kind = IO_FILE_ZERO, .file = file, .offset = 7, .size = 1000000 }),
             0);
    CHECK_EQ(run(io, (struct io_file_op){ .kind = IO_FILE_SIZE, .file = file }), 1000007);
    CHECK_EQ(run(io,
                 (struct io_file_op){
                     .kind = IO_FILE_READ, .file = file, .data = back, .size = 4, .offset = 5 }),
             4);
    CHECK(memcmp(back, "01\0\0", 4) == 0);
    CHECK_EQ(run(io, (struct io_file_op){ .kind = IO_FILE_TRUNCATE, .file = file, .offset = 6 }),
             0);
    CHECK_EQ(run(io, (struct io_file_op){ .kind = IO_FILE_SYNC, .file = file }), 0);
    CHECK_EQ(run(io, (struct io_file_op){ .kind = IO_FILE_SIZE, .file = file }), 6);
    CHECK_EQ(run(io, (struct io_file_op){ .kind = IO_FILE_CLOSE, .file = file }), 0);
    CHECK_EQ(run(io, (struct io_file_op){ .kind = IO_FILE_CLOSE, .file = file }), -EBADF);
    CHECK_EQ(run(io, (struct io_file_op){ .kind = IO_FILE_RENAME,
                                          .path = scratch.path,
                                          .path_to = scratch.path_to }),
             0);
    CHECK_EQ(run(io, (struct io_file_op){ .kind = IO_FILE_SYNC_DIR, .path = scratch.dir }), 0);
    CHECK_EQ(run(io, (struct io_file_op){ .kind = IO_FILE_UNLINK, .path = scratch.path }), -ENOENT);
    CHECK(run(io, (struct io_file_op){ .kind = IO_FILE_FREE_SPACE, .path = scratch.dir }) > 0);
    scratch_close(&scratch);
}

TEST(directories)
{
    struct scratch scratch;
    scratch_open(&scratch);
    struct io *io = scratch.io;
    struct io_file_op make = { .kind = IO_FILE_MKDIR, .path = scratch.path };
    CHECK_EQ(run(io, make), 0);
    CHECK_EQ(run(io, make), 0);
    char names[6][160];
    static const char *const order[] = { "10", "2", "a", "aa", "b", "z" };
    for (int i = 0; i < 6; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "%s/%s", scratch.path, order[(i * 5 + 2) % 6]);
        int64_t file = run(io, (struct io_file_op){ .kind = IO_FILE_OPEN,
                                                    .path = names[i],
                                                    .flags = IO_FILE_RDWR | IO_FILE_CREATE });
        CHECK_EQ(run(io, (struct io_file_op){ .kind = IO_FILE_CLOSE, .file = (int)file }), 0);
    }
    struct buffer list = { 0 };
    buffer_append_text(&list, "what was there before");
    struct io_file_op op = { .kind = IO_FILE_LIST, .path = scratch.path, .list = &list };
    CHECK_EQ(run(io, op), 6);
    CHECK_EQ(list.size, 14);
    CHECK(memcmp(list.data,
                 "10\0"
                 "2\0"
                 "a\0"
                 "aa\0"
                 "b\0"
                 "z",
                 14) == 0);
    for (int i = 0; i < 6; i++) {
        CHECK_EQ(run(io, (struct io_file_op){ .kind = IO_FILE_UNLINK, .path = names[i] }), 0);
    }
    CHECK_EQ(run(io, op), 0);
    CHECK_EQ(list.size, 0);
    buffer_free(&list);
    CHECK_EQ(rmdir(scratch.path), 0);
    op.path = scratch.path;
    CHECK_EQ(run(io, op), -ENOENT);
    make.path = scratch.path_to;
    int64_t file = run(io, (struct io_file_op){ .kind = IO_FILE_OPEN,
                                                .path = scratch.path_to,
                                                .flags = IO_FILE_RDWR | IO_FILE_CREATE });
    CHECK_EQ(run(io, make), -EEXIST); /* it is a file */
    CHECK_EQ(run(io, (struct io_file_op){ .kind = IO_FILE_CLOSE, .file = (int)file }), 0);
    scratch_close(&scratch);
}

TEST(lock_is_exclusive)
{
    struct scratch scratch;
    scratch_open(&scratch);
    int first = file_create(&scratch);
    int second = file_create(&scratch);
    struct io_file_op lock = { .kind = IO_FILE_LOCK, .file = first };
    CHECK_EQ(run(scratch.io, lock), 0);
    lock.file = second;
    CHECK_EQ(run(scratch.io, lock), -EWOULDBLOCK);
    CHECK_EQ(run(scratch.io, (struct io_file_op){ .kind = IO_FILE_CLOSE, .file = first }), 0);
    CHECK_EQ(run(scratch.io, lock), 0);
    CHECK_EQ(run(scratch.io, (struct io_file_op){ .kind = IO_FILE_CLOSE, .file = second }), 0);
    scratch_close(&scratch);
}

/* Many operations at once on both lanes; each comes back exactly once with its own result. */
TEST(files_submitted)
{
    enum { OPS = 64, ROUNDS = 20 };
    struct scratch scratch;
    scratch_open(&scratch);
    int file = file_create(&scratch);
    struct io_file_op ops[OPS];
    uint32_t values[OPS];
    for (int round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < OPS; i++) {
            values[i] = i * 1000 + (uint32_t)round;
            ops[i] = (struct io_file_op){ .kind = IO_FILE_WRITE,
                                          .flags = i % 3 == 0 ? IO_FILE_BULK : IO_FILE_RDONLY,
                                          .file = i % 16 == 15 ? -1 : file,
                                          .data = &values[i],
                                          .size = sizeof(values[i]),
                                          .offset = i * sizeof(values[i]),
                                          .owner = &ops[i],
                                          .result = 12345 };
            io_file_submit(scratch.io, &ops[i]);
        }
        for (int i = 0; i < OPS; i++) {
            struct io_event event = event_expect(scratch.io, IO_EVENT_FILE);
            CHECK(event.owner == event.file_op);
            CHECK_EQ(event.result, event.file_op->result);
            CHECK_EQ(event.result, (event.file_op - ops) % 16 == 15 ? -EBADF : 0);
            event.file_op->owner = NULL; /* a second time would fail above */
        }
        struct io_event event;
        CHECK(!io_next(scratch.io, &event));
    }
    uint32_t back[OPS] = { 0 };
    struct io_file_op read = {
        .kind = IO_FILE_READ, .file = file, .data = back, .size = sizeof(back), .owner = &read
    };
    io_file_submit(scratch.io, &read);
    (void)event_expect(scratch.io, IO_EVENT_FILE);
    for (uint32_t i = 0; i < OPS; i++) {
        CHECK_EQ(back[i], i % 16 == 15 ? 0 : i * 1000 + ROUNDS - 1);
    }
    CHECK_EQ(run(scratch.io, (struct io_file_op){ .kind = IO_FILE_CLOSE, .file = file }), 0);
    scratch_close(&scratch);
}

/* One at a time, the way the log does it: the wake of a sleeping loop must never be lost. */
TEST(files_ping_pong)
{
    struct scratch scratch;
    scratch_open(&scratch);
    int file = file_create(&scratch);
    char byte = 'x';
    struct io_file_op op = { .kind = IO_FILE_WRITE, .file = file, .data = &byte, .size = 1 };
    for (int i = 0; i < 5000 && test_failures == 0; i++) {
        op.offset = (uint64_t)i;
        io_file_submit(scratch.io, &op);
        io_wait(scratch.io, io_clock_ns(scratch.io) + 10 * NS_PER_S);
        struct io_event event = { 0 };
        int empty = 0; /* a wake that came too late for the last round wakes this one in vain */
        while (!io_next(scratch.io, &event) && empty++ < 10) {
            io_wait(scratch.io, io_clock_ns(scratch.io) + 10 * NS_PER_S);
        }
        CHECK_EQ(event.kind, IO_EVENT_FILE);
        CHECK_EQ(event.result, 0);
    }
    CHECK_EQ(run(scratch.io, (struct io_file_op){ .kind = IO_FILE_SIZE, .file = file }), 5000);
    CHECK_EQ(run(scratch.io, (struct io_file_op){ .kind = IO_FILE_CLOSE, .file = file }), 0);
    scratch_close(&scratch);
}

/* io_free waits for what was submitted. */
/* ── datagrams ───────────────────────────────────────────────────────────────────────────────── */

static void datagrams_pass(const char *host)
{
    struct io *io = io_epoll_new();
    struct io_socket *ends[2];
    int owners[2];
    char large[9000];
    char from[64];
    char expected[64];
    memset(large, 'd', sizeof(large));
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(io_datagram_open(io, host, 0, &owners[i], &ends[i]), 0);
    }
    uint16_t port = io_socket_port(io, ends[1]);
    CHECK_EQ(io_datagram_send(io, ends[0], host, port, slice_from("ping")), 0);
    CHECK_EQ(io_datagram_send(io, ends[0], host, port, slice_make("", 0)), 0);
    CHECK_EQ(io_datagram_send(io, ends[0], host, port, slice_make(large, sizeof(large))), 0);
    const int64_t sizes[] = { 4, 0, sizeof(large) };
    for (int i = 0; i < 3; i++) { /* each is whole, and loopback keeps their order */
        struct io_event event = event_expect(io, IO_EVENT_DATAGRAM);
        CHECK(event.owner == &owners[1]);
        CHECK(event.socket == ends[1]);
        CHECK_EQ(event.result, sizes[i]);
        CHECK(i != 0 || memcmp(event.data, "ping", 4) == 0);
        CHECK(i != 2 || memcmp(event.data, large, sizeof(large)) == 0);
        io_datagram_from(io, ends[1], from, sizeof(from));
        io_socket_name(io, ends[0], /* remote= */ false, expected, sizeof(expected));
        CHECK(strcmp(from, expected) == 0);
    }
    CHECK(nothing_comes(io));
    struct io_socket *other = NULL;
    CHECK_EQ(io_datagram_open(io, host, port, NULL, &other), -EADDRINUSE);
    CHECK_EQ(io_datagram_open(io, "no address", 0, NULL, &other), -EINVAL);
    CHECK_EQ(io_datagram_send(io, ends[0], "no address", 1, slice_from("x")), -EINVAL);
    CHECK_EQ(io_datagram_send(io, ends[1], host, port, slice_from("to itself")), 0);
    io_close(io, ends[1]); /* what has arrived goes with it */
    CHECK_EQ(io_datagram_send(io, ends[0], host, port, slice_from("nobody there")), 0);
    CHECK(nothing_comes(io));
    io_free(io);
}

TEST(datagrams_are_whole)
{
    datagrams_pass("127.0.0.1");
    datagrams_pass("::1");
}

TEST(many_datagrams_do_not_starve_the_others)
{
    struct pair pair;
    pair_open(&pair, "127.0.0.1");
    struct io_socket *end = NULL;
    CHECK_EQ(io_datagram_open(pair.io, "127.0.0.1", 0, NULL, &end), 0);
    uint16_t port = io_socket_port(pair.io, end);
    for (int i = 0; i < 200; i++) {
        CHECK_EQ(io_datagram_send(pair.io, end, "127.0.0.1", port, slice_from("x")), 0);
    }
    CHECK_EQ(io_send(pair.io, pair.client, slice_from("hello")), 5);
    int datagrams = 0;
    int waits = 0;
    int waits_of_other = -1;
    while (datagrams < 200 && waits < 100) {
        struct io_event event;
        io_wait(pair.io, soon(pair.io));
        waits++;
        while (io_next(pair.io, &event)) {
            datagrams += event.kind == IO_EVENT_DATAGRAM;
            waits_of_other = event.kind == IO_EVENT_RECV ? waits : waits_of_other;
        }
    }
    CHECK_EQ(datagrams, 200);
    CHECK(waits >= 4);
    CHECK_EQ(waits_of_other, 1);
    pair_close(&pair);
}

/* Whether the loop's thread did it or a worker: the bytes are there when the event is. */
TEST(log_syncs_of_an_idle_loop_and_of_a_busy_one)
{
    struct scratch scratch;
    scratch_open(&scratch);
    int file = file_create(&scratch);
    char block[64];
    for (int i = 0; i < 200; i++) {
        memset(block, i, sizeof(block));
        struct io_file_op op = { .kind = IO_FILE_WRITE,
                                 .flags = IO_FILE_THEN_SYNC,
                                 .file = file,
                                 .data = block,
                                 .size = sizeof(block),
                                 .owner = &op,
                                 .result = 1 };
        io_file_submit(scratch.io, &op);
        if (i % 3 == 0) {
            io_wait(scratch.io, 0); /* others have work */
        } else if (i % 3 == 1) {
            io_wake(scratch.io);
        }
        struct io_event event = { 0 };
        do {
            CHECK(event_await(scratch.io, &event));
        } while (event.kind == IO_EVENT_WAKE);
        CHECK_EQ(event.kind, IO_EVENT_FILE);
        CHECK(event.file_op == &op);
        CHECK_EQ(event.result, 0);
        char now[sizeof(block)];
        CHECK_EQ(run(scratch.io,
                     (struct io_file_op){
                         .kind = IO_FILE_READ, .file = file, .data = now, .size = sizeof(now) }),
                 sizeof(now));
        CHECK(memcmp(now, block, sizeof(now)) == 0);
    }
    CHECK(nothing_comes(scratch.io));
    CHECK_EQ(run(scratch.io, (struct io_file_op){ .kind = IO_FILE_CLOSE, .file = file }), 0);
    scratch_close(&scratch);
}

TEST(free_finishes_the_work)
{
    struct scratch scratch;
    scratch_open(&scratch);
    int file = file_create(&scratch);
    char block[4096];
    memset(block, 'b', sizeof(block));
    struct io_file_op ops[32];
    for (int i = 0; i < 32; i++) {
        ops[i] = (struct io_file_op){ .kind = IO_FILE_WRITE,
                                      .flags = i % 2 == 0 ? IO_FILE_BULK : IO_FILE_THEN_SYNC,
                                      .file = file,
                                      .data = block,
                                      .size = sizeof(block),
                                      .offset = (uint64_t)i * sizeof(block),
                                      .result = 1 };
        io_file_submit(scratch.io, &ops[i]);
    }
    io_free(scratch.io);
    for (int i = 0; i < 32; i++) {
        CHECK_EQ(ops[i].result, 0);
    }
    scratch.io = io_epoll_new();
    CHECK_EQ(run(scratch.io, (struct io_file_op){ .kind = IO_FILE_SIZE, .file = file }),
             32 * sizeof(block));
    CHECK_EQ(run(scratch.io, (struct io_file_op){ .kind = IO_FILE_CLOSE, .file = file }), 0);
    scratch_close(&scratch);
}

TEST_MAIN
