/*
 * cmd_latency.c — LATENCY: slow moments by kind of event, and histograms by command.
 *
 * Read next: latency.h (events), stats.h (histograms).
 */
#include "base/assert.h"
#include "base/mem.h"
#include "command/admin.h"

#include <inttypes.h>

enum { GRAPH_COLUMNS_MAX = 80, GRAPH_ROWS = 4 };

static struct latency_event *event_find(struct command_ctx *ctx, uint32_t at);
static uint64_t sample_min_ms(const struct latency_event *event);
static void graph_draw(struct buffer *text, const struct latency_event *event, uint64_t now_s);
static void histogram_reply(struct reply *reply, const struct command *command,
                            const struct command_stats *stats);
static uint64_t bucket_usec(uint32_t bucket);

void latency_latest_command(struct command_ctx *ctx)
{
    const struct latency *latency = ctx->host->latency;
    reply_array(ctx->reply, latency->count);
    for (uint32_t i = 0; i < latency->count; i++) {
        const struct latency_event *event = &latency->events[i];
        const struct latency_sample *last = latency_sample_at(event, event->count - 1);
        reply_array(ctx->reply, 4);
        reply_text(ctx->reply, event->name);
        reply_integer(ctx->reply, (int64_t)last->time_s);
        reply_integer(ctx->reply, (int64_t)last->ms);
        reply_integer(ctx->reply, (int64_t)event->ms_max);
    }
}

void latency_history_command(struct command_ctx *ctx)
{
    const struct latency_event *event = event_find(ctx, 2);
    uint32_t count = event == NULL ? 0 : event->count;
    reply_array(ctx->reply, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct latency_sample *sample = latency_sample_at(event, i);
        reply_array(ctx->reply, 2);
        reply_integer(ctx->reply, (int64_t)sample->time_s);
        reply_integer(ctx->reply, (int64_t)sample->ms);
    }
}

/* LATENCY RESET [event ...]: answers how many classes were forgotten. */
void latency_reset_command(struct command_ctx *ctx)
{
    struct latency *latency = ctx->host->latency;
    int64_t reset = 0;
    if (ctx->argc == 2) {
        reset = latency->count;
        latency->count = 0;
    }
    for (uint32_t i = 2; i < ctx->argc; i++) {
        struct latency_event *event = event_find(ctx, i);
        if (event != NULL) {
            latency_event_reset(latency, event);
            reset++;
        }
    }
    reply_integer(ctx->reply, reset);
}

void latency_graph_command(struct command_ctx *ctx)
{
    const struct latency_event *event = event_find(ctx, 2);
    if (event == NULL) {
        reply_errorf(ctx->reply, "ERR No samples available for event '%.*s'",
                     ADMIN_QUOTED(ctx->argv[2]));
        return;
    }
    struct buffer text = { 0 };
    uint64_t low_ms = sample_min_ms(event);
    uint64_t high_ms = low_ms;
    for (uint32_t i = 0; i < event->count; i++) {
        uint64_t ms = latency_sample_at(event, i)->ms;
        high_ms = ms > high_ms ? ms : high_ms;
    }
    buffer_printf(&text,
                  "%s - high %" PRIu64 " ms, low %" PRIu64 " ms (all time high %" PRIu64 " ms)\n",
                  event->name, high_ms, low_ms, event->ms_max);
    graph_draw(&text, event, ctx->now_ms / 1000);
    reply_verbatim_buffer(ctx->reply, &text);
}

void latency_doctor_command(struct command_ctx *ctx)
{
    const struct latency *latency = ctx->host->latency;
    struct buffer text = { 0 };
    if (latency->threshold_ms == 0) {
        buffer_append_text(&text,
                           "Latency monitoring is disabled. You may use \"CONFIG SET "
                           "latency-monitor-threshold <milliseconds>\" in order to enable it.\n");
    } else if (latency->count == 0) {
        buffer_printf(&text, "No event took %" PRIu64 " ms or more.\n", latency->threshold_ms);
    } else {
        buffer_printf(&text, "Events that took %" PRIu64 " ms or more:\n", latency->threshold_ms);
    }
    for (uint32_t i = 0; i < latency->count; i++) {
        const struct latency_event *event = &latency->events[i];
        uint64_t sum_ms = 0;
        for (uint32_t j = 0; j < event->count; j++) {
            sum_ms += latency_sample_at(event, j)->ms;
        }
        buffer_printf(&text,
                      "%u. %s: %u latency spikes (average %" PRIu64 " ms, worst all time %" PRIu64
                      " ms, last %" PRIu64 " seconds ago).\n",
                      i + 1, event->name, event->count, sum_ms / event->count, event->ms_max,
                      ctx->now_ms / 1000 - latency_sample_at(event, event->count - 1)->time_s);
    }
    reply_verbatim_buffer(ctx->reply, &text);
}

