/*
 * snapshot_format.h — a snapshot file's bytes, and the decoder that checks them.  Internal to the
 * writer (which verifies what it wrote) and the reader.
 *
 *   header   88 bytes: who it belongs to, which log entry it stands at, the size of aux
 *   aux      when its size is not 0: a frame of 32 bytes, then bytes that are the caller's
 *   block    a frame of 32 bytes, then entries; as many blocks as it takes
 *   footer   56 bytes: counts and the digest; nothing follows
 *
 * Every byte is covered by a checksum.  Frames are seeded with group, index and identity, and
 * carry their number, so that a block of another snapshot, or one out of its place, never passes.
 *
 *   entry    u8 flags (4 bits type, 16 has expiry, 32 raw)   varint key size   varint value size
 *            u48 version   [u48 expiry in ms]   key   value
 *
 * Read next: snapshot_writer.c, snapshot_reader.c, docs/FORMATS.md.
 */
#pragma once

#include "base/slice.h"
#include "storage/kv_store.h"
#include "storage/snapshot.h"

enum {
    SNAPSHOT_FORMAT = 2, /* 1 had no aux; read as one of size 0 */
    SNAPSHOT_HEADER_BYTES = 88,
    SNAPSHOT_FRAME_BYTES = 32,
    SNAPSHOT_FOOTER_BYTES = 56,
    SNAPSHOT_NAME_BYTES_MAX = 64,
    SNAPSHOT_ENTRY_HEADER_BYTES_MAX = 1 + 10 + 10 + 6 + 6,
};

/* ── writing ─────────────────────────────────────────────────────────────────────────────────── */

struct snapshot_totals {
    uint64_t keys;
    uint64_t bytes;  /* of the file */
    uint64_t digest; /* over the blocks' checksums, in order */
    uint32_t blocks; /* aux counts as one */
    uint32_t seed;   /* of the frames' checksums */
};

/* Writes SNAPSHOT_HEADER_BYTES and begins the totals. */
void snapshot_header_write(const struct snapshot_meta *meta, char *to,
                           struct snapshot_totals *out_totals);
/* Fills in the frame before aux, which follows at to + 32 and is not empty; counts it. */
void snapshot_aux_write(char *to, size_t size, struct snapshot_totals *totals);
/* Fills in the frame before a finished block and counts it.  `body` follows at to + 32. */
void snapshot_frame_write(char *to, size_t body_size, uint32_t entries,
                          struct snapshot_totals *totals);
/* Writes SNAPSHOT_FOOTER_BYTES; counts them, too. */
void snapshot_footer_write(char *to, struct snapshot_totals *totals);
/* Writes an entry; returns its size.  Room: SNAPSHOT_ENTRY_HEADER_BYTES_MAX + key + value. */
size_t snapshot_entry_write(const struct kv_entry *entry, char *to);

/* ── checking and reading ────────────────────────────────────────────────────────────────────── */

struct snapshot_decoder {
    struct snapshot_file file; /* what the name says */
    uint64_t identity;         /* expected; 0: any */
    uint64_t file_bytes;
    struct snapshot_meta meta; /* of the header; keys, bytes and digest after the footer */
    struct snapshot_totals totals;
    uint64_t offset; /* of the next item */
    uint64_t wanted; /* bytes the next item takes, as far as known */
    bool has_header;
    bool has_aux;       /* or there is none */
    const char *detail; /* with BAD: what is wrong */
};

enum snapshot_item {
    SNAPSHOT_ITEM_HEADER,
    SNAPSHOT_ITEM_AUX,    /* *out_body is set */
    SNAPSHOT_ITEM_BLOCK,  /* *out_body and *out_entries are set */
    SNAPSHOT_ITEM_FOOTER, /* the file is whole and right */
    SNAPSHOT_ITEM_MORE,   /* give it decoder->wanted bytes from decoder->offset on */
    SNAPSHOT_ITEM_DAMAGED,
    SNAPSHOT_ITEM_FOREIGN,
    SNAPSHOT_ITEM_TOO_NEW,
};

void snapshot_decoder_init(struct snapshot_decoder *decoder, const struct snapshot_file *file,
                           uint64_t identity, uint64_t file_bytes);
/* Checks the item at the front of `bytes`, which begin at decoder->offset. */
enum snapshot_item snapshot_decode(struct snapshot_decoder *decoder, struct slice bytes,
                                   struct slice *out_body, uint32_t *out_entries);

struct snapshot_entry {
    struct slice key;
    struct slice value;
    uint64_t version;
    uint64_t expire_ms;
    bool is_raw;
    uint8_t type;
};

/* Decodes an entry; returns the byte after it, or NULL when the bytes up to `end` hold none. */
const char *snapshot_entry_read(const char *from, const char *end,
                                struct snapshot_entry *out_entry);

/* ── names ───────────────────────────────────────────────────────────────────────────────────── */

/* "snap-00007-000000000001234.mdb"; with `temporary` the name while it is being written. */
void snapshot_name(uint32_t group, uint64_t index, bool temporary,
                   char out[SNAPSHOT_NAME_BYTES_MAX]);
bool snapshot_name_parse(const char *name, struct snapshot_file *out_file, bool *out_temporary);
