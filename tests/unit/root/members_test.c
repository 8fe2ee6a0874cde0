/*
 * members_test.c — the list of members: its bytes, its changes, and what follows from it.
 *
 * Targets and homes are judged by what they are for: every node computes the same, each node votes
 * in and leads its share, and a node that comes or goes moves no more than it must.
 */
#include "members.h"
#include "replica.h"
#include "targets.h"

#include "base/endian.h"
#include "base/prng.h"
#include "cluster/confchange.h"
#include "test.h"

enum { GROUPS = 256, CLUSTERS = 200 };

static struct member make(const char *id, uint64_t incarnation)
{
    struct member member = { .incarnation = incarnation,
                             .cluster_port = 8001,
                             .port = 7001,
                             .weight = 1,
                             .state = MEMBER_ACTIVE };
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

static struct member in_state(const struct member *member, enum member_state state)
{
    struct member moved = *member;
    moved.state = (uint8_t)state;
    return moved;
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
        for (unsigned step = 0; step < 2 * MEMBERS_MAX; step++) {
            const struct member *at = &members.items[prng_below(&prng, members.count)];
            struct member moved = in_state(at, 1 + (enum member_state)prng_below(&prng, 4));
            moved.weight = (uint8_t)(1 + prng_below(&prng, RING_WEIGHT_MAX));
            CHECK(change(&members, (enum member_change)(2 + prng_below(&prng, 3)), &moved));
        }
        struct buffer bytes = { 0 };
        members_encode(&members, &bytes);
        struct members decoded;
        memset(&decoded, 0xA5, sizeof(decoded));
        CHECK(members_decode(&decoded, buffer_slice(&bytes)));
        CHECK(members_equal(&members, &decoded));
        CHECK_EQ(decoded.items[members.count - 1].number, members.items[members.count - 1].number);
        CHECK_EQ(decoded.items[0].weight, members.items[0].weight);
        CHECK_EQ(decoded.items[0].state, members.items[0].state);
        CHECK_EQ(decoded.gone_count, members.gone_count);
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
        enum member_change what = (enum member_change)(1 + prng_below(&prng, 4));
        member.state = (uint8_t)(1 + prng_below(&prng, 4));
        CHECK(change(&one, what, &member));
        CHECK(change(&two, what, &member));
        CHECK(members_active(&one) >= 1);
        CHECK(members_equal(&one, &two));
        if (prng_chance(&prng, 1, 10)) {
            struct buffer bytes = { 0 };
            members_encode(&one, &bytes);
            CHECK(members_decode(&two, buffer_slice(&bytes)));
            buffer_free(&bytes);
        }
    }
}

/* ── states and settings ─────────────────────────────────────────────────────────────────────── */

static bool moves(struct members *members, const struct member *member, enum member_state state)
{
    uint64_t epoch = members->epoch;
    struct member moved = in_state(member, state);
    CHECK(change(members, MEMBER_STATE, &moved));
    bool has_moved = members->epoch != epoch;
    CHECK_EQ(members_find(members, member->number)->state == state, has_moved);
    return has_moved;
}

TEST(states_follow_each_other)
{
    static const bool allowed[5][5] = {
        [MEMBER_ACTIVE] = { [MEMBER_DRAINING] = true, [MEMBER_DOWN] = true },
        [MEMBER_DRAINING] = { [MEMBER_ACTIVE] = true, [MEMBER_LEFT] = true },
        [MEMBER_DOWN] = { [MEMBER_ACTIVE] = true, [MEMBER_DRAINING] = true },
    };
    struct prng prng;
    prng_init(&prng, 20);
    for (unsigned from = MEMBER_ACTIVE; from <= MEMBER_DOWN; from++) {
        for (unsigned to = MEMBER_ACTIVE; to <= MEMBER_DOWN; to++) {
            struct members members = random_cluster(&prng, 5);
            members.items[2].state = (uint8_t)from;
            struct member moved = in_state(&members.items[2], (enum member_state)to);
            uint64_t epoch = members.epoch;
            CHECK(change(&members, MEMBER_STATE, &moved));
            CHECK_EQ(members.epoch != epoch, allowed[from][to]);
            CHECK_EQ(members.items[2].state, allowed[from][to] ? to : from);
            moved.port = 4444;
            CHECK(change(&members, MEMBER_UPDATE, &moved)); /* moves it on, but not its state */
            CHECK_EQ(members.items[2].port, 4444);
            CHECK_EQ(members.items[2].state, allowed[from][to] ? to : from);
        }
    }
}

