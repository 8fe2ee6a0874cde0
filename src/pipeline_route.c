/*
 * pipeline_route.c — on a member of a cluster: a request runs here when this node leads its group,
 * and goes to the leader otherwise.
 *
 *   one partition     run_here, or forward_send
 *   several           a part for each (MGET, EXISTS, DEL, MSET ...), gathered again: each part is
 *                     atomic, the whole is not; commands that cannot be split get CROSSSLOT
 *   ANY reads         this node's own replicas, whatever they have applied; of a partition that is
 *                     not held here its leader (replica.h, any_gate)
 *   KEYS, SCAN ...    a part for each partition (pipeline_keyspace.c)
 *   CLUSTER DRAIN ... the meta group's leader, who runs the command (pipeline_run_admin)
 *
 * A read runs at once under the leader's lease; without one it waits for a confirmed read point
 * (consensus_read).  It also waits for the writes its connection sent before it.
 *
 * Requests of one connection keep their order within a group: while earlier ones are with
 * forward.c, later ones follow them there.  So do reads that wait for a confirmed read point.
 */
#include "pipeline_internal.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "gather.h"
#include "node.h"

const char route_crossslot[] = "CROSSSLOT Keys in request don't hash to the same slot";

static const uint64_t SESSION_BIT = 1ull << 63; /* tells clients' numbers from nodes' */

uint64_t pipeline_session(struct slice client)
{
    return hash_key(client, /* seed= */ 0) | SESSION_BIT;
}

/* ── here ────────────────────────────────────────────────────────────────────────────────────── */

static void send_on(struct pipeline *pipeline, const struct routed *routed)
{
    if (routed->is_any) {
        consensus_replica(pipeline->shard->consensus, routed->partition)->any_gate = ANY_AWAY;
    }
    struct forward_request request = {
        .group = routed->partition,
        .command = routed->staged.command,
        .argc = routed->staged.argc,
        .argv = routed->staged.argv,
        .is_write = routed->is_write,
        .follows_writes = routed->follows_writes,
        .is_any = routed->is_any,
        .origin = routed->origin,
        .asker = routed->staged.asker,
    };
    forward_send(pipeline->node->forward, &request, pipeline->shard->consensus->now_ms);
}

/* Another leader was elected since the caller looked, or it is too early: nothing was done. */
static void not_now(struct pipeline *pipeline, const struct routed *routed)
{
    const struct asker *asker = &routed->staged.asker;
    if (asker->kind == ASKER_REMOTE) {
        forward_refuse(pipeline->node->forward, asker->remote.link, asker->remote.request);
    } else {
        send_on(pipeline, routed);
    }
}

static void read_here(struct pipeline *pipeline, struct replica *replica, struct routed *routed)
{
    struct shard *shard = pipeline->shard;
    struct staged *staged = &routed->staged;
    uint64_t now_ms = shard->consensus->now_ms;
    bool has_lease = now_ms < replica_lease_until_ms(replica);
    if (!has_lease || (routed->follows_writes && replica_has_waiting_reads(replica))) {
        uint64_t behind = routed->follows_writes ? replica->window_last : 0;
        consensus_read(shard->consensus, replica, pipeline_late(staged), behind);
    } else if ((routed->follows_writes && replica->window_last > replica->applied) ||
               replica->commit_index > replica->applied) {
        shard_read_behind(shard, replica, pipeline_late(staged));
    } else {
        pipeline_read_now(pipeline, staged);
    }
}

static void propose_here(struct pipeline *pipeline, struct routed *routed,
                         const struct command *command, uint32_t argc, const struct slice *argv)
{
    struct shard *shard = pipeline->shard;
    struct staged *staged = &routed->staged;
    struct proposal proposal = {
        .command = command,
        .argc = argc,
        .argv = argv,
        .origin = &routed->origin,
        .typed = routed->is_partial ? NULL
                                    : meter_type(shard->meter, command, staged->argv, staged->argc),
        .is_partial = routed->is_partial,
        .asker = staged->asker,
    };
    enum propose_result result = command->first_key == 0
                                     ? shard_propose_clear(shard, routed->partition, &proposal)
                                     : shard_propose_command(shard, routed->partition, &proposal);
    if (result == PROPOSE_OK) {
        return;
    }
    mem_free(proposal.typed);
    if (result == PROPOSE_BUSY) {
        pipeline_answer_error(pipeline, staged,
                              "BUSY too many writes of this partition are under way; nothing was "
                              "written");
    } else {
        not_now(pipeline, routed);
    }
}

