/*
 * raft_wire.h — what replicas say to each other, as bytes.
 *
 * A frame on the RAFT channel between two nodes is a row of messages of any groups.  Who speaks to
 * whom is the connection's (struct raft_wire_route: checked once, in its HELLO); each message says
 * the rest.  Little-endian:
 *
 *   head      u8 kind   u16 flags   u16 group   then a varint for each field that is not 0, in this
 *             order: term, index, log_term, commit, hint, sent_ms, read_seq.  The flags say which
 *             ones, and hold the three booleans.
 *   SNAPSHOT  u16 size, the configuration (cluster/confchange.h)
 *   APPEND    u16 entries, then as often: u32 size, the encoded entry (storage/entry.h)
 *
 * A field that is 0 costs nothing, so no table says which kind uses which field, and none can be
 * forgotten.  Each message has one encoding only.
 *
 * Reading trusts nothing: an entry must carry the index, the group and a term that its message
 * promises, a configuration must be a valid one, and indexes and terms stay below 2^48, so that
 * no sum of them overflows.  What is read borrows the frame's bytes and points into the
 * raft_wire_message, which is large: a driver has one.
 *
 * Any number of the entries of an APPEND may be CONFIG entries (a follower that was away may have
 * missed nothing else), so there is room to decode each.
 *
 * Read next: cluster/raft_message.h (what the fields mean), storage/entry.h.
 */
#pragma once

#include "base/compiler.h"
#include "base/slice.h"
#include "cluster/confchange.h"
#include "cluster/raft_message.h"

enum {
    RAFT_WIRE_HEAD_BYTES_MAX = 5 + 7 * 10 + 2 + RAFT_CONFIG_BYTES_MAX,
    RAFT_WIRE_ENTRY_HEAD_BYTES = 4,
};

/* Indexes and terms of other nodes are less. */
#define RAFT_WIRE_POSITION_LIMIT (UINT64_C(1) << 48)

/* What the connection knows of every message it brings. */
struct raft_wire_route {
    uint64_t cluster;
    uint64_t from, from_incarnation;
    uint64_t to, to_incarnation;
    uint64_t boot; /* the sender's */
};

/* A message that was read, and what it points to.  Must not be moved while it is in use. */
struct raft_wire_message {
    struct raft_message message;
    struct raft_entry entries[RAFT_APPEND_ENTRIES_MAX];
    struct slice bytes[RAFT_APPEND_ENTRIES_MAX];         /* raft_entry.bytes points here */
    struct raft_config configs[RAFT_APPEND_ENTRIES_MAX]; /* of CONFIG entries, or of SNAPSHOT */
};

/* Writes everything but the entries; returns the size, at most RAFT_WIRE_HEAD_BYTES_MAX.  Behind
 * the head of an APPEND entries_count entries must follow. */
size_t raft_wire_head_write(const struct raft_message *message, char *to);
/* Writes one encoded entry; returns RAFT_WIRE_ENTRY_HEAD_BYTES + entry.size. */
size_t raft_wire_entry_write(struct slice entry, char *to);

/* Reads the message at the front of *left and moves *left behind it.  Untrusted bytes: false when
 * they hold no message; *left and *out are undefined then and the connection should end.
 * In out->message.entries, `bytes` is a const struct slice * over the encoded entry; it lives as
 * long as *out and the frame do. */
MUST_USE bool raft_wire_read(struct slice *left, const struct raft_wire_route *route,
                             struct raft_wire_message *out);
