/*
 * meter.c — see meter.h.
 */
#include "meter.h"

#include "base/mem.h"
#include "network/server.h"

enum { TIMING_EACH_BELOW_US = 1000 };

void meter_init(struct meter *meter, int64_t slower_than_us, uint32_t slowlog_length,
                uint64_t latency_threshold_ms)
{
    *meter = (struct meter){ .latency = { .threshold_ms = latency_threshold_ms } };
    meter->commands = mem_zalloc(command_count() * sizeof(*meter->commands));
    slowlog_init(&meter->slowlog, slower_than_us, slowlog_length);
    meter_set_slower_than(meter, slower_than_us);
}

void meter_deinit(struct meter *meter)
{
    slowlog_deinit(&meter->slowlog);
    mem_free(meter->commands);
}

void meter_set_slower_than(struct meter *meter, int64_t slower_than_us)
{
    meter->slowlog.slower_than_us = slower_than_us;
    meter->is_timing_each = slower_than_us >= 0 && slower_than_us < TIMING_EACH_BELOW_US;
}

/* Counts it; true when it belongs into the slow log. */
static bool count_one(struct meter *meter, const struct command *command, uint64_t now_ms,
                      uint64_t took_ns)
{
    command_stats_add(&meter->commands[command->id], took_ns, 1);
    uint64_t took_us = took_ns / 1000;
    latency_event_add(&meter->latency, "command", now_ms / 1000, took_us / 1000);
    return (command->flags & COMMAND_SKIP_SLOWLOG) == 0 && slowlog_wants(&meter->slowlog, took_us);
}

static void note_slow(struct meter *meter, struct slowlog_args *args, struct conn *conn,
                      uint64_t now_ms, uint64_t took_ns)
{
    struct slowlog_record record = {
        .args = args,
        .time_s = now_ms / 1000,
        .usec = took_ns / 1000,
        .address = "",
    };
    if (conn != NULL) {
        const struct conn_info *info = conn_info(conn);
        record.address = info->address;
        record.client_name = buffer_slice(&info->name);
    }
    slowlog_add(&meter->slowlog, &record);
}

void meter_one(struct meter *meter, const struct command *command, const struct slice *argv,
               uint32_t argc, struct conn *conn, uint64_t now_ms, uint64_t took_ns)
{
    if (count_one(meter, command, now_ms, took_ns)) {
        note_slow(meter, slowlog_args_new(argv, argc), conn, now_ms, took_ns);
    }
}

struct slowlog_args *meter_type(const struct meter *meter, const struct command *command,
                                const struct slice *argv, uint32_t argc)
{
    bool is_wanted = meter->slowlog.slower_than_us >= 0 && meter_times_alone(meter, command) &&
                     (command->flags & COMMAND_SKIP_SLOWLOG) == 0;
    return is_wanted ? slowlog_args_new(argv, argc) : NULL;
}

void meter_typed(struct meter *meter, const struct command *command, struct slowlog_args *typed,
                 struct conn *conn, uint64_t now_ms, uint64_t took_ns)
{
    if (count_one(meter, command, now_ms, took_ns) && typed != NULL) {
        note_slow(meter, typed, conn, now_ms, took_ns);
    } else {
        mem_free(typed);
    }
}

void meter_error(struct meter *meter, const struct command *command, const struct reply *reply)
{
    if (command != NULL) {
        meter->commands[command->id].failed++;
    }
    error_stats_add(&meter->errors, reply_error_text(reply));
}
