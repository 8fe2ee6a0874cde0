/*
 * command_table.h — what expanding command_table.def gives: ids and prototypes.
 *
 * Included by command.c and by every cmd_*.c (so that each function is checked against its row).
 * A function may serve several rows and is then declared several times, which is harmless.
 */
#pragma once

#include "command/command.h"

/* A command's place in the table: COMMAND_ID_get ... */
enum command_id {
#define COMMAND(NAME, ...) COMMAND_ID_##NAME,
#define SUBCOMMAND(...)
#include "command/command_table.def"
#undef COMMAND
#undef SUBCOMMAND
    COMMANDS_COUNT
};

#define COMMAND(NAME, FUNCTION, ...) command_fn FUNCTION;
#define SUBCOMMAND(PARENT, NAME, FUNCTION, ...) command_fn FUNCTION;
#include "command/command_table.def"
#undef COMMAND
#undef SUBCOMMAND

/* Prepare functions: by hand, since most rows have none. */
command_prepare_fn get_prepare, set_prepare, setex_prepare, psetex_prepare, getex_prepare;
command_prepare_fn incrby_prepare, decrby_prepare, incrbyfloat_prepare;
command_prepare_fn setrange_prepare, restore_prepare, copy_prepare, flush_prepare;
command_prepare_fn expire_prepare, pexpire_prepare, expireat_prepare, pexpireat_prepare;
