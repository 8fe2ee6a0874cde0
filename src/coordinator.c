/*
 * coordinator.c — see coordinator.h.  Order: life and what is known of nodes, the step, leadership,
 * what others say of themselves, moving leadership by hand.
 *
 * Times are raft's (consensus->now_ms).
 */
#include "coordinator.h"

#include "acks.h"
#include "base/assert.h"
#include "base/endian.h"
#include "base/mem.h"
#include "consensus.h"
#include "gossip.h"
#include "hints.h"
#include "log.h"
#include "moves.h"
#include "network/peers.h"
#include "node.h"
#include "recovery.h"
#include "replica.h"
#include "roster.h"
#include "vacancy.h"

enum {
    STEP_MS = 250,
    GONE_AFTER_MS = 5000,    /* who stops is seen to be gone by then */
    SETTLED_MS = 3000,       /* a node that has just come back leads nothing yet */
    META_RETRY_MS = 1000,    /* the meta file could not be written */
    HANDOVERS_PER_STEP = 16, /* each stops a group's writes for a round trip */
    HANDOVER_AGAIN_MS = 5000,
    CLOSE_ENTRIES = 100, /* who takes over should lack less than that */
    STAY_MS = 60000,     /* after FAILOVER leadership stays where it was put */
    STAY_MS_MAX = 600000,
    STOP_WAIT_MS = 1500, /* a clean stop waits so long for others to take over */
};

/* What another node has told us itself. */
struct node_watch {
    uint64_t number;
    bool is_stopping;        /* and said so */
    struct peer_hello hello; /* its last one; node "": none yet */
};

struct coordinator {
    struct node_watch watches[MEMBERS_MAX];
    uint32_t watches_count;
    uint64_t next_ms;
    uint64_t stay_until_ms;
    uint64_t written_index; /* of the list of members in the meta file */
    uint64_t write_again_ms;
    bool is_settled;  /* no replica is suspect, and the meta file knows */
    uint32_t leading; /* partitions led, as last logged */
    uint64_t stop_began_ms;
    uint32_t at; /* the replica whose leadership is looked at next */
};

static void watches_follow(struct node *node);
static void note_leading(struct node *node);
static void leadership_step(struct node *node);

/* ── life, and other nodes ───────────────────────────────────────────────────────────────────── */

struct coordinator *coordinator_new(uint64_t written_index, bool is_settled)
{
    struct coordinator *coordinator = mem_zalloc(sizeof(*coordinator));
    coordinator->written_index = written_index;
    coordinator->is_settled = is_settled;
    return coordinator;
}

void coordinator_free(struct coordinator *coordinator)
{
    mem_free(coordinator);
}

void coordinator_hurry(struct coordinator *coordinator)
{
    coordinator->next_ms = 0;
}

static struct node_watch *watch_of(const struct node *node, uint64_t number)
{
    struct coordinator *coordinator = node->coordinator;
    for (uint32_t i = 0; coordinator != NULL && i < coordinator->watches_count; i++) {
        if (coordinator->watches[i].number == number) {
            return &coordinator->watches[i];
        }
    }
    return NULL;
}

enum node_state coordinator_state(const struct node *node, uint64_t number)
{
    bool is_self = number == members_number(node->meta.node_id);
    return is_self || node->gossip == NULL ? NODE_ALIVE : gossip_state(node->gossip, number);
}

const char *coordinator_state_name(enum node_state state)
{
    static const char *const names[] = { "ALIVE", "SUSPECT", "DEAD", "LEFT" };
    return names[state];
}

uint64_t coordinator_alive_ms(const struct node *node, uint64_t number)
{
    return node->gossip != NULL ? gossip_alive_ms(node->gossip, number, node->consensus->now_ms)
                                : 0;
}

const char *coordinator_version(const struct node *node, uint64_t number)
{
    const struct node_watch *watch = watch_of(node, number);
    return watch != NULL ? watch->hello.version : "";
}

