/*
 * fuzz_config.c — any text as a configuration file: it is taken whole or refused with a reason, and
 * what CONFIG REWRITE makes of it reads back as the values that were in force.
 */
#include "base/assert.h"
#include "config.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_equal(const struct config *a, const struct config *b)
{
    for (uint32_t id = 0; id < CONFIG_OPTIONS_COUNT; id++) {
        struct buffer in_a = { 0 };
        struct buffer in_b = { 0 };
        config_value_text(a, id, &in_a);
        config_value_text(b, id, &in_b);
        ASSERT(slice_equal(buffer_slice(&in_a), buffer_slice(&in_b)));
        buffer_free(&in_a);
        buffer_free(&in_b);
    }
}

/* Sets every option that may change to what it is, at run time: so all of them are rewritten. */
static void set_all(struct config *config)
{
    for (uint32_t id = 0; id < CONFIG_OPTIONS_COUNT; id++) {
        if ((config_option_at(id)->flags & CONFIG_MUTABLE) == 0) {
            continue;
        }
        struct buffer value = { 0 };
        struct buffer error = { 0 };
        config_value_text(config, id, &value);
        struct slice pair[2] = { slice_from(config_option_at(id)->name), buffer_slice(&value) };
        struct config_changes changes;
        int result = config_set(config, pair, 1, &changes, &error);
        ASSERT(result == 0 || error.size > 0);
        buffer_free(&value);
        buffer_free(&error);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_make(data, size);
    struct config config;
    config_defaults(&config);
    struct buffer error = { 0 };
    bool ok = config_file_parse(&config, "file", text, &error);
    ASSERT(ok == (error.size == 0));
    if (ok) {
        set_all(&config);
        struct buffer written = { 0 };
        config_file_rewritten(&config, text, &written);
        struct config again;
        config_defaults(&again);
        bool reads_back = config_file_parse(&again, "file", buffer_slice(&written), &error);
        ASSERT(reads_back);
        check_equal(&config, &again);
        config_deinit(&again);
        buffer_free(&written);
    }
    buffer_free(&error);
    config_deinit(&config);
    return 0;
}
