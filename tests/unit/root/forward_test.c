/*
 * forward_test.c — requests on their way to a leader: order, one answer each, exactly once, and
 * honest errors; single rules first, then everything at random.
 *
 * Read next: forward_world.h.
 */
#include "forward_world.h"

/* ── single rules ────────────────────────────────────────────────────────────────────────────── */

/* All believe that node 1 leads group 0 in term 5; node 0 has a link to it. */
static struct world *world_led(void)
{
    struct world *world = world_new(1);
    world->groups[0].leader = 1;
    world->groups[0].term = 5;
    for (unsigned n = 0; n < NODES; n++) {
        believe(world, n, 0, 5, 1);
    }
    (void)link_up(world, 0, 1);
    (void)link_up(world, 0, 2);
    return world;
}

static struct forward_stats stats(struct world *world, unsigned node)
{
    return forward_stats(world->nodes[node].forward);
}

TEST(a_request_and_its_answer)
{
    struct world *world = world_led();
    unsigned write = ask(world, 0, 0, true);
    unsigned read = ask(world, 0, 0, false);
    CHECK_EQ(forward_deadline_ms(world->nodes[0].forward), 0);
    settle(world);
    CHECK_EQ(world->executed, 2);
    CHECK_EQ(forward_deadline_ms(world->nodes[0].forward), 1000 + TIMEOUT_MS);
    CHECK_EQ(world->last.term, 5);
    CHECK(world->last.follows_writes && !world->last.is_write);
    CHECK(strcmp(world->last.command->name, "get") == 0);
    CHECK_EQ(stats(world, 0).under_way, 2);
    leader_apply(world, 1, 0, 2, true);
    CHECK_EQ(forward_deadline_ms(world->nodes[1].forward), 0);
    settle(world);
    CHECK_EQ(world->ops[write].fate, OP_DONE);
    CHECK_EQ(world->ops[read].fate, OP_DONE);
    CHECK_EQ(world->ops[write].answer, 1);
    CHECK_EQ(world->ops[read].answer, 1);
    CHECK_EQ(stats(world, 0).answered, 2);
    CHECK_EQ(stats(world, 0).bytes, 0);
    CHECK_EQ(forward_deadline_ms(world->nodes[0].forward), UINT64_MAX);
    world_free(world);
}

TEST(waits_for_a_leader)
{
    struct world *world = world_led();
    believe(world, 0, 1, 3, -1);
    unsigned op = ask(world, 0, 1, true);
    settle(world);
    CHECK_EQ(world->executed, 0);
    CHECK_EQ(stats(world, 0).waiting, 1);
    believe(world, 2, 1, 4, 2);
    believe(world, 0, 1, 4, 2);
    settle(world);
    CHECK_EQ(world->executed, 1);
    leader_apply(world, 2, 1, 1, true);
    settle(world);
    CHECK_EQ(world->ops[op].fate, OP_DONE);
    world_free(world);
}

TEST(waits_for_the_link)
{
    struct world *world = world_led();
    link_break(world, 1);
    unsigned op = ask(world, 0, 0, true);
    settle(world);
    CHECK_EQ(world->executed, 0);
    (void)link_up(world, 0, 1);
    settle(world);
    CHECK_EQ(world->executed, 1);
    leader_apply(world, 1, 0, 1, true);
    settle(world);
    CHECK_EQ(world->ops[op].fate, OP_DONE);
    world_free(world);
}

TEST(sends_again_in_order_when_the_link_breaks)
{
    struct world *world = world_led();
    unsigned ops[4];
    for (unsigned i = 0; i < 4; i++) {
        ops[i] = ask(world, 0, 0, true);
    }
    settle(world);
    leader_apply(world, 1, 0, 2, true); /* applied, but the answers are lost */
    link_break(world, 1);
    leader_drop(world, 1, 0, true); /* these were not taken, and nobody hears it */
    unsigned fresh = ask(world, 0, 0, true);
    (void)link_up(world, 0, 1);
    settle(world);
    CHECK_EQ(stats(world, 0).repeated, 4);
    leader_apply(world, 1, 0, 100, true);
    settle(world);
    for (unsigned i = 0; i < 4; i++) {
        CHECK_EQ(world->ops[ops[i]].answer, i + 1);
    }
    CHECK_EQ(world->ops[fresh].answer, 5);
    CHECK_EQ(world->groups[0].length, 5);
    world_free(world);
}

