/*
 * gossip.c — see gossip.h.  Order: life, steps and what they send, what arrives, the loop, looking.
 *
 * Times are the monotonic clock's milliseconds, read afresh for each packet: how late a step comes
 * is what tells the membership that this process is starved.
 */
#include "gossip.h"

#include "base/assert.h"
#include "base/endian.h"
#include "base/mem.h"
#include "config.h"
#include "consensus.h"
#include "gossip_seal.h"
#include "io/io.h"
#include "log.h"
#include "network/peers.h"
#include "node.h"
#include "replica.h"
#include "version.h"

#include <stdio.h>

enum {
    NS_PER_MS = 1000000,
    OPEN_AGAIN_MS = 5000, /* the port could not be opened: until then the links do */
    ADVISE_MS = 1000,     /* what we say of ourselves is looked at so often */
    DROPS_LOG_MS = 10000, /* a line about packets that were dropped */
};

struct gossip {
    struct membership *core;
    struct membership_output output;
    struct gossip_seal *seal;
    struct io *io; /* borrowed */
    struct io_socket *sockets[CONFIG_HOSTS_MAX];
    bool is_v6[CONFIG_HOSTS_MAX];
    uint32_t sockets_count;
    uint64_t open_again_ms, next_advise_ms;
    uint64_t members_epoch;
    struct membership_advice advice; /* as last given */
    uint64_t dropped_key;
    uint64_t drops_unlogged, drops_log_ms;
};

static enum membership_drop step(struct node *node, struct membership_input input);

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

static uint64_t now_of(const struct node *node)
{
    return io_clock_ns(node->io) / NS_PER_MS;
}

/* On the cluster port's number, on each address. */
static void sockets_open(struct node *node, struct gossip *gossip)
{
    const struct config *config = node->config;
    uint16_t port = peers_port(node->peers);
    gossip->open_again_ms = UINT64_MAX;
    for (uint32_t i = gossip->sockets_count; i < config->host.count; i++) {
        const char *host = config->host.items[i];
        struct io_socket **socket = &gossip->sockets[gossip->sockets_count];
        int status = io_datagram_open(node->io, host, port, gossip, socket);
        if (status < 0) {
            log_event(node->log, LOG_WARN, "gossip_port_closed", LOG_STR("host", host),
                      LOG_U64("port", port), LOG_ERRNO("error", status));
            gossip->open_again_ms = now_of(node) + OPEN_AGAIN_MS;
            return;
        }
        gossip->is_v6[gossip->sockets_count++] = strchr(host, ':') != NULL;
    }
}

struct gossip *gossip_new(struct node *node)
{
    struct gossip *gossip = mem_zalloc(sizeof(*gossip));
    struct membership_options options = {
        .cluster = load_u64(node->meta.cluster_id),
        .number = members_number(node->meta.node_id),
        .identity = node->meta.identity,
        .boot = node->meta.boots,
        .seed = io_random(node->io),
    };
    gossip->io = node->io;
    gossip->core = mem_zalloc(membership_sizeof());
    gossip->seal =
        gossip_seal_new(node->config->cluster_secret, node->meta.cluster_id, node->meta.hash_seed);
    membership_init(gossip->core, &options);
    gossip->output.deadline_ms = 0; /* the first step is due at once */
    sockets_open(node, gossip);
    return gossip;
}

void gossip_free(struct gossip *gossip)
{
    if (gossip == NULL) {
        return;
    }
    for (uint32_t i = 0; i < gossip->sockets_count; i++) {
        io_close(gossip->io, gossip->sockets[i]);
    }
    gossip_seal_free(gossip->seal);
    mem_free(gossip->core);
    mem_free(gossip);
}

/* ── steps and what they send ────────────────────────────────────────────────────────────────── */

/* Where the links go, too; what gossip heard when no link ever told. */
static bool address_of(const struct node *node, uint64_t number, struct member *out)
{
    const struct member *listed = members_find(&node->members, number);
    if (listed == NULL) {
        return false;
    }
    struct membership_view view;
    if (coordinator_heard_at(node, listed, out)) {
        return true;
    }
    *out = *listed;
    if (membership_view(node->gossip->core, number, &view) && view.advice.cluster_port != 0 &&
        view.advice.host[0] != '\0') {
        memcpy(out->host, view.advice.host, sizeof(out->host));
        out->cluster_port = view.advice.cluster_port;
    }
    return true;
}

