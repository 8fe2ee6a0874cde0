/*
 * world.h — a cluster of Raft replicas in one process: network, disks and state machines.
 *
 * The world is the driver the real server will have, in small: it persists what raft_step asks
 * for, in order and later; carries messages; applies committed entries; restarts replicas from
 * what their disks hold.  Nothing happens by itself: a test decides which message is delivered,
 * which write completes, who crashes and what time it is.  Every step is checked against the
 * invariants of world_check.h.
 *
 *   struct world *world = world_new(3, &options);
 *   world_tick(world, 1, 100);        node 1: it is 100 ms later
 *   world_settle(world);              deliver and persist until nothing moves
 *
 * The state machine is a chain: hash(k) = mix(hash(k - 1), entry k).  A register read is the
 * applied index it was served at; that is all linearizability needs here.
 */
#pragma once

#include "base/mem.h"
#include "base/prng.h"
#include "cluster/confchange.h"
#include "cluster/raft.h"
#include "cluster/raft_log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WORLD_NODES_MAX = 7,
    WORLD_LOG_MAX = 4096,
    WORLD_TERMS_MAX = 4096,
    WORLD_CONFIGS_MAX = 512,
    WORLD_READS_MAX = 64,
    WORLD_ENTRY_BYTES = 50,
    WORLD_REGISTRY = 1 << 14, /* entries ever created, by (index, term) */
};

struct world_entry {
    uint64_t term, payload;
    uint32_t size;
    uint16_t config_id;
    uint8_t kind;
};

/* One output's writes, waiting for the disk. */
struct world_write {
    struct world_write *next;
    struct raft_persist token;
    bool has_hard_state, has_reset, is_suspect;
    struct raft_config vacated; /* reset_index 0: what the replica begins with again */
    uint64_t term, voted_for, reset_index, commit;
    uint64_t first;
    uint32_t count;
    struct world_entry entries[];
};

struct world_snapshot {
    struct raft_snapshot meta;
    uint64_t hash;
};

struct world_disk {
    uint64_t term, voted_for, commit;
    bool is_suspect;
    struct world_snapshot snapshot;
    uint64_t first, last; /* entries held: log[first..last]; empty when first > last */
    struct world_entry log[WORLD_LOG_MAX];
};

struct world_read {
    uint64_t id, floor; /* served below floor: stale */
    uint64_t index;     /* once confirmed */
    bool is_confirmed;
};

struct world_node {
    uint64_t id, incarnation, boot;
    bool is_up, is_suspect_next;
    bool was_vacated; /* and is a suspect for that reason: the disk knows when it is */
    struct raft *raft;
    void *log_memory;
    uint32_t log_capacity;
    int64_t clock_offset_us;
    uint32_t clock_rate; /* thousandths of real time */
    uint64_t deadline_ms;

    struct world_entry log[WORLD_LOG_MAX]; /* what the running process holds */
    uint64_t last;
    struct world_disk disk;
    struct world_write *writes, **writes_end;
    uint32_t writes_count;

    uint64_t applied, hash;
    struct raft_config applied_config;
    uint64_t applied_config_index;
    bool is_fetching;
    struct world_snapshot wanted;
    uint64_t wanted_from;

    struct world_read reads[WORLD_READS_MAX];
    uint32_t reads_count;
    uint64_t read_last_id;
    uint64_t reads_served;

    /* Seen before the last step. */
    enum raft_role seen_role;
    uint64_t seen_term, seen_commit;
    struct raft_config seen_config;
};

struct world_flight {
    struct world_flight *next, *previous;
    struct raft_message message;
    struct raft_config config;
    uint64_t snapshot_hash;
    struct world_entry *content; /* entries_count */
    struct raft_entry *entries;
};

struct world_options {
    uint32_t heartbeat_ms, election_timeout_ms, disk_stall_ms, clock_drift_percent;
    uint32_t log_capacity, append_bytes_max;
    uint64_t inflight_bytes_max, uncommitted_bytes_max;
    bool lease_reads;
    uint32_t voters_count; /* of the first configuration: nodes 1..voters_count */
    uint64_t seed;
};

