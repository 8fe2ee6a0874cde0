/*
 * gossip_seal.c — see gossip_seal.h.
 */
#include "gossip_seal.h"

#include "base/assert.h"
#include "base/endian.h"
#include "base/hmac.h"
#include "base/mem.h"

_Static_assert((int)MEMBERSHIP_TAG_BYTES <= (int)HMAC_BYTES, "a tag is the beginning of a code");

struct gossip_seal {
    struct hmac *hmac;
};

struct gossip_seal *gossip_seal_new(const char *secret, const uint8_t cluster_id[16],
                                    uint64_t hash_seed)
{
    struct gossip_seal *seal = mem_zalloc(sizeof(*seal));
    char text[] = "minidb gossip 1 of ................";
    memcpy(text + sizeof(text) - 17, cluster_id, 16);
    char seed[8];
    store_u64(seed, hash_seed);
    bool has_secret = secret[0] != '\0';
    seal->hmac = hmac_new(has_secret ? slice_from(secret) : slice_make(seed, sizeof(seed)),
                          slice_make(text, sizeof(text) - 1));
    return seal;
}

void gossip_seal_free(struct gossip_seal *seal)
{
    if (seal != NULL) {
        hmac_free(seal->hmac);
        mem_free(seal);
    }
}

void gossip_seal_make(struct gossip_seal *seal, struct slice packet, char out[MEMBERSHIP_TAG_BYTES])
{
    uint8_t code[HMAC_BYTES];
    hmac_make(seal->hmac, &packet, 1, code);
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
    if (!hmac_is_equal(tag, packet.data + packet.size, sizeof(tag))) {
        return false;
    }
    *out_packet = packet;
    return true;
}
