/*
 * answers_test.c — who asked gets the answer: clients of all protocols over a real server, other
 * nodes, and gathers of parts in any order.
 *
 * Read next: ../network/server_world.h.
 */
#include "answers.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function" /* of a world made for other tests */
#include "../network/server_world.h"
#pragma GCC diagnostic pop
#include "command/command.h"
#include "forward.h"
#include "gather.h"
#include "network/reply_check.h"
#include "pending.h"

/* What was handed over to another node. */
struct forward {
    struct buffer resp;
    uint64_t link, request, version;
    unsigned answers;
    size_t room;
};

void forward_answer(struct forward *forward, uint64_t link, uint64_t request, struct slice resp,
                    uint64_t version)
{
    forward->answers++;
    forward->link = link;
    forward->request = request;
    forward->version = version;
    forward->resp.size = 0;
    buffer_append_slice(&forward->resp, resp);
}

size_t forward_answer_room(const struct forward *forward, uint64_t link)
{
    CHECK_EQ(link, 11);
    return forward->room;
}

/* ── a desk: answers, and three clients that ask ─────────────────────────────────────────────── */

struct desk {
    struct answers answers;
    struct meter meter;
    struct forward forward;
    struct world *world;
    struct io_socket *sockets[3]; /* RESP2, RESP3, JSON */
};

static struct desk *desk_new(void)
{
    struct desk *desk = calloc(1, sizeof(*desk));
    meter_init(&desk->meter, -1, 0, 0);
    answers_init(&desk->answers, &desk->meter);
    desk->answers.forward = &desk->forward;
    desk->world = world_new(10);
    for (unsigned i = 0; i < 3; i++) {
        desk->sockets[i] = dial(desk->world);
    }
    deliver_text(desk->world, desk->sockets[1], "HELLO3\n");
    server_flush(desk->world->server);
    desk->sockets[1]->sent.size = 0;
    return desk;
}

static void desk_free(struct desk *desk)
{
    CHECK_EQ(desk->world->laters_count, 0);
    CHECK(desk->answers.reply == NULL);
    world_free(desk->world);
    answers_deinit(&desk->answers);
    meter_deinit(&desk->meter);
    buffer_free(&desk->forward.resp);
    free(desk);
}

/* A client asks something that is answered later. */
static struct asker desk_ask(struct desk *desk, unsigned client)
{
    deliver_text(desk->world, desk->sockets[client],
                 client == 2 ? "{\"id\":7,\"command\":\"LATER x\"}\n" : "LATER x\n");
    const struct later *later = &desk->world->laters[--desk->world->laters_count];
    return asker_client(later->conn, later->ticket);
}

static bool desk_said(struct desk *desk, unsigned client, const char *text)
{
    server_flush(desk->world->server);
    bool same = sent_is(desk->sockets[client], text);
    desk->sockets[client]->sent.size = 0;
    return same;
}

static const struct command *command_named(const char *name)
{
    return command_lookup(slice_from(name));
}

/* Answers with what this says in RESP3. */
static void say(struct desk *desk, const struct asker *asker, const char *resp)
{
    answer_replay(&desk->answers, asker, NULL, slice_from(resp), 0);
}

/* ── the kinds of askers ─────────────────────────────────────────────────────────────────────── */

TEST(clients_of_every_protocol)
{
    static const char nested[] = "%2\r\n+a\r\n*2\r\n:1\r\n_\r\n$1\r\nb\r\n,1.5\r\n";
    struct desk *desk = desk_new();
    for (unsigned i = 0; i < 3; i++) {
        struct asker asker = desk_ask(desk, i);
        say(desk, &asker, nested);
    }
    CHECK(desk_said(desk, 0, "*4\r\n+a\r\n*2\r\n:1\r\n$-1\r\n$1\r\nb\r\n$3\r\n1.5\r\n"));
    CHECK(desk_said(desk, 1, nested));
    CHECK(desk_said(desk, 2, "{\"id\":7,\"success\":true,\"data\":{\"a\":[1,null],\"b\":1.5}}\n"));
    desk_free(desk);
}

