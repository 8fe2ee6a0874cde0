/*
 * placement.c — see placement.h.  Order: members and zones, distances, the walk, shares of
 * replicas, settling replicas, leaders.
 *
 * Everywhere below a node is its place among the members in ascending order of their numbers.
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
static void distances_measure(struct placement_work *work);
static void partition_walk(struct placement_work *work, uint32_t partition);
static void shares_of_replicas(struct placement_work *work);
static void replicas_settle(struct placement_work *work);
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
        .members_count = count,
        .partitions = partitions,
        .replicas_count = replication_factor < count ? replication_factor : count,
    };
    work->out = out;
    members_take(work, members, count);
    distances_measure(work);
    for (uint32_t p = 0; p < partitions; p++) {
        partition_walk(work, p);
    }
    memcpy(out->meta, out->replicas[0], sizeof(out->meta));
    shares_of_replicas(work);
    replicas_settle(work);
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
    for (uint32_t i = 0; i < count; i++) {
        uint32_t to = i;
        for (; to > 0 && work->members[to - 1].node > members[i].node; to--) {
            work->members[to] = work->members[to - 1];
        }
        work->members[to] = members[i];
    }
    work->zones_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        ASSERT(i == 0 || work->members[i].node > work->members[i - 1].node);
        work->out->nodes[i] = work->members[i].node;
        work->zone[i] = zone_of(work, i);
    }
}

/* ── distances ───────────────────────────────────────────────────────────────────────────────── */

/* Once round the ring, backwards: from each partition, where every member's next point is. */
static void distances_measure(struct placement_work *work)
{
    const struct placement *out = work->out;
    uint32_t count = ring_size(work->members, out->members_count);
    uint64_t next[RAFT_PEERS_MAX] = { 0 };
    ring_build(work->members, out->members_count, work->points);
    for (uint32_t at = count; at-- > 0;) {
        next[work->points[at].member] = work->points[at].position; /* beyond 0: the first */
    }
    uint32_t at = count;
    for (uint32_t p = out->partitions; p-- > 0;) {
        uint64_t position = partition_position(p, out->partitions);
        for (; at > 0 && work->points[at - 1].position >= position; at--) {
            next[work->points[at - 1].member] = work->points[at - 1].position;
        }
        for (uint32_t i = 0; i < out->members_count; i++) {
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

/* Offers the giver's seat at one partition to all who may have it. */
static void replica_offer(const struct placement_work *work, uint32_t partition, uint32_t giver,
                          struct settle_move out[RAFT_PEERS_MAX])
{
    const uint32_t *distance = work->distance[partition];
    const uint8_t *replicas = work->out->replicas[partition];
    uint8_t in_zone[RAFT_PEERS_MAX] = { 0 };
    uint32_t holders = 0;
    for (uint32_t r = 0; r < work->out->replicas_count; r++) {
        holders |= UINT32_C(1) << replicas[r];
        in_zone[work->zone[replicas[r]]]++;
    }
    in_zone[work->zone[giver]]--;
    for (uint32_t i = 0; i < work->out->members_count; i++) {
        bool is_free = (holders >> i & 1) == 0;
        if (is_free && in_zone[work->zone[i]] <= in_zone[work->zone[giver]]) {
            settle_offer(&out[i], distance[giver], distance[i], partition);
        }
    }
}

static bool is_replica(const struct placement *placement, uint32_t partition, uint32_t node)
{
    const uint8_t *replicas = placement->replicas[partition];
    for (uint32_t r = 0; r < placement->replicas_count; r++) {
        if (replicas[r] == node) {
            return true;
        }
    }
    return false;
}

static void replica_moves(const void *state, uint32_t giver, struct settle_move out[RAFT_PEERS_MAX])
{
    const struct placement_work *work = state;
    for (uint32_t p = 0; p < work->out->partitions; p++) {
        if (is_replica(work->out, p, giver)) {
            replica_offer(work, p, giver, out);
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

static void replicas_settle(struct placement_work *work)
{
    struct settle settle = {
        .count = work->out->members_count,
        .moves = replica_moves,
        .move = replica_move,
        .state = work,
    };
    for (uint32_t i = 0; i < settle.count; i++) {
        uint32_t whole = share_ceil(work->share[i]);
        uint32_t most = share_floor(work->share[i] / 100 * (100 + PLACEMENT_SLACK_PERCENT));
        settle.limit[i] = most > whole ? most : whole;
    }
    for (uint32_t p = 0; p < work->out->partitions; p++) {
        for (uint32_t r = 0; r < work->out->replicas_count; r++) {
            settle.load[work->out->replicas[p][r]]++;
        }
    }
    settle_run(&settle);
    for (uint32_t p = 0; p < work->out->partitions; p++) {
        replicas_sort(work, p);
    }
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
