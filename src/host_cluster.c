/*
 * host_cluster.c — the cluster as admin commands see it: members, partitions, and moving
 * leadership.
 *
 * Of groups it leads this node knows everything; of the others what their leaders tell it: who
 * leads, and up to where they are committed.
 *
 * Read next: host.c, coordinator.h.
 */
#include "base/assert.h"
#include "consensus.h"
#include "coordinator.h"
#include "forward.h"
#include "gossip.h"
#include "hints.h"
#include "log.h"
#include "network/peers.h"
#include "node.h"
#include "transfer.h"
#include "version.h"

#include <stdio.h>

static struct node *node_of(struct host *host)
{
    return host->node;
}

/* ── members ─────────────────────────────────────────────────────────────────────────────────── */

static uint32_t host_member_count(struct host *host)
{
    return node_of(host)->members.count;
}

static int32_t position_of(const struct node *node, uint64_t number)
{
    for (uint32_t i = 0; i < node->members.count; i++) {
        if (node->members.items[i].number == number) {
            return (int32_t)i;
        }
    }
    return -1;
}

static uint32_t groups_led_by(const struct node *node, uint64_t number)
{
    uint32_t led = 0;
    for (uint32_t i = 0; i < node->shard.keyspace.count; i++) {
        led += node->consensus->replicas[i]->leader == number;
    }
    return led;
}

/* [fd00::1]:7001, 10.0.0.1:7001. */
static void address_write(const char *host, uint16_t port, char *out, size_t size)
{
    bool is_v6 = strchr(host, ':') != NULL;
    (void)snprintf(out, size, is_v6 ? "[%.45s]:%u" : "%.45s:%u", host, port);
}

/* This node, which needs no list to know itself. */
static void member_self(const struct node *node, struct host_member *out)
{
    struct member self;
    cluster_self(node, &self);
    const char *host = self.host[0] != '\0' ? self.host : node->config->host.items[0];
    out->is_self = true;
    out->version = MINIDB_VERSION;
    out->uptime_s = (node->shard.now_ms - node->started_ms) / 1000;
    out->cluster_port = self.cluster_port;
    memcpy(out->zone, self.zone, sizeof(out->zone));
    address_write(host, self.port, out->address, sizeof(out->address));
    memcpy(out->host, self.host, sizeof(out->host));
    out->port = self.port;
    out->slot_port = self.slot_port;
}

static uint32_t groups_held_by(const struct node *node, uint64_t number)
{
    uint32_t held = 0;
    if (node->consensus == NULL) {
        return node->shard.keyspace.count;
    }
    if (number != node->consensus->options.node) {
        return hints_held(node->hints, number).partitions;
    }
    for (uint32_t i = 0; i < node->shard.keyspace.count; i++) {
        held += !replica_is_empty(node->consensus->replicas[i]);
    }
    return held;
}

static void host_member(struct host *host, uint32_t at, struct host_member *out)
{
    struct node *node = node_of(host);
    ASSERT(at < node->members.count);
    const struct member *member = &node->members.items[at];
    bool is_member = node->consensus != NULL;
    bool has_left = member->state == MEMBER_LEFT;
    uint64_t leader =
        is_member ? consensus_replica(node->consensus, GROUP_META)->leader : member->number;
    *out = (struct host_member){
        .role = member->number == leader ? "leader" : "follower",
        .state =
            has_left ? "LEFT" : coordinator_state_name(coordinator_state(node, member->number)),
        .membership = member_state_name(member->state),
        .weight = member->weight,
        .version = coordinator_version(node, member->number),
        .number = member->number,
        .port = member->port,
        .slot_port = member->slot_port,
        .cluster_port = member->cluster_port,
        .partitions_led =
            is_member ? groups_led_by(node, member->number) : node->shard.keyspace.count,
        .partitions_held = groups_held_by(node, member->number),
        .virtual_nodes = node_targets(node)->virtual_nodes[at],
        .uptime_s = coordinator_alive_ms(node, member->number) / 1000,
    };
    memcpy(out->id, member->id, sizeof(out->id));
    memcpy(out->zone, member->zone, sizeof(out->zone));
    memcpy(out->host, member->host, sizeof(out->host));
    address_write(member->host, member->port, out->address, sizeof(out->address));
    if (strcmp(member->id, node->meta.node_id) == 0) {
        member_self(node, out);
    }
}

static uint32_t host_ring_count(struct host *host)
{
    return node_targets(node_of(host))->points_count;
}

