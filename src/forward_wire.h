/*
 * forward_wire.h — forwarded requests and their answers as bytes.  Pure.
 *
 *   PEER_FRAME_REQUESTS: one request after another
 *     u64 id, varint group, varint term, u8 flags,
 *     [u64 node, varint boot, varint seq, varint floor: HAS_ORIGIN]
 *     call: varint size and name, varint arguments, each varint size and bytes
 *
 *   PEER_FRAME_ANSWERS: one answer after another
 *     u64 id, u8 kind, and unless it is a refusal  varint version, varint size, reply in RESP3
 *
 * A command travels by its name: nodes of different versions may number their commands differently.
 * An answer that is too large for a frame travels as parts and a last one; they lie in order on the
 * link.  An id is the sender's word for one sending of one request.
 *
 * Readers take untrusted bytes.  Read next: forward.h.
 */
#pragma once

#include "command/command.h"
#include "forward.h"

/* ── requests ────────────────────────────────────────────────────────────────────────────────── */

struct forward_wire_request {
    uint64_t id;
    uint32_t group; /* any 32 bits: the reader's caller knows which there are */
    uint64_t term;
    bool is_write, follows_writes;
    bool is_renewed;              /* the first of its group since one was refused or sent again */
    struct request_origin origin; /* node 0: none; else floor <= seq */
};

/* What a request asks for.  argv[0] is the command's name. */
struct forward_wire_call {
    uint32_t argc;
    const struct slice *argv;
};

enum { FORWARD_WIRE_HEAD_BYTES_MAX = 8 + 10 + 10 + 1 + 8 + 3 * 10 };

size_t forward_wire_call_size(const struct command *command, uint32_t argc,
                              const struct slice *argv);
/* Writes forward_wire_call_size bytes; argv[0] is replaced by the command's name. */
void forward_wire_call_write(const struct command *command, uint32_t argc, const struct slice *argv,
                             char *to);
/* Writes at most FORWARD_WIRE_HEAD_BYTES_MAX and call.size bytes; returns how many. */
size_t forward_wire_request_write(const struct forward_wire_request *request, struct slice call,
                                  char *to);

/* Both move *left behind what they read.  The call's arguments borrow from *left, and its argv is
 * `args` (grows).  False: malformed; *left and *out are undefined. */
MUST_USE bool forward_wire_request_read(struct slice *left, struct forward_wire_request *out);
MUST_USE bool forward_wire_call_read(struct slice *left, struct command_args *args,
                                     struct forward_wire_call *out);

/* ── answers ─────────────────────────────────────────────────────────────────────────────────── */

enum forward_answer_kind {
    FORWARD_ANSWER_WHOLE,
    FORWARD_ANSWER_PART,    /* more follows */
    FORWARD_ANSWER_LAST,    /* the end of one in parts */
    FORWARD_ANSWER_REFUSED, /* surely not done */
    FORWARD_ANSWER_KINDS,
};

struct forward_wire_answer {
    uint64_t id;
    enum forward_answer_kind kind;
    uint64_t version;
    struct slice resp; /* not checked */
};

enum { FORWARD_WIRE_ANSWER_HEAD_BYTES_MAX = 8 + 1 + 10 + 10 };

/* Writes at most FORWARD_WIRE_ANSWER_HEAD_BYTES_MAX and resp.size bytes; returns how many. */
size_t forward_wire_answer_write(const struct forward_wire_answer *answer, char *to);
MUST_USE bool forward_wire_answer_read(struct slice *left, struct forward_wire_answer *out);
