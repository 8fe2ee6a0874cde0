/*
 * consistent_hash.c — see consistent_hash.h.
 */
#include "sharding/consistent_hash.h"

#include "base/assert.h"
#include "base/compiler.h"
#include "base/endian.h"
#include "base/hash.h"

#include <stdbool.h>

/* Fixed for ever: every node of a cluster must compute the same ring. */
static const uint64_t POINT_SEED = UINT64_C(0x72696e67706f6931);

static void points_sort(const struct ring_member *members, struct ring_point *points,
                        uint32_t count);

uint32_t ring_size(const struct ring_member *members, uint32_t count)
{
    ASSERT(count <= RAFT_PEERS_MAX);
    uint32_t size = 0;
    for (uint32_t i = 0; i < count; i++) {
        ASSERT(members[i].weight >= 1);
        ASSERT(members[i].weight <= RING_WEIGHT_MAX);
        size += members[i].weight * RING_POINTS_PER_WEIGHT;
    }
    return size;
}

static uint64_t point_position(uint64_t node, uint32_t at)
{
    char key[12];
    store_u64(key, node);
    store_u32(key + 8, at);
    return hash_key(slice_make(key, sizeof(key)), POINT_SEED);
}

void ring_build(const struct ring_member *members, uint32_t count, struct ring_point *out_points)
{
    uint32_t size = 0;
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t at = 0; at < members[i].weight * RING_POINTS_PER_WEIGHT; at++) {
            out_points[size++] = (struct ring_point){
                .position = point_position(members[i].node, at),
                .member = i,
            };
        }
    }
    ASSERT(size == ring_size(members, count));
    points_sort(members, out_points, size);
}

/* Equal positions are ordered by node, which does not depend on the list's order. */
static bool is_after(const struct ring_member *members, const struct ring_point *a,
                     const struct ring_point *b)
{
    return a->position != b->position ? a->position > b->position
                                      : members[a->member].node > members[b->member].node;
}

/* Shell's sort with Ciura's gaps: in place, and fast enough for what changes with the members. */
static void points_sort(const struct ring_member *members, struct ring_point *points,
                        uint32_t count)
{
    static const uint32_t gaps[] = { 7983, 3548, 1577, 701, 301, 132, 57, 23, 10, 4, 1 };
    for (size_t g = 0; g < ARRAY_COUNT(gaps); g++) {
        for (uint32_t i = gaps[g]; i < count; i++) {
            struct ring_point point = points[i];
            uint32_t to = i;
            while (to >= gaps[g] && is_after(members, &points[to - gaps[g]], &point)) {
                points[to] = points[to - gaps[g]];
                to -= gaps[g];
            }
            points[to] = point;
        }
    }
}
