/*
 * pending.c — see pending.h.
 *
 * The ring doubles when it is full and never shrinks: what may be under way is bounded elsewhere.
 */
#include "pending.h"

#include "base/assert.h"
#include "base/mem.h"

enum { PENDING_FIRST = 16 }; /* slots of a ring at first: there is one for every group */

/* ── late requests ───────────────────────────────────────────────────────────────────────────── */

struct late_request *late_request_new(const struct asker *asker, const struct command *command,
                                      uint32_t argc, const struct slice *argv)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < argc; i++) {
        bytes += argv[i].size;
    }
    struct late_request *late = mem_alloc(sizeof(*late) + argc * sizeof(struct slice) + bytes);
    *late = (struct late_request){ .asker = *asker, .command = command, .argc = argc };
    late->argv = (struct slice *)(void *)(late + 1);
    char *to = (char *)(late->argv + argc);
    for (uint32_t i = 0; i < argc; i++) {
        late->argv[i] = slice_make(to, argv[i].size);
        if (argv[i].size > 0) {
            memcpy(to, argv[i].data, argv[i].size);
        }
        to += argv[i].size;
    }
    return late;
}

void late_request_free(struct late_request *late)
{
    mem_free(late);
}

/* ── the queue ───────────────────────────────────────────────────────────────────────────────── */

static void pending_grow(struct pending_queue *queue)
{
    uint32_t capacity = queue->capacity == 0 ? PENDING_FIRST : queue->capacity * 2;
    ASSERT(capacity > queue->capacity);
    struct pending *items = mem_alloc(capacity * sizeof(*items));
    for (uint64_t at = queue->head; at != queue->tail; at++) {
        items[at & (capacity - 1)] = *pending_at(queue, at);
    }
    mem_free(queue->items);
    queue->items = items;
    queue->capacity = capacity;
}

void pending_push(struct pending_queue *queue, const struct pending *pending)
{
    ASSERT(queue->tail - queue->head <= queue->capacity);
    struct pending item = *pending; /* growing may free what it points into */
    if (UNLIKELY(queue->tail - queue->head == queue->capacity)) {
        pending_grow(queue);
    }
    if (queue->tail == queue->head) {
        queue->head = 0; /* the same few slots, still in the cache, again and again */
        queue->tail = 0;
    } else {
        const struct pending *last = pending_at(queue, queue->tail - 1);
        ASSERT(last->term < item.term || last->position <= item.position);
    }
    *pending_at(queue, queue->tail++) = item;
}

static void pending_drop(struct pending *pending)
{
    switch (pending->kind) {
    case PENDING_READ:
        answer_drop(&pending->read->asker);
        late_request_free(pending->read);
        break;
    case PENDING_EFFECTS:
        answer_drop(&pending->asker);
        buffer_free(pending->answer);
        mem_free(pending->answer);
        break;
    case PENDING_WRITE:
        answer_drop(&pending->asker);
        mem_free(pending->typed);
        break;
    }
}

void pending_queue_deinit(struct pending_queue *queue)
{
    for (uint64_t at = queue->head; at != queue->tail; at++) {
        pending_drop(pending_at(queue, at));
    }
    mem_free(queue->items);
    *queue = (struct pending_queue){ 0 };
}
