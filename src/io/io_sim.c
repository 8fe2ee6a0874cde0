/*
 * io_sim.c — the simulated world: time, events, turns, nodes.
 *
 * Idea: time is a number that jumps to the next thing that happens: an event in a heap ordered by
 * (time, sequence), or a node that has something to look at, or a node's deadline.  While a node
 * has its turn no time passes; afterwards it is busy for a moment, so that a node that never
 * sleeps still lets the world go on.
 *
 * Invariant: every random decision is drawn from one of the world's generators, in an order that
 * follows from the seed and the driver alone; no address, no container order and no real clock
 * ever takes part.
 *
 * Read next: io_sim_internal.h, io_sim_net.c, io_sim_disk.c.
 */
#include "io/io_sim.h"

#include "base/assert.h"
#include "base/mem.h"
#include "io/io_sim_internal.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    IDLE_WAITS_MAX = 16, /* io_wait calls without an event in one turn: then it is a loop */
    HEAP_FIRST = 256,
};

static const uint64_t WALL_BASE_MS = 1700000000000;
static const uint64_t NS_PER_MS = 1000000;
static const uint64_t NS_PER_S = 1000000000;

static void heap_pop(struct sim_world *world, struct sim_event *out_event);
static void world_handle(struct sim_world *world, const struct sim_event *event);
static struct sim_client *client_with_news(struct sim_world *world);
static struct sim_node *node_soonest(struct sim_world *world, uint64_t *out_time_ns);
static uint64_t node_local_ns(const struct sim_node *node);
static uint64_t node_true_ns(const struct sim_node *node, uint64_t local_ns);
static void deadline_set(struct sim_io *io, uint64_t deadline_ns);
static void io_drop(struct sim_io *io);

/* ── options ─────────────────────────────────────────────────────────────────────────────────── */

struct sim_options sim_options_calm(void)
{
    return (struct sim_options){
        .turn_min_ns = 1000,
        .turn_mean_ns = 5000,
        .latency_min_ns = 50000,
        .latency_mean_ns = 100000,
        .segment_bytes_max = 1500,
        .window_bytes = 256 << 10,
        .connect_timeout_ns = 20 * NS_PER_S,
        .disk_min_ns = 20000,
        .disk_mean_ns = 100000,
    };
}

/* Half of the time 0, else between 1 and max, each order of magnitude being as likely. */
static uint32_t rate_draw(struct prng *prng, uint32_t max_ppm)
{
    if (prng_chance(prng, 1, 2)) {
        return 0;
    }
    uint64_t bound = 1 + prng_below(prng, max_ppm);
    while (bound > 10 && prng_chance(prng, 1, 2)) {
        bound /= 10;
    }
    return (uint32_t)bound;
}

struct sim_options sim_options_draw(struct prng *prng)
{
    struct sim_options options = sim_options_calm();
    options.turn_mean_ns = 1000 + prng_below(prng, 100000);
    options.latency_min_ns = prng_below(prng, 2 * NS_PER_MS);
    options.latency_mean_ns = 10000 + prng_below(prng, 10 * NS_PER_MS);
    options.segment_bytes_max = 1 + (uint32_t)prng_below(prng, prng_chance(prng, 1, 4) ? 16 : 9000);
    options.window_bytes = 1024u << prng_below(prng, 10);
    options.bandwidth_bytes_per_s = prng_chance(prng, 1, 2) ? 0 : 1000000ul << prng_below(prng, 8);
    options.short_send_ppm = rate_draw(prng, 300000);
    options.short_recv_ppm = rate_draw(prng, 500000);
    options.reset_ppm = rate_draw(prng, 3000);
    options.stall_ppm = rate_draw(prng, 10000);
    options.stall_max_ns = 1 + prng_below(prng, 5 * NS_PER_S);
    options.corrupt_ppm = 0;
    options.accept_error_ppm = rate_draw(prng, 100000);
    options.disk_mean_ns = 1000 + prng_below(prng, 20 * NS_PER_MS);
    options.disk_stall_ppm = rate_draw(prng, 10000);
    options.disk_stall_max_ns = 1 + prng_below(prng, 10 * NS_PER_S);
    options.read_error_ppm = 0;
    options.write_error_ppm = rate_draw(prng, 1000);
    options.sync_error_ppm = rate_draw(prng, 1000);
    options.full_ppm = rate_draw(prng, 2000);
    options.full_max_ns = 1 + prng_below(prng, 10 * NS_PER_S);
    options.datagram_loss_ppm = rate_draw(prng, 300000);
    options.datagram_double_ppm = rate_draw(prng, 500000);
    options.datagram_late_ppm = rate_draw(prng, 50000);
    options.datagram_corrupt_ppm = rate_draw(prng, 10000);
    return options;
}

