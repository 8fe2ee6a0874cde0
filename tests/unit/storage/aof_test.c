/*
 * aof_test.c — the log's writer: policies, batches, rolling, recycling, a full disk, a broken disk.
 *
 * A model holds what was appended under each sequence number; what is handed back and what a
 * reader finds on the disk is compared with it, byte by byte.
 */
#include "storage/aof.h"

#include "base/prng.h"
#include "fake_disk.h"
#include "storage/aof_format.h"
#include "storage/aof_reader.h"
#include "test.h"

enum { RECORDS_MAX = 200000, BODY_MAX = 16384 };

static const uint64_t IDENTITY = UINT64_C(0x1122334455667788);
static const uint64_t SECOND = UINT64_C(1000000000);

struct model {
    struct disk *disk;
    struct aof *aof;
    uint64_t segment_bytes;
    uint64_t seeds[RECORDS_MAX]; /* of the record's body; 0: none, or the log's own */
    bool more[RECORDS_MAX];
    uint64_t next_seed;
    uint64_t acked;    /* records below it were handed back */
    uint64_t released; /* records below it may be gone */
};

static struct model *model_new(uint64_t segment_bytes)
{
    struct model *model = mem_zalloc(sizeof(*model));
    model->disk = disk_new();
    model->segment_bytes = segment_bytes;
    model->acked = 1;
    model->released = 1;
    model->next_seed = 1;
    return model;
}

static void model_free(struct model *model)
{
    disk_free(model->disk);
    mem_free(model);
}

static void model_open(struct model *model, enum aof_sync sync, uint64_t sequence, uint64_t segment)
{
    struct aof_options options = {
        .dir = "d",
        .segment_bytes = model->segment_bytes,
        .sync = sync,
        .identity = IDENTITY,
        .next_sequence = sequence,
        .next_segment = segment,
    };
    CHECK_EQ(aof_open(&model->disk->io, &options, &model->aof), 0);
}

/* Sizes and bytes follow from the seed: many small bodies, some large ones. */
static size_t body_make(uint64_t seed, char *to)
{
    struct prng prng;
    prng_init(&prng, seed);
    size_t size = (size_t)prng_below(&prng, seed % 61 == 0 ? BODY_MAX : 100);
    for (size_t i = 0; i < size; i++) {
        to[i] = (char)prng_next(&prng);
    }
    return size;
}

static uint16_t group_of(uint64_t seed)
{
    return (uint16_t)(seed % 251);
}

static void append(struct model *model, bool more)
{
    uint64_t seed = model->next_seed++;
    char *to = aof_record_begin(model->aof, BODY_MAX);
    size_t size = body_make(seed, to);
    uint64_t sequence = aof_record_end(model->aof, size, AOF_ENTRY, group_of(seed), more);
    if (sequence >= RECORDS_MAX) {
        abort();
    }
    model->seeds[sequence] = seed;
    model->more[sequence] = more;
}

static bool record_is_right(const struct model *model, const struct aof_record *record)
{
    static char body[BODY_MAX];
    uint64_t seed = model->seeds[record->sequence];
    size_t size = body_make(seed, body);
    return seed != 0 && record->type == AOF_ENTRY && record->group == group_of(seed) &&
           record->more == model->more[record->sequence] &&
           slice_equal(record->body, slice_make(body, size));
}

/* The next record at or behind `sequence`: the log's own take numbers, too. */
static uint64_t skip_own(const struct model *model, uint64_t sequence)
{
    while (sequence + 1 < RECORDS_MAX && model->seeds[sequence] == 0) {
        sequence += 1;
    }
    return sequence;
}

static void dispatch(struct model *model)
{
    struct io_event event;
    while (io_next(&model->disk->io, &event)) {
        CHECK(event.owner == model->aof);
        aof_on_event(model->aof, &event);
    }
}

