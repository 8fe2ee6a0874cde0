/*
 * durable.c — I10: with appendfsync always, an acknowledged write is on the platters of a majority
 * at that moment.
 *
 * The simulator looks into the machines' disks, below the page cache: the bytes that name the
 * operation must be there.  A replica whose log begins behind the entry got it with a snapshot.
 */
#include "checks.h"

#include <stdio.h>

enum { SAMPLED_IN = 4 }; /* reading whole disks takes time */

static bool platter_holds(struct sim_machine *machine, struct slice bytes)
{
    struct buffer names = { 0 };
    struct buffer file = { 0 };
    bool is_there = false;
    (void)sim_disk_list(machine->machine, "/data", SIM_DISK_PLATTER, &names);
    for (size_t at = 0; at < names.size && !is_there; at += strlen(names.data + at) + 1) {
        char path[512];
        (void)snprintf(path, sizeof(path), "/data/%s", names.data + at);
        if (sim_disk_read(machine->machine, path, SIM_DISK_PLATTER, &file) && file.size > 0) {
            is_there = memmem(file.data, file.size, bytes.data, bytes.size) != NULL;
        }
    }
    buffer_free(&names);
    buffer_free(&file);
    return is_there;
}

/* The log in memory begins behind the entry: the state was written out with it. */
static bool has_compacted(struct sim_machine *machine, uint32_t group, uint64_t index)
{
    struct probe probe;
    return machine->is_serving && probe_group(machine, group, &probe) && probe.raft != NULL &&
           probe.first > index;
}

void check_durable_answer(struct sim *sim, const struct check_chain *chain, const struct sim_op *op)
{
    bool has_value = op->kind == LIN_SET || op->kind == LIN_GETSET || op->kind == LIN_APPEND ||
                     (op->kind == LIN_SETNX && op->answer == LIN_OK);
    bool is_due = sim->plan.sync == AOF_SYNC_ALWAYS && op->fate == OP_ANSWERED && has_value &&
                  prng_chance(&sim->prng, 1, SAMPLED_IN);
    bool may_be_gone = sim->plan.snapshot_log_bytes > 0 || sim->plan.weights[FAULT_SNAPSHOT] > 0;
    if (!is_due || (sim->plan.nodes == 1 && may_be_gone)) {
        return;
    }
    char mark[16];
    (void)snprintf(mark, sizeof(mark), "#%08u", op->number);
    uint32_t group = 0;
    uint32_t count = 0;
    uint64_t index = check_chain_find(chain, op->number, &group, &count);
    uint32_t holders = 0;
    for (uint32_t i = 0; i < sim->plan.nodes; i++) {
        struct sim_machine *machine = &sim->machines[i];
        holders += platter_holds(machine, slice_from(mark)) ||
                   (index > 0 && has_compacted(machine, group, index));
    }
    if (holders <= sim->plan.nodes / 2) {
        sim_fail(sim, "I10 acknowledged is durable",
                 "#%08u was acknowledged and is on %u of %u platters", op->number, holders,
                 sim->plan.nodes);
    }
}
