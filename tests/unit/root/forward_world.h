/*
 * forward_world.h — three nodes that forward to each other, and everything around them made up.
 *
 * What is real: struct forward of each node, and the bytes between them.  What is made up:
 *
 *   links      queues of frames, with a bound; a broken link loses what is in them
 *   consensus  what a node believes of a group's leader, which may be long out of date
 *   pipeline   a leader queues what it is asked; later a part of the queue becomes history, in
 *              order, and what a new leader does not know is refused, or never answered
 *   answers    what each client was told
 *
 * A write's answer is its place in the group's history; a read's is how long that is.
 */
#pragma once

#include "answers.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/prng.h"
#include "consensus.h"
#include "forward.h"
#include "forward_wire.h"
#include "network/reply_check.h"
#include "pipeline.h"
#include "test.h"

enum {
    NODES = 3,
    GROUPS = 4, /* the last one is the meta group */
    LINKS_MAX = 8192,
    OPS_MAX = 1 << 16,
    QUEUE_BYTES = 1 << 20,
    TIMEOUT_MS = 1000,
};

struct frame {
    struct frame *next;
    uint8_t kind;
    size_t size;
    char bytes[];
};

struct link {
    unsigned from, to; /* from dialed */
    bool is_up;
    struct frame *first[2], *last[2]; /* [1]: back to `from` */
    uint64_t bytes[2];
};

enum op_fate { OP_OPEN, OP_DONE, OP_NOQUORUM, OP_UNKNOWN };

/* A request of a client. */
struct op {
    unsigned node, group;
    bool is_write, is_large;
    bool was_away; /* a leader answered an error instead of taking it */
    enum op_fate fate;
    uint64_t answer;   /* OP_DONE */
    uint64_t seen;     /* the history's length when it was asked */
    uint64_t place;    /* of a write in the history; 0: it is not there */
    char message[128]; /* of an error */
};

/* What a leader has been asked, and has not answered. */
struct asked {
    struct remote_request request;
    unsigned op;
};

struct fake_peers {
    struct world *world;
    unsigned node;
    char *frame; /* the one that is begun */
    uint64_t frame_link;
    size_t frame_room;
    uint8_t frame_kind;
};

struct node {
    struct world *world;
    unsigned number; /* its place; its node number is number + 1 */
    struct forward *forward;
    struct fake_peers peers;
    struct consensus consensus;
    struct replica *replicas[GROUPS];
    struct answers answers;
    struct asked *asked[GROUPS];
    unsigned asked_count[GROUPS];
};

/* What has happened in a group, wherever it is known. */
struct truth {
    uint64_t term;
    int leader;                    /* -1: none */
    unsigned history[OPS_MAX + 1]; /* ops; from 1 on */
    uint64_t length;
    uint64_t floors[NODES];  /* per sender, the highest it ever named */
    unsigned last_op[NODES]; /* of the sender: writes come in order */
};

struct world {
    uint64_t now_ms;
    struct prng prng;
    struct node nodes[NODES];
    struct truth groups[GROUPS];
    struct link links[LINKS_MAX];
    unsigned links_count;
    struct op ops[OPS_MAX];
    unsigned ops_count;
    uint64_t seq_to_op[NODES][OPS_MAX]; /* op + 1 of our numbered writes */
    bool is_sending;
    unsigned overload;    /* in 1000: requests refused though we lead */
    unsigned busy;        /* in 1000: answered with an error instead of taken */
    unsigned queue_bytes; /* bound of a link's queue */
    unsigned executed;    /* requests the pipeline was given */
    unsigned closed;      /* links closed by peers_close */
    bool is_quiet;        /* the pipeline only notes what it is asked */
    struct remote_request last;
    char last_text[256];
};

static uint32_t group_number(unsigned at)
{
    return at + 1 == GROUPS ? GROUP_META : at;
}

static unsigned group_place_of(uint32_t number)
{
    return number == GROUP_META ? GROUPS - 1 : number;
}

/* ── links ───────────────────────────────────────────────────────────────────────────────────── */

static struct fake_peers *fake(const struct peers *peers)
{
    return (struct fake_peers *)(uintptr_t)peers;
}

/* The first of the links is nobody's, and down. */
static struct link *link_at(struct world *world, uint64_t id)
{
    return &world->links[id < world->links_count ? id : 0];
}

