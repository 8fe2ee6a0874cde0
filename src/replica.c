/*
 * replica.c — see replica.h.  Order: life, the window, what raft says.
 */
#include "replica.h"

#include "base/assert.h"
#include "base/mem.h"
#include "cluster/confchange.h"
#include "raft_wire.h"
#include "storage/entry.h"

enum {
    LOG_CAPACITY_FIRST = 64, /* slots of 16 bytes; doubled when entries come faster than they go */
    WINDOW_FIRST = 32,
};

static bool boot_entries(struct replica *replica, const struct slice *entries, uint32_t count);

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

struct replica *replica_new(uint32_t group, const struct raft_options *options,
                            const struct replica_boot *boot, uint64_t now_ms,
                            const struct slice *entries, uint32_t entries_count)
{
    struct replica *replica = mem_zalloc(sizeof(*replica));
    replica->group = group;
    replica->raft = mem_zalloc(raft_sizeof());
    replica->log_capacity = LOG_CAPACITY_FIRST;
    while (replica->log_capacity < 2 * entries_count) {
        replica->log_capacity *= 2;
    }
    replica->log_memory = mem_alloc(raft_log_memory_bytes(replica->log_capacity));
    replica->window_capacity = WINDOW_FIRST;
    replica->window = mem_zalloc(WINDOW_FIRST * sizeof(*replica->window));
    replica_window_reset(replica, boot->base.index + 1);
    replica->applied = boot->base.index;
    replica->applied_term = boot->base.term;
    replica->applied_config = boot->base.config;
    replica->is_vacated = boot->is_vacated;
    replica->is_purging = boot->is_vacated; /* a crash may have come between */
    struct raft_boot raft_boot = {
        .now_ms = now_ms,
        .term = boot->term,
        .voted_for = boot->voted_for,
        .snapshot = boot->base,
        .commit_index = boot->commit_index,
        .is_suspect = boot->is_suspect,
    };
    raft_init(replica->raft, options, &raft_boot, replica->log_memory, replica->log_capacity);
    if (!boot_entries(replica, entries, entries_count)) {
        replica_free(replica);
        return NULL;
    }
    replica_refresh(replica);
    return replica;
}

/* Gives raft the entries that were found behind the base.  A log that belongs to another history
 * than the base stops here: raft's first output resets it. */
static bool boot_entries(struct replica *replica, const struct slice *entries, uint32_t count)
{
    enum raft_boot_outcome outcome = RAFT_BOOT_OK;
    uint32_t i = 0;
    for (; i < count && (outcome == RAFT_BOOT_OK || outcome == RAFT_BOOT_COVERED); i++) {
        struct entry entry;
        struct raft_config config;
        if (!entry_decode(entries[i], &entry)) {
            outcome = RAFT_BOOT_INVALID;
            break;
        }
        bool is_config = entry.kind == ENTRY_CONFIG;
        if (is_config && !raft_config_decode(entry.body, &config)) {
            outcome = RAFT_BOOT_INVALID;
            break;
        }
        struct raft_entry raft_entry = {
            .index = entry.index,
            .term = entry.term,
            .size = (uint32_t)entries[i].size,
            .kind = (uint8_t)entry.kind,
            .config = is_config ? &config : NULL,
        };
        outcome = raft_boot_append(replica->raft, &raft_entry);
        if (outcome == RAFT_BOOT_OK) {
            if (entry.index <= replica->window_last) {
                replica_window_truncate(replica, entry.index);
            }
            replica->last_time_ms = entry.time_ms;
            replica_window_append(replica, (char *)(uintptr_t)entries[i].data,
                                  (uint32_t)entries[i].size, /* queued= */ false);
        } else {
            mem_free((char *)(uintptr_t)entries[i].data);
        }
    }
    for (; i < count; i++) {
        mem_free((char *)(uintptr_t)entries[i].data);
    }
    return outcome == RAFT_BOOT_OK || outcome == RAFT_BOOT_COVERED || outcome == RAFT_BOOT_CONFLICT;
}

void replica_free(struct replica *replica)
{
    if (replica == NULL) {
        return;
    }
    replica_window_reset(replica, replica->window_last + 1);
    pending_queue_deinit(&replica->pending);
    pending_queue_deinit(&replica->reads);
    mem_free(replica->window);
    mem_free(replica->log_memory);
    mem_free(replica->raft);
    mem_free(replica);
}

