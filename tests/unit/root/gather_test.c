/*
 * gather_test.c — KEYS, SCAN, RANDOMKEY and DBSIZE out of the answers of partitions, which come in
 * any order, fail, or are not what was asked for.
 *
 * Gathers of commands over keys: answers_test.c.
 */
#include "gather.h"

#include "base/mem.h"
#include "base/prng.h"
#include "command/command.h"
#include "test.h"

enum { PARTS_MAX = 8 };

static const struct asker nobody = { .kind = ASKER_NOBODY };

static const struct command *command_named(const char *name)
{
    return command_lookup(slice_from(name));
}

/* What the whole says in RESP3. */
static void written(struct gather *gather, struct buffer *out)
{
    struct reply reply;
    out->size = 0;
    reply_begin(&reply, PROTOCOL_RESP3, out, (struct slice){ 0 });
    gather_write(gather, &reply);
    reply_end(&reply);
    gather_free(gather);
}

/* Gives the parts their answers in a random order; the whole must be `wanted`. */
static void check_whole(struct gather *gather, struct prng *prng, const char *const *texts,
                        unsigned count, const char *wanted)
{
    struct asker parts[PARTS_MAX];
    unsigned order[PARTS_MAX];
    for (unsigned i = 0; i < count; i++) {
        parts[i] = gather_part(gather, i, 0);
        unsigned at = (unsigned)prng_below(prng, i + 1);
        order[i] = order[at];
        order[at] = i;
    }
    for (unsigned i = 0; i < count; i++) {
        bool is_last = gather_take(&parts[order[i]], slice_from(texts[order[i]]));
        CHECK_EQ(is_last, i + 1 == count);
    }
    struct buffer out = { 0 };
    written(gather, &out);
    CHECK(slice_equal(buffer_slice(&out), slice_from(wanted)));
    buffer_free(&out);
}

#define TEXTS(...)                                                                                 \
    (const char *const[]){ __VA_ARGS__ }, ARRAY_COUNT(((const char *const[]){ __VA_ARGS__ }))

/* ── KEYS ────────────────────────────────────────────────────────────────────────────────────── */

static void check_keys(const char *const *texts, unsigned count, const char *wanted)
{
    struct prng prng;
    prng_init(&prng, 1);
    for (unsigned round = 0; round < 10; round++) {
        check_whole(gather_keys_new(&nobody, command_named("keys"), count), &prng, texts, count,
                    wanted);
    }
}

TEST(keys_lie_behind_each_other)
{
    check_keys(TEXTS("*0\r\n"), "*0\r\n");
    check_keys(TEXTS("*1\r\n$1\r\na\r\n", "*0\r\n", "*0\r\n"), "*1\r\n$1\r\na\r\n");
    check_keys(TEXTS("*2\r\n$2\r\n\r\n\r\n$0\r\n\r\n", "*0\r\n"), "*2\r\n$2\r\n\r\n\r\n$0\r\n\r\n");
    check_keys(TEXTS("*1\r\n$1\r\na\r\n", "*1\r\n$1\r\na\r\n"), "*2\r\n$1\r\na\r\n$1\r\na\r\n");
}

TEST(keys_with_an_error)
{
    check_keys(TEXTS("*1\r\n$1\r\na\r\n", "-NOQUORUM x\r\n"), "-NOQUORUM x\r\n");
    check_keys(TEXTS("-NOQUORUM x\r\n", "-ERR y\r\n"), "-ERR y\r\n");
}

TEST(keys_that_are_none)
{
    static const char unfit[] = "-ERR a partition's answer does not fit the command\r\n";
    static const char *const wrong[] = {
        ":1\r\n",
        "+OK\r\n",
        "*1\r\n:1\r\n",
        "*1\r\n_\r\n",
        "*1\r\n$-1\r\n",
        "*-1\r\n",
        "*2\r\n$1\r\na\r\n*0\r\n",
        "%1\r\n$1\r\na\r\n$1\r\nb\r\n",
        "*1\r\n*1\r\n:1\r\n",
    };
    for (unsigned i = 0; i < ARRAY_COUNT(wrong); i++) {
        check_keys(TEXTS(wrong[i], "*0\r\n"), unfit);
    }
}

