/*
 * snapshots.c — see snapshots.h.
 */
#include "snapshots.h"

#include "base/assert.h"
#include "io/io.h"
#include "log.h"

#include <errno.h>

enum {
    SNAPSHOT_STEP_ENTRIES = 128, /* encoded in one loop iteration: some tens of microseconds */
    SNAPSHOT_RETRY_MS = 10000, /* after a failed round (disk full) before the next automatic one */
};

static void round_finish(struct snapshots *snapshots);
static void group_begin_next(struct snapshots *snapshots);
static void group_write(struct snapshots *snapshots);
static void group_end(struct snapshots *snapshots);

void snapshots_init(struct snapshots *snapshots, struct shard *shard, struct log *log,
                    const char *dir, uint64_t identity, uint64_t log_bytes_max)
{
    *snapshots = (struct snapshots){
        .io = shard->io,
        .shard = shard,
        .log = log,
        .writer = dir == NULL ? NULL : snapshot_writer_new(shard->io, dir),
        .identity = identity,
        .log_bytes_max = log_bytes_max,
        .last_ok = true,
    };
}

void snapshots_deinit(struct snapshots *snapshots)
{
    if (snapshots->writer != NULL) {
        snapshot_writer_free(snapshots->writer);
    }
    if (snapshots->view != NULL) {
        kv_view_end(snapshots->view);
    }
}

int snapshots_start(struct snapshots *snapshots)
{
    if (snapshots->writer == NULL) {
        return -ENOTSUP;
    }
    if (snapshots->is_running) {
        return -EALREADY;
    }
    snapshots->is_running = true;
    snapshots->has_failed = false;
    snapshots->next_group = 0;
    snapshots->files = 0;
    snapshots->keys = 0;
    snapshots->bytes = 0;
    snapshots->rounds_begun++;
    snapshots->round_started_ns = io_clock_ns(snapshots->io);
    snapshots->round_started_ms = snapshots->shard->now_ms;
    snapshots->log_bytes_at_round = aof_stats(snapshots->shard->aof).log_bytes;
    snapshots->writes_at_round = snapshots->shard->entries_applied;
    log_event(snapshots->log, LOG_INFO, "snapshot_started",
              LOG_U64("log_bytes", snapshots->log_bytes_at_round), LOG_END);
    return 0;
}

uint64_t snapshots_round(const struct snapshots *snapshots)
{
    return snapshots->rounds_begun;
}

bool snapshots_round_done(const struct snapshots *snapshots, uint64_t round)
{
    return snapshots->rounds_done >= round;
}

bool snapshots_last_ok(const struct snapshots *snapshots)
{
    return snapshots->last_ok;
}

/* True when the log has grown enough for a round to start by itself. */
static bool is_due(const struct snapshots *snapshots)
{
    if (snapshots->log_bytes_max == 0 || snapshots->writer == NULL ||
        snapshots->shard->now_ms < snapshots->retry_at_ms) {
        return false;
    }
    uint64_t log_bytes = aof_stats(snapshots->shard->aof).log_bytes;
    uint64_t base = snapshots->log_bytes_at_round < log_bytes ? snapshots->log_bytes_at_round : 0;
    return log_bytes - base > snapshots->log_bytes_max;
}

void snapshots_step(struct snapshots *snapshots)
{
    if (!snapshots->is_running) {
        if (!is_due(snapshots)) {
            return;
        }
        int started = snapshots_start(snapshots);
        ASSERT(started == 0);
    }
    switch (snapshot_writer_state(snapshots->writer)) {
    case SNAPSHOT_IDLE:
        if (snapshots->view == NULL) {
            group_begin_next(snapshots);
        }
        if (snapshots->view != NULL) {
            group_write(snapshots);
        }
        break;
    case SNAPSHOT_READY:
        snapshot_writer_step(snapshots->writer, SNAPSHOT_STEP_ENTRIES);
        break;
    case SNAPSHOT_WAITING:
        break;
    case SNAPSHOT_DONE:
    case SNAPSHOT_FAILED:
        group_end(snapshots);
        break;
    }
}

bool snapshots_has_work(const struct snapshots *snapshots)
{
    if (!snapshots->is_running) {
        return false;
    }
    switch (snapshot_writer_state(snapshots->writer)) {
    case SNAPSHOT_IDLE: /* else it waits for its empty entry, or for the log to be synced */
        return snapshots->view == NULL && !shard_is_busy(snapshots->shard);
    case SNAPSHOT_WAITING:
        return false;
    case SNAPSHOT_READY:
    case SNAPSHOT_DONE:
    case SNAPSHOT_FAILED:
        return true;
    }
    UNREACHABLE();
}

/* ── one group ───────────────────────────────────────────────────────────────────────────────── */

/* True when the group's newest snapshot does not hold its newest entry, or when an older
 * generation pins the log: then an empty entry makes a new index, and so a new file. */
