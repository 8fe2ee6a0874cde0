/*
 * peers.c — all links together: who is dialed, who is accepted, and what is due when.
 *
 * Idea: the links are a small table (tens, not thousands), so whatever is rare walks it: ticks,
 * changes of the members.  What is frequent does not: sending finds its links by bits, events by
 * the owner's address, frames by the link's id.
 *
 * A tick that comes late by much (the process was stopped, the machine was asleep) does not hold
 * that time against the peers: all they said meanwhile is still to be read.
 *
 * Read next: peers.h, peer_link.c.
 */
#include "network/peers.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "network/peer_link.h"

#include <errno.h>
#include <stdio.h>

static const uint64_t NS_PER_MS = 1000000;
static const uint64_t NS_PER_S = 1000000000;

static void link_end(struct peer_link *link, const char *reason);
static void now_update(struct peers *peers);
static bool is_member(const struct peers *peers, uint64_t number, uint64_t incarnation);
static void deadline_update(struct peers *peers);

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

static void default_set(uint32_t *option, uint32_t value)
{
    *option = *option != 0 ? *option : value;
}

struct peers *peers_new(struct io *io, const struct peers_options *options)
{
    ASSERT(options->self.number != 0);
    struct peers *peers = mem_zalloc(sizeof(*peers));
    peers->io = io;
    peers->options = *options;
    peers->options.secret = NULL;
    peers->key = peer_proof_key(options->secret);
    default_set(&peers->options.hello_timeout_ms, 2000);
    default_set(&peers->options.ping_interval_ms, 1000);
    default_set(&peers->options.silence_timeout_ms, 3000);
    default_set(&peers->options.redial_min_ms, 50);
    default_set(&peers->options.redial_max_ms, 1000);
    prng_init(&peers->prng, options->seed);
    peers->deadline_ns = UINT64_MAX;
    now_update(peers);
    return peers;
}

void peers_free(struct peers *peers)
{
    if (peers == NULL) {
        return;
    }
    for (uint32_t i = 0; i < peers->listeners_count; i++) {
        io_close(peers->io, peers->listeners[i]);
    }
    peers->members_count = 0; /* nothing is dialed again */
    for (uint32_t i = 0; i < peers->places_used; i++) {
        struct peer_link *link = peers->links[i];
        if (link != NULL) {
            link_end(link, "stopped");
            link_free(link);
        }
    }
    hmac_free(peers->key);
    mem_free(peers);
}

int peers_listen(struct peers *peers, const char *host, uint16_t port)
{
    if (peers->listeners_count == PEER_LISTENERS_MAX) {
        return -ENOSPC;
    }
    struct io_socket *listener = NULL;
    int status = io_listen(peers->io, host, port, peers, &listener);
    if (status < 0) {
        return status;
    }
    peers->listeners[peers->listeners_count++] = listener;
    return 0;
}

uint16_t peers_port(const struct peers *peers)
{
    return peers->listeners_count == 0 ? 0 : io_socket_port(peers->io, peers->listeners[0]);
}

static void now_update(struct peers *peers)
{
    uint64_t now_ns = io_clock_ns(peers->io);
    peers->now_ns = now_ns > peers->now_ns ? now_ns : peers->now_ns;
}

void peers_wake_at(struct peers *peers, uint64_t deadline_ns)
{
    peers->deadline_ns = deadline_ns < peers->deadline_ns ? deadline_ns : peers->deadline_ns;
}

/* As link_down, but for links that may be down already. */
static void link_end(struct peer_link *link, const char *reason)
{
    if (link->state != LINK_DOWN) {
        link_down(link, reason);
    }
}

static struct peer_link *link_find(const struct peers *peers, uint64_t id)
{
    struct peer_link *link = peers->links[id % PEER_LINKS_MAX];
    return link != NULL && link->id == id && link->state != LINK_DOWN ? link : NULL;
}

/* ── who we are, and who the others are ──────────────────────────────────────────────────────── */

