/*
 * cmd_cluster.c — the cluster as this node sees it: NODES, LEADER, ROUTE, REPLICAS, SHARDS, RING;
 * and FAILOVER.
 *
 * All of it is read through host.h, where a lone node is a cluster of one.  Who belongs to it is
 * changed in cmd_membership.c; the rest of CLUSTER is for cluster-aware clients: cmd_slots.c.
 */
#include "base/assert.h"
#include "base/text.h"
#include "command/admin.h"

#include <stdio.h>

static struct host_member member_at(struct host *host, uint32_t at);
static struct host_partition partition_at(struct host *host, uint32_t partition);
static void leader_reply(struct reply *reply, struct host *host,
                         const struct host_partition *partition);
static void replicas_reply(struct reply *reply, struct host *host,
                           const struct host_partition *partition);
static void shard_reply(struct reply *reply, struct host *host, uint32_t at);
static bool failover_target(struct command_ctx *ctx, uint32_t *out_partition, int32_t *out_member);
static void led_elsewhere_reply(struct reply *reply, struct host *host, uint32_t partition,
                                const char *what);

void nodes_command(struct command_ctx *ctx)
{
    struct reply *reply = ctx->reply;
    struct host *host = ctx->host;
    uint32_t count = host->member_count(host);
    reply_array(reply, count);
    for (uint32_t i = 0; i < count; i++) {
        struct host_member member = member_at(host, i);
        reply_map(reply, 13);
        reply_field_text(reply, "id", member.id);
        reply_field_text(reply, "address", member.address);
        reply_field_integer(reply, "cluster_port", member.cluster_port);
        reply_field_text(reply, "role", member.role);
        reply_field_text(reply, "state", member.state);
        reply_field_text(reply, "membership", member.membership);
        reply_field_text(reply, "zone", member.zone);
        reply_field_integer(reply, "weight", member.weight);
        reply_field_integer(reply, "partitions_led", member.partitions_led);
        reply_field_integer(reply, "partitions_held", member.partitions_held);
        reply_field_text(reply, "version", member.version);
        reply_field_integer(reply, "uptime_seconds", member.uptime_s);
        reply_field_boolean(reply, "self", member.is_self);
    }
}

/* LEADER [key]: of the cluster (the meta group), or of the key's partition. */
void leader_command(struct command_ctx *ctx)
{
    struct host *host = ctx->host;
    uint32_t at = ctx->argc == 2 ? keyspace_partition(host->keyspace, ctx->argv[1]) : HOST_META;
    if (ctx->argc > 2) {
        command_reply_arity(ctx->reply, ctx->command);
        return;
    }
    struct host_partition partition = partition_at(host, at);
    reply_map(ctx->reply, ctx->argc == 2 ? 4 : 3);
    leader_reply(ctx->reply, host, &partition);
    reply_field_integer(ctx->reply, "term", partition.term);
    if (ctx->argc == 2) {
        reply_field_integer(ctx->reply, "partition", at);
    }
}

/* ROUTE key: where a key lives. */
void route_command(struct command_ctx *ctx)
{
    struct host *host = ctx->host;
    uint32_t at = keyspace_partition(host->keyspace, ctx->argv[1]);
    struct host_partition partition = partition_at(host, at);
    reply_map(ctx->reply, 6);
    reply_field_integer(ctx->reply, "slot", hash_slot(ctx->argv[1]));
    reply_field_integer(ctx->reply, "partition", at);
    leader_reply(ctx->reply, host, &partition);
    reply_field_text(ctx->reply, "state", partition.state);
    reply_text(ctx->reply, "replicas");
    reply_array(ctx->reply, partition.replica_count);
    for (uint32_t i = 0; i < partition.replica_count; i++) {
        reply_text(ctx->reply, member_at(host, partition.replicas[i].member).id);
    }
}

/* REPLICAS key: who holds a key, and how far each has applied the log. */
void replicas_command(struct command_ctx *ctx)
{
    uint32_t at = keyspace_partition(ctx->host->keyspace, ctx->argv[1]);
    struct host_partition partition = partition_at(ctx->host, at);
    replicas_reply(ctx->reply, ctx->host, &partition);
}

/* SHARDS: every partition. */
void shards_command(struct command_ctx *ctx)
{
    struct host *host = ctx->host;
    reply_array(ctx->reply, host->keyspace->count);
    for (uint32_t at = 0; at < host->keyspace->count; at++) {
        shard_reply(ctx->reply, host, at);
    }
}

