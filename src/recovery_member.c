/*
 * recovery_member.c — see recovery_member.h.
 *
 * Invariants of a group_log:
 *   - kept entries have consecutive indexes from applied + 1 on, and terms that never fall;
 *   - none of them is committed (index > committed), or it would have been applied;
 *   - with a hole or a conflict nothing is kept.
 */
#include "recovery_member.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "cluster/confchange.h"
#include "log.h"
#include "storage/entry.h"

enum { KEPT_FIRST = 16 };

static bool take_entry(struct recovery_member *member, struct group_log *log,
                       const struct aof_record *record, const struct entry *entry);
static bool take_hard_state(struct recovery_member *member, struct group_log *log,
                            const struct aof_record *record);
static bool take_reset(struct recovery_member *member, struct group_log *log,
                       const struct aof_record *record);
static void kept_drop(struct group_log *log, uint64_t from_index);

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

/* What a group without entries starts from: the founder alone votes.  A newcomer must never take
 * itself for the founder, or it would elect itself in an empty group. */
static struct raft_config first_config(const struct members *members,
                                       const struct data_dir_meta *meta)
{
    struct raft_config config = { .members_count = 0 };
    uint64_t self = members_number(meta->node_id);
    bool is_founder = meta->clustered_sequence != 0;
    for (uint32_t i = 0; i < members->count && config.members_count == 0; i++) {
        const struct member *item = &members->items[i];
        if ((item->number == self) == is_founder) {
            bool added = raft_config_add(&config, item->number, item->incarnation, RAFT_VOTER);
            ASSERT(added);
        }
    }
    return config;
}

bool recovery_member_init(struct recovery_member *member, struct shard *shard, struct log *log,
                          const struct data_dir_meta *meta)
{
    *member = (struct recovery_member){
        .shard = shard,
        .log = log,
        .self = members_number(meta->node_id),
        .clustered_sequence = meta->clustered_sequence,
        .count = shard->keyspace.count + 1,
    };
    if (!members_decode(&member->members, slice_make(meta->members, meta->members_size))) {
        return false;
    }
    member->groups = mem_zalloc(member->count * sizeof(*member->groups));
    member->first_config = first_config(&member->members, meta);
    for (uint32_t i = 0; i < shard->keyspace.count; i++) {
        member->groups[i].config = member->first_config;
    }
    const struct members *members = &member->members;
    struct group_log *last = &member->groups[member->count - 1];
    *last = (struct group_log){
        .base_index = members->index,
        .base_term = members->term,
        .applied = members->index,
        .applied_term = members->term,
        .newest_term = members->term,
        .config = members->config,
    };
    return true;
}

void recovery_member_deinit(struct recovery_member *member)
{
    for (uint32_t i = 0; member->groups != NULL && i < member->count; i++) {
        struct group_log *log = &member->groups[i];
        kept_drop(log, 0);
        mem_free(log->kept);
        mem_free((char *)(uintptr_t)log->conflict.data);
    }
    mem_free(member->groups);
    member->groups = NULL;
}

static uint32_t group_number(const struct recovery_member *member, const struct group_log *log)
{
    uint32_t at = (uint32_t)(log - member->groups);
    return at + 1 == member->count ? (uint32_t)GROUP_META : at;
}

static struct group_log *group_of(struct recovery_member *member, uint32_t group)
{
    if (group == GROUP_META) {
        return &member->groups[member->count - 1];
    }
    return group < member->count - 1 ? &member->groups[group] : NULL;
}

void recovery_member_base(struct recovery_member *member, const struct snapshot_meta *meta,
                          const struct raft_config *config)
{
    struct group_log *log = group_of(member, meta->group);
    ASSERT(log != NULL && meta->group != GROUP_META);
    ASSERT(log->applied == 0);
    log->base_index = log->applied = meta->index;
    log->base_term = log->applied_term = log->newest_term = meta->term;
    log->base_sequence = meta->sequence;
    if (config->members_count > 0) {
        log->config = *config;
    }
}

