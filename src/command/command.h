/*
 * command.h — commands: one table, one function each, and the one way they touch data.
 *
 * command_table.def holds a row a command: name, function, arity, flags, where its keys are, its
 * group and documentation.  The same rows give dispatch, COMMAND and its subcommands, JSON names,
 * statistics and the check that every command has a spec test.
 *
 * A data command runs in one of three ways, and its function cannot tell which:
 *
 *   read     now, against what has been applied
 *   apply    a write: `prepare` checked it and made it deterministic, the log took it, and now it
 *            runs on every replica with the entry's time, seed and index
 *   effects  a conditional write over several partitions (RENAME a b): it runs once, on the leader,
 *            while no write is under way; its puts and deletes are collected and logged instead
 *
 * To make that true, data commands touch the keyspace only through the db_ functions below.
 */
#pragma once

#include "base/compiler.h"
#include "base/slice.h"
#include "network/reply.h"
#include "storage/keyspace.h"

#include <stdbool.h>
#include <stdint.h>

struct conn;
struct host;
struct command_ctx;

enum command_flag {
    COMMAND_READ = 1 << 0,    /* reads keys */
    COMMAND_WRITE = 1 << 1,   /* may change keys: goes through the log */
    COMMAND_DENYOOM = 1 << 2, /* may use more memory: refused over maxmemory */
    COMMAND_FAST = 1 << 3,    /* constant or logarithmic time */
    COMMAND_ADMIN = 1 << 4,
    COMMAND_NOAUTH = 1 << 5,  /* allowed before AUTH */
    COMMAND_LOADING = 1 << 6, /* allowed while loading */
    COMMAND_STALE = 1 << 7,
    COMMAND_BLOCKING = 1 << 8,
    COMMAND_NOSCRIPT = 1 << 9,
    COMMAND_PUBSUB = 1 << 10,
    COMMAND_NOMULTI = 1 << 11,
    COMMAND_MOVABLE_KEYS = 1 << 12,
    COMMAND_SKIP_SLOWLOG = 1 << 13,
    COMMAND_CONNECTION = 1 << 14, /* changes the connection; no data */
    COMMAND_KEYSPACE =
        1 << 15, /* looks at all partitions (KEYS, SCAN, DBSIZE, RANDOMKEY, FLUSHALL) */
    COMMAND_BY_KEY = 1 << 16, /* answers an array with an element for each key (MGET) */
    COMMAND_PROPOSES =
        1 << 17, /* a subcommand that may change the cluster (COMMAND_WAIT_CLUSTER, _LEADER) */
};

/* What happens when the keys of a command lie in different partitions. */
enum command_spread {
    SPREAD_NONE,    /* no keys, or one */
    SPREAD_READ,    /* a read: the function finds each key's partition by itself (MGET, EXISTS) */
    SPREAD_SPLIT,   /* a write: one part per partition in one atomic batch, integers added up (DEL,
                       MSET) */
    SPREAD_EFFECTS, /* a conditional write: runs in effects mode (RENAME, COPY, MSETNX) */
};

typedef void command_fn(struct command_ctx *ctx);
/* Checks arguments before anything is logged and rewrites relative and local things (EX 10 ->
 * PXAT ms).  Returns 0, or writes an error reply (or the whole reply: nothing to do) and returns
 * 1.  New arguments are put into ctx->prepared. */
typedef int command_prepare_fn(struct command_ctx *ctx);

struct command {
    const char *name; /* lower case */
    command_fn *run;
    command_prepare_fn *prepare; /* NULL: nothing to check */
    int16_t arity;               /* Redis's: includes the name; negative: at least */
    uint16_t opcode;             /* of writes: stable for ever, in the log; 0 for others */
    uint32_t flags;              /* enum command_flag */
    enum command_spread spread;
    int16_t first_key, last_key, key_step; /* Redis's; first_key 0: none */
    const char *group;                     /* "string", "generic", ... */
    const char *since;
    const char *summary;
    const char *complexity;
    const char
        *arguments; /* syntax after the name, as `redis-cli` HELP shows: "key value [NX | XX]" */
    uint32_t id;    /* place in the table: index of statistics */
};

/* A row of a container command: OBJECT ENCODING, CLIENT LIST ... */
struct subcommand {
    const char *parent; /* lower case, as `name` */
    const char *name;
    const char *full_name; /* "client|list" */
    command_fn *run;
    int16_t arity; /* counts both words */
    int16_t first_key, last_key, key_step;
    uint32_t flags;
    const char *since;
    const char *summary;
    const char *complexity;
    const char *arguments;
};

uint32_t command_count(void);
const struct command *command_at(uint32_t id);
/* The n-th subcommand of a container, in order of the table; NULL past the last (and for others).
 */
const struct subcommand *command_subcommand_at(const struct command *parent, uint32_t at);
const struct subcommand *command_subcommand_lookup(const struct command *parent, struct slice name);
/* True for those that may change the cluster: what the meta group's leader may be asked for. */
bool command_may_propose(const struct command *command, const struct slice *argv, uint32_t argc);
/* True for those that may leave their answer to the root (command_wait). */
bool command_may_wait(const struct command *command, const struct slice *argv, uint32_t argc);
/* The command's name, or its subcommand's when it is a container: "client|list". */
const char *command_full_name(const struct command *command, uint32_t argc,
                              const struct slice *argv);
