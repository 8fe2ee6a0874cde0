/*
 * placement.c — see placement.h.  Order: members and zones, distances, the walk, shares of
 * replicas, settling replicas, what a newcomer may move, leaders.
 *
 * Everywhere below a node is its place in the list of members.
 */
#include "sharding/placement.h"

#include "base/assert.h"
#include "sharding/fair_share.h"
#include "sharding/partition.h"
#include "sharding/settle.h"

#include <stdbool.h>
#include <string.h>

static void members_take(struct placement_work *work, const struct ring_member *members,
                         uint32_t count);
static void distances_measure(struct placement_work *work, uint32_t count);
static void partition_walk(struct placement_work *work, uint32_t partition);
static void shares_of_replicas(struct placement_work *work);
static void replicas_place(struct placement_work *work, bool is_first);
static void replicas_sort(struct placement_work *work, uint32_t partition);
static void leaders_choose(struct placement_work *work);

void placement_compute(const struct ring_member *members, uint32_t count, uint32_t partitions,
                       uint32_t replication_factor, struct placement_work *work,
                       struct placement *out)
{
    ASSERT(count >= 1);
    ASSERT(count <= RAFT_PEERS_MAX);
    ASSERT(partition_count_is_valid(partitions));
    ASSERT(replication_factor >= 1);
    ASSERT(replication_factor <= RAFT_VOTERS_MAX);
    *out = (struct placement){
        .partitions = partitions,
        .replicas_count = replication_factor < count ? replication_factor : count,
    };
    work->out = out;
    members_take(work, members, count);
    distances_measure(work, count);
    bool has_memory = work->zones_count == count; /* no zone of two */
    uint32_t first = has_memory ? out->replicas_count : count;
    for (uint32_t prefix = first; prefix <= count; prefix++) {
        out->members_count = prefix;
        work->zones_count = has_memory ? prefix : work->zones_count;
        replicas_place(work, /* is_first= */ prefix == first);
    }
    for (uint32_t p = 0; p < partitions; p++) {
        replicas_sort(work, p);
    }
    leaders_choose(work);
}

/* ── members and zones ───────────────────────────────────────────────────────────────────────── */

/* The zone of an earlier member, or a new one. */
static uint8_t zone_of(struct placement_work *work, uint32_t member)
{
    for (uint32_t i = 0; i < member; i++) {
        if (work->members[member].zone != 0 &&
            work->members[i].zone == work->members[member].zone) {
            return work->zone[i];
        }
    }
    return (uint8_t)work->zones_count++;
}

static void members_take(struct placement_work *work, const struct ring_member *members,
                         uint32_t count)
{
    work->zones_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t earlier = 0; earlier < i; earlier++) {
            ASSERT(members[earlier].node != members[i].node);
        }
        work->members[i] = members[i];
        work->out->nodes[i] = members[i].node;
        work->zone[i] = zone_of(work, i);
    }
}

/* ── distances ───────────────────────────────────────────────────────────────────────────────── */

/* Once round the ring, backwards: from each partition, where every member's next point is. */
static void distances_measure(struct placement_work *work, uint32_t count)
{
    const struct placement *out = work->out;
    uint32_t points = ring_size(work->members, count);
    uint64_t next[RAFT_PEERS_MAX] = { 0 };
    ring_build(work->members, count, work->points);
    for (uint32_t at = points; at-- > 0;) {
        next[work->points[at].member] = work->points[at].position; /* beyond 0: the first */
    }
    uint32_t at = points;
    for (uint32_t p = out->partitions; p-- > 0;) {
        uint64_t position = partition_position(p, out->partitions);
        for (; at > 0 && work->points[at - 1].position >= position; at--) {
            next[work->points[at - 1].member] = work->points[at - 1].position;
        }
        for (uint32_t i = 0; i < count; i++) {
            work->distance[p][i] = (uint32_t)((next[i] - position) >> 33) + 1;
        }
    }
}

/* ── the walk ────────────────────────────────────────────────────────────────────────────────── */

/* The nearest node not chosen yet in a zone that has fewest of the chosen. */
static uint32_t walk_next(const struct placement_work *work, uint32_t partition, uint32_t chosen,
                          const uint8_t in_zone[RAFT_PEERS_MAX])
{
    const uint32_t *distance = work->distance[partition];
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < work->out->members_count; i++) {
        if ((chosen >> i & 1) != 0) {
            continue;
        }
        uint8_t taken = in_zone[work->zone[i]];
        uint8_t least = best != UINT32_MAX ? in_zone[work->zone[best]] : UINT8_MAX;
        if (taken < least || (taken == least && distance[i] < distance[best])) {
            best = i;
        }
    }
    ASSERT(best < work->out->members_count);
    return best;
}

