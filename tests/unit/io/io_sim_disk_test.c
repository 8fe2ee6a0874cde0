/*
 * io_sim_disk_test.c — the simulated disk keeps its promises through crashes and faults.
 *
 * What the disk shows after a power loss is held against an oracle kept here, that knows only the
 * rules: what was synced is there; any other sector is one of the versions it has had since; a name
 * without a directory sync may be there or not.
 */
#include "io/io_sim.h"

#include "base/buffer.h"
#include "base/mem.h"
#include "base/prng.h"
#include "sim_files.h"
#include "test.h"

#include <errno.h>

/* ── crashes: one file ───────────────────────────────────────────────────────────────────────── */

enum { FILE_SECTORS = 24, VERSIONS_MAX = 400, FILE_BYTES = FILE_SECTORS * SIM_SECTOR_BYTES };

/* What the oracle knows: every whole-file content since the last sync, oldest first.  versions[0]
 * is durable. */
struct oracle {
    struct version {
        uint8_t data[FILE_BYTES];
        uint64_t size;
    } versions[VERSIONS_MAX];
    int count;
};

static struct version *oracle_next(struct oracle *oracle)
{
    if (oracle->count == VERSIONS_MAX) {
        abort();
    }
    struct version *version = &oracle->versions[oracle->count];
    *version = oracle->versions[oracle->count - 1];
    oracle->count += 1;
    return version;
}

static void oracle_synced(struct oracle *oracle, int upto)
{
    oracle->count -= upto;
    memmove(&oracle->versions[0], &oracle->versions[upto],
            (size_t)oracle->count * sizeof(oracle->versions[0]));
}

struct crash_counts {
    int kept;
    int lost;
    int torn; /* one write's sectors partly there */
};

/* Holds what is found against the rules; returns how many sectors are not the durable ones. */
static void oracle_check(const struct oracle *oracle, const struct buffer *found,
                         struct crash_counts *counts)
{
    const struct version *durable = &oracle->versions[0];
    const struct version *last = &oracle->versions[oracle->count - 1];
    uint64_t least = durable->size;
    uint64_t most = durable->size;
    for (int v = 0; v < oracle->count; v++) {
        least = oracle->versions[v].size < least ? oracle->versions[v].size : least;
        most = oracle->versions[v].size > most ? oracle->versions[v].size : most;
    }
    CHECK(found->size >= least);
    CHECK(found->size <= most);
    int news = 0;
    int olds = 0;
    for (uint64_t at = 0; at < found->size; at += SIM_SECTOR_BYTES) {
        uint64_t left = found->size - at;
        uint64_t size = left < SIM_SECTOR_BYTES ? left : SIM_SECTOR_BYTES;
        bool is_legal = false;
        for (int v = 0; v < oracle->count && !is_legal; v++) {
            is_legal = memcmp(found->data + at, oracle->versions[v].data + at, size) == 0;
        }
        CHECK(is_legal);
        if (memcmp(durable->data + at, last->data + at, size) != 0) {
            news += memcmp(found->data + at, last->data + at, size) == 0;
            olds += memcmp(found->data + at, durable->data + at, size) == 0;
        }
    }
    counts->kept += news > 0;
    counts->lost += olds > 0;
    counts->torn += news > 0 && olds > 0;
}

static void random_write(struct io *io, int file, struct oracle *oracle, struct prng *prng)
{
    struct version *version = oracle_next(oracle);
    uint64_t offset = prng_below(prng, FILE_BYTES - 1);
    uint64_t size = 1 + prng_below(prng, FILE_BYTES - offset);
    if (prng_chance(prng, 1, 2)) {
        size = size < 700 ? size : 700;
    }
    uint8_t *data = mem_alloc(size);
    for (uint64_t i = 0; i < size; i++) {
        data[i] = (uint8_t)prng_next(prng);
    }
    CHECK_EQ(file_write(io, file, data, size, offset), 0);
    memcpy(version->data + offset, data, size);
    version->size = offset + size > version->size ? offset + size : version->size;
    mem_free(data);
}

