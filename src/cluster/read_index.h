/*
 * read_index.h — the bookkeeping of linearizable reads (read_index.c); part of struct raft.
 *
 * Reads have ascending ids; "confirmed up to id" is all there is to remember, so any number of
 * reads costs a constant amount of memory.
 */
#pragma once

#include "base/limits.h"

#include <stdint.h>

/* One ReadIndex round of a leader: the heartbeats that carry `seq` or a later number prove, once a
 * majority answered, that nobody else led when the round began. */
struct raft_read_round {
    uint64_t seq;
    uint64_t read_id; /* own reads <= this are confirmed with it */
    uint64_t index;   /* at this commit index */
};

struct raft_reads {
    uint64_t requested_id; /* the driver wants everything up to here ... */
    uint64_t begun_id;     /* ... a round or an attempt is under way up to here ... */
    uint64_t confirmed_id; /* ... and this much is done */
    uint64_t seq;          /* the last number given to a round or attempt; never reused */
    /* Leader. */
    struct raft_read_round rounds[RAFT_READ_ROUNDS_MAX]; /* ring, ascending */
    uint32_t rounds_first;
    uint32_t rounds_count;
    /* Others: one question to the leader at a time. */
    uint64_t attempt_seq; /* 0: none under way */
    uint64_t attempt_deadline_ms;
};