void peers_set_self(struct peers *peers, const struct peer_hello *self)
{
    const struct peer_hello *old = &peers->options.self;
    ASSERT(self->number != 0);
    now_update(peers);
    bool is_same = old->number == self->number && old->incarnation == self->incarnation &&
                   strcmp(old->cluster, self->cluster) == 0;
    peers->options.self = *self;
    for (uint32_t i = 0; !is_same && i < peers->places_used; i++) {
        struct peer_link *link = peers->links[i];
        bool is_told = link != NULL &&
                       (link->is_outgoing || link->state == LINK_UP || link->state == LINK_PROVING);
        if (is_told && link->channel != PEER_JOIN) {
            link_end(link, "this node has another identity now");
        }
    }
    for (uint32_t i = 0; !is_same && i < peers->members_count * MEMBER_DIALS; i++) {
        peers->members[i / MEMBER_DIALS].dials[i % MEMBER_DIALS].due_ns = 0;
    }
    deadline_update(peers);
}

static bool is_same_member(const struct peer_member *a, const struct peer_member *b)
{
    return a->number == b->number && a->incarnation == b->incarnation && a->port == b->port &&
           strcmp(a->host, b->host) == 0;
}

/* Whether the link may go on with the members there are now. */
static bool link_is_wanted(const struct peer_link *link)
{
    if (link->channel == PEER_JOIN || link->state == LINK_CLOSING) {
        return true;
    }
    if (link->state == LINK_UP) {
        return is_member(link->peers, link->number, link->hello.incarnation);
    }
    return link->number == 0 || peers_member_find(link->peers, link->number) != NULL;
}

/* Makes `member` one of ours, with what we dialed to it if it was one before. */
static void member_add(struct peers *peers, const struct peer_member *member,
                       struct peers_member *old, uint32_t old_count)
{
    if (peers_member_find(peers, member->number) != NULL) {
        return; /* named twice */
    }
    struct peers_member *to = &peers->members[peers->members_count++];
    *to = (struct peers_member){ .at = *member };
    for (uint32_t i = 0; i < old_count; i++) {
        if (is_same_member(&old[i].at, member)) {
            *to = old[i];
            memset(old[i].dials, 0, sizeof(old[i].dials)); /* taken over */
        }
    }
}

/* The members are these and, of those of before, who came with a later list than ours. */
static void members_replace(struct peers *peers, const struct peer_member *members, uint32_t count)
{
    now_update(peers);
    uint32_t old_count = peers->members_count;
    size_t old_bytes = old_count * sizeof(peers->members[0]);
    struct peers_member *old = mem_alloc(old_bytes + 1);
    memcpy(old, peers->members, old_bytes);
    peers->members_count = 0;
    for (uint32_t i = 0; i < old_count; i++) {
        if (old[i].epoch > peers->options.self.epoch) {
            member_add(peers, &old[i].at, old, old_count);
        }
    }
    for (uint32_t i = 0; i < count && peers->members_count < PEER_MEMBERS_MAX; i++) {
        member_add(peers, &members[i], old, old_count);
    }
    for (uint32_t i = 0; i < old_count * MEMBER_DIALS; i++) {
        struct peer_link *link = old[i / MEMBER_DIALS].dials[i % MEMBER_DIALS].link;
        if (link != NULL) {
            link_down(link, "the member left or has moved");
        }
    }
    mem_free(old);
    for (uint32_t i = 0; i < peers->places_used; i++) {
        struct peer_link *link = peers->links[i];
        if (link != NULL && !link_is_wanted(link)) {
            link_end(link, "no member of the cluster any more");
        }
    }
    deadline_update(peers);
}

void peers_set_members(struct peers *peers, const struct peer_member *members, uint32_t count)
{
    ASSERT(count <= PEER_MEMBERS_MAX);
    members_replace(peers, members, count);
}

bool peers_knows_later(const struct peers *peers, const struct peer_hello *hello)
{
    return !MUTANT(MUT_STRANGERS_UNHEARD) && hello->epoch > peers->options.self.epoch &&
           hello->host[0] != '\0' && hello->cluster_port != 0;
}

