/*
 * confchange.h — from one configuration to the next, and its bytes.
 *
 * The caller names the members it wants; confchange_next finds the safe way there.  When at most
 * one voter comes or goes, every old majority meets every new one and the change takes one entry
 * (Raft thesis §4.1).  Otherwise the change is joint (§4.3): an entry whose configuration has both
 * sets of voters, and, once that is committed, a second one without the outgoing voters, which
 * the leader appends by itself (auto-leave).  Learners come and go freely.
 *
 * A configuration is in force from the moment it is in the log, committed or not.
 *
 * Read next: raft.c (config_append, config_rollback).
 */
#pragma once

#include "base/compiler.h"
#include "base/slice.h"
#include "cluster/quorum.h"

enum confchange_outcome {
    CONFCHANGE_SIMPLE = 1, /* *out_next holds the wanted members */
    CONFCHANGE_JOINT,      /* *out_next holds both; confchange_leave follows */
    CONFCHANGE_SAME,       /* nothing to do */
    CONFCHANGE_INVALID,    /* not a configuration, or not reachable in one change */
};

enum { RAFT_CONFIG_BYTES_MAX = 2 + RAFT_PEERS_MAX * 17 };

/* `current` must not be joint; `wanted` has voters and learners only.  A node may not change its
 * incarnation: the old member leaves first, the new one joins later. */
MUST_USE enum confchange_outcome confchange_next(const struct raft_config *current,
                                                 const struct raft_config *wanted,
                                                 struct raft_config *out_next);
/* The configuration after a joint one. */
void confchange_leave(const struct raft_config *joint, struct raft_config *out_next);

/* Sorted, no node twice, sane roles, bounds kept, at least one voter. */
bool raft_config_is_valid(const struct raft_config *config);
bool raft_config_equal(const struct raft_config *a, const struct raft_config *b);
/* Adds a member in its place; false when it is there already or the list is full. */
MUST_USE bool raft_config_add(struct raft_config *config, uint64_t node, uint64_t incarnation,
                              unsigned roles);

/* The body of a CONFIG entry: u8 format (1), u8 count, count x (u64 node, u64 incarnation,
 * u8 roles).  Returns the size, at most RAFT_CONFIG_BYTES_MAX. */
size_t raft_config_encode(const struct raft_config *config, char *to);
size_t raft_config_encoded_size(const struct raft_config *config);
/* Untrusted bytes; false when they are no valid configuration. */
MUST_USE bool raft_config_decode(struct slice bytes, struct raft_config *out_config);
