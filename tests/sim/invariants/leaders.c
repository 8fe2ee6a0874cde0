/*
 * leaders.c — I1: at most one leader per group and term.  I3: a new leader's log holds everything
 * that was committed in earlier terms.
 */
#include "base/mem.h"
#include "checks.h"

#include <inttypes.h>

struct terms {
    uint8_t *leaders; /* leaders[term]: machine + 1; 0: none seen */
    uint64_t capacity;
};

struct check_leaders {
    struct sim *sim;
    struct terms groups[SIM_GROUPS];
    uint64_t elections;
};

struct check_leaders *check_leaders_new(struct sim *sim)
{
    struct check_leaders *check = mem_zalloc(sizeof(*check));
    check->sim = sim;
    return check;
}

void check_leaders_free(struct check_leaders *check)
{
    for (uint32_t group = 0; group < SIM_GROUPS; group++) {
        mem_free(check->groups[group].leaders);
    }
    mem_free(check);
}

uint64_t check_leaders_elections(const struct check_leaders *check)
{
    return check->elections;
}

static void check_completeness(struct check_leaders *check, const struct check_chain *chain,
                               const struct sim_machine *machine, uint32_t group,
                               const struct probe *probe)
{
    uint64_t committed = check_chain_committed(chain, group);
    for (uint64_t index = probe->first; index <= committed; index++) {
        uint64_t commit_term = 0;
        uint64_t own_term = 0;
        uint8_t kind = 0;
        uint64_t term = check_chain_term(chain, group, index, &commit_term);
        if (commit_term >= probe->term || term == 0) {
            continue;
        }
        if (!raft_entry_at(probe->raft, index, &own_term, &kind) || own_term != term) {
            sim_fail(check->sim, "I3 leader completeness",
                     "%s leads group %u in term %" PRIu64 " without entry %" PRIu64
                     ", committed in term %" PRIu64,
                     sim_node_name(machine->machine), group, probe->term, index, commit_term);
            return;
        }
    }
}

void check_leaders_turn(struct check_leaders *check, const struct check_chain *chain,
                        const struct sim_machine *machine, uint32_t group,
                        const struct probe *probe)
{
    struct terms *terms = &check->groups[group];
    if (probe->role != RAFT_LEADER) {
        return;
    }
    if (probe->term >= terms->capacity) {
        uint64_t capacity = (probe->term + 16) * 2;
        terms->leaders = mem_realloc(terms->leaders, capacity);
        memset(terms->leaders + terms->capacity, 0, capacity - terms->capacity);
        terms->capacity = capacity;
    }
    uint8_t known = terms->leaders[probe->term];
    if (known == 0) {
        terms->leaders[probe->term] = (uint8_t)(machine->number + 1);
        check->elections += 1;
        check_completeness(check, chain, machine, group, probe);
    } else if (known != machine->number + 1) {
        sim_fail(check->sim, "I1 one leader a term", "group %u, term %" PRIu64 ": node%u and %s",
                 group, probe->term, known, sim_node_name(machine->machine));
    }
}
