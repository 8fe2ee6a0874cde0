/*
 * check.c — see check.h.
 *
 * Idea: one pass collects what was found into a JSON object; the text report is that object,
 * printed as tables.  Only records, of which there may be millions, are printed as they are read.
 *
 * What counts as damage: a bad copy of the directory's identity, a bad snapshot file, lost log
 * records, a newest log segment that is missing, and entries of a group that lie neither in a good
 * snapshot nor in the log.  (A member's log may replace its end, and begin anew behind a snapshot
 * that another node sent: consensus.h.)
 *
 * Read next: storage/aof_reader.h, storage/snapshot.h, storage/data_dir.h, docs/FORMATS.md.
 */
#include "check.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/varint.h"
#include "cluster/confchange.h"
#include "command/command.h"
#include "group_aux.h"
#include "members.h"
#include "replica.h"
#include "storage/aof_reader.h"
#include "storage/data_dir.h"
#include "storage/entry.h"
#include "storage/hard_state.h"
#include "storage/snapshot.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

enum { GROUPS_MAX = PARTITIONS_MAX + 1 }; /* the last one stands for the meta group */

struct check_group {            /* what is known about one group */
    uint64_t snapshot_index;    /* of the newest good snapshot; 0: none */
    uint64_t snapshot_sequence; /* of the log when it was begun */
    uint64_t first_index;       /* in the log; 0: none */
    uint64_t last_index;
    uint64_t entries;
    uint64_t missing; /* entries between snapshot, first and last that are nowhere */
};

struct check_segment {
    uint64_t number;
    uint64_t bytes; /* of the file; 0: there is none */
    uint64_t records;
    uint64_t first_sequence, last_sequence;
    uint64_t damages;
    uint8_t groups[PARTITIONS_MAX / 8]; /* bit per group that has a record in it */
};

struct check {
    struct io *io;
    const char *dir;
    bool records;
    bool json;
    struct buffer *out;
    struct data_dir_meta meta;
    bool has_meta;
    struct members members; /* of a member of a cluster; else count is 0 */
    struct buffer aux;      /* scratch */
    bool is_damaged;
    bool has_failed;

    struct check_group *groups; /* owned, GROUPS_MAX */
    struct check_segment *log;  /* owned: the log's segments */
    uint32_t log_count;
    json_t *report;                         /* owned */
    json_t *snapshots, *segments, *damages; /* borrowed from report */
};

static bool look_at_identity(struct check *check);
static void look_at_snapshots(struct check *check);
static void look_at_log(struct check *check);
static void look_at_groups(struct check *check);
static void print_text(struct check *check);
static void print_json(struct check *check);

int check_run(struct io *io, const char *dir, bool records, bool json, struct buffer *out)
{
    struct check check = {
        .io = io,
        .dir = dir,
        .records = records,
        .json = json,
        .out = out,
        .groups = mem_zalloc(GROUPS_MAX * sizeof(struct check_group)),
        .report = json_object(),
        .snapshots = json_array(),
        .segments = json_array(),
        .damages = json_array(),
    };
    (void)json_object_set_new(check.report, "directory", json_string(dir));
    (void)json_object_set_new(check.report, "snapshots", check.snapshots);
    (void)json_object_set_new(check.report, "log", check.segments);
    (void)json_object_set_new(check.report, "damage", check.damages);
    if (json) {
        buffer_append_text(out, records ? "{\"records\":[" : "{");
    }
    if (look_at_identity(&check)) {
        look_at_snapshots(&check);
        look_at_log(&check);
        look_at_groups(&check);
    }
    const char *result = check.is_damaged ? "damaged" : "clean";
    result = check.has_failed ? "error" : result;
    (void)json_object_set_new(check.report, "result", json_string(result));
    if (json) {
        print_json(&check);
    } else {
        print_text(&check);
    }
    json_decref(check.report);
    mem_free(check.groups);
    mem_free(check.log);
    buffer_free(&check.aux);
    if (check.has_failed) {
        return CHECK_ERROR;
    }
    return check.is_damaged ? CHECK_DAMAGED : CHECK_CLEAN;
}

