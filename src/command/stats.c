/*
 * stats.c — percentiles out of power-of-two histograms, and the table of error code words.
 *
 * Read next: cmd_info.c, cmd_stats.c.
 */
#include "command/stats.h"

#include "base/assert.h"

uint64_t command_stats_percentile(const struct command_stats *stats, uint32_t per_mille)
{
    ASSERT(per_mille <= 1000);
    uint64_t total = 0;
    for (uint32_t i = 0; i < STATS_BUCKETS; i++) {
        total += stats->histogram[i];
    }
    if (total == 0) {
        return 0;
    }
    /* The rank is rounded up: of one call every percentile is that call. */
    uint64_t rank = total / 1000 * per_mille + (total % 1000 * per_mille + 999) / 1000;
    rank = rank == 0 ? 1 : rank;
    uint64_t below = 0;
    uint32_t bucket = 0;
    while (below + stats->histogram[bucket] < rank) {
        below += stats->histogram[bucket];
        bucket++;
    }
    ASSERT(bucket < STATS_BUCKETS);
    uint64_t low = bucket == 0 ? 0 : 1ull << (bucket - 1);
    uint64_t width = bucket == 0 ? 1 : low;
    /* Calls are taken as spread evenly over their bucket. */
    double part = ((double)(rank - below) - 0.5) / (double)stats->histogram[bucket];
    return low + (uint64_t)((double)width * part);
}

void error_stats_add(struct error_stats *stats, struct slice message)
{
    stats->total++;
    size_t size = 0;
    while (size < message.size && message.data[size] != ' ') {
        size++;
    }
    if (size == 0 || size >= ERROR_STATS_WORD_MAX) {
        stats->other++;
        return;
    }
    uint32_t at = 0;
    while (at < stats->count &&
           !slice_equal(slice_from(stats->words[at].word), slice_make(message.data, size))) {
        at++;
    }
    if (at == ERROR_STATS_MAX) {
        stats->other++;
        return;
    }
    struct error_stats_word *word = &stats->words[at];
    if (at == stats->count) {
        *word = (struct error_stats_word){ .count = 0 };
        memcpy(word->word, message.data, size);
        stats->count++;
    }
    word->count++;
}