struct world;
struct world_hooks {
    void *context;
    void (*on_flight)(struct world *world, struct world_flight *flight);
    void (*on_write)(struct world *world, struct world_node *node);
    void (*on_step)(struct world *world, struct world_node *node, const struct raft_input *input,
                    const struct raft_output *output);
};

struct world_created {
    uint64_t key, payload, prev_term;
};

struct world {
    struct world_options options;
    struct world_hooks hooks;
    struct prng prng;
    uint32_t nodes_count;
    struct world_node *nodes; /* [1..nodes_count] */
    uint64_t now_us;
    struct world_flight flights; /* list head */
    uint32_t flights_count;
    struct raft_output *output;
    struct raft_config configs[WORLD_CONFIGS_MAX];
    uint32_t configs_count;
    uint64_t payloads;
    uint64_t steps;

    /* Ghosts: what really happened (world_check.h). */
    struct world_entry canon[WORLD_LOG_MAX];
    uint64_t canon_hash[WORLD_LOG_MAX];
    uint64_t canon_commit_term[WORLD_LOG_MAX];
    uint64_t canon_count;
    uint64_t completed; /* highest index an acknowledged write or served read has seen */
    uint8_t leaders[WORLD_TERMS_MAX];
    uint8_t votes[WORLD_NODES_MAX + 1][WORLD_TERMS_MAX];
    struct world_created registry[WORLD_REGISTRY];
    uint32_t registry_count;
    uint64_t elections, reads_served, config_changes, snapshots_installed, suspects, vacated;
    char violation[512]; /* the first; empty: none */
};

/* ── small things ───────────────────────────────────────────────────────────────────────────── */

__attribute__((format(printf, 2, 3))) static inline void world_fail(struct world *world,
                                                                    const char *format, ...)
{
    if (world->violation[0] == '\0') {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(world->violation, sizeof(world->violation), format, arguments);
        va_end(arguments);
    }
}

static inline uint64_t world_mix(uint64_t a, uint64_t b)
{
    uint64_t z = (a ^ b) + 0x9e3779b97f4a7c15u * (b | 1);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    return z ^ (z >> 27);
}

static inline uint64_t world_entry_hash(uint64_t before, const struct world_entry *entry)
{
    return world_mix(world_mix(before, entry->term), entry->payload * 256 + entry->kind);
}

static inline struct world_node *world_node(struct world *world, uint64_t id)
{
    if (id == 0 || id > world->nodes_count) {
        abort();
    }
    return &world->nodes[id];
}

static inline uint64_t world_clock_ms(const struct world *world, const struct world_node *node)
{
    int64_t us = (int64_t)(world->now_us / 1000 * node->clock_rate +
                           world->now_us % 1000 * node->clock_rate / 1000) +
                 node->clock_offset_us;
    return (uint64_t)us / 1000;
}

static inline uint16_t world_config_id(struct world *world, const struct raft_config *config)
{
    for (uint32_t i = world->configs_count; i > 0; i--) {
        if (raft_config_equal(&world->configs[i - 1], config)) {
            return (uint16_t)(i - 1);
        }
    }
    if (world->configs_count == WORLD_CONFIGS_MAX) {
        abort();
    }
    world->configs[world->configs_count] = *config;
    return (uint16_t)world->configs_count++;
}

#include "world_check.h"

/* ── disks ──────────────────────────────────────────────────────────────────────────────────── */

