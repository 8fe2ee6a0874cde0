/*
 * cmd_expire.c — when keys end.
 *
 *   EXPIRE PEXPIRE EXPIREAT PEXPIREAT TTL PTTL EXPIRETIME PEXPIRETIME PERSIST
 *
 * The whole EXPIRE family is logged as PEXPIREAT key ms [conditions].
 *
 * Read next: cmd_key.c.
 */
#include "base/text.h"
#include "command/args.h"
#include "command/command_table.h"

struct expire_conditions {
    bool nx, xx, gt, lt;
};

/* Conditions from argv[3] on; false when an error has been written. */
static bool conditions_parse(struct command_ctx *ctx, struct expire_conditions *out)
{
    *out = (struct expire_conditions){ 0 };
    for (uint32_t i = 3; i < ctx->argc; i++) {
        struct slice word = ctx->argv[i];
        if (args_is(ctx, i, "nx")) {
            out->nx = true;
        } else if (args_is(ctx, i, "xx")) {
            out->xx = true;
        } else if (args_is(ctx, i, "gt")) {
            out->gt = true;
        } else if (args_is(ctx, i, "lt")) {
            out->lt = true;
        } else {
            reply_errorf(ctx->reply, "ERR Unsupported option %.*s",
                         (int)(word.size < 128 ? word.size : 128), word.data);
            return false;
        }
    }
    if (out->nx && (out->xx || out->gt || out->lt)) {
        reply_error(ctx->reply, "ERR NX and XX, GT or LT options at the same time are not "
                                "compatible");
        return false;
    }
    if (out->gt && out->lt) {
        reply_error(ctx->reply, "ERR GT and LT options at the same time are not compatible");
        return false;
    }
    return true;
}

/* argv[2] as a point in time in milliseconds; what lies before 1970 comes out as 0. */
static bool time_parse(struct command_ctx *ctx, enum args_time_unit unit, bool is_relative,
                       uint64_t *out_ms)
{
    int64_t time = 0;
    if (!args_i64(ctx, 2, &time)) {
        return false;
    }
    int64_t factor = unit == ARGS_SECONDS ? 1000 : 1;
    int64_t base_ms = is_relative ? (int64_t)ctx->now_ms : 0;
    if (__builtin_mul_overflow(time, factor, &time) ||
        __builtin_add_overflow(time, base_ms, &time)) {
        args_expiry_error(ctx);
        return false;
    }
    *out_ms = time < 0 ? 0 : (uint64_t)time;
    *out_ms = *out_ms < EXPIRE_MS_MAX ? *out_ms : EXPIRE_MS_MAX;
    return true;
}

static int log_pexpireat(struct command_ctx *ctx, enum args_time_unit unit, bool is_relative)
{
    struct expire_conditions conditions;
    uint64_t expire_ms = 0;
    if (!conditions_parse(ctx, &conditions) || !time_parse(ctx, unit, is_relative, &expire_ms)) {
        return 1;
    }
    struct slice key = ctx->argv[1];
    args_begin(ctx, COMMAND_ID_pexpireat);
    args_add(ctx, key);
    args_add_u64(ctx, expire_ms);
    const char *words[] = { conditions.nx ? "NX" : NULL, conditions.xx ? "XX" : NULL,
                            conditions.gt ? "GT" : NULL, conditions.lt ? "LT" : NULL };
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        if (words[i] != NULL) {
            args_add_word(ctx, words[i]);
        }
    }
    return 0;
}

int expire_prepare(struct command_ctx *ctx)
{
    return log_pexpireat(ctx, ARGS_SECONDS, /* is_relative= */ true);
}

int pexpire_prepare(struct command_ctx *ctx)
{
    return log_pexpireat(ctx, ARGS_MILLISECONDS, /* is_relative= */ true);
}

int expireat_prepare(struct command_ctx *ctx)
{
    return log_pexpireat(ctx, ARGS_SECONDS, /* is_relative= */ false);
}

int pexpireat_prepare(struct command_ctx *ctx)
{
    return log_pexpireat(ctx, ARGS_MILLISECONDS, /* is_relative= */ false);
}

/* A key without an expiry lives for ever: nothing is greater, everything is less. */
static bool conditions_hold(const struct expire_conditions *conditions, uint64_t current_ms,
                            uint64_t new_ms)
{
    bool has_expiry = current_ms != KV_NO_EXPIRY;
    if ((conditions->nx && has_expiry) || (conditions->xx && !has_expiry)) {
        return false;
    }
    if (conditions->gt && (!has_expiry || new_ms <= current_ms)) {
        return false;
    }
    return !(conditions->lt && has_expiry && new_ms >= current_ms);
}

void pexpireat_command(struct command_ctx *ctx)
{
    struct expire_conditions conditions;
    uint64_t expire_ms = 0;
    if (!conditions_parse(ctx, &conditions) ||
        !time_parse(ctx, ARGS_MILLISECONDS, false, &expire_ms)) {
        return;
    }
    const struct kv_entry *entry = db_peek(ctx, ctx->argv[1]);
    if (entry == NULL || !conditions_hold(&conditions, kv_entry_expire_ms(entry), expire_ms)) {
        reply_integer(ctx->reply, 0);
        return;
    }
    if (expire_ms <= ctx->now_ms) {
        (void)db_delete(ctx, ctx->argv[1]);
    } else {
        (void)db_set_expiry(ctx, ctx->argv[1], expire_ms);
    }
    reply_integer(ctx->reply, 1);
}

void persist_command(struct command_ctx *ctx)
{
    const struct kv_entry *entry = db_peek(ctx, ctx->argv[1]);
    bool is_volatile = entry != NULL && kv_entry_expire_ms(entry) != KV_NO_EXPIRY;
    if (is_volatile) {
        (void)db_set_expiry(ctx, ctx->argv[1], KV_NO_EXPIRY);
    }
    reply_integer(ctx->reply, is_volatile);
}

/* ── looking ─────────────────────────────────────────────────────────────────────────────────── */

/* -2: no such key, -1: no expiry; else the expiry less `base_ms`, in seconds rounded when asked. */
static void reply_expiry(struct command_ctx *ctx, uint64_t base_ms, enum args_time_unit unit)
{
    const struct kv_entry *entry = db_read(ctx, ctx->argv[1]);
    if (entry == NULL || kv_entry_expire_ms(entry) == KV_NO_EXPIRY) {
        reply_integer(ctx->reply, entry == NULL ? -2 : -1);
        return;
    }
    int64_t left_ms = (int64_t)(kv_entry_expire_ms(entry) - base_ms);
    reply_integer(ctx->reply, unit == ARGS_SECONDS ? (left_ms + 500) / 1000 : left_ms);
}

void ttl_command(struct command_ctx *ctx)
{
    reply_expiry(ctx, ctx->now_ms, ARGS_SECONDS);
}

void pttl_command(struct command_ctx *ctx)
{
    reply_expiry(ctx, ctx->now_ms, ARGS_MILLISECONDS);
}

void expiretime_command(struct command_ctx *ctx)
{
    reply_expiry(ctx, 0, ARGS_SECONDS);
}

void pexpiretime_command(struct command_ctx *ctx)
{
    reply_expiry(ctx, 0, ARGS_MILLISECONDS);
}
