/*
 * kv_store_test.c — the keyspace against a dumb model: an array of keys, each with its state.
 *
 * One long random run (model_run) mixes every function: puts, deletes, expiries, clears, views held
 * open and compared with a copy of the model, scans whose guarantee is checked while the contents
 * change, collecting of due keys against brute force.  The smaller tests pin down single facts.
 */
#include "base/mem.h"
#include "base/prng.h"
#include "base/text.h"
#include "storage/kv_internal.h"
#include "test.h"

#include <stdlib.h>

enum { SEED = 12345, VALUE_MAX = 9000 };

/* ── the model ───────────────────────────────────────────────────────────────────────────────── */

struct state {
    bool exists;
    bool is_raw;
    char *value; /* owned when the state is the model's; borrowed by nobody */
    size_t size;
    uint64_t expire_ms;
    uint64_t version;
};

struct key {
    char *data;
    size_t size;
    uint64_t hash;
};

struct open_view {
    struct kv_view *view;
    struct state *states; /* copy made at kv_view_begin */
    uint32_t at;          /* next key of the universe to be compared */
};

struct open_scan {
    bool is_running;
    uint64_t position;
    bool *always; /* existed at every moment since the scan began */
    bool *gone;   /* was deleted at some moment */
    uint32_t *seen;
};

struct model {
    struct kv *kv;
    struct prng prng;
    struct key *keys; /* in (hash, key) order */
    struct state *states;
    uint64_t *collected_ms; /* when kv_expiry_collect handed it out; 0: not */
    uint64_t *blurred_ms;   /* changed after it was handed out: may come again until then */
    uint32_t count;
    uint64_t now_ms;
    uint64_t version;
    uint64_t expired;
    struct open_view views[KV_VIEWS_MAX];
    uint32_t views_count;
    struct open_scan scan;
    char *value; /* scratch */
};

struct model_options {
    uint32_t keys;
    uint32_t steps;
    bool has_equal_hashes; /* many keys with the same 64-bit hash, and with the same top bits */
    bool has_clears;
    uint64_t seed;
};

static struct slice key_slice(const struct key *key)
{
    return slice_make(key->data, key->size);
}

static int key_order(const void *a_void, const void *b_void)
{
    const struct key *a = a_void;
    const struct key *b = b_void;
    if (a->hash != b->hash) {
        return a->hash < b->hash ? -1 : 1;
    }
    int order = memcmp(a->data, b->data, a->size < b->size ? a->size : b->size);
    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

/* A 32-byte key whose hash does not depend on `free_bits`: XXH3 multiplies the first 16 bytes'
 * halves after mixing in its secret, and the first half is chosen to make that product zero. */
static void key_of_equal_hash(char *out, uint64_t seed, uint64_t free_bits)
{
    uint64_t secret;
    memcpy(&secret, XXH3_kSecret, sizeof(secret));
    store_u64(out, secret + seed);
    store_u64(out + 8, free_bits);
    memset(out + 16, 'x', 16);
}

static struct key key_make(struct model *model, uint32_t i, const struct model_options *options)
{
    char text[512];
    size_t size = (size_t)snprintf(text, sizeof(text), "key:%u", i);
    if (options->has_equal_hashes && i % 4 == 0) {
        key_of_equal_hash(text, SEED, i);
        size = 32;
    } else if (options->has_equal_hashes && i % 4 == 1) {
        do { /* the same top 10 bits */
            size =
                (size_t)snprintf(text, sizeof(text), "top:%u:%" PRIu64, i, prng_next(&model->prng));
        } while (hash_key(slice_make(text, size), SEED) >> 54 != 77);
    } else if (i % 16 == 3) {
        memset(text + size, 'k', 300);
        size += 300;
    } else if (i == 5) {
        size = 0;
    }
    struct key key = { .data = malloc(size + 1), .size = size };
    memcpy(key.data, text, size);
    key.hash = hash_key(slice_make(text, size), SEED);
    return key;
}

static void model_init(struct model *model, const struct model_options *options)
{
    *model = (struct model){ .kv = kv_new(SEED), .count = options->keys, .now_ms = 1000 };
    prng_init(&model->prng, options->seed);
    model->keys = calloc(model->count, sizeof(*model->keys));
    model->states = calloc(model->count, sizeof(*model->states));
    model->collected_ms = calloc(model->count, sizeof(*model->collected_ms));
    model->blurred_ms = calloc(model->count, sizeof(*model->blurred_ms));
    model->scan.always = calloc(model->count, sizeof(bool));
    model->scan.gone = calloc(model->count, sizeof(bool));
    model->scan.seen = calloc(model->count, sizeof(uint32_t));
    model->value = malloc(VALUE_MAX);
    for (uint32_t i = 0; i < model->count; i++) {
        model->keys[i] = key_make(model, i, options);
    }
    qsort(model->keys, model->count, sizeof(struct key), key_order);
}

static void states_free(struct state *states, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        free(states[i].value);
    }
    free(states);
}

