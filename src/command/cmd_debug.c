/*
 * cmd_debug.c — DEBUG: for tests and for looking closely; guarded by enable-debug-command.
 */
#include "base/hash.h"
#include "base/text.h"
#include "command/admin.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    DEBUG_SLEEP_MS_MAX = 60 * 1000, /* it stops the whole node */
    DIGEST_TEXT_MAX = 41,           /* 40 digits, as Redis's SHA-1 */
    DIGEST_SCAN_COUNT = 512,
};

struct digest {
    uint64_t low, high;
};

static struct digest entry_digest(const struct kv_entry *entry);
static void digest_add_partition(struct digest *sum, const struct kv *kv, uint64_t now_ms);
static void digest_reply(struct reply *reply, struct digest digest);

void debug_command(struct command_ctx *ctx)
{
    const struct conn_info *info = conn_info(ctx->conn);
    bool is_local = strncmp(info->address, "127.", 4) == 0 ||
                    strncmp(info->address, "[::1]", 5) == 0 ||
                    strncmp(info->address, "::1", 3) == 0;
    enum host_debug allowed = ctx->host->debug;
    if (allowed == HOST_DEBUG_NO || (allowed == HOST_DEBUG_LOCAL && !is_local)) {
        reply_error(ctx->reply,
                    "ERR DEBUG command not allowed. If the enable-debug-command option is set to "
                    "\"local\", you can run it from a local connection, otherwise you need to set "
                    "this option in the configuration file, and then restart the server.");
        return;
    }
    subcommand_command(ctx);
}

/* DEBUG SLEEP seconds */
void debug_sleep_command(struct command_ctx *ctx)
{
    double seconds = 0;
    if (!text_to_double(ctx->argv[2], &seconds) || seconds < 0) {
        reply_error(ctx->reply, "ERR value is not a valid float");
        return;
    }
    double ms = seconds * 1000;
    ctx->host->sleep(ctx->host, ms > DEBUG_SLEEP_MS_MAX ? DEBUG_SLEEP_MS_MAX : (uint64_t)ms);
    reply_ok(ctx->reply);
}

/* Redis's line; where it shows an address we show the version, which says more. */
void debug_object_command(struct command_ctx *ctx)
{
    static const char *const encodings[] = {
        [KV_ENCODING_INT] = "int",
        [KV_ENCODING_EMBSTR] = "embstr",
        [KV_ENCODING_RAW] = "raw",
    };
    const struct kv_entry *entry = db_peek(ctx, ctx->argv[2]);
    if (entry == NULL) {
        reply_error(ctx->reply, "ERR no such key");
        return;
    }
    struct kv_scratch scratch;
    char line[256];
    (void)snprintf(line, sizeof(line),
                   "Value at:0x0 refcount:1 encoding:%s serializedlength:%zu lru:0 "
                   "lru_seconds_idle:0 version:%" PRIu64 " expires:%" PRIu64 " memory:%zu",
                   encodings[kv_entry_encoding(entry)], kv_entry_value(entry, &scratch).size + 1,
                   kv_entry_version(entry), kv_entry_expire_ms(entry), kv_entry_memory(entry));
    reply_status(ctx->reply, line);
}

/* The same for equal contents, whatever the order or the replica; zeros when there are no keys. */
void debug_digest_command(struct command_ctx *ctx)
{
    struct digest sum = { 0, 0 };
    const struct keyspace *keyspace = ctx->keyspace;
    for (uint32_t i = 0; i < keyspace->count; i++) {
        digest_add_partition(&sum, keyspace->partitions[i], ctx->now_ms);
    }
    digest_reply(ctx->reply, sum);
}

/* DEBUG DIGEST-VALUE key [key ...] */
void debug_digest_value_command(struct command_ctx *ctx)
{
    reply_array(ctx->reply, ctx->argc - 2);
    for (uint32_t i = 2; i < ctx->argc; i++) {
        const struct kv_entry *entry = db_peek(ctx, ctx->argv[i]);
        digest_reply(ctx->reply, entry == NULL ? (struct digest){ 0, 0 } : entry_digest(entry));
    }
}

void debug_jmap_command(struct command_ctx *ctx)
{
    reply_error(ctx->reply, "ERR DEBUG JMAP is not supported by this server");
}

/* DEBUG SET-ACTIVE-EXPIRE <0 | 1> */
void debug_set_active_expire_command(struct command_ctx *ctx)
{
    int64_t active = 0;
    if (admin_integer(ctx, 2, &active)) {
        ctx->host->set_active_expire(ctx->host, active != 0);
        reply_ok(ctx->reply);
    }
}

static void digest_add_partition(struct digest *sum, const struct kv *kv, uint64_t now_ms)
{
    const struct kv_entry *entries[DIGEST_SCAN_COUNT + KV_SCAN_SLACK];
    uint64_t position = 0;
    do {
        uint32_t count =
            kv_scan(kv, &position, DIGEST_SCAN_COUNT, entries, (uint32_t)ARRAY_COUNT(entries));
        for (uint32_t i = 0; i < count; i++) {
            uint64_t expire_ms = kv_entry_expire_ms(entries[i]);
            if (expire_ms == KV_NO_EXPIRY || expire_ms > now_ms) {
                struct digest digest = entry_digest(entries[i]);
                sum->low ^= digest.low;
                sum->high ^= digest.high;
            }
        }
    } while (position != 0);
}

/* Key, value and expiry, each hashed with a seed that depends on the ones before. */
static struct digest entry_digest(const struct kv_entry *entry)
{
    struct kv_scratch scratch;
    struct slice key = kv_entry_key(entry);
    struct slice value = kv_entry_value(entry, &scratch);
    uint64_t seed = XXH3_64bits_withSeed(key.data, key.size, kv_entry_expire_ms(entry));
    XXH128_hash_t hash = XXH3_128bits_withSeed(value.data, value.size, seed);
    return (struct digest){ hash.low64, hash.high64 ^ seed };
}

static void digest_reply(struct reply *reply, struct digest digest)
{
    char text[DIGEST_TEXT_MAX];
    (void)snprintf(text, sizeof(text), "00000000%016" PRIx64 "%016" PRIx64, digest.high,
                   digest.low);
    reply_status(reply, text);
}
