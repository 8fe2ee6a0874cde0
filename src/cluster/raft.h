/*
 * raft.h — consensus for one partition, as a pure state machine.
 *
 * One struct raft is one replica of one group.  It owns no socket, no file, no clock and no heap:
 * everything it learns arrives in a raft_input, everything it wants done leaves in a raft_output.
 * Same inputs, same outputs, always.  raft_step cannot fail.
 *
 * The driver's contract:
 *   1. Persist, in the order of the outputs: hard state (term, vote), log reset, entries.  When all
 *      of an output is durable, feed PERSISTED with its `persist`.  Votes and acknowledgements are
 *      produced by that input alone, so an unsynced promise cannot be sent.
 *   2. Send the messages of an output at once, in parallel with the disk; they may get lost.
 *   3. Apply the entries in (applied, commit_index] in order, each exactly once.
 *   4. TICK no later than `deadline_ms`; take now_ms from a monotonic clock that also runs while
 *      the machine sleeps, sampled *after* the request of a READ arrived.
 *   5. Serve a read once `read_id_confirmed` covers it and read_index is applied.
 *
 * Read next: README.md (theory), raft_internal.h (the state), election.c (who leads),
 * replication.c (how entries spread), read_index.c (reads), tests/spec/raft (worked examples).
 */
#pragma once

#include "base/compiler.h"
#include "cluster/raft_message.h"

#include <stddef.h>

struct raft; /* raft_sizeof() bytes */

enum raft_role { RAFT_FOLLOWER, RAFT_PRECANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };

struct raft_options {
    uint64_t cluster;
    uint64_t node;        /* > 0 */
    uint64_t incarnation; /* of the data directory: a wiped node is another node */
    uint32_t group;
    uint64_t boot; /* grows with every start: tells what was said before a crash */
    uint64_t seed; /* of the election timers: differs between nodes */
    uint32_t heartbeat_ms;
    uint32_t election_timeout_ms;   /* elections begin after 1 to 2 times this; >= 2 heartbeats */
    uint32_t disk_stall_ms;         /* a leader whose disk stands still that long steps down */
    uint32_t clock_drift_percent;   /* every clock runs within this of real time; < 50 */
    bool lease_reads;               /* trust clocks: reads cost no round trip */
    uint32_t entry_overhead_bytes;  /* encoded size of an entry with an empty body */
    uint32_t append_bytes_max;      /* entries of one APPEND (one entry may be larger) */
    uint64_t inflight_bytes_max;    /* unacknowledged bytes to one peer */
    uint64_t uncommitted_bytes_max; /* proposals are refused above this */
};

struct raft_snapshot {
    uint64_t index, term;
    struct raft_config config; /* in force at index: the last CONFIG entry applied */
};

/* What storage remembers.  A new group: term 0, snapshot (0, 0, initial configuration). */
struct raft_boot {
    uint64_t now_ms;
    uint64_t term, voted_for;
    struct raft_snapshot snapshot;
    uint64_t commit_index; /* a lower bound that is known to be committed; 0: none */
    bool is_suspect; /* durable state may have been lost: no vote, no counted ack until caught up */
};

/* Handed out by an output, given back by PERSISTED. */
struct raft_persist {
    uint64_t id;    /* 0: the output has nothing to persist */
    uint64_t index; /* the log's last index at that moment */
};

enum raft_input_kind {
    RAFT_INPUT_TICK,          /* time moved */
    RAFT_INPUT_MESSAGE,       /* a peer's message, its checksum verified */
    RAFT_INPUT_PROPOSE,       /* leader: append these entries, encoded for raft_last_index() + 1 ...
                               * and raft_term() */
    RAFT_INPUT_READ,          /* a linearizable read point for all reads <= read_id, please */
    RAFT_INPUT_PERSISTED,     /* this output and all before it are durable */
    RAFT_INPUT_SNAPSHOT_DONE, /* the wanted snapshot is received, verified and durable (or failed)
                               */
    RAFT_INPUT_TRANSFER,      /* leader: hand leadership to this voter */
    RAFT_INPUT_CONFCHANGE,    /* leader: change the members to these */
    RAFT_INPUT_COMPACT,       /* a snapshot is durable; entries <= index may be forgotten */
    RAFT_INPUT_VACATE,        /* a leader said that this replica is no member: forget everything */
};

