/*
 * protocol_resp_test.c — requests whole, byte by byte and cut at random must read the same; hostile
 * ones are refused at once and cost no memory.
 */
#include "network/protocol_resp.h"

#include "base/buffer.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/prng.h"
#include "test.h"

static const struct parse_limits open_limits = { REQUEST_ARGS_MAX, REQUEST_BYTES_MAX };
static const struct parse_limits noauth_limits = { REQUEST_NOAUTH_ARGS_MAX,
                                                   REQUEST_NOAUTH_BYTES_MAX };

/* How input is handed to the parser: pieces of 1 byte, of everything, or of random sizes. */
enum cut { CUT_WHOLE, CUT_BYTES, CUT_RANDOM, CUTS };

static void describe(struct buffer *out, const struct request *request)
{
    buffer_printf(out, "(");
    for (uint32_t i = 0; i < request->argc; i++) {
        buffer_printf(out, "%zu:", request->argv[i].size);
        buffer_append_slice(out, request->argv[i]);
    }
    buffer_printf(out, ")%zu", request->wire_bytes);
}

/* Feeds `input` in pieces and writes down what comes out.  The bytes that have arrived are copied
 * to fresh memory of exactly their size for every call, so that reading behind them or keeping
 * pointers into them is found. */
static void transcript(struct slice input, const struct parse_limits *limits, enum cut cut,
                       struct prng *prng, struct buffer *out)
{
    struct resp_parser parser;
    struct arena arena = { 0 };
    resp_parser_init(&parser);
    size_t begin = 0;
    size_t end = 0;
    bool wants_more = true;
    for (;;) {
        if (wants_more && end == input.size) {
            buffer_printf(out, "more");
            break;
        }
        if (wants_more) {
            size_t left = input.size - end;
            end += cut == CUT_WHOLE ? left : cut == CUT_BYTES ? 1 : 1 + prng_below(prng, left);
        }
        char *copy = malloc(end - begin + (end == begin));
        memcpy(copy, input.data + begin, end - begin);
        struct request request = { 0 };
        size_t consumed = 0;
        enum parse_result result =
            resp_parse(&parser, slice_make(copy, end - begin), limits, &arena, &request, &consumed);
        wants_more = result == PARSE_MORE;
        if (result == PARSE_REQUEST) {
            describe(out, &request);
        } else if (result == PARSE_SKIP) {
            buffer_printf(out, "skip%zu", consumed);
        } else if (result == PARSE_FATAL) {
            buffer_printf(out, "%s", parser.error);
        }
        CHECK(result != PARSE_ERROR);
        CHECK(consumed <= end - begin);
        begin += wants_more ? 0 : consumed;
        free(copy);
        arena_reset(&arena);
        if (result == PARSE_FATAL) {
            break;
        }
    }
    resp_parser_deinit(&parser);
    arena_free(&arena);
}

static void expect(struct slice input, const struct parse_limits *limits, struct slice expected)
{
    struct prng prng;
    prng_init(&prng, input.size);
    for (unsigned i = 0; i < CUTS + 3; i++) {
        struct buffer got = { 0 };
        transcript(input, limits, i < CUTS ? (enum cut)i : CUT_RANDOM, &prng, &got);
        if (!slice_equal(buffer_slice(&got), expected)) {
            printf("input %.*s\n  got %.*s\n  not %.*s\n", (int)input.size, input.data,
                   (int)got.size, got.data, (int)expected.size, expected.data);
        }
        CHECK(slice_equal(buffer_slice(&got), expected));
        buffer_free(&got);
    }
}

#define BAD(text) "Protocol error: " text

