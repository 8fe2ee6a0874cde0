/*
 * cli_watch.c — watching a server: round-trip times, the figures of every second, progress.
 */
#include "base/text.h"
#include "cli.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
    LATENCY_PAUSE_MS = 10,  /* between two PINGs */
    LATENCY_ONCE_MS = 1000, /* how long to measure when nobody looks */
    PROGRESS_PAUSE_MS = 200,
    STAT_PAUSE_MS = 1000,
    STAT_HEADING_EVERY = 20,
};

static uint64_t now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* Waits; false when Ctrl-C ended it. */
static bool pause_ms(struct cli *cli, int ms)
{
    struct pollfd cancel = { .fd = cli->conn.cancel_fd, .events = POLLIN };
    return poll(&cancel, 1, ms) <= 0;
}

static bool ask(struct cli *cli, const char *command, const char *argument)
{
    struct slice args[2] = { slice_from(command), slice_from(argument) };
    uint32_t count = argument[0] != '\0' ? 2 : 1;
    return cli_conn_command(&cli->conn, args, count) == 0 && !cli_reply_is_error(cli);
}

/* The number behind "\nname:" of INFO's text; 0 when it is not there. */
static double info_number(const struct cli *cli, const char *name)
{
    struct slice text = cli_text(&cli->conn.parser.reply, 0);
    size_t size = strlen(name);
    for (size_t at = 0; at + size + 1 < text.size; at++) {
        bool begins = at == 0 || text.data[at - 1] == '\n';
        if (!begins || text.data[at + size] != ':' || memcmp(text.data + at, name, size) != 0) {
            continue;
        }
        size_t start = at + size + 1;
        size_t end = start;
        while (end < text.size && strchr("0123456789.-", text.data[end]) != NULL &&
               text.data[end] != '\0') {
            end++;
        }
        double value = 0;
        return text_to_double(slice_make(text.data + start, end - start), &value) ? value : 0;
    }
    return 0;
}

static int failed(const struct cli *cli)
{
    (void)fprintf(stderr, "minidb-cli: %s\n", cli->conn.error);
    return EXIT_FAILURE;
}

int cli_latency_run(struct cli *cli)
{
    uint64_t count = 0;
    uint64_t total_us = 0;
    uint64_t least_us = UINT64_MAX;
    uint64_t most_us = 0;
    uint64_t started_us = now_us();
    while (cli->is_terminal || now_us() - started_us < LATENCY_ONCE_MS * 1000) {
        uint64_t before_us = now_us();
        if (!ask(cli, "PING", "")) {
            return failed(cli);
        }
        uint64_t took_us = now_us() - before_us;
        count++;
        total_us += took_us;
        least_us = took_us < least_us ? took_us : least_us;
        most_us = took_us > most_us ? took_us : most_us;
        if (cli->is_terminal) {
            printf("\r\033[Kmin: %.3f ms, max: %.3f ms, avg: %.3f ms (%llu samples)",
                   (double)least_us / 1000, (double)most_us / 1000,
                   (double)total_us / (double)count / 1000, (unsigned long long)count);
            (void)fflush(stdout);
        }
        (void)pause_ms(cli, LATENCY_PAUSE_MS);
    }
    printf("min %.3f ms, max %.3f ms, avg %.3f ms, %llu samples\n", (double)least_us / 1000,
           (double)most_us / 1000, (double)total_us / (double)count / 1000,
           (unsigned long long)count);
    return EXIT_SUCCESS;
}

int cli_stat_run(struct cli *cli)
{
    double before = -1;
    for (uint32_t line = 0;; line++) {
        struct slice dbsize = slice_from("DBSIZE");
        if (cli_conn_command(&cli->conn, &dbsize, 1) < 0) {
            return failed(cli);
        }
        int64_t keys = cli->conn.parser.reply.nodes[0].integer;
        if (!ask(cli, "INFO", "")) {
            return failed(cli);
        }
        double commands = info_number(cli, "total_commands_processed");
        double hits = info_number(cli, "keyspace_hits");
        double lookups = hits + info_number(cli, "keyspace_misses");
        if (line % STAT_HEADING_EVERY == 0) {
            printf("%12s %10s %8s %12s %10s\n", "keys", "memory MB", "clients", "commands/s",
                   "hit rate");
        }
        printf("%12lld %10.1f %8.0f %12.0f %9.1f%%\n", (long long)keys,
               info_number(cli, "used_memory") / (1 << 20), info_number(cli, "connected_clients"),
               before < 0 ? 0 : commands - before, lookups > 0 ? 100 * hits / lookups : 0);
        (void)fflush(stdout);
        before = commands;
        (void)pause_ms(cli, STAT_PAUSE_MS);
    }
}

