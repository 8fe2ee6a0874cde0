/*
 * aof_reader.c — recovery's view of the log: records, damage, and where it ends.
 *
 * Segments are read in order of their numbers, one at a time into memory.  Sequence numbers are
 * what orders the log, and the rules are these:
 *
 *   limit      A process never appends to a segment of an earlier one: it begins a new segment
 *              at the sequence number where recovery had ended.  So records of a segment at or
 *              above the first sequence number of any later segment are not part of the log: they
 *              are a torn tail that was left behind, and stay where they are.
 *   evidence   Each valid header says which records were durable when it was written (aof.h,
 *              `unsynced`).  Headers behind a bad record are searched for on 8-byte boundaries.
 *              One that counts the bad record among the durable ones makes it damage.  If none
 *              does, it is the torn tail of a write that nobody was told about, and the log ends.
 *   resuming   Behind damage the log goes on at the next valid header with a higher sequence
 *              number, in this segment or at the beginning of a later one.
 *   batches    The first record of an all-or-nothing batch is handed out only when all of it is
 *              there, or when a part of it is damaged (its other records were acknowledged).
 *
 * All of it depends on nothing but the bytes.
 *
 * Read next: aof.h, aof_format.h, docs/decisions/0002-torn-tail.md.
 */
#include "storage/aof_reader.h"

#include "base/assert.h"
#include "base/buffer.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "io/io.h"
#include "storage/aof_format.h"

#include <errno.h>
#include <stdio.h>

enum {
    READ_PIECE_BYTES = 4096, /* what is given up at a time where the disk cannot read */
    READ_TRIES = 3,
    PATH_BYTES_MAX = 4096,
};

/* An outcome of the inner functions only: nothing to hand out yet, go on. */
#define AOF_READ_AGAIN ((enum aof_read)(AOF_READ_ERROR + 1))

struct segment {
    struct aof_header header;
    enum aof_header_check check;
    bool is_foreign;
    uint64_t number; /* from the name */
    uint64_t file_bytes;
    uint64_t limit; /* least first sequence number of the later segments */
};

struct aof_reader {
    struct io *io;
    char dir[PATH_BYTES_MAX];
    uint64_t identity;
    struct segment *segments; /* owned, sorted by number */
    uint32_t segments_count;

    uint32_t current;          /* segments[current] is loaded, or segments_count at the end */
    struct buffer bytes;       /* of the loaded segment */
    uint64_t at;               /* where the next record should begin */
    uint64_t unreadable_until; /* end of the last place the disk cannot read; 0: none */
    uint64_t verified_until;   /* records before this offset have passed all checks */
    uint64_t expected;         /* its sequence number; 0: not known yet */
    uint64_t durable;          /* evidence: records below this had been durable */

    bool is_loaded; /* segments[current] is in `bytes` and being read */
    bool has_ended;
    int error;
    struct aof_damage damage;
    struct aof_position position;
    struct aof_end end;
    uint64_t done_bytes, total_bytes;
};

static int segments_find(struct aof_reader *reader);
static void limits_compute(struct aof_reader *reader);
static enum aof_read segment_enter(struct aof_reader *reader);
static enum aof_read records_next(struct aof_reader *reader, struct aof_record *out_record);
static enum aof_read record_bad(struct aof_reader *reader);
static enum aof_read end_reached(struct aof_reader *reader);
static int segment_load(struct aof_reader *reader, const struct segment *segment);
static void segment_leave(struct aof_reader *reader);
static void record_deliver(struct aof_reader *reader, const struct aof_frame *frame,
                           uint64_t offset, struct aof_record *out_record);
static bool was_durable(struct aof_reader *reader, uint64_t offset, uint64_t sequence);
static bool tail_is_clean(const struct aof_reader *reader);

/* ── open and close ──────────────────────────────────────────────────────────────────────────── */

int aof_reader_open(struct io *io, const char *dir, uint64_t identity,
                    struct aof_reader **out_reader)
{
    if (strlen(dir) + 1 + AOF_NAME_BYTES_MAX > PATH_BYTES_MAX) {
        return -ENAMETOOLONG;
    }
    struct aof_reader *reader = mem_zalloc(sizeof(*reader));
    reader->io = io;
    reader->identity = identity;
    memcpy(reader->dir, dir, strlen(dir) + 1);
    int result = segments_find(reader);
    if (result < 0) {
        aof_reader_close(reader);
        return result;
    }
    limits_compute(reader);
    *out_reader = reader;
    return 0;
}

