/*
 * raft_random_test.c — thousands of short lives of a cluster, each drawn from one seed.
 *
 * Safety phase: messages are delayed, lost, duplicated and reordered, links are cut one way, nodes
 * pause, crash with the loss of what was not durable, restart, lose even durable entries (then
 * they start as suspects), are wiped and come back as someone else; leadership is transferred,
 * members come and go, logs are compacted; clocks drift.  Which of these happen, and how often,
 * is drawn per seed (uniform everything hides bugs).  Meanwhile clients write and read.
 *
 * Liveness phase: everything heals; within a bounded time there must be one leader, everyone must
 * apply the same log, a write must commit, the counters must return to zero, reads must be served,
 * and then elections must stop.
 *
 *   RAFT_SEED=n    first seed           RAFT_SEEDS=n   how many
 *   RAFT_TRACE=1   print every step
 */
#include "test.h"

#include "world.h"

#include <signal.h>
#include <unistd.h>

#ifdef MINIDB_SLOW_CHECKS
enum { SEEDS_DEFAULT = 150 };
#else
enum { SEEDS_DEFAULT = 1200 };
#endif

enum {
    SAFETY_MS = 1500,
    LIVENESS_MS = 1000,
    QUIET_MS = 800,
    EVENTS_MAX = 1 << 15,
    QUIET_STEPS_MAX = 4000
};

enum event_kind {
    EVENT_DELIVER,
    EVENT_TICK,
    EVENT_PERSIST,
    EVENT_WAKE,
    EVENT_CHAOS,
    EVENT_FETCH,
    EVENT_CLIENT,
    EVENT_GONE
};

struct event {
    uint64_t time_us, sequence;
    enum event_kind kind;
    uint64_t node, life; /* life: the boot it belongs to */
    struct world_flight *flight;
    uint64_t gone_from, gone_term, gone_index; /* GONE: a leader's word */
};

/* Chances are in thousandths. */
struct weather {
    uint32_t drop, duplicate, late, transfer, confchange, crash, pause, cut, isolate, chain, island,
        compact, wipe, suspect, fetch_fails, gone;
    uint32_t delay_us, disk_us, chaos_us, client_us;
    bool is_healed, is_quiet;
};

struct sim {
    struct world *world;
    struct prng prng;
    struct weather weather;
    struct event *heap;
    uint32_t heap_count;
    uint64_t sequence;
    uint64_t paused_until_us[WORLD_NODES_MAX + 1];
    uint64_t tick_at_us[WORLD_NODES_MAX + 1]; /* the earliest tick that is scheduled */
    bool is_persisting[WORLD_NODES_MAX + 1];
    bool is_cut[WORLD_NODES_MAX + 1][WORLD_NODES_MAX + 1];
    uint64_t dead; /* in the liveness phase: a node that never comes back; 0: none */
    bool is_trace, has_worst_clocks;
};

static uint64_t current_seed, first_seed;

static void on_abort(int number)
{
    char text[96];
    int size = snprintf(text, sizeof(text),
                        "VIOLATION seed %" PRIu64 " (seeds tried: %" PRIu64 "): assertion\n",
                        current_seed, current_seed - first_seed + 1);
    (void)!write(STDOUT_FILENO, text, (size_t)size);
    (void)number;
    _exit(1);
}

/* ── the event queue: a binary heap by (time, sequence) ─────────────────────────────────────── */

static bool event_before(const struct event *a, const struct event *b)
{
    return a->time_us != b->time_us ? a->time_us < b->time_us : a->sequence < b->sequence;
}

static void event_push(struct sim *sim, struct event event)
{
    if (sim->heap_count == EVENTS_MAX) {
        abort();
    }
    event.sequence = ++sim->sequence;
    uint32_t at = sim->heap_count++;
    for (; at > 0 && event_before(&event, &sim->heap[(at - 1) / 2]); at = (at - 1) / 2) {
        sim->heap[at] = sim->heap[(at - 1) / 2];
    }
    sim->heap[at] = event;
}

static struct event event_pop(struct sim *sim)
{
    struct event top = sim->heap[0];
    struct event last = sim->heap[--sim->heap_count];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= sim->heap_count) {
            break;
        }
        if (child + 1 < sim->heap_count && event_before(&sim->heap[child + 1], &sim->heap[child])) {
            child++;
        }
        if (event_before(&last, &sim->heap[child])) {
            break;
        }
        sim->heap[at] = sim->heap[child];
        at = child;
    }
    sim->heap[at] = last;
    return top;
}

