/*
 * test_db.h — a node in miniature: a keyspace and the way a command takes to it, without network,
 * log files or time.
 *
 * A write goes prepare -> encode -> decode -> run, as it would over the log; one over several
 * partitions is split or run in effects mode and its effects applied.
 */
#pragma once

#include "base/assert.h"
#include "base/mem.h"
#include "command/command.h"
#include "command/effect.h"

struct test_db {
    struct keyspace keyspace;
    uint64_t now_ms;
    uint64_t index; /* of the newest entry */
    uint64_t seed;
    enum protocol protocol;
    bool is_effects_always; /* run SPREAD_EFFECTS commands by effects even within a partition */
    struct command_args args;
    struct command_stats_delta stats;
    struct buffer out; /* the reply to the last command */
};

static inline void test_db_init(struct test_db *db)
{
    *db = (struct test_db){ .now_ms = 1700000000000, .protocol = PROTOCOL_RESP2 };
    keyspace_init(&db->keyspace, PARTITIONS_MIN, 7);
}

static inline void test_db_deinit(struct test_db *db)
{
    keyspace_deinit(&db->keyspace);
    mem_free(db->args.argv);
    buffer_free(&db->out);
}

static inline struct command_ctx test_db_ctx(struct test_db *db, const struct command *command,
                                             uint32_t argc, const struct slice *argv,
                                             struct reply *reply)
{
    return (struct command_ctx){
        .command = command,
        .argv = argv,
        .argc = argc,
        .reply = reply,
        .keyspace = &db->keyspace,
        .now_ms = db->now_ms,
        .version = db->index,
        .seed = db->seed += 0x9e3779b97f4a7c15,
        .stats = &db->stats,
    };
}

/* Logs and applies one command whose keys lie in one partition. */
static inline void test_db_apply(struct test_db *db, const struct command *command, uint32_t argc,
                                 const struct slice *argv, struct reply *reply)
{
    char *body = mem_alloc(command_encode_max(argc, argv));
    size_t size = command_encode(command, argc, argv, body);
    ASSERT(size <= command_encode_max(argc, argv));
    struct command_decoded decoded;
    bool ok = command_decode((struct slice){ body, size }, &db->args, &decoded);
    ASSERT(ok);
    db->index++;
    struct command_ctx ctx = test_db_ctx(db, decoded.command, decoded.argc, decoded.argv, reply);
    /* Batches hash the first key ahead. */
    if (ctx.command->first_key > 0) {
        struct slice first = ctx.argv[ctx.command->first_key];
        ctx.has_first_key_hash = true;
        ctx.first_key_partition = keyspace_partition(&db->keyspace, first);
        ctx.first_key_hash = kv_hash(db->keyspace.partitions[ctx.first_key_partition], first);
    }
    decoded.command->run(&ctx);
    mem_free(body);
}

static inline void test_db_split(struct test_db *db, const struct command *command, uint32_t argc,
                                 const struct slice *argv, struct reply *reply)
{
    struct slice *part = mem_alloc(argc * sizeof(*part));
    int64_t sum = 0;
    part[0] = argv[0];
    uint32_t step = command->key_step == 2 ? 2 : 1;
    for (uint32_t p = 0; p < db->keyspace.count; p++) {
        uint32_t count = 1;
        for (uint32_t i = 1; i < argc; i += step) {
            if (keyspace_partition(&db->keyspace, argv[i]) == p) {
                for (uint32_t k = 0; k < step; k++) {
                    part[count++] = argv[i + k];
                }
            }
        }
        if (count > 1) {
            struct reply sink;
            reply_begin_sink(&sink);
            test_db_apply(db, command, count, part, &sink);
            reply_end(&sink);
            sum += sink.sum;
        }
    }
    mem_free(part);
    if (strcmp(command->name, "mset") == 0) {
        reply_ok(reply);
    } else {
        reply_integer(reply, sum);
    }
}

static inline void test_db_effects(struct test_db *db, const struct command *command, uint32_t argc,
                                   const struct slice *argv, struct reply *reply)
{
    struct effects effects = { 0 };
    struct command_ctx ctx = test_db_ctx(db, command, argc, argv, reply);
    ctx.effects = &effects;
    command->run(&ctx);
    for (uint32_t i = 0; i < effects.count; i++) {
        db->index++;
        bool ok = effects_apply(db->keyspace.partitions[effects.parts[i].partition],
                                buffer_slice(&effects.parts[i].body), db->index);
        ASSERT(ok);
    }
    effects_deinit(&effects);
}

static inline bool test_db_is_one_partition(struct test_db *db, const struct command *command,
                                            uint32_t argc, const struct slice *argv)
{
    uint32_t first = 0, last = 0, step = 0;
    if (!command_keys(command, argc, &first, &last, &step)) {
        return false;
    }
    uint32_t partition = keyspace_partition(&db->keyspace, argv[first]);
    for (uint32_t i = first; i <= last; i += step) {
        if (keyspace_partition(&db->keyspace, argv[i]) != partition) {
            return false;
        }
    }
    return true;
}

static inline void test_db_write(struct test_db *db, const struct command *command, uint32_t argc,
                                 const struct slice *argv, struct reply *reply)
{
    bool is_one = test_db_is_one_partition(db, command, argc, argv);
    if (command->spread == SPREAD_EFFECTS && (!is_one || db->is_effects_always)) {
        test_db_effects(db, command, argc, argv, reply);
    } else if (command->spread == SPREAD_SPLIT && !is_one) {
        test_db_split(db, command, argc, argv, reply);
    } else {
        test_db_apply(db, command, argc, argv, reply);
    }
}

/* Runs a command and leaves the encoded reply in db->out. */
static inline void test_db_run(struct test_db *db, uint32_t argc, const struct slice *argv)
{
    struct reply reply;
    db->out.size = 0;
    reply_begin(&reply, db->protocol, &db->out, (struct slice){ NULL, 0 });
    const struct command *command = command_lookup(argv[0]);
    if (command == NULL) {
        command_reply_unknown(&reply, argv, argc);
    } else if (!command_arity_ok(command, argc)) {
        command_reply_arity(&reply, command);
    } else {
        struct command_ctx ctx = test_db_ctx(db, command, argc, argv, &reply);
        if (command_prepare(&ctx) == 0) {
            bool is_rewritten = ctx.prepared.argc > 0;
            uint32_t prepared_argc = is_rewritten ? ctx.prepared.argc : argc;
            const struct slice *prepared = is_rewritten ? ctx.prepared.args : argv;
            if ((ctx.command->flags & COMMAND_WRITE) != 0) {
                test_db_write(db, ctx.command, prepared_argc, prepared, &reply);
            } else {
                ctx.command->run(&ctx);
            }
        }
    }
    reply_end(&reply);
}
