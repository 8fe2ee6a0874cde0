/*
 * acks.c — see acks.h.  Order: life, waits (who asked us), watches (what we tell), frames.
 */
#include "acks.h"

#include "base/assert.h"
#include "base/endian.h"
#include "base/mem.h"
#include "consensus.h"
#include "coordinator.h"
#include "hints.h"
#include "network/peers.h"
#include "node.h"
#include "replica.h"

enum {
    WAITS_MAX = 64,     /* of our clients at a time */
    WATCHES_MAX = 256,  /* of all nodes: each 8 bytes a group */
    WATCH_MS = 1000,    /* a watch ends unless it is asked for again ... */
    ASK_AGAIN_MS = 250, /* ... which those do who still wait */
    ASK_BYTES = 12,
    TELL_HEAD_BYTES = 12,
    TELL_BYTES_MAX = TELL_HEAD_BYTES + (PARTITIONS_MAX + 8) / 8,
};

/* What a node has told of a wait. */
struct told {
    uint64_t node; /* 0: free */
    uint32_t count;
};

/* One client that waits. */
struct ack_wait {
    uint64_t id; /* 0: free */
    uint64_t ask_again_ms;
    struct told told[MEMBERS_MAX];
    uint8_t *covered; /* owned bitmap: groups that somebody vouches for */
};

/* What a node, perhaps this one, wants to know of the groups we lead. */
struct ack_watch {
    uint64_t asker; /* 0: free */
    uint64_t id;
    uint64_t until_ms;
    uint32_t told;     /* the count last told; UINT32_MAX: none yet */
    uint64_t *targets; /* owned; by slot: the last index when it asked; 0: not led */
};

struct acks {
    struct ack_wait waits[WAITS_MAX];
    struct ack_watch watches[WATCHES_MAX];
    uint32_t waits_count, watches_count;
    uint64_t last_id;
    uint64_t stepped_ms;
};

static void ask(struct node *node, struct ack_wait *wait);
static void ask_all(struct node *node, uint64_t id, uint32_t for_ms);
static void watch_begin(struct node *node, uint64_t asker, uint64_t id, uint32_t for_ms);
static void watch_step(struct node *node, struct ack_watch *watch);
static void watch_tell(struct node *node, const struct ack_watch *watch);
static void tell(struct node *node, uint64_t from, struct slice body);

struct acks *acks_new(uint64_t boot)
{
    struct acks *acks = mem_zalloc(sizeof(*acks));
    acks->last_id = boot << 32;
    return acks;
}

static void watch_free(struct acks *acks, struct ack_watch *watch)
{
    mem_free(watch->targets);
    *watch = (struct ack_watch){ .asker = 0 };
    acks->watches_count--;
}

static void wait_free(struct acks *acks, struct ack_wait *wait)
{
    mem_free(wait->covered);
    *wait = (struct ack_wait){ .id = 0 };
    acks->waits_count--;
}

void acks_free(struct acks *acks)
{
    for (uint32_t i = 0; acks != NULL && i < WATCHES_MAX; i++) {
        mem_free(acks->watches[i].targets);
    }
    for (uint32_t i = 0; acks != NULL && i < WAITS_MAX; i++) {
        mem_free(acks->waits[i].covered);
    }
    mem_free(acks);
}

static uint32_t bitmap_bytes(const struct node *node)
{
    return (node->consensus->count + 7) / 8;
}

/* ── waits ───────────────────────────────────────────────────────────────────────────────────── */

static struct ack_wait *wait_find(const struct node *node, uint64_t id)
{
    struct acks *acks = node->acks;
    for (uint32_t i = 0; id != 0 && acks != NULL && i < WAITS_MAX; i++) {
        if (acks->waits[i].id == id) {
            return &acks->waits[i];
        }
    }
    return NULL;
}

uint64_t acks_begin(struct node *node)
{
    struct acks *acks = node->acks;
    for (uint32_t i = 0; acks != NULL && i < WAITS_MAX; i++) {
        struct ack_wait *wait = &acks->waits[i];
        if (wait->id != 0) {
            continue;
        }
        *wait =
            (struct ack_wait){ .id = ++acks->last_id, .covered = mem_zalloc(bitmap_bytes(node)) };
        acks->waits_count++;
        ask(node, wait);
        return wait->id;
    }
    return 0;
}

void acks_end(struct node *node, uint64_t id)
{
    struct ack_wait *wait = wait_find(node, id);
    if (wait != NULL) {
        ask_all(node, id, /* for_ms= */ 0);
        wait_free(node->acks, wait);
    }
}

