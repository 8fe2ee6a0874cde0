/*
 * sim_history.c — keys, operations and their answers, as the clients saw them.
 *
 * Keys come in classes, so that each operation's effect can be told from any other's:
 * registers are set to values that name the operation (#00000012), counters are counted up, texts
 * are appended to.  (The fourth class is set to values that expire: what a client reads there
 * depends on wall clocks, so that only the replicas' states are compared.)  A key is used for some
 * hundred operations; then another takes its place, so that no history becomes too long, and
 * unanswered operations do not pile up on one.
 *
 * Moments are taken from a counter that moves with every event: two events are never at the same
 * moment, and one that a client saw before another is before it.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "invariants/checks.h"
#include "sim.h"

#include <inttypes.h>
#include <stdio.h>

/* Of one key: more would only cost the checker time. */
enum { UNANSWERED_MAX = 10, PENDING_MAX = 10 };

static void key_renew(struct sim_history *history, uint32_t place)
{
    static const char letters[KEY_CLASSES] = { 'r', 'c', 't', 'b' };
    if (history->keys_count == history->keys_capacity) {
        history->keys_capacity = history->keys_capacity == 0 ? 64 : history->keys_capacity * 2;
        history->keys = mem_realloc(history->keys, history->keys_capacity * sizeof(*history->keys));
    }
    struct sim_key *key = &history->keys[history->keys_count];
    *key = (struct sim_key){ .class = (enum key_class)(place % KEY_CLASSES),
                             .number = place,
                             .first_op = UINT32_MAX };
    (void)snprintf(key->name, sizeof(key->name), "%c%u.%u", letters[key->class], place,
                   history->keys_count);
    history->current[place] = history->keys_count++;
}

void sim_history_init(struct sim_history *history, const struct sim_plan *plan)
{
    *history = (struct sim_history){ .places = plan->keys * KEY_CLASSES };
    history->current = mem_alloc(history->places * sizeof(*history->current));
    for (uint32_t place = 0; place < history->places; place++) {
        key_renew(history, place);
    }
}

void sim_history_free(struct sim_history *history)
{
    for (uint32_t i = 0; i < history->count; i++) {
        mem_free((void *)(uintptr_t)history->ops[i].text.data);
    }
    mem_free(history->ops);
    mem_free(history->keys);
    mem_free(history->current);
}

/* ── operations ──────────────────────────────────────────────────────────────────────────────── */

bool sim_op_is_write(const struct sim_op *op)
{
    return op->kind != LIN_GET && op->kind != LIN_EXISTS;
}

uint32_t sim_history_add(struct sim *sim, uint32_t client, uint32_t key, enum lin_kind kind)
{
    struct sim_history *history = &sim->history;
    if (history->count == history->capacity) {
        history->capacity = history->capacity == 0 ? 1024 : history->capacity * 2;
        history->ops = mem_realloc(history->ops, history->capacity * sizeof(*history->ops));
    }
    uint32_t number = history->count++;
    uint32_t bytes_max = prng_chance(&sim->prng, 1, 30) ? sim->plan.value_bytes_max : 40;
    history->ops[number] = (struct sim_op){
        .number = number,
        .key = key,
        .kind = kind,
        .client = client,
        .time = sim_now(sim),
        .invoked = ++history->clock,
        .returned = LIN_NEVER,
        .next_of_key = UINT32_MAX,
        /* Texts of equal length are equal to the checker when nobody sees them. */
        .value_bytes = kind == LIN_APPEND ? 5 : (uint32_t)prng_below(&sim->prng, bytes_max),
    };
    *(history->keys[key].operations == 0 ? &history->keys[key].first_op
                                         : &history->ops[history->keys[key].last_op].next_of_key) =
        number;
    history->keys[key].last_op = number;
    history->keys[key].operations += 1;
    history->keys[key].pending += 1;
    return number;
}

static enum lin_kind kind_draw(struct prng *prng, enum key_class class)
{
    static const uint8_t percents[KEY_CLASSES][LIN_KINDS] = {
        [KEY_REGISTER] = { [LIN_GET] = 42,
                           [LIN_EXISTS] = 5,
                           [LIN_SET] = 33,
                           [LIN_SETNX] = 7,
                           [LIN_GETSET] = 6,
                           [LIN_DEL] = 7 },
        [KEY_COUNTER] = { [LIN_GET] = 33, [LIN_INCR] = 62, [LIN_DEL] = 5 },
        [KEY_TEXT] = { [LIN_GET] = 48, [LIN_APPEND] = 42, [LIN_DEL] = 10 },
        [KEY_BRIEF] = { [LIN_GET] = 45, [LIN_SET] = 50, [LIN_DEL] = 5 },
    };
    uint64_t draw = prng_below(prng, 100);
    uint32_t kind = 0;
    while (draw >= percents[class][kind]) {
        draw -= percents[class][kind++];
    }
    return (enum lin_kind)kind;
}

uint32_t sim_history_draw(struct sim *sim, uint32_t client)
{
    struct sim_history *history = &sim->history;
    uint32_t place = (uint32_t)prng_below(&sim->prng, history->places);
    const struct sim_key *key = &history->keys[history->current[place]];
    if (key->operations >= sim->plan.key_operations || key->unanswered >= UNANSWERED_MAX ||
        key->pending >= PENDING_MAX) {
        key_renew(history, place);
    }
    uint32_t number = history->current[place];
    return sim_history_add(sim, client, number, kind_draw(&sim->prng, history->keys[number].class));
}

