/*
 * transfer.c — see transfer.h.
 *
 * One BULK link per transfer, dialed by the one who wants the snapshot.  Frames, little-endian:
 *
 *   ASK      u16 group, u64 lowest index wanted
 *   BEGIN    u16 group, u64 index, u64 term, u64 time_ms, then the aux part (group_aux.h), of the
 *            meta group the members (members.h)
 *   BLOCK    u32 entries, then the entries (storage/snapshot_block.h)
 *   END      u64 entries in all, u64 digest over the blocks' checksums
 *   REFUSED  a text for people
 *
 * A fetch's life:  WAITING -> DIALING -> RECEIVING -> WRITING -> (raft decides) -> gone.
 *
 * A snapshot that raft does not adopt leaves a file behind that shows a committed state of the
 * group at a lower index than the log has reached: recovery may begin there as well as anywhere.
 *
 * Order of this file: life, fetching, writing and handing over, sending, the loop.
 */
#include "transfer.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/endian.h"
#include "base/limits.h"
#include "base/mem.h"
#include "chaos/rate_limiter.h"
#include "consensus.h"
#include "group_aux.h"
#include "io/io.h"
#include "log.h"
#include "members.h"
#include "raft_wire.h"
#include "shard.h"
#include "storage/snapshot.h"
#include "storage/snapshot_block.h"

enum {
    BEGIN_HEADER_BYTES = 26,
    BLOCK_HEADER_BYTES = 4,
    BLOCK_ENTRIES = 512,        /* put into one block at most: some tens of microseconds */
    LINK_QUEUE_BYTES = 1 << 20, /* a sender waits while more than this is on its way */
    WRITE_STEP_ENTRIES = 256,   /* encoded for the snapshot file in one iteration */
};

static const uint64_t NS_PER_MS = 1000000;

enum fetch_state { FETCH_FREE, FETCH_DIALING, FETCH_RECEIVING, FETCH_WRITING, FETCH_ENDING };

struct fetch {
    enum fetch_state state;
    struct replica *replica;
    uint64_t link;
    uint64_t wanted_index;
    struct snapshot_meta meta;
    struct raft_config config;
    struct sessions sessions;
    struct buffer aux;      /* as received: goes into the snapshot file */
    struct members members; /* of the meta group */
    bool has_begun;
    struct kv *kv; /* owned; NULL of the meta group */
    uint64_t entries, digest;
    struct snapshot_writer *writer; /* owned; kept for the next fetch */
    struct kv_view *view;
    uint64_t deadline_ns;
};

struct sending {
    uint64_t link; /* 0: free */
    uint64_t to;   /* the node */
    uint32_t group;
    struct kv_view *view; /* NULL of the meta group */
    uint64_t entries, digest, bytes;
    bool is_ended;        /* nothing more is sent; the other side closes the link */
    uint64_t deadline_ns; /* without any progress */
};

/* A fetch that waits for its turn. */
struct wanted {
    struct replica *replica;
    uint64_t from, index;
};

struct transfers {
    struct shard *shard;
    struct peers *peers;
    struct consensus *consensus;
    struct members *members;
    struct log *log;
    const char *dir;
    uint64_t identity;
    struct fetch fetches[TRANSFERS_MAX];
    struct sending sendings[TRANSFERS_MAX];
    struct rate_limiter limiter; /* of what is sent */
    struct wanted *wanted;       /* owned: one place for each replica */
    uint32_t wanted_count;
    struct transfer_stats stats;
};

static void fetch_end(struct transfers *transfers, struct fetch *fetch, bool is_good);
static void fetch_fail(struct transfers *transfers, struct fetch *fetch, const char *reason);

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

struct transfers *transfers_new(struct shard *shard, struct peers *peers,
                                struct consensus *consensus, struct members *members,
                                struct log *log, const char *dir, uint64_t identity)
{
    struct transfers *transfers = mem_zalloc(sizeof(*transfers));
    transfers->shard = shard;
    transfers->peers = peers;
    transfers->consensus = consensus;
    transfers->members = members;
    transfers->log = log;
    transfers->dir = dir;
    transfers->identity = identity;
    transfers->wanted = mem_alloc(consensus->count * sizeof(*transfers->wanted));
    return transfers;
}

