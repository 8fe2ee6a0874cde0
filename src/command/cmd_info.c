/*
 * cmd_info.c — INFO: what the server knows of itself, in sections of "name:value" lines.
 *
 * Names and layout are Redis's wherever the thing exists (monitors parse them); what does not
 * exist here and is parsed by nobody is left out rather than invented.  minidb's own sections are
 * Raft, Gossip and Partitions.
 *
 * Read next: host.h (host_facts), cmd_stats.c (the same as a map).
 */
#include "command/admin.h"

#include <inttypes.h>

struct info {
    struct command_ctx *ctx;
    struct host_facts facts;
    struct host_member self;
    struct kv_stats kv;
    struct buffer text;
};

enum info_when { INFO_DEFAULT = 1 << 0, INFO_ALL = 1 << 1, INFO_EVERYTHING = 1 << 2 };

static void info_server(struct info *info);
static void info_clients(struct info *info);
static void info_memory(struct info *info);
static void info_persistence(struct info *info);
static void info_stats(struct info *info);
static void info_replication(struct info *info);
static void info_cpu(struct info *info);
static void info_modules(struct info *info);
static void info_commandstats(struct info *info);
static void info_errorstats(struct info *info);
static void info_latencystats(struct info *info);
static void info_cluster(struct info *info);
static void info_raft(struct info *info);
static void info_gossip(struct info *info);
static void info_partitions(struct info *info);
static void info_keyspace(struct info *info);

static const struct {
    const char *name, *title;
    void (*write)(struct info *info);
    uint32_t when; /* enum info_when */
} info_sections[] = {
    { "server", "Server", info_server, INFO_DEFAULT | INFO_ALL | INFO_EVERYTHING },
    { "clients", "Clients", info_clients, INFO_DEFAULT | INFO_ALL | INFO_EVERYTHING },
    { "memory", "Memory", info_memory, INFO_DEFAULT | INFO_ALL | INFO_EVERYTHING },
    { "persistence", "Persistence", info_persistence, INFO_DEFAULT | INFO_ALL | INFO_EVERYTHING },
    { "stats", "Stats", info_stats, INFO_DEFAULT | INFO_ALL | INFO_EVERYTHING },
    { "replication", "Replication", info_replication, INFO_DEFAULT | INFO_ALL | INFO_EVERYTHING },
    { "cpu", "CPU", info_cpu, INFO_DEFAULT | INFO_ALL | INFO_EVERYTHING },
    { "modules", "Modules", info_modules, INFO_DEFAULT | INFO_EVERYTHING },
    { "commandstats", "Commandstats", info_commandstats, INFO_ALL | INFO_EVERYTHING },
    { "errorstats", "Errorstats", info_errorstats, INFO_DEFAULT | INFO_ALL | INFO_EVERYTHING },
    { "latencystats", "Latencystats", info_latencystats, INFO_ALL | INFO_EVERYTHING },
    { "cluster", "Cluster", info_cluster, INFO_DEFAULT | INFO_ALL | INFO_EVERYTHING },
    { "raft", "Raft", info_raft, INFO_DEFAULT | INFO_ALL | INFO_EVERYTHING },
    { "gossip", "Gossip", info_gossip, INFO_DEFAULT | INFO_ALL | INFO_EVERYTHING },
    { "partitions", "Partitions", info_partitions, INFO_DEFAULT | INFO_ALL | INFO_EVERYTHING },
    { "keyspace", "Keyspace", info_keyspace, INFO_DEFAULT | INFO_ALL | INFO_EVERYTHING },
};

static bool section_wanted(const struct command_ctx *ctx, uint32_t section);
static void info_begin(struct info *info, struct command_ctx *ctx);

/* INFO [section ...] */
void info_command(struct command_ctx *ctx)
{
    struct info info;
    info_begin(&info, ctx);
    for (uint32_t i = 0; i < ARRAY_COUNT(info_sections); i++) {
        if (section_wanted(ctx, i)) {
            buffer_printf(&info.text, "%s# %s\r\n", info.text.size > 0 ? "\r\n" : "",
                          info_sections[i].title);
            info_sections[i].write(&info);
        }
    }
    reply_verbatim_buffer(ctx->reply, &info.text);
}

