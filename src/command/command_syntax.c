/*
 * command_syntax.c — parses syntax lines into trees.
 *
 * While a bracket is open its node is a ONEOF whose children are BLOCKs, one an alternative.  When
 * it closes, what has a single child is replaced by that child, so that [NX] becomes an optional
 * token and not a choice of one sequence of one token.
 *
 * Read next: command_docs.c.
 */
#include "command/command_syntax.h"

#include "base/assert.h"

enum { NONE = -1, DEPTH_MAX = 4 };

struct parser {
    struct syntax *syntax;
    const char *at;
    int16_t open[DEPTH_MAX]; /* ONEOF nodes of the brackets entered */
    uint32_t depth;
    int16_t block; /* where the next word goes */
    bool has_dots[DEPTH_MAX];
};

static int16_t node_new(struct syntax *syntax, int16_t parent, enum syntax_kind kind);
static int16_t last_child(const struct syntax *syntax, int16_t parent);
static void unlink_last(struct syntax *syntax, int16_t parent);
static void link_last(struct syntax *syntax, int16_t parent, int16_t child);
static int16_t only_child(const struct syntax *syntax, int16_t node);
static void word_add(struct parser *parser);
static void bracket_open(struct parser *parser);
static void bracket_close(struct parser *parser, bool is_optional);
static bool repeats_last(struct parser *parser, int16_t block, bool is_multiple);

void syntax_parse(struct syntax *syntax, const char *line)
{
    *syntax = (struct syntax){ .count = 0 };
    struct parser parser = { .syntax = syntax, .at = line };
    parser.block = node_new(syntax, NONE, SYNTAX_BLOCK);
    while (*parser.at != '\0') {
        switch (*parser.at) {
        case ' ':
            parser.at++;
            break;
        case '[':
        case '<':
            bracket_open(&parser);
            break;
        case ']':
        case '>':
            bracket_close(&parser, *parser.at == ']');
            break;
        case '|':
            ASSERT(parser.depth > 0);
            parser.at++;
            parser.block = node_new(syntax, parser.open[parser.depth - 1], SYNTAX_BLOCK);
            break;
        case '.':
            ASSERT(parser.depth > 0 && strncmp(parser.at, "...", 3) == 0);
            parser.at += 3;
            parser.has_dots[parser.depth - 1] = true;
            break;
        default:
            word_add(&parser);
        }
    }
    ASSERT(parser.depth == 0);
}

uint32_t syntax_children(const struct syntax *syntax, int16_t node)
{
    uint32_t count = 0;
    for (int16_t c = syntax->nodes[node].first_child; c != NONE; c = syntax->nodes[c].next) {
        count++;
    }
    return count;
}

int16_t syntax_next(const struct syntax *syntax, int16_t node)
{
    if (syntax->nodes[node].first_child != NONE) {
        return syntax->nodes[node].first_child;
    }
    while (node != NONE && syntax->nodes[node].next == NONE) {
        node = syntax->nodes[node].parent;
    }
    return node == NONE ? (int16_t)NONE : syntax->nodes[node].next;
}

/* ── words ───────────────────────────────────────────────────────────────────────────────────── */

/* A token, an argument, or the argument that the token before it announces. */
static void word_add(struct parser *parser)
{
    struct syntax *syntax = parser->syntax;
    const char *begin = parser->at;
    bool is_token = true;
    while (*parser->at != '\0' && strchr(" []<>|", *parser->at) == NULL) {
        is_token = is_token && !(*parser->at >= 'a' && *parser->at <= 'z');
        parser->at++;
    }
    struct slice word = slice_make(begin, (size_t)(parser->at - begin));
    ASSERT(word.size > 0);
    int16_t last = last_child(syntax, parser->block);
    if (!is_token && last != NONE && syntax->nodes[last].kind == SYNTAX_TOKEN) {
        syntax->nodes[last].kind = SYNTAX_ARGUMENT;
        syntax->nodes[last].name = word;
        return;
    }
    int16_t node = node_new(syntax, parser->block, is_token ? SYNTAX_TOKEN : SYNTAX_ARGUMENT);
    *(is_token ? &syntax->nodes[node].token : &syntax->nodes[node].name) = word;
}

/* ── brackets ────────────────────────────────────────────────────────────────────────────────── */

static void bracket_open(struct parser *parser)
{
    ASSERT(parser->depth < DEPTH_MAX);
    parser->at++;
    int16_t choice = node_new(parser->syntax, parser->block, SYNTAX_ONEOF);
    parser->has_dots[parser->depth] = false;
    parser->open[parser->depth++] = choice;
    parser->block = node_new(parser->syntax, choice, SYNTAX_BLOCK);
}

