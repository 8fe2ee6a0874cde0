/*
 * protocol_peer_test.c — HELLO lines and frames: round trips, every cut, every flipped bit.
 */
#include "network/protocol_peer.h"

#include "base/buffer.h"
#include "base/crc32c.h"
#include "base/endian.h"
#include "base/mem.h"
#include "base/prng.h"
#include "test.h"

/* ── HELLO ───────────────────────────────────────────────────────────────────────────────────── */

static struct peer_hello hello_example(void)
{
    return (struct peer_hello){ .node = "n1",
                                .number = 0xfedcba9876543210,
                                .incarnation = 77,
                                .boot = 3,
                                .epoch = 9,
                                .cluster = "00112233445566778899aabbccddeeff",
                                .channel = PEER_CLIENT,
                                .host = "10.0.0.1",
                                .cluster_port = 17001,
                                .port = 7001,
                                .slot_port = 9001,
                                .version = "0.2",
                                .zone = "west" };
}

static bool hello_equal(const struct peer_hello *a, const struct peer_hello *b)
{
    return strcmp(a->node, b->node) == 0 && a->number == b->number &&
           a->incarnation == b->incarnation && a->boot == b->boot &&
           strcmp(a->cluster, b->cluster) == 0 && a->channel == b->channel &&
           strcmp(a->host, b->host) == 0 && a->cluster_port == b->cluster_port &&
           a->port == b->port && a->slot_port == b->slot_port && a->epoch == b->epoch &&
           strcmp(a->version, b->version) == 0 && strcmp(a->zone, b->zone) == 0;
}

static enum peer_hello_result decode(struct slice line, struct peer_hello *out)
{
    char error[200] = "";
    enum peer_hello_result result = peer_hello_decode(line, out, error, sizeof(error));
    CHECK((result == PEER_HELLO_OK) == (error[0] == '\0'));
    return result;
}

static enum peer_hello_result decode_text(const char *text)
{
    struct peer_hello hello;
    return decode(slice_from(text), &hello);
}

static bool round_trips(const struct peer_hello *hello)
{
    char line[PEER_HELLO_BYTES_MAX];
    struct peer_hello again;
    size_t size = peer_hello_encode(hello, line);
    CHECK(size <= sizeof(line));
    CHECK(memchr(line, '\n', size) == line + size - 1);
    return decode(slice_make(line, size), &again) == PEER_HELLO_OK && hello_equal(hello, &again);
}

TEST(hello_line_is_as_documented)
{
    struct peer_hello hello = hello_example();
    char line[PEER_HELLO_BYTES_MAX];
    size_t size = peer_hello_encode(&hello, line);
    static const char expected[] =
        "{\"type\":\"HELLO\",\"protocol\":1,\"channel\":\"client\",\"node\":\"n1\","
        "\"cluster\":\"00112233445566778899aabbccddeeff\",\"host\":\"10.0.0.1\",\"version\":"
        "\"0.2\",\"zone\":\"west\",\"number\":\"18364758544493064720\",\"incarnation\":77,"
        "\"boot\":3,\"epoch\":9,\"cluster_port\":17001,\"port\":7001,\"slot_port\":9001,"
        "\"features\":[]";
    CHECK(size > sizeof(expected));
    CHECK(memcmp(line, expected, sizeof(expected) - 1) == 0);
    CHECK(memcmp(line + sizeof(expected) - 1, ",\"crc\":\"", 8) == 0);
    CHECK(round_trips(&hello));
    CHECK_EQ(peer_hello_cluster(&hello), 0x7766554433221100);
}

