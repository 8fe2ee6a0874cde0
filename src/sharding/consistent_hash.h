/*
 * consistent_hash.h — the ring: virtual nodes on a circle of 2^64 positions.
 *
 * Every member stands at RING_POINTS_PER_WEIGHT points for each unit of its weight; a point's
 * position is the hash of (node number, i), so that it depends on no other member.  Something at a
 * position belongs to the members met walking clockwise, towards greater positions, from it.  When
 * a member joins, it takes over the arcs before its points; nothing moves between the others.
 *
 * Pure: the caller brings the memory.
 *
 * Read next: placement.h, which turns the walk into replicas.
 */
#pragma once

#include "base/limits.h"

#include <stdint.h>

struct ring_member {
    uint64_t node;   /* its number, > 0; each once */
    uint64_t zone;   /* what may fail with it, as a hash; 0: a zone of its own */
    uint32_t weight; /* 1..RING_WEIGHT_MAX */
};

struct ring_point {
    uint64_t position;
    uint32_t member; /* place in the list that the ring was built from */
};

/* Points of a ring of these members. */
uint32_t ring_size(const struct ring_member *members, uint32_t count);
/* Fills in ring_size(members, count) points, by ascending position. */
void ring_build(const struct ring_member *members, uint32_t count, struct ring_point *out_points);
