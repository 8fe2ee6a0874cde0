/*
 * moves.c — see moves.h.  Order: what migration has to know, steps, looking.
 */
#include "moves.h"

#include "base/assert.h"
#include "base/mem.h"
#include "cluster/confchange.h"
#include "consensus.h"
#include "coordinator.h"
#include "hints.h"
#include "log.h"
#include "node.h"
#include "replica.h"
#include "transfer.h"

enum {
    SAMPLE_MS = 1000,
    SAMPLES = 4,     /* the rate is that of the last few seconds */
    PHASE_SHIFT = 1, /* in a hint's flags */
};

_Static_assert(MIGRATION_PHASES << PHASE_SHIFT <= UINT8_MAX, "a phase fits into a hint");

/* The target was the configuration itself when it was computed from these.  A leader's log is not
 * cut back, so within its term an index names one configuration. */
struct settled {
    uint64_t term, config_index;
    uint64_t epoch; /* of the list of members; 0: not known */
    uint32_t replication_factor;
};

struct moves {
    struct settled *settled; /* owned: of each group */
    uint8_t *phases;         /* owned: enum migration_phase, of each group that this node leads */
    uint64_t sampled_ms;
    uint64_t left[SAMPLES]; /* bytes, a second after the other; the latest first */
    uint32_t samples;
};

static bool move_look(struct node *node, const struct replica *replica, struct move *out);

struct moves *moves_new(uint32_t groups)
{
    struct moves *moves = mem_zalloc(sizeof(*moves));
    moves->phases = mem_zalloc(groups);
    moves->settled = mem_zalloc(groups * sizeof(*moves->settled));
    return moves;
}

void moves_free(struct moves *moves)
{
    if (moves != NULL) {
        mem_free(moves->phases);
        mem_free(moves->settled);
        mem_free(moves);
    }
}

/* ── what migration has to know ──────────────────────────────────────────────────────────────── */

static uint64_t bytes_of(const struct node *node, const struct replica *replica)
{
    return replica->group == GROUP_META
               ? 0
               : kv_stats(node->shard.keyspace.partitions[replica->group])->memory_bytes;
}

static struct migration_node *node_add(struct migration *migration,
                                       const struct raft_member *member)
{
    for (uint32_t i = 0; i < migration->count; i++) {
        struct migration_node *known = &migration->nodes[i];
        if (known->node == member->node && known->incarnation == member->incarnation) {
            return known;
        }
    }
    ASSERT(migration->count < MIGRATION_NODES_MAX);
    struct migration_node *added = &migration->nodes[migration->count++];
    *added = (struct migration_node){ .node = member->node, .incarnation = member->incarnation };
    return added;
}

/* Who has the configuration's own entry (`at`) has been heard of since it belongs to the group. */
static bool is_ready(const struct node *node, const struct replica *replica, uint64_t number,
                     uint64_t at)
{
    struct raft_peer_view view;
    return number == node->consensus->options.node ||
           (coordinator_peer_is_close(node, replica, number, COORDINATOR_READY_ENTRIES) &&
            raft_peer(replica->raft, number, &view) && view.match >= at);
}

const struct raft_config *moves_config(const struct node *node, const struct replica *replica)
{
    uint64_t at = 0;
    if (!replica->is_vacant || replica->group == GROUP_META) {
        return raft_config(replica->raft, &at);
    }
    const struct hint *hint = hints_of(node->hints, replica->group);
    return hint != NULL ? &hint->members : NULL;
}

static struct settled settled_now(struct node *node, const struct replica *replica)
{
    const struct targets *targets = node_targets(node);
    struct settled now = { .term = replica->term,
                           .epoch = targets->epoch,
                           .replication_factor = targets->replication_factor };
    (void)raft_config(replica->raft, &now.config_index);
    return now;
}

static bool settled_equal(const struct settled *a, const struct settled *b)
{
    return a->term == b->term && a->config_index == b->config_index && a->epoch == b->epoch &&
           a->replication_factor == b->replication_factor;
}

/* The group is where it should be.  Of a group that this node leads the target is computed only
 * when something has changed since. */
static bool is_settled(struct node *node, const struct replica *replica,
                       const struct raft_config *current, struct raft_config *out_target)
{
    bool leads = replica_is_leader(replica) && node->moves != NULL;
    struct settled now = { .epoch = 0 };
    if (leads) {
        now = settled_now(node, replica);
        if (LIKELY(settled_equal(&node->moves->settled[replica->slot], &now))) {
            return true;
        }
    }
    members_target(&node->members, &node_targets(node)->placement, replica->group, current,
                   out_target);
    bool is_there = raft_config_equal(current, out_target);
    if (leads && is_there) {
        node->moves->settled[replica->slot] = now;
    }
    return is_there;
}

