/*
 * command_docs.c — COMMAND DOCS: what redis-cli shows as hints and client libraries as help.
 *
 * Everything comes from the table; the arguments are the syntax line as a tree (command_syntax.h),
 * written in pre-order, so nothing here needs recursion.
 *
 * Read next: cmd_command.c.
 */
#include "command/command_docs.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/text.h"
#include "command/command_syntax.h"

struct docs_entry {
    const char *summary, *since, *group, *complexity, *arguments;
    bool has_keys;
};

static void docs_reply(struct reply *reply, const struct docs_entry *entry, uint32_t subcommands);
static void arguments_reply(struct reply *reply, const char *line, bool has_keys);
static void argument_reply(struct reply *reply, const struct syntax *syntax, int16_t at,
                           bool has_keys);
static void reply_lower(struct reply *reply, struct slice text);
static const char *argument_type(const struct syntax_node *node);

void docs_reply_command(struct reply *reply, const struct command *command)
{
    struct docs_entry entry = {
        .summary = command->summary,
        .since = command->since,
        .group = command->group,
        .complexity = command->complexity,
        .arguments = command->arguments,
        .has_keys = command->first_key > 0,
    };
    uint32_t count = 0;
    while (command_subcommand_at(command, count) != NULL) {
        count++;
    }
    docs_reply(reply, &entry, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct subcommand *row = command_subcommand_at(command, i);
        reply_subcommand_name(reply, row);
        docs_reply_subcommand(reply, command, row);
    }
}

void docs_reply_subcommand(struct reply *reply, const struct command *parent,
                           const struct subcommand *subcommand)
{
    struct docs_entry entry = {
        .summary = subcommand->summary,
        .since = subcommand->since,
        .group = parent->group,
        .complexity = subcommand->complexity,
        .arguments = subcommand->arguments,
        .has_keys = subcommand->first_key > 0,
    };
    docs_reply(reply, &entry, 0);
}

void reply_subcommand_name(struct reply *reply, const struct subcommand *subcommand)
{
    reply_text(reply, subcommand->full_name);
}

/* Ends with the header of the map of subcommands when there are any: the caller fills it. */
static void docs_reply(struct reply *reply, const struct docs_entry *entry, uint32_t subcommands)
{
    bool has_arguments = *entry->arguments != '\0';
    bool has_complexity = *entry->complexity != '\0';
    reply_map(reply, 3u + has_complexity + has_arguments + (subcommands > 0));
    reply_field_text(reply, "summary", entry->summary);
    reply_field_text(reply, "since", entry->since);
    reply_field_text(reply, "group", entry->group);
    if (has_complexity) {
        reply_field_text(reply, "complexity", entry->complexity);
    }
    if (has_arguments) {
        reply_text(reply, "arguments");
        arguments_reply(reply, entry->arguments, entry->has_keys);
    }
    if (subcommands > 0) {
        reply_text(reply, "subcommands");
        reply_map(reply, subcommands);
    }
}

static void arguments_reply(struct reply *reply, const char *line, bool has_keys)
{
    struct syntax *syntax = mem_alloc(sizeof(*syntax));
    syntax_parse(syntax, line);
    reply_array(reply, syntax_children(syntax, 0));
    for (int16_t at = syntax_next(syntax, 0); at >= 0; at = syntax_next(syntax, at)) {
        argument_reply(reply, syntax, at, has_keys);
    }
    mem_free(syntax);
}

/* One argument; for those with children it ends behind the header of their array. */
static void argument_reply(struct reply *reply, const struct syntax *syntax, int16_t at,
                           bool has_keys)
{
    const struct syntax_node *node = &syntax->nodes[at];
    const char *type = argument_type(node);
    bool is_key = has_keys && strcmp(type, "key") == 0;
    uint32_t flags = (uint32_t)node->is_optional + node->is_multiple;
    uint32_t children = syntax_children(syntax, at);
    reply_map(reply, 2u + is_key + (node->token.size > 0) + (flags > 0) + (children > 0));
    reply_text(reply, "name");
    if (node->name.size > 0 || node->token.size > 0) {
        reply_lower(reply, node->name.size > 0 ? node->name : node->token);
    } else {
        reply_text(reply, node->kind == SYNTAX_ONEOF ? "option" : "data");
    }
    reply_field_text(reply, "type", type);
    if (is_key) {
        reply_field_integer(reply, "key_spec_index", 0);
    }
    if (node->token.size > 0) {
        reply_text(reply, "token");
        reply_bulk(reply, node->token);
    }
    if (flags > 0) {
        reply_text(reply, "flags");
        reply_set(reply, flags);
    }
    if (node->is_optional) {
        reply_status(reply, "optional");
    }
    if (node->is_multiple) {
        reply_status(reply, "multiple");
    }
    if (children > 0) {
        reply_text(reply, "arguments");
        reply_array(reply, children);
    }
}

static void reply_lower(struct reply *reply, struct slice text)
{
    char lower[64];
    ASSERT(text.size <= sizeof(lower));
    for (size_t i = 0; i < text.size; i++) {
        lower[i] = text_lower(text.data[i]);
    }
    reply_bulk(reply, slice_make(lower, text.size));
}

/* Redis keeps a type with every argument; here the names are uniform enough to tell it from them.
 */
static const char *argument_type(const struct syntax_node *node)
{
    static const struct {
        const char *name, *type;
    } types[] = {
        { "key*", "key" },          { "newkey", "key" },        { "source", "key" },
        { "destination", "key" },   { "pattern", "pattern" },   { "unix-time*", "unix-time" },
        { "*seconds", "integer" },  { "count", "integer" },     { "offset", "integer" },
        { "start", "integer" },     { "end", "integer" },       { "cursor", "integer" },
        { "timeout", "integer" },   { "port", "integer" },      { "index", "integer" },
        { "index1", "integer" },    { "index2", "integer" },    { "client-id", "integer" },
        { "slot", "integer" },      { "*-len", "integer" },     { "num*", "integer" },
        { "protover", "integer" },  { "ttl", "integer" },       { "destination-db", "integer" },
        { "increment", "integer" }, { "decrement", "integer" },
    };
    switch (node->kind) {
    case SYNTAX_TOKEN:
        return "pure-token";
    case SYNTAX_BLOCK:
        return "block";
    case SYNTAX_ONEOF:
        return "oneof";
    case SYNTAX_ARGUMENT:
        break;
    }
    for (uint32_t i = 0; i < ARRAY_COUNT(types); i++) {
        if (text_glob(slice_from(types[i].name), node->name, /* ignore_case= */ false)) {
            return types[i].type;
        }
    }
    return "string";
}
