/*
 * fuzz_forward.c — frames of forwarded requests and of their answers, made of anything.
 *
 * The first byte chooses: requests, answers, or one reply.  What is read says the same when it is
 * written and read again; a reply that was measured can be replayed in every protocol.
 */
#include "forward_wire.h"

#include "base/assert.h"
#include "base/mem.h"
#include "network/reply_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void calls_compare(const struct forward_wire_call *a, const struct forward_wire_call *b)
{
    ASSERT(a->argc == b->argc);
    for (uint32_t i = 0; i < a->argc; i++) {
        ASSERT(slice_equal(a->argv[i], b->argv[i]));
    }
}

/* Writes the request, reads it again and compares. */
static void request_again(const struct forward_wire_request *request,
                          const struct forward_wire_call *call)
{
    char name[128] = "";
    ASSERT(call->argv[0].size > 0 && call->argv[0].size < sizeof(name));
    memcpy(name, call->argv[0].data, call->argv[0].size);
    if (strlen(name) != call->argv[0].size) {
        return; /* of no command of ours */
    }
    const struct command command = { .name = name };
    size_t call_size = forward_wire_call_size(&command, call->argc, call->argv);
    char *bytes = mem_alloc(2 * call_size + FORWARD_WIRE_HEAD_BYTES_MAX);
    char *to = bytes + call_size;
    forward_wire_call_write(&command, call->argc, call->argv, bytes);
    size_t size = forward_wire_request_write(request, slice_make(bytes, call_size), to);
    ASSERT(size <= call_size + FORWARD_WIRE_HEAD_BYTES_MAX);
    struct slice left = slice_make(to, size);
    struct forward_wire_request request_read;
    struct forward_wire_call call_read;
    struct command_args args = { 0 };
    bool is_read = forward_wire_request_read(&left, &request_read) &&
                   forward_wire_call_read(&left, &args, &call_read);
    ASSERT(is_read && left.size == 0);
    ASSERT(request_read.id == request->id && request_read.group == request->group);
    ASSERT(request_read.term == request->term && request_read.is_write == request->is_write);
    ASSERT(request_read.follows_writes == request->follows_writes);
    ASSERT(request_read.is_renewed == request->is_renewed);
    ASSERT(memcmp(&request_read.origin, &request->origin, sizeof(request->origin)) == 0);
    calls_compare(call, &call_read);
    mem_free(args.argv);
    mem_free(bytes);
}

static void requests_read(struct slice left)
{
    size_t all = left.size;
    struct command_args args = { 0 };
    for (;;) {
        size_t before = left.size;
        struct forward_wire_request request;
        struct forward_wire_call call;
        if (!forward_wire_request_read(&left, &request) ||
            !forward_wire_call_read(&left, &args, &call)) {
            break;
        }
        ASSERT(left.size < before);
        ASSERT(args.capacity <= 16 + 2 * all);
        request_again(&request, &call);
    }
    mem_free(args.argv);
}

static void answers_read(struct slice left)
{
    struct forward_wire_answer answer;
    while (forward_wire_answer_read(&left, &answer)) {
        char *bytes = mem_alloc(FORWARD_WIRE_ANSWER_HEAD_BYTES_MAX + answer.resp.size);
        struct slice written = slice_make(bytes, forward_wire_answer_write(&answer, bytes));
        struct forward_wire_answer again;
        bool is_read = forward_wire_answer_read(&written, &again);
        ASSERT(is_read && written.size == 0);
        ASSERT(again.id == answer.id && again.kind == answer.kind);
        ASSERT(again.version == answer.version && slice_equal(again.resp, answer.resp));
        mem_free(bytes);
    }
}

static void value_read(struct slice resp)
{
    size_t size = reply_value_size(resp);
    ASSERT(size <= resp.size);
    if (size == 0) {
        return;
    }
    for (enum protocol protocol = PROTOCOL_RESP2; protocol <= PROTOCOL_JSON; protocol++) {
        struct buffer out = { 0 };
        struct reply reply;
        reply_begin(&reply, protocol, &out, (struct slice){ 0 });
        reply_array(&reply, 1);
        reply_replay(&reply, slice_make(resp.data, size));
        reply_end(&reply);
        if (protocol == PROTOCOL_RESP3) {
            struct slice value = slice_make(out.data + 4, out.size - 4);
            ASSERT(reply_value_size(value) == value.size);
        }
        buffer_free(&out);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    /* A copy of its own size, so that the sanitizer notices a look behind it. */
    char *copy = mem_alloc(size);
    memcpy(copy, data + 1, size - 1);
    struct slice input = slice_make(copy, size - 1);
    switch (data[0] % 3) {
    case 0:
        requests_read(input);
        break;
    case 1:
        answers_read(input);
        break;
    default:
        value_read(input);
        break;
    }
    mem_free(copy);
    return 0;
}
