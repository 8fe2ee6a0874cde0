/*
 * settings.h — what all nodes of a cluster agree on, and an operator may change (CONFIG SET
 * CLUSTER).
 *
 * Pure.  The settings are a part of the meta group's state machine (members.h): a change is an
 * entry of its log.  A row of the table is a number with a range; rows are never taken away or
 * reordered, for their places stand in logs.
 */
#pragma once

#include "base/compiler.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum setting {
    SETTING_REPLICATION_FACTOR, /* voters of every partition; 0: not fixed yet */
    SETTING_DOWN_REPLACE_AFTER, /* seconds a node is dead until others take its place; 0: never */
    SETTINGS_COUNT,
};

struct settings {
    uint64_t values[SETTINGS_COUNT];
};

/* What one is set to. */
struct setting_value {
    enum setting setting;
    uint64_t value;
};

/* Of a cluster whose founder has not said anything yet. */
void settings_default(struct settings *settings);
/* As CONFIG SET CLUSTER and CONFIG GET CLUSTER name it. */
const char *setting_name(enum setting setting);
/* By name, any case; false: there is none. */
MUST_USE bool setting_find(struct slice name, enum setting *out_setting);
bool setting_takes(enum setting setting, uint64_t value);
void setting_range(enum setting setting, uint64_t *out_least, uint64_t *out_most);
/* False when a value could never have been set. */
bool settings_are_sane(const struct settings *settings);
