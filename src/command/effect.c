/*
 * effect.c — collecting effects by partition, and applying them.
 *
 * Operations of one partition stay in the order they were made; between partitions there is no
 * order (all parts enter the log as one atomic batch).
 *
 * Read next: effect.h (the layout), db.c (who collects).
 */
#include "command/effect.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/varint.h"
#include "command/command.h"

/* Stand in the log: never renumber. */
enum effect_kind {
    EFFECT_PUT = 1,
    EFFECT_PUT_RAW = 2,
    EFFECT_DELETE = 3,
    EFFECT_EXPIRY = 4,
    EFFECT_CLEAR = 5, /* with an empty key */
};

struct effect {
    enum effect_kind kind;
    struct slice key;
    struct slice value;
    uint64_t expire_ms;
};

/* ── collecting ──────────────────────────────────────────────────────────────────────────────── */

void effects_deinit(struct effects *effects)
{
    for (uint32_t i = 0; i < effects->count; i++) {
        buffer_free(&effects->parts[i].body);
    }
    mem_free(effects->parts);
    mem_free(effects->part_of);
    *effects = (struct effects){ 0 };
}

static struct buffer *body_of(struct effects *effects, uint32_t partition)
{
    if (effects->part_of == NULL) {
        effects->part_of = mem_zalloc(PARTITIONS_MAX * sizeof(effects->part_of[0]));
    }
    if (effects->part_of[partition] > 0) {
        return &effects->parts[effects->part_of[partition] - 1u].body;
    }
    if (effects->count == effects->capacity) {
        effects->capacity = effects->capacity == 0 ? 4 : effects->capacity * 2;
        effects->parts = mem_realloc(effects->parts, effects->capacity * sizeof(effects->parts[0]));
    }
    struct effects_part *part = &effects->parts[effects->count++];
    effects->part_of[partition] = (uint16_t)effects->count;
    *part = (struct effects_part){ .partition = partition };
    return &part->body;
}

static void append_varint(struct buffer *body, uint64_t value)
{
    char *from = buffer_reserve(body, VARINT_BYTES_MAX);
    body->size += (size_t)(varint_write(from, value) - from);
}

static struct buffer *append_head(struct effects *effects, uint32_t partition,
                                  enum effect_kind kind, struct slice key)
{
    ASSERT(partition < PARTITIONS_MAX);
    ASSERT(key.size <= KEY_BYTES_MAX);
    struct buffer *body = body_of(effects, partition);
    buffer_append_byte(body, (char)kind);
    append_varint(body, key.size);
    buffer_append_slice(body, key);
    return body;
}

void effects_put(struct effects *effects, uint32_t partition, struct slice key, struct slice value,
                 uint64_t expire_ms, bool raw)
{
    struct buffer *body = append_head(effects, partition, raw ? EFFECT_PUT_RAW : EFFECT_PUT, key);
    append_varint(body, expire_ms);
    append_varint(body, value.size);
    buffer_append_slice(body, value);
}

void effects_delete(struct effects *effects, uint32_t partition, struct slice key)
{
    (void)append_head(effects, partition, EFFECT_DELETE, key);
}

void effects_expiry(struct effects *effects, uint32_t partition, struct slice key,
                    uint64_t expire_ms)
{
    append_varint(append_head(effects, partition, EFFECT_EXPIRY, key), expire_ms);
}

void effects_clear(struct effects *effects, uint32_t partition)
{
    (void)append_head(effects, partition, EFFECT_CLEAR, (struct slice){ NULL, 0 });
}

/* ── applying ────────────────────────────────────────────────────────────────────────────────── */

/* varint size, then that many bytes; the byte after them, or NULL. */
static const char *read_slice(const char *at, const char *end, struct slice *out)
{
    uint64_t size = 0;
    at = varint_read(at, end, &size);
    if (at == NULL || size > (size_t)(end - at)) {
        return NULL;
    }
    *out = (struct slice){ at, size };
    return at + size;
}

static const char *read_expiry(const char *at, const char *end, uint64_t *out)
{
    at = varint_read(at, end, out);
    return at == NULL || *out > EXPIRE_MS_MAX ? NULL : at;
}

/* One effect of untrusted bytes (at < end); the byte after it, or NULL when malformed. */
static const char *effect_read(const char *at, const char *end, struct effect *out)
{
    *out = (struct effect){ .kind = (enum effect_kind)(unsigned char)*at++ };
    at = read_slice(at, end, &out->key);
    if (at == NULL || out->key.size > KEY_BYTES_MAX) {
        return NULL;
    }
    switch (out->kind) {
    case EFFECT_PUT:
    case EFFECT_PUT_RAW:
        at = read_expiry(at, end, &out->expire_ms);
        return at == NULL ? NULL : read_slice(at, end, &out->value);
    case EFFECT_EXPIRY:
        return read_expiry(at, end, &out->expire_ms);
    case EFFECT_DELETE:
        return at;
    case EFFECT_CLEAR:
        return out->key.size == 0 ? at : NULL;
    }
    return NULL; /* an unknown kind is never skipped */
}

static void effect_run(struct kv *kv, const struct effect *effect, uint64_t version)
{
    uint64_t hash = kv_hash(kv, effect->key);
    switch (effect->kind) {
    case EFFECT_PUT:
        kv_put(kv, effect->key, hash, effect->value, effect->expire_ms, version);
        break;
    case EFFECT_PUT_RAW:
        kv_put_raw(kv, effect->key, hash, effect->value, effect->expire_ms, version);
        break;
    case EFFECT_DELETE:
        (void)kv_delete(kv, effect->key, hash);
        break;
    case EFFECT_EXPIRY:
        (void)kv_set_expiry(kv, effect->key, hash, effect->expire_ms, version);
        break;
    case EFFECT_CLEAR:
        kv_clear(kv);
        break;
    }
}

bool effects_apply(struct kv *kv, struct slice body, uint64_t version)
{
    const char *at = body.data;
    const char *end = body.data + body.size;
    while (at < end) {
        struct effect effect;
        at = effect_read(at, end, &effect);
        if (at == NULL) {
            return false;
        }
        effect_run(kv, &effect, version);
    }
    return true;
}
