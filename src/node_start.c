/*
 * node_start.c — how a node begins: data directory, recovery, joining a cluster, listening.
 *
 *   data directory   locked and read, or made; with --seed and nothing in it: made without a
 *                    cluster id, and the rest follows when the node is welcomed (join.h)
 *   recovery         snapshots and log; what Raft needs of each group
 *   cluster          a member: cluster port, Raft, links.  A lone node: the cluster port
 *   clients          last: whoever can connect is served
 *
 * Read next: recovery.h, node_cluster.c, join.h.
 */
#include "node.h"

#include "base/assert.h"
#include "base/mem.h"
#include "consensus.h"
#include "coordinator.h"
#include "io/io.h"
#include "join.h"
#include "log.h"
#include "recovery.h"
#include "version.h"

#include <errno.h>
#include <stdio.h>

/* is_newcomer: the cluster's id, hash seed and partitions are learned when it is joined. */
static void make_identity(struct node *node, bool is_newcomer)
{
    struct data_dir_meta *meta = &node->meta;
    *meta = (struct data_dir_meta){
        .identity = io_random(node->io) | 1,
        .hash_seed = is_newcomer ? 0 : io_random(node->io),
        .partitions = node->config->partitions,
    };
    (void)snprintf(meta->node_id, sizeof(meta->node_id), "%s", node->config->node_id);
    for (size_t i = 0; !is_newcomer && i < sizeof(meta->cluster_id); i += sizeof(uint64_t)) {
        uint64_t random = io_random(node->io) | 1; /* never all zeros: that is a newcomer's */
        memcpy(meta->cluster_id + i, &random, sizeof(random));
    }
}

static bool is_newcomer(const struct node *node)
{
    static const uint8_t none[sizeof(node->meta.cluster_id)];
    return memcmp(node->meta.cluster_id, none, sizeof(none)) == 0;
}

/* What a directory that was there already must agree on with the options. */
static int check_data_dir(const struct node *node, char *error, size_t error_size)
{
    const struct config *config = node->config;
    const struct data_dir_meta *meta = &node->meta;
    bool has_partitions = config->source[CONFIG_ID_partitions] != SOURCE_DEFAULT;
    bool has_seed = config->seed[0] != '\0';
    if (strcmp(meta->node_id, config->node_id) != 0) {
        (void)snprintf(error, error_size, "%s: belongs to node '%s', not to '%s' (see --node-id)",
                       config->data_dir, meta->node_id, config->node_id);
    } else if (is_newcomer(node) && !has_seed) {
        (void)snprintf(error, error_size,
                       "%s: was made to join a cluster and has not been welcomed yet: start with "
                       "--seed, or remove the directory",
                       config->data_dir);
    } else if (!is_newcomer(node) && has_partitions && meta->partitions != config->partitions) {
        (void)snprintf(error, error_size,
                       "%s: was made with %u partitions, not %u (see --partitions)",
                       config->data_dir, meta->partitions, config->partitions);
    } else if (!is_newcomer(node) && has_seed && !meta->is_clustered) {
        (void)snprintf(error, error_size,
                       "%s: is of a cluster of its own and cannot join another: start without "
                       "--seed, or with an empty directory",
                       config->data_dir);
    } else {
        return 0;
    }
    return -EINVAL;
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
        make_identity(node, node->config->seed[0] != '\0');
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
    return check_data_dir(node, error, error_size);
}

/* This start, on disk before the log goes on. */
static int note_start(struct node *node, const struct recovery_result *result)
{
    struct data_dir_meta *meta = &node->meta;
    meta->boots++;
    meta->clean = false;
    uint64_t segment = aof_stats(node->shard.aof).segment_number;
    meta->aof_segment = segment != 0 ? segment : meta->aof_segment; /* 0: the disk is full */
    node->segment_recorded = meta->aof_segment;
    recovery_stamp(node->io, result->suspects == 0, node->config->appendfsync, meta);
    if (meta->is_clustered) {
        meta->clustered_sequence = result->clustered_sequence;
    }
    return data_dir_write(node->data_dir, meta);
}

static int recover(struct node *node, struct recovery_result *out_result, char *error,
                   size_t error_size)
{
    struct recovery_options options = {
        .dir = node->config->data_dir,
        .salvage = node->config->recover == RECOVER_SALVAGE,
        .sync = node->config->appendfsync,
        .segment_bytes = node->config->aof_segment_size,
        .meta = &node->meta,
    };
    int status =
        recovery_run(node->io, node->log, &options, &node->shard, out_result, error, error_size);
    if (status < 0) {
        return status;
    }
    const struct recovery_result *result = out_result;
    struct kv_stats stats = keyspace_stats(&node->shard.keyspace);
    log_event(node->log, LOG_INFO, "recovered", LOG_U64("keys", stats.keys),
              LOG_U64("snapshots", result->snapshots), LOG_U64("log_records", result->records),
              LOG_U64("damaged_partitions", node->shard.damaged_count),
              LOG_BOOL("clean_stop", node->meta.clean), LOG_U64("took_ms", result->took_ms));
    status = note_start(node, result);
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

static int listen_failed(const char *host, uint16_t port, int status, char *error,
                         size_t error_size)
{
    (void)snprintf(error, error_size, "cannot listen on %s port %u: %s", host, port,
                   strerror(-status));
    return status;
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
            return listen_failed(config->host.items[i], config->port, status, error, error_size);
        }
        log_event(node->log, LOG_INFO, "listening", LOG_STR("host", config->host.items[i]),
                  LOG_U64("port", server_port(node->server)));
    }
    for (uint32_t i = 0; config->slot_port != 0 && i < config->host.count; i++) {
        int status = server_listen_slots(node->server, config->host.items[i], config->slot_port);
        if (status < 0) {
            return listen_failed(config->host.items[i], config->slot_port, status, error,
                                 error_size);
        }
        log_event(node->log, LOG_INFO, "listening_slots", LOG_STR("host", config->host.items[i]),
                  LOG_U64("port", config->slot_port));
    }
    return 0;
}

