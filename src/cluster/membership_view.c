/*
 * membership_view.c — what is known of the members: the larger of what was known and what is heard.
 *
 * Read next: membership_probe.c.
 */
#include "cluster/membership_internal.h"

#include "base/assert.h"

enum {
    REMIND_MS = 100, /* a suspect is told so often */
    CONFIRMERS_MAX = MEMBERSHIP_ACCUSERS_MAX - 1,
    HEALTH_MAX = 8, /* probes take at most nine times as long */
};

/* ── views ──────────────────────────────────────────────────────────────────────────────────── */

static void state_set(struct membership *m, struct membership_peer *peer,
                      enum membership_state state)
{
    if (state == MEMBERSHIP_SUSPECT) {
        peer->suspect_ms = m->now_ms;
        peer->remind_ms = m->now_ms;
    }
    peer->since_ms = peer->state == state ? peer->since_ms : m->now_ms;
    peer->state = state;
    peer->accusers_count = 0;
    peer->is_condemned = false;
    peer->is_urgent = false;
    peer->state_sends = membership_sends(m);
}

/* What a member says of itself. */
void membership_merge_own(struct membership *m, struct membership_peer *peer,
                          enum membership_state state, uint64_t incarnation)
{
    bool is_more = incarnation > peer->incarnation ||
                   (incarnation == peer->incarnation && state > peer->state);
    if (is_more) {
        bool is_another =
            incarnation >> MEMBERSHIP_BOOT_SHIFT != peer->incarnation >> MEMBERSHIP_BOOT_SHIFT;
        peer->since_ms = is_another ? m->now_ms : peer->since_ms;
        peer->incarnation = incarnation;
        state_set(m, peer, state);
    }
}

/* Another's suspicion, or its word that the member is dead. */
static void merge_accusation(struct membership *m, struct membership_peer *peer,
                             const struct membership_item *item)
{
    bool is_new = item->incarnation > peer->incarnation || peer->state == MEMBERSHIP_ALIVE;
    if (is_new) {
        peer->incarnation = item->incarnation;
        state_set(m, peer, MEMBERSHIP_SUSPECT);
        peer->is_urgent = true;
    }
    if (peer->state != MEMBERSHIP_SUSPECT) {
        return;
    }
    peer->is_condemned = peer->is_condemned || item->state == MEMBERSHIP_DEAD;
    for (uint32_t i = 0; i < item->accusers_count; i++) {
        membership_accuse(m, peer, item->accusers[i]);
    }
}

void membership_merge(struct membership *m, struct membership_peer *peer,
                      const struct membership_item *item)
{
    if (item->incarnation < peer->incarnation) {
        return;
    }
    if (item->state == MEMBERSHIP_ALIVE || item->state == MEMBERSHIP_LEFT) {
        membership_merge_own(m, peer, item->state, item->incarnation);
    } else {
        merge_accusation(m, peer, item);
    }
}

/* ── suspicion ──────────────────────────────────────────────────────────────────────────────── */

void membership_accuse(struct membership *m, struct membership_peer *peer, uint64_t accuser)
{
    if (peer->state == MEMBERSHIP_ALIVE) {
        state_set(m, peer, MEMBERSHIP_SUSPECT);
    }
    bool counts = peer->state == MEMBERSHIP_SUSPECT && accuser != peer->number &&
                  peer->accusers_count < MEMBERSHIP_ACCUSERS_MAX;
    for (uint32_t i = 0; i < peer->accusers_count; i++) {
        counts = counts && peer->accusers[i] != accuser;
    }
    if (counts) {
        peer->accusers[peer->accusers_count++] = accuser;
        peer->state_sends = membership_sends(m);
    }
}

void membership_refute(struct membership *m, uint64_t incarnation)
{
    m->incarnation = incarnation + 1;
    m->has_refuted = true;
    m->stats.refutations++;
    membership_health_change(m, 1);
}

/* Others who could come to the same suspicion. */
static uint32_t confirmers_of(const struct membership *m, const struct membership_peer *suspect)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < m->peers_count; i++) {
        const struct membership_peer *peer = &m->peers[i];
        count += peer != suspect && membership_is_there(peer) && count < CONFIRMERS_MAX;
    }
    return count;
}

/* Lifeguard: from the longest to the shortest time, by log(confirmed + 1) / log(confirmers + 1). */
static uint64_t suspicion_ms(uint32_t confirmed, uint32_t confirmers)
{
    static const uint32_t share_permille[CONFIRMERS_MAX + 1][CONFIRMERS_MAX + 1] = {
        { 0, 0, 0, 0 },
        { 0, 1000, 1000, 1000 },
        { 0, 631, 1000, 1000 },
        { 0, 500, 792, 1000 },
    };
    if (confirmers == 0) {
        return SUSPECT_ALONE_MS;
    }
    uint32_t most = confirmed < CONFIRMERS_MAX ? confirmed : CONFIRMERS_MAX;
    uint64_t less = (SUSPECT_MAX_MS - SUSPECT_MIN_MS) * share_permille[confirmers][most] / 1000;
    return SUSPECT_MAX_MS - less;
}

uint64_t membership_suspicion_end_ms(const struct membership *m, const struct membership_peer *peer)
{
    uint32_t confirmed = peer->accusers_count > 0 ? peer->accusers_count - 1 : 0;
    uint64_t end_ms = peer->suspect_ms;
    uint64_t least_ms = peer->answered_ms != 0 ? peer->answered_ms + SUSPECT_MIN_MS : 0;
    if (!peer->is_condemned) {
        end_ms += suspicion_ms(confirmed, confirmers_of(m, peer));
    }
    return end_ms > least_ms ? end_ms : least_ms;
}

/* Besides the probes, which may be slow (health) or lost: whoever is alive shall hear of it. */
static void remind(struct membership *m, struct membership_peer *peer)
{
    peer->remind_ms = m->now_ms + REMIND_MS;
    membership_send(m, peer,
                    (struct membership_head){
                        .kind = MEMBERSHIP_PING, .to_boot = peer->boot, .token = ++m->token },
                    /* by_link= */ false);
}

void membership_suspicions_step(struct membership *m)
{
    for (uint32_t i = 0; i < m->peers_count; i++) {
        struct membership_peer *peer = &m->peers[i];
        if (peer->state != MEMBERSHIP_SUSPECT) {
            continue;
        }
        if (m->now_ms >= membership_suspicion_end_ms(m, peer)) {
            m->has_found = m->has_found || !peer->is_condemned;
            state_set(m, peer, MEMBERSHIP_DEAD);
        } else if (m->now_ms >= peer->remind_ms) {
            remind(m, peer);
        }
    }
}

void membership_health_change(struct membership *m, int32_t by)
{
    int32_t health = (int32_t)m->stats.health + by;
    m->stats.health = health < 0 ? 0 : health > HEALTH_MAX ? HEALTH_MAX : (uint32_t)health;
}