static void info_begin(struct info *info, struct command_ctx *ctx)
{
    struct host *host = ctx->host;
    *info = (struct info){ .ctx = ctx };
    host->facts(host, &info->facts);
    info->kv = keyspace_stats(host->keyspace);
    for (uint32_t i = 0; i < host->member_count(host); i++) {
        struct host_member member = { .is_self = false };
        host->member(host, i, &member);
        if (member.is_self) {
            info->self = member;
        }
    }
}

static bool section_wanted(const struct command_ctx *ctx, uint32_t section)
{
    uint32_t when = ctx->argc == 1 ? INFO_DEFAULT : 0;
    for (uint32_t i = 1; i < ctx->argc; i++) {
        when |= admin_word(ctx, i, "default") ? INFO_DEFAULT : 0;
        when |= admin_word(ctx, i, "all") ? INFO_ALL : 0;
        when |= admin_word(ctx, i, "everything") ? INFO_EVERYTHING : 0;
        if (admin_word(ctx, i, info_sections[section].name)) {
            return true;
        }
    }
    return (info_sections[section].when & when) != 0;
}

/* ── lines ───────────────────────────────────────────────────────────────────────────────────── */

static void line_text(struct info *info, const char *name, const char *value)
{
    buffer_printf(&info->text, "%s:%s\r\n", name, value == NULL ? "" : value);
}

static void line_number(struct info *info, const char *name, uint64_t value)
{
    buffer_printf(&info->text, "%s:%" PRIu64 "\r\n", name, value);
}

static void line_bytes(struct info *info, const char *name, uint64_t bytes)
{
    char human[32];
    admin_human_bytes(bytes, human);
    buffer_printf(&info->text, "%s:%" PRIu64 "\r\n%s_human:%s\r\n", name, bytes, name, human);
}

static void line_ratio(struct info *info, const char *name, uint64_t part, uint64_t whole)
{
    double ratio = whole == 0 ? 0 : (double)part / (double)whole;
    buffer_printf(&info->text, "%s:%.2f\r\n", name, ratio);
}

static void line_percent(struct info *info, const char *name, uint64_t part, uint64_t whole)
{
    double percent = whole == 0 ? 0 : 100.0 * (double)part / (double)whole;
    buffer_printf(&info->text, "%s:%.2f%%\r\n", name, percent);
}

/* Microseconds as seconds. */
static void line_seconds(struct info *info, const char *name, uint64_t us)
{
    buffer_printf(&info->text, "%s:%" PRIu64 ".%06" PRIu64 "\r\n", name, us / 1000000,
                  us % 1000000);
}

static uint64_t since(uint64_t now, uint64_t then)
{
    return now > then ? now - then : 0;
}

/* ── sections ────────────────────────────────────────────────────────────────────────────────── */

static void info_server(struct info *info)
{
    const struct host_facts *facts = &info->facts;
    uint64_t uptime_s = since(facts->now_ms, facts->started_ms) / 1000;
    line_text(info, "redis_version", REDIS_VERSION);
    line_text(info, "redis_git_sha1", facts->git_revision);
    line_number(info, "redis_git_dirty", 0);
    line_text(info, "redis_build_id", facts->build_id);
    bool by_slots = conn_info(info->ctx->conn)->by_slots;
    line_text(info, "redis_mode", by_slots ? "cluster" : "standalone");
    line_text(info, "server_name", "minidb");
    line_text(info, "minidb_version", facts->version);
    line_text(info, "minidb_node_id", facts->node_id);
    line_text(info, "os", facts->os);
    line_number(info, "arch_bits", 64);
    line_text(info, "monotonic_clock", "POSIX clock_gettime");
    line_text(info, "multiplexing_api", facts->io_backend);
    line_text(info, "gcc_version", facts->compiler);
    line_number(info, "process_id", facts->process_id);
    line_text(info, "process_supervised", "no");
    line_text(info, "run_id", facts->run_id);
    line_number(info, "tcp_port", facts->port);
    line_number(info, "server_time_usec", facts->now_ms * 1000);
    line_number(info, "uptime_in_seconds", uptime_s);
    line_number(info, "uptime_in_days", uptime_s / 86400);
    line_number(info, "hz", facts->hz);
    line_number(info, "configured_hz", facts->hz);
    line_number(info, "lru_clock", facts->now_ms / 1000 & 0xffffff);
    line_text(info, "executable", facts->executable);
    line_text(info, "config_file", facts->config_file);
    line_number(info, "io_threads_active", 0);
}