static void event_in(struct sim *sim, uint64_t delay_us, enum event_kind kind, uint64_t node)
{
    event_push(sim, (struct event){ .time_us = sim->world->now_us + delay_us,
                                    .kind = kind,
                                    .node = node,
                                    .life = world_node(sim->world, node)->boot });
}

static bool chance(struct sim *sim, uint32_t thousandths)
{
    return prng_chance(&sim->prng, thousandths, 1000);
}

static uint64_t below(struct sim *sim, uint64_t bound)
{
    return prng_below(&sim->prng, bound);
}

/* ── what the world does on its own ─────────────────────────────────────────────────────────── */

static void on_flight(struct world *world, struct world_flight *flight)
{
    struct sim *sim = world->hooks.context;
    const struct weather *weather = &sim->weather;
    if (chance(sim, weather->drop)) {
        world_flight_free(world, flight);
        return;
    }
    uint64_t delay_us = 100 + below(sim, weather->delay_us);
    if (chance(sim, weather->late)) {
        delay_us += below(sim, 400 * 1000);
    }
    event_push(sim, (struct event){ .time_us = world->now_us + delay_us,
                                    .kind = EVENT_DELIVER,
                                    .node = flight->message.to,
                                    .flight = flight });
    if (chance(sim, weather->duplicate)) {
        event_push(sim, (struct event){ .time_us = world->now_us + 100 + below(sim, 200 * 1000),
                                        .kind = EVENT_DELIVER,
                                        .node = flight->message.to,
                                        .flight = world_flight_copy(world, flight) });
    }
}

static void persist_next(struct sim *sim, struct world_node *node)
{
    if (node->writes != NULL && !sim->is_persisting[node->id]) {
        sim->is_persisting[node->id] = true;
        event_in(sim, 50 + below(sim, sim->weather.disk_us), EVENT_PERSIST, node->id);
    }
}

static void on_write(struct world *world, struct world_node *node)
{
    persist_next(world->hooks.context, node);
}

/* The driver ticks at the deadline, by the node's own clock. */
static void on_step(struct world *world, struct world_node *node, const struct raft_input *input,
                    const struct raft_output *output)
{
    struct sim *sim = world->hooks.context;
    uint64_t now_ms = world_clock_ms(world, node);
    uint64_t wait_ms = output->deadline_ms > now_ms ? output->deadline_ms - now_ms : 0;
    if (wait_ms > 100000) {
        wait_ms = 100000;
    }
    uint64_t wait_us = wait_ms * 1000 * 1000 / node->clock_rate + 100;
    uint64_t at_us = world->now_us + wait_us;
    if (sim->tick_at_us[node->id] <= world->now_us || at_us < sim->tick_at_us[node->id]) {
        sim->tick_at_us[node->id] = at_us;
        event_in(sim, wait_us, EVENT_TICK, node->id);
    }
    if (output->snapshot_wanted) {
        event_in(sim, 1000 + below(sim, 50 * 1000), EVENT_FETCH, node->id);
    }
    if (sim->is_trace) {
        printf("%8" PRIu64 " n%u in %d  role %d term %u leader %u last %u commit %u out %u\n",
               world->now_us, (unsigned)node->id, (int)input->kind, (int)raft_role(node->raft),
               (unsigned)raft_term(node->raft), (unsigned)raft_leader(node->raft),
               (unsigned)raft_last_index(node->raft), (unsigned)output->commit_index,
               output->messages_count);
        for (uint32_t i = 0; i < output->messages_count; i++) {
            const struct raft_message *m = &output->messages[i];
            printf("            %u>%u kind %d term %u index %u/%u n %u commit %u hint %u%s\n",
                   (unsigned)m->from, (unsigned)m->to, (int)m->kind, (unsigned)m->term,
                   (unsigned)m->index, (unsigned)m->log_term, m->entries_count, (unsigned)m->commit,
                   (unsigned)m->hint, m->is_rejected ? " rejected" : "");
        }
    }
}

static uint32_t count_down(const struct world *world)
{
    uint32_t down = 0;
    for (uint64_t id = 1; id <= world->nodes_count; id++) {
        down += !world->nodes[id].is_up;
    }
    return down;
}

