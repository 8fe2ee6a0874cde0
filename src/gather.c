/*
 * gather.c — see gather.h.
 *
 * What can be put together as it comes (sums, KEYS, RANDOMKEY) is; what has an order is kept, part
 * by part, until all parts are there.
 *
 * Order of this file: life, taking parts (by kind), writing the whole (by kind), reading RESP3.
 */
#include "gather.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "base/prng.h"
#include "base/text.h"
#include "command/command.h"
#include "command/scan_request.h"
#include "network/reply_check.h"

enum gather_kind { GATHER_SCALAR, GATHER_BY_KEY, GATHER_KEYS, GATHER_SCAN, GATHER_RANDOMKEY };

/* A part's answer, kept until all are there. */
struct gather_piece {
    uint32_t first, keys; /* BY_KEY: its places in `order` */
    struct buffer answer; /* owned: an array in RESP3; empty: none came */
};

struct gather {
    enum gather_kind kind;
    struct asker asker;
    const struct command *command;
    uint32_t parts, parts_made, parts_left;
    uint32_t parts_done; /* answered without an error */
    uint32_t keys;       /* BY_KEY: of the command; KEYS: found so far */
    uint32_t keys_made;
    uint32_t *order;      /* owned; BY_KEY */
    uint64_t *cursors;    /* owned; SCAN */
    uint64_t wanted;      /* SCAN */
    struct prng prng;     /* RANDOMKEY */
    struct buffer answer; /* SCALAR: the first part's; KEYS: elements; RANDOMKEY: the chosen one */
    struct buffer error;  /* NUL-terminated; empty: none */
    bool is_too_large;    /* what was kept is given up: only `error` counts */
    int64_t sum;
    size_t bytes;                 /* kept */
    struct gather_piece pieces[]; /* BY_KEY, SCAN: `parts` of them */
};

static bool head_take(struct slice *left, char kind, uint64_t *out);
static bool bulk_take(struct slice *left, struct slice *out);

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

static bool has_pieces(const struct gather *gather)
{
    return gather->kind == GATHER_BY_KEY || gather->kind == GATHER_SCAN;
}

static struct gather *gather_make(enum gather_kind kind, const struct asker *asker,
                                  const struct command *command, uint32_t parts)
{
    ASSERT(parts > 0);
    ASSERT(asker->kind != ASKER_PART);
    bool is_kept = kind == GATHER_BY_KEY || kind == GATHER_SCAN;
    size_t pieces = is_kept ? parts * sizeof(struct gather_piece) : 0;
    struct gather *gather = mem_zalloc(sizeof(*gather) + pieces);
    gather->kind = kind;
    gather->asker = *asker;
    gather->command = command;
    gather->parts = parts;
    gather->parts_left = parts;
    return gather;
}

struct gather *gather_new(const struct asker *asker, const struct command *command, uint32_t parts,
                          uint32_t *order, uint32_t keys)
{
    enum gather_kind kind = order != NULL ? GATHER_BY_KEY : GATHER_SCALAR;
    struct gather *gather = gather_make(kind, asker, command, parts);
    gather->order = order;
    gather->keys = keys;
    return gather;
}

struct gather *gather_keys_new(const struct asker *asker, const struct command *command,
                               uint32_t parts)
{
    return gather_make(GATHER_KEYS, asker, command, parts);
}

struct gather *gather_randomkey_new(const struct asker *asker, const struct command *command,
                                    uint32_t parts, uint64_t seed)
{
    struct gather *gather = gather_make(GATHER_RANDOMKEY, asker, command, parts);
    prng_init(&gather->prng, seed);
    return gather;
}

struct gather *gather_scan_new(const struct asker *asker, const struct command *command,
                               uint32_t parts, uint64_t *cursors, uint64_t wanted)
{
    ASSERT(wanted > 0);
    struct gather *gather = gather_make(GATHER_SCAN, asker, command, parts);
    gather->cursors = cursors;
    gather->wanted = wanted;
    return gather;
}

struct asker gather_part(struct gather *gather, uint32_t part, uint32_t keys)
{
    ASSERT(part == gather->parts_made && part < gather->parts);
    if (gather->kind == GATHER_BY_KEY) {
        ASSERT(keys <= gather->keys - gather->keys_made);
        gather->pieces[part].first = gather->keys_made;
        gather->pieces[part].keys = keys;
        gather->keys_made += keys;
    }
    gather->parts_made++;
    return (struct asker){ .kind = ASKER_PART, .part = part, .gather = gather };
}