/* Waits until no operation of the writer is under way: its memory must outlive them. */
static void drain_writer(struct transfers *transfers, struct snapshot_writer *writer)
{
    struct io *io = transfers->shard->io;
    while (snapshot_writer_is_busy(writer)) {
        io_wait(io, io_clock_ns(io) + 1000 * NS_PER_MS);
        struct io_event event;
        while (io_next(io, &event)) {
            if (event.kind == IO_EVENT_FILE && transfers_owns(transfers, &event)) {
                transfers_on_event(transfers, &event); /* perhaps of another fetch */
            } else if (event.kind == IO_EVENT_FILE && event.owner == transfers->shard->aof) {
                aof_on_event(transfers->shard->aof, &event);
            }
        }
    }
}

void transfers_free(struct transfers *transfers)
{
    if (transfers == NULL) {
        return;
    }
    for (uint32_t i = 0; i < TRANSFERS_MAX; i++) {
        struct fetch *fetch = &transfers->fetches[i];
        if (fetch->writer != NULL) {
            drain_writer(transfers, fetch->writer);
            snapshot_writer_free(fetch->writer);
        }
        if (fetch->view != NULL) {
            kv_view_end(fetch->view);
        }
        if (fetch->kv != NULL) {
            kv_free(fetch->kv);
        }
        sessions_deinit(&fetch->sessions);
        buffer_free(&fetch->aux);
        if (transfers->sendings[i].view != NULL) {
            kv_view_end(transfers->sendings[i].view);
        }
    }
    mem_free(transfers->wanted);
    mem_free(transfers);
}

static uint64_t stall_ns(const struct transfers *transfers)
{
    return io_clock_ns(transfers->shard->io) + (uint64_t)TRANSFER_STALL_MS * NS_PER_MS;
}

/* ── fetching ────────────────────────────────────────────────────────────────────────────────── */

static void fetch_progress(struct transfers *transfers, struct fetch *fetch)
{
    fetch->deadline_ns = stall_ns(transfers);
}

void transfers_fetch(struct transfers *transfers, struct replica *replica, uint64_t from,
                     const struct raft_snapshot *wanted)
{
    for (uint32_t i = 0; i < transfers->wanted_count; i++) {
        ASSERT(transfers->wanted[i].replica != replica); /* raft wants one at a time */
    }
    ASSERT(transfers->wanted_count < transfers->consensus->count);
    transfers->wanted[transfers->wanted_count++] = (struct wanted){ replica, from, wanted->index };
}

static struct fetch *fetch_free_place(struct transfers *transfers)
{
    for (uint32_t i = 0; i < TRANSFERS_MAX; i++) {
        if (transfers->fetches[i].state == FETCH_FREE) {
            return &transfers->fetches[i];
        }
    }
    return NULL;
}

/* The one that waits longest; but files of the replica's former life go first.  wanted_count: none
 * can begin. */
static uint32_t wanted_next(const struct transfers *transfers)
{
    uint32_t at = 0;
    while (at < transfers->wanted_count && transfers->wanted[at].replica->is_purging) {
        at++;
    }
    return at;
}

static void fetch_begin(struct transfers *transfers, struct fetch *fetch)
{
    uint32_t at = wanted_next(transfers);
    struct wanted wanted = transfers->wanted[at];
    transfers->wanted_count--;
    memmove(transfers->wanted + at, transfers->wanted + at + 1,
            (transfers->wanted_count - at) * sizeof(*transfers->wanted));
    struct snapshot_writer *writer = fetch->writer;
    *fetch = (struct fetch){
        .state = FETCH_DIALING,
        .replica = wanted.replica,
        .wanted_index = wanted.index,
        .writer = writer,
    };
    transfers->stats.fetching++;
    fetch_progress(transfers, fetch);
    struct peer_member from;
    if (peers_address(transfers->peers, wanted.from, &from)) {
        fetch->link = peers_dial(transfers->peers, from.host, from.port, PEER_BULK, wanted.from);
    }
    if (fetch->link == 0) {
        fetch_fail(transfers, fetch, "the leader cannot be dialed");
    }
}

static struct fetch *fetch_of(struct transfers *transfers, uint64_t link)
{
    for (uint32_t i = 0; i < TRANSFERS_MAX; i++) {
        struct fetch *fetch = &transfers->fetches[i];
        if (fetch->link == link && fetch->state != FETCH_FREE) {
            return fetch;
        }
    }
    return NULL;
}

