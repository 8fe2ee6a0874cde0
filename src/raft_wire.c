/*
 * raft_wire.c — encoding and checking raft messages.
 *
 * Read next: raft_wire.h (the layout).
 */
#include "raft_wire.h"

#include "base/assert.h"
#include "base/endian.h"
#include "base/varint.h"
#include "cluster/raft_log.h"
#include "storage/entry.h"

enum { HEAD_BYTES = 5, FIELDS_COUNT = 7 };

/* Bits of the flags: the fields that are not 0, in the order in which they follow, and the
 * booleans. */
enum {
    HAS_TERM = 1 << 0,
    HAS_INDEX = 1 << 1,
    HAS_LOG_TERM = 1 << 2,
    HAS_COMMIT = 1 << 3,
    HAS_HINT = 1 << 4,
    HAS_SENT_MS = 1 << 5,
    HAS_READ_SEQ = 1 << 6,
    IS_REJECTED = 1 << 7,
    IS_TRANSFER = 1 << 8,
    IS_SUSPECT = 1 << 9,
    FLAGS_KNOWN = (1 << 10) - 1,
};

/* Indexes have 48 bits (storage/entry.h); terms, one more than any that was seen, never get near.
 */

_Static_assert((int)ENTRY_NOOP == (int)RAFT_ENTRY_NOOP, "raft knows an empty entry");
_Static_assert((int)ENTRY_CONFIG == (int)RAFT_ENTRY_CONFIG, "raft knows a configuration");
_Static_assert((int)ENTRY_META < (int)RAFT_ENTRY_KINDS, "raft passes every other kind through");
_Static_assert(RAFT_WIRE_HEAD_BYTES_MAX ==
                   HEAD_BYTES + FIELDS_COUNT * VARINT_BYTES_MAX + 2 + RAFT_CONFIG_BYTES_MAX,
               "the head fits");
_Static_assert(RAFT_CONFIG_BYTES_MAX <= UINT16_MAX && RAFT_APPEND_ENTRIES_MAX <= UINT16_MAX,
               "sizes and counts have 16 bits");

static bool read_head(struct slice *left, const struct raft_wire_route *route,
                      struct raft_message *out_message);
static bool read_config(struct slice *left, struct raft_wire_message *out);
static bool read_entries(struct slice *left, struct raft_wire_message *out);
static bool read_entry(struct slice *left, struct raft_wire_message *out, uint32_t at,
                       uint64_t term_before);

/* ── writing ─────────────────────────────────────────────────────────────────────────────────── */

/* The fields in the order of their flags. */
static void fields_of(const struct raft_message *message, uint64_t out[FIELDS_COUNT])
{
    out[0] = message->term;
    out[1] = message->index;
    out[2] = message->log_term;
    out[3] = message->commit;
    out[4] = message->hint;
    out[5] = message->sent_ms;
    out[6] = message->read_seq;
}

size_t raft_wire_head_write(const struct raft_message *message, char *to)
{
    ASSERT(message->kind > 0 && message->kind < RAFT_MESSAGE_KINDS);
    ASSERT(message->group <= UINT16_MAX);
    ASSERT(message->entries_count == 0 || message->kind == RAFT_MESSAGE_APPEND);
    ASSERT(message->entries_count <= RAFT_APPEND_ENTRIES_MAX);
    uint64_t fields[FIELDS_COUNT];
    fields_of(message, fields);
    unsigned flags = message->is_rejected ? IS_REJECTED : 0;
    flags |= message->is_transfer ? IS_TRANSFER : 0u;
    flags |= message->is_suspect ? IS_SUSPECT : 0u;
    char *at = to + HEAD_BYTES;
    for (unsigned i = 0; i < FIELDS_COUNT; i++) {
        if (fields[i] != 0) {
            flags |= 1u << i;
            at = varint_write(at, fields[i]);
        }
    }
    to[0] = (char)message->kind;
    store_u16(to + 1, (uint16_t)flags);
    store_u16(to + 3, (uint16_t)message->group);
    if (message->kind == RAFT_MESSAGE_SNAPSHOT) {
        size_t size = raft_config_encode(message->config, at + 2);
        store_u16(at, (uint16_t)size);
        at += 2 + size;
    } else if (message->kind == RAFT_MESSAGE_APPEND) {
        store_u16(at, (uint16_t)message->entries_count);
        at += 2;
    }
    return (size_t)(at - to);
}

size_t raft_wire_entry_write(struct slice entry, char *to)
{
    ASSERT(entry.size >= ENTRY_HEADER_BYTES && entry.size <= UINT32_MAX);
    store_u32(to, (uint32_t)entry.size);
    memcpy(to + RAFT_WIRE_ENTRY_HEAD_BYTES, entry.data, entry.size);
    return RAFT_WIRE_ENTRY_HEAD_BYTES + entry.size;
}

/* ── reading ─────────────────────────────────────────────────────────────────────────────────── */

