/*
 * recovery.c — see recovery.h.
 *
 * Damage accounting: entries of a group have consecutive indexes, so a group that lost records
 * shows a gap as soon as a later record of it is read.  Lost records whose group nobody can name
 * and that no gap explains may have belonged to any group that has no later record: those are
 * suspect too.
 */
#include "recovery.h"

#include "base/assert.h"
#include "base/mem.h"
#include "group_aux.h"
#include "io/io.h"
#include "log.h"
#include "recovery_member.h"
#include "storage/aof_reader.h"
#include "storage/snapshot.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>

/* A damaged snapshot file. */
struct rejected {
    uint32_t group;
    char file[64];
};

struct recovery {
    struct io *io;
    struct log *log;
    const struct recovery_options *options;
    struct shard *shard;
    struct recovery_result *result;
    struct aof_reader *reader;
    struct recovery_member member; /* with is_clustered */
    bool is_clustered;
    uint64_t *last_seen; /* per group: sequence of its newest record read; owned */
    bool *is_baseless;   /* per group: no snapshot was good; only a log from index 1 helps; owned */
    struct rejected *rejected; /* owned */
    uint32_t rejected_count;
    uint64_t unexplained;                 /* lost records that no gap has explained yet */
    uint64_t last_damage;                 /* highest lost sequence */
    uint64_t next_sequence, next_segment; /* where the log goes on */
    struct buffer aux;                    /* of the snapshot just loaded */
    bool has_foreign;                     /* files of another node: refuse to start */
    char *error;
    size_t error_size;
};

static int load_snapshots(struct recovery *recovery);
static int replay_log(struct recovery *recovery);
static int find_end(struct recovery *recovery);
static int open_log(struct recovery *recovery);
static void suspect_unexplained(struct recovery *recovery);
static void set_aside_rejected(struct recovery *recovery);
static void propose_after_damage(struct recovery *recovery);
static int begin_member(struct recovery *recovery);
static void finish_member(struct recovery *recovery);

int recovery_run(struct io *io, struct log *log, const struct recovery_options *options,
                 struct shard *shard, struct recovery_result *out_result, char *error,
                 size_t error_size)
{
    *out_result = (struct recovery_result){ 0 };
    struct recovery recovery = {
        .io = io,
        .log = log,
        .options = options,
        .shard = shard,
        .result = out_result,
        .last_seen = mem_zalloc(shard->keyspace.count * sizeof(uint64_t)),
        .is_baseless = mem_zalloc(shard->keyspace.count * sizeof(bool)),
        .error = error,
        .error_size = error_size,
        .is_clustered = options->meta->is_clustered,
    };
    uint64_t start_ns = io_clock_ns(io);
    int status = recovery.is_clustered ? begin_member(&recovery) : 0;
    if (status == 0) {
        status = load_snapshots(&recovery);
    }
    if (status == 0) {
        status = replay_log(&recovery);
    }
    if (status == 0) {
        status = find_end(&recovery);
    }
    if (status == 0) {
        if (recovery.is_clustered) {
            finish_member(&recovery);
        } else {
            suspect_unexplained(&recovery);
        }
        set_aside_rejected(&recovery);
        status = open_log(&recovery);
    }
    if (status == 0 && options->salvage && !recovery.is_clustered) {
        propose_after_damage(&recovery);
    }
    if (status < 0) {
        recovery_logs_drop(out_result);
    }
    recovery_member_deinit(&recovery.member);
    if (recovery.reader != NULL) {
        aof_reader_close(recovery.reader);
    }
    mem_free(recovery.last_seen);
    mem_free(recovery.is_baseless);
    mem_free(recovery.rejected);
    buffer_free(&recovery.aux);
    out_result->took_ms = (io_clock_ns(io) - start_ns) / 1000000;
    return status;
}

static int fail(struct recovery *recovery, int status, const char *what)
{
    (void)snprintf(recovery->error, recovery->error_size, "%s: %s", what, strerror(-status));
    return status;
}

/* ── snapshots ───────────────────────────────────────────────────────────────────────────────── */

static void damage_group(struct recovery *recovery, uint32_t number)
{
    struct group *group = &recovery->shard->groups[number];
    if (recovery->options->salvage || group->is_damaged) {
        return;
    }
    group->is_damaged = true;
    recovery->shard->damaged_count++;
}

