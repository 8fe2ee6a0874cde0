/*
 * command_syntax.h — a command's syntax line as a tree, as COMMAND DOCS describes arguments.
 *
 *   key value [NX | XX] [EX seconds | PX milliseconds]
 *
 *   lower-case word     an argument             [ ... ]      optional
 *   UPPER-CASE word     a token to be typed     < a | b >    one of them is required
 *   TOKEN word          an argument announced   [word ...]   may be repeated; behind the same
 *                       by the token                         words it repeats those
 *
 * The lines stand in command_table.def and are written by us: a malformed one is a bug (ASSERT),
 * and a test parses them all.
 */
#pragma once

#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum { SYNTAX_NODES_MAX = 96 };

enum syntax_kind {
    SYNTAX_ARGUMENT, /* `name` with or without `token` */
    SYNTAX_TOKEN,    /* `token` alone */
    SYNTAX_BLOCK,    /* all children, in order */
    SYNTAX_ONEOF,    /* one of the children */
};

struct syntax_node {
    enum syntax_kind kind;
    bool is_optional, is_multiple;
    struct slice name, token;          /* borrowed from the line; size 0: none */
    int16_t parent, first_child, next; /* -1: none */
};

struct syntax {
    uint32_t count;
    struct syntax_node nodes[SYNTAX_NODES_MAX]; /* [0] is a BLOCK: the whole line */
};

void syntax_parse(struct syntax *syntax, const char *line);
uint32_t syntax_children(const struct syntax *syntax, int16_t node);
/* The node behind `node` in pre-order; -1 at the end. */
int16_t syntax_next(const struct syntax *syntax, int16_t node);