static bool is_saving(const struct slice *args, uint32_t count)
{
    return count >= 1 &&
           (slice_equal_nocase(args[0], "bgsave") || slice_equal_nocase(args[0], "snapshot"));
}

static void watch_save(struct cli *cli)
{
    uint64_t started_us = now_us();
    bool is_cancelled = false;
    while (ask(cli, "INFO", "persistence") && info_number(cli, "rdb_bgsave_in_progress") > 0) {
        double total = info_number(cli, "current_save_keys_total");
        double done = info_number(cli, "current_save_keys_processed");
        printf("\r\033[Ksaving, %.1f s", (double)(now_us() - started_us) / 1000000);
        if (total > 0) {
            printf(", %.0f of %.0f keys (%.0f%%)", done, total, 100 * done / total);
        }
        (void)fflush(stdout);
        if (!pause_ms(cli, PROGRESS_PAUSE_MS)) {
            is_cancelled = true;
            break;
        }
    }
    printf("\r\033[K");
    if (is_cancelled) {
        printf("still saving in the background\n");
    } else if (cli->conn.fd >= 0) {
        printf("saved in %.1f s\n", (double)(now_us() - started_us) / 1000000);
    }
}

/* ── partitions on their way ─────────────────────────────────────────────────────────────────── */

static bool is_moving(const struct slice *args, uint32_t count)
{
    bool is_status = count == 2 && slice_equal_nocase(args[0], "migrate") &&
                     slice_equal_nocase(args[1], "status");
    return is_status || (count == 1 && slice_equal_nocase(args[0], "rebalance"));
}

/* A number in the map that was answered; -1: it is not there. */
static int64_t map_number(const struct cli_reply *reply, const char *name)
{
    const struct cli_node *root = &reply->nodes[0];
    for (uint32_t key = 1; root->kind == CLI_MAP && key < root->end;) {
        uint32_t value = reply->nodes[key].end;
        if (slice_equal(cli_text(reply, key), slice_from(name)) &&
            reply->nodes[value].kind == CLI_INTEGER) {
            return reply->nodes[value].integer;
        }
        key = reply->nodes[value].end;
    }
    return -1;
}

static void watch_moves(struct cli *cli)
{
    const struct cli_reply *reply = &cli->conn.parser.reply;
    bool is_cancelled = false;
    while (!is_cancelled && ask(cli, "MIGRATE", "STATUS")) {
        int64_t moves = map_number(reply, "running") + map_number(reply, "waiting");
        int64_t left_s = map_number(reply, "seconds_left");
        if (moves <= 0) {
            break;
        }
        printf("\r\033[K%lld partitions move, %.1f MiB left, %.1f MiB/s", (long long)moves,
               (double)map_number(reply, "bytes_left") / (1 << 20),
               (double)map_number(reply, "bytes_per_second") / (1 << 20));
        if (left_s >= 0) {
            printf(", %lld s left", (long long)left_s);
        }
        (void)fflush(stdout);
        is_cancelled = !pause_ms(cli, PROGRESS_PAUSE_MS);
    }
    printf("\r\033[K");
    if (is_cancelled) {
        printf("partitions still move in the background\n");
    } else if (cli->conn.fd >= 0) {
        printf("all partitions are where they should be\n");
    }
}

void cli_watch(struct cli *cli, const struct slice *args, uint32_t count)
{
    if (!cli->is_terminal || cli->style != CLI_STYLE_TTY || cli_reply_is_error(cli)) {
        return;
    }
    if (is_saving(args, count)) {
        watch_save(cli);
    } else if (is_moving(args, count)) {
        watch_moves(cli);
    }
}
