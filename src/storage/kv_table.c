/*
 * kv_table.c — the extendible hash table: growing, splitting, shrinking and merging of segments.
 *
 * A change of shape (another size, a split, a merge) takes all slots out of the segment, gives it
 * the blocks it is to have, and puts the slots back in (struct loose).  Should one find no room,
 * the next larger size is tried; beyond the largest, stash buckets are added without end.
 *
 * Sizes: segment_sizes lists the bucket counts.  All blocks are whole but a small segment's last.
 */
#include "storage/kv_table.h"

#include "base/assert.h"
#include "base/mem.h"

static const uint8_t segment_sizes[] = { 0, 1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 56, 64 };

enum {
    SIZE_FULL = ARRAY_COUNT(segment_sizes) - 1, /* 64 buckets: time to split */
    BEYOND_BITS_MIN = 6,                        /* the first 64 buckets beyond */
    BEYOND_BITS_MAX = 30,                       /* out of reach */
    MERGE_MAX = 224,      /* entries of two buddies that merge: half of what a segment holds */
    SHRINK_STEP = 16,     /* deletions between two looks at whether a segment should shrink */
    ROOM_CHAIN_MAX = 8,   /* entries moved on to make room for one */
    DIRECTORY_SLACK = 16, /* the directory doubles while it is below this plus count / 64 */
};

_Static_assert(KV_DEPTH_MAX + KV_HOME_BITS <= 32, "32 bits of a hash determine its home");
_Static_assert(KV_HOME_BITS + 3 <= 16, "a tag determines the home");
_Static_assert(sizeof(struct kv_bucket) == 64, "a bucket is a cache line");

/* Slots taken out of a segment. */
struct loose {
    uint64_t *words; /* owned */
    uint8_t *fingerprints;
    uint32_t count;
    uint32_t capacity;
};

static struct kv_segment *segment_new(struct kv_table *table, unsigned depth);
static void segment_free(struct kv_table *table, struct kv_segment *segment);
static uint32_t segment_span(const struct kv_table *table, const struct kv_segment *segment);
static void segment_shape(struct kv_table *table, struct kv_segment *segment, unsigned size);
static void segment_drop_beyond(struct kv_table *table, struct kv_segment *segment);
static bool segment_place(struct kv_segment *segment, unsigned fingerprint, uint64_t word);
static bool segment_make_room(struct kv_segment *segment, unsigned at);
static void home_forget(struct kv_segment *segment, uint64_t hash, const struct kv_bucket *bucket);
static uint32_t segment_buckets(const struct kv_segment *segment);
static unsigned size_for(uint64_t count);

static uint32_t segment_first(const struct kv_table *table, uint64_t hash);
static void directory_set(struct kv_table *table, uint32_t first, struct kv_segment *segment);
static void directory_double(struct kv_table *table);
static void directory_halve(struct kv_table *table);

static void table_grow(struct kv_table *table, uint64_t hash);
static bool table_may_split(const struct kv_table *table, const struct kv_segment *segment);
static void table_split(struct kv_table *table, uint64_t hash);
static void table_resize(struct kv_table *table, struct kv_segment *segment, unsigned size);
static void table_shrink(struct kv_table *table, uint64_t hash);
static bool table_merge(struct kv_table *table, uint32_t first);

void kv_table_init(struct kv_table *table, uint64_t seed, uint64_t *memory_bytes)
{
    *table = (struct kv_table){ .seed = seed, .memory_bytes = memory_bytes, .deepest = 1 };
    table->directory = mem_alloc(sizeof(*table->directory));
    table->directory[0] = segment_new(table, /* depth= */ 0);
    *memory_bytes += sizeof(*table->directory);
}

void kv_table_deinit(struct kv_table *table)
{
    uint32_t places = UINT32_C(1) << table->depth;
    for (uint32_t i = 0; i < places;) {
        uint32_t span = segment_span(table, table->directory[i]);
        segment_free(table, table->directory[i]);
        i += span;
    }
    mem_free_sized(table->directory, places * sizeof(*table->directory));
    *table->memory_bytes -= places * sizeof(*table->directory);
    *table = (struct kv_table){ 0 };
}

