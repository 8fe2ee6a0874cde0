/*
 * answers.c — see answers.h.
 *
 * A client's answer is written straight into its connection.  For all others it is written in RESP3
 * into `captured` and handed over as bytes when it is whole.
 *
 * Order of this file: the three kinds of askers, gathers.
 */
#include "answers.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"
#include "command/command.h"
#include "forward.h"
#include "network/reply_check.h"

enum { CAPTURED_KEPT_BYTES = 1 << 20 }; /* a larger scratch buffer is given back to the heap */

static void gather_answered(struct answers *answers, const struct asker *asker, struct slice resp);

void answers_init(struct answers *answers, struct meter *meter)
{
    *answers = (struct answers){ .meter = meter };
}

void answers_deinit(struct answers *answers)
{
    ASSERT(answers->reply == NULL);
    buffer_free(&answers->captured);
}

/* ── the three kinds of askers ───────────────────────────────────────────────────────────────── */

struct reply *answer_begin(struct answers *answers, const struct asker *asker)
{
    ASSERT(answers->reply == NULL);
    if (LIKELY(asker->kind == ASKER_CLIENT)) {
        answers->reply = conn_deferred_begin(asker->client.conn, asker->client.ticket);
        return answers->reply;
    }
    answers->reply = &answers->capture;
    if (asker->kind == ASKER_NOBODY) {
        reply_begin_sink(&answers->capture);
    } else {
        answers->captured.size = 0;
        reply_begin(&answers->capture, PROTOCOL_RESP3, &answers->captured, (struct slice){ 0 });
    }
    return answers->reply;
}

/* Ends the answer of an asker that is no part. */
static void answer_close(struct answers *answers, const struct asker *asker,
                         const struct command *command)
{
    struct reply *reply = answers->reply;
    answers->reply = NULL;
    if (LIKELY(asker->kind == ASKER_CLIENT)) {
        if (UNLIKELY(reply->is_error)) {
            meter_error(answers->meter, command, reply);
        }
        conn_deferred_end(asker->client.conn, asker->client.ticket);
        return;
    }
    ASSERT(reply == &answers->capture);
    reply_end(reply);
    if (asker->kind == ASKER_REMOTE) {
        ASSERT(answers->forward != NULL);
        forward_answer(answers->forward, asker->remote.link, asker->remote.request,
                       buffer_slice(&answers->captured), reply->version);
    }
}

void answer_end(struct answers *answers, const struct asker *asker, const struct command *command)
{
    ASSERT(answers->reply != NULL);
    if (UNLIKELY(asker->kind == ASKER_PART)) {
        answers->reply = NULL;
        reply_end(&answers->capture);
        gather_answered(answers, asker, buffer_slice(&answers->captured));
    } else {
        answer_close(answers, asker, command);
    }
    if (UNLIKELY(answers->captured.capacity > CAPTURED_KEPT_BYTES)) {
        buffer_free(&answers->captured);
    }
}

void answer_error(struct answers *answers, const struct asker *asker, const struct command *command,
                  const char *message)
{
    reply_error(answer_begin(answers, asker), message);
    answer_end(answers, asker, command);
}

void answer_replay(struct answers *answers, const struct asker *asker,
                   const struct command *command, struct slice resp, uint64_t version)
{
    ASSERT(resp.data != answers->captured.data || resp.size == 0);
    struct reply *reply = answer_begin(answers, asker);
    if (version > 0) {
        reply_version(reply, version);
    }
    reply_replay(reply, resp);
    answer_end(answers, asker, command);
}

/* ── gathers ─────────────────────────────────────────────────────────────────────────────────── */

/* A part of an array. */
struct gather_piece {
    uint32_t first, keys; /* its places in `order` */
    struct buffer answer; /* owned: an array in RESP3 */
};

struct gather {
    struct asker asker;
    const struct command *command;
    uint32_t parts, parts_made, parts_left;
    uint32_t parts_done; /* answered without an error */
    uint32_t keys, keys_made;
    uint32_t *order;      /* owned; NULL: the answer is no array of the parts' elements */
    struct buffer answer; /* the first part's, unless it is an array */
    struct buffer error;  /* NUL-terminated; empty: none */
    int64_t sum;
    size_t bytes;                 /* of the pieces */
    struct gather_piece pieces[]; /* `parts` of them when there is an order */
};

struct gather *gather_new(const struct asker *asker, const struct command *command, uint32_t parts,
                          uint32_t *order, uint32_t keys)
{
    ASSERT(parts > 0);
    ASSERT(asker->kind != ASKER_PART);
    size_t pieces = order != NULL ? parts : 0;
    struct gather *gather = mem_zalloc(sizeof(*gather) + pieces * sizeof(gather->pieces[0]));
    gather->asker = *asker;
    gather->command = command;
    gather->parts = parts;
    gather->parts_left = parts;
    gather->order = order;
    gather->keys = keys;
    return gather;
}

