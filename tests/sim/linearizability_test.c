/*
 * linearizability_test.c — the checker against brute force, and on histories with known answers.
 *
 * Brute force is written apart from the checker: it tries every order of every choice of the
 * operations, with a model of its own on plain strings.
 */
#include "linearizability.h"

#include "base/prng.h"

#include "../unit/test.h"

enum { TEXT_MAX = 64, OPS_MAX = 7 };

static const uint64_t N = LIN_NEVER;

/* ── the other model ─────────────────────────────────────────────────────────────────────────── */

struct plain {
    bool exists;
    char text[TEXT_MAX];
};

struct plain_answer {
    enum lin_answer answer;
    char text[TEXT_MAX];
    int64_t number;
};

static void plain_put(struct plain *plain, struct slice text)
{
    plain->exists = true;
    (void)snprintf(plain->text, sizeof(plain->text), "%.*s", (int)text.size, text.data);
}

static void plain_show(const struct plain *plain, struct plain_answer *out)
{
    out->answer = plain->exists ? LIN_TEXT : LIN_NIL;
    memcpy(out->text, plain->text, sizeof(out->text));
}

static struct plain_answer plain_run(struct plain *plain, const struct lin_op *op)
{
    struct plain_answer out = { .answer = LIN_NUMBER };
    switch (op->kind) {
    case LIN_GET:
        plain_show(plain, &out);
        break;
    case LIN_EXISTS:
        out.number = plain->exists;
        break;
    case LIN_SET:
        plain_put(plain, op->argument);
        out.answer = LIN_OK;
        break;
    case LIN_SETNX:
        out.answer = plain->exists ? LIN_NIL : LIN_OK;
        if (!plain->exists) {
            plain_put(plain, op->argument);
        }
        break;
    case LIN_GETSET:
        plain_show(plain, &out);
        plain_put(plain, op->argument);
        break;
    case LIN_DEL:
        out.number = plain->exists;
        plain->exists = false;
        break;
    case LIN_INCR: {
        const char *text = plain->exists ? plain->text : "0";
        if (text[0] == '\0' || strspn(text, "0123456789") != strlen(text) ||
            (text[0] == '0' && text[1] != '\0')) {
            out.answer = LIN_NOT_A_NUMBER;
            break;
        }
        out.number = strtoll(text, NULL, 10) + 1;
        char next[24];
        (void)snprintf(next, sizeof(next), "%lld", (long long)out.number);
        plain_put(plain, slice_from(next));
        break;
    }
    case LIN_APPEND: {
        char joined[TEXT_MAX * 2];
        (void)snprintf(joined, sizeof(joined), "%s%.*s", plain->exists ? plain->text : "",
                       (int)op->argument.size, op->argument.data);
        plain_put(plain, slice_from(joined));
        out.number = (int64_t)strlen(plain->text);
        break;
    }
    case LIN_KINDS:
        break;
    }
    return out;
}

static bool plain_matches(const struct plain_answer *got, const struct lin_op *op)
{
    return got->answer == op->answer && (got->answer != LIN_NUMBER || got->number == op->number) &&
           (got->answer != LIN_TEXT || slice_equal(slice_from(got->text), op->text));
}

/* Does this order (of `count` operations) explain the answers and respect time? */
static bool order_explains(const struct lin_op *ops, const uint32_t *order, uint32_t count)
{
    struct plain plain = { 0 };
    for (uint32_t i = 0; i < count; i++) {
        const struct lin_op *op = &ops[order[i]];
        for (uint32_t k = i + 1; k < count; k++) {
            if (ops[order[k]].returned < op->invoked) {
                return false;
            }
        }
        struct plain_answer got = plain_run(&plain, op);
        if (op->returned != N && !plain_matches(&got, op)) {
            return false;
        }
    }
    return true;
}

/* The next permutation in lexical order; false after the last. */
static bool order_next(uint32_t *order, uint32_t count)
{
    uint32_t i = count;
    do {
        if (i < 2) {
            return false;
        }
        i -= 1;
    } while (order[i - 1] > order[i]);
    uint32_t k = count - 1;
    while (order[k] < order[i - 1]) {
        k -= 1;
    }
    uint32_t swap = order[k];
    order[k] = order[i - 1];
    order[i - 1] = swap;
    for (uint32_t a = i, b = count - 1; a < b; a++, b--) {
        swap = order[a];
        order[a] = order[b];
        order[b] = swap;
    }
    return true;
}

