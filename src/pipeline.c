/*
 * pipeline.c — see pipeline.h.  Order: reading, dispatch, the four ways, holding, waiting.
 */
#include "pipeline_internal.h"

#include "acks.h"
#include "base/assert.h"
#include "base/mem.h"
#include "io/io.h"
#include "node.h"

/* What an argument may take in the log beyond its bytes.  The records' own headers, at most one a
 * partition, are within what the log keeps in reserve. */
enum { WRITE_ARG_BYTES = 32 };

/* SAVE, WAITAOF, WAIT, CLUSTER DRAIN ...: an answer that waits for the disk, or for other nodes. */
struct waiting_answer {
    struct waiting_answer *next;
    struct asker asker;
    enum command_wait wait;
    uint64_t sequence; /* WAIT_SYNC: the log position that must be on the platter */
    uint64_t round;    /* WAIT_SNAPSHOT: number of the round waited for */
    uint64_t acks;     /* WAIT_REPLICAS: as acks_begin named it */
    uint32_t replicas; /* WAIT_REPLICAS: so many */
    uint64_t index;    /* WAIT_CLUSTER: of the newest entry of the meta group, in this term */
    uint64_t term;
    uint64_t until_ms; /* 0: no limit */
};

static void dispatch(struct pipeline *pipeline, struct staged *staged);
static bool must_hold(struct pipeline *pipeline, const struct staged *staged);
static void hold(struct pipeline *pipeline, struct staged *staged);
static void set_hold(struct pipeline *pipeline, enum pipeline_hold reason, bool on);

void pipeline_init(struct pipeline *pipeline, struct node *node)
{
    *pipeline = (struct pipeline){
        .node = node,
        .shard = &node->shard,
        .server = node->server,
    };
}

void pipeline_deinit(struct pipeline *pipeline)
{
    late_request_free(pipeline->barrier);
    buffer_free(&pipeline->captured);
    while (pipeline->held_first != NULL) {
        struct late_request *next = pipeline->held_first->next;
        late_request_free(pipeline->held_first);
        pipeline->held_first = next;
    }
    while (pipeline->waiting != NULL) {
        struct waiting_answer *next = pipeline->waiting->next;
        mem_free(pipeline->waiting);
        pipeline->waiting = next;
    }
}

/* ── reading ─────────────────────────────────────────────────────────────────────────────────── */

/* Looks the command up and touches the bucket of its first key. */
static void stage(struct pipeline *pipeline, struct staged *staged)
{
    staged->command = command_lookup(staged->argv[0]);
    staged->place.is_known = false;
    if (staged->command == NULL || staged->command->first_key != 1 || staged->argc < 2) {
        return;
    }
    struct keyspace *keyspace = &pipeline->shard->keyspace;
    staged->place.partition = keyspace_partition(keyspace, staged->argv[1]);
    if ((staged->command->flags & COMMAND_WRITE) != 0) {
        return; /* hashed and touched at apply */
    }
    struct kv *kv = keyspace->partitions[staged->place.partition];
    staged->place.hash = kv_hash(kv, staged->argv[1]);
    staged->place.is_known = true;
    kv_prefetch_bucket(kv, staged->place.hash);
}

/* Takes up to a batch of requests.  Stops behind one after which the rest may have to wait, or be
 * read under another protocol. */
static uint32_t take_batch(struct pipeline *pipeline, struct conn *conn, struct staged *batch)
{
    uint32_t count = 0;
    bool by_slots = conn_by_slots(conn);
    struct request request;
    while (count < PIPELINE_BATCH && conn_next_request(conn, &request)) {
        struct staged *staged = &batch[count++];
        staged->conn = conn;
        staged->argv = request.argv;
        staged->argc = request.argc;
        staged->id = request.id;
        staged->consistency = request.consistency;
        staged->origin_node = request.client.size == 0 ? 0 : pipeline_session(request.client);
        staged->origin_seq = request.seq;
        staged->by_slots = by_slots;
        staged->has_asker = false;
        staged->has_run = false;
        staged->is_rejected = false;
        stage(pipeline, staged);
        const struct command *command = staged->command;
        if (command == NULL || command->spread == SPREAD_EFFECTS ||
            (command->flags & (COMMAND_WRITE | COMMAND_READ)) == 0) {
            break;
        }
    }
    return count;
}

