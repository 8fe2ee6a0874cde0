/*
 * gossip_seal_test.c — the code on a packet is HMAC-SHA-256 (compared with another implementation),
 * and nothing else passes.
 */
#include "gossip_seal.h"

#include "test.h"

static const uint8_t cluster[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };

static void tag_is(const char *secret, const char *packet, const char *expected)
{
    char tag[MEMBERSHIP_TAG_BYTES];
    struct gossip_seal *seal = gossip_seal_new(secret, cluster, 0x1122334455667788);
    gossip_seal_make(seal, slice_from(packet), tag);
    CHECK(memcmp(tag, expected, sizeof(tag)) == 0);
    gossip_seal_make(seal, slice_from("another"), tag);
    CHECK(memcmp(tag, expected, sizeof(tag)) != 0);
    gossip_seal_make(seal, slice_from(packet), tag); /* the key is kept */
    CHECK(memcmp(tag, expected, sizeof(tag)) == 0);
    gossip_seal_free(seal);
}

/* By Python's hmac: key = HMAC(secret, "minidb gossip 1 of " + cluster id). */
TEST(tags_are_those_of_another_implementation)
{
    tag_is("only for us", "hello",
           "\x85\x09\x92\x7a\xe8\x28\xc4\x67\x31\x29\x8b\x2a\xb2\xf6\x06\x8c");
    tag_is("", "hello", "\x43\x57\x24\x46\xd6\x5d\x16\xd6\xfc\x9e\xe0\x47\x41\x6e\xed\x8f");
    tag_is("only for us", "", "\x02\x62\x4a\x86\xad\xab\x45\x4d\x49\x65\xe9\x16\x45\xdb\x7c\x95");
}

TEST(only_whole_packets_with_the_right_key_pass)
{
    struct gossip_seal *ours = gossip_seal_new("a", cluster, 1);
    uint8_t other_cluster[16] = { 1 };
    struct gossip_seal *theirs[] = { gossip_seal_new("b", cluster, 1),
                                     gossip_seal_new("a", other_cluster, 1),
                                     gossip_seal_new("", cluster, 1) };
    char sealed[5 + MEMBERSHIP_TAG_BYTES + 1] = "hello";
    struct slice packet = { NULL, 0 };
    size_t size = sizeof(sealed) - 1;
    gossip_seal_make(ours, slice_make(sealed, 5), sealed + 5);
    CHECK(gossip_seal_open(ours, slice_make(sealed, size), &packet));
    CHECK(slice_equal(packet, slice_from("hello")));
    for (size_t i = 0; i < 3; i++) {
        CHECK(!gossip_seal_open(theirs[i], slice_make(sealed, size), &packet));
        gossip_seal_free(theirs[i]);
    }
    for (size_t cut = 0; cut < size; cut++) {
        CHECK(!gossip_seal_open(ours, slice_make(sealed, cut), &packet));
    }
    for (size_t bit = 0; bit < size * 8; bit++) {
        sealed[bit / 8] = (char)(sealed[bit / 8] ^ (1 << bit % 8));
        CHECK(!gossip_seal_open(ours, slice_make(sealed, size), &packet));
        sealed[bit / 8] = (char)(sealed[bit / 8] ^ (1 << bit % 8));
    }
    gossip_seal_free(ours);
}

TEST_MAIN