void aof_reader_close(struct aof_reader *reader)
{
    if (reader != NULL) {
        mem_free(reader->segments);
        buffer_free(&reader->bytes);
        mem_free(reader);
    }
}

static int64_t file_open(struct aof_reader *reader, uint64_t number, const char *suffix,
                         uint32_t flags)
{
    char name[AOF_NAME_BYTES_MAX];
    char path[PATH_BYTES_MAX + AOF_NAME_BYTES_MAX];
    aof_name(number, suffix, name);
    (void)snprintf(path, sizeof(path), "%s/%s", reader->dir, name);
    struct io_file_op op = { .kind = IO_FILE_OPEN, .path = path, .flags = flags };
    return io_file_run(reader->io, &op);
}

static void file_close(struct aof_reader *reader, int64_t file)
{
    struct io_file_op op = { .kind = IO_FILE_CLOSE, .file = (int)file };
    (void)io_file_run(reader->io, &op); /* nothing was written that is not synced */
}

static int64_t piece_read(struct aof_reader *reader, int64_t file, char *to, uint64_t size,
                          uint64_t offset)
{
    int64_t got = -EIO;
    for (unsigned i = 0; i < READ_TRIES && got == -EIO; i++) {
        struct io_file_op op = {
            .kind = IO_FILE_READ, .file = (int)file, .data = to, .size = size, .offset = offset
        };
        got = io_file_run(reader->io, &op);
    }
    return got;
}

/* Fills `to`; what the disk cannot read is filled with a pattern that no checksum passes (a sector
 * that cannot be read is no worse than one that was changed), and *out_unreadable is the end of
 * the last such place.  Returns bytes or < 0. */
static int64_t file_read(struct aof_reader *reader, int64_t file, char *to, uint64_t size,
                         uint64_t *out_unreadable)
{
    *out_unreadable = 0;
    struct io_file_op op = { .kind = IO_FILE_READ, .file = (int)file, .data = to, .size = size };
    int64_t got = io_file_run(reader->io, &op);
    if (got != -EIO) {
        return got;
    }
    for (uint64_t at = 0; at < size; at += READ_PIECE_BYTES) {
        uint64_t piece = size - at < READ_PIECE_BYTES ? size - at : READ_PIECE_BYTES;
        got = piece_read(reader, file, to + at, piece, at);
        if (got == -EIO) {
            memset(to + at, 0xee, piece);
            *out_unreadable = at + piece;
        } else if (got < 0) {
            return got;
        }
    }
    return (int64_t)size;
}

/* Reads a segment's size and header. */
static int segment_look(struct aof_reader *reader, struct segment *segment)
{
    int64_t file = file_open(reader, segment->number, ".log", IO_FILE_RDONLY);
    if (file < 0) {
        return (int)file;
    }
    struct io_file_op op = { .kind = IO_FILE_SIZE, .file = (int)file };
    int64_t size = io_file_run(reader->io, &op);
    int64_t result = size;
    if (size >= 0) {
        char *bytes = mem_alloc(AOF_SEGMENT_START);
        uint64_t wanted = (uint64_t)size < AOF_SEGMENT_START ? (uint64_t)size : AOF_SEGMENT_START;
        uint64_t unreadable = 0;
        result = file_read(reader, file, bytes, wanted, &unreadable);
        if (result >= 0) {
            struct slice header = slice_make(bytes, (size_t)result);
            segment->check = aof_header_read(header, &segment->header);
        }
        mem_free(bytes);
    }
    file_close(reader, file);
    if (result < 0) {
        return (int)result;
    }
    segment->file_bytes = (uint64_t)size;
    bool is_named_wrong = segment->header.number != segment->number;
    bool is_other = reader->identity != 0 && segment->header.identity != reader->identity;
    segment->is_foreign = segment->check == AOF_HEADER_GOOD && (is_named_wrong || is_other);
    return 0;
}

static int segments_look(struct aof_reader *reader, const struct buffer *names, int64_t count)
{
    const char *name = names->data;
    for (int64_t i = 0; i < count; i++, name += strlen(name) + 1) {
        struct segment segment = { 0 };
        if (!aof_name_parse(name, &segment.number)) {
            continue;
        }
        int result = segment_look(reader, &segment);
        if (result < 0) {
            return result;
        }
        reader->total_bytes += segment.file_bytes;
        reader->segments[reader->segments_count++] = segment; /* names come sorted */
    }
    return 0;
}

