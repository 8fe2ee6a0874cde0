/*
 * fuzz_aof.c — log segments made of anything: the reader ends, in order, within its bounds.
 *
 * The first byte says how much help the rest gets: nothing, a valid segment header, or valid
 * checksums on everything that looks like a record, so that what lies behind them is reached.  The
 * rest is cut into up to three segments.
 */
#include "storage/aof_reader.h"

#include "../unit/storage/fake_disk.h"
#include "base/assert.h"
#include "storage/aof_format.h"
#include "storage/entry.h"

enum { HELP_HEADER = 1, HELP_RECORDS = 2, HELP_SEQUENCE = 4, SEGMENTS = 3 };

static const uint64_t IDENTITY = 42;

/* Makes the record at `at` valid, as far as its sizes allow; returns the size it takes. */
static size_t record_help(char *at, size_t left, uint32_t nonce, uint64_t offset, unsigned help,
                          uint64_t *sequence)
{
    uint32_t size = load_u32(at + 8) % 256;
    size = size > left - AOF_RECORD_HEADER_BYTES ? 0 : size;
    store_u32(at + 8, size);
    at[12] = (char)(1 + (unsigned char)at[12] % 4); /* one in four is no type */
    at[13] = at[13] & 3;
    if ((help & HELP_SEQUENCE) != 0) {
        *sequence += (unsigned char)at[16] % 8 == 0 ? 2 : 1;
        store_u64(at + 16, *sequence);
        store_u32(at + 24, load_u32(at + 24) % 16);
    }
    bool is_bad = (unsigned char)at[4] % 16 == 0;
    store_u32(at + 4, crc32c(is_bad, at + AOF_RECORD_HEADER_BYTES, size));
    store_u32(at + 28, AOF_RECORD_MAGIC);
    aof_frame_seal(at, nonce, offset + ((unsigned char)at[14] % 16 == 0));
    return aof_frame_size(size);
}

static void segment_put(struct disk *disk, uint64_t number, struct slice data, unsigned help,
                        uint64_t *sequence)
{
    struct buffer file = { 0 };
    char name[AOF_NAME_BYTES_MAX];
    char path[64];
    struct aof_header header = {
        .number = number,
        .first_sequence = *sequence + 1,
        .durable_sequence = *sequence + (data.size > 0 && data.data[0] % 2 == 0),
        .identity = IDENTITY,
        .capacity = 1 << 20,
        .nonce = aof_nonce(IDENTITY, number),
        .recycled = data.size % 2 == 0,
    };
    if ((help & HELP_HEADER) != 0) {
        char *to = buffer_reserve(&file, AOF_SEGMENT_START + AOF_TERMINATOR_BYTES);
        aof_header_write(&header, to);
        file.size = AOF_SEGMENT_START;
    }
    size_t begin = file.size;
    buffer_append_slice(&file, data);
    size_t at = begin;
    while ((help & HELP_RECORDS) != 0 && at + AOF_RECORD_HEADER_BYTES <= file.size) {
        at += record_help(file.data + at, file.size - at, header.nonce, at, help, sequence);
    }
    aof_name(number, ".log", name);
    (void)snprintf(path, sizeof(path), "d/%s", name);
    disk_put(disk, path, buffer_slice(&file));
    buffer_free(&file);
}

static void read_all(struct disk *disk)
{
    struct aof_reader *reader = NULL;
    int result = aof_reader_open(&disk->io, "d", IDENTITY, &reader);
    ASSERT(result == 0);
    uint64_t last = 0;
    uint64_t last_sum = 0;
    struct aof_record record;
    enum aof_read outcome;
    while ((outcome = aof_reader_next(reader, &record)) != AOF_READ_END) {
        ASSERT(outcome != AOF_READ_ERROR);
        if (outcome == AOF_READ_DAMAGE) {
            const struct aof_damage *damage = aof_reader_damage(reader);
            ASSERT(damage->first_sequence > last || last == 0);
            ASSERT(damage->last_sequence >= damage->first_sequence);
            last = damage->last_sequence;
            continue;
        }
        ASSERT(record.sequence > last || last == 0);
        last = record.sequence;
        for (size_t i = 0; i < record.body.size; i++) {
            last_sum += (unsigned char)record.body.data[i]; /* every byte can be read */
        }
        struct entry entry;
        if (entry_decode(record.body, &entry)) {
            last_sum += entry.body.size;
        }
    }
    const struct aof_end *end = aof_reader_end(reader);
    ASSERT(end->next_sequence > last);
    ASSERT(aof_reader_keep_torn(reader) == 0);
    aof_reader_close(reader);
    ASSERT(last_sum < UINT64_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    static struct disk *disk; /* one for all inputs: it is large */
    if (disk == NULL) {
        disk = disk_new();
    }
    unsigned help = data[0];
    uint64_t sequence = data[1];
    size_t piece = (size - 2) / SEGMENTS + 1;
    for (size_t at = 2, number = 1; at < size; at += piece, number++) {
        size_t left = size - at < piece ? size - at : piece;
        segment_put(disk, number, slice_make(data + at, left), help, &sequence);
    }
    read_all(disk);
    for (unsigned i = 0; i < DISK_FILES_MAX; i++) {
        disk->files[i].exists = false;
    }
    return 0;
}
