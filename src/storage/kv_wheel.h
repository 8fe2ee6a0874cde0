/*
 * kv_wheel.h — a hierarchical timing wheel of key hashes, in milliseconds.
 *
 * Six levels of 64 slots: level L's slots are 64^L ms wide, all together reach 2^36 ms (two years)
 * and what is due later waits in one list ("far").  An item stands on the level of the highest
 * 6-bit digit in which its time differs from the wheel's clock, in the slot of that digit; so the
 * earliest slot is found from six bitmaps.  When the clock reaches a slot its list is drained:
 * items of level 0 are due, others go down to the level that fits now.  Draining stops when the
 * caller's budget is used up and goes on at the next call, so no number of items that fall due at
 * one moment makes a pause.
 *
 * An item is 8 bytes: 32 bits of hash, 31 bits of time (a slot knows the rest) and a flag.  Lists
 * are chains of chunks that double in size up to 1 KiB, so a key costs 8 to 11 bytes.  The wheel
 * knows nothing of keys; what an item means is decided in kv_expiry.c.
 *
 * Read next: kv_expiry.c.
 */
#pragma once

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct kv_wheel;

struct kv_wheel_item {
    uint32_t hash;    /* top 32 bits of a key's hash */
    bool is_retry;    /* the caller's flag */
    bool is_far;      /* from the far list: time_ms is not known (0) */
    uint64_t time_ms; /* never later than what was added; an item added late has the clock's time */
};

struct kv_wheel *kv_wheel_new(uint64_t now_ms, uint64_t *memory_bytes);
void kv_wheel_free(struct kv_wheel *wheel); /* NULL is allowed; any number of items at once */
uint64_t kv_wheel_count(const struct kv_wheel *wheel);

void kv_wheel_add(struct kv_wheel *wheel, uint32_t hash, uint64_t time_ms, bool is_retry);
/* Takes an item that is due at now_ms, or one of the far list whose epoch has come (to be added
 * again by its real time).  Each item moved costs one of *budget; false when nothing is due or the
 * budget is used up. */
bool kv_wheel_take(struct kv_wheel *wheel, uint64_t now_ms, uint32_t *budget,
                   struct kv_wheel_item *out_item);
/* Takes any item, due or not; false when there is none. */
bool kv_wheel_take_any(struct kv_wheel *wheel, struct kv_wheel_item *out_item);
/* A lower bound for the time at which kv_wheel_take has work to do; UINT64_MAX: never. */
uint64_t kv_wheel_next_ms(const struct kv_wheel *wheel);
