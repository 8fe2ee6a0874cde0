/*
 * hard_state.h — what a Raft replica must never forget, as bodies of AOF records.
 *
 * AOF_HARD_STATE   0 u64 term   8 u64 voted for (0: nobody)   16 u64 commit   [24 u64 1: suspect]
 * AOF_LOG_RESET    0 u64 index  8 u64 term
 *
 * The group stands in the record's header.  Term and vote are durable before any message that
 * depends on them leaves (Raft, figure 2).  `commit` is a hint: an index known to be committed, at
 * or below what was durable when it was written; it lets recovery apply entries without a leader.
 * A suspect neither votes nor counts (cluster/README.md); only then the fourth number is there.
 * A log reset says that a received snapshot replaced the group's log: what was in it is void, the
 * next entry is index + 1.  Index 0: the replica was vacated (cluster/vacate.c), log, contents and
 * snapshots of before are void.
 */
#pragma once

#include "base/compiler.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum { HARD_STATE_BYTES = 24, HARD_STATE_BYTES_MAX = 32, LOG_RESET_BYTES = 16 };

struct hard_state {
    uint64_t term, voted_for, commit;
    bool is_suspect;
};

struct log_reset {
    uint64_t index, term;
};

/* Returns its size. */
size_t hard_state_write(const struct hard_state *state, char *to);
/* Untrusted bytes; false when they have another size. */
MUST_USE bool hard_state_read(struct slice body, struct hard_state *out_state);
void log_reset_write(const struct log_reset *reset, char *to);
MUST_USE bool log_reset_read(struct slice body, struct log_reset *out_reset);