TEST(versions_are_for_json)
{
    struct desk *desk = desk_new();
    for (unsigned i = 0; i < 3; i++) {
        struct asker asker = desk_ask(desk, i);
        answer_replay(&desk->answers, &asker, NULL, slice_from("+OK\r\n"), 9);
    }
    CHECK(desk_said(desk, 0, "+OK\r\n"));
    CHECK(desk_said(desk, 1, "+OK\r\n"));
    CHECK(desk_said(desk, 2, "{\"id\":7,\"success\":true,\"data\":\"OK\",\"version\":9}\n"));
    desk_free(desk);
}

TEST(errors_are_counted_where_the_client_is)
{
    struct desk *desk = desk_new();
    const struct command *get = command_named("get");
    for (unsigned i = 0; i < 3; i++) {
        struct asker asker = desk_ask(desk, i);
        answer_error(&desk->answers, &asker, get, "NOQUORUM no leader");
    }
    CHECK(desk_said(desk, 0, "-NOQUORUM no leader\r\n"));
    CHECK(desk_said(desk, 1, "-NOQUORUM no leader\r\n"));
    CHECK(desk_said(desk, 2,
                    "{\"id\":7,\"success\":false,\"error\":\"NOQUORUM no leader\",\"code\":"
                    "\"NOQUORUM\"}\n"));
    CHECK_EQ(desk->meter.commands[get->id].failed, 3);
    CHECK_EQ(desk->meter.errors.total, 3);
    struct asker remote = { .kind = ASKER_REMOTE, .remote = { 1, 2 } };
    struct asker nobody = { .kind = ASKER_NOBODY };
    answer_error(&desk->answers, &remote, get, "ERR x");
    answer_error(&desk->answers, &nobody, get, "ERR x");
    CHECK_EQ(desk->meter.errors.total, 3);
    desk_free(desk);
}

TEST(another_node)
{
    struct desk *desk = desk_new();
    struct asker asker = { .kind = ASKER_REMOTE, .remote = { 11, 22 } };
    struct reply *reply = answer_begin(&desk->answers, &asker);
    reply_map(reply, 1);
    reply_text(reply, "k");
    reply_null(reply);
    reply_version(reply, 5);
    CHECK_EQ(desk->forward.answers, 0);
    answer_end(&desk->answers, &asker, NULL);
    CHECK_EQ(desk->forward.answers, 1);
    CHECK_EQ(desk->forward.link, 11);
    CHECK_EQ(desk->forward.request, 22);
    CHECK_EQ(desk->forward.version, 5);
    CHECK(slice_equal(buffer_slice(&desk->forward.resp), slice_from("%1\r\n$1\r\nk\r\n_\r\n")));
    desk_free(desk);
}

TEST(what_is_asked_of_partitions_leaves_room_for_others)
{
    struct desk *desk = desk_new();
    struct asker asker = { .kind = ASKER_REMOTE, .remote = { 11, 22 } };
    for (desk->forward.room = 8; desk->forward.room <= 16; desk->forward.room++) {
        reply_bulk(answer_begin(&desk->answers, &asker), slice_from("123456"));
        answer_end(&desk->answers, &asker, command_named("get"));
        CHECK(slice_equal(buffer_slice(&desk->forward.resp), slice_from("$6\r\n123456\r\n")));
        reply_array(answer_begin(&desk->answers, &asker), 1);
        reply_bulk(desk->answers.reply, slice_from("ab"));
        answer_end(&desk->answers, &asker, command_named("keys"));
        CHECK_EQ(desk->forward.resp.data[0] == '*', desk->forward.room >= 12);
    }
    desk_free(desk);
}

TEST(nobody)
{
    struct desk *desk = desk_new();
    struct asker asker = { .kind = ASKER_NOBODY };
    reply_array(answer_begin(&desk->answers, &asker), 0);
    answer_end(&desk->answers, &asker, NULL);
    CHECK_EQ(desk->forward.answers, 0);
    answer_drop(&asker);
    desk_free(desk);
}

