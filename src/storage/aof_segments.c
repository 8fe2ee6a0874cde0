/*
 * aof_segments.c — the steps of a segment's life.
 *
 * Idea: what to do next is computed from the state (choose), never remembered in a call stack;
 * each step has one operation (start) and one consequence (finish).
 *
 * Read next: aof_segments.h (the rules), aof.c.
 */
#include "storage/aof_segments.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/mutant.h"

#include <errno.h>
#include <stdio.h>

enum {
    ZERO_CHUNK_BYTES_MIN = 256 << 10,
    ZERO_CHUNK_BYTES_MAX = 4 << 20,
    RETRY_MS = 1000,
    HEADER_WRITE_BYTES = AOF_SEGMENT_START + AOF_TERMINATOR_BYTES,
};

static enum aof_step choose(const struct aof_segments *segments);
static void start(struct aof_segments *segments, enum aof_step step);
static void finish(struct aof_segments *segments, enum aof_step step, int64_t result);
static bool step_needs_space(enum aof_step step);
static uint64_t ahead_offset(const struct aof_segment *current);
static uint64_t next_needed(uint64_t size);

static const uint64_t NS_PER_MS = 1000000;

bool aof_error_is_full(int64_t result)
{
    return result == -ENOSPC || result == -EDQUOT;
}

int aof_segments_init(struct aof_segments *segments, struct io *io, void *owner, const char *dir,
                      uint64_t identity, uint64_t segment_bytes)
{
    ASSERT(segment_bytes > AOF_SEGMENT_START && segment_bytes <= AOF_SEGMENT_BYTES_MAX);
    ASSERT(segment_bytes % AOF_HEADER_COPY_BYTES == 0);
    if (strlen(dir) + 1 + AOF_NAME_BYTES_MAX > AOF_PATH_BYTES_MAX) {
        return -ENAMETOOLONG;
    }
    *segments = (struct aof_segments){
        .io = io,
        .owner = owner,
        .dir = dir,
        .identity = identity,
        .segment_bytes = segment_bytes,
        .current.file = -1,
        .next.file = -1,
        .ahead_file = -1,
        .retired_file = -1,
        .header_bytes = mem_zalloc(HEADER_WRITE_BYTES),
    };
    return 0;
}

static void close_now(struct aof_segments *segments, int *file)
{
    if (*file >= 0) {
        struct io_file_op op = { .kind = IO_FILE_CLOSE, .file = *file };
        (void)io_file_run(segments->io, &op); /* everything that matters has been synced */
        *file = -1;
    }
}

void aof_segments_deinit(struct aof_segments *segments)
{
    ASSERT(segments->step == AOF_STEP_NONE);
    close_now(segments, &segments->current.file);
    close_now(segments, &segments->next.file);
    close_now(segments, &segments->ahead_file);
    close_now(segments, &segments->retired_file);
    mem_free(segments->header_bytes);
    mem_free(segments->closed);
}

bool aof_segments_fit(const struct aof_segments *segments, uint64_t size)
{
    const struct aof_segment *current = &segments->current;
    return current->file >= 0 && current->used + size + AOF_TERMINATOR_BYTES <= current->capacity;
}

bool aof_segments_is_zeroing(const struct aof_segments *segments, uint64_t size)
{
    return segments->step == AOF_STEP_ZERO_AHEAD &&
           segments->current.used + size + AOF_TERMINATOR_BYTES > segments->op.offset;
}

void aof_segments_roll(struct aof_segments *segments, uint64_t number, uint64_t first_sequence,
                       uint64_t durable_sequence, uint64_t size)
{
    ASSERT(!segments->rolling);
    ASSERT(number > segments->current.number);
    /* The batch goes on growing until the segment is there: twice its size, or it might never fit.
     */
    uint64_t needed = next_needed(2 * size);
    segments->rolling = true;
    segments->header_is_written = false;
    segments->next_is_renamed = false;
    segments->roll_header = (struct aof_header){
        .number = number,
        .first_sequence = first_sequence,
        .durable_sequence = durable_sequence,
        .identity = segments->identity,
        .capacity = needed > segments->segment_bytes ? needed : segments->segment_bytes,
        .nonce = aof_nonce(segments->identity, number),
    };
}

void aof_segments_step(struct aof_segments *segments, uint64_t now_ns)
{
    if (segments->step != AOF_STEP_NONE || segments->failure != 0) {
        return;
    }
    enum aof_step step = choose(segments);
    if (step == AOF_STEP_NONE) {
        return;
    }
    if (now_ns < segments->retry_at_ns && step_needs_space(step)) {
        return;
    }
    start(segments, step);
    if (segments->is_synchronous) {
        (void)io_file_run(segments->io, &segments->op);
        aof_segments_on_done(segments, now_ns);
    } else {
        io_file_submit(segments->io, &segments->op);
    }
}