static inline void world_write_queue(struct world *world, struct world_node *node,
                                     const struct raft_output *output)
{
    uint32_t count = output->entries_count;
    struct world_write *write = mem_zalloc(sizeof(*write) + count * sizeof(struct world_entry));
    write->token = output->persist;
    write->has_hard_state = output->hard_state_changed;
    write->term = output->term;
    write->voted_for = output->voted_for;
    write->has_reset = output->log_reset;
    write->reset_index = output->log_reset_index;
    write->is_suspect = output->is_suspect;
    write->vacated = node->applied_config;
    write->commit = output->commit_index;
    write->count = count;
    write->first = count > 0 ? output->entries[0].index : 0;
    for (uint32_t i = 0; i < count; i++) {
        write->entries[i] = node->log[write->first + i];
    }
    *node->writes_end = write;
    node->writes_end = &write->next;
    node->writes_count += 1;
    if (world->hooks.on_write != NULL) {
        world->hooks.on_write(world, node);
    }
}

/* The oldest write reaches the platter. */
static inline struct raft_persist world_write_apply(struct world_node *node)
{
    struct world_write *write = node->writes;
    struct world_disk *disk = &node->disk;
    if (write->has_hard_state) {
        disk->term = write->term;
        disk->voted_for = write->voted_for;
        disk->is_suspect = write->is_suspect;
    }
    if (write->has_reset && write->reset_index == 0) {
        disk->snapshot = (struct world_snapshot){ .meta = { .config = write->vacated } };
    }
    if (write->has_reset) {
        disk->first = write->reset_index + 1;
        disk->last = write->reset_index;
    }
    for (uint32_t i = 0; i < write->count; i++) {
        disk->log[write->first + i] = write->entries[i];
    }
    if (write->count > 0) {
        uint64_t last = write->first + write->count - 1;
        /* Nothing lies between an older log's end and entries that follow a snapshot, nor behind
         * the last entry. */
        for (uint64_t index = disk->last + 1; index < write->first; index++) {
            disk->log[index].term = 0;
        }
        for (uint64_t index = last + 1; index <= disk->last; index++) {
            disk->log[index].term = 0;
        }
        disk->last = last;
    }
    disk->commit = write->commit;
    struct raft_persist token = write->token;
    node->writes = write->next;
    node->writes_count -= 1;
    if (node->writes == NULL) {
        node->writes_end = &node->writes;
    }
    mem_free(write);
    return token;
}

/* ── steps ──────────────────────────────────────────────────────────────────────────────────── */

static inline void world_log_take(struct world *world, struct world_node *node,
                                  const struct raft_output *output)
{
    if (output->snapshot_adopted) {
        node->last = output->log_reset_index;
        node->applied = node->wanted.meta.index;
        node->hash = node->wanted.hash;
        node->applied_config = node->wanted.meta.config;
        node->applied_config_index = node->wanted.meta.index;
        world->snapshots_installed += 1;
    }
    if (output->log_reset && output->log_reset_index == 0) { /* vacated */
        node->last = 0;
        node->applied = 0;
        node->hash = 0;
        node->applied_config = *raft_config(node->raft, &node->applied_config_index);
        node->reads_count = 0;
        node->was_vacated = true;
        world->vacated += 1;
    }
    for (uint32_t i = 0; i < output->entries_count; i++) {
        const struct raft_entry *entry = &output->entries[i];
        struct world_entry content = { 0 };
        if (entry->bytes != NULL) {
            content = *(const struct world_entry *)entry->bytes;
        } else {
            content.kind = entry->kind;
            content.term = entry->term;
            content.size = entry->size;
        }
        if (entry->kind == RAFT_ENTRY_CONFIG) {
            content.config_id = world_config_id(world, entry->config);
        }
        if (entry->index >= WORLD_LOG_MAX) {
            abort();
        }
        node->log[entry->index] = content;
        node->last = entry->index;
        world_check_entry(world, node, entry->index);
    }
}

static inline void world_flight_free(struct world *world, struct world_flight *flight)
{
    flight->previous->next = flight->next;
    flight->next->previous = flight->previous;
    world->flights_count -= 1;
    mem_free(flight->content);
    mem_free(flight->entries);
    mem_free(flight);
}

