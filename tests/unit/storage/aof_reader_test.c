/*
 * aof_reader_test.c — what recovery makes of a log that something has happened to.
 *
 * A log is written, its files are changed, and a dumb oracle that knows where every record stands
 * and which of its bytes are still what was written says what the reader must find: which records,
 * which damage, and where the log ends.  The changes: every bit of a small log, every length, every
 * zeroed tail, sectors lost, records copied over others, garbage, missing files.
 */
#include "storage/aof_reader.h"

#include "base/prng.h"
#include "fake_disk.h"
#include "storage/aof_format.h"
#include "test.h"

enum { RECORDS_MAX = 4096, SEGMENTS_MAX = 16, SEGMENT = 64 << 10 };

static const uint64_t IDENTITY = UINT64_C(0x0123456789abcdef);

struct place { /* of a record, as it was written */
    unsigned segment;
    uint64_t offset;
    uint64_t body_size;
    uint64_t floor;
    bool more;
    bool is_mark;
    uint16_t group;
};

struct log {
    struct disk *disk;
    struct buffer files[SEGMENTS_MAX]; /* as written; [0] is segment 1 */
    unsigned segments;
    struct place places[RECORDS_MAX];          /* by sequence number, from 1 */
    uint64_t end;                              /* next sequence number */
    const struct disk_file *now[SEGMENTS_MAX]; /* the files as they are; NULL: missing */
};

static const char *name_of(unsigned segment)
{
    static char path[64];
    char name[AOF_NAME_BYTES_MAX];
    aof_name(segment + 1, ".log", name);
    (void)snprintf(path, sizeof(path), "d/%s", name);
    return path;
}

/* ── writing a log ───────────────────────────────────────────────────────────────────────────── */

static void write_out(struct disk *disk, struct aof *aof)
{
    for (unsigned i = 0; i < 20; i++) {
        aof_flush(aof, disk->now_ns);
        disk_run_all(disk);
        struct io_event event;
        while (io_next(&disk->io, &event)) {
            aof_on_event(aof, &event);
        }
        struct aof_record record;
        while (aof_durable_next(aof, &record)) {
        }
    }
}

struct shape {
    unsigned flushes;
    unsigned body_max;
    bool is_killed; /* without the mark of a clean end */
};

static struct aof *open_at(struct disk *disk, uint64_t sequence, uint64_t segment)
{
    struct aof_options options = {
        .dir = "d",
        .segment_bytes = SEGMENT,
        .sync = AOF_SYNC_ALWAYS,
        .identity = IDENTITY,
        .next_sequence = sequence,
        .next_segment = segment,
    };
    struct aof *aof = NULL;
    CHECK_EQ(aof_open(&disk->io, &options, &aof), 0);
    return aof;
}

static void append_flushes(struct disk *disk, struct aof *aof, struct prng *prng,
                           const struct shape *shape)
{
    for (unsigned flush = 0; flush < shape->flushes; flush++) {
        for (uint64_t i = 1 + prng_below(prng, 6); i > 0; i--) {
            for (uint64_t parts = prng_below(prng, 4); parts < 4; parts++) {
                size_t size = (size_t)prng_below(prng, shape->body_max + 1);
                char *to = aof_record_begin(aof, size);
                for (size_t b = 0; b < size; b++) {
                    to[b] = (char)(prng_chance(prng, 1, 3) ? 0 : prng_next(prng));
                }
                uint16_t group = (uint16_t)prng_below(prng, 1000);
                (void)aof_record_end(aof, size, AOF_ENTRY, group, parts < 3);
            }
        }
        write_out(disk, aof);
    }
}

