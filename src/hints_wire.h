/*
 * hints_wire.h — who leads what, as bytes.  Pure.
 *
 *   PEER_FRAME_HINTS, little-endian:
 *     u8 format (2)   u8 1: all that the sender leads, else 0: what has changed
 *     u64 epoch of the list of members that the sender has on its disk   u32 partitions held
 *     u32 count, and as often, by ascending partition:
 *     varint partition   varint term   u8 flags (1: does not lead it any more)
 *     varint bytes left to move   u16 size and the group's configuration (cluster/confchange.h);
 *     0 of one that is not led any more
 *
 * Reading trusts nothing: partitions ascend, terms stay below what raft's messages can carry
 * (raft_wire.h), and nothing is reserved for what a count promises.
 *
 * Read next: hints.h.
 */
#pragma once

#include "base/compiler.h"
#include "base/slice.h"
#include "base/varint.h"
#include "cluster/confchange.h"

enum hint_flags {
    HINT_NOT_LEADING = 1,
};

enum {
    HINTS_WIRE_HEAD_BYTES = 1 + 1 + 8 + 4 + 4,
    HINTS_WIRE_ENTRY_BYTES_MAX = 3 * VARINT_BYTES_MAX + 1 + 2 + RAFT_CONFIG_BYTES_MAX,
};

struct hints_wire_head {
    bool is_all;
    uint64_t epoch; /* of the list of members that the sender acts on, durably; 0: of none */
    uint32_t held;  /* partitions, by the sender */
    uint32_t count; /* of entries */
};

struct hints_wire_entry {
    uint32_t partition;
    uint64_t term; /* 1 or more */
    uint8_t flags; /* enum hint_flags; the others are moves.c's */
    uint64_t bytes_left;
    struct raft_config members; /* none with HINT_NOT_LEADING */
};

/* Writes HINTS_WIRE_HEAD_BYTES. */
void hints_wire_head_write(const struct hints_wire_head *head, char *to);
/* Returns the size, at most HINTS_WIRE_ENTRY_BYTES_MAX. */
size_t hints_wire_entry_write(const struct hints_wire_entry *entry, char *to);

/* A frame that is being read; borrows its bytes. */
struct hints_wire_reader {
    struct slice left;
    uint32_t partitions;   /* there are so many */
    uint32_t next;         /* the lowest that may come */
    uint32_t entries_left; /* as announced */
    bool is_malformed;
};

/* False: malformed, from its head on. */
MUST_USE bool hints_wire_open(struct slice body, uint32_t partitions,
                              struct hints_wire_reader *out_reader,
                              struct hints_wire_head *out_head);
/* The next entry.  False: no more, or what follows is malformed (hints_wire_is_whole). */
bool hints_wire_next(struct hints_wire_reader *reader, struct hints_wire_entry *out_entry);
/* Everything was read, and nothing was malformed. */
bool hints_wire_is_whole(const struct hints_wire_reader *reader);