static void model_deinit(struct model *model)
{
    kv_free(model->kv);
    states_free(model->states, model->count);
    for (uint32_t i = 0; i < model->count; i++) {
        free(model->keys[i].data);
    }
    free(model->keys);
    free(model->collected_ms);
    free(model->blurred_ms);
    free(model->scan.always);
    free(model->scan.gone);
    free(model->scan.seen);
    free(model->value);
}

static void state_set(struct state *state, struct slice value, uint64_t expire_ms, uint64_t version,
                      bool is_raw)
{
    char *copy = malloc(value.size + 1);
    memcpy(copy, value.data, value.size);
    free(state->value);
    *state = (struct state){ .exists = true,
                             .is_raw = is_raw,
                             .value = copy,
                             .size = value.size,
                             .expire_ms = expire_ms,
                             .version = version };
}

/* Its expiry changes: it has not been handed out yet, but a retry may still be on its way. */
static void model_uncollect(struct model *model, uint32_t i)
{
    if (model->collected_ms[i] != 0) {
        model->blurred_ms[i] = model->now_ms + KV_EXPIRY_RETRY_MS;
        model->collected_ms[i] = 0;
    }
}

static void model_drop(struct model *model, uint32_t i)
{
    free(model->states[i].value);
    model->states[i] = (struct state){ 0 };
    model_uncollect(model, i);
    model->scan.always[i] = false;
    model->scan.gone[i] = true;
}

/* The key of the universe with this hash and text; UINT32_MAX when there is none. */
static uint32_t model_index(const struct model *model, const struct kv_entry *entry)
{
    struct slice text = kv_entry_key(entry);
    char *data = malloc(text.size + 1);
    memcpy(data, text.data, text.size);
    struct key key = { .data = data, .size = text.size, .hash = kv_hash(model->kv, text) };
    struct key *found = bsearch(&key, model->keys, model->count, sizeof(struct key), key_order);
    free(data);
    return found != NULL ? (uint32_t)(found - model->keys) : UINT32_MAX;
}

static enum kv_encoding expected_encoding(const struct state *state)
{
    int64_t number;
    struct slice value = slice_make(state->value, state->size);
    if (state->is_raw) {
        return KV_ENCODING_RAW;
    }
    if (value.size <= 20 && text_to_i64(value, &number)) {
        return KV_ENCODING_INT;
    }
    return value.size <= 44 ? KV_ENCODING_EMBSTR : KV_ENCODING_RAW;
}

static void check_entry(const struct kv_entry *entry, const struct key *key,
                        const struct state *state)
{
    struct kv_scratch scratch;
    CHECK(slice_equal(kv_entry_key(entry), key_slice(key)));
    CHECK(slice_equal(kv_entry_value(entry, &scratch), slice_make(state->value, state->size)));
    CHECK_EQ(kv_entry_expire_ms(entry), state->expire_ms);
    CHECK_EQ(kv_entry_version(entry), state->version);
    CHECK_EQ(kv_entry_type(entry), KV_STRING);
    CHECK_EQ(kv_entry_encoding(entry), expected_encoding(state));
    CHECK(kv_entry_memory(entry) >= key->size);
}

/* ── random operations ───────────────────────────────────────────────────────────────────────── */

static struct slice random_value(struct model *model)
{
    struct prng *prng = &model->prng;
    uint64_t kind = prng_below(prng, 20);
    size_t size = 0;
    if (kind < 5) {
        int64_t number = (int64_t)(prng_next(prng) >> prng_below(prng, 64));
        size = text_from_i64(prng_chance(prng, 1, 2) ? number : -number, model->value);
    } else if (kind < 18) {
        size = prng_below(prng, 80);
        memset(model->value, (int)prng_below(prng, 256), size);
    } else {
        static const uint32_t sizes[] = { 255, 256, 4000, 4096, 4097, 5000, VALUE_MAX };
        size = kind == 18 ? prng_below(prng, 2000) : sizes[prng_below(prng, ARRAY_COUNT(sizes))];
        memset(model->value, (int)prng_below(prng, 256), size);
    }
    return slice_make(model->value, size);
}

