/*
 * join.c — see join.h.  Order: the frames' bytes, taking newcomers in, asking.
 *
 *   ASK       u8 format (1), u32 partitions, u16 size and the password, a MEMBER_ADD (members.h)
 *   WELCOME   u8 format (1), 16 bytes cluster id, u64 hash seed, u32 partitions, the list of
 * members REDIRECT  u16 cluster port, the host LATER, REFUSED   why, for people
 */
#include "join.h"

#include "base/assert.h"
#include "base/endian.h"
#include "base/mem.h"
#include "consensus.h"
#include "io/io.h"
#include "log.h"
#include "network/peers.h"
#include "node.h"
#include "replica.h"

#include <errno.h>
#include <stdio.h>

enum {
    JOIN_FORMAT = 1,
    ASK_HEADER_BYTES = 1 + 4 + 2,
    WELCOME_HEADER_BYTES = 1 + 16 + 8 + 4,
    REASON_BYTES_MAX = 320,
    NS_PER_MS = 1000000,
    ASK_EVERY_MS = 1000,     /* a newcomer that was not welcomed asks the next seed */
    ANSWER_WAIT_MS = 6000,   /* a newcomer waits so long for an answer, connection included */
    PROPOSED_WAIT_MS = 4000, /* the one who is asked waits so long for the meta group */
    PAUSE_MS = 1000,         /* no writes begin for at most that long while a lone node founds */
    REDIRECTS_MAX = 4,       /* in a row */
};

/* A newcomer that waits for an answer. */
struct join_ask {
    uint64_t link;
    struct member member;
    uint64_t until_ms;
    uint64_t proposed_term; /* of the meta group; 0: not proposed yet */
};

struct join {
    /* taking in */
    struct join_ask asks[PEER_JOINS_MAX];
    uint32_t asks_count;
    bool is_pausing; /* the pause of clients' writes is ours */

    /* asking */
    uint64_t link; /* 0: none */
    char host[CONFIG_HOST_BYTES_MAX];
    uint16_t port;
    uint32_t seed;      /* the next one, counted from the list's beginning */
    uint32_t redirects; /* followed since the last seed */
    uint64_t due_ns;    /* gives up on the link, or asks again */
    bool is_welcomed;
    char reason[REASON_BYTES_MAX]; /* why it still waits, as last logged */
    struct join_welcome welcome;
};

struct join *join_new(void)
{
    return mem_zalloc(sizeof(struct join));
}

void join_free(struct join *join)
{
    mem_free(join);
}

/* ── bytes ───────────────────────────────────────────────────────────────────────────────────── */

void join_ask_encode(const struct join_question *question, struct buffer *out)
{
    char head[ASK_HEADER_BYTES] = { JOIN_FORMAT };
    ASSERT(question->password.size <= UINT16_MAX);
    store_u32(head + 1, question->partitions);
    store_u16(head + 5, (uint16_t)question->password.size);
    buffer_append(out, head, sizeof(head));
    buffer_append_slice(out, question->password);
    members_change_encode(MEMBER_ADD, &question->member, out);
}

bool join_ask_decode(struct slice body, struct join_question *out_question)
{
    if (body.size < ASK_HEADER_BYTES || body.data[0] != JOIN_FORMAT) {
        return false;
    }
    size_t size = load_u16(body.data + 5);
    struct slice rest = slice_make(body.data + ASK_HEADER_BYTES, body.size - ASK_HEADER_BYTES);
    if (rest.size < size) {
        return false;
    }
    enum member_change change;
    out_question->partitions = load_u32(body.data + 1);
    out_question->password = slice_make(rest.data, size);
    rest = slice_make(rest.data + size, rest.size - size);
    return members_change_decode(rest, &change, &out_question->member) && change == MEMBER_ADD;
}

void join_welcome_encode(const struct join_welcome *welcome, struct buffer *out)
{
    char *to = buffer_reserve(out, WELCOME_HEADER_BYTES);
    to[0] = JOIN_FORMAT;
    memcpy(to + 1, welcome->cluster_id, 16);
    store_u64(to + 17, welcome->hash_seed);
    store_u32(to + 25, welcome->partitions);
    out->size += WELCOME_HEADER_BYTES;
    members_encode(&welcome->members, out);
}

