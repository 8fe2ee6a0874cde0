/*
 * membership.c — see membership.h.  Order: life, the step, what arrives, looking.
 *
 * Read next: membership_internal.h, membership_view.c.
 */
#include "cluster/membership_internal.h"

#include "base/assert.h"

enum {
    LATE_MS = 60,     /* a step that comes later than that says that we are starved */
    WINDOW_BITS = 64, /* packets may overtake this many others */
};

static void tick(struct membership *m);
static void on_packet(struct membership *m, const struct membership_input *input);
static void on_heard(struct membership *m, const struct membership_input *input);
static void on_send_failed(struct membership *m, uint64_t number);
static void on_members(struct membership *m, const struct membership_input *input);
static void output_end(struct membership *m);

/* ── life ───────────────────────────────────────────────────────────────────────────────────── */

size_t membership_sizeof(void)
{
    return sizeof(struct membership);
}

void membership_init(struct membership *m, const struct membership_options *options)
{
    ASSERT(options->number != 0);
    ASSERT(options->boot != 0);
    *m = (struct membership){
        .options = *options,
        .incarnation = options->boot << MEMBERSHIP_BOOT_SHIFT,
        .deadline_ms = UINT64_MAX,
    };
    prng_init(&m->prng, options->seed);
}

struct membership_peer *membership_peer_find(struct membership *m, uint64_t number)
{
    for (uint32_t i = 0; i < m->peers_count; i++) {
        if (m->peers[i].number == number) {
            return &m->peers[i];
        }
    }
    return NULL;
}

bool membership_is_there(const struct membership_peer *peer)
{
    return peer->state == MEMBERSHIP_ALIVE || peer->state == MEMBERSHIP_SUSPECT;
}

/* ── the step ───────────────────────────────────────────────────────────────────────────────── */

static void later(uint64_t *time_ms, uint64_t by_ms)
{
    *time_ms += *time_ms != 0 && *time_ms != UINT64_MAX ? by_ms : 0;
}

/* We were not there for a while, and heard nobody: our clocks stood still.  What is under way gets
 * a little more, for its answer may have to be read first. */
static void lateness_step(struct membership *m)
{
    uint64_t late_ms = m->deadline_ms < m->now_ms ? m->now_ms - m->deadline_ms : 0;
    if (LIKELY(late_ms <= LATE_MS)) {
        return;
    }
    m->stats.late_steps++;
    membership_health_change(m, 1);
    for (uint32_t i = 0; i < m->peers_count; i++) {
        later(&m->peers[i].suspect_ms, late_ms);
        later(&m->peers[i].answered_ms, late_ms);
    }
    later(&m->probe.timeout_ms, late_ms + PROBE_TIMEOUT_MS);
    later(&m->probe.end_ms, late_ms + PROBE_TIMEOUT_MS);
}

void membership_step(struct membership *m, const struct membership_input *input,
                     struct membership_output *output)
{
    output->drop = MEMBERSHIP_KEPT;
    output->events_count = 0;
    output->datagrams_count = 0;
    m->output = output;
    m->now_ms = input->now_ms > m->now_ms ? input->now_ms : m->now_ms;
    lateness_step(m);
    switch (input->kind) {
    case MEMBERSHIP_TICK:
        break;
    case MEMBERSHIP_PACKET:
        on_packet(m, input);
        break;
    case MEMBERSHIP_HEARD:
        on_heard(m, input);
        break;
    case MEMBERSHIP_SEND_FAILED:
        on_send_failed(m, input->number);
        break;
    case MEMBERSHIP_MEMBERS:
        on_members(m, input);
        break;
    case MEMBERSHIP_ADVISE: {
        uint64_t serial = m->advice.serial;
        m->advice = *input->advice;
        m->advice.serial =
            serial != 0 ? serial + 1 : (m->options.boot << MEMBERSHIP_BOOT_SHIFT) + 1;
        m->advice_sends = membership_sends(m);
        break;
    }
    case MEMBERSHIP_LEAVE:
        membership_farewell(m);
        break;
    }
    if (input->kind == MEMBERSHIP_TICK) {
        tick(m);
    }
    if (m->has_found) {
        membership_tell_all(m);
    }
    output_end(m);
    m->output = NULL;
}

static void tick(struct membership *m)
{
    if (m->peers_count == 0) {
        return;
    }
    membership_relays_step(m);
    membership_probe_step(m);
    membership_suspicions_step(m);
}

static void earlier(uint64_t *deadline_ms, uint64_t time_ms)
{
    *deadline_ms = time_ms < *deadline_ms ? time_ms : *deadline_ms;
}

static uint64_t deadline_of(const struct membership *m)
{
    const struct membership_probe *probe = &m->probe;
    uint64_t deadline_ms = probe->number != 0 ? probe->end_ms : m->next_probe_ms;
    if (m->peers_count == 0) {
        return UINT64_MAX;
    }
    if (probe->number != 0 && !probe->is_answered && !probe->has_asked) {
        earlier(&deadline_ms, probe->timeout_ms);
    }
    for (uint32_t i = 0; i < MEMBERSHIP_RELAYS_MAX; i++) {
        if (m->relays[i].origin != 0) {
            earlier(&deadline_ms, m->relays[i].end_ms);
        }
    }
    for (uint32_t i = 0; i < m->peers_count; i++) {
        if (m->peers[i].state == MEMBERSHIP_SUSPECT) {
            earlier(&deadline_ms, membership_suspicion_end_ms(m, &m->peers[i]));
            earlier(&deadline_ms, m->peers[i].remind_ms);
        }
    }
    return deadline_ms;
}

