/*
 * gossip.h — drives a membership (cluster/membership.h): sockets, clocks, the code on each packet,
 * the TCP links as its other way, what it says of this node, and what others read from it.
 *
 * Packets go over UDP, from and to the cluster port's number.  Where a member does not answer
 * there, the same packets go over the RAFT links; any life on a link counts as an answer.  So
 * blocked UDP kills nobody.  Blocked TCP does not either: Raft elects other leaders, gossip says
 * ALIVE.
 *
 * Read next: gossip_seal.h, coordinator.h.
 */
#pragma once

#include "base/compiler.h"
#include "cluster/membership.h"
#include "coordinator.h"

struct gossip;
struct io_event;
struct node;
struct peer_event;

enum { PEER_FRAME_GOSSIP = 9 }; /* RAFT channel; body: a sealed packet */

/* A member's; it opens the sockets. */
struct gossip *gossip_new(struct node *node);
void gossip_free(struct gossip *gossip); /* NULL is allowed */

bool gossip_owns(const struct gossip *gossip, const struct io_event *event);
void gossip_on_event(struct node *node, const struct io_event *event);
/* Events of the RAFT links.  True: the frame was gossip. */
bool gossip_on_peer_event(struct node *node, const struct peer_event *event);
/* Once per iteration of a member's loop. */
void gossip_step(struct node *node);
uint64_t gossip_deadline_ns(const struct gossip *gossip);
/* The last thing before a clean stop: the others know at once that it was one. */
void gossip_leave(struct node *node);

enum node_state gossip_state(const struct gossip *gossip, uint64_t number);
/* Since when it has been alive without a break, as far as this node knows; 0: it is not. */
uint64_t gossip_alive_ms(const struct gossip *gossip, uint64_t number, uint64_t now_ms);
/* What is known of another member; false: no such member. */
bool gossip_view(const struct gossip *gossip, uint64_t number, struct membership_view *out_view);

struct gossip_stats {
    struct membership_stats membership;
    uint64_t dropped_key; /* not sealed with our key */
};
struct gossip_stats gossip_stats(const struct gossip *gossip);
