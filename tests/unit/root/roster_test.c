/*
 * roster_test.c — what the leader of the meta group makes of the members.
 *
 * A world of members, some dead for a while, some draining: the leader looks every quarter of a
 * second, and its changes are applied at once, as the log would.
 */
#include "roster.h"

#include "base/prng.h"
#include "test.h"

enum { STEP_MS = 250 };

struct world {
    struct members members;
    struct roster roster;
    struct roster_fact facts[MEMBERS_MAX];
    uint64_t now_ms, term;
    uint32_t changes; /* proposed so far */
    struct roster_change last;
};

static struct member make(unsigned i)
{
    struct member member = { .incarnation = 100 + i,
                             .cluster_port = 8001,
                             .port = 7001,
                             .weight = 1,
                             .state = MEMBER_ACTIVE };
    (void)snprintf(member.id, sizeof(member.id), "n%u", i);
    (void)snprintf(member.host, sizeof(member.host), "10.0.0.%u", i);
    member.number = members_number(member.id);
    return member;
}

static void apply(struct world *world, const struct roster_change *change)
{
    struct buffer body = { 0 };
    if (change->change == MEMBER_SETTING) {
        members_settings_encode(change->settings, change->settings_count, &body);
    } else {
        members_change_encode(change->change, &change->member, &body);
    }
    CHECK(members_apply(&world->members, buffer_slice(&body), world->members.index + 1, 1));
    buffer_free(&body);
}

static void world_init(struct world *world, uint32_t count, uint64_t factor, uint64_t after_s)
{
    struct member self = make(1);
    *world = (struct world){ .now_ms = 1000000, .term = 7 };
    members_found(&world->members, &self);
    for (unsigned i = 2; i <= count; i++) {
        struct roster_change add = { .change = MEMBER_ADD, .member = make(i) };
        apply(world, &add);
    }
    world->members.settings.values[SETTING_REPLICATION_FACTOR] = factor;
    world->members.settings.values[SETTING_DOWN_REPLACE_AFTER] = after_s;
    for (unsigned i = 0; i < MEMBERS_MAX; i++) {
        world->facts[i] = (struct roster_fact){ .is_alive = true, .is_free = false };
    }
}

/* One look; true when something was proposed (and has happened). */
static bool step(struct world *world)
{
    world->now_ms += STEP_MS;
    roster_look(&world->roster, &world->members, world->facts, world->term, world->now_ms);
    if (!roster_next(&world->roster, &world->members, world->facts, 3, world->now_ms,
                     &world->last)) {
        return false;
    }
    world->changes++;
    apply(world, &world->last);
    return true;
}

static uint32_t run(struct world *world, uint64_t ms)
{
    uint32_t changes = 0;
    for (uint64_t end_ms = world->now_ms + ms; world->now_ms < end_ms;) {
        changes += step(world);
    }
    return changes;
}

static void die(struct world *world, uint32_t at)
{
    world->facts[at].is_alive = false;
    world->facts[at].is_dead = true;
}

static void rise(struct world *world, uint32_t at)
{
    world->facts[at].is_alive = true;
    world->facts[at].is_dead = false;
}

static unsigned state(const struct world *world, uint32_t at)
{
    return world->members.items[at].state;
}

TEST(a_healthy_cluster_is_left_alone)
{
    struct world world;
    world_init(&world, 5, 3, 10);
    CHECK_EQ(run(&world, 100000), 0);
}

TEST(the_factor_of_an_old_list_is_fixed)
{
    struct world world;
    world_init(&world, 3, 0, 10);
    CHECK(step(&world));
    CHECK_EQ(world.members.settings.values[SETTING_REPLICATION_FACTOR], 3);
    CHECK_EQ(run(&world, 10000), 0);
}

TEST(the_dead_are_replaced_in_time_and_come_back)
{
    struct world world;
    world_init(&world, 4, 3, 10);
    CHECK_EQ(run(&world, 5000), 0);
    die(&world, 2);
    CHECK_EQ(run(&world, 10000), 0);
    CHECK_EQ(run(&world, 500), 1);
    CHECK_EQ(state(&world, 2), MEMBER_DOWN);
    rise(&world, 2);
    CHECK_EQ(run(&world, ROSTER_BACK_MS - 500), 0);
    die(&world, 2); /* not for long enough */
    CHECK_EQ(run(&world, 60000), 0);
    rise(&world, 2);
    CHECK_EQ(run(&world, ROSTER_BACK_MS + 500), 1);
    CHECK_EQ(state(&world, 2), MEMBER_ACTIVE);
    CHECK_EQ(run(&world, 60000), 0);
}

TEST(never_means_never)
{
    struct world world;
    world_init(&world, 5, 3, 0);
    die(&world, 1);
    CHECK_EQ(run(&world, 10000000), 0);
}

/* Neither dead nor alive: nobody is replaced for being suspected. */
TEST(the_suspect_are_left_alone)
{
    struct world world;
    world_init(&world, 5, 3, 10);
    world.facts[1].is_alive = false;
    CHECK_EQ(run(&world, 1000000), 0);
}

