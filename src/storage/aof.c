/*
 * aof.c — batches: appended to, written, synced, handed back.
 *
 * Two batches take turns: one fills while the other is written or read back by the owner.  Each
 * record is sealed for the place where its batch is going to stand, right behind the batch before
 * it; only when the batch does not fit and the log rolls must its records be sealed again.
 *
 * What is known to be durable when a batch is written (its floor) is fixed when its first record
 * is appended: everything before it, if the write in flight ends with a sync (the batch cannot be
 * written before that has succeeded), else what the last sync covered.
 *
 * Invariants
 *   - at most one batch is in flight, and none after a failure;
 *   - synced_sequence <= written_sequence <= next_sequence;
 *   - with AOF_SYNC_ALWAYS no write goes to a segment while the one before it is not synced.
 *
 * Read next: aof_segments.h (the files), aof_reader.c.
 */
#include "storage/aof.h"

#include "base/assert.h"
#include "base/buffer.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "io/io.h"
#include "storage/aof_segments.h"
#include "storage/aof_settle.h"

#include <errno.h>
#include <stdio.h>

enum {
    BATCH_KEEP_BYTES = 1 << 20, /* capacity a batch keeps for the next one */
    /* Prepared space for what is appended without asking for room (hard states, expiry ...). */
    RESERVE_BYTES_MAX = 128 << 10,
    RESERVE_SHARE = 8,          /* of a segment, when that is less */
    COPY_BYTES_MAX = 512 << 10, /* a write this small may be done on the loop's thread */
    SYNC_EVERY_MS = 1000,
    MARK_AFTER_MS = 1000,
    STALL_RETRY_MS = 1000,
};

static const uint64_t NS_PER_MS = 1000000;

enum flight {
    FLIGHT_NONE,
    FLIGHT_WRITING,
    FLIGHT_STALLED, /* the disk is full: written again at stalled_until_ns */
    FLIGHT_DURABLE, /* being handed back */
};

struct batch {
    struct buffer bytes;
    uint64_t first_sequence;
    uint64_t end_sequence;
    uint64_t floor;  /* records below it are durable when this batch is written */
    uint64_t offset; /* in the segment, of its first byte */
    uint32_t nonce;
    bool is_open; /* the last record promised more */
    bool sync;
};

struct aof {
    struct io *io;
    bool in_memory; /* there are no files: what is flushed is durable */
    enum aof_sync sync;
    struct batch batches[2];
    unsigned filling; /* batches[filling] is appended to; the other one is in flight */
    enum flight flight;
    size_t taken;      /* bytes of the durable batch handed back */
    size_t body_max;   /* of the record begun */
    bool mark_is_last; /* nothing was appended since the last mark */
    bool has_refused;  /* so is all else, smaller ones too, until the disk gives space */

    uint64_t next_sequence;
    uint64_t written_sequence; /* writes of all records below it have returned */
    uint64_t synced_sequence;

    struct io_file_op write_op;
    uint64_t write_began_ns;
    uint64_t stalled_until_ns;

    struct io_file_op sync_op;
    bool sync_busy;
    bool sync_wanted; /* aof_sync_soon */
    bool sync_is_of_retired;
    uint64_t sync_covers;
    uint64_t sync_began_ns;

    uint64_t last_write_ns; /* submitted */
    int failure;
    bool sync_failed;
    const char *failure_what;
    uint64_t writes, syncs, sync_last_us, sync_max_us;

    struct aof_segments segments;
};

static void batch_begin(struct aof *aof, struct batch *batch);
static void batch_seal(struct batch *batch, uint32_t nonce, uint64_t offset);
static void flight_land(struct aof *aof);
static void flight_start(struct aof *aof, uint64_t now_ns);
static void write_submit(struct aof *aof, uint64_t now_ns);
static void write_done(struct aof *aof, uint64_t now_ns);
static void sync_step(struct aof *aof, uint64_t now_ns);
static void sync_done(struct aof *aof, uint64_t now_ns);
static void mark_step(struct aof *aof, uint64_t now_ns);
static void fail(struct aof *aof, int64_t result, const char *what);
static bool marks_skip(struct slice *left);
static bool flight_syncs(const struct aof *aof);
static void memory_flight(struct aof *aof);
static bool write_is_a_copy(const struct aof *aof);
static uint64_t room_wanted(const struct aof *aof, uint64_t size);

