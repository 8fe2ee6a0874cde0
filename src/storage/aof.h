/*
 * aof.h — the append-only file: a segmented, checksummed log with group commit.
 *
 * One AOF per shard, shared by all its partitions, so that one fdatasync serves all of them.
 * Records get consecutive sequence numbers.  Appending encodes into a memory batch; aof_flush
 * hands the whole batch to one gathered write (and one fdatasync with AOF_SYNC_ALWAYS), off the
 * loop thread; at most one batch is in flight, the next one fills meanwhile.  When the batch has
 * become durable *as the policy defines it* it is handed back, and only then may its entries be
 * counted as persisted: "acknowledged before persisted" cannot be written with this interface.
 *
 *   AOF_SYNC_ALWAYS    durable = fdatasync returned.       Survives power loss.
 *   AOF_SYNC_EVERYSEC  durable = the write returned.       Survives the process; a power loss may
 *   AOF_SYNC_NO        durable = the write returned.       take the last second (or more).
 *
 * On disk: aof-<number>.log segments.  Each begins with a header (magic, format, number, first
 * sequence number, nonce, identity), durable before the file gets its name; the space ahead is
 * zero-filled and synced before it is used (overwriting allocated blocks makes fdatasync cheaper);
 * segments no longer needed are recycled under a new nonce that seeds every checksum, so that old
 * bytes never look valid.  Record:
 *
 *    0 u32 header crc (begun with nonce ^ offset / 8, then bytes 4..31)
 *    4 u32 body crc   8 u32 body size
 *   12 u8 type  13 u8 flags  14 u16 group  16 u64 sequence  24 u32 unsynced  28 u32 magic
 *   then the body, then zeros up to a multiple of 8
 *
 * `unsynced` is how many records before this one were not known to be durable when it was written:
 * it tells, after a crash, a batch that never reached the disk whole (a torn tail: cut) from bytes
 * that had been synced and went bad (corruption: reported, never cut).  After a second without
 * writes an AOF_MARK record is added for that reason alone: it says that all before it is durable.
 *
 * Any write or sync error but ENOSPC is final: aof_failure says so and the process must end
 * (fsync errors cannot be retried: Rebello et al., ATC 2020).  ENOSPC is a state that heals.
 *
 * Read next: aof_reader.h (recovery), docs/FORMATS.md.
 */
#pragma once

#include "base/compiler.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct io;
struct io_event;
struct aof;

enum aof_sync { AOF_SYNC_ALWAYS, AOF_SYNC_EVERYSEC, AOF_SYNC_NO };

enum aof_type {
    AOF_ENTRY = 1,      /* body: a log entry (entry.h) */
    AOF_HARD_STATE = 2, /* body: hard_state.h */
    AOF_MARK = 3,       /* the log's own: takes a sequence number, is never handed out */
    AOF_LOG_RESET = 4,  /* body: hard_state.h */
};

enum { AOF_RECORD_HEADER_BYTES = 32, AOF_RECORD_MAGIC = 0x31424d41 /* "AMB1" */ };

struct aof_record {
    enum aof_type type;
    bool more; /* the next record belongs to the same all-or-nothing batch */
    uint16_t group;
    uint64_t sequence;
    struct slice body; /* borrowed */
};

struct aof_options {
    const char *dir; /* borrowed for the life of the aof; NULL: in memory only, nothing is kept */
    uint64_t segment_bytes; /* of a new segment: a multiple of 4096, >= 64 KiB */
    enum aof_sync sync;
    uint64_t
        identity; /* of this node's data directory: written into headers, checked at recovery */
    uint64_t next_sequence; /* where recovery ended: aof_reader_end() */
    uint64_t next_segment;  /* number of the first segment this process may create */
    uint64_t end_offset; /* of the newest segment's records, as recovery read them; 0: not known */
};

/* Makes durable what earlier processes left (aof_settle.h), creates the first segment (both
 * synchronously) and is then ready to append.  A full disk is no failure here: aof_is_full until
 * there is space.  < 0: -errno.
 */
