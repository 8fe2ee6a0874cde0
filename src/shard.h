/*
 * shard.h — one data thread's partitions: propose -> log -> apply.
 *
 * Every write takes one path: it is encoded once as a log entry (shard_propose_*), it goes to the
 * AOF in this iteration's batch, and when the AOF hands it back as durable it is committed (a lone
 * node is a Raft group with a quorum of one), applied to its partition, and only then answered.
 * Reads run against what has been applied; a read that follows a write of its own connection waits
 * behind that write.
 *
 * What waits, waits in one queue in log order (`pending`): the owners of logged entries and the
 * reads behind them.  A command that must see the state before it can be logged (RENAME over two
 * partitions) raises a barrier: nothing more is admitted until the queue has drained, then it runs
 * and its effects are logged.
 *
 * Owned by the data thread.  Knows connections only as the place where an answer goes.
 *
 * Read next: pipeline.c (who calls this), recovery.c (the same apply, at start).
 */
#pragma once

#include "base/prng.h"
#include "command/command.h"
#include "command/effect.h"
#include "meter.h"
#include "network/server.h"
#include "storage/aof.h"
#include "storage/entry.h"
#include "storage/keyspace.h"

/* One partition's place in its log.  applied <= last_index; what lies between is under way. */
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

/* A request whose arguments were copied because it runs later. */
struct late_request {
    struct conn *conn;
    uint64_t ticket;
    const struct command *command;
    uint32_t argc;
    struct slice *argv; /* lies behind the struct, in the same allocation */
    uint64_t after;     /* kept requests: runs when this record has been applied */
    struct late_request *next;
};

/* The answer to a command that was split over several partitions. */
struct gather {
    struct conn *conn;
    uint64_t ticket;
    const struct command *command;
    uint32_t parts_left;
    int64_t sum;
};

enum pending_kind {
    PENDING_WRITE,   /* the entry's own client: answered by apply */
    PENDING_PART,    /* one part of a gather */
    PENDING_EFFECTS, /* the answer is known, and given when the effects are applied */
    PENDING_READ,    /* runs when everything before it has been applied */
};

struct pending {
    uint64_t sequence; /* waits for this record of the log */
    enum pending_kind kind;
    union {
        struct {
            struct conn *conn;
            uint64_t ticket;
        } client;
        struct gather *gather;
        struct late_request *read;
    };
    struct buffer answer;       /* PENDING_EFFECTS: the reply in RESP2; owned */
    struct slowlog_args *typed; /* WRITE, last PART: as meter_type made it; owned */
};

struct shard {
    struct io *io;
    struct aof *aof;
    struct keyspace keyspace;
    struct group *groups; /* owned; keyspace.count of them */
    struct prng prng;
    uint64_t now_ms; /* wall clock, never going back; refreshed once per iteration */
    uint64_t now_sampled_ns;

    struct pending *pending; /* ring, owned; power of two */
    uint32_t pending_capacity;
    uint64_t pending_head, pending_tail; /* counters; slot = counter & (capacity - 1) */
    uint64_t proposed_sequence;          /* newest record given to the AOF */
    uint64_t applied_sequence;           /* newest record applied */
    uint32_t damaged_count;              /* groups with is_damaged */

    struct effects effects; /* scratch of effects mode */
    struct buffer captured; /* scratch: a reply in RESP2 that is given later or elsewhere */
    struct slice *split;    /* scratch of shard_propose_split */
    uint32_t split_capacity;
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
/* Samples the clock; called at the start of each iteration. */
void shard_tick(struct shard *shard);

/* True while a logged entry has not been applied yet. */
static inline bool shard_is_busy(const struct shard *shard)
{
    return shard->applied_sequence != shard->proposed_sequence;
}

/* ── propose ─────────────────────────────────────────────────────────────────────────────────── */

/* Logs a write whose keys lie in one partition; the client is answered at apply.  Takes `typed`
 * over (meter_type). */
void shard_propose_command(struct shard *shard, uint32_t partition, const struct command *command,
                           uint32_t argc, const struct slice *argv, struct conn *conn,
                           uint64_t ticket, struct slowlog_args *typed);
/* Logs one part per partition as one all-or-nothing batch (SPREAD_SPLIT). */
void shard_propose_split(struct shard *shard, const struct command *command, uint32_t argc,
                         const struct slice *argv, struct conn *conn, uint64_t ticket,
                         struct slowlog_args *typed);
/* Runs a conditional write against the applied state and logs its effects as one batch; requires
 * !shard_is_busy.  Answers at once when there are none (an error, nothing to do). */
void shard_propose_effects(struct shard *shard, const struct command *command, uint32_t argc,
                           const struct slice *argv, struct conn *conn, uint64_t ticket);
/* Logs an entry that no client waits for. */
void shard_propose_entry(struct shard *shard, uint32_t partition, enum entry_kind kind,
                         struct slice body);
/* Logs EXPIRE entries for what is due, up to a bound; true when more is due right now. */
bool shard_propose_expiry(struct shard *shard);

/* ── apply ───────────────────────────────────────────────────────────────────────────────────── */

/* Takes what the AOF made durable, applies it in order and answers. */
void shard_apply_durable(struct shard *shard);
/* Applies one entry at recovery, with nobody to answer; false when its body is malformed. */
MUST_USE bool shard_apply_recovered(struct shard *shard, const struct entry *entry);

/* ── reads ───────────────────────────────────────────────────────────────────────────────────── */

/* A copy of a request (free with late_request_free). */
struct late_request *late_request_new(struct conn *conn, uint64_t ticket,
                                      const struct command *command, uint32_t argc,
                                      const struct slice *argv);
void late_request_free(struct late_request *late);
/* Runs the read when everything logged so far has been applied.  Takes ownership. */
void shard_read_later(struct shard *shard, struct late_request *late);
/* Where a request's first key lies, when somebody already knows. */
struct key_place {
    bool is_known;
    uint32_t partition;
    uint64_t hash;
};
/* Runs a read now. */
void shard_run_read(struct shard *shard, const struct command *command, uint32_t argc,
                    const struct slice *argv, struct key_place place, struct reply *reply);
