/*
 * peer_proof_test.c — proofs of a greeting, as bytes: what they cover, and which lines are one.
 */
#include "network/peer_proof.h"

#include "base/mem.h"
#include "test.h"

static const char dialing_line[] = "{\"dialing\":1}\n";
static const char accepting_line[] = "{\"accepting\":2}\n";

static struct peer_proofs proofs_of(const char *secret, struct slice dialing,
                                    struct slice accepting)
{
    struct peer_proofs proofs;
    struct hmac *key = peer_proof_key(secret);
    peer_proofs_make(key, dialing, accepting, &proofs);
    hmac_free(key);
    return proofs;
}

static struct peer_proofs example(void)
{
    return proofs_of("only for us", slice_from(dialing_line), slice_from(accepting_line));
}

static bool differs(const struct peer_proofs *a, const struct peer_proofs *b)
{
    return memcmp(a->accepting, b->accepting, sizeof(a->accepting)) != 0 &&
           memcmp(a->dialing, b->dialing, sizeof(a->dialing)) != 0;
}

static enum peer_proof_result check(struct slice line, const uint8_t *expected)
{
    char error[200] = "";
    enum peer_proof_result result = peer_proof_check(line, expected, error, sizeof(error));
    CHECK((result == PEER_PROOF_RIGHT) == (error[0] == '\0'));
    return result;
}

/* By Python's hmac, of the formula in peer_proof.h. */
TEST(proofs_are_those_of_another_implementation)
{
    struct peer_proofs proofs = example();
    char line[PEER_HELLO_BYTES_MAX];
    line[peer_proof_encode(proofs.accepting, line)] = '\0';
    CHECK(strcmp(line,
                 "{\"type\":\"PROOF\",\"proof\":\"74d6d011069cc4c20d6471d39d13173f6de36c0ab638"
                 "d909390141380b23e647\"}\n") == 0);
    line[peer_proof_encode(proofs.dialing, line)] = '\0';
    CHECK(strcmp(line,
                 "{\"type\":\"PROOF\",\"proof\":\"a78b78470259671220c23b04aeb2f47684f2ab493ff7"
                 "d40f0e4484fe246ff12c\"}\n") == 0);
    CHECK(peer_proof_key("") == NULL);
    CHECK(peer_proof_key(NULL) == NULL);
}

/* Of either line each bit counts, its end, and where one ends and the other begins. */
TEST(proofs_cover_both_lines_whole)
{
    struct peer_proofs right = example();
    char both[sizeof(dialing_line) + sizeof(accepting_line)];
    size_t first = strlen(dialing_line);
    size_t size = first + strlen(accepting_line);
    (void)snprintf(both, sizeof(both), "%s%s", dialing_line, accepting_line);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        both[bit / 8] = (char)(both[bit / 8] ^ 1 << bit % 8);
        struct peer_proofs other = proofs_of("only for us", slice_make(both, first),
                                             slice_make(both + first, size - first));
        CHECK(differs(&right, &other));
        both[bit / 8] = (char)(both[bit / 8] ^ 1 << bit % 8);
    }
    for (size_t at = 0; at <= size; at++) {
        struct peer_proofs other =
            proofs_of("only for us", slice_make(both, at), slice_make(both + at, size - at));
        CHECK(differs(&right, &other) == (at != first));
        other = proofs_of("only for us", slice_make(both, at < first ? at : first),
                          slice_make(both + first, at > first ? at - first : 0));
        CHECK(differs(&right, &other) == (at != size));
    }
}

TEST(proofs_differ_by_secret_and_direction)
{
    struct peer_proofs right = example();
    struct peer_proofs other =
        proofs_of("only for use", slice_from(dialing_line), slice_from(accepting_line));
    CHECK(differs(&right, &other));
    CHECK(memcmp(right.accepting, right.dialing, sizeof(right.dialing)) != 0);
    other = proofs_of("only for us", slice_from(accepting_line), slice_from(dialing_line));
    CHECK(differs(&right, &other));
    CHECK(memcmp(right.accepting, other.dialing, sizeof(right.accepting)) != 0);
    CHECK(memcmp(right.dialing, other.accepting, sizeof(right.accepting)) != 0);
}

TEST(only_the_whole_line_is_a_proof)
{
    struct peer_proofs proofs = example();
    char line[PEER_HELLO_BYTES_MAX];
    size_t size = peer_proof_encode(proofs.dialing, line);
    CHECK_EQ(check(slice_make(line, size), proofs.dialing), PEER_PROOF_RIGHT);
    CHECK_EQ(check(slice_make(line, size - 1), proofs.dialing), PEER_PROOF_RIGHT);
    CHECK_EQ(check(slice_make(line, size), proofs.accepting), PEER_PROOF_WRONG);
    for (size_t cut = 0; cut < size - 1; cut++) {
        char *copy = mem_alloc(cut + 1); /* what is read behind it is noticed */
        memcpy(copy, line, cut);
        CHECK_EQ(check(slice_make(copy, cut), proofs.dialing), PEER_PROOF_NONE);
        mem_free(copy);
    }
    for (size_t bit = 0; bit < 8 * (size - 1); bit++) {
        line[bit / 8] = (char)(line[bit / 8] ^ 1 << bit % 8);
        CHECK(check(slice_make(line, size), proofs.dialing) != PEER_PROOF_RIGHT);
        line[bit / 8] = (char)(line[bit / 8] ^ 1 << bit % 8);
    }
}

TEST(other_lines_are_none)
{
    static const uint8_t zeros[PEER_PROOF_BYTES];
    static const char *const lines[] = {
        "",
        "{}",
        "[]",
        "{\"type\":\"PROOF\"}",
        "{\"type\":\"PROOF\",\"proof\":\"\"}",
        "{\"type\":\"PROOF\",\"proof\":0}",
        "{\"type\":\"PROOF\",\"proof\":\"00\"}",
        "{\"type\":\"HELLO\",\"proof\":\"00000000000000000000000000000000"
        "00000000000000000000000000000000\"}",
        "{\"type\":\"PROOF\",\"proof\":\"0000000000000000000000000000000"
        "000000000000000000000000000000000A\"}",
        "{\"type\":\"PROOF\",\"proof\":\"00000000000000000000000000000000"
        "000000000000000000000000000000000\"}",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        CHECK_EQ(check(slice_from(lines[i]), zeros), PEER_PROOF_NONE);
    }
    char refusal[PEER_HELLO_BYTES_MAX];
    size_t size = peer_refusal_encode("SECRET", "no", refusal);
    CHECK_EQ(check(slice_make(refusal, size), zeros), PEER_PROOF_REFUSAL);
}

TEST(nonces_are_all_bits_as_text)
{
    char text[PEER_NONCE_TEXT_BYTES];
    peer_nonce_make(0x0123456789abcdef, 0xf, text);
    CHECK(strcmp(text, "0123456789abcdef000000000000000f") == 0);
}

TEST_MAIN