static uint64_t random_expiry(struct model *model)
{
    struct prng *prng = &model->prng;
    switch (prng_below(prng, 8)) {
    case 0:
        return model->now_ms + prng_below(prng, 100);
    case 1:
        return model->now_ms + prng_below(prng, 100000);
    case 2:
        return model->now_ms + (prng_next(prng) >> (20 + prng_below(prng, 30)));
    case 3:
        return model->now_ms - prng_below(prng, 100);
    default:
        return KV_NO_EXPIRY;
    }
}

static uint64_t saturated(uint64_t expire_ms)
{
    return expire_ms > KV_U48_MAX ? KV_U48_MAX : expire_ms;
}

static void step_put(struct model *model, uint32_t i)
{
    struct key *key = &model->keys[i];
    struct state *state = &model->states[i];
    struct slice value = random_value(model);
    uint64_t expire_ms = random_expiry(model);
    bool is_raw = prng_chance(&model->prng, 1, 4);
    uint64_t version = ++model->version;
    struct kv_scratch scratch;
    const struct kv_entry *old = kv_find(model->kv, key_slice(key), key->hash, 0);
    CHECK((old != NULL) == state->exists);
    if (old != NULL && prng_chance(&model->prng, 1, 8)) {
        value = kv_entry_value(old, &scratch); /* a part of the entry being replaced */
        size_t skip = prng_below(&model->prng, value.size + 1);
        value = slice_make(value.data + skip, value.size - skip);
    }
    struct slice text = key_slice(key);
    if (old != NULL && prng_chance(&model->prng, 1, 8)) {
        text = kv_entry_key(old);
    }
    state_set(state, value, saturated(expire_ms), version, is_raw);
    (is_raw ? kv_put_raw : kv_put)(model->kv, text, key->hash, value, expire_ms, version);
    model_uncollect(model, i);
}

static void step_set_expiry(struct model *model, uint32_t i)
{
    struct key *key = &model->keys[i];
    struct state *state = &model->states[i];
    uint64_t expire_ms = random_expiry(model);
    uint64_t version = ++model->version;
    bool done = kv_set_expiry(model->kv, key_slice(key), key->hash, expire_ms, version);
    CHECK_EQ(done, state->exists);
    if (state->exists) {
        state->expire_ms = saturated(expire_ms);
        state->version = version;
        model_uncollect(model, i);
    }
}

static void step_delete(struct model *model, uint32_t i)
{
    struct key *key = &model->keys[i];
    CHECK_EQ(kv_delete(model->kv, key_slice(key), key->hash), model->states[i].exists);
    model_drop(model, i);
}

/* A batch of keys that exist or not, and of hashes that belong to none. */
static void prefetch_some(struct model *model, uint32_t i)
{
    struct kv_wanted keys[KV_PREFETCH_MAX];
    uint32_t count = (uint32_t)prng_below(&model->prng, KV_PREFETCH_MAX + 1);
    for (uint32_t k = 0; k < count; k++) {
        uint64_t hash = model->keys[(i + k * k) % model->count].hash;
        hash = prng_chance(&model->prng, 1, 8) ? prng_next(&model->prng) : hash;
        keys[k] = (struct kv_wanted){ model->kv, hash };
    }
    kv_prefetch(keys, count);
}

static void step_find(struct model *model, uint32_t i)
{
    const struct key *key = &model->keys[i];
    const struct state *state = &model->states[i];
    prefetch_some(model, i);
    CHECK_EQ(kv_hash(model->kv, key_slice(key)), key->hash);
    const struct kv_entry *entry = kv_find(model->kv, key_slice(key), key->hash, model->now_ms);
    bool is_live = state->exists && (state->expire_ms == 0 || state->expire_ms > model->now_ms);
    CHECK_EQ(entry != NULL, is_live);
    if (entry != NULL && is_live) {
        check_entry(entry, key, state);
    }
}

static void step_expire_hash(struct model *model, uint64_t hash, uint64_t time_ms)
{
    uint32_t expected = 0;
    for (uint32_t i = 0; i < model->count; i++) {
        const struct state *state = &model->states[i];
        if (model->keys[i].hash == hash && state->exists && state->expire_ms != 0 &&
            state->expire_ms <= time_ms) {
            model_drop(model, i);
            expected += 1;
        }
    }
    CHECK_EQ(kv_expire_hash(model->kv, hash, time_ms), expected);
    model->expired += expected;
}