static bool brute_force(const struct lin_op *ops, uint32_t count)
{
    for (uint32_t chosen = 0; chosen < 1u << count; chosen++) {
        uint32_t order[OPS_MAX] = { 0 };
        uint32_t n = 0;
        bool is_complete = true;
        for (uint32_t i = 0; i < count; i++) {
            bool is_in = (chosen >> i & 1) != 0;
            is_complete = is_complete && (is_in || ops[i].returned == N);
            if (is_in) {
                order[n++] = i;
            }
        }
        while (is_complete) {
            if (order_explains(ops, order, n)) {
                return true;
            }
            if (!order_next(order, n)) {
                break;
            }
        }
    }
    return false;
}

/* ── random histories ────────────────────────────────────────────────────────────────────────── */

struct history {
    struct lin_op ops[OPS_MAX];
    char arguments[OPS_MAX][TEXT_MAX];
    char texts[OPS_MAX][TEXT_MAX];
    uint32_t count;
};

static void op_draw(struct history *history, uint32_t i, struct prng *prng, bool few_values)
{
    struct lin_op *op = &history->ops[i];
    *op = (struct lin_op){ .kind = (enum lin_kind)prng_below(prng, LIN_KINDS), .client = i };
    uint64_t value = few_values ? prng_below(prng, 3) : i;
    const char *before = prng_chance(prng, 1, 2) ? "v" : "";
    (void)snprintf(history->arguments[i], TEXT_MAX, "%s%u%s", before, (unsigned)value,
                   before[0] != '\0' ? "." : "");
    op->argument = slice_from(history->arguments[i]);
    op->invoked = prng_below(prng, 12);
    op->returned = op->invoked + prng_below(prng, 8);
}

/* Runs the operations at random moments inside their time, so that the answers are right; then
 * perhaps spoils something. */
static void history_draw(struct history *history, struct prng *prng)
{
    struct plain plain = { 0 };
    uint64_t at[OPS_MAX];
    bool was_run[OPS_MAX] = { false };
    bool few_values = prng_chance(prng, 1, 3);
    history->count = 1 + (uint32_t)prng_below(prng, prng_chance(prng, 1, 20) ? OPS_MAX : 5);
    for (uint32_t i = 0; i < history->count; i++) {
        op_draw(history, i, prng, few_values);
        struct lin_op *op = &history->ops[i];
        at[i] = op->invoked * 100 + prng_below(prng, (op->returned - op->invoked) * 100 + 1);
    }
    for (uint32_t n = 0; n < history->count; n++) {
        uint32_t next = 0;
        while (was_run[next]) {
            next += 1;
        }
        for (uint32_t i = next; i < history->count; i++) {
            next = !was_run[i] && at[i] < at[next] ? i : next;
        }
        was_run[next] = true;
        struct lin_op *op = &history->ops[next];
        bool is_lost = prng_chance(prng, 1, 8);
        struct plain before = plain;
        struct plain_answer answer = plain_run(&plain, op);
        op->answer = answer.answer;
        op->number = answer.number;
        memcpy(history->texts[next], answer.text, TEXT_MAX);
        op->text = slice_from(history->texts[next]);
        if (is_lost || prng_chance(prng, 1, 6)) {
            op->returned = N;
            plain = is_lost ? before : plain;
        }
    }
    struct lin_op *victim = &history->ops[prng_below(prng, history->count)];
    const struct lin_op *other = &history->ops[prng_below(prng, history->count)];
    if (prng_chance(prng, 1, 2) && victim->answer == other->answer) {
        victim->text = other->text;
        victim->number = other->number;
    } else if (prng_chance(prng, 1, 2)) {
        uint64_t length = victim->returned == N ? 0 : victim->returned - victim->invoked;
        victim->invoked = prng_below(prng, 12);
        victim->returned = victim->returned == N ? N : victim->invoked + length;
    }
}

