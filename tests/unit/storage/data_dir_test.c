/*
 * data_dir_test.c — identity, its two copies, the lock, and every single-bit error in a copy.
 */
#include "storage/data_dir.h"

#include "fake_disk.h"
#include "test.h"

static char detail[256];

static enum data_dir_result open_dir(struct disk *disk, bool read_only, struct data_dir_meta *meta,
                                     struct data_dir **dir)
{
    return data_dir_open(&disk->io, "d", read_only, meta, dir, detail, sizeof(detail));
}

static struct data_dir_meta meta_make(uint64_t boots)
{
    struct data_dir_meta meta = {
        .node_id = "node1",
        .cluster_id = { 1, 2, 3, 255 },
        .identity = UINT64_C(0xfedcba9876543210),
        .hash_seed = 77,
        .partitions = 256,
        .boots = boots,
        .clean = boots % 2 == 0,
        .aof_segment = boots * 3,
    };
    return meta;
}

static bool meta_equal(const struct data_dir_meta *a, const struct data_dir_meta *b)
{
    return strcmp(a->node_id, b->node_id) == 0 &&
           memcmp(a->cluster_id, b->cluster_id, sizeof(a->cluster_id)) == 0 &&
           a->identity == b->identity && a->hash_seed == b->hash_seed &&
           a->partitions == b->partitions && a->boots == b->boots && a->clean == b->clean &&
           a->aof_segment == b->aof_segment;
}

/* A directory written `writes` times, closed. */
static struct disk *prepared(unsigned writes)
{
    struct disk *disk = disk_new();
    struct data_dir_meta meta;
    struct data_dir *dir = NULL;
    CHECK_EQ(open_dir(disk, false, &meta, &dir), DATA_DIR_NEW);
    for (unsigned i = 1; i <= writes; i++) {
        meta = meta_make(i);
        CHECK_EQ(data_dir_write(dir, &meta), 0);
    }
    data_dir_close(dir);
    return disk;
}

TEST(new_then_existing)
{
    struct disk *disk = prepared(5);
    struct data_dir_meta meta;
    struct data_dir_meta wanted = meta_make(5);
    struct data_dir *dir = NULL;
    CHECK_EQ(open_dir(disk, false, &meta, &dir), DATA_DIR_EXISTING);
    CHECK(meta_equal(&meta, &wanted));
    CHECK_EQ(detail[0], 0);
    data_dir_close(dir);
    CHECK_EQ(disk_open_handles(disk), 0);
    disk_free(disk);
}

TEST(the_first_write_makes_both_copies)
{
    static const char *const lost[] = { "d/meta-a", "d/meta-b" };
    for (unsigned i = 0; i < 2; i++) {
        struct disk *disk = prepared(1);
        disk_need(disk, lost[i])->exists = false;
        struct data_dir_meta meta;
        struct data_dir_meta wanted = meta_make(1);
        struct data_dir *dir = NULL;
        CHECK_EQ(open_dir(disk, false, &meta, &dir), DATA_DIR_EXISTING);
        CHECK(meta_equal(&meta, &wanted));
        CHECK(strstr(detail, "missing") != NULL);
        data_dir_close(dir);
        disk_free(disk);
    }
}

TEST(one_process_at_a_time)
{
    struct disk *disk = prepared(2);
    struct data_dir_meta meta;
    struct data_dir *first = NULL;
    struct data_dir *second = NULL;
    CHECK_EQ(open_dir(disk, false, &meta, &first), DATA_DIR_EXISTING);
    CHECK_EQ(open_dir(disk, false, &meta, &second), DATA_DIR_LOCKED);
    CHECK_EQ(open_dir(disk, true, &meta, &second), DATA_DIR_LOCKED);
    data_dir_close(first);
    CHECK_EQ(open_dir(disk, false, &meta, &second), DATA_DIR_EXISTING);
    data_dir_close(second);
    CHECK_EQ(disk_open_handles(disk), 0);
    disk_free(disk);
}

TEST(read_only_changes_nothing)
{
    struct disk *disk = disk_new();
    struct data_dir_meta meta;
    struct data_dir *dir = NULL;
    CHECK_EQ(open_dir(disk, true, &meta, &dir), DATA_DIR_NEW);
    data_dir_close(dir);
    CHECK_EQ(disk->counts[IO_FILE_MKDIR] + disk->counts[IO_FILE_WRITE], 0);
    CHECK(disk_find(disk, "d/lock") == NULL);
    disk_free(disk);
}