/* One watch for each other member. */
static void watches_follow(struct node *node)
{
    struct coordinator *coordinator = node->coordinator;
    for (uint32_t i = coordinator->watches_count; i-- > 0;) {
        if (members_find(&node->members, coordinator->watches[i].number) == NULL) {
            coordinator->watches[i] = coordinator->watches[--coordinator->watches_count];
        }
    }
    for (uint32_t i = 0; i < node->members.count; i++) {
        uint64_t number = node->members.items[i].number;
        bool is_other = number != node->consensus->options.node;
        if (is_other && watch_of(node, number) == NULL &&
            coordinator->watches_count < MEMBERS_MAX) {
            struct node_watch *watch = &coordinator->watches[coordinator->watches_count++];
            const struct peer_hello *hello =
                peers_hello(node->peers, peers_link(node->peers, number, PEER_RAFT));
            *watch = (struct node_watch){ .number = number };
            if (hello != NULL) { /* it came before we knew who that is */
                watch->hello = *hello;
            }
        }
    }
}

bool coordinator_on_peer_event(struct node *node, const struct peer_event *event)
{
    struct node_watch *watch = watch_of(node, event->number);
    if (event->kind == PEER_EVENT_UP && watch != NULL) {
        watch->is_stopping = watch->is_stopping && watch->hello.boot == event->hello->boot;
        watch->hello = *event->hello;
    }
    if (event->kind != PEER_EVENT_FRAME || event->frame_kind != PEER_FRAME_STAY) {
        return hints_on_peer_event(node, event) ||
               (event->kind == PEER_EVENT_FRAME &&
                (acks_on_frame(node, event) || vacancy_on_frame(node, event)));
    }
    if (event->body.size == STAY_BYTES && watch != NULL) {
        uint32_t ms = load_u32(event->body.data);
        ms = ms < STAY_MS_MAX ? ms : STAY_MS_MAX;
        node->coordinator->stay_until_ms = node->consensus->now_ms + ms;
        watch->is_stopping = event->body.data[4] != 0;
    }
    return true;
}

/* ── the step ────────────────────────────────────────────────────────────────────────────────── */

/* The meta file is the meta group's snapshot: it holds what has been applied before the log that
 * led there may go. */
static void meta_follow(struct node *node)
{
    struct coordinator *coordinator = node->coordinator;
    uint64_t now_ms = node->consensus->now_ms;
    bool is_old = node->members.index != coordinator->written_index;
    if (LIKELY(!is_old) || now_ms < coordinator->write_again_ms) {
        return;
    }
    if (node_meta_write(node) == 0) {
        coordinator->written_index = node->members.index;
    } else {
        coordinator->write_again_ms = now_ms + META_RETRY_MS;
    }
}

uint64_t coordinator_written_epoch(const struct node *node)
{
    const struct coordinator *coordinator = node->coordinator;
    bool is_written = coordinator != NULL && coordinator->written_index == node->members.index;
    return is_written ? node->members.epoch : 0;
}

/* A node whose suspect replicas have become whole says so to its next start. */
static void settle(struct node *node)
{
    struct coordinator *coordinator = node->coordinator;
    if (!coordinator->is_settled && recovery_is_settled(node->consensus)) {
        coordinator->is_settled = node_meta_write(node) == 0;
        log_event(node->log, LOG_INFO, "replicas_whole");
    }
}

void coordinator_step(struct node *node)
{
    struct coordinator *coordinator = node->coordinator;
    const struct consensus *consensus = node->consensus;
    meta_follow(node);
    acks_step(node);
    hints_step(node);
    vacancy_step(node);
    if (LIKELY(consensus->now_ms < coordinator->next_ms)) {
        return;
    }
    coordinator->next_ms = consensus->now_ms + STEP_MS;
    watches_follow(node);
    note_leading(node);
    settle(node);
    if (node->is_stopping) {
        return;
    }
    moves_step(node);
    leadership_step(node);
    cluster_dial(node); /* where they are, whatever the list says: it may take their votes to change
                           it */
    roster_step(node);
    vacancy_ask(node);
}

/* Hundreds of partitions change their leader at once: one line says what has become of it. */
static void note_leading(struct node *node)
{
    struct coordinator *coordinator = node->coordinator;
    const struct consensus *consensus = node->consensus;
    uint32_t leading = consensus->leaders_count;
    leading -= replica_is_leader(consensus_replica(consensus, GROUP_META)) ? 1 : 0;
    if (leading != coordinator->leading) {
        coordinator->leading = leading;
        log_event(node->log, LOG_INFO, "leading", LOG_U64("partitions", leading),
                  LOG_U64("of", consensus->count - 1));
    }
}

/* ── leadership ──────────────────────────────────────────────────────────────────────────────── */

