/*
 * fuzz_cli_reply.c — any bytes as a server's reply: parsed whole or in pieces the result is the
 * same, and every reply can be printed in every style.
 */
#include "base/assert.h"
#include "cli_line.h"
#include "cli_print.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_same(const struct cli_reply *a, const struct cli_reply *b)
{
    ASSERT(a->count == b->count);
    ASSERT(slice_equal(buffer_slice(&a->text), buffer_slice(&b->text)));
    for (uint32_t i = 0; i < a->count; i++) {
        ASSERT(a->nodes[i].kind == b->nodes[i].kind);
        ASSERT(a->nodes[i].end == b->nodes[i].end && a->nodes[i].end <= a->count);
        ASSERT(a->nodes[i].text + a->nodes[i].size <= a->text.size);
    }
}

static void print_all(const struct cli_reply *reply)
{
    static const char *const commands[][2] = {
        { "slowlog", "get" }, { "latency", "latest" }, { "stats", "" }, { "get", "k" }
    };
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
        struct slice args[2] = { slice_from(commands[i][0]), slice_from(commands[i][1]) };
        for (int style = CLI_STYLE_TTY; style <= CLI_STYLE_JSON; style++) {
            struct buffer out = { 0 };
            cli_print(&out, (enum cli_style)style, reply, args, 2);
            ASSERT(out.size > 0 || reply->count > 0);
            buffer_free(&out);
        }
    }
    (void)cli_map_find(reply, 0, "summary");
}

/* Feeds the bytes in pieces of `piece` each. */
static enum cli_parse parse_in_pieces(struct cli_parser *parser, struct slice all, size_t piece)
{
    enum cli_parse result = CLI_PARSE_MORE;
    while (all.size > 0 && result == CLI_PARSE_MORE) {
        struct slice input = slice_make(all.data, all.size < piece ? all.size : piece);
        size_t before = input.size;
        result = cli_parse(parser, &input);
        size_t used = before - input.size;
        all = slice_make(all.data + used, all.size - used);
    }
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice all = slice_make(data, size);
    struct cli_parser whole = { 0 };
    struct cli_parser pieces = { 0 };
    struct slice input = all;
    enum cli_parse result = cli_parse(&whole, &input);
    ASSERT(parse_in_pieces(&pieces, all, size % 7 + 1) == result);
    if (result == CLI_PARSE_DONE) {
        check_same(&whole.reply, &pieces.reply);
        print_all(&whole.reply);
    }
    cli_parser_deinit(&whole);
    cli_parser_deinit(&pieces);
    /* A quoted text splits into itself; any line splits or does not. */
    struct buffer line = { 0 };
    struct cli_args args = { 0 };
    cli_quote(&line, all);
    bool ok = cli_args_split(&args, buffer_slice(&line));
    ASSERT(ok && args.count == 1 && slice_equal(args.items[0], all));
    (void)cli_args_split(&args, all);
    (void)cli_is_secret(&args);
    cli_args_free(&args);
    buffer_free(&line);
    return 0;
}
