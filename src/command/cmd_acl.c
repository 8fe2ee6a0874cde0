/*
 * cmd_acl.c — ACL: the truth about the one user there is.
 *
 * Everybody is `default`, who may do everything once requirepass is given.  Making users is not
 * offered (the subcommands do not exist).
 */
#include "command/admin.h"
#include "command/command_acl.h"

static bool has_password(const struct command_ctx *ctx);

void acl_whoami_command(struct command_ctx *ctx)
{
    reply_text(ctx->reply, "default");
}

void acl_users_command(struct command_ctx *ctx)
{
    reply_array(ctx->reply, 1);
    reply_text(ctx->reply, "default");
}

void acl_list_command(struct command_ctx *ctx)
{
    reply_array(ctx->reply, 1);
    reply_text(ctx->reply, has_password(ctx)
                               ? "user default on #(hidden) sanitize-payload ~* &* +@all"
                               : "user default on nopass sanitize-payload ~* &* +@all");
}

void acl_getuser_command(struct command_ctx *ctx)
{
    struct reply *reply = ctx->reply;
    if (!slice_equal(ctx->argv[2], slice_from("default"))) {
        reply_null(reply);
        return;
    }
    reply_map(reply, 6);
    reply_text(reply, "flags");
    reply_set(reply, has_password(ctx) ? 2 : 3);
    reply_text(reply, "on");
    if (!has_password(ctx)) {
        reply_text(reply, "nopass");
    }
    reply_text(reply, "sanitize-payload");
    reply_text(reply, "passwords");
    reply_array(reply, has_password(ctx) ? 1 : 0);
    if (has_password(ctx)) {
        reply_text(reply, "(hidden)");
    }
    reply_field_text(reply, "commands", "+@all");
    reply_field_text(reply, "keys", "~*");
    reply_field_text(reply, "channels", "&*");
    reply_text(reply, "selectors");
    reply_array(reply, 0);
}

/* ACL CAT [category] */
void acl_cat_command(struct command_ctx *ctx)
{
    uint32_t category = 0;
    if (ctx->argc > 3) {
        reply_syntax_error(ctx->reply);
        return;
    }
    if (ctx->argc == 2) {
        reply_array(ctx->reply, acl_category_count());
        for (uint32_t i = 0; i < acl_category_count(); i++) {
            reply_text(ctx->reply, acl_category_name(i));
        }
        return;
    }
    if (!acl_category_find(ctx->argv[2], &category)) {
        reply_errorf(ctx->reply, "ERR Unknown category '%.*s'", ADMIN_QUOTED(ctx->argv[2]));
        return;
    }
    struct command_view view;
    uint32_t count = 0;
    for (struct command_walk walk = { 0 }; command_walk_next(&walk, &view);) {
        count += acl_categories_of(&view) >> category & 1;
    }
    reply_array(ctx->reply, count);
    for (struct command_walk walk = { 0 }; command_walk_next(&walk, &view);) {
        if ((acl_categories_of(&view) >> category & 1) != 0) {
            reply_text(ctx->reply, view.name);
        }
    }
}

/* ACL LOG [count | RESET]: nobody is ever denied a command; failed logins are counted in INFO
 * (acl_access_denied_auth). */
void acl_log_command(struct command_ctx *ctx)
{
    int64_t count = 0;
    if (ctx->argc > 3) {
        reply_syntax_error(ctx->reply);
    } else if (admin_word(ctx, 2, "reset")) {
        reply_ok(ctx->reply);
    } else if (ctx->argc == 2 || admin_integer(ctx, 2, &count)) {
        reply_array(ctx->reply, 0);
    }
}

static bool has_password(const struct command_ctx *ctx)
{
    return ctx->host->password != NULL && *ctx->host->password != '\0';
}
