/*
 * gossip.c — I23 and I24: who is there, as gossip has it.
 *
 *   I23   what a process knows of another's incarnation never goes back, and is never more than
 *         that other has had; once healed, the core sees itself alive, and nobody
 *         of it is called dead any more (suspected by one who is half cut off: for a moment)
 *   I24   gossip changes no configuration: after the cluster has formed the list of members stays
 *         as it is, and so does every group, whoever is suspected or called dead
 */
#include "checks.h"

#include "base/mem.h"
#include "cluster/confchange.h"

#include <inttypes.h>
#include <stdio.h>

struct check_gossip {
    struct sim *sim;
    uint64_t seen[SIM_MACHINES_MAX][SIM_MACHINES_MAX]; /* by the process that runs now */
    uint64_t had[SIM_MACHINES_MAX];                    /* the most, ever */
    struct {
        bool is_known;
        uint64_t index;
        struct raft_config config;
    } formed[SIM_GROUPS];
};

struct check_gossip *check_gossip_new(struct sim *sim)
{
    struct check_gossip *check = mem_zalloc(sizeof(*check));
    check->sim = sim;
    return check;
}

void check_gossip_free(struct check_gossip *check)
{
    mem_free(check);
}

void check_gossip_start(struct check_gossip *check, const struct sim_machine *machine)
{
    memset(check->seen[machine->number], 0, sizeof(check->seen[machine->number]));
}

static void look(struct check_gossip *check, const struct sim_machine *machine, uint32_t other)
{
    struct sim *sim = check->sim;
    struct membership_view view;
    if (!probe_gossip(machine, other, &view)) {
        return;
    }
    uint64_t *seen = &check->seen[machine->number][other];
    bool is_core = (sim->core >> machine->number & 1) != 0 && (sim->core >> other & 1) != 0;
    if (view.incarnation < *seen) {
        sim_fail(sim, "I23 incarnations are monotone",
                 "node%u knows %" PRIu64 " of node%u, and knew %" PRIu64, machine->number + 1,
                 view.incarnation, other + 1, *seen);
    } else if (view.incarnation > check->had[other]) {
        sim_fail(sim, "I23 incarnations are their owner's",
                 "node%u knows %" PRIu64 " of node%u, which never had more than %" PRIu64,
                 machine->number + 1, view.incarnation, other + 1, check->had[other]);
    } else if (sim->phase == PHASE_END && is_core && view.state > MEMBERSHIP_SUSPECT) {
        sim_fail(sim, "I23 the living are not called dead",
                 "node%u calls node%u, which is well, %d", machine->number + 1, other + 1,
                 (int)view.state);
    }
    *seen = view.incarnation;
}

void check_gossip_turn(struct check_gossip *check, const struct sim_machine *machine)
{
    uint64_t own = probe_incarnation(machine);
    check->had[machine->number] =
        own > check->had[machine->number] ? own : check->had[machine->number];
    for (uint32_t i = 0; i < check->sim->plan.nodes && own != 0; i++) {
        if (i != machine->number) {
            look(check, machine, i);
        }
    }
}

void check_gossip_group(struct check_gossip *check, const struct sim_machine *machine,
                        uint32_t group, const struct probe *probe)
{
    uint64_t index = 0;
    const struct raft_config *config = raft_config(probe->raft, &index);
    if (check->sim->phase == PHASE_FORM) {
        return;
    }
    if (!check->formed[group].is_known) {
        check->formed[group].is_known = true;
        check->formed[group].index = index;
        check->formed[group].config = *config;
    } else if (index >= check->formed[group].index && /* else it is behind, or restarted there */
               !raft_config_equal(config, &check->formed[group].config)) {
        sim_fail(check->sim, "I24 gossip changes no configuration",
                 "node%u, group %u: another configuration at index %" PRIu64, machine->number + 1,
                 group, index);
    }
}

bool check_gossip_views(const struct sim *sim, char *out_why, size_t why_size)
{
    for (uint32_t a = 0; a < sim->plan.nodes; a++) {
        for (uint32_t b = 0; b < sim->plan.nodes; b++) {
            struct membership_view view = { .state = MEMBERSHIP_DEAD };
            bool is_core = (sim->core >> a & 1) != 0 && (sim->core >> b & 1) != 0;
            if (!is_core || a == b) {
                continue;
            }
            if (!probe_gossip(&sim->machines[a], b, &view) || view.state != MEMBERSHIP_ALIVE) {
                (void)snprintf(out_why, why_size, "node%u sees node%u as %d", a + 1, b + 1,
                               (int)view.state);
                return false;
            }
        }
    }
    return true;
}
