/*
 * peer_greet.c — who is let in: new connections, and what HELLOs are answered.
 *
 * Anybody can reach the cluster port, so until a HELLO has been checked a connection costs little
 * and can be pushed out by a newer one.  Both sides check the same: the cluster, that the other is
 * a member, and its incarnation.  Who is not let in is told why.
 *
 * Read next: peer_link.h, protocol_peer.h.
 */
#include "network/peer_link.h"

#include "base/assert.h"

/* ── accepting ───────────────────────────────────────────────────────────────────────────────── */

static bool is_stranger(const struct peer_link *link)
{
    return !link->is_outgoing && (link->state == LINK_GREETING || link->state == LINK_CLOSING);
}

/* Makes room among those that have not said HELLO.  False: too many links altogether. */
static bool accept_room(struct peers *peers)
{
    uint32_t inbound = 0;
    uint32_t strangers = 0;
    struct peer_link *oldest = NULL;
    for (uint32_t i = 0; i < peers->places_used; i++) {
        struct peer_link *link = peers->links[i];
        if (link == NULL || link->is_outgoing) {
            continue;
        }
        inbound += 1;
        if (is_stranger(link)) {
            strangers += 1;
            oldest = oldest == NULL || link->id < oldest->id ? link : oldest;
        }
    }
    if (strangers >= PEER_STRANGERS_MAX) {
        link_down(oldest, "made way for a newer connection");
    }
    return inbound < PEER_LINKS_INBOUND_MAX;
}

void peers_accept(struct peers *peers, const struct io_event *event)
{
    if (event->result < 0) {
        peers->stats.accept_errors += 1; /* the io rests before it tries again */
        return;
    }
    struct peer_link *link = accept_room(peers) ? link_new(peers, LINK_GREETING) : NULL;
    if (link == NULL) {
        peers->stats.accept_errors += 1;
        io_close(peers->io, event->socket);
        return;
    }
    link->socket = event->socket;
    io_socket_own(peers->io, event->socket, &peers->links[link->place]);
}

/* ── HELLO ───────────────────────────────────────────────────────────────────────────────────── */

static void hello_take(struct peer_link *link, enum peer_hello_result result,
                       const struct peer_hello *hello, const char *error);
static void answer_take(struct peer_link *link, enum peer_hello_result result,
                        const struct peer_hello *hello, const char *error);

void peers_greet(struct peer_link *link, struct slice line)
{
    struct peer_hello hello = { 0 };
    char error[LINK_REASON_MAX - 32] = "";
    enum peer_hello_result result = peer_hello_decode(line, &hello, error, sizeof(error));
    if (link->is_outgoing) {
        answer_take(link, result, &hello, error);
    } else {
        hello_take(link, result, &hello, error);
    }
}

/* An accepted link for the same purpose from the same member, other than this one. */
static struct peer_link *predecessor_find(const struct peer_link *link)
{
    const struct peers *peers = link->peers;
    for (uint32_t i = 0; link->hello.channel < MEMBER_DIALS && i < peers->places_used; i++) {
        struct peer_link *other = peers->links[i];
        if (other != NULL && other != link && !other->is_outgoing && other->state == LINK_UP &&
            other->channel == link->channel && other->number == link->hello.number) {
            return other;
        }
    }
    return NULL;
}

static uint32_t joins_count(const struct peers *peers)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < peers->places_used; i++) {
        const struct peer_link *link = peers->links[i];
        count += link != NULL && !link->is_outgoing && link->channel == PEER_JOIN &&
                 link->state == LINK_UP;
    }
    return count;
}

/* Whether the one at the other end belongs to our cluster.  NULL: yes.  Else the code of a refusal
 * and its text. */
