/*
 * linearizability.c — see linearizability.h.
 *
 * Order: the model (what an operation does to a state), states, configurations, the walk.
 *
 * Every operation under way holds a slot: a bit in the configurations' sets.  An answered one
 * gives its slot back at its return (then it took effect in every configuration left); an
 * unanswered one keeps it.
 */
#include "linearizability.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

enum { WORDS = LIN_OPEN_MAX / 64, NO_STATE = -1, MISSING = 0 };

/* A state of the key.  State 0 is "missing". */
struct state {
    bool is_doomed; /* only its length counts; `text` is empty */
    bool is_number;
    size_t length;
    struct slice text; /* owned */
    int64_t number;
    uint64_t hash;
};

struct config {
    uint32_t state;
    int32_t next; /* same place in the table; -1: none */
    uint64_t done[WORDS];
};

struct configs {
    struct config *items; /* LIN_CONFIGS_MAX */
    uint32_t count;
    int32_t *table; /* heads; -1: none */
    size_t places;
};

struct slot {
    size_t op;
    bool is_open;
    bool is_optional; /* never answered */
    bool is_blind;    /* what it writes was never seen */
    uint32_t twins;   /* the same for all open slots of operations with the same effect */
};

struct event {
    uint64_t time;
    bool is_return;
    size_t op;
};

struct search {
    const struct lin_op *ops;
    size_t count;
    struct lin_report *report;
    struct slice *shown; /* every text an answer showed, sorted */
    size_t shown_count;
    struct state *states;
    uint32_t states_count;
    int32_t *states_table; /* -1: none */
    size_t states_places;
    size_t text_bytes;
    struct slot slots[LIN_OPEN_MAX];
    uint32_t slots_count; /* slots ever used */
    uint64_t optional[WORDS];
    uint64_t pure[WORDS]; /* of those that are answered */
    bool has_append;      /* some operation can tell the length of a text */
    uint32_t *slot_of;    /* per operation */
    struct configs now, queue, next;
};

/* ── states ──────────────────────────────────────────────────────────────────────────────────── */

/* A canonical 64-bit integer, as INCR wants it. */
static bool text_number(struct slice text, int64_t *out)
{
    char digits[24];
    if (text.size == 0 || text.size > 20) {
        return false;
    }
    memcpy(digits, text.data, text.size);
    digits[text.size] = '\0';
    char *end = NULL;
    long long number = strtoll(digits, &end, 10);
    char again[24];
    (void)snprintf(again, sizeof(again), "%lld", number);
    if (*end != '\0' || strcmp(again, digits) != 0) {
        return false;
    }
    *out = number;
    return true;
}

/* No continuation of the text is a number. */
static bool is_never_number(struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        bool is_digit = text.data[i] >= '0' && text.data[i] <= '9';
        if (!is_digit && !(i == 0 && text.data[i] == '-')) {
            return true;
        }
    }
    return text.size > 20;
}

static int slice_compare(const void *a, const void *b)
{
    const struct slice *x = a;
    const struct slice *y = b;
    size_t common = x->size < y->size ? x->size : y->size;
    int order = common > 0 ? memcmp(x->data, y->data, common) : 0;
    return order != 0 ? order : (x->size > y->size) - (x->size < y->size);
}

/* Some answer showed the text or a continuation of it. */
static bool was_shown(const struct search *search, struct slice text)
{
    size_t low = 0;
    size_t high = search->shown_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_compare(&search->shown[middle], &text) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < search->shown_count && search->shown[low].size >= text.size &&
           (text.size == 0 || memcmp(search->shown[low].data, text.data, text.size) == 0);
}

