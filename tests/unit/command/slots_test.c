/*
 * slots_test.c — CLUSTER on the slot port: whoever leads what, every view shows the same map.
 */
#include "admin_fixture.h"

#include "base/prng.h"
#include "base/text.h"

#include <stdlib.h>

enum { PARTITIONS = PARTITIONS_MIN, ROUNDS = 300 };

/* Leaders of the partitions: -1 none; of three members. */
struct plan {
    int32_t leaders[PARTITIONS];
};

static const struct plan *plan; /* of the test that runs: the fake takes no other word */

static void plan_partition(struct host *host, uint32_t partition, struct host_partition *out)
{
    (void)host;
    *out = (struct host_partition){
        .state = "OK",
        .leader = plan->leaders[partition],
        .replica_count = 3,
        .replicas = { { .member = 0 }, { .member = 1 }, { .member = 2 } },
    };
}

static void member_set(struct fixture *f, uint32_t at, uint32_t slot_port, const char *state)
{
    struct host_member *member = &f->fake.members[at];
    *member = (struct host_member){
        .state = state,
        .role = "follower",
        .number = 77 + at,
        .cluster_port = 8001 + at,
        .port = 7001 + at,
        .slot_port = slot_port,
        .is_self = at == 0,
    };
    (void)snprintf(member->id, sizeof(member->id), "n%u", at);
    (void)snprintf(member->host, sizeof(member->host), "10.0.0.%u", at);
}

static void begin_three(struct fixture *f)
{
    begin(f);
    f->fake.member_count = 3;
    f->fake.host.partition = plan_partition;
    f->conn->info.by_slots = true;
    for (uint32_t i = 0; i < 3; i++) {
        member_set(f, i, 9000 + i, "ALIVE");
    }
}

/* Marks in `owners` what a line of CLUSTER NODES says of slots. */
static void read_line(const char *line, const char *end, int32_t owners[16384], int32_t owner)
{
    const char *at = line;
    for (uint32_t words = 0; words < 8 && at < end; words++) { /* to behind the link's state */
        const char *space = memchr(at, ' ', (size_t)(end - at));
        at = space != NULL ? space + 1 : end;
    }
    while (at < end) {
        char *rest = NULL;
        unsigned long first = strtoul(at, &rest, 10);
        unsigned long last = *rest == '-' ? strtoul(rest + 1, &rest, 10) : first;
        CHECK(first <= last && last < 16384);
        for (unsigned long slot = first; slot <= last; slot++) {
            CHECK_EQ(owners[slot], -1);
            owners[slot] = owner;
        }
        at = rest + 1;
    }
}

static void check_nodes(const char *text, const struct plan *wanted)
{
    int32_t owners[16384];
    memset(owners, -1, sizeof(owners));
    for (int32_t i = 0; i < 3; i++) {
        char address[64];
        (void)snprintf(address, sizeof(address), " 10.0.0.%d:%d@", i, 9000 + i);
        const char *found = strstr(text, address);
        CHECK(found != NULL);
        found++; /* the id is behind us: seven words follow */
        const char *begin_of_line = found - 1 - 40;
        const char *end_of_line = strchr(found, '\n');
        CHECK(end_of_line != NULL);
        read_line(begin_of_line, end_of_line, owners, i);
    }
    for (uint32_t slot = 0; slot < 16384; slot++) {
        int32_t leader = wanted->leaders[slot / (16384 / PARTITIONS)];
        CHECK_EQ(owners[slot], leader < 0 ? 0 : leader);
    }
}

TEST(nodes_show_who_leads)
{
    struct prng prng;
    prng_init(&prng, 1);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct fixture f;
        struct plan random;
        begin_three(&f);
        uint32_t unled = 0;
        for (uint32_t i = 0; i < PARTITIONS; i++) {
            random.leaders[i] = (int32_t)prng_below(&prng, 4) - 1;
            unled += random.leaders[i] < 0;
        }
        plan = &random;
        check_nodes(run(&f, "CLUSTER NODES"), &random);
        char wanted[128];
        (void)snprintf(wanted, sizeof(wanted), "cluster_state:%s\r\n", unled == 0 ? "ok" : "fail");
        CONTAINS("CLUSTER INFO", wanted);
        (void)snprintf(wanted, sizeof(wanted), "cluster_slots_fail:%u\r\n",
                       unled * (16384 / PARTITIONS));
        CONTAINS("CLUSTER INFO", wanted);
        end(&f);
    }
}

TEST(slots_in_both_protocols)
{
    struct fixture f;
    struct plan halves;
    char id[3][ADMIN_SLOT_ID_BYTES];
    char wanted[1024];
    begin_three(&f);
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        halves.leaders[i] = i < PARTITIONS / 2 ? 1 : 0;
    }
    plan = &halves;
    for (uint32_t i = 0; i < 3; i++) {
        admin_slot_id(77 + i, id[i]);
        CHECK_EQ(strlen(id[i]), 40);
    }
    CHECK(strcmp(id[0], id[1]) != 0);
