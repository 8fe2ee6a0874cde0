/*
 * server_world.h — a machine of the tests' own making, and a pipeline that does what requests say.
 *
 * The fake io has sockets with a window: io_send takes what fits, and the test opens the window
 * again when it likes.  Requests say how they want to be answered:
 *
 *   NOW text      at once          LATER text    deferred, answered when the test says so
 *   BIG n         n bytes at once  anything else as serve_other says
 */
#pragma once

#include "network/conn.h"

#include "base/limits.h"
#include "base/mem.h"
#include "base/prng.h"
#include "base/text.h"
#include "test.h"

#include <errno.h>

/* ── the machine ─────────────────────────────────────────────────────────────────────────────── */

struct io {
    unsigned open_sockets;
};

struct io_socket {
    void *owner;
    size_t window; /* bytes io_send still takes */
    struct buffer sent;
    bool is_paused, is_closed, is_short; /* is_short: SEND_READY is owed */
    bool is_broken;                      /* io_send fails */
};

int io_listen(struct io *io, const char *host, uint16_t port, void *owner,
              struct io_socket **out_socket)
{
    (void)io, (void)host, (void)port;
    *out_socket = calloc(1, sizeof(**out_socket));
    (*out_socket)->owner = owner;
    io->open_sockets++;
    return 0;
}

void io_socket_own(struct io *io, struct io_socket *socket, void *owner)
{
    (void)io;
    socket->owner = owner;
}

void io_recv_pause(struct io *io, struct io_socket *socket)
{
    (void)io;
    socket->is_paused = true;
}

void io_recv_resume(struct io *io, struct io_socket *socket)
{
    (void)io;
    socket->is_paused = false;
}

int64_t io_send(struct io *io, struct io_socket *socket, struct slice data)
{
    (void)io;
    CHECK(!socket->is_closed);
    CHECK(!socket->is_short); /* a server that waits does not ask */
    if (socket->is_broken) {
        return -EPIPE;
    }
    size_t taken = data.size < socket->window ? data.size : socket->window;
    buffer_append(&socket->sent, data.data, taken);
    socket->window -= taken;
    socket->is_short = taken < data.size;
    return (int64_t)taken;
}

void io_close(struct io *io, struct io_socket *socket)
{
    CHECK(!socket->is_closed);
    socket->is_closed = true;
    io->open_sockets--;
}

void io_socket_name(struct io *io, struct io_socket *socket, bool remote, char *out, size_t size)
{
    (void)io, (void)socket;
    (void)snprintf(out, size, "127.0.0.1:%d", remote ? 5000 : 7001);
}

uint16_t io_socket_port(struct io *io, struct io_socket *socket)
{
    (void)io, (void)socket;
    return 7001;
}

int io_socket_descriptor(struct io *io, struct io_socket *socket)
{
    (void)io, (void)socket;
    return 9;
}

/* ── the world of one test ───────────────────────────────────────────────────────────────────── */

enum { SOCKETS_MAX = 4096, LATERS_MAX = 1 << 16 };

struct later {
    struct conn *conn;
    uint64_t ticket;
    char text[24];
};

struct world {
    struct io io;
    struct server *server;
    struct io_socket *listener;
    struct io_socket *sockets[SOCKETS_MAX];
    unsigned sockets_count;
    struct later laters[LATERS_MAX];
    unsigned laters_count;
    unsigned requests;
    struct prng *untakes; /* gives requests back at random; NULL: only when it must */
    unsigned untaken;
    unsigned batch;       /* requests taken before the first is answered */
    bool is_single_batch; /* a pass takes one batch only, and leaves the rest where it is */
    bool has_open_passes; /* batches are made of several connections' requests, and wait for run */
    struct {
        struct conn *conn;
        struct request request;
    } taken[PIPELINE_BATCH]; /* the batch */
    unsigned taken_count;
    struct conn *open[PIPELINE_BATCH];
    unsigned open_count;
    unsigned joined; /* connections that were added to a batch with others */
};

