/*
 * membership_internal.h — the state of a membership, and its parts as they see each other.
 *
 *   membership.c        life, the step, what arrives, looking
 *   membership_view.c   what is known of members: merging, suspicion, health
 *   membership_probe.c  pings, and pings for others
 *   membership_send.c   packets: what is said to whom
 *
 * Times.  In a cluster of n each node pings one other every PROBE_MS, so each is pinged by all
 * others within (n - 1) * PROBE_MS and by somebody much sooner.  A process that was killed is
 * suspected PROBE_MS after such a ping and dead SUSPECT_MIN_MS after the first suspicion, when
 * enough others agree: with two to seven nodes within two seconds (docs/decisions/0008-gossip.md
 * has the measurements).  A process that gets no processor for less than that is not called dead.
 */
#pragma once

#include "base/prng.h"
#include "cluster/membership.h"

enum {
    PROBE_MS = 200,          /* from ping to ping; the protocol period */
    PROBE_TIMEOUT_MS = 100,  /* without an answer: others and the link are asked */
    SUSPECT_MIN_MS = 900,    /* with enough accusers */
    SUSPECT_ALONE_MS = 1500, /* when there is nobody else to ask */
    SUSPECT_MAX_MS = 3000,   /* with one accuser */
};

struct membership_peer {
    uint64_t number, identity;
    uint64_t boot;   /* by its own packets; 0: none so far */
    uint64_t newest; /* counter of that boot, and which of the 64 up to it were seen */
    uint64_t seen;

    enum membership_state state, told; /* told: in the last output */
    uint64_t incarnation;
    uint64_t since_ms;   /* in this state, and of this boot */
    bool is_urgent;      /* others suspect it: our own probe is next */
    uint64_t suspect_ms; /* since */
    uint64_t remind_ms;  /* when a suspect is pinged again, so that it can refute */
    uint64_t accusers[MEMBERSHIP_ACCUSERS_MAX];
    uint32_t accusers_count;
    bool is_condemned;    /* somebody else calls it dead: no further accuser is needed */
    uint64_t answered_ms; /* our own ping, last; 0: never */
    uint32_t state_sends, advice_sends; /* still to be made */
    struct membership_advice advice;
};

struct membership_probe {
    uint64_t number; /* 0: none */
    uint64_t token;
    uint64_t incarnation; /* of its target when it began */
    uint64_t timeout_ms, end_ms;
    uint32_t helpers, nacks;
    uint64_t link_ms; /* when its link was asked */
    bool has_asked, is_answered;
};

/* A ping for somebody else. */
struct membership_relay {
    uint64_t origin, origin_token; /* 0: free */
    uint64_t about, token;
    uint64_t end_ms;
};

struct membership {
    struct membership_options options;
    struct prng prng;
    struct membership_output *output; /* of this step */
    uint64_t now_ms, deadline_ms;
    uint64_t incarnation;
    uint64_t counter, token;
    bool is_leaving, has_refuted;
    bool has_found; /* in this step, by itself, that a member is not there: all shall know */
    struct membership_advice advice; /* ours */
    uint32_t advice_sends;
    struct membership_peer peers[MEMBERSHIP_MEMBERS_MAX];
    uint32_t peers_count;
    uint32_t order[MEMBERSHIP_MEMBERS_MAX]; /* of the round */
    uint32_t order_at;
    struct membership_probe probe;
    uint64_t next_probe_ms, next_sync_ms;
    uint32_t page_at;
    struct membership_relay relays[MEMBERSHIP_RELAYS_MAX];
    struct membership_stats stats;
};

/* membership.c.  NULL: no such member. */
struct membership_peer *membership_peer_find(struct membership *m, uint64_t number);
/* Whether it is expected to answer. */
bool membership_is_there(const struct membership_peer *peer);

/* membership_view.c.  What was heard of a member; what it says of itself; who suspects it. */
void membership_merge(struct membership *m, struct membership_peer *peer,
                      const struct membership_item *item);
void membership_merge_own(struct membership *m, struct membership_peer *peer,
                          enum membership_state state, uint64_t incarnation);
void membership_accuse(struct membership *m, struct membership_peer *peer, uint64_t accuser);
/* Somebody calls us worse than alive. */
void membership_refute(struct membership *m, uint64_t incarnation);
void membership_suspicions_step(struct membership *m);
uint64_t membership_suspicion_end_ms(const struct membership *m,
                                     const struct membership_peer *peer);
void membership_health_change(struct membership *m, int32_t by);

/* membership_probe.c */
void membership_probe_step(struct membership *m);
void membership_probe_ask(struct membership *m);
void membership_probe_answered(struct membership *m, struct membership_peer *peer);
void membership_relay_begin(struct membership *m, const struct membership_head *head, bool by_link);
void membership_relays_step(struct membership *m);
void membership_relays_answered(struct membership *m, const struct membership_head *head);

/* membership_send.c.  Adds a packet to the output: `head` says kind, flags, to_boot, about, token.
 */
void membership_send(struct membership *m, const struct membership_peer *peer,
                     struct membership_head head, bool by_link);
void membership_tell_all(struct membership *m);
void membership_farewell(struct membership *m);
/* How often news has to be sent so that everybody hears of it: by the size of the cluster. */
uint32_t membership_sends(const struct membership *m);