static struct batch *batch_filling(struct aof *aof)
{
    return &aof->batches[aof->filling];
}

static struct batch *batch_flying(struct aof *aof)
{
    return &aof->batches[aof->filling ^ 1u];
}

/* ── open and close ──────────────────────────────────────────────────────────────────────────── */

/* Runs the segments' steps until nothing is left to do now, or the disk is full. */
static void segments_drain(struct aof *aof)
{
    struct aof_segments *segments = &aof->segments;
    while (segments->rolling && segments->failure == 0 && !segments->no_space) {
        aof_segments_step(segments, io_clock_ns(aof->io));
    }
}

int aof_open(struct io *io, const struct aof_options *options, struct aof **out_aof)
{
    ASSERT(options->next_sequence > 0 && options->next_segment > 0);
    struct aof *aof = mem_zalloc(sizeof(*aof));
    aof->io = io;
    aof->sync = options->sync;
    aof->next_sequence = options->next_sequence;
    aof->written_sequence = options->next_sequence;
    aof->synced_sequence = options->next_sequence;
    aof->mark_is_last = true; /* the new segment's header says that all before it is durable */
    if (options->dir == NULL) {
        aof->in_memory = true;
        *out_aof = aof;
        return 0;
    }
    int result = aof_segments_init(&aof->segments, io, aof, options->dir, options->identity,
                                   options->segment_bytes);
    aof->segments.wanted = room_wanted(aof, 0);
    if (result == 0) {
        result = aof_settle(io, options->dir, options->end_offset);
    }
    if (result == 0) {
        aof_segments_roll(&aof->segments, options->next_segment, aof->next_sequence,
                          aof->next_sequence, 0);
        aof->segments.is_synchronous = true;
        segments_drain(aof);
        aof->segments.is_synchronous = false;
        result = aof->segments.failure;
    }
    if (result < 0) {
        aof_segments_deinit(&aof->segments);
        mem_free(aof);
        return result;
    }
    *out_aof = aof;
    return 0;
}

/* Waits for the operations under way. */
static void drain_events(struct aof *aof)
{
    while (aof->flight == FLIGHT_WRITING || aof->sync_busy || aof->segments.step != AOF_STEP_NONE) {
        io_wait(aof->io, io_clock_ns(aof->io) + SYNC_EVERY_MS * NS_PER_MS);
        struct io_event event;
        while (io_next(aof->io, &event)) {
            if (event.owner == aof) {
                aof_on_event(aof, &event);
            }
        }
    }
}

/* Writes and syncs all that is left, on this thread. */
static void flush_at_close(struct aof *aof)
{
    aof->segments.is_synchronous = true;
    aof->sync = AOF_SYNC_ALWAYS;
    bool is_stuck = false;
    while (!is_stuck && aof_failure(aof) == 0 && aof->synced_sequence < aof->next_sequence) {
        uint64_t now_ns = io_clock_ns(aof->io);
        aof->taken = batch_flying(aof)->bytes.size; /* nobody is going to take them */
        aof->stalled_until_ns = 0;
        aof->segments.retry_at_ns = 0;
        aof_flush(aof, now_ns);
        is_stuck =
            aof->flight == FLIGHT_STALLED || (aof->segments.no_space && aof->segments.rolling);
    }
}

static int close_result(const struct aof *aof)
{
    if (aof_failure(aof) != 0) {
        return aof_failure(aof);
    }
    return aof->synced_sequence < aof->next_sequence ? -ENOSPC : 0;
}

static void aof_free(struct aof *aof)
{
    buffer_free(&aof->batches[0].bytes);
    buffer_free(&aof->batches[1].bytes);
    mem_free(aof);
}

int aof_close(struct aof *aof)
{
    if (aof->in_memory) {
        aof_free(aof);
        return 0;
    }
    drain_events(aof);
    flush_at_close(aof);
    if (aof_failure(aof) == 0 && !aof->mark_is_last && close_result(aof) == 0) {
        (void)aof_record_begin(aof, 0);
        (void)aof_record_end(aof, 0, AOF_MARK, 0, false);
        flush_at_close(aof);
    }
    int result = close_result(aof);
    aof_segments_deinit(&aof->segments);
    aof_free(aof);
    return result;
}

