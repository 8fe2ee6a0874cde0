/*
 * check_test.c — `minidb --check`: what it says about good and bad directories.
 */
#include "check.h"

#include "../storage/fake_disk.h"
#include "members.h"
#include "replica.h"
#include "storage/aof.h"
#include "storage/data_dir.h"
#include "storage/entry.h"
#include "storage/hard_state.h"
#include "storage/kv_store.h"
#include "storage/snapshot.h"
#include "test.h"

#include <jansson.h>

static const uint64_t IDENTITY = 77;

static void entry_append(struct aof *aof, uint16_t group, uint64_t index)
{
    struct entry entry = {
        .index = index, .term = 1, .time_ms = 5, .kind = ENTRY_NOOP, .group = group
    };
    entry_header_write(&entry, aof_record_begin(aof, ENTRY_HEADER_BYTES));
    (void)aof_record_end(aof, ENTRY_HEADER_BYTES, AOF_ENTRY, group, false);
}

static void log_make(struct disk *disk, uint64_t first_index)
{
    struct aof_options options = {
        .dir = "d",
        .segment_bytes = 64 << 10,
        .sync = AOF_SYNC_ALWAYS,
        .identity = IDENTITY,
        .next_sequence = 1,
        .next_segment = 1,
    };
    struct aof *aof = NULL;
    CHECK_EQ(aof_open(&disk->io, &options, &aof), 0);
    for (uint64_t index = first_index; index < first_index + 20; index++) {
        entry_append(aof, 3, index);
        entry_append(aof, 200, index);
    }
    CHECK_EQ(aof_close(aof), 0);
}

static void snapshot_make(struct disk *disk, uint32_t group, uint64_t index)
{
    struct kv *kv = kv_new(1);
    kv_put(kv, slice_from("key"), kv_hash(kv, slice_from("key")), slice_from("value"), 0, 1);
    struct kv_view *view = kv_view_begin(kv);
    struct snapshot_writer *writer = snapshot_writer_new(&disk->io, "d");
    struct snapshot_meta meta = { .identity = IDENTITY, .group = group, .index = index };
    snapshot_writer_begin(writer, &meta, view);
    while (snapshot_writer_state(writer) != SNAPSHOT_DONE) {
        if (snapshot_writer_state(writer) == SNAPSHOT_READY) {
            snapshot_writer_step(writer, 10);
        }
        disk_run_all(disk);
        struct io_event event;
        while (io_next(&disk->io, &event)) {
            snapshot_writer_on_event(writer, &event);
        }
    }
    snapshot_writer_free(writer);
    kv_view_end(view);
    kv_free(kv);
}

/* A directory whose log begins at `first_index` of each of its two partitions. */
static struct disk *dir_make(uint64_t first_index)
{
    struct disk *disk = disk_new();
    struct data_dir_meta meta;
    struct data_dir *dir = NULL;
    char detail[128];
    CHECK_EQ(data_dir_open(&disk->io, "d", false, &meta, &dir, detail, sizeof(detail)),
             DATA_DIR_NEW);
    meta = (struct data_dir_meta){
        .node_id = "node1", .identity = IDENTITY, .partitions = 256, .aof_segment = 1
    };
    CHECK_EQ(data_dir_write(dir, &meta), 0);
    data_dir_close(dir);
    snapshot_make(disk, 3, 7);
    log_make(disk, first_index);
    return disk;
}

/* The text must hold `says`; the JSON must be one object with the same result. */
static void expect(struct disk *disk, int status, const char *says)
{
    static const char *const results[] = {
        [CHECK_CLEAN] = "clean", [CHECK_ERROR] = "error", [CHECK_DAMAGED] = "damaged"
    };
    for (unsigned mode = 0; mode < 4; mode++) {
        struct buffer out = { 0 };
        bool json = (mode & 1) != 0;
        CHECK_EQ(check_run(&disk->io, "d", (mode & 2) != 0, json, &out), status);
        buffer_append_byte(&out, '\0');
        if (!json) {
            CHECK(strstr(out.data, says) != NULL);
        } else {
            json_t *report = json_loads(out.data, 0, NULL);
            CHECK(json_is_object(report));
            const char *result = json_string_value(json_object_get(report, "result"));
            CHECK(result != NULL && strcmp(result, results[status]) == 0);
            CHECK_EQ(json_is_array(json_object_get(report, "records")), (mode & 2) != 0);
            json_decref(report);
        }
        if (test_failures > 0) {
            printf("%s\n", out.data);
        }
        buffer_free(&out);
    }
    CHECK_EQ(disk_open_handles(disk), 0);
}