static json_t *number(uint64_t value)
{
    return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

static void failed(struct check *check, const char *what)
{
    check->has_failed = true;
    (void)json_object_set_new(check->report, "error", json_string(what));
}

/* Notes something that was stored and is not what it was.  Takes `item`. */
static void damaged(struct check *check, json_t *item, const char *file, const char *what)
{
    check->is_damaged = true;
    (void)json_object_set_new(item, "file", json_string(file));
    (void)json_object_set_new(item, "what", json_string(what));
    (void)json_array_append_new(check->damages, item);
}

/* ── identity ────────────────────────────────────────────────────────────────────────────────── */

static void identity_report(struct check *check)
{
    char text[32];
    const struct data_dir_meta *meta = &check->meta;
    (void)json_object_set_new(check->report, "node", json_string(meta->node_id));
    (void)snprintf(text, sizeof(text), "%016" PRIx64, meta->identity);
    (void)json_object_set_new(check->report, "identity", json_string(text));
    (void)json_object_set_new(check->report, "partitions", number(meta->partitions));
    (void)json_object_set_new(check->report, "boots", number(meta->boots));
    (void)json_object_set_new(check->report, "clean_stop", json_boolean(meta->clean));
    (void)json_object_set_new(check->report, "clustered", json_boolean(meta->is_clustered));
}

static json_t *hex(uint64_t value)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "%016" PRIx64, value);
    return json_string(text);
}

/* The part of a member of a cluster: the meta file is the meta group's snapshot. */
static void members_report(struct check *check)
{
    const struct data_dir_meta *meta = &check->meta;
    const struct members *members = &check->members;
    json_t *rows = json_array();
    (void)json_object_set_new(check->report, "clustered_sequence",
                              number(meta->clustered_sequence));
    (void)json_object_set_new(check->report, "machine_boot", json_string(meta->machine_boot));
    (void)json_object_set_new(check->report, "lax_sync", json_boolean(meta->was_lax));
    (void)json_object_set_new(check->report, "epoch", number(members->epoch));
    (void)json_object_set_new(check->report, "members_index", number(members->index));
    (void)json_object_set_new(check->report, "members", rows);
    for (uint32_t i = 0; i < members->count; i++) {
        const struct member *member = &members->items[i];
        json_t *row = json_object();
        (void)json_object_set_new(row, "node", json_string(member->id));
        (void)json_object_set_new(row, "host", json_string(member->host));
        (void)json_object_set_new(row, "port", number(member->port));
        (void)json_object_set_new(row, "cluster_port", number(member->cluster_port));
        (void)json_object_set_new(row, "zone", json_string(member->zone));
        (void)json_object_set_new(row, "number", hex(member->number));
        (void)json_object_set_new(row, "incarnation", hex(member->incarnation));
        (void)json_array_append_new(rows, row);
    }
}

static void look_at_members(struct check *check)
{
    const struct data_dir_meta *meta = &check->meta;
    if (!meta->is_clustered) {
        return;
    }
    if (!members_decode(&check->members, slice_make(meta->members, meta->members_size))) {
        damaged(check, json_object(), "meta-a, meta-b", "the list of members cannot be read");
        return;
    }
    check->groups[PARTITIONS_MAX].snapshot_index = check->members.index;
    members_report(check);
}

/* False when there is nothing to look at, or nobody may look now. */
static bool look_at_identity(struct check *check)
{
    char detail[256];
    struct data_dir *dir = NULL;
    enum data_dir_result result = data_dir_open(check->io, check->dir, /* read_only= */ true,
                                                &check->meta, &dir, detail, sizeof(detail));
    data_dir_close(dir);
    switch (result) {
    case DATA_DIR_NEW:
        failed(check, "this is no data directory: it holds neither meta-a nor meta-b");
        return false;
    case DATA_DIR_LOCKED:
        failed(check, "a server is using it: stop the server, or check a copy");
        return false;
    case DATA_DIR_TOO_NEW:
    case DATA_DIR_ERROR:
        failed(check, detail);
        return false;
    case DATA_DIR_DAMAGED:
        damaged(check, json_object(), "meta-a, meta-b", detail);
        return true;
    case DATA_DIR_EXISTING:
        break;
    }
    check->has_meta = true;
    identity_report(check);
    look_at_members(check);
    if (detail[0] != '\0') {
        damaged(check, json_object(), "meta-a, meta-b", detail);
    }
    return true;
}

