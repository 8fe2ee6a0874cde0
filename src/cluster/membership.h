/*
 * membership.h — who of the cluster's members is there: SWIM with Lifeguard's refinements.
 *
 * One `struct membership` is one node's view of the others.  It is a function,
 * membership_step(membership, input, output): no I/O, no clock, no heap, no randomness but a seeded
 * generator.  Gossip is advice.  Who the members are comes from the meta group (MEMBERS); what is
 * said of others is ignored.  What follows from a death is decided elsewhere.
 *
 * A view is a maximum.  Of each member a node knows (incarnation, state), ordered by incarnation,
 * then ALIVE < SUSPECT < DEAD < LEFT; what is heard replaces what is less.  So packets may be lost,
 * repeated, late and reordered, and two nodes that hear the same know the same.  Only a member
 * itself raises its incarnation: when it starts (its boot is the upper part, so a restarted node
 * beats its own obituary) and when it hears that it is suspected or worse (it refutes).
 *
 * How a death is found.  Every PROBE_MS one member is pinged, in an order that is shuffled after
 * each round, so in a round each is pinged once.  No answer within a part of that: up to three
 * others are asked to ping it, and it is pinged over its TCP link.  No answer by the end: it is
 * SUSPECT, I am its accuser.  Whoever hears of a suspicion probes the suspect next, and pings it
 * again and again: a ping always tells a suspect of it, so it can refute.  A suspicion lasts the
 * shorter the more others came to it by themselves (ACCUSERS_MAX count), then the member is DEAD.
 *
 * Why the living are not called dead (Lifeguard, and our own):
 *   - health: probes that fail although those asked to help answer, missing NACKs, having to
 * refute, and steps that come late raise it, answers lower it; it stretches the time that probes
 * take.
 *   - time in which this node did not run does not count: all its clocks stand still.
 *   - to a node nobody is DEAD who answered its own pings less than SUSPECT_MIN ago; hearing of a
 *     death then is a suspicion that needs no further accusers.
 *
 * Freshness.  A packet names both boots; what is not addressed to this very boot changes nothing
 * (a PING is answered, so that its sender learns our boot).  Within a boot counters ascend; what
 * was seen, or lies too far behind, is dropped.  So nothing that was recorded can be replayed.
 *
 * Read next: membership_wire.h, membership.c.  SWIM: Das, Gupta, Motivala 2002.  Lifeguard:
 * Dadgar, Phillips, Currey 2018.
 */
#pragma once

#include "base/compiler.h"
#include "cluster/membership_wire.h"

#include <stdbool.h>

struct membership; /* membership_sizeof() bytes, the caller's */

enum { MEMBERSHIP_BOOT_SHIFT = 24 }; /* incarnation = boot << 24, plus one for each refutation */

struct membership_options {
    uint64_t cluster, number, identity;
    uint64_t boot; /* ascending with every start */
    uint64_t seed;
};

struct membership_member {
    uint64_t number;
    uint64_t identity; /* of its data directory: another one is another member */
};

enum membership_input_kind {
    MEMBERSHIP_TICK,        /* not later than the last output's deadline_ms */
    MEMBERSHIP_PACKET,      /* authenticated by the caller */
    MEMBERSHIP_HEARD,       /* a member's TCP link shows life, from this boot of it */
    MEMBERSHIP_SEND_FAILED, /* a datagram to the member could not be sent */
    MEMBERSHIP_MEMBERS,     /* the list of members, with or without ourselves */
    MEMBERSHIP_ADVISE,      /* what to say of ourselves; `serial` is set here */
    MEMBERSHIP_LEAVE,       /* say good-bye */
};

struct membership_input {
    enum membership_input_kind kind;
    uint64_t now_ms;                         /* monotonic */
    uint64_t number;                         /* HEARD, SEND_FAILED */
    uint64_t boot;                           /* HEARD; 0: not known */
    struct slice packet;                     /* PACKET */
    bool by_link;                            /* PACKET: it came over a TCP link */
    const struct membership_member *members; /* MEMBERS */
    uint32_t members_count;                  /* at most MEMBERSHIP_MEMBERS_MAX others count */
    const struct membership_advice *advice;  /* ADVISE */
};

/* Why a packet changed nothing. */
enum membership_drop {
    MEMBERSHIP_KEPT,
    MEMBERSHIP_DROP_MALFORMED,
    MEMBERSHIP_DROP_CLUSTER,  /* of another cluster */
    MEMBERSHIP_DROP_TARGET,   /* to another node */
    MEMBERSHIP_DROP_STRANGER, /* of no member */
    MEMBERSHIP_DROP_IDENTITY, /* from or to another incarnation of the data directory */
    MEMBERSHIP_DROP_STALE,    /* from or to an earlier boot */
    MEMBERSHIP_DROP_REPLAYED, /* seen before, or too old to tell */
    MEMBERSHIP_DROPS,
};

struct membership_datagram {
    uint64_t to;
    bool by_link; /* over the member's TCP link, if there is one */
    uint32_t size;
    char bytes[MEMBERSHIP_PACKET_BYTES_MAX];
};

/* A member's state has changed; of ourselves: we refuted. */
struct membership_event {
    uint64_t number;
    enum membership_state from, to;
    uint64_t incarnation;
};

struct membership_output {
    enum membership_drop drop; /* PACKET */
    uint64_t deadline_ms;      /* send TICK then */
    uint32_t events_count;
    struct membership_event events[MEMBERSHIP_MEMBERS_MAX + 1];
    uint32_t datagrams_count;
    struct membership_datagram datagrams[MEMBERSHIP_OUTBOX_MAX];
};

size_t membership_sizeof(void);
void membership_init(struct membership *membership, const struct membership_options *options);
/* Never fails, never allocates.  `output` is overwritten. */
void membership_step(struct membership *membership, const struct membership_input *input,
                     struct membership_output *output);

/* ── looking, between steps ──────────────────────────────────────────────────────────────────── */

struct membership_view {
    enum membership_state state;
    uint64_t incarnation; /* 0: never heard of */
    uint64_t boot;
    uint64_t since_ms; /* in this state, without a restart */
    uint32_t accusers;
    struct membership_advice advice;
};
/* Of another member; false when there is none of that number. */
bool membership_view(const struct membership *membership, uint64_t number,
                     struct membership_view *out_view);
/* The member whose TCP link was asked for life since then, without an answer so far; 0: none.  When
 * the link has been heard since: HEARD. */
uint64_t membership_asks_link(const struct membership *membership, uint64_t *out_since_ms);

struct membership_stats {
    uint32_t health; /* 0: well ... 8 */
    uint64_t incarnation;
    uint64_t probes, probes_indirect, probes_failed, refutations, late_steps;
    uint64_t packets_in, packets_out;
    uint64_t drops[MEMBERSHIP_DROPS];
};
struct membership_stats membership_stats(const struct membership *membership);
