/*
 * reply_check.c — see reply_check.h.
 *
 * A walk from value to value, with a stack of what is missing in each open aggregate.
 */
#include "network/reply_check.h"

#include "base/limits.h"
#include "base/text.h"

/* A walk over one value with all that is in it. */
struct value_walk {
    const char *at, *end;
    uint32_t depth;
    uint64_t left[REPLY_DEPTH_MAX]; /* values missing in each open aggregate */
    bool is_map[REPLY_DEPTH_MAX];
};

static bool value_aggregate(struct value_walk *walk, char kind, int64_t count);
static void value_done(struct value_walk *walk);

/* Takes a line and its end; the line holds no other control characters that could break one. */
static bool value_line(struct value_walk *walk, struct slice *out)
{
    const char *begin = walk->at;
    const char *stop = memchr(begin, '\r', (size_t)(walk->end - begin));
    if (stop == NULL || walk->end - stop < 2 || stop[1] != '\n') {
        return false;
    }
    *out = slice_make(begin, (size_t)(stop - begin));
    walk->at = stop + 2;
    return memchr(begin, '\n', out->size) == NULL && memchr(begin, '\0', out->size) == NULL;
}

static bool value_bulk(struct value_walk *walk, char kind, struct slice line)
{
    int64_t size = 0;
    if (kind == '$' && slice_equal(line, slice_from("-1"))) {
        return true;
    }
    size_t have = (size_t)(walk->end - walk->at);
    if (!text_to_i64(line, &size) || size < (kind == '=' ? 4 : 0) || have < 2 ||
        (uint64_t)size > have - 2 || memcmp(walk->at + size, "\r\n", 2) != 0) {
        return false;
    }
    walk->at += size + 2;
    return true;
}

/* Takes a value, of an aggregate only its head. */
static bool value_take(struct value_walk *walk)
{
    if (walk->at == walk->end) {
        return false;
    }
    char kind = *walk->at++;
    bool is_key =
        walk->depth > 0 && walk->is_map[walk->depth - 1] && walk->left[walk->depth - 1] % 2 == 0;
    struct slice line;
    int64_t number = 0;
    if (!value_line(walk, &line)) {
        return false;
    }
    switch (kind) {
    case '-':
        return line.size > 0 && !is_key;
    case '+':
    case ',':
        return true;
    case ':':
        return text_to_i64(line, &number);
    case '_':
        return line.size == 0;
    case '#':
        return line.size == 1 && (line.data[0] == 't' || line.data[0] == 'f');
    case '$':
    case '=':
        return value_bulk(walk, kind, line);
    case '*':
    case '%':
    case '~':
        return !is_key && text_to_i64(line, &number) && value_aggregate(walk, kind, number);
    default:
        return false;
    }
}

/* Opens an aggregate.  One level is left for an array around it. */
static bool value_aggregate(struct value_walk *walk, char kind, int64_t count)
{
    if (count == -1 && kind == '*') {
        return true; /* RESP2's null */
    }
    if (count < 0 || count > walk->end - walk->at) {
        return false;
    }
    if (count > 0) {
        if (walk->depth == REPLY_DEPTH_MAX - 1) {
            return false;
        }
        /* One more: value_done counts the aggregate's head, too. */
        walk->left[walk->depth] = (uint64_t)count * (kind == '%' ? 2 : 1) + 1;
        walk->is_map[walk->depth++] = kind == '%';
    }
    return true;
}

static void value_done(struct value_walk *walk)
{
    while (walk->depth > 0 && --walk->left[walk->depth - 1] == 0) {
        walk->depth--;
    }
}

size_t reply_value_size(struct slice resp)
{
    struct value_walk walk = { .at = resp.data, .end = resp.data + resp.size };
    do {
        if (!value_take(&walk)) {
            return 0;
        }
        value_done(&walk);
    } while (walk.depth > 0);
    return (size_t)(walk.at - resp.data);
}
