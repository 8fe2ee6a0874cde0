/*
 * host.h — what admin commands may ask of the node they run in: plain data and some twenty calls.
 *
 * The composition root (src/host.c) implements it over the real node; tests over a fake.  Nothing
 * here is used by data commands: those see only the keyspace.  Everything is called on the data
 * thread, and every text handed out lives at least until the next call.
 *
 * Options that clients and tools of Redis ask for by name, which config_name must therefore know
 * (constants where the thing does not exist; text exactly as Redis prints it):
 *
 *   redis-benchmark        save appendonly
 *   StackExchange.Redis    timeout replica-read-only (and slave-read-only) databases
 *   Sidekiq, BullMQ        maxmemory maxmemory-policy
 *   Spring, Redisson       notify-keyspace-events
 *   redis_exporter         CONFIG GET *: maxmemory maxclients timeout
 *   RDB and AOF tools      dir dbfilename appendfilename appenddirname appendfsync
 *   operators              bind port requirepass loglevel logfile daemonize hz tcp-backlog
 * tcp-keepalive maxclients client-output-buffer-limit latency-monitor-threshold slowlog-max-len
 *                          slowlog-log-slower-than cluster-enabled cluster-node-timeout io-threads
 *                          lazyfree-lazy-* proto-max-bulk-len busy-reply-threshold lua-time-limit
 *                          enable-debug-command stop-writes-on-bgsave-error maxmemory-samples
 *                          repl-backlog-size min-replicas-to-write protected-mode
 *                          auto-aof-rewrite-percentage auto-aof-rewrite-min-size
 *                          rdbcompression rdbchecksum activerehashing active-expire-effort
 */
#pragma once

#include "base/buffer.h"
#include "base/slice.h"
#include "command/latency.h"
#include "command/slowlog.h"
#include "command/stats.h"
#include "network/protocol.h"
#include "storage/keyspace.h"

#include <stdbool.h>
#include <stdint.h>

struct server;
struct conn;
struct host;

enum {
    HOST_ID_MAX = 64,       /* a node id */
    HOST_REPLICAS_MAX = 16, /* of one partition */
};
/* In place of a partition: the meta group, whose leader leads the cluster. */
#define HOST_META UINT32_MAX
/* In place of a partition: all of them, and the meta group. */
#define HOST_ALL (UINT32_MAX - 1)

/* Why packets of gossip were dropped. */
enum host_gossip_drop {
    HOST_GOSSIP_KEY, /* sealed with another key */
    HOST_GOSSIP_MALFORMED,
    HOST_GOSSIP_CLUSTER,
    HOST_GOSSIP_TARGET,
    HOST_GOSSIP_STRANGER,
    HOST_GOSSIP_IDENTITY,
    HOST_GOSSIP_STALE,
    HOST_GOSSIP_REPLAYED,
    HOST_GOSSIP_DROPS,
};

/* What INFO and STATS show that only the node knows.  Filled in by host->facts. */
struct host_facts {
    uint64_t now_ms, started_ms; /* wall clock */
    const char *version, *git_revision, *build_id, *node_id, *run_id, *executable, *config_file;
    const char *io_backend, *compiler, *allocator, *aof_sync_name;
    const char *os; /* "Linux 6.1.0 x86_64" */
    uint32_t port, process_id, hz;
    uint64_t commands_processed, ops_per_second, bytes_in_per_second, bytes_out_per_second;
    uint64_t hits, misses, evicted, expired_per_second_x100;
    uint64_t memory_used, memory_resident, memory_peak, memory_limit, system_memory;
    uint64_t cpu_user_us, cpu_system_us, cpu_user_children_us, cpu_system_children_us;
    bool loading, snapshot_running, snapshot_last_ok, disk_full;
    uint64_t loading_total_bytes, loading_done_bytes;
    uint64_t
        snapshot_last_ms; /* when the last good one ended (or the data was loaded); wall clock */
    uint64_t snapshot_last_duration_ms, snapshot_count, snapshot_groups_done;
    uint64_t snapshot_started_ms; /* of the running one; wall clock */
    uint64_t writes_since_snapshot, snapshot_kept_bytes;
    uint64_t aof_disk_bytes, aof_log_bytes, aof_pending_bytes;
    uint64_t aof_sequence;        /* of the newest record appended; 0: none */
    uint64_t aof_synced_sequence; /* every record below it is on the platter */
    uint64_t aof_writes, aof_syncs, aof_sync_last_us, aof_sync_max_us;
    uint64_t damaged_partitions;
    /* Replication; of a lone node: the term, and all groups led. */
    uint32_t raft_groups, raft_groups_led, raft_suspects;
    uint64_t term; /* the highest of all groups */
    uint64_t raft_elections, raft_leader_changes;
    uint64_t raft_apply_lag;    /* entries committed and not applied yet */
    uint64_t raft_commit_lag;   /* entries logged and not committed yet */
    uint64_t raft_follower_lag; /* groups led: entries that the slowest follower lacks, the most */
    uint64_t forward_sent, forward_answered, forward_repeated, forward_expired, forward_waiting;
    uint64_t transfers_fetched, transfers_sent, transfers_failed, transfers_running;
    uint64_t cluster_links, cluster_bytes_in, cluster_bytes_out;
    /* Gossip; of a lone node: 0. */
    uint64_t gossip_incarnation, gossip_health;
    uint64_t gossip_probes, gossip_probes_indirect, gossip_probes_failed;
    uint64_t gossip_refutations, gossip_late_steps;
    uint64_t gossip_packets_in, gossip_packets_out;
    uint64_t gossip_dropped[HOST_GOSSIP_DROPS];
};

