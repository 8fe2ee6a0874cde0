/*
 * hints_test.c — who leads what: what a node makes of frames, made by hand; then what nodes make of
 * each other's, while leaders change.
 *
 * Read next: consensus_world.h.
 */
#include "hints.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function" /* of a world made for other tests */
#include "consensus_world.h"
#pragma GCC diagnostic pop

enum { NOBODYS_LINK = 1 << 20, EPOCH = 7 };

/* ── frames made by hand ─────────────────────────────────────────────────────────────────────── */

/* A node that has just started, and is told things. */
struct told_world {
    struct world *world;
    struct node *node;
    struct hints_wire_entry entries[GROUPS];
    uint32_t count;
};

static struct told_world told_world_new(void)
{
    struct world *world = world_new(3, 1);
    world_start(world);
    struct node *node = &world->hosts[0].node;
    node->hints = hints_new(GROUPS);
    return (struct told_world){ .world = world, .node = node };
}

static void told_world_free(struct told_world *told)
{
    hints_free(told->node->hints);
    world_free(told->world);
}

static struct hints_wire_entry *add(struct told_world *told, uint32_t partition, uint64_t term)
{
    struct hints_wire_entry *entry = &told->entries[told->count++];
    *entry = (struct hints_wire_entry){ .partition = partition, .term = term };
    entry->members = told->world->members.config;
    return entry;
}

static void body_take(struct told_world *told, uint64_t from, struct slice body)
{
    const struct peer_event event = {
        .kind = PEER_EVENT_FRAME,
        .channel = PEER_RAFT,
        .link = NOBODYS_LINK,
        .number = from,
        .frame_kind = PEER_FRAME_HINTS,
        .body = body,
    };
    CHECK(hints_on_peer_event(told->node, &event));
}

/* Says what was added, as the host `from`. */
static void say(struct told_world *told, uint32_t from, bool is_all, uint32_t held)
{
    char bytes[HINTS_WIRE_HEAD_BYTES + GROUPS * HINTS_WIRE_ENTRY_BYTES_MAX];
    struct hints_wire_head head = {
        .is_all = is_all, .epoch = EPOCH, .held = held, .count = told->count
    };
    hints_wire_head_write(&head, bytes);
    size_t size = HINTS_WIRE_HEAD_BYTES;
    for (uint32_t i = 0; i < told->count; i++) {
        size += hints_wire_entry_write(&told->entries[i], bytes + size);
    }
    told->count = 0;
    body_take(told, number_of(from), slice_make(bytes, size));
}

static void check_held(const struct hints *hints, uint64_t node, uint32_t partitions)
{
    struct hints_held held = hints_held(hints, node);
    CHECK_EQ(held.partitions, partitions);
    CHECK_EQ(held.epoch, EPOCH);
}

/* leader UINT32_MAX: it is known that nobody leads any more. */
static void check_known(const struct told_world *told, uint32_t partition, uint32_t leader,
                        uint64_t term)
{
    const struct hint *hint = hints_of(told->node->hints, partition);
    const struct replica *replica = consensus_replica(told->node->consensus, partition);
    uint64_t number = leader == UINT32_MAX ? 0 : number_of(leader);
    CHECK(hint != NULL);
    if (hint != NULL) {
        CHECK_EQ(hint->leader, number);
        CHECK_EQ(hint->term, term);
    }
    CHECK_EQ(replica->leader, number); /* raft knows nothing yet */
    CHECK_EQ(replica->term, term);
}

TEST(nothing_is_known_at_first)
{
    struct told_world told = told_world_new();
    uint32_t at = 0;
    uint32_t partition = 0;
    for (uint32_t i = 0; i < GROUPS + 2; i++) {
        CHECK(hints_of(told.node->hints, i) == NULL);
    }
    CHECK(hints_of(NULL, 0) == NULL);
    CHECK_EQ(hints_held(told.node->hints, number_of(1)).epoch, 0);
    CHECK_EQ(hints_held(told.node->hints, 0).epoch, 0);
    CHECK(hints_next_led(told.node->hints, number_of(1), &at, &partition) == NULL);
    told_world_free(&told);
}