void sim_options_print(const struct sim_options *options, struct buffer *out)
{
    buffer_printf(out, "turn %" PRIu64 "+%" PRIu64 "ns latency %" PRIu64 "+%" PRIu64 "ns ",
                  options->turn_min_ns, options->turn_mean_ns, options->latency_min_ns,
                  options->latency_mean_ns);
    buffer_printf(out, "bandwidth %" PRIu64 " segment %u window %u short-send %u short-recv %u ",
                  options->bandwidth_bytes_per_s, options->segment_bytes_max, options->window_bytes,
                  options->short_send_ppm, options->short_recv_ppm);
    buffer_printf(out, "reset %u stall %u/%" PRIu64 "ns corrupt %u accept-error %u ",
                  options->reset_ppm, options->stall_ppm, options->stall_max_ns,
                  options->corrupt_ppm, options->accept_error_ppm);
    buffer_printf(out, "datagram-loss %u -double %u -late %u -corrupt %u ",
                  options->datagram_loss_ppm, options->datagram_double_ppm,
                  options->datagram_late_ppm, options->datagram_corrupt_ppm);
    buffer_printf(out, "disk %" PRIu64 "+%" PRIu64 "ns stall %u/%" PRIu64 "ns ",
                  options->disk_min_ns, options->disk_mean_ns, options->disk_stall_ppm,
                  options->disk_stall_max_ns);
    buffer_printf(out, "read-error %u write-error %u sync-error %u sync-lie %u rot %u ",
                  options->read_error_ppm, options->write_error_ppm, options->sync_error_ppm,
                  options->sync_lie_ppm, options->rot_ppm);
    buffer_printf(out, "misdirect %u full %u/%" PRIu64 "ns crash-garbage %u",
                  options->misdirect_ppm, options->full_ppm, options->full_max_ns,
                  options->crash_garbage_ppm);
}

/* ── chance and record ───────────────────────────────────────────────────────────────────────── */

bool sim_happens(struct prng *prng, uint32_t rate_ppm)
{
    return rate_ppm != 0 && prng_chance(prng, rate_ppm, SIM_PPM);
}

/* Exponential by its binary digits: a geometric number of halvings plus a uniform fraction of one.
 * No floating point, so every machine draws the same. */
uint64_t sim_delay_draw(struct prng *prng, uint64_t min_ns, uint64_t mean_ns)
{
    uint64_t bits = prng_next(prng);
    uint64_t halvings = bits == 0 ? 63 : (uint64_t)__builtin_ctzll(bits);
    uint64_t fraction = prng_below(prng, 1024);
    return min_ns + mean_ns * (halvings * 1024 + fraction) / 1024 * 693 / 1000;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return hash ^ (hash >> 29);
}

void sim_trace(struct sim_world *world, const struct sim_node *node, const char *what, uint64_t a,
               uint64_t b)
{
    uint64_t hash = mix(world->trace_hash, world->now_ns);
    hash = mix(hash, node != NULL ? node->index : SIM_OUTSIDE);
    for (size_t left = strlen(what), at = 0; left > 0;) {
        uint64_t word = 0;
        size_t size = left < sizeof(word) ? left : sizeof(word);
        memcpy(&word, what + at, size);
        hash = mix(hash, word);
        at += size;
        left -= size;
    }
    world->trace_hash = mix(mix(hash, a), b);
    if (world->trace_line != NULL) {
        char line[160];
        (void)snprintf(line, sizeof(line), "%12" PRIu64 " us  %-8s %-14s %" PRId64 " %" PRId64,
                       world->now_ns / 1000, node != NULL ? node->name : "-", what, (int64_t)a,
                       (int64_t)b);
        world->trace_line(world->trace_context, line);
    }
}

