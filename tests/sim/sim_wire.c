/*
 * sim_wire.c — the clients' side of RESP2 and of JSON lines: requests out, replies in.
 *
 * Written apart from the server's codecs, as any client is.
 */
#include "base/assert.h"
#include "sim.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

struct words {
    struct slice items[5];
    uint32_t count;
};

static void words_add(struct words *words, struct slice word)
{
    words->items[words->count++] = word;
}

/* The command, with its value in `value`. */
static void words_make(const struct sim *sim, const struct sim_op *op, struct buffer *value,
                       struct words *out)
{
    static const char *const names[] = {
        [LIN_GET] = "GET",    [LIN_EXISTS] = "EXISTS", [LIN_SET] = "SET",   [LIN_SETNX] = "SET",
        [LIN_GETSET] = "SET", [LIN_DEL] = "DEL",       [LIN_INCR] = "INCR", [LIN_APPEND] = "APPEND",
    };
    *out = (struct words){ 0 };
    words_add(out, slice_from(names[op->kind]));
    words_add(out, slice_from(sim->history.keys[op->key].name));
    sim_op_value(sim, op, value);
    if (value->size > 0) {
        words_add(out, buffer_slice(value));
    }
    if (sim->history.keys[op->key].class == KEY_BRIEF && op->kind == LIN_SET) {
        static const char *const lives_ms[] = { "1", "30", "200", "1000", "5000" };
        words_add(out, slice_from("PX"));
        words_add(out, slice_from(lives_ms[op->number % 5]));
    } else if (op->kind == LIN_SETNX) {
        words_add(out, slice_from("NX"));
    } else if (op->kind == LIN_GETSET) {
        words_add(out, slice_from("GET"));
    }
}

void sim_wire_resp(const struct sim *sim, const struct sim_op *op, struct buffer *out)
{
    struct words words;
    struct buffer value = { 0 };
    words_make(sim, op, &value, &words);
    buffer_printf(out, "*%u\r\n", words.count);
    for (uint32_t i = 0; i < words.count; i++) {
        buffer_printf(out, "$%zu\r\n", words.items[i].size);
        buffer_append_slice(out, words.items[i]);
        buffer_append_text(out, "\r\n");
    }
    buffer_free(&value);
}

void sim_wire_json(const struct sim *sim, const struct sim_op *op, struct buffer *out)
{
    static const char *const levels[] = { "", "ANY", "QUORUM", "ALL", "STRONG" };
    struct words words;
    struct buffer value = { 0 };
    words_make(sim, op, &value, &words);
    buffer_printf(out, "{\"type\":\"CLIENT\",\"id\":%u,\"args\":[", op->number);
    for (uint32_t i = 0; i < words.count; i++) {
        buffer_printf(out, "%s\"%.*s\"", i > 0 ? "," : "", (int)words.items[i].size,
                      words.items[i].data);
    }
    buffer_append_text(out, "]");
    if (op->seq != 0) {
        buffer_printf(out, ",\"client\":\"session-%u\",\"seq\":%" PRIu64, op->client, op->seq);
    }
    if (op->level != CONSISTENCY_DEFAULT && !sim_op_is_write(op)) {
        buffer_printf(out, ",\"consistency\":\"%s\"", levels[op->level]);
    }
    buffer_append_text(out, "}\n");
    buffer_free(&value);
}

static size_t reply_bad(struct sim_reply *out, struct slice in)
{
    *out = (struct sim_reply){ .kind = REPLY_BAD, .text = in };
    return in.size;
}

static int64_t number_of(struct slice text)
{
    char digits[24] = "";
    memcpy(digits, text.data, text.size < sizeof(digits) ? text.size : sizeof(digits) - 1);
    return strtoll(digits, NULL, 10);
}

size_t sim_wire_resp_read(struct slice in, struct sim_reply *out)
{
    *out = (struct sim_reply){ 0 };
    const char *end = in.size == 0 ? NULL : memchr(in.data, '\n', in.size);
    if (end == NULL) {
        return 0;
    }
    size_t size = (size_t)(end - in.data) + 1;
    if (size < 3 || end[-1] != '\r') {
        return reply_bad(out, in);
    }
    out->text = slice_make(in.data + 1, size - 3);
    switch (in.data[0]) {
    case '+':
        out->kind = REPLY_SIMPLE;
        return size;
    case '-':
        out->kind = REPLY_ERROR;
        return size;
    case ':':
        out->kind = REPLY_NUMBER;
        out->number = number_of(out->text);
        return size;
    case '*':
        out->kind = REPLY_ARRAY;
        out->number = number_of(out->text);
        return size;
    case '$':
        break;
    default:
        return reply_bad(out, in);
    }
    int64_t length = number_of(out->text);
    if (length < 0) {
        out->kind = REPLY_NIL;
        return size;
    }
    if (in.size < size + (size_t)length + 2) {
        return 0;
    }
    out->kind = REPLY_TEXT;
    out->text = slice_make(in.data + size, (size_t)length);
    return size + (size_t)length + 2;
}

static void json_take(const json_t *root, struct sim_reply *out, struct buffer *scratch)
{
    const json_t *id = json_object_get(root, "id");
    const json_t *data = json_object_get(root, "data");
    const json_t *error = json_object_get(root, "error");
    out->id = json_is_integer(id) ? json_integer_value(id) : -1;
    const json_t *text = json_is_true(json_object_get(root, "success")) ? data : error;
    if (json_is_string(text)) {
        buffer_append(scratch, json_string_value(text), json_string_length(text));
        out->text = buffer_slice(scratch);
        out->kind = text == error ? REPLY_ERROR : REPLY_TEXT;
    } else if (text == data && json_is_integer(data)) {
        out->kind = REPLY_NUMBER;
        out->number = json_integer_value(data);
    } else if (text == data && json_is_null(data)) {
        out->kind = REPLY_NIL;
    } else {
        out->kind = REPLY_BAD;
    }
}

size_t sim_wire_json_read(struct slice in, struct sim_reply *out, struct buffer *scratch)
{
    *out = (struct sim_reply){ 0 };
    scratch->size = 0;
    const char *end = in.size == 0 ? NULL : memchr(in.data, '\n', in.size);
    if (end == NULL) {
        return 0;
    }
    size_t size = (size_t)(end - in.data) + 1;
    json_t *root = json_loadb(in.data, size - 1, 0, NULL);
    if (!json_is_object(root)) {
        json_decref(root);
        return reply_bad(out, in);
    }
    json_take(root, out, scratch);
    json_decref(root);
    return size;
}
