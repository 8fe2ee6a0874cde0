/*
 * protocol_resp.c — parsing RESP requests.
 *
 * A request that lies complete in the input (nearly all do) is parsed in one go: its arguments are
 * written straight to the arena and no state is kept.  Of a request that arrives in pieces the
 * complete arguments are kept in the parser; a length line cut in two is read again, since it is
 * short.  A length line is refused at its first wrong byte, so a long one never has to be stored.
 *
 * Read next: protocol_resp.h, conn.c.
 */
#include "network/protocol_resp.h"

#include "base/assert.h"
#include "base/endian.h"
#include "base/limits.h"
#include "base/mem.h"

#include <stdio.h>

enum {
    CRLF = 0x0a0d,           /* as load_u16 reads it */
    SHORTEST_BULK_BYTES = 6, /* "$0\r\n\r\n" */
    ARENA_ARGS_MAX = 64,     /* up to so many announced arguments we make room at once */
    LENGTH_DIGITS_MAX = 10,  /* digits a length can have: all limits are below 10^10 */
};

enum length_result { LENGTH_OK, LENGTH_MORE, LENGTH_BAD };

static enum parse_result parse_multibulk(struct resp_parser *parser, struct slice input,
                                         const struct parse_limits *limits, struct arena *arena,
                                         struct request *out_request, size_t *out_consumed);
static enum parse_result parse_inline(struct resp_parser *parser, struct slice input,
                                      const struct parse_limits *limits, struct arena *arena,
                                      struct request *out_request, size_t *out_consumed);

void resp_parser_init(struct resp_parser *parser)
{
    *parser = (struct resp_parser){ 0 };
}

void resp_parser_deinit(struct resp_parser *parser)
{
    mem_free(parser->argv);
    *parser = (struct resp_parser){ 0 };
}

enum parse_result resp_parse(struct resp_parser *parser, struct slice input,
                             const struct parse_limits *limits, struct arena *arena,
                             struct request *out_request, size_t *out_consumed)
{
    ASSERT(parser->scanned <= input.size);
    if (input.size == 0) {
        return PARSE_MORE;
    }
    if (LIKELY(input.data[0] == '*')) {
        return parse_multibulk(parser, input, limits, arena, out_request, out_consumed);
    }
    return parse_inline(parser, input, limits, arena, out_request, out_consumed);
}

COLD static enum parse_result parse_fail(struct resp_parser *parser, const char *text)
{
    (void)snprintf(parser->error, sizeof(parser->error), "Protocol error: %s", text);
    return PARSE_FATAL;
}

/* ── multibulk ───────────────────────────────────────────────────────────────────────────────── */

/* Reads "<decimal>\r\n" as strictly as Redis: no sign but '-', no leading zeros. */
static inline enum length_result read_length(const char **at, const char *end, int64_t *out)
{
    const char *p = *at;
    bool negative = p < end && *p == '-';
    p += negative ? 1 : 0;
    const char *first = p;
    int64_t value = 0;
    for (; p < end; p++) {
        unsigned digit = (unsigned char)*p - (unsigned)'0';
        if (digit > 9) {
            break;
        }
        value = value * 10 + digit;
        if (UNLIKELY(p - first == LENGTH_DIGITS_MAX)) {
            return LENGTH_BAD;
        }
    }
    if (UNLIKELY(end - p < 2)) {
        return p == end || *p == '\r' ? LENGTH_MORE : LENGTH_BAD;
    }
    bool leading_zero = *first == '0' && (p - first > 1 || negative);
    if (UNLIKELY(p == first || p[0] != '\r' || p[1] != '\n' || leading_zero)) {
        return LENGTH_BAD;
    }
    *at = p + 2;
    *out = negative ? -value : value;
    return LENGTH_OK;
}

COLD static enum parse_result fail_not_bulk(struct resp_parser *parser, unsigned char got)
{
    char text[40];
    (void)snprintf(
        text, sizeof(text),
        got >= ' ' && got < 0x7f ? "expected '$', got '%c'" : "expected '$', got '\\x%02x'", got);
    return parse_fail(parser, text);
}