MUST_USE int aof_open(struct io *io, const struct aof_options *options, struct aof **out_aof);
/* Flushes, syncs, closes; waits for the disk.  < 0 when something was not made durable.  Events of
 * others that arrive meanwhile are dropped: close the log after everything else.  */
int aof_close(struct aof *aof);

/* Room for a record body of up to `body_max` bytes; write it there, then call aof_record_end.
 * Valid until that call. */
char *aof_record_begin(struct aof *aof, size_t body_max);
/* Ends the record.  `more`: the next record is part of the same all-or-nothing batch; the last
 * record of such a batch has more = false.  Returns its sequence number. */
uint64_t aof_record_end(struct aof *aof, size_t body_size, enum aof_type type, uint16_t group,
                        bool more);

/* Submits what was appended, when nothing is in flight; starts the periodic sync when it is due.
 * Called once per loop iteration.  When it returns there may be durable records to take: a small
 * write without a sync may have been done on the spot.  now_ns: io_clock_ns. */
void aof_flush(struct aof *aof, uint64_t now_ns);
/* For events whose owner is the aof. */
void aof_on_event(struct aof *aof, const struct io_event *event);
/* The next record that became durable, in order; false when there is none.  The record's bytes are
 * valid until the next aof_flush.  All records of a durable batch must be taken before that. */
bool aof_durable_next(struct aof *aof, struct aof_record *out_record);
/* Takes all that is left of the durable batch without looking at it; returns the sequence number of
 * its last record, 0 when there is none. */
uint64_t aof_durable_take(struct aof *aof);
/* The record `ahead` places behind the one aof_durable_next will return next, without taking it
 * (for prefetching).  Cost: constant when called with the cursor of an earlier call. */
struct aof_peek {
    const char *at; /* NULL to begin */
};
bool aof_durable_peek(const struct aof *aof, struct aof_peek *peek, struct aof_record *out_record);

/* Bytes that the next aof_flush could begin to write; 0: none, or a write is in flight. */
uint64_t aof_ready_bytes(const struct aof *aof);
/* True while new writes must be refused because the disk is full. */
bool aof_is_full(const struct aof *aof);

/* Whether records of up to `size` bytes may be appended.  Who appends only what is READY never has
 * a record whose fate hangs on a disk that turns out to be full. */
enum aof_room {
    AOF_ROOM_READY, /* blocks on the disk wait for them */
    AOF_ROOM_SOON,  /* such blocks are being prepared: ask again after the aof's next event */
    AOF_ROOM_NONE,  /* the disk is full: refuse them */
};
enum aof_room aof_room(struct aof *aof, uint64_t size);
/* 0, or the -errno after which the process must end. */
int aof_failure(const struct aof *aof);
const char *aof_failure_what(const struct aof *aof);
/* The failure was a sync's: what was written since the last one may be gone. */
bool aof_sync_has_failed(const struct aof *aof);
/* When aof_flush wants to be called next even if nothing happens; UINT64_MAX: never. */
uint64_t aof_deadline_ns(const struct aof *aof);

struct aof_stats {
    uint64_t pending_bytes; /* appended, not yet durable */
    uint64_t next_sequence;
    uint64_t synced_sequence; /* all records below it are on the platter */
    uint64_t disk_bytes;      /* of all segments, spare ones included */
    uint64_t log_bytes;       /* of records in segments not yet released */
    uint64_t writes, syncs;
    uint64_t sync_last_us, sync_max_us;
    uint64_t segment_number;
};
struct aof_stats aof_stats(const struct aof *aof);
void aof_set_sync(struct aof *aof, enum aof_sync sync); /* CONFIG SET appendfsync */
/* Whatever the policy: all that has been written is synced with the next aof_flush. */
void aof_sync_soon(struct aof *aof);

/* Every record with a sequence number below `sequence` is covered by verified snapshots: whole
 * segments below it are recycled or deleted. */
void aof_release(struct aof *aof, uint64_t sequence);
/* Tells the aof about segments that recovery found, so that aof_release can free them. */
void aof_adopt_segment(struct aof *aof, uint64_t number, uint64_t first_sequence, uint64_t bytes);
