/*
 * cmd_client.c — CLIENT: who is connected, and what a connection says of itself.
 *
 * Everything is read from and written into struct conn_info; the server does the rest.  There is
 * one kind of client here (normal) and one user (default), so filters for others select nobody.
 *
 * Read next: network/server.h, cmd_client_kill.c.
 */
#include "base/text.h"
#include "command/admin.h"

#include <inttypes.h>

static bool client_list_parse(struct command_ctx *ctx, bool *out_all, uint32_t *out_first_id);
static void client_describe(struct buffer *out, struct conn *conn, uint64_t now_ms);
static void append_clean(struct buffer *out, struct slice text);
static bool parse_on_off(struct command_ctx *ctx, bool *out);

bool admin_client_type(struct slice name, enum admin_client_type *out)
{
    static const struct {
        const char *name;
        enum admin_client_type type;
    } types[] = {
        { "normal", ADMIN_CLIENT_NORMAL },   { "master", ADMIN_CLIENT_MASTER },
        { "replica", ADMIN_CLIENT_REPLICA }, { "slave", ADMIN_CLIENT_REPLICA },
        { "pubsub", ADMIN_CLIENT_PUBSUB },
    };
    for (uint32_t i = 0; i < ARRAY_COUNT(types); i++) {
        if (slice_equal_nocase(name, types[i].name)) {
            *out = types[i].type;
            return true;
        }
    }
    return false;
}

void client_id_command(struct command_ctx *ctx)
{
    reply_integer(ctx->reply, (int64_t)conn_info(ctx->conn)->id);
}

void client_info_command(struct command_ctx *ctx)
{
    struct buffer text = { 0 };
    client_describe(&text, ctx->conn, ctx->now_ms);
    reply_verbatim_buffer(ctx->reply, &text);
}

/* CLIENT LIST [TYPE type] [ID id [id ...]] */
void client_list_command(struct command_ctx *ctx)
{
    bool all = true;
    uint32_t first_id = 0;
    if (!admin_args_bounded(ctx) || !client_list_parse(ctx, &all, &first_id)) {
        return;
    }
    struct server *server = ctx->host->server;
    struct buffer text = { 0 };
    for (uint32_t i = first_id; first_id != 0 && i < ctx->argc; i++) {
        int64_t id = 0;
        (void)text_to_i64(ctx->argv[i], &id);
        struct conn *conn = server_find_conn(server, (uint64_t)id);
        if (conn != NULL) {
            client_describe(&text, conn, ctx->now_ms);
        }
    }
    struct conn *conn = all ? server_next_conn(server, NULL) : NULL;
    for (; conn != NULL; conn = server_next_conn(server, conn)) {
        client_describe(&text, conn, ctx->now_ms);
    }
    reply_verbatim_buffer(ctx->reply, &text);
}

void client_setname_command(struct command_ctx *ctx)
{
    if (admin_client_name_check(ctx, ctx->argv[2])) {
        admin_client_name_set(conn_info(ctx->conn), ctx->argv[2]);
        reply_ok(ctx->reply);
    }
}

void client_getname_command(struct command_ctx *ctx)
{
    const struct conn_info *info = conn_info(ctx->conn);
    if (info->name.size == 0) {
        reply_null(ctx->reply);
    } else {
        reply_bulk(ctx->reply, buffer_slice(&info->name));
    }
}

/* CLIENT SETINFO <LIB-NAME name | LIB-VER version> */
void client_setinfo_command(struct command_ctx *ctx)
{
    struct conn_info *info = conn_info(ctx->conn);
    struct buffer *field = NULL;
    if (admin_word(ctx, 2, "lib-name")) {
        field = &info->lib_name;
    } else if (admin_word(ctx, 2, "lib-ver")) {
        field = &info->lib_version;
    }
    struct slice attribute = ctx->argv[2];
    if (field == NULL) {
        reply_errorf(ctx->reply, "ERR Unrecognized option '%.*s'", ADMIN_QUOTED(attribute));
    } else if (!admin_client_text_ok(ctx->argv[3])) {
        reply_errorf(ctx->reply, "ERR %.*s cannot contain spaces, newlines or special characters.",
                     ADMIN_QUOTED(attribute));
    } else if (ctx->argv[3].size > CLIENT_NAME_BYTES_MAX) {
        reply_errorf(ctx->reply, "ERR %.*s cannot be longer than %d bytes.",
                     ADMIN_QUOTED(attribute), (int)CLIENT_NAME_BYTES_MAX);
    } else {
        field->size = 0;
        buffer_append_slice(field, ctx->argv[3]);
        reply_ok(ctx->reply);
    }
}

