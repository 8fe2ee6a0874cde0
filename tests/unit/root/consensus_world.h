/*
 * consensus_world.h — nodes of a cluster without clients and without recovery: everything between
 * a request at a leader and its answer is real, on the simulated machine.
 *
 * Each host has a shard, its log (in memory, or on the simulated disk), links, consensus, transfers
 * and the pipeline's side of forwarded requests.  Requests are asked for directly (ask), as if
 * another node had passed them on; what is answered is collected from the answers' other end.
 *
 * A group's only key is a register to which unique tokens are appended.  So its final value is the
 * order in which all writes took place, and every answer can be judged by it:
 *
 *   a write answers how long the value is then     OK: its token ends there, and stands once
 *   a definite error                               it stands nowhere
 *   UNKNOWN                                        it stands once, or nowhere
 *   a read answers a prefix of it, no shorter than all that was answered before it was asked
 */
#pragma once

#include "base/hash.h"
#include "base/mem.h"
#include "base/prng.h"
#include "cluster/confchange.h"
#include "consensus.h"
#include "forward_internal.h"
#include "io/io.h"
#include "io/io_sim.h"
#include "node.h"
#include "storage/aof_reader.h"
#include "storage/hard_state.h"
#include "test.h"
#include "transfer.h"
#include "vacancy.h"

enum {
    HOSTS_MAX = 5,
    GROUPS = PARTITIONS_MIN,
    OPS_MAX = 20000,
    TOKEN_BYTES = 8,
    CLUSTER_PORT = 7700,
};

static const uint64_t MS = 1000000;
static const uint64_t HASH_SEED = 77;

enum op_fate { OP_OPEN, OP_DONE, OP_NOT_DONE, OP_UNKNOWN };

/* One sending of a request. */
struct op {
    uint32_t host, group;
    bool is_write;
    bool is_resent; /* there are others of the same write */
    enum op_fate fate;
    uint64_t asked_ns, answered_ns;
    uint64_t token;   /* of a write */
    uint64_t length;  /* OP_DONE: of the value in tokens, with its own */
    char *value;      /* OP_DONE of a read; owned */
    uint32_t follows; /* a read: the ops [follows, itself) of this host and group came before it */
    char error[64];
};

struct machine {
    struct world *world;
    uint32_t at;
    struct sim_node *sim;
    struct io *io;
    struct config config;
    struct node node; /* of which only a part lives */
    bool is_up;
};

struct world {
    struct sim_world *sim;
    struct prng prng;
    uint32_t count;
    struct machine hosts[HOSTS_MAX];
    struct members members;
    char keys[GROUPS][24];
    struct op ops[OPS_MAX];
    uint32_t ops_count;
    uint64_t tokens;
    bool is_on_disk;  /* the logs, and snapshots */
    bool is_short;    /* laggards soon get snapshots */
    bool is_sleepy;   /* hosts sleep as long as they want; else a millisecond at most */
    bool lease_reads; /* set before the hosts start */
    uint32_t request_timeout_ms;
    /* Called in each turn of a host, when it may ask. */
    void (*on_turn)(struct machine *host);
    /* Sees the events of BULK links first; false: the event is lost. */
    bool (*on_bulk)(struct machine *host, struct peer_event *event);
    /* Sees the events of RAFT links first; true: a frame for nobody else. */
    bool (*on_raft)(struct machine *host, const struct peer_event *event);
    void *context; /* of the test */
};

/* ── hosts ───────────────────────────────────────────────────────────────────────────────────── */

static struct replica *replica_at(const struct machine *host, uint32_t group)
{
    return consensus_replica(host->node.consensus, group);
}

static struct member member_of(uint32_t at)
{
    struct member member = { .incarnation = 1000 + at,
                             .cluster_port = CLUSTER_PORT,
                             .port = 1,
                             .weight = 1,
                             .state = MEMBER_ACTIVE };
    (void)snprintf(member.id, sizeof(member.id), "n%u", at + 1);
    (void)snprintf(member.host, sizeof(member.host), "10.0.0.%u", at + 1);
    member.number = members_number(member.id);
    return member;
}

static uint64_t number_of(uint32_t at)
{
    struct member member = member_of(at);
    return member.number;
}

