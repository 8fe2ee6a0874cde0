/*
 * data_dir.c — the two copies of a directory's identity, and its lock.
 *
 * A copy is written to a temporary name, synced, and renamed over the older one, so a crash never
 * leaves half of one.  The temporary file stays, for its blocks: a start on a full disk needs no
 * new ones.  Copy (little-endian):
 *
 *     0 u64 magic   8 u32 format   12 u32 size   16 u64 generation   24 u64 identity
 *    32 u64 hash seed   40 u32 partitions   44 u32 flags (1: clean, 2: clustered,
 *     4: lax)   48 u64 boots
 *    56 u64 newest AOF segment   64 16 bytes cluster id   80 64 bytes node id, NUL-padded
 *   144 u64 clustered sequence   152 40 bytes machine boot, NUL-padded   192 zeros
 *   244 u32 size and 248 u32 CRC-32C of the members   252 u32 CRC-32C of bytes 0..251
 *   256 the members
 *
 * Format 1 ended at 256, with zeros from 144 on.
 *
 * Invariant: after data_dir_write has returned 0 both copies are valid (the first time, and after
 * one was found damaged, both are written).
 *
 * Read next: data_dir.h.
 */
#include "storage/data_dir.h"

#include "base/assert.h"
#include "base/buffer.h"
#include "base/crc32c.h"
#include "base/endian.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "io/io.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    HEAD_BYTES = 256,
    HEAD_CRC_AT = HEAD_BYTES - 4,
    COPY_BYTES_MAX = HEAD_BYTES + DATA_DIR_MEMBERS_BYTES_MAX,
    COPY_CLEAN = 1 << 0,
    COPY_CLUSTERED = 1 << 1,
    COPY_LAX = 1 << 2,
    COPIES = 2,
    PATH_BYTES_MAX = 4096,
    NAME_BYTES_MAX = 32,
};

static const uint64_t COPY_MAGIC = UINT64_C(0x0a4154454d6e694d); /* "MinMETA\n" */
static const char *const COPY_NAMES[COPIES] = { "meta-a", "meta-b" };

enum copy_check { COPY_GOOD, COPY_MISSING, COPY_BAD, COPY_TOO_NEW, COPY_UNREADABLE };

struct copy {
    enum copy_check check;
    uint64_t generation;
    struct data_dir_meta meta;
};

struct data_dir {
    struct io *io;
    char path[PATH_BYTES_MAX];
    int lock; /* file; -1: read-only without a lock file */
    bool read_only;
    struct copy copies[COPIES];
};

static int64_t dir_look(struct data_dir *dir);
static int dir_make(struct io *io, const char *path);
static int64_t lock_take(struct data_dir *dir);
static int copy_read(struct data_dir *dir, unsigned i);
static enum data_dir_result judge(struct data_dir *dir, struct data_dir_meta *meta, char *detail,
                                  size_t detail_size);

static int64_t run(struct data_dir *dir, struct io_file_op op)
{
    return io_file_run(dir->io, &op);
}

static const char *path_of(const struct data_dir *dir, char *to, const char *name)
{
    (void)snprintf(to, PATH_BYTES_MAX + NAME_BYTES_MAX, "%s/%s", dir->path, name);
    return to;
}

/* ── opening ─────────────────────────────────────────────────────────────────────────────────── */

static enum data_dir_result open_error(char *detail, size_t detail_size, const char *what,
                                       int64_t error)
{
    (void)snprintf(detail, detail_size, "%s: %s", what, strerrordesc_np((int)-error));
    return DATA_DIR_ERROR;
}

