/*
 * peers_world.h — nodes on the simulated machine that do nothing but hold links and send frames.
 *
 * Each host checks what peers.h promises, by a model of its own: UP before frames before DOWN, one
 * of each; ids never twice; frames whole, in order, none missing in between.  A frame's bytes
 * follow from its sender and its number on the link, so the receiver knows them.
 */
#pragma once

#include "network/peers.h"

#include "base/endian.h"
#include "base/mem.h"
#include "base/prng.h"
#include "io/io.h"
#include "io/io_sim.h"
#include "test.h"

enum { HOSTS_MAX = 4, SEEN_MAX = 8192, CLUSTER_PORT = 7700 };

static const uint64_t MS = 1000000;
static const uint64_t SECOND = 1000000000;

/* A link as a host has seen it. */
struct seen {
    uint64_t link;
    enum peer_channel channel;
    bool is_up, is_down, is_outgoing;
    uint64_t number;
    uint64_t sent, received; /* frames */
    char node[64];           /* as the HELLO said */
    char reason[200];        /* of DOWN */
};

struct host {
    struct world *world;
    struct sim_node *node; /* NULL: on the real machine */
    struct io *io;
    struct peers *peers;
    struct peers_options options;
    struct seen *seen;
    uint32_t seen_count;
    uint64_t highest; /* link id shown UP so far */
    uint64_t frames, ups, downs, sent;
    uint64_t send_every_ns; /* 0: silent */
    uint64_t send_next_ns;
    size_t size_max;     /* of random frames */
    struct buffer extra; /* what the last frame of KIND_OTHER held */
};

struct world {
    struct sim_world *sim;
    struct prng prng;
    struct host hosts[HOSTS_MAX];
    struct peer_member members[HOSTS_MAX];
    uint32_t count;
    uint32_t steps;
};

/* ── numbered frames ─────────────────────────────────────────────────────────────────────────── */

enum { NUMBERED_BYTES = 24, KIND_OTHER = 239 };

static void fill_make(char *to, size_t size, uint64_t seed)
{
    uint64_t word = seed * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i < size; i++) {
        to[i] = (char)(word >> i % 8 * 8);
        word += i % 8 == 7 ? 0x9e3779b97f4a7c15u : 0;
    }
}

static bool fill_ok(const char *at, size_t size, uint64_t seed)
{
    char *expected = mem_alloc(size + 1);
    fill_make(expected, size, seed);
    bool is_same = memcmp(at, expected, size) == 0;
    mem_free(expected);
    return is_same;
}

static bool send_numbered(struct host *host, struct seen *seen, size_t fill)
{
    uint64_t number = host->options.self.number;
    uint8_t kind = (uint8_t)(seen->sent % KIND_OTHER);
    char *body = peers_frame_begin(host->peers, seen->link, kind, NUMBERED_BYTES + fill + 7);
    if (body == NULL) {
        return false;
    }
    store_u64(body, number);
    store_u64(body + 8, seen->sent);
    store_u64(body + 16, fill);
    fill_make(body + NUMBERED_BYTES, fill, number + seen->sent);
    peers_frame_flags(host->peers, seen->link, (uint8_t)(seen->sent / 3));
    peers_frame_end(host->peers, seen->link, NUMBERED_BYTES + fill);
    seen->sent += 1;
    host->sent += 1;
    return true;
}

static void check_numbered(struct seen *seen, const struct peer_event *event)
{
    CHECK(event->body.size >= NUMBERED_BYTES);
    if (event->body.size < NUMBERED_BYTES) {
        return;
    }
    const char *body = event->body.data;
    uint64_t number = load_u64(body);
    CHECK(seen->number == 0 || number == seen->number);
    CHECK_EQ(load_u64(body + 8), seen->received);
    CHECK_EQ(event->frame_kind, seen->received % KIND_OTHER);
    CHECK_EQ(event->flags, (uint8_t)(seen->received / 3));
    CHECK_EQ(event->body.size, NUMBERED_BYTES + load_u64(body + 16));
    CHECK(
        fill_ok(body + NUMBERED_BYTES, event->body.size - NUMBERED_BYTES, number + seen->received));
    seen->received += 1;
}

/* ── what a host sees ────────────────────────────────────────────────────────────────────────── */

static struct seen *seen_find(struct host *host, uint64_t link)
{
    for (uint32_t i = host->seen_count; i > 0; i--) {
        if (host->seen[i - 1].link == link) {
            return &host->seen[i - 1];
        }
    }
    return NULL;
}

