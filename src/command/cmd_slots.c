/*
 * cmd_slots.c — CLUSTER, READONLY, READWRITE and ASKING: the cluster as cluster-aware clients of
 * Redis want to see it.
 *
 * They come by the slot port (--slot-port); on the plain port there is one address for everything,
 * and all of this answers what a Redis without cluster support answers.
 *
 * To these clients every node is a master, of the slots whose partitions it leads.  That it also
 * replicates others is not shown: clients take a node to be either a master or a replica, and some
 * (redis-py) end up without any master when it is listed as both.  Slots always belong to somebody:
 * those without a leader, and those led by a node without a slot port, are shown as this node's,
 * which tells the former's clients to wait and passes the latter's requests on.  A node's id is
 * made of its number, so that all nodes name it alike.
 *
 * Read next: pipeline_slots.c (MOVED), host.h.
 */
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"
#include "command/admin.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    SLOTS = 1 << 14,
    WALK_STEP = 1024,          /* entries taken from a partition at once */
    WALK_ENTRIES_MAX = 256000, /* looked at by COUNTKEYSINSLOT and GETKEYSINSLOT */
};

/* Who serves what, right now. */
struct slot_map {
    struct keyspace *keyspace;
    uint32_t count; /* of members */
    uint32_t self;
    uint32_t unled; /* partitions without a leader */
    struct host_member members[RAFT_PEERS_MAX];
    char ids[RAFT_PEERS_MAX][ADMIN_SLOT_ID_BYTES];
    uint32_t partitions; /* of these: */
    uint8_t owners[PARTITIONS_MAX];
};

static struct slot_map *map_new(struct command_ctx *ctx);
static uint32_t run_end(const struct slot_map *map, uint32_t at);
static bool is_on_slot_port(struct command_ctx *ctx);
static bool is_shown(const struct slot_map *map, uint32_t member);
static bool is_dead(const struct host_member *member);
static void node_line(const struct slot_map *map, uint32_t at, uint64_t now_ms, struct buffer *out);
static void node_reply(struct reply *reply, const struct slot_map *map, uint32_t at);

/* What an operator of a Redis Cluster does by hand. */
void cluster_by_itself_command(struct command_ctx *ctx)
{
    if (is_on_slot_port(ctx)) {
        reply_error(ctx->reply, "ERR not supported: slots belong to the leaders of their "
                                "partitions, which the cluster chooses by itself (see FAILOVER)");
    }
}

/* ── the connection ──────────────────────────────────────────────────────────────────────────── */

static void set_read_only(struct command_ctx *ctx, bool is_read_only)
{
    if (is_on_slot_port(ctx)) {
        conn_info(ctx->conn)->read_only = is_read_only;
        reply_ok(ctx->reply);
    }
}

void readonly_command(struct command_ctx *ctx)
{
    set_read_only(ctx, true);
}

void readwrite_command(struct command_ctx *ctx)
{
    set_read_only(ctx, false);
}

/* Slots are never half moved here: there is nothing to ask for. */
void asking_command(struct command_ctx *ctx)
{
    if (is_on_slot_port(ctx)) {
        reply_ok(ctx->reply);
    }
}

/* ── who serves what ─────────────────────────────────────────────────────────────────────────── */

/* CLUSTER SLOTS: ranges with their master. */
void cluster_slots_command(struct command_ctx *ctx)
{
    struct reply *reply = ctx->reply;
    if (!is_on_slot_port(ctx)) {
        return;
    }
    struct slot_map *map = map_new(ctx);
    uint32_t shift = map->keyspace->slot_shift;
    uint32_t runs = 0;
    for (uint32_t at = 0; at < map->partitions; at = run_end(map, at)) {
        runs++;
    }
    reply_array(reply, runs);
    for (uint32_t at = 0; at < map->partitions;) {
        uint32_t end = run_end(map, at);
        reply_array(reply, 3);
        reply_integer(reply, (int64_t)(at << shift));
        reply_integer(reply, (int64_t)(end << shift) - 1);
        node_reply(reply, map, map->owners[at]);
        at = end;
    }
    mem_free(map);
}

