/*
 * cmd_counter.c — values that are numbers.
 *
 *   INCR DECR INCRBY DECRBY INCRBYFLOAT
 *
 * Read next: decimal.h (why INCRBYFLOAT does not add doubles).
 */
#include "base/text.h"
#include "command/args.h"
#include "command/command_table.h"
#include "command/decimal.h"

static void add_integer(struct command_ctx *ctx, int64_t increment)
{
    struct slice key = ctx->argv[1];
    const struct kv_entry *entry = db_peek(ctx, key);
    uint64_t expire_ms = KV_NO_EXPIRY;
    int64_t value = 0;
    if (entry != NULL) {
        struct kv_scratch scratch;
        expire_ms = kv_entry_expire_ms(entry);
        if (!text_to_i64(kv_entry_value(entry, &scratch), &value)) {
            reply_error(ctx->reply, "ERR value is not an integer or out of range");
            return;
        }
    }
    if (__builtin_add_overflow(value, increment, &value)) {
        reply_error(ctx->reply, "ERR increment or decrement would overflow");
        return;
    }
    char text[TEXT_I64_BYTES_MAX];
    size_t size = text_from_i64(value, text);
    db_put(ctx, key, (struct slice){ text, size }, expire_ms);
    reply_integer(ctx->reply, value);
}

void incr_command(struct command_ctx *ctx)
{
    add_integer(ctx, 1);
}

void decr_command(struct command_ctx *ctx)
{
    add_integer(ctx, -1);
}

int incrby_prepare(struct command_ctx *ctx)
{
    int64_t increment = 0;
    return args_i64(ctx, 2, &increment) ? 0 : 1;
}

void incrby_command(struct command_ctx *ctx)
{
    int64_t increment = 0;
    if (args_i64(ctx, 2, &increment)) {
        add_integer(ctx, increment);
    }
}

/* The one decrement that has no negative. */
static bool decrement_ok(struct command_ctx *ctx, int64_t *out)
{
    if (!args_i64(ctx, 2, out)) {
        return false;
    }
    if (*out == INT64_MIN) {
        reply_error(ctx->reply, "ERR decrement would overflow");
        return false;
    }
    return true;
}

int decrby_prepare(struct command_ctx *ctx)
{
    int64_t decrement = 0;
    return decrement_ok(ctx, &decrement) ? 0 : 1;
}

void decrby_command(struct command_ctx *ctx)
{
    int64_t decrement = 0;
    if (decrement_ok(ctx, &decrement)) {
        add_integer(ctx, -decrement);
    }
}

/* ── INCRBYFLOAT ─────────────────────────────────────────────────────────────────────────────── */

static void reply_sum_error(struct command_ctx *ctx, enum decimal_result result)
{
    reply_error(ctx->reply, result == DECIMAL_NOT_A_NUMBER
                                ? "ERR value is not a valid float"
                                : "ERR increment would produce NaN or Infinity");
}

int incrbyfloat_prepare(struct command_ctx *ctx)
{
    char sum[DECIMAL_BYTES_MAX];
    size_t size = 0;
    enum decimal_result result = decimal_add(slice_from("0"), ctx->argv[2], sum, &size);
    /* An infinite increment gives no finite sum, whatever it is added to; but when the value is
     * not a number that is what Redis complains about, and it can only be seen at apply. */
    if (result == DECIMAL_NOT_A_NUMBER) {
        reply_sum_error(ctx, result);
        return 1;
    }
    return 0;
}

void incrbyfloat_command(struct command_ctx *ctx)
{
    struct slice key = ctx->argv[1];
    const struct kv_entry *entry = db_peek(ctx, key);
    struct kv_scratch scratch;
    struct slice value = entry == NULL ? slice_from("0") : kv_entry_value(entry, &scratch);
    uint64_t expire_ms = entry == NULL ? KV_NO_EXPIRY : kv_entry_expire_ms(entry);
    char sum[DECIMAL_BYTES_MAX];
    size_t size = 0;
    enum decimal_result result = decimal_add(value, ctx->argv[2], sum, &size);
    if (result != DECIMAL_OK) {
        reply_sum_error(ctx, result);
        return;
    }
    db_put(ctx, key, (struct slice){ sum, size }, expire_ms);
    reply_bulk(ctx->reply, (struct slice){ sum, size });
}
