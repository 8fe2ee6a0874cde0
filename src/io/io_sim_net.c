/*
 * io_sim_net.c — the simulated network: connections, links between machines, test clients.
 *
 * Idea: each direction of a connection is a line of packets.  Only the first of the line has an
 * event in the heap (SIM_EVENT_PUMP), so whatever delays it delays all behind it and bytes cannot
 * overtake each other, as in TCP.  A packet that finds its link blocked, or the machine without
 * power, is repeated with growing pauses.  What the receiver has read comes back as an
 * acknowledgement and makes room in the sender's window.
 *
 * An end is `gone` when the network no longer knows it (closed, reset, its process ended); what
 * then arrives for it is answered with a reset.  It is `released` when its holder will not touch
 * it again.  Both ends released and no event underway: the connection is freed.
 *
 * Read next: io_sim.c.
 */
#include "base/assert.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "base/mem.h"
#include "io/io_sim_internal.h"

#include <errno.h>
#include <stdio.h>

enum {
    RETRY_FIRST_MS = 200,    /* as the kernel's smallest retransmission timeout */
    RETRY_DOUBLINGS_MAX = 3, /* far below the kernel's: a test need not wait long after healing */
    PACKETS_PER_SEND_MAX = 64,
    RESET_ANSWERS =
        1, /* a reset that answers a packet: that one is repeated, so the reset is too */
};

static const uint64_t NS_PER_MS = 1000000;
static const uint64_t NS_PER_S = 1000000000;

static void syn_arrive(struct sim_conn *conn, uint32_t attempt);
static void pump_arrive(struct sim_conn *conn, uint32_t side, uint32_t attempt);
static void ack_arrive(struct sim_conn *conn, const struct sim_event *event);
static void reset_arrive(struct sim_conn *conn, const struct sim_event *event);
static void packet_deliver(struct io_socket *from, struct sim_packet packet);
static void packet_push(struct io_socket *from, enum sim_packet_kind kind, uint32_t bytes);
static bool listener_event(struct io_socket *listener, struct io_event *out);
static bool end_event(struct io_socket *end, struct io_event *out);
static void end_recv(struct io_socket *end, struct io_event *out);
static size_t end_send(struct io_socket *end, struct slice data);
static void end_close(struct io_socket *end, bool silent);
static void end_break(struct io_socket *end, int error);
static void end_release(struct io_socket *end);
static void conn_free_if_unused(struct sim_conn *conn);

/* ── links ───────────────────────────────────────────────────────────────────────────────────── */

static uint32_t link_index(const struct sim_node *node)
{
    return node != NULL ? node->index : SIM_OUTSIDE;
}

void sim_net_block(struct sim_world *world, struct sim_node *from, struct sim_node *to,
                   bool blocked)
{
    sim_net_block_traffic(world, from, to, SIM_STREAMS, blocked);
    sim_net_block_traffic(world, from, to, SIM_DATAGRAMS, blocked);
}

void sim_net_block_traffic(struct sim_world *world, struct sim_node *from, struct sim_node *to,
                           enum sim_traffic traffic, bool blocked)
{
    world->blocked[traffic][link_index(from)][link_index(to)] = blocked;
    sim_trace(world, from, blocked ? "block" : "unblock", link_index(to), traffic);
}

void sim_net_clog(struct sim_world *world, struct sim_node *from, struct sim_node *to,
                  uint64_t duration_ns)
{
    world->clogged_until_ns[link_index(from)][link_index(to)] = world->now_ns + duration_ns;
    sim_trace(world, from, "clog", link_index(to), duration_ns);
}

void sim_net_heal(struct sim_world *world)
{
    memset(world->blocked, 0, sizeof(world->blocked));
    memset(world->clogged_until_ns, 0, sizeof(world->clogged_until_ns));
    sim_trace(world, NULL, "heal", 0, 0);
}

/* Whether a packet from `side` gets to the other machine now.  (A machine without power also sends
 * nothing, but then its ends are gone and have nothing to send.) */
