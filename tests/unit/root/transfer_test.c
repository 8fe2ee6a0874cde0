/*
 * transfer_test.c — a replica that is too far behind gets the whole group: random contents, writes
 * meanwhile, and every way in which a transfer can end before its end.
 *
 * The network is the simulated one, and Raft decides as it does in a node; what is made up is who
 * falls behind: hosts keep only a little of their log, and one of them is cut off for a while.
 *
 * Read next: consensus_world.h.
 */
#include "consensus_world.h"

#include "base/endian.h"
#include "storage/snapshot.h"

enum { STATES_MAX = 200, LAGGARD = 2 };

/* What a partition held, by group and index. */
struct state {
    uint32_t group;
    uint64_t index, digest, sessions;
};

/* What the test does to the links, and what it has seen. */
struct lab {
    struct state states[STATES_MAX];
    uint32_t states_count;
    uint64_t fetched;     /* by the laggard, as last seen */
    uint32_t adopted;     /* and the same as what was sent */
    uint64_t next_ns;     /* to write at */
    uint32_t frames;      /* of BULK links that the laggard received */
    uint32_t break_at;    /* the laggard closes the link at this frame; 0: never */
    uint32_t tamper_at;   /* this frame is changed, or cut short */
    uint32_t tamper_byte; /* which of its bytes */
    bool is_cutting;
    bool has_absurd_terms; /* each beginning is of a term that no message can carry */
    uint32_t lose_from;    /* from this frame on the laggard hears nothing, and its link lives */
    struct buffer tampered;
    uint32_t writes_per_ms;
};

static struct lab *lab_of(const struct machine *host)
{
    return host->world->context;
}

/* ── looking ─────────────────────────────────────────────────────────────────────────────────── */

static const struct state *state_find(const struct lab *lab, uint32_t group, uint64_t index)
{
    for (uint32_t i = 0; i < lab->states_count; i++) {
        if (lab->states[i].group == group && lab->states[i].index == index) {
            return &lab->states[i];
        }
    }
    return NULL;
}

static struct state state_now(const struct machine *host, uint32_t group)
{
    const struct shard *shard = &host->node.shard;
    return (struct state){ group, shard->groups[group].applied,
                           partition_digest(shard->keyspace.partitions[group]),
                           sessions_digest(&shard->sessions[group]) };
}

/* Somebody is asked for this group: what he sends is what he holds now. */
static void note_sent(struct machine *host, uint32_t group)
{
    struct lab *lab = lab_of(host);
    struct state state = state_now(host, group);
    CHECK(lab->states_count < STATES_MAX);
    if (state_find(lab, group, state.index) == NULL && lab->states_count < STATES_MAX) {
        lab->states[lab->states_count++] = state;
    }
}

/* A snapshot may have been adopted in this turn, and nothing was applied since. */
static void compare_adopted(struct machine *host)
{
    struct lab *lab = lab_of(host);
    uint64_t fetched = transfers_stats(host->node.transfers).fetched;
    uint32_t same = 0;
    for (uint32_t g = 0; g < GROUPS && fetched != lab->fetched; g++) {
        const struct state *sent = state_find(lab, g, host->node.shard.groups[g].applied);
        struct state state = state_now(host, g);
        if (sent != NULL) {
            same++;
            CHECK_EQ(sent->digest, state.digest);
            CHECK_EQ(sent->sessions, state.sessions);
        }
    }
    CHECK(fetched == lab->fetched || same > 0);
    lab->adopted += same;
    lab->fetched = fetched;
}

/* No view is left open, and no transfer under way. */
static void check_quiet(const struct world *world)
{
    for (uint32_t i = 0; i < world->count; i++) {
        const struct node *node = &world->hosts[i].node;
        struct transfer_stats stats = transfers_stats(node->transfers);
        CHECK_EQ(stats.fetching, 0);
        CHECK_EQ(stats.sending, 0);
        CHECK_EQ(node->shard.discarded_count, 0);
        for (uint32_t g = 0; g < GROUPS; g++) {
            CHECK_EQ(kv_views_count(node->shard.keyspace.partitions[g]), 0);
        }
    }
}

