/*
 * rate_limiter_test.c — over any time the rate is kept, whatever the sizes and the pauses.
 */
#include "chaos/rate_limiter.h"

#include "base/prng.h"
#include "test.h"

static const uint64_t SECOND = 1000000000;

TEST(no_rate_no_limit)
{
    struct rate_limiter limiter = { .per_second = 0 };
    for (unsigned i = 0; i < 100; i++) {
        CHECK(rate_limiter_allows(&limiter, SECOND));
        rate_limiter_take(&limiter, UINT32_MAX);
        CHECK_EQ(rate_limiter_deadline_ns(&limiter), UINT64_MAX);
    }
}

/* A piece larger than a second's worth goes, and is made up for. */
TEST(a_large_piece_is_made_up_for)
{
    struct rate_limiter limiter = { .per_second = 1000 };
    CHECK(rate_limiter_allows(&limiter, SECOND));
    rate_limiter_take(&limiter, 5000);
    CHECK(!rate_limiter_allows(&limiter, SECOND));
    uint64_t due_ns = rate_limiter_deadline_ns(&limiter);
    CHECK(due_ns > 4 * SECOND);
    CHECK(due_ns < 6 * SECOND);
    CHECK(!rate_limiter_allows(&limiter, due_ns - SECOND / 100));
    for (uint64_t now_ns = due_ns - SECOND; now_ns < due_ns; now_ns += SECOND / 50) {
        CHECK(!rate_limiter_allows(&limiter, now_ns));
    }
    CHECK(rate_limiter_allows(&limiter, due_ns + SECOND / 500));
}

/* Asked at its deadline it allows something, and never more than the rate and one piece. */
TEST(the_rate_is_kept)
{
    struct prng prng;
    prng_init(&prng, 1);
    for (unsigned life = 0; life < 200; life++) {
        struct rate_limiter limiter = { .per_second = 1 + prng_below(&prng, 1u << 30) };
        uint64_t piece_max = 1 + prng_below(&prng, 1u << 20);
        uint64_t start_ns = 1 + prng_next(&prng) % (1000 * SECOND);
        uint64_t now_ns = start_ns;
        uint64_t sent = 0;
        for (unsigned step = 0; step < 2000; step++) {
            if (rate_limiter_allows(&limiter, now_ns)) {
                uint64_t piece = 1 + prng_below(&prng, piece_max);
                rate_limiter_take(&limiter, piece);
                sent += piece;
                now_ns += prng_below(&prng, 1000);
            } else {
                uint64_t due_ns = rate_limiter_deadline_ns(&limiter);
                CHECK(due_ns != UINT64_MAX);
                now_ns = due_ns > now_ns ? due_ns : now_ns + 1;
            }
            double passed = (double)(now_ns - start_ns) / (double)SECOND;
            double most = (passed + 1) * (double)limiter.per_second + (double)piece_max;
            CHECK((double)sent <= most * 1.0001 + 1);
        }
        CHECK(sent > 0);
    }
}

/* Idle time is worth one second at most. */
TEST(a_pause_is_no_credit)
{
    struct rate_limiter limiter = { .per_second = 100 };
    CHECK(rate_limiter_allows(&limiter, SECOND));
    uint64_t sent = 0;
    while (rate_limiter_allows(&limiter, 1000 * SECOND)) {
        rate_limiter_take(&limiter, 1);
        sent++;
    }
    CHECK_EQ(sent, 100);
}

TEST_MAIN
