/*
 * hard_state.c — see hard_state.h.
 */
#include "storage/hard_state.h"

#include "base/endian.h"

size_t hard_state_write(const struct hard_state *state, char *to)
{
    store_u64(to, state->term);
    store_u64(to + 8, state->voted_for);
    store_u64(to + 16, state->commit);
    if (!state->is_suspect) {
        return HARD_STATE_BYTES;
    }
    store_u64(to + HARD_STATE_BYTES, 1);
    return HARD_STATE_BYTES_MAX;
}

bool hard_state_read(struct slice body, struct hard_state *out_state)
{
    bool is_suspect = body.size == HARD_STATE_BYTES_MAX;
    if ((body.size != HARD_STATE_BYTES && !is_suspect) ||
        (is_suspect && load_u64(body.data + HARD_STATE_BYTES) != 1)) {
        return false;
    }
    *out_state = (struct hard_state){
        .term = load_u64(body.data),
        .voted_for = load_u64(body.data + 8),
        .commit = load_u64(body.data + 16),
        .is_suspect = is_suspect,
    };
    return true;
}

void log_reset_write(const struct log_reset *reset, char *to)
{
    store_u64(to, reset->index);
    store_u64(to + 8, reset->term);
}

bool log_reset_read(struct slice body, struct log_reset *out_reset)
{
    if (body.size != LOG_RESET_BYTES) {
        return false;
    }
    *out_reset = (struct log_reset){ load_u64(body.data), load_u64(body.data + 8) };
    return true;
}
