/*
 * server.c — the listeners, the connections together, and the events about them.
 *
 * Read next: server.h, conn.h.
 */
#include "network/conn.h"

#include "base/assert.h"
#include "base/mem.h"

#include <errno.h>

enum {
    TICKS_PER_ROUND = 10, /* housekeeping visits every connection once in so many ticks */
};

static struct conn *life_next(const struct conn *conn)
{
    return conn->links[CONN_LIST_LIFE].next;
}

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

struct server *server_new(struct io *io, const struct server_options *options)
{
    struct server *server = mem_zalloc(sizeof(*server));
    server->io = io;
    server->options = *options;
    server->now_ms = options->now_ms;
    return server;
}

static int listen_for(struct server *server, const char *host, uint16_t port, void *owner)
{
    if (server->listeners_count == SERVER_LISTENERS_MAX) {
        return -ENOSPC;
    }
    struct io_socket *listener = NULL;
    int status = io_listen(server->io, host, port, owner, &listener);
    if (status < 0) {
        return status;
    }
    server->listeners[server->listeners_count++] = listener;
    return 0;
}

int server_listen(struct server *server, const char *host, uint16_t port)
{
    return listen_for(server, host, port, server);
}

int server_listen_slots(struct server *server, const char *host, uint16_t port)
{
    int status = listen_for(server, host, port, &server->slot_listener);
    if (status == 0 && server->slot_listener == NULL) {
        server->slot_listener = server->listeners[server->listeners_count - 1];
    }
    return status;
}

uint16_t server_port(const struct server *server)
{
    return server->listeners_count == 0 ? 0 : io_socket_port(server->io, server->listeners[0]);
}

uint16_t server_slot_port(const struct server *server)
{
    return server->slot_listener == NULL ? 0 : io_socket_port(server->io, server->slot_listener);
}

void server_stop_accepting(struct server *server)
{
    for (uint32_t i = 0; i < server->listeners_count; i++) {
        io_close(server->io, server->listeners[i]);
    }
    server->listeners_count = 0;
    server->slot_listener = NULL;
    server->is_stopping = true;
}

void server_free(struct server *server)
{
    if (server == NULL) {
        return;
    }
    ASSERT(server->passes == 0);
    ASSERT(server->reply_conn == NULL);
    server_stop_accepting(server);
    while (server->open.first != NULL) {
        conn_kill(server->open.first);
    }
    while (server->detached.first != NULL) {
        struct conn *conn = server->detached.first;
        conn_list_remove(&server->detached, CONN_LIST_LIFE, conn);
        conn_free(conn);
    }
    for (uint32_t i = 0; i < server->spares_count; i++) {
        buffer_free(&server->spares[i]);
    }
    buffer_free(&server->scratch);
    arena_free(&server->arena);
    conn_table_free(server);
    mem_free(server);
}

struct server_options *server_options(struct server *server)
{
    return &server->options;
}

const struct server_stats *server_stats(const struct server *server)
{
    return &server->stats;
}

/* ── events ──────────────────────────────────────────────────────────────────────────────────── */

/* The two owners of listeners: the server, and for cluster-aware clients its slot_listener. */
static bool is_listener(const struct server *server, const void *owner)
{
    return owner == server || owner == &server->slot_listener;
}

static void server_accept(struct server *server, const struct io_event *event)
{
    static const char refusal[] = "-ERR max number of clients reached\r\n";
    if (event->result < 0) {
        server->stats.accept_errors += 1; /* the io rests before it tries again */
        return;
    }
    if (server->stats.clients < server->options.clients_max) {
        conn_open(server, event->socket, /* by_slots= */ event->owner != server);
        return;
    }
    server->stats.connections_rejected += 1;
    int64_t sent = io_send(server->io, event->socket, slice_make(refusal, sizeof(refusal) - 1));
    (void)sent; /* a courtesy */
    io_close(server->io, event->socket);
}

bool server_owns(const struct server *server, const struct io_event *event)
{
    return is_listener(server, event->owner) || conn_table_has(server, event->owner);
}

struct conn *server_on_event(struct server *server, const struct io_event *event)
{
    if (is_listener(server, event->owner)) {
        ASSERT(event->kind == IO_EVENT_ACCEPT);
        server_accept(server, event);
        return NULL;
    }
    struct conn *conn = event->owner;
    if (event->kind == IO_EVENT_SEND_READY) {
        conn->is_send_blocked = false;
        conn_mark_dirty(conn);
        return NULL;
    }
    ASSERT(event->kind == IO_EVENT_RECV);
    if (LIKELY(event->result > 0)) {
        struct slice data = { event->data, (size_t)event->result };
        return conn_receive(conn, data) ? conn : NULL;
    }
    if (event->result < 0) {
        conn_kill(conn);
    } else {
        conn_end(conn);
    }
    return NULL;
}

struct conn *server_next_resumable(struct server *server)
{
    struct conn *conn = server->resumable.first;
    if (conn == NULL || server->is_held || server->is_stopping) {
        return NULL;
    }
    conn_resume(conn);
    return conn;
}

void server_hold(struct server *server, bool hold)
{
    server->is_held = hold;
}

void server_flush(struct server *server)
{
    ASSERT(server->passes == 0);
    struct conn *conn = NULL;
    while ((conn = server->dirty.first) != NULL) {
        conn_list_remove(&server->dirty, CONN_LIST_DIRTY, conn);
        conn->is_dirty = false;
        conn_flush(conn);
    }
}

bool server_has_work(const struct server *server)
{
    bool may_resume = !server->is_held && !server->is_stopping;
    return server->dirty.first != NULL || (may_resume && server->resumable.first != NULL);
}

/* ── housekeeping ────────────────────────────────────────────────────────────────────────────── */

static void conn_tick(struct conn *conn)
{
    const struct server *server = conn->server;
    uint64_t timeout_ms = server->options.idle_timeout_s * 1000;
    uint64_t idle_ms = server->now_ms - conn->info.active_ms;
    conn_reply_trim(conn);
    if (timeout_ms > 0 && server->now_ms > conn->info.active_ms && idle_ms > timeout_ms &&
        conn->owed == 0 && !conn->is_in_pass) {
        conn_kill(conn);
    }
}

void server_tick(struct server *server, uint64_t now_ms)
{
    server->now_ms = now_ms;
    uint32_t visits = server->stats.clients / TICKS_PER_ROUND + 1;
    for (; visits > 0 && server->open.first != NULL; visits--) {
        struct conn *conn = server->ticked != NULL ? server->ticked : server->open.first;
        server->ticked = life_next(conn);
        conn_tick(conn);
    }
}

/* ── the connections ─────────────────────────────────────────────────────────────────────────── */

struct conn *server_next_conn(struct server *server, struct conn *after)
{
    return after == NULL ? server->open.first : life_next(after);
}

struct conn *server_find_conn(struct server *server, uint64_t id)
{
    struct conn *conn = server->open.first;
    while (conn != NULL && conn->info.id != id) {
        conn = life_next(conn);
    }
    return conn;
}