TEST(the_highest_term_counts)
{
    struct told_world told = told_world_new();
    (void)add(&told, 3, 7);
    say(&told, 1, false, 5);
    check_known(&told, 3, 1, 7);
    (void)add(&told, 3, 6); /* late news */
    say(&told, 2, false, 5);
    check_known(&told, 3, 1, 7);
    (void)add(&told, 3, 8);
    say(&told, 2, false, 5);
    check_known(&told, 3, 2, 8);
    (void)add(&told, 3, 7); /* who does not know that it is deposed */
    say(&told, 1, true, 5);
    check_known(&told, 3, 2, 8);
    struct hints_wire_entry *moving = add(&told, 3, 8);
    moving->flags = 4;
    moving->bytes_left = 99;
    moving->members.members_count = 2;
    say(&told, 2, false, 5);
    const struct hint *hint = hints_of(told.node->hints, 3);
    CHECK(hint != NULL && hint->flags == 4 && hint->bytes_left == 99);
    CHECK(hint != NULL && hint->members.members_count == 2);
    told_world_free(&told);
}

TEST(a_leader_says_that_it_leads_no_more)
{
    struct told_world told = told_world_new();
    (void)add(&told, 3, 7);
    say(&told, 1, false, 5);
    add(&told, 3, 6)->flags = HINT_NOT_LEADING; /* of an earlier time */
    say(&told, 1, false, 5);
    check_known(&told, 3, 1, 7);
    add(&told, 3, 7)->flags = HINT_NOT_LEADING; /* somebody else's business */
    say(&told, 2, false, 5);
    check_known(&told, 3, 1, 7);
    add(&told, 3, 7)->flags = HINT_NOT_LEADING;
    say(&told, 1, false, 5);
    check_known(&told, 3, UINT32_MAX, 7);
    (void)add(&told, 3, 6);
    say(&told, 2, false, 5);
    check_known(&told, 3, UINT32_MAX, 7);
    told_world_free(&told);
}

TEST(a_full_frame_says_what_is_not_led_as_well)
{
    struct told_world told = told_world_new();
    for (uint32_t i = 0; i < GROUPS; i++) {
        (void)add(&told, i, 5);
    }
    say(&told, 1, false, 5);
    (void)add(&told, 2, 6);
    (void)add(&told, GROUPS - 1, 6);
    say(&told, 2, true, 5); /* which does not speak of what another leads */
    for (uint32_t i = 0; i < GROUPS; i++) {
        bool is_second = i == 2 || i == GROUPS - 1;
        check_known(&told, i, is_second ? 2 : 1, is_second ? 6 : 5);
    }
    (void)add(&told, 1, 5);
    (void)add(&told, 4, 5);
    say(&told, 1, false, 5); /* the same again: nothing goes */
    check_known(&told, 0, 1, 5);
    (void)add(&told, 1, 5);
    (void)add(&told, 4, 5);
    say(&told, 1, true, 5);
    for (uint32_t i = 0; i < GROUPS; i++) {
        bool is_second = i == 2 || i == GROUPS - 1;
        bool is_first = i == 1 || i == 4;
        check_known(&told, i, is_second ? 2 : is_first ? 1 : UINT32_MAX, is_second ? 6 : 5);
    }
    told_world_free(&told);
}

TEST(one_after_the_other)
{
    struct told_world told = told_world_new();
    uint32_t at = 0;
    uint32_t partition = 0;
    (void)add(&told, 0, 5);
    (void)add(&told, 7, 5);
    (void)add(&told, GROUPS - 1, 5);
    say(&told, 1, true, 5);
    (void)add(&told, 3, 5);
    say(&told, 2, true, 5);
    CHECK(hints_next_led(told.node->hints, number_of(1), &at, &partition) != NULL);
    CHECK_EQ(partition, 0);
    CHECK(hints_next_led(told.node->hints, number_of(1), &at, &partition) != NULL);
    CHECK_EQ(partition, 7);
    CHECK(hints_next_led(told.node->hints, number_of(1), &at, &partition) != NULL);
    CHECK_EQ(partition, GROUPS - 1);
    CHECK(hints_next_led(told.node->hints, number_of(1), &at, &partition) == NULL);
    CHECK(hints_next_led(told.node->hints, number_of(1), &at, &partition) == NULL);
    told_world_free(&told);
}

