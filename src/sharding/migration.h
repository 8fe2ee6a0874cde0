/*
 * migration.h — how a group moves: the next step from the nodes that hold it to those that should.
 *
 * Pure.  The leader of a group asks, a few times a second; whatever it is told goes through the
 * group's own log, and the next question begins from what the log says then.  So a move has no
 * state of its own: any later leader goes on where this one was.
 *
 *   come   nodes that should hold the group and do not: they learn, as far as the budget allows
 *   go     nodes that learn and should not hold it; a voter whose disk was wiped goes, too
 *   lead   a leader that is to give up its vote hands over first, so that nobody waits
 *   swap   when all who are to vote have caught up, the voters change places at once
 *
 * What always holds
 *   - A change of voters begins only when, of those who vote after it, a majority lives and has
 *     caught up: the group can commit right after it, and never gives up its last good copies.
 *   - A node is never added that does not answer: it would use up the budget and gain nothing.
 *   - Learners on their way to one node hold at most MIGRATION_NODE_BYTES of groups together, or
 *     there is only one; those of one leader at most MIGRATION_LEADER_BYTES, or there is only one.
 *
 * Read next: placement.h, which says who should hold a group.
 */
#pragma once

#include "base/compiler.h"
#include "base/limits.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    MIGRATION_NODES_MAX = 2 * RAFT_PEERS_MAX, /* those who hold it, and those who should */
};

/* A node as one group sees it.  A node whose disk was wiped is another one with the same number. */
struct migration_node {
    uint64_t node, incarnation;
    bool holds, votes;             /* now; a voter holds */
    bool should_hold, should_vote; /* in the end */
    bool is_alive;                 /* it answers */
    bool is_ready;                 /* it has all but the newest entries; of nodes that hold it */
};

struct migration {
    uint32_t count;
    struct migration_node nodes[MIGRATION_NODES_MAX];
    uint64_t leader; /* who asks */
    uint64_t bytes;  /* of the group's data */
};

/* What one leader has under way, all its groups together. */
struct migration_budget {
    uint64_t bytes; /* in all */
    uint32_t count;
    struct {
        uint64_t node;
        uint64_t bytes;
    } arriving[RAFT_PEERS_MAX];
};

enum migration_action {
    MIGRATION_DONE,   /* it is where it should be */
    MIGRATION_CHANGE, /* to the members in `next` */
    MIGRATION_LEAD,   /* leadership goes to `leader` */
    MIGRATION_WAIT,
};

/* What it is about, for people. */
enum migration_phase {
    MIGRATION_SETTLED,
    MIGRATION_QUEUED,  /* others move first */
    MIGRATION_COPYING, /* learners catch up */
    MIGRATION_SWITCHING,
    MIGRATION_LEAVING, /* nodes that should not hold it go */
    MIGRATION_ABSENT,  /* a node that should hold it does not answer */
    MIGRATION_UNSAFE,  /* of those who should vote too few live and have caught up */
    MIGRATION_PHASES,
};

struct migration_step {
    enum migration_action action;
    enum migration_phase phase;
    uint64_t leader;
    uint32_t count;
    struct {
        uint64_t node, incarnation;
        bool votes;
    } next[RAFT_PEERS_MAX];
};

/* "settled", "queued", ... */
const char *migration_phase_name(enum migration_phase phase);
/* Adds what the group has under way.  To be done for all groups of a leader, before migration_next
 * for any. */
void migration_count(const struct migration *migration, struct migration_budget *budget);
/* The next step; what it adds is taken off the budget.  The current configuration is not joint. */
void migration_next(const struct migration *migration, struct migration_budget *budget,
                    struct migration_step *out_step);
