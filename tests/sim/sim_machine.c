/*
 * sim_machine.c — the machines and their nodes: configuration, start, step, crash.
 *
 * A start must succeed, unless a crash was planned in the middle of it: after any crash a node
 * comes back without an operator, and reports no damage.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "invariants/checks.h"
#include "io/io.h"
#include "log.h"
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { STARTS_FAILED_MAX = 30 };

static void option_set(struct config *config, const char *name, const char *value)
{
    struct buffer error = { 0 };
    int id = config_option_find(slice_from(name));
    ASSERT(id >= 0);
    bool is_set = config_assign(config, (enum config_id)id, SOURCE_FLAG, slice_from(value), &error);
    ASSERT(is_set);
    buffer_free(&error);
}

static void option_set_number(struct config *config, const char *name, uint64_t value)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    option_set(config, name, text);
}

static void configure(const struct sim *sim, struct sim_machine *machine)
{
    static const char *const syncs[] = { "always", "everysec", "no" };
    struct config *config = &machine->config;
    char text[64];
    config_defaults(config);
    option_set(config, "node-id", sim_node_name(machine->machine));
    (void)snprintf(text, sizeof(text), "10.0.0.%u", machine->number + 1);
    option_set(config, "host", text);
    option_set_number(config, "port", SIM_PORT);
    option_set(config, "data-dir", "/data");
    option_set_number(config, "partitions", SIM_PARTITIONS);
    option_set(config, "appendfsync", syncs[sim->plan.sync]);
    option_set_number(config, "aof-segment-size", sim->plan.segment_bytes);
    option_set_number(config, "snapshot-log-size", sim->plan.snapshot_log_bytes);
    if (sim->plan.nodes > 1) {
        option_set_number(config, "cluster-port", SIM_CLUSTER_PORT);
        option_set_number(config, "replication-factor", sim->plan.replication);
        option_set_number(config, "heartbeat-ms", sim->plan.heartbeat_ms);
        option_set_number(config, "election-timeout-ms", sim->plan.election_timeout_ms);
        option_set(config, "strong-reads", sim->plan.lease_reads ? "lease" : "readindex");
        option_set(config, "cluster-secret", sim->plan.has_secret ? "the nodes know it" : "");
    }
    if (machine->number > 0) {
        (void)snprintf(text, sizeof(text), "10.0.0.1:%u", SIM_CLUSTER_PORT);
        option_set(config, "seed", text);
    }
}

static uint64_t wall_of(void *owner)
{
    const struct sim_machine *machine = owner;
    return UINT64_C(1700000000000) + sim_now(machine->sim) / SIM_MS;
}

struct sim_machine *sim_machine_add(struct sim *sim)
{
    ASSERT(sim->count < SIM_MACHINES_MAX);
    struct sim_machine *machine = &sim->machines[sim->count];
    char name[16];
    (void)snprintf(name, sizeof(name), "node%u", sim->count + 1);
    *machine = (struct sim_machine){ .sim = sim, .number = sim->count };
    machine->machine = sim_node_new(sim->world, name);
    machine->node = mem_zalloc(sizeof(*machine->node));
    machine->restart_ns = sim_now(sim);
    sim_node_owner_set(machine->machine, machine);
    sim_disk_sound_set(machine->machine, machine->number != sim->plan.bad_disk);
    configure(sim, machine);
    struct log_options options = {
        .level = LOG_DEBUG,
        .fd = sim->is_traced ? STDOUT_FILENO : -1,
        .clock = wall_of,
        .clock_owner = machine,
        .tap = sim_point_tap,
        .tap_owner = machine,
    };
    int status = log_open(&options, &machine->log);
    ASSERT(status == 0);
    sim->core |= 1u << sim->count++;
    return machine;
}

void sim_machines_new(struct sim *sim)
{
    while (sim->count < sim->plan.nodes) {
        (void)sim_machine_add(sim);
    }
}

void sim_machine_seeds_set(struct sim_machine *machine)
{
    const struct sim *sim = machine->sim;
    struct buffer seeds = { 0 };
    for (uint32_t i = 0; i < sim->count; i++) {
        if (i != machine->number && sim->machines[i].standing == STANDING_MEMBER) {
            buffer_printf(&seeds, "%s10.0.0.%u:%u", seeds.size > 0 ? "," : "", i + 1,
                          SIM_CLUSTER_PORT);
        }
    }
    buffer_append_byte(&seeds, '\0');
    option_set(&machine->config, "seed", seeds.data);
    buffer_free(&seeds);
}

static void drop(struct sim_machine *machine)
{
    if (machine->has_node) {
        node_deinit(machine->node);
        io_free(machine->io);
    }
    machine->has_node = false;
    machine->is_serving = false;
}

void sim_machines_free(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->count; i++) {
        struct sim_machine *machine = &sim->machines[i];
        if (sim_node_is_up(machine->machine)) {
            sim_node_crash(machine->machine, /* power_loss= */ false);
        }
        drop(machine);
        config_deinit(&machine->config);
        log_close(machine->log);
        mem_free(machine->node);
    }
}

uint32_t sim_machines_up(const struct sim *sim)
{
    uint32_t up = 0;
    for (uint32_t i = 0; i < sim->count; i++) {
        up |= sim->machines[i].is_serving ? 1u << i : 0;
    }
    return up;
}

/* Its disk may have forgotten what was durable. */
static bool has_bad_disk(const struct sim_machine *machine)
{
    return machine->number == machine->sim->plan.bad_disk;
}

static void restart_later(struct sim_machine *machine)
{
    struct sim *sim = machine->sim;
    machine->restart_ns = sim_now(sim) + sim_draw_ns(sim, sim->plan.restart_mean_ms * SIM_MS);
}

