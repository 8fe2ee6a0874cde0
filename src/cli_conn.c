/*
 * cli_conn.c — connecting, waiting, and what is said first.
 */
#include "cli_conn.h"

#include "base/mem.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RECEIVE_BYTES = 64 << 10 };

void cli_conn_init(struct cli_conn *conn)
{
    *conn = (struct cli_conn){ .fd = -1, .cancel_fd = -1, .wants_resp3 = true };
    cli_conn_target(conn, slice_from("127.0.0.1"), CLI_PORT_DEFAULT);
}

void cli_conn_deinit(struct cli_conn *conn)
{
    cli_conn_close(conn);
    mem_free(conn->host);
    mem_free(conn->user);
    mem_free(conn->password);
    cli_parser_deinit(&conn->parser);
    buffer_free(&conn->input);
    buffer_free(&conn->output);
}

void cli_conn_target(struct cli_conn *conn, struct slice host, uint16_t port)
{
    char *copy = mem_alloc(host.size + 1);
    memcpy(copy, host.data, host.size);
    copy[host.size] = '\0';
    mem_free(conn->host);
    conn->host = copy;
    conn->port = port;
}

void cli_conn_name(const struct cli_conn *conn, char *out, size_t size)
{
    bool is_v6 = strchr(conn->host, ':') != NULL;
    (void)snprintf(out, size, is_v6 ? "[%s]:%u" : "%s:%u", conn->host, (unsigned)conn->port);
}

void cli_conn_close(struct cli_conn *conn)
{
    if (conn->fd >= 0) {
        (void)close(conn->fd);
        conn->fd = -1;
    }
    conn->is_resp3 = false;
    conn->input.size = 0;
    conn->input_at = 0;
    conn->has_reply = false;
    conn->output.size = 0;
    cli_parser_next(&conn->parser);
}

/* Closes and explains.  Returns `error`. */
static int broken(struct cli_conn *conn, int error, const char *why)
{
    char name[128];
    cli_conn_name(conn, name, sizeof(name));
    (void)snprintf(conn->error, sizeof(conn->error), "%s: %s", name, why);
    cli_conn_close(conn);
    return error;
}

/* Waits until the socket is ready; 0, -ETIMEDOUT, or -EINTR for Ctrl-C. */
static int socket_wait(struct cli_conn *conn, short events, int timeout_ms)
{
    struct pollfd fds[2] = { { .fd = conn->fd, .events = events },
                             { .fd = conn->cancel_fd, .events = POLLIN } };
    int ready = -1;
    do {
        ready = poll(fds, 2, timeout_ms);
    } while (ready < 0 && errno == EINTR);
    if (ready < 0) {
        return -errno;
    }
    if (conn->cancel_fd >= 0 && fds[1].revents != 0) {
        return -EINTR;
    }
    return ready == 0 ? -ETIMEDOUT : 0;
}

/* ── opening ─────────────────────────────────────────────────────────────────────────────────── */

static int address_connect(struct cli_conn *conn, const struct addrinfo *address)
{
    conn->fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd < 0) {
        return -errno;
    }
    int one = 1;
    (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    (void)setsockopt(conn->fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    if (connect(conn->fd, address->ai_addr, address->ai_addrlen) == 0) {
        return 0;
    }
    int result = errno == EINPROGRESS ? socket_wait(conn, POLLOUT, CLI_CONNECT_MS) : -errno;
    int error = 0;
    socklen_t size = sizeof(error);
    if (result == 0 && getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0) {
        result = -error;
    }
    if (result != 0) {
        (void)close(conn->fd);
        conn->fd = -1;
    }
    return result;
}

static int host_connect(struct cli_conn *conn)
{
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", (unsigned)conn->port);
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC };
    struct addrinfo *found = NULL;
    int error = getaddrinfo(conn->host, port, &hints, &found);
    if (error != 0) {
        return broken(conn, -EHOSTUNREACH, gai_strerror(error));
    }
    int result = -EHOSTUNREACH;
    for (const struct addrinfo *at = found; at != NULL && result != 0 && result != -EINTR;
         at = at->ai_next) {
        result = address_connect(conn, at);
    }
    freeaddrinfo(found);
    return result == 0 ? 0 : broken(conn, result, strerror(-result));
}

static bool reply_is_error(const struct cli_conn *conn)
{
    return conn->parser.reply.count > 0 && conn->parser.reply.nodes[0].kind == CLI_ERROR;
}

