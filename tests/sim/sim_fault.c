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
    return &sim->machines[prng_below(&sim->prng, sim->count)];
}

static void cut(struct sim *sim, uint32_t machine, bool hears, bool is_heard)
{
    struct sim_node *one = sim->machines[machine].machine;
    for (uint32_t i = 0; i < sim->count; i++) {
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
    for (uint32_t i = 0; i < sim->count; i++) {
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
    for (uint32_t i = 0; i < sim->count; i++) {
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

static void cut_traffic(struct sim *sim, enum sim_traffic traffic)
{
    struct sim_node *from = machine_draw(sim)->machine;
    struct sim_node *to = machine_draw(sim)->machine;
    if (from != to) {
        sim_net_block_traffic(sim->world, from, to, traffic, true);
        sim_net_block_traffic(sim->world, to, from, traffic, true);
    }
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

static void failover(struct sim *sim, struct sim_machine *machine, bool all)
{
    if (machine->is_serving && machine->node->consensus != NULL) {
        uint32_t group = (uint32_t)prng_below(&sim->prng, SIM_PARTITIONS);
        (void)coordinator_failover(machine->node, all ? UINT32_MAX : group, /* target= */ 0);
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
        failover(sim, machine, flip);
        break;
    case FAULT_HEAL:
        sim_net_heal(sim->world);
        break;
    case FAULT_JOIN:
    case FAULT_FORGET:
    case FAULT_REPLACE:
    case FAULT_WIPE:
    case FAULT_DRAIN:
        (void)sim_members_change(sim, fault);
        break;
    case FAULT_ROT:
        sim_rot(sim);
        break;
    case FAULT_POINT:
        sim_point_draw(sim);
        break;
    case FAULT_TRAFFIC:
        cut_traffic(sim, flip ? SIM_DATAGRAMS : SIM_STREAMS);
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
                                         "failover", "heal",       "join",       "forget",
                                         "replace",  "wipe",       "rot",        "point",
                                         "traffic",  "drain" };
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

/* Stays down, or it only hears, is only heard, or neither. */
static void leave_outside(struct sim *sim, struct sim_machine *machine)
{
    uint64_t how = prng_below(&sim->prng, 4);
    sim->core &= ~(1u << machine->number);
    sim_say(sim, "%s stays outside of the core (%u)", sim_node_name(machine->machine),
            (unsigned)how);
    if (how == 0) {
        machine->is_banned = true;
        if (machine->has_node) {
            sim_machine_crash(machine, prng_chance(&sim->prng, 1, 2));
        }
    } else {
        cut(sim, machine->number, how == 1, how == 2);
    }
}

/* A random majority with good links; the others are down, cut off, half cut off, or fine. */
void sim_faults_end(struct sim *sim)
{
    sim_net_heal(sim->world);
    *sim_world_options(sim->world) = sim_options_calm();
    sim->is_kill_armed = false;
    uint32_t outside = (uint32_t)prng_below(&sim->prng, sim_members_spare(sim) + 1);
    if (sim->plan.sync != AOF_SYNC_ALWAYS) {
        outside = 0; /* who may have lost something only votes when a majority of the others does */
    }
    sim->core = 0;
    for (uint32_t i = 0; i < sim->count; i++) {
        sim->core |= sim->machines[i].standing == STANDING_MEMBER ? 1u << i : 0;
    }
    while (outside-- > 0) {
        struct sim_machine *machine = machine_draw(sim);
        if (machine->standing == STANDING_MEMBER) {
            leave_outside(sim, machine);
        }
    }
    for (uint32_t i = 0; i < sim->count; i++) {
        struct sim_machine *machine = &sim->machines[i];
        sim_node_crash_after(machine->machine, 0, false);
        machine->restart_ns =
            machine->restart_ns < sim_now(sim) + SIM_S ? machine->restart_ns : sim_now(sim) + SIM_S;
    }
}
