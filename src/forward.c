/*
 * forward.c — see forward.h.
 *
 * Each group has a queue of its requests in the order in which they came, and a cursor in it:
 *
 *   requests    r1 -- r2 -- r3 -- r4 -- r5        all of them unsettled
 *               under way    ^ to be sent         under way: sent in this term over this link
 *                            cursor
 *
 * Whoever is answered leaves the queue, wherever he stands.  When leader, term or link change, the
 * cursor goes back to the first: all is sent again, in the old order.  That is safe because a write
 * that was taken twice is applied once.  A refusal puts the cursor back to the refused request; as
 * the receiver refuses all behind it as well, until it sees one marked as renewed, order is kept
 * here, too.
 *
 * In the meta group's queue the cursor never goes back over what may have been taken: a change
 * answers that UNKNOWN, and a refusal puts the refused one, alone, to the queue's end.
 *
 * A group that has something to send is in one list: of the route to its leader (our own node is a
 * route, too: there requests run through the pipeline), or of those that were refused and wait for
 * a moment.  So nothing here looks at groups that have nothing to do.
 *
 * Each sending has an id of its own; `doubts` counts those of a request that were not refused.  A
 * write with doubts may have been taken: when time is up its fate is unknown.
 *
 * Order of this file: life, keeping, routes, sending, answers, deadlines.
 * Read next: forward_leader.c (the other end of the link), forward_wire.h.
 */
#include "forward_internal.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "consensus.h"
#include "log.h"
#include "network/reply_check.h"

#include <stdio.h>

enum {
    RETRY_MS = 5,               /* after a refusal, while we know of no other leader */
    SLOT_BITS = 20,             /* of an id; the rest counts sendings */
    SLOTS_MAX = 1 << SLOT_BITS, /* requests kept */
    SLOTS_FULL = SLOTS_MAX / 2, /* enough, whatever they weigh */
    ARGS_KEPT_MAX = 64 << 10,   /* a larger scratch array of arguments is given back */
};

static struct route *route_to(struct forward *forward, uint64_t number);
static void group_route(struct forward *forward, struct kept_group *group);
static void group_place(struct forward *forward, struct kept_group *group);
static bool answers_take(struct forward *forward, struct slice body);
static void kept_expire_due(struct forward *forward);
static void kept_fail(struct forward *forward, struct kept *kept, const char *message);
static void kept_refused(struct forward *forward, uint64_t id);

/* ── lists ───────────────────────────────────────────────────────────────────────────────────── */

static void list_init(struct list *list)
{
    list->previous = list;
    list->next = list;
}

static bool list_is_empty(const struct list *list)
{
    return list->next == list;
}

static void list_push(struct list *list, struct list *node)
{
    node->previous = list->previous;
    node->next = list;
    list->previous->next = node;
    list->previous = node;
}

static void list_remove(struct list *node)
{
    node->previous->next = node->next;
    node->next->previous = node->previous;
    list_init(node);
}

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

struct forward *forward_new(struct peers *peers, struct consensus *consensus,
                            struct answers *answers, struct log *log, uint64_t node, uint64_t boot,
                            uint32_t timeout_ms)
{
    ASSERT(node != 0);
    ASSERT(consensus->count > 0);
    struct forward *forward = mem_zalloc(sizeof(*forward));
    forward->peers = peers;
    forward->consensus = consensus;
    forward->answers = answers;
    forward->log = log;
    forward->node = node;
    forward->boot = boot;
    forward->timeout_ms = timeout_ms;
    list_init(&forward->ages);
    list_init(&forward->writes);
    list_init(&forward->refused);
    forward->groups_count = consensus->count;
    forward->groups = mem_zalloc(forward->groups_count * sizeof(*forward->groups));
    for (uint32_t i = 0; i < forward->groups_count; i++) {
        struct kept_group *group = &forward->groups[i];
        group->number = i + 1 == forward->groups_count ? GROUP_META : i;
        list_init(&group->requests);
        list_init(&group->in_list);
        group->cursor = &group->requests;
    }
    (void)route_to(forward, node);
    (void)forward_link_add(forward, 0);
    return forward;
}

