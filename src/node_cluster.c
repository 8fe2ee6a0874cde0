/*
 * node_cluster.c — from a lone node to a member: the cluster port, the first member, the newcomer,
 * and what is kept of the list of members.
 *
 *   cluster_listen       opens the cluster port; a lone node may do without
 *   cluster_start        a member: Raft over what recovery found, links, forwarding, transfers
 *   node_cluster_begin   a lone node becomes the first member of a cluster
 *   node_joined          a newcomer was welcomed: takes over the cluster's identity and serves
 *   node_members_changed links and meta file follow the list
 *   node_targets         what the list asks for
 *
 * The meta file is the meta group's snapshot: it is written before anything else relies on it.
 *
 * Read next: join.h, consensus.h, coordinator.h.
 */
#include "node.h"

#include "acks.h"
#include "base/assert.h"
#include "base/endian.h"
#include "base/mem.h"
#include "cluster/confchange.h"
#include "consensus.h"
#include "coordinator.h"
#include "forward.h"
#include "gossip.h"
#include "hints.h"
#include "io/io.h"
#include "join.h"
#include "log.h"
#include "moves.h"
#include "network/peers.h"
#include "recovery.h"
#include "transfer.h"
#include "vacancy.h"
#include "version.h"

#include <errno.h>
#include <stdio.h>

enum { DISK_STALL_MS = 2000, CLOCK_DRIFT_PERCENT = 5 };

_Static_assert((int)MEMBERS_GONE_MAX <= (int)PEER_REMOVED_MAX, "all are told");
_Static_assert((int)MEMBERS_BYTES_MAX <= (int)DATA_DIR_MEMBERS_BYTES_MAX,
               "the meta file takes a full list");

/* ── who we are ──────────────────────────────────────────────────────────────────────────────── */

void cluster_self(const struct node *node, struct member *out)
{
    const char *host = config_announce_host(node->config);
    *out = (struct member){
        .number = members_number(node->meta.node_id),
        .incarnation = node->meta.identity,
        .cluster_port = node->peers != NULL ? peers_port(node->peers) : 0,
        .port = node->server != NULL ? node_port(node) : node->config->port,
        .slot_port = node->server != NULL ? node_slot_port(node) : node->config->slot_port,
        .weight = (uint8_t)node->config->weight,
        .state = MEMBER_ACTIVE,
    };
    (void)snprintf(out->id, sizeof(out->id), "%s", node->meta.node_id);
    (void)snprintf(out->host, sizeof(out->host), "%s", host != NULL ? host : "");
    (void)snprintf(out->zone, sizeof(out->zone), "%s", node->config->zone);
}

static bool has_cluster_id(const struct data_dir_meta *meta)
{
    static const uint8_t none[sizeof(meta->cluster_id)];
    return memcmp(meta->cluster_id, none, sizeof(none)) != 0;
}

static void hello_make(const struct node *node, struct peer_hello *out)
{
    struct member self;
    cluster_self(node, &self);
    *out = (struct peer_hello){
        .number = self.number,
        .incarnation = self.incarnation,
        .boot = node->meta.boots,
        .epoch = node->members.epoch,
        .cluster_port = self.cluster_port,
        .port = self.port,
        .slot_port = self.slot_port,
        .weight = self.weight,
    };
    memcpy(out->node, self.id, sizeof(out->node));
    memcpy(out->host, self.host, sizeof(out->host));
    memcpy(out->zone, self.zone, sizeof(out->zone));
    (void)snprintf(out->version, sizeof(out->version), "%s", MINIDB_VERSION);
    for (size_t i = 0; has_cluster_id(&node->meta) && i < sizeof(node->meta.cluster_id); i++) {
        (void)snprintf(out->cluster + 2 * i, 3, "%02x", node->meta.cluster_id[i]);
    }
}

void cluster_say_hello(struct node *node)
{
    struct peer_hello hello;
    if (node->peers != NULL) {
        hello_make(node, &hello);
        peers_set_self(node->peers, &hello);
    }
}

/* ── the cluster port ────────────────────────────────────────────────────────────────────────── */