static bool is_due(const struct model *model, uint32_t i)
{
    const struct state *state = &model->states[i];
    uint64_t collected_ms = model->collected_ms[i];
    return state->exists && state->expire_ms != 0 && state->expire_ms <= model->now_ms &&
           (collected_ms == 0 || collected_ms + KV_EXPIRY_RETRY_MS <= model->now_ms);
}

static void check_next_ms(const struct model *model)
{
    uint64_t next_ms = kv_expiry_next_ms(model->kv);
    for (uint32_t i = 0; i < model->count; i++) {
        const struct state *state = &model->states[i];
        if (state->exists && state->expire_ms != 0) {
            uint64_t retry_ms = model->collected_ms[i] + KV_EXPIRY_RETRY_MS;
            CHECK(next_ms <= (model->collected_ms[i] != 0 ? retry_ms : state->expire_ms) ||
                  next_ms <= model->now_ms);
        }
    }
}

static void step_collect(struct model *model, bool is_exact)
{
    model->now_ms += prng_below(&model->prng, prng_chance(&model->prng, 1, 4) ? 40000 : 300);
    check_next_ms(model);
    uint32_t *got = calloc(model->count, sizeof(uint32_t));
    uint32_t max = 1 + (uint32_t)prng_below(&model->prng, 40);
    uint64_t hashes[40];
    for (uint32_t rounds = 0; kv_expiry_next_ms(model->kv) <= model->now_ms; rounds++) {
        CHECK(rounds < 100000);
        uint32_t count = kv_expiry_collect(model->kv, model->now_ms, hashes, max);
        CHECK(count <= max);
        for (uint32_t i = 0; i < model->count && count > 0; i++) {
            for (uint32_t j = 0; j < count; j++) {
                got[i] += hashes[j] == model->keys[i].hash;
            }
        }
    }
    for (uint32_t i = 0; i < model->count; i++) {
        if (is_due(model, i)) {
            CHECK(got[i] > 0);
            model->collected_ms[i] = model->now_ms;
        }
        if (is_exact && model->blurred_ms[i] == 0) {
            CHECK(got[i] <= 1);
            CHECK(got[i] == 0 || model->collected_ms[i] == model->now_ms);
        }
        if (model->collected_ms[i] == 0 && model->blurred_ms[i] <= model->now_ms) {
            model->blurred_ms[i] = 0;
        }
    }
    for (uint32_t i = 0; i < model->count; i++) {
        if (got[i] > 0 && prng_chance(&model->prng, 3, 4)) {
            step_expire_hash(model, model->keys[i].hash, model->now_ms);
        }
    }
    free(got);
}

static void step_successor(struct model *model)
{
    uint64_t from = prng_next(&model->prng);
    if (prng_chance(&model->prng, 1, 2)) {
        from = model->keys[prng_below(&model->prng, model->count)].hash;
    }
    uint32_t best = UINT32_MAX;
    for (uint32_t pass = 0; pass < 2 && best == UINT32_MAX; pass++) {
        for (uint32_t i = 0; i < model->count && best == UINT32_MAX; i++) {
            const struct state *state = &model->states[i];
            bool is_live =
                state->exists && (state->expire_ms == 0 || state->expire_ms > model->now_ms);
            if (is_live && (pass == 1 || model->keys[i].hash >= from)) {
                best = i;
            }
        }
    }
    const struct kv_entry *entry = kv_successor(model->kv, from, model->now_ms);
    CHECK_EQ(entry != NULL, best != UINT32_MAX);
    if (entry != NULL && best != UINT32_MAX) {
        check_entry(entry, &model->keys[best], &model->states[best]);
    }
}

static void step_clear(struct model *model)
{
    kv_clear(model->kv);
    for (uint32_t i = 0; i < model->count; i++) {
        model_drop(model, i);
    }
}

/* ── views and scans ─────────────────────────────────────────────────────────────────────────── */

static void view_open(struct model *model)
{
    struct open_view *open = &model->views[model->views_count++];
    open->view = kv_view_begin(model->kv);
    open->at = 0;
    open->states = calloc(model->count, sizeof(struct state));
    for (uint32_t i = 0; i < model->count; i++) {
        const struct state *state = &model->states[i];
        if (state->exists) {
            state_set(&open->states[i], slice_make(state->value, state->size), state->expire_ms,
                      state->version, state->is_raw);
        }
    }
}