bool join_welcome_decode(struct slice body, struct join_welcome *out_welcome)
{
    static const uint8_t none[16];
    if (body.size < WELCOME_HEADER_BYTES || body.data[0] != JOIN_FORMAT) {
        return false;
    }
    memcpy(out_welcome->cluster_id, body.data + 1, 16);
    out_welcome->hash_seed = load_u64(body.data + 17);
    out_welcome->partitions = load_u32(body.data + 25);
    uint32_t partitions = out_welcome->partitions;
    bool is_count = partitions >= PARTITIONS_MIN && partitions <= PARTITIONS_MAX &&
                    (partitions & (partitions - 1)) == 0;
    struct slice rest =
        slice_make(body.data + WELCOME_HEADER_BYTES, body.size - WELCOME_HEADER_BYTES);
    return is_count && memcmp(out_welcome->cluster_id, none, sizeof(none)) != 0 &&
           members_decode(&out_welcome->members, rest);
}

static void frame_send(struct peers *peers, uint64_t link, uint8_t kind, struct slice body)
{
    char *to = peers_frame_begin(peers, link, kind, body.size);
    if (to != NULL) { /* else the link is gone: the newcomer asks again */
        memcpy(to, body.data, body.size);
        peers_frame_end(peers, link, body.size);
    }
}

/* ── taking in ───────────────────────────────────────────────────────────────────────────────── */

static void ask_take(struct node *node, uint64_t link, struct slice body);
static bool ask_step(struct node *node, struct join_ask *ask);
static bool ask_found(struct node *node, const struct join_ask *ask);

/* The last word on this link. */
static void answer_text(struct node *node, uint64_t link, uint8_t kind, const char *text)
{
    frame_send(node->peers, link, kind, slice_from(text));
    peers_close_after_flush(node->peers, link);
}

static bool refuse(struct node *node, const struct join_ask *ask, const char *text)
{
    log_event(node->log, LOG_WARN, "join_refused", LOG_STR("node", ask->member.id),
              LOG_STR("reason", text));
    answer_text(node, ask->link, PEER_FRAME_JOIN_REFUSED, text);
    return true;
}

static bool later(struct node *node, const struct join_ask *ask, const char *text)
{
    answer_text(node, ask->link, PEER_FRAME_JOIN_LATER, text);
    return true;
}

static void ask_remove(struct join *join, uint32_t at)
{
    join->asks[at] = join->asks[--join->asks_count];
}

void join_on_peer_event(struct node *node, const struct peer_event *event)
{
    struct join *join = node->join;
    if (event->is_outgoing) {
        return; /* what is left of our own asking */
    }
    switch (event->kind) {
    case PEER_EVENT_UP:
        break;
    case PEER_EVENT_DOWN:
        for (uint32_t i = join->asks_count; i-- > 0;) {
            if (join->asks[i].link == event->link) {
                ask_remove(join, i);
            }
        }
        break;
    case PEER_EVENT_FRAME:
        if (event->frame_kind == PEER_FRAME_JOIN_ASK) {
            ask_take(node, event->link, event->body);
        } else {
            peers_close(node->peers, event->link);
        }
        break;
    }
}

static void ask_take(struct node *node, uint64_t link, struct slice body)
{
    struct join *join = node->join;
    struct join_ask ask = { .link = link, .until_ms = node->shard.now_ms + PROPOSED_WAIT_MS };
    struct join_question question;
    char text[REASON_BYTES_MAX];
    for (uint32_t i = 0; i < join->asks_count; i++) {
        if (join->asks[i].link == link) {
            return; /* said already */
        }
    }
    if (!join_ask_decode(body, &question)) {
        (void)refuse(node, &ask, "this node does not understand the question: another version?");
        return;
    }
    ask.member = question.member;
    if (question.partitions != 0 && question.partitions != node->meta.partitions) {
        (void)snprintf(text, sizeof(text), "the cluster has %u partitions, not %u (--partitions)",
                       node->meta.partitions, question.partitions);
        (void)refuse(node, &ask, text);
    } else if (!slice_equal(question.password, slice_from(node->config->requirepass))) {
        (void)refuse(node, &ask, "requirepass differs: all nodes of a cluster have the same one");
    } else if (node->is_stopping || join->asks_count == PEER_JOINS_MAX) {
        (void)later(node, &ask, node->is_stopping ? "stopping" : "others are joining right now");
    } else {
        log_event(node->log, LOG_INFO, "join_asked", LOG_STR("node", ask.member.id),
                  LOG_STR("host", ask.member.host), LOG_U64("port", ask.member.cluster_port));
        join->asks[join->asks_count++] = ask;
    }
}

