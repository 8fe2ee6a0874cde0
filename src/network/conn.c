/*
 * conn.c — a connection's life, and the requests it sends.
 *
 * Read next: conn.h (the picture), conn_reply.c (the answers).
 */
#include "network/conn.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"

enum {
    COPIED_BYTES_MAX = 1 << 10,    /* less input than this is copied: it costs nothing */
    TOP_UP_FIRST_BYTES = 256,      /* completes most requests that were cut in two */
    INPUT_SHRINK_BYTES = 64 << 10, /* a larger input buffer that is mostly empty is given back */
};

static const struct parse_limits limits_open = { REQUEST_ARGS_MAX, REQUEST_BYTES_MAX };
static const struct parse_limits limits_noauth = { REQUEST_NOAUTH_ARGS_MAX,
                                                   REQUEST_NOAUTH_BYTES_MAX };

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

void conn_open(struct server *server, struct io_socket *socket, bool by_slots)
{
    struct conn *conn = mem_zalloc(sizeof(*conn));
    conn->server = server;
    conn->socket = socket;
    conn->info.id = ++server->next_id;
    conn->info.authenticated = !server->options.auth_required;
    conn->info.by_slots = by_slots;
    conn->info.created_ms = server->now_ms;
    conn->info.active_ms = server->now_ms;
    conn->info.descriptor = io_socket_descriptor(server->io, socket);
    io_socket_name(server->io, socket, /* remote= */ true, conn->info.address,
                   sizeof(conn->info.address));
    io_socket_name(server->io, socket, /* remote= */ false, conn->info.local_address,
                   sizeof(conn->info.local_address));
    conn_table_add(server, conn);
    conn_list_push(&server->open, CONN_LIST_LIFE, conn);
    server->stats.clients += 1;
    server->stats.connections_total += 1;
    io_socket_own(server->io, socket, conn);
}

static void input_free(struct conn *conn)
{
    buffer_free(&conn->input);
    conn->input_at = 0;
    conn->input_copied = 0;
    if (!conn->is_json) {
        resp_parser_deinit(&conn->resp);
    }
}

void conn_free(struct conn *conn)
{
    input_free(conn);
    conn_reply_free(conn);
    conn_count(conn);
    buffer_free(&conn->info.name);
    buffer_free(&conn->info.lib_name);
    buffer_free(&conn->info.lib_version);
    mem_free(conn);
}

void conn_release(struct conn *conn)
{
    struct server *server = conn->server;
    bool is_kept =
        conn->socket != NULL || conn->is_in_pass || conn->owed > 0 || server->reply_conn == conn;
    if (LIKELY(is_kept)) {
        return;
    }
    conn_list_remove(&server->detached, CONN_LIST_LIFE, conn);
    conn_free(conn);
}

static void leave_lists(struct conn *conn)
{
    struct server *server = conn->server;
    if (server->ticked == conn) {
        server->ticked = conn->links[CONN_LIST_LIFE].next;
    }
    conn_table_remove(server, conn);
    conn_list_remove(&server->open, CONN_LIST_LIFE, conn);
    if (conn->is_dirty) {
        conn_list_remove(&server->dirty, CONN_LIST_DIRTY, conn);
        conn->is_dirty = false;
    }
    if (conn->is_resumable) {
        conn_list_remove(&server->resumable, CONN_LIST_RESUMABLE, conn);
        conn->is_resumable = false;
    }
    server->stats.paused -= conn->is_blocked ? 1 : 0;
    conn->is_blocked = false;
    server->stats.clients -= 1;
}

void conn_kill(struct conn *conn)
{
    if (conn->socket == NULL) {
        return;
    }
    struct server *server = conn->server;
    io_close(server->io, conn->socket);
    conn->socket = NULL;
    leave_lists(conn);
    conn_list_push(&server->detached, CONN_LIST_LIFE, conn);
    if (!conn->is_in_pass) {
        input_free(conn); /* in a pass its arguments are still in use */
    }
    conn_release(conn);
}

void conn_close_after_reply(struct conn *conn)
{
    if (conn->socket != NULL) {
        conn->is_closing = true; /* what still arrives is read and dropped */
        conn_mark_dirty(conn);
    }
}

void conn_end(struct conn *conn)
{
    conn->is_ended = true;
    io_recv_pause(conn->server->io, conn->socket);
    conn_mark_dirty(conn); /* closed at the next flush if nothing is owed */
}

/* ── holding back ────────────────────────────────────────────────────────────────────────────── */

