/*
 * placement_test.c — properties of the placement over thousands of random clusters: every replica
 * on a node of its own, zones spread, loads within their bounds, little movement, one answer.
 */
#include "sharding/placement.h"

#include "base/compiler.h"
#include "base/prng.h"
#include "sharding/partition.h"
#include "test.h"

enum { PARTITIONS = 256, CLUSTERS = 400, FACTOR = 3 };

struct cluster {
    struct ring_member members[RAFT_PEERS_MAX];
    uint32_t count;
};

static struct placement_work work;

static struct ring_member random_member(struct prng *prng)
{
    return (struct ring_member){ .node = prng_next(prng) | 1, .weight = 1 };
}

static struct cluster random_cluster(struct prng *prng, uint32_t count)
{
    struct cluster cluster = { .count = count };
    for (uint32_t i = 0; i < count; i++) {
        cluster.members[i] = random_member(prng);
    }
    return cluster;
}

static void place(const struct cluster *cluster, uint32_t partitions, uint32_t factor,
                  struct placement *out)
{
    placement_compute(cluster->members, cluster->count, partitions, factor, &work, out);
}

static const struct ring_member *member_of(const struct cluster *cluster,
                                           const struct placement *placement, uint32_t at)
{
    for (uint32_t i = 0; i < cluster->count; i++) {
        if (cluster->members[i].node == placement->nodes[at]) {
            return &cluster->members[i];
        }
    }
    abort();
}

static bool holds(const struct placement *placement, uint32_t partition, uint64_t node)
{
    for (uint32_t r = 0; r < placement->replicas_count; r++) {
        if (placement->nodes[placement->replicas[partition][r]] == node) {
            return true;
        }
    }
    return false;
}

static void loads_count(const struct placement *placement, uint32_t held[RAFT_PEERS_MAX],
                        uint32_t led[RAFT_PEERS_MAX])
{
    memset(held, 0, RAFT_PEERS_MAX * sizeof(*held));
    memset(led, 0, RAFT_PEERS_MAX * sizeof(*led));
    for (uint32_t p = 0; p < placement->partitions; p++) {
        led[placement->replicas[p][0]]++;
        for (uint32_t r = 0; r < placement->replicas_count; r++) {
            held[placement->replicas[p][r]]++;
        }
    }
}

/* Replicas in `after` that `before` has not. */
static uint32_t moved(const struct placement *before, const struct placement *after)
{
    uint32_t count = 0;
    for (uint32_t p = 0; p < after->partitions; p++) {
        for (uint32_t r = 0; r < after->replicas_count; r++) {
            count += !holds(before, p, after->nodes[after->replicas[p][r]]);
        }
    }
    return count;
}

static uint32_t led_elsewhere(const struct placement *before, const struct placement *after)
{
    uint32_t count = 0;
    for (uint32_t p = 0; p < after->partitions; p++) {
        count += before->nodes[before->replicas[p][0]] != after->nodes[after->replicas[p][0]];
    }
    return count;
}

static bool placements_equal(const struct placement *a, const struct placement *b)
{
    return a->members_count == b->members_count && a->partitions == b->partitions &&
           a->replicas_count == b->replicas_count &&
           memcmp(a->nodes, b->nodes, sizeof(a->nodes)) == 0 &&
           memcmp(a->replicas, b->replicas, sizeof(a->replicas)) == 0 &&
           memcmp(a->meta, b->meta, sizeof(a->meta)) == 0;
}

static bool are_distinct(const struct placement *placement, const uint8_t *replicas)
{
    uint32_t seen = 0;
    for (uint32_t r = 0; r < placement->replicas_count; r++) {
        uint32_t bit = UINT32_C(1) << replicas[r];
        if (replicas[r] >= placement->members_count || (seen & bit) != 0) {
            return false;
        }
        seen |= bit;
    }
    return true;
}

/* ── what always holds ───────────────────────────────────────────────────────────────────────── */

/* Any size, weights and zones. */
static struct cluster wild_cluster(struct prng *prng)
{
    struct cluster cluster = random_cluster(prng, 1 + (uint32_t)prng_below(prng, RAFT_PEERS_MAX));
    uint32_t zones = (uint32_t)prng_below(prng, 6);
    uint32_t weights =
        1 + (uint32_t)prng_below(prng, prng_chance(prng, 1, 10) ? RING_WEIGHT_MAX : 4);
    for (uint32_t i = 0; i < cluster.count; i++) {
        cluster.members[i].weight = 1 + (uint32_t)prng_below(prng, weights);
        cluster.members[i].zone = zones > 0 ? prng_below(prng, zones + 1) : 0; /* 0: none */
    }
    return cluster;
}

