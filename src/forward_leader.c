/*
 * forward_leader.c — what other nodes ask us, and our answers.
 *
 * Requests run as they are read.  Answers come when they come; those for one link are collected in
 * frames, which leave together once per iteration, or when the link takes more again.
 *
 * Behind a request that was refused all others of its group are refused, too, until one is marked
 * as renewed: the asker has seen the refusal then, and begins again with the refused one.  Whatever
 * the reason for a refusal, requests never overtake each other.
 *
 * Read next: forward.c (the asking end), pipeline.h.
 */
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "consensus.h"
#include "forward_internal.h"
#include "log.h"

enum { GROUP_NUMBERS_MAX = 1 << 16 }; /* GROUP_META is the last of them */

/* ── links ───────────────────────────────────────────────────────────────────────────────────── */

static struct asking_link *link_find(const struct forward *forward, uint64_t number)
{
    for (uint32_t i = 0; i < forward->links_count; i++) {
        if (forward->links[i]->link == number) {
            return forward->links[i];
        }
    }
    return NULL;
}

static void frames_free(struct asking_link *link)
{
    while (link->first != NULL) {
        struct answers_frame *next = link->first->next;
        buffer_free(&link->first->bytes);
        mem_free(link->first);
        link->first = next;
    }
    link->last = NULL;
    link->bytes = 0;
}

void forward_link_clear(struct asking_link *link)
{
    frames_free(link);
    mem_free(link->refused);
    link->refused = NULL;
}

static void link_remove(struct forward *forward, uint32_t at)
{
    ASSERT(at > 0 && at < forward->links_count);
    forward_link_clear(forward->links[at]);
    mem_free(forward->links[at]);
    forward->links[at] = forward->links[--forward->links_count];
}

static bool link_is_alive(const struct forward *forward, uint64_t link)
{
    struct peer_link_info info;
    for (uint32_t at = 0; peers_link_next(forward->peers, &at, &info);) {
        if (info.link == link) {
            return true;
        }
    }
    return false;
}

/* Links come rarely; then those that went are forgotten. */
struct asking_link *forward_link_add(struct forward *forward, uint64_t link)
{
    for (uint32_t i = forward->links_count; i-- > 1;) {
        if (!link_is_alive(forward, forward->links[i]->link)) {
            link_remove(forward, i);
        }
    }
    struct asking_link *added = mem_zalloc(sizeof(*added));
    added->link = link;
    size_t size = (forward->links_count + 1) * sizeof(struct asking_link *);
    forward->links = mem_realloc(forward->links, size);
    forward->links[forward->links_count++] = added;
    return added;
}

static struct asking_link *link_get(struct forward *forward, uint64_t number)
{
    struct asking_link *link = link_find(forward, number);
    return link != NULL ? link : forward_link_add(forward, number);
}

/* ── answers ─────────────────────────────────────────────────────────────────────────────────── */

static struct buffer *frame_with_room(struct asking_link *link, size_t size)
{
    struct answers_frame *last = link->last;
    if (last != NULL && (last->bytes.size == 0 || last->bytes.size + size <= FORWARD_FRAME_BYTES)) {
        return &last->bytes;
    }
    struct answers_frame *frame = mem_zalloc(sizeof(*frame));
    if (last != NULL) {
        last->next = frame;
    } else {
        link->first = frame;
    }
    link->last = frame;
    return &frame->bytes;
}

static void answer_put(struct forward *forward, struct asking_link *link,
                       const struct forward_wire_answer *answer)
{
    size_t size = FORWARD_WIRE_ANSWER_HEAD_BYTES_MAX + answer->resp.size;
    struct buffer *bytes = frame_with_room(link, size);
    size_t written = forward_wire_answer_write(answer, buffer_reserve(bytes, size));
    bytes->size += written;
    link->bytes += written;
    forward->has_news = true;
}

void forward_answer(struct forward *forward, uint64_t link, uint64_t request, struct slice resp,
                    uint64_t version)
{
    enum { PART_BYTES = FORWARD_FRAME_BYTES - FORWARD_WIRE_ANSWER_HEAD_BYTES_MAX };
    struct asking_link *asking = link_get(forward, link);
    if (resp.size > FORWARD_ANSWERS_BYTES_MAX) {
        resp = slice_from("-ERR the answer is too large to be passed on to another node\r\n");
    }
    if (link != 0 && asking->bytes + resp.size > FORWARD_ANSWERS_BYTES_MAX) {
        log_event(forward->log, LOG_WARN, "forward_answers_not_taken", LOG_U64("link", link),
                  LOG_U64("bytes", asking->bytes));
        frames_free(asking);
        peers_close(forward->peers, link);
        return;
    }
    struct forward_wire_answer answer = { .id = request };
    while (resp.size > PART_BYTES) {
        answer.kind = FORWARD_ANSWER_PART;
        answer.resp = slice_make(resp.data, PART_BYTES);
        answer_put(forward, asking, &answer);
        resp = slice_make(resp.data + PART_BYTES, resp.size - PART_BYTES);
    }
    bool was_split = answer.kind == FORWARD_ANSWER_PART;
    answer.kind = was_split ? FORWARD_ANSWER_LAST : FORWARD_ANSWER_WHOLE;
    answer.resp = resp;
    answer.version = version;
    answer_put(forward, asking, &answer);
}