/* Reads that came over the same way are not confirmed yet: they must not find this write. */
static bool overtakes_reads(const struct replica *replica, const struct routed *routed)
{
    const struct asker *asker = &routed->staged.asker;
    const struct pending_queue *reads = &replica->reads;
    /* Those of our own clients' connections are with forward.c, and so is what follows them. */
    if (LIKELY(reads->head == reads->tail) || !routed->follows_writes ||
        asker->kind != ASKER_REMOTE || MUTANT(MUT_WRITE_BEFORE_READ)) {
        return false;
    }
    for (uint64_t at = reads->head; at != reads->tail; at++) {
        const struct asker *before = &pending_at(reads, at)->asker;
        if (before->kind == ASKER_REMOTE && before->remote.link == asker->remote.link) {
            return true;
        }
    }
    return false;
}

static void write_here(struct pipeline *pipeline, struct replica *replica, struct routed *routed)
{
    struct staged *staged = &routed->staged;
    const struct command *command = staged->command;
    if (UNLIKELY(overtakes_reads(replica, routed))) {
        not_now(pipeline, routed); /* the asker tries again in a moment, in order */
        return;
    }
    const char *refused = pipeline_refusal(pipeline, staged);
    if (refused != NULL) {
        pipeline->writes_refused++;
        pipeline_note_rejected(pipeline, staged);
        pipeline_answer_error(pipeline, staged, refused);
        return;
    }
    if (command->prepare == NULL) {
        propose_here(pipeline, routed, command, staged->argc, staged->argv);
        return;
    }
    struct command_ctx ctx;
    if (!pipeline_prepare(pipeline, staged, &ctx)) {
        return;
    }
    bool is_rewritten = ctx.prepared.argc > 0;
    propose_here(pipeline, routed, ctx.command, is_rewritten ? ctx.prepared.argc : staged->argc,
                 is_rewritten ? ctx.prepared.args : staged->argv);
}

static void run_here(struct pipeline *pipeline, struct replica *replica, struct routed *routed)
{
    if (routed->is_write) {
        write_here(pipeline, replica, routed);
    } else {
        read_here(pipeline, replica, routed);
    }
}

/* ── here or there ───────────────────────────────────────────────────────────────────────────── */

static bool leads(const struct pipeline *pipeline, const struct replica *replica,
                  bool follows_others)
{
    return replica_is_leader(replica) && !replica->has_transfer &&
           !(follows_others && forward_holds(pipeline->node->forward, replica->group));
}

/* It will wait for its confirmation: forward.c keeps what its connection sends next behind it. */
static bool waits_for_lease(const struct pipeline *pipeline, struct replica *replica,
                            const struct routed *routed)
{
    return !routed->is_write &&
           pipeline->shard->consensus->now_ms >= replica_lease_until_ms(replica);
}

void route_one(struct pipeline *pipeline, struct routed *routed)
{
    struct replica *replica = consensus_replica(pipeline->shard->consensus, routed->partition);
    /* None of them overtakes another: the answers of one connection must not go back. */
    bool is_bridge =
        routed->is_any && (replica->any_gate == ANY_BRIDGE || replica_has_waiting_reads(replica));
    if (is_bridge) {
        consensus_read(pipeline->shard->consensus, replica, pipeline_late(&routed->staged), 0);
    } else if (leads(pipeline, replica, routed->follows_writes) &&
               !waits_for_lease(pipeline, replica, routed)) {
        run_here(pipeline, replica, routed);
    } else {
        send_on(pipeline, routed);
    }
}

struct routed routed_of(const struct pipeline *pipeline, struct staged *staged, bool is_write)
{
    bool has_earlier = conn_owed(staged->conn) > 0; /* before this one has a place of its own */
    (void)pipeline_asker(staged);
    return (struct routed){
        .staged = *staged,
        .is_write = is_write,
        .is_any = !is_write && pipeline_level(pipeline, staged) == CONSISTENCY_ANY,
        .follows_writes = has_earlier,
        .origin = is_write ? pipeline_origin(staged) : (struct request_origin){ 0 },
    };
}

