/*
 * kv_table.c — the extendible hash table: growing, splitting, shrinking and merging of segments.
 *
 * A segment is never changed in shape in place: a new array of buckets is filled from the old one
 * (segment_build), trying the next larger size should an entry find no room, and then takes its
 * place in the directory.  Splitting and merging are the same with two targets or two sources.
 *
 * Sizes: segment_sizes lists the bucket counts, each of them one of jemalloc's size classes; beyond
 * the list a segment doubles by stash buckets alone (the last resort for equal hashes).
 */
#include "storage/kv_table.h"

#include "base/assert.h"
#include "base/mem.h"

static const uint8_t segment_sizes[] = { 0,  1,  2,  3,  4,  6,  8,  10, 12,
                                         16, 20, 24, 28, 32, 40, 48, 56, 64 };

enum {
    SIZE_FULL = ARRAY_COUNT(segment_sizes) - 1, /* 64 buckets: time to split */
    SIZE_MAX_STEP = SIZE_FULL + 24,             /* 1 Gi buckets: out of reach */
    MERGE_MAX = 224,      /* entries of two buddies that merge: half of what a segment holds */
    SHRINK_STEP = 16,     /* deletions between two looks at whether a segment should shrink */
    DIRECTORY_SLACK = 16, /* the directory doubles while it is below this plus count / 32 */
};

_Static_assert(KV_DEPTH_MAX + KV_HOME_BITS <= 32, "32 bits of a hash determine its home");
_Static_assert(KV_HOME_BITS + 3 <= 16, "a tag determines the home");
_Static_assert(sizeof(struct kv_bucket) == 64, "a bucket is a cache line");

static void segment_reset(struct kv_segment *segment, unsigned depth);
static void segment_shape(struct kv_table *table, struct kv_segment *segment, unsigned size);
static void segment_release(struct kv_table *table, struct kv_segment *segment);
static bool segment_place(struct kv_segment *segment, unsigned fingerprint, uint64_t word);
static void home_forget(struct kv_segment *segment, uint64_t hash, const struct kv_bucket *bucket);
static unsigned size_for(uint64_t count);
static uint32_t buckets_of_size(unsigned size);

static uint32_t segment_first(const struct kv_table *table, uint64_t hash);
static void directory_set(struct kv_table *table, uint32_t first, const struct kv_segment *segment);
static void directory_double(struct kv_table *table);
static void directory_halve(struct kv_table *table);

static void table_grow(struct kv_table *table, uint64_t hash);
static bool table_may_split(const struct kv_table *table, const struct kv_segment *segment);
static void table_split(struct kv_table *table, uint64_t hash);
static void table_resize(struct kv_table *table, uint32_t first, unsigned size);
static void table_shrink(struct kv_table *table, uint64_t hash);
static bool table_merge(struct kv_table *table, uint32_t first);

void kv_table_init(struct kv_table *table, uint64_t seed, uint64_t *memory_bytes)
{
    *table = (struct kv_table){ .seed = seed, .memory_bytes = memory_bytes, .deepest = 1 };
    table->segments = mem_alloc(sizeof(struct kv_segment));
    segment_reset(&table->segments[0], /* depth= */ 0);
    *memory_bytes += sizeof(struct kv_segment);
}

void kv_table_deinit(struct kv_table *table)
{
    uint32_t places = UINT32_C(1) << table->depth;
    for (uint32_t i = 0; i < places;
         i += UINT32_C(1) << (table->depth - table->segments[i].depth)) {
        segment_release(table, &table->segments[i]);
    }
    mem_free_sized(table->segments, places * sizeof(struct kv_segment));
    *table->memory_bytes -= places * sizeof(struct kv_segment);
    *table = (struct kv_table){ 0 };
}

