/*
 * cmd_connection.c — commands about the connection itself: greeting, login, protocol, level.
 *
 * They read and change struct conn_info.  Which commands are allowed before AUTH is the pipeline's
 * business (COMMAND_NOAUTH); here AUTH and HELLO only decide whether a password is right.
 *
 * Read next: cmd_client.c.
 */
#include "base/assert.h"
#include "base/text.h"
#include "command/admin.h"

enum auth_result { AUTH_RIGHT, AUTH_WRONG };

struct hello_options {
    int64_t version; /* 0: not given */
    bool has_auth, has_name;
    struct slice user, password, name;
};

static enum auth_result authenticate(struct command_ctx *ctx, struct slice user,
                                     struct slice password);
static bool secret_equal(struct slice given, struct slice secret);
static bool hello_parse(struct command_ctx *ctx, struct hello_options *out);
static void hello_reply(struct command_ctx *ctx);

void ping_command(struct command_ctx *ctx)
{
    if (ctx->argc > 2) {
        command_reply_arity(ctx->reply, ctx->command);
    } else if (ctx->argc == 2) {
        reply_bulk(ctx->reply, ctx->argv[1]);
    } else {
        reply_status(ctx->reply, "PONG");
    }
}

void echo_command(struct command_ctx *ctx)
{
    reply_bulk(ctx->reply, ctx->argv[1]);
}

void auth_command(struct command_ctx *ctx)
{
    const char *secret = ctx->host->password;
    if (ctx->argc > 3) {
        reply_syntax_error(ctx->reply);
        return;
    }
    if (ctx->argc == 2 && (secret == NULL || *secret == '\0')) {
        reply_error(ctx->reply,
                    "ERR AUTH <password> called without any password configured for the "
                    "default user. Are you sure your configuration is correct?");
        return;
    }
    struct slice user = ctx->argc == 3 ? ctx->argv[1] : slice_from("default");
    if (authenticate(ctx, user, ctx->argv[ctx->argc - 1]) == AUTH_RIGHT) {
        reply_ok(ctx->reply);
    }
}

void hello_command(struct command_ctx *ctx)
{
    struct hello_options options = { .version = 0 };
    struct conn_info *info = conn_info(ctx->conn);
    if (!hello_parse(ctx, &options)) {
        return;
    }
    if (options.has_auth && authenticate(ctx, options.user, options.password) == AUTH_WRONG) {
        return;
    }
    if (!info->authenticated) {
        reply_error(ctx->reply,
                    "NOAUTH HELLO must be called with the client already authenticated, otherwise "
                    "the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the "
                    "client and select the RESP protocol version at the same time");
        return;
    }
    if (options.has_name) {
        admin_client_name_set(info, options.name);
    }
    /* A JSON connection stays one: its lines would not be understood as anything else. */
    if (options.version != 0 && info->protocol != PROTOCOL_JSON) {
        info->protocol = options.version == 3 ? PROTOCOL_RESP3 : PROTOCOL_RESP2;
        ctx->reply->protocol = info->protocol;
    }
    hello_reply(ctx);
}

void select_command(struct command_ctx *ctx)
{
    int64_t database = 0;
    if (!admin_integer(ctx, 1, &database)) {
        return;
    }
    if (database != 0) {
        reply_error(ctx->reply, "ERR DB index is out of range");
        return;
    }
    reply_ok(ctx->reply);
}

/* There is one database, so the only swap is that of database 0 with itself. */
void swapdb_command(struct command_ctx *ctx)
{
    int64_t first = 0;
    int64_t second = 0;
    if (!text_to_i64(ctx->argv[1], &first)) {
        reply_error(ctx->reply, "ERR invalid first DB index");
    } else if (!text_to_i64(ctx->argv[2], &second)) {
        reply_error(ctx->reply, "ERR invalid second DB index");
    } else if (first != 0 || second != 0) {
        reply_error(ctx->reply, "ERR DB index is out of range");
    } else {
        reply_ok(ctx->reply);
    }
}

void quit_command(struct command_ctx *ctx)
{
    reply_ok(ctx->reply);
    conn_close_after_reply(ctx->conn);
}

/* Back to how a new connection begins, as Redis does it for connection pools. */
void reset_command(struct command_ctx *ctx)
{
    struct conn_info *info = conn_info(ctx->conn);
    if (info->protocol != PROTOCOL_JSON) {
        info->protocol = PROTOCOL_RESP2;
        ctx->reply->protocol = PROTOCOL_RESP2;
    }
    info->authenticated = ctx->host->password == NULL || *ctx->host->password == '\0';
    info->no_evict = false;
    info->no_touch = false;
    info->read_only = false;
    info->reply_mode = CONN_REPLY_ON;
    info->consistency = CONSISTENCY_DEFAULT;
    info->name.size = 0;
    reply_status(ctx->reply, "RESET");
}

