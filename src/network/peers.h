/*
 * peers.h — the links between this node and the others.
 *
 * A link is one TCP connection, opened by one side for one purpose (its channel).  To every member
 * of the cluster but ourselves two links are dialed, and dialed again when they break: PEER_RAFT
 * and PEER_CLIENT.  Links for PEER_BULK and PEER_JOIN are dialed when somebody asks (peers_dial).
 * The others do the same, so between two nodes there are usually four links.  Frames go both ways
 * over a link; answer a question on the link it came over.
 *
 * There are no callbacks.  The loop of the program:
 *
 *   while (io_next(io, &event))
 *       if (peers_owns(peers, &event))
 *           peers_on_event(peers, &event)
 *           while (peers_next(peers, &peer_event)) ...     before the next io_next: frames are
 *                                                          handed out where they were received
 *   peers_tick(peers, now_ns);  while (peers_next(...)) ...
 *   peers_flush(peers)                                     sends all that was queued
 *   io_wait(io, peers_has_work(peers) ? 0 : min(..., peers_deadline_ns(peers)))
 *
 * What callers can rely on
 *   - A link that was shown by PEER_EVENT_UP, or whose id peers_dial returned, ends with exactly
 *     one PEER_EVENT_DOWN, whoever ended it.  No frame comes before UP or after DOWN.  Link ids are
 *     never used again, and every function accepts the id of a link that is gone.
 *   - A frame that is handed out is whole, undamaged, of our cluster, from the incarnation that
 *     said HELLO and to ours.  On all channels but PEER_JOIN that is a member's.
 *   - A frame that was queued is delivered once or, when the link breaks, perhaps not at all;
 * frames of one link are delivered in order.
 *   - A peer that says nothing for 3 s (options) is DOWN.  Each side says something every second.
 *   - With a secret no link is UP, none is replaced and nobody is taken for a member, and no word
 * of our removal counts, before the other side has proved that it knows the secret.
 *   - Memory is bounded: links (PEER_LINKS_MAX), bytes before HELLO, the queue of a link (its
 *     channel's bound plus one frame), one frame being received per link; of PEER_JOIN links we
 *     accepted at most PEER_JOIN_BYTES_MAX.
 *
 * Read next: protocol_peer.h, peer_link.h, peers.c.
 */
#pragma once

#include "base/slice.h"
#include "network/protocol_peer.h"

#include <stdbool.h>
#include <stdint.h>

struct io;
struct io_event;
struct peers;

enum {
    PEER_KIND_INTERNAL = 240, /* frame kinds from here on are the links' own */
};

/* Times of 0 stand for the default in brackets. */
struct peers_options {
    struct peer_hello self;      /* its channel is not used */
    uint64_t seed;               /* of the redial jitter */
    const char *secret;          /* that both sides must know; NULL, "": none.  Not kept */
    uint32_t hello_timeout_ms;   /* from dialing or accepting to the greeting's end (2000) */
    uint32_t ping_interval_ms;   /* an idle link says something this often (1000) */
    uint32_t silence_timeout_ms; /* nothing heard: the link is broken (3000) */
    uint32_t redial_min_ms;      /* (50) */
    uint32_t redial_max_ms;      /* (1000) */
};

/* Somebody whom we dial and accept. */
struct peer_member {
    uint64_t number;
    uint64_t incarnation;
    char host[64];
    uint16_t port; /* its cluster port */
};

struct peer_removed {
    uint64_t number, incarnation;
};

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

struct peers *peers_new(struct io *io, const struct peers_options *options);
/* Closes everything; no events. */
void peers_free(struct peers *peers);
/* May be called for several addresses.  port 0: the kernel chooses, see peers_port.  < 0: -errno.
 */
MUST_USE int peers_listen(struct peers *peers, const char *host, uint16_t port);
/* Of the first listener; 0: none. */
uint16_t peers_port(const struct peers *peers);
/* Who we are from now on (after a join: the cluster id).  When cluster, number or incarnation
 * change, all links but PEER_JOIN are closed. */
void peers_set_self(struct peers *peers, const struct peer_hello *self);
/* Replaces the list of members (copied; at most PEER_MEMBERS_MAX; may contain ourselves).  Members
 * known before, with the same number, incarnation and address, keep their links; links of nodes
 * that are no members any more are closed (not PEER_JOIN).  Besides these, a node that knows a
 * later list than we do (its HELLO says so) is taken for a member until ours is as late: the
 * cluster's leader may be somebody of whom only he can tell us. */
void peers_set_members(struct peers *peers, const struct peer_member *members, uint32_t count);

/* Where the member is dialed; false when it is none. */
MUST_USE bool peers_address(const struct peers *peers, uint64_t number, struct peer_member *out);

/* Data directories whose nodes belong here no more (copied; at most PEER_REMOVED_MAX): they are
 * told so. */
void peers_set_removed(struct peers *peers, const struct peer_removed *removed, uint32_t count);
/* True when a member has said so of us. */
bool peers_was_removed(const struct peers *peers);

/* ── the loop ────────────────────────────────────────────────────────────────────────────────── */

/* True when the event's owner is this peers or one of its links. */
bool peers_owns(const struct peers *peers, const struct io_event *event);
/* Takes the event in; peers_next has what follows from it. */
void peers_on_event(struct peers *peers, const struct io_event *event);

