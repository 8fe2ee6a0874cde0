/*
 * migration_test.c — moves end where they should, and never pass through anything unsafe.
 *
 * The model knows nothing of the rules: a group is a list of members, each with a log that is
 * behind by so much; nodes live and die; a change of voters is carried out when the majorities that
 * Raft asks for live, and is then judged by what a group needs to survive.
 */
#include "sharding/migration.h"

#include "base/prng.h"
#include "test.h"

#include <string.h>

enum { NODES = 9, GROUPS_MAX = 40, LIVES = 3000, STEPS_MAX = 4000 };

struct place {
    bool holds, votes, should_hold, should_vote;
    uint32_t behind; /* steps until it has all */
};

struct group {
    struct place places[NODES];
    uint32_t leader;
    bool is_led; /* there is a majority for it */
    uint64_t bytes;
};

struct world {
    struct prng prng;
    struct group groups[GROUPS_MAX];
    uint32_t groups_count;
    bool is_alive[NODES];
    uint32_t changes;
};

static struct migration see(const struct world *world, const struct group *group)
{
    struct migration migration = { .leader = group->leader + 1, .bytes = group->bytes };
    for (uint32_t i = 0; i < NODES; i++) {
        const struct place *place = &group->places[i];
        if (place->holds || place->should_hold) {
            migration.nodes[migration.count++] = (struct migration_node){
                .node = i + 1,
                .incarnation = 1,
                .holds = place->holds,
                .votes = place->votes,
                .should_hold = place->should_hold,
                .should_vote = place->should_vote,
                .is_alive = world->is_alive[i],
                .is_ready = place->holds && world->is_alive[i] && place->behind == 0,
            };
        }
    }
    return migration;
}

/* Of those who vote, a majority lives and has everything. */
static bool is_safe(const struct world *world, const struct group *group)
{
    uint32_t voters = 0;
    uint32_t good = 0;
    for (uint32_t i = 0; i < NODES; i++) {
        const struct place *place = &group->places[i];
        voters += place->votes;
        good += place->votes && world->is_alive[i] && place->behind == 0;
    }
    return good > voters / 2;
}

/* What a leader has on its way to a node, and in all, keeps its bounds when it adds something.  (It
 * may come to more when it takes over what others have begun.) */
static void budgets_check(const struct world *world, uint32_t leader, uint32_t to)
{
    uint64_t bytes[2] = { 0 }; /* to that node, and in all */
    uint32_t counts[2] = { 0 };
    for (uint32_t g = 0; g < world->groups_count; g++) {
        const struct group *group = &world->groups[g];
        for (uint32_t node = 0; node < NODES; node++) {
            const struct place *place = &group->places[node];
            bool arrives = group->is_led && group->leader == leader && place->holds &&
                           !place->votes && place->behind > 0 && place->should_hold &&
                           world->is_alive[node];
            for (uint32_t i = node == to ? 0 : 1; arrives && i < 2; i++) {
                bytes[i] += group->bytes;
                counts[i]++;
            }
        }
    }
    CHECK(bytes[0] <= MIGRATION_NODE_BYTES || counts[0] == 1);
    CHECK(bytes[1] <= MIGRATION_LEADER_BYTES || counts[1] == 1);
}

/* Raft carries it out: both majorities live, as the leader is one of the old voters. */
static void change(struct world *world, struct group *group, const struct migration_step *step)
{
    bool had_vote[NODES];
    bool was_held[NODES];
    bool votes_differ = false;
    for (uint32_t i = 0; i < NODES; i++) {
        had_vote[i] = group->places[i].votes;
        was_held[i] = group->places[i].holds;
        group->places[i].holds = false;
        group->places[i].votes = false;
    }
    for (uint32_t i = 0; i < step->count; i++) {
        uint32_t at = (uint32_t)step->next[i].node - 1;
        struct place *place = &group->places[at];
        CHECK(!place->holds);
        place->holds = true;
        place->votes = step->next[i].votes;
        if (!was_held[at]) {
            CHECK(!place->votes); /* a newcomer learns first */
            CHECK(world->is_alive[at]);
            CHECK(place->should_hold);
            place->behind = 1 + (uint32_t)prng_below(&world->prng, 6);
            budgets_check(world, group->leader, at);
        }
    }
    for (uint32_t i = 0; i < NODES; i++) {
        votes_differ = votes_differ || had_vote[i] != group->places[i].votes;
    }
    if (votes_differ) {
        CHECK(is_safe(world, group));
    }
    world->changes++;
}