/* ── snapshots ───────────────────────────────────────────────────────────────────────────────── */

static const char *snapshot_state(enum snapshot_check state)
{
    switch (state) {
    case SNAPSHOT_GOOD:
        return "good";
    case SNAPSHOT_DAMAGED:
        return "damaged";
    case SNAPSHOT_FOREIGN:
        return "foreign";
    case SNAPSHOT_TOO_NEW:
        return "too new";
    case SNAPSHOT_UNREADABLE:
        return "unreadable";
    }
    UNREACHABLE();
}

/* What belongs to the group beside its keys; false when it cannot be read. */
static bool aux_report(const struct check *check, json_t *row)
{
    struct raft_config config;
    struct sessions sessions = { 0 };
    bool is_good = group_aux_decode(buffer_slice(&check->aux), &config, &sessions);
    uint32_t voters = 0;
    for (uint32_t i = 0; i < config.members_count; i++) {
        voters += raft_member_votes(&config.members[i]) ? 1 : 0;
    }
    (void)json_object_set_new(row, "voters", number(voters));
    (void)json_object_set_new(row, "learners", number(config.members_count - voters));
    (void)json_object_set_new(row, "sessions", number(sessions.count));
    sessions_deinit(&sessions);
    return is_good;
}

static void look_at_snapshot(struct check *check, const struct snapshot_file *file)
{
    struct snapshot_meta meta;
    struct snapshot_report report;
    uint64_t identity = check->has_meta ? check->meta.identity : 0;
    enum snapshot_check state =
        snapshot_load(check->io, check->dir, file, identity, NULL, &check->aux, &meta, &report);
    json_t *row = json_object();
    if (state == SNAPSHOT_GOOD && !aux_report(check, row)) {
        state = SNAPSHOT_DAMAGED;
        (void)snprintf(report.detail, sizeof(report.detail), "aux cannot be read");
    }
    (void)json_object_set_new(row, "file", json_string(report.file));
    (void)json_object_set_new(row, "group", number(file->group));
    (void)json_object_set_new(row, "index", number(file->index));
    (void)json_object_set_new(row, "term", number(meta.term));
    (void)json_object_set_new(row, "keys", number(meta.keys));
    (void)json_object_set_new(row, "bytes", number(meta.bytes));
    (void)json_object_set_new(row, "aux_bytes", number(meta.aux_bytes));
    (void)json_object_set_new(row, "state", json_string(snapshot_state(state)));
    (void)json_array_append_new(check->snapshots, row);
    struct check_group *group = &check->groups[file->group];
    if (state == SNAPSHOT_GOOD) {
        if (group->snapshot_index < file->index) {
            group->snapshot_index = file->index;
            group->snapshot_sequence = meta.sequence;
        }
        return;
    }
    json_t *item = json_object();
    (void)json_object_set_new(item, "offset", number(report.offset));
    (void)json_object_set_new(item, "group", number(file->group));
    damaged(check, item, report.file, report.detail);
}

static void look_at_snapshots(struct check *check)
{
    struct snapshot_file *files = NULL;
    int64_t count = snapshot_list(check->io, check->dir, /* clean= */ false, &files);
    if (count < 0) {
        failed(check, strerrordesc_np((int)-count));
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        look_at_snapshot(check, &files[i]);
    }
    mem_free(files);
}

/* ── log ─────────────────────────────────────────────────────────────────────────────────────── */

static const char *damage_text(enum aof_damage_kind kind)
{
    switch (kind) {
    case AOF_DAMAGE_HEADER:
        return "a record's header is not what was written";
    case AOF_DAMAGE_BODY:
        return "a record's body is not what was written";
    case AOF_DAMAGE_SEGMENT:
        return "the segment's header is not what was written";
    case AOF_DAMAGE_MISSING:
        return "the segment is missing";
    case AOF_DAMAGE_IDENTITY:
        return "the segment belongs to another data directory";
    case AOF_DAMAGE_FORMAT:
        return "the segment was written in a later format";
    }
    UNREACHABLE();
}