static int udp_send(const struct node *node, uint64_t number, struct slice sealed)
{
    const struct gossip *gossip = node->gossip;
    struct member to;
    int status = -1;
    if (!address_of(node, number, &to)) {
        return status;
    }
    bool is_v6 = strchr(to.host, ':') != NULL;
    for (uint32_t i = 0; status < 0 && i < gossip->sockets_count; i++) {
        if (gossip->is_v6[i] == is_v6) {
            status =
                io_datagram_send(node->io, gossip->sockets[i], to.host, to.cluster_port, sealed);
        }
    }
    return status;
}

static void link_send(const struct node *node, uint64_t number, struct slice sealed)
{
    uint64_t link = peers_link(node->peers, number, PEER_RAFT);
    char *to =
        link != 0 ? peers_frame_begin(node->peers, link, PEER_FRAME_GOSSIP, sealed.size) : NULL;
    if (to != NULL) {
        memcpy(to, sealed.data, sealed.size);
        peers_frame_end(node->peers, link, sealed.size);
    }
}

/* Sends what the step wants sent.  Returns a member to whom it could not be; 0: none. */
static uint64_t output_send(const struct node *node)
{
    struct gossip *gossip = node->gossip;
    uint64_t failed = 0;
    for (uint32_t i = 0; i < gossip->output.datagrams_count; i++) {
        const struct membership_datagram *datagram = &gossip->output.datagrams[i];
        char bytes[MEMBERSHIP_PACKET_BYTES_MAX + MEMBERSHIP_TAG_BYTES];
        memcpy(bytes, datagram->bytes, datagram->size);
        gossip_seal_make(gossip->seal, slice_make(bytes, datagram->size), bytes + datagram->size);
        struct slice sealed = slice_make(bytes, datagram->size + (size_t)MEMBERSHIP_TAG_BYTES);
        if (datagram->by_link) {
            link_send(node, datagram->to, sealed);
        } else if (udp_send(node, datagram->to, sealed) < 0) {
            failed = datagram->to;
        }
    }
    return failed;
}

static void event_log(const struct node *node, const struct membership_event *event)
{
    static const char *const words[] = { "node_alive", "node_suspect", "node_dead", "node_left" };
    bool is_self = event->number == node->consensus->options.node;
    bool is_good = event->to == MEMBERSHIP_ALIVE || event->to == MEMBERSHIP_LEFT;
    const struct member *member = members_find(&node->members, event->number);
    log_event(node->log, is_good ? LOG_INFO : LOG_WARN,
              is_self ? "gossip_refuted" : words[event->to],
              LOG_STR("node", member != NULL ? member->id : "?"),
              LOG_U64("incarnation", event->incarnation));
}

/* One step, and what follows from it. */
static enum membership_drop step(struct node *node, struct membership_input input)
{
    struct gossip *gossip = node->gossip;
    enum membership_drop drop = MEMBERSHIP_KEPT;
    for (uint32_t round = 0; round < 2; round++) { /* the second: the first could not send */
        input.now_ms = now_of(node);
        membership_step(gossip->core, &input, &gossip->output);
        for (uint32_t i = 0; i < gossip->output.events_count; i++) {
            event_log(node, &gossip->output.events[i]);
        }
        drop = round == 0 ? gossip->output.drop : drop;
        uint64_t failed = output_send(node);
        if (failed == 0) {
            break;
        }
        input = (struct membership_input){ .kind = MEMBERSHIP_SEND_FAILED, .number = failed };
    }
    return drop;
}

/* ── what arrives ────────────────────────────────────────────────────────────────────────────── */

/* Now and then one line about what was dropped, with the last one's origin.  event NULL: it came
 * over a link. */
