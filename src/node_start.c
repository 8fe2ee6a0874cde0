/*
 * node_start.c — how a node begins: data directory, recovery, joining a cluster, listening.
 */
#include "node.h"

#include "base/assert.h"
#include "io/io.h"
#include "log.h"
#include "recovery.h"
#include "version.h"

#include <errno.h>
#include <stdio.h>

static void make_identity(struct node *node)
{
    struct data_dir_meta *meta = &node->meta;
    *meta = (struct data_dir_meta){
        .identity = io_random(node->io) | 1,
        .hash_seed = io_random(node->io),
        .partitions = node->config->partitions,
    };
    (void)snprintf(meta->node_id, sizeof(meta->node_id), "%s", node->config->node_id);
    for (size_t i = 0; i < sizeof(meta->cluster_id); i += sizeof(uint64_t)) {
        uint64_t random = io_random(node->io);
        memcpy(meta->cluster_id + i, &random, sizeof(random));
    }
}

/* Locks and reads the data directory, or makes it. */
static int open_data_dir(struct node *node, char *error, size_t error_size)
{
    const char *path = node->config->data_dir;
    char detail[256] = "";
    enum data_dir_result result = data_dir_open(node->io, path, /* read_only= */ false, &node->meta,
                                                &node->data_dir, detail, sizeof(detail));
    switch (result) {
    case DATA_DIR_NEW: {
        /* Before any data file: files without an identity would be refused for ever. */
        make_identity(node);
        int written = data_dir_write(node->data_dir, &node->meta);
        if (written < 0) {
            (void)snprintf(error, error_size, "%s: cannot write: %s", path, strerror(-written));
        }
        return written;
    }
    case DATA_DIR_EXISTING:
        break;
    case DATA_DIR_LOCKED:
        (void)snprintf(error, error_size, "%s: another process uses this data directory", path);
        return -EBUSY;
    case DATA_DIR_DAMAGED:
    case DATA_DIR_TOO_NEW:
    case DATA_DIR_ERROR:
        (void)snprintf(error, error_size, "%s: %s", path, detail);
        return -EINVAL;
    }
    if (strcmp(node->meta.node_id, node->config->node_id) != 0) {
        (void)snprintf(error, error_size, "%s: belongs to node '%s', not to '%s' (see --node-id)",
                       path, node->meta.node_id, node->config->node_id);
        return -EINVAL;
    }
    if (node->meta.partitions != node->config->partitions) {
        (void)snprintf(error, error_size,
                       "%s: was made with %u partitions, not %u (see --partitions)", path,
                       node->meta.partitions, node->config->partitions);
        return -EINVAL;
    }
    return 0;
}

static int recover(struct node *node, char *error, size_t error_size)
{
    struct recovery_options options = {
        .dir = node->config->data_dir,
        .salvage = node->config->recover == RECOVER_SALVAGE,
        .sync = node->config->appendfsync,
        .segment_bytes = node->config->aof_segment_size,
        .meta = &node->meta,
    };
    struct recovery_result result;
    int status =
        recovery_run(node->io, node->log, &options, &node->shard, &result, error, error_size);
    if (status < 0) {
        return status;
    }
    struct kv_stats stats = keyspace_stats(&node->shard.keyspace);
    log_event(node->log, LOG_INFO, "recovered", LOG_U64("keys", stats.keys),
              LOG_U64("snapshots", result.snapshots), LOG_U64("log_records", result.records),
              LOG_U64("damaged_partitions", node->shard.damaged_count),
              LOG_BOOL("clean_stop", node->meta.clean), LOG_U64("took_ms", result.took_ms));
    node->meta.boots++;
    node->meta.clean = false;
    node->meta.aof_segment = aof_stats(node->shard.aof).segment_number;
    node->segment_recorded = node->meta.aof_segment;
    status = data_dir_write(node->data_dir, &node->meta);
    if (status < 0) {
        (void)snprintf(error, error_size, "%s: cannot write: %s", node->config->data_dir,
                       strerror(-status));
    }
    return status;
}

/* Without persistence the log lives in memory: written and durable are the same. */
static int open_memory(struct node *node)
{
    struct aof_options options = { .sync = AOF_SYNC_NO, .next_sequence = 1, .next_segment = 1 };
    return aof_open(node->io, &options, &node->shard.aof);
}

static int listen_all(struct node *node, char *error, size_t error_size)
{
    const struct config *config = node->config;
    struct server_options options = {
        .clients_max = config->maxclients,
        .now_ms = node->shard.now_ms,
        .auth_required = config->requirepass[0] != '\0',
        .output_limit_bytes = config->client_output_limit,
        .idle_timeout_s = config->timeout,
    };
    uint32_t limit = io_connections_limit(node->io, config->maxclients);
    if (limit < config->maxclients) {
        options.clients_max = limit;
        log_event(node->log, LOG_WARN, "maxclients_reduced", LOG_U64("wanted", config->maxclients),
                  LOG_U64("maxclients", limit), LOG_STR("reason", "descriptor limit (ulimit -n)"));
    }
    node->server = server_new(node->io, &options);
    for (uint32_t i = 0; i < config->host.count; i++) {
        int status = server_listen(node->server, config->host.items[i], config->port);
        if (status < 0) {
            (void)snprintf(error, error_size, "cannot listen on %s port %u: %s",
                           config->host.items[i], config->port, strerror(-status));
            return status;
        }
        log_event(node->log, LOG_INFO, "listening", LOG_STR("host", config->host.items[i]),
                  LOG_U64("port", server_port(node->server)));
    }
    return 0;
}

static void make_run_id(struct node *node)
{
    for (size_t i = 0; i < sizeof(node->run_id) - 1; i++) {
        node->run_id[i] = "0123456789abcdef"[io_random(node->io) & 15];
    }
    node->run_id[sizeof(node->run_id) - 1] = '\0';
}

int node_start(struct node *node, struct config *config, struct io *io, struct log *log,
               char *error, size_t error_size)
{
    *node = (struct node){ .config = config, .io = io, .log = log, .is_expiry_active = true };
    node->started_ms = io_wall_ms(io);
    make_run_id(node);
    log_event(log, LOG_INFO, "starting", LOG_STR("version", MINIDB_VERSION),
              LOG_STR("node_id", config->node_id), LOG_STR("data_dir", config->data_dir),
              LOG_STR("io", io_backend_name(io)));
    int status = 0;
    if (config->appendonly) {
        status = open_data_dir(node, error, error_size);
    } else {
        make_identity(node);
        log_event(log, LOG_WARN, "no_persistence",
                  LOG_STR("meaning", "all data is gone when this process ends"));
    }
    if (status < 0) {
        return status;
    }
    meter_init(&node->meter, config->slowlog_log_slower_than, config->slowlog_max_len,
               config->latency_monitor_threshold);
    shard_init(&node->shard, io, config->partitions, node->meta.hash_seed, &node->meter);
    node->has_shard = true;
    status = config->appendonly ? recover(node, error, error_size) : open_memory(node);
    if (status == 0) {
        status = listen_all(node, error, error_size);
    }
    if (status < 0) {
        return status;
    }
    snapshots_init(&node->snapshots, &node->shard, log,
                   config->appendonly ? config->data_dir : NULL, node->meta.identity,
                   config->snapshot_log_size);
    pipeline_init(&node->pipeline, node);
    host_init(node);
    node_sample_memory(node);
    node->is_serving = true;
    log_event(log, LOG_INFO, "ready", LOG_U64("took_ms", io_wall_ms(io) - node->started_ms));
    return 0;
}