static void info_clients(struct info *info)
{
    struct server *server = info->ctx->host->server;
    const struct server_stats *stats = server_stats(server);
    uint32_t blocked = 0;
    struct conn *conn = server_next_conn(server, NULL);
    for (; conn != NULL; conn = server_next_conn(server, conn)) {
        blocked += conn_info(conn)->is_blocked;
    }
    line_number(info, "connected_clients", stats->clients);
    line_number(info, "cluster_connections", 0);
    line_number(info, "maxclients", server_options(server)->clients_max);
    line_number(info, "clients_input_buffer_bytes", stats->input_buffer_bytes);
    line_number(info, "clients_output_buffer_bytes", stats->output_buffer_bytes);
    line_number(info, "clients_held_back", stats->paused);
    line_number(info, "blocked_clients", blocked);
    line_number(info, "tracking_clients", 0);
    line_number(info, "clients_in_timeout_table", 0);
    line_number(info, "total_blocking_keys", 0);
}

static void info_memory(struct info *info)
{
    const struct host_facts *facts = &info->facts;
    const struct server_stats *stats = server_stats(info->ctx->host->server);
    uint64_t dataset = info->kv.memory_bytes;
    line_bytes(info, "used_memory", facts->memory_used);
    line_bytes(info, "used_memory_rss", facts->memory_resident);
    line_bytes(info, "used_memory_peak", facts->memory_peak);
    line_percent(info, "used_memory_peak_perc", facts->memory_used, facts->memory_peak);
    line_number(info, "used_memory_overhead", since(facts->memory_used, dataset));
    line_number(info, "used_memory_startup", 0);
    line_number(info, "used_memory_dataset", dataset);
    line_percent(info, "used_memory_dataset_perc", dataset, facts->memory_used);
    line_number(info, "allocator_allocated", facts->memory_used);
    line_number(info, "allocator_active", facts->memory_resident);
    line_number(info, "allocator_resident", facts->memory_resident);
    line_bytes(info, "total_system_memory", facts->system_memory);
    line_number(info, "used_memory_lua", 0);
    line_number(info, "number_of_cached_scripts", 0);
    line_bytes(info, "maxmemory", facts->memory_limit);
    line_text(info, "maxmemory_policy", "noeviction");
    line_ratio(info, "mem_fragmentation_ratio", facts->memory_resident, facts->memory_used);
    line_number(info, "mem_fragmentation_bytes", since(facts->memory_resident, facts->memory_used));
    line_number(info, "mem_not_counted_for_evict", 0);
    line_number(info, "mem_clients_slaves", 0);
    line_number(info, "mem_clients_normal", stats->input_buffer_bytes + stats->output_buffer_bytes);
    line_number(info, "mem_aof_buffer", facts->aof_pending_bytes);
    line_number(info, "mem_snapshot_kept", facts->snapshot_kept_bytes);
    line_text(info, "mem_allocator", facts->allocator);
    line_number(info, "active_defrag_running", 0);
    line_number(info, "lazyfree_pending_objects", 0);
}

static void info_loading(struct info *info)
{
    const struct host_facts *facts = &info->facts;
    line_number(info, "loading_start_time", facts->started_ms / 1000);
    line_number(info, "loading_total_bytes", facts->loading_total_bytes);
    line_number(info, "loading_loaded_bytes", facts->loading_done_bytes);
    line_percent(info, "loading_loaded_perc", facts->loading_done_bytes,
                 facts->loading_total_bytes);
}

