/*
 * membership_wire.c — see membership_wire.h.
 */
#include "cluster/membership_wire.h"

#include "base/assert.h"
#include "base/endian.h"

enum {
    MAGIC = 0x314f474d, /* "MGO1" */
    STATE_BYTES = 28,   /* and its accusers */
    ADVICE_BYTES = 52,  /* and its texts */
};

/* ── head ────────────────────────────────────────────────────────────────────────────────────── */

void membership_head_write(const struct membership_head *head, char *out)
{
    store_u32(out, MAGIC);
    out[4] = (char)head->kind;
    out[5] = (char)head->flags;
    out[6] = (char)head->state;
    out[7] = 0;
    store_u64(out + 8, head->cluster);
    store_u64(out + 16, head->from);
    store_u64(out + 24, head->from_identity);
    store_u64(out + 32, head->from_boot);
    store_u64(out + 40, head->to);
    store_u64(out + 48, head->to_identity);
    store_u64(out + 56, head->to_boot);
    store_u64(out + 64, head->counter);
    store_u64(out + 72, head->incarnation);
    store_u64(out + 80, head->about);
    store_u64(out + 88, head->token);
}

static bool head_read(struct slice packet, struct membership_head *out)
{
    const char *at = packet.data;
    if (packet.size < MEMBERSHIP_HEAD_BYTES || load_u32(at) != MAGIC) {
        return false;
    }
    *out = (struct membership_head){
        .kind = (uint8_t)at[4],
        .flags = (uint8_t)at[5],
        .state = (uint8_t)at[6],
        .cluster = load_u64(at + 8),
        .from = load_u64(at + 16),
        .from_identity = load_u64(at + 24),
        .from_boot = load_u64(at + 32),
        .to = load_u64(at + 40),
        .to_identity = load_u64(at + 48),
        .to_boot = load_u64(at + 56),
        .counter = load_u64(at + 64),
        .incarnation = load_u64(at + 72),
        .about = load_u64(at + 80),
        .token = load_u64(at + 88),
    };
    return out->kind >= MEMBERSHIP_PING && out->kind <= MEMBERSHIP_TELL && at[7] == 0 &&
           (out->flags & ~MEMBERSHIP_FLAG_SYNC) == 0 &&
           (out->state == MEMBERSHIP_ALIVE || out->state == MEMBERSHIP_LEFT);
}

/* ── items ───────────────────────────────────────────────────────────────────────────────────── */

size_t membership_item_size(const struct membership_item *item)
{
    if (item->kind == MEMBERSHIP_ITEM_STATE) {
        return STATE_BYTES + 8 * (size_t)item->accusers_count;
    }
    return ADVICE_BYTES + strlen(item->advice.host) + strlen(item->advice.version);
}

static char *state_write(const struct membership_item *item, char *out)
{
    ASSERT(item->accusers_count <= MEMBERSHIP_ACCUSERS_MAX);
    out[1] = (char)item->state;
    out[2] = (char)item->accusers_count;
    out[3] = 0;
    store_u64(out + 20, item->incarnation);
    out += STATE_BYTES;
    for (uint32_t i = 0; i < item->accusers_count; i++, out += 8) {
        store_u64(out, item->accusers[i]);
    }
    return out;
}

static char *advice_write(const struct membership_advice *advice, char *out)
{
    size_t host_bytes = strlen(advice->host);
    size_t version_bytes = strlen(advice->version);
    out[1] = (char)host_bytes;
    out[2] = (char)version_bytes;
    out[3] = 0;
    store_u64(out + 20, advice->serial);
    store_u16(out + 28, advice->cluster_port);
    store_u16(out + 30, advice->port);
    store_u16(out + 32, advice->slot_port);
    store_u16(out + 34, 0);
    store_u32(out + 36, advice->partitions_led);
    store_u32(out + 40, advice->partitions_held);
    store_u64(out + 44, advice->memory_bytes);
    memcpy(out + ADVICE_BYTES, advice->host, host_bytes);
    memcpy(out + ADVICE_BYTES + host_bytes, advice->version, version_bytes);
    return out + ADVICE_BYTES + host_bytes + version_bytes;
}

