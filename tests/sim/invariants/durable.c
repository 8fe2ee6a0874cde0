/*
 * durable.c — I10: with appendfsync always, what is committed is on the platters of a majority of
 * the group's voters at that moment (and only what is committed is acknowledged: effects.c).
 *
 * The simulator looks into the machines' disks, below the page cache: the entry's bytes must be
 * there, in some file of the log.
 */
#include "base/mem.h"
#include "checks.h"

#include <inttypes.h>
#include <stdio.h>

enum { SAMPLED_IN = 16 }; /* reading whole disks takes time */

/* The newest file first: there it is, as a rule. */
static bool platter_holds(struct sim_machine *machine, struct slice bytes)
{
    enum { FILES_MAX = 256 };
    struct buffer names = { 0 };
    struct buffer file = { 0 };
    const char *logs[FILES_MAX];
    uint32_t count = 0;
    bool is_there = false;
    (void)sim_disk_list(machine->machine, "/data", SIM_DISK_PLATTER, &names);
    for (size_t at = 0; at < names.size; at += strlen(names.data + at) + 1) {
        if (strncmp(names.data + at, "aof-0", 5) == 0 && count < FILES_MAX) {
            logs[count++] = names.data + at;
        }
    }
    while (count > 0 && !is_there) {
        char path[512];
        (void)snprintf(path, sizeof(path), "/data/%s", logs[--count]);
        if (sim_disk_read(machine->machine, path, SIM_DISK_PLATTER, &file) && file.size > 0) {
            is_there = memmem(file.data, file.size, bytes.data, bytes.size) != NULL;
        }
    }
    buffer_free(&names);
    buffer_free(&file);
    return is_there;
}

/* Its log begins behind the entry: it got the state with a snapshot. */
static bool has_compacted(const struct sim_machine *machine, uint32_t group, uint64_t index)
{
    struct probe probe;
    return machine->is_serving && probe_group(machine, group, &probe) && probe.raft != NULL &&
           probe.first > index;
}

void check_durable_commit(struct sim *sim, const struct probe *probe, uint32_t group,
                          uint64_t index, struct slice bytes)
{
    if (sim->plan.sync != AOF_SYNC_ALWAYS || !prng_chance(&sim->prng, 1, SAMPLED_IN)) {
        return;
    }
    uint64_t config_index = 0;
    const struct raft_config *config = raft_config(probe->raft, &config_index);
    if (config_index >= index || raft_config_is_joint(config)) {
        return; /* another configuration may have decided */
    }
    uint32_t voters = 0;
    uint32_t holders = 0;
    for (uint32_t i = 0; i < sim->count; i++) {
        struct sim_machine *machine = &sim->machines[i];
        uint64_t number = members_number(sim_node_name(machine->machine));
        int at = raft_config_find(config, number);
        if (at >= 0 && (config->members[at].roles & RAFT_VOTER) != 0) {
            voters += 1;
            holders += machine->is_wiped || platter_holds(machine, bytes) ||
                       has_compacted(machine, group, index);
        }
    }
    if (holders <= voters / 2) {
        sim_fail(sim, "I10 committed is durable",
                 "group %u, entry %" PRIu64 " is committed and on %u of %u platters", group, index,
                 holders, voters);
    }
}