TEST(a_good_directory)
{
    struct disk *disk = dir_make(1);
    uint64_t writes = disk->counts[IO_FILE_WRITE];
    expect(disk, CHECK_CLEAN, "node node1");
    CHECK_EQ(disk->counts[IO_FILE_WRITE], writes); /* nothing is changed */
    disk_free(disk);
}

static void state_append(struct aof *aof, enum aof_type type, uint16_t group, struct slice body)
{
    memcpy(aof_record_begin(aof, body.size), body.data, body.size);
    (void)aof_record_end(aof, body.size, type, group, false);
}

/* A member's log: votes, a tail that was replaced, a snapshot that another node sent. */
static void member_log_make(struct disk *disk, const struct hard_state *state)
{
    struct aof_options options = {
        .dir = "d",
        .segment_bytes = 64 << 10,
        .sync = AOF_SYNC_ALWAYS,
        .identity = IDENTITY,
        .next_sequence = 1,
        .next_segment = 1,
    };
    struct aof *aof = NULL;
    char body[HARD_STATE_BYTES];
    struct log_reset reset = { 7, 1 };
    CHECK_EQ(aof_open(&disk->io, &options, &aof), 0);
    hard_state_write(state, body);
    state_append(aof, AOF_HARD_STATE, GROUP_META, slice_make(body, HARD_STATE_BYTES));
    entry_append(aof, GROUP_META, 5);
    entry_append(aof, 3, 1);
    entry_append(aof, 3, 2);
    entry_append(aof, 3, 2);
    log_reset_write(&reset, body);
    state_append(aof, AOF_LOG_RESET, 3, slice_make(body, LOG_RESET_BYTES));
    entry_append(aof, 3, 8);
    CHECK_EQ(aof_close(aof), 0);
}

static struct disk *member_make(const char *id, uint64_t index, const struct hard_state *state)
{
    struct disk *disk = disk_new();
    struct data_dir_meta meta;
    struct data_dir *dir = NULL;
    char detail[128];
    struct members members = { .index = index, .term = 2 };
    struct member self = { .weight = 1,
                           .state = MEMBER_ACTIVE,
                           .number = members_number(id),
                           .incarnation = IDENTITY,
                           .port = 7001,
                           .cluster_port = 8001 };
    (void)snprintf(self.id, sizeof(self.id), "%s", id);
    (void)snprintf(self.host, sizeof(self.host), "10.1.2.3");
    members_found(&members, &self);
    members.index = index;
    CHECK_EQ(data_dir_open(&disk->io, "d", false, &meta, &dir, detail, sizeof(detail)),
             DATA_DIR_NEW);
    meta = (struct data_dir_meta){ .node_id = "node1",
                                   .identity = IDENTITY,
                                   .partitions = 256,
                                   .aof_segment = 1,
                                   .is_clustered = true };
    struct buffer bytes = { 0 };
    members_encode(&members, &bytes);
    memcpy(meta.members, bytes.data, bytes.size);
    meta.members_size = (uint32_t)bytes.size;
    buffer_free(&bytes);
    CHECK_EQ(data_dir_write(dir, &meta), 0);
    data_dir_close(dir);
    snapshot_make(disk, 3, 7);
    member_log_make(disk, state);
    return disk;
}