/* Walks the files as written and notes where everything stands. */
static void places_note(struct log *log)
{
    log->end = 1;
    for (unsigned s = 0; s < log->segments; s++) {
        const struct buffer *file = &log->files[s];
        uint64_t at = AOF_SEGMENT_START;
        struct aof_frame frame;
        while (at + AOF_RECORD_HEADER_BYTES <= file->size && load_u32(file->data + at + 28) != 0) {
            frame = aof_frame_load(file->data + at);
            CHECK_EQ(frame.sequence, log->end);
            if (log->end >= RECORDS_MAX) {
                abort();
            }
            log->places[log->end++] = (struct place){
                .segment = s,
                .offset = at,
                .body_size = frame.body_size,
                .floor = aof_frame_floor(&frame),
                .more = (frame.flags & AOF_FLAG_MORE) != 0,
                .is_mark = frame.type == AOF_MARK,
                .group = frame.group,
            };
            at += aof_frame_size(frame.body_size);
        }
    }
}

static uint64_t records_end(const struct log *log, unsigned segment)
{
    uint64_t end = AOF_SEGMENT_START;
    for (uint64_t i = 1; i < log->end; i++) {
        if (log->places[i].segment == segment) {
            end = log->places[i].offset + aof_frame_size(log->places[i].body_size);
        }
    }
    return end;
}

/* Keeps only so many of the zeros behind the records: they take time and prove nothing. */
static void tail_trim(struct log *log, unsigned segment)
{
    struct buffer *file = &log->files[segment];
    uint64_t size = records_end(log, segment) + 2048;
    file->size = file->size < size ? file->size : size;
    disk_put(log->disk, name_of(segment), buffer_slice(file));
}

static struct log *log_make(uint64_t seed, const struct shape *shape)
{
    struct log *log = mem_zalloc(sizeof(*log));
    struct prng prng;
    prng_init(&prng, seed);
    log->disk = disk_new();
    struct aof *aof = open_at(log->disk, 1, 1);
    append_flushes(log->disk, aof, &prng, shape);
    log->disk->dead = shape->is_killed;
    (void)aof_close(aof);
    disk_reboot(log->disk);
    for (struct disk_file *file; (file = disk_find(log->disk, name_of(log->segments))) != NULL;) {
        buffer_append_slice(&log->files[log->segments++], buffer_slice(&file->bytes));
    }
    places_note(log);
    for (unsigned s = 0; s < log->segments; s++) {
        tail_trim(log, s);
    }
    return log;
}

static void log_free(struct log *log)
{
    for (unsigned s = 0; s < SEGMENTS_MAX; s++) {
        buffer_free(&log->files[s]);
    }
    disk_free(log->disk);
    mem_free(log);
}

/* Puts the files back as they were written. */
static void log_restore(struct log *log, unsigned segment)
{
    disk_put(log->disk, name_of(segment), buffer_slice(&log->files[segment]));
}

/* ── the oracle ──────────────────────────────────────────────────────────────────────────────── */

/* The bytes [from, from + size) of a record are what was written. */
static bool is_same(const struct log *log, uint64_t sequence, uint64_t size)
{
    const struct place *place = &log->places[sequence];
    const struct disk_file *file = log->now[place->segment];
    return file != NULL && file->bytes.size >= place->offset + size &&
           memcmp(file->bytes.data + place->offset, log->files[place->segment].data + place->offset,
                  size) == 0;
}

static bool has_body(const struct log *log, uint64_t sequence)
{
    return is_same(log, sequence, AOF_RECORD_HEADER_BYTES + log->places[sequence].body_size);
}

/* A header counts when its body is inside the file, right or wrong. */
static bool has_header(const struct log *log, uint64_t sequence)
{
    const struct place *place = &log->places[sequence];
    const struct disk_file *file = log->now[place->segment];
    uint64_t end = place->offset + AOF_RECORD_HEADER_BYTES + place->body_size;
    return file != NULL && file->bytes.size >= end &&
           is_same(log, sequence, AOF_RECORD_HEADER_BYTES);
}

/* First sequence number of a segment, or the end of the log. */
static uint64_t first_of(const struct log *log, unsigned segment)
{
    uint64_t sequence = 1;
    while (sequence < log->end && log->places[sequence].segment < segment) {
        sequence += 1;
    }
    return sequence;
}

