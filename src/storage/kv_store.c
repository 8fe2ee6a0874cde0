/*
 * kv_store.c — the keyspace of a partition: finding, putting, deleting, clearing, scanning.
 *
 * The pieces: kv_entry (one key with its value), kv_table (hash table in hash order), kv_walk
 * (ordered iteration), kv_view (frozen pictures), kv_wheel and kv_expiry (what is due when).
 *
 * A SET on an existing key whose new value rounds to the same size overwrites the entry where it
 * is: no allocation, no change of the table.  While views are open the old entry goes to the view
 * that has not passed it, and a new one takes its place.
 */
#include "storage/kv_store.h"

#include "base/assert.h"
#include "base/mem.h"
#include "storage/kv_internal.h"

enum { DRAIN_BATCH = 64 }; /* entries taken from a detached table at a time */

static void kv_put_flags(struct kv *kv, const struct kv_entry_plan *plan, uint64_t hash);
static void kv_insert(struct kv *kv, const struct kv_entry_plan *plan, uint64_t hash);
static void kv_replace(struct kv *kv, struct kv_place place, const struct kv_entry_plan *plan,
                       uint64_t hash);
static void stats_add(struct kv *kv, const struct kv_entry *entry);
static void stats_drop(struct kv *kv, const struct kv_entry *entry);
static uint64_t clamp_expiry(uint64_t expire_ms);

struct kv *kv_new(uint64_t hash_seed)
{
    struct kv *kv = mem_zalloc(sizeof(*kv));
    kv->stats.memory_bytes = sizeof(*kv);
    kv_table_init(&kv->table, hash_seed, &kv->stats.memory_bytes);
    return kv;
}

void kv_free(struct kv *kv)
{
    if (kv == NULL) {
        return;
    }
    ASSERT(kv->views_count == 0);
    kv_clear(kv);
    while (kv_reclaim(kv, UINT32_MAX)) {
    }
    kv_expiry_deinit(kv);
    kv_table_deinit(&kv->table);
    ASSERT(kv->stats.memory_bytes == sizeof(*kv));
    mem_free_sized(kv, sizeof(*kv));
}

uint64_t kv_hash(const struct kv *kv, struct slice key)
{
    return hash_key(key, kv->table.seed);
}

const struct kv_stats *kv_stats(const struct kv *kv)
{
    return &kv->stats;
}

/* ── finding ─────────────────────────────────────────────────────────────────────────────────── */

void kv_prefetch_bucket(const struct kv *kv, uint64_t hash)
{
    const struct kv_segment *segment = kv_table_segment(&kv->table, hash);
    __builtin_prefetch(kv_segment_bucket(segment, kv_home(hash, segment)));
}

void kv_prefetch_entry(const struct kv *kv, uint64_t hash)
{
    kv_table_prefetch(&kv->table, hash);
}

const struct kv_entry *kv_find(const struct kv *kv, struct slice key, uint64_t hash,
                               uint64_t now_ms)
{
    struct kv_place place = kv_table_find(&kv->table, key, hash);
    if (place.bucket == NULL) {
        return NULL;
    }
    const struct kv_entry *entry = kv_place_entry(place);
    return kv_entry_is_expired(entry, now_ms) ? NULL : entry;
}

/* ── putting ─────────────────────────────────────────────────────────────────────────────────── */

void kv_put(struct kv *kv, struct slice key, uint64_t hash, struct slice value, uint64_t expire_ms,
            uint64_t version)
{
    struct kv_entry_plan plan;
    kv_entry_plan(&plan, key, value, clamp_expiry(expire_ms), version, /* flags= */ 0);
    kv_put_flags(kv, &plan, hash);
}

void kv_put_raw(struct kv *kv, struct slice key, uint64_t hash, struct slice value,
                uint64_t expire_ms, uint64_t version)
{
    struct kv_entry_plan plan;
    kv_entry_plan(&plan, key, value, clamp_expiry(expire_ms), version, KV_ENTRY_RAW);
    kv_put_flags(kv, &plan, hash);
}

static void kv_put_flags(struct kv *kv, const struct kv_entry_plan *plan, uint64_t hash)
{
    kv->changes += 1;
    struct kv_place place = kv_table_find(&kv->table, plan->key, hash);
    if (place.bucket != NULL) {
        kv_replace(kv, place, plan, hash);
    } else {
        kv_insert(kv, plan, hash);
    }
}

