/*
 * raft_internal.h — the state of one replica, and what its files call in each other.
 *
 *   raft.c         init, step and dispatch, persistence, configurations, views
 *   election.c     timers, votes, promises, leadership and its transfer
 *   replication.c  proposals, APPEND, HEARTBEAT, commit
 *   snapshot.c     compaction, offering and installing snapshots
 *   vacate.c       a removed replica forgets everything
 *   read_index.c   linearizable reads and the lease
 *
 * A step runs one handler and then raft_settle, which draws the consequences: commit, automatic
 * configuration changes, acknowledgements that have become true, entries to send, reads.
 *
 * Invariants between steps:
 *   log.base_index <= snapshot.index <= commit_index <= log.last_index
 *   verified_index <= log.last_index;  persisted_id <= persist_id;  hard_state_id <= persist_id
 *   a leader has leader == node;  a (pre)candidate has leader == 0
 *   config.index > config_before.index; at most config.index is above commit_index
 */
#pragma once

#include "base/mutant.h"
#include "base/prng.h"
#include "cluster/confchange.h"
#include "cluster/progress.h"
#include "cluster/raft.h"
#include "cluster/raft_log.h"
#include "cluster/read_index.h"

struct raft_config_at {
    uint64_t index; /* of the entry that brought it; or the snapshot's */
    struct raft_config config;
};

struct raft {
    struct raft_options options;
    uint64_t now_ms; /* the largest any input brought */

    enum raft_role role;
    uint64_t term, voted_for;
    uint64_t leader; /* of this term; 0: unknown */
    uint64_t leader_incarnation;

    struct raft_log log;
    uint64_t commit_index;
    uint64_t boot_commit_index; /* while the log is recovered: committed up to here */

    /* Durability.  Outputs that persist something are numbered. */
    uint64_t persist_id;          /* the last number given */
    uint64_t persisted_id;        /* everything up to here is durable */
    uint64_t hard_state_id;       /* term and voted_for are durable once persisted_id reaches it */
    uint64_t truncated_id;        /* the last output that cut the log: older ones prove nothing */
    uint64_t persist_progress_ms; /* when the disk last moved, or when waiting for it began */
    bool has_disk_moved;          /* in this step */
    bool must_reset_log;          /* this step's output empties the log on disk behind the base */
    uint64_t emitted_term, emitted_vote; /* the hard state of the last output */
    bool emitted_suspect;

    /* Elections. */
    uint64_t election_deadline_ms; /* follower: campaign; (pre)candidate: try again */
    uint64_t promise_until_ms;   /* a leader was heard: no votes before this (leases rest on it) */
    bool has_heard_leader;       /* since the start */
    uint64_t resend_deadline_ms; /* (pre)candidate: ask the silent ones again */
    bool is_transfer_campaign;   /* the leader asked us to */
    bool has_sent_votes;         /* candidate: durable, and the requests are out */
    bool owes_vote;              /* a vote was granted; its answer waits for the disk ... */
    uint64_t vote_incarnation;   /* ... to this incarnation of voted_for */

    /* Follower. */
    uint64_t verified_index;   /* our log equals this term's leader's up to here */
    uint64_t acked_index;      /* the leader was told so, durably, up to here */
    uint64_t shared_index;     /* a leader said that all members have everything up to here */
    bool owes_ack;             /* an APPEND waits for its answer */
    uint64_t installing_index; /* a snapshot is being fetched; 0: none */
    bool is_suspect;
    bool is_cured;                 /* a suspect no more, as soon as the disk says so */
    uint64_t suspect_target_index; /* durable up to here: trusted again; 0: not known yet */

    /* Leader. */
    uint64_t led_since_ms;
    uint64_t term_begins_index; /* of our no-op: it and all behind it are of our term */
    uint64_t heartbeat_deadline_ms;
    uint64_t transfer_target; /* 0: none */
    uint64_t transfer_deadline_ms;
    bool is_lease_void;    /* a TIMEOUT_NOW left: others may elect at any time */
    bool has_more_to_send; /* the outbox filled up: step again soon */

    struct raft_output *out; /* while a step runs */

    /* What every step looks at stands together above; a node has hundreds of these, and they are
     * not in the cache. */
    struct raft_reads reads;
    struct raft_config_at config;                  /* in force */
    struct raft_progress progress[RAFT_PEERS_MAX]; /* of config.members[i] */
    struct raft_config_at config_before; /* to return to when config's entry is truncated */
    struct raft_snapshot snapshot;       /* what peers are offered */
    struct prng prng;
};

/* raft.c */
struct raft_message *raft_send(struct raft *raft, enum raft_message_kind kind, uint64_t to,
                               uint64_t to_incarnation);
