/*
 * cli_test.c — the client's parts without a server: replies in pieces, lines of words, printing.
 */
#include "base/compiler.h"
#include "base/prng.h"
#include "cli_line.h"
#include "cli_print.h"
#include "test.h"

#include <jansson.h>

/* ── random replies, and the same as JSON ────────────────────────────────────────────────────── */

enum { LEVELS_MAX = 5 };

struct level {
    json_t *json; /* array or object being filled */
    uint32_t left;
    char key[32];
};

struct maker {
    struct prng *prng;
    struct buffer wire;
    struct level stack[LEVELS_MAX];
    uint32_t depth;
    json_t *root;
    uint32_t keys;
};

/* Puts a finished or begun value where it belongs, its key first where it has one. */
static void maker_put(struct maker *maker, json_t *value)
{
    if (maker->depth == 0) {
        maker->root = value;
        return;
    }
    struct level *level = &maker->stack[maker->depth - 1];
    level->left--;
    if (json_is_object(level->json)) {
        (void)json_object_set_new(level->json, level->key, value);
    } else {
        (void)json_array_append_new(level->json, value);
    }
}

static void maker_key(struct maker *maker)
{
    struct level *level = &maker->stack[maker->depth - 1];
    (void)snprintf(level->key, sizeof(level->key), "k%u", maker->keys++);
    buffer_printf(&maker->wire, "$%zu\r\n%s\r\n", strlen(level->key), level->key);
}

static void maker_scalar(struct maker *maker)
{
    char text[64];
    int64_t number = (int64_t)prng_next(maker->prng) >> prng_below(maker->prng, 64);
    size_t size = 0;
    switch (prng_below(maker->prng, 6)) {
    case 0:
        buffer_printf(&maker->wire, ":%lld\r\n", (long long)number);
        maker_put(maker, json_integer(number));
        break;
    case 1:
        buffer_append_text(&maker->wire, prng_chance(maker->prng, 1, 2) ? "_\r\n" : "$-1\r\n");
        maker_put(maker, json_null());
        break;
    case 2:
        buffer_append_text(&maker->wire, number & 1 ? "#t\r\n" : "#f\r\n");
        maker_put(maker, json_boolean(number & 1));
        break;
    case 3:
        buffer_append_text(&maker->wire, "=7\r\ntxt:\"\n\\\r\n");
        maker_put(maker, json_string("\"\n\\"));
        break;
    default:
        for (size = 0; size < prng_below(maker->prng, sizeof(text)); size++) {
            text[size] = (char)prng_below(maker->prng, 128);
        }
        buffer_printf(&maker->wire, "$%zu\r\n", size);
        buffer_append(&maker->wire, text, size);
        buffer_append_text(&maker->wire, "\r\n");
        maker_put(maker, json_stringn(text, size));
        break;
    }
}

static void maker_aggregate(struct maker *maker)
{
    bool is_map = prng_chance(maker->prng, 1, 2);
    uint32_t count = (uint32_t)prng_below(maker->prng, 5);
    buffer_printf(&maker->wire, "%c%u\r\n", is_map ? '%' : "*~"[prng_below(maker->prng, 2)], count);
    json_t *json = is_map ? json_object() : json_array();
    maker_put(maker, json);
    maker->stack[maker->depth++] = (struct level){ .json = json, .left = count };
}

static void maker_run(struct maker *maker)
{
    for (bool is_first = true; is_first || maker->depth > 0; is_first = false) {
        if (maker->depth > 0 && maker->stack[maker->depth - 1].left == 0) {
            maker->depth--;
            continue;
        }
        if (maker->depth > 0 && json_is_object(maker->stack[maker->depth - 1].json)) {
            maker_key(maker);
        }
        if (maker->depth < LEVELS_MAX && prng_chance(maker->prng, 1, 2)) {
            maker_aggregate(maker);
        } else {
            maker_scalar(maker);
        }
    }
}

