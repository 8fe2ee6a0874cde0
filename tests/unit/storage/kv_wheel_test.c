/*
 * kv_wheel_test.c — the timing wheel against a list of (hash, time), searched from end to end.
 */
#include "base/prng.h"
#include "storage/kv_wheel.h"
#include "test.h"

enum { ITEMS_MAX = 3000 };

struct model {
    struct kv_wheel *wheel;
    struct prng prng;
    uint64_t memory_bytes;
    uint64_t now_ms;
    uint64_t times[ITEMS_MAX]; /* by hash; 0: not in the wheel */
    bool retries[ITEMS_MAX];
    uint32_t count;
};

static void model_init(struct model *model, uint64_t seed, uint64_t now_ms)
{
    memset(model, 0, sizeof(*model));
    prng_init(&model->prng, seed);
    model->now_ms = now_ms;
    model->wheel = kv_wheel_new(now_ms, &model->memory_bytes);
}

static void model_deinit(struct model *model)
{
    kv_wheel_free(model->wheel);
    CHECK_EQ(model->memory_bytes, 0);
}

static void model_add(struct model *model, uint32_t hash, uint64_t time_ms, bool is_retry)
{
    kv_wheel_add(model->wheel, hash, time_ms, is_retry);
    model->times[hash] = time_ms;
    model->retries[hash] = is_retry;
    model->count += 1;
}

/* An item came out: the right one, at the right time. */
static void model_took(struct model *model, const struct kv_wheel_item *item, bool is_due)
{
    CHECK(item->hash < ITEMS_MAX);
    uint64_t time_ms = model->times[item->hash];
    CHECK(time_ms != 0);
    CHECK_EQ(item->is_retry, model->retries[item->hash]);
    model->count -= 1;
    model->times[item->hash] = 0;
    if (item->is_far) {
        model_add(model, item->hash, time_ms, item->is_retry);
        return;
    }
    CHECK(!is_due || time_ms <= model->now_ms);
    CHECK(item->time_ms >= time_ms);
    CHECK(item->time_ms == time_ms || item->time_ms <= model->now_ms);
}

static void model_add_random(struct model *model)
{
    uint32_t hash = (uint32_t)prng_below(&model->prng, ITEMS_MAX);
    if (model->times[hash] != 0) {
        return;
    }
    uint64_t distance = prng_next(&model->prng) >> (17 + prng_below(&model->prng, 46));
    uint64_t time_ms = model->now_ms + distance;
    if (prng_chance(&model->prng, 1, 8)) {
        time_ms = 1 + prng_below(&model->prng, model->now_ms + 1); /* long past */
    }
    model_add(model, hash, time_ms, prng_chance(&model->prng, 1, 2));
}

static uint64_t model_earliest(const struct model *model)
{
    uint64_t earliest = UINT64_MAX;
    for (uint32_t i = 0; i < ITEMS_MAX; i++) {
        if (model->times[i] != 0 && model->times[i] < earliest) {
            earliest = model->times[i];
        }
    }
    return earliest;
}

static void model_check(const struct model *model)
{
    uint64_t earliest = model_earliest(model);
    uint64_t bound = earliest > model->now_ms ? earliest : model->now_ms;
    CHECK(kv_wheel_next_ms(model->wheel) <= bound);
    CHECK_EQ(kv_wheel_count(model->wheel), model->count);
    CHECK((kv_wheel_next_ms(model->wheel) == UINT64_MAX) == (model->count == 0));
}

/* Advances the time and takes all that is due, a few at a time. */
static void model_advance(struct model *model)
{
    model->now_ms += prng_next(&model->prng) >> (20 + prng_below(&model->prng, 44));
    uint32_t calls = 0;
    while (kv_wheel_next_ms(model->wheel) <= model->now_ms) {
        uint32_t budget = 1 + (uint32_t)prng_below(&model->prng, 100);
        uint32_t given = budget;
        uint32_t taken = 0;
        struct kv_wheel_item item;
        while (kv_wheel_take(model->wheel, model->now_ms, &budget, &item)) {
            taken += 1;
            model_took(model, &item, /* is_due= */ true);
        }
        CHECK(taken <= given);
        CHECK(budget == 0 || kv_wheel_next_ms(model->wheel) > model->now_ms);
        CHECK(calls++ < 1000000);
    }
    CHECK(model_earliest(model) > model->now_ms);
}

