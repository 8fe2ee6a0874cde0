/*
 * cmd_string.c — several keys at once, and parts of values.
 *
 *   MGET MSET MSETNX STRLEN APPEND GETRANGE SUBSTR SETRANGE
 *
 * A value never grows past REQUEST_BYTES_MAX: what is in the keyspace must fit into a log entry.
 *
 * Read next: cmd_counter.c.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "command/args.h"
#include "command/command_table.h"

/* ── several keys ────────────────────────────────────────────────────────────────────────────── */

/* A short request may name a long value many times.  Few keys cannot be too much, and are not
 * looked up twice. */
static bool mget_is_bounded(struct command_ctx *ctx)
{
    if (LIKELY(ctx->argc - 1 <= REPLY_VALUES_BYTES_MAX / REQUEST_BYTES_MAX)) {
        return true;
    }
    uint64_t bytes = 0;
    for (uint32_t i = 1; i < ctx->argc && bytes <= REPLY_VALUES_BYTES_MAX; i++) {
        const struct kv_entry *entry = db_peek(ctx, ctx->argv[i]);
        struct kv_scratch scratch;
        bytes += entry == NULL ? 0 : kv_entry_value(entry, &scratch).size;
    }
    return bytes <= REPLY_VALUES_BYTES_MAX;
}

void mget_command(struct command_ctx *ctx)
{
    if (!mget_is_bounded(ctx)) {
        reply_errorf(ctx->reply, "ERR values exceed maximum allowed size of a reply (%d bytes)",
                     REPLY_VALUES_BYTES_MAX);
        return;
    }
    reply_array(ctx->reply, ctx->argc - 1);
    for (uint32_t i = 1; i < ctx->argc; i++) {
        const struct kv_entry *entry = db_read(ctx, ctx->argv[i]);
        if (entry == NULL) {
            reply_null(ctx->reply);
        } else {
            struct kv_scratch scratch;
            reply_bulk(ctx->reply, kv_entry_value(entry, &scratch));
        }
    }
}

void mset_command(struct command_ctx *ctx)
{
    for (uint32_t i = 1; i + 1 < ctx->argc; i += 2) {
        db_put(ctx, ctx->argv[i], ctx->argv[i + 1], KV_NO_EXPIRY);
    }
    reply_ok(ctx->reply);
    reply_version(ctx->reply, ctx->version);
}

void msetnx_command(struct command_ctx *ctx)
{
    for (uint32_t i = 1; i < ctx->argc; i += 2) {
        if (db_peek(ctx, ctx->argv[i]) != NULL) {
            reply_integer(ctx->reply, 0);
            return;
        }
    }
    for (uint32_t i = 1; i + 1 < ctx->argc; i += 2) {
        db_put(ctx, ctx->argv[i], ctx->argv[i + 1], KV_NO_EXPIRY);
    }
    reply_integer(ctx->reply, 1);
}

/* ── reading parts ───────────────────────────────────────────────────────────────────────────── */

/* The value's text; empty when the key is missing. */
static struct slice value_or_empty(const struct kv_entry *entry, struct kv_scratch *scratch)
{
    return entry == NULL ? (struct slice){ "", 0 } : kv_entry_value(entry, scratch);
}

void strlen_command(struct command_ctx *ctx)
{
    struct kv_scratch scratch;
    struct slice value = value_or_empty(db_read(ctx, ctx->argv[1]), &scratch);
    reply_integer(ctx->reply, (int64_t)value.size);
}

/* Bytes `start` to `end`, both included, negative ones counted from the end. */
static struct slice slice_range(struct slice value, int64_t start, int64_t end)
{
    const struct slice nothing = { "", 0 };
    int64_t size = (int64_t)value.size;
    if (start < 0 && end < 0 && start > end) {
        return nothing;
    }
    start = start < 0 ? start + size : start;
    end = end < 0 ? end + size : end;
    start = start < 0 ? 0 : start;
    end = end < 0 ? 0 : end;
    end = end >= size ? size - 1 : end;
    if (start > end || size == 0) {
        return nothing;
    }
    return (struct slice){ value.data + start, (size_t)(end - start + 1) };
}

