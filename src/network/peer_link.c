/*
 * peer_link.c — one link: bytes in, bytes out.
 *
 * Read next: peer_link.h (the picture), protocol_peer.h (the bytes), peers.c (all links together).
 */
#include "network/peer_link.h"

#include "base/assert.h"
#include "base/endian.h"
#include "base/mem.h"

#include <stdio.h>

enum {
    KIND_PING = PEER_KIND_INTERNAL, /* body: 8 bytes, the sender's clock */
    KIND_PONG,                      /* the same 8 bytes */
    PING_BYTES = 8,
    BUFFER_KEEP_BYTES = 256 << 10, /* an empty buffer larger than this is given back */
};

static const uint64_t NS_PER_MS = 1000000;

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

struct peer_link *link_new(struct peers *peers, enum link_state state)
{
    uint32_t place = 0;
    while (place < PEER_LINKS_MAX && peers->links[place] != NULL) {
        place++;
    }
    if (place == PEER_LINKS_MAX) {
        return NULL;
    }
    struct peer_link *link = mem_zalloc(sizeof(*link));
    link->peers = peers;
    link->id = ++peers->ids_given * PEER_LINKS_MAX + place;
    link->place = place;
    link->state = state;
    link->opened_ns = peers->now_ns;
    link->heard_ns = peers->now_ns;
    link->deadline_ns = peers->now_ns + peers->options.hello_timeout_ms * NS_PER_MS;
    peers_wake_at(peers, link->deadline_ns);
    peers->links[place] = link;
    peers->places_used = place < peers->places_used ? peers->places_used : place + 1;
    peers->stats.links += 1;
    return link;
}

void link_free(struct peer_link *link)
{
    struct peers *peers = link->peers;
    ASSERT(peers->links[link->place] == link);
    ASSERT(link->socket == NULL);
    peers->links[link->place] = NULL;
    peers->stats.links -= 1;
    buffer_free(&link->input);
    buffer_free(&link->output);
    buffer_free(&link->said);
    mem_free(link);
}

void link_down(struct peer_link *link, const char *reason)
{
    struct peers *peers = link->peers;
    ASSERT(link->state != LINK_DOWN);
    if (link->reason[0] == '\0') {
        (void)snprintf(link->reason, sizeof(link->reason), "%s", reason);
    }
    if (link->socket != NULL) {
        io_close(peers->io, link->socket);
        link->socket = NULL;
    }
    peers->stats.links_up -= link->state == LINK_UP ? 1 : 0;
    link->state = LINK_DOWN;
    peers->dirty[link->place / 64] &= ~((uint64_t)1 << link->place % 64);
    peers->ended[link->place / 64] |= (uint64_t)1 << link->place % 64;
    peers->current = peers->current == link ? NULL : peers->current;
    peers->framing = peers->framing == link ? NULL : peers->framing;
    buffer_free(&link->output); /* not `input`: its frame may have been handed out */
    link->output_at = 0;
    peers_note_down(link);
}

void link_refuse(struct peer_link *link, const char *code, const char *reason)
{
    ASSERT(link->state == LINK_GREETING || link->state == LINK_PROVING);
    struct buffer *output = &link->output;
    output->size += peer_refusal_encode(code, reason, buffer_reserve(output, PEER_HELLO_BYTES_MAX));
    (void)snprintf(link->reason, sizeof(link->reason), "refused: %s", reason);
    link->state = LINK_CLOSING;
    link->peers->stats.hellos_refused += 1;
    peers_mark_dirty(link);
    peers_complain(link, link->reason);
}

const char *link_error_text(int64_t result)
{
    const char *text = strerrordesc_np((int)-result);
    return text != NULL ? text : "unknown error";
}

void link_say_hello(struct peer_link *link)
{
    struct peer_hello hello = link->peers->options.self;
    hello.channel = (uint8_t)link->channel;
    if (link->peers->key != NULL) {
        struct io *io = link->peers->io;
        peer_nonce_make(io_random(io), io_random(io), hello.nonce);
    }
    struct buffer *output = &link->output;
    output->size += peer_hello_encode(&hello, buffer_reserve(output, PEER_HELLO_BYTES_MAX));
    peers_mark_dirty(link);
}

void link_up(struct peer_link *link)
{
    struct peers *peers = link->peers;
    const struct peer_hello *self = &peers->options.self;
    ASSERT(link->state == (peers->key != NULL ? LINK_PROVING : LINK_GREETING));
    /* Of a JOIN link it is the accepting side's cluster: the other has none yet. */
    uint64_t cluster =
        peer_hello_cluster(link->channel == PEER_JOIN && link->is_outgoing ? &link->hello : self);
    link->route_in = (struct peer_route){ cluster, link->hello.incarnation, self->incarnation };
    link->route_out = (struct peer_route){ cluster, self->incarnation, link->hello.incarnation };
    link->state = LINK_UP;
    link->up_ns = peers->now_ns;
    link->spoke_ns = peers->now_ns;
    peers_wake_at(peers, peers->now_ns + peers->options.ping_interval_ms * NS_PER_MS);
    peers->stats.links_up += 1;
    peers->stats.links_up_total += 1;
}