TEST(keys_beyond_the_bound)
{
    enum { PART_BYTES = 100 << 20 };
    struct gather *gather = gather_keys_new(&nobody, command_named("keys"), 4);
    struct buffer part = { 0 };
    buffer_printf(&part, "*1\r\n$%d\r\n", PART_BYTES);
    memset(buffer_reserve(&part, PART_BYTES), 'k', PART_BYTES);
    part.size += PART_BYTES;
    buffer_append_text(&part, "\r\n");
    for (unsigned i = 0; i < 4; i++) {
        struct asker asker = gather_part(gather, i, 0);
        CHECK_EQ(gather_take(&asker, buffer_slice(&part)), i == 3);
    }
    written(gather, &part);
    CHECK(
        slice_equal(buffer_slice(&part),
                    slice_from("-ERR the keys exceed the maximum allowed size of a reply; ask with "
                               "SCAN\r\n")));
    buffer_free(&part);
}

/* ── SCAN ────────────────────────────────────────────────────────────────────────────────────── */

#define AB "*2\r\n$1\r\na\r\n$1\r\nb\r\n"
#define CD "*2\r\n$1\r\nc\r\n$1\r\nd\r\n"
#define ABCD "*4\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n"
#define NONE "*0\r\n"
#define OVER "*2\r\n$1\r\n0\r\n"
#define INSIDE "*2\r\n$2\r\n77\r\n"

/* Part i begins at 10 * (i + 1), and 99 follows the last one. */
static void check_scan(uint64_t wanted_keys, const char *const *texts, unsigned count,
                       const char *wanted)
{
    struct prng prng;
    prng_init(&prng, 2);
    for (unsigned round = 0; round < 20; round++) {
        uint64_t *cursors = mem_alloc((count + 1) * sizeof(*cursors));
        for (unsigned i = 0; i < count; i++) {
            cursors[i] = 10 * (i + 1);
        }
        cursors[count] = 99;
        check_whole(gather_scan_new(&nobody, command_named("scan"), count, cursors, wanted_keys),
                    &prng, texts, count, wanted);
    }
}

TEST(scan_uses_all_parts)
{
    check_scan(10, TEXTS(OVER NONE), "*2\r\n$2\r\n99\r\n*0\r\n");
    check_scan(10, TEXTS(OVER AB, OVER NONE, OVER CD), "*2\r\n$2\r\n99\r\n" ABCD);
    check_scan(4, TEXTS(OVER AB, OVER NONE, OVER CD), "*2\r\n$2\r\n99\r\n" ABCD);
}

TEST(scan_stops_where_there_is_enough)
{
    check_scan(2, TEXTS(OVER AB, OVER CD), "*2\r\n$2\r\n20\r\n" AB);
    check_scan(1, TEXTS(OVER AB, OVER CD), "*2\r\n$2\r\n20\r\n" AB);
    check_scan(3, TEXTS(OVER AB, INSIDE CD, OVER AB), "*2\r\n$2\r\n77\r\n" ABCD);
}

TEST(scan_stops_inside_a_partition)
{
    check_scan(10, TEXTS(INSIDE NONE, OVER CD), "*2\r\n$2\r\n77\r\n*0\r\n");
    check_scan(10, TEXTS(INSIDE AB, OVER CD), "*2\r\n$2\r\n77\r\n" AB);
}

TEST(scan_stops_in_front_of_an_error)
{
    check_scan(10, TEXTS(OVER AB, "-NOQUORUM x\r\n", OVER CD), "*2\r\n$2\r\n20\r\n" AB);
    check_scan(10, TEXTS(OVER NONE, OVER NONE, "-NOQUORUM x\r\n"), "*2\r\n$2\r\n30\r\n*0\r\n");
    check_scan(2, TEXTS(OVER AB, "-NOQUORUM x\r\n"), "*2\r\n$2\r\n20\r\n" AB);
    check_scan(10, TEXTS("-NOQUORUM x\r\n", OVER CD), "-NOQUORUM x\r\n");
}