static bool link_is_open(const struct sim_conn *conn, uint32_t side)
{
    const struct sim_world *world = conn->world;
    const struct sim_node *to = conn->nodes[1 - side];
    uint32_t a = link_index(conn->nodes[side]);
    uint32_t b = link_index(to);
    return !world->blocked[SIM_STREAMS][a][b] && world->clogged_until_ns[a][b] <= world->now_ns &&
           (to == NULL || to->is_powered);
}

static uint64_t latency_draw(struct sim_world *world)
{
    return sim_delay_draw(&world->prng_net, world->options.latency_min_ns,
                          world->options.latency_mean_ns);
}

static void event_send(struct sim_conn *conn, enum sim_event_kind kind, uint32_t side,
                       uint64_t value)
{
    sim_schedule(conn->world, latency_draw(conn->world),
                 (struct sim_event){ .kind = kind, .side = side, .conn = conn, .value = value });
}

/* The packet was lost: once more, later. */
static uint64_t event_retry(struct sim_conn *conn, enum sim_event_kind kind, uint32_t side,
                            uint32_t attempt, uint64_t value)
{
    uint32_t doublings = attempt < RETRY_DOUBLINGS_MAX ? attempt : RETRY_DOUBLINGS_MAX;
    uint64_t delay_ns = RETRY_FIRST_MS * NS_PER_MS << doublings;
    delay_ns += prng_below(&conn->world->prng_net, delay_ns / 4);
    sim_schedule(
        conn->world, delay_ns,
        (struct sim_event){
            .kind = kind, .side = side, .attempt = attempt + 1, .conn = conn, .value = value });
    return delay_ns;
}

/* ── what arrives ────────────────────────────────────────────────────────────────────────────── */

void sim_net_event(struct sim_world *world, const struct sim_event *event)
{
    struct sim_conn *conn = event->conn;
    ASSERT(conn->world == world);
    ASSERT(conn->events_count > 0);
    switch (event->kind) {
    case SIM_EVENT_SYN:
        syn_arrive(conn, event->attempt);
        break;
    case SIM_EVENT_PUMP:
        pump_arrive(conn, event->side, event->attempt);
        break;
    case SIM_EVENT_ACK:
        ack_arrive(conn, event);
        break;
    case SIM_EVENT_RESET:
        reset_arrive(conn, event);
        break;
    case SIM_EVENT_DATAGRAM:
    case SIM_EVENT_FILE_DONE:
        UNREACHABLE();
    }
    conn->events_count -= 1; /* only now: a handler must not see its connection freed */
    conn_free_if_unused(conn);
}

static struct io_socket *listener_find(const struct sim_node *node, uint16_t port)
{
    struct io_socket *socket = node->io != NULL ? node->io->sockets : NULL;
    while (socket != NULL &&
           (socket->conn != NULL || socket->is_datagram || socket->gone || socket->port != port)) {
        socket = socket->next;
    }
    return socket;
}

void sim_socket_adopt(struct sim_io *io, struct io_socket *socket)
{
    socket->io = io;
    socket->descriptor = io->next_descriptor++;
    socket->previous = NULL;
    socket->next = io->sockets;
    if (io->sockets != NULL) {
        io->sockets->previous = socket;
    }
    io->sockets = socket;
}

static void backlog_push(struct io_socket *listener, struct sim_conn *conn)
{
    struct sim_conn **at = &listener->backlog;
    while (*at != NULL) {
        at = &(*at)->backlog_next;
    }
    *at = conn;
}