static const char *entry_kind_name(enum entry_kind kind)
{
    switch (kind) {
    case ENTRY_NOOP:
        return "noop";
    case ENTRY_COMMAND:
        return "command";
    case ENTRY_EFFECT:
        return "effect";
    case ENTRY_EXPIRE:
        return "expire";
    case ENTRY_CONFIG:
        return "config";
    case ENTRY_VERIFY:
        return "verify";
    case ENTRY_META:
        return "meta";
    }
    UNREACHABLE();
}

/* The name of the command in a COMMAND entry, or an empty text. */
static const char *command_name(const struct entry *entry)
{
    uint64_t opcode = 0;
    const char *end = entry->body.data + entry->body.size;
    if (entry->kind != ENTRY_COMMAND || varint_read(entry->body.data, end, &opcode) == NULL) {
        return "";
    }
    const struct command *command = command_by_opcode(opcode);
    return command != NULL ? command->name : "unknown";
}

static const char *record_name(enum aof_type type)
{
    switch (type) {
    case AOF_ENTRY:
        return "entry";
    case AOF_HARD_STATE:
        return "hard state";
    case AOF_MARK:
        return "mark";
    case AOF_LOG_RESET:
        return "log reset";
    }
    return "unknown";
}

/* Who got a vote, by name if it is a member. */
static void voted_name(const struct check *check, uint64_t voted_for, char out[MEMBER_TEXT_MAX])
{
    const struct member *member = members_find(&check->members, voted_for);
    if (member != NULL) {
        (void)snprintf(out, MEMBER_TEXT_MAX, "%s", member->id);
    } else {
        (void)snprintf(out, MEMBER_TEXT_MAX, voted_for == 0 ? "nobody" : "%016" PRIx64, voted_for);
    }
}

static void state_print_json(const struct check *check, const struct aof_record *record,
                             json_t *row)
{
    struct hard_state state;
    struct log_reset reset;
    if (record->type == AOF_HARD_STATE && hard_state_read(record->body, &state)) {
        char voted[MEMBER_TEXT_MAX];
        voted_name(check, state.voted_for, voted);
        (void)json_object_set_new(row, "term", number(state.term));
        (void)json_object_set_new(row, "voted_for", json_string(voted));
        (void)json_object_set_new(row, "commit", number(state.commit));
        (void)json_object_set_new(row, "suspect", json_boolean(state.is_suspect));
    } else if (record->type == AOF_LOG_RESET && log_reset_read(record->body, &reset)) {
        (void)json_object_set_new(row, "index", number(reset.index));
        (void)json_object_set_new(row, "term", number(reset.term));
    }
}

static void state_print(const struct check *check, const struct aof_record *record)
{
    struct hard_state state;
    struct log_reset reset;
    buffer_printf(check->out, "  %s", record_name(record->type));
    if (record->type == AOF_HARD_STATE && hard_state_read(record->body, &state)) {
        char voted[MEMBER_TEXT_MAX];
        voted_name(check, state.voted_for, voted);
        buffer_printf(check->out, "  term %" PRIu64 "  voted for %s  commit %" PRIu64 "%s",
                      state.term, voted, state.commit, state.is_suspect ? "  suspect" : "");
    } else if (record->type == AOF_LOG_RESET && log_reset_read(record->body, &reset)) {
        buffer_printf(check->out, "  index %" PRIu64 "  term %" PRIu64, reset.index, reset.term);
    }
}

static void record_print_json(struct check *check, const struct aof_record *record,
                              const struct entry *entry, const struct aof_position *position)
{
    json_t *row = json_object();
    (void)json_object_set_new(row, "sequence", number(record->sequence));
    (void)json_object_set_new(row, "file", json_string(position->file));
    (void)json_object_set_new(row, "offset", number(position->offset));
    (void)json_object_set_new(row, "group", number(record->group));
    (void)json_object_set_new(row, "bytes", number(record->body.size));
    (void)json_object_set_new(row, "more", json_boolean(record->more));
    (void)json_object_set_new(row, "type", json_string(record_name(record->type)));
    state_print_json(check, record, row);
    if (entry != NULL) {
        (void)json_object_set_new(row, "index", number(entry->index));
        (void)json_object_set_new(row, "term", number(entry->term));
        (void)json_object_set_new(row, "time_ms", number(entry->time_ms));
        (void)json_object_set_new(row, "kind", json_string(entry_kind_name(entry->kind)));
        (void)json_object_set_new(row, "command", json_string(command_name(entry)));
    }
    char *text = json_dumps(row, JSON_COMPACT);
    const char *last = check->out->data + check->out->size - 1;
    buffer_append_text(check->out, *last == '[' ? "\n" : ",\n");
    buffer_append_text(check->out, text != NULL ? text : "{}");
    json_decref(row);
    free(text); /* jansson's */
}

