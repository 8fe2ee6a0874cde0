/*
 * cmd_key.c — commands on keys whatever their values are.
 *
 *   DEL UNLINK EXISTS TOUCH TYPE RENAME RENAMENX COPY OBJECT
 *
 * There is one type of value so far.  Where a command must not be used on others it will ask
 * kv_entry_type and answer WRONGTYPE; that place is the first look at the entry.
 *
 * Read next: cmd_expire.c, cmd_keyspace.c.
 */
#include "base/assert.h"
#include "base/text.h"
#include "command/args.h"
#include "command/command_table.h"

void del_command(struct command_ctx *ctx)
{
    int64_t deleted = 0;
    for (uint32_t i = 1; i < ctx->argc; i++) {
        deleted += db_delete(ctx, ctx->argv[i]);
    }
    reply_integer(ctx->reply, deleted);
}

void exists_command(struct command_ctx *ctx)
{
    int64_t found = 0;
    for (uint32_t i = 1; i < ctx->argc; i++) {
        found += db_read(ctx, ctx->argv[i]) != NULL;
    }
    reply_integer(ctx->reply, found);
}

static const char *type_name(enum kv_type type)
{
    switch (type) {
    case KV_STRING:
        return "string";
    }
    UNREACHABLE();
}

void type_command(struct command_ctx *ctx)
{
    const struct kv_entry *entry = db_peek(ctx, ctx->argv[1]);
    reply_status(ctx->reply, entry == NULL ? "none" : type_name(kv_entry_type(entry)));
}

/* ── moving and copying ──────────────────────────────────────────────────────────────────────── */

/* Stores the entry under another key: value, expiry, and whether it counts as modified. */
static void put_copy(struct command_ctx *ctx, struct slice to, const struct kv_entry *entry)
{
    struct kv_scratch scratch;
    struct slice value = kv_entry_value(entry, &scratch);
    uint64_t expire_ms = kv_entry_expire_ms(entry);
    if (kv_entry_encoding(entry) == KV_ENCODING_RAW) {
        db_put_raw(ctx, to, value, expire_ms);
    } else {
        db_put(ctx, to, value, expire_ms);
    }
}

/* The entry to rename; NULL when the error has been written. */
static const struct kv_entry *rename_source(struct command_ctx *ctx)
{
    const struct kv_entry *entry = db_peek(ctx, ctx->argv[1]);
    if (entry == NULL) {
        reply_error(ctx->reply, "ERR no such key");
    }
    return entry;
}

static void rename_to(struct command_ctx *ctx, const struct kv_entry *entry)
{
    struct slice from = ctx->argv[1];
    struct slice to = ctx->argv[2];
    if (!slice_equal(from, to)) {
        put_copy(ctx, to, entry);
        (void)db_delete(ctx, from);
    }
}

void rename_command(struct command_ctx *ctx)
{
    const struct kv_entry *entry = rename_source(ctx);
    if (entry != NULL) {
        rename_to(ctx, entry);
        reply_ok(ctx->reply);
    }
}

void renamenx_command(struct command_ctx *ctx)
{
    const struct kv_entry *entry = rename_source(ctx);
    if (entry == NULL) {
        return;
    }
    bool is_free = db_peek(ctx, ctx->argv[2]) == NULL;
    if (is_free) {
        rename_to(ctx, entry);
    }
    reply_integer(ctx->reply, is_free);
}

/* COPY source destination [DB 0] [REPLACE]; false when an error has been written. */
static bool copy_parse(struct command_ctx *ctx, bool *out_replace)
{
    *out_replace = false;
    for (uint32_t i = 3; i < ctx->argc; i++) {
        int64_t db = 0;
        if (args_is(ctx, i, "replace")) {
            *out_replace = true;
        } else if (args_is(ctx, i, "db") && i + 1 < ctx->argc) {
            i += 1;
            if (!args_i64(ctx, i, &db)) {
                return false;
            }
            if (db < INT32_MIN || db > INT32_MAX) {
                reply_error(ctx->reply, "ERR value is out of range, value must between -2147483648 "
                                        "and 2147483647");
                return false;
            }
            if (db != 0) {
                reply_error(ctx->reply, "ERR DB index is out of range");
                return false;
            }
        } else {
            (void)args_syntax_error(ctx);
            return false;
        }
    }
    if (slice_equal(ctx->argv[1], ctx->argv[2])) {
        reply_error(ctx->reply, "ERR source and destination objects are the same");
        return false;
    }
    return true;
}

int copy_prepare(struct command_ctx *ctx)
{
    bool is_replace = false;
    return copy_parse(ctx, &is_replace) ? 0 : 1;
}

void copy_command(struct command_ctx *ctx)
{
    bool is_replace = false;
    if (!copy_parse(ctx, &is_replace)) {
        return;
    }
    const struct kv_entry *entry = db_peek(ctx, ctx->argv[1]);
    bool is_copied = entry != NULL && (is_replace || db_peek(ctx, ctx->argv[2]) == NULL);
    if (is_copied) {
        put_copy(ctx, ctx->argv[2], entry);
    }
    reply_integer(ctx->reply, is_copied);
}

/* ── OBJECT ──────────────────────────────────────────────────────────────────────────────────── */

/* OBJECT looks without counting a hit; NULL when the reply (nil) has been written. */
static const struct kv_entry *object_entry(struct command_ctx *ctx)
{
    const struct kv_entry *entry = db_peek(ctx, ctx->argv[2]);
    if (entry == NULL) {
        reply_null(ctx->reply);
    }
    return entry;
}

void object_encoding_command(struct command_ctx *ctx)
{
    const struct kv_entry *entry = object_entry(ctx);
    if (entry == NULL) {
        return;
    }
    switch (kv_entry_encoding(entry)) {
    case KV_ENCODING_INT:
        reply_text(ctx->reply, "int");
        return;
    case KV_ENCODING_EMBSTR:
        reply_text(ctx->reply, "embstr");
        return;
    case KV_ENCODING_RAW:
        reply_text(ctx->reply, "raw");
        return;
    }
    UNREACHABLE();
}

void object_freq_command(struct command_ctx *ctx)
{
    if (object_entry(ctx) != NULL) {
        reply_error(ctx->reply,
                    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. "
                    "Please note that when switching between policies at runtime LRU and LFU data "
                    "will take some time to adjust.");
    }
}

/* Accesses are not tracked: every key counts as used just now. */
void object_idletime_command(struct command_ctx *ctx)
{
    if (object_entry(ctx) != NULL) {
        reply_integer(ctx->reply, 0);
    }
}

/* Values are never shared. */
void object_refcount_command(struct command_ctx *ctx)
{
    if (object_entry(ctx) != NULL) {
        reply_integer(ctx->reply, 1);
    }
}
