/*
 * sim_plan.c — what a seed decides before a life begins.
 *
 * Swarm testing (Groce et al. 2012): each seed enables a random subset of the faults at random
 * strengths.  Everything at once, all the time, hides bugs behind each other.
 */
#include "sim.h"

#include <inttypes.h>

static uint32_t between(struct prng *prng, uint32_t least, uint32_t most)
{
    return least + (uint32_t)prng_below(prng, most - least + 1);
}

static void draw_load(struct sim_plan *plan, struct prng *prng)
{
    plan->clients = between(prng, 2, SIM_CLIENTS_MAX);
    plan->json_clients = between(prng, 0, plan->clients / 2);
    plan->keys = between(prng, 1, 6);
    plan->key_operations = between(prng, 100, 600);
    plan->depth = prng_chance(prng, 1, 2) ? 1 : between(prng, 2, SIM_DEPTH_MAX - 1);
    plan->think_mean_us = between(prng, 500, 40000);
    plan->value_bytes_max = prng_chance(prng, 1, 4) ? 3000 : 40;
    plan->any_percent = prng_chance(prng, 1, 2) ? 0 : between(prng, 5, 50);
    plan->quorum_percent = prng_chance(prng, 1, 2) ? 0 : between(prng, 5, 50);
}

/* Disks fail, but say so; what no replica needs to survive yet (rot, lies) is not drawn. */
static void draw_machine(struct sim_plan *plan, struct prng *prng)
{
    struct sim_options *machine = &plan->machine;
    *machine = sim_options_draw(prng);
    machine->latency_min_ns = prng_below(prng, 2 * SIM_MS);
    machine->latency_mean_ns = 10000 + prng_below(prng, 8 * SIM_MS);
    machine->disk_mean_ns = 1000 + prng_below(prng, 8 * SIM_MS);
    bool fails = prng_chance(prng, 1, 6); /* each failure ends a process */
    machine->write_error_ppm = fails ? between(prng, 0, 200) : 0;
    machine->sync_error_ppm = fails ? between(prng, 0, 500) : 0;
    machine->full_ppm = prng_chance(prng, 1, 6) ? between(prng, 1, 3000) : 0;
    machine->full_max_ns = 1 + prng_below(prng, 4 * SIM_S);
    machine->corrupt_ppm = prng_chance(prng, 1, 6) ? between(prng, 1, 500) : 0;
    machine->segment_bytes_max =
        machine->segment_bytes_max < 256 ? 256 : machine->segment_bytes_max;
    machine->window_bytes = machine->window_bytes < 16384 ? 16384 : machine->window_bytes;
    machine->reset_ppm /= 10;
}

static void draw_faults(struct sim_plan *plan, struct prng *prng)
{
    plan->fault_mean_ms = between(prng, 100, 3000);
    for (uint32_t i = 0; i <= FAULT_HEAL; i++) {
        plan->weights[i] = prng_chance(prng, 1, 2) ? 0 : between(prng, 1, 10);
    }
    plan->weights[FAULT_CRASH_ALL] = prng_chance(prng, 1, 3) ? 1 : 0;
    plan->weights[FAULT_HEAL] = between(prng, 2, 15);
    plan->power_loss_percent = prng_chance(prng, 1, 3) ? 0 : between(prng, 10, 100);
    plan->restart_mean_ms = between(prng, 50, 4000);
}

/* Leaders come and go while everybody reads and writes the same few keys through all nodes: whoever
 * wrongly takes himself for the leader, a moment too long, answers with something old. */
static void focus_on_leadership(struct sim_plan *plan, struct prng *prng)
{
    static const enum fault faults[] = { FAULT_ISOLATE,   FAULT_ONE_WAY, FAULT_LEADER,
                                         FAULT_LEADER,    FAULT_CHAIN,   FAULT_PAUSE,
                                         FAULT_CLOCK_RATE };
    memset(plan->weights, 0, sizeof(plan->weights));
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        plan->weights[faults[i]] += between(prng, 0, 4);
    }
    plan->weights[FAULT_HEAL] = 8;
    plan->fault_mean_ms = between(prng, 150, 600);
    plan->clients = SIM_CLIENTS_MAX;
    plan->json_clients = 0;
    plan->keys = 1;
    plan->depth = 1;
    plan->think_mean_us = between(prng, 300, 3000);
    plan->any_percent = 0;
    plan->quorum_percent = 0;
    plan->lease_reads = prng_chance(prng, 1, 2);
    plan->machine = sim_options_calm();
    plan->machine.latency_mean_ns = between(prng, 50000, 2000000);
}

