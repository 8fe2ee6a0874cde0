/*
 * cli_print.c — replies as redis-cli shows them, as bare values, and as JSON.
 *
 * Each printer walks the flat nodes once and keeps a stack of the aggregates it is inside of.
 *
 * Read next: cli_table.c.
 */
#include "cli_print.h"

#include "base/text.h"
#include "cli_line.h"

/* ── for people ──────────────────────────────────────────────────────────────────────────────── */

static void scalar_tty(struct buffer *out, const struct cli_reply *reply, uint32_t at)
{
    const struct cli_node *node = &reply->nodes[at];
    struct slice text = cli_text(reply, at);
    switch (node->kind) {
    case CLI_STATUS:
    case CLI_VERBATIM:
        buffer_append_slice(out, text);
        break;
    case CLI_ERROR:
        buffer_append_text(out, "(error) ");
        buffer_append_slice(out, text);
        break;
    case CLI_INTEGER:
        buffer_append_text(out, "(integer) ");
        buffer_append_slice(out, text);
        break;
    case CLI_DOUBLE:
        buffer_append_text(out, "(double) ");
        buffer_append_slice(out, text);
        break;
    case CLI_BIGNUM:
        buffer_append_text(out, "(big number) ");
        buffer_append_slice(out, text);
        break;
    case CLI_BULK:
        cli_quote(out, text);
        break;
    case CLI_NULL:
        buffer_append_text(out, "(nil)");
        break;
    case CLI_BOOLEAN:
        buffer_append_text(out, node->integer != 0 ? "(true)" : "(false)");
        break;
    case CLI_ARRAY:
    case CLI_PUSH:
        buffer_append_text(out, "(empty array)");
        break;
    case CLI_MAP:
        buffer_append_text(out, "(empty hash)");
        break;
    case CLI_SET:
        buffer_append_text(out, "(empty set)");
        break;
    }
}

struct level {
    uint32_t end;    /* of the aggregate's nodes */
    uint32_t index;  /* of the next child */
    uint32_t width;  /* digits of the largest number */
    uint32_t indent; /* columns before the numbers */
    enum cli_kind kind;
};

static uint32_t digits_of(uint32_t number)
{
    char digits[TEXT_I64_BYTES_MAX];
    return (uint32_t)text_from_u64(number, digits);
}

/* What stands before a child: its number, or the arrow to a map's value. */
static void child_begin(struct buffer *out, struct level *level)
{
    bool is_map = level->kind == CLI_MAP;
    if (is_map && level->index % 2 == 1) {
        buffer_append_text(out, " => ");
    } else {
        if (level->index > 0) {
            buffer_printf(out, "\n%*s", (int)level->indent, "");
        }
        uint32_t number = (is_map ? level->index / 2 : level->index) + 1;
        char mark = is_map ? '#' : level->kind == CLI_SET ? '~' : ')';
        buffer_printf(out, "%*u%c ", (int)level->width, number, mark);
    }
    level->index++;
}

/* True when the aggregate holds one value, at whatever depth. */
static bool is_one_line(const struct cli_reply *reply, uint32_t at)
{
    while (reply->nodes[at].count > 0) {
        uint32_t entries = reply->nodes[at].kind == CLI_MAP ? 2 : 1;
        if (reply->nodes[at].count > entries) {
            return false;
        }
        at = entries == 2 ? reply->nodes[at + 1].end : at + 1;
    }
    return true;
}

/* Texts such as INFO's bring their last newline along. */
static void line_end(struct buffer *out)
{
    if (out->size == 0 || out->data[out->size - 1] != '\n') {
        buffer_append_byte(out, '\n');
    }
}

