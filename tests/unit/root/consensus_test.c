/*
 * consensus_test.c — replicas, their log on disk and the links between them: single rules first,
 * then everything at random.
 *
 * Read next: consensus_world.h.
 */
#include "consensus_world.h"

static struct world *world_ready(uint32_t count, uint64_t seed)
{
    struct world *world = world_new(count, seed);
    world_start(world);
    world_run(world, 2000);
    for (uint32_t g = 0; g < GROUPS; g++) {
        CHECK(leader_of(world, g) != NULL);
    }
    return world;
}

/* ── writes and reads ────────────────────────────────────────────────────────────────────────── */

TEST(writes_and_reads)
{
    struct world *world = world_ready(3, 1);
    for (uint32_t i = 0; i < 300; i++) {
        uint32_t group = i % 5;
        uint32_t write = ask_write(leader_of(world, group), group);
        uint32_t read = ask_read(leader_of(world, group), group, write);
        CHECK_EQ(world->ops[write].fate, OP_OPEN);
        world_run(world, i % 7);
        CHECK(i % 7 < 5 || world->ops[read].fate == OP_DONE);
    }
    world_run(world, 1000);
    for (uint32_t i = 0; i < world->ops_count; i++) {
        CHECK_EQ(world->ops[i].fate, OP_DONE);
    }
    check_history(world);
    world_free(world);
}

/* Without a lease a read waits for a round, and still sees what was written before it. */
TEST(reads_without_a_lease)
{
    struct world *world = world_new(3, 2);
    world->lease_reads = false;
    world_start(world);
    world_run(world, 2000);
    for (uint32_t i = 0; i < 200; i++) {
        struct machine *leader = leader_of(world, 1);
        uint32_t first = ask_write(leader, 1);
        (void)ask_write(leader, 1);
        uint32_t read = ask_read(leader, 1, first);
        CHECK_EQ(world->ops[read].fate, OP_OPEN);
        world_run(world, 30);
        CHECK_EQ(world->ops[read].fate, OP_DONE);
        CHECK_EQ(world->ops[read].length, 2 * (i + 1));
    }
    world_run(world, 1000);
    check_history(world);
    world_free(world);
}

/* A leader without a majority: writes are unknown when their time is up, reads under its lease are
 * answered, others are not. */
TEST(a_leader_alone_gives_up)
{
    struct world *world = world_ready(3, 3);
    make_leader(world, 0, 0);
    struct machine *leader = &world->hosts[0];
    uint32_t before = ask_write(leader, 0);
    world_run(world, 100);
    CHECK_EQ(world->ops[before].fate, OP_DONE);
    world_isolate(world, 0, true);
    uint32_t lost = ask_write(leader, 0);
    uint32_t under_lease = ask_read(leader, 0, UINT32_MAX);
    world_run(world, 5);
    CHECK_EQ(world->ops[under_lease].fate, OP_DONE);
    while (leader->node.consensus->now_ms < replica_lease_until_ms(replica_at(leader, 0))) {
        world_run(world, 1);
    }
    CHECK(replica_is_leader(replica_at(leader, 0))); /* CheckQuorum needs a little longer */
    uint32_t without_lease = ask_read(leader, 0, UINT32_MAX);
    world_run(world, 900);
    CHECK_EQ(world->ops[lost].fate, OP_UNKNOWN);
    world_run(world, 200);
    CHECK_EQ(world->ops[without_lease].fate, OP_NOT_DONE);
    CHECK(!replica_is_leader(replica_at(leader, 0)));
    uint32_t refused = ask_write(leader, 0);
    world_run(world, 10);
    CHECK(strcmp(world->ops[refused].error, "REFUSED") == 0);
    /* The others have a leader, which knows nothing of the lost write. */
    struct machine *other = leader_of(world, 0);
    CHECK(other != NULL && other != leader);
    uint32_t after = ask_write(other, 0);
    world_run(world, 100);
    CHECK_EQ(world->ops[after].fate, OP_DONE);
    CHECK_EQ(world->ops[after].length, 2);
    world_isolate(world, 0, false);
    world_run(world, 2000);
    check_history(world);
    world_free(world);
}