static void fetch_ask(struct transfers *transfers, struct fetch *fetch)
{
    char *to = peers_frame_begin(transfers->peers, fetch->link, PEER_FRAME_SNAPSHOT_ASK, 10);
    if (to == NULL) {
        fetch_fail(transfers, fetch, "the link is full");
        return;
    }
    store_u16(to, (uint16_t)fetch->replica->group);
    store_u64(to + 2, fetch->wanted_index);
    peers_frame_end(transfers->peers, fetch->link, 10);
    fetch->state = FETCH_RECEIVING;
    fetch_progress(transfers, fetch);
    log_event(transfers->log, LOG_DEBUG, "snapshot_asked", LOG_U64("group", fetch->replica->group));
}

static bool fetch_on_begin(struct transfers *transfers, struct fetch *fetch, struct slice body)
{
    uint32_t group = fetch->replica->group;
    if (fetch->has_begun || body.size < BEGIN_HEADER_BYTES || load_u16(body.data) != group) {
        return false;
    }
    fetch->has_begun = true;
    fetch->meta = (struct snapshot_meta){
        .identity = transfers->identity,
        .group = group,
        .index = load_u64(body.data + 2),
        .term = load_u64(body.data + 10),
        .time_ms = load_u64(body.data + 18),
    };
    struct slice aux = slice_make(body.data + BEGIN_HEADER_BYTES, body.size - BEGIN_HEADER_BYTES);
    if (fetch->meta.index < fetch->wanted_index || fetch->meta.index >= RAFT_WIRE_POSITION_LIMIT ||
        fetch->meta.term >= RAFT_WIRE_POSITION_LIMIT) {
        return false;
    }
    if (group == GROUP_META) {
        bool is_good = members_decode(&fetch->members, aux);
        fetch->config = fetch->members.config;
        return is_good && fetch->members.index == fetch->meta.index;
    }
    buffer_append_slice(&fetch->aux, aux);
    fetch->kv = kv_new(transfers->shard->keyspace.hash_seed);
    return aux.size <= SNAPSHOT_AUX_BYTES_MAX &&
           group_aux_decode(aux, &fetch->config, &fetch->sessions) &&
           fetch->config.members_count > 0;
}

static uint64_t digest_add(uint64_t digest, uint32_t crc)
{
    return (digest ^ crc) * UINT64_C(0x9E3779B97F4A7C15);
}

static bool fetch_on_block(struct fetch *fetch, struct slice body)
{
    if (fetch->kv == NULL || body.size < BLOCK_HEADER_BYTES) {
        return false;
    }
    uint32_t entries = load_u32(body.data);
    struct slice block = slice_make(body.data + BLOCK_HEADER_BYTES, body.size - BLOCK_HEADER_BYTES);
    fetch->entries += entries;
    fetch->digest = digest_add(fetch->digest, crc32c(0, block.data, block.size));
    return snapshot_block_load(fetch->kv, block, entries);
}

static bool fetch_on_end(struct transfers *transfers, struct fetch *fetch, struct slice body)
{
    if (!fetch->has_begun || body.size != 16 || load_u64(body.data) != fetch->entries ||
        load_u64(body.data + 8) != fetch->digest) {
        return false;
    }
    peers_close(transfers->peers, fetch->link);
    fetch->link = 0;
    if (fetch->kv == NULL || transfers->dir == NULL) {
        fetch->state = FETCH_ENDING; /* the members stand in the meta file; or nothing is kept */
        return true;
    }
    if (fetch->writer == NULL) {
        fetch->writer = snapshot_writer_new(transfers->shard->io, transfers->dir);
    }
    fetch->meta.aux = buffer_slice(&fetch->aux);
    fetch->meta.sequence = transfers->shard->proposed_sequence;
    fetch->view = kv_view_begin(fetch->kv);
    snapshot_writer_begin(fetch->writer, &fetch->meta, fetch->view);
    fetch->state = FETCH_WRITING;
    log_event(transfers->log, LOG_DEBUG, "snapshot_writing",
              LOG_U64("group", fetch->replica->group));
    return true;
}

