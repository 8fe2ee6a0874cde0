/*
 * cmd_dump.c — DUMP and RESTORE.
 *
 * RESTORE is logged as RESTORE key ms payload [REPLACE] ABSTTL, with ms absolute and 0 for none.
 * Everything about the payload is checked before that, so of the errors only BUSYKEY depends on
 * what the keyspace holds; it comes after the others here, and before them in Redis.
 *
 * Read next: rdb_string.h.
 */
#include "base/text.h"
#include "command/args.h"
#include "command/command_table.h"
#include "command/rdb_string.h"

void dump_command(struct command_ctx *ctx)
{
    const struct kv_entry *entry = db_read(ctx, ctx->argv[1]);
    if (entry == NULL) {
        reply_null(ctx->reply);
        return;
    }
    struct kv_scratch scratch;
    struct buffer payload = { 0 };
    rdb_string_encode(kv_entry_value(entry, &scratch), &payload);
    reply_bulk(ctx->reply, buffer_slice(&payload));
    buffer_free(&payload);
}

struct restore_options {
    bool is_replace;
    bool is_absolute;
    bool has_idle;
    bool has_freq;
};

/* IDLETIME and FREQ are checked and otherwise ignored: accesses are not tracked. */
static bool restore_number(struct command_ctx *ctx, uint32_t at, int64_t max, const char *error)
{
    int64_t value = 0;
    if (!args_i64(ctx, at, &value)) {
        return false;
    }
    if (value < 0 || value > max) {
        reply_error(ctx->reply, error);
        return false;
    }
    return true;
}

static bool restore_options(struct command_ctx *ctx, struct restore_options *out)
{
    *out = (struct restore_options){ 0 };
    for (uint32_t i = 4; i < ctx->argc; i++) {
        bool has_more = i + 1 < ctx->argc;
        bool is_ok = true;
        if (args_is(ctx, i, "replace")) {
            out->is_replace = true;
        } else if (args_is(ctx, i, "absttl")) {
            out->is_absolute = true;
        } else if (args_is(ctx, i, "idletime") && has_more && !out->has_freq) {
            out->has_idle = true;
            is_ok = restore_number(ctx, ++i, INT64_MAX, "ERR Invalid IDLETIME value, must be >= 0");
        } else if (args_is(ctx, i, "freq") && has_more && !out->has_idle) {
            out->has_freq = true;
            is_ok = restore_number(ctx, ++i, UINT8_MAX,
                                   "ERR Invalid FREQ value, must be >= 0 and <= 255");
        } else {
            is_ok = args_syntax_error(ctx) == 0;
        }
        if (!is_ok) {
            return false;
        }
    }
    return true;
}

static bool restore_expire_ms(struct command_ctx *ctx, const struct restore_options *options,
                              uint64_t *out_ms)
{
    int64_t ttl = 0;
    if (!restore_number(ctx, 2, INT64_MAX, "ERR Invalid TTL value, must be >= 0") ||
        !text_to_i64(ctx->argv[2], &ttl)) {
        return false;
    }
    uint64_t expire_ms = (uint64_t)ttl;
    if (ttl > 0 && !options->is_absolute) {
        expire_ms += ctx->now_ms;
    }
    *out_ms = expire_ms < EXPIRE_MS_MAX ? expire_ms : EXPIRE_MS_MAX;
    return true;
}

/* The value in the payload; `room` is the caller's to free.  False when the error is written. */
static bool restore_value(struct command_ctx *ctx, struct buffer *room, struct slice *out)
{
    switch (rdb_string_decode(ctx->argv[3], room, out)) {
    case RDB_OK:
        return true;
    case RDB_BAD_CHECKSUM:
        reply_error(ctx->reply, "ERR DUMP payload version or checksum are wrong");
        return false;
    case RDB_BAD_FORMAT:
        reply_error(ctx->reply, "ERR Bad data format");
        return false;
    }
    return false;
}

int restore_prepare(struct command_ctx *ctx)
{
    struct restore_options options;
    uint64_t expire_ms = 0;
    if (!restore_options(ctx, &options) || !restore_expire_ms(ctx, &options, &expire_ms)) {
        return 1;
    }
    struct buffer room = { 0 };
    struct slice value;
    bool is_ok = restore_value(ctx, &room, &value);
    buffer_free(&room);
    if (!is_ok) {
        return 1;
    }
    struct slice key = ctx->argv[1];
    struct slice payload = ctx->argv[3];
    args_begin(ctx, COMMAND_ID_restore);
    args_add(ctx, key);
    args_add_u64(ctx, expire_ms);
    args_add(ctx, payload);
    if (options.is_replace) {
        args_add_word(ctx, "REPLACE");
    }
    args_add_word(ctx, "ABSTTL");
    return 0;
}

static void restore_put(struct command_ctx *ctx, struct slice value, uint64_t expire_ms)
{
    if (expire_ms != KV_NO_EXPIRY && expire_ms <= ctx->now_ms) {
        (void)db_delete(ctx, ctx->argv[1]);
    } else {
        db_put(ctx, ctx->argv[1], value, expire_ms);
    }
    reply_ok(ctx->reply);
}

void restore_command(struct command_ctx *ctx)
{
    struct restore_options options;
    uint64_t expire_ms = 0;
    if (!restore_options(ctx, &options) || !restore_expire_ms(ctx, &options, &expire_ms)) {
        return;
    }
    if (!options.is_replace && db_peek(ctx, ctx->argv[1]) != NULL) {
        reply_error(ctx->reply, "BUSYKEY Target key name already exists.");
        return;
    }
    struct buffer room = { 0 };
    struct slice value;
    if (restore_value(ctx, &room, &value)) {
        restore_put(ctx, value, expire_ms);
    }
    buffer_free(&room);
}