static struct seen *seen_add(struct host *host, uint64_t link)
{
    CHECK(host->seen_count < SEEN_MAX);
    struct seen *seen = &host->seen[host->seen_count++];
    *seen = (struct seen){ .link = link };
    return seen;
}

static void host_up(struct host *host, const struct peer_event *event)
{
    struct seen *seen = seen_find(host, event->link); /* known when a test dialed it */
    seen = seen != NULL ? seen : seen_add(host, event->link);
    CHECK(!seen->is_up);
    CHECK(!seen->is_down);
    CHECK(event->hello != NULL);
    CHECK_EQ(event->hello->channel, event->channel);
    seen->is_up = true;
    seen->channel = event->channel;
    seen->is_outgoing = event->is_outgoing;
    seen->number = event->number;
    memcpy(seen->node, event->hello->node, sizeof(seen->node));
    CHECK(event->channel == PEER_JOIN || event->number == event->hello->number);
    CHECK(event->channel == PEER_JOIN ||
          strcmp(event->hello->cluster, host->options.self.cluster) == 0);
    host->ups += 1;
}

static void host_take(struct host *host, const struct peer_event *event)
{
    struct seen *seen = seen_find(host, event->link);
    switch (event->kind) {
    case PEER_EVENT_UP:
        host_up(host, event);
        return;
    case PEER_EVENT_DOWN:
        CHECK(seen != NULL && !seen->is_down);
        CHECK(event->reason != NULL && event->reason[0] != '\0');
        if (seen != NULL) {
            seen->is_down = true;
            (void)snprintf(seen->reason, sizeof(seen->reason), "%s", event->reason);
        }
        CHECK(peers_frame_begin(host->peers, event->link, 1, 10) == NULL);
        CHECK_EQ(peers_queued_bytes(host->peers, event->link), 0);
        peers_close(host->peers, event->link);
        host->downs += 1;
        return;
    case PEER_EVENT_FRAME:
        CHECK(seen != NULL && seen->is_up && !seen->is_down);
        host->frames += 1;
        if (event->frame_kind == KIND_OTHER) {
            host->extra.size = 0;
            buffer_append_slice(&host->extra, event->body);
        } else if (seen != NULL) {
            check_numbered(seen, event);
        }
        return;
    }
}

static void host_drain(struct host *host)
{
    struct peer_event event;
    while (peers_next(host->peers, &event)) {
        host_take(host, &event);
    }
}

/* A frame on some link that is up, whoever dialed it. */
static void host_send_some(struct host *host)
{
    struct prng *prng = &host->world->prng;
    for (unsigned tries = 0; tries < 8 && host->seen_count > 0; tries++) {
        uint64_t recent = host->seen_count < 32 ? host->seen_count : 32;
        struct seen *seen = &host->seen[host->seen_count - 1 - prng_below(prng, recent)];
        if (seen->is_up && !seen->is_down) {
            size_t size_max = prng_chance(prng, 1, 50) ? host->size_max : host->size_max / 200;
            (void)send_numbered(host, seen, prng_below(prng, size_max + 1));
            return;
        }
    }
}

/* ── a host's life ───────────────────────────────────────────────────────────────────────────── */

static void host_turn(struct host *host)
{
    struct io_event event;
    while (io_next(host->io, &event)) {
        CHECK(peers_owns(host->peers, &event));
        peers_on_event(host->peers, &event);
        host_drain(host);
    }
    uint64_t now_ns = io_clock_ns(host->io);
    peers_tick(host->peers, now_ns);
    host_drain(host);
    if (host->send_every_ns > 0 && now_ns >= host->send_next_ns) {
        host_send_some(host);
        host->send_next_ns = now_ns + prng_below(&host->world->prng, 2 * host->send_every_ns);
    }
    peers_flush(host->peers);
    uint64_t deadline_ns = peers_deadline_ns(host->peers);
    if (host->send_every_ns > 0 && host->send_next_ns < deadline_ns) {
        deadline_ns = host->send_next_ns;
    }
    io_wait(host->io, peers_has_work(host->peers) ? 0 : deadline_ns);
}

static struct peer_hello host_hello(uint32_t at)
{
    struct peer_hello hello = { .number = 100 + at,
                                .incarnation = 0xabcdef0000000000 + at,
                                .boot = 1,
                                .cluster = "00112233445566778899aabbccddeeff",
                                .cluster_port = CLUSTER_PORT,
                                .port = 7001,
                                .version = "test" };
    (void)snprintf(hello.node, sizeof(hello.node), "n%u", at + 1);
    (void)snprintf(hello.host, sizeof(hello.host), "10.0.0.%u", at + 1);
    return hello;
}