void forward_free(struct forward *forward)
{
    if (forward == NULL) {
        return;
    }
    while (!list_is_empty(&forward->ages)) {
        struct kept *kept = OWNER_OF(forward->ages.next, struct kept, in_age);
        list_remove(&kept->in_age);
        answer_drop(&kept->asker);
        buffer_free(&kept->partial);
        mem_free(kept);
    }
    for (uint32_t i = 0; i < forward->routes_count; i++) {
        mem_free(forward->routes[i]);
    }
    for (uint32_t i = 0; i < forward->links_count; i++) {
        forward_link_clear(forward->links[i]);
        mem_free(forward->links[i]);
    }
    mem_free(forward->routes);
    mem_free(forward->links);
    mem_free(forward->slots);
    mem_free(forward->free_slots);
    mem_free(forward->groups);
    mem_free(forward->args.argv);
    mem_free(forward);
}

void forward_set_pipeline(struct forward *forward, struct pipeline *pipeline)
{
    forward->pipeline = pipeline;
}

void forward_set_timeout(struct forward *forward, uint32_t timeout_ms)
{
    forward->timeout_ms = timeout_ms;
    forward->has_news = true;
}

struct kept_group *forward_group(const struct forward *forward, uint32_t number)
{
    uint32_t at = number == GROUP_META ? forward->groups_count - 1 : number;
    bool exists = number == GROUP_META || number < forward->groups_count - 1;
    return exists ? &forward->groups[at] : NULL;
}

/* ── keeping ─────────────────────────────────────────────────────────────────────────────────── */

static uint64_t kept_bytes(const struct kept *kept)
{
    return sizeof(*kept) + kept->call_size + kept->partial.capacity;
}

static size_t kept_wire_bytes(const struct kept *kept)
{
    return FORWARD_WIRE_HEAD_BYTES_MAX + kept->call_size;
}

static uint32_t slot_take(struct forward *forward, struct kept *kept)
{
    if (forward->free_count == 0 && forward->slots_count == forward->slots_capacity) {
        uint32_t capacity = forward->slots_capacity == 0 ? 256 : forward->slots_capacity * 2;
        ASSERT(capacity <= SLOTS_MAX); /* forward_is_full came long before */
        forward->slots = mem_realloc(forward->slots, capacity * sizeof(struct kept *));
        forward->free_slots = mem_realloc(forward->free_slots, capacity * sizeof(uint32_t));
        forward->slots_capacity = capacity;
    }
    uint32_t slot = forward->free_count > 0 ? forward->free_slots[--forward->free_count]
                                            : forward->slots_count++;
    forward->slots[slot] = kept;
    return slot;
}

static struct kept *kept_new(struct forward *forward, const struct forward_request *request)
{
    size_t size = forward_wire_call_size(request->command, request->argc, request->argv);
    struct kept *kept = mem_alloc(sizeof(*kept) + size);
    *kept = (struct kept){
        .arrived_ms = forward->now_ms,
        .order = ++forward->arrivals,
        .is_write = request->is_write,
        .follows_writes = request->follows_writes,
        .is_any = request->is_any,
        .asker = request->asker,
        .command = request->command,
        .call_size = size,
    };
    forward_wire_call_write(request->command, request->argc, request->argv, kept->call);
    ASSERT(kept_wire_bytes(kept) <= PEER_FRAME_BYTES_MAX); /* a request is bounded, too */
    bool has_session = request->group != GROUP_META;       /* which would know it again */
    ASSERT(has_session || request->is_write);
    if (has_session && request->is_write && request->origin.node != 0) {
        kept->origin = request->origin;
    } else if (has_session && request->is_write) {
        uint64_t self =
            MUTANT(MUT_ORIGIN_BY_NODE) ? forward->node : forward->consensus->options.incarnation;
        kept->origin = (struct request_origin){ self, forward->boot, ++forward->seq, 0 };
        kept->is_numbered = true;
    }
    return kept;
}