/* Of three, none may go: of the two left one alone would acknowledge.  Of two, one may. */
TEST(enough_members_stay)
{
    struct prng prng;
    prng_init(&prng, 21);
    struct members members = random_cluster(&prng, 5);
    members.settings.values[SETTING_REPLICATION_FACTOR] = 3;
    CHECK(moves(&members, &members.items[0], MEMBER_DRAINING));
    CHECK(moves(&members, &members.items[1], MEMBER_DOWN));
    CHECK_EQ(members_active(&members), 3);
    CHECK(!moves(&members, &members.items[2], MEMBER_DRAINING));
    CHECK(!moves(&members, &members.items[3], MEMBER_DOWN));
    CHECK(moves(&members, &members.items[1], MEMBER_DRAINING)); /* nothing lies there */
    members.settings.values[SETTING_REPLICATION_FACTOR] = 1;
    CHECK(moves(&members, &members.items[2], MEMBER_DRAINING));
    CHECK(moves(&members, &members.items[3], MEMBER_DRAINING));
    CHECK(!moves(&members, &members.items[4], MEMBER_DRAINING));
    struct member last = members.items[4];
    CHECK(change(&members, MEMBER_REMOVE, &last));
    CHECK_EQ(members.count, 5);
}

TEST(who_was_removed_does_not_come_back)
{
    struct members members;
    struct member a = make("a", 11);
    struct member b = make("b", 12);
    struct member again = make("b", 13);
    members_found(&members, &a);
    CHECK(change(&members, MEMBER_ADD, &b));
    CHECK(!members_is_gone(&members, b.number, 12));
    CHECK(change(&members, MEMBER_REMOVE, &b));
    CHECK(members_is_gone(&members, b.number, 12));
    CHECK(change(&members, MEMBER_ADD, &b));
    CHECK_EQ(members.count, 1);
    CHECK(change(&members, MEMBER_ADD, &again)); /* with an empty directory */
    CHECK_EQ(members.count, 2);
    for (uint64_t i = 0; i < 2 * MEMBERS_GONE_MAX; i++) {
        struct member passing = make("c", 100 + i);
        CHECK(change(&members, MEMBER_ADD, &passing));
        CHECK(change(&members, MEMBER_REMOVE, &passing));
        CHECK(members_is_gone(&members, passing.number, 100 + i));
    }
    CHECK_EQ(members.gone_count, MEMBERS_GONE_MAX);
    CHECK(!members_is_gone(&members, b.number, 12)); /* forgotten by then: a stranger */
}

static bool set(struct members *members, unsigned setting, uint64_t value)
{
    struct setting_value any = { SETTING_REPLICATION_FACTOR, 1 };
    struct buffer body = { 0 };
    members_settings_encode(&any, 1, &body);
    body.data[2] = (char)setting;
    store_u64(body.data + 3, value);
    bool ok = members_apply(members, buffer_slice(&body), members->index + 1, members->term);
    buffer_free(&body);
    return ok;
}

