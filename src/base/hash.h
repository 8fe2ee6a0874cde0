/*
 * hash.h — the two hashes of a key: where it belongs, and where it lies.
 *
 * hash_slot is Redis Cluster's (CRC16 of the key or of its {hashtag}, mod 16384).  hash_key is
 * keyed XXH3; its seed is the cluster's secret, so that no client can aim collisions.
 */
#pragma once

#include "base/slice.h"

#include <stdint.h>

#define XXH_INLINE_ALL
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wcast-qual"
#include <xxhash.h>
#pragma GCC diagnostic pop

enum { HASH_SLOTS = 16384 };

/* CRC16/XMODEM. */
uint16_t hash_crc16(const char *data, size_t size);
/* The cluster slot of a key, 0..16383 (Redis Cluster specification, "Hash tags"). */
uint16_t hash_slot(struct slice key);

static inline uint64_t hash_key(struct slice key, uint64_t seed)
{
    return XXH3_64bits_withSeed(key.data, key.size, seed);
}