static void group_take_snapshot(struct group *group, const struct snapshot_meta *meta)
{
    group->term = meta->term;
    group->last_index = meta->index;
    group->applied = meta->index;
    group->last_time_ms = meta->time_ms;
    group->snapshot_index = meta->index;
}

/* The snapshot is good: it is where the group stands. */
static bool take_candidate(struct recovery *recovery, const struct snapshot_file *file,
                           const struct snapshot_meta *meta)
{
    struct raft_config config;
    struct shard *shard = recovery->shard;
    if (!group_aux_decode(buffer_slice(&recovery->aux), &config, &shard->sessions[file->group])) {
        recovery->has_foreign = true;
        (void)snprintf(recovery->error, recovery->error_size,
                       "the snapshot of partition %u at %llu holds what this version cannot read",
                       file->group, (unsigned long long)file->index);
        return false;
    }
    group_take_snapshot(&shard->groups[file->group], meta);
    if (recovery->is_clustered) {
        recovery_member_base(&recovery->member, meta, &config);
    }
    recovery->result->snapshots++;
    recovery->result->snapshot_keys += meta->keys;
    return true;
}

/* Loads one candidate into the group's empty partition; true when it was good. */
static bool load_candidate(struct recovery *recovery, const struct snapshot_file *file)
{
    struct keyspace *keyspace = &recovery->shard->keyspace;
    struct snapshot_meta meta;
    struct snapshot_report report;
    enum snapshot_check check =
        snapshot_load(recovery->io, recovery->options->dir, file, recovery->options->meta->identity,
                      keyspace->partitions[file->group], &recovery->aux, &meta, &report);
    if (check == SNAPSHOT_GOOD) {
        return take_candidate(recovery, file, &meta);
    }
    recovery->has_foreign |= check == SNAPSHOT_FOREIGN || check == SNAPSHOT_TOO_NEW;
    recovery->result->snapshots_rejected++;
    log_event(recovery->log, LOG_ERROR, "snapshot_rejected", LOG_STR("file", report.file),
              LOG_U64("group", file->group), LOG_U64("offset", report.offset),
              LOG_STR("detail", report.detail));
    if (recovery->has_foreign) {
        (void)snprintf(recovery->error, recovery->error_size, "%s: %s", report.file, report.detail);
    }
    kv_free(keyspace->partitions[file->group]);
    keyspace->partitions[file->group] = kv_new(keyspace->hash_seed);
    if (check == SNAPSHOT_DAMAGED) {
        uint32_t count = ++recovery->rejected_count;
        recovery->rejected = mem_realloc(recovery->rejected, count * sizeof(struct rejected));
        struct rejected *rejected = &recovery->rejected[count - 1];
        rejected->group = file->group;
        (void)snprintf(rejected->file, sizeof(rejected->file), "%s", report.file);
    }
    return false;
}

/* Renames a damaged file, so that it never counts as a generation; people may want to look. */
static void set_aside(struct recovery *recovery, const char *file)
{
    char from[PATH_MAX];
    char to[PATH_MAX];
    (void)snprintf(from, sizeof(from), "%s/%s", recovery->options->dir, file);
    (void)snprintf(to, sizeof(to), "%s/%s.damaged", recovery->options->dir, file);
    struct io_file_op op = { .kind = IO_FILE_RENAME, .path = from, .path_to = to };
    if (io_file_run(recovery->io, &op) == 0) {
        op = (struct io_file_op){ .kind = IO_FILE_SYNC_DIR, .path = recovery->options->dir };
        (void)io_file_run(recovery->io, &op);
    }
}

/* The files of a group that is not served stay: they show the damage to the next start. */
static void set_aside_rejected(struct recovery *recovery)
{
    for (uint32_t i = 0; i < recovery->rejected_count; i++) {
        const struct rejected *rejected = &recovery->rejected[i];
        bool is_evidence =
            recovery->shard->groups[rejected->group].is_damaged ||
            (recovery->is_clustered && recovery->result->logs[rejected->group].boot.is_suspect);
        if (!is_evidence) {
            set_aside(recovery, rejected->file);
        }
    }
}