static void drop_log(struct node *node, const char *reason, const struct io_event *event)
{
    struct gossip *gossip = node->gossip;
    uint64_t now_ms = now_of(node);
    char from[64] = "a link";
    gossip->drops_unlogged++;
    if (now_ms < gossip->drops_log_ms) {
        return;
    }
    if (event != NULL) {
        io_datagram_from(node->io, event->socket, from, sizeof(from));
    }
    log_event(node->log, LOG_WARN, "gossip_dropped", LOG_U64("packets", gossip->drops_unlogged),
              LOG_STR("reason", reason), LOG_STR("from", from));
    gossip->drops_unlogged = 0;
    gossip->drops_log_ms = now_ms + DROPS_LOG_MS;
}

static void packet_take(struct node *node, struct slice sealed, const struct io_event *event)
{
    /* Those without a text are everyday: a restart, a packet that arrives twice. */
    static const char *const reasons[MEMBERSHIP_DROPS] = {
        [MEMBERSHIP_DROP_MALFORMED] = "no packet of this version",
        [MEMBERSHIP_DROP_CLUSTER] = "of another cluster",
        [MEMBERSHIP_DROP_TARGET] = "to another node",
        [MEMBERSHIP_DROP_STRANGER] = "of no member",
        [MEMBERSHIP_DROP_IDENTITY] = "of or to another data directory",
    };
    struct gossip *gossip = node->gossip;
    struct slice packet;
    if (!gossip_seal_open(gossip->seal, sealed, &packet)) {
        gossip->dropped_key++;
        drop_log(node, "sealed with another key (cluster-secret)", event);
        return;
    }
    enum membership_drop drop =
        step(node, (struct membership_input){
                       .kind = MEMBERSHIP_PACKET, .packet = packet, .by_link = event == NULL });
    if (reasons[drop] != NULL) {
        drop_log(node, reasons[drop], event);
    }
}

void gossip_on_event(struct node *node, const struct io_event *event)
{
    ASSERT(event->kind == IO_EVENT_DATAGRAM);
    packet_take(node, slice_make(event->data, (size_t)event->result), event);
}

bool gossip_on_peer_event(struct node *node, const struct peer_event *event)
{
    if (event->kind == PEER_EVENT_UP) {
        (void)step(node, (struct membership_input){ .kind = MEMBERSHIP_HEARD,
                                                    .number = event->number,
                                                    .boot = event->hello->boot });
    }
    if (event->kind != PEER_EVENT_FRAME || event->frame_kind != PEER_FRAME_GOSSIP) {
        return false;
    }
    packet_take(node, event->body, NULL);
    return true;
}

bool gossip_owns(const struct gossip *gossip, const struct io_event *event)
{
    return event->owner == gossip;
}

/* ── the loop ────────────────────────────────────────────────────────────────────────────────── */

static void members_follow(struct node *node)
{
    struct membership_member list[MEMBERS_MAX];
    const struct members *members = &node->members;
    if (LIKELY(members->epoch == node->gossip->members_epoch)) {
        return;
    }
    node->gossip->members_epoch = members->epoch;
    for (uint32_t i = 0; i < members->count; i++) {
        list[i] = (struct membership_member){ .number = members->items[i].number,
                                              .identity = members->items[i].incarnation };
    }
    (void)step(node, (struct membership_input){ .kind = MEMBERSHIP_MEMBERS,
                                                .members = list,
                                                .members_count = members->count });
}

static void advice_make(const struct node *node, struct membership_advice *out)
{
    const struct consensus *consensus = node->consensus;
    bool leads_meta = replica_is_leader(consensus_replica(consensus, GROUP_META));
    struct member self;
    cluster_self(node, &self);
    *out = (struct membership_advice){
        .cluster_port = self.cluster_port,
        .port = self.port,
        .slot_port = self.slot_port,
        .partitions_led = consensus->leaders_count - leads_meta,
        .partitions_held = consensus->count - 1,
        .memory_bytes = keyspace_stats(&node->shard.keyspace).memory_bytes,
    };
    memcpy(out->host, self.host, sizeof(out->host));
    (void)snprintf(out->version, sizeof(out->version), "%s", MINIDB_VERSION);
}

