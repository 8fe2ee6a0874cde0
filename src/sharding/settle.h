/*
 * settle.h — gives what nodes have too much of to those with room, moving as little as possible.
 *
 * Seats (replicas, or leaderships, of partitions) have been handed out by distance on the ring;
 * some nodes hold more than their limit.  As long as one does, the one furthest above it gives up a
 * seat: of all its seats, the one whose taker is nearest, relative to its own distance.  (As if it
 * gave way a little everywhere: a seat that lies between two nodes moves first.  So nearly the same
 * seats move in a list of members that differs by one.)  Where no node below its limit can take one
 * directly, the seats move along the shortest chain of nodes: a -> b -> c.
 *
 * Each chain lowers the sum of what is above limits by one; nothing passes what lies at its limit.
 */
#pragma once

#include "base/limits.h"

#include <stdint.h>

/* The cheapest seat that one node can give to another: its cost is to/from. */
struct settle_move {
    uint32_t from, to; /* distances; from 0: there is none */
    uint32_t seat;
};

struct settle {
    uint32_t count; /* nodes */
    uint32_t load[RAFT_PEERS_MAX];
    uint32_t limit[RAFT_PEERS_MAX];
    /* For each other node, the cheapest seat that `giver` can give it. */
    void (*moves)(const void *state, uint32_t giver, struct settle_move out[RAFT_PEERS_MAX]);
    void (*move)(void *state, uint32_t giver, uint32_t taker, uint32_t seat);
    void *state;
};

/* Keeps the cheaper of the move and another; earlier seats win ties. */
static inline void settle_offer(struct settle_move *best, uint32_t from, uint32_t to, uint32_t seat)
{
    if (best->from == 0 || (uint64_t)to * best->from < (uint64_t)best->to * from) {
        *best = (struct settle_move){ .from = from, .to = to, .seat = seat };
    }
}

/* Until no node is above its limit, or none of those can give anything to anybody below it. */
void settle_run(struct settle *settle);