/* One node of the cluster as NODES and the routing commands show it. */
struct host_member {
    char id[HOST_ID_MAX];
    char address[64];         /* host:port for clients */
    char host[64];            /* its host alone; "": not known */
    uint64_t number;          /* of the id; never 0 */
    uint32_t port, slot_port; /* slot_port 0: not for cluster-aware clients */
    char zone[HOST_ID_MAX];
    const char *role;       /* "leader" or "follower" of the cluster (the meta group) */
    const char *state;      /* "ALIVE", "SUSPECT", "DEAD", "LEFT" */
    const char *membership; /* "ACTIVE", "DRAINING", "LEFT", "DOWN" */
    uint32_t weight;
    const char *version;
    uint32_t cluster_port;
    uint32_t partitions_led, partitions_held, virtual_nodes;
    uint64_t uptime_s;
    bool is_self;
};

/* One partition as SHARDS, ROUTE, REPLICAS and LEADER show it.  Members are meant by position. */
struct host_partition {
    const char *state;                      /* "OK", or "DAMAGED", "LOADING", "NOQUORUM" ... */
    int32_t leader;                         /* -1: none known */
    uint64_t term, first_index, last_index; /* of the log kept; equal indexes are inclusive */
    uint32_t replica_count;
    struct {
        uint32_t member;
        bool is_learner; /* holds the data and does not vote */
        bool is_unknown; /* how far it has applied: only the leader knows */
        uint64_t applied_index;
    } replicas[HOST_REPLICAS_MAX];
};

/* One point of the consistent-hash ring. */
struct host_ring_point {
    uint64_t position;
    uint32_t member;
};

/* What became of FAILOVER. */
enum host_failover {
    HOST_FAILOVER_OK,         /* begun */
    HOST_FAILOVER_NOT_LEADER, /* this node does not lead it */
    HOST_FAILOVER_NO_TARGET,  /* nobody (or not that one) can take over right now */
    HOST_FAILOVER_LONE,       /* there is nobody else */
};
/* What became of a change of the members or of the cluster's settings. */
enum host_change {
    HOST_CHANGE_OK,      /* will be done in a moment */
    HOST_CHANGE_BUSY,    /* nothing was done: try again */
    HOST_CHANGE_REFUSED, /* `error` holds the reply's text */
};

enum { HOST_MOVERS_MAX = 16 }; /* nodes that go or come in one move */
/* A partition, or the meta group (HOST_META), that is not where it should be. */
struct host_move {
    uint32_t partition;
    uint32_t from_count, to_count;
    uint32_t from[HOST_MOVERS_MAX], to[HOST_MOVERS_MAX]; /* members by position */
    const char *phase;                                   /* "copying" ...; "" when not known */
    uint64_t bytes, bytes_left;
};
/* All of them. */
struct host_moves {
    uint32_t running, waiting;
    uint64_t bytes_left, bytes_per_second;
};

enum host_shutdown {
    HOST_SHUTDOWN_DEFAULT, /* as the configuration has it */
    HOST_SHUTDOWN_SAVE,    /* a snapshot first */
    HOST_SHUTDOWN_NOSAVE,  /* only what the log needs; nothing acknowledged is lost by it */
};

enum host_debug { HOST_DEBUG_NO, HOST_DEBUG_LOCAL, HOST_DEBUG_YES }; /* enable-debug-command */