static void view_close(struct model *model, uint32_t which)
{
    kv_view_end(model->views[which].view);
    states_free(model->views[which].states, model->count);
    model->views[which] = model->views[--model->views_count];
}

static void view_step(struct model *model, uint32_t which, uint64_t steps)
{
    struct open_view *open = &model->views[which];
    for (uint64_t n = 0; n < steps; n++) {
        const struct kv_entry *entry = kv_view_next(open->view);
        while (open->at < model->count && !open->states[open->at].exists) {
            open->at += 1;
        }
        CHECK_EQ(entry != NULL, open->at < model->count);
        if (entry == NULL || open->at == model->count) {
            CHECK(kv_view_next(open->view) == NULL);
            view_close(model, which);
            return;
        }
        check_entry(entry, &model->keys[open->at], &open->states[open->at]);
        open->at += 1;
    }
}

static void step_view(struct model *model)
{
    uint64_t choice = prng_below(&model->prng, 40);
    if (choice == 0 && model->views_count < KV_VIEWS_MAX) {
        view_open(model);
    } else if (model->views_count > 0) {
        uint32_t which = (uint32_t)prng_below(&model->prng, model->views_count);
        if (choice == 1 && prng_chance(&model->prng, 1, 10)) {
            view_close(model, which);
        } else {
            view_step(model, which, prng_below(&model->prng, 8));
        }
    }
}

static void scan_finish(struct model *model)
{
    for (uint32_t i = 0; i < model->count; i++) {
        CHECK(!model->scan.always[i] || model->scan.seen[i] == 1);
        CHECK(model->scan.gone[i] || model->scan.seen[i] <= 1);
    }
    model->scan.is_running = false;
}

static void step_scan(struct model *model)
{
    struct open_scan *scan = &model->scan;
    if (!scan->is_running) {
        scan->is_running = true;
        scan->position = 0;
        for (uint32_t i = 0; i < model->count; i++) {
            scan->always[i] = model->states[i].exists;
            scan->gone[i] = false;
            scan->seen[i] = 0;
        }
    }
    const struct kv_entry *out[KV_SCAN_SLACK + 64];
    uint32_t want = 1 + (uint32_t)prng_below(&model->prng, 64);
    uint64_t before = scan->position;
    uint32_t count = kv_scan(model->kv, &scan->position, want, out, KV_SCAN_SLACK + want);
    CHECK(scan->position == 0 || (scan->position > before && count >= want));
    uint64_t last = before;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = model_index(model, out[i]);
        CHECK(at != UINT32_MAX);
        CHECK(model->keys[at].hash >= last);
        last = model->keys[at].hash;
        check_entry(out[i], &model->keys[at], &model->states[at]);
        scan->seen[at] += 1;
    }
    CHECK(scan->position == 0 || scan->position == ((last >> 24) + 1) << 24);
    if (scan->position == 0) {
        scan_finish(model);
    }
}

/* ── the run ─────────────────────────────────────────────────────────────────────────────────── */

static void check_stats(const struct model *model)
{
    struct kv_stats sum = { .expired = model->expired };
    for (uint32_t i = 0; i < model->count; i++) {
        const struct state *state = &model->states[i];
        sum.keys += state->exists;
        sum.volatile_keys += state->exists && state->expire_ms != 0;
        sum.key_bytes += state->exists ? model->keys[i].size : 0;
        sum.value_bytes += state->size;
    }
    const struct kv_stats *stats = kv_stats(model->kv);
    CHECK_EQ(stats->keys, sum.keys);
    CHECK_EQ(stats->volatile_keys, sum.volatile_keys);
    CHECK_EQ(stats->key_bytes, sum.key_bytes);
    CHECK_EQ(stats->value_bytes, sum.value_bytes);
    CHECK_EQ(stats->expired, sum.expired);
    CHECK(stats->memory_bytes >= sum.key_bytes);
    kv_table_verify(&model->kv->table);
}