/* "r3.17#00000012xxx." */
void sim_op_value(const struct sim *sim, const struct sim_op *op, struct buffer *out)
{
    out->size = 0;
    bool has_value = op->kind == LIN_SET || op->kind == LIN_SETNX || op->kind == LIN_GETSET ||
                     op->kind == LIN_APPEND;
    if (!has_value) {
        return;
    }
    buffer_printf(out, "%s#%08u", sim->history.keys[op->key].name, op->number);
    memset(buffer_reserve(out, op->value_bytes), 'x', op->value_bytes);
    out->size += op->value_bytes;
    buffer_append_byte(out, '.');
}

void sim_op_end(struct sim *sim, struct sim_op *op, enum op_fate fate)
{
    struct sim_history *history = &sim->history;
    ASSERT(op->fate == OP_PENDING && fate != OP_PENDING);
    op->fate = fate;
    op->returned = fate == OP_UNKNOWN ? LIN_NEVER : ++history->clock;
    history->keys[op->key].pending -= 1;
    history->keys[op->key].unanswered += fate == OP_UNKNOWN && sim_op_is_write(op);
    history->answered += fate == OP_ANSWERED;
    history->refused += fate == OP_REFUSED;
    history->unknown += fate == OP_UNKNOWN;
    checks_on_answer(sim, op);
}

/* ── I9 ──────────────────────────────────────────────────────────────────────────────────────── */

static bool belongs(const struct sim_op *op)
{
    if (op->fate == OP_REFUSED || op->fate == OP_PENDING) {
        return op->fate == OP_PENDING && sim_op_is_write(op);
    }
    return sim_op_is_write(op) || (op->fate == OP_ANSWERED && op->level != CONSISTENCY_ANY);
}

static void print_op(const struct sim *sim, const struct sim_op *op)
{
    static const char *const kinds[] = { "GET",    "EXISTS", "SET",  "SETNX",
                                         "GETSET", "DEL",    "INCR", "APPEND" };
    static const char *const fates[] = { "pending", "answered", "refused", "unknown" };
    printf("    #%08u client %u at %9.3f ms  [%6" PRIu64 ", %6" PRId64 "]  %-6s %s %s", op->number,
           op->client, (double)op->time / 1e6, op->invoked, (int64_t)op->returned, kinds[op->kind],
           sim->history.keys[op->key].name, fates[op->fate]);
    if (op->fate == OP_ANSWERED && op->answer == LIN_TEXT) {
        size_t shown = op->text.size < 120 ? op->text.size : 120;
        printf(" -> ...%.*s", (int)shown, op->text.data + op->text.size - shown);
    } else if (op->fate == OP_ANSWERED) {
        printf(op->answer == LIN_NUMBER ? " -> %" PRId64 : " -> ok/nil %" PRId64,
               op->answer == LIN_NUMBER ? op->number_answer : (int64_t)op->answer);
    }
    printf("%s\n", op->level == CONSISTENCY_ANY      ? " ANY"
                   : op->level == CONSISTENCY_QUORUM ? " QUORUM"
                                                     : "");
}

/* The operations around the inexplicable one. */
static void print_neighbours(const struct sim *sim, const struct sim_op *culprit)
{
    for (uint32_t i = 0; i < sim->history.count; i++) {
        const struct sim_op *op = &sim->history.ops[i];
        bool is_near = op->invoked <= culprit->returned && op->returned + 400 >= culprit->invoked;
        if (op->key == culprit->key && (is_near || op->fate == OP_UNKNOWN)) {
            print_op(sim, op);
        }
    }
}

static void check_key(struct sim *sim, uint32_t key, struct lin_op *ops, uint32_t *numbers,
                      struct buffer *values)
{
    uint32_t count = 0;
    values->size = 0;
    (void)buffer_reserve(values, 1 << 20);
    struct buffer value = { 0 };
    for (uint32_t i = sim->history.keys[key].first_op; i != UINT32_MAX;
         i = sim->history.ops[i].next_of_key) {
        const struct sim_op *op = &sim->history.ops[i];
        if (!belongs(op)) {
            continue;
        }
        sim_op_value(sim, op, &value);
        ASSERT(values->size + value.size <= 1 << 20); /* slices point into it */
        buffer_append_slice(values, buffer_slice(&value));
        numbers[count] = i;
        ops[count++] = (struct lin_op){
            .kind = op->kind,
            .client = op->client,
            .invoked = op->invoked,
            .returned = op->returned,
            .argument = slice_make(values->data + values->size - value.size, value.size),
            .answer = op->answer,
            .text = op->text,
            .number = op->number_answer,
        };
    }
    buffer_free(&value);
    struct lin_report report;
    enum lin_verdict verdict = lin_check(ops, count, &report);
    if (verdict == LIN_NO) {
        const struct sim_op *culprit = &sim->history.ops[numbers[report.op]];
        print_neighbours(sim, culprit);
        sim_fail(sim, "I9 linearizability", "key %s: nothing explains the answer to #%08u",
                 sim->history.keys[key].name, culprit->number);
    } else if (verdict == LIN_GAVE_UP) {
        sim->history.not_judged += 1;
        sim_say(sim, "key %s: the checker gave up: %s", sim->history.keys[key].name, report.why);
    }
}

void sim_history_check(struct sim *sim)
{
    struct lin_op *ops = mem_alloc((sim->history.count + 1) * sizeof(*ops));
    uint32_t *numbers = mem_alloc((sim->history.count + 1) * sizeof(*numbers));
    struct buffer values = { 0 };
    for (uint32_t key = 0; key < sim->history.keys_count && sim->invariant == NULL; key++) {
        if (sim->history.keys[key].class == KEY_BRIEF) {
            continue;
        }
        check_key(sim, key, ops, numbers, &values);
    }
    buffer_free(&values);
    mem_free(ops);
    mem_free(numbers);
}
