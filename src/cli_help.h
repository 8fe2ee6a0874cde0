/*
 * cli_help.h — what commands there are, for help, completion and hints.
 *
 * The server says so (COMMAND DOCS).  When it does not, the table this client was built with stands
 * in.
 */
#pragma once

#include "cli_resp.h"

#include <stdbool.h>
#include <stdint.h>

struct cli_conn;

struct cli_command {
    char *name;                                 /* owned; upper case, "SET" or "CONFIG GET" */
    char *syntax;                               /* owned; what stands behind the name */
    char *summary, *since, *group, *complexity; /* owned; "" when unknown */
};

struct cli_help {
    struct cli_command *commands; /* owned; sorted by name */
    uint32_t count, capacity;
};

/* From the server when it can be asked, else from the built-in table. */
void cli_help_load(struct cli_help *help, struct cli_conn *conn);
/* From the reply to COMMAND DOCS. */
void cli_help_parse(struct cli_help *help, const struct cli_reply *reply);
void cli_help_free(struct cli_help *help);
/* The command that a line's words begin with, subcommand included; NULL when unknown. */
const struct cli_command *cli_help_find(const struct cli_help *help, const struct slice *args,
                                        uint32_t count);
/* The text of `help`, `help set`, `help config get`, `help @string`. */
void cli_help_print(const struct cli_help *help, const struct slice *args, uint32_t count,
                    struct buffer *out);
/* The at'th name that continues `typed` (a beginning of one or two words), or NULL: names without
 * subcommand while the first word is being typed. */
const char *cli_help_candidate(const struct cli_help *help, struct slice typed, uint32_t at);
/* True when a built-in command has this name (one word). */
bool cli_help_is_command(struct slice word);