void kv_table_insert(struct kv_table *table, uint64_t hash, struct kv_entry *entry)
{
    ASSERT(hash == kv_hash_of(table, entry));
    for (;;) {
        struct kv_segment *segment = &table->segments[segment_first(table, hash)];
        uint64_t word = kv_tag(hash, segment->depth) << 48 | (uint64_t)(uintptr_t)entry;
        if (segment_place(segment, kv_fingerprint(hash), word)) {
            segment->count += 1;
            table->count += 1;
            return;
        }
        table_grow(table, hash);
    }
}

struct kv_place kv_table_find_displaced(const struct kv_segment *segment, struct slice key,
                                        uint64_t hash)
{
    unsigned home = kv_home(hash, segment);
    unsigned meta = kv_head_meta(segment->buckets[home].head);
    unsigned fingerprint = kv_fingerprint(hash);
    uint64_t tag = kv_tag(hash, segment->depth);
    if ((meta & KV_META_NEXT) != 0) {
        struct kv_bucket *next = &segment->buckets[kv_next_home(home, segment)];
        int slot = kv_bucket_find(next, key, fingerprint, tag);
        if (slot >= 0) {
            return (struct kv_place){ next, (unsigned)slot };
        }
    }
    unsigned stash = meta & KV_META_STASH_ALL;
    for (; stash != 0; stash &= stash - 1) {
        struct kv_bucket *bucket = kv_stash_bucket(segment, stash);
        int slot = kv_bucket_find(bucket, key, fingerprint, tag);
        if (slot >= 0) {
            return (struct kv_place){ bucket, (unsigned)slot };
        }
    }
    uint32_t end = (meta & KV_META_BEYOND) != 0 ? kv_segment_buckets(segment) : 0;
    for (uint32_t i = segment->homes + (uint32_t)KV_STASH_MAX; i < end; i++) {
        int slot = kv_bucket_find(&segment->buckets[i], key, fingerprint, tag);
        if (slot >= 0) {
            return (struct kv_place){ &segment->buckets[i], (unsigned)slot };
        }
    }
    return (struct kv_place){ NULL, 0 };
}

/* Fetches the bucket's entry with this fingerprint and tag; false when there is none. */
static bool bucket_prefetch(const struct kv_bucket *bucket, unsigned fingerprint, uint64_t tag)
{
    uint64_t matches = kv_head_matches(bucket->head, fingerprint);
    for (; matches != 0; matches &= matches - 1) {
        uint64_t word = bucket->slots[(unsigned)__builtin_ctzll(matches) >> 3];
        if (word >> 48 == tag) {
            const char *entry = (const char *)kv_slot_entry(word);
            __builtin_prefetch(entry);
            __builtin_prefetch(entry + 64);
            return true;
        }
    }
    return false;
}

void kv_table_prefetch(const struct kv_table *table, uint64_t hash)
{
    const struct kv_segment *segment = &table->segments[kv_directory_index(table, hash)];
    unsigned home = kv_home(hash, segment);
    unsigned fingerprint = kv_fingerprint(hash);
    uint64_t tag = kv_tag(hash, segment->depth);
    const struct kv_bucket *bucket = &segment->buckets[home];
    unsigned meta = kv_head_meta(bucket->head);
    if (bucket_prefetch(bucket, fingerprint, tag) || meta == 0) {
        return;
    }
    /* Not in its home: looking on would wait for memory, so only the buckets are fetched. */
    if ((meta & KV_META_NEXT) != 0) {
        __builtin_prefetch(&segment->buckets[kv_next_home(home, segment)]);
    }
    if ((meta & KV_META_STASH_ALL) != 0) {
        __builtin_prefetch(kv_stash_bucket(segment, meta & KV_META_STASH_ALL));
    }
}