/* Files are sorted by group, newest first. */
static int load_snapshots(struct recovery *recovery)
{
    struct snapshot_file *files = NULL;
    int64_t count = snapshot_list(recovery->io, recovery->options->dir, /* clean= */ true, &files);
    if (count < 0) {
        return fail(recovery, (int)count, "cannot list snapshots");
    }
    uint32_t partitions = recovery->shard->keyspace.count;
    for (int64_t i = 0; i < count && !recovery->has_foreign;) {
        uint32_t number = files[i].group;
        bool is_loaded = number >= partitions;
        if (recovery->is_clustered) {
            recovery_member_claim(&recovery->member, number, files[i].index);
        }
        for (; i < count && files[i].group == number; i++) {
            if (!is_loaded) {
                is_loaded = load_candidate(recovery, &files[i]);
            } else if (number < partitions &&
                       recovery->shard->groups[number].snapshot_index_before == 0) {
                recovery->shard->groups[number].snapshot_index_before = files[i].index;
            }
        }
        if (!is_loaded) {
            recovery->is_baseless[number] = true;
        }
    }
    mem_free(files);
    return recovery->has_foreign ? -EINVAL : 0;
}

/* ── log ─────────────────────────────────────────────────────────────────────────────────────── */

static void report_damage(struct recovery *recovery)
{
    const struct aof_damage *damage = aof_reader_damage(recovery->reader);
    recovery->result->damages++;
    log_event(recovery->log, LOG_ERROR, "log_damaged", LOG_STR("file", damage->file),
              LOG_U64("offset", damage->offset), LOG_U64("first_sequence", damage->first_sequence),
              LOG_U64("last_sequence", damage->last_sequence), LOG_I64("group", damage->group));
    if (damage->kind == AOF_DAMAGE_IDENTITY || damage->kind == AOF_DAMAGE_FORMAT) {
        recovery->has_foreign = true;
        (void)snprintf(recovery->error, recovery->error_size, "%s: %s", damage->file,
                       damage->kind == AOF_DAMAGE_IDENTITY
                           ? "belongs to another data directory"
                           : "was written by a later version of minidb");
        return;
    }
    if (damage->last_sequence >= damage->first_sequence) {
        recovery->unexplained += damage->last_sequence - damage->first_sequence + 1;
        if (recovery->is_clustered) {
            recovery_member_lost(&recovery->member, damage->group, damage->last_sequence);
        }
        if (damage->last_sequence > recovery->last_damage) {
            recovery->last_damage = damage->last_sequence;
        }
    } else {
        recovery->unexplained += 1; /* how many is not known */
        recovery->last_damage = damage->first_sequence;
        if (recovery->is_clustered) {
            recovery_member_lost(&recovery->member, /* group= */ -1, damage->first_sequence);
        }
    }
}

/* An entry that does not follow the group's last one: records between were lost. */
static void report_gap(struct recovery *recovery, const struct entry *entry)
{
    struct group *group = &recovery->shard->groups[entry->group];
    uint64_t lost = entry->index - group->last_index - 1;
    recovery->unexplained -= lost < recovery->unexplained ? lost : recovery->unexplained;
    log_event(recovery->log, LOG_ERROR, "partition_damaged", LOG_U64("group", entry->group),
              LOG_U64("lost_from_index", group->last_index + 1),
              LOG_U64("lost_to_index", entry->index - 1),
              LOG_STR("served", recovery->options->salvage ? "with what is left" : "no"));
    damage_group(recovery, entry->group);
}

static int replay_member_record(struct recovery *recovery, const struct aof_record *record)
{
    if (recovery_member_record(&recovery->member, record)) {
        recovery->result->records = recovery->member.applied;
        recovery->result->skipped = recovery->member.skipped;
        return 0;
    }
    struct aof_position position = aof_reader_position(recovery->reader);
    (void)snprintf(recovery->error, recovery->error_size,
                   "%s: offset %llu: a record of type %d, group %u, that this version cannot apply",
                   position.file, (unsigned long long)position.offset, (int)record->type,
                   record->group);
    return -EINVAL;
}

