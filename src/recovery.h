/*
 * recovery.h — from a data directory to a serving shard: newest good snapshots, then the log.
 *
 * For each partition the newest snapshot that verifies is loaded (else the one before); then every
 * log entry after it is applied.  What was durable and cannot be read any more is damage: the
 * partitions it may concern are not served (`strict`), or served with what is left (`salvage`).
 * Nothing is ever dropped without a line that says what and where.
 *
 * A member of a cluster applies only what is known to be committed and hands the rest to Raft
 * (recovery_member.h).  There damage is no error to clients: a group that may have lost something
 * is marked suspect, and gets it from its peers.
 */
#pragma once

#include "consensus.h"
#include "members.h"
#include "shard.h"
#include "storage/data_dir.h"

#include <stdbool.h>

struct io;
struct log;

struct recovery_options {
    const char *dir;
    bool salvage; /* serve damaged partitions with what could be read */
    enum aof_sync sync;
    uint64_t segment_bytes;
    const struct data_dir_meta *meta;
};

struct recovery_result {
    uint64_t snapshots, snapshot_keys, snapshots_rejected;
    uint64_t records, skipped; /* log records applied; already in a snapshot */
    uint64_t damages;
    bool is_torn; /* an unacknowledged tail was left behind */
    uint64_t next_segment;
    uint64_t took_ms;
    /* Of a member of a cluster. */
    struct members members;      /* as far as the meta group's entries are committed */
    struct replica_log *logs;    /* partitions, then the meta group; owned */
    uint32_t logs_count;         /* 0: not clustered */
    uint32_t suspects;           /* groups that may have lost something */
    uint64_t clustered_sequence; /* for the meta file, before anything is appended: it is lower
                                    than it was when the log had ended before it */
};

/* Fills the shard and opens its AOF.  < 0: cannot start; `error` says why in one line. */
MUST_USE int recovery_run(struct io *io, struct log *log, const struct recovery_options *options,
                          struct shard *shard, struct recovery_result *out_result, char *error,
                          size_t error_size);
/* Frees the logs, but for the entries' bytes, which consensus_new has taken over. */
void recovery_logs_free(struct recovery_result *result);
/* Frees the bytes as well: nobody took them. */
void recovery_logs_drop(struct recovery_result *result);

/* True when no replica is suspect (any more), but for those that were vacated: their disk says so.
 * NULL: a lone node. */
bool recovery_is_settled(const struct consensus *consensus);
/* Notes in the meta file's contents on which machine, and how, this process writes the log; the
 * next recovery asks for it.  Called at start (is_settled: no suspects), and before every later
 * write of the meta file (is_settled: recovery_is_settled): as long as a replica is suspect the old
 * notes stay, so that a crash does not make it look sound.  For the same reason a stop may only be
 * called clean when the node is settled. */
void recovery_stamp(struct io *io, bool is_settled, enum aof_sync sync, struct data_dir_meta *meta);