struct raft_input {
    enum raft_input_kind kind;
    uint64_t now_ms;
    union {
        const struct raft_message *message;
        struct {
            const struct raft_entry *entries;
            uint32_t count;
        } propose;
        struct {
            uint64_t read_id; /* ascending */
        } read;
        struct raft_persist persisted;
        struct {
            const struct raft_snapshot *snapshot; /* as it was wanted */
            bool has_failed;
        } snapshot_done;
        struct {
            uint64_t target;
        } transfer;
        const struct raft_config *confchange; /* voters and learners wanted */
        struct {
            uint64_t index;                       /* <= snapshot->index */
            const struct raft_snapshot *snapshot; /* what peers will be offered */
        } compact;
        struct {
            uint64_t term, index;             /* the leader's word: raft_is_gone */
            const struct raft_config *config; /* to begin with again: we do not vote in it */
        } vacate;
    };
};

/* The answer to PROPOSE, TRANSFER, CONFCHANGE and VACATE.  Everything but RAFT_OK is a definite
 * "no". */
enum raft_result {
    RAFT_OK = 0,
    RAFT_NOT_LEADER,
    RAFT_TRANSFERRING,   /* leadership is being handed over */
    RAFT_FULL,           /* log slots or uncommitted bytes exhausted: try later */
    RAFT_STALE,          /* the entries were encoded for another index or term; what the leader
                          * said is older than what this replica has seen since */
    RAFT_CONFIG_PENDING, /* a change is under way, or this term has committed nothing yet */
    RAFT_CONFIG_INVALID,
    RAFT_CONFIG_SAME,
    RAFT_TARGET_INVALID,
};

struct raft_output {
    /* What to persist, in this order, under persist.id. */
    struct raft_persist persist;
    bool hard_state_changed;
    uint64_t term, voted_for;
    bool is_suspect; /* belongs to the hard state: what the next boot is to begin with */
    bool log_reset;  /* whatever it held, the log is empty behind the snapshot at ... (index 0: it
                      * was vacated, the state machine is empty, too) */
    uint64_t log_reset_index, log_reset_term;
    const struct raft_entry *entries; /* they replace whatever has their index or a higher one */
    uint32_t entries_count;           /* borrowed from the input or from this struct */

    uint32_t messages_count;
    uint64_t commit_index;
    uint64_t read_id_confirmed; /* 0: none in this step; else reads <= it may be served ... */
    uint64_t read_index;        /* ... once this is applied */
    bool snapshot_adopted;      /* the snapshot just fed is the state machine now */
    bool snapshot_wanted;       /* fetch this snapshot from snapshot_from; then SNAPSHOT_DONE */
    uint64_t snapshot_from;
    struct raft_snapshot snapshot;
    enum raft_result result;
    uint64_t deadline_ms; /* send TICK no later than this */

    struct raft_entry own_entry; /* where `entries` points for NOOP and CONFIG */
    struct raft_config own_config;
    struct raft_message messages[RAFT_OUTBOX_MAX];
};

size_t raft_sizeof(void);
size_t raft_log_memory_bytes(uint32_t capacity);
/* `raft`: raft_sizeof() bytes; `log_memory`: raft_log_memory_bytes(log_capacity) bytes, the caller
 * owns both.  log_capacity is a power of two. */
void raft_init(struct raft *raft, const struct raft_options *options, const struct raft_boot *boot,
               void *log_memory, uint32_t log_capacity);

