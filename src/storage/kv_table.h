/*
 * kv_table.h — an extendible hash table of entries in the order of their hashes.
 *
 * The directory has 2^depth places, indexed by the top bits of the hash; a segment of local depth d
 * stands in 2^(depth - d) consecutive places and holds exactly the entries whose top d bits are
 * its prefix.  So segments in directory order, and buckets in segment order, are in hash order.
 *
 *   bucket, one cache line:   head  f0 f1 f2 f3 f4 f5 f6 meta      a byte each, f = 0: slot is free
 *                             slot  tag (16 bits) | entry (48 bits)   seven of them
 *
 *   home bucket = KV_HOME_BITS bits of the hash below the top d, scaled to the number of homes
 *   (multiply and shift keeps the order).  Full: the entry goes to the next bucket, else to one of
 *   the stash buckets at the segment's end; the home's meta byte has a bit for each bucket that
 *   holds entries of it, so a lookup goes only where it must.
 *
 *   f = the hash's low byte.  tag = 16 bits of the hash from bit (d rounded down to a multiple of
 *   four) on: home and order of an entry are known without touching it, and only every fourth
 *   generation of splits has to look at the keys again.
 *
 * A segment starts with no bucket at all and grows in steps to 58 homes and 6 stash buckets
 * (4 KiB); then it splits into two of about half that size.  Growing therefore never pauses, and
 * the table costs about 10 bytes an entry.  Segments that deletions leave rather empty shrink, and
 * merge with their buddy.  Keys that no split can separate (equal hashes) go to stash buckets
 * beyond the segment proper: slow for those keys, never wrong.
 *
 * The buckets stand in blocks of eight, to which the segment (one cache line) points.  So a growing
 * segment adds a block and keeps the others: all memory is of one size, and what one segment gives
 * back the next one takes, without holes in between.
 *
 * The table does not own the entries.  Read next: kv_table.c, kv_walk.h.
 */
#pragma once

#include "base/hash.h"
#include "storage/kv_entry.h"

enum {
    KV_BUCKET_SLOTS = 7,
    KV_HOMES_MAX = 58, /* home buckets of a segment */
    KV_BLOCK_BUCKETS = 8,
    KV_BLOCKS_MAX = 8,
    KV_STASH_MAX = 6,        /* stash buckets with a bit of their own in meta */
    KV_HOME_BITS = 13,       /* of the hash, that choose the home */
    KV_DEPTH_MAX = 19,       /* so that 32 bits of a hash always determine the home */
    KV_META_NEXT = 1 << 0,   /* entries of this home are in the next bucket */
    KV_META_STASH = 1 << 1,  /* ... in the first stash bucket; bits for the others follow */
    KV_META_BEYOND = 1 << 7, /* ... beyond the segment proper */
    KV_META_STASH_ALL = ((1 << KV_STASH_MAX) - 1) * KV_META_STASH,
};

struct kv_bucket {
    uint64_t head; /* fingerprints; top byte: meta */
    uint64_t slots[KV_BUCKET_SLOTS];
};

struct kv_segment {
    char blocks[KV_BLOCKS_MAX][6]; /* 48-bit pointers; the first is always valid */
    struct kv_bucket *beyond;      /* 1 << beyond_bits more stash buckets, or NULL; owned */
    uint32_t count;                /* entries */
    uint8_t depth;                 /* local depth */
    uint8_t homes;                 /* home buckets: 1..KV_HOMES_MAX; stash buckets follow */
    uint8_t size;                  /* step of growth: kv_table.c says how many buckets */
    uint8_t beyond_bits;
};

_Static_assert(sizeof(struct kv_segment) == 64, "a segment is described by a cache line");

struct kv_table {
    struct kv_segment **directory; /* 1 << depth places; segments owned */
    uint64_t seed;                 /* of the hash */
    uint64_t count;
    uint64_t *memory_bytes; /* where the memory is accounted; not owned */
    uint32_t deepest;       /* segments whose local depth is `depth` */
    uint8_t depth;
    uint32_t drain_place;  /* kv_table_drain: directory places left */
    uint32_t drain_bucket; /* ... and where it stands in the segment before */
    uint32_t refs;         /* kv_store.c: views that still read a detached table */
    struct kv_table *next; /* kv_store.c: list of detached tables */
};

struct kv_place {
    struct kv_bucket *bucket; /* NULL: nowhere */
    unsigned slot;
};

void kv_table_init(struct kv_table *table, uint64_t seed, uint64_t *memory_bytes);
/* Gives the table's memory back; entries still in it are the caller's. */
void kv_table_deinit(struct kv_table *table);
/* Adds an entry whose key is not in the table. */
void kv_table_insert(struct kv_table *table, uint64_t hash, struct kv_entry *entry);
/* Takes the entry out of its place; the table may shrink, so other places become invalid. */
void kv_table_remove(struct kv_table *table, struct kv_place place, uint64_t hash);
/* Takes out up to `max` entries, from the end; returns how many.  0: the table is empty.  Only
 * kv_table_drain and kv_table_deinit may be called from then on. */
uint32_t kv_table_drain(struct kv_table *table, struct kv_entry **out, uint32_t max);
/* Checks every invariant; for tests. */
void kv_table_verify(const struct kv_table *table);

/* ── geometry ────────────────────────────────────────────────────────────────────────────────── */

static inline uint32_t kv_directory_index(const struct kv_table *table, uint64_t hash)
{
    return (uint32_t)(hash >> 1 >> (63 - table->depth));
}

