/*
 * conn.h — what a server and a connection are made of.  Internal to network.
 *
 * A connection's life:
 *
 *   open        in server->open, has a socket
 *   ended       the peer has closed its side; what it sent is still answered
 *   closing     nothing more is read; closed when all is answered and sent
 *   detached    has no socket any more; waits until its last ticket is answered, then is freed
 *
 * A pass is the time between server_on_event or server_next_resumable returning a connection and
 * its conn_input_end; arguments handed out live until its end.  Passes of several connections may
 * be open, as long as only the newest one reads what the io lent us.
 *
 * Input.  `fresh` is what arrived for this pass: lent by the io until its next event, or, when that
 * is little, a copy in the arena.  `input` is what was left over before.  As a
 * rule `input` is empty and requests are parsed where they lie in `fresh`.  When the beginning of a
 * request was left over, just enough of `fresh` is copied behind it to complete that one request.
 * So while there is `fresh`, `input` holds at most one request, and it is not handed out before it
 * is whole: growing `input` never moves an argument somebody holds.
 *
 * Answers.  `output` holds what may be sent.  While a deferred answer is missing, everything that
 * follows it waits: immediate answers in `later`, deferred ones that came early in their slots.
 *
 *   ticket        head            head + 1              ...   tail - 1
 *   slots         missing         answered early, 30 B        missing
 *   later                 [0 B]                [12 B]  ...            [5 B]     each slot's `after`
 *
 * Read next: server.c (accept, events), conn.c (requests), conn_reply.c (answers).
 */
#pragma once

#include "base/arena.h"
#include "base/limits.h"
#include "io/io.h"
#include "network/protocol_json.h"
#include "network/protocol_resp.h"
#include "network/server.h"

enum {
    SERVER_LISTENERS_MAX = 32,  /* two for each address */
    SERVER_SPARES_MAX = 64,     /* output buffers kept for reuse */
    SPARE_BYTES = 16 << 10,     /* a fresh output buffer, while there are spares */
    CROWDED_BYTES = 1 << 10,    /* a fresh one when more connections answer than that */
    SPARE_BYTES_MAX = 64 << 10, /* larger ones are given back to the heap */
    SLOTS_FIRST = 16,           /* slots of a connection that defers; doubled on demand */
};

/* The place of one deferred answer. */
struct slot {
    struct buffer bytes; /* the answer, when it came before its turn */
    char *id;            /* owned: JSON id to echo */
    size_t id_size;
    size_t after;           /* bytes of `later` that follow this answer */
    enum protocol protocol; /* of the time of the request: HELLO may have come behind it */
    bool is_answered;
    bool is_silent; /* CLIENT REPLY OFF: the answer is dropped */
};

/* A malformed request is answered when its turn comes: behind the requests that are in hand. */
enum malformed {
    MALFORMED_NOT,
    MALFORMED_LINE,   /* the next request can be found */
    MALFORMED_STREAM, /* it cannot: answer and close */
};

/* The lists a connection can be in.  Each has links of its own in struct conn. */
enum conn_list_kind {
    CONN_LIST_LIFE,      /* server->open or server->detached */
    CONN_LIST_DIRTY,     /* server->dirty */
    CONN_LIST_RESUMABLE, /* server->resumable */
    CONN_LISTS,
};

struct conn_list {
    struct conn *first, *last;
};

struct conn_link {
    struct conn *previous, *next; /* NULL at the ends */
};

struct conn {
    struct server *server;
    struct io_socket *socket; /* NULL: detached */
    struct conn_link links[CONN_LISTS];
    struct conn *next_in_bucket; /* in server->buckets */

    bool is_json;
    bool is_in_pass;
    bool is_borrowing; /* what this pass reads is lent by the io */
    bool is_dirty;     /* in server->dirty */
    bool is_resumable; /* in server->resumable */
    bool is_blocked;   /* not read until it has drained or the hold ends */
    bool is_ended, is_closing;
    bool is_send_blocked; /* IO_EVENT_SEND_READY will come */

    /* input */
    struct slice fresh;         /* not yet parsed bytes of this pass; not owned */
    const char *fresh_uncopied; /* the first byte of `fresh` that was not copied to `input` */
    struct buffer input;        /* owned */
    size_t input_at;            /* bytes of `input` parsed in this pass */
    size_t input_copied;        /* of the last bytes of `input`: came from `fresh` */
    uint32_t in_hand;           /* requests handed out and not yet answered or deferred */
    bool may_have_more;         /* the last conn_next_request found one */
    enum malformed malformed;   /* what the parser's error text is about */
    struct slice malformed_id;  /* JSON id to echo; lies in the arena */
    union {
        struct resp_parser resp;
        struct json_parser json;
    };

