/*
 * sim_keyspace.c — in the end of a life: KEYS, SCAN, DBSIZE and RANDOMKEY, asked of random nodes of
 * the core, agree with each other and with what single reads have just shown (I21).
 *
 * The cluster is at rest and clients write no more, so there is one right answer, but for keys that
 * expire: wall clocks have been set by hours, so these may be there or not, and are left out.  A
 * key that is not in use any more may be there or not, too, but all must agree.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "sim.h"

#include <inttypes.h>
#include <stdlib.h>

enum { ANSWER_WITHIN_MS = 8000, SCAN_CALLS_MAX = 10000 };

static const char invariant[] = "I21 the keyspace as a whole";

/* Names of keys, by their numbers in the history. */
struct names {
    bool *are_there; /* owned; of a key that expires: false */
    uint32_t count;
    uint32_t brief; /* keys that expire, shown beside them */
};

struct asking {
    struct sim *sim;
    sim_run_fn *run;
    struct sim_connected connection;
    size_t taken; /* of connection.in */
};

/* ── one request ─────────────────────────────────────────────────────────────────────────────── */

/* The next reply, of an array its head alone; false when the life has failed. */
static bool take(struct asking *asking, struct sim_reply *out)
{
    struct sim *sim = asking->sim;
    const struct buffer *in = &asking->connection.in;
    uint64_t end_ns = sim_now(sim) + ANSWER_WITHIN_MS * SIM_MS;
    size_t size = 0;
    while (sim->invariant == NULL && size == 0) {
        size =
            sim_wire_resp_read(slice_make(in->data + asking->taken, in->size - asking->taken), out);
        if (size == 0 && sim_now(sim) >= end_ns) {
            sim_fail(sim, "I29 every request ends", "no answer about the keyspace");
        } else if (size == 0) {
            (void)asking->run(sim, sim_now(sim) + SIM_MS, NULL);
        }
    }
    asking->taken += size;
    return size > 0;
}

static void ask(struct asking *asking, struct slice request)
{
    struct sim *sim = asking->sim;
    struct sim_connected *connection = &asking->connection;
    struct sim_machine *to = NULL;
    do {
        to = &sim->machines[prng_below(&sim->prng, sim->count)];
    } while ((sim->core >> to->number & 1) == 0);
    asking->taken = 0;
    connection->in.size = 0;
    connection->out.size = 0;
    buffer_append_slice(&connection->out, request);
    connection->socket = sim_client_connect(sim->world, to->machine, SIM_PORT, connection);
}

static void ask_end(struct asking *asking)
{
    sim_client_close(asking->connection.socket);
    asking->connection.socket = NULL;
}

static int64_t ask_number(struct asking *asking, const char *request)
{
    struct sim_reply reply = { 0 };
    ask(asking, slice_from(request));
    bool is_there = take(asking, &reply);
    if (is_there && reply.kind != REPLY_NUMBER) {
        sim_fail(asking->sim, invariant, "%s: '%.*s'", request, (int)reply.text.size,
                 reply.text.data);
    }
    ask_end(asking);
    return reply.number;
}

/* ── names ───────────────────────────────────────────────────────────────────────────────────── */

/* A name is a letter, a place, a point and the key's number: r3.17. */
static bool names_add(struct sim *sim, struct names *names, struct slice name)
{
    char text[32] = "";
    memcpy(text, name.data, name.size < sizeof(text) ? name.size : sizeof(text) - 1);
    const char *point = strchr(text, '.');
    uint64_t number = point == NULL ? UINT64_MAX : strtoull(point + 1, NULL, 10);
    if (number >= sim->history.keys_count ||
        !slice_equal(name, slice_from(sim->history.keys[number].name))) {
        sim_fail(sim, invariant, "'%s' was never written", text);
        return false;
    }
    if (sim->history.keys[number].class == KEY_BRIEF) {
        names->brief++;
        return true;
    }
    if (names->are_there[number]) {
        sim_fail(sim, invariant, "'%s' is shown twice", text);
        return false;
    }
    names->are_there[number] = true;
    names->count++;
    return true;
}

static struct names names_new(const struct sim *sim)
{
    return (struct names){ .are_there = mem_zalloc(sim->history.keys_count * sizeof(bool)) };
}

/* Takes an array of names. */
static bool take_names(struct asking *asking, struct names *names)
{
    struct sim_reply reply = { 0 };
    if (!take(asking, &reply)) {
        return false;
    }
    if (reply.kind != REPLY_ARRAY) {
        sim_fail(asking->sim, invariant, "keys: '%.*s'", (int)reply.text.size, reply.text.data);
        return false;
    }
    for (int64_t left = reply.number; left > 0; left--) {
        if (!take(asking, &reply) || !names_add(asking->sim, names, reply.text)) {
            return false;
        }
    }
    return true;
}

