/*
 * cli_resp.c — parsing replies, a line or a piece of a string at a time.
 */
#include "cli_resp.h"

#include "base/mem.h"
#include "base/text.h"

#include <stdio.h>

void cli_parser_deinit(struct cli_parser *parser)
{
    mem_free(parser->reply.nodes);
    buffer_free(&parser->reply.text);
    buffer_free(&parser->line);
    *parser = (struct cli_parser){ 0 };
}

void cli_parser_next(struct cli_parser *parser)
{
    parser->reply.count = 0;
    parser->reply.text.size = 0;
    parser->line.size = 0;
    parser->in_bulk = false;
    parser->in_attribute = false;
    parser->depth = 0;
}

static enum cli_parse bad(struct cli_parser *parser, const char *why)
{
    (void)snprintf(parser->error, sizeof(parser->error), "%s", why);
    return CLI_PARSE_BAD;
}

static struct cli_node *node_add(struct cli_parser *parser, enum cli_kind kind)
{
    struct cli_reply *reply = &parser->reply;
    if (reply->count == reply->capacity) {
        reply->capacity = reply->capacity == 0 ? 64 : reply->capacity * 2;
        reply->nodes = mem_realloc(reply->nodes, reply->capacity * sizeof(*reply->nodes));
    }
    struct cli_node *node = &reply->nodes[reply->count++];
    *node = (struct cli_node){ .kind = kind, .end = reply->count, .text = reply->text.size };
    return node;
}

/* A value has ended: so have the aggregates whose last child it was. */
static enum cli_parse value_ended(struct cli_parser *parser)
{
    while (parser->depth > 0) {
        if (--parser->stack[parser->depth - 1].left > 0) {
            return CLI_PARSE_MORE;
        }
        parser->depth--;
        parser->reply.nodes[parser->stack[parser->depth].node].end = parser->reply.count;
    }
    if (parser->in_attribute) {
        cli_parser_next(parser);
        return CLI_PARSE_MORE;
    }
    return CLI_PARSE_DONE;
}

static void text_add(struct cli_parser *parser, struct slice text)
{
    struct cli_node *node = &parser->reply.nodes[parser->reply.count - 1];
    buffer_append_slice(&parser->reply.text, text);
    node->size += text.size;
}

static enum cli_parse aggregate_begin(struct cli_parser *parser, enum cli_kind kind, int64_t count)
{
    if (count < 0) {
        (void)node_add(parser, CLI_NULL);
        return value_ended(parser);
    }
    if (count > INT32_MAX || parser->depth == CLI_DEPTH_MAX) {
        return bad(parser, count > INT32_MAX ? "an aggregate is too large"
                                             : "the reply is nested too deeply");
    }
    node_add(parser, kind)->count = (uint32_t)count * (kind == CLI_MAP ? 2 : 1);
    if (count == 0) {
        return value_ended(parser);
    }
    uint32_t index = parser->reply.count - 1;
    parser->stack[parser->depth].node = index;
    parser->stack[parser->depth].left = parser->reply.nodes[index].count;
    parser->depth++;
    return CLI_PARSE_MORE;
}

static enum cli_parse bulk_begin(struct cli_parser *parser, enum cli_kind kind, int64_t size)
{
    if (size < 0) {
        (void)node_add(parser, CLI_NULL);
        return value_ended(parser);
    }
    if (size > CLI_BULK_BYTES_MAX) {
        return bad(parser, "a string is too large");
    }
    (void)node_add(parser, kind);
    parser->in_bulk = true;
    parser->bulk_left = (uint64_t)size + 2;
    return CLI_PARSE_MORE;
}

static enum cli_parse scalar(struct cli_parser *parser, enum cli_kind kind, struct slice text)
{
    (void)node_add(parser, kind);
    text_add(parser, text);
    return value_ended(parser);
}

/* The numbers in headers are plain decimals; "-1" is the old null. */
static enum cli_parse header(struct cli_parser *parser, char type, struct slice rest)
{
    int64_t number = 0;
    if (!text_to_i64(rest, &number) || number < -1) {
        return bad(parser, "a length is not a number");
    }
    switch (type) {
    case '$':
        return bulk_begin(parser, CLI_BULK, number);
    case '!':
        return bulk_begin(parser, CLI_ERROR, number);
    case '=':
        return bulk_begin(parser, CLI_VERBATIM, number);
    case '*':
        return aggregate_begin(parser, CLI_ARRAY, number);
    case '~':
        return aggregate_begin(parser, CLI_SET, number);
    case '>':
        return aggregate_begin(parser, CLI_PUSH, number);
    case '|':
        if (parser->depth > 0) {
            return bad(parser, "an attribute inside a reply");
        }
        parser->in_attribute = true;
        return aggregate_begin(parser, CLI_MAP, number);
    default: /* '%' */
        return aggregate_begin(parser, CLI_MAP, number);
    }
}

