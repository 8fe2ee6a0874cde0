/*
 * peer_proof.h — both ends of a link prove that they know cluster-secret, and neither says it.
 * Pure: no I/O; nonces are passed in.
 *
 *   dialing side                         accepting side
 *   HELLO with nonce D         ───────>
 *                              <───────  HELLO with nonce A (or a refusal), then its proof
 *   its proof                  ───────>  only now it is let in
 *
 * A proof is a code over the direction and both lines as they went over the wire, newlines and all:
 *
 *   HMAC(key, direction | u64 size of the dialing side's line | that line | the accepting side's)
 *   key = HMAC(cluster-secret, "minidb greeting 1")
 *
 * The nonces are in the lines: no proof is good for another link.  The direction is in the code:
 * what one side has said cannot be sent back to it.  All that was said of node, channel, cluster
 * and address is covered.  The cluster's id is not in the key: who joins does not know it yet.
 *
 * What it is not: frames behind the greeting carry no code.  Who sits between two nodes can change
 * them; who can merely open a connection cannot get one.
 *
 * Read next: peer_greet.c (who checks what when), protocol_peer.h (the lines).
 */
#pragma once

#include "base/hmac.h"
#include "base/slice.h"
#include "network/protocol_peer.h"

_Static_assert((int)PEER_PROOF_BYTES == (int)HMAC_BYTES, "a proof is one code");

struct peer_proofs {
    uint8_t accepting[PEER_PROOF_BYTES]; /* what the accepting side says */
    uint8_t dialing[PEER_PROOF_BYTES];
};

/* NULL for "": there is no secret. */
struct hmac *peer_proof_key(const char *secret);
/* 16 unpredictable bytes as HELLO carries them. */
void peer_nonce_make(uint64_t random1, uint64_t random2, char out[PEER_NONCE_TEXT_BYTES]);
/* The proofs of a link on which these lines were said. */
void peer_proofs_make(struct hmac *key, struct slice dialing_line, struct slice accepting_line,
                      struct peer_proofs *out);

enum peer_proof_result {
    PEER_PROOF_RIGHT = 0,
    PEER_PROOF_WRONG,   /* another secret, or lines that were changed on their way */
    PEER_PROOF_NONE,    /* the line is something else */
    PEER_PROOF_REFUSAL, /* the other side's refusal */
};

/* Judges the line that came.  `error`: as peer_hello_decode; "" only when right. */
MUST_USE enum peer_proof_result peer_proof_check(struct slice line,
                                                 const uint8_t expected[PEER_PROOF_BYTES],
                                                 char *error, size_t error_size);
