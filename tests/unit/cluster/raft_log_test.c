/*
 * raft_log_test.c — the log's metadata against a plain array, over random lives.
 */
#include "test.h"

#include "base/mem.h"
#include "base/prng.h"
#include "cluster/raft_log.h"

enum { ENTRIES = 3000, CAPACITY = 64 };

struct model {
    uint64_t terms[ENTRIES];
    uint32_t sizes[ENTRIES];
    unsigned kinds[ENTRIES];
    uint64_t base, last;
};

static void compare(const struct raft_log *log, const struct model *model)
{
    CHECK_EQ(log->base_index, model->base);
    CHECK_EQ(log->last_index, model->last);
    CHECK_EQ(log->last_term, model->terms[model->last]);
    uint64_t first = model->base > 3 ? model->base - 3 : 0;
    for (uint64_t index = first; index <= model->last + 3; index++) {
        uint64_t term = 0;
        enum raft_log_lookup found = raft_log_term(log, index, &term);
        CHECK_EQ(found, index < model->base   ? RAFT_LOG_COMPACTED
                        : index > model->last ? RAFT_LOG_BEYOND
                                              : RAFT_LOG_FOUND);
        if (found == RAFT_LOG_FOUND) {
            CHECK_EQ(term, model->terms[index]);
            CHECK(raft_log_matches(log, index, term));
            CHECK(!raft_log_matches(log, index, term + 1));
        }
        if (index > model->base && index <= model->last) {
            CHECK_EQ(raft_log_kind(log, index), model->kinds[index]);
        }
    }
}

static void compare_bytes(const struct raft_log *log, const struct model *model, struct prng *prng)
{
    uint64_t after = prng_below(prng, model->last + 1);
    uint64_t upto = prng_below(prng, model->last + 1);
    uint64_t expected = 0;
    for (uint64_t index = after + 1; index <= upto; index++) {
        expected += index > model->base ? model->sizes[index] : 0;
    }
    CHECK_EQ(raft_log_bytes(log, after, upto), expected);
}

static void compare_hint(const struct raft_log *log, const struct model *model, struct prng *prng)
{
    uint64_t index = model->base + prng_below(prng, model->last - model->base + 5);
    uint64_t term = prng_below(prng, model->terms[model->last] + 3);
    uint64_t expected = index < model->last ? index : model->last;
    while (expected > model->base && model->terms[expected] > term) {
        expected--;
    }
    uint64_t hint_term = 0;
    CHECK_EQ(raft_log_conflict_hint(log, index, term, &hint_term), expected);
    CHECK_EQ(hint_term, model->terms[expected]);
}

static void append(struct raft_log *log, struct model *model, struct prng *prng)
{
    uint64_t index = ++model->last;
    model->terms[index] = model->terms[index - 1] + prng_chance(prng, 1, 8);
    model->sizes[index] = (uint32_t)prng_below(prng, 1 << 20);
    model->kinds[index] = (unsigned)prng_below(prng, 256);
    raft_log_append(log, model->terms[index], model->kinds[index], model->sizes[index]);
}

static void change(struct raft_log *log, struct model *model, struct prng *prng)
{
    uint64_t count = model->last - model->base;
    uint64_t pick = prng_below(prng, 100);
    if (pick < 60 && raft_log_room(log) > 0) {
        append(log, model, prng);
    } else if (pick < 75 && count > 0) {
        uint64_t index = model->base + 1 + prng_below(prng, count);
        raft_log_truncate(log, index);
        model->last = index - 1;
    } else if (pick < 90) {
        uint64_t index = model->base + prng_below(prng, count + 1);
        raft_log_compact(log, index);
        model->base = index;
    } else if (pick < 92) {
        uint64_t index = model->last + 1 + prng_below(prng, 3);
        uint64_t term = model->terms[model->last] + 1;
        raft_log_reset(log, index, term);
        model->base = index;
        model->last = index;
        model->terms[index] = term;
    } else if (pick < 96) {
        uint32_t capacity = count > CAPACITY / 2 ? CAPACITY : CAPACITY / 2u << prng_below(prng, 2);
        mem_free(raft_log_move(log, mem_alloc(capacity * sizeof(struct raft_log_slot)), capacity));
    }
}

TEST(random_lives_match_an_array)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct prng prng;
        struct raft_log log;
        struct model *model = mem_zalloc(sizeof(*model));
        prng_init(&prng, seed);
        raft_log_init(&log, mem_alloc(CAPACITY * sizeof(struct raft_log_slot)), CAPACITY, 0, 0);
        while (model->last < ENTRIES - 10) {
            change(&log, model, &prng);
            compare(&log, model);
            compare_bytes(&log, model, &prng);
            compare_hint(&log, model, &prng);
        }
        mem_free(log.slots);
        mem_free(model);
    }
}

/* A reset log is not durable before its reset is. */
TEST(durability_follows_the_log)
{
    struct raft_log_slot slots[8];
    struct raft_log log;
    raft_log_init(&log, slots, 8, 5, 2);
    CHECK_EQ(log.durable_index, 5);
    raft_log_append(&log, 2, 1, 10);
    raft_log_append(&log, 3, 1, 10);
    CHECK_EQ(log.durable_index, 5);
    log.durable_index = 7;
    raft_log_truncate(&log, 7);
    CHECK_EQ(log.durable_index, 6);
    raft_log_reset(&log, 20, 4);
    CHECK_EQ(log.durable_index, 0);
    CHECK_EQ(raft_log_room(&log), 8);
}

TEST_MAIN
