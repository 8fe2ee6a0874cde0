/*
 * protocol_resp.h — the Redis protocol: requests (multibulk and inline).
 *
 * Incremental without rescanning: feeding a request byte by byte costs linear time.  Memory grows
 * with the bytes that arrive, never with the counts they announce.
 * Error texts are Redis 7.2's ("Protocol error: invalid multibulk length", ...).
 */
#pragma once

#include "base/arena.h"
#include "network/protocol.h"

/* A request that has arrived in part.  Zeroed: at the start of a request. */
struct resp_parser {
    struct slice *argv; /* owned: its complete arguments; NULL when there are none */
    uint32_t argv_capacity;
    uint32_t argc;
    uint32_t args_count; /* arguments announced; 0: the header has not been read */
    size_t scanned;      /* bytes of the input already understood */
    const char *base;    /* where the input lay at the last call: argv points there */
    char error[64];      /* after PARSE_FATAL: "Protocol error: ..." */
};

void resp_parser_init(struct resp_parser *parser);
void resp_parser_deinit(struct resp_parser *parser);
/* Parses one request from the start of `input`.  After PARSE_MORE call again with the same bytes
 * (they may have moved) and more behind them.  After PARSE_REQUEST the arguments point into
 * `input` (of inline commands into the arena), and argv into the arena. */
enum parse_result resp_parse(struct resp_parser *parser, struct slice input,
                             const struct parse_limits *limits, struct arena *arena,
                             struct request *out_request, size_t *out_consumed);
/* Splits a command line as redis-cli does: quotes, \n \r \t \b \a \xHH in double quotes, \' in
 * single quotes.  Returns the count and a mem_alloc'd array whose strings lie behind it in the
 * same allocation, or -1 for unbalanced quotes. */
int64_t resp_split_line(struct slice line, struct slice **out_args);
/* The same into an arena. */
int64_t resp_split_line_arena(struct slice line, struct arena *arena, struct slice **out_args);
