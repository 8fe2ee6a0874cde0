/*
 * quorum.c — majorities by sorting at most sixteen numbers.
 */
#include "cluster/quorum.h"

#include "base/assert.h"
#include "base/mutant.h"

/* The value a majority of one half has reached; no constraint when the half is empty. */
static uint64_t half_reached(const struct raft_config *config, const uint64_t *values,
                             unsigned role)
{
    uint64_t descending[RAFT_PEERS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < config->members_count; i++) {
        if ((config->members[i].roles & role) == 0) {
            continue;
        }
        uint32_t at = count++;
        for (; at > 0 && descending[at - 1] < values[i]; at--) {
            descending[at] = descending[at - 1];
        }
        descending[at] = values[i];
    }
    return count == 0 ? UINT64_MAX : descending[count / 2];
}

uint64_t quorum_reached(const struct raft_config *config, const uint64_t values[RAFT_PEERS_MAX])
{
    ASSERT(config->members_count <= RAFT_PEERS_MAX);
    unsigned incoming = RAFT_VOTER | (MUTANT(MUT_LEARNER_COUNTS) ? RAFT_LEARNER : 0u);
    uint64_t reached = half_reached(config, values, incoming);
    if (MUTANT(MUT_JOINT_NEW_ONLY)) {
        return reached;
    }
    uint64_t outgoing = half_reached(config, values, RAFT_OUTGOING);
    return outgoing < reached ? outgoing : reached;
}

static enum raft_tally half_tally(const struct raft_config *config, const enum raft_vote *votes,
                                  unsigned role)
{
    uint32_t count = 0;
    uint32_t granted = 0;
    uint32_t rejected = 0;
    for (uint32_t i = 0; i < config->members_count; i++) {
        if ((config->members[i].roles & role) != 0) {
            count++;
            granted += votes[i] == RAFT_VOTE_GRANTED;
            rejected += votes[i] == RAFT_VOTE_REJECTED;
        }
    }
    uint32_t majority = count / 2 + 1;
    if (count == 0 || granted >= majority) {
        return RAFT_TALLY_WON;
    }
    return count - rejected < majority ? RAFT_TALLY_LOST : RAFT_TALLY_OPEN;
}

enum raft_tally quorum_tally(const struct raft_config *config,
                             const enum raft_vote votes[RAFT_PEERS_MAX])
{
    ASSERT(config->members_count <= RAFT_PEERS_MAX);
    enum raft_tally incoming = half_tally(config, votes, RAFT_VOTER);
    enum raft_tally outgoing = half_tally(config, votes, RAFT_OUTGOING);
    if (MUTANT(MUT_JOINT_NEW_ONLY)) {
        return incoming;
    }
    if (incoming == RAFT_TALLY_LOST || outgoing == RAFT_TALLY_LOST) {
        return RAFT_TALLY_LOST;
    }
    return incoming == outgoing ? incoming : RAFT_TALLY_OPEN;
}

int raft_config_find(const struct raft_config *config, uint64_t node)
{
    for (uint32_t i = 0; i < config->members_count; i++) {
        if (config->members[i].node == node) {
            return (int)i;
        }
    }
    return -1;
}

bool raft_config_is_joint(const struct raft_config *config)
{
    for (uint32_t i = 0; i < config->members_count; i++) {
        if ((config->members[i].roles & RAFT_OUTGOING) != 0) {
            return true;
        }
    }
    return false;
}

bool raft_config_is_voter(const struct raft_config *config, uint64_t node)
{
    int at = raft_config_find(config, node);
    return at >= 0 && raft_member_votes(&config->members[at]);
}

bool raft_config_is_alone(const struct raft_config *config, uint64_t node)
{
    uint32_t voters = 0;
    for (uint32_t i = 0; i < config->members_count; i++) {
        voters += raft_member_votes(&config->members[i]);
    }
    return voters == 1 && raft_config_is_voter(config, node);
}
