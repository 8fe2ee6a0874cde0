/*
 * snapshot_format.c — encoding and checking a snapshot's header, frames, entries and footer.
 *
 *   header   0 u64 magic   8 u32 format   12 u32 88   16 u64 identity   24 u32 group   28 u32 zero
 *           32 u64 index  40 u64 term     48 u64 time_ms   56 u32 size of aux   64 u64 sequence
 *           84 u32 CRC-32C of bytes 0..83, all else is zero
 * frame    0 u32 CRC-32C of bytes 4..31, begun with the seed 4
 * u32 CRC-32C of the body 8 u32 body size   12 u32 entries   16 u64 entries before   24 u32 number
 *           28 u32 magic: of aux, of a block, of the footer
 *   footer   a frame and a body of 24 bytes: 0 u64 keys   8 u64 file size   16 u64 digest
 *
 * Read next: snapshot_format.h.
 */
#include "storage/snapshot_format.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/endian.h"
#include "base/hash.h"
#include "base/mutant.h"
#include "base/varint.h"

#include <stdio.h>

enum {
    ENTRY_TYPE_MASK = 15,
    ENTRY_HAS_EXPIRY = 16,
    ENTRY_IS_RAW = 32,
    FOOTER_BODY_BYTES = SNAPSHOT_FOOTER_BYTES - SNAPSHOT_FRAME_BYTES,
};

static const uint64_t HEADER_MAGIC = UINT64_C(0x0a50414e53696e4d); /* "MniSNAP\n" */
static const uint32_t BLOCK_MAGIC = 0x31424e53;                    /* "SNB1" */
static const uint32_t AUX_MAGIC = 0x31414e53;                      /* "SNA1" */
static const uint32_t FOOTER_MAGIC = 0x31464e53;                   /* "SNF1" */

static uint32_t frame_seed(const struct snapshot_meta *meta)
{
    char bytes[24] = { 0 };
    store_u64(bytes, meta->identity);
    store_u64(bytes + 8, meta->index);
    store_u32(bytes + 16, meta->group);
    return crc32c(0, bytes, sizeof(bytes));
}

static uint64_t digest_add(uint64_t digest, uint32_t body_crc, uint32_t body_size)
{
    char bytes[8];
    store_u32(bytes, body_crc);
    store_u32(bytes + 4, body_size);
    return hash_key(slice_make(bytes, sizeof(bytes)), digest);
}

static struct snapshot_totals totals_begin(const struct snapshot_meta *meta)
{
    return (struct snapshot_totals){ .bytes = SNAPSHOT_HEADER_BYTES, .seed = frame_seed(meta) };
}

/* Counts a frame that is right, aux or a block. */
static void totals_add(struct snapshot_totals *totals, const char *frame)
{
    uint32_t size = load_u32(frame + 8);
    totals->keys += load_u32(frame + 12);
    totals->blocks += 1;
    totals->bytes += SNAPSHOT_FRAME_BYTES + (uint64_t)size;
    totals->digest = digest_add(totals->digest, load_u32(frame + 4), size);
}

/* ── writing ─────────────────────────────────────────────────────────────────────────────────── */

void snapshot_header_write(const struct snapshot_meta *meta, char *to,
                           struct snapshot_totals *out_totals)
{
    ASSERT(meta->group < PARTITIONS_MAX);
    ASSERT(meta->aux.size <= SNAPSHOT_AUX_BYTES_MAX);
    memset(to, 0, SNAPSHOT_HEADER_BYTES);
    store_u64(to, HEADER_MAGIC);
    store_u32(to + 8, SNAPSHOT_FORMAT);
    store_u32(to + 12, SNAPSHOT_HEADER_BYTES);
    store_u64(to + 16, meta->identity);
    store_u32(to + 24, meta->group);
    store_u64(to + 32, meta->index);
    store_u64(to + 40, meta->term);
    store_u64(to + 48, meta->time_ms);
    store_u32(to + 56, (uint32_t)meta->aux.size);
    store_u64(to + 64, meta->sequence);
    store_u32(to + SNAPSHOT_HEADER_BYTES - 4, crc32c(0, to, SNAPSHOT_HEADER_BYTES - 4));
    *out_totals = totals_begin(meta);
}