/* Who still waits when another leader's entries come: surely not done. */
TEST(a_write_that_was_replaced_is_not_done)
{
    struct world *world = world_new(3, 4);
    world->request_timeout_ms = 60000;
    world_start(world);
    world_run(world, 2000);
    make_leader(world, 0, 0);
    world_isolate(world, 0, true);
    uint32_t first = ask_write(&world->hosts[0], 0);
    uint32_t second = ask_write(&world->hosts[0], 0);
    world_run(world, 2000);
    CHECK_EQ(world->ops[first].fate, OP_OPEN);
    struct machine *other = leader_of(world, 0);
    uint32_t theirs = ask_write(other, 0);
    world_run(world, 100);
    CHECK_EQ(world->ops[theirs].fate, OP_DONE);
    CHECK_EQ(world->ops[first].fate, OP_OPEN);
    world_isolate(world, 0, false);
    world_run(world, 1000);
    CHECK_EQ(world->ops[first].fate, OP_NOT_DONE);
    CHECK_EQ(world->ops[second].fate, OP_NOT_DONE);
    CHECK(strncmp(world->ops[first].error, "NOQUORUM ", 9) == 0);
    check_history(world);
    world_free(world);
}

/* What was not given to raft yet when leadership ends is surely not done, and said so at once. */
TEST(a_queued_write_of_a_deposed_leader)
{
    struct world *world = world_ready(3, 12);
    make_leader(world, 0, 0);
    struct machine *host = &world->hosts[0];
    struct peer_hello hello = { .number = number_of(1), .incarnation = 1001, .boot = 1 };
    struct raft_message message = {
        .kind = RAFT_MESSAGE_APPEND_RESPONSE,
        .term = replica_at(host, 0)->term + 1,
        .is_rejected = true,
    };
    char bytes[RAFT_WIRE_HEAD_BYTES_MAX];
    size_t size = raft_wire_head_write(&message, bytes);
    uint32_t write = ask_write(host, 0);
    uint32_t read = ask_read(host, 0, write);
    consensus_on_up(host->node.consensus, 12345, &hello);
    CHECK(consensus_on_frame(host->node.consensus, 12345, slice_make(bytes, size)));
    consensus_on_down(host->node.consensus, 12345);
    CHECK(!replica_is_leader(replica_at(host, 0)));
    CHECK(!replica_has_queued(replica_at(host, 0)));
    world_run(world, 2);
    CHECK_EQ(world->ops[write].fate, OP_NOT_DONE);
    world_run(world, 2000);
    CHECK(world->ops[read].fate != OP_OPEN);
    check_history(world);
    world_free(world);
}

/* Host 0 is elected and says so to nobody; it takes a write into its log. */
static void elected_and_cut_off(struct machine *host)
{
    struct world *world = host->world;
    if (host->at == 0 && replica_is_leader(replica_at(host, 0))) {
        uint32_t *write = world->context;
        world_isolate(world, 0, true);
        world->on_turn = NULL;
        *write = ask_write(host, 0);
    }
}

/* Entries of these terms, behind what host 0 has committed, as from a leader of the last one; it
 * knows that the first `committed` of them are. */
static void append_from_host_1(struct machine *host, const uint64_t *terms, uint32_t count,
                               uint32_t committed)
{
    const struct replica *replica = replica_at(host, 0);
    struct peer_hello hello = { .number = number_of(1), .incarnation = 1001, .boot = 1 };
    struct raft_message message = {
        .kind = RAFT_MESSAGE_APPEND,
        .term = terms[count - 1],
        .index = replica->applied,
        .log_term = replica->applied_term,
        .commit = replica->applied + committed,
        .hint = replica->applied + count,
        .entries_count = count,
    };
    struct effects effects = { 0 };
    effects_clear(&effects, 0);
    char bytes[1024];
    char *end = bytes + raft_wire_head_write(&message, bytes);
    for (uint32_t i = 0; i < count; i++) {
        char encoded[200];
        struct entry entry = { .index = replica->applied + 1 + i,
                               .term = terms[i],
                               .kind = ENTRY_EFFECT,
                               .body = buffer_slice(&effects.parts[0].body) };
        entry_header_write(&entry, encoded);
        memcpy(encoded + ENTRY_HEADER_BYTES, entry.body.data, entry.body.size);
        end +=
            raft_wire_entry_write(slice_make(encoded, ENTRY_HEADER_BYTES + entry.body.size), end);
    }
    effects_deinit(&effects);
    consensus_on_up(host->node.consensus, 12345, &hello);
    CHECK(
        consensus_on_frame(host->node.consensus, 12345, slice_make(bytes, (size_t)(end - bytes))));
    consensus_on_down(host->node.consensus, 12345);
}