TEST(large_scratch_is_given_back)
{
    struct desk *desk = desk_new();
    struct asker asker = { .kind = ASKER_REMOTE };
    char *bytes = calloc(1, 3 << 20);
    reply_bulk(answer_begin(&desk->answers, &asker), slice_make(bytes, 3 << 20));
    answer_end(&desk->answers, &asker, NULL);
    CHECK(desk->forward.resp.size > 3 << 20);
    CHECK_EQ(desk->answers.captured.capacity, 0);
    free(bytes);
    desk_free(desk);
}

/* ── gathers ─────────────────────────────────────────────────────────────────────────────────── */

/* `texts[i]` is the answer of part i; the client's is checked against `wanted`. */
static void check_gather(const char *command, const char *const *texts, unsigned count,
                         const char *wanted)
{
    struct desk *desk = desk_new();
    struct prng prng;
    prng_init(&prng, 3);
    for (unsigned round = 0; round < 24; round++) {
        unsigned client = round % 2;
        struct asker asker = desk_ask(desk, client);
        struct gather *gather = gather_new(&asker, command_named(command), count, NULL, 0);
        struct asker parts[8];
        for (unsigned i = 0; i < count; i++) {
            parts[i] = gather_part(gather, i, 1);
        }
        unsigned order[8] = { 0, 1, 2, 3, 4, 5, 6, 7 };
        for (unsigned i = count; i-- > 1;) {
            unsigned other = (unsigned)prng_below(&prng, i + 1);
            unsigned kept = order[i];
            order[i] = order[other];
            order[other] = kept;
        }
        for (unsigned i = 0; i < count; i++) {
            CHECK(desk_said(desk, client, "")); /* not before the last */
            say(desk, &parts[order[i]], texts[order[i]]);
        }
        CHECK(desk_said(desk, client, wanted));
    }
    desk_free(desk);
}

#define CHECK_GATHER(command, wanted, ...)                                                         \
    check_gather(command, (const char *const[]){ __VA_ARGS__ },                                    \
                 ARRAY_COUNT(((const char *const[]){ __VA_ARGS__ })), wanted)

TEST(integers_are_added_up)
{
    CHECK_GATHER("del", ":5\r\n", ":5\r\n");
    CHECK_GATHER("del", ":6\r\n", ":1\r\n", ":2\r\n", ":3\r\n");
    CHECK_GATHER("exists", ":0\r\n", ":0\r\n", ":0\r\n");
    CHECK_GATHER("exists", ":-1\r\n", ":4\r\n", ":-5\r\n");
}

TEST(others_agree)
{
    CHECK_GATHER("mset", "+OK\r\n", "+OK\r\n", "+OK\r\n", "+OK\r\n");
    CHECK_GATHER("get", "-ERR the partitions gave different answers\r\n", "+OK\r\n", "+KO\r\n");
    CHECK_GATHER("get", "-ERR the partitions gave different answers\r\n", "+OK\r\n", ":1\r\n");
}

TEST(one_error_is_the_answer)
{
    CHECK_GATHER("exists", "-ERR x\r\n", ":1\r\n", "-ERR x\r\n", ":1\r\n");
    CHECK_GATHER("exists", "-NOQUORUM x\r\n", "-NOQUORUM x\r\n", ":1\r\n");
    CHECK_GATHER("del", "-NOQUORUM x\r\n", "-NOQUORUM x\r\n", "-NOQUORUM x\r\n");
    CHECK_GATHER("del", "-ERR x\r\n", "-NOQUORUM x\r\n", "-ERR x\r\n");
    CHECK_GATHER("del", "-UNKNOWN x\r\n", "-NOQUORUM x\r\n", "-UNKNOWN x\r\n", "-ERR x\r\n");
    CHECK_GATHER("del", "-UNKNOWN x\r\n", ":1\r\n", "-UNKNOWN x\r\n");
}