static void members_make(struct world *world)
{
    struct member first = member_of(0);
    members_found(&world->members, &first);
    world->members.config = (struct raft_config){ .members_count = 0 };
    for (uint32_t i = 0; i < world->count; i++) {
        struct member member = member_of(i);
        struct buffer body = { 0 };
        members_change_encode(MEMBER_ADD, &member, &body);
        CHECK(i == 0 || members_apply(&world->members, buffer_slice(&body), i, 1));
        buffer_free(&body);
        CHECK(
            raft_config_add(&world->members.config, member.number, member.incarnation, RAFT_VOTER));
    }
    world->members.index = 0;
    world->members.term = 0;
}

static void host_log_open(struct machine *host)
{
    struct aof_options options = { .sync = AOF_SYNC_NO, .next_sequence = 1, .next_segment = 1 };
    if (host->world->is_on_disk) {
        struct io_file_op make = { .kind = IO_FILE_MKDIR, .path = "d" };
        CHECK_EQ(io_file_run(host->io, &make), 0);
        options.dir = "d";
        options.segment_bytes = 1 << 20;
        options.sync = AOF_SYNC_ALWAYS;
        options.identity = 1000 + host->at;
    }
    CHECK_EQ(aof_open(host->io, &options, &host->node.shard.aof), 0);
}

static void host_peers_open(struct machine *host)
{
    struct member member = member_of(host->at);
    struct peers_options options = { .seed = prng_next(&host->world->prng) };
    options.self = (struct peer_hello){
        .number = member.number,
        .incarnation = member.incarnation,
        .boot = 1,
        .cluster = "00112233445566778899aabbccddeeff",
        .cluster_port = CLUSTER_PORT,
        .port = 1,
        .version = "test",
    };
    memcpy(options.self.node, member.id, sizeof(member.id));
    memcpy(options.self.host, member.host, sizeof(member.host));
    struct peer_member list[HOSTS_MAX];
    for (uint32_t i = 0; i < host->world->count; i++) {
        member = member_of(i);
        list[i] = (struct peer_member){ .number = member.number,
                                        .incarnation = member.incarnation,
                                        .port = CLUSTER_PORT };
        memcpy(list[i].host, member.host, sizeof(member.host));
    }
    host->node.peers = peers_new(host->io, &options);
    CHECK_EQ(peers_listen(host->node.peers, "0.0.0.0", CLUSTER_PORT), 0);
    peers_set_members(host->node.peers, list, host->world->count);
}

static void host_consensus_open(struct machine *host)
{
    struct node *node = &host->node;
    struct world *world = host->world;
    struct consensus_options options = {
        .cluster = 9,
        .node = number_of(host->at),
        .incarnation = 1000 + host->at,
        .boot = 1,
        .seed = prng_next(&world->prng),
        .heartbeat_ms = 50,
        .election_timeout_ms = 300,
        .disk_stall_ms = 2000,
        .clock_drift_percent = 5,
        .lease_reads = world->lease_reads,
        .request_timeout_ms = world->request_timeout_ms,
    };
    struct replica_log logs[GROUPS + 1] = { 0 };
    for (uint32_t i = 0; i <= GROUPS; i++) {
        logs[i].boot.base.config = world->members.config;
    }
    node->members = world->members;
    node->consensus = consensus_new(&node->shard, node->peers, NULL, &options, logs, GROUPS + 1);
    node->forward = forward_new(node->peers, node->consensus, &node->shard.answers, NULL,
                                options.node, options.boot, options.request_timeout_ms);
    node->transfers = transfers_new(&node->shard, node->peers, node->consensus, &node->members,
                                    NULL, world->is_on_disk ? "d" : NULL, 1000 + host->at);
    node->consensus->forward = node->forward;
    node->consensus->transfers = node->transfers;
    node->consensus->members = &node->members;
    node->consensus->window_bytes = world->is_short ? UINT64_C(1) << 40 : 0;
    node->shard.consensus = node->consensus;
    node->shard.answers.forward = node->forward;
}

