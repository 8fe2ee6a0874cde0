/*
 * fuzz_peer.c — any bytes at the cluster port: HELLO lines and frames.
 *
 * The first byte says how much help the rest gets: nothing, a good HELLO of a member before it, or
 * good frame headers as well; and whether a secret is to be proved, which no bytes can.  The second
 * chooses the pieces.  Fed whole and fed in pieces it must come to the same, and a HELLO that is
 * understood must come out the same when it is sent on.
 */
#include "network/peers.h"

#include "base/assert.h"
#include "base/buffer.h"
#include "base/mem.h"
#include "io/io_sim.h"
#include "network/peer_link.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HELP_HELLO = 1, HELP_FRAMES = 2, CHANNEL_SHIFT = 2, SECRET = 16, PORT = 7700 };

static const struct peer_hello us = {
    .node = "us", .number = 1, .incarnation = 11, .cluster = "00112233445566778899aabbccddeeff"
};
static const struct peer_hello member = {
    .node = "them", .number = 2, .incarnation = 22, .cluster = "00112233445566778899aabbccddeeff"
};

static void check_proof(struct slice line)
{
    uint8_t proof[PEER_PROOF_BYTES];
    uint8_t again[PEER_PROOF_BYTES];
    char error[100];
    char encoded[PEER_HELLO_BYTES_MAX];
    if (peer_proof_decode(line, proof, error, sizeof(error)) != PEER_HELLO_OK) {
        return;
    }
    size_t size = peer_proof_encode(proof, encoded);
    enum peer_hello_result result =
        peer_proof_decode(slice_make(encoded, size), again, error, sizeof(error));
    ASSERT(result == PEER_HELLO_OK);
    ASSERT(memcmp(proof, again, sizeof(proof)) == 0);
}

static void check_hello(struct slice line)
{
    struct peer_hello hello;
    struct peer_hello again;
    char error[100];
    char encoded[PEER_HELLO_BYTES_MAX];
    if (peer_hello_decode(line, &hello, error, sizeof(error)) != PEER_HELLO_OK) {
        return;
    }
    size_t size = peer_hello_encode(&hello, encoded);
    enum peer_hello_result result =
        peer_hello_decode(slice_make(encoded, size), &again, error, sizeof(error));
    ASSERT(result == PEER_HELLO_OK);
    ASSERT(memcmp(&hello, &again, sizeof(hello)) == 0);
}

/* The bytes that arrive, with as much help as was chosen. */
static void stream_build(struct buffer *out, unsigned help, struct slice data)
{
    struct peer_route route = { peer_hello_cluster(&us), member.incarnation, us.incarnation };
    if ((help & HELP_HELLO) != 0) {
        struct peer_hello hello = member;
        hello.channel = (uint8_t)(help >> CHANNEL_SHIFT) % PEER_CHANNELS;
        if ((help & SECRET) != 0) {
            peer_nonce_make(1, 2, hello.nonce);
        }
        out->size += peer_hello_encode(&hello, buffer_reserve(out, PEER_HELLO_BYTES_MAX));
    }
    while ((help & HELP_FRAMES) != 0 && data.size > 3) {
        size_t size = (unsigned char)data.data[1];
        size = size < data.size - 2 ? size : data.size - 2;
        char *frame = buffer_reserve(out, PEER_FRAME_HEADER_BYTES + size);
        memcpy(frame + PEER_FRAME_HEADER_BYTES, data.data + 2, size);
        peer_frame_seal(frame, &route, (uint8_t)data.data[0], 0, size);
        out->size += PEER_FRAME_HEADER_BYTES + size;
        data = slice_make(data.data + 2 + size, data.size - 2 - size);
    }
    buffer_append_slice(out, data);
}

