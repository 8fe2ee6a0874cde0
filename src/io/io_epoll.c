/*
 * io_epoll.c — the real machine: one epoll set, non-blocking sockets, files on worker threads.
 *
 * Idea: io_wait fetches a batch of ready sockets with one epoll_wait; io_next walks the batch and
 * does each socket's recv or accept only when it hands the event out.  So all connections share
 * one receive buffer, and a request costs exactly one recv and one send: there is no allocation
 * and no epoll_ctl in the steady state.
 *
 * Level-triggered, one recv per readiness: what is left is reported again by the next io_wait, so
 * a firehose of a connection cannot starve the others.  Interest is dropped lazily, when a
 * readiness nobody wants was seen (a pause that ends soon costs nothing), and taken up at once.
 * A socket with no interest at all is registered edge-triggered: epoll reports errors and hangups
 * unasked, and level-triggered ones of a paused connection would make the loop spin.
 *
 * Invariants
 *   - A closed socket stays allocated until the next io_wait, because the batch may point at it;
 *     `state` tells io_next to pass over it.
 *   - `asleep` is true only while the loop's thread is in, or just about to enter, epoll_wait.
 *     Whoever ends work for the loop first publishes it and then wakes the loop if it is asleep;
 *     the loop first says that it is asleep and then looks for work: one of both sees the other.
 *   - The eventfd is edge-triggered and never read.
 *
 * While the disk is quick (io_in_place.h), a write that ends with a sync is begun by the io_wait
 * that follows it, when everything the loop had to send is sent: by the loop's own thread when it
 * has nothing else to do, else by a worker.  After a slow one a worker begins at once.
 *
 * Read next: io_worker.c, io_in_place.h, io_file.c.
 */
#include "io/io_backend.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "io/io_address.h"
#include "io/io_file.h"
#include "io/io_in_place.h"
#include "io/io_worker.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS_MAX = 256,          /* ready sockets fetched at a time */
    ACCEPTS_MAX = 64,          /* new connections per io_wait: the others want a turn too */
    DATAGRAMS_MAX = 64,        /* packets per io_wait, likewise */
    ACCEPT_PAUSE_MS = 100,     /* how long a listener rests when the machine has no descriptors */
    LISTEN_BACKLOG = 4096,     /* the kernel cuts it to net.core.somaxconn */
    DESCRIPTORS_RESERVED = 64, /* for files, listeners, peers: not for clients */
    RANDOM_POOL = 64,          /* random words fetched at a time */
};

static const uint64_t NS_PER_S = 1000000000;
static const uint64_t NS_PER_MS = 1000000;

enum socket_state {
    SOCKET_LISTENING,
    SOCKET_CONNECTING,
    SOCKET_OPEN,
    SOCKET_DATAGRAM,
    SOCKET_CLOSED
};

struct io_socket {
    int fd;
    enum socket_state state;
    uint32_t interest; /* what epoll watches for us */
    bool recv_paused;
    bool recv_ended;  /* end of stream or an error was handed out */
    bool send_wanted; /* a short send: SEND_READY is owed */
    void *owner;
    struct io_socket *previous; /* in epoll_io.listeners, .connections or .closed */
    struct io_socket *next;
};

struct epoll_io {
    struct io io;
    int epoll_fd;
    int wake_fd;
    bool has_pwait2;
    uint32_t accepts_left, datagrams_left;
    struct io_address datagram_from; /* of the packet handed out last */
    atomic_bool asleep;
    atomic_bool wake_requested;
    struct io_workers *workers;
    struct io_file_op *files_done; /* ended, to be handed out */
    uint32_t files_under_way;      /* submitted and not handed out */
    struct io_file_op *log_sync;   /* submitted; the loop's thread does it if it is to sleep */
    struct io_in_place in_place;
    struct io_socket *listeners;
    struct io_socket *connections;
    struct io_socket *closed;  /* to be freed by the next io_wait */
    uint64_t accept_resume_ns; /* when resting listeners go on; UINT64_MAX: none rests */
    uint32_t ready_count;
    uint32_t ready_at;
    struct epoll_event ready[EVENTS_MAX];
    uint32_t random_left;
    uint64_t random[RANDOM_POOL];
    char recv_buffer[CONN_RECV_BYTES];
};

