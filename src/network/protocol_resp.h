/*
 * protocol_resp.h — the Redis protocol: requests (multibulk and inline).
 *
 * Incremental without rescanning: feeding a request byte by byte costs linear time.  Memory grows
 * with the bytes that arrive, never with the counts they announce.
 * Error texts are Redis 7.2's ("Protocol error: invalid multibulk length", ...).
 */
#pragma once

#include "network/protocol.h"

struct resp_parser {
    struct slice *argv;     /* owned; grows */
    uint32_t argv_capacity;
    uint32_t argc;          /* complete arguments of the request begun */
    int64_t args_left;      /* -1: at the start of a request */
    int64_t bulk_size;      /* -1: at a bulk header */
    size_t scanned;         /* bytes of the current input already understood */
    char *inline_text;      /* owned: unquoted inline arguments */
    const char *error;      /* static text after PARSE_FATAL; without the "ERR " prefix */
    char error_text[96];
};

void resp_parser_init(struct resp_parser *parser);
void resp_parser_deinit(struct resp_parser *parser);
/* Parses one request from the start of `input`.  After PARSE_MORE call again with the same bytes
 * (they may have moved) and more behind them.  After PARSE_REQUEST the arguments point into
 * `input` (or the parser, for inline commands) and are valid until the next call. */
enum parse_result resp_parse(struct resp_parser *parser, struct slice input,
                             const struct parse_limits *limits, struct request *out_request,
                             size_t *out_consumed);
/* Splits a command line as redis-cli does: quotes, \n \r \t \b \a \xHH in double quotes, \' in
 * single quotes.  Returns the count and a mem_alloc'd array whose strings lie behind it in the
 * same allocation, or -1 for unbalanced quotes. */
int64_t resp_split_line(struct slice line, struct slice **out_args);