static int replay_record(struct recovery *recovery, const struct aof_record *record)
{
    struct shard *shard = recovery->shard;
    struct entry entry;
    struct aof_position position = aof_reader_position(recovery->reader);
    if (record->type != AOF_ENTRY) {
        return 0; /* written by a cluster member; means nothing to a lone node */
    }
    if (!entry_decode(record->body, &entry) || entry.group != record->group ||
        entry.group >= shard->keyspace.count) {
        (void)snprintf(recovery->error, recovery->error_size,
                       "%s: offset %llu: an entry this version cannot read", position.file,
                       (unsigned long long)position.offset);
        return -EINVAL;
    }
    struct group *group = &shard->groups[entry.group];
    recovery->last_seen[entry.group] = record->sequence;
    if (group->needed_sequence == UINT64_MAX && entry.index > group->snapshot_index_before) {
        group->needed_sequence = record->sequence;
    }
    if (entry.index <= group->last_index) {
        group->snapshot_sequence = record->sequence;
        recovery->result->skipped++;
        return 0;
    }
    if (entry.index != group->last_index + 1) {
        report_gap(recovery, &entry);
    }
    if (group->is_damaged) {
        group->last_index = entry.index; /* counted, so that each gap is reported once */
        return 0;
    }
    if (!shard_apply_recovered(shard, &entry)) {
        (void)snprintf(recovery->error, recovery->error_size,
                       "%s: offset %llu: an entry of kind %d that this version cannot apply",
                       position.file, (unsigned long long)position.offset, (int)entry.kind);
        return -EINVAL;
    }
    recovery->result->records++;
    return 0;
}

static void report_progress(struct recovery *recovery, uint64_t *next_ns)
{
    uint64_t now_ns = io_clock_ns(recovery->io);
    if (now_ns < *next_ns) {
        return;
    }
    *next_ns = now_ns + 2000000000u;
    uint64_t done = 0, total = 0;
    aof_reader_progress(recovery->reader, &done, &total);
    log_event(recovery->log, LOG_INFO, "loading", LOG_U64("log_bytes", done),
              LOG_U64("of_bytes", total), LOG_U64("records", recovery->result->records));
}

static int replay_log(struct recovery *recovery)
{
    int status = aof_reader_open(recovery->io, recovery->options->dir,
                                 recovery->options->meta->identity, &recovery->reader);
    if (status < 0) {
        return fail(recovery, status, "cannot read the log");
    }
    uint64_t next_ns = io_clock_ns(recovery->io) + 2000000000u;
    struct aof_record record;
    for (uint64_t i = 0;; i++) {
        if (i % 65536 == 65535) {
            report_progress(recovery, &next_ns);
        }
        switch (aof_reader_next(recovery->reader, &record)) {
        case AOF_READ_RECORD:
            status = recovery->is_clustered ? replay_member_record(recovery, &record)
                                            : replay_record(recovery, &record);
            break;
        case AOF_READ_DAMAGE:
            report_damage(recovery);
            status = recovery->has_foreign ? -EINVAL : 0;
            break;
        case AOF_READ_ERROR:
            return fail(recovery, aof_reader_error(recovery->reader), "cannot read the log");
        case AOF_READ_END:
            return 0;
        }
        if (status < 0) {
            return status;
        }
    }
}

/* Files missing at the log's end leave no gap, but the meta file names the newest.  One sequence
 * number is left out for what they held, so that the next start sees a gap. */
static int find_end(struct recovery *recovery)
{
    const struct aof_end *end = aof_reader_end(recovery->reader);
    uint64_t newest = recovery->options->meta->aof_segment;
    recovery->next_sequence = end->next_sequence;
    recovery->next_segment = end->next_segment;
    if (!aof_end_is_missing(end, newest)) {
        return 0;
    }
    recovery->result->damages++;
    log_event(recovery->log, LOG_ERROR, "log_damaged", LOG_U64("newest_segment", newest),
              LOG_U64("last_segment", end->segment), LOG_U64("first_sequence", end->next_sequence),
              LOG_STR("detail", "the log's newest file is missing"));
    if (end->segment == 0 && !recovery->options->salvage) {
        /* A new log would have nothing before the gap that shows it. */
        (void)snprintf(recovery->error, recovery->error_size,
                       "%s: all of the log is missing (its newest file was number %llu); see "
                       "--recover salvage",
                       recovery->options->dir, (unsigned long long)newest);
        return -EINVAL;
    }
    recovery->unexplained += 1; /* how many is not known */
    recovery->last_damage = end->next_sequence;
    if (recovery->is_clustered) {
        recovery_member_lost(&recovery->member, /* group= */ -1, end->next_sequence);
    }
    recovery->next_sequence = end->next_sequence + 1;
    recovery->next_segment = newest + 1;
    return 0;
}