/* CLUSTER NODES: a line for each. */
void cluster_nodes_command(struct command_ctx *ctx)
{
    struct buffer text = { 0 };
    if (!is_on_slot_port(ctx)) {
        return;
    }
    struct slot_map *map = map_new(ctx);
    for (uint32_t i = 0; i < map->count; i++) {
        if (is_shown(map, i)) {
            node_line(map, i, ctx->now_ms, &text);
        }
    }
    reply_verbatim_buffer(ctx->reply, &text);
    mem_free(map);
}

static void shard_slots_reply(struct reply *reply, const struct slot_map *map, uint32_t member)
{
    uint32_t shift = map->keyspace->slot_shift;
    uint32_t runs = 0;
    for (uint32_t at = 0; at < map->partitions; at = run_end(map, at)) {
        runs += map->owners[at] == member;
    }
    reply_text(reply, "slots");
    reply_array(reply, 2 * runs);
    for (uint32_t at = 0; at < map->partitions;) {
        uint32_t end = run_end(map, at);
        if (map->owners[at] == member) {
            reply_integer(reply, (int64_t)(at << shift));
            reply_integer(reply, (int64_t)(end << shift) - 1);
        }
        at = end;
    }
}

/* CLUSTER SHARDS: a shard for each node. */
void cluster_shards_command(struct command_ctx *ctx)
{
    struct reply *reply = ctx->reply;
    if (!is_on_slot_port(ctx)) {
        return;
    }
    struct slot_map *map = map_new(ctx);
    uint32_t shown = 0;
    for (uint32_t i = 0; i < map->count; i++) {
        shown += is_shown(map, i);
    }
    reply_array(reply, shown);
    for (uint32_t i = 0; i < map->count; i++) {
        const struct host_member *member = &map->members[i];
        if (!is_shown(map, i)) {
            continue;
        }
        reply_map(reply, 2);
        shard_slots_reply(reply, map, i);
        reply_text(reply, "nodes");
        reply_array(reply, 1);
        reply_map(reply, 7);
        reply_field_text(reply, "id", map->ids[i]);
        reply_field_integer(reply, "port", member->slot_port);
        reply_field_text(reply, "ip", member->host);
        reply_field_text(reply, "endpoint", member->host);
        reply_field_text(reply, "role", "master");
        reply_field_integer(reply, "replication-offset", 0);
        reply_field_text(reply, "health", is_dead(member) ? "fail" : "online");
    }
    mem_free(map);
}

/* CLUSTER REPLICAS, SLAVES: no node is a replica and nothing else. */
void cluster_replicas_command(struct command_ctx *ctx)
{
    if (!is_on_slot_port(ctx)) {
        return;
    }
    struct slot_map *map = map_new(ctx);
    bool is_known = false;
    for (uint32_t i = 0; i < map->count; i++) {
        is_known = is_known || slice_equal(ctx->argv[2], slice_from(map->ids[i]));
    }
    mem_free(map);
    if (is_known) {
        reply_array(ctx->reply, 0);
    } else {
        reply_errorf(ctx->reply, "ERR Unknown node %.*s", ADMIN_QUOTED(ctx->argv[2]));
    }
}

