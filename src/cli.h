/*
 * cli.h — what the parts of minidb-cli share.
 *
 * Read next: cli.c (options, one command), cli_shell.c (interactive), cli_pipe.c (commands from a
 * pipe), cli_watch.c (--latency, --stat, progress).
 */
#pragma once

#include "cli_conn.h"
#include "cli_help.h"
#include "cli_line.h"
#include "cli_print.h"

struct cli {
    struct cli_conn conn;
    struct cli_help help;
    enum cli_style style;
    bool is_terminal; /* standard output */
};

/* Each returns the program's exit status. */
int cli_shell_run(struct cli *cli);
int cli_pipe_run(struct cli *cli);
int cli_latency_run(struct cli *cli);
int cli_stat_run(struct cli *cli);

/* After a command that goes on in the background (BGSAVE, SNAPSHOT): shows how far it is, on a
 * terminal, until it has ended or Ctrl-C. */
void cli_watch(struct cli *cli, const struct slice *args, uint32_t count);
/* Writes text to standard output, unless Ctrl-C (conn.cancel_fd) says enough. */
void cli_write(struct cli *cli, struct slice text);
/* True when the last reply is an error. */
bool cli_reply_is_error(const struct cli *cli);