static void random_truncate(struct io *io, int file, struct oracle *oracle, struct prng *prng)
{
    struct version *version = oracle_next(oracle);
    uint64_t size = prng_below(prng, FILE_BYTES);
    CHECK_EQ(
        file_run(io, (struct io_file_op){ .kind = IO_FILE_TRUNCATE, .file = file, .offset = size }),
        0);
    if (size < version->size) {
        memset(version->data + size, 0, FILE_BYTES - size);
    }
    version->size = size;
}

TEST(power_loss_keeps_what_was_synced)
{
    struct crash_counts counts = { 0 };
    struct oracle *oracle = mem_alloc(sizeof(*oracle));
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct sim_options options = sim_options_calm();
        struct sim_world *world = sim_world_new(seed, &options);
        struct sim_node *node = sim_node_new(world, "n1");
        struct prng prng;
        prng_init(&prng, seed);
        memset(oracle, 0, sizeof(*oracle));
        oracle->count = 1;
        struct buffer found = { 0 };
        sim_disk_write(node, "f", slice_from(""));
        for (int crash = 0; crash < 4; crash++) {
            struct io *io = sim_node_boot(node);
            int file = file_open(io, "f", IO_FILE_RDWR);
            CHECK(file >= 0);
            for (uint64_t step = prng_below(&prng, 30); step > 0; step--) {
                if (prng_chance(&prng, 1, 8)) {
                    CHECK_EQ(file_sync(io, file), 0);
                    oracle_synced(oracle, oracle->count - 1);
                } else if (prng_chance(&prng, 1, 8)) {
                    random_truncate(io, file, oracle, &prng);
                } else {
                    random_write(io, file, oracle, &prng);
                }
            }
            CHECK(sim_disk_read(node, "f", SIM_DISK_CACHE, &found));
            const struct version *last = &oracle->versions[oracle->count - 1];
            CHECK_EQ(found.size, last->size);
            CHECK(found.size == 0 || memcmp(found.data, last->data, found.size) == 0);
            bool power_loss = prng_chance(&prng, 3, 4);
            sim_node_crash(node, power_loss);
            io_free(io);
            CHECK(sim_disk_read(node, "f", SIM_DISK_CACHE, &found));
            if (!power_loss) { /* the kernel lives: nothing is lost, nothing is durable yet */
                CHECK_EQ(found.size, last->size);
                CHECK(found.size == 0 || memcmp(found.data, last->data, found.size) == 0);
                continue;
            }
            oracle_check(oracle, &found, &counts);
            oracle->count = 1;
            memset(oracle->versions[0].data, 0, FILE_BYTES);
            memcpy(oracle->versions[0].data, found.size > 0 ? found.data : "", found.size);
            oracle->versions[0].size = found.size;
        }
        buffer_free(&found);
        sim_world_free(world);
    }
    CHECK(counts.kept > 50);
    CHECK(counts.lost > 50);
    CHECK(counts.torn > 50);
    mem_free(oracle);
}

/* Submitted writes and syncs, a crash at a random moment: what a sync that was reported covered
 * (writes reported before it was submitted) is there. */
