/*
 * command_docs.h — the documentation of a command as COMMAND DOCS shows it.
 */
#pragma once

#include "command/admin.h"

/* One map; that of a container holds its subcommands. */
void docs_reply_command(struct reply *reply, const struct command *command);
void docs_reply_subcommand(struct reply *reply, const struct command *parent,
                           const struct subcommand *subcommand);
/* "config|get" */
void reply_subcommand_name(struct reply *reply, const struct subcommand *subcommand);
