/*
 * recovery_member.h — the logs of a member's replicas, as recovery reads them record by record.
 *
 * A lone node's log is simple: what is there is committed.  A member's is Raft's: the end of a
 * group's log may be replaced, and only a commit hint (storage/hard_state.h) says which entries may
 * be applied.  So per group the entries behind the last hint are kept in memory:
 *
 *   base ....... applied ....... last          then: entry   last + 1 is kept, a lower one replaces
 *   snapshot     certain         kept                        what stands there and all behind it
 *                                              hint    commit: kept entries up to it are applied
 *                                              reset   nothing is kept; the base is what counts
 *
 * Records that a node wrote while it was alone (below data_dir_meta.clustered_sequence) need no
 * hint.  A snapshot that another node sent may lie ahead of this log, and its entry may contradict
 * it (the crash came before the reset was written): then the log is void, and raft is given the one
 * entry that shows it, so that it writes the reset.
 *
 * Damage.  A member must not pretend: an acknowledged entry or a vote that was lost, and is not
 * known to be lost, would let a minority decide.  A group is *suspect* when something is missing:
 *
 *   - an entry, a hint or a reset does not follow what is there (a hole), or a snapshot stood
 *     further: the group is cut back to the last entry it could apply;
 *   - records were lost, and behind them none proves the group whole: an entry that follows (or a
 *     reset) proves its log, a hard state its vote.  What was kept when they were lost is dropped:
 *     they might have replaced it;
 *   - it was suspect when its newest hard state was written: it had not been completed;
 *   - the log's first file is gone, and no hard state of the group is left: who gives up log writes
 *     the hard state of every group again behind it (snapshots.c), so this was not he;
 *   - the power failed while the log was not synced before it was acknowledged.
 *
 * Raft lets a suspect follow, but neither vote nor count, until a leader has shown it everything.
 * The evidence stays on disk until then (snapshots.c).
 *
 * A replica that was vacated (src/cluster/vacate.c) left a reset to index 0: everything before it
 * is void, entries and snapshots, but for a snapshot that was begun after it: that is of the
 * replica's next life.  Its hard state says that it is suspect; so it is, until one says otherwise.
 *
 * Read next: recovery.c, src/cluster/README.md.
 */
#pragma once

#include "consensus.h"
#include "members.h"
#include "shard.h"
#include "storage/data_dir.h"
#include "storage/hard_state.h"
#include "storage/snapshot.h"

struct log;

/* One group's log while it is read. */
struct group_log {
    uint64_t base_index, base_term; /* what its snapshot stands at */
    uint64_t base_sequence;         /* of the log when that was begun */
    uint64_t applied, applied_term;
    struct raft_config config; /* as applied */
    struct hard_state hard;    /* the newest */
    uint64_t committed;        /* the highest hint */
    uint64_t newest_term;
    struct slice *kept; /* owned, and the bytes: entries applied + 1 ... from kept_head on */
    uint32_t kept_head, kept_end, kept_capacity;
    uint64_t kept_term;       /* of the last one */
    struct slice conflict;    /* owned: the entry that contradicts the base; size 0: none */
    uint64_t claimed;         /* some file says that the group once stood here */
    uint64_t lost_sequence;   /* newest lost record that may have been its; 0: none */
    uint64_t log_proof;       /* newest record that shows the log whole up to there */
    uint64_t vote_proof;      /* newest hard state */
    uint64_t beyond_sequence; /* oldest record of an entry behind the base; 0: none */
    bool has_hole;
};

struct recovery_member {
    struct shard *shard;             /* borrowed */
    struct log *log;                 /* borrowed */
    struct members members;          /* as the meta group's entries have changed them so far */
    uint64_t self;                   /* this node's number */
    struct raft_config first_config; /* of a group without entries */
    uint64_t clustered_sequence;
    struct group_log *groups; /* owned: partitions, then the meta group */
    uint32_t count;
    uint64_t applied, skipped; /* entries */
};

/* False when the members in the meta file cannot be read. */
MUST_USE bool recovery_member_init(struct recovery_member *member, struct shard *shard,
                                   struct log *log, const struct data_dir_meta *meta);
void recovery_member_deinit(struct recovery_member *member);

/* A partition's snapshot was loaded; `config` may be empty (a lone node's). */
void recovery_member_base(struct recovery_member *member, const struct snapshot_meta *meta,
                          const struct raft_config *config);
/* A snapshot file, good or bad, says that the group once stood here. */
void recovery_member_claim(struct recovery_member *member, uint32_t group, uint64_t index);

/* The next record.  False: it is malformed, or nothing this version can apply. */
MUST_USE bool recovery_member_record(struct recovery_member *member,
                                     const struct aof_record *record);
/* Records up to this one were lost; of this group, or nobody knows (-1). */
void recovery_member_lost(struct recovery_member *member, int32_t group, uint64_t last_sequence);

struct recovery_verdict {
    bool salvage;        /* suspect nobody: take what is left for all there is */
    bool has_lost_power; /* what was acknowledged may not have been on disk */
    bool begins_late;    /* what was written first as a member is not there (any more) */
    uint64_t self;       /* this node's number */
    uint64_t next_sequence;
};
/* The end: fills in logs (member->count of them) and takes the entries along; sets the groups'
 * places.  Returns how many are suspect. */
uint32_t recovery_member_finish(struct recovery_member *member,
                                const struct recovery_verdict *verdict, struct replica_log *logs);
