/*
 * io_backend.h — what a machine must be able to do: io.h as a table of functions.
 *
 * A backend's own struct begins with `struct io`, so that io.c can find the table.  What a
 * `struct io_socket` holds is each backend's own affair.  Private to src/io.
 *
 * Read next: io.c, io_epoll.c, io_sim.c.
 */
#pragma once

#include "io/io.h"

struct io_backend {
    const char *name;
    uint64_t (*clock_ns)(struct io *io);
    uint64_t (*wall_ms)(struct io *io);
    uint64_t (*random)(struct io *io);
    void (*machine_boot)(struct io *io, char *out);
    void (*wait)(struct io *io, uint64_t deadline_ns);
    void (*yield)(struct io *io);
    bool (*next)(struct io *io, struct io_event *out_event);
    void (*wake)(struct io *io);
    int (*listen)(struct io *io, const char *host, uint16_t port, void *owner,
                  struct io_socket **out_socket);
    int (*connect)(struct io *io, const char *host, uint16_t port, void *owner,
                   struct io_socket **out_socket);
    void (*socket_own)(struct io *io, struct io_socket *socket, void *owner);
    void (*recv_pause)(struct io *io, struct io_socket *socket);
    void (*recv_resume)(struct io *io, struct io_socket *socket);
    int64_t (*send)(struct io *io, struct io_socket *socket, struct slice data);
    int (*datagram_open)(struct io *io, const char *host, uint16_t port, void *owner,
                         struct io_socket **out_socket);
    int (*datagram_send)(struct io *io, struct io_socket *socket, const char *host, uint16_t port,
                         struct slice data);
    void (*datagram_from)(struct io *io, struct io_socket *socket, char *out, size_t size);
    void (*close)(struct io *io, struct io_socket *socket);
    void (*socket_name)(struct io *io, struct io_socket *socket, bool remote, char *out,
                        size_t size);
    uint16_t (*socket_port)(struct io *io, struct io_socket *socket);
    int (*socket_descriptor)(struct io *io, struct io_socket *socket);
    uint32_t (*connections_limit)(struct io *io, uint32_t wanted);
    int64_t (*file_run)(struct io *io, struct io_file_op *op);
    void (*file_submit)(struct io *io, struct io_file_op *op);
    void (*free)(struct io *io);
};

struct io {
    const struct io_backend *backend;
};