TEST(settings_are_a_part_of_the_list)
{
    struct members members;
    struct member a = make("a", 11);
    members_found(&members, &a);
    CHECK_EQ(members.settings.values[SETTING_REPLICATION_FACTOR], 0);
    CHECK_EQ(members.settings.values[SETTING_DOWN_REPLACE_AFTER], 600);
    CHECK(set(&members, SETTING_REPLICATION_FACTOR, 5));
    CHECK(set(&members, SETTING_DOWN_REPLACE_AFTER, 0));
    CHECK_EQ(members.epoch, 3);
    CHECK_EQ(members.settings.values[SETTING_REPLICATION_FACTOR], 5);
    CHECK(set(&members, SETTING_REPLICATION_FACTOR, 5)); /* no news */
    CHECK(set(&members, SETTING_REPLICATION_FACTOR, 8)); /* out of range */
    CHECK(set(&members, SETTING_REPLICATION_FACTOR, 0));
    CHECK(set(&members, 200, 1)); /* of a later version */
    CHECK_EQ(members.epoch, 3);
    CHECK_EQ(members.index, 6);
    struct buffer bytes = { 0 };
    struct members decoded;
    members_encode(&members, &bytes);
    CHECK(members_decode(&decoded, buffer_slice(&bytes)));
    CHECK_EQ(decoded.settings.values[SETTING_REPLICATION_FACTOR], 5);
    CHECK_EQ(decoded.settings.values[SETTING_DOWN_REPLACE_AFTER], 0);
    buffer_free(&bytes);
}

/* One entry, one epoch; and cut anywhere, none of it. */
TEST(settings_change_together)
{
    const struct setting_value both[] = { { SETTING_DOWN_REPLACE_AFTER, 7 },
                                          { SETTING_REPLICATION_FACTOR, 5 } };
    struct members members;
    struct member a = make("a", 11);
    members_found(&members, &a);
    struct buffer body = { 0 };
    members_settings_encode(both, 2, &body);
    CHECK_EQ(body.size, 20); /* docs/FORMATS.md */
    for (size_t size = 0; size < body.size; size++) {
        struct members cut = members;
        bool is_one = size == 11; /* the first of them: an entry of its own */
        CHECK(members_apply(&cut, slice_make(body.data, size), 1, 1) == is_one);
        CHECK_EQ(cut.settings.values[SETTING_REPLICATION_FACTOR], 0);
    }
    CHECK(members_apply(&members, buffer_slice(&body), 1, 1));
    CHECK_EQ(members.epoch, 2);
    CHECK_EQ(members.settings.values[SETTING_DOWN_REPLACE_AFTER], 7);
    CHECK_EQ(members.settings.values[SETTING_REPLICATION_FACTOR], 5);
    CHECK(members_apply(&members, buffer_slice(&body), 2, 1)); /* no news */
    CHECK_EQ(members.epoch, 2);
    buffer_free(&body);
}