/* The reads of a batch share the time it took. */
static void meter_batch(struct pipeline *pipeline, const struct staged *batch, uint32_t count,
                        uint64_t start_ns)
{
    uint64_t took_ns = io_clock_ns(pipeline->node->io) - start_ns;
    for (uint32_t i = 0; i < count; i++) {
        if (batch[i].has_run) {
            meter_share(pipeline->shard->meter, batch[i].command, took_ns, count);
        }
    }
}

void pipeline_read(struct pipeline *pipeline, struct conn *conn)
{
    struct staged batch[PIPELINE_BATCH];
    const struct keyspace *keyspace = &pipeline->shard->keyspace;
    uint32_t count = 0;
    while ((count = take_batch(pipeline, conn, batch)) > 0) {
        uint64_t start_ns = io_clock_ns(pipeline->node->io);
        if (UNLIKELY(pipeline->shard->consensus != NULL)) {
            /* A lease is looked up at a time after the request arrived. */
            consensus_set_clock(pipeline->shard->consensus, start_ns);
        }
        for (uint32_t i = 0; i < count; i++) {
            if (batch[i].place.is_known) {
                kv_prefetch_entry(keyspace->partitions[batch[i].place.partition],
                                  batch[i].place.hash);
            }
        }
        for (uint32_t i = 0; i < count; i++) {
            if (UNLIKELY(conn_is_full(conn))) { /* large answers: the rest when it has drained */
                conn_untake(conn, count - i);
                count = i;
                break;
            }
            if (UNLIKELY(must_hold(pipeline, &batch[i]))) {
                hold(pipeline, &batch[i]);
            } else {
                dispatch(pipeline, &batch[i]);
            }
        }
        meter_batch(pipeline, batch, count, start_ns);
        if (aof_stats(pipeline->shard->aof).pending_bytes > AOF_PENDING_BYTES_MAX) {
            set_hold(pipeline, HOLD_LOG, true);
        }
        if (pipeline->node->forward != NULL && forward_is_full(pipeline->node->forward)) {
            set_hold(pipeline, HOLD_FORWARD, true);
        }
    }
    conn_input_end(conn);
}

/* ── dispatch ────────────────────────────────────────────────────────────────────────────────── */

/* Opens the answer to a request, wherever its place is. */
struct reply *pipeline_answer_begin(struct pipeline *pipeline, const struct staged *staged)
{
    return staged->has_asker ? answer_begin(&pipeline->shard->answers, &staged->asker)
                             : conn_reply_begin(staged->conn, staged->id);
}

void pipeline_answer_end(struct pipeline *pipeline, const struct staged *staged,
                         const struct reply *reply)
{
    const struct command *command = staged->is_rejected ? NULL : staged->command;
    if (staged->has_asker) {
        answer_end(&pipeline->shard->answers, &staged->asker, command);
        return;
    }
    if (UNLIKELY(reply->is_error)) {
        meter_error(pipeline->shard->meter, command, reply);
    }
    conn_reply_end(staged->conn);
}

void pipeline_answer_error(struct pipeline *pipeline, const struct staged *staged,
                           const char *message)
{
    struct reply *reply = pipeline_answer_begin(pipeline, staged);
    reply_error(reply, message);
    pipeline_answer_end(pipeline, staged, reply);
}

/* A reply that may turn out not to be the answer is first kept in RESP3. */
static void capture_begin(struct pipeline *pipeline, struct reply *capture)
{
    pipeline->captured.size = 0;
    reply_begin(capture, PROTOCOL_RESP3, &pipeline->captured, (struct slice){ 0 });
}

static void answer_captured(struct pipeline *pipeline, const struct staged *staged)
{
    struct reply *reply = pipeline_answer_begin(pipeline, staged);
    reply_replay(reply, buffer_slice(&pipeline->captured));
    pipeline_answer_end(pipeline, staged, reply);
}

