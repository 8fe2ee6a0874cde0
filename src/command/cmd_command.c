/*
 * cmd_command.c — COMMAND: the table as clients read it.
 *
 * Cluster clients route by it (first key, last key, step, the readonly flag), so each entry has
 * Redis's ten elements: name, arity, flags, first key, last key, step, ACL categories, tips, key
 * specifications, subcommands.  A row of either kind is looked at through one struct, `view`.
 *
 * Read next: command_docs.c, command_acl.c.
 */
#include "base/assert.h"
#include "base/text.h"
#include "command/admin.h"
#include "command/command_acl.h"
#include "command/command_docs.h"

#include <stdio.h>

struct named {
    const struct command *command;       /* NULL: unknown */
    const struct subcommand *subcommand; /* NULL: the command itself */
};

static struct named named_find(struct slice name);
static void info_reply(struct reply *reply, const struct command_view *view, uint32_t subcommands);
static void info_reply_command(struct reply *reply, const struct command *command);
static void flags_reply(struct reply *reply, uint32_t flags);
static void key_specs_reply(struct reply *reply, const struct command_view *view);
static void key_flags_reply(struct reply *reply, const struct command_view *view);
static void getkeys(struct command_ctx *ctx, bool with_flags);

void command_command(struct command_ctx *ctx)
{
    if (ctx->argc > 1) {
        subcommand_command(ctx);
        return;
    }
    reply_array(ctx->reply, command_count());
    for (uint32_t id = 0; id < command_count(); id++) {
        info_reply_command(ctx->reply, command_at(id));
    }
}

void command_count_command(struct command_ctx *ctx)
{
    reply_integer(ctx->reply, command_count());
}

/* COMMAND INFO [name ...]: null for unknown names. */
void command_info_command(struct command_ctx *ctx)
{
    if (!admin_args_bounded(ctx)) {
        return;
    }
    if (ctx->argc == 2) {
        ctx->argc = 1;
        command_command(ctx);
        return;
    }
    reply_array(ctx->reply, ctx->argc - 2);
    for (uint32_t i = 2; i < ctx->argc; i++) {
        struct named named = named_find(ctx->argv[i]);
        if (named.command == NULL) {
            reply_null(ctx->reply);
        } else if (named.subcommand == NULL) {
            info_reply_command(ctx->reply, named.command);
        } else {
            struct command_view view = command_view_of(named.command, named.subcommand);
            info_reply(ctx->reply, &view, 0);
        }
    }
}

/* COMMAND DOCS [name ...]: unknown names are passed over. */
void command_docs_command(struct command_ctx *ctx)
{
    if (!admin_args_bounded(ctx)) {
        return;
    }
    if (ctx->argc == 2) {
        reply_map(ctx->reply, command_count());
        for (uint32_t id = 0; id < command_count(); id++) {
            reply_text(ctx->reply, command_at(id)->name);
            docs_reply_command(ctx->reply, command_at(id));
        }
        return;
    }
    uint32_t known = 0;
    for (uint32_t i = 2; i < ctx->argc; i++) {
        known += named_find(ctx->argv[i]).command != NULL;
    }
    reply_map(ctx->reply, known);
    for (uint32_t i = 2; i < ctx->argc; i++) {
        struct named named = named_find(ctx->argv[i]);
        if (named.command == NULL) {
            continue;
        }
        if (named.subcommand == NULL) {
            reply_text(ctx->reply, named.command->name);
            docs_reply_command(ctx->reply, named.command);
        } else {
            reply_subcommand_name(ctx->reply, named.subcommand);
            docs_reply_subcommand(ctx->reply, named.command, named.subcommand);
        }
    }
}

void command_getkeys_command(struct command_ctx *ctx)
{
    getkeys(ctx, /* with_flags= */ false);
}

void command_getkeysandflags_command(struct command_ctx *ctx)
{
    getkeys(ctx, /* with_flags= */ true);
}

/* ── COMMAND LIST ────────────────────────────────────────────────────────────────────────────── */

struct list_filter {
    enum { LIST_ALL, LIST_NONE, LIST_PATTERN, LIST_CATEGORY } kind;
    struct slice pattern;
    uint32_t category;
};

static bool list_filter_parse(struct command_ctx *ctx, struct list_filter *out);
static bool list_matches(const struct list_filter *filter, const struct command_view *view);

/* COMMAND LIST [FILTERBY <MODULE name | ACLCAT category | PATTERN pattern>] */
void command_list_command(struct command_ctx *ctx)
{
    struct list_filter filter = { .kind = LIST_ALL };
    if (!list_filter_parse(ctx, &filter)) {
        return;
    }
    struct command_view view;
    uint32_t count = 0;
    for (struct command_walk walk = { 0 }; command_walk_next(&walk, &view);) {
        count += list_matches(&filter, &view);
    }
    reply_array(ctx->reply, count);
    for (struct command_walk walk = { 0 }; command_walk_next(&walk, &view);) {
        if (list_matches(&filter, &view)) {
            reply_text(ctx->reply, view.name);
        }
    }
}

