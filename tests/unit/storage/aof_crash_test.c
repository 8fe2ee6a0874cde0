/*
 * aof_crash_test.c — the log on the simulated machine: processes die, power fails, disks err.
 *
 * Each life recovers as a server does, appends at random and is crashed in the middle of some
 * operation.  After a power loss each 512-byte sector that was not synced is there or not, on its
 * own.  Checked at every recovery, against what was appended:
 *
 *   right      a record that is read is the one that was appended under its sequence number
 *   durable    every record that was appended and handed back under `always` is there, and every
 *              one that was synced; after a mere process crash every one that was handed back
 *   whole      batches are there or not
 *   no alarm   a crash is never mistaken for damage
 */
#include "storage/aof.h"

#include "base/endian.h"
#include "base/mem.h"
#include "base/prng.h"
#include "io/io_sim.h"
#include "storage/aof_reader.h"
#include "test.h"

enum { RECORDS_MAX = 60000, BODY_MAX = 6000, LIVES = 8 };

static const uint64_t IDENTITY = UINT64_C(0xabcdef0123456789);

struct run {
    struct prng prng;
    struct sim_world *world;
    struct sim_node *node;
    struct io *io;
    struct aof *aof;
    enum aof_sync sync;
    uint64_t segment_bytes;
    uint64_t seeds[RECORDS_MAX]; /* by sequence number; 0: none, or the log's own */
    bool more[RECORDS_MAX];
    uint64_t next_seed;
    uint64_t acked;       /* records below it have been handed back */
    uint64_t synced;      /* records below it had been synced, as the log said */
    uint64_t always_from; /* first record appended since the policy is `always` */
    uint64_t promised;    /* records below it were handed back under `always` */
    uint64_t kept;        /* records below it must be found by the next recovery */
    uint64_t safe;        /* likewise after a power loss or a sync that failed */
    uint64_t released;    /* records below it may be gone */
};

static size_t body_make(uint64_t seed, char *to)
{
    struct prng prng;
    prng_init(&prng, seed);
    size_t size = (size_t)prng_below(&prng, seed % 29 == 0 ? BODY_MAX : 150);
    for (size_t i = 0; i < size; i += 8) {
        store_u64(to + i, prng_next(&prng)); /* there is room for what is too much */
    }
    return size;
}

static void append(struct run *run, bool more)
{
    uint64_t seed = run->next_seed++;
    char *to = aof_record_begin(run->aof, BODY_MAX + 8);
    uint64_t at = aof_record_end(run->aof, body_make(seed, to), AOF_ENTRY, (uint16_t)seed, more);
    if (at >= RECORDS_MAX) {
        abort();
    }
    run->seeds[at] = seed;
    run->more[at] = more;
}

static bool is_right(const struct run *run, const struct aof_record *record)
{
    static char body[BODY_MAX + 8];
    uint64_t seed = run->seeds[record->sequence];
    size_t size = body_make(seed, body);
    return seed != 0 && record->group == (uint16_t)seed &&
           record->more == run->more[record->sequence] &&
           slice_equal(record->body, slice_make(body, size));
}

static void take(struct run *run)
{
    struct aof_record record;
    while (aof_durable_next(run->aof, &record)) {
        CHECK(record.sequence >= run->acked);
        CHECK(is_right(run, &record));
        run->acked = record.sequence + 1;
        if (run->sync == AOF_SYNC_ALWAYS && record.sequence >= run->always_from) {
            run->promised = run->acked;
        }
    }
    uint64_t synced = aof_stats(run->aof).synced_sequence;
    if (aof_failure(run->aof) == 0 && run->synced < synced) {
        run->synced = synced;
    }
}

/* ── a life ──────────────────────────────────────────────────────────────────────────────────── */

