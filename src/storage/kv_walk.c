/*
 * kv_walk.c — gathering and sorting the entries of one home bucket after the other.
 */
#include "storage/kv_walk.h"

#include "base/assert.h"
#include "base/mem.h"

#include <stdlib.h>

/* One home of one segment, and what of it is wanted. */
struct gather {
    const struct kv_segment *segment;
    unsigned home;
    uint64_t low, high;         /* hashes wanted, inclusive */
    uint64_t tag_low, tag_high; /* what that means for tags */
};

static bool walk_load(struct kv_walk *walk);
static void walk_gather(struct kv_walk *walk, uint64_t low, uint64_t high);
static void gather_displaced(struct kv_walk *walk, const struct gather *gather);
static void gather_bucket(struct kv_walk *walk, const struct gather *gather,
                          const struct kv_bucket *bucket);
static void walk_push(struct kv_walk *walk, struct kv_entry *entry, uint64_t hash);
static void walk_sort(struct kv_walk *walk);
static void home_prefetch(const struct kv_table *table, uint64_t hash);
static bool home_end(const struct kv_table *table, uint64_t hash, uint64_t *out_next);

void kv_walk_begin(struct kv_walk *walk, const struct kv_table *table, uint64_t from)
{
    walk->items = walk->own;
    walk->capacity = KV_WALK_INLINE;
    kv_walk_seek(walk, table, from);
}

void kv_walk_end(struct kv_walk *walk)
{
    if (walk->items != walk->own) {
        mem_free(walk->items);
    }
    walk->items = NULL;
}

void kv_walk_seek(struct kv_walk *walk, const struct kv_table *table, uint64_t from)
{
    walk->table = table;
    walk->from = from;
    walk->at_end = false;
    walk->at = 0;
    walk->count = 0;
}

const struct kv_walk_item *kv_walk_peek(struct kv_walk *walk)
{
    while (walk->at == walk->count) {
        if (!walk_load(walk)) {
            return NULL;
        }
    }
    return &walk->items[walk->at];
}

uint32_t kv_walk_range(struct kv_walk *walk, uint64_t low, uint64_t high)
{
    ASSERT(low <= high);
    walk_gather(walk, low, high);
    walk_sort(walk);
    return walk->count;
}

/* Loads the next group (which may be empty); false at the end of the table. */
static bool walk_load(struct kv_walk *walk)
{
    if (walk->at_end) {
        return false;
    }
    uint64_t from = walk->from;
    walk->at_end = !home_end(walk->table, from, &walk->from);
    walk_gather(walk, from, UINT64_MAX);
    walk_sort(walk);
    if (!walk->at_end) {
        home_prefetch(walk->table, walk->from);
    }
    return true;
}

/* Fetches the entries of the home that comes next, while the caller is busy with this one. */
static void home_prefetch(const struct kv_table *table, uint64_t hash)
{
    const struct kv_segment *segment = kv_table_segment(table, hash);
    const struct kv_bucket *bucket = kv_segment_bucket(segment, kv_home(hash, segment));
    for (unsigned slot = 0; slot < KV_BUCKET_SLOTS; slot++) {
        __builtin_prefetch(kv_slot_entry(bucket->slots[slot]));
    }
}

/* The first hash behind the home that `hash` belongs to; false when that was the last home. */
static bool home_end(const struct kv_table *table, uint64_t hash, uint64_t *out_next)
{
    const struct kv_segment *segment = kv_table_segment(table, hash);
    unsigned depth = segment->depth;
    uint64_t home = segment->count == 0 && segment->size == 0 ? 0 : kv_home(hash, segment);
    uint64_t bits = (((home + 1) << KV_HOME_BITS) + segment->homes - 1) / segment->homes;
    uint64_t prefix = depth == 0 ? 0 : hash >> (64 - depth) << (64 - depth);
    /* bits is at most 1 << KV_HOME_BITS: then the sum is the next segment, or wraps to 0. */
    uint64_t next = bits << (64 - KV_HOME_BITS - depth);
    if (bits >> KV_HOME_BITS != 0) {
        next = depth == 0 ? 0 : UINT64_C(1) << (64 - depth);
    }
    *out_next = prefix + next;
    return *out_next != 0;
}

