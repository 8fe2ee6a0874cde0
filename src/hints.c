/*
 * hints.c — see hints.h.  Order: life, looking, what we tell, what we are told.
 *
 * A frame, little-endian:
 *
 *   u8 format (1)   u8 1: all that the sender leads, else what has changed   u32 partitions held
 *   u32 count, and for each:  varint partition   varint term   u8 flags (1: does not lead it any
 *   more)   varint bytes left to move   u16 size and the group's configuration (confchange.h)
 */
#include "hints.h"

#include "base/assert.h"
#include "base/endian.h"
#include "base/mem.h"
#include "base/varint.h"
#include "cluster/confchange.h"
#include "consensus.h"
#include "network/peers.h"
#include "node.h"
#include "replica.h"

enum {
    HINTS_FORMAT = 1,
    HEAD_BYTES = 1 + 1 + 4 + 4,
    ENTRY_MAX = 3 * VARINT_BYTES_MAX + 1 + 2 + RAFT_CONFIG_BYTES_MAX,
    CHANGES_MS = 50, /* what changes within it is told together */
    LOOK_MS = 250,   /* configurations are looked at so often */
    ALL_MS = 5000,   /* everything is told again: a frame may have been lost */
};

_Static_assert(HEAD_BYTES + PARTITIONS_MAX * ENTRY_MAX <= PEER_FRAME_BYTES_MAX,
               "one frame is enough");

/* What was told of a partition last. */
struct told {
    uint64_t term; /* 0: that we do not lead it */
    uint64_t config_index;
    uint8_t flags;
    uint64_t bytes_left;
};

/* What is to be told beside what consensus knows. */
struct moving {
    uint8_t flags;
    uint64_t bytes_left;
};

struct held {
    uint64_t node; /* 0: free */
    uint32_t count;
};

struct hints {
    uint32_t partitions;
    struct hint *hints; /* owned, as the others: term 0: nothing is known */
    struct told *told;
    struct moving *moving;
    struct held held[MEMBERS_MAX];
    uint64_t changes_seen;                /* consensus->leadership_changes */
    uint64_t changes_ms, look_ms, all_ms; /* not before */
    struct buffer frame;                  /* scratch */
};

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

struct hints *hints_new(uint32_t partitions)
{
    struct hints *hints = mem_zalloc(sizeof(*hints));
    hints->partitions = partitions;
    hints->hints = mem_zalloc(partitions * sizeof(*hints->hints));
    hints->told = mem_zalloc(partitions * sizeof(*hints->told));
    hints->moving = mem_zalloc(partitions * sizeof(*hints->moving));
    return hints;
}

void hints_free(struct hints *hints)
{
    if (hints == NULL) {
        return;
    }
    buffer_free(&hints->frame);
    mem_free(hints->moving);
    mem_free(hints->told);
    mem_free(hints->hints);
    mem_free(hints);
}

/* ── looking ─────────────────────────────────────────────────────────────────────────────────── */

const struct hint *hints_of(const struct hints *hints, uint32_t partition)
{
    bool is_known =
        hints != NULL && partition < hints->partitions && hints->hints[partition].term != 0;
    return is_known ? &hints->hints[partition] : NULL;
}

uint32_t hints_held(const struct hints *hints, uint64_t node, bool *out_is_known)
{
    *out_is_known = false;
    for (uint32_t i = 0; hints != NULL && node != 0 && i < MEMBERS_MAX; i++) {
        if (hints->held[i].node == node) {
            *out_is_known = true;
            return hints->held[i].count;
        }
    }
    return 0;
}

const struct hint *hints_next_led(const struct hints *hints, uint64_t node, uint32_t *at,
                                  uint32_t *out_partition)
{
    while (hints != NULL && *at < hints->partitions) {
        uint32_t partition = (*at)++;
        if (hints->hints[partition].term != 0 && hints->hints[partition].leader == node) {
            *out_partition = partition;
            return &hints->hints[partition];
        }
    }
    return NULL;
}

void hints_set_moving(struct hints *hints, uint32_t partition, uint8_t flags, uint64_t bytes_left)
{
    ASSERT(partition < hints->partitions);
    hints->moving[partition] = (struct moving){ flags, bytes_left };
}

