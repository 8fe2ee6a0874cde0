/*
 * sim_fault.c — what goes wrong while the clients work, and how it ends.
 *
 * One fault at a time is drawn, by the weights of the plan; its effects last and overlap.  What
 * ends an effect is a HEAL of the whole network, or, for crashes, the machine's restart time.
 */
#include "sim.h"

#include "coordinator.h"
#include "sim_probe.h"

static struct sim_machine *machine_draw(struct sim *sim)
{
    return &sim->machines[prng_below(&sim->prng, sim->plan.nodes)];
}

static void cut(struct sim *sim, uint32_t machine, bool hears, bool is_heard)
{
    struct sim_node *one = sim->machines[machine].machine;
    for (uint32_t i = 0; i < sim->plan.nodes; i++) {
        if (i != machine) {
            sim_net_block(sim->world, sim->machines[i].machine, one, !hears);
            sim_net_block(sim->world, one, sim->machines[i].machine, !is_heard);
        }
    }
}

/* Who leads most groups. */
static uint32_t leader_of_most(struct sim *sim)
{
    uint32_t best = 0;
    uint32_t best_count = 0;
    for (uint32_t i = 0; i < sim->plan.nodes; i++) {
        uint32_t count = 0;
        struct probe probe;
        for (uint32_t group = 0; group < SIM_GROUPS && sim->machines[i].is_serving; group++) {
            count += probe_group(&sim->machines[i], group, &probe) && probe.role == RAFT_LEADER;
        }
        if (count > best_count) {
            best = i;
            best_count = count;
        }
    }
    return best;
}

static void crash(struct sim *sim, struct sim_machine *machine)
{
    bool power_loss = prng_below(&sim->prng, 100) < sim->plan.power_loss_percent &&
                      sim_machine_may_lose_power(machine);
    if (machine->is_serving && prng_chance(&sim->prng, 2, 3)) {
        uint64_t operations = 1 + prng_below(&sim->prng, 60);
        sim_node_crash_after(machine->machine, operations, power_loss);
    } else if (machine->has_node) {
        sim_machine_crash(machine, power_loss);
    }
}

static void crash_all(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->plan.nodes; i++) {
        if (sim->machines[i].has_node) {
            sim_machine_crash(&sim->machines[i], sim->plan.power_loss_percent > 0);
        }
    }
}

static void break_link(struct sim *sim, bool clog)
{
    struct sim_node *from = machine_draw(sim)->machine;
    struct sim_node *to = machine_draw(sim)->machine;
    if (from == to) {
        return;
    }
    if (clog) {
        sim_net_clog(sim->world, from, to, prng_below(&sim->prng, 5 * SIM_S));
        return;
    }
    sim_net_block(sim->world, from, to, true);
    sim_net_block(sim->world, to, from, true);
}

static void cut_clients(struct sim *sim)
{
    struct sim_node *node = machine_draw(sim)->machine;
    bool to = prng_chance(&sim->prng, 2, 3);
    bool from = prng_chance(&sim->prng, 2, 3);
    sim_net_block(sim->world, NULL, node, to);
    sim_net_block(sim->world, node, NULL, from);
}

static void clock_rate(struct sim *sim)
{
    /* Half of the drift each way: what counts is how far two clocks run apart. */
    uint64_t span = 2u * sim->plan.drift_percent * 10000u;
    uint64_t rate = 1000000u - span / 2 + prng_below(&sim->prng, span + 1);
    sim_node_clock_rate(machine_draw(sim)->machine, (uint32_t)rate);
}

static bool has_forgotten(const struct sim *sim)
{
    bool has_any = false;
    for (uint32_t i = 0; i < sim->plan.nodes; i++) {
        has_any |= sim->machines[i].is_forgotten;
    }
    return has_any;
}

/* The newest member goes, once in a life: what it held goes back to others, who had dropped it. */
static void forget(struct sim *sim)
{
    struct sim_machine *last = &sim->machines[sim->plan.nodes - 1];
    uint64_t number = members_number(sim_node_name(last->machine));
    for (uint32_t i = 0; i + 1 < sim->plan.nodes && !has_forgotten(sim); i++) {
        struct node *node = sim->machines[i].node;
        bool is_up = sim->machines[i].is_serving && node->is_serving && node->consensus != NULL;
        for (uint32_t at = 0; is_up && node->members.count > 3 && at < node->members.count; at++) {
            if (node->members.items[at].number == number &&
                node->host.forget(&node->host, at) == HOST_FORGET_OK) {
                last->is_forgotten = true;
            }
        }
    }
}