char *membership_item_write(const struct membership_item *item, char *out)
{
    out[0] = (char)item->kind;
    store_u64(out + 4, item->number);
    store_u64(out + 12, item->identity);
    return item->kind == MEMBERSHIP_ITEM_STATE ? state_write(item, out)
                                               : advice_write(&item->advice, out);
}

static bool text_read(const char *from, size_t bytes, char *out, size_t out_size)
{
    if (bytes >= out_size) {
        return false;
    }
    for (size_t i = 0; i < bytes; i++) {
        if (from[i] <= ' ' || from[i] > '~') {
            return false;
        }
        out[i] = from[i];
    }
    return true;
}

static size_t state_read(struct slice rest, struct membership_item *out)
{
    if (rest.size < STATE_BYTES) {
        return 0;
    }
    out->state = (uint8_t)rest.data[1];
    out->accusers_count = (uint8_t)rest.data[2];
    out->incarnation = load_u64(rest.data + 20);
    size_t bytes = STATE_BYTES + 8 * (size_t)out->accusers_count;
    bool may_have = out->state == MEMBERSHIP_SUSPECT || out->accusers_count == 0;
    if (out->state > MEMBERSHIP_LEFT || out->accusers_count > MEMBERSHIP_ACCUSERS_MAX ||
        !may_have || rest.size < bytes) {
        return 0;
    }
    for (uint32_t i = 0; i < out->accusers_count; i++) {
        out->accusers[i] = load_u64(rest.data + STATE_BYTES + 8 * (size_t)i);
    }
    return bytes;
}

static size_t advice_read(struct slice rest, struct membership_advice *out)
{
    const char *at = rest.data;
    if (rest.size < ADVICE_BYTES || load_u16(at + 34) != 0) {
        return 0;
    }
    size_t host_bytes = (uint8_t)at[1];
    size_t version_bytes = (uint8_t)at[2];
    size_t bytes = ADVICE_BYTES + host_bytes + version_bytes;
    if (rest.size < bytes ||
        !text_read(at + ADVICE_BYTES, host_bytes, out->host, sizeof(out->host)) ||
        !text_read(at + ADVICE_BYTES + host_bytes, version_bytes, out->version,
                   sizeof(out->version))) {
        return 0;
    }
    out->serial = load_u64(at + 20);
    out->cluster_port = load_u16(at + 28);
    out->port = load_u16(at + 30);
    out->slot_port = load_u16(at + 32);
    out->partitions_led = load_u32(at + 36);
    out->partitions_held = load_u32(at + 40);
    out->memory_bytes = load_u64(at + 44);
    return bytes;
}

/* Bytes of the item at the front; 0: it is none. */
static size_t item_read(struct slice rest, struct membership_item *out)
{
    if (rest.size < STATE_BYTES || rest.data[3] != 0) {
        return 0;
    }
    *out = (struct membership_item){
        .kind = (uint8_t)rest.data[0],
        .number = load_u64(rest.data + 4),
        .identity = load_u64(rest.data + 12),
    };
    switch (out->kind) {
    case MEMBERSHIP_ITEM_STATE:
        return state_read(rest, out);
    case MEMBERSHIP_ITEM_ADVICE:
        return advice_read(rest, &out->advice);
    default:
        return 0;
    }
}

/* ── whole packets ───────────────────────────────────────────────────────────────────────────── */

bool membership_packet_read(struct slice packet, struct membership_head *out_head,
                            struct slice *out_items)
{
    if (packet.size > MEMBERSHIP_PACKET_BYTES_MAX || !head_read(packet, out_head)) {
        return false;
    }
    struct slice items =
        slice_make(packet.data + MEMBERSHIP_HEAD_BYTES, packet.size - MEMBERSHIP_HEAD_BYTES);
    for (struct slice rest = items; rest.size > 0;) {
        struct membership_item item;
        size_t bytes = item_read(rest, &item);
        if (bytes == 0) {
            return false;
        }
        rest = slice_make(rest.data + bytes, rest.size - bytes);
    }
    *out_items = items;
    return true;
}

bool membership_item_next(struct slice *items, struct membership_item *out_item)
{
    if (items->size == 0) {
        return false;
    }
    size_t bytes = item_read(*items, out_item);
    ASSERT(bytes > 0); /* membership_packet_read has looked at it */
    *items = slice_make(items->data + bytes, items->size - bytes);
    return true;
}