#define NODE(n) "*4\r\n$8\r\n10.0.0." #n "\r\n:900" #n "\r\n$40\r\n%s\r\n"
    member_set(&f, 2, 9002, "DEAD");
    (void)snprintf(
        wanted, sizeof(wanted),
        "*2\r\n*3\r\n:0\r\n:8191\r\n" NODE(1) "*0\r\n*3\r\n:8192\r\n:16383\r\n" NODE(0) "*0\r\n",
        id[1], id[0]);
    ANSWERS("CLUSTER SLOTS", wanted);
    f.conn->info.protocol = PROTOCOL_RESP3;
    (void)snprintf(
        wanted, sizeof(wanted),
        "*2\r\n*3\r\n:0\r\n:8191\r\n" NODE(1) "%%0\r\n*3\r\n:8192\r\n:16383\r\n" NODE(0) "%%0\r\n",
        id[1], id[0]);
    ANSWERS("CLUSTER SLOTS", wanted);
    CONTAINS("CLUSTER NODES", "10.0.0.2:9002@8003 master,fail - 0 ");
    /* A leader without a slot port: its slots are shown as ours. */
    member_set(&f, 1, 0, "ALIVE");
    (void)snprintf(wanted, sizeof(wanted), "*1\r\n*3\r\n:0\r\n:16383\r\n" NODE(0) "%%0\r\n", id[0]);
    ANSWERS("CLUSTER SLOTS", wanted);
    LACKS("CLUSTER NODES", "10.0.0.1");
    end(&f);
}

TEST(the_rest_of_it)
{
    struct fixture f;
    struct plan mine = { { 0 } };
    begin_three(&f);
    plan = &mine;
    ANSWERS("CLUSTER KEYSLOT foo", ":12182\r\n");
    ANSWERS("CLUSTER COUNTKEYSINSLOT 16384", "-ERR Invalid slot\r\n");
    ANSWERS("CLUSTER COUNTKEYSINSLOT x", "-ERR value is not an integer or out of range\r\n");
    ANSWERS("CLUSTER COUNTKEYSINSLOT 0", ":0\r\n");
    ANSWERS("CLUSTER GETKEYSINSLOT 0 -1", "-ERR Invalid slot or number of keys\r\n");
    ANSWERS("CLUSTER GETKEYSINSLOT 0 10", "*0\r\n");
    ANSWERS("CLUSTER REPLICAS nobody", "-ERR Unknown node nobody\r\n");
    CONTAINS("CLUSTER ADDSLOTS 1", "-ERR not supported");
    CONTAINS("CLUSTER FAILOVER", "-ERR not supported");
    ANSWERS("READONLY", "+OK\r\n");
    CHECK(f.conn->info.read_only);
    ANSWERS("READWRITE", "+OK\r\n");
    CHECK(!f.conn->info.read_only);
    ANSWERS("ASKING", "+OK\r\n");
    CONTAINS("HELLO 2", "$4\r\nmode\r\n$7\r\ncluster\r\n");
    CONTAINS("INFO cluster", "cluster_enabled:1\r\n");
    CONTAINS("INFO server", "redis_mode:cluster\r\n");
    /* A node that knows no address of its own has the one it was reached by. */
    f.fake.members[0].host[0] = '\0';
    (void)snprintf(f.conn->info.local_address, sizeof(f.conn->info.local_address),
                   "[fd00::7]:9000");
    CONTAINS("CLUSTER SLOTS", "$7\r\nfd00::7\r\n:9000\r\n");
    end(&f);
}

TEST(keys_of_a_slot)
{
    enum { KEYS = 5000 };
    struct fixture f;
    struct plan mine = { { 0 } };
    begin_three(&f);
    plan = &mine;
    uint32_t slot = hash_slot(slice_from("{t}"));
    struct kv *kv = f.fake.keyspace.partitions[slot >> f.fake.keyspace.slot_shift];
    for (uint32_t i = 0; i < KEYS; i++) {
        char key[32];
        (void)snprintf(key, sizeof(key), "{t}%u", i);
        uint64_t expire_ms = i % 5 == 0 ? now_ms : KV_NO_EXPIRY; /* over, and not removed yet */
        kv_put(kv, slice_from(key), kv_hash(kv, slice_from(key)), slice_from("v"), expire_ms, 1);
    }
    char line[64];
    (void)snprintf(line, sizeof(line), "CLUSTER COUNTKEYSINSLOT %u", slot);
    ANSWERS(line, ":4000\r\n");
    (void)snprintf(line, sizeof(line), "CLUSTER COUNTKEYSINSLOT %u", slot + 1);
    ANSWERS(line, ":0\r\n");
    (void)snprintf(line, sizeof(line), "CLUSTER GETKEYSINSLOT %u 9999", slot);
    CONTAINS(line, "*4000\r\n");
    (void)snprintf(line, sizeof(line), "CLUSTER GETKEYSINSLOT %u 7", slot);
    CONTAINS(line, "*7\r\n");
    end(&f);
}

TEST_MAIN
