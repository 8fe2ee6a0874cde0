/*
 * log_test.c — lines as people and programs read them, hostile values, and a reader that stands
 * still.
 */
#include "base/buffer.h"
#include "base/prng.h"
#include "base/text.h"
#include "log.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <unistd.h>

static uint64_t fixed_clock(void *owner)
{
    return *(uint64_t *)owner;
}

struct sink {
    struct log *log;
    int read_fd, write_fd;
    uint64_t now_ms;
};

static void sink_open(struct sink *sink, enum log_format format, size_t ring_bytes)
{
    int fds[2];
    CHECK(pipe2(fds, O_CLOEXEC) == 0);
    sink->read_fd = fds[0];
    sink->write_fd = fds[1];
    sink->now_ms = 1769860800123; /* 2026-01-31T12:00:00.123Z */
    struct log_options options = { .level = LOG_INFO,
                                   .format = format,
                                   .fd = fds[1],
                                   .ring_bytes = ring_bytes,
                                   .clock = fixed_clock,
                                   .clock_owner = &sink->now_ms };
    CHECK(log_open(&options, &sink->log) == 0);
}

/* Closes the log, then reads all that was written (it must fit into a pipe). */
static void sink_close(struct sink *sink, struct buffer *out)
{
    log_close(sink->log);
    (void)close(sink->write_fd);
    for (;;) {
        ssize_t size = read(sink->read_fd, buffer_reserve(out, 4096), 4096);
        if (size <= 0) {
            break;
        }
        out->size += (size_t)size;
    }
    buffer_append_byte(out, '\0');
    (void)close(sink->read_fd);
}

static void check_text(const struct buffer *got, const char *expected)
{
    if (strcmp(got->data, expected) != 0) {
        printf("  got      %s  expected %s", got->data, expected);
    }
    CHECK(strcmp(got->data, expected) == 0);
}

TEST(logfmt_lines)
{
    struct sink sink;
    sink_open(&sink, LOG_LOGFMT, 0);
    log_event(sink.log, LOG_INFO, "listening", LOG_STR("host", "127.0.0.1"), LOG_U64("port", 7001));
    log_event(sink.log, LOG_DEBUG, "not_written");
    log_event(sink.log, LOG_WARN, "odd", LOG_STR("a", ""), LOG_STR("b", "x y\n\"z\" \\ \x01"),
              LOG_I64("c", -5), LOG_BOOL("d", true), LOG_ERRNO("e", -ENOSPC), LOG_END);
    log_event(sink.log, LOG_ERROR, "bare");
    log_set_level(sink.log, LOG_ERROR);
    log_event(sink.log, LOG_WARN, "not_written");
    log_event(NULL, LOG_ERROR, "not_written");
    struct buffer text = { 0 };
    sink_close(&sink, &text);
    check_text(&text,
               "time=2026-01-31T12:00:00.123Z level=info event=listening host=127.0.0.1 port=7001\n"
               "time=2026-01-31T12:00:00.123Z level=warn event=odd a=\"\" "
               "b=\"x y\\n\\\"z\\\" \\\\ \\u0001\" c=-5 d=true e=\"No space left on device\"\n"
               "time=2026-01-31T12:00:00.123Z level=error event=bare\n");
    buffer_free(&text);
}

TEST(json_lines)
{
    struct sink sink;
    sink_open(&sink, LOG_JSON, 0);
    log_event(sink.log, LOG_INFO, "one", LOG_STR("s", "a\xc3\xa9\xff"), LOG_U64("n", UINT64_MAX),
              LOG_BOOL("b", false));
    struct buffer text = { 0 };
    sink_close(&sink, &text);
    check_text(&text, "{\"time\":\"2026-01-31T12:00:00.123Z\",\"level\":\"info\",\"event\":\"one\","
                      "\"s\":\"a\\u00c3\\u00a9\\u00ff\",\"n\":18446744073709551615,\"b\":false}\n");
    buffer_free(&text);
}