/* Takes all durable records; they must be right and in order.  Returns how many. */
static unsigned take(struct model *model)
{
    unsigned count = 0;
    struct aof_record record;
    struct aof_record peeked;
    struct aof_peek peek = { 0 };
    while (aof_durable_peek(model->aof, &peek, &peeked)) {
        CHECK(aof_durable_next(model->aof, &record));
        CHECK_EQ(record.sequence, peeked.sequence);
        CHECK(record.body.data == peeked.body.data);
        CHECK_EQ(record.sequence, skip_own(model, model->acked));
        CHECK(record_is_right(model, &record));
        model->acked = record.sequence + 1;
        count += 1;
    }
    CHECK(!aof_durable_next(model->aof, &record));
    return count;
}

static void settle(struct model *model)
{
    for (unsigned i = 0; i < 60; i++) {
        aof_flush(model->aof, model->disk->now_ns);
        disk_run_all(model->disk);
        dispatch(model);
        (void)take(model);
    }
}

/* Reads the directory and compares it with the model.  Returns the number of records. */
static unsigned read_back(struct model *model, struct aof_end *out_end)
{
    struct aof_reader *reader = NULL;
    CHECK_EQ(aof_reader_open(&model->disk->io, "d", IDENTITY, &reader), 0);
    struct aof_record record;
    unsigned count = 0;
    uint64_t expected = 0;
    bool more = false;
    enum aof_read outcome;
    while ((outcome = aof_reader_next(reader, &record)) == AOF_READ_RECORD) {
        CHECK(record_is_right(model, &record));
        CHECK(expected == 0 || skip_own(model, expected) == record.sequence);
        CHECK(expected != 0 || record.sequence <= skip_own(model, model->released));
        expected = record.sequence + 1;
        more = record.more;
        count += 1;
    }
    CHECK_EQ(outcome, AOF_READ_END);
    CHECK(!more); /* all or nothing */
    *out_end = *aof_reader_end(reader);
    CHECK(out_end->next_sequence >= model->acked);
    aof_reader_close(reader);
    return count;
}

/* ── the plain way ───────────────────────────────────────────────────────────────────────────── */

TEST(what_is_appended_is_read_back)
{
    struct model *model = model_new(64 << 10);
    model_open(model, AOF_SYNC_ALWAYS, 1, 1);
    for (unsigned i = 0; i < 3000; i++) {
        append(model, i % 5 == 1);
        if (i % 7 == 0 && i % 5 != 1) {
            settle(model);
        }
    }
    settle(model);
    CHECK_EQ(model->acked, 3001);
    CHECK(aof_stats(model->aof).segment_number > 5);
    CHECK_EQ(aof_close(model->aof), 0);
    struct aof_end end;
    CHECK_EQ(read_back(model, &end), 3000);
    CHECK(!end.torn);
    CHECK_EQ(end.next_sequence, 3002); /* the mark of a clean end */
    CHECK_EQ(disk_open_handles(model->disk), 0);
    model_free(model);
}

TEST(an_empty_log)
{
    struct model *model = model_new(64 << 10);
    struct aof_end end;
    CHECK_EQ(read_back(model, &end), 0);
    CHECK_EQ(end.next_sequence, 1);
    CHECK_EQ(end.next_segment, 1);
    for (unsigned i = 0; i < 3; i++) { /* starting and stopping leaves nothing behind */
        model_open(model, AOF_SYNC_ALWAYS, end.next_sequence, end.next_segment);
        CHECK_EQ(aof_close(model->aof), 0);
        CHECK_EQ(read_back(model, &end), 0);
        CHECK_EQ(end.next_sequence, 1);
        CHECK_EQ(end.next_segment, 1);
        CHECK(!end.torn);
    }
    model_free(model);
}

