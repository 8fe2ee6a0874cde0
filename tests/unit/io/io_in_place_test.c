/*
 * io_in_place_test.c — may the loop's thread sync?  Quick, slow, moody and hanging disks.
 */
#include "io/io_in_place.h"

#include "test.h"

static const uint64_t US = 1000;
static const uint64_t MS = 1000000;

struct disk {
    struct io_in_place in_place;
    uint64_t now_ns;
    uint64_t here_ns, here, elsewhere;
};

/* One sync that takes so long, after a pause. */
static void sync_once(struct disk *disk, uint64_t takes_ns, uint64_t pause_ns)
{
    disk->now_ns += pause_ns;
    uint64_t ended_ns = disk->now_ns + takes_ns;
    if (io_in_place_allows(&disk->in_place, disk->now_ns)) {
        io_in_place_took(&disk->in_place, disk->now_ns, ended_ns);
        disk->here += 1;
        disk->here_ns += takes_ns;
    } else {
        disk->elsewhere += 1;
    }
    disk->now_ns = ended_ns;
}

TEST(a_quick_disk_is_always_waited_for)
{
    struct disk disk = { 0 };
    for (int i = 0; i < 100000; i++) {
        sync_once(&disk, 300 * US, 100 * US);
    }
    CHECK(disk.elsewhere == 0);
}

TEST(a_slow_one_now_and_then_is_forgiven)
{
    struct disk disk = { 0 };
    for (int i = 0; i < 100000; i++) {
        sync_once(&disk, i % 50 == 49 ? 8 * MS : 300 * US, 100 * US);
    }
    CHECK(disk.elsewhere == 0);
}

TEST(a_slow_disk_takes_a_hundredth_of_the_time_at_most)
{
    struct disk disk = { 0 };
    for (int i = 0; i < 100000; i++) {
        sync_once(&disk, 10 * MS, 100 * US);
    }
    CHECK(disk.here > 0);
    CHECK(disk.here_ns * 100 < disk.now_ns);
}

TEST(a_stall_ends_it_at_once)
{
    struct disk disk = { 0 };
    for (int i = 0; i < 1000; i++) {
        sync_once(&disk, 100 * US, 100 * US);
    }
    sync_once(&disk, 1000 * MS, 100 * US);
    sync_once(&disk, 1000 * MS, 100 * US);
    CHECK(disk.elsewhere == 1);
}

TEST(a_disk_that_becomes_quick_again_is_found_out_about)
{
    struct disk disk = { 0 };
    for (int i = 0; i < 1000; i++) {
        sync_once(&disk, 10 * MS, 0);
    }
    for (int i = 0; i < 100000; i++) {
        sync_once(&disk, 100 * US, 100 * US);
    }
    uint64_t before = disk.elsewhere;
    for (int i = 0; i < 1000; i++) {
        sync_once(&disk, 100 * US, 100 * US);
    }
    CHECK(disk.elsewhere == before);
    CHECK(disk.in_place.rest_ms == 0);
}

TEST_MAIN
