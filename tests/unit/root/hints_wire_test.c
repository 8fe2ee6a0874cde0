/*
 * hints_wire_test.c — who leads what, and who is gone, as bytes: what is written is read, and what
 * was cut or altered is refused or says something that can be true.
 */
#include "hints_wire.h"

#include "base/buffer.h"
#include "base/endian.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/prng.h"
#include "raft_wire.h"
#include "test.h"
#include "vacancy_wire.h"

enum { PARTITIONS = 64 };

/* A frame as it was meant. */
struct sent {
    struct hints_wire_head head;
    struct hints_wire_entry entries[PARTITIONS];
    struct buffer bytes;
};

static struct raft_config random_config(struct prng *prng)
{
    struct raft_config config = { 0 };
    uint64_t node = 0;
    uint64_t count = 1 + prng_below(prng, RAFT_PEERS_MAX);
    for (uint64_t i = 0; i < count; i++) {
        bool votes = i == 0 || (i < RAFT_VOTERS_MAX && prng_chance(prng, 2, 3));
        node += 1 + prng_below(prng, UINT64_C(1) << 59);
        CHECK(raft_config_add(&config, node, prng_next(prng), votes ? RAFT_VOTER : RAFT_LEARNER));
    }
    return config;
}

static void entry_make(struct prng *prng, uint32_t partition, struct hints_wire_entry *out)
{
    bool is_leading = prng_chance(prng, 3, 4);
    *out = (struct hints_wire_entry){
        .partition = partition,
        .term = 1 + (prng_next(prng) >> (17 + prng_below(prng, 47))),
        .flags = is_leading ? (uint8_t)(prng_next(prng) & ~1u) : HINT_NOT_LEADING,
        .bytes_left = prng_chance(prng, 1, 3) ? 0 : prng_next(prng) >> prng_below(prng, 64),
    };
    if (is_leading) {
        out->members = random_config(prng);
    }
}

/* How many in a hundred partitions are in the frame. */
static void sent_make(struct prng *prng, uint32_t percent, struct sent *sent)
{
    sent->head = (struct hints_wire_head){ .is_all = prng_chance(prng, 1, 2),
                                           .epoch = prng_next(prng),
                                           .held = (uint32_t)prng_below(prng, PARTITIONS + 1) };
    sent->bytes.size = 0;
    (void)buffer_reserve(&sent->bytes, HINTS_WIRE_HEAD_BYTES);
    sent->bytes.size = HINTS_WIRE_HEAD_BYTES;
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        if (!prng_chance(prng, percent, 100)) {
            continue;
        }
        struct hints_wire_entry *entry = &sent->entries[sent->head.count++];
        entry_make(prng, i, entry);
        char *to = buffer_reserve(&sent->bytes, HINTS_WIRE_ENTRY_BYTES_MAX);
        size_t size = hints_wire_entry_write(entry, to);
        CHECK(size <= HINTS_WIRE_ENTRY_BYTES_MAX);
        sent->bytes.size += size;
    }
    hints_wire_head_write(&sent->head, sent->bytes.data);
}

static void check_sane(const struct hints_wire_entry *entry, uint32_t next)
{
    bool is_leading = (entry->flags & HINT_NOT_LEADING) == 0;
    CHECK(entry->partition >= next && entry->partition < PARTITIONS);
    CHECK(entry->term > 0 && entry->term < UINT64_C(1) << 48);
    CHECK(entry->members.members_count <= RAFT_PEERS_MAX);
    CHECK(is_leading ? raft_config_is_valid(&entry->members) : entry->members.members_count == 0);
}

