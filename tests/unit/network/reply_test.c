/*
 * reply_test.c — every word of the vocabulary in every protocol, byte for byte.
 */
#include "network/reply.h"

#include "base/prng.h"
#include "base/text.h"
#include "test.h"

#include <jansson.h>
#include <math.h>

typedef void say_fn(struct reply *reply);

static struct buffer say_in(enum protocol protocol, say_fn *say, const char *id)
{
    struct buffer out = { 0 };
    buffer_append_text(&out, "before");
    struct reply reply;
    reply_begin(&reply, protocol, &out, slice_from(id));
    say(&reply);
    reply_end(&reply);
    buffer_consume(&out, 6);
    return out;
}

static void check_one(const char *name, enum protocol protocol, say_fn *say, const char *id,
                      struct slice expected)
{
    struct buffer out = say_in(protocol, say, id);
    if (!slice_equal(buffer_slice(&out), expected)) {
        printf("%s in protocol %d:\n  got %.*s\n  not %.*s\n", name, (int)protocol, (int)out.size,
               out.data, (int)expected.size, expected.data);
    }
    CHECK(slice_equal(buffer_slice(&out), expected));
    buffer_free(&out);
}

static void say_ok(struct reply *r)
{
    reply_ok(r);
}
static void say_status(struct reply *r)
{
    reply_status(r, "QUEUED");
}
static void say_error(struct reply *r)
{
    reply_error(r, "ERR no\r\nsuch \"key\"");
    CHECK(r->is_error);
}
static void say_error_long(struct reply *r)
{
    reply_errorf(r, "WRONGTYPE %s %d", "bad", 5);
    CHECK(r->is_error);
}
static void say_error_word(struct reply *r)
{
    reply_error(r, "LOADING");
}
static void say_error_binary(struct reply *r)
{
    reply_error(r, "ERR unknown '\xff\x01'");
}
static void say_error_utf8(struct reply *r)
{
    reply_error(r, "ERR unknown '\xc3\xbc'");
}
static void say_small(struct reply *r)
{
    reply_integer(r, 7);
    CHECK(!r->is_error);
}
static void say_negative(struct reply *r)
{
    reply_integer(r, INT64_MIN);
}
static void say_large(struct reply *r)
{
    reply_integer(r, 1234567890123);
}
static void say_bulk(struct reply *r)
{
    reply_bulk(r, slice_from("foo"));
}
static void say_empty(struct reply *r)
{
    reply_bulk(r, (struct slice){ NULL, 0 });
}
static void say_escapes(struct reply *r)
{
    reply_bulk(r, slice_make("a\"b\\c\n\r\t\b\f\0\x1f/\x7f\xc3\xbc", 16));
}
static void say_binary(struct reply *r)
{
    reply_bulk(r, slice_make("\0\xff", 2));
}
static void say_text(struct reply *r)
{
    reply_text(r, "hello");
}
static void say_null(struct reply *r)
{
    reply_null(r);
}
static void say_null_array(struct reply *r)
{
    reply_null_array(r);
}
static void say_true(struct reply *r)
{
    reply_boolean(r, true);
}
static void say_false(struct reply *r)
{
    reply_boolean(r, false);
}
static void say_double(struct reply *r)
{
    reply_double(r, 1.5);
}
static void say_double_whole(struct reply *r)
{
    reply_double(r, 3);
}
static void say_inf(struct reply *r)
{
    reply_double(r, -INFINITY);
}
static void say_nan(struct reply *r)
{
    reply_double(r, (double)NAN);
}
static void say_verbatim(struct reply *r)
{
    reply_verbatim(r, "txt", slice_from("a: 1\r\n"));
}
static void say_no_array(struct reply *r)
{
    reply_array(r, 0);
}
static void say_no_map(struct reply *r)
{
    reply_map(r, 0);
}
static void say_array(struct reply *r)
{
    reply_array(r, 3);
    reply_integer(r, 1);
    reply_null(r);
    reply_text(r, "x");
}
static void say_set(struct reply *r)
{
    reply_set(r, 1);
    reply_text(r, "m");
}
static void say_map(struct reply *r)
{
    reply_map(r, 2);
    reply_text(r, "a");
    reply_integer(r, 1);
    reply_text(r, "b");
    reply_map(r, 1);
    reply_integer(r, 5);
    reply_array(r, 0);
}
static void say_map_binary(struct reply *r)
{
    reply_map(r, 1);
    reply_bulk(r, slice_make("\xff", 1));
    reply_bulk(r, slice_make("\xfe", 1));
}
static void say_nested_error(struct reply *r)
{
    reply_array(r, 2);
    reply_error(r, "ERR inside");
    reply_ok(r);
    CHECK(!r->is_error);
}
static void say_version(struct reply *r)
{
    reply_version(r, 7);
    reply_text(r, "v");
}
static void say_deep(struct reply *r)
{
    for (unsigned i = 0; i < REPLY_DEPTH_MAX; i++) {
        reply_array(r, 1);
    }
    reply_null(r);
}
static void say_cluster(struct reply *r)
{
    reply_array(r, 2);
    reply_array(r, 2);
    reply_integer(r, 0);
    reply_array(r, 1);
    reply_text(r, "host");
    reply_boolean(r, true);
}