/* The number of a state, new or known.  NO_STATE: a bound was met. */
static int64_t state_intern(struct search *search, bool is_doomed, struct slice text, size_t length)
{
    uint64_t hash = hash_key(text, length * 2 + is_doomed);
    size_t at = hash % search->states_places;
    for (; search->states_table[at] >= 0; at = (at + 1) % search->states_places) {
        const struct state *state = &search->states[search->states_table[at]];
        if (state->hash == hash && state->is_doomed == is_doomed && state->length == length &&
            slice_equal(state->text, text)) {
            return search->states_table[at];
        }
    }
    if (search->states_count * 2 > search->states_places ||
        search->text_bytes + text.size > LIN_TEXT_BYTES_MAX) {
        search->report->why = "too many states";
        return NO_STATE;
    }
    struct state *state = &search->states[search->states_count];
    *state = (struct state){ .is_doomed = is_doomed, .length = length, .hash = hash };
    if (text.size > 0) {
        char *copy = mem_alloc(text.size);
        memcpy(copy, text.data, text.size);
        state->text = slice_make(copy, text.size);
        search->text_bytes += text.size;
    }
    state->is_number = !is_doomed && text_number(text, &state->number);
    search->states_table[at] = (int32_t)search->states_count;
    return search->states_count++;
}

static int64_t state_of_text(struct search *search, struct slice text)
{
    bool is_doomed = is_never_number(text) && !was_shown(search, text);
    bool has_length = !is_doomed || search->has_append;
    return state_intern(search, is_doomed, is_doomed ? (struct slice){ 0 } : text,
                        has_length ? text.size : 0);
}

static int64_t state_of_number(struct search *search, int64_t number)
{
    char text[24];
    (void)snprintf(text, sizeof(text), "%lld", (long long)number);
    return state_of_text(search, slice_from(text));
}

static int64_t state_append(struct search *search, uint32_t before, struct slice tail)
{
    const struct state *state = &search->states[before];
    if (before == MISSING) {
        return state_of_text(search, tail);
    }
    if (state->is_doomed) {
        return state_intern(search, true, (struct slice){ 0 }, state->length + tail.size);
    }
    size_t size = state->text.size + tail.size;
    char *joined = mem_alloc(size + 1);
    if (state->text.size > 0) {
        memcpy(joined, state->text.data, state->text.size);
    }
    if (tail.size > 0) {
        memcpy(joined + state->text.size, tail.data, tail.size);
    }
    int64_t after = state_of_text(search, slice_make(joined, size));
    mem_free(joined);
    return after;
}

/* ── the model ───────────────────────────────────────────────────────────────────────────────── */

enum effect { EFFECT_ILLEGAL, EFFECT_LEGAL, EFFECT_OUT_OF_ROOM };

static bool is_read(enum lin_kind kind)
{
    return kind == LIN_GET || kind == LIN_EXISTS;
}

/* The answer shows this value. */
static bool shows(const struct search *search, const struct lin_op *op, uint32_t before)
{
    const struct state *state = &search->states[before];
    if (before == MISSING || op->answer == LIN_NIL) {
        return before == MISSING && op->answer == LIN_NIL;
    }
    return op->answer == LIN_TEXT && !state->is_doomed && slice_equal(state->text, op->text);
}

/* Whether the answer is right in the state `before`. */
static bool is_right(const struct search *search, const struct lin_op *op, uint32_t before)
{
    const struct state *state = &search->states[before];
    bool exists = before != MISSING;
    switch (op->kind) {
    case LIN_GET:
    case LIN_GETSET:
        return shows(search, op, before);
    case LIN_EXISTS:
    case LIN_DEL:
        return op->answer == LIN_NUMBER && op->number == exists;
    case LIN_SET:
        return op->answer == LIN_OK;
    case LIN_SETNX:
        return op->answer == (exists ? LIN_NIL : LIN_OK);
    case LIN_INCR:
        if (exists && !state->is_number) {
            return op->answer == LIN_NOT_A_NUMBER;
        }
        return op->answer == LIN_NUMBER && op->number == (exists ? state->number : 0) + 1;
    case LIN_APPEND:
        return op->answer == LIN_NUMBER &&
               op->number == (int64_t)((exists ? state->length : 0) + op->argument.size);
    case LIN_KINDS:
        break;
    }
    return false;
}

