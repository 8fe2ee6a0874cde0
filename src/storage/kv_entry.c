/*
 * kv_entry.c — the layout of an entry (kv_entry.h): planning, writing, reading.
 */
#include "storage/kv_entry.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"

_Static_assert(KV_INLINE_VALUE_MAX <= UINT16_MAX, "inline sizes have at most two bytes");
_Static_assert(sizeof(void *) == sizeof(uint64_t), "a word holds a pointer");

static void plan_finish(struct kv_entry_plan *plan);
static void plan_write(const struct kv_entry_plan *plan, struct kv_entry *entry);

static void entry_set_expiry(struct kv_entry *entry, uint64_t expire_ms, uint64_t version);
static size_t entry_size(const struct kv_entry *entry);
static const char *entry_value_at(const struct kv_entry *entry);
static size_t inline_size(const struct kv_entry *entry, unsigned form);
static struct kv_block *entry_block(const struct kv_entry *entry);

static struct kv_block *block_new(struct slice text);
static void block_unref(struct kv_block *block);
static size_t block_class(uint32_t size);

static void store_u48(char *at, uint64_t value);
static bool text_is_worth_binary(struct slice text, uint64_t *out);

/* ── planning ────────────────────────────────────────────────────────────────────────────────── */

void kv_entry_plan(struct kv_entry_plan *plan, struct slice key, struct slice value,
                   uint64_t expire_ms, uint64_t version, unsigned flags)
{
    ASSERT(version <= KV_U48_MAX);
    ASSERT(value.size <= UINT32_MAX);
    *plan = (struct kv_entry_plan){
        .key = key, .text = value, .expire_ms = expire_ms, .version = version, .flags = flags
    };
    if ((flags & KV_ENTRY_RAW) == 0 && text_is_worth_binary(value, &plan->word)) {
        plan->flags |= KV_ENTRY_WORD;
    } else if (value.size > KV_INLINE_VALUE_MAX) {
        plan->flags |= KV_ENTRY_WORD | KV_ENTRY_BLOCK;
    } else if (value.size > UINT8_MAX) {
        plan->flags |= 1 << 2;
    }
    plan_finish(plan);
}

void kv_entry_plan_from(struct kv_entry_plan *plan, const struct kv_entry *entry,
                        uint64_t expire_ms, uint64_t version)
{
    ASSERT(version <= KV_U48_MAX);
    unsigned keep = ~(unsigned)(KV_ENTRY_KEY_WIDTH | KV_ENTRY_EXPIRES);
    *plan = (struct kv_entry_plan){
        .key = kv_entry_key_slice(entry),
        .from = entry,
        .expire_ms = expire_ms,
        .version = version,
        .flags = kv_entry_flags(entry) & keep,
    };
    if ((plan->flags & KV_ENTRY_BLOCK) != 0) {
        plan->block = entry_block(entry);
    } else if ((plan->flags & KV_ENTRY_VALUE_FORM) == KV_ENTRY_WORD) {
        plan->word = load_u64(entry_value_at(entry));
    } else {
        plan->text = slice_make(entry_value_at(entry), kv_entry_value_size(entry));
    }
    plan_finish(plan);
}

/* Fills in what follows from the rest: the key's width, whether there is an expiry, the size. */
static void plan_finish(struct kv_entry_plan *plan)
{
    ASSERT(plan->key.size <= UINT32_MAX);
    size_t size = sizeof(struct kv_entry) + plan->key.size;
    unsigned width = plan->key.size <= UINT8_MAX ? 0 : plan->key.size <= UINT16_MAX ? 1 : 2;
    plan->flags |= width;
    size += (size_t)1 << width;
    if (plan->expire_ms != KV_NO_EXPIRY) {
        plan->flags |= KV_ENTRY_EXPIRES;
        size += 6;
    }
    unsigned form = (plan->flags & KV_ENTRY_VALUE_FORM) >> 2;
    size += form == 3 ? sizeof(uint64_t) : ((size_t)1 << form) + plan->text.size;
    plan->size = size;
}

/* Integers of eight characters and more take less room in binary (8 bytes against size + text). */
static bool text_is_worth_binary(struct slice text, uint64_t *out)
{
    if (text.size < 8 || text.size >= TEXT_I64_BYTES_MAX) {
        return false;
    }
    char first = text.data[0];
    if (first != '-' && (first < '0' || first > '9')) {
        return false;
    }
    int64_t value;
    if (!text_to_i64(text, &value)) {
        return false;
    }
    *out = (uint64_t)value;
    return true;
}

/* ── writing ─────────────────────────────────────────────────────────────────────────────────── */

struct kv_entry *kv_entry_new(const struct kv_entry_plan *plan)
{
    struct kv_entry *entry = mem_alloc(kv_size_class(plan->size));
    ASSERT((uintptr_t)entry >> 48 == 0);
    plan_write(plan, entry);
    ASSERT_SLOW(entry_size(entry) == plan->size);
    return entry;
}

