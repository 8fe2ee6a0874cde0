/*
 * kv_wheel.c — slots, chunk lists and draining of the timing wheel (kv_wheel.h).
 *
 * Invariants: an item on level L differs from the clock in digit L and in no higher digit, and its
 * digit is the greater one, or L is 0 and the times are equal.  So an item of a lower level is
 * always due before one of a higher level.  Moving the clock to a time that is not beyond the
 * earliest slot keeps this true.
 */
#include "storage/kv_wheel.h"

#include "base/assert.h"
#include "base/mem.h"

enum {
    DIGIT_BITS = 6,
    SLOTS = 1 << DIGIT_BITS,
    LEVELS = 6,
    EPOCH_BITS = DIGIT_BITS * LEVELS, /* of time that the levels cover */
    FAR = LEVELS * SLOTS,             /* index of the far list */
    TIME_BITS = 31,                   /* of time that an item holds */
    CHUNK_BYTES_MIN = 64,
    CHUNK_BYTES_MAX = 1024,
};

_Static_assert(DIGIT_BITS *(LEVELS - 1) <= TIME_BITS, "an item's time is exact within its slot");

struct chunk {
    struct chunk *next;
    uint32_t count;
    uint32_t capacity;
    uint64_t items[]; /* hash << 32 | retry << 31 | low 31 bits of time */
};

struct kv_wheel {
    uint64_t clock_ms;
    uint64_t count;
    uint64_t *memory_bytes; /* where the memory is accounted; not owned */
    uint64_t used[LEVELS];  /* bit s: slot s of the level has items */
    struct chunk *slots[LEVELS * SLOTS + 1];
    struct chunk *draining;  /* the list being handed out or moved down */
    uint64_t draining_ms;    /* where its slot begins */
    unsigned draining_level; /* LEVELS: the far list */
};

static void list_push(struct kv_wheel *wheel, struct chunk **list, uint64_t item);
static uint64_t list_pop(struct kv_wheel *wheel, struct chunk **list);
static bool wheel_earliest(const struct kv_wheel *wheel, unsigned *out_slot, uint64_t *out_ms);
static void wheel_start_draining(struct kv_wheel *wheel, unsigned slot, uint64_t start_ms);
static void wheel_mark_empty(struct kv_wheel *wheel, unsigned slot);
static struct kv_wheel_item wheel_pop(struct kv_wheel *wheel, struct chunk **list, unsigned level,
                                      uint64_t start_ms);

struct kv_wheel *kv_wheel_new(uint64_t now_ms, uint64_t *memory_bytes)
{
    struct kv_wheel *wheel = mem_zalloc(sizeof(*wheel));
    wheel->clock_ms = now_ms;
    wheel->memory_bytes = memory_bytes;
    *memory_bytes += sizeof(*wheel);
    return wheel;
}

void kv_wheel_free(struct kv_wheel *wheel)
{
    if (wheel == NULL) {
        return;
    }
    struct kv_wheel_item item;
    while (kv_wheel_take_any(wheel, &item)) {
    }
    *wheel->memory_bytes -= sizeof(*wheel);
    mem_free_sized(wheel, sizeof(*wheel));
}

uint64_t kv_wheel_count(const struct kv_wheel *wheel)
{
    return wheel->count;
}

void kv_wheel_add(struct kv_wheel *wheel, uint32_t hash, uint64_t time_ms, bool is_retry)
{
    if (time_ms < wheel->clock_ms) {
        time_ms = wheel->clock_ms;
    }
    uint64_t differs = time_ms ^ wheel->clock_ms;
    unsigned level = (63 - (unsigned)__builtin_clzll(differs | 1)) / DIGIT_BITS;
    unsigned slot = FAR;
    if (level < LEVELS) {
        unsigned digit = (unsigned)(time_ms >> (level * DIGIT_BITS)) % SLOTS;
        wheel->used[level] |= UINT64_C(1) << digit;
        slot = level * SLOTS + digit;
    }
    uint64_t time = time_ms & ((UINT64_C(1) << TIME_BITS) - 1);
    uint64_t flag = (uint64_t)is_retry << TIME_BITS;
    list_push(wheel, &wheel->slots[slot], (uint64_t)hash << 32 | flag | time);
    wheel->count += 1;
}

bool kv_wheel_take(struct kv_wheel *wheel, uint64_t now_ms, uint32_t *budget,
                   struct kv_wheel_item *out_item)
{
    while (*budget > 0) {
        if (wheel->draining == NULL) {
            unsigned slot;
            uint64_t start_ms;
            if (!wheel_earliest(wheel, &slot, &start_ms) || start_ms > now_ms) {
                wheel->clock_ms = now_ms > wheel->clock_ms ? now_ms : wheel->clock_ms;
                return false;
            }
            wheel->clock_ms = slot == FAR ? now_ms : start_ms;
            wheel_start_draining(wheel, slot, start_ms);
        }
        *budget -= 1;
        struct kv_wheel_item item =
            wheel_pop(wheel, &wheel->draining, wheel->draining_level, wheel->draining_ms);
        if (item.is_far || item.time_ms <= wheel->clock_ms) {
            *out_item = item;
            return true;
        }
        kv_wheel_add(wheel, item.hash, item.time_ms, item.is_retry);
    }
    return false;
}

