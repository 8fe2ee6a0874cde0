/*
 * recovery.h — from a data directory to a serving shard: newest good snapshots, then the log.
 *
 * For each partition the newest snapshot that verifies is loaded (else the one before); then every
 * log entry after it is applied.  What was durable and cannot be read any more is damage: the
 * partitions it may concern are not served (`strict`), or served with what is left (`salvage`).
 * Nothing is ever dropped without a line that says what and where.
 */
#pragma once

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
};

/* Fills the shard and opens its AOF.  < 0: cannot start; `error` says why in one line. */
MUST_USE int recovery_run(struct io *io, struct log *log, const struct recovery_options *options,
                          struct shard *shard, struct recovery_result *out_result, char *error,
                          size_t error_size);
