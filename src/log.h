/*
 * log.h — the server's log: one event a line, typed fields, never in the way.
 *
 *   log_event(log, LOG_INFO, "snapshot_done", LOG_STR("file", name), LOG_U64("keys", keys));
 *
 *   time=2026-01-31T12:00:00.123Z level=info event=snapshot_done file=snap-3-17.mdb keys=42
 *   {"time":"2026-01-31T12:00:00.123Z","level":"info","event":"snapshot_done","file":...,"keys":42}
 *
 * Fields carry their type, so there is no format string to get wrong, and every value is quoted so
 * that no value can forge a field or a line.  The event's name is a fixed word: people and programs
 * can search for it.
 *
 * A caller never waits for whoever reads the log: a line goes into a bounded ring in memory and a
 * thread of the log's own writes it out.  When the reader stands still (a stopped terminal, a full
 * pipe, a slow disk) and the ring is full, lines are counted and dropped, and the count is logged
 * when there is room again.
 *
 * Any thread may log.  A log is owned by whoever made it; there is no global one.
 */
#pragma once

#include "base/slice.h"

#include <stdint.h>

struct log;

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_LOGFMT, LOG_JSON };

enum log_field_kind {
    LOG_FIELD_END,
    LOG_FIELD_SKIP,
    LOG_FIELD_STR,
    LOG_FIELD_U64,
    LOG_FIELD_I64,
    LOG_FIELD_BOOL,
    LOG_FIELD_ERRNO,
};

struct log_field {
    const char *key; /* a fixed word: letters, digits, '_' */
    enum log_field_kind kind;
    struct slice text;
    uint64_t number;
};

/* Values are borrowed for the call.  LOG_ERRNO takes an errno value of either sign. */
#define LOG_STR(key, value) ((struct log_field){ (key), LOG_FIELD_STR, slice_from(value), 0 })
#define LOG_SLICE(key, value) ((struct log_field){ (key), LOG_FIELD_STR, (value), 0 })
#define LOG_U64(key, value)                                                                        \
    ((struct log_field){ (key), LOG_FIELD_U64, { NULL, 0 }, (uint64_t)(value) })
#define LOG_I64(key, value)                                                                        \
    ((struct log_field){ (key), LOG_FIELD_I64, { NULL, 0 }, (uint64_t)(int64_t)(value) })
#define LOG_BOOL(key, value)                                                                       \
    ((struct log_field){ (key), LOG_FIELD_BOOL, { NULL, 0 }, (value) ? 1 : 0 })
#define LOG_ERRNO(key, value)                                                                      \
    ((struct log_field){ (key), LOG_FIELD_ERRNO, { NULL, 0 }, (uint64_t)(int64_t)(value) })
#define LOG_SKIP ((struct log_field){ NULL, LOG_FIELD_SKIP, { NULL, 0 }, 0 })
#define LOG_END ((struct log_field){ NULL, LOG_FIELD_END, { NULL, 0 }, 0 })

struct log_options {
    enum log_level level; /* lower ones are not written */
    enum log_format format;
    const char *file;  /* appended to; NULL or "": `fd` is written to */
    int fd;            /* borrowed, for example STDERR_FILENO */
    size_t ring_bytes; /* lines waiting to be written; 0: LOG_RING_BYTES */
    /* The wall clock in milliseconds since 1970; NULL: the machine's.  (Simulations pass theirs.)
     */
    uint64_t (*clock)(void *owner);
    void *clock_owner;
    /* Is told of every event, whatever its level, before it is written; NULL: nobody is.  With a
     * tap `file` NULL and `fd` < 0 are allowed: nothing is written then.  (Simulations crash nodes
     * right where they say something.) */
    void (*tap)(void *owner, const char *event, const struct log_field *fields);
    void *tap_owner;
};

enum {
    LOG_RING_BYTES = 1 << 20,  /* several thousand lines */
    LOG_LINE_BYTES_MAX = 8192, /* a line is cut after the last field that fits */
    LOG_TEXT_BYTES_MAX = 1024, /* of one value; the rest is cut and marked with "..." */
};

/* 0 and a running log, or -errno (the file cannot be opened, no thread). */
int log_open(const struct log_options *options, struct log **out_log);
/* Writes out what is waiting, for at most a second, then closes.  NULL is allowed. */
void log_close(struct log *log);
/* The next line opens the file anew (for log rotation).  Does nothing when there is no file. */
void log_reopen(struct log *log);
void log_set_level(struct log *log, enum log_level level);
void log_set_format(struct log *log, enum log_format format);
/* True when lines of this level are written: asks before costly fields are computed. */
bool log_enabled(const struct log *log, enum log_level level);
/* Lines dropped since the start. */
uint64_t log_dropped(struct log *log);
/* Waits until everything logged so far has been written, at most timeout_ms.  True when it has. */
bool log_flush(struct log *log, uint32_t timeout_ms);

/* `fields` ends with LOG_END.  NULL as the log is allowed: nothing is written. */
void log_write(struct log *log, enum log_level level, const char *event,
               const struct log_field *fields);
#define log_event(log, level, event, ...)                                                          \
    log_write((log), (level), (event),                                                             \
              (const struct log_field[]){ LOG_SKIP, ##__VA_ARGS__, LOG_END })

const char *log_level_name(enum log_level level);
