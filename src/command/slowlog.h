/*
 * slowlog.h — the commands that took longest to run, kept in a ring.
 *
 * An entry holds a trimmed copy of the command as Redis keeps it: at most 32 arguments of at most
 * 128 bytes, the last one saying how much was left out; what looks like a password is replaced.
 */
#pragma once

#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    SLOWLOG_ARGS_MAX = 32,
    SLOWLOG_TEXT_MAX = 128,
    SLOWLOG_LEN_MAX = 1 << 16, /* slowlog-max-len: at its worst a ring of 300 MB */
};

/* A trimmed copy of a command, in one allocation (mem_free). */
struct slowlog_args {
    uint32_t argc;
    struct slice argv[]; /* the texts lie behind the array */
};

struct slowlog_entry {
    uint64_t id, time_s, usec;
    struct slowlog_args *args; /* owned */
    char address[64];
    char client_name[SLOWLOG_TEXT_MAX];
};

struct slowlog {
    int64_t slower_than_us;     /* slowlog-log-slower-than; negative: off */
    uint32_t length_max;        /* slowlog-max-len */
    struct slowlog_entry *ring; /* owned */
    uint32_t first;             /* the oldest */
    uint32_t count, capacity;
    uint64_t next_id;
};

/* What the pipeline knows about a command that has run. */
struct slowlog_record {
    struct slowlog_args *args; /* taken over */
    uint64_t time_s, usec;
    const char *address;
    struct slice client_name;
};

void slowlog_init(struct slowlog *log, int64_t slower_than_us, uint32_t length_max);
void slowlog_deinit(struct slowlog *log);
static inline bool slowlog_wants(const struct slowlog *log, uint64_t usec)
{
    return log->slower_than_us >= 0 && usec >= (uint64_t)log->slower_than_us;
}
struct slowlog_args *slowlog_args_new(const struct slice *argv, uint32_t argc);
/* Puts it in, dropping the oldest entry when the log is full. */
void slowlog_add(struct slowlog *log, const struct slowlog_record *record);
void slowlog_reset(struct slowlog *log);
/* CONFIG SET slowlog-max-len; drops the oldest that no longer fit. */
void slowlog_resize(struct slowlog *log, uint32_t length_max);
/* The entry `age` places before the newest (0: the newest); age < log->count. */
const struct slowlog_entry *slowlog_at(const struct slowlog *log, uint32_t age);