TEST(a_member)
{
    struct hard_state state = { 4, members_number("node1"), 9, false };
    struct disk *disk = member_make("node1", 4, &state);
    expect(disk, CHECK_CLEAN, "10.1.2.3");
    struct buffer out = { 0 };
    CHECK_EQ(check_run(&disk->io, "d", /* records= */ true, /* json= */ false, &out), CHECK_CLEAN);
    buffer_append_byte(&out, '\0');
    CHECK(strstr(out.data, "hard state  term 4  voted for node1  commit 9") != NULL);
    CHECK(strstr(out.data, "log reset  index 7  term 1") != NULL);
    buffer_free(&out);
    disk_free(disk);
}

TEST(a_members_entry_that_is_nowhere)
{
    struct hard_state state = { 4, 0, 9, false };
    struct disk *disk = member_make("node1", 2, &state);
    expect(disk, CHECK_DAMAGED, "group 65535: 2 entries of the group lie neither");
    disk_free(disk);
    disk = member_make("node1", 4, &state);
    disk_need(disk, "d/snap-00003-000000000000007.mdb")->exists = false;
    expect(disk, CHECK_DAMAGED, "group 3: 5 entries of the group lie neither");
    disk_free(disk);
}

TEST(a_flipped_bit_in_the_log)
{
    struct disk *disk = dir_make(1);
    disk_need(disk, "d/aof-000000000001.log")->bytes.data[8192 + 40] ^= 1;
    expect(disk, CHECK_DAMAGED, "aof-000000000001.log at 8192, group 3: a record's body");
    disk_free(disk);
}

TEST(a_flipped_bit_in_a_snapshot)
{
    struct disk *disk = dir_make(1);
    disk_need(disk, "d/snap-00003-000000000000007.mdb")->bytes.data[130] ^= 1;
    expect(disk, CHECK_DAMAGED, "snap-00003-000000000000007.mdb at 88, group 3");
    disk_free(disk);
}

TEST(a_flipped_bit_in_a_copy_of_the_identity)
{
    struct disk *disk = dir_make(1);
    disk_need(disk, "d/meta-b")->bytes.data[9] ^= 1;
    expect(disk, CHECK_DAMAGED, "meta-b is damaged");
    disk_need(disk, "d/meta-a")->bytes.data[9] ^= 1;
    expect(disk, CHECK_DAMAGED, "neither meta-a nor meta-b is valid");
    disk_free(disk);
}

TEST(entries_that_are_nowhere)
{
    struct disk *disk = dir_make(9); /* group 3 has its snapshot at 7; 200 has none */
    expect(disk, CHECK_DAMAGED, "group 3: 1 entries of the group lie neither");
    expect(disk, CHECK_DAMAGED, "group 200: 8 entries of the group lie neither");
    disk_free(disk);
}

TEST(a_missing_last_segment)
{
    struct disk *disk = dir_make(1);
    disk_need(disk, "d/aof-000000000001.log")->exists = false;
    expect(disk, CHECK_DAMAGED, "the newest segment is missing");
    disk_free(disk);
}

TEST(a_torn_tail_is_clean)
{
    struct disk *disk = dir_make(1);
    struct buffer *bytes = &disk_need(disk, "d/aof-000000000001.log")->bytes;
    memset(bytes->data + 8192 + 41 * 64, 'x', 100); /* behind 40 records of 64 bytes and a mark */
    expect(disk, CHECK_CLEAN, "torn tail in aof-000000000001.log");
    disk_free(disk);
}

TEST(nothing_to_look_at)
{
    struct disk *disk = disk_new();
    expect(disk, CHECK_ERROR, "this is no data directory");
    disk_free(disk);
    disk = dir_make(1);
    struct data_dir_meta meta;
    struct data_dir *dir = NULL;
    char detail[128];
    CHECK_EQ(data_dir_open(&disk->io, "d", false, &meta, &dir, detail, sizeof(detail)),
             DATA_DIR_EXISTING);
    struct buffer out = { 0 };
    CHECK_EQ(check_run(&disk->io, "d", false, false, &out), CHECK_ERROR);
    buffer_append_byte(&out, '\0');
    CHECK(strstr(out.data, "a server is using it") != NULL);
    buffer_free(&out);
    data_dir_close(dir);
    disk_free(disk);
}

TEST_MAIN