/* ── appending ───────────────────────────────────────────────────────────────────────────────── */

char *aof_record_begin(struct aof *aof, size_t body_max)
{
    ASSERT(body_max < AOF_SEGMENT_BYTES_MAX);
    aof->body_max = body_max;
    char *at = buffer_reserve(&batch_filling(aof)->bytes,
                              AOF_RECORD_HEADER_BYTES + body_max + AOF_ALIGN_BYTES);
    return at + AOF_RECORD_HEADER_BYTES;
}

uint64_t aof_record_end(struct aof *aof, size_t body_size, enum aof_type type, uint16_t group,
                        bool more)
{
    ASSERT(body_size <= aof->body_max);
    struct batch *batch = batch_filling(aof);
    if (batch->bytes.size == 0) {
        batch_begin(aof, batch);
    }
    char *at = batch->bytes.data + batch->bytes.size;
    uint64_t sequence = aof->next_sequence++;
    uint64_t unsynced = sequence - batch->floor;
    struct aof_frame frame = {
        .body_crc = crc32c(0, at + AOF_RECORD_HEADER_BYTES, body_size),
        .body_size = (uint32_t)body_size,
        .type = (uint8_t)type,
        .flags = more ? AOF_FLAG_MORE : 0,
        .group = group,
        .sequence = sequence,
        .unsynced = unsynced < UINT32_MAX ? (uint32_t)unsynced : UINT32_MAX,
    };
    aof_frame_write(&frame, at);
    aof_frame_seal(at, batch->nonce, batch->offset + batch->bytes.size);
    memset(at + AOF_RECORD_HEADER_BYTES + body_size, 0, AOF_ALIGN_BYTES);
    batch->bytes.size += aof_frame_size(body_size);
    batch->is_open = more;
    batch->end_sequence = sequence + 1;
    aof->mark_is_last = type == AOF_MARK;
    return sequence;
}

/* True while a write is on its way that ends with a sync. */
static bool flight_syncs(const struct aof *aof)
{
    bool is_flying = aof->flight == FLIGHT_WRITING || aof->flight == FLIGHT_STALLED;
    return is_flying && aof->batches[aof->filling ^ 1u].sync;
}

/* Where the batch will stand and what will be durable by then. */
static void batch_begin(struct aof *aof, struct batch *batch)
{
    const struct aof_segments *segments = &aof->segments;
    bool is_rolling = segments->rolling;
    batch->nonce = is_rolling ? segments->roll_header.nonce : segments->current.nonce;
    batch->offset = is_rolling ? AOF_SEGMENT_START : segments->current.used;
    batch->first_sequence = aof->next_sequence;
    batch->floor = flight_syncs(aof) ? batch->first_sequence : aof->synced_sequence;
}

/* Seals the records for another place than they were appended for. */
static void batch_seal(struct batch *batch, uint32_t nonce, uint64_t offset)
{
    if (batch->nonce == nonce && batch->offset == offset) {
        return;
    }
    batch->nonce = nonce;
    batch->offset = offset;
    for (size_t at = 0; at < batch->bytes.size;) {
        char *record = batch->bytes.data + at;
        aof_frame_seal(record, nonce, offset + at);
        at += aof_frame_size(load_u32(record + 8));
    }
}

/* ── writing ─────────────────────────────────────────────────────────────────────────────────── */

void aof_flush(struct aof *aof, uint64_t now_ns)
{
    if (aof_failure(aof) != 0) {
        return;
    }
    ASSERT(!batch_filling(aof)->is_open || batch_filling(aof)->bytes.size == 0);
    if (aof->flight == FLIGHT_DURABLE) {
        flight_land(aof);
    }
    if (aof->in_memory) {
        memory_flight(aof);
        return;
    }
    mark_step(aof, now_ns);
    sync_step(aof, now_ns);
    if (aof->flight == FLIGHT_STALLED && now_ns >= aof->stalled_until_ns) {
        write_submit(aof, now_ns);
    }
    if (aof->flight == FLIGHT_NONE && aof->failure == 0 && batch_filling(aof)->bytes.size > 0) {
        flight_start(aof, now_ns);
    }
    aof_segments_step(&aof->segments, now_ns);
}

