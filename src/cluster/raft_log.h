/*
 * raft_log.h — what raft remembers of each log entry: term, kind and size.
 *
 * The entries' bytes belong to the driver, which finds them by (group, index); raft needs sixteen
 * bytes of metadata an entry.  The log is a ring of slots in memory that the caller provides:
 *
 *      base                      durable            last
 *   ────┼───────────────────────────┼─────────────────┼────────────────
 *       │ slots: (base, last]       │ appended, not   │ room
 *       │                           │ yet durable     │
 *   compacted: a snapshot covers it; only the term of `base` itself is still known
 *
 * Each slot holds the running sum of the entry sizes, so the bytes between two indexes are one
 * subtraction: what is in flight and what is uncommitted is computed, never counted, and cannot
 * leak.  Asking for a compacted index is an answer of its own (RAFT_LOG_COMPACTED), never term 0.
 *
 * Invariants: base <= last; last - base <= capacity; durable <= last; terms never decrease.
 */
#pragma once

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Kinds raft itself knows; every other value is the state machine's (storage/entry.h). */
enum { RAFT_ENTRY_NOOP = 0, RAFT_ENTRY_CONFIG = 4, RAFT_ENTRY_KINDS = 256 };

enum raft_log_lookup { RAFT_LOG_FOUND, RAFT_LOG_COMPACTED, RAFT_LOG_BEYOND };

struct raft_log_slot {
    uint64_t term;
    uint64_t end_and_kind; /* running sum of sizes << 8 | kind */
};

struct raft_log {
    struct raft_log_slot *slots; /* the caller's memory; entry i is slots[i & (capacity - 1)] */
    uint32_t capacity;           /* a power of two */
    uint64_t base_index;         /* the entry before the first one kept */
    uint64_t base_term;
    uint64_t base_end; /* running sum at the base */
    uint64_t last_index;
    uint64_t last_term;
    uint64_t durable_index; /* known to be on the platter */
};

void raft_log_init(struct raft_log *log, void *slots, uint32_t capacity, uint64_t base_index,
                   uint64_t base_term);
/* Moves to other memory (larger or smaller); capacity >= last - base.  Returns the old memory. */
MUST_USE void *raft_log_move(struct raft_log *log, void *slots, uint32_t capacity);

/* There must be room. */
void raft_log_append(struct raft_log *log, uint64_t term, unsigned kind, uint32_t size);
/* Drops index and all after it; base < index. */
void raft_log_truncate(struct raft_log *log, uint64_t index);
/* Forgets everything up to and including index; base <= index <= last. */
void raft_log_compact(struct raft_log *log, uint64_t index);
/* Empties the log: a snapshot at (index, term) replaces it. */
void raft_log_reset(struct raft_log *log, uint64_t index, uint64_t term);
/* Empties it as if it had never been. */
void raft_log_clear(struct raft_log *log);

/* The term of an entry or of the base.  `out_term` is written only when it is found. */
MUST_USE enum raft_log_lookup raft_log_term(const struct raft_log *log, uint64_t index,
                                            uint64_t *out_term);
/* True when the log holds (or was compacted exactly at) an entry of this index and term. */
bool raft_log_matches(const struct raft_log *log, uint64_t index, uint64_t term);
/* base < index <= last. */
unsigned raft_log_kind(const struct raft_log *log, uint64_t index);
/* Encoded bytes of the entries in (after, upto]; what is compacted counts nothing. */
uint64_t raft_log_bytes(const struct raft_log *log, uint64_t after, uint64_t upto);
/* The last index <= `index` whose term is <= `term` (never below the base): where a follower's
 * log may still agree with the leader's.  Its term goes to `out_term`. */
uint64_t raft_log_conflict_hint(const struct raft_log *log, uint64_t index, uint64_t term,
                                uint64_t *out_term);

static inline uint32_t raft_log_count(const struct raft_log *log)
{
    return (uint32_t)(log->last_index - log->base_index);
}

static inline uint32_t raft_log_room(const struct raft_log *log)
{
    return log->capacity - raft_log_count(log);
}
