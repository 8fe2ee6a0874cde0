/*
 * kv_view.c — views: the contents as of one moment, walked in hash order while writes go on.
 *
 * A view reads its base table (the live one, or the detached one after kv_clear) and beside it a
 * table of its own with what has changed since: for each key changed before the view came by, the
 * entry as it was, or a tombstone when there was none.  kv_view_next merges the two walks in
 * (hash, key) order; where both have the key, the kept one counts.
 *
 * A key needs keeping when the view reads the live table, has not passed the key's hash, and has
 * not kept that key already.  The old entry itself moves into the first view that needs it; other
 * views get copies (which share big values).  What the view has passed is given back.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "storage/kv_internal.h"

enum { TRIM_INTERVAL = 64 }; /* entries between two rounds of giving back */

struct kv_view {
    struct kv *kv;
    struct kv_table *base; /* the kv's live table, or a detached one that counts us */
    struct kv_table kept;  /* entries as they were; owned */
    uint64_t kept_bytes;   /* of the entries in `kept` */
    uint64_t hash;         /* entries below it have been passed ... */
    uint64_t at;           /* ... and so many of those with this hash */
    uint64_t trimmed;      /* kept entries with a lower hash have been given back */
    uint32_t steps;        /* since the last trimming */
    bool is_done;          /* passed everything */
    bool is_seated;        /* the walks below stand right behind (hash, at) ... */
    uint64_t changes;      /* ... as long as kv->changes is still this */
    struct kv_walk base_walk;
    struct kv_walk kept_walk;
};

static bool view_needs(const struct kv_view *view, struct slice key, uint64_t hash);
static void view_keep(struct kv_view *view, uint64_t hash, struct kv_entry *entry);
static struct kv_entry *entry_copy(const struct kv_entry *entry);
static struct kv_entry *tombstone_new(struct slice key);

static void view_seat(struct kv_view *view);
static bool view_merge(struct kv_view *view, struct kv_walk_item *out_item);
static void view_trim(struct kv_view *view);

struct kv_view *kv_view_begin(struct kv *kv)
{
    ASSERT(kv->views_count < KV_VIEWS_MAX);
    struct kv_view *view = mem_zalloc(sizeof(*view));
    view->kv = kv;
    view->base = &kv->table;
    kv_table_init(&view->kept, kv->table.seed, &kv->stats.memory_bytes);
    kv_walk_begin(&view->base_walk, view->base, 0);
    kv_walk_begin(&view->kept_walk, &view->kept, 0);
    kv->views[kv->views_count++] = view;
    kv->stats.memory_bytes += sizeof(*view);
    return view;
}

const struct kv_entry *kv_view_next(struct kv_view *view)
{
    if (view->is_done) {
        return NULL;
    }
    if (!view->is_seated || view->changes != view->kv->changes) {
        view_seat(view);
    }
    struct kv_walk_item item;
    bool is_hit;
    do {
        is_hit = view_merge(view, &item);
    } while (is_hit && (kv_entry_flags(item.entry) & KV_ENTRY_TOMBSTONE) != 0);
    view->is_done = !is_hit;
    view->steps += 1;
    if (view->is_done || view->steps >= TRIM_INTERVAL) {
        view_trim(view);
    }
    return is_hit ? item.entry : NULL;
}

uint64_t kv_view_kept_bytes(const struct kv_view *view)
{
    return view->kept_bytes;
}

void kv_view_end(struct kv_view *view)
{
    struct kv *kv = view->kv;
    uint32_t at = 0;
    while (kv->views[at] != view) {
        at += 1;
        ASSERT(at < kv->views_count);
    }
    kv->views_count -= 1;
    kv->views[at] = kv->views[kv->views_count];
    kv->views[kv->views_count] = NULL;
    if (view->base != &kv->table) {
        view->base->refs -= 1;
        if (view->base->refs == 0) {
            kv_table_detach(kv, view->base);
        }
    }
    if (view->kept.count > 0) {
        struct kv_table *table = mem_alloc(sizeof(*table));
        *table = view->kept;
        kv->stats.memory_bytes += sizeof(*table);
        kv_table_detach(kv, table);
    } else {
        kv_table_deinit(&view->kept);
    }
    kv_walk_end(&view->base_walk);
    kv_walk_end(&view->kept_walk);
    kv->stats.memory_bytes -= sizeof(*view);
    mem_free_sized(view, sizeof(*view));
}

uint32_t kv_views_count(const struct kv *kv)
{
    return kv->views_count;
}

/* ── keeping ─────────────────────────────────────────────────────────────────────────────────── */

