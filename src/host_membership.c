/*
 * host_membership.c — admin commands that change who belongs to the cluster, or what all agree on.
 *
 * Each is a proposal to the meta group, made by its leader: other nodes pass the command on to it
 * (COMMAND_WAIT_LEADER).  What is unsafe is refused here, where there is somebody to tell; the
 * state machine (members.h) refuses it once more, in the order of the log.  So that both say the
 * same, a leader decides only when it has applied all of its log.
 *
 * Read next: members.h, roster.h.
 */
#include "base/assert.h"
#include "base/text.h"
#include "consensus.h"
#include "coordinator.h"
#include "log.h"
#include "moves.h"
#include "node.h"
#include "replica.h"

#include <inttypes.h>
#include <stdio.h>

_Static_assert((int)HOST_MOVERS_MAX >= (int)RAFT_PEERS_MAX, "all who go or come are shown");

static const char two_left[] =
    "ERR with two nodes left, one of them alone would acknowledge writes: let the new node join "
    "first";

static struct node *node_of(struct host *host)
{
    return host->node;
}

static bool host_leads_cluster(struct host *host)
{
    const struct node *node = node_of(host);
    if (node->consensus == NULL) {
        return true;
    }
    const struct replica *meta = consensus_replica(node->consensus, GROUP_META);
    return replica_is_leader(meta) && !meta->has_transfer && meta->applied == meta->window_last;
}

static enum host_change refused(struct buffer *error, const char *text)
{
    buffer_append_text(error, text);
    return HOST_CHANGE_REFUSED;
}

static enum host_change propose(struct node *node, enum member_change change,
                                const struct member *member)
{
    struct roster_change proposal = { .change = change, .member = *member };
    return roster_propose(node, &proposal) ? HOST_CHANGE_OK : HOST_CHANGE_BUSY;
}

/* ── CLUSTER FORGET ──────────────────────────────────────────────────────────────────────────── */

/* Whether those who live make up a majority of one half of the configuration, `but` apart. */
static bool half_lives(const struct node *node, const struct raft_config *config, unsigned role,
                       uint64_t but)
{
    uint32_t voters = 0;
    uint32_t alive = 0;
    for (uint32_t i = 0; i < config->members_count; i++) {
        const struct raft_member *member = &config->members[i];
        bool votes = (member->roles & role) != 0;
        voters += votes;
        alive +=
            votes && member->node != but && coordinator_state(node, member->node) == NODE_ALIVE;
    }
    return voters == 0 || alive > voters / 2;
}

/* A group that can do nothing without this member: only its return would help. */
static const struct replica *group_that_needs(const struct node *node, uint64_t number)
{
    for (uint32_t i = 0; i < node->consensus->count; i++) {
        const struct replica *replica = node->consensus->replicas[i];
        const struct raft_config *config = moves_config(node, replica);
        if (config == NULL || config->members_count == 0) {
            continue; /* not known here */
        }
        bool lives = half_lives(node, config, RAFT_VOTER, number) &&
                     half_lives(node, config, RAFT_OUTGOING, number);
        if (raft_config_is_voter(config, number) && !lives) {
            return replica;
        }
    }
    return NULL;
}

static enum host_change host_forget(struct host *host, uint32_t at, struct buffer *error)
{
    struct node *node = node_of(host);
    ASSERT(at < node->members.count);
    const struct member *member = &node->members.items[at];
    if (member->state != MEMBER_LEFT && coordinator_state(node, member->number) == NODE_ALIVE) {
        buffer_printf(error,
                      "ERR node %s is alive: stop it first, or let it leave with CLUSTER DRAIN %s",
                      member->id, member->id);
        return HOST_CHANGE_REFUSED;
    }
    const struct replica *needing = group_that_needs(node, member->number);
    if (needing != NULL && needing->group == GROUP_META) {
        return refused(error, "ERR without that node the cluster itself would have no majority "
                              "any more: bring it, or others, back first");
    }
    if (needing != NULL) {
        buffer_printf(error,
                      "ERR without that node partition %u would have no majority any more: bring "
                      "it, or others, back first",
                      needing->group);
        return HOST_CHANGE_REFUSED;
    }
    if (!members_can_spare(&node->members, member)) {
        return refused(error, two_left);
    }
    log_event(node->log, LOG_INFO, "forget_asked", LOG_STR("node", member->id));
    return propose(node, MEMBER_REMOVE, member);
}

/* ── CLUSTER DRAIN ───────────────────────────────────────────────────────────────────────────── */

static enum host_change host_drain(struct host *host, uint32_t at, bool is_cancelled,
                                   struct buffer *error)
{
    struct node *node = node_of(host);
    ASSERT(at < node->members.count);
    struct member member = node->members.items[at];
    if (member.state == MEMBER_LEFT) {
        return refused(error, "ERR that node has left already");
    }
    if (is_cancelled && member.state != MEMBER_DRAINING) {
        return refused(error, "ERR that node is not being drained");
    }
    if (!is_cancelled && member.state == MEMBER_DRAINING) {
        return HOST_CHANGE_OK;
    }
    if (!is_cancelled && !members_can_spare(&node->members, &member)) {
        return refused(error, members_active(&node->members) == 1
                                  ? "ERR there is no other node that could take over"
                                  : two_left);
    }
    log_event(node->log, LOG_INFO, "drain_asked", LOG_STR("node", member.id),
              LOG_BOOL("cancel", is_cancelled));
    member.state = is_cancelled ? MEMBER_ACTIVE : MEMBER_DRAINING;
    return propose(node, MEMBER_STATE, &member);
}

/* ── CLUSTER MEET ────────────────────────────────────────────────────────────────────────────── */