static void kv_insert(struct kv *kv, const struct kv_entry_plan *plan, uint64_t hash)
{
    bool is_taken = kv_views_keep(kv, plan->key, hash, NULL);
    ASSERT(!is_taken);
    struct kv_entry *entry = kv_entry_new(plan);
    kv_table_insert(&kv->table, hash, entry);
    stats_add(kv, entry);
    if (plan->expire_ms != KV_NO_EXPIRY) {
        kv_expiry_entry_set(kv, hash, entry, KV_NO_EXPIRY, /* old_marks= */ 0);
    }
}

static void kv_replace(struct kv *kv, struct kv_place place, const struct kv_entry_plan *plan,
                       uint64_t hash)
{
    struct kv_entry *old = kv_place_entry(place);
    uint64_t old_expire_ms = kv_entry_expiry(old);
    unsigned old_marks = kv_entry_flags(old) & KV_ENTRY_MARKS;
    struct kv_entry *entry = old;
    if (LIKELY(kv->views_count == 0) && kv_entry_patch(old, plan, &kv->stats.value_bytes)) {
        if (plan->expire_ms != KV_NO_EXPIRY) {
            kv_expiry_entry_set(kv, hash, entry, old_expire_ms, old_marks);
        }
        return;
    }
    stats_drop(kv, old);
    bool is_taken = kv_views_keep(kv, plan->key, hash, old);
    if (is_taken || !kv_entry_overwrite(old, plan)) {
        entry = kv_entry_new(plan);
        kv_place_set(place, entry);
        if (!is_taken) {
            kv_entry_free(old);
        }
    }
    stats_add(kv, entry);
    if (plan->expire_ms != KV_NO_EXPIRY) {
        kv_expiry_entry_set(kv, hash, entry, old_expire_ms, old_marks);
    } else if (old_expire_ms != KV_NO_EXPIRY) {
        kv_expiry_entry_gone(kv);
    }
}

bool kv_set_expiry(struct kv *kv, struct slice key, uint64_t hash, uint64_t expire_ms,
                   uint64_t version)
{
    struct kv_place place = kv_table_find(&kv->table, key, hash);
    if (place.bucket == NULL) {
        return false;
    }
    kv->changes += 1;
    struct kv_entry_plan plan;
    kv_entry_plan_from(&plan, kv_place_entry(place), clamp_expiry(expire_ms), version);
    kv_replace(kv, place, &plan, hash);
    return true;
}

/* Expiries have 48 bits; what lies beyond the year 10889 is as good as that. */
static uint64_t clamp_expiry(uint64_t expire_ms)
{
    return expire_ms > KV_U48_MAX ? KV_U48_MAX : expire_ms;
}

/* ── removing ────────────────────────────────────────────────────────────────────────────────── */

bool kv_delete(struct kv *kv, struct slice key, uint64_t hash)
{
    struct kv_place place = kv_table_find(&kv->table, key, hash);
    if (place.bucket == NULL) {
        return false;
    }
    kv_remove_place(kv, place, hash);
    return true;
}

void kv_remove_place(struct kv *kv, struct kv_place place, uint64_t hash)
{
    struct kv_entry *entry = kv_place_entry(place);
    bool had_expiry = kv_entry_expiry(entry) != KV_NO_EXPIRY;
    kv->changes += 1;
    stats_drop(kv, entry);
    bool is_taken = kv_views_keep(kv, kv_entry_key_slice(entry), hash, entry);
    kv_table_remove(&kv->table, place, hash);
    if (!is_taken) {
        kv_entry_free(entry);
    }
    if (had_expiry) {
        kv_expiry_entry_gone(kv);
    }
}

void kv_clear(struct kv *kv)
{
    kv->changes += 1;
    if (kv->table.count == 0) {
        return; /* views of an empty table lose nothing */
    }
    struct kv_table *table = mem_alloc(sizeof(*table));
    *table = kv->table;
    kv->stats.memory_bytes += sizeof(*table);
    table->refs = kv_views_move(kv, table);
    if (table->refs == 0) {
        kv_table_detach(kv, table);
    }
    kv_table_init(&kv->table, table->seed, &kv->stats.memory_bytes);
    kv->stats.keys = 0;
    kv->stats.volatile_keys = 0;
    kv->stats.key_bytes = 0;
    kv->stats.value_bytes = 0;
}

void kv_table_detach(struct kv *kv, struct kv_table *table)
{
    ASSERT(table != &kv->table);
    ASSERT(table->refs == 0);
    table->next = kv->detached;
    kv->detached = table;
}