/* A newcomer listens for clients when it is welcomed.  That it will not be able to is better said
 * before it is a member. */
static int probe_port(struct node *node, uint16_t port, char *error, size_t error_size)
{
    const struct config *config = node->config;
    for (uint32_t i = 0; i < config->host.count; i++) {
        struct io_socket *socket = NULL;
        int status = io_listen(node->io, config->host.items[i], port, NULL, &socket);
        if (status < 0) {
            return listen_failed(config->host.items[i], port, status, error, error_size);
        }
        io_close(node->io, socket);
    }
    return 0;
}

static int probe_clients_ports(struct node *node, char *error, size_t error_size)
{
    const struct config *config = node->config;
    int status = probe_port(node, config->port, error, error_size);
    return status < 0 || config->slot_port == 0
               ? status
               : probe_port(node, config->slot_port, error, error_size);
}

static void make_run_id(struct node *node)
{
    for (size_t i = 0; i < sizeof(node->run_id) - 1; i++) {
        node->run_id[i] = "0123456789abcdef"[io_random(node->io) & 15];
    }
    node->run_id[sizeof(node->run_id) - 1] = '\0';
}

/* A lone node is a list of one.  Who has left a cluster has nothing to serve. */
static int load_members(struct node *node, const struct recovery_result *result, char *error,
                        size_t error_size)
{
    struct member self;
    if (!node->meta.is_clustered) {
        cluster_self(node, &self);
        members_found(&node->members, &self);
        return 0;
    }
    node->members = result->members;
    const char *reason = cluster_leave_reason(node);
    if (reason == NULL) {
        return 0;
    }
    (void)snprintf(error, error_size, "%s: %s: to let it join again, start with an empty directory",
                   node->config->data_dir, reason);
    return -EINVAL;
}

int node_serve(struct node *node, char *error, size_t error_size)
{
    const struct config *config = node->config;
    struct recovery_result result = { .records = 0 };
    meter_init(&node->meter, config->slowlog_log_slower_than, config->slowlog_max_len,
               config->latency_monitor_threshold);
    shard_init(&node->shard, node->io, node->meta.partitions, node->meta.hash_seed, &node->meter);
    node->has_shard = true;
    if (node->meta.is_clustered) {
        cluster_choose_sync(node);
    }
    int status =
        node->data_dir != NULL ? recover(node, &result, error, error_size) : open_memory(node);
    if (status == 0 && node->peers == NULL) {
        status = cluster_listen(node, error, error_size);
    }
    if (status == 0) {
        status = load_members(node, &result, error, error_size);
    }
    bool is_member = status == 0 && node->meta.is_clustered;
    if (is_member) {
        cluster_start(node, result.logs, result.logs_count);
        recovery_logs_free(&result);
    } else {
        recovery_logs_drop(&result);
    }
    if (status == 0) {
        status = listen_all(node, error, error_size);
    }
    if (status < 0) {
        return status;
    }
    cluster_say_hello(node); /* with the client port */
    snapshots_init(&node->snapshots, &node->shard, node->log,
                   node->data_dir != NULL ? config->data_dir : NULL, node->meta.identity,
                   config->snapshot_log_size);
    snapshots_members_written(&node->snapshots, node->members.index);
    pipeline_init(&node->pipeline, node);
    host_init(node);
    node_sample_memory(node);
    node->is_serving = true;
    log_event(node->log, LOG_INFO, "ready", LOG_STR("node_id", node->meta.node_id),
              LOG_U64("members", node->members.count),
              LOG_U64("took_ms", io_wall_ms(node->io) - node->started_ms));
    return 0;
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
        make_identity(node, /* is_newcomer= */ false);
        log_event(log, LOG_WARN, "no_persistence",
                  LOG_STR("meaning", "all data is gone when this process ends"));
    }
    if (status < 0) {
        return status;
    }
    if (!is_newcomer(node)) {
        return node_serve(node, error, error_size);
    }
    node->is_joining = true;
    log_event(log, LOG_INFO, "joining", LOG_STR("seed", config->seed));
    status = probe_clients_ports(node, error, error_size);
    return status < 0 ? status : cluster_listen(node, error, error_size);
}
