/*
 * fuzz_snapshot.c — snapshot files made of anything: loaded or refused, never more than that.
 *
 * The first byte says how much help the rest gets: nothing, a valid header, or valid frames and
 * checksums as well, so that the decoding of entries is reached.
 */
#include "storage/snapshot.h"

#include "../unit/storage/fake_disk.h"
#include "base/assert.h"
#include "storage/kv_store.h"
#include "storage/snapshot_format.h"

enum { HELP_HEADER = 1, HELP_FRAMES = 2 };

static void file_build(struct buffer *file, struct slice data, unsigned help)
{
    struct snapshot_totals totals;
    struct snapshot_meta meta = { .identity = 7, .group = 3, .index = 9, .term = 1, .time_ms = 1 };
    if ((help & HELP_HEADER) != 0) {
        snapshot_header_write(&meta, buffer_reserve(file, SNAPSHOT_HEADER_BYTES), &totals);
        file->size = SNAPSHOT_HEADER_BYTES;
    }
    if ((help & HELP_HEADER) == 0 || (help & HELP_FRAMES) == 0) {
        buffer_append_slice(file, data);
        return;
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
    struct buffer bytes = { 0 };
    file_build(&bytes, slice_make(data + 1, size - 1), data[0]);
    disk_put(disk, "d/snap-00003-000000000000009.mdb", buffer_slice(&bytes));
    struct kv *kv = kv_new(1);
    struct snapshot_file file = { .group = 3, .index = 9 };
    struct snapshot_meta meta;
    struct snapshot_report report;
    enum snapshot_check check = snapshot_load(&disk->io, "d", &file, 7, kv, NULL, &meta, &report);
    ASSERT((check == SNAPSHOT_GOOD) == (report.detail[0] == '\0'));
    ASSERT(check != SNAPSHOT_GOOD || kv_stats(kv)->keys == meta.keys);
    ASSERT(report.offset <= bytes.size);
    kv_free(kv);
    buffer_free(&bytes);
    return 0;
}