static void fetch_on_frame(struct transfers *transfers, struct fetch *fetch,
                           const struct peer_event *event)
{
    bool is_good = false;
    if (fetch->state != FETCH_RECEIVING) {
        return;
    }
    transfers->stats.bytes_in += event->body.size;
    fetch_progress(transfers, fetch);
    switch (event->frame_kind) {
    case PEER_FRAME_SNAPSHOT_BEGIN:
        is_good = fetch_on_begin(transfers, fetch, event->body);
        break;
    case PEER_FRAME_SNAPSHOT_BLOCK:
        is_good = fetch_on_block(fetch, event->body);
        break;
    case PEER_FRAME_SNAPSHOT_END:
        is_good = fetch_on_end(transfers, fetch, event->body);
        break;
    case PEER_FRAME_SNAPSHOT_REFUSED: /* nothing is wrong: raft asks again */
        log_event(transfers->log, LOG_DEBUG, "snapshot_refused",
                  LOG_U64("group", fetch->replica->group));
        fetch_end(transfers, fetch, false);
        return;
    default:
        break;
    }
    if (!is_good) {
        fetch_fail(transfers, fetch, "malformed");
    }
}

/* ── writing and handing over ────────────────────────────────────────────────────────────────── */

static void fetch_write(struct transfers *transfers, struct fetch *fetch)
{
    switch (snapshot_writer_state(fetch->writer)) {
    case SNAPSHOT_READY:
        snapshot_writer_step(fetch->writer, WRITE_STEP_ENTRIES);
        fetch_progress(transfers, fetch);
        break;
    case SNAPSHOT_WAITING:
        break;
    case SNAPSHOT_DONE:
        fetch->meta = snapshot_writer_take(fetch->writer);
        kv_view_end(fetch->view);
        fetch->view = NULL;
        fetch->state = FETCH_ENDING;
        log_event(transfers->log, LOG_DEBUG, "snapshot_written",
                  LOG_U64("group", fetch->replica->group));
        break;
    case SNAPSHOT_FAILED:
    case SNAPSHOT_IDLE:
        (void)snapshot_writer_take(fetch->writer);
        kv_view_end(fetch->view);
        fetch->view = NULL;
        fetch_fail(transfers, fetch, "the snapshot file cannot be written");
        break;
    }
}

static void adopt_members(struct transfers *transfers, struct fetch *fetch)
{
    struct replica *replica = fetch->replica;
    *transfers->members = fetch->members;
    replica->applied = fetch->meta.index;
    replica->applied_term = fetch->meta.term;
    replica->applied_config = fetch->config;
}

static void adopt_partition(struct transfers *transfers, struct fetch *fetch)
{
    struct group *group = &transfers->shard->groups[fetch->replica->group];
    shard_adopt(transfers->shard, fetch->replica->group, fetch->kv, &fetch->sessions, &fetch->meta,
                &fetch->config);
    fetch->kv = NULL;
    if (transfers->dir != NULL) {
        /* What lies in the log of before is void: nothing older can be rolled forward. */
        group->snapshot_index = fetch->meta.index;
        group->snapshot_index_before = 0;
        group->snapshot_sequence = transfers->shard->proposed_sequence;
        group->needed_sequence = UINT64_MAX;
    }
}

/* Verified, and durable: raft decides whether it becomes the state. */
static void fetch_hand_over(struct transfers *transfers, struct fetch *fetch)
{
    struct raft_snapshot snapshot = {
        .index = fetch->meta.index,
        .term = fetch->meta.term,
        .config = fetch->config,
    };
    bool is_adopted = consensus_snapshot_done(transfers->consensus, fetch->replica, &snapshot);
    if (is_adopted && fetch->replica->group == GROUP_META) {
        adopt_members(transfers, fetch);
    } else if (is_adopted) {
        adopt_partition(transfers, fetch);
    }
    log_event(transfers->log, LOG_DEBUG, "snapshot_received",
              LOG_U64("group", fetch->replica->group), LOG_U64("index", snapshot.index),
              LOG_U64("entries", fetch->entries), LOG_BOOL("adopted", is_adopted));
    transfers->stats.fetched++;
    fetch_end(transfers, fetch, true);
}