/* False: the group is where it should be, or nothing is known of it. */
static bool migration_make(struct node *node, const struct replica *replica, struct migration *out)
{
    uint64_t at = 0;
    const struct raft_config *current = moves_config(node, replica);
    struct raft_config target;
    if (current == NULL || current->members_count == 0 ||
        is_settled(node, replica, current, &target)) {
        return false;
    }
    (void)raft_config(replica->raft, &at);
    out->count = 0;
    out->leader = node->consensus->options.node;
    out->bytes = bytes_of(node, replica);
    for (uint32_t i = 0; i < current->members_count; i++) {
        struct migration_node *holder = node_add(out, &current->members[i]);
        holder->holds = true;
        holder->votes = (current->members[i].roles & RAFT_VOTER) != 0;
        holder->is_ready = is_ready(node, replica, holder->node, at);
    }
    for (uint32_t i = 0; i < target.members_count; i++) {
        struct migration_node *wanted = node_add(out, &target.members[i]);
        wanted->should_hold = true;
        wanted->should_vote = (target.members[i].roles & RAFT_VOTER) != 0;
    }
    for (uint32_t i = 0; i < out->count; i++) {
        out->nodes[i].is_alive = coordinator_state(node, out->nodes[i].node) == NODE_ALIVE;
    }
    return true;
}

static bool is_joint(const struct replica *replica)
{
    uint64_t at = 0;
    return raft_config_is_joint(raft_config(replica->raft, &at));
}

/* ── steps ───────────────────────────────────────────────────────────────────────────────────── */

static void change(struct node *node, struct replica *replica, const struct migration_step *step)
{
    struct raft_config next = { .members_count = 0 };
    for (uint32_t i = 0; i < step->count; i++) {
        bool added = raft_config_add(&next, step->next[i].node, step->next[i].incarnation,
                                     step->next[i].votes ? RAFT_VOTER : RAFT_LEARNER);
        ASSERT(added);
    }
    enum raft_result result = consensus_change(node->consensus, replica, &next);
    if (result != RAFT_OK && result != RAFT_CONFIG_PENDING) {
        log_event(node->log, LOG_DEBUG, "config_change_refused", LOG_U64("group", replica->group),
                  LOG_U64("result", result));
    }
}

static void carry_out(struct node *node, struct replica *replica, const struct migration_step *step)
{
    switch (step->action) {
    case MIGRATION_DONE:
    case MIGRATION_WAIT:
        break;
    case MIGRATION_CHANGE:
        log_event(node->log, LOG_DEBUG, "move_changes", LOG_U64("group", replica->group));
        change(node, replica, step);
        break;
    case MIGRATION_LEAD:
        log_event(node->log, LOG_DEBUG, "move_hands_over", LOG_U64("group", replica->group),
                  LOG_U64("to", step->leader));
        coordinator_hand_over(node, replica, step->leader);
        break;
    }
}

/* What the others are to be told of the partitions this node leads. */
static void tell(struct node *node)
{
    for (uint32_t i = 0; i < node->consensus->count; i++) {
        const struct replica *replica = node->consensus->replicas[i];
        struct move move = { .phase = MIGRATION_SETTLED };
        if (replica->group == GROUP_META || !replica_is_leader(replica)) {
            continue;
        }
        if (!move_look(node, replica, &move)) {
            move.phase = MIGRATION_SETTLED;
            move.bytes_left = 0;
        }
        hints_set_moving(node->hints, replica, (uint8_t)(move.phase << PHASE_SHIFT),
                         move.bytes_left);
    }
}

/* Every second, what is left: its decline is the rate. */
static void sample(struct node *node)
{
    struct moves *moves = node->moves;
    struct moves_sum sum;
    if (node->consensus->now_ms < moves->sampled_ms + SAMPLE_MS) {
        return;
    }
    moves->sampled_ms = node->consensus->now_ms;
    tell(node);
    moves_sum(node, &sum);
    memmove(&moves->left[1], &moves->left[0], sizeof(moves->left) - sizeof(moves->left[0]));
    moves->left[0] = sum.bytes_left;
    moves->samples += moves->samples < SAMPLES;
}

