/*
 * kv_expiry.c — which keys are due: the link between entries and the timing wheel.
 *
 * The wheel holds (32 bits of hash, time); an item says "look at the keys with this hash at this
 * time".  Looking finds the keys in the table, hands out those that are due, and adds one item for
 * the next time to look.  So an item may come too early but never too late:
 *
 *   for every entry with an expiry there is an item of its hash at or before its expiry; or, when
 *   the entry is marked KV_ENTRY_COLLECTED, a retry item KV_EXPIRY_RETRY_MS after it was handed out
 *
 * Extending an expiry therefore costs nothing (the old item finds the new time when it comes);
 * shortening adds an item and leaves a superfluous one.  When the items outnumber the entries with
 * an expiry twofold, they are swept: a new wheel takes over, every operation moves a few items of
 * the old wheel into it, and an item whose keys have theirs in the new wheel already is dropped.
 * The mark KV_ENTRY_GENERATION tells which wheel a key has its item in: equal to kv->generation,
 * the new one.  Nothing here depends on how large the wheel is, and no step takes long.
 *
 * A key whose expiry changes after it was handed out may be handed out once more too early (its
 * old retry item cannot be told from the new one).  That costs a look, no more.
 *
 * Marks are no contents: replicas differ in them without answering differently.
 */
#include "base/assert.h"
#include "storage/kv_internal.h"

enum {
    SWEEP_SLACK = 256,        /* superfluous items that never matter */
    SWEEP_STEPS = 4,          /* items swept for each change */
    SWEEP_STEPS_COLLECT = 64, /* ... and for each kv_expiry_collect */
    COLLECT_WORK_MIN = 1024,  /* items that one collect may move in the wheel ... */
    COLLECT_WORK_LOOK = 8,    /* ... where looking at a key counts as so many of them */
};

/* What kv_expiry_collect has handed out so far. */
struct collected {
    uint64_t now_ms;
    uint64_t *hashes;
    uint32_t count;
    uint32_t max;
};

static void wheel_add(struct kv *kv, uint32_t hash, uint64_t time_ms, bool is_retry);
static void sweep_start_if_due(struct kv *kv);
static void sweep(struct kv *kv, uint32_t steps);
static void sweep_item(struct kv *kv, const struct kv_wheel_item *item);
static void collect_from(struct kv *kv, struct kv_wheel *wheel, struct collected *collected,
                         uint32_t *budget);
static void collect_item(struct kv *kv, const struct kv_wheel_item *item, bool is_old,
                         struct collected *collected);

/* ── entries come, change and go ─────────────────────────────────────────────────────────────── */

void kv_expiry_entry_set(struct kv *kv, uint64_t hash, struct kv_entry *entry,
                         uint64_t old_expire_ms, unsigned old_marks)
{
    uint64_t expire_ms = kv_entry_expiry(entry);
    ASSERT(expire_ms != KV_NO_EXPIRY);
    if (old_expire_ms != KV_NO_EXPIRY && expire_ms >= old_expire_ms &&
        (old_marks & KV_ENTRY_COLLECTED) == 0) {
        kv_entry_set_marks(entry, old_marks); /* its item comes early enough */
    } else {
        wheel_add(kv, (uint32_t)(hash >> 32), expire_ms, /* is_retry= */ false);
        kv_entry_set_marks(entry, kv->generation);
        sweep_start_if_due(kv);
    }
    sweep(kv, SWEEP_STEPS);
}

void kv_expiry_entry_gone(struct kv *kv)
{
    sweep_start_if_due(kv);
    sweep(kv, SWEEP_STEPS);
}

static void wheel_add(struct kv *kv, uint32_t hash, uint64_t time_ms, bool is_retry)
{
    if (kv->wheel == NULL) {
        kv->wheel = kv_wheel_new(kv->expiry_now_ms, &kv->stats.memory_bytes);
    }
    kv_wheel_add(kv->wheel, hash, time_ms, is_retry);
}

/* ── looking at keys ─────────────────────────────────────────────────────────────────────────── */

/* Loads the keys an item speaks of. */
static uint32_t candidates(struct kv_walk *walk, const struct kv *kv, uint32_t hash)
{
    uint64_t low = (uint64_t)hash << 32;
    kv_walk_begin(walk, &kv->table, low);
    return kv_walk_range(walk, low, low | UINT32_MAX);
}

/* Whether the key has an item in the new wheel already. */
static bool is_in_new_wheel(const struct kv *kv, const struct kv_entry *entry)
{
    return (kv_entry_flags(entry) & KV_ENTRY_GENERATION) == kv->generation;
}

static bool is_collected(const struct kv_entry *entry)
{
    return (kv_entry_flags(entry) & KV_ENTRY_COLLECTED) != 0;
}

/* ── collecting ──────────────────────────────────────────────────────────────────────────────── */

uint32_t kv_expiry_collect(struct kv *kv, uint64_t now_ms, uint64_t *out_hashes, uint32_t max)
{
    struct collected collected = { .now_ms = now_ms, .hashes = out_hashes, .max = max };
    if (now_ms > kv->expiry_now_ms) {
        kv->expiry_now_ms = now_ms;
    }
    if (kv->wheel == NULL) {
        return 0;
    }
    uint32_t looks = max < UINT16_MAX ? max : UINT16_MAX;
    uint32_t budget = COLLECT_WORK_MIN + looks * COLLECT_WORK_LOOK;
    sweep(kv, SWEEP_STEPS_COLLECT);
    if (kv->wheel_old != NULL) {
        collect_from(kv, kv->wheel_old, &collected, &budget);
    }
    collect_from(kv, kv->wheel, &collected, &budget);
    sweep_start_if_due(kv);
    return collected.count;
}