TEST(scan_that_is_none)
{
    static const char *const wrong[] = {
        "+OK\r\n",
        "*0\r\n",
        "*2\r\n:0\r\n*0\r\n",
        "*2\r\n$1\r\nx\r\n*0\r\n",
        OVER "_\r\n",
        OVER ":1\r\n",
        "*3\r\n$1\r\n0\r\n*0\r\n:1\r\n",
        OVER "*1\r\n:1\r\n",
    };
    for (unsigned i = 0; i < ARRAY_COUNT(wrong); i++) {
        check_scan(10, TEXTS(wrong[i], OVER AB),
                   "-ERR a partition's answer does not fit the command\r\n");
        check_scan(10, TEXTS(OVER AB, wrong[i]), "*2\r\n$2\r\n20\r\n" AB);
    }
}

/* ── RANDOMKEY, DBSIZE ───────────────────────────────────────────────────────────────────────── */

TEST(randomkey_of_none)
{
    struct prng prng;
    prng_init(&prng, 4);
    check_whole(gather_randomkey_new(&nobody, command_named("randomkey"), 3, 1), &prng,
                TEXTS("*2\r\n:0\r\n_\r\n", "*2\r\n:7\r\n_\r\n", "*2\r\n:0\r\n_\r\n"), "_\r\n");
    check_whole(gather_randomkey_new(&nobody, command_named("randomkey"), 2, 1), &prng,
                TEXTS("*2\r\n:0\r\n_\r\n", "*2\r\n:1\r\n$1\r\nk\r\n"), "$1\r\nk\r\n");
    check_whole(gather_randomkey_new(&nobody, command_named("randomkey"), 2, 1), &prng,
                TEXTS("-NOQUORUM x\r\n", "*2\r\n:1\r\n$1\r\nk\r\n"), "-NOQUORUM x\r\n");
    check_whole(gather_randomkey_new(&nobody, command_named("randomkey"), 2, 1), &prng,
                TEXTS("*2\r\n:-1\r\n$1\r\nk\r\n", "*2\r\n:1\r\n$1\r\nk\r\n"),
                "-ERR a partition's answer does not fit the command\r\n");
}

/* Each partition by its share: 1, 3 and 6 of ten. */
TEST(randomkey_is_fair)
{
    enum { ROUNDS = 20000 };
    static const char *const texts[] = { "*2\r\n:1\r\n$1\r\n0\r\n", "*2\r\n:3\r\n$1\r\n1\r\n",
                                         "*2\r\n:6\r\n$1\r\n2\r\n", "*2\r\n:0\r\n_\r\n" };
    static const unsigned shares[] = { 1, 3, 6 };
    unsigned chosen[3] = { 0 };
    struct buffer out = { 0 };
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct gather *gather = gather_randomkey_new(&nobody, command_named("randomkey"), 4, round);
        for (unsigned i = 0; i < 4; i++) {
            struct asker part = gather_part(gather, i, 0);
            unsigned text = (i + round) % 4;
            CHECK_EQ(gather_take(&part, slice_from(texts[text])), i == 3);
        }
        written(gather, &out);
        CHECK_EQ(out.size, 7);
        chosen[out.data[4] - '0']++;
    }
    buffer_free(&out);
    for (unsigned i = 0; i < 3; i++) {
        CHECK(chosen[i] * 10 > ROUNDS * shares[i] * 9 / 10);
        CHECK(chosen[i] * 10 < ROUNDS * shares[i] * 11 / 10);
    }
}

TEST(dbsize_is_the_sum)
{
    struct prng prng;
    prng_init(&prng, 5);
    check_whole(gather_new(&nobody, command_named("dbsize"), 3, NULL, 0), &prng,
                TEXTS(":1\r\n", ":0\r\n", ":41\r\n"), ":42\r\n");
}

TEST(dropped_parts_free_what_is_kept)
{
    uint64_t *cursors = mem_zalloc(3 * sizeof(*cursors));
    struct gather *gather = gather_scan_new(&nobody, command_named("scan"), 2, cursors, 10);
    struct asker first = gather_part(gather, 0, 0);
    struct asker second = gather_part(gather, 1, 0);
    CHECK(!gather_take(&first, slice_from(OVER AB)));
    gather_drop(&second); /* the sanitizer sees what is left */
}

TEST_MAIN
