/*
 * progress.h — what a leader knows of one peer, and how much it may send to it.
 *
 *   PROBE      we do not know where its log ends: one APPEND at a time, then wait for an answer
 *   REPLICATE  it follows: APPENDs are pipelined, `next` runs ahead of `match`, bounded in
 *              messages (a ring of their last indexes) and in bytes (raft_log_bytes)
 *   SNAPSHOT   it needs entries we no longer have: no APPEND until it has installed a snapshot
 *
 * Invariants: match < next; the ring holds ascending indexes in (match, next).
 */
#pragma once

#include "base/limits.h"
#include "cluster/quorum.h"

#include <stdbool.h>
#include <stdint.h>

enum raft_progress_state { RAFT_PROGRESS_PROBE, RAFT_PROGRESS_REPLICATE, RAFT_PROGRESS_SNAPSHOT };

struct raft_progress {
    enum raft_progress_state state;
    bool is_probing;         /* PROBE: an APPEND is out; wait for its answer or a heartbeat's */
    bool is_suspect;         /* it may have lost what it acknowledged: its match does not count */
    uint64_t boot;           /* the latest start of it that we heard from: older words are void */
    enum raft_vote vote;     /* while we are a (pre)candidate */
    uint64_t probe_ms;       /* when the latest APPEND left */
    uint64_t match;          /* it has acknowledged, durably, everything up to here */
    uint64_t next;           /* the next index to send */
    uint64_t commit_sent;    /* the highest commit index it was told */
    uint64_t ack_sent_ms;    /* our clock when we sent the latest heartbeat it answered; 0: none */
    uint64_t read_seq_acked; /* the latest read round it answered */
    /* A read that this peer asked us to confirm (read_index.c). */
    uint64_t read_asked_seq; /* its number for it; 0: none */
    uint64_t read_round_seq; /* the round that will confirm it; 0: not begun */
    uint64_t read_index;
    uint64_t inflight[RAFT_INFLIGHT_MAX]; /* ring: last index of each APPEND on its way */
    uint32_t inflight_first;
    uint32_t inflight_count;
};

/* A peer we know nothing of: PROBE from `next`. */
void progress_init(struct raft_progress *progress, uint64_t next);
/* Back to PROBE, from the entry after the last acknowledged one. */
void progress_probe(struct raft_progress *progress);
void progress_snapshot(struct raft_progress *progress);
/* An APPEND up to and including `last` (>= next) was sent. */
void progress_sent(struct raft_progress *progress, uint64_t last);
bool progress_is_full(const struct raft_progress *progress);
/* It acknowledged up to index; false when that is old news. */
bool progress_acked(struct raft_progress *progress, uint64_t index);
/* It refused an APPEND after `rejected`; its log may agree up to `hint`.  False when the answer is
 * stale and says nothing. */
bool progress_rejected(struct raft_progress *progress, uint64_t rejected, uint64_t hint);
