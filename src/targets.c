/*
 * targets.c — see targets.h.
 */
#include "targets.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"

/* Fixed for ever: every node of a cluster must compute the same. */
static const uint64_t ZONE_SEED = UINT64_C(0x7a6f6e6573656564);

static struct ring_member ring_member_of(const struct member *member)
{
    uint64_t zone = hash_key(slice_from(member->zone), ZONE_SEED);
    return (struct ring_member){
        .node = member->number,
        .zone = member->zone[0] == '\0' ? 0
                : zone != 0             ? zone
                                        : 1,
        .weight = member->weight,
    };
}

void targets_follow(struct targets *targets, const struct members *members, uint32_t partitions,
                    uint32_t replication_factor)
{
    ASSERT(members->epoch >= 1);
    if (targets->epoch == members->epoch && targets->replication_factor == replication_factor &&
        targets->placement.partitions == partitions) {
        return;
    }
    struct ring_member list[MEMBERS_MAX];
    uint32_t places[MEMBERS_MAX]; /* in the list of members */
    uint32_t count = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        bool is_placed = members->items[i].state == MEMBER_ACTIVE;
        list[count] = ring_member_of(&members->items[i]);
        targets->virtual_nodes[i] = is_placed ? ring_size(&list[count], 1) : 0;
        places[count] = i;
        count += is_placed;
    }
    ASSERT(count >= 1);
    struct placement_work *work = mem_alloc(sizeof(*work));
    placement_compute(list, count, partitions, replication_factor, work, &targets->placement);
    mem_free(work);
    mem_free(targets->points);
    targets->points_count = ring_size(list, count);
    targets->points = mem_alloc(targets->points_count * sizeof(*targets->points));
    ring_build(list, count, targets->points);
    for (uint32_t i = 0; i < targets->points_count; i++) {
        targets->points[i].member = places[targets->points[i].member];
    }
    targets->epoch = members->epoch;
    targets->replication_factor = replication_factor;
}

void targets_deinit(struct targets *targets)
{
    mem_free(targets->points);
    *targets = (struct targets){ .epoch = 0 };
}