/* Raft's figure 8: at the place of a write that waits stands in the end an entry of a lower term.
 */
TEST(a_write_replaced_by_an_older_entry)
{
    struct world *world = world_new(3, 11);
    uint32_t write = UINT32_MAX;
    world->request_timeout_ms = 60000;
    world_start(world);
    world_run(world, 2000);
    make_leader(world, 0, 1);
    world->context = &write;
    world->on_turn = elected_and_cut_off;
    (void)consensus_transfer(world->hosts[1].node.consensus, replica_at(&world->hosts[1], 0),
                             number_of(0));
    world_run(world, 200);
    CHECK(write != UINT32_MAX);
    struct machine *host = &world->hosts[0];
    const struct replica *replica = replica_at(host, 0);
    uint64_t term = replica->term;
    CHECK_EQ(replica->window_last, replica->applied + 2); /* its no-op and the write */
    const uint64_t terms[] = { term - 1, term - 1, term - 1, term + 1 };
    append_from_host_1(host, terms, 4, 4);
    world_run(world, 100);
    CHECK_EQ(replica->applied_term, term + 1);
    CHECK_EQ(world->ops[write].fate, OP_NOT_DONE);
    world_free(world);
}

static void write_when_leading(struct machine *host)
{
    struct world *world = host->world;
    if (host->at == 0 && replica_is_leader(replica_at(host, 0))) {
        uint32_t *write = world->context;
        world->on_turn = NULL;
        *write = ask_write(host, 0);
        (void)ask_read(host, 0, *write);
    }
}

/* A leader is deposed, and leads again while writes of its first term still wait in front, for
 * higher indexes than those of its new term. */
TEST(a_leader_again_with_old_writes_waiting)
{
    struct world *world = world_new(3, /* in which host 0 is elected again: */ 6);
    uint32_t fresh = UINT32_MAX;
    world->request_timeout_ms = 60000;
    world_start(world);
    world_run(world, 2000);
    make_leader(world, 0, 0);
    world_isolate(world, 0, true);
    struct machine *host = &world->hosts[0];
    uint32_t old = ask_write(host, 0);
    for (unsigned i = 0; i < 50; i++) {
        (void)ask_write(host, 0);
    }
    world_run(world, 100);
    /* Nobody else has this entry: host 0 votes for nobody but itself from now on. */
    const uint64_t term = replica_at(host, 0)->term + 100;
    append_from_host_1(host, &term, 1, 0);
    CHECK_EQ(replica_at(host, 0)->window_last, replica_at(host, 0)->applied + 1);
    world->context = &fresh;
    world->on_turn = write_when_leading;
    world_isolate(world, 0, false);
    world_run(world, 9000);
    CHECK(fresh != UINT32_MAX);
    CHECK_EQ(world->ops[fresh].fate, OP_DONE);
    CHECK_EQ(world->ops[fresh + 1].fate, OP_DONE);
    CHECK_EQ(world->ops[old].fate, OP_NOT_DONE);
    check_history(world);
    world_free(world);
}

TEST(a_repeated_write_happens_once)
{
    struct world *world = world_ready(3, 6);
    make_leader(world, 0, 0);
    struct request_origin origin = { .node = 99, .boot = 1, .seq = 1, .floor = 1 };
    uint32_t first = ask_append(&world->hosts[0], 0, &origin, UINT32_MAX);
    uint32_t again = ask_append(&world->hosts[0], 0, &origin, first);
    world_run(world, 100);
    make_leader(world, 0, 1);
    uint32_t later = ask_append(&world->hosts[1], 0, &origin, first);
    world_run(world, 1000);
    CHECK_EQ(world->ops[first].length, 1);
    CHECK_EQ(world->ops[again].length, 1);
    CHECK_EQ(world->ops[later].length, 1);
    check_history(world);
    world_free(world);
}

/* ── laggards ────────────────────────────────────────────────────────────────────────────────── */

static uint64_t fetched(const struct world *world, uint32_t at)
{
    return transfers_stats(world->hosts[at].node.transfers).fetched;
}