static bool is_settled(const struct group *group)
{
    for (uint32_t i = 0; i < NODES; i++) {
        const struct place *place = &group->places[i];
        if (place->holds != place->should_hold || place->votes != place->should_vote) {
            return false;
        }
    }
    return true;
}

/* A leader that lives and votes; false: there is no majority to have one. */
static bool leader_find(struct world *world, struct group *group)
{
    uint32_t voters = 0;
    uint32_t alive = 0;
    uint32_t first = NODES;
    for (uint32_t i = 0; i < NODES; i++) {
        bool lives = group->places[i].votes && world->is_alive[i];
        voters += group->places[i].votes;
        alive += lives;
        first = lives && group->places[i].behind == 0 && first == NODES ? i : first;
    }
    const struct place *now = &group->places[group->leader];
    group->is_led = alive > voters / 2 && first != NODES;
    if (!group->is_led) {
        return false;
    }
    if (!now->votes || !world->is_alive[group->leader] || now->behind > 0) {
        group->leader = first;
    }
    return true;
}

static void group_step(struct world *world, struct group *group, struct migration_budget *budget)
{
    struct migration migration = see(world, group);
    struct migration_step step;
    migration_next(&migration, budget, &step);
    switch (step.action) {
    case MIGRATION_DONE:
        CHECK(is_settled(group));
        CHECK_EQ(step.phase, MIGRATION_SETTLED);
        break;
    case MIGRATION_CHANGE:
        change(world, group, &step);
        break;
    case MIGRATION_LEAD: {
        const struct place *to = &group->places[step.leader - 1];
        CHECK(to->votes);
        CHECK(to->should_vote);
        CHECK_EQ(to->behind, 0);
        CHECK(world->is_alive[step.leader - 1]);
        group->leader = (uint32_t)step.leader - 1;
        break;
    }
    case MIGRATION_WAIT:
        CHECK(!is_settled(group));
        CHECK(step.phase != MIGRATION_SETTLED);
        break;
    }
}

static void world_step(struct world *world)
{
    for (uint32_t leader = 0; leader < NODES; leader++) {
        struct migration_budget budget = { .bytes = 0 };
        bool is_led[GROUPS_MAX];
        for (uint32_t g = 0; g < world->groups_count; g++) {
            struct group *group = &world->groups[g];
            is_led[g] = leader_find(world, group) && group->leader == leader;
            if (is_led[g]) {
                struct migration migration = see(world, group);
                migration_count(&migration, &budget);
            }
        }
        for (uint32_t g = 0; g < world->groups_count; g++) {
            if (is_led[g]) {
                group_step(world, &world->groups[g], &budget);
            }
        }
    }
    for (uint32_t g = 0; g < world->groups_count; g++) {
        for (uint32_t i = 0; i < NODES; i++) {
            struct place *place = &world->groups[g].places[i];
            place->behind -= place->holds && world->is_alive[i] && place->behind > 0;
        }
    }
}

static void target_choose(struct world *world, struct group *group)
{
    uint32_t voters = 1 + (uint32_t)prng_below(&world->prng, 5);
    uint32_t learners = (uint32_t)prng_below(&world->prng, 3);
    for (uint32_t i = 0; i < NODES; i++) {
        group->places[i].should_hold = group->places[i].should_vote = false;
    }
    while (voters + learners > 0) {
        struct place *place = &group->places[prng_below(&world->prng, NODES)];
        if (!place->should_hold) {
            place->should_hold = true;
            place->should_vote = voters > 0;
            voters > 0 ? voters-- : learners--;
        }
    }
}