static void host_ring_point(struct host *host, uint32_t at, struct host_ring_point *out)
{
    const struct targets *targets = node_targets(node_of(host));
    ASSERT(at < targets->points_count);
    *out = (struct host_ring_point){
        .position = targets->points[at].position,
        .member = targets->points[at].member,
    };
}

/* ── partitions ──────────────────────────────────────────────────────────────────────────────── */

static void lone_partition(const struct node *node, uint32_t partition, struct host_partition *out)
{
    const struct group *group = &node->shard.groups[partition == HOST_META ? 0 : partition];
    *out = (struct host_partition){
        .state = group->is_damaged ? "DAMAGED" : "OK",
        .leader = 0,
        .term = group->term,
        .first_index = group->snapshot_index_before + 1,
        .last_index = group->last_index,
        .replica_count = 1,
        .replicas = { { .member = 0, .applied_index = group->applied } },
    };
}

/* It holds something that does not count.  (Who was vacated holds nothing.) */
static bool is_doubtful(const struct replica *replica)
{
    return raft_is_suspect(replica->raft) && !replica->is_vacated;
}

static const char *state_of(const struct replica *replica)
{
    if (replica->leader == 0) {
        return "NOQUORUM";
    }
    return replica->is_fetching ? "LOADING" : is_doubtful(replica) ? "SUSPECT" : "OK";
}

/* Adds a member of the group; what is known of it. */
static void replica_add(const struct node *node, const struct replica *replica,
                        const struct raft_member *member, struct host_partition *out)
{
    int32_t at = position_of(node, member->node);
    struct raft_peer_view view = { .match = 0 };
    if (at < 0 || out->replica_count == HOST_REPLICAS_MAX) {
        return; /* it is leaving */
    }
    bool is_self = member->node == node->consensus->options.node;
    bool is_leader = member->node == replica->leader;
    bool is_known = is_self || raft_peer(replica->raft, member->node, &view);
    uint64_t matched = view.match < replica->commit_index ? view.match : replica->commit_index;
    uint32_t place = out->replica_count++;
    out->replicas[place].member = (uint32_t)at;
    out->replicas[place].is_learner = (member->roles & RAFT_LEARNER) != 0;
    out->replicas[place].is_unknown = !is_known && !is_leader;
    out->replicas[place].applied_index = is_self    ? replica->applied
                                         : is_known ? matched
                                                    : replica->commit_index;
}

static void host_partition(struct host *host, uint32_t partition, struct host_partition *out)
{
    const struct node *node = node_of(host);
    if (node->consensus == NULL) {
        lone_partition(node, partition, out);
        return;
    }
    const struct replica *replica =
        consensus_replica(node->consensus, partition == HOST_META ? GROUP_META : partition);
    uint64_t at = 0;
    const struct raft_config *config = raft_config(replica->raft, &at);
    const struct hint *hint = hints_of(node->hints, partition);
    if (replica->is_vacant) { /* what its leader says, if it has said anything */
        static const struct raft_config unknown;
        config = hint != NULL ? &hint->members : &unknown;
    }
    *out = (struct host_partition){
        .state = state_of(replica),
        .leader = position_of(node, replica->leader),
        .term = replica->term,
        .first_index = raft_first_index(replica->raft),
        .last_index = raft_last_index(replica->raft),
    };
    for (uint32_t i = 0; i < config->members_count; i++) {
        replica_add(node, replica, &config->members[i], out);
    }
}

/* ── facts ───────────────────────────────────────────────────────────────────────────────────── */

static uint64_t follower_lag(const struct replica *replica, uint64_t self)
{
    uint64_t at = 0;
    uint64_t most = 0;
    const struct raft_config *config = raft_config(replica->raft, &at);
    uint64_t last = raft_last_index(replica->raft);
    for (uint32_t i = 0; replica_is_leader(replica) && i < config->members_count; i++) {
        struct raft_peer_view view;
        bool is_peer = config->members[i].node != self &&
                       raft_peer(replica->raft, config->members[i].node, &view);
        uint64_t lag = is_peer && last > view.match ? last - view.match : 0;
        most = lag > most ? lag : most;
    }
    return most;
}

