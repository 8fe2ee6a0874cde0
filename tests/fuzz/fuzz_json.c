/*
 * fuzz_json.c — any bytes as JSON requests, and any argument back as a JSON reply.
 *
 * Fed whole and in pieces the input must give the same requests and errors.  Each argument is then
 * replied, sent back as a request and must come out the same: what a reply shows can be sent.
 */
#include "base/assert.h"
#include "base/buffer.h"
#include "base/limits.h"
#include "base/mem.h"
#include "network/protocol_json.h"
#include "network/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct parse_limits limits_table[] = {
    { REQUEST_ARGS_MAX, REQUEST_BYTES_MAX },
    { REQUEST_NOAUTH_ARGS_MAX, REQUEST_NOAUTH_BYTES_MAX },
    { 3, 60 },
};

/* The reply that shows `value`, made into the request {"args":[value]}. */
static void check_echo(struct slice value)
{
    static const char head[] = "{\"success\":true,\"data\":";
    struct buffer line = { 0 };
    struct reply reply;
    reply_begin(&reply, PROTOCOL_JSON, &line, (struct slice){ 0 });
    reply_bulk(&reply, value);
    reply_end(&reply);
    ASSERT(memchr(line.data, '\n', line.size) == line.data + line.size - 1);
    struct buffer request_line = { 0 };
    buffer_append_text(&request_line, "{\"args\":[");
    buffer_append(&request_line, line.data + sizeof(head) - 1, line.size - sizeof(head) - 1);
    buffer_append_text(&request_line, "]}\n");
    struct json_parser parser;
    struct arena arena = { 0 };
    struct request request;
    size_t consumed = 0;
    json_parser_init(&parser);
    enum parse_result result = json_parse(&parser, buffer_slice(&request_line), &limits_table[0],
                                          &arena, &request, &consumed);
    ASSERT(result == PARSE_REQUEST);
    ASSERT(request.argc == 1);
    ASSERT(slice_equal(request.argv[0], value));
    arena_free(&arena);
    buffer_free(&line);
    buffer_free(&request_line);
}

static void describe(struct buffer *out, const struct request *request, bool echo)
{
    ASSERT(request->argc > 0);
    for (uint32_t i = 0; i < request->argc; i++) {
        buffer_printf(out, "%zu:", request->argv[i].size);
        buffer_append_slice(out, request->argv[i]);
        if (echo) {
            check_echo(request->argv[i]);
        }
    }
    buffer_append_slice(out, request->id);
    buffer_append_slice(out, request->client);
    buffer_printf(out, "/%llu %d\n", (unsigned long long)request->seq, (int)request->consistency);
}

static void feed(struct slice input, const struct parse_limits *limits, size_t piece,
                 struct buffer *out)
{
    struct json_parser parser;
    struct arena arena = { 0 };
    json_parser_init(&parser);
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
            json_parse(&parser, slice_make(at, end - begin), limits, &arena, &request, &consumed);
        if (result == PARSE_REQUEST) {
            describe(out, &request, piece == input.size);
        } else if (result == PARSE_ERROR) {
            buffer_append_text(out, parser.error);
            ASSERT(consumed > 0);
        }
        begin += result == PARSE_MORE ? 0 : consumed;
        mem_free(copy);
        arena_reset(&arena);
    }
    buffer_append_text(out, result == PARSE_FATAL ? parser.error : "more");
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