static void world_init(struct world *world, uint64_t seed)
{
    *world = (struct world){ .groups_count = 1 };
    prng_init(&world->prng, seed);
    world->groups_count += (uint32_t)prng_below(&world->prng, GROUPS_MAX);
    for (uint32_t i = 0; i < NODES; i++) {
        world->is_alive[i] = true;
    }
    for (uint32_t g = 0; g < world->groups_count; g++) {
        struct group *group = &world->groups[g];
        group->bytes = prng_below(&world->prng, 2) == 0
                           ? prng_below(&world->prng, MIGRATION_NODE_BYTES)
                           : prng_below(&world->prng, 2 * MIGRATION_LEADER_BYTES);
        target_choose(world, group);
        for (uint32_t i = 0; i < NODES; i++) {
            struct place *place = &group->places[i];
            place->holds = place->should_hold;
            place->votes = place->should_vote;
            group->leader = place->votes ? i : group->leader;
        }
        target_choose(world, group);
    }
}

static bool all_settled(const struct world *world)
{
    for (uint32_t g = 0; g < world->groups_count; g++) {
        if (!is_settled(&world->groups[g])) {
            return false;
        }
    }
    return true;
}

static void run_until_settled(struct world *world)
{
    uint32_t steps = 0;
    while (!all_settled(world) && steps < STEPS_MAX) {
        world_step(world);
        steps++;
    }
    CHECK(steps < STEPS_MAX);
}

TEST(moves_end_at_their_targets)
{
    for (unsigned life = 0; life < LIVES / 10; life++) {
        struct world world;
        world_init(&world, life);
        run_until_settled(&world);
        uint32_t changes = world.changes;
        world_step(&world);
        CHECK_EQ(world.changes, changes);
    }
}

/* Nodes die and come back, targets change half-way; when all live again, every move ends. */
TEST(moves_end_after_any_failures)
{
    for (unsigned life = 0; life < LIVES; life++) {
        struct world world;
        world_init(&world, 1000 + life);
        for (unsigned step = 0; step < 40; step++) {
            uint32_t node = (uint32_t)prng_below(&world.prng, NODES);
            if (prng_chance(&world.prng, 1, 3)) {
                world.is_alive[node] = !world.is_alive[node];
            }
            if (prng_chance(&world.prng, 1, 10)) {
                target_choose(&world, &world.groups[prng_below(&world.prng, world.groups_count)]);
            }
            world_step(&world);
        }
        for (uint32_t i = 0; i < NODES; i++) {
            world.is_alive[i] = true;
        }
        run_until_settled(&world);
    }
}

/* ── single cases ────────────────────────────────────────────────────────────────────────────── */

static struct migration three(void)
{
    struct migration migration = { .count = 4, .leader = 1 };
    for (uint32_t i = 0; i < 4; i++) {
        migration.nodes[i] = (struct migration_node){
            .node = i + 1,
            .incarnation = 1,
            .holds = true,
            .votes = i < 3,
            .should_hold = i != 2,
            .should_vote = i != 2,
            .is_alive = true,
            .is_ready = true,
        };
    }
    return migration;
}

static struct migration_step next(const struct migration *migration)
{
    struct migration_budget budget = { .bytes = 0 };
    struct migration_step step;
    migration_count(migration, &budget);
    migration_next(migration, &budget, &step);
    return step;
}

