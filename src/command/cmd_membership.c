/*
 * cmd_membership.c — who belongs to the cluster, and what all its nodes agree on: CLUSTER FORGET,
 * CLUSTER DRAIN, CLUSTER MEET, CONFIG GET CLUSTER, CONFIG SET CLUSTER.
 *
 * All of it is decided by the leader of the cluster, who finds the nodes by their names: any other
 * node passes the command on (COMMAND_WAIT_LEADER) without looking at it.  One thing the node that
 * was asked says by itself: that it does not forget itself, which is what Redis's text means.  Of
 * its leader, who is asked to be forgotten elsewhere, this leader says that it is alive.
 */
#include "base/assert.h"
#include "base/text.h"
#include "command/admin.h"

#include <stdio.h>

/* Answers what became of a change.  Frees `error`. */
static void change_reply(struct command_ctx *ctx, enum host_change change, struct buffer *error)
{
    switch (change) {
    case HOST_CHANGE_OK:
        reply_ok(ctx->reply);
        ctx->wait = COMMAND_WAIT_CLUSTER;
        break;
    case HOST_CHANGE_BUSY:
        reply_error(ctx->reply, "TRYAGAIN the cluster is busy");
        break;
    case HOST_CHANGE_REFUSED:
        buffer_append_byte(error, '\0');
        reply_error(ctx->reply, error->data);
        break;
    }
    buffer_free(error);
}

/* False: the command is left to the leader of the cluster, who answers. */
static bool is_decided_here(struct command_ctx *ctx)
{
    bool is_here = ctx->host->leads_cluster(ctx->host);
    ctx->wait = is_here ? COMMAND_WAIT_NONE : COMMAND_WAIT_LEADER;
    return is_here;
}

/* The member that argv[2] names; -1 when an error has been written. */
static int32_t member_named(struct command_ctx *ctx)
{
    int32_t at = admin_member_find(ctx->host, ctx->argv[2]);
    if (at < 0) {
        reply_errorf(ctx->reply, "ERR Unknown node %.*s", ADMIN_QUOTED(ctx->argv[2]));
    }
    return at;
}

static bool names_this_node(struct command_ctx *ctx)
{
    struct host_member member = { .is_self = false };
    int32_t at = admin_member_find(ctx->host, ctx->argv[2]);
    if (at >= 0) {
        ctx->host->member(ctx->host, (uint32_t)at, &member);
    }
    return member.is_self;
}

/* CLUSTER FORGET node: removes a node that is gone for good. */
void cluster_forget_command(struct command_ctx *ctx)
{
    struct host *host = ctx->host;
    struct buffer error = { 0 };
    bool is_asked_here = ctx->conn != NULL;
    if (is_asked_here && host->member_count(host) < 2) {
        cluster_by_itself_command(ctx);
        return;
    }
    if (is_asked_here && names_this_node(ctx)) {
        reply_error(ctx->reply, "ERR I tried hard but I can't forget myself...");
        return;
    }
    int32_t at = is_decided_here(ctx) ? member_named(ctx) : -1;
    if (at < 0) {
        return;
    }
    change_reply(ctx, host->forget(host, (uint32_t)at, &error), &error);
}

/* CLUSTER DRAIN node [CANCEL]: what it leads and holds moves away; then it leaves. */
void cluster_drain_command(struct command_ctx *ctx)
{
    struct host *host = ctx->host;
    struct buffer error = { 0 };
    bool is_cancelled = admin_word(ctx, 3, "cancel");
    if (ctx->argc > 4 || (ctx->argc == 4 && !is_cancelled)) {
        reply_syntax_error(ctx->reply);
        return;
    }
    int32_t at = is_decided_here(ctx) ? member_named(ctx) : -1;
    if (at < 0) {
        return;
    }
    if (host->member_count(host) < 2) {
        reply_error(ctx->reply, "ERR there is no other node that could take over");
        return;
    }
    change_reply(ctx, host->drain(host, (uint32_t)at, is_cancelled, &error), &error);
}

/* CLUSTER MEET host port [cluster-port]: an empty node that is alone joins that one's cluster. */
void cluster_meet_command(struct command_ctx *ctx)
{
    enum { CLUSTER_PORT_ABOVE = 1000, PORT_MAX = 65535, SEED_BYTES_MAX = 96 };
    struct host *host = ctx->host;
    struct buffer error = { 0 };
    char seed[SEED_BYTES_MAX];
    int64_t port = 0;
    int64_t cluster_port = 0;
    if (ctx->argc > 5) {
        reply_syntax_error(ctx->reply);
        return;
    }
    if (!admin_integer(ctx, 3, &port) ||
        (ctx->argc == 5 && !admin_integer(ctx, 4, &cluster_port))) {
        return;
    }
    cluster_port = ctx->argc == 5 ? cluster_port : port + CLUSTER_PORT_ABOVE;
    bool is_v6 = memchr(ctx->argv[2].data, ':', ctx->argv[2].size) != NULL;
    if (cluster_port < 1 || cluster_port > PORT_MAX || ctx->argv[2].size > 45) {
        reply_errorf(ctx->reply, "ERR Invalid node address specified: %.*s",
                     ADMIN_QUOTED(ctx->argv[2]));
        return;
    }
    (void)snprintf(seed, sizeof(seed), is_v6 ? "[%.*s]:%u" : "%.*s:%u", (int)ctx->argv[2].size,
                   ctx->argv[2].data, (unsigned)cluster_port);
    if (host->member_count(host) > 1) {
        reply_error(ctx->reply, "ERR this node is a member of a cluster already: start another one "
                                "with --seed");
        return;
    }
    if (host->meet(host, seed, &error) == HOST_CHANGE_OK) {
        reply_ok(ctx->reply);
    } else {
        buffer_append_byte(&error, '\0');
        reply_error(ctx->reply, error.data);
    }
    buffer_free(&error);
}

/* ── what all nodes agree on ─────────────────────────────────────────────────────────────────── */

static bool is_asked_for(const struct command_ctx *ctx, const char *name)
{
    for (uint32_t i = 3; i < ctx->argc; i++) {
        if (text_glob(ctx->argv[i], slice_from(name), /* ignore_case= */ true)) {
            return true;
        }
    }
    return false;
}

void admin_settings_get(struct command_ctx *ctx)
{
    struct host *host = ctx->host;
    uint32_t matches = 0;
    for (uint32_t i = 0; host->setting_name(host, i) != NULL; i++) {
        matches += is_asked_for(ctx, host->setting_name(host, i));
    }
    reply_map(ctx->reply, matches);
    for (uint32_t i = 0; host->setting_name(host, i) != NULL; i++) {
        const char *name = host->setting_name(host, i);
        char value[TEXT_I64_BYTES_MAX];
        if (is_asked_for(ctx, name)) {
            reply_text(ctx->reply, name);
            reply_bulk(ctx->reply,
                       slice_make(value, text_from_u64(host->setting_get(host, i), value)));
        }
    }
}

void admin_settings_set(struct command_ctx *ctx)
{
    struct host *host = ctx->host;
    struct buffer error = { 0 };
    ASSERT(ctx->argc >= 5);
    ASSERT(ctx->argc % 2 == 1);
    if (!is_decided_here(ctx)) {
        return;
    }
    change_reply(ctx, host->settings_set(host, ctx->argv + 3, ctx->argc - 3, &error), &error);
}
