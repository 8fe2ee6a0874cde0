/*
 * pipeline_slots.c — requests of cluster-aware clients: those that came by the slot port.
 *
 * These clients know the slots and want to talk to the leader themselves.  A key that another node
 * leads is answered with MOVED and that node's slot port; what is led here runs as on the plain
 * port.  Both answers are definite: a request that is sent elsewhere was not done here.
 *
 *   keys in several slots      CROSSSLOT, whether or not one partition holds them all
 *   READONLY, or level ANY     reads run on this node's replica
 *   no leader known            waits for one, as on the plain port: while leadership is handed over
 *                              clients see no error
 *   a leader without slot port passed on, as on the plain port
 *   KEYS, SCAN, DBSIZE ...     what this node leads: such clients ask all nodes and add up
 *
 * Read next: command/cmd_slots.c, pipeline_route.c.
 */
#include "pipeline_internal.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/text.h"
#include "command/command_table.h"
#include "consensus.h"
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

/* False when the client was told where else to go. */
static bool is_served_here(struct pipeline *pipeline, struct staged *staged, uint32_t slot)
{
    const struct shard *shard = pipeline->shard;
    uint32_t partition = slot >> shard->keyspace.slot_shift;
    const struct replica *replica = consensus_replica(shard->consensus, partition);
    if (replica_is_leader(replica) || may_read_replica(pipeline, staged, replica)) {
        return true;
    }
    const struct member *leader = members_find(&pipeline->node->members, replica->leader);
    bool is_known = leader != NULL && leader->number != shard->consensus->options.node;
    if (!is_known || leader->slot_port == 0) {
        bool waits = (staged->command->flags & (COMMAND_READ | COMMAND_WRITE)) != 0;
        return waits || refuse(pipeline, staged, "CLUSTERDOWN Hash slot not served");
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

static void route_over_shown(struct pipeline *pipeline, struct staged *staged)
{
    const struct shard *shard = pipeline->shard;
    bool shown[PARTITIONS_MAX];
    for (uint32_t i = 0; i < shard->keyspace.count; i++) {
        shown[i] = is_shown_here(pipeline, consensus_replica(shard->consensus, i));
    }
    route_keyspace(pipeline, staged, shown);
}

/* The slot whose keys CLUSTER COUNTKEYSINSLOT or GETKEYSINSLOT wants to see; -1: something else, or
 * no slot. */
static int32_t slot_to_look_at(const struct staged *staged)
{
    int64_t slot = -1;
    if (staged->command->id != COMMAND_ID_cluster || staged->argc < 3) {
        return -1;
    }
    const struct subcommand *sub = command_subcommand_lookup(staged->command, staged->argv[1]);
    bool looks_at_slot = sub != NULL && (sub->run == cluster_countkeysinslot_command ||
                                         sub->run == cluster_getkeysinslot_command);
    if (!looks_at_slot || !text_to_i64(staged->argv[2], &slot)) {
        return -1;
    }
    return slot >= 0 && slot < SLOTS_COUNT ? (int32_t)slot : -1;
}

bool slots_admit(struct pipeline *pipeline, struct staged *staged)
{
    uint32_t first = 0, last = 0, step = 0;
    ASSERT(staged->command != NULL);
    ASSERT(staged->conn != NULL);
    uint32_t kind = staged->command->flags & (COMMAND_KEYSPACE | COMMAND_WRITE);
    if (kind == COMMAND_KEYSPACE && pipeline->shard->consensus != NULL &&
        staged->command->prepare == NULL) {
        route_over_shown(pipeline, staged);
        return false;
    }
    bool has_keys = command_keys(staged->command, staged->argc, &first, &last, &step);
    int32_t slot = has_keys ? slot_of_keys(staged, first, last, step) : slot_to_look_at(staged);
    if (slot < 0) {
        return has_keys ? refuse(pipeline, staged, route_crossslot) : true;
    }
    return pipeline->shard->consensus == NULL || is_served_here(pipeline, staged, (uint32_t)slot);
}
