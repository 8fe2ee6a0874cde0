/*
 * forward.h — requests whose leader is another node.
 *
 * Any node takes any command.  A request for a group that this node does not lead is kept here,
 * sent to the leader over the CLIENT link, and answered when the answer comes back.  While no
 * leader is known, or the leader says that it is none (definite: nothing was done), the request
 * waits and is sent again; the requests of a group always leave in the order in which they came.
 *
 * Exactly once.  A write carries its origin (node, boot, seq), which apply looks up in the group's
 * sessions (storage/sessions.h): a request that is sent again because its link broke is applied
 * once.  The node is named by the incarnation of its data directory: who comes back with an empty
 * one counts boot and seq from the beginning.  `floor` tells the leader which of ours are settled.
 * A request of a client that numbers its own (JSON client/seq) carries that origin instead.
 *
 * At most once.  The meta group has no sessions.  What it is asked for (CLUSTER DRAIN, FORGET,
 * CONFIG SET CLUSTER) is sent again only when it was refused; when leader, term or link change
 * while it is under way, it is answered UNKNOWN.  These requests keep no order among each other.
 *
 * In order.  A request names the term in which we believe the receiver to lead; a node that does
 * not lead in exactly that term refuses.  So of two requests sent in one term either both are
 * taken, in order, or the later one is refused as well.
 *
 * A request that is not settled in `request-timeout` is answered: NOQUORUM when it was never sent
 * or surely not done, UNKNOWN when it may still take effect.
 *
 * Read next: pipeline.h (pipeline_run_remote: the leader's side).
 */
#pragma once

#include "answers.h"
#include "network/peers.h"

struct command;
struct consensus;
struct entry;
struct forward;
struct pipeline;
struct log;

enum { PEER_FRAME_REQUESTS = 10, PEER_FRAME_ANSWERS = 11 }; /* kinds 10-19: CLIENT channel */

/* Who sends a write, so that apply can tell a repetition: the origin of its log entry. */
struct request_origin {
    uint64_t node, boot, seq, floor; /* node (an incarnation, or a number of the client) 0: none */
};

struct forward_request {
    uint32_t group;
    const struct command *command;
    uint32_t argc;
    const struct slice *argv; /* copied */
    bool is_write;
    bool follows_writes;          /* its connection has requests under way: a read must see their
                                     writes, a write must not be seen by their reads */
    bool is_any;                  /* a read at level ANY of what is not held here (any_gate) */
    struct request_origin origin; /* node 0: forward numbers it (writes), or none is needed */
    struct asker asker;
};

struct forward_stats {
    uint64_t sent, answered, repeated, refused, expired;
    uint64_t waiting, under_way, bytes;
};

struct forward *forward_new(struct peers *peers, struct consensus *consensus,
                            struct answers *answers, struct log *log, uint64_t node, uint64_t boot,
                            uint32_t timeout_ms);
void forward_free(struct forward *forward); /* the askers get no answer */
void forward_set_timeout(struct forward *forward, uint32_t timeout_ms);
/* Runs requests whose leader we have become, in forward_flush.  To be called before the first. */
void forward_set_pipeline(struct forward *forward, struct pipeline *pipeline);

/* Keeps a copy; the asker is answered exactly once, not before this returns. */
void forward_send(struct forward *forward, const struct forward_request *request, uint64_t now_ms);
/* True while so much is kept that no client should be read (FORWARD_BYTES_MAX). */
bool forward_is_full(const struct forward *forward);

/* True while requests of the group are kept that have not run here in this term.  A leader then
 * sends further requests through forward_send as well: they must not overtake those. */
bool forward_holds(const struct forward *forward, uint32_t group);

/* Reads with is_any that are kept. */
uint32_t forward_any_count(const struct forward *forward, uint32_t group);

/* A group has another leader, or another term, or none. */
void forward_leader_changed(struct forward *forward, uint32_t group);
/* Events of the CLIENT links.  `pipeline` runs what other nodes ask. */
void forward_on_up(struct forward *forward, uint64_t number);
void forward_on_down(struct forward *forward, uint64_t number);
void forward_on_frame(struct forward *forward, struct pipeline *pipeline,
                      const struct peer_event *event, uint64_t now_ms);
/* Once per iteration: deadlines, sends what waited, and puts requests and answers collected in this
 * iteration into frames. */
void forward_flush(struct forward *forward, uint64_t now_ms);
uint64_t forward_deadline_ms(const struct forward *forward); /* UINT64_MAX: none */
struct forward_stats forward_stats(const struct forward *forward);

/* ── the leader's side ───────────────────────────────────────────────────────────────────────── */

/* The answer of a request that came over `link`: a reply in RESP3. */
void forward_answer(struct forward *forward, uint64_t link, uint64_t request, struct slice resp,
                    uint64_t version);
/* So many bytes of answers that may be as large as the data are taken for the link; always less
 * than FORWARD_ANSWERS_BYTES_MAX, so that the answers of others pass. */
size_t forward_answer_room(const struct forward *forward, uint64_t link);
/* Surely not done: we do not lead the group in that term. */
void forward_refuse(struct forward *forward, uint64_t link, uint64_t request);

/* What pipeline.c is given for each request of a frame (implemented there). */
struct remote_request {
    uint64_t link, request;
    uint32_t group;
    uint64_t term; /* execute only when leading in it; else forward_refuse */
    const struct command *command;
    uint32_t argc;
    const struct slice *argv; /* borrowed for the call */
    bool is_write, follows_writes;
    struct request_origin origin;
};
void pipeline_run_remote(struct pipeline *pipeline, const struct remote_request *request);