static void host_start(struct machine *host)
{
    struct node *node = &host->node;
    host->io = sim_node_boot(host->sim);
    node->io = host->io;
    node->config = &host->config;
    meter_init(&node->meter, -1, 0, 0);
    shard_init(&node->shard, host->io, GROUPS, HASH_SEED, &node->meter);
    host_log_open(host);
    host_peers_open(host);
    host_consensus_open(host);
    pipeline_init(&node->pipeline, node);
    host->is_up = true;
    io_wait(host->io, 0);
}

static void host_stop(struct machine *host)
{
    struct node *node = &host->node;
    if (!host->is_up) {
        return;
    }
    host->is_up = false;
    transfers_free(node->transfers);
    CHECK_EQ(aof_close(node->shard.aof), 0);
    forward_free(node->forward);
    consensus_free(node->consensus);
    pipeline_deinit(&node->pipeline);
    shard_deinit(&node->shard);
    meter_deinit(&node->meter);
    peers_free(node->peers);
    io_free(host->io);
}

/* ── a host's turn ───────────────────────────────────────────────────────────────────────────── */

static void host_take(struct machine *host, struct peer_event *event)
{
    struct node *node = &host->node;
    bool is_ok = true;
    if (event->channel == PEER_BULK) {
        if (host->world->on_bulk == NULL || host->world->on_bulk(host, event)) {
            transfers_on_peer_event(node->transfers, event);
        }
        return;
    }
    bool is_taken = event->channel == PEER_RAFT && host->world->on_raft != NULL &&
                    host->world->on_raft(host, event);
    if (event->channel != PEER_RAFT || event->is_outgoing || is_taken) {
        return;
    }
    switch (event->kind) {
    case PEER_EVENT_UP:
        consensus_on_up(node->consensus, event->link, event->hello);
        break;
    case PEER_EVENT_DOWN:
        consensus_on_down(node->consensus, event->link);
        break;
    case PEER_EVENT_FRAME:
        is_ok = consensus_on_frame(node->consensus, event->link, event->body);
        break;
    }
    CHECK(is_ok);
}

static void host_drain(struct machine *host)
{
    struct peer_event event;
    while (peers_next(host->node.peers, &event)) {
        host_take(host, &event);
    }
}

static void answers_collect(struct machine *host);

static void host_events(struct machine *host)
{
    struct node *node = &host->node;
    struct io_event event;
    while (io_next(host->io, &event)) {
        if (event.owner == node->shard.aof) {
            aof_on_event(node->shard.aof, &event);
            shard_apply_durable(&node->shard);
        } else if (peers_owns(node->peers, &event)) {
            peers_on_event(node->peers, &event);
            host_drain(host);
        } else if (event.kind == IO_EVENT_FILE && transfers_owns(node->transfers, &event)) {
            transfers_on_event(node->transfers, &event);
        } else if (vacancy_owns(node->vacancy, &event)) {
            vacancy_on_event(node, &event);
        }
    }
}

static bool host_has_work(const struct node *node)
{
    return peers_has_work(node->peers) || node->consensus->dirty_count > 0 ||
           transfers_has_work(node->transfers) || shard_has_discarded(&node->shard);
}

static void host_sleep(struct machine *host)
{
    struct node *node = &host->node;
    uint64_t deadlines[] = { aof_deadline_ns(node->shard.aof), peers_deadline_ns(node->peers),
                             consensus_deadline_ns(node->consensus),
                             transfers_deadline_ns(node->transfers),
                             host->world->is_sleepy ? UINT64_MAX : io_clock_ns(host->io) + MS };
    uint64_t deadline_ns = host_has_work(node) ? 0 : UINT64_MAX;
    for (size_t i = 0; i < ARRAY_COUNT(deadlines); i++) {
        deadline_ns = deadlines[i] < deadline_ns ? deadlines[i] : deadline_ns;
    }
    io_wait(host->io, deadline_ns);
}

/* Nothing counts as durable that is not on the platter, and no hint promises what might be lost. */
static void host_check(const struct machine *host)
{
    const struct node *node = &host->node;
    uint64_t synced = aof_stats(node->shard.aof).synced_sequence;
    for (uint32_t i = 0; i <= GROUPS; i++) {
        const struct replica *replica = node->consensus->replicas[i];
        uint64_t durable = raft_durable_index(replica->raft);
        bool is_there = durable >= replica->window_first && durable <= replica->window_last;
        uint64_t sequence = is_there ? replica_window_at(replica, durable)->sequence : 0;
        CHECK(!host->world->is_on_disk || sequence < synced);
        CHECK(replica->hinted_commit <= durable || replica->hinted_commit < replica->window_first);
        CHECK_EQ(raft_first_index(replica->raft), replica->window_first);
        CHECK_EQ(raft_last_index(replica->raft), replica->queued_first - 1);
    }
}