void aof_segments_on_done(struct aof_segments *segments, uint64_t now_ns)
{
    enum aof_step step = segments->step;
    int64_t result = segments->op.result;
    ASSERT(step != AOF_STEP_NONE);
    segments->step = AOF_STEP_NONE;
    bool may_wait = result == -EMFILE || result == -ENFILE || result == -ENOMEM;
    if (step_needs_space(step) && (aof_error_is_full(result) || may_wait)) {
        segments->no_space = true;
        segments->retry_at_ns = now_ns + RETRY_MS * NS_PER_MS;
        return;
    }
    if (step_needs_space(step) && result >= 0) {
        segments->no_space = false;
    }
    finish(segments, step, result);
}

bool aof_segments_has_room(const struct aof_segments *segments, uint64_t size)
{
    const struct aof_segment *current = &segments->current;
    uint64_t needed = next_needed(size);
    if (segments->rolling) {
        return needed <= segments->next.prepared && needed <= segments->roll_header.capacity;
    }
    if (aof_segments_fit(segments, size)) {
        return current->used + size + AOF_TERMINATOR_BYTES <= current->prepared;
    }
    /* A part of it may still come to stand in the current one. */
    return ahead_offset(current) >= current->capacity && needed <= segments->next.prepared;
}

uint64_t aof_segments_disk_bytes(const struct aof_segments *segments)
{
    const struct aof_segment *current = &segments->current;
    uint64_t current_bytes = current->prepared > current->used ? current->prepared : current->used;
    return segments->closed_bytes + current_bytes + segments->next.prepared + segments->spare_bytes;
}

void aof_segments_add_closed(struct aof_segments *segments, struct aof_closed closed)
{
    if (segments->closed_count == segments->closed_capacity) {
        segments->closed_capacity =
            segments->closed_capacity == 0 ? 16 : segments->closed_capacity * 2;
        segments->closed =
            mem_realloc(segments->closed, segments->closed_capacity * sizeof(*segments->closed));
    }
    uint32_t count = segments->closed_count;
    ASSERT(count == 0 || segments->closed[count - 1].number < closed.number);
    segments->closed[count] = closed;
    segments->closed_count = count + 1;
    segments->closed_bytes += closed.bytes;
}

/* ── what to do next ─────────────────────────────────────────────────────────────────────────── */

static bool step_needs_space(enum aof_step step)
{
    return step != AOF_STEP_FREE_TORN && step != AOF_STEP_FREE && step != AOF_STEP_SYNC_FREE &&
           step != AOF_STEP_CLOSE_RETIRED && step != AOF_STEP_CLOSE_AHEAD;
}

static enum aof_step choose_next(const struct aof_segments *segments)
{
    if (segments->next.file >= 0) {
        return AOF_STEP_NONE;
    }
    if (!segments->has_spare) {
        return AOF_STEP_OPEN_NEXT;
    }
    /* Not while a power loss could still bring back its old name over its new contents. */
    return segments->free_is_unsynced ? AOF_STEP_SYNC_FREE : AOF_STEP_TAKE_SPARE;
}

static enum aof_step choose_roll(const struct aof_segments *segments)
{
    enum aof_step step = choose_next(segments);
    if (step != AOF_STEP_NONE) {
        return step;
    }
    if (!segments->header_is_written) {
        return AOF_STEP_WRITE_HEADER;
    }
    return segments->next_is_renamed ? AOF_STEP_SYNC_NAME : AOF_STEP_NAME_NEXT;
}

static uint64_t blocks_end(uint64_t offset)
{
    return (offset + AOF_HEADER_COPY_BYTES - 1) & ~(uint64_t)(AOF_HEADER_COPY_BYTES - 1);
}

/* Bytes that a new segment must have for records of this size. */
static uint64_t next_needed(uint64_t size)
{
    return blocks_end(AOF_SEGMENT_START + size + AOF_TERMINATOR_BYTES);
}

/* Where zeros may begin: behind all that was given out, its terminator included. */
static uint64_t ahead_offset(const struct aof_segment *current)
{
    uint64_t offset = current->used + AOF_TERMINATOR_BYTES;
    return blocks_end(offset > current->prepared ? offset : current->prepared);
}

/* Bytes to zero at a time: as much as was used so far, within bounds, so that a log that grows
 * slowly takes little and one that grows quickly is not asked often. */