static void print_tty(struct buffer *out, const struct cli_reply *reply)
{
    struct level stack[CLI_DEPTH_MAX];
    uint32_t depth = 0;
    for (uint32_t at = 0; at < reply->count; at++) {
        const struct cli_node *node = &reply->nodes[at];
        while (depth > 0 && at == stack[depth - 1].end) {
            depth--;
        }
        uint32_t indent = 0;
        if (depth > 0) {
            child_begin(out, &stack[depth - 1]);
            indent = stack[depth - 1].indent + stack[depth - 1].width + 2;
        }
        if (node->count == 0) {
            scalar_tty(out, reply, at);
            continue;
        }
        uint32_t largest = node->kind == CLI_MAP ? node->count / 2 : node->count;
        bool is_value =
            depth > 0 && stack[depth - 1].kind == CLI_MAP && stack[depth - 1].index % 2 == 0;
        if (is_value && !is_one_line(reply, at)) {
            buffer_printf(out, "\n%*s", (int)indent, ""); /* below its key */
        }
        stack[depth++] = (struct level){
            .end = node->end, .width = digits_of(largest), .indent = indent, .kind = node->kind
        };
    }
    line_end(out);
}

/* ── bare ────────────────────────────────────────────────────────────────────────────────────── */

static void scalar_raw(struct buffer *out, const struct cli_reply *reply, uint32_t at)
{
    const struct cli_node *node = &reply->nodes[at];
    if (node->kind == CLI_BOOLEAN) {
        buffer_append_text(out, node->integer != 0 ? "true" : "false");
    } else if (!cli_is_aggregate(node)) {
        buffer_append_slice(out, cli_text(reply, at));
    }
}

static void print_raw(struct buffer *out, const struct cli_reply *reply)
{
    for (uint32_t at = 0; at < reply->count; at++) {
        if (reply->nodes[at].count == 0) {
            scalar_raw(out, reply, at);
            buffer_append_byte(out, '\n');
        }
    }
}

/* ── JSON ────────────────────────────────────────────────────────────────────────────────────── */

static void json_escape(struct buffer *out, unsigned char byte)
{
    static const char from[] = "\"\\\n\r\t";
    static const char to[] = "\"\\nrt";
    const char *found = memchr(from, byte, sizeof(from) - 1);
    if (found != NULL) {
        buffer_append_byte(out, '\\');
        buffer_append_byte(out, to[found - from]);
    } else if (byte < 0x20 || byte == 0x7F) {
        buffer_printf(out, "\\u%04x", (unsigned)byte);
    } else {
        buffer_append_byte(out, (char)byte);
    }
}

static void json_string(struct buffer *out, struct slice text)
{
    buffer_append_byte(out, '"');
    for (size_t i = 0; i < text.size; i++) {
        json_escape(out, (unsigned char)text.data[i]);
    }
    buffer_append_byte(out, '"');
}

static void base64(struct buffer *out, struct slice bytes)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t left = bytes.size - i;
        uint32_t word = (uint32_t)(unsigned char)bytes.data[i] << 16;
        word |= left > 1 ? (uint32_t)(unsigned char)bytes.data[i + 1] << 8 : 0;
        word |= left > 2 ? (uint32_t)(unsigned char)bytes.data[i + 2] : 0;
        buffer_append_byte(out, letters[word >> 18 & 63]);
        buffer_append_byte(out, letters[word >> 12 & 63]);
        buffer_append_byte(out, left > 1 ? letters[word >> 6 & 63] : '=');
        buffer_append_byte(out, left > 2 ? letters[word & 63] : '=');
    }
}

static void json_bytes(struct buffer *out, struct slice text, bool is_key)
{
    if (text_is_utf8(text)) {
        json_string(out, text);
    } else if (is_key) { /* a key must be a string */
        buffer_append_text(out, "\"base64:");
        base64(out, text);
        buffer_append_byte(out, '"');
    } else {
        buffer_append_text(out, "{\"base64\":\"");
        base64(out, text);
        buffer_append_text(out, "\"}");
    }
}

