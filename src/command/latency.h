/*
 * latency.h — the latency monitor: the last slow moments of each kind of event.
 *
 * As in Redis an event class ("command", "aof-fsync", "snapshot") keeps its last 160 samples, one a
 * second at most (the worst of that second), and its all-time maximum.  Nothing is recorded while
 * latency-monitor-threshold is 0.
 */
#pragma once

#include <stdint.h>

enum {
    LATENCY_SAMPLES_MAX = 160,
    LATENCY_EVENTS_MAX = 16,
    LATENCY_NAME_MAX = 32,
};

struct latency_event {
    char name[LATENCY_NAME_MAX];
    uint32_t count; /* samples held */
    uint32_t next;  /* where the next one goes */
    uint64_t ms_max;
    struct latency_sample {
        uint64_t time_s, ms;
    } samples[LATENCY_SAMPLES_MAX];
};

struct latency {
    uint64_t threshold_ms; /* latency-monitor-threshold; 0: off */
    uint32_t count;
    struct latency_event events[LATENCY_EVENTS_MAX];
};

/* Records an event that took `ms`; ignored below the threshold.  A class beyond
 * LATENCY_EVENTS_MAX is not kept (the classes are names in the source, not input). */
void latency_event_add(struct latency *latency, const char *name, uint64_t time_s, uint64_t ms);
/* The class, or NULL. */
struct latency_event *latency_event_find(struct latency *latency, const char *name,
                                         uint64_t name_size);
/* Sample i, oldest first; i < event->count. */
const struct latency_sample *latency_sample_at(const struct latency_event *event, uint32_t i);
/* Forgets one class. */
void latency_event_reset(struct latency *latency, struct latency_event *event);
