/*
 * cmd_server.c — the rest of the server's own commands: time, snapshots, stopping, replication in
 * Redis's words, modules.
 *
 * Snapshots are the node's; SAVE, BGSAVE, BGREWRITEAOF and SNAPSHOT all mean the same one.  There
 * are no Redis replicas (replication is Raft's), so WAIT has nobody to wait for.
 */
#include "base/prng.h"
#include "base/text.h"
#include "command/admin.h"

#include <errno.h>
#include <string.h>

static bool snapshot_begin(struct command_ctx *ctx, const char *busy);

/* ── time and role ───────────────────────────────────────────────────────────────────────────── */

void time_command(struct command_ctx *ctx)
{
    char digits[TEXT_I64_BYTES_MAX];
    reply_array(ctx->reply, 2);
    reply_bulk(ctx->reply, slice_make(digits, text_from_u64(ctx->now_ms / 1000, digits)));
    reply_bulk(ctx->reply, slice_make(digits, text_from_u64(ctx->now_ms % 1000 * 1000, digits)));
}

void role_command(struct command_ctx *ctx)
{
    struct host_facts facts = { .now_ms = 0 };
    ctx->host->facts(ctx->host, &facts);
    reply_array(ctx->reply, 3);
    reply_text(ctx->reply, "master");
    reply_integer(ctx->reply, (int64_t)facts.aof_sequence);
    reply_array(ctx->reply, 0);
}

/* ── snapshots ───────────────────────────────────────────────────────────────────────────────── */

void lastsave_command(struct command_ctx *ctx)
{
    struct host_facts facts = { .now_ms = 0 };
    ctx->host->facts(ctx->host, &facts);
    reply_integer(ctx->reply, (int64_t)(facts.snapshot_last_ms / 1000));
}

/* Answered by the root when the snapshot has ended. */
void save_command(struct command_ctx *ctx)
{
    if (snapshot_begin(ctx, "ERR Background save already in progress")) {
        ctx->wait = COMMAND_WAIT_SNAPSHOT;
    }
}

/* BGSAVE [SCHEDULE], SNAPSHOT */
void bgsave_command(struct command_ctx *ctx)
{
    if (ctx->argc > 2 || (ctx->argc == 2 && !admin_word(ctx, 1, "schedule"))) {
        reply_syntax_error(ctx->reply);
    } else if (snapshot_begin(ctx, "ERR Background save already in progress")) {
        reply_status(ctx->reply, "Background saving started");
    }
}

void bgrewriteaof_command(struct command_ctx *ctx)
{
    if (snapshot_begin(ctx, "ERR Background append only file rewriting already in progress")) {
        reply_status(ctx->reply, "Background append only file rewriting started");
    }
}

/* False when an error has been written. */
static bool snapshot_begin(struct command_ctx *ctx, const char *busy)
{
    int result = ctx->host->snapshot_start(ctx->host);
    if (result == -EALREADY) {
        reply_error(ctx->reply, busy);
    } else if (result < 0) {
        const char *why = strerrordesc_np(-result);
        reply_errorf(ctx->reply, "ERR the snapshot could not be started: %s",
                     why == NULL ? "unknown error" : why);
    }
    return result >= 0;
}

/* ── stopping ────────────────────────────────────────────────────────────────────────────────── */

/* SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]: no answer but the end of the connection. */
void shutdown_command(struct command_ctx *ctx)
{
    enum host_shutdown how = HOST_SHUTDOWN_DEFAULT;
    bool now = false;
    bool abort = false;
    for (uint32_t i = 1; i < ctx->argc; i++) {
        if (admin_word(ctx, i, "nosave") && how != HOST_SHUTDOWN_SAVE) {
            how = HOST_SHUTDOWN_NOSAVE;
        } else if (admin_word(ctx, i, "save") && how != HOST_SHUTDOWN_NOSAVE) {
            how = HOST_SHUTDOWN_SAVE;
        } else if (admin_word(ctx, i, "now")) {
            now = true;
        } else if (admin_word(ctx, i, "abort")) {
            abort = true;
        } else if (!admin_word(ctx, i, "force")) {
            reply_syntax_error(ctx->reply);
            return;
        }
    }
    if (abort && ctx->argc > 2) {
        reply_syntax_error(ctx->reply);
    } else if (abort) {
        reply_error(ctx->reply, "ERR No shutdown in progress.");
    } else if (ctx->host->shutdown(ctx->host, how, now) < 0) {
        reply_error(ctx->reply, "ERR Errors trying to SHUTDOWN. Check logs.");
    } else {
        reply_ok(ctx->reply);
        if (conn_info(ctx->conn)->protocol == PROTOCOL_JSON) {
            conn_close_after_reply(ctx->conn); /* every JSON line gets its answer */
        } else {
            conn_kill(ctx->conn);
        }
    }
}

