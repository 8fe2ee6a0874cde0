/*
 * command.c — the table itself, and finding rows in it.
 *
 * Lookup needs no index: for each length of name the table is expanded into comparisons with
 * constants, and the compiler drops the rows of other lengths.  What is left is a handful of
 * word-wide compares, with nothing to build at start and nothing global to change.
 *
 * Read next: command_table.def (the rows), db.c (how commands touch data).
 */
#include "command/command.h"

#include "base/assert.h"
#include "base/endian.h"
#include "command/command_table.h"

#include <stdio.h>

enum {
    COMMAND_NAME_BYTES_MAX = 16, /* lookup holds a name in two words */
    SUBCOMMAND_NAME_BYTES_MAX = 32,
    COMMAND_OPCODE_END = 1024,    /* opcodes are below this */
    UNKNOWN_ARGS_BYTES_MAX = 128, /* of the arguments quoted in "unknown command" (Redis) */
};

static const struct command command_rows[COMMANDS_COUNT] = {
#define COMMAND(NAME, RUN, PREPARE, ARITY, OPCODE, FLAGS, SPREAD, FIRST, LAST, STEP, GROUP, SINCE, \
                COMPLEXITY, ARGUMENTS, SUMMARY)                                                    \
    [COMMAND_ID_##NAME] = {                                                                        \
        .name = #NAME,                                                                             \
        .run = (RUN),                                                                              \
        .prepare = (PREPARE),                                                                      \
        .arity = (ARITY),                                                                          \
        .opcode = (OPCODE),                                                                        \
        .flags = (FLAGS),                                                                          \
        .spread = (SPREAD),                                                                        \
        .first_key = (FIRST),                                                                      \
        .last_key = (LAST),                                                                        \
        .key_step = (STEP),                                                                        \
        .group = (GROUP),                                                                          \
        .since = (SINCE),                                                                          \
        .summary = (SUMMARY),                                                                      \
        .complexity = (COMPLEXITY),                                                                \
        .arguments = (ARGUMENTS),                                                                  \
        .id = COMMAND_ID_##NAME,                                                                   \
    },
#define SUBCOMMAND(...)
#include "command/command_table.def"
#undef COMMAND
#undef SUBCOMMAND
};

static const struct subcommand subcommand_rows[] = {
#define COMMAND(...)
#define SUBCOMMAND(PARENT, NAME, RUN, ARITY, FLAGS, FIRST, LAST, STEP, SINCE, COMPLEXITY,          \
                   ARGUMENTS, SUMMARY)                                                             \
    {                                                                                              \
        .parent = #PARENT,                                                                         \
        .name = #NAME,                                                                             \
        .full_name = #PARENT "|" #NAME,                                                            \
        .run = (RUN),                                                                              \
        .arity = (ARITY),                                                                          \
        .first_key = (FIRST),                                                                      \
        .last_key = (LAST),                                                                        \
        .key_step = (STEP),                                                                        \
        .flags = (FLAGS),                                                                          \
        .since = (SINCE),                                                                          \
        .summary = (SUMMARY),                                                                      \
        .complexity = (COMPLEXITY),                                                                \
        .arguments = (ARGUMENTS),                                                                  \
    },
#include "command/command_table.def"
#undef COMMAND
#undef SUBCOMMAND
};