/* The process is dead; its state goes. */
void sim_machine_reap(struct sim_machine *machine)
{
    ASSERT(!sim_node_is_up(machine->machine));
    sim_say(machine->sim, "%s is down", sim_node_name(machine->machine));
    if (machine->is_serving) {
        checks_on_crash(machine);
    }
    drop(machine);
    restart_later(machine);
}

bool sim_machine_may_lose_power(const struct sim_machine *machine)
{
    const struct sim *sim = machine->sim;
    return sim->plan.sync == AOF_SYNC_ALWAYS ||
           (machine->number == 0 &&
            sim->phase != PHASE_FORM); /* it votes alone until it is formed */
}

void sim_machine_crash(struct sim_machine *machine, bool power_loss)
{
    power_loss = power_loss && sim_machine_may_lose_power(machine);
    if (sim_node_is_up(machine->machine)) {
        machine->lost_power |= power_loss;
        sim_node_crash(machine->machine, power_loss);
    }
    sim_machine_reap(machine);
}

/* For debugging: what the node's files are before this start, as files of the real machine below
 * $SIM_DUMP, to be looked at with `minidb --check` and the like. */
static void dump_disk(struct sim_machine *machine)
{
    struct buffer names = { 0 };
    struct buffer file = { 0 };
    char path[512];
    char to[1024];
    const char *dir = getenv("SIM_DUMP");
    for (size_t at = 0; dir != NULL && at == 0;) {
        (void)sim_disk_list(machine->machine, "/data", SIM_DISK_CACHE, &names);
        for (; at < names.size; at += strlen(names.data + at) + 1) {
            (void)snprintf(path, sizeof(path), "/data/%s", names.data + at);
            (void)snprintf(to, sizeof(to), "%s/%s.%u.%s", dir, sim_node_name(machine->machine),
                           machine->starts, names.data + at);
            FILE *out = fopen(to, "w");
            if (out != NULL && sim_disk_read(machine->machine, path, SIM_DISK_CACHE, &file)) {
                (void)fwrite(file.data, 1, file.size, out);
            }
            if (out != NULL) {
                (void)fclose(out);
            }
        }
        break;
    }
    buffer_free(&names);
    buffer_free(&file);
}

void sim_machine_start(struct sim_machine *machine)
{
    dump_disk(machine);
    struct sim *sim = machine->sim;
    char error[512] = "";
    machine->io = sim_node_boot(machine->machine);
    bool may_fail = false;
    if (sim->phase == PHASE_SAFETY && sim->plan.weights[FAULT_CRASH] > 0 &&
        prng_chance(&sim->prng, 1, 10)) {
        bool power_loss = prng_below(&sim->prng, 100) < sim->plan.power_loss_percent &&
                          sim_machine_may_lose_power(machine);
        sim_node_crash_after(machine->machine, 1 + prng_below(&sim->prng, 60), power_loss);
        machine->lost_power |= power_loss;
        may_fail = true;
    }
    machine->starts += 1;
    int status = node_start(machine->node, &machine->config, machine->io, machine->log, error,
                            sizeof(error));
    machine->has_node = true;
    bool is_up = sim_node_is_up(machine->machine);
    if (status == 0 && is_up) {
        machine->starts_failed = 0;
        machine->is_serving = true;
        machine->turns_seen = sim_node_turns(machine->machine);
        machine->turns_since_ns = sim_now(sim);
        sim_say(sim, "%s is up", sim_node_name(machine->machine));
        if (machine->node->shard.damaged_count > 0) {
            sim_fail(sim, "starts", "%s reports damage after a mere crash",
                     sim_node_name(machine->machine));
        }
        checks_on_start(machine);
        io_wake(machine->io); /* its loop runs at once */
        machine->lost_power = false;
        machine->is_meta_bad = false;
        return;
    }
    if (is_up && machine->standing != STANDING_MEMBER &&
        strstr(error, "to let it join again") != NULL) {
        machine->has_left = true; /* its files say so, and will not say anything else */
        machine->is_banned = true;
        may_fail = true;
    }
    may_fail |= has_bad_disk(machine) && sim->phase == PHASE_SAFETY;
    if (is_up && !may_fail && ++machine->starts_failed > STARTS_FAILED_MAX) {
        sim_fail(sim, "starts", "%s does not start: %s", sim_node_name(machine->machine), error);
    }
    if (is_up) {
        sim_node_crash(machine->machine, /* power_loss= */ false);
    }
    sim_machine_reap(machine);
}

void sim_machine_turn(struct sim_machine *machine)
{
    int status = node_run_once(machine->node);
    if (!sim_node_is_up(machine->machine)) {
        machine->lost_power = true; /* perhaps: the plan of the crash knew */
        sim_machine_reap(machine);
        return;
    }
    const struct sim_options *options = sim_world_options(machine->sim->world);
    if (status < 0 && (options->sync_error_ppm > 0 || options->write_error_ppm > 0)) {
        sim_machine_crash(machine, /* power_loss= */ false); /* its disk failed: that is right */
        return;
    }
    if (status == 0 && machine->standing != STANDING_MEMBER) {
        machine->has_left = true;
        if (machine->is_draining) {
            checks_on_leave(machine);
        }
        sim_machine_crash(machine, /* power_loss= */ false); /* it has learned that it is out */
        return;
    }
    if (status < 0 && options->full_ppm > 0 && !machine->node->is_serving) {
        sim_machine_crash(machine, /* power_loss= */ false); /* it cannot begin on a full disk */
        return;
    }
    if (status <= 0) {
        sim_fail(machine->sim, "runs", "%s ended by itself: status %d",
                 sim_node_name(machine->machine), status);
        return;
    }
    checks_after_turn(machine);
}
