/*
 * snapshot_block_test.c — a view as blocks in memory, and what is wrong with a block.
 */
#include "storage/snapshot_block.h"

#include "base/prng.h"
#include "storage/kv_store.h"
#include "storage/snapshot_format.h"
#include "test.h"

enum { KEYS = 3000, VALUE_MAX = 5000 };

static const uint64_t HASH_SEED = 99;

static struct slice random_bytes(struct prng *prng, char *to, size_t bound)
{
    size_t size = (size_t)prng_below(prng, bound);
    for (size_t i = 0; i < size; i++) {
        to[i] = (char)prng_next(prng);
    }
    return slice_make(to, size);
}

static void put(struct kv *kv, struct prng *prng, uint64_t version)
{
    char key_bytes[32];
    char value_bytes[VALUE_MAX];
    int key_size = snprintf(key_bytes, sizeof(key_bytes), "%u", (unsigned)prng_below(prng, KEYS));
    struct slice key = slice_make(key_bytes, (size_t)key_size);
    struct slice value = random_bytes(prng, value_bytes, prng_chance(prng, 1, 20) ? VALUE_MAX : 50);
    uint64_t hash = kv_hash(kv, key);
    uint64_t expire_ms = prng_chance(prng, 1, 3) ? prng_next(prng) >> 17 : KV_NO_EXPIRY;
    if (prng_chance(prng, 1, 4)) {
        kv_put_raw(kv, key, hash, value, expire_ms, version);
    } else if (prng_chance(prng, 1, 4)) {
        kv_put(kv, key, hash, slice_from("12345678901"), expire_ms, version);
    } else if (prng_chance(prng, 1, 8)) {
        (void)kv_delete(kv, key, hash);
    } else {
        kv_put(kv, key, hash, value, expire_ms, version);
    }
}

static struct kv *random_kv(struct prng *prng, unsigned puts)
{
    struct kv *kv = kv_new(HASH_SEED);
    for (unsigned i = 0; i < puts; i++) {
        put(kv, prng, i);
    }
    return kv;
}

static bool entry_equal(const struct kv_entry *a, const struct kv_entry *b)
{
    struct kv_scratch scratch[2];
    return slice_equal(kv_entry_key(a), kv_entry_key(b)) &&
           slice_equal(kv_entry_value(a, &scratch[0]), kv_entry_value(b, &scratch[1])) &&
           kv_entry_version(a) == kv_entry_version(b) &&
           kv_entry_expire_ms(a) == kv_entry_expire_ms(b) &&
           kv_entry_encoding(a) == kv_entry_encoding(b);
}

static void check_equal(struct kv *a, struct kv *b)
{
    struct kv_view *left = kv_view_begin(a);
    struct kv_view *right = kv_view_begin(b);
    CHECK_EQ(kv_stats(a)->keys, kv_stats(b)->keys);
    const struct kv_entry *x = kv_view_next(left);
    const struct kv_entry *y = kv_view_next(right);
    while (x != NULL && y != NULL) {
        CHECK(entry_equal(x, y));
        x = kv_view_next(left);
        y = kv_view_next(right);
    }
    CHECK(x == NULL && y == NULL);
    kv_view_end(left);
    kv_view_end(right);
}