/* ── receiving ───────────────────────────────────────────────────────────────────────────────── */

static enum link_received receive_line(struct peer_link *link);
static enum link_received receive_frame(struct peer_link *link, struct peer_frame *out_frame);
static enum link_received frame_take(struct peer_link *link, const struct peer_frame *frame);
static void ping_send(struct peer_link *link, uint8_t kind, uint64_t sent_ns);

enum link_received link_receive(struct peer_link *link, struct peer_frame *out_frame)
{
    struct peers *peers = link->peers;
    ASSERT(peers->current == link);
    if (peers->fresh.size == 0) {
        return LINK_RECEIVED_ALL;
    }
    switch (link->state) {
    case LINK_GREETING:
    case LINK_PROVING:
        return receive_line(link);
    case LINK_UP:
        return receive_frame(link, out_frame);
    case LINK_CLOSING:
        return LINK_RECEIVED_ALL; /* read and dropped: closing with unread bytes would reset */
    case LINK_CONNECTING:
    case LINK_DOWN:
        break;
    }
    UNREACHABLE();
}

static void fresh_skip(struct peers *peers, size_t count)
{
    ASSERT(count <= peers->fresh.size);
    peers->fresh.data += count;
    peers->fresh.size -= count;
}

/* Copies `count` of the fresh bytes to what is not whole yet. */
static void fresh_keep(struct peer_link *link, size_t count)
{
    buffer_append(&link->input, link->peers->fresh.data, count);
    fresh_skip(link->peers, count);
}

static enum link_received receive_line(struct peer_link *link)
{
    struct slice fresh = link->peers->fresh;
    size_t room = PEER_HELLO_BYTES_MAX - link->input.size;
    size_t searched = fresh.size < room ? fresh.size : room;
    const char *newline = memchr(fresh.data, '\n', searched);
    fresh_keep(link, newline != NULL ? (size_t)(newline - fresh.data) + 1 : searched);
    if (newline == NULL && link->input.size < PEER_HELLO_BYTES_MAX) {
        return LINK_RECEIVED_ALL;
    } /* else it is a line, or already too much for one */
    struct buffer line = link->input;
    link->input = (struct buffer){ 0 };
    peers_greet(link, buffer_slice(&line));
    buffer_free(&line);
    return LINK_RECEIVED_OTHER;
}

static size_t body_max(const struct peer_link *link)
{
    bool is_stranger = link->channel == PEER_JOIN && !link->is_outgoing;
    return is_stranger ? PEER_JOIN_BYTES_MAX : PEER_FRAME_BYTES_MAX;
}

static enum link_received frame_bad(struct peer_link *link, const char *text)
{
    link->peers->stats.bad_frames += 1;
    peers_complain(link, text);
    link_down(link, text);
    return LINK_RECEIVED_OTHER;
}

/* Completes the frame that `input` holds a part of: its header, which tells its size, then its
 * body.  Bytes behind it stay where they lie. */
static enum peer_frame_result input_open(struct peer_link *link, struct peer_frame *out_frame)
{
    struct buffer *input = &link->input;
    const struct slice *fresh = &link->peers->fresh;
    size_t size = 0;
    enum peer_frame_result result =
        peer_frame_open(buffer_slice(input), &link->route_in, body_max(link), out_frame, &size);
    while (result == PEER_FRAME_MORE && fresh->size > 0) {
        size_t missing = size - input->size;
        fresh_keep(link, missing < fresh->size ? missing : fresh->size);
        result =
            peer_frame_open(buffer_slice(input), &link->route_in, body_max(link), out_frame, &size);
    }
    return result;
}

static enum link_received receive_frame(struct peer_link *link, struct peer_frame *out_frame)
{
    struct peers *peers = link->peers;
    enum peer_frame_result result = PEER_FRAME_OK;
    if (link->input.size > 0) {
        result = input_open(link, out_frame);
        peers->handed_input = link;
    } else {
        size_t size = 0;
        result = peer_frame_open(peers->fresh, &link->route_in, body_max(link), out_frame, &size);
        if (result == PEER_FRAME_OK) {
            fresh_skip(peers, size);
        }
    }
    if (result == PEER_FRAME_OK) {
        return frame_take(link, out_frame);
    }
    peers->handed_input = NULL;
    if (result == PEER_FRAME_MORE) {
        fresh_keep(link, peers->fresh.size);
        return LINK_RECEIVED_ALL;
    }
    return frame_bad(link, peer_frame_result_text(result));
}

void link_input_release(struct peer_link *link)
{
    link->input.size = 0;
    if (link->input.capacity > BUFFER_KEEP_BYTES) {
        buffer_free(&link->input);
    }
}

