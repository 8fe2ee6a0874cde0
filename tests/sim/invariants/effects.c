/*
 * effects.c — I11 and I13, by the numbers that values carry: an acknowledged write is in the
 * committed chain; a write that was refused is in it never; every value that a read shows, at any
 * level, is committed; ANY reads of one connection do not go back.
 *
 * (That an unanswered write takes effect at most once, and a repeated one of a session exactly
 * once, is for the linearizability of appends and counters to show: I9, I12.)
 */
#include "checks.h"

#include <inttypes.h>

static bool is_replicated(const struct sim *sim)
{
    return sim->plan.nodes > 1;
}

static bool writes_value(const struct sim_op *op)
{
    return op->kind == LIN_SET || op->kind == LIN_SETNX || op->kind == LIN_GETSET ||
           op->kind == LIN_APPEND;
}

/* The number behind '#' at `at`; UINT32_MAX: none. */
static uint32_t number_at(struct slice text, size_t at)
{
    uint32_t number = 0;
    for (size_t i = at + 1; i < at + 9; i++) {
        if (i >= text.size || text.data[i] < '0' || text.data[i] > '9') {
            return UINT32_MAX;
        }
        number = number * 10 + (uint32_t)(text.data[i] - '0');
    }
    return number;
}

static void check_shown(struct sim *sim, const struct check_chain *chain, const struct sim_op *op)
{
    uint64_t newest = 0;
    for (size_t at = 0; at < op->text.size; at++) {
        uint32_t group = 0;
        uint32_t count = 0;
        uint32_t number = op->text.data[at] == '#' ? number_at(op->text, at) : UINT32_MAX;
        if (number == UINT32_MAX) {
            continue;
        }
        uint64_t index = check_chain_find(chain, number, &group, &count);
        if (index == 0) {
            sim_fail(sim, "I13 reads show what is committed", "#%08u shows #%08u, not committed",
                     op->number, number);
        }
        newest = index > newest ? index : newest;
    }
    struct sim_connected *client = &sim->clients[op->client];
    uint32_t place = sim->history.keys[op->key].number;
    if (op->level != CONSISTENCY_ANY || op->kind != LIN_GET || newest == 0) {
        return;
    }
    bool is_same = client->any_seen[place].key == op->key;
    if (is_same && newest < client->any_seen[place].index) {
        sim_fail(sim, "I13 ANY does not go back",
                 "#%08u shows index %" PRIu64 ", this connection saw %" PRIu64, op->number, newest,
                 client->any_seen[place].index);
    }
    client->any_seen[place].key = op->key;
    client->any_seen[place].index = newest;
}

void check_effects_answer(struct sim *sim, const struct check_chain *chain, const struct sim_op *op)
{
    if (!is_replicated(sim) || op->fate != OP_ANSWERED) {
        return;
    }
    uint32_t group = 0;
    uint32_t count = 0;
    bool has_effect = writes_value(op) && !(op->kind == LIN_SETNX && op->answer == LIN_NIL);
    if (has_effect && check_chain_find(chain, op->number, &group, &count) == 0) {
        sim_fail(sim, "I10 acknowledged is committed", "#%08u was acknowledged, not committed",
                 op->number);
    }
    if (op->answer == LIN_TEXT) {
        check_shown(sim, chain, op);
    }
}

void check_effects_end(struct sim *sim, const struct check_chain *chain)
{
    for (uint32_t i = 0; i < sim->history.count && is_replicated(sim); i++) {
        const struct sim_op *op = &sim->history.ops[i];
        uint32_t group = 0;
        uint32_t count = 0;
        if (op->fate == OP_REFUSED && check_chain_find(chain, i, &group, &count) != 0) {
            sim_fail(sim, "I11 refused is never done", "#%08u was refused, and is committed", i);
        }
    }
}