void conn_block(struct conn *conn)
{
    ASSERT(conn->socket != NULL);
    if (!conn->is_blocked) {
        conn->is_blocked = true;
        conn->server->stats.paused += 1;
        io_recv_pause(conn->server->io, conn->socket);
    }
}

static void make_resumable(struct conn *conn)
{
    if (!conn->is_resumable) {
        conn->is_resumable = true;
        conn_list_push(&conn->server->resumable, CONN_LIST_RESUMABLE, conn);
    }
}

/* True when the answers owed or unsent exceed the bounds divided by `part`. */
static bool is_over(const struct conn *conn, uint32_t part)
{
    return conn->slots_tail - conn->slots_head + conn->in_hand >= CONN_SLOTS_MAX / part ||
           conn_queued_bytes(conn) >= CONN_OUTPUT_PAUSE_BYTES / part;
}

void conn_unblock(struct conn *conn)
{
    if (conn->is_blocked && !conn->is_in_pass && !is_over(conn, 2)) {
        make_resumable(conn);
    }
}

static void pass_begin(struct conn *conn)
{
    ASSERT(!conn->is_in_pass);
    conn->server->passes += 1;
    conn->is_in_pass = true;
}

void conn_resume(struct conn *conn)
{
    ASSERT(conn->is_resumable);
    struct server *server = conn->server;
    conn_list_remove(&server->resumable, CONN_LIST_RESUMABLE, conn);
    conn->is_resumable = false;
    conn->is_blocked = false;
    server->stats.paused -= 1;
    if (!conn->is_ended) {
        io_recv_resume(server->io, conn->socket);
    }
    conn->fresh = (struct slice){ 0 };
    conn->fresh_uncopied = NULL;
    conn->is_borrowing = false;
    pass_begin(conn);
}

bool conn_receive(struct conn *conn, struct slice data)
{
    struct server *server = conn->server;
    ASSERT(!conn->is_in_pass);
    server->stats.bytes_in += data.size;
    conn->info.bytes_in += data.size;
    conn->info.active_ms = server->now_ms;
    if (UNLIKELY(conn->is_closing)) {
        return false;
    }
    if (UNLIKELY(conn->is_blocked || server->is_held || server->is_stopping)) {
        buffer_append_slice(&conn->input, data);
        conn_count(conn);
        if (!conn->is_blocked) {
            conn_block(conn);
            make_resumable(conn);
        }
        return false;
    }
    conn->is_borrowing = data.size > COPIED_BYTES_MAX;
    if (!conn->is_borrowing) {
        char *copy = arena_alloc(&server->arena, data.size);
        memcpy(copy, data.data, data.size);
        data.data = copy;
    }
    conn->fresh = data;
    conn->fresh_uncopied = data.data;
    pass_begin(conn);
    return true;
}

/* ── requests ────────────────────────────────────────────────────────────────────────────────── */

static bool may_parse(struct conn *conn);
static struct slice unparsed(const struct conn *conn);
static enum parse_result parse_next(struct conn *conn, struct slice input,
                                    struct request *out_request, size_t *out_consumed);
static void consume(struct conn *conn, size_t count);
static bool top_up(struct conn *conn);
static void note_taken(const struct conn *conn, const char *begin);
static void answer_malformed(struct conn *conn);

bool conn_next_request(struct conn *conn, struct request *out_request)
{
    ASSERT(conn->is_in_pass);
    conn->may_have_more = false;
    while (LIKELY(may_parse(conn))) {
        size_t consumed = 0;
        struct slice input = unparsed(conn);
        switch (parse_next(conn, input, out_request, &consumed)) {
        case PARSE_REQUEST:
            note_taken(conn, input.data);
            consume(conn, consumed);
            conn->in_hand += 1;
            conn->info.commands += 1;
            conn->may_have_more = true;
            return true;
        case PARSE_SKIP:
            consume(conn, consumed);
            break;
        case PARSE_MORE:
            if (!top_up(conn)) {
                return false;
            }
            break;
        case PARSE_ERROR:
            consume(conn, consumed);
            conn->malformed = MALFORMED_LINE;
            conn->malformed_id = out_request->id;
            break;
        case PARSE_FATAL:
            conn->malformed = MALFORMED_STREAM;
            conn->malformed_id = (struct slice){ 0 };
            break;
        }
    }
    return false;
}

static bool may_parse(struct conn *conn)
{
    if (UNLIKELY(conn->socket == NULL || conn->is_closing)) {
        return false;
    }
    if (UNLIKELY(conn->server->is_held || is_over(conn, 1))) {
        conn_block(conn); /* until conn_unblock finds it drained, perhaps at the end of this pass */
        return false;
    }
    if (LIKELY(conn->malformed == MALFORMED_NOT)) {
        return true;
    }
    if (conn->in_hand > 0) {
        return false; /* their answers come first */
    }
    answer_malformed(conn);
    return !conn->is_closing;
}