/* ── the window ──────────────────────────────────────────────────────────────────────────────── */

static struct window_entry *window_slot(const struct replica *replica, uint64_t index)
{
    return &replica->window[index & (replica->window_capacity - 1)];
}

struct window_entry *replica_window_at(const struct replica *replica, uint64_t index)
{
    ASSERT(index >= replica->window_first);
    ASSERT(index <= replica->window_last);
    return window_slot(replica, index);
}

struct slice replica_bytes(const struct replica *replica, uint64_t index)
{
    const struct window_entry *at = replica_window_at(replica, index);
    return slice_make(at->bytes, at->size);
}

static void window_grow(struct replica *replica)
{
    uint32_t capacity = replica->window_capacity * 2;
    struct window_entry *ring = mem_zalloc(capacity * sizeof(*ring));
    for (uint64_t i = replica->window_first; i <= replica->window_last; i++) {
        ring[i & (capacity - 1)] = *window_slot(replica, i);
    }
    mem_free(replica->window);
    replica->window = ring;
    replica->window_capacity = capacity;
}

void replica_window_append(struct replica *replica, char *bytes, uint32_t size, bool queued)
{
    if (replica->window_last + 1 - replica->window_first == replica->window_capacity) {
        window_grow(replica);
    }
    ASSERT(queued || !replica_has_queued(replica));
    replica->window_last += 1;
    *window_slot(replica, replica->window_last) = (struct window_entry){ bytes, size, 0 };
    replica->window_bytes += size;
    if (!queued) {
        replica->queued_first = replica->window_last + 1;
    }
}

static void window_drop(struct replica *replica, uint64_t index)
{
    struct window_entry *slot = window_slot(replica, index);
    replica->window_bytes -= slot->size;
    mem_free(slot->bytes);
    *slot = (struct window_entry){ 0 };
}

void replica_window_truncate(struct replica *replica, uint64_t index)
{
    ASSERT(index > replica->applied);
    while (replica->window_last >= index && replica->window_last >= replica->window_first) {
        window_drop(replica, replica->window_last--);
    }
    if (replica->queued_first > replica->window_last + 1) {
        replica->queued_first = replica->window_last + 1;
    }
}

void replica_window_forget(struct replica *replica, uint64_t index)
{
    ASSERT(index <= replica->applied);
    while (replica->window_first <= index && replica->window_first <= replica->window_last) {
        window_drop(replica, replica->window_first++);
    }
}

void replica_window_reset(struct replica *replica, uint64_t first)
{
    while (replica->window_first <= replica->window_last) {
        window_drop(replica, replica->window_first++);
    }
    replica->window_first = first;
    replica->window_last = first - 1;
    replica->queued_first = first;
}

/* ── what raft says ──────────────────────────────────────────────────────────────────────────── */

/* The log was never begun, and is not ours to begin. */
static bool is_vacant(const struct raft *raft)
{
    uint64_t at = 0;
    return raft_last_index(raft) == 0 && !raft_self_is_voter(raft, raft_config(raft, &at));
}

/* Other nodes' word counts where raft does not know, or is behind the times.  Of a group that it is
 * no member of any more, it may once have been ahead of them: it stood for election in vain. */
static void take_hint(struct replica *replica)
{
    bool is_member_in_doubt = replica->leader == 0 && replica->hint_term == replica->term;
    bool is_stranger = replica->leader == 0 && replica->is_vacant && replica->hint_term > 0;
    bool is_newer = replica->hint_term > replica->term || is_member_in_doubt || is_stranger;
    if (replica->role != RAFT_LEADER && is_newer) {
        replica->term = replica->hint_term;
        replica->leader = replica->hint_leader;
    }
}

void replica_refresh(struct replica *replica)
{
    const struct raft *raft = replica->raft;
    replica->role = raft_role(raft);
    replica->term = raft_term(raft);
    replica->leader = raft_leader(raft);
    replica->commit_index = raft_commit_index(raft);
    replica->is_vacant = is_vacant(raft);
    replica->is_vacated = replica->is_vacated && replica->is_vacant;
    take_hint(replica);
    replica->is_lease_known = false;
    replica->has_transfer = raft_has_transfer(raft);
}
