/*
 * vacancy.c — see vacancy.h.  Order: life, asking, telling, forgetting, deleting.
 */
#include "vacancy.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "cluster/confchange.h"
#include "consensus.h"
#include "io/io.h"
#include "log.h"
#include "network/peers.h"
#include "node.h"
#include "storage/snapshot_format.h"
#include "transfer.h"
#include "vacancy_wire.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>

enum {
    SILENT_MS = 2000,       /* the leader of a group says nothing so long: perhaps we are removed */
    ASK_AGAIN_MS = 1000,    /* the same group is not asked for more often */
    DELETE_AGAIN_MS = 1000, /* after a failure */
};

static const uint64_t NS_PER_S = 1000000000;

enum purge_state { PURGE_IDLE, PURGE_LIST, PURGE_UNLINK, PURGE_SYNC_DIR };

struct vacancy {
    const char *dir;         /* borrowed */
    uint64_t *asked_ms;      /* owned, by slot: when the leader was asked last */
    uint32_t *asking;        /* owned, scratch: slots to be asked for now */
    uint32_t purging;        /* replicas with is_purging, as counted last */
    uint64_t reset_sequence; /* the newest reset: must be synced before files go */
    uint64_t retry_ms;
    enum purge_state state;
    bool is_busy;    /* op is under way */
    bool has_failed; /* in this round */
    bool *in_round;  /* owned, by slot: their files go now */
    struct io_file_op op;
    struct buffer names; /* of the directory */
    size_t name_at;
    char path[PATH_MAX];
};

static void purge_next(struct node *node);

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

struct vacancy *vacancy_new(const char *dir, uint32_t replicas)
{
    struct vacancy *vacancy = mem_zalloc(sizeof(*vacancy));
    vacancy->dir = dir;
    vacancy->purging = dir != NULL; /* to be counted: the last process may have left files */
    vacancy->asked_ms = mem_zalloc(replicas * sizeof(*vacancy->asked_ms));
    vacancy->asking = mem_zalloc(replicas * sizeof(*vacancy->asking));
    vacancy->in_round = mem_zalloc(replicas * sizeof(*vacancy->in_round));
    return vacancy;
}

void vacancy_free(struct node *node)
{
    struct vacancy *vacancy = node->vacancy;
    if (vacancy == NULL) {
        return;
    }
    while (vacancy->is_busy) {
        struct io_event event;
        io_wait(node->io, io_clock_ns(node->io) + NS_PER_S);
        while (io_next(node->io, &event)) {
            if (vacancy_owns(vacancy, &event)) {
                vacancy->is_busy = false;
            } else if (event.kind == IO_EVENT_FILE && event.owner == node->snapshots.writer) {
                snapshot_writer_on_event(event.owner, &event);
            } else if (event.kind == IO_EVENT_FILE && transfers_owns(node->transfers, &event)) {
                transfers_on_event(node->transfers, &event);
            } else if (event.kind == IO_EVENT_FILE && event.owner == node->shard.aof) {
                aof_on_event(node->shard.aof, &event);
            }
        }
    }
    buffer_free(&vacancy->names);
    mem_free(vacancy->asked_ms);
    mem_free(vacancy->asking);
    mem_free(vacancy->in_round);
    mem_free(vacancy);
    node->vacancy = NULL;
}

/* ── asking ──────────────────────────────────────────────────────────────────────────────────── */

/* Our log says that we are leaving the group, or have left it. */
static bool is_leaving(const struct consensus *consensus, const struct replica *replica)
{
    uint64_t at = 0;
    const struct raft_config *config = raft_config(replica->raft, &at);
    int place = raft_config_find(config, consensus->options.node);
    return place < 0 || (config->members[place].roles & (RAFT_VOTER | RAFT_LEARNER)) == 0;
}

/* It holds something, or is not known to be harmless, and perhaps belongs to nobody any more. */
static bool may_be_gone(const struct consensus *consensus, const struct replica *replica)
{
    if (replica->group == GROUP_META || replica_is_leader(replica) || replica->is_fetching ||
        replica_is_empty(replica)) {
        return false;
    }
    return consensus->now_ms >= raft_leader_heard_ms(replica->raft) + SILENT_MS ||
           is_leaving(consensus, replica);
}

/* Who leads it, as far as this node knows.  It may have stood for election, in vain and in a term
 * of its own, after it was removed: then the leader's word says who that is, whatever its term. */
static uint64_t leader_of(const struct replica *replica)
{
    return replica->leader != 0 ? replica->leader : replica->hint_leader;
}

/* The slots to be asked for now; how many. */
static uint32_t asking_collect(const struct node *node)
{
    const struct consensus *consensus = node->consensus;
    struct vacancy *vacancy = node->vacancy;
    uint32_t count = 0;
    for (uint32_t i = 0; i < consensus->count; i++) {
        if (consensus->now_ms >= vacancy->asked_ms[i] + ASK_AGAIN_MS &&
            may_be_gone(consensus, consensus->replicas[i])) {
            vacancy->asking[count++] = i;
        }
    }
    return count;
}