static void facts_of_groups(const struct node *node, struct host_facts *out)
{
    const struct consensus *consensus = node->consensus;
    out->raft_groups = consensus->count;
    out->raft_groups_led = consensus->leaders_count;
    out->raft_elections = consensus->elections;
    out->raft_leader_changes = consensus->leader_changes;
    for (uint32_t i = 0; i < consensus->count; i++) {
        const struct replica *replica = consensus->replicas[i];
        uint64_t lag = follower_lag(replica, consensus->options.node);
        out->term = replica->term > out->term ? replica->term : out->term;
        out->raft_suspects += is_doubtful(replica);
        out->raft_apply_lag += replica->commit_index - replica->applied;
        out->raft_commit_lag += raft_last_index(replica->raft) - replica->commit_index;
        out->raft_follower_lag = lag > out->raft_follower_lag ? lag : out->raft_follower_lag;
    }
}

static void facts_of_gossip(const struct node *node, struct host_facts *out)
{
    struct gossip_stats all = gossip_stats(node->gossip);
    const struct membership_stats *stats = &all.membership;
    out->gossip_incarnation = stats->incarnation;
    out->gossip_health = stats->health;
    out->gossip_probes = stats->probes;
    out->gossip_probes_indirect = stats->probes_indirect;
    out->gossip_probes_failed = stats->probes_failed;
    out->gossip_refutations = stats->refutations;
    out->gossip_late_steps = stats->late_steps;
    out->gossip_packets_in = stats->packets_in;
    out->gossip_packets_out = stats->packets_out;
    out->gossip_dropped[HOST_GOSSIP_KEY] = all.dropped_key;
    out->gossip_dropped[HOST_GOSSIP_MALFORMED] = stats->drops[MEMBERSHIP_DROP_MALFORMED];
    out->gossip_dropped[HOST_GOSSIP_CLUSTER] = stats->drops[MEMBERSHIP_DROP_CLUSTER];
    out->gossip_dropped[HOST_GOSSIP_TARGET] = stats->drops[MEMBERSHIP_DROP_TARGET];
    out->gossip_dropped[HOST_GOSSIP_STRANGER] = stats->drops[MEMBERSHIP_DROP_STRANGER];
    out->gossip_dropped[HOST_GOSSIP_IDENTITY] = stats->drops[MEMBERSHIP_DROP_IDENTITY];
    out->gossip_dropped[HOST_GOSSIP_STALE] = stats->drops[MEMBERSHIP_DROP_STALE];
    out->gossip_dropped[HOST_GOSSIP_REPLAYED] = stats->drops[MEMBERSHIP_DROP_REPLAYED];
}

void host_cluster_facts(const struct node *node, struct host_facts *out)
{
    if (node->peers != NULL) {
        const struct peers_stats *stats = peers_stats(node->peers);
        out->cluster_links = stats->links_up;
        out->cluster_bytes_in = stats->bytes_in;
        out->cluster_bytes_out = stats->bytes_out;
    }
    if (node->consensus == NULL) {
        out->raft_groups = node->shard.keyspace.count;
        out->raft_groups_led = node->shard.keyspace.count;
        out->term = 1;
        return;
    }
    facts_of_groups(node, out);
    facts_of_gossip(node, out);
    struct forward_stats forward = forward_stats(node->forward);
    out->forward_sent = forward.sent;
    out->forward_answered = forward.answered;
    out->forward_repeated = forward.repeated;
    out->forward_expired = forward.expired;
    out->forward_waiting = forward.waiting + forward.under_way;
    struct transfer_stats transfers = transfers_stats(node->transfers);
    out->transfers_fetched = transfers.fetched;
    out->transfers_sent = transfers.sent;
    out->transfers_failed = transfers.failed;
    out->transfers_running = transfers.fetching + transfers.sending;
}

/* ── by hand ─────────────────────────────────────────────────────────────────────────────────── */

static enum host_failover host_failover(struct host *host, uint32_t partition, int32_t member)
{
    struct node *node = node_of(host);
    uint32_t group = partition == HOST_META  ? (uint32_t)GROUP_META
                     : partition == HOST_ALL ? UINT32_MAX
                                             : partition;
    uint64_t target = member < 0 ? 0 : node->members.items[member].number;
    switch (coordinator_failover(node, group, target)) {
    case FAILOVER_OK:
        return HOST_FAILOVER_OK;
    case FAILOVER_NOT_LEADER:
        return HOST_FAILOVER_NOT_LEADER;
    case FAILOVER_NO_TARGET:
        return HOST_FAILOVER_NO_TARGET;
    case FAILOVER_LONE:
        return HOST_FAILOVER_LONE;
    }
    UNREACHABLE();
}

void host_cluster_init(struct host *host)
{
    host->member_count = host_member_count;
    host->member = host_member;
    host->partition = host_partition;
    host->ring_count = host_ring_count;
    host->ring_point = host_ring_point;
    host->failover = host_failover;
    host_membership_init(host);
}