    /* answers */
    struct buffer output;
    size_t output_sent; /* bytes at the front of `output` that are gone */
    struct buffer later;
    size_t later_at;                 /* bytes at the front of `later` that are gone */
    struct slot *slots;              /* owned; a ring */
    uint32_t slots_capacity;         /* 0 or a power of two */
    uint64_t slots_head, slots_tail; /* tickets: the oldest missing, and the next to be given */
    uint32_t owed;                   /* deferred and not yet answered */
    size_t early_bytes;              /* in the slots' own buffers */

    size_t counted_input, counted_output; /* of this connection in server->stats */
    struct conn_info info;
};

/* Where a request begins, should it be given back. */
struct taken {
    const struct conn *conn;
    const char *begin;
};

struct server {
    struct io *io;
    struct server_options options;
    struct server_stats stats;
    uint64_t now_ms;
    uint64_t next_id;
    bool is_held, is_stopping;
    struct io_socket *listeners[SERVER_LISTENERS_MAX];
    uint32_t listeners_count;
    struct io_socket *slot_listener; /* the first for cluster-aware clients, of listeners */

    struct conn_list open; /* in order of id */
    struct conn_list detached;
    struct conn_list dirty;     /* have something to send, or may have to be closed */
    struct conn_list resumable; /* have input that was held back and may be parsed now */
    struct conn *ticked;        /* where server_tick goes on; NULL: at the first */
    struct conn **buckets;      /* hash table of the open connections by address */
    uint32_t buckets_count;     /* a power of two */

    uint32_t passes;                    /* open */
    struct arena arena;                 /* of the open passes: arguments, input that was copied */
    struct taken taken[PIPELINE_BATCH]; /* the requests handed out last; a ring */
    uint32_t taken_count;

    struct reply reply;       /* the one answer being written */
    struct conn *reply_conn;  /* NULL: none is being written */
    struct buffer *reply_out; /* where it goes */
    struct buffer scratch;    /* for answers nobody will read */

    struct buffer spares[SERVER_SPARES_MAX]; /* empty output buffers */
    uint32_t spares_count;
    uint32_t buffers_in_use; /* output buffers that connections have */
};

/* ── conn_list.c ─────────────────────────────────────────────────────────────────────────────── */

void conn_list_push(struct conn_list *list, enum conn_list_kind kind, struct conn *conn);
void conn_list_remove(struct conn_list *list, enum conn_list_kind kind, struct conn *conn);
/* The open connections by address, to recognise the owner of an event. */
void conn_table_add(struct server *server, struct conn *conn);
void conn_table_remove(struct server *server, struct conn *conn);
bool conn_table_has(const struct server *server, const void *owner);
void conn_table_free(struct server *server);

/* ── conn.c ──────────────────────────────────────────────────────────────────────────────────── */

/* Takes an accepted socket. */
void conn_open(struct server *server, struct io_socket *socket, bool by_slots);
/* Frees a detached connection when nothing keeps it any more: no pass, no answer, no ticket. */
void conn_release(struct conn *conn);
/* Frees the memory of a connection that is in no list. */
void conn_free(struct conn *conn);
/* Something arrived; true when a pass has begun. */
bool conn_receive(struct conn *conn, struct slice data);
/* The peer closed its side: what it sent is still answered. */
void conn_end(struct conn *conn);
/* Begins a pass over input that was held back. */
void conn_resume(struct conn *conn);
/* Stops reading until server_next_resumable. */
void conn_block(struct conn *conn);
/* Puts a blocked connection among the resumable ones if it has drained. */
void conn_unblock(struct conn *conn);
/* Puts what the connection holds into the server's statistics. */
void conn_count(struct conn *conn);

/* ── conn_reply.c ────────────────────────────────────────────────────────────────────────────── */

void conn_mark_dirty(struct conn *conn);
/* Output not yet sent, whether it may be sent or not. */
size_t conn_queued_bytes(const struct conn *conn);
/* Sends what can be sent; closes the connection when that is due. */
void conn_flush(struct conn *conn);
/* Frees what is only needed while answers are owed. */
void conn_reply_trim(struct conn *conn);
void conn_reply_free(struct conn *conn);