/* To member i of the configuration; NULL when the outbox is full. */
struct raft_message *raft_send_peer(struct raft *raft, enum raft_message_kind kind, uint32_t i);
/* The answer to a message. */
struct raft_message *raft_reply(struct raft *raft, enum raft_message_kind kind,
                                const struct raft_message *to);
bool raft_hard_state_is_durable(const struct raft *raft);
bool raft_disk_is_stalled(const struct raft *raft);
/* Appends a NOOP or, with `config`, a CONFIG entry of the current term.  There must be room. */
void raft_append_own(struct raft *raft, const struct raft_config *config);
/* The entry just appended was this configuration: it is in force now. */
void raft_config_append(struct raft *raft, const struct raft_config *config, uint64_t index);
/* The commit index moved. */
void raft_config_commit(struct raft *raft);
void raft_truncate(struct raft *raft, uint64_t index);
void raft_config_install(struct raft *raft, const struct raft_config *config, uint64_t index);
/* The CONFIG entry that is not committed yet; 0: none. */
uint64_t raft_config_pending(const struct raft *raft);
void raft_settle(struct raft *raft);
/* Member i is this very replica: the same node, the same disk. */
bool raft_is_self(const struct raft *raft, uint32_t i);
bool raft_self_votes_in(const struct raft *raft, const struct raft_config *config);
bool raft_self_votes(const struct raft *raft); /* in the configuration in force */
/* Nobody else is needed for anything. */
bool raft_is_alone(const struct raft *raft);

/* election.c */
void raft_become_follower(struct raft *raft, uint64_t term, uint64_t leader);
void raft_election_tick(struct raft *raft);
void raft_leader_heard(struct raft *raft, uint64_t leader);
bool raft_is_promotable(const struct raft *raft);
void raft_on_vote_request(struct raft *raft, const struct raft_message *message);
void raft_on_vote_response(struct raft *raft, const struct raft_message *message);
void raft_on_timeout_now(struct raft *raft, const struct raft_message *message);
/* Sends what had to wait for the hard state. */
void raft_keep_promises(struct raft *raft);
enum raft_result raft_transfer(struct raft *raft, uint64_t target);
void raft_transfer_go(struct raft *raft);
uint64_t raft_election_deadline(const struct raft *raft);

/* replication.c */
enum raft_result raft_propose(struct raft *raft, const struct raft_entry *entries, uint32_t count);
enum raft_result raft_change_config(struct raft *raft, const struct raft_config *wanted);
void raft_on_append(struct raft *raft, const struct raft_message *message);
void raft_on_append_response(struct raft *raft, const struct raft_message *message);
void raft_on_heartbeat(struct raft *raft, const struct raft_message *message);
void raft_on_heartbeat_response(struct raft *raft, const struct raft_message *message);
void raft_on_commit(struct raft *raft, const struct raft_message *message);
void raft_heartbeat(struct raft *raft);
/* This peer restarted and may have lost entries: nothing it acknowledged counts. */
void raft_peer_lost(struct raft *raft, struct raft_progress *progress, uint64_t boot);
void raft_acknowledge(struct raft *raft);
void raft_advance_commit(struct raft *raft);
void raft_replicate(struct raft *raft);
/* A leader whose removal is committed stops leading (pitfall 19). */
void raft_leave_if_removed(struct raft *raft);
void raft_commit_to(struct raft *raft, uint64_t index);
/* The leader has committed an entry of its own term. */
bool raft_has_committed_in_term(const struct raft *raft);

/* snapshot.c */
void raft_compact(struct raft *raft, uint64_t index, const struct raft_snapshot *snapshot);
void raft_offer_snapshot(struct raft *raft, uint32_t i);
void raft_on_snapshot(struct raft *raft, const struct raft_message *message);
void raft_snapshot_done(struct raft *raft, const struct raft_snapshot *snapshot, bool has_failed);

/* vacate.c */
enum raft_result raft_vacate(struct raft *raft, uint64_t term, uint64_t index,
                             const struct raft_config *config);

/* read_index.c */
void raft_reads_init(struct raft *raft);
void raft_read(struct raft *raft, uint64_t read_id);
void raft_on_read(struct raft *raft, const struct raft_message *message);
void raft_on_read_response(struct raft *raft, const struct raft_message *message);
void raft_reads_settle(struct raft *raft);
/* Leadership changed: rounds and attempts are void, their reads wait for the next ones. */
void raft_reads_restart(struct raft *raft);
uint64_t raft_reads_deadline(const struct raft *raft);
/* Our clock at the latest moment at which a majority was still ours; 0: never yet. */
uint64_t raft_quorum_heard_ms(const struct raft *raft);