TEST(a_swap_needs_a_majority_that_lives_and_has_caught_up)
{
    struct migration migration = three();
    CHECK_EQ(next(&migration).action, MIGRATION_CHANGE);
    CHECK_EQ(next(&migration).phase, MIGRATION_SWITCHING);
    migration.nodes[1].is_alive = false; /* 1 and 4 are enough */
    CHECK_EQ(next(&migration).action, MIGRATION_CHANGE);
    migration.nodes[3].is_ready = false;
    CHECK_EQ(next(&migration).phase, MIGRATION_COPYING);
    migration.nodes[3].is_alive = false;
    CHECK_EQ(next(&migration).phase, MIGRATION_ABSENT);
    migration = three();
    migration.nodes[0].is_ready = false; /* of a group that is led by another one */
    migration.nodes[1].is_ready = false;
    CHECK_EQ(next(&migration).action, MIGRATION_WAIT);
    CHECK_EQ(next(&migration).phase, MIGRATION_UNSAFE);
}

TEST(a_leader_that_goes_hands_over_first)
{
    struct migration migration = three();
    migration.leader = 3;
    struct migration_step step = next(&migration);
    CHECK_EQ(step.action, MIGRATION_LEAD);
    CHECK_EQ(step.leader, 1);
    migration.nodes[0].is_alive = false;
    CHECK_EQ(next(&migration).leader, 2);
    migration = three();
    migration.leader = 3; /* nobody who stays votes yet */
    migration.nodes[0].should_hold = migration.nodes[0].should_vote = false;
    migration.nodes[1].should_hold = migration.nodes[1].should_vote = false;
    step = next(&migration);
    CHECK_EQ(step.action, MIGRATION_CHANGE);
    CHECK_EQ(step.count, 1);
    CHECK(step.next[0].votes);
}

/* A wiped disk: the old member goes, voter or not, then the new one comes; a lone voter never. */
TEST(a_wiped_disk_is_another_member)
{
    struct migration migration = three();
    migration.nodes[3] = migration.nodes[2];
    migration.nodes[2].is_alive = migration.nodes[2].is_ready = false;
    migration.nodes[3].incarnation = 2;
    migration.nodes[3].holds = migration.nodes[3].votes = false;
    migration.nodes[3].should_hold = migration.nodes[3].should_vote = true;
    struct migration_step step = next(&migration);
    CHECK_EQ(step.action, MIGRATION_CHANGE);
    CHECK_EQ(step.count, 2);
    migration.nodes[1].is_alive = false; /* then none would be left to decide */
    CHECK_EQ(next(&migration).action, MIGRATION_WAIT);
    migration = three();
    migration.count = 2;
    migration.nodes[1] = migration.nodes[0];
    migration.nodes[0].should_hold = migration.nodes[0].should_vote = false;
    migration.nodes[1].incarnation = 2;
    migration.nodes[1].holds = migration.nodes[1].votes = false;
    CHECK_EQ(next(&migration).action, MIGRATION_WAIT);
}

TEST(a_dead_node_is_not_added_and_costs_nothing)
{
    struct migration migration = three();
    struct migration_budget budget = { .bytes = 0 };
    struct migration_step step;
    migration.nodes[3].holds = migration.nodes[3].is_alive = false;
    CHECK_EQ(next(&migration).phase, MIGRATION_ABSENT);
    migration.nodes[3].holds = true; /* it died on its way */
    migration_count(&migration, &budget);
    CHECK_EQ(budget.bytes, 0);
    migration.nodes[3].is_alive = true;
    migration.nodes[3].is_ready = false;
    migration.bytes = 3 * (uint64_t)MIGRATION_LEADER_BYTES; /* one may be larger than all bounds */
    migration_count(&migration, &budget);
    CHECK_EQ(budget.bytes, migration.bytes);
    migration.nodes[3].holds = false;
    migration_next(&migration, &budget, &step);
    CHECK_EQ(step.action, MIGRATION_WAIT);
    CHECK_EQ(step.phase, MIGRATION_QUEUED);
    CHECK_EQ(next(&migration).action, MIGRATION_CHANGE);
}

TEST(every_phase_has_a_name)
{
    for (uint32_t phase = 0; phase < MIGRATION_PHASES; phase++) {
        CHECK(strlen(migration_phase_name((enum migration_phase)phase)) > 0);
    }
}

TEST_MAIN
