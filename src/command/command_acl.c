/*
 * command_acl.c — ACL categories out of flags and groups.
 *
 * Read next: cmd_acl.c, cmd_command.c.
 */
#include "command/command_acl.h"

#include "base/assert.h"

#include <stdio.h>

enum {
    ACL_KEYSPACE,
    ACL_READ,
    ACL_WRITE,
    ACL_SET,
    ACL_SORTEDSET,
    ACL_LIST,
    ACL_HASH,
    ACL_STRING,
    ACL_BITMAP,
    ACL_HYPERLOGLOG,
    ACL_GEO,
    ACL_STREAM,
    ACL_PUBSUB,
    ACL_ADMIN,
    ACL_FAST,
    ACL_SLOW,
    ACL_BLOCKING,
    ACL_DANGEROUS,
    ACL_CONNECTION,
    ACL_TRANSACTION,
    ACL_SCRIPTING,
    ACL_COUNT,
};

/* In the order of the enum. */
static const char *const acl_names[ACL_COUNT] = {
    "keyspace", "read",   "write",       "set",       "sortedset",  "list",        "hash",
    "string",   "bitmap", "hyperloglog", "geo",       "stream",     "pubsub",      "admin",
    "fast",     "slow",   "blocking",    "dangerous", "connection", "transaction", "scripting",
};

struct command_view command_view_of(const struct command *command,
                                    const struct subcommand *subcommand)
{
    struct command_view view = {
        .group = command->group,
        .flags = command->flags,
        .arity = command->arity,
        .first_key = command->first_key,
        .last_key = command->last_key,
        .key_step = command->key_step,
        .is_container = command->run == subcommand_command,
    };
    int size = snprintf(view.name, sizeof(view.name), "%s%s%s", command->name,
                        subcommand == NULL ? "" : "|", subcommand == NULL ? "" : subcommand->name);
    ASSERT(size > 0 && (size_t)size < sizeof(view.name));
    if (subcommand != NULL) {
        view.flags = subcommand->flags;
        view.arity = subcommand->arity;
        view.first_key = subcommand->first_key;
        view.last_key = subcommand->last_key;
        view.key_step = subcommand->key_step;
        view.is_container = false;
    }
    return view;
}

bool command_walk_next(struct command_walk *walk, struct command_view *out)
{
    if (walk->id == command_count()) {
        return false;
    }
    const struct command *command = command_at(walk->id);
    const struct subcommand *subcommand =
        walk->subcommand == 0 ? NULL : command_subcommand_at(command, walk->subcommand - 1);
    *out = command_view_of(command, subcommand);
    walk->subcommand++;
    if (command_subcommand_at(command, walk->subcommand - 1) == NULL) {
        walk->id++;
        walk->subcommand = 0;
    }
    return true;
}

uint32_t acl_category_count(void)
{
    return ACL_COUNT;
}

const char *acl_category_name(uint32_t category)
{
    ASSERT(category < ACL_COUNT);
    return acl_names[category];
}

bool acl_category_find(struct slice name, uint32_t *out_category)
{
    for (uint32_t i = 0; i < ACL_COUNT; i++) {
        if (slice_equal_nocase(name, acl_names[i])) {
            *out_category = i;
            return true;
        }
    }
    return false;
}

uint32_t acl_categories_of(const struct command_view *view)
{
    static const struct {
        uint32_t flag, category;
    } by_flag[] = {
        { COMMAND_READ, ACL_READ },     { COMMAND_WRITE, ACL_WRITE },
        { COMMAND_ADMIN, ACL_ADMIN },   { COMMAND_ADMIN, ACL_DANGEROUS },
        { COMMAND_PUBSUB, ACL_PUBSUB }, { COMMAND_BLOCKING, ACL_BLOCKING },
    };
    static const struct {
        const char *group;
        uint32_t category;
    } by_group[] = {
        { "generic", ACL_KEYSPACE },
        { "string", ACL_STRING },
        { "connection", ACL_CONNECTION },
        { "hash", ACL_HASH },
        { "list", ACL_LIST },
        { "set", ACL_SET },
        { "sorted-set", ACL_SORTEDSET },
    };
    /* Where Redis knows better than flags and group. */
    static const struct {
        const char *names;
        uint32_t also, not ;
    } by_name[] = {
        { " keys flushall flushdb restore info role swapdb client|kill client|list ",
          1u << ACL_DANGEROUS, 0 },
        { " dbsize flushall flushdb swapdb ", 1u << ACL_KEYSPACE, 0 },
        { " wait waitaof readonly readwrite asking command command|count command|docs "
          "command|getkeys command|getkeysandflags command|help command|info command|list ",
          1u << ACL_CONNECTION, 1u << ACL_KEYSPACE },
    };
    uint32_t mask = (view->flags & COMMAND_FAST) != 0 ? 1u << ACL_FAST : 1u << ACL_SLOW;
    if (view->is_container) {
        return mask; /* what it may do, its subcommands say */
    }
    for (uint32_t i = 0; i < ARRAY_COUNT(by_flag); i++) {
        mask |= (view->flags & by_flag[i].flag) != 0 ? 1u << by_flag[i].category : 0;
    }
    for (uint32_t i = 0; i < ARRAY_COUNT(by_group); i++) {
        mask |= strcmp(view->group, by_group[i].group) == 0 ? 1u << by_group[i].category : 0;
    }
    char padded[48];
    (void)snprintf(padded, sizeof(padded), " %s ", view->name);
    for (uint32_t i = 0; i < ARRAY_COUNT(by_name); i++) {
        if (strstr(by_name[i].names, padded) != NULL) {
            mask = (mask | by_name[i].also) & ~by_name[i].not ;
        }
    }
    return mask;
}

void acl_categories_reply(struct reply *reply, uint32_t categories)
{
    reply_set(reply, (uint32_t)__builtin_popcount(categories));
    for (uint32_t i = 0; i < ACL_COUNT; i++) {
        if ((categories >> i & 1) != 0) {
            char text[24];
            (void)snprintf(text, sizeof(text), "@%s", acl_names[i]);
            reply_status(reply, text);
        }
    }
}