/* Reads a copy of its own size, so that a look behind it is noticed.  True: it was whole. */
static bool frame_read(struct slice body, uint32_t *out_count)
{
    char *copy = mem_alloc(body.size + 1);
    if (body.size > 0) {
        memcpy(copy + 1, body.data, body.size);
    }
    struct hints_wire_reader reader;
    struct hints_wire_head head;
    struct hints_wire_entry entry;
    bool is_whole = false;
    uint32_t next = 0;
    *out_count = 0;
    if (hints_wire_open(slice_make(copy + 1, body.size), PARTITIONS, &reader, &head)) {
        CHECK(head.held <= PARTITIONS && head.count <= PARTITIONS);
        while (hints_wire_next(&reader, &entry)) {
            check_sane(&entry, next);
            next = entry.partition + 1;
            (*out_count)++;
        }
        CHECK(*out_count <= head.count);
        CHECK(!hints_wire_next(&reader, &entry));
        is_whole = hints_wire_is_whole(&reader);
        CHECK(!is_whole || *out_count == head.count);
    }
    mem_free(copy);
    return is_whole;
}

static void check_read(const struct sent *sent)
{
    struct hints_wire_reader reader;
    struct hints_wire_head head;
    struct hints_wire_entry entry;
    CHECK(hints_wire_open(buffer_slice(&sent->bytes), PARTITIONS, &reader, &head));
    CHECK_EQ(head.is_all, sent->head.is_all);
    CHECK_EQ(head.epoch, sent->head.epoch);
    CHECK_EQ(head.held, sent->head.held);
    CHECK_EQ(head.count, sent->head.count);
    for (uint32_t i = 0; i < sent->head.count; i++) {
        const struct hints_wire_entry *want = &sent->entries[i];
        CHECK(!hints_wire_is_whole(&reader));
        CHECK(hints_wire_next(&reader, &entry));
        CHECK_EQ(entry.partition, want->partition);
        CHECK_EQ(entry.term, want->term);
        CHECK_EQ(entry.flags, want->flags);
        CHECK_EQ(entry.bytes_left, want->bytes_left);
        CHECK(raft_config_equal(&entry.members, &want->members));
    }
    CHECK(!hints_wire_next(&reader, &entry));
    CHECK(hints_wire_is_whole(&reader));
}

TEST(random_frames_say_the_same_when_read)
{
    struct prng prng;
    struct sent *sent = mem_zalloc(sizeof(*sent));
    prng_init(&prng, 1);
    for (uint32_t i = 0; i < 500; i++) {
        sent_make(&prng, i % 101, sent);
        check_read(sent);
    }
    buffer_free(&sent->bytes);
    mem_free(sent);
}

/* What each byte stands for, by hand: the format is not what this code happens to write. */
TEST(the_format_is_as_documented)
{
    const char expected[] = "\2\1\x0c\0\0\0\0\0\0\0\5\0\0\0\2\0\0\0"
                            "\3\xac\2\6\x80\1\x13\0"
                            "\1\1\x07\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\1"
                            "\x0a\4\1\0\0\0";
    struct hints_wire_head head = { .is_all = true, .epoch = 12, .held = 5, .count = 2 };
    struct hints_wire_entry leads = { .partition = 3, .term = 300, .flags = 6, .bytes_left = 128 };
    struct hints_wire_entry left = { .partition = 10, .term = 4, .flags = HINT_NOT_LEADING };
    char bytes[HINTS_WIRE_HEAD_BYTES + 2 * HINTS_WIRE_ENTRY_BYTES_MAX];
    CHECK(raft_config_add(&leads.members, 7, 9, RAFT_VOTER));
    hints_wire_head_write(&head, bytes);
    size_t size = HINTS_WIRE_HEAD_BYTES;
    size += hints_wire_entry_write(&leads, bytes + size);
    size += hints_wire_entry_write(&left, bytes + size);
    CHECK_EQ(size, sizeof(expected) - 1);
    CHECK(memcmp(bytes, expected, sizeof(expected) - 1) == 0);
}

