/*
 * vacancy_wire.h — what is asked and told of groups that a node may have left, as bytes.  Pure.
 *
 *   PEER_FRAME_GONE_ASK   u16 for each group
 *   PEER_FRAME_GONE       u16 group, u64 term, u64 index for each of them that the asker is no
 *                         member of
 *
 * Little-endian.  Reading trusts nothing: a frame holds whole entries only, and terms and indexes
 * stay below what raft's messages can carry (raft_wire.h): a term that is taken over is our own
 * from then on.
 *
 * Read next: vacancy.h.
 */
#pragma once

#include "base/compiler.h"
#include "base/slice.h"

#include <stdint.h>

enum { VACANCY_ASK_BYTES = 2, VACANCY_GONE_BYTES = 2 + 8 + 8 };

/* As of (term, index) the asker is no member of the group (cluster/vacate.c). */
struct vacancy_gone {
    uint32_t group; /* 16 bits */
    uint64_t term, index;
};

/* Write VACANCY_ASK_BYTES, VACANCY_GONE_BYTES; both return the byte behind them. */
char *vacancy_ask_write(char *to, uint32_t group);
char *vacancy_gone_write(char *to, const struct vacancy_gone *gone);
/* Both move *left behind what they read.  False: nothing is left, or it is malformed. */
MUST_USE bool vacancy_ask_read(struct slice *left, uint32_t *out_group);
MUST_USE bool vacancy_gone_read(struct slice *left, struct vacancy_gone *out);