static void syn_arrive(struct sim_conn *conn, uint32_t attempt)
{
    struct sim_world *world = conn->world;
    struct io_socket *client = &conn->ends[0];
    if (client->gone) {
        return;
    }
    if (!link_is_open(conn, 0)) {
        uint64_t waited_ns = world->now_ns - conn->syn_ns;
        if (waited_ns > world->options.connect_timeout_ns) {
            end_break(client, ETIMEDOUT);
        } else {
            (void)event_retry(conn, SIM_EVENT_SYN, 0, attempt, 0);
        }
        return;
    }
    struct io_socket *server = &conn->ends[1];
    struct io_socket *listener = listener_find(conn->nodes[1], server->port);
    sim_trace(world, conn->nodes[1], "syn", server->port, listener != NULL);
    if (listener == NULL) {
        server->gone = true;
        event_send(conn, SIM_EVENT_RESET, 0, RESET_ANSWERS);
        return;
    }
    server->open = true;
    server->released = false;
    server->recv_paused = true; /* until it has an owner */
    sim_socket_adopt(listener->io, server);
    backlog_push(listener, conn);
    sim_socket_touch(listener);
    packet_push(server, SIM_PACKET_OPENED, 0);
}

static void pump_arrive(struct sim_conn *conn, uint32_t side, uint32_t attempt)
{
    struct io_socket *from = &conn->ends[side];
    if (from->packets_count == 0) {
        return; /* the line was cut meanwhile */
    }
    if (!link_is_open(conn, side)) {
        (void)event_retry(conn, SIM_EVENT_PUMP, side, attempt, 0);
        return;
    }
    struct sim_packet packet = from->packets[0];
    from->packets_count -= 1;
    memmove(from->packets, from->packets + 1, from->packets_count * sizeof(packet));
    packet_deliver(from, packet);
    if (from->packets_count > 0) {
        uint64_t now_ns = conn->world->now_ns;
        uint64_t ready_ns = from->packets[0].ready_ns;
        sim_schedule(conn->world, ready_ns > now_ns ? ready_ns - now_ns : 0,
                     (struct sim_event){ .kind = SIM_EVENT_PUMP, .side = side, .conn = conn });
    }
}

/* The connection breaks: both sides notice, or only one of them. */
static void conn_break(struct sim_conn *conn)
{
    uint64_t who = prng_below(&conn->world->prng_net, 4);
    for (uint32_t side = 0; side < 2; side++) {
        if (who != side && !conn->ends[side].gone) {
            end_break(&conn->ends[side], ECONNRESET);
        }
    }
}

static void data_deliver(struct io_socket *from, struct io_socket *to, uint32_t bytes)
{
    struct sim_world *world = from->conn->world;
    bool is_inside = from->conn->nodes[0] != NULL && from->conn->nodes[1] != NULL;
    ASSERT(from->outbox.size >= bytes);
    buffer_append(&to->inbox, from->outbox.data, bytes);
    buffer_consume(&from->outbox, bytes);
    char *arrived = to->inbox.data + to->inbox.size - bytes;
    if (is_inside && sim_happens(&world->prng_net, world->options.corrupt_ppm)) {
        uint64_t bit = prng_below(&world->prng_net, (uint64_t)bytes * 8);
        arrived[bit / 8] = (char)(arrived[bit / 8] ^ (1 << bit % 8));
    }
    sim_trace(world, to->conn->nodes[to->side], "segment", bytes, crc32c(0, arrived, bytes));
}

static void packet_deliver(struct io_socket *from, struct sim_packet packet)
{
    struct sim_conn *conn = from->conn;
    struct sim_world *world = conn->world;
    struct io_socket *to = &conn->ends[1 - from->side];
    if (to->gone) {
        from->packets_count = 0;
        buffer_free(&from->outbox);
        event_send(conn, SIM_EVENT_RESET, from->side, RESET_ANSWERS);
        return;
    }
    switch (packet.kind) {
    case SIM_PACKET_OPENED:
        to->open = true;
        to->connect_due = true;
        break;
    case SIM_PACKET_DATA:
        data_deliver(from, to, packet.bytes);
        break;
    case SIM_PACKET_FIN:
        to->fin_received = true;
        break;
    }
    if (packet.kind != SIM_PACKET_DATA) {
        sim_trace(world, conn->nodes[to->side], "packet", packet.kind, 0);
    }
    sim_socket_touch(to);
    if (sim_happens(&world->prng_net, world->options.reset_ppm)) {
        conn_break(conn);
    }
}