static inline void world_flight_fill(struct world *world, struct world_flight *flight)
{
    uint32_t count = flight->message.entries_count;
    for (uint32_t i = 0; i < count; i++) {
        const struct world_entry *content = &flight->content[i];
        bool is_config = content->kind == RAFT_ENTRY_CONFIG;
        flight->entries[i] = (struct raft_entry){
            .index = flight->message.index + 1 + i,
            .term = content->term,
            .size = content->size,
            .kind = content->kind,
            .bytes = content,
            .config = is_config ? &world->configs[content->config_id] : NULL,
        };
    }
    flight->message.entries = flight->entries;
}

static inline struct world_flight *world_flight_add(struct world *world,
                                                    const struct raft_message *message)
{
    struct world_flight *flight = mem_zalloc(sizeof(*flight));
    flight->message = *message;
    flight->next = &world->flights;
    flight->previous = world->flights.previous;
    flight->previous->next = flight;
    world->flights.previous = flight;
    world->flights_count += 1;
    if (message->config != NULL) {
        flight->config = *message->config;
        flight->message.config = &flight->config;
        flight->snapshot_hash =
            message->index < WORLD_LOG_MAX ? world->canon_hash[message->index] : 0;
    }
    if (message->entries_count > 0) {
        flight->content = mem_alloc(message->entries_count * sizeof(*flight->content));
        flight->entries = mem_alloc(message->entries_count * sizeof(*flight->entries));
    }
    return flight;
}

static inline struct world_flight *world_flight_copy(struct world *world,
                                                     const struct world_flight *from)
{
    struct world_flight *flight = world_flight_add(world, &from->message);
    if (from->message.entries_count > 0) {
        memcpy(flight->content, from->content,
               from->message.entries_count * sizeof(*flight->content));
    }
    world_flight_fill(world, flight);
    return flight;
}

static inline void world_send_all(struct world *world, struct world_node *node,
                                  const struct raft_output *output)
{
    for (uint32_t m = 0; m < output->messages_count; m++) {
        const struct raft_message *message = &output->messages[m];
        world_check_message(world, node, message);
        struct world_flight *flight = world_flight_add(world, message);
        for (uint32_t i = 0; i < message->entries_count; i++) {
            flight->content[i] = node->log[message->index + 1 + i];
        }
        world_flight_fill(world, flight);
        if (world->hooks.on_flight != NULL) {
            world->hooks.on_flight(world, flight);
        }
    }
}

static inline void world_apply(struct world *world, struct world_node *node, uint64_t commit)
{
    while (node->applied < commit) {
        const struct world_entry *entry = &node->log[node->applied + 1];
        node->applied += 1;
        node->hash = world_entry_hash(node->hash, entry);
        if (entry->kind == RAFT_ENTRY_CONFIG) {
            node->applied_config = world->configs[entry->config_id];
            node->applied_config_index = node->applied;
        }
        world_check_applied(world, node);
    }
}

static inline void world_serve_reads(struct world *world, struct world_node *node,
                                     const struct raft_output *output)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < node->reads_count; i++) {
        struct world_read *read = &node->reads[i];
        if (!read->is_confirmed && read->id <= output->read_id_confirmed) {
            read->is_confirmed = true;
            read->index = output->read_index;
        }
        if (read->is_confirmed && read->index <= node->applied) {
            world_check_read(world, node, read);
        } else {
            node->reads[kept++] = *read;
        }
    }
    node->reads_count = kept;
}

/* Feeds one input and carries out what comes of it. */
static inline const struct raft_output *world_step(struct world *world, struct world_node *node,
                                                   struct raft_input input)
{
    struct raft_output *output = world->output;
    input.now_ms = world_clock_ms(world, node);
    node->seen_role = raft_role(node->raft);
    node->seen_term = raft_term(node->raft);
    node->seen_commit = raft_commit_index(node->raft);
    node->seen_config = *raft_config(node->raft, &(uint64_t){ 0 });
    raft_step(node->raft, &input, output);
    world->steps += 1;
    world_log_take(world, node, output);
    world_check_step(world, node, output);
    if (output->persist.id != 0) {
        world_write_queue(world, node, output);
    }
    world_send_all(world, node, output);
    world_apply(world, node, output->commit_index);
    world_serve_reads(world, node, output);
    if (output->snapshot_wanted) {
        node->is_fetching = true;
        node->wanted.meta = output->snapshot;
        node->wanted_from = output->snapshot_from;
        node->wanted.hash = world->canon_hash[output->snapshot.index];
    }
    node->deadline_ms = output->deadline_ms;
    if (world->hooks.on_step != NULL) {
        world->hooks.on_step(world, node, &input, output);
    }
    return output;
}