/* Something that was written later says that this record had been durable. */
static bool was_durable(const struct log *log, uint64_t sequence)
{
    for (uint64_t i = sequence + 1; i < log->end; i++) {
        if (has_header(log, i) && log->places[i].floor > sequence) {
            return true;
        }
    }
    for (unsigned s = 0; s < log->segments; s++) { /* with AOF_SYNC_ALWAYS a roll says so, too */
        if (log->now[s] != NULL && first_of(log, s) > sequence) {
            return true;
        }
    }
    return false;
}

struct expectation {
    bool lost[RECORDS_MAX]; /* reported as damage */
    bool found[RECORDS_MAX];
    uint64_t end;
};

/* First record of the all-or-nothing batch this one belongs to. */
static uint64_t batch_begin(const struct log *log, uint64_t sequence)
{
    while (sequence > 1 && log->places[sequence - 1].more) {
        sequence -= 1;
    }
    return sequence;
}

static void expect(struct log *log, struct expectation *expected)
{
    for (unsigned s = 0; s < log->segments; s++) {
        log->now[s] = disk_find(log->disk, name_of(s));
    }
    memset(expected, 0, sizeof(*expected));
    expected->end = log->end;
    for (uint64_t i = 1; i < log->end; i++) {
        if (has_body(log, i)) {
            expected->found[i] = !log->places[i].is_mark;
        } else if (was_durable(log, i)) {
            expected->lost[i] = true;
        } else {
            uint64_t begin = batch_begin(log, i);
            /* A batch of which a part is known to be lost is handed out as far as it is there. */
            bool in_pieces = false;
            for (uint64_t k = begin; k < i; k++) {
                in_pieces = in_pieces || expected->lost[k];
            }
            expected->end = in_pieces ? i : begin;
            for (uint64_t k = expected->end; k < i; k++) {
                expected->found[k] = false;
            }
            return;
        }
    }
}

/* Reads the changed log and compares.  Returns the end. */
static struct aof_end compare(struct log *log)
{
    static struct expectation expected;
    static bool found[RECORDS_MAX];
    static bool lost[RECORDS_MAX];
    expect(log, &expected);
    memset(found, 0, sizeof(found));
    memset(lost, 0, sizeof(lost));
    struct aof_reader *reader = NULL;
    CHECK_EQ(aof_reader_open(&log->disk->io, "d", IDENTITY, &reader), 0);
    struct aof_record record;
    enum aof_read outcome;
    uint64_t last = 0;
    while ((outcome = aof_reader_next(reader, &record)) != AOF_READ_END) {
        CHECK(outcome != AOF_READ_ERROR);
        if (outcome == AOF_READ_DAMAGE) {
            const struct aof_damage *damage = aof_reader_damage(reader);
            CHECK(damage->first_sequence > last);
            CHECK(damage->last_sequence >= damage->first_sequence);
            CHECK(damage->last_sequence < log->end);
            for (uint64_t i = damage->first_sequence; i <= damage->last_sequence; i++) {
                lost[i] = true;
            }
            if (damage->kind == AOF_DAMAGE_BODY && damage->group >= 0) {
                CHECK_EQ(damage->group, log->places[damage->first_sequence].group);
            }
            last = damage->last_sequence;
            continue;
        }
        CHECK(record.sequence > last && record.sequence < log->end);
        last = record.sequence;
        const struct place *place = &log->places[record.sequence];
        const char *body = log->files[place->segment].data + place->offset;
        CHECK(
            slice_equal(record.body, slice_make(body + AOF_RECORD_HEADER_BYTES, place->body_size)));
        CHECK_EQ(record.group, place->group);
        CHECK_EQ(record.more, place->more);
        found[record.sequence] = true;
    }
    struct aof_end end = *aof_reader_end(reader);
    aof_reader_close(reader);
    CHECK(memcmp(found, expected.found, sizeof(found)) == 0);
    CHECK(memcmp(lost, expected.lost, sizeof(lost)) == 0);
    CHECK_EQ(end.next_sequence, expected.end);
    return end;
}