static void output_end(struct membership *m)
{
    struct membership_output *output = m->output;
    for (uint32_t i = 0; i < m->peers_count; i++) {
        struct membership_peer *peer = &m->peers[i];
        if (peer->told != peer->state) {
            output->events[output->events_count++] =
                (struct membership_event){ .number = peer->number,
                                           .from = peer->told,
                                           .to = peer->state,
                                           .incarnation = peer->incarnation };
            peer->told = peer->state;
        }
    }
    if (m->has_refuted) {
        m->has_refuted = false;
        output->events[output->events_count++] =
            (struct membership_event){ .number = m->options.number,
                                       .from = MEMBERSHIP_SUSPECT,
                                       .to = MEMBERSHIP_ALIVE,
                                       .incarnation = m->incarnation };
    }
    m->deadline_ms = deadline_of(m);
    output->deadline_ms = m->deadline_ms;
}

/* ── what arrives ───────────────────────────────────────────────────────────────────────────── */

/* True once for each counter of a boot, as far back as the window reaches. */
static bool window_take(struct membership_peer *peer, uint64_t boot, uint64_t counter)
{
    if (boot != peer->boot) {
        peer->boot = boot;
        peer->newest = counter;
        peer->seen = 1;
        return true;
    }
    if (counter > peer->newest) {
        uint64_t ahead = counter - peer->newest;
        peer->seen = ahead < WINDOW_BITS ? peer->seen << ahead | 1 : 1;
        peer->newest = counter;
        return true;
    }
    uint64_t behind = peer->newest - counter;
    if (behind >= WINDOW_BITS || (peer->seen >> behind & 1) != 0) {
        return false;
    }
    peer->seen |= UINT64_C(1) << behind;
    return true;
}

/* Who the packet is from, and whether it may count. */
static enum membership_drop packet_check(struct membership *m, const struct membership_head *head,
                                         struct membership_peer **out_peer)
{
    const struct membership_options *self = &m->options;
    if (head->cluster != self->cluster) {
        return MEMBERSHIP_DROP_CLUSTER;
    }
    if (head->to != self->number) {
        return MEMBERSHIP_DROP_TARGET;
    }
    struct membership_peer *peer = membership_peer_find(m, head->from);
    if (peer == NULL) {
        return MEMBERSHIP_DROP_STRANGER;
    }
    if (head->to_identity != self->identity || head->from_identity != peer->identity) {
        return MEMBERSHIP_DROP_IDENTITY;
    }
    *out_peer = peer;
    return head->from_boot < peer->boot ? MEMBERSHIP_DROP_STALE : MEMBERSHIP_KEPT;
}

static void item_take(struct membership *m, const struct membership_item *item)
{
    const struct membership_options *self = &m->options;
    if (item->number == self->number) {
        bool is_bad = item->kind == MEMBERSHIP_ITEM_STATE && item->state != MEMBERSHIP_ALIVE;
        if (is_bad && item->identity == self->identity && item->incarnation >= m->incarnation) {
            membership_refute(m, item->incarnation);
        }
        return;
    }
    struct membership_peer *peer = membership_peer_find(m, item->number);
    if (peer == NULL || peer->identity != item->identity) {
        return; /* gossip invents no members */
    }
    if (item->kind == MEMBERSHIP_ITEM_STATE) {
        membership_merge(m, peer, item);
    } else if (item->advice.serial > peer->advice.serial) {
        peer->advice = item->advice;
        peer->advice_sends = membership_sends(m);
    }
}

static void ack_send(struct membership *m, const struct membership_peer *peer,
                     const struct membership_head *ping, bool by_link)
{
    membership_send(m, peer,
                    (struct membership_head){ .kind = MEMBERSHIP_ACK,
                                              .flags = ping->flags,
                                              .to_boot = ping->from_boot,
                                              .token = ping->token },
                    by_link);
}

static void ack_take(struct membership *m, struct membership_peer *peer,
                     const struct membership_head *head)
{
    if (head->about == 0) {
        peer->answered_ms = m->now_ms; /* also when the answer comes late */
        membership_relays_answered(m, head);
    }
    uint64_t number = head->about != 0 ? head->about : head->from;
    if (head->token == m->probe.token && number == m->probe.number) {
        struct membership_peer *target = membership_peer_find(m, number);
        if (target != NULL) {
            membership_probe_answered(m, target);
        }
    }
}

