/*
 * server_test.c — the server over a fake machine: order, bounds, ends of connections, and random
 * runs against a model.
 *
 * Read next: server_world.h.
 */
#include "server_world.h"

/* ── single rules ────────────────────────────────────────────────────────────────────────────── */

TEST(answers_now)
{
    struct world *world = world_new(10);
    struct io_socket *socket = dial(world);
    deliver_text(world, socket, "*2\r\n$3\r\nNOW\r\n$1\r\na\r\nNOW b\r\n*2\r\n$3\r\nNO");
    CHECK_EQ(socket->sent.size, 0); /* nothing leaves before the flush */
    CHECK(server_has_work(world->server));
    server_flush(world->server);
    CHECK(sent_is(socket, "$1\r\na\r\n$1\r\nb\r\n"));
    deliver_text(world, socket, "W\r\n$1\r\nc\r\nNOW d\n");
    server_flush(world->server);
    CHECK(sent_is(socket, "$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n"));
    CHECK(!server_has_work(world->server));
    const struct conn_info *info = conn_info(conn_of(socket));
    CHECK_EQ(info->commands, 4);
    CHECK_EQ(info->bytes_out, socket->sent.size);
    CHECK_EQ(info->protocol, PROTOCOL_RESP2);
    CHECK(strcmp(info->address, "127.0.0.1:5000") == 0);
    CHECK_EQ(info->queued_input_bytes, 0);
    world_free(world);
}

TEST(answers_in_request_order)
{
    struct world *world = world_new(10);
    struct io_socket *socket = dial(world);
    deliver_text(world, socket, "LATER 1\nNOW 2\nNOW 3\nLATER 4\nLATER 5\nNOW 6\nLATER 7\n");
    CHECK_EQ(conn_owed(conn_of(socket)), 4);
    answer_later(world, 1); /* 4 */
    answer_later(world, 2); /* 7 */
    server_flush(world->server);
    CHECK_EQ(socket->sent.size, 0);
    answer_later(world, 0); /* 1 */
    server_flush(world->server);
    CHECK(sent_is(socket, "$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n"));
    answer_later(world, 0); /* 5 */
    deliver_text(world, socket, "NOW 8\n");
    server_flush(world->server);
    CHECK(sent_is(socket, "$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n$1\r\n5\r\n$1\r\n6\r\n"
                          "$1\r\n7\r\n$1\r\n8\r\n"));
    CHECK_EQ(conn_owed(conn_of(socket)), 0);
    world_free(world);
}

TEST(json_lines)
{
    struct world *world = world_new(10);
    struct io_socket *socket = dial(world);
    deliver_text(
        world, socket,
        "{\"id\":1,\"command\":\"LATER a\"}\nnonsense\n{\"id\":\"x\",\"command\":\"NOW b\"}\n"
        "*1\r\n{\"command\":");
    answer_all(world);
    deliver_text(world, socket, "\"NOW c\"}\n");
    server_flush(world->server);
    CHECK(sent_is(socket,
                  "{\"id\":1,\"success\":true,\"data\":\"a\"}\n"
                  "{\"success\":false,\"error\":\"ERR Protocol error: invalid JSON at byte 8: "
                  "invalid token near 'nonsense'\",\"code\":\"ERR\"}\n"
                  "{\"id\":\"x\",\"success\":true,\"data\":\"b\"}\n"
                  "{\"success\":false,\"error\":\"ERR Protocol error: invalid JSON at byte 1: "
                  "invalid token near '*'\",\"code\":\"ERR\"}\n"
                  "{\"success\":true,\"data\":\"c\"}\n"));
    CHECK_EQ(server_stats(world->server)->protocol_errors, 2);
    CHECK(!socket->is_closed);
    world_free(world);
}

TEST(malformed_resp_is_answered_and_closed)
{
    struct world *world = world_new(10);
    struct io_socket *socket = dial(world);
    deliver_text(world, socket, "LATER 1\n*1000000000\r\nNOW 2\n");
    deliver_text(world, socket, "NOW 3\n");
    server_flush(world->server);
    CHECK(!socket->is_closed); /* the first is still owed */
    answer_all(world);
    server_flush(world->server);
    CHECK(sent_is(socket, "$1\r\n1\r\n-ERR Protocol error: invalid multibulk length\r\n"));
    CHECK(socket->is_closed);
    CHECK_EQ(server_stats(world->server)->clients, 0);
    world_free(world);
}

