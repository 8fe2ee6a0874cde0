/*
 * aof_format.h — the AOF's bytes: segment headers, record frames, file names.  Internal to the
 * writer (aof.c, aof_segments.c), the reader (aof_reader.c) and offline tools.
 *
 * A segment file is
 *
 *      0  header, copy one         4096  header, copy two (another block: one lost block is
 * nothing) 8192  records, each on a multiple of 8, then zeros (or, in a recycled file, old bytes)
 *
 * A segment appears under its name only after its header is durable, so a bad header is always
 * damage.  The nonce is a bijection of the segment number under a secret of the data directory:
 * no two segments of a directory share one.  A record's header checksum starts from the nonce and
 * the record's offset, so a record of an older use of the file, or one that the disk wrote to the
 * wrong place, never looks valid (CRC is a bijection of its starting value).
 *
 * Read next: aof.h (the record's layout), docs/FORMATS.md.
 */
#pragma once

#include "base/crc32c.h"
#include "base/endian.h"
#include "storage/aof.h"

#include <stddef.h>

enum {
    AOF_FORMAT = 1,
    AOF_HEADER_COPY_BYTES = 4096, /* distance between the two copies of a segment's header */
    AOF_SEGMENT_START = 2 * AOF_HEADER_COPY_BYTES,
    AOF_TERMINATOR_BYTES = 32, /* zeros written behind the last record */
    AOF_ALIGN_BYTES = 8,
    AOF_NAME_BYTES_MAX = 32,
    AOF_SEGMENT_BYTES_MAX = 1 << 30, /* the reader holds one segment in memory */
    AOF_FLAG_MORE = 1,
};

/* ── segment header ──────────────────────────────────────────────────────────────────────────── */

struct aof_header {
    uint64_t number;
    uint64_t first_sequence;   /* of the first record in it */
    uint64_t durable_sequence; /* records below it were durable when the segment was made */
    uint64_t identity;
    uint64_t capacity; /* records end before this offset */
    uint32_t nonce;
    bool recycled; /* the space ahead holds old bytes instead of zeros */
};

enum aof_header_check { AOF_HEADER_GOOD, AOF_HEADER_BAD, AOF_HEADER_TOO_NEW };

uint32_t aof_nonce(uint64_t identity, uint64_t number);
/* Writes AOF_SEGMENT_START bytes (both copies) and a terminator behind them. */
void aof_header_write(const struct aof_header *header, char *to);
/* Takes the first AOF_SEGMENT_START bytes of a file, or fewer when it is shorter. */
enum aof_header_check aof_header_read(struct slice bytes, struct aof_header *out_header);

/* ── records ─────────────────────────────────────────────────────────────────────────────────── */

struct aof_frame {
    uint32_t body_crc;
    uint32_t body_size;
    uint8_t type;
    uint8_t flags;
    uint16_t group;
    uint64_t sequence;
    uint32_t unsynced;
};

static inline size_t aof_frame_size(size_t body_size)
{
    size_t size = AOF_RECORD_HEADER_BYTES + body_size;
    return (size + AOF_ALIGN_BYTES - 1) & ~(size_t)(AOF_ALIGN_BYTES - 1);
}

static inline uint32_t aof_frame_crc(const char *at, uint32_t nonce, uint64_t offset)
{
    return crc32c(nonce ^ (uint32_t)(offset / AOF_ALIGN_BYTES), at + 4,
                  AOF_RECORD_HEADER_BYTES - 4);
}

static inline void aof_frame_write(const struct aof_frame *frame, char *to)
{
    store_u32(to + 4, frame->body_crc);
    store_u32(to + 8, frame->body_size);
    to[12] = (char)frame->type;
    to[13] = (char)frame->flags;
    store_u16(to + 14, frame->group);
    store_u64(to + 16, frame->sequence);
    store_u32(to + 24, frame->unsynced);
    store_u32(to + 28, AOF_RECORD_MAGIC);
}

/* Stamps the header's checksum for the place where the record will stand. */
static inline void aof_frame_seal(char *at, uint32_t nonce, uint64_t offset)
{
    store_u32(at, aof_frame_crc(at, nonce, offset));
}

/* Fields of a frame whose checksum is known to be right. */
struct aof_frame aof_frame_load(const char *at);
/* False unless the header is a record's and stands where it was meant to.  Does not look at the
 * body beyond its size fitting into `bytes`, which begin at `offset` of the segment. */
bool aof_frame_read(struct slice bytes, uint32_t nonce, uint64_t offset,
                    struct aof_frame *out_frame);

/* The records below this were durable when the frame was written; 0: not known. */
static inline uint64_t aof_frame_floor(const struct aof_frame *frame)
{
    bool unknown = frame->unsynced == UINT32_MAX || frame->unsynced > frame->sequence;
    return unknown ? 0 : frame->sequence - frame->unsynced;
}

/* ── names ───────────────────────────────────────────────────────────────────────────────────── */

#define AOF_NAME_NEXT "aof-next.tmp"   /* being prepared */
#define AOF_NAME_SPARE "aof-spare.tmp" /* released, to be used again */

/* "aof-000000000001.log" */
void aof_name(uint64_t number, const char *suffix, char out[AOF_NAME_BYTES_MAX]);
/* True for a segment's name. */
bool aof_name_parse(const char *name, uint64_t *out_number);