TEST(a_cut_frame_is_refused)
{
    struct prng prng;
    struct sent *sent = mem_zalloc(sizeof(*sent));
    prng_init(&prng, 2);
    for (uint32_t round = 0; round < 20; round++) {
        sent_make(&prng, 10, sent);
        for (size_t size = 0; size < sent->bytes.size; size++) {
            uint32_t count = 0;
            CHECK(!frame_read(slice_make(sent->bytes.data, size), &count));
        }
        *buffer_reserve(&sent->bytes, 1) = 0; /* nor may anything follow */
        uint32_t count = 0;
        CHECK(!frame_read(slice_make(sent->bytes.data, sent->bytes.size + 1), &count));
    }
    buffer_free(&sent->bytes);
    mem_free(sent);
}

TEST(an_altered_byte_is_refused_or_says_something_sane)
{
    struct prng prng;
    struct sent *sent = mem_zalloc(sizeof(*sent));
    uint32_t whole = 0;
    uint32_t refused = 0;
    prng_init(&prng, 3);
    for (uint32_t round = 0; round < 4; round++) {
        sent_make(&prng, 5, sent);
        for (size_t at = 0; at < sent->bytes.size; at++) {
            for (unsigned change = 1; change < 256; change++) {
                uint32_t count = 0;
                sent->bytes.data[at] = (char)((unsigned char)sent->bytes.data[at] ^ change);
                bool is_whole = frame_read(buffer_slice(&sent->bytes), &count);
                sent->bytes.data[at] = (char)((unsigned char)sent->bytes.data[at] ^ change);
                whole += is_whole;
                refused += !is_whole;
            }
        }
    }
    CHECK(whole > 0 && refused > 0);
    buffer_free(&sent->bytes);
    mem_free(sent);
}

/* One entry of which a single thing is wrong. */
static bool entry_is_read(const char *entry, size_t size, uint32_t count)
{
    char bytes[HINTS_WIRE_HEAD_BYTES + 64];
    uint32_t read = 0;
    struct hints_wire_head head = { .count = count };
    hints_wire_head_write(&head, bytes);
    memcpy(bytes + HINTS_WIRE_HEAD_BYTES, entry, size);
    return frame_read(slice_make(bytes, HINTS_WIRE_HEAD_BYTES + size), &read);
}

#define IS_READ(entry, count) entry_is_read(entry, sizeof(entry) - 1, count)

TEST(what_cannot_be_true_is_refused)
{
    CHECK(IS_READ("\x3f\1\1\0\0\0", 1));
    CHECK(!IS_READ("\x40\1\1\0\0\0", 1));                              /* there are 64 */
    CHECK(!IS_READ("\x83\x80\x80\x80\x10\1\1\0\0\0", 1));              /* nor 2^32 + 3 */
    CHECK(!IS_READ("\3\0\1\0\0\0", 1));                                /* term 0 */
    CHECK(IS_READ("\3\xff\xff\xff\xff\xff\xff\x3f\1\0\0\0", 1));       /* term 2^48 - 1 */
    CHECK(!IS_READ("\3\x80\x80\x80\x80\x80\x80\x40\1\0\0\0", 1));      /* one more */
    CHECK(!IS_READ("\3\1\0\0\0\0", 1));                                /* leads, without members */
    CHECK(!IS_READ("\3\1\1\0\1\0x", 1));                               /* does not, with some */
    CHECK(IS_READ("\3\1\1\0\0\0\4\1\1\0\0\0", 2));                     /* ascending */
    CHECK(!IS_READ("\4\1\1\0\0\0\3\1\1\0\0\0", 2));                    /* descending */
    CHECK(!IS_READ("\3\1\1\0\0\0\3\1\1\0\0\0", 2));                    /* twice */
    CHECK(!IS_READ("\3\1\1\0\0\0", 0) && !IS_READ("\3\1\1\0\0\0", 2)); /* another count */
    CHECK(!IS_READ("", UINT32_MAX) && !IS_READ("", 1) && IS_READ("", 0)); /* a promise */
    char head[HINTS_WIRE_HEAD_BYTES] = { 2 };
    uint32_t count = 0;
    struct hints_wire_reader reader = { .entries_left = 1 };
    CHECK(!hints_wire_is_whole(&reader)); /* nor before it has been looked for */
    CHECK(frame_read(slice_make(head, sizeof(head)), &count));
    store_u32(head + 10, PARTITIONS + 1); /* held: more than there are */
    CHECK(!frame_read(slice_make(head, sizeof(head)), &count));
    store_u32(head + 10, PARTITIONS);
    CHECK(frame_read(slice_make(head, sizeof(head)), &count));
    head[1] = 2;
    CHECK(!frame_read(slice_make(head, sizeof(head)), &count));
    head[1] = 0;
    head[0] = 1;
    CHECK(!frame_read(slice_make(head, sizeof(head)), &count));
}