static void pad(struct world *world, uint32_t group, uint32_t count, size_t size)
{
    for (uint32_t i = 0; i < count; i++) {
        struct machine *leader = leader_of(world, group);
        if (leader != NULL) {
            ask_padding(leader, group, size, i % 5);
        }
        world_run(world, 4);
    }
}

/* Who was away for a while gets what it missed, large values, too, and no snapshot. */
TEST(a_laggard_gets_the_log)
{
    struct world *world = world_ready(3, 13);
    make_leader(world, 0, 0);
    make_leader(world, 1, 1);
    world_isolate(world, 2, true);
    world_run(world, 4000); /* the links are given up, and what they hold is lost */
    pad(world, 0, 1000, 100);
    pad(world, 1, 20, 400000);
    world_isolate(world, 2, false);
    world_run(world, 9000);
    CHECK_EQ(fetched(world, 2), 0);
    check_history(world);
    world_free(world);
}

TEST(too_far_behind_is_a_snapshot)
{
    struct world *world = world_new(3, 14);
    world->is_short = true;
    world_start(world);
    world_run(world, 2000);
    make_leader(world, 1, 1);
    world_isolate(world, 2, true);
    world_run(world, 4000);
    pad(world, 1, 20, 100000);
    world_isolate(world, 2, false);
    world_run(world, 9000);
    CHECK_EQ(fetched(world, 2), 1);
    check_history(world);
    world_free(world);
}

/* A write waits where a snapshot takes its place: it may have happened (and has). */
TEST(a_write_under_a_snapshot_is_unknown)
{
    struct world *world = world_new(3, 15);
    world->is_short = true;
    world->request_timeout_ms = 60000;
    world_start(world);
    world_run(world, 2000);
    make_leader(world, 0, 0);
    for (uint32_t i = 1; i < 3; i++) { /* host 0 is heard, and hears nothing */
        sim_net_block(world->sim, world->hosts[i].sim, world->hosts[0].sim, true);
    }
    uint32_t write = ask_write(&world->hosts[0], 0);
    world_run(world, 3000);
    CHECK_EQ(world->ops[write].fate, OP_OPEN);
    CHECK(leader_of(world, 0) != &world->hosts[0]);
    pad(world, 0, 20, 100000);
    world_isolate(world, 0, false);
    world_run(world, 9000);
    CHECK_EQ(fetched(world, 0), 1);
    CHECK_EQ(world->ops[write].fate, OP_UNKNOWN);
    struct kv_scratch scratch;
    CHECK_EQ(register_of(&world->hosts[0], 0, &scratch).size, TOKEN_BYTES);
    check_history(world);
    world_free(world);
}

/* ── bounds ──────────────────────────────────────────────────────────────────────────────────── */

/* More than may be uncommitted is refused at once, and nothing leaks that would refuse for ever. */
TEST(too_much_under_way_is_refused)
{
    struct world *world = world_ready(3, 7);
    make_leader(world, 0, 0);
    world_isolate(world, 0, true);
    for (uint32_t i = 0; i < 200; i++) {
        ask_padding(&world->hosts[0], 0, (1u << 20) >> i / 10, i);
    }
    uint32_t refused = ask_write(&world->hosts[0], 0);
    world_run(world, 10);
    CHECK(strncmp(world->ops[refused].error, "BUSY ", 5) == 0);
    CHECK(raft_uncommitted_bytes(replica_at(&world->hosts[0], 0)->raft) > 14 << 20);
    world_run(world, 3000);
    world_isolate(world, 0, false);
    world_run(world, 3000);
    struct machine *leader = leader_of(world, 0);
    uint32_t taken = ask_write(leader, 0);
    world_run(world, 1000);
    CHECK_EQ(world->ops[taken].fate, OP_DONE);
    for (uint32_t i = 0; i < world->count; i++) {
        CHECK_EQ(raft_uncommitted_bytes(replica_at(&world->hosts[i], 0)->raft), 0);
        CHECK_EQ(replica_at(&world->hosts[i], 0)->queued_bytes, 0);
    }
    check_history(world);
    world_free(world);
}