TEST(random_replies_in_pieces_print_as_json)
{
    struct prng prng;
    prng_init(&prng, 3);
    struct cli_parser parser = { 0 };
    for (int round = 0; round < 5000; round++) {
        struct maker maker = { .prng = &prng };
        maker_run(&maker);
        struct slice rest = buffer_slice(&maker.wire);
        enum cli_parse result = CLI_PARSE_MORE;
        while (result == CLI_PARSE_MORE && rest.size > 0) {
            size_t piece = 1 + prng_below(&prng, rest.size < 9 ? rest.size : 9);
            struct slice input = slice_make(rest.data, piece);
            result = cli_parse(&parser, &input);
            rest = slice_make(rest.data + piece - input.size, rest.size - piece + input.size);
        }
        CHECK_EQ(result, CLI_PARSE_DONE);
        CHECK_EQ(rest.size, 0);
        struct buffer out = { 0 };
        cli_print(&out, CLI_STYLE_JSON, &parser.reply, NULL, 0);
        json_t *printed = json_loadb(out.data, out.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        CHECK(printed != NULL && json_equal(printed, maker.root));
        CHECK(memchr(out.data, '\n', out.size) == out.data + out.size - 1);
        json_decref(printed);
        json_decref(maker.root);
        out.size = 0;
        cli_print(&out, CLI_STYLE_TTY, &parser.reply, NULL, 0);
        CHECK(out.size > 0);
        buffer_free(&out);
        buffer_free(&maker.wire);
        cli_parser_next(&parser);
    }
    cli_parser_deinit(&parser);
}

/* ── printing ────────────────────────────────────────────────────────────────────────────────── */

static void check_print(const char *wire, enum cli_style style, const char *command,
                        const char *subcommand, const char *expected)
{
    struct cli_parser parser = { 0 };
    struct slice input = slice_from(wire);
    CHECK_EQ(cli_parse(&parser, &input), CLI_PARSE_DONE);
    struct buffer out = { 0 };
    struct slice args[2] = { slice_from(command), slice_from(subcommand) };
    cli_print(&out, style, &parser.reply, args, 2);
    bool same = slice_equal(buffer_slice(&out), slice_from(expected));
    if (!same) {
        printf("--- got\n%.*s--- expected\n%s---\n", (int)out.size, out.data, expected);
    }
    CHECK(same);
    buffer_free(&out);
    cli_parser_deinit(&parser);
}

TEST(terminal_style_is_redis_clis)
{
    check_print("*2\r\n*2\r\n$1\r\na\r\n:5\r\n*0\r\n", CLI_STYLE_TTY, "x", "",
                "1) 1) \"a\"\n   2) (integer) 5\n2) (empty array)\n");
    check_print("%2\r\n+a\r\n*2\r\n:1\r\n:2\r\n+b\r\n*1\r\n,1.5\r\n", CLI_STYLE_TTY, "x", "",
                "1# a => \n   1) (integer) 1\n   2) (integer) 2\n2# b => 1) (double) 1.5\n");
    check_print("=6\r\ntxt:a\n\r\n", CLI_STYLE_TTY, "info", "", "a\n");
    check_print("*3\r\n_\r\n#t\r\n+s\r\n", CLI_STYLE_RAW, "x", "", "\ntrue\ns\n");
    check_print("%1\r\n$1\r\n\xff\r\n,inf\r\n", CLI_STYLE_JSON, "x", "",
                "{\"base64:/w==\":\"inf\"}\n");
}

TEST(tables)
{
    check_print("%2\r\n+keys\r\n:12\r\n+memory\r\n%1\r\n+used\r\n+1mb\r\n", CLI_STYLE_TTY, "stats",
                "", "keys    12\nmemory  \n  used  1mb\n");
    check_print("*1\r\n*6\r\n:1\r\n:0\r\n:25\r\n*2\r\n+GET\r\n+k\r\n+127.0.0.1:5\r\n+\r\n",
                CLI_STYLE_TTY, "SLOWLOG", "GET",
                "id  time                  usec  command  client       name\n"
                " 1  1970-01-01 00:00:00Z    25  GET k    127.0.0.1:5  \n");
    check_print(
        "%2\r\n+a\r\n:1\r\n+op\r\n%2\r\n+get\r\n%1\r\n+n\r\n:5\r\n+set\r\n%1\r\n+n\r\n:12\r\n",
        CLI_STYLE_TTY, "stats", "", "a  1\n\nop    n\nget   5\nset  12\n");
    check_print(
        "*1\r\n%2\r\n+n\r\n:1\r\n+on\r\n*2\r\n%2\r\n+id\r\n+x\r\n+k\r\n:1\r\n%1\r\n+id\r\n+y\r\n",
        CLI_STYLE_TTY, "shards", "", "n  on\n1  x y\n");
    /* Not alike: no table. */
    check_print("*2\r\n%1\r\n+a\r\n:1\r\n%1\r\n+b\r\n:1\r\n", CLI_STYLE_TTY, "x", "",
                "1) 1# a => (integer) 1\n2) 1# b => (integer) 1\n");
    /* User data is never a table of facts. */
    check_print("%1\r\n+a\r\n:1\r\n", CLI_STYLE_TTY, "hgetall", "h", "1# a => (integer) 1\n");
}

/* ── lines ───────────────────────────────────────────────────────────────────────────────────── */

TEST(quoted_words_split_into_themselves)
{
    struct prng prng;
    prng_init(&prng, 5);
    struct cli_args args = { 0 };
    for (int round = 0; round < 5000; round++) {
        struct buffer line = { 0 };
        char words[8][40];
        size_t sizes[8];
        uint32_t count = (uint32_t)prng_below(&prng, 8);
        for (uint32_t i = 0; i < count; i++) {
            sizes[i] = prng_below(&prng, sizeof(words[i]));
            for (size_t j = 0; j < sizes[i]; j++) {
                words[i][j] = (char)prng_next(&prng);
            }
            buffer_append_text(&line, prng_chance(&prng, 1, 2) ? " " : " \t ");
            cli_quote(&line, slice_make(words[i], sizes[i]));
        }
        CHECK(cli_args_split(&args, buffer_slice(&line)));
        CHECK_EQ(args.count, count);
        for (uint32_t i = 0; i < count && i < args.count; i++) {
            CHECK(slice_equal(args.items[i], slice_make(words[i], sizes[i])));
        }
        buffer_free(&line);
    }
    cli_args_free(&args);
}

TEST(lines)
{
    struct cli_args args = { 0 };
    CHECK(cli_args_split(&args, slice_from("set 'it\\'s' \"\\x41\\n\" plain\\n")));
    CHECK_EQ(args.count, 4);
    CHECK(slice_equal(args.items[1], slice_from("it's")));
    CHECK(slice_equal(args.items[2], slice_from("A\n")));
    CHECK(slice_equal(args.items[3], slice_from("plain\\n")));
    const char *const bad[] = { "\"a", "'a", "\"a\"b", "a \"", "'a'b" };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        CHECK(!cli_args_split(&args, slice_from(bad[i])));
    }
    const char *const secret[] = {
        "auth x",           "AUTH u p",         "config set requirepass x",
        "hello 3 auth u p", "acl setuser u >p", "config set hz 1 RequirePass x"
    };
    for (size_t i = 0; i < ARRAY_COUNT(secret); i++) {
        CHECK(cli_args_split(&args, slice_from(secret[i])) && cli_is_secret(&args));
    }
    const char *const open[] = { "get auth", "config get requirepass", "hello 3", "set auth x" };
    for (size_t i = 0; i < ARRAY_COUNT(open); i++) {
        CHECK(cli_args_split(&args, slice_from(open[i])) && !cli_is_secret(&args));
    }
    cli_args_free(&args);
}

TEST_MAIN