TEST(acknowledged_means_durable)
{
    enum { SLOTS = 64 };
    int lost = 0;
    int unseen = 0; /* happened, although the crash came before the report */
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct sim_options options = sim_options_calm();
        struct sim_world *world = sim_world_new(seed, &options);
        struct sim_node *node = sim_node_new(world, "n1");
        struct prng prng;
        prng_init(&prng, seed);
        sim_disk_write(node, "f", slice_from(""));
        struct io *io = sim_node_boot(node);
        int file = file_open(io, "f", IO_FILE_RDWR);
        struct io_file_op writes[SLOTS];
        struct io_file_op sync = { .kind = IO_FILE_SYNC, .file = file };
        uint64_t values[SLOTS];
        bool written[SLOTS] = { false }; /* reported */
        bool covered[SLOTS] = { false }; /* reported before the running sync was submitted */
        bool durable[SLOTS] = { false }; /* and that sync was reported */
        bool syncing = false;
        uint32_t next = 0;
        uint64_t crash_ns = 1 + prng_below(&prng, 4 * NS_PER_MS);
        struct sim_turn turn;
        io_wait(io, 0);
        while (sim_world_step(world, crash_ns, &turn)) {
            struct io_event event;
            while (io_next(io, &event)) {
                CHECK_EQ(event.result, 0);
                if (event.file_op == &sync) {
                    syncing = false;
                    memcpy(durable, covered, sizeof(durable));
                } else {
                    written[event.file_op - writes] = true;
                }
            }
            if (next < SLOTS && prng_chance(&prng, 1, 2)) {
                values[next] = next + 1;
                writes[next] = (struct io_file_op){ .kind = IO_FILE_WRITE,
                                                    .flags = next % 5 == 0 ? IO_FILE_THEN_SYNC : 0,
                                                    .file = file,
                                                    .data = &values[next],
                                                    .size = sizeof(values[next]),
                                                    .offset = (uint64_t)next * SIM_SECTOR_BYTES };
                io_file_submit(io, &writes[next]);
                next += 1;
            }
            if (!syncing && prng_chance(&prng, 1, 3)) {
                syncing = true;
                memcpy(covered, written, sizeof(covered));
                io_file_submit(io, &sync);
            }
            io_wait(io, io_clock_ns(io) + 50000);
        }
        sim_node_crash(node, /* power_loss= */ true);
        struct io_event event;
        while (io_next(io, &event)) {
            CHECK(event.result == -EIO || event.result == 0); /* in flight, or not looked at */
        }
        io_free(io);
        struct buffer found = { 0 };
        CHECK(sim_disk_read(node, "f", SIM_DISK_CACHE, &found));
        for (uint32_t i = 0; i < next; i++) {
            uint64_t value = 0;
            if (found.size >= (uint64_t)i * SIM_SECTOR_BYTES + sizeof(value)) {
                memcpy(&value, found.data + (uint64_t)i * SIM_SECTOR_BYTES, sizeof(value));
            }
            CHECK(value == i + 1 || value == 0);
            bool must = durable[i] || (i % 5 == 0 && written[i]);
            CHECK(!must || value == i + 1);
            lost += value == 0 && written[i];
            unseen += value != 0 && !written[i];
        }
        buffer_free(&found);
        sim_world_free(world);
    }
    CHECK(lost > 100); /* the test would see a missing sync */
    CHECK(unseen > 100);
}

/* ── crashes: names ──────────────────────────────────────────────────────────────────────────── */

