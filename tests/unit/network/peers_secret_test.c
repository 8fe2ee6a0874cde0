/*
 * peers_secret_test.c — links of nodes that have a cluster-secret: who knows it is linked, and who
 * does not changes nothing, whatever he says and whose name he gives.
 *
 * Read next: peers_world.h, network/peer_proof.h.
 */
#include "network/peer_proof.h"
#include "peers_world.h"

static const char secret[] = "the nodes know it";

/* Nodes with these secrets; they are started. */
static struct world *world_of(uint32_t count, uint64_t seed, const char *const *secrets)
{
    struct sim_options options = sim_options_calm();
    struct world *world = world_new_of(count, seed, &options);
    for (uint32_t i = 0; i < count; i++) {
        world->hosts[i].options.secret = secrets[i];
        host_boot(&world->hosts[i]);
    }
    return world;
}

static struct world *world_knowing(uint32_t count, uint64_t seed)
{
    static const char *const secrets[HOSTS_MAX] = { secret, secret, secret, secret };
    return world_of(count, seed, secrets);
}

/* ── nodes with each other ───────────────────────────────────────────────────────────────────── */

TEST(who_knows_the_secret_is_linked)
{
    struct world *world = world_knowing(3, 1);
    world_run(world, 300 * MS);
    CHECK(all_linked(world));
    for (uint32_t i = 0; i < 3; i++) {
        CHECK_EQ(world->hosts[i].ups, 8);
        world->hosts[i].send_every_ns = 1 * MS;
    }
    world_run(world, 2 * SECOND);
    for (uint32_t i = 0; i < 3; i++) {
        CHECK(world->hosts[i].frames > 500);
        CHECK_EQ(world->hosts[i].downs, 0);
        CHECK_EQ(peers_stats(world->hosts[i].peers)->hellos_refused, 0);
    }
    world_free(world);
}

static void check_apart(uint64_t seed, const char *ours, const char *theirs, const char *reason)
{
    const char *secrets[] = { ours, theirs };
    struct world *world = world_of(2, seed, secrets);
    world_run(world, 10 * SECOND);
    for (uint32_t i = 0; i < 2; i++) {
        struct host *host = &world->hosts[i];
        CHECK_EQ(host->ups, 0);
        CHECK(peers_stats(host->peers)->hellos_refused + peers_stats(host->peers)->refusals > 5);
        const char *complaint = peers_complaint(host->peers);
        CHECK(complaint != NULL && strstr(complaint, "cluster-secret") != NULL);
        const char *trouble = peers_trouble(host->peers, 101 - i, PEER_RAFT);
        if (strstr(trouble, reason) == NULL) {
            printf("  %s\n", trouble);
            CHECK(reason == NULL);
        }
    }
    world_free(world);
}

TEST(who_does_not_is_refused_with_a_reason)
{
    check_apart(2, secret, "another", "the proof is wrong: its cluster-secret is another one");
    check_apart(3, secret, "", "cluster-secret");
    check_apart(4, "", secret, "cluster-secret");
}

/* Everything at once, many seeds; in the end all are linked. */
TEST(random_faults_do_not_keep_them_apart)
{
    for (uint64_t seed = 100; seed < 115; seed++) {
        struct prng prng;
        prng_init(&prng, seed);
        struct sim_options options = sim_options_draw(&prng);
        struct world *world = world_new_of(3, seed, &options);
        for (uint32_t i = 0; i < 3; i++) {
            world->hosts[i].options.secret = secret;
            host_boot(&world->hosts[i]);
            world->hosts[i].send_every_ns = 20 * MS;
        }
        for (unsigned round = 0; round < 8; round++) {
            world_run(world, prng_below(&prng, 3 * SECOND));
            struct host *host = &world->hosts[prng_below(&prng, 3)];
            if (host->peers != NULL && sim_node_is_up(host->node)) {
                host_crash(host, prng_chance(&prng, 1, 2));
            }
            world_run(world, prng_below(&prng, 2 * SECOND));
            for (uint32_t i = 0; i < 3; i++) {
                if (world->hosts[i].peers == NULL) {
                    host_boot(&world->hosts[i]);
                }
            }
        }
        *sim_world_options(world->sim) = sim_options_calm();
        world_run(world, 10 * SECOND);
        for (uint32_t i = 0; i < 3; i++) {
            if (world->hosts[i].peers == NULL) { /* it had crashed by itself */
                host_boot(&world->hosts[i]);
            }
        }
        world_run(world, 10 * SECOND);
        CHECK(all_linked(world));
        world_free(world);
    }
}

