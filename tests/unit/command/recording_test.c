/*
 * recording_test.c — what the pipeline records (statistics, slow log, latency events) against dumb
 * models: sorted arrays and lists that forget nothing they should not.
 */
#include "test.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/prng.h"
#include "command/latency.h"
#include "command/slowlog.h"
#include "command/stats.h"

/* ── histograms ──────────────────────────────────────────────────────────────────────────────── */

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

TEST(percentiles_are_right_to_a_factor_of_two)
{
    enum { CALLS = 5000 };
    static uint64_t times[CALLS];
    static const uint32_t points[] = { 0, 1, 500, 900, 990, 999, 1000 };
    struct prng prng;
    prng_init(&prng, 1);
    for (uint32_t round = 0; round < 50; round++) {
        struct command_stats stats = { .calls = 0 };
        uint32_t calls = 1 + (uint32_t)prng_below(&prng, CALLS);
        for (uint32_t i = 0; i < calls; i++) {
            times[i] = prng_next(&prng) >> (28 + prng_below(&prng, 36));
            command_stats_add(&stats, times[i], 1);
        }
        qsort(times, calls, sizeof(times[0]), compare_u64);
        CHECK_EQ(stats.calls, calls);
        for (uint32_t p = 0; p < ARRAY_COUNT(points); p++) {
            uint64_t rank = ((uint64_t)calls * points[p] + 999) / 1000;
            uint64_t exact = times[rank == 0 ? 0 : rank - 1];
            uint64_t told = command_stats_percentile(&stats, points[p]);
            CHECK(told <= exact * 2 + 1 && told * 2 + 1 >= exact);
        }
    }
}

TEST(histogram_buckets)
{
    struct command_stats stats = { .calls = 0 };
    CHECK_EQ(command_stats_percentile(&stats, 500), 0);
    static const struct {
        uint64_t ns;
        uint32_t bucket;
    } rows[] = {
        { 0, 0 },
        { 1, 0 },
        { 2, 1 },
        { 3, 2 },
        { 4, 2 },
        { 5, 3 },
        { 1024, 10 },
        { 1025, 11 },
        { UINT64_MAX, 39 },
        { 1ull << 38, 38 },
        { (1ull << 38) + 1, 39 },
    };
    for (uint32_t i = 0; i < ARRAY_COUNT(rows); i++) {
        uint64_t before = stats.histogram[rows[i].bucket];
        command_stats_add(&stats, rows[i].ns, 1);
        CHECK_EQ(stats.histogram[rows[i].bucket], before + 1);
    }
    struct command_stats batch = { .calls = 0 };
    command_stats_add(&batch, 4000, 4);
    CHECK_EQ(batch.calls, 4);
    CHECK_EQ(batch.nanoseconds, 4000);
    CHECK_EQ(batch.histogram[10], 4);
}

TEST(error_words)
{
    struct error_stats stats = { .total = 0 };
    error_stats_add(&stats, slice_from("ERR one"));
    error_stats_add(&stats, slice_from("ERR"));
    error_stats_add(&stats, slice_from("ERRX two"));
    error_stats_add(&stats, slice_from(""));
    error_stats_add(&stats, slice_from(" x"));
    error_stats_add(&stats, slice_from("AAAAAAAAAAAAAAAAAAAAAAAA long"));
    CHECK_EQ(stats.total, 6);
    CHECK_EQ(stats.count, 2);
    CHECK_EQ(stats.other, 3);
    CHECK(strcmp(stats.words[0].word, "ERR") == 0);
    CHECK_EQ(stats.words[0].count, 2);
    for (uint32_t i = 0; i < 200; i++) {
        char text[16];
        (void)snprintf(text, sizeof(text), "W%u x", i);
        error_stats_add(&stats, slice_from(text));
    }
    CHECK_EQ(stats.count, ERROR_STATS_MAX);
    CHECK_EQ(stats.other, 3 + 200 - (ERROR_STATS_MAX - 2));
    error_stats_add(&stats, slice_from("ERR more"));
    CHECK_EQ(stats.words[0].count, 3);
}