/* As node_run_once and node_member.c have it. */
static void host_turn(struct machine *host)
{
    struct node *node = &host->node;
    struct shard *shard = &node->shard;
    shard_tick(shard);
    host_events(host);
    shard_apply_durable(shard);
    host_drain(host);
    consensus_tick(node->consensus);
    consensus_flush(node->consensus);
    shard_apply_committed(shard);
    transfers_step(node->transfers);
    shard_reclaim(shard);
    if (host->world->on_turn != NULL) {
        host->world->on_turn(host);
    }
    (void)shard_propose_expiry(shard);
    consensus_flush(node->consensus);
    aof_flush(shard->aof, io_clock_ns(host->io));
    shard_apply_durable(shard);
    shard_apply_committed(shard);
    consensus_flush(node->consensus);
    consensus_send(node->consensus);
    peers_tick(node->peers, io_clock_ns(host->io));
    peers_flush(node->peers);
    answers_collect(host);
    host_check(host);
    CHECK_EQ(aof_failure(shard->aof), 0);
    host_sleep(host);
}

/* ── the world ───────────────────────────────────────────────────────────────────────────────── */

/* A key of each group. */
static void keys_make(struct world *world)
{
    uint32_t found = 0;
    for (uint32_t i = 0; found < GROUPS; i++) {
        char key[24];
        (void)snprintf(key, sizeof(key), "key%u", i);
        uint32_t group = (uint32_t)hash_slot(slice_from(key)) / (SLOTS_COUNT / GROUPS);
        if (world->keys[group][0] == '\0') {
            memcpy(world->keys[group], key, sizeof(key));
            found++;
        }
    }
}

/* Hosts are started by world_start, so that the test can choose before. */
static struct world *world_new(uint32_t count, uint64_t seed)
{
    struct sim_options options = sim_options_calm();
    struct world *world = mem_zalloc(sizeof(*world));
    prng_init(&world->prng, seed);
    world->sim = sim_world_new(seed, &options);
    world->count = count;
    world->lease_reads = true;
    world->request_timeout_ms = 1000;
    keys_make(world);
    members_make(world);
    for (uint32_t i = 0; i < count; i++) {
        struct machine *host = &world->hosts[i];
        struct member member = member_of(i);
        host->world = world;
        host->at = i;
        host->sim = sim_node_new(world->sim, member.id);
        sim_node_owner_set(host->sim, host);
    }
    return world;
}

static void world_start(struct world *world)
{
    for (uint32_t i = 0; i < world->count; i++) {
        host_start(&world->hosts[i]);
    }
}

static void world_free(struct world *world)
{
    for (uint32_t i = 0; i < world->count; i++) {
        host_stop(&world->hosts[i]);
    }
    for (uint32_t i = 0; i < world->ops_count; i++) {
        mem_free(world->ops[i].value);
    }
    sim_world_free(world->sim);
    mem_free(world);
}

static void world_run(struct world *world, uint64_t duration_ms)
{
    struct sim_turn turn;
    uint64_t until_ns = sim_world_now_ns(world->sim) + duration_ms * MS;
    while (sim_world_step(world->sim, until_ns, &turn)) {
        host_turn(sim_node_owner(turn.node));
    }
}

/* Blocks both directions between two hosts. */
static void world_cut(struct world *world, uint32_t a, uint32_t b, bool blocked)
{
    sim_net_block(world->sim, world->hosts[a].sim, world->hosts[b].sim, blocked);
    sim_net_block(world->sim, world->hosts[b].sim, world->hosts[a].sim, blocked);
}

static void world_isolate(struct world *world, uint32_t at, bool blocked)
{
    for (uint32_t i = 0; i < world->count; i++) {
        if (i != at) {
            world_cut(world, at, i, blocked);
        }
    }
}