const struct asker *pipeline_asker(struct staged *staged)
{
    if (!staged->has_asker) {
        staged->asker = asker_client(staged->conn, conn_defer(staged->conn, staged->id));
        staged->has_asker = true;
    }
    return &staged->asker;
}

/* The answer that follows says why the request does not run. */
void pipeline_note_rejected(struct pipeline *pipeline, struct staged *staged)
{
    staged->is_rejected = true;
    if (staged->command != NULL) {
        pipeline->shard->meter->commands[staged->command->id].rejected++;
    }
}

/* Answers and returns false when the request cannot run at all. */
static bool admit(struct pipeline *pipeline, struct staged *staged)
{
    const struct command *command = staged->command;
    bool may_run = conn_is_authenticated(staged->conn) ||
                   (command != NULL && (command->flags & COMMAND_NOAUTH) != 0);
    bool is_arity_ok = command != NULL && command_arity_ok(command, staged->argc);
    if (LIKELY(may_run && is_arity_ok && command_keys_fit(command, staged->argc, staged->argv))) {
        return true;
    }
    pipeline_note_rejected(pipeline, staged);
    if (command == NULL && may_run) {
        struct reply *reply = pipeline_answer_begin(pipeline, staged);
        command_reply_unknown(reply, staged->argv, staged->argc);
        pipeline_answer_end(pipeline, staged, reply);
        return false;
    }
    if (!may_run) {
        pipeline_answer_error(pipeline, staged, "NOAUTH Authentication required.");
    } else {
        struct reply *reply = pipeline_answer_begin(pipeline, staged);
        if (is_arity_ok) {
            command_reply_key_size(reply);
        } else {
            command_reply_arity(reply, command);
        }
        pipeline_answer_end(pipeline, staged, reply);
    }
    return false;
}

static void run_read(struct pipeline *pipeline, struct staged *staged);
static void run_write(struct pipeline *pipeline, struct staged *staged);

/* MEMORY USAGE: a subcommand that reads a key, while the others look at the node. */
static bool reads_key(const struct staged *staged)
{
    uint32_t first = 0, last = 0, step = 0;
    if (!command_keys(staged->command, staged->argc, &first, &last, &step)) {
        return false;
    }
    const struct subcommand *sub = command_subcommand_lookup(staged->command, staged->argv[1]);
    return sub != NULL && (sub->flags & COMMAND_READ) != 0;
}

static void dispatch(struct pipeline *pipeline, struct staged *staged)
{
    pipeline->commands_processed++;
    if (!admit(pipeline, staged)) {
        return;
    }
    uint32_t flags = staged->command->flags;
    conn_note_command(staged->conn, command_full_name(staged->command, staged->argc, staged->argv));
    if (UNLIKELY(staged->by_slots) && !slots_admit(pipeline, staged)) {
        return;
    }
    if ((flags & COMMAND_WRITE) != 0) {
        run_write(pipeline, staged);
    } else if ((flags & (COMMAND_READ | COMMAND_KEYSPACE)) != 0 || reads_key(staged)) {
        run_read(pipeline, staged);
    } else {
        pipeline_run_admin(pipeline, staged);
    }
}

/* True when every key's partition may be served; else answers. */
static bool partitions_serve(struct pipeline *pipeline, struct staged *staged)
{
    const struct shard *shard = pipeline->shard;
    uint32_t first = 0, last = 0, step = 0;
    if (LIKELY(shard->damaged_count == 0) ||
        !command_keys(staged->command, staged->argc, &first, &last, &step)) {
        return true; /* KEYS, SCAN and the like show what is there */
    }
    for (uint32_t i = first; i <= last; i += step) {
        uint32_t partition = keyspace_partition(&shard->keyspace, staged->argv[i]);
        if (shard->groups[partition].is_damaged) {
            pipeline_note_rejected(pipeline, staged);
            struct reply *reply = pipeline_answer_begin(pipeline, staged);
            reply_errorf(reply,
                         "CLUSTERDOWN partition %u is damaged on disk and not served; see the log "
                         "and minidb --check",
                         partition);
            pipeline_answer_end(pipeline, staged, reply);
            return false;
        }
    }
    return true;
}

