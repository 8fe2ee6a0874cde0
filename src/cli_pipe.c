/*
 * cli_pipe.c — commands from standard input, one a line, pipelined.
 *
 * Up to PIPE_WINDOW commands are under way at a time; results go to standard output in order,
 * errors to standard error with the number of their line.  Memory is bounded: input is not read
 * while the window is full or the server takes no more.
 */
#include "cli.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
    PIPE_WINDOW = 4096,
    PIPE_OUTPUT_BYTES_MAX = 1 << 20, /* requests waiting to be sent */
    PIPE_LINE_BYTES_MAX = 64 << 20,
    PIPE_READ_BYTES = 64 << 10,
    PROGRESS_AFTER_MS = 1000,
    PROGRESS_EVERY_MS = 200,
};

struct pipe_run {
    struct cli *cli;
    struct buffer input; /* read, not yet split into lines */
    size_t input_at;     /* of it, already used */
    bool input_ended;
    uint64_t line;                 /* lines taken so far */
    uint64_t lines[PIPE_WINDOW];   /* of the commands under way: a ring */
    uint64_t begun, ended, errors; /* commands */
    struct buffer out;
    struct cli_args args;
    uint64_t started_ms, shown_ms;
    bool shows_progress;
};

static uint64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void progress_clear(struct pipe_run *run)
{
    if (run->shown_ms > 0) {
        (void)fputs("\r\033[K", stderr);
    }
}

static void progress_show(struct pipe_run *run)
{
    uint64_t now = now_ms();
    uint64_t took = now - run->started_ms;
    if (!run->shows_progress || took < PROGRESS_AFTER_MS ||
        now - run->shown_ms < PROGRESS_EVERY_MS) {
        return;
    }
    (void)fprintf(stderr, "\r\033[K%llu commands, %llu errors, %llu/s",
                  (unsigned long long)run->ended, (unsigned long long)run->errors,
                  (unsigned long long)(run->ended * 1000 / took));
    run->shown_ms = now;
}

static void error_print(struct pipe_run *run, uint64_t line, struct slice text)
{
    progress_clear(run);
    (void)fprintf(stderr, "line %llu: %.*s\n", (unsigned long long)line, (int)text.size, text.data);
    run->errors++;
}

/* ── requests ────────────────────────────────────────────────────────────────────────────────── */

static void line_run(struct pipe_run *run, struct slice line)
{
    run->line++;
    if (!cli_args_split(&run->args, line)) {
        error_print(run, run->line, slice_from("unbalanced quotes"));
        return;
    }
    const char *refusal = cli_refusal(run->args.items, run->args.count);
    if (refusal != NULL) {
        error_print(run, run->line, slice_from(refusal));
        return;
    }
    if (run->args.count > 0) {
        cli_request(&run->cli->conn.output, run->args.items, run->args.count);
        run->lines[run->begun++ % PIPE_WINDOW] = run->line;
    }
}

static bool has_room(const struct pipe_run *run)
{
    return run->begun - run->ended < PIPE_WINDOW &&
           run->cli->conn.output.size < PIPE_OUTPUT_BYTES_MAX;
}

/* Turns complete lines into requests, as far as the window allows. */
static void lines_run(struct pipe_run *run)
{
    while (has_room(run) && run->input_at < run->input.size) {
        const char *start = run->input.data + run->input_at;
        size_t left = run->input.size - run->input_at;
        const char *newline = memchr(start, '\n', left);
        if (newline == NULL && !run->input_ended) {
            break;
        }
        size_t size = newline != NULL ? (size_t)(newline - start) : left;
        line_run(run, slice_make(start, size));
        run->input_at += newline != NULL ? size + 1 : size;
    }
}

/* True while more input should be read: no complete line is waiting. */
static bool wants_input(const struct pipe_run *run)
{
    return !run->input_ended && has_room(run);
}

