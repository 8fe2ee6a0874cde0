/*
 * cmd_config.c — CONFIG: options by name, in Redis's manner.
 *
 * The options themselves belong to the root (host->config_*): here patterns are matched, names
 * looked up and the errors said that do not depend on what an option means.  CONFIG GET CLUSTER and
 * CONFIG SET CLUSTER are about what all nodes agree on: cmd_membership.c.
 */
#include "base/text.h"
#include "command/admin.h"

enum { CONFIG_NONE = UINT32_MAX };

static uint32_t config_match(const struct command_ctx *ctx, const char *name);
static bool is_pattern(struct slice text);
static uint32_t config_find(struct host *host, struct slice name);
static bool config_set_check(struct command_ctx *ctx);

/* CONFIG GET [CLUSTER] pattern [pattern ...] */
void config_get_command(struct command_ctx *ctx)
{
    struct host *host = ctx->host;
    if (!admin_args_bounded(ctx)) {
        return;
    }
    if (ctx->argc > 3 && admin_word(ctx, 2, "cluster")) {
        admin_settings_get(ctx);
        return;
    }
    uint32_t matches = 0;
    for (uint32_t i = 0; host->config_name(host, i) != NULL; i++) {
        matches += config_match(ctx, host->config_name(host, i)) != CONFIG_NONE;
    }
    reply_map(ctx->reply, matches);
    struct buffer value = { 0 };
    for (uint32_t i = 0; host->config_name(host, i) != NULL; i++) {
        const char *name = host->config_name(host, i);
        uint32_t arg = config_match(ctx, name);
        if (arg != CONFIG_NONE) {
            value.size = 0;
            host->config_get(host, i, &value);
            /* A name that was given in full comes back as it was written (Redis). */
            reply_bulk(ctx->reply, is_pattern(ctx->argv[arg]) ? slice_from(name) : ctx->argv[arg]);
            reply_bulk(ctx->reply, buffer_slice(&value));
        }
    }
    buffer_free(&value);
}

/* CONFIG SET [CLUSTER] name value [name value ...]: all or nothing. */
void config_set_command(struct command_ctx *ctx)
{
    if (ctx->argc % 2 != 0 && admin_word(ctx, 2, "cluster")) {
        admin_settings_set(ctx);
        return;
    }
    if (ctx->conn == NULL) { /* another node's connection: its options are none of ours */
        reply_syntax_error(ctx->reply);
        return;
    }
    if (!config_set_check(ctx)) {
        return;
    }
    struct buffer error = { 0 };
    if (ctx->host->config_set(ctx->host, ctx->argv + 2, ctx->argc - 2, &error) < 0) {
        buffer_append_byte(&error, '\0');
        reply_error(ctx->reply, error.data);
    } else {
        reply_ok(ctx->reply);
    }
    buffer_free(&error);
}

void config_resetstat_command(struct command_ctx *ctx)
{
    struct host *host = ctx->host;
    memset(host->command_stats, 0, command_count() * sizeof(*host->command_stats));
    *host->error_stats = (struct error_stats){ .total = 0 };
    host->auth_failures = 0;
    host->stats_reset(host);
    reply_ok(ctx->reply);
}

void config_rewrite_command(struct command_ctx *ctx)
{
    struct buffer error = { 0 };
    if (ctx->host->config_rewrite(ctx->host, &error) < 0) {
        buffer_append_byte(&error, '\0');
        reply_error(ctx->reply, error.data);
    } else {
        reply_ok(ctx->reply);
    }
    buffer_free(&error);
}

/* The first argument that asks for this option. */
static uint32_t config_match(const struct command_ctx *ctx, const char *name)
{
    for (uint32_t i = 2; i < ctx->argc; i++) {
        if (text_glob(ctx->argv[i], slice_from(name), /* ignore_case= */ true)) {
            return i;
        }
    }
    return CONFIG_NONE;
}

static bool is_pattern(struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '*' || text.data[i] == '?' || text.data[i] == '[') {
            return true;
        }
    }
    return false;
}

static uint32_t config_find(struct host *host, struct slice name)
{
    for (uint32_t i = 0; host->config_name(host, i) != NULL; i++) {
        if (slice_equal_nocase(name, host->config_name(host, i))) {
            return i;
        }
    }
    return CONFIG_NONE;
}

/* Pairs, known names, none of them twice; false when an error has been written.  The search ends
 * at the first repetition, so it looks at no more names than there are options. */
static bool config_set_check(struct command_ctx *ctx)
{
    if (ctx->argc % 2 != 0) {
        reply_syntax_error(ctx->reply);
        return false;
    }
    for (uint32_t i = 2; i < ctx->argc; i += 2) {
        struct slice name = ctx->argv[i];
        uint32_t at = config_find(ctx->host, name);
        if (at == CONFIG_NONE) {
            reply_errorf(ctx->reply,
                         "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'",
                         ADMIN_QUOTED(name));
            return false;
        }
        for (uint32_t j = 2; j < i; j += 2) {
            if (slice_equal_nocase(ctx->argv[j], ctx->host->config_name(ctx->host, at))) {
                reply_errorf(ctx->reply,
                             "ERR CONFIG SET failed (possibly related to argument '%.*s') - "
                             "duplicate parameter",
                             ADMIN_QUOTED(name));
                return false;
            }
        }
    }
    return true;
}
