/*
 * effect.h — resulting values instead of commands: the body of ENTRY_EFFECT.
 *
 * A list of operations on keys of one partition: u8 kind (PUT, PUT_RAW, DELETE, EXPIRY, CLEAR),
 * varint key size, key, then for puts varint expiry and varint size, value; for EXPIRY the expiry.
 * Collected in effects mode, grouped by partition; applied unconditionally.
 */
#pragma once

#include "base/buffer.h"
#include "storage/keyspace.h"

struct effects {
    struct effects_part {
        uint32_t partition;
        struct buffer body;
    } * parts; /* owned; ordered by first use */
    uint32_t count, capacity;
    uint16_t *part_of; /* owned: place in `parts` plus one, by partition; NULL until first use */
};

void effects_deinit(struct effects *effects);
void effects_put(struct effects *effects, uint32_t partition, struct slice key, struct slice value,
                 uint64_t expire_ms, bool raw);
void effects_delete(struct effects *effects, uint32_t partition, struct slice key);
void effects_expiry(struct effects *effects, uint32_t partition, struct slice key,
                    uint64_t expire_ms);
void effects_clear(struct effects *effects, uint32_t partition);
/* Applies an ENTRY_EFFECT body to its partition; false when malformed (nothing more is applied
 * behind the bad place: callers treat it as a fatal inconsistency). */
bool effects_apply(struct kv *kv, struct slice body, uint64_t version);