static void ack_arrive(struct sim_conn *conn, const struct sim_event *event)
{
    struct io_socket *end = &conn->ends[event->side];
    if (end->gone) {
        return;
    }
    if (!link_is_open(conn, 1 - event->side)) {
        (void)event_retry(conn, SIM_EVENT_ACK, event->side, event->attempt, event->value);
        return;
    }
    ASSERT(end->unread >= event->value);
    end->unread -= event->value;
    if (end->send_wanted) {
        sim_socket_touch(end);
    }
}

static void reset_arrive(struct sim_conn *conn, const struct sim_event *event)
{
    struct io_socket *end = &conn->ends[event->side];
    if (end->gone) {
        return;
    }
    if (link_is_open(conn, 1 - event->side)) {
        end_break(end, end->open ? ECONNRESET : ECONNREFUSED);
    } else if (event->value == RESET_ANSWERS) {
        (void)event_retry(conn, SIM_EVENT_RESET, event->side, event->attempt, event->value);
    } /* else it is lost, and this end believes in its connection until it speaks again */
}

/* ── packets ─────────────────────────────────────────────────────────────────────────────────── */

static void packet_push(struct io_socket *from, enum sim_packet_kind kind, uint32_t bytes)
{
    struct sim_world *world = from->conn->world;
    const struct sim_options *options = &world->options;
    uint64_t ready_ns = world->now_ns + latency_draw(world);
    if (sim_happens(&world->prng_net, options->stall_ppm)) {
        ready_ns += prng_below(&world->prng_net, options->stall_max_ns);
    }
    if (from->packets_count > 0) {
        uint64_t before_ns = from->packets[from->packets_count - 1].ready_ns;
        ready_ns = ready_ns > before_ns ? ready_ns : before_ns;
    }
    if (options->bandwidth_bytes_per_s > 0) {
        ready_ns += bytes * NS_PER_S / options->bandwidth_bytes_per_s;
    }
    from->packets = sim_array_grow(from->packets, from->packets_count, &from->packets_capacity,
                                   sizeof(*from->packets));
    from->packets[from->packets_count++] =
        (struct sim_packet){ .kind = kind, .bytes = bytes, .ready_ns = ready_ns };
    if (from->packets_count == 1) {
        sim_schedule(
            world, ready_ns - world->now_ns,
            (struct sim_event){ .kind = SIM_EVENT_PUMP, .side = from->side, .conn = from->conn });
    }
}

/* ── connections and their ends ──────────────────────────────────────────────────────────────── */

static struct sim_conn *conn_new(struct sim_world *world, struct sim_node *from,
                                 struct sim_node *to, uint16_t port)
{
    struct sim_conn *conn = mem_zalloc(sizeof(*conn));
    conn->world = world;
    conn->nodes[0] = from;
    conn->nodes[1] = to;
    conn->syn_ns = world->now_ns;
    for (uint32_t side = 0; side < 2; side++) {
        conn->ends[side].conn = conn;
        conn->ends[side].side = side;
    }
    conn->ends[1].port = port;
    conn->ends[1].released = true; /* nobody holds it yet */
    conn->next = world->conns;
    if (world->conns != NULL) {
        world->conns->previous = conn;
    }
    world->conns = conn;
    event_send(conn, SIM_EVENT_SYN, 0, 0);
    return conn;
}

static void conn_free(struct sim_conn *conn)
{
    for (uint32_t side = 0; side < 2; side++) {
        buffer_free(&conn->ends[side].inbox);
        buffer_free(&conn->ends[side].outbox);
        mem_free(conn->ends[side].packets);
    }
    if (conn->next != NULL) {
        conn->next->previous = conn->previous;
    }
    *(conn->previous != NULL ? &conn->previous->next : &conn->world->conns) = conn->next;
    mem_free(conn);
}