#define DATA(json) "{\"success\":true,\"data\":" json "}\n"

static const struct {
    const char *name;
    say_fn *say;
    const char *resp2, *resp3, *json;
} rows[] = {
    { "ok", say_ok, "+OK\r\n", "+OK\r\n", DATA("\"OK\"") },
    { "status", say_status, "+QUEUED\r\n", "+QUEUED\r\n", DATA("\"QUEUED\"") },
    { "error", say_error, "-ERR no  such \"key\"\r\n", "-ERR no  such \"key\"\r\n",
      "{\"success\":false,\"error\":\"ERR no  such \\\"key\\\"\",\"code\":\"ERR\"}\n" },
    { "errorf", say_error_long, "-WRONGTYPE bad 5\r\n", "-WRONGTYPE bad 5\r\n",
      "{\"success\":false,\"error\":\"WRONGTYPE bad 5\",\"code\":\"WRONGTYPE\"}\n" },
    { "error word", say_error_word, "-LOADING\r\n", "-LOADING\r\n",
      "{\"success\":false,\"error\":\"LOADING\",\"code\":\"LOADING\"}\n" },
    { "error binary", say_error_binary, "-ERR unknown '\xff\x01'\r\n",
      "-ERR unknown '\xff\x01'\r\n",
      "{\"success\":false,\"error\":\"ERR unknown '?\\u0001'\",\"code\":\"ERR\"}\n" },
    { "error utf8", say_error_utf8, "-ERR unknown '\xc3\xbc'\r\n", "-ERR unknown '\xc3\xbc'\r\n",
      "{\"success\":false,\"error\":\"ERR unknown '\xc3\xbc'\",\"code\":\"ERR\"}\n" },
    { "integer", say_small, ":7\r\n", ":7\r\n", DATA("7") },
    { "negative", say_negative, ":-9223372036854775808\r\n", ":-9223372036854775808\r\n",
      DATA("-9223372036854775808") },
    { "large", say_large, ":1234567890123\r\n", ":1234567890123\r\n", DATA("1234567890123") },
    { "bulk", say_bulk, "$3\r\nfoo\r\n", "$3\r\nfoo\r\n", DATA("\"foo\"") },
    { "empty", say_empty, "$0\r\n\r\n", "$0\r\n\r\n", DATA("\"\"") },
    { "text", say_text, "$5\r\nhello\r\n", "$5\r\nhello\r\n", DATA("\"hello\"") },
    { "null", say_null, "$-1\r\n", "_\r\n", DATA("null") },
    { "null array", say_null_array, "*-1\r\n", "_\r\n", DATA("null") },
    { "true", say_true, ":1\r\n", "#t\r\n", DATA("true") },
    { "false", say_false, ":0\r\n", "#f\r\n", DATA("false") },
    { "double", say_double, "$3\r\n1.5\r\n", ",1.5\r\n", DATA("1.5") },
    { "whole double", say_double_whole, "$1\r\n3\r\n", ",3\r\n", DATA("3") },
    { "inf", say_inf, "$4\r\n-inf\r\n", ",-inf\r\n", DATA("\"-inf\"") },
    { "nan", say_nan, "$3\r\nnan\r\n", ",nan\r\n", DATA("\"nan\"") },
    { "verbatim", say_verbatim, "$6\r\na: 1\r\n\r\n", "=10\r\ntxt:a: 1\r\n\r\n",
      DATA("\"a: 1\\r\\n\"") },
    { "no array", say_no_array, "*0\r\n", "*0\r\n", DATA("[]") },
    { "no map", say_no_map, "*0\r\n", "%0\r\n", DATA("{}") },
    { "array", say_array, "*3\r\n:1\r\n$-1\r\n$1\r\nx\r\n", "*3\r\n:1\r\n_\r\n$1\r\nx\r\n",
      DATA("[1,null,\"x\"]") },
    { "set", say_set, "*1\r\n$1\r\nm\r\n", "~1\r\n$1\r\nm\r\n", DATA("[\"m\"]") },
    { "map", say_map, "*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n*2\r\n:5\r\n*0\r\n",
      "%2\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n%1\r\n:5\r\n*0\r\n", DATA("{\"a\":1,\"b\":{\"5\":[]}}") },
    { "map binary", say_map_binary, "*2\r\n$1\r\n\xff\r\n$1\r\n\xfe\r\n",
      "%1\r\n$1\r\n\xff\r\n$1\r\n\xfe\r\n", DATA("{\"base64:/w==\":{\"base64\":\"/g==\"}}") },
    { "nested error", say_nested_error, "*2\r\n-ERR inside\r\n+OK\r\n",
      "*2\r\n-ERR inside\r\n+OK\r\n", DATA("[{\"error\":\"ERR inside\"},\"OK\"]") },
    { "version", say_version, "$1\r\nv\r\n", "$1\r\nv\r\n",
      "{\"success\":true,\"data\":\"v\",\"version\":7}\n" },
    { "deep", say_deep,
      "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n"
      "*1\r\n$-1\r\n",
      "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n"
      "*1\r\n_\r\n",
      DATA("[[[[[[[[[[[[[[[[null]]]]]]]]]]]]]]]]") },
    { "cluster", say_cluster, "*2\r\n*2\r\n:0\r\n*1\r\n$4\r\nhost\r\n:1\r\n",
      "*2\r\n*2\r\n:0\r\n*1\r\n$4\r\nhost\r\n#t\r\n", DATA("[[0,[\"host\"]],true]") },
};

