/*
 * consensus.h — drives all replicas of this node: between Raft, the log on disk, and the peers.
 *
 * Exists once the cluster has a second member; before that a group is a quorum of one and the
 * shard needs no Raft (shard.h).  One iteration of the loop:
 *
 *   frames and ticks step single replicas; clients' proposals queue up in them
 *   consensus_flush        queued proposals go to raft, a batch a group; hard states, resets and
 *                          entries become AOF records, messages go into the peers' outboxes
 *   aof_flush              one gathered write (and fdatasync) for all groups ...
 *   consensus_send         ... in parallel with one frame a peer
 *   consensus_on_durable   later: what is on disk is PERSISTED; only that makes acknowledgements
 *   shard_apply_committed  entries that a quorum has run, and are answered
 *
 * Records in the AOF: AOF_HARD_STATE (term, vote, commit hint), AOF_LOG_RESET (the group's log is
 * empty behind index, term), AOF_ENTRY.  The commit hint lets recovery apply without a leader.
 *
 * Read next: replica.h, ../cluster/README.md.
 */
#pragma once

#include "base/buffer.h"
#include "network/peers.h"
#include "raft_wire.h"
#include "replica.h"

struct entry;
struct log;
struct shard;
struct forward;
struct members;
struct transfers;

enum { PEER_FRAME_RAFT = 1 }; /* kinds 1-9: RAFT channel; body: messages (raft_wire.h) */

/* A batch of the AOF proves these replicas' outputs durable. */
struct persist_mark {
    uint64_t sequence; /* durable when the AOF is up to here */
    uint32_t slot;
    struct raft_persist persist;
};

/* Who speaks on a RAFT link: a restarted node is told from what its predecessor still says. */
struct raft_source {
    uint64_t link; /* 0: free */
    uint64_t node, incarnation, boot;
};

/* Messages for one member that leave in the next frame. */
struct raft_outbox {
    uint64_t node, incarnation;
    struct buffer bytes;
};

struct consensus_options {
    uint64_t cluster, node, incarnation, boot;
    uint64_t seed;
    uint32_t heartbeat_ms, election_timeout_ms, disk_stall_ms, clock_drift_percent;
    bool lease_reads;
    uint32_t request_timeout_ms;
};

struct consensus {
    struct shard *shard;         /* borrowed */
    struct peers *peers;         /* borrowed */
    struct forward *forward;     /* borrowed: told when a leader changes */
    struct transfers *transfers; /* borrowed: fetches snapshots */
    struct members *members;     /* borrowed: applies the meta group's entries */
    struct log *log;             /* borrowed */
    struct consensus_options options;

    struct replica **replicas; /* owned, and each of them: partitions, then the meta group */
    uint32_t count;            /* partitions + 1 */

    struct persist_mark *marks; /* owned ring */
    uint32_t marks_capacity;
    uint64_t marks_head, marks_tail;

    uint64_t busy_ms; /* when much was proposed at once */
    struct raft_source sources[2 * RAFT_PEERS_MAX];
    struct raft_outbox outboxes[RAFT_PEERS_MAX];
    uint32_t outboxes_count;

    uint32_t *dirty; /* owned: slots of replicas with is_dirty */
    uint32_t *taken; /* owned: the list that is being worked off */
    uint32_t dirty_count;
    uint64_t now_ms;        /* of raft's clock: io_clock_ns in ms, refreshed per iteration */
    uint64_t *deadlines_ms; /* owned: of each replica: TICK no later than this */
    uint64_t deadline_ms;   /* a lower bound of them */
    uint64_t next_sweep_ms; /* of requests that waited too long */
    uint32_t leaders_count; /* replicas this node leads */
    uint64_t window_bytes;  /* of all windows, as of each replica's last apply */

    struct raft_output *output;         /* scratch */
    struct raft_wire_message *message;  /* scratch */
    struct raft_entry *entries;         /* scratch: RAFT_APPEND_ENTRIES_MAX */
    uint64_t elections, leader_changes; /* statistics */
    uint64_t leadership_changes; /* grows whenever some replica's role, term or leader changes */
};

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

/* `boots` and `entries`: for each replica (partitions, then meta), as recovery found them, or as a
 * lone node stands at the moment it becomes two. */
struct replica_log {
    struct replica_boot boot;
    struct slice *entries; /* encoded; taken over (each mem_alloc'd) */
    uint32_t entries_count;
};
struct consensus *consensus_new(struct shard *shard, struct peers *peers, struct log *log,
                                const struct consensus_options *options,
                                const struct replica_log *logs, uint32_t count);
void consensus_free(struct consensus *consensus);