void forward_send(struct forward *forward, const struct forward_request *request, uint64_t now_ms)
{
    forward->now_ms = now_ms;
    struct kept_group *group = forward_group(forward, request->group);
    ASSERT(group != NULL);
    struct kept *kept = kept_new(forward, request);
    kept->group = group;
    kept->slot = slot_take(forward, kept);
    kept->writes_before = group->writes;
    group->writes += kept->is_write;
    group->anys += kept->is_any;
    group->reads += !kept->is_write;
    list_push(&group->requests, &kept->in_group);
    list_push(&forward->ages, &kept->in_age);
    list_init(&kept->in_writes);
    if (kept->is_numbered) {
        list_push(&forward->writes, &kept->in_writes);
    }
    if (group->cursor == &group->requests) {
        group->cursor = &kept->in_group;
    }
    forward->stats.bytes += kept_bytes(kept);
    forward->wire_bytes += kept_wire_bytes(kept);
    forward->has_news = true;
    group_route(forward, group);
}

bool forward_is_full(const struct forward *forward)
{
    return forward->stats.bytes >= FORWARD_BYTES_MAX ||
           forward->slots_count - forward->free_count >= SLOTS_FULL;
}

/* Takes it out of everything and frees it. */
static void kept_settle(struct forward *forward, struct kept *kept)
{
    struct kept_group *group = kept->group;
    ASSERT(forward->slots[kept->slot] == kept);
    if (group->cursor == &kept->in_group) {
        group->cursor = kept->in_group.next;
    }
    group->anys -= kept->is_any;
    group->reads -= !kept->is_write;
    list_remove(&kept->in_group);
    list_remove(&kept->in_age);
    list_remove(&kept->in_writes);
    forward->slots[kept->slot] = NULL;
    forward->free_slots[forward->free_count++] = kept->slot;
    forward->stats.bytes -= kept_bytes(kept);
    forward->wire_bytes -= kept_wire_bytes(kept);
    buffer_free(&kept->partial);
    mem_free(kept);
    group_place(forward, group);
}

static void partial_free(struct forward *forward, struct kept *kept)
{
    forward->stats.bytes -= kept->partial.capacity;
    buffer_free(&kept->partial);
}

/* The request one of whose sendings had this id; NULL: it is settled, or never was. */
static struct kept *kept_find(const struct forward *forward, uint64_t id)
{
    uint64_t slot = id & (SLOTS_MAX - 1);
    struct kept *kept = slot < forward->slots_count ? forward->slots[slot] : NULL;
    bool is_one = kept != NULL && kept->id != 0 && id >= kept->first_id && id <= kept->id;
    struct kept *other = MUTANT(MUT_REPLY_CROSSED) && slot > 0 ? forward->slots[slot - 1] : NULL;
    if (is_one && other != NULL && other->id != 0) {
        return other;
    }
    return is_one ? kept : NULL;
}

/* ── routes ──────────────────────────────────────────────────────────────────────────────────── */

static struct route *route_to(struct forward *forward, uint64_t number)
{
    for (uint32_t i = 0; i < forward->routes_count; i++) {
        if (forward->routes[i]->number == number) {
            return forward->routes[i];
        }
    }
    struct route *route = mem_zalloc(sizeof(*route));
    route->number = number;
    list_init(&route->ready);
    size_t size = (forward->routes_count + 1) * sizeof(struct route *);
    forward->routes = mem_realloc(forward->routes, size);
    forward->routes[forward->routes_count++] = route;
    return route;
}

static struct route *own_route(const struct forward *forward)
{
    return forward->routes[0];
}

