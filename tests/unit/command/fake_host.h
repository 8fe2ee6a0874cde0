/*
 * fake_host.h — a node for admin commands to look at, and connections without a network.
 *
 * Implements host.h over plain data that a test sets and reads, and the part of network/server.h
 * that commands use over a list of struct conn.  A program that includes this links none of the
 * real server.
 */
#pragma once

#include "base/mem.h"
#include "command/command.h"
#include "command/host.h"
#include "network/server.h"

#include <stdio.h>

enum { FAKE_CONNS_MAX = 8, FAKE_OPTIONS_MAX = 16 };

struct conn {
    struct conn_info info;
    struct server *server;
    bool is_live, is_closing, is_killed;
};

struct server {
    struct server_options options;
    struct server_stats stats;
    struct conn conns[FAKE_CONNS_MAX];
};

struct fake_host {
    struct host host;
    struct server server;
    struct keyspace keyspace;
    struct host_facts facts;
    struct host_member members[3];
    uint32_t member_count;
    struct host_partition partition;
    struct host_ring_point points[8];
    uint32_t ring_count;
    struct error_stats errors;
    struct slowlog slowlog;
    struct latency latency;
    struct {
        const char *name;
        char value[64];
    } options[FAKE_OPTIONS_MAX];
    enum host_failover failover_result;
    enum host_change change_result;
    const char *change_error;
    uint64_t settings[2];
    struct host_move move; /* the first; the others differ in their partition */
    uint32_t move_count;
    char met[96]; /* the seed */
    struct host_moves moves;
    uint32_t failover_partition, forgotten, drained;
    bool drain_cancelled;
    int32_t failover_member;
    bool can_rewrite;
    int snapshot_result, shutdown_result;
    uint32_t snapshots, shutdowns, stat_resets;
    enum host_shutdown shutdown_how;
    bool shutdown_now, pause_writes_only, is_expire_active, is_led_elsewhere;
    uint64_t pause_until_ms, slept_ms;
};

/* ── network/server.h ────────────────────────────────────────────────────────────────────────── */

struct conn_info *conn_info(struct conn *conn)
{
    return &conn->info;
}

struct server *conn_server(struct conn *conn)
{
    return conn->server;
}

struct conn *server_next_conn(struct server *server, struct conn *after)
{
    struct conn *conn = after == NULL ? server->conns : after + 1;
    while (conn < server->conns + FAKE_CONNS_MAX && (!conn->is_live || conn->is_killed)) {
        conn++;
    }
    return conn == server->conns + FAKE_CONNS_MAX ? NULL : conn;
}

struct conn *server_find_conn(struct server *server, uint64_t id)
{
    struct conn *conn = server_next_conn(server, NULL);
    while (conn != NULL && conn->info.id != id) {
        conn = server_next_conn(server, conn);
    }
    return conn;
}

void conn_close_after_reply(struct conn *conn)
{
    conn->is_closing = true;
}

void conn_kill(struct conn *conn)
{
    conn->is_killed = true;
}

const struct server_stats *server_stats(const struct server *server)
{
    return &server->stats;
}

struct server_options *server_options(struct server *server)
{
    return &server->options;
}

/* ── host.h ──────────────────────────────────────────────────────────────────────────────────── */

static struct fake_host *fake_of(struct host *host)
{
    return host->node;
}

static void fake_facts(struct host *host, struct host_facts *out)
{
    *out = fake_of(host)->facts;
}

static void fake_stats_reset(struct host *host)
{
    fake_of(host)->stat_resets++;
}

static const char *fake_config_name(struct host *host, uint32_t at)
{
    return fake_of(host)->options[at].name;
}

static void fake_config_get(struct host *host, uint32_t at, struct buffer *out)
{
    buffer_append_text(out, fake_of(host)->options[at].value);
}

/* The value "bad" is refused, whatever the option. */
static int fake_config_set(struct host *host, const struct slice *pairs, uint32_t count,
                           struct buffer *error)
{
    for (uint32_t i = 0; i < count; i += 2) {
        if (slice_equal_nocase(pairs[i + 1], "bad")) {
            buffer_printf(error,
                          "ERR CONFIG SET failed (possibly related to argument '%.*s') - bad value",
                          (int)pairs[i].size, pairs[i].data);
            return -1;
        }
    }
    for (uint32_t i = 0; i < count; i += 2) {
        for (uint32_t at = 0; fake_of(host)->options[at].name != NULL; at++) {
            if (slice_equal_nocase(pairs[i], fake_of(host)->options[at].name)) {
                (void)snprintf(fake_of(host)->options[at].value, 64, "%.*s", (int)pairs[i + 1].size,
                               pairs[i + 1].data);
            }
        }
    }
    return 0;
}