/* ── what we tell ────────────────────────────────────────────────────────────────────────────── */

static uint32_t count_held(const struct consensus *consensus)
{
    uint32_t held = 0;
    for (uint32_t i = 0; i + 1 < consensus->count; i++) {
        held += !consensus->replicas[i]->is_vacant;
    }
    return held;
}

static struct told told_now(const struct hints *hints, const struct replica *replica)
{
    struct told now = { .term = 0 };
    if (replica_is_leader(replica)) {
        const struct moving *moving = &hints->moving[replica->slot];
        now = (struct told){ .term = replica->term,
                             .flags = moving->flags,
                             .bytes_left = moving->bytes_left };
        (void)raft_config(replica->raft, &now.config_index);
    }
    return now;
}

static void entry_write(struct hints *hints, const struct replica *replica, const struct told *now,
                        const struct told *before)
{
    uint64_t at = 0;
    bool is_leading = now->term != 0;
    const struct raft_config *config = raft_config(replica->raft, &at);
    char *start = buffer_reserve(&hints->frame, ENTRY_MAX);
    char *to = varint_write(start, replica->slot);
    to = varint_write(to, is_leading ? now->term : before->term);
    *to++ = (char)(is_leading ? now->flags : HINT_NOT_LEADING);
    to = varint_write(to, now->bytes_left);
    size_t size = is_leading ? raft_config_encode(config, to + 2) : 0;
    store_u16(to, (uint16_t)size);
    hints->frame.size += (size_t)(to + 2 + size - start);
}

/* Writes the frame: everything, or what differs from what was told last.  Returns how many. */
static uint32_t frame_write(const struct node *node, bool is_all)
{
    struct hints *hints = node->hints;
    const struct consensus *consensus = node->consensus;
    uint32_t count = 0;
    hints->frame.size = 0;
    (void)buffer_reserve(&hints->frame, HEAD_BYTES);
    hints->frame.size = HEAD_BYTES;
    for (uint32_t i = 0; i < hints->partitions; i++) {
        const struct replica *replica = consensus->replicas[i];
        struct told before = hints->told[i];
        struct told now = told_now(hints, replica);
        bool is_changed = now.term != before.term || now.config_index != before.config_index ||
                          now.flags != before.flags || now.bytes_left != before.bytes_left;
        if (is_all ? now.term != 0 : is_changed) {
            entry_write(hints, replica, &now, &before);
            count++;
        }
        if (!is_all) {
            hints->told[i] = now;
        }
    }
    char *head = hints->frame.data;
    head[0] = HINTS_FORMAT;
    head[1] = is_all;
    store_u32(head + 2, count_held(consensus));
    store_u32(head + 6, count);
    return count;
}

static void frame_send(const struct node *node, uint64_t number)
{
    struct slice bytes = buffer_slice(&node->hints->frame);
    uint64_t link = peers_link(node->peers, number, PEER_RAFT);
    char *to =
        link != 0 ? peers_frame_begin(node->peers, link, PEER_FRAME_HINTS, bytes.size) : NULL;
    if (to != NULL) {
        memcpy(to, bytes.data, bytes.size);
        peers_frame_end(node->peers, link, bytes.size);
    }
}

static void frame_send_to_all(const struct node *node)
{
    for (uint32_t i = 0; i < node->members.count; i++) {
        if (node->members.items[i].number != node->consensus->options.node) {
            frame_send(node, node->members.items[i].number);
        }
    }
}

void hints_step(struct node *node)
{
    struct hints *hints = node->hints;
    const struct consensus *consensus = node->consensus;
    uint64_t now_ms = consensus->now_ms;
    bool is_changed = consensus->leadership_changes != hints->changes_seen;
    if (now_ms < hints->changes_ms || (!is_changed && now_ms < hints->look_ms)) {
        return;
    }
    hints->changes_seen = consensus->leadership_changes;
    hints->changes_ms = now_ms + CHANGES_MS;
    hints->look_ms = now_ms + LOOK_MS;
    if (frame_write(node, /* is_all= */ false) > 0) {
        frame_send_to_all(node);
    }
    if (now_ms >= hints->all_ms) {
        hints->all_ms = now_ms + ALL_MS;
        (void)frame_write(node, /* is_all= */ true);
        frame_send_to_all(node);
    }
}

