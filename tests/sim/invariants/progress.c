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

/* Sound, in no change of members; and when all members are in the core, the members are those that
 * the list asks for. */
static bool is_as_wanted(const struct sim_machine *machine, uint32_t group,
                         const struct probe *probe)
{
    const struct sim *sim = machine->sim;
    uint64_t index = 0;
    const struct raft_config *config = raft_config(probe->raft, &index);
    if (raft_is_suspect(probe->raft) || raft_config_is_joint(config)) {
        return false;
    }
    for (uint32_t i = 0; i < sim->count; i++) {
        bool is_member = sim->machines[i].standing == STANDING_MEMBER;
        if (is_member != ((sim->core >> i & 1) != 0)) {
            return true;
        }
    }
    return probe_is_as_wanted(machine, group, probe);
}

/* "1v 2l": who belongs to it, and how (v: votes, o: votes no more when the change is over, l). */
static void config_print(const struct sim *sim, const struct raft_config *config,
                         struct buffer *out)
{
    for (uint32_t i = 0; i < sim->count; i++) {
        int at = raft_config_find(config, members_number(sim_node_name(sim->machines[i].machine)));
        uint8_t roles = at >= 0 ? config->members[at].roles : 0;
        if (roles != 0) {
            buffer_printf(out, " %u%s%s%s", i + 1, roles & RAFT_VOTER ? "v" : "",
                          roles & RAFT_OUTGOING ? "o" : "", roles & RAFT_LEARNER ? "l" : "");
        }
    }
}

static void say_configuration(const struct sim_machine *machine, uint32_t group,
                              const struct probe *probe, char *out_why, size_t why_size)
{
    uint64_t index = 0;
    const struct raft_config *config = raft_config(probe->raft, &index);
    struct raft_config target;
    struct buffer text = { 0 };
    probe_target(machine, group, config, &target);
    config_print(machine->sim, config, &text);
    buffer_append_text(&text, ", wanted");
    config_print(machine->sim, &target, &text);
    buffer_append_byte(&text, '\0');
    (void)snprintf(out_why, why_size, "%s, group %u%s: configuration%s",
                   sim_node_name(machine->machine), group,
                   raft_is_suspect(probe->raft) ? ", suspect" : "", text.data);
    buffer_free(&text);
}

/* The leader of a settled group in the core; NULL: none, or more. */
static const struct sim_machine *leader_in_core(const struct sim *sim, uint32_t group,
                                                struct probe *out)
{
    const struct sim_machine *leader = NULL;
    uint32_t leaders = 0;
    for (uint32_t i = 0; i < sim->count; i++) {
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
    if (probe.raft != NULL && !is_as_wanted(leader, group, &probe)) {
        say_configuration(leader, group, &probe, out_why, why_size);
        return false;
    }
    uint64_t digest = probe_digest(leader, group);
    for (uint32_t i = 0; i < sim->count; i++) {
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
    return check_gossip_views(sim, out_why, why_size);
}