static struct slice unparsed(const struct conn *conn)
{
    if (UNLIKELY(conn->input.size > conn->input_at)) {
        return slice_make(conn->input.data + conn->input_at, conn->input.size - conn->input_at);
    }
    return conn->fresh;
}

static enum parse_result parse_next(struct conn *conn, struct slice input,
                                    struct request *out_request, size_t *out_consumed)
{
    if (input.size == 0) {
        return PARSE_MORE;
    }
    if (UNLIKELY(conn->info.protocol == PROTOCOL_UNKNOWN)) {
        conn->is_json = input.data[0] == '{';
        conn->info.protocol = conn->is_json ? PROTOCOL_JSON : PROTOCOL_RESP2;
    }
    const struct parse_limits *limits =
        LIKELY(conn->info.authenticated) ? &limits_open : &limits_noauth;
    struct arena *arena = &conn->server->arena;
    if (UNLIKELY(conn->is_json)) {
        return json_parse(&conn->json, input, limits, arena, out_request, out_consumed);
    }
    return resp_parse(&conn->resp, input, limits, arena, out_request, out_consumed);
}

static void consume(struct conn *conn, size_t count)
{
    if (LIKELY(conn->input.size == conn->input_at)) {
        conn->fresh.data += count;
        conn->fresh.size -= count;
        return;
    }
    conn->input_at += count;
    size_t left = conn->input.size - conn->input_at;
    if (left > 0 && left <= conn->input_copied) {
        /* All that is left was copied from `fresh`: go on there. */
        conn->fresh.data -= left;
        conn->fresh.size += left;
        conn->fresh_uncopied -= left;
        conn->input.size -= left;
    }
}

/* Copies some of `fresh` behind the beginning of a request in `input`; false when the request
 * cannot go on in this pass. */
static bool top_up(struct conn *conn)
{
    if (conn->input.size == conn->input_at || conn->fresh.size == 0) {
        return false;
    }
    ASSERT(conn->input_at == 0);
    size_t piece = conn->input.size < TOP_UP_FIRST_BYTES ? TOP_UP_FIRST_BYTES : conn->input.size;
    piece = piece < conn->fresh.size ? piece : conn->fresh.size;
    buffer_append(&conn->input, conn->fresh.data, piece);
    conn->input_copied += piece;
    conn->fresh.data += piece;
    conn->fresh.size -= piece;
    conn->fresh_uncopied += piece;
    return true;
}

/* ── giving requests back ────────────────────────────────────────────────────────────────────── */

static void note_taken(const struct conn *conn, const char *begin)
{
    struct server *server = conn->server;
    server->taken[server->taken_count++ % PIPELINE_BATCH] = (struct taken){ conn, begin };
}

/* Where the connection's last requests, `count` of them, begin. */
static const char *taken_begin(const struct conn *conn, uint32_t count)
{
    const struct server *server = conn->server;
    for (uint32_t i = 1; i <= PIPELINE_BATCH; i++) {
        const struct taken *taken = &server->taken[(server->taken_count - i) % PIPELINE_BATCH];
        count -= taken->conn == conn;
        if (count == 0) {
            return taken->begin;
        }
    }
    UNREACHABLE();
}

bool conn_may_wait(const struct conn *conn)
{
    bool is_taken_up = conn->fresh.size == 0 && conn->input.size == conn->input_at;
    return is_taken_up && !conn->is_borrowing && conn->malformed == MALFORMED_NOT &&
           conn->socket != NULL && !conn->is_closing;
}

bool conn_is_full(const struct conn *conn)
{
    return conn_queued_bytes(conn) >= CONN_OUTPUT_PAUSE_BYTES;
}

static void fresh_rewind(struct conn *conn, const char *to)
{
    if (conn->fresh.data != to) {
        conn->fresh.size += (size_t)(conn->fresh.data - to);
        conn->fresh.data = to;
    }
}

