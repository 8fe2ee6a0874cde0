/*
 * quorum.h — who belongs to a group, and what a majority of it has reached.
 *
 * A configuration is a sorted list of members.  It has two halves: the voters (RAFT_VOTER) and,
 * while a joint change is under way, the outgoing voters (RAFT_OUTGOING).  Every decision needs a
 * majority of each half that is not empty (Raft §6); learners never count.  So one question serves
 * commit, lease and reads alike: "which value have both majorities reached?"
 *
 * A member is a node *and* its incarnation: a node whose disk was wiped is another member.
 *
 * Read next: confchange.h (how one configuration becomes the next).
 */
#pragma once

#include "base/limits.h"

#include <stdbool.h>
#include <stdint.h>

enum raft_member_role {
    RAFT_VOTER = 1 << 0,    /* votes in the configuration that is coming */
    RAFT_OUTGOING = 1 << 1, /* votes in the configuration that is going */
    RAFT_LEARNER = 1 << 2, /* receives the log; with RAFT_OUTGOING: once the joint change is over */
};

struct raft_member {
    uint64_t node;        /* > 0 */
    uint64_t incarnation; /* of its data directory */
    uint8_t roles;        /* raft_member_role bits, not 0 */
};

struct raft_config {
    uint32_t members_count;
    struct raft_member members[RAFT_PEERS_MAX]; /* ascending by node */
};

enum raft_vote { RAFT_VOTE_MISSING, RAFT_VOTE_GRANTED, RAFT_VOTE_REJECTED };
enum raft_tally { RAFT_TALLY_OPEN, RAFT_TALLY_WON, RAFT_TALLY_LOST };

/* The largest v such that in each half a majority has values[member] >= v. */
uint64_t quorum_reached(const struct raft_config *config, const uint64_t values[RAFT_PEERS_MAX]);
/* Won: a majority of each half granted.  Lost: that can no longer happen. */
enum raft_tally quorum_tally(const struct raft_config *config,
                             const enum raft_vote votes[RAFT_PEERS_MAX]);

/* Position of `node` among the members, -1 when it is none. */
int raft_config_find(const struct raft_config *config, uint64_t node);
bool raft_config_is_joint(const struct raft_config *config);
/* True when the node votes in either half. */
bool raft_config_is_voter(const struct raft_config *config, uint64_t node);
/* True when the node alone is a quorum. */
bool raft_config_is_alone(const struct raft_config *config, uint64_t node);

static inline bool raft_member_votes(const struct raft_member *member)
{
    return (member->roles & (RAFT_VOTER | RAFT_OUTGOING)) != 0;
}