static void ask_one(struct node *node, uint64_t leader, uint32_t count)
{
    struct consensus *consensus = node->consensus;
    struct vacancy *vacancy = node->vacancy;
    uint64_t link = peers_link(node->peers, leader, PEER_RAFT);
    char *to = link != 0 ? peers_frame_begin(node->peers, link, PEER_FRAME_GONE_ASK,
                                             (size_t)count * VACANCY_ASK_BYTES)
                         : NULL;
    if (to == NULL) {
        return;
    }
    char *at = to;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = vacancy->asking[i];
        const struct replica *replica = consensus->replicas[slot];
        if (leader_of(replica) == leader) {
            at = vacancy_ask_write(at, replica->group);
            vacancy->asked_ms[slot] = consensus->now_ms;
        }
    }
    if (at > to) { /* else the frame is not sent */
        peers_frame_end(node->peers, link, (size_t)(at - to));
    }
}

static void forget(struct node *node, struct replica *replica, const struct member *leader,
                   uint64_t term, uint64_t index);

/* A known bug: the target says it all, does it not? */
static void vacate_unasked(struct node *node)
{
    const struct placement *placement = &node_targets(node)->placement;
    for (uint32_t i = 0;
         node->members.count > placement->replicas_count && i + 1 < node->consensus->count; i++) {
        struct replica *replica = node->consensus->replicas[i];
        const struct member *other = &node->members.items[0];
        bool is_target = false;
        for (uint32_t r = 0; r < placement->replicas_count; r++) {
            is_target |=
                placement->nodes[placement->replicas[i][r]] == node->consensus->options.node;
        }
        other += other->number == node->consensus->options.node;
        if (!is_target && !replica->is_vacant && !replica_is_leader(replica)) {
            forget(node, replica, other, replica->term, UINT64_MAX);
        }
    }
}

void vacancy_ask(struct node *node)
{
    if (MUTANT(MUT_VACATE_UNASKED)) {
        vacate_unasked(node);
    }
    uint32_t count = asking_collect(node);
    for (uint32_t i = 0; i < node->members.count && count > 0; i++) {
        if (node->members.items[i].number != node->consensus->options.node) {
            ask_one(node, node->members.items[i].number, count);
        }
    }
}

/* ── telling ─────────────────────────────────────────────────────────────────────────────────── */

static void tell(struct node *node, uint64_t asker, struct slice groups)
{
    size_t count = groups.size / VACANCY_ASK_BYTES;
    uint64_t link = peers_link(node->peers, asker, PEER_RAFT);
    char *to =
        link != 0 && count > 0 && count <= node->consensus->count
            ? peers_frame_begin(node->peers, link, PEER_FRAME_GONE, count * VACANCY_GONE_BYTES)
            : NULL;
    char *at = to;
    uint32_t group = 0;
    while (to != NULL && vacancy_ask_read(&groups, &group)) {
        const struct replica *replica = consensus_replica(node->consensus, group);
        struct vacancy_gone gone = { .group = group };
        if (replica != NULL && raft_is_gone(replica->raft, asker, &gone.index)) {
            gone.term = raft_term(replica->raft);
            at = vacancy_gone_write(at, &gone);
        }
    }
    if (at > to) {
        peers_frame_end(node->peers, link, (size_t)(at - to));
    }
}

/* ── forgetting ──────────────────────────────────────────────────────────────────────────────── */

/* A file of the group is being written. */
static bool has_open_file(const struct node *node, uint32_t group)
{
    return node->snapshots.view != NULL && node->snapshots.group == group;
}

static void forget(struct node *node, struct replica *replica, const struct member *leader,
                   uint64_t term, uint64_t index)
{
    struct raft_config config = { .members_count = 0 };
    bool added = raft_config_add(&config, leader->number, leader->incarnation, RAFT_VOTER);
    ASSERT(added);
    uint64_t entries = replica->applied;
    if (has_open_file(node, replica->group) ||
        consensus_vacate(node->consensus, replica, term, index, &config) != RAFT_OK) {
        return; /* another time, if it is still so */
    }
    replica->applied = 0;
    replica->applied_term = 0;
    replica->applied_config = config;
    replica->hinted_commit = 0;
    replica->read_index = 0;
    replica->any_gate = ANY_AWAY;
    replica->is_vacated = true;
    replica->is_purging = node->vacancy->dir != NULL;
    shard_vacate(&node->shard, replica->group);
    node->vacancy->in_round[replica->slot] = false; /* this reset is not synced yet: the next one */
    node->vacancy->reset_sequence = node->shard.proposed_sequence;
    node->vacancy->purging++;
    log_event(node->log, LOG_DEBUG, "replica_vacated", LOG_U64("group", replica->group),
              LOG_U64("entries", entries), LOG_U64("term", term));
}

static void told_gone(struct node *node, uint64_t from, struct slice body)
{
    const struct member *leader = members_find(&node->members, from);
    struct vacancy_gone gone;
    while (leader != NULL && vacancy_gone_read(&body, &gone)) {
        struct replica *replica = consensus_replica(node->consensus, gone.group);
        if (replica != NULL && may_be_gone(node->consensus, replica)) {
            forget(node, replica, leader, gone.term, gone.index);
        }
    }
}