TEST(agrees_with_brute_force)
{
    struct prng prng;
    prng_init(&prng, 1);
    uint32_t explained = 0;
    uint32_t unexplained = 0;
    for (uint32_t round = 0; round < 30000; round++) {
        struct history history;
        history_draw(&history, &prng);
        struct lin_report report;
        enum lin_verdict verdict = lin_check(history.ops, history.count, &report);
        bool expected = brute_force(history.ops, history.count);
        *(expected ? &explained : &unexplained) += 1;
        if ((verdict == LIN_YES) != expected || verdict == LIN_GAVE_UP) {
            printf("round %u: %u operations, verdict %d, brute force %d\n", round, history.count,
                   (int)verdict, expected);
            CHECK(false);
        }
    }
    CHECK(explained > 10000);
    CHECK(unexplained > 1000);
}

/* ── known histories ─────────────────────────────────────────────────────────────────────────── */

static struct lin_op op_make(enum lin_kind kind, uint64_t invoked, uint64_t returned,
                             const char *text)
{
    struct lin_op op = { .kind = kind, .invoked = invoked, .returned = returned };
    if (kind == LIN_GET) {
        op.answer = text != NULL ? LIN_TEXT : LIN_NIL;
        op.text = slice_from(text != NULL ? text : "");
    } else {
        op.argument = slice_from(text != NULL ? text : "");
    }
    return op;
}

static struct lin_op op_number(enum lin_kind kind, uint64_t invoked, uint64_t returned,
                               const char *text, int64_t number)
{
    struct lin_op op = op_make(kind, invoked, returned, text);
    op.answer = LIN_NUMBER;
    op.number = number;
    return op;
}

#define VERDICT(...)                                                                               \
    (int)verdict_of((const struct lin_op[]){ __VA_ARGS__ },                                        \
                    sizeof((const struct lin_op[]){ __VA_ARGS__ }) / sizeof(struct lin_op))

static enum lin_verdict verdict_of(const struct lin_op *ops, size_t count)
{
    struct lin_report report;
    return lin_check(ops, count, &report);
}

TEST(a_stale_read_is_found)
{
    CHECK_EQ(VERDICT(op_make(LIN_SET, 1, 2, "a"), op_make(LIN_SET, 3, 4, "b"),
                     op_make(LIN_GET, 5, 6, "a")),
             LIN_NO);
    CHECK_EQ(VERDICT(op_make(LIN_SET, 1, 2, "a"), op_make(LIN_SET, 3, 5, "b"),
                     op_make(LIN_GET, 4, 6, "a")),
             LIN_YES);
}

TEST(a_lost_write_is_found)
{
    CHECK_EQ(VERDICT(op_make(LIN_SET, 1, 2, "a"), op_make(LIN_GET, 3, 4, NULL)), LIN_NO);
    CHECK_EQ(VERDICT(op_make(LIN_SET, 1, N, "a"), op_make(LIN_GET, 3, 4, NULL)), LIN_YES);
}

TEST(reads_do_not_go_back)
{
    CHECK_EQ(VERDICT(op_make(LIN_SET, 1, 2, "a"), op_make(LIN_SET, 3, 10, "b"),
                     op_make(LIN_GET, 4, 5, "b"), op_make(LIN_GET, 6, 7, "a")),
             LIN_NO);
}

TEST(an_unanswered_write_takes_effect_at_most_once)
{
    CHECK_EQ(VERDICT(op_make(LIN_SET, 1, N, "a"), op_make(LIN_GET, 2, 3, "a"),
                     op_make(LIN_SET, 4, 5, "b"), op_make(LIN_GET, 6, 7, "a")),
             LIN_NO);
    CHECK_EQ(VERDICT(op_make(LIN_SET, 1, N, "a"), op_make(LIN_GET, 2, 3, NULL),
                     op_make(LIN_SET, 4, 5, "b"), op_make(LIN_GET, 6, 7, "a")),
             LIN_YES);
}