void peers_take_in(struct peers *peers, const struct peer_hello *hello)
{
    struct peer_member members[PEER_MEMBERS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < peers->members_count; i++) {
        if (peers->members[i].at.number != hello->number) {
            members[count++] = peers->members[i].at;
        }
    }
    if (count == PEER_MEMBERS_MAX) {
        return;
    }
    struct peer_member *last = &members[count++];
    *last = (struct peer_member){
        .number = hello->number,
        .incarnation = hello->incarnation,
        .port = hello->cluster_port,
    };
    memcpy(last->host, hello->host, sizeof(last->host));
    members_replace(peers, members, count);
    for (uint32_t i = 0; i < peers->members_count; i++) {
        struct peers_member *member = &peers->members[i];
        member->epoch = member->at.number == hello->number ? hello->epoch : member->epoch;
    }
}

bool peers_address(const struct peers *peers, uint64_t number, struct peer_member *out)
{
    const struct peers_member *member = peers_member_find(peers, number);
    if (member != NULL) {
        *out = member->at;
    }
    return member != NULL;
}

void peers_set_removed(struct peers *peers, const struct peer_removed *removed, uint32_t count)
{
    ASSERT(count <= PEER_REMOVED_MAX);
    memcpy(peers->removed, removed, count * sizeof(*removed));
    peers->removed_count = count;
}

bool peers_was_removed(const struct peers *peers)
{
    return peers->was_removed;
}

const struct peers_member *peers_member_find(const struct peers *peers, uint64_t number)
{
    for (uint32_t i = 0; i < peers->members_count; i++) {
        if (peers->members[i].at.number == number) {
            return &peers->members[i];
        }
    }
    return NULL;
}

static bool is_member(const struct peers *peers, uint64_t number, uint64_t incarnation)
{
    const struct peers_member *member = peers_member_find(peers, number);
    return member != NULL && member->at.incarnation == incarnation;
}

/* ── dialing ─────────────────────────────────────────────────────────────────────────────────── */

static uint32_t outgoing_count(const struct peers *peers)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < peers->places_used; i++) {
        count += peers->links[i] != NULL && peers->links[i]->is_outgoing;
    }
    return count;
}

static void link_connect(struct peer_link *link, const char *host, uint16_t port)
{
    struct peers *peers = link->peers;
    struct io_socket *socket = NULL;
    int status = io_connect(peers->io, host, port, &peers->links[link->place], &socket);
    if (status < 0) {
        link_down(link, link_error_text(status));
        return;
    }
    link->socket = socket;
}

static struct peer_link *link_dial_new(struct peers *peers, enum peer_channel channel,
                                       uint64_t number)
{
    struct peer_link *link = link_new(peers, LINK_CONNECTING);
    if (link != NULL) {
        link->is_outgoing = true;
        link->channel = channel;
        link->number = number;
    }
    return link;
}

uint64_t peers_dial(struct peers *peers, const char *host, uint16_t port, enum peer_channel channel,
                    uint64_t number)
{
    ASSERT(channel < PEER_CHANNELS);
    now_update(peers);
    bool has_room = outgoing_count(peers) < PEER_DIALED_MAX;
    struct peer_link *link = has_room ? link_dial_new(peers, channel, number) : NULL;
    if (link == NULL) {
        return 0;
    }
    link->is_down_owed = true;
    link_connect(link, host, port);
    return link->id;
}

static void member_dial(struct peers *peers, struct peers_member *member, enum peer_channel channel)
{
    struct peer_dial *dial = &member->dials[channel];
    bool is_due = dial->link == NULL && dial->due_ns <= peers->now_ns;
    if (!is_due || member->at.number == peers->options.self.number) {
        return;
    }
    dial->link = link_dial_new(peers, channel, member->at.number);
    if (dial->link == NULL) { /* only while very many DOWNs wait to be handed out */
        dial->due_ns = peers->now_ns + peers->options.redial_max_ms * NS_PER_MS;
        return;
    }
    link_connect(dial->link, member->at.host, member->at.port);
}

static void members_dial(struct peers *peers)
{
    bool has_cluster = peers->options.self.cluster[0] != '\0';
    for (uint32_t i = 0; has_cluster && i < peers->members_count; i++) {
        member_dial(peers, &peers->members[i], PEER_RAFT);
        member_dial(peers, &peers->members[i], PEER_CLIENT);
    }
}