void recovery_member_claim(struct recovery_member *member, uint32_t group, uint64_t index)
{
    struct group_log *log = group_of(member, group);
    if (log != NULL && index > log->claimed) {
        log->claimed = index;
    }
}

/* ── entries that are kept ───────────────────────────────────────────────────────────────────── */

static uint64_t last_index(const struct group_log *log)
{
    return log->applied + (log->kept_end - log->kept_head);
}

static uint64_t last_term(const struct group_log *log)
{
    return log->kept_end > log->kept_head ? log->kept_term : log->applied_term;
}

/* Drops the kept entries from this index on. */
static void kept_drop(struct group_log *log, uint64_t from_index)
{
    while (log->kept_end > log->kept_head && last_index(log) >= from_index) {
        log->kept_end--;
        mem_free((char *)(uintptr_t)log->kept[log->kept_end].data);
    }
    struct entry entry;
    if (log->kept_end > log->kept_head) {
        bool is_entry = entry_decode(log->kept[log->kept_end - 1], &entry);
        ASSERT(is_entry);
        log->kept_term = entry.term;
    } else {
        log->kept_head = log->kept_end = 0;
    }
}

static struct slice copy_of(struct slice bytes)
{
    char *copy = mem_alloc(bytes.size);
    memcpy(copy, bytes.data, bytes.size);
    return slice_make(copy, bytes.size);
}

static void kept_push(struct group_log *log, const struct entry *entry, struct slice bytes)
{
    ASSERT(entry->index == last_index(log) + 1);
    if (log->kept_end == log->kept_capacity) {
        log->kept_capacity = log->kept_capacity == 0 ? KEPT_FIRST : log->kept_capacity * 2;
        log->kept = mem_realloc(log->kept, log->kept_capacity * sizeof(struct slice));
    }
    log->kept[log->kept_end++] = copy_of(bytes);
    log->kept_term = entry->term;
}

/* ── applying ────────────────────────────────────────────────────────────────────────────────── */

static bool apply_meta(struct members *members, const struct entry *entry)
{
    switch (entry->kind) {
    case ENTRY_NOOP:
        break;
    case ENTRY_META:
        if (!members_apply(members, entry->body, entry->index, entry->term)) {
            return false;
        }
        break;
    case ENTRY_CONFIG:
        if (!raft_config_decode(entry->body, &members->config)) {
            return false;
        }
        break;
    case ENTRY_COMMAND:
    case ENTRY_EFFECT:
    case ENTRY_EXPIRE:
    case ENTRY_VERIFY:
        return false;
    }
    members->index = entry->index;
    members->term = entry->term;
    return true;
}

static bool apply(struct recovery_member *member, struct group_log *log, const struct entry *entry)
{
    ASSERT(entry->index == log->applied + 1);
    bool is_good = entry->group == GROUP_META ? apply_meta(&member->members, entry)
                                              : shard_apply_recovered(member->shard, entry);
    if (is_good && entry->kind == ENTRY_CONFIG) {
        is_good = raft_config_decode(entry->body, &log->config);
    }
    log->applied = entry->index;
    log->applied_term = entry->term;
    member->applied++;
    return is_good;
}

/* Applies what is kept and committed. */
static bool apply_committed(struct recovery_member *member, struct group_log *log)
{
    while (log->kept_head < log->kept_end && log->applied < log->committed) {
        struct slice bytes = log->kept[log->kept_head];
        struct entry entry;
        bool is_good = entry_decode(bytes, &entry);
        log->kept_head++; /* first: applying moves `applied`, from which the others count */
        is_good = is_good && apply(member, log, &entry);
        mem_free((char *)(uintptr_t)bytes.data);
        if (!is_good) {
            return false;
        }
    }
    if (log->kept_head == log->kept_end) {
        log->kept_head = log->kept_end = 0;
    }
    return true;
}

