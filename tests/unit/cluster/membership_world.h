/*
 * membership_world.h — a simulated network of membership cores: one clock, one seed.
 *
 * Datagrams are lost, late, doubled and overtaken as the options say; links (TCP) only deliver late
 * or not at all.  A paused process does nothing; what arrived meanwhile it reads first, then its
 * clock ticks, as the real loop does.  The world knows the truth: who was up and reachable when
 * somebody called it dead.
 */
#pragma once

#include "base/mem.h"
#include "base/prng.h"
#include "cluster/membership.h"
#include "test.h"

enum { WORLD_NODES = 16, WORLD_FLIGHTS = 1 << 14, WORLD_CLUSTER = 77 };

struct flight {
    uint64_t at_ms, sequence;
    uint32_t from, to;
    bool by_link;
    uint32_t size;
    char bytes[MEMBERSHIP_PACKET_BYTES_MAX];
};

struct world_node {
    struct membership *core; /* NULL: no process */
    uint64_t boot, identity, deadline_ms, paused_until_ms;
    uint64_t alive_since_ms; /* of its process */
};

struct world {
    struct prng prng;
    struct membership_output output;
    uint64_t now_ms, sequence;
    uint32_t count;
    struct world_node nodes[WORLD_NODES];
    struct membership_member members[WORLD_NODES];
    uint32_t loss_percent, double_percent, delay_min_ms, delay_more_ms;
    bool has_links;
    bool cut[WORLD_NODES][WORLD_NODES];      /* datagrams */
    bool cut_link[WORLD_NODES][WORLD_NODES]; /* either direction: no link */
    struct flight *flights;
    uint32_t flights_count;
    struct membership_datagram largest;
    uint32_t deaths, false_deaths, suspicions, packets;
    uint32_t pause_percent, pause_max_ms; /* chance of a pause at a tick */
};

static inline uint64_t world_number(uint32_t at)
{
    return at + 1;
}

static inline void world_take(struct world *world, uint32_t from);

static inline void world_step(struct world *world, uint32_t at, struct membership_input input)
{
    input.now_ms = world->now_ms;
    membership_step(world->nodes[at].core, &input, &world->output);
    world_take(world, at);
}

static inline void world_members(struct world *world, uint32_t at, uint32_t count)
{
    world_step(world, at,
               (struct membership_input){
                   .kind = MEMBERSHIP_MEMBERS, .members = world->members, .members_count = count });
}

static inline void world_start(struct world *world, uint32_t at)
{
    struct world_node *node = &world->nodes[at];
    node->boot++;
    node->core = mem_zalloc(membership_sizeof());
    node->alive_since_ms = world->now_ms;
    node->paused_until_ms = 0;
    membership_init(node->core, &(struct membership_options){ .cluster = WORLD_CLUSTER,
                                                              .number = world_number(at),
                                                              .identity = node->identity,
                                                              .boot = node->boot,
                                                              .seed = prng_next(&world->prng) });
    struct membership_advice advice = { .host = "10.0.0.1", .version = "1.2.3", .port = 7001 };
    world_step(world, at,
               (struct membership_input){ .kind = MEMBERSHIP_ADVISE, .advice = &advice });
    world_members(world, at, world->count);
}

static inline void world_kill(struct world *world, uint32_t at)
{
    mem_free(world->nodes[at].core);
    world->nodes[at].core = NULL;
}

static inline struct world *world_new(uint64_t seed, uint32_t count)
{
    struct world *world = mem_zalloc(sizeof(*world));
    prng_init(&world->prng, seed);
    world->flights = mem_zalloc(WORLD_FLIGHTS * sizeof(*world->flights));
    world->now_ms = 1000000;
    world->count = count;
    world->delay_more_ms = 1;
    world->has_links = true;
    for (uint32_t i = 0; i < count; i++) {
        world->nodes[i].identity = 100 + i;
        world->members[i] = (struct membership_member){ world_number(i), 100 + i };
    }
    return world;
}

/* All start within a second, and have met. */
static inline struct world *world_formed(uint64_t seed, uint32_t count);

static inline void world_free(struct world *world)
{
    for (uint32_t i = 0; i < world->count; i++) {
        mem_free(world->nodes[i].core);
    }
    mem_free(world->flights);
    mem_free(world);
}

static inline void world_fly(struct world *world, uint32_t from,
                             const struct membership_datagram *datagram)
{
    uint32_t to = (uint32_t)datagram->to - 1;
    bool is_lost =
        datagram->by_link
            ? !world->has_links || world->cut_link[from][to] || world->cut_link[to][from]
            : world->cut[from][to] || prng_below(&world->prng, 100) < world->loss_percent;
    if (is_lost || world->flights_count == WORLD_FLIGHTS) {
        return;
    }
    struct flight *flight = &world->flights[world->flights_count++];
    flight->at_ms =
        world->now_ms + world->delay_min_ms + prng_below(&world->prng, world->delay_more_ms + 1);
    flight->sequence = ++world->sequence;
    flight->from = from;
    flight->to = to;
    flight->by_link = datagram->by_link;
    flight->size = datagram->size;
    memcpy(flight->bytes, datagram->bytes, datagram->size);
}

/* Whether `to` is there and the two can talk, one way or the other. */
static inline bool world_reaches(const struct world *world, uint32_t from, uint32_t to)
{
    bool udp = !world->cut[from][to] && !world->cut[to][from];
    bool tcp = world->has_links && !world->cut_link[from][to] && !world->cut_link[to][from];
    return world->nodes[to].core != NULL && (udp || tcp);
}

