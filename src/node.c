/*
 * node.c — see node.h.  Order: the loop, housekeeping, stop.  How a node begins: node_start.c.
 */
#include "node.h"

#include "acks.h"
#include "base/assert.h"
#include "base/mem.h"
#include "consensus.h"
#include "coordinator.h"
#include "forward.h"
#include "gossip.h"
#include "hints.h"
#include "io/io.h"
#include "join.h"
#include "log.h"
#include "moves.h"
#include "network/peers.h"
#include "recovery.h"
#include "transfer.h"
#include "vacancy.h"

#include <errno.h>
#include <stdio.h>

enum {
    NS_PER_MS = 1000000,
    NS_PER_S = 1000000000,
    STOP_WAIT_MS = 10000,     /* a clean stop waits this long for clients to take their answers */
    LINGER_MAX = 8,           /* iterations that the log's write waits for more */
    LINGER_BYTES = 256 << 10, /* so much is worth a write at once */
    EVENTS_MAX = 1024,        /* taken in one iteration, so that the disk is served in between */
};

static uint32_t handle_events(struct node *node);
static bool must_linger(struct node *node, uint32_t events);
static uint64_t next_deadline_ns(const struct node *node);
static void housekeeping(struct node *node, uint64_t now_ns);
static void reclaim(struct node *node);
static bool stop_is_complete(struct node *node);

/* ── the loop ────────────────────────────────────────────────────────────────────────────────── */

/* A failed sync may have lost what was written before it, as a power loss does, though the machine
 * has not been away: the meta file says so if it still can. */
static void forget_boot(struct node *node)
{
    if (node->data_dir == NULL || !aof_sync_has_failed(node->shard.aof)) {
        return;
    }
    memset(node->meta.machine_boot, 0, sizeof(node->meta.machine_boot));
    int written = data_dir_write(node->data_dir, &node->meta);
    if (written < 0) {
        log_event(node->log, LOG_ERROR, "meta_write_failed", LOG_ERRNO("error", written));
    }
}

int node_run_once(struct node *node)
{
    struct shard *shard = &node->shard;
    if (UNLIKELY(node->is_joining)) {
        return join_run_once(node);
    }
    shard_tick(shard);
    uint32_t events = handle_events(node);
    shard_apply_durable(shard);
    member_step(node);
    pipeline_resume(&node->pipeline);
    struct conn *conn = NULL;
    while ((conn = server_next_resumable(node->server)) != NULL) {
        pipeline_read(&node->pipeline, conn);
    }
    uint64_t now_ns = io_clock_ns(node->io);
    if (now_ns >= node->next_tick_ns || node->has_more_due) {
        housekeeping(node, now_ns);
    }
    reclaim(node);
    snapshots_step(&node->snapshots);
    if (shard->consensus != NULL) {
        consensus_flush(shard->consensus);
    }
    bool is_lingering = must_linger(node, events);
    if (!is_lingering) {
        aof_flush(shard->aof, now_ns);
    }
    shard_apply_durable(shard); /* written on the spot, or in memory only: durable at once */
    member_send(node, now_ns);
    pipeline_answer_waiting(&node->pipeline);
    server_flush(node->server);
    if (aof_failure(shard->aof) != 0) {
        log_event(node->log, LOG_ERROR, "log_failed", LOG_STR("what", aof_failure_what(shard->aof)),
                  LOG_ERRNO("error", aof_failure(shard->aof)));
        forget_boot(node);
        return aof_failure(shard->aof);
    }
    if (node->is_stopping && stop_is_complete(node)) {
        gossip_leave(node);
        return 0;
    }
    if (is_lingering) {
        io_yield(node->io);
    } else {
        io_wait(node->io, next_deadline_ns(node));
    }
    return 1;
}

/* A member's log is written when nothing more comes in right now: what its peers are about to send,
 * when they share its processor, or have sent already, goes to the disk with the same sync.  The
 * messages of this iteration leave all the same (docs/decisions/0009). */
static bool must_linger(struct node *node, uint32_t events)
{
    size_t ready = aof_ready_bytes(node->shard.aof);
    bool is_first = node->lingered == 0;
    bool lingers = node->consensus != NULL && ready > 0 && ready < LINGER_BYTES &&
                   node->lingered < LINGER_MAX && (is_first || events > 0);
    node->lingered = lingers ? node->lingered + 1 : 0;
    return lingers;
}

