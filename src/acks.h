/*
 * acks.h — WAIT: how many replicas hold all that has been acknowledged so far.
 *
 * Every acknowledged write is in the logs of a majority.  More than that only the leader of each
 * group knows, so the node that is asked asks the others:
 *
 *   asking node                         every other node that is alive
 *   ACKS_ASK id, ms    ────────────>    notes the last index of each group it leads for certain;
 *                                       ms 0: forgets
 *   ACKS_TELL id, n    <────────────    how many followers hold all of these, whenever that grows,
 *             groups                    and which groups these are
 *
 * The answer is the least that any of them says.  A group that nobody vouches for (its leader is
 * unknown, or has just lost its lease) counts with the majority that its writes had.
 *
 * "Hold" means on disk where the follower syncs its log, which is the default.
 *
 * Read next: coordinator.h.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct acks;
struct node;
struct peer_event;

enum { /* kinds 3-9: RAFT channel, as the coordinator's */
       PEER_FRAME_ACKS_ASK = 3,
       PEER_FRAME_ACKS_TELL = 4,
};

/* boot: grows with every start; what was asked before a crash is not what is asked now. */
struct acks *acks_new(uint64_t boot);
void acks_free(struct acks *acks); /* NULL is allowed */

/* Begins to count; 0: too many are counted for already.  Ends with acks_end. */
uint64_t acks_begin(struct node *node);
/* Replicas, besides the leaders, that are known to hold all that was acknowledged before
 * acks_begin.  With id 0: what the majorities alone say. */
uint32_t acks_count(const struct node *node, uint64_t id);
void acks_end(struct node *node, uint64_t id);

/* Once per iteration; cheap while nobody waits. */
void acks_step(struct node *node);
/* A frame of a RAFT link: true when it was for us. */
bool acks_on_frame(struct node *node, const struct peer_event *event);
