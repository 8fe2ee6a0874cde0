/*
 * rdb_string.h — a string as Redis's DUMP serializes it, and RESTORE reads it.
 *
 *   u8 0 (a string), the string in RDB encoding, u16 RDB version, u64 CRC-64 of all before it
 *
 * The RDB encodings of a string are a length and bytes, an integer of 8, 16 or 32 bits, or LZF
 * compressed bytes.  All are read; compressed ones are never written.
 */
#pragma once

#include "base/buffer.h"
#include "base/slice.h"

enum { RDB_VERSION = 11 }; /* Redis 7.2's */

enum rdb_result {
    RDB_OK,
    RDB_BAD_CHECKSUM, /* or a version later than ours */
    RDB_BAD_FORMAT,   /* or a type that is no string, or a value over REQUEST_BYTES_MAX */
};

void rdb_string_encode(struct slice value, struct buffer *out);
/* Decodes untrusted bytes.  The value points into `payload` or into `room`, which may grow. */
enum rdb_result rdb_string_decode(struct slice payload, struct buffer *room,
                                  struct slice *out_value);
