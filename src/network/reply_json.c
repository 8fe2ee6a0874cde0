/*
 * reply_json.c — replies as JSON lines, written as they come.
 *
 * The first value decides how the line begins: {"id":42,"success":true,"data": or, when it is an
 * error, {"id":42,"success":false,"error": .  A small stack of what is still missing in each open
 * aggregate says which comma, colon or closing bracket comes next.
 *
 * Decoding JSON is jansson's; encoding is so little that building a tree first would only cost
 * memory: a reply may have a million elements.
 *
 * Read next: reply.c.
 */
#include "network/reply_json.h"

#include "base/assert.h"
#include "base/text.h"

static void json_line_begin(struct reply *reply, bool success);
static bool json_at_key(const struct reply *reply);
static void json_value_begin(struct reply *reply);
static void json_value_end(struct reply *reply);
static void json_quote(struct buffer *out, struct slice text);
static void json_base64(struct buffer *out, struct slice data);

void reply_json_error(struct reply *reply, struct slice message)
{
    struct buffer *out = reply->out;
    if (reply->depth == 0) {
        const char *space = memchr(message.data, ' ', message.size);
        size_t code_size = space != NULL ? (size_t)(space - message.data) : message.size;
        json_line_begin(reply, /* success= */ false);
        buffer_append_text(out, "\"error\":");
        reply->error_at = out->size + 1;
        json_quote(out, message);
        reply->error_size = out->size - 1 - reply->error_at;
        buffer_append_text(out, ",\"code\":");
        json_quote(out, (struct slice){ message.data, code_size });
        return;
    }
    ASSERT(!json_at_key(reply));
    json_value_begin(reply);
    buffer_append_text(out, "{\"error\":");
    json_quote(out, message);
    buffer_append_byte(out, '}');
    json_value_end(reply);
}

void reply_json_string(struct reply *reply, struct slice value)
{
    bool is_key = json_at_key(reply);
    bool is_text = text_is_utf8(value);
    json_value_begin(reply);
    if (is_text) {
        json_quote(reply->out, value);
    } else {
        buffer_append_text(reply->out, is_key ? "\"base64:" : "{\"base64\":\"");
        json_base64(reply->out, value);
        buffer_append_text(reply->out, is_key ? "\"" : "\"}");
    }
    json_value_end(reply);
}

void reply_json_token(struct reply *reply, struct slice token)
{
    bool is_key = json_at_key(reply);
    json_value_begin(reply);
    if (is_key) {
        json_quote(reply->out, token);
    } else {
        buffer_append_slice(reply->out, token);
    }
    json_value_end(reply);
}

void reply_json_aggregate(struct reply *reply, bool is_map, uint64_t values)
{
    ASSERT(reply->depth < REPLY_DEPTH_MAX);
    ASSERT(!json_at_key(reply));
    json_value_begin(reply);
    buffer_append_byte(reply->out, is_map ? '{' : '[');
    if (values == 0) {
        buffer_append_byte(reply->out, is_map ? '}' : ']');
        json_value_end(reply);
        return;
    }
    reply->left[reply->depth] = values;
    reply->is_map[reply->depth] = is_map;
    reply->depth += 1;
}

void reply_json_end(struct reply *reply)
{
    ASSERT(reply->depth == 0);
    if (reply->version > 0 && !reply->is_error) {
        buffer_printf(reply->out, ",\"version\":%llu", (unsigned long long)reply->version);
    }
    buffer_append(reply->out, "}\n", 2);
}

/* ── punctuation ─────────────────────────────────────────────────────────────────────────────── */

static void json_line_begin(struct reply *reply, bool success)
{
    buffer_append_byte(reply->out, '{');
    if (reply->id.size > 0) {
        buffer_append_text(reply->out, "\"id\":");
        buffer_append_slice(reply->out, reply->id);
        buffer_append_byte(reply->out, ',');
    }
    buffer_append_text(reply->out, success ? "\"success\":true," : "\"success\":false,");
}

/* The next value is a key: an even number of values is missing in a map. */
static bool json_at_key(const struct reply *reply)
{
    return reply->depth > 0 && reply->is_map[reply->depth - 1] &&
           reply->left[reply->depth - 1] % 2 == 0;
}

static void json_value_begin(struct reply *reply)
{
    if (reply->depth == 0) {
        json_line_begin(reply, /* success= */ true);
        buffer_append_text(reply->out, "\"data\":");
        return;
    }
    char last = reply->out->data[reply->out->size - 1];
    if (last != '[' && last != '{' && last != ':') {
        buffer_append_byte(reply->out, ',');
    }
}

static void json_value_end(struct reply *reply)
{
    while (reply->depth > 0) {
        uint64_t left = --reply->left[reply->depth - 1];
        bool is_map = reply->is_map[reply->depth - 1];
        if (left > 0) {
            if (is_map && left % 2 == 1) {
                buffer_append_byte(reply->out, ':');
            }
            return;
        }
        buffer_append_byte(reply->out, is_map ? '}' : ']');
        reply->depth -= 1;
    }
}

/* ── strings ─────────────────────────────────────────────────────────────────────────────────── */

static bool json_is_plain(unsigned char c)
{
    return c >= 0x20 && c != '"' && c != '\\';
}

static void json_escape(struct buffer *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char letters[] = "btn?fr"; /* of the bytes 8 to 13 */
    char *to = buffer_reserve(out, 6);
    size_t size = 2;
    to[0] = '\\';
    if (c == '"' || c == '\\') {
        to[1] = (char)c;
    } else if (c >= '\b' && c <= '\r' && c != '\v') {
        to[1] = letters[c - '\b'];
    } else {
        memcpy(to, "\\u00", 4);
        to[4] = hex[c >> 4];
        to[5] = hex[c & 15];
        size = 6;
    }
    out->size += size;
}

/* `text` must be UTF-8. */
static void json_quote(struct buffer *out, struct slice text)
{
    buffer_append_byte(out, '"');
    size_t at = 0;
    while (at < text.size) {
        size_t plain = at;
        while (plain < text.size && json_is_plain((unsigned char)text.data[plain])) {
            plain++;
        }
        buffer_append(out, text.data + at, plain - at);
        if (plain < text.size) {
            json_escape(out, (unsigned char)text.data[plain++]);
        }
        at = plain;
    }
    buffer_append_byte(out, '"');
}

static void json_base64(struct buffer *out, struct slice data)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *to = buffer_reserve(out, (data.size + 2) / 3 * 4);
    for (size_t i = 0; i < data.size; i += 3) {
        size_t left = data.size - i;
        uint32_t bits = (uint32_t)(unsigned char)data.data[i] << 16;
        bits |= left > 1 ? (uint32_t)(unsigned char)data.data[i + 1] << 8 : 0;
        bits |= left > 2 ? (uint32_t)(unsigned char)data.data[i + 2] : 0;
        *to++ = letters[bits >> 18];
        *to++ = letters[bits >> 12 & 63];
        *to++ = left > 1 ? letters[bits >> 6 & 63] : '=';
        *to++ = left > 2 ? letters[bits & 63] : '=';
    }
    out->size = (size_t)(to - out->data);
}
