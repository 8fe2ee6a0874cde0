/*
 * data_dir.h — who a data directory belongs to, and that one process at a time uses it.
 *
 * Two files, meta-a and meta-b, written in turn, each checksummed with a generation number: the
 * newest valid one counts, so that a crash while writing one leaves the other.  Both bad: the
 * directory is refused (a node without its identity must not guess).
 *
 * They also hold the snapshot of the meta group: the members of the cluster, as bytes that storage
 * does not look into (members.h).
 */
#pragma once

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct io;

enum {
    DATA_DIR_ID_MAX = 64,
    DATA_DIR_FORMAT = 3, /* 1 knew no cluster; read as not clustered.  2: an older list of members,
                            which members.h reads */
    DATA_DIR_BOOT_MAX = 40,
    DATA_DIR_MEMBERS_BYTES_MAX = 4096,
};

struct data_dir_meta {
    char node_id[DATA_DIR_ID_MAX]; /* NUL-terminated */
    uint8_t cluster_id[16];
    uint64_t identity;  /* random, made with the directory: ties its files together */
    uint64_t hash_seed; /* of the keyspace */
    uint32_t partitions;
    uint64_t boots;       /* times opened for serving */
    bool clean;           /* the last process stopped cleanly */
    uint64_t aof_segment; /* newest segment number that may exist (a later file is
                             missing if the AOF ends before it) */
    /* Of a member of a cluster. */
    bool was_lax;                /* appendfsync was not `always` at some time since the last clean
                                    stop: a power loss may have taken what was acknowledged */
    bool is_clustered;           /* every group's log is Raft's */
    uint64_t clustered_sequence; /* log records below it are committed: a quorum of one wrote them;
                                    0: a newcomer's, which was never alone */
    char machine_boot[DATA_DIR_BOOT_MAX]; /* io_machine_boot (recovery_stamp); NUL-terminated */
    uint32_t members_size;                /* 0: none */
    char members[DATA_DIR_MEMBERS_BYTES_MAX];
};

enum data_dir_result {
    DATA_DIR_NEW,      /* was empty: `meta` is untouched, fill it in and call data_dir_write */
    DATA_DIR_EXISTING, /* `meta` is filled in */
    DATA_DIR_LOCKED,   /* another process has it */
    DATA_DIR_DAMAGED,  /* both copies bad, or data files without any copy */
    DATA_DIR_TOO_NEW,  /* written by a later format */
    DATA_DIR_ERROR,    /* `error` < 0 */
};

struct data_dir; /* holds the lock */

/* Creates the directory (and its parents) if need be, locks it, reads the newest valid copy.
 * read_only: for offline checks; no lock is waited for, nothing is created or changed. */
enum data_dir_result data_dir_open(struct io *io, const char *path, bool read_only,
                                   struct data_dir_meta *meta, struct data_dir **out_dir,
                                   char *detail, size_t detail_size);
/* Writes the older copy, syncs file and directory.  < 0: -errno. */
MUST_USE int data_dir_write(struct data_dir *dir, const struct data_dir_meta *meta);
void data_dir_close(struct data_dir *dir);
