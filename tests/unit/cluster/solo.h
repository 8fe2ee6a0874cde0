/*
 * solo.h — one replica of an otherwise imaginary cluster, for tests that speak for its peers.
 *
 * Node 1 of `count` lives in a world.h world; the other nodes are not started: the test writes
 * their messages by hand and looks at what node 1 sends.
 */
#pragma once

#include "world.h"

struct solo {
    struct world *world;
    struct world_node *node;
    struct raft *raft;
};

static inline struct solo solo_begin(const struct world_options *options, uint64_t term,
                                     const uint64_t *terms, uint64_t terms_count)
{
    struct solo solo = { .world = world_new(options->voters_count, options) };
    solo.node = world_node(solo.world, 1);
    solo.node->disk.term = term;
    for (uint64_t i = 0; i < terms_count; i++) {
        solo.node->disk.log[i + 1] = (struct world_entry){
            .term = terms[i], .payload = 100 + i, .size = WORLD_ENTRY_BYTES, .kind = 1
        };
    }
    solo.node->disk.last = terms_count;
    world_start(solo.world, 1);
    solo.raft = solo.node->raft;
    return solo;
}

static inline struct solo solo_new(uint32_t count)
{
    struct world_options options = world_options_default(count);
    return solo_begin(&options, 0, NULL, 0);
}

static inline void solo_end(struct solo *solo)
{
    world_free(solo->world);
}

static inline struct raft_message solo_message(const struct solo *solo, uint64_t from,
                                               enum raft_message_kind kind, uint64_t term)
{
    (void)solo;
    return (struct raft_message){ .kind = kind,
                                  .group = 5,
                                  .cluster = 77,
                                  .from = from,
                                  .from_incarnation = 1,
                                  .to = 1,
                                  .to_incarnation = 1,
                                  .boot = 1,
                                  .term = term };
}

static inline const struct raft_output *solo_feed(struct solo *solo,
                                                  const struct raft_message *message)
{
    return world_step(solo->world, solo->node,
                      (struct raft_input){ .kind = RAFT_INPUT_MESSAGE, .message = message });
}

static inline const struct raft_output *solo_feed_kind(struct solo *solo, uint64_t from,
                                                       enum raft_message_kind kind, uint64_t term)
{
    struct raft_message message = solo_message(solo, from, kind, term);
    return solo_feed(solo, &message);
}

/* The `nth` message of this kind that the last step sent to a node; NULL when there is none. */
static inline const struct raft_message *solo_sent(const struct solo *solo, uint64_t to,
                                                   enum raft_message_kind kind)
{
    const struct raft_output *output = solo->world->output;
    for (uint32_t i = 0; i < output->messages_count; i++) {
        if (output->messages[i].to == to && output->messages[i].kind == kind) {
            return &output->messages[i];
        }
    }
    return NULL;
}

static inline uint32_t solo_sent_count(const struct solo *solo, enum raft_message_kind kind)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < solo->world->output->messages_count; i++) {
        count += solo->world->output->messages[i].kind == kind;
    }
    return count;
}

/* All its writes complete; the output is the last one's. */
static inline void solo_persist(struct solo *solo)
{
    while (solo->node->writes != NULL) {
        world_persist(solo->world, 1);
    }
}

static inline void solo_tick(struct solo *solo, uint64_t ms)
{
    world_tick(solo->world, 1, ms);
}

/* Its election timer runs out. */
static inline void solo_timeout(struct solo *solo)
{
    uint64_t now_ms = world_clock_ms(solo->world, solo->node);
    solo_tick(solo, solo->node->deadline_ms > now_ms ? solo->node->deadline_ms - now_ms : 0);
}

/* A candidate whose vote is durable: the pre-votes of all others were granted. */
static inline void solo_campaign(struct solo *solo)
{
    solo_timeout(solo);
    uint64_t term = raft_term(solo->raft) + 1;
    for (uint64_t id = 2; id <= solo->world->nodes_count; id++) {
        (void)solo_feed_kind(solo, id, RAFT_MESSAGE_PREVOTE_RESPONSE, term);
    }
    solo_persist(solo);
}

/* A leader that everybody elected; its no-op is durable with itself only. */
static inline void solo_lead(struct solo *solo)
{
    solo_campaign(solo);
    for (uint64_t id = 2; id <= solo->world->nodes_count; id++) {
        (void)solo_feed_kind(solo, id, RAFT_MESSAGE_VOTE_RESPONSE, raft_term(solo->raft));
    }
    solo_persist(solo);
}

static inline void solo_ack(struct solo *solo, uint64_t from, uint64_t index)
{
    struct raft_message message =
        solo_message(solo, from, RAFT_MESSAGE_APPEND_RESPONSE, raft_term(solo->raft));
    message.index = index;
    (void)solo_feed(solo, &message);
}

/* An APPEND of node 2 with entries of these terms after (index, log_term). */
static inline const struct raft_output *solo_append(struct solo *solo, uint64_t term,
                                                    uint64_t index, uint64_t log_term,
                                                    uint64_t commit, const uint64_t *terms,
                                                    uint32_t count)
{
    static struct world_entry content[16];
    struct raft_entry entries[16];
    struct raft_message message = solo_message(solo, 2, RAFT_MESSAGE_APPEND, term);
    message.index = index;
    message.log_term = log_term;
    message.commit = commit;
    message.entries = entries;
    message.entries_count = count;
    for (uint32_t i = 0; i < count; i++) {
        content[i] = (struct world_entry){
            .term = terms[i], .payload = 100 + index + i, .size = WORLD_ENTRY_BYTES, .kind = 1
        };
        entries[i] = (struct raft_entry){ .index = index + 1 + i,
                                          .term = terms[i],
                                          .size = WORLD_ENTRY_BYTES,
                                          .kind = 1,
                                          .bytes = &content[i] };
    }
    return solo_feed(solo, &message);
}

/* "1 1 2" for the terms of the log. */
static inline const char *solo_log(const struct solo *solo, char *text, size_t size)
{
    size_t at = 0;
    text[0] = '\0';
    for (uint64_t index = raft_first_index(solo->raft); index <= raft_last_index(solo->raft);
         index++) {
        uint64_t term = 0;
        uint8_t kind = 0;
        (void)raft_entry_at(solo->raft, index, &term, &kind);
        at += (size_t)snprintf(text + at, size - at, "%s%u", at > 0 ? " " : "", (unsigned)term);
    }
    return text;
}
