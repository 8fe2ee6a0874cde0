/*
 * kv_entry.h — one key with its value: a single allocation with a compact header.
 *
 *    0  u64  version (low 48 bits) and flags (high 16 bits)
 *    8  u48  expiry in milliseconds          only with KV_ENTRY_EXPIRES
 *       u8 | u16 | u32  key size             width by KV_ENTRY_KEY_WIDTH
 *       u8 | u16        value size           only when the value is inline text
 *       key
 *       value: inline text, or a 64-bit integer, or a pointer to a kv_block
 *
 * An integer is kept in binary when that is shorter than its text.  Text over KV_INLINE_VALUE_MAX
 * bytes lives in a reference-counted block of its own, so that copies kept for views share it.
 *
 * What an entry will look like is computed first (struct kv_entry_plan); the same plan either fills
 * a new allocation or overwrites an old entry that rounds to the same size.  Every allocation is
 * made in the allocator's own size classes, so sizes never have to be asked back from it.
 *
 * Read next: kv_entry.c, kv_table.h.
 */
#pragma once

#include "base/compiler.h"
#include "base/endian.h"
#include "storage/kv_store.h"

enum {
    KV_INLINE_VALUE_MAX = 4096, /* longer text gets a block of its own */
    KV_EMBSTR_MAX = 44,         /* Redis's bound for "embstr" */
};

/* 48 bits: versions and expiries. */
#define KV_U48_MAX ((UINT64_C(1) << 48) - 1)

enum {
    KV_ENTRY_KEY_WIDTH = 3 << 0,   /* log2 of the bytes of the key size */
    KV_ENTRY_VALUE_FORM = 3 << 2,  /* 0, 1: inline text, log2 of the bytes of its size; 3: a word */
    KV_ENTRY_WORD = 3 << 2,        /* the value is 8 bytes: an integer, or a pointer to a block */
    KV_ENTRY_EXPIRES = 1 << 4,     /* has an expiry */
    KV_ENTRY_RAW = 1 << 5,         /* modified in place: OBJECT ENCODING says raw */
    KV_ENTRY_BLOCK = 1 << 6,       /* the word is a pointer to a block */
    KV_ENTRY_TOMBSTONE = 1 << 7,   /* in a view only: the key did not exist */
    KV_ENTRY_TYPE_SHIFT = 8,       /* 4 bits of enum kv_type */
    KV_ENTRY_GENERATION = 1 << 12, /* kv_expiry.c: which wheel holds its item */
    KV_ENTRY_COLLECTED = 1 << 13,  /* kv_expiry.c: handed out, a retry item is in the wheel */
    KV_ENTRY_MARKS = KV_ENTRY_GENERATION | KV_ENTRY_COLLECTED,
    KV_ENTRY_LAYOUT = KV_ENTRY_KEY_WIDTH | KV_ENTRY_VALUE_FORM | KV_ENTRY_EXPIRES | KV_ENTRY_BLOCK,
};

struct kv_entry {
    uint64_t word; /* version and flags */
    char bytes[];
};

struct kv_block {
    uint32_t refs; /* entries that point here */
    uint32_t size;
    char bytes[];
};

/* The rounded size of an allocation: jemalloc's classes (multiples of 16 up to 128, then four per
 * doubling). */
static inline size_t kv_size_class(size_t size)
{
    if (size <= 128) {
        return (size + 15) & ~(size_t)15;
    }
    size_t step = (size_t)1 << (64 - __builtin_clzll(size - 1) - 3);
    return (size + step - 1) & ~(step - 1);
}

static inline unsigned kv_entry_flags(const struct kv_entry *entry)
{
    return (unsigned)(entry->word >> 48);
}

static inline void kv_entry_set_marks(struct kv_entry *entry, unsigned marks)
{
    entry->word = (entry->word & ~((uint64_t)KV_ENTRY_MARKS << 48)) | (uint64_t)marks << 48;
}

