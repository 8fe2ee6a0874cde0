/*
 * cli_line.h — command lines: splitting them into arguments, and arguments back into text.
 *
 * The rules are redis-cli's: spaces separate; "..." knows \n \r \t \b \a \xHH and \ before anything
 * else; '...' knows only \'.  A closing quote must be followed by a space or the end.
 */
#pragma once

#include "base/buffer.h"

#include <stdbool.h>
#include <stdint.h>

struct cli_args {
    struct slice *items; /* owned; they point into `text` */
    uint32_t count, capacity;
    struct buffer text; /* owned */
};

/* Splits the line; false: unbalanced quotes.  Reuses the memory of an earlier call. */
bool cli_args_split(struct cli_args *args, struct slice line);
void cli_args_free(struct cli_args *args);
/* Appends the text in double quotes, everything unprintable escaped. */
void cli_quote(struct buffer *out, struct slice text);
/* True for lines that hold a password and must not go into the history. */
bool cli_is_secret(const struct cli_args *args);
/* Why this client cannot run the command (it waits for one reply to each), or NULL. */
const char *cli_refusal(const struct slice *args, uint32_t count);