TEST(request_table)
{
    static const struct {
        const char *input, *output;
    } rows[] = {
        { "*1\r\n$4\r\nPING\r\n", "(4:PING)14more" },
        { "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\nvv\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
          "(3:SET1:k2:vv)28(3:GET1:k)20more" },
        { "*2\r\n$3\r\nGET\r\n$0\r\n\r\n", "(3:GET0:)19more" },
        { "*1\r\n$2\r\n\r\n\r\n", "(2:\r\n)12more" },
        { "*0\r\n*-1\r\n*-9\r\nPING\r\n", "skip4skip5skip5(4:PING)6more" },
        { "*1\r\n$12\r\nabcdefghijkl\r\n", "(12:abcdefghijkl)23more" },
        /* inline */
        { "PING\r\n", "(4:PING)6more" },
        { "PING\n", "(4:PING)5more" },
        { "\r\n\n  \r\nPING\n", "skip2skip1skip4(4:PING)5more" },
        { "  SET  k\tv  \r\n", "(3:SET1:k1:v)14more" },
        { "SET k \"a b\"\n", "(3:SET1:k3:a b)12more" },
        { "SET k 'a\\'b\\n'\n", "(3:SET1:k5:a'b\\n)15more" },
        { "SET \"\" ''\n", "(3:SET0:0:)10more" },
        { "ECHO \"\\x41\\n\\r\\t\\b\\a\\\"\\\\\\q\\xZZ\"\n",
          "(4:ECHO12:A\n\r\t\b\a\"\\qxZZ)32more" },
        { "a\"b c\" d\n", "(4:ab c1:d)9more" },
        { "SET k v\r", "more" },
        { "$5\r\n", "(2:$5)4more" },
        /* malformed */
        { "SET \"a\n", BAD("unbalanced quotes in request") },
        { "SET 'a\n", BAD("unbalanced quotes in request") },
        { "SET \"a\"b\n", BAD("unbalanced quotes in request") },
        { "SET \"a\\\"\n", BAD("unbalanced quotes in request") },
        { "*1000000000\r\n", BAD("invalid multibulk length") },
        { "*1048577\r\n", BAD("invalid multibulk length") },
        { "*18446744073709551615\r\n", BAD("invalid multibulk length") },
        { "*99999999999999999999999999", BAD("invalid multibulk length") },
        { "*x\r\n", BAD("invalid multibulk length") },
        { "*\r\n", BAD("invalid multibulk length") },
        { "*01\r\n", BAD("invalid multibulk length") },
        { "*-0\r\n", BAD("invalid multibulk length") },
        { "*1\rx", BAD("invalid multibulk length") },
        { "*1\n", BAD("invalid multibulk length") },
        { "* 1\r\n", BAD("invalid multibulk length") },
        { "*1\r\n$-5\r\n", BAD("invalid bulk length") },
        { "*1\r\n$-1\r\n", BAD("invalid bulk length") },
        { "*1\r\n$18446744073709551615\r\n", BAD("invalid bulk length") },
        { "*1\r\n$9223372036854775807\r\n", BAD("invalid bulk length") },
        { "*1\r\n$536870913\r\n", BAD("invalid bulk length") },
        { "*1\r\n$8388608\r\n", BAD("invalid bulk length") },
        { "*1\r\n$03\r\n", BAD("invalid bulk length") },
        { "*1\r\n$x\r\n", BAD("invalid bulk length") },
        { "*1\r\n$05\r\nabcde\r\n", BAD("invalid bulk length") },
        { "*1\r\n$:\r\n0123456789\r\n", BAD("invalid bulk length") },
        { "*1\r\n$1:\r\n01234567890123456789\r\n", BAD("invalid bulk length") },
        { "*1\r\n$5\r\nabcde\rx", BAD("expected CRLF behind a bulk") },
        { "*1\r\n$5\r\nabcdex\n", BAD("expected CRLF behind a bulk") },
        { "*1\r\n$\r\n", BAD("invalid bulk length") },
        { "*1\r\nPING\r\n", BAD("expected '$', got 'P'") },
        { "*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n", BAD("expected '$', got 'f'") },
        { "*1\r\n\n", BAD("expected '$', got '\\x0a'") },
        { "*1\r\n$3\r\nabcdef\r\n", BAD("expected CRLF behind a bulk") },
        { "POST / HTTP/1.1\r\n", BAD("possible HTTP request") },
        { "Host: localhost\r\n", BAD("possible HTTP request") },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        expect(slice_from(rows[i].input), &open_limits, slice_from(rows[i].output));
    }
    static const char nul_bulk[] = "*2\r\n$3\r\n\0\1\2\r\n$1\r\n\0\r\n";
    static const char nul_bulk_out[] = "(3:\0\1\0021:\0)20more";
    expect(slice_make(nul_bulk, sizeof(nul_bulk) - 1), &open_limits,
           slice_make(nul_bulk_out, sizeof(nul_bulk_out) - 1));
    static const char nul_inline[] = "GE\0T k\n";
    static const char nul_inline_out[] = "(4:GE\0T1:k)7more";
    expect(slice_make(nul_inline, sizeof(nul_inline) - 1), &open_limits,
           slice_make(nul_inline_out, sizeof(nul_inline_out) - 1));
    expect(slice_make("*\0", 2), &open_limits, slice_from(BAD("invalid multibulk length")));
    expect(slice_make("*1\r\n\0", 5), &open_limits, slice_from(BAD("expected '$', got '\\x00'")));
}