static struct peer_dial *dial_find(struct peers *peers, uint64_t number, enum peer_channel channel)
{
    for (uint32_t i = 0; channel <= PEER_CLIENT && i < peers->members_count; i++) {
        if (peers->members[i].at.number == number) {
            return &peers->members[i].dials[channel];
        }
    }
    return NULL;
}

void peers_note_down(struct peer_link *link)
{
    struct peers *peers = link->peers;
    struct peer_dial *dial = dial_find(peers, link->number, link->channel);
    if (dial == NULL || dial->link != link) {
        return;
    }
    uint32_t min_ms = peers->options.redial_min_ms;
    uint32_t max_ms = peers->options.redial_max_ms;
    bool was_good = link->up_ns != 0 && peers->now_ns - link->up_ns > max_ms * NS_PER_MS;
    uint32_t backoff_ms = was_good || dial->backoff_ms == 0 ? 2 * min_ms : dial->backoff_ms;
    uint64_t half_ns = backoff_ms * NS_PER_MS / 2;
    dial->link = NULL;
    dial->due_ns = peers->now_ns + half_ns + prng_below(&peers->prng, half_ns + 1);
    dial->backoff_ms = 2 * backoff_ms < max_ms ? 2 * backoff_ms : max_ms;
    memcpy(dial->trouble, link->reason, sizeof(dial->trouble));
    peers_wake_at(peers, dial->due_ns);
}

void peers_hasten(struct peers *peers, uint64_t number)
{
    for (unsigned i = 0; i < MEMBER_DIALS; i++) {
        struct peer_dial *dial = dial_find(peers, number, (enum peer_channel)i);
        if (dial != NULL && dial->link == NULL) {
            dial->due_ns = peers->now_ns;
            peers_wake_at(peers, peers->now_ns);
        }
    }
}

/* ── events ──────────────────────────────────────────────────────────────────────────────────── */

static void recv_take(struct peer_link *link, const struct io_event *event);

bool peers_owns(const struct peers *peers, const struct io_event *event)
{
    uintptr_t owner = (uintptr_t)event->owner;
    uintptr_t first = (uintptr_t)&peers->links[0];
    return event->owner == peers || owner - first < sizeof(peers->links);
}

void peers_on_event(struct peers *peers, const struct io_event *event)
{
    ASSERT(peers->current == NULL); /* what the last event brought has been taken */
    now_update(peers);
    if (event->owner == peers) {
        ASSERT(event->kind == IO_EVENT_ACCEPT);
        peers_accept(peers, event);
        return;
    }
    struct peer_link *link = *(struct peer_link **)event->owner;
    ASSERT(link != NULL);
    ASSERT(link->socket == event->socket);
    switch (event->kind) {
    case IO_EVENT_CONNECT:
        if (event->result < 0) {
            link_down(link, link_error_text(event->result));
        } else {
            link->state = LINK_GREETING;
            peers_greet_first(link);
        }
        break;
    case IO_EVENT_RECV:
        recv_take(link, event);
        break;
    case IO_EVENT_SEND_READY:
        link->is_send_blocked = false;
        peers_mark_dirty(link);
        break;
    case IO_EVENT_ACCEPT:
    case IO_EVENT_FILE:
    case IO_EVENT_DATAGRAM:
    case IO_EVENT_WAKE:
        UNREACHABLE();
    }
}

static void recv_take(struct peer_link *link, const struct io_event *event)
{
    struct peers *peers = link->peers;
    if (event->result <= 0) {
        const char *closed = link->state == LINK_UP ? "closed by the other side"
                                                    : "closed by the other side before HELLO";
        closed = link->state == LINK_PROVING ? "closed by the other side before its proof" : closed;
        link_down(link, event->result < 0 ? link_error_text(event->result) : closed);
        return;
    }
    link->heard_ns = peers->now_ns;
    link->bytes_in += (uint64_t)event->result;
    peers->stats.bytes_in += (uint64_t)event->result;
    peers->current = link;
    peers->fresh = slice_make(event->data, (size_t)event->result);
}

