/*
 * cmd_migrate.c — partitions on their way from node to node: MIGRATE STATUS and REBALANCE.
 *
 * (MIGRATE of Redis moves keys to another server by hand; here partitions move by themselves.)
 */
#include "base/text.h"
#include "command/admin.h"

#include <stdio.h>

static void members_reply(struct reply *reply, struct host *host, const char *name,
                          const uint32_t *members, uint32_t count)
{
    reply_text(reply, name);
    reply_array(reply, count);
    for (uint32_t i = 0; i < count; i++) {
        struct host_member member = { .is_self = false };
        host->member(host, members[i], &member);
        reply_text(reply, member.id);
    }
}

static void move_reply(struct reply *reply, struct host *host, const struct host_move *move)
{
    char partition[TEXT_I64_BYTES_MAX] = "meta";
    size_t size = move->partition == HOST_META ? 4 : text_from_u64(move->partition, partition);
    uint64_t done = move->bytes - move->bytes_left;
    reply_bulk(reply, slice_make(partition, size));
    reply_map(reply, 6);
    members_reply(reply, host, "from", move->from, move->from_count);
    members_reply(reply, host, "to", move->to, move->to_count);
    reply_field_text(reply, "phase", move->phase);
    reply_field_integer(reply, "bytes", move->bytes);
    reply_field_integer(reply, "bytes_done", done);
    reply_field_integer(reply, "percent", move->bytes == 0 ? 0 : done * 100 / move->bytes);
}

/* How long what is left takes at this rate; nobody knows while nothing goes. */
static void time_left_reply(struct reply *reply, const struct host_moves *moves)
{
    reply_text(reply, "seconds_left");
    if (moves->bytes_per_second > 0) {
        reply_integer(reply, (int64_t)(moves->bytes_left / moves->bytes_per_second));
    } else if (moves->running + moves->waiting == 0) {
        reply_integer(reply, 0);
    } else {
        reply_null(reply);
    }
}

/* MIGRATE STATUS */
void migrate_command(struct command_ctx *ctx)
{
    struct host *host = ctx->host;
    struct reply *reply = ctx->reply;
    struct host_moves moves = { .running = 0 };
    struct host_move move;
    uint32_t count = 0;
    if (ctx->argc != 2 || !admin_word(ctx, 1, "status")) {
        reply_error(reply, "ERR MIGRATE STATUS is all there is: partitions move by themselves");
        return;
    }
    host->moves(host, &moves);
    for (uint32_t at = 0; host->move_next(host, &at, &move);) {
        count++;
    }
    reply_map(reply, 6);
    reply_field_integer(reply, "running", moves.running);
    reply_field_integer(reply, "waiting", moves.waiting);
    reply_field_integer(reply, "bytes_left", moves.bytes_left);
    reply_field_integer(reply, "bytes_per_second", moves.bytes_per_second);
    time_left_reply(reply, &moves);
    reply_text(reply, "moves");
    reply_map(reply, count);
    for (uint32_t at = 0; host->move_next(host, &at, &move);) {
        move_reply(reply, host, &move);
    }
}

/* REBALANCE */
void rebalance_command(struct command_ctx *ctx)
{
    struct host *host = ctx->host;
    struct host_moves moves = { .running = 0 };
    uint32_t leaders = host->rebalance(host);
    host->moves(host, &moves);
    reply_map(ctx->reply, 2);
    reply_field_integer(ctx->reply, "leaders", leaders);
    reply_field_integer(ctx->reply, "moves", moves.running + moves.waiting);
}