static void conn_free_if_unused(struct sim_conn *conn)
{
    if (conn->ends[0].released && conn->ends[1].released && conn->events_count == 0) {
        conn_free(conn);
    }
}

static uint64_t end_room(const struct io_socket *end)
{
    uint64_t window = end->conn->world->options.window_bytes;
    return window > end->unread ? window - end->unread : 0;
}

static bool end_can_send(const struct io_socket *end)
{
    return end->send_wanted && end->open && (end->error != 0 || end_room(end) > 0);
}

static bool end_can_recv(const struct io_socket *end)
{
    bool has_news = end->inbox.size > 0 || end->error != 0 || end->fin_received;
    return end->open && !end->recv_paused && !end->recv_ended && has_news;
}

static bool socket_has_event(const struct io_socket *socket)
{
    if (socket->conn == NULL) {
        return socket->backlog != NULL || socket->arrived != NULL;
    }
    return socket->connect_due || end_can_send(socket) || end_can_recv(socket);
}

/* Something may be new for whoever holds the socket. */
void sim_socket_touch(struct io_socket *socket)
{
    struct sim_io *io = socket->io;
    if (socket->client != NULL) {
        socket->client->has_news = true;
    }
    if (io != NULL && !io->is_dead && !socket->is_ready && socket_has_event(socket)) {
        socket->is_ready = true;
        io->ready =
            sim_array_grow(io->ready, io->ready_count, &io->ready_capacity, sizeof(*io->ready));
        io->ready[io->ready_count++] = socket;
    }
}

static void line_cut(struct io_socket *end)
{
    end->packets_count = 0;
    buffer_free(&end->outbox);
}

/* As the kernel closes: with a reset when something was left unread, else after what was sent. */
static void end_close(struct io_socket *end, bool silent)
{
    if (end->gone) {
        return;
    }
    end->gone = true;
    bool was_read = end->inbox.size == 0;
    buffer_free(&end->inbox);
    if (silent || !end->open || !was_read) {
        line_cut(end);
    }
    if (silent || !end->open) {
        return; /* a SYN underway finds its sender gone */
    }
    if (was_read) {
        packet_push(end, SIM_PACKET_FIN, 0);
    } else {
        event_send(end->conn, SIM_EVENT_RESET, 1 - end->side, 0);
    }
}

/* The connection is broken as this end sees it.  What had arrived may or may not be readable. */
static void end_break(struct io_socket *end, int error)
{
    ASSERT(!end->gone);
    end->gone = true;
    end->error = error;
    end->connect_due = !end->open;
    line_cut(end);
    if (prng_chance(&end->conn->world->prng_net, 1, 2)) {
        buffer_free(&end->inbox);
    }
    sim_trace(end->conn->world, end->conn->nodes[end->side], "broken", (uint64_t)error, 0);
    sim_socket_touch(end);
}

static void list_drop(struct io_socket **list, size_t *count, const struct io_socket *socket)
{
    for (size_t i = 0; i < *count; i++) {
        if (list[i] == socket) {
            list[i] = list[--*count];
            return;
        }
    }
}

/* The holder lets go of an end or a listener. */
static void end_release(struct io_socket *socket)
{
    struct sim_io *io = socket->io;
    if (io != NULL) {
        if (socket->is_ready) {
            list_drop(io->ready, &io->ready_count, socket);
            list_drop(io->later, &io->later_count, socket);
        }
        if (socket->next != NULL) {
            socket->next->previous = socket->previous;
        }
        *(socket->previous != NULL ? &socket->previous->next : &io->sockets) = socket->next;
    }
    socket->io = NULL;
    socket->client = NULL;
    socket->released = true;
    if (socket->conn != NULL) {
        conn_free_if_unused(socket->conn);
    } else {
        sim_datagrams_free(socket);
        mem_free(socket);
    }
}

