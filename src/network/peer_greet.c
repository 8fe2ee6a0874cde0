/*
 * peer_greet.c — who is let in: new connections, and what HELLOs are answered.
 *
 * Anybody can reach the cluster port, so until a HELLO has been checked a connection costs little
 * and can be pushed out by a newer one.  Both sides check the same: the cluster, that the other is
 * a member, and its incarnation.  Who is not let in is told why.
 *
 * With a cluster-secret the HELLOs only say what is to be proved: whatever has an effect (a link
 * that is replaced, a member taken in, the word that we were removed) waits for the proof, and what
 * was checked before is checked again, for time has passed.  Refusals of a HELLO are proved too.
 *
 * Read next: peer_link.h, peer_proof.h, protocol_peer.h.
 */
#include "network/peer_link.h"

#include "base/assert.h"

#include <stdio.h>

/* To a node that this refuses, the word of a member that it is none any more. */
#define REMOVED "REMOVED"

/* ── accepting ───────────────────────────────────────────────────────────────────────────────── */

static bool is_stranger(const struct peer_link *link)
{
    return !link->is_outgoing && link->state != LINK_UP && link->state != LINK_DOWN;
}

/* Makes room among those that were not let in.  False: too many links altogether. */
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

/* A line that came while we waited for HELLO. */
struct heard {
    struct slice line;
    enum peer_hello_result result;
    struct peer_hello hello;          /* when the result is OK */
    char error[LINK_REASON_MAX - 32]; /* else */
};

static void hello_take(struct peer_link *link, const struct heard *heard);
static void answer_take(struct peer_link *link, const struct heard *heard);
static void proof_take(struct peer_link *link, struct slice line);

void peers_greet_first(struct peer_link *link)
{
    ASSERT(link->is_outgoing);
    link_say_hello(link);
    if (link->peers->key != NULL) {
        buffer_append_slice(&link->said, buffer_slice(&link->output));
    }
}

