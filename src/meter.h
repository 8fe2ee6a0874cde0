/*
 * meter.h — what commands cost: statistics, the slow log, the latency monitor, error counts.
 *
 * Commands that touch one key are measured a batch at a time (reading the clock for each would
 * cost as much as the command) and share the batch's time; commands that may take long are
 * measured one by one, and so are all of them while the slow log's threshold is below a
 * millisecond.
 */
#pragma once

#include "base/slice.h"
#include "command/command.h"
#include "command/latency.h"
#include "command/slowlog.h"
#include "command/stats.h"

struct conn;

struct meter {
    struct command_stats *commands; /* owned; command_count() of them */
    struct error_stats errors;
    struct slowlog slowlog;
    struct latency latency;
    bool is_timing_each;
};

void meter_init(struct meter *meter, int64_t slower_than_us, uint32_t slowlog_length,
                uint64_t latency_threshold_ms);
void meter_deinit(struct meter *meter);
/* After CONFIG SET slowlog-log-slower-than. */
void meter_set_slower_than(struct meter *meter, int64_t slower_than_us);

static inline bool meter_times_alone(const struct meter *meter, const struct command *command)
{
    return meter->is_timing_each || command->spread != SPREAD_NONE ||
           (command->flags & (COMMAND_READ | COMMAND_WRITE)) == 0 ||
           (command->flags & COMMAND_KEYSPACE) != 0;
}

/* One command that was measured by itself.  conn may be NULL. */
void meter_one(struct meter *meter, const struct command *command, const struct slice *argv,
               uint32_t argc, struct conn *conn, uint64_t now_ms, uint64_t took_ns);
/* What the client typed, when the slow log may want it later: the log holds a command in another
 * form.  NULL when it will not.  The caller's, until meter_typed. */
struct slowlog_args *meter_type(const struct meter *meter, const struct command *command,
                                const struct slice *argv, uint32_t argc);
/* As meter_one; `typed` is taken over. */
void meter_typed(struct meter *meter, const struct command *command, struct slowlog_args *typed,
                 struct conn *conn, uint64_t now_ms, uint64_t took_ns);
/* One of `count` commands that took `took_ns` together. */
static inline void meter_share(struct meter *meter, const struct command *command, uint64_t took_ns,
                               uint32_t count)
{
    command_stats_add(&meter->commands[command->id], took_ns / count, 1);
}
/* A reply that was an error; called before the reply ends.  `command` may be NULL. */
void meter_error(struct meter *meter, const struct command *command, const struct reply *reply);