TEST(a_refusal_waits_for_the_new_leader)
{
    struct world *world = world_led();
    unsigned first = ask(world, 0, 0, true);
    unsigned second = ask(world, 0, 0, true);
    believe(world, 1, 0, 6, 2);
    believe(world, 2, 0, 6, 2);
    settle(world);
    CHECK_EQ(world->executed, 1); /* the second was not even asked */
    CHECK_EQ(stats(world, 0).refused, 2);
    CHECK_EQ(stats(world, 0).waiting, 2);
    CHECK_EQ(forward_deadline_ms(world->nodes[0].forward), world->now_ms + 5);
    believe(world, 0, 0, 6, 2);
    settle(world);
    CHECK_EQ(world->executed, 3);
    leader_apply(world, 2, 0, 2, true);
    settle(world);
    CHECK_EQ(world->ops[first].answer, 1);
    CHECK_EQ(world->ops[second].answer, 2);
    world_free(world);
}

TEST(a_refusal_by_the_leader_is_retried)
{
    struct world *world = world_led();
    unsigned before = ask(world, 0, 0, true);
    settle(world);
    world->overload = 1000;
    unsigned first = ask(world, 0, 0, true);
    unsigned second = ask(world, 0, 0, true);
    settle(world);
    world->overload = 0;
    unsigned third = ask(world, 0, 0, true); /* would be taken, and must not overtake */
    settle(world);
    CHECK_EQ(world->executed, 2);
    CHECK_EQ(stats(world, 0).under_way, 1);
    world->now_ms += 20;
    settle(world);
    CHECK_EQ(world->executed, 5); /* what was taken before is not sent again */
    leader_apply(world, 1, 0, 100, true);
    settle(world);
    CHECK_EQ(world->ops[before].answer, 1);
    CHECK_EQ(world->ops[first].answer, 2);
    CHECK_EQ(world->ops[second].answer, 3);
    CHECK_EQ(world->ops[third].answer, 4);
    world_free(world);
}

TEST(the_same_leader_in_another_term)
{
    struct world *world = world_led();
    unsigned first = ask(world, 0, 0, true);
    settle(world);
    leader_drop(world, 1, 0, false);
    believe(world, 1, 0, 7, 1);
    believe(world, 0, 0, 7, 1);
    unsigned second = ask(world, 0, 0, true);
    settle(world);
    CHECK_EQ(world->last.term, 7);
    leader_apply(world, 1, 0, 2, true);
    settle(world);
    CHECK_EQ(world->ops[first].answer, 1);
    CHECK_EQ(world->ops[second].answer, 2);
    world_free(world);
}

TEST(errors_say_what_is_known)
{
    struct world *world = world_led();
    believe(world, 0, 1, 3, -1);
    unsigned unsent = ask(world, 0, 1, true);
    unsigned unsent_read = ask(world, 0, 1, false);
    unsigned meta = ask(world, 0, GROUPS - 1, true);
    unsigned sent = ask(world, 0, 0, true);
    unsigned sent_read = ask(world, 0, 0, false);
    believe(world, 0, 2, 4, 1);
    believe(world, 1, 2, 5, 0);
    unsigned refused = ask(world, 0, 2, true);
    settle(world);
    link_break(world, 1); /* what was sent may be done, wherever it is sent now */
    world->now_ms += TIMEOUT_MS - 1;
    settle(world);
    CHECK_EQ(world->ops[unsent].fate, OP_OPEN);
    world->now_ms++;
    settle(world);
    CHECK_EQ(world->ops[unsent].fate, OP_NOQUORUM);
    CHECK_EQ(world->ops[unsent_read].fate, OP_NOQUORUM);
    CHECK_EQ(world->ops[meta].fate, OP_NOQUORUM);
    CHECK_EQ(world->ops[sent].fate, OP_UNKNOWN);
    CHECK_EQ(world->ops[sent_read].fate, OP_NOQUORUM);
    CHECK_EQ(world->ops[refused].fate, OP_NOQUORUM);
    CHECK(strcmp(world->ops[unsent].message, "NOQUORUM no leader for partition 1 could be reached "
                                             "in time; the request was not carried out") == 0);
    CHECK(strcmp(world->ops[sent].message,
                 "UNKNOWN the leader of partition 0 did not answer in time; the write may or may "
                 "not take effect") == 0);
    CHECK(strncmp(world->ops[meta].message, "NOQUORUM no leader for the meta group", 37) == 0);
    CHECK_EQ(stats(world, 0).expired, 6);
    CHECK_EQ(stats(world, 0).bytes, 0);
    world_free(world);
}