static inline uint64_t kv_load_u48(const char *at)
{
    return load_u32(at) | (uint64_t)load_u16(at + 4) << 32;
}

/* The expiry, KV_NO_EXPIRY when there is none. */
static inline uint64_t kv_entry_expiry(const struct kv_entry *entry)
{
    return (kv_entry_flags(entry) & KV_ENTRY_EXPIRES) != 0 ? kv_load_u48(entry->bytes) : 0;
}

static inline bool kv_entry_is_expired(const struct kv_entry *entry, uint64_t now_ms)
{
    return (kv_entry_flags(entry) & KV_ENTRY_EXPIRES) != 0 && kv_load_u48(entry->bytes) <= now_ms;
}

/* Where the sizes begin. */
static inline const char *kv_entry_sizes(const struct kv_entry *entry)
{
    return entry->bytes + ((kv_entry_flags(entry) & KV_ENTRY_EXPIRES) != 0 ? 6 : 0);
}

static inline size_t kv_size_load(const char *at, unsigned width)
{
    if (LIKELY(width == 0)) {
        return (unsigned char)*at;
    }
    return width == 1 ? load_u16(at) : load_u32(at);
}

static inline struct slice kv_entry_key_slice(const struct kv_entry *entry)
{
    unsigned flags = kv_entry_flags(entry);
    const char *at = kv_entry_sizes(entry);
    unsigned width = flags & KV_ENTRY_KEY_WIDTH;
    unsigned form = (flags & KV_ENTRY_VALUE_FORM) >> 2;
    size_t skip = ((size_t)1 << width) + (form == 3 ? 0 : (size_t)1 << form);
    return (struct slice){ at + skip, kv_size_load(at, width) };
}

static inline bool kv_entry_has_key(const struct kv_entry *entry, struct slice key)
{
    struct slice own = kv_entry_key_slice(entry);
    return slice_equal(own, key);
}

/* ── making and changing entries ─────────────────────────────────────────────────────────────── */

struct kv_entry_plan {
    struct slice key;            /* borrowed */
    struct slice text;           /* borrowed: what goes inline or into a new block */
    uint64_t word;               /* the integer */
    struct kv_block *block;      /* an existing block to share, or NULL */
    const struct kv_entry *from; /* the entry all this was taken from, or NULL */
    uint64_t expire_ms;
    uint64_t version;
    unsigned flags;
    size_t size; /* bytes of the entry, not rounded */
};

/* `flags`: KV_ENTRY_RAW, KV_ENTRY_TOMBSTONE and the marks, or 0. */
void kv_entry_plan(struct kv_entry_plan *plan, struct slice key, struct slice value,
                   uint64_t expire_ms, uint64_t version, unsigned flags);
/* The same key and value as `entry` (whose memory it borrows), with the given expiry and version.
 */
void kv_entry_plan_from(struct kv_entry_plan *plan, const struct kv_entry *entry,
                        uint64_t expire_ms, uint64_t version);
struct kv_entry *kv_entry_new(const struct kv_entry_plan *plan);
/* Frees the entry and its share of a block. */
void kv_entry_free(struct kv_entry *entry);
/* The hot path of kv_entry_overwrite: only the value's text differs from the entry's in size or
 * bytes, and everything else of the layout is the same.  Adds to *text_bytes what it grew by. */
MUST_USE bool kv_entry_patch(struct kv_entry *entry, const struct kv_entry_plan *plan,
                             uint64_t *text_bytes);
/* Overwrites in place when the plan rounds to the same size and does not borrow from the entry
 * (or is nothing but the entry itself with another expiry and version). */
MUST_USE bool kv_entry_overwrite(struct kv_entry *entry, const struct kv_entry_plan *plan);

size_t kv_entry_value_size(const struct kv_entry *entry); /* of its text */
/* Orders by key bytes: < 0, 0, > 0. */
int kv_entry_key_compare(const struct kv_entry *a, const struct kv_entry *b);
