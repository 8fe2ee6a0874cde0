/*
 * members_test.c — the list of members: its bytes, its changes, and what follows from it.
 *
 * Targets and homes are judged by what they are for: every node computes the same, each node votes
 * in and leads its share, and a node that comes or goes moves no more than it must.
 */
#include "members.h"
#include "replica.h"
#include "targets.h"

#include "base/prng.h"
#include "cluster/confchange.h"
#include "test.h"

enum { GROUPS = 256, CLUSTERS = 200 };

static struct member make(const char *id, uint64_t incarnation)
{
    struct member member = { .incarnation = incarnation, .cluster_port = 8001, .port = 7001 };
    (void)snprintf(member.id, sizeof(member.id), "%s", id);
    (void)snprintf(member.host, sizeof(member.host), "10.0.0.%u", (unsigned)(incarnation % 250));
    member.number = members_number(member.id);
    return member;
}

static struct member random_member(struct prng *prng)
{
    char id[32];
    (void)snprintf(id, sizeof(id), "node-%u", (unsigned)prng_below(prng, 1u << 30));
    return make(id, prng_next(prng) | 1);
}

static bool change(struct members *members, enum member_change what, const struct member *member)
{
    struct buffer body = { 0 };
    members_change_encode(what, member, &body);
    bool ok = members_apply(members, buffer_slice(&body), members->index + 1, members->term);
    buffer_free(&body);
    return ok;
}

static struct members random_cluster(struct prng *prng, uint32_t count)
{
    struct members members;
    struct member self = random_member(prng);
    members_found(&members, &self);
    while (members.count < count) {
        struct member more = random_member(prng);
        CHECK(change(&members, MEMBER_ADD, &more));
    }
    return members;
}

static bool members_equal(const struct members *a, const struct members *b)
{
    struct buffer x = { 0 };
    struct buffer y = { 0 };
    members_encode(a, &x);
    members_encode(b, &y);
    bool equal = slice_equal(buffer_slice(&x), buffer_slice(&y));
    buffer_free(&x);
    buffer_free(&y);
    return equal;
}

/* Of the list as it is: these lists are made up, and several share an epoch. */
static const struct placement *placement_of(const struct members *members, uint32_t factor)
{
    static struct targets targets;
    static struct members known;
    if (memcmp(&known, members, sizeof(known)) != 0) {
        known = *members;
        targets_deinit(&targets);
    }
    targets_follow(&targets, members, GROUPS, factor);
    return &targets.placement;
}

static struct raft_config target_of(const struct members *members, uint32_t group, uint32_t factor)
{
    struct raft_config target;
    members_target(members, placement_of(members, factor), group, &members->config, &target);
    return target;
}

static uint64_t home_of(const struct members *members, const struct raft_config *config,
                        uint32_t group)
{
    return members_home(placement_of(members, 3), config, group);
}

static uint32_t voters_of(const struct raft_config *config)
{
    uint32_t voters = 0;
    for (uint32_t i = 0; i < config->members_count; i++) {
        voters += config->members[i].roles == RAFT_VOTER;
    }
    return voters;
}

/* ── bytes ───────────────────────────────────────────────────────────────────────────────────── */

TEST(state_round_trips_and_is_canonical)
{
    struct prng prng;
    prng_init(&prng, 1);
    for (unsigned round = 0; round < 500; round++) {
        struct members members =
            random_cluster(&prng, 1 + (uint32_t)prng_below(&prng, MEMBERS_MAX));
        members.index = prng_next(&prng) >> 16;
        members.term = prng_next(&prng) >> 16;
        members.config = target_of(&members, 3, 3);
        struct buffer bytes = { 0 };
        members_encode(&members, &bytes);
        struct members decoded;
        memset(&decoded, 0xA5, sizeof(decoded));
        CHECK(members_decode(&decoded, buffer_slice(&bytes)));
        CHECK(members_equal(&members, &decoded));
        CHECK_EQ(decoded.items[members.count - 1].number, members.items[members.count - 1].number);
        for (size_t cut = 0; cut < bytes.size; cut++) {
            CHECK(!members_decode(&decoded, slice_make(bytes.data, cut)));
        }
        buffer_append_byte(&bytes, 0);
        CHECK(!members_decode(&decoded, buffer_slice(&bytes)));
        buffer_free(&bytes);
    }
}

