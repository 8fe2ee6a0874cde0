/*
 * args.h — reading arguments with Redis's rules and error texts, and rewriting them for the log.
 *
 * A prepare function that makes something absolute writes the command anew: args_begin, then one
 * args_add an argument.  The log then holds PXAT 1700000000000 where the client said EX 10, and
 * every replica does the same thing whenever it applies it.
 */
#pragma once

#include "base/compiler.h"
#include "command/command.h"

/* Writes "ERR syntax error"; returns 1, as a prepare function that has replied does. */
int args_syntax_error(struct command_ctx *ctx);
/* argv[at] as an integer; false when it is none and the error has been written. */
MUST_USE bool args_i64(struct command_ctx *ctx, uint32_t at, int64_t *out);
bool args_is(const struct command_ctx *ctx, uint32_t at, const char *word);

enum args_time_unit { ARGS_SECONDS, ARGS_MILLISECONDS };
/* A time to live or a point in time (is_relative: from now) as SET and GETEX take it: positive,
 * and without overflow.  False when the error has been written.  Times past EXPIRE_MS_MAX come out
 * as that. */
MUST_USE bool args_expiry(struct command_ctx *ctx, struct slice text, enum args_time_unit unit,
                          bool is_relative, uint64_t *out_ms);
/* "ERR invalid expire time in 'set' command". */
void args_expiry_error(struct command_ctx *ctx);

/* Begins the rewritten command with its name. */
void args_begin(struct command_ctx *ctx, uint32_t id);
void args_add(struct command_ctx *ctx, struct slice arg);
void args_add_word(struct command_ctx *ctx, const char *word);
/* One number a command: it is kept in prepared.text. */
void args_add_u64(struct command_ctx *ctx, uint64_t value);