static struct world *world_new(uint32_t clients_max)
{
    struct world *world = calloc(1, sizeof(*world));
    struct server_options options = { .clients_max = clients_max, .now_ms = 1000 };
    world->server = server_new(&world->io, &options);
    CHECK_EQ(server_listen(world->server, "127.0.0.1", 0), 0);
    CHECK_EQ(server_port(world->server), 7001);
    world->batch = PIPELINE_BATCH;
    world->listener = world->server->listeners[0];
    return world;
}

static void world_free(struct world *world)
{
    server_free(world->server);
    CHECK_EQ(world->io.open_sockets, 0);
    for (unsigned i = 0; i < world->sockets_count; i++) {
        buffer_free(&world->sockets[i]->sent);
        free(world->sockets[i]);
    }
    free(world->listener);
    free(world);
}

static struct io_socket *dial(struct world *world)
{
    struct io_socket *socket = calloc(1, sizeof(*socket));
    socket->window = SIZE_MAX;
    world->sockets[world->sockets_count++] = socket;
    world->io.open_sockets++;
    struct io_event event = { .kind = IO_EVENT_ACCEPT, .owner = world->server, .socket = socket };
    CHECK(server_owns(world->server, &event));
    CHECK(server_on_event(world->server, &event) == NULL);
    return socket;
}

static void defer(struct world *world, struct conn *conn, struct slice text, struct slice id)
{
    CHECK(world->laters_count < LATERS_MAX);
    struct later *later = &world->laters[world->laters_count++];
    later->conn = conn;
    later->ticket = conn_defer(conn, id);
    (void)snprintf(later->text, sizeof(later->text), "%.*s", (int)text.size, text.data);
}

static void answer_later(struct world *world, unsigned at)
{
    struct later later = world->laters[at];
    memmove(&world->laters[at], &world->laters[at + 1],
            (world->laters_count - at - 1) * sizeof(later));
    world->laters_count--;
    reply_text(conn_deferred_begin(later.conn, later.ticket), later.text);
    conn_deferred_end(later.conn, later.ticket);
}

static struct conn *conn_of(const struct io_socket *socket)
{
    return socket->owner;
}

static void answer_all(struct world *world)
{
    while (world->laters_count > 0) {
        answer_later(world, 0);
    }
}

static void serve_other(struct conn *conn, const struct request *request)
{
    struct reply *reply = conn_reply_begin(conn, request->id);
    if (slice_equal(request->argv[0], slice_from("BIG"))) {
        uint64_t size = 0;
        CHECK(text_to_u64(request->argv[1], &size));
        char *bytes = calloc(1, size + 1);
        reply_bulk(reply, slice_make(bytes, size));
        free(bytes);
    } else if (slice_equal(request->argv[0], slice_from("HELLO3"))) {
        conn_info(conn)->protocol = PROTOCOL_RESP3;
        reply->protocol = PROTOCOL_RESP3;
        reply_null(reply);
    } else if (slice_equal(request->argv[0], slice_from("MODE"))) {
        int64_t mode = 0;
        CHECK(text_to_i64(request->argv[1], &mode));
        conn_info(conn)->reply_mode = (enum conn_reply_mode)mode;
        reply_ok(reply);
    } else if (slice_equal(request->argv[0], slice_from("QUIT"))) {
        reply_ok(reply);
        conn_close_after_reply(conn);
    } else if (slice_equal(request->argv[0], slice_from("KILLME"))) {
        reply_text(reply, "never seen");
        conn_kill(conn);
    } else if (slice_equal(request->argv[0], slice_from("AUTH"))) {
        conn_info(conn)->authenticated = true;
        reply_ok(reply);
    } else {
        reply_errorf(reply, "ERR unknown %u", request->argc);
    }
    conn_reply_end(conn);
}

static void serve_one(struct world *world, struct conn *conn, const struct request *request)
{
    world->requests++;
    if (slice_equal(request->argv[0], slice_from("NOW"))) {
        reply_bulk(conn_reply_begin(conn, request->id), request->argv[1]);
        conn_reply_end(conn);
    } else if (slice_equal(request->argv[0], slice_from("LATER"))) {
        defer(world, conn, request->argv[1], request->id);
    } else {
        serve_other(conn, request);
    }
}