static struct names keys_now(struct asking *asking)
{
    struct names names = names_new(asking->sim);
    ask(asking, slice_from("KEYS *\r\n"));
    (void)take_names(asking, &names);
    ask_end(asking);
    return names;
}

/* One call; false at the end, or when the life has failed. */
static bool scan_call(struct asking *asking, struct names *names, struct buffer *cursor)
{
    struct sim_reply reply = { 0 };
    struct buffer request = { 0 };
    uint32_t count = 1 + (uint32_t)prng_below(&asking->sim->prng, 12);
    buffer_printf(&request, "SCAN %.*s COUNT %u\r\n", (int)cursor->size, cursor->data, count);
    ask(asking, buffer_slice(&request));
    bool is_good = take(asking, &reply) && take(asking, &reply);
    cursor->size = 0;
    if (is_good) {
        buffer_append_slice(cursor, reply.text);
    }
    is_good = is_good && take_names(asking, names);
    ask_end(asking);
    buffer_free(&request);
    return is_good && !slice_equal(buffer_slice(cursor), slice_from("0"));
}

static struct names scan_now(struct asking *asking)
{
    struct names names = names_new(asking->sim);
    struct buffer cursor = { 0 };
    uint32_t calls = 0;
    buffer_append_text(&cursor, "0");
    while (scan_call(asking, &names, &cursor)) {
        if (++calls == SCAN_CALLS_MAX) {
            sim_fail(asking->sim, invariant, "a scan does not end");
        }
    }
    buffer_free(&cursor);
    return names;
}

/* ── the judgement ───────────────────────────────────────────────────────────────────────────── */

/* The last operation on each key in use was a read, by itself; but a write that nobody has answered
 * may have come after it, over a connection that was given up. */
static void check_against_reads(struct sim *sim, const struct names *names)
{
    for (uint32_t place = 0; place < sim->history.places; place++) {
        uint32_t number = sim->history.current[place];
        const struct sim_key *key = &sim->history.keys[number];
        const struct sim_op *last = &sim->history.ops[key->last_op];
        ASSERT(last->kind == LIN_GET && last->fate == OP_ANSWERED);
        bool was_there = last->answer == LIN_TEXT;
        if (key->class != KEY_BRIEF && key->unanswered == 0 &&
            names->are_there[number] != was_there) {
            sim_fail(sim, invariant, "'%s' is %s, a read says it is %s", key->name,
                     was_there ? "missing" : "shown", was_there ? "there" : "not");
        }
    }
}

/* True when the random key is one of these, or expires, or there is none. */
static bool is_one_of(const struct names *names, const struct names *one)
{
    bool found = false;
    for (uint32_t k = 0; one->count > 0 && !found; k++) {
        found = one->are_there[k] && names->are_there[k];
    }
    return found || one->brief > 0 || names->count == 0;
}

static void check_random_keys(struct asking *asking, const struct names *names)
{
    struct sim *sim = asking->sim;
    for (uint32_t i = 0; i < 3 && sim->invariant == NULL; i++) {
        struct sim_reply reply = { 0 };
        struct names one = names_new(sim);
        ask(asking, slice_from("RANDOMKEY\r\n"));
        bool is_there = take(asking, &reply) && reply.kind != REPLY_NIL;
        if (is_there && names_add(sim, &one, reply.text) && !is_one_of(names, &one)) {
            sim_fail(sim, invariant, "a random key is none of the others");
        } else if (sim->invariant == NULL && !is_there && names->count > 0) {
            sim_fail(sim, invariant, "no random key of %u", names->count);
        }
        ask_end(asking);
        mem_free(one.are_there);
    }
}

static uint32_t brief_keys(const struct sim *sim)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < sim->history.keys_count; i++) {
        count += sim->history.keys[i].class == KEY_BRIEF;
    }
    return count;
}

void sim_keyspace_check(struct sim *sim, sim_run_fn *run)
{
    struct asking asking = { .sim = sim, .run = run };
    asking.connection.sim = sim;
    asking.connection.is_asking = true;
    struct names keys = keys_now(&asking);
    struct names scanned = scan_now(&asking);
    int64_t size = ask_number(&asking, "DBSIZE\r\n");
    size_t bytes = sim->history.keys_count * sizeof(bool);
    bool are_equal = memcmp(keys.are_there, scanned.are_there, bytes) == 0 && size >= keys.count &&
                     size <= keys.count + (int64_t)brief_keys(sim);
    if (sim->invariant == NULL && !are_equal) {
        sim_fail(sim, invariant, "KEYS %u, SCAN %u, DBSIZE %" PRId64, keys.count, scanned.count,
                 size);
    }
    if (sim->invariant == NULL) {
        check_against_reads(sim, &keys);
    }
    check_random_keys(&asking, &keys);
    buffer_free(&asking.connection.in);
    buffer_free(&asking.connection.out);
    mem_free(keys.are_there);
    mem_free(scanned.are_there);
}