/* What is being read: [begin, end) has arrived and is within the limit of a request, `at` is the
 * next byte. */
struct cursor {
    const char *begin;
    const char *at;
    const char *end;
    const struct parse_limits *limits;
};

COLD static enum parse_result fail_too_large(struct resp_parser *parser,
                                             const struct parse_limits *limits)
{
    bool is_small = limits->bytes_max < REQUEST_BYTES_MAX;
    return parse_fail(parser, is_small ? "unauthenticated bulk length" : "invalid bulk length");
}

/* Reads "$<size>\r\n<bytes>\r\n", any size. */
static enum parse_result read_any_bulk(struct resp_parser *parser, struct cursor *cursor,
                                       struct slice *out)
{
    const char *p = cursor->at;
    const char *end = cursor->end;
    if (p == end) {
        return PARSE_MORE;
    }
    if (*p != '$') {
        return fail_not_bulk(parser, (unsigned char)*p);
    }
    p += 1;
    int64_t size = 0;
    enum length_result result = read_length(&p, end, &size);
    if (result == LENGTH_MORE) {
        return PARSE_MORE;
    }
    if (result == LENGTH_BAD || size < 0 || size > REQUEST_BYTES_MAX) {
        return parse_fail(parser, "invalid bulk length");
    }
    if (p - cursor->begin + size + 2 > cursor->limits->bytes_max) {
        return fail_too_large(parser, cursor->limits);
    }
    if (end - p < size + 2) {
        return PARSE_MORE;
    }
    if (load_u16(p + size) != CRLF) {
        return parse_fail(parser, "expected CRLF behind a bulk");
    }
    *out = (struct slice){ p, (size_t)size };
    cursor->at = p + size + 2;
    return PARSE_REQUEST;
}

/* The same, where most are short: a size of one or two digits, and all of it there. */
static inline enum parse_result read_bulk(struct resp_parser *parser, struct cursor *cursor,
                                          struct slice *out)
{
    const char *p = cursor->at;
    if (UNLIKELY(cursor->end - p < SHORTEST_BULK_BYTES || *p != '$')) {
        return read_any_bulk(parser, cursor, out);
    }
    uint32_t word = load_u32(p + 1);
    uint32_t size = (word & 0xff) - '0';
    if ((word >> 8 & 0xffff) == CRLF && size <= 9) {
        p += 4;
    } else {
        uint32_t low = (word >> 8 & 0xff) - '0';
        if (UNLIKELY(word >> 16 != CRLF || size - 1 > 8 || low > 9)) {
            return read_any_bulk(parser, cursor, out);
        }
        size = size * 10 + low;
        p += 5;
    }
    if (UNLIKELY(cursor->end - p < size + 2 || load_u16(p + size) != CRLF)) {
        return read_any_bulk(parser, cursor, out);
    }
    *out = (struct slice){ p, size };
    cursor->at = p + size + 2;
    return PARSE_REQUEST;
}

/* Reads "*<count>\r\n".  PARSE_SKIP: a count of nothing. */
static inline enum parse_result read_header(struct resp_parser *parser, struct cursor *cursor)
{
    int64_t count = 0;
    const char *p = cursor->at + 1;
    enum length_result result = read_length(&p, cursor->end, &count);
    if (UNLIKELY(result == LENGTH_MORE)) {
        return PARSE_MORE;
    }
    if (UNLIKELY(result == LENGTH_BAD || count > REQUEST_ARGS_MAX)) {
        return parse_fail(parser, "invalid multibulk length");
    }
    if (UNLIKELY(count > cursor->limits->args_max)) {
        return parse_fail(parser, "unauthenticated multibulk length");
    }
    cursor->at = p;
    if (UNLIKELY(count <= 0)) {
        return PARSE_SKIP;
    }
    parser->args_count = (uint32_t)count;
    return PARSE_REQUEST;
}

/* Appends to the arguments kept across calls; they grow with what arrives. */
static void keep_arg(struct resp_parser *parser, struct slice arg)
{
    if (parser->argc == parser->argv_capacity) {
        uint32_t capacity = parser->argv_capacity == 0 ? 16 : parser->argv_capacity * 2;
        parser->argv = mem_realloc(parser->argv, capacity * sizeof(parser->argv[0]));
        parser->argv_capacity = capacity;
    }
    parser->argv[parser->argc++] = arg;
}

