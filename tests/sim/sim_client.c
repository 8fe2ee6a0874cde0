/*
 * sim_client.c — the clients: ask random things of a random node, keep count of the answers.
 *
 * A client has one connection at a time and up to `depth` requests on it; answers come in order
 * (I14), so the oldest request is the one that is answered.  When the connection breaks: a read
 * never happened, a write may or may not have.  A client of the JSON protocol has a session
 * (client, seq): it sends what was not answered again, to another node, until it knows (I12).
 */
#include "base/assert.h"
#include "base/mem.h"
#include "invariants/checks.h"
#include "sim.h"

#include <inttypes.h>
#include <stdio.h>

static const uint64_t ANSWER_WITHIN_NS = UINT64_C(12000000000); /* then the connection is dropped */

static void fill(struct sim_connected *client);
static void push(struct sim_connected *client);
static void connect_somewhere(struct sim_connected *client);
static void take_answers(struct sim_connected *client);
static void schedule(struct sim_connected *client);
static void give_up(struct sim_connected *client);

void sim_clients_new(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->plan.clients; i++) {
        sim->clients[i] = (struct sim_connected){
            .sim = sim,
            .number = i,
            .is_json = i < sim->plan.json_clients,
            .has_session = i < sim->plan.json_clients && sim->plan.nodes > 1,
        };
    }
}

void sim_clients_free(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->plan.clients; i++) {
        struct sim_connected *client = &sim->clients[i];
        if (client->socket != NULL) {
            sim_client_close(client->socket);
        }
        buffer_free(&client->in);
        buffer_free(&client->out);
    }
}

bool sim_clients_are_idle(const struct sim *sim)
{
    for (uint32_t i = 0; i < sim->plan.clients; i++) {
        if (sim->clients[i].head != sim->clients[i].tail) {
            return false;
        }
    }
    return true;
}

void sim_clients_renew(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->plan.clients; i++) {
        struct sim_connected *client = &sim->clients[i];
        ASSERT(client->head == client->tail);
        if (client->socket != NULL) {
            give_up(client);
        }
        connect_somewhere(client);
    }
}

static struct sim_op *oldest(struct sim_connected *client)
{
    ASSERT(client->head != client->tail);
    return &client->sim->history.ops[client->waiting[client->head % SIM_DEPTH_MAX]];
}

/* ── turns ───────────────────────────────────────────────────────────────────────────────────── */

static void give_up(struct sim_connected *client)
{
    struct sim *sim = client->sim;
    sim_client_close(client->socket);
    client->socket = NULL;
    client->in.size = 0;
    client->out.size = 0;
    for (uint32_t at = client->head; !client->has_session && at != client->tail; at++) {
        sim_op_end(sim, &sim->history.ops[client->waiting[at % SIM_DEPTH_MAX]], OP_UNKNOWN);
    }
    if (!client->has_session) {
        client->head = client->tail;
    }
    client->wake_ns = sim_now(sim) + sim_draw_ns(sim, 100 * SIM_MS);
}

void sim_client_turn(struct sim_connected *client)
{
    if (client->socket == NULL) {
        return;
    }
    (void)sim_client_recv(client->socket, &client->in);
    if (client->is_asking) {
        push(client);
        return;
    }
    take_answers(client);
    enum sim_client_state state = sim_client_state(client->socket);
    if (state == SIM_CLIENT_ENDED || state == SIM_CLIENT_BROKEN) {
        give_up(client);
        return;
    }
    fill(client);
    push(client);
    schedule(client);
}

void sim_client_wake(struct sim_connected *client)
{
    struct sim *sim = client->sim;
    if (client->socket == NULL) {
        connect_somewhere(client);
    }
    bool is_waiting = client->head != client->tail;
    uint64_t since_ns = is_waiting ? oldest(client)->time : client->connected_ns;
    since_ns = since_ns > client->connected_ns ? since_ns : client->connected_ns;
    bool is_stuck = sim_now(sim) >= since_ns + ANSWER_WITHIN_NS;
    bool is_away = (sim->core >> client->to->number & 1) == 0;
    bool is_opening = sim_client_state(client->socket) == SIM_CLIENT_CONNECTING;
    if (is_away || (is_stuck && (is_waiting || is_opening))) {
        give_up(client);
        return;
    }
    fill(client);
    push(client);
    schedule(client);
}

