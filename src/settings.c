/*
 * settings.c — see settings.h.
 */
#include "settings.h"

#include "base/assert.h"
#include "base/limits.h"

enum {
    DOWN_REPLACE_AFTER_S = 600,            /* longer than a machine takes to start again */
    DOWN_REPLACE_AFTER_S_MAX = 30 * 86400, /* "never" is 0 */
};

struct row {
    const char *name;
    uint64_t initial, least, most;
};

/* In the order of enum setting. */
static const struct row rows[SETTINGS_COUNT] = {
    { "replication-factor", 0, 1, RAFT_VOTERS_MAX },
    { "down-replace-after", DOWN_REPLACE_AFTER_S, 0, DOWN_REPLACE_AFTER_S_MAX },
};

void settings_default(struct settings *settings)
{
    for (uint32_t i = 0; i < SETTINGS_COUNT; i++) {
        settings->values[i] = rows[i].initial;
    }
}

const char *setting_name(enum setting setting)
{
    ASSERT(setting < SETTINGS_COUNT);
    return rows[setting].name;
}

bool setting_find(struct slice name, enum setting *out_setting)
{
    for (uint32_t i = 0; i < SETTINGS_COUNT; i++) {
        if (slice_equal_nocase(name, rows[i].name)) {
            *out_setting = (enum setting)i;
            return true;
        }
    }
    return false;
}

bool setting_takes(enum setting setting, uint64_t value)
{
    ASSERT(setting < SETTINGS_COUNT);
    return value >= rows[setting].least && value <= rows[setting].most;
}

void setting_range(enum setting setting, uint64_t *out_least, uint64_t *out_most)
{
    ASSERT(setting < SETTINGS_COUNT);
    *out_least = rows[setting].least;
    *out_most = rows[setting].most;
}

bool settings_are_sane(const struct settings *settings)
{
    for (uint32_t i = 0; i < SETTINGS_COUNT; i++) {
        uint64_t value = settings->values[i];
        if (value != rows[i].initial && !setting_takes((enum setting)i, value)) {
            return false;
        }
    }
    return true;
}
