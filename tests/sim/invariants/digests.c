/*
 * digests.c — I6: two replicas (or one before and after a restart) that have applied the same index
 * hold the same state.
 *
 * The first digest seen at an index is what all later ones must equal.
 */
#include "base/mem.h"
#include "checks.h"

#include <inttypes.h>

struct known {
    uint64_t *digests; /* digests[index]; 0: none seen */
    uint64_t capacity;
};

struct check_digests {
    struct sim *sim;
    struct known groups[SIM_GROUPS];
    uint64_t applied[SIM_MACHINES_MAX][SIM_GROUPS]; /* when last looked at */
    uint64_t compared;
};

struct check_digests *check_digests_new(struct sim *sim)
{
    struct check_digests *check = mem_zalloc(sizeof(*check));
    check->sim = sim;
    return check;
}

void check_digests_free(struct check_digests *check)
{
    for (uint32_t group = 0; group < SIM_GROUPS; group++) {
        mem_free(check->groups[group].digests);
    }
    mem_free(check);
}

void check_digests_start(struct check_digests *check, const struct sim_machine *machine,
                         uint32_t group)
{
    check->applied[machine->number][group] = UINT64_MAX;
    /* A lone node may forget what was not durable, and write something else there. */
    struct probe probe;
    bool may_forget = machine->sim->plan.sync != AOF_SYNC_ALWAYS && machine->lost_power;
    if (may_forget && probe_group(machine, group, &probe) && probe.raft == NULL) {
        struct known *known = &check->groups[group];
        for (uint64_t index = probe.applied + 1; index < known->capacity; index++) {
            known->digests[index] = 0;
        }
    }
}

uint64_t check_digests_compared(const struct check_digests *check)
{
    return check->compared;
}

void check_digests_turn(struct check_digests *check, const struct sim_machine *machine,
                        uint32_t group, const struct probe *probe)
{
    uint64_t *applied = &check->applied[machine->number][group];
    if (*applied == probe->applied) {
        return;
    }
    *applied = probe->applied;
    struct known *known = &check->groups[group];
    if (probe->applied >= known->capacity) {
        uint64_t capacity = (probe->applied + 64) * 2;
        known->digests = mem_realloc(known->digests, capacity * sizeof(*known->digests));
        memset(known->digests + known->capacity, 0,
               (capacity - known->capacity) * sizeof(*known->digests));
        known->capacity = capacity;
    }
    uint64_t digest = probe_digest(machine, group) | 1;
    if (known->digests[probe->applied] == 0) {
        known->digests[probe->applied] = digest;
    } else if (known->digests[probe->applied] != digest) {
        sim_fail(check->sim, "I6 equal state", "%s, group %u: another state at index %" PRIu64,
                 sim_node_name(machine->machine), group, probe->applied);
    } else {
        check->compared += 1;
    }
}