TEST(a_record_larger_than_a_segment)
{
    struct model *model = model_new(64 << 10);
    model_open(model, AOF_SYNC_ALWAYS, 1, 1);
    append(model, false);
    settle(model);
    size_t size = 3 << 20;
    char *to = aof_record_begin(model->aof, size);
    memset(to, 'x', size);
    CHECK_EQ(aof_record_end(model->aof, size, AOF_ENTRY, 1, false), 2);
    unsigned taken = 0;
    for (unsigned i = 0; i < 60; i++) {
        aof_flush(model->aof, model->disk->now_ns);
        disk_run_all(model->disk);
        dispatch(model);
        struct aof_record record;
        while (aof_durable_next(model->aof, &record)) {
            CHECK_EQ(record.body.size, size);
            taken += 1;
        }
    }
    CHECK_EQ(taken, 1);
    CHECK_EQ(aof_close(model->aof), 0);
    struct aof_reader *reader = NULL;
    CHECK_EQ(aof_reader_open(&model->disk->io, "d", IDENTITY, &reader), 0);
    struct aof_record record;
    CHECK_EQ(aof_reader_next(reader, &record), AOF_READ_RECORD);
    CHECK_EQ(aof_reader_next(reader, &record), AOF_READ_RECORD);
    CHECK_EQ(record.body.size, size);
    CHECK_EQ(aof_reader_next(reader, &record), AOF_READ_END);
    aof_reader_close(reader);
    model_free(model);
}

/* ── policies ────────────────────────────────────────────────────────────────────────────────── */

/* The waiting operation of this kind, or -1. */
static int queued(const struct disk *disk, enum io_file_kind kind)
{
    for (unsigned i = 0; i < disk->queued; i++) {
        if (disk->queue[i]->kind == kind) {
            return (int)i;
        }
    }
    return -1;
}

/* The write of a batch: the only one that is not 8 KiB of segment header. */
static int queued_batch(const struct disk *disk)
{
    int i = queued(disk, IO_FILE_WRITE);
    return i >= 0 && disk->queue[i]->offset >= AOF_SEGMENT_START ? i : -1;
}

TEST(always_hands_back_only_what_was_synced)
{
    struct model *model = model_new(1 << 20);
    model_open(model, AOF_SYNC_ALWAYS, 1, 1);
    settle(model);
    struct disk *disk = model->disk;
    append(model, false);
    append(model, false);
    CHECK_EQ(take(model), 0);
    aof_flush(model->aof, disk->now_ns);
    int write = queued_batch(disk);
    CHECK(write >= 0);
    CHECK((disk->queue[write]->flags & IO_FILE_THEN_SYNC) != 0);
    append(model, false); /* fills the other batch */
    CHECK_EQ(take(model), 0);
    aof_flush(model->aof, disk->now_ns); /* one batch in flight at most */
    CHECK_EQ(queued_batch(disk), write);
    CHECK_EQ(aof_stats(model->aof).synced_sequence, 1);
    disk_run_one(disk, (unsigned)write);
    CHECK_EQ(take(model), 0); /* it has ended, but nobody has told the log */
    dispatch(model);
    CHECK_EQ(aof_stats(model->aof).synced_sequence, 3);
    CHECK_EQ(take(model), 2);
    aof_flush(model->aof, disk->now_ns);
    CHECK_EQ(take(model), 0);
    disk_run_all(disk);
    dispatch(model);
    CHECK_EQ(take(model), 1);
    CHECK_EQ(aof_close(model->aof), 0);
    model_free(model);
}

TEST(everysec_hands_back_what_was_written_and_syncs_beside)
{
    struct model *model = model_new(1 << 20);
    model_open(model, AOF_SYNC_EVERYSEC, 1, 1);
    struct disk *disk = model->disk;
    settle(model);
    append(model, false);
    uint64_t writes = disk->counts[IO_FILE_WRITE];
    aof_flush(model->aof, disk->now_ns); /* nothing is under way: done where it is */
    CHECK_EQ(disk->counts[IO_FILE_WRITE], writes + 1);
    CHECK_EQ(disk->counts[IO_FILE_SYNC], 0);
    CHECK_EQ(take(model), 1);
    CHECK(aof_deadline_ns(model->aof) <= disk->now_ns + SECOND);
    disk->now_ns += SECOND;
    aof_flush(model->aof, disk->now_ns);
    CHECK(queued(disk, IO_FILE_SYNC) >= 0);
    append(model, false); /* goes on while the sync is under way, off the loop */
    aof_flush(model->aof, disk->now_ns);
    int write = queued_batch(disk);
    CHECK(write >= 0);
    CHECK_EQ(take(model), 0);
    disk_run_one(disk, (unsigned)write);
    CHECK_EQ(take(model), 0);
    dispatch(model);
    CHECK_EQ(take(model), 1);
    CHECK_EQ(aof_stats(model->aof).synced_sequence, 1);
    disk_run_all(disk);
    dispatch(model);
    CHECK_EQ(aof_stats(model->aof).synced_sequence, 2); /* the second came after it */
    disk->now_ns += SECOND;
    settle(model);
    CHECK_EQ(aof_stats(model->aof).synced_sequence, 3);
    CHECK_EQ(aof_close(model->aof), 0);
    model_free(model);
}