bool kv_views_keep(struct kv *kv, struct slice key, uint64_t hash, struct kv_entry *old)
{
    bool is_taken = false;
    for (uint32_t i = 0; i < kv->views_count; i++) {
        struct kv_view *view = kv->views[i];
        if (!view_needs(view, key, hash)) {
            continue;
        }
        struct kv_entry *entry = old;
        if (old == NULL) {
            entry = tombstone_new(key);
        } else if (is_taken) {
            entry = entry_copy(old);
        } else {
            is_taken = true;
        }
        view_keep(view, hash, entry);
    }
    return is_taken;
}

static bool view_needs(const struct kv_view *view, struct slice key, uint64_t hash)
{
    return view->base == &view->kv->table && !view->is_done && hash >= view->hash &&
           kv_table_find(&view->kept, key, hash).bucket == NULL;
}

static void view_keep(struct kv_view *view, uint64_t hash, struct kv_entry *entry)
{
    kv_table_insert(&view->kept, hash, entry);
    view->kept_bytes += kv_entry_memory(entry);
    view->kv->stats.memory_bytes += kv_entry_memory(entry);
}

static struct kv_entry *entry_copy(const struct kv_entry *entry)
{
    struct kv_entry_plan plan;
    kv_entry_plan_from(&plan, entry, kv_entry_expiry(entry), kv_entry_version(entry));
    return kv_entry_new(&plan);
}

static struct kv_entry *tombstone_new(struct slice key)
{
    struct kv_entry_plan plan;
    struct slice nothing = { NULL, 0 };
    kv_entry_plan(&plan, key, nothing, KV_NO_EXPIRY, /* version= */ 0, KV_ENTRY_TOMBSTONE);
    return kv_entry_new(&plan);
}

uint32_t kv_views_move(struct kv *kv, struct kv_table *table)
{
    uint32_t moved = 0;
    for (uint32_t i = 0; i < kv->views_count; i++) {
        if (kv->views[i]->base == &kv->table) {
            kv->views[i]->base = table;
            moved += 1;
        }
    }
    return moved;
}

/* ── walking ─────────────────────────────────────────────────────────────────────────────────── */

/* Puts both walks where the view stands.  Among entries of one hash the view counts: what it shows
 * of that hash is fixed, so the n-th of them stays the n-th. */
static void view_seat(struct kv_view *view)
{
    kv_walk_seek(&view->base_walk, view->base, view->hash);
    kv_walk_seek(&view->kept_walk, &view->kept, view->hash);
    view->is_seated = true;
    view->changes = view->kv->changes;
    uint64_t passed = view->at;
    view->at = 0;
    while (view->at < passed) {
        struct kv_walk_item item;
        bool is_hit = view_merge(view, &item);
        ASSERT(is_hit);
        ASSERT(item.hash == view->hash);
    }
}

/* The next entry of the two walks, tombstones included; moves the view behind it. */
static bool view_merge(struct kv_view *view, struct kv_walk_item *out_item)
{
    const struct kv_walk_item *base = kv_walk_peek(&view->base_walk);
    const struct kv_walk_item *kept = kv_walk_peek(&view->kept_walk);
    if (base == NULL && kept == NULL) {
        return false;
    }
    int order = base == NULL ? 1 : -1;
    if (base != NULL && kept != NULL) {
        order = (base->hash > kept->hash) - (base->hash < kept->hash);
        if (order == 0) {
            order = kv_entry_key_compare(base->entry, kept->entry);
        }
    }
    *out_item = order < 0 ? *base : *kept;
    if (order <= 0) {
        kv_walk_advance(&view->base_walk);
    }
    if (order >= 0) {
        kv_walk_advance(&view->kept_walk);
    }
    if (out_item->hash != view->hash) {
        view->hash = out_item->hash;
        view->at = 0;
    }
    view->at += (kv_entry_flags(out_item->entry) & KV_ENTRY_TOMBSTONE) == 0;
    return true;
}

/* Gives back what was kept below the hash where the view stands.  The walks in hand do not mind:
 * they are past it, and where they go on does not depend on the table's shape. */
static void view_trim(struct kv_view *view)
{
    view->steps = 0;
    if (view->kept.count == 0) {
        return;
    }
    struct kv_walk walk;
    kv_walk_begin(&walk, &view->kept, view->trimmed);
    const struct kv_walk_item *item = kv_walk_peek(&walk);
    while (item != NULL && item->hash < view->hash) {
        struct kv_entry *entry = item->entry;
        struct kv_place place = kv_table_find(&view->kept, kv_entry_key_slice(entry), item->hash);
        kv_table_remove(&view->kept, place, item->hash);
        view->kept_bytes -= kv_entry_memory(entry);
        view->kv->stats.memory_bytes -= kv_entry_memory(entry);
        kv_entry_free(entry);
        kv_walk_advance(&walk);
        item = kv_walk_peek(&walk);
    }
    view->trimmed = view->hash;
    kv_walk_end(&walk);
}