TEST(vocabulary)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        check_one(rows[i].name, PROTOCOL_RESP2, rows[i].say, "", slice_from(rows[i].resp2));
        check_one(rows[i].name, PROTOCOL_RESP3, rows[i].say, "", slice_from(rows[i].resp3));
        check_one(rows[i].name, PROTOCOL_JSON, rows[i].say, "", slice_from(rows[i].json));
    }
    check_one("binary", PROTOCOL_RESP2, say_binary, "", slice_make("$2\r\n\0\xff\r\n", 8));
    check_one("binary", PROTOCOL_JSON, say_binary, "", slice_from(DATA("{\"base64\":\"AP8=\"}")));
    check_one("escapes", PROTOCOL_JSON, say_escapes, "",
              slice_from(DATA("\"a\\\"b\\\\c\\n\\r\\t\\b\\f\\u0000\\u001f/\x7f\xc3\xbc\"")));
}

TEST(json_id_and_version)
{
    check_one("id", PROTOCOL_JSON, say_version, "42",
              slice_from("{\"id\":42,\"success\":true,\"data\":\"v\",\"version\":7}\n"));
    check_one("id", PROTOCOL_JSON, say_error_word, "\"a\"",
              slice_from("{\"id\":\"a\",\"success\":false,\"error\":\"LOADING\","
                         "\"code\":\"LOADING\"}\n"));
}

TEST(error_text)
{
    static const enum protocol protocols[] = { PROTOCOL_RESP2, PROTOCOL_RESP3, PROTOCOL_JSON };
    for (unsigned i = 0; i < 3; i++) {
        struct buffer out = { 0 };
        struct reply reply;
        reply_begin(&reply, protocols[i], &out, (struct slice){ 0 });
        CHECK_EQ(reply_error_text(&reply).size, 0);
        reply_error(&reply, "WRONGTYPE Operation");
        CHECK(slice_equal(reply_error_text(&reply), slice_from("WRONGTYPE Operation")));
        reply_end(&reply);
        buffer_free(&out);
    }
}

TEST(sink)
{
    struct reply reply;
    reply_begin_sink(&reply);
    reply_array(&reply, 4);
    reply_integer(&reply, 5);
    reply_integer(&reply, -2);
    reply_text(&reply, "x");
    reply_map(&reply, 1);
    reply_null(&reply);
    reply_double(&reply, 1);
    CHECK(!reply.is_error);
    reply_end(&reply);
    CHECK_EQ(reply.sum, 3);
    reply_begin_sink(&reply);
    CHECK_EQ(reply.sum, 0);
    reply_error(&reply, "ERR x");
    CHECK(reply.is_error);
    CHECK_EQ(reply_error_text(&reply).size, 0);
    reply_end(&reply);
}