static bool is_data(const struct request *request)
{
    return slice_equal(request->argv[0], slice_from("NOW")) ||
           slice_equal(request->argv[0], slice_from("LATER")) ||
           slice_equal(request->argv[0], slice_from("BIG"));
}

/* Answers what was taken, and ends the passes that were left open for it. */
static void run(struct world *world)
{
    for (unsigned i = 0; i < world->taken_count; i++) {
        struct conn *conn = world->taken[i].conn;
        if (!conn_is_full(conn) &&
            (world->untakes == NULL || !prng_chance(world->untakes, 1, 50))) {
            serve_one(world, conn, &world->taken[i].request);
            continue;
        }
        unsigned end = i;
        while (end < world->taken_count && world->taken[end].conn == conn) {
            end++;
        }
        conn_untake(conn, end - i);
        world->untaken += end - i;
        i = end - 1;
    }
    world->taken_count = 0;
    for (unsigned i = 0; i < world->open_count; i++) {
        conn_input_end(world->open[i]);
    }
    world->open_count = 0;
}

/* Takes requests; false when they must run before more is taken. */
static bool take(struct world *world, struct conn *conn)
{
    struct request request;
    while (world->taken_count < world->batch && conn_next_request(conn, &request)) {
        world->taken[world->taken_count].conn = conn;
        world->taken[world->taken_count++].request = request;
        if (!is_data(&request)) {
            return false; /* what follows may depend on it */
        }
    }
    return world->taken_count < world->batch;
}

/* What the pipeline does with a connection that has input: it takes a batch before it answers, if
 * it may from several connections. */
static void serve(struct world *world, struct conn *conn)
{
    for (;;) {
        unsigned before = world->taken_count;
        bool may_join = take(world, conn);
        if (world->taken_count == before) {
            break;
        }
        if (world->has_open_passes && may_join && conn_may_wait(conn)) {
            world->open[world->open_count++] = conn;
            world->joined += before > 0;
            return;
        }
        run(world);
        if (world->is_single_batch) {
            break;
        }
    }
    conn_input_end(conn);
}

static void resume(struct world *world)
{
    struct conn *conn = NULL;
    while ((conn = server_next_resumable(world->server)) != NULL) {
        serve(world, conn);
    }
}

/* Delivers bytes from a copy that dies behind the pass, as the io's buffer does. */
static void deliver(struct world *world, struct io_socket *socket, const void *bytes, size_t size)
{
    CHECK(!socket->is_paused);
    if (conn_of(socket)->is_in_pass) {
        run(world); /* the io hands out a connection's bytes once in a turn */
    }
    char *copy = malloc(size);
    memcpy(copy, bytes, size);
    struct io_event event = { .kind = IO_EVENT_RECV,
                              .owner = socket->owner,
                              .socket = socket,
                              .data = copy,
                              .result = (int64_t)size };
    CHECK(server_owns(world->server, &event));
    struct conn *conn = server_on_event(world->server, &event);
    if (conn != NULL) {
        serve(world, conn);
    }
    memset(copy, '#', size);
    free(copy);
}

static void deliver_text(struct world *world, struct io_socket *socket, const char *text)
{
    deliver(world, socket, text, strlen(text));
}

static void deliver_end(struct world *world, struct io_socket *socket, int64_t result)
{
    struct io_event event = {
        .kind = IO_EVENT_RECV, .owner = socket->owner, .socket = socket, .result = result
    };
    CHECK(server_on_event(world->server, &event) == NULL);
}

static void open_window(struct world *world, struct io_socket *socket, size_t window)
{
    socket->window = window;
    if (socket->is_short && !socket->is_closed && window > 0) {
        socket->is_short = false;
        struct io_event event = { .kind = IO_EVENT_SEND_READY,
                                  .owner = socket->owner,
                                  .socket = socket };
        CHECK(server_on_event(world->server, &event) == NULL);
    }
}

static bool sent_is(const struct io_socket *socket, const char *text)
{
    bool same = slice_equal(buffer_slice(&socket->sent), slice_from(text));
    if (!same) {
        printf("  sent %.*s\n  not %s\n", (int)socket->sent.size, socket->sent.data, text);
    }
    return same;
}
