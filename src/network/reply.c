/*
 * reply.c — the vocabulary in RESP; JSON is in reply_json.c.
 *
 * `owed` counts the values a complete reply still needs: one at first, and an aggregate of n adds
 * n - 1.  A command that writes too much or too little is caught at once, in whatever protocol.
 *
 * Read next: reply.h, reply_json.c.
 */
#include "network/reply.h"

#include "base/assert.h"
#include "base/text.h"
#include "network/reply_json.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

enum { ERROR_TEXT_MAX = 1024 };

void reply_begin(struct reply *reply, enum protocol protocol, struct buffer *out, struct slice id)
{
    ASSERT(protocol != PROTOCOL_UNKNOWN);
    reply->protocol = protocol;
    reply->out = out;
    reply->is_error = false;
    reply->is_sink = false;
    reply->sum = 0;
    reply->start = out->size;
    reply->owed = 1;
    reply->error_size = 0;
    reply->id = id;
    reply->version = 0;
    reply->depth = 0;
}

void reply_begin_sink(struct reply *reply)
{
    *reply = (struct reply){ .protocol = PROTOCOL_RESP2, .is_sink = true, .owed = 1 };
}

void reply_end(struct reply *reply)
{
    ASSERT(reply->owed == 0);
    if (reply->protocol == PROTOCOL_JSON && !reply->is_sink) {
        reply_json_end(reply);
    }
}

void reply_version(struct reply *reply, uint64_t version)
{
    reply->version = version;
}

/* Counts one value; false when it is not to be encoded. */
static inline bool value_begin(struct reply *reply)
{
    ASSERT(reply->owed > 0);
    reply->owed -= 1;
    return LIKELY(!reply->is_sink);
}

static inline bool is_json(const struct reply *reply)
{
    return UNLIKELY(reply->protocol == PROTOCOL_JSON);
}

static inline void put(struct reply *reply, const char *bytes, size_t size)
{
    memcpy(buffer_reserve(reply->out, size), bytes, size);
    reply->out->size += size;
}

/* "<sign><number>\r\n" */
static inline void put_number(struct reply *reply, char sign, int64_t value)
{
    char *begin = buffer_reserve(reply->out, TEXT_I64_BYTES_MAX + 3);
    char *to = begin;
    *to++ = sign;
    if (LIKELY((uint64_t)value < 10)) {
        *to++ = (char)('0' + value);
    } else {
        to += text_from_i64(value, to);
    }
    memcpy(to, "\r\n", 2);
    reply->out->size += (size_t)(to + 2 - begin);
}

/* "$<size>\r\n<bytes>\r\n"; `prefix` (may be empty) belongs to the value. */
static inline void put_bulk(struct reply *reply, char sign, struct slice prefix, struct slice value)
{
    size_t size = prefix.size + value.size;
    char *begin = buffer_reserve(reply->out, size + TEXT_I64_BYTES_MAX + 5);
    char *to = begin;
    *to++ = sign;
    to += text_from_u64(size, to);
    memcpy(to, "\r\n", 2);
    to += 2;
    if (prefix.size > 0) {
        memcpy(to, prefix.data, prefix.size);
        to += prefix.size;
    }
    if (value.size > 0) {
        memcpy(to, value.data, value.size);
        to += value.size;
    }
    memcpy(to, "\r\n", 2);
    reply->out->size += (size_t)(to + 2 - begin);
}

/* ── scalars ─────────────────────────────────────────────────────────────────────────────────── */

void reply_ok(struct reply *reply)
{
    if (UNLIKELY(!value_begin(reply))) {
        return;
    }
    if (is_json(reply)) {
        reply_json_string(reply, slice_from("OK"));
    } else {
        put(reply, "+OK\r\n", 5);
    }
}

void reply_status(struct reply *reply, const char *status)
{
    struct slice text = slice_from(status);
    if (!value_begin(reply)) {
        return;
    }
    if (is_json(reply)) {
        reply_json_string(reply, text);
    } else {
        buffer_append_byte(reply->out, '+');
        buffer_append_slice(reply->out, text);
        buffer_append(reply->out, "\r\n", 2);
    }
}

void reply_integer(struct reply *reply, int64_t value)
{
    if (UNLIKELY(!value_begin(reply))) {
        /* A wrapped sum is better than undefined behaviour; no command gets near. */
        (void)__builtin_add_overflow(reply->sum, value, &reply->sum);
    } else if (is_json(reply)) {
        char text[TEXT_I64_BYTES_MAX];
        reply_json_token(reply, slice_make(text, text_from_i64(value, text)));
    } else {
        put_number(reply, ':', value);
    }
}

void reply_bulk(struct reply *reply, struct slice value)
{
    if (UNLIKELY(!value_begin(reply))) {
        return;
    }
    if (is_json(reply)) {
        reply_json_string(reply, value);
    } else {
        put_bulk(reply, '$', (struct slice){ 0 }, value);
    }
}

void reply_text(struct reply *reply, const char *value)
{
    reply_bulk(reply, slice_from(value));
}