void cluster_info_command(struct command_ctx *ctx)
{
    struct buffer text = { 0 };
    if (!is_on_slot_port(ctx)) {
        return;
    }
    struct slot_map *map = map_new(ctx);
    uint32_t failed = map->unled << map->keyspace->slot_shift;
    uint32_t known = 0;
    uint32_t serving = 0;
    for (uint32_t i = 0; i < map->count; i++) {
        known += is_shown(map, i);
        serving += is_shown(map, i) && map->members[i].partitions_led > 0;
    }
    buffer_printf(&text,
                  "cluster_state:%s\r\ncluster_slots_assigned:%d\r\ncluster_slots_ok:%u\r\n"
                  "cluster_slots_pfail:0\r\ncluster_slots_fail:%u\r\ncluster_known_nodes:%u\r\n"
                  "cluster_size:%u\r\ncluster_current_epoch:%u\r\ncluster_my_epoch:%u\r\n"
                  "cluster_stats_messages_sent:0\r\ncluster_stats_messages_received:0\r\n"
                  "total_cluster_links_buffer_limit_exceeded:0\r\n",
                  failed == 0 ? "ok" : "fail", (int)SLOTS, SLOTS - failed, failed, known, serving,
                  map->count, map->self + 1);
    reply_verbatim_buffer(ctx->reply, &text);
    mem_free(map);
}

/* CLUSTER LINKS: one to each node that answers. */
void cluster_links_command(struct command_ctx *ctx)
{
    struct reply *reply = ctx->reply;
    if (!is_on_slot_port(ctx)) {
        return;
    }
    struct slot_map *map = map_new(ctx);
    uint32_t links = 0;
    for (uint32_t i = 0; i < map->count; i++) {
        links += i != map->self && is_shown(map, i) && !is_dead(&map->members[i]);
    }
    reply_array(reply, links);
    for (uint32_t i = 0; i < map->count; i++) {
        const struct host_member *member = &map->members[i];
        if (i == map->self || !is_shown(map, i) || is_dead(member)) {
            continue;
        }
        reply_map(reply, 6);
        reply_field_text(reply, "direction", "to");
        reply_field_text(reply, "node", map->ids[i]);
        reply_field_integer(reply, "create-time", ctx->now_ms - member->uptime_s * 1000);
        reply_field_text(reply, "events", "rw");
        reply_field_integer(reply, "send-buffer-allocated", 0);
        reply_field_integer(reply, "send-buffer-used", 0);
    }
    mem_free(map);
}

/* CLUSTER MYID, MYSHARDID: each node is a shard of its own. */
void cluster_myid_command(struct command_ctx *ctx)
{
    if (!is_on_slot_port(ctx)) {
        return;
    }
    struct slot_map *map = map_new(ctx);
    reply_text(ctx->reply, map->ids[map->self]);
    mem_free(map);
}

/* ── keys of a slot ──────────────────────────────────────────────────────────────────────────── */

/* A walk over the partition of one slot, as this node holds it. */
struct slot_walk {
    const struct kv *kv;
    uint32_t slot;
    uint64_t now_ms;
    uint64_t position;
    uint64_t seen;
    bool is_over;
    const struct kv_entry *found[WALK_STEP + KV_SCAN_SLACK];
    uint32_t found_count;
};

static bool walk_wants(const struct slot_walk *walk, const struct kv_entry *entry)
{
    uint64_t expire_ms = kv_entry_expire_ms(entry);
    bool is_expired = expire_ms != KV_NO_EXPIRY && expire_ms <= walk->now_ms;
    return !is_expired && hash_slot(kv_entry_key(entry)) == walk->slot;
}

/* The slot's keys among the next entries are in found[]. */
static void walk_step(struct slot_walk *walk)
{
    const struct kv_entry *batch[WALK_STEP + KV_SCAN_SLACK];
    uint32_t got = kv_scan(walk->kv, &walk->position, WALK_STEP, batch, ARRAY_COUNT(batch));
    walk->found_count = 0;
    for (uint32_t i = 0; i < got; i++) {
        if (walk_wants(walk, batch[i])) {
            walk->found[walk->found_count++] = batch[i];
        }
    }
    walk->seen += got;
    walk->is_over = walk->position == 0 || walk->seen >= WALK_ENTRIES_MAX;
}

static void walk_begin(struct slot_walk *walk, const struct command_ctx *ctx, uint32_t slot)
{
    const struct keyspace *keyspace = ctx->host->keyspace;
    walk->kv = keyspace->partitions[slot >> keyspace->slot_shift];
    walk->slot = slot;
    walk->now_ms = ctx->now_ms;
    walk->position = 0;
    walk->seen = 0;
    walk->found_count = 0;
    walk->is_over = false;
}