/* ── reads ───────────────────────────────────────────────────────────────────────────────────── */

/* Lets the command check its arguments and rewrite what depends on here and now; false when that
 * was the answer. */
bool pipeline_prepare(struct pipeline *pipeline, struct staged *staged, struct command_ctx *ctx)
{
    struct reply capture;
    capture_begin(pipeline, &capture);
    bool has_key = staged->command->first_key == 1 && staged->argc > 1;
    *ctx = (struct command_ctx){
        .command = staged->command,
        .argv = staged->argv,
        .argc = staged->argc,
        .reply = &capture,
        .keyspace = &pipeline->shard->keyspace,
        .consistency = staged->consistency,
        .now_ms =
            has_key ? shard_key_time_ms(pipeline->shard, staged->argv[1]) : pipeline->shard->now_ms,
    };
    if (staged->command->prepare(ctx) == 0) {
        return true;
    }
    meter_share(pipeline->shard->meter, staged->command, 0, 1);
    answer_captured(pipeline, staged);
    return false;
}

void pipeline_read_now(struct pipeline *pipeline, struct staged *staged)
{
    struct shard *shard = pipeline->shard;
    const struct command *command = staged->command;
    bool is_part = staged->place.is_known && (command->flags & COMMAND_KEYSPACE) != 0;
    staged->is_metered = meter_times_alone(shard->meter, command) && !is_part;
    uint64_t start_ns = staged->is_metered ? io_clock_ns(shard->io) : 0;
    struct reply *reply = pipeline_answer_begin(pipeline, staged);
    shard_run_read(shard, command, staged->argc, staged->argv, staged->place, reply);
    pipeline_answer_end(pipeline, staged, reply);
    staged->has_run = !staged->is_metered;
    if (staged->is_metered) {
        meter_one(shard->meter, command, staged->argv, staged->argc, staged->conn, shard->now_ms,
                  io_clock_ns(shard->io) - start_ns);
    }
}

struct late_request *pipeline_late(struct staged *staged)
{
    return late_request_new(pipeline_asker(staged), staged->command, staged->argc, staged->argv);
}

static void run_read(struct pipeline *pipeline, struct staged *staged)
{
    struct shard *shard = pipeline->shard;
    const struct command *command = staged->command;
    struct command_ctx ctx;
    ctx.consistency = staged->consistency;
    if (!partitions_serve(pipeline, staged) ||
        (command->prepare != NULL && !pipeline_prepare(pipeline, staged, &ctx))) {
        return;
    }
    if (UNLIKELY(shard->consensus != NULL)) {
        staged->consistency = ctx.consistency;
        route_read(pipeline, staged);
        return;
    }
    if (conn_owed(staged->conn) > 0 && shard_is_busy(shard)) {
        /* Behind the writes that this connection sent before it. */
        shard_read_later(shard, pipeline_late(staged));
        return;
    }
    pipeline_read_now(pipeline, staged);
}

/* ── writes ──────────────────────────────────────────────────────────────────────────────────── */

/* What the log has to say to a write: whether there is room on the disk for what it appends. */
static enum aof_room log_room(const struct pipeline *pipeline, uint32_t argc,
                              const struct slice *argv)
{
    uint64_t size = 0;
    for (uint32_t i = 0; i < argc; i++) {
        size += argv[i].size + WRITE_ARG_BYTES;
    }
    return aof_room(pipeline->shard->aof, size);
}

/* Why this write is refused right now, or NULL. */
const char *pipeline_refusal(const struct pipeline *pipeline, const struct staged *staged)
{
    if (UNLIKELY(log_room(pipeline, staged->argc, staged->argv) == AOF_ROOM_NONE)) {
        return "MISCONF the disk is full: writes are refused until there is space again "
               "(nothing was written)";
    }
    if (UNLIKELY(pipeline->node->is_over_memory) &&
        (staged->command->flags & COMMAND_DENYOOM) != 0) {
        return "OOM command not allowed when used memory > 'maxmemory'.";
    }
    return NULL;
}