void join_step(struct node *node)
{
    struct join *join = node->join;
    if (LIKELY(join == NULL || (join->asks_count == 0 && !join->is_pausing))) {
        return;
    }
    for (uint32_t i = join->asks_count; i-- > 0;) {
        if (ask_step(node, &join->asks[i])) {
            ask_remove(join, i);
        }
    }
    if (join->is_pausing && (node->consensus != NULL || join->asks_count == 0)) {
        join->is_pausing = false;
        pipeline_pause(&node->pipeline, 0, false);
    }
}

/* What is wrong with a newcomer, as the list of members stands; NULL: nothing. */
static const char *member_trouble(const struct members *members, const struct member *member,
                                  char text[REASON_BYTES_MAX])
{
    const struct member *known = members_find(members, member->number);
    if (known != NULL &&
        (known->incarnation != member->incarnation || strcmp(known->id, member->id) != 0)) {
        (void)snprintf(text, REASON_BYTES_MAX,
                       "node id '%s' belongs to another data directory; give this node another "
                       "--node-id, or remove the old one with CLUSTER FORGET %s",
                       known->id, known->id);
        return text;
    }
    for (uint32_t i = 0; i < members->count; i++) {
        const struct member *other = &members->items[i];
        if (other->number != member->number && other->cluster_port == member->cluster_port &&
            strcmp(other->host, member->host) == 0) {
            (void)snprintf(text, REASON_BYTES_MAX,
                           "the address %s port %u is that of '%s': each node needs an address of "
                           "its own (--host or --announce-host, --cluster-port)",
                           other->host, other->cluster_port, other->id);
            return text;
        }
    }
    return known == NULL && members->count == MEMBERS_MAX ? "the cluster is full" : NULL;
}

static bool welcome(struct node *node, const struct join_ask *ask)
{
    struct join_welcome welcome = {
        .hash_seed = node->meta.hash_seed,
        .partitions = node->meta.partitions,
        .members = node->members,
    };
    struct buffer body = { 0 };
    memcpy(welcome.cluster_id, node->meta.cluster_id, sizeof(welcome.cluster_id));
    join_welcome_encode(&welcome, &body);
    frame_send(node->peers, ask->link, PEER_FRAME_JOIN_WELCOME, buffer_slice(&body));
    peers_close_after_flush(node->peers, ask->link);
    buffer_free(&body);
    return true;
}

static bool redirect(struct node *node, const struct join_ask *ask, const struct member *leader)
{
    char body[2 + MEMBER_TEXT_MAX];
    size_t size = strlen(leader->host);
    store_u16(body, leader->cluster_port);
    memcpy(body + 2, leader->host, size);
    frame_send(node->peers, ask->link, PEER_FRAME_JOIN_REDIRECT, slice_make(body, 2 + size));
    peers_close_after_flush(node->peers, ask->link);
    return true;
}

static bool is_listed(const struct members *members, const struct member *member)
{
    const struct member *known = members_find(members, member->number);
    return known != NULL && known->incarnation == member->incarnation &&
           known->cluster_port == member->cluster_port && known->port == member->port &&
           known->slot_port == member->slot_port && strcmp(known->host, member->host) == 0 &&
           strcmp(known->zone, member->zone) == 0;
}

