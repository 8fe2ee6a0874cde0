/*
 * raft_message.h — what the replicas of one group say to each other.
 *
 * A message is a plain struct; its bytes are another layer's business.  Every message names the
 * cluster, the group, both nodes and both incarnations, and a replica drops what is not meant for
 * exactly itself: a node whose disk was wiped never acts on its predecessor's mail.
 *
 * What the fields mean, by kind (a blank: not used):
 *
 *                      index             log_term        commit        hint
 *   PREVOTE, VOTE      last of the log   its term
 *   ..._RESPONSE
 *   APPEND             entry before      its term        leader's      the leader's last index
 *   APPEND_RESPONSE    acked/refused     hint's term                   may agree up to here
 *   HEARTBEAT          all have it                       known to fit
 *   HEARTBEAT_RESPONSE
 *   COMMIT                                               known to fit
 *   SNAPSHOT           snapshot's last   its term
 *   TIMEOUT_NOW
 *   READ
 *   READ_RESPONSE      read index
 *
 * term is the sender's, except that PREVOTE and a granting PREVOTE_RESPONSE carry the term the
 * candidate would have.  sent_ms is the leader's own clock, echoed unread: it dates the answer.
 *
 * Outgoing APPENDs describe their entries as a range: the driver adds the bytes of the entries
 * index + 1 .. index + entries_count.  Incoming ones carry `entries`.
 */
#pragma once

#include "cluster/quorum.h"

#include <stdbool.h>
#include <stdint.h>

enum raft_message_kind {
    RAFT_MESSAGE_PREVOTE = 1,
    RAFT_MESSAGE_PREVOTE_RESPONSE,
    RAFT_MESSAGE_VOTE,
    RAFT_MESSAGE_VOTE_RESPONSE,
    RAFT_MESSAGE_APPEND,
    RAFT_MESSAGE_APPEND_RESPONSE,
    RAFT_MESSAGE_HEARTBEAT,
    RAFT_MESSAGE_HEARTBEAT_RESPONSE,
    RAFT_MESSAGE_COMMIT,      /* the commit index moved and there is nothing else to say */
    RAFT_MESSAGE_SNAPSHOT,    /* an offer: the follower fetches the bytes by other means */
    RAFT_MESSAGE_TIMEOUT_NOW, /* campaign at once: leadership is being handed to you */
    RAFT_MESSAGE_READ,        /* a follower asks the leader for a read index */
    RAFT_MESSAGE_READ_RESPONSE,
    RAFT_MESSAGE_KINDS,
};

/* One log entry, as raft sees it. */
struct raft_entry {
    uint64_t index;
    uint64_t term;
    uint32_t size; /* of the encoded entry, for flow control */
    uint8_t kind;  /* RAFT_ENTRY_NOOP, RAFT_ENTRY_CONFIG or the state machine's */
    const void
        *bytes; /* the driver's handle on the encoded entry: passed through, never read.
                 * NULL in entries raft made itself (NOOP, CONFIG): the driver encodes them */
    const struct raft_config *config; /* RAFT_ENTRY_CONFIG: decoded; else NULL */
};

struct raft_message {
    enum raft_message_kind kind;
    uint32_t group;
    uint64_t cluster;
    uint64_t from, from_incarnation;
    uint64_t to, to_incarnation;
    uint64_t boot; /* of the sender: ascending with every start of its process */
    uint64_t term;
    uint64_t index;
    uint64_t log_term;
    uint64_t commit;
    uint64_t hint;
    uint64_t sent_ms;       /* HEARTBEAT and its answer */
    uint64_t read_seq;      /* HEARTBEAT and its answer: read round; READ and its answer: attempt */
    bool is_rejected;       /* the answers */
    bool is_transfer;       /* VOTE: the old leader asked for this election */
    bool is_suspect;        /* APPEND_RESPONSE, READ: do not count my acknowledgements */
    uint32_t entries_count; /* APPEND */
    const struct raft_entry *entries; /* incoming APPEND only; borrowed */
    const struct raft_config *config; /* SNAPSHOT; borrowed */
};
