/*
 * gossip.c — I23 and I24: who is there, as gossip has it.
 *
 *   I23   what a process knows of another's incarnation never goes back, and is never more than
 *         that other has had; once healed, the core sees itself alive, and when what was said
 *         before has died away nobody of it is called dead any more (suspected by one who is half
 *         cut off: for a moment)
 *   I24   gossip changes no configuration: a group that is as the list of members asks stays so
 *         as long as the list does, whoever is suspected or called dead
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
        uint64_t index; /* of the configuration; 0: none yet */
        uint64_t epoch; /* of the list that asks for it */
    } settled[SIM_GROUPS];
    uint64_t epoch; /* the newest that any node had: who lags behind may see what it asked for */
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

/* Nobody comes or goes in this life: who comes back is the same as before. */
static bool members_stay(const struct sim *sim)
{
    const uint32_t *weights = sim->plan.weights;
    return weights[FAULT_JOIN] + weights[FAULT_FORGET] + weights[FAULT_REPLACE] +
               weights[FAULT_WIPE] ==
           0;
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
    if (view.incarnation < *seen && members_stay(sim)) {
        sim_fail(sim, "I23 incarnations are monotone",
                 "node%u knows %" PRIu64 " of node%u, and knew %" PRIu64, machine->number + 1,
                 view.incarnation, other + 1, *seen);
    } else if (view.incarnation > check->had[other]) {
        sim_fail(sim, "I23 incarnations are their owner's",
                 "node%u knows %" PRIu64 " of node%u, which never had more than %" PRIu64,
                 machine->number + 1, view.incarnation, other + 1, check->had[other]);
    } else if (sim->is_settled && is_core && view.state > MEMBERSHIP_SUSPECT) {
        sim_fail(sim, "I23 the living are not called dead",
                 "node%u calls node%u, which is well, %d", machine->number + 1, other + 1,
                 (int)view.state);
    }
    *seen = view.incarnation;
}

uint64_t check_gossip_own(struct check_gossip *check, const struct sim_machine *machine)
{
    uint64_t own = probe_incarnation(machine);
    uint64_t *had = &check->had[machine->number];
    *had = own > *had ? own : *had;
    return own;
}

void check_gossip_turn(struct check_gossip *check, const struct sim_machine *machine)
{
    uint64_t own = check_gossip_own(check, machine);
    for (uint32_t i = 0; i < check->sim->count && own != 0; i++) {
        if (i != machine->number) {
            look(check, machine, i);
        }
    }
}

void check_gossip_group(struct check_gossip *check, const struct sim_machine *machine,
                        uint32_t group, const struct probe *probe)
{
    uint64_t index = 0;
    struct raft_config target;
    const struct raft_config *config = raft_config(probe->raft, &index);
    uint64_t epoch = machine->node->members.epoch;
    check->epoch = epoch > check->epoch ? epoch : check->epoch;
    probe_target(machine, group, config, &target);
    if (index > raft_commit_index(probe->raft)) {
        return; /* it may yet be replaced */
    }
    if (raft_config_equal(config, &target)) {
        if (epoch > check->settled[group].epoch) {
            check->settled[group].epoch = epoch;
            check->settled[group].index = index;
        }
    } else if (epoch == check->epoch && epoch == check->settled[group].epoch &&
               index > check->settled[group].index && members_stay(check->sim)) {
        sim_fail(check->sim, "I24 gossip changes no configuration",
                 "node%u, group %u: not as the list asks any more at index %" PRIu64,
                 machine->number + 1, group, index);
    }
}

bool check_gossip_views(const struct sim *sim, char *out_why, size_t why_size)
{
    for (uint32_t a = 0; a < sim->count; a++) {
        for (uint32_t b = 0; b < sim->count; b++) {
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