static void fault_do(struct sim *sim, enum fault fault)
{
    struct sim_machine *machine = machine_draw(sim);
    bool flip = prng_chance(&sim->prng, 1, 2);
    switch (fault) {
    case FAULT_CRASH:
        crash(sim, machine);
        break;
    case FAULT_CRASH_ALL:
        crash_all(sim);
        break;
    case FAULT_PAUSE:
        sim_node_pause(machine->machine, sim_draw_ns(sim, 1500 * SIM_MS));
        break;
    case FAULT_ISOLATE:
        cut(sim, machine->number, false, false);
        break;
    case FAULT_ONE_WAY:
        cut(sim, machine->number, flip, !flip);
        break;
    case FAULT_LEADER:
        cut(sim, leader_of_most(sim), false, flip);
        break;
    case FAULT_CHAIN:
        break_link(sim, /* clog= */ false);
        break;
    case FAULT_CLIENTS_CUT:
        cut_clients(sim);
        break;
    case FAULT_CLOG:
        break_link(sim, /* clog= */ true);
        break;
    case FAULT_CLOCK_RATE:
        clock_rate(sim);
        break;
    case FAULT_CLOCK_STEP:
        sim_node_wall_step(machine->machine, (int64_t)prng_below(&sim->prng, 7200000) - 3600000);
        break;
    case FAULT_SNAPSHOT:
        if (machine->is_serving && machine->node->is_serving) {
            (void)snapshots_start(&machine->node->snapshots);
        }
        break;
    case FAULT_FAILOVER:
        if (machine->is_serving && machine->node->consensus != NULL) {
            uint32_t group = (uint32_t)prng_below(&sim->prng, SIM_PARTITIONS);
            (void)coordinator_failover(machine->node, flip ? UINT32_MAX : group, /* target= */ 0);
        }
        break;
    case FAULT_FORGET:
        forget(sim);
        break;
    case FAULT_HEAL:
        sim_net_heal(sim->world);
        break;
    case FAULT_KINDS:
        break;
    }
}

void sim_fault_draw(struct sim *sim)
{
    static const char *const names[] = { "crash",    "crash all",  "pause",      "isolate",
                                         "one way",  "leader",     "chain",      "clients cut",
                                         "clog",     "clock rate", "clock step", "snapshot",
                                         "failover", "forget",     "heal" };
    uint32_t sum = 0;
    for (uint32_t i = 0; i < FAULT_KINDS; i++) {
        sum += sim->plan.weights[i];
    }
    uint64_t draw = prng_below(&sim->prng, sum);
    uint32_t fault = 0;
    while (draw >= sim->plan.weights[fault]) {
        draw -= sim->plan.weights[fault++];
    }
    sim->faults_done[fault] += 1;
    sim_say(sim, "fault: %s", names[fault]);
    fault_do(sim, (enum fault)fault);
    sim->next_fault_ns = sim_now(sim) + sim_draw_ns(sim, sim->plan.fault_mean_ms * SIM_MS);
}

/* A random majority with good links; the others are down, cut off, half cut off, or fine. */
void sim_faults_end(struct sim *sim)
{
    sim_net_heal(sim->world);
    *sim_world_options(sim->world) = sim_options_calm();
    uint32_t outside = (uint32_t)prng_below(&sim->prng, 2); /* of three replicas one may be away */
    if (sim->plan.sync != AOF_SYNC_ALWAYS) {
        outside = 0; /* who may have lost something only votes when a majority of the others does */
    }
    if (has_forgotten(sim)) {
        outside = 0; /* groups may still count on the one that goes */
    }
    sim->core = (1u << sim->plan.nodes) - 1;
    for (uint32_t i = 0; i < sim->plan.nodes; i++) {
        struct sim_machine *machine = &sim->machines[i];
        if (machine->is_forgotten) {
            sim->core &= ~(1u << i);
            machine->is_banned = true;
            if (machine->has_node) {
                sim_machine_crash(machine, /* power_loss= */ false);
            }
        }
    }
    while (outside-- > 0) {
        struct sim_machine *machine = machine_draw(sim);
        sim->core &= ~(1u << machine->number);
        uint64_t how = prng_below(&sim->prng, 4);
        sim_say(sim, "%s stays outside of the core (%u)", sim_node_name(machine->machine),
                (unsigned)how);
        if (how == 0) {
            machine->is_banned = true;
            if (machine->has_node) {
                sim_machine_crash(machine, prng_chance(&sim->prng, 1, 2));
            }
        } else { /* it only hears, is only heard, or neither */
            cut(sim, machine->number, how == 1, how == 2);
        }
    }
    for (uint32_t i = 0; i < sim->plan.nodes; i++) {
        struct sim_machine *machine = &sim->machines[i];
        sim_node_crash_after(machine->machine, 0, false);
        machine->restart_ns =
            machine->restart_ns < sim_now(sim) + SIM_S ? machine->restart_ns : sim_now(sim) + SIM_S;
    }
}
