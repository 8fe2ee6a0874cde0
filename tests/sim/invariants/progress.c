/*
 * progress.c — I27, I28, I32: once a majority has good links again, every group has a leader there,
 * its members in the core have applied the same and hold the same, and nobody else in the core
 * holds anything of it.  When everybody is in the core it lies where the list of members puts it.
 *
 * (That every request of a client ends, I29, and that the terms come to rest, I30, is looked at by
 * the phases in cluster_sim.c.)
 */
#include "checks.h"
#include "cluster/confchange.h"
#include "replica.h"

#include <inttypes.h>
#include <stdio.h>

/* The leader of a settled group in the core; NULL: none, or more. */
static const struct sim_machine *leader_in_core(const struct sim *sim, uint32_t group,
                                                struct probe *out)
{
    const struct sim_machine *leader = NULL;
    uint32_t leaders = 0;
    for (uint32_t i = 0; i < sim->plan.nodes; i++) {
        struct probe probe;
        if ((sim->core >> i & 1) != 0 && sim->machines[i].is_serving &&
            probe_group(&sim->machines[i], group, &probe) &&
            (probe.raft == NULL || probe.role == RAFT_LEADER)) {
            leader = &sim->machines[i];
            leaders++;
            *out = probe;
        }
    }
    return leaders == 1 ? leader : NULL;
}

/* Everybody is there: then the group lies where the list of members puts it. */
static bool is_at_target(const struct sim *sim, const struct sim_machine *leader, uint32_t group,
                         const struct raft_config *config)
{
    struct raft_config target;
    uint32_t members = leader->node->members.count;
    bool is_whole = (uint32_t)__builtin_popcount(sim->core) == members;
    members_target(&leader->node->members, &node_targets(leader->node)->placement,
                   group == SIM_GROUP_META ? (uint32_t)GROUP_META : group, config, &target);
    return !is_whole || raft_config_equal(config, &target);
}

/* The machine has of the group what it should have. */
static bool is_in_order(const struct sim *sim, const struct sim_machine *machine, uint32_t group,
                        const struct probe *leader, uint64_t digest, char *out_why, size_t why_size)
{
    struct probe probe;
    const char *name = sim_node_name(machine->machine);
    if (!machine->is_serving || !probe_group(machine, group, &probe) ||
        (sim->plan.nodes > 1 && probe.raft == NULL)) {
        (void)snprintf(out_why, why_size, "%s has no group %u", name, group);
        return false;
    }
    if (probe.raft != NULL && raft_config_find(probe_config(leader), probe_number(machine)) < 0) {
        return check_hosting_is_empty(machine, group, out_why, why_size);
    }
    if (probe.applied != probe.last || probe.applied != leader->applied) {
        (void)snprintf(out_why, why_size,
                       "%s, group %u: applied %" PRIu64 " of %" PRIu64 ", the leader %" PRIu64,
                       name, group, probe.applied, probe.last, leader->applied);
        return false;
    }
    if (probe_digest(machine, group) != digest) {
        (void)snprintf(out_why, why_size, "%s, group %u: another state", name, group);
        return false;
    }
    if (probe.raft != NULL && raft_is_suspect(probe.raft)) {
        (void)snprintf(out_why, why_size, "%s, group %u: still a suspect", name, group);
        return false;
    }
    return true;
}

static bool group_has_converged(const struct sim *sim, uint32_t group, char *out_why,
                                size_t why_size)
{
    struct probe probe;
    const struct sim_machine *leader = leader_in_core(sim, group, &probe);
    (void)snprintf(out_why, why_size, "group %u has not one leader in the core", group);
    if (leader == NULL) {
        return false;
    }
    uint64_t at = 0;
    if (probe.raft != NULL &&
        (raft_config_is_joint(raft_config(probe.raft, &at)) || at > probe.commit ||
         !is_at_target(sim, leader, group, probe_config(&probe)))) {
        (void)snprintf(out_why, why_size, "group %u is not where it should be", group);
        return false;
    }
    uint64_t digest = probe_digest(leader, group);
    for (uint32_t i = 0; i < sim->plan.nodes; i++) {
        if ((sim->core >> i & 1) != 0 &&
            !is_in_order(sim, &sim->machines[i], group, &probe, digest, out_why, why_size)) {
            return false;
        }
    }
    return true;
}

bool check_progress(const struct sim *sim, char *out_why, size_t why_size)
{
    for (uint32_t group = 0; group < SIM_GROUPS; group++) {
        bool is_there = group != SIM_GROUP_META || sim->plan.nodes > 1;
        if (is_there && !group_has_converged(sim, group, out_why, why_size)) {
            return false;
        }
    }
    return true;
}