/* A suspect must leave a majority that remembers: one at a time, three voters at least. */
static bool may_become_suspect(struct sim *sim, uint64_t id)
{
    uint64_t at = 0;
    for (uint64_t other = 1; other <= sim->world->nodes_count; other++) {
        struct world_node *node = world_node(sim->world, other);
        if (other != id &&
            (node->is_suspect_next || (node->is_up && raft_is_suspect(node->raft)))) {
            return false;
        }
        if (node->is_up && raft_config(node->raft, &at)->members_count < 3) {
            return false;
        }
    }
    return sim->weather.confchange == 0 && sim->world->nodes_count >= 3;
}

static void crash(struct sim *sim, uint64_t id)
{
    struct world_node *node = world_node(sim->world, id);
    bool was_suspect = raft_is_suspect(node->raft) && !node->was_vacated;
    world_crash(sim->world, id, (uint32_t)below(sim, node->writes_count + 1));
    sim->is_persisting[id] = false;
    sim->tick_at_us[id] = 0;
    node->is_suspect_next = was_suspect;
    if (chance(sim, sim->weather.suspect) && may_become_suspect(sim, id)) {
        struct world_disk *disk = &node->disk;
        uint64_t base = disk->snapshot.meta.index;
        if (disk->last > base && disk->last >= disk->first) {
            uint64_t first = disk->first > base + 1 ? disk->first : base + 1;
            disk->last = first - 1 + below(sim, disk->last - first + 2);
            disk->commit = 0;
        }
        node->is_suspect_next = true;
        sim->world->suspects += 1;
    }
    bool is_quick = chance(sim, sim->weather.chain > 0 ? 900 : 500);
    event_in(sim, below(sim, is_quick ? 2000 : 300 * 1000), EVENT_WAKE, id);
}

/* The disk is gone: another identity moves in. */
static void wipe(struct sim *sim, uint64_t id)
{
    struct world *world = sim->world;
    struct world_node *node = world_node(world, id);
    struct raft_config first = { 0 };
    world_crash(world, id, 0);
    sim->is_persisting[id] = false;
    sim->tick_at_us[id] = 0;
    for (uint64_t voter = 1; voter <= world->options.voters_count; voter++) {
        (void)!raft_config_add(&first, voter, 1, RAFT_VOTER);
    }
    memset(&node->disk, 0, sizeof(node->disk));
    memset(world->votes[id], 0, sizeof(world->votes[id]));
    node->disk.first = 1;
    node->disk.snapshot.meta.config = first;
    node->incarnation += 1;
    node->last = 0;
    event_in(sim, below(sim, 100 * 1000), EVENT_WAKE, id);
}

/* Where replicas are vacated nobody votes before it has caught up, as the coordinator sees to it.
 */
static bool may_vote(const struct world_node *leader, uint64_t id)
{
    uint64_t at = 0;
    struct raft_peer_view view;
    const struct raft_config *current = raft_config(leader->raft, &at);
    return raft_config_is_voter(current, id) ||
           (raft_peer(leader->raft, id, &view) && !view.is_suspect && view.match >= at);
}

/* Some leader, perhaps a deposed one, says that a node is no member; whenever that arrives. */
static void tell_gone(struct sim *sim, const struct world_node *leader)
{
    uint64_t index = 0;
    uint64_t id = 1 + below(sim, sim->world->nodes_count);
    if (raft_is_gone(leader->raft, id, &index)) {
        uint64_t delay_us = 100 + below(sim, chance(sim, 700) ? 5 * 1000 : 400 * 1000);
        event_push(sim, (struct event){ .time_us = sim->world->now_us + delay_us,
                                        .kind = EVENT_GONE,
                                        .node = id,
                                        .gone_from = leader->id,
                                        .gone_term = raft_term(leader->raft),
                                        .gone_index = index });
    }
}

static void hear_gone(struct sim *sim, const struct event *event)
{
    struct raft_config config = { 0 };
    const struct world_node *leader = world_node(sim->world, event->gone_from);
    (void)!raft_config_add(&config, leader->id, leader->incarnation, RAFT_VOTER);
    struct raft_input input = { .kind = RAFT_INPUT_VACATE,
                                .vacate = { event->gone_term, event->gone_index, &config } };
    if (world_node(sim->world, event->node)->is_up) {
        (void)world_step(sim->world, world_node(sim->world, event->node), input);
    }
}

