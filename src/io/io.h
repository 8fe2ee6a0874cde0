/*
 * io.h — the machine, as about twenty operations.  The only system calls and the only clock.
 *
 * Everything above this line asks for I/O through a `struct io *` and learns what happened from
 * events it pulls: io_wait sleeps until something happened or the deadline came, io_next hands out
 * what happened, one event at a time.  There are no callbacks.  Backends: io_epoll (the real
 * machine; file writes and syncs run on worker threads, so that no disk can stall the loop) and
 * io_sim (virtual time, a network and a disk that forgets, tears and corrupts what was not synced;
 * tests only).
 *
 * One io belongs to one thread.  Only io_wake may be called from another thread or from a signal
 * handler.  Errors are negative errno values everywhere.
 *
 * Read next: io_epoll.c, io_sim.h.
 */
#pragma once

#include "base/compiler.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct io;
struct io_socket; /* a listener, a connection or a UDP socket; owned by the io, valid until io_close
                   */
struct io_file_op;

/* ── time and randomness ─────────────────────────────────────────────────────────────────────── */

/* Monotonic, counts suspended time (CLOCK_BOOTTIME), nanoseconds.  Read afresh at each call. */
uint64_t io_clock_ns(struct io *io);
/* Wall clock, milliseconds since 1970. */
uint64_t io_wall_ms(struct io *io);
/* Unpredictable bits (getrandom; the seed's stream in the simulator). */
uint64_t io_random(struct io *io);
/* Names the time since the machine was switched on: another text after every power loss, the same
 * one after a crash of the process.  NUL-terminated; empty when the machine does not say. */
enum { IO_MACHINE_BOOT_BYTES = 40 };
void io_machine_boot(struct io *io, char out[IO_MACHINE_BOOT_BYTES]);

/* ── events ──────────────────────────────────────────────────────────────────────────────────── */

enum io_event_kind {
    IO_EVENT_ACCEPT,   /* a listener has a new connection: `socket`, or result < 0 (EMFILE ...) */
    IO_EVENT_CONNECT,  /* an io_connect ended: 0, and receiving has begun; or < 0, then io_close it
                        */
    IO_EVENT_RECV,     /* result > 0: `data` holds result bytes.  0: the peer closed its side; < 0:
                          error; both come once, and sending may still work after 0.  At most one of
                          a socket between two io_waits */
    IO_EVENT_DATAGRAM, /* one packet: `data` holds result bytes, 0 or more */
    IO_EVENT_SEND_READY, /* there is room again after a short io_send */
    IO_EVENT_FILE,       /* the submitted `file_op` ended; its `result` is set */
    IO_EVENT_WAKE,       /* somebody called io_wake */
};

struct io_event {
    enum io_event_kind kind;
    int64_t result;
    void *owner;              /* what was given to io_listen, io_connect, io_socket_own or the op */
    struct io_socket *socket; /* ACCEPT: the new connection.  Else the socket the event is about */
    const char *data;         /* RECV, DATAGRAM: borrowed until the next io_next or io_wait */
    struct io_file_op *file_op;
};

/* Sleeps until an event is ready or io_clock_ns() reaches deadline_ns (0: only look). */
void io_wait(struct io *io, uint64_t deadline_ns);
/* Lets others who wait for this processor go first, then looks for events without sleeping. */
void io_yield(struct io *io);
/* The next event; false when there is none left before the next io_wait. */
bool io_next(struct io *io, struct io_event *out_event);
/* Makes io_wait return.  Safe from any thread and from a signal handler. */
void io_wake(struct io *io);

/* ── sockets ─────────────────────────────────────────────────────────────────────────────────── */

/* Listens on a numeric IPv4 or IPv6 address or "localhost"; port 0: the kernel chooses.
 * *out_socket is written on success; events carry `owner`. */
MUST_USE int io_listen(struct io *io, const char *host, uint16_t port, void *owner,
                       struct io_socket **out_socket);
/* Begins to connect; IO_EVENT_CONNECT follows. */
MUST_USE int io_connect(struct io *io, const char *host, uint16_t port, void *owner,
                        struct io_socket **out_socket);
/* Sets the owner of an accepted socket and begins to receive from it.  Every accepted socket is
 * given an owner or closed before the next io_wait. */
void io_socket_own(struct io *io, struct io_socket *socket, void *owner);
/* Stops and restarts IO_EVENT_RECV (backpressure).  While paused nothing is read. */
void io_recv_pause(struct io *io, struct io_socket *socket);
void io_recv_resume(struct io *io, struct io_socket *socket);
/* Sends what fits, in order; returns the bytes taken (0 when there is no room) or < 0.  After a
 * short send IO_EVENT_SEND_READY follows once.  The data is borrowed for the call only. */
