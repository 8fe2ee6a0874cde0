/*
 * protocol_json_test.c — JSON requests: what is understood, what is refused and in which words.
 */
#include "network/protocol_json.h"

#include "base/buffer.h"
#include "base/limits.h"
#include "base/prng.h"
#include "test.h"

static const struct parse_limits open_limits = { REQUEST_ARGS_MAX, REQUEST_BYTES_MAX };
static const struct parse_limits noauth_limits = { REQUEST_NOAUTH_ARGS_MAX,
                                                   REQUEST_NOAUTH_BYTES_MAX };

/* Feeds `input` in pieces of at most `piece` bytes (0: random) and writes down what comes out. */
static void transcript(struct slice input, const struct parse_limits *limits, size_t piece,
                       struct prng *prng, struct buffer *out)
{
    struct json_parser parser;
    struct arena arena = { 0 };
    json_parser_init(&parser);
    size_t begin = 0;
    size_t end = 0;
    bool wants_more = true;
    for (;;) {
        if (wants_more && end == input.size) {
            buffer_append_text(out, "more");
            break;
        }
        if (wants_more) {
            size_t left = input.size - end;
            size_t step = piece > 0 ? piece : 1 + prng_below(prng, left);
            end += step < left ? step : left;
        }
        char *copy = malloc(end - begin + 1);
        memcpy(copy, input.data + begin, end - begin);
        struct request request = { 0 };
        size_t consumed = 0;
        enum parse_result result =
            json_parse(&parser, slice_make(copy, end - begin), limits, &arena, &request, &consumed);
        wants_more = result == PARSE_MORE;
        begin += consumed;
        memset(copy, '#', end - begin); /* nothing may point there */
        free(copy);
        if (request.id.size > 0) {
            buffer_printf(out, "#%.*s ", (int)request.id.size, request.id.data);
        }
        if (result == PARSE_REQUEST) {
            for (uint32_t i = 0; i < request.argc; i++) {
                buffer_printf(out, "[%.*s]", (int)request.argv[i].size, request.argv[i].data);
            }
            if (request.seq > 0) {
                buffer_printf(out, "%.*s/%" PRIu64, (int)request.client.size, request.client.data,
                              request.seq);
            }
            buffer_printf(out, request.consistency > 0 ? "c%d;" : ";", (int)request.consistency);
        } else if (result != PARSE_MORE && result != PARSE_SKIP) {
            buffer_printf(out, "%s;", parser.error);
        }
        arena_reset(&arena);
        if (result == PARSE_FATAL) {
            break;
        }
    }
    arena_free(&arena);
}

static void expect(struct slice input, const struct parse_limits *limits, const char *expected)
{
    struct prng prng;
    prng_init(&prng, 1);
    size_t pieces[] = { SIZE_MAX, 1, 0, 0 };
    for (unsigned i = 0; i < 4; i++) {
        struct buffer got = { 0 };
        transcript(input, limits, pieces[i], &prng, &got);
        if (!slice_equal(buffer_slice(&got), slice_from(expected))) {
            printf("input %.*s\n  got %.*s\n  not %s\n", (int)(input.size < 300 ? input.size : 300),
                   input.data, (int)got.size, got.data, expected);
        }
        CHECK(slice_equal(buffer_slice(&got), slice_from(expected)));
        buffer_free(&got);
    }
}

#define BAD(text) "Protocol error: " text ";more"

