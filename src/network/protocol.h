/*
 * protocol.h — what a request is, whatever the wire it came by, and how the wires are told apart.
 *
 * The first byte of a connection decides: '{' means JSON lines, anything else RESP (RESP2 until
 * HELLO 3; inline commands are part of RESP).  The codecs are pure: bytes in, request out.
 */
#pragma once

#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum protocol { PROTOCOL_UNKNOWN, PROTOCOL_RESP2, PROTOCOL_RESP3, PROTOCOL_JSON };

/* Read consistency of one request (product: ANY, QUORUM, ALL, STRONG). */
enum consistency {
    CONSISTENCY_DEFAULT, /* the connection's level */
    CONSISTENCY_ANY,
    CONSISTENCY_QUORUM,
    CONSISTENCY_ALL,
    CONSISTENCY_STRONG,
};

struct request {
    struct slice *argv; /* argc >= 1 slices; borrowed from the parser and the input */
    uint32_t argc;
    size_t wire_bytes; /* what the request took on the wire */
    /* JSON only */
    struct slice id;     /* raw JSON text of "id"; size 0: none */
    struct slice client; /* exactly-once session; size 0: none */
    uint64_t seq;
    enum consistency consistency;
};

enum parse_result {
    PARSE_REQUEST, /* one request; `consumed` bytes of input are its */
    PARSE_SKIP,    /* nothing to answer (an empty line, `*0`): `consumed` bytes are used up */
    PARSE_MORE,    /* needs more bytes */
    PARSE_ERROR,   /* malformed; the rest can still be parsed after `consumed` bytes (JSON lines) */
    PARSE_FATAL,   /* malformed, and where the next request begins is unknown: answer and close */
};

/* Bounds that apply to a connection right now (smaller before AUTH). */
struct parse_limits {
    uint32_t args_max;
    uint32_t bytes_max;
};