TEST(no_never_syncs_until_told_otherwise)
{
    struct model *model = model_new(1 << 20);
    model_open(model, AOF_SYNC_NO, 1, 1);
    struct disk *disk = model->disk;
    for (unsigned i = 0; i < 10; i++) {
        append(model, false);
        settle(model);
        disk->now_ns += SECOND;
    }
    CHECK_EQ(aof_stats(model->aof).synced_sequence, 1);
    CHECK_EQ(disk->counts[IO_FILE_SYNC], 0);
    aof_set_sync(model->aof, AOF_SYNC_ALWAYS);
    settle(model); /* nothing new to write, and yet */
    CHECK(aof_stats(model->aof).synced_sequence >= 11);
    CHECK_EQ(aof_close(model->aof), 0);
    model_free(model);
}

TEST(a_mark_follows_when_it_is_quiet)
{
    struct model *model = model_new(1 << 20);
    model_open(model, AOF_SYNC_ALWAYS, 1, 1);
    struct disk *disk = model->disk;
    append(model, false);
    settle(model);
    CHECK_EQ(aof_stats(model->aof).next_sequence, 2);
    CHECK(aof_deadline_ns(model->aof) <= disk->now_ns + SECOND);
    disk->now_ns += SECOND;
    settle(model);
    CHECK_EQ(aof_stats(model->aof).next_sequence, 3);
    CHECK_EQ(aof_deadline_ns(model->aof), UINT64_MAX);
    disk->now_ns += 10 * SECOND;
    settle(model);
    CHECK_EQ(aof_stats(model->aof).next_sequence, 3); /* one is enough */
    CHECK_EQ(aof_close(model->aof), 0);
    struct aof_end end;
    CHECK_EQ(read_back(model, &end), 1);
    CHECK_EQ(end.next_sequence, 3);
    model_free(model);
}

/* ── broken and full disks ───────────────────────────────────────────────────────────────────── */

static void failure_of(enum aof_sync sync, enum io_file_kind kind, const char *what)
{
    struct model *model = model_new(1 << 20);
    model_open(model, sync, 1, 1);
    struct disk *disk = model->disk;
    append(model, false);
    settle(model);
    disk->fail_kind = (int)kind;
    disk->fail_result = -EIO;
    append(model, false);
    for (unsigned i = 0; i < 5; i++) {
        aof_flush(model->aof, disk->now_ns);
        disk_run_all(disk);
        dispatch(model);
        disk->now_ns += SECOND;
        if (sync == AOF_SYNC_ALWAYS) {
            CHECK_EQ(take(model), 0);
        } else {
            (void)take(model);
        }
    }
    CHECK_EQ(aof_failure(model->aof), -EIO);
    CHECK(aof_failure_what(model->aof) != NULL && strstr(aof_failure_what(model->aof), what));
    disk->fail_kind = -1;
    uint64_t writes = disk->counts[IO_FILE_WRITE];
    append(model, false);
    settle(model); /* nothing is tried again */
    CHECK_EQ(disk->counts[IO_FILE_WRITE], writes);
    CHECK_EQ(aof_failure(model->aof), -EIO);
    CHECK_EQ(aof_close(model->aof), -EIO);
    CHECK_EQ(disk->counts[IO_FILE_WRITE], writes);
    CHECK_EQ(disk_open_handles(disk), 0);
    model_free(model);
}