static void frame_write(char *to, uint32_t magic, uint32_t body_size, uint32_t entries,
                        const struct snapshot_totals *totals)
{
    store_u32(to + 4, crc32c(0, to + SNAPSHOT_FRAME_BYTES, body_size));
    store_u32(to + 8, body_size);
    store_u32(to + 12, entries);
    store_u64(to + 16, totals->keys);
    store_u32(to + 24, totals->blocks);
    store_u32(to + 28, magic);
    store_u32(to, crc32c(totals->seed, to + 4, SNAPSHOT_FRAME_BYTES - 4));
}

void snapshot_aux_write(char *to, size_t size, struct snapshot_totals *totals)
{
    ASSERT(size > 0 && size <= SNAPSHOT_AUX_BYTES_MAX);
    ASSERT(totals->blocks == 0);
    frame_write(to, AUX_MAGIC, (uint32_t)size, 0, totals);
    totals_add(totals, to);
}

void snapshot_frame_write(char *to, size_t body_size, uint32_t entries,
                          struct snapshot_totals *totals)
{
    ASSERT(body_size > 0 && body_size <= UINT32_MAX);
    ASSERT(entries > 0);
    frame_write(to, BLOCK_MAGIC, (uint32_t)body_size, entries, totals);
    totals_add(totals, to);
}

void snapshot_footer_write(char *to, struct snapshot_totals *totals)
{
    totals->bytes += SNAPSHOT_FOOTER_BYTES;
    char *body = to + SNAPSHOT_FRAME_BYTES;
    store_u64(body, totals->keys);
    store_u64(body + 8, totals->bytes);
    store_u64(body + 16, totals->digest);
    frame_write(to, FOOTER_MAGIC, FOOTER_BODY_BYTES, 0, totals);
}

static char *write_u48(char *to, uint64_t value)
{
    ASSERT(value >> 48 == 0);
    store_u32(to, (uint32_t)value);
    store_u16(to + 4, (uint16_t)(value >> 32));
    return to + 6;
}

size_t snapshot_entry_write(const struct kv_entry *entry, char *to)
{
    struct kv_scratch scratch;
    struct slice key = kv_entry_key(entry);
    struct slice value = kv_entry_value(entry, &scratch);
    uint64_t expire_ms = kv_entry_expire_ms(entry);
    unsigned flags = (unsigned)kv_entry_type(entry);
    flags |= expire_ms != KV_NO_EXPIRY ? ENTRY_HAS_EXPIRY : 0u;
    flags |= kv_entry_encoding(entry) == KV_ENCODING_RAW ? ENTRY_IS_RAW : 0u;
    char *at = to;
    *at++ = (char)flags;
    at = varint_write(at, key.size);
    at = varint_write(at, value.size);
    at = write_u48(at, kv_entry_version(entry));
    if (expire_ms != KV_NO_EXPIRY) {
        at = write_u48(at, expire_ms);
    }
    memcpy(at, key.data, key.size);
    at += key.size;
    memcpy(at, value.data, value.size);
    return (size_t)(at + value.size - to);
}

/* ── checking and reading ────────────────────────────────────────────────────────────────────── */

void snapshot_decoder_init(struct snapshot_decoder *decoder, const struct snapshot_file *file,
                           uint64_t identity, uint64_t file_bytes)
{
    *decoder = (struct snapshot_decoder){
        .file = *file,
        .identity = identity,
        .file_bytes = file_bytes,
        .wanted = SNAPSHOT_HEADER_BYTES,
    };
}

static enum snapshot_item bad(struct snapshot_decoder *decoder, enum snapshot_item item,
                              const char *detail)
{
    decoder->detail = detail;
    return item;
}

/* Asks for `size` bytes, if the file has them. */
static enum snapshot_item want(struct snapshot_decoder *decoder, uint64_t size)
{
    if (size > decoder->file_bytes - decoder->offset) {
        return bad(decoder, SNAPSHOT_ITEM_DAMAGED, "the file is cut short");
    }
    decoder->wanted = size;
    return SNAPSHOT_ITEM_MORE;
}

static void advance(struct snapshot_decoder *decoder, uint64_t size)
{
    decoder->offset += size;
    decoder->wanted = SNAPSHOT_FRAME_BYTES;
}

