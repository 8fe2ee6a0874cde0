/*
 * sessions.c — the answers a partition has given, by sender and number.
 *
 * Sessions lie in an array, ascending by node.  The results of each lie in an array of its own,
 * ascending by seq, of which [first, first + count) is in use: what is settled leaves at the front
 * by moving `first`, and when the end is reached what is left moves down.  An answer of up to
 * INLINE_BYTES (an OK, a number) lies in the array itself.
 *
 * Cost, for the bound on all sessions: SESSION_COST for each and RESULT_COST and its answer for
 * each result, which is at least what encoding takes.
 *
 *   encoding   u8 format (1)   varint sessions, each:
 *              u64 node   u64 boot   varint index   varint floor   varint results, each:
 *              varint seq, as the distance from the lowest possible one   varint 0 (too large to
 *              keep) or size + 1   the answer
 *
 * Varints have no superfluous bytes and everything is sorted: equal contents, equal bytes.
 */
#include "storage/sessions.h"

#include "base/assert.h"
#include "base/endian.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/varint.h"

enum {
    FORMAT = 1,
    INLINE_BYTES = 16,
    RESULTS_CAPACITY_MIN = 4,
    SESSIONS_CAPACITY_MIN = 4,
    FORMAT_COST = 1 + VARINT_BYTES_MAX,
    SESSION_COST = 64,
    RESULT_COST = 16,
};

/* Instead of the size of an answer that was too large to keep. */
static const uint32_t SIZE_TOO_LARGE = UINT32_MAX;

struct session_result {
    uint64_t seq;
    uint32_t size;
    union {
        char bytes[INLINE_BYTES]; /* up to INLINE_BYTES */
        char *memory;             /* owned: more */
    };
};

struct session {
    uint64_t node;
    uint64_t boot;
    uint64_t floor;
    uint64_t index;                 /* of the last entry noted */
    struct session_result *results; /* owned; ascending by seq, all >= floor */
    uint32_t first, count, capacity;
    uint32_t bytes; /* of the answers kept */
};

_Static_assert(SESSION_COST >= 8 + 8 + 3 * VARINT_BYTES_MAX, "covers a session's encoding");
_Static_assert(RESULT_COST >= VARINT_BYTES_MAX + 2, "covers a result's encoding");
_Static_assert(SESSION_REPLY_BYTES_MAX < 1 << 14, "the varint of its size has two bytes");
_Static_assert(SESSION_COST + SESSION_RESULTS_MAX * RESULT_COST + SESSION_BYTES_MAX <
                   SESSIONS_BYTES_MAX / 2,
               "one session never fills everything");

static uint32_t session_place(const struct sessions *sessions, uint64_t node);
static struct session *session_open(struct sessions *sessions, uint64_t node, uint64_t boot);
static struct session *session_insert(struct sessions *sessions, uint32_t at);
static void session_settle(struct sessions *sessions, struct session *session, uint64_t floor);
static void session_clear(struct sessions *sessions, struct session *session);
static void session_evict(struct sessions *sessions);
static uint32_t result_place(const struct session *session, uint64_t seq);
static void result_insert(struct sessions *sessions, struct session *session, uint64_t seq,
                          uint32_t size, const char *bytes);
static void result_drop_first(struct sessions *sessions, struct session *session);
static struct slice result_reply(const struct session_result *result);

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

void sessions_init(struct sessions *sessions)
{
    *sessions = (struct sessions){ 0 };
}

void sessions_deinit(struct sessions *sessions)
{
    for (uint32_t i = 0; i < sessions->count; i++) {
        session_clear(sessions, &sessions->list[i]);
    }
    mem_free(sessions->list);
    *sessions = (struct sessions){ 0 };
}

/* ── looking and noting ──────────────────────────────────────────────────────────────────────── */