/* RING [points]: the share of each node, and the first points of the ring. */
void ring_command(struct command_ctx *ctx)
{
    struct reply *reply = ctx->reply;
    struct host *host = ctx->host;
    uint32_t points = host->ring_count(host);
    int64_t wanted = 0;
    if (ctx->argc > 2) {
        command_reply_arity(reply, ctx->command);
        return;
    }
    if (ctx->argc == 2 && (!text_to_i64(ctx->argv[1], &wanted) || wanted < 0)) {
        reply_not_an_integer(reply);
        return;
    }
    uint32_t shown = wanted < points ? (uint32_t)wanted : points;
    uint32_t members = host->member_count(host);
    reply_map(reply, 3);
    reply_field_integer(reply, "points_count", points);
    reply_text(reply, "nodes");
    reply_array(reply, members);
    for (uint32_t i = 0; i < members; i++) {
        struct host_member member = member_at(host, i);
        reply_map(reply, 4);
        reply_field_text(reply, "id", member.id);
        reply_field_integer(reply, "virtual_nodes", member.virtual_nodes);
        reply_field_integer(reply, "partitions_led", member.partitions_led);
        reply_field_double(reply, "share",
                           (double)member.partitions_led / (double)host->keyspace->count);
    }
    reply_text(reply, "points");
    reply_array(reply, shown);
    for (uint32_t i = 0; i < shown; i++) {
        struct host_ring_point point = { 0, 0 };
        char position[24];
        host->ring_point(host, i, &point);
        reply_array(reply, 2);
        /* Positions use all 64 bits: as text, so that no client rounds them. */
        reply_bulk(reply, slice_make(position, text_from_u64(point.position, position)));
        reply_text(reply, member_at(host, point.member).id);
    }
}

/* ── by hand ─────────────────────────────────────────────────────────────────────────────────── */

int32_t admin_member_find(struct host *host, struct slice id)
{
    for (uint32_t i = 0; i < host->member_count(host); i++) {
        struct host_member member = member_at(host, i);
        char slot_id[ADMIN_SLOT_ID_BYTES];
        admin_slot_id(member.number, slot_id);
        if (slice_equal(id, slice_from(member.id)) || slice_equal(id, slice_from(slot_id))) {
            return (int32_t)i;
        }
    }
    return -1;
}

/* FAILOVER [node | partition | META]: this node hands over all it leads (to that node), or one
 * partition. */
void failover_command(struct command_ctx *ctx)
{
    struct host *host = ctx->host;
    struct reply *reply = ctx->reply;
    uint32_t partition = HOST_ALL;
    int32_t member = -1;
    char what[48] = "the cluster";
    if (ctx->argc > 2) {
        reply_syntax_error(reply);
        return;
    }
    if (admin_word(ctx, 1, "abort")) {
        reply_error(reply, "ERR No failover in progress.");
        return;
    }
    if (ctx->argc == 2 && !failover_target(ctx, &partition, &member)) {
        return;
    }
    if (partition < HOST_ALL) { /* HOST_META is above it */
        (void)snprintf(what, sizeof(what), "partition %u", partition);
    }
    switch (host->failover(host, partition, member)) {
    case HOST_FAILOVER_OK:
        reply_ok(reply);
        break;
    case HOST_FAILOVER_NOT_LEADER:
        if (partition == HOST_ALL) {
            reply_error(reply, "ERR this node leads nothing");
        } else {
            led_elsewhere_reply(reply, host, partition, what);
        }
        break;
    case HOST_FAILOVER_NO_TARGET:
        reply_error(reply, "ERR no replica can take over right now: none answers and has caught "
                           "up");
        break;
    case HOST_FAILOVER_LONE:
        reply_error(reply, "ERR FAILOVER requires connected replicas.");
        break;
    }
}

/* Who leads a partition (`what`), for somebody who has asked the wrong node. */
static void led_elsewhere_reply(struct reply *reply, struct host *host, uint32_t partition,
                                const char *what)
{
    struct host_partition found = partition_at(host, partition);
    if (found.leader < 0) {
        reply_errorf(reply, "ERR %s has no leader right now", what);
        return;
    }
    struct host_member leader = member_at(host, (uint32_t)found.leader);
    reply_errorf(reply, "ERR %s is led by %s (%s): ask there", what, leader.id, leader.address);
}