static void schedule(struct sim_connected *client)
{
    uint64_t now_ns = sim_now(client->sim);
    uint64_t wake_ns = now_ns + 500 * SIM_MS;
    bool may_ask =
        client->sim->clients_may_ask && client->tail - client->head < client->sim->plan.depth;
    if (may_ask && client->next_op_ns < wake_ns) {
        wake_ns = client->next_op_ns > now_ns ? client->next_op_ns : now_ns + SIM_MS;
    }
    client->wake_ns = wake_ns;
}

static enum consistency level_draw(struct sim *sim)
{
    uint64_t draw = prng_below(&sim->prng, 100);
    if (draw < sim->plan.any_percent) {
        return CONSISTENCY_ANY;
    }
    return draw < sim->plan.any_percent + sim->plan.quorum_percent ? CONSISTENCY_QUORUM
                                                                   : CONSISTENCY_DEFAULT;
}

static void resend(struct sim_connected *client)
{
    struct sim *sim = client->sim;
    for (uint32_t at = client->head; at != client->tail; at++) {
        struct sim_op *op = &sim->history.ops[client->waiting[at % SIM_DEPTH_MAX]];
        op->attempts += 1;
        op->level = client->level;
        sim_wire_json(sim, op, &client->out);
    }
}

static void connect_somewhere(struct sim_connected *client)
{
    struct sim *sim = client->sim;
    do {
        client->to = &sim->machines[prng_below(&sim->prng, sim->count)];
    } while ((sim->core >> client->to->number & 1) == 0);
    client->socket = sim_client_connect(sim->world, client->to->machine, SIM_PORT, client);
    client->connected_ns = sim_now(sim);
    client->level = sim->phase == PHASE_SAFETY ? level_draw(sim) : CONSISTENCY_DEFAULT;
    client->is_level_owed = !client->is_json && client->level != CONSISTENCY_DEFAULT;
    if (client->is_level_owed) {
        buffer_printf(&client->out, "CONSISTENCY %s\r\n",
                      client->level == CONSISTENCY_ANY ? "ANY" : "QUORUM");
    }
    memset(client->any_seen, 0, sizeof(client->any_seen));
    resend(client);
}

static void send_op(struct sim_connected *client, uint32_t number)
{
    struct sim *sim = client->sim;
    struct sim_op *op = &sim->history.ops[number];
    op->level = client->level;
    op->attempts = 1;
    if (client->has_session && sim_op_is_write(op)) {
        op->seq = ++client->next_seq;
    }
    client->waiting[client->tail++ % SIM_DEPTH_MAX] = number;
    if (client->is_json) {
        sim_wire_json(sim, op, &client->out);
    } else {
        sim_wire_resp(sim, op, &client->out);
    }
}

void sim_client_ask(struct sim_connected *client, uint32_t op)
{
    ASSERT(client->tail - client->head < SIM_DEPTH_MAX);
    if (client->socket == NULL) {
        connect_somewhere(client);
    }
    send_op(client, op);
    client->wake_ns = sim_now(client->sim);
}

static void fill(struct sim_connected *client)
{
    struct sim *sim = client->sim;
    bool is_open = sim_client_state(client->socket) == SIM_CLIENT_OPEN;
    while (sim->clients_may_ask && is_open && sim_now(sim) >= client->next_op_ns &&
           client->tail - client->head < sim->plan.depth) {
        send_op(client, sim_history_draw(sim, client->number));
        bool is_burst = sim->plan.depth > 1 && prng_chance(&sim->prng, 1, 2);
        uint64_t think_ns = is_burst ? 0 : sim_draw_ns(sim, sim->plan.think_mean_us * 1000u);
        client->next_op_ns = sim_now(sim) + think_ns;
    }
}

static void push(struct sim_connected *client)
{
    size_t taken = sim_client_send(client->socket, buffer_slice(&client->out));
    buffer_consume(&client->out, taken);
}

/* ── answers ─────────────────────────────────────────────────────────────────────────────────── */

static bool begins(struct slice text, const char *word)
{
    size_t size = strlen(word);
    return text.size >= size && memcmp(text.data, word, size) == 0;
}

/* Errors that a client must expect when nodes fail.  All of them are definite but UNKNOWN. */
static bool is_expected(struct slice error)
{
    static const char *const words[] = { "NOQUORUM", "UNKNOWN",  "CLUSTERDOWN", "LOADING",
                                         "MISCONF",  "TRYAGAIN", "BUSY" };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (begins(error, words[i])) {
            return true;
        }
    }
    return false;
}