uint64_t peers_link(const struct peers *peers, uint64_t number, enum peer_channel channel)
{
    const struct fake_peers *self = fake(peers);
    CHECK(channel == PEER_CLIENT);
    CHECK(self->frame == NULL);
    for (unsigned i = self->world->links_count; i-- > 0;) {
        const struct link *link = &self->world->links[i];
        if (link->is_up && link->from == self->node && link->to + 1 == number) {
            return i;
        }
    }
    return 0;
}

bool peers_link_next(const struct peers *peers, uint32_t *at, struct peer_link_info *out_info)
{
    const struct fake_peers *self = fake(peers);
    for (; *at < self->world->links_count; ++*at) {
        const struct link *link = &self->world->links[*at];
        if (link->is_up && (link->from == self->node || link->to == self->node)) {
            *out_info = (struct peer_link_info){ .link = (*at)++ };
            return true;
        }
    }
    return false;
}

uint64_t peers_queued_bytes(const struct peers *peers, uint64_t id)
{
    const struct link *link = link_at(fake(peers)->world, id);
    return !link->is_up ? 0 : link->bytes[link->from != fake(peers)->node];
}

char *peers_frame_begin(struct peers *peers, uint64_t id, uint8_t kind, size_t body_max)
{
    struct fake_peers *self = fake(peers);
    CHECK(self->frame == NULL);
    CHECK(body_max > 0 && body_max <= PEER_FRAME_BYTES_MAX);
    const struct link *link = link_at(self->world, id);
    if (!link->is_up || link->bytes[link->from != self->node] >= self->world->queue_bytes) {
        return NULL;
    }
    self->frame = malloc(body_max);
    self->frame_link = id;
    self->frame_room = body_max;
    self->frame_kind = kind;
    return self->frame;
}

void peers_frame_end(struct peers *peers, uint64_t id, size_t body_size)
{
    struct fake_peers *self = fake(peers);
    CHECK(self->frame != NULL && self->frame_link == id);
    CHECK(body_size > 0 && body_size <= self->frame_room);
    struct frame *frame = malloc(sizeof(*frame) + body_size);
    *frame = (struct frame){ .kind = self->frame_kind, .size = body_size };
    memcpy(frame->bytes, self->frame, body_size);
    free(self->frame);
    self->frame = NULL;
    struct link *link = link_at(self->world, id);
    unsigned way = link->from != self->node;
    *(link->last[way] != NULL ? &link->last[way]->next : &link->first[way]) = frame;
    link->last[way] = frame;
    link->bytes[way] += body_size;
}

static void queue_clear(struct link *link, unsigned way)
{
    while (link->first[way] != NULL) {
        struct frame *next = link->first[way]->next;
        free(link->first[way]);
        link->first[way] = next;
    }
    link->last[way] = NULL;
    link->bytes[way] = 0;
}

static void link_break(struct world *world, uint64_t id)
{
    struct link *link = link_at(world, id);
    if (!link->is_up) {
        return;
    }
    link->is_up = false;
    queue_clear(link, 0);
    queue_clear(link, 1);
    forward_on_down(world->nodes[link->from].forward, link->to + 1);
    forward_on_down(world->nodes[link->to].forward, link->from + 1);
}

void peers_close(struct peers *peers, uint64_t id)
{
    CHECK(fake(peers)->frame == NULL);
    fake(peers)->world->closed++;
    link_break(fake(peers)->world, id);
}

static uint64_t link_up(struct world *world, unsigned from, unsigned to)
{
    CHECK(world->links_count < LINKS_MAX);
    world->links[world->links_count++] = (struct link){ .from = from, .to = to, .is_up = true };
    forward_on_up(world->nodes[from].forward, to + 1);
    forward_on_up(world->nodes[to].forward, from + 1);
    return world->links_count - 1;
}

/* Hands a node bytes, in memory of exactly their size. */
static void frame_hand(struct world *world, uint64_t id, unsigned way, uint8_t kind,
                       struct slice body)
{
    const struct link *link = link_at(world, id);
    struct node *to = &world->nodes[way == 0 ? link->to : link->from];
    char *copy = malloc(body.size + 1);
    memcpy(copy + 1, body.data, body.size);
    struct peer_event event = {
        .kind = PEER_EVENT_FRAME,
        .channel = PEER_CLIENT,
        .is_outgoing = way == 1,
        .link = id,
        .number = (way == 0 ? link->from : link->to) + 1,
        .frame_kind = kind,
        .body = slice_make(copy + 1, body.size),
    };
    forward_on_frame(to->forward, (struct pipeline *)(void *)to, &event, world->now_ms);
    free(copy);
}

