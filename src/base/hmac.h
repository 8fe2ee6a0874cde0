/*
 * hmac.h — HMAC-SHA-256 under a key that is good for one purpose.
 *
 * A secret that people gave is never a key itself: the key is HMAC(secret, purpose), so that what
 * is said for one purpose is worth nothing for another.
 *
 * Read next: hmac.c, network/peer_proof.h, gossip_seal.h.
 */
#pragma once

#include "base/compiler.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum { HMAC_BYTES = 32 };

struct hmac;

struct hmac *hmac_new(struct slice secret, struct slice purpose);
void hmac_free(struct hmac *hmac); /* NULL is allowed */
/* Of the parts one behind the other. */
void hmac_make(struct hmac *hmac, const struct slice *parts, uint32_t count,
               uint8_t out[HMAC_BYTES]);
/* Takes the same time wherever they differ. */
MUST_USE bool hmac_is_equal(const void *a, const void *b, size_t size);
