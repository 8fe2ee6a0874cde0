/*
 * membership_wire.h — a packet of gossip, as bytes.  Pure: no I/O, no state.
 *
 *   at  0  u32  magic "MGO1"           at 40  u64  to
 *       4  u8   kind                       48  u64  its identity
 *       5  u8   flags                      56  u64  its boot as the sender knows it; 0: not yet
 *       6  u8   the sender's state         64  u64  counter: ascends in every boot of the sender
 *       7  u8   zero                       72  u64  the sender's incarnation
 *       8  u64  cluster                    80  u64  about: the member an ASK or its answer means
 *      16  u64  from (member's number)     88  u64  token: of the question that this answers or
 * asks 24  u64  its identity               96  items, each with its kind in front 32  u64  its boot
 *
 *   STATE   u8 kind, u8 state, u8 accusers, u8 zero, u64 number, u64 identity, u64 incarnation,
 *           then a u64 for each accuser
 *   ADVICE  u8 kind, u8 bytes of host, u8 bytes of version, u8 zero, u64 number, u64 identity,
 *           u64 serial, u16 cluster port, u16 port, u16 slot port, u16 zero, u32 led, u32 held,
 *           u64 memory, host, version
 *
 * Whoever reads trusts nothing: a packet is looked at as a whole before any of it counts.
 *
 * Read next: membership.h.
 */
#pragma once

#include "base/compiler.h"
#include "base/limits.h"
#include "base/slice.h"

#include <stdint.h>

enum { MEMBERSHIP_HEAD_BYTES = 96 };

/* In the order in which they win at the same incarnation. */
enum membership_state { MEMBERSHIP_ALIVE, MEMBERSHIP_SUSPECT, MEMBERSHIP_DEAD, MEMBERSHIP_LEFT };

enum membership_kind {
    MEMBERSHIP_PING = 1, /* answer with ACK */
    MEMBERSHIP_ACK,      /* here I am; or, with `about`: there it is */
    MEMBERSHIP_ASK,      /* ping `about` for me */
    MEMBERSHIP_NACK,     /* it did not answer me either, but I do */
    MEMBERSHIP_TELL,     /* no answer wanted */
};

enum { MEMBERSHIP_FLAG_SYNC = 1 }; /* a page of all that the sender knows; answer likewise */

struct membership_head {
    uint8_t kind;  /* enum membership_kind */
    uint8_t flags; /* MEMBERSHIP_FLAG_... */
    uint8_t state; /* of the sender: ALIVE or LEFT */
    uint64_t cluster;
    uint64_t from, from_identity, from_boot;
    uint64_t to, to_identity, to_boot;
    uint64_t counter;
    uint64_t incarnation;
    uint64_t about;
    uint64_t token;
};

/* What a node says of itself beside being there: for routing and for people. */
struct membership_advice {
    uint64_t serial; /* ascending; 0: nothing known */
    char host[64];   /* printable, NUL-terminated */
    char version[32];
    uint16_t cluster_port, port, slot_port;
    uint32_t partitions_led, partitions_held;
    uint64_t memory_bytes; /* of its data */
};

enum membership_item_kind { MEMBERSHIP_ITEM_STATE = 1, MEMBERSHIP_ITEM_ADVICE };

struct membership_item {
    uint8_t kind; /* enum membership_item_kind */
    uint64_t number, identity;
    /* STATE */
    uint8_t state; /* enum membership_state */
    uint64_t incarnation;
    uint32_t accusers_count; /* SUSPECT only */
    uint64_t accusers[MEMBERSHIP_ACCUSERS_MAX];
    /* ADVICE */
    struct membership_advice advice;
};

/* Writes MEMBERSHIP_HEAD_BYTES bytes. */
void membership_head_write(const struct membership_head *head, char *out);
/* Bytes of the item, and writing them; returns where the next one goes. */
size_t membership_item_size(const struct membership_item *item);
char *membership_item_write(const struct membership_item *item, char *out);

/* Looks at a whole packet; false when it is none.  `out_items`: to be taken apart by
 * membership_item_next, which cannot fail then. */
MUST_USE bool membership_packet_read(struct slice packet, struct membership_head *out_head,
                                     struct slice *out_items);
/* Takes an item off the front; false at the end. */
MUST_USE bool membership_item_next(struct slice *items, struct membership_item *out_item);