/* The caller takes a batch, ends the pass when that ran dry, and never asks again. */
TEST(malformed_in_a_single_batch)
{
    struct world *world = world_new(10);
    struct io_socket *json = dial(world);
    struct io_socket *resp = dial(world);
    world->is_single_batch = true;
    deliver_text(world, json,
                 "{\"id\":1,\"command\":\"NOW a\"}\n{\"id\":2}\n"
                 "{\"id\":3,\"command\":\"NOW b\"}\n{\"id\":4}\n");
    deliver_text(world, resp, "NOW a\n*x\r\nNOW b\n");
    resume(world);
    server_flush(world->server);
    CHECK(sent_is(json, "{\"id\":1,\"success\":true,\"data\":\"a\"}\n"
                        "{\"id\":2,\"success\":false,\"error\":\"ERR Protocol error: needs either "
                        "\\\"command\\\" or \\\"args\\\"\",\"code\":\"ERR\"}\n"
                        "{\"id\":3,\"success\":true,\"data\":\"b\"}\n"
                        "{\"id\":4,\"success\":false,\"error\":\"ERR Protocol error: needs either "
                        "\\\"command\\\" or \\\"args\\\"\",\"code\":\"ERR\"}\n"));
    CHECK(!json->is_paused);
    CHECK(sent_is(resp, "$1\r\na\r\n-ERR Protocol error: invalid multibulk length\r\n"));
    CHECK(resp->is_closed);
    world_free(world);
}

TEST(pass_that_ends_early)
{
    struct world *world = world_new(10);
    struct io_socket *socket = dial(world);
    world->is_single_batch = true;
    world->batch = 2;
    deliver_text(world, socket, "NOW 1\nNOW 2\nNOW 3\nNOW 4\nNOW 5\nNO");
    CHECK_EQ(world->requests, 2);
    CHECK(socket->is_paused);
    resume(world);
    CHECK(!socket->is_paused);
    deliver_text(world, socket, "W 6\nNOW 7\nNOW 8\n");
    resume(world);
    server_flush(world->server);
    CHECK(sent_is(socket, "$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n$1\r\n5\r\n"
                          "$1\r\n6\r\n$1\r\n7\r\n$1\r\n8\r\n"));
    CHECK(!server_has_work(world->server));
    CHECK_EQ(server_stats(world->server)->paused, 0);
    world_free(world);
}

TEST(quit)
{
    struct world *world = world_new(10);
    struct io_socket *socket = dial(world);
    socket->window = 5;
    deliver_text(world, socket, "LATER 1\nQUIT\nNOW 2\n");
    answer_all(world);
    server_flush(world->server);
    CHECK(!socket->is_closed);
    open_window(world, socket, 100);
    server_flush(world->server);
    CHECK(sent_is(socket, "$1\r\n1\r\n+OK\r\n"));
    CHECK(socket->is_closed);
    CHECK_EQ(world->requests, 2);
    world_free(world);
}

TEST(hello_and_older_answers)
{
    struct world *world = world_new(10);
    struct io_socket *socket = dial(world);
    deliver_text(world, socket, "LATER x\nHELLO3\nLATER y\n");
    for (unsigned i = 2; i-- > 0;) {
        struct later later = world->laters[i];
        reply_null(conn_deferred_begin(later.conn, later.ticket));
        conn_deferred_end(later.conn, later.ticket);
    }
    world->laters_count = 0;
    server_flush(world->server);
    CHECK(sent_is(socket, "$-1\r\n_\r\n_\r\n"));
    world_free(world);
}

