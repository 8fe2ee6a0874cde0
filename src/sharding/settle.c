/*
 * settle.c — see settle.h.
 */
#include "sharding/settle.h"

#include "base/assert.h"

#include <stdbool.h>

enum { NOBODY = UINT8_MAX };

/* A breadth-first search from one giver. */
struct search {
    uint8_t giver[RAFT_PEERS_MAX]; /* from whom a node would take; NOBODY: not reached */
    uint32_t seat[RAFT_PEERS_MAX]; /* and which seat */
    uint8_t queue[RAFT_PEERS_MAX];
    uint32_t queued;
};

static uint32_t heaviest(const struct settle *settle, const bool stuck[RAFT_PEERS_MAX]);
static uint32_t chain_find(const struct settle *settle, uint32_t from, struct search *search);
static void chain_move(struct settle *settle, const struct search *search, uint32_t from,
                       uint32_t to);

void settle_run(struct settle *settle)
{
    bool stuck[RAFT_PEERS_MAX] = { false };
    ASSERT(settle->count <= RAFT_PEERS_MAX);
    for (;;) {
        struct search search;
        uint32_t from = heaviest(settle, stuck);
        if (from == NOBODY) {
            return;
        }
        uint32_t to = chain_find(settle, from, &search);
        if (to == NOBODY) {
            stuck[from] = true;
        } else {
            chain_move(settle, &search, from, to);
        }
    }
}

/* The node furthest above its limit. */
static uint32_t heaviest(const struct settle *settle, const bool stuck[RAFT_PEERS_MAX])
{
    uint32_t found = NOBODY;
    uint32_t most = 0;
    for (uint32_t i = 0; i < settle->count; i++) {
        uint32_t over = settle->load[i] > settle->limit[i] ? settle->load[i] - settle->limit[i] : 0;
        if (!stuck[i] && over > most) {
            found = i;
            most = over;
        }
    }
    return found;
}

/* True when the chain that led to the giver moves the same seat: what was offered
 * holds for one move of a partition, not for two. */
static bool seat_is_moved(const struct search *search, uint32_t giver, uint32_t seat)
{
    for (uint32_t at = giver; search->giver[at] != at; at = search->giver[at]) {
        if (search->seat[at] == seat) {
            return true;
        }
    }
    return false;
}

/* Reaches whoever `giver` can give to; the cheapest taker among them with room, or NOBODY. */
static uint32_t takers_reach(const struct settle *settle, uint32_t giver, struct search *search)
{
    struct settle_move moves[RAFT_PEERS_MAX] = { { .from = 0 } };
    struct settle_move best = { .from = 0 };
    settle->moves(settle->state, giver, moves);
    for (uint32_t i = 0; i < settle->count; i++) {
        bool is_new = moves[i].from != 0 && search->giver[i] == NOBODY;
        if (!is_new || seat_is_moved(search, giver, moves[i].seat)) {
            continue;
        }
        search->giver[i] = (uint8_t)giver;
        search->seat[i] = moves[i].seat;
        search->queue[search->queued++] = (uint8_t)i;
        if (settle->load[i] < settle->limit[i]) {
            settle_offer(&best, moves[i].from, moves[i].to, i);
        }
    }
    return best.from != 0 ? best.seat : NOBODY;
}

/* The last node of the shortest chain from `from` to one with room. */
static uint32_t chain_find(const struct settle *settle, uint32_t from, struct search *search)
{
    *search = (struct search){ .queue = { (uint8_t)from }, .queued = 1 };
    for (uint32_t i = 0; i < settle->count; i++) {
        search->giver[i] = i == from ? (uint8_t)from : NOBODY;
    }
    for (uint32_t at = 0; at < search->queued; at++) {
        uint32_t to = takers_reach(settle, search->queue[at], search);
        if (to != NOBODY) {
            return to;
        }
    }
    return NOBODY;
}

static void chain_move(struct settle *settle, const struct search *search, uint32_t from,
                       uint32_t to)
{
    ASSERT(settle->load[from] > settle->limit[from]);
    ASSERT(settle->load[to] < settle->limit[to]);
    settle->load[from]--;
    settle->load[to]++;
    for (uint32_t taker = to; taker != from; taker = search->giver[taker]) {
        settle->move(settle->state, search->giver[taker], taker, search->seat[taker]);
    }
}