/* The durable batch has been taken: its memory is free for the next one. */
static void flight_land(struct aof *aof)
{
    struct batch *batch = batch_flying(aof);
    struct slice left = { batch->bytes.data + aof->taken, batch->bytes.size - aof->taken };
    bool all_taken = !marks_skip(&left);
    ASSERT(all_taken);
    batch->bytes.size = 0;
    if (batch->bytes.capacity > BATCH_KEEP_BYTES &&
        batch_filling(aof)->bytes.size < BATCH_KEEP_BYTES) {
        buffer_free(&batch->bytes); /* a burst has passed */
    }
    aof->flight = FLIGHT_NONE;
}

/* Without files a batch is durable at once. */
static void memory_flight(struct aof *aof)
{
    if (batch_filling(aof)->bytes.size > 0) {
        aof->written_sequence = aof->next_sequence;
        aof->synced_sequence = aof->next_sequence;
        aof->filling ^= 1u;
        aof->taken = 0;
        aof->flight = FLIGHT_DURABLE;
    }
}

/* False while the batch must wait: for a new segment, for zeros that are being written where it is
 * going to stand, or for a sync (two at once could not tell whose pages an error was about). */
static bool flight_has_place(struct aof *aof, struct batch *batch)
{
    struct aof_segments *segments = &aof->segments;
    uint64_t size = batch->bytes.size;
    if (!segments->rolling && !aof_segments_fit(segments, size)) {
        aof_segments_roll(segments, segments->current.number + 1, batch->first_sequence,
                          batch->floor, size);
        batch_seal(batch, segments->roll_header.nonce, AOF_SEGMENT_START);
    }
    if (segments->rolling) {
        return false;
    }
    bool waits_for_sync =
        aof->sync_busy || (segments->retired_file >= 0 && !segments->retired_is_synced);
    if (aof->sync == AOF_SYNC_ALWAYS && waits_for_sync) {
        return false;
    }
    return !aof_segments_is_zeroing(segments, size);
}

static void flight_start(struct aof *aof, uint64_t now_ns)
{
    struct batch *batch = batch_filling(aof);
    if (!flight_has_place(aof, batch)) {
        return;
    }
    struct aof_segment *current = &aof->segments.current;
    batch_seal(batch, current->nonce, current->used);
    uint64_t size = batch->bytes.size;
    memset(buffer_reserve(&batch->bytes, AOF_TERMINATOR_BYTES), 0, AOF_TERMINATOR_BYTES);
    batch->sync = aof->sync == AOF_SYNC_ALWAYS;
    aof->write_op = (struct io_file_op){
        .kind = IO_FILE_WRITE,
        .flags = batch->sync && !MUTANT(MUT_ACK_BEFORE_FSYNC) ? IO_FILE_THEN_SYNC : 0,
        .file = current->file,
        .data = batch->bytes.data,
        .size = size + AOF_TERMINATOR_BYTES,
        .offset = current->used,
        .owner = aof,
    };
    current->used += size;
    aof->filling ^= 1u;
    ASSERT(batch_filling(aof)->bytes.size == 0);
    write_submit(aof, now_ns);
}

static void write_submit(struct aof *aof, uint64_t now_ns)
{
    aof->flight = FLIGHT_WRITING;
    aof->write_began_ns = now_ns;
    aof->last_write_ns = now_ns;
    if (aof->segments.is_synchronous || write_is_a_copy(aof)) {
        (void)io_file_run(aof->io, &aof->write_op);
        write_done(aof, now_ns);
    } else {
        io_file_submit(aof->io, &aof->write_op);
    }
}

/* A small write that need not be synced, while nothing else is under way on the files, is a copy
 * into the page cache: cheaper done here than handed to another thread.  A disk that hangs holds
 * up a sync, at the latest after a second, and from then on writes go to the other threads, so
 * that it never holds up the loop (docs/decisions/0003). */
static bool write_is_a_copy(const struct aof *aof)
{
    return aof->write_op.flags == 0 && aof->write_op.size <= COPY_BYTES_MAX && !aof->sync_busy &&
           aof->sync == AOF_SYNC_EVERYSEC && aof->segments.step == AOF_STEP_NONE;
}

