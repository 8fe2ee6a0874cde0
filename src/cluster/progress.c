/*
 * progress.c — see progress.h.
 */
#include "cluster/progress.h"

#include "base/assert.h"

static void inflight_clear(struct raft_progress *progress)
{
    progress->inflight_first = 0;
    progress->inflight_count = 0;
}

static void inflight_free_upto(struct raft_progress *progress, uint64_t index)
{
    while (progress->inflight_count > 0 && progress->inflight[progress->inflight_first] <= index) {
        progress->inflight_first = (progress->inflight_first + 1) % RAFT_INFLIGHT_MAX;
        progress->inflight_count -= 1;
    }
}

void progress_init(struct raft_progress *progress, uint64_t next)
{
    ASSERT(next > 0);
    *progress = (struct raft_progress){ .state = RAFT_PROGRESS_PROBE, .next = next };
}

void progress_probe(struct raft_progress *progress)
{
    progress->state = RAFT_PROGRESS_PROBE;
    progress->is_probing = false;
    progress->next = progress->match + 1;
    inflight_clear(progress);
}

void progress_snapshot(struct raft_progress *progress)
{
    progress->state = RAFT_PROGRESS_SNAPSHOT;
    progress->is_probing = false;
    inflight_clear(progress);
}

void progress_sent(struct raft_progress *progress, uint64_t last)
{
    ASSERT(progress->state != RAFT_PROGRESS_SNAPSHOT);
    ASSERT(last >= progress->next);
    if (progress->state == RAFT_PROGRESS_PROBE) {
        progress->is_probing = true; /* next stays: we do not know whether it fits */
        return;
    }
    ASSERT(!progress_is_full(progress));
    uint32_t at = (progress->inflight_first + progress->inflight_count) % RAFT_INFLIGHT_MAX;
    progress->inflight[at] = last;
    progress->inflight_count += 1;
    progress->next = last + 1;
}

bool progress_is_full(const struct raft_progress *progress)
{
    return progress->inflight_count == RAFT_INFLIGHT_MAX;
}

bool progress_acked(struct raft_progress *progress, uint64_t index)
{
    if (index < progress->match) {
        return false; /* overtaken by a later one */
    }
    progress->match = index;
    if (progress->next <= index) {
        progress->next = index + 1;
    }
    inflight_free_upto(progress, index);
    progress->is_probing = false;
    return true;
}

bool progress_rejected(struct raft_progress *progress, uint64_t rejected, uint64_t hint)
{
    if (progress->state == RAFT_PROGRESS_SNAPSHOT) {
        return false;
    }
    if (progress->state == RAFT_PROGRESS_REPLICATE) {
        if (rejected <= progress->match) {
            return false;
        }
        progress_probe(progress);
        return true;
    }
    /* What it has acknowledged it cannot lack: if it does, it broke its word, and answering at once
     * would begin an endless exchange.  Heartbeats keep asking. */
    if (rejected != progress->next - 1 || rejected <= progress->match) {
        return false;
    }
    uint64_t next = (hint < rejected ? hint : rejected - 1) + 1;
    progress->next = next > progress->match ? next : progress->match + 1;
    progress->is_probing = false;
    return true;
}
