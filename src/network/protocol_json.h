/*
 * protocol_json.h — the JSON protocol: one object a line.
 *
 *   {"type":"CLIENT","command":"SET user:1 Alice"}            split like a shell line
 *   {"type":"CLIENT","args":["SET","user:2","two words"]}     exact; numbers become their text
 *   optional: "id" (any scalar, echoed), "client" + "seq", "consistency"; type CLUSTER is the same
 *
 * Decoding is jansson's, bounded by limits.h.  A malformed line is PARSE_ERROR (the next line can
 * be found); only a line over the size limit is PARSE_FATAL.  An argument {"base64":"..."} is
 * decoded, so that what a reply showed can be sent back.
 */
#pragma once

#include "base/arena.h"
#include "network/protocol.h"

struct json_parser {
    size_t scanned;  /* bytes already searched for the newline */
    char error[160]; /* what is wrong and where, after PARSE_ERROR and PARSE_FATAL */
};

void json_parser_init(struct json_parser *parser);
/* Parses one line from the start of `input`; as resp_parse.  Everything in the request lies in the
 * arena.  After PARSE_ERROR the request holds the "id" if that could be read. */
enum parse_result json_parse(struct json_parser *parser, struct slice input,
                             const struct parse_limits *limits, struct arena *arena,
                             struct request *out_request, size_t *out_consumed);