TEST(replicas_are_distinct_nodes)
{
    struct prng prng;
    static struct placement placement;
    prng_init(&prng, 1);
    for (unsigned round = 0; round < CLUSTERS; round++) {
        struct cluster cluster = wild_cluster(&prng);
        uint32_t factor = 1 + (uint32_t)prng_below(&prng, RAFT_VOTERS_MAX);
        uint32_t partitions = UINT32_C(1) << (4 + prng_below(&prng, 6));
        place(&cluster, partitions, factor, &placement);
        CHECK_EQ(placement.partitions, partitions);
        CHECK_EQ(placement.members_count, cluster.count);
        CHECK_EQ(placement.replicas_count, factor < cluster.count ? factor : cluster.count);
        CHECK(are_distinct(&placement, placement.meta));
        for (uint32_t p = 0; p < partitions; p++) {
            CHECK(are_distinct(&placement, placement.replicas[p]));
        }
    }
}

/* Nothing but the list decides: neither what was computed before, nor what memory holds. */
TEST(the_same_list_has_one_answer)
{
    struct prng prng;
    static struct placement one;
    static struct placement two;
    prng_init(&prng, 2);
    for (unsigned round = 0; round < CLUSTERS; round++) {
        struct cluster cluster = wild_cluster(&prng);
        place(&cluster, PARTITIONS, FACTOR, &one);
        memset(&work, (int)prng_below(&prng, 256), sizeof(work));
        memset(&two, 0xA5, sizeof(two));
        place(&cluster, PARTITIONS, FACTOR, &two);
        CHECK(placements_equal(&one, &two));
    }
}

static uint64_t digest_of(const struct cluster *cluster)
{
    static struct placement placement;
    uint64_t digest = 0;
    place(cluster, PARTITIONS, FACTOR, &placement);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        for (uint32_t r = 0; r < FACTOR; r++) {
            digest = (digest ^ placement.replicas[p][r]) * UINT64_C(0x100000001b3);
        }
    }
    return digest;
}

/* Nodes of every version must agree, for ever. */
TEST(the_answer_never_changes)
{
    struct cluster cluster = { .count = 7 };
    for (uint32_t i = 0; i < cluster.count; i++) {
        cluster.members[i] =
            (struct ring_member){ .node = 1000 + i, .zone = i % 4, .weight = 1 + i % 3 };
    }
    CHECK_EQ(digest_of(&cluster), UINT64_C(12877728326198512164));
    struct prng prng; /* without zones, where the cap has a say */
    uint64_t digest = 0;
    prng_init(&prng, 12);
    for (unsigned round = 0; round < 32; round++) {
        cluster = random_cluster(&prng, 12);
        digest = digest * 31 + digest_of(&cluster);
    }
    CHECK_EQ(digest, UINT64_C(15076061780935771794));
}

/* The greatest difference is one between zones that could both have had the replica. */
static bool zones_are_spread(const struct cluster *cluster, const struct placement *placement,
                             const uint8_t *replicas)
{
    uint32_t in_zone[RAFT_PEERS_MAX] = { 0 }; /* by the zone's first member */
    uint32_t free_in_zone[RAFT_PEERS_MAX] = { 0 };
    for (uint32_t i = 0; i < placement->members_count; i++) {
        uint64_t zone = member_of(cluster, placement, i)->zone;
        uint32_t first = 0;
        while (first < i && (zone == 0 || member_of(cluster, placement, first)->zone != zone)) {
            first++;
        }
        bool is_holder = memchr(replicas, (int)i, placement->replicas_count) != NULL;
        *(is_holder ? &in_zone[first] : &free_in_zone[first]) += 1;
    }
    for (uint32_t a = 0; a < placement->members_count; a++) {
        for (uint32_t b = 0; b < placement->members_count; b++) {
            if (free_in_zone[b] > 0 && in_zone[a] > in_zone[b] + 1) {
                return false;
            }
        }
    }
    return true;
}