/* ── doing ───────────────────────────────────────────────────────────────────────────────────── */

/* A random write to some key of the group. */
static void write_something(struct machine *host, uint32_t group)
{
    struct prng *prng = &host->world->prng;
    char key[64];
    char px[24];
    char *value = NULL;
    size_t size = prng_chance(prng, 1, 20) ? 20000 : 200;
    (void)snprintf(key, sizeof(key), "{%s}%u", host->world->keys[group],
                   (unsigned)prng_below(prng, 2000));
    (void)snprintf(px, sizeof(px), "%u", (unsigned)(1 + prng_below(prng, 30000)));
    value = mem_zalloc(size + 1);
    memset(value, 'a' + (int)prng_below(prng, 26), prng_below(prng, size + 1));
    struct slice set[] = {
        { 0 }, slice_from(key), slice_from(value), slice_from("PX"), slice_from(px)
    };
    switch (prng_below(prng, 8)) {
    case 5:
        ask_short_lived(host, group, (uint32_t)prng_below(prng, 30),
                        (uint32_t)(1 + prng_below(prng, 30000)));
        break;
    case 6:
        if (prng_chance(prng, 1, 10)) {
            (void)ask_read(host, group, ask_write(host, group));
        }
        break;
    case 0:
        ask_for(host, 0, group, "del", 2, set, NULL, false);
        break;
    case 1:
        ask_for(host, 0, group, "append", 3, set, NULL, false);
        break;
    case 2:
        ask_for(host, 0, group, "set", 5, set, NULL, false);
        break;
    default:
        ask_for(host, 0, group, "set", 3, set, NULL, false);
        break;
    }
    mem_free(value);
}

static void lab_turn(struct machine *host)
{
    struct lab *lab = lab_of(host);
    if (host->at == LAGGARD) {
        compare_adopted(host);
    }
    if (host->at != 1 || sim_world_now_ns(host->world->sim) < lab->next_ns) {
        return;
    }
    lab->next_ns = sim_world_now_ns(host->world->sim) + MS;
    for (uint32_t i = 0; i < lab->writes_per_ms; i++) {
        uint32_t group = (uint32_t)prng_below(&host->world->prng, 2);
        if (replica_is_leader(replica_at(host, group))) {
            write_something(host, group);
        }
    }
}

/* Flips a bit, or cuts the frame short. */
static void tamper(struct lab *lab, struct peer_event *event)
{
    lab->tampered.size = 0;
    buffer_append_slice(&lab->tampered, event->body);
    size_t at = lab->tamper_byte % event->body.size;
    lab->tampered.data[at] ^= 0x20;
    event->body = buffer_slice(&lab->tampered);
    /* A beginning is believed when it is whole: it is checked with the frame that it comes in. */
    bool is_begin = event->frame_kind == PEER_FRAME_SNAPSHOT_BEGIN;
    event->body.size = lab->is_cutting || is_begin ? at : event->body.size;
}

static void tamper_term(struct lab *lab, struct peer_event *event)
{
    enum { TERM_AT = 10 };
    lab->tampered.size = 0;
    buffer_append_slice(&lab->tampered, event->body);
    store_u64(lab->tampered.data + TERM_AT, UINT64_C(1) << 48);
    event->body = buffer_slice(&lab->tampered);
}