/* One part for each partition that the keys lie in. */
static void route_split(struct pipeline *pipeline, struct staged *staged, bool is_write)
{
    struct shard *shard = pipeline->shard;
    const struct command *command = staged->command;
    const struct key_parts *parts = shard_split_keys(shard, command, staged->argc, staged->argv);
    struct routed whole = routed_of(pipeline, staged, is_write);
    uint32_t *order = NULL;
    if ((command->flags & COMMAND_BY_KEY) != 0) {
        order = mem_alloc(parts->keys * sizeof(*order));
        memcpy(order, parts->order, parts->keys * sizeof(*order));
    }
    struct gather *gather =
        gather_new(&whole.staged.asker, command, parts->count, order, parts->keys);
    uint32_t key_step = (uint32_t)command->key_step;
    struct slice *argv = mem_alloc(staged->argc * sizeof(*argv));
    uint32_t start = 0;
    argv[0] = staged->argv[0];
    for (uint32_t i = 0; i < parts->count; i++) {
        uint32_t size = parts->ends[i] - start;
        memcpy(argv + 1, parts->argv + start, size * sizeof(*argv));
        struct routed part = whole;
        part.staged.argv = argv;
        part.staged.argc = size + 1;
        part.staged.place = (struct key_place){ 0 };
        part.staged.has_asker = true;
        part.staged.asker = gather_part(gather, i, size / key_step);
        part.partition = parts->partitions[i];
        part.is_partial = i + 1 < parts->count;
        start = parts->ends[i];
        route_one(pipeline, &part);
    }
    mem_free(argv);
}

static bool can_be_split(const struct command *command)
{
    return command->spread == SPREAD_SPLIT ||
           (command->spread == SPREAD_READ && command->last_key == -1);
}

static void route_keys(struct pipeline *pipeline, struct staged *staged, bool is_write)
{
    const struct command *command = staged->command;
    uint32_t first = 0, last = 0, step = 0;
    bool has_keys = command_keys(command, staged->argc, &first, &last, &step);
    ASSERT(has_keys);
    if (pipeline_is_one_partition(pipeline->shard, command, staged->argc, staged->argv)) {
        struct routed routed = routed_of(pipeline, staged, is_write);
        routed.partition = keyspace_partition(&pipeline->shard->keyspace, staged->argv[first]);
        route_one(pipeline, &routed);
    } else if (can_be_split(command)) {
        route_split(pipeline, staged, is_write);
    } else {
        pipeline_note_rejected(pipeline, staged);
        pipeline_answer_error(pipeline, staged, route_crossslot);
    }
}

/* ── reads ───────────────────────────────────────────────────────────────────────────────────── */

enum consistency pipeline_level(const struct pipeline *pipeline, const struct staged *staged)
{
    if (staged->consistency != CONSISTENCY_DEFAULT) {
        return staged->consistency;
    }
    enum consistency level = conn_consistency(staged->conn);
    return level != CONSISTENCY_DEFAULT ? level : pipeline->node->config->consistency;
}

bool route_any_is_here(const struct pipeline *pipeline, struct replica *replica)
{
    if (replica->is_vacant) {
        replica->any_gate = ANY_AWAY;
    } else if (UNLIKELY(replica->any_gate == ANY_AWAY) &&
               forward_any_count(pipeline->node->forward, replica->group) == 0) {
        replica->any_gate = ANY_BRIDGE;
        replica->any_read_id = replica->next_read_id + 1;
    }
    bool is_proven = replica->confirmed_read_id >= replica->any_read_id &&
                     replica->applied >= replica->read_index && !replica_has_waiting_reads(replica);
    if (UNLIKELY(replica->any_gate == ANY_BRIDGE) && is_proven) {
        replica->any_gate = ANY_HERE;
    }
    return replica->any_gate == ANY_HERE;
}

static bool are_any_here(const struct pipeline *pipeline, const struct staged *staged)
{
    const struct shard *shard = pipeline->shard;
    uint32_t first = 0, last = 0, step = 0;
    bool are_here = true;
    bool has_keys = command_keys(staged->command, staged->argc, &first, &last, &step);
    for (uint32_t i = first; has_keys && i <= last; i += step) {
        uint32_t partition = keyspace_partition(&shard->keyspace, staged->argv[i]);
        are_here &= route_any_is_here(pipeline, consensus_replica(shard->consensus, partition));
    }
    return are_here;
}

