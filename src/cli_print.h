/*
 * cli_print.h — replies as text: for people, for programs, as JSON, as tables.
 *
 *   CLI_STYLE_TTY    as redis-cli on a terminal: 1) "a", (integer) 3, (nil); tables where they fit
 *   CLI_STYLE_RAW    the bare values, one a line: for pipes
 *   CLI_STYLE_JSON   one JSON value on one line; bytes that are not UTF-8 as {"base64":"..."}
 */
#pragma once

#include "cli_resp.h"

enum cli_style { CLI_STYLE_TTY, CLI_STYLE_RAW, CLI_STYLE_JSON };

/* The reply to the command `args`, with its last newline. */
void cli_print(struct buffer *out, enum cli_style style, const struct cli_reply *reply,
               const struct slice *args, uint32_t count);
/* One value without a newline, as it stands in a cell of a table. */
void cli_print_cell(struct buffer *out, const struct cli_reply *reply, uint32_t node);

/* Prints the reply as a table when it is one: a list of alike maps, a map of a command of ours, the
 * slow log.  False: it is none, nothing was written.  (cli_table.c) */
bool cli_table_print(struct buffer *out, const struct cli_reply *reply, const struct slice *args,
                     uint32_t count);