static bool lab_bulk(struct machine *host, struct peer_event *event)
{
    struct lab *lab = lab_of(host);
    if (event->kind == PEER_EVENT_FRAME && event->frame_kind == PEER_FRAME_SNAPSHOT_ASK) {
        note_sent(host, load_u16(event->body.data));
    }
    if (host->at != LAGGARD || event->kind != PEER_EVENT_FRAME) {
        return true;
    }
    lab->frames++;
    if (lab->lose_from != 0 && lab->frames >= lab->lose_from) {
        return false;
    }
    if (lab->frames == lab->break_at) {
        peers_close(host->node.peers, event->link);
        return false;
    }
    if (lab->frames == lab->tamper_at) {
        tamper(lab, event);
    }
    if (lab->has_absurd_terms && event->frame_kind == PEER_FRAME_SNAPSHOT_BEGIN) {
        tamper_term(lab, event);
    }
    return true;
}

/* Host 1 leads groups 0 and 1, which hold something. */
static struct world *lab_world(uint64_t seed, bool is_on_disk)
{
    struct world *world = world_new(3, seed);
    struct lab *lab = mem_zalloc(sizeof(*lab));
    world->context = lab;
    world->is_short = true;
    world->is_on_disk = is_on_disk;
    world->on_turn = lab_turn;
    world->on_bulk = lab_bulk;
    world_start(world);
    world_run(world, 2000);
    make_leader(world, 0, 1);
    make_leader(world, 1, 1);
    lab->writes_per_ms = 20;
    world_run(world, 200);
    lab->writes_per_ms = 2;
    return world;
}

static void lab_free(struct world *world)
{
    struct lab *lab = world->context;
    world_free(world);
    buffer_free(&lab->tampered);
    mem_free(lab);
}

/* Cuts the laggard off until it cannot be helped by the log any more. */
static void fall_behind(struct world *world)
{
    struct lab *lab = world->context;
    world_isolate(world, LAGGARD, true);
    lab->writes_per_ms = 0;
    world_run(world, 4000);
    for (uint32_t i = 0; i < 40; i++) { /* more than a link takes at once */
        ask_padding(&world->hosts[1], 0, 60000, i);
        ask_padding(&world->hosts[1], 1, 60000, i);
        world_run(world, 20);
    }
    lab->writes_per_ms = 2;
    world_run(world, 100);
}

static void come_back(struct world *world)
{
    struct lab *lab = world->context;
    lab->frames = 0;
    world_isolate(world, LAGGARD, false);
    world_run(world, 6000);
    lab->writes_per_ms = 0;
    world_run(world, 3000);
}

/* ── a transfer ──────────────────────────────────────────────────────────────────────────────── */

/* What arrives is what the sender held at that index, though it is written all the time. */
TEST(what_arrives_is_what_was_there)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct world *world = lab_world(seed, seed % 2 == 0);
        struct lab *lab = world->context;
        fall_behind(world);
        come_back(world);
        CHECK(transfers_stats(world->hosts[LAGGARD].node.transfers).fetched >= 2);
        CHECK_EQ(transfers_stats(world->hosts[LAGGARD].node.transfers).failed, 0);
        CHECK(lab->adopted >= 2);
        check_history(world);
        check_quiet(world);
        lab_free(world);
    }
}

/* The file that the receiver wrote holds what it adopted. */
TEST(the_file_is_the_state)
{
    struct world *world = lab_world(5, /* is_on_disk= */ true);
    struct lab *lab = world->context;
    fall_behind(world);
    come_back(world);
    struct machine *host = &world->hosts[LAGGARD];
    for (uint32_t g = 0; g < 2; g++) {
        const struct group *group = &host->node.shard.groups[g];
        CHECK(group->snapshot_index > 0 && group->snapshot_index <= group->applied);
        struct snapshot_file file = { g, group->snapshot_index };
        struct snapshot_meta meta;
        struct snapshot_report report;
        struct kv *kv = kv_new(HASH_SEED);
        CHECK_EQ(snapshot_load(host->io, "d", &file, 1000 + LAGGARD, kv, NULL, &meta, &report),
                 SNAPSHOT_GOOD);
        const struct state *state = state_find(lab, g, group->snapshot_index);
        CHECK(state != NULL && state->digest == partition_digest(kv));
        CHECK_EQ(meta.index, group->snapshot_index);
        CHECK(meta.term > 0 && meta.time_ms > 0);
        kv_free(kv);
    }
    lab_free(world);
}