/* A leader is told to change to random members.  A wiped node must leave before it returns. */
static void change_members(struct sim *sim, struct world_node *leader)
{
    struct world *world = sim->world;
    struct raft_config wanted = { 0 };
    uint64_t at = 0;
    const struct raft_config *current = raft_config(leader->raft, &at);
    for (uint64_t id = 1; id <= world->nodes_count; id++) {
        int member = raft_config_find(current, id);
        uint64_t incarnation = world->nodes[id].incarnation;
        bool is_wiped = member >= 0 && current->members[member].incarnation != incarnation;
        uint64_t pick = below(sim, 10);
        if (is_wiped || pick < 3) {
            continue;
        }
        if (sim->weather.gone > 0 && !may_vote(leader, id)) {
            pick = 9;
        }
        (void)!raft_config_add(&wanted, id, incarnation, pick < 8 ? RAFT_VOTER : RAFT_LEARNER);
    }
    (void)world_confchange(world, leader->id, &wanted);
}

static void chaos_membership(struct sim *sim, struct world_node *node)
{
    if (raft_role(node->raft) != RAFT_LEADER) {
        return;
    }
    if (chance(sim, sim->weather.transfer)) {
        (void)world_transfer(sim->world, node->id, 1 + below(sim, sim->world->nodes_count));
    }
    if (chance(sim, sim->weather.confchange)) {
        change_members(sim, node);
    }
    if (chance(sim, sim->weather.gone)) {
        tell_gone(sim, node);
    }
}

/* Links go down one way, or all of a node's both ways; they come back with time. */
static void chaos_links(struct sim *sim, uint64_t id)
{
    uint64_t count = sim->world->nodes_count;
    if (chance(sim, sim->weather.cut)) {
        uint64_t other = 1 + below(sim, count);
        sim->is_cut[id][other] = true;
        sim->is_cut[other][id] |= chance(sim, 500); /* a chain: the others hear both */
    } else if (chance(sim, sim->weather.isolate)) {
        for (uint64_t other = 1; other <= count; other++) {
            sim->is_cut[id][other] = true;
            sim->is_cut[other][id] = true;
        }
    } else if (sim->weather.chain == 0 && chance(sim, 300)) {
        for (uint64_t other = 1; other <= count; other++) {
            sim->is_cut[id][other] = false;
            sim->is_cut[other][id] = false;
        }
    }
}

static struct world_node *the_leader(struct world *world)
{
    struct world_node *leader = NULL;
    for (uint64_t id = 1; id <= world->nodes_count; id++) {
        struct world_node *node = world_node(world, id);
        bool is_leader = node->is_up && raft_role(node->raft) == RAFT_LEADER;
        if (is_leader && (leader == NULL || raft_term(node->raft) > raft_term(leader->raft))) {
            leader = node;
        }
    }
    return leader;
}

/* One node and the leader lose sight of each other, and the others see both; or the leader is an
 * island.  All other links are up. */
static void chain(struct sim *sim, uint64_t leader)
{
    uint64_t count = sim->world->nodes_count;
    uint64_t chosen = 1 + below(sim, count);
    bool is_island = chance(sim, sim->weather.island);
    memset(sim->is_cut, 0, sizeof(sim->is_cut));
    for (uint64_t other = 1; other <= count; other++) {
        if (is_island || other == chosen) {
            sim->is_cut[leader][other] = true;
            sim->is_cut[other][leader] = true;
        }
    }
}

static void chaos(struct sim *sim, uint64_t id)
{
    struct world *world = sim->world;
    if (sim->weather.is_healed) {
        return;
    }
    event_in(sim, below(sim, sim->weather.chaos_us), EVENT_CHAOS, id);
    const struct world_node *leader = the_leader(world);
    if (leader != NULL && chance(sim, sim->weather.chain)) {
        chain(sim, leader->id);
    } else if (leader != NULL && chance(sim, 300)) {
        id = leader->id; /* where it hurts most */
    }
    struct world_node *node = world_node(world, id);
    chaos_links(sim, id);
    if (!node->is_up) {
        return;
    }
    if (chance(sim, sim->weather.pause)) {
        sim->paused_until_us[id] = world->now_us + below(sim, 250 * 1000);
    }
    chaos_membership(sim, node);
    if (chance(sim, sim->weather.compact)) {
        world_compact(world, id, below(sim, 20));
    }
    if (chance(sim, sim->weather.crash)) {
        crash(sim, id);
    } else if (chance(sim, sim->weather.wipe) && count_down(world) == 0 && world->nodes_count > 3) {
        sim->weather.wipe = 0; /* once a life: a minority */
        wipe(sim, id);
    }
}