void sim_trace_to(struct sim_world *world, void (*line)(void *context, const char *text),
                  void *context)
{
    world->trace_line = line;
    world->trace_context = context;
}

uint64_t sim_trace_hash(const struct sim_world *world)
{
    return world->trace_hash;
}

void *sim_array_grow(void *array, size_t count, size_t *capacity, size_t element_bytes)
{
    if (count < *capacity) {
        return array;
    }
    *capacity = *capacity == 0 ? 8 : *capacity * 2;
    return mem_realloc(array, *capacity * element_bytes);
}

/* ── the world ───────────────────────────────────────────────────────────────────────────────── */

struct sim_world *sim_world_new(uint64_t seed, const struct sim_options *options)
{
    struct sim_world *world = mem_zalloc(sizeof(*world));
    struct prng root;
    prng_init(&root, seed);
    world->options = *options;
    world->prng_net = prng_fork(&root, "net");
    world->prng_turn = prng_fork(&root, "turn");
    world->prng_seed = prng_fork(&root, "nodes");
    world->prng_datagram = prng_fork(&root, "datagrams");
    world->trace_hash = mix(0, seed);
    return world;
}

void sim_world_free(struct sim_world *world)
{
    sim_net_world_free(world);
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        struct sim_node *node = world->nodes[i];
        ASSERT(node->io == NULL); /* a process must not outlive its world */
        sim_disk_free(&node->disk);
        mem_free(node);
    }
    for (size_t i = 0; i < world->heap_count; i++) {
        mem_free(world->heap[i].datagram);
    }
    mem_free(world->heap);
    mem_free(world);
}

uint64_t sim_world_now_ns(const struct sim_world *world)
{
    return world->now_ns;
}

struct sim_options *sim_world_options(struct sim_world *world)
{
    return &world->options;
}

bool sim_world_step(struct sim_world *world, uint64_t until_ns, struct sim_turn *out_turn)
{
    *out_turn = (struct sim_turn){ 0 };
    for (;;) {
        out_turn->client = client_with_news(world);
        if (out_turn->client != NULL) {
            return true;
        }
        uint64_t node_ns = UINT64_MAX;
        struct sim_node *node = node_soonest(world, &node_ns);
        uint64_t event_ns = world->heap_count > 0 ? world->heap[0].time_ns : UINT64_MAX;
        if (node_ns > until_ns && event_ns > until_ns) {
            world->now_ns = until_ns > world->now_ns ? until_ns : world->now_ns;
            return false;
        }
        if (event_ns <= node_ns) {
            struct sim_event event;
            heap_pop(world, &event);
            world->now_ns = event.time_ns;
            world_handle(world, &event);
            continue;
        }
        world->now_ns = node_ns;
        deadline_set(node->io, UINT64_MAX);
        node->io->idle_waits = 0;
        node->turns += 1;
        node->busy_until_ns = node_ns + 1 +
                              sim_delay_draw(&world->prng_turn, world->options.turn_min_ns,
                                             world->options.turn_mean_ns);
        sim_trace(world, node, "turn", node->turns, node_local_ns(node));
        out_turn->node = node;
        return true;
    }
}

static struct sim_client *client_with_news(struct sim_world *world)
{
    for (struct sim_client *client = world->clients; client != NULL; client = client->next) {
        if (client->has_news) {
            client->has_news = false;
            return client;
        }
    }
    return NULL;
}

/* The node that is to run next and when; NULL and UINT64_MAX when all sleep for good. */
static struct sim_node *node_soonest(struct sim_world *world, uint64_t *out_time_ns)
{
    struct sim_node *soonest = NULL;
    *out_time_ns = UINT64_MAX;
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        struct sim_node *node = world->nodes[i];
        const struct sim_io *io = node->io;
        if (io == NULL) {
            continue;
        }
        bool has_work = io->ready_count > 0 || io->done_first != NULL || io->wake_requested;
        uint64_t time_ns = has_work ? world->now_ns : io->due_ns;
        time_ns = time_ns < node->busy_until_ns ? node->busy_until_ns : time_ns;
        time_ns = time_ns < world->now_ns ? world->now_ns : time_ns;
        if (time_ns < *out_time_ns) {
            *out_time_ns = time_ns;
            soonest = node;
        }
    }
    return soonest;
}

