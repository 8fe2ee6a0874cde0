/*
 * aof_test.c — the log's writer: policies, batches, rolling, recycling, a full disk, a broken disk.
 *
 * A model holds what was appended; the reader tells what is on the disk.
 */
#include "storage/aof.h"

#include "base/prng.h"
#include "fake_disk.h"
#include "storage/aof_format.h"
#include "storage/aof_reader.h"
#include "test.h"

enum { SEGMENT = 64 << 10 };
static const uint64_t IDENTITY = UINT64_C(0x1122334455667788);

static struct aof *open_at(struct disk *disk, enum aof_sync sync, uint64_t sequence,
                           uint64_t segment)
{
    struct aof_options options = {
        .dir = "d",
        .segment_bytes = SEGMENT,
        .sync = sync,
        .identity = IDENTITY,
        .next_sequence = sequence,
        .next_segment = segment,
    };
    struct aof *aof = NULL;
    CHECK_EQ(aof_open(&disk->io, &options, &aof), 0);
    return aof;
}

/* The body of record `sequence` of a test: its size and bytes follow from the number. */
static size_t body_make(uint64_t sequence, char *to)
{
    struct prng prng;
    prng_init(&prng, sequence);
    size_t size = (size_t)prng_below(&prng, sequence % 17 == 0 ? 5000 : 120);
    for (size_t i = 0; i < size; i++) {
        to[i] = (char)prng_next(&prng);
    }
    return size;
}

static void append(struct aof *aof, bool more)
{
    char body[8192];
    size_t size = body_make(aof_stats(aof).next_sequence, body);
    memcpy(aof_record_begin(aof, sizeof(body)), body, size);
    (void)aof_record_end(aof, size, AOF_ENTRY, 7, more);
}

static bool record_is_right(const struct aof_record *record)
{
    char body[8192];
    size_t size = body_make(record->sequence, body);
    return record->type == AOF_ENTRY && record->group == 7 &&
           slice_equal(record->body, slice_make(body, size));
}

static void dispatch(struct disk *disk, struct aof *aof)
{
    struct io_event event;
    while (io_next(&disk->io, &event)) {
        CHECK(event.owner == aof);
        aof_on_event(aof, &event);
    }
}

/* Takes all durable records; returns how many.  They must be right and in order. */
static unsigned take(struct aof *aof, uint64_t *expected)
{
    unsigned count = 0;
    struct aof_record record;
    while (aof_durable_next(aof, &record)) {
        CHECK(record.sequence >= *expected); /* marks take numbers, too */
        CHECK(record.sequence <= *expected + 1);
        CHECK(record_is_right(&record));
        *expected = record.sequence + 1;
        count += 1;
    }
    return count;
}

static void settle(struct disk *disk, struct aof *aof, uint64_t *expected)
{
    for (unsigned i = 0; i < 50; i++) {
        aof_flush(aof, disk->now_ns);
        disk_run_all(disk);
        dispatch(disk, aof);
        (void)take(aof, expected);
    }
}

/* Reads the directory; returns the records and checks them.  Numbers missing must be marks. */
static unsigned read_back(struct disk *disk, struct aof_end *out_end)
{
    struct aof_reader *reader = NULL;
    CHECK_EQ(aof_reader_open(&disk->io, "d", IDENTITY, &reader), 0);
    struct aof_record record;
    unsigned count = 0;
    enum aof_read outcome;
    while ((outcome = aof_reader_next(reader, &record)) == AOF_READ_RECORD) {
        CHECK(record_is_right(&record));
        count += 1;
    }
    CHECK_EQ(outcome, AOF_READ_END);
    *out_end = *aof_reader_end(reader);
    aof_reader_close(reader);
    return count;
}

TEST(what_is_appended_is_read_back)
{
    struct disk *disk = disk_new();
    struct aof *aof = open_at(disk, AOF_SYNC_ALWAYS, 1, 1);
    uint64_t expected = 1;
    for (unsigned i = 0; i < 1000; i++) {
        append(aof, false);
        if (i % 7 == 0) {
            settle(disk, aof, &expected);
        }
    }
    settle(disk, aof, &expected);
    CHECK_EQ(expected, 1001);
    CHECK(aof_stats(aof).segment_number > 1);
    CHECK_EQ(aof_close(aof), 0);
    struct aof_end end;
    CHECK_EQ(read_back(disk, &end), 1000);
    CHECK(!end.torn);
    CHECK_EQ(end.next_sequence, 1002); /* the mark of a clean end */
    CHECK_EQ(disk_open_handles(disk), 0);
    disk_free(disk);
}

TEST_MAIN