static void model_step(struct model *model, const struct model_options *options, uint32_t put_bias)
{
    uint32_t i = (uint32_t)prng_below(&model->prng, model->count);
    uint64_t choice = prng_below(&model->prng, 1000);
    if (choice < put_bias) {
        step_put(model, i);
    } else if (choice < 550) {
        step_delete(model, i);
    } else if (choice < 600) {
        step_set_expiry(model, i);
    } else if (choice < 800) {
        step_find(model, i);
    } else if (choice < 900) {
        step_view(model);
    } else if (choice < 960) {
        step_scan(model);
    } else if (choice < 975) {
        step_successor(model);
    } else if (choice < 978) {
        step_collect(model, /* is_exact= */ !options->has_equal_hashes);
    } else if (choice < 985) {
        step_expire_hash(model, model->keys[i].hash, model->now_ms);
    } else if (choice < 986 && options->has_clears) {
        step_clear(model);
    } else if (choice < 995) {
        (void)kv_reclaim(model->kv, (uint32_t)prng_below(&model->prng, 50));
    } else {
        check_stats(model);
    }
}

static void model_run(const struct model_options *options)
{
    struct model model;
    model_init(&model, options);
    for (uint32_t step = 0; step < options->steps; step++) {
        /* Tides: the table grows for a while, then shrinks. */
        bool is_flood = step / (options->keys * 4) % 2 == 0;
        model_step(&model, options, is_flood ? 450 : 150);
    }
    while (model.views_count > 0) {
        view_step(&model, 0, UINT64_MAX);
    }
    check_stats(&model);
    while (kv_reclaim(model.kv, 100)) {
    }
    model_deinit(&model);
}

TEST(random_small)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct model_options options = {
            .keys = (uint32_t)(1 + seed * seed), .steps = 4000, .has_clears = true, .seed = seed
        };
        model_run(&options);
    }
}

TEST(random_large)
{
    struct model_options options = {
        .keys = 6000, .steps = 120000, .has_clears = false, .seed = 77
    };
    model_run(&options);
}

TEST(random_large_with_clears)
{
    struct model_options options = { .keys = 3000, .steps = 60000, .has_clears = true, .seed = 78 };
    model_run(&options);
}

TEST(random_equal_hashes)
{
    struct model_options options = {
        .keys = 1200, .steps = 40000, .has_equal_hashes = true, .has_clears = true, .seed = 79
    };
    model_run(&options);
}

/* ── single facts ────────────────────────────────────────────────────────────────────────────── */

static void put_text(struct kv *kv, const char *key, const char *value, uint64_t expire_ms)
{
    struct slice text = slice_from(key);
    kv_put(kv, text, kv_hash(kv, text), slice_from(value), expire_ms, /* version= */ 1);
}

static const struct kv_entry *find_text(struct kv *kv, const char *key, uint64_t now_ms)
{
    struct slice text = slice_from(key);
    return kv_find(kv, text, kv_hash(kv, text), now_ms);
}

static void put_number(struct kv *kv, uint64_t number, uint64_t expire_ms)
{
    char text[32];
    struct slice key = slice_make(text, text_from_u64(number, text));
    kv_put(kv, key, kv_hash(kv, key), slice_make(text, 0), expire_ms, /* version= */ number);
}

TEST(encodings)
{
    struct kv *kv = kv_new(SEED);
    static const struct {
        const char *value;
        enum kv_encoding encoding;
    } cases[] = {
        { "", KV_ENCODING_EMBSTR },
        { "0", KV_ENCODING_INT },
        { "-1", KV_ENCODING_INT },
        { "01", KV_ENCODING_EMBSTR },
        { "-0", KV_ENCODING_EMBSTR },
        { "12345678", KV_ENCODING_INT },
        { "9223372036854775807", KV_ENCODING_INT },
        { "-9223372036854775808", KV_ENCODING_INT },
        { "9223372036854775808", KV_ENCODING_EMBSTR },
        { "12345678 ", KV_ENCODING_EMBSTR },
        { "00000000", KV_ENCODING_EMBSTR },
        { "44444444444444444444444444444444444444444444", KV_ENCODING_EMBSTR },
        { "555555555555555555555555555555555555555555555", KV_ENCODING_RAW },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        put_text(kv, "k", cases[i].value, 0);
        const struct kv_entry *entry = find_text(kv, "k", 0);
        struct kv_scratch scratch;
        CHECK(slice_equal(kv_entry_value(entry, &scratch), slice_from(cases[i].value)));
        CHECK_EQ(kv_entry_encoding(entry), cases[i].encoding);
    }
    struct slice key = slice_from("k");
    kv_put_raw(kv, key, kv_hash(kv, key), slice_from("12345678"), 0, 9);
    CHECK_EQ(kv_entry_encoding(find_text(kv, "k", 0)), KV_ENCODING_RAW);
    CHECK_EQ(kv_stats(kv)->value_bytes, 8);
    kv_free(kv);
}