enum peer_event_kind {
    PEER_EVENT_UP,   /* the greeting is over; frames can be sent */
    PEER_EVENT_DOWN, /* the link ended (or could not be established) */
    PEER_EVENT_FRAME,
};

struct peer_event {
    enum peer_event_kind kind;
    enum peer_channel channel;
    bool is_outgoing; /* we dialed it */
    uint64_t link;
    uint64_t number;                /* the member at the other end; 0: unknown (PEER_JOIN; DOWN of a
                                       dial without a number that failed) */
    const struct peer_hello *hello; /* UP: who it says to be; its `channel` is the link's */
    const char *reason;             /* DOWN: why, for people */
    uint8_t frame_kind;             /* FRAME */
    uint8_t flags;
    struct slice body;
};

/* The next event, or false.  What it points to is borrowed until the next peers_next or
 * peers_on_event: all else (answering, closing the very link, setting members) leaves it alone. */
bool peers_next(struct peers *peers, struct peer_event *out_event);
/* Sends what is queued.  Once per iteration, before sleeping. */
void peers_flush(struct peers *peers);
/* Redials, pings, timeouts.  Cheap when nothing is due. */
void peers_tick(struct peers *peers, uint64_t now_ns);
/* When peers_tick has something to do; UINT64_MAX: never. */
uint64_t peers_deadline_ns(const struct peers *peers);
/* Something to hand out or to send right now (do not sleep). */
bool peers_has_work(const struct peers *peers);

/* ── links ───────────────────────────────────────────────────────────────────────────────────── */

/* Opens a link to an address.  number: who must answer there (0: whoever it is; on all channels but
 * PEER_JOIN the one who answers must be a member anyway).  Returns the link's id, and UP or DOWN
 * follows; or 0 when there are too many links. */
uint64_t peers_dial(struct peers *peers, const char *host, uint16_t port, enum peer_channel channel,
                    uint64_t number);
/* Ends a link.  What was queued and not flushed is lost.  DOWN follows. */
void peers_close(struct peers *peers, uint64_t link);
/* As peers_close, but what was queued is sent first; nothing more is received or queued. */
void peers_close_after_flush(struct peers *peers, uint64_t link);
/* The established link we dialed to this member (PEER_RAFT or PEER_CLIENT); 0: down. */
uint64_t peers_link(const struct peers *peers, uint64_t number, enum peer_channel channel);
/* Queued and not yet taken by the operating system; 0 for a link that is gone. */
uint64_t peers_queued_bytes(const struct peers *peers, uint64_t link);

/* Begins a frame: returns where its body goes, with room for body_max <= PEER_FRAME_BYTES_MAX
 * bytes, or NULL: the link is gone or not up, or its queue is full.  kind < PEER_KIND_INTERNAL.
 * The place is valid until peers_frame_end, and no other peers_ function may come between; a frame
 * that is begun and never ended is not sent. */
MUST_USE char *peers_frame_begin(struct peers *peers, uint64_t link, uint8_t kind, size_t body_max);
/* Sets the flags of the frame that was begun (0 unless set). */
void peers_frame_flags(struct peers *peers, uint64_t link, uint8_t flags);
/* Queues the frame that was begun, with the first body_size bytes (<= body_max). */
void peers_frame_end(struct peers *peers, uint64_t link, size_t body_size);

/* ── for people ──────────────────────────────────────────────────────────────────────────────── */

struct peers_stats {
    uint64_t bytes_in, bytes_out, frames_in, frames_out;
    uint64_t links_up_total; /* established so far */
    uint64_t hellos_refused; /* by us */
    uint64_t refusals;       /* of us, by others */
    uint64_t bad_frames;
    uint64_t silences;      /* links closed because nothing was heard */
    uint64_t queue_full;    /* frames not taken because the queue was full */
    uint64_t accept_errors; /* no descriptors, or too many links */
    uint32_t links_up, links;
};

const struct peers_stats *peers_stats(const struct peers *peers);

struct peer_link_info {
    uint64_t link;
    uint64_t number;
    char node[64]; /* "" before HELLO */
    char address[64];
    enum peer_channel channel;
    bool is_outgoing, is_up;
    uint64_t age_ms, heard_ms; /* since it was opened; since something was received */
    uint64_t rtt_us;           /* of the last ping; 0: none yet */
    uint64_t bytes_in, bytes_out, frames_in, frames_out, queued_bytes;
};

/* What the other side of an up link has said of itself; NULL: there is no such link.  Valid until
 * the next peers_ call. */
const struct peer_hello *peers_hello(const struct peers *peers, uint64_t link);
/* One link after the other: *at is 0 to begin.  False: no more. */
bool peers_link_next(const struct peers *peers, uint32_t *at, struct peer_link_info *out_info);
/* Why the link we dial to this member is not up; "" when it is, or nothing has gone wrong yet. */
const char *peers_trouble(const struct peers *peers, uint64_t number, enum peer_channel channel);
/* The latest refusal or bad frame as one line for the log, or NULL: none, or one was given less
 * than a second ago.  Counts those left out.  Valid until the next peers_ call. */
const char *peers_complaint(struct peers *peers);