static uint64_t ahead_size(const struct aof_segment *current)
{
    uint64_t size = current->used & ~(uint64_t)(ZERO_CHUNK_BYTES_MIN - 1);
    size = size < ZERO_CHUNK_BYTES_MIN ? ZERO_CHUNK_BYTES_MIN : size;
    size = size > ZERO_CHUNK_BYTES_MAX ? ZERO_CHUNK_BYTES_MAX : size;
    uint64_t left = current->capacity - ahead_offset(current);
    return size < left ? size : left;
}

static bool ahead_is_due(const struct aof_segments *segments)
{
    const struct aof_segment *current = &segments->current;
    return !segments->rolling && ahead_offset(current) < current->capacity &&
           current->used + segments->wanted + ahead_size(current) / 2 >= current->prepared;
}

/* Bytes of the next segment to prepare before it is used: a whole one, or what is recycled, and
 * more for records that need more. */
static uint64_t next_goal(const struct aof_segments *segments)
{
    uint64_t whole = segments->next.recycled ? segments->next.prepared : segments->segment_bytes;
    uint64_t needed = next_needed(segments->wanted);
    return needed > whole ? needed : whole;
}

static enum aof_step choose_preparation(const struct aof_segments *segments)
{
    const struct aof_segment *current = &segments->current;
    if (ahead_is_due(segments)) {
        return segments->ahead_file < 0 ? AOF_STEP_OPEN_AHEAD : AOF_STEP_ZERO_AHEAD;
    }
    if (current->used < current->capacity / 2 && aof_segments_fit(segments, segments->wanted)) {
        return AOF_STEP_NONE;
    }
    enum aof_step step = choose_next(segments);
    if (step != AOF_STEP_NONE) {
        return step;
    }
    return segments->next.prepared >= next_goal(segments) ? AOF_STEP_NONE : AOF_STEP_ZERO_NEXT;
}

/* True when all records of the oldest closed segment lie below release_sequence.  Those at or
 * above the first sequence number of any later segment do not count (aof_reader.c: limits). */
static bool oldest_is_free(const struct aof_segments *segments)
{
    if (segments->closed_count == 0) {
        return false;
    }
    uint64_t end = segments->current.first_sequence;
    for (uint32_t i = 1; i < segments->closed_count; i++) {
        uint64_t first = segments->closed[i].first_sequence;
        end = first < end ? first : end;
    }
    return end <= segments->release_sequence;
}

static enum aof_step choose_release(const struct aof_segments *segments)
{
    if (segments->free_is_unsynced) {
        return AOF_STEP_SYNC_FREE;
    }
    if (!oldest_is_free(segments)) {
        return AOF_STEP_NONE;
    }
    return segments->closed[0].adopted ? AOF_STEP_FREE_TORN : AOF_STEP_FREE;
}

static enum aof_step choose(const struct aof_segments *segments)
{
    if (segments->ahead_file >= 0 && segments->rolling) {
        return AOF_STEP_CLOSE_AHEAD;
    }
    if (segments->retired_file >= 0 && segments->retired_is_synced) {
        return AOF_STEP_CLOSE_RETIRED;
    }
    enum aof_step step = AOF_STEP_NONE;
    if (segments->rolling && segments->retired_file < 0) {
        step = choose_roll(segments);
    } else if (segments->current.file >= 0) {
        step = choose_preparation(segments);
    }
    if (step != AOF_STEP_NONE && !segments->no_space) {
        return step;
    }
    /* A full disk must not keep the log from giving space back. */
    enum aof_step release = segments->current.file >= 0 ? choose_release(segments) : AOF_STEP_NONE;
    return release != AOF_STEP_NONE ? release : step;
}

/* ── the operations ──────────────────────────────────────────────────────────────────────────── */

static const char *path_of(const struct aof_segments *segments, char *to, const char *name)
{
    (void)snprintf(to, AOF_PATH_BYTES_MAX, "%s/%s", segments->dir, name);
    return to;
}

static const char *path_of_number(const struct aof_segments *segments, char *to, uint64_t number,
                                  const char *suffix)
{
    char name[AOF_NAME_BYTES_MAX];
    aof_name(number, suffix, name);
    return path_of(segments, to, name);
}

static void op_close(struct io_file_op *op, int file)
{
    op->kind = IO_FILE_CLOSE;
    op->file = file;
}

static void op_open(struct io_file_op *op, const char *path, uint32_t flags)
{
    op->kind = IO_FILE_OPEN;
    op->path = path;
    op->flags = IO_FILE_RDWR | flags;
}

