/*
 * cli.c — minidb-cli: a client for people and scripts.
 *
 *   minidb-cli [options] [host] [port] [command ...]
 *
 * With a command it runs it and ends; without, it is a shell on a terminal and reads commands from
 * a pipe.  Exit status: 0; 1 when the server cannot be reached or answered with an error; 2 for
 * wrong usage.
 */
#include "cli.h"

#include "base/mem.h"
#include "base/text.h"
#include "version.h"

#include <arpa/inet.h>
#include <errno.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, WRITE_PIECE_BYTES = 16 << 10, STDIN_BYTES_MAX = 512 << 20 };

static const char usage[] =
    "usage: minidb-cli [options] [host] [port] [command ...]\n\n"
    "With a command: runs it.  Without: a shell, or commands from standard input, one a line.\n\n"
    "  -h, --host host       server [127.0.0.1]\n"
    "  -p, --port port       its port [7001]\n"
    "  -a, --pass password   password; better in MINIDB_PASSWORD (or REDISCLI_AUTH)\n"
    "  --user name           user name\n"
    "  -x                    take the last argument from standard input\n"
    "  -r times, -i seconds  run the command several times, and wait between\n"
    "  --json                replies as JSON, one a line\n"
    "  --raw, --no-raw       bare values (the default in a pipe), or as on a terminal\n"
    "  --resp2, --resp3      protocol to speak [resp3]\n"
    "  --latency             measure round trips\n"
    "  --stat                figures of the server, every second\n"
    "  --help, --version\n";

enum mode { MODE_COMMANDS, MODE_LATENCY, MODE_STAT };

struct options {
    struct slice host; /* size 0: none */
    uint16_t port;
    char *password, *user; /* borrowed */
    bool is_json, is_raw, is_tty, is_resp2, last_from_stdin;
    uint64_t repeat;
    double interval_s;
    enum mode mode;
    int command; /* place of the command in argv; argc: none */
};

/* ── options ─────────────────────────────────────────────────────────────────────────────────── */

static int usage_error(const char *what, const char *argument)
{
    (void)fprintf(stderr, "minidb-cli: %s%s; see minidb-cli --help\n", what, argument);
    return EXIT_USAGE;
}

static bool is_one_of(const char *text, const char *a, const char *b)
{
    return strcmp(text, a) == 0 || (b != NULL && strcmp(text, b) == 0);
}

static bool port_parse(const char *text, uint16_t *out)
{
    uint64_t port = 0;
    bool ok = text_to_u64(slice_from(text), &port) && port > 0 && port <= UINT16_MAX;
    *out = ok ? (uint16_t)port : *out;
    return ok;
}

/* Options without a value.  False: it is none of them. */
static bool plain_option(struct options *options, const char *name)
{
    bool *flag = is_one_of(name, "--json", NULL)     ? &options->is_json
                 : is_one_of(name, "--raw", NULL)    ? &options->is_raw
                 : is_one_of(name, "--no-raw", NULL) ? &options->is_tty
                 : is_one_of(name, "--resp2", "-2")  ? &options->is_resp2
                 : is_one_of(name, "-x", NULL)       ? &options->last_from_stdin
                                                     : NULL;
    if (flag != NULL) {
        *flag = true;
    } else if (is_one_of(name, "--resp3", "-3")) {
        options->is_resp2 = false;
    } else if (is_one_of(name, "--latency", NULL)) {
        options->mode = MODE_LATENCY;
    } else if (is_one_of(name, "--stat", NULL)) {
        options->mode = MODE_STAT;
    } else {
        return false;
    }
    return true;
}

/* Options with a value.  0: taken; -1: unknown; else the exit status. */
static int value_option(struct options *options, const char *name, char *value)
{
    bool ok = true;
    if (is_one_of(name, "-h", "--host")) {
        options->host = slice_from(value);
        ok = options->host.size > 0;
    } else if (is_one_of(name, "-p", "--port")) {
        ok = port_parse(value, &options->port);
    } else if (is_one_of(name, "-a", "--pass")) {
        options->password = value;
    } else if (is_one_of(name, "--user", NULL)) {
        options->user = value;
    } else if (is_one_of(name, "-r", NULL)) {
        ok = text_to_u64(slice_from(value), &options->repeat) && options->repeat > 0;
    } else if (is_one_of(name, "-i", NULL)) {
        ok = text_to_double(slice_from(value), &options->interval_s) && options->interval_s >= 0 &&
             options->interval_s < 1e6;
    } else {
        return -1;
    }
    return ok ? 0 : usage_error("not a valid value of ", name);
}