/* What a driver does for a log that runs out of slots. */
static void make_room(struct sim *sim, struct world_node *node)
{
    if (raft_log_space(node->raft) < 8) {
        world_compact(sim->world, node->id, 0);
    }
    if (raft_log_space(node->raft) < 8 && node->log_capacity < WORLD_LOG_MAX) {
        world_grow(sim->world, node->id, node->log_capacity * 2);
    }
}

/* Clients of one node: they write where a leader is (or believes to be) and read anywhere. */
static void client(struct sim *sim, uint64_t id)
{
    struct world *world = sim->world;
    struct world_node *node = world_node(world, id);
    event_in(sim, 100 + below(sim, sim->weather.client_us), EVENT_CLIENT, id);
    if (!node->is_up) {
        return;
    }
    make_room(sim, node);
    if (sim->weather.is_quiet) {
        return;
    }
    uint64_t most = sim->weather.is_healed ? WORLD_LOG_MAX - 600 : WORLD_LOG_MAX / 2;
    if (raft_role(node->raft) == RAFT_LEADER && node->last < most) {
        (void)world_propose(world, id, 1 + (uint32_t)below(sim, 4));
    }
    if (chance(sim, 600)) {
        world_read(world, id);
    }
}

static void start(struct sim *sim, uint64_t id)
{
    struct world_node *node = world_node(sim->world, id);
    if (!node->is_up) {
        sim->paused_until_us[id] = 0;
        world_start(sim->world, id);
        node->is_suspect_next = false;
    }
}

static void deliver(struct sim *sim, struct event *event)
{
    const struct raft_message *message = &event->flight->message;
    if (sim->is_cut[message->from][message->to]) {
        world_flight_free(sim->world, event->flight);
    } else {
        world_deliver(sim->world, event->flight);
    }
}

static void run_event(struct sim *sim, struct event *event)
{
    struct world *world = sim->world;
    struct world_node *node = world_node(world, event->node);
    bool is_paused = world->now_us < sim->paused_until_us[event->node];
    if (is_paused && event->kind != EVENT_CHAOS && event->kind != EVENT_WAKE) {
        event->time_us = sim->paused_until_us[event->node];
        event_push(sim, *event);
        return;
    }
    bool is_stale = event->life != node->boot;
    switch (event->kind) {
    case EVENT_DELIVER:
        deliver(sim, event);
        break;
    case EVENT_TICK:
        if (!is_stale && node->is_up) {
            if (sim->tick_at_us[node->id] <= world->now_us) {
                sim->tick_at_us[node->id] = 0;
            }
            world_tick_now(world, node->id);
        }
        break;
    case EVENT_PERSIST:
        if (!is_stale && node->is_up) {
            sim->is_persisting[node->id] = false;
            world_persist(world, node->id);
            persist_next(sim, node);
        }
        break;
    case EVENT_WAKE:
        start(sim, event->node);
        break;
    case EVENT_CHAOS:
        chaos(sim, event->node);
        break;
    case EVENT_FETCH:
        if (!is_stale) {
            world_fetch_done(world, node->id, chance(sim, sim->weather.fetch_fails));
        }
        break;
    case EVENT_CLIENT:
        client(sim, event->node);
        break;
    case EVENT_GONE:
        hear_gone(sim, event);
        break;
    }
}

static void run_until(struct sim *sim, uint64_t end_us)
{
    struct world *world = sim->world;
    while (world->violation[0] == '\0' && sim->heap_count > 0 && sim->heap[0].time_us <= end_us) {
        struct event event = event_pop(sim);
        world->now_us = event.time_us;
        run_event(sim, &event);
    }
    if (world->violation[0] == '\0') {
        world->now_us = end_us;
    }
}

/* ── one life ───────────────────────────────────────────────────────────────────────────────── */

static uint32_t draw(struct sim *sim, uint32_t most)
{
    return chance(sim, 500) ? 0 : (uint32_t)below(sim, most + 1);
}