static void pong_take(struct peer_link *link, uint64_t sent_ns)
{
    uint64_t now_ns = link->peers->now_ns;
    if (sent_ns <= now_ns && sent_ns >= link->opened_ns) {
        link->rtt_ns = now_ns - sent_ns;
    }
}

/* Every frame that comes in passes here. */
static enum link_received frame_take(struct peer_link *link, const struct peer_frame *frame)
{
    link->frames_in += 1;
    link->peers->stats.frames_in += 1;
    if (LIKELY(frame->kind < PEER_KIND_INTERNAL)) {
        return LINK_RECEIVED_FRAME;
    }
    if (frame->kind > KIND_PONG || frame->body.size != PING_BYTES) {
        return frame_bad(link, "a frame of a kind that is unknown here");
    }
    uint64_t sent_ns = load_u64(frame->body.data);
    if (frame->kind == KIND_PONG) {
        pong_take(link, sent_ns);
    } else {
        ping_send(link, KIND_PONG, sent_ns);
    }
    return LINK_RECEIVED_OTHER;
}

/* ── sending ─────────────────────────────────────────────────────────────────────────────────── */

uint64_t link_queued_bytes(const struct peer_link *link)
{
    return link->output.size - link->output_at;
}

static size_t queue_max(const struct peer_link *link)
{
    static const size_t bytes_max[PEER_CHANNELS] = {
        [PEER_RAFT] = PEER_RAFT_QUEUE_BYTES_MAX,
        [PEER_CLIENT] = PEER_CLIENT_QUEUE_BYTES_MAX,
        [PEER_BULK] = PEER_BULK_QUEUE_BYTES_MAX,
        [PEER_JOIN] = PEER_JOIN_QUEUE_BYTES_MAX,
    };
    return bytes_max[link->channel];
}

char *link_frame_begin(struct peer_link *link, uint8_t kind, size_t body_max)
{
    struct peers *peers = link->peers;
    struct buffer *output = &link->output;
    ASSERT(body_max <= PEER_FRAME_BYTES_MAX);
    if (link->state != LINK_UP) {
        return NULL;
    }
    if (link_queued_bytes(link) >= queue_max(link)) {
        peers->stats.queue_full += 1;
        return NULL;
    }
    if (link->output_at > output->size / 2) { /* moves less than was sent since the last time */
        buffer_consume(output, link->output_at);
        link->output_at = 0;
    }
    char *frame = buffer_reserve(output, PEER_FRAME_HEADER_BYTES + body_max);
    peers->framing = link;
    link->frame_kind = kind;
    link->frame_flags = 0;
    link->frame_max = body_max;
    return frame + PEER_FRAME_HEADER_BYTES;
}

/* Every frame that goes out passes here. */
void link_frame_end(struct peer_link *link, size_t body_size)
{
    struct peers *peers = link->peers;
    struct buffer *output = &link->output;
    ASSERT(peers->framing == link);
    ASSERT(body_size <= link->frame_max);
    peer_frame_seal(output->data + output->size, &link->route_out, link->frame_kind,
                    link->frame_flags, body_size);
    output->size += PEER_FRAME_HEADER_BYTES + body_size;
    peers->framing = NULL;
    peers->stats.frames_out += 1;
    link->frames_out += 1;
    link->spoke_ns = peers->now_ns;
    peers_mark_dirty(link);
}

static void ping_send(struct peer_link *link, uint8_t kind, uint64_t sent_ns)
{
    char *body = link_frame_begin(link, kind, PING_BYTES);
    if (body != NULL) {
        store_u64(body, sent_ns);
        link_frame_end(link, PING_BYTES);
    }
}

void link_ping(struct peer_link *link)
{
    link->spoke_ns = link->peers->now_ns; /* what is still queued will be heard, too */
    if (link_queued_bytes(link) == 0) {
        ping_send(link, KIND_PING, link->peers->now_ns);
    }
}

static void output_sent(struct peer_link *link)
{
    link->output.size = 0;
    link->output_at = 0;
    if (link->output.capacity > BUFFER_KEEP_BYTES) {
        buffer_free(&link->output);
    }
    if (link->state == LINK_CLOSING) {
        link_down(link, "closed");
    }
}

void link_send(struct peer_link *link)
{
    struct peers *peers = link->peers;
    ASSERT(link->socket != NULL);
    ASSERT(!link->is_send_blocked);
    struct slice bytes =
        slice_make(link->output.data + link->output_at, link->output.size - link->output_at);
    int64_t sent = io_send(peers->io, link->socket, bytes);
    if (sent < 0) {
        link_down(link, link_error_text(sent));
        return;
    }
    link->output_at += (size_t)sent;
    link->bytes_out += (uint64_t)sent;
    peers->stats.bytes_out += (uint64_t)sent;
    if (link_queued_bytes(link) == 0) {
        output_sent(link);
    } else {
        link->is_send_blocked = true;
    }
}