/* The place is free again; only the writer is kept. */
static void fetch_end(struct transfers *transfers, struct fetch *fetch, bool is_good)
{
    if (fetch->link != 0) {
        peers_close(transfers->peers, fetch->link);
    }
    if (fetch->kv != NULL) {
        shard_discard(transfers->shard, fetch->kv);
    }
    sessions_deinit(&fetch->sessions);
    buffer_free(&fetch->aux);
    struct replica *replica = fetch->replica;
    *fetch = (struct fetch){ .state = FETCH_FREE, .writer = fetch->writer };
    transfers->stats.fetching--;
    if (!is_good) {
        transfers->stats.failed++;
        (void)consensus_snapshot_done(transfers->consensus, replica, NULL);
    }
}

static void fetch_fail(struct transfers *transfers, struct fetch *fetch, const char *reason)
{
    log_event(transfers->log, LOG_WARN, "snapshot_not_received",
              LOG_U64("group", fetch->replica->group), LOG_STR("reason", reason));
    if (fetch->state == FETCH_WRITING && fetch->view != NULL) {
        drain_writer(transfers, fetch->writer);
        snapshot_writer_free(fetch->writer);
        fetch->writer = NULL;
        kv_view_end(fetch->view);
        fetch->view = NULL;
    }
    fetch_end(transfers, fetch, false);
}

/* ── sending ─────────────────────────────────────────────────────────────────────────────────── */

static struct sending *sending_of(struct transfers *transfers, uint64_t link)
{
    for (uint32_t i = 0; i < TRANSFERS_MAX; i++) {
        if (transfers->sendings[i].link == link) {
            return &transfers->sendings[i];
        }
    }
    return NULL;
}

static void sending_end(struct transfers *transfers, struct sending *sending)
{
    if (sending->view != NULL) {
        kv_view_end(sending->view);
    }
    *sending = (struct sending){ 0 };
    transfers->stats.sending--;
}

static void refuse(struct transfers *transfers, uint64_t link, const char *reason)
{
    size_t size = strlen(reason);
    char *to = peers_frame_begin(transfers->peers, link, PEER_FRAME_SNAPSHOT_REFUSED, size);
    if (to != NULL) {
        memcpy(to, reason, size);
        peers_frame_end(transfers->peers, link, size);
    }
    peers_close_after_flush(transfers->peers, link);
}

/* The group's views are few: one for this node's own snapshot, the others for peers. */
static bool has_view_left(const struct transfers *transfers, uint32_t group)
{
    uint32_t open = 1;
    for (uint32_t i = 0; i < TRANSFERS_MAX; i++) {
        open += transfers->sendings[i].link != 0 && transfers->sendings[i].group == group;
    }
    return open < KV_VIEWS_MAX;
}

static void write_aux(const struct transfers *transfers, const struct replica *replica,
                      struct buffer *out)
{
    if (replica->group == GROUP_META) {
        members_encode(transfers->members, out);
    } else {
        group_aux_encode(&replica->applied_config, &transfers->shard->sessions[replica->group],
                         out);
    }
}

static void sending_begin(struct transfers *transfers, uint64_t link, uint64_t to_node,
                          struct replica *replica)
{
    struct buffer aux = { 0 };
    struct sending *sending = sending_of(transfers, /* a free one: */ 0);
    write_aux(transfers, replica, &aux);
    char *to = peers_frame_begin(transfers->peers, link, PEER_FRAME_SNAPSHOT_BEGIN,
                                 BEGIN_HEADER_BYTES + aux.size);
    if (to == NULL) {
        buffer_free(&aux);
        peers_close(transfers->peers, link);
        return;
    }
    store_u16(to, (uint16_t)replica->group);
    store_u64(to + 2, replica->applied);
    store_u64(to + 10, replica->applied_term);
    store_u64(to + 18, replica->last_time_ms);
    memcpy(to + BEGIN_HEADER_BYTES, aux.data, aux.size);
    peers_frame_end(transfers->peers, link, BEGIN_HEADER_BYTES + aux.size);
    buffer_free(&aux);
    *sending = (struct sending){
        .link = link,
        .to = to_node,
        .group = replica->group,
        .deadline_ns = stall_ns(transfers),
    };
    transfers->stats.sending++;
    log_event(transfers->log, LOG_DEBUG, "snapshot_sending", LOG_U64("group", replica->group));
    if (replica->group != GROUP_META) {
        sending->view = kv_view_begin(transfers->shard->keyspace.partitions[replica->group]);
    }
}

/* What it has applied may be incomplete. */
static bool is_damaged(const struct transfers *transfers, const struct replica *replica)
{
    return replica->group != GROUP_META && transfers->shard->groups[replica->group].is_damaged;
}