/* The server's word against us, as the reason. */
static int refused(struct cli_conn *conn)
{
    char text[160];
    struct slice error = cli_text(&conn->parser.reply, 0);
    (void)snprintf(text, sizeof(text), "%.*s", (int)(error.size < 150 ? error.size : 150),
                   error.data);
    return broken(conn, -EACCES, text);
}

static int authenticate(struct cli_conn *conn)
{
    struct slice args[3] = { slice_from("AUTH") };
    uint32_t count = 1;
    if (conn->user != NULL) {
        args[count++] = slice_from(conn->user);
    }
    args[count++] = slice_from(conn->password);
    int result = cli_conn_command(conn, args, count);
    if (result == 0 && reply_is_error(conn)) {
        result = refused(conn);
    }
    return result;
}

int cli_conn_open(struct cli_conn *conn)
{
    cli_conn_close(conn);
    int result = host_connect(conn);
    if (result == 0 && conn->password != NULL) {
        result = authenticate(conn);
    }
    if (result == 0 && conn->wants_resp3) {
        /* A server that does not know HELLO, or wants AUTH first, is spoken to in RESP2. */
        struct slice hello[2] = { slice_from("HELLO"), slice_from("3") };
        result = cli_conn_command(conn, hello, 2);
        conn->is_resp3 = result == 0 && !reply_is_error(conn);
    }
    return result;
}

/* ── sending and receiving ───────────────────────────────────────────────────────────────────── */

int64_t cli_conn_flush(struct cli_conn *conn)
{
    ssize_t sent = 0;
    if (conn->output.size > 0) {
        sent = send(conn->fd, conn->output.data, conn->output.size, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
            return 0;
        }
        if (sent < 0) {
            return broken(conn, -errno, strerror(errno));
        }
        buffer_consume(&conn->output, (size_t)sent);
        conn->sent_bytes += (uint64_t)sent;
    }
    return sent;
}

int64_t cli_conn_receive(struct cli_conn *conn)
{
    buffer_consume(&conn->input, conn->input_at);
    conn->input_at = 0;
    char *to = buffer_reserve(&conn->input, RECEIVE_BYTES);
    ssize_t size = recv(conn->fd, to, RECEIVE_BYTES, 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
        return 0;
    }
    if (size < 0) {
        return broken(conn, -errno, strerror(errno));
    }
    if (size == 0) {
        return broken(conn, -ECONNRESET, "the server closed the connection");
    }
    conn->input.size += (size_t)size;
    conn->received_bytes += (uint64_t)size;
    return size;
}

enum cli_parse cli_conn_next(struct cli_conn *conn)
{
    enum cli_parse result = CLI_PARSE_MORE;
    struct slice rest =
        slice_make(conn->input.data + conn->input_at, conn->input.size - conn->input_at);
    do {
        if (conn->has_reply) {
            cli_parser_next(&conn->parser);
        }
        result = cli_parse(&conn->parser, &rest);
        conn->has_reply = result == CLI_PARSE_DONE;
        /* Pushed messages belong to no command. */
    } while (conn->has_reply && conn->parser.reply.nodes[0].kind == CLI_PUSH);
    conn->input_at = conn->input.size - rest.size;
    if (result == CLI_PARSE_BAD) {
        char why[sizeof(conn->parser.error)];
        memcpy(why, conn->parser.error, sizeof(why));
        (void)broken(conn, -EPROTO, why);
    }
    return result;
}

static int output_send(struct cli_conn *conn)
{
    while (conn->output.size > 0) {
        int result = socket_wait(conn, POLLOUT, -1);
        if (result < 0) {
            return broken(conn, result, result == -EINTR ? "cancelled" : strerror(-result));
        }
        if (cli_conn_flush(conn) < 0) {
            return -ECONNRESET;
        }
    }
    return 0;
}

static int reply_receive(struct cli_conn *conn)
{
    for (;;) {
        enum cli_parse parsed = cli_conn_next(conn);
        if (parsed != CLI_PARSE_MORE) {
            return parsed == CLI_PARSE_DONE ? 0 : -EPROTO;
        }
        int result = socket_wait(conn, POLLIN, -1);
        if (result < 0) {
            return broken(conn, result, result == -EINTR ? "cancelled" : strerror(-result));
        }
        if (cli_conn_receive(conn) < 0) {
            return -ECONNRESET;
        }
    }
}

int cli_conn_command(struct cli_conn *conn, const struct slice *args, uint32_t count)
{
    if (conn->fd < 0) {
        return -ENOTCONN;
    }
    cli_request(&conn->output, args, count);
    int result = output_send(conn);
    return result < 0 ? result : reply_receive(conn);
}