void reply_verbatim(struct reply *reply, const char format[3], struct slice value)
{
    if (reply->protocol != PROTOCOL_RESP3) {
        reply_bulk(reply, value);
    } else if (value_begin(reply)) {
        char prefix[4] = { format[0], format[1], format[2], ':' };
        put_bulk(reply, '=', slice_make(prefix, sizeof(prefix)), value);
    }
}

static void reply_nothing(struct reply *reply, const char *resp2)
{
    if (UNLIKELY(!value_begin(reply))) {
        return;
    }
    if (is_json(reply)) {
        reply_json_token(reply, slice_from("null"));
    } else if (reply->protocol == PROTOCOL_RESP3) {
        put(reply, "_\r\n", 3);
    } else {
        put(reply, resp2, 5);
    }
}

void reply_null(struct reply *reply)
{
    reply_nothing(reply, "$-1\r\n");
}

void reply_null_array(struct reply *reply)
{
    reply_nothing(reply, "*-1\r\n");
}

void reply_boolean(struct reply *reply, bool value)
{
    if (!value_begin(reply)) {
        return;
    }
    if (is_json(reply)) {
        reply_json_token(reply, slice_from(value ? "true" : "false"));
    } else if (reply->protocol == PROTOCOL_RESP3) {
        put(reply, value ? "#t\r\n" : "#f\r\n", 4);
    } else {
        put(reply, value ? ":1\r\n" : ":0\r\n", 4);
    }
}

void reply_double(struct reply *reply, double value)
{
    if (!value_begin(reply)) {
        return;
    }
    char text[TEXT_DOUBLE_BYTES_MAX];
    struct slice digits = slice_make(text, text_from_double(value, text));
    if (is_json(reply)) {
        if (isfinite(value)) {
            reply_json_token(reply, digits);
        } else {
            reply_json_string(reply, digits);
        }
    } else if (reply->protocol == PROTOCOL_RESP3) {
        buffer_append_byte(reply->out, ',');
        buffer_append_slice(reply->out, digits);
        buffer_append(reply->out, "\r\n", 2);
    } else {
        put_bulk(reply, '$', (struct slice){ 0 }, digits);
    }
}

/* ── errors ──────────────────────────────────────────────────────────────────────────────────── */

/* An error is one line of text, and in JSON valid UTF-8, whatever a client put into it. */
static void error_clean(char *text, size_t size, bool ascii_only)
{
    for (size_t i = 0; i < size; i++) {
        bool is_break = text[i] == '\r' || text[i] == '\n';
        bool is_foreign = ascii_only && (unsigned char)text[i] >= 0x80;
        text[i] = is_break ? ' ' : is_foreign ? '?' : text[i];
    }
}

/* An error is the top-level value when nothing was written before it. */
static void error_write(struct reply *reply, const char *message)
{
    size_t size = strlen(message);
    ASSERT(size > 0);
    if (!value_begin(reply)) {
        reply->is_error = true;
        return;
    }
    struct buffer *out = reply->out;
    reply->is_error = reply->is_error || out->size == reply->start;
    if (is_json(reply)) {
        struct buffer clean = { 0 };
        buffer_append(&clean, message, size);
        error_clean(clean.data, size, !text_is_utf8(slice_make(message, size)));
        reply_json_error(reply, buffer_slice(&clean));
        buffer_free(&clean);
        return;
    }
    char *to = buffer_reserve(out, size + 3);
    *to = '-';
    memcpy(to + 1, message, size);
    error_clean(to + 1, size, /* ascii_only= */ false);
    memcpy(to + 1 + size, "\r\n", 2);
    reply->error_at = out->size + 1;
    reply->error_size = size;
    out->size += size + 3;
}

struct slice reply_error_text(const struct reply *reply)
{
    if (reply->error_size == 0) {
        return (struct slice){ "", 0 };
    }
    return (struct slice){ reply->out->data + reply->error_at, reply->error_size };
}

void reply_error(struct reply *reply, const char *message)
{
    error_write(reply, message);
}

void reply_errorf(struct reply *reply, const char *format, ...)
{
    char text[ERROR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    error_write(reply, text);
}

/* ── aggregates ──────────────────────────────────────────────────────────────────────────────── */

static void aggregate_begin(struct reply *reply, char resp2, char resp3, bool is_map,
                            uint64_t count)
{
    bool encoded = value_begin(reply);
    uint64_t values = is_map ? count * 2 : count;
    reply->owed += values;
    if (!encoded) {
        return;
    }
    if (is_json(reply)) {
        reply_json_aggregate(reply, is_map, values);
    } else if (reply->protocol == PROTOCOL_RESP3) {
        put_number(reply, resp3, (int64_t)count);
    } else {
        put_number(reply, resp2, (int64_t)values);
    }
}

void reply_array(struct reply *reply, uint32_t count)
{
    aggregate_begin(reply, '*', '*', /* is_map= */ false, count);
}

void reply_map(struct reply *reply, uint32_t pairs)
{
    aggregate_begin(reply, '*', '%', /* is_map= */ true, pairs);
}

void reply_set(struct reply *reply, uint32_t count)
{
    aggregate_begin(reply, '*', '~', /* is_map= */ false, count);
}