TEST(a_failed_write_is_final)
{
    failure_of(AOF_SYNC_ALWAYS, IO_FILE_WRITE, "writing");
}

TEST(a_failed_sync_is_final)
{
    failure_of(AOF_SYNC_EVERYSEC, IO_FILE_SYNC, "syncing");
}

TEST(a_failed_roll_is_final)
{
    static const enum io_file_kind kinds[] = { IO_FILE_RENAME, IO_FILE_SYNC_DIR, IO_FILE_OPEN };
    for (unsigned k = 0; k < 3; k++) {
        struct model *model = model_new(64 << 10);
        model_open(model, AOF_SYNC_ALWAYS, 1, 1);
        append(model, false);
        settle(model);
        model->disk->fail_kind = (int)kinds[k];
        model->disk->fail_result = -EIO;
        for (unsigned i = 0; i < 3000; i++) {
            append(model, false);
        }
        settle(model);
        CHECK_EQ(aof_failure(model->aof), -EIO);
        model->disk->fail_kind = -1;
        CHECK_EQ(aof_close(model->aof), -EIO);
        model_free(model);
    }
}

TEST(a_full_disk_refuses_and_heals)
{
    struct model *model = model_new(1 << 20);
    struct disk *disk = model->disk;
    disk->space = 700 << 10;
    model_open(model, AOF_SYNC_ALWAYS, 1, 1);
    settle(model);
    unsigned appended = 0;
    while (!aof_is_full(model->aof) && appended < 100000) {
        append(model, false);
        appended += 1;
        settle(model);
        disk->now_ns += 1000000;
    }
    CHECK(aof_is_full(model->aof));
    CHECK(appended > 100);
    CHECK_EQ(aof_failure(model->aof), 0);
    CHECK_EQ(model->acked, appended + 1); /* what got in before is through */
    for (unsigned i = 0; i < 20; i++) {   /* the reserve takes what is already on its way */
        append(model, false);
        appended += 1;
    }
    settle(model);
    CHECK_EQ(model->acked, appended + 1);
    for (unsigned i = 0; i < 5; i++) {
        disk->now_ns += SECOND;
        settle(model);
        CHECK(aof_is_full(model->aof));
    }
    disk->space = 0;
    disk->now_ns += SECOND;
    settle(model);
    CHECK(!aof_is_full(model->aof));
    append(model, false);
    settle(model);
    CHECK_EQ(aof_failure(model->aof), 0);
    CHECK_EQ(aof_close(model->aof), 0);
    struct aof_end end;
    CHECK_EQ(read_back(model, &end), appended + 1);
    model_free(model);
}

/* One of the things that happen to a log beside appending. */
static void happen(struct model *model, struct prng *prng)
{
    struct disk *disk = model->disk;
    if (disk->queued > 0 && prng_below(prng, 3) != 0) {
        disk_run_one(disk, (unsigned)prng_below(prng, disk->queued));
    }
    dispatch(model);
    (void)take(model);
    aof_flush(model->aof, disk->now_ns);
    (void)take(model);
    disk->now_ns += prng_below(prng, 1000000);
}

/* Appends what there is room for until the disk is full; returns how many records. */
static unsigned append_until_full(struct model *model, struct prng *prng)
{
    static char body[BODY_MAX];
    unsigned appended = 0;
    for (unsigned tries = 0; tries < 1000000; tries++) {
        enum aof_room room = aof_room(model->aof, body_make(model->next_seed, body));
        if (room == AOF_ROOM_NONE) {
            return appended;
        }
        if (room == AOF_ROOM_READY) {
            append(model, false);
            appended += 1;
        }
        if (room == AOF_ROOM_SOON || prng_below(prng, 20) == 0) {
            happen(model, prng);
        }
    }
    CHECK(!"the disk never filled, or the room never came");
    return appended;
}

