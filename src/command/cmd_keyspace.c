/*
 * cmd_keyspace.c — commands that look at all partitions.
 *
 *   KEYS SCAN RANDOMKEY DBSIZE FLUSHALL FLUSHDB
 *
 * On a lone node each runs once, over everything.  In a cluster it runs as parts, one a partition,
 * where that partition is led (pipeline_keyspace.c); the answers are put together by gather.c.  A
 * part answers what the command would answer if there were no other partitions, but for
 * RANDOMKEY's, which says among how many keys it has chosen: [keys, key].
 *
 * Read next: scan_request.h (cursors), storage/kv_store.h ("walking in hash order").
 */
#include "base/assert.h"
#include "base/mem.h"
#include "base/prng.h"
#include "base/text.h"
#include "command/args.h"
#include "command/command_table.h"
#include "command/scan_request.h"

enum {
    WALK_STEP = 1024,    /* entries taken from a partition at once */
    KEY_FRAME_BYTES = 8, /* around a key in a reply, about */
};

/* A walk over the keyspace that keeps the entries wanted.  Nothing changes meanwhile, so entries
 * stay valid until the reply is written. */
struct walk {
    struct command_ctx *ctx;
    struct slice pattern;
    bool has_pattern;
    bool has_no_type;   /* SCAN ... TYPE something no value can be */
    uint32_t partition; /* the next place to look at */
    uint64_t position;
    const struct kv_entry **found; /* owned */
    uint32_t found_count, found_capacity;
    size_t found_bytes;
};

/* The partitions that are looked at: [begin, end). */
static uint32_t range_begin(const struct command_ctx *ctx)
{
    return ctx->is_part ? ctx->partition : 0;
}

static uint32_t range_end(const struct command_ctx *ctx)
{
    return ctx->is_part ? ctx->partition + 1 : ctx->keyspace->count;
}

static uint64_t keys_in(const struct command_ctx *ctx, uint32_t partition)
{
    return kv_stats(ctx->keyspace->partitions[partition])->keys;
}

static uint64_t keys_in_range(const struct command_ctx *ctx)
{
    uint64_t keys = 0;
    for (uint32_t i = range_begin(ctx); i < range_end(ctx); i++) {
        keys += keys_in(ctx, i);
    }
    return keys;
}

static bool walk_wants(const struct walk *walk, const struct kv_entry *entry)
{
    uint64_t expire_ms = kv_entry_expire_ms(entry);
    if (expire_ms != KV_NO_EXPIRY && expire_ms <= walk->ctx->now_ms) {
        return false;
    }
    if (walk->has_no_type) {
        return false;
    }
    return !walk->has_pattern || text_glob(walk->pattern, kv_entry_key(entry), false);
}

static void walk_keep(struct walk *walk, const struct kv_entry *entry)
{
    if (walk->found_count == walk->found_capacity) {
        walk->found_capacity = walk->found_capacity == 0 ? 64 : walk->found_capacity * 2;
        walk->found = mem_realloc(walk->found, walk->found_capacity * sizeof(walk->found[0]));
    }
    walk->found[walk->found_count++] = entry;
    walk->found_bytes += kv_entry_key(entry).size + KEY_FRAME_BYTES;
}

/* Looks at about `count` more entries, unless the reply becomes too large. */
static void walk_on(struct walk *walk, uint64_t count)
{
    const struct keyspace *keyspace = walk->ctx->keyspace;
    const struct kv_entry *batch[WALK_STEP + KV_SCAN_SLACK];
    uint32_t end = range_end(walk->ctx);
    uint64_t seen = 0;
    while (walk->partition < end && seen < count && walk->found_bytes <= REPLY_VALUES_BYTES_MAX) {
        uint32_t step = count - seen < WALK_STEP ? (uint32_t)(count - seen) : WALK_STEP;
        uint32_t got = kv_scan(keyspace->partitions[walk->partition], &walk->position, step, batch,
                               ARRAY_COUNT(batch));
        for (uint32_t i = 0; i < got; i++) {
            if (walk_wants(walk, batch[i])) {
                walk_keep(walk, batch[i]);
            }
        }
        seen += got;
        walk->partition += walk->position == 0;
    }
}