static void op_zero(struct io_file_op *op, int file, uint64_t offset, uint64_t size)
{
    ASSERT(size > 0);
    op->kind = IO_FILE_ZERO;
    op->file = file;
    op->offset = offset;
    op->size = size;
}

static void op_rename(struct io_file_op *op, const char *path, const char *path_to)
{
    op->kind = IO_FILE_RENAME;
    op->path = path;
    op->path_to = path_to;
}

static void op_header(struct aof_segments *segments, struct io_file_op *op)
{
    struct aof_header *header = &segments->roll_header;
    uint64_t prepared = segments->next.prepared;
    header->recycled = segments->next.recycled;
    header->capacity = prepared > header->capacity ? prepared : header->capacity;
    aof_header_write(header, segments->header_bytes);
    op->kind = IO_FILE_WRITE;
    op->flags = IO_FILE_THEN_SYNC;
    op->file = segments->next.file;
    op->data = segments->header_bytes;
    op->size = HEADER_WRITE_BYTES;
}

static void op_free(struct aof_segments *segments, struct io_file_op *op)
{
    const struct aof_closed *oldest = &segments->closed[0];
    const char *path = path_of_number(segments, segments->path, oldest->number, ".log");
    if (!segments->has_spare && oldest->bytes <= segments->segment_bytes) {
        op_rename(op, path, path_of(segments, segments->path_to, AOF_NAME_SPARE));
    } else {
        op->kind = IO_FILE_UNLINK;
        op->path = path;
    }
}

static void start(struct aof_segments *segments, enum aof_step step)
{
    struct io_file_op *op = &segments->op;
    struct aof_segment *current = &segments->current;
    struct aof_segment *next = &segments->next;
    char *path = segments->path;
    *op = (struct io_file_op){ .owner = segments->owner };
    segments->step = step;
    switch (step) {
    case AOF_STEP_TAKE_SPARE:
        path_of(segments, path, AOF_NAME_SPARE);
        op_rename(op, path, path_of(segments, segments->path_to, AOF_NAME_NEXT));
        break;
    case AOF_STEP_OPEN_NEXT: {
        uint32_t truncate = next->recycled ? 0 : (uint32_t)IO_FILE_TRUNC;
        op_open(op, path_of(segments, path, AOF_NAME_NEXT), IO_FILE_CREATE | truncate);
        break;
    }
    case AOF_STEP_ZERO_NEXT: {
        uint64_t left = next_goal(segments) - next->prepared;
        op_zero(op, next->file, next->prepared,
                left < ZERO_CHUNK_BYTES_MAX ? left : ZERO_CHUNK_BYTES_MAX);
        break;
    }
    case AOF_STEP_WRITE_HEADER:
        op_header(segments, op);
        break;
    case AOF_STEP_NAME_NEXT:
        path_of_number(segments, segments->path_to, segments->roll_header.number, ".log");
        op_rename(op, path_of(segments, path, AOF_NAME_NEXT), segments->path_to);
        break;
    case AOF_STEP_CLOSE_RETIRED:
        op_close(op, segments->retired_file);
        break;
    case AOF_STEP_OPEN_AHEAD:
        op_open(op, path_of_number(segments, path, current->number, ".log"), 0);
        break;
    case AOF_STEP_ZERO_AHEAD:
        op_zero(op, segments->ahead_file, ahead_offset(current), ahead_size(current));
        break;
    case AOF_STEP_CLOSE_AHEAD:
        op_close(op, segments->ahead_file);
        break;
    case AOF_STEP_FREE_TORN:
        op->kind = IO_FILE_UNLINK;
        op->path = path_of_number(segments, path, segments->closed[0].number, ".torn");
        break;
    case AOF_STEP_FREE:
        op_free(segments, op);
        break;
    case AOF_STEP_SYNC_NAME:
    case AOF_STEP_SYNC_FREE:
        op->kind = IO_FILE_SYNC_DIR;
        op->path = MUTANT(MUT_LOG_NAME_NOT_SYNCED) ? "/" : segments->dir;
        break;
    case AOF_STEP_NONE:
        UNREACHABLE();
    }
}

/* ── their consequences ──────────────────────────────────────────────────────────────────────── */

static void finish_take_spare(struct aof_segments *segments)
{
    ASSERT(segments->next.file < 0);
    segments->next.recycled = true;
    segments->next.prepared = segments->spare_bytes & ~(uint64_t)(AOF_HEADER_COPY_BYTES - 1);
    segments->has_spare = false;
    segments->spare_bytes = 0;
}

