/*
 * shard.h — one data thread's partitions: propose -> log -> apply.
 *
 * Every write takes one path: it is encoded once as a log entry (shard_propose_*), it goes to the
 * AOF in this iteration's batch, and when it is committed it is applied to its partition, and only
 * then answered.  Who commits depends on how many there are:
 *
 *   a lone node    is a Raft group with a quorum of one: what the AOF hands back as durable is
 *                  committed, in log order.  What waits, waits in one queue by sequence number.
 *   a member       `consensus` is set: each partition is a Raft group of its own (consensus.h),
 *                  commits on its own, and has its own queue, by index (replica.h).
 *
 * Reads run against what has been applied; a read that follows a write of its own connection waits
 * behind that write.  On a lone node a command that must see the state of several partitions before
 * it can be logged (RENAME over two partitions) raises a barrier: nothing more is admitted until
 * the queue has drained, then it runs and its effects are logged.
 *
 * A write that carries an origin is applied once however often it is sent: its partition's sessions
 * remember the answer (storage/sessions.h).
 *
 * Owned by the data thread.  Knows connections only as the place where an answer goes.
 *
 * Read next: pipeline.c (who calls this), recovery.c (the same apply, at start).
 */
#pragma once

#include "answers.h"
#include "base/prng.h"
#include "cluster/quorum.h"
#include "command/command.h"
#include "command/effect.h"
#include "meter.h"
#include "pending.h"
#include "storage/aof.h"
#include "storage/entry.h"
#include "storage/keyspace.h"
#include "storage/sessions.h"

struct consensus;
struct replica;
struct request_origin;
struct snapshot_meta;

/* One partition's place in its log.  applied <= last_index; what lies between is under way.  Of a
 * replicated group the replica knows term and last index; `applied` is kept here as well. */
struct group {
    uint64_t term;
    uint64_t last_index;   /* newest entry proposed */
    uint64_t applied;      /* newest entry applied */
    uint64_t last_time_ms; /* newest entry's time: never goes back */
    /* Snapshots: the newest and the one before.  0: none.  The log from `needed_sequence` on must
     * be kept so that the older of two generations could still be rolled forward. */
    uint64_t snapshot_index;
    uint64_t snapshot_index_before;
    uint64_t snapshot_sequence; /* the snapshot holds every record of the group up to here */
    uint64_t needed_sequence;   /* UINT64_MAX: the log is not needed for this group */
    bool is_damaged;            /* refused to clients: its files did not verify */
};

/* The arguments of a command, put together by partition. */
struct key_parts {
    uint32_t count;
    uint32_t *partitions;     /* of each part */
    uint32_t *ends;           /* where each part's arguments end in argv */
    const struct slice *argv; /* key groups only, without the command's name */
    uint32_t *order;          /* place in the command of the i-th key of argv: 0, 1, 2 ... */
    uint32_t keys;
};

struct shard {
    struct io *io;
    struct aof *aof;
    struct keyspace keyspace;
    struct group *groups;      /* owned; keyspace.count of them */
    struct sessions *sessions; /* owned; likewise */
    struct kv **discarded;     /* owned, and each of them: contents that are being freed */
    uint32_t discarded_count, discarded_capacity;
    struct prng prng;
    uint64_t now_ms; /* wall clock, never going back; refreshed once per iteration */
    uint64_t now_sampled_ns;

    struct consensus *consensus; /* borrowed; NULL: a lone node */
    struct answers answers;
    struct pending_queue pending; /* lone node: by sequence number */
    uint64_t proposed_sequence;   /* newest record given to the AOF */
    uint64_t applied_sequence;    /* lone node: newest record applied */
    uint32_t damaged_count;       /* groups with is_damaged */

    struct effects effects; /* scratch of effects mode */
    struct buffer captured; /* scratch: a reply in RESP3 that is given later or elsewhere */
    struct key_parts parts; /* scratch of shard_split_keys; owned */
    uint32_t parts_capacity;
    struct slice *part_argv;          /* owned scratch: one part with the command's name */
    struct shard_stage *stage;        /* scratch of apply: PIPELINE_BATCH of them */
    struct meter *meter;              /* borrowed */
    uint64_t parts_ns;                /* what the parts of a split command took so far */
    struct command_stats_delta delta; /* hits and misses since the start (or RESETSTAT) */
    uint64_t entries_applied;
};

/* Allocates the partitions; the AOF is attached after recovery. */
void shard_init(struct shard *shard, struct io *io, uint32_t partitions, uint64_t hash_seed,
                struct meter *meter);
void shard_deinit(struct shard *shard);
/* Scratch of apply (shard_apply.c). */
struct shard_stage *shard_stage_new(void);
void shard_stage_free(struct shard_stage *stage);
/* Samples the clock; called at the start of each iteration. */
void shard_tick(struct shard *shard);