/* CONSISTENCY [ANY | QUORUM | ALL | STRONG | DEFAULT]: the level of this connection's reads. */
void consistency_command(struct command_ctx *ctx)
{
    static const struct {
        const char *name;
        enum consistency level;
    } levels[] = {
        { "ANY", CONSISTENCY_ANY },         { "QUORUM", CONSISTENCY_QUORUM },
        { "ALL", CONSISTENCY_ALL },         { "STRONG", CONSISTENCY_STRONG },
        { "DEFAULT", CONSISTENCY_DEFAULT },
    };
    struct conn_info *info = conn_info(ctx->conn);
    if (ctx->argc > 2) {
        command_reply_arity(ctx->reply, ctx->command);
        return;
    }
    if (ctx->argc == 1) {
        bool is_default = info->consistency == CONSISTENCY_DEFAULT;
        reply_text(ctx->reply, consistency_name(is_default ? ctx->host->consistency_default
                                                           : info->consistency));
        return;
    }
    for (uint32_t i = 0; i < ARRAY_COUNT(levels); i++) {
        if (slice_equal_nocase(ctx->argv[1], levels[i].name)) {
            info->consistency = levels[i].level;
            reply_ok(ctx->reply);
            return;
        }
    }
    reply_error(ctx->reply,
                "ERR unknown consistency level, must be ANY, QUORUM, ALL, STRONG or DEFAULT");
}

/* Checks a login and marks the connection.  On AUTH_WRONG the error has been written. */
static enum auth_result authenticate(struct command_ctx *ctx, struct slice user,
                                     struct slice password)
{
    struct conn_info *info = conn_info(ctx->conn);
    const char *secret = ctx->host->password;
    bool no_password = secret == NULL || *secret == '\0';
    bool right = no_password || secret_equal(password, slice_from(secret));
    if (right && slice_equal(user, slice_from("default"))) {
        info->authenticated = true;
        return AUTH_RIGHT;
    }
    ctx->host->auth_failures++;
    reply_error(ctx->reply, "WRONGPASS invalid username-password pair or user is disabled.");
    return AUTH_WRONG;
}

/* Takes a time that depends on what was given alone, never on how much of it was right. */
static bool secret_equal(struct slice given, struct slice secret)
{
    ASSERT(secret.size > 0);
    volatile unsigned char difference = given.size != secret.size;
    size_t at = 0;
    for (size_t i = 0; i < given.size; i++) {
        difference = (unsigned char)(difference | (given.data[i] ^ secret.data[at]));
        at = at + 1 < secret.size ? at + 1 : 0;
    }
    return difference == 0;
}

/* HELLO [version [AUTH user password] [SETNAME name]]; false when an error has been written. */
static bool hello_parse(struct command_ctx *ctx, struct hello_options *out)
{
    if (ctx->argc == 1) {
        return true;
    }
    if (!text_to_i64(ctx->argv[1], &out->version)) {
        reply_error(ctx->reply, "ERR Protocol version is not an integer or out of range");
        return false;
    }
    if (out->version < 2 || out->version > 3) {
        reply_error(ctx->reply, "NOPROTO unsupported protocol version");
        return false;
    }
    for (uint32_t i = 2; i < ctx->argc; i++) {
        uint32_t more = ctx->argc - 1 - i;
        if (more >= 2 && admin_word(ctx, i, "AUTH")) {
            out->has_auth = true;
            out->user = ctx->argv[++i];
            out->password = ctx->argv[++i];
        } else if (more >= 1 && admin_word(ctx, i, "SETNAME")) {
            out->has_name = true;
            out->name = ctx->argv[++i];
        } else {
            reply_errorf(ctx->reply, "ERR Syntax error in HELLO option '%.*s'",
                         ADMIN_QUOTED(ctx->argv[i]));
            return false;
        }
    }
    return !out->has_name || admin_client_name_check(ctx, out->name);
}

static void hello_reply(struct command_ctx *ctx)
{
    const struct conn_info *info = conn_info(ctx->conn);
    reply_map(ctx->reply, 8);
    reply_field_text(ctx->reply, "server", "redis");
    reply_field_text(ctx->reply, "version", REDIS_VERSION);
    reply_field_integer(ctx->reply, "proto", info->protocol == PROTOCOL_RESP3 ? 3 : 2);
    reply_field_integer(ctx->reply, "id", info->id);
    reply_field_text(ctx->reply, "mode", info->by_slots ? "cluster" : "standalone");
    reply_field_text(ctx->reply, "role", "master");
    reply_text(ctx->reply, "modules");
    reply_array(ctx->reply, 0);
    reply_field_text(ctx->reply, "minidb_version", ctx->host->version);
}
