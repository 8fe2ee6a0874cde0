/*
 * pipeline_internal.h — one request on its way, for the files of the pipeline.
 *
 *   pipeline.c         reading, dispatch, the ways on a lone node, holding back, waiting
 *   pipeline_route.c   the ways on a member of a cluster: here, or to the group's leader
 *   pipeline_keyspace.c  KEYS, SCAN, DBSIZE, RANDOMKEY there: a part for each partition
 *   pipeline_slots.c   what cluster-aware clients are told: MOVED, CROSSSLOT, CLUSTERDOWN
 */
#pragma once

#include "consensus.h"
#include "forward.h"
#include "pipeline.h"

/* One request: just read, kept from earlier, or passed on by another node. */
struct staged {
    struct conn *conn; /* NULL: another node's */
    const struct slice *argv;
    uint32_t argc;
    struct slice id; /* JSON id to echo, when not deferred yet */
    enum consistency consistency;
    uint64_t origin_node, origin_seq; /* JSON client and seq; node 0: none */
    bool has_asker;                   /* the answer has a place already */
    struct asker asker;
    const struct command *command; /* NULL: unknown */
    struct key_place place;
    bool by_slots;    /* came by the slot port */
    bool is_metered;  /* was timed by itself */
    bool has_run;     /* a read that ran and shares the batch's time */
    bool is_rejected; /* answered without running: no failure of the command's */
};

/* ── pipeline.c ──────────────────────────────────────────────────────────────────────────────── */

/* Opens the answer to a request, wherever its place is. */
struct reply *pipeline_answer_begin(struct pipeline *pipeline, const struct staged *staged);
void pipeline_answer_end(struct pipeline *pipeline, const struct staged *staged,
                         const struct reply *reply);
void pipeline_answer_error(struct pipeline *pipeline, const struct staged *staged,
                           const char *message);
/* The answer that follows says why the request does not run. */
void pipeline_note_rejected(struct pipeline *pipeline, struct staged *staged);
/* The place of an answer that is given later. */
const struct asker *pipeline_asker(struct staged *staged);
/* Lets the command check its arguments and rewrite what depends on here and now; false when that
 * was the answer. */
bool pipeline_prepare(struct pipeline *pipeline, struct staged *staged, struct command_ctx *ctx);
/* Why writes are refused right now, or NULL. */
const char *pipeline_refusal(const struct pipeline *pipeline, const struct staged *staged);
/* True when all keys lie in the partition of the first. */
bool pipeline_is_one_partition(const struct shard *shard, const struct command *command,
                               uint32_t argc, const struct slice *argv);
/* Runs a read against what is applied here, and answers. */
void pipeline_read_now(struct pipeline *pipeline, struct staged *staged);
/* Runs what looks at the node or the cluster, and answers, or sees to it that it is answered. */
void pipeline_run_admin(struct pipeline *pipeline, struct staged *staged);
/* A copy that can run later. */
struct late_request *pipeline_late(struct staged *staged);
/* The origin of a write whose client numbers its requests; node 0: it does not. */
static inline struct request_origin pipeline_origin(const struct staged *staged)
{
    return (struct request_origin){ staged->origin_node, 1, staged->origin_seq,
                                    staged->origin_seq };
}

/* ── pipeline_route.c ────────────────────────────────────────────────────────────────────────── */

extern const char route_crossslot[];
/* A prepared read, and a write that is not prepared yet, on a member of a cluster. */
void route_read(struct pipeline *pipeline, struct staged *staged);
void route_write(struct pipeline *pipeline, struct staged *staged);
/* What the leader of the cluster decides, and this node does not, or not yet. */
void route_to_leader(struct pipeline *pipeline, struct staged *staged);
/* A request for one partition, or a part of one. */
struct routed {
    struct staged staged; /* with an asker */
    uint32_t partition;
    bool is_write;
    bool follows_writes;
    bool is_partial;
    bool is_any; /* a read at level ANY, of something that is not held here */
    struct request_origin origin;
};
/* Gives the answer a place; the partition is still to be set. */
struct routed routed_of(const struct pipeline *pipeline, struct staged *staged, bool is_write);
/* Here, or to the partition's leader. */
void route_one(struct pipeline *pipeline, struct routed *routed);
/* True when this replica may answer reads at level ANY. */
bool route_any_is_here(const struct pipeline *pipeline, struct replica *replica);
/* The level at which a client's read is to be answered. */
enum consistency pipeline_level(const struct pipeline *pipeline, const struct staged *staged);
/* The number under which a client's requests are remembered: never that of a node. */
uint64_t pipeline_session(struct slice client);

/* ── pipeline_keyspace.c ─────────────────────────────────────────────────────────────────────── */

/* `shown`: of each partition, whether it is looked at; NULL: all are. */
void route_keyspace(struct pipeline *pipeline, struct staged *staged, const bool *shown);

/* ── pipeline_slots.c ────────────────────────────────────────────────────────────────────────── */

/* A request that came by the slot port: false when it has been answered, as it may not run here. */
MUST_USE bool slots_admit(struct pipeline *pipeline, struct staged *staged);