static const struct io_backend epoll_backend;

static void epoll_notify(void *context);
static void epoll_sleep(struct epoll_io *epoll, uint64_t deadline_ns);
static void log_sync_begin(struct epoll_io *epoll, bool may_sleep);
static void log_sync_here(struct epoll_io *epoll);
static void log_sync_give(struct epoll_io *epoll);
static void closed_free(struct epoll_io *epoll);
static void listeners_resume(struct epoll_io *epoll);
static bool socket_next(struct epoll_io *epoll, struct epoll_event *ready, struct io_event *out);
static bool accept_next(struct epoll_io *epoll, struct io_socket *listener, struct io_event *out);
static bool connect_next(struct epoll_io *epoll, struct io_socket *socket, struct io_event *out);
static bool open_next(struct epoll_io *epoll, struct epoll_event *ready, struct io_event *out);
static bool recv_next(struct epoll_io *epoll, struct io_socket *socket, struct io_event *out);
static bool datagram_next(struct epoll_io *epoll, struct io_socket *socket, struct io_event *out);
static int socket_register(struct epoll_io *epoll, int fd, enum socket_state state,
                           uint32_t interest, struct io_socket **out_socket);
static void socket_watch(struct epoll_io *epoll, struct io_socket *socket, uint32_t interest);
static uint32_t socket_wanted(const struct io_socket *socket);

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

struct io *io_epoll_new(void)
{
    struct epoll_io *epoll = mem_zalloc(sizeof(*epoll));
    epoll->io.backend = &epoll_backend;
    epoll->has_pwait2 = true;
    epoll->accept_resume_ns = UINT64_MAX;
    epoll->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    epoll->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = { .events = EPOLLIN | EPOLLET };
    if (epoll->epoll_fd < 0 || epoll->wake_fd < 0 ||
        epoll_ctl(epoll->epoll_fd, EPOLL_CTL_ADD, epoll->wake_fd, &event) != 0) {
        panic_fail(__FILE__, __LINE__, "the machine gives us no epoll and eventfd");
    }
    epoll->workers = io_workers_new(epoll_notify, epoll);
    return &epoll->io;
}

static struct epoll_io *epoll_from(struct io *io)
{
    ASSERT(io->backend == &epoll_backend);
    return (struct epoll_io *)io;
}

static void epoll_free(struct io *io)
{
    struct epoll_io *epoll = epoll_from(io);
    if (epoll->log_sync != NULL) {
        log_sync_give(epoll);
    }
    io_workers_free(epoll->workers);
    while (epoll->connections != NULL) {
        io_close(io, epoll->connections);
    }
    while (epoll->listeners != NULL) {
        io_close(io, epoll->listeners);
    }
    closed_free(epoll);
    (void)close(epoll->wake_fd);
    (void)close(epoll->epoll_fd);
    mem_free(epoll);
}

/* ── time and randomness ─────────────────────────────────────────────────────────────────────── */

