/*
 * gossip_seal.c — see gossip_seal.h.  OpenSSL's HMAC; one context, keyed once.
 */
#include "gossip_seal.h"

#include "base/assert.h"
#include "base/endian.h"
#include "base/mem.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

enum { KEY_BYTES = 32 };

struct gossip_seal {
    EVP_MAC *mac;
    EVP_MAC_CTX *context;
};

static void key_set(struct gossip_seal *seal, const void *key, size_t size)
{
    char digest[] = "SHA256";
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    int is_set = EVP_MAC_init(seal->context, key, size, params);
    ASSERT(is_set == 1); /* it is in memory: nothing of the machine can be missing */
}

static void code_make(struct gossip_seal *seal, struct slice text, uint8_t out[KEY_BYTES])
{
    size_t size = 0;
    int is_done = EVP_MAC_update(seal->context, (const uint8_t *)text.data, text.size);
    is_done = is_done == 1 && EVP_MAC_final(seal->context, out, &size, KEY_BYTES);
    ASSERT(is_done == 1);
    ASSERT(size == KEY_BYTES);
}

struct gossip_seal *gossip_seal_new(const char *secret, const uint8_t cluster_id[16],
                                    uint64_t hash_seed)
{
    struct gossip_seal *seal = mem_zalloc(sizeof(*seal));
    seal->mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    seal->context = seal->mac != NULL ? EVP_MAC_CTX_new(seal->mac) : NULL;
    ASSERT(seal->context != NULL);
    char text[] = "minidb gossip 1 of ................";
    memcpy(text + sizeof(text) - 17, cluster_id, 16);
    char seed[8];
    uint8_t key[KEY_BYTES];
    store_u64(seed, hash_seed);
    bool has_secret = secret[0] != '\0';
    key_set(seal, has_secret ? secret : seed, has_secret ? strlen(secret) : sizeof(seed));
    code_make(seal, slice_make(text, sizeof(text) - 1), key);
    key_set(seal, key, sizeof(key));
    OPENSSL_cleanse(key, sizeof(key));
    return seal;
}

void gossip_seal_free(struct gossip_seal *seal)
{
    if (seal != NULL) {
        EVP_MAC_CTX_free(seal->context);
        EVP_MAC_free(seal->mac);
        mem_free(seal);
    }
}

void gossip_seal_make(struct gossip_seal *seal, struct slice packet, char out[MEMBERSHIP_TAG_BYTES])
{
    uint8_t code[KEY_BYTES];
    int is_ready = EVP_MAC_init(seal->context, NULL, 0, NULL); /* the key stays */
    ASSERT(is_ready == 1);
    code_make(seal, packet, code);
    memcpy(out, code, MEMBERSHIP_TAG_BYTES);
}

bool gossip_seal_open(struct gossip_seal *seal, struct slice sealed, struct slice *out_packet)
{
    char tag[MEMBERSHIP_TAG_BYTES];
    if (sealed.size < sizeof(tag) ||
        sealed.size > (size_t)MEMBERSHIP_PACKET_BYTES_MAX + sizeof(tag)) {
        return false;
    }
    struct slice packet = slice_make(sealed.data, sealed.size - sizeof(tag));
    gossip_seal_make(seal, packet, tag);
    if (CRYPTO_memcmp(tag, packet.data + packet.size, sizeof(tag)) != 0) {
        return false;
    }
    *out_packet = packet;
    return true;
}