/* A snapshot is what Redis calls an RDB save, and it also shortens the log: an AOF rewrite. */
static void info_persistence(struct info *info)
{
    const struct host_facts *facts = &info->facts;
    const char *last = facts->snapshot_last_ok ? "ok" : "err";
    int64_t current_s = -1;
    if (facts->snapshot_running) {
        current_s = (int64_t)(since(facts->now_ms, facts->snapshot_started_ms) / 1000);
    }
    line_number(info, "loading", facts->loading);
    line_number(info, "async_loading", 0);
    line_number(info, "current_cow_size", facts->snapshot_kept_bytes);
    line_number(info, "rdb_changes_since_last_save", facts->writes_since_snapshot);
    line_number(info, "rdb_bgsave_in_progress", facts->snapshot_running);
    line_number(info, "rdb_last_save_time", facts->snapshot_last_ms / 1000);
    line_text(info, "rdb_last_bgsave_status", last);
    line_number(info, "rdb_last_bgsave_time_sec", facts->snapshot_last_duration_ms / 1000);
    buffer_printf(&info->text, "rdb_current_bgsave_time_sec:%" PRId64 "\r\n", current_s);
    line_number(info, "rdb_saves", facts->snapshot_count);
    line_number(info, "rdb_last_cow_size", facts->snapshot_kept_bytes);
    line_number(info, "aof_enabled", admin_has_log(info->ctx->host));
    line_number(info, "aof_rewrite_in_progress", facts->snapshot_running);
    line_number(info, "aof_rewrite_scheduled", 0);
    line_number(info, "aof_last_rewrite_time_sec", facts->snapshot_last_duration_ms / 1000);
    buffer_printf(&info->text, "aof_current_rewrite_time_sec:%" PRId64 "\r\n", current_s);
    line_text(info, "aof_last_bgrewrite_status", last);
    line_text(info, "aof_last_write_status", facts->disk_full ? "err" : "ok");
    line_number(info, "aof_current_size", facts->aof_log_bytes);
    line_number(info, "aof_buffer_length", facts->aof_pending_bytes);
    line_text(info, "aof_fsync", facts->aof_sync_name);
    line_number(info, "aof_disk_bytes", facts->aof_disk_bytes);
    line_number(info, "aof_sequence", facts->aof_sequence);
    line_number(info, "aof_synced_sequence", admin_synced_sequence(facts));
    line_number(info, "aof_writes", facts->aof_writes);
    line_number(info, "aof_syncs", facts->aof_syncs);
    line_number(info, "aof_sync_last_usec", facts->aof_sync_last_us);
    line_number(info, "aof_sync_max_usec", facts->aof_sync_max_us);
    line_number(info, "disk_full", facts->disk_full);
    if (facts->loading) {
        info_loading(info);
    }
}

static void info_stats(struct info *info)
{
    const struct host_facts *facts = &info->facts;
    const struct host *host = info->ctx->host;
    const struct server_stats *stats = server_stats(host->server);
    line_number(info, "total_connections_received", stats->connections_total);
    line_number(info, "total_commands_processed", facts->commands_processed);
    line_number(info, "instantaneous_ops_per_sec", facts->ops_per_second);
    line_number(info, "total_net_input_bytes", stats->bytes_in);
    line_number(info, "total_net_output_bytes", stats->bytes_out);
    line_ratio(info, "instantaneous_input_kbps", facts->bytes_in_per_second, 1024);
    line_ratio(info, "instantaneous_output_kbps", facts->bytes_out_per_second, 1024);
    line_number(info, "rejected_connections", stats->connections_rejected);
    line_number(info, "sync_full", 0);
    line_number(info, "sync_partial_ok", 0);
    line_number(info, "sync_partial_err", 0);
    line_number(info, "expired_keys", info->kv.expired);
    line_ratio(info, "expired_keys_per_sec", facts->expired_per_second_x100, 100);
    line_number(info, "evicted_keys", facts->evicted);
    line_number(info, "evicted_clients", 0);
    line_number(info, "keyspace_hits", facts->hits);
    line_number(info, "keyspace_misses", facts->misses);
    line_number(info, "pubsub_channels", 0);
    line_number(info, "pubsub_patterns", 0);
    line_number(info, "pubsubshard_channels", 0);
    line_number(info, "latest_fork_usec", 0);
    line_number(info, "total_forks", 0);
    line_number(info, "migrate_cached_sockets", 0);
    line_number(info, "total_error_replies", host->error_stats->total);
    line_number(info, "acl_access_denied_auth", host->auth_failures);
    line_number(info, "client_output_buffer_limit_disconnections", stats->output_closed);
    line_number(info, "protocol_errors", stats->protocol_errors);
}

/* To Redis's eyes every node is a master, and the others that are alive are its replicas: what
 * replicates here is Raft, below. */
