/*
 * host.h — what admin commands may ask of the node they run in: plain data and a dozen calls.
 *
 * The composition root (src/host.c) implements it over the real node; tests over a fake.  Nothing
 * here is used by data commands: those see only the keyspace.
 */
#pragma once

#include "base/buffer.h"
#include "base/slice.h"
#include "network/protocol.h"
#include "storage/keyspace.h"

#include <stdbool.h>
#include <stdint.h>

struct server;
struct conn;
struct host;

enum { HOST_LATENCY_BUCKETS = 40 };

/* Counters per command, indexed by command->id. */
struct command_stats {
    uint64_t calls, usec_total, rejected, failed;
    uint32_t histogram[HOST_LATENCY_BUCKETS]; /* bucket b: took <= 2^b nanoseconds */
};

struct slowlog_entry {
    uint64_t id, time_s, usec;
    uint32_t argc;
    struct slice *argv;     /* owned, trimmed as Redis does (32 arguments, 128 bytes) */
    char address[64];
    struct buffer client_name;
};

struct slowlog {
    struct slowlog_entry *ring; /* owned; newest last */
    uint32_t count, capacity, first;
    uint64_t next_id;
};

/* One event class of LATENCY (command, aof-fsync, snapshot ...). */
struct latency_event {
    char name[32];
    uint32_t count;          /* samples held, at most 160, ring */
    uint32_t next;
    struct {
        uint32_t time_s, ms;
    } samples[160];
    uint32_t max_ms;
};

/* What INFO and STATS show that only the node knows.  Filled in by host->facts. */
struct host_facts {
    uint64_t now_ms, started_ms;
    const char *version, *git_revision, *build_id, *node_id, *run_id, *executable, *config_file;
    const char *io_backend, *compiler, *allocator, *aof_sync_name;
    uint32_t port, process_id, hz;
    uint64_t commands_processed, ops_per_second, bytes_in_per_second, bytes_out_per_second;
    uint64_t hits, misses, evicted, expired_per_second_x100;
    uint64_t memory_used, memory_resident, memory_peak, memory_limit, system_memory;
    uint64_t cpu_user_us, cpu_system_us, cpu_user_children_us, cpu_system_children_us;
    bool loading, snapshot_running, snapshot_last_ok, disk_full;
    uint64_t loading_total_bytes, loading_done_bytes;
    uint64_t snapshot_last_ms, snapshot_last_duration_ms, snapshot_count, snapshot_groups_done;
    uint64_t writes_since_snapshot, snapshot_kept_bytes;
    uint64_t aof_disk_bytes, aof_log_bytes, aof_pending_bytes, aof_sequence, aof_synced_sequence;
    uint64_t aof_writes, aof_syncs, aof_sync_last_us, aof_sync_max_us;
    uint64_t term, damaged_partitions;
};

struct host {
    void *node; /* the implementation's */
    struct keyspace *keyspace;
    struct server *server;
    struct command_stats *command_stats; /* command_count() of them */
    struct slowlog *slowlog;
    struct latency_event *latency; /* [0, latency_count) */
    uint32_t latency_count;
    const char *password;          /* requirepass; NULL or "" when none */
    enum consistency consistency_default;

    void (*facts)(struct host *host, struct host_facts *out);
    void (*stats_reset)(struct host *host); /* CONFIG RESETSTAT */
    /* Options, by position: NULL name at the end.  Values are text as CONFIG GET shows it. */
    const char *(*config_name)(struct host *host, uint32_t at);
    void (*config_get)(struct host *host, uint32_t at, struct buffer *out);
    /* All or nothing; on error writes Redis's text ("ERR CONFIG SET failed (possibly related to
     * argument 'x') - ...") into `error` and returns < 0. */
    int (*config_set)(struct host *host, const struct slice *pairs, uint32_t count,
                      struct buffer *error);
    int (*config_rewrite)(struct host *host, struct buffer *error);
    /* Starts a snapshot: 0, -EALREADY when one runs, other < 0. */
    int (*snapshot_start)(struct host *host);
    /* Stops the server: begins a clean stop; returns 0. */
    int (*shutdown)(struct host *host, bool now);
    /* No writes (or nothing at all) from clients until the time: CLIENT PAUSE / UNPAUSE (0). */
    void (*pause)(struct host *host, uint64_t until_ms, bool writes_only);
    /* DEBUG SLEEP: blocks the data thread.  Bounded by the caller. */
    void (*sleep)(struct host *host, uint64_t ms);
};
