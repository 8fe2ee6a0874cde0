/*
 * fuzz_snapshot.c — snapshot files made of anything: loaded or refused, never more than that.
 *
 * The first byte says how much help the rest gets: nothing, a valid header, or valid frames and
 * checksums as well, so that the decoding of entries is reached; with or without aux.  Without any
 * help the rest is also taken for a block that came from another node.
 */
#include "storage/snapshot.h"

#include "../unit/storage/fake_disk.h"
#include "base/assert.h"
#include "storage/kv_store.h"
#include "storage/snapshot_block.h"
#include "storage/snapshot_format.h"

enum { HELP_HEADER = 1, HELP_FRAMES = 2, HELP_AUX = 4, AUX_BYTES = 5 };

static void file_build(struct buffer *file, struct slice data, unsigned help)
{
    struct snapshot_totals totals;
    struct snapshot_meta meta = { .identity = 7, .group = 3, .index = 9, .term = 1, .time_ms = 1 };
    bool has_aux = (help & HELP_AUX) != 0 && data.size > AUX_BYTES;
    meta.aux = slice_make(data.data, has_aux ? AUX_BYTES : 0);
    if ((help & HELP_HEADER) != 0) {
        snapshot_header_write(&meta, buffer_reserve(file, SNAPSHOT_HEADER_BYTES), &totals);
        file->size = SNAPSHOT_HEADER_BYTES;
    }
    if ((help & HELP_HEADER) == 0 || (help & HELP_FRAMES) == 0) {
        buffer_append_slice(file, data);
        return;
    }
    if (has_aux) {
        char *to = buffer_reserve(file, SNAPSHOT_FRAME_BYTES + AUX_BYTES);
        memcpy(to + SNAPSHOT_FRAME_BYTES, data.data, AUX_BYTES);
        snapshot_aux_write(to, AUX_BYTES, &totals);
        file->size += SNAPSHOT_FRAME_BYTES + AUX_BYTES;
        data = slice_make(data.data + AUX_BYTES, data.size - AUX_BYTES);
    }
    /* One block for each piece: a byte for its entries, a byte for its size, then the body. */
    while (data.size > 3) {
        uint32_t entries = 1 + (unsigned char)data.data[0] % 8;
        size_t size = 1 + (unsigned char)data.data[1];
        size = size < data.size - 2 ? size : data.size - 2;
        char *to = buffer_reserve(file, SNAPSHOT_FRAME_BYTES + size);
        memcpy(to + SNAPSHOT_FRAME_BYTES, data.data + 2, size);
        snapshot_frame_write(to, size, entries, &totals);
        file->size += SNAPSHOT_FRAME_BYTES + size;
        data = slice_make(data.data + 2 + size, data.size - 2 - size);
    }
    snapshot_footer_write(buffer_reserve(file, SNAPSHOT_FOOTER_BYTES), &totals);
    file->size += SNAPSHOT_FOOTER_BYTES;
}

/* Never more keys than were announced. */
static void block_fuzz(struct slice body)
{
    for (uint32_t entries = 0; entries < 4; entries++) {
        struct kv *kv = kv_new(1);
        bool is_good = snapshot_block_load(kv, body, entries);
        ASSERT(!is_good || kv_stats(kv)->keys <= entries);
        kv_free(kv);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    static struct disk *disk; /* one for all inputs: it is large */
    if (disk == NULL) {
        disk = disk_new();
    }
    if (data[0] == 0) {
        block_fuzz(slice_make(data + 1, size - 1));
    }
    struct buffer bytes = { 0 };
    file_build(&bytes, slice_make(data + 1, size - 1), data[0]);
    disk_put(disk, "d/snap-00003-000000000000009.mdb", buffer_slice(&bytes));
    struct kv *kv = kv_new(1);
    struct snapshot_file file = { .group = 3, .index = 9 };
    struct snapshot_meta meta;
    struct snapshot_report report;
    struct buffer aux = { 0 };
    enum snapshot_check check = snapshot_load(&disk->io, "d", &file, 7, kv, &aux, &meta, &report);
    ASSERT(check != SNAPSHOT_GOOD || aux.size == meta.aux_bytes);
    ASSERT((check == SNAPSHOT_GOOD) == (report.detail[0] == '\0'));
    ASSERT(check != SNAPSHOT_GOOD || kv_stats(kv)->keys == meta.keys);
    ASSERT(report.offset <= bytes.size);
    kv_free(kv);
    buffer_free(&aux);
    buffer_free(&bytes);
    return 0;
}
