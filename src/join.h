/*
 * join.h — how a node becomes a member of a cluster.
 *
 * A node with an empty data directory and --seed asks over a JOIN link; whoever it asks answers:
 *
 *   newcomer                         any member
 *   JOIN_ASK      ───────────────>   leads the meta group: proposes MEMBER_ADD
 *   JOIN_WELCOME  <───────────────   when that is applied: cluster id, hash seed, partitions,
 * members JOIN_REDIRECT <───────────────   another node leads the meta group: ask there JOIN_LATER
 * <───────────────   there is no leader right now, or something is in the way JOIN_REFUSED
 * <───────────────   never like this: an operator must change something
 *
 * Asking twice is harmless: the same node id with the same incarnation is welcomed again.  So that
 * a newcomer which dies on the way is the same one when it comes back, its data directory has an
 * identity before it asks; until it is welcomed it has no cluster id.
 *
 * A lone node that is asked becomes the first member of a cluster (node_cluster_begin): between two
 * entries of its log, for which it lets no write begin for a moment.
 *
 * The newcomer asks its seeds in turn, once a second, and logs why it still waits whenever the
 * reason changes.  It serves nothing until it is welcomed.
 *
 * A cluster with a password takes only those who know it.
 *
 * Read next: members.h, node_cluster.c, network/peers.h.
 */
#pragma once

#include "base/compiler.h"
#include "members.h"

struct join;
struct node;
struct peer_event;

enum { /* kinds 30-39: JOIN channel */
       PEER_FRAME_JOIN_ASK = 30,
       PEER_FRAME_JOIN_WELCOME,
       PEER_FRAME_JOIN_REDIRECT,
       PEER_FRAME_JOIN_LATER,
       PEER_FRAME_JOIN_REFUSED,
};

/* What a newcomer says. */
struct join_question {
    struct member member;
    uint32_t partitions;   /* its operator asks for; 0: as the cluster has them */
    struct slice password; /* borrowed */
};

/* What a newcomer learns. */
struct join_welcome {
    uint8_t cluster_id[16];
    uint64_t hash_seed;
    uint32_t partitions;
    struct members members; /* with the newcomer in it */
};

struct join *join_new(void);
void join_free(struct join *join); /* NULL is allowed */

/* Events of the JOIN links of a node that serves. */
void join_on_peer_event(struct node *node, const struct peer_event *event);
/* Answers who asked; once per iteration.  Cheap while nobody asks. */
void join_step(struct node *node);

/* One iteration of a node that is no member yet (node->is_joining); as node_run_once. */
MUST_USE int join_run_once(struct node *node);

/* The bytes of the frames' bodies; pure.  Reading takes untrusted bytes. */
void join_ask_encode(const struct join_question *question, struct buffer *out);
MUST_USE bool join_ask_decode(struct slice body, struct join_question *out_question);
void join_welcome_encode(const struct join_welcome *welcome, struct buffer *out);
MUST_USE bool join_welcome_decode(struct slice body, struct join_welcome *out_welcome);