/* Why a node whose operator said nothing of a cluster does without the port; NULL: it does not. */
static const char *closed_reason(const struct config *config)
{
    if (!config->appendonly) {
        return "nothing is kept on disk (appendonly no)";
    }
    if (config_announce_host(config) == NULL) {
        return "host is a wildcard: set cluster-port and announce-host to let nodes join";
    }
    for (uint32_t i = 0; i < config->host.count; i++) {
        if (!config->insecure && !config_is_loopback(config->host.items[i])) {
            return "other machines could join: set cluster-port to let them";
        }
    }
    bool has_port = config->port == 0 || config_cluster_port(config) != 0;
    return has_port ? NULL : "port + 1000 is no port: set cluster-port to let nodes join";
}

static int listen_on_all(struct node *node, uint16_t port, char *error, size_t error_size)
{
    const struct config *config = node->config;
    for (uint32_t i = 0; i < config->host.count; i++) {
        int status = peers_listen(node->peers, config->host.items[i], port);
        if (status < 0) {
            (void)snprintf(error, error_size, "cannot listen on %s cluster port %u: %s",
                           config->host.items[i], port, strerror(-status));
            return status;
        }
        port = peers_port(node->peers); /* what the kernel chose is the port everywhere */
        log_event(node->log, LOG_INFO, "cluster_listening", LOG_STR("host", config->host.items[i]),
                  LOG_U64("port", port));
    }
    return 0;
}

int cluster_listen(struct node *node, char *error, size_t error_size)
{
    bool is_needed = config_wants_cluster(node->config) || node->meta.is_clustered;
    const char *closed = is_needed ? NULL : closed_reason(node->config);
    if (closed != NULL) {
        log_event(node->log, LOG_INFO, "cluster_port_closed", LOG_STR("reason", closed));
        return 0;
    }
    struct peers_options options = {
        .seed = io_random(node->io),
        .secret = node->config->cluster_secret,
    };
    hello_make(node, &options.self);
    node->peers = peers_new(node->io, &options);
    node->join = join_new();
    int status = listen_on_all(node, config_cluster_port(node->config), error, error_size);
    if (status < 0 && !is_needed) {
        log_event(node->log, LOG_WARN, "cluster_port_closed", LOG_STR("reason", error));
        peers_free(node->peers);
        join_free(node->join);
        node->peers = NULL;
        node->join = NULL;
        error[0] = '\0';
        return 0;
    }
    cluster_say_hello(node); /* with the port that it became */
    return status;
}

/* ── a member's machinery ────────────────────────────────────────────────────────────────────── */

/* Acknowledging what a power loss takes would break what a majority promised; who wants that has
 * to say so. */
void cluster_choose_sync(struct node *node)
{
    struct config *config = node->config;
    if (config->source[CONFIG_ID_appendfsync] == SOURCE_DEFAULT) {
        config->appendfsync = AOF_SYNC_ALWAYS;
    } else if (config->appendfsync != AOF_SYNC_ALWAYS) {
        log_event(node->log, LOG_WARN, "appendfsync_relaxed",
                  LOG_STR("meaning", "a power loss of several nodes at once may take "
                                     "acknowledged writes"));
    }
}

void cluster_dial(struct node *node)
{
    struct peer_member list[MEMBERS_MAX];
    for (uint32_t i = 0; i < node->members.count; i++) {
        const struct member *member = &node->members.items[i];
        struct member now;
        if (coordinator_heard_at(node, member, &now)) {
            member = &now;
        }
        list[i] = (struct peer_member){
            .number = member->number,
            .incarnation = member->incarnation,
            .port = member->cluster_port,
        };
        memcpy(list[i].host, member->host, sizeof(list[i].host));
    }
    peers_set_members(node->peers, list, node->members.count);
    struct peer_removed gone[MEMBERS_GONE_MAX];
    for (uint32_t i = 0; i < node->members.gone_count; i++) {
        gone[i].number = node->members.gone[i].number;
        gone[i].incarnation = node->members.gone[i].incarnation;
    }
    peers_set_removed(node->peers, gone, node->members.gone_count);
}