bool pipeline_is_one_partition(const struct shard *shard, const struct command *command,
                               uint32_t argc, const struct slice *argv)
{
    uint32_t first = 0, last = 0, step = 0;
    if (!command_keys(command, argc, &first, &last, &step)) {
        return false; /* FLUSHALL: all partitions */
    }
    uint32_t partition = keyspace_partition(&shard->keyspace, argv[first]);
    for (uint32_t i = first + step; i <= last; i += step) {
        if (keyspace_partition(&shard->keyspace, argv[i]) != partition) {
            return false;
        }
    }
    return true;
}

/* Puts a prepared write into the log, or behind the barrier. */
static void propose(struct pipeline *pipeline, struct staged *staged, const struct command *command,
                    uint32_t argc, const struct slice *argv)
{
    struct shard *shard = pipeline->shard;
    struct request_origin origin = pipeline_origin(staged);
    struct proposal proposal = {
        .command = command,
        .argc = argc,
        .argv = argv,
        .origin = &origin,
        .asker = *pipeline_asker(staged),
    };
    if (command->spread == SPREAD_NONE || pipeline_is_one_partition(shard, command, argc, argv)) {
        proposal.typed = meter_type(shard->meter, command, staged->argv, staged->argc);
        enum propose_result result =
            shard_propose_command(shard, staged->place.partition, &proposal);
        ASSERT(result == PROPOSE_OK);
    } else if (command->spread == SPREAD_SPLIT) {
        proposal.typed = meter_type(shard->meter, command, staged->argv, staged->argc);
        shard_propose_split(shard, &proposal);
    } else if (!shard_is_busy(shard)) {
        shard_propose_effects(shard, command, argc, argv, &staged->asker);
    } else {
        ASSERT(pipeline->barrier == NULL);
        pipeline->barrier = late_request_new(&staged->asker, command, argc, argv);
        set_hold(pipeline, HOLD_BARRIER, true);
    }
}

static void run_write(struct pipeline *pipeline, struct staged *staged)
{
    const struct command *command = staged->command;
    if (UNLIKELY(pipeline->shard->consensus != NULL)) {
        route_write(pipeline, staged);
        return;
    }
    const char *refused = pipeline_refusal(pipeline, staged);
    if (refused != NULL) {
        pipeline->writes_refused++;
        pipeline_note_rejected(pipeline, staged);
        pipeline_answer_error(pipeline, staged, refused);
        return;
    }
    if (!partitions_serve(pipeline, staged)) {
        return;
    }
    if (command->prepare == NULL) {
        propose(pipeline, staged, command, staged->argc, staged->argv);
        return;
    }
    struct command_ctx ctx;
    if (!pipeline_prepare(pipeline, staged, &ctx)) {
        return;
    }
    bool is_rewritten = ctx.prepared.argc > 0;
    propose(pipeline, staged, ctx.command, is_rewritten ? ctx.prepared.argc : staged->argc,
            is_rewritten ? ctx.prepared.args : staged->argv);
}

/* ── admin ───────────────────────────────────────────────────────────────────────────────────── */

/* Leaves the answer to pipeline_answer_waiting. */
static void wait_for(struct pipeline *pipeline, struct staged *staged,
                     const struct command_ctx *ctx)
{
    struct waiting_answer *waiting = mem_zalloc(sizeof(*waiting));
    *waiting = (struct waiting_answer){
        .next = pipeline->waiting,
        .asker = *pipeline_asker(staged),
        .wait = ctx->wait,
        .sequence = pipeline->shard->proposed_sequence,
        .round = snapshots_round(&pipeline->node->snapshots),
        .acks = ctx->wait == COMMAND_WAIT_REPLICAS ? acks_begin(pipeline->node) : 0,
        .replicas = ctx->wait_replicas,
        .until_ms = ctx->wait_until_ms,
    };
    if (ctx->wait == COMMAND_WAIT_CLUSTER) {
        const struct replica *meta = consensus_replica(pipeline->shard->consensus, GROUP_META);
        waiting->index = meta->window_last;
        waiting->term = meta->term;
        waiting->until_ms = ctx->now_ms + pipeline->node->config->request_timeout;
    }
    pipeline->waiting = waiting;
}