static void world_handle(struct sim_world *world, const struct sim_event *event)
{
    if (event->kind == SIM_EVENT_FILE_DONE) {
        sim_file_done(event->node, event->value);
    } else if (event->kind == SIM_EVENT_DATAGRAM) {
        sim_datagram_arrive(world, event);
    } else {
        sim_net_event(world, event);
    }
}

/* ── the event heap ──────────────────────────────────────────────────────────────────────────── */

static bool event_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->time_ns != b->time_ns ? a->time_ns < b->time_ns : a->sequence < b->sequence;
}

void sim_schedule(struct sim_world *world, uint64_t delay_ns, struct sim_event event)
{
    event.time_ns = world->now_ns + delay_ns;
    event.sequence = ++world->sequence;
    if (event.conn != NULL) {
        event.conn->events_count += 1;
    }
    world->heap =
        sim_array_grow(world->heap, world->heap_count, &world->heap_capacity, sizeof(*world->heap));
    size_t at = world->heap_count++;
    while (at > 0 && event_before(&event, &world->heap[(at - 1) / 2])) {
        world->heap[at] = world->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    world->heap[at] = event;
}

static void heap_pop(struct sim_world *world, struct sim_event *out_event)
{
    ASSERT(world->heap_count > 0);
    *out_event = world->heap[0];
    struct sim_event last = world->heap[--world->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= world->heap_count) {
            break;
        }
        if (child + 1 < world->heap_count &&
            event_before(&world->heap[child + 1], &world->heap[child])) {
            child += 1;
        }
        if (!event_before(&world->heap[child], &last)) {
            break;
        }
        world->heap[at] = world->heap[child];
        at = child;
    }
    world->heap[at] = last;
}

/* ── nodes ───────────────────────────────────────────────────────────────────────────────────── */

struct sim_node *sim_node_new(struct sim_world *world, const char *name)
{
    ASSERT(world->nodes_count < SIM_NODES_MAX);
    ASSERT(strlen(name) < SIM_NAME_MAX);
    struct sim_node *node = mem_zalloc(sizeof(*node));
    node->world = world;
    node->index = world->nodes_count;
    memcpy(node->name, name, strlen(name) + 1);
    node->is_powered = true;
    node->random = prng_fork(&world->prng_seed, name);
    node->clock_true_ns = world->now_ns;
    node->clock_local_ns = NS_PER_S + prng_below(&node->random, 1000 * NS_PER_S);
    node->clock_rate_ppm = SIM_PPM;
    sim_disk_init(&node->disk, &node->random);
    world->nodes[world->nodes_count++] = node;
    return node;
}

struct io *sim_node_boot(struct sim_node *node)
{
    ASSERT(node->io == NULL);
    struct sim_io *io = mem_zalloc(sizeof(*io));
    io->io.backend = &sim_backend;
    io->world = node->world;
    io->node = node;
    io->deadline_ns = UINT64_MAX;
    io->due_ns = UINT64_MAX;
    io->next_descriptor = 3;
    io->next_port = (uint16_t)(32768 + prng_below(&node->random, 20000));
    if (!node->is_powered) { /* the monotonic clock starts anew with the machine */
        node->is_powered = true;
        node->machine_boots += 1;
        node->clock_true_ns = node->world->now_ns;
        node->clock_local_ns = NS_PER_S + prng_below(&node->random, 30 * NS_PER_S);
    }
    node->io = io;
    node->busy_until_ns = node->world->now_ns;
    sim_trace(node->world, node, "boot", 0, 0);
    return &io->io;
}

void sim_node_crash(struct sim_node *node, bool power_loss)
{
    struct sim_io *io = node->io;
    sim_trace(node->world, node, "crash", power_loss, io != NULL);
    node->crash_countdown = 0;
    if (io != NULL) {
        io->is_dead = true;
        node->io = NULL;
        sim_net_io_dies(io, power_loss);
        sim_disk_io_dies(io);
    }
    if (power_loss) {
        node->is_powered = false;
        sim_disk_power_loss(node);
    }
}

