/*
 * config.h — the options of a node: one table, everything else follows from it.
 *
 * config_table.def holds a row an option: name, type, range, default, help.  From the rows come the
 * command-line flags (--port 7001), the environment (MINIDB_PORT), the file (port 7001), --help,
 * CONFIG GET, SET and REWRITE, and the table in docs/OPERATIONS.md.  The strongest source wins:
 * flag, then environment, then file, then default.  Values land in plain typed fields below, which
 * the program reads directly.
 *
 * Every error is one line that names its source (minidb.conf:3, --port, MINIDB_PORT), says what is
 * wrong and what would be right.  Values of secret options are never quoted in one.
 *
 * A change at run time is all or nothing: the new values are checked together, the way they were at
 * start, before any of them shows.
 *
 * Read next: config_table.def, config.c (values), config_load.c (flags, environment, help),
 * config_file.c (reading and rewriting the file), config_cluster.c.
 */
#pragma once

#include "base/buffer.h"
#include "base/compiler.h"
#include "log.h"
#include "network/protocol.h"
#include "storage/aof.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    CONFIG_HOSTS_MAX = 16,           /* addresses to listen on */
    CONFIG_TEXT_BYTES_MAX = 4096,    /* of any value */
    CONFIG_FILE_BYTES_MAX = 1 << 20, /* of the whole file */
    CONFIG_OUTPUT_LIMIT_DEFAULT = 256 << 20,
};

enum config_recover { RECOVER_STRICT, RECOVER_SALVAGE };
enum config_maxmemory_policy { MAXMEMORY_NOEVICTION };
enum config_strong_reads { STRONG_READS_LEASE, STRONG_READS_READINDEX };

/* What a value is, and with that the type of its field. */
enum config_kind {
    CONFIG_TEXT,         /* char * */
    CONFIG_PASSWORD,     /* char *, and secret */
    CONFIG_INTEGER,      /* uint16_t, uint32_t or int64_t */
    CONFIG_BYTES,        /* uint64_t; 64mb, 1gb */
    CONFIG_ENUM,         /* an enum */
    CONFIG_YESNO,        /* bool */
    CONFIG_ADDRESSES,    /* struct config_addresses */
    CONFIG_OUTPUT_LIMIT, /* uint64_t; "normal 256mb 0 0", as Redis writes client-output-buffer-limit
                          */
    CONFIG_CONSTANT,     /* no field: a name that Redis has and clients ask for, with one answer */
};

enum config_flag {
    CONFIG_MUTABLE = 1 << 0, /* CONFIG SET may change it */
    CONFIG_LATER = 1 << 1,   /* of a later version: any value but the default is refused */
};

/* An id per row, in the order of the table: CONFIG_ID_port. */
enum config_id {
#define GROUP(title, field)
#define OPTION(kind, field, ...) CONFIG_ID_##field,
#define CONSTANT(id, name, value) CONFIG_ID_##id,
#define ALIAS(name, field)
#include "config_table.def"
    CONFIG_OPTIONS_COUNT
};

enum config_source { SOURCE_DEFAULT, SOURCE_FILE, SOURCE_ENV, SOURCE_FLAG, SOURCE_RUNTIME };

struct config_addresses {
    uint32_t count;
    char *items[CONFIG_HOSTS_MAX]; /* owned; numeric addresses or "localhost" */
};

/* All strings are owned by the config and never NULL after config_defaults.  A string stays where
 * it is until CONFIG SET changes that very option. */
struct config {
    /* node */
    char *node_id;
    char *data_dir;
    struct config_addresses host;
    uint16_t port;
    uint32_t partitions;
    enum consistency consistency;
    /* cluster */
    char *seed;
    uint16_t cluster_port; /* as given; see config_cluster_port */
    char *announce_host;   /* as given; see config_announce_host */
    uint16_t slot_port;    /* for cluster-aware clients; 0: none */
    char *zone;
    char *cluster_secret;        /* "": what all members know anyway */
    uint32_t weight;             /* beside other nodes */
    uint32_t replication_factor; /* of a cluster begun here */
    uint32_t migrate_rate;       /* MiB a second; 0: no limit */
    uint32_t request_timeout;    /* milliseconds */
    enum config_strong_reads strong_reads;
    uint32_t heartbeat_ms, election_timeout_ms;
    /* durability */
    bool appendonly; /* no: nothing is kept on disk at all */
    enum aof_sync appendfsync;
    uint64_t aof_segment_size;
    uint64_t snapshot_log_size;
    enum config_recover recover;
    /* security */
    char *requirepass;
    bool insecure;
    /* limits */
    uint32_t maxclients;
    uint64_t maxmemory;
    enum config_maxmemory_policy maxmemory_policy;
    uint32_t timeout; /* seconds */
    uint64_t client_output_limit;
    /* observing */
    enum log_level log_level;
    enum log_format log_format;
    char *log_file;
    int64_t slowlog_log_slower_than; /* microseconds; negative: off */
    uint32_t slowlog_max_len;
    uint32_t latency_monitor_threshold; /* milliseconds; 0: off */
    uint32_t hz;
    /* of later versions */
    uint16_t metrics_port;
    bool chaos;
    bool daemonize;

    /* where it came from */
    char *file; /* owned, absolute; "" when there is none */
    enum config_source source[CONFIG_OPTIONS_COUNT];
    struct buffer warnings; /* lines about what was read but looks like a mistake */
};

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