bool coordinator_peer_is_close(const struct node *node, const struct replica *replica,
                               uint64_t number, uint64_t entries)
{
    const struct consensus_options *options = &node->consensus->options;
    uint64_t recent_ms = options->election_timeout_ms + 2 * (uint64_t)options->heartbeat_ms;
    struct raft_peer_view view;
    return raft_peer(replica->raft, number, &view) && view.answered_ms != 0 && !view.is_suspect &&
           view.answered_ms + recent_ms >= node->consensus->now_ms &&
           view.match + entries >= raft_last_index(replica->raft);
}

static bool hand_over(struct node *node, struct replica *replica, uint64_t target)
{
    enum raft_result result = consensus_transfer(node->consensus, replica, target);
    if (result == RAFT_OK) {
        replica->transfer_until_ms = node->consensus->now_ms + HANDOVER_AGAIN_MS;
    }
    return result == RAFT_OK;
}

void coordinator_hand_over(struct node *node, struct replica *replica, uint64_t target)
{
    if (node->consensus->now_ms >= replica->transfer_until_ms) {
        (void)hand_over(node, replica, target);
    }
}

/* Who should lead the group and could do so right now; 0: this node, or nobody better. */
static uint64_t home_of(struct node *node, const struct replica *replica)
{
    uint64_t at = 0;
    uint64_t now_ms = node->consensus->now_ms;
    const struct raft_config *config = raft_config(replica->raft, &at);
    bool may_move = replica_is_leader(replica) && now_ms >= replica->transfer_until_ms &&
                    !raft_config_is_joint(config);
    uint64_t home =
        may_move ? members_home(&node_targets(node)->placement, config, replica->group) : 0;
    bool is_settled = home != 0 && coordinator_alive_ms(node, home) >= SETTLED_MS;
    return is_settled && coordinator_peer_is_close(node, replica, home, CLOSE_ENTRIES) ? home : 0;
}

static void leadership_step(struct node *node)
{
    struct coordinator *coordinator = node->coordinator;
    const struct consensus *consensus = node->consensus;
    uint32_t budget = HANDOVERS_PER_STEP;
    if (consensus->now_ms < coordinator->stay_until_ms) {
        return;
    }
    for (uint32_t i = 0; i < consensus->count && budget > 0; i++) {
        coordinator->at = (coordinator->at + 1) % consensus->count;
        struct replica *replica = consensus->replicas[coordinator->at];
        uint64_t home = home_of(node, replica);
        if (home != 0 && hand_over(node, replica, home)) {
            budget--;
        }
    }
}

/* ── the list of members ─────────────────────────────────────────────────────────────────────── */

/* What the node says of itself now; false when it has said nothing. */
bool coordinator_heard_at(const struct node *node, const struct member *listed, struct member *out)
{
    if (listed->number == node->consensus->options.node) {
        cluster_self(node, out);
        return out->incarnation == listed->incarnation;
    }
    const struct node_watch *watch = watch_of(node, listed->number);
    if (watch == NULL || watch->hello.node[0] == '\0' || watch->hello.host[0] == '\0' ||
        watch->hello.incarnation != listed->incarnation) {
        return false;
    }
    *out = *listed;
    memcpy(out->host, watch->hello.host, sizeof(out->host));
    memcpy(out->zone, watch->hello.zone, sizeof(out->zone));
    out->port = watch->hello.port;
    out->cluster_port = watch->hello.cluster_port;
    out->slot_port = watch->hello.slot_port;
    out->weight = watch->hello.weight >= 1 && watch->hello.weight <= RING_WEIGHT_MAX
                      ? (uint8_t)watch->hello.weight
                      : listed->weight;
    return true;
}

/* ── by hand ─────────────────────────────────────────────────────────────────────────────────── */

/* Asks the others to leave leadership where it is for a while, and does so itself. */
static void stay(struct node *node, uint32_t ms)
{
    node->coordinator->stay_until_ms = node->consensus->now_ms + ms;
    for (uint32_t i = 0; i < node->members.count; i++) {
        uint64_t link = peers_link(node->peers, node->members.items[i].number, PEER_RAFT);
        char *to =
            link != 0 ? peers_frame_begin(node->peers, link, PEER_FRAME_STAY, STAY_BYTES) : NULL;
        if (to != NULL) {
            store_u32(to, ms);
            to[4] = node->is_stopping;
            peers_frame_end(node->peers, link, STAY_BYTES);
        }
    }
}