static int fake_config_rewrite(struct host *host, struct buffer *error)
{
    if (fake_of(host)->can_rewrite) {
        return 0;
    }
    buffer_append_text(error, "ERR The server is running without a config file");
    return -1;
}

static int fake_snapshot_start(struct host *host)
{
    fake_of(host)->snapshots += fake_of(host)->snapshot_result == 0;
    return fake_of(host)->snapshot_result;
}

static int fake_shutdown(struct host *host, enum host_shutdown how, bool now)
{
    fake_of(host)->shutdowns++;
    fake_of(host)->shutdown_how = how;
    fake_of(host)->shutdown_now = now;
    return fake_of(host)->shutdown_result;
}

static void fake_pause(struct host *host, uint64_t until_ms, bool writes_only)
{
    fake_of(host)->pause_until_ms = until_ms;
    fake_of(host)->pause_writes_only = writes_only;
}

static void fake_sleep(struct host *host, uint64_t ms)
{
    fake_of(host)->slept_ms += ms;
}

static void fake_set_active_expire(struct host *host, bool active)
{
    fake_of(host)->is_expire_active = active;
}

static uint32_t fake_member_count(struct host *host)
{
    return fake_of(host)->member_count;
}

static void fake_member(struct host *host, uint32_t at, struct host_member *out)
{
    *out = fake_of(host)->members[at];
}

static void fake_partition(struct host *host, uint32_t partition, struct host_partition *out)
{
    (void)partition;
    *out = fake_of(host)->partition;
}

static enum host_failover fake_failover(struct host *host, uint32_t partition, int32_t member)
{
    fake_of(host)->failover_partition = partition;
    fake_of(host)->failover_member = member;
    return fake_of(host)->failover_result;
}

static bool fake_leads_cluster(struct host *host)
{
    return !fake_of(host)->is_led_elsewhere;
}

static enum host_change fake_change(struct host *host, struct buffer *error)
{
    CHECK(fake_leads_cluster(host)); /* changes are decided there alone */
    if (fake_of(host)->change_result == HOST_CHANGE_REFUSED) {
        buffer_append_text(error, fake_of(host)->change_error);
    }
    return fake_of(host)->change_result;
}

static enum host_change fake_forget(struct host *host, uint32_t member, struct buffer *error)
{
    fake_of(host)->forgotten = member;
    return fake_change(host, error);
}

static enum host_change fake_drain(struct host *host, uint32_t member, bool is_cancelled,
                                   struct buffer *error)
{
    fake_of(host)->drained = member;
    fake_of(host)->drain_cancelled = is_cancelled;
    return fake_change(host, error);
}

static enum host_change fake_meet(struct host *host, const char *seed, struct buffer *error)
{
    (void)snprintf(fake_of(host)->met, sizeof(fake_of(host)->met), "%s", seed);
    return fake_change(host, error);
}

static bool fake_move_next(struct host *host, uint32_t *at, struct host_move *out)
{
    *out = fake_of(host)->move;
    out->partition += *at;
    return (*at)++ < fake_of(host)->move_count;
}

static void fake_moves(struct host *host, struct host_moves *out)
{
    *out = fake_of(host)->moves;
}

static uint32_t fake_rebalance(struct host *host)
{
    (void)host;
    return 7;
}

static const char *fake_setting_name(struct host *host, uint32_t at)
{
    (void)host;
    static const char *const names[] = { "apples", "pears", NULL };
    return names[at];
}

static uint64_t fake_setting_get(struct host *host, uint32_t at)
{
    return fake_of(host)->settings[at];
}

static enum host_change fake_settings_set(struct host *host, const struct slice *pairs,
                                          uint32_t count, struct buffer *error)
{
    fake_of(host)->settings[0] = count;
    fake_of(host)->settings[1] = pairs[count - 1].size;
    return fake_change(host, error);
}

static uint32_t fake_ring_count(struct host *host)
{
    return fake_of(host)->ring_count;
}

static void fake_ring_point(struct host *host, uint32_t at, struct host_ring_point *out)
{
    *out = fake_of(host)->points[at];
}

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

/* A connection with an id of its own; the place says its port. */
static inline struct conn *fake_conn_add(struct fake_host *fake, uint32_t at)
{
    struct conn *conn = &fake->server.conns[at];
    *conn = (struct conn){ .is_live = true, .server = &fake->server };
    conn->info.id = at + 1;
    conn->info.protocol = PROTOCOL_RESP2;
    conn->info.authenticated = true;
    conn->info.created_ms = fake->facts.now_ms - 5000;
    conn->info.active_ms = fake->facts.now_ms;
    conn->info.descriptor = (int)at + 8;
    (void)snprintf(conn->info.address, sizeof(conn->info.address), "127.0.0.1:%u", 5000 + at);
    (void)snprintf(conn->info.local_address, sizeof(conn->info.local_address), "127.0.0.1:7001");
    return conn;
}