static inline void world_take(struct world *world, uint32_t from)
{
    const struct membership_output *output = &world->output;
    world->nodes[from].deadline_ms = output->deadline_ms;
    world->packets += output->datagrams_count;
    for (uint32_t i = 0; i < output->datagrams_count; i++) {
        const struct membership_datagram *datagram = &output->datagrams[i];
        CHECK(datagram->size <= MEMBERSHIP_PACKET_BYTES_MAX);
        CHECK(datagram->to != world_number(from)); /* nobody talks to himself */
        world->largest = datagram->size > world->largest.size ? *datagram : world->largest;
        world_fly(world, from, datagram);
        if (!datagram->by_link && prng_below(&world->prng, 100) < world->double_percent) {
            world_fly(world, from, datagram);
        }
    }
    for (uint32_t i = 0; i < output->events_count; i++) {
        const struct membership_event *event = &output->events[i];
        world->suspicions += event->to == MEMBERSHIP_SUSPECT;
        if (event->to == MEMBERSHIP_DEAD) {
            world->deaths++;
            world->false_deaths += world_reaches(world, from, (uint32_t)event->number - 1);
        }
    }
}

/* The packet that arrives next at somebody who can read it; flights_count: none by then. */
static inline uint32_t world_next_flight(const struct world *world, uint64_t *out_ms)
{
    uint32_t best = world->flights_count;
    uint64_t best_sequence = 0;
    *out_ms = UINT64_MAX;
    for (uint32_t i = 0; i < world->flights_count; i++) {
        const struct flight *flight = &world->flights[i];
        uint64_t paused_ms = world->nodes[flight->to].paused_until_ms;
        uint64_t at_ms = flight->at_ms > paused_ms ? flight->at_ms : paused_ms;
        if (at_ms < *out_ms || (at_ms == *out_ms && flight->sequence < best_sequence)) {
            *out_ms = at_ms;
            best = i;
            best_sequence = flight->sequence;
        }
    }
    return best;
}

static inline uint32_t world_next_tick(const struct world *world, uint64_t *out_ms)
{
    uint32_t best = world->count;
    *out_ms = UINT64_MAX;
    for (uint32_t i = 0; i < world->count; i++) {
        const struct world_node *node = &world->nodes[i];
        uint64_t at_ms = node->deadline_ms;
        at_ms = at_ms > node->paused_until_ms ? at_ms : node->paused_until_ms;
        if (node->core != NULL && at_ms < *out_ms) {
            *out_ms = at_ms;
            best = i;
        }
    }
    return best;
}

static inline void world_deliver(struct world *world, uint32_t at)
{
    static struct flight flight;
    flight = world->flights[at];
    world->flights[at] = world->flights[--world->flights_count];
    if (world->nodes[flight.to].core != NULL) {
        world_step(world, flight.to,
                   (struct membership_input){ .kind = MEMBERSHIP_PACKET,
                                              .packet = slice_make(flight.bytes, flight.size),
                                              .by_link = flight.by_link });
    }
}

static inline void world_pause(struct world *world, uint32_t at, uint64_t ms)
{
    world->nodes[at].paused_until_ms = world->now_ms + ms;
}

static inline void world_run(struct world *world, uint64_t ms)
{
    uint64_t end_ms = world->now_ms + ms;
    for (;;) {
        uint64_t flight_ms = 0;
        uint64_t tick_ms = 0;
        uint32_t flight = world_next_flight(world, &flight_ms);
        uint32_t node = world_next_tick(world, &tick_ms);
        uint64_t at_ms = flight_ms <= tick_ms ? flight_ms : tick_ms;
        if (at_ms > end_ms) {
            world->now_ms = end_ms;
            return;
        }
        world->now_ms = at_ms > world->now_ms ? at_ms : world->now_ms;
        if (flight_ms <= tick_ms) {
            world_deliver(world, flight);
            continue;
        }
        if (prng_below(&world->prng, 100) < world->pause_percent) {
            world_pause(world, node, 1 + prng_below(&world->prng, world->pause_max_ms));
            continue;
        }
        world_step(world, node, (struct membership_input){ .kind = MEMBERSHIP_TICK });
    }
}

static inline enum membership_state world_state(const struct world *world, uint32_t of, uint32_t to)
{
    struct membership_view view = { .state = MEMBERSHIP_DEAD };
    bool is_known = membership_view(world->nodes[to].core, world_number(of), &view);
    return is_known ? view.state : MEMBERSHIP_DEAD;
}

/* Every running node but `of` itself sees it so. */
static inline bool world_all_see(const struct world *world, uint32_t of,
                                 enum membership_state state)
{
    for (uint32_t i = 0; i < world->count; i++) {
        if (i != of && world->nodes[i].core != NULL && world_state(world, of, i) != state) {
            return false;
        }
    }
    return true;
}

static inline bool world_is_whole(const struct world *world)
{
    for (uint32_t i = 0; i < world->count; i++) {
        if (!world_all_see(world, i, MEMBERSHIP_ALIVE)) {
            return false;
        }
    }
    return true;
}

/* Runs until all see it so; how long that took, or UINT64_MAX. */
static inline uint64_t world_until(struct world *world, uint32_t of, enum membership_state state,
                                   uint64_t within_ms)
{
    for (uint64_t ms = 0; ms <= within_ms; ms += 10) {
        if (world_all_see(world, of, state)) {
            return ms;
        }
        world_run(world, 10);
    }
    return UINT64_MAX;
}

static inline struct world *world_formed(uint64_t seed, uint32_t count)
{
    struct world *world = world_new(seed, count);
    for (uint32_t i = 0; i < count; i++) {
        world_start(world, i);
        world_run(world, prng_below(&world->prng, 1000 / count + 1));
    }
    world_run(world, 6000 + prng_below(&world->prng, 1000));
    CHECK(world_is_whole(world));
    world->deaths = 0;
    world->false_deaths = 0;
    world->suspicions = 0;
    return world;
}