/* ── one thing wrong in a small log ──────────────────────────────────────────────────────────── */

static void report(const char *what, uint64_t seed, uint64_t at)
{
    if (test_failures > 0) {
        printf("%s, seed %" PRIu64 ", at %" PRIu64 "\n", what, seed, at);
    }
}

static void every_bit_of(uint64_t seed, bool is_killed)
{
    struct shape shape = { .flushes = 12, .body_max = 60, .is_killed = is_killed };
    struct log *log = log_make(seed, &shape);
    CHECK_EQ(log->segments, 1);
    struct buffer *bytes = &disk_need(log->disk, name_of(0))->bytes;
    uint64_t end = records_end(log, 0) + 64;
    (void)compare(log);
    for (uint64_t at = 0; at < end && test_failures == 0; at++) {
        unsigned step = at >= AOF_SEGMENT_START || at % AOF_HEADER_COPY_BYTES < 100 ? 1 : 8;
        for (unsigned bit = 0; bit < 8; bit += step) {
            bytes->data[at] ^= (char)(1u << bit);
            struct aof_end found = compare(log);
            bool in_tail = at >= end - 64;
            CHECK(!in_tail || found.torn);
            bytes->data[at] ^= (char)(1u << bit);
        }
        report("bit", seed, at);
    }
    log_free(log);
}

TEST(every_bit)
{
    every_bit_of(1, false);
    every_bit_of(2, true);
}

/* Cut, or filled with zeros or garbage, from each byte of the last 4 KiB on. */
TEST(every_tail)
{
    struct shape shape = { .flushes = 60, .body_max = 60, .is_killed = true };
    for (uint64_t seed = 1; seed <= 2; seed++) {
        struct log *log = log_make(seed, &shape);
        struct buffer *bytes = &disk_need(log->disk, name_of(0))->bytes;
        uint64_t end = records_end(log, 0);
        size_t size = bytes->size;
        struct prng prng;
        prng_init(&prng, seed);
        for (uint64_t at = end - 4096; at <= end && test_failures == 0; at++) {
            bytes->size = at;
            struct aof_end found = compare(log);
            CHECK(!found.torn || found.torn_bytes <= at - found.offset);
            bytes->size = size;
            memset(bytes->data + at, 0, size - at);
            (void)compare(log);
            for (uint64_t i = at; i < at + 300; i++) {
                bytes->data[i] = (char)prng_next(&prng);
            }
            (void)compare(log);
            log_restore(log, 0);
            report("tail", seed, at);
        }
        log_free(log);
    }
}

/* ── larger things wrong in larger logs ──────────────────────────────────────────────────────── */

static uint64_t random_record(const struct log *log, struct prng *prng)
{
    return 1 + prng_below(prng, log->end - 1);
}

static char *bytes_of(struct log *log, uint64_t sequence)
{
    const struct place *place = &log->places[sequence];
    return disk_need(log->disk, name_of(place->segment))->bytes.data + place->offset;
}

/* Changes something somewhere; returns the segments to restore, as bits. */
static unsigned change(struct log *log, struct prng *prng)
{
    uint64_t sequence = random_record(log, prng);
    const struct place *place = &log->places[sequence];
    struct buffer *bytes = &disk_need(log->disk, name_of(place->segment))->bytes;
    uint64_t at = place->offset + prng_below(prng, AOF_RECORD_HEADER_BYTES + place->body_size);
    switch (prng_below(prng, 5)) {
    case 0:
        bytes->data[at] ^= (char)(1u << prng_below(prng, 8));
        break;
    case 1: /* a sector of zeros */
        at = at / 512 * 512;
        memset(bytes->data + at, 0, at + 512 <= bytes->size ? 512 : bytes->size - at);
        break;
    case 2: /* a block of garbage */
        at = at / 512 * 512;
        for (uint64_t i = at; i < at + 512 && i < bytes->size; i++) {
            bytes->data[i] = (char)prng_next(prng);
        }
        break;
    case 3: { /* a record over another: a misdirected write */
        uint64_t other = random_record(log, prng);
        uint64_t size = aof_frame_size(log->places[other].body_size);
        if (place->offset + size <= bytes->size) {
            memmove(bytes->data + place->offset, bytes_of(log, other), size);
        }
        break;
    }
    default: /* sectors swapped */
        if (place->offset + 1024 <= bytes->size) {
            char sector[512];
            at = place->offset / 512 * 512;
            memcpy(sector, bytes->data + at, 512);
            memmove(bytes->data + at, bytes->data + at + 512, 512);
            memcpy(bytes->data + at + 512, sector, 512);
        }
        break;
    }
    return 1u << place->segment;
}

