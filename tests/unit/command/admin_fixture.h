/*
 * admin_fixture.h — runs command lines against a fake host and compares the encoded replies.
 *
 * Read next: fake_host.h.
 */
#pragma once

#include "test.h"

#include "fake_host.h"

#include "base/assert.h"
#include "command/admin.h"
#include "network/protocol_resp.h"
#include "network/reply.h"

enum { NOW_S = 1700000000 };
static const uint64_t now_ms = NOW_S * 1000ull + 123;

struct fixture {
    struct fake_host fake;
    struct conn *conn;
    struct buffer out;
    enum command_wait wait;
    bool is_passed_on; /* by another node: there is no connection */
    uint64_t wait_until_ms;
};

static inline void begin(struct fixture *fixture)
{
    *fixture = (struct fixture){ .wait = COMMAND_WAIT_NONE };
    fake_host_init(&fixture->fake, now_ms);
    fixture->conn = &fixture->fake.server.conns[0];
}

static inline void end(struct fixture *fixture)
{
    buffer_free(&fixture->out);
    fake_host_deinit(&fixture->fake);
}

static inline void dispatch(struct command_ctx *ctx)
{
    ctx->command = command_lookup(ctx->argv[0]);
    if (ctx->command == NULL) {
        command_reply_unknown(ctx->reply, ctx->argv, ctx->argc);
    } else if (!command_arity_ok(ctx->command, ctx->argc)) {
        command_reply_arity(ctx->reply, ctx->command);
    } else {
        ctx->command->run(ctx);
    }
}

/* Runs one command line; returns the encoded reply (valid until the next). */
static inline const char *run(struct fixture *fixture, const char *line)
{
    struct slice *argv = NULL;
    int64_t argc = resp_split_line(slice_from(line), &argv);
    ASSERT(argc > 0);
    struct reply reply;
    struct command_stats_delta delta = { 0, 0 };
    struct command_ctx ctx = {
        .argv = argv,
        .argc = (uint32_t)argc,
        .reply = &reply,
        .keyspace = &fixture->fake.keyspace,
        .now_ms = now_ms,
        .stats = &delta,
        .host = &fixture->fake.host,
        .conn = fixture->is_passed_on ? NULL : fixture->conn,
    };
    fixture->out.size = 0;
    reply_begin(&reply, fixture->conn->info.protocol, &fixture->out, slice_make(NULL, 0));
    dispatch(&ctx);
    fixture->wait = ctx.wait;
    fixture->wait_until_ms = ctx.wait_until_ms;
    /* The pipeline gives a place to wait only to commands that say so. */
    CHECK(ctx.wait == COMMAND_WAIT_NONE || command_may_wait(ctx.command, ctx.argv, ctx.argc));
    if (ctx.wait == COMMAND_WAIT_SNAPSHOT) {
        admin_reply_snapshot(&reply, true);
    } else if (ctx.wait == COMMAND_WAIT_SYNC) {
        admin_reply_sync(&reply, false);
    } else if (ctx.wait == COMMAND_WAIT_REPLICAS) {
        reply_integer(&reply, 1);
    } else if (ctx.wait == COMMAND_WAIT_LEADER) {
        reply_error(&reply, "LEADER answers");
    }
    reply_end(&reply);
    buffer_append_byte(&fixture->out, '\0');
    mem_free(argv);
    return fixture->out.data;
}

static inline void check_text(const char *file, int line, const char *command, const char *got,
                              const char *wanted)
{
    if (strcmp(got, wanted) != 0) {
        char text[4096];
        (void)snprintf(text, sizeof(text), "%s\n   got: %.1500s\nwanted: %.1500s", command, got,
                       wanted);
        test_fail(file, line, text);
    }
}

#define ANSWERS(line, wanted) check_text(__FILE__, __LINE__, line, run(&f, line), wanted)
#define CONTAINS(line, part) CHECK(strstr(run(&f, line), part) != NULL)
#define LACKS(line, part) CHECK(strstr(run(&f, line), part) == NULL)
