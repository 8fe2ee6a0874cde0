/*
 * cli_help.c — the list of commands, from COMMAND DOCS or built in.
 */
#include "cli_help.h"

#include "base/mem.h"
#include "base/text.h"
#include "cli_conn.h"

#include <ctype.h>
#include <stdlib.h>

/* ── the table this client was built with ────────────────────────────────────────────────────── */

struct builtin {
    const char *parent, *name, *group, *since, *complexity, *syntax, *summary;
};

static const struct builtin builtins[] = {
#define COMMAND(name, function, prepare, arity, opcode, flags, spread, first, last, step, group,   \
                since, complexity, arguments, summary)                                             \
    { "", #name, group, since, complexity, arguments, summary },
#define SUBCOMMAND(parent, name, function, arity, flags, first, last, step, since, complexity,     \
                   arguments, summary)                                                             \
    { #parent, #name, "", since, complexity, arguments, summary },
#include "command/command_table.def"
#undef COMMAND
#undef SUBCOMMAND
};

static const size_t builtins_count = sizeof(builtins) / sizeof(builtins[0]);

bool cli_help_is_command(struct slice word)
{
    for (size_t i = 0; i < builtins_count; i++) {
        if (builtins[i].parent[0] == '\0' && slice_equal_nocase(word, builtins[i].name)) {
            return true;
        }
    }
    return false;
}

/* ── the list ────────────────────────────────────────────────────────────────────────────────── */

static char *text_own(struct slice text)
{
    char *copy = mem_alloc(text.size + 1);
    if (text.size > 0) {
        memcpy(copy, text.data, text.size);
    }
    copy[text.size] = '\0';
    return copy;
}

/* "config|get" or "config get" as "CONFIG GET". */
static char *name_own(struct slice name)
{
    char *copy = text_own(name);
    for (char *c = copy; *c != '\0'; c++) {
        *c = *c == '|' ? ' ' : (char)toupper((unsigned char)*c);
    }
    return copy;
}

static struct cli_command *command_add(struct cli_help *help, struct slice name)
{
    if (help->count == help->capacity) {
        help->capacity = help->capacity == 0 ? 256 : help->capacity * 2;
        help->commands = mem_realloc(help->commands, help->capacity * sizeof(*help->commands));
    }
    struct cli_command *command = &help->commands[help->count++];
    command->name = name_own(name);
    return command;
}

static int command_compare(const void *a, const void *b)
{
    return strcmp(((const struct cli_command *)a)->name, ((const struct cli_command *)b)->name);
}

static void builtins_load(struct cli_help *help)
{
    for (size_t i = 0; i < builtins_count; i++) {
        const struct builtin *row = &builtins[i];
        struct buffer name = { 0 };
        buffer_printf(&name, "%s%s%s", row->parent, row->parent[0] != '\0' ? "|" : "", row->name);
        struct cli_command *command = command_add(help, buffer_slice(&name));
        buffer_free(&name);
        command->syntax = text_own(slice_from(row->syntax));
        command->summary = text_own(slice_from(row->summary));
        command->since = text_own(slice_from(row->since));
        command->group = text_own(slice_from(row->group));
        command->complexity = text_own(slice_from(row->complexity));
    }
}

void cli_help_free(struct cli_help *help)
{
    for (uint32_t i = 0; i < help->count; i++) {
        struct cli_command *command = &help->commands[i];
        mem_free(command->name);
        mem_free(command->syntax);
        mem_free(command->summary);
        mem_free(command->since);
        mem_free(command->group);
        mem_free(command->complexity);
    }
    mem_free(help->commands);
    *help = (struct cli_help){ 0 };
}

void cli_help_load(struct cli_help *help, struct cli_conn *conn)
{
    cli_help_free(help);
    struct slice docs[2] = { slice_from("COMMAND"), slice_from("DOCS") };
    if (conn->fd >= 0 && cli_conn_command(conn, docs, 2) == 0) {
        cli_help_parse(help, &conn->parser.reply);
    }
    if (help->count == 0) {
        builtins_load(help);
    }
    qsort(help->commands, help->count, sizeof(*help->commands), command_compare);
}

/* ── from the server ─────────────────────────────────────────────────────────────────────────── */

static struct slice field(const struct cli_reply *reply, uint32_t map, const char *key)
{
    uint32_t at = cli_map_find(reply, map, key);
    return at == 0 ? slice_make(NULL, 0) : cli_text(reply, at);
}

static bool has_flag(const struct cli_reply *reply, uint32_t map, const char *flag)
{
    uint32_t flags = cli_map_find(reply, map, "flags");
    if (flags == 0) {
        return false;
    }
    for (uint32_t at = flags + 1; at < reply->nodes[flags].end; at++) {
        if (slice_equal_nocase(cli_text(reply, at), flag)) {
            return true;
        }
    }
    return false;
}