TEST(a_new_leader_counts_anew)
{
    struct world world;
    world_init(&world, 4, 3, 10);
    die(&world, 2);
    for (unsigned i = 0; i < 20; i++) {
        CHECK_EQ(run(&world, 9000), 0);
        world.term++;
    }
    CHECK_EQ(run(&world, 10500), 1);
}

/* With so many dead, those who live would hold fewer replicas. */
TEST(never_too_many_are_replaced)
{
    for (uint32_t factor = 1; factor <= RAFT_VOTERS_MAX; factor++) {
        for (uint32_t count = 1; count <= MEMBERS_MAX; count++) {
            struct world world;
            world_init(&world, count, factor, 10);
            for (uint32_t dead = 1; dead < count; dead++) {
                die(&world, dead);
                (void)run(&world, 15000);
                uint32_t fewest = roster_fewest(&world.members);
                uint32_t alive = count - dead;
                CHECK_EQ(state(&world, dead) == MEMBER_DOWN, alive >= fewest);
                CHECK(members_active(&world.members) >= (count < fewest ? count : fewest));
            }
        }
    }
}

TEST(a_drained_member_leaves_when_nothing_names_it)
{
    struct world world;
    world_init(&world, 4, 3, 10);
    struct roster_change drain = { .change = MEMBER_STATE, .member = world.members.items[1] };
    drain.member.state = MEMBER_DRAINING;
    apply(&world, &drain);
    CHECK_EQ(run(&world, 60000), 0);
    world.facts[1].is_free = true;
    CHECK(step(&world));
    CHECK_EQ(state(&world, 1), MEMBER_LEFT);
    world.facts[1].is_alive = false; /* it stops */
    CHECK_EQ(run(&world, 2000), 0);
    uint64_t gone = world.members.items[1].number;
    CHECK_EQ(run(&world, ROSTER_LEFT_MS), 1);
    CHECK_EQ(world.members.count, 3);
    CHECK(members_find(&world.members, gone) == NULL);
    CHECK(members_is_gone(&world.members, gone, 102));
    CHECK_EQ(run(&world, 60000), 0);
}

/* It was dead when it was drained. */
TEST(a_dead_member_can_be_drained)
{
    struct world world;
    world_init(&world, 5, 3, 10);
    die(&world, 3);
    (void)run(&world, 15000);
    struct roster_change drain = { .change = MEMBER_STATE, .member = world.members.items[3] };
    drain.member.state = MEMBER_DRAINING;
    apply(&world, &drain);
    CHECK_EQ(state(&world, 3), MEMBER_DRAINING);
    world.facts[3].is_free = true;
    CHECK_EQ(run(&world, ROSTER_LEFT_MS + 2000), 2);
    CHECK_EQ(world.members.count, 4);
}

TEST(the_list_follows_what_members_say)
{
    struct world world;
    world_init(&world, 3, 3, 10);
    world.facts[1].has_said = true;
    world.facts[1].now = world.members.items[1];
    CHECK(!step(&world));
    world.facts[1].now.weight = 3;
    world.facts[1].now.port = 9999;
    CHECK(step(&world));
    CHECK_EQ(world.members.items[1].weight, 3);
    CHECK_EQ(world.members.items[1].port, 9999);
    CHECK_EQ(run(&world, 10000), 0);
}

/* Whatever happens: at most a change a look, some member stays ACTIVE, and when all live and
 * nothing is draining, it ends. */
TEST(random_lives_settle)
{
    struct prng prng;
    prng_init(&prng, 1);
    for (unsigned life = 0; life < 300; life++) {
        struct world world;
        world_init(&world, 1 + (uint32_t)prng_below(&prng, MEMBERS_MAX),
                   prng_below(&prng, RAFT_VOTERS_MAX + 1), prng_below(&prng, 5));
        for (unsigned i = 0; i < 300; i++) {
            uint32_t at = (uint32_t)prng_below(&prng, world.members.count);
            struct roster_change move = { .change = MEMBER_STATE,
                                          .member = world.members.items[at] };
            move.member.state = (uint8_t)(1 + prng_below(&prng, 2));
            if (prng_chance(&prng, 1, 20)) {
                apply(&world, &move);
            } else if (prng_chance(&prng, 1, 2)) {
                die(&world, at);
            } else {
                rise(&world, at);
            }
            world.facts[at].is_free = prng_chance(&prng, 1, 2);
            world.term += prng_chance(&prng, 1, 30);
            (void)step(&world);
            CHECK(members_active(&world.members) >= 1);
            CHECK_EQ(world.roster.count <= MEMBERS_MAX, true);
        }
        for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
            rise(&world, i);
            world.facts[i].is_free = true;
        }
        (void)run(&world, 2 * MEMBERS_MAX * ROSTER_LEFT_MS);
        CHECK_EQ(run(&world, 60000), 0);
        CHECK_EQ(members_active(&world.members), world.members.count);
    }
}

TEST_MAIN
