/*
 * log.c — formatting lines, the ring they wait in, and the thread that writes them out.
 *
 * The ring holds whole lines as bytes.  `head` counts bytes ever put in, `tail` bytes ever written
 * out; tail <= head <= tail + capacity.  Callers only copy into the ring under the mutex; the
 * writer copies a piece out under the mutex and writes it without holding it, so that a caller
 * never waits longer than a copy takes.
 */
#include "log.h"

#include "base/assert.h"
#include "base/buffer.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

enum {
    LOG_PIECE_BYTES = 4096,   /* one write; a pipe takes that much whole (PIPE_BUF) */
    LOG_CLOSE_WAIT_MS = 1000, /* for a reader that stands still at the end */
    LOG_TIME_BYTES = 32,
};

struct log {
    _Atomic(uint32_t) level;
    _Atomic(uint32_t) format;
    struct log_options options; /* `file` is owned */
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t filled;  /* there is something to write, or to stop for */
    pthread_cond_t drained; /* tail moved */
    /* under the mutex: */
    char *ring; /* owned */
    size_t capacity;
    uint64_t head, tail;
    uint64_t dropped;          /* since the start */
    uint64_t dropped_unlogged; /* of those, not yet told about */
    bool stopping, abandoned,
        reopen_wanted; /* abandoned: the writer frees it all, if it ever ends */
    /* the writer's: */
    int fd;
};

static void *writer_run(void *argument);
static uint64_t clock_now_ms(const struct log *log);
static void line_format(const struct log *log, struct buffer *line, enum log_level level,
                        const char *event, const struct log_field *fields);
static void ring_put(struct log *log, struct slice line);
static bool flush_locked(struct log *log, uint32_t timeout_ms);

static int file_open(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    return fd < 0 ? -errno : fd;
}

static int thread_start(struct log *log)
{
    /* Signals belong to the main thread. */
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&log->thread, NULL, writer_run, log);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -error;
}

static void log_destroy(struct log *log)
{
    if (log->options.file != NULL && log->fd >= 0) {
        (void)close(log->fd);
    }
    (void)pthread_mutex_destroy(&log->mutex);
    (void)pthread_cond_destroy(&log->filled);
    (void)pthread_cond_destroy(&log->drained);
    mem_free((void *)(uintptr_t)log->options.file);
    mem_free(log->ring);
    mem_free(log);
}

int log_open(const struct log_options *options, struct log **out_log)
{
    bool has_file = options->file != NULL && options->file[0] != '\0';
    bool is_written = has_file || options->fd >= 0 || options->tap == NULL;
    int fd = has_file ? file_open(options->file) : options->fd;
    if (fd < 0 && is_written) {
        return has_file ? fd : -EBADF;
    }
    struct log *log = mem_zalloc(sizeof(*log));
    log->options = *options;
    log->options.file = NULL;
    if (has_file) {
        size_t size = strlen(options->file) + 1;
        log->options.file = memcpy(mem_alloc(size), options->file, size);
    }
    log->fd = fd;
    atomic_init(&log->level, (uint32_t)options->level);
    atomic_init(&log->format, (uint32_t)options->format);
    (void)pthread_mutex_init(&log->mutex, NULL);
    if (!is_written) {
        atomic_init(&log->level, (uint32_t)LOG_ERROR + 1);
        *out_log = log;
        return 0;
    }
    log->capacity = options->ring_bytes > 0 ? options->ring_bytes : LOG_RING_BYTES;
    log->ring = mem_alloc(log->capacity);
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&log->filled, NULL);
    (void)pthread_cond_init(&log->drained, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    int error = thread_start(log);
    if (error < 0) {
        log_destroy(log);
        return error;
    }
    *out_log = log;
    return 0;
}