struct host {
    void *node; /* the implementation's */
    struct keyspace *keyspace;
    struct server *server;
    struct command_stats *command_stats; /* command_count() of them */
    struct error_stats *error_stats;
    struct slowlog *slowlog;
    struct latency *latency;
    const char *version;  /* of minidb: HELLO shows it without asking for all facts */
    const char *password; /* requirepass; NULL or "" when none */
    enum consistency consistency_default;
    enum host_debug debug;
    uint64_t auth_failures; /* counted by AUTH and HELLO; RESETSTAT clears it */

    void (*facts)(struct host *host, struct host_facts *out);
    /* CONFIG RESETSTAT: the node's own counters (those in this struct are reset by the command). */
    void (*stats_reset)(struct host *host);

    /* Options, by position: NULL name at the end.  Names are lower case and without repetition.
     * config_get appends the value to `out` as CONFIG GET shows it. */
    const char *(*config_name)(struct host *host, uint32_t at);
    void (*config_get)(struct host *host, uint32_t at, struct buffer *out);
    /* name, value, name, value ...: `count` slices, names known and given once.  All or nothing; on
     * error writes Redis's text ("ERR CONFIG SET failed (possibly related to argument 'x') - ...")
     * into `error` and returns < 0. */
    int (*config_set)(struct host *host, const struct slice *pairs, uint32_t count,
                      struct buffer *error);
    /* < 0: `error` holds the reply's text. */
    int (*config_rewrite)(struct host *host, struct buffer *error);

    /* Starts a snapshot: 0, -EALREADY when one runs, other < 0. */
    int (*snapshot_start)(struct host *host);
    /* Begins a clean stop.  `now`: without waiting for anything that can be left out.  0, or < 0
     * when it cannot be begun. */
    int (*shutdown)(struct host *host, enum host_shutdown how, bool now);
    /* No writes (or nothing at all) from clients until the time: CLIENT PAUSE; 0: CLIENT UNPAUSE.
     */
    void (*pause)(struct host *host, uint64_t until_ms, bool writes_only);
    /* DEBUG SLEEP: blocks the data thread.  Bounded by the caller. */
    void (*sleep)(struct host *host, uint64_t ms);
    /* DEBUG SET-ACTIVE-EXPIRE: whether due keys are proposed for removal. */
    void (*set_active_expire)(struct host *host, bool active);

    /* The cluster as this node sees it.  A lone node is a cluster of one.  partition: or
     * HOST_META. */
    uint32_t (*member_count)(struct host *host);
    void (*member)(struct host *host, uint32_t at, struct host_member *out);
    void (*partition)(struct host *host, uint32_t partition, struct host_partition *out);
    /* Hands leadership of a partition (or HOST_META, HOST_ALL) to a member; -1: to whoever is best
     * placed. */
    enum host_failover (*failover)(struct host *host, uint32_t partition, int32_t member);
    /* True where changes of the cluster are decided, and when: this node leads it and has seen all
     * changes before, or is alone.  To be asked before forget, drain and settings_set. */
    bool (*leads_cluster)(struct host *host);
    /* Removes a member that is dead, other than this node, from the cluster at once. */
    enum host_change (*forget)(struct host *host, uint32_t member, struct buffer *error);
    /* Lets a member leave when what it holds has moved away; or not, after all. */
    enum host_change (*drain)(struct host *host, uint32_t member, bool is_cancelled,
                              struct buffer *error);
    /* A lone, empty node begins anew as one that joins the cluster of this member ("host:port").
     */
    enum host_change (*meet)(struct host *host, const char *seed, struct buffer *error);
    /* Partitions on their way, one after the other (*at is 0 to begin), and all together. */
    bool (*move_next)(struct host *host, uint32_t *at, struct host_move *out);
    void (*moves)(struct host *host, struct host_moves *out);
    /* Leaders and moves go at once, whatever an operator has asked for before.  How many leaders
     * are not where they should be, as far as this node knows. */
    uint32_t (*rebalance)(struct host *host);
    /* What all nodes agree on, by position: NULL name at the end. */
    const char *(*setting_name)(struct host *host, uint32_t at);
    uint64_t (*setting_get)(struct host *host, uint32_t at);
    /* name, value, name, value ...: all or nothing of it is done. */
    enum host_change (*settings_set)(struct host *host, const struct slice *pairs, uint32_t count,
                                     struct buffer *error);
    /* Points in order of position.  A lone node may answer 0. */
    uint32_t (*ring_count)(struct host *host);
    void (*ring_point)(struct host *host, uint32_t at, struct host_ring_point *out);
};