TEST(replay)
{
    static const enum protocol protocols[] = { PROTOCOL_RESP2, PROTOCOL_RESP3, PROTOCOL_JSON };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (unsigned to = 0; to < 3; to++) {
            struct buffer kept = say_in(PROTOCOL_RESP3, rows[i].say, "");
            struct buffer out = { 0 };
            struct reply reply;
            reply_begin(&reply, protocols[to], &out, (struct slice){ 0 });
            reply_replay(&reply, buffer_slice(&kept));
            reply_end(&reply);
            const char *expected = to == 0 ? rows[i].resp2 : to == 1 ? rows[i].resp3 : rows[i].json;
            bool differs = rows[i].say == say_version && to == 2; /* RESP has no version */
            differs = differs || (rows[i].say == say_null_array && to == 0);
            CHECK(differs || slice_equal(buffer_slice(&out), slice_from(expected)));
            buffer_free(&out);
            buffer_free(&kept);
            kept = say_in(PROTOCOL_RESP2, rows[i].say, "");
            reply_begin(&reply, PROTOCOL_RESP2, &out, (struct slice){ 0 });
            reply_replay(&reply, buffer_slice(&kept));
            reply_end(&reply);
            CHECK(slice_equal(buffer_slice(&out), slice_from(rows[i].resp2)));
            buffer_free(&out);
            buffer_free(&kept);
        }
    }
}

/* ── random trees: what jansson reads back is what was said ──────────────────────────────────── */

static struct slice random_bytes(struct prng *prng, char *room, size_t room_size)
{
    size_t size = prng_below(prng, room_size + 1);
    bool is_text = prng_chance(prng, 1, 2);
    for (size_t i = 0; i < size; i++) {
        room[i] = (char)(is_text ? ' ' + prng_below(prng, 95) : prng_next(prng));
    }
    return (struct slice){ room, size };
}

static json_t *say_random(struct reply *reply, struct prng *prng, unsigned depth)
{
    char room[24];
    int64_t number = (int64_t)prng_next(prng);
    switch (prng_below(prng, depth < 5 ? 6 : 4)) {
    case 0:
        reply_integer(reply, number);
        return json_integer(number);
    case 1:
        reply_null(reply);
        return json_null();
    case 2:
        reply_boolean(reply, true);
        return json_true();
    case 3: {
        struct slice value = random_bytes(prng, room, sizeof(room));
        reply_bulk(reply, value);
        return text_is_utf8(value) ? json_stringn(value.data, value.size) : NULL;
    }
    default: {
        uint32_t count = (uint32_t)prng_below(prng, 4);
        bool is_map = prng_chance(prng, 1, 2);
        is_map ? reply_map(reply, count) : reply_array(reply, count);
        json_t *all = is_map ? json_object() : json_array();
        for (uint32_t i = 0; i < count; i++) {
            char key[16];
            (void)snprintf(key, sizeof(key), "k%u", i);
            if (is_map) {
                reply_text(reply, key);
            }
            json_t *value = say_random(reply, prng, depth + 1);
            if (value == NULL) {
                value = json_true(); /* compared as "something" */
            }
            is_map ? json_object_set_new(all, key, value) : json_array_append_new(all, value);
        }
        return all;
    }
    }
}

/* Equal, where a {"base64":...} object stands for `true`. */
static bool json_same(const json_t *said, const json_t *read)
{
    if (json_is_true(said) && json_object_get(read, "base64") != NULL) {
        return true;
    }
    if (json_typeof(said) != json_typeof(read)) {
        return false;
    }
    if (json_is_array(said)) {
        bool same = json_array_size(said) == json_array_size(read);
        for (size_t i = 0; same && i < json_array_size(said); i++) {
            same = json_same(json_array_get(said, i), json_array_get(read, i));
        }
        return same;
    }
    if (json_is_object(said)) {
        bool same = json_object_size(said) == json_object_size(read);
        const char *key = NULL;
        json_t *value = NULL;
        json_object_foreach((json_t *)(uintptr_t)said, key, value)
        {
            same = same && json_object_get(read, key) != NULL &&
                   json_same(value, json_object_get(read, key));
        }
        return same;
    }
    return json_equal(said, read);
}

TEST(random_trees_in_json)
{
    struct prng prng;
    prng_init(&prng, 11);
    for (unsigned round = 0; round < 20000; round++) {
        struct buffer out = { 0 };
        struct reply reply;
        reply_begin(&reply, PROTOCOL_JSON, &out, (struct slice){ 0 });
        json_t *said = say_random(&reply, &prng, 0);
        said = said == NULL ? json_true() : said;
        reply_end(&reply);
        CHECK(out.data[out.size - 1] == '\n');
        CHECK(memchr(out.data, '\n', out.size) == out.data + out.size - 1);
        json_t *line =
            json_loadb(out.data, out.size, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
        CHECK(line != NULL);
        const json_t *data = json_object_get(line, "data");
        CHECK(data != NULL && json_same(said, data));
        json_decref(line);
        json_decref(said);
        buffer_free(&out);
    }
}

TEST_MAIN
