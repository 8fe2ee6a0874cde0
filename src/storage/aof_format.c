/*
 * aof_format.c — encoding and checking the AOF's segment headers, frames and names.
 *
 * Segment header, the same 80 bytes at 0 and at 4096:
 *
 *    0 u64 magic   8 u32 format   12 u32 80   16 u64 number   24 u64 first sequence
 *   32 u64 durable sequence   40 u64 identity   48 u64 capacity   56 u32 nonce   60 u32 flags
 *   64 12 bytes of zeros   76 u32 CRC-32C of bytes 0..75
 *
 * A later format keeps magic, format and the checksum's place, so that it can be told from damage.
 */
#include "storage/aof_format.h"

#include "base/assert.h"

#include <stdio.h>

enum { AOF_HEADER_BYTES = 80, AOF_HEADER_RECYCLED = 1 };

static const uint64_t AOF_HEADER_MAGIC = UINT64_C(0x0a464f41696e694d); /* "MiniAOF\n" */

uint32_t aof_nonce(uint64_t identity, uint64_t number)
{
    /* An odd multiplier makes this a bijection of the number's low 32 bits. */
    return (uint32_t)(identity ^ (identity >> 32)) + (uint32_t)number * 0x9e3779b1u;
}

void aof_header_write(const struct aof_header *header, char *to)
{
    ASSERT(header->capacity > AOF_SEGMENT_START);
    ASSERT(header->capacity <= AOF_SEGMENT_BYTES_MAX);
    ASSERT(header->durable_sequence <= header->first_sequence);
    memset(to, 0, AOF_SEGMENT_START + AOF_TERMINATOR_BYTES);
    store_u64(to, AOF_HEADER_MAGIC);
    store_u32(to + 8, AOF_FORMAT);
    store_u32(to + 12, AOF_HEADER_BYTES);
    store_u64(to + 16, header->number);
    store_u64(to + 24, header->first_sequence);
    store_u64(to + 32, header->durable_sequence);
    store_u64(to + 40, header->identity);
    store_u64(to + 48, header->capacity);
    store_u32(to + 56, header->nonce);
    store_u32(to + 60, header->recycled ? AOF_HEADER_RECYCLED : 0);
    store_u32(to + AOF_HEADER_BYTES - 4, crc32c(0, to, AOF_HEADER_BYTES - 4));
    memcpy(to + AOF_HEADER_COPY_BYTES, to, AOF_HEADER_BYTES);
}

static enum aof_header_check header_read_copy(const char *from, struct aof_header *out_header)
{
    if (load_u64(from) != AOF_HEADER_MAGIC ||
        load_u32(from + AOF_HEADER_BYTES - 4) != crc32c(0, from, AOF_HEADER_BYTES - 4)) {
        return AOF_HEADER_BAD;
    }
    if (load_u32(from + 8) > AOF_FORMAT) {
        return AOF_HEADER_TOO_NEW;
    }
    struct aof_header header = {
        .number = load_u64(from + 16),
        .first_sequence = load_u64(from + 24),
        .durable_sequence = load_u64(from + 32),
        .identity = load_u64(from + 40),
        .capacity = load_u64(from + 48),
        .nonce = load_u32(from + 56),
        .recycled = (load_u32(from + 60) & AOF_HEADER_RECYCLED) != 0,
    };
    if (header.capacity <= AOF_SEGMENT_START || header.capacity > AOF_SEGMENT_BYTES_MAX ||
        header.first_sequence == 0 || header.durable_sequence > header.first_sequence) {
        return AOF_HEADER_BAD;
    }
    *out_header = header;
    return AOF_HEADER_GOOD;
}

enum aof_header_check aof_header_read(struct slice bytes, struct aof_header *out_header)
{
    enum aof_header_check check = AOF_HEADER_BAD;
    for (size_t at = 0; at < AOF_SEGMENT_START && check == AOF_HEADER_BAD;
         at += AOF_HEADER_COPY_BYTES) {
        if (bytes.size >= at + AOF_HEADER_BYTES) {
            check = header_read_copy(bytes.data + at, out_header);
        }
    }
    return check;
}

struct aof_frame aof_frame_load(const char *at)
{
    return (struct aof_frame){
        .body_crc = load_u32(at + 4),
        .body_size = load_u32(at + 8),
        .type = (uint8_t)at[12],
        .flags = (uint8_t)at[13],
        .group = load_u16(at + 14),
        .sequence = load_u64(at + 16),
        .unsynced = load_u32(at + 24),
    };
}

bool aof_frame_read(struct slice bytes, uint32_t nonce, uint64_t offset,
                    struct aof_frame *out_frame)
{
    /* The magic comes first because it is the cheapest to refuse when searching. */
    if (bytes.size < AOF_RECORD_HEADER_BYTES || load_u32(bytes.data + 28) != AOF_RECORD_MAGIC ||
        load_u32(bytes.data) != aof_frame_crc(bytes.data, nonce, offset)) {
        return false;
    }
    struct aof_frame frame = aof_frame_load(bytes.data);
    if (frame.body_size > bytes.size - AOF_RECORD_HEADER_BYTES) {
        return false; /* the file has been cut inside this record */
    }
    if (frame.type < AOF_ENTRY || frame.type > AOF_LOG_RESET ||
        (frame.flags & ~AOF_FLAG_MORE) != 0) {
        return false;
    }
    *out_frame = frame;
    return true;
}

void aof_name(uint64_t number, const char *suffix, char out[AOF_NAME_BYTES_MAX])
{
    (void)snprintf(out, AOF_NAME_BYTES_MAX, "aof-%012llu%s", (unsigned long long)number, suffix);
}

bool aof_name_parse(const char *name, uint64_t *out_number)
{
    enum { DIGITS = 12 };
    if (strncmp(name, "aof-", 4) != 0) {
        return false;
    }
    uint64_t number = 0;
    for (unsigned i = 0; i < DIGITS; i++) {
        char c = name[4 + i];
        if (c < '0' || c > '9') {
            return false;
        }
        number = number * 10 + (uint64_t)(c - '0');
    }
    if (strcmp(name + 4 + DIGITS, ".log") != 0 || number == 0) {
        return false;
    }
    *out_number = number;
    return true;
}