void kv_table_remove(struct kv_table *table, struct kv_place place, uint64_t hash)
{
    struct kv_segment *segment = &table->segments[segment_first(table, hash)];
    struct kv_bucket *home = &segment->buckets[kv_home(hash, segment)];
    struct kv_bucket *bucket = place.bucket;
    ASSERT(segment->count > 0);
    ASSERT(bucket->slots[place.slot] != 0);
    bucket->slots[place.slot] = 0;
    bucket->head &= ~(UINT64_C(0xff) << (place.slot * 8));
    if (bucket != home) {
        home_forget(segment, hash, bucket);
    }
    segment->count -= 1;
    table->count -= 1;
    if (segment->count % SHRINK_STEP == 0) {
        table_shrink(table, hash);
    }
}

/* The meta bit that says that a home has entries in this bucket, which is not the home itself. */
static unsigned meta_bit(const struct kv_segment *segment, uint32_t at)
{
    if (at < segment->homes) {
        return KV_META_NEXT;
    }
    uint32_t stash = at - segment->homes;
    return stash < KV_STASH_MAX ? (unsigned)KV_META_STASH << stash : KV_META_BEYOND;
}

/* An entry was taken out of `bucket`: clears the home's bit if it was the last one there.  The bit
 * for what lies beyond stays until the segment is built anew. */
static void home_forget(struct kv_segment *segment, uint64_t hash, const struct kv_bucket *bucket)
{
    unsigned home = kv_home(hash, segment);
    unsigned bit = meta_bit(segment, (uint32_t)(bucket - segment->buckets));
    if (bit == KV_META_BEYOND) {
        return;
    }
    for (unsigned slot = 0; slot < KV_BUCKET_SLOTS; slot++) {
        uint64_t word = bucket->slots[slot];
        if (word != 0 && kv_home_of_tag(word >> 48, segment) == home) {
            return;
        }
    }
    segment->buckets[home].head &= ~((uint64_t)bit << 56);
}

/* ── segments ────────────────────────────────────────────────────────────────────────────────── */

/* Every segment without buckets of its own points here, so that lookups need no extra branch. */
static const struct kv_bucket no_bucket;

static void segment_reset(struct kv_segment *segment, unsigned depth)
{
    *segment = (struct kv_segment){ .buckets = (struct kv_bucket *)(uintptr_t)&no_bucket,
                                    .depth = (uint8_t)depth,
                                    .homes = 1 };
}

/* Gives an empty segment buckets. */
static void segment_shape(struct kv_table *table, struct kv_segment *segment, unsigned size)
{
    ASSERT(segment->size == 0);
    ASSERT(size < SIZE_MAX_STEP);
    if (size == 0) {
        return;
    }
    uint32_t buckets = buckets_of_size(size);
    uint32_t stash = buckets < 4 ? 0 : (buckets + 9) / 10;
    uint32_t homes = buckets < 64 ? buckets - stash : KV_HOMES_MAX;
    segment->buckets = mem_zalloc(buckets * sizeof(struct kv_bucket));
    segment->homes = (uint8_t)homes;
    segment->size = (uint8_t)size;
    *table->memory_bytes += buckets * sizeof(struct kv_bucket);
}

static void segment_release(struct kv_table *table, struct kv_segment *segment)
{
    if (segment->size != 0) {
        size_t bytes = kv_segment_buckets(segment) * sizeof(struct kv_bucket);
        mem_free_sized(segment->buckets, bytes);
        *table->memory_bytes -= bytes;
    }
    segment_reset(segment, segment->depth);
}

static uint32_t buckets_of_size(unsigned size)
{
    return size <= SIZE_FULL ? segment_sizes[size]
                             : (uint32_t)segment_sizes[SIZE_FULL] << (size - SIZE_FULL);
}

uint32_t kv_segment_buckets(const struct kv_segment *segment)
{
    return buckets_of_size(segment->size);
}

/* The smallest size that `count` entries fill to at most seven eighths. */
static unsigned size_for(uint64_t count)
{
    unsigned size = 0;
    while (count * 8 > (uint64_t)buckets_of_size(size) * KV_BUCKET_SLOTS * 7) {
        size += 1;
    }
    return size;
}

