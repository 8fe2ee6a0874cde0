/*
 * forward_wire.c — see forward_wire.h.
 */
#include "forward_wire.h"

#include "base/assert.h"
#include "base/endian.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/varint.h"

enum {
    FLAG_WRITE = 1 << 0,
    FLAG_FOLLOWS_WRITES = 1 << 1,
    FLAG_RENEWED = 1 << 2,
    FLAG_HAS_ORIGIN = 1 << 3,
    FLAGS_ALL = FLAG_WRITE | FLAG_FOLLOWS_WRITES | FLAG_RENEWED | FLAG_HAS_ORIGIN,
    NAME_BYTES_MAX = 64, /* of a command: the longest has a third of it */
};

/* ── writing ─────────────────────────────────────────────────────────────────────────────────── */

static size_t text_size(size_t bytes)
{
    return varint_size(bytes) + bytes;
}

static char *text_write(char *to, struct slice text)
{
    to = varint_write(to, text.size);
    if (text.size > 0) {
        memcpy(to, text.data, text.size);
    }
    return to + text.size;
}

size_t forward_wire_call_size(const struct command *command, uint32_t argc,
                              const struct slice *argv)
{
    ASSERT(argc > 0);
    size_t size = text_size(strlen(command->name)) + varint_size(argc - 1);
    for (uint32_t i = 1; i < argc; i++) {
        size += text_size(argv[i].size);
    }
    return size;
}

void forward_wire_call_write(const struct command *command, uint32_t argc, const struct slice *argv,
                             char *to)
{
    ASSERT(argc > 0);
    to = text_write(to, slice_from(command->name));
    to = varint_write(to, argc - 1);
    for (uint32_t i = 1; i < argc; i++) {
        to = text_write(to, argv[i]);
    }
}

size_t forward_wire_request_write(const struct forward_wire_request *request, struct slice call,
                                  char *to)
{
    bool has_origin = request->origin.node != 0;
    ASSERT(call.size > 0);
    ASSERT(!has_origin || request->origin.floor <= request->origin.seq);
    store_u64(to, request->id);
    char *at = varint_write(to + 8, request->group);
    at = varint_write(at, request->term);
    *at++ = (char)((request->is_write ? FLAG_WRITE : 0) |
                   (request->follows_writes ? FLAG_FOLLOWS_WRITES : 0) |
                   (request->is_renewed ? FLAG_RENEWED : 0) | (has_origin ? FLAG_HAS_ORIGIN : 0));
    if (has_origin) {
        store_u64(at, request->origin.node);
        at = varint_write(at + 8, request->origin.boot);
        at = varint_write(at, request->origin.seq);
        at = varint_write(at, request->origin.floor);
    }
    ASSERT(at - to <= FORWARD_WIRE_HEAD_BYTES_MAX);
    memcpy(at, call.data, call.size);
    return (size_t)(at - to) + call.size;
}

size_t forward_wire_answer_write(const struct forward_wire_answer *answer, char *to)
{
    store_u64(to, answer->id);
    to[8] = (char)answer->kind;
    if (answer->kind == FORWARD_ANSWER_REFUSED) {
        return 9;
    }
    return (size_t)(text_write(varint_write(to + 9, answer->version), answer->resp) - to);
}

/* ── reading ─────────────────────────────────────────────────────────────────────────────────── */

/* Reads go on after one that failed, and fail: `at` is NULL from then on. */
struct reader {
    const char *at, *end;
};

static uint64_t read_u64(struct reader *reader)
{
    if (reader->at == NULL || reader->end - reader->at < 8) {
        reader->at = NULL;
        return 0;
    }
    reader->at += 8;
    return load_u64(reader->at - 8);
}

static uint8_t read_u8(struct reader *reader)
{
    if (reader->at == NULL || reader->at == reader->end) {
        reader->at = NULL;
        return 0;
    }
    return (uint8_t)*reader->at++;
}