/* True when the newcomer has its answer. */
static bool ask_step(struct node *node, struct join_ask *ask)
{
    bool is_late = node->shard.now_ms >= ask->until_ms;
    char text[REASON_BYTES_MAX];
    const char *trouble = member_trouble(&node->members, &ask->member, text);
    if (trouble != NULL) {
        return refuse(node, ask, trouble);
    }
    if (node->consensus == NULL) {
        return ask_found(node, ask);
    }
    struct replica *meta = consensus_replica(node->consensus, GROUP_META);
    const struct member *leader = members_find(&node->members, meta->leader);
    if (!replica_is_leader(meta)) {
        bool is_elsewhere = leader != NULL && leader->number != node->consensus->options.node;
        if (is_elsewhere) {
            return redirect(node, ask, leader);
        }
        return is_late ? later(node, ask, "the cluster has no leader right now") : false;
    }
    if (is_listed(&node->members, &ask->member)) {
        return welcome(node, ask);
    }
    if (ask->proposed_term != meta->term) {
        struct buffer body = { 0 };
        members_change_encode(MEMBER_ADD, &ask->member, &body);
        bool is_proposed =
            shard_propose_entry(&node->shard, GROUP_META, ENTRY_META, buffer_slice(&body));
        ask->proposed_term = is_proposed ? meta->term : 0;
        buffer_free(&body);
    }
    return is_late ? later(node, ask, "no majority has answered in time") : false;
}

/* A lone node is asked: it becomes a cluster, as soon as nothing of its log is under way. */
static bool ask_found(struct node *node, const struct join_ask *ask)
{
    struct join *join = node->join;
    if (node->data_dir == NULL) {
        return refuse(node, ask, "the node keeps nothing on disk (appendonly no) and is alone");
    }
    if (node->shard.damaged_count > 0) {
        return refuse(node, ask, "the node has damaged partitions; see its log");
    }
    if (node->shard.now_ms >= ask->until_ms) {
        return later(node, ask, "the node could not begin a cluster; see its log");
    }
    if (!shard_is_busy(&node->shard)) {
        int status = node_cluster_begin(node);
        return status < 0 ? later(node, ask, "the node's disk failed; see its log") : false;
    }
    if (node->pipeline.pause_until_ms == 0) {
        join->is_pausing = true;
        pipeline_pause(&node->pipeline, node->shard.now_ms + PAUSE_MS, /* writes_only= */ true);
    }
    return false;
}

/* ── asking ──────────────────────────────────────────────────────────────────────────────────── */

static void joiner_step(struct node *node, uint64_t now_ns);
static void joiner_on_event(struct node *node, const struct peer_event *event);
static void drain(struct node *node);

int join_run_once(struct node *node)
{
    struct join *join = node->join;
    struct io_event event;
    if (node->is_stopping) {
        return 0;
    }
    while (io_next(node->io, &event)) {
        if (event.kind != IO_EVENT_WAKE && peers_owns(node->peers, &event)) {
            peers_on_event(node->peers, &event);
            drain(node);
        }
    }
    uint64_t now_ns = io_clock_ns(node->io);
    joiner_step(node, now_ns);
    peers_tick(node->peers, now_ns);
    drain(node);
    peers_flush(node->peers);
    if (join->is_welcomed) {
        int status = node_joined(node, &join->welcome);
        io_wait(node->io, 0); /* as at the end of every iteration */
        return status < 0 ? -EINVAL : 1;
    }
    uint64_t deadline_ns = peers_deadline_ns(node->peers);
    deadline_ns = join->due_ns < deadline_ns ? join->due_ns : deadline_ns;
    io_wait(node->io, peers_has_work(node->peers) ? 0 : deadline_ns);
    return 1;
}

static void drain(struct node *node)
{
    struct peer_event event;
    while (peers_next(node->peers, &event)) {
        if (event.channel == PEER_JOIN && event.is_outgoing) {
            joiner_on_event(node, &event);
        } else if (event.channel == PEER_JOIN && event.kind == PEER_EVENT_FRAME) {
            /* Somebody asks us, who are no member ourselves. */
            answer_text(node, event.link, PEER_FRAME_JOIN_LATER, "this node is joining itself");
        }
    }
}

/* Says why the node still waits; the same reason only once. */
static void waits(struct node *node, const char *reason)
{
    struct join *join = node->join;
    char text[REASON_BYTES_MAX];
    (void)snprintf(text, sizeof(text), "%s port %u: %.200s", join->host, join->port, reason);
    if (strcmp(text, join->reason) != 0) {
        memcpy(join->reason, text, sizeof(text));
        log_event(node->log, LOG_WARN, "join_waits", LOG_STR("reason", text));
    }
}

