/*
 * server.h — client connections: accept, receive, parse, answer in order, send.
 *
 * The server knows nothing about data.  Its user (pipeline.c) pulls requests from it and answers
 * each exactly once, in any order; the bytes leave in request order whatever was answered first.
 *
 *   server_on_event(server, &event)            something arrived; may return a connection to read
 *   while (conn_next_request(conn, &request))  one request after another
 *       either  answer at once:   reply = conn_reply_begin(conn); ...; conn_reply_end(conn)
 *       or      answer later:     ticket = conn_defer(conn);  ...  conn_deferred_begin(conn,
 * ticket) conn_input_end(conn)                       keeps what is left of the input for later
 *   server_flush(server)                       once per loop iteration: sends all output
 *
 * Lifetime: a connection that ends while answers are owed lives on, detached, until the last
 * deferred ticket has been answered (into nothing), so tickets never dangle.
 *
 * From server_on_event or server_next_resumable returning a connection to its conn_input_end is a
 * pass.  A pass in which conn_may_wait may stay open while others begin, so that the requests of
 * many connections can run as one batch; all of them end before server_flush.  One answer is
 * being written at a time.
 *
 * Bounded memory: a connection whose unsent output exceeds CONN_OUTPUT_PAUSE_BYTES or that is owed
 * CONN_SLOTS_MAX answers is not read until it has drained; input buffers grow with what arrived,
 * up to the request limit; idle connections hold no buffers.
 */
#pragma once

#include "base/buffer.h"
#include "network/protocol.h"
#include "network/reply.h"

struct io;
struct io_event;
struct server;
struct conn;

struct server_options {
    uint32_t clients_max;
    uint64_t now_ms;
    bool auth_required;          /* new connections must AUTH */
    uint64_t output_limit_bytes; /* hard: a connection over it is closed.  0: none */
    uint64_t idle_timeout_s;     /* 0: none */
};

struct server_stats {
    uint64_t connections_total, connections_rejected, bytes_in, bytes_out, protocol_errors;
    uint64_t accept_errors; /* no descriptors, no memory */
    uint64_t output_closed; /* closed for exceeding the output limit */
    uint32_t clients, paused;
    uint64_t input_buffer_bytes, output_buffer_bytes;
};

struct server *server_new(struct io *io, const struct server_options *options);
void server_free(struct server *server);
/* May be called for several addresses.  port 0: the kernel chooses, see server_port (of the first).
 * < 0: -errno. */
int server_listen(struct server *server, const char *host, uint16_t port);
uint16_t server_port(const struct server *server);
/* The same for cluster-aware clients: their connections are marked (conn_by_slots).  After the
 * first server_listen. */
int server_listen_slots(struct server *server, const char *host, uint16_t port);
uint16_t server_slot_port(const struct server *server);       /* 0: none */
struct server_options *server_options(struct server *server); /* CONFIG SET changes them in place */
const struct server_stats *server_stats(const struct server *server);

/* True when the event's owner is this server or one of its connections. */
bool server_owns(const struct server *server, const struct io_event *event);
/* Handles the event; returns a connection with input to parse, or NULL. */
struct conn *server_on_event(struct server *server, const struct io_event *event);
/* A connection that was held back (server_hold, backpressure) and can be parsed again, or NULL. */
struct conn *server_next_resumable(struct server *server);
/* While held, no connection is parsed (the log is over its bound, a barrier is up).  What arrived
 * stays in bounded buffers; receiving pauses. */
void server_hold(struct server *server, bool hold);
/* Sends output of all connections that have any; closes those that asked to be closed. */
void server_flush(struct server *server);
/* Slow housekeeping, about ten times a second: idle timeouts, buffer trimming. */
void server_tick(struct server *server, uint64_t now_ms);
/* Something to send or resume right now (do not sleep). */
bool server_has_work(const struct server *server);
/* Stops accepting and reading; used by a clean stop. */
void server_stop_accepting(struct server *server);

/* ── requests ────────────────────────────────────────────────────────────────────────────────── */