/* A thousand proposals of one turn reach raft in batches. */
TEST(many_proposals_in_one_turn)
{
    struct world *world = world_ready(3, 8);
    make_leader(world, 2, 1);
    uint32_t first = world->ops_count;
    for (uint32_t i = 0; i < 1500; i++) {
        (void)ask_write(&world->hosts[1], 2);
    }
    world_run(world, 2000);
    for (uint32_t i = 0; i < 1500; i++) {
        CHECK_EQ(world->ops[first + i].length, i + 1);
    }
    for (uint32_t i = 0; i < world->count; i++) {
        const struct replica *replica = replica_at(&world->hosts[i], 2);
        uint64_t kept = replica->window_last + 1 - replica->window_first;
        CHECK(kept < (i == 1 ? 600 : 2100));
        CHECK_EQ(raft_first_index(replica->raft), replica->window_first);
    }
    check_history(world);
    world_free(world);
}

/* Without anything to do nobody runs more often than timers ask for. */
TEST(an_idle_cluster_sleeps)
{
    struct world *world = world_ready(3, 9);
    world->is_sleepy = true;
    world_run(world, 1000);
    uint64_t before[HOSTS_MAX];
    for (uint32_t i = 0; i < world->count; i++) {
        before[i] = sim_node_turns(world->hosts[i].sim);
    }
    world_run(world, 10000);
    for (uint32_t i = 0; i < world->count; i++) {
        uint64_t turns = sim_node_turns(world->hosts[i].sim) - before[i];
        CHECK(turns < 10 * 1000); /* a heartbeat to each of two, and one from each, 20 times/s */
    }
    world_free(world);
}

/* ── the log on disk ─────────────────────────────────────────────────────────────────────────── */

enum { JUDGED_MAX = 8192 };

/* What a group's records have said so far. */
struct judged {
    uint64_t term, vote; /* of the newest hard state */
    uint64_t last;       /* index */
    uint64_t terms[JUDGED_MAX], times[JUDGED_MAX];
    uint64_t hint, hard_states, newest_hard_state;
};

static void judge_record(struct judged *group, const struct aof_record *record)
{
    struct entry entry;
    struct hard_state state;
    struct log_reset reset;
    switch (record->type) {
    case AOF_ENTRY:
        CHECK(entry_decode(record->body, &entry));
        CHECK(entry.index >= 1 && entry.index <= group->last + 1 && entry.index < JUDGED_MAX);
        CHECK(entry.index > group->hint); /* what is committed is never written again */
        CHECK(entry.term <= group->term); /* a term is on disk before its entries */
        CHECK(entry.term >= group->terms[entry.index - 1]);
        CHECK(entry.time_ms >= group->times[entry.index - 1]);
        group->last = entry.index;
        group->terms[entry.index] = entry.term;
        group->times[entry.index] = entry.time_ms;
        break;
    case AOF_HARD_STATE:
        CHECK(hard_state_read(record->body, &state));
        CHECK(state.term >= group->term);
        CHECK(state.term > group->term || group->vote == 0 || state.voted_for == group->vote);
        CHECK(state.commit <= group->last);
        group->term = state.term;
        group->vote = state.voted_for;
        group->hint = state.commit > group->hint ? state.commit : group->hint;
        group->hard_states++;
        group->newest_hard_state = record->sequence;
        break;
    case AOF_LOG_RESET:
        CHECK(log_reset_read(record->body, &reset));
        CHECK(reset.index > group->hint && reset.index < JUDGED_MAX);
        group->last = reset.index;
        group->terms[reset.index] = reset.term;
        group->times[reset.index] = 0;
        break;
    case AOF_MARK:
        break;
    }
}

/* The records of a host's log that is closed; GROUPS + 1 results. */
static struct judged *judge_log(struct machine *host)
{
    struct judged *groups = mem_zalloc((GROUPS + 1) * sizeof(*groups));
    struct io *io = sim_node_boot(host->sim);
    struct aof_reader *reader = NULL;
    struct aof_record record;
    CHECK_EQ(aof_reader_open(io, "d", 1000 + host->at, &reader), 0);
    enum aof_read read = AOF_READ_END;
    while ((read = aof_reader_next(reader, &record)) == AOF_READ_RECORD) {
        judge_record(&groups[record.group == GROUP_META ? GROUPS : record.group], &record);
    }
    CHECK_EQ(read, AOF_READ_END);
    aof_reader_close(reader);
    sim_node_crash(host->sim, false);
    io_free(io);
    return groups;
}

static struct world *world_on_disk(uint64_t seed)
{
    struct world *world = world_new(3, seed);
    world->is_on_disk = true;
    world_start(world);
    world_run(world, 3000);
    return world;
}

