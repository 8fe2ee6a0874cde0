/*
 * limits.h — every bound of the program, with its reason.  Memory per node follows from this file.
 */
#pragma once

enum {
    /* Protocol: what one client may make us hold. */
    REQUEST_BYTES_MAX =
        8 << 20, /* one request; also the largest log entry (a Raft message must stay small) */
    REQUEST_ARGS_MAX = 1 << 20,          /* Redis's own bound on a multibulk count */
    REQUEST_NOAUTH_BYTES_MAX = 16 << 10, /* before AUTH: nobody's memory for nobody's request */
    REQUEST_NOAUTH_ARGS_MAX = 10,
    INLINE_BYTES_MAX = 64 << 10, /* an inline command line (Redis: 64 KiB) */
    JSON_DEPTH_MAX = 64,         /* nesting of a JSON request */
    REPLY_DEPTH_MAX = 16,        /* nesting of any reply we make */
    KEY_BYTES_MAX = 64 << 10,    /* a key; well under a log entry */
    CONN_SLOTS_MAX = 4096,       /* replies owed to one connection before we stop reading it */
    CONN_OUTPUT_PAUSE_BYTES = 1 << 20, /* unsent output at which we stop reading a connection */
    CONN_RECV_BYTES = 64 << 10,        /* one receive; the buffer is shared by all connections */
    REPLY_VALUES_BYTES_MAX =
        256 << 20,               /* values in one reply (MGET k k k ...): the output limit's size */
    LCS_CELLS_MAX = 16 << 20,    /* LCS's table: 64 MiB and tens of milliseconds */
    CLIENTS_MAX_DEFAULT = 10000, /* maxclients, as Redis's default */
    ADMIN_ARGS_MAX =
        4096, /* names asked for at once (COMMAND DOCS a b ...): each costs kilobytes of reply */
    CLIENT_NAME_BYTES_MAX =
        1024, /* a client's name and its library's: CLIENT LIST prints them all */

    /* Keyspace. */
    SLOTS_COUNT = 16384,
    PARTITIONS_DEFAULT = 256,
    PARTITIONS_MIN = 16,
    PARTITIONS_MAX = 4096,

    /* Log. */
    AOF_SEGMENT_BYTES = 64 << 20, /* one log file; the simulator and tests use smaller ones */
    AOF_PENDING_BYTES_MAX =
        32 << 20, /* appended but not yet written: over this we stop reading clients */
    ENTRY_BYTES_MAX =
        REQUEST_BYTES_MAX + 2 * KEY_BYTES_MAX, /* a value under the longest key, and its framing */

    /* Snapshot. */
    SNAPSHOT_BLOCK_BYTES = 128 << 10,
    SNAPSHOT_GENERATIONS = 2,
    SNAPSHOT_AUX_BYTES_MAX = 4 << 20, /* beside the keys: a configuration and SESSIONS_BYTES_MAX */

    /* Sessions: exactly-once results of one partition (storage/sessions.h). */
    SESSIONS_MAX = 1024,            /* nodes, and clients that number their writes */
    SESSION_RESULTS_MAX = 1024,     /* writes of one sender on their way to one partition */
    SESSION_REPLY_BYTES_MAX = 1024, /* few answers to writes are larger */
    SESSION_BYTES_MAX = 32 << 10,   /* answers of one sender */
    SESSIONS_BYTES_MAX = 3 << 20,   /* all of a partition, encoded: they fit into a snapshot */

    /* Raft: one replica of one group (src/cluster). */
    RAFT_VOTERS_MAX = 7,             /* more voters make writes slower, not safer */
    RAFT_PEERS_MAX = 16,             /* both halves of a joint configuration, and learners */
    RAFT_INFLIGHT_MAX = 16,          /* APPEND messages to one peer without an answer */
    RAFT_APPEND_ENTRIES_MAX = 256,   /* entries in one APPEND: a decoder's scratch array */
    RAFT_APPENDS_PER_STEP = 2,       /* APPENDs to one peer in one step: the outbox is bounded */
    RAFT_OUTBOX_MAX = 96,            /* messages in one step's output (one outbox per driver) */
    RAFT_READ_ROUNDS_MAX = 8,        /* ReadIndex rounds on their way; further reads wait */
    RAFT_LOG_RESERVE = 4,            /* log slots kept for what raft itself appends */
    RAFT_LOG_CAPACITY_MAX = 1 << 24, /* slots of 16 bytes: a log in memory is never longer */

    /* Gossip (src/cluster/membership.h). */
    MEMBERSHIP_MEMBERS_MAX = RAFT_PEERS_MAX, /* whoever belongs to the cluster */
    MEMBERSHIP_ACCUSERS_MAX = 4, /* who suspects; after 3 more than one nothing gets faster */
    MEMBERSHIP_RELAYS_MAX = 32,  /* pings for others at a time; further ones are not made */
    MEMBERSHIP_TAG_BYTES = 16,   /* of the code that authenticates a packet */
    MEMBERSHIP_PACKET_BYTES_MAX = 1184, /* with the tag 1200: fits every path's packets */
    MEMBERSHIP_OUTBOX_MAX = 48,         /* packets in one step's output */

