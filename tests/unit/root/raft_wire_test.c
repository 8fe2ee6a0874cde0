/*
 * raft_wire_test.c — raft messages as bytes: what is written is read, in one form only, and nothing
 * that contradicts itself is.
 */
#include "raft_wire.h"

#include "base/buffer.h"
#include "base/endian.h"
#include "base/mem.h"
#include "base/prng.h"
#include "base/varint.h"
#include "storage/entry.h"
#include "test.h"

enum { BODY_MAX = 40, FRAME_MAX = RAFT_WIRE_HEAD_BYTES_MAX + RAFT_APPEND_ENTRIES_MAX * 400 };

static const struct raft_wire_route ROUTE = {
    .cluster = 11, .from = 22, .from_incarnation = 33, .to = 44, .to_incarnation = 55, .boot = 66
};

/* A message with its entries, as the sender's driver has it. */
struct sent {
    struct raft_message message;
    struct raft_config config;
    struct entry entries[RAFT_APPEND_ENTRIES_MAX];
    struct raft_config configs[RAFT_APPEND_ENTRIES_MAX];
    struct buffer bytes[RAFT_APPEND_ENTRIES_MAX];
};

static uint64_t position(struct prng *prng)
{
    return prng_chance(prng, 1, 5) ? 0 : prng_next(prng) >> (16 + prng_below(prng, 48));
}

static uint64_t number(struct prng *prng)
{
    return prng_chance(prng, 1, 5) ? 0 : prng_next(prng) >> prng_below(prng, 64);
}

static struct raft_config random_config(struct prng *prng)
{
    struct raft_config config = { 0 };
    uint64_t node = 0;
    uint64_t count = 1 + prng_below(prng, RAFT_VOTERS_MAX);
    for (uint64_t i = 0; i < count; i++) {
        node += 1 + prng_below(prng, UINT64_C(1) << 59);
        CHECK(raft_config_add(&config, node, prng_next(prng), RAFT_VOTER));
    }
    return config;
}

static void random_entry(struct prng *prng, struct sent *sent, uint32_t at, uint64_t term)
{
    struct entry *entry = &sent->entries[at];
    *entry = (struct entry){
        .index = sent->message.index + 1 + at,
        .term = term,
        .time_ms = prng_next(prng),
        .kind = (enum entry_kind)prng_below(prng, ENTRY_META + 1),
        .group = (uint16_t)sent->message.group,
        .seed = (uint32_t)prng_next(prng),
    };
    if (prng_chance(prng, 1, 2)) {
        entry->flags = ENTRY_HAS_ORIGIN;
        entry->origin_node = prng_next(prng);
        entry->origin_seq = prng_next(prng);
    }
    struct buffer *bytes = &sent->bytes[at];
    size_t header = entry_header_size(entry);
    bytes->size = header;
    bytes->capacity = header + RAFT_CONFIG_BYTES_MAX + BODY_MAX;
    bytes->data = mem_realloc(bytes->data, bytes->capacity);
    entry_header_write(entry, bytes->data);
    if (entry->kind == ENTRY_CONFIG) {
        sent->configs[at] = random_config(prng);
        bytes->size += raft_config_encode(&sent->configs[at], bytes->data + header);
    } else {
        for (uint64_t i = prng_below(prng, BODY_MAX); i > 0; i--) {
            bytes->data[bytes->size++] = (char)prng_next(prng);
        }
    }
}

static void random_message(struct prng *prng, struct sent *sent)
{
    sent->message = (struct raft_message){
        .kind = (enum raft_message_kind)(1 + prng_below(prng, RAFT_MESSAGE_KINDS - 1)),
        .group = (uint32_t)prng_below(prng, UINT16_MAX + 1),
        .term = position(prng),
        .index = position(prng) >> 1,
        .log_term = position(prng),
        .commit = position(prng),
        .hint = position(prng),
        .sent_ms = number(prng),
        .read_seq = number(prng),
        .is_rejected = prng_chance(prng, 1, 2),
        .is_transfer = prng_chance(prng, 1, 2),
        .is_suspect = prng_chance(prng, 1, 2),
    };
    if (sent->message.kind == RAFT_MESSAGE_SNAPSHOT) {
        sent->config = random_config(prng);
        sent->message.config = &sent->config;
    }
    if (sent->message.kind != RAFT_MESSAGE_APPEND) {
        return;
    }
    uint64_t bound = prng_chance(prng, 1, 20) ? RAFT_APPEND_ENTRIES_MAX + 1 : 6;
    uint64_t term = sent->message.log_term;
    sent->message.entries_count = (uint32_t)prng_below(prng, bound);
    for (uint32_t i = 0; i < sent->message.entries_count; i++) {
        random_entry(prng, sent, i, term);
        sent->message.term = sent->message.term < term ? term : sent->message.term;
        term += prng_chance(prng, 1, 3) && term < (UINT64_C(1) << 48) - 1;
    }
}

