/*
 * reply_check.h — is this a reply that reply_replay can take?
 *
 * reply_replay trusts its input: it is this program's own encoding.  Bytes that come from another
 * node are measured first.
 */
#pragma once

#include "base/compiler.h"
#include "base/slice.h"

/* The size of the one value (with all that is in it) at the front of these bytes, or 0 when they do
 * not begin with one.  What it measures, reply_replay takes, even as an element of an array. */
MUST_USE size_t reply_value_size(struct slice resp);