static void take_error(struct sim_connected *client, struct sim_op *op, struct slice error)
{
    struct sim *sim = client->sim;
    /* It was done, in an earlier attempt; only the answer is lost. */
    static const char repeated[] =
        "UNKNOWN this write was carried out before, and its answer was too large to keep";
    if (!is_expected(error) && !begins(error, repeated)) {
        sim_fail(sim, "I14 replies", "#%08u (kind %d): unexpected error '%.*s'", op->number,
                 (int)op->kind, (int)error.size, error.data);
    }
    /* An earlier attempt of the same request may have been done all the same. */
    bool is_definite = !begins(error, "UNKNOWN") && !begins(error, repeated) && op->attempts == 1;
    sim_op_end(sim, op, is_definite ? OP_REFUSED : OP_UNKNOWN);
}

/* What the reply says, in the model's terms; false: no such reply belongs to such an operation. */
static bool answer_set(struct sim_op *op, const struct sim_reply *reply)
{
    bool is_ok = (reply->kind == REPLY_SIMPLE || reply->kind == REPLY_TEXT) &&
                 slice_equal(reply->text, slice_from("OK"));
    switch (op->kind) {
    case LIN_GET:
    case LIN_GETSET:
        op->answer = reply->kind == REPLY_NIL ? LIN_NIL : LIN_TEXT;
        return reply->kind == REPLY_NIL || (reply->kind == REPLY_TEXT && !is_ok);
    case LIN_SET:
        op->answer = LIN_OK;
        return is_ok;
    case LIN_SETNX:
        op->answer = is_ok ? LIN_OK : LIN_NIL;
        return is_ok || reply->kind == REPLY_NIL;
    case LIN_EXISTS:
    case LIN_DEL:
        op->answer = LIN_NUMBER;
        return reply->kind == REPLY_NUMBER && reply->number >= 0 && reply->number <= 1;
    case LIN_INCR:
    case LIN_APPEND:
        op->answer = LIN_NUMBER;
        return reply->kind == REPLY_NUMBER && reply->number > 0;
    case LIN_KINDS:
        break;
    }
    return false;
}

/* A value of another key was meant for somebody else. */
static bool is_own_value(const struct sim *sim, const struct sim_op *op)
{
    const struct sim_key *key = &sim->history.keys[op->key];
    if (op->answer != LIN_TEXT || key->class == KEY_COUNTER) {
        return true;
    }
    size_t size = strlen(key->name);
    return begins(op->text, key->name) && op->text.size > size && op->text.data[size] == '#';
}

static void take_answer(struct sim_connected *client, const struct sim_reply *reply)
{
    struct sim *sim = client->sim;
    struct sim_op *op = oldest(client);
    client->head += 1;
    if (client->is_json && reply->id != op->number) {
        sim_fail(sim, "I14 replies", "client %u: an answer with id %" PRId64 ", #%08u was next",
                 client->number, reply->id, op->number);
        return;
    }
    if (reply->kind == REPLY_ERROR) {
        take_error(client, op, reply->text);
        return;
    }
    bool is_fitting = answer_set(op, reply);
    op->number_answer = reply->number;
    if (op->answer == LIN_TEXT) {
        char *copy = mem_alloc(reply->text.size + 1);
        memcpy(copy, reply->text.data, reply->text.size);
        op->text = slice_make(copy, reply->text.size);
    }
    if (!is_fitting || !is_own_value(sim, op)) {
        sim_fail(sim, "I14 replies", "#%08u (kind %d): a reply that is not its own: '%.*s'",
                 op->number, (int)op->kind, (int)reply->text.size, reply->text.data);
    }
    sim_op_end(sim, op, OP_ANSWERED);
}

static void take_answers(struct sim_connected *client)
{
    struct sim_reply reply;
    struct buffer scratch = { 0 };
    while (client->sim->invariant == NULL) {
        struct slice in = buffer_slice(&client->in);
        size_t size = client->is_json ? sim_wire_json_read(in, &reply, &scratch)
                                      : sim_wire_resp_read(in, &reply);
        if (size == 0) {
            break;
        }
        if (reply.kind == REPLY_BAD || (!client->is_level_owed && client->head == client->tail)) {
            sim_fail(client->sim, "I14 replies", "client %u: %s: '%.*s'", client->number,
                     reply.kind == REPLY_BAD ? "malformed" : "a reply to nothing", (int)in.size,
                     in.data);
        } else if (client->is_level_owed) {
            client->is_level_owed = false;
        } else {
            take_answer(client, &reply);
        }
        buffer_consume(&client->in, size);
    }
    buffer_free(&scratch);
}