static bool bucket_add(struct kv_bucket *bucket, unsigned fingerprint, uint64_t word)
{
    uint64_t vacant = kv_head_matches(bucket->head, 0);
    if (vacant == 0) {
        return false;
    }
    unsigned slot = (unsigned)__builtin_ctzll(vacant) >> 3;
    bucket->slots[slot] = word;
    bucket->head |= (uint64_t)fingerprint << (slot * 8);
    return true;
}

/* Finds room for a slot's word; false when there is none. */
static bool segment_place(struct kv_segment *segment, unsigned fingerprint, uint64_t word)
{
    if (segment->size == 0) {
        return false;
    }
    unsigned home_at = kv_home_of_tag(word >> 48, segment);
    struct kv_bucket *home = &segment->buckets[home_at];
    if (bucket_add(home, fingerprint, word)) {
        return true;
    }
    unsigned next_at = kv_next_home(home_at, segment);
    if (next_at != home_at && bucket_add(&segment->buckets[next_at], fingerprint, word)) {
        home->head |= (uint64_t)KV_META_NEXT << 56;
        return true;
    }
    /* Homes prefer a stash bucket each, so that their entries do not spread over all of them. */
    uint32_t stash = kv_segment_buckets(segment) - segment->homes;
    uint32_t preferred = home_at * stash / segment->homes;
    for (uint32_t i = 0; i < stash; i++) {
        uint32_t at = segment->homes + (preferred + i) % stash;
        if (bucket_add(&segment->buckets[at], fingerprint, word)) {
            home->head |= (uint64_t)meta_bit(segment, at) << 56;
            return true;
        }
    }
    return false;
}

/* Where entries come from when a segment is built. */
struct source {
    const struct kv_segment *segment;
    uint32_t prefix; /* its top `depth` bits */
    int side;        /* only entries whose next bit is this; -1: all */
};

/* The bit of the hash below the segment's prefix. */
static int slot_side(const struct kv_segment *segment, uint64_t word)
{
    return (int)(word >> (63 - (segment->depth & 3u))) & 1;
}

/* The slot's word for a segment of local depth `depth`: the window of the tag may move. */
static uint64_t slot_moved(const struct kv_table *table, const struct source *from, unsigned depth,
                           uint64_t word)
{
    unsigned old_depth = from->segment->depth;
    if ((depth & ~3u) == (old_depth & ~3u)) {
        return word;
    }
    uint64_t tag = depth > old_depth ? kv_tag(kv_hash_of(table, kv_slot_entry(word)), depth)
                                     : (uint64_t)(from->prefix & 15) << 12 | word >> 52;
    return tag << 48 | (word & KV_U48_MAX);
}

static void bucket_prefetch_entries(const struct kv_bucket *bucket)
{
    for (unsigned i = 0; i < KV_BUCKET_SLOTS; i++) {
        __builtin_prefetch(kv_slot_entry(bucket->slots[i]));
    }
}

static bool segment_fill(const struct kv_table *table, struct kv_segment *to,
                         const struct source *from)
{
    const struct kv_segment *old = from->segment;
    bool touches_entries = to->depth > old->depth && (to->depth & 3) == 0;
    uint32_t buckets = kv_segment_buckets(old);
    for (uint32_t i = 0; i < buckets; i++) {
        const struct kv_bucket *bucket = &old->buckets[i];
        if (touches_entries && i + 2 < buckets) {
            bucket_prefetch_entries(bucket + 2);
        }
        for (unsigned slot = 0; slot < KV_BUCKET_SLOTS; slot++) {
            uint64_t word = bucket->slots[slot];
            if (word == 0 || (from->side >= 0 && slot_side(old, word) != from->side)) {
                continue;
            }
            unsigned fingerprint = (unsigned)(bucket->head >> (slot * 8)) & 0xff;
            if (!segment_place(to, fingerprint, slot_moved(table, from, to->depth, word))) {
                return false;
            }
            to->count += 1;
        }
    }
    return true;
}