TEST(rename_is_atomic_and_durable_after_the_directory_sync)
{
    int outcomes[3] = { 0 }; /* after a power loss: old, new, and new where it had to be */
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct sim_options options = sim_options_calm();
        struct sim_world *world = sim_world_new(seed, &options);
        struct sim_node *node = sim_node_new(world, "n1");
        struct io *io = sim_node_boot(node);
        CHECK_EQ(file_run(io, (struct io_file_op){ .kind = IO_FILE_MKDIR, .path = "d" }), 0);
        CHECK_EQ(dir_sync(io, "."), 0);
        sim_disk_write(node, "d/file", slice_from("old"));
        int file = file_open(io, "./d//new", IO_FILE_RDWR | IO_FILE_CREATE);
        CHECK_EQ(file_write(io, file, "new!", 4, 0), 0);
        CHECK_EQ(file_sync(io, file), 0);
        CHECK_EQ(file_close(io, file), 0);
        struct io_file_op rename = { .kind = IO_FILE_RENAME, .path = "d/new", .path_to = "d/file" };
        CHECK_EQ(file_run(io, rename), 0);
        CHECK(disk_has(node, "d/file", SIM_DISK_CACHE, "new!"));
        CHECK(!disk_has(node, "d/new", SIM_DISK_CACHE, "new!"));
        CHECK(disk_has(node, "d/file", SIM_DISK_PLATTER, "old"));
        bool synced = seed % 2 == 0;
        if (synced) {
            CHECK_EQ(dir_sync(io, "d/"), 0);
            CHECK(disk_has(node, "d/file", SIM_DISK_PLATTER, "new!"));
        }
        sim_node_crash(node, /* power_loss= */ true);
        io_free(io);
        bool is_new = disk_has(node, "d/file", SIM_DISK_CACHE, "new!");
        CHECK(is_new || disk_has(node, "d/file", SIM_DISK_CACHE, "old"));
        CHECK(is_new || !synced);
        CHECK(!is_new || !disk_has(node, "d/new", SIM_DISK_CACHE, "new!"));
        outcomes[synced ? 2 : is_new] += 1;
        sim_world_free(world);
    }
    CHECK(outcomes[0] > 10);
    CHECK(outcomes[1] > 10);
    CHECK_EQ(outcomes[2], 100);
}

/* Names against an oracle: a change that was followed by a directory sync is there, whatever else
 * happened; one that was not may be there or not. */
TEST(names_without_a_directory_sync_may_go)
{
    enum { NAMES = 8 };
    int kept = 0;
    int lost = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct sim_options options = sim_options_calm();
        struct sim_world *world = sim_world_new(seed, &options);
        struct sim_node *node = sim_node_new(world, "n1");
        struct prng prng;
        prng_init(&prng, seed);
        struct io *io = sim_node_boot(node);
        bool exists[NAMES] = { false };
        bool changed[NAMES] = { false };
        char path[NAMES][16];
        for (int i = 0; i < NAMES; i++) {
            (void)snprintf(path[i], sizeof(path[i]), "n%d", i);
        }
        for (int step = 0; step < 30; step++) {
            uint64_t i = prng_below(&prng, NAMES);
            if (prng_chance(&prng, 1, 10)) {
                CHECK_EQ(dir_sync(io, "."), 0);
                memset(changed, 0, sizeof(changed));
            } else if (exists[i]) {
                CHECK_EQ(
                    file_run(io, (struct io_file_op){ .kind = IO_FILE_UNLINK, .path = path[i] }),
                    0);
                exists[i] = false;
                changed[i] = true;
            } else {
                int file = file_open(io, path[i], IO_FILE_RDWR | IO_FILE_CREATE);
                CHECK_EQ(file_close(io, file), 0);
                exists[i] = true;
                changed[i] = true;
            }
        }
        sim_node_crash(node, /* power_loss= */ true);
        io_free(io);
        struct buffer found = { 0 };
        for (int i = 0; i < NAMES; i++) {
            bool there = sim_disk_read(node, path[i], SIM_DISK_CACHE, &found);
            CHECK(changed[i] || there == exists[i]);
            kept += changed[i] && there == exists[i];
            lost += changed[i] && there != exists[i];
        }
        buffer_free(&found);
        sim_world_free(world);
    }
    CHECK(kept > 100);
    CHECK(lost > 100);
}

