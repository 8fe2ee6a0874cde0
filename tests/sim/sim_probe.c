/*
 * sim_probe.c — see sim_probe.h.
 */
#include "sim_probe.h"

#include "storage/kv_store.h"

bool probe_group(const struct sim_machine *machine, uint32_t group, struct probe *out)
{
    *out = (struct probe){ 0 };
    if (group == SIM_GROUP_META) {
        return false;
    }
    out->applied = machine->node->shard.groups[group].applied;
    out->last = machine->node->shard.groups[group].last_index;
    return true;
}

bool probe_entry(const struct sim_machine *machine, uint32_t group, uint64_t index,
                 struct slice *out)
{
    (void)machine;
    (void)group;
    (void)index;
    (void)out;
    return false;
}

bool probe_votes(const struct sim_machine *machine, const struct probe *probe)
{
    (void)machine;
    (void)probe;
    return true;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

uint64_t probe_digest(const struct sim_machine *machine, uint32_t group)
{
    const struct kv *kv = machine->node->shard.keyspace.partitions[group];
    const struct kv_entry *entries[KV_SCAN_SLACK + 64];
    uint64_t position = 0;
    uint64_t digest = 0;
    do {
        uint32_t count = kv_scan(kv, &position, 64, entries, KV_SCAN_SLACK + 64);
        for (uint32_t i = 0; i < count; i++) {
            struct kv_scratch scratch;
            uint64_t hash = hash_key(kv_entry_key(entries[i]), 1);
            hash = mix(hash, hash_key(kv_entry_value(entries[i], &scratch), 2));
            hash = mix(hash, kv_entry_expire_ms(entries[i]));
            digest += mix(hash, kv_entry_version(entries[i])); /* in any order */
        }
    } while (position != 0);
    return digest;
}