static void bracket_close(struct parser *parser, bool is_optional)
{
    ASSERT(parser->depth > 0);
    struct syntax *syntax = parser->syntax;
    parser->at++;
    parser->depth--;
    bool is_multiple = parser->has_dots[parser->depth];
    int16_t choice = parser->open[parser->depth];
    int16_t outer = syntax->nodes[choice].parent;
    ASSERT(last_child(syntax, outer) == choice);

    /* Alternatives of one part are that part. */
    int16_t alternative = syntax->nodes[choice].first_child;
    syntax->nodes[choice].first_child = NONE;
    while (alternative != NONE) {
        int16_t next = syntax->nodes[alternative].next;
        int16_t only = only_child(syntax, alternative);
        link_last(syntax, choice, only != NONE ? only : alternative);
        alternative = next;
    }
    /* So is a choice of one. */
    int16_t only = only_child(syntax, choice);
    int16_t result = only != NONE ? only : choice;
    unlink_last(syntax, outer);
    parser->block = outer;
    if (is_multiple && repeats_last(parser, result, is_multiple)) {
        return;
    }
    link_last(syntax, outer, result);
    syntax->nodes[result].is_optional = is_optional;
    syntax->nodes[result].is_multiple |= is_multiple;
}

/* `key value [key value ...]`: the words before the bracket become a block that may be repeated. */
static bool repeats_last(struct parser *parser, int16_t repeated, bool is_multiple)
{
    struct syntax *syntax = parser->syntax;
    int16_t outer = parser->block;
    bool is_block = syntax->nodes[repeated].kind == SYNTAX_BLOCK;
    uint32_t count = is_block ? syntax_children(syntax, repeated) : 1;
    uint32_t before = syntax_children(syntax, outer);
    if (before < count) {
        return false;
    }
    int16_t first = syntax->nodes[outer].first_child;
    int16_t previous = NONE;
    for (uint32_t i = 0; i < before - count; i++) {
        previous = first;
        first = syntax->nodes[first].next;
    }
    int16_t a = first;
    int16_t b = is_block ? syntax->nodes[repeated].first_child : repeated;
    for (uint32_t i = 0; i < count; i++) {
        /* A list announced by a token repeats only its words: ID id [id ...]. */
        bool is_list = count == 1 && syntax->nodes[b].token.size == 0;
        if (!slice_equal(syntax->nodes[a].name, syntax->nodes[b].name) ||
            (!is_list && !slice_equal(syntax->nodes[a].token, syntax->nodes[b].token))) {
            return false;
        }
        a = syntax->nodes[a].next;
        b = syntax->nodes[b].next;
    }
    if (count == 1) {
        syntax->nodes[first].is_multiple = is_multiple;
        return true;
    }
    /* The repeated block itself takes the place of the words. */
    *(previous == NONE ? &syntax->nodes[outer].first_child : &syntax->nodes[previous].next) = NONE;
    link_last(syntax, outer, repeated);
    syntax->nodes[repeated].is_multiple = is_multiple;
    return true;
}

/* ── the tree ────────────────────────────────────────────────────────────────────────────────── */

static int16_t node_new(struct syntax *syntax, int16_t parent, enum syntax_kind kind)
{
    ASSERT(syntax->count < SYNTAX_NODES_MAX);
    int16_t node = (int16_t)syntax->count++;
    syntax->nodes[node] =
        (struct syntax_node){ .kind = kind, .parent = NONE, .first_child = NONE, .next = NONE };
    if (parent != NONE) {
        link_last(syntax, parent, node);
    }
    return node;
}

static int16_t last_child(const struct syntax *syntax, int16_t parent)
{
    int16_t child = syntax->nodes[parent].first_child;
    while (child != NONE && syntax->nodes[child].next != NONE) {
        child = syntax->nodes[child].next;
    }
    return child;
}

static void link_last(struct syntax *syntax, int16_t parent, int16_t child)
{
    int16_t last = last_child(syntax, parent);
    *(last == NONE ? &syntax->nodes[parent].first_child : &syntax->nodes[last].next) = child;
    syntax->nodes[child].parent = parent;
    syntax->nodes[child].next = NONE;
}

static void unlink_last(struct syntax *syntax, int16_t parent)
{
    int16_t *link = &syntax->nodes[parent].first_child;
    ASSERT(*link != NONE);
    while (syntax->nodes[*link].next != NONE) {
        link = &syntax->nodes[*link].next;
    }
    *link = NONE;
}

static int16_t only_child(const struct syntax *syntax, int16_t node)
{
    int16_t child = syntax->nodes[node].first_child;
    bool is_only = child != NONE && syntax->nodes[child].next == NONE;
    return is_only ? child : (int16_t)NONE;
}