/* The new segment is durable under its name: it takes the writes from here on. */
static void finish_roll(struct aof_segments *segments)
{
    ASSERT(segments->rolling && segments->retired_file < 0);
    const struct aof_header *header = &segments->roll_header;
    struct aof_segment old = segments->current;
    if (old.file >= 0) {
        uint64_t bytes = old.prepared > old.used ? old.prepared : old.used;
        aof_segments_add_closed(segments, (struct aof_closed){ old.number, old.first_sequence,
                                                               bytes, .adopted = false });
    }
    segments->retired_file = old.file;
    segments->retired_is_synced = false;
    segments->current = segments->next;
    segments->current.number = header->number;
    segments->current.first_sequence = header->first_sequence;
    segments->current.capacity = header->capacity;
    segments->current.nonce = header->nonce;
    segments->current.used = AOF_SEGMENT_START;
    segments->next = (struct aof_segment){ .file = -1 };
    segments->rolling = false;
}

static void finish_free(struct aof_segments *segments)
{
    struct aof_closed oldest = segments->closed[0];
    if (segments->op.kind == IO_FILE_RENAME) {
        segments->has_spare = segments->op.result == 0;
        segments->spare_bytes = segments->has_spare ? oldest.bytes : 0;
    }
    segments->closed_bytes -= oldest.bytes;
    segments->closed_count -= 1;
    memmove(segments->closed, segments->closed + 1,
            segments->closed_count * sizeof(*segments->closed));
    segments->free_is_unsynced = true;
}

static const char *step_what(enum aof_step step)
{
    switch (step) {
    case AOF_STEP_TAKE_SPARE:
    case AOF_STEP_OPEN_NEXT:
    case AOF_STEP_OPEN_AHEAD:
    case AOF_STEP_NAME_NEXT:
        return "creating a log segment";
    case AOF_STEP_ZERO_NEXT:
    case AOF_STEP_ZERO_AHEAD:
        return "preparing a log segment";
    case AOF_STEP_WRITE_HEADER:
        return "writing a log segment's header";
    case AOF_STEP_SYNC_NAME:
    case AOF_STEP_SYNC_FREE:
        return "syncing the data directory";
    case AOF_STEP_FREE_TORN:
    case AOF_STEP_FREE:
        return "deleting a log segment";
    case AOF_STEP_CLOSE_RETIRED:
    case AOF_STEP_CLOSE_AHEAD:
    case AOF_STEP_NONE:
        break;
    }
    return "closing a log segment";
}

static bool is_failure(enum aof_step step, int64_t result)
{
    bool gone = (step == AOF_STEP_FREE_TORN || step == AOF_STEP_FREE) && result == -ENOENT;
    return result < 0 && !gone;
}

static void finish(struct aof_segments *segments, enum aof_step step, int64_t result)
{
    struct aof_segment *current = &segments->current;
    struct aof_segment *next = &segments->next;
    if (is_failure(step, result)) {
        segments->failure = (int)result;
        segments->failure_what = step_what(step);
        return;
    }
    switch (step) {
    case AOF_STEP_TAKE_SPARE:
        finish_take_spare(segments);
        break;
    case AOF_STEP_OPEN_NEXT:
        next->file = (int)result;
        break;
    case AOF_STEP_ZERO_NEXT:
        next->prepared += segments->op.size;
        break;
    case AOF_STEP_WRITE_HEADER:
        next->prepared = next->prepared > HEADER_WRITE_BYTES ? next->prepared : HEADER_WRITE_BYTES;
        segments->header_is_written = true;
        break;
    case AOF_STEP_NAME_NEXT:
        segments->next_is_renamed = true;
        break;
    case AOF_STEP_SYNC_NAME:
        finish_roll(segments);
        break;
    case AOF_STEP_CLOSE_RETIRED:
        segments->retired_file = -1;
        break;
    case AOF_STEP_OPEN_AHEAD:
        segments->ahead_file = (int)result;
        break;
    case AOF_STEP_ZERO_AHEAD:
        current->prepared = segments->op.offset + segments->op.size;
        break;
    case AOF_STEP_CLOSE_AHEAD:
        segments->ahead_file = -1;
        break;
    case AOF_STEP_FREE_TORN:
        segments->closed[0].adopted = false;
        break;
    case AOF_STEP_FREE:
        finish_free(segments);
        break;
    case AOF_STEP_SYNC_FREE:
        segments->free_is_unsynced = false;
        break;
    case AOF_STEP_NONE:
        UNREACHABLE();
    }
}
