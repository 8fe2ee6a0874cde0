/*
 * migration.c — see migration.h.
 */
#include "sharding/migration.h"

#include "base/assert.h"

#include <stddef.h>

const char *migration_phase_name(enum migration_phase phase)
{
    static const char *const names[MIGRATION_PHASES] = { "settled",   "queued",  "copying",
                                                         "switching", "leaving", "absent",
                                                         "unsafe" };
    ASSERT(phase < MIGRATION_PHASES);
    return names[phase];
}

/* ── the budget ──────────────────────────────────────────────────────────────────────────────── */

/* A group costs something even when it is empty. */
static uint64_t cost_of(const struct migration *migration)
{
    return migration->bytes > MIGRATION_GROUP_BYTES ? migration->bytes : MIGRATION_GROUP_BYTES;
}

/* Of all groups on their way to the node; NULL: there is no place for so many nodes. */
static uint64_t *arriving_at(struct migration_budget *budget, uint64_t node)
{
    for (uint32_t i = 0; i < budget->count; i++) {
        if (budget->arriving[i].node == node) {
            return &budget->arriving[i].bytes;
        }
    }
    if (budget->count == RAFT_PEERS_MAX) {
        return NULL;
    }
    budget->arriving[budget->count].node = node;
    budget->arriving[budget->count].bytes = 0;
    return &budget->arriving[budget->count++].bytes;
}

static void budget_take(struct migration_budget *budget, uint64_t node, uint64_t bytes)
{
    uint64_t *arriving = arriving_at(budget, node);
    budget->bytes += bytes;
    if (arriving != NULL) {
        *arriving += bytes;
    }
}

static bool fits(uint64_t taken, uint64_t bytes, uint64_t most)
{
    return taken == 0 || taken + bytes <= most;
}

static bool budget_allows(struct migration_budget *budget, uint64_t node, uint64_t bytes)
{
    const uint64_t *arriving = arriving_at(budget, node);
    return arriving != NULL && fits(*arriving, bytes, MIGRATION_NODE_BYTES) &&
           fits(budget->bytes, bytes, MIGRATION_LEADER_BYTES);
}

/* One that does not answer keeps nobody else waiting. */
static bool is_arriving(const struct migration_node *node)
{
    return node->holds && !node->votes && node->should_hold && node->is_alive && !node->is_ready;
}

void migration_count(const struct migration *migration, struct migration_budget *budget)
{
    for (uint32_t i = 0; i < migration->count; i++) {
        if (is_arriving(&migration->nodes[i])) {
            budget_take(budget, migration->nodes[i].node, cost_of(migration));
        }
    }
}

/* ── steps ───────────────────────────────────────────────────────────────────────────────────── */

static void next_add(struct migration_step *step, const struct migration_node *node, bool votes)
{
    ASSERT(step->count < RAFT_PEERS_MAX);
    step->next[step->count].node = node->node;
    step->next[step->count].incarnation = node->incarnation;
    step->next[step->count++].votes = votes;
}

/* Of those who vote if this one does not, a majority lives and has caught up. */
static bool can_lose(const struct migration *migration, const struct migration_node *gone)
{
    uint32_t voters = 0;
    uint32_t good = 0;
    for (uint32_t i = 0; i < migration->count; i++) {
        const struct migration_node *node = &migration->nodes[i];
        bool votes = node->votes && node != gone;
        voters += votes;
        good += votes && node->is_alive && node->is_ready;
    }
    return good > voters / 2;
}

/* Another disk of a node that holds the group: the new one comes when the old one has gone. */
static bool is_replaced(const struct migration *migration, const struct migration_node *old)
{
    for (uint32_t i = 0; i < migration->count; i++) {
        const struct migration_node *node = &migration->nodes[i];
        if (node->node == old->node && node->incarnation != old->incarnation && node->should_hold) {
            return true;
        }
    }
    return false;
}

static bool is_there(const struct migration *migration, uint64_t number)
{
    for (uint32_t i = 0; i < migration->count; i++) {
        if (migration->nodes[i].node == number && migration->nodes[i].holds) {
            return true;
        }
    }
    return false;
}

/* Everybody who stays.  One voter at most goes here; the others in the swap. */
static bool stay(const struct migration *migration, struct migration_step *step)
{
    bool has_gone = false;
    bool is_voter_gone = false;
    for (uint32_t i = 0; i < migration->count; i++) {
        const struct migration_node *node = &migration->nodes[i];
        if (!node->holds) {
            continue;
        }
        bool goes = !node->votes && !node->should_hold;
        if (node->votes && !node->should_hold && !is_voter_gone && is_replaced(migration, node)) {
            goes = can_lose(migration, node);
            is_voter_gone = goes;
        }
        has_gone = has_gone || goes;
        if (!goes) {
            next_add(step, node, node->votes);
        }
    }
    return has_gone;
}