size_t forward_answer_room(const struct forward *forward, uint64_t link)
{
    enum { BULKY_BYTES_MAX = FORWARD_ANSWERS_BYTES_MAX - REPLY_VALUES_BYTES_MAX };
    const struct asking_link *asking = link_find(forward, link);
    uint64_t bytes = asking == NULL ? 0 : asking->bytes;
    return bytes < BULKY_BYTES_MAX ? BULKY_BYTES_MAX - bytes : 0;
}

void forward_refuse(struct forward *forward, uint64_t link, uint64_t request)
{
    bool is_running = request == forward->running_id && link == forward->running_link;
    forward->running_is_refused = forward->running_is_refused || is_running;
    if (is_running && link == 0) {
        return; /* route_run sees to it */
    }
    struct forward_wire_answer answer = { .id = request, .kind = FORWARD_ANSWER_REFUSED };
    answer_put(forward, link_get(forward, link), &answer);
}

/* Drops the first frame, or keeps it for what comes next when it is the only one. */
static void frame_done(struct asking_link *link)
{
    struct answers_frame *frame = link->first;
    link->bytes -= frame->bytes.size;
    if (frame->next == NULL) {
        frame->bytes.size = 0;
        return;
    }
    link->first = frame->next;
    buffer_free(&frame->bytes);
    mem_free(frame);
}

/* Sends what fits; false when the link is gone. */
static bool link_send(struct forward *forward, struct asking_link *link)
{
    while (link->bytes > 0) {
        struct slice bytes = buffer_slice(&link->first->bytes);
        char *body = peers_frame_begin(forward->peers, link->link, PEER_FRAME_ANSWERS, bytes.size);
        if (body == NULL) {
            return peers_queued_bytes(forward->peers, link->link) > 0;
        }
        memcpy(body, bytes.data, bytes.size);
        peers_frame_end(forward->peers, link->link, bytes.size);
        frame_done(link);
    }
    return true;
}

void forward_answers_send(struct forward *forward)
{
    for (uint32_t i = forward->links_count; i-- > 1;) {
        if (!link_send(forward, forward->links[i])) {
            link_remove(forward, i);
        }
    }
}

/* ── requests ────────────────────────────────────────────────────────────────────────────────── */

static bool bit_get(const uint64_t *bits, uint32_t at)
{
    return bits != NULL && (bits[at / 64] >> at % 64 & 1) != 0;
}

static void refused_set(struct asking_link *link, uint32_t group, bool on)
{
    if (link->refused == NULL && !on) {
        return;
    }
    if (link->refused == NULL) {
        link->refused = mem_zalloc(GROUP_NUMBERS_MAX / 8);
    }
    uint64_t bit = 1ull << group % 64;
    uint64_t *word = &link->refused[group / 64];
    *word = on ? *word | bit : *word & ~bit;
}

/* What is wrong with the call for us; NULL: nothing.  The sender may be of another version. */
static const char *call_trouble(const struct forward_wire_request *request,
                                const struct command *command, const struct forward_wire_call *call)
{
    if (command == NULL) {
        return "-ERR the partition's leader does not know the command: it is of another "
               "version\r\n";
    }
    /* What the meta group is asked for stands in no log as it is. */
    bool is_write = (command->flags & COMMAND_WRITE) != 0 || request->group == GROUP_META;
    if (!command_arity_ok(command, call->argc) || (request->is_write && !is_write) ||
        !command_keys_fit(command, call->argc, call->argv)) {
        return "-ERR the partition's leader understands the command in another way: it is of "
               "another version\r\n";
    }
    return NULL;
}

static void request_run(struct forward *forward, uint64_t link,
                        const struct forward_wire_request *request,
                        const struct forward_wire_call *call)
{
    const struct command *command = command_lookup(call->argv[0]);
    const char *trouble = call_trouble(request, command, call);
    forward->running_is_refused = false;
    if (trouble != NULL) {
        forward_answer(forward, link, request->id, slice_from(trouble), 0);
        return;
    }
    struct remote_request remote = {
        .link = link,
        .request = request->id,
        .group = request->group,
        .term = request->term,
        .command = command,
        .argc = call->argc,
        .argv = call->argv,
        .is_write = request->is_write,
        .follows_writes = request->follows_writes,
        .origin = request->origin,
    };
    forward->running_link = link;
    forward->running_id = request->id;
    pipeline_run_remote(forward->pipeline, &remote);
    forward->running_id = 0;
}

bool forward_requests_take(struct forward *forward, uint64_t link, struct slice body)
{
    while (body.size > 0) {
        struct forward_wire_request request;
        struct forward_wire_call call;
        if (!forward_wire_request_read(&body, &request) ||
            !forward_wire_call_read(&body, &forward->args, &call) ||
            forward_group(forward, request.group) == NULL) {
            return false;
        }
        /* Looked up anew each time: running a request may close links. */
        if (bit_get(link_get(forward, link)->refused, request.group) && !request.is_renewed) {
            forward_refuse(forward, link, request.id);
            continue;
        }
        request_run(forward, link, &request, &call);
        refused_set(link_get(forward, link), request.group, forward->running_is_refused);
    }
    return true;
}
