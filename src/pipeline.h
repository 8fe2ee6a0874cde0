/*
 * pipeline.h — from a connection's bytes to the shard, and what stands in between.
 *
 * For each request: find the command, check authentication and arity, then send it one of four
 * ways: an admin command answers here; a read runs against the shard now, or behind the writes its
 * connection still has under way; a write is prepared and proposed; a conditional write over
 * several partitions waits for the barrier.  Requests of a pipeline are taken in batches so that
 * the memory their keys need is fetched while others run.
 *
 * While something holds the pipeline (a barrier, CLIENT PAUSE, a log without room) requests that
 * may not run are kept in arrival order and run when it is over; meanwhile no more are read.
 */
#pragma once

#include "network/server.h"
#include "shard.h"

struct node;
struct remote_request;

/* Why requests are not being read.  A set. */
enum pipeline_hold {
    HOLD_BARRIER = 1 << 0, /* a conditional write waits for the log to drain */
    HOLD_LOG = 1 << 1,     /* more is appended than may be pending, or than there is room for */
    HOLD_PAUSE = 1 << 2,   /* CLIENT PAUSE ALL */
    HOLD_KEPT = 1 << 3,    /* too many requests are kept already */
    HOLD_FORWARD = 1 << 4, /* too much waits for other nodes */
};

struct pipeline {
    struct node *node;
    struct shard *shard;
    struct server *server;
    uint32_t holds;               /* enum pipeline_hold */
    struct late_request *barrier; /* owned: the conditional write that waits for the log to drain */
    struct late_request *held_first, *held_last; /* owned, in arrival order */
    uint32_t held_count;
    uint64_t pause_until_ms;        /* CLIENT PAUSE; 0: none */
    struct waiting_answer *waiting; /* owned list: SAVE and WAITAOF */
    struct buffer captured;         /* scratch: a reply in RESP3 that may not be the answer */
    uint64_t commands_processed;
    uint64_t writes_refused;
};

void pipeline_init(struct pipeline *pipeline, struct node *node);
void pipeline_deinit(struct pipeline *pipeline);
/* Takes and runs the complete requests a connection has. */
void pipeline_read(struct pipeline *pipeline, struct conn *conn);
/* Once per iteration, after apply: lifts holds that are over and runs what was kept. */
void pipeline_resume(struct pipeline *pipeline);
/* CLIENT PAUSE / UNPAUSE (until_ms 0). */
void pipeline_pause(struct pipeline *pipeline, uint64_t until_ms, bool writes_only);
/* Answers SAVE and WAITAOF whose condition has come true. */
void pipeline_answer_waiting(struct pipeline *pipeline);
/* Wants pipeline_resume by this time, in shard time; UINT64_MAX: never. */
uint64_t pipeline_deadline_ms(const struct pipeline *pipeline);
