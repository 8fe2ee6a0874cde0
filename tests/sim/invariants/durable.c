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

enum {
    SAMPLED_IN = 16, /* searching whole logs takes time */
    NEAR_BYTES = 32768,
};

static bool file_holds(struct sim_machine *machine, const char *name, struct slice bytes,
                       bool is_near)
{
    char path[512];
    struct slice file;
    (void)snprintf(path, sizeof(path), "/data/%s", name);
    if (!sim_disk_platter(machine->machine, path, &file) || file.size == 0) {
        return false;
    }
    size_t at = is_near && machine->found_at < file.size ? machine->found_at : 0;
    size_t left = file.size - at;
    left = is_near && left > NEAR_BYTES ? NEAR_BYTES : left;
    const char *found = memmem(file.data + at, left, bytes.data, bytes.size);
    if (found != NULL) {
        size_t offset = (size_t)(found - file.data);
        machine->found_at = offset > NEAR_BYTES / 4 ? offset - NEAR_BYTES / 4 : 0;
    }
    return found != NULL;
}

/* is_near: looks only where the one before was found, in the newest file. */
static bool platter_holds(struct sim_machine *machine, struct slice bytes, bool is_near)
{
    enum { FILES_MAX = 256 };
    struct buffer names = { 0 };
    const char *logs[FILES_MAX];
    uint32_t count = 0;
    bool is_there = false;
    (void)sim_disk_list(machine->machine, "/data", SIM_DISK_PLATTER, &names);
    for (size_t at = 0; at < names.size; at += strlen(names.data + at) + 1) {
        if (strncmp(names.data + at, "aof-0", 5) == 0 && count < FILES_MAX) {
            logs[count++] = names.data + at;
        }
    }
    for (uint32_t i = count; i-- > 0 && !is_there && (!is_near || i + 1 == count);) {
        is_there = file_holds(machine, logs[i], bytes, is_near);
    }
    buffer_free(&names);
    return is_there;
}

/* Its log begins behind the entry: it got the state with a snapshot. */
static bool has_compacted(const struct sim_machine *machine, uint32_t group, uint64_t index)
{
    struct probe probe;
    return machine->is_serving && probe_group(machine, group, &probe) && probe.raft != NULL &&
           probe.first > index;
}

/* How many of the configuration's voters have it for certain. */
static uint32_t holders_count(struct sim *sim, const struct raft_config *config, uint32_t group,
                              uint64_t index, struct slice bytes, bool is_near)
{
    uint32_t holders = 0;
    for (uint32_t i = 0; i < sim->count; i++) {
        struct sim_machine *machine = &sim->machines[i];
        int at = raft_config_find(config, members_number(sim_node_name(machine->machine)));
        if (at >= 0 && (config->members[at].roles & RAFT_VOTER) != 0) {
            holders += machine->is_wiped || platter_holds(machine, bytes, is_near) ||
                       has_compacted(machine, group, index);
        }
    }
    return holders;
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
    for (uint32_t i = 0; i < config->members_count; i++) {
        voters += (config->members[i].roles & RAFT_VOTER) != 0;
    }
    uint32_t holders = holders_count(sim, config, group, index, bytes, /* is_near= */ true);
    if (holders <= voters / 2) {
        holders = holders_count(sim, config, group, index, bytes, /* is_near= */ false);
    }
    if (holders <= voters / 2) {
        sim_fail(sim, "I10 committed is durable",
                 "group %u, entry %" PRIu64 " is committed and on %u of %u platters", group, index,
                 holders, voters);
    }
}