static int segments_find(struct aof_reader *reader)
{
    struct buffer names = { 0 };
    struct io_file_op op = { .kind = IO_FILE_LIST, .path = reader->dir, .list = &names };
    int64_t count = io_file_run(reader->io, &op);
    int result = count < 0 ? (int)count : 0;
    if (count > 0) {
        reader->segments = mem_zalloc((size_t)count * sizeof(*reader->segments));
        result = segments_look(reader, &names, count);
    }
    buffer_free(&names);
    return result;
}

static bool segment_is_readable(const struct segment *segment)
{
    return segment->check == AOF_HEADER_GOOD && !segment->is_foreign;
}

static void limits_compute(struct aof_reader *reader)
{
    uint64_t limit = UINT64_MAX;
    for (uint32_t i = reader->segments_count; i-- > 0;) {
        struct segment *segment = &reader->segments[i];
        segment->limit = limit;
        if (segment_is_readable(segment) && segment->header.first_sequence < limit) {
            limit = segment->header.first_sequence;
        }
    }
}

/* ── reading ─────────────────────────────────────────────────────────────────────────────────── */

enum aof_read aof_reader_next(struct aof_reader *reader, struct aof_record *out_record)
{
    for (;;) {
        if (reader->error != 0) {
            return AOF_READ_ERROR;
        }
        if (reader->has_ended) {
            return AOF_READ_END;
        }
        enum aof_read outcome = AOF_READ_RECORD;
        if (!reader->is_loaded) {
            outcome = segment_enter(reader);
        }
        if (outcome == AOF_READ_RECORD) {
            outcome = records_next(reader, out_record);
        }
        if (outcome != AOF_READ_AGAIN) {
            return outcome;
        }
    }
}

static enum aof_read read_error(struct aof_reader *reader, int error)
{
    ASSERT(error < 0);
    reader->error = error;
    return AOF_READ_ERROR;
}

static struct segment *segment_current(struct aof_reader *reader)
{
    ASSERT(reader->current < reader->segments_count);
    return &reader->segments[reader->current];
}

static void damage_set(struct aof_reader *reader, enum aof_damage_kind kind, uint64_t number,
                       uint64_t offset, uint64_t resume_sequence)
{
    uint64_t first = reader->expected > 0 ? reader->expected : 1;
    ASSERT(resume_sequence >= first);
    reader->damage = (struct aof_damage){
        .kind = kind,
        .segment = number,
        .offset = offset,
        .first_sequence = first,
        .last_sequence = resume_sequence - 1,
        .group = -1,
    };
    aof_name(number, ".log", reader->damage.file);
    reader->expected = resume_sequence;
}

/* Records that so many bytes may have held, and one more. */
static uint64_t lost_max(uint64_t bytes)
{
    return bytes / AOF_RECORD_HEADER_BYTES + 1;
}

/* The current segment's header cannot be trusted: all that may have been in it is lost. */
static void segment_is_lost(struct aof_reader *reader)
{
    const struct segment *segment = segment_current(reader);
    enum aof_damage_kind kind = AOF_DAMAGE_SEGMENT;
    if (segment->check == AOF_HEADER_TOO_NEW) {
        kind = AOF_DAMAGE_FORMAT;
    } else if (segment->is_foreign) {
        kind = AOF_DAMAGE_IDENTITY;
    }
    uint64_t resume = segment->limit;
    if (resume == UINT64_MAX) { /* nothing behind it says how much: at most so many records */
        uint64_t first = reader->expected > 0 ? reader->expected : 1;
        resume = first + lost_max(segment->file_bytes);
    }
    damage_set(reader, kind, segment->number, 0, resume);
}

static void segment_leave(struct aof_reader *reader)
{
    reader->done_bytes += segment_current(reader)->file_bytes;
    reader->current += 1;
    reader->is_loaded = false;
}