static void on_packet(struct membership *m, const struct membership_input *input)
{
    struct membership_head head;
    struct slice items;
    struct membership_item item;
    struct membership_peer *peer = NULL;
    enum membership_drop *drop = &m->output->drop;
    *drop = membership_packet_read(input->packet, &head, &items) ? packet_check(m, &head, &peer)
                                                                 : MEMBERSHIP_DROP_MALFORMED;
    if (*drop == MEMBERSHIP_KEPT && head.to_boot != m->options.boot) {
        *drop = head.to_boot == 0 ? MEMBERSHIP_KEPT : MEMBERSHIP_DROP_STALE;
        if (head.kind == MEMBERSHIP_PING) {
            ack_send(m, peer, &head, input->by_link); /* so that it learns our boot */
        }
    } else if (*drop == MEMBERSHIP_KEPT && window_take(peer, head.from_boot, head.counter)) {
        m->stats.packets_in++;
        membership_merge_own(m, peer, head.state, head.incarnation);
        while (membership_item_next(&items, &item)) {
            item_take(m, &item);
        }
        if (head.kind == MEMBERSHIP_PING) {
            ack_send(m, peer, &head, input->by_link);
        } else if (head.kind == MEMBERSHIP_ACK) {
            ack_take(m, peer, &head);
        } else if (head.kind == MEMBERSHIP_ASK) {
            membership_relay_begin(m, &head, input->by_link);
        } else if (head.kind == MEMBERSHIP_NACK && head.token == m->probe.token) {
            m->probe.nacks += m->probe.nacks < m->probe.helpers ? 1 : 0;
        }
    } else if (*drop == MEMBERSHIP_KEPT) {
        *drop = MEMBERSHIP_DROP_REPLAYED;
    }
    m->stats.drops[*drop] += *drop != MEMBERSHIP_KEPT;
}

static void on_heard(struct membership *m, const struct membership_input *input)
{
    struct membership_peer *peer = membership_peer_find(m, input->number);
    if (peer == NULL) {
        return;
    }
    membership_merge_own(m, peer, MEMBERSHIP_ALIVE, input->boot << MEMBERSHIP_BOOT_SHIFT);
    if (m->probe.number == input->number && m->probe.has_asked && !m->probe.is_answered) {
        m->probe.is_answered = true; /* but not over UDP: that says nothing of our health */
        peer->answered_ms = m->now_ms;
    }
}

static void on_send_failed(struct membership *m, uint64_t number)
{
    const struct membership_probe *probe = &m->probe;
    if (probe->number == number && !probe->is_answered && !probe->has_asked) {
        membership_probe_ask(m);
    }
}

static struct membership_peer peer_make(const struct membership *m,
                                        const struct membership_member *member)
{
    return (struct membership_peer){
        .number = member->number,
        .identity = member->identity,
        .state = MEMBERSHIP_SUSPECT, /* until it has said something */
        .told = MEMBERSHIP_SUSPECT,
        .since_ms = m->now_ms,
        .suspect_ms = m->now_ms,
        .remind_ms = m->now_ms,
    };
}

static void on_members(struct membership *m, const struct membership_input *input)
{
    struct membership_peer before[MEMBERSHIP_MEMBERS_MAX];
    uint32_t before_count = m->peers_count;
    memcpy(before, m->peers, sizeof(before));
    m->peers_count = 0;
    for (uint32_t i = 0; i < input->members_count; i++) {
        const struct membership_member *member = &input->members[i];
        if (member->number == m->options.number || m->peers_count == MEMBERSHIP_MEMBERS_MAX ||
            membership_peer_find(m, member->number) != NULL) {
            continue;
        }
        struct membership_peer *peer = &m->peers[m->peers_count];
        *peer = peer_make(m, member);
        for (uint32_t k = 0; k < before_count; k++) {
            if (before[k].number == member->number && before[k].identity == member->identity) {
                *peer = before[k];
            }
        }
        m->order[m->peers_count] = m->peers_count;
        m->peers_count++;
    }
    m->order_at = m->peers_count; /* a new round */
    if (membership_peer_find(m, m->probe.number) == NULL) {
        m->probe.number = 0;
    }
    if (before_count == 0) {
        m->next_probe_ms = m->now_ms + prng_below(&m->prng, PROBE_MS);
    }
    m->advice_sends = membership_sends(m);
}

/* ── looking ────────────────────────────────────────────────────────────────────────────────── */

bool membership_view(const struct membership *m, uint64_t number, struct membership_view *out)
{
    for (uint32_t i = 0; i < m->peers_count; i++) {
        const struct membership_peer *peer = &m->peers[i];
        if (peer->number == number) {
            *out = (struct membership_view){ .state = peer->state,
                                             .incarnation = peer->incarnation,
                                             .boot = peer->boot,
                                             .since_ms = peer->since_ms,
                                             .accusers = peer->accusers_count,
                                             .advice = peer->advice };
            return true;
        }
    }
    return false;
}

uint64_t membership_asks_link(const struct membership *m, uint64_t *out_since_ms)
{
    const struct membership_probe *probe = &m->probe;
    bool is_asked = probe->number != 0 && probe->has_asked && !probe->is_answered;
    *out_since_ms = probe->link_ms;
    return is_asked ? probe->number : 0;
}

struct membership_stats membership_stats(const struct membership *m)
{
    struct membership_stats stats = m->stats;
    stats.incarnation = m->incarnation;
    return stats;
}