/* The seed whose turn it is; after the last the first again. */
static void seed_choose(struct join *join, const struct config *config)
{
    struct slice rest = slice_from(config->seed);
    for (uint32_t i = 0; i <= join->seed; i++) {
        if (!config_seed_next(&rest, join->host, &join->port)) {
            rest = slice_from(config->seed);
            join->seed = 0;
            bool has_first = config_seed_next(&rest, join->host, &join->port);
            ASSERT(has_first); /* the node joins because there is one */
            break;
        }
    }
    join->seed++;
    join->redirects = 0;
}

static void dial(struct node *node, uint64_t now_ns)
{
    struct join *join = node->join;
    join->link = peers_dial(node->peers, join->host, join->port, PEER_JOIN, /* number= */ 0);
    uint32_t wait_ms = join->link != 0 ? ANSWER_WAIT_MS : ASK_EVERY_MS;
    join->due_ns = now_ns + (uint64_t)wait_ms * NS_PER_MS;
}

static void joiner_step(struct node *node, uint64_t now_ns)
{
    struct join *join = node->join;
    if (join->is_welcomed || now_ns < join->due_ns) {
        return;
    }
    if (join->link != 0) {
        waits(node, "no answer in time");
        peers_close(node->peers, join->link);
        join->link = 0;
    }
    seed_choose(join, node->config);
    dial(node, now_ns);
}

static void try_again_later(struct node *node)
{
    struct join *join = node->join;
    join->link = 0;
    join->due_ns = io_clock_ns(node->io) + (uint64_t)ASK_EVERY_MS * NS_PER_MS;
}

static void ask_send(struct node *node)
{
    const struct config *config = node->config;
    bool is_asked = config->source[CONFIG_ID_partitions] != SOURCE_DEFAULT;
    struct join_question question = {
        .partitions = is_asked ? config->partitions : 0,
        .password = slice_from(config->requirepass),
    };
    struct buffer body = { 0 };
    cluster_self(node, &question.member);
    join_ask_encode(&question, &body);
    frame_send(node->peers, node->join->link, PEER_FRAME_JOIN_ASK, buffer_slice(&body));
    buffer_free(&body);
}

static void follow(struct node *node, struct slice body)
{
    struct join *join = node->join;
    peers_close(node->peers, join->link);
    join->link = 0;
    if (body.size < 3 || body.size - 2 >= sizeof(join->host) ||
        join->redirects++ >= REDIRECTS_MAX) {
        waits(node, "sent on and on");
        try_again_later(node);
        return;
    }
    join->port = load_u16(body.data);
    memcpy(join->host, body.data + 2, body.size - 2);
    join->host[body.size - 2] = '\0';
    dial(node, io_clock_ns(node->io));
}

static void welcomed(struct node *node, struct slice body)
{
    struct join *join = node->join;
    struct member self;
    cluster_self(node, &self);
    join->is_welcomed = join_welcome_decode(body, &join->welcome);
    const struct member *listed =
        join->is_welcomed ? members_find(&join->welcome.members, self.number) : NULL;
    if (listed == NULL || listed->incarnation != self.incarnation) {
        join->is_welcomed = false;
        waits(node, "a welcome that makes no sense: another version?");
    }
}

static void joiner_on_frame(struct node *node, const struct peer_event *event)
{
    struct join *join = node->join;
    char text[REASON_BYTES_MAX];
    (void)snprintf(text, sizeof(text), "%.*s", event->body.size < 200 ? (int)event->body.size : 200,
                   event->body.data);
    switch (event->frame_kind) {
    case PEER_FRAME_JOIN_WELCOME:
        welcomed(node, event->body);
        break;
    case PEER_FRAME_JOIN_REDIRECT:
        follow(node, event->body);
        return;
    case PEER_FRAME_JOIN_LATER:
    case PEER_FRAME_JOIN_REFUSED:
        waits(node, text);
        break;
    default:
        waits(node, "an answer that makes no sense: another version?");
        break;
    }
    peers_close(node->peers, join->link);
    try_again_later(node);
}

static void joiner_on_event(struct node *node, const struct peer_event *event)
{
    struct join *join = node->join;
    if (event->link != join->link) {
        return; /* a link given up */
    }
    switch (event->kind) {
    case PEER_EVENT_UP:
        ask_send(node);
        break;
    case PEER_EVENT_FRAME:
        joiner_on_frame(node, event);
        break;
    case PEER_EVENT_DOWN:
        waits(node, event->reason);
        try_again_later(node);
        break;
    }
}