/* A partition keeps the results of so many writes: one that is sent again is surely recognised only
 * while no more than that were sent behind it. */
static bool group_window_is_open(const struct kept_group *group)
{
    const struct kept *oldest = OWNER_OF(group->requests.next, struct kept, in_group);
    const struct kept *next = OWNER_OF(group->cursor, struct kept, in_group);
    return next->writes_before - oldest->writes_before < SESSION_RESULTS_MAX;
}

/* Puts the group into the list where it belongs now. */
static void group_place(struct forward *forward, struct kept_group *group)
{
    struct list *list = NULL;
    if (group->cursor != &group->requests && group_window_is_open(group)) {
        list = group->is_refused      ? &forward->refused
               : group->route != NULL ? &group->route->ready
                                      : NULL;
    }
    if (list == group->list) {
        return;
    }
    list_remove(&group->in_list);
    if (list != NULL) {
        list_push(list, &group->in_list);
        forward->has_news = true;
    }
    group->list = list;
}

/* Answers what may have been taken, and must not be taken twice. */
static void doubts_settle(struct forward *forward, struct kept_group *group)
{
    for (struct list *at = group->requests.next; at != &group->requests;) {
        struct kept *kept = OWNER_OF(at, struct kept, in_group);
        at = at->next;
        if (kept->doubts > 0) {
            kept_fail(forward, kept,
                      "UNKNOWN the way to the cluster's leader was lost, or another node leads it "
                      "now: see whether it has happened");
        }
    }
}

/* All is to be sent again. */
static void group_restart(struct forward *forward, struct kept_group *group)
{
    if (group->number == GROUP_META) {
        doubts_settle(forward, group);
    }
    group->cursor = group->requests.next;
    group->is_refused = false;
    group->is_renewed = true;
    group_place(forward, group);
}

/* Looks where the group's leader is. */
static void group_route(struct forward *forward, struct kept_group *group)
{
    const struct replica *replica = consensus_replica(forward->consensus, group->number);
    bool is_ours = replica != NULL && replica_is_leader(replica);
    uint64_t other = replica == NULL || replica->leader == forward->node ? 0 : replica->leader;
    uint64_t leader = is_ours ? forward->node : other;
    uint64_t term = replica == NULL ? 0 : replica->term;
    uint64_t known = group->route == NULL ? 0 : group->route->number;
    if (leader != known || term != group->term) {
        group->route = leader == 0 ? NULL : route_to(forward, leader);
        group->term = term;
        group_restart(forward, group);
    }
    group_place(forward, group);
}

void forward_leader_changed(struct forward *forward, uint32_t group)
{
    struct kept_group *changed = forward_group(forward, group);
    ASSERT(changed != NULL);
    if (!list_is_empty(&changed->requests)) {
        group_route(forward, changed);
    }
}

uint32_t forward_any_count(const struct forward *forward, uint32_t group)
{
    const struct kept_group *asked = forward_group(forward, group);
    ASSERT(asked != NULL);
    return asked->anys;
}

bool forward_holds(const struct forward *forward, uint32_t group)
{
    const struct kept_group *asked = forward_group(forward, group);
    ASSERT(asked != NULL);
    if (LIKELY(list_is_empty(&asked->requests))) {
        return false;
    }
    const struct replica *replica = consensus_replica(forward->consensus, group);
    bool have_all_run = asked->route == own_route(forward) && replica != NULL &&
                        asked->term == replica->term && asked->cursor == &asked->requests &&
                        asked->reads == 0;
    return !have_all_run;
}

/* Looks at the link to the node.  All that was under way over another one is sent again. */
static void route_refresh(struct forward *forward, struct route *route)
{
    if (route == own_route(forward)) {
        return;
    }
    uint64_t link = peers_link(forward->peers, route->number, PEER_CLIENT);
    if (link == route->link) {
        return;
    }
    route->link = link;
    for (uint32_t i = 0; i < forward->groups_count; i++) {
        if (forward->groups[i].route == route) {
            group_restart(forward, &forward->groups[i]);
        }
    }
}