/* The state after the operation; NO_STATE when a bound was met. */
static int64_t state_after(struct search *search, const struct lin_op *op, uint32_t before)
{
    const struct state *state = &search->states[before];
    switch (op->kind) {
    case LIN_SET:
    case LIN_GETSET:
        return state_of_text(search, op->argument);
    case LIN_SETNX:
        return before == MISSING ? state_of_text(search, op->argument) : before;
    case LIN_DEL:
        return MISSING;
    case LIN_INCR:
        if (before != MISSING && !state->is_number) {
            return before;
        }
        return state_of_number(search, (before == MISSING ? 0 : state->number) + 1);
    case LIN_APPEND:
        return state_append(search, before, op->argument);
    case LIN_GET:
    case LIN_EXISTS:
    case LIN_KINDS:
        break;
    }
    return before;
}

/* ── configurations ──────────────────────────────────────────────────────────────────────────── */

static bool has_bit(const uint64_t *set, uint32_t bit)
{
    return (set[bit / 64] >> (bit % 64) & 1) != 0;
}

static void set_bit(uint64_t *set, uint32_t bit)
{
    set[bit / 64] |= UINT64_C(1) << (bit % 64);
}

static void clear_bit(uint64_t *set, uint32_t bit)
{
    set[bit / 64] &= ~(UINT64_C(1) << (bit % 64));
}

static void configs_init(struct configs *configs, size_t places)
{
    configs->items = mem_alloc(sizeof(*configs->items) * LIN_CONFIGS_MAX);
    configs->table = mem_alloc(sizeof(*configs->table) * places);
    configs->places = places;
    configs->count = 0;
    memset(configs->table, 0xff, sizeof(*configs->table) * places);
}

static void configs_free(struct configs *configs)
{
    mem_free(configs->items);
    mem_free(configs->table);
}

/* Where configurations of this state and these answered writes are chained. */
static size_t config_place(const struct search *search, const struct configs *configs,
                           const struct config *config)
{
    uint64_t hash = config->state * UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = 0; i < WORDS; i++) {
        hash = (hash ^ (config->done[i] & ~(search->optional[i] | search->pure[i]))) *
               UINT64_C(0xff51afd7ed558ccd);
        hash ^= hash >> 32;
    }
    return hash % configs->places;
}

/* Empties it. */
static void configs_reset(const struct search *search, struct configs *configs)
{
    if (configs->count > configs->places / 8) {
        memset(configs->table, 0xff, sizeof(*configs->table) * configs->places);
        configs->count = 0;
    }
    for (uint32_t i = 0; i < configs->count; i++) {
        configs->table[config_place(search, configs, &configs->items[i])] = -1;
    }
    configs->count = 0;
}

/* `a` can do whatever `b` can: the same writes, no more of the unanswered operations used up, no
 * fewer of the reads done. */
static bool dominates(const struct search *search, const struct config *a, const struct config *b)
{
    if (a->state != b->state) {
        return false;
    }
    for (size_t i = 0; i < WORDS; i++) {
        uint64_t free = search->optional[i] | search->pure[i];
        bool is_same = ((a->done[i] ^ b->done[i]) & ~free) == 0;
        bool uses_more = (a->done[i] & ~b->done[i] & search->optional[i]) != 0;
        bool owes_more = (b->done[i] & ~a->done[i] & search->pure[i]) != 0;
        if (!is_same || uses_more || owes_more) {
            return false;
        }
    }
    return true;
}

/* False when the bound was met. */
static bool config_add(struct search *search, struct configs *to, const struct config *config)
{
    int32_t *head = &to->table[config_place(search, to, config)];
    for (int32_t at = *head; at >= 0; at = to->items[at].next) {
        if (dominates(search, &to->items[at], config)) {
            return true;
        }
    }
    if (to->count == LIN_CONFIGS_MAX) {
        search->report->why = "too many configurations";
        return false;
    }
    to->items[to->count] = *config;
    to->items[to->count].next = *head;
    *head = (int32_t)to->count++;
    if (to->count > search->report->configs_peak) {
        search->report->configs_peak = to->count;
    }
    return true;
}