static enum data_dir_result open_steps(struct data_dir *dir, struct data_dir_meta *meta,
                                       char *detail, size_t detail_size)
{
    int64_t result = dir->read_only ? dir_look(dir) : dir_make(dir->io, dir->path);
    if (result < 0) {
        return open_error(detail, detail_size, "the directory", result);
    }
    result = lock_take(dir);
    if (result == -EWOULDBLOCK) {
        (void)snprintf(detail, detail_size, "another process is using it");
        return DATA_DIR_LOCKED;
    }
    if (result < 0) {
        return open_error(detail, detail_size, "taking the lock", result);
    }
    for (unsigned i = 0; i < COPIES; i++) {
        result = copy_read(dir, i);
        if (result < 0) {
            return open_error(detail, detail_size, COPY_NAMES[i], result);
        }
    }
    return judge(dir, meta, detail, detail_size);
}

enum data_dir_result data_dir_open(struct io *io, const char *path, bool read_only,
                                   struct data_dir_meta *meta, struct data_dir **out_dir,
                                   char *detail, size_t detail_size)
{
    ASSERT(detail_size > 0);
    detail[0] = '\0';
    size_t size = strlen(path);
    if (size == 0 || size + NAME_BYTES_MAX >= PATH_BYTES_MAX) {
        (void)snprintf(detail, detail_size, "its name is empty or too long");
        return DATA_DIR_ERROR;
    }
    struct data_dir *dir = mem_zalloc(sizeof(*dir));
    dir->io = io;
    dir->lock = -1;
    dir->read_only = read_only;
    memcpy(dir->path, path, size + 1);
    enum data_dir_result result = open_steps(dir, meta, detail, detail_size);
    if (result != DATA_DIR_NEW && result != DATA_DIR_EXISTING) {
        data_dir_close(dir);
        return result;
    }
    *out_dir = dir;
    return result;
}

void data_dir_close(struct data_dir *dir)
{
    if (dir != NULL) {
        if (dir->lock >= 0) {
            (void)run(dir, (struct io_file_op){ .kind = IO_FILE_CLOSE, .file = dir->lock });
        }
        mem_free(dir);
    }
}

/* The directory is there and can be read. */
static int64_t dir_look(struct data_dir *dir)
{
    struct buffer names = { 0 };
    int64_t count =
        run(dir, (struct io_file_op){ .kind = IO_FILE_LIST, .path = dir->path, .list = &names });
    buffer_free(&names);
    return count;
}

/* Makes the directory and those above it, each made durable in the one it lies in. */
static int dir_make(struct io *io, const char *path)
{
    char prefix[PATH_BYTES_MAX];
    char parent[PATH_BYTES_MAX] = ".";
    parent[0] = path[0] == '/' ? '/' : '.';
    size_t size = strlen(path);
    for (size_t i = 1; i <= size; i++) {
        bool is_end = (path[i] == '/' || path[i] == '\0') && path[i - 1] != '/';
        if (!is_end) {
            continue;
        }
        memcpy(prefix, path, i);
        prefix[i] = '\0';
        struct buffer names = { 0 };
        struct io_file_op list = { .kind = IO_FILE_LIST, .path = prefix, .list = &names };
        int64_t listed = io_file_run(io, &list);
        buffer_free(&names);
        int64_t made = 0;
        if (listed == -ENOENT) {
            struct io_file_op make = { .kind = IO_FILE_MKDIR, .path = prefix };
            made = io_file_run(io, &make);
        }
        if (made == 0 && (listed == -ENOENT || path[i] == '\0')) {
            /* Also when it was there: who made it may not have lived to sync it. */
            struct io_file_op sync = { .kind = IO_FILE_SYNC_DIR, .path = parent };
            made = io_file_run(io, &sync);
            made = made == -EACCES && listed != -ENOENT ? 0 : made; /* not ours to open */
        }
        if (made < 0) {
            return (int)made;
        }
        memcpy(parent, prefix, i + 1);
    }
    return 0;
}

static int64_t lock_take(struct data_dir *dir)
{
    char path[PATH_BYTES_MAX + NAME_BYTES_MAX];
    uint32_t flags = dir->read_only ? IO_FILE_RDONLY : IO_FILE_RDWR | IO_FILE_CREATE;
    int64_t file = run(dir, (struct io_file_op){
                                .kind = IO_FILE_OPEN,
                                .path = path_of(dir, path, "lock"),
                                .flags = flags,
                            });
    if (file < 0) {
        bool never_used = dir->read_only && file == -ENOENT;
        return never_used ? 0 : file;
    }
    dir->lock = (int)file;
    return run(dir, (struct io_file_op){ .kind = IO_FILE_LOCK, .file = dir->lock });
}