bool kv_reclaim(struct kv *kv, uint32_t budget)
{
    while (kv->detached != NULL && budget > 0) {
        struct kv_table *table = kv->detached;
        struct kv_entry *entries[DRAIN_BATCH];
        uint32_t max = budget < DRAIN_BATCH ? budget : DRAIN_BATCH;
        uint32_t count = kv_table_drain(table, entries, max);
        for (uint32_t i = 0; i < count; i++) {
            kv->stats.memory_bytes -= kv_entry_memory(entries[i]);
            kv_entry_free(entries[i]);
        }
        budget -= count;
        if (table->count == 0) {
            kv->detached = table->next;
            kv_table_deinit(table);
            mem_free_sized(table, sizeof(*table));
            kv->stats.memory_bytes -= sizeof(*table);
        }
    }
    bool has_items = kv_expiry_reclaim(kv, budget);
    return has_items || kv->detached != NULL;
}

uint32_t kv_expire_hash(struct kv *kv, uint64_t hash, uint64_t time_ms)
{
    struct kv_walk walk;
    kv_walk_begin(&walk, &kv->table, hash);
    uint32_t count = kv_walk_range(&walk, hash, hash);
    uint32_t dropped = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct kv_entry *entry = walk.items[i].entry;
        if (kv_entry_is_expired(entry, time_ms)) {
            kv_remove_place(kv, kv_table_find(&kv->table, kv_entry_key_slice(entry), hash), hash);
            dropped += 1;
        }
    }
    kv_walk_end(&walk);
    kv->stats.expired += dropped;
    return dropped;
}

/* ── walking ─────────────────────────────────────────────────────────────────────────────────── */

enum { POSITION_SHIFT = 64 - KV_POSITION_BITS };

uint32_t kv_scan(const struct kv *kv, uint64_t *position, uint32_t count,
                 const struct kv_entry **out, uint32_t out_max)
{
    ASSERT(count > 0);
    ASSERT(out_max >= count);
    ASSERT(out_max - count >= KV_SCAN_SLACK);
    struct kv_walk walk;
    kv_walk_begin(&walk, &kv->table, *position >> POSITION_SHIFT << POSITION_SHIFT);
    uint32_t found = 0;
    uint64_t last = 0; /* position of the last entry returned */
    const struct kv_walk_item *item = kv_walk_peek(&walk);
    for (; item != NULL; item = kv_walk_peek(&walk)) {
        uint64_t at = item->hash >> POSITION_SHIFT;
        if ((found >= count && at != last) || found == out_max) {
            break;
        }
        out[found++] = item->entry;
        last = at;
        kv_walk_advance(&walk);
    }
    /* More than KV_SCAN_SLACK equal positions cannot all be returned; the walk goes on behind. */
    *position = item == NULL ? 0 : (last + 1) << POSITION_SHIFT;
    kv_walk_end(&walk);
    return found;
}

const struct kv_entry *kv_successor(const struct kv *kv, uint64_t hash, uint64_t now_ms)
{
    struct kv_walk walk;
    kv_walk_begin(&walk, &kv->table, hash);
    const struct kv_entry *found = NULL;
    bool has_wrapped = false;
    while (found == NULL) {
        const struct kv_walk_item *item = kv_walk_peek(&walk);
        if (item == NULL && !has_wrapped && hash != 0) {
            has_wrapped = true;
            kv_walk_seek(&walk, &kv->table, 0);
            continue;
        }
        if (item == NULL || (has_wrapped && item->hash >= hash)) {
            break;
        }
        if (!kv_entry_is_expired(item->entry, now_ms)) {
            found = item->entry;
        }
        kv_walk_advance(&walk);
    }
    kv_walk_end(&walk);
    return found;
}

/* ── statistics ──────────────────────────────────────────────────────────────────────────────── */

static void stats_add(struct kv *kv, const struct kv_entry *entry)
{
    kv->stats.keys += 1;
    kv->stats.volatile_keys += kv_entry_expiry(entry) != KV_NO_EXPIRY;
    kv->stats.key_bytes += kv_entry_key_slice(entry).size;
    kv->stats.value_bytes += kv_entry_value_size(entry);
    kv->stats.memory_bytes += kv_entry_memory(entry);
}

static void stats_drop(struct kv *kv, const struct kv_entry *entry)
{
    ASSERT(kv->stats.keys > 0);
    kv->stats.keys -= 1;
    kv->stats.volatile_keys -= kv_entry_expiry(entry) != KV_NO_EXPIRY;
    kv->stats.key_bytes -= kv_entry_key_slice(entry).size;
    kv->stats.value_bytes -= kv_entry_value_size(entry);
    kv->stats.memory_bytes -= kv_entry_memory(entry);
}
