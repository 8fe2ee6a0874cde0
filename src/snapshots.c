/*
 * snapshots.c — see snapshots.h.
 */
#include "snapshots.h"

#include "base/assert.h"
#include "consensus.h"
#include "group_aux.h"
#include "io/io.h"
#include "log.h"
#include "members.h"
#include "recovery.h"

#include <errno.h>

enum {
    SNAPSHOT_STEP_ENTRIES = 128, /* encoded in one loop iteration: some tens of microseconds */
    SNAPSHOT_RETRY_MS = 10000, /* after a failed round (disk full) before the next automatic one */
};

static void round_finish(struct snapshots *snapshots);
static void release_step(struct snapshots *snapshots);
static void group_begin_next(struct snapshots *snapshots);
static void group_write(struct snapshots *snapshots);
static void view_begin(struct snapshots *snapshots, const struct group *group);
static uint64_t first_unapplied(const struct shard *shard, const struct replica *replica);
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
    buffer_free(&snapshots->aux);
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
    uint64_t base = snapshots->log_bytes_at_round <= log_bytes ? snapshots->log_bytes_at_round : 0;
    return log_bytes - base > snapshots->log_bytes_max;
}

void snapshots_step(struct snapshots *snapshots)
{
    if (snapshots->release != RELEASE_NONE) {
        release_step(snapshots);
    }
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
    if (shard->consensus != NULL) {
        return group->applied != group->snapshot_index &&
               !consensus_replica(shard->consensus, number)->is_purging;
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
    view_begin(snapshots, shard->groups + snapshots->group);
}

/* Opens the view, and notes what it shows.  Of a replicated group `term` and `last_time_ms` belong
 * to its newest entry, which may not be applied. */
static void view_begin(struct snapshots *snapshots, const struct group *group)
{
    const struct shard *shard = snapshots->shard;
    struct raft_config config = { .members_count = 0 };
    snapshots->meta = (struct snapshot_meta){
        .identity = snapshots->identity,
        .group = snapshots->group,
        .index = group->applied,
        .term = group->term,
        .time_ms = group->last_time_ms,
        .sequence = shard->proposed_sequence,
    };
    snapshots->view_sequence = snapshots->view_covers = shard->applied_sequence;
    if (shard->consensus != NULL) {
        const struct replica *replica = consensus_replica(shard->consensus, snapshots->group);
        ASSERT(replica->applied == group->applied);
        config = replica->applied_config;
        snapshots->meta.term = replica->applied_term;
        snapshots->meta.time_ms = replica->last_time_ms;
        snapshots->view_sequence = shard->proposed_sequence;
        snapshots->view_covers = first_unapplied(shard, replica) - 1;
    }
    snapshots->aux.size = 0;
    group_aux_encode(&config, &shard->sessions[snapshots->group], &snapshots->aux);
    snapshots->view = kv_view_begin(shard->keyspace.partitions[snapshots->group]);
}

/* The first record that holds, or will hold, what a replica has not applied yet. */
static uint64_t first_unapplied(const struct shard *shard, const struct replica *replica)
{
    uint64_t next = replica->applied + 1;
    if (next >= replica->queued_first) {
        return shard->proposed_sequence + 1;
    }
    uint64_t sequence = shard_sequence_of(shard, replica->group, next);
    if (sequence != 0) {
        return sequence;
    }
    /* An earlier process wrote it. */
    return replica->group == GROUP_META ? 0 : shard->groups[replica->group].snapshot_sequence + 1;
}

/* The file may not get ahead of the log: after a power loss this partition would show writes that
 * others, and earlier ones, have lost.  So what the view shows is synced first. */
static void group_write(struct snapshots *snapshots)
{
    if (aof_stats(snapshots->shard->aof).synced_sequence <= snapshots->view_sequence) {
        aof_sync_soon(snapshots->shard->aof);
        return;
    }
    snapshots->meta.aux = buffer_slice(&snapshots->aux);
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
    log_event(snapshots->log, LOG_DEBUG, "snapshot_file_done", LOG_U64("group", snapshots->group),
              LOG_U64("index", meta.index));
    if (meta.index < group->snapshot_index) {
        return; /* another node's snapshot has taken the group further meanwhile */
    }
    /* The generation before is now the older of the two: the log is needed from behind it. */
    if (group->snapshot_index != 0) {
        group->needed_sequence = group->snapshot_sequence + 1;
    }
    group->snapshot_index_before = group->snapshot_index;
    group->snapshot_index = meta.index;
    group->snapshot_sequence = snapshots->view_covers;
}

/* ── the log in front of the snapshots ───────────────────────────────────────────────────────── */

/* The least of `sequence` and what the partitions' snapshots need. */
static uint64_t needed_by_groups(const struct shard *shard, uint64_t sequence)
{
    for (uint32_t i = 0; i < shard->keyspace.count; i++) {
        if (shard->groups[i].needed_sequence < sequence) {
            sequence = shard->groups[i].needed_sequence;
        }
    }
    return sequence;
}

static void release_log(struct snapshots *snapshots)
{
    struct shard *shard = snapshots->shard;
    if (shard->damaged_count > 0) {
        return; /* what is left of the log shows the damage to the next start */
    }
    if (shard->consensus != NULL) {
        snapshots->release = RELEASE_MEMBERS;
        release_step(snapshots);
        return;
    }
    aof_release(shard->aof, needed_by_groups(shard, shard->applied_sequence + 1));
}

/* A group whose newest snapshot holds all that is applied does without the one before: what it
 * might still lack its peers have. */
static void settle_needed(struct shard *shard)
{
    for (uint32_t i = 0; i < shard->keyspace.count; i++) {
        struct group *group = &shard->groups[i];
        const struct replica *replica = consensus_replica(shard->consensus, i);
        ASSERT(group->applied == replica->applied);
        if (group->applied == group->snapshot_index) {
            uint64_t first = first_unapplied(shard, replica);
            group->needed_sequence = first <= shard->proposed_sequence ? first : UINT64_MAX;
        }
    }
}

static bool members_are_written(const struct snapshots *snapshots)
{
    return snapshots->members_index == snapshots->shard->consensus->members->index;
}

void snapshots_members_written(struct snapshots *snapshots, uint64_t index)
{
    snapshots->members_index = index;
}

static void release_begin(struct snapshots *snapshots)
{
    struct shard *shard = snapshots->shard;
    struct consensus *consensus = shard->consensus;
    settle_needed(shard);
    uint64_t needed = first_unapplied(shard, consensus_replica(consensus, GROUP_META));
    needed = needed_by_groups(shard, needed);
    snapshots->release_sequence = needed;
    snapshots->release_synced = consensus_rewrite_hard_states(consensus, needed);
    snapshots->release = RELEASE_SYNC;
}

/* A vacated replica's files go before the log that says so. */
static bool has_purging(const struct consensus *consensus)
{
    for (uint32_t i = 0; i < consensus->count; i++) {
        if (consensus->replicas[i]->is_purging) {
            return true;
        }
    }
    return false;
}

static void release_step(struct snapshots *snapshots)
{
    struct aof *aof = snapshots->shard->aof;
    if (snapshots->release == RELEASE_MEMBERS) {
        if (!members_are_written(snapshots) || !recovery_is_settled(snapshots->shard->consensus) ||
            has_purging(snapshots->shard->consensus)) {
            return;
        }
        release_begin(snapshots);
    }
    if (aof_stats(aof).synced_sequence <= snapshots->release_synced) {
        aof_sync_soon(aof);
        return;
    }
    snapshots->release = RELEASE_NONE;
    log_event(snapshots->log, LOG_DEBUG, "log_released",
              LOG_U64("before", snapshots->release_sequence));
    aof_release(aof, snapshots->release_sequence);
    snapshots->log_bytes_at_round = aof_stats(aof).log_bytes;
}

/* ── the round ───────────────────────────────────────────────────────────────────────────────── */

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
