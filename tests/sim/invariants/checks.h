/*
 * checks.h — the invariants of a simulated cluster: one file each, told of what happens.
 *
 *   leaders     I1, I3   at most one leader a term; a leader has all that was committed before
 *   chain       I2, I4   one (index, term), one entry; one committed chain, which all follow
 *   configs     I7       configurations that follow each other have no two disjoint majorities
 *   promises    I5       term, vote and log are kept across restarts; one vote a term
 *               I34      who was drained ends only when no configuration counts on it any more
 *   digests     I6       equal state at equal index
 *   durable     I10      committed: on the platters of a majority at that moment
 *   effects     I11-I13  refused: never there; no write twice; ANY shows only what is committed
 *   gossip      I23, I24 incarnations are monotone, the living are not called dead for long;
 *                        gossip changes no configuration
 *   hosting     I33      who drops a group was no voter of it, and is a suspect until it is whole
 *   resources   I25, I26 no busy loop, bounded disk
 *   progress    I27-I30, I32  after healing: a leader everywhere, equal replicas, where the
 *                        configuration says and nowhere else, then quiet
 *
 * checks.c calls them in this order; a checker that finds something calls sim_fail.
 */
#pragma once

#include "sim_probe.h"

struct checks *checks_new(struct sim *sim);
void checks_free(struct checks *checks);
void checks_after_turn(struct sim_machine *machine);
/* After a start, before the first turn. */
void checks_on_start(struct sim_machine *machine);
/* The process is dead, its memory can still be looked at. */
void checks_on_crash(struct sim_machine *machine);
/* Its disk is empty now: what it promised is gone, and whoever comes back is another. */
void checks_on_wipe(const struct sim_machine *machine);
/* It was drained, and ends by itself. */
void checks_on_leave(const struct sim_machine *machine);
/* A client's operation has ended. */
void checks_on_answer(struct sim *sim, const struct sim_op *op);

/* leaders.c */
struct check_leaders;
struct check_chain;
struct check_leaders *check_leaders_new(struct sim *sim);
void check_leaders_free(struct check_leaders *check);
void check_leaders_turn(struct check_leaders *check, const struct check_chain *chain,
                        const struct sim_machine *machine, uint32_t group,
                        const struct probe *probe);
uint64_t check_leaders_elections(const struct check_leaders *check);

/* chain.c */
struct check_chain *check_chain_new(struct sim *sim);
void check_chain_free(struct check_chain *check);
void check_chain_turn(struct check_chain *check, const struct sim_machine *machine, uint32_t group,
                      const struct probe *probe);
void check_chain_start(struct check_chain *check, const struct sim_machine *machine,
                       uint32_t group);
uint64_t check_chain_committed(const struct check_chain *check, uint32_t group);
/* Term of a committed entry, and of the leader when it was first seen committed. */
uint64_t check_chain_term(const struct check_chain *check, uint32_t group, uint64_t index,
                          uint64_t *out_commit_term);
/* The latest committed configuration; NULL: it was not seen. */
const struct raft_config *check_chain_config(const struct check_chain *check, uint32_t group);
void check_chain_leave(const struct check_chain *check, const struct sim_machine *machine);
uint64_t check_chain_entries(const struct check_chain *check);
/* Where the chain holds what operation `number` wrote; 0: nowhere.  `out_count`: how often. */
uint64_t check_chain_find(const struct check_chain *check, uint32_t number, uint32_t *out_group,
                          uint32_t *out_count);

/* configs.c */
struct check_configs;
struct check_configs *check_configs_new(struct sim *sim);
void check_configs_free(struct check_configs *check);
/* `bytes`: the entry, if is_config; size 0: not in memory any more. */
void check_configs_commit(struct check_configs *check, uint32_t group, uint64_t index,
                          bool is_config, struct slice bytes);

/* NULL: not known. */
const struct raft_config *check_configs_last(const struct check_configs *check, uint32_t group);
void check_configs_leave(const struct check_configs *check, const struct sim_machine *machine);

/* promises.c */
struct check_promises;
struct check_promises *check_promises_new(struct sim *sim);
void check_promises_free(struct check_promises *check);
void check_promises_turn(struct check_promises *check, const struct sim_machine *machine,
                         uint32_t group, const struct probe *probe);
void check_promises_start(struct check_promises *check, const struct sim_machine *machine,
                          uint32_t group, const struct probe *probe);
void check_promises_wipe(struct check_promises *check, const struct sim_machine *machine);

/* digests.c */
struct check_digests;
struct check_digests *check_digests_new(struct sim *sim);
void check_digests_free(struct check_digests *check);
void check_digests_turn(struct check_digests *check, const struct sim_machine *machine,
                        uint32_t group, const struct probe *probe);
void check_digests_start(struct check_digests *check, const struct sim_machine *machine,
                         uint32_t group);
uint64_t check_digests_compared(const struct check_digests *check);

/* durable.c */
void check_durable_commit(struct sim *sim, const struct probe *probe, uint32_t group,
                          uint64_t index, struct slice bytes);

/* effects.c */
void check_effects_answer(struct sim *sim, const struct check_chain *chain,
                          const struct sim_op *op);
void check_effects_end(struct sim *sim, const struct check_chain *chain);

/* gossip.c */
struct check_gossip;
struct check_gossip *check_gossip_new(struct sim *sim);
void check_gossip_free(struct check_gossip *check);
void check_gossip_start(struct check_gossip *check, const struct sim_machine *machine);
/* Notes which incarnation it has now, and returns it. */
uint64_t check_gossip_own(struct check_gossip *check, const struct sim_machine *machine);
void check_gossip_turn(struct check_gossip *check, const struct sim_machine *machine);
void check_gossip_group(struct check_gossip *check, const struct sim_machine *machine,
                        uint32_t group, const struct probe *probe);
/* True when the core sees itself alive. */
bool check_gossip_views(const struct sim *sim, char *out_why, size_t why_size);

/* resources.c */
void check_resources_turn(struct sim_machine *machine);

/* hosting.c */
struct check_hosting;
struct check_hosting *check_hosting_new(struct sim *sim);
void check_hosting_free(struct check_hosting *check);
void check_hosting_turn(struct check_hosting *check, const struct check_chain *chain,
                        const struct sim_machine *machine, uint32_t group,
                        const struct probe *probe);
void check_hosting_wipe(struct check_hosting *check, const struct sim_machine *machine);
void check_hosting_start(struct check_hosting *check, const struct sim_machine *machine,
                         uint32_t group, const struct probe *probe);
/* True when nothing of the group is left on the machine.  `out_why`: what is. */
bool check_hosting_is_empty(const struct sim_machine *machine, uint32_t group, char *out_why,
                            size_t why_size);

/* progress.c: true when the core has converged.  `out_why`: what is missing. */
bool check_progress(const struct sim *sim, char *out_why, size_t why_size);

/* What has been seen, for the summary. */
struct checks_seen {
    uint64_t elections, entries, digests;
};
struct checks_seen checks_seen(const struct sim *sim);
/* The end of a life: what can only be said then. */
void checks_end(struct sim *sim);