static void on_ask(struct transfers *transfers, const struct peer_event *event)
{
    struct replica *replica = NULL;
    if (event->body.size == 10) {
        replica = consensus_replica(transfers->consensus, load_u16(event->body.data));
    }
    if (replica == NULL || sending_of(transfers, event->link) != NULL) {
        peers_close(transfers->peers, event->link);
    } else if (replica->applied < load_u64(event->body.data + 2) ||
               is_damaged(transfers, replica)) {
        refuse(transfers, event->link, "this replica is behind as well");
    } else if (sending_of(transfers, /* a free one: */ 0) == NULL ||
               !has_view_left(transfers, replica->group)) {
        refuse(transfers, event->link, "too many transfers are under way");
    } else {
        sending_begin(transfers, event->link, event->number, replica);
    }
}

static void send_end(struct transfers *transfers, struct sending *sending)
{
    char *to = peers_frame_begin(transfers->peers, sending->link, PEER_FRAME_SNAPSHOT_END, 16);
    if (to == NULL) {
        return; /* again in the next step */
    }
    store_u64(to, sending->entries);
    store_u64(to + 8, sending->digest);
    peers_frame_end(transfers->peers, sending->link, 16);
    sending->is_ended = true;
    transfers->stats.sent++;
    log_event(transfers->log, LOG_DEBUG, "snapshot_sent", LOG_U64("group", sending->group));
}

/* Sends a block, or the end. */
static void sending_step(struct transfers *transfers, struct sending *sending, uint64_t now_ns)
{
    if (sending->is_ended || !rate_limiter_allows(&transfers->limiter, now_ns) ||
        peers_queued_bytes(transfers->peers, sending->link) > LINK_QUEUE_BYTES) {
        return;
    }
    if (sending->view == NULL) {
        send_end(transfers, sending);
        return;
    }
    struct buffer block = { 0 };
    uint32_t entries = 0;
    bool has_more =
        snapshot_block_fill(sending->view, BLOCK_ENTRIES, SNAPSHOT_BLOCK_BYTES, &block, &entries);
    char *to = entries == 0
                   ? NULL
                   : peers_frame_begin(transfers->peers, sending->link, PEER_FRAME_SNAPSHOT_BLOCK,
                                       BLOCK_HEADER_BYTES + block.size);
    if (entries > 0 && to == NULL) {
        peers_close(transfers->peers, sending->link); /* DOWN follows */
        sending->is_ended = true;
    } else if (entries > 0) {
        store_u32(to, entries);
        memcpy(to + BLOCK_HEADER_BYTES, block.data, block.size);
        peers_frame_end(transfers->peers, sending->link, BLOCK_HEADER_BYTES + block.size);
        sending->entries += entries;
        sending->digest = digest_add(sending->digest, crc32c(0, block.data, block.size));
        sending->deadline_ns = stall_ns(transfers);
        sending->bytes += block.size;
        transfers->stats.bytes_out += block.size;
        rate_limiter_take(&transfers->limiter, block.size);
    }
    buffer_free(&block);
    if (!has_more) {
        kv_view_end(sending->view);
        sending->view = NULL;
    }
}

/* ── the loop ────────────────────────────────────────────────────────────────────────────────── */

void transfers_on_peer_event(struct transfers *transfers, const struct peer_event *event)
{
    struct fetch *fetch = fetch_of(transfers, event->link);
    struct sending *sending = sending_of(transfers, event->link);
    switch (event->kind) {
    case PEER_EVENT_UP:
        if (fetch != NULL) {
            fetch_ask(transfers, fetch);
        }
        break;
    case PEER_EVENT_DOWN:
        if (fetch != NULL && fetch->state != FETCH_WRITING && fetch->state != FETCH_ENDING) {
            fetch->link = 0;
            fetch_fail(transfers, fetch, event->reason != NULL ? event->reason : "link lost");
        }
        if (sending != NULL) {
            sending_end(transfers, sending);
        }
        break;
    case PEER_EVENT_FRAME:
        if (fetch != NULL) {
            fetch_on_frame(transfers, fetch, event);
        } else if (event->frame_kind == PEER_FRAME_SNAPSHOT_ASK) {
            on_ask(transfers, event);
        }
        break;
    }
}