static void partition_walk(struct placement_work *work, uint32_t partition)
{
    uint8_t in_zone[RAFT_PEERS_MAX] = { 0 };
    uint32_t chosen = 0;
    for (uint32_t r = 0; r < work->out->replicas_count; r++) {
        uint32_t node = walk_next(work, partition, chosen, in_zone);
        chosen |= UINT32_C(1) << node;
        in_zone[work->zone[node]]++;
        work->out->replicas[partition][r] = (uint8_t)node;
    }
}

/* ── shares of replicas ──────────────────────────────────────────────────────────────────────── */

/* Replicas of one partition that a zone has at least and at most: the walk takes one from every
 * zone that has a node left, then from every zone again, and so on. */
static void zone_bounds(const struct placement_work *work, const uint32_t size[RAFT_PEERS_MAX],
                        uint64_t lowest[RAFT_PEERS_MAX], uint64_t highest[RAFT_PEERS_MAX])
{
    uint32_t left = work->out->replicas_count;
    uint32_t open = work->zones_count; /* zones that take part in this round */
    uint32_t round = 0;
    while (open > 0 && left >= open) {
        left -= open;
        round++;
        open = 0;
        for (uint32_t z = 0; z < work->zones_count; z++) {
            open += size[z] > round;
        }
    }
    for (uint32_t z = 0; z < work->zones_count; z++) {
        lowest[z] = size[z] < round ? size[z] : round;
        highest[z] = lowest[z] + (left > 0 && size[z] > round);
    }
}

/* First the zones' shares, then within each zone its nodes'. */
static void shares_of_replicas(struct placement_work *work)
{
    const uint64_t whole = (uint64_t)work->out->partitions * SHARE_ONE;
    uint32_t size[RAFT_PEERS_MAX] = { 0 };
    uint32_t weight[RAFT_PEERS_MAX] = { 0 };
    uint64_t lowest[RAFT_PEERS_MAX] = { 0 };
    uint64_t highest[RAFT_PEERS_MAX] = { 0 };
    uint64_t zones[RAFT_PEERS_MAX];
    for (uint32_t i = 0; i < work->out->members_count; i++) {
        size[work->zone[i]]++;
        weight[work->zone[i]] += work->members[i].weight;
    }
    zone_bounds(work, size, lowest, highest);
    for (uint32_t z = 0; z < work->zones_count; z++) {
        lowest[z] *= whole;
        highest[z] *= whole;
    }
    share_fill(lowest, highest, weight, work->zones_count, whole * work->out->replicas_count,
               zones);
    for (uint32_t z = 0; z < work->zones_count; z++) {
        uint64_t shares[RAFT_PEERS_MAX];
        uint32_t count = 0;
        for (uint32_t i = 0; i < work->out->members_count; i++) {
            if (work->zone[i] == z) {
                lowest[count] = 0;
                highest[count] = whole;
                weight[count++] = work->members[i].weight;
            }
        }
        share_fill(lowest, highest, weight, count, zones[z], shares);
        for (uint32_t i = work->out->members_count; i-- > 0;) {
            if (work->zone[i] == z) {
                work->share[i] = shares[--count];
            }
        }
    }
}

/* ── settling replicas ───────────────────────────────────────────────────────────────────────── */

static uint32_t holders(const struct placement *placement, uint32_t partition)
{
    uint32_t set = 0;
    for (uint32_t r = 0; r < placement->replicas_count; r++) {
        set |= UINT32_C(1) << placement->replicas[partition][r];
    }
    return set;
}

/* Offers the giver's seat at one partition to all of a set who may have it. */
static void replica_offer(const struct placement_work *work, uint32_t partition, uint32_t giver,
                          uint32_t takers, struct settle_move out[RAFT_PEERS_MAX])
{
    const uint32_t *distance = work->distance[partition];
    const uint8_t *replicas = work->out->replicas[partition];
    uint8_t in_zone[RAFT_PEERS_MAX] = { 0 };
    takers &= ~holders(work->out, partition);
    for (uint32_t r = 0; r < work->out->replicas_count; r++) {
        in_zone[work->zone[replicas[r]]]++;
    }
    in_zone[work->zone[giver]]--;
    for (uint32_t i = 0; i < work->out->members_count; i++) {
        if ((takers >> i & 1) != 0 && in_zone[work->zone[i]] <= in_zone[work->zone[giver]]) {
            settle_offer(&out[i], distance[giver], distance[i], partition);
        }
    }
}

