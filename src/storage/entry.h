/*
 * entry.h — one log entry: the unit of replication, of the AOF and of apply.
 *
 * The encoded bytes are made once, by the leader; the same bytes go into its AOF, into the
 * followers' AOFs and through apply.  Layout (little-endian, docs/FORMATS.md):
 *
 *    0 u64 index     8 u64 term     16 u64 time_ms     24 u8 kind   25 u8 flags   26 u16 group
 *   28 u32 seed     [32 u64 node, u64 boot, u64 seq, u64 floor: ENTRY_HAS_ORIGIN]     body ...
 *
 * time_ms is stamped by the leader and never goes back within a group.  seed is what apply may
 * use as randomness.  The origin says who wants the write and which of its writes it is, so that
 * one sent twice runs once (sessions.h); every seq of that node and boot below floor is settled:
 * nobody will send it again.  floor <= seq.  A checksum travels beside these bytes (the AOF
 * record's or the message's).
 */
#pragma once

#include "base/compiler.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum entry_kind {
    ENTRY_NOOP = 0,    /* no body: first entry of a term */
    ENTRY_COMMAND = 1, /* varint opcode, varint argc, argc x (varint size, bytes): run at apply */
    ENTRY_EFFECT = 2,  /* resulting values: a list of puts and deletes (command/effect.h) */
    ENTRY_EXPIRE = 3,  /* varint count, count x u64 key hash: drop those expired at time_ms */
    ENTRY_CONFIG = 4,  /* reserved: replica set of the group */
    ENTRY_VERIFY = 5,  /* reserved: compare digests at this index */
    ENTRY_META = 6,    /* reserved: the meta group's members and settings */
};

enum { ENTRY_HAS_ORIGIN = 1 << 0 };
enum { ENTRY_HEADER_BYTES = 32, ENTRY_ORIGIN_BYTES = 32 };

struct entry {
    uint64_t index; /* 1, 2, 3 ... within the group; 48 bits */
    uint64_t term;
    uint64_t time_ms; /* wall clock of the leader, monotonic within the group */
    enum entry_kind kind;
    uint8_t flags;
    uint16_t group; /* partition number */
    uint32_t seed;
    uint64_t origin_node, origin_boot, origin_seq, origin_floor; /* valid with ENTRY_HAS_ORIGIN */
    struct slice body; /* borrowed from the encoded bytes */
};

static inline size_t entry_header_size(const struct entry *entry)
{
    return ENTRY_HEADER_BYTES + ((entry->flags & ENTRY_HAS_ORIGIN) != 0 ? ENTRY_ORIGIN_BYTES : 0u);
}

/* Writes the header (entry_header_size bytes); the body follows it. */
void entry_header_write(const struct entry *entry, char *to);
/* Decodes untrusted bytes; false when they are no entry (too short, unknown flags or kind).
 * Unknown kinds are an error and never skipped. */
MUST_USE bool entry_decode(struct slice bytes, struct entry *out_entry);