static void walk_gather(struct kv_walk *walk, uint64_t low, uint64_t high)
{
    const struct kv_table *table = walk->table;
    struct gather gather = { .low = low, .high = high };
    gather.segment = kv_table_segment(table, low);
    gather.home = kv_home(low, gather.segment);
    unsigned depth = gather.segment->depth;
    gather.tag_low = kv_tag(low, depth);
    gather.tag_high =
        depth == 0 || (low ^ high) >> (64 - depth) == 0 ? kv_tag(high, depth) : 0xffff;
    walk->at = 0;
    walk->count = 0;
    gather_bucket(walk, &gather, kv_segment_bucket(gather.segment, gather.home));
    gather_displaced(walk, &gather);
}

static void gather_displaced(struct kv_walk *walk, const struct gather *gather)
{
    const struct kv_segment *segment = gather->segment;
    unsigned meta = kv_head_meta(kv_segment_bucket(segment, gather->home)->head);
    if ((meta & KV_META_NEXT) != 0) {
        unsigned next = kv_next_home(gather->home, segment);
        gather_bucket(walk, gather, kv_segment_bucket(segment, next));
    }
    for (unsigned stash = meta & KV_META_STASH_ALL; stash != 0; stash &= stash - 1) {
        gather_bucket(walk, gather, kv_stash_bucket(segment, stash));
    }
    uint32_t beyond = (meta & KV_META_BEYOND) != 0 ? kv_segment_beyond(segment) : 0;
    for (uint32_t i = 0; i < beyond; i++) {
        gather_bucket(walk, gather, &segment->beyond[i]);
    }
}

/* Adds the bucket's entries of the wanted home and hashes. */
static void gather_bucket(struct kv_walk *walk, const struct gather *gather,
                          const struct kv_bucket *bucket)
{
    for (unsigned slot = 0; slot < KV_BUCKET_SLOTS; slot++) {
        uint64_t word = bucket->slots[slot];
        uint64_t tag = word >> 48;
        if (word == 0 || tag < gather->tag_low || tag > gather->tag_high ||
            kv_home_of_tag(tag, gather->segment) != gather->home) {
            continue;
        }
        struct kv_entry *entry = kv_slot_entry(word);
        uint64_t hash = kv_hash_of(walk->table, entry);
        if (hash >= gather->low && hash <= gather->high) {
            walk_push(walk, entry, hash);
        }
    }
}

static void walk_push(struct kv_walk *walk, struct kv_entry *entry, uint64_t hash)
{
    if (walk->count == walk->capacity) {
        uint32_t capacity = walk->capacity * 2;
        struct kv_walk_item *items = mem_alloc(capacity * sizeof(*items));
        memcpy(items, walk->items, walk->count * sizeof(*items));
        if (walk->items != walk->own) {
            mem_free(walk->items);
        }
        walk->items = items;
        walk->capacity = capacity;
    }
    walk->items[walk->count++] = (struct kv_walk_item){ hash, entry };
}

static int item_compare(const void *a_void, const void *b_void)
{
    const struct kv_walk_item *a = a_void;
    const struct kv_walk_item *b = b_void;
    if (a->hash != b->hash) {
        return a->hash < b->hash ? -1 : 1;
    }
    return kv_entry_key_compare(a->entry, b->entry);
}

static void walk_sort(struct kv_walk *walk)
{
    struct kv_walk_item *items = walk->items;
    if (walk->count > KV_WALK_INLINE) {
        qsort(items, walk->count, sizeof(*items), item_compare);
        return;
    }
    for (uint32_t i = 1; i < walk->count; i++) {
        struct kv_walk_item item = items[i];
        uint32_t at = i;
        for (; at > 0 && item_compare(&items[at - 1], &item) > 0; at--) {
            items[at] = items[at - 1];
        }
        items[at] = item;
    }
}