/* Whatever is accepted is written back byte for byte. */
TEST(damaged_state_is_refused_or_canonical)
{
    struct prng prng;
    prng_init(&prng, 2);
    unsigned accepted = 0;
    for (unsigned round = 0; round < 20000; round++) {
        struct members members = random_cluster(&prng, 1 + (uint32_t)prng_below(&prng, 5));
        struct buffer bytes = { 0 };
        struct buffer again = { 0 };
        members_encode(&members, &bytes);
        char *hit = &bytes.data[prng_below(&prng, bytes.size)];
        *hit = (char)(prng_chance(&prng, 1, 4) ? 0 : *hit ^ (1 << prng_below(&prng, 8)));
        struct members decoded;
        if (members_decode(&decoded, buffer_slice(&bytes))) {
            members_encode(&decoded, &again);
            CHECK(slice_equal(buffer_slice(&bytes), buffer_slice(&again)));
            accepted++;
        }
        buffer_free(&bytes);
        buffer_free(&again);
    }
    CHECK(accepted > 100);
    CHECK(accepted < 20000);
}

TEST(damaged_changes_never_crash)
{
    struct prng prng;
    prng_init(&prng, 3);
    struct members members = random_cluster(&prng, 3);
    for (unsigned round = 0; round < 20000; round++) {
        struct buffer body = { 0 };
        struct member member = random_member(&prng);
        members_change_encode(MEMBER_ADD, &member, &body);
        for (unsigned i = 0; i < 2; i++) {
            body.data[prng_below(&prng, body.size)] = (char)prng_next(&prng);
        }
        struct members copy = members;
        size_t size = prng_chance(&prng, 1, 2) ? body.size : (size_t)prng_below(&prng, body.size);
        if (!members_apply(&copy, slice_make(body.data, size), 10, 1)) {
            CHECK(members_equal(&copy, &members));
        }
        buffer_free(&body);
    }
}

/* ── changes ─────────────────────────────────────────────────────────────────────────────────── */

TEST(numbers_are_fixed_for_ever)
{
    /* They stand in every configuration on disk: another hash would be another cluster. */
    CHECK_EQ(members_number("node1"), UINT64_C(0x8c7f2267b9bf754f));
    CHECK(members_number("node2") != members_number("node1"));
    CHECK(members_number("") != 0);
}

TEST(members_come_and_go)
{
    struct members members;
    struct member a = make("a", 11);
    struct member b = make("b", 12);
    members_found(&members, &a);
    CHECK_EQ(members.epoch, 1);
    CHECK_EQ(members.config.members_count, 1);
    CHECK(change(&members, MEMBER_ADD, &b));
    CHECK_EQ(members.epoch, 2);
    CHECK_EQ(members.count, 2);
    CHECK_EQ(members.index, 1);

    CHECK(change(&members, MEMBER_ADD, &b)); /* asked twice */
    CHECK_EQ(members.epoch, 2);
    CHECK_EQ(members.index, 2);
    b.port = 9999;
    CHECK(change(&members, MEMBER_ADD, &b));
    CHECK_EQ(members.epoch, 3);
    CHECK_EQ(members_find(&members, b.number)->port, 9999);
    struct member slots = *members_find(&members, b.number);
    slots.slot_port = 9001;
    CHECK(change(&members, MEMBER_UPDATE, &slots));
    CHECK_EQ(members.epoch, 4);
    CHECK_EQ(members_find(&members, b.number)->slot_port, 9001);

    struct member thief = make("b", 13);
    CHECK(change(&members, MEMBER_ADD, &thief));
    CHECK(change(&members, MEMBER_UPDATE, &thief));
    CHECK(change(&members, MEMBER_REMOVE, &thief));
    CHECK_EQ(members.epoch, 4);
    CHECK_EQ(members_find(&members, b.number)->incarnation, 12);

    CHECK(change(&members, MEMBER_REMOVE, &a));
    CHECK_EQ(members.epoch, 5);
    CHECK(members_find(&members, a.number) == NULL);
    CHECK(change(&members, MEMBER_REMOVE, &b)); /* the last one stays */
    CHECK_EQ(members.count, 1);
    CHECK(change(&members, MEMBER_UPDATE, &a)); /* no member any more */
    CHECK_EQ(members.epoch, 5);
}