static enum cli_parse line_parse(struct cli_parser *parser, struct slice line)
{
    if (line.size == 0) {
        return bad(parser, "an empty line where a reply begins");
    }
    char type = line.data[0];
    struct slice rest = slice_make(line.data + 1, line.size - 1);
    enum cli_parse result = CLI_PARSE_BAD;
    int64_t number = 0;
    switch (type) {
    case '+':
        return scalar(parser, CLI_STATUS, rest);
    case '-':
        return scalar(parser, CLI_ERROR, rest);
    case ',':
        return scalar(parser, CLI_DOUBLE, rest);
    case '(':
        return scalar(parser, CLI_BIGNUM, rest);
    case '_':
        (void)node_add(parser, CLI_NULL);
        return value_ended(parser);
    case ':':
        if (!text_to_i64(rest, &number)) {
            return bad(parser, "an integer is not a number");
        }
        (void)node_add(parser, CLI_INTEGER);
        parser->reply.nodes[parser->reply.count - 1].integer = number;
        text_add(parser, rest);
        return value_ended(parser);
    case '#':
        (void)node_add(parser, CLI_BOOLEAN);
        parser->reply.nodes[parser->reply.count - 1].integer = rest.size == 1 && *rest.data == 't';
        return value_ended(parser);
    case '$':
    case '!':
    case '=':
    case '*':
    case '~':
    case '>':
    case '%':
    case '|':
        return header(parser, type, rest);
    default:
        result = bad(parser, "this is not a server that speaks the Redis protocol");
        return result;
    }
}

/* A verbatim string begins with its format and a colon: three letters that nobody wants to see. */
static void verbatim_strip(struct cli_parser *parser)
{
    struct cli_node *node = &parser->reply.nodes[parser->reply.count - 1];
    if (node->kind == CLI_VERBATIM && node->size >= 4) {
        node->text += 4;
        node->size -= 4;
    }
}

static enum cli_parse bulk_take(struct cli_parser *parser, struct slice *input)
{
    size_t size = input->size < parser->bulk_left ? input->size : (size_t)parser->bulk_left;
    size_t of_text = parser->bulk_left > 2 ? (size_t)(parser->bulk_left - 2) : 0;
    text_add(parser, slice_make(input->data, size < of_text ? size : of_text));
    *input = slice_make(input->data + size, input->size - size);
    parser->bulk_left -= size;
    if (parser->bulk_left > 0) {
        return CLI_PARSE_MORE;
    }
    parser->in_bulk = false;
    verbatim_strip(parser);
    return value_ended(parser);
}

static enum cli_parse line_take(struct cli_parser *parser, struct slice *input)
{
    const char *newline = memchr(input->data, '\n', input->size);
    size_t size = newline != NULL ? (size_t)(newline - input->data) + 1 : input->size;
    buffer_append(&parser->line, input->data, size);
    *input = slice_make(input->data + size, input->size - size);
    if (parser->line.size > CLI_LINE_BYTES_MAX) {
        return bad(parser, "a line is too long");
    }
    if (newline == NULL) {
        return CLI_PARSE_MORE;
    }
    size_t end = parser->line.size - 1;
    if (end > 0 && parser->line.data[end - 1] == '\r') {
        end--;
    }
    enum cli_parse result = line_parse(parser, slice_make(parser->line.data, end));
    parser->line.size = 0;
    return result;
}

enum cli_parse cli_parse(struct cli_parser *parser, struct slice *input)
{
    while (input->size > 0) {
        enum cli_parse result =
            parser->in_bulk ? bulk_take(parser, input) : line_take(parser, input);
        if (result != CLI_PARSE_MORE) {
            return result;
        }
    }
    return CLI_PARSE_MORE;
}

uint32_t cli_map_find(const struct cli_reply *reply, uint32_t node, const char *key)
{
    const struct cli_node *map = &reply->nodes[node];
    if (map->kind != CLI_MAP && map->kind != CLI_ARRAY) {
        return 0;
    }
    uint32_t at = node + 1;
    for (uint32_t i = 0; i + 1 < map->count; i += 2) {
        uint32_t value = reply->nodes[at].end;
        if (!cli_is_aggregate(&reply->nodes[at]) && slice_equal_nocase(cli_text(reply, at), key)) {
            return value;
        }
        at = reply->nodes[value].end;
    }
    return 0;
}

void cli_request(struct buffer *out, const struct slice *args, uint32_t count)
{
    buffer_printf(out, "*%u\r\n", count);
    for (uint32_t i = 0; i < count; i++) {
        buffer_printf(out, "$%zu\r\n", args[i].size);
        buffer_append_slice(out, args[i]);
        buffer_append_text(out, "\r\n");
    }
}