/* The host that leads the group in the highest term; NULL: none does. */
static struct machine *leader_of(struct world *world, uint32_t group)
{
    struct machine *best = NULL;
    for (uint32_t i = 0; i < world->count; i++) {
        struct machine *host = &world->hosts[i];
        const struct replica *replica = replica_at(host, group);
        if (replica_is_leader(replica) &&
            (best == NULL || replica->term > replica_at(best, group)->term)) {
            best = host;
        }
    }
    return best;
}

/* Lets this host lead the group. */
static void make_leader(struct world *world, uint32_t group, uint32_t at)
{
    for (unsigned tries = 0; tries < 100; tries++) {
        struct machine *leader = leader_of(world, group);
        if (leader == &world->hosts[at]) {
            return;
        }
        if (leader != NULL) {
            (void)consensus_transfer(leader->node.consensus, replica_at(leader, group),
                                     number_of(at));
        }
        world_run(world, 50);
    }
    CHECK(world == NULL); /* it never did */
}

/* ── requests ────────────────────────────────────────────────────────────────────────────────── */

static uint32_t op_new(struct machine *host, uint32_t group, bool is_write)
{
    struct world *world = host->world;
    CHECK(world->ops_count < OPS_MAX);
    uint32_t at = world->ops_count++;
    world->ops[at] = (struct op){
        .host = host->at,
        .group = group,
        .is_write = is_write,
        .asked_ns = sim_world_now_ns(world->sim),
        .follows = UINT32_MAX,
    };
    return at;
}

/* Request 0 is nobody's. */
static void ask_for(struct machine *host, uint32_t request, uint32_t group, const char *name,
                    uint32_t argc, struct slice *argv, const struct request_origin *origin,
                    bool follows)
{
    struct node *node = &host->node;
    const struct command *command = command_lookup(slice_from(name));
    CHECK(command != NULL);
    argv[0] = slice_from(name);
    struct remote_request remote = {
        .link = 0,
        .request = request,
        .group = group,
        .term = replica_at(host, group)->term,
        .command = command,
        .argc = argc,
        .argv = argv,
        .is_write = (command->flags & COMMAND_WRITE) != 0,
        .follows_writes = follows,
    };
    if (origin != NULL) {
        remote.origin = *origin;
    }
    consensus_set_clock(node->consensus, io_clock_ns(host->io));
    pipeline_run_remote(&node->pipeline, &remote);
}

/* Appends a token; with an origin it may be one that was sent before (op `again`). */
static uint32_t ask_append(struct machine *host, uint32_t group,
                           const struct request_origin *origin, uint32_t again)
{
    struct world *world = host->world;
    uint32_t at = op_new(host, group, true);
    world->ops[at].token = again != UINT32_MAX ? world->ops[again].token : ++world->tokens;
    world->ops[at].is_resent = again != UINT32_MAX;
    if (again != UINT32_MAX) {
        world->ops[again].is_resent = true;
    }
    char token[TOKEN_BYTES + 1];
    (void)snprintf(token, sizeof(token), "%08u", (unsigned)world->ops[at].token);
    struct slice argv[] = { { 0 }, slice_from(world->keys[group]), slice_from(token) };
    ask_for(host, at + 1, group, "append", 3, argv, origin, false);
    return at;
}

static uint32_t ask_write(struct machine *host, uint32_t group)
{
    return ask_append(host, group, NULL, UINT32_MAX);
}

/* follows: the op since which this host and group were asked by the same client; UINT32_MAX: it has
 * nothing under way. */
static uint32_t ask_read(struct machine *host, uint32_t group, uint32_t follows)
{
    uint32_t at = op_new(host, group, false);
    host->world->ops[at].follows = follows;
    struct slice argv[] = { { 0 }, slice_from(host->world->keys[group]) };
    ask_for(host, at + 1, group, "get", 2, argv, NULL, follows != UINT32_MAX);
    return at;
}

/* A write of another key of the group, whose answer nobody looks at. */
static void ask_padding(struct machine *host, uint32_t group, size_t size, uint32_t number)
{
    char key[64];
    (void)snprintf(key, sizeof(key), "{%s}pad%u", host->world->keys[group], number);
    char *value = mem_alloc(size);
    memset(value, 'a' + (int)(number % 26), size);
    struct slice argv[] = { { 0 }, slice_from(key), slice_make(value, size) };
    ask_for(host, 0, group, "set", 3, argv, NULL, false);
    mem_free(value);
}

