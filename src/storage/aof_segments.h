/*
 * aof_segments.h — the AOF's files: prepared ahead, put to use, given up.  Internal to aof.c.
 *
 * One segment is current: it takes the writes.  The first one of a process is zero-filled a chunk
 * ahead of the writes, so that a small database stays small on disk; when a segment is half full
 * the next one is prepared under a temporary name, from the spare file if there is one.  One that
 * takes writes before all of it is prepared is prepared ahead of them like the first.  When a
 * batch does not fit, the log rolls: header written and synced, file renamed, directory synced,
 * and only then does the new segment take records.  Segments below aof_release become the spare
 * (one is kept) or are deleted, oldest first, with a directory sync after each, so that a crash
 * leaves no hole in the numbers.
 *
 * All of it is one list of steps, of which one operation at a time is under way; aof_segments_step
 * chooses the next.  A full disk makes it try again a second later; any other error is final.
 *
 * Read next: aof_segments.c, aof.c.
 */
#pragma once

#include "io/io.h"
#include "storage/aof_format.h"

enum { AOF_PATH_BYTES_MAX = 4096 };

struct aof_segment {
    int file; /* -1: none */
    uint64_t number;
    uint64_t first_sequence;
    uint64_t capacity;
    uint64_t prepared; /* bytes from the beginning that have blocks on the disk */
    uint64_t used;     /* bytes given to records, the header included */
    uint32_t nonce;
    bool recycled;
};

struct aof_closed { /* a segment that takes no more records */
    uint64_t number;
    uint64_t first_sequence;
    uint64_t bytes; /* file size */
    bool adopted;   /* of an earlier process: a .torn copy may lie beside it */
};

enum aof_step {
    AOF_STEP_NONE,
    AOF_STEP_TAKE_SPARE, /* rename the spare file: it becomes the next segment */
    AOF_STEP_OPEN_NEXT,
    AOF_STEP_ZERO_NEXT,
    AOF_STEP_WRITE_HEADER, /* rolling, from here ... */
    AOF_STEP_NAME_NEXT,
    AOF_STEP_SYNC_NAME, /* ... to here */
    AOF_STEP_CLOSE_RETIRED,
    AOF_STEP_OPEN_AHEAD,
    AOF_STEP_ZERO_AHEAD,
    AOF_STEP_CLOSE_AHEAD,
    AOF_STEP_FREE_TORN, /* releasing: delete the .torn copy beside the oldest segment, */
    AOF_STEP_FREE,      /* rename that segment to be the spare, or delete it, */
    AOF_STEP_SYNC_FREE, /* and make that durable before the next one goes */
};

struct aof_segments {
    struct io *io;
    void *owner; /* of the operations' events: the aof */
    const char *dir;
    uint64_t identity;
    uint64_t segment_bytes;

    struct aof_segment current;
    struct aof_segment next; /* file -1: not open yet */
    int ahead_file;  /* prepares the current one: its own, so that each sees its own errors */
    uint64_t wanted; /* bytes of records that prepared space should have room for */

    bool rolling;
    bool header_is_written;
    bool next_is_renamed;
    struct aof_header roll_header;

    int retired_file; /* the segment before current; -1: none */
    bool retired_is_synced;

    bool has_spare;
    uint64_t spare_bytes;
    bool free_is_unsynced;
    struct aof_closed *closed; /* owned, oldest first */
    uint32_t closed_count;
    uint32_t closed_capacity;
    uint64_t release_sequence;
    uint64_t closed_bytes;

    enum aof_step step; /* under way; NONE: idle */
    struct io_file_op op;
    bool is_synchronous; /* run operations at once: at open and close */
    bool no_space;
    uint64_t retry_at_ns;
    int failure;
    const char *failure_what;

    char *header_bytes; /* owned: a segment header being written */
    char path[AOF_PATH_BYTES_MAX];
    char path_to[AOF_PATH_BYTES_MAX];
};

/* Nothing on disk yet: aof_segments_roll makes the first segment.  < 0: -errno. */
MUST_USE int aof_segments_init(struct aof_segments *segments, struct io *io, void *owner,
                               const char *dir, uint64_t identity, uint64_t segment_bytes);
/* Nothing may be under way. */
void aof_segments_deinit(struct aof_segments *segments);

/* True when a batch of this size fits behind what has been given out of the current segment. */
bool aof_segments_fit(const struct aof_segments *segments, uint64_t size);
/* True while that space is being zero-filled: writing there now would be lost. */
bool aof_segments_is_zeroing(const struct aof_segments *segments, uint64_t size);
/* Begins to move to segment `number`, with room for at least `size` bytes of records.  Its nonce
 * and first offset are known at once: roll_header.nonce and AOF_SEGMENT_START. */
void aof_segments_roll(struct aof_segments *segments, uint64_t number, uint64_t first_sequence,
                       uint64_t durable_sequence, uint64_t size);
/* Starts the next operation if there is something to do and nothing under way. */
void aof_segments_step(struct aof_segments *segments, uint64_t now_ns);
/* The operation under way has ended. */
void aof_segments_on_done(struct aof_segments *segments, uint64_t now_ns);
/* True when the next batch, of up to this size, stands where blocks on the disk are waiting. */
bool aof_segments_has_room(const struct aof_segments *segments, uint64_t size);
uint64_t aof_segments_disk_bytes(const struct aof_segments *segments);
void aof_segments_add_closed(struct aof_segments *segments, struct aof_closed closed);

/* ENOSPC in any of its forms. */
bool aof_error_is_full(int64_t result);