TEST(random_changes)
{
    struct shape shape = { .flushes = 150, .body_max = 150, .is_killed = false };
    for (uint64_t seed = 1; seed <= 4; seed++) {
        shape.is_killed = seed % 2 == 0;
        struct log *log = log_make(seed, &shape);
        CHECK(log->segments >= 3);
        struct prng prng;
        prng_init(&prng, seed * 1000);
        for (unsigned round = 0; round < 300 && test_failures == 0; round++) {
            unsigned changed = 0;
            for (uint64_t n = 1 + prng_below(&prng, 3); n > 0; n--) {
                changed |= change(log, &prng);
            }
            (void)compare(log);
            for (unsigned s = 0; s < log->segments; s++) {
                if ((changed >> s & 1) != 0) {
                    log_restore(log, s);
                }
            }
            report("change", seed, round);
        }
        log_free(log);
    }
}

TEST(missing_segments)
{
    struct shape shape = { .flushes = 250, .body_max = 150, .is_killed = false };
    struct log *log = log_make(7, &shape);
    unsigned last = log->segments - 1;
    CHECK(last >= 3);
    for (unsigned s = 1; s < last; s++) {
        disk_need(log->disk, name_of(s))->exists = false;
        struct aof_end end = compare(log);
        CHECK_EQ(end.next_segment, last + 2);
        log_restore(log, s);
    }
    /* The last one: nothing in the log tells, but its number does (data_dir_meta.aof_segment). */
    disk_need(log->disk, name_of(last))->exists = false;
    struct aof_reader *reader = NULL;
    CHECK_EQ(aof_reader_open(&log->disk->io, "d", IDENTITY, &reader), 0);
    struct aof_record record;
    while (aof_reader_next(reader, &record) == AOF_READ_RECORD) {
    }
    CHECK_EQ(aof_reader_end(reader)->next_segment, last + 1);
    aof_reader_close(reader);
    log_free(log);
}

TEST(damage_is_named)
{
    struct shape shape = { .flushes = 150, .body_max = 150, .is_killed = false };
    struct log *log = log_make(9, &shape);
    uint64_t first = first_of(log, 1);
    uint64_t next = first_of(log, 2);
    char other[AOF_SEGMENT_START + AOF_TERMINATOR_BYTES];
    struct aof_header header = { .number = 2,
                                 .first_sequence = first,
                                 .durable_sequence = first,
                                 .identity = IDENTITY + 1,
                                 .capacity = SEGMENT,
                                 .nonce = 1 };
    aof_header_write(&header, other);
    for (unsigned what = 0; what < 4; what++) {
        char *bytes = disk_need(log->disk, name_of(1))->bytes.data;
        static const enum aof_damage_kind kinds[] = { AOF_DAMAGE_SEGMENT, AOF_DAMAGE_IDENTITY,
                                                      AOF_DAMAGE_MISSING, AOF_DAMAGE_FORMAT };
        if (what == 0) {
            memset(bytes, 0, AOF_SEGMENT_START);
        } else if (what == 1) {
            memcpy(bytes, other, AOF_SEGMENT_START);
        } else if (what == 2) {
            disk_need(log->disk, name_of(1))->exists = false;
        } else {
            store_u32(bytes + 8, AOF_FORMAT + 1);
            store_u32(bytes + 76, crc32c(0, bytes, 76));
        }
        struct aof_reader *reader = NULL;
        CHECK_EQ(aof_reader_open(&log->disk->io, "d", IDENTITY, &reader), 0);
        struct aof_record record;
        unsigned damages = 0;
        enum aof_read outcome;
        while ((outcome = aof_reader_next(reader, &record)) != AOF_READ_END) {
            if (outcome == AOF_READ_DAMAGE) {
                const struct aof_damage *damage = aof_reader_damage(reader);
                CHECK_EQ(damage->kind, kinds[what]);
                CHECK_EQ(damage->segment, 2);
                CHECK_EQ(damage->first_sequence, first);
                CHECK_EQ(damage->last_sequence, next - 1);
                CHECK(strcmp(damage->file, "aof-000000000002.log") == 0);
                damages += 1;
            }
        }
        CHECK_EQ(damages, 1);
        CHECK_EQ(aof_reader_end(reader)->next_sequence, log->end);
        aof_reader_close(reader);
        log_restore(log, 1);
    }
    log_free(log);
}