MUST_USE int64_t io_send(struct io *io, struct io_socket *socket, struct slice data);
/* Closes at once.  No event about this socket is handed out afterwards. */
void io_close(struct io *io, struct io_socket *socket);
/* Writes "ip:port" of the local or the remote end (NUL-terminated, cut to size). */
void io_socket_name(struct io *io, struct io_socket *socket, bool remote, char *out, size_t size);
/* Local port (what the kernel chose for port 0), or 0. */
uint16_t io_socket_port(struct io *io, struct io_socket *socket);
/* The OS descriptor, or a number that stands for it. */
int io_socket_descriptor(struct io *io, struct io_socket *socket);
/* Connections the descriptor limit allows, after raising the soft limit as far as `wanted` needs.
 */
uint32_t io_connections_limit(struct io *io, uint32_t wanted);

/* ── datagrams ───────────────────────────────────────────────────────────────────────────────── */

/* A UDP socket on a numeric address: sends, and receives until io_close.  Packets may be lost,
 * repeated and reordered; each is whole. */
MUST_USE int io_datagram_open(struct io *io, const char *host, uint16_t port, void *owner,
                              struct io_socket **out_socket);
/* Sends one packet to a numeric address: 0 when it is on its way, which promises nothing; < 0: it
 * is not, and will not be sent later.  The data is borrowed for the call only. */
MUST_USE int io_datagram_send(struct io *io, struct io_socket *socket, const char *host,
                              uint16_t port, struct slice data);
/* Writes "ip:port" of whoever sent the packet that the socket handed out last (NUL-terminated, cut
 * to size). */
void io_datagram_from(struct io *io, struct io_socket *socket, char *out, size_t size);

/* ── files ───────────────────────────────────────────────────────────────────────────────────── */

enum io_file_kind {
    IO_FILE_OPEN,     /* path, flags -> result: file number */
    IO_FILE_CLOSE,    /* file */
    IO_FILE_READ,     /* file, data, size, offset -> result: bytes read, short only at the end */
    IO_FILE_WRITE,    /* file, data, size, offset -> result: 0 when all of it was written;
                         with IO_FILE_THEN_SYNC also fdatasync */
    IO_FILE_SYNC,     /* fdatasync(file) */
    IO_FILE_SIZE,     /* file -> result: bytes */
    IO_FILE_TRUNCATE, /* file, offset: the new size */
    IO_FILE_ZERO,     /* file, offset, size: writes zeros (really writes them: blocks are allocated)
                         and syncs */
    IO_FILE_RENAME,   /* path -> path_to, atomically replacing it.  Durable only after SYNC_DIR */
    IO_FILE_UNLINK,   /* path */
    IO_FILE_MKDIR,    /* path; an existing directory is success */
    IO_FILE_SYNC_DIR, /* path of the directory */
    IO_FILE_LIST, /* path -> `list` becomes the names, sorted, each NUL-terminated; result: count */
    IO_FILE_LOCK, /* file: exclusive advisory lock, not waiting; -EWOULDBLOCK when held elsewhere */
    IO_FILE_FREE_SPACE, /* path -> result: bytes a normal user may still write there */
};

enum io_file_flags {
    IO_FILE_RDONLY = 0,
    IO_FILE_RDWR = 1 << 0,
    IO_FILE_CREATE = 1 << 1,
    IO_FILE_EXCLUSIVE = 1 << 2, /* with CREATE: fail if it exists */
    IO_FILE_TRUNC = 1 << 3,
    IO_FILE_THEN_SYNC = 1 << 4, /* WRITE: fdatasync after the write, one trip */
    IO_FILE_BULK = 1 << 5, /* large and patient (snapshots): a worker of its own, low priority */
};

struct buffer;

/* One file operation.  The caller owns it, fills it in, and keeps it (and what it points to) alive
 * and unchanged until it has ended. */
struct io_file_op {
    enum io_file_kind kind;
    uint32_t flags; /* enum io_file_flags */
    int file;
    const char *path;
    const char *path_to;
    void *data; /* WRITE only reads it */
    uint64_t size;
    uint64_t offset;
    struct buffer *list;
    void *owner;             /* comes back in the event */
    int64_t result;          /* set when it has ended: >= 0, or -errno */
    struct io_file_op *next; /* the backend's */
};

/* Runs it now, on this thread.  For start, recovery and offline tools.  Returns op->result. */
int64_t io_file_run(struct io *io, struct io_file_op *op);
/* Runs it off the loop thread; IO_EVENT_FILE follows.  Operations submitted at the same time may
 * run in any order and at the same time: submit the second after the first has ended where order
 * matters. */
void io_file_submit(struct io *io, struct io_file_op *op);

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

/* The real machine. */
struct io *io_epoll_new(void);
/* Waits for submitted operations to end, closes everything. */
void io_free(struct io *io);
const char *io_backend_name(const struct io *io);