const struct command *gather_asker(const struct gather *gather, struct asker *out)
{
    *out = gather->asker;
    return gather->command;
}

static void kept_free(struct gather *gather)
{
    for (uint32_t i = 0; has_pieces(gather) && i < gather->parts; i++) {
        buffer_free(&gather->pieces[i].answer);
    }
    buffer_free(&gather->answer);
    gather->bytes = 0;
}

void gather_free(struct gather *gather)
{
    kept_free(gather);
    mem_free(gather->order);
    mem_free(gather->cursors);
    buffer_free(&gather->error);
    mem_free(gather);
}

void gather_drop(const struct asker *part)
{
    ASSERT(part->gather->parts_left > 0);
    if (--part->gather->parts_left == 0) {
        gather_free(part->gather);
    }
}

/* ── taking parts ────────────────────────────────────────────────────────────────────────────── */

static bool error_is(struct slice message, const char *code)
{
    size_t size = strlen(code);
    return message.size > size && memcmp(message.data, code, size) == 0 &&
           message.data[size] == ' ';
}

/* Keeps the error that says most about what happened: UNKNOWN, then any, NOQUORUM last. */
static void gather_error(struct gather *gather, struct slice message)
{
    struct slice kept = buffer_slice(&gather->error);
    bool is_better = kept.size == 0 ||
                     (error_is(message, "UNKNOWN") && !error_is(kept, "UNKNOWN")) ||
                     (error_is(kept, "NOQUORUM") && !error_is(message, "NOQUORUM"));
    if (is_better) {
        gather->error.size = 0;
        buffer_append_slice(&gather->error, message);
        buffer_append_byte(&gather->error, '\0');
    }
}

static void unfit(struct gather *gather)
{
    gather_error(gather, slice_from("ERR a partition's answer does not fit the command"));
}

/* Makes room for so much more; false when that is too much, now or before. */
static bool may_keep(struct gather *gather, size_t bytes)
{
    if (gather->is_too_large) {
        return false;
    }
    if (gather->bytes + bytes > REPLY_VALUES_BYTES_MAX) {
        bool is_scan = gather->kind == GATHER_KEYS || gather->kind == GATHER_SCAN;
        gather_error(gather,
                     slice_from(is_scan ? keyspace_too_large
                                        : "ERR values exceed maximum allowed size of a reply"));
        gather->is_too_large = true;
        kept_free(gather);
        return false;
    }
    gather->bytes += bytes;
    return true;
}

static bool integer_read(struct slice resp, int64_t *out)
{
    return resp.data[0] == ':' && text_to_i64(slice_make(resp.data + 1, resp.size - 3), out);
}

/* Integers are added up, all else must be the same from every part. */
static void take_scalar(struct gather *gather, struct slice resp)
{
    int64_t number = 0;
    bool is_first = gather->answer.size == 0;
    bool is_number = integer_read(resp, &number);
    if (is_first) {
        buffer_append_slice(&gather->answer, resp);
    }
    struct slice kept = buffer_slice(&gather->answer);
    if (is_number && kept.data[0] == ':') {
        (void)__builtin_add_overflow(gather->sum, number, &gather->sum);
    } else if (!slice_equal(kept, resp)) {
        gather_error(gather, slice_from("ERR the partitions gave different answers"));
    }
}

static void take_by_key(struct gather *gather, uint32_t part, struct slice resp)
{
    struct gather_piece *piece = &gather->pieces[part];
    struct slice left = resp;
    uint64_t keys = 0;
    if (!head_take(&left, '*', &keys) || keys != piece->keys) {
        unfit(gather);
    } else if (may_keep(gather, resp.size)) {
        buffer_append_slice(&piece->answer, resp);
    }
}

/* True when it is `count` bulks and nothing else. */
static bool are_bulks(struct slice left, uint64_t count)
{
    struct slice bulk;
    while (count > 0 && bulk_take(&left, &bulk)) {
        count--;
    }
    return count == 0 && left.size == 0;
}

static void take_keys(struct gather *gather, struct slice resp)
{
    uint64_t count = 0;
    if (!head_take(&resp, '*', &count) || !are_bulks(resp, count)) {
        unfit(gather);
    } else if (may_keep(gather, resp.size)) {
        buffer_append_slice(&gather->answer, resp);
        gather->keys += (uint32_t)count; /* a key takes bytes: there are fewer than those */
    }
}

