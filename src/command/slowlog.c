/*
 * slowlog.c — the ring of slow commands.
 *
 * Invariants: count <= capacity <= length_max (or all zero); entries [first, first + count) modulo
 * capacity own their args.  The ring grows by doubling, so an unused log costs nothing.
 *
 * Read next: cmd_slowlog.c.
 */
#include "command/slowlog.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/text.h"

#include <stdio.h>

enum { SLOWLOG_NOTE_BYTES = 48 }; /* "... (4294967295 more arguments)" */

static void ring_grow(struct slowlog *log);
static void drop_oldest(struct slowlog *log);
static bool is_secret(const struct slice *argv, uint32_t argc, uint32_t at);

void slowlog_init(struct slowlog *log, int64_t slower_than_us, uint32_t length_max)
{
    ASSERT(length_max <= SLOWLOG_LEN_MAX);
    *log = (struct slowlog){ .slower_than_us = slower_than_us, .length_max = length_max };
}

void slowlog_deinit(struct slowlog *log)
{
    slowlog_reset(log);
    mem_free(log->ring);
    log->ring = NULL;
    log->capacity = 0;
}

void slowlog_add(struct slowlog *log, const struct slowlog_record *record)
{
    ASSERT(record->args->argc >= 1);
    if (log->length_max == 0) {
        mem_free(record->args);
        return;
    }
    if (log->count == log->length_max) {
        drop_oldest(log);
    } else if (log->count == log->capacity) {
        ring_grow(log);
    }
    ASSERT(log->count < log->capacity);
    struct slowlog_entry *entry = &log->ring[(log->first + log->count) % log->capacity];
    *entry = (struct slowlog_entry){
        .id = log->next_id++,
        .time_s = record->time_s,
        .usec = record->usec,
        .args = record->args,
    };
    (void)snprintf(entry->address, sizeof(entry->address), "%s", record->address);
    size_t name_size = record->client_name.size;
    name_size = name_size < sizeof(entry->client_name) ? name_size : sizeof(entry->client_name) - 1;
    if (name_size > 0) {
        memcpy(entry->client_name, record->client_name.data, name_size);
    }
    log->count++;
}

void slowlog_reset(struct slowlog *log)
{
    while (log->count > 0) {
        drop_oldest(log);
    }
    log->first = 0;
}

void slowlog_resize(struct slowlog *log, uint32_t length_max)
{
    ASSERT(length_max <= SLOWLOG_LEN_MAX);
    while (log->count > length_max) {
        drop_oldest(log);
    }
    log->length_max = length_max;
}

const struct slowlog_entry *slowlog_at(const struct slowlog *log, uint32_t age)
{
    ASSERT(age < log->count);
    return &log->ring[(log->first + log->count - 1 - age) % log->capacity];
}

static void ring_grow(struct slowlog *log)
{
    uint32_t capacity = log->capacity == 0 ? 16 : log->capacity * 2;
    struct slowlog_entry *ring = mem_zalloc(capacity * sizeof(*ring));
    for (uint32_t i = 0; i < log->count; i++) {
        ring[i] = log->ring[(log->first + i) % log->capacity];
    }
    mem_free(log->ring);
    log->ring = ring;
    log->first = 0;
    log->capacity = capacity;
}

static void drop_oldest(struct slowlog *log)
{
    ASSERT(log->count > 0);
    mem_free(log->ring[log->first].args);
    log->ring[log->first].args = NULL;
    log->first = (log->first + 1) % log->capacity;
    log->count--;
}

/* Trims as Redis does: the 32nd of more arguments becomes "... (n more arguments)", an argument of
 * more than 128 bytes ends in "... (n more bytes)". */
struct slowlog_args *slowlog_args_new(const struct slice *argv, uint32_t argc)
{
    uint32_t kept = argc < SLOWLOG_ARGS_MAX ? argc : SLOWLOG_ARGS_MAX;
    size_t room = sizeof(struct slowlog_args) + kept * sizeof(struct slice);
    for (uint32_t i = 0; i < kept; i++) {
        size_t size = argv[i].size < SLOWLOG_TEXT_MAX ? argv[i].size : SLOWLOG_TEXT_MAX;
        room += size + SLOWLOG_NOTE_BYTES;
    }
    struct slowlog_args *args = mem_alloc(room);
    args->argc = kept;
    char *text = (char *)(args->argv + kept);
    for (uint32_t i = 0; i < kept; i++) {
        struct slice arg = argv[i];
        char *begin = text;
        if (i == SLOWLOG_ARGS_MAX - 1 && argc > SLOWLOG_ARGS_MAX) {
            text += snprintf(text, SLOWLOG_NOTE_BYTES, "... (%u more arguments)",
                             argc - SLOWLOG_ARGS_MAX + 1);
        } else if (is_secret(argv, argc, i)) {
            text += snprintf(text, SLOWLOG_NOTE_BYTES, "(redacted)");
        } else if (arg.size > SLOWLOG_TEXT_MAX) {
            memcpy(text, arg.data, SLOWLOG_TEXT_MAX);
            text += SLOWLOG_TEXT_MAX;
            text += snprintf(text, SLOWLOG_NOTE_BYTES, "... (%zu more bytes)",
                             arg.size - SLOWLOG_TEXT_MAX);
        } else if (arg.size > 0) {
            memcpy(text, arg.data, arg.size);
            text += arg.size;
        }
        args->argv[i] = slice_make(begin, (size_t)(text - begin));
    }
    ASSERT((size_t)(text - (char *)args) <= room);
    return args;
}

/* AUTH and HELLO are skipped by their flag; what is left is CONFIG SET requirepass x. */
static bool is_secret(const struct slice *argv, uint32_t argc, uint32_t at)
{
    if (at < 3 || at % 2 == 0 || argc < 4 || !slice_equal_nocase(argv[0], "config") ||
        !slice_equal_nocase(argv[1], "set")) {
        return false;
    }
    return text_glob(slice_from("*pass*"), argv[at - 1], true) ||
           text_glob(slice_from("*auth*"), argv[at - 1], true) ||
           text_glob(slice_from("*secret*"), argv[at - 1], true);
}
