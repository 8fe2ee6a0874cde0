/*
 * peer_proof.c — see peer_proof.h.
 */
#include "network/peer_proof.h"

#include "base/assert.h"
#include "base/endian.h"

#include <inttypes.h>
#include <stdio.h>

struct hmac *peer_proof_key(const char *secret)
{
    bool has_secret = secret != NULL && secret[0] != '\0';
    return has_secret ? hmac_new(slice_from(secret), slice_from("minidb greeting 1")) : NULL;
}

void peer_nonce_make(uint64_t random1, uint64_t random2, char out[PEER_NONCE_TEXT_BYTES])
{
    int size = snprintf(out, PEER_NONCE_TEXT_BYTES, "%016" PRIx64 "%016" PRIx64, random1, random2);
    ASSERT(size == PEER_NONCE_TEXT_BYTES - 1);
}

void peer_proofs_make(struct hmac *key, struct slice dialing_line, struct slice accepting_line,
                      struct peer_proofs *out)
{
    char size[8];
    store_u64(size, dialing_line.size); /* else bytes could go from one line to the other */
    struct slice parts[] = {
        slice_from("accepting"),
        slice_make(size, sizeof(size)),
        dialing_line,
        accepting_line,
    };
    hmac_make(key, parts, ARRAY_COUNT(parts), out->accepting);
    parts[0] = slice_from("dialing");
    hmac_make(key, parts, ARRAY_COUNT(parts), out->dialing);
}

enum peer_proof_result peer_proof_check(struct slice line, const uint8_t expected[PEER_PROOF_BYTES],
                                        char *error, size_t error_size)
{
    uint8_t proof[PEER_PROOF_BYTES];
    switch (peer_proof_decode(line, proof, error, error_size)) {
    case PEER_HELLO_OK:
        break;
    case PEER_HELLO_REFUSAL:
        return PEER_PROOF_REFUSAL;
    case PEER_HELLO_MALFORMED:
    case PEER_HELLO_PROTOCOL:
        return PEER_PROOF_NONE;
    }
    if (!hmac_is_equal(proof, expected, sizeof(proof))) {
        (void)snprintf(error, error_size, "the proof is wrong: its cluster-secret is another one");
        return PEER_PROOF_WRONG;
    }
    return PEER_PROOF_RIGHT;
}