static inline void fake_host_functions(struct host *host)
{
    host->facts = fake_facts;
    host->stats_reset = fake_stats_reset;
    host->config_name = fake_config_name;
    host->config_get = fake_config_get;
    host->config_set = fake_config_set;
    host->config_rewrite = fake_config_rewrite;
    host->snapshot_start = fake_snapshot_start;
    host->shutdown = fake_shutdown;
    host->pause = fake_pause;
    host->sleep = fake_sleep;
    host->set_active_expire = fake_set_active_expire;
    host->member_count = fake_member_count;
    host->member = fake_member;
    host->partition = fake_partition;
    host->failover = fake_failover;
    host->leads_cluster = fake_leads_cluster;
    host->forget = fake_forget;
    host->drain = fake_drain;
    host->meet = fake_meet;
    host->move_next = fake_move_next;
    host->moves = fake_moves;
    host->rebalance = fake_rebalance;
    host->setting_name = fake_setting_name;
    host->setting_get = fake_setting_get;
    host->settings_set = fake_settings_set;
    host->ring_count = fake_ring_count;
    host->ring_point = fake_ring_point;
}

static inline void fake_option_add(struct fake_host *fake, uint32_t at, const char *name,
                                   const char *value)
{
    fake->options[at].name = name;
    (void)snprintf(fake->options[at].value, sizeof(fake->options[at].value), "%s", value);
}

/* A lone node with 16 partitions and the connections 1 and 2; ends with fake_host_deinit. */
static inline void fake_host_init(struct fake_host *fake, uint64_t now_ms)
{
    *fake = (struct fake_host){ .member_count = 1,
                                .ring_count = 2,
                                .is_expire_active = true,
                                .failover_result = HOST_FAILOVER_LONE };
    keyspace_init(&fake->keyspace, PARTITIONS_MIN, 7);
    slowlog_init(&fake->slowlog, 10000, 128);
    fake->facts = (struct host_facts){
        .now_ms = now_ms,
        .started_ms = now_ms - 90061000,
        .version = "0.1.0",
        .git_revision = "abcdef",
        .build_id = "build",
        .node_id = "node1",
        .run_id = "1b8e2f7601b7d66c5d234706e2ee75b0593f26f9",
        .io_backend = "epoll",
        .aof_sync_name = "everysec",
        .port = 7001,
        .hz = 10,
        .memory_used = 1536,
        .memory_resident = 3072,
        .memory_peak = 2048,
        .snapshot_last_ok = true,
        .aof_synced_sequence = 1,
        .snapshot_last_ms = 1699999999000,
    };
    fake->members[0] = (struct host_member){
        .id = "node1",
        .address = "127.0.0.1:7001",
        .role = "leader",
        .state = "ALIVE",
        .version = "0.1.0",
        .cluster_port = 8001,
        .partitions_led = PARTITIONS_MIN,
        .partitions_held = PARTITIONS_MIN,
        .virtual_nodes = 128,
        .uptime_s = 90061,
        .is_self = true,
    };
    fake->partition = (struct host_partition){
        .state = "OK",
        .term = 1,
        .first_index = 1,
        .last_index = 10,
        .replica_count = 1,
        .replicas = { { .member = 0, .applied_index = 9 } },
    };
    fake->points[0] = (struct host_ring_point){ 5, 0 };
    fake->points[1] = (struct host_ring_point){ UINT64_MAX, 0 };
    fake_option_add(fake, 0, "maxmemory", "0");
    fake_option_add(fake, 1, "maxmemory-policy", "noeviction");
    fake_option_add(fake, 2, "timeout", "0");
    fake->host = (struct host){
        .node = fake,
        .keyspace = &fake->keyspace,
        .server = &fake->server,
        .command_stats = mem_zalloc(command_count() * sizeof(struct command_stats)),
        .error_stats = &fake->errors,
        .slowlog = &fake->slowlog,
        .latency = &fake->latency,
        .version = "0.1.0",
        .consistency_default = CONSISTENCY_STRONG,
        .debug = HOST_DEBUG_YES,
    };
    fake_host_functions(&fake->host);
    (void)fake_conn_add(fake, 0);
    (void)fake_conn_add(fake, 1);
    fake->server.stats.clients = 2;
    fake->server.options.clients_max = 10000;
}

static inline void fake_host_deinit(struct fake_host *fake)
{
    for (uint32_t i = 0; i < FAKE_CONNS_MAX; i++) {
        buffer_free(&fake->server.conns[i].info.name);
        buffer_free(&fake->server.conns[i].info.lib_name);
        buffer_free(&fake->server.conns[i].info.lib_version);
    }
    slowlog_deinit(&fake->slowlog);
    mem_free(fake->host.command_stats);
    keyspace_deinit(&fake->keyspace);
}