TEST(a_full_list_takes_no_more)
{
    struct prng prng;
    prng_init(&prng, 4);
    struct members members = random_cluster(&prng, MEMBERS_MAX);
    struct member more = random_member(&prng);
    CHECK(change(&members, MEMBER_ADD, &more));
    CHECK_EQ(members.count, MEMBERS_MAX);
    CHECK_EQ(members.epoch, MEMBERS_MAX);
    CHECK_EQ(members.index, MEMBERS_MAX);
}

/* Two replicas that apply the same changes hold the same bytes, by way of a snapshot or not. */
TEST(replicas_agree)
{
    struct prng prng;
    prng_init(&prng, 5);
    struct members one = random_cluster(&prng, 2);
    struct members two = one;
    for (unsigned step = 0; step < 3000; step++) {
        struct member member = one.items[prng_below(&prng, one.count)];
        member.port = (uint16_t)prng_below(&prng, 3);
        if (prng_chance(&prng, 1, 2)) {
            member = random_member(&prng);
        }
        enum member_change what = (enum member_change)(1 + prng_below(&prng, 3));
        CHECK(change(&one, what, &member));
        CHECK(change(&two, what, &member));
        CHECK(members_equal(&one, &two));
        if (prng_chance(&prng, 1, 10)) {
            struct buffer bytes = { 0 };
            members_encode(&one, &bytes);
            CHECK(members_decode(&two, buffer_slice(&bytes)));
            buffer_free(&bytes);
        }
    }
}

/* ── targets ─────────────────────────────────────────────────────────────────────────────────── */

TEST(one_voter_until_there_are_three)
{
    struct prng prng;
    prng_init(&prng, 6);
    struct members members = random_cluster(&prng, 2);
    struct raft_config target = target_of(&members, 7, 3);
    CHECK(raft_config_is_valid(&target));
    CHECK_EQ(target.members_count, 2);
    CHECK_EQ(voters_of(&target), 1);
    CHECK(raft_config_is_voter(&target, members.items[0].number));
    CHECK_EQ(home_of(&members, &target, 7), members.items[0].number);

    /* Where the second member has become the voter, it stays. */
    struct raft_config second = { 0 };
    CHECK(raft_config_add(&second, members.items[1].number, members.items[1].incarnation,
                          RAFT_VOTER));
    members_target(&members, placement_of(&members, 3), 7, &second, &second);
    CHECK_EQ(voters_of(&second), 1);
    CHECK(raft_config_is_voter(&second, members.items[1].number));
}

TEST(targets_are_valid_and_need_no_more_than_the_list)
{
    struct prng prng;
    prng_init(&prng, 7);
    for (unsigned round = 0; round < CLUSTERS; round++) {
        uint32_t count = 3 + (uint32_t)prng_below(&prng, MEMBERS_MAX - 2);
        struct members members = random_cluster(&prng, count);
        struct members shuffled = members;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t other = (uint32_t)prng_below(&prng, count);
            struct member swapped = shuffled.items[i];
            shuffled.items[i] = shuffled.items[other];
            shuffled.items[other] = swapped;
        }
        uint32_t factor = 1 + (uint32_t)prng_below(&prng, RAFT_VOTERS_MAX);
        for (uint32_t group = 0; group < 20; group++) {
            struct raft_config target = target_of(&members, group, factor);
            struct raft_config again = target_of(&shuffled, group, factor);
            CHECK(raft_config_is_valid(&target));
            CHECK(raft_config_equal(&target, &again));
            CHECK_EQ(target.members_count, factor < count ? factor : count);
            CHECK_EQ(voters_of(&target), target.members_count);
            CHECK(raft_config_is_voter(&target, home_of(&members, &target, group)));
        }
        struct raft_config meta = target_of(&members, GROUP_META, factor);
        CHECK(raft_config_is_valid(&meta));
        CHECK_EQ(meta.members_count, count); /* everybody follows the list */
        CHECK_EQ(voters_of(&meta), factor < count ? factor : count);
    }
}

TEST(three_nodes_lead_alike)
{
    struct prng prng;
    prng_init(&prng, 8);
    for (unsigned round = 0; round < CLUSTERS; round++) {
        struct members members = random_cluster(&prng, 3);
        uint32_t led[3] = { 0 };
        for (uint32_t group = 0; group < GROUPS; group++) {
            struct raft_config target = target_of(&members, group, 3);
            int at = raft_config_find(&target, home_of(&members, &target, group));
            led[at]++;
        }
        for (unsigned i = 0; i < 3; i++) {
            CHECK(led[i] == GROUPS / 3 || led[i] == GROUPS / 3 + 1);
        }
    }
}