/* Opens the log behind what the reader found; false when the machine died or refused meanwhile. */
static bool log_open(struct run *run, struct aof_reader *reader)
{
    const struct aof_end *end = aof_reader_end(reader);
    if (end->torn) {
        (void)aof_reader_keep_torn(reader);
    }
    struct aof_options options = {
        .dir = "d",
        .segment_bytes = run->segment_bytes,
        .sync = run->sync,
        .identity = IDENTITY,
        .next_sequence = end->next_sequence,
        .next_segment = end->next_segment,
        .end_offset = end->offset,
    };
    if (aof_open(run->io, &options, &run->aof) < 0) {
        return false;
    }
    for (uint32_t i = 0; i < aof_reader_segments(reader); i++) {
        uint64_t number;
        uint64_t first;
        uint64_t bytes;
        aof_reader_segment(reader, i, &number, &first, &bytes);
        aof_adopt_segment(run->aof, number, first, bytes);
    }
    return true;
}

/* Reads the log and checks it. */
static bool log_check(struct run *run, struct aof_reader *reader)
{
    struct aof_record record;
    uint64_t expected = 0;
    bool more = false;
    enum aof_read outcome;
    while ((outcome = aof_reader_next(reader, &record)) == AOF_READ_RECORD) {
        CHECK(is_right(run, &record));
        for (; expected != 0 && expected < record.sequence; expected++) {
            CHECK_EQ(run->seeds[expected], 0); /* nothing but the log's own is left out */
        }
        CHECK(expected != 0 || record.sequence <= run->released + 1 || run->released == 0);
        expected = record.sequence + 1;
        more = record.more;
    }
    if (outcome == AOF_READ_ERROR || !sim_node_is_up(run->node)) {
        return false;
    }
    CHECK_EQ(outcome, AOF_READ_END);
    CHECK(!more);
    CHECK(aof_reader_end(reader)->next_sequence >= run->kept);
    return outcome == AOF_READ_END;
}

/* Recovers; a new process of the same directory.  False: it has to be tried again. */
static bool recover(struct run *run)
{
    struct io_file_op make = { .kind = IO_FILE_MKDIR, .path = "d" };
    struct io_file_op sync = { .kind = IO_FILE_SYNC_DIR, .path = "." };
    struct aof_reader *reader = NULL;
    if (io_file_run(run->io, &make) < 0 || io_file_run(run->io, &sync) < 0 ||
        aof_reader_open(run->io, "d", IDENTITY, &reader) < 0) {
        return false;
    }
    bool is_open = log_check(run, reader) && log_open(run, reader);
    if (is_open) {
        uint64_t next = aof_reader_end(reader)->next_sequence;
        for (uint64_t i = next; i < RECORDS_MAX && run->seeds[i] != 0; i++) {
            run->seeds[i] = 0;
        }
        memset(run->seeds + next, 0, (RECORDS_MAX - next) * sizeof(run->seeds[0]));
        run->acked = next;
        run->synced = next;
        run->promised = next;
        run->always_from = next;
    }
    aof_reader_close(reader);
    return is_open;
}

static void work(struct run *run)
{
    for (uint64_t n = prng_below(&run->prng, prng_chance(&run->prng, 1, 30) ? 200 : 8); n > 0;
         n--) {
        for (uint64_t parts = prng_below(&run->prng, 3); parts > 0; parts--) {
            append(run, true);
        }
        append(run, false);
    }
    if (prng_chance(&run->prng, 1, 40)) {
        run->sync = (enum aof_sync)prng_below(&run->prng, 3);
        run->always_from = aof_stats(run->aof).next_sequence;
        aof_set_sync(run->aof, run->sync);
    }
    if (prng_chance(&run->prng, 1, 100) && run->synced > run->released) {
        run->released += prng_below(&run->prng, run->synced - run->released);
        aof_release(run->aof, run->released);
    }
}

