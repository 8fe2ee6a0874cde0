/*
 * configs.c — I7: of two configurations of a group that follow each other in its committed log,
 * every majority of one meets every majority of the other.
 *
 * Allowed are: one voter more or less at a time; a joint configuration whose outgoing half is what
 * was before; and behind it its incoming half alone.  Looked at are the entries as they are
 * committed; where one of them was not seen (its bytes had left the memory of whoever committed it)
 * the comparison begins anew.
 *
 * I34: a node that was drained ends only when the latest configuration of no group counts on it.
 */
#include "base/mem.h"
#include "checks.h"
#include "cluster/confchange.h"
#include "storage/entry.h"

#include <inttypes.h>

struct check_configs {
    struct sim *sim;
    struct raft_config last[SIM_GROUPS]; /* members_count 0: not known */
};

struct check_configs *check_configs_new(struct sim *sim)
{
    struct check_configs *check = mem_zalloc(sizeof(*check));
    check->sim = sim;
    return check;
}

void check_configs_free(struct check_configs *check)
{
    mem_free(check);
}

static bool has(const struct raft_config *config, const struct raft_member *member, uint8_t role)
{
    int at = raft_config_find(config, member->node);
    return at >= 0 && config->members[at].incarnation == member->incarnation &&
           (config->members[at].roles & role) != 0;
}

/* Members with the role in `a` that do not have the other role in `b`. */
static uint32_t missing(const struct raft_config *a, uint8_t role, const struct raft_config *b,
                        uint8_t other)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < a->members_count; i++) {
        count += (a->members[i].roles & role) != 0 && !has(b, &a->members[i], other);
    }
    return count;
}

static bool may_follow(const struct raft_config *before, const struct raft_config *after)
{
    uint8_t half = raft_config_is_joint(after) ? RAFT_OUTGOING : RAFT_VOTER;
    uint32_t gone = missing(before, RAFT_VOTER, after, half);
    uint32_t come = missing(after, half, before, RAFT_VOTER);
    if (raft_config_is_joint(before) || raft_config_is_joint(after)) {
        return gone + come == 0 && !(raft_config_is_joint(before) && raft_config_is_joint(after));
    }
    return gone + come <= 1;
}

void check_configs_commit(struct check_configs *check, uint32_t group, uint64_t index,
                          bool is_config, struct slice bytes)
{
    struct raft_config *last = &check->last[group];
    struct entry entry;
    struct raft_config next;
    if (!is_config) {
        return;
    }
    if (bytes.size == 0 || !entry_decode(bytes, &entry) || !raft_config_decode(entry.body, &next)) {
        last->members_count = 0;
        return;
    }
    if (last->members_count > 0 && !may_follow(last, &next)) {
        sim_fail(check->sim, "I7 configurations",
                 "group %u, entry %" PRIu64
                 ": majorities of it and of the configuration before need "
                 "not meet",
                 group, index);
    }
    *last = next;
}

const struct raft_config *check_configs_last(const struct check_configs *check, uint32_t group)
{
    const struct raft_config *last = &check->last[group];
    return last->members_count > 0 ? last : NULL;
}

/* Everybody follows the meta group: there only a vote counts. */
void check_configs_leave(const struct check_configs *check, const struct sim_machine *machine)
{
    struct raft_member member = { .node = members_number(sim_node_name(machine->machine)),
                                  .incarnation = machine->incarnation };
    for (uint32_t group = 0; group < SIM_GROUPS; group++) {
        uint8_t roles = RAFT_VOTER | RAFT_OUTGOING;
        roles |= group != SIM_GROUP_META ? RAFT_LEARNER : 0;
        if (has(&check->last[group], &member, roles)) {
            sim_fail(check->sim, "I34 drained", "%s ends, and group %u still names it",
                     sim_node_name(machine->machine), group);
        }
    }
}