/* The voter that lacks least of the log; 0: nobody who answers.  wanted 0: anybody. */
static uint64_t successor_of(const struct node *node, const struct replica *replica,
                             uint64_t wanted)
{
    uint64_t at = 0;
    uint64_t best = 0;
    uint64_t best_match = 0;
    const struct raft_config *config = raft_config(replica->raft, &at);
    for (uint32_t i = 0; i < config->members_count; i++) {
        const struct raft_member *member = &config->members[i];
        const struct node_watch *watch = watch_of(node, member->node);
        struct raft_peer_view view;
        const struct member *listed = members_find(&node->members, member->node);
        bool is_placed = listed != NULL && listed->state == MEMBER_ACTIVE;
        bool may_lead =
            (member->roles & RAFT_VOTER) != 0 && is_placed &&
            (wanted == 0 || member->node == wanted) && watch != NULL &&
            coordinator_state(node, member->node) == NODE_ALIVE && !watch->is_stopping &&
            coordinator_peer_is_close(node, replica, member->node, COORDINATOR_READY_ENTRIES);
        if (may_lead && raft_peer(replica->raft, member->node, &view) && view.match >= best_match) {
            best = member->node;
            best_match = view.match;
        }
    }
    return best;
}

enum failover_result coordinator_failover(struct node *node, uint32_t group, uint64_t target)
{
    if (node->consensus == NULL || node->members.count < 2) {
        return FAILOVER_LONE;
    }
    const struct consensus *consensus = node->consensus;
    uint32_t led = 0;
    uint32_t begun = 0;
    stay(node, STAY_MS);
    for (uint32_t i = 0; i < consensus->count; i++) {
        struct replica *replica = consensus->replicas[i];
        bool is_meant = group == UINT32_MAX || replica->group == group;
        if (!is_meant || !replica_is_leader(replica)) {
            continue;
        }
        uint64_t successor = successor_of(node, replica, target);
        led++;
        begun += successor != 0 && hand_over(node, replica, successor);
    }
    log_event(node->log, LOG_INFO, "failover", LOG_U64("groups", begun), LOG_U64("of", led));
    return led == 0 ? FAILOVER_NOT_LEADER : begun == 0 ? FAILOVER_NO_TARGET : FAILOVER_OK;
}

uint32_t coordinator_rebalance(struct node *node)
{
    const struct placement *placement = &node_targets(node)->placement;
    uint32_t away = 0;
    stay(node, 0);
    coordinator_hurry(node->coordinator);
    for (uint32_t i = 0; i < node->consensus->count; i++) {
        const struct replica *replica = node->consensus->replicas[i];
        const struct raft_config *config = moves_config(node, replica);
        uint64_t home = config != NULL ? members_home(placement, config, replica->group) : 0;
        away += home != 0 && replica->leader != home;
    }
    log_event(node->log, LOG_INFO, "rebalance", LOG_U64("leaders", away));
    return away;
}

/* True when the group needs us no more, or cannot be helped.  Each is handed over once: what comes
 * back comes from somebody who stops as well. */
static bool handed_over(struct node *node, struct replica *replica)
{
    if (!replica_is_leader(replica)) {
        return true;
    }
    if (replica->transfer_until_ms == UINT64_MAX) {
        return !raft_has_transfer(replica->raft);
    }
    uint64_t successor = successor_of(node, replica, /* wanted= */ 0);
    if (successor != 0 && !raft_has_transfer(replica->raft) &&
        hand_over(node, replica, successor)) {
        replica->transfer_until_ms = UINT64_MAX;
    }
    return successor == 0;
}

bool coordinator_may_stop(struct node *node)
{
    struct coordinator *coordinator = node->coordinator;
    if (coordinator == NULL || node->consensus->leaders_count == 0) {
        return true;
    }
    uint64_t now_ms = node->consensus->now_ms;
    if (coordinator->stop_began_ms == 0) {
        coordinator->stop_began_ms = now_ms;
        stay(node, GONE_AFTER_MS); /* until we are seen to be gone */
    }
    uint32_t left = 0;
    for (uint32_t i = 0; i < node->consensus->count; i++) {
        left += handed_over(node, node->consensus->replicas[i]) ? 0 : 1;
    }
    return left == 0 || now_ms >= coordinator->stop_began_ms + STOP_WAIT_MS;
}
