/*
 * hints.c — see hints.h.  Order: life, looking, what we tell, what we are told.
 */
#include "hints.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "consensus.h"
#include "coordinator.h"
#include "network/peers.h"
#include "node.h"
#include "replica.h"

enum {
    CHANGES_MS = 50, /* what changes within it is told together */
    LOOK_MS = 250,   /* configurations are looked at so often */
    ALL_MS = 5000,   /* everything is told again: a frame may have been lost */
};

_Static_assert(HINTS_WIRE_HEAD_BYTES + PARTITIONS_MAX * HINTS_WIRE_ENTRY_BYTES_MAX <=
                   PEER_FRAME_BYTES_MAX,
               "one frame is enough");

/* What was told of a partition last. */
struct told {
    uint64_t term; /* 0: that we do not lead it */
    uint64_t config_index;
    uint8_t flags;
    uint64_t bytes_left;
};

/* What is to be told beside what consensus knows; of the term in which we lead. */
struct moving {
    uint64_t term;
    uint8_t flags;
    uint64_t bytes_left;
};

struct told_held {
    uint64_t node; /* 0: free */
    struct hints_held held;
};

struct hints {
    uint32_t partitions;
    struct hint *hints; /* owned, as the others: term 0: nothing is known */
    struct told *told;
    struct moving *moving;
    struct told_held held[MEMBERS_MAX];
    struct hints_held told_held;          /* what we said of ourselves last */
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

struct hints_held hints_held(const struct hints *hints, uint64_t node)
{
    for (uint32_t i = 0; hints != NULL && node != 0 && i < MEMBERS_MAX; i++) {
        if (hints->held[i].node == node) {
            return hints->held[i].held;
        }
    }
    return (struct hints_held){ .epoch = 0 };
}

bool hints_holds_nothing(const struct hints *hints, uint64_t node, uint64_t epoch)
{
    struct hints_held held = hints_held(hints, node);
    return held.partitions == 0 && (held.epoch == epoch || MUTANT(MUT_LEFT_ON_OLD_WORD));
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

void hints_set_moving(struct hints *hints, const struct replica *replica, uint8_t flags,
                      uint64_t bytes_left)
{
    ASSERT(replica->slot < hints->partitions);
    hints->moving[replica->slot] = (struct moving){ replica->term, flags, bytes_left };
}

/* ── what we tell ────────────────────────────────────────────────────────────────────────────── */

static struct hints_held held_now(const struct node *node)
{
    const struct consensus *consensus = node->consensus;
    struct hints_held now = { .epoch = coordinator_written_epoch(node) };
    for (uint32_t i = 0; i + 1 < consensus->count; i++) {
        now.partitions += !replica_is_empty(consensus->replicas[i]);
    }
    return now;
}

static struct told told_now(const struct hints *hints, const struct replica *replica)
{
    struct told now = { .term = 0 };
    if (replica_is_leader(replica)) {
        const struct moving *moving = &hints->moving[replica->slot];
        bool is_current = moving->term == replica->term;
        now = (struct told){ .term = replica->term,
                             .flags = is_current ? moving->flags : 0,
                             .bytes_left = is_current ? moving->bytes_left : 0 };
        (void)raft_config(replica->raft, &now.config_index);
    }
    return now;
}

static void entry_write(struct hints *hints, const struct replica *replica, const struct told *now,
                        const struct told *before)
{
    uint64_t at = 0;
    bool is_leading = now->term != 0;
    const struct hints_wire_entry entry = {
        .partition = replica->slot,
        .term = is_leading ? now->term : before->term,
        .flags = is_leading ? now->flags : HINT_NOT_LEADING,
        .bytes_left = now->bytes_left,
        .members = *raft_config(replica->raft, &at),
    };
    char *to = buffer_reserve(&hints->frame, HINTS_WIRE_ENTRY_BYTES_MAX);
    hints->frame.size += hints_wire_entry_write(&entry, to);
}

/* Writes the frame: everything, or what differs from what was told last.  False: nothing does. */
static bool frame_write(const struct node *node, bool is_all)
{
    struct hints *hints = node->hints;
    const struct consensus *consensus = node->consensus;
    struct hints_held held = held_now(node);
    struct hints_wire_head head = { .is_all = is_all,
                                    .epoch = held.epoch,
                                    .held = held.partitions };
    bool has_news =
        held.epoch != hints->told_held.epoch || held.partitions != hints->told_held.partitions;
    hints->frame.size = 0;
    (void)buffer_reserve(&hints->frame, HINTS_WIRE_HEAD_BYTES);
    hints->frame.size = HINTS_WIRE_HEAD_BYTES;
    for (uint32_t i = 0; i < hints->partitions; i++) {
        const struct replica *replica = consensus->replicas[i];
        struct told before = hints->told[i];
        struct told now = told_now(hints, replica);
        bool is_changed = now.term != before.term || now.config_index != before.config_index ||
                          now.flags != before.flags || now.bytes_left != before.bytes_left;
        if (is_all ? now.term != 0 : is_changed) {
            entry_write(hints, replica, &now, &before);
            head.count++;
        }
        if (!is_all) {
            hints->told[i] = now;
        }
    }
    hints->told_held = is_all ? hints->told_held : held;
    hints_wire_head_write(&head, hints->frame.data);
    return has_news || head.count > 0;
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
    if (frame_write(node, /* is_all= */ false)) {
        frame_send_to_all(node);
    }
    if (now_ms >= hints->all_ms) {
        hints->all_ms = now_ms + ALL_MS;
        (void)frame_write(node, /* is_all= */ true);
        frame_send_to_all(node);
    }
}

/* ── what we are told ────────────────────────────────────────────────────────────────────────── */

static void held_note(struct node *node, uint64_t number, const struct hints_wire_head *head)
{
    struct told_held *place = NULL;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        struct told_held *held = &node->hints->held[i];
        if (held->node == number) {
            place = held;
            break;
        }
        bool is_free = held->node == 0 || members_find(&node->members, held->node) == NULL;
        place = is_free && place == NULL ? held : place;
    }
    if (place != NULL) {
        *place = (struct told_held){ number, { head->held, head->epoch } };
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

/* Of one partition the word of the highest term counts. */
static void entry_take(struct node *node, uint64_t from, const struct hints_wire_entry *entry)
{
    bool is_leading = (entry->flags & HINT_NOT_LEADING) == 0;
    if (entry->term < node->hints->hints[entry->partition].term) {
        return;
    }
    if (!is_leading) {
        hint_drop(node, entry->partition, from);
        return;
    }
    const struct hint hint = {
        .leader = from,
        .term = entry->term,
        .flags = entry->flags,
        .bytes_left = entry->bytes_left,
        .members = entry->members,
    };
    hint_set(node, entry->partition, &hint);
}

/* False: malformed, at least in part. */
static bool frame_take(struct node *node, uint64_t from, struct slice body)
{
    struct hints_wire_reader reader;
    struct hints_wire_head head;
    struct hints_wire_entry entry;
    if (!hints_wire_open(body, node->hints->partitions, &reader, &head)) {
        return false;
    }
    uint32_t next = 0; /* partitions ascend: what lies between is not led */
    held_note(node, from, &head);
    while (hints_wire_next(&reader, &entry)) {
        for (; head.is_all && next < entry.partition; next++) {
            hint_drop(node, next, from);
        }
        next = entry.partition + 1;
        entry_take(node, from, &entry);
    }
    if (!hints_wire_is_whole(&reader)) {
        return false;
    }
    for (; head.is_all && next < node->hints->partitions; next++) {
        hint_drop(node, next, from);
    }
    return true;
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