TEST(what_there_was_room_for_is_written_on_a_full_disk)
{
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct prng prng;
        prng_init(&prng, seed);
        struct model *model = model_new((uint64_t)(64 << 10) << prng_below(&prng, 5));
        struct disk *disk = model->disk;
        disk->space = (300 << 10) + prng_below(&prng, 3 << 20);
        model_open(model, (enum aof_sync)prng_below(&prng, 3), 1, 1);
        unsigned appended = append_until_full(model, &prng);
        for (unsigned i = 0; i < 20; i++) {
            disk_run_all(disk);
            happen(model, &prng);
            disk->now_ns += SECOND; /* it is tried again, and still full */
        }
        CHECK_EQ(aof_stats(model->aof).pending_bytes, 0);
        disk->space = 0;
        disk->now_ns += SECOND;
        settle(model);
        appended += 1;
        CHECK(!aof_is_full(model->aof));
        append(model, false);
        settle(model);
        CHECK_EQ(aof_close(model->aof), 0);
        struct aof_end end;
        CHECK_EQ(read_back(model, &end), appended);
        model_free(model);
    }
}

TEST(a_write_that_finds_no_space_is_written_again)
{
    struct model *model = model_new(64 << 10);
    struct disk *disk = model->disk;
    model_open(model, AOF_SYNC_ALWAYS, 1, 1);
    settle(model);
    disk->fail_kind = IO_FILE_WRITE;
    disk->fail_result = -ENOSPC;
    append(model, false);
    settle(model);
    CHECK_EQ(model->acked, 1);
    CHECK(aof_is_full(model->aof));
    CHECK_EQ(aof_failure(model->aof), 0);
    CHECK(aof_deadline_ns(model->aof) <= disk->now_ns + SECOND);
    disk->fail_kind = -1;
    disk->now_ns += SECOND;
    settle(model);
    CHECK_EQ(model->acked, 2);
    CHECK(!aof_is_full(model->aof));
    CHECK_EQ(aof_close(model->aof), 0);
    model_free(model);
}

TEST(starting_on_a_full_disk)
{
    struct model *model = model_new(64 << 10);
    struct disk *disk = model->disk;
    disk->space = 1;
    model_open(model, AOF_SYNC_ALWAYS, 5, 3);
    CHECK(aof_is_full(model->aof));
    aof_adopt_segment(model->aof, 2, 1, 100);
    settle(model);
    CHECK(aof_is_full(model->aof));
    disk->space = 0;
    disk->now_ns += SECOND;
    settle(model);
    CHECK(!aof_is_full(model->aof));
    model->acked = 5;
    append(model, false);
    settle(model);
    CHECK_EQ(model->acked, 6);
    CHECK_EQ(aof_close(model->aof), 0);
    model_free(model);
}

/* ── giving space back ───────────────────────────────────────────────────────────────────────── */

static unsigned segments_on_disk(struct disk *disk)
{
    struct buffer names = { 0 };
    unsigned count = 0;
    int64_t all = disk_list(disk, "d", &names);
    const char *name = names.data;
    for (int64_t i = 0; i < all; i++, name += strlen(name) + 1) {
        uint64_t number = 0;
        count += aof_name_parse(name, &number);
    }
    buffer_free(&names);
    return count;
}

TEST(released_segments_go_and_are_used_again)
{
    struct model *model = model_new(64 << 10);
    model_open(model, AOF_SYNC_ALWAYS, 1, 1);
    struct aof_end end;
    uint64_t disk_max = 0;
    for (unsigned round = 0; round < 60; round++) {
        for (unsigned i = 0; i < 200; i++) {
            append(model, false);
            if (i % 10 == 0) {
                settle(model);
            }
        }
        settle(model);
        CHECK_EQ(read_back(model, &end) > 0, true);
        model->released = model->acked - 50;
        aof_release(model->aof, model->released);
        settle(model);
        CHECK(segments_on_disk(model->disk) <= 3);
        uint64_t bytes = aof_stats(model->aof).disk_bytes;
        disk_max = bytes > disk_max ? bytes : disk_max;
        CHECK(bytes >= disk_used(model->disk));
        (void)read_back(model, &end);
    }
    CHECK(disk_max < 6 * model->segment_bytes);
    CHECK(aof_stats(model->aof).segment_number > 20);
    CHECK_EQ(aof_close(model->aof), 0);
    CHECK_EQ(disk_open_handles(model->disk), 0);
    model_free(model);
}