/* One frame arrives; false when there is none. */
static bool frame_deliver(struct world *world, uint64_t id, unsigned way)
{
    struct link *link = link_at(world, id);
    struct frame *frame = link->first[way];
    if (frame == NULL) {
        return false;
    }
    link->first[way] = frame->next;
    link->last[way] = frame->next == NULL ? NULL : link->last[way];
    link->bytes[way] -= frame->size;
    frame_hand(world, id, way, frame->kind, slice_make(frame->bytes, frame->size));
    free(frame);
    return true;
}

/* ── consensus ───────────────────────────────────────────────────────────────────────────────── */

struct replica *consensus_replica(const struct consensus *consensus, uint32_t group)
{
    return consensus->replicas[group_place_of(group)];
}

/* What a node believes from now on; leader -1: none. */
static void believe(struct world *world, unsigned node, unsigned group, uint64_t term, int leader)
{
    struct node *at = &world->nodes[node];
    struct replica *replica = at->replicas[group];
    replica->term = term;
    replica->leader = (uint64_t)(leader + 1);
    replica->role = leader == (int)node ? RAFT_LEADER : RAFT_FOLLOWER;
    forward_leader_changed(at->forward, group_number(group));
}

/* ── the pipeline ────────────────────────────────────────────────────────────────────────────── */

/* The one argument of a request is its op. */
static unsigned op_of(const struct remote_request *request)
{
    CHECK(request->argc >= 2 && request->argv[1].size == 4);
    uint32_t op = 0;
    memcpy(&op, request->argv[1].data, sizeof(op));
    return op;
}

static void answer_number(struct node *node, const struct remote_request *request, uint64_t number,
                          bool is_large)
{
    struct buffer resp = { 0 };
    if (is_large) { /* the number, and a long tail */
        size_t size = 300000 + number % 400000;
        buffer_printf(&resp, "$%zu\r\n%020llu", size + 20, (unsigned long long)number);
        memset(buffer_reserve(&resp, size), 'x', size);
        resp.size += size;
        buffer_append(&resp, "\r\n", 2);
    } else {
        buffer_printf(&resp, ":%llu\r\n", (unsigned long long)number);
    }
    forward_answer(node->forward, request->link, request->request, buffer_slice(&resp), 0);
    buffer_free(&resp);
}

void pipeline_run_remote(struct pipeline *pipeline, const struct remote_request *request)
{
    struct node *node = (struct node *)(void *)pipeline;
    struct world *world = node->world;
    unsigned group = group_place_of(request->group);
    world->executed++;
    world->last = *request;
    if (world->is_quiet) {
        (void)snprintf(world->last_text, sizeof(world->last_text), "%.*s",
                       (int)request->argv[request->argc - 1].size,
                       request->argv[request->argc - 1].data);
        return;
    }
    const struct replica *replica = node->replicas[group];
    if (replica->role != RAFT_LEADER || replica->term != request->term ||
        prng_chance(&world->prng, world->overload, 1000)) {
        forward_refuse(node->forward, request->link, request->request);
        return;
    }
    if (prng_chance(&world->prng, world->busy, 1000)) {
        world->ops[op_of(request)].was_away = true;
        forward_answer(node->forward, request->link, request->request,
                       slice_from("-BUSY nothing was written\r\n"), 0);
        return;
    }
    CHECK((request->is_write && request->group != GROUP_META) == (request->origin.node != 0));
    CHECK(request->origin.floor <= request->origin.seq);
    unsigned count = node->asked_count[group]++;
    struct asked *asked = realloc(node->asked[group], (count + 1) * sizeof(*asked));
    node->asked[group] = asked;
    asked[count] = (struct asked){ *request, op_of(request) };
}

/* What the meta group is asked for comes once at most: nobody there would know it again. */
static uint64_t apply_meta(struct world *world, unsigned at)
{
    struct truth *truth = &world->groups[GROUPS - 1];
    CHECK_EQ(world->ops[at].place, 0);
    truth->history[++truth->length] = at;
    world->ops[at].place = truth->length;
    return truth->length;
}

