/*
 * placement.h — which nodes should hold each partition, and which should lead it.
 *
 * A pure function of the list of members (in the order in which they joined), the number of
 * partitions and the replication factor: every node computes the same, so nothing is stored or
 * agreed on but the list.
 *
 *   walk       from the partition's position clockwise round the ring to the first distinct nodes;
 *              each next one lies in a zone that has fewest of them so far, so replicas are in
 *              distinct zones while there are enough, and spread evenly over them if there are not
 *   settle     a node above its share of replicas by more than PLACEMENT_SLACK_PERCENT gives some
 *              up (settle.h); shares follow weights (fair_share.h)
 *   cap        where more than PLACEMENT_MOVED_PERCENT of the last member's share would lie
 *              elsewhere than in the placement of the list without it, moves between the others
 *              are taken back, and it takes other seats instead; that placement was made of the one
 *              of a list shorter still, and so on.  So a join moves no more than that, always
 *   lead       the nearest of a partition's replicas; then leadership is evened out to the whole
 *              number below or above each node's share: it costs no data to move
 *
 * The cap is left out where members share zones: these differ in size, and what a cap would put
 * off comes back several times over when somebody leaves.
 *
 * When a member comes or goes little more moves than it takes over or leaves behind:
 * docs/decisions/0006-placement.md has what was measured.
 *
 * The meta group bears no load that counts: it is placed by the walk alone, as if it stood where
 * partition 0 does.
 *
 * Pure: no heap.  4096 partitions on 16 nodes take tens of ms: once for each epoch.
 */
#pragma once

#include "base/limits.h"
#include "sharding/consistent_hash.h"

#include <stdint.h>

struct placement {
    uint32_t members_count, partitions;
    uint32_t replicas_count;        /* of each partition: the replication factor, or all members */
    uint64_t nodes[RAFT_PEERS_MAX]; /* as in the list; replicas are places in it */
    /* The first leads; the others by distance. */
    uint8_t replicas[PARTITIONS_MAX][RAFT_VOTERS_MAX];
    uint8_t meta[RAFT_VOTERS_MAX];
};

_Static_assert(RAFT_PEERS_MAX <= 16, "a set of nodes fits into before");

/* Memory for a computation; large, from the caller, and of no use afterwards. */
struct placement_work {
    struct ring_member members[RAFT_PEERS_MAX];
    uint8_t zone[RAFT_PEERS_MAX]; /* of each: 0..zones_count-1 */
    uint32_t zones_count;
    uint64_t share[RAFT_PEERS_MAX];
    struct placement *out;
    uint16_t before[PARTITIONS_MAX]; /* holders, without the newcomer: a bit for each */
    struct ring_point points[RING_POINTS_MAX];
    /* How far it is clockwise to the member's next point, > 0. */
    uint32_t distance[PARTITIONS_MAX][RAFT_PEERS_MAX];
};

/* members: each once, the latest last.  count: 1..RAFT_PEERS_MAX; partitions: a power of two;
 * replication_factor: 1..RAFT_VOTERS_MAX. */
void placement_compute(const struct ring_member *members, uint32_t count, uint32_t partitions,
                       uint32_t replication_factor, struct placement_work *work,
                       struct placement *out);