/* A number as the server wrote it, where JSON writes it alike; infinities are strings. */
static void json_number(struct buffer *out, struct slice text)
{
    size_t sign = text.size > 0 && text.data[0] == '-';
    bool is_number = text.size > sign && text.data[sign] >= '0' && text.data[sign] <= '9' &&
                     text.data[text.size - 1] != '.';
    if (is_number) {
        buffer_append_slice(out, text);
    } else {
        json_string(out, text);
    }
}

static void json_scalar(struct buffer *out, const struct cli_reply *reply, uint32_t at, bool is_key)
{
    const struct cli_node *node = &reply->nodes[at];
    struct slice text = cli_text(reply, at);
    if (is_key) {
        json_bytes(out, text, is_key);
        return;
    }
    switch (node->kind) {
    case CLI_STATUS:
    case CLI_VERBATIM:
    case CLI_BULK:
        json_bytes(out, text, is_key);
        break;
    case CLI_ERROR:
        buffer_append_text(out, "{\"error\":");
        json_bytes(out, text, is_key);
        buffer_append_byte(out, '}');
        break;
    case CLI_INTEGER:
    case CLI_DOUBLE:
    case CLI_BIGNUM:
        json_number(out, text);
        break;
    case CLI_NULL:
        buffer_append_text(out, "null");
        break;
    case CLI_BOOLEAN:
        buffer_append_text(out, node->integer != 0 ? "true" : "false");
        break;
    case CLI_ARRAY:
    case CLI_PUSH:
    case CLI_SET:
        buffer_append_text(out, "[]");
        break;
    case CLI_MAP:
        buffer_append_text(out, "{}");
        break;
    }
}

static void json_close(struct buffer *out, const struct level *stack, uint32_t *depth, uint32_t at)
{
    while (*depth > 0 && at == stack[*depth - 1].end) {
        (*depth)--;
        buffer_append_byte(out, stack[*depth].kind == CLI_MAP ? '}' : ']');
    }
}

static void print_json(struct buffer *out, const struct cli_reply *reply)
{
    struct level stack[CLI_DEPTH_MAX];
    uint32_t depth = 0;
    for (uint32_t at = 0; at < reply->count; at++) {
        const struct cli_node *node = &reply->nodes[at];
        json_close(out, stack, &depth, at);
        bool is_key = false;
        if (depth > 0) {
            struct level *level = &stack[depth - 1];
            bool is_value = level->kind == CLI_MAP && level->index % 2 == 1;
            is_key = level->kind == CLI_MAP && !is_value;
            buffer_append_text(out, is_value ? ":" : level->index > 0 ? "," : "");
            level->index++;
        }
        if (node->count == 0 || is_key) {
            json_scalar(out, reply, at, is_key);
            at = is_key ? node->end - 1 : at; /* a key that is an aggregate: only an empty name */
            continue;
        }
        buffer_append_byte(out, node->kind == CLI_MAP ? '{' : '[');
        stack[depth++] = (struct level){ .end = node->end, .kind = node->kind };
    }
    json_close(out, stack, &depth, reply->count);
    buffer_append_byte(out, '\n');
}

/* ── choosing ────────────────────────────────────────────────────────────────────────────────── */

void cli_print_cell(struct buffer *out, const struct cli_reply *reply, uint32_t node)
{
    uint32_t end = reply->nodes[node].end;
    size_t before = out->size;
    for (uint32_t at = node; at < end; at++) {
        if (reply->nodes[at].count == 0) {
            buffer_append_text(out, out->size > before ? " " : "");
            scalar_raw(out, reply, at);
        }
    }
}

void cli_print(struct buffer *out, enum cli_style style, const struct cli_reply *reply,
               const struct slice *args, uint32_t count)
{
    switch (style) {
    case CLI_STYLE_JSON:
        print_json(out, reply);
        return;
    case CLI_STYLE_RAW:
        print_raw(out, reply);
        return;
    case CLI_STYLE_TTY:
        if (!cli_table_print(out, reply, args, count)) {
            print_tty(out, reply);
        }
        return;
    }
}