/* Takes what fits, cut into packets; a short take owes SEND_READY. */
static size_t end_send(struct io_socket *end, struct slice data)
{
    struct sim_world *world = end->conn->world;
    size_t room = end_room(end);
    size_t taken = data.size < room ? data.size : room;
    if (taken > 0 && sim_happens(&world->prng_net, world->options.short_send_ppm)) {
        taken = prng_below(&world->prng_net, taken);
        event_send(end->conn, SIM_EVENT_ACK, end->side, 0); /* there is room, say so soon */
    }
    end->send_wanted = end->send_wanted || taken < data.size;
    buffer_append(&end->outbox, data.data, taken);
    end->unread += taken;
    size_t least = taken / PACKETS_PER_SEND_MAX;
    for (size_t left = taken; left > 0;) {
        size_t bytes = least + 1 + prng_below(&world->prng_net, world->options.segment_bytes_max);
        bytes = bytes < left ? bytes : left;
        packet_push(end, SIM_PACKET_DATA, (uint32_t)bytes);
        left -= bytes;
    }
    sim_trace(world, end->conn->nodes[end->side], "send", data.size, taken);
    return taken;
}

/* ── events for a process ────────────────────────────────────────────────────────────────────── */

bool sim_net_next(struct sim_io *io, struct io_event *out_event)
{
    while (io->ready_count > 0) {
        size_t at = prng_below(&io->world->prng_turn, io->ready_count);
        struct io_socket *socket = io->ready[at];
        io->ready[at] = io->ready[--io->ready_count];
        bool has_event = socket->is_datagram    ? sim_datagram_event(socket, out_event)
                         : socket->conn == NULL ? listener_event(socket, out_event)
                                                : end_event(socket, out_event);
        socket->is_ready = has_event;
        if (has_event) { /* there may be more: it is looked at again in the next turn */
            io->later =
                sim_array_grow(io->later, io->later_count, &io->later_capacity, sizeof(*io->later));
            io->later[io->later_count++] = socket;
            return true;
        }
    }
    return false;
}

void sim_net_turn_end(struct sim_io *io)
{
    for (size_t i = 0; i < io->later_count; i++) {
        io->later[i]->is_ready = false;
        sim_socket_touch(io->later[i]);
    }
    io->later_count = 0;
}

static bool listener_event(struct io_socket *listener, struct io_event *out)
{
    struct sim_world *world = listener->io->world;
    struct sim_conn *conn = listener->backlog;
    if (conn == NULL) {
        return false;
    }
    *out = (struct io_event){ .kind = IO_EVENT_ACCEPT, .owner = listener->owner };
    if (sim_happens(&world->prng_net, world->options.accept_error_ppm)) {
        out->result = -EMFILE;
    } else {
        listener->backlog = conn->backlog_next;
        conn->backlog_next = NULL;
        out->socket = &conn->ends[1];
    }
    return true;
}

static bool end_event(struct io_socket *end, struct io_event *out)
{
    *out = (struct io_event){ .owner = end->owner, .socket = end };
    if (end->connect_due) {
        end->connect_due = false;
        end->recv_ended = end->error != 0;
        out->kind = IO_EVENT_CONNECT;
        out->result = -end->error;
        return true;
    }
    if (end_can_send(end)) {
        end->send_wanted = false;
        out->kind = IO_EVENT_SEND_READY;
        return true;
    }
    if (!end_can_recv(end)) {
        return false;
    }
    out->kind = IO_EVENT_RECV;
    if (end->inbox.size > 0) {
        end_recv(end, out);
    } else {
        out->result = -end->error;
        end->recv_ended = true;
    }
    return true;
}

/* Moves what has arrived, or a part of it, to the process. */
static void end_recv(struct io_socket *end, struct io_event *out)
{
    struct sim_world *world = end->conn->world;
    struct sim_io *io = end->io;
    size_t size = end->inbox.size < CONN_RECV_BYTES ? end->inbox.size : CONN_RECV_BYTES;
    if (sim_happens(&world->prng_net, world->options.short_recv_ppm)) {
        size = 1 + prng_below(&world->prng_net, size);
    }
    io->received.size = 0;
    buffer_append(&io->received, end->inbox.data, size);
    buffer_consume(&end->inbox, size);
    if (!end->gone) {
        event_send(end->conn, SIM_EVENT_ACK, 1 - end->side, size);
    }
    out->data = io->received.data;
    out->result = (int64_t)size;
}

