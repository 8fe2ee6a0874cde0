/*
 * snapshot_block.h — the entries of a partition as blocks of bytes, and back.
 *
 * One codec for two uses: the blocks of a snapshot file (snapshot_writer.c, snapshot_reader.c), and
 * those in which a view is streamed to another node.  A block is a row of encoded entries
 * (snapshot_format.h) in hash order and nothing else; how many there are, and a checksum, travel
 * beside it.
 *
 * Read next: snapshot_format.h (the bytes of an entry).
 */
#pragma once

#include "base/buffer.h"
#include "base/compiler.h"
#include "storage/snapshot.h"

/* Appends the view's next entries to *out: at most budget_entries, and none once bytes_target bytes
 * have been added (the last one may go beyond).  Adds how many to *out_entries.  False: the view is
 * at its end, and what this call appended was the last of it. */
MUST_USE bool snapshot_block_fill(struct kv_view *view, uint32_t budget_entries,
                                  size_t bytes_target, struct buffer *out, uint32_t *out_entries);

/* Puts a block's entries into the keyspace; those in it under the same keys are replaced.
 * Untrusted bytes: false when they are not exactly so many entries of known types; some may have
 * been put by then, so the keyspace is good for nothing but freeing. */
MUST_USE bool snapshot_block_load(struct kv *kv, struct slice body, uint32_t entries);
/* The same, for a reader that says what is wrong: SNAPSHOT_GOOD, or SNAPSHOT_DAMAGED or
 * SNAPSHOT_TOO_NEW with a text in *out_detail. */
MUST_USE enum snapshot_check snapshot_block_check_load(struct kv *kv, struct slice body,
                                                       uint32_t entries, const char **out_detail);
