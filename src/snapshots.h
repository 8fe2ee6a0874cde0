/*
 * snapshots.h — when partitions are written out, and which part of the log that frees.
 *
 * A round writes one snapshot file per partition that changed since its last one, one after
 * another, while writes go on (storage/snapshot.h).  A round starts by command, or by itself when
 * the log has grown by `snapshot-log-size` since the last one.  After each round the log is
 * released up to where the older of the two generations of every partition still needs it.
 *
 * A member's log holds more than entries, so it is released in steps:
 *
 *   members      the meta file must hold the list as of the last entry applied (it is the meta
 *                group's snapshot): the node writes it at every change and says so
 *   hard states  those older than what is released are written again ...
 *   sync         ... and are durable,
 *   release      before the log in front of them goes
 *
 * As long as a replica is suspect (recovery_member.h) nothing is released: the log shows the next
 * start what this one has seen.  A vacated one (vacancy.h) waits only until its files are gone.
 */
#pragma once

#include "shard.h"
#include "storage/snapshot.h"

struct log;

enum snapshots_release { RELEASE_NONE, RELEASE_MEMBERS, RELEASE_SYNC };

struct snapshots {
    struct io *io;
    struct shard *shard;
    struct log *log;
    struct snapshot_writer *writer; /* owned; NULL without persistence */
    uint64_t identity;
    uint64_t log_bytes_max; /* a round starts by itself beyond this; 0: never */
    bool is_running;
    uint32_t next_group;       /* of the running round */
    uint32_t group;            /* being written */
    struct kv_view *view;      /* of `group`; NULL between groups */
    struct snapshot_meta meta; /* of the view */
    struct buffer aux;         /* of the view: configuration and sessions */
    uint64_t view_sequence;    /* what the view shows was logged up to here */
    uint64_t view_covers;      /* the group's records up to here are in the view, or void */
    uint64_t rounds_begun, rounds_done;
    uint64_t round_started_ns, round_started_ms;
    /* A member's release of the log that is under way. */
    enum snapshots_release release;
    uint64_t release_sequence;   /* the log before it goes ... */
    uint64_t release_synced;     /* ... when everything up to here is synced */
    uint64_t members_index;      /* the meta file holds the members as of this entry */
    uint64_t log_bytes_at_round; /* of the log, when the last round began */
    uint64_t retry_at_ms;        /* after a failure: not before this */
    /* results */
    bool has_failed; /* in this round */
    bool last_ok;
    uint64_t last_done_ms; /* wall clock of the last good round; 0: none */
    uint64_t last_duration_ms;
    uint64_t files, keys, bytes; /* of the running or last round */
    uint64_t writes_at_round;    /* shard writes when the last good round began */
};

void snapshots_init(struct snapshots *snapshots, struct shard *shard, struct log *log,
                    const char *dir, uint64_t identity, uint64_t log_bytes_max);
void snapshots_deinit(struct snapshots *snapshots);
/* Begins a round: 0, -EALREADY while one runs, -ENOTSUP without persistence. */
int snapshots_start(struct snapshots *snapshots);
/* Does a bounded piece of work. */
void snapshots_step(struct snapshots *snapshots);
/* True when the next step has something to do at once, without waiting for disk or log. */
bool snapshots_has_work(const struct snapshots *snapshots);
/* The number of the round that has begun last; done when it and all before it have ended. */
uint64_t snapshots_round(const struct snapshots *snapshots);
bool snapshots_round_done(const struct snapshots *snapshots, uint64_t round);
bool snapshots_last_ok(const struct snapshots *snapshots);
/* Member: the meta file holds the list of members as of this entry of the meta group. */
void snapshots_members_written(struct snapshots *snapshots, uint64_t index);