TEST(client_reply)
{
    struct world *world = world_new(10);
    struct io_socket *socket = dial(world);
    char text[400];
    (void)snprintf(text, sizeof(text),
                   "NOW 1\nMODE %d\nNOW 2\nNOW 3\nMODE %d\nLATER 4\nNOW 5\nMODE %d\nNOW 6\n"
                   "LATER 7\nMODE %d\nNOW 8\nLATER 9\n",
                   CONN_REPLY_SKIP_NEXT, CONN_REPLY_SKIP_NEXT, CONN_REPLY_OFF, CONN_REPLY_ON);
    deliver_text(world, socket, text);
    answer_later(world, 1); /* 7: silent, early */
    answer_all(world);
    server_flush(world->server);
    CHECK(sent_is(socket, "$1\r\n1\r\n$1\r\n3\r\n$1\r\n5\r\n+OK\r\n$1\r\n8\r\n$1\r\n9\r\n"));
    world_free(world);
}

TEST(hold)
{
    struct world *world = world_new(10);
    struct io_socket *a = dial(world);
    struct io_socket *b = dial(world);
    deliver_text(world, b, "*2\r\n$3\r\nNOW\r\n");
    server_hold(world->server, true);
    deliver_text(world, a, "NOW 1\nNOW 2\n");
    deliver_text(world, b, "$1\r\nx\r\nNOW y\n");
    CHECK(a->is_paused);
    resume(world);
    server_flush(world->server);
    CHECK_EQ(world->requests, 0);
    CHECK(!server_has_work(world->server));
    CHECK_EQ(server_stats(world->server)->paused, 2);
    server_hold(world->server, false);
    CHECK(server_has_work(world->server));
    resume(world);
    server_flush(world->server);
    CHECK(sent_is(a, "$1\r\n1\r\n$1\r\n2\r\n"));
    CHECK(sent_is(b, "$1\r\nx\r\n$1\r\ny\r\n"));
    CHECK(!a->is_paused && !b->is_paused);
    CHECK_EQ(server_stats(world->server)->paused, 0);
    world_free(world);
}

/* The hold comes in the middle of a pass: what is left of the input waits too. */
TEST(hold_in_a_pass)
{
    struct world *world = world_new(10);
    struct io_socket *socket = dial(world);
    static const char text[] = "NOW 1\nNOW 2\nNOW 3\n";
    struct io_event event = { .kind = IO_EVENT_RECV,
                              .owner = socket->owner,
                              .socket = socket,
                              .data = text,
                              .result = sizeof(text) - 1 };
    struct conn *conn = server_on_event(world->server, &event);
    struct request request;
    CHECK(conn_next_request(conn, &request));
    reply_bulk(conn_reply_begin(conn, request.id), request.argv[1]);
    conn_reply_end(conn);
    server_hold(world->server, true);
    CHECK(!conn_next_request(conn, &request));
    conn_input_end(conn);
    CHECK(server_next_resumable(world->server) == NULL);
    CHECK(socket->is_paused);
    server_hold(world->server, false);
    resume(world);
    server_flush(world->server);
    CHECK(sent_is(socket, "$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n"));
    world_free(world);
}

/* Requests of several connections in one batch: what was taken from the first must outlive what
 * arrives for the others. */
TEST(passes_of_several_connections)
{
    struct world *world = world_new(10);
    world->has_open_passes = true;
    struct io_socket *a = dial(world);
    struct io_socket *b = dial(world);
    struct io_socket *c = dial(world);
    struct io_socket *d = dial(world);
    deliver_text(world, a, "NOW 1\nLATER 2\nNOW 3\n");
    deliver_text(world, b, "*2\r\n$3\r\nNOW\r\n$5\r\nlater\r\n");
    deliver_text(world, c, "{\"id\":7,\"args\":[\"NOW\",\"json\"]}\n");
    deliver_text(world, d, "NOW never seen\n");
    CHECK_EQ(world->requests, 0);
    conn_kill(conn_of(d));
    CHECK(d->is_closed);
    run(world);
    answer_all(world);
    CHECK_EQ(world->requests, 6);
    server_flush(world->server);
    CHECK(sent_is(a, "$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n"));
    CHECK(sent_is(b, "$5\r\nlater\r\n"));
    CHECK(sent_is(c, "{\"id\":7,\"success\":true,\"data\":\"json\"}\n"));
    CHECK_EQ(d->sent.size, 0);
    world_free(world);
}