void sim_node_crash_after(struct sim_node *node, uint64_t operations, bool power_loss)
{
    node->crash_countdown = operations;
    node->crash_power_loss = power_loss;
}

bool sim_io_tick(struct sim_io *io)
{
    if (io->is_dead) {
        return false;
    }
    struct sim_node *node = io->node;
    if (node->crash_countdown > 0) {
        node->crash_countdown -= 1;
        if (node->crash_countdown == 0) {
            sim_node_crash(node, node->crash_power_loss);
            return false;
        }
    }
    return true;
}

bool sim_node_is_up(const struct sim_node *node)
{
    return node->io != NULL;
}

void sim_node_pause(struct sim_node *node, uint64_t duration_ns)
{
    uint64_t until_ns = node->world->now_ns + duration_ns;
    node->busy_until_ns = node->busy_until_ns > until_ns ? node->busy_until_ns : until_ns;
}

void sim_node_clock_rate(struct sim_node *node, uint32_t rate_ppm)
{
    ASSERT(rate_ppm > 0);
    node->clock_local_ns = node_local_ns(node);
    node->clock_true_ns = node->world->now_ns;
    node->clock_rate_ppm = rate_ppm;
    if (node->io != NULL) {
        deadline_set(node->io, node->io->deadline_ns);
    }
}

void sim_node_wall_step(struct sim_node *node, int64_t step_ms)
{
    node->wall_offset_ms += step_ms;
}

const char *sim_node_name(const struct sim_node *node)
{
    return node->name;
}

uint64_t sim_node_turns(const struct sim_node *node)
{
    return node->turns;
}

void sim_node_owner_set(struct sim_node *node, void *owner)
{
    node->owner = owner;
}

void *sim_node_owner(const struct sim_node *node)
{
    return node->owner;
}

/* What the node's monotonic clock shows. */
static uint64_t node_local_ns(const struct sim_node *node)
{
    uint64_t elapsed_ns = node->world->now_ns - node->clock_true_ns;
    if (node->clock_rate_ppm == SIM_PPM) {
        return node->clock_local_ns + elapsed_ns;
    }
    unsigned __int128 scaled = (unsigned __int128)elapsed_ns * node->clock_rate_ppm / SIM_PPM;
    return node->clock_local_ns + (uint64_t)scaled;
}

/* The first true time at which the node's clock shows local_ns or more. */
static uint64_t node_true_ns(const struct sim_node *node, uint64_t local_ns)
{
    if (local_ns == UINT64_MAX) {
        return UINT64_MAX;
    }
    if (local_ns <= node->clock_local_ns) {
        return node->clock_true_ns;
    }
    if (node->clock_rate_ppm == SIM_PPM && local_ns < UINT64_MAX / 2) {
        return local_ns - node->clock_local_ns + node->clock_true_ns;
    }
    unsigned __int128 scaled = (unsigned __int128)(local_ns - node->clock_local_ns) * SIM_PPM;
    scaled = (scaled + node->clock_rate_ppm - 1) / node->clock_rate_ppm + node->clock_true_ns;
    return scaled < UINT64_MAX ? (uint64_t)scaled : UINT64_MAX - 1;
}

static void deadline_set(struct sim_io *io, uint64_t deadline_ns)
{
    io->deadline_ns = deadline_ns;
    io->due_ns = node_true_ns(io->node, deadline_ns);
}

/* ── the backend ─────────────────────────────────────────────────────────────────────────────── */

struct sim_io *sim_io_from(struct io *io)
{
    ASSERT(io->backend == &sim_backend);
    return (struct sim_io *)io;
}

static uint64_t sim_clock_ns(struct io *io)
{
    return node_local_ns(sim_io_from(io)->node);
}

static uint64_t sim_wall_ms(struct io *io)
{
    const struct sim_node *node = sim_io_from(io)->node;
    return WALL_BASE_MS + node->world->now_ns / NS_PER_MS + (uint64_t)node->wall_offset_ms;
}