static void count_sync(struct aof *aof, uint64_t began_ns, uint64_t now_ns)
{
    aof->syncs += 1;
    aof->sync_last_us = now_ns > began_ns ? (now_ns - began_ns) / 1000 : 0;
    if (aof->sync_last_us > aof->sync_max_us) {
        aof->sync_max_us = aof->sync_last_us;
    }
}

static void write_done(struct aof *aof, uint64_t now_ns)
{
    ASSERT(aof->flight == FLIGHT_WRITING);
    struct batch *batch = batch_flying(aof);
    int64_t result = aof->write_op.result;
    result = MUTANT(MUT_SYNC_FAILURE_IGNORED) && result == -EIO ? 0 : result;
    if (aof_error_is_full(result)) {
        aof->flight = FLIGHT_STALLED;
        aof->stalled_until_ns = now_ns + STALL_RETRY_MS * NS_PER_MS;
        return;
    }
    if (result < 0) {
        aof->flight =
            FLIGHT_NONE; /* its batch is never handed back: nothing flies after a failure */
        fail(aof, result, "writing the log");
        return;
    }
    aof->writes += 1;
    aof->written_sequence = batch->end_sequence;
    if (batch->sync) {
        aof->synced_sequence = batch->end_sequence;
        count_sync(aof, aof->write_began_ns, now_ns);
    }
    aof->flight = FLIGHT_DURABLE;
    aof->taken = 0;
}

/* ── syncing and marking ─────────────────────────────────────────────────────────────────────── */

static bool sync_is_due(const struct aof *aof, uint64_t now_ns)
{
    bool is_clean = aof->synced_sequence >= aof->written_sequence;
    if (is_clean || flight_syncs(aof)) {
        return false;
    }
    if (aof->sync_wanted) {
        return true;
    }
    switch (aof->sync) {
    case AOF_SYNC_ALWAYS: /* it was another policy when that was written */
        return true;
    case AOF_SYNC_EVERYSEC:
        return now_ns >= aof->sync_began_ns + SYNC_EVERY_MS * NS_PER_MS;
    case AOF_SYNC_NO:
        return false;
    }
    UNREACHABLE();
}

static void sync_submit(struct aof *aof, int file, uint64_t covers, uint64_t now_ns)
{
    ASSERT(!aof->sync_busy && file >= 0);
    aof->sync_op = (struct io_file_op){ .kind = IO_FILE_SYNC, .file = file, .owner = aof };
    aof->sync_covers = covers;
    aof->sync_began_ns = now_ns;
    aof->sync_busy = true;
    if (aof->segments.is_synchronous) {
        (void)io_file_run(aof->io, &aof->sync_op);
        sync_done(aof, now_ns);
    } else {
        io_file_submit(aof->io, &aof->sync_op);
    }
}

/* Starts the sync that is due: first of the segment before the current one, then of this one. */
static void sync_step(struct aof *aof, uint64_t now_ns)
{
    struct aof_segments *segments = &aof->segments;
    if (aof->sync_busy) {
        return;
    }
    if (segments->retired_file >= 0 && !segments->retired_is_synced) {
        if (aof->synced_sequence < segments->current.first_sequence) {
            sync_submit(aof, segments->retired_file, segments->current.first_sequence, now_ns);
            return;
        }
        segments->retired_is_synced = true;
    }
    if (sync_is_due(aof, now_ns)) {
        aof->sync_wanted = false;
        sync_submit(aof, segments->current.file, aof->written_sequence, now_ns);
    }
}

static void sync_done(struct aof *aof, uint64_t now_ns)
{
    aof->sync_busy = false;
    if (aof->sync_op.result < 0) {
        fail(aof, aof->sync_op.result, "syncing the log");
        aof->sync_failed = true;
        return;
    }
    if (aof->synced_sequence < aof->sync_covers) {
        aof->synced_sequence = aof->sync_covers;
    }
    count_sync(aof, aof->sync_began_ns, now_ns);
}

static bool mark_is_wanted(const struct aof *aof)
{
    return !aof->in_memory && !aof->mark_is_last && aof->flight == FLIGHT_NONE &&
           aof->synced_sequence == aof->next_sequence;
}

