/*
 * kv_internal.h — struct kv and what the files that make it up owe each other.
 *
 *   kv_store.c    finding, putting, deleting, clearing, scanning
 *   kv_view.c     views: what they keep, how they walk
 *   kv_expiry.c   which keys are due
 *
 * Whoever changes an entry calls, in this order: kv_views_keep (while the old entry is still
 * there), then makes the change, then kv_expiry_entry_set or kv_expiry_entry_gone.
 */
#pragma once

#include "storage/kv_walk.h"
#include "storage/kv_wheel.h"

struct kv {
    struct kv_table table;
    uint64_t changes; /* counts whatever may make a walk's group stale */
    uint32_t views_count;
    struct kv_view *views[KV_VIEWS_MAX]; /* [0, views_count) */
    struct kv_table *detached;           /* tables that nobody reads any more, for kv_reclaim */

    /* kv_expiry.c */
    struct kv_wheel *wheel;     /* NULL until a key with an expiry comes */
    struct kv_wheel *wheel_old; /* being swept into `wheel`, or NULL */
    uint64_t expiry_now_ms;     /* the latest time kv_expiry_collect has seen */
    unsigned generation;        /* KV_ENTRY_GENERATION or 0: entries whose item is in `wheel` */

    struct kv_stats stats;
};

/* Puts a table nobody reads any more on the list for kv_reclaim; takes over its contents. */
void kv_table_detach(struct kv *kv, struct kv_table *table);
/* Removes an entry that kv_table_find found. */
void kv_remove_place(struct kv *kv, struct kv_place place, uint64_t hash);

/* ── views ───────────────────────────────────────────────────────────────────────────────────── */

/* To be called before the key's entry changes; old == NULL: the key does not exist yet.  True when
 * a view has taken `old` over: then it must be neither changed nor freed. */
MUST_USE bool kv_views_keep(struct kv *kv, struct slice key, uint64_t hash, struct kv_entry *old);
/* All views that read the live table go on with `table`, which has taken over its contents;
 * returns how many. */
uint32_t kv_views_move(struct kv *kv, struct kv_table *table);

/* ── expiry ──────────────────────────────────────────────────────────────────────────────────── */

/* The entry has an expiry; old_expire_ms and old_marks are those of the entry it replaces
 * (KV_NO_EXPIRY and 0 when there was none).  Sets the entry's marks. */
void kv_expiry_entry_set(struct kv *kv, uint64_t hash, struct kv_entry *entry,
                         uint64_t old_expire_ms, unsigned old_marks);
/* An entry with an expiry was removed, or lost its expiry. */
void kv_expiry_entry_gone(struct kv *kv);
/* Looks at up to `budget` items for superfluous ones; true while it is worth going on. */
bool kv_expiry_reclaim(struct kv *kv, uint32_t budget);
void kv_expiry_deinit(struct kv *kv);