static void run(uint64_t seed, uint64_t now_ms, uint32_t steps)
{
    struct model model;
    model_init(&model, seed, now_ms);
    for (uint32_t step = 0; step < steps; step++) {
        uint64_t choice = prng_below(&model.prng, 100);
        struct kv_wheel_item item;
        if (choice < 90) {
            model_add_random(&model);
        } else if (choice < 95) {
            model_advance(&model);
        } else if (choice < 97) {
            uint32_t budget = 1 + (uint32_t)prng_below(&model.prng, 20);
            model.now_ms += prng_below(&model.prng, 1000);
            while (kv_wheel_take(model.wheel, model.now_ms, &budget, &item)) {
                model_took(&model, &item, /* is_due= */ true);
            }
        } else if (kv_wheel_take_any(model.wheel, &item)) {
            model_took(&model, &item, /* is_due= */ false);
        }
        if (step % 16 == 0) {
            model_check(&model);
        }
    }
    model_deinit(&model);
}

TEST(random_from_zero)
{
    run(1, 0, 40000);
}

TEST(random_from_today)
{
    run(2, UINT64_C(1700000000000), 40000);
}

/* Where many digits of the time turn over at once. */
TEST(random_around_an_epoch)
{
    for (uint64_t seed = 3; seed < 30; seed++) {
        run(seed, (UINT64_C(25) << 36) - 500, 2000);
    }
}

TEST(everything_comes_out_in_order_of_time)
{
    struct model model;
    model_init(&model, 5, 1000);
    for (uint32_t i = 0; i < ITEMS_MAX; i++) {
        model_add(&model, i, 1000 + prng_below(&model.prng, 1 << 25), false);
    }
    uint64_t last = 0;
    uint32_t budget = UINT32_MAX;
    struct kv_wheel_item item;
    model.now_ms = 1000 + (1 << 25);
    while (kv_wheel_take(model.wheel, model.now_ms, &budget, &item)) {
        CHECK_EQ(item.time_ms, model.times[item.hash]);
        CHECK(item.time_ms >= last);
        last = item.time_ms;
        model_took(&model, &item, /* is_due= */ true);
    }
    CHECK_EQ(model.count, 0);
    model_deinit(&model);
}

TEST(take_any_takes_everything)
{
    struct model model;
    model_init(&model, 6, 1000);
    for (uint32_t i = 0; i < 1000; i++) {
        model_add_random(&model);
    }
    struct kv_wheel_item item;
    while (kv_wheel_take_any(model.wheel, &item)) {
        CHECK(item.is_far || item.time_ms == model.times[item.hash] || item.time_ms == 1000);
        model.times[item.hash] = 0;
        model.count -= 1;
    }
    CHECK_EQ(model.count, 0);
    model_check(&model);
    model_deinit(&model);
}

TEST(no_call_does_more_than_its_budget)
{
    struct model model;
    model_init(&model, 7, 0);
    for (uint32_t i = 0; i < ITEMS_MAX; i++) {
        model_add(&model, i, 5000000, false);
    }
    uint32_t taken = 0;
    uint32_t calls = 0;
    for (; taken < ITEMS_MAX && calls < 1000; calls++) {
        uint32_t budget = 100;
        struct kv_wheel_item item;
        while (kv_wheel_take(model.wheel, 5000000, &budget, &item)) {
            taken += 1;
        }
    }
    CHECK_EQ(taken, ITEMS_MAX);
    CHECK(calls >= ITEMS_MAX / 100);
    CHECK(calls <= ITEMS_MAX / 100 * 6);
    model_deinit(&model);
}

TEST(an_item_costs_about_eight_bytes)
{
    uint64_t memory_bytes = 0;
    struct kv_wheel *wheel = kv_wheel_new(0, &memory_bytes);
    uint64_t empty_bytes = memory_bytes;
    struct prng prng;
    prng_init(&prng, 8);
    for (uint32_t i = 0; i < 100000; i++) {
        kv_wheel_add(wheel, i, prng_below(&prng, 3600 * 1000), false);
    }
    CHECK(memory_bytes - empty_bytes < 100000 * 9);
    CHECK(empty_bytes < 4096);
    kv_wheel_free(wheel);
    CHECK_EQ(memory_bytes, 0);
}

TEST_MAIN