void kv_table_insert(struct kv_table *table, uint64_t hash, struct kv_entry *entry)
{
    ASSERT(hash == kv_hash_of(table, entry));
    for (;;) {
        struct kv_segment *segment = kv_table_segment(table, hash);
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
    unsigned meta = kv_head_meta(kv_segment_bucket(segment, home)->head);
    unsigned fingerprint = kv_fingerprint(hash);
    uint64_t tag = kv_tag(hash, segment->depth);
    if ((meta & KV_META_NEXT) != 0) {
        struct kv_bucket *next = kv_segment_bucket(segment, kv_next_home(home, segment));
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
    uint32_t beyond = (meta & KV_META_BEYOND) != 0 ? kv_segment_beyond(segment) : 0;
    for (uint32_t i = 0; i < beyond; i++) {
        int slot = kv_bucket_find(&segment->beyond[i], key, fingerprint, tag);
        if (slot >= 0) {
            return (struct kv_place){ &segment->beyond[i], (unsigned)slot };
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
    const struct kv_segment *segment = kv_table_segment(table, hash);
    unsigned home = kv_home(hash, segment);
    unsigned fingerprint = kv_fingerprint(hash);
    uint64_t tag = kv_tag(hash, segment->depth);
    const struct kv_bucket *bucket = kv_segment_bucket(segment, home);
    unsigned meta = kv_head_meta(bucket->head);
    if (bucket_prefetch(bucket, fingerprint, tag) || meta == 0) {
        return;
    }
    /* Not in its home: looking on would wait for memory, so only the buckets are fetched. */
    if ((meta & KV_META_NEXT) != 0) {
        __builtin_prefetch(kv_segment_bucket(segment, kv_next_home(home, segment)));
    }
    if ((meta & KV_META_STASH_ALL) != 0) {
        __builtin_prefetch(kv_stash_bucket(segment, meta & KV_META_STASH_ALL));
    }
}

void kv_table_remove(struct kv_table *table, struct kv_place place, uint64_t hash)
{
    struct kv_segment *segment = kv_table_segment(table, hash);
    struct kv_bucket *home = kv_segment_bucket(segment, kv_home(hash, segment));
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

/* ── segments ────────────────────────────────────────────────────────────────────────────────── */

/* Every segment without buckets of its own points here, so that lookups need no extra branch. */
static const struct kv_bucket no_bucket;

static void segment_set_block(struct kv_segment *segment, uint32_t i, const void *block)
{
    uint64_t pointer = (uint64_t)(uintptr_t)block;
    ASSERT(pointer <= KV_U48_MAX);
    memcpy(segment->blocks[i], &pointer, sizeof(segment->blocks[i]));
}

static struct kv_segment *segment_new(struct kv_table *table, unsigned depth)
{
    struct kv_segment *segment = mem_alloc(sizeof(*segment));
    *segment = (struct kv_segment){ .depth = (uint8_t)depth, .homes = 1 };
    segment_set_block(segment, 0, &no_bucket);
    *table->memory_bytes += sizeof(*segment);
    return segment;
}

static void segment_free(struct kv_table *table, struct kv_segment *segment)
{
    segment_drop_beyond(table, segment);
    segment_shape(table, segment, 0);
    mem_free_sized(segment, sizeof(*segment));
    *table->memory_bytes -= sizeof(*segment);
}

/* Buckets of the segment proper. */
static uint32_t segment_buckets(const struct kv_segment *segment)
{
    return segment_sizes[segment->size];
}

/* Any bucket: those of the segment proper, then those beyond. */
static struct kv_bucket *segment_any_bucket(const struct kv_segment *segment, uint32_t at)
{
    uint32_t buckets = segment_buckets(segment);
    return at < buckets ? kv_segment_bucket(segment, at) : &segment->beyond[at - buckets];
}

static uint32_t segment_all_buckets(const struct kv_segment *segment)
{
    return segment_buckets(segment) + kv_segment_beyond(segment);
}

/* Bytes of the i-th block of a segment with so many buckets. */
static size_t block_bytes(uint32_t buckets, uint32_t i)
{
    uint32_t begin = i * KV_BLOCK_BUCKETS;
    uint32_t count = buckets <= begin ? 0 : buckets - begin;
    count = count > KV_BLOCK_BUCKETS ? KV_BLOCK_BUCKETS : count;
    return count * sizeof(struct kv_bucket);
}

/* Gives the segment the buckets of this size, all of them empty, and none beyond. */
static void segment_shape(struct kv_table *table, struct kv_segment *segment, unsigned size)
{
    ASSERT(size <= SIZE_FULL);
    uint32_t old_buckets = segment_buckets(segment);
    uint32_t buckets = segment_sizes[size];
    for (uint32_t i = 0; i < KV_BLOCKS_MAX; i++) {
        size_t old_bytes = block_bytes(old_buckets, i);
        size_t bytes = block_bytes(buckets, i);
        struct kv_bucket *block = NULL;
        if (old_bytes != 0) {
            block = kv_segment_bucket(segment, i * KV_BLOCK_BUCKETS);
        }
        if (old_bytes != bytes) {
            mem_free_sized(block, old_bytes);
            block = bytes != 0 ? mem_alloc(bytes) : NULL;
            *table->memory_bytes += bytes - old_bytes;
            segment_set_block(segment, i, block);
        }
        if (bytes != 0) {
            memset(block, 0, bytes);
        }
    }
    uint32_t stash = buckets < 4 ? 0 : (buckets + 9) / 10;
    segment->homes = (uint8_t)(buckets < 64 ? buckets - stash : KV_HOMES_MAX);
    segment->size = (uint8_t)size;
    segment->count = 0;
    if (size == 0) {
        segment->homes = 1;
        segment_set_block(segment, 0, &no_bucket);
    }
}

/* Adds stash buckets beyond, twice as many as there are: the last resort. */
static void segment_extend(struct kv_table *table, struct kv_segment *segment)
{
    uint32_t old_buckets = kv_segment_beyond(segment);
    unsigned bits = old_buckets == 0 ? BEYOND_BITS_MIN : segment->beyond_bits + 1u;
    ASSERT(bits <= BEYOND_BITS_MAX);
    size_t old_bytes = old_buckets * sizeof(struct kv_bucket);
    size_t bytes = sizeof(struct kv_bucket) << bits;
    struct kv_bucket *beyond = mem_zalloc(bytes);
    if (old_bytes != 0) {
        memcpy(beyond, segment->beyond, old_bytes);
        mem_free_sized(segment->beyond, old_bytes);
    }
    segment->beyond = beyond;
    segment->beyond_bits = (uint8_t)bits;
    *table->memory_bytes += bytes - old_bytes;
}

static void segment_drop_beyond(struct kv_table *table, struct kv_segment *segment)
{
    size_t bytes = kv_segment_beyond(segment) * sizeof(struct kv_bucket);
    if (bytes != 0) {
        mem_free_sized(segment->beyond, bytes);
        *table->memory_bytes -= bytes;
        segment->beyond = NULL;
    }
}

/* The smallest size that `count` entries fill to at most seven eighths. */
static unsigned size_for(uint64_t count)
{
    unsigned size = 0;
    while (size < SIZE_FULL && count * 8 > (uint64_t)segment_sizes[size] * KV_BUCKET_SLOTS * 7) {
        size += 1;
    }
    return size;
}

/* ── placing ─────────────────────────────────────────────────────────────────────────────────── */

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

static void bucket_clear(struct kv_bucket *bucket, unsigned slot)
{
    bucket->slots[slot] = 0;
    bucket->head &= ~(UINT64_C(0xff) << (slot * 8));
}

static unsigned bucket_fingerprint(const struct kv_bucket *bucket, unsigned slot)
{
    return (unsigned)(bucket->head >> (slot * 8)) & 0xff;
}

/* Finds room for a slot's word; false when there is none. */
static bool segment_place(struct kv_segment *segment, unsigned fingerprint, uint64_t word)
{
    if (segment->size == 0) {
        return false;
    }
    unsigned home_at = kv_home_of_tag(word >> 48, segment);
    struct kv_bucket *home = kv_segment_bucket(segment, home_at);
    if (bucket_add(home, fingerprint, word)) {
        return true;
    }
    unsigned next_at = kv_next_home(home_at, segment);
    struct kv_bucket *next = kv_segment_bucket(segment, next_at);
    if (next != home && bucket_add(next, fingerprint, word)) {
        home->head |= (uint64_t)KV_META_NEXT << 56;
        return true;
    }
    /* Homes prefer a stash bucket each, so that their entries do not spread over all of them. */
    uint32_t stash = segment_buckets(segment) - segment->homes;
    uint32_t preferred = home_at * stash / segment->homes;
    for (uint32_t i = 0; i < stash; i++) {
        uint32_t at = (preferred + i) % stash;
        if (bucket_add(kv_segment_bucket(segment, segment->homes + at), fingerprint, word)) {
            home->head |= (uint64_t)KV_META_STASH << at << 56;
            return true;
        }
    }
    if (segment_make_room(segment, next_at) && bucket_add(next, fingerprint, word)) {
        home->head |= (uint64_t)KV_META_NEXT << 56;
        return true;
    }
    uint32_t beyond = kv_segment_beyond(segment);
    for (uint32_t i = 0; i < beyond; i++) {
        if (bucket_add(&segment->beyond[i], fingerprint, word)) {
            home->head |= (uint64_t)KV_META_BEYOND << 56;
            return true;
        }
    }
    return false;
}

/* The slot of an entry that stands in its home `at`, or -1. */
static int slot_at_home(const struct kv_segment *segment, unsigned at)
{
    const struct kv_bucket *bucket = kv_segment_bucket(segment, at);
    for (int slot = 0; slot < KV_BUCKET_SLOTS; slot++) {
        if (kv_home_of_tag(bucket->slots[slot] >> 48, segment) == at) {
            return slot;
        }
    }
    return -1;
}

/* Frees a slot of the full home bucket `at` by moving one of its entries to the next bucket, from
 * which another may have to move on first, and so on. */
static bool segment_make_room(struct kv_segment *segment, unsigned at)
{
    unsigned chain[ROOM_CHAIN_MAX];
    int slots[ROOM_CHAIN_MAX];
    unsigned length = 0;
    while (kv_head_matches(kv_segment_bucket(segment, at)->head, 0) == 0) {
        int slot = slot_at_home(segment, at);
        if (slot < 0 || length == ROOM_CHAIN_MAX || length + 1u >= segment->homes) {
            return false;
        }
        chain[length] = at;
        slots[length] = slot;
        length += 1;
        at = kv_next_home(at, segment);
    }
    while (length > 0) {
        length -= 1;
        struct kv_bucket *to = kv_segment_bucket(segment, at);
        struct kv_bucket *from = kv_segment_bucket(segment, chain[length]);
        unsigned slot = (unsigned)slots[length];
        bool fits = bucket_add(to, bucket_fingerprint(from, slot), from->slots[slot]);
        ASSERT(fits);
        bucket_clear(from, slot);
        from->head |= (uint64_t)KV_META_NEXT << 56;
        at = chain[length];
    }
    return true;
}

/* The meta bit of a home for a bucket that holds entries of it and is not the home itself. */
static unsigned meta_bit(const struct kv_segment *segment, unsigned home,
                         const struct kv_bucket *bucket)
{
    if (bucket == kv_segment_bucket(segment, kv_next_home(home, segment))) {
        return KV_META_NEXT;
    }
    uint32_t stash = segment_buckets(segment) - segment->homes;
    for (uint32_t i = 0; i < stash; i++) {
        if (bucket == kv_segment_bucket(segment, segment->homes + i)) {
            return (unsigned)KV_META_STASH << i;
        }
    }
    return KV_META_BEYOND;
}

/* An entry was taken out of `bucket`: clears the home's bit if it was the last one there.  The bit
 * for what lies beyond stays until the segment changes its shape. */
static void home_forget(struct kv_segment *segment, uint64_t hash, const struct kv_bucket *bucket)
{
    unsigned home = kv_home(hash, segment);
    unsigned bit = meta_bit(segment, home, bucket);
    if (bit == KV_META_BEYOND) {
        return;
    }
    for (unsigned slot = 0; slot < KV_BUCKET_SLOTS; slot++) {
        uint64_t word = bucket->slots[slot];
        if (word != 0 && kv_home_of_tag(word >> 48, segment) == home) {
            return;
        }
    }
    kv_segment_bucket(segment, home)->head &= ~((uint64_t)bit << 56);
}

/* ── taking apart and putting together ───────────────────────────────────────────────────────── */

static void loose_init(struct loose *loose, uint32_t capacity)
{
    *loose = (struct loose){ .capacity = capacity };
    loose->words = mem_alloc((size_t)(capacity + 1) * (sizeof(uint64_t) + 1));
    loose->fingerprints = (uint8_t *)(loose->words + capacity);
}

static void loose_deinit(struct loose *loose)
{
    mem_free(loose->words);
}

static void loose_add(struct loose *loose, unsigned fingerprint, uint64_t word)
{
    ASSERT(loose->count < loose->capacity);
    loose->words[loose->count] = word;
    loose->fingerprints[loose->count] = (uint8_t)fingerprint;
    loose->count += 1;
}

/* The bit of the hash below the segment's prefix. */
static unsigned slot_side(const struct kv_segment *segment, uint64_t word)
{
    return (unsigned)(word >> (63 - (segment->depth & 3u))) & 1;
}

/* The slot's word for a segment of local depth `depth`: the window of the tag may move.  `prefix`:
 * the old segment's top bits. */
static uint64_t slot_moved(const struct kv_table *table, const struct kv_segment *from,
                           uint32_t prefix, unsigned depth, uint64_t word)
{
    if ((depth & ~3u) == (from->depth & ~3u)) {
        return word;
    }
    uint64_t tag = depth > from->depth ? kv_tag(kv_hash_of(table, kv_slot_entry(word)), depth)
                                       : (uint64_t)(prefix & 15) << 12 | word >> 52;
    return tag << 48 | (word & KV_U48_MAX);
}

static void bucket_prefetch_entries(const struct kv_bucket *bucket)
{
    for (unsigned i = 0; i < KV_BUCKET_SLOTS; i++) {
        __builtin_prefetch(kv_slot_entry(bucket->slots[i]));
    }
}

/* Copies the segment's slots, as they will be in segments of local depth `depth`; those on the
 * right side to `right`, unless that is NULL. */
static void segment_take(const struct kv_table *table, const struct kv_segment *segment,
                         uint32_t prefix, unsigned depth, struct loose *left, struct loose *right)
{
    bool touches_entries = depth > segment->depth && (depth & 3) == 0;
    uint32_t buckets = segment_all_buckets(segment);
    for (uint32_t i = 0; i < buckets; i++) {
        const struct kv_bucket *bucket = segment_any_bucket(segment, i);
        if (touches_entries && i + 2 < buckets) {
            bucket_prefetch_entries(segment_any_bucket(segment, i + 2));
        }
        for (unsigned slot = 0; slot < KV_BUCKET_SLOTS; slot++) {
            uint64_t word = bucket->slots[slot];
            if (word != 0) {
                bool is_right = right != NULL && slot_side(segment, word) == 1;
                loose_add(is_right ? right : left, bucket_fingerprint(bucket, slot),
                          slot_moved(table, segment, prefix, depth, word));
            }
        }
    }
}

/* Puts the slots into the segment, whose former contents are dropped; it gets at least `size`. */
static void segment_put(struct kv_table *table, struct kv_segment *segment, unsigned size,
                        const struct loose *loose)
{
    segment_drop_beyond(table, segment);
    segment_shape(table, segment, size);
    while (segment->count < loose->count) {
        uint32_t i = segment->count;
        if (segment_place(segment, loose->fingerprints[i], loose->words[i])) {
            segment->count += 1;
        } else if (segment->size < SIZE_FULL) {
            segment_shape(table, segment, segment->size + 1u);
        } else {
            segment_extend(table, segment);
        }
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
    return place & ~(segment_span(table, table->directory[place]) - 1);
}

static void directory_set(struct kv_table *table, uint32_t first, struct kv_segment *segment)
{
    uint32_t span = segment_span(table, segment);
    ASSERT(first % span == 0);
    for (uint32_t i = 0; i < span; i++) {
        table->directory[first + i] = segment;
    }
}

static void directory_replace(struct kv_table *table, struct kv_segment **directory, unsigned depth)
{
    size_t old_bytes = sizeof(*directory) << table->depth;
    mem_free_sized(table->directory, old_bytes);
    *table->memory_bytes += (sizeof(*directory) << depth) - old_bytes;
    table->directory = directory;
    table->depth = (uint8_t)depth;
}

static void directory_double(struct kv_table *table)
{
    ASSERT(table->depth < KV_DEPTH_MAX);
    uint32_t places = UINT32_C(1) << table->depth;
    struct kv_segment **directory = mem_alloc(sizeof(*directory) * places * 2);
    for (uint32_t i = 0; i < places; i++) {
        directory[2 * i] = table->directory[i];
        directory[2 * i + 1] = table->directory[i];
    }
    directory_replace(table, directory, table->depth + 1u);
    table->deepest = 0;
}

static void directory_halve(struct kv_table *table)
{
    ASSERT(table->depth > 0);
    ASSERT(table->deepest == 0);
    uint32_t places = UINT32_C(1) << (table->depth - 1);
    struct kv_segment **directory = mem_alloc(sizeof(*directory) * places);
    for (uint32_t i = 0; i < places; i++) {
        directory[i] = table->directory[2 * i];
    }
    directory_replace(table, directory, table->depth - 1u);
    for (uint32_t i = 0; i < places; i++) {
        table->deepest += directory[i]->depth == table->depth;
    }
}

/* ── growing ─────────────────────────────────────────────────────────────────────────────────── */

/* Makes room in the segment that `hash` belongs to. */
static void table_grow(struct kv_table *table, uint64_t hash)
{
    struct kv_segment *segment = kv_table_segment(table, hash);
    if (segment->size < SIZE_FULL) {
        table_resize(table, segment, segment->size + 1u);
    } else if (table_may_split(table, segment)) {
        table_split(table, hash);
    } else {
        segment_extend(table, segment);
    }
}

/* The directory may double as long as it stays small beside the entries. */
static bool table_may_split(const struct kv_table *table, const struct kv_segment *segment)
{
    if (segment->depth < table->depth) {
        return true;
    }
    uint64_t places = UINT64_C(1) << table->depth;
    return table->depth < KV_DEPTH_MAX && places <= DIRECTORY_SLACK + table->count / 64;
}

static void table_split(struct kv_table *table, uint64_t hash)
{
    struct kv_segment *left = kv_table_segment(table, hash);
    if (left->depth == table->depth) {
        directory_double(table);
    }
    uint32_t first = segment_first(table, hash);
    unsigned depth = left->depth + 1u;
    struct kv_segment *right = segment_new(table, depth);
    struct loose loose[2];
    loose_init(&loose[0], left->count);
    loose_init(&loose[1], left->count);
    segment_take(table, left, /* prefix= */ 0, depth, &loose[0], &loose[1]);
    left->depth = (uint8_t)depth;
    segment_put(table, left, size_for(loose[0].count), &loose[0]);
    segment_put(table, right, size_for(loose[1].count), &loose[1]);
    directory_set(table, first + segment_span(table, left), right);
    table->deepest += depth == table->depth ? 2 : 0;
    loose_deinit(&loose[0]);
    loose_deinit(&loose[1]);
}

static void table_resize(struct kv_table *table, struct kv_segment *segment, unsigned size)
{
    struct loose loose;
    loose_init(&loose, segment->count);
    segment_take(table, segment, /* prefix= */ 0, segment->depth, &loose, NULL);
    segment_put(table, segment, size, &loose);
    loose_deinit(&loose);
}

/* ── shrinking ───────────────────────────────────────────────────────────────────────────────── */

/* Called when deletions have brought a segment to a multiple of SHRINK_STEP entries: below 40 %
 * it gets smaller, and buddies that together fill half a segment become one. */
static void table_shrink(struct kv_table *table, uint64_t hash)
{
    struct kv_segment *segment = kv_table_segment(table, hash);
    uint64_t capacity = (uint64_t)segment_all_buckets(segment) * KV_BUCKET_SLOTS;
    unsigned size = size_for(segment->count);
    bool would_shrink = size < segment->size || segment->beyond != NULL;
    if (segment->count * UINT64_C(5) <= capacity * 2 && would_shrink) {
        table_resize(table, segment, size);
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
    struct kv_segment *one = table->directory[first];
    if (one->depth == 0) {
        return false;
    }
    uint32_t span = segment_span(table, one);
    struct kv_segment *two = table->directory[first ^ span];
    if (two->depth != one->depth || one->count + two->count > MERGE_MAX) {
        return false;
    }
    unsigned up = (unsigned)table->depth - one->depth;
    unsigned depth = one->depth - 1u;
    struct loose loose;
    loose_init(&loose, one->count + two->count);
    segment_take(table, one, first >> up, depth, &loose, NULL);
    segment_take(table, two, (first ^ span) >> up, depth, &loose, NULL);
    segment_free(table, two);
    table->deepest -= one->depth == table->depth ? 2 : 0;
    one->depth = (uint8_t)depth;
    segment_put(table, one, size_for(loose.count), &loose);
    directory_set(table, first & ~span, one);
    loose_deinit(&loose);
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
        struct kv_segment *segment = table->directory[place];
        if (segment->count == 0) {
            table->drain_place += segment_span(table, segment);
            table->drain_bucket = 0;
            segment_drop_beyond(table, segment);
            segment_shape(table, segment, 0);
            continue;
        }
        struct kv_bucket *bucket = segment_any_bucket(segment, table->drain_bucket);
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
                        uint32_t first, const struct kv_bucket *bucket, unsigned slot,
                        unsigned *metas)
{
    uint64_t word = bucket->slots[slot];
    unsigned fingerprint = bucket_fingerprint(bucket, slot);
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
    if (bucket != kv_segment_bucket(segment, home)) {
        metas[home] |= meta_bit(segment, home, bucket);
    }
}

static void verify_segment(const struct kv_table *table, uint32_t first)
{
    const struct kv_segment *segment = table->directory[first];
    unsigned metas[KV_HOMES_MAX] = { 0 };
    uint32_t count = 0;
    uint32_t buckets = segment_all_buckets(segment);
    for (uint32_t at = 0; at < buckets; at++) {
        const struct kv_bucket *bucket = segment_any_bucket(segment, at);
        for (unsigned slot = 0; slot < KV_BUCKET_SLOTS; slot++) {
            verify_slot(table, segment, first, bucket, slot, metas);
            count += bucket->slots[slot] != 0;
        }
    }
    ASSERT(count == segment->count);
    for (unsigned home = 0; home < segment->homes; home++) {
        unsigned meta = kv_head_meta(kv_segment_bucket(segment, home)->head);
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
        const struct kv_segment *segment = table->directory[first];
        ASSERT(segment->depth <= table->depth);
        uint32_t span = segment_span(table, segment);
        for (uint32_t i = 1; i < span; i++) {
            ASSERT(table->directory[first + i] == segment);
        }
        verify_segment(table, first);
        count += segment->count;
        deepest += segment->depth == table->depth;
        first += span;
    }
    ASSERT(count == table->count);
    ASSERT(deepest == table->deepest);
}
