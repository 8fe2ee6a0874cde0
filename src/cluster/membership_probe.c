/*
 * membership_probe.c — pings: one at a time, each other member once in a round; and pings for
 * others.
 *
 *   ping ── timeout ──> others are asked, the link is pinged ── end ──> an answer, or a suspicion
 *
 * Health stretches both times.  An answer that comes before the end counts, whichever way it came.
 *
 * Read next: membership_send.c.
 */
#include "cluster/membership_internal.h"

#include "base/assert.h"

enum {
    HELPERS_MAX = 3, /* SWIM's k */
    RELAY_MS = 70,   /* a helper's ping: its NACK must be back before the probe ends */
    SYNC_MS = 2000,  /* from page to page */
};

/* ── probes ─────────────────────────────────────────────────────────────────────────────────── */

static void order_shuffle(struct membership *m)
{
    for (uint32_t i = m->peers_count; i > 1; i--) {
        uint32_t at = (uint32_t)prng_below(&m->prng, i);
        uint32_t held = m->order[i - 1];
        m->order[i - 1] = m->order[at];
        m->order[at] = held;
    }
    m->order_at = 0;
}

/* Whom others suspect, else the next of the round. */
static struct membership_peer *probe_target(struct membership *m)
{
    for (uint32_t i = 0; i < m->peers_count; i++) {
        if (m->peers[i].is_urgent) {
            m->peers[i].is_urgent = false;
            return &m->peers[i];
        }
    }
    if (m->order_at >= m->peers_count) {
        order_shuffle(m);
    }
    return &m->peers[m->order[m->order_at++]];
}

static void probe_begin(struct membership *m)
{
    struct membership_peer *peer = probe_target(m);
    uint64_t stretch = 1 + m->stats.health;
    bool is_sync = m->now_ms >= m->next_sync_ms;
    m->probe = (struct membership_probe){
        .number = peer->number,
        .token = ++m->token,
        .incarnation = peer->incarnation,
        .timeout_ms = m->now_ms + PROBE_TIMEOUT_MS * stretch,
        .end_ms = m->now_ms + PROBE_MS * stretch,
    };
    if (is_sync) {
        m->next_sync_ms = m->now_ms + SYNC_MS;
    }
    m->stats.probes++;
    membership_send(m, peer,
                    (struct membership_head){ .kind = MEMBERSHIP_PING,
                                              .flags = is_sync ? MEMBERSHIP_FLAG_SYNC : 0,
                                              .to_boot = peer->boot,
                                              .token = m->probe.token },
                    /* by_link= */ false);
}

/* Nothing heard so far: others may get through, or TCP does. */
void membership_probe_ask(struct membership *m)
{
    struct membership_probe *probe = &m->probe;
    struct membership_peer *target = membership_peer_find(m, probe->number);
    ASSERT(target != NULL); /* on_members sees to it */
    bool is_expected = membership_is_there(target);
    uint32_t candidates[MEMBERSHIP_MEMBERS_MAX];
    uint32_t count = 0;
    probe->has_asked = true;
    probe->link_ms = m->now_ms;
    m->stats.probes_indirect += is_expected;
    for (uint32_t i = 0; is_expected && i < m->peers_count; i++) {
        if (&m->peers[i] != target && m->peers[i].state == MEMBERSHIP_ALIVE) {
            candidates[count++] = i;
        }
    }
    while (count > 0 && probe->helpers < HELPERS_MAX) {
        uint32_t at = (uint32_t)prng_below(&m->prng, count);
        const struct membership_peer *helper = &m->peers[candidates[at]];
        candidates[at] = candidates[--count];
        probe->helpers++;
        membership_send(m, helper,
                        (struct membership_head){ .kind = MEMBERSHIP_ASK,
                                                  .to_boot = helper->boot,
                                                  .about = probe->number,
                                                  .token = probe->token },
                        /* by_link= */ false);
    }
    membership_send(m, target,
                    (struct membership_head){
                        .kind = MEMBERSHIP_PING, .to_boot = target->boot, .token = probe->token },
                    /* by_link= */ true);
}

void membership_probe_answered(struct membership *m, struct membership_peer *peer)
{
    if (!m->probe.is_answered) {
        m->probe.is_answered = true;
        peer->answered_ms = m->now_ms;
        membership_health_change(m, -1);
    }
}

static void probe_end(struct membership *m)
{
    struct membership_probe *probe = &m->probe;
    struct membership_peer *target = membership_peer_find(m, probe->number);
    ASSERT(target != NULL);
    probe->number = 0;
    bool has_spoken = target->incarnation != probe->incarnation; /* it started, or refuted */
    if (probe->is_answered || has_spoken || !membership_is_there(target)) {
        return;
    }
    m->stats.probes_failed++;
    membership_health_change(m, probe->helpers > 0 ? (int32_t)(probe->helpers - probe->nacks) : 1);
    membership_accuse(m, target, m->options.number);
    m->has_found = true;
}

void membership_probe_step(struct membership *m)
{
    struct membership_probe *probe = &m->probe;
    if (probe->number != 0 && !probe->is_answered && !probe->has_asked &&
        m->now_ms >= probe->timeout_ms) {
        membership_probe_ask(m);
    }
    if (probe->number != 0 && m->now_ms >= probe->end_ms) {
        m->next_probe_ms = m->now_ms;
        probe_end(m);
    }
    if (probe->number == 0 && m->now_ms >= m->next_probe_ms) {
        probe_begin(m);
    }
}

/* ── relays ─────────────────────────────────────────────────────────────────────────────────── */

void membership_relay_begin(struct membership *m, const struct membership_head *head, bool by_link)
{
    struct membership_peer *target = membership_peer_find(m, head->about);
    struct membership_relay *relay = NULL;
    for (uint32_t i = 0; i < MEMBERSHIP_RELAYS_MAX && relay == NULL; i++) {
        relay = m->relays[i].origin == 0 ? &m->relays[i] : NULL;
    }
    if (target == NULL || relay == NULL || head->about == head->from) {
        return;
    }
    *relay = (struct membership_relay){
        .origin = head->from,
        .origin_token = head->token,
        .about = head->about,
        .token = ++m->token,
        .end_ms = m->now_ms + RELAY_MS,
    };
    membership_send(m, target,
                    (struct membership_head){
                        .kind = MEMBERSHIP_PING, .to_boot = target->boot, .token = relay->token },
                    by_link);
}

static void relay_end(struct membership *m, struct membership_relay *relay,
                      enum membership_kind kind)
{
    const struct membership_peer *origin = membership_peer_find(m, relay->origin);
    if (origin != NULL) {
        membership_send(m, origin,
                        (struct membership_head){ .kind = (uint8_t)kind,
                                                  .to_boot = origin->boot,
                                                  .about = relay->about,
                                                  .token = relay->origin_token },
                        /* by_link= */ false);
    }
    relay->origin = 0;
}

void membership_relays_step(struct membership *m)
{
    for (uint32_t i = 0; i < MEMBERSHIP_RELAYS_MAX; i++) {
        if (m->relays[i].origin != 0 && m->now_ms >= m->relays[i].end_ms) {
            relay_end(m, &m->relays[i], MEMBERSHIP_NACK);
        }
    }
}

void membership_relays_answered(struct membership *m, const struct membership_head *head)
{
    for (uint32_t i = 0; i < MEMBERSHIP_RELAYS_MAX; i++) {
        struct membership_relay *relay = &m->relays[i];
        if (relay->origin != 0 && relay->token == head->token && relay->about == head->from) {
            relay_end(m, relay, MEMBERSHIP_ACK);
        }
    }
}