static void info_replication(struct info *info)
{
    struct host *host = info->ctx->host;
    uint32_t others = 0;
    for (uint32_t i = 0; i < host->member_count(host); i++) {
        struct host_member member = { .is_self = false };
        host->member(host, i, &member);
        others += !member.is_self && strcmp(member.state, "ALIVE") == 0;
    }
    line_text(info, "role", "master");
    line_number(info, "connected_slaves", others);
    line_text(info, "master_failover_state", "no-failover");
    line_text(info, "master_replid", info->facts.run_id);
    line_text(info, "master_replid2", "0000000000000000000000000000000000000000");
    line_number(info, "master_repl_offset", info->facts.aof_sequence);
    line_text(info, "second_repl_offset", "-1");
    line_number(info, "repl_backlog_active", 0);
    line_number(info, "repl_backlog_size", 0);
    line_number(info, "repl_backlog_first_byte_offset", 0);
    line_number(info, "repl_backlog_histlen", 0);
}

static void info_cpu(struct info *info)
{
    const struct host_facts *facts = &info->facts;
    line_seconds(info, "used_cpu_sys", facts->cpu_system_us);
    line_seconds(info, "used_cpu_user", facts->cpu_user_us);
    line_seconds(info, "used_cpu_sys_children", facts->cpu_system_children_us);
    line_seconds(info, "used_cpu_user_children", facts->cpu_user_children_us);
}

static void info_modules(struct info *info)
{
    (void)info; /* there are none: the heading alone */
}

static void info_commandstats(struct info *info)
{
    const struct command_stats *all = info->ctx->host->command_stats;
    for (uint32_t id = 0; id < command_count(); id++) {
        const struct command_stats *stats = &all[id];
        if (stats->calls == 0 && stats->rejected == 0 && stats->failed == 0) {
            continue;
        }
        double usec = (double)stats->nanoseconds / 1000;
        buffer_printf(&info->text,
                      "cmdstat_%s:calls=%" PRIu64 ",usec=%" PRIu64
                      ",usec_per_call=%.2f,rejected_calls=%" PRIu64 ",failed_calls=%" PRIu64 "\r\n",
                      command_at(id)->name, stats->calls, stats->nanoseconds / 1000,
                      stats->calls == 0 ? 0 : usec / (double)stats->calls, stats->rejected,
                      stats->failed);
    }
}

static void info_errorstats(struct info *info)
{
    const struct error_stats *stats = info->ctx->host->error_stats;
    for (uint32_t i = 0; i < stats->count; i++) {
        buffer_printf(&info->text, "errorstat_%s:count=%" PRIu64 "\r\n", stats->words[i].word,
                      stats->words[i].count);
    }
}

static void info_latencystats(struct info *info)
{
    const struct command_stats *all = info->ctx->host->command_stats;
    for (uint32_t id = 0; id < command_count(); id++) {
        if (all[id].calls > 0) {
            buffer_printf(
                &info->text, "latency_percentiles_usec_%s:p50=%.3f,p99=%.3f,p99.9=%.3f\r\n",
                command_at(id)->name, (double)command_stats_percentile(&all[id], 500) / 1000,
                (double)command_stats_percentile(&all[id], 990) / 1000,
                (double)command_stats_percentile(&all[id], 999) / 1000);
        }
    }
}

static void info_cluster(struct info *info)
{
    line_number(info, "cluster_enabled", conn_info(info->ctx->conn)->by_slots);
}

