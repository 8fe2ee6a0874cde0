/*
 * keyspace.h — the partitions of a node and the way from a key to its partition.
 *
 * slot = hash_slot(key); partition = slot >> (14 - log2 count).  The count is fixed when the
 * cluster is created.
 */
#pragma once

#include "base/hash.h"
#include "base/limits.h"
#include "storage/kv_store.h"

struct keyspace {
    struct kv *partitions[PARTITIONS_MAX]; /* owned; [0, count) */
    uint32_t count;                        /* power of two, PARTITIONS_MIN..PARTITIONS_MAX */
    uint32_t slot_shift;                   /* 14 - log2 count */
    uint64_t hash_seed;
};

void keyspace_init(struct keyspace *keyspace, uint32_t count, uint64_t hash_seed);
void keyspace_deinit(struct keyspace *keyspace);

static inline uint32_t keyspace_partition(const struct keyspace *keyspace, struct slice key)
{
    return (uint32_t)hash_slot(key) >> keyspace->slot_shift;
}

/* kv_hash of the key in whichever partition. */
static inline uint64_t keyspace_hash(const struct keyspace *keyspace, struct slice key)
{
    return hash_key(key, keyspace->hash_seed);
}

/* Sums of the partitions' statistics. */
struct kv_stats keyspace_stats(const struct keyspace *keyspace);