static bool input_read(struct pipe_run *run)
{
    buffer_consume(&run->input, run->input_at);
    run->input_at = 0;
    if (run->input.size > PIPE_LINE_BYTES_MAX) {
        error_print(run, run->line + 1, slice_from("the line is too long"));
        return false;
    }
    char *to = buffer_reserve(&run->input, PIPE_READ_BYTES);
    ssize_t size = read(STDIN_FILENO, to, PIPE_READ_BYTES);
    if (size > 0) {
        run->input.size += (size_t)size;
    } else if (size == 0 || (errno != EAGAIN && errno != EINTR)) {
        run->input_ended = true;
    }
    return true;
}

/* ── replies ─────────────────────────────────────────────────────────────────────────────────── */

static void out_write(struct pipe_run *run)
{
    if (run->out.size > 0) {
        progress_clear(run);
        (void)fwrite(run->out.data, 1, run->out.size, stdout);
        (void)fflush(stdout);
        run->out.size = 0;
    }
}

static void reply_take(struct pipe_run *run)
{
    uint64_t line = run->lines[run->ended++ % PIPE_WINDOW];
    const struct cli_reply *reply = &run->cli->conn.parser.reply;
    if (reply->nodes[0].kind == CLI_ERROR) {
        error_print(run, line, cli_text(reply, 0));
        return;
    }
    cli_print(&run->out, run->cli->style, reply, NULL, 0);
    if (run->out.size >= PIPE_READ_BYTES) {
        out_write(run);
    }
}

static bool replies_take(struct pipe_run *run)
{
    enum cli_parse parsed = CLI_PARSE_DONE;
    while (run->ended < run->begun) {
        parsed = cli_conn_next(&run->cli->conn);
        if (parsed != CLI_PARSE_DONE) {
            break;
        }
        reply_take(run);
    }
    return parsed != CLI_PARSE_BAD;
}

/* Waits for and handles what comes first.  False: the connection is gone. */
static bool step(struct pipe_run *run)
{
    struct cli_conn *conn = &run->cli->conn;
    short out = conn->output.size > 0 ? POLLOUT : 0;
    struct pollfd fds[2] = { { .fd = conn->fd, .events = (short)(POLLIN | out) },
                             { .fd = wants_input(run) ? STDIN_FILENO : -1, .events = POLLIN } };
    if (poll(fds, 2, run->shows_progress ? PROGRESS_EVERY_MS : -1) < 0) {
        return errno == EINTR;
    }
    if (fds[1].revents != 0 && !input_read(run)) {
        return false;
    }
    lines_run(run);
    if ((fds[0].revents & POLLOUT) != 0 && cli_conn_flush(conn) < 0) {
        return false;
    }
    if ((fds[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
        bool is_open = cli_conn_receive(conn) >= 0;
        if (is_open && !replies_take(run)) {
            return false;
        }
        lines_run(run);
        return is_open;
    }
    return true;
}

int cli_pipe_run(struct cli *cli)
{
    struct pipe_run run = { .cli = cli, .started_ms = now_ms() };
    run.shows_progress = isatty(STDERR_FILENO) == 1;
    bool is_open = true;
    while (is_open) {
        bool is_done = run.input_ended && run.input_at == run.input.size && run.begun == run.ended;
        if (is_done) {
            break;
        }
        is_open = step(&run);
        out_write(&run);
        progress_show(&run);
    }
    progress_clear(&run);
    uint64_t unanswered = run.begun - run.ended;
    if (!is_open && (unanswered > 0 || !run.input_ended)) {
        (void)fprintf(stderr, "minidb-cli: %s; %llu commands answered, %llu sent without answer\n",
                      cli->conn.error, (unsigned long long)run.ended,
                      (unsigned long long)unanswered);
        run.errors++;
    }
    buffer_free(&run.input);
    buffer_free(&run.out);
    cli_args_free(&run.args);
    return run.errors > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