/* ── ends before the end ─────────────────────────────────────────────────────────────────────── */

TEST(a_link_breaks_at_each_frame)
{
    bool was_long_enough = false;
    for (uint32_t at = 1; !was_long_enough && at < 1000; at += 1 + at / 3) {
        struct world *world = lab_world(6, at % 2 == 0);
        struct lab *lab = world->context;
        fall_behind(world);
        lab->break_at = at;
        come_back(world);
        const struct transfers *transfers = world->hosts[LAGGARD].node.transfers;
        was_long_enough = lab->frames < at;
        CHECK(!was_long_enough || at > 15);
        CHECK_EQ(transfers_stats(transfers).failed, was_long_enough ? 0 : 1);
        CHECK(transfers_stats(transfers).fetched >= 2);
        check_history(world);
        check_quiet(world);
        lab_free(world);
    }
    CHECK(was_long_enough);
}

/* Blocks and ends that are not what was sent are refused; nothing of them is adopted. */
TEST(frames_that_lie)
{
    for (uint32_t at = 1; at < 14; at += 2) {
        struct world *world = lab_world(7, at % 3 == 0);
        struct lab *lab = world->context;
        fall_behind(world);
        lab->tamper_at = at;
        lab->tamper_byte = (uint32_t)prng_next(&world->prng);
        lab->is_cutting = at % 4 == 1;
        come_back(world);
        CHECK(transfers_stats(world->hosts[LAGGARD].node.transfers).failed >= 1);
        CHECK(transfers_stats(world->hosts[LAGGARD].node.transfers).fetched >= 2);
        check_history(world);
        check_quiet(world);
        lab_free(world);
    }
}

/* A snapshot's term becomes ours when we start from it: no message could carry it. */
TEST(a_term_beyond_all_is_refused)
{
    struct world *world = lab_world(13, false);
    struct lab *lab = world->context;
    const struct node *laggard = &world->hosts[LAGGARD].node;
    fall_behind(world);
    lab->has_absurd_terms = true;
    world_isolate(world, LAGGARD, false);
    world_run(world, 3000);
    CHECK(transfers_stats(laggard->transfers).failed >= 1);
    CHECK_EQ(transfers_stats(laggard->transfers).fetched, 0);
    lab->has_absurd_terms = false;
    come_back(world);
    CHECK(transfers_stats(laggard->transfers).fetched >= 2);
    check_history(world);
    check_quiet(world);
    lab_free(world);
}

/* The sender stops saying anything in the middle, the receiver stops taking anything. */
TEST(the_other_side_stands_still)
{
    for (uint32_t still = 1; still <= 2; still++) {
        struct world *world = lab_world(8, false);
        struct lab *lab = world->context;
        struct sim_options *options = sim_world_options(world->sim);
        fall_behind(world);
        lab->writes_per_ms = 0;
        options->bandwidth_bytes_per_s = 300000; /* some seconds for a partition */
        world_isolate(world, LAGGARD, false);
        for (unsigned i = 0; i < 5000 && lab->frames < 3; i++) {
            world_run(world, 1);
        }
        CHECK(lab->frames >= 3);
        sim_node_pause(world->hosts[still].sim, 20000 * MS);
        world_run(world, 15000);
        for (uint32_t i = 0; i < world->count; i++) {
            const struct node *node = &world->hosts[i].node;
            CHECK(i == still || transfers_stats(node->transfers).sending == 0 || still == 1);
            CHECK(i == still || kv_views_count(node->shard.keyspace.partitions[0]) == 0 ||
                  still == 1);
        }
        options->bandwidth_bytes_per_s = 0;
        world_run(world, 20000);
        check_history(world);
        check_quiet(world);
        lab_free(world);
    }
}