TEST(request_table)
{
    static const struct {
        const char *input, *output;
    } rows[] = {
        { "{\"type\":\"CLIENT\",\"command\":\"SET user:1 Alice\"}\n", "[SET][user:1][Alice];more" },
        { "{\"type\":\"CLUSTER\",\"command\":\"NODES\"}\r\n", "[NODES];more" },
        { "{\"command\":\"SET k \\\"a b\\\"\"}\n", "[SET][k][a b];more" },
        { "{\"args\":[\"SET\",\"user:2\",\"two words\"]}\n", "[SET][user:2][two words];more" },
        { "{\"args\":[\"SET\",\"k\",5,-7,1.5,1e300,0.1]}\n",
          "[SET][k][5][-7][1.5][1e+300][0.1];more" },
        { "{\"args\":[\"SET\",\"\",\"\"]}\n", "[SET][][];more" },
        { "{\"id\":42,\"command\":\"GET k\",\"consistency\":\"QUORUM\"}\n", "#42 [GET][k]c2;more" },
        { "{\"id\":\"a\\\"b\",\"command\":\"PING\"}\n", "#\"a\\\"b\" [PING];more" },
        { "{\"id\":null,\"command\":\"PING\"}\n", "#null [PING];more" },
        { "{\"id\":1.5,\"command\":\"PING\"}\n", "#1.5 [PING];more" },
        { "{\"id\":true,\"command\":\"PING\",\"consistency\":\"any\"}\n", "#true [PING]c1;more" },
        { "{\"client\":\"c1\",\"seq\":9,\"command\":\"INCR k\"}\n", "[INCR][k]c1/9;more" },
        { "\n  \r\n{\"command\":\"PING\"}\n", "[PING];more" },
        { "{\"command\":\"PING\"}", "more" },
        /* refused; the next line is read */
        { "{\"command\":\n", BAD("invalid JSON at byte 11: unexpected token near end of file") },
        { "{\"command\":\"PING\"}}\n",
          BAD("invalid JSON at byte 19: end of file expected near '}'") },
        { "nonsense\n", BAD("invalid JSON at byte 8: invalid token near 'nonsense'") },
        { "[1,2]\n", BAD("a request must be a JSON object") },
        { "\"PING\"\n", BAD("a request must be a JSON object") },
        { "{}\n", BAD("needs either \"command\" or \"args\"") },
        { "{\"command\":\"PING\",\"args\":[\"PING\"]}\n",
          BAD("needs either \"command\" or \"args\"") },
        { "{\"command\":\"PING\",\"command\":\"PING\"}\n",
          BAD("invalid JSON at byte 27: duplicate object key near '\"command\"'") },
        { "{\"command\":\"\"}\n", BAD("the command is empty") },
        { "{\"args\":[]}\n", BAD("the command is empty") },
        { "{\"command\":5}\n", BAD("\"command\" must be a string") },
        { "{\"command\":\"SET 'a\"}\n", BAD("unbalanced quotes in \"command\"") },
        { "{\"args\":\"PING\"}\n", BAD("\"args\" must be an array") },
        { "{\"args\":[\"PING\",null]}\n",
          BAD("\"args\"[1] must be a string, a number or {\"base64\":\"...\"}") },
        { "{\"args\":[\"PING\",[\"x\"]]}\n",
          BAD("\"args\"[1] must be a string, a number or {\"base64\":\"...\"}") },
        { "{\"args\":[\"PING\",{\"base64\":\"A\"}]}\n",
          BAD("\"args\"[1] must be a string, a number or {\"base64\":\"...\"}") },
        { "{\"id\":7,\"command\":\"PING\",\"consistency\":\"MOST\"}\n",
          "#7 " BAD("\"consistency\" must be ANY, QUORUM, ALL or STRONG") },
        { "{\"id\":{},\"command\":\"PING\"}\n",
          BAD("\"id\" must be a string, a number, a boolean or null") },
        { "{\"type\":\"PEER\",\"command\":\"PING\"}\n",
          BAD("\"type\" must be \"CLIENT\" or \"CLUSTER\"") },
        { "{\"id\":1,\"command\":\"PING\",\"consistancy\":\"ANY\"}\n",
          "#1 " BAD("unknown member \"consistancy\"") },
        { "{\"client\":\"c\",\"command\":\"PING\"}\n", BAD("\"client\" and \"seq\" go together") },
        { "{\"seq\":5,\"command\":\"PING\"}\n", BAD("\"client\" and \"seq\" go together") },
        { "{\"client\":\"c\",\"seq\":0,\"command\":\"PING\"}\n",
          BAD("\"seq\" must be an integer greater than 0") },
        { "{\"args\":[\"SET\",99999999999999999999]}\n",
          BAD("invalid JSON at byte 35: too big integer near '99999999999999999999'") },
        { "{\"args\":[\"SET\",1e999]}\n",
          BAD("invalid JSON at byte 20: real number overflow near '1e999'") },
        { "{\"command\":\"\xff\"}\n",
          BAD("invalid JSON at byte 12: unable to decode byte 0xff near '\"'") },
        { "{\"command\":\"\xed\xa0\x80\"}\n",
          BAD("invalid JSON at byte 12: unable to decode byte 0xed near '\"'") },
        { "{\"command\":\"\\ud800\"}\n",
          BAD("invalid JSON at byte 19: invalid Unicode '\\uD800' near '\"\\ud800\"'") },
        { "bad\n{\"command\":\"PING\"}\n",
          "Protocol error: invalid JSON at byte 3: invalid token near 'bad';[PING];more" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        expect(slice_from(rows[i].input), &open_limits, rows[i].output);
    }
}

static enum parse_result parse_text(const char *text, struct arena *arena, struct request *request)
{
    struct json_parser parser;
    json_parser_init(&parser);
    size_t consumed = 0;
    return json_parse(&parser, slice_from(text), &open_limits, arena, request, &consumed);
}

TEST(binary_arguments)
{
    static const struct {
        const char *text;
        struct slice bytes; /* data NULL: refused */
    } rows[] = {
        { "", { "", 0 } },
        { "AP8=", { "\0\xff", 2 } },
        { "Zm9v", { "foo", 3 } },
        { "Zm8=", { "fo", 2 } },
        { "Zg==", { "f", 1 } },
        { "Zm9vYmFy", { "foobar", 6 } },
        { "+/+/", { "\xfb\xff\xbf", 3 } },
        { "Zh==", { NULL, 0 } }, /* unused bits set */
        { "Zm9=", { NULL, 0 } },
        { "Zg=", { NULL, 0 } },
        { "Zg", { NULL, 0 } },
        { "Z===", { NULL, 0 } },
        { "====", { NULL, 0 } },
        { "Zg==Zg==", { NULL, 0 } },
        { "Zm 9v", { NULL, 0 } },
    };
    struct arena arena = { 0 };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[200];
        (void)snprintf(text, sizeof(text), "{\"args\":[\"SET\",{\"base64\":\"%s\"}]}\n",
                       rows[i].text);
        struct request request = { 0 };
        enum parse_result result = parse_text(text, &arena, &request);
        CHECK_EQ(result == PARSE_REQUEST, rows[i].bytes.data != NULL);
        CHECK(result != PARSE_REQUEST || slice_equal(request.argv[1], rows[i].bytes));
    }
    struct request request = { 0 };
    CHECK(parse_text("{\"args\":[\"SET\",\"a\\u0000b\"]}\n", &arena, &request) == PARSE_REQUEST);
    CHECK(slice_equal(request.argv[1], slice_make("a\0b", 3)));
    arena_free(&arena);
}