TEST(replicas_are_spread_over_zones)
{
    struct prng prng;
    static struct placement placement;
    prng_init(&prng, 3);
    for (unsigned round = 0; round < CLUSTERS; round++) {
        struct cluster cluster = wild_cluster(&prng);
        uint32_t factor = 1 + (uint32_t)prng_below(&prng, RAFT_VOTERS_MAX);
        place(&cluster, 64, factor, &placement);
        CHECK(zones_are_spread(&cluster, &placement, placement.meta));
        for (uint32_t p = 0; p < 64; p++) {
            CHECK(zones_are_spread(&cluster, &placement, placement.replicas[p]));
        }
    }
}

/* ── balance ─────────────────────────────────────────────────────────────────────────────────── */

TEST(nodes_carry_alike)
{
    struct prng prng;
    static struct placement placement;
    prng_init(&prng, 4);
    for (unsigned round = 0; round < 3 * CLUSTERS; round++) {
        struct cluster cluster = random_cluster(&prng, 3 + (uint32_t)prng_below(&prng, 10));
        uint32_t held[RAFT_PEERS_MAX];
        uint32_t led[RAFT_PEERS_MAX];
        place(&cluster, PARTITIONS, FACTOR, &placement);
        loads_count(&placement, held, led);
        for (uint32_t i = 0; i < cluster.count; i++) {
            uint32_t share = PARTITIONS * FACTOR / cluster.count;
            CHECK(held[i] * 100 * cluster.count <= PARTITIONS * FACTOR * 105);
            CHECK(held[i] * 100 >= share * 70);
            CHECK(led[i] == PARTITIONS / cluster.count || led[i] == PARTITIONS / cluster.count + 1);
        }
    }
}

TEST(three_nodes_lead_86_85_85)
{
    struct prng prng;
    static struct placement placement;
    prng_init(&prng, 5);
    for (unsigned round = 0; round < CLUSTERS; round++) {
        struct cluster cluster = random_cluster(&prng, 3);
        uint32_t held[RAFT_PEERS_MAX];
        uint32_t led[RAFT_PEERS_MAX];
        place(&cluster, PARTITIONS, FACTOR, &placement);
        loads_count(&placement, held, led);
        CHECK_EQ((led[0] == 86) + (led[1] == 86) + (led[2] == 86), 1);
        CHECK_EQ(led[0] + led[1] + led[2], 256);
        CHECK(led[0] >= 85 && led[1] >= 85 && led[2] >= 85);
    }
}

/* A node twice another's weight carries twice as much, until it holds every partition. */
TEST(weights_are_respected)
{
    struct prng prng;
    static struct placement placement;
    prng_init(&prng, 6);
    for (unsigned round = 0; round < CLUSTERS; round++) {
        struct cluster cluster = random_cluster(&prng, 6 + (uint32_t)prng_below(&prng, 7));
        uint32_t sum = 0;
        for (uint32_t i = 0; i < cluster.count; i++) {
            cluster.members[i].weight = 1 + (uint32_t)prng_below(&prng, 2);
            sum += cluster.members[i].weight;
        }
        uint32_t held[RAFT_PEERS_MAX];
        uint32_t led[RAFT_PEERS_MAX];
        place(&cluster, PARTITIONS, FACTOR, &placement);
        loads_count(&placement, held, led);
        for (uint32_t i = 0; i < cluster.count; i++) {
            uint32_t weight = member_of(&cluster, &placement, i)->weight;
            uint32_t share = PARTITIONS * FACTOR * weight / sum;
            CHECK(held[i] <= share + share * 5 / 100 + 1);
            CHECK(held[i] * 100 >= share * 70);
            CHECK(led[i] >= PARTITIONS * weight / sum);
            CHECK(led[i] <= PARTITIONS * weight / sum + 1);
        }
    }
}

TEST(a_heavy_node_holds_everything_once)
{
    struct prng prng;
    static struct placement placement;
    prng_init(&prng, 7);
    for (unsigned round = 0; round < CLUSTERS; round++) {
        struct cluster cluster = random_cluster(&prng, 5);
        uint32_t held[RAFT_PEERS_MAX];
        uint32_t led[RAFT_PEERS_MAX];
        cluster.members[0].weight = 16;
        place(&cluster, PARTITIONS, FACTOR, &placement);
        loads_count(&placement, held, led);
        for (uint32_t i = 0; i < cluster.count; i++) {
            bool is_heavy = placement.nodes[i] == cluster.members[0].node;
            CHECK(held[i] <= (is_heavy ? PARTITIONS : PARTITIONS / 2 * 105 / 100));
            CHECK(!is_heavy || held[i] > PARTITIONS * 8 / 10);
        }
    }
}