/* Is this argument a host, and not a command?  Addresses and names with a dot are; another word is
 * when a port follows and no command has that name. */
static bool is_host(int argc, char **argv, int at)
{
    const char *word = argv[at];
    unsigned char bytes[16];
    if (strcmp(word, "localhost") == 0 || inet_pton(AF_INET, word, bytes) == 1 ||
        inet_pton(AF_INET6, word, bytes) == 1) {
        return true;
    }
    uint16_t port = 0;
    bool port_follows = at + 1 < argc && port_parse(argv[at + 1], &port);
    return strspn(word, "0123456789") < strlen(word) &&
           (strchr(word, '.') != NULL || (port_follows && !cli_help_is_command(slice_from(word))));
}

/* -1: run; else the exit status. */
static int options_parse(struct options *options, int argc, char **argv)
{
    bool host_given = false;
    bool port_given = false;
    int at = 1;
    for (; at < argc; at++) {
        char *word = argv[at];
        bool is_option = word[0] == '-' && word[1] != '\0';
        if (is_option && is_one_of(word, "--help", NULL)) {
            (void)fputs(usage, stdout);
            return EXIT_SUCCESS;
        }
        if (is_option && is_one_of(word, "--version", "-v")) {
            printf("minidb-cli %s (%s)\n", MINIDB_VERSION, MINIDB_REVISION);
            return EXIT_SUCCESS;
        }
        if (is_option && plain_option(options, word)) {
            continue;
        }
        if (is_option) {
            int status = at + 1 < argc ? value_option(options, word, argv[at + 1]) : -1;
            if (status != 0) {
                return status > 0 ? status : usage_error("unknown or unfinished option ", word);
            }
            host_given = host_given || is_one_of(word, "-h", "--host");
            port_given = port_given || is_one_of(word, "-p", "--port");
            at++;
        } else if (!host_given && !port_given && is_host(argc, argv, at)) {
            options->host = slice_from(word);
            host_given = true;
        } else if (!port_given && port_parse(word, &options->port)) {
            port_given = true;
        } else {
            break;
        }
    }
    options->command = at;
    return -1;
}

/* ── one command ─────────────────────────────────────────────────────────────────────────────── */

bool cli_reply_is_error(const struct cli *cli)
{
    const struct cli_reply *reply = &cli->conn.parser.reply;
    return reply->count > 0 && reply->nodes[0].kind == CLI_ERROR;
}

void cli_write(struct cli *cli, struct slice text)
{
    while (text.size > 0) {
        size_t size = text.size < WRITE_PIECE_BYTES ? text.size : WRITE_PIECE_BYTES;
        struct pollfd cancel = { .fd = cli->conn.cancel_fd, .events = POLLIN };
        if (cancel.fd >= 0 && poll(&cancel, 1, 0) > 0) {
            (void)fputs("\n(cut short)\n", stdout);
            break;
        }
        (void)fwrite(text.data, 1, size, stdout);
        text = slice_make(text.data + size, text.size - size);
    }
    (void)fflush(stdout);
}

/* Prints the last reply.  Errors of scripts go to standard error. */
static void reply_print(struct cli *cli, const struct slice *args, uint32_t count)
{
    struct buffer out = { 0 };
    cli_print(&out, cli->style, &cli->conn.parser.reply, args, count);
    if (cli->style == CLI_STYLE_RAW && cli_reply_is_error(cli)) {
        (void)fwrite(out.data, 1, out.size, stderr);
    } else {
        cli_write(cli, buffer_slice(&out));
    }
    buffer_free(&out);
}