/* ── the backend's socket operations ─────────────────────────────────────────────────────────── */

struct sim_node *sim_host_find(struct sim_node *self, const char *host)
{
    if (strcmp(host, "localhost") == 0 || strcmp(host, "127.0.0.1") == 0 ||
        strcmp(host, "::1") == 0) {
        return self;
    }
    struct sim_world *world = self->world;
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        char address[SIM_NAME_MAX];
        (void)snprintf(address, sizeof(address), "10.0.0.%u", i + 1);
        if (strcmp(host, world->nodes[i]->name) == 0 || strcmp(host, address) == 0) {
            return world->nodes[i];
        }
    }
    return NULL;
}

uint16_t sim_port_choose(struct sim_io *io)
{
    io->next_port = io->next_port >= 60000 ? 32768 : (uint16_t)(io->next_port + 1);
    return io->next_port;
}

int sim_listen(struct io *base, const char *host, uint16_t port, void *owner,
               struct io_socket **out_socket)
{
    struct sim_io *io = sim_io_from(base);
    bool is_any = strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
    const struct sim_node *node = is_any ? io->node : sim_host_find(io->node, host);
    if (io->is_dead || node == NULL) {
        return io->is_dead ? -ENETDOWN : -EINVAL;
    }
    if (node != io->node) {
        return -EADDRNOTAVAIL;
    }
    uint16_t chosen = port != 0 ? port : sim_port_choose(io);
    if (listener_find(node, chosen) != NULL) {
        return -EADDRINUSE;
    }
    struct io_socket *socket = mem_zalloc(sizeof(*socket));
    socket->owner = owner;
    socket->port = chosen;
    sim_socket_adopt(io, socket);
    sim_trace(io->world, io->node, "listen", port, 0);
    *out_socket = socket;
    return 0;
}

int sim_connect(struct io *base, const char *host, uint16_t port, void *owner,
                struct io_socket **out_socket)
{
    struct sim_io *io = sim_io_from(base);
    struct sim_node *node = sim_host_find(io->node, host);
    if (io->is_dead || node == NULL) {
        return io->is_dead ? -ENETDOWN : -EINVAL;
    }
    struct sim_conn *conn = conn_new(io->world, io->node, node, port);
    struct io_socket *end = &conn->ends[0];
    end->owner = owner;
    end->port = sim_port_choose(io);
    sim_socket_adopt(io, end);
    sim_trace(io->world, io->node, "connect", node->index, port);
    *out_socket = end;
    return 0;
}

void sim_socket_own(struct io *io, struct io_socket *socket, void *owner)
{
    socket->owner = owner;
    sim_recv_resume(io, socket);
}

void sim_recv_pause(struct io *io, struct io_socket *socket)
{
    (void)io;
    socket->recv_paused = true;
}

void sim_recv_resume(struct io *io, struct io_socket *socket)
{
    (void)io;
    socket->recv_paused = false;
    sim_socket_touch(socket);
}

int64_t sim_send(struct io *base, struct io_socket *socket, struct slice data)
{
    ASSERT(socket->conn != NULL);
    ASSERT(!socket->released);
    if (!sim_io_tick(sim_io_from(base))) {
        return -EPIPE;
    }
    if (socket->error != 0) {
        return -ECONNRESET;
    }
    if (!socket->open) {
        socket->send_wanted = true;
        return 0;
    }
    return (int64_t)end_send(socket, data);
}