/* Who is forgotten is cut off at once, whether a group still needs him or not. */
static void lose_nobody(struct sim_plan *plan)
{
    plan->weights[FAULT_FORGET] = 0;
    plan->weights[FAULT_REPLACE] = 0;
    plan->weights[FAULT_WIPE] = 0;
}

/* Members come and go.  From a generator of its own: what else a seed decides stays as it is. */
static void draw_members(struct sim_plan *plan, struct prng *prng)
{
    static const enum fault removals[] = { FAULT_FORGET, FAULT_REPLACE, FAULT_WIPE };
    bool is_sparse = plan->nodes == 5 && prng_chance(prng, 1, 2);
    plan->replication = is_sparse ? 3 : plan->nodes;
    plan->members_max = between(prng, plan->nodes + 1, plan->nodes + 2);
    plan->weights[FAULT_JOIN] = between(prng, 1, 6);
    for (size_t i = 0; i < sizeof(removals) / sizeof(removals[0]); i++) {
        plan->weights[removals[i]] = prng_chance(prng, 1, 3) ? 0 : between(prng, 1, 6);
    }
    if (plan->sync != AOF_SYNC_ALWAYS) { /* node1 may lose something: then the others must not */
        lose_nobody(plan);
    }
    if (prng_chance(prng, 3, 4)) { /* who lives is drained; rarely somebody is taken for dead */
        plan->weights[FAULT_DRAIN] = between(prng, 1, 6);
        plan->weights[FAULT_FORGET] = 0;
    }
    if (prng_chance(prng, 1, 2)) { /* who is down is so for longer than others wait */
        plan->down_replace_s = between(prng, 1, 3);
        plan->restart_mean_ms = between(prng, 5000, 15000);
        plan->weights[FAULT_CRASH] += 2;
        plan->weights[FAULT_JOIN] += 4;
        plan->safety_ms += 10000;
    }
}

/* One machine's files go bad: within what a majority of intact copies can make good. */
static void draw_bad_disk(struct sim_plan *plan, struct prng *prng)
{
    plan->bad_disk = (uint32_t)prng_below(prng, plan->nodes);
    plan->weights[FAULT_ROT] = between(prng, 2, 10);
    lose_nobody(plan);
    plan->weights[FAULT_CRASH] += 1;
    plan->machine.read_error_ppm = prng_chance(prng, 1, 2) ? between(prng, 1, 20000) : 0;
}

static void draw_changes(struct sim_plan *plan, uint64_t seed)
{
    struct prng prng;
    prng_init(&prng, seed ^ UINT64_C(0x6368616e6765));
    if (prng_chance(&prng, 1, 2)) {
        draw_members(plan, &prng);
    }
    plan->weights[FAULT_POINT] = prng_chance(&prng, 1, 3) ? between(&prng, 1, 10) : 0;
    if (plan->sync == AOF_SYNC_ALWAYS && prng_chance(&prng, 1, 4)) {
        draw_bad_disk(plan, &prng);
    }
}

/* From a generator of its own: the seeds kept as regression tests live as before, without one. */
static void draw_secret(struct sim_plan *plan, uint64_t seed)
{
    struct prng prng;
    prng_init(&prng, seed ^ UINT64_C(0x68656c6c6f));
    plan->has_secret = prng_chance(&prng, 1, 4);
}

