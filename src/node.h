/*
 * node.h — one minidb node: everything it is made of, and its loop.
 *
 * node_run_once is the whole program: take what happened, let each machine take its step, start
 * one gathered disk write, send.  It makes no system call of its own and keeps nothing outside this
 * struct, so the simulator runs whole nodes in one thread on a simulated machine.
 *
 *   reap       io_next: connections parse and propose; the disk reports what is durable
 *   apply      durable entries run and are answered
 *   step       housekeeping, expiry, a slice of the snapshot
 *   write      aof_flush: everything proposed in this iteration, one write, one sync
 *   send       server_flush
 *   sleep      io_wait, until something happens or is due
 *
 * Read next: pipeline.h, shard.h, recovery.h.
 */
#pragma once

#include "command/host.h"
#include "config.h"
#include "members.h"
#include "meter.h"
#include "pipeline.h"
#include "roster.h"
#include "shard.h"
#include "snapshots.h"
#include "storage/data_dir.h"
#include "targets.h"

struct acks;
struct consensus;
struct coordinator;
struct forward;
struct gossip;
struct io;
struct hints;
struct join;
struct join_welcome;
struct log;
struct moves;
struct peers;
struct replica_log;
struct transfers;
struct vacancy;

/* Rates, sampled by housekeeping. */
struct node_rates {
    uint64_t sampled_ns;
    uint64_t commands, bytes_in, bytes_out, expired;
    uint64_t commands_per_second, bytes_in_per_second, bytes_out_per_second;
    uint64_t expired_per_second_x100;
};

struct node {
    struct config *config;     /* borrowed */
    struct io *io;             /* borrowed */
    struct log *log;           /* borrowed; NULL: none */
    struct data_dir *data_dir; /* NULL without persistence */
    struct data_dir_meta meta;
    struct server *server;
    struct meter meter;
    struct shard shard;
    struct pipeline pipeline;
    struct snapshots snapshots;
    struct host host;
    /* Of a member of a cluster; NULL on a lone node, but for peers, which listens for a second. */
    struct members members; /* a lone node's: itself */
    struct targets targets; /* node_targets keeps them up to date */
    struct roster roster;   /* of the leader of the meta group */
    struct peers *peers;
    struct consensus *consensus;
    struct forward *forward;
    struct transfers *transfers;
    struct coordinator *coordinator;
    struct gossip *gossip;
    struct acks *acks;
    struct moves *moves;
    struct hints *hints;
    struct vacancy *vacancy;
    struct join *join;     /* asks to join, or takes in those who ask */
    uint64_t members_seen; /* the epoch that peers and meta file know */
    struct node_rates rates;
    bool has_shard, is_serving;
    bool is_over_memory;
    bool is_expiry_active;    /* DEBUG SET-ACTIVE-EXPIRE */
    bool has_more_due;        /* expiry was cut short by its bound */
    uint32_t reclaim_left;    /* partitions that may hold flushed entries to free */
    bool was_full;            /* disk full, as last logged */
    bool is_joining;          /* no member yet: nothing but `join` runs */
    bool is_stopping;         /* a clean stop has begun */
    bool stop_waits_snapshot; /* SHUTDOWN SAVE */
    uint64_t stop_deadline_ns;
    uint64_t next_tick_ns;
    uint64_t started_ms;
    uint64_t memory_used, memory_peak;
    uint32_t lingered;         /* iterations that the log's write has waited for more */
    uint64_t segment_recorded; /* newest AOF segment that the meta file names */
    char meet_seed[96]; /* CLUSTER MEET: when it has stopped it begins anew, as one that joins */
    char run_id[41];
    char os[128];
};

/* Opens the data directory, recovers, listens.  < 0: `error` says why in one line. */
MUST_USE int node_start(struct node *node, struct config *config, struct io *io, struct log *log,
                        char *error, size_t error_size);
/* One iteration; sleeps at its end when there is nothing to do.  1: goes on.  0: a clean stop is
 * complete. < 0: the disk failed and the process must end (the log says what). */
MUST_USE int node_run_once(struct node *node);
/* Begins a clean stop: no new connections or requests; what is under way is finished. */
void node_stop(struct node *node);
/* Frees everything; after a clean stop marks the data directory clean. */
void node_deinit(struct node *node);
uint16_t node_port(const struct node *node);
uint16_t node_slot_port(const struct node *node); /* 0: none */

/* node_member.c: what one iteration does for a member of a cluster. */
void member_on_peer_events(struct node *node);
void member_step(struct node *node);
void member_send(struct node *node, uint64_t now_ns);
bool member_has_work(const struct node *node);
uint64_t member_deadline_ns(const struct node *node);
/* node.c, for node_start.c. */
void node_sample_memory(struct node *node);
/* node_start.c: recovers, starts what a member needs, and listens for clients. */
MUST_USE int node_serve(struct node *node, char *error, size_t error_size);
/* node_cluster.c.  This node as the list of members shows it, now. */
void cluster_self(const struct node *node, struct member *out);
/* Opens the cluster port: node->peers and node->join; both stay NULL where a lone node does without
 * it. */
MUST_USE int cluster_listen(struct node *node, char *error, size_t error_size);
/* Unless its operator says otherwise, a member acknowledges what is on disk. */
void cluster_choose_sync(struct node *node);
/* Raft and all it needs, over what recovery found (or a lone node has): `count` replicas. */
void cluster_start(struct node *node, const struct replica_log *logs, uint32_t count);
/* Tells other nodes what has become of us: addresses, cluster. */
void cluster_say_hello(struct node *node);
/* Links to all members, at the addresses they gave last; else at those of the list. */
void cluster_dial(struct node *node);
/* A lone node becomes the first member of a cluster; requires !shard_is_busy and a data directory.
 * < 0: the disk failed, nothing has changed. */
MUST_USE int node_cluster_begin(struct node *node);
/* A newcomer is welcome: it takes over the cluster's identity and serves.  < 0: it cannot. */
MUST_USE int node_joined(struct node *node, const struct join_welcome *welcome);
/* Where the list of members puts partitions, now. */
const struct targets *node_targets(struct node *node);
/* Why this node, which has been a member, is none any more; NULL: it is one. */
const char *cluster_leave_reason(const struct node *node);
/* A node that is no member any more ends, so that nobody takes it for one. */
void cluster_leave_check(struct node *node);
/* The list has changed: links follow; a node that is no member any more stops. */
void node_members_changed(struct node *node);
/* Writes the meta file, with the list as it stands.  Whoever writes it does so here. */
MUST_USE int node_meta_write(struct node *node);
/* host.c: fills in node->host. */
void host_init(struct node *node);
/* host_cluster.c: its part of that, and of the facts. */
void host_cluster_init(struct host *host);
void host_cluster_facts(const struct node *node, struct host_facts *out);
/* host_membership.c: who belongs to the cluster. */
void host_membership_init(struct host *host);