void cluster_start(struct node *node, const struct replica_log *logs, uint32_t count)
{
    const struct config *config = node->config;
    struct consensus_options options = {
        .cluster = load_u64(node->meta.cluster_id),
        .node = members_number(node->meta.node_id),
        .incarnation = node->meta.identity,
        .boot = node->meta.boots,
        .seed = io_random(node->io),
        .heartbeat_ms = config->heartbeat_ms,
        .election_timeout_ms = config->election_timeout_ms,
        .disk_stall_ms = DISK_STALL_MS,
        .clock_drift_percent = CLOCK_DRIFT_PERCENT,
        .lease_reads = config->strong_reads == STRONG_READS_LEASE,
        .request_timeout_ms = config->request_timeout,
    };
    struct consensus *consensus =
        consensus_new(&node->shard, node->peers, node->log, &options, logs, count);
    node->consensus = consensus;
    node->forward = forward_new(node->peers, consensus, &node->shard.answers, node->log,
                                options.node, options.boot, config->request_timeout);
    forward_set_pipeline(node->forward, &node->pipeline);
    node->transfers =
        transfers_new(&node->shard, node->peers, consensus, &node->members, node->log,
                      node->data_dir != NULL ? config->data_dir : NULL, node->meta.identity);
    transfers_set_rate(node->transfers, (uint64_t)config->migrate_rate << 20);
    node->moves = moves_new(count);
    node->acks = acks_new(options.boot);
    node->hints = hints_new(count - 1);
    node->vacancy = vacancy_new(node->data_dir != NULL ? config->data_dir : NULL, count);
    node->coordinator = coordinator_new(node->members.index, recovery_is_settled(consensus));
    node->gossip = gossip_new(node);
    consensus->forward = node->forward;
    consensus->transfers = node->transfers;
    consensus->members = &node->members;
    node->shard.consensus = consensus;
    node->shard.answers.forward = node->forward;
    cluster_say_hello(node);
    cluster_dial(node);
}

/* ── the list of members ─────────────────────────────────────────────────────────────────────── */

int node_meta_write(struct node *node)
{
    struct buffer bytes = { 0 };
    members_encode(&node->members, &bytes);
    ASSERT(bytes.size <= sizeof(node->meta.members));
    if (node->meta.is_clustered) {
        memcpy(node->meta.members, bytes.data, bytes.size);
        node->meta.members_size = (uint32_t)bytes.size;
    }
    buffer_free(&bytes);
    recovery_stamp(node->io, recovery_is_settled(node->consensus), node->config->appendfsync,
                   &node->meta);
    log_event(node->log, LOG_DEBUG, "meta_writing", LOG_U64("epoch", node->members.epoch));
    int written = data_dir_write(node->data_dir, &node->meta);
    log_event(node->log, LOG_DEBUG, "meta_written", LOG_U64("epoch", node->members.epoch));
    if (written < 0) {
        log_event(node->log, LOG_ERROR, "meta_write_failed", LOG_ERRNO("error", written));
    } else if (node->is_serving) {
        snapshots_members_written(&node->snapshots, node->members.index);
    }
    return written;
}

const struct targets *node_targets(struct node *node)
{
    uint64_t fixed = node->members.settings.values[SETTING_REPLICATION_FACTOR];
    uint32_t factor = fixed != 0 ? (uint32_t)fixed : node->config->replication_factor;
    targets_follow(&node->targets, &node->members, node->meta.partitions, factor);
    return &node->targets;
}

const char *cluster_leave_reason(const struct node *node)
{
    const struct member *self = members_find(&node->members, members_number(node->meta.node_id));
    bool is_told = node->peers != NULL && peers_was_removed(node->peers);
    if (is_told || self == NULL || self->incarnation != node->meta.identity) {
        return "this node was removed from its cluster (CLUSTER FORGET)";
    }
    return self->state == MEMBER_LEFT ? "this node has left its cluster (CLUSTER DRAIN)" : NULL;
}

