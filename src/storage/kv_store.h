/*
 * kv_store.h — the keyspace of one partition: key -> (value, version, expiry).
 *
 * A deterministic data structure: no clock, no randomness, no I/O.  The same operations in the
 * same order give the same contents and the same answers on every replica; what a command answers
 * never depends on table layout.  Time comes in as now_ms; a key whose expiry is <= now_ms does
 * not exist for the caller, whether or not it has been removed yet.
 *
 * Layout: one allocation per entry; an extendible hash table of 4 KiB segments in the order of the
 * top bits of hash_key(key, seed), so that growing splits one segment in place, and iteration,
 * scans and views all walk the same order (docs/ARCHITECTURE.md, storage).
 *
 * Owned by one data thread.
 */
#pragma once

#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct kv;
struct kv_entry; /* opaque; valid until the next mutating call on its kv */

enum kv_type { KV_STRING = 0 }; /* 4 bits; further types come later */

enum { KV_NO_EXPIRY = 0 };

struct kv_stats {
    uint64_t keys;          /* entries, expired but not yet removed ones included */
    uint64_t volatile_keys; /* of those, with an expiry */
    uint64_t key_bytes;
    uint64_t value_bytes;
    uint64_t memory_bytes; /* entries, tables, expiry wheel: what was asked of the allocator */
    uint64_t expired;      /* removed because they had expired, since kv_new */
};

struct kv *kv_new(uint64_t hash_seed);
void kv_free(struct kv *kv); /* NULL is allowed */
uint64_t kv_hash(const struct kv *kv, struct slice key);
const struct kv_stats *kv_stats(const struct kv *kv);

/* Fetches the memory that finding these keys is going to need.  The keys of a batch wait for memory
 * together, so the more there are the less each costs. */
enum { KV_PREFETCH_MAX = 32 };
struct kv_wanted {
    const struct kv *kv;
    uint64_t hash;
};
void kv_prefetch(const struct kv_wanted *keys, uint32_t count);
/* Stage 1 and 2 of a batch of lookups: touch the bucket, then the candidate entries. */
void kv_prefetch_bucket(const struct kv *kv, uint64_t hash);
void kv_prefetch_entry(const struct kv *kv, uint64_t hash);

/* The entry, or NULL when missing or expired at now_ms. */
const struct kv_entry *kv_find(const struct kv *kv, struct slice key, uint64_t hash,
                               uint64_t now_ms);
/* Inserts or replaces.  `value` may point into the entry being replaced.  expire_ms: absolute
 * milliseconds since 1970 or KV_NO_EXPIRY; 48 bits (more is cut to the greatest).  version: 48
 * bits. */
void kv_put(struct kv *kv, struct slice key, uint64_t hash, struct slice value, uint64_t expire_ms,
            uint64_t version);
/* As kv_put, and the value counts as modified in place (OBJECT ENCODING answers "raw", as Redis
 * does after APPEND or SETRANGE). */
void kv_put_raw(struct kv *kv, struct slice key, uint64_t hash, struct slice value,
                uint64_t expire_ms, uint64_t version);
/* Changes only expiry and version of an existing entry; false when there is none. */
bool kv_set_expiry(struct kv *kv, struct slice key, uint64_t hash, uint64_t expire_ms,
                   uint64_t version);
/* Removes; false when there was none.  Does not look at the expiry. */
bool kv_delete(struct kv *kv, struct slice key, uint64_t hash);
/* Removes all.  The memory is given back in steps of kv_reclaim (nothing pauses). */
void kv_clear(struct kv *kv);
/* Frees up to `budget` entries left behind by kv_clear and by ended views; true while more is
 * left.  To be called now and then: nothing else frees them. */
bool kv_reclaim(struct kv *kv, uint32_t budget);

/* ── entries ─────────────────────────────────────────────────────────────────────────────────── */

enum kv_encoding { KV_ENCODING_INT, KV_ENCODING_EMBSTR, KV_ENCODING_RAW };