/* The latest leader's error is about what was sent to it, and not about what was sent before. */
TEST(errors_of_a_leader)
{
    struct world *world = world_led();
    world->busy = 1000;
    unsigned certain = ask(world, 0, 0, true);
    settle(world);
    CHECK_EQ(world->ops[certain].fate, OP_NOQUORUM);
    CHECK(strcmp(world->ops[certain].message, "BUSY nothing was written") == 0);
    world->busy = 0;
    unsigned sent_twice = ask(world, 0, 0, true);
    unsigned moved = ask(world, 0, 0, true);
    settle(world);
    believe(world, 2, 0, 6, 2);
    believe(world, 0, 0, 6, 2);
    flush(world, 0);
    struct asked *asked = world->nodes[1].asked[0];
    forward_answer(world->nodes[1].forward, 1, asked[1].request.request,
                   slice_from("-NOQUORUM not done\r\n"), 0);
    world->busy = 1000;
    settle(world);
    CHECK_EQ(world->ops[sent_twice].fate, OP_UNKNOWN);
    CHECK_EQ(world->ops[moved].fate, OP_NOQUORUM); /* both said so */
    CHECK(strcmp(world->ops[moved].message, "BUSY nothing was written") == 0);
    world_free(world);
}

/* The old leader ran the read, and not the write before it; the new one runs both. */
TEST(a_read_follows_its_writes_to_the_next_leader)
{
    struct world *world = world_led();
    unsigned write = ask(world, 0, 0, true);
    unsigned read = ask(world, 0, 0, false);
    settle(world);
    believe(world, 2, 0, 6, 2);
    believe(world, 0, 0, 6, 2);
    flush(world, 0);
    const struct asked *asked = world->nodes[1].asked[0];
    forward_answer(world->nodes[1].forward, 1, asked[0].request.request,
                   slice_from("-NOQUORUM not done\r\n"), 0);
    forward_answer(world->nodes[1].forward, 1, asked[1].request.request, slice_from(":0\r\n"), 0);
    settle(world);
    CHECK_EQ(world->ops[write].fate, OP_OPEN);
    CHECK_EQ(world->ops[read].fate, OP_OPEN);
    leader_apply(world, 2, 0, 2, /* answers= */ true);
    settle(world);
    CHECK_EQ(world->ops[write].fate, OP_DONE);
    CHECK(world->ops[read].fate == OP_DONE && world->ops[read].answer >= world->ops[write].place);
    world_free(world);
}

TEST(what_follows_reads_that_run_here_stays_behind_them)
{
    struct world *world = world_led();
    believe(world, 1, 0, 5, 1);
    unsigned read = ask(world, 1, 0, false);
    settle(world);
    CHECK_EQ(world->executed, 1);
    CHECK(forward_holds(world->nodes[1].forward, 0)); /* not answered: it waits for its lease */
    leader_apply(world, 1, 0, 1, /* answers= */ true);
    settle(world);
    CHECK_EQ(world->ops[read].fate, OP_DONE);
    CHECK(!forward_holds(world->nodes[1].forward, 0));
    world_free(world);
}

TEST(a_late_answer_is_for_nobody)
{
    struct world *world = world_led();
    unsigned op = ask(world, 0, 0, true);
    settle(world);
    world->now_ms += TIMEOUT_MS;
    settle(world);
    CHECK_EQ(world->ops[op].fate, OP_UNKNOWN);
    unsigned next = ask(world, 0, 0, true); /* takes the other's place */
    settle(world);
    leader_apply(world, 1, 0, 1, true);
    settle(world);
    CHECK_EQ(world->ops[next].fate, OP_OPEN);
    leader_apply(world, 1, 0, 1, true);
    settle(world);
    CHECK_EQ(world->ops[next].answer, 2);
    world_free(world);
}

TEST(the_floor_is_the_oldest_unsettled_write)
{
    struct world *world = world_led();
    believe(world, 0, 1, 3, -1);
    (void)ask(world, 0, 1, true); /* seq 1 waits */
    for (unsigned i = 0; i < 3; i++) {
        (void)ask(world, 0, 0, true);
        settle(world);
        CHECK_EQ(world->last.origin.node, 1);
        CHECK_EQ(world->last.origin.boot, 70);
        CHECK_EQ(world->last.origin.seq, i + 2);
        CHECK_EQ(world->last.origin.floor, 1);
    }
    leader_apply(world, 1, 0, 1, true);
    world->now_ms += TIMEOUT_MS;
    settle(world); /* all the others are settled by now, too */
    (void)ask(world, 0, 0, true);
    settle(world);
    CHECK_EQ(world->last.origin.seq, 5);
    CHECK_EQ(world->last.origin.floor, 5);
    world_free(world);
}