/* ── the loop ────────────────────────────────────────────────────────────────────────────────── */

/* The time now (io_clock_ns), for the leases of reads that have arrived already. */
static inline void consensus_set_clock(struct consensus *consensus, uint64_t now_ns)
{
    uint64_t now_ms = now_ns / 1000000;
    if (now_ms > consensus->now_ms) {
        consensus->now_ms = now_ms;
    }
}
void consensus_tick(struct consensus *consensus);
/* A RAFT link that a member dialed to us is up, is down, has brought a frame.  False: the frame
 * holds no messages, the link should end. */
void consensus_on_up(struct consensus *consensus, uint64_t link, const struct peer_hello *hello);
void consensus_on_down(struct consensus *consensus, uint64_t link);
MUST_USE bool consensus_on_frame(struct consensus *consensus, uint64_t link, struct slice body);
/* Gives raft what was proposed. */
void consensus_flush(struct consensus *consensus);
/* Puts the collected messages into frames (peers_flush sends them). */
void consensus_send(struct consensus *consensus);
/* Writes a commit hint for every group, before a clean stop. */
void consensus_hint_all(struct consensus *consensus);
/* Everything in the AOF up to `sequence` is durable. */
void consensus_on_durable(struct consensus *consensus, uint64_t sequence);
/* Something to do right now. */
static inline bool consensus_has_work(const struct consensus *consensus)
{
    return consensus->dirty_count > 0;
}
uint64_t consensus_deadline_ns(const struct consensus *consensus);

/* ── proposing and reading ───────────────────────────────────────────────────────────────────── */

struct replica *consensus_replica(const struct consensus *consensus, uint32_t group);

/* Opens an entry of a group this node leads: the caller fills kind, flags, time, seed and origin of
 * *entry; index, term and group are set here.  Returns where the body goes, or NULL: not the
 * leader, or too much is under way (*out_result).  One at a time. */
char *consensus_propose_begin(struct consensus *consensus, struct replica *replica,
                              struct entry *entry, size_t body_max, enum raft_result *out_result);
/* Queues it.  Its fate is known when its index is applied: with its term it happened. */
void consensus_propose_end(struct consensus *consensus, struct replica *replica,
                           const struct entry *entry, char *body, size_t body_size);
/* True when a read that began at this moment may run now against the applied state. */
static inline bool replica_may_read(struct replica *replica, uint64_t now_ms)
{
    return replica->applied >= replica->commit_index && now_ms < replica_lease_until_ms(replica);
}
/* Runs the read when raft has confirmed a read point for it (ReadIndex), and not before the entry
 * `behind` of the present term is applied or lost (0: none).  Takes ownership. */
void consensus_read(struct consensus *consensus, struct replica *replica, struct late_request *late,
                    uint64_t behind);

/* ── members, leadership, snapshots ──────────────────────────────────────────────────────────── */

/* The answer to a write that surely did not and will not happen. */
extern const char consensus_not_done[];
/* For shard.c: the group has applied up to here (its time: replica->last_time_ms).  Forgets entries
 * nobody needs. */
void consensus_applied(struct consensus *consensus, struct replica *replica);
/* Puts the replica among those that shard_apply_committed and consensus_flush look at. */
void consensus_touch(struct consensus *consensus, struct replica *replica);

/* Leader: hand leadership to this member. */
enum raft_result consensus_transfer(struct consensus *consensus, struct replica *replica,
                                    uint64_t node);
/* Leader: change the members to these. */
enum raft_result consensus_change(struct consensus *consensus, struct replica *replica,
                                  const struct raft_config *wanted);
/* The wanted snapshot is received, verified and durable (or failed: snapshot NULL).  True when raft
 * adopts it: the caller then makes it the group's state at once. */
bool consensus_snapshot_done(struct consensus *consensus, struct replica *replica,
                             const struct raft_snapshot *snapshot);
/* Another node says who leads the group (0: that the sender does so no more) in this term. */
void consensus_hint(struct consensus *consensus, struct replica *replica, uint64_t leader,
                    uint64_t term);
/* A leader said that this replica is no member (cluster/vacate.c).  config: what raft begins with
 * again.  RAFT_OK: it has forgotten all; the caller sees to the rest.  Else: not now, or the word
 * is old. */
enum raft_result consensus_vacate(struct consensus *consensus, struct replica *replica,
                                  uint64_t term, uint64_t index, const struct raft_config *config);
/* Writes the hard state of every replica whose last record is older than `sequence` again, so that
 * the AOF before it may go.  Returns the newest sequence that must be synced before it does. */
uint64_t consensus_rewrite_hard_states(struct consensus *consensus, uint64_t sequence);