static void number_refresh(struct forward *forward, uint64_t number)
{
    for (uint32_t i = 0; i < forward->routes_count; i++) {
        if (forward->routes[i]->number == number) {
            route_refresh(forward, forward->routes[i]);
        }
    }
}

void forward_on_up(struct forward *forward, uint64_t number)
{
    number_refresh(forward, number);
    forward->has_news = true;
}

void forward_on_down(struct forward *forward, uint64_t number)
{
    number_refresh(forward, number);
}

/* ── sending ─────────────────────────────────────────────────────────────────────────────────── */

/* Counts a sending and moves the cursor behind it. */
static void kept_begin(struct forward *forward, struct kept *kept)
{
    struct kept_group *group = kept->group;
    ASSERT(group->cursor == &kept->in_group);
    ASSERT(kept->doubts < UINT32_MAX);
    kept->id = ++forward->sendings << SLOT_BITS | kept->slot;
    forward->stats.sent++;
    if (kept->first_id == 0) {
        kept->first_id = kept->id;
    } else {
        forward->stats.repeated++;
    }
    kept->doubts++;
    partial_free(forward, kept);
    group->cursor = kept->in_group.next;
    group->is_renewed = false;
}

static struct request_origin kept_origin(const struct forward *forward, const struct kept *kept)
{
    struct request_origin origin = kept->origin;
    if (kept->is_numbered) {
        origin.floor = OWNER_OF(forward->writes.next, struct kept, in_writes)->origin.seq;
        ASSERT(origin.floor <= origin.seq);
    }
    return origin;
}

/* The next request to take this way; NULL: none. */
static struct kept *route_next(struct forward *forward, struct route *route)
{
    while (!list_is_empty(&route->ready)) {
        struct kept_group *group = OWNER_OF(route->ready.next, struct kept_group, in_list);
        group_route(forward, group);
        if (group->list == &route->ready) {
            return OWNER_OF(group->cursor, struct kept, in_group);
        }
    }
    return NULL;
}

static size_t kept_write(struct forward *forward, struct kept *kept, char *to)
{
    struct kept_group *group = kept->group;
    bool is_renewed = group->is_renewed;
    kept_begin(forward, kept);
    struct forward_wire_request request = {
        .id = kept->id,
        .group = group->number,
        .term = group->term,
        .is_write = kept->is_write,
        .follows_writes = kept->follows_writes,
        .is_renewed = is_renewed,
        .origin = kept_origin(forward, kept),
    };
    group_place(forward, group);
    return forward_wire_request_write(&request, slice_make(kept->call, kept->call_size), to);
}

/* Sends a frame; false when there is nothing to send, or no room for it. */
static bool route_send_frame(struct forward *forward, struct route *route)
{
    struct kept *kept = route_next(forward, route);
    if (kept == NULL) {
        return false;
    }
    size_t room =
        forward->wire_bytes < FORWARD_FRAME_BYTES ? forward->wire_bytes : FORWARD_FRAME_BYTES;
    room = room < kept_wire_bytes(kept) ? kept_wire_bytes(kept) : room;
    char *body = peers_frame_begin(forward->peers, route->link, PEER_FRAME_REQUESTS, room);
    if (body == NULL) {
        return false;
    }
    size_t size = 0;
    do {
        size += kept_write(forward, kept, body + size);
        kept = route_next(forward, route);
    } while (kept != NULL && size + kept_wire_bytes(kept) <= room);
    peers_frame_end(forward->peers, route->link, size);
    return true;
}