/* Takes the front of a part of a SCAN, up to its keys. */
static bool scan_head_take(struct slice *left, uint64_t *out_cursor, uint64_t *out_keys)
{
    uint64_t size = 0;
    struct slice text;
    return head_take(left, '*', &size) && size == 2 && bulk_take(left, &text) &&
           text_to_u64(text, out_cursor) && head_take(left, '*', out_keys);
}

static void take_scan(struct gather *gather, uint32_t part, struct slice resp)
{
    struct slice left = resp;
    uint64_t cursor = 0;
    uint64_t keys = 0;
    if (!scan_head_take(&left, &cursor, &keys) || !are_bulks(left, keys)) {
        unfit(gather);
    } else if (may_keep(gather, resp.size)) {
        buffer_append_slice(&gather->pieces[part].answer, resp);
    }
}

/* Of n keys so far, a partition's k are each as likely as the others: the chosen one is among them
 * with the probability k/n. */
static void take_randomkey(struct gather *gather, struct slice resp)
{
    uint64_t size = 0;
    uint64_t keys = 0;
    struct slice key;
    if (!head_take(&resp, '*', &size) || size != 2 || !head_take(&resp, ':', &keys) ||
        keys > INT64_MAX / PARTITIONS_MAX) {
        unfit(gather);
        return;
    }
    if (keys == 0 || !bulk_take(&resp, &key)) {
        return; /* none, or all have expired */
    }
    gather->sum += (int64_t)keys;
    if (prng_below(&gather->prng, (uint64_t)gather->sum) < keys) {
        gather->answer.size = 0;
        buffer_append_slice(&gather->answer, key);
    }
}

static void take_good(struct gather *gather, uint32_t part, struct slice resp)
{
    gather->parts_done++;
    switch (gather->kind) {
    case GATHER_SCALAR:
        take_scalar(gather, resp);
        break;
    case GATHER_BY_KEY:
        take_by_key(gather, part, resp);
        break;
    case GATHER_KEYS:
        take_keys(gather, resp);
        break;
    case GATHER_SCAN:
        take_scan(gather, part, resp);
        break;
    case GATHER_RANDOMKEY:
        take_randomkey(gather, resp);
        break;
    }
}

bool gather_take(const struct asker *part, struct slice resp)
{
    struct gather *gather = part->gather;
    ASSERT(gather->parts_left > 0);
    ASSERT(part->part < gather->parts && resp.size >= 3);
    if (resp.data[0] == '-') {
        gather_error(gather, slice_make(resp.data + 1, resp.size - 3));
    } else {
        take_good(gather, part->part, resp);
    }
    gather->parts_left--;
    return gather->parts_left == 0;
}

/* ── the whole ───────────────────────────────────────────────────────────────────────────────── */

/* Writes the elements of all pieces in the order of the client's keys. */
static void write_by_key(const struct gather *gather, struct reply *reply)
{
    ASSERT(gather->keys_made == gather->keys);
    struct slice *elements = mem_zalloc(((size_t)gather->keys + 1) * sizeof(*elements));
    for (uint32_t i = 0; i < gather->parts; i++) {
        const struct gather_piece *piece = &gather->pieces[i];
        struct slice left = buffer_slice(&piece->answer);
        uint64_t keys = 0;
        bool is_array = head_take(&left, '*', &keys);
        ASSERT(is_array && keys == piece->keys);
        for (uint32_t k = 0; k < piece->keys; k++) {
            size_t size = reply_value_size(left);
            uint32_t place = gather->order[piece->first + k];
            ASSERT(size > 0);
            ASSERT(place < gather->keys && elements[place].size == 0);
            elements[place] = slice_make(left.data, size);
            left = slice_make(left.data + size, left.size - size);
        }
        ASSERT(left.size == 0);
    }
    reply_array(reply, gather->keys);
    for (uint32_t i = 0; i < gather->keys; i++) {
        reply_replay(reply, elements[i]);
    }
    mem_free(elements);
}

static void write_bulks(struct reply *reply, struct slice left, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct slice bulk;
        bool is_bulk = bulk_take(&left, &bulk);
        ASSERT(is_bulk);
        reply_bulk(reply, bulk);
    }
    ASSERT(left.size == 0);
}

/* Which parts of a SCAN are used. */
struct scan_sum {
    uint32_t parts;
    uint64_t keys;
    uint64_t cursor; /* where the next call begins */
};