/* LATENCY HISTOGRAM [command ...]: those that were called; unknown names are passed over. */
void latency_histogram_command(struct command_ctx *ctx)
{
    const struct command_stats *stats = ctx->host->command_stats;
    bool *is_wanted = mem_zalloc(command_count() * sizeof(*is_wanted));
    for (uint32_t i = 2; i < ctx->argc; i++) {
        const struct command *command = command_lookup(ctx->argv[i]);
        if (command != NULL) {
            is_wanted[command->id] = true;
        }
    }
    uint32_t count = 0;
    for (uint32_t id = 0; id < command_count(); id++) {
        is_wanted[id] = (ctx->argc == 2 || is_wanted[id]) && stats[id].calls > 0;
        count += is_wanted[id];
    }
    reply_map(ctx->reply, count);
    for (uint32_t id = 0; id < command_count(); id++) {
        if (is_wanted[id]) {
            histogram_reply(ctx->reply, command_at(id), &stats[id]);
        }
    }
    mem_free(is_wanted);
}

static struct latency_event *event_find(struct command_ctx *ctx, uint32_t at)
{
    return latency_event_find(ctx->host->latency, ctx->argv[at].data, ctx->argv[at].size);
}

static uint64_t sample_min_ms(const struct latency_event *event)
{
    uint64_t low_ms = UINT64_MAX;
    for (uint32_t i = 0; i < event->count; i++) {
        uint64_t ms = latency_sample_at(event, i)->ms;
        low_ms = ms < low_ms ? ms : low_ms;
    }
    return low_ms;
}

/* A column a sample, oldest left, as high as its share of the worst one; below it the age. */
static void graph_draw(struct buffer *text, const struct latency_event *event, uint64_t now_s)
{
    uint32_t columns = event->count < GRAPH_COLUMNS_MAX ? event->count : GRAPH_COLUMNS_MAX;
    uint32_t first = event->count - columns;
    for (uint32_t i = 0; i < GRAPH_COLUMNS_MAX; i++) {
        buffer_append_byte(text, '-');
    }
    buffer_append_byte(text, '\n');
    uint64_t top_ms = 1;
    for (uint32_t i = 0; i < columns; i++) {
        uint64_t ms = latency_sample_at(event, first + i)->ms;
        top_ms = ms > top_ms ? ms : top_ms;
    }
    for (uint32_t row = GRAPH_ROWS; row > 0; row--) {
        for (uint32_t i = 0; i < columns; i++) {
            uint64_t ms = latency_sample_at(event, first + i)->ms;
            buffer_append_byte(text, ms * GRAPH_ROWS >= top_ms * row ? '#' : row == 1 ? '_' : ' ');
        }
        buffer_append_byte(text, '\n');
    }
    uint64_t begin_s = latency_sample_at(event, first)->time_s;
    uint64_t end_s = latency_sample_at(event, event->count - 1)->time_s;
    buffer_printf(text, "from %" PRIu64 " to %" PRIu64 " seconds ago\n",
                  now_s > begin_s ? now_s - begin_s : 0, now_s > end_s ? now_s - end_s : 0);
}

/* name -> { calls, histogram_usec -> { upper bound -> calls up to it } }, without empty buckets. */
static void histogram_reply(struct reply *reply, const struct command *command,
                            const struct command_stats *stats)
{
    uint64_t total = 0;
    uint32_t filled = 0;
    for (uint32_t b = 0; b < STATS_BUCKETS; b++) {
        bool is_last_of_usec = b + 1 == STATS_BUCKETS || bucket_usec(b) != bucket_usec(b + 1);
        total += stats->histogram[b];
        filled += is_last_of_usec && total > 0 && (stats->histogram[b] > 0 || filled == 0);
    }
    reply_text(reply, command->name);
    reply_map(reply, 2);
    reply_field_integer(reply, "calls", stats->calls);
    reply_text(reply, "histogram_usec");
    reply_map(reply, filled);
    uint64_t up_to = 0;
    uint32_t shown = 0;
    for (uint32_t b = 0; b < STATS_BUCKETS; b++) {
        bool is_last_of_usec = b + 1 == STATS_BUCKETS || bucket_usec(b) != bucket_usec(b + 1);
        up_to += stats->histogram[b];
        if (is_last_of_usec && up_to > 0 && (stats->histogram[b] > 0 || shown == 0)) {
            reply_integer(reply, (int64_t)bucket_usec(b));
            reply_integer(reply, (int64_t)up_to);
            shown++;
        }
    }
    ASSERT(shown == filled);
}

/* Everything up to 1.024 microseconds counts as 1, as in Redis. */
static uint64_t bucket_usec(uint32_t bucket)
{
    return bucket <= 10 ? 1 : ((1ull << bucket) + 500) / 1000;
}
