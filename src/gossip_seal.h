/*
 * gossip_seal.h — packets of gossip are authenticated: HMAC-SHA-256 with the cluster's key, of
 * which 16 bytes follow the packet.
 *
 * The key comes from the option cluster-secret; without one, from the hash seed, which every member
 * is given when it joins (and whoever wants to join needs the password).  Either way the cluster's
 * id goes into it, so two clusters with one secret do not hear each other.
 */
#pragma once

#include "base/compiler.h"
#include "base/limits.h"
#include "base/slice.h"

#include <stdint.h>

struct gossip_seal;

/* secret "": there is none. */
struct gossip_seal *gossip_seal_new(const char *secret, const uint8_t cluster_id[16],
                                    uint64_t hash_seed);
void gossip_seal_free(struct gossip_seal *seal); /* NULL is allowed */
/* Writes the tag. */
void gossip_seal_make(struct gossip_seal *seal, struct slice packet,
                      char out[MEMBERSHIP_TAG_BYTES]);
/* Cuts a tag off the end; false when it is not the right one. */
MUST_USE bool gossip_seal_open(struct gossip_seal *seal, struct slice sealed,
                               struct slice *out_packet);