/* Asks everybody, ourselves as well.  Again: what was noted stays, for some more seconds. */
static void ask(struct node *node, struct ack_wait *wait)
{
    uint64_t self = node->consensus->options.node;
    wait->ask_again_ms = node->consensus->now_ms + ASK_AGAIN_MS;
    watch_begin(node, self, wait->id, WATCH_MS);
    ask_all(node, wait->id, WATCH_MS);
}

static void ask_all(struct node *node, uint64_t id, uint32_t for_ms)
{
    for (uint32_t i = 0; i < node->members.count; i++) {
        uint64_t link = peers_link(node->peers, node->members.items[i].number, PEER_RAFT);
        char *to =
            link != 0 ? peers_frame_begin(node->peers, link, PEER_FRAME_ACKS_ASK, ASK_BYTES) : NULL;
        if (to != NULL) {
            store_u64(to, id);
            store_u32(to + 8, for_ms);
            peers_frame_end(node->peers, link, ASK_BYTES);
        }
    }
}

/* Followers that hold a write of the group because it was acknowledged.  Of a group that this node
 * does not hold: as its leader says. */
static uint32_t followers_of_majority(const struct node *node, const struct replica *replica)
{
    uint64_t at = 0;
    uint32_t voters = 0;
    const struct hint *hint = hints_of(node->hints, replica->group);
    bool is_told = replica->is_vacant && hint != NULL;
    const struct raft_config *config = is_told ? &hint->members : raft_config(replica->raft, &at);
    for (uint32_t i = 0; i < config->members_count; i++) {
        voters += (config->members[i].roles & RAFT_VOTER) != 0;
    }
    return voters / 2;
}

uint32_t acks_count(const struct node *node, uint64_t id)
{
    const struct ack_wait *wait = wait_find(node, id);
    const struct consensus *consensus = node->consensus;
    uint32_t least = UINT32_MAX;
    if (consensus == NULL) {
        return 0;
    }
    for (uint32_t slot = 0; slot + 1 < consensus->count; slot++) { /* not the meta group */
        bool is_covered = wait != NULL && (wait->covered[slot / 8] >> (slot % 8) & 1) != 0;
        uint32_t sure =
            is_covered ? UINT32_MAX : followers_of_majority(node, consensus->replicas[slot]);
        least = sure < least ? sure : least;
    }
    for (uint32_t i = 0; wait != NULL && i < MEMBERS_MAX; i++) {
        bool has_told = wait->told[i].node != 0;
        least = has_told && wait->told[i].count < least ? wait->told[i].count : least;
    }
    return least == UINT32_MAX ? 0 : least;
}

static void tell(struct node *node, uint64_t from, struct slice body)
{
    struct ack_wait *wait = body.size == TELL_HEAD_BYTES + bitmap_bytes(node)
                                ? wait_find(node, load_u64(body.data))
                                : NULL;
    struct told *place = NULL;
    for (uint32_t i = 0; wait != NULL && i < MEMBERS_MAX; i++) {
        bool is_free = wait->told[i].node == 0 && place == NULL;
        place = wait->told[i].node == from || is_free ? &wait->told[i] : place;
    }
    if (place == NULL) {
        return; /* answered already */
    }
    *place = (struct told){ from, load_u32(body.data + 8) };
    for (uint32_t i = 0; i < bitmap_bytes(node); i++) {
        wait->covered[i] |= (uint8_t)body.data[TELL_HEAD_BYTES + i];
    }
}

/* ── watches ─────────────────────────────────────────────────────────────────────────────────── */

/* Notes where the groups stand that we lead, if we did not lead them before.  Who leads without a
 * lease may have been replaced: somebody else knows then. */
static void watch_note(const struct consensus *consensus, struct ack_watch *watch)
{
    for (uint32_t i = 0; i + 1 < consensus->count; i++) {
        const struct raft *raft = consensus->replicas[i]->raft;
        if (watch->targets[i] == 0 && raft_lease_holds(raft, consensus->now_ms)) {
            watch->targets[i] = raft_last_index(raft);
        }
    }
}

static void watch_begin(struct node *node, uint64_t asker, uint64_t id, uint32_t for_ms)
{
    struct acks *acks = node->acks;
    struct consensus *consensus = node->consensus;
    struct ack_watch *free_watch = NULL;
    uint64_t until_ms = consensus->now_ms + (for_ms < WATCH_MS ? for_ms : WATCH_MS);
    for (uint32_t i = 0; i < WATCHES_MAX; i++) {
        struct ack_watch *watch = &acks->watches[i];
        if (watch->asker == asker && watch->id == id) {
            watch->until_ms = until_ms;
            watch->told = UINT32_MAX; /* what was told may have been lost */
            watch_note(consensus, watch);
            watch_step(node, watch);
            return;
        }
        free_watch = watch->asker == 0 && free_watch == NULL ? watch : free_watch;
    }
    if (free_watch == NULL || for_ms == 0) {
        return; /* the asker knows what the majorities say */
    }
    *free_watch = (struct ack_watch){
        .asker = asker,
        .id = id,
        .until_ms = until_ms,
        .told = UINT32_MAX,
        .targets = mem_zalloc(consensus->count * sizeof(uint64_t)),
    };
    acks->watches_count++;
    watch_note(consensus, free_watch);
    watch_step(node, free_watch);
}