/* ── replication in Redis's words ────────────────────────────────────────────────────────────── */

/* WAIT numreplicas timeout: a lone node has no replicas, so waiting is pointless there. */
void wait_command(struct command_ctx *ctx)
{
    int64_t replicas = 0;
    uint64_t timeout_ms = 0;
    if (!admin_integer(ctx, 1, &replicas) || !admin_timeout(ctx, 2, &timeout_ms)) {
        return;
    }
    if (ctx->host->member_count(ctx->host) < 2) {
        reply_integer(ctx->reply, 0);
        return;
    }
    ctx->wait = COMMAND_WAIT_REPLICAS;
    ctx->wait_replicas = replicas <= 0          ? 0
                         : replicas < INT32_MAX ? (uint32_t)replicas
                                                : (uint32_t)INT32_MAX;
    ctx->wait_until_ms = timeout_ms == 0 ? 0 : ctx->now_ms + timeout_ms;
}

/* WAITAOF numlocal numreplicas timeout: numlocal 1 waits until all before it is on the platter. */
void waitaof_command(struct command_ctx *ctx)
{
    int64_t local = 0;
    int64_t replicas = 0;
    uint64_t timeout_ms = 0;
    if (!text_to_i64(ctx->argv[1], &local) || local < 0 || local > 1) {
        reply_error(ctx->reply, "ERR value is out of range, must be between 0 and 1");
        return;
    }
    if (!text_to_i64(ctx->argv[2], &replicas) || replicas < 0) {
        reply_error(ctx->reply, "ERR value is out of range, must be positive");
        return;
    }
    if (!admin_timeout(ctx, 3, &timeout_ms)) {
        return;
    }
    bool has_log = admin_has_log(ctx->host);
    if (local == 1 && !has_log) {
        reply_error(ctx->reply, "ERR WAITAOF cannot be used when numlocal is set but appendonly is "
                                "disabled.");
        return;
    }
    struct host_facts facts = { .now_ms = 0 };
    ctx->host->facts(ctx->host, &facts);
    bool is_synced = has_log && admin_synced_sequence(&facts) == facts.aof_sequence;
    if (local == 0 || is_synced) {
        admin_reply_sync(ctx->reply, is_synced);
        return;
    }
    ctx->wait = COMMAND_WAIT_SYNC;
    ctx->wait_until_ms = timeout_ms == 0 ? 0 : ctx->now_ms + timeout_ms;
}

/* REPLICAOF NO ONE is what a master may be told; anything else is another system's replication. */
void replicaof_command(struct command_ctx *ctx)
{
    int64_t port = 0;
    if (admin_word(ctx, 1, "no") && admin_word(ctx, 2, "one")) {
        reply_ok(ctx->reply);
    } else if (!text_to_i64(ctx->argv[2], &port) || port < 0 || port > UINT16_MAX) {
        reply_error(ctx->reply, "ERR Invalid master port");
    } else {
        reply_error(ctx->reply, "ERR minidb cannot replicate a Redis server; nodes of minidb join "
                                "a cluster with --seed");
    }
}

/* ── modules, fun ────────────────────────────────────────────────────────────────────────────── */

void module_list_command(struct command_ctx *ctx)
{
    reply_array(ctx->reply, 0);
}

void module_load_command(struct command_ctx *ctx)
{
    reply_error(ctx->reply, "ERR minidb has no loadable modules");
}

/* LOLWUT [VERSION version [argument ...]]: a skyline, different every time. */
void lolwut_command(struct command_ctx *ctx)
{
    enum { COLUMNS = 60, ROWS = 8 };
    struct prng prng;
    prng_init(&prng, ctx->seed ^ ctx->now_ms);
    uint32_t heights[COLUMNS];
    for (uint32_t x = 0; x < COLUMNS;) {
        uint32_t width = 3 + (uint32_t)prng_below(&prng, 5);
        uint32_t height = 1 + (uint32_t)prng_below(&prng, ROWS - 1);
        for (uint32_t i = 0; i < width && x < COLUMNS; i++, x++) {
            heights[x] = height;
        }
    }
    struct buffer text = { 0 };
    for (uint32_t y = ROWS; y > 0; y--) {
        for (uint32_t x = 0; x < COLUMNS; x++) {
            bool is_star = y > heights[x] && prng_chance(&prng, 1, 24);
            bool is_lit = y <= heights[x] && prng_chance(&prng, 1, 3);
            buffer_append_byte(&text, is_star ? '.' : y > heights[x] ? ' ' : is_lit ? 'o' : '#');
        }
        buffer_append_byte(&text, '\n');
    }
    struct host_facts facts = { .version = "" };
    ctx->host->facts(ctx->host, &facts);
    buffer_printf(&text, "\nThe lights of a small city. minidb ver. %s\n", facts.version);
    reply_verbatim_buffer(ctx->reply, &text);
}
