/*
 * cli_conn.h — one connection to a server: open, send, receive, for a program that can wait.
 *
 * Opening also says HELLO and authenticates.  A connection that broke is closed and can be opened
 * again.  While waiting, a readable `cancel_fd` (Ctrl-C) ends the wait with -EINTR; the connection
 * is closed then, because the reply to come would answer the wrong command.
 */
#pragma once

#include "base/compiler.h"
#include "cli_resp.h"

#include <stdbool.h>
#include <stdint.h>

enum { CLI_CONNECT_MS = 5000, CLI_PORT_DEFAULT = 7001 };

struct cli_conn {
    char *host; /* owned */
    uint16_t port;
    char *user, *password; /* owned; NULL: none */
    bool wants_resp3;
    bool is_resp3;
    int fd;        /* -1: closed */
    int cancel_fd; /* borrowed; -1: none */
    struct cli_parser parser;
    bool has_reply;      /* the parser holds a reply that was handed out */
    struct buffer input; /* received; parsed up to input_at */
    size_t input_at;
    struct buffer output;
    uint64_t sent_bytes, received_bytes;
    char error[256]; /* why the last call failed, for people */
};

void cli_conn_init(struct cli_conn *conn);
void cli_conn_deinit(struct cli_conn *conn);
/* Where to connect to from now on. */
void cli_conn_target(struct cli_conn *conn, struct slice host, uint16_t port);
/* Connects (closing what was open), authenticates, negotiates.  < 0: conn->error says why. */
MUST_USE int cli_conn_open(struct cli_conn *conn);
void cli_conn_close(struct cli_conn *conn);
/* Sends one command and waits for its reply, which is conn->parser.reply until the next call. < 0:
 * the connection is closed; -EINTR: by Ctrl-C. */
MUST_USE int cli_conn_command(struct cli_conn *conn, const struct slice *args, uint32_t count);
/* Takes the next reply out of what has been received.  MORE: receive first. */
enum cli_parse cli_conn_next(struct cli_conn *conn);
/* Receives once what is there, without waiting: bytes, 0 when there is nothing, < 0 (and closed)
 * when the connection has ended. */
int64_t cli_conn_receive(struct cli_conn *conn);
/* Sends what the socket takes of conn->output, without waiting.  < 0: closed. */
int64_t cli_conn_flush(struct cli_conn *conn);
/* "127.0.0.1:7001" or "[::1]:7001". */
void cli_conn_name(const struct cli_conn *conn, char *out, size_t size);
