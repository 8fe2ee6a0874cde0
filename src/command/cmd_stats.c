/*
 * cmd_stats.c — STATS: the node at a glance, as one map (an object in JSON).
 *
 *   node, version, uptime_seconds
 *   keys, volatile_keys, hits, misses, hit_rate, expired, evicted
 *   commands_processed, ops_per_second, errors, clients
 *   commands -> name -> calls, failed, rejected, usec_mean, usec_p50, usec_p99, usec_p999
 *   memory   -> used, resident, peak, limit, dataset, bytes_per_key
 *   aof      -> fsync, log_bytes, disk_bytes, pending_bytes, sequence, synced_sequence, ...
 *   snapshot -> running, last_ok, last_time, last_duration_ms, count, writes_since
 */
#include "command/admin.h"

static void commands_reply(struct reply *reply, const struct command_stats *all);
static void memory_reply(struct reply *reply, const struct host_facts *facts,
                         const struct kv_stats *kv);
static void aof_reply(struct reply *reply, const struct host_facts *facts);
static void snapshot_reply(struct reply *reply, const struct host_facts *facts);

void stats_command(struct command_ctx *ctx)
{
    struct reply *reply = ctx->reply;
    struct host *host = ctx->host;
    struct host_facts facts = { .now_ms = 0 };
    host->facts(host, &facts);
    struct kv_stats kv = keyspace_stats(host->keyspace);
    uint64_t lookups = facts.hits + facts.misses;
    uint64_t uptime_ms = facts.now_ms > facts.started_ms ? facts.now_ms - facts.started_ms : 0;
    reply_map(reply, 18);
    reply_field_text(reply, "node", facts.node_id);
    reply_field_text(reply, "version", facts.version);
    reply_field_integer(reply, "uptime_seconds", uptime_ms / 1000);
    reply_field_integer(reply, "keys", kv.keys);
    reply_field_integer(reply, "volatile_keys", kv.volatile_keys);
    reply_field_integer(reply, "hits", facts.hits);
    reply_field_integer(reply, "misses", facts.misses);
    reply_field_double(reply, "hit_rate", lookups == 0 ? 0 : (double)facts.hits / (double)lookups);
    reply_field_integer(reply, "expired", kv.expired);
    reply_field_integer(reply, "evicted", facts.evicted);
    reply_field_integer(reply, "commands_processed", facts.commands_processed);
    reply_field_integer(reply, "ops_per_second", facts.ops_per_second);
    reply_field_integer(reply, "errors", host->error_stats->total);
    reply_field_integer(reply, "clients", server_stats(host->server)->clients);
    commands_reply(reply, host->command_stats);
    memory_reply(reply, &facts, &kv);
    aof_reply(reply, &facts);
    snapshot_reply(reply, &facts);
}

static void reply_field_usec(struct reply *reply, const char *name, uint64_t nanoseconds)
{
    reply_field_double(reply, name, (double)nanoseconds / 1000);
}

static void commands_reply(struct reply *reply, const struct command_stats *all)
{
    uint32_t used = 0;
    for (uint32_t id = 0; id < command_count(); id++) {
        used += all[id].calls > 0;
    }
    reply_text(reply, "commands");
    reply_map(reply, used);
    for (uint32_t id = 0; id < command_count(); id++) {
        const struct command_stats *stats = &all[id];
        if (stats->calls == 0) {
            continue;
        }
        reply_text(reply, command_at(id)->name);
        reply_map(reply, 7);
        reply_field_integer(reply, "calls", stats->calls);
        reply_field_integer(reply, "failed", stats->failed);
        reply_field_integer(reply, "rejected", stats->rejected);
        reply_field_usec(reply, "usec_mean", stats->nanoseconds / stats->calls);
        reply_field_usec(reply, "usec_p50", command_stats_percentile(stats, 500));
        reply_field_usec(reply, "usec_p99", command_stats_percentile(stats, 990));
        reply_field_usec(reply, "usec_p999", command_stats_percentile(stats, 999));
    }
}

static void memory_reply(struct reply *reply, const struct host_facts *facts,
                         const struct kv_stats *kv)
{
    reply_text(reply, "memory");
    reply_map(reply, 6);
    reply_field_integer(reply, "used", facts->memory_used);
    reply_field_integer(reply, "resident", facts->memory_resident);
    reply_field_integer(reply, "peak", facts->memory_peak);
    reply_field_integer(reply, "limit", facts->memory_limit);
    reply_field_integer(reply, "dataset", kv->memory_bytes);
    reply_field_integer(reply, "bytes_per_key", kv->keys == 0 ? 0 : kv->memory_bytes / kv->keys);
}

static void aof_reply(struct reply *reply, const struct host_facts *facts)
{
    reply_text(reply, "aof");
    reply_map(reply, 11);
    reply_field_text(reply, "fsync", facts->aof_sync_name);
    reply_field_integer(reply, "log_bytes", facts->aof_log_bytes);
    reply_field_integer(reply, "disk_bytes", facts->aof_disk_bytes);
    reply_field_integer(reply, "pending_bytes", facts->aof_pending_bytes);
    reply_field_integer(reply, "sequence", facts->aof_sequence);
    reply_field_integer(reply, "synced_sequence", admin_synced_sequence(facts));
    reply_field_integer(reply, "writes", facts->aof_writes);
    reply_field_integer(reply, "syncs", facts->aof_syncs);
    reply_field_integer(reply, "sync_last_usec", facts->aof_sync_last_us);
    reply_field_integer(reply, "sync_max_usec", facts->aof_sync_max_us);
    reply_field_boolean(reply, "disk_full", facts->disk_full);
}

static void snapshot_reply(struct reply *reply, const struct host_facts *facts)
{
    reply_text(reply, "snapshot");
    reply_map(reply, 7);
    reply_field_boolean(reply, "running", facts->snapshot_running);
    reply_field_boolean(reply, "last_ok", facts->snapshot_last_ok);
    reply_field_integer(reply, "last_time", facts->snapshot_last_ms / 1000);
    reply_field_integer(reply, "last_duration_ms", facts->snapshot_last_duration_ms);
    reply_field_integer(reply, "count", facts->snapshot_count);
    reply_field_integer(reply, "partitions_done", facts->snapshot_groups_done);
    reply_field_integer(reply, "writes_since", facts->writes_since_snapshot);
}
