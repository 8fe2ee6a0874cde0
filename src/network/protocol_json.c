/*
 * protocol_json.c — parsing JSON requests.
 *
 * A line is found, its nesting is measured without recursion, and only then jansson sees it.  The
 * document lives for one call: what the request needs is copied into the arena.  A member nobody
 * knows is an error: a misspelled "consistency" must not silently weaken a read.
 *
 * Read next: protocol_json.h, conn.c.
 */
#include "network/protocol_json.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/text.h"
#include "network/protocol_resp.h"

#include <jansson.h>
#include <stdio.h>

/* What is being decoded, and into what. */
struct json_decoding {
    struct json_parser *parser;
    const struct parse_limits *limits;
    struct arena *arena;
    struct request *request;
    json_t *root;
};

static enum parse_result parse_line(struct json_decoding *decoding, struct slice line);
static bool decode_request(struct json_decoding *decoding);

void json_parser_init(struct json_parser *parser)
{
    *parser = (struct json_parser){ 0 };
}

PRINTF(2, 3) static bool json_fail(struct json_parser *parser, const char *format, ...)
{
    int size = snprintf(parser->error, sizeof(parser->error), "Protocol error: ");
    va_list args;
    va_start(args, format);
    (void)vsnprintf(parser->error + size, sizeof(parser->error) - (size_t)size, format, args);
    va_end(args);
    return false;
}

enum parse_result json_parse(struct json_parser *parser, struct slice input,
                             const struct parse_limits *limits, struct arena *arena,
                             struct request *out_request, size_t *out_consumed)
{
    ASSERT(parser->scanned <= input.size);
    if (input.size == 0) {
        return PARSE_MORE;
    }
    const char *newline = memchr(input.data + parser->scanned, '\n', input.size - parser->scanned);
    size_t size = newline != NULL ? (size_t)(newline - input.data) : input.size;
    if (size > limits->bytes_max) {
        (void)json_fail(parser, "a line has more than %u bytes", limits->bytes_max);
        return PARSE_FATAL;
    }
    if (newline == NULL) {
        parser->scanned = input.size;
        return PARSE_MORE;
    }
    parser->scanned = 0;
    *out_consumed = size + 1;
    *out_request = (struct request){ .wire_bytes = size + 1 };
    struct json_decoding decoding = { parser, limits, arena, out_request, NULL };
    return parse_line(&decoding, (struct slice){ input.data, size });
}

/* ── a line ──────────────────────────────────────────────────────────────────────────────────── */

static bool is_blank(struct slice line)
{
    for (size_t i = 0; i < line.size; i++) {
        if (line.data[i] != ' ' && line.data[i] != '\t' && line.data[i] != '\r') {
            return false;
        }
    }
    return true;
}

/* Where the nesting becomes deeper than JSON_DEPTH_MAX; SIZE_MAX when it does not. */
static size_t find_too_deep(struct slice line)
{
    unsigned depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < line.size; i++) {
        char c = line.data[i];
        if (in_string) {
            i += c == '\\' ? 1 : 0;
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > JSON_DEPTH_MAX) {
                return i;
            }
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return SIZE_MAX;
}

