/*
 * sim_probe.h — a look into a running node's groups, between two iterations of its loop.
 *
 * The one place that knows where a node keeps its replicas, so that the checkers need not.
 */
#pragma once

#include "base/compiler.h"
#include "cluster/raft.h"
#include "gossip.h"
#include "members.h"
#include "sim.h"

struct probe {
    const struct raft *raft; /* NULL: a lone node, no replica (then only `applied` is set) */
    enum raft_role role;
    uint64_t term, voted_for, leader;
    uint64_t first, last, commit, durable, applied;
    bool is_hard_state_durable;
};

/* False when the node has no such group (yet). */
bool probe_group(const struct sim_machine *machine, uint32_t group, struct probe *out);
/* A number that changes whenever probe_group would say something else (or nearly always).  Cheap:
 * it is asked for every group after every turn. */
uint64_t probe_fingerprint(const struct sim_machine *machine, uint32_t group);
/* The encoded entry; false when its bytes are not in memory any more. */
bool probe_entry(const struct sim_machine *machine, uint32_t group, uint64_t index,
                 struct slice *out);
/* Digest of the group's state machine as it stands (keys, versions, expiries, sessions). */
uint64_t probe_digest(const struct sim_machine *machine, uint32_t group);
/* The newest configuration that the replica knows to be committed. */
const struct raft_config *probe_config(const struct probe *probe);
/* The configuration that the machine's list of members asks for. */
void probe_target(const struct sim_machine *machine, uint32_t group,
                  const struct raft_config *current, struct raft_config *out);
/* The group's configuration is that one, for certain. */
bool probe_is_as_wanted(const struct sim_machine *machine, uint32_t group,
                        const struct probe *probe);
/* What the node's gossip has of another machine's; false: nothing (yet). */
bool probe_gossip(const struct sim_machine *machine, uint32_t other, struct membership_view *out);
/* The node's own incarnation in gossip; 0: none (yet). */
uint64_t probe_incarnation(const struct sim_machine *machine);
/* Raft's number of a machine's node. */
uint64_t probe_number(const struct sim_machine *machine);