/* A pass does not wait while something is left to parse, or lies in the io's memory. */
TEST(passes_that_may_not_wait)
{
    struct world *world = world_new(10);
    world->has_open_passes = true;
    struct io_socket *a = dial(world);
    struct io_socket *b = dial(world);
    struct io_socket *c = dial(world);
    deliver_text(world, a, "NOW 1\nNOW");
    CHECK_EQ(world->requests, 1);
    char large[2000];
    int size = snprintf(large, sizeof(large), "*2\r\n$3\r\nNOW\r\n$1500\r\n%01500d\r\n", 1);
    deliver(world, b, large, (size_t)size);
    CHECK_EQ(world->requests, 2);
    deliver_text(world, c, "NOW 1\n*1\r\n!");
    CHECK_EQ(world->requests, 3);
    CHECK_EQ(world->open_count, 0);
    server_flush(world->server);
    CHECK(sent_is(c, "$1\r\n1\r\n-ERR Protocol error: expected '$', got '!'\r\n") && c->is_closed);
    world_free(world);
}

TEST(clients_max)
{
    struct world *world = world_new(2);
    struct io_socket *a = dial(world);
    (void)dial(world);
    struct io_socket *c = dial(world);
    CHECK(c->is_closed && sent_is(c, "-ERR max number of clients reached\r\n"));
    CHECK_EQ(server_stats(world->server)->connections_rejected, 1);
    deliver_end(world, a, -104);
    CHECK(a->is_closed);
    CHECK(!dial(world)->is_closed);
    struct io_event event = { .kind = IO_EVENT_ACCEPT, .owner = world->server, .result = -24 };
    CHECK(server_on_event(world->server, &event) == NULL);
    CHECK_EQ(server_stats(world->server)->accept_errors, 1);
    CHECK_EQ(server_stats(world->server)->connections_total, 3);
    world_free(world);
}