TEST(nesting)
{
    enum { DEEP = 64 << 10 };
    struct buffer input = { 0 };
    buffer_append_text(&input, "{\"args\":");
    for (unsigned i = 0; i < DEEP; i++) {
        buffer_append_text(&input, i % 2 == 0 ? "[" : "{\"a\":");
    }
    buffer_append_text(&input, "\n");
    struct buffer got = { 0 };
    transcript(buffer_slice(&input), &open_limits, SIZE_MAX, NULL, &got);
    static const char expected[] = "Protocol error: JSON nested deeper than 64 levels at byte ";
    CHECK(got.size > sizeof(expected) && memcmp(got.data, expected, sizeof(expected) - 1) == 0);
    buffer_free(&got);
    buffer_free(&input);
    /* Brackets inside strings do not count. */
    buffer_append_text(&input, "{\"args\":[\"SET\",\"\\\"");
    for (unsigned i = 0; i < 200; i++) {
        buffer_append_text(&input, "[{\\\\");
    }
    buffer_append_text(&input, "\"]}\n");
    transcript(buffer_slice(&input), &open_limits, SIZE_MAX, NULL, &got);
    CHECK(got.size > 10 && memcmp(got.data, "[SET]", 5) == 0);
    buffer_free(&got);
    buffer_free(&input);
}

TEST(limits)
{
    struct buffer input = { 0 };
    buffer_append_text(&input, "{\"command\":\"");
    memset(buffer_reserve(&input, 20000), 'x', 20000);
    input.size += 20000;
    expect(buffer_slice(&input), &noauth_limits,
           "Protocol error: a line has more than 16384 bytes;");
    buffer_append_text(&input, "\"}\n");
    expect(buffer_slice(&input), &noauth_limits,
           "Protocol error: a line has more than 16384 bytes;");
    buffer_free(&input);
    expect(slice_from("{\"args\":[1,2,3,4,5,6,7,8,9,10,11]}\n"), &noauth_limits,
           BAD("more than 10 arguments"));
    expect(slice_from("{\"command\":\"1 2 3 4 5 6 7 8 9 10 11\"}\n"), &noauth_limits,
           BAD("more than 10 arguments"));
}

/* Mutated requests never crash, and read the same in any pieces. */
TEST(mutations)
{
    static const char seed_text[] =
        "{\"id\":42,\"type\":\"CLIENT\",\"args\":[\"SET\",5,1.5,{\"base64\":\"AP8=\"}],"
        "\"client\":\"c\",\"seq\":3,\"consistency\":\"ALL\"}\n{\"command\":\"GET 'a b'\"}\n";
    struct prng prng;
    prng_init(&prng, 5);
    for (unsigned round = 0; round < 20000; round++) {
        char text[sizeof(seed_text)];
        memcpy(text, seed_text, sizeof(text));
        for (uint64_t n = prng_below(&prng, 4); n > 0; n--) {
            text[prng_below(&prng, sizeof(text) - 1)] =
                prng_chance(&prng, 1, 2) ? "{}[]\",:\\\n0-"[prng_below(&prng, 11)]
                                         : (char)prng_next(&prng);
        }
        struct buffer whole = { 0 };
        struct buffer cut = { 0 };
        transcript(slice_make(text, sizeof(text) - 1), &open_limits, SIZE_MAX, NULL, &whole);
        transcript(slice_make(text, sizeof(text) - 1), &open_limits, 0, &prng, &cut);
        CHECK(slice_equal(buffer_slice(&whole), buffer_slice(&cut)));
        buffer_free(&whole);
        buffer_free(&cut);
    }
}

TEST_MAIN