static bool list_filter_parse(struct command_ctx *ctx, struct list_filter *out)
{
    if (ctx->argc == 2) {
        return true;
    }
    if (ctx->argc != 5 || !admin_word(ctx, 2, "filterby")) {
        reply_syntax_error(ctx->reply);
        return false;
    }
    out->pattern = ctx->argv[4];
    if (admin_word(ctx, 3, "module")) {
        out->kind = LIST_NONE;
    } else if (admin_word(ctx, 3, "aclcat")) {
        bool known = acl_category_find(ctx->argv[4], &out->category);
        out->kind = known ? LIST_CATEGORY : LIST_NONE;
    } else if (admin_word(ctx, 3, "pattern")) {
        out->kind = LIST_PATTERN;
    } else {
        reply_syntax_error(ctx->reply);
        return false;
    }
    return true;
}

static bool list_matches(const struct list_filter *filter, const struct command_view *view)
{
    switch (filter->kind) {
    case LIST_ALL:
        return true;
    case LIST_NONE:
        return false;
    case LIST_PATTERN:
        return text_glob(filter->pattern, slice_from(view->name), /* ignore_case= */ true);
    case LIST_CATEGORY:
        return (acl_categories_of(view) >> filter->category & 1) != 0;
    }
    UNREACHABLE();
}

/* ── entries ─────────────────────────────────────────────────────────────────────────────────── */

/* "get", or "config|get" for a subcommand. */
static struct named named_find(struct slice name)
{
    struct named named = { .command = NULL };
    const char *bar = name.size == 0 ? NULL : memchr(name.data, '|', name.size);
    if (bar == NULL) {
        named.command = command_lookup(name);
        return named;
    }
    size_t size = (size_t)(bar - name.data);
    const struct command *parent = command_lookup(slice_make(name.data, size));
    if (parent != NULL) {
        struct slice rest = slice_make(bar + 1, name.size - size - 1);
        named.subcommand = command_subcommand_lookup(parent, rest);
        named.command = named.subcommand == NULL ? NULL : parent;
    }
    return named;
}

static void info_reply_command(struct reply *reply, const struct command *command)
{
    uint32_t count = 0;
    while (command_subcommand_at(command, count) != NULL) {
        count++;
    }
    struct command_view view = command_view_of(command, NULL);
    info_reply(reply, &view, count);
    for (uint32_t i = 0; i < count; i++) {
        view = command_view_of(command, command_subcommand_at(command, i));
        info_reply(reply, &view, 0);
    }
}

/* Ends with the header of the array of subcommands: the caller fills it. */
static void info_reply(struct reply *reply, const struct command_view *view, uint32_t subcommands)
{
    reply_array(reply, 10);
    reply_text(reply, view->name);
    reply_integer(reply, view->arity);
    flags_reply(reply, view->flags);
    reply_integer(reply, view->first_key);
    reply_integer(reply, view->last_key);
    reply_integer(reply, view->key_step);
    acl_categories_reply(reply, acl_categories_of(view));
    reply_set(reply, 0); /* tips: none needed while one address answers for the whole cluster */
    key_specs_reply(reply, view);
    if (subcommands == 0) {
        reply_set(reply, 0);
    } else {
        reply_array(reply, subcommands);
    }
}

static void flags_reply(struct reply *reply, uint32_t flags)
{
    static const struct {
        uint32_t flag;
        const char *name;
    } names[] = {
        { COMMAND_WRITE, "write" },
        { COMMAND_READ, "readonly" },
        { COMMAND_DENYOOM, "denyoom" },
        { COMMAND_ADMIN, "admin" },
        { COMMAND_PUBSUB, "pubsub" },
        { COMMAND_NOSCRIPT, "noscript" },
        { COMMAND_BLOCKING, "blocking" },
        { COMMAND_LOADING, "loading" },
        { COMMAND_STALE, "stale" },
        { COMMAND_SKIP_SLOWLOG, "skip_slowlog" },
        { COMMAND_FAST, "fast" },
        { COMMAND_NOAUTH, "no_auth" },
        { COMMAND_MOVABLE_KEYS, "movablekeys" },
        { COMMAND_NOMULTI, "no_multi" },
    };
    uint32_t count = 0;
    for (uint32_t i = 0; i < ARRAY_COUNT(names); i++) {
        count += (flags & names[i].flag) != 0;
    }
    reply_set(reply, count);
    for (uint32_t i = 0; i < ARRAY_COUNT(names); i++) {
        if ((flags & names[i].flag) != 0) {
            reply_status(reply, names[i].name);
        }
    }
}