/* Everyone votes and leads alike (tests/unit/sharding has the placement's own properties). */
TEST(larger_clusters_are_balanced)
{
    struct prng prng;
    prng_init(&prng, 9);
    for (unsigned round = 0; round < CLUSTERS; round++) {
        uint32_t count = 4 + (uint32_t)prng_below(&prng, 6);
        struct members members = random_cluster(&prng, count);
        uint32_t led[MEMBERS_MAX] = { 0 };
        uint32_t votes[MEMBERS_MAX] = { 0 };
        for (uint32_t group = 0; group < GROUPS; group++) {
            struct raft_config target = target_of(&members, group, 3);
            uint64_t home = home_of(&members, &target, group);
            for (uint32_t i = 0; i < count; i++) {
                led[i] += members.items[i].number == home;
                votes[i] += raft_config_is_voter(&target, members.items[i].number);
            }
        }
        for (uint32_t i = 0; i < count; i++) {
            CHECK(led[i] == GROUPS / count || led[i] == GROUPS / count + 1);
            CHECK(votes[i] * count * 100 <= GROUPS * 3 * 105);
        }
    }
}

/* A node that joins takes votes over, and little moves between others; the same when it leaves. */
TEST(a_new_member_moves_little_but_what_it_takes)
{
    struct prng prng;
    prng_init(&prng, 10);
    for (unsigned round = 0; round < CLUSTERS; round++) {
        uint32_t count = 3 + (uint32_t)prng_below(&prng, 8);
        struct members before = random_cluster(&prng, count);
        struct members after = before;
        struct member more = random_member(&prng);
        struct raft_config old[GROUPS];
        uint32_t lost = 0;
        CHECK(change(&after, MEMBER_ADD, &more));
        for (uint32_t group = 0; group < GROUPS; group++) {
            old[group] = target_of(&before, group, 3);
        }
        for (uint32_t group = 0; group < GROUPS; group++) {
            struct raft_config new = target_of(&after, group, 3);
            for (uint32_t i = 0; i < count; i++) {
                uint64_t number = before.items[i].number;
                lost += raft_config_is_voter(&old[group], number) &&
                        !raft_config_is_voter(&new, number);
            }
        }
        CHECK(lost * 10 <= GROUPS * 3 * 13 / (count + 1));
    }
}

TEST(voters_lie_in_different_zones_where_there_are_enough)
{
    struct prng prng;
    prng_init(&prng, 11);
    for (unsigned round = 0; round < CLUSTERS; round++) {
        uint32_t count = 3 + (uint32_t)prng_below(&prng, MEMBERS_MAX - 2);
        uint32_t zones = 1 + (uint32_t)prng_below(&prng, 4);
        struct members members = random_cluster(&prng, count);
        for (uint32_t i = 0; i < count; i++) {
            (void)snprintf(members.items[i].zone, MEMBER_TEXT_MAX, "z%u", i % zones);
        }
        uint32_t zones_used = zones < count ? zones : count;
        for (uint32_t group = 0; group < 30; group++) {
            struct raft_config target = target_of(&members, group, 3);
            uint32_t seen = 0;
            for (uint32_t i = 0; i < count; i++) {
                bool votes = raft_config_is_voter(&target, members.items[i].number);
                seen |= votes ? 1u << (i % zones) : 0;
            }
            CHECK_EQ((uint32_t)__builtin_popcount(seen), zones_used < 3 ? zones_used : 3);
        }
    }
}

/* ── steps ───────────────────────────────────────────────────────────────────────────────────── */

/* As raft would: every step must be one that confchange takes, and the way must end. */
static struct raft_config walk(struct raft_config config, const struct raft_config *target)
{
    bool all_ready[RAFT_PEERS_MAX];
    memset(all_ready, true, sizeof(all_ready));
    struct raft_config wanted;
    for (unsigned step = 0; members_step(&config, target, all_ready, &wanted); step++) {
        struct raft_config next;
        enum confchange_outcome outcome = confchange_next(&config, &wanted, &next);
        CHECK(outcome == CONFCHANGE_SIMPLE || outcome == CONFCHANGE_JOINT);
        CHECK(step < 5);
        if (step == 5 || (outcome != CONFCHANGE_SIMPLE && outcome != CONFCHANGE_JOINT)) {
            break;
        }
        if (raft_config_is_joint(&next)) {
            confchange_leave(&next, &config);
        } else {
            config = next;
        }
    }
    return config;
}