/* How many followers hold the group up to `target`. */
static uint32_t holders_of(const struct node *node, const struct replica *replica, uint64_t target)
{
    uint64_t at = 0;
    uint32_t holders = 0;
    const struct raft_config *config = raft_config(replica->raft, &at);
    if (!replica_is_leader(replica)) {
        return followers_of_majority(node, replica);
    }
    for (uint32_t i = 0; i < config->members_count; i++) {
        struct raft_peer_view view;
        holders += config->members[i].node != node->consensus->options.node &&
                   raft_peer(replica->raft, config->members[i].node, &view) && view.match >= target;
    }
    uint32_t sure = followers_of_majority(node, replica);
    return holders > sure ? holders : sure;
}

static void watch_tell(struct node *node, const struct ack_watch *watch)
{
    char body[TELL_BYTES_MAX] = { 0 };
    size_t size = TELL_HEAD_BYTES + bitmap_bytes(node);
    ASSERT(size <= sizeof(body));
    store_u64(body, watch->id);
    store_u32(body + 8, watch->told);
    for (uint32_t i = 0; i < node->consensus->count; i++) {
        unsigned bit = watch->targets[i] != 0 ? 1u << (i % 8) : 0;
        body[TELL_HEAD_BYTES + i / 8] = (char)((unsigned char)body[TELL_HEAD_BYTES + i / 8] | bit);
    }
    if (watch->asker == node->consensus->options.node) {
        tell(node, watch->asker, slice_make(body, size));
        return;
    }
    uint64_t link = peers_link(node->peers, watch->asker, PEER_RAFT);
    char *to = link != 0 ? peers_frame_begin(node->peers, link, PEER_FRAME_ACKS_TELL, size) : NULL;
    if (to != NULL) {
        memcpy(to, body, size);
        peers_frame_end(node->peers, link, size);
    }
}

static void watch_step(struct node *node, struct ack_watch *watch)
{
    const struct consensus *consensus = node->consensus;
    uint32_t least = UINT32_MAX - 1; /* leads nothing: stands in nobody's way */
    for (uint32_t i = 0; i + 1 < consensus->count; i++) {
        if (watch->targets[i] != 0) {
            uint32_t holders = holders_of(node, consensus->replicas[i], watch->targets[i]);
            least = holders < least ? holders : least;
        }
    }
    if (least != watch->told) {
        watch->told = least;
        watch_tell(node, watch);
    }
}

/* ── the loop, and frames ────────────────────────────────────────────────────────────────────── */

void acks_step(struct node *node)
{
    struct acks *acks = node->acks;
    uint64_t now_ms = node->consensus->now_ms;
    if (LIKELY(acks->watches_count + acks->waits_count == 0) || now_ms == acks->stepped_ms) {
        return;
    }
    acks->stepped_ms = now_ms;
    for (uint32_t i = 0; acks->waits_count > 0 && i < WAITS_MAX; i++) {
        if (acks->waits[i].id != 0 && now_ms >= acks->waits[i].ask_again_ms) {
            ask(node, &acks->waits[i]);
        }
    }
    for (uint32_t i = 0; i < WATCHES_MAX; i++) {
        struct ack_watch *watch = &acks->watches[i];
        bool is_own = watch->asker == node->consensus->options.node;
        if (watch->asker == 0) {
            continue;
        }
        if (now_ms >= watch->until_ms || (is_own && wait_find(node, watch->id) == NULL)) {
            watch_free(acks, watch);
        } else {
            watch_step(node, watch);
        }
    }
}

bool acks_on_frame(struct node *node, const struct peer_event *event)
{
    if (event->frame_kind == PEER_FRAME_ACKS_ASK) {
        if (event->body.size == ASK_BYTES && event->number != 0) {
            watch_begin(node, event->number, load_u64(event->body.data),
                        load_u32(event->body.data + 8));
        }
        return true;
    }
    if (event->frame_kind == PEER_FRAME_ACKS_TELL) {
        tell(node, event->number, event->body);
        return true;
    }
    return false;
}
