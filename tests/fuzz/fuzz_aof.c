/*
 * fuzz_aof.c — any bytes as a log: headers, frames and entries are taken whole or refused, a sealed
 * frame reads back as it was written, and one flipped bit of it never passes.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "command/command.h"
#include "command/effect.h"
#include "storage/aof_format.h"
#include "storage/entry.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FRAME_BODY_MAX = 4096, FRAME_OFFSET = AOF_SEGMENT_START };

/* What stands behind checksums is decoded without trust all the same. */
static void decode(struct slice body)
{
    struct entry entry;
    if (!entry_decode(body, &entry)) {
        return;
    }
    struct command_args args = { 0 };
    struct command_decoded decoded;
    if (command_decode(entry.body, &args, &decoded)) {
        ASSERT(decoded.argc >= 1 && decoded.command != NULL);
    }
    mem_free(args.argv);
    struct kv *kv = kv_new(1);
    (void)effects_apply(kv, entry.body, 1);
    kv_free(kv);
}

/* A frame around the body passes; with one bit flipped neither header nor body do. */
static void seal_and_flip(struct slice body, size_t bit)
{
    char *bytes = mem_zalloc(aof_frame_size(body.size));
    struct aof_frame frame = {
        .body_crc = crc32c(0, body.data, body.size),
        .body_size = (uint32_t)body.size,
        .type = AOF_ENTRY,
        .sequence = 7,
        .unsynced = 3,
    };
    aof_frame_write(&frame, bytes);
    aof_frame_seal(bytes, 42, FRAME_OFFSET);
    if (body.size > 0) {
        memcpy(bytes + AOF_RECORD_HEADER_BYTES, body.data, body.size);
    }
    struct slice whole = slice_make(bytes, aof_frame_size(body.size));
    struct aof_frame read;
    bool passes = aof_frame_read(whole, 42, FRAME_OFFSET, &read);
    ASSERT(passes && read.sequence == 7 && read.body_size == body.size);
    passes = aof_frame_read(whole, 43, FRAME_OFFSET, &read);
    ASSERT(!passes);
    bit %= (AOF_RECORD_HEADER_BYTES + body.size) * 8;
    bytes[bit / 8] = (char)(bytes[bit / 8] ^ (1 << (bit % 8)));
    if (aof_frame_read(whole, 42, FRAME_OFFSET, &read)) {
        ASSERT(read.body_crc != crc32c(0, bytes + AOF_RECORD_HEADER_BYTES, read.body_size));
    }
    mem_free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice input = slice_make(data, size);
    struct aof_header header;
    (void)aof_header_read(input, &header);
    for (size_t at = 0; at + AOF_RECORD_HEADER_BYTES <= size; at += AOF_ALIGN_BYTES) {
        struct aof_frame frame;
        (void)aof_frame_read(slice_make(data + at, size - at), 42, at, &frame);
    }
    decode(input);
    if (size >= 2 && size <= FRAME_BODY_MAX) {
        seal_and_flip(slice_make(data + 2, size - 2), data[0] + 256u * data[1]);
    }
    return 0;
}
