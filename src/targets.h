/*
 * targets.h — where the list of members puts partitions, computed once for each epoch.
 *
 * The placement (sharding/placement.h) follows from the list alone, of which it sees the members
 * that are ACTIVE; this keeps it, and the ring's
 * points for whoever wants to look at them, until the list changes.
 *
 * Read next: sharding/placement.h; members.h, which makes configurations of it.
 */
#pragma once

#include "members.h"
#include "sharding/consistent_hash.h"
#include "sharding/placement.h"

/* All zero: nothing computed yet. */
struct targets {
    uint64_t epoch; /* of the list */
    uint32_t replication_factor;
    uint32_t points_count;
    struct ring_point *points; /* their members are places in the list */
    uint32_t virtual_nodes[MEMBERS_MAX];
    struct placement placement;
};

/* Brings it up to date with the list, which must not differ where epoch does not. */
void targets_follow(struct targets *targets, const struct members *members, uint32_t partitions,
                    uint32_t replication_factor);
void targets_deinit(struct targets *targets);