/* ── the walk ────────────────────────────────────────────────────────────────────────────────── */

/* With this answer the operation changed nothing. */
static bool is_pure(const struct lin_op *op)
{
    return is_read(op->kind) || (op->kind == LIN_SETNX && op->answer == LIN_NIL) ||
           (op->kind == LIN_DEL && op->answer == LIN_NUMBER && op->number == 0) ||
           (op->kind == LIN_INCR && op->answer == LIN_NOT_A_NUMBER);
}

/* Everything under way that changed nothing and is right here is placed here. */
static void place_reads(const struct search *search, struct config *config)
{
    for (uint32_t i = 0; i < search->slots_count; i++) {
        const struct slot *slot = &search->slots[i];
        if (slot->is_open && !slot->is_optional && !has_bit(config->done, i)) {
            const struct lin_op *op = &search->ops[slot->op];
            if (is_pure(op) && is_right(search, op, config->state)) {
                set_bit(config->done, i);
            }
        }
    }
}

/* Places the operation of slot `i`; EFFECT_LEGAL: *config is changed. */
static enum effect config_place_op(struct search *search, struct config *config, uint32_t i)
{
    const struct slot *slot = &search->slots[i];
    const struct lin_op *op = &search->ops[slot->op];
    if (!slot->is_optional && !is_right(search, op, config->state)) {
        return EFFECT_ILLEGAL;
    }
    int64_t after = state_after(search, op, config->state);
    if (after == NO_STATE) {
        return EFFECT_OUT_OF_ROOM;
    }
    if (slot->is_optional && after == config->state) {
        return EFFECT_ILLEGAL; /* pointless: it may as well never happen */
    }
    config->state = (uint32_t)after;
    set_bit(config->done, i);
    place_reads(search, config);
    return EFFECT_LEGAL;
}

/* Whatever place in the order `a` has, `b` could have it as far as b's answer goes, if b is right
 * in the state at hand and in a's place comes the same change. */
static bool may_swap(const struct lin_op *a, const struct lin_op *b)
{
    bool is_free = a->returned == LIN_NEVER || a->kind == LIN_SET;
    bool is_alike = a->kind == b->kind && a->answer == b->answer && a->number == b->number &&
                    (a->kind == LIN_DEL || a->kind == LIN_INCR);
    return is_free || is_alike;
}

/* A twin that is right here, too, and returns earlier: it may as well go first. */
static bool has_better_twin(const struct search *search, const struct config *config, uint32_t i)
{
    const struct slot *slot = &search->slots[i];
    const struct lin_op *op = &search->ops[slot->op];
    for (uint32_t k = 0; k < search->slots_count; k++) {
        const struct slot *twin = &search->slots[k];
        if (k == i || !twin->is_open || twin->twins != slot->twins || has_bit(config->done, k)) {
            continue;
        }
        const struct lin_op *other = &search->ops[twin->op];
        bool is_earlier =
            other->returned < op->returned || (other->returned == op->returned && k < i);
        bool fits = twin->is_optional || is_right(search, other, config->state);
        if (is_earlier && fits && may_swap(op, other)) {
            return true;
        }
    }
    return false;
}

/* Adds what can follow `config`: to `next` when `wanted` has taken effect, else to the queue. */
static bool config_expand(struct search *search, const struct config *config, uint32_t wanted)
{
    for (uint32_t i = 0; i < search->slots_count; i++) {
        const struct slot *slot = &search->slots[i];
        bool is_candidate = slot->is_open && !has_bit(config->done, i) &&
                            (slot->is_optional || !is_pure(&search->ops[slot->op])) &&
                            !has_better_twin(search, config, i);
        if (!is_candidate) {
            continue;
        }
        struct config after = *config;
        enum effect effect = config_place_op(search, &after, i);
        if (effect == EFFECT_OUT_OF_ROOM) {
            return false;
        }
        bool is_there = has_bit(after.done, wanted);
        if (effect == EFFECT_LEGAL && is_there) {
            clear_bit(after.done, wanted);
        }
        if (effect == EFFECT_LEGAL &&
            !config_add(search, is_there ? &search->next : &search->queue, &after)) {
            return false;
        }
    }
    return true;
}

