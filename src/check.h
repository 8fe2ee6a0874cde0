/*
 * check.h — `minidb --check DIR`: what is in a data directory, and whether it is whole.
 *
 * Offline and read-only: nothing is changed, created or repaired.  A directory that a server has
 * locked is not looked at.
 */
#pragma once

#include "base/buffer.h"
#include "base/compiler.h"
#include "io/io.h"

#include <stdbool.h>

enum check_status {
    CHECK_CLEAN = 0,   /* a torn tail, which a crash leaves, is clean */
    CHECK_ERROR = 1,   /* it could not be looked at: the report says why */
    CHECK_DAMAGED = 3, /* something that was stored is not what it was */
};

/* Appends the report to `out`: text, or one JSON object.  `records`: every record of the log, too.
 * Returns an enum check_status: the program's exit status. */
MUST_USE int check_run(struct io *io, const char *dir, bool records, bool json, struct buffer *out);
