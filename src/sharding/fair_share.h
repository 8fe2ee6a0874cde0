/*
 * fair_share.h — how much of the whole each member should carry.
 *
 * In proportion to weights, within bounds: a member holds no partition twice, and a zone no more
 * replicas of one partition than the spread over zones allows.  What a bound takes from one, the
 * others share in proportion again.  Shares are numbers of replicas or leaders in units of
 * 1/SHARE_ONE: fractions matter, floating point does not.
 */
#pragma once

#include <stdint.h>

enum { SHARE_ONE = 1 << 16 };

/* out[i] is lowest[i]..highest[i] and as near to weight[i] times a common factor as that allows;
 * the sum is `total` to within a rounding, as long as the bounds admit it.  Weights > 0. */
void share_fill(const uint64_t *lowest, const uint64_t *highest, const uint32_t *weight,
                uint32_t count, uint64_t total, uint64_t *out);
/* Whole numbers around a share; the rounding of share_fill is no fraction. */
uint32_t share_floor(uint64_t share);
uint32_t share_ceil(uint64_t share);
