/*
 * entry.c — encoding and decoding the fixed part of a log entry.
 *
 * Read next: entry.h (the layout), aof.h (where entries are kept).
 */
#include "storage/entry.h"

#include "base/assert.h"
#include "base/endian.h"

static const uint64_t ENTRY_INDEX_LIMIT = UINT64_C(1) << 48;

void entry_header_write(const struct entry *entry, char *to)
{
    ASSERT(entry->index > 0 && entry->index < ENTRY_INDEX_LIMIT);
    ASSERT(entry->kind <= ENTRY_META);
    ASSERT((entry->flags & ~ENTRY_HAS_ORIGIN) == 0);
    ASSERT((entry->flags & ENTRY_HAS_ORIGIN) == 0 || entry->origin_floor <= entry->origin_seq);
    store_u64(to, entry->index);
    store_u64(to + 8, entry->term);
    store_u64(to + 16, entry->time_ms);
    to[24] = (char)entry->kind;
    to[25] = (char)entry->flags;
    store_u16(to + 26, entry->group);
    store_u32(to + 28, entry->seed);
    if ((entry->flags & ENTRY_HAS_ORIGIN) != 0) {
        store_u64(to + 32, entry->origin_node);
        store_u64(to + 40, entry->origin_boot);
        store_u64(to + 48, entry->origin_seq);
        store_u64(to + 56, entry->origin_floor);
    }
}

bool entry_decode(struct slice bytes, struct entry *out_entry)
{
    if (bytes.size < ENTRY_HEADER_BYTES) {
        return false;
    }
    const char *from = bytes.data;
    uint8_t kind = (uint8_t)from[24];
    uint8_t flags = (uint8_t)from[25];
    uint64_t index = load_u64(from);
    if (kind > ENTRY_META || (flags & ~ENTRY_HAS_ORIGIN) != 0) {
        return false;
    }
    if (index == 0 || index >= ENTRY_INDEX_LIMIT) {
        return false;
    }
    struct entry entry = {
        .index = index,
        .term = load_u64(from + 8),
        .time_ms = load_u64(from + 16),
        .kind = (enum entry_kind)kind,
        .flags = flags,
        .group = load_u16(from + 26),
        .seed = load_u32(from + 28),
    };
    size_t header = entry_header_size(&entry);
    if (bytes.size < header) {
        return false;
    }
    if ((flags & ENTRY_HAS_ORIGIN) != 0) {
        entry.origin_node = load_u64(from + 32);
        entry.origin_boot = load_u64(from + 40);
        entry.origin_seq = load_u64(from + 48);
        entry.origin_floor = load_u64(from + 56);
        if (entry.origin_floor > entry.origin_seq) {
            return false;
        }
    }
    entry.body = slice_make(from + header, bytes.size - header);
    *out_entry = entry;
    return true;
}