TEST(hello_fields_at_their_bounds)
{
    struct peer_hello hello = hello_example();
    memset(hello.node, '"', sizeof(hello.node) - 1);
    memset(hello.host, '\\', sizeof(hello.host) - 1);
    memset(hello.version, 1, sizeof(hello.version) - 1); /* six bytes each when escaped */
    memset(hello.zone, 1, sizeof(hello.zone) - 1);
    hello.number = hello.incarnation = hello.boot = UINT64_MAX;
    hello.cluster_port = hello.port = hello.slot_port = UINT16_MAX;
    CHECK(round_trips(&hello));
    hello.cluster[0] = '\0';
    CHECK(round_trips(&hello));
    CHECK_EQ(peer_hello_cluster(&hello), 0);
    for (unsigned bit = 0; bit < 64; bit++) {
        hello.number = (uint64_t)1 << bit;
        hello.incarnation = hello.number - 1;
        hello.boot = hello.number + 1;
        CHECK(round_trips(&hello));
    }
    for (uint8_t channel = 0; channel < PEER_CHANNELS; channel++) {
        hello.channel = channel;
        CHECK(round_trips(&hello));
    }
    (void)snprintf(hello.zone, sizeof(hello.zone), "\xff\xfe"); /* no UTF-8 */
    char line[PEER_HELLO_BYTES_MAX];
    CHECK_EQ(decode(slice_make(line, peer_hello_encode(&hello, line)), &hello), PEER_HELLO_OK);
    CHECK(strcmp(hello.zone, "?") == 0);
}

#define BEGIN "{\"type\":\"HELLO\",\"protocol\":1,\"channel\":\"raft\",\"node\":\"a\","
#define NUMBERS "\"number\":1,\"incarnation\":2,\"boot\":3"

TEST(hello_accepts_and_refuses)
{
    static const struct {
        const char *line;
        enum peer_hello_result result;
    } table[] = {
        { BEGIN NUMBERS "}", PEER_HELLO_OK },
        { BEGIN NUMBERS "}\r\n", PEER_HELLO_OK },
        { BEGIN NUMBERS ",\"shoe_size\":[{\"a\":44}],\"features\":[\"x\"]}", PEER_HELLO_OK },
        { BEGIN "\"number\":\"18446744073709551615\",\"incarnation\":\"2\",\"boot\":3}",
          PEER_HELLO_OK },
        { BEGIN NUMBERS ",\"crc\":\"00000000\"}", PEER_HELLO_MALFORMED },
        { BEGIN "\"crc\":\"00000000\"," NUMBERS "}", PEER_HELLO_MALFORMED },
        { BEGIN "\"number\":0,\"incarnation\":2,\"boot\":3}", PEER_HELLO_MALFORMED },
        { BEGIN "\"number\":-1,\"incarnation\":2,\"boot\":3}", PEER_HELLO_MALFORMED },
        { BEGIN "\"number\":1.5,\"incarnation\":2,\"boot\":3}", PEER_HELLO_MALFORMED },
        { BEGIN "\"number\":\"1x\",\"incarnation\":2,\"boot\":3}", PEER_HELLO_MALFORMED },
        { BEGIN "\"number\":\"18446744073709551616\",\"incarnation\":2,\"boot\":3}",
          PEER_HELLO_MALFORMED },
        { BEGIN "\"number\":99999999999999999999,\"incarnation\":2,\"boot\":3}",
          PEER_HELLO_MALFORMED },
        { BEGIN "\"number\":1,\"incarnation\":2}", PEER_HELLO_MALFORMED },
        { BEGIN "\"node\":\"b\"," NUMBERS "}", PEER_HELLO_MALFORMED },
        { BEGIN "\"port\":65536," NUMBERS "}", PEER_HELLO_MALFORMED },
        { BEGIN "\"port\":\"1\"," NUMBERS "}", PEER_HELLO_MALFORMED },
        { BEGIN "\"cluster\":\"00\"," NUMBERS "}", PEER_HELLO_MALFORMED },
        { BEGIN "\"cluster\":\"00112233445566778899AABBCCDDEEFF\"," NUMBERS "}",
          PEER_HELLO_MALFORMED },
        { BEGIN "\"cluster\":\"00112233445566778899aabbccddeeffa\"," NUMBERS "}",
          PEER_HELLO_MALFORMED },
        { BEGIN "\"zone\":\"a\\u0000b\"," NUMBERS "}", PEER_HELLO_MALFORMED },
        { BEGIN "\"zone\":\"\xff\"," NUMBERS "}", PEER_HELLO_MALFORMED },
        { BEGIN "\"version\":\"0123456789012345678901234567890\"," NUMBERS "}", PEER_HELLO_OK },
        { BEGIN "\"version\":\"01234567890123456789012345678901\"," NUMBERS "}",
          PEER_HELLO_MALFORMED },
        { "{\"type\":\"HELLO\",\"protocol\":2}", PEER_HELLO_PROTOCOL },
        { "{\"type\":\"HELLO\"}", PEER_HELLO_PROTOCOL },
        { "{\"type\":\"HELLO\",\"protocol\":1,\"channel\":\"x\",\"node\":\"a\"," NUMBERS "}",
          PEER_HELLO_MALFORMED },
        { "{\"type\":\"CLIENT\",\"command\":\"PING\"}", PEER_HELLO_MALFORMED },
        { "{\"success\":false,\"error\":\"no\",\"code\":\"BUSY\"}", PEER_HELLO_REFUSAL },
        { "{\"success\":false}", PEER_HELLO_REFUSAL },
        { "*1", PEER_HELLO_MALFORMED },
        { "[]", PEER_HELLO_MALFORMED },
        { "3", PEER_HELLO_MALFORMED },
        { "", PEER_HELLO_MALFORMED },
        { "\n", PEER_HELLO_MALFORMED },
    };
    for (size_t i = 0; i < ARRAY_COUNT(table); i++) {
        enum peer_hello_result result = decode_text(table[i].line);
        CHECK_EQ(result, table[i].result);
        if (result != table[i].result) {
            printf("  %s\n", table[i].line);
        }
    }
}

