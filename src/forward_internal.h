/*
 * forward_internal.h — what forwarding is made of.  Internal to forward.c and forward_leader.c.
 *
 * Read next: forward.c (our requests, and answers to them), forward_leader.c (what others ask us).
 */
#pragma once

#include "command/command.h"
#include "forward.h"
#include "forward_wire.h"

#include <stddef.h>

enum {
    FORWARD_FRAME_BYTES = 256 << 10, /* a frame is closed when it has so much */
};

/* A circular list; the head is a node, too. */
struct list {
    struct list *previous, *next;
};

#define OWNER_OF(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

/* A request that is not settled. */
struct kept {
    struct list in_group, in_age, in_writes; /* in_writes: when we numbered it */
    struct kept_group *group;
    uint64_t order; /* of arrival */
    uint64_t arrived_ms;
    uint64_t writes_before; /* of its group */
    uint64_t first_id, id;  /* of the first and the latest sending; 0: none */
    uint32_t slot;
    uint32_t doubts; /* sendings that were not refused */
    bool is_write, follows_writes, is_numbered, is_any;
    struct request_origin origin;
    struct asker asker;
    const struct command *command;
    struct buffer partial; /* of an answer that comes in parts */
    size_t call_size;
    char call[]; /* forward_wire_call_write */
};

struct kept_group {
    uint32_t number;
    bool is_refused; /* waits until retry_ms */
    bool is_renewed; /* the next request is to be marked as such */
    struct list requests;
    struct list *cursor; /* the first to be sent; &requests: none */
    struct route *route; /* NULL: no leader is known */
    uint64_t term;
    uint64_t writes; /* kept so far */
    uint32_t anys;   /* is_any */
    uint32_t reads;  /* among the requests */
    uint64_t retry_ms;
    struct list in_list;
    struct list *list; /* where it is; NULL: nowhere */
};

/* The way to a node. */
struct route {
    uint64_t number;
    uint64_t link;     /* 0: down, or our own node's */
    struct list ready; /* groups with something to send */
};

/* Answers that leave together. */
struct answers_frame {
    struct answers_frame *next;
    struct buffer bytes;
};

/* A link over which another node asks us; 0: ourselves. */
struct asking_link {
    uint64_t link;
    struct answers_frame *first, *last; /* owned */
    uint64_t bytes;
    uint64_t *refused; /* owned bit set of groups: refuse all until one is marked as renewed */
};

struct forward {
    struct peers *peers; /* borrowed, as all up to log */
    struct consensus *consensus;
    struct answers *answers;
    struct pipeline *pipeline; /* NULL until it is known */
    struct log *log;
    uint64_t node, boot;
    uint64_t timeout_ms, now_ms;

    struct kept_group *groups; /* owned: partitions, then the meta group */
    uint32_t groups_count;
    struct list ages, writes; /* requests by arrival; our numbered writes by number */
    struct list refused;      /* groups, by retry_ms */
    uint64_t arrivals, sendings, seq;
    uint64_t wire_bytes; /* all requests' together, as they would be sent */
    struct forward_stats stats;

    struct kept **slots;  /* owned */
    uint32_t *free_slots; /* owned stack */
    uint32_t slots_count, free_count, slots_capacity;

    struct route **routes; /* owned, and each of them; the first is our own node's */
    uint32_t routes_count;
    struct asking_link **links; /* owned, and each of them; the first is our own */
    uint32_t links_count;

    struct command_args args;          /* scratch of decoding */
    uint64_t running_link, running_id; /* what the pipeline is doing */
    bool running_is_refused;
    bool has_news; /* forward_flush has something to do right now */
};

/* NULL: there is no such group. */
struct kept_group *forward_group(const struct forward *forward, uint32_t number);

/* ── forward_leader.c ────────────────────────────────────────────────────────────────────────── */

/* The requests in a frame.  False: malformed. */
MUST_USE bool forward_requests_take(struct forward *forward, uint64_t link, struct slice body);
/* Sends the answers that fit. */
void forward_answers_send(struct forward *forward);
struct asking_link *forward_link_add(struct forward *forward, uint64_t link);
/* Frees what it holds. */
void forward_link_clear(struct asking_link *link);