/* One specification says it all: keys from `first` on, at a step, up to `last`. */
static void key_specs_reply(struct reply *reply, const struct command_view *view)
{
    if (view->first_key == 0) {
        reply_set(reply, 0);
        return;
    }
    int16_t last = view->last_key;
    reply_set(reply, 1);
    reply_map(reply, 3);
    reply_text(reply, "flags");
    key_flags_reply(reply, view);
    reply_text(reply, "begin_search");
    reply_map(reply, 2);
    reply_field_text(reply, "type", "index");
    reply_text(reply, "spec");
    reply_map(reply, 1);
    reply_field_integer(reply, "index", (uint64_t)view->first_key);
    reply_text(reply, "find_keys");
    reply_map(reply, 2);
    reply_field_text(reply, "type", "range");
    reply_text(reply, "spec");
    reply_map(reply, 3);
    reply_text(reply, "lastkey"); /* relative to the first unless it counts from the end */
    reply_integer(reply, last >= 0 ? last - view->first_key : last);
    reply_field_integer(reply, "keystep", (uint64_t)view->key_step);
    reply_field_integer(reply, "limit", 0);
}

/* What a command does with its keys (RO, RW, OW, RM) and with their values. */
static void key_flags_reply(struct reply *reply, const struct command_view *view)
{
    static const struct {
        const char *names, *flags[4];
    } table[] = {
        { " exists touch type strlen object|encoding object|freq object|idletime object|refcount "
          "memory|usage ",
          { "RO" } },
        { " set ", { "RW", "access", "update", "variable_flags" } },
        { " getset getex incr decr incrby decrby incrbyfloat ", { "RW", "access", "update" } },
        { " getdel ", { "RW", "access", "delete" } },
        { " append ", { "RW", "insert" } },
        { " setnx msetnx ", { "OW", "insert" } },
        { " setex psetex mset restore ", { "OW", "update" } },
        { " del unlink ", { "RM", "delete" } },
        { " rename renamenx ", { "RW", "access", "delete" } },
    };
    static const char *const read_flags[4] = { "RO", "access" };
    static const char *const write_flags[4] = { "RW", "update" };
    const char *const *flags = (view->flags & COMMAND_WRITE) != 0 ? write_flags : read_flags;
    char padded[48];
    (void)snprintf(padded, sizeof(padded), " %s ", view->name);
    for (uint32_t i = 0; i < ARRAY_COUNT(table); i++) {
        if (strstr(table[i].names, padded) != NULL) {
            flags = table[i].flags;
        }
    }
    uint32_t count = 0;
    while (count < 4 && flags[count] != NULL) {
        count++;
    }
    reply_set(reply, count);
    for (uint32_t i = 0; i < count; i++) {
        reply_status(reply, flags[i]);
    }
}

/* ── COMMAND GETKEYS ─────────────────────────────────────────────────────────────────────────── */

/* COMMAND GETKEYS name [argument ...] */
static void getkeys(struct command_ctx *ctx, bool with_flags)
{
    const struct slice *argv = ctx->argv + 2;
    uint32_t argc = ctx->argc - 2;
    const struct command *command = command_lookup(argv[0]);
    const struct subcommand *subcommand = NULL;
    if (command != NULL && command_subcommand_at(command, 0) != NULL && argc > 1) {
        subcommand = command_subcommand_lookup(command, argv[1]);
        command = subcommand == NULL ? NULL : command;
    }
    if (command == NULL) {
        reply_error(ctx->reply, "ERR Invalid command specified");
        return;
    }
    struct command_view view = command_view_of(command, subcommand);
    struct command shape = { .first_key = view.first_key,
                             .last_key = view.last_key,
                             .key_step = view.key_step,
                             .arity = view.arity };
    uint32_t first = 0;
    uint32_t last = 0;
    uint32_t step = 0;
    if (view.first_key == 0) {
        reply_error(ctx->reply, "ERR The command has no key arguments");
    } else if (!command_arity_ok(&shape, argc)) {
        reply_error(ctx->reply, "ERR Invalid number of arguments specified for command");
    } else if (!command_keys(&shape, argc, &first, &last, &step)) {
        reply_error(ctx->reply, "ERR Invalid arguments specified for command");
    } else {
        reply_array(ctx->reply, (last - first) / step + 1);
        for (uint32_t i = first; i <= last; i += step) {
            if (with_flags) {
                reply_array(ctx->reply, 2);
            }
            reply_bulk(ctx->reply, argv[i]);
            if (with_flags) {
                key_flags_reply(ctx->reply, &view);
            }
        }
    }
}