static void record_print(struct check *check, const struct aof_record *record,
                         const struct entry *entry, const struct aof_position *position)
{
    if (check->json) {
        record_print_json(check, record, entry, position);
        return;
    }
    buffer_printf(check->out, "%s %10" PRIu64 "  record %" PRIu64 "%s  group %u  %zu bytes",
                  position->file, position->offset, record->sequence, record->more ? "+" : "",
                  record->group, record->body.size);
    if (entry == NULL) {
        state_print(check, record);
    } else {
        const char *name = command_name(entry);
        buffer_printf(check->out, "  index %" PRIu64 "  term %" PRIu64 "  time %" PRIu64 "  %s%s%s",
                      entry->index, entry->term, entry->time_ms, entry_kind_name(entry->kind),
                      name[0] != '\0' ? " " : "", name);
    }
    buffer_append_text(check->out, "\n");
}

/* Of a partition or the meta group; NULL: of neither. */
static struct check_group *group_of(struct check *check, uint32_t group)
{
    if (group == GROUP_META) {
        return &check->groups[PARTITIONS_MAX];
    }
    return group < PARTITIONS_MAX ? &check->groups[group] : NULL;
}

/* The group's log goes on at `index`: what should lie before it and does not is missing.  A
 * member's snapshot covers what the log never held: another node sent it. */
static void place_count(const struct check *check, struct check_group *group, uint64_t index)
{
    uint64_t last = group->last_index > 0 ? group->last_index : group->snapshot_index;
    if (check->meta.is_clustered && group->snapshot_index > last) {
        last = group->snapshot_index;
    }
    if (index > last + 1) {
        group->missing += index - last - 1;
    }
}

static void entry_count(struct check *check, const struct entry *entry)
{
    struct check_group *group = group_of(check, entry->group);
    place_count(check, group, entry->index);
    if (group->entries == 0) {
        group->first_index = entry->index;
    }
    if (check->meta.is_clustered || entry->index > group->last_index) {
        group->last_index = entry->index; /* what a member had behind it is void */
    }
    group->entries += 1;
}

/* True when it is as it must be. */
static bool reset_count(struct check *check, const struct aof_record *record)
{
    struct check_group *group = group_of(check, record->group);
    struct log_reset reset;
    if (group == NULL || !log_reset_read(record->body, &reset)) {
        return false;
    }
    if (reset.index == 0) { /* vacated: what was there before is void, also what was missing */
        bool is_later = group->snapshot_sequence >= record->sequence;
        *group = is_later ? *group : (struct check_group){ 0 };
        group->missing = 0;
        group->last_index = 0;
        return true;
    }
    place_count(check, group, reset.index + 1);
    group->last_index = reset.index;
    return true;
}

/* A record that is no entry. */
static bool state_count(struct check *check, const struct aof_record *record)
{
    struct hard_state state;
    if (record->type == AOF_LOG_RESET) {
        return reset_count(check, record);
    }
    return record->type == AOF_HARD_STATE && group_of(check, record->group) != NULL &&
           hard_state_read(record->body, &state);
}

static void segments_begin(struct check *check, const struct aof_reader *reader)
{
    check->log_count = aof_reader_segments(reader);
    check->log = mem_zalloc((check->log_count + 1) * sizeof(*check->log));
    for (uint32_t i = 0; i < check->log_count; i++) {
        uint64_t first_sequence = 0;
        aof_reader_segment(reader, i, &check->log[i].number, &first_sequence, &check->log[i].bytes);
    }
}

/* The segment of this number; a spare one behind the others when it is missing. */
static struct check_segment *segment_of(struct check *check, uint64_t segment)
{
    uint32_t low = 0;
    uint32_t high = check->log_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (check->log[middle].number < segment) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool is_there = low < check->log_count && check->log[low].number == segment;
    return &check->log[is_there ? low : check->log_count];
}

