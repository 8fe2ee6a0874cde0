/*
 * kv_prefetch.c — the memory that a batch of keys needs, fetched ahead of the lookups.
 *
 * Finding a key reads, one after another because each says where the next one is: the directory,
 * the segment, the home bucket, the entry.  In a table larger than the caches nearly each of these
 * steps waits for memory.  Here a batch takes each step for all its keys before the next step, so
 * the keys wait together: while one is under way, so are the others.
 *
 * Only fetches, decides nothing: a key that is not there, or whose entry is somewhere unusual,
 * costs its lookup what it would have cost anyway.
 *
 * Read next: kv_table.h.
 */
#include "base/assert.h"
#include "base/compiler.h"
#include "storage/kv_internal.h"

/* Fetches the bucket's entry with this hash; false when there is none. */
static inline bool fetch_entry(const struct kv_bucket *bucket, uint64_t hash, unsigned depth)
{
    uint64_t tag = kv_tag(hash, depth);
    uint64_t matches = kv_head_matches(bucket->head, kv_fingerprint(hash));
    for (; matches != 0; matches &= matches - 1) {
        uint64_t word = bucket->slots[(unsigned)__builtin_ctzll(matches) >> 3];
        if (word >> 48 == tag && word != 0) {
            const char *entry = (const char *)kv_slot_entry(word);
            __builtin_prefetch(entry);
            __builtin_prefetch(entry + 64);
            return true;
        }
    }
    return false;
}

/* Fetches the buckets where entries stand that found no room in this home. */
static void fetch_displaced_buckets(const struct kv_segment *segment, uint64_t hash, unsigned meta)
{
    if ((meta & KV_META_NEXT) != 0) {
        __builtin_prefetch(
            kv_segment_bucket(segment, kv_next_home(kv_home(hash, segment), segment)));
    }
    for (unsigned stash = meta & KV_META_STASH_ALL; stash != 0; stash &= stash - 1) {
        __builtin_prefetch(kv_stash_bucket(segment, stash));
    }
}

static void fetch_displaced_entry(const struct kv_segment *segment, uint64_t hash, unsigned meta)
{
    bool found =
        (meta & KV_META_NEXT) != 0 &&
        fetch_entry(kv_segment_bucket(segment, kv_next_home(kv_home(hash, segment), segment)), hash,
                    segment->depth);
    unsigned stash = meta & KV_META_STASH_ALL;
    for (; !found && stash != 0; stash &= stash - 1) {
        found = fetch_entry(kv_stash_bucket(segment, stash), hash, segment->depth);
    }
}

void kv_prefetch(const struct kv_wanted *keys, uint32_t count)
{
    const struct kv_segment *segments[KV_PREFETCH_MAX];
    const struct kv_bucket *homes[KV_PREFETCH_MAX];
    uint32_t displaced[KV_PREFETCH_MAX]; /* places in `keys` */
    uint32_t displaced_count = 0;
    ASSERT(count <= KV_PREFETCH_MAX);
    for (uint32_t i = 0; i < count; i++) {
        segments[i] = kv_table_segment(&keys[i].kv->table, keys[i].hash);
        __builtin_prefetch(segments[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        homes[i] = kv_segment_bucket(segments[i], kv_home(keys[i].hash, segments[i]));
        __builtin_prefetch(homes[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        unsigned meta = kv_head_meta(homes[i]->head);
        if (!fetch_entry(homes[i], keys[i].hash, segments[i]->depth) && meta != 0) {
            fetch_displaced_buckets(segments[i], keys[i].hash, meta);
            displaced[displaced_count++] = i;
        }
    }
    for (uint32_t k = 0; k < displaced_count; k++) {
        uint32_t i = displaced[k];
        fetch_displaced_entry(segments[i], keys[i].hash, kv_head_meta(homes[i]->head));
    }
}