void pipeline_run_admin(struct pipeline *pipeline, struct staged *staged)
{
    struct reply capture;
    bool may_wait = command_may_wait(staged->command, staged->argv, staged->argc);
    if (may_wait) {
        capture_begin(pipeline, &capture);
    }
    struct command_ctx ctx = {
        .command = staged->command,
        .argv = staged->argv,
        .argc = staged->argc,
        .reply = may_wait ? &capture : pipeline_answer_begin(pipeline, staged),
        .stats = &pipeline->shard->delta,
        .keyspace = &pipeline->shard->keyspace,
        .now_ms = pipeline->shard->now_ms,
        .seed = prng_next(&pipeline->shard->prng),
        .host = &pipeline->node->host,
        .conn = staged->conn,
    };
    uint64_t start_ns = io_clock_ns(pipeline->node->io);
    staged->command->run(&ctx);
    meter_one(pipeline->shard->meter, staged->command, staged->argv, staged->argc, staged->conn,
              pipeline->shard->now_ms, io_clock_ns(pipeline->node->io) - start_ns);
    if (!may_wait) {
        pipeline_answer_end(pipeline, staged, ctx.reply);
    } else if (ctx.wait == COMMAND_WAIT_LEADER) {
        route_to_leader(pipeline, staged);
    } else if (ctx.wait != COMMAND_WAIT_NONE) {
        wait_for(pipeline, staged, &ctx);
    } else {
        answer_captured(pipeline, staged);
    }
}

/* In the same term what this node proposed is what was decided. */
static void answer_proposed(struct pipeline *pipeline, const struct waiting_answer *waiting,
                            bool in_time, struct reply *reply)
{
    const struct replica *meta = consensus_replica(pipeline->shard->consensus, GROUP_META);
    if (in_time && meta->term == waiting->term) {
        reply_ok(reply);
    } else {
        reply_error(reply, in_time ? "UNKNOWN another node leads the cluster now: see whether it "
                                     "has happened"
                                   : "UNKNOWN no majority has answered in time: it may still "
                                     "happen");
    }
}

static void answer_waiting(struct pipeline *pipeline, const struct waiting_answer *waiting,
                           bool in_time)
{
    struct answers *answers = &pipeline->shard->answers;
    struct reply *reply = answer_begin(answers, &waiting->asker);
    if (waiting->wait == COMMAND_WAIT_SYNC) {
        reply_array(reply, 2); /* WAITAOF: local, replicas */
        reply_integer(reply, in_time ? 1 : 0);
        reply_integer(reply, 0);
    } else if (waiting->wait == COMMAND_WAIT_REPLICAS) {
        reply_integer(reply, acks_count(pipeline->node, waiting->acks));
        acks_end(pipeline->node, waiting->acks);
    } else if (waiting->wait == COMMAND_WAIT_CLUSTER) {
        answer_proposed(pipeline, waiting, in_time, reply);
    } else if (snapshots_last_ok(&pipeline->node->snapshots)) {
        reply_ok(reply);
    } else {
        reply_error(reply, "ERR the snapshot failed; see the log");
    }
    answer_end(answers, &waiting->asker, NULL);
}

/* Who waits without a limit may be gone for good. */
static bool waiting_is_late(const struct pipeline *pipeline, const struct waiting_answer *waiting)
{
    if (waiting->until_ms == 0) {
        return waiting->wait == COMMAND_WAIT_REPLICAS && conn_is_gone(waiting->asker.client.conn);
    }
    return pipeline->shard->now_ms >= waiting->until_ms;
}

static bool waiting_is_done(const struct pipeline *pipeline, const struct waiting_answer *waiting)
{
    if (waiting->wait == COMMAND_WAIT_SYNC) {
        return aof_stats(pipeline->shard->aof).synced_sequence > waiting->sequence;
    }
    if (waiting->wait == COMMAND_WAIT_REPLICAS) {
        return waiting->acks == 0 || /* too many wait: what is certain anyway */
               acks_count(pipeline->node, waiting->acks) >= waiting->replicas;
    }
    if (waiting->wait == COMMAND_WAIT_CLUSTER) {
        const struct replica *meta = consensus_replica(pipeline->shard->consensus, GROUP_META);
        return meta->applied >= waiting->index || meta->term != waiting->term;
    }
    return snapshots_round_done(&pipeline->node->snapshots, waiting->round);
}