TEST(a_client_may_number_its_writes)
{
    struct world *world = world_led();
    world->is_quiet = true;
    struct slice argv[3] = { slice_from("set"), slice_from("key"), slice_from("") };
    struct forward_request request = {
        .group = 0,
        .command = command_lookup(slice_from("set")),
        .argc = 3,
        .argv = argv,
        .is_write = true,
        .origin = { UINT64_MAX, 1ull << 63, 9, 9 },
        .asker = asker_client((struct conn *)(void *)world, 0),
    };
    forward_send(world->nodes[0].forward, &request, world->now_ms);
    settle(world);
    CHECK_EQ(world->last.origin.node, UINT64_MAX);
    CHECK_EQ(world->last.origin.boot, 1ull << 63);
    CHECK_EQ(world->last.origin.seq, 9);
    CHECK_EQ(world->last.origin.floor, 9);
    CHECK_EQ(world->last.argc, 3);
    world_free(world);
}

/* Two requests of the meta group that node 1 has been sent, and has not answered. */
static struct world *world_asked_meta(unsigned out_ops[2])
{
    enum { META = GROUPS - 1 };
    struct world *world = world_led();
    for (unsigned n = 0; n < NODES; n++) {
        believe(world, n, META, 5, 1);
    }
    out_ops[0] = ask(world, 0, META, true);
    out_ops[1] = ask(world, 0, META, true);
    settle(world);
    CHECK_EQ(world->executed, 2);
    CHECK_EQ(world->last.origin.node, 0);
    CHECK(world->last.is_write);
    return world;
}

TEST(nothing_is_sent_to_the_meta_group_again_that_may_have_been_taken)
{
    enum { META = GROUPS - 1 };
    unsigned ops[2];
    struct world *world = world_asked_meta(ops);
    leader_apply(world, 1, META, 1, true);
    settle(world);
    CHECK_EQ(world->ops[ops[0]].answer, 1);
    believe(world, 0, META, 6, 2); /* another leader: did it take the second? */
    CHECK_EQ(world->ops[ops[1]].fate, OP_UNKNOWN);
    settle(world);
    CHECK_EQ(world->executed, 2);
    world_free(world);

    world = world_asked_meta(ops);
    unsigned waits = ask(world, 0, META, true); /* not sent yet */
    link_break(world, 1);
    CHECK_EQ(world->ops[ops[0]].fate, OP_UNKNOWN);
    CHECK_EQ(world->ops[ops[1]].fate, OP_UNKNOWN);
    CHECK_EQ(world->ops[waits].fate, OP_OPEN);
    (void)link_up(world, 0, 1);
    settle(world);
    CHECK_EQ(world->executed, 3);
    leader_apply(world, 1, META, 3, true);
    settle(world);
    CHECK_EQ(world->ops[waits].answer, 3);
    world_free(world);
}

/* Each by itself: the one that was refused, not those beside it. */
TEST(what_the_meta_group_refused_is_sent_again)
{
    enum { META = GROUPS - 1 };
    unsigned ops[2];
    struct world *world = world_asked_meta(ops);
    const struct remote_request *first = &world->nodes[1].asked[META][0].request;
    forward_refuse(world->nodes[1].forward, first->link, first->request);
    memmove(world->nodes[1].asked[META], world->nodes[1].asked[META] + 1, sizeof(struct asked));
    world->nodes[1].asked_count[META] = 1;
    settle(world);
    world->now_ms += 20;
    settle(world);
    CHECK_EQ(world->executed, 3);
    leader_apply(world, 1, META, 2, true);
    settle(world);
    CHECK_EQ(world->ops[ops[1]].answer, 1);
    CHECK_EQ(world->ops[ops[0]].answer, 2);
    world_free(world);
}