static inline void world_tick_now(struct world *world, uint64_t id)
{
    struct world_node *node = world_node(world, id);
    if (node->is_up) {
        (void)world_step(world, node, (struct raft_input){ .kind = RAFT_INPUT_TICK });
    }
}

/* The oldest write of this node completes. */
static inline void world_persist(struct world *world, uint64_t id)
{
    struct world_node *node = world_node(world, id);
    if (node->is_up && node->writes != NULL) {
        struct raft_persist token = world_write_apply(node);
        (void)world_step(world, node,
                         (struct raft_input){ .kind = RAFT_INPUT_PERSISTED, .persisted = token });
    }
}

/* Hands the message over (to nobody, when its receiver is down) and forgets it. */
static inline void world_deliver(struct world *world, struct world_flight *flight)
{
    if (flight == NULL) {
        world_fail(world, "no such message");
        return;
    }
    struct world_node *node = world_node(world, flight->message.to);
    if (node->is_up) {
        (void)world_step(
            world, node,
            (struct raft_input){ .kind = RAFT_INPUT_MESSAGE, .message = &flight->message });
    }
    world_flight_free(world, flight);
}

static inline enum raft_result world_propose(struct world *world, uint64_t id, uint32_t count)
{
    struct world_node *node = world_node(world, id);
    struct world_entry content[8];
    struct raft_entry entries[8];
    for (uint32_t i = 0; i < count; i++) {
        uint64_t index = raft_last_index(node->raft) + 1 + i;
        content[i] = (struct world_entry){ .term = raft_term(node->raft),
                                           .payload = ++world->payloads,
                                           .size = WORLD_ENTRY_BYTES,
                                           .kind = 1 };
        entries[i] = (struct raft_entry){ .index = index,
                                          .term = content[i].term,
                                          .size = content[i].size,
                                          .kind = 1,
                                          .bytes = &content[i] };
    }
    struct raft_input input = { .kind = RAFT_INPUT_PROPOSE,
                                .propose = { .entries = entries, .count = count } };
    return world_step(world, node, input)->result;
}

/* A client asks this node for a linearizable read. */
static inline void world_read(struct world *world, uint64_t id)
{
    struct world_node *node = world_node(world, id);
    if (node->reads_count == WORLD_READS_MAX) {
        return;
    }
    uint64_t read_id = ++node->read_last_id;
    node->reads[node->reads_count++] =
        (struct world_read){ .id = read_id, .floor = world->completed };
    (void)world_step(world, node,
                     (struct raft_input){ .kind = RAFT_INPUT_READ, .read = { read_id } });
}

static inline enum raft_result world_transfer(struct world *world, uint64_t id, uint64_t target)
{
    return world_step(world, world_node(world, id),
                      (struct raft_input){ .kind = RAFT_INPUT_TRANSFER, .transfer = { target } })
        ->result;
}

static inline enum raft_result world_confchange(struct world *world, uint64_t id,
                                                const struct raft_config *wanted)
{
    return world_step(world, world_node(world, id),
                      (struct raft_input){ .kind = RAFT_INPUT_CONFCHANGE, .confchange = wanted })
        ->result;
}

/* Takes a durable snapshot of what is applied and forgets the log up to `keep` entries before. */
/* Vacated, and the disk does not know yet: then the driver makes no snapshot. */
static inline bool world_is_purging(const struct world_node *node)
{
    bool is_purging = false;
    for (const struct world_write *at = node->writes; at != NULL; at = at->next) {
        is_purging |= at->has_reset && at->reset_index == 0;
    }
    return is_purging;
}