/* `cursor`: SCAN's, else NULL. */
static void walk_reply(struct walk *walk, const uint64_t *cursor)
{
    struct reply *reply = walk->ctx->reply;
    if (walk->found_bytes > REPLY_VALUES_BYTES_MAX) {
        reply_error(reply, keyspace_too_large);
        mem_free(walk->found);
        return;
    }
    if (cursor != NULL) {
        char text[TEXT_I64_BYTES_MAX];
        reply_array(reply, 2);
        reply_bulk(reply, slice_make(text, text_from_u64(*cursor, text)));
    }
    reply_array(reply, walk->found_count);
    for (uint32_t i = 0; i < walk->found_count; i++) {
        reply_bulk(reply, kv_entry_key(walk->found[i]));
    }
    mem_free(walk->found);
}

void keys_command(struct command_ctx *ctx)
{
    struct slice pattern = ctx->argv[1];
    struct walk walk = {
        .ctx = ctx,
        .pattern = pattern,
        .has_pattern = !slice_equal(pattern, slice_from("*")),
        .partition = range_begin(ctx),
    };
    walk_on(&walk, UINT64_MAX);
    walk_reply(&walk, NULL);
}

void scan_command(struct command_ctx *ctx)
{
    struct scan_request request;
    const char *wrong = scan_request_read(ctx->argc, ctx->argv, &request);
    if (wrong != NULL) {
        reply_error(ctx->reply, wrong);
        return;
    }
    struct walk walk = {
        .ctx = ctx,
        .pattern = request.pattern,
        .has_pattern = request.has_pattern,
        .has_no_type = request.has_no_type,
        .partition = scan_cursor_partition(request.cursor),
        .position = scan_cursor_position(request.cursor),
    };
    if (walk.partition < range_begin(ctx)) {
        walk.partition = range_begin(ctx);
        walk.position = 0;
    }
    walk_on(&walk, request.count);
    bool is_over = walk.partition >= range_end(ctx);
    uint64_t cursor = is_over ? 0 : scan_cursor_make(walk.partition, walk.position);
    walk_reply(&walk, &cursor);
}

/* ── the others ──────────────────────────────────────────────────────────────────────────────── */

/* A partition by its share of the keys. */
static uint32_t random_partition(const struct command_ctx *ctx, uint64_t skip)
{
    uint32_t at = range_begin(ctx);
    while (skip >= keys_in(ctx, at)) {
        skip -= keys_in(ctx, at++);
        ASSERT(at < range_end(ctx));
    }
    return at;
}

/* The next key from a random point of a partition's order. */
static const struct kv_entry *random_entry(const struct command_ctx *ctx, uint64_t total)
{
    struct prng prng;
    prng_init(&prng, ctx->seed);
    uint32_t begin = range_begin(ctx);
    uint32_t count = range_end(ctx) - begin;
    uint32_t start = total == 0 ? 0 : random_partition(ctx, prng_below(&prng, total)) - begin;
    const struct kv_entry *entry = NULL;
    /* What was counted may have expired: then the next partition that has a key answers. */
    for (uint32_t i = 0; total > 0 && i < count && entry == NULL; i++) {
        uint32_t at = begin + (start + i) % count;
        entry = kv_successor(ctx->keyspace->partitions[at], prng_next(&prng), ctx->now_ms);
    }
    return entry;
}

void randomkey_command(struct command_ctx *ctx)
{
    uint64_t total = keys_in_range(ctx);
    const struct kv_entry *entry = random_entry(ctx, total);
    if (ctx->is_part) {
        reply_array(ctx->reply, 2);
        reply_integer(ctx->reply, (int64_t)total);
    }
    if (entry == NULL) {
        reply_null(ctx->reply);
    } else {
        reply_bulk(ctx->reply, kv_entry_key(entry));
    }
}

void dbsize_command(struct command_ctx *ctx)
{
    reply_integer(ctx->reply, (int64_t)keys_in_range(ctx));
}

/* ASYNC and SYNC are the same here: clearing is always instant and freed in the background. */
int flush_prepare(struct command_ctx *ctx)
{
    bool is_plain = ctx->argc == 1;
    bool is_ok = ctx->argc == 2 && (args_is(ctx, 1, "async") || args_is(ctx, 1, "sync"));
    return is_plain || is_ok ? 0 : args_syntax_error(ctx);
}

void flush_command(struct command_ctx *ctx)
{
    for (uint32_t i = 0; i < ctx->keyspace->count; i++) {
        if (kv_stats(ctx->keyspace->partitions[i])->keys > 0) {
            db_clear(ctx, i);
        }
    }
    reply_ok(ctx->reply);
}