/* Links that live and bring nothing more are given up on both sides. */
TEST(nothing_more_comes)
{
    struct world *world = lab_world(12, false);
    struct lab *lab = world->context;
    fall_behind(world);
    lab->lose_from = 5;
    come_back(world);
    CHECK(transfers_stats(world->hosts[LAGGARD].node.transfers).fetching > 0);
    world_run(world, 6000);
    CHECK(transfers_stats(world->hosts[LAGGARD].node.transfers).failed >= 1);
    lab->lose_from = 0;
    world_run(world, 25000);
    CHECK(transfers_stats(world->hosts[LAGGARD].node.transfers).fetched >= 2);
    check_history(world);
    check_quiet(world);
    /* Somebody asks, and never closes his link. */
    struct machine *host = &world->hosts[LAGGARD];
    uint64_t link = peers_dial(host->node.peers, "10.0.0.2", CLUSTER_PORT, PEER_BULK, number_of(1));
    world_run(world, 1000);
    char *ask = peers_frame_begin(host->node.peers, link, PEER_FRAME_SNAPSHOT_ASK, 10);
    CHECK(ask != NULL);
    memset(ask, 0, 10);
    peers_frame_end(host->node.peers, link, 10);
    world_run(world, 1000);
    CHECK_EQ(transfers_stats(world->hosts[1].node.transfers).sending, 1);
    world_run(world, 15000);
    check_quiet(world);
    lab_free(world);
}

/* The configuration of the snapshot's index comes along. */
TEST(the_configuration_comes_along)
{
    struct world *world = lab_world(13, false);
    struct machine *leader = &world->hosts[1];
    uint64_t at = 0;
    world_isolate(world, LAGGARD, true);
    struct raft_config config = { .members_count = 0 };
    for (uint32_t i = 0; i < world->count; i++) {
        CHECK(raft_config_add(&config, number_of(i), 1000 + i,
                              i == LAGGARD ? RAFT_LEARNER : RAFT_VOTER));
    }
    CHECK_EQ(consensus_change(leader->node.consensus, replica_at(leader, 0), &config), RAFT_OK);
    fall_behind(world);
    come_back(world);
    const struct replica *replica = replica_at(&world->hosts[LAGGARD], 0);
    CHECK(transfers_stats(world->hosts[LAGGARD].node.transfers).fetched >= 2);
    CHECK(raft_config_equal(&replica->applied_config, &config));
    CHECK(raft_config_equal(raft_config(replica->raft, &at), &config));
    check_history(world);
    lab_free(world);
}

/* Somebody still walks through what the snapshot replaced, as when it is being written to a file.
 */
TEST(a_view_of_what_was_replaced)
{
    struct world *world = lab_world(14, false);
    struct shard *shard = &world->hosts[LAGGARD].node.shard;
    fall_behind(world);
    struct kv *before = shard->keyspace.partitions[0];
    uint64_t keys = kv_stats(before)->keys;
    struct kv_view *view = kv_view_begin(before);
    come_back(world);
    CHECK(shard->keyspace.partitions[0] != before);
    CHECK_EQ(shard->discarded_count, 1);
    while (kv_view_next(view) != NULL) {
        keys--;
    }
    CHECK_EQ(keys, 0);
    kv_view_end(view);
    world_run(world, 1000);
    check_history(world);
    check_quiet(world);
    lab_free(world);
}

