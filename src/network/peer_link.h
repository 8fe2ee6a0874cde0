/*
 * peer_link.h — one link between two nodes: its life, what it receives and what it sends.
 *
 *   dialed:    CONNECTING -> GREETING -> UP -> DOWN
 *   accepted:                GREETING -> UP -> DOWN        (refused: GREETING -> CLOSING -> DOWN)
 *
 * With a cluster-secret PROVING lies between GREETING and UP.
 *
 * Received bytes are parsed where they lie, in the buffer of the io.  Only a line or a frame that
 * is not whole is copied, into `input`, which never holds more than one.  What is sent is built in
 * `output`, behind what still waits there.
 *
 * A link that is DOWN has no socket any more.  Its struct stays until its PEER_EVENT_DOWN has been
 * handed out, so nothing that was borrowed from it dangles.
 *
 * The links lie in a table of fixed size.  Link number and place go together: id = count * table
 * size + place.  What the io knows as a socket's owner is the address of the place; so an event's
 * owner is ours exactly if it points into the table.
 *
 * Private to peers.c, peer_link.c and peer_greet.c.  Read next: peer_link.c.
 */
#pragma once

#include "base/buffer.h"
#include "base/limits.h"
#include "base/prng.h"
#include "io/io.h"
#include "network/peer_proof.h"
#include "network/peers.h"

enum {
    LINK_REASON_MAX = 400,
    PEER_LISTENERS_MAX = 4,
    MEMBER_DIALS = 2, /* channels dialed to every member: PEER_RAFT and PEER_CLIENT */
    LINK_WORDS = PEER_LINKS_MAX / 64,
};

_Static_assert(PEER_RAFT == 0 && (int)PEER_CLIENT == MEMBER_DIALS - 1, "they index member.dials");

enum link_state {
    LINK_CONNECTING,
    LINK_GREETING, /* waits for the other side's HELLO */
    LINK_PROVING,  /* HELLOs were exchanged; waits for the other side's proof */
    LINK_UP,
    LINK_CLOSING, /* what is queued is sent, then it is closed */
    LINK_DOWN,
};

struct peer_link {
    struct peers *peers;
    uint64_t id;
    uint32_t place;
    enum link_state state;
    enum peer_channel channel;
    bool is_outgoing;
    bool is_announced; /* UP was handed out */
    bool is_down_owed; /* somebody knows the id */
    bool is_send_blocked;
    uint64_t number; /* who is there, or has to be; 0: unknown */
    struct io_socket *socket;
    struct peer_hello hello; /* the other side's */
    struct peer_route route_in, route_out;
    struct buffer said;        /* with a secret: our HELLO, until the answer is here (dialed) */
    struct peer_proofs proofs; /* PROVING */

    struct buffer input; /* a part of a line or of a frame */
    struct buffer output;
    size_t output_at; /* sent up to here */
    uint8_t frame_kind, frame_flags;
    size_t frame_max; /* room behind `output` for the body of the frame being built */

    uint64_t opened_ns, up_ns;
    uint64_t deadline_ns; /* until UP, and in CLOSING */
    uint64_t heard_ns;    /* something was received */
    uint64_t spoke_ns;    /* a frame was queued */
    uint64_t rtt_ns;
    uint64_t bytes_in, bytes_out, frames_in, frames_out;
    char reason[LINK_REASON_MAX];
};

/* A link we keep up, or try to. */
struct peer_dial {
    struct peer_link *link; /* NULL: none; then due_ns counts */
    uint64_t due_ns;
    uint32_t backoff_ms;
    char trouble[LINK_REASON_MAX];
};

struct peers_member {
    struct peer_member at;
    uint64_t epoch; /* 0: of our list; else only of a later one: it knows that list, we do not */
    struct peer_dial dials[MEMBER_DIALS]; /* by channel */
};

struct peers {
    struct io *io;
    struct peers_options options;
    struct prng prng;
    struct hmac *key; /* of proofs; NULL: there is no secret */
    struct io_socket *listeners[PEER_LISTENERS_MAX];
    uint32_t listeners_count;

