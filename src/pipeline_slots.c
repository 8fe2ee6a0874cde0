/*
 * pipeline_slots.c — requests of cluster-aware clients: those that came by the slot port.
 *
 * These clients know the slots and want to talk to the leader themselves.  A key that another node
 * leads is answered with MOVED and that node's slot port; what is led here runs as on the plain
 * port.  Both answers are definite: a request that is sent elsewhere was not done here.
 *
 *   keys in several slots      CROSSSLOT, whether or not one partition holds them all
 *   READONLY, or level ANY     reads run on this node's replica
 *   no leader known            CLUSTERDOWN: the client asks again in a moment
 *   a leader without slot port passed on, as on the plain port
 *   KEYS, SCAN, DBSIZE ...     what this node leads: such clients ask all nodes and add up
 *
 * Read next: command/cmd_slots.c, pipeline_route.c.
 */
#include "pipeline_internal.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/prng.h"
#include "consensus.h"
#include "io/io.h"
#include "node.h"

static bool refuse(struct pipeline *pipeline, struct staged *staged, const char *message)
{
    pipeline_note_rejected(pipeline, staged);
    pipeline_answer_error(pipeline, staged, message);
    return false;
}

/* The slot of all keys; -1 when there are several. */
static int32_t slot_of_keys(const struct staged *staged, uint32_t first, uint32_t last,
                            uint32_t step)
{
    uint16_t slot = hash_slot(staged->argv[first]);
    for (uint32_t i = first + step; i <= last; i += step) {
        if (hash_slot(staged->argv[i]) != slot) {
            return -1;
        }
    }
    return slot;
}

/* True when this node's replica may answer, whoever leads. */
static bool may_read_replica(const struct pipeline *pipeline, struct staged *staged,
                             const struct replica *replica)
{
    bool is_read = (staged->command->flags & (COMMAND_READ | COMMAND_WRITE)) == COMMAND_READ;
    if (!is_read || replica->is_fetching || replica->is_vacant) {
        return false;
    }
    bool is_any = conn_info(staged->conn)->read_only && staged->consistency == CONSISTENCY_DEFAULT;
    if (is_any) {
        staged->consistency = CONSISTENCY_ANY;
    }
    return is_any || pipeline_level(pipeline, staged) == CONSISTENCY_ANY;
}

/* False when the client was told where else to go, or to wait. */
static bool is_served_here(struct pipeline *pipeline, struct staged *staged, uint32_t slot)
{
    const struct shard *shard = pipeline->shard;
    uint32_t partition = slot >> shard->keyspace.slot_shift;
    const struct replica *replica = consensus_replica(shard->consensus, partition);
    if (replica_is_leader(replica) || may_read_replica(pipeline, staged, replica)) {
        return true;
    }
    const struct member *leader = members_find(&pipeline->node->members, replica->leader);
    if (leader == NULL || leader->number == shard->consensus->options.node) {
        return refuse(pipeline, staged, "CLUSTERDOWN Hash slot not served");
    }
    if (leader->slot_port == 0) {
        return true;
    }
    pipeline_note_rejected(pipeline, staged);
    struct reply *reply = pipeline_answer_begin(pipeline, staged);
    reply_errorf(reply, "MOVED %u %.63s:%u", slot, leader->host, leader->slot_port);
    pipeline_answer_end(pipeline, staged, reply);
    return false;
}

/* True unless another node shows the partition to these clients. */
static bool is_shown_here(const struct pipeline *pipeline, const struct replica *replica)
{
    const struct member *leader = members_find(&pipeline->node->members, replica->leader);
    return replica_is_leader(replica) || leader == NULL || leader->slot_port == 0;
}

static void run_over_led(struct pipeline *pipeline, struct staged *staged)
{
    struct shard *shard = pipeline->shard;
    bool shown[PARTITIONS_MAX];
    for (uint32_t i = 0; i < shard->keyspace.count; i++) {
        shown[i] = is_shown_here(pipeline, consensus_replica(shard->consensus, i));
    }
    struct command_ctx ctx = {
        .command = staged->command,
        .argv = staged->argv,
        .argc = staged->argc,
        .reply = pipeline_answer_begin(pipeline, staged),
        .keyspace = &shard->keyspace,
        .shown = shown,
        .now_ms = shard->now_ms,
        .seed = prng_next(&shard->prng),
        .stats = &shard->delta,
    };
    uint64_t start_ns = io_clock_ns(shard->io);
    staged->command->run(&ctx);
    pipeline_answer_end(pipeline, staged, ctx.reply);
    meter_one(shard->meter, staged->command, staged->argv, staged->argc, staged->conn,
              shard->now_ms, io_clock_ns(shard->io) - start_ns);
}

bool slots_admit(struct pipeline *pipeline, struct staged *staged)
{
    uint32_t first = 0, last = 0, step = 0;
    ASSERT(staged->command != NULL);
    ASSERT(staged->conn != NULL);
    uint32_t kind = staged->command->flags & (COMMAND_KEYSPACE | COMMAND_WRITE);
    if (kind == COMMAND_KEYSPACE && pipeline->shard->consensus != NULL &&
        staged->command->prepare == NULL) {
        run_over_led(pipeline, staged);
        return false;
    }
    if (!command_keys(staged->command, staged->argc, &first, &last, &step)) {
        return true;
    }
    int32_t slot = slot_of_keys(staged, first, last, step);
    if (slot < 0) {
        return refuse(pipeline, staged, route_crossslot);
    }
    return pipeline->shard->consensus == NULL || is_served_here(pipeline, staged, (uint32_t)slot);
}
