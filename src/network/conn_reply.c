/*
 * conn_reply.c — a connection's answers: in request order, whatever is answered first.
 *
 * With nothing owed an answer is encoded straight into the output.  The oldest missing answer, too:
 * so writes that end in order cost no copy.  Everything else waits as the picture in conn.h shows.
 *
 * Read next: conn.h, reply.h.
 */
#include "network/conn.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"

enum { DROP_BYTES = 64 << 10 }; /* sent bytes at the front of a buffer are worth dropping */

/* ── buffers ─────────────────────────────────────────────────────────────────────────────────── */

/* Gives an empty buffer its first memory, if possible some that was used before.  When very many
 * connections answer at once each begins small. */
static void buffer_equip(struct server *server, struct buffer *buffer)
{
    if (LIKELY(buffer->capacity > 0)) {
        return;
    }
    if (server->spares_count > 0) {
        *buffer = server->spares[--server->spares_count];
    } else {
        bool is_crowded = server->buffers_in_use >= SERVER_SPARES_MAX;
        (void)buffer_reserve(buffer, is_crowded ? CROWDED_BYTES : SPARE_BYTES);
    }
    server->buffers_in_use += 1;
}

/* Empties a buffer and keeps its memory for others, unless there is enough of that. */
static void buffer_retire(struct server *server, struct buffer *buffer)
{
    ASSERT(server->buffers_in_use > 0);
    server->buffers_in_use -= 1;
    bool is_useful = buffer->capacity >= SPARE_BYTES && buffer->capacity <= SPARE_BYTES_MAX;
    if (is_useful && server->spares_count < SERVER_SPARES_MAX) {
        buffer->size = 0;
        server->spares[server->spares_count++] = *buffer;
        *buffer = (struct buffer){ 0 };
    } else {
        buffer_free(buffer);
    }
}

static void buffer_abandon(struct server *server, struct buffer *buffer)
{
    if (buffer->capacity > 0) {
        buffer_retire(server, buffer);
    }
}

/* Drops the first *used bytes once they are most of the buffer, so that each byte moves at most
 * once on average. */
static void buffer_drop(struct server *server, struct buffer *buffer, size_t *used)
{
    if (*used == buffer->size) {
        buffer_retire(server, buffer);
        *used = 0;
    } else if (*used >= DROP_BYTES && *used > buffer->size / 2) {
        buffer_consume(buffer, *used);
        *used = 0;
    }
}

/* ── answering ───────────────────────────────────────────────────────────────────────────────── */

static struct slot *slot_at(const struct conn *conn, uint64_t ticket)
{
    return &conn->slots[ticket & (conn->slots_capacity - 1)];
}

static struct reply *answer_begin(struct conn *conn, struct buffer *out, enum protocol protocol,
                                  struct slice id)
{
    struct server *server = conn->server;
    ASSERT(server->reply_conn == NULL);
    if (out != &server->scratch) {
        buffer_equip(server, out);
    }
    server->reply_conn = conn;
    reply_begin(&server->reply, protocol, out, id);
    return &server->reply;
}

/* Ends it; returns its size, or 0 after taking it back when nobody is to see it. */
static size_t answer_end(struct conn *conn, bool is_silent)
{
    struct server *server = conn->server;
    struct reply *reply = &server->reply;
    ASSERT(server->reply_conn == conn);
    reply_end(reply);
    server->reply_conn = NULL;
    if (UNLIKELY(is_silent || conn->socket == NULL || reply->out == &server->scratch)) {
        reply->out->size = reply->start;
    }
    return reply->out->size - reply->start;
}

/* The last step of an answer: the connection may be gone behind it. */
static void answer_settle(struct conn *conn)
{
    uint64_t limit = conn->server->options.output_limit_bytes;
    if (UNLIKELY(limit > 0 && conn->socket != NULL && conn_queued_bytes(conn) > limit)) {
        conn->server->stats.output_closed += 1;
        conn_kill(conn);
        return;
    }
    conn_release(conn);
}

static enum protocol conn_protocol(const struct conn *conn)
{
    ASSERT(conn->info.protocol != PROTOCOL_UNKNOWN);
    return UNLIKELY(conn->is_json) ? PROTOCOL_JSON : conn->info.protocol;
}

