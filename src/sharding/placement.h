/*
 * placement.h — which nodes should hold each partition, and which should lead it.
 *
 * A pure function of the list of members (in any order), the number of partitions and the
 * replication factor: every node computes the same, so nothing is stored or agreed on but the list.
 *
 *   walk       from the partition's position clockwise round the ring to the first distinct nodes;
 *              each next one lies in a zone that has fewest of them so far, so replicas are in
 *              distinct zones while there are enough, and spread evenly over them if there are not
 *   settle     a node above its share of replicas by more than PLACEMENT_SLACK_PERCENT gives some
 *              up (settle.h); shares follow weights (fair_share.h)
 *   lead       the nearest of a partition's replicas; then leadership is evened out to the whole
 *              number below or above each node's share: it costs no data to move
 *
 * When a member comes or goes little more moves than it takes over or leaves behind:
 * docs/decisions/0006-placement.md has what was measured.
 *
 * The meta group bears no load that counts: it is placed by the walk alone, as if it stood where
 * partition 0 does.
 *
 * Pure: no heap.  4096 partitions on 16 nodes take some 10 ms: once for each epoch.
 */
#pragma once

#include "base/limits.h"
#include "sharding/consistent_hash.h"

#include <stdint.h>

struct placement {
    uint32_t members_count, partitions;
    uint32_t replicas_count;        /* of each partition: the replication factor, or all members */
    uint64_t nodes[RAFT_PEERS_MAX]; /* ascending; replicas are places in this list */
    /* The first leads; the others by distance. */
    uint8_t replicas[PARTITIONS_MAX][RAFT_VOTERS_MAX];
    uint8_t meta[RAFT_VOTERS_MAX];
};

/* Memory for a computation; large, from the caller, and of no use afterwards. */
struct placement_work {
    struct ring_member members[RAFT_PEERS_MAX]; /* ascending by node */
    uint8_t zone[RAFT_PEERS_MAX];               /* of each: 0..zones_count-1 */
    uint32_t zones_count;
    uint64_t share[RAFT_PEERS_MAX];
    struct placement *out;
    struct ring_point points[RING_POINTS_MAX];
    /* How far it is clockwise to the member's next point, > 0. */
    uint32_t distance[PARTITIONS_MAX][RAFT_PEERS_MAX];
};

/* count: 1..RAFT_PEERS_MAX; partitions: a power of two; replication_factor: 1..RAFT_VOTERS_MAX. */
void placement_compute(const struct ring_member *members, uint32_t count, uint32_t partitions,
                       uint32_t replication_factor, struct placement_work *work,
                       struct placement *out);