/* The last segment's header gone: it must be reported now and by every later start. */
TEST(a_lost_last_segment_stays_lost)
{
    struct shape shape = { .flushes = 150, .body_max = 150, .is_killed = false };
    struct log *log = log_make(11, &shape);
    unsigned last = log->segments - 1;
    uint64_t first = first_of(log, last);
    memset(disk_need(log->disk, name_of(last))->bytes.data, 0, AOF_SEGMENT_START);
    uint64_t sequence = 0;
    uint64_t segment = 0;
    for (unsigned life = 0; life < 3; life++) {
        struct aof_reader *reader = NULL;
        CHECK_EQ(aof_reader_open(&log->disk->io, "d", IDENTITY, &reader), 0);
        struct aof_record record;
        enum aof_read outcome;
        unsigned damages = 0;
        while ((outcome = aof_reader_next(reader, &record)) != AOF_READ_END) {
            if (outcome == AOF_READ_DAMAGE) {
                damages += 1;
                CHECK_EQ(aof_reader_damage(reader)->kind, AOF_DAMAGE_SEGMENT);
                CHECK_EQ(aof_reader_damage(reader)->first_sequence, first);
            }
        }
        CHECK_EQ(damages, 1);
        sequence = aof_reader_end(reader)->next_sequence;
        segment = aof_reader_end(reader)->next_segment;
        aof_reader_close(reader);
        CHECK(sequence >= log->end); /* never a number that may be in the lost segment */
        struct aof *aof = open_at(log->disk, sequence, segment);
        (void)aof_record_begin(aof, 0);
        (void)aof_record_end(aof, 0, AOF_ENTRY, 0, false);
        CHECK_EQ(aof_close(aof), 0);
    }
    log_free(log);
}

/* Sectors that cannot be read are damage wherever they are: no torn write leaves such. */
TEST(unreadable_blocks)
{
    struct shape shape = { .flushes = 60, .body_max = 60, .is_killed = true };
    struct log *log = log_make(5, &shape);
    uint64_t end = records_end(log, 0);
    log->disk->bad_name = name_of(0);
    for (uint64_t block = 0; block * 4096 < end; block++) {
        log->disk->bad_from = block * 4096 + 100;
        log->disk->bad_to = block * 4096 + 101;
        struct aof_reader *reader = NULL;
        CHECK_EQ(aof_reader_open(&log->disk->io, "d", IDENTITY, &reader), 0);
        struct aof_record record;
        enum aof_read outcome;
        bool lost[RECORDS_MAX] = { false };
        bool found[RECORDS_MAX] = { false };
        uint64_t last = 0;
        while ((outcome = aof_reader_next(reader, &record)) != AOF_READ_END) {
            CHECK(outcome != AOF_READ_ERROR);
            const struct aof_damage *damage = aof_reader_damage(reader);
            if (outcome == AOF_READ_RECORD) {
                found[record.sequence] = true;
                last = record.sequence;
                continue;
            }
            last = damage->last_sequence;
            for (uint64_t i = damage->first_sequence; i <= last && i < log->end; i++) {
                lost[i] = true;
            }
        }
        for (uint64_t i = 1; i < log->end; i++) {
            const struct place *place = &log->places[i];
            uint64_t place_end = place->offset + AOF_RECORD_HEADER_BYTES + place->body_size;
            bool is_hit = place->offset < (block + 1) * 4096 && place_end > block * 4096;
            CHECK_EQ(lost[i], is_hit);
            CHECK_EQ(found[i], !is_hit && !place->is_mark);
        }
        CHECK(aof_reader_end(reader)->next_sequence > last);
        CHECK(aof_reader_end(reader)->next_sequence >= log->end);
        aof_reader_close(reader);
        report("block", 5, block);
    }
    log->disk->bad_name = NULL;
    log_free(log);
}