static void draw_weather(struct sim *sim, bool has_changes)
{
    static const uint32_t delays_us[] = { 200, 1000, 5000, 40000 };
    static const uint32_t chaos_us[] = { 10 * 1000, 30 * 1000, 120 * 1000 };
    static const uint32_t client_us[] = { 2000, 5000, 30 * 1000 };
    sim->weather = (struct weather){
        .drop = draw(sim, 200),
        .duplicate = draw(sim, 200),
        .late = draw(sim, 100),
        .transfer = draw(sim, 250),
        .confchange = has_changes ? 50 + (uint32_t)below(sim, 300) : 0,
        .crash = draw(sim, 150),
        .pause = draw(sim, 150),
        .cut = draw(sim, 250),
        .isolate = draw(sim, 200),
        .compact = draw(sim, 200),
        .wipe = has_changes ? draw(sim, 20) : 0,
        .suspect = has_changes ? 0 : draw(sim, 600),
        .gone = has_changes && chance(sim, 500) ? 800 : 0,
        .fetch_fails = draw(sim, 300),
        .delay_us = delays_us[below(sim, 4)],
        .disk_us = delays_us[below(sim, 4)],
        .chaos_us = chaos_us[below(sim, 3)],
        .client_us = client_us[below(sim, 3)],
    };
}

/* Leaders hardly live longer than their elections: the weather of the paper's figure 8. */
static void draw_storm(struct sim *sim)
{
    sim->weather.chaos_us = 5 * 1000 + (uint32_t)below(sim, 30 * 1000);
    sim->weather.cut = draw(sim, 400);
    sim->weather.isolate = 150 + (uint32_t)below(sim, 250);
    sim->weather.crash = draw(sim, 200);
    sim->weather.delay_us = 200 + (uint32_t)below(sim, 3000);
    sim->weather.disk_us = 200 + (uint32_t)below(sim, 3000);
    sim->weather.client_us = 2000 + (uint32_t)below(sim, 10 * 1000);
}

/* Leases are tried: nothing but links between leaders and others that come and go, restarts that
 * take no time, and many readers. */
static void draw_chain(struct sim *sim)
{
    sim->weather = (struct weather){ .chain = 200,
                                     .crash = 100 + (uint32_t)below(sim, 400),
                                     .transfer = draw(sim, 100),
                                     .delay_us = 100 + (uint32_t)below(sim, 500),
                                     .disk_us = 50 + (uint32_t)below(sim, 500),
                                     .chaos_us = 5 * 1000 + (uint32_t)below(sim, 60 * 1000),
                                     .client_us = 1000 };
}

/* The same for leaders that are cut off alone, with clocks as wrong as they may be. */
static void draw_islands(struct sim *sim)
{
    draw_chain(sim);
    sim->weather.island = 1000;
    sim->weather.crash = 0;
    sim->world->options.clock_drift_percent = 20;
    sim->has_worst_clocks = true;
}

/* What the cluster is like, apart from its weather. */
static struct world_options draw_options(struct sim *sim, uint64_t seed)
{
    struct world_options options = world_options_default(0);
    bool is_quick = chance(sim, 500);
    options.heartbeat_ms = is_quick ? 5 : 10;
    options.election_timeout_ms = is_quick ? 20 : 60;
    options.disk_stall_ms = 300;
    options.clock_drift_percent = (uint32_t)below(sim, 21);
    options.lease_reads = chance(sim, 500);
    options.log_capacity = 16u << below(sim, 5);
    options.uncommitted_bytes_max = 200 + below(sim, 5000);
    options.inflight_bytes_max = 60 + below(sim, 5000);
    options.append_bytes_max = chance(sim, 500) ? 60 : (uint32_t)(60 + below(sim, 2000));
    options.seed = seed;
    return options;
}