/* From one keyspace to another by blocks, while the first one changes. */
static void stream(struct prng *prng, unsigned puts)
{
    struct kv *from = random_kv(prng, puts);
    struct kv *twin = kv_new(HASH_SEED); /* what `from` holds now */
    struct kv *to = kv_new(HASH_SEED);
    struct kv_view *view = kv_view_begin(from);
    struct buffer out = { 0 };
    uint32_t all = 0;
    CHECK(!snapshot_block_fill(view, UINT32_MAX, SIZE_MAX, &out, &all));
    CHECK_EQ(all, kv_stats(from)->keys);
    CHECK(snapshot_block_load(twin, buffer_slice(&out), all));
    kv_view_end(view);

    view = kv_view_begin(from);
    bool has_more = true;
    uint32_t sum = 0;
    while (has_more) {
        uint32_t budget = 1 + (uint32_t)prng_below(prng, 100);
        size_t target = 1 + (size_t)prng_below(prng, 3000);
        uint32_t entries = 5; /* counts on */
        out.size = 0;
        buffer_append_text(&out, "before");
        has_more = snapshot_block_fill(view, budget, target, &out, &entries);
        entries -= 5;
        CHECK(entries <= budget);
        CHECK(!has_more || entries == budget || out.size - 6 >= target);
        CHECK(out.size - 6 < target + VALUE_MAX + 64);
        CHECK(snapshot_block_load(to, slice_make(out.data + 6, out.size - 6), entries));
        sum += entries;
        for (unsigned i = 0; i < 5; i++) {
            put(from, prng, puts + i);
        }
    }
    uint32_t none = 0;
    CHECK(!snapshot_block_fill(view, 10, 10, &out, &none));
    CHECK_EQ(none, 0);
    kv_view_end(view);
    CHECK_EQ(sum, all);
    check_equal(twin, to);
    buffer_free(&out);
    kv_free(from);
    kv_free(twin);
    kv_free(to);
}

TEST(a_view_streamed)
{
    struct prng prng;
    prng_init(&prng, 1);
    stream(&prng, 0);
    stream(&prng, 1);
    for (unsigned i = 0; i < 20; i++) {
        stream(&prng, 1 + (unsigned)prng_below(&prng, 8000));
    }
}

static bool loads(struct slice body, uint32_t entries)
{
    struct kv *kv = kv_new(HASH_SEED);
    const char *detail = NULL;
    bool is_good = snapshot_block_load(kv, body, entries);
    CHECK_EQ(snapshot_block_check_load(kv, body, entries, &detail) == SNAPSHOT_GOOD, is_good);
    CHECK_EQ(detail == NULL, is_good);
    CHECK(kv_stats(kv)->keys <= entries);
    kv_free(kv);
    return is_good;
}

TEST(malformed_blocks)
{
    struct prng prng;
    prng_init(&prng, 2);
    struct kv *kv = random_kv(&prng, 40);
    struct kv_view *view = kv_view_begin(kv);
    struct buffer out = { 0 };
    uint32_t entries = 0;
    CHECK(!snapshot_block_fill(view, UINT32_MAX, SIZE_MAX, &out, &entries));
    CHECK(loads(buffer_slice(&out), entries));
    CHECK(!loads(buffer_slice(&out), entries + 1));
    CHECK(!loads(buffer_slice(&out), entries - 1));
    CHECK(!loads(buffer_slice(&out), 0));
    CHECK(loads(slice_make("", 0), 0));
    for (size_t cut = 0; cut < out.size; cut++) {
        CHECK(!loads(slice_make(out.data, cut), entries));
    }
    for (unsigned i = 0; i < 20000; i++) {
        size_t at = (size_t)prng_below(&prng, out.size);
        char before = out.data[at];
        out.data[at] = (char)prng_next(&prng);
        (void)loads(buffer_slice(&out), entries);
        out.data[at] = prng_chance(&prng, 1, 30) ? out.data[at] : before;
    }
    kv_view_end(view);
    buffer_free(&out);
    kv_free(kv);
}

TEST(a_type_of_later_times)
{
    static const char entry[] = "\0\1\1\0\0\0\0\0\0kv";
    char bytes[sizeof(entry)];
    memcpy(bytes, entry, sizeof(entry));
    struct slice body = slice_make(bytes, sizeof(entry) - 1);
    struct kv *kv = kv_new(HASH_SEED);
    const char *detail = NULL;
    CHECK_EQ(snapshot_block_check_load(kv, body, 1, &detail), SNAPSHOT_GOOD);
    bytes[0] = 1;
    CHECK_EQ(snapshot_block_check_load(kv, body, 1, &detail), SNAPSHOT_TOO_NEW);
    CHECK(!snapshot_block_load(kv, body, 1));
    bytes[0] = 64;
    CHECK_EQ(snapshot_block_check_load(kv, body, 1, &detail), SNAPSHOT_DAMAGED);
    kv_free(kv);
}

TEST_MAIN