static inline struct kv_segment *kv_table_segment(const struct kv_table *table, uint64_t hash)
{
    return table->directory[kv_directory_index(table, hash)];
}

/* The tag of a hash in a segment of local depth `depth`. */
static inline uint64_t kv_tag(uint64_t hash, unsigned depth)
{
    return (hash << (depth & ~3u)) >> 48;
}

static inline unsigned kv_home_scaled(uint64_t bits, const struct kv_segment *segment)
{
    return (unsigned)((bits * segment->homes) >> KV_HOME_BITS);
}

static inline unsigned kv_home(uint64_t hash, const struct kv_segment *segment)
{
    return kv_home_scaled((hash << segment->depth) >> (64 - KV_HOME_BITS), segment);
}

static inline unsigned kv_home_of_tag(uint64_t tag, const struct kv_segment *segment)
{
    uint64_t bits = ((tag << (segment->depth & 3)) & 0xffff) >> (16 - KV_HOME_BITS);
    return kv_home_scaled(bits, segment);
}

static inline unsigned kv_next_home(unsigned home, const struct kv_segment *segment)
{
    return home + 1u == segment->homes ? 0 : home + 1;
}

/* A bucket of the segment proper: homes first, then stash. */
static inline struct kv_bucket *kv_segment_bucket(const struct kv_segment *segment, unsigned at)
{
    const char *pointer = (const char *)segment + at / KV_BLOCK_BUCKETS * 6;
    struct kv_bucket *block = (struct kv_bucket *)(uintptr_t)(load_u64(pointer) & KV_U48_MAX);
    return block + at % KV_BLOCK_BUCKETS;
}

/* The bucket that the lowest bit of `stash_bits` (of a meta byte) speaks of. */
static inline struct kv_bucket *kv_stash_bucket(const struct kv_segment *segment,
                                                unsigned stash_bits)
{
    return kv_segment_bucket(segment, segment->homes + (unsigned)__builtin_ctz(stash_bits) - 1);
}

/* How many stash buckets there are beyond the segment proper. */
static inline uint32_t kv_segment_beyond(const struct kv_segment *segment)
{
    return segment->beyond == NULL ? 0 : UINT32_C(1) << segment->beyond_bits;
}

static inline struct kv_entry *kv_slot_entry(uint64_t slot)
{
    return (struct kv_entry *)(uintptr_t)(slot & KV_U48_MAX);
}

static inline uint64_t kv_hash_of(const struct kv_table *table, const struct kv_entry *entry)
{
    return hash_key(kv_entry_key_slice(entry), table->seed);
}

/* ── looking up ──────────────────────────────────────────────────────────────────────────────── */

static inline unsigned kv_fingerprint(uint64_t hash)
{
    unsigned byte = (unsigned)hash & 0xff;
    return byte + (byte == 0);
}

#define KV_BYTES_LOW UINT64_C(0x0001010101010101)
#define KV_BYTES_HIGH UINT64_C(0x0080808080808080)

/* High bits of the seven fingerprint bytes that equal `fingerprint`.  A byte above a matching one
 * may be reported wrongly (the borrow of the subtraction), never a match missed. */
static inline uint64_t kv_head_matches(uint64_t head, unsigned fingerprint)
{
    uint64_t diff = head ^ (KV_BYTES_LOW * fingerprint);
    return (diff - KV_BYTES_LOW) & ~diff & KV_BYTES_HIGH;
}

static inline unsigned kv_head_meta(uint64_t head)
{
    return (unsigned)(head >> 56);
}

static inline int kv_bucket_find(const struct kv_bucket *bucket, struct slice key,
                                 unsigned fingerprint, uint64_t tag)
{
    uint64_t matches = kv_head_matches(bucket->head, fingerprint);
    for (; matches != 0; matches &= matches - 1) {
        unsigned slot = (unsigned)__builtin_ctzll(matches) >> 3;
        uint64_t word = bucket->slots[slot];
        if (word >> 48 == tag && word != 0 && kv_entry_has_key(kv_slot_entry(word), key)) {
            return (int)slot;
        }
    }
    return -1;
}

/* Fetches the entry that most likely has this hash, or the buckets it may stand in. */
void kv_table_prefetch(const struct kv_table *table, uint64_t hash);

/* For entries that are not in their home. */
struct kv_place kv_table_find_displaced(const struct kv_segment *segment, struct slice key,
                                        uint64_t hash);

static inline struct kv_place kv_table_find(const struct kv_table *table, struct slice key,
                                            uint64_t hash)
{
    const struct kv_segment *segment = kv_table_segment(table, hash);
    struct kv_bucket *bucket = kv_segment_bucket(segment, kv_home(hash, segment));
    int slot = kv_bucket_find(bucket, key, kv_fingerprint(hash), kv_tag(hash, segment->depth));
    if (LIKELY(slot >= 0)) {
        return (struct kv_place){ bucket, (unsigned)slot };
    }
    if (LIKELY(kv_head_meta(bucket->head) == 0)) {
        return (struct kv_place){ NULL, 0 };
    }
    return kv_table_find_displaced(segment, key, hash);
}

static inline struct kv_entry *kv_place_entry(struct kv_place place)
{
    return kv_slot_entry(place.bucket->slots[place.slot]);
}

static inline void kv_place_set(struct kv_place place, struct kv_entry *entry)
{
    uint64_t *slot = &place.bucket->slots[place.slot];
    *slot = (*slot & ~KV_U48_MAX) | (uint64_t)(uintptr_t)entry;
}