struct reply *conn_reply_begin(struct conn *conn, struct slice id)
{
    ASSERT(conn->in_hand > 0);
    conn->in_hand -= 1;
    if (UNLIKELY(conn->info.reply_mode == CONN_REPLY_SKIP_NEXT)) {
        conn->info.reply_mode = CONN_REPLY_SKIP;
    }
    struct buffer *out = &conn->output;
    if (conn->slots_head != conn->slots_tail) {
        out = &conn->later;
    }
    if (UNLIKELY(conn->socket == NULL)) {
        out = &conn->server->scratch;
    }
    return answer_begin(conn, out, conn_protocol(conn), id);
}

void conn_reply_end(struct conn *conn)
{
    /* The mode of the end decides: CLIENT REPLY ON is answered, OFF and SKIP are not. */
    bool is_silent = conn->info.reply_mode != CONN_REPLY_ON;
    if (conn->info.reply_mode == CONN_REPLY_SKIP) {
        conn->info.reply_mode = CONN_REPLY_ON;
    }
    const struct buffer *out = conn->server->reply.out;
    size_t size = answer_end(conn, is_silent);
    if (out == &conn->later) {
        slot_at(conn, conn->slots_tail - 1)->after += size;
    } else {
        conn_mark_dirty(conn);
    }
    answer_settle(conn);
}

/* ── deferring ───────────────────────────────────────────────────────────────────────────────── */

static void slots_grow(struct conn *conn)
{
    uint32_t capacity = conn->slots_capacity == 0 ? SLOTS_FIRST : conn->slots_capacity * 2;
    ASSERT(capacity <= 2 * CONN_SLOTS_MAX);
    struct slot *slots = mem_alloc(capacity * sizeof(slots[0]));
    for (uint64_t ticket = conn->slots_head; ticket != conn->slots_tail; ticket++) {
        slots[ticket & (capacity - 1)] = *slot_at(conn, ticket);
    }
    mem_free(conn->slots);
    conn->slots = slots;
    conn->slots_capacity = capacity;
}

uint64_t conn_defer(struct conn *conn, struct slice id)
{
    ASSERT(conn->in_hand > 0);
    conn->in_hand -= 1;
    if (UNLIKELY(conn->slots_tail - conn->slots_head == conn->slots_capacity)) {
        slots_grow(conn);
    }
    uint64_t ticket = conn->slots_tail++;
    struct slot *slot = slot_at(conn, ticket);
    *slot = (struct slot){ .protocol = conn_protocol(conn) };
    if (UNLIKELY(id.size > 0)) {
        slot->id = mem_alloc(id.size);
        slot->id_size = id.size;
        memcpy(slot->id, id.data, id.size);
    }
    if (UNLIKELY(conn->info.reply_mode != CONN_REPLY_ON)) {
        slot->is_silent = true;
        if (conn->info.reply_mode != CONN_REPLY_OFF) {
            conn->info.reply_mode = CONN_REPLY_ON;
        }
    }
    conn->owed += 1;
    return ticket;
}

struct reply *conn_deferred_begin(struct conn *conn, uint64_t ticket)
{
    ASSERT(ticket - conn->slots_head < conn->slots_tail - conn->slots_head);
    struct slot *slot = slot_at(conn, ticket);
    ASSERT(!slot->is_answered);
    struct buffer *out = &conn->output;
    if (UNLIKELY(slot->is_silent || conn->socket == NULL)) {
        out = &conn->server->scratch;
    } else if (ticket != conn->slots_head) {
        out = &slot->bytes;
        (void)buffer_reserve(out, 1); /* small: it is not worth a spare */
    }
    return answer_begin(conn, out, slot->protocol, (struct slice){ slot->id, slot->id_size });
}

/* Moves what has become sendable to the output. */
static void slots_advance(struct conn *conn)
{
    while (conn->slots_head != conn->slots_tail) {
        struct slot *slot = slot_at(conn, conn->slots_head);
        if (!slot->is_answered) {
            break;
        }
        if (slot->bytes.capacity > 0) {
            conn->early_bytes -= slot->bytes.size;
            buffer_equip(conn->server, &conn->output);
            buffer_append_slice(&conn->output, buffer_slice(&slot->bytes));
            buffer_free(&slot->bytes);
        }
        if (UNLIKELY(slot->id != NULL)) {
            mem_free(slot->id);
        }
        if (slot->after > 0) {
            buffer_equip(conn->server, &conn->output);
            buffer_append(&conn->output, conn->later.data + conn->later_at, slot->after);
            conn->later_at += slot->after;
        }
        conn->slots_head += 1;
    }
    if (conn->later.capacity > 0) {
        buffer_drop(conn->server, &conn->later, &conn->later_at);
    }
}

