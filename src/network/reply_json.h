/*
 * reply_json.h — how a reply looks as a JSON line.  Internal to network: reply.c calls it.
 *
 * Each function writes one value (with the comma or colon before it that its place needs).
 */
#pragma once

#include "network/reply.h"

void reply_json_end(struct reply *reply); /* closes the line */

void reply_json_error(struct reply *reply, struct slice message);
void reply_json_string(struct reply *reply, struct slice value);
/* A JSON token that needs no quotes: null, true, 42, 1.5. */
void reply_json_token(struct reply *reply, struct slice token);
void reply_json_aggregate(struct reply *reply, bool is_map, uint64_t values);