static const char *stranger_check(const struct peers *peers, const struct peer_hello *hello,
                                  const char **out_text)
{
    const struct peer_hello *self = &peers->options.self;
    const struct peers_member *member = peers_member_find(peers, hello->number);
    if (hello->number == self->number) {
        *out_text = "this very node has that id";
        return "SELF";
    }
    if (hello->channel == PEER_JOIN) {
        return NULL;
    }
    if (self->cluster[0] == '\0' || strcmp(hello->cluster, self->cluster) != 0) {
        *out_text = self->cluster[0] == '\0' ? "this node belongs to no cluster yet"
                                             : "this node belongs to another cluster";
        return "CLUSTER";
    }
    if (member != NULL && member->at.incarnation == hello->incarnation) {
        return NULL;
    }
    if (peers_knows_later(peers, hello)) {
        return NULL;
    }
    if (member == NULL) {
        *out_text = "that node is no member of this cluster";
        return "STRANGER";
    }
    *out_text = "the member of that id has another data directory";
    return "INCARNATION";
}

/* Frames of a link are from a member: who is one of a later list becomes one of ours. */
static void take_in(struct peers *peers, const struct peer_hello *hello)
{
    const struct peers_member *member = peers_member_find(peers, hello->number);
    bool is_known = member != NULL && member->at.incarnation == hello->incarnation;
    if (hello->channel != PEER_JOIN && !is_known) {
        peers_take_in(peers, hello);
    }
}

static const char *hello_check(const struct peer_link *link, const char **out_text)
{
    const struct peer_hello *hello = &link->hello;
    const struct peer_link *predecessor = predecessor_find(link);
    const char *code = stranger_check(link->peers, hello, out_text);
    if (code != NULL) {
        return code;
    }
    if (hello->channel == PEER_JOIN && joins_count(link->peers) >= PEER_JOINS_MAX) {
        *out_text = "too many nodes are joining";
        return "BUSY";
    }
    if (predecessor != NULL && predecessor->hello.boot > hello->boot) {
        *out_text = "a later process of that node is linked";
        return "STALE";
    }
    return NULL;
}

/* The accepting side: they have said who they are. */
static void hello_take(struct peer_link *link, enum peer_hello_result result,
                       const struct peer_hello *hello, const char *error)
{
    if (result != PEER_HELLO_OK) {
        link_refuse(link, result == PEER_HELLO_PROTOCOL ? "PROTOCOL" : "HELLO", error);
        return;
    }
    link->hello = *hello;
    link->channel = (enum peer_channel)hello->channel;
    const char *text = "";
    const char *code = hello_check(link, &text);
    if (code != NULL) {
        link_refuse(link, code, text);
        return;
    }
    take_in(link->peers, hello);
    struct peer_link *predecessor = predecessor_find(link);
    if (predecessor != NULL) {
        link_down(predecessor, "replaced by a newer link");
    }
    link->number = link->channel == PEER_JOIN ? 0 : hello->number;
    link_say_hello(link);
    link_up(link);
    peers_hasten(link->peers, link->number);
}

/* The dialing side: the answer is here. */
static void answer_take(struct peer_link *link, enum peer_hello_result result,
                        const struct peer_hello *hello, const char *error)
{
    const char *text = error;
    bool is_good = result == PEER_HELLO_OK;
    if (is_good && hello->channel != link->channel) {
        text = "the answer is for another channel";
        is_good = false;
    } else if (is_good && link->number != 0 && hello->number != link->number) {
        text = "another node answered there";
        is_good = false;
    } else if (is_good) {
        is_good = stranger_check(link->peers, hello, &text) == NULL;
    }
    link->peers->stats.refusals += result == PEER_HELLO_REFUSAL;
    if (!is_good) {
        peers_complain(link, text);
        link_down(link, text);
        return;
    }
    link->hello = *hello;
    link->number = link->channel == PEER_JOIN ? link->number : hello->number;
    take_in(link->peers, hello);
    if (link->state == LINK_DOWN) {
        return; /* another data directory answered than was dialed: it is dialed anew */
    }
    link_up(link);
}
