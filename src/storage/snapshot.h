/*
 * snapshot.h — one partition's contents at one log index, as a file.
 *
 * File snap-<group>-<index>.mdb: a header (magic, format, identity, group, last index, term, time),
 * what else belongs to the group at that index (`aux`: its Raft configuration and sessions, bytes
 * that storage does not look into), blocks of about SNAPSHOT_BLOCK_BYTES in hash order, each with
 * its own CRC-32C, and a footer with the counts and the digest over all block checksums.  The
 * writer walks a view, so the partition serves writes meanwhile; it writes to a temporary name,
 * syncs, reads the file back and verifies it, renames it, syncs the directory, and only then counts
 * it as a snapshot. SNAPSHOT_GENERATIONS generations are kept per group.
 */
#pragma once

#include "base/compiler.h"
#include "base/limits.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct buffer;
struct io;
struct io_event;
struct kv;
struct kv_view;
struct snapshot_writer;

struct snapshot_meta {
    uint64_t identity; /* of the data directory */
    uint32_t group;
    uint64_t index;     /* last entry applied */
    uint64_t term;      /* of that entry */
    uint64_t time_ms;   /* of that entry: the group's clock */
    uint64_t sequence;  /* of the newest log record when this was begun; 0: not known */
    struct slice aux;   /* for begin, which copies it; at most SNAPSHOT_AUX_BYTES_MAX */
    uint64_t aux_bytes; /* its size, filled in by the writer and the reader */
    uint64_t keys;      /* filled in by the writer and the reader */
    uint64_t bytes;     /* file size, likewise */
    uint64_t digest;    /* likewise: over the contents */
};

/* ── writing ─────────────────────────────────────────────────────────────────────────────────── */

enum snapshot_state {
    SNAPSHOT_IDLE,    /* nothing begun, or the last result has been taken */
    SNAPSHOT_READY,   /* wants snapshot_writer_step */
    SNAPSHOT_WAITING, /* for the disk */
    SNAPSHOT_DONE,    /* the file is durable, verified and in place */
    SNAPSHOT_FAILED,  /* snapshot_writer_error says why; the temporary file is gone */
};

struct snapshot_writer *snapshot_writer_new(struct io *io, const char *dir);
/* True while an operation is under way: the writer must outlive it. */
bool snapshot_writer_is_busy(const struct snapshot_writer *writer);
/* Not while busy.  An unfinished file is removed at the next start. */
void snapshot_writer_free(struct snapshot_writer *writer);
/* Begins a file for the view's partition.  The view stays the caller's; it must live until the
 * state is DONE or FAILED (or the writer is freed). */
void snapshot_writer_begin(struct snapshot_writer *writer, const struct snapshot_meta *meta,
                           struct kv_view *view);
/* Encodes up to `budget` entries.  Call while the state is READY. */
void snapshot_writer_step(struct snapshot_writer *writer, uint32_t budget);
/* For events whose owner is the writer. */
void snapshot_writer_on_event(struct snapshot_writer *writer, const struct io_event *event);
enum snapshot_state snapshot_writer_state(const struct snapshot_writer *writer);
/* After DONE: the file's meta.  Then, or after FAILED, the writer is IDLE again. */
struct snapshot_meta snapshot_writer_take(struct snapshot_writer *writer);
int snapshot_writer_error(const struct snapshot_writer *writer);

/* ── reading ─────────────────────────────────────────────────────────────────────────────────── */

struct snapshot_file { /* a name found in a data directory, not yet verified */
    uint32_t group;
    uint64_t index;
};

enum snapshot_check {
    SNAPSHOT_GOOD,
    SNAPSHOT_DAMAGED,    /* a checksum, a count or the digest is wrong, or the file is cut short */
    SNAPSHOT_FOREIGN,    /* another node's or another data directory's */
    SNAPSHOT_TOO_NEW,    /* a format version this build does not know */
    SNAPSHOT_UNREADABLE, /* the operating system refused: see `error` */
};

struct snapshot_report {
    enum snapshot_check check;
    int error;        /* -errno with UNREADABLE */
    uint64_t offset;  /* where it went wrong */
    char detail[128]; /* one line for people */
    char file[64];    /* name without directory */
};

/* Lists snapshot files, sorted by (group, index descending), into a mem_alloc'd array the caller
 * frees; temporary files left by a crash are removed when `clean`.  < 0: -errno. */
MUST_USE int64_t snapshot_list(struct io *io, const char *dir, bool clean,
                               struct snapshot_file **out_files);
/* Reads and verifies one file; with kv != NULL also loads it into that empty kv (which is left in
 * an undefined state unless GOOD: free it).  With out_aux != NULL its aux replaces that buffer's
 * contents (likewise, unless GOOD it means nothing).  `identity` 0 accepts any. */
enum snapshot_check snapshot_load(struct io *io, const char *dir, const struct snapshot_file *file,
                                  uint64_t identity, struct kv *kv, struct buffer *out_aux,
                                  struct snapshot_meta *out_meta,
                                  struct snapshot_report *out_report);