    struct peer_link *links[PEER_LINKS_MAX]; /* NULL: the place is free */
    uint32_t places_used;                    /* places at and behind this one were never used */
    uint64_t ids_given;
    uint64_t dirty[LINK_WORDS]; /* bit: has something to send, and there is room for it */
    uint64_t ended[LINK_WORDS]; /* bit: is DOWN, and that is to be handed out */

    struct peers_member members[PEER_MEMBERS_MAX];
    uint32_t members_count;
    struct peer_removed removed[PEER_REMOVED_MAX];
    uint32_t removed_count;
    bool was_removed; /* a member says that we were */

    struct peer_link *current; /* has received `fresh`, not yet parsed */
    struct slice fresh;
    struct peer_link *handed_input; /* its `input` was handed out: empty it */
    struct peer_link *handed_down;  /* its DOWN was handed out: free it */
    struct peer_link *framing;      /* has a frame begun */

    uint64_t now_ns; /* as of the latest event or tick */
    uint64_t deadline_ns;
    struct peers_stats stats;
    char complaint[LINK_REASON_MAX + 200];
    uint64_t complaint_ns; /* when one was given */
    uint32_t complaints;   /* since then */
};

/* ── peer_link.c ─────────────────────────────────────────────────────────────────────────────── */

/* A link in a free place, or NULL. */
struct peer_link *link_new(struct peers *peers, enum link_state state);
/* Frees it and its place. */
void link_free(struct peer_link *link);
/* Ends it (once): the socket is closed, DOWN is to be handed out. */
void link_down(struct peer_link *link, const char *reason);
/* Tells the other side why not, and ends it when that has been sent. */
void link_refuse(struct peer_link *link, const char *code, const char *reason);
/* What a negative result of the io means, for people. */
const char *link_error_text(int64_t result);
/* Queues our HELLO, with a nonce where there is a secret. */
void link_say_hello(struct peer_link *link);
/* The greeting is over. */
void link_up(struct peer_link *link);

enum link_received {
    LINK_RECEIVED_ALL,   /* `fresh` is used up */
    LINK_RECEIVED_OTHER, /* something was dealt with: look again */
    LINK_RECEIVED_FRAME, /* `out_frame` is for our caller */
};
/* Goes on with peers->fresh, which the current link has received. */
enum link_received link_receive(struct peer_link *link, struct peer_frame *out_frame);

/* The frame that was handed out of `input` is not needed any more. */
void link_input_release(struct peer_link *link);

/* Says something if nothing is on its way. */
void link_ping(struct peer_link *link);
void link_send(struct peer_link *link);
uint64_t link_queued_bytes(const struct peer_link *link);
char *link_frame_begin(struct peer_link *link, uint8_t kind, size_t body_max);
void link_frame_end(struct peer_link *link, size_t body_size);

/* ── peers.c ─────────────────────────────────────────────────────────────────────────────────── */

const struct peers_member *peers_member_find(const struct peers *peers, uint64_t number);
/* It knows a later list of members than we do, and so may be a member of that one. */
bool peers_knows_later(const struct peers *peers, const struct peer_hello *hello);
/* Makes it one of ours until our list is as late as its own. */
void peers_take_in(struct peers *peers, const struct peer_hello *hello);
/* A member has just dialed us: it is there, so no more patience with our own links to it. */
void peers_hasten(struct peers *peers, uint64_t number);
/* A link goes down: it is dialed again later if it is one of those we keep. */
void peers_note_down(struct peer_link *link);
void peers_mark_dirty(struct peer_link *link);
void peers_wake_at(struct peers *peers, uint64_t deadline_ns);
/* Notes it for the log. */
void peers_complain(struct peer_link *link, const char *text);

/* ── peer_greet.c ────────────────────────────────────────────────────────────────────────────── */

/* A listener has a new connection, or has none to give. */
void peers_accept(struct peers *peers, const struct io_event *event);
/* A dialed link is connected: it says HELLO. */
void peers_greet_first(struct peer_link *link);
/* The line a link waited for has come, good or not: it goes on, goes UP, or ends. */
void peers_greet(struct peer_link *link, struct slice line);