/* Goes to the next segment that is part of the log, from `current` on.  RECORD: it is loaded. */
static enum aof_read segment_enter(struct aof_reader *reader)
{
    while (reader->current < reader->segments_count) {
        const struct segment *segment = segment_current(reader);
        if (!segment_is_readable(segment)) {
            if (reader->expected != segment->limit) {
                segment_is_lost(reader);
                segment_leave(reader);
                return AOF_READ_DAMAGE;
            }
        } else if (segment->header.first_sequence < segment->limit) {
            /* Whoever left the segment before this one had come to its limit, which is this. */
            ASSERT(reader->expected == 0 || reader->expected == segment->header.first_sequence);
            reader->expected = segment->header.first_sequence;
            reader->at = AOF_SEGMENT_START;
            reader->verified_until = 0;
            int result = segment_load(reader, segment);
            reader->is_loaded = result == 0;
            return result < 0 ? read_error(reader, result) : AOF_READ_RECORD;
        }
        segment_leave(reader);
    }
    return end_reached(reader);
}

static int segment_load(struct aof_reader *reader, const struct segment *segment)
{
    uint64_t size = segment->file_bytes;
    if (size > segment->header.capacity) {
        size = segment->header.capacity; /* nothing of the log is behind it */
    }
    int64_t file = file_open(reader, segment->number, ".log", IO_FILE_RDONLY);
    if (file < 0) {
        return (int)file;
    }
    reader->bytes.size = 0;
    char *to = buffer_reserve(&reader->bytes, size + 1);
    int64_t got = file_read(reader, file, to, size, &reader->unreadable_until);
    file_close(reader, file);
    if (got < 0) {
        return (int)got;
    }
    reader->bytes.size = (size_t)got;
    return 0;
}

/* ── records of the loaded segment ───────────────────────────────────────────────────────────── */

static struct slice bytes_from(const struct aof_reader *reader, uint64_t offset)
{
    size_t size = reader->bytes.size;
    size_t at = offset < size ? (size_t)offset : size;
    return slice_make(reader->bytes.data + at, size - at);
}

/* A valid header that stands at `offset`, whatever its sequence number. */
static bool header_at(const struct aof_reader *reader, uint64_t offset, struct aof_frame *out_frame)
{
    const struct segment *segment = &reader->segments[reader->current];
    return aof_frame_read(bytes_from(reader, offset), segment->header.nonce, offset, out_frame);
}

/* The record `sequence` stands at `offset`, whole. */
static bool record_at(const struct aof_reader *reader, uint64_t offset, uint64_t sequence,
                      struct aof_frame *out_frame)
{
    struct aof_frame frame;
    if (!header_at(reader, offset, &frame) || frame.sequence != sequence) {
        return false;
    }
    const char *body = bytes_from(reader, offset).data + AOF_RECORD_HEADER_BYTES;
    if (offset >= reader->verified_until && !MUTANT(MUT_LOG_BODY_UNCHECKED) &&
        crc32c(0, body, frame.body_size) != frame.body_crc) {
        return false;
    }
    *out_frame = frame;
    return true;
}

/* Checks an all-or-nothing batch from its first record on and moves verified_until behind what is
 * there.  False when it ends in the torn tail. */
static bool batch_is_there(struct aof_reader *reader)
{
    uint64_t offset = reader->at;
    uint64_t sequence = reader->expected;
    uint64_t limit = segment_current(reader)->limit;
    struct aof_frame frame = { .flags = AOF_FLAG_MORE };
    while ((frame.flags & AOF_FLAG_MORE) != 0 && sequence < limit &&
           record_at(reader, offset, sequence, &frame)) {
        offset += aof_frame_size(frame.body_size);
        sequence += 1;
    }
    bool is_whole = (frame.flags & AOF_FLAG_MORE) == 0;
    if (!is_whole && !was_durable(reader, offset, sequence)) {
        return false;
    }
    reader->verified_until = offset;
    return true;
}

static enum aof_read records_next(struct aof_reader *reader, struct aof_record *out_record)
{
    struct segment *segment = segment_current(reader);
    while (reader->expected < segment->limit) {
        struct aof_frame frame;
        if (!record_at(reader, reader->at, reader->expected, &frame)) {
            return record_bad(reader);
        }
        bool more = (frame.flags & AOF_FLAG_MORE) != 0;
        if (more && reader->at >= reader->verified_until && !batch_is_there(reader)) {
            return reader->error != 0 ? AOF_READ_ERROR : end_reached(reader);
        }
        uint64_t offset = reader->at;
        reader->at += aof_frame_size(frame.body_size);
        reader->expected += 1;
        if (frame.type == AOF_MARK) {
            continue;
        }
        record_deliver(reader, &frame, offset, out_record);
        return AOF_READ_RECORD;
    }
    segment_leave(reader);
    return AOF_READ_AGAIN;
}