/* Lost records that no gap explains: any group without a later record may have lost its newest.
 * And a group whose snapshots are all bad has nothing without its log. */
static bool is_suspect(const struct recovery *recovery, uint32_t number)
{
    uint64_t last_seen = recovery->last_seen[number];
    return (recovery->unexplained > 0 && last_seen < recovery->last_damage) ||
           (recovery->is_baseless[number] && last_seen == 0);
}

static void suspect_unexplained(struct recovery *recovery)
{
    struct shard *shard = recovery->shard;
    uint32_t suspects = 0;
    for (uint32_t i = 0; i < shard->keyspace.count; i++) {
        if (is_suspect(recovery, i)) {
            damage_group(recovery, i);
            suspects++;
        }
    }
    if (suspects > 0) {
        log_event(recovery->log, LOG_ERROR, "partitions_suspect",
                  LOG_U64("lost_records", recovery->unexplained), LOG_U64("partitions", suspects),
                  LOG_STR("served", recovery->options->salvage ? "with what is left" : "no"));
    }
}

/* ── a member of a cluster ───────────────────────────────────────────────────────────────────── */

static int begin_member(struct recovery *recovery)
{
    if (recovery_member_init(&recovery->member, recovery->shard, recovery->log,
                             recovery->options->meta)) {
        return 0;
    }
    (void)snprintf(recovery->error, recovery->error_size,
                   "%s: the members in meta-a and meta-b cannot be read", recovery->options->dir);
    return -EINVAL;
}

/* True when a power loss may have taken what this node had acknowledged. */
static bool has_lost_power(struct recovery *recovery)
{
    const struct data_dir_meta *meta = recovery->options->meta;
    char boot[IO_MACHINE_BOOT_BYTES];
    io_machine_boot(recovery->io, boot);
    bool is_same_boot = boot[0] != '\0' && strcmp(boot, meta->machine_boot) == 0;
    bool was_lax = meta->was_lax || recovery->options->sync != AOF_SYNC_ALWAYS;
    return was_lax && !meta->clean && !is_same_boot;
}

/* Files are numbered from 1.  What a node gave up while it was alone is no loss. */
static bool log_begins_late(const struct aof_reader *reader, const struct data_dir_meta *meta)
{
    uint64_t number = 0, first = 0, bytes = 0;
    if (aof_reader_segments(reader) > 0) {
        aof_reader_segment(reader, 0, &number, &first, &bytes);
    }
    return number > 1 && first > meta->clustered_sequence;
}

static void finish_member(struct recovery *recovery)
{
    const struct data_dir_meta *meta = recovery->options->meta;
    struct recovery_result *result = recovery->result;
    const struct aof_end *end = aof_reader_end(recovery->reader);
    if (end->torn && meta->clean) { /* a clean stop leaves none: that was acknowledged */
        recovery_member_lost(&recovery->member, /* group= */ -1, end->next_sequence);
    }
    struct recovery_verdict verdict = {
        .salvage = recovery->options->salvage,
        .has_lost_power = has_lost_power(recovery),
        .begins_late = log_begins_late(recovery->reader, meta),
        .self = members_number(meta->node_id),
        .next_sequence = recovery->next_sequence,
    };
    result->logs_count = recovery->member.count;
    result->logs = mem_zalloc(result->logs_count * sizeof(*result->logs));
    result->suspects = recovery_member_finish(&recovery->member, &verdict, result->logs);
    result->members = recovery->member.members;
    result->clustered_sequence = meta->clustered_sequence < recovery->next_sequence
                                     ? meta->clustered_sequence
                                     : recovery->next_sequence;
    if (result->suspects > 0) {
        log_event(
            recovery->log, LOG_WARN, "replicas_suspect", LOG_U64("groups", result->suspects),
            LOG_U64("lost_records", recovery->unexplained),
            LOG_BOOL("power_loss", verdict.has_lost_power),
            LOG_STR("meaning", "they follow, and vote again when a leader has completed them"));
    }
}

