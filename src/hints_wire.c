/*
 * hints_wire.c — see hints_wire.h.
 */
#include "hints_wire.h"

#include "base/assert.h"
#include "base/endian.h"
#include "raft_wire.h"

enum { HINTS_FORMAT = 2 };

/* ── writing ─────────────────────────────────────────────────────────────────────────────────── */

void hints_wire_head_write(const struct hints_wire_head *head, char *to)
{
    to[0] = HINTS_FORMAT;
    to[1] = head->is_all;
    store_u64(to + 2, head->epoch);
    store_u32(to + 10, head->held);
    store_u32(to + 14, head->count);
}

size_t hints_wire_entry_write(const struct hints_wire_entry *entry, char *to)
{
    ASSERT(entry->term > 0 && entry->term < RAFT_WIRE_POSITION_LIMIT);
    bool is_leading = (entry->flags & HINT_NOT_LEADING) == 0;
    char *at = varint_write(to, entry->partition);
    at = varint_write(at, entry->term);
    *at++ = (char)entry->flags;
    at = varint_write(at, entry->bytes_left);
    size_t size = is_leading ? raft_config_encode(&entry->members, at + 2) : 0;
    store_u16(at, (uint16_t)size);
    at += 2 + size;
    ASSERT(at - to <= HINTS_WIRE_ENTRY_BYTES_MAX);
    return (size_t)(at - to);
}

/* ── reading ─────────────────────────────────────────────────────────────────────────────────── */

bool hints_wire_open(struct slice body, uint32_t partitions, struct hints_wire_reader *out_reader,
                     struct hints_wire_head *out_head)
{
    if (body.size < HINTS_WIRE_HEAD_BYTES || body.data[0] != HINTS_FORMAT) {
        return false;
    }
    unsigned is_all = (unsigned char)body.data[1];
    struct hints_wire_head head = {
        .is_all = is_all == 1,
        .epoch = load_u64(body.data + 2),
        .held = load_u32(body.data + 10),
        .count = load_u32(body.data + 14),
    };
    if (is_all > 1 || head.held > partitions || head.count > partitions) {
        return false;
    }
    *out_head = head;
    *out_reader = (struct hints_wire_reader){
        .left = slice_make(body.data + HINTS_WIRE_HEAD_BYTES, body.size - HINTS_WIRE_HEAD_BYTES),
        .partitions = partitions,
        .entries_left = head.count,
    };
    return true;
}

/* Returns where the entry ends; NULL: it is malformed. */
static const char *entry_read(const struct hints_wire_reader *reader, struct hints_wire_entry *out)
{
    uint64_t partition = 0;
    const char *end = reader->left.data + reader->left.size;
    const char *at = varint_read(reader->left.data, end, &partition);
    *out = (struct hints_wire_entry){ .partition = (uint32_t)partition };
    at = at != NULL ? varint_read(at, end, &out->term) : NULL;
    if (at == NULL || at == end || partition < reader->next || partition >= reader->partitions ||
        out->term == 0 || out->term >= RAFT_WIRE_POSITION_LIMIT) {
        return NULL;
    }
    out->flags = (uint8_t)*at++;
    at = varint_read(at, end, &out->bytes_left);
    if (at == NULL || end - at < 2 || end - at - 2 < load_u16(at)) {
        return NULL;
    }
    struct slice config = slice_make(at + 2, load_u16(at));
    bool is_leading = (out->flags & HINT_NOT_LEADING) == 0;
    bool is_sane = is_leading ? raft_config_decode(config, &out->members) : config.size == 0;
    return is_sane ? config.data + config.size : NULL;
}

bool hints_wire_next(struct hints_wire_reader *reader, struct hints_wire_entry *out_entry)
{
    if (reader->entries_left == 0 || reader->is_malformed) {
        return false;
    }
    struct hints_wire_entry entry;
    const char *after = entry_read(reader, &entry);
    if (after == NULL) {
        reader->is_malformed = true;
        return false;
    }
    reader->left.size -= (size_t)(after - reader->left.data);
    reader->left.data = after;
    reader->next = entry.partition + 1;
    reader->entries_left--;
    *out_entry = entry;
    return true;
}

bool hints_wire_is_whole(const struct hints_wire_reader *reader)
{
    return !reader->is_malformed && reader->entries_left == 0 && reader->left.size == 0;
}