/* Runs what waited for a leader, now that we are it. */
static void route_run(struct forward *forward, struct route *route)
{
    struct kept *kept = NULL;
    while ((kept = route_next(forward, route)) != NULL) {
        ASSERT(forward->pipeline != NULL);
        struct slice left = slice_make(kept->call, kept->call_size);
        struct forward_wire_call call;
        bool is_call = forward_wire_call_read(&left, &forward->args, &call);
        ASSERT(is_call && left.size == 0);
        kept_begin(forward, kept);
        struct remote_request request = {
            .link = 0,
            .request = kept->id,
            .group = kept->group->number,
            .term = kept->group->term,
            .command = kept->command,
            .argc = call.argc,
            .argv = call.argv,
            .is_write = kept->is_write,
            .follows_writes = kept->follows_writes,
            .origin = kept_origin(forward, kept),
        };
        forward->running_link = 0;
        forward->running_id = kept->id;
        forward->running_is_refused = false;
        pipeline_run_remote(forward->pipeline, &request);
        forward->running_id = 0;
        if (forward->running_is_refused) {
            kept_refused(forward, kept->id);
        }
        group_place(forward, kept->group);
    }
}

/* Lets refused groups try again. */
static void refused_retry(struct forward *forward)
{
    while (!list_is_empty(&forward->refused)) {
        struct kept_group *group = OWNER_OF(forward->refused.next, struct kept_group, in_list);
        if (group->retry_ms > forward->now_ms) {
            break;
        }
        group->is_refused = false;
        group_route(forward, group);
        ASSERT(group->list != &forward->refused);
    }
}

/* What the pipeline answered to requests that ran here. */
static void own_answers_take(struct forward *forward)
{
    struct asking_link *own = forward->links[0];
    while (own->first != NULL) {
        struct asking_link taken = *own;
        own->first = NULL;
        own->last = NULL;
        own->bytes = 0;
        for (struct answers_frame *at = taken.first; at != NULL; at = at->next) {
            bool is_ours = answers_take(forward, buffer_slice(&at->bytes));
            ASSERT(is_ours);
        }
        taken.refused = NULL;
        forward_link_clear(&taken);
    }
}

void forward_flush(struct forward *forward, uint64_t now_ms)
{
    forward->now_ms = now_ms;
    forward->has_news = false;
    kept_expire_due(forward);
    refused_retry(forward);
    route_run(forward, own_route(forward));
    own_answers_take(forward);
    for (uint32_t i = 1; i < forward->routes_count; i++) {
        struct route *route = forward->routes[i];
        if (!list_is_empty(&route->ready)) {
            route_refresh(forward, route);
            while (route->link != 0 && route_send_frame(forward, route)) {
            }
        }
    }
    forward_answers_send(forward);
}

/* ── answers ─────────────────────────────────────────────────────────────────────────────────── */

/* True when it was sent in this term over this link. */
static bool kept_is_under_way(const struct kept *kept)
{
    const struct kept_group *group = kept->group;
    return group->cursor == &group->requests ||
           kept->order < OWNER_OF(group->cursor, struct kept, in_group)->order;
}

/* Puts it to the queue's end, as if it had just come: what was sent behind it is under way. */
static void kept_requeue(struct forward *forward, struct kept *kept)
{
    struct kept_group *group = kept->group;
    list_remove(&kept->in_group);
    list_push(&group->requests, &kept->in_group);
    kept->order = ++forward->arrivals;
    kept->writes_before = group->writes++;
    if (group->cursor == &group->requests) {
        group->cursor = &kept->in_group;
    }
}

static void kept_refused(struct forward *forward, uint64_t id)
{
    struct kept *kept = kept_find(forward, id);
    if (kept == NULL || kept->doubts == 0) {
        return;
    }
    kept->doubts--;
    forward->stats.refused++;
    struct kept_group *group = kept->group;
    if (id == kept->id && kept_is_under_way(kept)) {
        if (group->number == GROUP_META) {
            kept_requeue(forward, kept);
        } else {
            group->cursor = &kept->in_group;
        }
        group->is_renewed = true;
        if (!group->is_refused) {
            group->is_refused = true;
            group->retry_ms = forward->now_ms + RETRY_MS;
        }
        group_route(forward, group);
    }
}