static void replica_moves(const void *state, uint32_t giver, struct settle_move out[RAFT_PEERS_MAX])
{
    const struct placement_work *work = state;
    for (uint32_t p = 0; p < work->out->partitions; p++) {
        if ((holders(work->out, p) >> giver & 1) != 0) {
            replica_offer(work, p, giver, UINT32_MAX, out);
        }
    }
}

static void replica_move(void *state, uint32_t giver, uint32_t taker, uint32_t partition)
{
    struct placement_work *work = state;
    uint8_t *replicas = work->out->replicas[partition];
    uint32_t at = 0;
    while (replicas[at] != giver) {
        at++;
    }
    ASSERT(at < work->out->replicas_count);
    replicas[at] = (uint8_t)taker;
}

/* Nearest first. */
static void replicas_sort(struct placement_work *work, uint32_t partition)
{
    const uint32_t *distance = work->distance[partition];
    uint8_t *replicas = work->out->replicas[partition];
    for (uint32_t r = 1; r < work->out->replicas_count; r++) {
        uint8_t node = replicas[r];
        uint32_t to = r;
        for (; to > 0 && distance[replicas[to - 1]] > distance[node]; to--) {
            replicas[to] = replicas[to - 1];
        }
        replicas[to] = node;
    }
}

/* Loads as they are, and what is the most that each node should have. */
static void replicas_count(const struct placement_work *work, struct settle *settle)
{
    for (uint32_t i = 0; i < settle->count; i++) {
        uint32_t whole = share_ceil(work->share[i]);
        uint32_t most = share_floor(work->share[i] / 100 * (100 + PLACEMENT_SLACK_PERCENT));
        settle->limit[i] = most > whole ? most : whole;
    }
    for (uint32_t p = 0; p < work->out->partitions; p++) {
        for (uint32_t r = 0; r < work->out->replicas_count; r++) {
            settle->load[work->out->replicas[p][r]]++;
        }
    }
}

static void movement_cap(struct placement_work *work, struct settle *settle);

/* Those of the list's first members_count members, of whom the last is the newcomer. */
static void replicas_place(struct placement_work *work, bool is_first)
{
    struct settle settle = {
        .count = work->out->members_count,
        .moves = replica_moves,
        .move = replica_move,
        .state = work,
    };
    for (uint32_t p = 0; p < work->out->partitions; p++) {
        work->before[p] = is_first ? 0 : (uint16_t)holders(work->out, p);
        partition_walk(work, p);
    }
    memcpy(work->out->meta, work->out->replicas[0], sizeof(work->out->meta));
    shares_of_replicas(work);
    replicas_count(work, &settle);
    settle_run(&settle);
    if (!is_first) {
        movement_cap(work, &settle);
    }
}

/* ── what a newcomer may move ────────────────────────────────────────────────────────────────── */

/* Replicas on nodes that did not hold them before. */
static uint32_t replicas_moved(const struct placement_work *work)
{
    uint32_t moved = 0;
    for (uint32_t p = 0; p < work->out->partitions; p++) {
        for (uint32_t r = 0; r < work->out->replicas_count; r++) {
            moved += (work->before[p] >> work->out->replicas[p][r] & 1) == 0;
        }
    }
    return moved;
}

/* Seats move to the newcomer, or back to who had them: never from one old node to another. */
static void newcomer_moves(const void *state, uint32_t giver,
                           struct settle_move out[RAFT_PEERS_MAX])
{
    const struct placement_work *work = state;
    uint32_t newcomer = UINT32_C(1) << (work->out->members_count - 1);
    for (uint32_t p = 0; p < work->out->partitions; p++) {
        if ((holders(work->out, p) >> giver & 1) != 0) {
            replica_offer(work, p, giver, newcomer | work->before[p], out);
        }
    }
}

/* What an old node could give back of what it did not have before. */
static void returns_offer(const struct placement_work *work, uint32_t giver,
                          struct settle_move out[RAFT_PEERS_MAX])
{
    for (uint32_t p = 0; p < work->out->partitions; p++) {
        uint32_t gained = holders(work->out, p) & ~(uint32_t)work->before[p];
        if ((gained >> giver & 1) != 0) {
            replica_offer(work, p, giver, work->before[p], out);
        }
    }
}