/* `op` returns: keeps the configurations in which it has taken effect by now.  False: none is
 * left, or (report->why) a bound was met. */
static bool handle_return(struct search *search, size_t op)
{
    uint32_t wanted = search->slot_of[op];
    for (uint32_t i = 0; i < search->now.count; i++) {
        struct config config = search->now.items[i];
        if (!has_bit(config.done, wanted)) {
            place_reads(search, &config);
        }
        bool is_there = has_bit(config.done, wanted);
        if (is_there) {
            clear_bit(config.done, wanted);
        }
        if (!config_add(search, is_there ? &search->next : &search->queue, &config)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < search->queue.count; i++) {
        struct config config = search->queue.items[i];
        search->report->configs_tried += 1;
        if (!config_expand(search, &config, wanted)) {
            return false;
        }
    }
    configs_reset(search, &search->now);
    configs_reset(search, &search->queue);
    struct configs swap = search->now;
    search->now = search->next;
    search->next = swap;
    search->slots[wanted].is_open = false;
    clear_bit(search->pure, wanted);
    return search->now.count > 0;
}

static bool is_part_of_shown(const struct search *search, struct slice text)
{
    for (size_t i = 0; i < search->shown_count; i++) {
        const struct slice *shown = &search->shown[i];
        if (memmem(shown->data, shown->size, text.data, text.size) != NULL) {
            return true;
        }
    }
    return false;
}

/* Writes a text that nobody ever saw. */
static bool is_blind(const struct search *search, const struct lin_op *op)
{
    if (!is_never_number(op->argument)) {
        return false;
    }
    if (op->kind == LIN_APPEND) {
        return op->returned == LIN_NEVER && !is_part_of_shown(search, op->argument);
    }
    bool is_set = op->kind == LIN_SET || op->kind == LIN_GETSET;
    return is_set && !was_shown(search, op->argument);
}

/* The same change of any state. */
static bool are_twins(const struct search *search, const struct slot *a, const struct slot *b)
{
    const struct lin_op *x = &search->ops[a->op];
    const struct lin_op *y = &search->ops[b->op];
    bool are_appends = x->kind == LIN_APPEND && y->kind == LIN_APPEND;
    bool are_sets = x->kind != LIN_APPEND && y->kind != LIN_APPEND;
    if (a->is_blind && b->is_blind && (are_appends || are_sets)) {
        return !search->has_append || x->argument.size == y->argument.size;
    }
    if (x->kind != y->kind) {
        return false;
    }
    return x->kind == LIN_DEL || x->kind == LIN_INCR || slice_equal(x->argument, y->argument);
}

/* False when too many operations are under way. */
static bool slot_open(struct search *search, size_t op)
{
    bool is_optional = search->ops[op].returned == LIN_NEVER;
    if (is_optional && is_read(search->ops[op].kind)) {
        return true; /* whatever it would have said */
    }
    uint32_t at = 0;
    while (at < search->slots_count && search->slots[at].is_open) {
        at += 1;
    }
    if (at == LIN_OPEN_MAX) {
        search->report->why = "too many operations under way";
        return false;
    }
    search->slots_count += at == search->slots_count;
    struct slot slot = {
        .op = op, .is_open = true, .is_optional = is_optional, .twins = (uint32_t)op
    };
    slot.is_blind = is_blind(search, &search->ops[op]);
    for (uint32_t i = 0; i < search->slots_count; i++) {
        const struct slot *other = &search->slots[i];
        if (i != at && other->is_open && are_twins(search, other, &slot)) {
            slot.twins = other->twins;
        }
    }
    search->slots[at] = slot;
    search->slot_of[op] = at;
    if (is_optional) {
        set_bit(search->optional, at);
    } else if (is_pure(&search->ops[op])) {
        set_bit(search->pure, at);
    }
    return true;
}

static int event_compare(const void *a, const void *b)
{
    const struct event *x = a;
    const struct event *y = b;
    if (x->time != y->time) {
        return x->time < y->time ? -1 : 1;
    }
    if (x->is_return != y->is_return) { /* at equal times operations overlap */
        return x->is_return ? 1 : -1;
    }
    return (x->op > y->op) - (x->op < y->op);
}

static size_t events_make(const struct lin_op *ops, size_t count, struct event *out)
{
    size_t events = 0;
    for (size_t i = 0; i < count; i++) {
        ASSERT(ops[i].invoked <= ops[i].returned);
        out[events++] = (struct event){ .time = ops[i].invoked, .op = i };
        if (ops[i].returned != LIN_NEVER) {
            out[events++] = (struct event){ ops[i].returned, true, i };
        }
    }
    qsort(out, events, sizeof(*out), event_compare);
    return events;
}

static void search_init(struct search *search)
{
    for (size_t i = 0; i < search->count; i++) {
        const struct lin_op *op = &search->ops[i];
        if (op->returned != LIN_NEVER && op->answer == LIN_TEXT) {
            search->shown[search->shown_count++] = op->text;
        }
        search->has_append |= op->kind == LIN_APPEND;
    }
    qsort(search->shown, search->shown_count, sizeof(*search->shown), slice_compare);
    /* Small histories need small tables: filling large ones would take most of the time. */
    size_t places = 1024;
    while (places < search->count * 4 && places < LIN_CONFIGS_MAX) {
        places *= 2;
    }
    search->states_places = LIN_STATES_MAX * 2 < places * 8 ? LIN_STATES_MAX * 2 : places * 8;
    search->states_table = mem_alloc(sizeof(*search->states_table) * search->states_places);
    memset(search->states_table, 0xff, sizeof(*search->states_table) * search->states_places);
    search->states[MISSING] = (struct state){ 0 }; /* not in the table: it is no text */
    search->states_count = 1;
    configs_init(&search->now, places);
    configs_init(&search->queue, places);
    configs_init(&search->next, places);
}

static void search_free(struct search *search, struct event *events)
{
    for (uint32_t i = 0; i < search->states_count; i++) {
        mem_free((void *)(uintptr_t)search->states[i].text.data);
    }
    configs_free(&search->now);
    configs_free(&search->queue);
    configs_free(&search->next);
    mem_free(search->states);
    mem_free(search->states_table);
    mem_free(search->shown);
    mem_free(search->slot_of);
    mem_free(search);
    mem_free(events);
}

enum lin_verdict lin_check(const struct lin_op *ops, size_t count, struct lin_report *out_report)
{
    *out_report = (struct lin_report){ 0 };
    struct search *search = mem_zalloc(sizeof(*search));
    struct event *events = mem_alloc(sizeof(*events) * (count * 2 + 1));
    search->ops = ops;
    search->count = count;
    search->report = out_report;
    search->shown = mem_alloc(sizeof(*search->shown) * (count + 1));
    search->slot_of = mem_zalloc(sizeof(*search->slot_of) * (count + 1));
    search->states = mem_alloc(sizeof(*search->states) * LIN_STATES_MAX);
    search_init(search);
    size_t events_count = events_make(ops, count, events);
    struct config start = { .state = MISSING };
    enum lin_verdict verdict = config_add(search, &search->now, &start) ? LIN_YES : LIN_GAVE_UP;
    for (size_t i = 0; verdict == LIN_YES && i < events_count; i++) {
        const struct event *event = &events[i];
        bool is_fine =
            event->is_return ? handle_return(search, event->op) : slot_open(search, event->op);
        if (!is_fine) {
            verdict = out_report->why != NULL ? LIN_GAVE_UP : LIN_NO;
            out_report->op = event->op;
        }
    }
    search_free(search, events);
    return verdict;
}