TEST(runs_here_when_we_become_the_leader)
{
    struct world *world = world_led();
    unsigned first = ask(world, 0, 0, true);
    settle(world);
    unsigned second = ask(world, 0, 0, true);
    CHECK(forward_holds(world->nodes[0].forward, 0));
    believe(world, 0, 0, 6, 0);
    CHECK(forward_holds(world->nodes[0].forward, 0));
    flush(world, 0);
    CHECK(!forward_holds(world->nodes[0].forward, 0));
    CHECK_EQ(world->executed, 3);
    CHECK_EQ(world->last.link, 0);
    CHECK_EQ(world->last.term, 6);
    CHECK_EQ(world->nodes[0].asked_count[0], 2);
    leader_apply(world, 0, 0, 2, true);
    CHECK_EQ(world->ops[first].fate, OP_OPEN); /* not before the flush */
    CHECK_EQ(forward_deadline_ms(world->nodes[0].forward), 0);
    flush(world, 0);
    CHECK_EQ(world->ops[first].answer, 1);
    CHECK_EQ(world->ops[second].answer, 2);
    CHECK(!forward_holds(world->nodes[0].forward, 0));
    leader_apply(world, 1, 0, 1, true); /* the old leader's late answer */
    settle(world);
    world_free(world);
}

TEST(we_may_refuse_ourselves)
{
    struct world *world = world_led();
    believe(world, 0, 0, 6, 0);
    world->overload = 1000;
    unsigned first = ask(world, 0, 0, true);
    unsigned second = ask(world, 0, 0, true);
    flush(world, 0);
    CHECK_EQ(world->executed, 1);
    CHECK(forward_holds(world->nodes[0].forward, 0));
    world->overload = 0;
    flush(world, 0);
    CHECK_EQ(world->executed, 1);
    world->now_ms += 20;
    flush(world, 0);
    leader_apply(world, 0, 0, 2, true);
    flush(world, 0);
    CHECK_EQ(world->ops[first].answer, 1);
    CHECK_EQ(world->ops[second].answer, 2);
    world_free(world);
}

TEST(large_answers_come_in_parts)
{
    struct world *world = world_led();
    (void)link_up(world, 2, 1);
    unsigned op = ask(world, 0, 0, false);
    world->ops[op].is_large = true;
    settle(world);
    world->groups[0].length = 399999;
    leader_apply(world, 1, 0, 1, true);
    flush(world, 1);
    CHECK(frame_deliver(world, 1, 1));
    CHECK_EQ(world->ops[op].fate, OP_OPEN);
    CHECK(stats(world, 0).bytes > 256000);
    settle(world);
    CHECK_EQ(world->ops[op].answer, 399999);
    CHECK_EQ(stats(world, 0).bytes, 0);
    world_free(world);
}

TEST(a_link_that_takes_no_answers_is_closed)
{
    struct world *world = world_led();
    world->is_quiet = true;
    world->queue_bytes = 1;
    (void)ask(world, 0, 0, false);
    settle(world);
    struct buffer resp = { 0 };
    buffer_printf(&resp, "$%d\r\n", 60 << 20);
    memset(buffer_reserve(&resp, 60 << 20), 'x', 60 << 20);
    resp.size += 60 << 20;
    buffer_append(&resp, "\r\n", 2);
    for (unsigned i = 0; i < 5; i++) {
        forward_answer(world->nodes[1].forward, 1, 77, buffer_slice(&resp), 0);
        flush(world, 1);
    }
    CHECK(world->links[1].is_up);
    forward_answer(world->nodes[1].forward, 1, 77, buffer_slice(&resp), 0);
    CHECK(!world->links[1].is_up);
    flush(world, 1);
    buffer_free(&resp);
    world_free(world);
}

TEST(is_full)
{
    struct world *world = world_led();
    believe(world, 0, 0, 6, -1);
    char *value = calloc(1, 8 << 20);
    struct slice argv[3] = { slice_from("set"), slice_from("0000"),
                             slice_make(value, (8 << 20) - 100) };
    struct forward_request request = {
        .group = 0,
        .command = command_lookup(slice_from("set")),
        .argc = 3,
        .argv = argv,
        .is_write = true,
        .asker = asker_client((struct conn *)(void *)world, 0),
    };
    unsigned sent = 0;
    for (; !forward_is_full(world->nodes[0].forward) && sent < 100; sent++) {
        forward_send(world->nodes[0].forward, &request, world->now_ms);
    }
    CHECK_EQ(sent, 8);
    world->is_quiet = true;
    world->queue_bytes = 100 << 20;
    believe(world, 0, 0, 6, 1);
    settle(world); /* frames large enough for each */
    CHECK_EQ(world->executed, 8);
    free(value);
    world_free(world);
}