static size_t sent_write(const struct sent *sent, char *to)
{
    size_t size = raft_wire_head_write(&sent->message, to);
    CHECK(size <= RAFT_WIRE_HEAD_BYTES_MAX);
    for (uint32_t i = 0; i < sent->message.entries_count; i++) {
        size_t entry = raft_wire_entry_write(buffer_slice(&sent->bytes[i]), to + size);
        CHECK_EQ(entry, RAFT_WIRE_ENTRY_HEAD_BYTES + sent->bytes[i].size);
        size += entry;
    }
    return size;
}

/* The encoding of a message that was read. */
static size_t read_write(const struct raft_wire_message *read, char *to)
{
    size_t size = raft_wire_head_write(&read->message, to);
    for (uint32_t i = 0; i < read->message.entries_count; i++) {
        const struct slice *bytes = read->message.entries[i].bytes;
        size += raft_wire_entry_write(*bytes, to + size);
    }
    return size;
}

static void check_entry(const struct sent *sent, const struct raft_wire_message *read, uint32_t at)
{
    const struct entry *a = &sent->entries[at];
    const struct raft_entry *b = &read->message.entries[at];
    const struct slice *bytes = b->bytes;
    CHECK_EQ(a->index, b->index);
    CHECK_EQ(a->term, b->term);
    CHECK_EQ(b->kind, (unsigned)a->kind);
    CHECK_EQ(b->size, sent->bytes[at].size);
    CHECK(slice_equal(*bytes, buffer_slice(&sent->bytes[at])));
    CHECK_EQ(b->config != NULL, a->kind == ENTRY_CONFIG);
    CHECK(b->config == NULL || raft_config_equal(b->config, &sent->configs[at]));
}

static void check_read(const struct sent *sent, const struct raft_wire_message *read)
{
    struct raft_message message = sent->message;
    message.cluster = 11;
    message.from = 22;
    message.from_incarnation = 33;
    message.to = 44;
    message.to_incarnation = 55;
    message.boot = 66;
    message.entries = message.kind == RAFT_MESSAGE_APPEND ? read->entries : NULL;
    message.config = message.config != NULL ? read->message.config : NULL;
    CHECK(memcmp(&message, &read->message, offsetof(struct raft_message, is_rejected)) == 0);
    CHECK_EQ(message.is_rejected, read->message.is_rejected);
    CHECK_EQ(message.is_transfer, read->message.is_transfer);
    CHECK_EQ(message.is_suspect, read->message.is_suspect);
    CHECK_EQ(message.entries_count, read->message.entries_count);
    CHECK(message.entries == read->message.entries);
    if (message.kind == RAFT_MESSAGE_SNAPSHOT) {
        CHECK(raft_config_equal(read->message.config, &sent->config));
    } else {
        CHECK(read->message.config == NULL);
    }
    for (uint32_t i = 0; i < message.entries_count; i++) {
        check_entry(sent, read, i);
    }
}

struct fixture {
    struct prng prng;
    struct sent sent;
    struct raft_wire_message read;
    char frame[FRAME_MAX];
    char again[FRAME_MAX];
};

static struct fixture *fixture_new(uint64_t seed)
{
    struct fixture *fixture = mem_zalloc(sizeof(*fixture));
    prng_init(&fixture->prng, seed);
    return fixture;
}

static void fixture_free(struct fixture *fixture)
{
    for (uint32_t i = 0; i < RAFT_APPEND_ENTRIES_MAX; i++) {
        buffer_free(&fixture->sent.bytes[i]);
    }
    mem_free(fixture);
}