static uint64_t clock_read(clockid_t clock)
{
    struct timespec now = { 0 };
    (void)clock_gettime(clock, &now); /* cannot fail for these clocks */
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* In the vDSO: about 20 ns, no system call. */
static uint64_t epoll_clock_ns(struct io *io)
{
    (void)io;
    return clock_read(CLOCK_BOOTTIME);
}

static uint64_t epoll_wall_ms(struct io *io)
{
    (void)io;
    return clock_read(CLOCK_REALTIME) / NS_PER_MS;
}

static uint64_t epoll_random(struct io *io)
{
    struct epoll_io *epoll = epoll_from(io);
    if (epoll->random_left == 0) {
        /* Up to 256 bytes are delivered whole, a signal or not; more may be cut. */
        for (uint32_t i = 0; i < RANDOM_POOL; i += 32) {
            ssize_t got = 0;
            do {
                got = getrandom(&epoll->random[i], 256, 0);
            } while (got < 0 && errno == EINTR);
            ASSERT(got == 256);
        }
        epoll->random_left = RANDOM_POOL;
    }
    epoll->random_left -= 1;
    return epoll->random[epoll->random_left];
}

static void epoll_machine_boot(struct io *io, char *out)
{
    (void)io;
    int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t got = file < 0 ? -1 : read(file, out, IO_MACHINE_BOOT_BYTES - 1);
    if (file >= 0) {
        (void)close(file);
    }
    out[got > 0 ? got : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
}

/* ── events ──────────────────────────────────────────────────────────────────────────────────── */

static void epoll_wait_events(struct io *io, uint64_t deadline_ns)
{
    struct epoll_io *epoll = epoll_from(io);
    closed_free(epoll);
    epoll->ready_count = 0;
    epoll->ready_at = 0;
    epoll->accepts_left = ACCEPTS_MAX;
    epoll->datagrams_left = DATAGRAMS_MAX;
    if (UNLIKELY(epoll->accept_resume_ns != UINT64_MAX)) {
        listeners_resume(epoll);
        deadline_ns = deadline_ns < epoll->accept_resume_ns ? deadline_ns : epoll->accept_resume_ns;
    }
    if (epoll->log_sync != NULL) {
        log_sync_begin(epoll, deadline_ns != 0);
    }
    if (epoll->files_done != NULL || epoll->ready_count > 0) {
        deadline_ns = 0; /* the caller left some, or there are some since just now */
    }
    if (deadline_ns != 0) {
        atomic_store(&epoll->asleep, true);
        if (io_workers_has_done(epoll->workers) || atomic_load(&epoll->wake_requested)) {
            deadline_ns = 0;
        }
    }
    if (epoll->ready_count == 0) {
        epoll_sleep(epoll, deadline_ns);
    }
    atomic_store_explicit(&epoll->asleep, false, memory_order_relaxed);
    if (epoll->files_done == NULL) {
        epoll->files_done = io_workers_take(epoll->workers);
    }
}

static void epoll_yield(struct io *io)
{
    (void)sched_yield(); /* at once where nobody waits */
    epoll_wait_events(io, 0);
}

static void epoll_sleep(struct epoll_io *epoll, uint64_t deadline_ns)
{
    uint64_t now_ns =
        deadline_ns == 0 || deadline_ns == UINT64_MAX ? 0 : clock_read(CLOCK_BOOTTIME);
    uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    int count = -1;
    if (LIKELY(epoll->has_pwait2)) {
        struct timespec left = { .tv_sec = (time_t)(left_ns / NS_PER_S),
                                 .tv_nsec = (long)(left_ns % NS_PER_S) };
        count = epoll_pwait2(epoll->epoll_fd, epoll->ready, EVENTS_MAX,
                             deadline_ns == UINT64_MAX ? NULL : &left, NULL);
        epoll->has_pwait2 = count >= 0 || errno != ENOSYS; /* Linux before 5.11 */
    }
    if (UNLIKELY(!epoll->has_pwait2)) {
        uint64_t left_ms = left_ns / NS_PER_MS + (left_ns % NS_PER_MS != 0);
        int timeout_ms = left_ms > INT32_MAX ? INT32_MAX : (int)left_ms;
        count = epoll_wait(epoll->epoll_fd, epoll->ready, EVENTS_MAX,
                           deadline_ns == UINT64_MAX ? -1 : timeout_ms);
    }
    ASSERT(count >= 0 || errno == EINTR);
    epoll->ready_count = count > 0 ? (uint32_t)count : 0;
}

static bool epoll_next(struct io *io, struct io_event *out_event)
{
    struct epoll_io *epoll = epoll_from(io);
    struct io_file_op *op = epoll->files_done;
    if (op != NULL) {
        epoll->files_done = op->next;
        epoll->files_under_way -= 1;
        *out_event = (struct io_event){
            .kind = IO_EVENT_FILE, .result = op->result, .owner = op->owner, .file_op = op
        };
        return true;
    }
    if (UNLIKELY(atomic_load_explicit(&epoll->wake_requested, memory_order_relaxed))) {
        atomic_store(&epoll->wake_requested, false);
        *out_event = (struct io_event){ .kind = IO_EVENT_WAKE };
        return true;
    }
    while (epoll->ready_at < epoll->ready_count) {
        if (socket_next(epoll, &epoll->ready[epoll->ready_at], out_event)) {
            return true; /* there may be more about this socket: the place is kept */
        }
        epoll->ready_at += 1;
    }
    return false;
}

/* Async-signal-safe. */
static void wake_if_asleep(struct epoll_io *epoll)
{
    if (atomic_exchange(&epoll->asleep, false)) {
        int saved = errno;
        uint64_t one = 1;
        ssize_t written = write(epoll->wake_fd, &one, sizeof(one));
        (void)written; /* fails only after 2^64 - 2 wakes, and then a wake is pending anyway */
        errno = saved;
    }
}

static void epoll_wake(struct io *io)
{
    struct epoll_io *epoll = (struct epoll_io *)io;
    atomic_store(&epoll->wake_requested, true);
    wake_if_asleep(epoll);
}

static void epoll_notify(void *context)
{
    wake_if_asleep(context);
}

/* What this readiness has for the caller; false when nothing (more). */
static bool socket_next(struct epoll_io *epoll, struct epoll_event *ready, struct io_event *out)
{
    struct io_socket *socket = ready->data.ptr;
    if (socket == NULL) {
        return false; /* the eventfd: it woke us, that was all */
    }
    switch (socket->state) {
    case SOCKET_LISTENING:
        return accept_next(epoll, socket, out);
    case SOCKET_CONNECTING:
        ready->events = 0;
        return connect_next(epoll, socket, out);
    case SOCKET_OPEN:
        return open_next(epoll, ready, out);
    case SOCKET_DATAGRAM:
        return datagram_next(epoll, socket, out);
    case SOCKET_CLOSED:
        return false;
    }
    UNREACHABLE();
}

/* Errors that concern the one connection being accepted: the next may be fine (accept(2)). */
static bool accept_error_passes(int error)
{
    return error == EINTR || error == ECONNABORTED || error == EPROTO || error == EPERM ||
           error == ENETDOWN || error == ENOPROTOOPT || error == EHOSTDOWN || error == ENONET ||
           error == EHOSTUNREACH || error == EOPNOTSUPP || error == ENETUNREACH ||
           error == ETIMEDOUT;
}

static bool accept_next(struct epoll_io *epoll, struct io_socket *listener, struct io_event *out)
{
    int error = EAGAIN;
    while (epoll->accepts_left > 0) {
        epoll->accepts_left -= 1;
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        error = fd < 0 ? errno : 0;
        struct io_socket *socket = NULL;
        if (fd >= 0) {
            error = -socket_register(epoll, fd, SOCKET_OPEN, EPOLLIN, &socket);
        }
        if (error == 0) {
            socket->recv_paused = true; /* until it has an owner */
            *out = (struct io_event){ .kind = IO_EVENT_ACCEPT,
                                      .owner = listener->owner,
                                      .socket = socket };
            return true;
        }
        if (!accept_error_passes(error)) {
            break;
        }
    }
    if (error == EAGAIN || accept_error_passes(error)) {
        return false;
    }
    /* No descriptors or no memory: the connection stays in the backlog and would be reported again
     * at once.  Rest a little. */
    socket_watch(epoll, listener, EPOLLET);
    epoll->accept_resume_ns = clock_read(CLOCK_BOOTTIME) + ACCEPT_PAUSE_MS * NS_PER_MS;
    epoll->accepts_left = 0;
    *out = (struct io_event){ .kind = IO_EVENT_ACCEPT, .result = -error, .owner = listener->owner };
    return true;
}

static void listeners_resume(struct epoll_io *epoll)
{
    if (clock_read(CLOCK_BOOTTIME) < epoll->accept_resume_ns) {
        return;
    }
    epoll->accept_resume_ns = UINT64_MAX;
    for (struct io_socket *listener = epoll->listeners; listener != NULL;
         listener = listener->next) {
        socket_watch(epoll, listener, EPOLLIN);
    }
}

static bool connect_next(struct epoll_io *epoll, struct io_socket *socket, struct io_event *out)
{
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(socket->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
        error = errno;
    }
    socket->state = SOCKET_OPEN;
    socket->recv_ended = error != 0;
    socket_watch(epoll, socket, socket_wanted(socket));
    *out = (struct io_event){
        .kind = IO_EVENT_CONNECT, .result = -error, .owner = socket->owner, .socket = socket
    };
    return true;
}

/* Hands out what an open connection's readiness means, SEND_READY first.  Each bit is cleared when
 * it has been dealt with, so that a second call goes on where the first stopped. */
static bool open_next(struct epoll_io *epoll, struct epoll_event *ready, struct io_event *out)
{
    struct io_socket *socket = ready->data.ptr;
    if ((ready->events & (EPOLLERR | EPOLLHUP)) != 0) {
        ready->events = EPOLLIN | EPOLLOUT; /* the next recv or send will tell what it is */
    }
    bool unwanted = false;
    if ((ready->events & EPOLLOUT) != 0) {
        ready->events &= ~(uint32_t)EPOLLOUT;
        if (socket->send_wanted) {
            socket->send_wanted = false;
            *out = (struct io_event){ .kind = IO_EVENT_SEND_READY,
                                      .owner = socket->owner,
                                      .socket = socket };
            return true;
        }
        unwanted = true;
    }
    if ((ready->events & EPOLLIN) != 0) {
        ready->events &= ~(uint32_t)EPOLLIN;
        if (!socket->recv_paused && !socket->recv_ended) {
            return recv_next(epoll, socket, out);
        }
        unwanted = true;
    }
    if (unwanted) {
        socket_watch(epoll, socket, socket_wanted(socket));
    }
    return false;
}

static bool recv_next(struct epoll_io *epoll, struct io_socket *socket, struct io_event *out)
{
    ssize_t got = 0;
    do {
        got = recv(socket->fd, epoll->recv_buffer, sizeof(epoll->recv_buffer), 0);
    } while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EAGAIN) {
        return false;
    }
    socket->recv_ended = got <= 0;
    *out = (struct io_event){ .kind = IO_EVENT_RECV,
                              .result = got < 0 ? -errno : got,
                              .owner = socket->owner,
                              .socket = socket,
                              .data = epoll->recv_buffer };
    return true;
}

/* One packet after the other, until there are no more or it is the others' turn. */
static bool datagram_next(struct epoll_io *epoll, struct io_socket *socket, struct io_event *out)
{
    ssize_t got = -1;
    while (epoll->datagrams_left > 0 && got < 0) {
        struct io_address *from = &epoll->datagram_from;
        from->size = sizeof(from->storage);
        epoll->datagrams_left -= 1;
        got = recvfrom(socket->fd, epoll->recv_buffer, sizeof(epoll->recv_buffer), 0,
                       (struct sockaddr *)&from->storage, &from->size);
        if (got < 0 && errno == EAGAIN) {
            return false;
        } /* else: an error of an earlier packet's, which nobody waits for */
    }
    *out = (struct io_event){ .kind = IO_EVENT_DATAGRAM,
                              .result = got,
                              .owner = socket->owner,
                              .socket = socket,
                              .data = epoll->recv_buffer };
    return got >= 0;
}

/* ── sockets ─────────────────────────────────────────────────────────────────────────────────── */

static void list_add(struct io_socket **list, struct io_socket *socket)
{
    socket->previous = NULL;
    socket->next = *list;
    if (*list != NULL) {
        (*list)->previous = socket;
    }
    *list = socket;
}

static void list_remove(struct io_socket **list, struct io_socket *socket)
{
    if (socket->next != NULL) {
        socket->next->previous = socket->previous;
    }
    if (socket->previous != NULL) {
        socket->previous->next = socket->next;
    } else {
        ASSERT(*list == socket);
        *list = socket->next;
    }
}

static struct io_socket **socket_list(struct epoll_io *epoll, const struct io_socket *socket)
{
    return socket->state == SOCKET_LISTENING ? &epoll->listeners : &epoll->connections;
}

/* Takes over `fd`: closes it when epoll has no room. */
static int socket_register(struct epoll_io *epoll, int fd, enum socket_state state,
                           uint32_t interest, struct io_socket **out_socket)
{
    struct io_socket *socket = mem_zalloc(sizeof(*socket));
    *socket = (struct io_socket){ .fd = fd, .state = state, .interest = interest };
    struct epoll_event event = { .events = interest, .data.ptr = socket };
    if (epoll_ctl(epoll->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        int error = errno;
        (void)close(fd);
        mem_free(socket);
        return -error;
    }
    list_add(socket_list(epoll, socket), socket);
    *out_socket = socket;
    return 0;
}

static void socket_watch(struct epoll_io *epoll, struct io_socket *socket, uint32_t interest)
{
    if (socket->interest != interest) {
        struct epoll_event event = { .events = interest, .data.ptr = socket };
        int failed = epoll_ctl(epoll->epoll_fd, EPOLL_CTL_MOD, socket->fd, &event);
        ASSERT(failed == 0); /* changing a registration needs no memory */
        socket->interest = interest;
    }
}

static uint32_t socket_wanted(const struct io_socket *socket)
{
    uint32_t wanted = socket->recv_paused || socket->recv_ended ? 0 : (uint32_t)EPOLLIN;
    wanted |= socket->send_wanted ? (uint32_t)EPOLLOUT : 0;
    return wanted != 0 ? wanted : (uint32_t)EPOLLET;
}

static void option_set(int fd, int level, int option, int value)
{
    (void)setsockopt(fd, level, option, &value, sizeof(value)); /* each is a refinement only */
}

/* Connections inherit these from their listener, so an accept costs no further calls. */
static void options_set(int fd)
{
    option_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    option_set(fd, SOL_SOCKET, SO_KEEPALIVE, 1); /* finds peers that vanished: 300 s + 3 * 100 s */
    option_set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 300);
    option_set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 100);
    option_set(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

/* A non-blocking TCP socket for `address`, or -errno. */
static int socket_make(const struct io_address *address)
{
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    options_set(fd);
    return fd;
}

static int epoll_listen(struct io *io, const char *host, uint16_t port, void *owner,
                        struct io_socket **out_socket)
{
    struct io_address address;
    int result = io_address_parse(host, port, &address);
    int fd = result < 0 ? result : socket_make(&address);
    if (fd < 0) {
        return fd;
    }
    option_set(fd, SOL_SOCKET, SO_REUSEADDR, 1); /* a restart need not wait for TIME_WAIT */
    if (address.storage.ss_family == AF_INET6) {
        option_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1); /* "::" and "0.0.0.0" side by side */
    }
    if (bind(fd, (const struct sockaddr *)&address.storage, address.size) != 0 ||
        listen(fd, LISTEN_BACKLOG) != 0) {
        int error = errno;
        (void)close(fd);
        return -error;
    }
    result = socket_register(epoll_from(io), fd, SOCKET_LISTENING, EPOLLIN, out_socket);
    if (result == 0) {
        (*out_socket)->owner = owner;
    }
    return result;
}

static int epoll_connect(struct io *io, const char *host, uint16_t port, void *owner,
                         struct io_socket **out_socket)
{
    struct io_address address;
    int result = io_address_parse(host, port, &address);
    int fd = result < 0 ? result : socket_make(&address);
    if (fd < 0) {
        return fd;
    }
    /* Interrupted, it goes on by itself like one in progress. */
    if (connect(fd, (const struct sockaddr *)&address.storage, address.size) != 0 &&
        errno != EINPROGRESS && errno != EINTR) {
        int error = errno;
        (void)close(fd);
        return -error;
    }
    result = socket_register(epoll_from(io), fd, SOCKET_CONNECTING, EPOLLOUT, out_socket);
    if (result == 0) {
        (*out_socket)->owner = owner;
    }
    return result;
}

static void epoll_recv_resume(struct io *io, struct io_socket *socket)
{
    socket->recv_paused = false;
    if (socket->state == SOCKET_OPEN && (socket->interest & EPOLLIN) == 0) {
        socket_watch(epoll_from(io), socket, socket_wanted(socket));
    }
}

static void epoll_recv_pause(struct io *io, struct io_socket *socket)
{
    (void)io;
    socket->recv_paused = true; /* epoll learns it when something arrives */
}

static void epoll_socket_own(struct io *io, struct io_socket *socket, void *owner)
{
    socket->owner = owner;
    epoll_recv_resume(io, socket);
}

static int64_t epoll_send(struct io *io, struct io_socket *socket, struct slice data)
{
    ASSERT(socket->state != SOCKET_CLOSED);
    ASSERT(socket->state != SOCKET_LISTENING);
    ssize_t sent = 0;
    do {
        sent = send(socket->fd, data.data, data.size, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (LIKELY(sent >= 0 && (size_t)sent == data.size)) {
        return sent;
    }
    if (sent < 0 && errno != EAGAIN) {
        return -errno;
    }
    socket->send_wanted = true;
    if (socket->state == SOCKET_OPEN) {
        socket_watch(epoll_from(io), socket, socket_wanted(socket));
    }
    return sent < 0 ? 0 : sent;
}

/* A non-blocking UDP socket bound to `address`, or -errno. */
static int datagram_make(const struct io_address *address)
{
    int fd = socket(address->storage.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    if (address->storage.ss_family == AF_INET6) {
        option_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    }
    if (bind(fd, (const struct sockaddr *)&address->storage, address->size) != 0) {
        int error = errno;
        (void)close(fd);
        return -error;
    }
    return fd;
}

static int epoll_datagram_open(struct io *io, const char *host, uint16_t port, void *owner,
                               struct io_socket **out_socket)
{
    struct io_address address;
    int result = io_address_parse(host, port, &address);
    int fd = result < 0 ? result : datagram_make(&address);
    if (fd < 0) {
        return fd;
    }
    result = socket_register(epoll_from(io), fd, SOCKET_DATAGRAM, EPOLLIN, out_socket);
    if (result == 0) {
        (*out_socket)->owner = owner;
    }
    return result;
}

static int epoll_datagram_send(struct io *io, struct io_socket *socket, const char *host,
                               uint16_t port, struct slice data)
{
    (void)io;
    ASSERT(socket->state == SOCKET_DATAGRAM);
    struct io_address address;
    int result = io_address_parse(host, port, &address);
    if (result < 0) {
        return result;
    }
    ssize_t sent = 0;
    do {
        sent = sendto(socket->fd, data.data, data.size, MSG_NOSIGNAL,
                      (const struct sockaddr *)&address.storage, address.size);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

static void epoll_datagram_from(struct io *io, struct io_socket *socket, char *out, size_t size)
{
    (void)socket;
    io_address_print(&epoll_from(io)->datagram_from, out, size);
}

static void epoll_close(struct io *io, struct io_socket *socket)
{
    struct epoll_io *epoll = epoll_from(io);
    ASSERT(socket->state != SOCKET_CLOSED);
    list_remove(socket_list(epoll, socket), socket);
    (void)close(socket->fd); /* leaves the epoll set with its last descriptor */
    socket->fd = -1;
    socket->state = SOCKET_CLOSED;
    list_add(&epoll->closed, socket);
}

static void closed_free(struct epoll_io *epoll)
{
    while (epoll->closed != NULL) {
        struct io_socket *socket = epoll->closed;
        epoll->closed = socket->next;
        mem_free(socket);
    }
}

/* The address of this end or of the other; family AF_UNSPEC when there is none. */
static struct io_address socket_address(const struct io_socket *socket, bool remote)
{
    struct io_address address = { .size = sizeof(address.storage) };
    struct sockaddr *storage = (struct sockaddr *)&address.storage;
    int failed = remote ? getpeername(socket->fd, storage, &address.size)
                        : getsockname(socket->fd, storage, &address.size);
    if (failed != 0) {
        address = (struct io_address){ .storage.ss_family = AF_UNSPEC };
    }
    return address;
}

static void epoll_socket_name(struct io *io, struct io_socket *socket, bool remote, char *out,
                              size_t size)
{
    (void)io;
    struct io_address address = socket_address(socket, remote);
    io_address_print(&address, out, size);
}

static uint16_t epoll_socket_port(struct io *io, struct io_socket *socket)
{
    (void)io;
    struct io_address address = socket_address(socket, false);
    return io_address_port(&address);
}

static int epoll_socket_descriptor(struct io *io, struct io_socket *socket)
{
    (void)io;
    return socket->fd;
}

static uint32_t epoll_connections_limit(struct io *io, uint32_t wanted)
{
    (void)io;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return wanted;
    }
    rlim_t needed = (rlim_t)wanted + DESCRIPTORS_RESERVED;
    if (limit.rlim_cur < needed) {
        struct rlimit raised = limit;
        raised.rlim_cur = needed;
        raised.rlim_max = needed > limit.rlim_max ? needed : limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &raised) != 0) { /* only root may raise the hard limit */
            raised.rlim_cur = limit.rlim_max < needed ? limit.rlim_max : needed;
            raised.rlim_max = limit.rlim_max;
            (void)setrlimit(RLIMIT_NOFILE, &raised);
        }
        (void)getrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur >= needed) {
        return wanted;
    }
    return limit.rlim_cur > DESCRIPTORS_RESERVED ? (uint32_t)limit.rlim_cur - DESCRIPTORS_RESERVED
                                                 : 1;
}

/* ── files ───────────────────────────────────────────────────────────────────────────────────── */

static int64_t epoll_file_run(struct io *io, struct io_file_op *op)
{
    (void)io;
    return io_file_execute(op);
}

/* A write that ends with a sync waits here until it is known whether the loop is about to sleep.
 * With other operations under way it does not: their syncs and it may hold each other up. */
static void epoll_file_submit(struct io *io, struct io_file_op *op)
{
    struct epoll_io *epoll = epoll_from(io);
    epoll->files_under_way += 1;
    bool is_log_sync = (op->flags & (IO_FILE_THEN_SYNC | IO_FILE_BULK)) == IO_FILE_THEN_SYNC;
    if (is_log_sync && epoll->files_under_way == 1 &&
        io_in_place_allows(&epoll->in_place, clock_read(CLOCK_BOOTTIME))) {
        epoll->log_sync = op;
    } else {
        io_workers_submit(epoll->workers, op);
    }
}

/* A loop with nothing to do does the sync itself; one that is busy has it done. */
static void log_sync_begin(struct epoll_io *epoll, bool may_sleep)
{
    if (may_sleep) {
        epoll_sleep(epoll, 0); /* is there really nothing? */
    }
    if (may_sleep && epoll->ready_count == 0) {
        log_sync_here(epoll);
    } else {
        log_sync_give(epoll);
    }
}

static void log_sync_here(struct epoll_io *epoll)
{
    struct io_file_op *op = epoll->log_sync;
    uint64_t began_ns = clock_read(CLOCK_BOOTTIME);
    (void)io_file_execute(op);
    io_in_place_took(&epoll->in_place, began_ns, clock_read(CLOCK_BOOTTIME));
    ASSERT(epoll->files_done == NULL); /* nothing else was under way */
    op->next = NULL;
    epoll->files_done = op;
    epoll->log_sync = NULL;
}

static void log_sync_give(struct epoll_io *epoll)
{
    io_workers_submit(epoll->workers, epoll->log_sync);
    epoll->log_sync = NULL;
}

static const struct io_backend epoll_backend = {
    .name = "epoll",
    .clock_ns = epoll_clock_ns,
    .wall_ms = epoll_wall_ms,
    .random = epoll_random,
    .machine_boot = epoll_machine_boot,
    .wait = epoll_wait_events,
    .yield = epoll_yield,
    .next = epoll_next,
    .wake = epoll_wake,
    .listen = epoll_listen,
    .connect = epoll_connect,
    .socket_own = epoll_socket_own,
    .recv_pause = epoll_recv_pause,
    .recv_resume = epoll_recv_resume,
    .send = epoll_send,
    .datagram_open = epoll_datagram_open,
    .datagram_send = epoll_datagram_send,
    .datagram_from = epoll_datagram_from,
    .close = epoll_close,
    .socket_name = epoll_socket_name,
    .socket_port = epoll_socket_port,
    .socket_descriptor = epoll_socket_descriptor,
    .connections_limit = epoll_connections_limit,
    .file_run = epoll_file_run,
    .file_submit = epoll_file_submit,
    .free = epoll_free,
};
