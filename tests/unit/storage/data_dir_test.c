/*
 * data_dir_test.c — identity, its two copies, the lock, and every single-bit error in a copy.
 */
#include "storage/data_dir.h"

#include "base/crc32c.h"
#include "base/endian.h"
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
        .is_clustered = boots % 3 != 0,
        .was_lax = boots % 5 < 2,
        .clustered_sequence = boots * 7,
        .machine_boot = "3c1f0f0e-1111-2222-3333-444455556666",
        .members_size = (uint32_t)(boots * 37),
    };
    for (uint32_t i = 0; i < meta.members_size; i++) {
        meta.members[i] = (char)(boots + i);
    }
    return meta;
}

static bool meta_equal(const struct data_dir_meta *a, const struct data_dir_meta *b)
{
    return strcmp(a->node_id, b->node_id) == 0 &&
           memcmp(a->cluster_id, b->cluster_id, sizeof(a->cluster_id)) == 0 &&
           a->identity == b->identity && a->hash_seed == b->hash_seed &&
           a->partitions == b->partitions && a->boots == b->boots && a->clean == b->clean &&
           a->aof_segment == b->aof_segment && a->is_clustered == b->is_clustered &&
           a->was_lax == b->was_lax && a->clustered_sequence == b->clustered_sequence &&
           strcmp(a->machine_boot, b->machine_boot) == 0 && a->members_size == b->members_size &&
           memcmp(a->members, b->members, a->members_size) == 0;
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

/* The largest list of members, and none. */
TEST(members_of_every_size)
{
    static const uint32_t sizes[] = { 0, 1, 3999, DATA_DIR_MEMBERS_BYTES_MAX };
    struct disk *disk = prepared(1);
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct data_dir_meta wanted = meta_make(2);
        struct data_dir_meta meta;
        struct data_dir *dir = NULL;
        wanted.members_size = sizes[i];
        memset(wanted.members, 'm', sizes[i]);
        CHECK_EQ(open_dir(disk, false, &meta, &dir), DATA_DIR_EXISTING);
        CHECK_EQ(data_dir_write(dir, &wanted), 0);
        data_dir_close(dir);
        CHECK_EQ(open_dir(disk, false, &meta, &dir), DATA_DIR_EXISTING);
        CHECK(meta_equal(&meta, &wanted));
        data_dir_close(dir);
    }
    disk_free(disk);
}

/* A copy cut short, or with something behind it, does not count. */
TEST(every_other_size)
{
    struct disk *disk = prepared(4);
    struct buffer *bytes = &disk_need(disk, "d/meta-b")->bytes;
    size_t size = bytes->size;
    buffer_append_text(bytes, "!");
    for (size_t cut = 0; cut <= size + 1; cut++) {
        bytes->size = cut;
        struct data_dir_meta meta;
        struct data_dir *dir = NULL;
        CHECK_EQ(open_dir(disk, true, &meta, &dir), DATA_DIR_EXISTING);
        CHECK_EQ(detail[0] == '\0', cut == size);
        data_dir_close(dir);
    }
    disk_free(disk);
}

/* As it was written before there were clusters. */
TEST(format_one)
{
    struct disk *disk = disk_new();
    char bytes[256] = "MinMETA\n";
    bytes[8] = 1;
    store_u32(bytes + 12, sizeof(bytes));
    store_u64(bytes + 16, 9);
    store_u64(bytes + 24, 0x1234);
    store_u32(bytes + 40, 256);
    store_u32(bytes + 44, 1);
    memcpy(bytes + 80, "old", 3);
    store_u32(bytes + 252, crc32c(0, bytes, 252));
    disk_put(disk, "d/meta-a", slice_make(bytes, sizeof(bytes)));
    disk_put(disk, "d/meta-b", slice_make(bytes, sizeof(bytes)));
    struct data_dir_meta meta;
    struct data_dir *dir = NULL;
    CHECK_EQ(open_dir(disk, true, &meta, &dir), DATA_DIR_EXISTING);
    CHECK(strcmp(meta.node_id, "old") == 0);
    CHECK_EQ(meta.identity, 0x1234);
    CHECK(meta.clean && !meta.is_clustered);
    CHECK_EQ(meta.members_size, 0);
    data_dir_close(dir);
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
        wanted.boots += 1; /* the lost one may have noted another start */
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
            /* Another start may have been noted in the lost one alone. */
            CHECK(meta.boots == 3 + 1 || meta.boots == 4 + 1);
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