void log_close(struct log *log)
{
    if (log == NULL) {
        return;
    }
    if (log->ring == NULL) { /* nothing is written: there is no thread */
        (void)pthread_mutex_destroy(&log->mutex);
        mem_free(log);
        return;
    }
    (void)pthread_mutex_lock(&log->mutex);
    bool drained = flush_locked(log, LOG_CLOSE_WAIT_MS);
    log->stopping = true;
    log->abandoned = !drained;
    pthread_t thread = log->thread;
    (void)pthread_cond_signal(&log->filled);
    (void)pthread_mutex_unlock(&log->mutex);
    if (drained) {
        (void)pthread_join(thread, NULL);
        log_destroy(log);
    } else {
        /* The writer is stuck in a write that may never end, and the log is its from here on. */
        (void)pthread_detach(thread);
    }
}

void log_reopen(struct log *log)
{
    if (log != NULL && log->options.file != NULL) {
        (void)pthread_mutex_lock(&log->mutex);
        log->reopen_wanted = true;
        (void)pthread_mutex_unlock(&log->mutex);
    }
}

void log_set_level(struct log *log, enum log_level level)
{
    atomic_store_explicit(&log->level, (uint32_t)level, memory_order_relaxed);
}

void log_set_format(struct log *log, enum log_format format)
{
    atomic_store_explicit(&log->format, (uint32_t)format, memory_order_relaxed);
}

bool log_enabled(const struct log *log, enum log_level level)
{
    return log != NULL &&
           (uint32_t)level >= atomic_load_explicit(&log->level, memory_order_relaxed);
}

uint64_t log_dropped(struct log *log)
{
    (void)pthread_mutex_lock(&log->mutex);
    uint64_t dropped = log->dropped;
    (void)pthread_mutex_unlock(&log->mutex);
    return dropped;
}

bool log_flush(struct log *log, uint32_t timeout_ms)
{
    (void)pthread_mutex_lock(&log->mutex);
    bool drained = flush_locked(log, timeout_ms);
    (void)pthread_mutex_unlock(&log->mutex);
    return drained;
}

static bool flush_locked(struct log *log, uint32_t timeout_ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t nanoseconds = (uint64_t)until.tv_nsec + (uint64_t)(timeout_ms % 1000) * 1000000;
    until.tv_sec += (time_t)(timeout_ms / 1000 + nanoseconds / 1000000000);
    until.tv_nsec = (long)(nanoseconds % 1000000000);
    uint64_t goal = log->head;
    int error = 0;
    while (log->tail < goal && error == 0) {
        error = pthread_cond_timedwait(&log->drained, &log->mutex, &until);
    }
    return log->tail >= goal;
}

void log_write(struct log *log, enum log_level level, const char *event,
               const struct log_field *fields)
{
    if (log != NULL && log->options.tap != NULL) {
        log->options.tap(log->options.tap_owner, event, fields);
    }
    if (!log_enabled(log, level)) {
        return;
    }
    struct buffer line = { 0 };
    line_format(log, &line, level, event, fields);
    (void)pthread_mutex_lock(&log->mutex);
    ring_put(log, buffer_slice(&line));
    (void)pthread_cond_signal(&log->filled);
    (void)pthread_mutex_unlock(&log->mutex);
    buffer_free(&line);
}

/* ── the ring ────────────────────────────────────────────────────────────────────────────────── */

static bool ring_fits(const struct log *log, size_t size)
{
    ASSERT(log->tail <= log->head);
    ASSERT(log->head - log->tail <= log->capacity);
    return size <= log->capacity - (size_t)(log->head - log->tail);
}

static void ring_copy_in(struct log *log, struct slice line)
{
    size_t at = (size_t)(log->head % log->capacity);
    size_t first = log->capacity - at < line.size ? log->capacity - at : line.size;
    memcpy(log->ring + at, line.data, first);
    memcpy(log->ring, line.data + first, line.size - first);
    log->head += line.size;
}

/* Puts the line in, or counts it as dropped.  When lines were dropped before, the line that says
 * so goes first: the reader sees where the gap is. */