/* What the version before wrote: docs/FORMATS.md, format 2. */
TEST(the_format_before_is_read)
{
    static const char member[] = "\1a\x8"
                                 "10.0.0.1\2z1\xb\0\0\0\0\0\0\0\x41\x1f\x59\x1b\0\0";
    struct member self = make("a", 11);
    struct members members;
    struct buffer bytes = { 0 };
    char head[27] = { 2, 7 };
    char config[2 + 17];
    members_found(&members, &self);
    size_t config_size = raft_config_encode(&members.config, config);
    head[25] = (char)config_size;
    buffer_append(&bytes, head, sizeof(head));
    buffer_append(&bytes, config, config_size);
    buffer_append_byte(&bytes, 1);
    buffer_append(&bytes, member, sizeof(member) - 1);
    struct members decoded;
    CHECK(members_decode(&decoded, buffer_slice(&bytes)));
    CHECK_EQ(decoded.epoch, 7);
    CHECK_EQ(decoded.count, 1);
    CHECK_EQ(decoded.items[0].weight, 1);
    CHECK_EQ(decoded.items[0].state, MEMBER_ACTIVE);
    CHECK_EQ(decoded.items[0].incarnation, 11);
    CHECK_EQ(decoded.items[0].cluster_port, 8001);
    CHECK(strcmp(decoded.items[0].host, "10.0.0.1") == 0);
    CHECK_EQ(decoded.settings.values[SETTING_REPLICATION_FACTOR], 0);
    for (size_t cut = 0; cut < bytes.size; cut++) {
        CHECK(!members_decode(&decoded, slice_make(bytes.data, cut)));
    }
    buffer_free(&bytes);

    static const char added[] = { 2, MEMBER_ADD };
    static const char moved[] = { 2, MEMBER_STATE };
    struct buffer body = { 0 };
    buffer_append(&body, added, sizeof(added));
    buffer_append(&body, member, sizeof(member) - 1);
    body.data[3] = 'b';
    CHECK(members_apply(&members, buffer_slice(&body), 1, 1));
    CHECK_EQ(members.count, 2);
    CHECK_EQ(members.items[1].weight, 1);
    memcpy(body.data, moved, sizeof(moved)); /* it had no such change */
    CHECK(!members_apply(&members, buffer_slice(&body), 2, 1));
    buffer_free(&body);
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
        struct members copy; /* as another node reads it */
        struct buffer bytes = { 0 };
        members_encode(&members, &bytes);
        CHECK(members_decode(&copy, buffer_slice(&bytes)));
        buffer_free(&bytes);
        uint32_t factor = 1 + (uint32_t)prng_below(&prng, RAFT_VOTERS_MAX);
        for (uint32_t group = 0; group < 20; group++) {
            struct raft_config target = target_of(&members, group, factor);
            struct raft_config again = target_of(&copy, group, factor);
            CHECK(raft_config_is_valid(&target));
            CHECK(raft_config_equal(&target, &again));
            CHECK_EQ(target.members_count, factor < count ? factor : count);
            CHECK_EQ(voters_of(&target), target.members_count);
            const struct placement *placement = placement_of(&members, factor);
            CHECK(raft_config_is_voter(&target, members_home(placement, &target, group)));
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

/* Who is not ACTIVE gets nothing, whatever its weight; all follow the meta group. */
TEST(only_active_members_are_placed)
{
    struct prng prng;
    prng_init(&prng, 22);
    for (unsigned round = 0; round < CLUSTERS; round++) {
        struct members members =
            random_cluster(&prng, 4 + (uint32_t)prng_below(&prng, MEMBERS_MAX - 3));
        members.items[0].state = (uint8_t)(MEMBER_DRAINING + prng_below(&prng, 3));
        members.items[1].weight = 4;
        uint64_t out = members.items[0].number;
        for (uint32_t group = 0; group < 30; group++) {
            struct raft_config target = target_of(&members, group, 3);
            CHECK(raft_config_find(&target, out) < 0);
            CHECK_EQ(voters_of(&target), 3);
            CHECK(home_of(&members, &target, group) != out);
        }
        struct raft_config meta = target_of(&members, GROUP_META, 3);
        CHECK_EQ(meta.members_count, members.count);
        CHECK_EQ(meta.members[raft_config_find(&meta, out)].roles, RAFT_LEARNER);
    }
}

/* A node of twice the weight takes twice as much; its points are named by its place in the list. */
TEST(weights_count)
{
    struct prng prng;
    prng_init(&prng, 23);
    struct members members = random_cluster(&prng, 8);
    members.items[2].state = MEMBER_DOWN;
    members.items[5].weight = 2;
    uint32_t led[MEMBERS_MAX] = { 0 };
    for (uint32_t group = 0; group < GROUPS; group++) {
        struct raft_config target = target_of(&members, group, 3);
        uint64_t home = home_of(&members, &target, group);
        for (uint32_t i = 0; i < members.count; i++) {
            led[i] += members.items[i].number == home;
        }
    }
    for (uint32_t i = 0; i < members.count; i++) {
        uint32_t share = i == 2 ? 0 : i == 5 ? GROUPS / 4 : GROUPS / 8;
        CHECK(led[i] == share || led[i] == share + 1);
    }
    struct targets targets = { .epoch = 0 };
    targets_follow(&targets, &members, GROUPS, 3);
    uint32_t points[MEMBERS_MAX] = { 0 };
    for (uint32_t i = 0; i < targets.points_count; i++) {
        points[targets.points[i].member]++;
    }
    for (uint32_t i = 0; i < members.count; i++) {
        CHECK_EQ(points[i], targets.virtual_nodes[i]);
    }
    CHECK_EQ(points[2], 0);
    CHECK_EQ(points[5], 2 * points[4]);
    targets_deinit(&targets);
}

/* While a joint change is under way, a voter of the coming half is home; where no replica of the
 * placement votes yet, nobody is. */
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
        CHECK_EQ(home_of(&members, &strangers, group), 0);
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
