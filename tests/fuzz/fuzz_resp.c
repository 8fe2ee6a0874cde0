/*
 * fuzz_resp.c — any bytes as RESP requests.
 *
 * The first two bytes choose the limits and the pieces; the rest is the input.  Fed whole and fed
 * in pieces it must give the same requests and the same error, and memory must follow what arrived.
 */
#include "base/assert.h"
#include "base/buffer.h"
#include "base/limits.h"
#include "base/mem.h"
#include "network/protocol_resp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct parse_limits limits_table[] = {
    { REQUEST_ARGS_MAX, REQUEST_BYTES_MAX },
    { REQUEST_NOAUTH_ARGS_MAX, REQUEST_NOAUTH_BYTES_MAX },
    { 3, 40 },
};

static void describe(struct buffer *out, const struct request *request, size_t consumed)
{
    ASSERT(request->argc > 0);
    for (uint32_t i = 0; i < request->argc; i++) {
        buffer_printf(out, "%zu:", request->argv[i].size);
        buffer_append_slice(out, request->argv[i]);
    }
    buffer_printf(out, "/%zu\n", consumed);
}

/* Every call sees a copy of exactly what has arrived of the request, so that the sanitizer notices
 * a look behind it. */
static void feed(struct slice input, const struct parse_limits *limits, size_t piece,
                 struct buffer *out)
{
    struct resp_parser parser;
    struct arena arena = { 0 };
    resp_parser_init(&parser);
    size_t begin = 0;
    size_t end = 0;
    enum parse_result result = PARSE_MORE;
    while (result != PARSE_FATAL) {
        if (result == PARSE_MORE) {
            size_t left = input.size - end;
            if (left == 0) {
                break;
            }
            end += piece < left ? piece : left;
        }
        char *copy = mem_alloc(end - begin + 1);
        char *at = copy + 1; /* flush with the end of the allocation */
        if (end > begin) {
            memcpy(at, input.data + begin, end - begin);
        }
        struct request request = { 0 };
        size_t consumed = 0;
        result =
            resp_parse(&parser, slice_make(at, end - begin), limits, &arena, &request, &consumed);
        ASSERT(parser.argv_capacity <= 16 + (end - begin));
        if (result == PARSE_REQUEST) {
            describe(out, &request, consumed);
        }
        ASSERT(result != PARSE_SKIP || consumed > 0);
        begin += result == PARSE_MORE ? 0 : consumed;
        mem_free(copy);
        arena_reset(&arena);
    }
    buffer_append_text(out, result == PARSE_FATAL ? parser.error : "more");
    resp_parser_deinit(&parser);
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 4096) {
        return 0;
    }
    const struct parse_limits *limits = &limits_table[data[0] % 3];
    struct slice input = slice_make(data + 2, size - 2);
    struct buffer whole = { 0 };
    struct buffer pieces = { 0 };
    feed(input, limits, input.size, &whole);
    feed(input, limits, 1 + data[1] % 32, &pieces);
    ASSERT(slice_equal(buffer_slice(&whole), buffer_slice(&pieces)));
    buffer_free(&whole);
    buffer_free(&pieces);
    return 0;
}