TEST(steps_lead_to_the_target)
{
    struct prng prng;
    prng_init(&prng, 12);
    for (unsigned life = 0; life < CLUSTERS; life++) {
        struct members members = random_cluster(&prng, 1);
        struct raft_config config = members.config;
        for (unsigned step = 0; step < 30; step++) {
            struct member member = members.items[prng_below(&prng, members.count)];
            if (prng_chance(&prng, 1, 3) && members.count > 1) {
                CHECK(change(&members, MEMBER_REMOVE, &member));
                if (prng_chance(&prng, 1, 3) && members.count >= 3) {
                    member.incarnation += 2; /* its disk was wiped; it comes back as another one */
                    CHECK(change(&members, MEMBER_ADD, &member));
                }
            } else if (members.count < 9) {
                member = random_member(&prng);
                CHECK(change(&members, MEMBER_ADD, &member));
            }
            struct raft_config target;
            members_target(&members, placement_of(&members, 3), step, &config, &target);
            config = walk(config, &target);
            CHECK(raft_config_equal(&config, &target));
        }
    }
}

TEST(voters_change_when_all_that_come_are_ready)
{
    struct raft_config current = { 0 };
    struct raft_config target = { 0 };
    struct raft_config next = { 0 };
    bool is_ready[RAFT_PEERS_MAX] = { false };
    CHECK(raft_config_add(&current, 1, 1, RAFT_VOTER));
    CHECK(raft_config_add(&target, 1, 1, RAFT_VOTER));
    CHECK(!members_step(&current, &target, is_ready, &next));
    CHECK(raft_config_add(&target, 2, 1, RAFT_VOTER));
    CHECK(raft_config_add(&target, 3, 1, RAFT_VOTER));
    CHECK(members_step(&current, &target, is_ready, &next));
    CHECK_EQ(next.members_count, 3);
    CHECK_EQ(voters_of(&next), 1);
    current = next;
    CHECK(!members_step(&current, &target, is_ready, &next));
    is_ready[1] = true;
    CHECK(!members_step(&current, &target, is_ready, &next));
    is_ready[2] = true;
    CHECK(members_step(&current, &target, is_ready, &next));
    CHECK(raft_config_equal(&next, &target));
    CHECK(!members_step(&target, &target, is_ready, &next));
}

/* While a joint change is under way, a voter of the coming half is home; where no replica of the
 * placement votes yet, another voter is. */
TEST(an_outgoing_voter_is_nobodys_home)
{
    struct prng prng;
    prng_init(&prng, 13);
    struct members members = random_cluster(&prng, 6);
    for (uint32_t group = 0; group < GROUPS; group++) {
        struct raft_config target = target_of(&members, group, 3);
        struct raft_config config = { 0 };
        uint64_t first = home_of(&members, &target, group);
        for (uint32_t i = 0; i < target.members_count; i++) {
            struct raft_member *member = &target.members[i];
            bool is_going = member->node == first || member->roles == RAFT_LEARNER;
            CHECK(raft_config_add(&config, member->node, member->incarnation,
                                  is_going ? RAFT_OUTGOING : RAFT_VOTER));
        }
        uint64_t home = home_of(&members, &config, group);
        CHECK(home != first);
        CHECK(raft_config_is_voter(&target, home));

        struct raft_config strangers = { 0 };
        CHECK(raft_config_add(&strangers, 8, 1, RAFT_LEARNER));
        CHECK(raft_config_add(&strangers, 9, 1, RAFT_VOTER));
        CHECK_EQ(home_of(&members, &strangers, group), 9);
    }
}

TEST(the_meta_group_is_placed_too)
{
    struct prng prng;
    prng_init(&prng, 14);
    for (unsigned round = 0; round < CLUSTERS; round++) {
        struct members members = random_cluster(&prng, 3 + (uint32_t)prng_below(&prng, 8));
        struct raft_config target = target_of(&members, GROUP_META, 3);
        CHECK_EQ(voters_of(&target), 3);
        CHECK(raft_config_is_voter(&target, home_of(&members, &target, GROUP_META)));
    }
}

TEST_MAIN
