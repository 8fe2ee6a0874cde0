/*
 * command_syntax_test.c — syntax lines parsed and written down again as the tree that came of them.
 */
#include "test.h"

#include "base/buffer.h"
#include "base/mem.h"
#include "command/command.h"
#include "command/command_syntax.h"

/* In parentheses behind each node: b for a block, o for a choice; then ? and + for its flags. */
static void tree_print(const struct syntax *syntax, struct buffer *out)
{
    out->size = 0;
    for (int16_t at = syntax_next(syntax, 0); at >= 0; at = syntax_next(syntax, at)) {
        const struct syntax_node *node = &syntax->nodes[at];
        for (int16_t up = node->parent; up > 0; up = syntax->nodes[up].parent) {
            buffer_append_byte(out, '.');
        }
        buffer_append_slice(out, node->token);
        if (node->token.size > 0 && node->name.size > 0) {
            buffer_append_byte(out, '=');
        }
        buffer_append_slice(out, node->name);
        buffer_append_text(out, node->kind == SYNTAX_BLOCK   ? "(b)"
                                : node->kind == SYNTAX_ONEOF ? "(o)"
                                                             : "");
        buffer_append_text(out, node->is_optional ? "?" : "");
        buffer_append_text(out, node->is_multiple ? "+" : "");
        buffer_append_byte(out, ' ');
    }
    buffer_append_byte(out, '\0');
}

static const struct {
    const char *line, *tree;
} rows[] = {
    { "", "" },
    { "key", "key " },
    { "key value", "key value " },
    { "key [key ...]", "key+ " },
    { "key value [key value ...]", "(b)+ .key .value " },
    { "a key value [key value ...]", "a (b)+ .key .value " },
    { "[name ...]", "name?+ " },
    { "[name [name ...]]", "name?+ " },
    { "[NX | XX] [GET]", "(o)? .NX .XX GET? " },
    { "[EX seconds | KEEPTTL]", "(o)? .EX=seconds .KEEPTTL " },
    { "[LIMIT offset count]", "(b)? .LIMIT=offset .count " },
    { "<host port | NO ONE>", "(o) .(b) ..host ..port .(b) ..NO ..ONE " },
    { "a [DB b] [REPLACE]", "a DB=b? REPLACE? " },
    { "[protover [AUTH username password] [SETNAME name]]",
      "(b)? .protover .(b)? ..AUTH=username ..password .SETNAME=name? " },
    { "<ON | OFF>", "(o) .ON .OFF " },
    { "[TYPE <A | B>] x", "(b)? .TYPE .(o) ..A ..B x " },
    { "[TYPE t] [ID id [id ...]]", "TYPE=t? ID=id?+ " },
    { "key1 key2 [key ...]", "key1 key2 key?+ " },
};

TEST(lines_become_trees)
{
    struct syntax *syntax = mem_alloc(sizeof(*syntax));
    struct buffer text = { 0 };
    for (uint32_t i = 0; i < ARRAY_COUNT(rows); i++) {
        syntax_parse(syntax, rows[i].line);
        tree_print(syntax, &text);
        if (strcmp(text.data, rows[i].tree) != 0) {
            char message[512];
            (void)snprintf(message, sizeof(message), "%s: %s", rows[i].line, text.data);
            test_fail(__FILE__, __LINE__, message);
        }
    }
    buffer_free(&text);
    mem_free(syntax);
}

TEST(every_line_of_the_table_parses)
{
    struct syntax *syntax = mem_alloc(sizeof(*syntax));
    for (uint32_t id = 0; id < command_count(); id++) {
        const struct command *command = command_at(id);
        syntax_parse(syntax, command->arguments);
        CHECK_EQ(syntax_children(syntax, 0) > 0, *command->arguments != '\0');
        const struct subcommand *row = NULL;
        for (uint32_t at = 0; (row = command_subcommand_at(command, at)) != NULL; at++) {
            syntax_parse(syntax, row->arguments);
            CHECK_EQ(syntax_children(syntax, 0) > 0, *row->arguments != '\0');
        }
    }
    mem_free(syntax);
}

TEST_MAIN