/* Scratch for values that are stored in another form than their text. */
struct kv_scratch {
    char bytes[24];
};

struct slice kv_entry_key(const struct kv_entry *entry);
/* The value's text; points into the entry or into `scratch`. */
struct slice kv_entry_value(const struct kv_entry *entry, struct kv_scratch *scratch);
uint64_t kv_entry_version(const struct kv_entry *entry);
uint64_t kv_entry_expire_ms(const struct kv_entry *entry); /* KV_NO_EXPIRY when none */
enum kv_type kv_entry_type(const struct kv_entry *entry);
/* As Redis's OBJECT ENCODING for strings: int, embstr (<= 44 bytes, not modified), raw. */
enum kv_encoding kv_entry_encoding(const struct kv_entry *entry);
/* Bytes the entry takes, allocator rounding included (MEMORY USAGE). */
size_t kv_entry_memory(const struct kv_entry *entry);

/* ── walking in hash order ───────────────────────────────────────────────────────────────────── */

/* Redis's SCAN guarantee: an entry present from the first to the last call is returned; none is
 * returned twice unless it was deleted and added again.  Appends up to about `count` entries with
 * hash >= *position to out[] (out_max of them at most, out_max >= KV_SCAN_SLACK + count) in hash
 * order and moves *position on; entries of equal position always come together.  Returns how many;
 * *position is 0 when the walk is complete.  Expired entries are returned: the caller looks at the
 * expiry.  Positions use only the top KV_POSITION_BITS bits of the hash (the rest are 0). */
enum { KV_POSITION_BITS = 40, KV_SCAN_SLACK = 512 };
uint32_t kv_scan(const struct kv *kv, uint64_t *position, uint32_t count,
                 const struct kv_entry **out, uint32_t out_max);
/* The first entry not expired at now_ms whose hash is >= `hash`, going around once; NULL when the
 * partition has none.  Does not depend on table layout. */
const struct kv_entry *kv_successor(const struct kv *kv, uint64_t hash, uint64_t now_ms);

/* ── views: the contents as of one log index, while writes go on ─────────────────────────────── */

/* A view shows the keyspace as it was at kv_view_begin.  An entry that changes before the view has
 * passed it is kept for the view.  Several views may be open (KV_VIEWS_MAX). */
enum { KV_VIEWS_MAX = 4 };
struct kv_view;
struct kv_view *kv_view_begin(struct kv *kv);
/* The next entry in order of hash, or NULL at the end.  Valid until the next call on this kv.
 * Includes expired entries that had not been removed. */
const struct kv_entry *kv_view_next(struct kv_view *view);
/* Bytes kept for this view only. */
uint64_t kv_view_kept_bytes(const struct kv_view *view);
void kv_view_end(struct kv_view *view);
uint32_t kv_views_count(const struct kv *kv); /* open ones */

/* ── expiry ──────────────────────────────────────────────────────────────────────────────────── */

/* The leader asks what is due, proposes an EXPIRE entry with these hashes, and every replica drops
 * at apply what is really expired.  Collecting is a hint and changes no contents: what was
 * collected and not dropped (the proposal was lost) is handed out again after KV_EXPIRY_RETRY_MS.
 * Work is bounded: it may return less than `max` though more is due; kv_expiry_next_ms <= now_ms
 * says so. */
enum { KV_EXPIRY_RETRY_MS = 1000 };
uint32_t kv_expiry_collect(struct kv *kv, uint64_t now_ms, uint64_t *out_hashes, uint32_t max);
/* A lower bound for the next time kv_expiry_collect may return something; UINT64_MAX: never. */
uint64_t kv_expiry_next_ms(const struct kv *kv);
/* Drops the entries with this hash whose expiry is <= time_ms; returns how many. */
uint32_t kv_expire_hash(struct kv *kv, uint64_t hash, uint64_t time_ms);
