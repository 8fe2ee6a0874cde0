/*
 * fair_share_test.c — shares add up, keep their bounds, and are proportional where no bound is met.
 */
#include "sharding/fair_share.h"

#include "base/limits.h"
#include "base/prng.h"
#include "test.h"

enum { ROUNDS = 20000, ROUNDING = RAFT_PEERS_MAX };

TEST(shares_are_proportional_within_bounds)
{
    struct prng prng;
    prng_init(&prng, 1);
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t lowest[RAFT_PEERS_MAX];
        uint64_t highest[RAFT_PEERS_MAX];
        uint64_t shares[RAFT_PEERS_MAX];
        uint32_t weight[RAFT_PEERS_MAX];
        uint32_t count = 1 + (uint32_t)prng_below(&prng, RAFT_PEERS_MAX);
        uint64_t least = 0;
        uint64_t most = 0;
        for (uint32_t i = 0; i < count; i++) {
            lowest[i] = prng_below(&prng, 200) * SHARE_ONE * prng_below(&prng, 2);
            highest[i] = lowest[i] + prng_below(&prng, 500) * SHARE_ONE;
            weight[i] = 1 + (uint32_t)prng_below(&prng, 16);
            least += lowest[i];
            most += highest[i];
        }
        uint64_t total = least + prng_below(&prng, (most - least) / SHARE_ONE + 1) * SHARE_ONE;
        share_fill(lowest, highest, weight, count, total, shares);
        uint64_t sum = 0;
        uint64_t factor = 0; /* of those that no bound holds, in 1/2^16 */
        for (uint32_t i = 0; i < count; i++) {
            CHECK(shares[i] >= lowest[i]);
            CHECK(shares[i] <= highest[i]);
            sum += shares[i];
            bool is_free = shares[i] > lowest[i] && shares[i] < highest[i];
            factor = is_free ? (shares[i] << 16) / weight[i] : factor;
        }
        CHECK(sum >= total);
        CHECK(sum <= total + ROUNDING);
        for (uint32_t i = 0; i < count && factor > 0; i++) {
            uint64_t wanted = (factor * weight[i]) >> 16;
            CHECK(shares[i] == highest[i] || wanted <= shares[i] + 2 * ROUNDING);
            CHECK(shares[i] == lowest[i] || wanted + 2 * ROUNDING >= shares[i]);
        }
    }
}

TEST(roundings_are_no_fractions)
{
    CHECK_EQ(share_floor(85 * SHARE_ONE - 3), 85);
    CHECK_EQ(share_ceil(85 * SHARE_ONE + 3), 85);
    CHECK_EQ(share_floor(85 * SHARE_ONE + SHARE_ONE / 3), 85);
    CHECK_EQ(share_ceil(85 * SHARE_ONE + SHARE_ONE / 3), 86);
    CHECK_EQ(share_floor(0), 0);
    CHECK_EQ(share_ceil(0), 0);
}

TEST_MAIN