/* The last batch proves by nothing that it had become durable until something follows it. */
static void mark_step(struct aof *aof, uint64_t now_ns)
{
    if (mark_is_wanted(aof) && now_ns >= aof->last_write_ns + MARK_AFTER_MS * NS_PER_MS) {
        (void)aof_record_begin(aof, 0);
        (void)aof_record_end(aof, 0, AOF_MARK, 0, false);
    }
}

static void fail(struct aof *aof, int64_t result, const char *what)
{
    ASSERT(result < 0);
    if (aof->failure == 0) {
        aof->failure = (int)result;
        aof->failure_what = what;
    }
}

void aof_on_event(struct aof *aof, const struct io_event *event)
{
    ASSERT(event->kind == IO_EVENT_FILE);
    uint64_t now_ns = io_clock_ns(aof->io);
    if (event->file_op == &aof->write_op) {
        write_done(aof, now_ns);
    } else if (event->file_op == &aof->sync_op) {
        sync_done(aof, now_ns);
    } else {
        ASSERT(event->file_op == &aof->segments.op);
        aof_segments_on_done(&aof->segments, now_ns);
    }
}

/* ── handing back ────────────────────────────────────────────────────────────────────────────── */

/* Moves past the log's own records; false at the end. */
static bool marks_skip(struct slice *left)
{
    while (left->size > 0 && left->data[12] == AOF_MARK) {
        size_t size = aof_frame_size(load_u32(left->data + 8));
        ASSERT(size <= left->size);
        *left = slice_make(left->data + size, left->size - size);
    }
    return left->size > 0;
}

/* Takes the record at the front of `left`. */
static bool record_take(struct slice *left, struct aof_record *out_record)
{
    if (!marks_skip(left)) {
        return false;
    }
    struct aof_frame frame = aof_frame_load(left->data);
    size_t size = aof_frame_size(frame.body_size);
    ASSERT(size <= left->size);
    *out_record = (struct aof_record){
        .type = (enum aof_type)frame.type,
        .more = (frame.flags & AOF_FLAG_MORE) != 0,
        .group = frame.group,
        .sequence = frame.sequence,
        .body = slice_make(left->data + AOF_RECORD_HEADER_BYTES, frame.body_size),
    };
    *left = slice_make(left->data + size, left->size - size);
    return true;
}

bool aof_durable_next(struct aof *aof, struct aof_record *out_record)
{
    if (aof->flight != FLIGHT_DURABLE || aof_failure(aof) != 0) {
        return false;
    }
    const struct batch *batch = batch_flying(aof);
    struct slice left = { batch->bytes.data + aof->taken, batch->bytes.size - aof->taken };
    bool found = record_take(&left, out_record);
    aof->taken = batch->bytes.size - left.size;
    return found;
}

uint64_t aof_durable_take(struct aof *aof)
{
    const struct batch *batch = batch_flying(aof);
    if (aof->flight != FLIGHT_DURABLE || aof_failure(aof) != 0 || aof->taken == batch->bytes.size) {
        return 0;
    }
    aof->taken = batch->bytes.size;
    return batch->end_sequence - 1;
}

bool aof_durable_peek(const struct aof *aof, struct aof_peek *peek, struct aof_record *out_record)
{
    if (aof->flight != FLIGHT_DURABLE || aof_failure(aof) != 0) {
        return false;
    }
    const struct batch *batch = &aof->batches[aof->filling ^ 1u];
    const char *end = batch->bytes.data + batch->bytes.size;
    const char *at = peek->at != NULL ? peek->at : batch->bytes.data + aof->taken;
    ASSERT(at <= end);
    struct slice left = { at, (size_t)(end - at) };
    bool found = record_take(&left, out_record);
    peek->at = left.data;
    return found;
}

/* ── state ───────────────────────────────────────────────────────────────────────────────────── */

uint64_t aof_ready_bytes(const struct aof *aof)
{
    return aof->flight == FLIGHT_NONE ? aof->batches[aof->filling].bytes.size : 0;
}

/* Prepared space that another `size` bytes of records call for. */
static uint64_t room_wanted(const struct aof *aof, uint64_t size)
{
    uint64_t share = aof->segments.segment_bytes / RESERVE_SHARE;
    uint64_t reserve = share < RESERVE_BYTES_MAX ? share : RESERVE_BYTES_MAX;
    return aof->batches[aof->filling].bytes.size + size + reserve;
}