void peers_greet(struct peer_link *link, struct slice line)
{
    if (link->state == LINK_PROVING) {
        proof_take(link, line);
        return;
    }
    struct heard heard = { .line = line };
    heard.result = peer_hello_decode(line, &heard.hello, heard.error, sizeof(heard.error));
    if (link->is_outgoing) {
        answer_take(link, &heard);
    } else {
        hello_take(link, &heard);
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

static bool is_removed(const struct peers *peers, const struct peer_hello *hello)
{
    for (uint32_t i = 0; i < peers->removed_count; i++) {
        if (peers->removed[i].number == hello->number &&
            peers->removed[i].incarnation == hello->incarnation) {
            return true;
        }
    }
    return false;
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
    if (is_removed(peers, hello)) {
        *out_text = "that node was removed from this cluster";
        return REMOVED;
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

/* ── the accepting side ──────────────────────────────────────────────────────────────────────── */

static const char *secret_check(const struct peer_link *link, const char **out_text)
{
    bool has_secret = link->peers->key != NULL;
    bool has_nonce = link->hello.nonce[0] != '\0';
    if (has_secret == has_nonce) {
        return NULL;
    }
    *out_text = has_secret ? "a cluster-secret is wanted here, and the dialing node has none"
                           : "no cluster-secret is known here, and the dialing node has one";
    return "SECRET";
}

static void proof_say(struct peer_link *link, const uint8_t proof[PEER_PROOF_BYTES])
{
    struct buffer *output = &link->output;
    output->size += peer_proof_encode(proof, buffer_reserve(output, PEER_HELLO_BYTES_MAX));
    peers_mark_dirty(link);
}

/* Our answer to their line lies in the output: behind it comes our proof. */
static void answer_prove(struct peer_link *link, struct slice line, size_t answer_at)
{
    struct slice answer = slice_make(link->output.data + answer_at, link->output.size - answer_at);
    peer_proofs_make(link->peers->key, line, answer, &link->proofs);
    proof_say(link, link->proofs.accepting);
}

/* All is checked: they are let in. */
static void hello_admit(struct peer_link *link)
{
    take_in(link->peers, &link->hello);
    struct peer_link *predecessor = predecessor_find(link);
    if (predecessor != NULL) {
        link_down(predecessor, "replaced by a newer link");
    }
    link->number = link->channel == PEER_JOIN ? 0 : link->hello.number;
    link_up(link);
    peers_hasten(link->peers, link->number);
}

/* They have said who they are. */
static void hello_take(struct peer_link *link, const struct heard *heard)
{
    if (heard->result != PEER_HELLO_OK) {
        bool is_other = heard->result == PEER_HELLO_PROTOCOL;
        link_refuse(link, is_other ? "PROTOCOL" : "HELLO", heard->error);
        return;
    }
    link->hello = heard->hello;
    link->channel = (enum peer_channel)heard->hello.channel;
    size_t answer_at = link->output.size;
    const char *text = "";
    const char *code = secret_check(link, &text);
    bool is_proved = code == NULL && link->peers->key != NULL;
    code = code != NULL ? code : hello_check(link, &text);
    if (code != NULL) {
        link_refuse(link, code, text);
    } else {
        link_say_hello(link);
    }
    if (is_proved) {
        answer_prove(link, heard->line, answer_at);
    }
    if (code == NULL && is_proved) {
        link->state = LINK_PROVING;
    } else if (code == NULL) {
        hello_admit(link);
    }
}

/* They have proved it. */
static void hello_proved(struct peer_link *link)
{
    const char *text = "";
    if (hello_check(link, &text) == NULL) {
        hello_admit(link);
        return;
    }
    peers_complain(link, text); /* they wait for frames by now: no line would be understood */
    link_down(link, text);
}

/* ── the dialing side ────────────────────────────────────────────────────────────────────────── */

/* They have said who they are, and proved it where there is a secret. */
static void answer_admit(struct peer_link *link)
{
    const struct peer_hello *hello = &link->hello;
    const char *text = "";
    bool is_good = false;
    if (hello->channel != link->channel) {
        text = "the answer is for another channel";
    } else if (link->number != 0 && hello->number != link->number) {
        text = "another node answered there";
    } else {
        is_good = stranger_check(link->peers, hello, &text) == NULL;
    }
    if (!is_good) {
        peers_complain(link, text);
        link_down(link, text);
        return;
    }
    link->number = link->channel == PEER_JOIN ? link->number : hello->number;
    take_in(link->peers, hello);
    if (link->state == LINK_DOWN) {
        return; /* another data directory answered than was dialed: it is dialed anew */
    }
    if (link->peers->key != NULL) {
        proof_say(link, link->proofs.dialing);
    }
    link_up(link);
}

/* A proof of this answer is to come. */
static void answer_await_proof(struct peer_link *link, struct slice line)
{
    peer_proofs_make(link->peers->key, buffer_slice(&link->said), line, &link->proofs);
    buffer_free(&link->said);
    link->state = LINK_PROVING;
}

/* No HELLO, but some other line: what it says is for people, unless it says that we were removed.
 */
static void answer_bad(struct peer_link *link, const struct heard *heard)
{
    bool is_refusal = heard->result == PEER_HELLO_REFUSAL;
    bool is_removal =
        is_refusal && strncmp(heard->error, REMOVED ": ", sizeof(REMOVED ": ") - 1) == 0;
    link->peers->stats.refusals += is_refusal;
    peers_complain(link, heard->error);
    if (is_removal && link->peers->key != NULL) {
        (void)snprintf(link->reason, sizeof(link->reason), "%s", heard->error);
        answer_await_proof(link, heard->line);
        return;
    }
    link->peers->was_removed |= is_removal;
    link_down(link, heard->error);
}

/* The answer is here. */
static void answer_take(struct peer_link *link, const struct heard *heard)
{
    if (heard->result != PEER_HELLO_OK) {
        answer_bad(link, heard);
        return;
    }
    link->hello = heard->hello;
    if (link->peers->key == NULL) {
        answer_admit(link);
    } else if (link->hello.nonce[0] == '\0') {
        link_refuse(link, "SECRET", "the accepting node proves no cluster-secret");
    } else {
        answer_await_proof(link, heard->line);
    }
}

/* ── both sides ──────────────────────────────────────────────────────────────────────────────── */

static void proof_take(struct peer_link *link, struct slice line)
{
    char error[LINK_REASON_MAX - 32] = "";
    const struct peer_proofs *proofs = &link->proofs;
    const uint8_t *expected = link->is_outgoing ? proofs->accepting : proofs->dialing;
    bool is_removal = link->is_outgoing && link->hello.number == 0; /* it came instead of HELLO */
    switch (peer_proof_check(line, expected, error, sizeof(error))) {
    case PEER_PROOF_RIGHT:
        break;
    case PEER_PROOF_REFUSAL:
        link->peers->stats.refusals += 1;
        peers_complain(link, error);
        link_down(link, error);
        return;
    case PEER_PROOF_WRONG:
    case PEER_PROOF_NONE:
        link_refuse(link, "SECRET", error);
        return;
    }
    if (is_removal) {
        link->peers->was_removed = true;
        link_down(link, link->reason);
    } else if (link->is_outgoing) {
        answer_admit(link);
    } else {
        hello_proved(link);
    }
}