/* The kept arguments point to where the input lay at the last call. */
static void follow_input(struct resp_parser *parser, const char *base)
{
    if (parser->base != base) {
        for (uint32_t i = 0; i < parser->argc; i++) {
            size_t offset = (uintptr_t)parser->argv[i].data - (uintptr_t)parser->base;
            parser->argv[i].data = base + offset;
        }
        parser->base = base;
    }
}

/* Goes on with a request of which a part arrived before, or that is too long for parse_whole. */
static enum parse_result parse_pieces(struct resp_parser *parser, struct cursor *cursor,
                                      struct arena *arena, struct slice **out_argv)
{
    follow_input(parser, cursor->begin);
    while (parser->argc < parser->args_count) {
        struct slice arg;
        enum parse_result result = read_bulk(parser, cursor, &arg);
        if (result != PARSE_REQUEST) {
            return result;
        }
        keep_arg(parser, arg);
    }
    size_t size = parser->args_count * sizeof(struct slice);
    *out_argv = arena_alloc(arena, size);
    memcpy(*out_argv, parser->argv, size);
    return PARSE_REQUEST;
}

/* Parses a request straight into the arena.  When its end has not arrived, what is complete is
 * kept for parse_pieces. */
static inline enum parse_result parse_whole(struct resp_parser *parser, struct cursor *cursor,
                                            struct arena *arena, struct slice **out_argv)
{
    uint32_t count = parser->args_count;
    struct slice *argv = arena_reserve(arena, count * sizeof(argv[0]));
    for (uint32_t argc = 0; argc < count; argc++) {
        enum parse_result result = read_bulk(parser, cursor, &argv[argc]);
        if (UNLIKELY(result != PARSE_REQUEST)) {
            parser->base = cursor->begin;
            for (uint32_t i = 0; i < argc; i++) {
                keep_arg(parser, argv[i]);
            }
            return result;
        }
    }
    arena_take(arena, count * sizeof(argv[0]));
    *out_argv = argv;
    return PARSE_REQUEST;
}

static enum parse_result parse_multibulk(struct resp_parser *parser, struct slice input,
                                         const struct parse_limits *limits, struct arena *arena,
                                         struct request *out_request, size_t *out_consumed)
{
    size_t size = input.size < limits->bytes_max ? input.size : limits->bytes_max;
    if (UNLIKELY(parser->scanned > size)) {
        return fail_too_large(parser, limits); /* RESET came between: the limits are lower now */
    }
    struct cursor cursor = { input.data, input.data + parser->scanned, input.data + size, limits };
    bool begun = parser->args_count > 0;
    if (LIKELY(!begun)) {
        enum parse_result result = read_header(parser, &cursor);
        if (UNLIKELY(result != PARSE_REQUEST)) {
            *out_consumed = (size_t)(cursor.at - cursor.begin);
            return result;
        }
    }
    struct slice *argv = NULL;
    uint32_t count = parser->args_count;
    enum parse_result result = !begun && count <= ARENA_ARGS_MAX
                                   ? parse_whole(parser, &cursor, arena, &argv)
                                   : parse_pieces(parser, &cursor, arena, &argv);
    size_t used = (size_t)(cursor.at - cursor.begin);
    if (UNLIKELY(result != PARSE_REQUEST)) {
        parser->scanned = used;
        bool is_too_large = result == PARSE_MORE && input.size > limits->bytes_max;
        return is_too_large ? fail_too_large(parser, limits) : result;
    }
    if (UNLIKELY(parser->argv != NULL)) {
        resp_parser_deinit(parser);
    }
    parser->args_count = 0;
    parser->scanned = 0;
    *out_request = (struct request){ .argv = argv, .argc = count, .wire_bytes = used };
    *out_consumed = used;
    return PARSE_REQUEST;
}

/* ── inline commands ─────────────────────────────────────────────────────────────────────────── */