/* Hard states come before what depends on them; hints never promise what is not there; and when the
 * log is to be cut, every group's hard state is in what stays. */
TEST(what_is_written)
{
    struct world *world = world_on_disk(10);
    uint64_t synced[HOSTS_MAX] = { 0 };
    for (uint32_t i = 0; i < 3000; i++) {
        uint32_t group = (uint32_t)prng_below(&world->prng, 3);
        struct machine *leader = leader_of(world, group);
        if (leader != NULL) {
            (void)ask_write(leader, group);
        }
        world_run(world, i % 50 == 0 ? 20 : 1);
        if (i % 500 == 499) {
            make_leader(world, group, i / 500 % 3);
        }
        if (i == 2500) {
            for (uint32_t h = 0; h < world->count; h++) {
                struct machine *host = &world->hosts[h];
                synced[h] = host->node.shard.proposed_sequence;
                uint64_t last = consensus_rewrite_hard_states(host->node.consensus, synced[h] + 1);
                CHECK_EQ(last, host->node.shard.proposed_sequence);
                CHECK_EQ(last, synced[h] + GROUPS + 1);
            }
        }
    }
    world_run(world, 2000);
    check_history(world);
    uint64_t applied[HOSTS_MAX][GROUPS];
    uint64_t votes[HOSTS_MAX][GROUPS];
    for (uint32_t h = 0; h < world->count; h++) {
        for (uint32_t g = 0; g < GROUPS; g++) {
            const struct replica *replica = replica_at(&world->hosts[h], g);
            applied[h][g] = replica->applied;
            votes[h][g] = replica_is_leader(replica) ? number_of(h) : 0;
        }
        if (h < 2) { /* the third one ends without a last hint */
            consensus_hint_all(world->hosts[h].node.consensus);
        }
        host_stop(&world->hosts[h]);
    }
    for (uint32_t h = 0; h < world->count; h++) {
        struct judged *groups = judge_log(&world->hosts[h]);
        for (uint32_t g = 0; g <= GROUPS; g++) {
            CHECK(groups[g].newest_hard_state > synced[h]);
            CHECK(groups[g].term > 0);
            CHECK(g == GROUPS || groups[g].last >= applied[h][g]);
            CHECK(g == GROUPS || votes[h][g] == 0 || groups[g].vote == votes[h][g]);
            CHECK(g == GROUPS || h == 2 || groups[g].hint >= applied[h][g]);
            CHECK(g > 2 || groups[g].hint + 400 >= applied[h][g]); /* hints come now and then */
            CHECK(groups[g].hard_states < 40);                     /* ... and no more often */
        }
        mem_free(groups);
    }
    world_free(world);
}

/* ── everything at random ────────────────────────────────────────────────────────────────────── */

enum { ACTIVE_GROUPS = 3, CLIENT_BURST = 4 };

/* A client at this host writes and reads without waiting, or sends again what was sent elsewhere.
 */
static void random_asks(struct machine *host)
{
    struct world *world = host->world;
    struct prng *prng = &world->prng;
    uint32_t group = (uint32_t)prng_below(prng, ACTIVE_GROUPS);
    const struct replica *replica = replica_at(host, group);
    uint64_t rate = replica_is_leader(replica) ? 10 : 400;
    if (world->ops_count + CLIENT_BURST >= OPS_MAX || prng_below(prng, rate) != 0) {
        return;
    }
    uint32_t first = world->ops_count;
    for (uint64_t n = 1 + prng_below(prng, CLIENT_BURST); n > 0; n--) {
        uint64_t seq = world->tokens + 1;
        struct request_origin origin = { .node = 5, .boot = 1, .seq = seq, .floor = 1 };
        switch (prng_below(prng, 9)) {
        case 0:
        case 1:
        case 2:
            (void)ask_read(host, group, first == world->ops_count ? UINT32_MAX : first);
            break;
        case 3: {
            uint32_t again = (uint32_t)prng_below(prng, world->ops_count + 1);
            bool is_one = again < world->ops_count && world->ops[again].is_write &&
                          world->ops[again].group == group;
            origin.seq = is_one ? world->ops[again].token : seq;
            origin.floor = origin.seq > 900 ? origin.seq - 900 : 1;
            (void)ask_append(host, group, &origin, is_one ? again : UINT32_MAX);
            break;
        }
        case 4:
            ask_short_lived(host, group, (uint32_t)prng_below(prng, 5),
                            1 + (uint32_t)prng_below(prng, 200));
            break;
        case 5:
            ask_padding(host, group, 1 + prng_below(prng, 50000), (uint32_t)prng_below(prng, 20));
            break;
        default:
            origin.floor = origin.seq > 900 ? origin.seq - 900 : 1;
            (void)ask_append(host, group, &origin, UINT32_MAX);
            break;
        }
    }
}