static inline void world_compact(struct world *world, uint64_t id, uint64_t keep)
{
    struct world_node *node = world_node(world, id);
    if (world_is_purging(node)) {
        return;
    }
    uint64_t base = raft_first_index(node->raft) - 1;
    uint64_t index = node->applied > keep ? node->applied - keep : 0;
    uint64_t term = node->disk.snapshot.meta.term;
    uint8_t kind = 0;
    if (node->applied > node->disk.snapshot.meta.index) {
        if (!raft_entry_at(node->raft, node->applied, &term, &kind)) {
            return;
        }
        node->disk.snapshot = (struct world_snapshot){
            .meta = { node->applied, term, node->applied_config },
            .hash = node->hash,
        };
    }
    struct raft_input input = { .kind = RAFT_INPUT_COMPACT,
                                .compact = { index > base ? index : base,
                                             &node->disk.snapshot.meta } };
    (void)world_step(world, node, input);
}

/* The wanted snapshot has arrived (or its transfer failed). */
static inline void world_fetch_done(struct world *world, uint64_t id, bool has_failed)
{
    struct world_node *node = world_node(world, id);
    if (!node->is_up || !node->is_fetching) {
        return;
    }
    node->is_fetching = false;
    has_failed |= world_is_purging(node);
    if (!has_failed && node->wanted.meta.index > node->disk.snapshot.meta.index) {
        node->disk.snapshot = node->wanted;
    }
    struct raft_input input = { .kind = RAFT_INPUT_SNAPSHOT_DONE,
                                .snapshot_done = { &node->wanted.meta, has_failed } };
    (void)world_step(world, node, input);
}

/* ── life and death ─────────────────────────────────────────────────────────────────────────── */

/* The process ends.  `writes_kept` of its pending writes had reached the platter. */
static inline void world_crash(struct world *world, uint64_t id, uint32_t writes_kept)
{
    struct world_node *node = world_node(world, id);
    while (node->writes != NULL && writes_kept > 0) {
        (void)world_write_apply(node);
        writes_kept--;
    }
    while (node->writes != NULL) {
        struct world_write *write = node->writes;
        node->writes = write->next;
        mem_free(write);
    }
    node->writes_end = &node->writes;
    node->writes_count = 0;
    node->is_up = false;
    node->is_fetching = false;
    node->reads_count = 0;
    mem_free(node->raft);
    mem_free(node->log_memory);
    node->raft = NULL;
    node->log_memory = NULL;
}

static inline void world_boot_log(struct world *world, struct world_node *node)
{
    struct world_disk *disk = &node->disk;
    node->last = disk->snapshot.meta.index;
    for (uint64_t index = disk->first; index <= disk->last; index++) {
        const struct world_entry *content = &disk->log[index];
        if (content->term == 0) {
            continue;
        }
        struct raft_entry entry = {
            .index = index, .term = content->term, .size = content->size, .kind = content->kind
        };
        if (content->kind == RAFT_ENTRY_CONFIG) {
            entry.config = &world->configs[content->config_id];
        }
        enum raft_boot_outcome outcome = raft_boot_append(node->raft, &entry);
        if (outcome == RAFT_BOOT_FULL) {
            uint32_t capacity = node->log_capacity * 2;
            void *memory = mem_alloc(raft_log_memory_bytes(capacity));
            mem_free(raft_log_resize(node->raft, memory, capacity));
            node->log_memory = memory;
            node->log_capacity = capacity;
            index--;
            continue;
        }
        if (outcome == RAFT_BOOT_CONFLICT) {
            break; /* the first output resets the log on disk */
        }
        if (outcome == RAFT_BOOT_GAP || outcome == RAFT_BOOT_INVALID) {
            world_fail(world, "node %u cannot read its log at %u", (unsigned)node->id,
                       (unsigned)index);
            break;
        }
        if (outcome == RAFT_BOOT_OK) {
            node->log[index] = *content;
            node->last = index;
        }
    }
}

