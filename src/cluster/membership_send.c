/*
 * membership_send.c — packets: news in each, as long as it is news; all that is known in a page.
 *
 * What somebody hears for the first time he sends SENDS_PER_DOUBLING * log2(members) times, added
 * to the packets that he sends anyway, what was sent least first.  What does not fit is left for
 * the next packet.
 */
#include "cluster/membership_internal.h"

#include "base/assert.h"

enum { SENDS_PER_DOUBLING = 3 }; /* lambda */

uint32_t membership_sends(const struct membership *m)
{
    uint32_t members = m->peers_count + 1;
    uint32_t doublings = 32 - (uint32_t)__builtin_clz(members); /* log2(members + 1), rounded up */
    return SENDS_PER_DOUBLING * doublings;
}

/* ── what leaves ────────────────────────────────────────────────────────────────────────────── */

/* Both who finds something out and who hears of it add it to the packets they send anyway; but
 * this is worth a packet of its own. */
void membership_tell_all(struct membership *m)
{
    m->has_found = false;
    for (uint32_t i = 0; i < m->peers_count; i++) {
        const struct membership_peer *peer = &m->peers[i];
        if (peer->state == MEMBERSHIP_ALIVE) {
            membership_send(
                m, peer, (struct membership_head){ .kind = MEMBERSHIP_TELL, .to_boot = peer->boot },
                /* by_link= */ false);
        }
    }
}

void membership_farewell(struct membership *m)
{
    m->is_leaving = true;
    for (uint32_t i = 0; i < m->peers_count; i++) {
        const struct membership_peer *peer = &m->peers[i];
        struct membership_head head = { .kind = MEMBERSHIP_TELL, .to_boot = peer->boot };
        if (peer->boot != 0) { /* both ways: there will be no second try */
            membership_send(m, peer, head, /* by_link= */ false);
            membership_send(m, peer, head, /* by_link= */ true);
        }
    }
}

/* A packet being filled. */
struct filling {
    struct membership_datagram *datagram;
    uint32_t states, advices; /* sets of peers that are in it; bit peers_count: ourselves */
};

static bool fill(struct filling *filling, const struct membership_item *item)
{
    struct membership_datagram *datagram = filling->datagram;
    size_t bytes = membership_item_size(item);
    if (datagram->size + bytes > MEMBERSHIP_PACKET_BYTES_MAX) {
        return false;
    }
    (void)membership_item_write(item, datagram->bytes + datagram->size);
    datagram->size += (uint32_t)bytes;
    return true;
}

static bool fill_state(struct membership *m, struct filling *filling, uint32_t at)
{
    struct membership_peer *peer = &m->peers[at];
    struct membership_item item = {
        .kind = MEMBERSHIP_ITEM_STATE,
        .number = peer->number,
        .identity = peer->identity,
        .state = (uint8_t)peer->state,
        .incarnation = peer->incarnation,
        .accusers_count = peer->accusers_count,
    };
    if (peer->incarnation == 0 || (filling->states >> at & 1) != 0) {
        return true; /* nothing to say, or said already */
    }
    memcpy(item.accusers, peer->accusers, sizeof(item.accusers));
    if (!fill(filling, &item)) {
        return false;
    }
    filling->states |= UINT32_C(1) << at;
    peer->state_sends -= peer->state_sends > 0;
    return true;
}

static bool fill_advice(struct membership *m, struct filling *filling, uint32_t at)
{
    bool is_own = at == m->peers_count;
    struct membership_peer *peer = is_own ? NULL : &m->peers[at];
    uint32_t *sends = is_own ? &m->advice_sends : &peer->advice_sends;
    struct membership_item item = {
        .kind = MEMBERSHIP_ITEM_ADVICE,
        .number = is_own ? m->options.number : peer->number,
        .identity = is_own ? m->options.identity : peer->identity,
        .advice = is_own ? m->advice : peer->advice,
    };
    if (item.advice.serial == 0 || (filling->advices >> at & 1) != 0) {
        return true;
    }
    if (!fill(filling, &item)) {
        return false;
    }
    filling->advices |= UINT32_C(1) << at;
    *sends -= *sends > 0;
    return true;
}

/* News: what was sent least goes first; states before advice. */
static void fill_news(struct membership *m, struct filling *filling)
{
    bool has_room = true;
    for (uint32_t sends = membership_sends(m); has_room && sends > 0; sends--) {
        for (uint32_t i = 0; has_room && i < m->peers_count; i++) {
            has_room = m->peers[i].state_sends != sends || fill_state(m, filling, i);
        }
    }
    for (uint32_t sends = membership_sends(m); has_room && sends > 0; sends--) {
        has_room = m->advice_sends != sends || fill_advice(m, filling, m->peers_count);
        for (uint32_t i = 0; has_room && i < m->peers_count; i++) {
            has_room = m->peers[i].advice_sends != sends || fill_advice(m, filling, i);
        }
    }
}

/* Push-pull: all states, and advice from where the last page ended, as far as there is room. */
static void fill_page(struct membership *m, struct filling *filling)
{
    bool has_room = true;
    for (uint32_t i = 0; has_room && i < m->peers_count; i++) {
        has_room = fill_state(m, filling, i);
    }
    for (uint32_t i = 0; has_room && i <= m->peers_count; i++) {
        m->page_at = m->page_at < m->peers_count ? m->page_at + 1 : 0;
        has_room = fill_advice(m, filling, m->page_at);
    }
}

void membership_send(struct membership *m, const struct membership_peer *peer,
                     struct membership_head head, bool by_link)
{
    struct membership_output *output = m->output;
    if (output->datagrams_count == MEMBERSHIP_OUTBOX_MAX) {
        return; /* as if the network had lost it */
    }
    struct membership_datagram *datagram = &output->datagrams[output->datagrams_count++];
    struct filling filling = { .datagram = datagram };
    head.state = m->is_leaving ? MEMBERSHIP_LEFT : MEMBERSHIP_ALIVE;
    head.cluster = m->options.cluster;
    head.from = m->options.number;
    head.from_identity = m->options.identity;
    head.from_boot = m->options.boot;
    head.to = peer->number;
    head.to_identity = peer->identity;
    head.counter = ++m->counter;
    head.incarnation = m->incarnation;
    datagram->to = peer->number;
    datagram->by_link = by_link;
    datagram->size = MEMBERSHIP_HEAD_BYTES;
    membership_head_write(&head, datagram->bytes);
    m->stats.packets_out++;
    if (peer->state != MEMBERSHIP_ALIVE) { /* it should know, so that it can refute */
        (void)fill_state(m, &filling, (uint32_t)(peer - m->peers));
    }
    fill_news(m, &filling);
    if ((head.flags & MEMBERSHIP_FLAG_SYNC) != 0) {
        fill_page(m, &filling);
    }
}
