/*
 * latency.c — rings of latency samples.
 *
 * Invariant: event->count <= LATENCY_SAMPLES_MAX, and the samples are in order of time.
 *
 * Read next: cmd_latency.c.
 */
#include "command/latency.h"

#include "base/assert.h"

#include <stdio.h>
#include <string.h>

void latency_event_add(struct latency *latency, const char *name, uint64_t time_s, uint64_t ms)
{
    if (latency->threshold_ms == 0 || ms < latency->threshold_ms) {
        return;
    }
    struct latency_event *event = latency_event_find(latency, name, strlen(name));
    if (event == NULL) {
        if (latency->count == LATENCY_EVENTS_MAX) {
            return;
        }
        event = &latency->events[latency->count++];
        *event = (struct latency_event){ .count = 0 };
        (void)snprintf(event->name, sizeof(event->name), "%s", name);
    }
    event->ms_max = ms > event->ms_max ? ms : event->ms_max;
    uint32_t last = (event->next + LATENCY_SAMPLES_MAX - 1) % LATENCY_SAMPLES_MAX;
    if (event->count > 0 && event->samples[last].time_s == time_s) {
        struct latency_sample *sample = &event->samples[last];
        sample->ms = ms > sample->ms ? ms : sample->ms;
        return;
    }
    event->samples[event->next] = (struct latency_sample){ time_s, ms };
    event->next = (event->next + 1) % LATENCY_SAMPLES_MAX;
    event->count += event->count < LATENCY_SAMPLES_MAX;
}

struct latency_event *latency_event_find(struct latency *latency, const char *name,
                                         uint64_t name_size)
{
    for (uint32_t i = 0; i < latency->count; i++) {
        struct latency_event *event = &latency->events[i];
        if (strlen(event->name) == name_size && memcmp(event->name, name, name_size) == 0) {
            return event;
        }
    }
    return NULL;
}

const struct latency_sample *latency_sample_at(const struct latency_event *event, uint32_t i)
{
    ASSERT(i < event->count);
    uint32_t first = (event->next + LATENCY_SAMPLES_MAX - event->count) % LATENCY_SAMPLES_MAX;
    return &event->samples[(first + i) % LATENCY_SAMPLES_MAX];
}

void latency_event_reset(struct latency *latency, struct latency_event *event)
{
    ASSERT(event >= latency->events && event < latency->events + latency->count);
    latency->count--;
    *event = latency->events[latency->count];
}