void conn_untake(struct conn *conn, uint32_t count)
{
    ASSERT(conn->is_in_pass);
    ASSERT(count <= conn->in_hand);
    ASSERT(count <= PIPELINE_BATCH);
    if (count == 0) {
        return;
    }
    conn->in_hand -= count;
    conn->info.commands -= count;
    const char *begin = taken_begin(conn, count);
    size_t offset = (uintptr_t)begin - (uintptr_t)conn->input.data;
    if (conn->input.size > 0 && offset < conn->input.size) {
        conn->input_at = offset;
        fresh_rewind(conn, conn->fresh_uncopied);
    } else {
        fresh_rewind(conn, begin);
    }
    /* What the parser has seen behind them is read again. */
    conn->malformed = MALFORMED_NOT;
    conn->may_have_more = true;
    if (conn->is_json) {
        json_parser_init(&conn->json);
    } else {
        resp_parser_deinit(&conn->resp);
    }
}

/* ── the end of a pass ───────────────────────────────────────────────────────────────────────── */

static void answer_malformed(struct conn *conn)
{
    bool is_fatal = conn->malformed == MALFORMED_STREAM;
    conn->malformed = MALFORMED_NOT;
    conn->server->stats.protocol_errors += 1;
    conn->in_hand += 1;
    struct reply *reply = conn_reply_begin(conn, conn->malformed_id);
    reply_errorf(reply, "ERR %s", conn->is_json ? conn->json.error : conn->resp.error);
    conn_reply_end(conn);
    if (is_fatal) {
        conn_close_after_reply(conn);
    }
}

/* Gives most of a large buffer back when little of it is used any more. */
static void input_shrink(struct conn *conn)
{
    struct buffer *input = &conn->input;
    if (input->size == 0) {
        buffer_free(input);
    } else if (input->capacity > INPUT_SHRINK_BYTES && input->size < input->capacity / 4) {
        struct buffer smaller = { 0 };
        buffer_append(&smaller, input->data, input->size);
        buffer_free(input);
        *input = smaller;
    }
}

/* Whole requests may be left: they are parsed in another pass, not when more arrives. */
static void another_pass(struct conn *conn)
{
    conn->may_have_more = false;
    if (conn->socket == NULL) {
        return;
    }
    conn_block(conn);
    if (conn->malformed != MALFORMED_NOT) {
        answer_malformed(conn);
    }
}

/* Keeps what was not parsed for the next pass. */
static void input_keep(struct conn *conn)
{
    if (UNLIKELY(conn->input.capacity > 0 || conn->fresh.size > 0)) {
        buffer_consume(&conn->input, conn->input_at);
        buffer_append_slice(&conn->input, conn->fresh);
        conn->input_at = 0;
        conn->input_copied = 0;
        input_shrink(conn);
        conn_count(conn);
    }
    conn->fresh = (struct slice){ 0 };
}

void conn_input_end(struct conn *conn)
{
    struct server *server = conn->server;
    ASSERT(conn->is_in_pass);
    ASSERT(conn->in_hand == 0);
    if (UNLIKELY(conn->may_have_more || conn->malformed != MALFORMED_NOT)) {
        another_pass(conn);
    }
    conn->is_in_pass = false;
    server->passes -= 1;
    if (LIKELY(conn->socket != NULL && !conn->is_closing)) {
        input_keep(conn);
        if (UNLIKELY(conn->is_ended)) {
            conn_mark_dirty(conn);
        }
        conn_unblock(conn);
    } else {
        conn->fresh = (struct slice){ 0 };
        input_free(conn);
        conn_count(conn);
        conn_release(conn);
    }
    if (server->passes == 0) {
        arena_reset(&server->arena);
    }
}

/* ── state ───────────────────────────────────────────────────────────────────────────────────── */

void conn_count(struct conn *conn)
{
    struct server_stats *stats = &conn->server->stats;
    size_t input = conn->input.capacity;
    size_t output = conn->output.capacity + conn->later.capacity + conn->early_bytes;
    stats->input_buffer_bytes += input - conn->counted_input;
    stats->output_buffer_bytes += output - conn->counted_output;
    conn->counted_input = input;
    conn->counted_output = output;
}

static uint32_t saturate_u32(size_t value)
{
    return value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
}

struct conn_info *conn_info(struct conn *conn)
{
    conn->info.queued_input_bytes =
        saturate_u32(conn->input.size - conn->input_at + conn->fresh.size);
    conn->info.queued_output_bytes = saturate_u32(conn_queued_bytes(conn));
    conn->info.owed = conn->owed;
    return &conn->info;
}

enum consistency conn_consistency(const struct conn *conn)
{
    return conn->info.consistency;
}

bool conn_by_slots(const struct conn *conn)
{
    return conn->info.by_slots;
}

bool conn_is_authenticated(const struct conn *conn)
{
    return conn->info.authenticated;
}

void conn_note_command(struct conn *conn, const char *name)
{
    conn->info.last_command = name;
}

struct server *conn_server(struct conn *conn)
{
    return conn->server;
}
