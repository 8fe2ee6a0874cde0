/*
 * progress.c — I27 and I28: once a majority has good links again, every group has a leader there,
 * and all replicas of the core have applied the same and hold the same.
 *
 * (That every request of a client ends, I29, and that the terms come to rest, I30, is looked at by
 * the phases in cluster_sim.c.)
 */
#include "checks.h"

#include <inttypes.h>
#include <stdio.h>

static bool group_has_converged(const struct sim *sim, uint32_t group, char *out_why,
                                size_t why_size)
{
    uint32_t leaders = 0;
    uint64_t applied = UINT64_MAX;
    uint64_t digest = 0;
    for (uint32_t i = 0; i < sim->plan.nodes; i++) {
        const struct sim_machine *machine = &sim->machines[i];
        struct probe probe;
        if ((sim->core >> i & 1) == 0) {
            continue;
        }
        if (!machine->is_serving || !probe_group(machine, group, &probe) ||
            (sim->plan.nodes > 1 && probe.raft == NULL)) {
            (void)snprintf(out_why, why_size, "node%u has no group %u", i + 1, group);
            return false;
        }
        leaders += probe.raft == NULL || probe.role == RAFT_LEADER;
        bool is_first = applied == UINT64_MAX;
        uint64_t own = probe_digest(machine, group);
        if (probe.applied != probe.last || (!is_first && probe.applied != applied)) {
            (void)snprintf(out_why, why_size,
                           "node%u, group %u: applied %" PRIu64 " of %" PRIu64 ", others %" PRIu64,
                           i + 1, group, probe.applied, probe.last, applied);
            return false;
        }
        if (!is_first && own != digest) {
            (void)snprintf(out_why, why_size, "node%u, group %u: another state", i + 1, group);
            return false;
        }
        if (probe.raft != NULL && !probe_votes(machine, &probe)) {
            (void)snprintf(out_why, why_size, "node%u does not vote in group %u", i + 1, group);
            return false;
        }
        applied = probe.applied;
        digest = own;
    }
    (void)snprintf(out_why, why_size, "group %u has %u leaders in the core", group, leaders);
    return leaders == 1;
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