static void plan_write(const struct kv_entry_plan *plan, struct kv_entry *entry)
{
    unsigned flags = plan->flags;
    entry->word = plan->version | (uint64_t)flags << 48;
    char *at = entry->bytes;
    if ((flags & KV_ENTRY_EXPIRES) != 0) {
        store_u48(at, plan->expire_ms);
        at += 6;
    }
    unsigned width = flags & KV_ENTRY_KEY_WIDTH;
    uint32_t key_size = (uint32_t)plan->key.size;
    memcpy(at, &key_size, (size_t)1 << width);
    at += (size_t)1 << width;
    unsigned form = (flags & KV_ENTRY_VALUE_FORM) >> 2;
    if (form != 3) {
        uint16_t text_size = (uint16_t)plan->text.size;
        memcpy(at, &text_size, (size_t)1 << form);
        at += (size_t)1 << form;
    }
    if (plan->key.size > 0) {
        memcpy(at, plan->key.data, plan->key.size);
        at += plan->key.size;
    }
    if (form != 3) {
        if (plan->text.size > 0) {
            memcpy(at, plan->text.data, plan->text.size);
        }
        return;
    }
    uint64_t word = plan->word;
    if ((flags & KV_ENTRY_BLOCK) != 0) {
        struct kv_block *block = plan->block;
        if (block != NULL) {
            block->refs += 1;
        } else {
            block = block_new(plan->text);
        }
        word = (uint64_t)(uintptr_t)block;
    }
    store_u64(at, word);
}

bool kv_entry_patch(struct kv_entry *entry, const struct kv_entry_plan *plan, uint64_t *text_bytes)
{
    unsigned flags = kv_entry_flags(entry);
    unsigned form = (flags & KV_ENTRY_VALUE_FORM) >> 2;
    if (((flags ^ plan->flags) & KV_ENTRY_LAYOUT) != 0 || form == 3) {
        return false;
    }
    size_t old_text_size = inline_size(entry, form);
    size_t size = plan->size - plan->text.size + old_text_size;
    bool borrows = (uintptr_t)plan->text.data - (uintptr_t)entry < size;
    if (borrows || kv_size_class(size) != kv_size_class(plan->size)) {
        return false;
    }
    char *at = entry->bytes;
    entry->word = plan->version | (uint64_t)plan->flags << 48;
    if ((flags & KV_ENTRY_EXPIRES) != 0) {
        store_u48(at, plan->expire_ms);
        at += 6;
    }
    at += (size_t)1 << (flags & KV_ENTRY_KEY_WIDTH);
    uint16_t text_size = (uint16_t)plan->text.size;
    memcpy(at, &text_size, (size_t)1 << form);
    at += ((size_t)1 << form) + plan->key.size;
    if (plan->text.size > 0) {
        memcpy(at, plan->text.data, plan->text.size);
    }
    *text_bytes += plan->text.size - old_text_size;
    return true;
}

bool kv_entry_overwrite(struct kv_entry *entry, const struct kv_entry_plan *plan)
{
    size_t size = entry_size(entry);
    if (kv_size_class(size) != kv_size_class(plan->size)) {
        return false;
    }
    if (plan->from == entry) {
        entry_set_expiry(entry, plan->expire_ms, plan->version);
        return true;
    }
    uintptr_t begin = (uintptr_t)entry;
    uintptr_t key = (uintptr_t)plan->key.data;
    uintptr_t text = (uintptr_t)plan->text.data;
    if (key - begin < size || text - begin < size) {
        return false;
    }
    if (((kv_entry_flags(entry) | plan->flags) & KV_ENTRY_BLOCK) != 0) {
        return false; /* the new text may lie in the old block */
    }
    plan_write(plan, entry);
    return true;
}

/* The rounded size stays the same, so what follows the expiry has room to move. */
static void entry_set_expiry(struct kv_entry *entry, uint64_t expire_ms, uint64_t version)
{
    ASSERT(version <= KV_U48_MAX);
    size_t had = (kv_entry_flags(entry) & KV_ENTRY_EXPIRES) != 0 ? 6 : 0;
    size_t has = expire_ms != KV_NO_EXPIRY ? 6 : 0;
    size_t tail = entry_size(entry) - sizeof(struct kv_entry) - had;
    unsigned flags = kv_entry_flags(entry) & ~(unsigned)KV_ENTRY_EXPIRES;
    if (had != has) {
        memmove(entry->bytes + has, entry->bytes + had, tail);
    }
    if (has != 0) {
        flags |= KV_ENTRY_EXPIRES;
        store_u48(entry->bytes, expire_ms);
    }
    entry->word = version | (uint64_t)flags << 48;
}

void kv_entry_free(struct kv_entry *entry)
{
    ASSERT(entry != NULL);
    if ((kv_entry_flags(entry) & KV_ENTRY_BLOCK) != 0) {
        block_unref(entry_block(entry));
    }
    mem_free_sized(entry, kv_size_class(entry_size(entry)));
}

static void store_u48(char *at, uint64_t value)
{
    ASSERT(value <= KV_U48_MAX);
    store_u32(at, (uint32_t)value);
    store_u16(at + 4, (uint16_t)(value >> 32));
}