static int command_run(struct cli *cli, const struct slice *args, uint32_t count)
{
    const char *refusal = cli_refusal(args, count);
    if (refusal != NULL) {
        (void)fprintf(stderr, "minidb-cli: %s\n", refusal);
        return EXIT_FAILURE;
    }
    int result = cli_conn_command(&cli->conn, args, count);
    if (result < 0 && slice_equal_nocase(args[0], "shutdown")) {
        return EXIT_SUCCESS; /* a server that stops has no last word */
    }
    if (result < 0) {
        (void)fprintf(stderr, "minidb-cli: %s\n", cli->conn.error);
        return EXIT_FAILURE;
    }
    bool is_error = cli_reply_is_error(cli);
    reply_print(cli, args, count);
    cli_watch(cli, args, count);
    return is_error ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void interval_wait(double seconds)
{
    struct timespec time = { .tv_sec = (time_t)seconds };
    time.tv_nsec = (long)((seconds - (double)time.tv_sec) * 1e9);
    (void)nanosleep(&time, NULL);
}

static int command_repeat(struct cli *cli, const struct options *options, const struct slice *args,
                          uint32_t count)
{
    int status = EXIT_SUCCESS;
    for (uint64_t i = 0; i < options->repeat && status == EXIT_SUCCESS; i++) {
        if (i > 0) {
            interval_wait(options->interval_s);
        }
        status = command_run(cli, args, count);
    }
    return status;
}

/* All of standard input; false when it is too large. */
static bool stdin_read(struct buffer *out)
{
    size_t size = 1;
    while (size > 0 && out->size <= STDIN_BYTES_MAX) {
        size = fread(buffer_reserve(out, 64 << 10), 1, 64 << 10, stdin);
        out->size += size;
    }
    return out->size <= STDIN_BYTES_MAX;
}

static int command_from_args(struct cli *cli, const struct options *options, int argc, char **argv)
{
    uint32_t count = (uint32_t)(argc - options->command);
    struct slice *args = mem_alloc((count + 1) * sizeof(*args));
    for (uint32_t i = 0; i < count; i++) {
        args[i] = slice_from(argv[options->command + (int)i]);
    }
    struct buffer last = { 0 };
    int status = EXIT_FAILURE;
    if (options->last_from_stdin && !stdin_read(&last)) {
        (void)fputs("minidb-cli: standard input is too large\n", stderr);
    } else {
        args[count] = buffer_slice(&last);
        status = command_repeat(cli, options, args, count + (options->last_from_stdin ? 1 : 0));
    }
    buffer_free(&last);
    mem_free(args);
    return status;
}

/* ── all of it ───────────────────────────────────────────────────────────────────────────────── */

static char *text_copy(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(mem_alloc(size), text, size);
}

static void cli_setup(struct cli *cli, const struct options *options)
{
    cli_conn_init(&cli->conn);
    struct slice host = options->host.size > 0 ? options->host : slice_from("127.0.0.1");
    cli_conn_target(&cli->conn, host, options->port);
    cli->conn.wants_resp3 = !options->is_resp2;
    const char *password = options->password;
    password = password != NULL ? password : getenv("MINIDB_PASSWORD");
    password = password != NULL ? password : getenv("REDISCLI_AUTH");
    cli->conn.password = password != NULL && password[0] != '\0' ? text_copy(password) : NULL;
    cli->conn.user = options->user != NULL ? text_copy(options->user) : NULL;
    if (options->password != NULL) { /* not for the eyes of `ps` */
        memset(options->password, '*', strlen(options->password));
    }
    cli->is_terminal = isatty(STDOUT_FILENO) == 1;
    bool for_people = options->is_tty || (cli->is_terminal && !options->is_raw);
    cli->style = options->is_json ? CLI_STYLE_JSON : for_people ? CLI_STYLE_TTY : CLI_STYLE_RAW;
}

static int cli_run(struct cli *cli, const struct options *options, int argc, char **argv)
{
    bool is_command = options->command < argc;
    bool is_shell = !is_command && options->mode == MODE_COMMANDS && isatty(STDIN_FILENO) == 1;
    if (is_shell) {
        return cli_shell_run(cli); /* opens the connection itself, and again when it is lost */
    }
    if (cli_conn_open(&cli->conn) < 0) {
        (void)fprintf(stderr, "minidb-cli: %s\n", cli->conn.error);
        return EXIT_FAILURE;
    }
    switch (options->mode) {
    case MODE_LATENCY:
        return cli_latency_run(cli);
    case MODE_STAT:
        return cli_stat_run(cli);
    case MODE_COMMANDS:
        return is_command ? command_from_args(cli, options, argc, argv) : cli_pipe_run(cli);
    }
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    if (setlocale(LC_CTYPE, "") == NULL || MB_CUR_MAX == 1) {
        (void)setlocale(LC_CTYPE, "C.UTF-8");
    }
    struct options options = { .port = CLI_PORT_DEFAULT, .repeat = 1 };
    int status = options_parse(&options, argc, argv);
    if (status >= 0) {
        return status;
    }
    struct cli cli = { 0 };
    cli_setup(&cli, &options);
    status = cli_run(&cli, &options, argc, argv);
    cli_conn_deinit(&cli.conn);
    cli_help_free(&cli.help);
    return status;
}
