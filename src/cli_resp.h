/*
 * cli_resp.h — the client's side of the Redis protocol: replies in, requests out.
 *
 * A reply (RESP2 or RESP3) becomes a flat array of nodes in the order they stood on the wire, so
 * that walking it needs no recursion: the children of node i begin at i + 1, and nodes[i].end is
 * where what follows node i begins.  All texts lie in one buffer.
 *
 * The parser is incremental: it takes bytes as they come and costs linear time.  What the server
 * announces is never believed: memory grows with the bytes that arrive, nesting is bounded.
 */
#pragma once

#include "base/buffer.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    CLI_DEPTH_MAX = 32,           /* nesting of a reply */
    CLI_BULK_BYTES_MAX = 1 << 30, /* of one string */
    CLI_LINE_BYTES_MAX = 1 << 20, /* of a status, an error or a number */
};

enum cli_kind {
    CLI_STATUS,
    CLI_ERROR,
    CLI_INTEGER,
    CLI_BULK,
    CLI_NULL,
    CLI_BOOLEAN,
    CLI_DOUBLE,
    CLI_BIGNUM,
    CLI_VERBATIM,
    CLI_ARRAY,
    CLI_MAP, /* its children alternate: key, value */
    CLI_SET,
    CLI_PUSH,
};

struct cli_node {
    enum cli_kind kind;
    uint32_t count;  /* children of an aggregate; a map has twice its pairs */
    uint32_t end;    /* the node behind this one and all below it */
    size_t text;     /* where its text begins in cli_reply.text */
    size_t size;     /* scalars: the text as it stood on the wire (verbatim: without "txt:") */
    int64_t integer; /* integers and booleans */
};

struct cli_reply {
    struct cli_node *nodes; /* owned */
    uint32_t count, capacity;
    struct buffer text;
};

enum cli_parse { CLI_PARSE_DONE, CLI_PARSE_MORE, CLI_PARSE_BAD };

struct cli_parser {
    struct cli_reply reply; /* being built; whole after CLI_PARSE_DONE */
    struct buffer line;     /* the beginning of a line whose end has not come */
    uint64_t bulk_left;     /* bytes of a string, its CRLF included, still to come */
    bool in_bulk;
    bool in_attribute; /* the value being read annotates the reply and is dropped */
    uint32_t depth;
    struct {
        uint32_t node, left; /* children still to come */
    } stack[CLI_DEPTH_MAX];
    char error[96]; /* after CLI_PARSE_BAD */
};

void cli_parser_deinit(struct cli_parser *parser);
/* Takes bytes of one reply from the front of *input and moves *input behind them.  DONE: the reply
 * is in parser->reply until cli_parser_next.  BAD: the connection is of no use any more. */
enum cli_parse cli_parse(struct cli_parser *parser, struct slice *input);
/* Makes ready for the next reply; keeps the memory. */
void cli_parser_next(struct cli_parser *parser);

static inline struct slice cli_text(const struct cli_reply *reply, uint32_t node)
{
    size_t size = reply->nodes[node].size;
    return size == 0 ? slice_make("", 0)
                     : slice_make(reply->text.data + reply->nodes[node].text, size);
}

static inline bool cli_is_aggregate(const struct cli_node *node)
{
    return node->kind >= CLI_ARRAY;
}

/* The value of a key (any case) in the map, or array of pairs, at `node`; 0 when there is none. */
uint32_t cli_map_find(const struct cli_reply *reply, uint32_t node, const char *key);
/* Appends the request. */
void cli_request(struct buffer *out, const struct slice *args, uint32_t count);
