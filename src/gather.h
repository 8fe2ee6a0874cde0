/*
 * gather.h — one answer out of the answers to the parts of a command.
 *
 * A command whose keys lie in several partitions, or that looks at all of them, is asked in parts.
 * How their answers become one depends on the command:
 *
 *   DEL, EXISTS, DBSIZE   integers are added up
 *   MSET, FLUSHALL        all parts must say the same (OK)
 *   MGET                  arrays with an element a key, put into the order of the client's keys
 *   KEYS                  arrays, one behind the other
 *   SCAN                  [cursor, keys] of partitions that follow each other: those in front that
 *                         make up what was asked for; the cursor stops behind the last one used
 *   RANDOMKEY             [keys, key]: one of the keys, each partition by its share of all keys
 *
 * An error of a part outranks the other parts' answers; of several, UNKNOWN outranks the others.
 * When some parts of a write succeeded and others did not, that is UNKNOWN too.  (A SCAN stops in
 * front of a part that failed, unless that was the first.)
 *
 * Parts come from other nodes: whatever they say, the gather stays whole and bounded
 * (REPLY_VALUES_BYTES_MAX).  A gather lives until its last part is answered or dropped.  The asker
 * is no part of another gather.
 *
 * Read next: pipeline_route.c, pipeline_keyspace.c (who makes parts).
 */
#pragma once

#include "answers.h"

/* The answer to a command over keys, in `parts` parts.  `order`: for commands that answer an array
 * with an element a key: order[i] is the place, in the client's command, of the i-th key in the
 * order of the parts (owned by the gather from now on; mem_alloc'd); NULL for all others. */
struct gather *gather_new(const struct asker *asker, const struct command *command, uint32_t parts,
                          uint32_t *order, uint32_t keys);
struct gather *gather_keys_new(const struct asker *asker, const struct command *command,
                               uint32_t parts);
struct gather *gather_randomkey_new(const struct asker *asker, const struct command *command,
                                    uint32_t parts, uint64_t seed);
/* SCAN: enough when `wanted` keys were found.  cursors[i]: where part i begins; cursors[parts]:
 * what follows the last one (owned by the gather from now on; mem_alloc'd). */
struct gather *gather_scan_new(const struct asker *asker, const struct command *command,
                               uint32_t parts, uint64_t *cursors, uint64_t wanted);

/* Part `part` holds `keys` keys (0 when there is no order).  Call for each part, in order; with the
 * answer to the last one the gather may end. */
struct asker gather_part(struct gather *gather, uint32_t part, uint32_t keys);

/* ── for answers.c ───────────────────────────────────────────────────────────────────────────── */

/* A part's answer in RESP3; true when it was the last one missing. */
MUST_USE bool gather_take(const struct asker *part, struct slice resp);
/* Who wants the whole, and what was asked. */
const struct command *gather_asker(const struct gather *gather, struct asker *out);
void gather_write(const struct gather *gather, struct reply *reply);
void gather_free(struct gather *gather);
/* The part gets no answer: the node ends. */
void gather_drop(const struct asker *part);