TEST(a_lost_directory_takes_its_files_along)
{
    int lost = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct sim_options options = sim_options_calm();
        struct sim_world *world = sim_world_new(seed, &options);
        struct sim_node *node = sim_node_new(world, "n1");
        struct io *io = sim_node_boot(node);
        CHECK_EQ(file_run(io, (struct io_file_op){ .kind = IO_FILE_MKDIR, .path = "/a" }), 0);
        CHECK_EQ(file_run(io, (struct io_file_op){ .kind = IO_FILE_MKDIR, .path = "/a/b/" }), 0);
        CHECK_EQ(file_run(io, (struct io_file_op){ .kind = IO_FILE_MKDIR, .path = "/x/y" }),
                 -ENOENT);
        CHECK_EQ(file_open(io, "/x/y", IO_FILE_CREATE), -ENOENT);
        int file = file_open(io, "/a/b/f", IO_FILE_RDWR | IO_FILE_CREATE);
        CHECK(file >= 0);
        CHECK_EQ(dir_sync(io, "/a/b"), 0);
        CHECK_EQ(dir_sync(io, "/a"), 0); /* but not "/" */
        sim_node_crash(node, /* power_loss= */ true);
        io_free(io);
        struct buffer list = { 0 };
        size_t files = sim_disk_list(node, "/", SIM_DISK_CACHE, &list);
        lost += files == 0;
        CHECK(files == 0 || strcmp(list.data, "a/b/f") == 0);
        buffer_free(&list);
        sim_world_free(world);
    }
    CHECK(lost > 5);
    CHECK(lost < 35);
}

/* ── crashes in the middle ───────────────────────────────────────────────────────────────────── */

TEST(crash_after_n_operations)
{
    struct sim_options options = sim_options_calm();
    for (uint64_t n = 1; n < 40; n++) {
        struct sim_world *world = sim_world_new(n, &options);
        struct sim_node *node = sim_node_new(world, "n1");
        struct io *io = sim_node_boot(node);
        sim_node_crash_after(node, n, n % 2 == 0);
        uint64_t done = 0;
        bool dead = false;
        int file = file_open(io, "f", IO_FILE_RDWR | IO_FILE_CREATE);
        done += file >= 0;
        for (int i = 0; i < 20; i++) {
            int64_t written = file_write(io, file, "abc", 3, (uint64_t)i * 3);
            int64_t synced = file_sync(io, file);
            CHECK(!dead || (written < 0 && synced < 0)); /* once dead, always dead */
            done += written == 0;
            done += synced == 0;
            dead = synced < 0;
        }
        CHECK_EQ(done, n - 1);
        CHECK(!sim_node_is_up(node));
        struct io_socket *none = NULL;
        CHECK(io_listen(io, "n1", 1, NULL, &none) < 0);
        CHECK(io_connect(io, "n1", 1, NULL, &none) < 0);
        struct io_file_op op = { .kind = IO_FILE_SYNC, .file = file };
        io_file_submit(io, &op);
        io_wait(io, UINT64_MAX);
        struct io_event event;
        CHECK(io_next(io, &event)); /* whoever waits for it is not left waiting */
        CHECK_EQ(event.result, -EIO);
        io_free(io);
        io = sim_node_boot(node);
        file = file_open(io, "f", IO_FILE_RDWR);
        struct io_file_op size = { .kind = IO_FILE_SIZE, .file = file };
        if (n > 1 && n % 2 == 1) { /* the process died alone: what was written is there */
            CHECK(io_file_run(io, &size) >= (int64_t)((n - 1) / 2 * 3));
        }
        io_free(io);
        sim_world_free(world);
    }
}

/* ── the disk's other faults ─────────────────────────────────────────────────────────────────── */

TEST(a_planned_crash_can_be_called_off)
{
    struct sim_options options = sim_options_calm();
    struct sim_world *world = sim_world_new(1, &options);
    struct sim_node *node = sim_node_new(world, "n1");
    struct io *io = sim_node_boot(node);
    sim_node_crash_after(node, 3, /* power_loss= */ true);
    int file = file_open(io, "f", IO_FILE_RDWR | IO_FILE_CREATE);
    sim_node_crash_after(node, 0, /* power_loss= */ true);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(file_sync(io, file), 0);
    }
    CHECK(sim_node_is_up(node));
    io_free(io);
    sim_world_free(world);
}