/* Three zones of any sizes: each holds everything once, and shares it out evenly. */
TEST(nodes_of_a_zone_share_what_it_holds)
{
    struct prng prng;
    static struct placement placement;
    prng_init(&prng, 8);
    for (unsigned round = 0; round < CLUSTERS; round++) {
        struct cluster cluster = random_cluster(&prng, 3 + (uint32_t)prng_below(&prng, 10));
        uint32_t size[4] = { 0 };
        for (uint32_t i = 0; i < cluster.count; i++) {
            uint64_t zone = i < 3 ? i + 1 : 1 + prng_below(&prng, 3);
            cluster.members[i].zone = zone;
            size[zone]++;
        }
        uint32_t held[RAFT_PEERS_MAX];
        uint32_t led[RAFT_PEERS_MAX];
        place(&cluster, PARTITIONS, FACTOR, &placement);
        loads_count(&placement, held, led);
        for (uint32_t i = 0; i < cluster.count; i++) {
            uint32_t share = PARTITIONS / size[member_of(&cluster, &placement, i)->zone];
            CHECK(held[i] <= share + 1 + share * 5 / 100);
        }
    }
}

/* ── movement ────────────────────────────────────────────────────────────────────────────────── */

/* Of many changes: how many replicas and leaders moved, against the share of who came or went. */
struct movement {
    uint64_t moved, led;
    double ideal, led_ideal;
    uint32_t count;
    double ratios[9 * CLUSTERS];
};

static struct movement joins;
static struct movement leaves;

static void movement_add(struct movement *sum, const struct cluster *before,
                         const struct cluster *after, double ideal)
{
    static struct placement one;
    static struct placement two;
    uint32_t larger = before->count > after->count ? before->count : after->count;
    place(before, PARTITIONS, FACTOR, &one);
    place(after, PARTITIONS, FACTOR, &two);
    uint32_t count = moved(&one, &two);
    sum->moved += count;
    sum->ideal += ideal;
    sum->led += led_elsewhere(&one, &two);
    sum->led_ideal += (double)PARTITIONS / larger;
    CHECK(sum->count < ARRAY_COUNT(sum->ratios));
    sum->ratios[sum->count++] = count / ideal;
}

static int ratio_compare(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return (left > right) - (left < right);
}

static double movement_worst(struct movement *sum, const char *what)
{
    qsort(sum->ratios, sum->count, sizeof(sum->ratios[0]), ratio_compare);
    double worst = sum->ratios[sum->count - 1];
    if (getenv("MEASURE") != NULL) {
        printf("%s: %u, moved %.3f of the ideal, 99 of 100 %.3f, worst %.3f; led %.3f\n", what,
               sum->count, (double)sum->moved / sum->ideal, sum->ratios[sum->count * 99 / 100],
               worst, (double)sum->led / sum->led_ideal);
    }
    return worst;
}

static double weights_sum(const struct cluster *cluster)
{
    double sum = 0;
    for (uint32_t i = 0; i < cluster->count; i++) {
        sum += cluster->members[i].weight;
    }
    return sum;
}

/* The newcomer's fair share, as long as it is not more than everything once. */
static void join_measure(struct movement *sum, struct cluster *cluster, struct ring_member newcomer)
{
    struct cluster before = *cluster;
    cluster->members[cluster->count++] = newcomer;
    double ideal = (double)PARTITIONS * FACTOR * newcomer.weight / weights_sum(cluster);
    movement_add(sum, &before, cluster, ideal < PARTITIONS ? ideal : PARTITIONS);
}

static void leave_measure(struct movement *sum, struct cluster *cluster, uint32_t at)
{
    struct cluster before = *cluster;
    double ideal = (double)PARTITIONS * FACTOR * cluster->members[at].weight / weights_sum(cluster);
    cluster->count--;
    memmove(&cluster->members[at], &cluster->members[at + 1],
            (cluster->count - at) * sizeof(cluster->members[0]));
    movement_add(sum, &before, cluster, ideal < PARTITIONS ? ideal : PARTITIONS);
}