/* Lone node: true while a logged entry has not been applied yet. */
static inline bool shard_is_busy(const struct shard *shard)
{
    return shard->consensus == NULL && shard->applied_sequence != shard->proposed_sequence;
}

/* ── propose ─────────────────────────────────────────────────────────────────────────────────── */

enum propose_result {
    PROPOSE_OK,         /* the asker is answered at apply */
    PROPOSE_NOT_LEADER, /* nothing was done, nobody was answered: another node leads */
    PROPOSE_BUSY,       /* nothing was done, nobody was answered: too much is under way */
};

/* A prepared write. */
struct proposal {
    const struct command *command;
    uint32_t argc;
    const struct slice *argv;
    const struct request_origin *origin; /* NULL or node 0: none */
    struct slowlog_args *typed;          /* as meter_type made it; taken over with PROPOSE_OK */
    bool is_partial;                     /* a part of a split command, and not its last one */
    struct asker asker;
};

/* Logs a write whose keys lie in one partition. */
enum propose_result shard_propose_command(struct shard *shard, uint32_t partition,
                                          const struct proposal *proposal);
/* Member: removes everything the partition holds (a part of FLUSHALL). */
enum propose_result shard_propose_clear(struct shard *shard, uint32_t partition,
                                        const struct proposal *proposal);
/* Lone node: logs one part per partition as one all-or-nothing batch (SPREAD_SPLIT). */
void shard_propose_split(struct shard *shard, const struct proposal *proposal);
/* Lone node: runs a conditional write against the applied state and logs its effects as one batch;
 * requires !shard_is_busy.  Answers at once when there are none (an error, nothing to do). */
void shard_propose_effects(struct shard *shard, const struct command *command, uint32_t argc,
                           const struct slice *argv, const struct asker *asker);
/* Logs an entry that no client waits for; false when this node may not (not the leader). */
bool shard_propose_entry(struct shard *shard, uint32_t group, enum entry_kind kind,
                         struct slice body);
/* Logs EXPIRE entries for what is due, up to a bound; true when more is due right now. */
bool shard_propose_expiry(struct shard *shard);

/* Sorts the key groups of a command (its first key is argv[1]) by partition, in linear time.  Valid
 * until the next call. */
const struct key_parts *shard_split_keys(struct shard *shard, const struct command *command,
                                         uint32_t argc, const struct slice *argv);

/* ── apply ───────────────────────────────────────────────────────────────────────────────────── */

/* Takes what the AOF made durable.  Lone node: applies it in order and answers. */
void shard_apply_durable(struct shard *shard);
/* Member: applies what has been committed and answers; runs reads that waited. */
void shard_apply_committed(struct shard *shard);
/* Applies one entry at recovery, with nobody to answer; false when its body is malformed. */
MUST_USE bool shard_apply_recovered(struct shard *shard, const struct entry *entry);

/* For consensus.c: entries of the replica from `index` on have been appended to the AOF. */
void shard_note_appended(struct shard *shard, const struct replica *replica, uint64_t index);
/* AOF sequence of a replicated group's entry; 0 when it is not in the window (any more). */
uint64_t shard_sequence_of(const struct shard *shard, uint32_t group, uint64_t index);
/* A received snapshot becomes the partition: takes over kv and the contents of *sessions; the old
 * ones are discarded.  meta: index, term and time it stands at. */
void shard_adopt(struct shard *shard, uint32_t partition, struct kv *kv, struct sessions *sessions,
                 const struct snapshot_meta *meta, const struct raft_config *config);
/* The partition holds nothing any more, and has no snapshots; the replica is the caller's. */
void shard_vacate(struct shard *shard, uint32_t partition);
/* Takes over contents that nobody needs any more, but for views that are still open. */
void shard_discard(struct shard *shard, struct kv *kv);
/* Frees a bounded part of what was discarded. */
void shard_reclaim(struct shard *shard);
bool shard_has_discarded(const struct shard *shard); /* something can be freed right now */

/* ── reads ───────────────────────────────────────────────────────────────────────────────────── */

/* Lone node: runs the read when everything logged so far has been applied.  Takes ownership. */
void shard_read_later(struct shard *shard, struct late_request *late);
/* The time at which a command on this key runs if it comes now: never before what other leaders'
 * clocks have said. */
uint64_t shard_key_time_ms(const struct shard *shard, struct slice key);
/* Member: runs it when everything this leader has logged in the group has been applied. */
void shard_read_behind(struct shard *shard, struct replica *replica, struct late_request *late);
/* Where a request's first key lies, when somebody already knows.  Of a part of a COMMAND_KEYSPACE:
 * which partition it is about. */
struct key_place {
    bool is_known;
    uint32_t partition;
    uint64_t hash;
};
/* Runs a read now. */
void shard_run_read(struct shard *shard, const struct command *command, uint32_t argc,
                    const struct slice *argv, struct key_place place, struct reply *reply);
