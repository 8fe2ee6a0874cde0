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

/* A cluster-aware client asks every node, and each shows what it leads. */
static bool is_shown(const struct command_ctx *ctx, uint32_t partition)
{
    return ctx->shown == NULL || ctx->shown[partition];
}

/* Keys of the partitions that are looked at. */
static uint64_t shown_keys(const struct command_ctx *ctx)
{
    uint64_t keys = 0;
    for (uint32_t i = 0; i < ctx->keyspace->count; i++) {
        keys += is_shown(ctx, i) ? kv_stats(ctx->keyspace->partitions[i])->keys : 0;
    }
    return keys;
}

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
        if (!is_shown(walk->ctx, walk->partition)) {
            walk->partition++;
            walk->position = 0;
            continue;
        }
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
    uint64_t total = shown_keys(ctx);
    struct prng prng;
    prng_init(&prng, ctx->seed);
    uint64_t skip = total == 0 ? 0 : prng_below(&prng, total);
    uint32_t start = 0;
    for (; total > 0; start++) {
        uint64_t keys = is_shown(ctx, start) ? kv_stats(keyspace->partitions[start])->keys : 0;
        if (skip < keys) {
            break;
        }
        skip -= keys;
    }
    /* What was counted may have expired: then the next partition that has a key answers. */
    for (uint32_t i = 0; total > 0 && i < keyspace->count; i++) {
        uint32_t at = (start + i) % keyspace->count;
        uint64_t from = prng_next(&prng);
        const struct kv_entry *entry =
            is_shown(ctx, at) ? kv_successor(keyspace->partitions[at], from, ctx->now_ms) : NULL;
        if (entry != NULL) {
            reply_bulk(ctx->reply, kv_entry_key(entry));
            return;
        }
    }
    reply_null(ctx->reply);
}

void dbsize_command(struct command_ctx *ctx)
{
    reply_integer(ctx->reply, (int64_t)shown_keys(ctx));
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