/* Returns how many there were. */
static uint32_t handle_events(struct node *node)
{
    struct io_event event;
    uint32_t count = 0;
    while (count < EVENTS_MAX && io_next(node->io, &event)) {
        count++;
        if (event.owner == node->shard.aof) {
            aof_on_event(node->shard.aof, &event);
            shard_apply_durable(&node->shard);
        } else if (event.kind != IO_EVENT_WAKE && event.owner == node->snapshots.writer) {
            snapshot_writer_on_event(node->snapshots.writer, &event);
        } else if (event.kind != IO_EVENT_WAKE && node->peers != NULL &&
                   peers_owns(node->peers, &event)) {
            peers_on_event(node->peers, &event);
            member_on_peer_events(node);
        } else if (event.kind != IO_EVENT_WAKE && node->gossip != NULL &&
                   gossip_owns(node->gossip, &event)) {
            gossip_on_event(node, &event);
        } else if (event.kind == IO_EVENT_FILE && node->transfers != NULL &&
                   transfers_owns(node->transfers, &event)) {
            transfers_on_event(node->transfers, &event);
        } else if (vacancy_owns(node->vacancy, &event)) {
            vacancy_on_event(node, &event);
        } else if (event.kind != IO_EVENT_WAKE && server_owns(node->server, &event)) {
            struct conn *conn = server_on_event(node->server, &event);
            if (conn != NULL) {
                pipeline_read(&node->pipeline, conn);
            }
        }
    }
    return count;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t next_deadline_ns(const struct node *node)
{
    bool has_work = server_has_work(node->server) || node->has_more_due || node->reclaim_left > 0 ||
                    snapshots_has_work(&node->snapshots) || member_has_work(node);
    if (has_work) {
        return 0;
    }
    uint64_t deadline_ns = earlier(node->next_tick_ns, aof_deadline_ns(node->shard.aof));
    deadline_ns = earlier(deadline_ns, member_deadline_ns(node));
    uint64_t resume_ms = pipeline_deadline_ms(&node->pipeline);
    if (resume_ms != UINT64_MAX) {
        uint64_t now_ms = node->shard.now_ms;
        uint64_t left_ms = resume_ms > now_ms ? resume_ms - now_ms : 0;
        deadline_ns = earlier(deadline_ns, node->shard.now_sampled_ns + left_ms * NS_PER_MS);
    }
    return deadline_ns;
}

uint16_t node_port(const struct node *node)
{
    return node->server != NULL ? server_port(node->server) : 0;
}

uint16_t node_slot_port(const struct node *node)
{
    return node->server != NULL ? server_slot_port(node->server) : 0;
}

/* ── housekeeping ────────────────────────────────────────────────────────────────────────────── */

static void sample_rates(struct node *node, uint64_t now_ns)
{
    struct node_rates *rates = &node->rates;
    uint64_t passed_ns = now_ns - rates->sampled_ns;
    if (passed_ns < 1000000000u) {
        return;
    }
    const struct server_stats *stats = server_stats(node->server);
    uint64_t commands = node->pipeline.commands_processed;
    uint64_t expired = keyspace_stats(&node->shard.keyspace).expired;
    uint64_t passed_ms = passed_ns / NS_PER_MS;
    rates->commands_per_second = (commands - rates->commands) * 1000 / passed_ms;
    rates->bytes_in_per_second = (stats->bytes_in - rates->bytes_in) * 1000 / passed_ms;
    rates->bytes_out_per_second = (stats->bytes_out - rates->bytes_out) * 1000 / passed_ms;
    rates->expired_per_second_x100 = (expired - rates->expired) * 100000 / passed_ms;
    rates->commands = commands;
    rates->bytes_in = stats->bytes_in;
    rates->bytes_out = stats->bytes_out;
    rates->expired = expired;
    rates->sampled_ns = now_ns;
}

void node_sample_memory(struct node *node)
{
    mem_stats_refresh();
    node->memory_used = mem_allocated_bytes();
    if (node->memory_used > node->memory_peak) {
        node->memory_peak = node->memory_used;
    }
    uint64_t limit = node->config->maxmemory;
    node->is_over_memory = limit != 0 && node->memory_used > limit;
}

static void note_disk_full(struct node *node)
{
    bool is_full = aof_is_full(node->shard.aof);
    if (is_full != node->was_full) {
        node->was_full = is_full;
        log_event(node->log, is_full ? LOG_ERROR : LOG_INFO,
                  is_full ? "disk_full" : "disk_has_room",
                  LOG_STR("writes", is_full ? "refused" : "accepted"));
    }
}

/* The meta file names the newest segment, so that a missing last file is noticed at start. */
static void note_segment(struct node *node)
{
    uint64_t segment = aof_stats(node->shard.aof).segment_number;
    if (node->data_dir == NULL || segment == 0 || segment == node->segment_recorded) {
        return; /* 0: it had no room for one yet */
    }
    node->meta.aof_segment = segment;
    int written = node_meta_write(node);
    if (written == 0) {
        node->segment_recorded = segment;
    } else {
        log_event(node->log, LOG_WARN, "meta_write_failed", LOG_ERRNO("error", written));
    }
}

/* Frees a bounded number of entries that FLUSHALL left behind, one partition at a time. */
static void reclaim(struct node *node)
{
    struct keyspace *keyspace = &node->shard.keyspace;
    while (node->reclaim_left > 0) {
        if (kv_reclaim(keyspace->partitions[node->reclaim_left - 1], RECLAIM_BATCH)) {
            return;
        }
        node->reclaim_left--;
    }
}

static void housekeeping(struct node *node, uint64_t now_ns)
{
    struct shard *shard = &node->shard;
    bool may_expire = node->is_expiry_active && !node->is_stopping && !aof_is_full(shard->aof) &&
                      node->pipeline.pause_until_ms == 0;
    node->has_more_due = may_expire && shard_propose_expiry(shard);
    if (now_ns < node->next_tick_ns) {
        return;
    }
    node->reclaim_left = shard->keyspace.count; /* look again at each partition */
    node->next_tick_ns = now_ns + 1000000000u / node->config->hz;
    server_tick(node->server, shard->now_ms);
    sample_rates(node, now_ns);
    node_sample_memory(node);
    note_disk_full(node);
    note_segment(node);
}

/* ── stop ────────────────────────────────────────────────────────────────────────────────────── */

void node_stop(struct node *node)
{
    if (node->is_stopping) {
        return;
    }
    node->is_stopping = true;
    node->stop_deadline_ns = io_clock_ns(node->io) + (uint64_t)STOP_WAIT_MS * NS_PER_MS;
    if (node->server != NULL) { /* none yet while joining */
        server_stop_accepting(node->server);
    }
    log_event(node->log, LOG_INFO, "stopping");
}

static bool stop_is_complete(struct node *node)
{
    if (node->stop_waits_snapshot && node->snapshots.is_running) {
        return false;
    }
    bool is_idle = !shard_is_busy(&node->shard) && !server_has_work(node->server) &&
                   (node->consensus == NULL || coordinator_may_stop(node));
    return is_idle || io_clock_ns(node->io) >= node->stop_deadline_ns;
}

/* Waits until no operation of the snapshot writer is under way: its memory must outlive them. */
static void drain_writer(struct node *node)
{
    struct snapshot_writer *writer = node->snapshots.writer;
    while (writer != NULL && snapshot_writer_is_busy(writer)) {
        io_wait(node->io, io_clock_ns(node->io) + NS_PER_S);
        struct io_event event;
        while (io_next(node->io, &event)) {
            if (event.kind == IO_EVENT_FILE && event.owner == writer) {
                snapshot_writer_on_event(writer, &event);
            } else if (event.kind == IO_EVENT_FILE && event.owner == node->shard.aof) {
                aof_on_event(node->shard.aof, &event);
            } else if (event.kind == IO_EVENT_FILE && node->transfers != NULL &&
                       transfers_owns(node->transfers, &event)) {
                transfers_on_event(node->transfers, &event);
            }
        }
    }
}

void node_deinit(struct node *node)
{
    bool is_clean = false;
    vacancy_free(node);
    if (node->is_serving) {
        drain_writer(node);
        pipeline_deinit(&node->pipeline);
        snapshots_deinit(&node->snapshots);
    }
    bool was_member = node->consensus != NULL;
    transfers_free(node->transfers); /* before the log: it waits for files of its own */
    if (was_member && node->shard.aof != NULL && aof_failure(node->shard.aof) == 0) {
        consensus_hint_all(node->consensus);
    }
    if (node->has_shard) {
        if (node->shard.aof != NULL) {
            bool was_failed = aof_failure(node->shard.aof) != 0;
            uint64_t segment = aof_stats(node->shard.aof).segment_number;
            node->meta.aof_segment = segment != 0 ? segment : node->meta.aof_segment;
            is_clean = aof_close(node->shard.aof) == 0 && !was_failed && node->is_stopping &&
                       recovery_is_settled(node->consensus);
        }
        if (was_member) {
            gossip_free(node->gossip);
            coordinator_free(node->coordinator);
            acks_free(node->acks);
            moves_free(node->moves);
            hints_free(node->hints);
            forward_free(node->forward);
            consensus_free(node->consensus);
        }
        shard_deinit(&node->shard);
        meter_deinit(&node->meter);
    }
    targets_deinit(&node->targets);
    join_free(node->join);
    if (node->peers != NULL) {
        peers_free(node->peers);
    }
    if (node->server != NULL) {
        server_free(node->server);
    }
    if (node->data_dir != NULL) {
        if (is_clean) {
            node->meta.clean = true;
            is_clean = data_dir_write(node->data_dir, &node->meta) == 0;
        }
        data_dir_close(node->data_dir);
    }
    if (node->is_serving) {
        log_event(node->log, LOG_INFO, "stopped", LOG_BOOL("clean", is_clean));
    }
}
