/*
 * node_member.c — one iteration of the loop, as far as other nodes are concerned.
 *
 *   events     frames of the RAFT links step replicas (or are gossip), those of the CLIENT links
 * run requests of other nodes' clients or answer ours, BULK carries snapshots, JOIN newcomers step
 * timers; what was proposed goes to raft; what is committed is applied send       messages,
 * requests and answers leave in one frame each a link
 *
 * Read next: consensus.h, forward.h, transfer.h, join.h.
 */
#include "node.h"

#include "consensus.h"
#include "coordinator.h"
#include "forward.h"
#include "gossip.h"
#include "io/io.h"
#include "join.h"
#include "log.h"
#include "network/peers.h"
#include "transfer.h"
#include "vacancy.h"

enum { NS_PER_MS = 1000000 };

/* ── events ──────────────────────────────────────────────────────────────────────────────────── */

static void on_raft_event(struct node *node, const struct peer_event *event)
{
    if (gossip_on_peer_event(node, event) || coordinator_on_peer_event(node, event)) {
        return;
    }
    if (event->is_outgoing) {
        if (event->kind != PEER_EVENT_FRAME) {
            log_event(node->log, LOG_INFO,
                      event->kind == PEER_EVENT_UP ? "peer_connected" : "peer_lost",
                      LOG_U64("node", event->number),
                      LOG_STR("reason", event->kind == PEER_EVENT_UP ? "" : event->reason));
        }
        return;
    }
    switch (event->kind) {
    case PEER_EVENT_UP:
        consensus_on_up(node->consensus, event->link, event->hello);
        break;
    case PEER_EVENT_DOWN:
        consensus_on_down(node->consensus, event->link);
        break;
    case PEER_EVENT_FRAME:
        if (event->frame_kind != PEER_FRAME_RAFT ||
            !consensus_on_frame(node->consensus, event->link, event->body)) {
            log_event(node->log, LOG_WARN, "bad_raft_frame", LOG_U64("node", event->number));
            peers_close(node->peers, event->link);
        }
        break;
    }
}

static void on_client_event(struct node *node, const struct peer_event *event)
{
    switch (event->kind) {
    case PEER_EVENT_UP:
        if (event->is_outgoing) {
            forward_on_up(node->forward, event->number);
        }
        break;
    case PEER_EVENT_DOWN:
        if (event->is_outgoing) {
            forward_on_down(node->forward, event->number);
        }
        break;
    case PEER_EVENT_FRAME:
        /* A lease is looked up at a time after the request arrived. */
        consensus_set_clock(node->consensus, io_clock_ns(node->io));
        forward_on_frame(node->forward, &node->pipeline, event, node->consensus->now_ms);
        break;
    }
}

void member_on_peer_events(struct node *node)
{
    struct peer_event event;
    while (peers_next(node->peers, &event)) {
        if (event.channel == PEER_JOIN) {
            join_on_peer_event(node, &event);
        } else if (node->consensus == NULL) {
            peers_close(node->peers, event.link); /* a lone node has nothing to say */
        } else if (event.channel == PEER_RAFT) {
            on_raft_event(node, &event);
        } else if (event.channel == PEER_CLIENT) {
            on_client_event(node, &event);
        } else {
            transfers_on_peer_event(node->transfers, &event);
        }
    }
    if (UNLIKELY(node->consensus != NULL && peers_was_removed(node->peers))) {
        cluster_leave_check(node);
    }
    const char *complaint = peers_complaint(node->peers);
    if (complaint != NULL) {
        log_event(node->log, LOG_WARN, "peer_refused", LOG_STR("reason", complaint));
    }
}

/* ── step and send ───────────────────────────────────────────────────────────────────────────── */

void member_step(struct node *node)
{
    struct consensus *consensus = node->consensus;
    if (node->peers != NULL) {
        member_on_peer_events(node); /* of links that ended at the last tick or flush */
        join_step(node);
        consensus = node->consensus; /* it may have begun just now */
    }
    if (consensus == NULL) {
        return;
    }
    consensus_tick(consensus);
    consensus_flush(consensus);
    shard_apply_committed(&node->shard);
    if (node->members.epoch != node->members_seen) {
        node_members_changed(node);
    }
    transfers_step(node->transfers);
    gossip_step(node);
    coordinator_step(node); /* writes a list of members that was received before the log does */
    shard_reclaim(&node->shard);
    consensus_flush(consensus); /* what the steps above proposed */
}

void member_send(struct node *node, uint64_t now_ns)
{
    if (node->peers == NULL) {
        return;
    }
    if (node->consensus != NULL) {
        shard_apply_committed(&node->shard);
        forward_flush(node->forward, node->consensus->now_ms);
        consensus_flush(node->consensus); /* requests that waited for this node to lead */
        consensus_send(node->consensus);
    }
    peers_tick(node->peers, now_ns);
    peers_flush(node->peers);
}

bool member_has_work(const struct node *node)
{
    if (node->peers == NULL) {
        return false;
    }
    if (peers_has_work(node->peers)) {
        return true;
    }
    return node->consensus != NULL &&
           (consensus_has_work(node->consensus) || transfers_has_work(node->transfers) ||
            shard_has_discarded(&node->shard) || vacancy_has_work(node));
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t member_deadline_ns(const struct node *node)
{
    if (node->peers == NULL) {
        return UINT64_MAX;
    }
    uint64_t deadline_ns = peers_deadline_ns(node->peers);
    if (node->consensus != NULL) {
        uint64_t forward_ms = forward_deadline_ms(node->forward);
        deadline_ns = earlier(deadline_ns, consensus_deadline_ns(node->consensus));
        deadline_ns = earlier(deadline_ns, transfers_deadline_ns(node->transfers));
        deadline_ns = earlier(deadline_ns, gossip_deadline_ns(node->gossip));
        if (forward_ms < UINT64_MAX / NS_PER_MS) {
            deadline_ns = earlier(deadline_ns, forward_ms * NS_PER_MS);
        }
    }
    return deadline_ns;
}