static void movements_clear(void)
{
    memset(&joins, 0, sizeof(joins));
    memset(&leaves, 0, sizeof(leaves));
}

/* Clusters that grow from 3 to 12; out of each that they are on the way, one goes. */
TEST(a_member_that_joins_or_leaves_moves_little_else)
{
    struct prng prng;
    prng_init(&prng, 9);
    movements_clear();
    for (unsigned round = 0; round < CLUSTERS / 2; round++) {
        struct cluster cluster = random_cluster(&prng, 3);
        while (cluster.count < 12) {
            join_measure(&joins, &cluster, random_member(&prng));
            struct cluster left = cluster;
            leave_measure(&leaves, &left, (uint32_t)prng_below(&prng, left.count));
        }
    }
    CHECK(movement_worst(&joins, "join") <= 1.10);
    CHECK(movement_worst(&leaves, "leave") <= 1.35); /* of 64 replicas: chance has a say */
    CHECK((double)joins.moved <= joins.ideal * 1.05);
    CHECK((double)leaves.moved <= leaves.ideal * 1.06);
    CHECK((double)joins.led <= joins.led_ideal * 1.5);
}

/* Any of them goes; who went last may come back, at the end of the list. */
TEST(histories_of_joins_and_leaves_move_little_else)
{
    struct prng prng;
    prng_init(&prng, 10);
    movements_clear();
    for (unsigned round = 0; round < CLUSTERS / 10; round++) {
        struct cluster cluster = random_cluster(&prng, 3);
        struct ring_member gone = random_member(&prng);
        for (unsigned step = 0; step < 60; step++) {
            bool may_join = cluster.count < 12;
            bool may_leave = cluster.count > 3;
            if (may_join && (!may_leave || prng_chance(&prng, 1, 2))) {
                join_measure(&joins, &cluster, gone);
                gone = random_member(&prng);
            } else {
                uint32_t at = (uint32_t)prng_below(&prng, cluster.count);
                gone = cluster.members[at];
                leave_measure(&leaves, &cluster, at);
            }
        }
    }
    CHECK(movement_worst(&joins, "history, join") <= 1.10);
    CHECK(movement_worst(&leaves, "history, leave") <= 1.35);
}

TEST(weights_and_zones_move_little_else)
{
    struct prng prng;
    prng_init(&prng, 11);
    movements_clear();
    static struct movement zoned;
    for (unsigned round = 0; round < CLUSTERS / 4; round++) {
        struct cluster cluster = random_cluster(&prng, 3);
        struct cluster of_zones = cluster;
        for (uint32_t i = 0; i < 3; i++) {
            of_zones.members[i].zone = i + 1;
        }
        while (cluster.count < 12) {
            struct ring_member newcomer = random_member(&prng);
            newcomer.zone = of_zones.count % 3 + 1; /* three zones of the same size */
            join_measure(&zoned, &of_zones, newcomer);
            newcomer.zone = 0;
            newcomer.weight = 1 + (uint32_t)prng_below(&prng, 2);
            join_measure(&joins, &cluster, newcomer);
            struct cluster left = cluster;
            leave_measure(&leaves, &left, (uint32_t)prng_below(&prng, left.count));
        }
    }
    CHECK(movement_worst(&zoned, "zones, join") <= 1.20);
    CHECK(movement_worst(&joins, "weights, join") <= 1.20);
    CHECK(movement_worst(&leaves, "weights, leave") <= 1.60);
}

/* ── partitions and slots ────────────────────────────────────────────────────────────────────── */

TEST(partitions_cover_slots_and_circle)
{
    for (uint32_t count = PARTITIONS_MIN; count <= PARTITIONS_MAX; count *= 2) {
        CHECK(partition_count_is_valid(count));
        CHECK(!partition_count_is_valid(count + 1));
        CHECK_EQ(partition_slots(count) * count, SLOTS_COUNT);
        CHECK_EQ(partition_position(0, count), 0);
        CHECK_EQ(partition_position(count - 1, count) + partition_position(1, count), 0);
        for (uint32_t slot = 0; slot < SLOTS_COUNT; slot++) {
            uint32_t partition = partition_of_slot(slot, count);
            CHECK(partition < count);
            CHECK(partition_first_slot(partition, count) <= slot);
            CHECK(slot < partition_first_slot(partition, count) + partition_slots(count));
        }
    }
}

TEST_MAIN