TEST(expired_keys_do_not_exist)
{
    struct kv *kv = kv_new(SEED);
    put_text(kv, "k", "v", 1000);
    CHECK(find_text(kv, "k", 999) != NULL);
    CHECK(find_text(kv, "k", 1000) == NULL);
    CHECK_EQ(kv_stats(kv)->keys, 1);
    CHECK(kv_successor(kv, 0, 999) != NULL);
    CHECK(kv_successor(kv, 0, 1000) == NULL);
    struct slice key = slice_from("k");
    CHECK_EQ(kv_expire_hash(kv, kv_hash(kv, key), 999), 0);
    CHECK_EQ(kv_expire_hash(kv, kv_hash(kv, key), 1000), 1);
    CHECK_EQ(kv_stats(kv)->keys, 0);
    kv_free(kv);
}

TEST(extremes_of_48_bits)
{
    struct kv *kv = kv_new(SEED);
    struct slice key = slice_from("k");
    kv_put(kv, key, kv_hash(kv, key), slice_from("v"), UINT64_MAX, KV_U48_MAX);
    CHECK_EQ(kv_entry_expire_ms(find_text(kv, "k", 0)), KV_U48_MAX);
    CHECK_EQ(kv_entry_version(find_text(kv, "k", 0)), KV_U48_MAX);
    kv_free(kv);
}

TEST(large_keys)
{
    struct kv *kv = kv_new(SEED);
    char *data = malloc(1 << 16);
    memset(data, 'k', 1 << 16);
    static const size_t sizes[] = { 254, 255, 256, 257, 65535, 65536 };
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        struct slice key = slice_make(data, sizes[i]);
        kv_put(kv, key, kv_hash(kv, key), slice_from("v"), i % 2 * 5000, i);
    }
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        struct slice key = slice_make(data, sizes[i]);
        const struct kv_entry *entry = kv_find(kv, key, kv_hash(kv, key), 0);
        CHECK(entry != NULL);
        CHECK(slice_equal(kv_entry_key(entry), key));
        CHECK_EQ(kv_entry_version(entry), i);
    }
    free(data);
    kv_free(kv);
}

TEST(overwriting_in_place_keeps_the_entry_where_it_is)
{
    struct kv *kv = kv_new(SEED);
    put_text(kv, "key", "value", 0);
    const struct kv_entry *before = find_text(kv, "key", 0);
    put_text(kv, "key", "other", 0);
    CHECK(find_text(kv, "key", 0) == before);
    struct slice key = slice_from("key");
    CHECK(kv_set_expiry(kv, key, kv_hash(kv, key), 5000, 2));
    CHECK(find_text(kv, "key", 0) == before);
    CHECK_EQ(kv_entry_expire_ms(before), 5000);
    struct kv_view *view = kv_view_begin(kv);
    put_text(kv, "key", "third", 0);
    CHECK(find_text(kv, "key", 0) != before);
    CHECK(kv_view_next(view) == before);
    kv_view_end(view);
    kv_free(kv);
}

TEST(empty_partitions_are_small)
{
    struct kv *kv = kv_new(SEED);
    CHECK(kv_stats(kv)->memory_bytes < 1024);
    put_text(kv, "k", "v", 0);
    CHECK(kv_stats(kv)->memory_bytes < 1024);
    kv_free(kv);
}

TEST(memory_comes_back)
{
    struct kv *kv = kv_new(SEED);
    uint64_t empty = kv_stats(kv)->memory_bytes;
    for (uint64_t i = 0; i < 50000; i++) {
        put_number(kv, i, 0);
    }
    kv_table_verify(&kv->table);
    uint64_t full = kv_stats(kv)->memory_bytes;
    CHECK(full < 50000 * (32 + 13));
    for (uint64_t i = 0; i < 50000; i++) {
        char text[32];
        struct slice key = slice_make(text, text_from_u64(i, text));
        CHECK(kv_delete(kv, key, kv_hash(kv, key)));
        if (i == 45000) {
            kv_table_verify(&kv->table);
            CHECK(kv_stats(kv)->memory_bytes < full / 8);
        }
    }
    CHECK_EQ(kv_stats(kv)->memory_bytes, empty);
    kv_free(kv);
}