/* A snapshot that raft does not need any more changes nothing. */
TEST(an_unwanted_snapshot)
{
    for (unsigned is_on_disk = 0; is_on_disk < 2; is_on_disk++) {
        struct world *world = lab_world(9, is_on_disk);
        struct lab *lab = world->context;
        lab->writes_per_ms = 0;
        world_run(world, 1000);
        struct machine *host = &world->hosts[LAGGARD];
        struct raft_snapshot wanted = { .index = 1 };
        uint64_t applied = replica_at(host, 0)->applied;
        transfers_fetch(host->node.transfers, replica_at(host, 0), number_of(1), &wanted);
        world_run(world, 3000);
        CHECK_EQ(transfers_stats(host->node.transfers).fetched, 1);
        CHECK(replica_at(host, 0)->applied >= applied);
        wanted.index = applied + 1000; /* nobody has that */
        transfers_fetch(host->node.transfers, replica_at(host, 0), number_of(1), &wanted);
        world_run(world, 3000);
        wanted.index = 1;
        transfers_fetch(host->node.transfers, replica_at(host, 0), /* nobody: */ 4, &wanted);
        world_run(world, 3000);
        CHECK_EQ(transfers_stats(host->node.transfers).failed, 2);
        check_history(world);
        check_quiet(world);
        lab_free(world);
    }
}

/* ── many ────────────────────────────────────────────────────────────────────────────────────── */

/* Two laggards and all groups: more than a sender takes at a time. */
TEST(more_than_at_a_time)
{
    struct world *world = world_new(5, 10);
    world->is_short = true;
    world_start(world);
    world_run(world, 2000);
    for (uint32_t i = 3; i < 5; i++) {
        world_isolate(world, i, true);
    }
    world_run(world, 5000);
    for (uint32_t i = 0; i < 12 * GROUPS; i++) {
        struct machine *leader = leader_of(world, i % GROUPS);
        CHECK(leader != NULL);
        if (leader != NULL) {
            ask_padding(leader, i % GROUPS, 60000, i / GROUPS);
        }
        world_run(world, i % 4 == 0);
    }
    sim_net_heal(world->sim);
    uint32_t most = 0;
    for (unsigned i = 0; i < 12000; i++) {
        world_run(world, 1);
        for (uint32_t h = 0; h < world->count; h++) {
            struct transfer_stats stats = transfers_stats(world->hosts[h].node.transfers);
            most = stats.sending > most ? stats.sending : most;
            CHECK(stats.sending <= TRANSFERS_MAX && stats.fetching <= TRANSFERS_MAX);
        }
    }
    CHECK(most > 1);
    for (uint32_t i = 3; i < 5; i++) {
        CHECK(transfers_stats(world->hosts[i].node.transfers).fetched >= GROUPS);
    }
    check_history(world);
    check_quiet(world);
    world_free(world);
}

/* The members' group has no keys: the list itself travels. */
TEST(the_list_of_members)
{
    struct world *world = world_new(3, 11);
    world->is_short = true;
    world_start(world);
    world_run(world, 2000);
    make_leader(world, GROUP_META, 0);
    world_isolate(world, LAGGARD, true);
    world_run(world, 4000);
    struct member member = member_of(1);
    for (uint32_t i = 0; i < 12000; i++) {
        struct buffer body = { 0 };
        member.port = (uint16_t)(1 + i);
        members_change_encode(MEMBER_UPDATE, &member, &body);
        CHECK(shard_propose_entry(&world->hosts[0].node.shard, GROUP_META, ENTRY_META,
                                  buffer_slice(&body)));
        buffer_free(&body);
        world_run(world, i % 100 == 0 ? 10 : 0);
    }
    world_isolate(world, LAGGARD, false);
    world_run(world, 6000);
    CHECK_EQ(transfers_stats(world->hosts[LAGGARD].node.transfers).fetched, 1);
    for (uint32_t i = 1; i < world->count; i++) {
        struct buffer a = { 0 };
        struct buffer b = { 0 };
        members_encode(&world->hosts[0].node.members, &a);
        members_encode(&world->hosts[i].node.members, &b);
        CHECK(slice_equal(buffer_slice(&a), buffer_slice(&b)));
        CHECK_EQ(world->hosts[i].node.members.items[1].port, 12000);
        CHECK_EQ(world->hosts[i].node.members.index,
                 replica_at(&world->hosts[i], GROUP_META)->applied);
        buffer_free(&a);
        buffer_free(&b);
    }
    check_quiet(world);
    world_free(world);
}

TEST_MAIN