    /* Placement. */
    RING_POINTS_PER_WEIGHT =
        128,              /* fewer: shares of nodes differ more before they are evened out */
    RING_WEIGHT_MAX = 16, /* a node 16 times another's size; bounds the ring's memory */
    RING_POINTS_MAX = RAFT_PEERS_MAX * RING_WEIGHT_MAX * RING_POINTS_PER_WEIGHT,
    PLACEMENT_SLACK_PERCENT = 5,   /* above its share of replicas: less would move more data */
    PLACEMENT_MOVED_PERCENT = 110, /* of a newcomer's share: less would move more when one leaves */

    /* Migration: what one leader has on its way at a time. */
    MIGRATION_NODE_BYTES = 32 << 20, /* to one node: it receives TRANSFERS_MAX at a time, more would
                                        only wait there and be lost with it */
    MIGRATION_LEADER_BYTES = 128 << 20, /* in all: learners hold back what the log may forget */
    MIGRATION_GROUP_BYTES = 128 << 10,  /* of any group, so that empty ones count as well */

    /* Links between nodes. */
    PEER_HELLO_BYTES_MAX = 4096, /* every text escaped, and room for members of later versions */
    PEER_FRAME_BYTES_MAX =
        ENTRY_BYTES_MAX + (1 << 20), /* a frame's body: the largest entry with its neighbours */
    PEER_JOIN_BYTES_MAX = 64 << 10,  /* a frame's body from a stranger: it asks, it has no data */
    PEER_MEMBERS_MAX = 64,           /* nodes of a cluster */
    PEER_REMOVED_MAX = 16,           /* nodes that left, and are told so when they come back */
    PEER_LINKS_MAX = 512,            /* two in each direction to every member, and as many again */
    PEER_LINKS_INBOUND_MAX = 256,    /* of them accepted, so that dialing always finds room */
    PEER_DIALED_MAX = 128,           /* outgoing links at which only members are dialed any more */
    PEER_STRANGERS_MAX = 32, /* accepted, not yet let in: the oldest makes way for the newest */
    PEER_JOINS_MAX = 8,      /* accepted PEER_JOIN links: nodes join one by one */
    PEER_RAFT_QUEUE_BYTES_MAX = 8 << 20, /* unsent bytes of a link at which it takes no further */
    PEER_CLIENT_QUEUE_BYTES_MAX = 8 << 20,
    PEER_BULK_QUEUE_BYTES_MAX = 2 << 20, /* enough to keep the wire busy; the rest waits on disk */
    PEER_JOIN_QUEUE_BYTES_MAX = 1 << 20,

    /* Requests whose leader is another node. */
    FORWARD_BYTES_MAX = 64 << 20, /* kept at the same time; then no client is read any more */
    FORWARD_ANSWERS_BYTES_MAX =
        REPLY_VALUES_BYTES_MAX + (64 << 20), /* for one node that does not take them: the largest
                                                reply must pass; then its link is closed */

    /* Snapshots between nodes. */
    TRANSFERS_MAX = 4,         /* at a time, in each direction */
    TRANSFER_STALL_MS = 10000, /* without any progress: given up, raft asks again */

    /* Loop. */
    PIPELINE_BATCH = 32,           /* requests staged together for prefetching */
    RECLAIM_BATCH = 128,           /* entries of a flushed partition freed in one iteration */
    PIPELINE_HELD_MAX = 4096,      /* requests kept while paused; then nobody is read any more */
    TEXT_GLOB_STEPS_MAX = 1 << 16, /* a glob match gives up after this many steps */
};

_Static_assert(ENTRY_BYTES_MAX < AOF_SEGMENT_BYTES, "an entry fits into one segment");
_Static_assert(AOF_PENDING_BYTES_MAX > 2 * ENTRY_BYTES_MAX, "one entry never blocks the log");
_Static_assert(PEER_LINKS_MAX - PEER_LINKS_INBOUND_MAX >= PEER_DIALED_MAX + 2 * PEER_MEMBERS_MAX,
               "all members can be dialed");
_Static_assert(PEER_LINKS_INBOUND_MAX > 2 * PEER_MEMBERS_MAX + PEER_STRANGERS_MAX + PEER_JOINS_MAX,
               "all members can dial us, whatever strangers do");
_Static_assert(KEY_BYTES_MAX < REQUEST_BYTES_MAX, "a key fits into a request");
_Static_assert(SESSIONS_BYTES_MAX <= SNAPSHOT_AUX_BYTES_MAX / 4 * 3,
               "sessions and a configuration fit beside a snapshot's keys");
_Static_assert(MEMBERSHIP_OUTBOX_MAX >= 2 * MEMBERSHIP_MEMBERS_MAX + 8,
               "a farewell to everybody both ways, and a probe");
_Static_assert(RAFT_PEERS_MAX >= 2 * RAFT_VOTERS_MAX, "a joint configuration fits");
_Static_assert(RAFT_OUTBOX_MAX >= RAFT_PEERS_MAX * (RAFT_APPENDS_PER_STEP + 4),
               "one step: appends, two heartbeats, a read answer and a vote for every peer");