void pipeline_answer_waiting(struct pipeline *pipeline)
{
    for (struct waiting_answer **at = &pipeline->waiting; *at != NULL;) {
        struct waiting_answer *waiting = *at;
        bool done = waiting_is_done(pipeline, waiting);
        if (!done && !waiting_is_late(pipeline, waiting)) {
            at = &waiting->next;
            continue;
        }
        answer_waiting(pipeline, waiting, done);
        *at = waiting->next;
        mem_free(waiting);
    }
}

/* ── holding ─────────────────────────────────────────────────────────────────────────────────── */

static void set_hold(struct pipeline *pipeline, enum pipeline_hold reason, bool on)
{
    uint32_t holds = on ? pipeline->holds | reason : pipeline->holds & ~(uint32_t)reason;
    if ((holds != 0) != (pipeline->holds != 0)) {
        server_hold(pipeline->server, holds != 0);
    }
    pipeline->holds = holds;
}

/* True for commands that may look at data in ways of their own (INFO, MEMORY USAGE, DEBUG): they
 * wait for the writes that their connection sent before them. */
static bool follows_own_writes(const struct pipeline *pipeline, const struct staged *staged)
{
    uint32_t others = COMMAND_READ | COMMAND_WRITE | COMMAND_KEYSPACE | COMMAND_CONNECTION;
    if (staged->command == NULL || (staged->command->flags & others) != 0 ||
        conn_owed(staged->conn) == 0) {
        return false;
    }
    return pipeline->shard->consensus != NULL || shard_is_busy(pipeline->shard);
}

/* True for a write while the space it would be logged in is being prepared: once taken it could be
 * neither refused nor answered, should the disk turn out to be full. */
static bool waits_for_room(const struct pipeline *pipeline, const struct command *command,
                           uint32_t argc, const struct slice *argv)
{
    return command != NULL && (command->flags & COMMAND_WRITE) != 0 &&
           log_room(pipeline, argc, argv) == AOF_ROOM_SOON;
}

static bool held_waits_for_room(const struct pipeline *pipeline)
{
    const struct late_request *late = pipeline->held_first;
    return late != NULL && waits_for_room(pipeline, late->command, late->argc, late->argv);
}

/* True when the request must wait: writes while paused or without room, and whatever its connection
 * sent behind a request that waits already. */
static bool must_hold(struct pipeline *pipeline, const struct staged *staged)
{
    if (follows_own_writes(pipeline, staged)) {
        return true;
    }
    if (UNLIKELY(waits_for_room(pipeline, staged->command, staged->argc, staged->argv))) {
        set_hold(pipeline, HOLD_LOG, true);
        return true;
    }
    if (LIKELY(pipeline->pause_until_ms == 0 && pipeline->held_first == NULL)) {
        return false;
    }
    if (pipeline->pause_until_ms != 0 && staged->command != NULL &&
        (staged->command->flags & COMMAND_WRITE) != 0) {
        return true;
    }
    for (const struct late_request *at = pipeline->held_first; at != NULL; at = at->next) {
        if (at->asker.client.conn == staged->conn) {
            return true;
        }
    }
    return false;
}

/* Keeps a request, already taken off the wire, until it may run. */
static void hold(struct pipeline *pipeline, struct staged *staged)
{
    struct late_request *late = pipeline_late(staged);
    late->consistency = (uint8_t)staged->consistency;
    late->origin_node = staged->origin_node;
    late->origin_seq = staged->origin_seq;
    late->waits_turn = follows_own_writes(pipeline, staged);
    if (pipeline->held_last != NULL) {
        pipeline->held_last->next = late;
    } else {
        pipeline->held_first = late;
    }
    pipeline->held_last = late;
    if (++pipeline->held_count >= PIPELINE_HELD_MAX) {
        set_hold(pipeline, HOLD_KEPT, true);
    }
}

