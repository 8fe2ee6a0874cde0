/*
 * rate_limiter.h — a token bucket: so much a second, and a burst of at most one second's worth.
 *
 * Pure: the time is passed in.  What is taken may be more than there is; then nothing more goes
 * until that has been made up for.  So pieces of any size keep the rate, and none is cut.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct rate_limiter {
    uint64_t per_second; /* 0: no limit */
    int64_t tokens;
    uint64_t filled_ns; /* up to when; 0: never yet */
};

/* Whether something may go now. */
bool rate_limiter_allows(struct rate_limiter *limiter, uint64_t now_ns);
void rate_limiter_take(struct rate_limiter *limiter, uint64_t amount);
/* When something may go again; UINT64_MAX: at once, or there is no limit. */
uint64_t rate_limiter_deadline_ns(const struct rate_limiter *limiter);