/* One argument whose text has been begun. */
struct argument {
    size_t start; /* of what is repeated when it is multiple */
    bool is_optional, is_multiple;
    uint32_t next, end; /* its own arguments still to come: nodes */
    const char *separator;
};

static void argument_end(struct buffer *out, const struct argument *argument)
{
    if (argument->is_multiple) {
        struct buffer again = { 0 };
        buffer_append(&again, out->data + argument->start, out->size - argument->start);
        buffer_append_text(out, " [");
        buffer_append_slice(out, buffer_slice(&again));
        buffer_append_text(out, " ...]");
        buffer_free(&again);
    }
    if (argument->is_optional) {
        buffer_append_byte(out, ']');
    }
}

/* Writes the beginning of the argument at `map`: "[", its token, its name.  `out_argument` says
 * what follows. */
static void argument_begin(struct buffer *out, const struct cli_reply *reply, uint32_t map,
                           struct argument *out_argument)
{
    struct slice type = field(reply, map, "type");
    struct slice token = field(reply, map, "token");
    struct slice name = field(reply, map, "display_text");
    name = name.size > 0 ? name : field(reply, map, "name");
    bool is_token = slice_equal(type, slice_from("pure-token"));
    bool repeats_token = has_flag(reply, map, "multiple_token");
    *out_argument = (struct argument){
        .is_optional = has_flag(reply, map, "optional"),
        .is_multiple = repeats_token || has_flag(reply, map, "multiple"),
        .separator = slice_equal(type, slice_from("oneof")) ? " | " : " ",
    };
    buffer_append_text(out, out_argument->is_optional ? "[" : "");
    out_argument->start = out->size;
    if (token.size > 0) {
        buffer_append_slice(out, token);
        buffer_append_text(out, is_token ? "" : " ");
    }
    out_argument->start = repeats_token ? out_argument->start : out->size;
    uint32_t inner = cli_map_find(reply, map, "arguments");
    if (inner != 0) {
        out_argument->next = inner + 1;
        out_argument->end = reply->nodes[inner].end;
    } else if (!is_token) {
        buffer_append_slice(out, name);
    }
}

/* The arguments in the array at `node` as a line of syntax. */
static void syntax_append(struct buffer *out, const struct cli_reply *reply, uint32_t node)
{
    struct argument stack[CLI_DEPTH_MAX];
    uint32_t depth = 1;
    stack[0] =
        (struct argument){ .next = node + 1, .end = reply->nodes[node].end, .separator = " " };
    bool is_first = true;
    while (depth > 0) {
        struct argument *top = &stack[depth - 1];
        if (top->next >= top->end) {
            argument_end(out, top);
            depth--;
            is_first = false;
            continue;
        }
        buffer_append_text(out, is_first ? "" : top->separator);
        uint32_t map = top->next;
        top->next = reply->nodes[map].end;
        if (depth == CLI_DEPTH_MAX) {
            return;
        }
        argument_begin(out, reply, map, &stack[depth++]);
        is_first = true;
    }
}

static void docs_add(struct cli_help *help, const struct cli_reply *reply, struct slice name,
                     uint32_t map)
{
    struct cli_command *command = command_add(help, name);
    struct buffer syntax = { 0 };
    uint32_t arguments = cli_map_find(reply, map, "arguments");
    if (arguments != 0) {
        syntax_append(&syntax, reply, arguments);
    }
    command->syntax = text_own(buffer_slice(&syntax));
    buffer_free(&syntax);
    command->summary = text_own(field(reply, map, "summary"));
    command->since = text_own(field(reply, map, "since"));
    command->group = text_own(field(reply, map, "group"));
    command->complexity = text_own(field(reply, map, "complexity"));
}

/* Adds the commands in the map (or, in RESP2, list of pairs) at `node`; subcommands too. */
static void docs_add_all(struct cli_help *help, const struct cli_reply *reply, uint32_t node)
{
    uint32_t end = reply->nodes[node].end;
    for (uint32_t at = node + 1; at + 1 < end; at = reply->nodes[at + 1].end) {
        if (cli_is_aggregate(&reply->nodes[at])) {
            return;
        }
        docs_add(help, reply, cli_text(reply, at), at + 1);
        uint32_t inner = cli_map_find(reply, at + 1, "subcommands");
        uint32_t inner_end = inner == 0 ? 0 : reply->nodes[inner].end;
        for (uint32_t sub = inner + 1; inner != 0 && sub + 1 < inner_end;
             sub = reply->nodes[sub + 1].end) {
            docs_add(help, reply, cli_text(reply, sub), sub + 1);
        }
    }
}