enum session_answer sessions_look(const struct sessions *sessions, uint64_t node, uint64_t boot,
                                  uint64_t seq, struct slice *out_reply)
{
    uint32_t at = session_place(sessions, node);
    if (at == sessions->count || sessions->list[at].node != node) {
        return SESSION_NEW;
    }
    const struct session *session = &sessions->list[at];
    if (boot != session->boot) {
        return boot > session->boot ? SESSION_NEW : SESSION_STALE;
    }
    if (seq < session->floor) {
        return SESSION_STALE;
    }
    uint32_t place = result_place(session, seq);
    if (place == session->first + session->count || session->results[place].seq != seq) {
        return SESSION_NEW;
    }
    *out_reply = result_reply(&session->results[place]);
    return SESSION_DONE;
}

void sessions_note(struct sessions *sessions, uint64_t index, uint64_t node, uint64_t boot,
                   uint64_t seq, uint64_t floor, struct slice reply)
{
    struct slice known;
    ASSERT(floor <= seq);
    ASSERT(sessions_look(sessions, node, boot, seq, &known) == SESSION_NEW);
    struct session *session = session_open(sessions, node, boot);
    session->index = index;
    session_settle(sessions, session, floor);
    bool is_kept =
        reply.size <= SESSION_REPLY_BYTES_MAX && reply.size <= SESSION_BYTES_MAX - session->bytes;
    uint32_t size = is_kept ? (uint32_t)reply.size : SIZE_TOO_LARGE;
    result_insert(sessions, session, seq, size, reply.data);
    if (session->count > SESSION_RESULTS_MAX) {
        session_settle(sessions, session, session->results[session->first].seq + 1);
    }
    while (sessions->bytes > SESSIONS_BYTES_MAX - FORMAT_COST) {
        session_evict(sessions);
    }
}

/* ── sessions ────────────────────────────────────────────────────────────────────────────────── */