void moves_step(struct node *node)
{
    const struct consensus *consensus = node->consensus;
    struct migration_budget budget = { .bytes = 0 };
    struct migration migration;
    struct migration_step step;
    for (uint32_t i = 0; i < consensus->count; i++) {
        const struct replica *replica = consensus->replicas[i];
        bool moves = replica_is_leader(replica) && migration_make(node, replica, &migration);
        node->moves->phases[i] = moves ? MIGRATION_SWITCHING : MIGRATION_SETTLED;
        if (moves) {
            migration_count(&migration, &budget);
        }
    }
    for (uint32_t i = 0; i < consensus->count; i++) {
        struct replica *replica = consensus->replicas[i];
        bool moves = node->moves->phases[i] != MIGRATION_SETTLED;
        if (LIKELY(!moves) || is_joint(replica) || !migration_make(node, replica, &migration)) {
            continue; /* a joint configuration the leader leaves by itself */
        }
        migration_next(&migration, &budget, &step);
        node->moves->phases[i] = (uint8_t)step.phase;
        carry_out(node, replica, &step);
    }
    sample(node);
}

/* ── looking ─────────────────────────────────────────────────────────────────────────────────── */

/* What the leader knows of how much the node has got already. */
static uint64_t bytes_done(const struct node *node, const struct replica *replica, uint64_t number,
                           uint64_t bytes)
{
    if (!replica_is_leader(replica)) {
        return 0;
    }
    uint64_t sent = transfers_sent_bytes(node->transfers, replica->group, number);
    bool is_there = coordinator_peer_is_close(node, replica, number, COORDINATOR_READY_ENTRIES);
    return is_there || sent > bytes ? bytes : sent;
}

/* What the leader of a partition says of its move. */
static void told_by_leader(const struct node *node, const struct replica *replica,
                           struct move *move)
{
    const struct hint *hint =
        replica->group == GROUP_META ? NULL : hints_of(node->hints, replica->group);
    if (hint != NULL && hint->leader != 0) {
        move->is_known = true;
        move->phase = (enum migration_phase)((hint->flags >> PHASE_SHIFT) % MIGRATION_PHASES);
        move->bytes_left = hint->bytes_left;
        move->bytes = move->bytes > move->bytes_left ? move->bytes : move->bytes_left;
    }
}

/* False: the group is where it should be. */
static bool move_look(struct node *node, const struct replica *replica, struct move *out)
{
    struct migration migration;
    if (!migration_make(node, replica, &migration)) {
        return false;
    }
    *out = (struct move){ .group = replica->group, .is_known = replica_is_leader(replica) };
    for (uint32_t i = 0; i < migration.count; i++) {
        const struct migration_node *at = &migration.nodes[i];
        bool comes = (at->should_hold && !at->holds) || (at->should_vote && !at->votes);
        if (comes && out->to_count < RAFT_PEERS_MAX) {
            out->to[out->to_count++] = at->node;
            out->bytes += migration.bytes;
            out->bytes_left +=
                migration.bytes - bytes_done(node, replica, at->node, migration.bytes);
        } else if (at->holds && (!at->should_hold || (at->votes && !at->should_vote)) &&
                   out->from_count < RAFT_PEERS_MAX) {
            out->from[out->from_count++] = at->node;
        }
    }
    out->phase = (enum migration_phase)node->moves->phases[replica->slot];
    if (!out->is_known) {
        told_by_leader(node, replica, out);
    }
    return out->from_count + out->to_count > 0;
}

bool moves_next(struct node *node, uint32_t *at, struct move *out_move)
{
    while (node->consensus != NULL && *at < node->consensus->count) {
        if (move_look(node, node->consensus->replicas[(*at)++], out_move)) {
            return true;
        }
    }
    return false;
}

static bool is_waiting(const struct move *move)
{
    return move->is_known && (move->phase == MIGRATION_QUEUED || move->phase == MIGRATION_ABSENT ||
                              move->phase == MIGRATION_UNSAFE);
}

void moves_sum(struct node *node, struct moves_sum *out_sum)
{
    struct move move;
    const struct moves *moves = node->moves;
    *out_sum = (struct moves_sum){ .running = 0 };
    for (uint32_t at = 0; moves_next(node, &at, &move);) {
        out_sum->waiting += is_waiting(&move);
        out_sum->running += !is_waiting(&move);
        out_sum->bytes_left += move.bytes_left;
    }
    if (moves != NULL && moves->samples > 1) {
        uint64_t before = moves->left[moves->samples - 1];
        uint64_t went = before > moves->left[0] ? before - moves->left[0] : 0;
        out_sum->bytes_per_second = went / (moves->samples - 1);
    }
}