/* Nobody's silence, and no word of an older or newer list, says that it holds nothing. */
TEST(only_its_word_of_this_list_says_that_it_holds_nothing)
{
    struct told_world told = told_world_new();
    const struct hints *hints = told.node->hints;
    CHECK(!hints_holds_nothing(hints, number_of(1), EPOCH));
    say(&told, 1, false, 1);
    CHECK(!hints_holds_nothing(hints, number_of(1), EPOCH));
    say(&told, 1, false, 0);
    CHECK(hints_holds_nothing(hints, number_of(1), EPOCH));
    CHECK(!hints_holds_nothing(hints, number_of(1), EPOCH - 1));
    CHECK(!hints_holds_nothing(hints, number_of(1), EPOCH + 1));
    CHECK(!hints_holds_nothing(hints, number_of(2), EPOCH));
    told_world_free(&told);
}

/* Members of yesterday make room for those of today; those of today keep their place. */
TEST(how_many_partitions_each_holds)
{
    struct told_world told = told_world_new();
    say(&told, 1, false, 5);
    say(&told, 2, true, GROUPS);
    check_held(told.node->hints, number_of(1), 5);
    say(&told, 1, false, 0);
    check_held(told.node->hints, number_of(1), 0);
    for (uint32_t i = 0; i < 3 * MEMBERS_MAX; i++) {
        char body[HINTS_WIRE_HEAD_BYTES];
        struct hints_wire_head head = { .epoch = EPOCH, .held = 3 };
        hints_wire_head_write(&head, body);
        body_take(&told, 1 + i, slice_make(body, sizeof(body)));
        check_held(told.node->hints, 1 + i, 3);
    }
    check_held(told.node->hints, number_of(2), GROUPS);
    told_world_free(&told);
}

/* Advice may be lost: what was read before is kept, and what was not said is not concluded. */
TEST(a_malformed_frame_concludes_nothing)
{
    struct told_world told = told_world_new();
    char bytes[HINTS_WIRE_HEAD_BYTES + HINTS_WIRE_ENTRY_BYTES_MAX];
    struct hints_wire_head head = { .is_all = true, .held = 1, .count = 2 };
    for (uint32_t i = 0; i < GROUPS; i++) {
        (void)add(&told, i, 5);
    }
    say(&told, 1, true, 5);
    hints_wire_head_write(&head, bytes);
    size_t size = HINTS_WIRE_HEAD_BYTES;
    const struct hints_wire_entry *entry = add(&told, 0, 6);
    size += hints_wire_entry_write(entry, bytes + size);
    body_take(&told, number_of(1), slice_make(bytes, size));
    for (uint32_t i = 1; i < GROUPS; i++) {
        check_known(&told, i, 1, 5);
    }
    body_take(&told, 0, slice_make(bytes, size)); /* from nobody: not even read */
    told_world_free(&told);
}

/* ── nodes that tell each other ──────────────────────────────────────────────────────────────── */

static void turn(struct machine *host)
{
    hints_step(&host->node);
}

static bool raft_event(struct machine *host, const struct peer_event *event)
{
    return hints_on_peer_event(&host->node, event);
}

static struct world *telling_world_new(uint64_t seed)
{
    struct world *world = world_new(3, seed);
    world->on_turn = turn;
    world->on_raft = raft_event;
    world_start(world);
    for (uint32_t i = 0; i < world->count; i++) {
        world->hosts[i].node.hints = hints_new(GROUPS);
    }
    return world;
}