static void describe(struct peers *peers, struct buffer *out)
{
    struct peer_event event;
    while (peers_next(peers, &event)) {
        buffer_printf(out, "%d %d %llu:", event.kind, event.channel,
                      (unsigned long long)event.number);
        if (event.kind == PEER_EVENT_FRAME) {
            buffer_printf(out, "%d %d %zu ", event.frame_kind, event.flags, event.body.size);
            buffer_append_slice(out, event.body);
        } else if (event.kind == PEER_EVENT_DOWN) {
            buffer_append_text(out, event.reason);
        }
    }
    uint64_t queued = 0;
    for (uint32_t i = 0; i < peers->places_used; i++) {
        queued += peers->links[i] != NULL ? link_queued_bytes(peers->links[i]) : 0;
        ASSERT(peers->links[i] == NULL || peers->links[i]->input.capacity <= 256 << 10);
    }
    ASSERT(queued <= PEER_RAFT_QUEUE_BYTES_MAX + PEER_HELLO_BYTES_MAX);
}

/* A connection from outside; the place where its link is. */
static struct peer_link **link_accept(struct sim_world *world, struct sim_node *node, struct io *io,
                                      struct peers *peers)
{
    struct sim_turn turn;
    struct io_event event = { 0 };
    (void)sim_client_connect(world, node, PORT, NULL);
    while (event.socket == NULL && sim_world_step(world, UINT64_MAX, &turn)) {
        if (turn.node != NULL && io_next(io, &event)) {
            peers_on_event(peers, &event);
        }
        io_wait(io, UINT64_MAX);
    }
    return &peers->links[0];
}

static void feed(struct slice input, size_t piece, const char *secret, struct buffer *out)
{
    struct sim_options sim_options = sim_options_calm();
    struct sim_world *world = sim_world_new(1, &sim_options);
    struct sim_node *node = sim_node_new(world, "us");
    struct io *io = sim_node_boot(node);
    struct peers_options options = { .self = us, .secret = secret };
    struct peer_member known = { .number = 2, .incarnation = 22, .host = "10.0.0.9", .port = PORT };
    struct peers *peers = peers_new(io, &options);
    int status = peers_listen(peers, "0.0.0.0", PORT);
    ASSERT(status == 0);
    io_wait(io, UINT64_MAX);
    peers_set_members(peers, &known, 1);
    struct peer_link **link = link_accept(world, node, io, peers);
    ASSERT(*link != NULL);
    for (size_t at = 0; at < input.size && *link != NULL && (*link)->state != LINK_DOWN;) {
        size_t size = piece < input.size - at ? piece : input.size - at;
        char *copy = mem_alloc(size); /* what is read behind it is noticed */
        memcpy(copy, input.data + at, size);
        struct io_event event = { .kind = IO_EVENT_RECV,
                                  .owner = link,
                                  .socket = (*link)->socket,
                                  .data = copy,
                                  .result = (int64_t)size };
        peers_on_event(peers, &event);
        describe(peers, out);
        mem_free(copy);
        at += size;
    }
    buffer_printf(out, "%s", peers_stats(peers)->links_up == 1 ? "up" : "down");
    ASSERT(secret == NULL || peers_stats(peers)->links_up_total == 0);
    peers_free(peers);
    io_free(io);
    sim_world_free(world);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    check_hello(slice_make(data + 2, size - 2));
    check_proof(slice_make(data + 2, size - 2));
    const char *secret = (data[0] & SECRET) != 0 ? "secret" : NULL;
    struct buffer input = { 0 };
    struct buffer whole = { 0 };
    struct buffer pieces = { 0 };
    stream_build(&input, data[0], slice_make(data + 2, size - 2));
    feed(buffer_slice(&input), SIZE_MAX, secret, &whole);
    feed(buffer_slice(&input), 1 + data[1], secret, &pieces);
    ASSERT(slice_equal(buffer_slice(&whole), buffer_slice(&pieces)));
    buffer_free(&input);
    buffer_free(&whole);
    buffer_free(&pieces);
    return 0;
}
