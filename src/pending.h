/*
 * pending.h — what waits for a place in the log: the askers of logged entries, and the reads and
 * answers behind them.
 *
 * A queue in order of position.  On a lone node there is one, by sequence number of the AOF; a
 * replicated group has one of its own, by log index.  There what waits for an older term stands in
 * front, even for a higher index: that entry was overwritten, and can only come back as it was.
 */
#pragma once

#include "answers.h"
#include "base/slice.h"

struct command;
struct slowlog_args;

/* A request whose arguments were copied because it runs later. */
struct late_request {
    struct asker asker;
    const struct command *command;
    uint32_t argc;
    struct slice *argv; /* lies behind the struct, in the same allocation */
    /* Of requests that the pipeline keeps: */
    uint64_t origin_node, origin_seq; /* JSON client and seq; node 0: none */
    uint8_t consistency;              /* enum consistency */
    bool waits_turn;                  /* until all before it on its connection are answered */
    struct late_request *next;
};

struct late_request *late_request_new(const struct asker *asker, const struct command *command,
                                      uint32_t argc, const struct slice *argv);
void late_request_free(struct late_request *late);

enum pending_kind {
    PENDING_WRITE,   /* the entry's own asker: answered by apply */
    PENDING_EFFECTS, /* the answer is known, and given when the effects are applied */
    PENDING_READ,    /* runs when everything before it has been applied */
};

struct pending {
    uint64_t position; /* waits for this sequence number or index */
    uint64_t term;     /* replicated: the leader's when it was proposed or asked */
    uint64_t until_ms; /* replicated: no longer than this; 0: for ever */
    uint64_t behind;   /* PENDING_READ by read id: an index that must be applied as well */
    enum pending_kind kind;
    bool is_partial;            /* a part of a split command, and not its last one */
    struct slowlog_args *typed; /* PENDING_WRITE: as meter_type made it; owned */
    struct asker asker;
    const struct command *command; /* PENDING_WRITE: for errors */
    union {
        struct late_request *read; /* PENDING_READ: owned */
        struct buffer *answer;     /* PENDING_EFFECTS: the reply in RESP3; owned */
    };
};

struct pending_queue {
    struct pending *items; /* ring, owned; NULL while empty from the beginning */
    uint32_t capacity;     /* 0 or a power of two */
    uint64_t head, tail;   /* counters; slot = counter & (capacity - 1) */
};

void pending_push(struct pending_queue *queue, const struct pending *pending);
/* The next one that waits for `position` or an earlier one; NULL when there is none. */
static inline struct pending *pending_front(const struct pending_queue *queue, uint64_t position)
{
    if (queue->head == queue->tail) {
        return NULL;
    }
    struct pending *front = &queue->items[queue->head & (queue->capacity - 1)];
    return front->position <= position ? front : NULL;
}
static inline struct pending *pending_at(const struct pending_queue *queue, uint64_t at)
{
    return &queue->items[at & (queue->capacity - 1)];
}
/* Frees the queue and what its items own; the askers get no answer. */
void pending_queue_deinit(struct pending_queue *queue);