static enum parse_result parse_line(struct json_decoding *decoding, struct slice line)
{
    if (is_blank(line)) {
        return PARSE_SKIP;
    }
    size_t too_deep = find_too_deep(line);
    if (too_deep != SIZE_MAX) {
        (void)json_fail(decoding->parser, "JSON nested deeper than %d levels at byte %zu",
                        JSON_DEPTH_MAX, too_deep + 1);
        return PARSE_ERROR;
    }
    json_error_t error;
    decoding->root = json_loadb(line.data, line.size,
                                JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
    if (decoding->root == NULL) {
        (void)json_fail(decoding->parser, "invalid JSON at byte %d: %s", error.position,
                        error.text);
        return PARSE_ERROR;
    }
    bool ok = decode_request(decoding);
    json_decref(decoding->root);
    return ok ? PARSE_REQUEST : PARSE_ERROR;
}

/* ── members ─────────────────────────────────────────────────────────────────────────────────── */

static struct slice to_arena(struct arena *arena, const char *data, size_t size)
{
    char *copy = arena_alloc(arena, size > 0 ? size : 1);
    memcpy(copy, data, size);
    return (struct slice){ copy, size };
}

static struct slice string_to_arena(struct arena *arena, const json_t *string)
{
    return to_arena(arena, json_string_value(string), json_string_length(string));
}

static bool decode_id(struct json_decoding *decoding, const json_t *id)
{
    if (json_is_object(id) || json_is_array(id)) {
        return json_fail(decoding->parser, "\"id\" must be a string, a number, a boolean or null");
    }
    size_t size = json_dumpb(id, NULL, 0, JSON_ENCODE_ANY | JSON_COMPACT);
    if (size == 0) {
        return json_fail(decoding->parser, "\"id\" cannot be echoed");
    }
    char *text = arena_alloc(decoding->arena, size);
    (void)json_dumpb(id, text, size, JSON_ENCODE_ANY | JSON_COMPACT);
    decoding->request->id = (struct slice){ text, size };
    return true;
}

static bool decode_type(struct json_decoding *decoding, const json_t *type)
{
    struct slice text = slice_make(json_string_value(type), json_string_length(type));
    if (!json_is_string(type) ||
        (!slice_equal_nocase(text, "CLIENT") && !slice_equal_nocase(text, "CLUSTER"))) {
        return json_fail(decoding->parser, "\"type\" must be \"CLIENT\" or \"CLUSTER\"");
    }
    return true;
}

static bool decode_client(struct json_decoding *decoding, const json_t *client)
{
    if (!json_is_string(client) || json_string_length(client) == 0) {
        return json_fail(decoding->parser, "\"client\" must be a string that is not empty");
    }
    decoding->request->client = string_to_arena(decoding->arena, client);
    return true;
}

static bool decode_seq(struct json_decoding *decoding, const json_t *seq)
{
    if (!json_is_integer(seq) || json_integer_value(seq) <= 0) {
        return json_fail(decoding->parser, "\"seq\" must be an integer greater than 0");
    }
    decoding->request->seq = (uint64_t)json_integer_value(seq);
    return true;
}

static bool decode_consistency(struct json_decoding *decoding, const json_t *level)
{
    static const struct {
        const char *name;
        enum consistency level;
    } levels[] = {
        { "ANY", CONSISTENCY_ANY },
        { "QUORUM", CONSISTENCY_QUORUM },
        { "ALL", CONSISTENCY_ALL },
        { "STRONG", CONSISTENCY_STRONG },
    };
    struct slice text = slice_make(json_string_value(level), json_string_length(level));
    for (size_t i = 0; json_is_string(level) && i < ARRAY_COUNT(levels); i++) {
        if (slice_equal_nocase(text, levels[i].name)) {
            decoding->request->consistency = levels[i].level;
            return true;
        }
    }
    return json_fail(decoding->parser, "\"consistency\" must be ANY, QUORUM, ALL or STRONG");
}

static bool args_count_ok(struct json_decoding *decoding, uint64_t count)
{
    if (count == 0) {
        return json_fail(decoding->parser, "the command is empty");
    }
    if (count > decoding->limits->args_max) {
        return json_fail(decoding->parser, "more than %u arguments", decoding->limits->args_max);
    }
    decoding->request->argc = (uint32_t)count;
    return true;
}

static bool decode_command(struct json_decoding *decoding, const json_t *command)
{
    if (!json_is_string(command)) {
        return json_fail(decoding->parser, "\"command\" must be a string");
    }
    struct slice line = slice_make(json_string_value(command), json_string_length(command));
    int64_t count = resp_split_line_arena(line, decoding->arena, &decoding->request->argv);
    if (count < 0) {
        return json_fail(decoding->parser, "unbalanced quotes in \"command\"");
    }
    return args_count_ok(decoding, (uint64_t)count);
}

/* ── arguments ───────────────────────────────────────────────────────────────────────────────── */

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Strict: whole groups of four, '=' only at the end, unused bits zero. */
static bool base64_decode(struct slice text, struct arena *arena, struct slice *out)
{
    char *begin = arena_alloc(arena, text.size / 4 * 3 + 1);
    char *to = begin;
    size_t padding = 0;
    while (padding < 2 && padding < text.size && text.data[text.size - 1 - padding] == '=') {
        padding++;
    }
    uint32_t bits = 0;
    for (size_t i = 0; i < text.size; i++) {
        bool is_padding = i + padding >= text.size;
        int value = is_padding ? 0 : base64_value(text.data[i]);
        if (value < 0) {
            return false;
        }
        bits = bits << 6 | (uint32_t)value;
        if (i % 4 == 3) {
            *to++ = (char)(bits >> 16);
            *to++ = (char)(bits >> 8);
            *to++ = (char)bits;
        }
    }
    uint32_t unused = padding == 2 ? 0xffff : padding == 1 ? 0xff : 0;
    if (text.size % 4 != 0 || (bits & unused) != 0) {
        return false;
    }
    *out = (struct slice){ begin, (size_t)(to - begin) - padding };
    return true;
}

static bool decode_base64(struct json_decoding *decoding, const json_t *object, struct slice *out)
{
    const json_t *text = json_object_get(object, "base64");
    return json_is_string(text) && json_object_size(object) == 1 &&
           base64_decode(slice_make(json_string_value(text), json_string_length(text)),
                         decoding->arena, out);
}

static bool decode_arg(struct json_decoding *decoding, const json_t *arg, struct slice *out)
{
    char text[TEXT_DOUBLE_BYTES_MAX];
    switch (json_typeof(arg)) {
    case JSON_STRING:
        *out = string_to_arena(decoding->arena, arg);
        return true;
    case JSON_INTEGER:
        *out = to_arena(decoding->arena, text, text_from_i64(json_integer_value(arg), text));
        return true;
    case JSON_REAL:
        *out = to_arena(decoding->arena, text, text_from_double(json_real_value(arg), text));
        return true;
    case JSON_OBJECT:
        return decode_base64(decoding, arg, out);
    case JSON_ARRAY:
    case JSON_TRUE:
    case JSON_FALSE:
    case JSON_NULL:
        return false;
    }
    return false;
}

static bool decode_args(struct json_decoding *decoding, const json_t *args)
{
    if (!json_is_array(args)) {
        return json_fail(decoding->parser, "\"args\" must be an array");
    }
    size_t count = json_array_size(args);
    if (!args_count_ok(decoding, count)) {
        return false;
    }
    struct slice *argv = arena_alloc(decoding->arena, count * sizeof(argv[0]));
    for (size_t i = 0; i < count; i++) {
        if (!decode_arg(decoding, json_array_get(args, i), &argv[i])) {
            return json_fail(decoding->parser,
                             "\"args\"[%zu] must be a string, a number or {\"base64\":\"...\"}", i);
        }
    }
    decoding->request->argv = argv;
    return true;
}

/* ── the object ──────────────────────────────────────────────────────────────────────────────── */

typedef bool json_member_fn(struct json_decoding *decoding, const json_t *value);

/* In the order in which they are decoded: with the id first, other errors can carry it. */
static const struct {
    const char *name;
    json_member_fn *decode;
} json_members[] = {
    { "id", decode_id },
    { "type", decode_type },
    { "client", decode_client },
    { "seq", decode_seq },
    { "args", decode_args },
    { "command", decode_command },
    { "consistency", decode_consistency },
};

/* The name of a member that is in no table row, or NULL. */
static const char *find_unknown(json_t *root)
{
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(root, name, value)
    {
        size_t row = 0;
        while (row < ARRAY_COUNT(json_members) && strcmp(name, json_members[row].name) != 0) {
            row++;
        }
        if (row == ARRAY_COUNT(json_members)) {
            return name;
        }
    }
    return NULL;
}

static bool decode_request(struct json_decoding *decoding)
{
    json_t *root = decoding->root;
    if (!json_is_object(root)) {
        return json_fail(decoding->parser, "a request must be a JSON object");
    }
    for (size_t i = 0; i < ARRAY_COUNT(json_members); i++) {
        const json_t *value = json_object_get(root, json_members[i].name);
        if (value != NULL && !json_members[i].decode(decoding, value)) {
            return false;
        }
    }
    const char *unknown = find_unknown(root);
    if (unknown != NULL) {
        return json_fail(decoding->parser, "unknown member \"%.40s\"", unknown);
    }
    bool has_command = json_object_get(root, "command") != NULL;
    bool has_args = json_object_get(root, "args") != NULL;
    if (has_command == has_args) {
        return json_fail(decoding->parser, "needs either \"command\" or \"args\"");
    }
    if ((decoding->request->client.size > 0) != (decoding->request->seq > 0)) {
        return json_fail(decoding->parser, "\"client\" and \"seq\" go together");
    }
    return true;
}