TEST(a_burst_keeps_to_what_sessions_remember)
{
    struct world *world = world_led();
    for (unsigned i = 0; i < 2000; i++) {
        (void)ask(world, 0, 0, i % 4 != 0);
    }
    unsigned rounds = 0;
    while (world->ops[1999].fate == OP_OPEN && rounds++ < 100) {
        settle(world);
        unsigned writes = 0;
        for (unsigned i = 0; i < world->nodes[1].asked_count[0]; i++) {
            writes += world->nodes[1].asked[0][i].request.is_write;
        }
        CHECK(writes <= SESSION_RESULTS_MAX);
        leader_apply(world, 1, 0, 5000, rounds != 2);
        if (rounds == 2) {
            link_break(world, 1); /* all answers lost, the sessions know them */
            (void)link_up(world, 0, 1);
        }
    }
    for (unsigned i = 0; i < 2000; i++) {
        CHECK_EQ(world->ops[i].fate, OP_DONE);
        CHECK(world->ops[i].message[0] == '\0');
    }
    CHECK_EQ(world->groups[0].length, 1500);
    world_free(world);
}

/* ── hostile bytes ───────────────────────────────────────────────────────────────────────────── */

static void hand(struct world *world, unsigned way, uint8_t kind, const void *bytes, size_t size)
{
    if (!world->links[1].is_up) {
        world->links[1].is_up = true;
    }
    frame_hand(world, 1, way, kind, slice_make(bytes, size));
}

/* A request for group 0 in term 5 as a frame's body. */
static void request_put(struct buffer *to, const char *command, uint32_t group, bool is_write,
                        unsigned argc)
{
    struct command named = { .name = command };
    char key[KEY_BYTES_MAX + 1];
    memset(key, 'k', sizeof(key));
    struct slice argv[3] = { slice_from(command), slice_make(key, 4), slice_from("v") };
    argv[1].size = argc > 3 ? sizeof(key) : 4;
    argc = argc > 3 ? 3 : argc;
    char *call = malloc(forward_wire_call_size(&named, argc, argv));
    forward_wire_call_write(&named, argc, argv, call);
    struct forward_wire_request request = {
        .id = 5, .group = group, .term = 5, .is_write = is_write
    };
    size_t size = forward_wire_call_size(&named, argc, argv);
    char *at = buffer_reserve(to, size + FORWARD_WIRE_HEAD_BYTES_MAX);
    to->size += forward_wire_request_write(&request, slice_make(call, size), at);
    free(call);
}

TEST(malformed_frames_end_the_link)
{
    struct world *world = world_led();
    world->is_quiet = true;
    struct buffer good = { 0 };
    request_put(&good, "get", 0, false, 2);
    hand(world, 0, PEER_FRAME_REQUESTS, good.data, good.size);
    CHECK_EQ(world->executed, 1);
    CHECK_EQ(world->closed, 0);
    hand(world, 1, PEER_FRAME_REQUESTS, good.data, good.size); /* the wrong way */
    CHECK_EQ(world->closed, 1);
    hand(world, 0, PEER_FRAME_ANSWERS, "", 0);
    CHECK_EQ(world->closed, 2);
    hand(world, 0, 12, "", 0);
    CHECK_EQ(world->closed, 3);
    for (size_t size = 1; size < good.size; size++) {
        hand(world, 0, PEER_FRAME_REQUESTS, good.data, size);
        CHECK_EQ(world->closed, 3 + size);
    }
    good.size = 0;
    request_put(&good, "get", GROUPS - 1, false, 2); /* no such group */
    world->closed = 0;
    hand(world, 0, PEER_FRAME_REQUESTS, good.data, good.size);
    CHECK_EQ(world->closed, 1);
    CHECK_EQ(world->executed, 1);
    buffer_free(&good);
    world_free(world);
}

TEST(malformed_answers_end_the_link)
{
    static const char *const texts[] = { "",      ":1",           ":1\r\n:2\r\n", "$5\r\nabc\r\n",
                                         "?\r\n", "*2\r\n:1\r\n", "+a\nb\r\n",    "-\r\n" };
    for (unsigned i = 0; i < ARRAY_COUNT(texts); i++) {
        struct world *world = world_led();
        unsigned op = ask(world, 0, 0, true);
        settle(world);
        struct forward_wire_answer answer = { .id = world->last.request,
                                              .resp = slice_from(texts[i]) };
        char body[256];
        size_t size = forward_wire_answer_write(&answer, body);
        hand(world, 1, PEER_FRAME_ANSWERS, body, size);
        CHECK_EQ(world->closed, 1);
        CHECK_EQ(world->ops[op].fate, OP_OPEN);
        answer.resp = slice_from(":1\r\n");
        size = forward_wire_answer_write(&answer, body);
        for (size_t cut = 1; cut < size; cut++) {
            hand(world, 1, PEER_FRAME_ANSWERS, body, cut);
            CHECK_EQ(world->closed, 1 + cut);
        }
        answer.id ^= 1ull << 40; /* unknown ids are nothing to worry about */
        size = forward_wire_answer_write(&answer, body);
        hand(world, 1, PEER_FRAME_ANSWERS, body, size);
        answer.id = 0;
        size = forward_wire_answer_write(&answer, body);
        hand(world, 1, PEER_FRAME_ANSWERS, body, size);
        CHECK_EQ(world->closed, size - 1 + 1);
        CHECK_EQ(world->ops[op].fate, OP_OPEN);
        world_free(world);
    }
}

