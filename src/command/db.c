/*
 * db.c — the one way data commands touch data.
 *
 * A command asks for keys; here they are found in their partition.  In effects mode nothing is
 * changed: puts and deletes are collected for the log, and the command sees the state before them.
 *
 * Read next: command.h (the three ways a command runs), effect.h.
 */
#include "base/assert.h"
#include "command/command.h"
#include "command/effect.h"

struct place {
    struct kv *kv;
    uint64_t hash;
    uint32_t partition;
};

/* Batches hash the first key ahead of time to prefetch it; that work is not done twice. */
static inline struct place place_of(const struct command_ctx *ctx, struct slice key)
{
    if (ctx->has_first_key_hash) {
        struct slice first = ctx->argv[ctx->command->first_key];
        if (key.data == first.data && key.size == first.size) {
            return (struct place){
                .kv = ctx->keyspace->partitions[ctx->first_key_partition],
                .hash = ctx->first_key_hash,
                .partition = ctx->first_key_partition,
            };
        }
    }
    uint32_t partition = keyspace_partition(ctx->keyspace, key);
    struct kv *kv = ctx->keyspace->partitions[partition];
    return (struct place){ .kv = kv, .hash = kv_hash(kv, key), .partition = partition };
}

const struct kv_entry *db_peek(struct command_ctx *ctx, struct slice key)
{
    struct place place = place_of(ctx, key);
    return kv_find(place.kv, key, place.hash, ctx->now_ms);
}

const struct kv_entry *db_read(struct command_ctx *ctx, struct slice key)
{
    const struct kv_entry *entry = db_peek(ctx, key);
    if (ctx->stats != NULL) {
        ctx->stats->hits += entry != NULL;
        ctx->stats->misses += entry == NULL;
    }
    return entry;
}

static bool may_write(const struct command_ctx *ctx)
{
    return (ctx->command->flags & COMMAND_WRITE) != 0;
}

void db_put(struct command_ctx *ctx, struct slice key, struct slice value, uint64_t expire_ms)
{
    ASSERT(may_write(ctx));
    ASSERT(expire_ms <= EXPIRE_MS_MAX);
    struct place place = place_of(ctx, key);
    if (ctx->effects != NULL) {
        effects_put(ctx->effects, place.partition, key, value, expire_ms, /* raw= */ false);
    } else {
        kv_put(place.kv, key, place.hash, value, expire_ms, ctx->version);
    }
}

void db_put_raw(struct command_ctx *ctx, struct slice key, struct slice value, uint64_t expire_ms)
{
    ASSERT(may_write(ctx));
    ASSERT(expire_ms <= EXPIRE_MS_MAX);
    struct place place = place_of(ctx, key);
    if (ctx->effects != NULL) {
        effects_put(ctx->effects, place.partition, key, value, expire_ms, /* raw= */ true);
    } else {
        kv_put_raw(place.kv, key, place.hash, value, expire_ms, ctx->version);
    }
}

bool db_set_expiry(struct command_ctx *ctx, struct slice key, uint64_t expire_ms)
{
    ASSERT(may_write(ctx));
    ASSERT(expire_ms <= EXPIRE_MS_MAX);
    struct place place = place_of(ctx, key);
    if (kv_find(place.kv, key, place.hash, ctx->now_ms) == NULL) {
        return false;
    }
    if (ctx->effects != NULL) {
        effects_expiry(ctx->effects, place.partition, key, expire_ms);
        return true;
    }
    return kv_set_expiry(place.kv, key, place.hash, expire_ms, ctx->version);
}

bool db_delete(struct command_ctx *ctx, struct slice key)
{
    ASSERT(may_write(ctx));
    struct place place = place_of(ctx, key);
    bool is_live = kv_find(place.kv, key, place.hash, ctx->now_ms) != NULL;
    if (ctx->effects == NULL) {
        (void)kv_delete(place.kv, key, place.hash); /* an expired one goes too */
    } else if (is_live) {
        effects_delete(ctx->effects, place.partition, key);
    }
    return is_live;
}

void db_clear(struct command_ctx *ctx, uint32_t partition)
{
    ASSERT(may_write(ctx));
    ASSERT(partition < ctx->keyspace->count);
    if (ctx->effects != NULL) {
        effects_clear(ctx->effects, partition);
    } else {
        kv_clear(ctx->keyspace->partitions[partition]);
    }
}
