/*
 * keyspace.c — making, freeing and summing up the partitions.
 */
#include "storage/keyspace.h"

#include "base/assert.h"

void keyspace_init(struct keyspace *keyspace, uint32_t count, uint64_t hash_seed)
{
    ASSERT(count >= PARTITIONS_MIN && count <= PARTITIONS_MAX);
    ASSERT((count & (count - 1)) == 0);
    *keyspace = (struct keyspace){
        .count = count,
        .slot_shift = 14 - (uint32_t)__builtin_ctz(count),
        .hash_seed = hash_seed,
    };
    for (uint32_t i = 0; i < count; i++) {
        keyspace->partitions[i] = kv_new(hash_seed);
    }
}

void keyspace_deinit(struct keyspace *keyspace)
{
    for (uint32_t i = 0; i < keyspace->count; i++) {
        kv_free(keyspace->partitions[i]);
    }
    keyspace->count = 0;
}

struct kv_stats keyspace_stats(const struct keyspace *keyspace)
{
    struct kv_stats sum = { 0 };
    for (uint32_t i = 0; i < keyspace->count; i++) {
        const struct kv_stats *one = kv_stats(keyspace->partitions[i]);
        sum.keys += one->keys;
        sum.volatile_keys += one->volatile_keys;
        sum.key_bytes += one->key_bytes;
        sum.value_bytes += one->value_bytes;
        sum.memory_bytes += one->memory_bytes;
        sum.expired += one->expired;
    }
    return sum;
}
