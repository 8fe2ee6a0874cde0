/*
 * reply_replay.c — saying again what was said before, perhaps in another protocol.
 *
 * The bytes are this program's own encoding, so what does not fit is a broken invariant.
 *
 * Read next: reply.h.
 */
#include "network/reply.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/text.h"

/* One encoded value: its first byte, the rest of its line, and what follows the line. */
struct encoded {
    char kind;
    struct slice line;
    struct slice rest;
};

static struct encoded encoded_read(struct slice resp)
{
    const char *end = memchr(resp.data, '\r', resp.size);
    ASSERT(end != NULL);
    ASSERT(end > resp.data);
    const char *begin = resp.data + 1;
    const char *next = end + 2;
    return (struct encoded){ resp.data[0],
                             { begin, (size_t)(end - begin) },
                             { next, (size_t)(resp.data + resp.size - next) } };
}

static int64_t encoded_number(const struct encoded *value)
{
    int64_t number = 0;
    bool is_number = text_to_i64(value->line, &number);
    ASSERT(is_number);
    return number;
}

static double encoded_double(const struct encoded *value)
{
    double number = 0;
    bool is_number = text_to_double(value->line, &number);
    return is_number ? number : __builtin_nan("");
}

/* Takes the bytes of a bulk from what follows its line. */
static struct slice encoded_bulk(struct encoded *value)
{
    size_t size = (size_t)encoded_number(value);
    ASSERT(value->rest.size >= size + 2);
    struct slice bulk = { value->rest.data, size };
    value->rest = (struct slice){ bulk.data + size + 2, value->rest.size - size - 2 };
    return bulk;
}

static void replay_text(struct reply *reply, const struct encoded *value)
{
    char *text = mem_alloc(value->line.size + 1);
    memcpy(text, value->line.data, value->line.size);
    text[value->line.size] = '\0';
    if (value->kind == '+') {
        reply_status(reply, text);
    } else {
        reply_error(reply, text);
    }
    mem_free(text);
}

static void replay_bulk(struct reply *reply, struct encoded *value)
{
    if (value->line.data[0] == '-') {
        reply_null(reply);
        return;
    }
    struct slice bulk = encoded_bulk(value);
    if (value->kind == '=') {
        ASSERT(bulk.size >= 4);
        reply_verbatim(reply, bulk.data, (struct slice){ bulk.data + 4, bulk.size - 4 });
    } else {
        reply_bulk(reply, bulk);
    }
}

static void replay_aggregate(struct reply *reply, const struct encoded *value)
{
    int64_t count = encoded_number(value);
    if (count < 0) {
        reply_null_array(reply);
    } else if (value->kind == '%') {
        reply_map(reply, (uint32_t)count);
    } else if (value->kind == '~') {
        reply_set(reply, (uint32_t)count);
    } else {
        reply_array(reply, (uint32_t)count);
    }
}

static void replay_one(struct reply *reply, struct encoded *value)
{
    switch (value->kind) {
    case '+':
    case '-':
        replay_text(reply, value);
        break;
    case ':':
        reply_integer(reply, encoded_number(value));
        break;
    case '$':
    case '=':
        replay_bulk(reply, value);
        break;
    case '_':
        reply_null(reply);
        break;
    case '#':
        reply_boolean(reply, value->line.data[0] == 't');
        break;
    case ',':
        reply_double(reply, encoded_double(value));
        break;
    case '*':
    case '%':
    case '~':
        replay_aggregate(reply, value);
        break;
    default:
        UNREACHABLE();
    }
}

void reply_replay(struct reply *reply, struct slice resp)
{
    while (resp.size > 0) {
        struct encoded value = encoded_read(resp);
        replay_one(reply, &value);
        resp = value.rest;
    }
}
