/*
 * io_in_place.h — whether the loop's thread does a sync itself.  Private to src/io.
 *
 * A loop that has nothing else to do may as well wait in fdatasync: that saves two wake-ups and two
 * context switches a sync, and what arrives meanwhile is handled together afterwards.  Only as long
 * as the disk is quick, because meanwhile nobody is served (docs/decisions/0011).
 *
 * Pure: durations come from the caller.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
    IN_PLACE_AVERAGE_MAX_US = 2000, /* the longest that all others may wait, on average ... */
    IN_PLACE_STALL_US = 20000,      /* ... and once */
    IN_PLACE_REST_MIN_MS = 50,      /* how long a slow disk's syncs go to another thread, before one
                                       is tried here again: at first ... */
    IN_PLACE_REST_MAX_MS = 3200,    /* ... and when it was slow each time: 0.3 % of a 10 ms disk */
};

struct io_in_place {
    uint64_t average_ns; /* of the last few durations */
    uint64_t resume_ns;  /* none before */
    uint64_t rest_ms;    /* the last rest; 0: the disk has been quick since */
};

bool io_in_place_allows(const struct io_in_place *in_place, uint64_t now_ns);
/* A sync done here began and ended. */
void io_in_place_took(struct io_in_place *in_place, uint64_t began_ns, uint64_t ended_ns);
