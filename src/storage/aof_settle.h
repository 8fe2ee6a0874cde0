/*
 * aof_settle.h — what recovery read is made durable before anything is built on it.
 *
 * Recovery reads through the page cache.  After a sync that failed, the pages are there, marked
 * clean, and not on the platter (Rebello et al., "Can Applications Recover from fsync Failures?",
 * ATC 2020): syncing again would succeed and do nothing.  So every segment that no later header
 * calls durable is read, written again and synced.
 */
#pragma once

#include "base/compiler.h"

#include <stdint.h>

struct io;

/* Settles the segments of `dir` and deletes what an earlier process was preparing.  Of the newest
 * segment `end_offset` bytes count (0: all).  Synchronous.  < 0: -errno. */
MUST_USE int aof_settle(struct io *io, const char *dir, uint64_t end_offset);