/* An answer in parts: false when it is malformed. */
static bool kept_take_part(struct forward *forward, struct kept *kept, struct slice part)
{
    if (kept->partial.size + part.size > FORWARD_ANSWERS_BYTES_MAX) {
        return false;
    }
    forward->stats.bytes -= kept->partial.capacity;
    buffer_append_slice(&kept->partial, part);
    forward->stats.bytes += kept->partial.capacity;
    return true;
}

static bool kept_answered(struct forward *forward, struct kept *kept, struct slice resp,
                          uint64_t version)
{
    if (reply_value_size(resp) != resp.size || resp.size == 0) {
        return false;
    }
    struct asker asker = kept->asker;
    const struct command *command = kept->command;
    struct buffer partial = kept->partial; /* resp may lie in it */
    forward->stats.bytes -= partial.capacity;
    kept->partial = (struct buffer){ 0 };
    kept_settle(forward, kept);
    forward->stats.answered++;
    answer_replay(forward->answers, &asker, command, resp, version);
    buffer_free(&partial);
    return true;
}

static bool error_begins(struct slice resp, const char *word)
{
    size_t size = strlen(word);
    return resp.size > size + 1 && resp.data[0] == '-' && resp.data[size + 1] == ' ' &&
           memcmp(resp.data + 1, word, size) == 0;
}

/* True for errors that say that a sending was not taken.  (Errors of the command itself are results
 * like any other: a repetition has the same.) */
static bool is_turned_away(struct slice resp)
{
    static const char *const words[] = { "NOQUORUM", "BUSY",        "OOM",
                                         "MISCONF",  "CLUSTERDOWN", "LOADING" };
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        if (error_begins(resp, words[i])) {
            return true;
        }
    }
    return false;
}

/* What is said about one sending is not the whole truth when there were others: a definite error is
 * believed only of the single one, and a read is run again by whoever runs the writes before it. */
static bool answer_take_whole(struct forward *forward, struct kept *kept,
                              const struct forward_wire_answer *answer)
{
    bool is_away = is_turned_away(answer->resp);
    bool is_settled = kept->is_write && !is_away && !error_begins(answer->resp, "UNKNOWN");
    if (answer->id != kept->id && !is_settled) {
        if (is_away) {
            kept_refused(forward, answer->id);
        }
        return true; /* a later sending is under way */
    }
    if (is_away && kept->is_write && kept->doubts > 1) {
        static const char doubtful[] = "-UNKNOWN the write was sent again and turned away; it may "
                                       "or may not have taken effect before\r\n";
        return kept_answered(forward, kept, slice_from(doubtful), 0);
    }
    return kept_answered(forward, kept, answer->resp, answer->version);
}

static bool answer_take(struct forward *forward, const struct forward_wire_answer *answer)
{
    struct kept *kept = kept_find(forward, answer->id);
    if (kept == NULL) {
        return true; /* settled before */
    }
    switch (answer->kind) {
    case FORWARD_ANSWER_REFUSED:
        kept_refused(forward, answer->id);
        return true;
    case FORWARD_ANSWER_WHOLE:
        return answer_take_whole(forward, kept, answer);
    case FORWARD_ANSWER_PART:
    case FORWARD_ANSWER_LAST:
        break;
    case FORWARD_ANSWER_KINDS:
        return false;
    }
    if (answer->id != kept->id) {
        return true; /* of an earlier sending: its beginning was thrown away */
    }
    if (!kept_take_part(forward, kept, answer->resp)) {
        return false;
    }
    return answer->kind == FORWARD_ANSWER_PART ||
           kept_answered(forward, kept, buffer_slice(&kept->partial), answer->version);
}

/* False: malformed. */
static bool answers_take(struct forward *forward, struct slice body)
{
    while (body.size > 0) {
        struct forward_wire_answer answer;
        if (!forward_wire_answer_read(&body, &answer) || !answer_take(forward, &answer)) {
            return false;
        }
    }
    return true;
}