struct asker gather_part(struct gather *gather, uint32_t part, uint32_t keys)
{
    ASSERT(part == gather->parts_made && part < gather->parts);
    if (gather->order != NULL) {
        ASSERT(keys <= gather->keys - gather->keys_made);
        gather->pieces[part].first = gather->keys_made;
        gather->pieces[part].keys = keys;
        gather->keys_made += keys;
    }
    gather->parts_made++;
    return (struct asker){ .kind = ASKER_PART, .part = part, .gather = gather };
}

static void gather_free(struct gather *gather)
{
    for (uint32_t i = 0; gather->order != NULL && i < gather->parts; i++) {
        buffer_free(&gather->pieces[i].answer);
    }
    mem_free(gather->order);
    buffer_free(&gather->answer);
    buffer_free(&gather->error);
    mem_free(gather);
}

void answer_drop(const struct asker *asker)
{
    if (asker->kind != ASKER_PART) {
        return;
    }
    ASSERT(asker->gather->parts_left > 0);
    if (--asker->gather->parts_left == 0) {
        gather_free(asker->gather);
    }
}

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

static bool integer_read(struct slice resp, int64_t *out)
{
    return resp.data[0] == ':' && text_to_i64(slice_make(resp.data + 1, resp.size - 3), out);
}

/* Integers are added up, all else must be the same from every part. */
static void gather_scalar(struct gather *gather, struct slice resp)
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

static void gather_array(struct gather *gather, uint32_t part, struct slice resp)
{
    struct gather_piece *piece = &gather->pieces[part];
    char head[TEXT_I64_BYTES_MAX + 3] = "*";
    size_t size = 1 + text_from_u64(piece->keys, head + 1);
    head[size++] = '\r';
    if (resp.size <= size || memcmp(resp.data, head, size) != 0) {
        gather_error(gather, slice_from("ERR a partition's answer does not fit the command"));
        return;
    }
    gather->bytes += resp.size;
    if (gather->bytes > REPLY_VALUES_BYTES_MAX) {
        gather_error(gather, slice_from("ERR values exceed maximum allowed size of a reply"));
        return;
    }
    buffer_append_slice(&piece->answer, resp);
}

/* Writes the elements of all pieces in the order of the client's keys. */
static void gather_write_array(const struct gather *gather, struct reply *reply)
{
    ASSERT(gather->keys_made == gather->keys);
    struct slice *elements = mem_zalloc(((size_t)gather->keys + 1) * sizeof(*elements));
    for (uint32_t i = 0; i < gather->parts; i++) {
        const struct gather_piece *piece = &gather->pieces[i];
        struct slice left = buffer_slice(&piece->answer);
        const char *line_end = memchr(left.data, '\n', left.size);
        ASSERT(line_end != NULL);
        const char *at = line_end + 1;
        const char *end = left.data + left.size;
        for (uint32_t k = 0; k < piece->keys; k++) {
            size_t size = reply_value_size(slice_make(at, (size_t)(end - at)));
            uint32_t place = gather->order[piece->first + k];
            ASSERT(size > 0);
            ASSERT(place < gather->keys && elements[place].size == 0);
            elements[place] = slice_make(at, size);
            at += size;
        }
        ASSERT(at == end);
    }
    reply_array(reply, gather->keys);
    for (uint32_t i = 0; i < gather->keys; i++) {
        reply_replay(reply, elements[i]);
    }
    mem_free(elements);
}

static void gather_write(const struct gather *gather, struct reply *reply)
{
    const char *error = gather->error.size > 0 ? gather->error.data : NULL;
    bool is_write = gather->command != NULL && (gather->command->flags & COMMAND_WRITE) != 0;
    if (error != NULL && is_write && gather->parts_done > 0 &&
        !error_is(buffer_slice(&gather->error), "UNKNOWN")) {
        reply_errorf(reply, "UNKNOWN a part of the command took effect; another one failed: %s",
                     error);
    } else if (error != NULL) {
        reply_error(reply, error);
    } else if (gather->order != NULL) {
        gather_write_array(gather, reply);
    } else if (gather->answer.data[0] == ':') {
        reply_integer(reply, gather->sum);
    } else {
        reply_replay(reply, buffer_slice(&gather->answer));
    }
}

static void gather_answered(struct answers *answers, const struct asker *asker, struct slice resp)
{
    struct gather *gather = asker->gather;
    ASSERT(gather->parts_left > 0);
    ASSERT(asker->part < gather->parts && resp.size >= 3);
    if (resp.data[0] == '-') {
        gather_error(gather, slice_make(resp.data + 1, resp.size - 3));
    } else {
        gather->parts_done++;
        if (gather->order != NULL) {
            gather_array(gather, asker->part, resp);
        } else {
            gather_scalar(gather, resp);
        }
    }
    if (--gather->parts_left > 0) {
        return;
    }
    ASSERT(gather->parts_made == gather->parts);
    gather_write(gather, answer_begin(answers, &gather->asker));
    answer_close(answers, &gather->asker, gather->command);
    gather_free(gather);
}
