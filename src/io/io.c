/*
 * io.c — the waist: each operation goes to the backend's function.  Nothing is decided here.
 *
 * Read next: io_backend.h, then the backend of interest.
 */
#include "io/io.h"

#include "base/assert.h"
#include "io/io_backend.h"

#include <string.h>

uint64_t io_clock_ns(struct io *io)
{
    return io->backend->clock_ns(io);
}

uint64_t io_wall_ms(struct io *io)
{
    return io->backend->wall_ms(io);
}

uint64_t io_random(struct io *io)
{
    return io->backend->random(io);
}

void io_machine_boot(struct io *io, char out[IO_MACHINE_BOOT_BYTES])
{
    memset(out, 0, IO_MACHINE_BOOT_BYTES);
    io->backend->machine_boot(io, out);
    ASSERT(out[IO_MACHINE_BOOT_BYTES - 1] == '\0');
}

void io_wait(struct io *io, uint64_t deadline_ns)
{
    io->backend->wait(io, deadline_ns);
}

void io_yield(struct io *io)
{
    io->backend->yield(io);
}

bool io_next(struct io *io, struct io_event *out_event)
{
    return io->backend->next(io, out_event);
}

void io_wake(struct io *io)
{
    io->backend->wake(io);
}

int io_listen(struct io *io, const char *host, uint16_t port, void *owner,
              struct io_socket **out_socket)
{
    return io->backend->listen(io, host, port, owner, out_socket);
}

int io_connect(struct io *io, const char *host, uint16_t port, void *owner,
               struct io_socket **out_socket)
{
    return io->backend->connect(io, host, port, owner, out_socket);
}

void io_socket_own(struct io *io, struct io_socket *socket, void *owner)
{
    io->backend->socket_own(io, socket, owner);
}

void io_recv_pause(struct io *io, struct io_socket *socket)
{
    io->backend->recv_pause(io, socket);
}

void io_recv_resume(struct io *io, struct io_socket *socket)
{
    io->backend->recv_resume(io, socket);
}

int64_t io_send(struct io *io, struct io_socket *socket, struct slice data)
{
    return io->backend->send(io, socket, data);
}

int io_datagram_open(struct io *io, const char *host, uint16_t port, void *owner,
                     struct io_socket **out_socket)
{
    return io->backend->datagram_open(io, host, port, owner, out_socket);
}

int io_datagram_send(struct io *io, struct io_socket *socket, const char *host, uint16_t port,
                     struct slice data)
{
    return io->backend->datagram_send(io, socket, host, port, data);
}

void io_datagram_from(struct io *io, struct io_socket *socket, char *out, size_t size)
{
    ASSERT(size > 0);
    io->backend->datagram_from(io, socket, out, size);
}

void io_close(struct io *io, struct io_socket *socket)
{
    io->backend->close(io, socket);
}

void io_socket_name(struct io *io, struct io_socket *socket, bool remote, char *out, size_t size)
{
    ASSERT(size > 0);
    io->backend->socket_name(io, socket, remote, out, size);
}

uint16_t io_socket_port(struct io *io, struct io_socket *socket)
{
    return io->backend->socket_port(io, socket);
}

int io_socket_descriptor(struct io *io, struct io_socket *socket)
{
    return io->backend->socket_descriptor(io, socket);
}

uint32_t io_connections_limit(struct io *io, uint32_t wanted)
{
    return io->backend->connections_limit(io, wanted);
}

int64_t io_file_run(struct io *io, struct io_file_op *op)
{
    return io->backend->file_run(io, op);
}

void io_file_submit(struct io *io, struct io_file_op *op)
{
    io->backend->file_submit(io, op);
}

void io_free(struct io *io)
{
    if (io != NULL) {
        io->backend->free(io);
    }
}

const char *io_backend_name(const struct io *io)
{
    return io->backend->name;
}