/* Sets a key for some milliseconds unless it is there: what comes of it depends on the time. */
static void ask_short_lived(struct machine *host, uint32_t group, uint32_t number, uint32_t ms)
{
    char key[64];
    char px[16];
    (void)snprintf(key, sizeof(key), "{%s}ttl%u", host->world->keys[group], number);
    (void)snprintf(px, sizeof(px), "%u", ms);
    struct slice argv[] = {
        { 0 }, slice_from(key), slice_from(px), slice_from("NX"), slice_from("PX"), slice_from(px)
    };
    ask_for(host, 0, group, "set", 6, argv, NULL, false);
}

/* ── answers ─────────────────────────────────────────────────────────────────────────────────── */

static void op_answered(struct world *world, struct op *op, struct slice resp)
{
    CHECK_EQ(op->fate, OP_OPEN); /* each asker is answered once */
    op->answered_ns = sim_world_now_ns(world->sim);
    CHECK(resp.size >= 3);
    if (resp.data[0] == '-') {
        (void)snprintf(op->error, sizeof(op->error), "%.*s", (int)(resp.size - 3), resp.data + 1);
        op->fate = strncmp(op->error, "UNKNOWN ", 8) == 0 ? OP_UNKNOWN : OP_NOT_DONE;
        return;
    }
    op->fate = OP_DONE;
    if (op->is_write) {
        op->length = strtoull(resp.data + 1, NULL, 10) / TOKEN_BYTES;
        return;
    }
    char *text = NULL;
    size_t size = resp.data[0] == '$' ? strtoull(resp.data + 1, &text, 10) : 0;
    op->length = size / TOKEN_BYTES;
    op->value = mem_zalloc(size + 1);
    if (size > 0) {
        memcpy(op->value, text + 2, size);
    }
}

static void answers_collect(struct machine *host)
{
    struct asking_link *own = host->node.forward->links[0];
    for (struct answers_frame *at = own->first; at != NULL; at = at->next) {
        struct slice left = buffer_slice(&at->bytes);
        while (left.size > 0) {
            struct forward_wire_answer answer;
            CHECK(forward_wire_answer_read(&left, &answer));
            if (answer.id == 0) {
                continue;
            }
            struct op *op = &host->world->ops[answer.id - 1];
            CHECK_EQ(op->host, host->at);
            CHECK(answer.kind == FORWARD_ANSWER_WHOLE || answer.kind == FORWARD_ANSWER_REFUSED);
            op_answered(host->world, op,
                        answer.kind == FORWARD_ANSWER_REFUSED ? slice_from("-REFUSED\r\n")
                                                              : answer.resp);
        }
    }
    forward_link_clear(own);
}

/* ── judging ─────────────────────────────────────────────────────────────────────────────────── */

/* What the host has applied of a group's register. */
static struct slice register_of(const struct machine *host, uint32_t group,
                                struct kv_scratch *scratch)
{
    const struct kv *kv = host->node.shard.keyspace.partitions[group];
    struct slice key = slice_from(host->world->keys[group]);
    const struct kv_entry *entry = kv_find(kv, key, kv_hash(kv, key), 1);
    return entry == NULL ? (struct slice){ 0 } : kv_entry_value(entry, scratch);
}

/* A fingerprint of all that the partition holds. */
static uint64_t partition_digest(const struct kv *kv)
{
    const struct kv_entry *entries[KV_SCAN_SLACK + 64];
    uint64_t position = 0;
    uint64_t digest = 1;
    do {
        uint32_t count = kv_scan(kv, &position, 64, entries, ARRAY_COUNT(entries));
        for (uint32_t i = 0; i < count; i++) {
            struct kv_scratch scratch;
            uint64_t parts[] = { digest, hash_key(kv_entry_key(entries[i]), 1),
                                 hash_key(kv_entry_value(entries[i], &scratch), 2),
                                 kv_entry_expire_ms(entries[i]), kv_entry_version(entries[i]) };
            digest = hash_key(slice_make((const char *)parts, sizeof(parts)), 3);
        }
    } while (position != 0);
    return digest;
}

