/*
 * roster.h — what becomes of the members: decided by the meta group's leader, through its log.
 *
 * Pure, but for roster_step.  The leader of the meta group looks at the list a few times a second
 * and proposes at most one change:
 *
 *   fix       the replication factor of a list that is older than the setting
 *   follow    a member is to be reached elsewhere, or has another weight, than the list says
 *   DOWN      an ACTIVE member has been dead for down-replace-after, and enough others live to
 *             take over what it held: so it is never said of so many that partitions get fewer
 *             replicas by it
 *   ACTIVE    a DOWN member has been alive again for a while
 *   LEFT      no group names a DRAINING member any more
 *   removed   a member has LEFT for some time
 *
 * Times count from when this node began to lead the meta group: what a leader before it saw, it
 * does not know.  Nothing here is needed for safety: data moves by the groups' own logs.
 *
 * Read next: members.h, coordinator.h.
 */
#pragma once

#include "members.h"

struct node;

enum {
    ROSTER_BACK_MS = 5000,  /* a DOWN member has to be alive for so long: no flapping */
    ROSTER_LEFT_MS = 30000, /* one that LEFT is shown for so long */
};

/* What is known of a member right now. */
struct roster_fact {
    bool is_alive, is_dead; /* neither: nobody knows */
    bool is_free;           /* it drains, holds nothing, and no group names it or will */
    bool has_said;          /* `now` is what it says of itself */
    struct member now;
};

/* Since when a member has been what it is, as this leader has seen it. */
struct roster_sight {
    uint64_t number;
    uint8_t state; /* enum member_state */
    bool is_alive, is_dead;
    uint64_t since_ms;
};

struct roster {
    uint64_t term; /* of the meta group, in which this node leads it; 0: it does not */
    uint32_t count;
    struct roster_sight sights[MEMBERS_MAX]; /* by place in the list */
};

/* A change to be proposed. */
struct roster_change {
    enum member_change change;
    struct member member;    /* with the state it should have */
    uint32_t settings_count; /* MEMBER_SETTING: at least one, each once */
    struct setting_value settings[SETTINGS_COUNT];
};

/* Others of the list that must be ACTIVE and alive before one becomes DOWN. */
uint32_t roster_fewest(const struct members *members);
/* facts: by place in the list.  term: in which this node leads the meta group. */
void roster_look(struct roster *roster, const struct members *members,
                 const struct roster_fact *facts, uint64_t term, uint64_t now_ms);
/* After roster_look with the same list and facts.  own_factor: this node's option.  False: nothing
 * is to be done. */
MUST_USE bool roster_next(const struct roster *roster, const struct members *members,
                          const struct roster_fact *facts, uint32_t own_factor, uint64_t now_ms,
                          struct roster_change *out_change);

/* roster_step.c.  Looks, and proposes what follows, when this node leads the meta group. */
void roster_step(struct node *node);
/* Proposes a change; false: not now. */
MUST_USE bool roster_propose(struct node *node, const struct roster_change *change);
