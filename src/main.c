/*
 * main.c — the server program: options, signals, and the loop.
 *
 * Exit status: 0 after a clean stop; 1 when it cannot start or the disk failed; 2 for wrong usage;
 * 3 from --check when the data directory is damaged.
 */
#include "base/mem.h"
#include "check.h"
#include "config.h"
#include "io/io.h"
#include "log.h"
#include "node.h"
#include "version.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_USAGE = 2 };

static int serve(struct config *config);
static int check(int argc, char **argv);

/* What a signal handler can reach: the only mutable state outside the node. */
static volatile sig_atomic_t stop_signals;
static volatile sig_atomic_t wants_log_reopened;
static struct io *signal_io;

static void print(FILE *to, const struct buffer *text)
{
    if (text->size > 0) { /* an empty buffer has no data to point at */
        (void)fwrite(text->data, 1, text->size, to);
    }
}

static void print_version(void)
{
    printf("minidb %s (%s), Redis %s commands, allocator %s, compiler %s\n", MINIDB_VERSION,
           MINIDB_REVISION, REDIS_COMPAT_VERSION, mem_allocator_name(), __VERSION__);
}

int main(int argc, char **argv)
{
    if (argc >= 2 && strcmp(argv[1], "--check") == 0) {
        return check(argc - 2, argv + 2);
    }
    struct config config = { 0 };
    struct buffer text = { 0 };
    enum config_outcome outcome = config_load(argc, argv, environ, &config, &text);
    int status = EXIT_SUCCESS;
    switch (outcome) {
    case CONFIG_SERVE:
        print(stderr, &config.warnings);
        status = serve(&config);
        break;
    case CONFIG_CHECK:
        printf("the configuration is valid\n");
        break;
    case CONFIG_HELP:
        config_help(&text);
        print(stdout, &text);
        break;
    case CONFIG_HELP_DOCS:
        config_docs(&text);
        print(stdout, &text);
        break;
    case CONFIG_VERSION:
        print_version();
        break;
    case CONFIG_BAD_USAGE:
    case CONFIG_BAD:
        (void)fprintf(stderr, "minidb: %.*s\n", (int)text.size, text.data);
        status = outcome == CONFIG_BAD_USAGE ? EXIT_USAGE : EXIT_FAILURE;
        break;
    }
    buffer_free(&text);
    config_deinit(&config);
    return status;
}

/* ── serving ─────────────────────────────────────────────────────────────────────────────────── */

static void on_stop_signal(int signal_number)
{
    (void)signal_number;
    if (++stop_signals > 2) {
        _exit(EXIT_FAILURE); /* asked three times: go, as a crash would */
    }
    io_wake(signal_io);
}

static void on_hangup_signal(int signal_number)
{
    (void)signal_number;
    wants_log_reopened = 1;
    io_wake(signal_io);
}

/* Before the node starts: a stop asked for while it recovers is a clean one right after that. */
static void catch_signals(struct io *io)
{
    signal_io = io;
    struct sigaction stop = { .sa_handler = on_stop_signal };
    struct sigaction hangup = { .sa_handler = on_hangup_signal };
    (void)sigaction(SIGTERM, &stop, NULL);
    (void)sigaction(SIGINT, &stop, NULL);
    (void)sigaction(SIGHUP, &hangup, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

/* Before the io goes: the handlers would wake it. */
static void ignore_signals(void)
{
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
}

static int run(struct node *node, struct log *log)
{
    for (;;) {
        if (stop_signals > 0) {
            node_stop(node);
        }
        if (wants_log_reopened) {
            wants_log_reopened = 0;
            log_reopen(log);
            log_event(log, LOG_INFO, "log_reopened"); /* the first line of the new file */
        }
        int status = node_run_once(node);
        if (status <= 0) {
            return status;
        }
    }
}

/* CLUSTER MEET: what the lone node had (nothing but its identity) is put aside, and it starts again
 * with a seed.  1: so it shall; 0: it has not met anybody; < 0: it cannot. */
static int begin_anew(struct config *config, const struct node *node, struct log *log)
{
    struct buffer error = { 0 };
    struct buffer aside = { 0 };
    if (node->meet_seed[0] == '\0') {
        return 0;
    }
    buffer_printf(&aside, "%s.alone-%016llx", config->data_dir,
                  (unsigned long long)node->meta.identity);
    buffer_append_byte(&aside, '\0');
    int status = rename(config->data_dir, aside.data) == 0 ? 1 : -errno;
    bool is_set =
        config_assign(config, CONFIG_ID_seed, SOURCE_FLAG, slice_from(node->meet_seed), &error);
    log_event(log, status > 0 ? LOG_INFO : LOG_ERROR, "begins_anew", LOG_STR("aside", aside.data),
              LOG_ERRNO("error", status > 0 ? 0 : status));
    buffer_free(&error);
    buffer_free(&aside);
    return is_set ? status : -EINVAL;
}

/* A node's life, from its start to its end. */
static int live(struct node *node, struct config *config, struct io *io, struct log *log)
{
    char error[512] = "";
    int status = node_start(node, config, io, log, error, sizeof(error));
    if (status < 0) {
        log_flush(log, 1000);
        (void)fprintf(stderr, "minidb: %s\n", error);
    } else {
        status = run(node, log);
    }
    if (status < 0 && node->is_serving) {
        log_flush(log, 1000);
        _exit(EXIT_FAILURE); /* the disk failed: nothing may be written after that */
    }
    node_deinit(node);
    return status;
}

static int serve(struct config *config)
{
    struct log_options options = {
        .level = config->log_level,
        .format = config->log_format,
        .file = config->log_file,
        .fd = STDERR_FILENO,
    };
    struct log *log = NULL;
    int status = log_open(&options, &log);
    if (status < 0) {
        (void)fprintf(stderr, "minidb: cannot open the log %s: %s\n", config->log_file,
                      strerror(-status));
        return EXIT_FAILURE;
    }
    struct io *io = io_epoll_new();
    catch_signals(io);
    static struct node node; /* large: not for the stack */
    do {
        status = live(&node, config, io, log);
        status = status == 0 ? begin_anew(config, &node, log) : status;
    } while (status > 0);
    ignore_signals();
    io_free(io);
    log_close(log);
    return status < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ── --check DIR [--records] [--json] ────────────────────────────────────────────────────────── */

static int check(int argc, char **argv)
{
    const char *dir = NULL;
    bool records = false;
    bool json = false;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--records") == 0) {
            records = true;
        } else if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else if (argv[i][0] != '-' && dir == NULL) {
            dir = argv[i];
        } else {
            dir = NULL;
            break;
        }
    }
    if (dir == NULL) {
        (void)fprintf(stderr, "usage: minidb --check DIR [--records] [--json]\n");
        return EXIT_USAGE;
    }
    struct io *io = io_epoll_new();
    struct buffer out = { 0 };
    int status = check_run(io, dir, records, json, &out);
    print(stdout, &out);
    buffer_free(&out);
    io_free(io);
    return status;
}