static struct late_request *held_take(struct pipeline *pipeline)
{
    struct late_request *late = pipeline->held_first;
    pipeline->held_first = late->next;
    pipeline->held_count--;
    if (pipeline->held_first == NULL) {
        pipeline->held_last = NULL;
    }
    return late;
}

static bool held_may_run(const struct pipeline *pipeline)
{
    return pipeline->held_first != NULL && (pipeline->holds & ~(uint32_t)HOLD_KEPT) == 0 &&
           pipeline->pause_until_ms == 0 &&
           (!pipeline->held_first->waits_turn ||
            conn_is_next(pipeline->held_first->asker.client.conn,
                         pipeline->held_first->asker.client.ticket));
}

/* Runs what was kept, in order, until something holds again. */
static void held_run(struct pipeline *pipeline)
{
    while (held_may_run(pipeline)) {
        if (held_waits_for_room(pipeline)) {
            set_hold(pipeline, HOLD_LOG, true);
            break;
        }
        struct late_request *late = held_take(pipeline);
        struct staged staged = {
            .conn = late->asker.client.conn,
            .argv = late->argv,
            .argc = late->argc,
            .consistency = late->consistency,
            .origin_node = late->origin_node,
            .origin_seq = late->origin_seq,
            .by_slots = conn_by_slots(late->asker.client.conn),
            .has_asker = true,
            .asker = late->asker,
        };
        stage(pipeline, &staged);
        dispatch(pipeline, &staged);
        late_request_free(late);
    }
    if (pipeline->held_count < PIPELINE_HELD_MAX / 2) {
        set_hold(pipeline, HOLD_KEPT, false);
    }
}

static bool barrier_is_over(const struct pipeline *pipeline)
{
    return pipeline->barrier != NULL && !shard_is_busy(pipeline->shard);
}

static bool log_hold_is_over(const struct pipeline *pipeline)
{
    return (pipeline->holds & HOLD_LOG) != 0 &&
           aof_stats(pipeline->shard->aof).pending_bytes < AOF_PENDING_BYTES_MAX / 2 &&
           !held_waits_for_room(pipeline);
}

void pipeline_resume(struct pipeline *pipeline)
{
    struct shard *shard = pipeline->shard;
    if (pipeline->pause_until_ms != 0 && shard->now_ms >= pipeline->pause_until_ms) {
        pipeline_pause(pipeline, 0, false);
    }
    if (barrier_is_over(pipeline)) {
        struct late_request *late = pipeline->barrier;
        pipeline->barrier = NULL;
        if (shard->consensus == NULL) {
            shard_propose_effects(shard, late->command, late->argc, late->argv, &late->asker);
        } else { /* the cluster began meanwhile */
            answer_error(&shard->answers, &late->asker, late->command, route_crossslot);
        }
        late_request_free(late);
        set_hold(pipeline, HOLD_BARRIER, false);
    }
    if (log_hold_is_over(pipeline)) {
        set_hold(pipeline, HOLD_LOG, false);
    }
    if ((pipeline->holds & HOLD_FORWARD) != 0 && !forward_is_full(pipeline->node->forward)) {
        set_hold(pipeline, HOLD_FORWARD, false);
    }
    held_run(pipeline);
}

void pipeline_pause(struct pipeline *pipeline, uint64_t until_ms, bool writes_only)
{
    pipeline->pause_until_ms = until_ms;
    set_hold(pipeline, HOLD_PAUSE, until_ms != 0 && !writes_only);
}

uint64_t pipeline_deadline_ms(const struct pipeline *pipeline)
{
    /* The log may drain within aof_flush, after this iteration's resume: no event will tell. */
    if (barrier_is_over(pipeline) || log_hold_is_over(pipeline) || held_may_run(pipeline)) {
        return 0;
    }
    uint64_t deadline_ms = pipeline->pause_until_ms != 0 ? pipeline->pause_until_ms : UINT64_MAX;
    for (const struct waiting_answer *at = pipeline->waiting; at != NULL; at = at->next) {
        if (at->until_ms != 0 && at->until_ms < deadline_ms) {
            deadline_ms = at->until_ms;
        }
    }
    return deadline_ms;
}