TEST(a_write_that_was_done_in_part_is_in_doubt)
{
    CHECK_GATHER("del",
                 "-UNKNOWN a part of the command took effect; another one failed: NOQUORUM x\r\n",
                 ":1\r\n", "-NOQUORUM x\r\n");
    CHECK_GATHER("mset",
                 "-UNKNOWN a part of the command took effect; another one failed: OOM x\r\n",
                 "-OOM x\r\n", "+OK\r\n", "-OOM x\r\n");
}

/* The elements of `keys` keys over `parts` parts, in all protocols, against a model. */
static void check_array(struct desk *desk, struct prng *prng, unsigned client)
{
    enum { KEYS_MAX = 40, PARTS_MAX = 6 };
    static const char *const values[] = { "$1\r\na\r\n", "_\r\n", "$0\r\n\r\n",
                                          "*2\r\n:1\r\n*1\r\n+x\r\n", "$4\r\n\r\n\r\n\r\n" };
    static const char *const shown[2][5] = {
        { "$1\r\na\r\n", "$-1\r\n", "$0\r\n\r\n", "*2\r\n:1\r\n*1\r\n+x\r\n",
          "$4\r\n\r\n\r\n\r\n" },
        { "\"a\"", "null", "\"\"", "[1,[\"x\"]]", "\"\\r\\n\\r\\n\"" },
    };
    unsigned keys = 1 + (unsigned)prng_below(prng, KEYS_MAX);
    unsigned parts = 1 + (unsigned)prng_below(prng, PARTS_MAX);
    struct buffer bodies[PARTS_MAX] = { { 0 } };
    unsigned counts[PARTS_MAX] = { 0 };
    unsigned part_of[KEYS_MAX], value_of[KEYS_MAX];
    uint32_t *order = mem_alloc(keys * sizeof(*order));
    for (unsigned k = 0; k < keys; k++) {
        part_of[k] = (unsigned)prng_below(prng, parts);
        value_of[k] = (unsigned)prng_below(prng, ARRAY_COUNT(values));
    }
    unsigned at = 0;
    for (unsigned p = 0; p < parts; p++) {
        for (unsigned k = 0; k < keys; k++) {
            if (part_of[k] == p) {
                order[at++] = k;
                counts[p]++;
                buffer_append_text(&bodies[p], values[value_of[k]]);
            }
        }
    }
    struct asker asker = desk_ask(desk, client);
    struct gather *gather = gather_new(&asker, command_named("mget"), parts, order, keys);
    struct asker askers[PARTS_MAX];
    for (unsigned p = 0; p < parts; p++) {
        askers[p] = gather_part(gather, p, counts[p]);
    }
    struct buffer wanted = { 0 };
    buffer_printf(&wanted, client == 2 ? "{\"id\":7,\"success\":true,\"data\":[" : "*%u\r\n", keys);
    for (unsigned k = 0; k < keys; k++) {
        buffer_append_text(&wanted, client == 2 && k > 0 ? "," : "");
        buffer_append_text(&wanted,
                           client == 1 ? values[value_of[k]] : shown[client == 2][value_of[k]]);
    }
    buffer_append_text(&wanted, client == 2 ? "]}\n" : "");
    buffer_append_byte(&wanted, '\0');
    for (unsigned p = parts; p-- > 0;) {
        struct buffer resp = { 0 };
        buffer_printf(&resp, "*%u\r\n", counts[p]);
        buffer_append_slice(&resp, buffer_slice(&bodies[p]));
        buffer_append_byte(&resp, '\0');
        say(desk, &askers[p], resp.data);
        buffer_free(&resp);
        buffer_free(&bodies[p]);
    }
    CHECK(desk_said(desk, client, wanted.data));
    buffer_free(&wanted);
}

TEST(arrays_in_the_order_of_the_keys)
{
    struct desk *desk = desk_new();
    struct prng prng;
    prng_init(&prng, 5);
    for (unsigned i = 0; i < 600; i++) {
        check_array(desk, &prng, i % 3);
    }
    desk_free(desk);
}

