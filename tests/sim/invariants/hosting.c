/*
 * hosting.c — I33: who drops a group was no voter of it, and is neither trusted nor trusts itself
 * before it holds again all that was committed when it dropped it.  I32 (with progress.c): at rest
 * nothing of a group is left where its configuration does not put it.
 *
 * The judge is the committed chain: a leader may not know yet that its predecessor committed a
 * configuration.  Only where the chain's was not seen is it the leader of the highest term.
 */
#include "base/mem.h"
#include "checks.h"
#include "consensus.h"

#include <inttypes.h>
#include <stdio.h>

struct hosted {
    uint64_t last;   /* of the log, when last looked at */
    uint64_t floor;  /* what was committed when it was vacated; 0: never was, or is whole again */
    uint64_t before; /* where its log ended then */
};

struct check_hosting {
    struct sim *sim;
    struct hosted hosted[SIM_MACHINES_MAX][SIM_GROUPS];
};

struct check_hosting *check_hosting_new(struct sim *sim)
{
    struct check_hosting *check = mem_zalloc(sizeof(*check));
    check->sim = sim;
    return check;
}

void check_hosting_free(struct check_hosting *check)
{
    mem_free(check);
}

/* The leader of the highest term; false: nobody leads. */
static bool leader_of(const struct sim *sim, uint32_t group, struct probe *out)
{
    bool has_leader = false;
    for (uint32_t i = 0; i < sim->count; i++) {
        struct probe probe;
        bool is_leader = sim->machines[i].is_serving &&
                         probe_group(&sim->machines[i], group, &probe) && probe.role == RAFT_LEADER;
        if (is_leader && (!has_leader || probe.term > out->term)) {
            *out = probe;
            has_leader = true;
        }
    }
    return has_leader;
}

static void check_vacated(struct check_hosting *check, const struct check_chain *chain,
                          const struct sim_machine *machine, uint32_t group)
{
    struct probe leader;
    const struct raft_config *config = check_chain_config(chain, group);
    if (config == NULL && leader_of(check->sim, group, &leader)) {
        config = probe_config(&leader);
    }
    if (config != NULL && raft_config_is_voter(config, probe_number(machine))) {
        sim_fail(check->sim, "I33 hosting", "%s dropped group %u, in which it votes",
                 sim_node_name(machine->machine), group);
    }
}

void check_hosting_turn(struct check_hosting *check, const struct check_chain *chain,
                        const struct sim_machine *machine, uint32_t group,
                        const struct probe *probe)
{
    struct hosted *hosted = &check->hosted[machine->number][group];
    bool is_vacated = machine->node->consensus->replicas[group]->is_vacated;
    if (probe->last == 0 && hosted->last > 0 && is_vacated &&
        check->sim->plan.sync == AOF_SYNC_ALWAYS) {
        check_vacated(check, chain, machine, group);
        hosted->floor = check_chain_committed(chain, group);
        hosted->before = hosted->last;
    }
    hosted->last = probe->last;
    if (hosted->floor > 0 && probe->last >= hosted->floor) {
        hosted->floor = raft_is_suspect(probe->raft) ? hosted->floor : 0;
    } else if (hosted->floor > 0 && !raft_is_suspect(probe->raft)) {
        sim_fail(check->sim, "I33 hosting",
                 "%s, group %u: vacated at %" PRIu64 ", trusted again at %" PRIu64,
                 sim_node_name(machine->machine), group, hosted->floor, probe->last);
    }
}

/* Its disk is empty: nothing is known of its past. */
void check_hosting_wipe(struct check_hosting *check, const struct sim_machine *machine)
{
    memset(check->hosted[machine->number], 0, sizeof(check->hosted[machine->number]));
}

/* The crash may have come before anything of it was durable: then it never happened. */
void check_hosting_start(struct check_hosting *check, const struct sim_machine *machine,
                         uint32_t group, const struct probe *probe)
{
    struct hosted *hosted = &check->hosted[machine->number][group];
    if (hosted->floor > 0 && !raft_is_suspect(probe->raft) && probe->last > 0 &&
        probe->last <= hosted->before) { /* less: not all of that was durable, either */
        *hosted = (struct hosted){ .last = probe->last };
    }
    if (machine->number == check->sim->plan.bad_disk) {
        hosted->last = probe->last; /* what its disk has lost it did not drop */
    }
}

bool check_hosting_is_empty(const struct sim_machine *machine, uint32_t group, char *out_why,
                            size_t why_size)
{
    char prefix[32];
    struct buffer names = { 0 };
    struct probe probe;
    bool is_empty = probe_group(machine, group, &probe) && probe.last == 0 &&
                    kv_stats(machine->node->shard.keyspace.partitions[group])->keys == 0;
    if (!is_empty) {
        (void)snprintf(out_why, why_size, "%s holds group %u, of which it is no member",
                       sim_node_name(machine->machine), group);
        return false;
    }
    (void)snprintf(prefix, sizeof(prefix), "snap-%05u-", group);
    (void)sim_disk_list(machine->machine, "/data", SIM_DISK_CACHE, &names);
    for (size_t at = 0; at < names.size; at += strlen(names.data + at) + 1) {
        const char *name = names.data + at;
        bool is_evidence = strstr(name, ".damaged") != NULL; /* kept for people to look at */
        if (strncmp(name, prefix, strlen(prefix)) == 0 && !is_evidence) {
            (void)snprintf(out_why, why_size, "%s has %s, and is no member",
                           sim_node_name(machine->machine), name);
            is_empty = false;
        }
    }
    buffer_free(&names);
    return is_empty;
}