/* All hosts have applied the same, and hold the same. */
static void check_equal(struct world *world)
{
    for (uint32_t g = 0; g < GROUPS; g++) {
        const struct shard *first = &world->hosts[0].node.shard;
        for (uint32_t i = 1; i < world->count; i++) {
            const struct shard *other = &world->hosts[i].node.shard;
            CHECK_EQ(first->groups[g].applied, other->groups[g].applied);
            CHECK_EQ(partition_digest(first->keyspace.partitions[g]),
                     partition_digest(other->keyspace.partitions[g]));
            CHECK_EQ(sessions_digest(&first->sessions[g]), sessions_digest(&other->sessions[g]));
        }
    }
}

static uint64_t token_at(struct slice value, uint64_t place)
{
    uint64_t token = 0;
    for (size_t i = 0; i < TOKEN_BYTES; i++) {
        token = token * 10 + (uint64_t)(value.data[(place - 1) * TOKEN_BYTES + i] - '0');
    }
    return token;
}

/* places[token]: where it stands in the register, from 1 on; 0: nowhere.  None stands twice. */
static uint64_t *places_of(const struct world *world, struct slice value)
{
    uint64_t *places = mem_zalloc((world->tokens + 1) * sizeof(*places));
    CHECK_EQ(value.size % TOKEN_BYTES, 0);
    for (uint64_t at = 1; at <= value.size / TOKEN_BYTES; at++) {
        uint64_t token = token_at(value, at);
        CHECK(token > 0 && token <= world->tokens);
        CHECK_EQ(places[token], 0);
        places[token] = at;
    }
    return places;
}

static void check_write(const struct world *world, const struct op *op, const uint64_t *places)
{
    bool is_possible = false; /* some sending of it may have happened */
    for (uint32_t i = 0; i < world->ops_count; i++) {
        const struct op *other = &world->ops[i];
        is_possible |= other->is_write && other->token == op->token && other->fate != OP_NOT_DONE;
    }
    if (op->fate == OP_DONE) {
        CHECK_EQ(places[op->token], op->length);
    } else if (!is_possible) {
        CHECK_EQ(places[op->token], 0);
    }
}

static void check_read(const struct world *world, const struct op *op, struct slice value,
                       const uint64_t *places)
{
    CHECK(op->length * TOKEN_BYTES <= value.size);
    CHECK(op->length == 0 || memcmp(op->value, value.data, op->length * TOKEN_BYTES) == 0);
    uint32_t self = (uint32_t)(op - world->ops);
    for (uint32_t i = op->follows; i < self; i++) {
        const struct op *other = &world->ops[i];
        bool is_before = other->host == op->host && other->group == op->group && other->is_write &&
                         other->fate == OP_DONE;
        CHECK(!is_before || op->length >= places[other->token]);
    }
}

/* What was answered before this was asked, it must show.  (A write that was sent before may have
 * happened then.) */
static void check_order(const struct world *world, const struct op *op)
{
    for (uint32_t i = 0; i < world->ops_count; i++) {
        const struct op *other = &world->ops[i];
        bool is_before = other->group == op->group && other->fate == OP_DONE &&
                         other->answered_ns < op->asked_ns;
        if (is_before && !op->is_write) {
            CHECK(op->length >= other->length);
        } else if (is_before && !op->is_resent) {
            CHECK(op->length > other->length);
        }
    }
}

/* After peace has come: all requests are answered, and honestly. */
static void check_history(struct world *world)
{
    check_equal(world);
    for (uint32_t g = 0; g < GROUPS; g++) {
        struct kv_scratch scratch;
        struct slice value = register_of(&world->hosts[0], g, &scratch);
        uint64_t *places = places_of(world, value);
        for (uint32_t i = 0; i < world->ops_count; i++) {
            const struct op *op = &world->ops[i];
            if (op->group != g) {
                continue;
            }
            CHECK(op->fate != OP_OPEN);
            if (op->is_write) {
                check_write(world, op, places);
            } else if (op->fate == OP_DONE) {
                check_read(world, op, value, places);
            }
            if (op->fate == OP_DONE) {
                check_order(world, op);
            }
        }
        mem_free(places);
    }
}