static struct sim *sim_new(uint64_t seed)
{
    struct sim *sim = mem_zalloc(sizeof(*sim));
    prng_init(&sim->prng, seed);
    sim->heap = mem_alloc(EVENTS_MAX * sizeof(*sim->heap));
    struct world_options options = draw_options(sim, seed);
    enum { LEASES, CHANGES, CHANGES_TOO, PLAIN, STYLES };
    uint64_t style = below(sim, STYLES);
    style = style == CHANGES_TOO ? CHANGES : style;
    uint32_t count = style == LEASES    ? 3 + 2 * (uint32_t)chance(sim, 300)
                     : style == CHANGES ? 3 + (uint32_t)below(sim, 3)
                                        : 1 + (uint32_t)below(sim, 5);
    options.voters_count = style == CHANGES ? 1 + (uint32_t)below(sim, count) : count;
    options.lease_reads |= style == LEASES;
    sim->world = world_new(count, &options);
    sim->world->hooks = (struct world_hooks){ sim, on_flight, on_write, on_step };
    sim->is_trace = getenv("RAFT_TRACE") != NULL;
    draw_weather(sim, style == CHANGES);
    if (style != LEASES && chance(sim, 400)) {
        draw_storm(sim);
    } else if (style == LEASES && chance(sim, 700)) {
        draw_chain(sim);
    } else if (style == LEASES) {
        draw_islands(sim);
    }
    return sim;
}

static void sim_free(struct sim *sim)
{
    world_free(sim->world);
    mem_free(sim->heap);
    mem_free(sim);
}

static void begin(struct sim *sim)
{
    struct world *world = sim->world;
    int drift = (int)world->options.clock_drift_percent;
    for (uint64_t id = 1; id <= world->nodes_count; id++) {
        struct world_node *node = world_node(world, id);
        int swing = (int)below(sim, (uint64_t)(2 * drift + 1)) - drift;
        if (sim->has_worst_clocks || chance(sim, 500)) {
            swing = chance(sim, 500) ? drift : -drift;
        }
        node->clock_rate = (uint32_t)(1000 + 10 * swing);
        node->clock_offset_us = (int64_t)below(sim, 1000 * 1000);
        world_start(world, id);
        event_in(sim, below(sim, sim->weather.chaos_us), EVENT_CHAOS, id);
        event_in(sim, below(sim, sim->weather.client_us), EVENT_CLIENT, id);
    }
}

/* One of a majority stays away for good; just now leadership was to become its. */
static void bury(struct sim *sim, uint64_t id)
{
    struct world *world = sim->world;
    for (uint64_t other = 1; other <= world->nodes_count; other++) {
        if (other != id && raft_is_suspect(world_node(world, other)->raft)) {
            return; /* it needs everybody else to be healed */
        }
    }
    struct world_node *leader = the_leader(world);
    if (leader != NULL && leader->id != id) {
        (void)world_transfer(world, leader->id, id);
    }
    world_crash(world, id, 0);
    sim->dead = id;
    memset(sim->is_cut[id], 1, sizeof(sim->is_cut[id]));
}

static void heal(struct sim *sim, bool has_changes)
{
    struct world *world = sim->world;
    sim->weather = (struct weather){
        .delay_us = 2000, .disk_us = 2000, .client_us = 20 * 1000, .is_healed = true
    };
    memset(sim->is_cut, 0, sizeof(sim->is_cut));
    for (uint64_t id = 1; id <= world->nodes_count; id++) {
        sim->paused_until_us[id] = 0;
        start(sim, id);
    }
    if (!has_changes && world->nodes_count >= 3 && chance(sim, 300)) {
        bury(sim, 1 + below(sim, world->nodes_count));
    }
}

/* A wiped voter stays lost; without the others' majority nothing can be demanded. */
static bool can_live(struct sim *sim)
{
    struct world *world = sim->world;
    for (uint64_t id = 1; id <= world->nodes_count; id++) {
        if (world->nodes[id].incarnation > 1) {
            return false;
        }
    }
    return true;
}

static void check_member(struct world *world, const struct world_node *leader,
                         const struct world_node *node)
{
    if (raft_leader(node->raft) != leader->id || node->applied != leader->last ||
        raft_is_suspect(node->raft) || node->reads_count > 0) {
        world_fail(world, "LIVE: node %u follows %u, applied %u of %u, suspect %d, reads %u",
                   (unsigned)node->id, (unsigned)raft_leader(node->raft), (unsigned)node->applied,
                   (unsigned)leader->last, raft_is_suspect(node->raft), node->reads_count);
    }
}

/* Clients work: there is a leader, writes commit, reads are answered, changes and transfers end. */
static void check_progress(struct sim *sim)
{
    struct world *world = sim->world;
    uint64_t canon_before = world->canon_count;
    uint64_t reads_before = world->reads_served;
    run_until(sim, world->now_us + LIVENESS_MS * 1000);
    struct world_node *leader = the_leader(world);
    if (leader == NULL || world->canon_count <= canon_before ||
        world->reads_served <= reads_before) {
        world_fail(world, "LIVE: leader %d, commits %u, reads %u", leader != NULL,
                   (unsigned)(world->canon_count - canon_before),
                   (unsigned)(world->reads_served - reads_before));
    }
}

