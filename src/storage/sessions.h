/*
 * sessions.h — exactly-once results of one partition.
 *
 * A node that passes a write on to a partition's leader may lose the answer and send it again.  So
 * it numbers its writes (seq), and each partition remembers, for each node, what it answered:
 *
 *   session of a node:   boot      of the process that sends; a later start is a new session
 *                        floor     below it everything is settled: nobody sends that again
 *                        results   seq -> answer, of what was applied at or above the floor
 *
 * This is replicated state: a function of the entries applied, in their order, alone.  It has no
 * clock, its order never depends on memory, and it goes into the partition's snapshots.
 *
 * Applying an entry with an origin:  sessions_look; when it is SESSION_NEW: run the command, then
 * sessions_note.  Otherwise the command must not run again.
 *
 * Everything is bounded (base/limits.h):
 *   - A sender keeps at most SESSION_RESULTS_MAX writes to a partition unsettled.  If it has more,
 *     the floor rises over the lowest one, which then is STALE: not repeated, its answer unknown.
 *   - An answer that is too large, or for which its session has no room left, is kept as the error
 *     SESSION_REPLY_TOO_LARGE.  It is known to have been given.
 *   - When there are too many sessions, or they are too large together, the one goes whose last
 *     write is the most log entries ago.  Only then could a repetition run twice: a sender gives up
 *     repeating (seconds) long before SESSIONS_MAX others have written for the first time.
 *
 * A session is a sorted array: a result is added at or near its end, and leaves at its front.
 *
 * Read next: sessions.c, entry.h (where an entry names its origin).
 */
#pragma once

#include "base/buffer.h"
#include "base/compiler.h"
#include "base/limits.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

#define SESSION_REPLY_TOO_LARGE                                                                    \
    "-UNKNOWN this write was carried out before, and its answer was too large to keep\r\n"

/* Of one partition.  Zeroed: empty, and takes no memory beyond this. */
struct sessions {
    struct session *list; /* owned; ascending by node */
    uint32_t count;
    uint32_t capacity;
    uint64_t bytes; /* what encoding takes, rounded up; at most SESSIONS_BYTES_MAX */
};

enum session_answer {
    SESSION_NEW,   /* never seen: run it */
    SESSION_DONE,  /* it was run: here is the answer */
    SESSION_STALE, /* it may have been run, and is forgotten: below the floor or of an older boot */
};

void sessions_init(struct sessions *sessions);
/* Frees everything; empty and usable afterwards. */
void sessions_deinit(struct sessions *sessions);

/* *out_reply is written with SESSION_DONE only; valid until sessions change. */
MUST_USE enum session_answer sessions_look(const struct sessions *sessions, uint64_t node,
                                           uint64_t boot, uint64_t seq, struct slice *out_reply);
/* The entry at `index` was run and answered `reply` (RESP3 bytes, copied).  Only for what
 * sessions_look just called SESSION_NEW; floor <= seq (entry_decode sees to that). */
void sessions_note(struct sessions *sessions, uint64_t index, uint64_t node, uint64_t boot,
                   uint64_t seq, uint64_t floor, struct slice reply);

/* Appends the one encoding of these contents; at most SESSIONS_BYTES_MAX bytes. */
void sessions_encode(const struct sessions *sessions, struct buffer *to);
/* Replaces the contents.  Untrusted bytes: false, and empty, when they are no encoding. */
MUST_USE bool sessions_decode(struct sessions *sessions, struct slice bytes);
/* Of the encoding: equal on two replicas when their contents are. */
uint64_t sessions_digest(const struct sessions *sessions);
