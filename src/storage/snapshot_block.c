/*
 * snapshot_block.c — filling blocks from a view, and loading them into a keyspace.
 *
 * Read next: snapshot_block.h.
 */
#include "storage/snapshot_block.h"

#include "base/assert.h"
#include "storage/snapshot_format.h"

bool snapshot_block_fill(struct kv_view *view, uint32_t budget_entries, size_t bytes_target,
                         struct buffer *out, uint32_t *out_entries)
{
    size_t before = out->size;
    for (uint32_t i = 0; i < budget_entries && out->size - before < bytes_target; i++) {
        const struct kv_entry *entry = kv_view_next(view);
        if (entry == NULL) {
            return false;
        }
        struct kv_scratch scratch;
        size_t room = SNAPSHOT_ENTRY_HEADER_BYTES_MAX + kv_entry_key(entry).size +
                      kv_entry_value(entry, &scratch).size;
        size_t size = snapshot_entry_write(entry, buffer_reserve(out, room));
        ASSERT(size <= room);
        out->size += size;
        *out_entries += 1;
    }
    return true;
}

bool snapshot_block_load(struct kv *kv, struct slice body, uint32_t entries)
{
    const char *detail = NULL;
    return snapshot_block_check_load(kv, body, entries, &detail) == SNAPSHOT_GOOD;
}

enum snapshot_check snapshot_block_check_load(struct kv *kv, struct slice body, uint32_t entries,
                                              const char **out_detail)
{
    const char *at = body.data;
    const char *end = body.data + body.size;
    for (uint32_t i = 0; i < entries; i++) {
        struct snapshot_entry entry;
        at = snapshot_entry_read(at, end, &entry);
        if (at == NULL) {
            *out_detail = "a block holds a malformed entry";
            return SNAPSHOT_DAMAGED;
        }
        if (entry.type != KV_STRING) {
            *out_detail = "holds a type of value that is not known";
            return SNAPSHOT_TOO_NEW;
        }
        uint64_t hash = kv_hash(kv, entry.key);
        if (entry.is_raw) {
            kv_put_raw(kv, entry.key, hash, entry.value, entry.expire_ms, entry.version);
        } else {
            kv_put(kv, entry.key, hash, entry.value, entry.expire_ms, entry.version);
        }
    }
    if (at != end) {
        *out_detail = "something follows a block's entries";
        return SNAPSHOT_DAMAGED;
    }
    return SNAPSHOT_GOOD;
}