TEST(an_array_that_does_not_fit)
{
    static const char *const texts[] = { "*3\r\n:1\r\n:2\r\n:3\r\n", "*1\r\n:1\r\n", "+OK\r\n",
                                         "%1\r\n:1\r\n:2\r\n",       "_\r\n",        "-ERR x\r\n" };
    struct desk *desk = desk_new();
    for (unsigned i = 0; i < ARRAY_COUNT(texts); i++) {
        struct asker asker = desk_ask(desk, 0);
        uint32_t *order = mem_zalloc(3 * sizeof(*order));
        order[1] = 1;
        order[2] = 2;
        struct gather *gather = gather_new(&asker, command_named("mget"), 2, order, 3);
        struct asker first = gather_part(gather, 0, 2);
        struct asker second = gather_part(gather, 1, 1);
        say(desk, &first, texts[i]);
        say(desk, &second, "*1\r\n_\r\n");
        CHECK(desk_said(desk, 0,
                        texts[i][0] == '-'
                            ? "-ERR x\r\n"
                            : "-ERR a partition's answer does not fit the command\r\n"));
    }
    desk_free(desk);
}

TEST(a_gather_for_another_node)
{
    struct desk *desk = desk_new();
    struct asker asker = { .kind = ASKER_REMOTE, .remote = { 3, 4 } };
    struct gather *gather = gather_new(&asker, command_named("del"), 2, NULL, 0);
    struct asker first = gather_part(gather, 0, 1);
    struct asker second = gather_part(gather, 1, 1);
    say(desk, &second, ":2\r\n");
    CHECK_EQ(desk->forward.answers, 0);
    say(desk, &first, ":1\r\n");
    CHECK_EQ(desk->forward.answers, 1);
    CHECK(slice_equal(buffer_slice(&desk->forward.resp), slice_from(":3\r\n")));
    desk_free(desk);
}

TEST(dropped_parts_free_the_gather)
{
    struct desk *desk = desk_new();
    struct asker nobody = { .kind = ASKER_NOBODY };
    struct gather *gather = gather_new(&nobody, NULL, 3, NULL, 0);
    struct asker parts[3];
    for (unsigned i = 0; i < 3; i++) {
        parts[i] = gather_part(gather, i, 1);
    }
    say(desk, &parts[1], ":1\r\n");
    answer_drop(&parts[0]);
    answer_drop(&parts[2]); /* the sanitizer sees what is left */
    desk_free(desk);
}

/* ── what waits ──────────────────────────────────────────────────────────────────────────────── */

TEST(pending_is_a_queue)
{
    struct pending_queue queue = { 0 };
    struct prng prng;
    prng_init(&prng, 9);
    uint64_t pushed = 0, taken = 0;
    CHECK(pending_front(&queue, UINT64_MAX) == NULL);
    for (unsigned i = 0; i < 20000; i++) {
        if (prng_chance(&prng, 11, 20)) {
            pushed++; /* two share a position */
            pending_push(&queue, &(struct pending){ .position = pushed / 2, .term = pushed });
        } else {
            uint64_t until = prng_below(&prng, pushed + 1);
            struct pending *front = pending_front(&queue, until);
            bool is_due = taken < pushed && (taken + 1) / 2 <= until;
            CHECK_EQ(front != NULL, is_due);
            if (front != NULL && queue.items != NULL) {
                CHECK_EQ(front->term, ++taken);
                queue.head++;
            }
        }
        CHECK_EQ(queue.tail - queue.head, pushed - taken);
    }
    pending_queue_deinit(&queue);
    CHECK_EQ(queue.capacity, 0);
}