/* What is accepted is written again as the same bytes. */
static bool reads(struct fixture *fixture, struct slice bytes)
{
    struct slice left = bytes;
    if (!raft_wire_read(&left, &ROUTE, &fixture->read)) {
        return false;
    }
    size_t size = read_write(&fixture->read, fixture->again);
    CHECK_EQ(size, bytes.size - left.size);
    CHECK(left.data == bytes.data + size);
    CHECK(memcmp(bytes.data, fixture->again, size) == 0);
    return true;
}

TEST(round_trips)
{
    struct fixture *fixture = fixture_new(1);
    uint32_t entries_max = 0;
    for (unsigned i = 0; i < 20000; i++) {
        random_message(&fixture->prng, &fixture->sent);
        size_t size = sent_write(&fixture->sent, fixture->frame);
        memset(&fixture->read, 0xee, sizeof(fixture->read)); /* whatever was there before */
        CHECK(reads(fixture, slice_make(fixture->frame, size)));
        check_read(&fixture->sent, &fixture->read);
        uint32_t count = fixture->sent.message.entries_count;
        entries_max = count > entries_max ? count : entries_max;
    }
    CHECK(entries_max > RAFT_APPEND_ENTRIES_MAX / 2);
    fixture_free(fixture);
}

TEST(a_row_of_messages)
{
    enum { ROW = 50 };
    struct fixture *fixture = fixture_new(2);
    struct sent *row = mem_zalloc(ROW * sizeof(*row));
    struct buffer bytes = { 0 };
    for (unsigned i = 0; i < ROW; i++) {
        random_message(&fixture->prng, &row[i]);
        bytes.size += sent_write(&row[i], buffer_reserve(&bytes, FRAME_MAX));
    }
    struct slice left = buffer_slice(&bytes);
    for (unsigned i = 0; i < ROW; i++) {
        CHECK(raft_wire_read(&left, &ROUTE, &fixture->read));
        check_read(&row[i], &fixture->read);
    }
    CHECK_EQ(left.size, 0);
    CHECK(!raft_wire_read(&left, &ROUTE, &fixture->read));
    for (unsigned i = 0; i < ROW; i++) {
        for (uint32_t e = 0; e < RAFT_APPEND_ENTRIES_MAX; e++) {
            buffer_free(&row[i].bytes[e]);
        }
    }
    buffer_free(&bytes);
    mem_free(row);
    fixture_free(fixture);
}

TEST(heartbeats_are_small)
{
    char bytes[RAFT_WIRE_HEAD_BYTES_MAX];
    struct raft_message message = {
        .kind = RAFT_MESSAGE_HEARTBEAT, .group = 255, .term = 100, .commit = 1000000
    };
    CHECK_EQ(raft_wire_head_write(&message, bytes), 5 + 1 + 3);
}

TEST(every_cut_is_refused)
{
    struct fixture *fixture = fixture_new(3);
    for (unsigned i = 0; i < 1000; i++) {
        random_message(&fixture->prng, &fixture->sent);
        size_t size = sent_write(&fixture->sent, fixture->frame);
        size = size < 2000 ? size : 2000;
        bool is_whole = size < 2000;
        for (size_t cut = 0; cut < size; cut++) {
            CHECK(!reads(fixture, slice_make(fixture->frame, cut)));
        }
        CHECK(!is_whole || reads(fixture, slice_make(fixture->frame, size)));
    }
    fixture_free(fixture);
}

TEST(changed_bytes_are_refused_or_another_message)
{
    struct fixture *fixture = fixture_new(4);
    for (unsigned i = 0; i < 5000; i++) {
        random_message(&fixture->prng, &fixture->sent);
        size_t size = sent_write(&fixture->sent, fixture->frame);
        for (unsigned k = 0; k < 20; k++) {
            fixture->frame[prng_below(&fixture->prng, size)] = (char)prng_next(&fixture->prng);
            (void)reads(fixture, slice_make(fixture->frame, size));
        }
    }
    fixture_free(fixture);
}

/* ── one field wrong ─────────────────────────────────────────────────────────────────────────── */