static enum snapshot_item decode_header(struct snapshot_decoder *decoder, struct slice bytes)
{
    if (bytes.size < SNAPSHOT_HEADER_BYTES) {
        return want(decoder, SNAPSHOT_HEADER_BYTES);
    }
    const char *from = bytes.data;
    uint32_t crc = crc32c(0, from, SNAPSHOT_HEADER_BYTES - 4);
    if (load_u64(from) != HEADER_MAGIC || load_u32(from + SNAPSHOT_HEADER_BYTES - 4) != crc) {
        return bad(decoder, SNAPSHOT_ITEM_DAMAGED, "the header's checksum is wrong");
    }
    if (load_u32(from + 8) > SNAPSHOT_FORMAT) {
        return bad(decoder, SNAPSHOT_ITEM_TOO_NEW, "written in a later format");
    }
    decoder->meta = (struct snapshot_meta){
        .identity = load_u64(from + 16),
        .group = load_u32(from + 24),
        .index = load_u64(from + 32),
        .term = load_u64(from + 40),
        .time_ms = load_u64(from + 48),
        .aux_bytes = load_u32(from + 56),
        .sequence = load_u64(from + 64),
    };
    if (decoder->meta.aux_bytes > SNAPSHOT_AUX_BYTES_MAX) {
        return bad(decoder, SNAPSHOT_ITEM_DAMAGED, "the header's sizes are impossible");
    }
    if (decoder->identity != 0 && decoder->meta.identity != decoder->identity) {
        return bad(decoder, SNAPSHOT_ITEM_FOREIGN, "of another data directory");
    }
    if (decoder->meta.group != decoder->file.group || decoder->meta.index != decoder->file.index) {
        return bad(decoder, SNAPSHOT_ITEM_FOREIGN, "its name is not its own");
    }
    decoder->totals = totals_begin(&decoder->meta);
    decoder->has_header = true;
    decoder->has_aux = decoder->meta.aux_bytes == 0;
    advance(decoder, SNAPSHOT_HEADER_BYTES);
    return SNAPSHOT_ITEM_HEADER;
}

static enum snapshot_item decode_footer(struct snapshot_decoder *decoder, const char *body)
{
    struct snapshot_totals *totals = &decoder->totals;
    totals->bytes += SNAPSHOT_FOOTER_BYTES;
    if (load_u64(body) != totals->keys || load_u64(body + 8) != totals->bytes ||
        load_u64(body + 16) != totals->digest) {
        return bad(decoder, SNAPSHOT_ITEM_DAMAGED, "the totals do not match the blocks");
    }
    if (decoder->file_bytes != totals->bytes) {
        return bad(decoder, SNAPSHOT_ITEM_DAMAGED, "something follows the footer");
    }
    advance(decoder, SNAPSHOT_FOOTER_BYTES);
    decoder->meta.keys = totals->keys;
    decoder->meta.bytes = totals->bytes;
    decoder->meta.digest = totals->digest;
    return SNAPSHOT_ITEM_FOOTER;
}

/* What a frame with a right checksum stands before; DAMAGED when it cannot stand here. */
static enum snapshot_item frame_item(const struct snapshot_decoder *decoder, const char *frame)
{
    uint32_t magic = load_u32(frame + 28);
    uint32_t size = load_u32(frame + 8);
    uint32_t entries = load_u32(frame + 12);
    if (load_u64(frame + 16) != decoder->totals.keys ||
        load_u32(frame + 24) != decoder->totals.blocks) {
        return SNAPSHOT_ITEM_DAMAGED;
    }
    if (!decoder->has_aux) {
        bool is_aux = magic == AUX_MAGIC && entries == 0 && size == decoder->meta.aux_bytes;
        return is_aux ? SNAPSHOT_ITEM_AUX : SNAPSHOT_ITEM_DAMAGED;
    }
    if (magic == BLOCK_MAGIC && entries > 0) {
        return SNAPSHOT_ITEM_BLOCK;
    }
    bool is_footer = magic == FOOTER_MAGIC && entries == 0 && size == FOOTER_BODY_BYTES;
    return is_footer ? SNAPSHOT_ITEM_FOOTER : SNAPSHOT_ITEM_DAMAGED;
}

