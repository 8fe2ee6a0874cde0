/*
 * sessions_test.c — exactly-once results against a naive model, and their bytes.
 *
 * The model searches everything from front to back and counts everything anew.  It keeps of an
 * answer only the seed and the size from which the bytes are made.
 */
#include "storage/sessions.h"

#include "base/endian.h"
#include "base/mem.h"
#include "base/prng.h"
#include "base/varint.h"
#include "test.h"

enum { SESSION_COST = 64, RESULT_COST = 16, FORMAT_COST = 11, REPLY_MAX = 3000 };

struct model_result {
    uint64_t seq;
    uint32_t size, seed;
    bool is_too_large;
};

struct model_session {
    uint64_t node, boot, floor, index;
    uint32_t count;
    struct model_result *results; /* in no order; one more than may stay */
};

struct model {
    uint32_t count;
    struct model_session list[SESSIONS_MAX + 1]; /* in no order */
    struct sessions sessions;                    /* what is tested */
    struct sessions follower; /* the same entries, begun anew from bytes now and then */
    uint64_t evicted, cut, too_large, rebooted, done, stale;
};

static struct slice reply_make(uint32_t seed, uint32_t size, char to[REPLY_MAX])
{
    for (uint32_t i = 0; i < size; i++) {
        to[i] = (char)(seed + i * 7 + (i >> 8));
    }
    return slice_make(to, size);
}

static struct model_session *model_find(struct model *model, uint64_t node)
{
    for (uint32_t i = 0; i < model->count; i++) {
        if (model->list[i].node == node) {
            return &model->list[i];
        }
    }
    return NULL;
}

static enum session_answer model_look(struct model *model, uint64_t node, uint64_t boot,
                                      uint64_t seq, struct model_result *out)
{
    const struct model_session *session = model_find(model, node);
    if (session == NULL || boot > session->boot) {
        return SESSION_NEW;
    }
    if (boot < session->boot || seq < session->floor) {
        return SESSION_STALE;
    }
    for (uint32_t i = 0; i < session->count; i++) {
        if (session->results[i].seq == seq) {
            *out = session->results[i];
            return SESSION_DONE;
        }
    }
    return SESSION_NEW;
}

static uint64_t reply_bytes(const struct model_session *session)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < session->count; i++) {
        bytes += session->results[i].is_too_large ? 0 : session->results[i].size;
    }
    return bytes;
}

static uint64_t model_bytes(const struct model *model)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < model->count; i++) {
        bytes += SESSION_COST + model->list[i].count * RESULT_COST + reply_bytes(&model->list[i]);
    }
    return bytes;
}

static void model_evict(struct model *model)
{
    struct model_session *oldest = &model->list[0];
    for (uint32_t i = 1; i < model->count; i++) {
        struct model_session *other = &model->list[i];
        if (other->index < oldest->index ||
            (other->index == oldest->index && other->node < oldest->node)) {
            oldest = other;
        }
    }
    mem_free(oldest->results);
    *oldest = model->list[--model->count];
    model->evicted += 1;
}

static void model_settle(struct model_session *session, uint64_t floor)
{
    session->floor = floor > session->floor ? floor : session->floor;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < session->count; i++) {
        if (session->results[i].seq >= session->floor) {
            session->results[kept++] = session->results[i];
        }
    }
    session->count = kept;
}

static uint64_t lowest_seq(const struct model_session *session)
{
    uint64_t lowest = UINT64_MAX;
    for (uint32_t i = 0; i < session->count; i++) {
        lowest = session->results[i].seq < lowest ? session->results[i].seq : lowest;
    }
    return lowest;
}

static struct model_session *model_open(struct model *model, uint64_t node, uint64_t boot)
{
    struct model_session *session = model_find(model, node);
    if (session == NULL) {
        if (model->count == SESSIONS_MAX) {
            model_evict(model);
        }
        session = &model->list[model->count++];
        *session = (struct model_session){ .node = node, .boot = boot };
        session->results = mem_alloc((SESSION_RESULTS_MAX + 1) * sizeof(*session->results));
    }
    if (session->boot != boot) {
        session->boot = boot;
        session->floor = 0;
        session->count = 0;
        model->rebooted += 1;
    }
    return session;
}