void route_read(struct pipeline *pipeline, struct staged *staged)
{
    const struct command *command = staged->command;
    uint32_t first = 0, last = 0, step = 0;
    if ((command->flags & COMMAND_KEYSPACE) != 0) {
        route_keyspace(pipeline, staged, /* shown= */ NULL);
        return;
    }
    bool is_local =
        !command_keys(command, staged->argc, &first, &last, &step) || MUTANT(MUT_READ_LOCAL) ||
        (pipeline_level(pipeline, staged) == CONSISTENCY_ANY && are_any_here(pipeline, staged));
    if (is_local) {
        pipeline_read_now(pipeline, staged);
        return;
    }
    /* The common case without copies: one key, led here, under a lease, nothing before it. */
    if (staged->place.is_known && conn_owed(staged->conn) == 0 && command->last_key == 1) {
        struct replica *replica =
            consensus_replica(pipeline->shard->consensus, staged->place.partition);
        if (replica_may_read(replica, pipeline->shard->consensus->now_ms)) {
            pipeline_read_now(pipeline, staged);
            return;
        }
    }
    route_keys(pipeline, staged, /* is_write= */ false);
}

/* ── writes ──────────────────────────────────────────────────────────────────────────────────── */

/* FLUSHALL: every partition by itself. */
static void route_everywhere(struct pipeline *pipeline, struct staged *staged)
{
    struct command_ctx ctx;
    if (staged->command->prepare != NULL && !pipeline_prepare(pipeline, staged, &ctx)) {
        return;
    }
    uint32_t count = pipeline->shard->keyspace.count;
    struct routed whole = routed_of(pipeline, staged, /* is_write= */ true);
    struct gather *gather =
        gather_new(&whole.staged.asker, staged->command, count, /* order= */ NULL, 0);
    for (uint32_t p = 0; p < count; p++) {
        struct routed part = whole;
        part.staged.asker = gather_part(gather, p, 0);
        part.partition = p;
        part.is_partial = p + 1 < count;
        route_one(pipeline, &part);
    }
}

void route_write(struct pipeline *pipeline, struct staged *staged)
{
    if (staged->command->first_key == 0) {
        route_everywhere(pipeline, staged);
    } else {
        route_keys(pipeline, staged, /* is_write= */ true);
    }
}

void route_to_leader(struct pipeline *pipeline, struct staged *staged)
{
    (void)pipeline_asker(staged);
    struct routed routed = { .staged = *staged, .partition = GROUP_META, .is_write = true };
    not_now(pipeline, &routed);
}

/* ── for other nodes ─────────────────────────────────────────────────────────────────────────── */

/* What the meta group is asked for. */
static void run_for_cluster(struct pipeline *pipeline, struct staged *staged)
{
    if (command_may_propose(staged->command, staged->argv, staged->argc)) {
        pipeline_run_admin(pipeline, staged);
    } else {
        pipeline_answer_error(pipeline, staged,
                              "ERR the cluster's leader does not take this command from others: it "
                              "is of another version");
    }
}

/* False when some key is of another group: what is applied there may touch nothing else. */
static bool keys_belong(const struct shard *shard, const struct remote_request *request)
{
    uint32_t first = 0, last = 0, step = 0;
    if (!command_keys(request->command, request->argc, &first, &last, &step)) {
        return request->command->first_key == 0;
    }
    for (uint32_t i = first; i <= last; i += step) {
        if (keyspace_partition(&shard->keyspace, request->argv[i]) != request->group) {
            return false;
        }
    }
    return true;
}

void pipeline_run_remote(struct pipeline *pipeline, const struct remote_request *request)
{
    struct shard *shard = pipeline->shard;
    struct replica *replica = consensus_replica(shard->consensus, request->group);
    if (replica == NULL || !leads(pipeline, replica, /* follows_others= */ false) ||
        replica->term != request->term) {
        forward_refuse(pipeline->node->forward, request->link, request->request);
        return;
    }
    struct routed routed = {
        .staged = {
            .argv = request->argv,
            .argc = request->argc,
            .command = request->command,
            .has_asker = true,
            .asker = {
                .kind = ASKER_REMOTE,
                .remote = { request->link, request->request },
            },
        },
        .partition = request->group,
        .is_write = request->is_write,
        .follows_writes = request->follows_writes,
        .origin = request->origin,
    };
    if ((request->command->flags & COMMAND_KEYSPACE) != 0) {
        routed.staged.place = (struct key_place){ .is_known = true, .partition = request->group };
    }
    pipeline->commands_processed++;
    if (request->group == GROUP_META) {
        run_for_cluster(pipeline, &routed.staged);
        return;
    }
    if (!keys_belong(shard, request)) {
        pipeline_answer_error(pipeline, &routed.staged, route_crossslot);
        return;
    }
    run_here(pipeline, replica, &routed);
}