TEST(data_without_identity_is_refused)
{
    struct disk *disk = prepared(3);
    disk_need(disk, "d/meta-a")->exists = false;
    disk_need(disk, "d/meta-b")->exists = false;
    struct data_dir_meta meta;
    struct data_dir *dir = NULL;
    CHECK_EQ(open_dir(disk, false, &meta, &dir), DATA_DIR_NEW); /* nothing was ever stored */
    data_dir_close(dir);
    disk_put(disk, "d/aof-000000000001.log", slice_from("x"));
    CHECK_EQ(open_dir(disk, false, &meta, &dir), DATA_DIR_DAMAGED);
    disk_need(disk, "d/aof-000000000001.log")->exists = false;
    disk_put(disk, "d/snap-00001-000000000000001.mdb", slice_from("x"));
    CHECK_EQ(open_dir(disk, false, &meta, &dir), DATA_DIR_DAMAGED);
    CHECK_EQ(disk_open_handles(disk), 0);
    disk_free(disk);
}

TEST(both_copies_bad_is_refused)
{
    struct disk *disk = prepared(3);
    disk_need(disk, "d/meta-a")->bytes.data[30] ^= 1;
    disk_need(disk, "d/meta-b")->exists = false;
    struct data_dir_meta meta;
    struct data_dir *dir = NULL;
    CHECK_EQ(open_dir(disk, false, &meta, &dir), DATA_DIR_DAMAGED);
    CHECK(detail[0] != '\0');
    disk_free(disk);
}

/* Any bit of either copy: the other one is used, nothing is believed clean, the next write heals.
 */
TEST(every_bit_of_either_copy)
{
    static const char *const names[] = { "d/meta-a", "d/meta-b" };
    struct disk *disk = prepared(4);
    for (unsigned which = 0; which < 2; which++) {
        struct buffer *bytes = &disk_need(disk, names[which])->bytes;
        for (size_t bit = 0; bit < bytes->size * 8; bit++) {
            bytes->data[bit / 8] ^= (char)(1 << bit % 8);
            struct data_dir_meta meta;
            struct data_dir *dir = NULL;
            CHECK_EQ(open_dir(disk, true, &meta, &dir), DATA_DIR_EXISTING);
            CHECK(meta.boots == 3 || meta.boots == 4);
            CHECK(!meta.clean);
            CHECK(strstr(detail, "damaged") != NULL);
            data_dir_close(dir);
            bytes->data[bit / 8] ^= (char)(1 << bit % 8);
        }
    }
    for (unsigned which = 0; which < 2; which++) {
        disk_need(disk, names[which])->bytes.data[100] ^= 4;
        struct data_dir_meta meta;
        struct data_dir *dir = NULL;
        CHECK_EQ(open_dir(disk, false, &meta, &dir), DATA_DIR_EXISTING);
        meta = meta_make(10 + which);
        CHECK_EQ(data_dir_write(dir, &meta), 0);
        data_dir_close(dir);
        CHECK_EQ(open_dir(disk, false, &meta, &dir), DATA_DIR_EXISTING);
        CHECK_EQ(meta.boots, 10 + which);
        CHECK_EQ(detail[0], 0);
        data_dir_close(dir);
    }
    disk_free(disk);
}

/* Whatever operation of a write fails: afterwards the old or the new meta is there, never none. */
TEST(every_failing_operation)
{
    static const enum io_file_kind kinds[] = { IO_FILE_OPEN, IO_FILE_WRITE, IO_FILE_RENAME,
                                               IO_FILE_SYNC_DIR };
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct disk *disk = prepared(4);
        struct data_dir_meta meta;
        struct data_dir *dir = NULL;
        CHECK_EQ(open_dir(disk, false, &meta, &dir), DATA_DIR_EXISTING);
        disk->fail_kind = (int)kinds[i];
        disk->fail_result = -EIO;
        meta = meta_make(5);
        CHECK_EQ(data_dir_write(dir, &meta), -EIO);
        disk->fail_kind = -1;
        data_dir_close(dir);
        CHECK_EQ(open_dir(disk, false, &meta, &dir), DATA_DIR_EXISTING);
        CHECK(meta.boots == 4 || meta.boots == 5);
        data_dir_close(dir);
        disk_free(disk);
    }
}

TEST_MAIN
