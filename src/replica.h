/*
 * replica.h — one group's replica on this node: Raft, the bytes of its log, who waits for it.
 *
 * Raft (src/cluster) sees no bytes: of an entry it knows index, term, kind and size.  The window
 * holds the encoded bytes of the entries from window_first on, for the disk, for the peers and for
 * apply.  Entries proposed in this iteration are queued at its end and given to raft together.
 *
 *   window_first ... applied ... commit ... raft_last_index ... window_last
 *                                                          \ queued: not yet given to raft
 *
 * Only consensus.c steps the raft.  Read next: consensus.h.
 */
#pragma once

#include "base/slice.h"
#include "cluster/raft.h"
#include "pending.h"

/* The log's number of the group that holds the members; partitions are groups 0, 1, 2 ... */
enum { GROUP_META = 0xFFFF };

/* An entry's encoded bytes. */
struct window_entry {
    char *bytes; /* owned */
    uint32_t size;
    uint64_t sequence; /* of its record in the AOF; 0: not appended yet */
};

/* What a replica starts from: recovery found it, or it is a new one's. */
struct replica_boot {
    uint64_t term, voted_for;
    struct raft_snapshot base; /* applied: the state machine stands here */
    uint64_t commit_index;     /* known to be committed; 0: base.index */
    bool is_suspect;           /* durable state may have been lost */
    bool is_vacated;           /* it holds nothing, and the disk knows that it is suspect */
};

/* ANY reads of a partition that was not held here went to its leader, and may have seen more than
 * arrives here at first: they must not go back. */
enum any_gate {
    ANY_HERE,   /* this replica answers */
    ANY_AWAY,   /* the leader does */
    ANY_BRIDGE, /* none is away, and a linearizable read here (any_read_id) will prove it fresh */
};

struct replica {
    struct raft *raft; /* owned */
    void *log_memory;  /* owned */
    uint32_t log_capacity;
    uint32_t group; /* partition number, or GROUP_META */
    uint32_t slot;  /* its place among the node's replicas */

    struct window_entry *window; /* owned ring by index */
    uint32_t window_capacity;
    uint64_t window_first, window_last; /* empty: window_last == window_first - 1 */
    uint64_t window_bytes;
    uint64_t queued_first; /* first index not yet given to raft; window_last + 1: none */

    uint64_t applied, applied_term;
    uint64_t hinted_commit; /* the commit index last written to the AOF */
    uint64_t last_time_ms;  /* of the newest entry seen: time never goes back */

    struct pending_queue pending; /* by index */
    uint64_t next_read_id, confirmed_read_id, read_index;
    struct pending_queue reads; /* linearizable reads waiting for a confirmation; by read id */
    enum any_gate any_gate;
    uint64_t any_read_id;

    /* Copies of what raft says, for the fast paths; refreshed after each step.  term and leader may
     * be what other nodes say (hints.h), when that is newer. */
    enum raft_role role;
    uint64_t term, leader, commit_index;
    uint64_t hint_term, hint_leader; /* leader 0: nobody leads in that term any more */
    bool is_vacant; /* holds nothing of the group, and does not vote, as far as it knows */
    bool is_lease_known;
    uint64_t lease_ms; /* is_lease_known: raft_lease_until_ms */

    uint64_t sent_read_id; /* read points were asked for up to here */

    struct raft_persist persisted; /* scratch: the last output of a durable batch; id 0: none */
    uint64_t queued_bytes;         /* of the queued entries */
    uint64_t counted_bytes;        /* of the window, as counted in consensus->window_bytes */
    uint64_t unhinted_bytes;       /* of entries appended since the last commit hint */
    uint64_t hard_state_sequence; /* of the newest AOF_HARD_STATE record; 0: none in this process */
    bool has_transfer;            /* leadership is being handed over: nothing is proposed */

    bool is_dirty;              /* in consensus->dirty: something queued, or to be applied */
    bool is_fetching;           /* a snapshot */
    bool is_vacated;            /* vacant, and suspect as the disk knows (replica_boot) */
    bool is_purging;            /* vacated: its files are still to be deleted (vacancy.h) */
    uint64_t transfer_until_ms; /* leadership is being handed over: do not ask again before */
    struct raft_config applied_config; /* of the last CONFIG entry applied */
};

/* `entries`: the encoded entries behind boot->base, oldest first, as recovery read them (rewritten
 * ones replaced); takes over their bytes (mem_alloc'd).  NULL when they contradict the base. */
struct replica *replica_new(uint32_t group, const struct raft_options *options,
                            const struct replica_boot *boot, uint64_t now_ms,
                            const struct slice *entries, uint32_t entries_count);
void replica_free(struct replica *replica);

/* The encoded bytes of an entry in the window. */
struct slice replica_bytes(const struct replica *replica, uint64_t index);
/* Appends at window_last + 1 and takes ownership of the bytes (mem_alloc'd).  The entry is queued
 * when `queued`: raft does not have it yet. */
void replica_window_append(struct replica *replica, char *bytes, uint32_t size, bool queued);
struct window_entry *replica_window_at(const struct replica *replica, uint64_t index);
/* Drops the entries from `index` on. */
void replica_window_truncate(struct replica *replica, uint64_t index);
/* Drops the entries up to `index`. */
void replica_window_forget(struct replica *replica, uint64_t index);
/* Makes it empty; the next entry is `first`. */
void replica_window_reset(struct replica *replica, uint64_t first);
/* Refreshes the copies of raft's state. */
void replica_refresh(struct replica *replica);
/* A read that begins before it may run at once; 0: no lease.  Asked of raft once between two steps,
 * and only when there is a read. */
static inline uint64_t replica_lease_until_ms(struct replica *replica)
{
    if (!replica->is_lease_known) {
        replica->is_lease_known = true;
        replica->lease_ms = raft_lease_until_ms(replica->raft);
    }
    return replica->lease_ms;
}
static inline bool replica_is_leader(const struct replica *replica)
{
    return replica->role == RAFT_LEADER;
}
/* Nothing of the group is here nor on its way, and nothing that was here is missed. */
static inline bool replica_is_empty(const struct replica *replica)
{
    return replica->is_vacant && !replica->is_fetching &&
           (replica->is_vacated || !raft_is_suspect(replica->raft));
}
/* Linearizable reads wait for their confirmation. */
static inline bool replica_has_waiting_reads(const struct replica *replica)
{
    return replica->reads.head != replica->reads.tail;
}
static inline bool replica_has_queued(const struct replica *replica)
{
    return replica->queued_first <= replica->window_last;
}