void cluster_keyslot_command(struct command_ctx *ctx)
{
    if (is_on_slot_port(ctx)) {
        reply_integer(ctx->reply, hash_slot(ctx->argv[2]));
    }
}

/* CLUSTER COUNTKEYSINSLOT slot.  Of a very large partition a part is looked at, and its share
 * taken for the whole's. */
void cluster_countkeysinslot_command(struct command_ctx *ctx)
{
    struct slot_walk walk;
    int64_t slot = 0;
    uint64_t count = 0;
    if (!is_on_slot_port(ctx) || !admin_integer(ctx, 2, &slot)) {
        return;
    }
    if (slot < 0 || slot >= SLOTS) {
        reply_error(ctx->reply, "ERR Invalid slot");
        return;
    }
    walk_begin(&walk, ctx, (uint32_t)slot);
    while (!walk.is_over) {
        walk_step(&walk);
        count += walk.found_count;
    }
    if (walk.position != 0) {
        ASSERT(walk.seen > 0);
        count = (uint64_t)((double)count * (double)kv_stats(walk.kv)->keys / (double)walk.seen);
    }
    reply_integer(ctx->reply, (int64_t)count);
}

/* CLUSTER GETKEYSINSLOT slot count: as many, or fewer when they are far apart. */
void cluster_getkeysinslot_command(struct command_ctx *ctx)
{
    struct slot_walk walk;
    int64_t slot = 0;
    int64_t wanted = 0;
    if (!is_on_slot_port(ctx) || !admin_integer(ctx, 2, &slot) || !admin_integer(ctx, 3, &wanted)) {
        return;
    }
    if (slot < 0 || slot >= SLOTS || wanted < 0) {
        reply_error(ctx->reply, "ERR Invalid slot or number of keys");
        return;
    }
    uint64_t most = wanted < WALK_ENTRIES_MAX ? (uint64_t)wanted : WALK_ENTRIES_MAX;
    const struct kv_entry **keys = NULL;
    uint64_t count = 0;
    uint64_t capacity = 0;
    walk_begin(&walk, ctx, (uint32_t)slot);
    while (!walk.is_over && count < most) {
        walk_step(&walk);
        for (uint32_t i = 0; i < walk.found_count && count < most; i++) {
            if (count == capacity) {
                capacity = capacity == 0 ? 64 : capacity * 2;
                keys = mem_realloc(keys, capacity * sizeof(*keys));
            }
            keys[count++] = walk.found[i];
        }
    }
    reply_array(ctx->reply, (uint32_t)count);
    for (uint64_t i = 0; i < count; i++) {
        reply_bulk(ctx->reply, kv_entry_key(keys[i]));
    }
    mem_free(keys);
}

/* ── helpers ─────────────────────────────────────────────────────────────────────────────────── */

/* False, with an error written, for connections of the plain port. */
static bool is_on_slot_port(struct command_ctx *ctx)
{
    bool is_on = conn_info(ctx->conn)->by_slots;
    if (!is_on) {
        reply_error(ctx->reply, "ERR This instance has cluster support disabled");
    }
    return is_on;
}

void admin_slot_id(uint64_t number, char out[ADMIN_SLOT_ID_BYTES])
{
    static const uint64_t TAIL_SEED = UINT64_C(0x736c6f7469647631);
    struct slice bytes = slice_make((const char *)&number, sizeof(number));
    uint64_t tail = hash_key(bytes, TAIL_SEED);
    uint32_t rest = (uint32_t)hash_key(bytes, TAIL_SEED + 1);
    (void)snprintf(out, ADMIN_SLOT_ID_BYTES, "%016" PRIx64 "%016" PRIx64 "%08" PRIx32, number, tail,
                   rest);
}

