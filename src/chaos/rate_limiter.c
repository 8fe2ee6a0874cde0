/*
 * rate_limiter.c — see rate_limiter.h.
 */
#include "chaos/rate_limiter.h"

#include "base/assert.h"

enum { NS_PER_S = 1000000000 };

/* What a time is worth, saturated. */
static int64_t worth(uint64_t passed_ns, uint64_t rate)
{
    uint64_t seconds = passed_ns / NS_PER_S;
    uint64_t most = INT64_MAX / 4 / rate;
    seconds = seconds < most ? seconds : most;
    return (int64_t)(seconds * rate + passed_ns % NS_PER_S * rate / NS_PER_S);
}

bool rate_limiter_allows(struct rate_limiter *limiter, uint64_t now_ns)
{
    uint64_t rate = limiter->per_second;
    ASSERT(rate <= INT64_MAX / 4 / NS_PER_S);
    if (rate == 0) {
        return true;
    }
    if (limiter->filled_ns == 0) {
        limiter->tokens = (int64_t)rate;
        limiter->filled_ns = now_ns;
    }
    uint64_t passed_ns = now_ns > limiter->filled_ns ? now_ns - limiter->filled_ns : 0;
    int64_t filled = worth(passed_ns, rate);
    limiter->tokens += filled;
    if (limiter->tokens >= (int64_t)rate) {
        limiter->tokens = (int64_t)rate;
        limiter->filled_ns = now_ns;
    } else { /* the fraction that is left counts on */
        limiter->filled_ns +=
            (uint64_t)filled / rate * NS_PER_S + (uint64_t)filled % rate * NS_PER_S / rate;
    }
    return limiter->tokens > 0;
}

void rate_limiter_take(struct rate_limiter *limiter, uint64_t amount)
{
    ASSERT(amount <= INT64_MAX / 4);
    if (limiter->per_second != 0) {
        limiter->tokens -= (int64_t)amount;
    }
}

uint64_t rate_limiter_deadline_ns(const struct rate_limiter *limiter)
{
    if (limiter->per_second == 0 || limiter->tokens > 0) {
        return UINT64_MAX;
    }
    uint64_t lacking = (uint64_t)(1 - limiter->tokens);
    uint64_t wait_s = lacking / limiter->per_second;
    uint64_t rest = lacking % limiter->per_second;
    return limiter->filled_ns + wait_s * NS_PER_S + rest * NS_PER_S / limiter->per_second + 1;
}