static void collect_from(struct kv *kv, struct kv_wheel *wheel, struct collected *collected,
                         uint32_t *budget)
{
    struct kv_wheel_item item;
    while (collected->count < collected->max &&
           kv_wheel_take(wheel, collected->now_ms, budget, &item)) {
        collect_item(kv, &item, /* is_old= */ wheel == kv->wheel_old, collected);
        *budget -= *budget < COLLECT_WORK_LOOK ? *budget : COLLECT_WORK_LOOK;
    }
}

/* Hands out the hash, once in a row; false when there is no room. */
static bool hand_out(struct collected *collected, uint64_t hash)
{
    if (collected->count > 0 && collected->hashes[collected->count - 1] == hash) {
        return true;
    }
    if (collected->count == collected->max) {
        return false;
    }
    collected->hashes[collected->count++] = hash;
    return true;
}

static void collect_item(struct kv *kv, const struct kv_wheel_item *item, bool is_old,
                         struct collected *collected)
{
    uint64_t now_ms = collected->now_ms;
    uint64_t next_ms = UINT64_MAX;
    bool is_retry = false;
    struct kv_walk walk;
    uint32_t count = candidates(&walk, kv, item->hash);
    for (uint32_t i = 0; i < count; i++) {
        struct kv_entry *entry = walk.items[i].entry;
        uint64_t expire_ms = kv_entry_expiry(entry);
        if (expire_ms == KV_NO_EXPIRY || (is_old && is_in_new_wheel(kv, entry))) {
            continue;
        }
        uint64_t look_ms = expire_ms;
        unsigned collected_mark = 0;
        if (is_collected(entry) && !item->is_retry) {
            continue; /* its retry item will come */
        }
        if (expire_ms <= now_ms && hand_out(collected, walk.items[i].hash)) {
            collected_mark = KV_ENTRY_COLLECTED;
            look_ms = now_ms + KV_EXPIRY_RETRY_MS;
            is_retry = true;
        } else if (expire_ms <= now_ms) {
            look_ms = now_ms + 1; /* no room left: later, when the others have been dropped */
        }
        next_ms = look_ms < next_ms ? look_ms : next_ms;
        kv_entry_set_marks(entry, kv->generation | collected_mark);
    }
    kv_walk_end(&walk);
    if (next_ms != UINT64_MAX) {
        wheel_add(kv, item->hash, next_ms, is_retry);
    }
}

uint64_t kv_expiry_next_ms(const struct kv *kv)
{
    uint64_t next_ms = kv->wheel != NULL ? kv_wheel_next_ms(kv->wheel) : UINT64_MAX;
    uint64_t old_ms = kv->wheel_old != NULL ? kv_wheel_next_ms(kv->wheel_old) : UINT64_MAX;
    return old_ms < next_ms ? old_ms : next_ms;
}

/* ── sweeping ────────────────────────────────────────────────────────────────────────────────── */

static void sweep_start_if_due(struct kv *kv)
{
    if (kv->wheel == NULL || kv->wheel_old != NULL ||
        kv_wheel_count(kv->wheel) <= kv->stats.volatile_keys * 2 + SWEEP_SLACK) {
        return;
    }
    kv->wheel_old = kv->wheel;
    kv->wheel = kv_wheel_new(kv->expiry_now_ms, &kv->stats.memory_bytes);
    kv->generation ^= KV_ENTRY_GENERATION;
}

static void sweep(struct kv *kv, uint32_t steps)
{
    for (; kv->wheel_old != NULL && steps > 0; steps--) {
        struct kv_wheel_item item;
        if (kv_wheel_take_any(kv->wheel_old, &item)) {
            sweep_item(kv, &item);
        } else {
            kv_wheel_free(kv->wheel_old);
            kv->wheel_old = NULL;
        }
    }
}

/* Moves the item into the new wheel, unless its keys have one there or are gone. */
static void sweep_item(struct kv *kv, const struct kv_wheel_item *item)
{
    uint64_t next_ms = UINT64_MAX;
    bool is_retry = false;
    struct kv_walk walk;
    uint32_t count = candidates(&walk, kv, item->hash);
    for (uint32_t i = 0; i < count; i++) {
        struct kv_entry *entry = walk.items[i].entry;
        uint64_t look_ms = kv_entry_expiry(entry);
        if (look_ms == KV_NO_EXPIRY || is_in_new_wheel(kv, entry)) {
            continue;
        }
        if (is_collected(entry)) {
            if (!item->is_retry) {
                continue; /* its retry item will come */
            }
            is_retry = true;
            look_ms = item->is_far ? kv->expiry_now_ms : item->time_ms;
        }
        next_ms = look_ms < next_ms ? look_ms : next_ms;
        kv_entry_set_marks(entry, kv->generation | (kv_entry_flags(entry) & KV_ENTRY_COLLECTED));
    }
    kv_walk_end(&walk);
    if (next_ms != UINT64_MAX) {
        wheel_add(kv, item->hash, next_ms, is_retry);
    }
}

/* ── giving back ─────────────────────────────────────────────────────────────────────────────── */

/* After kv_clear all items are superfluous: sweeping gives their memory back. */
bool kv_expiry_reclaim(struct kv *kv, uint32_t budget)
{
    sweep_start_if_due(kv);
    sweep(kv, budget);
    if (kv->wheel != NULL && kv->wheel_old == NULL && kv_wheel_count(kv->wheel) == 0) {
        kv_wheel_free(kv->wheel);
        kv->wheel = NULL;
    }
    return kv->wheel_old != NULL;
}

void kv_expiry_deinit(struct kv *kv)
{
    kv_wheel_free(kv->wheel);
    kv_wheel_free(kv->wheel_old);
    kv->wheel = NULL;
    kv->wheel_old = NULL;
}