static inline void world_start(struct world *world, uint64_t id)
{
    struct world_node *node = world_node(world, id);
    const struct world_options *options = &world->options;
    node->boot += 1;
    node->log_capacity = options->log_capacity;
    node->raft = mem_zalloc(raft_sizeof());
    node->log_memory = mem_zalloc(raft_log_memory_bytes(node->log_capacity));
    struct raft_options raft_options = {
        .cluster = 77,
        .node = id,
        .incarnation = node->incarnation,
        .group = 5,
        .boot = node->boot,
        .seed = prng_next(&world->prng),
        .heartbeat_ms = options->heartbeat_ms,
        .election_timeout_ms = options->election_timeout_ms,
        .disk_stall_ms = options->disk_stall_ms,
        .clock_drift_percent = options->clock_drift_percent,
        .lease_reads = options->lease_reads,
        .entry_overhead_bytes = 32,
        .append_bytes_max = options->append_bytes_max,
        .inflight_bytes_max = options->inflight_bytes_max,
        .uncommitted_bytes_max = options->uncommitted_bytes_max,
    };
    struct world_disk *disk = &node->disk;
    struct raft_boot boot = {
        .now_ms = world_clock_ms(world, node),
        .term = disk->term,
        .voted_for = disk->voted_for,
        .snapshot = disk->snapshot.meta,
        .commit_index = disk->commit < disk->last ? disk->commit : disk->last,
        .is_suspect = node->is_suspect_next || disk->is_suspect,
    };
    raft_init(node->raft, &raft_options, &boot, node->log_memory, node->log_capacity);
    node->is_up = true;
    node->applied = disk->snapshot.meta.index;
    node->hash = disk->snapshot.hash;
    node->applied_config = disk->snapshot.meta.config;
    node->applied_config_index = disk->snapshot.meta.index;
    world_boot_log(world, node);
    world_tick_now(world, id);
}

/* The log of this node gets more memory. */
static inline void world_grow(struct world *world, uint64_t id, uint32_t capacity)
{
    struct world_node *node = world_node(world, id);
    void *memory = mem_alloc(raft_log_memory_bytes(capacity));
    void *old = raft_log_resize(node->raft, memory, capacity);
    if (old == NULL) {
        world_fail(world, "a log of %u slots does not fit into %u", node->log_capacity, capacity);
        mem_free(memory);
        return;
    }
    mem_free(old);
    node->log_memory = memory;
    node->log_capacity = capacity;
}

static inline void world_init_node(struct world *world, uint64_t id,
                                   const struct raft_config *config)
{
    struct world_node *node = &world->nodes[id];
    node->id = id;
    node->incarnation = 1;
    node->clock_rate = 1000;
    node->writes_end = &node->writes;
    node->disk.snapshot.meta.config = *config;
    node->disk.first = 1;
}

static inline struct world *world_new(uint32_t nodes_count, const struct world_options *options)
{
    struct world *world = mem_zalloc(sizeof(*world));
    world->options = *options;
    world->nodes_count = nodes_count;
    world->nodes = mem_zalloc((nodes_count + 1) * sizeof(*world->nodes));
    world->output = mem_zalloc(sizeof(*world->output));
    world->flights.next = &world->flights;
    world->flights.previous = &world->flights;
    prng_init(&world->prng, options->seed);
    world->now_us = 1000 * 1000;
    struct raft_config config = { 0 };
    for (uint64_t id = 1; id <= options->voters_count; id++) {
        if (!raft_config_add(&config, id, 1, RAFT_VOTER)) {
            abort();
        }
    }
    for (uint64_t id = 1; id <= nodes_count; id++) {
        world_init_node(world, id, &config);
    }
    return world;
}

static inline void world_free(struct world *world)
{
    for (uint64_t id = 1; id <= world->nodes_count; id++) {
        world_crash(world, id, 0);
    }
    while (world->flights.next != &world->flights) {
        world_flight_free(world, world->flights.next);
    }
    mem_free(world->output);
    mem_free(world->nodes);
    mem_free(world);
}

