/*
 * answers.h — who asked, and how the answer gets there.
 *
 * A request may come from a client of this node, from another node that passed a client's request
 * on, or be one part of a command whose keys lie in several partitions.  What runs the request does
 * not care: it opens the answer with answer_begin, writes one value, and closes it.
 *
 * Read next: gather.h (parts), shard.h, forward.h.
 */
#pragma once

#include "base/buffer.h"
#include "base/compiler.h"
#include "meter.h"
#include "network/server.h"

struct command;
struct gather;
struct peers;

enum asker_kind { ASKER_NOBODY, ASKER_CLIENT, ASKER_PART, ASKER_REMOTE };

/* Plain data, copied freely; each is answered exactly once. */
struct asker {
    enum asker_kind kind;
    uint32_t part; /* ASKER_PART: which one */
    union {
        struct {
            struct conn *conn;
            uint64_t ticket;
        } client;
        struct gather *gather;
        struct {
            uint64_t link; /* the connection between nodes it came on */
            uint64_t request;
        } remote;
    };
};

struct answers {
    struct meter *meter;     /* borrowed */
    struct forward *forward; /* borrowed; NULL on a lone node: takes the answers of ASKER_REMOTE */
    struct buffer captured;  /* an answer in RESP3 that is not for a client of ours */
    struct reply capture;
    struct reply *reply; /* the one that is open; NULL: none */
};

static inline struct asker asker_client(struct conn *conn, uint64_t ticket)
{
    return (struct asker){ .kind = ASKER_CLIENT, .client = { conn, ticket } };
}

void answers_init(struct answers *answers, struct meter *meter);
void answers_deinit(struct answers *answers);

/* Opens the answer; one at a time.  The reply is valid until answer_end. */
struct reply *answer_begin(struct answers *answers, const struct asker *asker);
/* `command`: for the statistics of errors; may be NULL. */
void answer_end(struct answers *answers, const struct asker *asker, const struct command *command);
/* The whole answer is this error ("CODE text"). */
void answer_error(struct answers *answers, const struct asker *asker, const struct command *command,
                  const char *message);
/* The whole answer is what a reply in RESP3 says.  version: for JSON; 0: none. */
void answer_replay(struct answers *answers, const struct asker *asker,
                   const struct command *command, struct slice resp, uint64_t version);
/* The asker gets no answer: the node ends.  Frees what only the answer would have freed. */
void answer_drop(const struct asker *asker);