/* ── records ─────────────────────────────────────────────────────────────────────────────────── */

bool recovery_member_record(struct recovery_member *member, const struct aof_record *record)
{
    struct group_log *log = group_of(member, record->group);
    struct entry entry;
    if (log == NULL) {
        return false;
    }
    switch (record->type) {
    case AOF_ENTRY:
        return entry_decode(record->body, &entry) && entry.group == record->group &&
               take_entry(member, log, record, &entry);
    case AOF_HARD_STATE:
        return take_hard_state(member, log, record);
    case AOF_LOG_RESET:
        return take_reset(member, log, record);
    case AOF_MARK:
        break;
    }
    return false;
}

/* The group's log ends where it could be applied: something behind that is missing. */
static void open_hole(struct recovery_member *member, struct group_log *log, uint64_t stands_at)
{
    kept_drop(log, 0);
    if (!log->has_hole) {
        log->has_hole = !MUTANT(MUT_HOLE_FORGOTTEN);
        log_event(member->log, LOG_ERROR, "replica_damaged",
                  LOG_U64("group", group_number(member, log)),
                  LOG_U64("good_to_index", log->applied), LOG_U64("next_index", stands_at));
    }
}

/* A record says that the log was whole when it was written. */
static void close_hole(struct group_log *log, uint64_t sequence)
{
    if (log->has_hole) {
        log->has_hole = false;
        log->committed = log->applied; /* hints of what was lost say nothing about what follows */
    }
    log->log_proof = sequence;
}

/* From which record on the log holds what the group's snapshots do not: the newest, and the one
 * before. */
static void note_place(struct recovery_member *member, struct group_log *log, uint64_t sequence,
                       uint64_t index)
{
    if (index > log->base_index && log->beyond_sequence == 0) {
        log->beyond_sequence = sequence;
    }
    uint32_t number = group_number(member, log);
    if (number == GROUP_META) {
        return;
    }
    struct group *group = &member->shard->groups[number];
    if (index > group->snapshot_index_before && group->needed_sequence == UINT64_MAX) {
        group->needed_sequence = sequence;
    }
}

/* An entry at or below what is applied: all behind it is void.  At the base it tells whether this
 * log is the snapshot's. */
static void take_covered(struct recovery_member *member, struct group_log *log,
                         const struct aof_record *record, const struct entry *entry)
{
    kept_drop(log, 0);
    mem_free((char *)(uintptr_t)log->conflict.data);
    log->conflict = (struct slice){ 0 };
    member->skipped++;
    if (entry->index != log->applied || entry->term == log->applied_term) {
        return;
    }
    if (log->applied == log->base_index) {
        log->conflict = copy_of(record->body);
    } else { /* what was committed cannot be replaced */
        open_hole(member, log, entry->index);
    }
}

static bool take_entry(struct recovery_member *member, struct group_log *log,
                       const struct aof_record *record, const struct entry *entry)
{
    if (entry->term > log->newest_term) {
        log->newest_term = entry->term;
    }
    note_place(member, log, record->sequence, entry->index);
    if (log->conflict.size > 0 && entry->index > log->base_index) {
        member->skipped++; /* of the history that the snapshot's has replaced */
        return true;
    }
    if (entry->index > last_index(log) + 1) {
        open_hole(member, log, entry->index);
        return true;
    }
    close_hole(log, record->sequence); /* raft's log ended here when this was written */
    if (entry->index <= log->applied) {
        take_covered(member, log, record, entry);
        return true;
    }
    kept_drop(log, entry->index);
    if (entry->term < last_term(log)) {
        open_hole(member, log, entry->index);
        return true;
    }
    if (record->sequence < member->clustered_sequence && entry->index > log->committed) {
        log->committed = entry->index;
    }
    if (log->kept_end == log->kept_head && entry->index <= log->committed) {
        return apply(member, log, entry);
    }
    kept_push(log, entry, record->body);
    return apply_committed(member, log);
}