/* A node that does not know its own address has the one that the client has reached it by. */
static void host_from_connection(struct command_ctx *ctx, struct host_member *self)
{
    const char *local = conn_info(ctx->conn)->local_address;
    const char *colon = strrchr(local, ':');
    if (self->host[0] != '\0' || colon == NULL) {
        return;
    }
    bool is_v6 = local[0] == '[' && colon > local + 1;
    const char *from = is_v6 ? local + 1 : local;
    int size = (int)((is_v6 ? colon - 1 : colon) - from);
    (void)snprintf(self->host, sizeof(self->host), "%.*s", size, from);
}

static void map_partition(struct slot_map *map, struct host *host, uint32_t at)
{
    struct host_partition found = { .leader = -1 };
    host->partition(host, at, &found);
    bool is_led = found.leader >= 0 && (uint32_t)found.leader < map->count;
    map->unled += !is_led;
    bool is_shown_leader = is_led && map->members[found.leader].slot_port != 0;
    map->owners[at] = (uint8_t)(is_shown_leader ? (uint32_t)found.leader : map->self);
}

static struct slot_map *map_new(struct command_ctx *ctx)
{
    struct host *host = ctx->host;
    struct slot_map *map = mem_zalloc(sizeof(*map));
    map->keyspace = host->keyspace;
    map->count = host->member_count(host);
    map->partitions = host->keyspace->count;
    ASSERT(map->count >= 1 && map->count <= RAFT_PEERS_MAX);
    for (uint32_t i = 0; i < map->count; i++) {
        struct host_member *member = &map->members[i];
        host->member(host, i, member);
        if (member->is_self) {
            map->self = i;
            host_from_connection(ctx, member);
        }
        admin_slot_id(member->number, map->ids[i]);
    }
    for (uint32_t at = 0; at < map->partitions; at++) {
        map_partition(map, host, at);
    }
    return map;
}

/* The end of the partitions that follow `at` and belong to the same node. */
static uint32_t run_end(const struct slot_map *map, uint32_t at)
{
    uint32_t end = at + 1;
    while (end < map->partitions && map->owners[end] == map->owners[at]) {
        end++;
    }
    return end;
}

/* Nodes without a slot port do not exist for these clients. */
static bool is_shown(const struct slot_map *map, uint32_t member)
{
    return map->members[member].slot_port != 0;
}

static bool is_dead(const struct host_member *member)
{
    return !member->is_self &&
           (strcmp(member->state, "DEAD") == 0 || strcmp(member->state, "LEFT") == 0);
}

static void node_line(const struct slot_map *map, uint32_t at, uint64_t now_ms, struct buffer *out)
{
    const struct host_member *member = &map->members[at];
    uint32_t shift = map->keyspace->slot_shift;
    const char *flags = is_dead(member)                         ? "master,fail"
                        : strcmp(member->state, "SUSPECT") == 0 ? "master,fail?"
                                                                : "master";
    buffer_printf(out, "%s %s:%u@%u %s%s - 0 %" PRIu64 " %u %s", map->ids[at], member->host,
                  member->slot_port, member->cluster_port, at == map->self ? "myself," : "", flags,
                  at == map->self ? 0 : now_ms, at + 1,
                  is_dead(member) ? "disconnected" : "connected");
    for (uint32_t first = 0; first < map->partitions;) {
        uint32_t end = run_end(map, first);
        uint32_t last = (end << shift) - 1;
        if (map->owners[first] != at) {
            /* another node's */
        } else if (first << shift == last) {
            buffer_printf(out, " %u", last);
        } else {
            buffer_printf(out, " %u-%u", first << shift, last);
        }
        first = end;
    }
    buffer_append_text(out, "\n");
}

/* One node in CLUSTER SLOTS. */
static void node_reply(struct reply *reply, const struct slot_map *map, uint32_t at)
{
    reply_array(reply, 4);
    reply_text(reply, map->members[at].host);
    reply_integer(reply, map->members[at].slot_port);
    reply_text(reply, map->ids[at]);
    reply_map(reply, 0);
}
