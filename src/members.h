/*
 * members.h — the meta group's state machine: who belongs to the cluster, at which epoch, and what
 * all agree on (settings.h).
 *
 * Pure.  The meta group (GROUP_META) replicates it; every META entry holds one change, applied in
 * log order on every node.  The data directory's meta file is its snapshot (data_dir.h): members,
 * with index, term and configuration of the entry they stand at.
 *
 *   joins -> ACTIVE -> DRAINING -> LEFT -> off the list        an operator's CLUSTER DRAIN
 *            ACTIVE -> DOWN -> ACTIVE                          dead for too long, and back
 *            any of them -> off the list                       an operator's CLUSTER FORGET
 *
 * Only ACTIVE members are placed: the others get nothing new, and what they hold moves away.  Who
 * moves a member on is decided in membership.h; which moves are possible at all, here.  Who was
 * removed is remembered: such a data directory never comes back, and is told so.
 *
 * What each group's configuration should be is a function of this list (members_target), as is who
 * should lead it (members_home); the group's leader takes one step at a time towards it (moves.h).
 *
 * Read next: join.h, consensus.h.
 */
#pragma once

#include "base/buffer.h"
#include "base/compiler.h"
#include "base/slice.h"
#include "cluster/quorum.h"
#include "settings.h"
#include "sharding/placement.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    MEMBERS_MAX = RAFT_PEERS_MAX,
    MEMBER_TEXT_MAX = 64,
    MEMBERS_GONE_MAX = 16,    /* removed ones remembered: as many as a full list */
    MEMBERS_SAFE = 3,         /* with fewer to place on, a partition has one voter */
    MEMBERS_BYTES_MAX = 4096, /* of the whole list, encoded */
};

enum member_state {
    MEMBER_ACTIVE = 1,
    MEMBER_DRAINING, /* what it leads and holds moves away */
    MEMBER_LEFT,     /* it holds nothing any more, and stops */
    MEMBER_DOWN,     /* it was dead for too long: others hold what it held */
};

struct member {
    char id[MEMBER_TEXT_MAX];   /* --node-id; NUL-terminated, as the other texts */
    char host[MEMBER_TEXT_MAX]; /* where other nodes and clients reach it */
    char zone[MEMBER_TEXT_MAX];
    uint64_t number;      /* members_number(id): raft's node */
    uint64_t incarnation; /* identity of its data directory */
    uint16_t cluster_port, port;
    uint16_t slot_port; /* 0: none */
    uint8_t weight;     /* 1..RING_WEIGHT_MAX: how much it takes, beside others */
    uint8_t state;      /* enum member_state */
};

/* A data directory that belongs to no member any more. */
struct member_gone {
    uint64_t number, incarnation;
};

struct members {
    uint64_t epoch; /* grows by one with every change; a new cluster: 1 */
    uint32_t count;
    struct member items[MEMBERS_MAX]; /* as they joined: the placement depends on it */
    struct settings settings;
    uint32_t gone_count;
    struct member_gone gone[MEMBERS_GONE_MAX]; /* the latest last */
    /* Where in the meta group's log this stands. */
    uint64_t index, term;
    struct raft_config config; /* of the meta group, as applied */
};

/* Never 0. */
uint64_t members_number(const char *id);
/* A cluster of one. */
void members_found(struct members *members, const struct member *self);
const struct member *members_find(const struct members *members, uint64_t number);
uint32_t members_active(const struct members *members);
/* True when this data directory's node was removed. */
bool members_is_gone(const struct members *members, uint64_t number, uint64_t incarnation);
/* "ACTIVE", "DRAINING", "LEFT", "DOWN" */
const char *member_state_name(enum member_state state);
/* False when there are not enough others to place on: none would be left, or just two, of which
 * one alone would acknowledge writes that three acknowledge now. */
bool members_can_spare(const struct members *members, const struct member *member);

/* ADD: it is ACTIVE.  UPDATE: address, zone, weight.  STATE: its state. */
enum member_change { MEMBER_ADD = 1, MEMBER_UPDATE, MEMBER_REMOVE, MEMBER_STATE, MEMBER_SETTING };
/* The body of a META entry: of all changes but MEMBER_SETTING. */
void members_change_encode(enum member_change change, const struct member *member,
                           struct buffer *out);
/* Untrusted bytes; false when they are no change. */
MUST_USE bool members_change_decode(struct slice body, enum member_change *out_change,
                                    struct member *out_member);
/* The body of a META entry that changes settings: one or more, together. */
void members_settings_encode(const struct setting_value *values, uint32_t count,
                             struct buffer *out);
/* Applies one; false when malformed (fatal).  A change that makes no sense any more (a node id that
 * is taken by another incarnation, a full list, a state it cannot come to) changes nothing. */
MUST_USE bool members_apply(struct members *members, struct slice body, uint64_t index,
                            uint64_t term);
/* The whole state, for the meta file and for a joining node; canonical. */
void members_encode(const struct members *members, struct buffer *out);
MUST_USE bool members_decode(struct members *members, struct slice bytes);

/* The configuration a group should have: with fewer than three ACTIVE members its one voter stays
 * (the founder, or `current`'s voter, or who is ACTIVE) and the others learn; with three and more
 * the replicas of the placement (of this list: targets.h) vote, and nobody else holds it.  All
 * members follow the meta group: there the others learn. */
void members_target(const struct members *members, const struct placement *placement,
                    uint32_t group, const struct raft_config *current,
                    struct raft_config *out_target);
/* The voter that should lead the group: the first of the placement's replicas that votes; 0: none
 * of them does yet. */
uint64_t members_home(const struct placement *placement, const struct raft_config *config,
                      uint32_t group);