TEST(commands_of_another_version_get_an_error)
{
    static const struct {
        const char *name;
        bool is_write;
        unsigned argc;
    } cases[] = {
        { "frobnicate", false, 2 }, { "get", true, 2 }, { "get", false, 1 }, { "set", true, 4 }
    };
    struct world *world = world_led();
    world->is_quiet = true;
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        struct buffer body = { 0 };
        request_put(&body, cases[i].name, 0, cases[i].is_write, cases[i].argc);
        hand(world, 0, PEER_FRAME_REQUESTS, body.data, body.size);
        flush(world, 1);
        CHECK(world->links[1].first[1] != NULL);
        struct slice left =
            slice_make(world->links[1].first[1]->bytes, world->links[1].first[1]->size);
        struct forward_wire_answer answer;
        CHECK(forward_wire_answer_read(&left, &answer));
        CHECK_EQ(answer.id, 5);
        CHECK(answer.resp.data[0] == '-');
        CHECK_EQ(reply_value_size(answer.resp), answer.resp.size);
        CHECK(frame_deliver(world, 1, 1));
        buffer_free(&body);
    }
    CHECK_EQ(world->executed, 0);
    CHECK_EQ(world->closed, 0);
    world_free(world);
}

/* ── at random ───────────────────────────────────────────────────────────────────────────────── */

/* Another leader, or none; the old one's queue is partly known to the new one. */
static void change_leader(struct world *world, unsigned group)
{
    struct truth *truth = &world->groups[group];
    struct prng *prng = &world->prng;
    if (truth->leader >= 0) {
        unsigned old = (unsigned)truth->leader;
        unsigned queued = world->nodes[old].asked_count[group];
        leader_apply(world, old, group, (unsigned)prng_below(prng, queued + 1), false);
        if (prng_chance(prng, 1, 2)) {
            leader_drop(world, old, group, prng_chance(prng, 1, 2));
        }
    }
    truth->term++;
    truth->leader = prng_chance(prng, 1, 4) ? -1 : (int)prng_below(prng, NODES);
    if (truth->leader >= 0) {
        leader_drop(world, (unsigned)truth->leader, group, prng_chance(prng, 1, 2));
        believe(world, (unsigned)truth->leader, group, truth->term, truth->leader);
    }
}

/* A node learns how a group stands. */
static void learn(struct world *world, unsigned node, unsigned group)
{
    const struct truth *truth = &world->groups[group];
    struct replica *replica = world->nodes[node].replicas[group];
    bool was_leader = replica->role == RAFT_LEADER && replica->term < truth->term;
    if (was_leader) {
        leader_drop(world, node, group, true); /* it finds its queue overwritten */
    }
    believe(world, node, group, truth->term, truth->leader);
}

static void step_link(struct world *world)
{
    struct prng *prng = &world->prng;
    unsigned from = (unsigned)prng_below(prng, NODES);
    unsigned to = (unsigned)prng_below(prng, NODES);
    if (from == to) {
        return;
    }
    uint64_t link =
        peers_link((struct peers *)(void *)&world->nodes[from].peers, to + 1, PEER_CLIENT);
    if (link == 0 && world->links_count < LINKS_MAX) {
        (void)link_up(world, from, to);
    } else if (link != 0 && prng_chance(prng, 1, 20)) {
        link_break(world, link);
    } else if (link != 0) {
        unsigned way = (unsigned)prng_below(prng, 2);
        for (uint64_t count = prng_below(prng, 4); count > 0; count--) {
            (void)frame_deliver(world, link, way);
        }
    }
}