static uint64_t sim_random(struct io *io)
{
    return prng_next(&sim_io_from(io)->node->random);
}

static void sim_machine_boot(struct io *io, char *out)
{
    const struct sim_node *node = sim_io_from(io)->node;
    (void)snprintf(out, IO_MACHINE_BOOT_BYTES, "%.16s-%" PRIu64, node->name, node->machine_boots);
}

/* Notes the deadline.  A program that keeps waiting within one turn does not return to the driver
 * before something has happened: make it happen. */
static void sim_wait(struct io *base, uint64_t deadline_ns)
{
    struct sim_io *io = sim_io_from(base);
    deadline_set(io, deadline_ns);
    sim_net_turn_end(io);
    io->idle_waits += 1;
    if (io->idle_waits <= IDLE_WAITS_MAX || io->is_dead || io->done_first != NULL) {
        return;
    }
    if (!sim_file_hurry(io) && deadline_ns != UINT64_MAX) {
        struct sim_node *node = io->node;
        uint64_t local_ns = node_local_ns(node);
        node->clock_local_ns = deadline_ns > local_ns ? deadline_ns : local_ns;
        node->clock_true_ns = node->world->now_ns;
        deadline_set(io, deadline_ns);
    }
}

static void sim_yield(struct io *base)
{
    sim_wait(base, 0);
}

static bool sim_next(struct io *base, struct io_event *out_event)
{
    struct sim_io *io = sim_io_from(base);
    struct io_file_op *op = io->done_first;
    if (op != NULL) {
        io->done_first = op->next;
        *out_event = (struct io_event){
            .kind = IO_EVENT_FILE, .result = op->result, .owner = op->owner, .file_op = op
        };
    } else if (io->wake_requested) {
        io->wake_requested = false;
        *out_event = (struct io_event){ .kind = IO_EVENT_WAKE };
    } else if (io->is_dead || !sim_net_next(io, out_event)) {
        return false;
    }
    io->idle_waits = 0;
    sim_trace(io->world, io->node, "event", (uint64_t)out_event->kind, (uint64_t)out_event->result);
    return true;
}

static void sim_wake(struct io *io)
{
    sim_io_from(io)->wake_requested = true;
}

static int sim_socket_descriptor(struct io *io, struct io_socket *socket)
{
    (void)io;
    return socket->descriptor;
}

static uint32_t sim_connections_limit(struct io *io, uint32_t wanted)
{
    (void)io;
    return wanted;
}

/* A clean exit: what was submitted ends, connections are closed. */
static void sim_free(struct io *base)
{
    struct sim_io *io = sim_io_from(base);
    if (!io->is_dead) {
        while (sim_file_hurry(io)) {
            /* one after the other */
        }
        sim_trace(io->world, io->node, "exit", 0, 0);
        io->is_dead = true;
        io->node->io = NULL;
        sim_net_io_dies(io, /* silent= */ false);
        sim_disk_io_dies(io);
    }
    io_drop(io);
}

static void io_drop(struct sim_io *io)
{
    sim_net_io_free(io);
    mem_free(io->ready);
    mem_free(io->later);
    mem_free(io->handles);
    buffer_free(&io->received);
    mem_free(io);
}

const struct io_backend sim_backend = {
    .name = "simulator",
    .clock_ns = sim_clock_ns,
    .wall_ms = sim_wall_ms,
    .machine_boot = sim_machine_boot,
    .random = sim_random,
    .wait = sim_wait,
    .yield = sim_yield,
    .next = sim_next,
    .wake = sim_wake,
    .listen = sim_listen,
    .connect = sim_connect,
    .socket_own = sim_socket_own,
    .recv_pause = sim_recv_pause,
    .recv_resume = sim_recv_resume,
    .send = sim_send,
    .datagram_open = sim_datagram_open,
    .datagram_send = sim_datagram_send,
    .datagram_from = sim_datagram_from,
    .close = sim_close,
    .socket_name = sim_socket_name,
    .socket_port = sim_socket_port,
    .socket_descriptor = sim_socket_descriptor,
    .connections_limit = sim_connections_limit,
    .file_run = sim_file_run,
    .file_submit = sim_file_submit,
    .free = sim_free,
};