/* A write becomes history, unless it is there; its answer, or 0: it is too old to tell. */
static uint64_t apply(struct world *world, unsigned group, const struct asked *asked)
{
    struct truth *truth = &world->groups[group];
    struct op *op = &world->ops[asked->op];
    const struct request_origin *origin = &asked->request.origin;
    if (group + 1 == GROUPS) {
        return apply_meta(world, asked->op);
    }
    CHECK(op->is_write && op->group == group && op->node + 1 == origin->node);
    if (op->place == 0 && origin->seq >= truth->floors[op->node]) {
        /* Never overtaken.  (One that got an error may be, when the error is lost on its way.) */
        CHECK(asked->op >= truth->last_op[op->node] || op->was_away);
        truth->last_op[op->node] = op->was_away ? truth->last_op[op->node] : asked->op;
        truth->history[++truth->length] = asked->op;
        op->place = truth->length;
        truth->floors[op->node] =
            origin->floor > truth->floors[op->node] ? origin->floor : truth->floors[op->node];
        return op->place;
    }
    /* Only so many results are kept. */
    unsigned newer = 0;
    for (uint64_t at = op->place + 1; op->place > 0 && at <= truth->length; at++) {
        newer += world->ops[truth->history[at]].node == op->node;
    }
    bool is_kept =
        op->place > 0 && newer < SESSION_RESULTS_MAX && origin->seq >= truth->floors[op->node];
    return is_kept ? op->place : 0;
}

/* The first `count` of what a leader was asked happen; it answers them when it still is one. */
static void leader_apply(struct world *world, unsigned at, unsigned group, unsigned count,
                         bool answers)
{
    struct node *node = &world->nodes[at];
    count = count < node->asked_count[group] ? count : node->asked_count[group];
    for (unsigned i = 0; i < count; i++) {
        const struct asked *asked = &node->asked[group][i];
        const struct remote_request *request = &asked->request;
        uint64_t number =
            asked->request.is_write ? apply(world, group, asked) : world->groups[group].length;
        if (answers && request->is_write && number == 0) {
            forward_answer(node->forward, request->link, request->request, slice_from("-STALE\r\n"),
                           0);
        } else if (answers) {
            answer_number(node, request, number, world->ops[asked->op].is_large);
        }
    }
    unsigned left = node->asked_count[group] - count;
    if (count > 0) {
        memmove(node->asked[group], node->asked[group] + count, left * sizeof(struct asked));
    }
    node->asked_count[group] = left;
}

/* A leader learns that the rest of what it was asked will never happen (or just forgets). */
static void leader_drop(struct world *world, unsigned at, unsigned group, bool refuses)
{
    struct node *node = &world->nodes[at];
    bool says_error = prng_chance(&world->prng, 1, 2);
    for (unsigned i = 0; refuses && i < node->asked_count[group]; i++) {
        const struct remote_request *request = &node->asked[group][i].request;
        if (says_error) {
            forward_answer(node->forward, request->link, request->request,
                           slice_from("-NOQUORUM not done\r\n"), 0);
        } else {
            forward_refuse(node->forward, request->link, request->request);
        }
    }
    node->asked_count[group] = 0;
}

/* ── answers ─────────────────────────────────────────────────────────────────────────────────── */

static void op_settle(const struct asker *asker, enum op_fate fate)
{
    struct world *world = (struct world *)(void *)asker->client.conn;
    CHECK(!world->is_sending);
    CHECK(asker->kind == ASKER_CLIENT && asker->client.ticket < world->ops_count);
    struct op *op = &world->ops[asker->client.ticket];
    CHECK_EQ(op->fate, OP_OPEN);
    op->fate = fate;
}

void answer_replay(struct answers *answers, const struct asker *asker,
                   const struct command *command, struct slice resp, uint64_t version)
{
    (void)answers, (void)command, (void)version;
    struct world *world = (struct world *)(void *)asker->client.conn;
    bool is_error = resp.size > 1 && resp.data[0] == '-';
    op_settle(asker, is_error && resp.data[1] == 'U'   ? OP_UNKNOWN
                     : is_error && resp.data[1] != 'S' ? OP_NOQUORUM
                                                       : OP_DONE);
    struct op *op = &world->ops[asker->client.ticket];
    CHECK(is_error || (resp.size > 0 && (resp.data[0] == ':' || resp.data[0] == '$')));
    if (is_error) {
        (void)snprintf(op->message, sizeof(op->message), "%.*s", (int)resp.size - 3, resp.data + 1);
        return;
    }
    const char *digits = resp.data[0] == ':' ? resp.data + 1 : strchr(resp.data, '\n') + 1;
    CHECK_EQ(op->is_large, resp.data[0] == '$');
    op->answer = strtoull(digits, NULL, 10);
    if (op->is_large) {
        CHECK(resp.size > 300000 + op->answer % 400000);
        CHECK(resp.data[resp.size - 3] == 'x');
    }
}