static void step(struct world *world, unsigned ops_max)
{
    struct prng *prng = &world->prng;
    unsigned node = (unsigned)prng_below(prng, NODES);
    unsigned group = (unsigned)prng_below(prng, GROUPS);
    const struct truth *truth = &world->groups[group];
    uint64_t what = prng_below(prng, 100);
    if (what < 30 && world->ops_count < ops_max) {
        for (uint64_t count = prng_below(prng, 5); count > 0; count--) {
            (void)ask(world, node, group, prng_chance(prng, 2, 3));
        }
    } else if (what < 65) {
        step_link(world);
    } else if (what < 80) {
        flush(world, node);
    } else if (what < 90 && truth->leader >= 0) {
        unsigned leader = (unsigned)truth->leader;
        leader_apply(world, leader, group, (unsigned)prng_below(prng, 8), true);
    } else if (what < 91) {
        change_leader(world, group);
    } else if (what < 95) {
        learn(world, node, group);
    } else {
        world->now_ms += prng_below(prng, 8);
    }
}

/* What must be true of every request in the end. */
static void check_ops(const struct world *world, unsigned *out_fates)
{
    uint64_t newest[NODES][GROUPS] = { 0 }; /* answered place of the writes so far */
    for (unsigned i = 0; i < world->ops_count; i++) {
        const struct op *op = &world->ops[i];
        out_fates[op->fate]++;
        CHECK(op->fate != OP_OPEN);
        CHECK(op->fate != OP_DONE || op->message[0] == '\0'); /* never stale */
        CHECK(op->fate != OP_NOQUORUM || op->place == 0);
        if (op->fate != OP_DONE) {
            continue;
        }
        uint64_t *place = &newest[op->node][op->group];
        if (op->is_write) {
            CHECK_EQ(op->answer, op->place);
            CHECK(op->answer > op->seen);
            *place = op->was_away ? *place : op->place;
        } else {
            CHECK(op->answer >= op->seen);
            CHECK(op->answer >= *place);
        }
    }
}

static void run_random(uint64_t seed, unsigned *out_fates)
{
    struct world *world = world_new(seed);
    world->overload = (unsigned)prng_below(&world->prng, 2) * 20;
    world->busy = (unsigned)prng_below(&world->prng, 2) * 20;
    world->queue_bytes = prng_chance(&world->prng, 1, 3) ? 100 : QUEUE_BYTES;
    for (unsigned i = 0; i < 12000; i++) {
        step(world, 3000);
    }
    /* Peace: one leader for each group that everybody knows, and all links. */
    world->overload = 0;
    world->busy = 0;
    for (unsigned g = 0; g < GROUPS; g++) {
        do {
            change_leader(world, g);
        } while (world->groups[g].leader < 0);
        for (unsigned n = 0; n < NODES; n++) {
            learn(world, n, g);
        }
    }
    for (unsigned from = 0; from < NODES; from++) {
        for (unsigned to = 0; to < NODES; to++) {
            struct peers *peers = (struct peers *)(void *)&world->nodes[from].peers;
            if (from != to && peers_link(peers, to + 1, PEER_CLIENT) == 0) {
                (void)link_up(world, from, to);
            }
        }
    }
    unsigned first = world->ops_count;
    for (unsigned i = 0; i < 100; i++) { /* these must succeed */
        (void)ask(world, i % NODES, i % GROUPS, i % 5 != 0);
    }
    for (unsigned i = 0; i < 40; i++) { /* all within the timeout */
        settle(world);
        for (unsigned g = 0; g < GROUPS; g++) {
            leader_apply(world, (unsigned)world->groups[g].leader, g, 10000, true);
        }
        world->now_ms += 20;
    }
    settle(world);
    check_ops(world, out_fates);
    for (unsigned i = first; i < world->ops_count; i++) {
        CHECK_EQ(world->ops[i].fate, OP_DONE);
    }
    for (unsigned n = 0; n < NODES; n++) {
        CHECK_EQ(stats(world, n).bytes, 0);
        CHECK_EQ(forward_deadline_ms(world->nodes[n].forward), UINT64_MAX);
    }
    CHECK_EQ(world->closed, 0);
    world_free(world);
}

TEST(random)
{
    unsigned fates[4] = { 0 };
    for (uint64_t seed = 1; seed <= 60 && test_failures == 0; seed++) {
        run_random(seed, fates);
        if (test_failures > 0) {
            printf("  seed %" PRIu64 "\n", seed);
        }
    }
    CHECK(fates[OP_DONE] > 1000);
    CHECK(fates[OP_NOQUORUM] > 100);
    CHECK(fates[OP_UNKNOWN] > 100);
}

TEST_MAIN