TEST(clear_is_reclaimed_in_steps)
{
    struct kv *kv = kv_new(SEED);
    uint64_t empty = kv_stats(kv)->memory_bytes;
    for (uint64_t i = 0; i < 20000; i++) {
        put_number(kv, i, 1000000 + i);
    }
    uint64_t full = kv_stats(kv)->memory_bytes;
    kv_clear(kv);
    CHECK_EQ(kv_stats(kv)->keys, 0);
    CHECK(kv_stats(kv)->memory_bytes > full / 2);
    put_number(kv, 1, 0);
    uint32_t steps = 0;
    while (kv_reclaim(kv, 100)) {
        steps += 1;
    }
    CHECK(steps >= 200);
    CHECK(steps <= 500);
    CHECK(kv_stats(kv)->memory_bytes < empty + 256);
    CHECK_EQ(kv_stats(kv)->keys, 1);
    kv_free(kv);
}

TEST(clear_under_a_view)
{
    struct kv *kv = kv_new(SEED);
    for (uint64_t i = 0; i < 5000; i++) {
        put_number(kv, i, 0);
    }
    struct kv_view *first = kv_view_begin(kv);
    kv_clear(kv);
    for (uint64_t i = 0; i < 3000; i++) {
        put_number(kv, i, 0);
    }
    struct kv_view *second = kv_view_begin(kv);
    while (kv_reclaim(kv, 1000)) {
    }
    kv_clear(kv);
    uint32_t first_count = 0;
    uint32_t second_count = 0;
    while (kv_view_next(first) != NULL) {
        first_count += 1;
    }
    while (kv_view_next(second) != NULL) {
        second_count += 1;
    }
    CHECK_EQ(first_count, 5000);
    CHECK_EQ(second_count, 3000);
    CHECK_EQ(kv_view_kept_bytes(first), 0);
    kv_view_end(first);
    kv_view_end(second);
    kv_free(kv);
}

TEST(view_gives_back_what_it_has_passed)
{
    struct kv *kv = kv_new(SEED);
    for (uint64_t i = 0; i < 5000; i++) {
        put_number(kv, i, 0);
    }
    struct kv_view *view = kv_view_begin(kv);
    for (uint64_t i = 0; i < 10000; i++) {
        put_number(kv, i, 7);
    }
    uint64_t kept = kv_view_kept_bytes(view);
    CHECK(kept >= 10000 * 16);
    for (uint32_t i = 0; i < 4000; i++) {
        CHECK(kv_view_next(view) != NULL);
    }
    CHECK(kv_view_kept_bytes(view) < kept / 3);
    kept = kv_view_kept_bytes(view);
    for (uint64_t i = 10000; i < 20000; i++) { /* a fifth of them is still to come */
        put_number(kv, i, 7);
    }
    CHECK(kv_view_kept_bytes(view) - kept < 10000 * 16 / 3);
    CHECK(kv_view_kept_bytes(view) > kept);
    kv_view_end(view);
    kv_free(kv);
}

/* Every key has the same hash: one segment grows by stash buckets alone. */
TEST(thousands_of_equal_hashes)
{
    enum { KEYS = 3000 };
    struct kv *kv = kv_new(SEED);
    char text[32];
    struct slice key = slice_make(text, sizeof(text));
    for (uint64_t i = 0; i < KEYS; i++) {
        key_of_equal_hash(text, SEED, i);
        kv_put(kv, key, kv_hash(kv, key), slice_from("v"), 500, i);
    }
    kv_table_verify(&kv->table);
    CHECK(kv->table.depth <= 8);
    for (uint64_t i = 0; i < KEYS; i++) {
        key_of_equal_hash(text, SEED, i);
        const struct kv_entry *entry = kv_find(kv, key, kv_hash(kv, key), 0);
        CHECK(entry != NULL);
        CHECK_EQ(kv_entry_version(entry), i);
    }
    uint64_t hash = kv_hash(kv, key);
    uint64_t out[64];
    uint32_t collected = 0;
    while (collected == 0 && kv_expiry_next_ms(kv) <= 500) {
        collected = kv_expiry_collect(kv, 500, out, 64);
    }
    CHECK_EQ(collected, 1);
    CHECK_EQ(out[0], hash);
    for (uint64_t i = 0; i < KEYS - 10; i++) {
        key_of_equal_hash(text, SEED, i);
        CHECK(kv_delete(kv, key, hash));
    }
    kv_table_verify(&kv->table);
    CHECK_EQ(kv_expire_hash(kv, hash, 500), 10);
    CHECK_EQ(kv_stats(kv)->keys, 0);
    kv_free(kv);
}

TEST_MAIN
