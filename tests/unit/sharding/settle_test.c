/*
 * settle_test.c — what is above limits goes where there is room, as far as anything can; by chains
 * where it must, and never twice the same seat in one chain.
 */
#include "sharding/settle.h"

#include "base/prng.h"
#include "test.h"

enum { ROUNDS = 5000, SEATS_MAX = 60, NODES_MAX = 6 };

/* Seats of which each may be held by some nodes. */
struct seats {
    uint32_t count, nodes;
    uint32_t holder[SEATS_MAX];
    uint32_t allowed[SEATS_MAX]; /* bits */
    uint32_t distance[SEATS_MAX][NODES_MAX];
};

static void seat_moves(const void *state, uint32_t giver, struct settle_move out[RAFT_PEERS_MAX])
{
    const struct seats *seats = state;
    for (uint32_t s = 0; s < seats->count; s++) {
        for (uint32_t i = 0; i < seats->nodes && seats->holder[s] == giver; i++) {
            if (i != giver && (seats->allowed[s] >> i & 1) != 0) {
                settle_offer(&out[i], seats->distance[s][giver], seats->distance[s][i], s);
            }
        }
    }
}

static void seat_move(void *state, uint32_t giver, uint32_t taker, uint32_t seat)
{
    struct seats *seats = state;
    CHECK_EQ(seats->holder[seat], giver);
    CHECK((seats->allowed[seat] >> taker & 1) != 0);
    seats->holder[seat] = taker;
}

/* Hall: what only nodes of a set may hold, and their limits do not admit, stays too much. */
static uint32_t least_above(const struct seats *seats, const struct settle *settle)
{
    uint32_t most = 0;
    for (uint32_t set = 0; set < UINT32_C(1) << seats->nodes; set++) {
        uint32_t bound = 0;
        uint32_t room = 0;
        for (uint32_t s = 0; s < seats->count; s++) {
            bound += (seats->allowed[s] & ~set) == 0;
        }
        for (uint32_t i = 0; i < seats->nodes; i++) {
            room += (set >> i & 1) != 0 ? settle->limit[i] : 0;
        }
        most = bound > room && bound - room > most ? bound - room : most;
    }
    return most;
}

TEST(as_little_as_possible_stays_above_limits)
{
    struct prng prng;
    prng_init(&prng, 1);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct seats seats = { .nodes = 2 + (uint32_t)prng_below(&prng, NODES_MAX - 1) };
        struct settle settle = {
            .count = seats.nodes, .moves = seat_moves, .move = seat_move, .state = &seats
        };
        seats.count = (uint32_t)prng_below(&prng, SEATS_MAX);
        for (uint32_t s = 0; s < seats.count; s++) {
            seats.holder[s] = (uint32_t)prng_below(&prng, seats.nodes);
            seats.allowed[s] = UINT32_C(1) << seats.holder[s];
            for (uint32_t i = 0; i < seats.nodes; i++) {
                seats.allowed[s] |= (uint32_t)prng_chance(&prng, 1, 4) << i;
                seats.distance[s][i] = 1 + (uint32_t)prng_below(&prng, 1000);
            }
            settle.load[seats.holder[s]]++;
        }
        for (uint32_t i = 0; i < seats.nodes; i++) {
            settle.limit[i] = (uint32_t)prng_below(&prng, 2 * seats.count / seats.nodes + 2);
        }
        uint32_t expected = least_above(&seats, &settle);
        settle_run(&settle);
        uint32_t above = 0;
        uint32_t held[NODES_MAX] = { 0 };
        for (uint32_t s = 0; s < seats.count; s++) {
            held[seats.holder[s]]++;
        }
        for (uint32_t i = 0; i < seats.nodes; i++) {
            CHECK_EQ(held[i], settle.load[i]);
            above += held[i] > settle.limit[i] ? held[i] - settle.limit[i] : 0;
        }
        CHECK_EQ(above, expected);
    }
}

/* Of two seats the one whose taker is relatively nearer goes. */
TEST(the_cheapest_seat_moves)
{
    struct seats seats = { .count = 3, .nodes = 2, .allowed = { 3, 3, 3 } };
    struct settle settle = { .count = 2, .load = { 3, 0 }, .limit = { 2, 1 } };
    const uint32_t distances[3][2] = { { 10, 100 }, { 100, 190 }, { 1, 5 } };
    for (uint32_t s = 0; s < 3; s++) {
        memcpy(seats.distance[s], distances[s], sizeof(distances[s]));
    }
    settle.moves = seat_moves;
    settle.move = seat_move;
    settle.state = &seats;
    settle_run(&settle);
    CHECK_EQ(seats.holder[0], 0);
    CHECK_EQ(seats.holder[1], 1);
    CHECK_EQ(seats.holder[2], 0);
}

/* A chain 0 -> 1 -> 2 -> 3 of fixed seats. */
struct chain {
    uint32_t seat[3];
    uint32_t moved;
};

static void chain_moves(const void *state, uint32_t giver, struct settle_move out[RAFT_PEERS_MAX])
{
    const struct chain *chain = state;
    if (giver < 3) {
        settle_offer(&out[giver + 1], 1, 1, chain->seat[giver]);
    }
}

static void chain_move(void *state, uint32_t giver, uint32_t taker, uint32_t seat)
{
    struct chain *chain = state;
    CHECK_EQ(taker, giver + 1);
    CHECK_EQ(seat, chain->seat[giver]);
    chain->moved++;
}

TEST(a_chain_moves_no_seat_twice)
{
    static const struct chain chains[] = { { .seat = { 7, 8, 9 } }, { .seat = { 7, 8, 7 } } };
    for (unsigned i = 0; i < 2; i++) {
        struct chain chain = chains[i];
        struct settle settle = { .count = 4,
                                 .load = { 2, 1, 1, 0 },
                                 .limit = { 1, 1, 1, 1 },
                                 .moves = chain_moves,
                                 .move = chain_move,
                                 .state = &chain };
        settle_run(&settle);
        CHECK_EQ(chain.moved, i == 0 ? 3 : 0);
        CHECK_EQ(settle.load[0], i == 0 ? 1 : 2);
        CHECK_EQ(settle.load[3], i == 0 ? 1 : 0);
    }
}

TEST_MAIN