static void telling_world_free(struct world *world)
{
    for (uint32_t i = 0; i < world->count; i++) {
        hints_free(world->hosts[i].node.hints);
    }
    world_free(world);
}

/* Everybody but the leader itself has been told exactly what the leader's raft says. */
static void check_told(struct world *world, uint32_t group)
{
    struct machine *leader = leader_of(world, group);
    uint64_t at = 0;
    CHECK(leader != NULL);
    for (uint32_t i = 0; leader != NULL && i < world->count; i++) {
        const struct hints *hints = world->hosts[i].node.hints;
        const struct hint *hint = hints_of(hints, group);
        if (i == leader->at) {
            continue;
        }
        CHECK(hint != NULL);
        if (hint != NULL) {
            const struct raft *raft = replica_at(leader, group)->raft;
            CHECK_EQ(hint->leader, number_of(leader->at));
            CHECK_EQ(hint->term, raft_term(raft));
            CHECK(raft_config_equal(&hint->members, raft_config(raft, &at)));
        }
        CHECK_EQ(hints_held(hints, number_of(leader->at)).partitions, GROUPS);
    }
}

TEST(everybody_is_told_who_leads)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct world *world = telling_world_new(seed);
        world_run(world, 2000);
        for (uint32_t round = 0; round < 5; round++) {
            for (uint32_t g = 0; g < GROUPS; g++) {
                check_told(world, g);
            }
            uint32_t group = (uint32_t)prng_below(&world->prng, GROUPS);
            make_leader(world, group, (uint32_t)prng_below(&world->prng, world->count));
            world_run(world, 200);
            check_told(world, group);
        }
        telling_world_free(world);
    }
}

/* What is to move is told within a second; who led and does so no more says so. */
TEST(what_is_left_to_move_is_told)
{
    struct world *world = telling_world_new(6);
    world_run(world, 2000);
    make_leader(world, 4, 0);
    hints_set_moving(world->hosts[0].node.hints, replica_at(&world->hosts[0], 4), 6, 12345);
    world_run(world, 400);
    for (uint32_t i = 1; i < world->count; i++) {
        const struct hint *hint = hints_of(world->hosts[i].node.hints, 4);
        CHECK(hint != NULL && hint->flags == 6 && hint->bytes_left == 12345);
    }
    make_leader(world, 4, 1);
    world_run(world, 400);
    const struct hint *hint = hints_of(world->hosts[2].node.hints, 4);
    CHECK(hint != NULL && hint->flags == 0 && hint->bytes_left == 0);
    CHECK(hint != NULL && hint->leader == number_of(1));
    make_leader(world, 4, 0); /* once more: what was left then says nothing of now */
    world_run(world, 400);
    hint = hints_of(world->hosts[2].node.hints, 4);
    CHECK(hint != NULL && hint->leader == number_of(0));
    CHECK(hint != NULL && hint->flags == 0 && hint->bytes_left == 0);
    telling_world_free(world);
}

/* A leader that cannot be heard is forgotten as soon as another one is heard; when it is back it is
 * told, and nobody believes its old news. */
TEST(a_deposed_leader_is_not_believed)
{
    struct world *world = telling_world_new(7);
    world_run(world, 2000);
    for (uint32_t g = 0; g < GROUPS; g++) {
        make_leader(world, g, 0);
    }
    world_isolate(world, 0, true);
    world_run(world, 3000);
    for (uint32_t g = 0; g < GROUPS; g++) {
        struct machine *leader = leader_of(world, g);
        CHECK(leader != NULL && leader->at != 0);
        const struct machine *other = &world->hosts[leader != NULL && leader->at == 1 ? 2 : 1];
        const struct hint *hint = hints_of(other->node.hints, g);
        CHECK(hint != NULL && leader != NULL && hint->leader == number_of(leader->at));
    }
    world_isolate(world, 0, false);
    world_run(world, 7000); /* links come back, and all is told once more */
    for (uint32_t g = 0; g < GROUPS; g++) {
        check_told(world, g);
    }
    telling_world_free(world);
}

TEST_MAIN
