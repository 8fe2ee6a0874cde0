/*
 * stats.h — what happened, counted: calls and latencies per command, and errors by their code word.
 *
 * The pipeline adds, INFO, STATS and LATENCY HISTOGRAM read.  A latency goes into the bucket of its
 * power of two, so recording costs a few instructions and a percentile is exact to a factor of two
 * and interpolated in between.  Everything here belongs to one data thread.
 */
#pragma once

#include "base/slice.h"

#include <stdint.h>

enum {
    STATS_BUCKETS = 40,   /* the last one holds everything slower than 2^38 ns (4.6 minutes) */
    ERROR_STATS_MAX = 64, /* code words told apart; Redis stops at 128, we use about twenty */
    ERROR_STATS_WORD_MAX = 24,
};

/* Indexed by command->id. */
struct command_stats {
    uint64_t calls;
    uint64_t nanoseconds;
    uint64_t rejected;                 /* refused before it ran: arity, NOAUTH, OOM ... */
    uint64_t failed;                   /* ran and answered an error */
    uint64_t histogram[STATS_BUCKETS]; /* bucket b: took (2^(b-1), 2^b] nanoseconds */
};

/* `calls` (> 0) calls took `nanoseconds` together. */
static inline void command_stats_add(struct command_stats *stats, uint64_t nanoseconds,
                                     uint32_t calls)
{
    uint64_t each = calls == 1 ? nanoseconds : nanoseconds / calls;
    uint32_t bucket = each <= 1 ? 0 : (uint32_t)(64 - __builtin_clzll(each - 1));
    stats->calls += calls;
    stats->nanoseconds += nanoseconds;
    stats->histogram[bucket < STATS_BUCKETS ? bucket : STATS_BUCKETS - 1] += calls;
}

/* The latency that `per_mille` of 1000 calls did not exceed, in nanoseconds; 0 without calls. */
uint64_t command_stats_percentile(const struct command_stats *stats, uint32_t per_mille);

struct error_stats {
    uint64_t total;
    uint64_t other; /* those that found the table full */
    uint32_t count;
    struct error_stats_word {
        char word[ERROR_STATS_WORD_MAX];
        uint64_t count;
    } words[ERROR_STATS_MAX];
};

/* `message`: an error reply's text ("WRONGTYPE Operation against ..."). */
void error_stats_add(struct error_stats *stats, struct slice message);
