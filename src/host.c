/*
 * host.c — the node as admin commands see it (command/host.h).
 */
#include "base/assert.h"
#include "base/mem.h"
#include "consensus.h"
#include "forward.h"
#include "io/io.h"
#include "io/io_usage.h"
#include "log.h"
#include "node.h"
#include "transfer.h"
#include "version.h"

#include <errno.h>
#include <stdio.h>

static struct node *node_of(struct host *host)
{
    return host->node;
}

/* ── facts ───────────────────────────────────────────────────────────────────────────────────── */

static void facts_of_build(const struct node *node, struct host_facts *out)
{
    out->version = MINIDB_VERSION;
    out->git_revision = MINIDB_REVISION;
    out->build_id = MINIDB_REVISION;
    out->node_id = node->meta.node_id;
    out->run_id = node->run_id;
    out->executable = "minidb";
    out->config_file = node->config->file;
    out->io_backend = io_backend_name(node->io);
    out->compiler = __VERSION__;
    out->allocator = mem_allocator_name();
}

static void facts_of_process(const struct node *node, struct host_facts *out)
{
    struct io_usage usage;
    io_usage_read(&usage);
    out->process_id = usage.process_id;
    out->os = node->os;
    out->cpu_user_us = usage.cpu_user_us;
    out->cpu_system_us = usage.cpu_system_us;
    out->cpu_user_children_us = usage.cpu_user_children_us;
    out->cpu_system_children_us = usage.cpu_system_children_us;
    out->memory_resident = usage.resident_bytes;
    out->system_memory = usage.system_memory_bytes;
    out->memory_used = mem_allocated_bytes();
    out->memory_peak = node->memory_peak > out->memory_used ? node->memory_peak : out->memory_used;
    out->memory_limit = node->config->maxmemory;
}

static void facts_of_log(const struct node *node, struct host_facts *out)
{
    static const char *const names[] = { "always", "everysec", "no" };
    struct aof_stats stats = aof_stats(node->shard.aof);
    out->aof_sync_name = names[node->config->appendfsync];
    out->aof_disk_bytes = stats.disk_bytes;
    out->aof_log_bytes = stats.log_bytes;
    out->aof_pending_bytes = stats.pending_bytes;
    out->aof_sequence = stats.next_sequence - 1;
    out->aof_synced_sequence = stats.synced_sequence;
    out->aof_writes = stats.writes;
    out->aof_syncs = stats.syncs;
    out->aof_sync_last_us = stats.sync_last_us;
    out->aof_sync_max_us = stats.sync_max_us;
    out->disk_full = aof_is_full(node->shard.aof);
}

static void facts_of_snapshots(const struct node *node, struct host_facts *out)
{
    const struct snapshots *snapshots = &node->snapshots;
    out->snapshot_running = snapshots->is_running;
    out->snapshot_last_ok = snapshots->last_ok;
    out->snapshot_last_ms =
        snapshots->last_done_ms != 0 ? snapshots->last_done_ms : node->started_ms;
    out->snapshot_last_duration_ms = snapshots->last_duration_ms;
    out->snapshot_count = snapshots->rounds_done;
    out->snapshot_groups_done = snapshots->files;
    out->snapshot_started_ms = snapshots->round_started_ms;
    out->writes_since_snapshot = node->shard.entries_applied - snapshots->writes_at_round;
    out->snapshot_kept_bytes = snapshots->view != NULL ? kv_view_kept_bytes(snapshots->view) : 0;
}

static void host_facts(struct host *host, struct host_facts *out)
{
    const struct node *node = node_of(host);
    const struct node_rates *rates = &node->rates;
    *out = (struct host_facts){
        .now_ms = node->shard.now_ms,
        .started_ms = node->started_ms,
        .port = node_port(node),
        .hz = node->config->hz,
        .commands_processed = node->pipeline.commands_processed,
        .ops_per_second = rates->commands_per_second,
        .bytes_in_per_second = rates->bytes_in_per_second,
        .bytes_out_per_second = rates->bytes_out_per_second,
        .expired_per_second_x100 = rates->expired_per_second_x100,
        .hits = node->shard.delta.hits,
        .misses = node->shard.delta.misses,
        .damaged_partitions = node->shard.damaged_count,
    };
    facts_of_build(node, out);
    facts_of_process(node, out);
    facts_of_log(node, out);
    facts_of_snapshots(node, out);
    host_cluster_facts(node, out);
}

static void host_stats_reset(struct host *host)
{
    struct node *node = node_of(host);
    node->shard.delta = (struct command_stats_delta){ 0 };
    node->pipeline.commands_processed = 0;
    node->rates.commands = 0;
}

/* ── options ─────────────────────────────────────────────────────────────────────────────────── */