/* ── reading ─────────────────────────────────────────────────────────────────────────────────── */

/* Format 2 and above; false when what is there cannot be right. */
static bool cluster_decode(struct data_dir_meta *meta, const char *from, uint64_t size)
{
    uint32_t members_size = load_u32(from + 244);
    if (members_size > DATA_DIR_MEMBERS_BYTES_MAX || size != HEAD_BYTES + members_size ||
        load_u32(from + 12) != size || from[152 + DATA_DIR_BOOT_MAX - 1] != '\0' ||
        load_u32(from + 248) != crc32c(0, from + HEAD_BYTES, members_size)) {
        return false;
    }
    meta->is_clustered = (load_u32(from + 44) & COPY_CLUSTERED) != 0;
    meta->was_lax = (load_u32(from + 44) & COPY_LAX) != 0;
    meta->clustered_sequence = load_u64(from + 144);
    memcpy(meta->machine_boot, from + 152, DATA_DIR_BOOT_MAX);
    meta->members_size = members_size;
    memcpy(meta->members, from + HEAD_BYTES, members_size);
    return true;
}

static struct copy copy_decode(const char *from, int64_t size)
{
    struct copy copy = { .check = COPY_BAD };
    if (size < HEAD_BYTES || load_u64(from) != COPY_MAGIC ||
        load_u32(from + HEAD_CRC_AT) != crc32c(0, from, HEAD_CRC_AT)) {
        return copy;
    }
    copy.generation = load_u64(from + 16);
    uint32_t format = load_u32(from + 8);
    if (format > DATA_DIR_FORMAT) {
        copy.check = COPY_TOO_NEW;
        return copy;
    }
    if (from[80 + DATA_DIR_ID_MAX - 1] != '\0') {
        return copy;
    }
    copy.meta = (struct data_dir_meta){
        .identity = load_u64(from + 24),
        .hash_seed = load_u64(from + 32),
        .partitions = load_u32(from + 40),
        .clean = (load_u32(from + 44) & COPY_CLEAN) != 0,
        .boots = load_u64(from + 48),
        .aof_segment = load_u64(from + 56),
    };
    memcpy(copy.meta.cluster_id, from + 64, sizeof(copy.meta.cluster_id));
    memcpy(copy.meta.node_id, from + 80, DATA_DIR_ID_MAX);
    if (format == 1 || cluster_decode(&copy.meta, from, (uint64_t)size)) {
        copy.check = COPY_GOOD;
    }
    return copy;
}

/* < 0 only for what is not about this copy (no descriptors left, no permission). */
static int copy_read(struct data_dir *dir, unsigned i)
{
    char path[PATH_BYTES_MAX + NAME_BYTES_MAX];
    char bytes[COPY_BYTES_MAX + 1] = { 0 }; /* one more, so that a longer file shows */
    int64_t file = run(dir, (struct io_file_op){
                                .kind = IO_FILE_OPEN,
                                .path = path_of(dir, path, COPY_NAMES[i]),
                                .flags = IO_FILE_RDONLY,
                            });
    if (file == -ENOENT) {
        dir->copies[i].check = COPY_MISSING;
        return 0;
    }
    if (file < 0) {
        return (int)file;
    }
    int64_t got = run(
        dir, (struct io_file_op){
                 .kind = IO_FILE_READ, .file = (int)file, .data = bytes, .size = sizeof(bytes) });
    (void)run(dir, (struct io_file_op){ .kind = IO_FILE_CLOSE, .file = (int)file });
    dir->copies[i] = copy_decode(bytes, got); /* what cannot be read is bad */
    return 0;
}

