/*
 * reply.h — the vocabulary in which commands answer; each protocol encodes it in its own way.
 *
 * A command writes exactly one value: a scalar, or an aggregate begun with its exact element count
 * and followed by that many values.  All protocols are streamed straight into the output buffer;
 * JSON stands inside {"id":...,"success":...,"data":...,"version":...} and ends its line.
 *
 *   status  +OK            "OK"          | null      $-1 / _          null
 *   error   -ERR text      success:false | boolean   :1 / #t          true
 *   integer :7             7             | double    $3 1.5 / ,1.5    1.5
 *   bulk    $3 foo         "foo"         | map       *2n / %n         {}
 *   verbatim $ / =txt:     "text"        | set       *n / ~n          []
 *
 * JSON only: bytes that are not UTF-8 are {"base64":"..."}, as a map's key "base64:..."; an error
 * inside an aggregate is {"error":"..."}; inf and nan are strings.
 *
 * Read next: reply.c, reply_json.c, reply_replay.c.
 */
#pragma once

#include "base/buffer.h"
#include "base/limits.h"
#include "network/protocol.h"

struct reply {
    enum protocol protocol; /* HELLO changes it before it writes its reply */
    struct buffer *out;     /* where encoded bytes go; borrowed */
    bool is_error;          /* an error was written at top level (of a sink: anywhere) */
    bool is_sink;           /* nothing is encoded */
    int64_t sum;            /* of a sink: the integers written, added up */
    size_t start;           /* out->size at reply_begin */
    uint64_t owed;          /* values still to be written; 0 when the reply is complete */
    size_t error_at;        /* where in `out` the text of the last error lies */
    size_t error_size;
    /* JSON only */
    struct slice id;                /* raw JSON text to echo; must live until reply_end */
    uint64_t version;               /* >0: shown as "version" */
    uint32_t depth;                 /* aggregates that are open */
    uint64_t left[REPLY_DEPTH_MAX]; /* values missing in each */
    bool is_map[REPLY_DEPTH_MAX];
};

/* `protocol` RESP2, RESP3 or JSON. */
void reply_begin(struct reply *reply, enum protocol protocol, struct buffer *out, struct slice id);
/* Finishes; asserts that exactly one value was written. */
void reply_end(struct reply *reply);
/* A reply that encodes nothing: what it says is for nobody, or only its sum counts. */
void reply_begin_sink(struct reply *reply);

void reply_status(struct reply *reply, const char *status); /* "OK", "QUEUED" */
void reply_ok(struct reply *reply);
/* `message` begins with the code word: "ERR no such key".  CR and LF are replaced by spaces. */
void reply_error(struct reply *reply, const char *message);
void reply_errorf(struct reply *reply, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void reply_integer(struct reply *reply, int64_t value);
void reply_bulk(struct reply *reply, struct slice value);
void reply_text(struct reply *reply, const char *value); /* bulk of a C string */
void reply_null(struct reply *reply);
void reply_null_array(struct reply *reply); /* RESP2 *-1, else null */
void reply_boolean(struct reply *reply, bool value);
void reply_double(struct reply *reply, double value);
void reply_verbatim(struct reply *reply, const char format[3], struct slice value);
void reply_array(struct reply *reply, uint32_t count);
void reply_map(struct reply *reply, uint32_t pairs); /* then key, value, key, value ... */
void reply_set(struct reply *reply, uint32_t count);
/* JSON: the version to show beside the data.  RESP: nothing. */
void reply_version(struct reply *reply, uint64_t version);

/* ── replies kept for later ──────────────────────────────────────────────────────────────────── */

/* Writes again, in the reply's own protocol, what a whole reply in RESP2 or RESP3 says (as this
 * module encoded it: it is trusted).  A caller that cannot answer yet lets the command reply in
 * RESP3 into a buffer of its own and replays that. */
void reply_replay(struct reply *reply, struct slice resp);
/* The text of the last error written ("ERR no such key"); valid until the next write.  Of a JSON
 * reply in JSON's escapes.  Empty when there was none. */
struct slice reply_error_text(const struct reply *reply);