bool transfers_owns(const struct transfers *transfers, const struct io_event *event)
{
    for (uint32_t i = 0; i < TRANSFERS_MAX; i++) {
        if (transfers->fetches[i].writer != NULL && event->owner == transfers->fetches[i].writer) {
            return true;
        }
    }
    return false;
}

void transfers_on_event(struct transfers *transfers, const struct io_event *event)
{
    (void)transfers;
    snapshot_writer_on_event(event->owner, event);
}

void transfers_step(struct transfers *transfers)
{
    uint64_t now_ns = io_clock_ns(transfers->shard->io);
    for (uint32_t i = 0; i < TRANSFERS_MAX; i++) {
        struct fetch *fetch = &transfers->fetches[i];
        if (fetch->state == FETCH_WRITING) {
            fetch_write(transfers, fetch);
        }
        if (fetch->state == FETCH_ENDING) {
            fetch_hand_over(transfers, fetch);
        } else if (fetch->state != FETCH_FREE && now_ns >= fetch->deadline_ns &&
                   fetch->state != FETCH_WRITING) {
            fetch_fail(transfers, fetch, "no progress");
        }
        struct sending *sending = &transfers->sendings[i];
        if (sending->link != 0 && now_ns >= sending->deadline_ns) {
            peers_close(transfers->peers, sending->link); /* DOWN follows */
            sending->is_ended = true;
            sending->deadline_ns = stall_ns(transfers);
        } else if (sending->link != 0) {
            sending_step(transfers, sending, now_ns);
        }
    }
    struct fetch *place = NULL;
    if (wanted_next(transfers) < transfers->wanted_count &&
        (place = fetch_free_place(transfers)) != NULL) {
        fetch_begin(transfers, place);
    }
}

bool transfers_has_work(const struct transfers *transfers)
{
    bool is_limited = rate_limiter_deadline_ns(&transfers->limiter) != UINT64_MAX;
    for (uint32_t i = 0; i < TRANSFERS_MAX; i++) {
        const struct fetch *fetch = &transfers->fetches[i];
        const struct sending *sending = &transfers->sendings[i];
        bool may_write = fetch->state == FETCH_WRITING &&
                         snapshot_writer_state(fetch->writer) != SNAPSHOT_WAITING;
        bool may_send = sending->link != 0 && !sending->is_ended && !is_limited &&
                        peers_queued_bytes(transfers->peers, sending->link) <= LINK_QUEUE_BYTES;
        bool may_begin =
            fetch->state == FETCH_FREE && wanted_next(transfers) < transfers->wanted_count;
        if (may_write || may_send || may_begin || fetch->state == FETCH_ENDING) {
            return true;
        }
    }
    return false;
}

uint64_t transfers_deadline_ns(const struct transfers *transfers)
{
    uint64_t deadline_ns = UINT64_MAX;
    uint64_t next_ns = rate_limiter_deadline_ns(&transfers->limiter);
    for (uint32_t i = 0; i < TRANSFERS_MAX; i++) {
        const struct fetch *fetch = &transfers->fetches[i];
        const struct sending *sending = &transfers->sendings[i];
        if ((fetch->state == FETCH_DIALING || fetch->state == FETCH_RECEIVING) &&
            fetch->deadline_ns < deadline_ns) {
            deadline_ns = fetch->deadline_ns;
        }
        if (sending->link != 0 && sending->deadline_ns < deadline_ns) {
            deadline_ns = sending->deadline_ns;
        }
        if (sending->link != 0 && !sending->is_ended && next_ns < deadline_ns) {
            deadline_ns = next_ns;
        }
    }
    return deadline_ns;
}

struct transfer_stats transfers_stats(const struct transfers *transfers)
{
    return transfers->stats;
}

void transfers_set_rate(struct transfers *transfers, uint64_t bytes_per_second)
{
    transfers->limiter = (struct rate_limiter){ .per_second = bytes_per_second };
}

uint64_t transfers_sent_bytes(const struct transfers *transfers, uint32_t group, uint64_t node)
{
    for (uint32_t i = 0; i < TRANSFERS_MAX; i++) {
        const struct sending *sending = &transfers->sendings[i];
        if (sending->link != 0 && sending->group == group && sending->to == node) {
            return sending->bytes;
        }
    }
    return 0;
}
