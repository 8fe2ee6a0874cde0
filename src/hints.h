/*
 * hints.h — who leads what, as the leaders themselves say it.
 *
 * A node that holds a group learns its leader from Raft.  All others need to be told, to pass
 * requests on and to show the cluster: each node tells every other one, over the RAFT link, which
 * groups it leads, in which term and with which members, and how many partitions it holds; when
 * that changes (gathered for a moment), and all of it when a link comes up and every few seconds.
 *
 * Of one group the word of the highest term counts.  Hints are advice: a wrong one costs a refusal
 * (forward.h), and no group's configuration follows from any.  What WAIT counts of groups that are
 * not held here (acks.c) is as old as the hint.
 *
 * What a node says of itself is more than advice: how many partitions count on it, and the epoch of
 * the members at which it says so.  Behind that epoch a node that is to leave takes nothing in any
 * more (consensus.c), so what a draining node says of nothing stays true (roster_step.c).
 *
 * Read next: replica.h (hint_term), vacancy.h.
 */
#pragma once

#include "hints_wire.h"
#include "members.h"

struct hints;
struct node;
struct peer_event;
struct replica;

enum { PEER_FRAME_HINTS = 7 }; /* RAFT channel */

struct hint {
    uint64_t leader; /* 0: whoever led in that term does so no more */
    uint64_t term;
    uint8_t flags;              /* hints_wire.h */
    uint64_t bytes_left;        /* to move to another node */
    struct raft_config members; /* of the group; as of when the leader said so */
};

struct hints *hints_new(uint32_t partitions);
void hints_free(struct hints *hints); /* NULL is allowed */

/* Once per iteration of a member's loop. */
void hints_step(struct node *node);
/* Events of the RAFT links.  True: the frame was for us. */
bool hints_on_peer_event(struct node *node, const struct peer_event *event);

/* What is known of a partition that another node leads; NULL: nothing. */
const struct hint *hints_of(const struct hints *hints, uint32_t partition);
/* What a node last said of itself. */
struct hints_held {
    uint32_t partitions; /* that it holds, or may hold */
    uint64_t epoch; /* of the members, as on its disk when it said so; 0: it has said nothing */
};
struct hints_held hints_held(const struct hints *hints, uint64_t node);
/* It has said of just this list of members that no partition counts on it.  What others know of
 * configurations may be old, and a leader that is behind the times may still put it into one: only
 * its own word counts, and only of the list by which it is to leave. */
bool hints_holds_nothing(const struct hints *hints, uint64_t node, uint64_t epoch);
/* The partitions the node says it leads, one after the other: *at is 0 to begin.  NULL: no more. */
const struct hint *hints_next_led(const struct hints *hints, uint64_t node, uint32_t *at,
                                  uint32_t *out_partition);
/* What is to be told of a partition that this node leads, beside what consensus knows.  It is of
 * the replica's term: who leads again, later, begins anew. */
void hints_set_moving(struct hints *hints, const struct replica *replica, uint8_t flags,
                      uint64_t bytes_left);
