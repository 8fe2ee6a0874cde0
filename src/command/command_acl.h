/*
 * command_acl.h — commands and subcommands seen alike, and the ACL categories they belong to.
 *
 * Categories are not stored: they follow from a command's flags and group, with a list of the
 * dangerous ones that do not show it.
 */
#pragma once

#include "command/admin.h"

/* A row of either kind. */
struct command_view {
    char name[40]; /* "get", "config|get" */
    const char *group;
    uint32_t flags;
    int16_t arity, first_key, last_key, key_step;
    bool is_container;
};

/* subcommand NULL: the command itself. */
struct command_view command_view_of(const struct command *command,
                                    const struct subcommand *subcommand);

/* All rows: each command, then its subcommands.  A zeroed walk begins. */
struct command_walk {
    uint32_t id, subcommand;
};
bool command_walk_next(struct command_walk *walk, struct command_view *out);

/* Categories are numbers below acl_category_count, sets of them are bit masks. */
uint32_t acl_category_count(void);
const char *acl_category_name(uint32_t category);
bool acl_category_find(struct slice name, uint32_t *out_category);
uint32_t acl_categories_of(const struct command_view *view);
/* A set of "@read", "@fast" ... */
void acl_categories_reply(struct reply *reply, uint32_t categories);