/* The next complete request, or false.  Malformed input is answered and handled inside.  The
 * arguments are valid until conn_input_end (requests of one pass stay valid together).  Several may
 * be taken before the first is answered; they must be answered or deferred in the order taken.
 * After false it may be called again: answers can make way for more. */
bool conn_next_request(struct conn *conn, struct request *out_request);
/* True when nothing is left to take and what was taken stays where it is: the pass may stay open
 * while events are handled and other connections read. */
bool conn_may_wait(const struct conn *conn);
/* True when so much output waits that no further request should run: give back what was taken. */
bool conn_is_full(const struct conn *conn);
/* Gives back the last `count` requests taken (at most PIPELINE_BATCH, none of them answered or
 * deferred).  They are handed out again when the connection has drained. */
void conn_untake(struct conn *conn, uint32_t count);
/* Call after the last conn_next_request of a pass. */
void conn_input_end(struct conn *conn);

/* ── answers ─────────────────────────────────────────────────────────────────────────────────── */

/* Answers the current request now.  The reply goes straight into the output buffer when nothing is
 * owed before it, else into a slot.  The reply is valid until conn_reply_end.  `id` is the
 * request's JSON id (size 0: none). */
struct reply *conn_reply_begin(struct conn *conn, struct slice id);
void conn_reply_end(struct conn *conn);
/* Leaves a place for the answer.  The JSON id is copied.  Keeps the connection alive. */
uint64_t conn_defer(struct conn *conn, struct slice id);
/* Answers it. */
struct reply *conn_deferred_begin(struct conn *conn, uint64_t ticket);
void conn_deferred_end(struct conn *conn, uint64_t ticket);
/* Answers owed (deferred and not yet answered). */
uint32_t conn_owed(const struct conn *conn);
/* True when its client has closed the connection, or at least sends nothing more. */
bool conn_is_gone(const struct conn *conn);
/* True when every answer before this deferred one has been given. */
bool conn_is_next(const struct conn *conn, uint64_t ticket);

/* ── a connection's state, as CLIENT LIST shows it ───────────────────────────────────────────── */

enum conn_reply_mode { CONN_REPLY_ON, CONN_REPLY_OFF, CONN_REPLY_SKIP_NEXT, CONN_REPLY_SKIP };

struct conn_info {
    uint64_t id;
    enum protocol protocol; /* HELLO changes it: takes effect with the reply to HELLO itself */
    bool authenticated;
    bool no_evict, no_touch, read_only, is_blocked;
    bool by_slots; /* came by the slot port: wants to be told where a key's leader is */
    enum conn_reply_mode reply_mode; /* CLIENT REPLY; SKIP_NEXT becomes SKIP at the next request */
    enum consistency consistency;    /* CONSISTENCY command; DEFAULT: the node's */
    uint64_t created_ms, active_ms;
    uint64_t commands, bytes_in, bytes_out;
    char address[64], local_address[64];
    struct buffer name, lib_name, lib_version; /* owned by the connection */
    const char *last_command;                  /* static; NULL at first */
    uint32_t queued_input_bytes, queued_output_bytes, owed;
    int descriptor;
};

struct conn_info *conn_info(struct conn *conn); /* refreshes the counted fields */
bool conn_is_authenticated(const struct conn *conn);
bool conn_by_slots(const struct conn *conn);
/* The CONSISTENCY command's level; DEFAULT: the node's. */
enum consistency conn_consistency(const struct conn *conn);
/* Sets last_command (the name must be static). */
void conn_note_command(struct conn *conn, const char *name);
struct server *conn_server(struct conn *conn);
/* Iterates over live connections in order of id: NULL to begin. */
struct conn *server_next_conn(struct server *server, struct conn *after);
struct conn *server_find_conn(struct server *server, uint64_t id);
/* Closes after the output written so far has been sent (QUIT, errors). */
void conn_close_after_reply(struct conn *conn);
/* Closes at once (CLIENT KILL); safe also for the connection being parsed. */
void conn_kill(struct conn *conn);