/* What FAILOVER names; false when it is nothing, and an error has been written. */
static bool failover_target(struct command_ctx *ctx, uint32_t *out_partition, int32_t *out_member)
{
    struct host *host = ctx->host;
    int64_t number = 0;
    int32_t at = admin_member_find(host, ctx->argv[1]);
    if (admin_word(ctx, 1, "meta")) {
        *out_partition = HOST_META;
    } else if (at >= 0) {
        /* All that this node leads goes there; "there" being here, it goes to whoever is best. */
        *out_member = member_at(host, (uint32_t)at).is_self ? -1 : at;
    } else if (text_to_i64(ctx->argv[1], &number) && number >= 0 &&
               number < host->keyspace->count) {
        *out_partition = (uint32_t)number;
    } else {
        reply_errorf(ctx->reply, "ERR '%.*s' is neither a node nor a partition",
                     ADMIN_QUOTED(ctx->argv[1]));
        return false;
    }
    return true;
}

static struct host_member member_at(struct host *host, uint32_t at)
{
    struct host_member member = { .is_self = false };
    ASSERT(at < host->member_count(host));
    host->member(host, at, &member);
    return member;
}

static struct host_partition partition_at(struct host *host, uint32_t partition)
{
    struct host_partition found = { .leader = -1 };
    ASSERT(partition < host->keyspace->count || partition == HOST_META);
    host->partition(host, partition, &found);
    ASSERT(found.replica_count <= HOST_REPLICAS_MAX);
    return found;
}

/* Two members of a map. */
static void leader_reply(struct reply *reply, struct host *host,
                         const struct host_partition *partition)
{
    if (partition->leader < 0) {
        reply_text(reply, "leader");
        reply_null(reply);
        reply_text(reply, "address");
        reply_null(reply);
        return;
    }
    struct host_member leader = member_at(host, (uint32_t)partition->leader);
    reply_field_text(reply, "leader", leader.id);
    reply_field_text(reply, "address", leader.address);
}

static void replicas_reply(struct reply *reply, struct host *host,
                           const struct host_partition *partition)
{
    reply_array(reply, partition->replica_count);
    for (uint32_t i = 0; i < partition->replica_count; i++) {
        uint32_t at = partition->replicas[i].member;
        struct host_member member = member_at(host, at);
        bool is_leader = partition->leader >= 0 && (uint32_t)partition->leader == at;
        uint64_t applied = partition->replicas[i].applied_index;
        reply_map(reply, 6);
        reply_field_text(reply, "id", member.id);
        reply_field_text(reply, "address", member.address);
        reply_field_text(reply, "role",
                         is_leader                           ? "leader"
                         : partition->replicas[i].is_learner ? "learner"
                                                             : "follower");
        reply_field_text(reply, "state", member.state);
        if (partition->replicas[i].is_unknown) { /* ask the leader */
            reply_text(reply, "applied_index");
            reply_null(reply);
            reply_text(reply, "lag");
            reply_null(reply);
            continue;
        }
        reply_field_integer(reply, "applied_index", applied);
        reply_field_integer(reply, "lag",
                            partition->last_index > applied ? partition->last_index - applied : 0);
    }
}

static void shard_reply(struct reply *reply, struct host *host, uint32_t at)
{
    const struct kv_stats *kv = kv_stats(host->keyspace->partitions[at]);
    struct host_partition partition = partition_at(host, at);
    uint32_t shift = host->keyspace->slot_shift;
    reply_map(reply, 11);
    reply_field_integer(reply, "partition", at);
    reply_text(reply, "slots");
    reply_array(reply, 2);
    reply_integer(reply, (int64_t)(at << shift));
    reply_integer(reply, (int64_t)((at + 1) << shift) - 1);
    leader_reply(reply, host, &partition);
    reply_field_text(reply, "state", partition.state);
    reply_text(reply, "replicas");
    replicas_reply(reply, host, &partition);
    reply_field_integer(reply, "keys", kv->keys);
    reply_field_integer(reply, "bytes", kv->memory_bytes);
    reply_field_integer(reply, "term", partition.term);
    reply_field_integer(reply, "first_index", partition.first_index);
    reply_field_integer(reply, "last_index", partition.last_index);
}
