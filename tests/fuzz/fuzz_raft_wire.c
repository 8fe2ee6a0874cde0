/*
 * fuzz_raft_wire.c — a frame of raft messages made of anything: each is refused, or has exactly
 * these bytes as its encoding and agrees with its entries.
 */
#include "raft_wire.h"

#include "base/assert.h"
#include "base/buffer.h"
#include "cluster/raft_log.h"
#include "storage/entry.h"

static void entry_check(const struct raft_message *message, uint32_t at)
{
    const struct raft_entry *entry = &message->entries[at];
    const struct slice *bytes = entry->bytes;
    struct entry decoded;
    ASSERT(entry_decode(*bytes, &decoded));
    ASSERT(entry->index == message->index + 1 + at && entry->index == decoded.index);
    ASSERT(entry->term >= message->log_term && entry->term <= message->term);
    ASSERT(decoded.group == message->group && entry->size == bytes->size);
    ASSERT((entry->config != NULL) == (entry->kind == RAFT_ENTRY_CONFIG));
    ASSERT(entry->config == NULL || raft_config_is_valid(entry->config));
}

static void again(const struct raft_message *message, struct slice bytes)
{
    struct buffer out = { 0 };
    out.size = raft_wire_head_write(message, buffer_reserve(&out, RAFT_WIRE_HEAD_BYTES_MAX));
    for (uint32_t i = 0; i < message->entries_count; i++) {
        entry_check(message, i);
        const struct slice *entry = message->entries[i].bytes;
        char *to = buffer_reserve(&out, RAFT_WIRE_ENTRY_HEAD_BYTES + entry->size);
        out.size += raft_wire_entry_write(*entry, to);
    }
    ASSERT(slice_equal(buffer_slice(&out), bytes));
    buffer_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct raft_wire_message read; /* one for all inputs: it is large */
    const struct raft_wire_route route = { .cluster = 1, .from = 2, .to = 3 };
    struct slice left = slice_make(data, size);
    for (;;) {
        struct slice before = left;
        if (!raft_wire_read(&left, &route, &read)) {
            return 0;
        }
        ASSERT(left.size < before.size && left.data + left.size == before.data + before.size);
        again(&read.message, slice_make(before.data, before.size - left.size));
    }
}