static const char *host_config_name(struct host *host, uint32_t at)
{
    (void)host;
    return at < config_count() ? config_name(at) : NULL;
}

static void host_config_get(struct host *host, uint32_t at, struct buffer *out)
{
    config_get_text(node_of(host)->config, at, out);
}

/* A member that syncs less says so on disk first: after a power loss its next start must know. */
static void relax_sync(struct node *node)
{
    struct config *config = node->config;
    bool is_lax = node->meta.is_clustered && config->appendfsync != AOF_SYNC_ALWAYS;
    if (is_lax && !node->meta.was_lax && node_meta_write(node) < 0) {
        config->appendfsync = AOF_SYNC_ALWAYS; /* the log says why */
    }
}

/* Puts the options that are held elsewhere where they are read. */
static void apply_options(struct node *node)
{
    const struct config *config = node->config;
    struct server_options *server = server_options(node->server);
    server->clients_max = io_connections_limit(node->io, config->maxclients);
    server->auth_required = config->requirepass[0] != '\0';
    server->output_limit_bytes = config->client_output_limit;
    server->idle_timeout_s = config->timeout;
    meter_set_slower_than(&node->meter, config->slowlog_log_slower_than);
    slowlog_resize(&node->meter.slowlog, config->slowlog_max_len);
    node->meter.latency.threshold_ms = config->latency_monitor_threshold;
    node->snapshots.log_bytes_max = config->snapshot_log_size;
    node->host.password = config->requirepass;
    node->host.consistency_default = config->consistency;
    aof_set_sync(node->shard.aof, config->appendfsync);
    if (node->consensus != NULL) {
        node->consensus->options.request_timeout_ms = config->request_timeout;
        forward_set_timeout(node->forward, config->request_timeout);
        transfers_set_rate(node->transfers, (uint64_t)config->migrate_rate << 20);
    }
    if (node->log != NULL) {
        log_set_level(node->log, config->log_level);
        log_set_format(node->log, config->log_format);
    }
}

static int host_config_set(struct host *host, const struct slice *pairs, uint32_t count,
                           struct buffer *error)
{
    struct node *node = node_of(host);
    struct config_changes changes;
    int status = config_set(node->config, pairs, count / 2, &changes, error);
    if (status == 0) {
        relax_sync(node);
        apply_options(node);
        log_event(node->log, LOG_INFO, "config_set", LOG_SLICE("name", pairs[0]));
    }
    return status;
}

static int host_config_rewrite(struct host *host, struct buffer *error)
{
    return config_rewrite(node_of(host)->config, error);
}

/* ── actions ─────────────────────────────────────────────────────────────────────────────────── */

static int host_snapshot_start(struct host *host)
{
    return snapshots_start(&node_of(host)->snapshots);
}

static int host_shutdown(struct host *host, enum host_shutdown how, bool now)
{
    struct node *node = node_of(host);
    (void)now; /* a stop waits for nothing but what is under way */
    if (how == HOST_SHUTDOWN_SAVE) {
        int started = snapshots_start(&node->snapshots);
        if (started < 0 && started != -EALREADY) {
            return started;
        }
        node->stop_waits_snapshot = true;
    }
    node_stop(node);
    return 0;
}

static void host_pause(struct host *host, uint64_t until_ms, bool writes_only)
{
    pipeline_pause(&node_of(host)->pipeline, until_ms, writes_only);
}

static void host_sleep(struct host *host, uint64_t ms)
{
    struct io *io = node_of(host)->io;
    uint64_t until_ns = io_clock_ns(io) + ms * 1000000;
    while (io_clock_ns(io) < until_ns) {
        /* As busy as a long command would be: that is what DEBUG SLEEP is for. */
    }
}

static void host_set_active_expire(struct host *host, bool active)
{
    node_of(host)->is_expiry_active = active;
}

void host_init(struct node *node)
{
    io_os_name(node->os, sizeof(node->os));
    node->host = (struct host){
        .node = node,
        .version = MINIDB_VERSION,
        .keyspace = &node->shard.keyspace,
        .server = node->server,
        .command_stats = node->meter.commands,
        .error_stats = &node->meter.errors,
        .slowlog = &node->meter.slowlog,
        .latency = &node->meter.latency,
        .password = node->config->requirepass,
        .consistency_default = node->config->consistency,
        .debug = HOST_DEBUG_LOCAL,
        .facts = host_facts,
        .stats_reset = host_stats_reset,
        .config_name = host_config_name,
        .config_get = host_config_get,
        .config_set = host_config_set,
        .config_rewrite = host_config_rewrite,
        .snapshot_start = host_snapshot_start,
        .shutdown = host_shutdown,
        .pause = host_pause,
        .sleep = host_sleep,
        .set_active_expire = host_set_active_expire,
    };
    host_cluster_init(&node->host);
}
