/*
 * scan_request.h — what a SCAN asks for, and what its cursors mean.
 *
 * A cursor is a place in the order (partition, hash): 12 bits of partition above 40 bits of hash.
 * It stays below 2^53, so clients that keep numbers as doubles keep it exactly; nobody keeps state
 * for it; and it means the same on every node, whatever each of them holds.  0 begins and ends.
 *
 * Pure.  Read next: cmd_keyspace.c, ../pipeline_keyspace.c.
 */
#pragma once

#include "base/limits.h"
#include "base/slice.h"
#include "storage/kv_store.h"

enum { SCAN_COUNT_DEFAULT = 10 }; /* Redis's */

struct scan_request {
    uint64_t cursor;
    uint64_t count; /* at least 1 */
    struct slice pattern;
    bool has_pattern;
    bool has_no_type; /* TYPE something no value can be */
};

/* Reads the arguments (argv[0] is the command's name).  NULL, or the text of an error. */
const char *scan_request_read(uint32_t argc, const struct slice *argv, struct scan_request *out);

/* Answers to KEYS and SCAN over REPLY_VALUES_BYTES_MAX. */
extern const char keyspace_too_large[];

_Static_assert((uint64_t)PARTITIONS_MAX << KV_POSITION_BITS <= 1ull << 53, "cursors fit a double");

static inline uint64_t scan_cursor_make(uint32_t partition, uint64_t position)
{
    return ((uint64_t)partition << KV_POSITION_BITS) + (position >> (64 - KV_POSITION_BITS));
}

/* Any number is a cursor; those that were never given out are somewhere, or beyond the end. */
static inline uint32_t scan_cursor_partition(uint64_t cursor)
{
    uint64_t partition = cursor >> KV_POSITION_BITS;
    return partition < PARTITIONS_MAX ? (uint32_t)partition : PARTITIONS_MAX;
}

/* Of the hash, as kv_scan takes it. */
static inline uint64_t scan_cursor_position(uint64_t cursor)
{
    return cursor << (64 - KV_POSITION_BITS);
}