/* ── everything at random ────────────────────────────────────────────────────────────────────── */

static void random_step(struct model *model, struct prng *prng)
{
    struct disk *disk = model->disk;
    uint64_t dice = prng_below(prng, 100);
    if (dice < 30) {
        uint64_t count = 1 + prng_below(prng, prng_chance(prng, 1, 20) ? 300 : 5);
        for (uint64_t i = 0; i < count; i++) {
            for (uint64_t in_batch = prng_below(prng, 4); in_batch > 0; in_batch--) {
                append(model, true);
            }
            append(model, false);
        }
    } else if (dice < 60) {
        (void)take(model);
        aof_flush(model->aof, disk->now_ns);
    } else if (dice < 85) {
        if (disk->queued > 0) {
            disk_run_one(disk, (unsigned)prng_below(prng, disk->queued));
        }
        dispatch(model);
        (void)take(model);
    } else if (dice < 92) {
        disk->now_ns += prng_below(prng, SECOND);
    } else if (dice < 95) {
        aof_set_sync(model->aof, (enum aof_sync)prng_below(prng, 3));
    } else if (dice < 98 && model->acked > model->released) {
        model->released += prng_below(prng, model->acked - model->released);
        aof_release(model->aof, model->released);
    }
}

/* The process dies; part of what was under way happens.  A new one recovers and goes on. */
static void kill_and_recover(struct model *model, struct prng *prng, bool clean)
{
    struct disk *disk = model->disk;
    if (clean) {
        (void)take(model);
        CHECK_EQ(aof_close(model->aof), 0);
        CHECK_EQ(disk_open_handles(disk), 0);
    } else {
        while (disk->queued > 0 && prng_chance(prng, 1, 2)) {
            disk_run_one(disk, (unsigned)prng_below(prng, disk->queued));
        }
        disk->dead = true;
        (void)aof_close(model->aof); /* frees it; nothing reaches the disk */
        disk_reboot(disk);
    }
    struct aof_end end;
    (void)read_back(model, &end);
    for (uint64_t i = end.next_sequence; i < RECORDS_MAX; i++) {
        model->seeds[i] = 0;
    }
    struct aof_reader *reader = NULL;
    struct aof_record record;
    CHECK_EQ(aof_reader_open(&disk->io, "d", IDENTITY, &reader), 0);
    while (aof_reader_next(reader, &record) == AOF_READ_RECORD) {
    }
    CHECK_EQ(aof_reader_keep_torn(reader), 0);
    model->acked = end.next_sequence;
    model_open(model, (enum aof_sync)prng_below(prng, 3), end.next_sequence, end.next_segment);
    for (uint32_t i = 0; i < aof_reader_segments(reader); i++) {
        uint64_t number;
        uint64_t first;
        uint64_t bytes;
        aof_reader_segment(reader, i, &number, &first, &bytes);
        aof_adopt_segment(model->aof, number, first, bytes);
    }
    aof_reader_close(reader);
    aof_release(model->aof, model->released);
    settle(model);
}

TEST(random_steps_with_kills)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct prng prng;
        prng_init(&prng, seed);
        struct model *model = model_new(UINT64_C(65536) << prng_below(&prng, 5));
        model_open(model, (enum aof_sync)prng_below(&prng, 3), 1, 1);
        for (unsigned life = 0; life < 6; life++) {
            for (unsigned i = 0; i < 700; i++) {
                random_step(model, &prng);
            }
            kill_and_recover(model, &prng, prng_chance(&prng, 1, 3));
        }
        settle(model);
        CHECK_EQ(aof_failure(model->aof), 0);
        CHECK_EQ(aof_close(model->aof), 0);
        struct aof_end end;
        (void)read_back(model, &end);
        CHECK(!end.torn);
        model_free(model);
        if (test_failures > 0) {
            printf("seed %" PRIu64 "\n", seed);
            return;
        }
    }
}

TEST_MAIN