void sim_close(struct io *base, struct io_socket *socket)
{
    struct sim_io *io = sim_io_from(base);
    ASSERT(socket->io == io);
    if (socket->conn != NULL) {
        end_close(socket, io->is_dead);
    }
    while (socket->conn == NULL && socket->backlog != NULL) {
        struct sim_conn *conn = socket->backlog;
        socket->backlog = conn->backlog_next;
        conn->backlog_next = NULL;
        end_close(&conn->ends[1], io->is_dead);
        end_release(&conn->ends[1]);
    }
    end_release(socket);
}

void sim_socket_name(struct io *io, struct io_socket *socket, bool remote, char *out, size_t size)
{
    const struct sim_node *node = sim_io_from(io)->node;
    uint16_t port = socket->port;
    if (remote && socket->conn != NULL) {
        node = socket->conn->nodes[1 - socket->side];
        port = socket->conn->ends[1 - socket->side].port;
    }
    if (node != NULL) {
        (void)snprintf(out, size, "10.0.0.%u:%u", node->index + 1, port);
    } else {
        (void)snprintf(out, size, "10.0.1.1:%u", port);
    }
}

uint16_t sim_socket_port(struct io *io, struct io_socket *socket)
{
    (void)io;
    return socket->port;
}

void sim_net_io_dies(struct sim_io *io, bool silent)
{
    for (struct io_socket *socket = io->sockets; socket != NULL; socket = socket->next) {
        socket->is_ready = false;
        if (socket->conn != NULL) {
            end_close(socket, silent);
        } else {
            socket->gone = true;
        }
    }
    io->ready_count = 0;
    io->later_count = 0;
}

void sim_net_io_free(struct sim_io *io)
{
    while (io->sockets != NULL) {
        end_release(io->sockets);
    }
}

void sim_net_world_free(struct sim_world *world)
{
    while (world->clients != NULL) {
        sim_client_close(world->clients);
    }
    while (world->conns != NULL) {
        ASSERT(world->conns->ends[0].released);
        ASSERT(world->conns->ends[1].released);
        conn_free(world->conns);
    }
}

/* ── test clients ────────────────────────────────────────────────────────────────────────────── */

struct sim_client *sim_client_connect(struct sim_world *world, struct sim_node *node, uint16_t port,
                                      void *owner)
{
    struct sim_client *client = mem_zalloc(sizeof(*client));
    client->world = world;
    client->owner = owner;
    client->conn = conn_new(world, NULL, node, port);
    client->conn->ends[0].client = client;
    client->conn->ends[0].port = (uint16_t)(1024 + world->sequence % 60000);
    client->next = world->clients;
    if (world->clients != NULL) {
        world->clients->previous = client;
    }
    world->clients = client;
    return client;
}

size_t sim_client_send(struct sim_client *client, struct slice data)
{
    struct io_socket *end = &client->conn->ends[0];
    end->send_wanted = false;
    return end->open && !end->gone ? end_send(end, data) : 0;
}

size_t sim_client_recv(struct sim_client *client, struct buffer *out)
{
    struct io_socket *end = &client->conn->ends[0];
    size_t size = end->inbox.size;
    buffer_append(out, end->inbox.data, size);
    end->inbox.size = 0;
    if (size > 0 && !end->gone) {
        event_send(end->conn, SIM_EVENT_ACK, 1, size);
    }
    return size;
}

enum sim_client_state sim_client_state(const struct sim_client *client)
{
    const struct io_socket *end = &client->conn->ends[0];
    if (end->error != 0) {
        return SIM_CLIENT_BROKEN;
    }
    if (!end->open) {
        return SIM_CLIENT_CONNECTING;
    }
    return end->fin_received ? SIM_CLIENT_ENDED : SIM_CLIENT_OPEN;
}

void *sim_client_owner(const struct sim_client *client)
{
    return client->owner;
}

void sim_client_close(struct sim_client *client)
{
    if (client->next != NULL) {
        client->next->previous = client->previous;
    }
    *(client->previous != NULL ? &client->previous->next : &client->world->clients) = client->next;
    end_close(&client->conn->ends[0], /* silent= */ false);
    end_release(&client->conn->ends[0]);
    mem_free(client);
}