/* ── vacancy ─────────────────────────────────────────────────────────────────────────────────── */

TEST(groups_that_are_asked_for)
{
    char bytes[3 * VACANCY_ASK_BYTES];
    uint32_t group = 0;
    char *at = vacancy_ask_write(bytes, 0);
    at = vacancy_ask_write(at, 4095);
    at = vacancy_ask_write(at, UINT16_MAX);
    CHECK_EQ(at - bytes, sizeof(bytes));
    struct slice left = slice_make(bytes, sizeof(bytes));
    CHECK(vacancy_ask_read(&left, &group) && group == 0);
    CHECK(vacancy_ask_read(&left, &group) && group == 4095);
    CHECK(vacancy_ask_read(&left, &group) && group == UINT16_MAX);
    CHECK(!vacancy_ask_read(&left, &group) && left.size == 0);
    for (size_t size = 1; size < sizeof(bytes); size += 2) {
        left = slice_make(bytes, size);
        CHECK(!vacancy_ask_read(&left, &group) && left.size == size);
    }
}

TEST(groups_that_are_gone)
{
    struct prng prng;
    prng_init(&prng, 4);
    for (uint32_t round = 0; round < 200; round++) {
        struct vacancy_gone sent[3];
        char bytes[3 * VACANCY_GONE_BYTES];
        char *at = bytes;
        for (uint32_t i = 0; i < 3; i++) {
            sent[i] = (struct vacancy_gone){ .group = (uint32_t)prng_below(&prng, 1 << 16),
                                             .term = prng_next(&prng) >> 16,
                                             .index = prng_next(&prng) >> 16 };
            at = vacancy_gone_write(at, &sent[i]);
        }
        struct slice left = slice_make(bytes, (size_t)(at - bytes));
        struct vacancy_gone read;
        for (uint32_t i = 0; i < 3; i++) {
            CHECK(vacancy_gone_read(&left, &read));
            CHECK_EQ(read.group, sent[i].group);
            CHECK_EQ(read.term, sent[i].term);
            CHECK_EQ(read.index, sent[i].index);
        }
        CHECK(!vacancy_gone_read(&left, &read));
        for (size_t size = 0; size < sizeof(bytes); size++) {
            left = slice_make(bytes, size);
            CHECK_EQ(vacancy_gone_read(&left, &read), size > 0 && size % VACANCY_GONE_BYTES == 0);
        }
    }
}

/* A replica that forgets takes over the term: from 2^48 on none of its messages could be read. */
TEST(a_term_that_no_message_can_carry_is_refused)
{
    const uint64_t limit = UINT64_C(1) << 48;
    const uint64_t positions[] = { 0, 1, limit - 1, limit, limit + 1, UINT64_MAX };
    for (unsigned t = 0; t < 6; t++) {
        for (unsigned i = 0; i < 6; i++) {
            char bytes[VACANCY_GONE_BYTES];
            struct vacancy_gone sent = { .group = 1, .term = positions[t], .index = positions[i] };
            struct vacancy_gone read;
            (void)vacancy_gone_write(bytes, &sent);
            struct slice left = slice_make(bytes, sizeof(bytes));
            CHECK_EQ(vacancy_gone_read(&left, &read), t < 3 && i < 3);
        }
    }
}

TEST_MAIN
