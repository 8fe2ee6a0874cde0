/*
 * cli_line.c — splitting and quoting command lines.
 */
#include "cli_line.h"

#include "base/mem.h"
#include "base/text.h"

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\v' || c == '\f';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = text_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* What stands behind a backslash in double quotes; returns how many bytes of it were used. */
static size_t escape_read(struct slice rest, char *out)
{
    if (rest.data[0] == 'x' && rest.size >= 3 && hex_digit(rest.data[1]) >= 0 &&
        hex_digit(rest.data[2]) >= 0) {
        *out = (char)(hex_digit(rest.data[1]) * 16 + hex_digit(rest.data[2]));
        return 3;
    }
    static const char from[] = "nrtba";
    static const char to[] = "\n\r\t\b\a";
    const char *found = memchr(from, rest.data[0], sizeof(from) - 1);
    *out = found != NULL ? to[found - from] : rest.data[0];
    return 1;
}

/* Reads a quoted piece, `at` behind its opening quote; returns the place behind the closing one, or
 * 0 when there is none or something stands right behind it. */
static size_t quoted_read(struct slice line, size_t at, char quote, struct buffer *out)
{
    while (at < line.size && line.data[at] != quote) {
        char c = line.data[at++];
        if (quote == '"' && c == '\\' && at < line.size) {
            at += escape_read(slice_make(line.data + at, line.size - at), &c);
        } else if (quote == '\'' && c == '\\' && at < line.size && line.data[at] == '\'') {
            c = line.data[at++];
        }
        buffer_append_byte(out, c);
    }
    bool is_closed = at < line.size && (at + 1 == line.size || is_space(line.data[at + 1]));
    return is_closed ? at + 1 : 0;
}

static void item_add(struct cli_args *args, size_t start)
{
    if (args->count == args->capacity) {
        args->capacity = args->capacity == 0 ? 16 : args->capacity * 2;
        args->items = mem_realloc(args->items, args->capacity * sizeof(*args->items));
    }
    /* The text may still move: offsets now, pointers at the end. */
    args->items[args->count++] = slice_make(NULL, start);
}

/* Reads one argument; returns the place behind it, or 0. */
static size_t item_read(struct slice line, size_t at, struct buffer *out)
{
    while (at < line.size && !is_space(line.data[at])) {
        char c = line.data[at++];
        if (c != '"' && c != '\'') {
            buffer_append_byte(out, c);
            continue;
        }
        return quoted_read(line, at, c, out);
    }
    return at;
}

bool cli_args_split(struct cli_args *args, struct slice line)
{
    args->count = 0;
    args->text.size = 0;
    (void)buffer_reserve(&args->text, 1);
    size_t at = 0;
    for (;;) {
        while (at < line.size && is_space(line.data[at])) {
            at++;
        }
        if (at == line.size) {
            break;
        }
        item_add(args, args->text.size);
        at = item_read(line, at, &args->text);
        if (at == 0) {
            args->count = 0;
            return false;
        }
    }
    for (uint32_t i = 0; i < args->count; i++) {
        size_t start = args->items[i].size;
        size_t end = i + 1 < args->count ? args->items[i + 1].size : args->text.size;
        args->items[i] = slice_make(args->text.data + start, end - start);
    }
    return true;
}

void cli_args_free(struct cli_args *args)
{
    mem_free(args->items);
    buffer_free(&args->text);
    *args = (struct cli_args){ 0 };
}

void cli_quote(struct buffer *out, struct slice text)
{
    static const char from[] = "\n\r\t\a\b\"\\";
    static const char to[] = "nrtab\"\\";
    buffer_append_byte(out, '"');
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        const char *found = memchr(from, c, sizeof(from) - 1);
        if (found != NULL) {
            buffer_append_byte(out, '\\');
            buffer_append_byte(out, to[found - from]);
        } else if ((unsigned char)c < ' ' || (unsigned char)c >= 0x7F) {
            buffer_printf(out, "\\x%02x", (unsigned)(unsigned char)c);
        } else {
            buffer_append_byte(out, c);
        }
    }
    buffer_append_byte(out, '"');
}

static bool is_word(const struct cli_args *args, uint32_t at, const char *word)
{
    return at < args->count && slice_equal_nocase(args->items[at], word);
}

bool cli_is_secret(const struct cli_args *args)
{
    if (is_word(args, 0, "auth") || (is_word(args, 0, "acl") && is_word(args, 1, "setuser"))) {
        return true;
    }
    bool takes_auth = is_word(args, 0, "hello") || is_word(args, 0, "migrate");
    bool sets = is_word(args, 0, "config") && is_word(args, 1, "set");
    for (uint32_t i = 1; i < args->count; i++) {
        if ((takes_auth && (is_word(args, i, "auth") || is_word(args, i, "auth2"))) ||
            (sets && (is_word(args, i, "requirepass") || is_word(args, i, "masterauth")))) {
            return true;
        }
    }
    return false;
}

const char *cli_refusal(const struct slice *args, uint32_t count)
{
    static const char *const streams[] = { "monitor",    "subscribe", "psubscribe",
                                           "ssubscribe", "sync",      "psync" };
    if (count == 0) {
        return NULL;
    }
    for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
        if (slice_equal_nocase(args[0], streams[i])) {
            return "streams of messages are not shown by this client";
        }
    }
    bool is_reply =
        count > 2 && slice_equal_nocase(args[0], "client") && slice_equal_nocase(args[1], "reply");
    if (is_reply && !slice_equal_nocase(args[2], "on")) {
        return "this client waits for every reply";
    }
    return NULL;
}