void cli_help_parse(struct cli_help *help, const struct cli_reply *reply)
{
    if (reply->count > 0 && cli_is_aggregate(&reply->nodes[0])) {
        docs_add_all(help, reply, 0);
    }
}

/* ── finding ─────────────────────────────────────────────────────────────────────────────────── */

static const struct cli_command *find_name(const struct cli_help *help, struct slice first,
                                           struct slice second)
{
    for (uint32_t i = 0; i < help->count; i++) {
        const char *name = help->commands[i].name;
        const char *space = strchr(name, ' ');
        size_t size = space != NULL ? (size_t)(space - name) : strlen(name);
        bool first_fits = size == first.size && strncasecmp(name, first.data, size) == 0;
        bool second_fits = space == NULL ? second.size == 0 : slice_equal_nocase(second, space + 1);
        if (first_fits && second_fits) {
            return &help->commands[i];
        }
    }
    return NULL;
}

const struct cli_command *cli_help_find(const struct cli_help *help, const struct slice *args,
                                        uint32_t count)
{
    const struct cli_command *found = NULL;
    if (count >= 2 && args[1].size > 0) {
        found = find_name(help, args[0], args[1]);
    }
    if (found == NULL && count >= 1) {
        found = find_name(help, args[0], slice_make("", 0));
    }
    return found;
}

const char *cli_help_candidate(const struct cli_help *help, struct slice typed, uint32_t at)
{
    bool has_space = typed.size > 0 && memchr(typed.data, ' ', typed.size) != NULL;
    for (uint32_t i = 0; i < help->count; i++) {
        const char *name = help->commands[i].name;
        bool fits = strlen(name) >= typed.size && strncasecmp(name, typed.data, typed.size) == 0 &&
                    (has_space || strchr(name, ' ') == NULL);
        if (fits && at-- == 0) {
            return name;
        }
    }
    return NULL;
}

/* ── printing ────────────────────────────────────────────────────────────────────────────────── */

static void command_print(struct buffer *out, const struct cli_command *command)
{
    buffer_printf(out, "\n  %s %s\n  summary: %s\n", command->name, command->syntax,
                  command->summary);
    if (command->complexity[0] != '\0') {
        buffer_printf(out, "  complexity: %s\n", command->complexity);
    }
    if (command->since[0] != '\0') {
        buffer_printf(out, "  since: %s\n", command->since);
    }
    if (command->group[0] != '\0') {
        buffer_printf(out, "  group: %s\n", command->group);
    }
}

static const char usage[] =
    "\nhelp <command>     syntax and summary of a command: help set, help config get\n"
    "help @<group>      the commands of a group: help @string\n"
    "<tab>              completes commands and subcommands\n"
    "connect host port  talks to another server\n"
    "clear              clears the screen\n"
    "quit               ends (as Ctrl-D does; Ctrl-C drops the line)\n\ngroups:";

static void groups_print(const struct cli_help *help, struct buffer *out)
{
    buffer_append_text(out, usage);
    for (uint32_t i = 0; i < help->count; i++) {
        const char *group = help->commands[i].group;
        bool is_new = group[0] != '\0';
        for (uint32_t j = 0; j < i && is_new; j++) {
            is_new = strcmp(help->commands[j].group, group) != 0;
        }
        if (is_new) {
            buffer_printf(out, " @%s", group);
        }
    }
    buffer_append_text(out, "\n\n");
}

void cli_help_print(const struct cli_help *help, const struct slice *args, uint32_t count,
                    struct buffer *out)
{
    if (count == 0) {
        groups_print(help, out);
        return;
    }
    size_t before = out->size;
    bool is_group = args[0].size > 1 && args[0].data[0] == '@';
    for (uint32_t i = 0; i < help->count; i++) {
        const struct cli_command *command = &help->commands[i];
        const char *space = strchr(command->name, ' ');
        struct slice first = slice_make(
            command->name, space != NULL ? (size_t)(space - command->name) : strlen(command->name));
        bool fits = is_group ? slice_equal_nocase(slice_make(args[0].data + 1, args[0].size - 1),
                                                  command->group)
                             : first.size == args[0].size &&
                                   strncasecmp(first.data, args[0].data, first.size) == 0;
        if (fits && count > 1 && !is_group) {
            fits = space != NULL && slice_equal_nocase(args[1], space + 1);
        }
        if (fits) {
            command_print(out, command);
        }
    }
    if (out->size == before) {
        buffer_append_text(out, "no help for ");
        buffer_append_slice(out, args[0]);
        buffer_append_text(out, "; help alone says what there is");
    }
    buffer_append_text(out, "\n");
}
