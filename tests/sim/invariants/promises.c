/*
 * promises.c — I5: what a node has promised it keeps, across crashes: its term never goes back, it
 * votes once in a term, and its log holds what it said was durable.
 *
 * A promise is what raft believes to be durable: only that makes votes and acknowledgements leave.
 * A node that knows that it may have lost something (a suspect) promises nothing.
 */
#include "base/mem.h"
#include "checks.h"
#include "cluster/raft.h"

#include <inttypes.h>

struct promise {
    uint64_t term, voted_for;   /* durable */
    uint64_t index, index_term; /* the log is durable up to here */
};

struct check_promises {
    struct sim *sim;
    struct promise promises[SIM_MACHINES_MAX][SIM_GROUPS];
};

struct check_promises *check_promises_new(struct sim *sim)
{
    struct check_promises *check = mem_zalloc(sizeof(*check));
    check->sim = sim;
    return check;
}

void check_promises_free(struct check_promises *check)
{
    mem_free(check);
}

static void check_vote(struct check_promises *check, const struct sim_machine *machine,
                       uint32_t group, const struct probe *probe)
{
    const struct promise *promise = &check->promises[machine->number][group];
    if (probe->term < promise->term) {
        sim_fail(check->sim, "I5 terms", "%s, group %u: term %" PRIu64 " after %" PRIu64,
                 sim_node_name(machine->machine), group, probe->term, promise->term);
    }
    bool has_voted = probe->term == promise->term && promise->voted_for != 0;
    if (has_voted && probe->voted_for != promise->voted_for) {
        sim_fail(check->sim, "I5 votes",
                 "%s, group %u, term %" PRIu64 ": voted for %" PRIx64 ", then for %" PRIx64,
                 sim_node_name(machine->machine), group, probe->term, promise->voted_for,
                 probe->voted_for);
    }
}

void check_promises_turn(struct check_promises *check, const struct sim_machine *machine,
                         uint32_t group, const struct probe *probe)
{
    struct promise *promise = &check->promises[machine->number][group];
    check_vote(check, machine, group, probe);
    if (probe->is_hard_state_durable) {
        promise->term = probe->term;
        promise->voted_for = probe->voted_for;
    }
    uint64_t term = 0;
    uint8_t kind = 0;
    promise->index = 0;
    if (raft_entry_at(probe->raft, probe->durable, &term, &kind)) {
        promise->index = probe->durable;
        promise->index_term = term;
    }
}

void check_promises_start(struct check_promises *check, const struct sim_machine *machine,
                          uint32_t group, const struct probe *probe)
{
    struct promise *promise = &check->promises[machine->number][group];
    if (raft_is_suspect(probe->raft)) {
        *promise = (struct promise){ 0 };
        return;
    }
    check_vote(check, machine, group, probe);
    uint64_t term = 0;
    uint8_t kind = 0;
    bool is_there = raft_entry_at(probe->raft, promise->index, &term, &kind);
    uint64_t last_term = 0;
    bool is_replaced = raft_entry_at(probe->raft, probe->last, &last_term, &kind) &&
                       last_term > promise->index_term; /* in the turn in which it died */
    if (promise->index >= probe->first && !is_replaced &&
        (!is_there || term != promise->index_term)) {
        sim_fail(check->sim, "I5 log kept",
                 "%s, group %u: entry %" PRIu64 " of term %" PRIu64
                 " was durable; after the restart the log ends at %" PRIu64
                 ", that entry has term %" PRIu64,
                 sim_node_name(machine->machine), group, promise->index, promise->index_term,
                 probe->last, term);
    }
}

void check_promises_wipe(struct check_promises *check, const struct sim_machine *machine)
{
    memset(check->promises[machine->number], 0, sizeof(check->promises[machine->number]));
}
