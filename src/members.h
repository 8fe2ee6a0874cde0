/*
 * members.h — the meta group's state machine: who belongs to the cluster, at which epoch.
 *
 * Pure.  The meta group (GROUP_META) replicates it; every META entry holds one change, applied in
 * log order on every node.  The data directory's meta file is its snapshot (data_dir.h): members,
 * with index, term and configuration of the entry they stand at.
 *
 * What each group's configuration should be is a function of this list (members_target), as is who
 * should lead it (members_home); the group's leader takes one step at a time towards it.
 *
 * Read next: join.h, consensus.h.
 */
#pragma once

#include "base/buffer.h"
#include "base/compiler.h"
#include "base/slice.h"
#include "cluster/quorum.h"
#include "sharding/placement.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    MEMBERS_MAX = RAFT_PEERS_MAX,
    MEMBER_TEXT_MAX = 64,
    MEMBERS_BYTES_MAX = 4096, /* of the whole list, encoded */
};

struct member {
    char id[MEMBER_TEXT_MAX];   /* --node-id; NUL-terminated, as the other texts */
    char host[MEMBER_TEXT_MAX]; /* where other nodes and clients reach it */
    char zone[MEMBER_TEXT_MAX];
    uint64_t number;      /* members_number(id): raft's node */
    uint64_t incarnation; /* identity of its data directory */
    uint16_t cluster_port, port;
    uint16_t slot_port; /* 0: none */
};

struct members {
    uint64_t epoch; /* grows by one with every change; a new cluster: 1 */
    uint32_t count;
    struct member items[MEMBERS_MAX]; /* in the order in which they joined */
    /* Where in the meta group's log this stands. */
    uint64_t index, term;
    struct raft_config config; /* of the meta group, as applied */
};

/* Never 0. */
uint64_t members_number(const char *id);
/* A cluster of one. */
void members_found(struct members *members, const struct member *self);
const struct member *members_find(const struct members *members, uint64_t number);

enum member_change { MEMBER_ADD = 1, MEMBER_UPDATE = 2, MEMBER_REMOVE = 3 };
/* The body of a META entry. */
void members_change_encode(enum member_change change, const struct member *member,
                           struct buffer *out);
/* Untrusted bytes; false when they are no change. */
MUST_USE bool members_change_decode(struct slice body, enum member_change *out_change,
                                    struct member *out_member);
/* Applies one; false when malformed (fatal).  A change that makes no sense any more (a node id that
 * is taken by another incarnation, a full list) changes nothing. */
MUST_USE bool members_apply(struct members *members, struct slice body, uint64_t index,
                            uint64_t term);
/* The whole state, for the meta file and for a joining node; canonical. */
void members_encode(const struct members *members, struct buffer *out);
MUST_USE bool members_decode(struct members *members, struct slice bytes);

/* The configuration a group should have: with fewer than three members its one voter stays (the
 * founder, or `current`'s voter) and all others learn; with three and more the replicas of the
 * placement (of this list: targets.h) vote, and nobody else holds it.  The meta group's list is for
 * everybody: there all others learn. */
void members_target(const struct members *members, const struct placement *placement,
                    uint32_t group, const struct raft_config *current,
                    struct raft_config *out_target);
/* The next configuration on the way from `current` (not joint) to the target: members come as
 * learners and go; when each coming voter has caught up, all voters change places at once.
 * is_ready: which of current's members have caught up.  False: nothing to do now. */
MUST_USE bool members_step(const struct raft_config *current, const struct raft_config *target,
                           const bool is_ready[RAFT_PEERS_MAX], struct raft_config *out_next);
/* The voter that should lead the group: the first of the placement's replicas that votes. */
uint64_t members_home(const struct placement *placement, const struct raft_config *config,
                      uint32_t group);