static struct peer_member host_member(const struct host *host)
{
    const struct peer_hello *self = &host->options.self;
    struct peer_member member = { .number = self->number,
                                  .incarnation = self->incarnation,
                                  .port = self->cluster_port };
    memcpy(member.host, self->host, sizeof(member.host));
    return member;
}

/* Starts the process; a driver turn follows. */
static void host_boot(struct host *host)
{
    struct world *world = host->world;
    host->io = sim_node_boot(host->node);
    host->options.seed = prng_next(&world->prng);
    host->peers = peers_new(host->io, &host->options);
    host->seen_count = 0;
    CHECK_EQ(peers_listen(host->peers, "0.0.0.0", CLUSTER_PORT), 0);
    CHECK_EQ(peers_port(host->peers), CLUSTER_PORT);
    peers_set_members(host->peers, world->members, world->count);
    io_wait(host->io, 0);
}

static void host_stop(struct host *host)
{
    peers_free(host->peers);
    io_free(host->io);
    host->peers = NULL;
    host->io = NULL;
}

static void host_crash(struct host *host, bool power_loss)
{
    sim_node_crash(host->node, power_loss);
    host_stop(host);
    host->options.self.boot += 1;
}

/* ── the world ───────────────────────────────────────────────────────────────────────────────── */

static struct world *world_new_of(uint32_t count, uint64_t seed, const struct sim_options *options)
{
    struct world *world = mem_zalloc(sizeof(*world));
    prng_init(&world->prng, seed);
    world->sim = sim_world_new(seed, options);
    world->count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct host *host = &world->hosts[i];
        host->world = world;
        host->options.self = host_hello(i);
        host->seen = mem_zalloc(SEEN_MAX * sizeof(host->seen[0]));
        host->size_max = 100000;
        host->node = sim_node_new(world->sim, host->options.self.node);
        sim_node_owner_set(host->node, host);
        world->members[i] = host_member(host);
    }
    return world;
}

static inline struct world *world_new(uint32_t count, uint64_t seed)
{
    struct sim_options options = sim_options_calm();
    struct world *world = world_new_of(count, seed, &options);
    for (uint32_t i = 0; i < count; i++) {
        host_boot(&world->hosts[i]);
    }
    return world;
}

static void world_free(struct world *world)
{
    for (uint32_t i = 0; i < HOSTS_MAX; i++) {
        struct host *host = &world->hosts[i];
        if (host->peers != NULL) {
            host_stop(host);
        }
        mem_free(host->seen);
        buffer_free(&host->extra);
    }
    sim_world_free(world->sim);
    mem_free(world);
}

static void world_run(struct world *world, uint64_t duration_ns)
{
    struct sim_turn turn;
    uint64_t until_ns = sim_world_now_ns(world->sim) + duration_ns;
    while (sim_world_step(world->sim, until_ns, &turn)) {
        world->steps += 1;
        if (turn.node == NULL) {
            continue; /* clients are looked at by the test */
        }
        struct host *host = sim_node_owner(turn.node);
        if (sim_node_is_up(turn.node)) {
            host_turn(host);
        }
        if (host->peers != NULL && !sim_node_is_up(turn.node)) {
            host_stop(host); /* it crashed by itself */
            host->options.self.boot += 1;
        }
    }
}

/* Whether both links from a to b are up. */
static bool is_linked(struct world *world, uint32_t a, uint32_t b)
{
    const struct peers *peers = world->hosts[a].peers;
    uint64_t number = world->hosts[b].options.self.number;
    return peers_link(peers, number, PEER_RAFT) != 0 && peers_link(peers, number, PEER_CLIENT) != 0;
}

static bool all_linked(struct world *world)
{
    bool all = true;
    for (uint32_t i = 0; i < world->count * world->count; i++) {
        uint32_t a = i / world->count;
        uint32_t b = i % world->count;
        all = all && (a == b || is_linked(world, a, b));
    }
    return all;
}

/* The latest link of a host with these properties; there must be one. */
static struct seen *seen_last(struct host *host, enum peer_channel channel, bool is_outgoing)
{
    for (uint32_t i = host->seen_count; i > 0; i--) {
        struct seen *seen = &host->seen[i - 1];
        if (seen->is_up && seen->channel == channel && seen->is_outgoing == is_outgoing) {
            return seen;
        }
    }
    CHECK(host == NULL); /* there is none */
    return &host->seen[0];
}
