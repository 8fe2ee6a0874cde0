/*
 * quorum_test.c — majorities against counting them out.
 */
#include "test.h"

#include "world.h"

/* A random configuration, joint or not; every node at most once. */
static struct raft_config random_config(struct prng *prng)
{
    struct raft_config config = { 0 };
    uint32_t count = 1 + (uint32_t)prng_below(prng, 9);
    bool is_joint = prng_chance(prng, 1, 2);
    for (uint64_t node = 1; node <= count; node++) {
        static const unsigned simple[] = { RAFT_VOTER, RAFT_VOTER, RAFT_LEARNER };
        static const unsigned joint[] = { RAFT_VOTER, RAFT_OUTGOING, RAFT_VOTER | RAFT_OUTGOING,
                                          RAFT_LEARNER, RAFT_OUTGOING | RAFT_LEARNER };
        unsigned roles = is_joint ? joint[prng_below(prng, 5)] : simple[prng_below(prng, 3)];
        CHECK(raft_config_add(&config, node, 1, roles));
    }
    return config;
}

static bool has_majority(const struct raft_config *config, unsigned role, const bool *is_in)
{
    unsigned count = 0;
    unsigned have = 0;
    for (uint32_t i = 0; i < config->members_count; i++) {
        if ((config->members[i].roles & role) != 0) {
            count++;
            have += is_in[i];
        }
    }
    return count == 0 || 2 * have > count;
}

static bool decides(const struct raft_config *config, const bool *is_in)
{
    return has_majority(config, RAFT_VOTER, is_in) && has_majority(config, RAFT_OUTGOING, is_in);
}

TEST(reached_is_what_counting_says)
{
    struct prng prng;
    prng_init(&prng, 1);
    for (int round = 0; round < 20000; round++) {
        struct raft_config config = random_config(&prng);
        uint64_t values[RAFT_PEERS_MAX] = { 0 };
        bool is_in[RAFT_PEERS_MAX];
        for (uint32_t i = 0; i < config.members_count; i++) {
            values[i] = prng_below(&prng, 6);
        }
        uint64_t reached = quorum_reached(&config, values);
        uint64_t expected = 0;
        bool has_voters = false;
        for (uint32_t i = 0; i < config.members_count; i++) {
            has_voters |= raft_member_votes(&config.members[i]);
        }
        for (uint64_t value = 0; value <= 6; value++) {
            for (uint32_t i = 0; i < config.members_count; i++) {
                is_in[i] = values[i] >= value;
            }
            expected = decides(&config, is_in) ? value : expected;
        }
        if (has_voters) {
            CHECK_EQ(reached, expected);
        } else {
            CHECK_EQ(reached, UINT64_MAX);
        }
    }
}

/* Won when it is decided; lost when not even all missing votes would decide it. */
TEST(tally_is_what_counting_says)
{
    struct prng prng;
    prng_init(&prng, 2);
    for (int round = 0; round < 20000; round++) {
        struct raft_config config = random_config(&prng);
        enum raft_vote votes[RAFT_PEERS_MAX] = { 0 };
        bool granted[RAFT_PEERS_MAX];
        bool possible[RAFT_PEERS_MAX];
        for (uint32_t i = 0; i < config.members_count; i++) {
            votes[i] = (enum raft_vote)prng_below(&prng, 3);
            granted[i] = votes[i] == RAFT_VOTE_GRANTED;
            possible[i] = votes[i] != RAFT_VOTE_REJECTED;
        }
        enum raft_tally expected = decides(&config, granted)    ? RAFT_TALLY_WON
                                   : decides(&config, possible) ? RAFT_TALLY_OPEN
                                                                : RAFT_TALLY_LOST;
        CHECK_EQ(quorum_tally(&config, votes), expected);
    }
}

TEST(membership_questions)
{
    struct raft_config config = { 0 };
    CHECK(raft_config_add(&config, 5, 9, RAFT_LEARNER));
    CHECK(raft_config_add(&config, 2, 9, RAFT_VOTER));
    CHECK(raft_config_add(&config, 7, 9, RAFT_OUTGOING));
    CHECK_EQ(raft_config_find(&config, 2), 0);
    CHECK_EQ(raft_config_find(&config, 7), 2);
    CHECK(raft_config_find(&config, 3) == -1);
    CHECK(raft_config_is_joint(&config));
    CHECK(raft_config_is_voter(&config, 2));
    CHECK(raft_config_is_voter(&config, 7));
    CHECK(!raft_config_is_voter(&config, 5));
    CHECK(!raft_config_is_alone(&config, 2));
    struct raft_config alone = { 0 };
    CHECK(raft_config_add(&alone, 1, 1, RAFT_VOTER));
    CHECK(raft_config_add(&alone, 2, 1, RAFT_LEARNER));
    CHECK(raft_config_is_alone(&alone, 1));
    CHECK(!raft_config_is_alone(&alone, 2));
}

TEST_MAIN
