/*
 * cmd_slowlog.c — SLOWLOG: shows and empties the log of slow commands (slowlog.h).
 */
#include "base/text.h"
#include "command/admin.h"

static void entry_reply(struct reply *reply, const struct slowlog_entry *entry);

/* SLOWLOG GET [count]: the newest first; -1 for all. */
void slowlog_get_command(struct command_ctx *ctx)
{
    const struct slowlog *log = ctx->host->slowlog;
    int64_t wanted = 10;
    if (ctx->argc > 3) {
        reply_syntax_error(ctx->reply);
        return;
    }
    if (ctx->argc == 3 && (!text_to_i64(ctx->argv[2], &wanted) || wanted < -1)) {
        reply_error(ctx->reply, "ERR count should be greater than or equal to -1");
        return;
    }
    uint32_t count = wanted == -1 || wanted > log->count ? log->count : (uint32_t)wanted;
    reply_array(ctx->reply, count);
    for (uint32_t age = 0; age < count; age++) {
        entry_reply(ctx->reply, slowlog_at(log, age));
    }
}

void slowlog_len_command(struct command_ctx *ctx)
{
    reply_integer(ctx->reply, ctx->host->slowlog->count);
}

void slowlog_reset_command(struct command_ctx *ctx)
{
    slowlog_reset(ctx->host->slowlog);
    reply_ok(ctx->reply);
}

static void entry_reply(struct reply *reply, const struct slowlog_entry *entry)
{
    reply_array(reply, 6);
    reply_integer(reply, (int64_t)entry->id);
    reply_integer(reply, (int64_t)entry->time_s);
    reply_integer(reply, (int64_t)entry->usec);
    reply_array(reply, entry->args->argc);
    for (uint32_t i = 0; i < entry->args->argc; i++) {
        reply_bulk(reply, entry->args->argv[i]);
    }
    reply_text(reply, entry->address);
    reply_text(reply, entry->client_name);
}