/* ── what we are told ────────────────────────────────────────────────────────────────────────── */

static void held_note(struct node *node, uint64_t number, uint32_t count)
{
    struct held *place = NULL;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        struct held *held = &node->hints->held[i];
        if (held->node == number) {
            place = held;
            break;
        }
        bool is_free = held->node == 0 || members_find(&node->members, held->node) == NULL;
        place = is_free && place == NULL ? held : place;
    }
    if (place != NULL) {
        *place = (struct held){ number, count };
    }
}

static void hint_set(struct node *node, uint32_t partition, const struct hint *hint)
{
    node->hints->hints[partition] = *hint;
    consensus_hint(node->consensus, node->consensus->replicas[partition], hint->leader, hint->term);
}

static void hint_drop(struct node *node, uint32_t partition, uint64_t from)
{
    struct hint hint = node->hints->hints[partition];
    if (hint.leader == from) {
        hint.leader = 0;
        hint_set(node, partition, &hint);
    }
}

/* Takes one entry; false when it is malformed. */
static bool entry_read(struct node *node, uint64_t from, struct slice *left,
                       uint32_t *out_partition)
{
    const char *end = left->data + left->size;
    uint64_t partition = 0;
    struct hint hint = { .leader = from };
    const char *at = varint_read(left->data, end, &partition);
    at = at != NULL ? varint_read(at, end, &hint.term) : NULL;
    if (at == NULL || at == end || partition >= node->hints->partitions || hint.term == 0) {
        return false;
    }
    hint.flags = (uint8_t)*at++;
    at = varint_read(at, end, &hint.bytes_left);
    if (at == NULL || end - at < 2 || end - at - 2 < load_u16(at)) {
        return false;
    }
    struct slice config = slice_make(at + 2, load_u16(at));
    bool is_leading = (hint.flags & HINT_NOT_LEADING) == 0;
    if (is_leading && !raft_config_decode(config, &hint.members)) {
        return false;
    }
    at = config.data + config.size;
    *left = slice_make(at, (size_t)(end - at));
    *out_partition = (uint32_t)partition;
    const struct hint *known = &node->hints->hints[partition];
    if (is_leading && hint.term >= known->term) {
        hint_set(node, (uint32_t)partition, &hint);
    } else if (!is_leading && hint.term >= known->term) {
        hint_drop(node, (uint32_t)partition, from);
    }
    return true;
}

static bool frame_take(struct node *node, uint64_t from, struct slice body)
{
    if (body.size < HEAD_BYTES || body.data[0] != HINTS_FORMAT) {
        return false;
    }
    bool is_all = body.data[1] != 0;
    uint32_t count = load_u32(body.data + 6);
    struct slice left = slice_make(body.data + HEAD_BYTES, body.size - HEAD_BYTES);
    uint32_t next = 0; /* entries are sorted: what lies between is not led */
    held_note(node, from, load_u32(body.data + 2));
    for (uint32_t i = 0; i < count; i++) {
        uint32_t partition = 0;
        if (!entry_read(node, from, &left, &partition)) {
            return false;
        }
        for (; is_all && next < partition; next++) {
            hint_drop(node, next, from);
        }
        next = partition + 1;
    }
    for (; is_all && next < node->hints->partitions; next++) {
        hint_drop(node, next, from);
    }
    return left.size == 0;
}

bool hints_on_peer_event(struct node *node, const struct peer_event *event)
{
    if (event->kind == PEER_EVENT_UP && event->is_outgoing) {
        (void)frame_write(node, /* is_all= */ true);
        frame_send(node, event->number);
    }
    if (event->kind != PEER_EVENT_FRAME || event->frame_kind != PEER_FRAME_HINTS) {
        return false;
    }
    if (event->number == 0 || !frame_take(node, event->number, event->body)) {
        peers_close(node->peers, event->link);
    }
    return true;
}
