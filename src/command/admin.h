/*
 * admin.h — what the admin and connection commands share: replies of frequent shapes, and the few
 * rules that several files need.
 *
 * Read next: host.h, then any cmd_*.c named in command_table.def.
 */
#pragma once

#include "base/compiler.h"
#include "command/command_table.h"
#include "command/host.h"
#include "network/server.h"

/* The version of Redis whose replies minidb copies: libraries refuse servers they think too old. */
#define REDIS_VERSION "7.2.4"

void reply_syntax_error(struct reply *reply);
void reply_not_an_integer(struct reply *reply);
/* An integer argument; false when a reply has been written ("ERR value is not an integer ..."). */
MUST_USE bool admin_integer(struct command_ctx *ctx, uint32_t at, int64_t *out);
/* A timeout in milliseconds, with the error texts of Redis. */
MUST_USE bool admin_timeout(struct command_ctx *ctx, uint32_t at, uint64_t *out_ms);
/* False when there are so many arguments that the reply had no bound; an error has been written. */
MUST_USE bool admin_args_bounded(struct command_ctx *ctx);
/* An argument as it may be quoted in an error text: cut, for reply_errorf's "%.*s". */
#define ADMIN_QUOTED(arg) (int)((arg).size > 128 ? 128 : (arg).size), (arg).data
/* True for argv[at] being `word` in any case; false when there is no such argument. */
bool admin_word(const struct command_ctx *ctx, uint32_t at, const char *word);

/* The members of a map, name first. */
void reply_field_text(struct reply *reply, const char *name, const char *value);
void reply_field_integer(struct reply *reply, const char *name, uint64_t value);
void reply_field_double(struct reply *reply, const char *name, double value);
void reply_field_boolean(struct reply *reply, const char *name, bool value);
/* Replies with the text and frees it. */
void reply_verbatim_buffer(struct reply *reply, struct buffer *text);

/* What a client says of itself must fit into a line of CLIENT LIST: printable and no spaces. */
bool admin_client_text_ok(struct slice text);
/* The same for its name; false when an error has been written. */
MUST_USE bool admin_client_name_check(struct command_ctx *ctx, struct slice name);
enum admin_client_type {
    ADMIN_CLIENT_NORMAL,
    ADMIN_CLIENT_MASTER,
    ADMIN_CLIENT_REPLICA,
    ADMIN_CLIENT_PUBSUB,
};
/* The types CLIENT LIST and KILL know by name; false for other words.  All clients are normal. */
bool admin_client_type(struct slice name, enum admin_client_type *out);
void admin_client_name_set(struct conn_info *info, struct slice name);
/* False with appendonly no: nothing is kept on disk. */
bool admin_has_log(struct host *host);
/* The newest record that is on the platter with all before it; 0: none. */
uint64_t admin_synced_sequence(const struct host_facts *facts);
/* A node's id as CLUSTER shows it: forty hex digits made of its number (host_member). */
enum { ADMIN_SLOT_ID_BYTES = 41 };
void admin_slot_id(uint64_t number, char out[ADMIN_SLOT_ID_BYTES]);
/* Position of the member with this id, its own or that of cluster-aware clients; -1: none. */
int32_t admin_member_find(struct host *host, struct slice id);
const char *consistency_name(enum consistency level);
/* CONFIG GET CLUSTER pattern ..., CONFIG SET CLUSTER name value ... */
void admin_settings_get(struct command_ctx *ctx);
void admin_settings_set(struct command_ctx *ctx);
/* 1536 -> "1.50K". */
void admin_human_bytes(uint64_t bytes, char out[32]);

/* Replies to what COMMAND_WAIT_SNAPSHOT and COMMAND_WAIT_SYNC had to wait for; called by the root
 * with the deferred reply. */
void admin_reply_snapshot(struct reply *reply, bool ok);
void admin_reply_sync(struct reply *reply, bool synced);