void cluster_leave_check(struct node *node)
{
    const char *reason = node->is_stopping ? NULL : cluster_leave_reason(node);
    if (UNLIKELY(reason != NULL)) {
        log_event(node->log, LOG_WARN, "left", LOG_STR("meaning", reason));
        node_stop(node);
    }
}

void node_members_changed(struct node *node)
{
    node->members_seen = node->members.epoch;
    cluster_say_hello(node);
    cluster_leave_check(node);
    cluster_dial(node);
    coordinator_hurry(node->coordinator);
    log_event(node->log, LOG_INFO, "members_changed", LOG_U64("epoch", node->members.epoch),
              LOG_U64("members", node->members.count));
}

/* ── the first member ────────────────────────────────────────────────────────────────────────── */

static void config_alone(const struct node *node, struct raft_config *out)
{
    *out = (struct raft_config){ .members_count = 0 };
    bool added =
        raft_config_add(out, members_number(node->meta.node_id), node->meta.identity, RAFT_VOTER);
    ASSERT(added);
}

/* Where a lone node's groups stand is where Raft takes over: all of it is committed. */
static struct replica_log *logs_of_lone(const struct node *node)
{
    const struct shard *shard = &node->shard;
    uint32_t count = shard->keyspace.count + 1;
    struct replica_log *logs = mem_zalloc(count * sizeof(*logs));
    for (uint32_t i = 0; i < count; i++) {
        struct replica_boot *boot = &logs[i].boot;
        boot->term = 1;
        boot->voted_for = members_number(node->meta.node_id);
        config_alone(node, &boot->base.config);
        if (i < shard->keyspace.count) {
            const struct group *group = &shard->groups[i];
            ASSERT(group->applied == group->last_index);
            boot->term = group->term > 0 ? group->term : 1;
            boot->base.index = group->applied;
            boot->base.term = group->applied > 0 ? boot->term : 0;
            boot->commit_index = group->applied;
        }
    }
    return logs;
}

int node_cluster_begin(struct node *node)
{
    ASSERT(node->consensus == NULL);
    ASSERT(node->peers != NULL);
    ASSERT(node->data_dir != NULL);
    ASSERT(!shard_is_busy(&node->shard));
    struct member self;
    cluster_self(node, &self);
    members_found(&node->members, &self);
    node->members.settings.values[SETTING_REPLICATION_FACTOR] = node->config->replication_factor;
    cluster_choose_sync(node);
    aof_set_sync(node->shard.aof,
                 node->config->appendfsync); /* the next sync covers all there is */
    node->meta.is_clustered = true;
    node->meta.clustered_sequence = aof_stats(node->shard.aof).next_sequence;
    int status = node_meta_write(node);
    if (status < 0) {
        node->meta.is_clustered = false; /* the file may say so all the same: that is as good */
        return status;
    }
    struct replica_log *logs = logs_of_lone(node);
    cluster_start(node, logs, node->shard.keyspace.count + 1);
    mem_free(logs);
    log_event(node->log, LOG_INFO, "cluster_begun",
              LOG_U64("partitions", node->shard.keyspace.count));
    return 0;
}

/* ── the newcomer ────────────────────────────────────────────────────────────────────────────── */

int node_joined(struct node *node, const struct join_welcome *welcome)
{
    char error[512] = "";
    memcpy(node->meta.cluster_id, welcome->cluster_id, sizeof(node->meta.cluster_id));
    node->meta.hash_seed = welcome->hash_seed;
    node->meta.partitions = welcome->partitions;
    node->meta.is_clustered = true;
    node->meta.clustered_sequence = 0; /* never was alone */
    node->members = welcome->members;
    int status = node_meta_write(node);
    if (status == 0) {
        node->is_joining = false;
        log_event(node->log, LOG_INFO, "joined", LOG_U64("members", node->members.count),
                  LOG_U64("partitions", welcome->partitions));
        status = node_serve(node, error, sizeof(error));
    }
    if (status < 0) {
        log_event(node->log, LOG_ERROR, "join_failed", LOG_STR("reason", error));
    }
    return status;
}