TEST(a_write_applied_twice_is_found)
{
    CHECK_EQ(VERDICT(op_number(LIN_APPEND, 1, 2, "x.", 2), op_make(LIN_GET, 3, 4, "x.x.")), LIN_NO);
    CHECK_EQ(VERDICT(op_number(LIN_INCR, 1, 2, "", 1), op_number(LIN_INCR, 3, 4, "", 3)), LIN_NO);
    CHECK_EQ(VERDICT(op_number(LIN_INCR, 1, 2, "", 1), op_number(LIN_INCR, 1, N, "", 0),
                     op_number(LIN_INCR, 3, 4, "", 3)),
             LIN_YES);
}

TEST(a_value_nobody_wrote_is_found)
{
    CHECK_EQ(VERDICT(op_make(LIN_GET, 1, 2, "ghost")), LIN_NO);
}

TEST(the_report_names_the_inexplicable_answer)
{
    const struct lin_op ops[] = { op_make(LIN_GET, 7, 8, NULL), op_make(LIN_SET, 1, 2, "a"),
                                  op_make(LIN_GET, 3, 4, "a"), op_make(LIN_GET, 5, 6, "a") };
    struct lin_report report;
    CHECK_EQ(lin_check(ops, 4, &report), LIN_NO);
    CHECK_EQ(report.op, 0);
}

/* ── size ────────────────────────────────────────────────────────────────────────────────────── */

enum { LARGE = 10000, CLIENTS = 16 };

/* Many clients, long overlaps, one operation in `unanswered_in` unanswered. */
static enum lin_verdict large_history(uint32_t unanswered_in, bool spoil,
                                      struct lin_report *out_report)
{
    struct lin_op *ops = calloc(LARGE, sizeof(*ops));
    char(*texts)[2][24] = calloc(LARGE, sizeof(*texts));
    uint64_t free_at[CLIENTS] = { 0 };
    struct prng prng;
    prng_init(&prng, 7);
    char value[24] = "";
    bool exists = false;
    for (uint32_t i = 0; i < LARGE; i++) {
        /* Effects happen at time 100 * i; each operation extends some way to both sides. */
        uint32_t client = i % CLIENTS;
        struct lin_op *op = &ops[i];
        op->client = client;
        op->invoked = i * 100 - (i > CLIENTS ? prng_below(&prng, 700) : 0);
        op->invoked = op->invoked > free_at[client] ? op->invoked : free_at[client];
        op->returned = i * 100 + prng_below(&prng, 700);
        free_at[client] = op->returned + 1;
        op->kind = prng_chance(&prng, 1, 2) ? LIN_GET : LIN_SET;
        (void)snprintf(texts[i][0], 24, "v%u.", i);
        op->argument = slice_from(texts[i][0]);
        if (op->kind == LIN_GET) {
            memcpy(texts[i][1], value, sizeof(value));
            op->answer = exists ? LIN_TEXT : LIN_NIL;
            op->text = slice_from(texts[i][1]);
        } else if (prng_chance(&prng, 1, unanswered_in)) {
            op->returned = LIN_NEVER;
        } else {
            memcpy(value, texts[i][0], sizeof(value));
            exists = true;
        }
    }
    if (spoil) {
        uint32_t i = LARGE - 5;
        ops[i].kind = LIN_GET;
        ops[i].answer = LIN_TEXT;
        ops[i].returned = ops[i].invoked + 1;
        ops[i].text = slice_from(texts[LARGE / 2][0]);
    }
    enum lin_verdict verdict = lin_check(ops, LARGE, out_report);
    free(ops);
    free(texts);
    return verdict;
}

TEST(large_histories)
{
    struct lin_report report;
    CHECK_EQ(large_history(1000, false, &report), LIN_YES);
    CHECK_EQ(large_history(50, false, &report), LIN_YES);
    CHECK(report.configs_peak < 10000);
    CHECK_EQ(large_history(1000, true, &report), LIN_NO);
    CHECK_EQ(report.op, LARGE - 5);
}

TEST(says_when_it_gives_up)
{
    struct lin_report report;
    CHECK_EQ(large_history(2, false, &report), LIN_GAVE_UP); /* thousands unanswered */
    CHECK(report.why != NULL);
}

TEST_MAIN