TEST(before_auth)
{
    struct world *world = world_new(10);
    server_options(world->server)->auth_required = true;
    struct io_socket *a = dial(world);
    struct io_socket *b = dial(world);
    deliver_text(world, a, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n");
    server_flush(world->server);
    CHECK(sent_is(a, "-ERR Protocol error: invalid bulk length\r\n") && a->is_closed);
    deliver_text(world, b, "AUTH x\n*11\r\n");
    for (unsigned i = 0; i < 11; i++) {
        deliver_text(world, b, "$1\r\nx\r\n");
    }
    server_flush(world->server);
    CHECK(sent_is(b, "+OK\r\n-ERR unknown 11\r\n"));
    world_free(world);
}

/* ── the end of a connection ─────────────────────────────────────────────────────────────────── */

TEST(half_closed_peer_gets_its_answers)
{
    struct world *world = world_new(10);
    struct io_socket *socket = dial(world);
    deliver_text(world, socket, "LATER 1\nNOW 2\nhalf a request");
    deliver_end(world, socket, 0);
    server_flush(world->server);
    CHECK(!socket->is_closed);
    answer_all(world);
    server_flush(world->server);
    CHECK(sent_is(socket, "$1\r\n1\r\n$1\r\n2\r\n"));
    CHECK(socket->is_closed);
    struct io_socket *idle = dial(world);
    deliver_end(world, idle, 0);
    server_flush(world->server);
    CHECK(idle->is_closed);
    world_free(world);
}

TEST(half_closed_and_held_back)
{
    struct world *world = world_new(10);
    struct io_socket *socket = dial(world);
    server_hold(world->server, true);
    deliver_text(world, socket, "NOW 1\n");
    deliver_end(world, socket, 0);
    server_flush(world->server);
    CHECK(!socket->is_closed);
    server_hold(world->server, false);
    resume(world);
    server_flush(world->server);
    CHECK(sent_is(socket, "$1\r\n1\r\n") && socket->is_closed);
    world_free(world);
}

TEST(detached_until_the_last_ticket)
{
    struct world *world = world_new(10);
    struct io_socket *socket = dial(world);
    deliver_text(world, socket, "LATER 1\nNOW 2\nLATER 3\nLATER 4\n");
    answer_later(world, 1);
    deliver_end(world, socket, -104);
    CHECK(socket->is_closed);
    CHECK_EQ(server_stats(world->server)->clients, 0);
    CHECK(world->server->detached.first != NULL);
    CHECK(server_next_conn(world->server, NULL) == NULL);
    server_flush(world->server);
    answer_all(world); /* the sanitizer sees what is freed too early or too late */
    CHECK(world->server->detached.first == NULL);
    CHECK_EQ(server_stats(world->server)->output_buffer_bytes, 0);
    world_free(world);
}

TEST(server_freed_while_answers_are_owed)
{
    struct world *world = world_new(10);
    deliver_text(world, dial(world), "LATER 1\nNOW 2\nLATER 3\n*2\r\n$1\r\nx\r\n");
    deliver_text(world, dial(world), "{\"id\":5,\"command\":\"LATER 1\"}\n");
    answer_later(world, 1);
    deliver_end(world, world->sockets[1], -104);
    world_free(world);
}

TEST(killed_in_its_own_pass)
{
    struct world *world = world_new(10);
    struct io_socket *a = dial(world);
    struct io_socket *b = dial(world);
    deliver_text(world, a, "KILLME\nNOW 1\n");
    deliver_text(world, b, "*2\r\n$5\r\nLA");
    deliver_text(world, b, "TER\r\n$1\r\n1\r\nNOW 2\nKILLME\nNOW 1\n");
    CHECK(a->is_closed && b->is_closed);
    CHECK_EQ(world->requests, 4);
    CHECK(world->server->detached.first != NULL);
    answer_all(world);
    CHECK(world->server->detached.first == NULL);
    server_flush(world->server);
    CHECK_EQ(a->sent.size + b->sent.size, 0);
    world_free(world);
}

TEST(broken_at_send)
{
    struct world *world = world_new(10);
    struct io_socket *socket = dial(world);
    deliver_text(world, socket, "NOW 1\nLATER 2\n");
    socket->is_broken = true;
    server_flush(world->server);
    CHECK(socket->is_closed);
    answer_all(world);
    world_free(world);
}

TEST(idle_timeout)
{
    struct world *world = world_new(100);
    server_options(world->server)->idle_timeout_s = 5;
    for (unsigned i = 0; i < 30; i++) {
        (void)dial(world);
    }
    deliver_text(world, world->sockets[3], "LATER 1\n");
    for (uint64_t now_ms = 1000; now_ms <= 5900; now_ms += 100) {
        server_tick(world->server, now_ms);
    }
    CHECK_EQ(server_stats(world->server)->clients, 30);
    CHECK(world->server->ticked != NULL);
    for (unsigned i = 0; i < 3; i++) { /* the one the next tick would begin with */
        struct conn *ticked = world->server->ticked;
        if (ticked != NULL && ticked->owed == 0 && ticked != conn_of(world->sockets[7])) {
            conn_kill(ticked);
        }
    }
    server_tick(world->server, 5900);
    deliver_text(world, world->sockets[7], "NOW 1\n");
    for (uint64_t now_ms = 6000; now_ms <= 8000; now_ms += 100) {
        server_tick(world->server, now_ms);
    }
    CHECK_EQ(server_stats(world->server)->clients, 2);
    CHECK(!world->sockets[3]->is_closed && !world->sockets[7]->is_closed);
    answer_all(world);
    for (uint64_t now_ms = 11000; now_ms <= 12500; now_ms += 100) {
        server_tick(world->server, now_ms);
    }
    CHECK_EQ(server_stats(world->server)->clients, 0);
    world_free(world);
}

/* ── bounds ──────────────────────────────────────────────────────────────────────────────────── */

TEST(too_many_answers_owed)
{
    enum { REQUESTS = 3 * CONN_SLOTS_MAX };
    struct world *world = world_new(10);
    struct io_socket *socket = dial(world);
    struct buffer input = { 0 };
    struct buffer expected = { 0 };
    for (unsigned i = 0; i < REQUESTS; i++) {
        buffer_printf(&input, "LATER %04u\n", i % 10000);
        buffer_printf(&expected, "$4\r\n%04u\r\n", i % 10000);
    }
    deliver(world, socket, input.data, input.size);
    CHECK_EQ(world->requests, CONN_SLOTS_MAX);
    CHECK(socket->is_paused);
    struct prng prng;
    prng_init(&prng, 1);
    while (world->laters_count > 0) {
        CHECK(conn_of(socket)->slots_tail - conn_of(socket)->slots_head <= CONN_SLOTS_MAX);
        answer_later(world, (unsigned)prng_below(&prng, world->laters_count));
        resume(world);
        server_flush(world->server);
    }
    CHECK_EQ(world->requests, REQUESTS);
    CHECK(slice_equal(buffer_slice(&socket->sent), buffer_slice(&expected)));
    CHECK(!socket->is_paused);
    for (uint64_t i = 0; i < 20; i++) {
        server_tick(world->server, 2000 + i * 100);
    }
    CHECK(conn_of(socket)->slots == NULL);
    CHECK_EQ(server_stats(world->server)->input_buffer_bytes, 0);
    CHECK_EQ(server_stats(world->server)->output_buffer_bytes, 0);
    buffer_free(&input);
    buffer_free(&expected);
    world_free(world);
}

TEST(slow_reader_is_not_read)
{
    struct world *world = world_new(10);
    struct io_socket *socket = dial(world);
    socket->window = 10;
    struct buffer input = { 0 };
    for (unsigned i = 0; i < 100; i++) {
        buffer_append_text(&input, "BIG 100000\n");
    }
    deliver(world, socket, input.data, input.size);
    CHECK_EQ(world->requests, CONN_OUTPUT_PAUSE_BYTES / 100000 + 1);
    CHECK_EQ(conn_info(conn_of(socket))->commands, world->requests);
    CHECK(world->untaken > 0);
    CHECK(socket->is_paused);
    size_t most = 0;
    for (unsigned i = 0; i < 100000 && socket->sent.size < 100 * 100011; i++) {
        server_flush(world->server);
        resume(world);
        most = most > conn_of(socket)->output.capacity ? most : conn_of(socket)->output.capacity;
        open_window(world, socket, 50000);
    }
    CHECK_EQ(world->requests, 100);
    CHECK_EQ(socket->sent.size, 100 * (100000 + 11));
    CHECK(most <= 2 << 20);
    server_flush(world->server);
    resume(world);
    CHECK(!socket->is_paused);
    CHECK_EQ(server_stats(world->server)->output_buffer_bytes, 0);
    buffer_free(&input);
    world_free(world);
}

/* Answers that come after the pass count, too. */
TEST(slow_reader_of_deferred_answers_is_not_read)
{
    struct world *world = world_new(10);
    struct io_socket *socket = dial(world);
    socket->window = 0;
    deliver_text(world, socket, "LATER 1\nLATER 2\n");
    static char bytes[CONN_OUTPUT_PAUSE_BYTES];
    for (unsigned i = 0; i < 2; i++) {
        struct later later = world->laters[i];
        reply_bulk(conn_deferred_begin(later.conn, later.ticket),
                   slice_make(bytes, sizeof(bytes) / 2));
        conn_deferred_end(later.conn, later.ticket);
        server_flush(world->server);
        CHECK_EQ(socket->is_paused, i == 1);
    }
    world->laters_count = 0;
    open_window(world, socket, SIZE_MAX);
    server_flush(world->server);
    resume(world);
    CHECK(!socket->is_paused);
    world_free(world);
}

TEST(output_limit)
{
    struct world *world = world_new(10);
    server_options(world->server)->output_limit_bytes = 2 << 20;
    struct io_socket *a = dial(world);
    struct io_socket *b = dial(world);
    a->window = 0;
    b->window = 0;
    deliver_text(world, a, "BIG 1500000\n");
    deliver_text(world, b, "BIG 2500000\n");
    server_flush(world->server);
    CHECK(!a->is_closed && b->is_closed);
    CHECK_EQ(server_stats(world->server)->output_closed, 1);
    world_free(world);
}

TEST(large_request_costs_what_arrived)
{
    struct world *world = world_new(10);
    struct io_socket *socket = dial(world);
    enum { SIZE = 5000000 };
    char header[64];
    int header_size = snprintf(header, sizeof(header), "*2\r\n$3\r\nXXX\r\n$%d\r\n", SIZE);
    deliver(world, socket, header, (size_t)header_size);
    CHECK(conn_of(socket)->input.capacity <= 512);
    static char piece[CONN_RECV_BYTES];
    for (size_t sent = 0; sent < SIZE;) {
        size_t size = SIZE - sent < sizeof(piece) ? SIZE - sent : sizeof(piece);
        deliver(world, socket, piece, size);
        sent += size;
        CHECK(conn_of(socket)->input.capacity <= 2 * sent + 2 * CONN_RECV_BYTES);
    }
    deliver_text(world, socket, "\r\nNOW 1\n");
    server_flush(world->server);
    CHECK(sent_is(socket, "-ERR unknown 2\r\n$1\r\n1\r\n"));
    CHECK_EQ(conn_of(socket)->input.capacity, 0);
    CHECK_EQ(server_stats(world->server)->input_buffer_bytes, 0);
    world_free(world);
}

TEST(idle_connections_are_small)
{
    CHECK(sizeof(struct conn) <= 1024);
    struct world *world = world_new(5000);
    for (unsigned i = 0; i < 1000; i++) {
        struct io_socket *socket = dial(world);
        deliver_text(world, socket, "*2\r\n$3\r\nN");
        deliver_text(world, socket, "OW\r\n$1\r\nx\r\nLATER y\n");
    }
    answer_all(world);
    server_flush(world->server);
    for (uint64_t i = 0; i < 15; i++) {
        server_tick(world->server, 2000 + i * 100);
    }
    uint64_t id = 0;
    for (struct conn *conn = NULL; (conn = server_next_conn(world->server, conn)) != NULL;) {
        CHECK(conn_info(conn)->id == ++id);
        CHECK(server_find_conn(world->server, id) == conn);
        CHECK(conn->input.data == NULL && conn->output.data == NULL && conn->later.data == NULL);
        CHECK(conn->slots == NULL && conn->resp.argv == NULL);
    }
    CHECK_EQ(id, 1000);
    CHECK(server_find_conn(world->server, 1001) == NULL);
    CHECK_EQ(server_stats(world->server)->output_buffer_bytes, 0);
    world_free(world);
}

/* ── everything at once against a model ──────────────────────────────────────────────────────── */

enum { MODEL_CONNS = 8, MODEL_REQUESTS_MAX = 200 };

struct model_conn {
    struct io_socket *socket;
    struct buffer input;             /* what the client has yet to send */
    size_t delivered;                /* bytes of it that are gone */
    size_t ends[MODEL_REQUESTS_MAX]; /* where its requests end, `delivered` included */
    unsigned ends_count;
    struct buffer expected; /* what it must get in the end */
    bool is_json;
};

static void model_add_request(struct model_conn *model, struct prng *prng, unsigned number)
{
    char text[24];
    (void)snprintf(text, sizeof(text), "%u", number);
    bool is_later = prng_chance(prng, 1, 2);
    const char *name = is_later ? "LATER" : "NOW";
    if (model->is_json && prng_chance(prng, 1, 10)) {
        buffer_printf(&model->input, "{\"id\":%u}\n", number);
        buffer_printf(&model->expected,
                      "{\"id\":%u,\"success\":false,\"error\":\"ERR Protocol error: needs either "
                      "\\\"command\\\" or \\\"args\\\"\",\"code\":\"ERR\"}\n",
                      number);
    } else if (model->is_json) {
        buffer_printf(&model->input, "{\"id\":%u,\"args\":[\"%s\",%s]}\n", number, name, text);
        buffer_printf(&model->expected, "{\"id\":%u,\"success\":true,\"data\":\"%s\"}\n", number,
                      text);
    } else if (prng_chance(prng, 1, 20)) {
        unsigned size = (unsigned)prng_below(prng, 30000);
        buffer_printf(&model->input, "*2\r\n$3\r\nBIG\r\n$5\r\n%05u\r\n", size + 10000);
        buffer_printf(&model->expected, "$%u\r\n", size + 10000);
        memset(buffer_reserve(&model->expected, size + 10000), 0, size + 10000);
        model->expected.size += size + 10000;
        buffer_append_text(&model->expected, "\r\n");
    } else if (prng_chance(prng, 1, 3)) {
        buffer_printf(&model->input, "%s %s\r\n", name, text);
        buffer_printf(&model->expected, "$%zu\r\n%s\r\n", strlen(text), text);
    } else {
        buffer_printf(&model->input, "*2\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n", strlen(name), name,
                      strlen(text), text);
        buffer_printf(&model->expected, "$%zu\r\n%s\r\n", strlen(text), text);
    }
}

/* How many bytes arrive next: up to the end of a request, or just some. */
static size_t model_piece(const struct model_conn *model, struct prng *prng)
{
    size_t most = prng_chance(prng, 1, 2) ? model->input.size : 40;
    most = most < model->input.size ? most : model->input.size;
    size_t size = 1 + prng_below(prng, most);
    if (prng_chance(prng, 1, 2)) {
        return size;
    }
    unsigned at = 0;
    while (model->ends[at] < model->delivered + size) {
        at++;
    }
    return model->ends[at] - model->delivered;
}

static void model_deliver(struct world *world, struct model_conn *model, size_t size)
{
    deliver(world, model->socket, model->input.data, size);
    buffer_consume(&model->input, size);
    model->delivered += size;
}

static void model_step(struct world *world, struct model_conn *model, struct prng *prng)
{
    struct io_socket *socket = model->socket;
    switch (prng_below(prng, 8)) {
    case 0:
    case 1:
        if (!socket->is_paused && model->input.size > 0) {
            model_deliver(world, model, model_piece(model, prng));
        }
        break;
    case 2:
        open_window(world, socket, prng_below(prng, 5000));
        break;
    case 3:
    case 4:
        if (world->laters_count > 0) {
            answer_later(world, (unsigned)prng_below(prng, world->laters_count));
        }
        break;
    case 5:
        server_hold(world->server, prng_chance(prng, 1, 3));
        break;
    case 6:
        run(world);
        server_flush(world->server);
        break;
    default:
        run(world);
        resume(world);
        break;
    }
}

TEST(random_runs_equal_model)
{
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct prng prng;
        prng_init(&prng, seed);
        struct world *world = world_new(100);
        world->batch = 1 + (unsigned)prng_below(&prng, PIPELINE_BATCH);
        world->untakes = seed % 2 == 0 ? &prng : NULL;
        world->has_open_passes = seed % 4 >= 2;
        struct model_conn models[MODEL_CONNS] = { 0 };
        for (unsigned i = 0; i < MODEL_CONNS; i++) {
            models[i].socket = dial(world);
            models[i].is_json = i % 4 == 3;
            for (uint64_t n = prng_below(&prng, MODEL_REQUESTS_MAX); n > 0; n--) {
                model_add_request(&models[i], &prng, (unsigned)prng_below(&prng, 1000000));
                models[i].ends[models[i].ends_count++] = models[i].input.size;
            }
        }
        for (unsigned step = 0; step < 3000; step++) {
            model_step(world, &models[prng_below(&prng, MODEL_CONNS)], &prng);
        }
        run(world);
        server_hold(world->server, false);
        for (unsigned round = 0; round < 100; round++) {
            resume(world);
            answer_all(world);
            for (unsigned i = 0; i < MODEL_CONNS; i++) {
                open_window(world, models[i].socket, SIZE_MAX);
                if (models[i].input.size > 0 && !models[i].socket->is_paused) {
                    model_deliver(world, &models[i], models[i].input.size);
                }
            }
            run(world);
            server_flush(world->server);
        }
        for (unsigned i = 0; i < MODEL_CONNS; i++) {
            struct io_socket *socket = models[i].socket;
            CHECK_EQ(models[i].input.size, 0);
            CHECK_EQ(socket->sent.size, models[i].expected.size);
            CHECK(slice_equal(buffer_slice(&socket->sent), buffer_slice(&models[i].expected)));
            CHECK(!socket->is_paused && !socket->is_closed);
            buffer_free(&models[i].input);
            buffer_free(&models[i].expected);
        }
        CHECK(world->untakes == NULL || world->untaken > 0);
        CHECK(!world->has_open_passes || world->batch == 1 || world->joined > 0);
        CHECK_EQ(server_stats(world->server)->input_buffer_bytes, 0);
        CHECK_EQ(server_stats(world->server)->output_buffer_bytes, 0);
        CHECK_EQ(server_stats(world->server)->paused, 0);
        world_free(world);
    }
}

TEST_MAIN