static bool group_needs_file(struct snapshots *snapshots, uint32_t number)
{
    struct shard *shard = snapshots->shard;
    struct group *group = &shard->groups[number];
    if (group->is_damaged || group->last_index == 0) {
        return false;
    }
    return group->applied != group->snapshot_index || group->needed_sequence != UINT64_MAX;
}

/* Opens the view of the next group, or ends the round. */
static void group_begin_next(struct snapshots *snapshots)
{
    struct shard *shard = snapshots->shard;
    while (snapshots->next_group < shard->keyspace.count &&
           !group_needs_file(snapshots, snapshots->next_group)) {
        snapshots->next_group++;
    }
    if (snapshots->next_group == shard->keyspace.count) {
        round_finish(snapshots);
        return;
    }
    struct group *group = &shard->groups[snapshots->next_group];
    if (group->applied == group->snapshot_index) {
        if (group->last_index == group->applied) {
            shard_propose_entry(shard, snapshots->next_group, ENTRY_NOOP, (struct slice){ 0 });
        }
        return; /* begun when the empty entry has been applied */
    }
    snapshots->group = snapshots->next_group++;
    struct snapshot_meta meta = {
        .identity = snapshots->identity,
        .group = snapshots->group,
        .index = group->applied,
        .term = group->term,
        .time_ms = group->last_time_ms,
    };
    snapshots->meta = meta;
    snapshots->view = kv_view_begin(shard->keyspace.partitions[snapshots->group]);
    snapshots->view_sequence = shard->applied_sequence;
}

/* The file may not get ahead of the log: after a power loss this partition would show writes that
 * others, and earlier ones, have lost.  So what the view shows is synced first. */
static void group_write(struct snapshots *snapshots)
{
    if (aof_stats(snapshots->shard->aof).synced_sequence <= snapshots->view_sequence) {
        aof_sync_soon(snapshots->shard->aof);
        return;
    }
    snapshot_writer_begin(snapshots->writer, &snapshots->meta, snapshots->view);
}

static void group_end(struct snapshots *snapshots)
{
    struct group *group = &snapshots->shard->groups[snapshots->group];
    kv_view_end(snapshots->view);
    snapshots->view = NULL;
    if (snapshot_writer_state(snapshots->writer) == SNAPSHOT_FAILED) {
        int error = snapshot_writer_error(snapshots->writer);
        (void)snapshot_writer_take(snapshots->writer);
        log_event(snapshots->log, LOG_ERROR, "snapshot_failed", LOG_U64("group", snapshots->group),
                  LOG_STR("error", strerror(-error)), LOG_END);
        snapshots->has_failed = true;
        round_finish(snapshots);
        return;
    }
    struct snapshot_meta meta = snapshot_writer_take(snapshots->writer);
    snapshots->files++;
    snapshots->keys += meta.keys;
    snapshots->bytes += meta.bytes;
    /* The generation before is now the older of the two: the log is needed from behind it. */
    if (group->snapshot_index != 0) {
        group->needed_sequence = group->snapshot_sequence + 1;
    }
    group->snapshot_index_before = group->snapshot_index;
    group->snapshot_index = meta.index;
    group->snapshot_sequence = snapshots->view_sequence;
}

/* ── the round ───────────────────────────────────────────────────────────────────────────────── */

static void release_log(struct snapshots *snapshots)
{
    struct shard *shard = snapshots->shard;
    if (shard->damaged_count > 0) {
        return; /* what is left of the log shows the damage to the next start */
    }
    uint64_t needed = shard->applied_sequence + 1;
    for (uint32_t i = 0; i < shard->keyspace.count; i++) {
        if (shard->groups[i].needed_sequence < needed) {
            needed = shard->groups[i].needed_sequence;
        }
    }
    aof_release(shard->aof, needed);
}

static void round_finish(struct snapshots *snapshots)
{
    snapshots->is_running = false;
    snapshots->rounds_done = snapshots->rounds_begun;
    snapshots->last_ok = !snapshots->has_failed;
    snapshots->last_duration_ms =
        (io_clock_ns(snapshots->io) - snapshots->round_started_ns) / 1000000;
    if (snapshots->has_failed) {
        snapshots->retry_at_ms = snapshots->shard->now_ms + SNAPSHOT_RETRY_MS;
        return;
    }
    snapshots->last_done_ms = snapshots->shard->now_ms;
    release_log(snapshots);
    snapshots->log_bytes_at_round = aof_stats(snapshots->shard->aof).log_bytes;
    log_event(snapshots->log, LOG_INFO, "snapshot_done", LOG_U64("files", snapshots->files),
              LOG_U64("keys", snapshots->keys), LOG_U64("bytes", snapshots->bytes),
              LOG_U64("took_ms", snapshots->last_duration_ms), LOG_END);
}
