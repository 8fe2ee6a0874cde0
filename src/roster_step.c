/*
 * roster_step.c — what this node knows of the members, for roster.h; and its proposals.
 */
#include "roster.h"

#include "consensus.h"
#include "coordinator.h"
#include "hints.h"
#include "log.h"
#include "moves.h"
#include "node.h"
#include "replica.h"

/* A group's configuration, as far as this node follows its log, names the member, or is not
 * committed yet, or the member still leads it.  Everybody follows the meta group: there only a vote
 * counts. */
static bool is_named(const struct node *node, uint64_t number)
{
    for (uint32_t i = 0; i < node->consensus->count; i++) {
        const struct replica *replica = node->consensus->replicas[i];
        uint64_t at = 0;
        const struct raft_config *config = moves_config(node, replica);
        (void)raft_config(replica->raft, &at);
        int place = config != NULL ? raft_config_find(config, number) : -1;
        bool counts = place >= 0 &&
                      (replica->group != GROUP_META || raft_member_votes(&config->members[place]));
        if (config == NULL || counts || at > replica->commit_index || replica->leader == number) {
            return true; /* what nobody has told us may name it */
        }
    }
    return false;
}

static void facts_gather(const struct node *node, struct roster_fact *facts)
{
    for (uint32_t i = 0; i < node->members.count; i++) {
        const struct member *member = &node->members.items[i];
        enum node_state state = coordinator_state(node, member->number);
        bool is_free = member->state == MEMBER_DRAINING &&
                       hints_holds_nothing(node->hints, member->number, node->members.epoch) &&
                       !is_named(node, member->number);
        facts[i] = (struct roster_fact){
            .is_alive = state == NODE_ALIVE,
            .is_dead = state == NODE_DEAD,
            .is_free = is_free,
        };
        facts[i].has_said = coordinator_heard_at(node, member, &facts[i].now);
    }
}

bool roster_propose(struct node *node, const struct roster_change *change)
{
    struct buffer body = { 0 };
    if (change->change == MEMBER_SETTING) {
        members_settings_encode(change->settings, change->settings_count, &body);
    } else {
        members_change_encode(change->change, &change->member, &body);
    }
    bool is_proposed =
        shard_propose_entry(&node->shard, GROUP_META, ENTRY_META, buffer_slice(&body));
    buffer_free(&body);
    return is_proposed;
}

/* What people should read of. */
static void note(struct node *node, const struct roster_change *change)
{
    if (change->change == MEMBER_STATE) {
        log_event(node->log, LOG_INFO, "member_state", LOG_STR("node", change->member.id),
                  LOG_STR("state", member_state_name(change->member.state)));
    } else if (change->change == MEMBER_REMOVE) {
        log_event(node->log, LOG_INFO, "member_removed", LOG_STR("node", change->member.id));
    }
}

void roster_step(struct node *node)
{
    const struct replica *meta = consensus_replica(node->consensus, GROUP_META);
    if (!replica_is_leader(meta)) {
        node->roster.term = 0;
        return;
    }
    struct roster_fact facts[MEMBERS_MAX];
    struct roster_change change;
    uint64_t now_ms = node->consensus->now_ms;
    facts_gather(node, facts);
    roster_look(&node->roster, &node->members, facts, meta->term, now_ms);
    if (roster_next(&node->roster, &node->members, facts, node->config->replication_factor, now_ms,
                    &change) &&
        roster_propose(node, &change)) {
        note(node, &change);
    }
}
