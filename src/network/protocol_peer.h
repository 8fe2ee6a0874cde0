/*
 * protocol_peer.h — what two nodes say to each other, as bytes.  Pure: no I/O, no state.
 *
 * A link begins with one line of JSON from each side (HELLO), so that a person with a terminal and
 * a node of another version both get an answer they can read.  The accepting side may refuse with
 * {"success":false,"error":"...","code":"..."} and close.  Then frames follow, in both directions:
 *
 *   at  0  u32  magic "MPF1"           at 16  u8   kind
 *       4  u32  crc of bytes 0..3          17  u8   flags
 *               and 8..47                  18  u48  zero
 *       8  u32  crc of the body            24  u64  cluster
 *      12  u32  size of the body           32  u64  sender's incarnation
 *                                          40  u64  target's incarnation, then the body
 *
 * Everything is covered by CRC-32C: the header by its own, which is checked before the size in it
 * is believed; the body by the one in the header.  The HELLO line ends with a "crc" of what stands
 * before it; a line without one is accepted (a person types none).  Where there is a cluster-secret
 * the HELLOs carry nonces, and a line from each side proves that it knows the secret
 * (peer_proof.h).
 *
 * Who frames are from and to is repeated in each of them: what was meant for a predecessor with the
 * same address never gets to its successor.
 *
 * Read next: protocol_peer.c, peers.h.
 */
#pragma once

#include "base/compiler.h"
#include "base/limits.h"
#include "base/slice.h"

#include <stdint.h>

enum {
    PEER_PROTOCOL = 1,
    PEER_FRAME_MAGIC = 0x3146504d, /* "MPF1" */
    PEER_FRAME_HEADER_BYTES = 48,
    PEER_NONCE_TEXT_BYTES = 33, /* 16 bytes as hex digits, and a NUL */
    PEER_PROOF_BYTES = 32,
};

/* What a link is for.  JOIN is the only one open to nodes that are no members. */
enum peer_channel {
    PEER_RAFT,   /* Raft messages, both kinds of */
    PEER_CLIENT, /* forwarded requests and their answers */
    PEER_BULK,   /* snapshots */
    PEER_JOIN,   /* a node asks to become a member */
    PEER_CHANNELS,
};

/* "raft", "client", "bulk", "join". */
const char *peer_channel_name(enum peer_channel channel);

/* ── HELLO ───────────────────────────────────────────────────────────────────────────────────── */

/* Who a node is.  Texts are NUL-terminated UTF-8. */
struct peer_hello {
    char node[64];         /* its id */
    uint64_t number;       /* Raft's number of it: hash of the id; never 0 */
    uint64_t incarnation;  /* of its data directory: another one after its disk was wiped */
    uint64_t boot;         /* ascending with every start of its process */
    uint64_t epoch;        /* of the list of members it knows; 0: of none */
    char cluster[33];      /* the 16-byte cluster id as 32 hex digits; "": has none yet */
    uint8_t channel;       /* enum peer_channel: what the dialing side opens the link for */
    char host[64];         /* where it can be reached: a numeric address */
    uint16_t cluster_port; /* by nodes */
    uint16_t port;         /* by clients */
    uint16_t slot_port;    /* by cluster-aware clients; 0: not at all */
    uint16_t weight;       /* how much it takes, beside others; 0: not said */
    char version[32];      /* of the program: for people */
    char zone[64];         /* "": none */
    char nonce[PEER_NONCE_TEXT_BYTES]; /* of this one link; "": without cluster-secret */
};

/* The cluster as frames and Raft messages name it: the first 8 bytes of the id, 0 for none. */
uint64_t peer_hello_cluster(const struct peer_hello *hello);

/* Writes the line with its newline to `out`, which has room for PEER_HELLO_BYTES_MAX bytes;
 * returns its size.  Texts that are no UTF-8 are sent as "?". */
size_t peer_hello_encode(const struct peer_hello *hello, char *out);

enum peer_hello_result {
    PEER_HELLO_OK = 0,
    PEER_HELLO_MALFORMED, /* `error` says what is wrong */
    PEER_HELLO_PROTOCOL,  /* another version of this protocol */
    PEER_HELLO_REFUSAL,   /* the other side's refusal: `error` is "CODE: its text" */
};

/* Reads a line (with or without its newline).  Unknown members are ignored.  `out_hello` is written
 * on PEER_HELLO_OK only; `error` (NUL-terminated, cut to size) otherwise. */
MUST_USE enum peer_hello_result peer_hello_decode(struct slice line, struct peer_hello *out_hello,
                                                  char *error, size_t error_size);

/* Writes a refusal line with its newline to `out`, which has room for PEER_HELLO_BYTES_MAX bytes;
 * returns its size.  `code` is one upper-case word; `error` is cut if it is very long. */
size_t peer_refusal_encode(const char *code, const char *error, char *out);

/* Writes the line that proves something with its newline to `out`, which has room for
 * PEER_HELLO_BYTES_MAX bytes; returns its size. */
size_t peer_proof_encode(const uint8_t proof[PEER_PROOF_BYTES], char *out);

/* Reads it; as peer_hello_decode, but for PEER_HELLO_PROTOCOL. */
MUST_USE enum peer_hello_result peer_proof_decode(struct slice line,
                                                  uint8_t out_proof[PEER_PROOF_BYTES], char *error,
                                                  size_t error_size);

/* ── frames ──────────────────────────────────────────────────────────────────────────────────── */

/* What every frame of one direction of a link carries. */
struct peer_route {
    uint64_t cluster;
    uint64_t sender; /* incarnations */
    uint64_t target;
};

struct peer_frame {
    uint8_t kind;
    uint8_t flags;
    struct slice body; /* borrowed from the input */
};

/* Writes the header to `frame`; the body of `body_size` bytes already lies behind it.
 * body_size <= PEER_FRAME_BYTES_MAX. */
void peer_frame_seal(char *frame, const struct peer_route *route, uint8_t kind, uint8_t flags,
                     size_t body_size);

enum peer_frame_result {
    PEER_FRAME_OK = 0,
    PEER_FRAME_MORE,    /* the input holds a part of a frame, good so far */
    PEER_FRAME_HEADER,  /* magic, crc of the header or the zeros in it */
    PEER_FRAME_SIZE,    /* larger than body_max */
    PEER_FRAME_CLUSTER, /* of another cluster */
    PEER_FRAME_SENDER,  /* from another incarnation than the one that said HELLO */
    PEER_FRAME_TARGET,  /* to another incarnation than ours */
    PEER_FRAME_BODY,    /* crc of the body */
};

/* Looks for one frame at the start of the input.  *out_bytes: OK: its size, header and body; MORE:
 * how many bytes the input must have at least before there is news.  `out_frame` is written on
 * OK only. */
MUST_USE enum peer_frame_result peer_frame_open(struct slice input, const struct peer_route *route,
                                                size_t body_max, struct peer_frame *out_frame,
                                                size_t *out_bytes);

/* One sentence for people, of what is wrong. */
const char *peer_frame_result_text(enum peer_frame_result result);