/* Makes a segment of at least `size` from the sources. */
static struct kv_segment segment_build(struct kv_table *table, unsigned depth, unsigned size,
                                       const struct source *sources, unsigned sources_count)
{
    for (;; size++) {
        struct kv_segment built;
        segment_reset(&built, depth);
        segment_shape(table, &built, size);
        bool fits = true;
        for (unsigned i = 0; i < sources_count && fits; i++) {
            fits = segment_fill(table, &built, &sources[i]);
        }
        if (fits) {
            return built;
        }
        segment_release(table, &built);
    }
}

/* ── the directory ───────────────────────────────────────────────────────────────────────────── */

static uint32_t segment_span(const struct kv_table *table, const struct kv_segment *segment)
{
    return UINT32_C(1) << (table->depth - segment->depth);
}

/* The first directory place of the segment that `hash` belongs to. */
static uint32_t segment_first(const struct kv_table *table, uint64_t hash)
{
    uint32_t place = kv_directory_index(table, hash);
    return place & ~(segment_span(table, &table->segments[place]) - 1);
}

static void directory_set(struct kv_table *table, uint32_t first, const struct kv_segment *segment)
{
    uint32_t span = segment_span(table, segment);
    ASSERT(first % span == 0);
    for (uint32_t i = 0; i < span; i++) {
        table->segments[first + i] = *segment;
    }
}

static void directory_replace(struct kv_table *table, struct kv_segment *segments, unsigned depth)
{
    size_t old_bytes = sizeof(struct kv_segment) << table->depth;
    mem_free_sized(table->segments, old_bytes);
    *table->memory_bytes += (sizeof(struct kv_segment) << depth) - old_bytes;
    table->segments = segments;
    table->depth = (uint8_t)depth;
}

static void directory_double(struct kv_table *table)
{
    ASSERT(table->depth < KV_DEPTH_MAX);
    uint32_t places = UINT32_C(1) << table->depth;
    struct kv_segment *segments = mem_alloc(sizeof(struct kv_segment) * places * 2);
    for (uint32_t i = 0; i < places; i++) {
        segments[2 * i] = table->segments[i];
        segments[2 * i + 1] = table->segments[i];
    }
    directory_replace(table, segments, table->depth + 1u);
    table->deepest = 0;
}

static void directory_halve(struct kv_table *table)
{
    ASSERT(table->depth > 0);
    ASSERT(table->deepest == 0);
    uint32_t places = UINT32_C(1) << (table->depth - 1);
    struct kv_segment *segments = mem_alloc(sizeof(struct kv_segment) * places);
    for (uint32_t i = 0; i < places; i++) {
        segments[i] = table->segments[2 * i];
    }
    directory_replace(table, segments, table->depth - 1u);
    for (uint32_t i = 0; i < places; i++) {
        table->deepest += segments[i].depth == table->depth;
    }
}

/* ── growing ─────────────────────────────────────────────────────────────────────────────────── */

/* Makes room in the segment that `hash` belongs to. */
static void table_grow(struct kv_table *table, uint64_t hash)
{
    uint32_t first = segment_first(table, hash);
    const struct kv_segment *segment = &table->segments[first];
    if (segment->size >= SIZE_FULL && table_may_split(table, segment)) {
        table_split(table, hash);
    } else {
        table_resize(table, first, segment->size + 1u);
    }
}

/* The directory may double as long as it stays small beside the entries. */
static bool table_may_split(const struct kv_table *table, const struct kv_segment *segment)
{
    if (segment->depth < table->depth) {
        return true;
    }
    uint64_t places = UINT64_C(1) << table->depth;
    return table->depth < KV_DEPTH_MAX && places <= DIRECTORY_SLACK + table->count / 32;
}