/* Memory changes all the time: an eighth more or less is news. */
static bool is_news(const struct membership_advice *now, struct membership_advice before)
{
    uint64_t slack = before.memory_bytes / 8;
    bool is_alike = now->memory_bytes + slack >= before.memory_bytes &&
                    now->memory_bytes <= before.memory_bytes + slack;
    before.memory_bytes = is_alike ? now->memory_bytes : before.memory_bytes;
    return memcmp(now, &before, sizeof(before)) != 0;
}

static void advise(struct node *node, uint64_t now_ms)
{
    struct gossip *gossip = node->gossip;
    struct membership_advice advice;
    memset(&advice, 0, sizeof(advice)); /* it is compared as bytes */
    gossip->next_advise_ms = now_ms + ADVISE_MS;
    advice_make(node, &advice);
    if (is_news(&advice, gossip->advice)) {
        gossip->advice = advice;
        (void)step(node, (struct membership_input){ .kind = MEMBERSHIP_ADVISE, .advice = &advice });
    }
}

/* A member was asked over its link: any life on a link to or from it since then is an answer. */
static void links_listen(struct node *node)
{
    uint64_t since_ms = 0;
    uint64_t now_ms = now_of(node);
    uint64_t number = membership_asks_link(node->gossip->core, &since_ms);
    struct peer_link_info info;
    for (uint32_t at = 0; number != 0 && peers_link_next(node->peers, &at, &info);) {
        if (info.number == number && info.is_up && now_ms - info.heard_ms > since_ms) {
            (void)step(node,
                       (struct membership_input){ .kind = MEMBERSHIP_HEARD, .number = number });
            return;
        }
    }
}

void gossip_step(struct node *node)
{
    struct gossip *gossip = node->gossip;
    uint64_t now_ms = node->consensus->now_ms;
    if (UNLIKELY(now_ms >= gossip->open_again_ms)) {
        sockets_open(node, gossip);
    }
    members_follow(node);
    if (LIKELY(now_ms < gossip->output.deadline_ms)) {
        return;
    }
    if (now_ms >= gossip->next_advise_ms) {
        advise(node, now_ms);
    }
    links_listen(node);
    (void)step(node, (struct membership_input){ .kind = MEMBERSHIP_TICK });
}

uint64_t gossip_deadline_ns(const struct gossip *gossip)
{
    uint64_t deadline_ms = gossip->output.deadline_ms;
    return deadline_ms < UINT64_MAX / NS_PER_MS ? deadline_ms * NS_PER_MS : UINT64_MAX;
}

void gossip_leave(struct node *node)
{
    if (node->gossip != NULL) {
        (void)step(node, (struct membership_input){ .kind = MEMBERSHIP_LEAVE });
        peers_flush(node->peers);
    }
}

/* ── looking ─────────────────────────────────────────────────────────────────────────────────── */

enum node_state gossip_state(const struct gossip *gossip, uint64_t number)
{
    struct membership_view view;
    if (!membership_view(gossip->core, number, &view)) {
        return NODE_SUSPECT; /* the list has it, and gossip will in a moment */
    }
    switch (view.state) {
    case MEMBERSHIP_ALIVE:
        return NODE_ALIVE;
    case MEMBERSHIP_SUSPECT:
        return NODE_SUSPECT;
    case MEMBERSHIP_DEAD:
        return NODE_DEAD;
    case MEMBERSHIP_LEFT:
        return NODE_LEFT;
    }
    UNREACHABLE();
}

uint64_t gossip_alive_ms(const struct gossip *gossip, uint64_t number, uint64_t now_ms)
{
    struct membership_view view;
    bool is_alive = membership_view(gossip->core, number, &view) && view.state == MEMBERSHIP_ALIVE;
    return is_alive && now_ms > view.since_ms ? now_ms - view.since_ms : 0;
}

bool gossip_view(const struct gossip *gossip, uint64_t number, struct membership_view *out_view)
{
    return membership_view(gossip->core, number, out_view);
}

struct gossip_stats gossip_stats(const struct gossip *gossip)
{
    return (struct gossip_stats){ .membership = membership_stats(gossip->core),
                                  .dropped_key = gossip->dropped_key };
}