static void check_removal(const char *teller, bool is_believed)
{
    const char *const secrets[] = { teller, secret };
    struct world *world = world_of(2, 7, secrets);
    struct host *host = &world->hosts[0];
    struct peer_removed removed = { world->members[1].number, world->members[1].incarnation };
    peers_set_removed(host->peers, &removed, 1);
    peers_set_members(host->peers, world->members, 1);
    world_run(world, 5 * SECOND);
    CHECK_EQ(peers_was_removed(world->hosts[1].peers), is_believed);
    CHECK(peers_stats(world->hosts[1].peers)->refusals > 0);
    CHECK_EQ(host->ups, 0);
    world_free(world);
}

/* The word that it was removed ends a node: not everybody may say it. */
TEST(a_removal_is_believed_with_a_proof_alone)
{
    check_removal(secret, true);
    check_removal("another", false);
    check_removal("", false);
}

/* ── somebody at the cluster port ────────────────────────────────────────────────────────────── */

/* Who knows how nodes talk, and says that he is the member n2. */
struct raw {
    struct sim_client *client;
    struct buffer got;
    char line[PEER_HELLO_BYTES_MAX]; /* his HELLO */
    size_t size;
};

static struct peer_hello hello_of_n2(enum peer_channel channel)
{
    struct peer_hello hello = host_hello(1);
    hello.channel = (uint8_t)channel;
    hello.boot = 9; /* later than the real one */
    peer_nonce_make(1, 2, hello.nonce);
    return hello;
}

/* Connects and says HELLO; what comes back is in raw->got. */
static void raw_hello(struct world *world, struct raw *raw, const struct peer_hello *hello)
{
    *raw = (struct raw){ .client = sim_client_connect(world->sim, world->hosts[0].node,
                                                      CLUSTER_PORT, NULL) };
    raw->size = peer_hello_encode(hello, raw->line);
    world_run(world, 10 * MS);
    (void)sim_client_send(raw->client, slice_make(raw->line, raw->size));
    world_run(world, 10 * MS);
    (void)sim_client_recv(raw->client, &raw->got);
}

/* The first line that came back, and the rest. */
static struct slice first_line(const struct raw *raw, struct slice *out_rest)
{
    const char *newline = memchr(raw->got.data, '\n', raw->got.size);
    CHECK(newline != NULL);
    size_t size = newline == NULL ? 0 : (size_t)(newline - raw->got.data) + 1;
    *out_rest = slice_make(raw->got.data + size, raw->got.size - size);
    return slice_make(raw->got.data, size);
}

static struct peer_proofs raw_proofs(const struct raw *raw, const char *with)
{
    struct slice rest;
    struct peer_proofs proofs;
    struct hmac *key = peer_proof_key(with);
    peer_proofs_make(key, slice_make(raw->line, raw->size), first_line(raw, &rest), &proofs);
    hmac_free(key);
    return proofs;
}

static void raw_say(struct world *world, struct raw *raw, struct slice bytes)
{
    (void)sim_client_send(raw->client, bytes);
    world_run(world, 10 * MS);
    raw->got.size = 0;
    (void)sim_client_recv(raw->client, &raw->got);
    buffer_append_byte(&raw->got, '\0');
}

