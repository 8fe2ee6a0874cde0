/*
 * partition.h — slots, partitions, and where a partition stands on the circle.
 *
 * A key's slot (hash_slot) is Redis Cluster's.  A partition is a range of slots of equal size;
 * there are 2^n partitions, fixed when a cluster is founded.  Partition p stands on the hash circle
 * of 2^64 positions at p/count of the way round: slots are hashes already, so even steps are as
 * random as hashing p again, and share the circle out more evenly
 * (docs/decisions/0006-placement.md).
 *
 * Read next: consistent_hash.h, placement.h.
 */
#pragma once

#include "base/assert.h"
#include "base/limits.h"

#include <stdbool.h>
#include <stdint.h>

static inline bool partition_count_is_valid(uint32_t count)
{
    return count >= PARTITIONS_MIN && count <= PARTITIONS_MAX && (count & (count - 1)) == 0;
}

/* Slots of one partition. */
static inline uint32_t partition_slots(uint32_t count)
{
    ASSERT(partition_count_is_valid(count));
    return SLOTS_COUNT / count;
}

static inline uint32_t partition_of_slot(uint32_t slot, uint32_t count)
{
    ASSERT(slot < SLOTS_COUNT);
    return slot / partition_slots(count);
}

static inline uint32_t partition_first_slot(uint32_t partition, uint32_t count)
{
    ASSERT(partition < count);
    return partition * partition_slots(count);
}

static inline uint64_t partition_position(uint32_t partition, uint32_t count)
{
    ASSERT(partition_count_is_valid(count));
    ASSERT(partition < count);
    uint64_t step = (UINT64_MAX >> 1) / count * 2 + 2; /* 2^64 / count, a power of two */
    return partition * step;
}