static uint64_t segment_count_side(const struct kv_segment *segment, int side)
{
    uint64_t count = 0;
    uint32_t buckets = kv_segment_buckets(segment);
    for (uint32_t i = 0; i < buckets; i++) {
        for (unsigned slot = 0; slot < KV_BUCKET_SLOTS; slot++) {
            uint64_t word = segment->buckets[i].slots[slot];
            count += word != 0 && slot_side(segment, word) == side;
        }
    }
    return count;
}

static void table_split(struct kv_table *table, uint64_t hash)
{
    if (table->segments[segment_first(table, hash)].depth == table->depth) {
        directory_double(table);
    }
    uint32_t first = segment_first(table, hash);
    struct kv_segment old = table->segments[first];
    unsigned depth = old.depth + 1u;
    uint64_t right_count = segment_count_side(&old, 1);
    uint64_t counts[2] = { old.count - right_count, right_count };
    for (unsigned side = 0; side < 2; side++) {
        struct source source = { .segment = &old, .side = (int)side };
        struct kv_segment half =
            segment_build(table, depth, size_for(counts[side]), &source, /* sources_count= */ 1);
        ASSERT(half.count == counts[side]);
        directory_set(table, first + side * segment_span(table, &half), &half);
    }
    segment_release(table, &old);
    table->deepest += depth == table->depth ? 2 : 0;
}

static void table_resize(struct kv_table *table, uint32_t first, unsigned size)
{
    struct kv_segment old = table->segments[first];
    struct source source = { .segment = &old, .side = -1 };
    struct kv_segment built = segment_build(table, old.depth, size, &source, /* count= */ 1);
    ASSERT(built.count == old.count);
    directory_set(table, first, &built);
    segment_release(table, &old);
}

/* ── shrinking ───────────────────────────────────────────────────────────────────────────────── */

/* Called when deletions have brought a segment to a multiple of SHRINK_STEP entries: below 40 %
 * it gets smaller, and buddies that together fill half a segment become one. */
static void table_shrink(struct kv_table *table, uint64_t hash)
{
    uint32_t first = segment_first(table, hash);
    struct kv_segment *segment = &table->segments[first];
    uint64_t capacity = (uint64_t)kv_segment_buckets(segment) * KV_BUCKET_SLOTS;
    unsigned size = size_for(segment->count);
    if (segment->count * UINT64_C(5) <= capacity * 2 && size < segment->size) {
        table_resize(table, first, size);
    }
    while (table_merge(table, segment_first(table, hash))) {
    }
    while (table->deepest == 0 && table->depth > 0) {
        directory_halve(table);
    }
}

/* Merges the segment with its buddy if both are alike deep and hold little. */
static bool table_merge(struct kv_table *table, uint32_t first)
{
    struct kv_segment one = table->segments[first];
    if (one.depth == 0) {
        return false;
    }
    uint32_t span = segment_span(table, &one);
    struct kv_segment two = table->segments[first ^ span];
    if (two.depth != one.depth || one.count + two.count > MERGE_MAX) {
        return false;
    }
    unsigned up = (unsigned)table->depth - one.depth;
    struct source sources[2] = {
        { .segment = &one, .prefix = first >> up, .side = -1 },
        { .segment = &two, .prefix = (first ^ span) >> up, .side = -1 },
    };
    unsigned size = size_for((uint64_t)one.count + two.count);
    struct kv_segment merged = segment_build(table, one.depth - 1u, size, sources, /* count= */ 2);
    ASSERT(merged.count == one.count + two.count);
    table->deepest -= one.depth == table->depth ? 2 : 0;
    directory_set(table, first & ~span, &merged);
    segment_release(table, &one);
    segment_release(table, &two);
    return true;
}

/* ── taking a table apart ────────────────────────────────────────────────────────────────────── */

static uint32_t bucket_drain(struct kv_bucket *bucket, struct kv_entry **out, uint32_t max)
{
    uint32_t count = 0;
    for (unsigned slot = 0; slot < KV_BUCKET_SLOTS && count < max; slot++) {
        if (bucket->slots[slot] != 0) {
            out[count++] = kv_slot_entry(bucket->slots[slot]);
            bucket->slots[slot] = 0;
        }
    }
    return count;
}

