/*
 * answers.c — see answers.h.
 *
 * A client's answer is written straight into its connection.  For all others it is written in RESP3
 * into `captured` and handed over as bytes when it is whole.
 */
#include "answers.h"

#include "base/assert.h"
#include "command/command.h"
#include "forward.h"
#include "gather.h"

enum { CAPTURED_KEPT_BYTES = 1 << 20 }; /* a larger scratch buffer is given back to the heap */

void answers_init(struct answers *answers, struct meter *meter)
{
    *answers = (struct answers){ .meter = meter };
}

void answers_deinit(struct answers *answers)
{
    ASSERT(answers->reply == NULL);
    buffer_free(&answers->captured);
}

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

/* What is asked of whole partitions may be large: it leaves room for the answers of others. */
static struct slice passed_on(const struct answers *answers, const struct asker *asker,
                              const struct command *command)
{
    struct slice resp = buffer_slice(&answers->captured);
    bool is_bulky = command != NULL && (command->flags & COMMAND_KEYSPACE) != 0;
    if (is_bulky && resp.size > forward_answer_room(answers->forward, asker->remote.link)) {
        return slice_from("-ERR the keys exceed what one node may tell another at once; ask with "
                          "SCAN\r\n");
    }
    return resp;
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
                       passed_on(answers, asker, command), reply->version);
    }
}

/* All parts are there. */
static void whole_answer(struct answers *answers, struct gather *gather)
{
    struct asker asker;
    const struct command *command = gather_asker(gather, &asker);
    gather_write(gather, answer_begin(answers, &asker));
    answer_close(answers, &asker, command);
    gather_free(gather);
}

void answer_end(struct answers *answers, const struct asker *asker, const struct command *command)
{
    ASSERT(answers->reply != NULL);
    if (UNLIKELY(asker->kind == ASKER_PART)) {
        answers->reply = NULL;
        reply_end(&answers->capture);
        if (gather_take(asker, buffer_slice(&answers->captured))) {
            whole_answer(answers, asker->gather);
        }
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

void answer_drop(const struct asker *asker)
{
    if (asker->kind == ASKER_PART) {
        gather_drop(asker);
    }
}
