/*
 * admin.c — what the admin and connection commands share.
 */
#include "command/admin.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>

void reply_syntax_error(struct reply *reply)
{
    reply_error(reply, "ERR syntax error");
}

void reply_not_an_integer(struct reply *reply)
{
    reply_error(reply, "ERR value is not an integer or out of range");
}

bool admin_integer(struct command_ctx *ctx, uint32_t at, int64_t *out)
{
    ASSERT(at < ctx->argc);
    if (!text_to_i64(ctx->argv[at], out)) {
        reply_not_an_integer(ctx->reply);
        return false;
    }
    return true;
}

bool admin_timeout(struct command_ctx *ctx, uint32_t at, uint64_t *out_ms)
{
    ASSERT(at < ctx->argc);
    int64_t timeout_ms = 0;
    if (!text_to_i64(ctx->argv[at], &timeout_ms)) {
        reply_error(ctx->reply, "ERR timeout is not an integer or out of range");
        return false;
    }
    if (timeout_ms < 0) {
        reply_error(ctx->reply, "ERR timeout is negative");
        return false;
    }
    int64_t end_ms = 0;
    if (__builtin_add_overflow(timeout_ms, (int64_t)ctx->now_ms, &end_ms)) {
        reply_error(ctx->reply, "ERR timeout is out of range");
        return false;
    }
    *out_ms = (uint64_t)timeout_ms;
    return true;
}

bool admin_args_bounded(struct command_ctx *ctx)
{
    if (ctx->argc > ADMIN_ARGS_MAX) {
        reply_errorf(ctx->reply, "ERR too many arguments, at most %d are allowed",
                     (int)ADMIN_ARGS_MAX);
        return false;
    }
    return true;
}

bool admin_word(const struct command_ctx *ctx, uint32_t at, const char *word)
{
    return at < ctx->argc && slice_equal_nocase(ctx->argv[at], word);
}

void reply_field_text(struct reply *reply, const char *name, const char *value)
{
    reply_text(reply, name);
    reply_text(reply, value == NULL ? "" : value);
}

void reply_field_integer(struct reply *reply, const char *name, uint64_t value)
{
    reply_text(reply, name);
    reply_integer(reply, value > INT64_MAX ? INT64_MAX : (int64_t)value);
}

void reply_field_double(struct reply *reply, const char *name, double value)
{
    reply_text(reply, name);
    reply_double(reply, value);
}

void reply_field_boolean(struct reply *reply, const char *name, bool value)
{
    reply_text(reply, name);
    reply_boolean(reply, value);
}

void reply_verbatim_buffer(struct reply *reply, struct buffer *text)
{
    reply_verbatim(reply, "txt", buffer_slice(text));
    buffer_free(text);
}

bool admin_client_text_ok(struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '!' || text.data[i] > '~') {
            return false;
        }
    }
    return true;
}

bool admin_client_name_check(struct command_ctx *ctx, struct slice name)
{
    if (!admin_client_text_ok(name)) {
        reply_error(ctx->reply,
                    "ERR Client names cannot contain spaces, newlines or special characters.");
        return false;
    }
    if (name.size > CLIENT_NAME_BYTES_MAX) {
        reply_errorf(ctx->reply, "ERR Client names cannot be longer than %d bytes.",
                     (int)CLIENT_NAME_BYTES_MAX);
        return false;
    }
    return true;
}

void admin_client_name_set(struct conn_info *info, struct slice name)
{
    info->name.size = 0;
    buffer_append_slice(&info->name, name);
}

bool admin_has_log(struct host *host)
{
    struct buffer value = { 0 };
    const char *name = NULL;
    for (uint32_t i = 0; (name = host->config_name(host, i)) != NULL; i++) {
        if (strcmp(name, "appendonly") == 0) {
            host->config_get(host, i, &value);
        }
    }
    bool has_log = !slice_equal_nocase(buffer_slice(&value), "no");
    buffer_free(&value);
    return has_log;
}

uint64_t admin_synced_sequence(const struct host_facts *facts)
{
    uint64_t synced = facts->aof_synced_sequence == 0 ? 0 : facts->aof_synced_sequence - 1;
    return synced < facts->aof_sequence ? synced : facts->aof_sequence;
}

const char *consistency_name(enum consistency level)
{
    switch (level) {
    case CONSISTENCY_ANY:
        return "ANY";
    case CONSISTENCY_QUORUM:
        return "QUORUM";
    case CONSISTENCY_ALL:
        return "ALL";
    case CONSISTENCY_STRONG:
    case CONSISTENCY_DEFAULT:
        return "STRONG";
    }
    UNREACHABLE();
}

void admin_human_bytes(uint64_t bytes, char out[32])
{
    static const char units[] = "BKMGTPE";
    uint32_t unit = 0;
    double value = (double)bytes;
    while (value >= 1024 && unit < sizeof(units) - 2) {
        value /= 1024;
        unit++;
    }
    if (unit == 0) {
        (void)snprintf(out, 32, "%" PRIu64 "B", bytes);
    } else {
        (void)snprintf(out, 32, "%.2f%c", value, units[unit]);
    }
}

void admin_reply_snapshot(struct reply *reply, bool ok)
{
    if (ok) {
        reply_ok(reply);
    } else {
        reply_error(reply, "ERR the snapshot failed; the server's log says why");
    }
}

void admin_reply_sync(struct reply *reply, bool synced)
{
    reply_array(reply, 2);
    reply_integer(reply, synced ? 1 : 0);
    reply_integer(reply, 0);
}