static struct scan_sum scan_sum_up(const struct gather *gather)
{
    struct scan_sum sum = { .cursor = gather->cursors[0] };
    bool goes_on = true;
    while (goes_on && sum.parts < gather->parts && sum.keys < gather->wanted) {
        struct slice left = buffer_slice(&gather->pieces[sum.parts].answer);
        uint64_t inside = 0;
        uint64_t keys = 0;
        if (left.size == 0) {
            break; /* it failed: the next call meets it first */
        }
        bool is_scan = scan_head_take(&left, &inside, &keys);
        ASSERT(is_scan);
        sum.keys += keys;
        sum.parts++;
        goes_on = inside == 0;
        sum.cursor = goes_on || MUTANT(MUT_SCAN_SKIPS) ? gather->cursors[sum.parts] : inside;
    }
    return sum;
}

static void write_scan(const struct gather *gather, struct reply *reply)
{
    struct scan_sum sum = scan_sum_up(gather);
    char text[TEXT_I64_BYTES_MAX];
    reply_array(reply, 2);
    reply_bulk(reply, slice_make(text, text_from_u64(sum.cursor, text)));
    reply_array(reply, (uint32_t)sum.keys);
    for (uint32_t i = 0; i < sum.parts; i++) {
        struct slice left = buffer_slice(&gather->pieces[i].answer);
        uint64_t inside = 0;
        uint64_t keys = 0;
        bool is_scan = scan_head_take(&left, &inside, &keys);
        ASSERT(is_scan);
        write_bulks(reply, left, keys);
    }
}

/* What a SCAN has found in front of the part that failed is an answer. */
static bool is_failed(const struct gather *gather)
{
    bool has_front = gather->kind == GATHER_SCAN && gather->pieces[0].answer.size > 0;
    return gather->error.size > 0 && (gather->is_too_large || !has_front);
}

static void write_error(const struct gather *gather, struct reply *reply)
{
    bool is_write = gather->command != NULL && (gather->command->flags & COMMAND_WRITE) != 0;
    if (is_write && gather->parts_done > 0 && !error_is(buffer_slice(&gather->error), "UNKNOWN")) {
        reply_errorf(reply, "UNKNOWN a part of the command took effect; another one failed: %s",
                     gather->error.data);
    } else {
        reply_error(reply, gather->error.data);
    }
}

static void write_scalar(const struct gather *gather, struct reply *reply)
{
    if (gather->answer.data[0] == ':') {
        reply_integer(reply, gather->sum);
    } else {
        reply_replay(reply, buffer_slice(&gather->answer));
    }
}

static void write_randomkey(const struct gather *gather, struct reply *reply)
{
    if (gather->sum == 0) {
        reply_null(reply);
    } else {
        reply_bulk(reply, buffer_slice(&gather->answer));
    }
}

void gather_write(const struct gather *gather, struct reply *reply)
{
    ASSERT(gather->parts_made == gather->parts);
    ASSERT(gather->parts_left == 0);
    if (is_failed(gather)) {
        write_error(gather, reply);
        return;
    }
    switch (gather->kind) {
    case GATHER_SCALAR:
        write_scalar(gather, reply);
        break;
    case GATHER_BY_KEY:
        write_by_key(gather, reply);
        break;
    case GATHER_KEYS:
        reply_array(reply, gather->keys);
        write_bulks(reply, buffer_slice(&gather->answer), gather->keys);
        break;
    case GATHER_SCAN:
        write_scan(gather, reply);
        break;
    case GATHER_RANDOMKEY:
        write_randomkey(gather, reply);
        break;
    }
}

/* ── reading RESP3 ───────────────────────────────────────────────────────────────────────────── */

/* Takes a line of this kind with a number that is not negative. */
static bool head_take(struct slice *left, char kind, uint64_t *out)
{
    const char *end = left->size == 0 ? NULL : memchr(left->data, '\n', left->size);
    if (end == NULL || left->data[0] != kind || end - left->data < 2 ||
        !text_to_u64(slice_make(left->data + 1, (size_t)(end - left->data) - 2), out)) {
        return false;
    }
    *left = slice_make(end + 1, left->size - (size_t)(end + 1 - left->data));
    return true;
}

/* Takes a bulk; false when there is none, or it is null. */
static bool bulk_take(struct slice *left, struct slice *out)
{
    uint64_t size = 0;
    if (!head_take(left, '$', &size) || left->size < 2 || size > left->size - 2) {
        return false;
    }
    *out = slice_make(left->data, size);
    *left = slice_make(left->data + size + 2, left->size - size - 2);
    return true;
}
