/*
 * group_aux.h — what belongs to a partition beside its keys, as bytes.
 *
 * Goes into snapshot files (storage/snapshot.h, `aux`) and with a snapshot that is sent to another
 * node: the group's Raft configuration and its sessions, both as of the snapshot's index.
 *
 *   u8 format (1)   u16 size and the configuration (cluster/confchange.h)   sessions
 *
 * A lone node's groups have no configuration yet: its size is 0, members_count is 0.
 */
#pragma once

#include "base/buffer.h"
#include "base/compiler.h"
#include "cluster/quorum.h"
#include "storage/sessions.h"

#include <stdbool.h>

/* At most SNAPSHOT_AUX_BYTES_MAX bytes. */
void group_aux_encode(const struct raft_config *config, const struct sessions *sessions,
                      struct buffer *out);
/* Untrusted bytes; replaces the contents of both.  False, and both are empty, when malformed.  No
 * bytes at all are what earlier versions wrote: both are empty. */
MUST_USE bool group_aux_decode(struct slice bytes, struct raft_config *out_config,
                               struct sessions *sessions);