TEST(pending_frees_what_it_owns)
{
    struct pending_queue queue = { 0 };
    struct asker nobody = { .kind = ASKER_NOBODY };
    struct gather *gather = gather_new(&nobody, NULL, 3, NULL, 0);
    struct slice argv[2] = { slice_from("get"), slice_from("") };
    for (unsigned i = 0; i < 3; i++) {
        struct asker part = gather_part(gather, i, 0);
        struct pending pending = { .position = i, .kind = (enum pending_kind)i, .asker = part };
        if (pending.kind == PENDING_READ) {
            pending.read = late_request_new(&part, command_named("get"), 2, argv);
            CHECK(slice_equal(pending.read->argv[0], argv[0]));
            CHECK_EQ(pending.read->argv[1].size, 0);
        } else if (pending.kind == PENDING_EFFECTS) {
            pending.answer = mem_zalloc(sizeof(*pending.answer));
            buffer_append_text(pending.answer, "+OK\r\n");
        }
        pending_push(&queue, &pending);
    }
    pending_queue_deinit(&queue);
}

/* ── bytes of other nodes ────────────────────────────────────────────────────────────────────── */

static const char *const values_good[] = {
    "+\r\n",
    "+OK\r\n",
    "-ERR x\r\n",
    ":-5\r\n",
    "_\r\n",
    "#t\r\n",
    ",inf\r\n",
    "$0\r\n\r\n",
    "$3\r\na\r\n\r\n",
    "$-1\r\n",
    "*-1\r\n",
    "*0\r\n",
    "%0\r\n",
    "~1\r\n:1\r\n",
    "=5\r\ntxt:a\r\n",
    "*2\r\n*1\r\n:1\r\n-ERR\r\n",
    "%1\r\n:1\r\n%1\r\n+a\r\n*0\r\n",
};
static const char *const values_bad[] = {
    "",
    "+",
    "+OK",
    "+OK\r",
    "+O\nK\r\n",
    "-\r\n",
    ":\r\n",
    ":01\r\n",
    "_x\r\n",
    "#x\r\n",
    "$\r\n",
    "$-2\r\n",
    "$3\r\nab\r\n",
    "$1\r\nab\r\n",
    "$9223372036854775807\r\n\r\n",
    "=3\r\nabc\r\n",
    "=-1\r\n",
    "*-2\r\n",
    "*1\r\n",
    "%1\r\n:1\r\n",
    "%-1\r\n",
    "*99\r\n:1\r\n",
    "%1\r\n*0\r\n:1\r\n",
    "%1\r\n-E\r\n:1\r\n",
    "!1\r\na\r\n",
    "(1\r\n",
};

TEST(values_are_measured)
{
    struct buffer out = { 0 };
    for (unsigned i = 0; i < ARRAY_COUNT(values_good); i++) {
        size_t size = strlen(values_good[i]);
        char *copy = malloc(size + 3);
        memcpy(copy, values_good[i], size);
        memcpy(copy + size, ":1\r", 3);
        CHECK_EQ(reply_value_size(slice_make(copy, size)), size);
        CHECK_EQ(reply_value_size(slice_make(copy, size + 3)), size);
        for (size_t cut = 0; cut < size; cut++) {
            CHECK_EQ(reply_value_size(slice_make(copy, cut)), 0);
        }
        for (enum protocol p = PROTOCOL_RESP2; p <= PROTOCOL_JSON; p++) {
            struct reply reply;
            reply_begin(&reply, p, &out, (struct slice){ 0 });
            reply_array(&reply, 1);
            reply_replay(&reply, slice_make(copy, size));
            reply_end(&reply);
        }
        free(copy);
    }
    for (unsigned i = 0; i < ARRAY_COUNT(values_bad); i++) {
        CHECK_EQ(reply_value_size(slice_from(values_bad[i])), 0);
    }
    CHECK_EQ(reply_value_size(slice_make("+a\0b\r\n", 6)), 0);
    char deep[16 * 4 + 5];
    for (unsigned i = 0; i < 16; i++) {
        memcpy(deep + i * 4, "*1\r\n", 4);
    }
    memcpy(deep + 64, ":1\r\n", 5);
    CHECK_EQ(reply_value_size(slice_from(deep)), 0); /* no level is left for an array around it */
    CHECK_EQ(reply_value_size(slice_from(deep + 4)), 64);
    buffer_free(&out);
}

TEST_MAIN