bool vacancy_on_frame(struct node *node, const struct peer_event *event)
{
    if (event->frame_kind == PEER_FRAME_GONE_ASK) {
        tell(node, event->number, event->body);
        return true;
    }
    if (event->frame_kind == PEER_FRAME_GONE) {
        told_gone(node, event->number, event->body);
        return true;
    }
    return false;
}

/* ── deleting ────────────────────────────────────────────────────────────────────────────────── */

static void submit(struct node *node, enum purge_state state, enum io_file_kind kind,
                   const char *path)
{
    struct vacancy *vacancy = node->vacancy;
    vacancy->state = state;
    vacancy->op = (struct io_file_op){
        .kind = kind, .path = path, .list = &vacancy->names, .owner = vacancy
    };
    vacancy->is_busy = true;
    io_file_submit(node->io, &vacancy->op);
}

static void count_purging(struct node *node, bool begins_round)
{
    struct vacancy *vacancy = node->vacancy;
    vacancy->purging = 0;
    for (uint32_t i = 0; i < node->consensus->count; i++) {
        bool is_purging = node->consensus->replicas[i]->is_purging;
        vacancy->in_round[i] = begins_round ? is_purging : vacancy->in_round[i];
        vacancy->purging += is_purging;
    }
}

bool vacancy_has_work(const struct node *node)
{
    const struct vacancy *vacancy = node->vacancy;
    return vacancy->purging > 0 && vacancy->state == PURGE_IDLE &&
           node->consensus->now_ms >= vacancy->retry_ms &&
           aof_stats(node->shard.aof).synced_sequence > vacancy->reset_sequence;
}

void vacancy_step(struct node *node)
{
    struct vacancy *vacancy = node->vacancy;
    if (LIKELY(vacancy->purging == 0) || vacancy->state != PURGE_IDLE ||
        node->consensus->now_ms < vacancy->retry_ms) {
        return;
    }
    if (aof_stats(node->shard.aof).synced_sequence <= vacancy->reset_sequence) {
        aof_sync_soon(node->shard.aof);
        return;
    }
    count_purging(node, /* begins_round= */ true);
    if (vacancy->purging == 0) {
        return;
    }
    log_event(node->log, LOG_DEBUG, "files_deleting", LOG_U64("groups", vacancy->purging));
    vacancy->has_failed = false;
    vacancy->names.size = 0;
    vacancy->name_at = 0;
    submit(node, PURGE_LIST, IO_FILE_LIST, vacancy->dir);
}

/* Deletes the next file of a group of this round; behind the last one syncs the directory. */
static void purge_next(struct node *node)
{
    struct vacancy *vacancy = node->vacancy;
    while (vacancy->name_at < vacancy->names.size) {
        const char *name = vacancy->names.data + vacancy->name_at;
        struct snapshot_file file;
        bool is_temporary = false;
        vacancy->name_at += strlen(name) + 1;
        if (snapshot_name_parse(name, &file, &is_temporary) &&
            file.group + 1 < node->consensus->count && vacancy->in_round[file.group]) {
            (void)snprintf(vacancy->path, sizeof(vacancy->path), "%s/%s", vacancy->dir, name);
            log_event(node->log, LOG_DEBUG, "file_deleting", LOG_STR("file", name));
            submit(node, PURGE_UNLINK, IO_FILE_UNLINK, vacancy->path);
            return;
        }
    }
    submit(node, PURGE_SYNC_DIR, IO_FILE_SYNC_DIR, vacancy->dir);
}

static void purge_end(struct node *node)
{
    struct vacancy *vacancy = node->vacancy;
    vacancy->state = PURGE_IDLE;
    for (uint32_t i = 0; i < node->consensus->count && !vacancy->has_failed; i++) {
        struct replica *replica = node->consensus->replicas[i];
        replica->is_purging = replica->is_purging && !vacancy->in_round[i];
    }
    vacancy->retry_ms = vacancy->has_failed ? node->consensus->now_ms + DELETE_AGAIN_MS : 0;
    count_purging(node, /* begins_round= */ false);
    log_event(node->log, LOG_DEBUG, "files_deleted", LOG_BOOL("all", !vacancy->has_failed));
}

bool vacancy_owns(const struct vacancy *vacancy, const struct io_event *event)
{
    return vacancy != NULL && event->kind == IO_EVENT_FILE && event->owner == vacancy;
}

void vacancy_on_event(struct node *node, const struct io_event *event)
{
    struct vacancy *vacancy = node->vacancy;
    ASSERT(event->file_op == &vacancy->op);
    ASSERT(vacancy->is_busy);
    vacancy->is_busy = false;
    if (vacancy->op.result < 0 && vacancy->op.result != -ENOENT) {
        vacancy->has_failed = true;
        log_event(node->log, LOG_WARN, "files_not_deleted",
                  LOG_ERRNO("error", (int)vacancy->op.result));
    }
    if (vacancy->state == PURGE_SYNC_DIR || vacancy->has_failed) {
        purge_end(node);
    } else {
        purge_next(node);
    }
}
