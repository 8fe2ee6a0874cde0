/*
 * hmac_test.c — codes are HMAC-SHA-256 under HMAC-SHA-256(secret, purpose): compared with Python's.
 */
#include "base/hmac.h"

#include "test.h"

static bool code_is(struct hmac *hmac, const struct slice *parts, uint32_t count,
                    const char *expected)
{
    uint8_t code[HMAC_BYTES];
    hmac_make(hmac, parts, count, code);
    char text[2 * HMAC_BYTES + 1];
    for (size_t i = 0; i < HMAC_BYTES; i++) {
        (void)snprintf(text + 2 * i, 3, "%02x", code[i]);
    }
    return strcmp(text, expected) == 0;
}

TEST(codes_are_those_of_another_implementation)
{
    static const char of_text[] =
        "bdc93ca696a4c4d092b6909d56cfdffe39c218e1239a3491f93a3e891b42b99d";
    const struct slice whole = slice_from("a text in parts");
    const struct slice parts[] = { slice_from("a text "), slice_from(""), slice_from("in parts") };
    struct hmac *hmac = hmac_new(slice_from("secret"), slice_from("purpose"));
    CHECK(code_is(hmac, &whole, 1, of_text));
    CHECK(
        code_is(hmac, NULL, 0, "90770a0b1dfef263fe967809092be4dbc2c30ab473d8345de1204caf0023e715"));
    CHECK(code_is(hmac, parts, 3, of_text)); /* and the key is kept */
    struct hmac *others[] = { hmac_new(slice_from("secret"), slice_from("purposes")),
                              hmac_new(slice_from("secrets"), slice_from("purpose")) };
    for (size_t i = 0; i < 2; i++) {
        CHECK(!code_is(others[i], &whole, 1, of_text));
        hmac_free(others[i]);
    }
    hmac_free(hmac);
    hmac_free(NULL);
}

TEST(equal_means_all_bytes)
{
    char a[32] = "0123456789abcdef0123456789abcde";
    char b[32];
    memcpy(b, a, sizeof(b));
    CHECK(hmac_is_equal(a, b, sizeof(a)));
    for (size_t i = 0; i < sizeof(a); i++) {
        b[i] ^= 1;
        CHECK(!hmac_is_equal(a, b, sizeof(a)));
        b[i] ^= 1;
    }
}

TEST_MAIN