static void record_deliver(struct aof_reader *reader, const struct aof_frame *frame,
                           uint64_t offset, struct aof_record *out_record)
{
    reader->end.records += 1;
    reader->end.bytes += aof_frame_size(frame->body_size);
    reader->position.segment = segment_current(reader)->number;
    reader->position.offset = offset;
    const char *at = bytes_from(reader, offset).data;
    *out_record = (struct aof_record){
        .type = (enum aof_type)frame->type,
        .more = (frame->flags & AOF_FLAG_MORE) != 0,
        .group = frame->group,
        .sequence = frame->sequence,
        .body = slice_make(at + AOF_RECORD_HEADER_BYTES, frame->body_size),
    };
}

/* ── evidence ────────────────────────────────────────────────────────────────────────────────── */

/* The first valid header at or behind `offset`; *offset becomes where it stands. */
static bool header_search(const struct aof_reader *reader, uint64_t *offset,
                          struct aof_frame *out_frame)
{
    size_t size = reader->bytes.size;
    for (uint64_t at = *offset; at + AOF_RECORD_HEADER_BYTES <= size; at += AOF_ALIGN_BYTES) {
        if (header_at(reader, at, out_frame)) {
            *offset = at;
            return true;
        }
    }
    return false;
}

/* Learns from the headers of the loaded segment behind `offset` until one says that record
 * `sequence` was durable. */
static void evidence_search(struct aof_reader *reader, uint64_t offset, uint64_t sequence)
{
    struct aof_frame frame;
    while (reader->durable <= sequence && header_search(reader, &offset, &frame)) {
        uint64_t floor = aof_frame_floor(&frame);
        reader->durable = floor > reader->durable ? floor : reader->durable;
        offset += aof_frame_size(frame.body_size);
    }
}

/* Between this segment and the next that is part of the log, one is missing or unreadable.  (A
 * segment's name appears only when all of its header is durable.) */
static bool hole_follows(const struct aof_reader *reader, bool *out_unreadable,
                         uint64_t *out_missing)
{
    *out_unreadable = false;
    *out_missing = 0;
    for (uint32_t i = reader->current + 1; i < reader->segments_count; i++) {
        const struct segment *segment = &reader->segments[i];
        uint64_t previous = reader->segments[i - 1].number;
        if (segment->number != previous + 1) {
            *out_missing = previous + 1;
            return true;
        }
        if (!segment_is_readable(segment)) {
            *out_unreadable = true;
            return true;
        }
        if (segment->header.first_sequence < segment->limit) {
            return false;
        }
    }
    return false;
}

/* Headers of later segments were written when all of this was in the past: what they say about
 * records below their limit is true, whether or not they are part of the log themselves. */
static void evidence_of_later(struct aof_reader *reader, uint64_t sequence)
{
    uint32_t here = reader->current;
    for (uint32_t i = here + 1; i < reader->segments_count; i++) {
        const struct segment *segment = &reader->segments[i];
        if (segment_is_readable(segment) && segment->header.durable_sequence > reader->durable) {
            reader->durable = segment->header.durable_sequence;
        }
    }
    for (uint32_t i = here + 1; i < reader->segments_count && reader->durable <= sequence; i++) {
        if (segment_is_readable(&reader->segments[i])) {
            reader->current = i;
            int result = segment_load(reader, segment_current(reader));
            if (result == 0) {
                evidence_search(reader, AOF_SEGMENT_START, sequence);
            }
        }
    }
    reader->current = here;
}

/* Where to look for what follows the bad record at `offset`: behind it if its header is right
 * (what looks like a header inside its body is somebody's data), else at the next place. */
static uint64_t search_start(const struct aof_reader *reader, uint64_t offset)
{
    struct aof_frame frame;
    bool has_header = header_at(reader, offset, &frame);
    return offset + (has_header ? aof_frame_size(frame.body_size) : AOF_ALIGN_BYTES);
}

/* True when the record that should stand at `offset` had been on the disk: it is damaged.  False:
 * it was never acknowledged as synced. */