static enum host_change host_meet(struct host *host, const char *seed, struct buffer *error)
{
    struct node *node = node_of(host);
    uint64_t keys = keyspace_stats(&node->shard.keyspace).keys;
    if (node->consensus != NULL) {
        return refused(error, "ERR this node is a member of a cluster already");
    }
    if (node->data_dir == NULL || node->peers == NULL) {
        return refused(error, "ERR this node has no cluster port (its log says why)");
    }
    if (keys > 0 || shard_is_busy(&node->shard)) {
        return refused(error, "ERR this node has data of its own: only an empty one can join");
    }
    buffer_append_text(error, "ERR ");
    if (!config_seeds_ok(slice_from(seed), error)) {
        return HOST_CHANGE_REFUSED;
    }
    log_event(node->log, LOG_INFO, "meet", LOG_STR("seed", seed));
    (void)snprintf(node->meet_seed, sizeof(node->meet_seed), "%s", seed);
    node_stop(node);
    return HOST_CHANGE_OK;
}

/* ── moves ───────────────────────────────────────────────────────────────────────────────────── */

/* Positions of nodes in the list; those who have gone from it are left out. */
static uint32_t positions(const struct node *node, const uint64_t *numbers, uint32_t count,
                          uint32_t *out)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct member *member = members_find(&node->members, numbers[i]);
        if (member != NULL) {
            out[found++] = (uint32_t)(member - node->members.items);
        }
    }
    return found;
}

static bool host_move_next(struct host *host, uint32_t *at, struct host_move *out)
{
    struct node *node = node_of(host);
    struct move move;
    if (!moves_next(node, at, &move)) {
        return false;
    }
    *out = (struct host_move){
        .partition = move.group == GROUP_META ? HOST_META : move.group,
        .phase = move.is_known ? migration_phase_name(move.phase) : "",
        .bytes = move.bytes,
        .bytes_left = move.bytes_left,
    };
    out->from_count = positions(node, move.from, move.from_count, out->from);
    out->to_count = positions(node, move.to, move.to_count, out->to);
    return true;
}

static void host_moves(struct host *host, struct host_moves *out)
{
    struct moves_sum sum;
    moves_sum(node_of(host), &sum);
    *out = (struct host_moves){
        .running = sum.running,
        .waiting = sum.waiting,
        .bytes_left = sum.bytes_left,
        .bytes_per_second = sum.bytes_per_second,
    };
}

static uint32_t host_rebalance(struct host *host)
{
    struct node *node = node_of(host);
    return node->consensus != NULL ? coordinator_rebalance(node) : 0;
}

/* ── settings ────────────────────────────────────────────────────────────────────────────────── */

static const char *host_setting_name(struct host *host, uint32_t at)
{
    (void)host;
    return at < SETTINGS_COUNT ? setting_name((enum setting)at) : NULL;
}

static uint64_t host_setting_get(struct host *host, uint32_t at)
{
    const struct node *node = node_of(host);
    ASSERT(at < SETTINGS_COUNT);
    uint64_t value = node->members.settings.values[at];
    bool is_unfixed = at == SETTING_REPLICATION_FACTOR && value == 0;
    return is_unfixed ? node->config->replication_factor : value;
}

/* Adds a pair to the change; false: `error` says what is wrong. */
static bool setting_parse(const struct slice *pair, struct roster_change *change,
                          struct buffer *error)
{
    int name_size = pair[0].size > 128 ? 128 : (int)pair[0].size;
    struct setting_value set;
    uint64_t least = 0;
    uint64_t most = 0;
    if (!setting_find(pair[0], &set.setting)) {
        buffer_printf(error, "ERR Unknown option of the cluster - '%.*s'", name_size, pair[0].data);
        return false;
    }
    const char *name = setting_name(set.setting);
    for (uint32_t i = 0; i < change->settings_count; i++) {
        if (change->settings[i].setting == set.setting) {
            buffer_printf(error,
                          "ERR CONFIG SET failed (possibly related to argument '%s') - duplicate "
                          "parameter",
                          name);
            return false;
        }
    }
    setting_range(set.setting, &least, &most);
    if (!text_to_u64(pair[1], &set.value) || !setting_takes(set.setting, set.value)) {
        buffer_printf(error,
                      "ERR CONFIG SET failed (possibly related to argument '%s') - argument must "
                      "be between %" PRIu64 " and %" PRIu64 " inclusive",
                      name, least, most);
        return false;
    }
    change->settings[change->settings_count++] = set; /* each once: there is room */
    return true;
}

static enum host_change host_settings_set(struct host *host, const struct slice *pairs,
                                          uint32_t count, struct buffer *error)
{
    struct node *node = node_of(host);
    struct roster_change change = { .change = MEMBER_SETTING };
    for (uint32_t i = 0; i < count; i += 2) {
        if (!setting_parse(&pairs[i], &change, error)) {
            return HOST_CHANGE_REFUSED;
        }
    }
    if (node->consensus == NULL) {
        return refused(error, "ERR this node is alone: the options of a cluster are set when it "
                              "has become one");
    }
    return roster_propose(node, &change) ? HOST_CHANGE_OK : HOST_CHANGE_BUSY;
}

void host_membership_init(struct host *host)
{
    host->leads_cluster = host_leads_cluster;
    host->forget = host_forget;
    host->drain = host_drain;
    host->meet = host_meet;
    host->move_next = host_move_next;
    host->moves = host_moves;
    host->rebalance = host_rebalance;
    host->setting_name = host_setting_name;
    host->setting_get = host_setting_get;
    host->settings_set = host_settings_set;
}
