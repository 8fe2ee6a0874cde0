/*
 * hmac.c — see hmac.h.  OpenSSL's HMAC; one context, keyed once.
 */
#include "base/hmac.h"

#include "base/assert.h"
#include "base/mem.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

struct hmac {
    EVP_MAC *mac;
    EVP_MAC_CTX *context;
};

static void key_set(struct hmac *hmac, const void *key, size_t size)
{
    char digest[] = "SHA256";
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    int is_set = EVP_MAC_init(hmac->context, key, size, params);
    ASSERT(is_set == 1); /* it is in memory: nothing of the machine can be missing */
}

struct hmac *hmac_new(struct slice secret, struct slice purpose)
{
    struct hmac *hmac = mem_zalloc(sizeof(*hmac));
    hmac->mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    hmac->context = hmac->mac != NULL ? EVP_MAC_CTX_new(hmac->mac) : NULL;
    ASSERT(hmac->context != NULL);
    uint8_t key[HMAC_BYTES];
    key_set(hmac, secret.data, secret.size);
    hmac_make(hmac, &purpose, 1, key);
    key_set(hmac, key, sizeof(key));
    OPENSSL_cleanse(key, sizeof(key));
    return hmac;
}

void hmac_free(struct hmac *hmac)
{
    if (hmac != NULL) {
        EVP_MAC_CTX_free(hmac->context);
        EVP_MAC_free(hmac->mac);
        mem_free(hmac);
    }
}

void hmac_make(struct hmac *hmac, const struct slice *parts, uint32_t count,
               uint8_t out[HMAC_BYTES])
{
    int is_done = EVP_MAC_init(hmac->context, NULL, 0, NULL); /* the key stays */
    for (uint32_t i = 0; is_done == 1 && i < count; i++) {
        is_done = EVP_MAC_update(hmac->context, (const uint8_t *)parts[i].data, parts[i].size);
    }
    size_t size = 0;
    is_done = is_done == 1 && EVP_MAC_final(hmac->context, out, &size, HMAC_BYTES);
    ASSERT(is_done == 1);
    ASSERT(size == HMAC_BYTES);
}

bool hmac_is_equal(const void *a, const void *b, size_t size)
{
    return CRYPTO_memcmp(a, b, size) == 0;
}