static bool take_hard_state(struct recovery_member *member, struct group_log *log,
                            const struct aof_record *record)
{
    if (!hard_state_read(record->body, &log->hard)) {
        return false;
    }
    if (!log->hard.is_suspect) {
        log->vote_proof = record->sequence;
    }
    if (log->hard.term > log->newest_term) {
        log->newest_term = log->hard.term;
    }
    if (log->hard.commit > log->committed) {
        log->committed = log->hard.commit;
    }
    if (!apply_committed(member, log)) {
        return false;
    }
    if (log->committed > last_index(log)) {
        open_hole(member, log, log->committed);
    }
    return true;
}

/* A configuration in which this node does not vote. */
static struct raft_config config_without_us(const struct recovery_member *member)
{
    struct raft_config config = { .members_count = 0 };
    for (uint32_t i = 0; i < member->members.count && config.members_count == 0; i++) {
        const struct member *item = &member->members.items[i];
        if (item->number != member->self) {
            bool added = raft_config_add(&config, item->number, item->incarnation, RAFT_VOTER);
            ASSERT(added);
        }
    }
    return config.members_count > 0 ? config : member->first_config;
}

/* The replica was vacated: what it held before is void.  A snapshot that was begun later is not. */
static void take_vacated(struct recovery_member *member, struct group_log *log, uint64_t sequence)
{
    uint32_t number = group_number(member, log);
    log->has_hole = false;
    log->log_proof = sequence;
    log->beyond_sequence = 0;
    log->committed = log->applied;
    if (number == GROUP_META || (log->base_index > 0 && log->base_sequence >= sequence)) {
        return;
    }
    log->base_index = log->base_term = log->base_sequence = 0;
    log->applied = log->applied_term = log->committed = 0;
    log->config = config_without_us(member);
    log->claimed = 0;
    shard_vacate(member->shard, number);
}

static bool take_reset(struct recovery_member *member, struct group_log *log,
                       const struct aof_record *record)
{
    struct log_reset reset;
    if (!log_reset_read(record->body, &reset)) {
        return false;
    }
    kept_drop(log, 0);
    mem_free((char *)(uintptr_t)log->conflict.data);
    log->conflict = (struct slice){ 0 };
    if (reset.index == 0) {
        take_vacated(member, log, record->sequence);
        return true;
    }
    if (reset.term > log->newest_term) {
        log->newest_term = reset.term;
    }
    bool is_other = reset.index == log->applied && reset.term != log->applied_term;
    if (reset.index > log->applied || is_other) {
        open_hole(member, log, reset.index + 1);
        return true;
    }
    close_hole(log, record->sequence);
    return true;
}

void recovery_member_lost(struct recovery_member *member, int32_t group, uint64_t last_sequence)
{
    for (uint32_t i = 0; i < member->count; i++) {
        struct group_log *log = &member->groups[i];
        if (group >= 0 && (uint32_t)group != group_number(member, log)) {
            continue;
        }
        kept_drop(log, 0); /* the lost ones might have replaced them */
        if (last_sequence > log->lost_sequence && !MUTANT(MUT_LOSS_FORGOTTEN)) {
            log->lost_sequence = last_sequence;
        }
    }
}

/* ── the end ─────────────────────────────────────────────────────────────────────────────────── */

/* The configuration in force: the newest in the log, applied or not. */
static struct raft_config newest_config(const struct group_log *log)
{
    struct raft_config config = log->config;
    for (uint32_t i = log->kept_head; i < log->kept_end; i++) {
        struct entry entry;
        struct raft_config next;
        if (entry_decode(log->kept[i], &entry) && entry.kind == ENTRY_CONFIG &&
            raft_config_decode(entry.body, &next)) {
            config = next;
        }
    }
    return config;
}