TEST(before_auth)
{
    static const struct {
        const char *input, *output;
    } rows[] = {
        { "*11\r\n", BAD("unauthenticated multibulk length") },
        { "*1048576\r\n", BAD("unauthenticated multibulk length") },
        { "*2000000\r\n", BAD("invalid multibulk length") },
        { "*10\r\n$16384\r\n", BAD("unauthenticated bulk length") },
        { "*10\r\n$536870912\r\n", BAD("invalid bulk length") },
        { "*2\r\n$4\r\nAUTH\r\n$1\r\nx\r\n", "(4:AUTH1:x)21more" },
        { "1 2 3 4 5 6 7 8 9 10 11\n", BAD("unauthenticated multibulk length") },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        expect(slice_from(rows[i].input), &noauth_limits, slice_from(rows[i].output));
    }
    /* The limit falls at every place of a request, and may be met exactly. */
    static const char text[] = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$12\r\n012345678901\r\n";
    for (uint32_t bytes_max = 16; bytes_max < sizeof(text) + 3; bytes_max++) {
        struct parse_limits limits = { 3, bytes_max };
        expect(slice_make(text, sizeof(text) - 1), &limits,
               slice_from(bytes_max < sizeof(text) - 1 ? BAD("unauthenticated bulk length")
                                                       : "(3:SET1:k12:012345678901)39more"));
    }
    /* Many small arguments: the sum counts. */
    struct buffer input = { 0 };
    buffer_append_text(&input, "*9\r\n");
    for (unsigned i = 0; i < 9; i++) {
        buffer_append_text(&input, "$2000\r\n");
        memset(buffer_reserve(&input, 2000), 'x', 2000);
        input.size += 2000;
        buffer_append_text(&input, "\r\n");
    }
    expect(buffer_slice(&input), &noauth_limits, slice_from(BAD("unauthenticated bulk length")));
    buffer_free(&input);
}

TEST(inline_limit)
{
    struct buffer input = { 0 };
    size_t sizes[] = { INLINE_BYTES_MAX - 1, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 1 << 20 };
    for (size_t i = 0; i < 4; i++) {
        for (unsigned ended = 0; ended < 2; ended++) {
            input.size = 0;
            memset(buffer_reserve(&input, sizes[i]), 'a', sizes[i]);
            input.size = sizes[i];
            buffer_append_text(&input, ended ? "\n" : "");
            struct buffer got = { 0 };
            transcript(buffer_slice(&input), &open_limits, CUT_WHOLE, NULL, &got);
            bool is_refused = got.data[0] == 'P';
            CHECK_EQ(is_refused, sizes[i] > INLINE_BYTES_MAX);
            buffer_free(&got);
        }
    }
    buffer_free(&input);
}

TEST(largest_requests)
{
    /* A bulk that just fits, and many arguments over many calls. */
    struct buffer input = { 0 };
    buffer_append_text(&input, "*1\r\n$8388592\r\n");
    size_t size = REQUEST_BYTES_MAX - input.size - 2;
    CHECK_EQ(size, 8388592);
    memset(buffer_reserve(&input, size), 'v', size);
    input.size += size;
    buffer_append_text(&input, "\r\n");
    struct buffer got = { 0 };
    transcript(buffer_slice(&input), &open_limits, CUT_WHOLE, NULL, &got);
    CHECK(got.data[0] == '(');
    CHECK(got.size > size);
    buffer_free(&got);

    input.size = 0;
    enum { ARGS = 200000 };
    buffer_printf(&input, "*%u\r\n", ARGS);
    for (unsigned i = 0; i < ARGS; i++) {
        buffer_append_text(&input, "$1\r\nx\r\n");
    }
    struct resp_parser parser;
    struct arena arena = { 0 };
    resp_parser_init(&parser);
    struct request request = { 0 };
    size_t consumed = 0;
    enum parse_result result = PARSE_MORE;
    for (size_t end = 1; result == PARSE_MORE; end += 1000) {
        end = end < input.size ? end : input.size;
        result = resp_parse(&parser, slice_make(input.data, end), &open_limits, &arena, &request,
                            &consumed);
        CHECK(result != PARSE_FATAL);
    }
    CHECK(result == PARSE_REQUEST && request.argc == ARGS && consumed == input.size);
    CHECK(slice_equal(request.argv[ARGS - 1], slice_from("x")));
    CHECK(parser.argv == NULL);
    arena_free(&arena);
    resp_parser_deinit(&parser);
    buffer_free(&input);
}