static void raw_prove(struct world *world, struct raw *raw, const uint8_t *proof)
{
    char line[PEER_HELLO_BYTES_MAX];
    raw_say(world, raw, slice_make(line, peer_proof_encode(proof, line)));
}

static void raw_close(struct raw *raw)
{
    sim_client_close(raw->client);
    buffer_free(&raw->got);
}

/* Three members, linked; n1 is the one whom somebody talks to. */
static struct world *linked_world(uint64_t seed)
{
    struct world *world = world_knowing(3, seed);
    world_run(world, 500 * MS);
    CHECK(all_linked(world));
    return world;
}

/* Nothing has happened to n1, and the connection has ended or will. */
static void check_in_vain(struct world *world, struct raw *raw, const char *code)
{
    struct host *host = &world->hosts[0];
    CHECK(strstr(raw->got.data, code) != NULL);
    world_run(world, 3 * SECOND);
    CHECK(sim_client_state(raw->client) != SIM_CLIENT_OPEN);
    CHECK_EQ(host->ups, 8);
    CHECK_EQ(host->downs, 0);
    CHECK(all_linked(world));
    raw_close(raw);
}

TEST(a_right_proof_lets_in_and_replaces)
{
    struct world *world = linked_world(20);
    struct host *host = &world->hosts[0];
    struct peer_hello hello = hello_of_n2(PEER_RAFT);
    struct raw raw;
    raw_hello(world, &raw, &hello);
    struct peer_proofs proofs = raw_proofs(&raw, secret);
    struct slice rest;
    struct slice answer = first_line(&raw, &rest);
    struct peer_hello theirs;
    char error[100];
    CHECK_EQ(peer_hello_decode(answer, &theirs, error, sizeof(error)), PEER_HELLO_OK);
    CHECK_EQ(strlen(theirs.nonce), 32);
    CHECK_EQ(peer_proof_check(rest, proofs.accepting, error, sizeof(error)), PEER_PROOF_RIGHT);
    CHECK_EQ(host->downs, 0);
    raw_prove(world, &raw, proofs.dialing);
    CHECK_EQ(host->ups, 9);
    CHECK_EQ(host->downs, 1);
    CHECK(!seen_last(host, PEER_RAFT, false)->is_down);
    raw_close(&raw);
    world_free(world);
}

TEST(a_name_alone_changes_nothing)
{
    struct world *world = linked_world(21);
    struct peer_hello hello = hello_of_n2(PEER_RAFT);
    struct raw raw;
    raw_hello(world, &raw, &hello); /* and no more: in time it is closed */
    buffer_append_byte(&raw.got, '\0');
    check_in_vain(world, &raw, "\"type\":\"HELLO\"");
    hello.nonce[0] = '\0';
    raw_hello(world, &raw, &hello);
    buffer_append_byte(&raw.got, '\0');
    check_in_vain(world, &raw, "\"code\":\"SECRET\"");
    hello = hello_of_n2(PEER_JOIN);
    hello.number = 12345;
    hello.nonce[0] = '\0';
    raw_hello(world, &raw, &hello);
    buffer_append_byte(&raw.got, '\0');
    check_in_vain(world, &raw, "\"code\":\"SECRET\"");
    CHECK(strstr(peers_complaint(world->hosts[0].peers), "cluster-secret") != NULL);
    world_free(world);
}