/* ── torn tails left behind ──────────────────────────────────────────────────────────────────── */

/* A tail is torn, a new process goes on, and so on; what was left behind never comes back. */
TEST(left_behind_tails)
{
    for (uint64_t seed = 1; seed <= 40 && test_failures == 0; seed++) {
        struct prng prng;
        prng_init(&prng, seed);
        struct disk *disk = disk_new();
        uint64_t sequence = 1;
        uint64_t segment = 1;
        uint64_t owner[RECORDS_MAX] = { 0 }; /* which life wrote the record */
        for (uint64_t life = 1; life <= 5; life++) {
            struct aof *aof = open_at(disk, sequence, segment);
            for (uint64_t n = prng_below(&prng, 40); n > 0; n--) {
                for (uint64_t k = prng_below(&prng, 4); k < 4; k++) {
                    char *to = aof_record_begin(aof, 800);
                    memset(to, (int)life, 800);
                    uint64_t at = aof_record_end(aof, 8 + (size_t)prng_below(&prng, 700), AOF_ENTRY,
                                                 (uint16_t)life, k < 2);
                    owner[at] = life;
                }
                (void)aof_record_begin(aof, 8);
                owner[aof_record_end(aof, 0, AOF_ENTRY, (uint16_t)life, false)] = life;
                if (prng_chance(&prng, 2, 3)) {
                    write_out(disk, aof);
                }
            }
            uint64_t newest = aof_stats(aof).segment_number;
            disk->dead = true;
            (void)aof_close(aof);
            disk_reboot(disk);
            struct disk_file *file = disk_need(disk, name_of((unsigned)newest - 1));
            uint64_t end = file->bytes.size; /* tear the last records off, if any */
            while (end > AOF_SEGMENT_START && file->bytes.data[end - 1] == 0) {
                end -= 1;
            }
            uint64_t cut = prng_below(&prng, 2000);
            cut = end > AOF_SEGMENT_START + cut ? end - cut : end;
            memset(file->bytes.data + cut, 0x5a, end - cut > 100 ? 100 : end - cut);
            struct aof_reader *reader = NULL;
            CHECK_EQ(aof_reader_open(&disk->io, "d", IDENTITY, &reader), 0);
            struct aof_record record;
            uint64_t expected = 0;
            enum aof_read outcome;
            while ((outcome = aof_reader_next(reader, &record)) != AOF_READ_END) {
                if (outcome == AOF_READ_DAMAGE) { /* several batches are in these 2000 bytes */
                    expected = aof_reader_damage(reader)->last_sequence + 1;
                    continue;
                }
                CHECK(expected == 0 || record.sequence == expected);
                CHECK_EQ(record.group, owner[record.sequence]);
                expected = record.sequence + 1;
            }
            sequence = aof_reader_end(reader)->next_sequence;
            segment = aof_reader_end(reader)->next_segment;
            for (uint64_t i = sequence; i < RECORDS_MAX; i++) {
                owner[i] = 0;
            }
            CHECK_EQ(aof_reader_keep_torn(reader), 0);
            aof_reader_close(reader);
        }
        disk_free(disk);
        report("life", seed, 0);
    }
}

TEST_MAIN