static void segment_report(struct check *check, const struct check_segment *segment)
{
    unsigned groups = 0;
    for (unsigned i = 0; i < sizeof(segment->groups); i++) {
        groups += (unsigned)__builtin_popcount(segment->groups[i]);
    }
    char file[32];
    (void)snprintf(file, sizeof(file), "aof-%012" PRIu64 ".log", segment->number);
    json_t *row = json_object();
    (void)json_object_set_new(row, "file", json_string(file));
    (void)json_object_set_new(row, "bytes", number(segment->bytes));
    (void)json_object_set_new(row, "first_sequence", number(segment->first_sequence));
    (void)json_object_set_new(row, "last_sequence", number(segment->last_sequence));
    (void)json_object_set_new(row, "records", number(segment->records));
    (void)json_object_set_new(row, "groups", number(groups));
    (void)json_object_set_new(row, "damages", number(segment->damages));
    (void)json_array_append_new(check->segments, row);
}

static void look_at_record(struct check *check, struct aof_reader *reader,
                           const struct aof_record *record)
{
    struct aof_position position = aof_reader_position(reader);
    struct check_segment *segment = segment_of(check, position.segment);
    if (segment->records == 0) {
        segment->first_sequence = record->sequence;
    }
    segment->last_sequence = record->sequence;
    segment->records += 1;
    struct entry entry;
    bool is_entry = record->type == AOF_ENTRY && entry_decode(record->body, &entry) &&
                    entry.group == record->group && group_of(check, entry.group) != NULL;
    if (record->group < PARTITIONS_MAX) {
        segment->groups[record->group / 8] |= (uint8_t)(1u << record->group % 8);
    }
    if (is_entry) {
        entry_count(check, &entry);
    } else if (record->type == AOF_ENTRY || !state_count(check, record)) {
        json_t *item = json_object();
        (void)json_object_set_new(item, "offset", number(position.offset));
        (void)json_object_set_new(item, "first_sequence", number(record->sequence));
        (void)json_object_set_new(item, "group", number(record->group));
        damaged(check, item, position.file, "a record that this version cannot read");
    }
    if (check->records) {
        record_print(check, record, is_entry ? &entry : NULL, &position);
    }
}

static void look_at_damage(struct check *check, const struct aof_damage *damage)
{
    segment_of(check, damage->segment)->damages += 1;
    json_t *item = json_object();
    (void)json_object_set_new(item, "offset", number(damage->offset));
    (void)json_object_set_new(item, "first_sequence", number(damage->first_sequence));
    (void)json_object_set_new(item, "last_sequence", number(damage->last_sequence));
    if (damage->group >= 0) {
        (void)json_object_set_new(item, "group", json_integer(damage->group));
    }
    damaged(check, item, damage->file, damage_text(damage->kind));
}

static void look_at_end(struct check *check, const struct aof_end *end)
{
    (void)json_object_set_new(check->report, "records_count", number(end->records));
    (void)json_object_set_new(check->report, "next_sequence", number(end->next_sequence));
    if (end->torn) {
        json_t *torn = json_object();
        (void)json_object_set_new(torn, "file", json_string(end->file));
        (void)json_object_set_new(torn, "offset", number(end->offset));
        (void)json_object_set_new(torn, "bytes", number(end->torn_bytes));
        (void)json_object_set_new(check->report, "torn_tail", torn);
    }
    if (check->has_meta && aof_end_is_missing(end, check->meta.aof_segment)) {
        char file[32];
        (void)snprintf(file, sizeof(file), "aof-%012" PRIu64 ".log", check->meta.aof_segment);
        damaged(check, json_object(), file, "the newest segment is missing");
    }
}

static void look_at_log(struct check *check)
{
    struct aof_reader *reader = NULL;
    uint64_t identity = check->has_meta ? check->meta.identity : 0;
    int result = aof_reader_open(check->io, check->dir, identity, &reader);
    if (result < 0) {
        failed(check, strerrordesc_np(-result));
        return;
    }
    segments_begin(check, reader);
    struct aof_record record;
    enum aof_read outcome = aof_reader_next(reader, &record);
    while (outcome == AOF_READ_RECORD || outcome == AOF_READ_DAMAGE) {
        if (outcome == AOF_READ_RECORD) {
            look_at_record(check, reader, &record);
        } else {
            look_at_damage(check, aof_reader_damage(reader));
        }
        outcome = aof_reader_next(reader, &record);
    }
    if (outcome == AOF_READ_ERROR) {
        failed(check, strerrordesc_np(-aof_reader_error(reader)));
    } else {
        look_at_end(check, aof_reader_end(reader));
    }
    for (uint32_t i = 0; i < check->log_count; i++) {
        segment_report(check, &check->log[i]);
    }
    aof_reader_close(reader);
}