/* ── the slow log ────────────────────────────────────────────────────────────────────────────── */

enum { MODEL_MAX = 4096 };

static void slowlog_check(const struct slowlog *log, const uint64_t *model, uint32_t count)
{
    CHECK_EQ(log->count, count);
    for (uint32_t age = 0; age < count && age < log->count; age++) {
        const struct slowlog_entry *entry = slowlog_at(log, age);
        CHECK_EQ(entry->usec, model[count - 1 - age]);
        CHECK_EQ(entry->args->argv[0].size, 3);
        CHECK_EQ(entry->id, log->next_id - 1 - age);
    }
}

TEST(slowlog_is_a_list_that_forgets_the_oldest)
{
    static uint64_t model[MODEL_MAX];
    uint32_t count = 0;
    struct slowlog log;
    struct prng prng;
    prng_init(&prng, 2);
    slowlog_init(&log, 0, 20);
    struct slice words[] = { slice_from("GET"), slice_from("key") };
    for (uint32_t step = 0; step < 3000; step++) {
        uint64_t dice = prng_below(&prng, 100);
        if (dice == 0) {
            slowlog_reset(&log);
            count = 0;
        } else if (dice < 3) {
            uint32_t length = (uint32_t)prng_below(&prng, 60);
            slowlog_resize(&log, length);
            uint32_t keep = count < length ? count : length;
            memmove(model, model + count - keep, keep * sizeof(model[0]));
            count = keep;
        } else {
            struct slowlog_record record = { .args = slowlog_args_new(words, 2),
                                             .usec = step,
                                             .address = "a",
                                             .client_name = words[1] };
            slowlog_add(&log, &record);
            if (log.length_max > 0) {
                if (count == log.length_max) {
                    memmove(model, model + 1, --count * sizeof(model[0]));
                }
                model[count++] = step;
            }
        }
        slowlog_check(&log, model, count);
    }
    slowlog_deinit(&log);
}

TEST(slowlog_threshold)
{
    struct slowlog log;
    slowlog_init(&log, 10, 5);
    CHECK(!slowlog_wants(&log, 9));
    CHECK(slowlog_wants(&log, 10));
    log.slower_than_us = 0;
    CHECK(slowlog_wants(&log, 0));
    log.slower_than_us = -1;
    CHECK(!slowlog_wants(&log, UINT64_MAX));
    slowlog_deinit(&log);
}

TEST(slowlog_trims_as_redis)
{
    enum { MANY = 40, LONG = 300 };
    struct slowlog log;
    slowlog_init(&log, 0, 5);
    struct slice words[MANY];
    char text[LONG];
    memset(text, 'x', sizeof(text));
    for (uint32_t i = 0; i < MANY; i++) {
        words[i] = slice_make(text, i == 1 ? LONG : i == 2 ? SLOWLOG_TEXT_MAX : 1);
    }
    words[3] = slice_make(NULL, 0);
    struct slowlog_record record = { .args = slowlog_args_new(words, MANY),
                                     .address = "a",
                                     .client_name = slice_make(text, LONG) };
    slowlog_add(&log, &record);
    const struct slowlog_entry *entry = slowlog_at(&log, 0);
    CHECK_EQ(entry->args->argc, SLOWLOG_ARGS_MAX);
    CHECK(slice_equal(entry->args->argv[31], slice_from("... (9 more arguments)")));
    CHECK_EQ(entry->args->argv[1].size, SLOWLOG_TEXT_MAX + strlen("... (172 more bytes)"));
    CHECK(memcmp(entry->args->argv[1].data + SLOWLOG_TEXT_MAX, "... (172 more bytes)", 20) == 0);
    CHECK_EQ(entry->args->argv[2].size, SLOWLOG_TEXT_MAX);
    CHECK_EQ(entry->args->argv[3].size, 0);
    CHECK_EQ(strlen(entry->client_name), SLOWLOG_TEXT_MAX - 1);
    record.args = slowlog_args_new(words, SLOWLOG_ARGS_MAX);
    slowlog_add(&log, &record);
    CHECK_EQ(slowlog_at(&log, 0)->args->argv[31].size, 1);
    slowlog_deinit(&log);
}

