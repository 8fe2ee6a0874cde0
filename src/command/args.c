/*
 * args.c — reading arguments with Redis's rules and error texts, and rewriting them for the log.
 */
#include "command/args.h"

#include "base/assert.h"
#include "base/text.h"

int args_syntax_error(struct command_ctx *ctx)
{
    reply_error(ctx->reply, "ERR syntax error");
    return 1;
}

bool args_i64(struct command_ctx *ctx, uint32_t at, int64_t *out)
{
    ASSERT(at < ctx->argc);
    if (!text_to_i64(ctx->argv[at], out)) {
        reply_error(ctx->reply, "ERR value is not an integer or out of range");
        return false;
    }
    return true;
}

bool args_is(const struct command_ctx *ctx, uint32_t at, const char *word)
{
    return at < ctx->argc && slice_equal_nocase(ctx->argv[at], word);
}

void args_expiry_error(struct command_ctx *ctx)
{
    reply_errorf(ctx->reply, "ERR invalid expire time in '%s' command", ctx->command->name);
}

bool args_expiry(struct command_ctx *ctx, struct slice text, enum args_time_unit unit,
                 bool is_relative, uint64_t *out_ms)
{
    int64_t time = 0;
    if (!text_to_i64(text, &time)) {
        reply_error(ctx->reply, "ERR value is not an integer or out of range");
        return false;
    }
    int64_t factor = unit == ARGS_SECONDS ? 1000 : 1;
    int64_t base_ms = is_relative ? (int64_t)ctx->now_ms : 0;
    if (time <= 0 || __builtin_mul_overflow(time, factor, &time) ||
        __builtin_add_overflow(time, base_ms, &time)) {
        args_expiry_error(ctx);
        return false;
    }
    *out_ms = (uint64_t)time < EXPIRE_MS_MAX ? (uint64_t)time : EXPIRE_MS_MAX;
    return true;
}

void args_begin(struct command_ctx *ctx, uint32_t id)
{
    ctx->command = command_at(id);
    ctx->prepared.argc = 0;
    args_add_word(ctx, ctx->command->name);
}

void args_add(struct command_ctx *ctx, struct slice arg)
{
    ASSERT(ctx->prepared.argc < COMMAND_PREPARED_MAX);
    ctx->prepared.args[ctx->prepared.argc++] = arg;
}

void args_add_word(struct command_ctx *ctx, const char *word)
{
    args_add(ctx, slice_from(word));
}

void args_add_u64(struct command_ctx *ctx, uint64_t value)
{
    _Static_assert(sizeof(ctx->prepared.text) >= TEXT_I64_BYTES_MAX, "a number fits");
    size_t size = text_from_u64(value, ctx->prepared.text);
    args_add(ctx, (struct slice){ ctx->prepared.text, size });
}