/* ── partitions ──────────────────────────────────────────────────────────────────────────────── */

static void look_at_groups(struct check *check)
{
    json_t *rows = json_array();
    (void)json_object_set_new(check->report, "groups", rows);
    for (uint32_t i = 0; i < GROUPS_MAX; i++) {
        uint32_t group_number = i == PARTITIONS_MAX ? (uint32_t)GROUP_META : i;
        const struct check_group *group = &check->groups[i];
        if (group->entries == 0 && group->snapshot_index == 0) {
            continue;
        }
        json_t *row = json_object();
        (void)json_object_set_new(row, "group", number(group_number));
        (void)json_object_set_new(row, "snapshot_index", number(group->snapshot_index));
        (void)json_object_set_new(row, "first_index", number(group->first_index));
        (void)json_object_set_new(row, "last_index", number(group->last_index));
        (void)json_object_set_new(row, "entries", number(group->entries));
        (void)json_object_set_new(row, "missing", number(group->missing));
        (void)json_array_append_new(rows, row);
        if (group->missing > 0) {
            char what[128];
            (void)snprintf(what, sizeof(what),
                           "%" PRIu64 " entries of the group lie neither in a good snapshot "
                           "nor in the log",
                           group->missing);
            json_t *item = json_object();
            (void)json_object_set_new(item, "group", number(group_number));
            damaged(check, item, "log", what);
        }
    }
}

/* ── printing ────────────────────────────────────────────────────────────────────────────────── */

static uint64_t get(const json_t *row, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(row, name));
}

static const char *get_text(const json_t *row, const char *name)
{
    const char *text = json_string_value(json_object_get(row, name));
    return text != NULL ? text : "";
}

static void print_members(struct check *check)
{
    size_t i = 0;
    json_t *row = NULL;
    const json_t *rows = json_object_get(check->report, "members");
    if (rows == NULL) {
        return;
    }
    buffer_printf(check->out,
                  "member of a cluster, epoch %" PRIu64 ", as of entry %" PRIu64
                  " of the meta group (65535)\n",
                  get(check->report, "epoch"), get(check->report, "members_index"));
    buffer_printf(check->out, "\n%-16s %-24s %6s %6s  %-12s %s\n", "MEMBER", "HOST", "PORT",
                  "PEERS", "ZONE", "INCARNATION");
    json_array_foreach(rows, i, row)
    {
        buffer_printf(check->out, "%-16s %-24s %6" PRIu64 " %6" PRIu64 "  %-12s %s\n",
                      get_text(row, "node"), get_text(row, "host"), get(row, "port"),
                      get(row, "cluster_port"), get_text(row, "zone"),
                      get_text(row, "incarnation"));
    }
}

static void print_snapshots(struct check *check)
{
    size_t i = 0;
    json_t *row = NULL;
    if (json_array_size(check->snapshots) > 0) {
        buffer_printf(check->out, "\n%-31s %6s %15s %12s %14s %6s %8s  %s\n", "SNAPSHOT", "GROUP",
                      "INDEX", "KEYS", "BYTES", "VOTERS", "SESSIONS", "STATE");
    }
    json_array_foreach(check->snapshots, i, row)
    {
        buffer_printf(check->out,
                      "%-31s %6" PRIu64 " %15" PRIu64 " %12" PRIu64 " %14" PRIu64 " %6" PRIu64
                      " %8" PRIu64 "  %s\n",
                      get_text(row, "file"), get(row, "group"), get(row, "index"), get(row, "keys"),
                      get(row, "bytes"), get(row, "voters"), get(row, "sessions"),
                      get_text(row, "state"));
    }
}