TEST(hello_too_long_or_too_deep)
{
    char line[PEER_HELLO_BYTES_MAX + 1];
    size_t size = (size_t)snprintf(line, sizeof(line), "%s%s,\"x\":\"", BEGIN, NUMBERS);
    memset(line + size, 'x', sizeof(line) - size);
    struct peer_hello hello;
    memcpy(line + PEER_HELLO_BYTES_MAX - 3, "\"}", 2);
    CHECK_EQ(decode(slice_make(line, PEER_HELLO_BYTES_MAX - 1), &hello), PEER_HELLO_OK);
    memcpy(line + PEER_HELLO_BYTES_MAX - 3, "xx\"}", 4);
    CHECK_EQ(decode(slice_make(line, PEER_HELLO_BYTES_MAX + 1), &hello), PEER_HELLO_MALFORMED);
    memset(line, '[', sizeof(line));
    CHECK_EQ(decode(slice_make(line, 4000), &hello), PEER_HELLO_MALFORMED);
}

TEST(hello_every_cut_is_an_error)
{
    struct peer_hello hello = hello_example();
    char line[PEER_HELLO_BYTES_MAX];
    size_t size = peer_hello_encode(&hello, line) - 1;
    for (size_t cut = 0; cut < size; cut++) {
        char *copy = mem_alloc(cut + 1); /* exact: the sanitizer sees a read behind it */
        memcpy(copy + 1, line, cut);
        CHECK_EQ(decode(slice_make(copy + 1, cut), &hello), PEER_HELLO_MALFORMED);
        mem_free(copy);
    }
}

TEST(hello_no_flipped_bit_is_believed)
{
    struct peer_hello hello = hello_example();
    char line[PEER_HELLO_BYTES_MAX];
    size_t size = peer_hello_encode(&hello, line);
    unsigned believed = 0;
    for (size_t bit = 0; bit < size * 8; bit++) {
        struct peer_hello again;
        line[bit / 8] = (char)(line[bit / 8] ^ 1 << bit % 8);
        if (decode(slice_make(line, size), &again) == PEER_HELLO_OK) {
            CHECK(hello_equal(&hello, &again)); /* a flip in the name of the crc itself */
            believed++;
        }
        line[bit / 8] = (char)(line[bit / 8] ^ 1 << bit % 8);
    }
    CHECK(believed < 32);
}