static void model_note(struct model *model, uint64_t index, uint64_t node, uint64_t boot,
                       uint64_t floor, struct model_result result)
{
    struct model_session *session = model_open(model, node, boot);
    session->index = index;
    model_settle(session, floor);
    result.is_too_large = result.size > SESSION_REPLY_BYTES_MAX ||
                          reply_bytes(session) + result.size > SESSION_BYTES_MAX;
    model->too_large += result.is_too_large;
    session->results[session->count++] = result;
    if (session->count > SESSION_RESULTS_MAX) {
        model_settle(session, lowest_seq(session) + 1);
        model->cut += 1;
    }
    while (model_bytes(model) > SESSIONS_BYTES_MAX - FORMAT_COST) {
        model_evict(model);
    }
}

static void check_equal(const struct sessions *a, const struct sessions *b)
{
    struct buffer left = { 0 };
    struct buffer right = { 0 };
    sessions_encode(a, &left);
    sessions_encode(b, &right);
    CHECK(slice_equal(buffer_slice(&left), buffer_slice(&right)));
    CHECK_EQ(sessions_digest(a), sessions_digest(b));
    buffer_free(&left);
    buffer_free(&right);
}

/* Everything the model knows is answered, and nothing else is there. */
static void check_contents(struct model *model)
{
    char bytes[REPLY_MAX];
    CHECK_EQ(model->sessions.count, model->count);
    CHECK_EQ(model->sessions.bytes, model_bytes(model));
    for (uint32_t i = 0; i < model->count; i++) {
        const struct model_session *session = &model->list[i];
        for (uint32_t r = 0; r < session->count; r++) {
            const struct model_result *result = &session->results[r];
            struct slice reply = { 0 };
            CHECK_EQ(
                sessions_look(&model->sessions, session->node, session->boot, result->seq, &reply),
                SESSION_DONE);
            struct slice wanted = result->is_too_large
                                      ? slice_from(SESSION_REPLY_TOO_LARGE)
                                      : reply_make(result->seed, result->size, bytes);
            CHECK(slice_equal(reply, wanted));
        }
    }
    struct buffer encoded = { 0 };
    sessions_encode(&model->sessions, &encoded);
    CHECK(encoded.size <= SESSIONS_BYTES_MAX);
    CHECK(sessions_decode(&model->follower, buffer_slice(&encoded)));
    CHECK_EQ(model->follower.bytes, model->sessions.bytes);
    check_equal(&model->sessions, &model->follower);
    buffer_free(&encoded);
}

struct plan {
    uint32_t nodes, steps;
    uint32_t floor_percent; /* of the writes that settle all but a few before them */
    uint32_t reply_max;
    uint32_t reboots; /* one in so many writes; 0: none */
};

