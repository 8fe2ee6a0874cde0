/*
 * sim_probe.c — see sim_probe.h.
 */
#include "sim_probe.h"

#include "cluster/confchange.h"
#include "cluster/raft_internal.h"
#include "consensus.h"
#include "storage/kv_store.h"

static const struct replica *replica_of(const struct sim_machine *machine, uint32_t group)
{
    const struct consensus *consensus = machine->node->consensus;
    if (consensus == NULL || group >= consensus->count) {
        return NULL;
    }
    return consensus->replicas[group]; /* the meta group is the last one */
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

uint64_t probe_fingerprint(const struct sim_machine *machine, uint32_t group)
{
    const struct replica *replica = replica_of(machine, group);
    if (replica == NULL) {
        bool has_group = machine->node->has_shard && group < SIM_PARTITIONS;
        return has_group ? machine->node->shard.groups[group].applied + 1 : 0;
    }
    const struct raft *raft = replica->raft;
    /* Factors of their own, so that the products do not wait for each other. */
    uint64_t sum = raft->term * UINT64_C(0x9e3779b97f4a7c15);
    sum += raft->voted_for * UINT64_C(0xbf58476d1ce4e5b9);
    sum += raft->log.last_index * UINT64_C(0x94d049bb133111eb);
    sum += raft->log.last_term * UINT64_C(0xd6e8feb86659fd93);
    sum += raft->log.durable_index * UINT64_C(0xa0761d6478bd642f);
    sum += raft->commit_index * UINT64_C(0xe7037ed1a0b428db);
    sum += replica->applied * UINT64_C(0x8ebc6af09c88c6e3);
    sum += ((uint64_t)raft->role << 1 ^ raft->is_suspect) * UINT64_C(0x589965cc75374cc3);
    return sum + raft->persisted_id * UINT64_C(0x1d8e4e27c47d124f);
}

bool probe_group(const struct sim_machine *machine, uint32_t group, struct probe *out)
{
    *out = (struct probe){ 0 };
    if (!machine->node->has_shard || machine->node->is_joining) {
        return false;
    }
    const struct replica *replica = replica_of(machine, group);
    if (replica == NULL && group < SIM_PARTITIONS) { /* a lone node */
        out->applied = machine->node->shard.groups[group].applied;
        out->last = machine->node->shard.groups[group].last_index;
        return true;
    }
    if (replica == NULL) {
        return false;
    }
    const struct raft *raft = replica->raft;
    *out = (struct probe){
        .raft = raft,
        .role = raft_role(raft),
        .term = raft_term(raft),
        .voted_for = raft_voted_for(raft),
        .leader = raft_leader(raft),
        .first = raft_first_index(raft),
        .last = raft_last_index(raft),
        .commit = raft_commit_index(raft),
        .durable = raft_durable_index(raft),
        .applied = replica->applied,
        .is_hard_state_durable = raft_hard_state_is_durable(raft),
    };
    return true;
}

bool probe_entry(const struct sim_machine *machine, uint32_t group, uint64_t index,
                 struct slice *out)
{
    const struct replica *replica = replica_of(machine, group);
    if (replica == NULL || index < replica->window_first || index > replica->window_last) {
        return false;
    }
    *out = replica_bytes(replica, index);
    return true;
}

uint64_t probe_number(const struct sim_machine *machine)
{
    return machine->node->consensus->options.node;
}

bool probe_gossip(const struct sim_machine *machine, uint32_t other, struct membership_view *out)
{
    const struct sim_machine *target = &machine->sim->machines[other];
    uint64_t number = members_number(target->config.node_id);
    const struct gossip *gossip = machine->is_serving ? machine->node->gossip : NULL;
    return gossip != NULL && gossip_view(gossip, number, out);
}

uint64_t probe_incarnation(const struct sim_machine *machine)
{
    const struct gossip *gossip = machine->node->gossip;
    return gossip != NULL ? gossip_stats(gossip).membership.incarnation : 0;
}

void probe_target(const struct sim_machine *machine, uint32_t group,
                  const struct raft_config *current, struct raft_config *out)
{
    struct node *node = machine->node;
    uint32_t number = group == SIM_GROUP_META ? (uint32_t)GROUP_META : group;
    members_target(&node->members, &node_targets(node)->placement, number, current, out);
}

bool probe_is_as_wanted(const struct sim_machine *machine, uint32_t group,
                        const struct probe *probe)
{
    uint64_t index = 0;
    const struct raft_config *config = raft_config(probe->raft, &index);
    struct raft_config target;
    probe_target(machine, group, config, &target);
    return index <= probe->commit && raft_config_equal(config, &target);
}

const struct raft_config *probe_config(const struct probe *probe)
{
    bool is_committed = probe->raft->config.index <= probe->raft->commit_index;
    return is_committed ? &probe->raft->config.config : &probe->raft->config_before.config;
}

static uint64_t members_digest(const struct members *members)
{
    struct buffer bytes = { 0 };
    members_encode(members, &bytes);
    uint64_t digest = hash_key(buffer_slice(&bytes), 3);
    buffer_free(&bytes);
    return digest;
}

uint64_t probe_digest(const struct sim_machine *machine, uint32_t group)
{
    if (group == SIM_GROUP_META) {
        return members_digest(&machine->node->members);
    }
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
    return mix(digest, sessions_digest(&machine->node->shard.sessions[group]));
}