void recovery_logs_drop(struct recovery_result *result)
{
    for (uint32_t i = 0; i < result->logs_count; i++) {
        for (uint32_t j = 0; j < result->logs[i].entries_count; j++) {
            mem_free((char *)(uintptr_t)result->logs[i].entries[j].data);
        }
    }
    recovery_logs_free(result);
}

bool recovery_is_settled(const struct consensus *consensus)
{
    for (uint32_t i = 0; consensus != NULL && i < consensus->count; i++) {
        const struct replica *replica = consensus->replicas[i];
        if (raft_is_suspect(replica->raft) && !replica->is_vacated) {
            return false;
        }
    }
    return true;
}

void recovery_stamp(struct io *io, bool is_settled, enum aof_sync sync, struct data_dir_meta *meta)
{
    bool is_lax = sync != AOF_SYNC_ALWAYS;
    if (is_settled) {
        io_machine_boot(io, meta->machine_boot);
        meta->was_lax = is_lax;
    } else {
        meta->was_lax |= is_lax;
    }
}

void recovery_logs_free(struct recovery_result *result)
{
    for (uint32_t i = 0; i < result->logs_count; i++) {
        mem_free(result->logs[i].entries);
    }
    mem_free(result->logs);
    result->logs = NULL;
    result->logs_count = 0;
}

/* ── the log goes on ─────────────────────────────────────────────────────────────────────────── */

/* Whoever salvages takes what is left for all there is: an empty entry behind the damage says so to
 * the next start. */
static void propose_after_damage(struct recovery *recovery)
{
    for (uint32_t i = 0; i < recovery->shard->keyspace.count; i++) {
        if (is_suspect(recovery, i)) {
            shard_propose_entry(recovery->shard, i, ENTRY_NOOP, (struct slice){ 0 });
        }
    }
}

/* Where the log stands in relation to each group's snapshots. */
static void place_groups(struct shard *shard, uint64_t next_sequence)
{
    for (uint32_t i = 0; i < shard->keyspace.count; i++) {
        struct group *group = &shard->groups[i];
        group->applied = group->last_index;
        if (group->snapshot_sequence == 0) {
            /* No record that the snapshot holds is left in the log. */
            group->snapshot_sequence = group->needed_sequence != UINT64_MAX
                                           ? group->needed_sequence - 1
                                           : next_sequence - 1;
        }
    }
}

static int open_log(struct recovery *recovery)
{
    const struct aof_end *end = aof_reader_end(recovery->reader);
    struct shard *shard = recovery->shard;
    if (end->torn) {
        recovery->result->is_torn = true;
        int kept = aof_reader_keep_torn(recovery->reader);
        log_event(recovery->log, LOG_WARN, "log_tail_torn", LOG_STR("file", end->file),
                  LOG_U64("offset", end->offset), LOG_U64("bytes", end->torn_bytes),
                  LOG_BOOL("kept_copy", kept == 0));
    }
    struct aof_options options = {
        .dir = recovery->options->dir,
        .segment_bytes = recovery->options->segment_bytes,
        .sync = recovery->options->sync,
        .identity = recovery->options->meta->identity,
        .next_sequence = recovery->next_sequence,
        .next_segment = recovery->next_segment,
        .end_offset = end->offset,
    };
    int status = aof_open(recovery->io, &options, &shard->aof);
    if (status < 0) {
        return fail(recovery, status, "cannot open the log for writing");
    }
    for (uint32_t i = 0; i < aof_reader_segments(recovery->reader); i++) {
        uint64_t number = 0, first = 0, bytes = 0;
        aof_reader_segment(recovery->reader, i, &number, &first, &bytes);
        aof_adopt_segment(shard->aof, number, first, bytes);
    }
    recovery->result->next_segment = recovery->next_segment;
    shard->proposed_sequence = recovery->next_sequence - 1;
    shard->applied_sequence = recovery->next_sequence - 1;
    if (!recovery->is_clustered) {
        place_groups(shard, recovery->next_sequence);
    }
    return 0;
}