/* Recovery: after raft_init, before the first step, the log's entries as they were written since
 * the last log reset.  After RAFT_BOOT_CONFLICT stop: the first output will reset the log. */
enum raft_boot_outcome {
    RAFT_BOOT_OK = 0,
    RAFT_BOOT_COVERED,  /* the snapshot has it: skipped */
    RAFT_BOOT_CONFLICT, /* it contradicts the snapshot: it and all written so far is void */
    RAFT_BOOT_INVALID,  /* it contradicts what is committed, or the term: corrupt */
    RAFT_BOOT_GAP,      /* entries are missing before it: the log cannot be used */
    RAFT_BOOT_FULL,     /* call raft_log_resize with more memory and repeat */
};
MUST_USE enum raft_boot_outcome raft_boot_append(struct raft *raft, const struct raft_entry *entry);

/* Never fails, never allocates.  `output` is overwritten; it must not be moved while it is used. */
void raft_step(struct raft *raft, const struct raft_input *input, struct raft_output *output);

/* Moves the log to other memory, when raft_log_space says it is short or ample.  Returns the old
 * memory, or NULL (nothing moved) when the entries would not fit. */
MUST_USE void *raft_log_resize(struct raft *raft, void *log_memory, uint32_t capacity);

/* Looking, between steps. */
enum raft_role raft_role(const struct raft *raft);
uint64_t raft_term(const struct raft *raft);
uint64_t raft_voted_for(const struct raft *raft);
uint64_t raft_leader(const struct raft *raft);      /* 0: unknown */
uint64_t raft_first_index(const struct raft *raft); /* of the entries still described */
uint64_t raft_last_index(const struct raft *raft);
uint64_t raft_commit_index(const struct raft *raft);
uint64_t raft_durable_index(const struct raft *raft);
/* Every member has the entries up to here on its disk, as far as this replica knows: a follower
 * learns it from heartbeats. */
uint64_t raft_shared_index(const struct raft *raft);
uint32_t raft_log_space(const struct raft *raft); /* slots left for proposals */
uint64_t raft_uncommitted_bytes(const struct raft *raft);
/* Term and kind of an entry in [first, last]; false when it is not described any more. */
bool raft_entry_at(const struct raft *raft, uint64_t index, uint64_t *out_term, uint8_t *out_kind);
/* The configuration in force (the latest in the log), and the index of its entry. */
const struct raft_config *raft_config(const struct raft *raft, uint64_t *out_index);
/* This replica votes in that configuration. */
bool raft_self_is_voter(const struct raft *raft, const struct raft_config *config);
bool raft_is_suspect(const struct raft *raft);
/* ... as the hard state of the last output said. */
bool raft_is_suspect_on_disk(const struct raft *raft);
/* When a leader was heard last, and some leader at all since the start (else the start). */
uint64_t raft_leader_heard_ms(const struct raft *raft);
/* Leader: the node is surely no member of the group (vacate.c).  *out_index: as of which index;
 * with raft_term what its VACATE asks for. */
bool raft_is_gone(const struct raft *raft, uint64_t node, uint64_t *out_index);
bool raft_has_transfer(const struct raft *raft);
/* True when no other node can have become leader before now_ms. */
bool raft_lease_holds(const struct raft *raft, uint64_t now_ms);
/* A linearizable read that begins before this may be served at once, from what is committed then:
 * no other node can have become leader, and this one has committed in its term.  0: no such time.
 * UINT64_MAX: nobody else votes. */
uint64_t raft_lease_until_ms(const struct raft *raft);
/* What the leader knows of a peer; false when we do not lead or it is no member. */
struct raft_peer_view {
    uint64_t match, next;
    uint8_t state;        /* enum raft_progress_state */
    uint64_t answered_ms; /* when the latest heartbeat it answered was sent */
    bool is_suspect;      /* its match does not count */
};
bool raft_peer(const struct raft *raft, uint64_t node, struct raft_peer_view *out_view);