/* Clients are silent: all are equal, counters are zero, nobody is elected any more. */
static void check_quiet(struct sim *sim)
{
    struct world *world = sim->world;
    uint64_t elections = world->elections;
    sim->weather.is_quiet = true;
    run_until(sim, world->now_us + QUIET_MS * 500);
    uint64_t steps = world->steps;
    run_until(sim, world->now_us + QUIET_MS * 500);
    if (world->steps - steps > QUIET_STEPS_MAX) {
        world_fail(world, "I26: %u steps when nothing happens", (unsigned)(world->steps - steps));
    }
    struct world_node *leader = the_leader(world);
    if (leader == NULL || world->elections != elections) {
        world_fail(world, "LIVE: elections go on");
        return;
    }
    uint64_t at = 0;
    const struct raft_config *config = raft_config(leader->raft, &at);
    for (uint32_t i = 0; i < config->members_count; i++) {
        if (config->members[i].node != sim->dead) {
            check_member(world, leader, world_node(world, config->members[i].node));
        }
    }
    if (raft_config_is_joint(config) || raft_has_transfer(leader->raft) ||
        !raft_config_is_voter(config, leader->id)) {
        world_fail(world, "LIVE: a change or a transfer never ended");
    }
    if (raft_uncommitted_bytes(leader->raft) != 0) {
        world_fail(world, "LIVE: %u bytes stay uncommitted",
                   (unsigned)raft_uncommitted_bytes(leader->raft));
    }
}

struct totals {
    uint64_t steps, elections, commits, reads, changes, snapshots, suspects, vacated;
};

static bool run_seed(uint64_t seed, struct totals *totals)
{
    current_seed = seed;
    struct sim *sim = sim_new(seed);
    struct world *world = sim->world;
    bool has_changes = sim->weather.confchange > 0;
    begin(sim);
    run_until(sim, world->now_us + SAFETY_MS * 1000);
    if (world->violation[0] == '\0') {
        heal(sim, has_changes);
        bool is_demanded = can_live(sim);
        run_until(sim, world->now_us + LIVENESS_MS * 1000);
        if (is_demanded && world->violation[0] == '\0') {
            check_progress(sim);
            check_quiet(sim);
        }
    }
    bool is_good = world->violation[0] == '\0';
    if (!is_good) {
        printf("VIOLATION seed %" PRIu64 " (seeds tried: %" PRIu64 "): %s\n", seed,
               seed - first_seed + 1, world->violation);
        world_dump(world);
    }
    totals->steps += world->steps;
    totals->elections += world->elections;
    totals->commits += world->canon_count;
    totals->reads += world->reads_served;
    totals->changes += world->config_changes;
    totals->snapshots += world->snapshots_installed;
    totals->suspects += world->suspects;
    totals->vacated += world->vacated;
    sim_free(sim);
    return is_good;
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

TEST(random_lives)
{
    uint64_t seeds = number_from("RAFT_SEEDS", SEEDS_DEFAULT);
    struct totals totals = { 0 };
    first_seed = number_from("RAFT_SEED", 1);
    (void)signal(SIGABRT, on_abort);
    bool is_good = true;
    for (uint64_t i = 0; i < seeds && is_good; i++) {
        is_good = run_seed(first_seed + i, &totals);
    }
    CHECK(is_good);
    if (getenv("RAFT_SEEDS") != NULL) {
        printf("%" PRIu64 " steps, %" PRIu64 " elections, %" PRIu64 " commits, %" PRIu64
               " reads, %" PRIu64 " changes, %" PRIu64 " snapshots, %" PRIu64 " suspects, %" PRIu64
               " vacated\n",
               totals.steps, totals.elections, totals.commits, totals.reads, totals.changes,
               totals.snapshots, totals.suspects, totals.vacated);
    }
}

/* The same seed gives the same life. */
TEST(a_seed_repeats)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct totals first = { 0 };
        struct totals second = { 0 };
        CHECK(run_seed(seed, &first));
        CHECK(run_seed(seed, &second));
        CHECK(memcmp(&first, &second, sizeof(first)) == 0);
    }
}

TEST_MAIN