/* Takes `size` bytes off the front; NULL when there are fewer. */
static const char *take(struct slice *left, size_t size)
{
    if (left->size < size) {
        return NULL;
    }
    const char *at = left->data;
    *left = slice_make(at + size, left->size - size);
    return at;
}

bool raft_wire_read(struct slice *left, const struct raft_wire_route *route,
                    struct raft_wire_message *out)
{
    if (!read_head(left, route, &out->message)) {
        return false;
    }
    if (out->message.kind == RAFT_MESSAGE_SNAPSHOT) {
        return read_config(left, out);
    }
    if (out->message.kind == RAFT_MESSAGE_APPEND) {
        return read_entries(left, out);
    }
    return true;
}

/* A varint that is not 0 and has no superfluous bytes. */
static bool read_field(struct slice *left, uint64_t *out)
{
    const char *after = varint_read(left->data, left->data + left->size, out);
    if (after == NULL || *out == 0 || (size_t)(after - left->data) != varint_size(*out)) {
        return false;
    }
    return take(left, (size_t)(after - left->data)) != NULL;
}

static bool read_head(struct slice *left, const struct raft_wire_route *route,
                      struct raft_message *out_message)
{
    const char *head = take(left, HEAD_BYTES);
    if (head == NULL) {
        return false;
    }
    unsigned kind = (unsigned char)head[0];
    unsigned flags = load_u16(head + 1);
    if (kind == 0 || kind >= RAFT_MESSAGE_KINDS || (flags & ~(unsigned)FLAGS_KNOWN) != 0) {
        return false;
    }
    uint64_t fields[FIELDS_COUNT] = { 0 };
    for (unsigned i = 0; i < FIELDS_COUNT; i++) {
        if ((flags & 1u << i) != 0 && !read_field(left, &fields[i])) {
            return false;
        }
        bool is_position = (1u << i & (HAS_SENT_MS | HAS_READ_SEQ)) == 0;
        if (is_position && fields[i] >= RAFT_WIRE_POSITION_LIMIT) {
            return false;
        }
    }
    *out_message = (struct raft_message){
        .kind = (enum raft_message_kind)kind,
        .group = load_u16(head + 3),
        .cluster = route->cluster,
        .from = route->from,
        .from_incarnation = route->from_incarnation,
        .to = route->to,
        .to_incarnation = route->to_incarnation,
        .boot = route->boot,
        .term = fields[0],
        .index = fields[1],
        .log_term = fields[2],
        .commit = fields[3],
        .hint = fields[4],
        .sent_ms = fields[5],
        .read_seq = fields[6],
        .is_rejected = (flags & IS_REJECTED) != 0,
        .is_transfer = (flags & IS_TRANSFER) != 0,
        .is_suspect = (flags & IS_SUSPECT) != 0,
    };
    return true;
}

/* The configuration of SNAPSHOT. */
static bool read_config(struct slice *left, struct raft_wire_message *out)
{
    const char *size = take(left, 2);
    const char *bytes = size != NULL ? take(left, load_u16(size)) : NULL;
    if (bytes == NULL || !raft_config_decode(slice_make(bytes, load_u16(size)), &out->configs[0])) {
        return false;
    }
    out->message.config = &out->configs[0];
    return true;
}

static bool read_entries(struct slice *left, struct raft_wire_message *out)
{
    const char *count = take(left, 2);
    if (count == NULL || load_u16(count) > RAFT_APPEND_ENTRIES_MAX) {
        return false;
    }
    uint64_t term = out->message.log_term;
    out->message.entries_count = load_u16(count);
    out->message.entries = out->entries;
    for (uint32_t i = 0; i < out->message.entries_count; i++) {
        if (!read_entry(left, out, i, term)) {
            return false;
        }
        term = out->entries[i].term;
    }
    return true;
}

/* Reads the entry of index message.index + 1 + at.  Terms never decrease in a log, and none in it
 * is above its owner's. */
static bool read_entry(struct slice *left, struct raft_wire_message *out, uint32_t at,
                       uint64_t term_before)
{
    const struct raft_message *message = &out->message;
    const char *size = take(left, RAFT_WIRE_ENTRY_HEAD_BYTES);
    const char *bytes = size != NULL ? take(left, load_u32(size)) : NULL;
    struct entry entry;
    if (bytes == NULL || !entry_decode(slice_make(bytes, load_u32(size)), &entry)) {
        return false;
    }
    if (entry.index != message->index + 1 + at || entry.group != message->group ||
        entry.term < term_before || entry.term > message->term) {
        return false;
    }
    bool is_config = entry.kind == ENTRY_CONFIG;
    if (is_config && !raft_config_decode(entry.body, &out->configs[at])) {
        return false;
    }
    out->bytes[at] = slice_make(bytes, load_u32(size));
    out->entries[at] = (struct raft_entry){
        .index = entry.index,
        .term = entry.term,
        .size = load_u32(size),
        .kind = (uint8_t)entry.kind,
        .bytes = &out->bytes[at],
        .config = is_config ? &out->configs[at] : NULL,
    };
    return true;
}