/* Where the node's session is, or would be. */
static uint32_t session_place(const struct sessions *sessions, uint64_t node)
{
    uint32_t low = 0;
    uint32_t high = sessions->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (sessions->list[middle].node < node) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The node's session of this boot; what an older boot left is forgotten. */
static struct session *session_open(struct sessions *sessions, uint64_t node, uint64_t boot)
{
    uint32_t at = session_place(sessions, node);
    if (at < sessions->count && sessions->list[at].node == node) {
        struct session *session = &sessions->list[at];
        if (session->boot != boot) {
            ASSERT(session->boot < boot);
            session_clear(sessions, session);
            session->boot = boot;
            session->floor = 0;
        }
        return session;
    }
    if (sessions->count == SESSIONS_MAX) {
        session_evict(sessions);
        at = session_place(sessions, node);
    }
    struct session *session = session_insert(sessions, at);
    session->node = node;
    session->boot = boot;
    return session;
}

/* Opens a zeroed place. */
static struct session *session_insert(struct sessions *sessions, uint32_t at)
{
    ASSERT(at <= sessions->count && sessions->count < SESSIONS_MAX);
    if (sessions->count == sessions->capacity) {
        sessions->capacity =
            sessions->capacity == 0 ? SESSIONS_CAPACITY_MIN : sessions->capacity * 2;
        sessions->list = mem_realloc(sessions->list, sessions->capacity * sizeof(*sessions->list));
    }
    struct session *place = &sessions->list[at];
    memmove(place + 1, place, (sessions->count - at) * sizeof(*place));
    *place = (struct session){ 0 };
    sessions->count += 1;
    sessions->bytes += SESSION_COST;
    return place;
}

/* Raises the floor and drops the results below it. */
static void session_settle(struct sessions *sessions, struct session *session, uint64_t floor)
{
    if (floor > session->floor) {
        session->floor = floor;
        while (session->count > 0 && session->results[session->first].seq < floor) {
            result_drop_first(sessions, session);
        }
    }
}

/* Drops all results and their memory. */
static void session_clear(struct sessions *sessions, struct session *session)
{
    while (session->count > 0) {
        result_drop_first(sessions, session);
    }
    ASSERT(session->bytes == 0 && session->first == 0);
    mem_free(session->results);
    session->results = NULL;
    session->capacity = 0;
}

/* Forgets the session that has written nothing for the most log entries. */
static void session_evict(struct sessions *sessions)
{
    ASSERT(sessions->count > 0);
    uint32_t oldest = 0;
    for (uint32_t i = 1; i < sessions->count; i++) {
        if (sessions->list[i].index < sessions->list[oldest].index) {
            oldest = i; /* of equal ones the lowest node */
        }
    }
    struct session *session = &sessions->list[oldest];
    session_clear(sessions, session);
    sessions->count -= 1;
    sessions->bytes -= SESSION_COST;
    memmove(session, session + 1, (sessions->count - oldest) * sizeof(*session));
}

/* ── results ─────────────────────────────────────────────────────────────────────────────────── */

/* Where in `results` this seq is, or would be: usually at the end. */
static uint32_t result_place(const struct session *session, uint64_t seq)
{
    uint32_t low = session->first;
    uint32_t high = session->first + session->count;
    if (low < high && session->results[high - 1].seq < seq) {
        return high;
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (session->results[middle].seq < seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Makes room for one more at the end: by moving down when at least half is free, else by growing,
 * so that either is paid for by as many insertions. */
static void results_reserve(struct session *session)
{
    if (session->first + session->count < session->capacity) {
        return;
    }
    if (session->count <= session->capacity / 2 && session->first > 0) {
        memmove(session->results, session->results + session->first,
                session->count * sizeof(*session->results));
        session->first = 0;
        return;
    }
    session->capacity = session->capacity == 0 ? RESULTS_CAPACITY_MIN : session->capacity * 2;
    ASSERT(session->capacity <= 4 * SESSION_RESULTS_MAX);
    session->results = mem_realloc(session->results, session->capacity * sizeof(*session->results));
}

static void result_insert(struct sessions *sessions, struct session *session, uint64_t seq,
                          uint32_t size, const char *bytes)
{
    ASSERT(session->count <= SESSION_RESULTS_MAX);
    results_reserve(session);
    uint32_t at = result_place(session, seq);
    struct session_result *result = &session->results[at];
    memmove(result + 1, result, (session->first + session->count - at) * sizeof(*result));
    *result = (struct session_result){ .seq = seq, .size = size };
    uint32_t kept = size == SIZE_TOO_LARGE ? 0 : size;
    if (kept > INLINE_BYTES) {
        result->memory = mem_alloc(kept);
        memcpy(result->memory, bytes, kept);
    } else if (kept > 0) {
        memcpy(result->bytes, bytes, kept);
    }
    session->count += 1;
    session->bytes += kept;
    sessions->bytes += RESULT_COST + kept;
}

static void result_drop_first(struct sessions *sessions, struct session *session)
{
    struct session_result *result = &session->results[session->first];
    uint32_t size = result->size == SIZE_TOO_LARGE ? 0 : result->size;
    ASSERT(session->bytes >= size && sessions->bytes >= RESULT_COST + size);
    if (size > INLINE_BYTES) {
        mem_free(result->memory);
    }
    session->bytes -= size;
    sessions->bytes -= RESULT_COST + size;
    session->count -= 1;
    session->first = session->count > 0 ? session->first + 1 : 0;
}

static struct slice result_reply(const struct session_result *result)
{
    if (result->size == SIZE_TOO_LARGE) {
        return slice_from(SESSION_REPLY_TOO_LARGE);
    }
    bool is_inline = result->size <= INLINE_BYTES;
    return slice_make(is_inline ? result->bytes : result->memory, result->size);
}

/* ── bytes ───────────────────────────────────────────────────────────────────────────────────── */

static void session_encode(const struct session *session, struct buffer *to)
{
    char *start =
        buffer_reserve(to, SESSION_COST + session->bytes + (size_t)session->count * RESULT_COST);
    char *at = start;
    store_u64(at, session->node);
    store_u64(at + 8, session->boot);
    at = varint_write(at + 16, session->index);
    at = varint_write(at, session->floor);
    at = varint_write(at, session->count);
    uint64_t lowest = session->floor;
    for (uint32_t i = 0; i < session->count; i++) {
        const struct session_result *result = &session->results[session->first + i];
        at = varint_write(at, result->seq - lowest);
        lowest = result->seq + 1;
        if (result->size == SIZE_TOO_LARGE) {
            at = varint_write(at, 0);
            continue;
        }
        at = varint_write(at, (uint64_t)result->size + 1);
        memcpy(at, result_reply(result).data, result->size);
        at += result->size;
    }
    to->size += (size_t)(at - start);
}

void sessions_encode(const struct sessions *sessions, struct buffer *to)
{
    size_t before = to->size;
    char *at = buffer_reserve(to, FORMAT_COST);
    *at = FORMAT;
    to->size += (size_t)(varint_write(at + 1, sessions->count) - at);
    for (uint32_t i = 0; i < sessions->count; i++) {
        session_encode(&sessions->list[i], to);
    }
    ASSERT(to->size - before <= FORMAT_COST + sessions->bytes);
    ASSERT(to->size - before <= SESSIONS_BYTES_MAX);
}

uint64_t sessions_digest(const struct sessions *sessions)
{
    struct buffer bytes = { 0 };
    sessions_encode(sessions, &bytes);
    uint64_t digest = hash_key(buffer_slice(&bytes), 0);
    buffer_free(&bytes);
    return digest;
}

/* A varint in its only form; NULL when there is none, also when `from` is NULL. */
static const char *number_read(const char *from, const char *end, uint64_t *out)
{
    const char *after = from != NULL ? varint_read(from, end, out) : NULL;
    return after != NULL && (size_t)(after - from) == varint_size(*out) ? after : NULL;
}

/* Reads a result behind those the session has; returns the byte after it, or NULL.  *lowest is the
 * least seq it may have, 0 when there is none left. */
static const char *result_decode(struct sessions *sessions, struct session *session,
                                 uint64_t *lowest, const char *from, const char *end)
{
    uint64_t distance = 0;
    uint64_t size = 0;
    uint64_t seq = 0;
    from = number_read(from, end, &distance);
    from = number_read(from, end, &size);
    if (from == NULL || __builtin_add_overflow(*lowest, distance, &seq)) {
        return NULL;
    }
    if (session->count > 0 && *lowest == 0) {
        return NULL; /* nothing is above the greatest number */
    }
    *lowest = seq + 1;
    if (size == 0) {
        result_insert(sessions, session, seq, SIZE_TOO_LARGE, NULL);
        return from;
    }
    size -= 1;
    if (size > SESSION_REPLY_BYTES_MAX || size > SESSION_BYTES_MAX - session->bytes ||
        size > (size_t)(end - from)) {
        return NULL;
    }
    result_insert(sessions, session, seq, (uint32_t)size, from);
    return from + size;
}

/* Reads a session behind those there are; returns the byte after it, or NULL. */
static const char *session_decode(struct sessions *sessions, const char *from, const char *end)
{
    if (end - from < 16) {
        return NULL;
    }
    uint64_t node = load_u64(from);
    if (sessions->count > 0 && node <= sessions->list[sessions->count - 1].node) {
        return NULL;
    }
    struct session *session = session_insert(sessions, sessions->count);
    uint64_t count = 0;
    session->node = node;
    session->boot = load_u64(from + 8);
    from = number_read(from + 16, end, &session->index);
    from = number_read(from, end, &session->floor);
    from = number_read(from, end, &count);
    if (from == NULL || count > SESSION_RESULTS_MAX) {
        return NULL;
    }
    uint64_t lowest = session->floor;
    for (uint64_t i = 0; i < count && from != NULL; i++) {
        from = result_decode(sessions, session, &lowest, from, end);
    }
    return sessions->bytes <= SESSIONS_BYTES_MAX - FORMAT_COST ? from : NULL;
}

bool sessions_decode(struct sessions *sessions, struct slice bytes)
{
    sessions_deinit(sessions);
    if (bytes.size == 0 || bytes.data[0] != FORMAT) {
        return false;
    }
    uint64_t count = 0;
    const char *end = bytes.data + bytes.size;
    const char *from = number_read(bytes.data + 1, end, &count);
    if (count > SESSIONS_MAX) {
        from = NULL;
    }
    for (uint64_t i = 0; i < count && from != NULL; i++) {
        from = session_decode(sessions, from, end);
    }
    if (from != end) {
        sessions_deinit(sessions);
        return false;
    }
    return true;
}