/* True when the directory holds a log or a snapshot. */
static bool has_data(struct data_dir *dir)
{
    struct buffer names = { 0 };
    int64_t count =
        run(dir, (struct io_file_op){ .kind = IO_FILE_LIST, .path = dir->path, .list = &names });
    bool found = count < 0; /* cannot tell: do not guess */
    const char *name = names.data;
    for (int64_t i = 0; i < count && !found; i++, name += strlen(name) + 1) {
        found = strncmp(name, "aof-", 4) == 0 || strncmp(name, "snap-", 5) == 0;
    }
    buffer_free(&names);
    return found;
}

static enum data_dir_result judge_none(struct data_dir *dir, char *detail, size_t detail_size)
{
    bool both_missing =
        dir->copies[0].check == COPY_MISSING && dir->copies[1].check == COPY_MISSING;
    if (!both_missing) {
        (void)snprintf(detail, detail_size, "neither meta-a nor meta-b is valid");
        return DATA_DIR_DAMAGED;
    }
    if (has_data(dir)) {
        (void)snprintf(detail, detail_size, "it holds data files but neither meta-a nor meta-b");
        return DATA_DIR_DAMAGED;
    }
    return DATA_DIR_NEW;
}

static enum data_dir_result judge(struct data_dir *dir, struct data_dir_meta *meta, char *detail,
                                  size_t detail_size)
{
    const struct copy *best = NULL;
    for (unsigned i = 0; i < COPIES; i++) {
        const struct copy *copy = &dir->copies[i];
        if (copy->check == COPY_TOO_NEW) {
            (void)snprintf(detail, detail_size, "%s was written in a later format", COPY_NAMES[i]);
            return DATA_DIR_TOO_NEW;
        }
        if (copy->check == COPY_GOOD && (best == NULL || copy->generation > best->generation)) {
            best = copy;
        }
    }
    if (best == NULL) {
        return judge_none(dir, detail, detail_size);
    }
    *meta = best->meta;
    for (unsigned i = 0; i < COPIES; i++) {
        if (dir->copies[i].check != COPY_GOOD) {
            /* The lost copy may have been the newer one: believe nothing good of the last stop, and
             * count the start that only it knew of. */
            meta->clean = false;
            meta->boots = best->meta.boots + 1;
            (void)snprintf(detail, detail_size, "%s is %s; the other copy is used", COPY_NAMES[i],
                           dir->copies[i].check == COPY_MISSING ? "missing" : "damaged");
        }
    }
    return DATA_DIR_EXISTING;
}

/* ── writing ─────────────────────────────────────────────────────────────────────────────────── */

/* Returns the size. */
static size_t copy_encode(const struct copy *copy, char to[COPY_BYTES_MAX])
{
    const struct data_dir_meta *meta = &copy->meta;
    uint32_t flags = (meta->clean ? COPY_CLEAN : 0u) | (meta->is_clustered ? COPY_CLUSTERED : 0u) |
                     (meta->was_lax ? COPY_LAX : 0u);
    memset(to, 0, HEAD_BYTES);
    store_u64(to, COPY_MAGIC);
    store_u32(to + 8, DATA_DIR_FORMAT);
    store_u32(to + 12, HEAD_BYTES + meta->members_size);
    store_u64(to + 16, copy->generation);
    store_u64(to + 24, meta->identity);
    store_u64(to + 32, meta->hash_seed);
    store_u32(to + 40, meta->partitions);
    store_u32(to + 44, flags);
    store_u64(to + 48, meta->boots);
    store_u64(to + 56, meta->aof_segment);
    memcpy(to + 64, meta->cluster_id, sizeof(meta->cluster_id));
    memcpy(to + 80, meta->node_id, strlen(meta->node_id)); /* the rest of the field is zeros */
    store_u64(to + 144, meta->clustered_sequence);
    memcpy(to + 152, meta->machine_boot, strlen(meta->machine_boot));
    store_u32(to + 244, meta->members_size);
    store_u32(to + 248, crc32c(0, meta->members, meta->members_size));
    store_u32(to + HEAD_CRC_AT, crc32c(0, to, HEAD_CRC_AT));
    memcpy(to + HEAD_BYTES, meta->members, meta->members_size);
    return HEAD_BYTES + meta->members_size;
}