TEST(slowlog_shows_no_passwords)
{
    struct slowlog log;
    slowlog_init(&log, 0, 5);
    struct slice words[] = { slice_from("CONFIG"),      slice_from("set"),
                             slice_from("timeout"),     slice_from("5"),
                             slice_from("REQUIREPASS"), slice_from("geheim"),
                             slice_from("masterauth"),  slice_from("geheim") };
    struct slowlog_record record = { .args = slowlog_args_new(words, 8), .address = "a" };
    slowlog_add(&log, &record);
    const struct slowlog_entry *entry = slowlog_at(&log, 0);
    CHECK(slice_equal(entry->args->argv[3], slice_from("5")));
    CHECK(slice_equal(entry->args->argv[4], slice_from("REQUIREPASS")));
    CHECK(slice_equal(entry->args->argv[5], slice_from("(redacted)")));
    CHECK(slice_equal(entry->args->argv[7], slice_from("(redacted)")));
    slowlog_deinit(&log);
}

/* ── latency events ──────────────────────────────────────────────────────────────────────────── */

TEST(latency_keeps_the_worst_of_each_second)
{
    static struct latency_sample model[MODEL_MAX];
    uint32_t count = 0;
    uint64_t worst_ms = 0;
    uint64_t time_s = 1000;
    struct latency *latency = mem_zalloc(sizeof(*latency));
    struct prng prng;
    prng_init(&prng, 3);
    latency->threshold_ms = 5;
    for (uint32_t step = 0; step < MODEL_MAX; step++) {
        time_s += prng_below(&prng, 3);
        uint64_t ms = prng_below(&prng, 1000);
        latency_event_add(latency, "command", time_s, ms);
        if (ms >= 5) {
            bool is_same = count > 0 && model[count - 1].time_s == time_s;
            if (!is_same) {
                model[count++] = (struct latency_sample){ time_s, ms };
            } else if (ms > model[count - 1].ms) {
                model[count - 1].ms = ms;
            }
            worst_ms = ms > worst_ms ? ms : worst_ms;
        }
        const struct latency_event *event = latency_event_find(latency, "command", 7);
        uint32_t held = count < LATENCY_SAMPLES_MAX ? count : LATENCY_SAMPLES_MAX;
        CHECK_EQ(event == NULL ? 0 : event->count, held);
        for (uint32_t i = 0; event != NULL && i < held; i++) {
            CHECK_EQ(latency_sample_at(event, i)->time_s, model[count - held + i].time_s);
            CHECK_EQ(latency_sample_at(event, i)->ms, model[count - held + i].ms);
        }
        CHECK_EQ(event == NULL ? 0 : event->ms_max, worst_ms);
    }
    mem_free(latency);
}

TEST(latency_classes_are_bounded)
{
    struct latency *latency = mem_zalloc(sizeof(*latency));
    latency_event_add(latency, "off", 1, 1000);
    CHECK_EQ(latency->count, 0);
    latency->threshold_ms = 1;
    for (uint32_t i = 0; i < 2 * LATENCY_EVENTS_MAX; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "event%u", i);
        latency_event_add(latency, name, 1, 10);
    }
    CHECK_EQ(latency->count, LATENCY_EVENTS_MAX);
    latency_event_reset(latency, latency_event_find(latency, "event0", 6));
    CHECK_EQ(latency->count, LATENCY_EVENTS_MAX - 1);
    CHECK(latency_event_find(latency, "event0", 6) == NULL);
    CHECK(latency_event_find(latency, "event15", 7) != NULL);
    CHECK(latency_event_find(latency, "event1", 5) == NULL);
    mem_free(latency);
}

TEST_MAIN