static void info_raft(struct info *info)
{
    const struct host_facts *facts = &info->facts;
    line_number(info, "raft_groups", facts->raft_groups);
    line_number(info, "raft_groups_led", facts->raft_groups_led);
    line_number(info, "raft_groups_suspect", facts->raft_suspects);
    line_number(info, "raft_term", facts->term);
    line_number(info, "raft_elections", facts->raft_elections);
    line_number(info, "raft_leader_changes", facts->raft_leader_changes);
    line_number(info, "raft_commit_lag", facts->raft_commit_lag);
    line_number(info, "raft_apply_lag", facts->raft_apply_lag);
    line_number(info, "raft_follower_lag_max", facts->raft_follower_lag);
    line_number(info, "raft_log_sequence", facts->aof_sequence);
    line_number(info, "raft_log_synced_sequence", admin_synced_sequence(facts));
    line_number(info, "raft_log_bytes", facts->aof_log_bytes);
    line_number(info, "forward_sent", facts->forward_sent);
    line_number(info, "forward_answered", facts->forward_answered);
    line_number(info, "forward_repeated", facts->forward_repeated);
    line_number(info, "forward_expired", facts->forward_expired);
    line_number(info, "forward_waiting", facts->forward_waiting);
    line_number(info, "snapshots_fetched", facts->transfers_fetched);
    line_number(info, "snapshots_sent", facts->transfers_sent);
    line_number(info, "snapshots_failed", facts->transfers_failed);
    line_number(info, "snapshots_under_way", facts->transfers_running);
    line_number(info, "cluster_links_up", facts->cluster_links);
    line_number(info, "cluster_net_input_bytes", facts->cluster_bytes_in);
    line_number(info, "cluster_net_output_bytes", facts->cluster_bytes_out);
}

static void info_gossip_packets(struct info *info)
{
    static const char *const drops[HOST_GOSSIP_DROPS] = {
        [HOST_GOSSIP_KEY] = "gossip_dropped_key",
        [HOST_GOSSIP_MALFORMED] = "gossip_dropped_malformed",
        [HOST_GOSSIP_CLUSTER] = "gossip_dropped_cluster",
        [HOST_GOSSIP_TARGET] = "gossip_dropped_target",
        [HOST_GOSSIP_STRANGER] = "gossip_dropped_stranger",
        [HOST_GOSSIP_IDENTITY] = "gossip_dropped_identity",
        [HOST_GOSSIP_STALE] = "gossip_dropped_stale",
        [HOST_GOSSIP_REPLAYED] = "gossip_dropped_replayed",
    };
    const struct host_facts *facts = &info->facts;
    line_number(info, "gossip_incarnation", facts->gossip_incarnation);
    line_number(info, "gossip_health", facts->gossip_health);
    line_number(info, "gossip_probes", facts->gossip_probes);
    line_number(info, "gossip_probes_indirect", facts->gossip_probes_indirect);
    line_number(info, "gossip_probes_failed", facts->gossip_probes_failed);
    line_number(info, "gossip_refutations", facts->gossip_refutations);
    line_number(info, "gossip_late_steps", facts->gossip_late_steps);
    line_number(info, "gossip_packets_in", facts->gossip_packets_in);
    line_number(info, "gossip_packets_out", facts->gossip_packets_out);
    for (uint32_t i = 0; i < HOST_GOSSIP_DROPS; i++) {
        line_number(info, drops[i], facts->gossip_dropped[i]);
    }
}

static void info_gossip(struct info *info)
{
    struct host *host = info->ctx->host;
    static const char *const states[] = { "ALIVE", "SUSPECT", "DEAD", "LEFT" };
    static const char *const lines[] = { "gossip_members_alive", "gossip_members_suspect",
                                         "gossip_members_dead", "gossip_members_left" };
    uint32_t counts[ARRAY_COUNT(states)] = { 0 };
    for (uint32_t i = 0; i < host->member_count(host); i++) {
        struct host_member member = { .is_self = false };
        host->member(host, i, &member);
        for (uint32_t s = 0; s < ARRAY_COUNT(states); s++) {
            counts[s] += strcmp(states[s], member.state) == 0;
        }
    }
    line_number(info, "gossip_members", host->member_count(host));
    for (uint32_t s = 0; s < ARRAY_COUNT(states); s++) {
        line_number(info, lines[s], counts[s]);
    }
    info_gossip_packets(info);
}

static void info_partitions(struct info *info)
{
    line_number(info, "partitions", info->ctx->host->keyspace->count);
    line_number(info, "partitions_held", info->self.partitions_held);
    line_number(info, "partitions_led", info->self.partitions_led);
    line_number(info, "partitions_damaged", info->facts.damaged_partitions);
}

static void info_keyspace(struct info *info)
{
    if (info->kv.keys > 0) {
        buffer_printf(&info->text, "db0:keys=%" PRIu64 ",expires=%" PRIu64 ",avg_ttl=0\r\n",
                      info->kv.keys, info->kv.volatile_keys);
    }
}
