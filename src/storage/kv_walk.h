/*
 * kv_walk.h — a walk over a table's entries in the order of (hash, key).
 *
 * The walk takes one home bucket at a time: it gathers the entries that belong to that home,
 * wherever they stand, and sorts them.  Between two groups it knows nothing but the hash from
 * which to go on, so the table may change its shape or contents then; after such a change the
 * rest of the group in hand is stale and kv_walk_seek starts afresh.
 *
 * (hash, key) is an order that depends on the entries alone, never on the table's layout.
 *
 * Read next: kv_walk.c, then kv_view.c.
 */
#pragma once

#include "storage/kv_table.h"

enum { KV_WALK_INLINE = 96 }; /* a home's entries, unless many hashes are equal */

struct kv_walk_item {
    uint64_t hash;
    struct kv_entry *entry;
};

struct kv_walk {
    const struct kv_table *table;
    uint64_t from; /* where the next group begins */
    bool at_end;   /* there is no next group */
    uint32_t at;   /* in the group */
    uint32_t count;
    uint32_t capacity;
    struct kv_walk_item *items; /* `own`, or allocated when that is too small */
    struct kv_walk_item own[KV_WALK_INLINE];
};

/* Begins at the first entry whose hash is >= `from`. */
void kv_walk_begin(struct kv_walk *walk, const struct kv_table *table, uint64_t from);
void kv_walk_end(struct kv_walk *walk);
void kv_walk_seek(struct kv_walk *walk, const struct kv_table *table, uint64_t from);
/* The entry the walk stands at, or NULL at the end. */
const struct kv_walk_item *kv_walk_peek(struct kv_walk *walk);
static inline void kv_walk_advance(struct kv_walk *walk)
{
    walk->at += 1;
}
/* Loads the group of the home of `low` alone: its entries with low <= hash <= high.  Returns how
 * many; they are in walk->items. */
uint32_t kv_walk_range(struct kv_walk *walk, uint64_t low, uint64_t high);
