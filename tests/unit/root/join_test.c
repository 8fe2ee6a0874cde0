/*
 * join_test.c — what a newcomer and a member say to each other, as bytes.
 *
 * How nodes join is tested with whole nodes (tests/sim, tests/e2e).
 */
#include "join.h"

#include "base/prng.h"
#include "cluster/confchange.h"
#include "test.h"

static struct member make_member(struct prng *prng, const char *name)
{
    struct member member = {
        .weight = (uint8_t)(1 + prng_below(prng, RING_WEIGHT_MAX)),
        .state = MEMBER_ACTIVE,
        .incarnation = prng_next(prng) | 1,
        .cluster_port = (uint16_t)prng_next(prng),
        .port = (uint16_t)prng_next(prng),
        .slot_port = (uint16_t)prng_next(prng),
    };
    (void)snprintf(member.id, sizeof(member.id), "%s", name);
    (void)snprintf(member.host, sizeof(member.host), "fd00::%x", (unsigned)prng_below(prng, 99));
    (void)snprintf(member.zone, sizeof(member.zone), "%s", prng_chance(prng, 1, 2) ? "z1" : "");
    member.number = members_number(member.id);
    return member;
}

static bool member_equal(const struct member *a, const struct member *b)
{
    return strcmp(a->id, b->id) == 0 && strcmp(a->host, b->host) == 0 &&
           strcmp(a->zone, b->zone) == 0 && a->number == b->number &&
           a->incarnation == b->incarnation && a->cluster_port == b->cluster_port &&
           a->port == b->port && a->slot_port == b->slot_port && a->weight == b->weight;
}

TEST(questions_round_trip)
{
    struct prng prng;
    prng_init(&prng, 1);
    for (unsigned round = 0; round < 500; round++) {
        char password[512];
        struct join_question asked = {
            .member = make_member(&prng, "node"),
            .partitions = (uint32_t)prng_next(&prng),
            .password = slice_make(password, (size_t)prng_below(&prng, sizeof(password))),
        };
        for (size_t i = 0; i < asked.password.size; i++) {
            password[i] = (char)prng_next(&prng);
        }
        struct buffer bytes = { 0 };
        struct join_question read = { .partitions = 0 };
        join_ask_encode(&asked, &bytes);
        CHECK(join_ask_decode(buffer_slice(&bytes), &read));
        CHECK(member_equal(&asked.member, &read.member));
        CHECK_EQ(asked.partitions, read.partitions);
        CHECK(slice_equal(asked.password, read.password));
        for (size_t cut = 0; cut < bytes.size; cut++) {
            CHECK(!join_ask_decode(slice_make(bytes.data, cut), &read));
        }
        buffer_append_byte(&bytes, 0);
        CHECK(!join_ask_decode(buffer_slice(&bytes), &read));
        buffer_free(&bytes);
    }
}

TEST(a_question_is_an_addition)
{
    struct prng prng;
    prng_init(&prng, 2);
    struct join_question question = { .member = make_member(&prng, "a") };
    struct join_question read;
    struct buffer bytes = { 0 };
    struct buffer change = { 0 };
    join_ask_encode(&question, &bytes);
    members_change_encode(MEMBER_REMOVE, &question.member, &change);
    bytes.size -= change.size;
    buffer_append_slice(&bytes, buffer_slice(&change));
    CHECK(!join_ask_decode(buffer_slice(&bytes), &read));
    buffer_free(&bytes);
    buffer_free(&change);
}

static struct join_welcome make_welcome(struct prng *prng)
{
    struct join_welcome welcome = {
        .hash_seed = prng_next(prng),
        .partitions = 16u << prng_below(prng, 9),
    };
    struct member founder = make_member(prng, "founder");
    memcpy(welcome.cluster_id, "0123456789abcdef", 16);
    members_found(&welcome.members, &founder);
    return welcome;
}

TEST(welcomes_round_trip)
{
    struct prng prng;
    prng_init(&prng, 3);
    for (unsigned round = 0; round < 500; round++) {
        struct join_welcome welcome = make_welcome(&prng);
        struct join_welcome read;
        struct buffer bytes = { 0 };
        struct buffer again = { 0 };
        join_welcome_encode(&welcome, &bytes);
        CHECK(join_welcome_decode(buffer_slice(&bytes), &read));
        join_welcome_encode(&read, &again);
        CHECK(slice_equal(buffer_slice(&bytes), buffer_slice(&again)));
        CHECK_EQ(read.hash_seed, welcome.hash_seed);
        CHECK_EQ(read.partitions, welcome.partitions);
        CHECK(member_equal(&read.members.items[0], &welcome.members.items[0]));
        for (size_t cut = 0; cut < bytes.size; cut++) {
            CHECK(!join_welcome_decode(slice_make(bytes.data, cut), &read));
        }
        buffer_free(&bytes);
        buffer_free(&again);
    }
}

static bool is_taken(const struct join_welcome *welcome)
{
    struct join_welcome read;
    struct buffer bytes = { 0 };
    join_welcome_encode(welcome, &bytes);
    bool taken = join_welcome_decode(buffer_slice(&bytes), &read);
    buffer_free(&bytes);
    return taken;
}

TEST(welcomes_that_make_no_sense)
{
    struct prng prng;
    prng_init(&prng, 4);
    struct join_welcome welcome = make_welcome(&prng);
    welcome.partitions = 16;
    CHECK(is_taken(&welcome));
    static const uint32_t bad[] = { 0, 1, 8, 17, 100, 8192, 1u << 31 };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        welcome.partitions = bad[i];
        CHECK(!is_taken(&welcome));
    }
    welcome.partitions = 4096;
    CHECK(is_taken(&welcome));
    memset(welcome.cluster_id, 0, sizeof(welcome.cluster_id));
    CHECK(!is_taken(&welcome));
}

TEST(damaged_bytes_never_crash)
{
    struct prng prng;
    prng_init(&prng, 5);
    for (unsigned round = 0; round < 20000; round++) {
        struct join_question question = { .member = make_member(&prng, "n") };
        struct join_welcome welcome = make_welcome(&prng);
        struct buffer ask = { 0 };
        struct buffer answer = { 0 };
        join_ask_encode(&question, &ask);
        join_welcome_encode(&welcome, &answer);
        for (unsigned i = 0; i < 2; i++) {
            ask.data[prng_below(&prng, ask.size)] = (char)prng_next(&prng);
            answer.data[prng_below(&prng, answer.size)] = (char)prng_next(&prng);
        }
        if (join_welcome_decode(buffer_slice(&answer), &welcome)) {
            CHECK(welcome.members.count >= 1);
            CHECK(raft_config_is_valid(&welcome.members.config));
        }
        if (join_ask_decode(buffer_slice(&ask), &question)) {
            CHECK(question.member.id[0] != '\0');
        }
        buffer_free(&ask);
        buffer_free(&answer);
    }
}

TEST_MAIN