enum snapshot_item snapshot_decode(struct snapshot_decoder *decoder, struct slice bytes,
                                   struct slice *out_body, uint32_t *out_entries)
{
    if (!decoder->has_header) {
        return decode_header(decoder, bytes);
    }
    if (bytes.size < SNAPSHOT_FRAME_BYTES) {
        return want(decoder, SNAPSHOT_FRAME_BYTES);
    }
    struct snapshot_totals *totals = &decoder->totals;
    const char *from = bytes.data;
    if (load_u32(from) != crc32c(totals->seed, from + 4, SNAPSHOT_FRAME_BYTES - 4)) {
        return bad(decoder, SNAPSHOT_ITEM_DAMAGED, "a block's frame has a wrong checksum");
    }
    enum snapshot_item item = frame_item(decoder, from);
    if (item == SNAPSHOT_ITEM_DAMAGED) {
        return bad(decoder, SNAPSHOT_ITEM_DAMAGED, "a block is out of place");
    }
    uint32_t size = load_u32(from + 8);
    if (bytes.size - SNAPSHOT_FRAME_BYTES < size) {
        return want(decoder, SNAPSHOT_FRAME_BYTES + (uint64_t)size);
    }
    const char *body = from + SNAPSHOT_FRAME_BYTES;
    if (load_u32(from + 4) != crc32c(0, body, size) && !MUTANT(MUT_SNAPSHOT_BLOCK_UNCHECKED)) {
        return bad(decoder, SNAPSHOT_ITEM_DAMAGED, "a block's checksum is wrong");
    }
    if (item == SNAPSHOT_ITEM_FOOTER) {
        return decode_footer(decoder, body);
    }
    totals_add(totals, from);
    advance(decoder, SNAPSHOT_FRAME_BYTES + (uint64_t)size);
    decoder->has_aux = true;
    *out_body = slice_make(body, size);
    *out_entries = load_u32(from + 12);
    return item;
}

static uint64_t read_u48(const char *from)
{
    return load_u32(from) | (uint64_t)load_u16(from + 4) << 32;
}

const char *snapshot_entry_read(const char *from, const char *end, struct snapshot_entry *out_entry)
{
    if (from == end) {
        return NULL;
    }
    unsigned flags = (unsigned char)*from++;
    uint64_t key_size = 0;
    uint64_t value_size = 0;
    if ((flags & ~(unsigned)(ENTRY_TYPE_MASK | ENTRY_HAS_EXPIRY | ENTRY_IS_RAW)) != 0) {
        return NULL;
    }
    from = varint_read(from, end, &key_size);
    from = from != NULL ? varint_read(from, end, &value_size) : NULL;
    size_t fixed = (flags & ENTRY_HAS_EXPIRY) != 0 ? 12 : 6;
    if (from == NULL || (size_t)(end - from) < fixed) {
        return NULL;
    }
    uint64_t left = (uint64_t)(end - from) - fixed;
    if (key_size > left || value_size > left - key_size) {
        return NULL;
    }
    const char *key = from + fixed;
    *out_entry = (struct snapshot_entry){
        .key = slice_make(key, key_size),
        .value = slice_make(key + key_size, value_size),
        .version = read_u48(from),
        .expire_ms = (flags & ENTRY_HAS_EXPIRY) != 0 ? read_u48(from + 6) : KV_NO_EXPIRY,
        .is_raw = (flags & ENTRY_IS_RAW) != 0,
        .type = flags & ENTRY_TYPE_MASK,
    };
    return key + key_size + value_size;
}

/* ── names ───────────────────────────────────────────────────────────────────────────────────── */

void snapshot_name(uint32_t group, uint64_t index, bool temporary,
                   char out[SNAPSHOT_NAME_BYTES_MAX])
{
    (void)snprintf(out, SNAPSHOT_NAME_BYTES_MAX, "snap-%05u-%015llu.%s", group,
                   (unsigned long long)index, temporary ? "tmp" : "mdb");
}

/* Exactly `digits` digits at `from`. */
static bool digits_read(const char *from, unsigned digits, uint64_t *out)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < digits; i++) {
        if (from[i] < '0' || from[i] > '9') {
            return false;
        }
        value = value * 10 + (uint64_t)(from[i] - '0');
    }
    *out = value;
    return true;
}

bool snapshot_name_parse(const char *name, struct snapshot_file *out_file, bool *out_temporary)
{
    enum { GROUP_AT = 5, GROUP_DIGITS = 5, INDEX_AT = 11, INDEX_DIGITS = 15, END_AT = 26 };
    uint64_t group = 0;
    uint64_t index = 0;
    if (strlen(name) != END_AT + 4 || strncmp(name, "snap-", GROUP_AT) != 0 ||
        name[INDEX_AT - 1] != '-' || !digits_read(name + GROUP_AT, GROUP_DIGITS, &group) ||
        !digits_read(name + INDEX_AT, INDEX_DIGITS, &index) || group >= PARTITIONS_MAX) {
        return false;
    }
    bool is_temporary = strcmp(name + END_AT, ".tmp") == 0;
    if (!is_temporary && strcmp(name + END_AT, ".mdb") != 0) {
        return false;
    }
    *out_file = (struct snapshot_file){ .group = (uint32_t)group, .index = index };
    *out_temporary = is_temporary;
    return true;
}
