/*
 * fair_share.c — see fair_share.h.
 */
#include "sharding/fair_share.h"

#include "base/assert.h"
#include "base/limits.h"

/* The sum of all shares misses its total by at most 1 a member, so does each share. */
enum { ROUNDING = 2 * RAFT_PEERS_MAX };

static uint64_t bounded(uint64_t value, uint64_t lowest, uint64_t highest)
{
    return value < lowest ? lowest : value > highest ? highest : value;
}

void share_fill(const uint64_t *lowest, const uint64_t *highest, const uint32_t *weight,
                uint32_t count, uint64_t total, uint64_t *out)
{
    ASSERT(count > 0);
    ASSERT(total < UINT64_C(1) << 32);
    /* The least factor with which the shares reach the total; it has 16 binary places. */
    uint64_t low = 0;
    uint64_t high = total << 16;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        uint64_t sum = 0;
        for (uint32_t i = 0; i < count; i++) {
            uint64_t share = (middle * weight[i]) >> 16;
            sum += bounded(share, lowest[i], highest[i]);
        }
        if (sum >= total) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        ASSERT(lowest[i] <= highest[i]);
        out[i] = bounded((low * weight[i]) >> 16, lowest[i], highest[i]);
    }
}

uint32_t share_floor(uint64_t share)
{
    return (uint32_t)((share + ROUNDING) / SHARE_ONE);
}

uint32_t share_ceil(uint64_t share)
{
    return (uint32_t)((share + SHARE_ONE - 1 - ROUNDING) / SHARE_ONE);
}