TEST(refusal_round_trip)
{
    char line[PEER_HELLO_BYTES_MAX];
    char error[200];
    struct peer_hello hello;
    size_t size = peer_refusal_encode("BUSY", "say \"please\"\n\x1b[31m", line);
    CHECK_EQ(peer_hello_decode(slice_make(line, size), &hello, error, sizeof(error)),
             PEER_HELLO_REFUSAL);
    CHECK(strcmp(error, "BUSY: say \"please\"??[31m") == 0);
    char long_text[5000];
    memset(long_text, 'x', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = '\0';
    size = peer_refusal_encode("BUSY", long_text, line);
    CHECK(size < PEER_HELLO_BYTES_MAX);
    CHECK_EQ(decode(slice_make(line, size), &hello), PEER_HELLO_REFUSAL);
}

/* ── frames ──────────────────────────────────────────────────────────────────────────────────── */

static const struct peer_route route_example = { 0x1111, 0x2222, 0x3333 };

/* A frame with a random body, in memory of exactly its size. */
static struct slice frame_make(struct prng *prng, size_t body_size, uint8_t kind, uint8_t flags)
{
    char *frame = mem_alloc(PEER_FRAME_HEADER_BYTES + body_size);
    for (size_t i = 0; i < body_size; i++) {
        frame[PEER_FRAME_HEADER_BYTES + i] = (char)prng_next(prng);
    }
    peer_frame_seal(frame, &route_example, kind, flags, body_size);
    return slice_make(frame, PEER_FRAME_HEADER_BYTES + body_size);
}

static void frame_free(struct slice frame)
{
    mem_free((void *)(uintptr_t)frame.data);
}

static enum peer_frame_result open_as(struct slice input, const struct peer_route *route)
{
    struct peer_frame frame;
    size_t bytes = 0;
    return peer_frame_open(input, route, PEER_FRAME_BYTES_MAX, &frame, &bytes);
}

TEST(frame_layout_is_as_documented)
{
    char frame[PEER_FRAME_HEADER_BYTES + 3];
    memcpy(frame + PEER_FRAME_HEADER_BYTES, "abc", 3);
    peer_frame_seal(frame, &route_example, 9, 4, 3);
    CHECK(memcmp(frame, "MPF1", 4) == 0);
    CHECK_EQ(load_u32(frame + 4), crc32c(crc32c(0, frame, 4), frame + 8, 40));
    CHECK_EQ(load_u32(frame + 8), crc32c(0, "abc", 3));
    CHECK_EQ(load_u32(frame + 12), 3);
    CHECK_EQ(frame[16], 9);
    CHECK_EQ(frame[17], 4);
    CHECK(memcmp(frame + 18, "\0\0\0\0\0\0", 6) == 0);
    CHECK_EQ(load_u64(frame + 24), 0x1111);
    CHECK_EQ(load_u64(frame + 32), 0x2222);
    CHECK_EQ(load_u64(frame + 40), 0x3333);
}

TEST(frame_round_trips)
{
    struct prng prng;
    prng_init(&prng, 1);
    for (unsigned round = 0; round < 2000; round++) {
        size_t size = prng_below(&prng, (uint64_t)1 << prng_below(&prng, 15));
        struct slice bytes = frame_make(&prng, size, (uint8_t)round, (uint8_t)(round >> 8));
        struct peer_frame frame;
        size_t used = 0;
        CHECK_EQ(peer_frame_open(bytes, &route_example, size, &frame, &used), PEER_FRAME_OK);
        CHECK_EQ(used, bytes.size);
        CHECK_EQ(frame.kind, (uint8_t)round);
        CHECK_EQ(frame.flags, (uint8_t)(round >> 8));
        CHECK(frame.body.data == bytes.data + PEER_FRAME_HEADER_BYTES);
        CHECK_EQ(frame.body.size, size);
        frame_free(bytes);
    }
}

TEST(frame_every_cut_asks_for_more)
{
    struct prng prng;
    prng_init(&prng, 2);
    struct slice bytes = frame_make(&prng, 300, 1, 0);
    for (size_t cut = 0; cut < bytes.size; cut++) {
        char *copy = mem_alloc(cut + 1);
        memcpy(copy + 1, bytes.data, cut);
        struct peer_frame frame;
        size_t needed = 0;
        CHECK_EQ(peer_frame_open(slice_make(copy + 1, cut), &route_example, 300, &frame, &needed),
                 PEER_FRAME_MORE);
        CHECK_EQ(needed, cut < PEER_FRAME_HEADER_BYTES ? PEER_FRAME_HEADER_BYTES : bytes.size);
        mem_free(copy);
    }
    frame_free(bytes);
}

TEST(frame_every_flipped_bit_is_found)
{
    struct prng prng;
    prng_init(&prng, 3);
    struct slice bytes = frame_make(&prng, 100, 1, 0);
    char *at = (char *)(uintptr_t)bytes.data;
    for (size_t bit = 0; bit < bytes.size * 8; bit++) {
        at[bit / 8] = (char)(at[bit / 8] ^ 1 << bit % 8);
        bool in_header = bit / 8 < PEER_FRAME_HEADER_BYTES;
        CHECK_EQ(open_as(bytes, &route_example), in_header ? PEER_FRAME_HEADER : PEER_FRAME_BODY);
        /* A damaged header is found before anything in it is believed. */
        struct slice header = slice_make(bytes.data, PEER_FRAME_HEADER_BYTES);
        CHECK_EQ(open_as(header, &route_example), in_header ? PEER_FRAME_HEADER : PEER_FRAME_MORE);
        at[bit / 8] = (char)(at[bit / 8] ^ 1 << bit % 8);
    }
    CHECK_EQ(open_as(bytes, &route_example), PEER_FRAME_OK);
    frame_free(bytes);
}

TEST(frame_route_and_bounds)
{
    struct prng prng;
    prng_init(&prng, 4);
    struct slice bytes = frame_make(&prng, 100, 1, 0);
    struct slice header = slice_make(bytes.data, PEER_FRAME_HEADER_BYTES); /* needs no body */
    struct peer_route route = route_example;
    route.cluster += 1;
    CHECK_EQ(open_as(header, &route), PEER_FRAME_CLUSTER);
    route = route_example;
    route.sender += 1;
    CHECK_EQ(open_as(header, &route), PEER_FRAME_SENDER);
    route = route_example;
    route.target += 1;
    CHECK_EQ(open_as(header, &route), PEER_FRAME_TARGET);
    struct peer_frame frame;
    size_t needed = 0;
    CHECK_EQ(peer_frame_open(header, &route_example, 99, &frame, &needed), PEER_FRAME_SIZE);
    CHECK_EQ(peer_frame_open(header, &route_example, 100, &frame, &needed), PEER_FRAME_MORE);
    /* Zeros that are none, and a size beyond all bounds, with good checksums. */
    char *at = (char *)(uintptr_t)bytes.data;
    for (size_t i = 18; i < 24; i++) {
        at[i] = 1;
        store_u32(at + 4, crc32c(crc32c(0, at, 4), at + 8, 40));
        CHECK_EQ(open_as(header, &route_example), PEER_FRAME_HEADER);
        at[i] = 0;
    }
    store_u32(at + 12, UINT32_MAX);
    store_u32(at + 4, crc32c(crc32c(0, at, 4), at + 8, 40));
    CHECK_EQ(open_as(header, &route_example), PEER_FRAME_SIZE);
    frame_free(bytes);
}

TEST_MAIN