static void ring_put(struct log *log, struct slice line)
{
    struct buffer notice = { 0 };
    if (log->dropped_unlogged > 0) {
        const struct log_field fields[] = { LOG_U64("lines", log->dropped_unlogged), LOG_END };
        line_format(log, &notice, LOG_WARN, "log_dropped", fields);
    }
    if (ring_fits(log, notice.size + line.size)) {
        if (notice.size > 0) {
            ring_copy_in(log, buffer_slice(&notice));
            log->dropped_unlogged = 0;
        }
        ring_copy_in(log, line);
    } else {
        log->dropped++;
        log->dropped_unlogged++;
    }
    buffer_free(&notice);
}

/* ── the writer ──────────────────────────────────────────────────────────────────────────────── */

/* Writes all of it, however long that takes.  What cannot be written (the disk is full, the reader
 * is gone) is lost: a log that ends the server would be worse. */
static void write_fully(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, data, size);
        if (written >= 0) {
            data += written;
            size -= (size_t)written;
        } else if (errno == EAGAIN) {
            struct pollfd ready = { .fd = fd, .events = POLLOUT };
            (void)poll(&ready, 1, -1);
        } else if (errno != EINTR) {
            return;
        }
    }
}

static void writer_reopen(struct log *log)
{
    int fd = file_open(log->options.file);
    if (fd >= 0) { /* else: keep writing to the old file */
        (void)close(log->fd);
        log->fd = fd;
    }
}

static void *writer_run(void *argument)
{
    struct log *log = argument;
    char piece[LOG_PIECE_BYTES];
    (void)pthread_mutex_lock(&log->mutex);
    for (;;) {
        while (log->head == log->tail && !log->stopping) {
            (void)pthread_cond_wait(&log->filled, &log->mutex);
        }
        if (log->stopping) {
            break;
        }
        bool reopen = log->reopen_wanted;
        log->reopen_wanted = false;
        size_t at = (size_t)(log->tail % log->capacity);
        size_t size = (size_t)(log->head - log->tail);
        size = size < log->capacity - at ? size : log->capacity - at;
        size = size < sizeof(piece) ? size : sizeof(piece);
        memcpy(piece, log->ring + at, size);
        (void)pthread_mutex_unlock(&log->mutex);
        if (reopen) {
            writer_reopen(log);
        }
        write_fully(log->fd, piece, size);
        (void)pthread_mutex_lock(&log->mutex);
        log->tail += size;
        (void)pthread_cond_broadcast(&log->drained);
    }
    bool abandoned = log->abandoned;
    (void)pthread_mutex_unlock(&log->mutex);
    if (abandoned) {
        log_destroy(log);
    }
    return NULL;
}

/* ── lines ───────────────────────────────────────────────────────────────────────────────────── */

const char *log_level_name(enum log_level level)
{
    static const char *const names[] = { "debug", "info", "warn", "error" };
    ASSERT((size_t)level < ARRAY_COUNT(names));
    return names[level];
}