void sim_plan_draw(struct sim_plan *plan, uint64_t seed, bool is_fixed)
{
    struct prng prng;
    prng_init(&prng, seed ^ UINT64_C(0x706c616e));
    *plan = (struct sim_plan){ 0 };
    plan->nodes = prng_chance(&prng, 1, 5) ? 5 : 3;
    plan->sync =
        prng_chance(&prng, 3, 4) ? AOF_SYNC_ALWAYS : (enum aof_sync)between(&prng, 1, AOF_SYNC_NO);
    plan->lease_reads = prng_chance(&prng, 1, 2);
    plan->segment_bytes = 65536u << prng_below(&prng, 3);
    plan->snapshot_log_bytes = prng_chance(&prng, 1, 2) ? between(&prng, 60000, 500000) : 0;
    plan->drift_percent = 5;
    plan->heartbeat_ms = prng_chance(&prng, 1, 2) ? 50 : between(&prng, 10, 200);
    plan->election_timeout_ms = plan->heartbeat_ms * between(&prng, 4, 8);
    plan->safety_ms = between(&prng, 5000, 40000);
    plan->faults_from_start = prng_chance(&prng, 1, 8);
    draw_load(plan, &prng);
    draw_faults(plan, &prng);
    draw_machine(plan, &prng);
    if (plan->sync != AOF_SYNC_ALWAYS && plan->nodes < 5) {
        /* A failed sync is a loss of power: a majority of them may end a relaxed cluster. */
        plan->machine.sync_error_ppm = 0;
    }
    if (prng_chance(&prng, 1, 6)) {
        focus_on_leadership(plan, &prng);
    }
    plan->replication = plan->nodes;
    plan->members_max = plan->nodes;
    plan->bad_disk = UINT32_MAX;
    if (!is_fixed) {
        draw_changes(plan, seed);
        draw_secret(plan, seed);
    }
}

void sim_plan_for_points(struct sim_plan *plan)
{
    memset(plan->weights, 0, sizeof(plan->weights));
    plan->weights[FAULT_JOIN] = 6;
    plan->weights[FAULT_FORGET] = 2;
    plan->weights[FAULT_REPLACE] = 3;
    plan->weights[FAULT_DRAIN] = 4;
    plan->weights[FAULT_WIPE] = 3;
    plan->weights[FAULT_SNAPSHOT] = 6;
    plan->weights[FAULT_FAILOVER] = 4;
    plan->weights[FAULT_CRASH] = 2;
    plan->nodes = 3;
    plan->replication = 3;
    plan->members_max = 5;
    plan->bad_disk = UINT32_MAX;
    plan->sync = AOF_SYNC_ALWAYS;
    plan->fault_mean_ms = 250;
    plan->snapshot_log_bytes = 60000;
    plan->segment_bytes = 65536;
    plan->restart_mean_ms = 700;
    plan->safety_ms = 12000;
    plan->think_mean_us = plan->think_mean_us < 4000 ? 4000 : plan->think_mean_us;
    plan->power_loss_percent = 0;
    plan->faults_from_start = false;
    plan->machine = sim_options_calm();
}

void sim_plan_print(const struct sim_plan *plan, struct buffer *out)
{
    static const char *const syncs[] = { "always", "everysec", "no" };
    buffer_printf(out, "nodes %u copies %u members %u replace %u s bad disk %d ", plan->nodes,
                  plan->replication, plan->members_max, plan->down_replace_s, (int)plan->bad_disk);
    buffer_printf(out, "sync %s lease %d clients %u json %u keys %u depth %u think %u us ",
                  syncs[plan->sync], plan->lease_reads, plan->clients, plan->json_clients,
                  plan->keys, plan->depth, plan->think_mean_us);
    buffer_printf(out, "heartbeat %u election %u ms ", plan->heartbeat_ms,
                  plan->election_timeout_ms);
    buffer_printf(out, "segment %u snapshot %u any %u%% quorum %u%% power-loss %u%% faults %u ms [",
                  plan->segment_bytes, plan->snapshot_log_bytes, plan->any_percent,
                  plan->quorum_percent, plan->power_loss_percent, plan->fault_mean_ms);
    for (uint32_t i = 0; i < FAULT_KINDS; i++) {
        buffer_printf(out, i > 0 ? " %u" : "%u", plan->weights[i]);
    }
    buffer_printf(out, "] restart %u ms safety %u ms secret %d\n    ", plan->restart_mean_ms,
                  plan->safety_ms, plan->has_secret);
    sim_options_print(&plan->machine, out);
}
