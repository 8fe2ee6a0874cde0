/*
 * command_codec.c — a write as it stands in the log: ENTRY_COMMAND bodies.
 *
 * varint opcode, varint argc - 1, then (varint size, bytes) for each argument but the name.  The
 * bytes come back from disk or from a peer, so decoding trusts nothing: counts are checked against
 * what is really there before any memory is taken for them.
 *
 * Read next: command.h, storage/entry.h.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "base/varint.h"
#include "command/command.h"

size_t command_encode_max(uint32_t argc, const struct slice *argv)
{
    size_t size = 2 * (size_t)VARINT_BYTES_MAX;
    for (uint32_t i = 1; i < argc; i++) {
        size += VARINT_BYTES_MAX + argv[i].size;
    }
    return size;
}

size_t command_encode(const struct command *command, uint32_t argc, const struct slice *argv,
                      char *to)
{
    ASSERT(command->opcode != 0);
    ASSERT(argc > 0);
    char *at = varint_write(to, command->opcode);
    at = varint_write(at, argc - 1);
    for (uint32_t i = 1; i < argc; i++) {
        at = varint_write(at, argv[i].size);
        if (argv[i].size > 0) {
            memcpy(at, argv[i].data, argv[i].size);
            at += argv[i].size;
        }
    }
    return (size_t)(at - to);
}

static void args_reserve(struct command_args *args, uint32_t count)
{
    if (args->capacity >= count) {
        return;
    }
    uint32_t capacity = args->capacity < 8 ? 8 : args->capacity * 2;
    if (capacity < count) {
        capacity = count;
    }
    args->argv = mem_realloc(args->argv, capacity * sizeof(args->argv[0]));
    args->capacity = capacity;
}

bool command_decode(struct slice body, struct command_args *args, struct command_decoded *out)
{
    const char *end = body.data + body.size;
    uint64_t opcode = 0;
    uint64_t count = 0;
    const char *at = varint_read(body.data, end, &opcode);
    at = at == NULL ? NULL : varint_read(at, end, &count);
    const struct command *command = command_by_opcode(opcode);
    /* An argument takes at least a byte: a count beyond that is a lie. */
    if (at == NULL || command == NULL || count > (size_t)(end - at) || count >= REQUEST_ARGS_MAX) {
        return false;
    }
    uint32_t argc = (uint32_t)count + 1;
    if (!command_arity_ok(command, argc)) {
        return false;
    }
    args_reserve(args, argc);
    args->argv[0] = slice_from(command->name);
    for (uint32_t i = 1; i < argc; i++) {
        uint64_t size = 0;
        at = varint_read(at, end, &size);
        if (at == NULL || size > (size_t)(end - at)) {
            return false;
        }
        args->argv[i] = (struct slice){ at, size };
        at += size;
    }
    if (at != end) {
        return false;
    }
    *out = (struct command_decoded){ .command = command, .argc = argc, .argv = args->argv };
    return true;
}