void client_no_evict_command(struct command_ctx *ctx)
{
    if (parse_on_off(ctx, &conn_info(ctx->conn)->no_evict)) {
        reply_ok(ctx->reply);
    }
}

void client_no_touch_command(struct command_ctx *ctx)
{
    if (parse_on_off(ctx, &conn_info(ctx->conn)->no_touch)) {
        reply_ok(ctx->reply);
    }
}

/* CLIENT REPLY <ON | OFF | SKIP>: with OFF and SKIP the server drops this very reply, too. */
void client_reply_command(struct command_ctx *ctx)
{
    struct conn_info *info = conn_info(ctx->conn);
    if (admin_word(ctx, 2, "on")) {
        info->reply_mode = CONN_REPLY_ON;
    } else if (admin_word(ctx, 2, "off")) {
        info->reply_mode = CONN_REPLY_OFF;
    } else if (!admin_word(ctx, 2, "skip")) {
        reply_syntax_error(ctx->reply);
        return;
    } else if (info->reply_mode != CONN_REPLY_OFF) {
        info->reply_mode = CONN_REPLY_SKIP_NEXT;
    }
    reply_ok(ctx->reply);
}

/* CLIENT PAUSE timeout [WRITE | ALL] */
void client_pause_command(struct command_ctx *ctx)
{
    if (ctx->argc > 4) {
        reply_syntax_error(ctx->reply);
        return;
    }
    bool writes_only = admin_word(ctx, 3, "write");
    if (ctx->argc == 4 && !writes_only && !admin_word(ctx, 3, "all")) {
        reply_error(ctx->reply, "ERR CLIENT PAUSE mode must be WRITE or ALL");
        return;
    }
    uint64_t timeout_ms = 0;
    if (admin_timeout(ctx, 2, &timeout_ms)) {
        ctx->host->pause(ctx->host, ctx->now_ms + timeout_ms, writes_only);
        reply_ok(ctx->reply);
    }
}

void client_unpause_command(struct command_ctx *ctx)
{
    ctx->host->pause(ctx->host, 0, false);
    reply_ok(ctx->reply);
}