/* Rows without an opcode (0) are parked behind the end; an opcode used twice does not compile. */
static const struct command *const command_opcodes[COMMAND_OPCODE_END + COMMANDS_COUNT] = {
#define COMMAND(NAME, RUN, PREPARE, ARITY, OPCODE, ...)                                            \
    [(OPCODE) != 0 ? (OPCODE) : COMMAND_OPCODE_END + COMMAND_ID_##NAME] =                          \
        &command_rows[COMMAND_ID_##NAME],
#define SUBCOMMAND(...)
#include "command/command_table.def"
#undef COMMAND
#undef SUBCOMMAND
};

#define COMMAND(NAME, RUN, PREPARE, ARITY, OPCODE, ...)                                            \
    _Static_assert(sizeof(#NAME) - 1 >= 2, "lookup knows this length");                            \
    _Static_assert(sizeof(#NAME) - 1 <= COMMAND_NAME_BYTES_MAX, "lookup knows this length");       \
    _Static_assert((OPCODE) < COMMAND_OPCODE_END, "raise COMMAND_OPCODE_END");
#define SUBCOMMAND(...)
#include "command/command_table.def"
#undef COMMAND
#undef SUBCOMMAND

uint32_t command_count(void)
{
    return COMMANDS_COUNT;
}

const struct command *command_at(uint32_t id)
{
    ASSERT(id < COMMANDS_COUNT);
    return &command_rows[id];
}

const struct command *command_by_opcode(uint64_t opcode)
{
    return opcode > 0 && opcode < COMMAND_OPCODE_END ? command_opcodes[opcode] : NULL;
}

/* ── lookup ──────────────────────────────────────────────────────────────────────────────────── */

/* Lower-cases eight characters at once: the high bit of each byte of `is_upper` says A..Z. */
static inline uint64_t lower_word(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t low_bits = word & (0x7f * ones);
    uint64_t is_ge_a = low_bits + (0x80 - 'A') * ones;
    uint64_t is_gt_z = low_bits + (0x7f - 'Z') * ones;
    uint64_t is_upper = ~word & (is_ge_a ^ is_gt_z) & (0x80 * ones);
    return word | is_upper >> 2;
}

/* A name as two words, zero behind its end.  Reads the bytes in overlapping words: copying them one
 * by one and loading a word from the copy would cost more than the whole lookup. */
struct name_words {
    uint64_t head;
    uint64_t tail;
};

static inline struct name_words name_load(struct slice name)
{
    ASSERT(name.size >= 2 && name.size <= COMMAND_NAME_BYTES_MAX);
    const char *at = name.data;
    size_t size = name.size;
    if (size >= 8) {
        uint64_t last = load_u64(at + size - 8);
        return (struct name_words){ load_u64(at), size == 8 ? 0 : last >> 8 * (16 - size) };
    }
    uint64_t head = size >= 4 ? load_u32(at) : load_u16(at);
    uint64_t last = size >= 4 ? load_u32(at + size - 4) : load_u16(at + size - 2);
    return (struct name_words){ head | last << 8 * (size - (size >= 4 ? 4 : 2)), 0 };
}

/* Sixteen zeros behind a row's name: its words are constants that the compiler computes. */
#define NAME_ZEROS "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"

/* Inlined once for each length, where the rows of other lengths vanish. */
__attribute__((always_inline)) static inline const struct command *
lookup_of_size(struct name_words lower, size_t size)
{
#define COMMAND(NAME, ...)                                                                         \
    if (sizeof(#NAME) - 1 == size && lower.head == load_u64(#NAME NAME_ZEROS) &&                   \
        lower.tail == load_u64(&(#NAME NAME_ZEROS)[8])) {                                          \
        return &command_rows[COMMAND_ID_##NAME];                                                   \
    }
#define SUBCOMMAND(...)
#include "command/command_table.def"
#undef COMMAND
#undef SUBCOMMAND
    return NULL;
}

const struct command *command_lookup(struct slice name)
{
    if (name.size < 2 || name.size > COMMAND_NAME_BYTES_MAX) {
        return NULL;
    }
    struct name_words words = name_load(name);
    words.head = lower_word(words.head);
    words.tail = lower_word(words.tail);
    switch (name.size) {
    case 3:
        return lookup_of_size(words, 3);
    case 4:
        return lookup_of_size(words, 4);
    case 5:
        return lookup_of_size(words, 5);
    case 6:
        return lookup_of_size(words, 6);
    case 7:
        return lookup_of_size(words, 7);
    case 8:
        return lookup_of_size(words, 8);
    default:
        return lookup_of_size(words, name.size);
    }
}

/* ── arity, keys ─────────────────────────────────────────────────────────────────────────────── */

static bool arity_fits(int arity, uint32_t argc)
{
    return arity >= 0 ? argc == (uint32_t)arity : argc >= (uint32_t)-arity;
}

bool command_arity_ok(const struct command *command, uint32_t argc)
{
    if (!arity_fits(command->arity, argc)) {
        return false;
    }
    if (LIKELY(command->key_step <= 1)) {
        return true;
    }
    uint32_t first = (uint32_t)command->first_key;
    uint32_t step = (uint32_t)command->key_step;
    return (argc - first) % step == 0; /* MSET: a value for each key */
}

bool command_keys(const struct command *command, uint32_t argc, uint32_t *out_first,
                  uint32_t *out_last, uint32_t *out_step)
{
    if (command->first_key <= 0 || (uint32_t)command->first_key >= argc) {
        return false;
    }
    ASSERT(command->key_step > 0);
    int64_t last = command->last_key >= 0 ? command->last_key : (int64_t)argc + command->last_key;
    if (last >= argc) {
        last = (int64_t)argc - 1;
    }
    ASSERT(last >= command->first_key);
    *out_first = (uint32_t)command->first_key;
    *out_last = (uint32_t)last;
    *out_step = (uint32_t)command->key_step;
    return true;
}

bool command_keys_fit(const struct command *command, uint32_t argc, const struct slice *argv)
{
    uint32_t first = 0;
    uint32_t last = 0;
    uint32_t step = 0;
    if (!command_keys(command, argc, &first, &last, &step)) {
        return true;
    }
    for (uint32_t i = first; i <= last; i += step) {
        if (argv[i].size > KEY_BYTES_MAX) {
            return false;
        }
    }
    return true;
}

int command_prepare(struct command_ctx *ctx)
{
    ASSERT(command_arity_ok(ctx->command, ctx->argc));
    if (UNLIKELY(!command_keys_fit(ctx->command, ctx->argc, ctx->argv))) {
        command_reply_key_size(ctx->reply);
        return 1;
    }
    return ctx->command->prepare == NULL ? 0 : ctx->command->prepare(ctx);
}

/* ── error replies ───────────────────────────────────────────────────────────────────────────── */

void command_reply_unknown(struct reply *reply, const struct slice *argv, uint32_t argc)
{
    ASSERT(argc > 0);
    char args[UNKNOWN_ARGS_BYTES_MAX + 8];
    size_t size = 0;
    args[0] = '\0';
    for (uint32_t i = 1; i < argc && size < UNKNOWN_ARGS_BYTES_MAX; i++) {
        size_t room = UNKNOWN_ARGS_BYTES_MAX - size;
        size_t take = argv[i].size < room ? argv[i].size : room;
        int wrote = snprintf(args + size, sizeof(args) - size, "'%.*s' ", (int)take,
                             take > 0 ? argv[i].data : "");
        ASSERT(wrote > 0);
        size += (size_t)wrote;
    }
    size_t name_size =
        argv[0].size < UNKNOWN_ARGS_BYTES_MAX ? argv[0].size : UNKNOWN_ARGS_BYTES_MAX;
    reply_errorf(reply, "ERR unknown command '%.*s', with args beginning with: %s", (int)name_size,
                 name_size > 0 ? argv[0].data : "", args);
}

void command_reply_key_size(struct reply *reply)
{
    reply_errorf(reply, "ERR key exceeds maximum allowed size (%d bytes)", KEY_BYTES_MAX);
}

void command_reply_arity(struct reply *reply, const struct command *command)
{
    reply_errorf(reply, "ERR wrong number of arguments for '%s' command", command->name);
}

/* ── containers ──────────────────────────────────────────────────────────────────────────────── */

const struct subcommand *command_subcommand_at(const struct command *parent, uint32_t at)
{
    for (size_t i = 0; i < ARRAY_COUNT(subcommand_rows); i++) {
        if (strcmp(subcommand_rows[i].parent, parent->name) == 0 && at-- == 0) {
            return &subcommand_rows[i];
        }
    }
    return NULL;
}

const struct subcommand *command_subcommand_lookup(const struct command *parent, struct slice name)
{
    for (uint32_t at = 0;; at++) {
        const struct subcommand *row = command_subcommand_at(parent, at);
        if (row == NULL || slice_equal_nocase(name, row->name)) {
            return row;
        }
    }
}

const char *command_full_name(const struct command *command, uint32_t argc,
                              const struct slice *argv)
{
    if (command->run != subcommand_command || argc < 2) {
        return command->name;
    }
    const struct subcommand *found = command_subcommand_lookup(command, argv[1]);
    return found == NULL ? command->name : found->full_name;
}

/* Writes a name in capitals, as Redis quotes a container; returns `to`. */
static const char *name_upper(const char *name, char to[SUBCOMMAND_NAME_BYTES_MAX + 1])
{
    size_t size = strlen(name);
    ASSERT(size <= SUBCOMMAND_NAME_BYTES_MAX);
    for (size_t i = 0; i <= size; i++) {
        to[i] = (char)(name[i] >= 'a' && name[i] <= 'z' ? name[i] - 'a' + 'A' : name[i]);
    }
    return to;
}

bool command_may_propose(const struct command *command, const struct slice *argv, uint32_t argc)
{
    const struct subcommand *found = command->run != subcommand_command || argc < 2
                                         ? NULL
                                         : command_subcommand_lookup(command, argv[1]);
    return found != NULL && (found->flags & COMMAND_PROPOSES) != 0;
}

bool command_may_wait(const struct command *command, const struct slice *argv, uint32_t argc)
{
    return (command->flags & COMMAND_BLOCKING) != 0 || command_may_propose(command, argv, argc);
}

void subcommand_command(struct command_ctx *ctx)
{
    ASSERT(ctx->argc >= 2);
    struct slice name = ctx->argv[1];
    const struct subcommand *found = command_subcommand_lookup(ctx->command, name);
    if (found == NULL) {
        char upper[SUBCOMMAND_NAME_BYTES_MAX + 1];
        size_t size = name.size < UNKNOWN_ARGS_BYTES_MAX ? name.size : UNKNOWN_ARGS_BYTES_MAX;
        reply_errorf(ctx->reply, "ERR unknown subcommand '%.*s'. Try %s HELP.", (int)size,
                     size > 0 ? name.data : "", name_upper(ctx->command->name, upper));
        return;
    }
    if (!arity_fits(found->arity, ctx->argc)) {
        reply_errorf(ctx->reply, "ERR wrong number of arguments for '%s|%s' command", found->parent,
                     found->name);
        return;
    }
    found->run(ctx);
}

/* Two lines a subcommand, laid out as Redis lays out its help. */
void subcommand_help_command(struct command_ctx *ctx)
{
    uint32_t count = 0;
    while (command_subcommand_at(ctx->command, count) != NULL) {
        count++;
    }
    char upper[SUBCOMMAND_NAME_BYTES_MAX + 1];
    char line[256];
    reply_array(ctx->reply, 1 + 2 * count);
    (void)snprintf(line, sizeof(line),
                   "%s <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
                   name_upper(ctx->command->name, upper));
    reply_status(ctx->reply, line);
    const struct subcommand *row = NULL;
    for (uint32_t i = 0; (row = command_subcommand_at(ctx->command, i)) != NULL; i++) {
        (void)snprintf(line, sizeof(line), "%s%s%s", name_upper(row->name, upper),
                       row->arguments[0] != '\0' ? " " : "", row->arguments);
        reply_status(ctx->reply, line);
        (void)snprintf(line, sizeof(line), "    %s", row->summary);
        reply_status(ctx->reply, line);
    }
}