static void step(struct model *model, struct prng *prng, const struct plan *plan, uint64_t *seqs,
                 uint64_t index)
{
    char bytes[REPLY_MAX];
    uint64_t at = prng_below(prng, plan->nodes);
    uint64_t node = (at + 1) * UINT64_C(0x9e3779b97f4a7c15); /* in no order */
    const struct model_session *session = model_find(model, node);
    uint64_t boot = session != NULL ? session->boot : 5 + prng_below(prng, 3);
    if (plan->reboots > 0 && prng_chance(prng, 1, plan->reboots)) {
        boot = boot + prng_below(prng, 3) - 1;
    }
    seqs[at] += prng_below(prng, 3);
    uint64_t back = prng_below(prng, 20); /* out of order, or once more */
    uint64_t seq = 100 + seqs[at] - back;
    uint64_t keep = prng_below(prng, 40);
    bool settles = prng_chance(prng, plan->floor_percent, 100);
    uint64_t floor = settles && keep < seq ? seq - keep : 0;
    struct model_result result = { .seq = seq, .seed = (uint32_t)prng_next(prng) };
    bool is_short = plan->reply_max > 20 && prng_chance(prng, 1, 2);
    result.size = (uint32_t)prng_below(prng, is_short ? 20 : plan->reply_max);

    struct slice reply = { 0 };
    struct model_result known = { 0 };
    enum session_answer wanted = model_look(model, node, boot, seq, &known);
    CHECK_EQ(sessions_look(&model->sessions, node, boot, seq, &reply), wanted);
    model->done += wanted == SESSION_DONE;
    model->stale += wanted == SESSION_STALE;
    if (wanted == SESSION_NEW) {
        reply = reply_make(result.seed, result.size, bytes);
        model_note(model, index, node, boot, floor, result);
        sessions_note(&model->sessions, index, node, boot, seq, floor, reply);
        sessions_note(&model->follower, index, node, boot, seq, floor, reply);
    } else if (wanted == SESSION_DONE) {
        struct slice first = known.is_too_large ? slice_from(SESSION_REPLY_TOO_LARGE)
                                                : reply_make(known.seed, known.size, bytes);
        CHECK(slice_equal(reply, first));
    }
}

static struct model *run(const struct plan *plan, uint64_t seed)
{
    struct prng prng;
    prng_init(&prng, seed);
    struct model *model = mem_zalloc(sizeof(*model));
    uint64_t *seqs = mem_zalloc(plan->nodes * sizeof(*seqs));
    sessions_init(&model->sessions);
    sessions_init(&model->follower);
    for (uint32_t i = 0; i < plan->steps; i++) {
        step(model, &prng, plan, seqs, 1 + i / 3);
        if (i % (plan->steps / 10) == 0) {
            check_equal(&model->sessions, &model->follower);
            check_contents(model);
        }
    }
    check_equal(&model->sessions, &model->follower);
    check_contents(model);
    mem_free(seqs);
    return model;
}

static void model_free(struct model *model)
{
    for (uint32_t i = 0; i < model->count; i++) {
        mem_free(model->list[i].results);
    }
    sessions_deinit(&model->sessions);
    sessions_deinit(&model->follower);
    mem_free(model);
}

TEST(a_few_nodes)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct plan plan = {
            .nodes = 5, .steps = 5000, .floor_percent = 30, .reply_max = 30, .reboots = 100
        };
        struct model *model = run(&plan, seed);
        CHECK(model->done > 100 && model->stale > 100 && model->rebooted > 5);
        CHECK_EQ(model->evicted + model->cut + model->too_large, 0);
        model_free(model);
    }
}

TEST(a_floor_that_never_moves)
{
    struct plan plan = { .nodes = 3, .steps = 16000, .reply_max = 140 };
    struct model *model = run(&plan, 7);
    CHECK(model->cut > 1000 && model->too_large > 1000);
    CHECK_EQ(model->count, 3);
    model_free(model);
}

TEST(answers_too_large)
{
    struct plan plan = { .nodes = 3, .steps = 5000, .floor_percent = 50, .reply_max = REPLY_MAX };
    struct model *model = run(&plan, 8);
    CHECK(model->too_large > 500);
    model_free(model);
}

TEST(too_many_nodes)
{
    struct plan plan = {
        .nodes = SESSIONS_MAX + 50, .steps = 20000, .floor_percent = 50, .reply_max = 30
    };
    struct model *model = run(&plan, 9);
    CHECK(model->evicted > 100);
    CHECK_EQ(model->count, SESSIONS_MAX);
    model_free(model);
}

TEST(too_much_together)
{
    struct plan plan = { .nodes = 120, .steps = 30000, .reply_max = SESSION_REPLY_BYTES_MAX };
    struct model *model = run(&plan, 10);
    CHECK(model->evicted > 0);
    CHECK(model->count < plan.nodes);
    model_free(model);
}