void forward_on_frame(struct forward *forward, struct pipeline *pipeline,
                      const struct peer_event *event, uint64_t now_ms)
{
    forward->now_ms = now_ms;
    forward->pipeline = pipeline;
    bool is_good = false;
    if (event->frame_kind == PEER_FRAME_REQUESTS && !event->is_outgoing) {
        is_good = forward_requests_take(forward, event->link, event->body);
    } else if (event->frame_kind == PEER_FRAME_ANSWERS && event->is_outgoing) {
        is_good = answers_take(forward, event->body);
    }
    if (!is_good) {
        log_event(forward->log, LOG_ERROR, "forward_frame_malformed",
                  LOG_U64("node", event->number), LOG_U64("kind", event->frame_kind),
                  LOG_U64("bytes", event->body.size));
        peers_close(forward->peers, event->link);
    }
    if (forward->args.capacity > ARGS_KEPT_MAX) {
        mem_free(forward->args.argv);
        forward->args = (struct command_args){ 0 };
    }
}

/* ── deadlines ───────────────────────────────────────────────────────────────────────────────── */

/* Gives up: the answer is this error. */
static void kept_fail(struct forward *forward, struct kept *kept, const char *message)
{
    struct asker asker = kept->asker;
    const struct command *command = kept->command;
    kept_settle(forward, kept);
    answer_error(forward->answers, &asker, command, message);
}

static void kept_expire(struct forward *forward, struct kept *kept)
{
    char where[32] = "the meta group";
    if (kept->group->number != GROUP_META) {
        (void)snprintf(where, sizeof(where), "partition %u", kept->group->number);
    }
    char message[160];
    if (kept->is_write && kept->doubts > 0 && !MUTANT(MUT_DOUBT_IS_DEFINITE)) {
        (void)snprintf(message, sizeof(message),
                       "UNKNOWN the leader of %s did not answer in time; the write may or may not "
                       "take effect",
                       where);
    } else {
        (void)snprintf(message, sizeof(message),
                       "NOQUORUM no leader for %s could be reached in time; the request was not "
                       "carried out",
                       where);
    }
    forward->stats.expired++;
    kept_fail(forward, kept, message);
}

/* All have the same time: the oldest are due first. */
static struct kept *kept_oldest(const struct forward *forward)
{
    return list_is_empty(&forward->ages) ? NULL : OWNER_OF(forward->ages.next, struct kept, in_age);
}

static void kept_expire_due(struct forward *forward)
{
    struct kept *oldest = NULL;
    while ((oldest = kept_oldest(forward)) != NULL &&
           oldest->arrived_ms + forward->timeout_ms <= forward->now_ms) {
        kept_expire(forward, oldest);
    }
}

uint64_t forward_deadline_ms(const struct forward *forward)
{
    if (forward->has_news) {
        return 0;
    }
    const struct kept *oldest = kept_oldest(forward);
    uint64_t deadline_ms = oldest == NULL ? UINT64_MAX : oldest->arrived_ms + forward->timeout_ms;
    if (!list_is_empty(&forward->refused)) {
        uint64_t retry_ms = OWNER_OF(forward->refused.next, struct kept_group, in_list)->retry_ms;
        deadline_ms = retry_ms < deadline_ms ? retry_ms : deadline_ms;
    }
    return deadline_ms;
}

struct forward_stats forward_stats(const struct forward *forward)
{
    struct forward_stats stats = forward->stats;
    for (uint32_t i = 0; i < forward->groups_count; i++) {
        const struct kept_group *group = &forward->groups[i];
        for (const struct list *at = group->cursor; at != &group->requests; at = at->next) {
            stats.waiting++;
        }
    }
    stats.under_way = forward->slots_count - forward->free_count - stats.waiting;
    return stats;
}