/* Nodes that should hold the group learn.  *out_absent: one cannot, as it does not answer. */
static bool come(const struct migration *migration, struct migration_budget *budget,
                 struct migration_step *step, bool *out_absent)
{
    bool has_come = false;
    *out_absent = false;
    for (uint32_t i = 0; i < migration->count; i++) {
        const struct migration_node *node = &migration->nodes[i];
        if (!node->should_hold || is_there(migration, node->node)) {
            continue;
        }
        *out_absent = *out_absent || !node->is_alive;
        if (node->is_alive && step->count < RAFT_PEERS_MAX &&
            budget_allows(budget, node->node, cost_of(migration))) {
            budget_take(budget, node->node, cost_of(migration));
            next_add(step, node, /* votes= */ false);
            has_come = true;
        }
    }
    return has_come;
}

/* What keeps the voters from changing places; MIGRATION_SWITCHING: nothing. */
static enum migration_phase swap_check(const struct migration *migration)
{
    uint32_t voters = 0;
    uint32_t good = 0;
    bool is_copying = false;
    bool is_absent = false;
    for (uint32_t i = 0; i < migration->count; i++) {
        const struct migration_node *node = &migration->nodes[i];
        bool is_coming = node->should_vote && !node->votes;
        voters += node->should_vote;
        good += node->should_vote && node->holds && node->is_alive && node->is_ready;
        is_absent = is_absent || (is_coming && !node->is_alive);
        is_copying = is_copying || (is_coming && node->holds && !node->is_ready);
        if (is_coming && node->is_alive && !node->holds) {
            return MIGRATION_QUEUED;
        }
    }
    if (is_absent || is_copying) {
        return is_absent ? MIGRATION_ABSENT : MIGRATION_COPYING;
    }
    return good > voters / 2 ? MIGRATION_SWITCHING : MIGRATION_UNSAFE;
}

static bool voters_differ(const struct migration *migration)
{
    for (uint32_t i = 0; i < migration->count; i++) {
        if (migration->nodes[i].votes != migration->nodes[i].should_vote) {
            return true;
        }
    }
    return false;
}

static bool lacks_learners(const struct migration *migration)
{
    for (uint32_t i = 0; i < migration->count; i++) {
        if (migration->nodes[i].should_hold && !migration->nodes[i].holds) {
            return true;
        }
    }
    return false;
}

/* Who takes over from a leader that is to give up its vote; 0: it stays, or nobody can. */
static uint64_t successor(const struct migration *migration)
{
    uint64_t found = 0;
    for (uint32_t i = 0; i < migration->count; i++) {
        const struct migration_node *node = &migration->nodes[i];
        bool stays = node->votes && node->should_vote;
        if (stays && node->node == migration->leader) {
            return 0;
        }
        if (found == 0 && stays && node->is_alive && node->is_ready) {
            found = node->node;
        }
    }
    return found;
}

/* All who should vote do, who should not goes or learns. */
static void swap(const struct migration *migration, struct migration_step *step)
{
    step->count = 0;
    for (uint32_t i = 0; i < migration->count; i++) {
        const struct migration_node *node = &migration->nodes[i];
        if (node->holds && node->should_hold) {
            next_add(step, node, node->should_vote);
        }
    }
    step->action = MIGRATION_CHANGE;
}

void migration_next(const struct migration *migration, struct migration_budget *budget,
                    struct migration_step *out_step)
{
    bool is_absent = false;
    ASSERT(migration->count <= MIGRATION_NODES_MAX);
    *out_step = (struct migration_step){ .action = MIGRATION_CHANGE };
    bool has_gone = stay(migration, out_step);
    bool has_come = come(migration, budget, out_step, &is_absent);
    if (has_gone || has_come) {
        out_step->phase = has_come ? MIGRATION_COPYING : MIGRATION_LEAVING;
        return;
    }
    if (!voters_differ(migration)) {
        bool lacks = lacks_learners(migration);
        out_step->action = lacks ? MIGRATION_WAIT : MIGRATION_DONE;
        out_step->phase = !lacks      ? MIGRATION_SETTLED
                          : is_absent ? MIGRATION_ABSENT
                                      : MIGRATION_QUEUED;
        return;
    }
    out_step->action = MIGRATION_WAIT;
    out_step->phase = swap_check(migration);
    if (out_step->phase != MIGRATION_SWITCHING) {
        return;
    }
    out_step->leader = successor(migration);
    if (out_step->leader != 0) {
        out_step->action = MIGRATION_LEAD;
        return;
    }
    swap(migration, out_step);
}