static uint64_t clock_now_ms(const struct log *log)
{
    if (log->options.clock != NULL) {
        return log->options.clock(log->options.clock_owner);
    }
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void time_format(uint64_t now_ms, char out[LOG_TIME_BYTES])
{
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm utc;
    (void)gmtime_r(&seconds, &utc);
    size_t size = strftime(out, LOG_TIME_BYTES, "%Y-%m-%dT%H:%M:%S", &utc);
    uint32_t ms = (uint32_t)(now_ms % 1000);
    out[size++] = '.';
    out[size++] = (char)('0' + ms / 100);
    out[size++] = (char)('0' + ms / 10 % 10);
    out[size++] = (char)('0' + ms % 10);
    out[size++] = 'Z';
    out[size] = '\0';
}

/* The longest prefix of at most `max` bytes that does not end inside a UTF-8 character. */
static struct slice text_cut(struct slice text, size_t max)
{
    if (text.size <= max) {
        return text;
    }
    size_t size = max;
    while (size > 0 && ((unsigned char)text.data[size] & 0xC0) == 0x80) {
        size--;
    }
    return slice_make(text.data, size);
}

static void escape_append(struct buffer *line, unsigned char byte)
{
    switch (byte) {
    case '"':
        buffer_append_text(line, "\\\"");
        break;
    case '\\':
        buffer_append_text(line, "\\\\");
        break;
    case '\n':
        buffer_append_text(line, "\\n");
        break;
    case '\r':
        buffer_append_text(line, "\\r");
        break;
    case '\t':
        buffer_append_text(line, "\\t");
        break;
    default:
        if (byte < 0x20 || byte >= 0x7F) {
            buffer_printf(line, "\\u%04x", (unsigned)byte);
        } else {
            buffer_append_byte(line, (char)byte);
        }
    }
}

/* In double quotes, with JSON's escapes; bytes that are not UTF-8 become \u0080..\u00ff. */
static void quoted_append(struct buffer *line, struct slice text, bool is_cut)
{
    bool is_utf8 = text_is_utf8(text);
    buffer_append_byte(line, '"');
    for (size_t i = 0; i < text.size; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        if (is_utf8 && byte >= 0x80) {
            buffer_append_byte(line, (char)byte);
        } else {
            escape_append(line, byte);
        }
    }
    buffer_append_text(line, is_cut ? "...\"" : "\"");
}

static bool is_plain(struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        if (byte <= ' ' || byte >= 0x7F || byte == '"' || byte == '=' || byte == '\\') {
            return false;
        }
    }
    return text.size > 0;
}

static void text_append(struct buffer *line, enum log_format format, struct slice text)
{
    struct slice cut = text_cut(text, LOG_TEXT_BYTES_MAX);
    bool is_cut = cut.size < text.size;
    if (format == LOG_LOGFMT && is_plain(cut) && !is_cut) {
        buffer_append_slice(line, cut);
    } else {
        quoted_append(line, cut, is_cut);
    }
}

static void value_append(struct buffer *line, enum log_format format, const struct log_field *field)
{
    char digits[TEXT_I64_BYTES_MAX];
    switch (field->kind) {
    case LOG_FIELD_U64:
        buffer_append(line, digits, text_from_u64(field->number, digits));
        break;
    case LOG_FIELD_I64:
        buffer_append(line, digits, text_from_i64((int64_t)field->number, digits));
        break;
    case LOG_FIELD_BOOL:
        buffer_append_text(line, field->number != 0 ? "true" : "false");
        break;
    case LOG_FIELD_ERRNO: {
        char text[128];
        int64_t number = (int64_t)field->number;
        int error = (int)(number < 0 ? -number : number);
        text_append(line, format, slice_from(strerror_r(error, text, sizeof(text))));
        break;
    }
    case LOG_FIELD_STR:
        text_append(line, format, field->text);
        break;
    case LOG_FIELD_END:
    case LOG_FIELD_SKIP:
    default:
        UNREACHABLE();
    }
}

static void key_append(struct buffer *line, enum log_format format, const char *key)
{
    buffer_append_text(line, format == LOG_JSON ? ",\"" : " ");
    buffer_append_text(line, key);
    buffer_append_text(line, format == LOG_JSON ? "\":" : "=");
}

static void line_format(const struct log *log, struct buffer *line, enum log_level level,
                        const char *event, const struct log_field *fields)
{
    enum log_format format = atomic_load_explicit(&log->format, memory_order_relaxed);
    char time_text[LOG_TIME_BYTES];
    time_format(clock_now_ms(log), time_text);
    buffer_printf(line,
                  format == LOG_JSON ? "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\""
                                     : "time=%s level=%s event=%s",
                  time_text, log_level_name(level), event);
    for (const struct log_field *field = fields; field->kind != LOG_FIELD_END; field++) {
        if (field->kind == LOG_FIELD_SKIP) {
            continue;
        }
        size_t before = line->size;
        key_append(line, format, field->key);
        value_append(line, format, field);
        if (line->size > LOG_LINE_BYTES_MAX) {
            line->size = before;
            break;
        }
    }
    buffer_append_text(line, format == LOG_JSON ? "}\n" : "\n");
}