/* Makes the temporary file these bytes, over the blocks it may have, and syncs it if told to. */
static int64_t temporary_write(struct data_dir *dir, const char *path, char *bytes, size_t size,
                               bool sync)
{
    int64_t file = run(dir, (struct io_file_op){
                                .kind = IO_FILE_OPEN,
                                .path = path,
                                .flags = IO_FILE_RDWR | IO_FILE_CREATE,
                            });
    if (file < 0) {
        return file;
    }
    struct io_file_op op = {
        .kind = IO_FILE_WRITE, .file = (int)file, .data = bytes, .size = size
    };
    int64_t result = run(dir, op);
    if (result >= 0) {
        op = (struct io_file_op){ .kind = IO_FILE_TRUNCATE, .file = (int)file, .offset = size };
        result = run(dir, op);
    }
    if (result >= 0 && sync) {
        result = run(dir, (struct io_file_op){ .kind = IO_FILE_SYNC, .file = (int)file });
    }
    (void)run(dir, (struct io_file_op){ .kind = IO_FILE_CLOSE, .file = (int)file });
    return result;
}

/* Writes the bytes to the temporary file and gives it the copy's name. */
static int64_t copy_put(struct data_dir *dir, unsigned i, char *bytes, size_t size)
{
    char path[PATH_BYTES_MAX + NAME_BYTES_MAX];
    char path_to[PATH_BYTES_MAX + NAME_BYTES_MAX];
    (void)path_of(dir, path, "meta.tmp");
    int64_t result = temporary_write(dir, path, bytes, size, !MUTANT(MUT_META_NOT_SYNCED));
    if (result < 0) {
        return result;
    }
    result = run(dir, (struct io_file_op){ .kind = IO_FILE_RENAME,
                                           .path = path,
                                           .path_to = path_of(dir, path_to, COPY_NAMES[i]) });
    if (result >= 0) {
        result = run(dir, (struct io_file_op){ .kind = IO_FILE_SYNC_DIR, .path = dir->path });
    }
    if (result >= 0) {
        /* Blocks for the next one.  Without them it will need room, that is all. */
        (void)temporary_write(dir, path, bytes, size, /* sync= */ false);
    }
    return result;
}

static int copy_write(struct data_dir *dir, unsigned i, const struct copy *copy)
{
    char bytes[COPY_BYTES_MAX];
    size_t size = copy_encode(copy, bytes);
    int64_t result = copy_put(dir, i, bytes, size);
    if (result == 0) {
        dir->copies[i] = *copy;
    }
    return (int)result;
}

int data_dir_write(struct data_dir *dir, const struct data_dir_meta *meta)
{
    ASSERT(!dir->read_only);
    ASSERT(memchr(meta->node_id, '\0', DATA_DIR_ID_MAX) != NULL);
    ASSERT(memchr(meta->machine_boot, '\0', DATA_DIR_BOOT_MAX) != NULL);
    ASSERT(meta->members_size <= DATA_DIR_MEMBERS_BYTES_MAX);
    const struct copy *copies = dir->copies;
    bool is_good[COPIES] = { copies[0].check == COPY_GOOD, copies[1].check == COPY_GOOD };
    uint64_t newest = 0;
    for (unsigned i = 0; i < COPIES; i++) {
        newest = is_good[i] && copies[i].generation > newest ? copies[i].generation : newest;
    }
    struct copy copy = { .check = COPY_GOOD, .generation = newest + 1, .meta = *meta };
    unsigned older =
        is_good[1] && is_good[0] ? copies[0].generation > copies[1].generation : is_good[0];
    int result = copy_write(dir, older, &copy);
    if (result < 0 || (is_good[0] && is_good[1])) {
        return result;
    }
    copy.generation += 1;
    return copy_write(dir, older ^ 1u, &copy);
}