static bool was_durable(struct aof_reader *reader, uint64_t offset, uint64_t sequence)
{
    bool unreadable;
    uint64_t missing;
    if (MUTANT(MUT_DAMAGE_IS_TORN)) {
        return false;
    }
    if (reader->durable > sequence || hole_follows(reader, &unreadable, &missing)) {
        return true;
    }
    if (reader->unreadable_until > offset) {
        return true; /* a write that did not get through leaves bytes that can be read */
    }
    evidence_search(reader, search_start(reader, offset), sequence);
    if (reader->durable <= sequence && reader->current + 1 < reader->segments_count) {
        evidence_of_later(reader, sequence);
        int result = segment_load(reader, segment_current(reader));
        if (result < 0) {
            reader->error = result;
        }
    }
    return reader->durable > sequence;
}

/* ── damage ──────────────────────────────────────────────────────────────────────────────────── */

/* Finds where the log goes on in the loaded segment: a valid header with a higher sequence. */
static bool resume_search(const struct aof_reader *reader, uint64_t *out_offset,
                          uint64_t *out_sequence)
{
    uint64_t offset = search_start(reader, reader->at);
    uint64_t limit = reader->segments[reader->current].limit;
    struct aof_frame frame;
    while (header_search(reader, &offset, &frame)) {
        if (frame.sequence > reader->expected && frame.sequence < limit) {
            *out_offset = offset;
            *out_sequence = frame.sequence;
            return true;
        }
        offset += aof_frame_size(frame.body_size);
    }
    return false;
}

/* No record `expected` stands at `at`: the end of the log, or damage. */
static enum aof_read record_bad(struct aof_reader *reader)
{
    const struct segment *segment = segment_current(reader);
    if (!was_durable(reader, reader->at, reader->expected)) {
        return reader->error != 0 ? AOF_READ_ERROR : end_reached(reader);
    }
    bool unreadable = false;
    uint64_t missing = 0;
    uint64_t offset = reader->bytes.size;
    uint64_t sequence = segment->limit;
    bool resumes = resume_search(reader, &offset, &sequence);
    (void)hole_follows(reader, &unreadable, &missing);
    if (!resumes && unreadable) { /* it is to blame */
        segment_leave(reader);
        return AOF_READ_AGAIN;
    }
    if (reader->unreadable_until > reader->at && sequence == UINT64_MAX) {
        sequence = reader->expected + lost_max(reader->bytes.size - reader->at);
    } else if (sequence == UINT64_MAX || !was_durable(reader, reader->at, sequence - 1)) {
        sequence = reader->durable; /* from there on it is the torn tail, whatever stands there */
        offset = reader->at;
    }
    if (reader->error != 0) {
        return AOF_READ_ERROR;
    }
    struct aof_frame frame;
    bool has_header = header_at(reader, reader->at, &frame) && frame.sequence == reader->expected;
    if (!resumes && missing != 0 && !has_header && tail_is_clean(reader)) {
        damage_set(reader, AOF_DAMAGE_MISSING, missing, 0, sequence);
    } else {
        enum aof_damage_kind kind = has_header ? AOF_DAMAGE_BODY : AOF_DAMAGE_HEADER;
        damage_set(reader, kind, segment->number, reader->at, sequence);
        bool is_one = has_header && sequence == frame.sequence + 1;
        reader->damage.group = is_one ? frame.group : -1;
    }
    reader->at = offset;
    return AOF_READ_DAMAGE;
}

/* ── the end ─────────────────────────────────────────────────────────────────────────────────── */

static bool is_zero(struct slice bytes)
{
    return bytes.size == 0 ||
           (bytes.data[0] == 0 && memcmp(bytes.data, bytes.data + 1, bytes.size - 1) == 0);
}

/* Nothing was ever begun at `at`: zeros, as far as they tell something.  In a recycled segment the
 * terminator tells, and that no record of this use of the file stands behind it. */
static bool tail_is_clean(const struct aof_reader *reader)
{
    struct slice tail = bytes_from(reader, reader->at);
    if (!reader->segments[reader->current].header.recycled) {
        return is_zero(tail);
    }
    uint64_t offset = reader->at;
    struct aof_frame frame;
    tail.size = tail.size < AOF_TERMINATOR_BYTES ? tail.size : AOF_TERMINATOR_BYTES;
    return is_zero(tail) && !header_search(reader, &offset, &frame);
}

