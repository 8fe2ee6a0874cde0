/*
 * cmd_client_kill.c — CLIENT KILL: ends connections that all given filters select.
 *
 *   CLIENT KILL ip:port                          the one with this address, or an error
 *   CLIENT KILL filter value [filter value ...]  answers how many
 *
 * A client may kill itself; its connection then ends behind the reply.
 */
#include "base/text.h"
#include "command/admin.h"

struct kill_filter {
    uint64_t id;                         /* 0: any */
    struct slice address, local_address; /* no data: any */
    uint64_t age_min_s;
    bool nobody; /* a type of client that there is none of */
    bool skip_me;
};

static bool filter_parse(struct command_ctx *ctx, struct kill_filter *out);
static bool filter_parse_one(struct command_ctx *ctx, uint32_t at, struct kill_filter *out);
static bool filter_matches(const struct kill_filter *filter, struct command_ctx *ctx,
                           struct conn *conn);
static uint32_t kill_matching(struct command_ctx *ctx, const struct kill_filter *filter);
static void unknown(struct command_ctx *ctx, const char *what, struct slice name);

void client_kill_command(struct command_ctx *ctx)
{
    if (ctx->argc == 3) {
        struct kill_filter filter = { .address = ctx->argv[2] };
        if (kill_matching(ctx, &filter) == 0) {
            reply_error(ctx->reply, "ERR No such client");
        } else {
            reply_ok(ctx->reply);
        }
        return;
    }
    struct kill_filter filter = { .skip_me = true };
    if (filter_parse(ctx, &filter)) {
        reply_integer(ctx->reply, kill_matching(ctx, &filter));
    }
}

static bool filter_parse(struct command_ctx *ctx, struct kill_filter *out)
{
    for (uint32_t i = 2; i < ctx->argc; i += 2) {
        if (i + 1 == ctx->argc) {
            reply_syntax_error(ctx->reply);
            return false;
        }
        if (!filter_parse_one(ctx, i, out)) {
            return false;
        }
    }
    return true;
}

static bool filter_parse_one(struct command_ctx *ctx, uint32_t at, struct kill_filter *out)
{
    struct slice value = ctx->argv[at + 1];
    int64_t number = 0;
    enum admin_client_type type = ADMIN_CLIENT_NORMAL;
    if (admin_word(ctx, at, "id")) {
        if (!text_to_i64(value, &number) || number < 1) {
            reply_error(ctx->reply, "ERR client-id should be greater than 0");
            return false;
        }
        out->id = (uint64_t)number;
    } else if (admin_word(ctx, at, "maxage")) {
        if (!text_to_i64(value, &number) || number < 1) {
            reply_error(ctx->reply, "ERR maxage should be greater than 0");
            return false;
        }
        out->age_min_s = (uint64_t)number;
    } else if (admin_word(ctx, at, "type")) {
        if (!admin_client_type(value, &type)) {
            unknown(ctx, "Unknown client type", value);
            return false;
        }
        out->nobody = type != ADMIN_CLIENT_NORMAL;
    } else if (admin_word(ctx, at, "addr")) {
        out->address = value;
    } else if (admin_word(ctx, at, "laddr")) {
        out->local_address = value;
    } else if (admin_word(ctx, at, "user")) {
        if (!slice_equal(value, slice_from("default"))) {
            unknown(ctx, "No such user", value);
            return false;
        }
    } else if (admin_word(ctx, at, "skipme") && admin_word(ctx, at + 1, "yes")) {
        out->skip_me = true;
    } else if (admin_word(ctx, at, "skipme") && admin_word(ctx, at + 1, "no")) {
        out->skip_me = false;
    } else {
        reply_syntax_error(ctx->reply);
        return false;
    }
    return true;
}

static void unknown(struct command_ctx *ctx, const char *what, struct slice name)
{
    reply_errorf(ctx->reply, "ERR %s '%.*s'", what, ADMIN_QUOTED(name));
}

static bool filter_matches(const struct kill_filter *filter, struct command_ctx *ctx,
                           struct conn *conn)
{
    const struct conn_info *info = conn_info(conn);
    uint64_t age_s = ctx->now_ms > info->created_ms ? (ctx->now_ms - info->created_ms) / 1000 : 0;
    return !filter->nobody && (filter->id == 0 || filter->id == info->id) &&
           (filter->address.data == NULL ||
            slice_equal(filter->address, slice_from(info->address))) &&
           (filter->local_address.data == NULL ||
            slice_equal(filter->local_address, slice_from(info->local_address))) &&
           age_s >= filter->age_min_s && !(filter->skip_me && conn == ctx->conn);
}

static uint32_t kill_matching(struct command_ctx *ctx, const struct kill_filter *filter)
{
    uint32_t killed = 0;
    struct conn *conn = server_next_conn(ctx->host->server, NULL);
    while (conn != NULL) {
        struct conn *next = server_next_conn(ctx->host->server, conn);
        if (filter_matches(filter, ctx, conn)) {
            killed++;
            if (conn == ctx->conn) {
                conn_close_after_reply(conn);
            } else {
                conn_kill(conn);
            }
        }
        conn = next;
    }
    return killed;
}