/* One seat goes back from one old node to another, which may be above its limit then. */
static bool replica_return(struct placement_work *work, struct settle *settle)
{
    struct settle_move moves[RAFT_PEERS_MAX][RAFT_PEERS_MAX] = { { { .from = 0 } } };
    struct settle_move best = { .from = 0 };
    for (uint32_t pair = 0; pair < (settle->count - 1) * RAFT_PEERS_MAX; pair++) {
        uint32_t giver = pair / RAFT_PEERS_MAX;
        uint32_t taker = pair % RAFT_PEERS_MAX;
        if (taker == 0) {
            returns_offer(work, giver, moves[giver]);
        }
        if (moves[giver][taker].from != 0) {
            settle_offer(&best, moves[giver][taker].from, moves[giver][taker].to, pair);
        }
    }
    if (best.from == 0) {
        return false;
    }
    uint32_t giver = best.seat / RAFT_PEERS_MAX;
    uint32_t taker = best.seat % RAFT_PEERS_MAX;
    settle->load[giver]--;
    settle->load[taker]++;
    replica_move(work, giver, taker, moves[giver][taker].seat);
    return true;
}

/* Takes moves between old nodes back, one by one, as long as there are too many.  Whoever is above
 * its limit by that gives another seat to the newcomer. */
static void movement_cap(struct placement_work *work, struct settle *settle)
{
    uint64_t share = work->share[work->out->members_count - 1];
    uint32_t most = share_floor(share / 100 * PLACEMENT_MOVED_PERCENT);
    settle->moves = newcomer_moves;
    while (replicas_moved(work) > most && replica_return(work, settle)) {
        settle_run(settle);
    }
    settle->moves = replica_moves; /* limits come first */
    settle_run(settle);
}

/* ── leaders ─────────────────────────────────────────────────────────────────────────────────── */

static void leader_moves(const void *state, uint32_t giver, struct settle_move out[RAFT_PEERS_MAX])
{
    const struct placement_work *work = state;
    for (uint32_t p = 0; p < work->out->partitions; p++) {
        const uint8_t *replicas = work->out->replicas[p];
        for (uint32_t r = 1; r < work->out->replicas_count && replicas[0] == giver; r++) {
            settle_offer(&out[replicas[r]], work->distance[p][giver],
                         work->distance[p][replicas[r]], p);
        }
    }
}

/* The new leader comes to the front; the others stay in their order. */
static void leader_move(void *state, uint32_t giver, uint32_t taker, uint32_t partition)
{
    struct placement_work *work = state;
    uint8_t *replicas = work->out->replicas[partition];
    ASSERT(replicas[0] == giver);
    replicas_sort(work, partition);
    uint32_t at = 0;
    while (replicas[at] != taker) {
        at++;
    }
    ASSERT(at < work->out->replicas_count);
    memmove(replicas + 1, replicas, at);
    replicas[0] = (uint8_t)taker;
}

static void leaders_choose(struct placement_work *work)
{
    struct settle settle = {
        .count = work->out->members_count,
        .moves = leader_moves,
        .move = leader_move,
        .state = work,
    };
    uint64_t lowest[RAFT_PEERS_MAX] = { 0 };
    uint64_t highest[RAFT_PEERS_MAX] = { 0 };
    uint32_t weight[RAFT_PEERS_MAX] = { 0 };
    for (uint32_t p = 0; p < work->out->partitions; p++) {
        settle.load[work->out->replicas[p][0]]++;
        for (uint32_t r = 0; r < work->out->replicas_count; r++) {
            highest[work->out->replicas[p][r]] += SHARE_ONE; /* who holds none leads none */
        }
    }
    for (uint32_t i = 0; i < settle.count; i++) {
        weight[i] = work->members[i].weight;
    }
    share_fill(lowest, highest, weight, settle.count, (uint64_t)work->out->partitions * SHARE_ONE,
               work->share);
    for (uint32_t i = 0; i < settle.count; i++) {
        settle.limit[i] = share_ceil(work->share[i]);
    }
    settle_run(&settle);
    for (uint32_t i = 0; i < settle.count; i++) {
        settle.limit[i] = share_floor(work->share[i]);
    }
    settle_run(&settle);
}