void answer_error(struct answers *answers, const struct asker *asker, const struct command *command,
                  const char *message)
{
    (void)answers, (void)command;
    struct world *world = (struct world *)(void *)asker->client.conn;
    bool is_unknown = strncmp(message, "UNKNOWN ", 8) == 0;
    CHECK(is_unknown || strncmp(message, "NOQUORUM ", 9) == 0);
    op_settle(asker, is_unknown ? OP_UNKNOWN : OP_NOQUORUM);
    struct op *op = &world->ops[asker->client.ticket];
    CHECK(op->is_write || !is_unknown);
    (void)snprintf(op->message, sizeof(op->message), "%s", message);
}

void answer_drop(const struct asker *asker)
{
    (void)asker;
}

/* ── the world ───────────────────────────────────────────────────────────────────────────────── */

static struct world *world_new(uint64_t seed)
{
    struct world *world = calloc(1, sizeof(*world));
    world->now_ms = 1000;
    world->queue_bytes = QUEUE_BYTES;
    world->links_count = 1;
    prng_init(&world->prng, seed);
    for (unsigned n = 0; n < NODES; n++) {
        struct node *node = &world->nodes[n];
        *node = (struct node){ .world = world, .number = n, .peers = { world, n, NULL, 0, 0, 0 } };
        for (unsigned g = 0; g < GROUPS; g++) {
            node->replicas[g] = calloc(1, sizeof(struct replica));
            node->replicas[g]->group = group_number(g);
        }
        node->consensus.replicas = node->replicas;
        node->consensus.count = GROUPS;
        node->consensus.options.incarnation = n + 1;
        node->forward = forward_new((struct peers *)(void *)&node->peers, &node->consensus,
                                    &node->answers, NULL, n + 1, 70 + n, TIMEOUT_MS);
        forward_set_pipeline(node->forward, (struct pipeline *)(void *)node);
    }
    for (unsigned g = 0; g < GROUPS; g++) {
        world->groups[g].leader = -1;
    }
    return world;
}

static void world_free(struct world *world)
{
    for (unsigned n = 0; n < NODES; n++) {
        forward_free(world->nodes[n].forward);
        for (unsigned g = 0; g < GROUPS; g++) {
            free(world->nodes[n].replicas[g]);
            free(world->nodes[n].asked[g]);
        }
    }
    for (unsigned i = 0; i < world->links_count; i++) {
        queue_clear(&world->links[i], 0);
        queue_clear(&world->links[i], 1);
    }
    free(world);
}

/* A client asks; returns the op. */
static unsigned ask(struct world *world, unsigned node, unsigned group, bool is_write)
{
    CHECK(world->ops_count < OPS_MAX);
    uint32_t at = world->ops_count++;
    is_write = is_write || group + 1 == GROUPS; /* nobody reads there */
    world->ops[at] = (struct op){
        .node = node,
        .group = group,
        .is_write = is_write,
        .seen = world->groups[group].length,
        .is_large = prng_chance(&world->prng, 1, 200),
    };
    char number[4];
    memcpy(number, &at, sizeof(at));
    struct slice argv[3] = { slice_from("x"), slice_make(number, 4), slice_from("value") };
    struct forward_request request = {
        .group = group_number(group),
        .command = command_lookup(slice_from(is_write ? "set" : "get")),
        .argc = is_write ? 3 : 2,
        .argv = argv,
        .is_write = is_write,
        .follows_writes = true,
        .asker = asker_client((struct conn *)(void *)world, at),
    };
    world->is_sending = true;
    forward_send(world->nodes[node].forward, &request, world->now_ms);
    world->is_sending = false;
    memset(number, '?', sizeof(number));
    return at;
}

static void flush(struct world *world, unsigned node)
{
    forward_flush(world->nodes[node].forward, world->now_ms);
}

/* Everything that is on its way arrives, and leads to what it leads to, for now. */
static void settle(struct world *world)
{
    bool again = true;
    while (again) {
        again = false;
        for (unsigned n = 0; n < NODES; n++) {
            flush(world, n);
        }
        for (unsigned i = 0; i < world->links_count; i++) {
            while (frame_deliver(world, i, 0) || frame_deliver(world, i, 1)) {
                again = true;
            }
        }
    }
}