uint32_t kv_table_drain(struct kv_table *table, struct kv_entry **out, uint32_t max)
{
    uint32_t taken = 0;
    uint32_t places = UINT32_C(1) << table->depth;
    while (taken < max && table->count > 0) {
        uint32_t place = places - 1 - table->drain_place;
        place &= ~(segment_span(table, &table->segments[place]) - 1);
        struct kv_segment *segment = &table->segments[place];
        if (segment->count == 0) {
            table->drain_place += segment_span(table, segment);
            table->drain_bucket = 0;
            segment_release(table, segment);
            continue;
        }
        struct kv_bucket *bucket = &segment->buckets[table->drain_bucket];
        uint32_t got = bucket_drain(bucket, out + taken, max - taken);
        table->drain_bucket += taken + got < max;
        segment->count -= got;
        table->count -= got;
        taken += got;
    }
    return taken;
}

/* ── checking ────────────────────────────────────────────────────────────────────────────────── */

static void verify_slot(const struct kv_table *table, const struct kv_segment *segment,
                        uint32_t first, uint32_t at, unsigned slot, unsigned *metas)
{
    const struct kv_bucket *bucket = &segment->buckets[at];
    uint64_t word = bucket->slots[slot];
    unsigned fingerprint = (unsigned)(bucket->head >> (slot * 8)) & 0xff;
    ASSERT((word == 0) == (fingerprint == 0));
    if (word == 0) {
        return;
    }
    uint64_t hash = kv_hash_of(table, kv_slot_entry(word));
    ASSERT(fingerprint == kv_fingerprint(hash));
    ASSERT(segment_first(table, hash) == first);
    ASSERT(word >> 48 == kv_tag(hash, segment->depth));
    unsigned home = kv_home(hash, segment);
    ASSERT(home == kv_home_of_tag(word >> 48, segment));
    ASSERT(home < segment->homes);
    if (at != home) {
        ASSERT(at >= segment->homes || at == kv_next_home(home, segment));
        metas[home] |= meta_bit(segment, at);
    }
}

static void verify_segment(const struct kv_table *table, uint32_t first)
{
    const struct kv_segment *segment = &table->segments[first];
    unsigned metas[KV_HOMES_MAX] = { 0 };
    uint32_t count = 0;
    uint32_t buckets = kv_segment_buckets(segment);
    for (uint32_t at = 0; at < buckets; at++) {
        for (unsigned slot = 0; slot < KV_BUCKET_SLOTS; slot++) {
            verify_slot(table, segment, first, at, slot, metas);
            count += segment->buckets[at].slots[slot] != 0;
        }
    }
    ASSERT(count == segment->count);
    for (unsigned home = 0; home < segment->homes; home++) {
        unsigned meta = kv_head_meta(segment->buckets[home].head);
        ASSERT((meta | KV_META_BEYOND) == (metas[home] | KV_META_BEYOND));
        ASSERT((meta & metas[home]) == metas[home]);
    }
}

void kv_table_verify(const struct kv_table *table)
{
    uint64_t count = 0;
    uint32_t deepest = 0;
    uint32_t places = UINT32_C(1) << table->depth;
    for (uint32_t first = 0; first < places;) {
        const struct kv_segment *segment = &table->segments[first];
        ASSERT(segment->depth <= table->depth);
        uint32_t span = segment_span(table, segment);
        for (uint32_t i = 1; i < span; i++) {
            ASSERT(table->segments[first + i].buckets == segment->buckets);
            ASSERT(table->segments[first + i].depth == segment->depth);
            ASSERT(table->segments[first + i].homes == segment->homes);
        }
        verify_segment(table, first);
        count += segment->count;
        deepest += segment->depth == table->depth;
        first += span;
    }
    ASSERT(count == table->count);
    ASSERT(deepest == table->deepest);
}