/* ── blocks ──────────────────────────────────────────────────────────────────────────────────── */

static struct kv_block *block_new(struct slice text)
{
    struct kv_block *block = mem_alloc(block_class((uint32_t)text.size));
    block->refs = 1;
    block->size = (uint32_t)text.size;
    memcpy(block->bytes, text.data, text.size);
    return block;
}

static void block_unref(struct kv_block *block)
{
    ASSERT(block->refs > 0);
    block->refs -= 1;
    if (block->refs == 0) {
        mem_free_sized(block, block_class(block->size));
    }
}

static size_t block_class(uint32_t size)
{
    return kv_size_class(sizeof(struct kv_block) + size);
}

/* ── reading ─────────────────────────────────────────────────────────────────────────────────── */

static const char *entry_value_at(const struct kv_entry *entry)
{
    struct slice key = kv_entry_key_slice(entry);
    return key.data + key.size;
}

static struct kv_block *entry_block(const struct kv_entry *entry)
{
    ASSERT((kv_entry_flags(entry) & KV_ENTRY_BLOCK) != 0);
    return (struct kv_block *)(uintptr_t)load_u64(entry_value_at(entry));
}

/* Size of inline text. */
static size_t inline_size(const struct kv_entry *entry, unsigned form)
{
    unsigned width = kv_entry_flags(entry) & KV_ENTRY_KEY_WIDTH;
    return kv_size_load(kv_entry_sizes(entry) + ((size_t)1 << width), form);
}

static size_t entry_size(const struct kv_entry *entry)
{
    unsigned form = (kv_entry_flags(entry) & KV_ENTRY_VALUE_FORM) >> 2;
    size_t value_size = form == 3 ? sizeof(uint64_t) : inline_size(entry, form);
    return (size_t)(entry_value_at(entry) - (const char *)entry) + value_size;
}

size_t kv_entry_value_size(const struct kv_entry *entry)
{
    unsigned flags = kv_entry_flags(entry);
    unsigned form = (flags & KV_ENTRY_VALUE_FORM) >> 2;
    if (form != 3) {
        return inline_size(entry, form);
    }
    if ((flags & KV_ENTRY_BLOCK) != 0) {
        return entry_block(entry)->size;
    }
    struct kv_scratch scratch;
    return kv_entry_value(entry, &scratch).size;
}

int kv_entry_key_compare(const struct kv_entry *a, const struct kv_entry *b)
{
    struct slice left = kv_entry_key_slice(a);
    struct slice right = kv_entry_key_slice(b);
    size_t common = left.size < right.size ? left.size : right.size;
    int order = memcmp(left.data, right.data, common);
    if (order != 0) {
        return order;
    }
    return (left.size > right.size) - (left.size < right.size);
}

struct slice kv_entry_key(const struct kv_entry *entry)
{
    return kv_entry_key_slice(entry);
}

struct slice kv_entry_value(const struct kv_entry *entry, struct kv_scratch *scratch)
{
    unsigned flags = kv_entry_flags(entry);
    unsigned form = (flags & KV_ENTRY_VALUE_FORM) >> 2;
    const char *at = entry_value_at(entry);
    if (form != 3) {
        return slice_make(at, inline_size(entry, form));
    }
    if ((flags & KV_ENTRY_BLOCK) != 0) {
        const struct kv_block *block = entry_block(entry);
        return slice_make(block->bytes, block->size);
    }
    size_t size = text_from_i64((int64_t)load_u64(at), scratch->bytes);
    return slice_make(scratch->bytes, size);
}

uint64_t kv_entry_version(const struct kv_entry *entry)
{
    return entry->word & KV_U48_MAX;
}

uint64_t kv_entry_expire_ms(const struct kv_entry *entry)
{
    return kv_entry_expiry(entry);
}

enum kv_type kv_entry_type(const struct kv_entry *entry)
{
    return (enum kv_type)(kv_entry_flags(entry) >> KV_ENTRY_TYPE_SHIFT & 15);
}

enum kv_encoding kv_entry_encoding(const struct kv_entry *entry)
{
    unsigned flags = kv_entry_flags(entry);
    if ((flags & KV_ENTRY_RAW) != 0 || (flags & KV_ENTRY_BLOCK) != 0) {
        return KV_ENCODING_RAW;
    }
    struct kv_scratch scratch;
    struct slice value = kv_entry_value(entry, &scratch);
    int64_t number;
    if (value.size < TEXT_I64_BYTES_MAX && text_to_i64(value, &number)) {
        return KV_ENCODING_INT;
    }
    return value.size <= KV_EMBSTR_MAX ? KV_ENCODING_EMBSTR : KV_ENCODING_RAW;
}

size_t kv_entry_memory(const struct kv_entry *entry)
{
    size_t size = kv_size_class(entry_size(entry));
    if ((kv_entry_flags(entry) & KV_ENTRY_BLOCK) != 0) {
        size += block_class(entry_block(entry)->size);
    }
    return size;
}