TEST(a_full_disk)
{
    struct sim_options options = sim_options_calm();
    struct sim_world *world = sim_world_new(11, &options);
    struct sim_node *node = sim_node_new(world, "n1");
    struct io *io = sim_node_boot(node);
    char block[1000];
    memset(block, 'b', sizeof(block));
    int file = file_open(io, "f", IO_FILE_RDWR | IO_FILE_CREATE);
    sim_disk_capacity_set(node, 2500);
    CHECK_EQ(file_write(io, file, block, 1000, 0), 0);
    CHECK_EQ(file_write(io, file, block, 1000, 1000), 0);
    CHECK_EQ(file_run(io, (struct io_file_op){ .kind = IO_FILE_FREE_SPACE, .path = "." }), 500);
    CHECK_EQ(file_write(io, file, block, 1000, 2000), -ENOSPC);
    CHECK_EQ(sim_disk_used(node), 2500);
    CHECK_EQ(file_write(io, file, block, 1000, 1000), 0); /* the blocks are there */
    sim_disk_capacity_set(node, UINT64_MAX);
    CHECK_EQ(file_write(io, file, block, 1000, 2000), 0);
    io_free(io);
    sim_world_free(world);
}

TEST(failing_and_lying_syncs)
{
    int reads_back = 0;
    int survives = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct sim_options options = sim_options_calm();
        options.sync_error_ppm = seed % 2 == 0 ? 1000000 : 0;
        options.sync_lie_ppm = seed % 2 == 0 ? 0 : 1000000;
        struct sim_world *world = sim_world_new(seed, &options);
        struct sim_node *node = sim_node_new(world, "n1");
        sim_disk_write(node, "f", slice_from("old"));
        struct io *io = sim_node_boot(node);
        int file = file_open(io, "f", IO_FILE_RDWR);
        CHECK_EQ(file_write(io, file, "new", 3, 0), 0);
        CHECK_EQ(file_sync(io, file), seed % 2 == 0 ? -EIO : 0);
        sim_world_options(world)->sync_error_ppm = 0;
        CHECK_EQ(file_sync(io, file), 0); /* the second one says success: that is the trap */
        reads_back += disk_has(node, "f", SIM_DISK_CACHE, "new");
        sim_node_crash(node, /* power_loss= */ true);
        io_free(io);
        survives += disk_has(node, "f", SIM_DISK_CACHE, "new");
        sim_world_free(world);
    }
    CHECK(reads_back > 60);
    CHECK(survives > 20);
    CHECK(survives < reads_back);
}

TEST(read_errors_rot_and_misdirected_writes)
{
    struct sim_options options = sim_options_calm();
    struct sim_world *world = sim_world_new(12, &options);
    struct sim_node *node = sim_node_new(world, "n1");
    struct io *io = sim_node_boot(node);
    sim_disk_write(node, "f", slice_from("0123456789"));
    int file = file_open(io, "f", IO_FILE_RDWR);
    char back[16];
    struct io_file_op read = { .kind = IO_FILE_READ, .file = file, .data = back, .size = 16 };
    sim_world_options(world)->read_error_ppm = 1000000;
    CHECK_EQ(io_file_run(io, &read), -EIO);
    sim_world_options(world)->read_error_ppm = 0;
    CHECK_EQ(io_file_run(io, &read), 10);
    CHECK(memcmp(back, "0123456789", 10) == 0);
    sim_world_options(world)->rot_ppm = 1000000;
    CHECK_EQ(io_file_run(io, &read), 10);
    CHECK(memcmp(back, "0123456789", 10) != 0);
    sim_world_options(world)->rot_ppm = 0;
    sim_world_options(world)->misdirect_ppm = 1000000;
    CHECK_EQ(file_write(io, file, "here", 4, 0), 0);
    CHECK_EQ(io_file_run(io, &read), 16);
    CHECK(memcmp(back, "here", 4) != 0);
    CHECK(sim_disk_used(node) >= SIM_SECTOR_BYTES);
    io_free(io);
    sim_world_free(world);
}

