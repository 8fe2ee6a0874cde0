/*
 * coordinator.h — makes of the list of members what the groups should be, one small step at a time.
 *
 * A few times a second, for each group this node leads:
 *
 *   configuration   one step towards members_target (moves.h)
 *   leadership      members_home leads, if it answers and has nearly all of the log.  Few at a
 * time; none for a minute after an operator has moved leadership (FAILOVER).
 *
 * Only leaders act and every step goes through the group's own log, so nothing has to be agreed on
 * beyond the list of members.
 *
 * Whether another node is there, gossip says (gossip.h); whether it is to be reached elsewhere than
 * the list says, the links.
 *
 * Read next: members.h, consensus.h.
 */
#pragma once

#include "base/compiler.h"
#include "members.h"

struct coordinator;
struct node;
struct peer_event;
struct replica;

/* RAFT channel: leadership is being moved by hand, leave it where it is put.  Body: u32 for how
 * many ms, u8 1: the sender is about to stop, give it none. */
enum { PEER_FRAME_STAY = 2, STAY_BYTES = 5 };

enum node_state { NODE_ALIVE, NODE_SUSPECT, NODE_DEAD, NODE_LEFT };

/* written_index: of the list of members that the meta file holds.  is_settled: no replica of this
 * node is suspect. */
struct coordinator *coordinator_new(uint64_t written_index, bool is_settled);
void coordinator_free(struct coordinator *coordinator); /* NULL is allowed */

/* Once per iteration of a member's loop. */
void coordinator_step(struct node *node);
/* The epoch of the list of members, once the disk has just this list; else 0. */
uint64_t coordinator_written_epoch(const struct node *node);
/* The list of members has changed: the next step is due. */
void coordinator_hurry(struct coordinator *coordinator);
/* Events of the RAFT links.  True: the frame was for the coordinator. */
bool coordinator_on_peer_event(struct node *node, const struct peer_event *event);

enum node_state coordinator_state(const struct node *node, uint64_t number);
const char *coordinator_state_name(enum node_state state);
/* Since when it has been alive without a break, as far as this node knows; 0: it is not. */
uint64_t coordinator_alive_ms(const struct node *node, uint64_t number);
/* What a member said of itself in its last HELLO; "" when it has said nothing yet. */
const char *coordinator_version(const struct node *node, uint64_t number);

/* A member as its last HELLO showed it; false: it has said nothing yet. */
bool coordinator_heard_at(const struct node *node, const struct member *listed,
                          struct member *out_now);

enum { COORDINATOR_READY_ENTRIES = 1000 }; /* who lacks no more than that has caught up */
/* Of a group this node leads: the peer answered lately and lacks no more entries than that. */
bool coordinator_peer_is_close(const struct node *node, const struct replica *replica,
                               uint64_t number, uint64_t entries);
/* Hands over leadership of a group, unless that was tried just now. */
void coordinator_hand_over(struct node *node, struct replica *replica, uint64_t target);

/* An operator moves leadership away from this node: of one group, or of all (group UINT32_MAX).
 * target: who shall lead; 0: whoever is best placed. */
enum failover_result {
    FAILOVER_OK,
    FAILOVER_NOT_LEADER, /* of that group, or of any */
    FAILOVER_NO_TARGET,  /* nobody can take over right now */
    FAILOVER_LONE,       /* there is nobody else */
};
enum failover_result coordinator_failover(struct node *node, uint32_t group, uint64_t target);

/* What an operator has asked for before (FAILOVER) is over: leaders go home, here and elsewhere.
 * Returns how many partitions are led by another node than they should, as far as this one knows.
 */
uint32_t coordinator_rebalance(struct node *node);

/* A clean stop: leadership goes to others first.  True when there is nothing left to hand over, or
 * nobody to take it, or it took too long. */
bool coordinator_may_stop(struct node *node);
