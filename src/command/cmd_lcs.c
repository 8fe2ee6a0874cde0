/*
 * cmd_lcs.c — LCS: the longest common subsequence of two values.
 *
 * The textbook table: cell (i, j) is the length for the first i bytes of one and j of the other.
 * Walking back from the last cell gives the subsequence and, where bytes match one after another,
 * the ranges that IDX shows (from the end to the beginning, as Redis does).
 *
 * Costs memory and time by the product of the lengths, hence LCS_CELLS_MAX.
 */
#include "base/assert.h"
#include "base/buffer.h"
#include "base/mem.h"
#include "command/args.h"
#include "command/command_table.h"

struct lcs_options {
    bool len;
    bool idx;
    bool with_match_len;
    int64_t min_match_len;
};

struct lcs_range {
    uint32_t a_start, b_start, size;
};

struct lcs {
    struct slice a, b;
    uint32_t *cells;      /* owned: (a.size + 1) rows of b.size + 1 */
    char *text;           /* owned: the subsequence */
    uint32_t size;        /* its length */
    struct buffer ranges; /* struct lcs_range each */
};

static bool lcs_options_parse(struct command_ctx *ctx, struct lcs_options *out)
{
    *out = (struct lcs_options){ 0 };
    for (uint32_t i = 3; i < ctx->argc; i++) {
        if (args_is(ctx, i, "idx")) {
            out->idx = true;
        } else if (args_is(ctx, i, "len")) {
            out->len = true;
        } else if (args_is(ctx, i, "withmatchlen")) {
            out->with_match_len = true;
        } else if (args_is(ctx, i, "minmatchlen") && i + 1 < ctx->argc) {
            i += 1;
            if (!args_i64(ctx, i, &out->min_match_len)) {
                return false;
            }
        } else {
            (void)args_syntax_error(ctx);
            return false;
        }
    }
    if (out->idx && out->len) {
        reply_error(ctx->reply,
                    "ERR If you want both the length and indexes, please just use IDX.");
        return false;
    }
    return true;
}

static size_t cell_at(const struct lcs *lcs, size_t i, size_t j)
{
    return i * (lcs->b.size + 1) + j;
}

/* Fills the table; its first row and column are zero. */
static void lcs_fill(struct lcs *lcs)
{
    uint32_t *cells = lcs->cells;
    for (size_t i = 1; i <= lcs->a.size; i++) {
        for (size_t j = 1; j <= lcs->b.size; j++) {
            uint32_t up = cells[cell_at(lcs, i - 1, j)];
            uint32_t left = cells[cell_at(lcs, i, j - 1)];
            bool is_match = lcs->a.data[i - 1] == lcs->b.data[j - 1];
            cells[cell_at(lcs, i, j)] =
                is_match ? cells[cell_at(lcs, i - 1, j - 1)] + 1 : (up > left ? up : left);
        }
    }
    lcs->size = cells[cell_at(lcs, lcs->a.size, lcs->b.size)];
}

/* Adds the matching byte at a[i], b[j]: in front of the range begun, or as a new range. */
static void lcs_add_match(struct lcs *lcs, uint32_t i, uint32_t j, int64_t min_size,
                          struct lcs_range *range)
{
    if (range->size > 0 && range->a_start == i + 1 && range->b_start == j + 1) {
        *range = (struct lcs_range){ i, j, range->size + 1 };
        return;
    }
    if (range->size > 0 && range->size >= min_size) {
        buffer_append(&lcs->ranges, range, sizeof(*range));
    }
    *range = (struct lcs_range){ i, j, 1 };
}

static void lcs_walk_back(struct lcs *lcs, int64_t min_size)
{
    struct lcs_range range = { 0 };
    size_t i = lcs->a.size;
    size_t j = lcs->b.size;
    size_t left = lcs->size;
    while (i > 0 && j > 0) {
        if (lcs->a.data[i - 1] == lcs->b.data[j - 1]) {
            i -= 1;
            j -= 1;
            ASSERT(left > 0);
            lcs->text[--left] = lcs->a.data[i];
            lcs_add_match(lcs, (uint32_t)i, (uint32_t)j, min_size, &range);
        } else if (lcs->cells[cell_at(lcs, i - 1, j)] > lcs->cells[cell_at(lcs, i, j - 1)]) {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    ASSERT(left == 0);
    if (range.size > 0 && range.size >= min_size) {
        buffer_append(&lcs->ranges, &range, sizeof(range));
    }
}

static void reply_pair(struct reply *reply, uint32_t start, uint32_t size)
{
    reply_array(reply, 2);
    reply_integer(reply, start);
    reply_integer(reply, (int64_t)start + size - 1);
}

static void lcs_reply_ranges(struct command_ctx *ctx, const struct lcs *lcs, bool with_sizes)
{
    struct reply *reply = ctx->reply;
    size_t count = lcs->ranges.size / sizeof(struct lcs_range);
    reply_map(reply, 2);
    reply_text(reply, "matches");
    reply_array(reply, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        struct lcs_range range;
        memcpy(&range, lcs->ranges.data + i * sizeof(range), sizeof(range));
        reply_array(reply, with_sizes ? 3 : 2);
        reply_pair(reply, range.a_start, range.size);
        reply_pair(reply, range.b_start, range.size);
        if (with_sizes) {
            reply_integer(reply, range.size);
        }
    }
    reply_text(reply, "len");
    reply_integer(reply, lcs->size);
}

static struct slice text_of(struct command_ctx *ctx, uint32_t at, struct kv_scratch *scratch)
{
    const struct kv_entry *entry = db_read(ctx, ctx->argv[at]);
    return entry == NULL ? (struct slice){ "", 0 } : kv_entry_value(entry, scratch);
}

void lcs_command(struct command_ctx *ctx)
{
    struct lcs_options options;
    struct kv_scratch scratch_a;
    struct kv_scratch scratch_b;
    struct lcs lcs = { .a = text_of(ctx, 1, &scratch_a), .b = text_of(ctx, 2, &scratch_b) };
    if (!lcs_options_parse(ctx, &options)) {
        return;
    }
    uint64_t cells = (uint64_t)(lcs.a.size + 1) * (lcs.b.size + 1);
    if (cells > LCS_CELLS_MAX) {
        reply_error(ctx->reply, "ERR Insufficient memory, transient memory for LCS exceeds "
                                "proto-max-bulk-len");
        return;
    }
    lcs.cells = mem_zalloc(cells * sizeof(lcs.cells[0]));
    lcs_fill(&lcs);
    lcs.text = mem_alloc(lcs.size + 1u);
    lcs_walk_back(&lcs, options.min_match_len);
    if (options.idx) {
        lcs_reply_ranges(ctx, &lcs, options.with_match_len);
    } else if (options.len) {
        reply_integer(ctx->reply, lcs.size);
    } else {
        reply_bulk(ctx->reply, (struct slice){ lcs.text, lcs.size });
    }
    mem_free(lcs.cells);
    mem_free(lcs.text);
    buffer_free(&lcs.ranges);
}
