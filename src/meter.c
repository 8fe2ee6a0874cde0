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

void meter_one(struct meter *meter, const struct command *command, const struct slice *argv,
               uint32_t argc, struct conn *conn, uint64_t now_ms, uint64_t took_ns)
{
    command_stats_add(&meter->commands[command->id], took_ns, 1);
    uint64_t took_us = took_ns / 1000;
    latency_event_add(&meter->latency, "command", now_ms / 1000, took_us / 1000);
    if ((command->flags & COMMAND_SKIP_SLOWLOG) != 0 || !slowlog_wants(&meter->slowlog, took_us)) {
        return;
    }
    struct slowlog_record record = {
        .argv = argv,
        .argc = argc,
        .time_s = now_ms / 1000,
        .usec = took_us,
        .address = "",
    };
    if (conn != NULL) {
        const struct conn_info *info = conn_info(conn);
        record.address = info->address;
        record.client_name = buffer_slice(&info->name);
    }
    slowlog_add(&meter->slowlog, &record);
}

void meter_error(struct meter *meter, const struct command *command, const struct reply *reply)
{
    if (command != NULL) {
        meter->commands[command->id].failed++;
    }
    error_stats_add(&meter->errors, reply_error_text(reply));
}