TEST(extremes)
{
    struct sessions sessions = { 0 };
    struct sessions copy = { 0 };
    struct slice reply = { 0 };
    CHECK_EQ(sessions_look(&sessions, 0, 0, 0, &reply), SESSION_NEW);
    sessions_note(&sessions, UINT64_MAX, 0, 0, 0, 0, slice_from(""));
    sessions_note(&sessions, UINT64_MAX, 0, 0, UINT64_MAX, 0, slice_from("+OK\r\n"));
    sessions_note(&sessions, 1, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, slice_from("x"));
    CHECK_EQ(sessions_look(&sessions, 0, 0, 0, &reply), SESSION_DONE);
    CHECK_EQ(reply.size, 0);
    CHECK_EQ(sessions_look(&sessions, 0, 0, UINT64_MAX, &reply), SESSION_DONE);
    CHECK(slice_equal(reply, slice_from("+OK\r\n")));
    struct buffer bytes = { 0 };
    sessions_encode(&sessions, &bytes);
    CHECK(sessions_decode(&copy, buffer_slice(&bytes)));
    check_equal(&sessions, &copy);
    bytes.size = 0;
    sessions_deinit(&sessions);
    sessions_encode(&sessions, &bytes);
    CHECK_EQ(bytes.size, 2);
    CHECK(sessions_decode(&copy, buffer_slice(&bytes)));
    CHECK_EQ(copy.count, 0);
    CHECK(copy.list == NULL);
    buffer_free(&bytes);
    sessions_deinit(&copy);
}

/* ── untrusted bytes ─────────────────────────────────────────────────────────────────────────── */

/* Whatever is accepted has no other encoding. */
static bool accepts(struct slice bytes)
{
    struct sessions sessions = { 0 };
    struct buffer again = { 0 };
    bool is_good = sessions_decode(&sessions, bytes);
    sessions_encode(&sessions, &again);
    CHECK(!is_good || slice_equal(bytes, buffer_slice(&again)));
    CHECK(is_good || sessions.list == NULL);
    buffer_free(&again);
    sessions_deinit(&sessions);
    return is_good;
}

TEST(damaged_bytes)
{
    struct prng prng;
    prng_init(&prng, 11);
    struct plan plan = { .nodes = 4, .steps = 300, .floor_percent = 50, .reply_max = 30 };
    struct model *model = run(&plan, 12);
    struct buffer bytes = { 0 };
    sessions_encode(&model->sessions, &bytes);
    CHECK(accepts(buffer_slice(&bytes)));
    for (size_t cut = 0; cut < bytes.size; cut++) {
        CHECK(!accepts(slice_make(bytes.data, cut)));
    }
    for (size_t bit = 0; bit < bytes.size * 8; bit++) {
        bytes.data[bit / 8] ^= (char)(1u << bit % 8);
        (void)accepts(buffer_slice(&bytes));
        bytes.data[bit / 8] ^= (char)(1u << bit % 8);
    }
    for (unsigned i = 0; i < 20000; i++) {
        size_t at = (size_t)prng_below(&prng, bytes.size);
        char before = bytes.data[at];
        bytes.data[at] = (char)prng_next(&prng);
        (void)accepts(buffer_slice(&bytes));
        bytes.data[at] = prng_chance(&prng, 1, 50) ? bytes.data[at] : before;
    }
    buffer_append_byte(&bytes, 0);
    CHECK(!accepts(buffer_slice(&bytes)));
    buffer_free(&bytes);
    model_free(model);
}