static void event_make(struct peer_link *link, enum peer_event_kind kind, struct peer_event *out)
{
    *out = (struct peer_event){ .kind = kind,
                                .channel = link->channel,
                                .is_outgoing = link->is_outgoing,
                                .link = link->id,
                                .number = link->number };
}

/* A link that ended since the last call and whose end somebody wants to know. */
static struct peer_link *ended_next(struct peers *peers)
{
    for (uint32_t word = 0; word < LINK_WORDS; word++) {
        while (peers->ended[word] != 0) {
            uint32_t bit = (uint32_t)__builtin_ctzll(peers->ended[word]);
            struct peer_link *link = peers->links[word * 64 + bit];
            peers->ended[word] &= peers->ended[word] - 1;
            if (link->is_down_owed) {
                return link;
            }
            link_free(link);
        }
    }
    return NULL;
}

/* What was handed out last is not needed any more. */
static void handed_release(struct peers *peers)
{
    if (peers->handed_input != NULL) {
        link_input_release(peers->handed_input);
        peers->handed_input = NULL;
    }
    if (peers->handed_down != NULL) {
        link_free(peers->handed_down);
        peers->handed_down = NULL;
    }
}

bool peers_next(struct peers *peers, struct peer_event *out_event)
{
    for (;;) {
        handed_release(peers);
        struct peer_link *ended = ended_next(peers);
        if (ended != NULL) {
            peers->handed_down = ended;
            event_make(ended, PEER_EVENT_DOWN, out_event);
            out_event->reason = ended->reason;
            return true;
        }
        struct peer_link *link = peers->current;
        if (link == NULL) {
            return false;
        }
        if (link->state == LINK_UP && !link->is_announced) {
            link->is_announced = true;
            link->is_down_owed = true;
            event_make(link, PEER_EVENT_UP, out_event);
            out_event->hello = &link->hello;
            return true;
        }
        struct peer_frame frame;
        enum link_received received = link_receive(link, &frame);
        if (received == LINK_RECEIVED_FRAME) {
            event_make(link, PEER_EVENT_FRAME, out_event);
            out_event->frame_kind = frame.kind;
            out_event->flags = frame.flags;
            out_event->body = frame.body;
            return true;
        }
        if (received == LINK_RECEIVED_ALL) {
            peers->current = NULL;
        }
    }
}

bool peers_has_work(const struct peers *peers)
{
    uint64_t bits = 0;
    for (uint32_t word = 0; word < LINK_WORDS; word++) {
        bits |= peers->dirty[word] | peers->ended[word];
    }
    return bits != 0 || peers->current != NULL;
}

/* ── sending ─────────────────────────────────────────────────────────────────────────────────── */

void peers_mark_dirty(struct peer_link *link)
{
    if (!link->is_send_blocked && link_queued_bytes(link) > 0) {
        link->peers->dirty[link->place / 64] |= (uint64_t)1 << link->place % 64;
    }
}

void peers_flush(struct peers *peers)
{
    for (uint32_t word = 0; word < LINK_WORDS; word++) {
        while (peers->dirty[word] != 0) {
            uint32_t bit = (uint32_t)__builtin_ctzll(peers->dirty[word]);
            peers->dirty[word] &= peers->dirty[word] - 1;
            link_send(peers->links[word * 64 + bit]);
        }
    }
}

char *peers_frame_begin(struct peers *peers, uint64_t id, uint8_t kind, size_t body_max)
{
    ASSERT(kind < PEER_KIND_INTERNAL);
    struct peer_link *link = link_find(peers, id);
    return link != NULL ? link_frame_begin(link, kind, body_max) : NULL;
}

void peers_frame_flags(struct peers *peers, uint64_t id, uint8_t flags)
{
    ASSERT(peers->framing != NULL);
    ASSERT(peers->framing->id == id);
    peers->framing->frame_flags = flags;
}

void peers_frame_end(struct peers *peers, uint64_t id, size_t body_size)
{
    ASSERT(peers->framing != NULL);
    ASSERT(peers->framing->id == id);
    link_frame_end(peers->framing, body_size);
}

void peers_close(struct peers *peers, uint64_t id)
{
    struct peer_link *link = link_find(peers, id);
    if (link != NULL) {
        link_down(link, "closed");
    }
}

