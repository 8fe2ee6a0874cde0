/*
 * cmd_keyspace.c — commands that look at all partitions.
 *
 *   KEYS SCAN RANDOMKEY DBSIZE FLUSHALL FLUSHDB
 *
 * A SCAN cursor is a place in the order (partition, hash): 12 bits of partition above 40 bits of
 * hash.  It stays below 2^53, so clients that keep numbers as doubles keep it exactly; it needs no
 * state here; and it means the same on every replica.
 *
 * Read next: storage/kv_store.h ("walking in hash order").
 */
#include "base/assert.h"
#include "base/mem.h"
#include "base/prng.h"
#include "base/text.h"
#include "command/args.h"
#include "command/command_table.h"

enum {
    WALK_STEP = 1024,        /* entries taken from a partition at once */
    SCAN_COUNT_DEFAULT = 10, /* Redis's */
    CURSOR_PARTITION_SHIFT = KV_POSITION_BITS,
    POSITION_SHIFT = 64 - KV_POSITION_BITS,
};

_Static_assert((uint64_t)PARTITIONS_MAX << KV_POSITION_BITS <= 1ull << 53, "cursors fit a double");

/* A walk over the keyspace that keeps the entries wanted.  Nothing changes meanwhile, so entries
 * stay valid until the reply is written. */
struct walk {
    struct command_ctx *ctx;
    struct slice pattern;
    bool has_pattern;
    bool is_type_unknown; /* SCAN ... TYPE something no value can be */
    uint32_t partition;   /* the next place to look at */
    uint64_t position;
    const struct kv_entry **found; /* owned */
    uint32_t found_count, found_capacity;
};

static bool walk_wants(const struct walk *walk, const struct kv_entry *entry)
{
    uint64_t expire_ms = kv_entry_expire_ms(entry);
    if (expire_ms != KV_NO_EXPIRY && expire_ms <= walk->ctx->now_ms) {
        return false;
    }
    if (walk->is_type_unknown) {
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
}

/* Looks at about `count` more entries. */
static void walk_on(struct walk *walk, uint64_t count)
{
    const struct keyspace *keyspace = walk->ctx->keyspace;
    const struct kv_entry *batch[WALK_STEP + KV_SCAN_SLACK];
    uint64_t seen = 0;
    while (walk->partition < keyspace->count && seen < count) {
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

static void walk_reply(struct walk *walk)
{
    reply_array(walk->ctx->reply, walk->found_count);
    for (uint32_t i = 0; i < walk->found_count; i++) {
        reply_bulk(walk->ctx->reply, kv_entry_key(walk->found[i]));
    }
    mem_free(walk->found);
}

void keys_command(struct command_ctx *ctx)
{
    struct slice pattern = ctx->argv[1];
    bool is_all = pattern.size == 1 && pattern.data[0] == '*';
    struct walk walk = { .ctx = ctx, .pattern = pattern, .has_pattern = !is_all };
    walk_on(&walk, UINT64_MAX);
    walk_reply(&walk);
}

/* ── SCAN ────────────────────────────────────────────────────────────────────────────────────── */

/* Any number is a cursor; those that were never given out are beyond the end or somewhere. */
static bool scan_cursor(struct walk *walk)
{
    uint64_t cursor = 0;
    if (!text_to_u64(walk->ctx->argv[1], &cursor)) {
        reply_error(walk->ctx->reply, "ERR invalid cursor");
        return false;
    }
    uint64_t partition = cursor >> CURSOR_PARTITION_SHIFT;
    walk->partition = partition < PARTITIONS_MAX ? (uint32_t)partition : PARTITIONS_MAX;
    walk->position = cursor << POSITION_SHIFT;
    return true;
}

static bool scan_options(struct walk *walk, int64_t *out_count)
{
    struct command_ctx *ctx = walk->ctx;
    for (uint32_t i = 2; i < ctx->argc; i += 2) {
        bool is_complete = i + 1 < ctx->argc;
        if (is_complete && args_is(ctx, i, "count")) {
            if (!args_i64(ctx, i + 1, out_count)) {
                return false;
            }
            is_complete = *out_count >= 1;
        } else if (is_complete && args_is(ctx, i, "match")) {
            walk->pattern = ctx->argv[i + 1];
            walk->has_pattern = walk->pattern.size != 1 || walk->pattern.data[0] != '*';
        } else if (is_complete && args_is(ctx, i, "type")) {
            walk->is_type_unknown = !args_is(ctx, i + 1, "string");
        } else {
            is_complete = false;
        }
        if (!is_complete) {
            (void)args_syntax_error(ctx);
            return false;
        }
    }
    return true;
}

void scan_command(struct command_ctx *ctx)
{
    struct walk walk = { .ctx = ctx };
    int64_t count = SCAN_COUNT_DEFAULT;
    if (!scan_cursor(&walk) || !scan_options(&walk, &count)) {
        return;
    }
    walk_on(&walk, (uint64_t)count);
    uint64_t cursor = 0;
    if (walk.partition < ctx->keyspace->count) {
        ASSERT(walk.position << KV_POSITION_BITS == 0);
        cursor = ((uint64_t)walk.partition << CURSOR_PARTITION_SHIFT) +
                 (walk.position >> POSITION_SHIFT);
    }
    char text[TEXT_I64_BYTES_MAX];
    size_t size = text_from_u64(cursor, text);
    reply_array(ctx->reply, 2);
    reply_bulk(ctx->reply, (struct slice){ text, size });
    walk_reply(&walk);
}

/* ── the others ──────────────────────────────────────────────────────────────────────────────── */

/* A partition by its share of the keys, then the next key from a random point of its order. */
void randomkey_command(struct command_ctx *ctx)
{
    const struct keyspace *keyspace = ctx->keyspace;
    uint64_t total = keyspace_stats(keyspace).keys;
    struct prng prng;
    prng_init(&prng, ctx->seed);
    uint64_t skip = total == 0 ? 0 : prng_below(&prng, total);
    uint32_t start = 0;
    while (total > 0 && skip >= kv_stats(keyspace->partitions[start])->keys) {
        skip -= kv_stats(keyspace->partitions[start++])->keys;
    }
    /* What was counted may have expired: then the next partition that has a key answers. */
    for (uint32_t i = 0; total > 0 && i < keyspace->count; i++) {
        const struct kv *kv = keyspace->partitions[(start + i) % keyspace->count];
        const struct kv_entry *entry = kv_successor(kv, prng_next(&prng), ctx->now_ms);
        if (entry != NULL) {
            reply_bulk(ctx->reply, kv_entry_key(entry));
            return;
        }
    }
    reply_null(ctx->reply);
}

void dbsize_command(struct command_ctx *ctx)
{
    reply_integer(ctx->reply, (int64_t)keyspace_stats(ctx->keyspace).keys);
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
