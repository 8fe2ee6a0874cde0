/*
 * raft_log.c — see raft_log.h.
 */
#include "cluster/raft_log.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mutant.h"

static bool is_power_of_two(uint32_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

static struct raft_log_slot *slot_at(const struct raft_log *log, uint64_t index)
{
    return &log->slots[index & (log->capacity - 1)];
}

/* The running sum of sizes up to and including `index`, which is clamped to what is known. */
static uint64_t end_at(const struct raft_log *log, uint64_t index)
{
    if (index <= log->base_index) {
        return log->base_end;
    }
    ASSERT(index <= log->last_index);
    return slot_at(log, index)->end_and_kind >> 8;
}

void raft_log_init(struct raft_log *log, void *slots, uint32_t capacity, uint64_t base_index,
                   uint64_t base_term)
{
    ASSERT(is_power_of_two(capacity));
    ASSERT(capacity <= RAFT_LOG_CAPACITY_MAX);
    *log = (struct raft_log){
        .slots = slots,
        .capacity = capacity,
        .base_index = base_index,
        .base_term = base_term,
        .last_index = base_index,
        .last_term = base_term,
        .durable_index = base_index,
    };
}

void *raft_log_move(struct raft_log *log, void *slots, uint32_t capacity)
{
    ASSERT(is_power_of_two(capacity));
    ASSERT(capacity >= raft_log_count(log));
    struct raft_log old = *log;
    log->slots = slots;
    log->capacity = capacity;
    for (uint64_t index = log->base_index + 1; index <= log->last_index; index++) {
        *slot_at(log, index) = *slot_at(&old, index);
    }
    return old.slots;
}

void raft_log_append(struct raft_log *log, uint64_t term, unsigned kind, uint32_t size)
{
    ASSERT(raft_log_room(log) > 0);
    ASSERT(term >= log->last_term);
    ASSERT(kind < RAFT_ENTRY_KINDS);
    uint64_t end = end_at(log, log->last_index) + size;
    log->last_index += 1;
    log->last_term = term;
    *slot_at(log, log->last_index) = (struct raft_log_slot){ term, end << 8 | kind };
}

void raft_log_truncate(struct raft_log *log, uint64_t index)
{
    ASSERT(index > log->base_index);
    ASSERT(index <= log->last_index);
    log->last_index = index - 1;
    log->last_term =
        log->last_index == log->base_index ? log->base_term : slot_at(log, index - 1)->term;
    if (log->durable_index > log->last_index) {
        log->durable_index = log->last_index;
    }
}

void raft_log_compact(struct raft_log *log, uint64_t index)
{
    ASSERT(index >= log->base_index);
    ASSERT(index <= log->last_index);
    if (index > log->base_index) {
        log->base_end = end_at(log, index);
        log->base_term = slot_at(log, index)->term;
        log->base_index = index;
    }
}

void raft_log_reset(struct raft_log *log, uint64_t index, uint64_t term)
{
    ASSERT(index > log->base_index);
    uint64_t end = end_at(log, log->last_index);
    raft_log_init(log, log->slots, log->capacity, index, term);
    log->base_end = end;
    log->durable_index = 0; /* until the reset itself is durable */
}

void raft_log_clear(struct raft_log *log)
{
    uint64_t end = end_at(log, log->last_index);
    raft_log_init(log, log->slots, log->capacity, /* base_index= */ 0, /* base_term= */ 0);
    log->base_end = end;
}

enum raft_log_lookup raft_log_term(const struct raft_log *log, uint64_t index, uint64_t *out_term)
{
    if (index > log->last_index) {
        return RAFT_LOG_BEYOND;
    }
    if (index < log->base_index) {
        return RAFT_LOG_COMPACTED;
    }
    *out_term = index == log->base_index ? log->base_term : slot_at(log, index)->term;
    return RAFT_LOG_FOUND;
}

bool raft_log_matches(const struct raft_log *log, uint64_t index, uint64_t term)
{
    uint64_t own = 0;
    if (LIKELY(index == log->last_index)) {
        return log->last_term == term; /* asked most often, and no slot need be touched */
    }
    return raft_log_term(log, index, &own) == RAFT_LOG_FOUND && own == term;
}

unsigned raft_log_kind(const struct raft_log *log, uint64_t index)
{
    ASSERT(index > log->base_index);
    ASSERT(index <= log->last_index);
    return (unsigned)(slot_at(log, index)->end_and_kind & 0xff);
}

uint64_t raft_log_bytes(const struct raft_log *log, uint64_t after, uint64_t upto)
{
    return upto <= after ? 0 : end_at(log, upto) - end_at(log, after);
}

uint64_t raft_log_conflict_hint(const struct raft_log *log, uint64_t index, uint64_t term,
                                uint64_t *out_term)
{
    uint64_t at = index < log->last_index ? index : log->last_index;
    while (at > log->base_index && slot_at(log, at)->term > term) {
        at--;
    }
    *out_term = at <= log->base_index ? log->base_term : slot_at(log, at)->term;
    return at < log->base_index ? log->base_index : at;
}