static inline struct world_options world_options_default(uint32_t voters_count)
{
    return (struct world_options){
        .heartbeat_ms = 10,
        .election_timeout_ms = 100,
        .disk_stall_ms = 1000,
        .clock_drift_percent = 5,
        .log_capacity = 1024,
        .append_bytes_max = 1000,
        .inflight_bytes_max = 100000,
        .uncommitted_bytes_max = 100000,
        .voters_count = voters_count,
        .seed = 1,
    };
}

/* ── driving by hand ────────────────────────────────────────────────────────────────────────── */

/* Time passes for everybody, and this node looks at its clock. */
static inline void world_tick(struct world *world, uint64_t id, uint64_t ms)
{
    world->now_us += ms * 1000;
    world_tick_now(world, id);
}

/* The first message in flight from one node to another (0: any); NULL: none. */
static inline struct world_flight *world_find(struct world *world, uint64_t from, uint64_t to)
{
    for (struct world_flight *flight = world->flights.next; flight != &world->flights;
         flight = flight->next) {
        if ((from == 0 || flight->message.from == from) && (to == 0 || flight->message.to == to)) {
            return flight;
        }
    }
    return NULL;
}

static inline struct world_flight *world_find_kind(struct world *world, uint64_t from, uint64_t to,
                                                   enum raft_message_kind kind)
{
    for (struct world_flight *flight = world->flights.next; flight != &world->flights;
         flight = flight->next) {
        if (flight->message.from == from && flight->message.to == to &&
            flight->message.kind == kind) {
            return flight;
        }
    }
    return NULL;
}

/* Loses what is in flight between two nodes (0: any). */
static inline void world_drop(struct world *world, uint64_t from, uint64_t to)
{
    struct world_flight *flight;
    while ((flight = world_find(world, from, to)) != NULL) {
        world_flight_free(world, flight);
    }
}

/* Delivers and persists until nothing moves; bounded.  Bits of `isolated`: nodes cut off; of
 * `held`: nodes whose disk stands still. */
static inline void world_settle_parts(struct world *world, uint32_t isolated, uint32_t held)
{
    for (unsigned round = 0; round < 10000; round++) {
        bool has_moved = false;
        for (uint64_t id = 1; id <= world->nodes_count; id++) {
            struct world_node *node = world_node(world, id);
            if (node->is_up && node->writes != NULL && (held >> id & 1) == 0) {
                world_persist(world, id);
                has_moved = true;
            }
        }
        struct world_flight *flight = world_find(world, 0, 0);
        if (flight != NULL) {
            uint32_t ends = 1u << flight->message.from | 1u << flight->message.to;
            if ((ends & isolated) != 0) {
                world_flight_free(world, flight);
            } else {
                world_deliver(world, flight);
            }
            has_moved = true;
        }
        if (!has_moved) {
            return;
        }
    }
    world_fail(world, "messages never cease");
}

static inline void world_settle_without(struct world *world, uint32_t isolated)
{
    world_settle_parts(world, isolated, 0);
}

static inline void world_settle(struct world *world)
{
    world_settle_without(world, 0);
}

static inline void world_start_all(struct world *world)
{
    for (uint64_t id = 1; id <= world->nodes_count; id++) {
        world_start(world, id);
    }
}

/* Lets the promises of the start expire, then makes this node campaign until it leads. */
static inline void world_elect(struct world *world, uint64_t id)
{
    world->now_us += world->options.election_timeout_ms * 1000u;
    for (unsigned attempt = 0; attempt < 10; attempt++) {
        struct world_node *node = world_node(world, id);
        world_tick(world, id, 2 * world->options.election_timeout_ms);
        world_settle(world);
        if (raft_role(node->raft) == RAFT_LEADER) {
            return;
        }
    }
    world_fail(world, "node %u could not be elected", (unsigned)id);
}
