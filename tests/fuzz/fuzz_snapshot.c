/*
 * fuzz_snapshot.c — any bytes as a snapshot file: the decoder takes them item by item or says what
 * is wrong, reads nothing beyond them, and what it calls a whole file has its counts right.
 */
#include "base/assert.h"
#include "storage/snapshot_format.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t entries_read(struct slice body)
{
    const char *at = body.data;
    const char *end = body.data + body.size;
    uint32_t count = 0;
    while (at != NULL && at < end) {
        struct snapshot_entry entry;
        at = snapshot_entry_read(at, end, &entry);
        count += at != NULL;
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    (void)entries_read(slice_make(data, size));
    struct snapshot_file file = { .group = 7, .index = 1234 };
    struct snapshot_decoder decoder;
    snapshot_decoder_init(&decoder, &file, /* identity= */ 0, size);
    for (uint32_t items = 0; items < 1000; items++) {
        struct slice body = { 0 };
        uint32_t entries = 0;
        ASSERT(decoder.offset <= size);
        struct slice rest = slice_make(data + decoder.offset, size - decoder.offset);
        enum snapshot_item item = snapshot_decode(&decoder, rest, &body, &entries);
        if (item == SNAPSHOT_ITEM_BLOCK) {
            ASSERT(entries_read(body) <= body.size);
        } else if (item != SNAPSHOT_ITEM_HEADER) {
            break; /* the end, damage, or more bytes than there are */
        }
    }
    return 0;
}