static enum parse_result parse_inline(struct resp_parser *parser, struct slice input,
                                      const struct parse_limits *limits, struct arena *arena,
                                      struct request *out_request, size_t *out_consumed)
{
    size_t limit = limits->bytes_max < INLINE_BYTES_MAX ? limits->bytes_max : INLINE_BYTES_MAX;
    const char *newline = memchr(input.data + parser->scanned, '\n', input.size - parser->scanned);
    size_t size = newline != NULL ? (size_t)(newline - input.data) : input.size;
    if (size > limit) {
        return parse_fail(parser, "too big inline request");
    }
    if (newline == NULL) {
        parser->scanned = input.size;
        return PARSE_MORE;
    }
    parser->scanned = 0;
    *out_consumed = size + 1;
    size -= size > 0 && input.data[size - 1] == '\r' ? 1 : 0;
    struct slice *argv = NULL;
    int64_t count = resp_split_line_arena((struct slice){ input.data, size }, arena, &argv);
    if (count < 0) {
        return parse_fail(parser, "unbalanced quotes in request");
    }
    if (count == 0) {
        return PARSE_SKIP;
    }
    if (count > limits->args_max) {
        return parse_fail(parser, "unauthenticated multibulk length");
    }
    /* A web page made some browser talk to us: whatever stands in the body must not be run. */
    if (slice_equal_nocase(argv[0], "post") || slice_equal_nocase(argv[0], "host:")) {
        return parse_fail(parser, "possible HTTP request");
    }
    *out_request =
        (struct request){ .argv = argv, .argc = (uint32_t)count, .wire_bytes = *out_consumed };
    return PARSE_REQUEST;
}

/* ── splitting a line ────────────────────────────────────────────────────────────────────────── */

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static char escaped_byte(char c)
{
    switch (c) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return c;
    }
}

/* Unquotes from behind the opening quote to behind the closing one; NULL when there is none. */
static const char *split_quoted(const char *p, const char *end, char quote, char **to)
{
    for (; p < end && *p != quote; p++) {
        char c = *p;
        if (c == '\\' && quote == '\'' && end - p > 1 && p[1] == '\'') {
            c = *++p;
        } else if (c == '\\' && quote == '"' && end - p > 1) {
            c = escaped_byte(*++p);
            if (*p == 'x' && end - p > 2 && hex_value(p[1]) >= 0 && hex_value(p[2]) >= 0) {
                c = (char)(hex_value(p[1]) << 4 | hex_value(p[2]));
                p += 2;
            }
        }
        *(*to)++ = c;
    }
    /* Nothing but space may follow a closing quote. */
    return p < end && (end - p == 1 || is_space(p[1])) ? p + 1 : NULL;
}

/* `room` must hold split_room(line) bytes: the array, and the strings behind it. */
static size_t split_args_max(struct slice line)
{
    return line.size / 2 + 1;
}

static size_t split_room(struct slice line)
{
    return split_args_max(line) * sizeof(struct slice) + line.size;
}

static int64_t split_line(struct slice line, void *room)
{
    struct slice *args = room;
    char *to = (char *)(args + split_args_max(line));
    const char *p = line.data;
    const char *end = line.data + line.size;
    int64_t count = 0;
    for (;;) {
        while (p < end && is_space(*p)) {
            p++;
        }
        if (p == end) {
            return count;
        }
        char *word = to;
        while (p < end && !is_space(*p)) {
            if (*p == '"' || *p == '\'') {
                p = split_quoted(p + 1, end, *p, &to);
                if (p == NULL) {
                    return -1;
                }
                break;
            }
            *to++ = *p++;
        }
        args[count++] = (struct slice){ word, (size_t)(to - word) };
    }
}

int64_t resp_split_line_arena(struct slice line, struct arena *arena, struct slice **out_args)
{
    *out_args = arena_alloc(arena, split_room(line));
    return split_line(line, *out_args);
}

int64_t resp_split_line(struct slice line, struct slice **out_args)
{
    void *room = mem_alloc(split_room(line));
    int64_t count = split_line(line, room);
    if (count < 0) {
        mem_free(room);
        return -1;
    }
    *out_args = room;
    return count;
}