/* Bytes from `at` to the end of what may be of this tail. */
static uint64_t tail_bytes(const struct aof_reader *reader)
{
    struct slice tail = bytes_from(reader, reader->at);
    size_t size = tail.size;
    if (reader->segments[reader->current].header.recycled) {
        uint64_t offset = reader->at;
        uint64_t end = offset + AOF_RECORD_HEADER_BYTES;
        struct aof_frame frame;
        while (header_search(reader, &offset, &frame)) {
            offset += aof_frame_size(frame.body_size);
            end = offset;
        }
        end -= reader->at;
        size = end < size ? (size_t)end : size;
    }
    while (size > 0 && tail.data[size - 1] == 0) {
        size -= 1;
    }
    return size;
}

/* The last segment holds nothing and may be made anew under its number. */
static bool last_is_unused(const struct aof_reader *reader)
{
    return reader->is_loaded && reader->current + 1 == reader->segments_count &&
           reader->at == AOF_SEGMENT_START && !reader->end.torn;
}

static enum aof_read end_reached(struct aof_reader *reader)
{
    struct aof_end *end = &reader->end;
    reader->has_ended = true;
    end->next_sequence = reader->expected > 0 ? reader->expected : 1;
    end->next_segment = 1;
    if (reader->segments_count == 0) {
        return AOF_READ_END;
    }
    const struct segment *last = &reader->segments[reader->segments_count - 1];
    end->segment = last->number;
    end->next_segment = last->number + 1;
    if (reader->is_loaded) {
        const struct segment *segment = segment_current(reader);
        end->segment = segment->number;
        end->offset = reader->at;
        end->torn = !tail_is_clean(reader) || segment->limit != UINT64_MAX;
        end->torn_bytes = end->torn ? tail_bytes(reader) : 0;
        end->next_segment -= last_is_unused(reader) ? 1 : 0;
    }
    aof_name(end->segment, ".log", end->file);
    reader->done_bytes = reader->total_bytes;
    return AOF_READ_END;
}

/* ── what was found ──────────────────────────────────────────────────────────────────────────── */

const struct aof_damage *aof_reader_damage(const struct aof_reader *reader)
{
    return &reader->damage;
}

const struct aof_end *aof_reader_end(const struct aof_reader *reader)
{
    return &reader->end;
}

struct aof_position aof_reader_position(const struct aof_reader *reader)
{
    struct aof_position position = reader->position;
    aof_name(position.segment, ".log", position.file);
    return position;
}

void aof_reader_progress(const struct aof_reader *reader, uint64_t *out_done, uint64_t *out_total)
{
    *out_done = reader->done_bytes + (reader->is_loaded && !reader->has_ended ? reader->at : 0);
    *out_total = reader->total_bytes;
}

int aof_reader_error(const struct aof_reader *reader)
{
    return reader->error;
}

uint32_t aof_reader_segments(const struct aof_reader *reader)
{
    return reader->segments_count;
}

void aof_reader_segment(const struct aof_reader *reader, uint32_t i, uint64_t *out_number,
                        uint64_t *out_first_sequence, uint64_t *out_bytes)
{
    ASSERT(i < reader->segments_count);
    const struct segment *segment = &reader->segments[i];
    *out_number = segment->number;
    *out_first_sequence = segment_is_readable(segment) ? segment->header.first_sequence : 0;
    *out_bytes = segment->file_bytes;
}

int aof_reader_keep_torn(struct aof_reader *reader)
{
    const struct aof_end *end = &reader->end;
    ASSERT(reader->has_ended);
    if (!reader->is_loaded || end->torn_bytes == 0) {
        return 0;
    }
    int64_t file =
        file_open(reader, end->segment, ".torn", IO_FILE_RDWR | IO_FILE_CREATE | IO_FILE_TRUNC);
    if (file < 0) {
        return (int)file;
    }
    struct io_file_op op = {
        .kind = IO_FILE_WRITE,
        .flags = IO_FILE_THEN_SYNC,
        .file = (int)file,
        .data = reader->bytes.data + end->offset,
        .size = end->torn_bytes,
    };
    int64_t result = io_file_run(reader->io, &op);
    file_close(reader, file);
    if (result == 0) {
        struct io_file_op sync = { .kind = IO_FILE_SYNC_DIR, .path = reader->dir };
        result = io_file_run(reader->io, &sync);
    }
    return (int)result;
}
