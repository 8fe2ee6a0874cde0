/*
 * roster.c — see roster.h.
 */
#include "roster.h"

#include "base/assert.h"

enum { MS_PER_S = 1000 };

static bool is_as_seen(const struct roster_sight *sight, const struct member *member,
                       const struct roster_fact *fact)
{
    return sight->number == member->number && sight->state == member->state &&
           sight->is_alive == fact->is_alive && sight->is_dead == fact->is_dead;
}

/* The list moves up when somebody goes: a sight is found by its number. */
static const struct roster_sight *sight_find(const struct roster *roster, uint64_t number)
{
    for (uint32_t i = 0; i < roster->count; i++) {
        if (roster->sights[i].number == number) {
            return &roster->sights[i];
        }
    }
    return NULL;
}

void roster_look(struct roster *roster, const struct members *members,
                 const struct roster_fact *facts, uint64_t term, uint64_t now_ms)
{
    struct roster next = { .term = term, .count = members->count };
    bool is_new = roster->term != term;
    for (uint32_t i = 0; i < members->count; i++) {
        const struct member *member = &members->items[i];
        const struct roster_sight *seen = sight_find(roster, member->number);
        bool is_same = !is_new && seen != NULL && is_as_seen(seen, member, &facts[i]);
        next.sights[i] = (struct roster_sight){
            .number = member->number,
            .state = member->state,
            .is_alive = facts[i].is_alive,
            .is_dead = facts[i].is_dead,
            .since_ms = is_same ? seen->since_ms : now_ms,
        };
    }
    *roster = next;
}

uint32_t roster_fewest(const struct members *members)
{
    uint64_t factor = members->settings.values[SETTING_REPLICATION_FACTOR];
    return factor == 1 ? 1 : factor > MEMBERS_SAFE ? (uint32_t)factor : MEMBERS_SAFE;
}

static bool is_elsewhere(const struct member *a, const struct member *b)
{
    return a->port != b->port || a->cluster_port != b->cluster_port ||
           a->slot_port != b->slot_port || a->weight != b->weight ||
           strcmp(a->host, b->host) != 0 || strcmp(a->zone, b->zone) != 0;
}

/* Others that can take over what this one holds. */
static uint32_t others_fit(const struct members *members, const struct roster_fact *facts,
                           uint32_t but)
{
    uint32_t fit = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        fit += i != but && members->items[i].state == MEMBER_ACTIVE && facts[i].is_alive;
    }
    return fit;
}

/* The state that a member should have now. */
static enum member_state state_due(const struct members *members, const struct roster_fact *facts,
                                   const struct roster_sight *sight, uint32_t at, uint64_t now_ms)
{
    uint64_t after_s = members->settings.values[SETTING_DOWN_REPLACE_AFTER];
    uint64_t for_ms = now_ms - sight->since_ms;
    enum member_state state = members->items[at].state;
    bool is_lost = after_s != 0 && sight->is_dead && for_ms >= after_s * MS_PER_S;
    if (state == MEMBER_ACTIVE && is_lost &&
        others_fit(members, facts, at) >= roster_fewest(members)) {
        return MEMBER_DOWN;
    }
    if (state == MEMBER_DOWN && sight->is_alive && for_ms >= ROSTER_BACK_MS) {
        return MEMBER_ACTIVE;
    }
    return state == MEMBER_DRAINING && facts[at].is_free ? MEMBER_LEFT : state;
}

static bool change_of(const struct roster *roster, const struct members *members,
                      const struct roster_fact *facts, uint32_t at, uint64_t now_ms,
                      struct roster_change *out)
{
    const struct member *member = &members->items[at];
    const struct roster_sight *sight = &roster->sights[at];
    enum member_state due = state_due(members, facts, sight, at, now_ms);
    *out = (struct roster_change){ .change = MEMBER_STATE, .member = *member };
    if (due != member->state) {
        out->member.state = (uint8_t)due;
        return true;
    }
    if (member->state == MEMBER_LEFT && now_ms - sight->since_ms >= ROSTER_LEFT_MS) {
        out->change = MEMBER_REMOVE;
        return true;
    }
    if (facts[at].has_said && is_elsewhere(member, &facts[at].now)) {
        out->change = MEMBER_UPDATE;
        out->member = facts[at].now;
        return true;
    }
    return false;
}

bool roster_next(const struct roster *roster, const struct members *members,
                 const struct roster_fact *facts, uint32_t own_factor, uint64_t now_ms,
                 struct roster_change *out_change)
{
    ASSERT(roster->count == members->count);
    ASSERT(roster->term != 0);
    if (members->settings.values[SETTING_REPLICATION_FACTOR] == 0) {
        *out_change = (struct roster_change){
            .change = MEMBER_SETTING,
            .settings_count = 1,
            .settings = { { SETTING_REPLICATION_FACTOR, own_factor } },
        };
        return true;
    }
    for (uint32_t i = 0; i < members->count; i++) {
        ASSERT(roster->sights[i].number == members->items[i].number);
        if (change_of(roster, members, facts, i, now_ms, out_change)) {
            return true; /* one at a time: the list shows it before the next */
        }
    }
    return false;
}
