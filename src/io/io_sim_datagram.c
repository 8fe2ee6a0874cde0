/*
 * io_sim_datagram.c — simulated UDP: each packet is an event of its own.
 *
 * A packet is lost, doubled, late or damaged as the options say, independently of what happens to
 * connections; each has its own latency, so packets overtake each other.  Where it goes is decided
 * when it is sent, whether it gets there when it arrives: a blocked link, a machine without power
 * and a port that nobody has open swallow it without a word.
 *
 * Read next: io_sim_net.c.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "io/io_sim_internal.h"

#include <errno.h>
#include <stdio.h>

enum { ARRIVED_MAX = 256 }; /* packets that a socket keeps for its process: then the kernel drops */

static struct io_socket *socket_find(const struct sim_node *node, uint16_t port)
{
    struct io_socket *socket = node->io != NULL ? node->io->sockets : NULL;
    while (socket != NULL && (!socket->is_datagram || socket->gone || socket->port != port)) {
        socket = socket->next;
    }
    return socket;
}

int sim_datagram_open(struct io *base, const char *host, uint16_t port, void *owner,
                      struct io_socket **out_socket)
{
    struct sim_io *io = sim_io_from(base);
    bool is_any = strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
    const struct sim_node *node = is_any ? io->node : sim_host_find(io->node, host);
    if (io->is_dead || node == NULL) {
        return io->is_dead ? -ENETDOWN : -EINVAL;
    }
    uint16_t chosen = port != 0 ? port : sim_port_choose(io);
    if (node != io->node || socket_find(node, chosen) != NULL) {
        return node != io->node ? -EADDRNOTAVAIL : -EADDRINUSE;
    }
    struct io_socket *socket = mem_zalloc(sizeof(*socket));
    socket->owner = owner;
    socket->port = chosen;
    socket->is_datagram = true;
    sim_socket_adopt(io, socket);
    sim_trace(io->world, io->node, "open udp", chosen, 0);
    *out_socket = socket;
    return 0;
}

/* Puts one copy on its way. */
static void copy_send(struct sim_io *io, struct io_socket *socket, struct sim_node *to,
                      uint16_t port, struct slice data)
{
    struct sim_world *world = io->world;
    const struct sim_options *options = &world->options;
    struct prng *prng = &world->prng_datagram;
    struct sim_datagram *datagram = mem_alloc(sizeof(*datagram) + data.size);
    *datagram = (struct sim_datagram){ .from = io->node,
                                       .to = to,
                                       .from_port = socket->port,
                                       .to_port = port,
                                       .size = (uint32_t)data.size };
    memcpy(datagram->data, data.data, data.size);
    if (data.size > 0 && sim_happens(prng, options->datagram_corrupt_ppm)) {
        uint64_t bit = prng_below(prng, (uint64_t)data.size * 8);
        datagram->data[bit / 8] = (char)(datagram->data[bit / 8] ^ (1 << bit % 8));
    }
    uint64_t delay_ns = sim_delay_draw(prng, options->latency_min_ns, options->latency_mean_ns);
    if (sim_happens(prng, options->datagram_late_ppm)) {
        delay_ns += prng_below(prng, options->stall_max_ns + 1);
    }
    sim_schedule(world, delay_ns,
                 (struct sim_event){ .kind = SIM_EVENT_DATAGRAM, .datagram = datagram });
}

int sim_datagram_send(struct io *base, struct io_socket *socket, const char *host, uint16_t port,
                      struct slice data)
{
    struct sim_io *io = sim_io_from(base);
    ASSERT(socket->is_datagram);
    if (!sim_io_tick(io)) {
        return -ENETDOWN;
    }
    struct sim_world *world = io->world;
    struct sim_node *to = sim_host_find(io->node, host);
    if (to == NULL) {
        return -EINVAL;
    }
    sim_trace(world, io->node, "datagram", to->index, data.size);
    bool is_doubled = sim_happens(&world->prng_datagram, world->options.datagram_double_ppm);
    for (uint32_t i = 0; i < 1u + is_doubled; i++) {
        if (!sim_happens(&world->prng_datagram, world->options.datagram_loss_ppm)) {
            copy_send(io, socket, to, port, data);
        }
    }
    return 0;
}

void sim_datagram_from(struct io *io, struct io_socket *socket, char *out, size_t size)
{
    (void)io;
    uint32_t index = socket->heard_from != NULL ? socket->heard_from->index + 1 : 0;
    (void)snprintf(out, size, "10.0.0.%u:%u", index, socket->heard_port);
}

void sim_datagram_arrive(struct sim_world *world, const struct sim_event *event)
{
    struct sim_datagram *datagram = event->datagram;
    uint32_t from = datagram->from->index;
    uint32_t to = datagram->to->index;
    if (world->clogged_until_ns[from][to] > world->now_ns) {
        sim_schedule(world, world->clogged_until_ns[from][to] - world->now_ns, *event);
        return;
    }
    struct io_socket *socket = socket_find(datagram->to, datagram->to_port);
    bool is_lost = world->blocked[SIM_DATAGRAMS][from][to] || socket == NULL ||
                   socket->arrived_count == ARRIVED_MAX;
    sim_trace(world, datagram->to, "arrived", datagram->size, is_lost);
    if (is_lost) {
        mem_free(datagram);
        return;
    }
    struct sim_datagram **end = &socket->arrived;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = datagram;
    socket->arrived_count++;
    sim_socket_touch(socket);
}

bool sim_datagram_event(struct io_socket *socket, struct io_event *out)
{
    struct sim_io *io = socket->io;
    struct sim_datagram *datagram = socket->arrived;
    if (datagram == NULL) {
        return false;
    }
    socket->arrived = datagram->next;
    socket->arrived_count--;
    socket->heard_from = datagram->from;
    socket->heard_port = datagram->from_port;
    io->received.size = 0;
    buffer_append(&io->received, datagram->data, datagram->size);
    *out = (struct io_event){ .kind = IO_EVENT_DATAGRAM,
                              .result = datagram->size,
                              .owner = socket->owner,
                              .socket = socket,
                              .data = io->received.data };
    mem_free(datagram);
    return true;
}

void sim_datagrams_free(struct io_socket *socket)
{
    while (socket->arrived != NULL) {
        struct sim_datagram *datagram = socket->arrived;
        socket->arrived = datagram->next;
        mem_free(datagram);
    }
}