void config_defaults(struct config *config);
void config_deinit(struct config *config);

enum config_outcome {
    CONFIG_SERVE,     /* run the server */
    CONFIG_CHECK,     /* --check-config: everything was right; say so and exit 0 */
    CONFIG_HELP,      /* --help: print config_help and exit 0 */
    CONFIG_HELP_DOCS, /* --help=markdown: print config_docs and exit 0 */
    CONFIG_VERSION,   /* --version: print the version and exit 0 */
    CONFIG_BAD_USAGE, /* the command line is wrong: print `error` and exit 2 */
    CONFIG_BAD,       /* file or environment is wrong: print `error` and exit 1 */
};

/* Reads flags, environment and file into a zeroed or deinitialised config (which the caller
 * deinitialises whatever the outcome).  Writes one line without a newline to `error`. */
enum config_outcome config_load(int argc, char **argv, char **environment, struct config *config,
                                struct buffer *error);
void config_help(struct buffer *out);
void config_docs(struct buffer *out);

/* ── at run time ─────────────────────────────────────────────────────────────────────────────── */

/* Names that CONFIG GET knows, aliases included, [0, config_count()). */
uint32_t config_count(void);
const char *config_name(uint32_t at);
/* The value as CONFIG GET shows it. */
void config_get_text(const struct config *config, uint32_t at, struct buffer *out);

/* Which options a CONFIG SET changed. */
struct config_changes {
    bool changed[CONFIG_OPTIONS_COUNT];
};

/* CONFIG SET: `count` name-value pairs, all or none.  On error returns < 0 and writes Redis's whole
 * error text, with "ERR ", to `error`; the config is unchanged.  The caller then applies what
 * `out_changes` names; when that fails it may set the old values again. */
MUST_USE int config_set(struct config *config, const struct slice *pairs, uint32_t count,
                        struct config_changes *out_changes, struct buffer *error);
/* Writes what CONFIG SET changed into the file, keeping every other line as it is; atomic.  On
 * error returns < 0 and writes Redis's error text to `error`. */
MUST_USE int config_rewrite(struct config *config, struct buffer *error);

/* ── the cluster (config_cluster.c) ──────────────────────────────────────────────────────────── */

enum { CONFIG_HOST_BYTES_MAX = 64, CONFIG_SEEDS_MAX = 16 };

/* True when an operator asked for a cluster by --seed or --cluster-port. */
bool config_wants_cluster(const struct config *config);
/* The port other nodes are told: as given, or port + 1000.  0: there is none (port is 0, or too
 * large for that). */
uint16_t config_cluster_port(const struct config *config);
/* The address other nodes are told; NULL when it would be a wildcard. */
const char *config_announce_host(const struct config *config);
/* True when only this machine reaches the address. */
bool config_is_loopback(const char *host);
/* Takes "address:port" off the front of a list separated by commas; false at its end. */
bool config_seed_next(struct slice *rest, char out_host[CONFIG_HOST_BYTES_MAX], uint16_t *out_port);
/* Checks the value of --seed; what a cluster needs of several options together. */
MUST_USE bool config_seeds_ok(struct slice value, struct buffer *error);
MUST_USE bool config_cluster_ok(const struct config *config, struct buffer *error);

/* ── shared by the config files ──────────────────────────────────────────────────────────────── */

struct config_word {
    const char *text;
    uint32_t value; /* the first word with a value is the one shown */
};

struct config_option {
    enum config_kind kind;
    const char *name;
    size_t offset; /* of the field */
    size_t width;  /* of an integer field */
    int64_t min, max;
    const char *initial;             /* default, as text */
    const struct config_word *words; /* enums: ends with NULL */
    uint32_t flags;
    const char *hint; /* what stands for the value in --help: "port", "bytes", "ms" */
    const char *help;
};

const struct config_option *config_option_at(enum config_id id);
/* The title of the group that begins with this option, or NULL. */
const char *config_group_title(enum config_id id);
/* By name or alias, any case, '-' and '_' alike; -1 when unknown. */
int config_option_find(struct slice name);
/* The nearest known name, or NULL when nothing is near. */
const char *config_option_suggest(struct slice name);
/* Sets a value of a source no weaker than the one there: as config_value_set, but addresses of the
 * same source add up (a repeated --host). */
MUST_USE bool config_assign(struct config *config, enum config_id id, enum config_source source,
                            struct slice value, struct buffer *error);
/* Checks one value and sets the field.  `error` gets what is wrong, without the name. */
MUST_USE bool config_value_set(struct config *config, enum config_id id, struct slice value,
                               struct buffer *error);
void config_value_text(const struct config *config, enum config_id id, struct buffer *out);
/* What no single option can say: "host: ...".  Empty when all is right. */
MUST_USE bool config_check(const struct config *config, struct buffer *error);
/* Reads the file into options whose source is not stronger.  False: `error` says where. */
MUST_USE bool config_file_load(struct config *config, const char *path, struct buffer *error);
/* The same on the file's text; `name` is for errors.  Pure (fuzzed). */
MUST_USE bool config_file_parse(struct config *config, const char *name, struct slice text,
                                struct buffer *error);
/* The file's text with what CONFIG SET changed.  Pure. */
void config_file_rewritten(const struct config *config, struct slice text, struct buffer *out);
