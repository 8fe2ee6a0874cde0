/*
 * entry_test.c — log entries: what is written is read, and nothing malformed is.
 */
#include "storage/entry.h"

#include "base/prng.h"
#include "test.h"

static struct entry random_entry(struct prng *prng)
{
    struct entry entry = {
        .index = 1 + prng_below(prng, (UINT64_C(1) << 48) - 1),
        .term = prng_next(prng),
        .time_ms = prng_next(prng),
        .kind = (enum entry_kind)prng_below(prng, ENTRY_META + 1),
        .flags = prng_chance(prng, 1, 2) ? ENTRY_HAS_ORIGIN : 0,
        .group = (uint16_t)prng_next(prng),
        .seed = (uint32_t)prng_next(prng),
    };
    if (entry.flags != 0) {
        entry.origin_node = prng_next(prng);
        entry.origin_boot = prng_next(prng);
        entry.origin_floor = prng_next(prng);
        entry.origin_seq = entry.origin_floor | prng_next(prng);
    }
    return entry;
}

static bool entry_equal(const struct entry *a, const struct entry *b)
{
    return a->index == b->index && a->term == b->term && a->time_ms == b->time_ms &&
           a->kind == b->kind && a->flags == b->flags && a->group == b->group &&
           a->seed == b->seed && a->origin_node == b->origin_node &&
           a->origin_boot == b->origin_boot && a->origin_seq == b->origin_seq &&
           a->origin_floor == b->origin_floor;
}

TEST(round_trips_and_every_length)
{
    struct prng prng;
    prng_init(&prng, 1);
    for (unsigned i = 0; i < 2000; i++) {
        char bytes[ENTRY_HEADER_BYTES + ENTRY_ORIGIN_BYTES + 40];
        struct entry entry = random_entry(&prng);
        size_t header = entry_header_size(&entry);
        size_t body = (size_t)prng_below(&prng, 40);
        entry_header_write(&entry, bytes);
        for (size_t b = 0; b < body; b++) {
            bytes[header + b] = (char)prng_next(&prng);
        }
        struct entry decoded;
        CHECK(entry_decode(slice_make(bytes, header + body), &decoded));
        CHECK(entry_equal(&entry, &decoded));
        CHECK(decoded.body.data == bytes + header);
        CHECK_EQ(decoded.body.size, body);
        for (size_t cut = 0; cut < header; cut++) {
            CHECK(!entry_decode(slice_make(bytes, cut), &decoded));
        }
    }
}

TEST(unknown_kinds_flags_and_indexes_are_refused)
{
    struct prng prng;
    prng_init(&prng, 2);
    char bytes[ENTRY_HEADER_BYTES + ENTRY_ORIGIN_BYTES] = { 0 };
    struct entry decoded;
    struct entry entry = random_entry(&prng);
    entry_header_write(&entry, bytes);
    struct slice whole = slice_make(bytes, sizeof(bytes));
    CHECK(entry_decode(whole, &decoded));
    for (unsigned kind = 0; kind < 256; kind++) {
        bytes[24] = (char)kind;
        CHECK_EQ(entry_decode(whole, &decoded), kind <= ENTRY_META);
    }
    entry_header_write(&entry, bytes);
    for (unsigned flags = 0; flags < 256; flags++) {
        bytes[25] = (char)flags;
        CHECK_EQ(entry_decode(whole, &decoded), flags <= ENTRY_HAS_ORIGIN);
    }
    entry_header_write(&entry, bytes);
    bytes[6] = 1; /* over 48 bits */
    CHECK(!entry_decode(whole, &decoded));
    memset(bytes, 0, 8);
    CHECK(!entry_decode(whole, &decoded));
}

TEST(a_floor_above_its_own_write_is_refused)
{
    char bytes[ENTRY_HEADER_BYTES + ENTRY_ORIGIN_BYTES];
    struct entry entry = {
        .index = 1, .flags = ENTRY_HAS_ORIGIN, .origin_seq = 7, .origin_floor = 7
    };
    struct entry decoded;
    entry_header_write(&entry, bytes);
    CHECK(entry_decode(slice_make(bytes, sizeof(bytes)), &decoded));
    bytes[56] = 8;
    CHECK(!entry_decode(slice_make(bytes, sizeof(bytes)), &decoded));
}

TEST_MAIN