/* No value, whatever its bytes, makes a second line or a second field. */
TEST(hostile_values_stay_values)
{
    struct prng prng;
    prng_init(&prng, 7);
    for (int round = 0; round < 300; round++) {
        char value[3000];
        size_t size = prng_below(&prng, prng_chance(&prng, 1, 10) ? sizeof(value) : 40);
        for (size_t i = 0; i < size; i++) {
            value[i] =
                (char)(prng_chance(&prng, 1, 2) ? "=\"\\\n \x80\xc3\xa9"[prng_below(&prng, 8)]
                                                : (char)prng_next(&prng));
        }
        struct sink sink;
        sink_open(&sink, LOG_JSON, 0);
        log_event(sink.log, LOG_INFO, "e", LOG_SLICE("v", slice_make(value, size)),
                  LOG_U64("after", 3));
        log_set_format(sink.log, LOG_LOGFMT);
        log_event(sink.log, LOG_INFO, "e", LOG_SLICE("v", slice_make(value, size)));
        struct buffer text = { 0 };
        sink_close(&sink, &text);
        char *newline = strchr(text.data, '\n');
        CHECK(newline != NULL);
        *newline = '\0';
        json_t *line = json_loads(text.data, JSON_ALLOW_NUL, NULL);
        CHECK(line != NULL);
        CHECK_EQ(json_object_size(line), 5);
        CHECK_EQ(json_integer_value(json_object_get(line, "after")), 3);
        json_decref(line);
        char *at = strstr(newline + 1, " v=");
        CHECK(at != NULL);
        if (at != NULL && at[3] == '"') {
            char *end = at + 4;
            while (*end != '"' && *end != '\0') {
                end += *end == '\\' ? 2 : 1;
            }
            CHECK(strcmp(end, "\"\n") == 0);
        } else if (at != NULL) {
            CHECK(strpbrk(at + 3, " =\"\\") == NULL);
        }
        buffer_free(&text);
    }
}

struct reader {
    int fd;
    uint64_t lines, dropped_reported;
};

static void *reader_run(void *argument)
{
    struct reader *reader = argument;
    FILE *file = fdopen(reader->fd, "r");
    char line[16384];
    while (fgets(line, sizeof(line), file) != NULL) {
        const char *count = strstr(line, "event=log_dropped lines=");
        if (count != NULL) {
            reader->dropped_reported += strtoull(count + 24, NULL, 10);
        } else {
            reader->lines++;
        }
    }
    (void)fclose(file);
    return NULL;
}

/* A reader that does not read: logging goes on, lines are dropped, counted and told about. */
TEST(reader_that_stands_still)
{
    struct sink sink;
    sink_open(&sink, LOG_LOGFMT, 16384);
    uint64_t lines = 0;
    bool is_stuck = false;
    for (int round = 0; round < 1000 && !is_stuck; round++) { /* until the pipe is full */
        for (int i = 0; i < 1000; i++) {
            log_event(sink.log, LOG_INFO, "line", LOG_U64("i", lines++));
        }
        is_stuck = log_dropped(sink.log) > 0 && !log_flush(sink.log, 10);
    }
    CHECK(is_stuck);
    struct reader reader = { .fd = sink.read_fd };
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, reader_run, &reader) == 0);
    CHECK(log_flush(sink.log, 10000));
    log_event(sink.log, LOG_INFO, "line", LOG_U64("i", lines++));
    uint64_t dropped = log_dropped(sink.log);
    log_close(sink.log);
    (void)close(sink.write_fd);
    (void)pthread_join(thread, NULL);
    CHECK_EQ(reader.lines + dropped, lines);
    CHECK_EQ(reader.dropped_reported, dropped);
}

/* Closing the log does not wait for ever for such a reader either. */
TEST(close_with_a_stuck_reader)
{
    struct sink sink;
    sink_open(&sink, LOG_LOGFMT, 256 << 10);
    while (log_dropped(sink.log) == 0) {
        log_event(sink.log, LOG_INFO, "line", LOG_STR("s", "some words to make it longer"));
    }
    log_close(sink.log);
    /* Let the writer end: it frees what was left to it.  The write end stays open: it may be in
     * use this very moment. */
    (void)close(sink.read_fd);
}