bool kv_wheel_take_any(struct kv_wheel *wheel, struct kv_wheel_item *out_item)
{
    if (wheel->draining != NULL) {
        *out_item = wheel_pop(wheel, &wheel->draining, wheel->draining_level, wheel->draining_ms);
        return true;
    }
    unsigned slot;
    uint64_t start_ms;
    if (!wheel_earliest(wheel, &slot, &start_ms)) {
        return false;
    }
    *out_item = wheel_pop(wheel, &wheel->slots[slot], slot / SLOTS, start_ms);
    if (wheel->slots[slot] == NULL) {
        wheel_mark_empty(wheel, slot);
    }
    return true;
}

uint64_t kv_wheel_next_ms(const struct kv_wheel *wheel)
{
    if (wheel->draining != NULL) {
        return wheel->clock_ms;
    }
    unsigned slot;
    uint64_t start_ms;
    return wheel_earliest(wheel, &slot, &start_ms) ? start_ms : UINT64_MAX;
}

/* The slot that is due first and when; false when the wheel is empty. */
static bool wheel_earliest(const struct kv_wheel *wheel, unsigned *out_slot, uint64_t *out_ms)
{
    for (unsigned level = 0; level < LEVELS; level++) {
        if (wheel->used[level] == 0) {
            continue;
        }
        unsigned digit = (unsigned)__builtin_ctzll(wheel->used[level]);
        unsigned shift = level * DIGIT_BITS;
        uint64_t upper = wheel->clock_ms >> (shift + DIGIT_BITS) << (shift + DIGIT_BITS);
        *out_slot = level * SLOTS + digit;
        *out_ms = upper | (uint64_t)digit << shift;
        ASSERT(*out_ms >= wheel->clock_ms);
        return true;
    }
    *out_slot = FAR;
    *out_ms = ((wheel->clock_ms >> EPOCH_BITS) + 1) << EPOCH_BITS;
    return wheel->slots[FAR] != NULL;
}

static void wheel_start_draining(struct kv_wheel *wheel, unsigned slot, uint64_t start_ms)
{
    ASSERT(wheel->draining == NULL);
    ASSERT(wheel->slots[slot] != NULL);
    wheel->draining = wheel->slots[slot];
    wheel->draining_ms = start_ms;
    wheel->draining_level = slot / SLOTS;
    wheel->slots[slot] = NULL;
    wheel_mark_empty(wheel, slot);
}

static void wheel_mark_empty(struct kv_wheel *wheel, unsigned slot)
{
    if (slot != FAR) {
        wheel->used[slot / SLOTS] &= ~(UINT64_C(1) << slot % SLOTS);
    }
}

/* Takes an item of a list that belongs, or belonged, to a slot of this level and start. */
static struct kv_wheel_item wheel_pop(struct kv_wheel *wheel, struct chunk **list, unsigned level,
                                      uint64_t start_ms)
{
    uint64_t word = list_pop(wheel, list);
    wheel->count -= 1;
    struct kv_wheel_item item = {
        .hash = (uint32_t)(word >> 32),
        .is_retry = (word >> TIME_BITS & 1) != 0,
        .is_far = level == LEVELS,
    };
    if (!item.is_far) {
        uint64_t width = UINT64_C(1) << (level * DIGIT_BITS);
        item.time_ms = start_ms | (word & (width - 1));
    }
    return item;
}

/* ── chunk lists ─────────────────────────────────────────────────────────────────────────────── */

static size_t chunk_bytes(uint32_t capacity)
{
    return sizeof(struct chunk) + capacity * sizeof(uint64_t);
}

static void list_push(struct kv_wheel *wheel, struct chunk **list, uint64_t item)
{
    struct chunk *head = *list;
    if (head == NULL || head->count == head->capacity) {
        size_t bytes = head == NULL ? CHUNK_BYTES_MIN : chunk_bytes(head->capacity) * 2;
        bytes = bytes > CHUNK_BYTES_MAX ? CHUNK_BYTES_MAX : bytes;
        struct chunk *chunk = mem_alloc(bytes);
        chunk->next = head;
        chunk->count = 0;
        chunk->capacity = (uint32_t)((bytes - sizeof(struct chunk)) / sizeof(uint64_t));
        *wheel->memory_bytes += bytes;
        *list = chunk;
        head = chunk;
    }
    head->items[head->count++] = item;
}

static uint64_t list_pop(struct kv_wheel *wheel, struct chunk **list)
{
    struct chunk *head = *list;
    ASSERT(head != NULL);
    ASSERT(head->count > 0);
    head->count -= 1;
    uint64_t item = head->items[head->count];
    if (head->count == 0) {
        *list = head->next;
        *wheel->memory_bytes -= chunk_bytes(head->capacity);
        mem_free_sized(head, chunk_bytes(head->capacity));
    }
    return item;
}