TEST(wrong_proofs_change_nothing)
{
    struct world *world = linked_world(22);
    struct peer_hello hello = hello_of_n2(PEER_CLIENT);
    struct raw raw;
    raw_hello(world, &raw, &hello);
    struct peer_proofs proofs = raw_proofs(&raw, "another secret");
    raw_prove(world, &raw, proofs.dialing);
    check_in_vain(world, &raw, "\"code\":\"SECRET\"");

    raw_hello(world, &raw, &hello); /* reflected: their own proof is said to them */
    struct slice rest;
    (void)first_line(&raw, &rest);
    char line[PEER_HELLO_BYTES_MAX];
    size_t size = rest.size;
    CHECK(size < sizeof(line));
    memcpy(line, rest.data, size);
    raw_say(world, &raw, slice_make(line, size));
    check_in_vain(world, &raw, "\"code\":\"SECRET\"");

    raw_hello(world, &raw, &hello); /* of another HELLO than the one that was said */
    raw.line[raw.size - 2] ^= 1;
    proofs = raw_proofs(&raw, secret);
    raw_prove(world, &raw, proofs.dialing);
    check_in_vain(world, &raw, "\"code\":\"SECRET\"");

    raw_hello(world, &raw, &hello); /* cut off */
    proofs = raw_proofs(&raw, secret);
    size = peer_proof_encode(proofs.dialing, line);
    line[size - 4] = '\n';
    raw_say(world, &raw, slice_make(line, size - 3));
    check_in_vain(world, &raw, "\"code\":\"SECRET\"");

    raw_hello(world, &raw, &hello); /* HELLO once more, instead of it */
    raw_say(world, &raw, slice_make(raw.line, raw.size));
    check_in_vain(world, &raw, "\"code\":\"SECRET\"");

    raw_hello(world, &raw, &hello); /* a line without end */
    memset(line, 'x', sizeof(line));
    raw_say(world, &raw, slice_make(line, sizeof(line)));
    check_in_vain(world, &raw, "\"code\":\"SECRET\"");
    world_free(world);
}

/* What was a right proof once is none for the next link, though the HELLO is the same. */
TEST(a_replayed_proof_changes_nothing)
{
    struct world *world = linked_world(23);
    struct peer_hello hello = hello_of_n2(PEER_BULK);
    struct raw first;
    struct raw second;
    raw_hello(world, &first, &hello);
    raw_hello(world, &second, &hello);
    struct peer_proofs proofs = raw_proofs(&first, secret);
    raw_prove(world, &second, proofs.dialing);
    check_in_vain(world, &second, "\"code\":\"SECRET\"");
    raw_close(&first);
    world_free(world);
}

/* Who says that it knows a later list becomes a member only with a proof. */
TEST(nobody_is_taken_in_without_proof)
{
    struct world *world = linked_world(24);
    struct peer_hello hello = hello_of_n2(PEER_RAFT);
    struct peer_member at;
    hello.epoch = 99;
    hello.number = 777;
    struct raw raw;
    raw_hello(world, &raw, &hello);
    struct peer_proofs proofs = raw_proofs(&raw, "another secret");
    raw_prove(world, &raw, proofs.dialing);
    CHECK(!peers_address(world->hosts[0].peers, 777, &at));
    check_in_vain(world, &raw, "\"code\":\"SECRET\"");
    raw_hello(world, &raw, &hello);
    proofs = raw_proofs(&raw, secret);
    raw_prove(world, &raw, proofs.dialing);
    CHECK(peers_address(world->hosts[0].peers, 777, &at));
    raw_close(&raw);
    world_free(world);
}

/* A later process of the node got in while this one was asked for its proof. */
TEST(what_was_checked_is_checked_again)
{
    struct world *world = linked_world(25);
    struct host *host = &world->hosts[0];
    struct peer_hello hello = hello_of_n2(PEER_RAFT);
    struct raw older;
    struct raw later;
    raw_hello(world, &older, &hello);
    hello.boot += 1;
    raw_hello(world, &later, &hello);
    struct peer_proofs proofs = raw_proofs(&later, secret);
    raw_prove(world, &later, proofs.dialing);
    CHECK_EQ(host->ups, 9);
    proofs = raw_proofs(&older, secret);
    raw_prove(world, &older, proofs.dialing);
    CHECK_EQ(host->ups, 9);
    CHECK(sim_client_state(older.client) != SIM_CLIENT_OPEN);
    CHECK(!seen_last(host, PEER_RAFT, false)->is_down);
    raw_close(&older);
    raw_close(&later);
    world_free(world);
}

TEST_MAIN