/* Who votes alone has nobody to ask what was lost: for him it is as for a lone node, which takes
 * what is left.  But the entries that made others vote may be what was lost; so the list of
 * members, which is always synced, must say so, too: three members vote together (members_target).
 */
static bool votes_alone(const struct recovery_member *member, const struct group_log *log,
                        const struct recovery_verdict *verdict)
{
    struct raft_config config = newest_config(log);
    return member->members.count < 3 && raft_config_is_alone(&config, verdict->self);
}

/* A power loss may have taken what was acknowledged. */
static bool is_suspect(const struct recovery_member *member, const struct group_log *log,
                       const struct recovery_verdict *verdict)
{
    if (verdict->salvage && (last_index(log) > 0 || !log->hard.is_suspect)) {
        return false; /* but who was vacated has nothing that could be salvaged */
    }
    if (log->hard.is_suspect || log->has_hole || log->claimed > last_index(log)) {
        return true;
    }
    if (log->lost_sequence != 0 &&
        (log->log_proof <= log->lost_sequence || log->vote_proof <= log->lost_sequence)) {
        return true;
    }
    if (verdict->begins_late && log->vote_proof == 0) {
        return true;
    }
    return verdict->has_lost_power && !votes_alone(member, log, verdict);
}

static struct replica_log replica_log_of(struct group_log *log)
{
    uint64_t last = last_index(log);
    uint64_t commit = log->committed > log->applied ? log->committed : log->applied;
    bool is_vote_of_term = log->hard.term == log->newest_term;
    struct replica_log out = {
        .boot = {
            .term = log->newest_term,
            .voted_for = is_vote_of_term ? log->hard.voted_for : 0,
            .base = { log->applied, log->applied_term, log->config },
            .commit_index = commit < last ? commit : last,
        },
    };
    uint32_t count = log->kept_end - log->kept_head;
    if (log->conflict.size > 0) {
        ASSERT(count == 0);
        out.entries = mem_alloc(sizeof(struct slice));
        out.entries[out.entries_count++] = log->conflict;
        log->conflict = (struct slice){ 0 };
    } else if (count > 0) {
        out.entries = mem_alloc(count * sizeof(struct slice));
        memcpy(out.entries, log->kept + log->kept_head, count * sizeof(struct slice));
        out.entries_count = count;
        log->kept_head = log->kept_end = 0;
    }
    return out;
}

/* Entries behind the base begin at beyond_sequence, whatever replaced them later. */
static void place_group(struct group *group, const struct group_log *log, uint64_t last,
                        uint64_t next_sequence)
{
    uint64_t beyond = log->beyond_sequence != 0 ? log->beyond_sequence : next_sequence;
    group->applied = log->applied;
    group->last_index = last;
    group->term = log->newest_term;
    group->snapshot_sequence = beyond - 1;
}

uint32_t recovery_member_finish(struct recovery_member *member,
                                const struct recovery_verdict *verdict, struct replica_log *logs)
{
    uint32_t suspects = 0;
    for (uint32_t i = 0; i < member->count; i++) {
        struct group_log *log = &member->groups[i];
        bool suspect = is_suspect(member, log, verdict);
        uint64_t last = last_index(log);
        if (log->hard.is_suspect && last == 0) {
            log->config = config_without_us(member); /* its reset may be gone from the log */
        }
        logs[i] = replica_log_of(log);
        logs[i].boot.is_suspect = suspect && !MUTANT(MUT_SUSPECT_FORGOTTEN);
        logs[i].boot.is_vacated =
            log->hard.is_suspect && last == 0 && log->claimed == 0 && !log->has_hole;
        suspects += suspect && !logs[i].boot.is_vacated ? 1 : 0;
        if (i + 1 < member->count) {
            place_group(&member->shard->groups[i], log, last, verdict->next_sequence);
        }
    }
    return suspects;
}