TEST(file_and_reopen)
{
    char path[] = "/tmp/minidb-log-test-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    struct log_options options = { .level = LOG_INFO, .format = LOG_LOGFMT, .file = path };
    struct log *log = NULL;
    CHECK(log_open(&options, &log) == 0);
    log_event(log, LOG_INFO, "before");
    CHECK(log_flush(log, 10000));
    char moved[64];
    (void)snprintf(moved, sizeof(moved), "%s.1", path);
    CHECK(rename(path, moved) == 0);
    log_reopen(log);
    log_event(log, LOG_INFO, "after");
    log_close(log);
    char text[512] = "";
    CHECK(pread(fd, text, sizeof(text) - 1, 0) > 0);
    CHECK(strstr(text, "event=before") != NULL && strstr(text, "event=after") == NULL);
    int fresh = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fresh >= 0);
    memset(text, 0, sizeof(text));
    CHECK(read(fresh, text, sizeof(text) - 1) > 0);
    CHECK(strstr(text, "event=after") != NULL && strstr(text, "event=before") == NULL);
    (void)close(fd);
    (void)close(fresh);
    (void)unlink(path);
    (void)unlink(moved);
    options.file = "/no/such/directory/log";
    CHECK(log_open(&options, &log) == -ENOENT);
}

struct talker {
    struct log *log;
    int id;
};

static void *talker_run(void *argument)
{
    struct talker *talker = argument;
    for (int i = 0; i < 500; i++) {
        log_event(talker->log, LOG_INFO, "t", LOG_I64("id", talker->id), LOG_I64("i", i));
    }
    return NULL;
}

/* Lines of several threads come out whole. */
TEST(threads)
{
    struct sink sink;
    sink_open(&sink, LOG_LOGFMT, 0);
    struct reader reader = { .fd = sink.read_fd };
    pthread_t threads[5];
    struct talker talkers[4];
    CHECK(pthread_create(&threads[4], NULL, reader_run, &reader) == 0);
    for (int i = 0; i < 4; i++) {
        talkers[i] = (struct talker){ sink.log, i };
        CHECK(pthread_create(&threads[i], NULL, talker_run, &talkers[i]) == 0);
    }
    for (int i = 0; i < 4; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    CHECK(log_flush(sink.log, 10000));
    uint64_t dropped = log_dropped(sink.log);
    log_close(sink.log);
    (void)close(sink.write_fd);
    (void)pthread_join(threads[4], NULL);
    CHECK_EQ(reader.lines + dropped, 2000);
    CHECK_EQ(dropped, 0);
}

struct tapped {
    char event[32];
    uint64_t number;
    uint32_t count;
};

static void tap(void *owner, const char *event, const struct log_field *fields)
{
    struct tapped *tapped = owner;
    (void)snprintf(tapped->event, sizeof(tapped->event), "%s", event);
    tapped->number = fields[1].number; /* behind LOG_SKIP */
    tapped->count += 1;
}

/* Told of every event, also of those that are not written; a log may have nothing but a tap. */
TEST(tap_hears_everything)
{
    struct tapped tapped = { 0 };
    struct log_options options = { .level = LOG_WARN, .fd = -1, .tap = tap, .tap_owner = &tapped };
    struct log *log = NULL;
    CHECK(log_open(&options, &log) == 0);
    CHECK(!log_enabled(log, LOG_ERROR));
    log_event(log, LOG_DEBUG, "small", LOG_U64("group", 17));
    CHECK(strcmp(tapped.event, "small") == 0);
    CHECK_EQ(tapped.number, 17);
    log_event(log, LOG_ERROR, "large");
    CHECK(strcmp(tapped.event, "large") == 0);
    CHECK_EQ(tapped.count, 2);
    CHECK(log_flush(log, 1000));
    log_close(log);
}

TEST_MAIN