static void random_fault(struct world *world)
{
    struct prng *prng = &world->prng;
    uint32_t a = (uint32_t)prng_below(prng, world->count);
    uint32_t b = (uint32_t)((a + 1 + prng_below(prng, world->count - 1)) % world->count);
    uint32_t group = (uint32_t)prng_below(prng, ACTIVE_GROUPS);
    switch (prng_below(prng, 8)) {
    case 7:
        sim_node_wall_step(world->hosts[a].sim, (int64_t)prng_below(prng, 20000) - 10000);
        break;
    case 0:
        world_isolate(world, a, true);
        break;
    case 1:
        sim_net_block(world->sim, world->hosts[a].sim, world->hosts[b].sim, true);
        break;
    case 2:
        sim_node_pause(world->hosts[a].sim, prng_below(prng, 1500) * MS);
        break;
    case 3:
        (void)consensus_transfer(world->hosts[a].node.consensus,
                                 replica_at(&world->hosts[a], group), number_of(b));
        break;
    case 4:
        peers_close(world->hosts[a].node.peers,
                    peers_link(world->hosts[a].node.peers, number_of(b), PEER_RAFT));
        break;
    default:
        sim_net_heal(world->sim);
        break;
    }
}

static void run_random(uint64_t seed)
{
    struct world *world = world_new(seed % 3 == 0 ? 5 : 3, seed);
    struct sim_options *options = sim_world_options(world->sim);
    world->is_short = prng_chance(&world->prng, 1, 2);
    world->is_on_disk = prng_chance(&world->prng, 1, 3);
    world->lease_reads = prng_chance(&world->prng, 1, 2);
    options->reset_ppm = prng_chance(&world->prng, 1, 2) ? 200 : 0;
    options->stall_ppm = prng_chance(&world->prng, 1, 2) ? 2000 : 0;
    options->stall_max_ns = 400 * MS;
    world_start(world);
    world->on_turn = random_asks;
    for (unsigned i = 0; i < 40; i++) {
        world_run(world, prng_below(&world->prng, 400));
        random_fault(world);
    }
    sim_net_heal(world->sim);
    options->reset_ppm = 0;
    options->stall_ppm = 0;
    world->on_turn = NULL;
    world_run(world, 8000);
    for (uint32_t g = 0; g < ACTIVE_GROUPS; g++) { /* something that ends what is open */
        struct machine *leader = leader_of(world, g);
        CHECK(leader != NULL);
        if (leader != NULL) {
            (void)ask_write(leader, g);
        }
    }
    world_run(world, 3000);
    check_history(world);
    uint64_t fetched = 0;
    for (uint32_t h = 0; h < world->count; h++) {
        fetched += transfers_stats(world->hosts[h].node.transfers).fetched;
        host_stop(&world->hosts[h]);
        if (world->is_on_disk) {
            mem_free(judge_log(&world->hosts[h]));
        }
    }
    uint32_t fates[4] = { 0 };
    for (uint32_t i = 0; i < world->ops_count; i++) {
        fates[world->ops[i].fate]++;
    }
    CHECK(fates[OP_DONE] > 50);
    if (test_failures > 0 || getenv("CONSENSUS_TRACE") != NULL) {
        printf("seed %u: %u done, %u not done, %u unknown; %u snapshots\n", (unsigned)seed,
               fates[OP_DONE], fates[OP_NOT_DONE], fates[OP_UNKNOWN], (unsigned)fetched);
    }
    world_free(world);
}

TEST(everything_at_random)
{
    const char *given = getenv("CONSENSUS_SEED");
    uint64_t first = given != NULL ? strtoull(given, NULL, 10) : 1;
    uint64_t count = given != NULL ? 1 : 30;
    for (uint64_t seed = first; seed < first + count && test_failures == 0; seed++) {
        run_random(seed);
    }
}

TEST_MAIN