/* By name, any case; NULL when unknown. */
const struct command *command_lookup(struct slice name);
/* By opcode of the log; NULL when unknown. */
const struct command *command_by_opcode(uint64_t opcode);
/* True when argc fits. */
bool command_arity_ok(const struct command *command, uint32_t argc);
/* The range of key arguments for this argc: [first, last] step `step`; false when there is none. */
bool command_keys(const struct command *command, uint32_t argc, uint32_t *out_first,
                  uint32_t *out_last, uint32_t *out_step);
/* True when no key is longer than KEY_BYTES_MAX.  What follows relies on it. */
bool command_keys_fit(const struct command *command, uint32_t argc, const struct slice *argv);
void command_reply_key_size(struct reply *reply);
/* What comes between the arity check and running (reads) or logging (writes): answers keys over
 * KEY_BYTES_MAX with an error and calls the row's prepare.  Returns 0, or 1 when it has replied.
 * On 0 the command to run or log is ctx->command (prepare may have chosen another of the same
 * spread: SETEX -> SET) with ctx->prepared's arguments, or the original ones when that is empty. */
MUST_USE int command_prepare(struct command_ctx *ctx);
/* Redis's error replies for what dispatch finds. */
void command_reply_unknown(struct reply *reply, const struct slice *argv, uint32_t argc);
void command_reply_arity(struct reply *reply, const struct command *command);

enum { COMMAND_PREPARED_MAX = 8 };

struct command_ctx {
    const struct command *command;
    const struct slice *argv;
    uint32_t argc;
    struct reply *reply;
    struct keyspace *keyspace;
    bool is_part; /* of KEYS, SCAN, DBSIZE, RANDOMKEY in a cluster: this partition alone */
    uint32_t partition;
    enum consistency consistency; /* of the request; GET's prepare reads its own argument into it */
    uint64_t now_ms;              /* reads: the wall clock; writes: the entry's time */
    uint64_t version;             /* writes: the entry's index */
    uint64_t seed;                /* writes: the entry's; reads: any */
    uint64_t first_key_hash;      /* hash_key of the first key when has_first_key_hash */
    uint32_t first_key_partition;
    bool has_first_key_hash;
    struct effects *effects;           /* effects mode: collects instead of changing */
    struct command_stats_delta *stats; /* hits and misses are counted here */
    /* prepare: the rewritten arguments (argv may be pointed at `args`, or at scratch text) */
    struct {
        struct slice args[COMMAND_PREPARED_MAX];
        uint32_t argc; /* 0: log the original arguments */
        char text[64]; /* room for numbers */
    } prepared;
    /* admin and connection commands only; NULL at apply */
    struct host *host;
    struct conn *conn; /* NULL as well: another node passed the command on */
    /* An admin command may leave its answer to the root instead of writing a reply: */
    enum command_wait {
        COMMAND_WAIT_NONE,
        COMMAND_WAIT_SNAPSHOT, /* SAVE: answered when the running snapshot has ended */
        COMMAND_WAIT_SYNC, /* WAITAOF: answered when everything logged so far is on the platter, or
                              at wait_until_ms */
        COMMAND_WAIT_CLUSTER, /* CLUSTER DRAIN ...: answered when what the cluster's leader has just
                                 proposed is decided */
        COMMAND_WAIT_LEADER,  /* the same, asked elsewhere, or too early: nothing was done; it runs
                                 where and when host->leads_cluster, and its answer is this one's */
        COMMAND_WAIT_REPLICAS, /* WAIT: answered when wait_replicas of them have what was written so
                                  far, or at wait_until_ms */
    } wait;
    uint32_t wait_replicas;
    uint64_t wait_until_ms; /* 0: no limit */
};

struct command_stats_delta {
    uint64_t hits, misses;
};

/* Expiries are 48 bits of milliseconds; later ones are kept as this (the year 10889). */
#define EXPIRE_MS_MAX ((1ull << 48) - 1)

/* ── data access ─────────────────────────────────────────────────────────────────────────────── */

/* An entry to read.  NULL when missing or expired.  Counts a hit or a miss in reads. */
const struct kv_entry *db_read(struct command_ctx *ctx, struct slice key);
/* The same without counting (writes looking at what was there; OBJECT; TTL is counted by db_read).
 */
const struct kv_entry *db_peek(struct command_ctx *ctx, struct slice key);
void db_put(struct command_ctx *ctx, struct slice key, struct slice value, uint64_t expire_ms);
void db_put_raw(struct command_ctx *ctx, struct slice key, struct slice value, uint64_t expire_ms);
bool db_set_expiry(struct command_ctx *ctx, struct slice key, uint64_t expire_ms);
/* True when a live entry was removed. */
bool db_delete(struct command_ctx *ctx, struct slice key);
/* Removes everything a partition holds. */
void db_clear(struct command_ctx *ctx, uint32_t partition);

/* ── the log form of a write ─────────────────────────────────────────────────────────────────── */

/* Upper bound of command_encode's output. */
size_t command_encode_max(uint32_t argc, const struct slice *argv);
/* ENTRY_COMMAND body: varint opcode, varint argc - 1, then each argument but the name. Returns the
 * size. */
size_t command_encode(const struct command *command, uint32_t argc, const struct slice *argv,
                      char *to);
struct command_decoded {
    const struct command *command;
    uint32_t argc;      /* argv[0] is the command's name */
    struct slice *argv; /* borrowed: from `room` or grown into *heap */
};
/* Decodes an ENTRY_COMMAND body; false when malformed or the opcode is unknown.  Arguments borrow
 * from `body`.  `args` is a scratch array kept by the caller (grows). */
struct command_args {
    struct slice *argv;
    uint32_t capacity;
};
bool command_decode(struct slice body, struct command_args *args, struct command_decoded *out);