/* No command blocks on data here, so there is nobody to unblock. */
void client_unblock_command(struct command_ctx *ctx)
{
    int64_t id = 0;
    if (ctx->argc > 4) {
        reply_syntax_error(ctx->reply);
    } else if (ctx->argc == 4 && !admin_word(ctx, 3, "timeout") && !admin_word(ctx, 3, "error")) {
        reply_error(ctx->reply, "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
    } else if (admin_integer(ctx, 2, &id)) {
        reply_integer(ctx->reply, 0);
    }
}

/* ── client side caching: not offered, and said so ───────────────────────────────────────────── */

void client_tracking_command(struct command_ctx *ctx)
{
    if (admin_word(ctx, 2, "on")) {
        reply_error(ctx->reply, "ERR CLIENT TRACKING is not supported by this server");
    } else if (admin_word(ctx, 2, "off")) {
        reply_ok(ctx->reply);
    } else {
        reply_syntax_error(ctx->reply);
    }
}

void client_trackinginfo_command(struct command_ctx *ctx)
{
    reply_map(ctx->reply, 3);
    reply_text(ctx->reply, "flags");
    reply_set(ctx->reply, 1);
    reply_text(ctx->reply, "off");
    reply_text(ctx->reply, "redirect");
    reply_integer(ctx->reply, -1);
    reply_text(ctx->reply, "prefixes");
    reply_array(ctx->reply, 0);
}

void client_caching_command(struct command_ctx *ctx)
{
    reply_error(ctx->reply, "ERR CLIENT CACHING can be called only when the client is in tracking "
                            "mode with OPTIN or OPTOUT mode enabled");
}

void client_getredir_command(struct command_ctx *ctx)
{
    reply_integer(ctx->reply, -1);
}

/* ── helpers ─────────────────────────────────────────────────────────────────────────────────── */

/* *out_all: list every client; *out_first_id != 0: the ids begin there.  All ids are checked. */
static bool client_list_parse(struct command_ctx *ctx, bool *out_all, uint32_t *out_first_id)
{
    if (ctx->argc == 2) {
        return true;
    }
    if (ctx->argc == 4 && admin_word(ctx, 2, "type")) {
        enum admin_client_type type = ADMIN_CLIENT_NORMAL;
        if (!admin_client_type(ctx->argv[3], &type)) {
            reply_errorf(ctx->reply, "ERR Unknown client type '%.*s'", ADMIN_QUOTED(ctx->argv[3]));
            return false;
        }
        *out_all = type == ADMIN_CLIENT_NORMAL;
        return true;
    }
    if (ctx->argc < 4 || !admin_word(ctx, 2, "id")) {
        reply_syntax_error(ctx->reply);
        return false;
    }
    for (uint32_t i = 3; i < ctx->argc; i++) {
        int64_t id = 0;
        if (!text_to_i64(ctx->argv[i], &id)) {
            reply_error(ctx->reply, "ERR Invalid client ID");
            return false;
        }
    }
    *out_all = false;
    *out_first_id = 3;
    return true;
}

/* One line, with Redis's names in Redis's order (tools parse it). */
static void client_describe(struct buffer *out, struct conn *conn, uint64_t now_ms)
{
    const struct conn_info *info = conn_info(conn);
    uint64_t age_s = now_ms > info->created_ms ? (now_ms - info->created_ms) / 1000 : 0;
    uint64_t idle_s = now_ms > info->active_ms ? (now_ms - info->active_ms) / 1000 : 0;
    buffer_printf(out, "id=%" PRIu64 " addr=%s laddr=%s fd=%d name=", info->id, info->address,
                  info->local_address, info->descriptor);
    append_clean(out, buffer_slice(&info->name));
    buffer_printf(out, " age=%" PRIu64 " idle=%" PRIu64 " flags=", age_s, idle_s);
    size_t flags_at = out->size;
    buffer_append_text(out, info->is_blocked ? "b" : "");
    buffer_append_text(out, info->read_only ? "r" : "");
    buffer_append_text(out, info->no_evict ? "e" : "");
    buffer_append_text(out, info->no_touch ? "T" : "");
    if (out->size == flags_at) {
        buffer_append_byte(out, 'N');
    }
    bool is_pending = info->queued_output_bytes > 0;
    buffer_printf(out, " db=0 sub=0 psub=0 ssub=0 multi=-1 qbuf=%u qbuf-free=0 argv-mem=0",
                  info->queued_input_bytes);
    buffer_printf(out, " multi-mem=0 rbs=0 rbp=0 obl=0 oll=%u omem=%u tot-mem=%" PRIu64, info->owed,
                  info->queued_output_bytes,
                  (uint64_t)info->queued_input_bytes + info->queued_output_bytes);
    buffer_printf(out, " events=%s cmd=%s user=default redir=-1 resp=%d lib-name=",
                  is_pending ? "rw" : "r", info->last_command == NULL ? "NULL" : info->last_command,
                  info->protocol == PROTOCOL_RESP3 ? 3 : 2);
    append_clean(out, buffer_slice(&info->lib_name));
    buffer_append_text(out, " lib-ver=");
    append_clean(out, buffer_slice(&info->lib_version));
    buffer_append_byte(out, '\n');
}

/* The names were checked when they were set; this keeps one line a client whatever happens. */
static void append_clean(struct buffer *out, struct slice text)
{
    if (admin_client_text_ok(text)) {
        buffer_append_slice(out, text);
    }
}

static bool parse_on_off(struct command_ctx *ctx, bool *out)
{
    bool is_on = admin_word(ctx, 2, "on");
    if (!is_on && !admin_word(ctx, 2, "off")) {
        reply_syntax_error(ctx->reply);
        return false;
    }
    *out = is_on;
    return true;
}