/* Is an APPEND with these entries accepted, of group 3 in term 5, behind index 7 of term 4? */
static bool takes(struct fixture *fixture, struct entry first, struct entry second)
{
    struct raft_message message = { .kind = RAFT_MESSAGE_APPEND,
                                    .group = 3,
                                    .term = 5,
                                    .index = 7,
                                    .log_term = 4,
                                    .entries_count = 2 };
    char bytes[ENTRY_HEADER_BYTES];
    size_t size = raft_wire_head_write(&message, fixture->frame);
    entry_header_write(&first, bytes);
    size += raft_wire_entry_write(slice_make(bytes, sizeof(bytes)), fixture->frame + size);
    entry_header_write(&second, bytes);
    size += raft_wire_entry_write(slice_make(bytes, sizeof(bytes)), fixture->frame + size);
    return reads(fixture, slice_make(fixture->frame, size));
}

static struct entry make(uint64_t index, uint64_t term)
{
    return (struct entry){ .index = index, .term = term, .group = 3 };
}

TEST(entries_agree_with_their_message)
{
    struct fixture *fixture = fixture_new(5);
    CHECK(takes(fixture, make(8, 4), make(9, 4)));
    CHECK(takes(fixture, make(8, 4), make(9, 5)));
    CHECK(takes(fixture, make(8, 5), make(9, 5)));
    CHECK(!takes(fixture, make(8, 3), make(9, 5))); /* older than what lies before */
    CHECK(!takes(fixture, make(8, 5), make(9, 4)));
    CHECK(!takes(fixture, make(8, 4), make(9, 6))); /* newer than the leader */
    CHECK(!takes(fixture, make(7, 4), make(8, 5)));
    CHECK(!takes(fixture, make(9, 4), make(10, 5)));
    CHECK(!takes(fixture, make(8, 4), make(8, 5)));
    CHECK(!takes(fixture, make(8, 4), make(10, 5)));
    struct entry other = make(9, 5);
    other.group = 2;
    CHECK(!takes(fixture, make(8, 4), other));
    struct entry config = make(9, 5); /* without a body */
    config.kind = ENTRY_CONFIG;
    CHECK(!takes(fixture, make(8, 4), config));
    fixture_free(fixture);
}

static bool head_takes(struct fixture *fixture, unsigned kind, unsigned flags, const char *fields,
                       size_t size)
{
    fixture->frame[0] = (char)kind;
    store_u16(fixture->frame + 1, (uint16_t)flags);
    store_u16(fixture->frame + 3, 3);
    memcpy(fixture->frame + 5, fields, size);
    return reads(fixture, slice_make(fixture->frame, 5 + size));
}

TEST(heads_have_one_form)
{
    enum { VOTE = RAFT_MESSAGE_VOTE, TERM = 1 << 0, SENT_MS = 1 << 5 };
    struct fixture *fixture = fixture_new(6);
    CHECK(head_takes(fixture, VOTE, TERM, "\5", 1));
    CHECK(!head_takes(fixture, 0, TERM, "\5", 1));
    CHECK(!head_takes(fixture, RAFT_MESSAGE_KINDS, TERM, "\5", 1));
    CHECK(!head_takes(fixture, 255, TERM, "\5", 1));
    CHECK(!head_takes(fixture, VOTE, TERM | 1 << 10, "\5", 1));
    CHECK(!head_takes(fixture, VOTE, TERM | 1 << 15, "\5", 1));
    CHECK(!head_takes(fixture, VOTE, TERM, "\0", 1));     /* 0 is not written */
    CHECK(!head_takes(fixture, VOTE, TERM, "\205\0", 2)); /* a superfluous byte */
    char number[VARINT_BYTES_MAX];
    size_t size = (size_t)(varint_write(number, (UINT64_C(1) << 48) - 1) - number);
    CHECK(head_takes(fixture, VOTE, TERM, number, size));
    size = (size_t)(varint_write(number, UINT64_C(1) << 48) - number);
    for (unsigned bit = 0; bit < 5; bit++) {
        CHECK(!head_takes(fixture, VOTE, 1u << bit, number, size));
    }
    size = (size_t)(varint_write(number, UINT64_MAX) - number);
    CHECK(head_takes(fixture, VOTE, SENT_MS, number, size));
    CHECK(!head_takes(fixture, RAFT_MESSAGE_APPEND, TERM, "\5\1\1", 3)); /* 257 entries */
    CHECK(!head_takes(fixture, RAFT_MESSAGE_SNAPSHOT, TERM, "\5\0\0", 3));
    CHECK(!head_takes(fixture, RAFT_MESSAGE_SNAPSHOT, TERM, "\5\2\0\1\0", 5)); /* no voter */
    fixture_free(fixture);
}

TEST_MAIN