void peers_close_after_flush(struct peers *peers, uint64_t id)
{
    struct peer_link *link = link_find(peers, id);
    if (link == NULL || link->state == LINK_CLOSING) {
        return;
    }
    if (link->state != LINK_UP || link_queued_bytes(link) == 0) {
        link_down(link, "closed");
        return;
    }
    now_update(peers);
    link->state = LINK_CLOSING;
    link->deadline_ns = peers->now_ns + peers->options.silence_timeout_ms * NS_PER_MS;
    peers->stats.links_up -= 1;
    peers_wake_at(peers, link->deadline_ns);
}

/* ── time ────────────────────────────────────────────────────────────────────────────────────── */

uint64_t peers_deadline_ns(const struct peers *peers)
{
    return peers->deadline_ns;
}

static void link_tick(struct peer_link *link)
{
    struct peers *peers = link->peers;
    const struct peers_options *options = &peers->options;
    uint64_t now_ns = peers->now_ns;
    if (link->state != LINK_UP) {
        if (now_ns >= link->deadline_ns) {
            link_down(link, link->state == LINK_CONNECTING ? "no connection in time"
                            : link->state == LINK_PROVING  ? "no proof in time"
                                                           : "no HELLO in time");
        }
        return;
    }
    if (now_ns >= link->heard_ns + options->silence_timeout_ms * NS_PER_MS) {
        peers->stats.silences += 1;
        link_down(link, "silent for too long");
    } else if (now_ns >= link->spoke_ns + options->ping_interval_ms * NS_PER_MS) {
        link_ping(link);
    }
}

/* When the link has something to do next. */
static uint64_t link_deadline_ns(const struct peer_link *link)
{
    const struct peers_options *options = &link->peers->options;
    if (link->state != LINK_UP) {
        return link->state == LINK_DOWN ? UINT64_MAX : link->deadline_ns;
    }
    uint64_t silence_ns = link->heard_ns + options->silence_timeout_ms * NS_PER_MS;
    uint64_t ping_ns = link->spoke_ns + options->ping_interval_ms * NS_PER_MS;
    return silence_ns < ping_ns ? silence_ns : ping_ns;
}

static void deadline_update(struct peers *peers)
{
    peers->deadline_ns = UINT64_MAX;
    for (uint32_t i = 0; i < peers->places_used; i++) {
        if (peers->links[i] != NULL) {
            peers_wake_at(peers, link_deadline_ns(peers->links[i]));
        }
    }
    uint32_t dials = peers->options.self.cluster[0] == '\0' ? 0 : peers->members_count;
    for (uint32_t i = 0; i < dials * MEMBER_DIALS; i++) {
        const struct peers_member *member = &peers->members[i / MEMBER_DIALS];
        const struct peer_dial *dial = &member->dials[i % MEMBER_DIALS];
        if (dial->link == NULL && member->at.number != peers->options.self.number) {
            peers_wake_at(peers, dial->due_ns > peers->now_ns ? dial->due_ns : peers->now_ns);
        }
    }
}

static uint64_t later(uint64_t time_ns, uint64_t by_ns, uint64_t now_ns)
{
    return time_ns + by_ns < now_ns ? time_ns + by_ns : now_ns;
}

/* We were not there for a while: that is no silence of theirs. */
static void lateness_forgive(struct peers *peers, uint64_t late_ns)
{
    for (uint32_t i = 0; i < peers->places_used; i++) {
        struct peer_link *link = peers->links[i];
        if (link != NULL) {
            link->heard_ns = later(link->heard_ns, late_ns, peers->now_ns);
            link->deadline_ns += late_ns;
        }
    }
}

void peers_tick(struct peers *peers, uint64_t now_ns)
{
    peers->now_ns = now_ns > peers->now_ns ? now_ns : peers->now_ns;
    if (peers->now_ns < peers->deadline_ns) {
        return;
    }
    uint64_t late_ns = peers->now_ns - peers->deadline_ns;
    if (late_ns > peers->options.ping_interval_ms * NS_PER_MS / 2) {
        lateness_forgive(peers, late_ns);
    }
    for (uint32_t i = 0; i < peers->places_used; i++) {
        struct peer_link *link = peers->links[i];
        if (link != NULL && link->state != LINK_DOWN) {
            link_tick(link);
        }
    }
    members_dial(peers);
    deadline_update(peers);
}