void getrange_command(struct command_ctx *ctx)
{
    int64_t start = 0;
    int64_t end = 0;
    if (!args_i64(ctx, 2, &start) || !args_i64(ctx, 3, &end)) {
        return;
    }
    struct kv_scratch scratch;
    struct slice value = value_or_empty(db_read(ctx, ctx->argv[1]), &scratch);
    reply_bulk(ctx->reply, slice_range(value, start, end));
}

/* ── changing parts ──────────────────────────────────────────────────────────────────────────── */

/* False, with the error written, when offset + size is no size a value may have. */
static bool check_size(struct command_ctx *ctx, uint64_t offset, uint64_t size)
{
    uint64_t sum = 0;
    if (__builtin_add_overflow(offset, size, &sum) || sum > REQUEST_BYTES_MAX) {
        reply_error(ctx->reply, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        return false;
    }
    return true;
}

/* Stores `value` with `part` written over it at `offset`; returns the new size. */
static size_t put_overwritten(struct command_ctx *ctx, struct slice value, size_t offset,
                              struct slice part, uint64_t expire_ms)
{
    size_t size = offset + part.size > value.size ? offset + part.size : value.size;
    ASSERT(size > 0);
    ASSERT(size <= REQUEST_BYTES_MAX);
    char *changed = mem_alloc(size);
    memcpy(changed, value.data, value.size);
    if (offset > value.size) {
        memset(changed + value.size, 0, offset - value.size);
    }
    memcpy(changed + offset, part.data, part.size);
    db_put_raw(ctx, ctx->argv[1], (struct slice){ changed, size }, expire_ms);
    mem_free(changed);
    return size;
}

void append_command(struct command_ctx *ctx)
{
    struct slice more = ctx->argv[2];
    const struct kv_entry *entry = db_peek(ctx, ctx->argv[1]);
    if (entry == NULL) {
        db_put(ctx, ctx->argv[1], more, KV_NO_EXPIRY);
        reply_integer(ctx->reply, (int64_t)more.size);
        return;
    }
    struct kv_scratch scratch;
    struct slice value = kv_entry_value(entry, &scratch);
    uint64_t expire_ms = kv_entry_expire_ms(entry);
    if (!check_size(ctx, value.size, more.size)) {
        return;
    }
    size_t size = value.size;
    if (more.size > 0) {
        size = put_overwritten(ctx, value, value.size, more, expire_ms);
    } else {
        db_put_raw(ctx, ctx->argv[1], value, expire_ms);
    }
    reply_integer(ctx->reply, (int64_t)size);
}

int setrange_prepare(struct command_ctx *ctx)
{
    int64_t offset = 0;
    if (!args_i64(ctx, 2, &offset)) {
        return 1;
    }
    if (offset < 0) {
        reply_error(ctx->reply, "ERR offset is out of range");
        return 1;
    }
    /* Writing nothing anywhere is allowed and changes nothing. */
    bool is_ok = ctx->argv[3].size == 0 || check_size(ctx, (uint64_t)offset, ctx->argv[3].size);
    return is_ok ? 0 : 1;
}

void setrange_command(struct command_ctx *ctx)
{
    int64_t offset = 0;
    if (!args_i64(ctx, 2, &offset)) {
        return;
    }
    struct slice part = ctx->argv[3];
    const struct kv_entry *entry = db_peek(ctx, ctx->argv[1]);
    struct kv_scratch scratch;
    struct slice value = value_or_empty(entry, &scratch);
    if (part.size == 0) {
        reply_integer(ctx->reply, (int64_t)value.size);
        return;
    }
    if (!check_size(ctx, (uint64_t)offset, part.size)) {
        return;
    }
    uint64_t expire_ms = entry == NULL ? KV_NO_EXPIRY : kv_entry_expire_ms(entry);
    size_t size = put_overwritten(ctx, value, (size_t)offset, part, expire_ms);
    reply_integer(ctx->reply, (int64_t)size);
}