TEST(announced_lengths_cost_nothing)
{
    struct resp_parser parser;
    struct arena arena = { 0 };
    struct request request;
    size_t consumed = 0;
    resp_parser_init(&parser);
    CHECK(resp_parse(&parser, slice_from("*1048576\r\n$8000000\r\nabc"), &open_limits, &arena,
                     &request, &consumed) == PARSE_MORE);
    CHECK(parser.argv_capacity <= 16);
    CHECK(arena.left <= ARENA_CHUNK_BYTES);
    resp_parser_deinit(&parser);
    arena_free(&arena);
}

/* Random valid requests, concatenated: the parser gives back what was written. */
TEST(round_trip)
{
    struct prng prng;
    prng_init(&prng, 7);
    for (unsigned round = 0; round < 300; round++) {
        struct buffer input = { 0 };
        struct buffer expected = { 0 };
        uint64_t requests = 1 + prng_below(&prng, 5);
        for (uint64_t r = 0; r < requests; r++) {
            size_t start = input.size;
            uint64_t argc = 1 + prng_below(&prng, prng_chance(&prng, 1, 20) ? 150 : 6);
            buffer_printf(&input, "*%u\r\n", (unsigned)argc);
            buffer_printf(&expected, "(");
            for (uint64_t i = 0; i < argc; i++) {
                size_t size = prng_below(&prng, prng_chance(&prng, 1, 30) ? 3000 : 20);
                buffer_printf(&input, "$%zu\r\n", size);
                buffer_printf(&expected, "%zu:", size);
                char *to = buffer_reserve(&input, size);
                for (size_t k = 0; k < size; k++) {
                    to[k] = (char)prng_next(&prng);
                }
                input.size += size;
                buffer_append(&expected, input.data + input.size - size, size);
                buffer_append_text(&input, "\r\n");
            }
            buffer_printf(&expected, ")%zu", input.size - start);
        }
        buffer_append_text(&expected, "more");
        for (unsigned cut = 0; cut < CUTS; cut++) {
            struct buffer got = { 0 };
            if (cut != CUT_BYTES || input.size < 2000) {
                transcript(buffer_slice(&input), &open_limits, (enum cut)cut, &prng, &got);
                CHECK(slice_equal(buffer_slice(&got), buffer_slice(&expected)));
            }
            buffer_free(&got);
        }
        buffer_free(&input);
        buffer_free(&expected);
    }
}

/* Noise made of the protocol's own pieces: every cut must tell the same story. */
TEST(noise_reads_the_same_in_any_pieces)
{
    static const char *const pieces[] = { "*",
                                          "$",
                                          "1",
                                          "2",
                                          "3\r\n",
                                          "\r\n",
                                          "\n",
                                          "\r",
                                          "-1",
                                          "abc",
                                          "\"",
                                          "'",
                                          " ",
                                          "0",
                                          "*2",
                                          "$1",
                                          "x",
                                          "\\x4",
                                          "*1\r\n$1\r\nx\r\n",
                                          "$3\r\nabc\r\n" };
    struct prng prng;
    prng_init(&prng, 8);
    for (unsigned round = 0; round < 20000; round++) {
        struct buffer input = { 0 };
        for (uint64_t n = prng_below(&prng, 12) + 1; n > 0; n--) {
            buffer_append_text(&input, pieces[prng_below(&prng, sizeof(pieces) / sizeof(*pieces))]);
        }
        const struct parse_limits *limits =
            prng_chance(&prng, 1, 2) ? &open_limits : &noauth_limits;
        struct buffer whole = { 0 };
        struct buffer cut = { 0 };
        transcript(buffer_slice(&input), limits, CUT_WHOLE, NULL, &whole);
        transcript(buffer_slice(&input), limits, prng_chance(&prng, 1, 2) ? CUT_BYTES : CUT_RANDOM,
                   &prng, &cut);
        CHECK(slice_equal(buffer_slice(&whole), buffer_slice(&cut)));
        buffer_free(&whole);
        buffer_free(&cut);
        buffer_free(&input);
    }
}

TEST(split_line)
{
    struct slice *args = NULL;
    CHECK_EQ(resp_split_line(slice_from("  requirepass \"a b\" "), &args), 2);
    CHECK(slice_equal(args[0], slice_from("requirepass")) &&
          slice_equal(args[1], slice_from("a b")));
    mem_free(args);
    CHECK_EQ(resp_split_line(slice_from("   "), &args), 0);
    mem_free(args);
    CHECK_EQ(resp_split_line(slice_from("\"x"), &args), -1);
}

TEST_MAIN
