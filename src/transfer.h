/*
 * transfer.h — snapshots between nodes: a replica that is too far behind gets the whole group.
 *
 * The follower's raft wants a snapshot from the leader; transfers_fetch dials a BULK link to it and
 * asks for the group.  The leader opens a view at its applied index and streams it in blocks
 * (storage/snapshot_block.h) with the group's configuration and sessions.  The follower loads them
 * into a keyspace beside the one it serves, checks counts and digest, writes its own snapshot file
 * of it (synced), and only then tells raft (consensus_snapshot_done).  If raft adopts it, keyspace,
 * sessions and positions change hands at once; else it is thrown away.
 *
 * Bounded: TRANSFERS_MAX at a time in each direction, and so many bytes a second (migrate-rate); a
 * sender stops filling when its link's queue is long; a transfer that makes no progress for
 * TRANSFER_STALL_MS is given up (raft asks again).
 *
 * Read next: consensus.h, storage/snapshot.h.
 */
#pragma once

#include "network/peers.h"
#include "replica.h"

struct consensus;
struct io_event;
struct log;
struct members;
struct shard;
struct transfers;

enum { /* kinds 20-29: BULK channel */
       PEER_FRAME_SNAPSHOT_ASK = 20,
       PEER_FRAME_SNAPSHOT_BEGIN,
       PEER_FRAME_SNAPSHOT_BLOCK,
       PEER_FRAME_SNAPSHOT_END,
       PEER_FRAME_SNAPSHOT_REFUSED,
};

struct transfer_stats {
    uint64_t fetched, sent, failed, bytes_in, bytes_out;
    uint32_t fetching, sending;
};

/* dir: where snapshot files go; NULL without persistence (then nothing is written).  identity: of
 * the data directory. */
struct transfers *transfers_new(struct shard *shard, struct peers *peers,
                                struct consensus *consensus, struct members *members,
                                struct log *log, const char *dir, uint64_t identity);
void transfers_free(struct transfers *transfers);
/* raft wants this snapshot (or a later one) from the member.  Ends with consensus_snapshot_done,
 * never before this returns. */
void transfers_fetch(struct transfers *transfers, struct replica *replica, uint64_t from,
                     const struct raft_snapshot *wanted);
/* Events of the BULK links, and of the files it writes. */
void transfers_on_peer_event(struct transfers *transfers, const struct peer_event *event);
bool transfers_owns(const struct transfers *transfers, const struct io_event *event);
void transfers_on_event(struct transfers *transfers, const struct io_event *event);
/* A bounded piece of work, once per iteration. */
void transfers_step(struct transfers *transfers);
bool transfers_has_work(const struct transfers *transfers);
uint64_t transfers_deadline_ns(const struct transfers *transfers);
struct transfer_stats transfers_stats(const struct transfers *transfers);
/* What this node sends, all transfers together; 0: as fast as it goes. */
void transfers_set_rate(struct transfers *transfers, uint64_t bytes_per_second);
/* Of a group's data, to a node that is getting it now. */
uint64_t transfers_sent_bytes(const struct transfers *transfers, uint32_t group, uint64_t node);