/* ── for people ──────────────────────────────────────────────────────────────────────────────── */

uint64_t peers_link(const struct peers *peers, uint64_t number, enum peer_channel channel)
{
    const struct peers_member *member = peers_member_find(peers, number);
    if (member == NULL || channel > PEER_CLIENT) {
        return 0;
    }
    const struct peer_link *link = member->dials[channel].link;
    return link != NULL && link->state == LINK_UP && link->is_announced ? link->id : 0;
}

uint64_t peers_queued_bytes(const struct peers *peers, uint64_t id)
{
    const struct peer_link *link = link_find(peers, id);
    return link != NULL ? link_queued_bytes(link) : 0;
}

const struct peers_stats *peers_stats(const struct peers *peers)
{
    return &peers->stats;
}

static void address_print(const struct peer_link *link, char *out, size_t size)
{
    (void)snprintf(out, size, "?");
    if (link->socket != NULL && link->state != LINK_CONNECTING) {
        io_socket_name(link->peers->io, link->socket, /* remote= */ true, out, size);
    }
}

static void link_describe(const struct peer_link *link, struct peer_link_info *out)
{
    uint64_t now_ns = link->peers->now_ns;
    *out = (struct peer_link_info){
        .link = link->id,
        .number = link->number,
        .channel = link->channel,
        .is_outgoing = link->is_outgoing,
        .is_up = link->state == LINK_UP,
        .age_ms = (now_ns - link->opened_ns) / NS_PER_MS,
        .heard_ms = (now_ns - link->heard_ns) / NS_PER_MS,
        .rtt_us = link->rtt_ns / 1000,
        .bytes_in = link->bytes_in,
        .bytes_out = link->bytes_out,
        .frames_in = link->frames_in,
        .frames_out = link->frames_out,
        .queued_bytes = link_queued_bytes(link),
    };
    memcpy(out->node, link->hello.node, sizeof(out->node));
    address_print(link, out->address, sizeof(out->address));
}

const struct peer_hello *peers_hello(const struct peers *peers, uint64_t id)
{
    const struct peer_link *link = link_find(peers, id);
    return link != NULL && link->state == LINK_UP ? &link->hello : NULL;
}

bool peers_link_next(const struct peers *peers, uint32_t *at, struct peer_link_info *out_info)
{
    while (*at < peers->places_used) {
        const struct peer_link *link = peers->links[*at];
        *at += 1;
        if (link != NULL && link->state != LINK_DOWN) {
            link_describe(link, out_info);
            return true;
        }
    }
    return false;
}

const char *peers_trouble(const struct peers *peers, uint64_t number, enum peer_channel channel)
{
    const struct peers_member *member = peers_member_find(peers, number);
    if (member == NULL || channel > PEER_CLIENT || peers_link(peers, number, channel) != 0) {
        return "";
    }
    return member->dials[channel].trouble;
}

void peers_complain(struct peer_link *link, const char *text)
{
    struct peers *peers = link->peers;
    char address[64];
    address_print(link, address, sizeof(address));
    (void)snprintf(peers->complaint, sizeof(peers->complaint), "%s link %s %s \"%s\": %s",
                   peer_channel_name(link->channel), link->is_outgoing ? "to" : "from", address,
                   link->hello.node, text);
    peers->complaints += 1;
}

const char *peers_complaint(struct peers *peers)
{
    bool is_soon = peers->complaint_ns != 0 && peers->now_ns - peers->complaint_ns < NS_PER_S;
    if (peers->complaints == 0 || is_soon) {
        return NULL;
    }
    if (peers->complaints > 1) {
        size_t size = strlen(peers->complaint);
        (void)snprintf(peers->complaint + size, sizeof(peers->complaint) - size, " (and %u more)",
                       peers->complaints - 1);
    }
    peers->complaint_ns = peers->now_ns;
    peers->complaints = 0;
    return peers->complaint;
}