void conn_deferred_end(struct conn *conn, uint64_t ticket)
{
    struct slot *slot = slot_at(conn, ticket);
    ASSERT(conn->owed > 0);
    ASSERT(!slot->is_answered);
    const struct buffer *out = conn->server->reply.out;
    size_t size = answer_end(conn, /* is_silent= */ false);
    conn->early_bytes += out == &slot->bytes ? size : 0;
    slot->is_answered = true;
    conn->owed -= 1;
    if (ticket == conn->slots_head) {
        slots_advance(conn);
        conn_mark_dirty(conn);
    }
    if (UNLIKELY(conn->is_blocked)) {
        conn_unblock(conn);
    }
    answer_settle(conn);
}

uint32_t conn_owed(const struct conn *conn)
{
    return conn->owed;
}

bool conn_is_gone(const struct conn *conn)
{
    return conn->socket == NULL || conn->is_ended;
}

bool conn_is_next(const struct conn *conn, uint64_t ticket)
{
    return conn->slots_head == ticket;
}

/* ── sending ─────────────────────────────────────────────────────────────────────────────────── */

size_t conn_queued_bytes(const struct conn *conn)
{
    return conn->output.size - conn->output_sent + conn->later.size - conn->later_at +
           conn->early_bytes;
}

void conn_mark_dirty(struct conn *conn)
{
    if (!conn->is_dirty && conn->socket != NULL) {
        conn->is_dirty = true;
        conn_list_push(&conn->server->dirty, CONN_LIST_DIRTY, conn);
    }
}

/* Sends; false when the connection broke. */
static bool output_send(struct conn *conn)
{
    size_t unsent = conn->output.size - conn->output_sent;
    if (unsent == 0 || conn->is_send_blocked) {
        return true;
    }
    struct server *server = conn->server;
    int64_t sent = io_send(server->io, conn->socket,
                           slice_make(conn->output.data + conn->output_sent, unsent));
    if (sent < 0) {
        return false;
    }
    ASSERT((size_t)sent <= unsent);
    conn->output_sent += (size_t)sent;
    conn->info.bytes_out += (uint64_t)sent;
    server->stats.bytes_out += (uint64_t)sent;
    conn->is_send_blocked = (size_t)sent < unsent;
    return true;
}

void conn_flush(struct conn *conn)
{
    struct server *server = conn->server;
    uint64_t limit = server->options.output_limit_bytes;
    if (!output_send(conn)) {
        conn_kill(conn);
        return;
    }
    size_t queued = conn_queued_bytes(conn);
    if (UNLIKELY(limit > 0 && queued > limit)) {
        server->stats.output_closed += 1;
        conn_kill(conn);
        return;
    }
    bool is_over = conn->is_closing || (conn->is_ended && !conn->is_blocked);
    if (UNLIKELY(is_over && conn->owed == 0 && queued == 0)) {
        conn_kill(conn);
        return;
    }
    if (conn->output.capacity > 0) {
        buffer_drop(server, &conn->output, &conn->output_sent);
    }
    if (UNLIKELY(queued >= CONN_OUTPUT_PAUSE_BYTES)) {
        conn_block(conn);
    }
    conn_unblock(conn);
    conn_count(conn);
}

/* ── memory ──────────────────────────────────────────────────────────────────────────────────── */

void conn_reply_trim(struct conn *conn)
{
    if (conn->slots_capacity > 0 && conn->slots_head == conn->slots_tail) {
        mem_free(conn->slots);
        conn->slots = NULL;
        conn->slots_capacity = 0;
    }
}

void conn_reply_free(struct conn *conn)
{
    for (uint64_t ticket = conn->slots_head; ticket != conn->slots_tail; ticket++) {
        buffer_free(&slot_at(conn, ticket)->bytes);
        mem_free(slot_at(conn, ticket)->id);
    }
    mem_free(conn->slots);
    buffer_abandon(conn->server, &conn->output);
    buffer_abandon(conn->server, &conn->later);
    conn->slots = NULL;
    conn->slots_capacity = 0;
    conn->slots_head = conn->slots_tail;
    conn->output_sent = 0;
    conn->later_at = 0;
    conn->early_bytes = 0;
}
