/*
 * snapshot.c — when the log does not reach back far enough.
 *
 * Raft handles what a snapshot *is* (index, term, configuration); the driver moves its bytes.  The
 * leader offers its newest snapshot with every answered heartbeat until the follower acknowledges
 * it; the follower asks its driver for it once (snapshot_wanted) and ignores other offers until
 * that ended (pitfall 24).  The driver receives, verifies and stores it *without touching the
 * state machine*, then feeds SNAPSHOT_DONE.  Only now raft decides (pitfall 23): if the log has
 * meanwhile come further, the snapshot is ignored; else log_reset tells the driver to adopt it.
 *
 * Read next: read_index.c.
 */
#include "cluster/raft_internal.h"

#include "base/assert.h"

/* Entries up to `index` may go; `snapshot` is durable and is what peers get from now on. */
void raft_compact(struct raft *raft, uint64_t index, const struct raft_snapshot *snapshot)
{
    ASSERT(index <= snapshot->index);
    ASSERT(snapshot->index <= raft->commit_index);
    ASSERT(raft_config_is_valid(&snapshot->config));
    if (snapshot->index >= raft->snapshot.index) {
        raft->snapshot = *snapshot;
    }
    if (index > raft->log.base_index) {
        raft_log_compact(&raft->log, index);
    }
}

void raft_offer_snapshot(struct raft *raft, uint32_t i)
{
    ASSERT(raft->snapshot.index >= raft->log.base_index);
    progress_snapshot(&raft->progress[i]);
    struct raft_message *message = raft_send_peer(raft, RAFT_MESSAGE_SNAPSHOT, i);
    if (message != NULL) {
        message->index = raft->snapshot.index;
        message->log_term = raft->snapshot.term;
        message->config = &raft->snapshot.config;
    }
}

/* Our log is as good as the snapshot: what it covers is committed, and known to fit. */
static void snapshot_is_known(struct raft *raft, uint64_t index)
{
    raft_commit_to(raft, index);
    if (raft->verified_index < raft->commit_index) {
        raft->verified_index = raft->commit_index;
    }
    raft->owes_ack = true;
}

void raft_on_snapshot(struct raft *raft, const struct raft_message *message)
{
    if (message->config == NULL || !raft_config_is_valid(message->config) ||
        message->log_term > message->term) {
        return;
    }
    bool is_old = message->index <= raft->commit_index && !MUTANT(MUT_SNAPSHOT_OLD);
    if (is_old || raft_log_matches(&raft->log, message->index, message->log_term)) {
        snapshot_is_known(raft, is_old ? raft->commit_index : message->index);
        return;
    }
    if (raft->installing_index != 0) {
        return;
    }
    raft->installing_index = message->index;
    raft->out->snapshot_wanted = true;
    raft->out->snapshot_from = message->from;
    raft->out->snapshot = (struct raft_snapshot){
        .index = message->index,
        .term = message->log_term,
        .config = *message->config,
    };
}

void raft_snapshot_done(struct raft *raft, const struct raft_snapshot *snapshot, bool has_failed)
{
    ASSERT(raft->role != RAFT_LEADER);
    raft->installing_index = 0;
    bool is_old = snapshot->index <= raft->commit_index && !MUTANT(MUT_SNAPSHOT_OLD);
    if (has_failed || is_old) {
        return;
    }
    if (raft_log_matches(&raft->log, snapshot->index, snapshot->term)) {
        snapshot_is_known(raft, snapshot->index);
        return;
    }
    ASSERT(raft_config_is_valid(&snapshot->config));
    raft_log_reset(&raft->log, snapshot->index, snapshot->term);
    raft->truncated_id = raft->persist_id + 1;
    raft->snapshot = *snapshot;
    if (!MUTANT(MUT_SNAPSHOT_WITHOUT_CONFIG)) {
        raft_config_install(raft, &snapshot->config, snapshot->index);
    }
    raft->commit_index = snapshot->index;
    raft->verified_index = snapshot->index;
    raft->owes_ack = true;
    raft->out->snapshot_adopted = true;
    raft->must_reset_log = true;
}