/* One life until the machine crashes, the disk fails or the work is done. */
static void live(struct run *run)
{
    uint64_t turns_max = 50 + prng_below(&run->prng, 400);
    struct sim_turn turn;
    uint64_t now_ns = sim_world_now_ns(run->world);
    uint64_t until_ns = now_ns + UINT64_C(60000000000);
    io_wait(run->io, 1);
    for (uint64_t turns = 0; turns < turns_max && sim_world_step(run->world, until_ns, &turn);) {
        struct io_event event;
        while (io_next(run->io, &event)) {
            if (event.owner == run->aof) {
                aof_on_event(run->aof, &event);
            }
        }
        if (!sim_node_is_up(run->node) || aof_failure(run->aof) != 0) {
            return; /* as the process would: nothing that comes now is believed */
        }
        take(run);
        work(run);
        aof_flush(run->aof, io_clock_ns(run->io));
        if (!sim_node_is_up(run->node) || aof_failure(run->aof) != 0) {
            return;
        }
        take(run);
        turns += 1;
        uint64_t soon_ns = io_clock_ns(run->io) + prng_below(&run->prng, 3000000);
        uint64_t deadline_ns = aof_deadline_ns(run->aof);
        io_wait(run->io, deadline_ns < soon_ns ? deadline_ns : soon_ns);
    }
}

/* The process is gone: frees what was its memory. */
static void bury(struct run *run)
{
    if (run->aof != NULL) {
        (void)aof_close(run->aof);
        run->aof = NULL;
    }
    io_free(run->io);
    run->io = NULL;
}

static void boot(struct run *run)
{
    for (unsigned tries = 0; tries < 200; tries++) {
        run->io = sim_node_boot(run->node);
        if (tries < 100 && prng_chance(&run->prng, 1, 3)) { /* dies while it recovers */
            sim_node_crash_after(run->node, 1 + prng_below(&run->prng, 40), false);
        }
        if (recover(run) && sim_node_is_up(run->node)) {
            return;
        }
        if (sim_node_is_up(run->node)) { /* the disk failed: what was not synced may be lost */
            run->kept = run->safe;
            sim_node_crash(run->node, false);
        }
        bury(run);
    }
    test_fail(__FILE__, __LINE__, "recovery never gets through");
}

static void run_seed(uint64_t seed)
{
    struct run *run = mem_zalloc(sizeof(*run));
    prng_init(&run->prng, seed);
    struct sim_options options = seed % 3 == 0 ? sim_options_calm() : sim_options_draw(&run->prng);
    options.read_error_ppm = 0; /* reported as damage, rightly: tested elsewhere */
    run->world = sim_world_new(seed, &options);
    run->node = sim_node_new(run->world, "n");
    run->sync = (enum aof_sync)prng_below(&run->prng, 3);
    run->segment_bytes = UINT64_C(65536) << prng_below(&run->prng, 3);
    run->next_seed = 1;
    run->kept = 1;
    run->safe = 1;
    for (unsigned life = 0; life < LIVES && test_failures == 0; life++) {
        boot(run);
        if (run->io == NULL || test_failures > 0) {
            break;
        }
        bool power_loss = prng_chance(&run->prng, 1, 2);
        sim_node_crash_after(run->node, 1 + prng_below(&run->prng, 600), power_loss);
        live(run);
        bool was_up = sim_node_is_up(run->node);
        if (was_up) {
            sim_node_crash(run->node, power_loss);
        }
        run->safe = run->promised > run->synced ? run->promised : run->synced;
        run->kept = power_loss || aof_failure(run->aof) != 0 ? run->safe : run->acked;
        bury(run);
    }
    if (run->io != NULL) {
        sim_node_crash(run->node, false);
        bury(run);
    }
    sim_world_free(run->world);
    mem_free(run);
}

TEST(crashes)
{
    const char *first = getenv("SEED");
    uint64_t begin = first != NULL ? strtoull(first, NULL, 10) : 1;
    for (uint64_t seed = begin; seed < begin + 200; seed++) {
        run_seed(seed);
        if (test_failures > 0) {
            printf("repeat: SEED=%" PRIu64 "\n", seed);
            return;
        }
    }
}

TEST_MAIN