TEST(locks_lists_and_handles)
{
    struct sim_options options = sim_options_calm();
    struct sim_world *world = sim_world_new(13, &options);
    struct sim_node *node = sim_node_new(world, "n1");
    struct io *io = sim_node_boot(node);
    int a = file_open(io, "b", IO_FILE_RDWR | IO_FILE_CREATE);
    int b = file_open(io, "b", IO_FILE_RDONLY);
    struct io_file_op lock = { .kind = IO_FILE_LOCK, .file = a };
    CHECK_EQ(io_file_run(io, &lock), 0);
    lock.file = b;
    CHECK_EQ(io_file_run(io, &lock), -EWOULDBLOCK);
    CHECK_EQ(file_write(io, b, "x", 1, 0), -EBADF);
    CHECK_EQ(file_close(io, a), 0);
    CHECK_EQ(file_close(io, a), -EBADF);
    CHECK_EQ(io_file_run(io, &lock), 0);
    CHECK_EQ(file_open(io, "b", IO_FILE_CREATE | IO_FILE_EXCLUSIVE), -EEXIST);
    a = file_open(io, "a", IO_FILE_RDWR | IO_FILE_CREATE);
    struct buffer list = { 0 };
    struct io_file_op names = { .kind = IO_FILE_LIST, .path = ".", .list = &list };
    CHECK_EQ(io_file_run(io, &names), 2);
    CHECK(list.size == 4 && memcmp(list.data, "a\0b", 4) == 0);
    names.path = "none";
    CHECK_EQ(io_file_run(io, &names), -ENOENT);
    CHECK_EQ(file_run(io, (struct io_file_op){ .kind = IO_FILE_UNLINK, .path = "b" }), 0);
    CHECK_EQ(file_write(io, a, "x", 1, 0), 0);
    CHECK_EQ(file_run(io, (struct io_file_op){ .kind = IO_FILE_SIZE, .file = b }),
             0); /* still open */
    io_free(io); /* locks end with the process */
    io = sim_node_boot(node);
    a = file_open(io, "a", IO_FILE_RDWR);
    lock.file = a;
    CHECK_EQ(io_file_run(io, &lock), 0);
    io_free(io);
    buffer_free(&list);
    sim_world_free(world);
}

TEST(tests_can_touch_disks)
{
    struct sim_options options = sim_options_calm();
    struct sim_world *world = sim_world_new(14, &options);
    struct sim_node *one = sim_node_new(world, "one");
    struct sim_node *two = sim_node_new(world, "two");
    struct buffer out = { 0 };
    sim_disk_write(one, "f", slice_from("abc"));
    sim_disk_write(two, "g", slice_from("gone"));
    CHECK(sim_disk_flip(one, "f", 8));
    CHECK(!sim_disk_flip(one, "f", 24));
    CHECK(disk_has(one, "f", SIM_DISK_CACHE, "acc"));
    CHECK(disk_has(one, "f", SIM_DISK_PLATTER, "acc"));
    sim_disk_copy(two, one);
    CHECK(disk_has(two, "f", SIM_DISK_PLATTER, "acc"));
    CHECK(!sim_disk_read(two, "g", SIM_DISK_CACHE, &out));
    CHECK_EQ(sim_disk_list(two, ".", SIM_DISK_PLATTER, &out), 1);
    CHECK(sim_disk_remove(two, "f"));
    CHECK(!sim_disk_remove(two, "f"));
    sim_disk_wipe(one);
    CHECK_EQ(sim_disk_list(one, ".", SIM_DISK_CACHE, &out), 0);
    CHECK_EQ(sim_disk_used(one), 0);
    out.size = 0;
    sim_options_print(&options, &out);
    CHECK(out.size > 100);
    buffer_free(&out);
    sim_world_free(world);
}

TEST_MAIN