static uint64_t read_varint(struct reader *reader)
{
    uint64_t value = 0;
    reader->at = reader->at == NULL ? NULL : varint_read(reader->at, reader->end, &value);
    return reader->at == NULL ? 0 : value;
}

static struct slice read_text(struct reader *reader)
{
    uint64_t size = read_varint(reader);
    if (reader->at == NULL || size > (size_t)(reader->end - reader->at)) {
        reader->at = NULL;
        return (struct slice){ 0 };
    }
    reader->at += size;
    return slice_make(reader->at - size, size);
}

static struct reader reader_over(const struct slice *bytes)
{
    return (struct reader){ bytes->data,
                            bytes->size > 0 ? bytes->data + bytes->size : bytes->data };
}

static void reader_end(const struct reader *reader, struct slice *left)
{
    *left = slice_make(reader->at, (size_t)(reader->end - reader->at));
}

bool forward_wire_request_read(struct slice *left, struct forward_wire_request *out)
{
    struct reader reader = reader_over(left);
    *out = (struct forward_wire_request){ .id = read_u64(&reader) };
    uint64_t group = read_varint(&reader);
    out->group = (uint32_t)group;
    out->term = read_varint(&reader);
    uint8_t flags = read_u8(&reader);
    out->is_write = (flags & FLAG_WRITE) != 0;
    out->follows_writes = (flags & FLAG_FOLLOWS_WRITES) != 0;
    out->is_renewed = (flags & FLAG_RENEWED) != 0;
    if ((flags & FLAG_HAS_ORIGIN) != 0) {
        out->origin.node = read_u64(&reader);
        out->origin.boot = read_varint(&reader);
        out->origin.seq = read_varint(&reader);
        out->origin.floor = read_varint(&reader);
        if (out->origin.node == 0 || out->origin.floor > out->origin.seq || !out->is_write) {
            return false;
        }
    }
    if (reader.at == NULL || group > UINT32_MAX || (flags & ~FLAGS_ALL) != 0) {
        return false;
    }
    reader_end(&reader, left);
    return true;
}

static void args_reserve(struct command_args *args, uint32_t count)
{
    if (args->capacity < count) {
        uint32_t capacity = args->capacity < 8 ? 8 : args->capacity * 2;
        args->capacity = capacity < count ? count : capacity;
        args->argv = mem_realloc(args->argv, args->capacity * sizeof(args->argv[0]));
    }
}

bool forward_wire_call_read(struct slice *left, struct command_args *args,
                            struct forward_wire_call *out)
{
    struct reader reader = reader_over(left);
    struct slice name = read_text(&reader);
    uint64_t count = read_varint(&reader);
    /* An argument takes at least a byte: a count beyond that is a lie. */
    if (reader.at == NULL || name.size == 0 || name.size > NAME_BYTES_MAX ||
        count > (size_t)(reader.end - reader.at) || count > REQUEST_ARGS_MAX) {
        return false;
    }
    args_reserve(args, (uint32_t)count + 1);
    args->argv[0] = name;
    for (uint32_t i = 1; i <= count; i++) {
        args->argv[i] = read_text(&reader);
    }
    if (reader.at == NULL) {
        return false;
    }
    *out = (struct forward_wire_call){ (uint32_t)count + 1, args->argv };
    reader_end(&reader, left);
    return true;
}

bool forward_wire_answer_read(struct slice *left, struct forward_wire_answer *out)
{
    struct reader reader = reader_over(left);
    *out = (struct forward_wire_answer){ .id = read_u64(&reader) };
    uint8_t kind = read_u8(&reader);
    if (reader.at == NULL || kind >= FORWARD_ANSWER_KINDS) {
        return false;
    }
    out->kind = (enum forward_answer_kind)kind;
    if (out->kind != FORWARD_ANSWER_REFUSED) {
        out->version = read_varint(&reader);
        out->resp = read_text(&reader);
    }
    if (reader.at == NULL) {
        return false;
    }
    reader_end(&reader, left);
    return true;
}
