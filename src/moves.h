/*
 * moves.h — the groups that are not where the list of members wants them, and their next steps.
 *
 * Of each group that this node leads sharding/migration.h says what comes next; here is what it has
 * to know of the nodes, and what becomes of its answer: a change of the group's configuration, or
 * of its leader.  What every node can see of a move (who goes, who comes) follows from the group's
 * configuration and the list; how far it is, its leader knows.
 *
 * Read next: sharding/migration.h, members.h (members_target), coordinator.h.
 */
#pragma once

#include "members.h"
#include "sharding/migration.h"

struct moves;
struct node;
struct replica;

/* A group on its way. */
struct move {
    uint32_t group;
    uint32_t from_count, to_count;
    uint64_t from[RAFT_PEERS_MAX], to[RAFT_PEERS_MAX]; /* nodes that go, and that come */
    bool is_known; /* what follows; else another node leads it */
    enum migration_phase phase;
    uint64_t bytes;      /* that go over the wire, about */
    uint64_t bytes_left; /* of them */
};

/* All moves together, as this node sees them. */
struct moves_sum {
    uint32_t running, waiting;
    uint64_t bytes_left;
    uint64_t bytes_per_second;
};

struct moves *moves_new(uint32_t groups);
void moves_free(struct moves *moves); /* NULL is allowed */
/* One step of each group this node leads. */
void moves_step(struct node *node);
/* A group's configuration, as far as this node knows: from its own log, or as the leader says
 * (hints.h).  NULL: not at all. */
const struct raft_config *moves_config(const struct node *node, const struct replica *replica);
/* The groups that are not where they should be, one after the other: *at is 0 to begin. */
bool moves_next(struct node *node, uint32_t *at, struct move *out_move);
void moves_sum(struct node *node, struct moves_sum *out_sum);