TEST(what_breaks_an_invariant_is_refused)
{
    /* format, one session: node 1, boot 1, index, floor, count, then results */
#define NODE(n) #n "\0\0\0\0\0\0\0"
#define BYTES(text) slice_make(text, sizeof(text) - 1)
    CHECK(accepts(BYTES("\1\0")));
    CHECK(!accepts(BYTES("\2\0")));
    CHECK(!accepts(BYTES("\1\200\0"))); /* a superfluous byte */
    CHECK(accepts(BYTES("\1\1" NODE(\1) NODE(\1) "\5\3\0")));
    CHECK(accepts(BYTES("\1\2" NODE(\1) NODE(\1) "\5\3\0" NODE(\2) NODE(\1) "\5\3\0")));
    CHECK(!accepts(BYTES("\1\2" NODE(\2) NODE(\1) "\5\3\0" NODE(\1) NODE(\1) "\5\3\0")));
    CHECK(!accepts(BYTES("\1\2" NODE(\1) NODE(\1) "\5\3\0" NODE(\1) NODE(\1) "\5\3\0")));
    CHECK(accepts(BYTES("\1\1" NODE(\1) NODE(\1) "\5\3\2\0\0\0\2x")));
    CHECK(!accepts(BYTES("\1\1" NODE(\1) NODE(\1) "\5\3\2\0\0\0\3x")));
    CHECK(!accepts(BYTES("\1\1" NODE(\1) NODE(\1) "\5\3\2\0\0")));
    /* floor UINT64_MAX: there is room for one result */
#define HIGHEST "\377\377\377\377\377\377\377\377\377\1"
    CHECK(accepts(BYTES("\1\1" NODE(\1) NODE(\1) "\5" HIGHEST "\1\0\0")));
    CHECK(!accepts(BYTES("\1\1" NODE(\1) NODE(\1) "\5" HIGHEST "\1\1\0")));
    CHECK(!accepts(BYTES("\1\1" NODE(\1) NODE(\1) "\5" HIGHEST "\2\0\0\0\0")));
}

/* An encoding with `sessions` sessions of `results` results of `size` bytes. */
static struct buffer encoding_make(uint32_t sessions, uint32_t results, uint32_t size)
{
    struct buffer bytes = { 0 };
    buffer_append_byte(&bytes, 1);
    bytes.size = (size_t)(varint_write(buffer_reserve(&bytes, 10), sessions) - bytes.data);
    for (uint32_t i = 0; i < sessions; i++) {
        char *at = buffer_reserve(&bytes, 64);
        store_u64(at, i);
        store_u64(at + 8, 1);
        at = varint_write(at + 16, 0);
        at = varint_write(at, 0);
        at = varint_write(at, results);
        bytes.size = (size_t)(at - bytes.data);
        for (uint32_t r = 0; r < results; r++) {
            at = varint_write(buffer_reserve(&bytes, 20 + size), 0);
            at = varint_write(at, size + 1);
            memset(at, 'x', size);
            bytes.size = (size_t)(at + size - bytes.data);
        }
    }
    return bytes;
}

static bool accepts_made(uint32_t sessions, uint32_t results, uint32_t size)
{
    struct buffer bytes = encoding_make(sessions, results, size);
    bool is_good = accepts(buffer_slice(&bytes));
    buffer_free(&bytes);
    return is_good;
}

TEST(what_is_over_a_bound_is_refused)
{
    CHECK(accepts_made(SESSIONS_MAX, 1, 1));
    CHECK(!accepts_made(SESSIONS_MAX + 1, 1, 1));
    CHECK(accepts_made(2, SESSION_RESULTS_MAX, 1));
    CHECK(!accepts_made(2, SESSION_RESULTS_MAX + 1, 1));
    CHECK(accepts_made(1, SESSION_BYTES_MAX / SESSION_REPLY_BYTES_MAX, SESSION_REPLY_BYTES_MAX));
    CHECK(
        !accepts_made(1, 1 + SESSION_BYTES_MAX / SESSION_REPLY_BYTES_MAX, SESSION_REPLY_BYTES_MAX));
    CHECK(!accepts_made(1, 1, SESSION_REPLY_BYTES_MAX + 1));
    enum { RESULTS = 32, SIZE = 1000, EACH = SESSION_COST + RESULTS * (RESULT_COST + SIZE) };
    CHECK(accepts_made((SESSIONS_BYTES_MAX - FORMAT_COST) / EACH, RESULTS, SIZE));
    CHECK(!accepts_made((SESSIONS_BYTES_MAX - FORMAT_COST) / EACH + 1, RESULTS, SIZE));
}

TEST_MAIN