bool aof_is_full(const struct aof *aof)
{
    return aof->flight == FLIGHT_STALLED ||
           (aof->segments.no_space &&
            (aof->has_refused || !aof_segments_has_room(&aof->segments, room_wanted(aof, 0))));
}

enum aof_room aof_room(struct aof *aof, uint64_t size)
{
    struct aof_segments *segments = &aof->segments;
    if (aof->in_memory) {
        return AOF_ROOM_READY;
    }
    if (UNLIKELY(aof_is_full(aof))) {
        return AOF_ROOM_NONE;
    }
    segments->wanted = room_wanted(aof, size);
    bool is_ready = aof_segments_has_room(segments, segments->wanted);
    aof->has_refused = !is_ready && segments->no_space;
    if (LIKELY(is_ready)) {
        return AOF_ROOM_READY;
    }
    return segments->no_space ? AOF_ROOM_NONE : AOF_ROOM_SOON;
}

int aof_failure(const struct aof *aof)
{
    return aof->failure != 0 ? aof->failure : aof->segments.failure;
}

bool aof_sync_has_failed(const struct aof *aof)
{
    return aof->sync_failed;
}

const char *aof_failure_what(const struct aof *aof)
{
    return aof->failure != 0 ? aof->failure_what : aof->segments.failure_what;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t aof_deadline_ns(const struct aof *aof)
{
    uint64_t deadline_ns = UINT64_MAX;
    bool is_dirty = aof->synced_sequence < aof->written_sequence && !aof->sync_busy;
    if (is_dirty && aof->sync == AOF_SYNC_EVERYSEC) {
        deadline_ns = earlier(deadline_ns, aof->sync_began_ns + SYNC_EVERY_MS * NS_PER_MS);
    }
    if (aof->flight == FLIGHT_STALLED) {
        deadline_ns = earlier(deadline_ns, aof->stalled_until_ns);
    }
    if (aof->segments.no_space) {
        deadline_ns = earlier(deadline_ns, aof->segments.retry_at_ns);
    }
    if (mark_is_wanted(aof)) {
        deadline_ns = earlier(deadline_ns, aof->last_write_ns + MARK_AFTER_MS * NS_PER_MS);
    }
    return deadline_ns;
}

struct aof_stats aof_stats(const struct aof *aof)
{
    const struct aof_segments *segments = &aof->segments;
    uint64_t flying = aof->flight == FLIGHT_NONE || aof->flight == FLIGHT_DURABLE
                          ? 0
                          : aof->batches[aof->filling ^ 1u].bytes.size;
    return (struct aof_stats){
        .pending_bytes = flying + aof->batches[aof->filling].bytes.size,
        .next_sequence = aof->next_sequence,
        .synced_sequence = aof->synced_sequence,
        .disk_bytes = aof_segments_disk_bytes(segments),
        .log_bytes = segments->closed_bytes + segments->current.used,
        .writes = aof->writes,
        .syncs = aof->syncs,
        .sync_last_us = aof->sync_last_us,
        .sync_max_us = aof->sync_max_us,
        .segment_number = segments->current.number,
    };
}

void aof_set_sync(struct aof *aof, enum aof_sync sync)
{
    aof->sync = sync;
}

void aof_sync_soon(struct aof *aof)
{
    aof->sync_wanted = true;
}

/* ── giving space back ───────────────────────────────────────────────────────────────────────── */

void aof_release(struct aof *aof, uint64_t sequence)
{
    if (aof->segments.release_sequence < sequence) {
        aof->segments.release_sequence = sequence;
    }
}

void aof_adopt_segment(struct aof *aof, uint64_t number, uint64_t first_sequence, uint64_t bytes)
{
    const struct aof_segments *segments = &aof->segments;
    uint64_t ours =
        segments->current.file >= 0 ? segments->current.number : segments->roll_header.number;
    if (number < ours) { /* an empty last segment has been replaced by ours */
        aof_segments_add_closed(
            &aof->segments, (struct aof_closed){ number, first_sequence, bytes, .adopted = true });
    }
}