static void print_segments(struct check *check)
{
    size_t i = 0;
    json_t *row = NULL;
    if (json_array_size(check->segments) > 0) {
        buffer_printf(check->out, "\n%-22s %12s %14s %14s %10s %7s %8s\n", "LOG", "BYTES", "FIRST",
                      "LAST", "RECORDS", "GROUPS", "DAMAGES");
    }
    json_array_foreach(check->segments, i, row)
    {
        buffer_printf(check->out,
                      "%-22s %12" PRIu64 " %14" PRIu64 " %14" PRIu64 " %10" PRIu64 " %7" PRIu64
                      " %8" PRIu64 "\n",
                      get_text(row, "file"), get(row, "bytes"), get(row, "first_sequence"),
                      get(row, "last_sequence"), get(row, "records"), get(row, "groups"),
                      get(row, "damages"));
    }
}

static void print_groups(struct check *check)
{
    size_t i = 0;
    json_t *row = NULL;
    const json_t *rows = json_object_get(check->report, "groups");
    if (json_array_size(rows) > 0) {
        buffer_printf(check->out, "\n%6s %15s %15s %15s %10s %8s\n", "GROUP", "SNAPSHOT",
                      "LOG FROM", "LOG TO", "ENTRIES", "MISSING");
    }
    json_array_foreach(rows, i, row)
    {
        buffer_printf(check->out,
                      "%6" PRIu64 " %15" PRIu64 " %15" PRIu64 " %15" PRIu64 " %10" PRIu64
                      " %8" PRIu64 "\n",
                      get(row, "group"), get(row, "snapshot_index"), get(row, "first_index"),
                      get(row, "last_index"), get(row, "entries"), get(row, "missing"));
    }
}

static void print_damages(struct check *check)
{
    size_t i = 0;
    json_t *row = NULL;
    if (json_array_size(check->damages) > 0) {
        buffer_append_text(check->out, "\nDAMAGE\n");
    }
    json_array_foreach(check->damages, i, row)
    {
        buffer_printf(check->out, "%s", get_text(row, "file"));
        if (json_object_get(row, "offset") != NULL) {
            buffer_printf(check->out, " at %" PRIu64, get(row, "offset"));
        }
        if (json_object_get(row, "group") != NULL) {
            buffer_printf(check->out, ", group %" PRIu64, get(row, "group"));
        }
        buffer_printf(check->out, ": %s", get_text(row, "what"));
        if (json_object_get(row, "last_sequence") != NULL) {
            buffer_printf(check->out, "; records %" PRIu64 " to %" PRIu64 " are lost",
                          get(row, "first_sequence"), get(row, "last_sequence"));
        }
        buffer_append_text(check->out, "\n");
    }
}

static void print_text(struct check *check)
{
    const json_t *report = check->report;
    struct buffer *out = check->out;
    buffer_printf(out, "%s\n", check->dir);
    if (check->has_meta) {
        buffer_printf(
            out, "node %s, identity %s, %" PRIu64 " partitions, %" PRIu64 " starts, last stop %s\n",
            get_text(report, "node"), get_text(report, "identity"), get(report, "partitions"),
            get(report, "boots"), check->meta.clean ? "clean" : "not clean");
    }
    print_members(check);
    print_snapshots(check);
    print_segments(check);
    print_groups(check);
    print_damages(check);
    const json_t *torn = json_object_get(report, "torn_tail");
    if (torn != NULL) {
        buffer_printf(out,
                      "\ntorn tail in %s at %" PRIu64 ": %" PRIu64
                      " bytes that were never acknowledged as synced\n",
                      get_text(torn, "file"), get(torn, "offset"), get(torn, "bytes"));
    }
    if (check->has_failed) {
        buffer_printf(out, "\nerror: %s\n", get_text(report, "error"));
    } else {
        buffer_printf(out, "\n%s\n", get_text(report, "result"));
    }
}

/* The object was begun by check_run, and holds the records already if they were asked for. */
static void print_json(struct check *check)
{
    if (check->records) {
        buffer_append_text(check->out, "],");
    }
    char *text = json_dumps(check->report, JSON_COMPACT | JSON_PRESERVE_ORDER);
    buffer_append_text(check->out, text != NULL ? text + 1 : "}");
    buffer_append_text(check->out, "\n");
    free(text); /* jansson's */
}
