/*
 * fake_disk.h — a machine for the storage tests: files in memory, a clock that a test turns.
 *
 * Submitted operations wait until the test lets them run (disk_run_one, disk_run_all), so that a
 * test sees every state in between.  Errors are injected by kind; `space` bounds the bytes of all
 * files.  For crashes with torn and lost writes there is io_sim; this disk keeps everything.
 */
#pragma once

#include "base/buffer.h"
#include "base/mem.h"
#include "io/io.h"
#include "io/io_backend.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DISK_FILES_MAX = 512, DISK_HANDLES_MAX = 512, DISK_QUEUE_MAX = 64, DISK_NAME_MAX = 128 };

struct disk_file {
    bool exists; /* has a name */
    char name[DISK_NAME_MAX];
    struct buffer bytes;
    int handles;
    int lock; /* handle that holds it; -1: none */
};

struct disk {
    struct io io;
    uint64_t now_ns;
    uint64_t random;
    struct disk_file files[DISK_FILES_MAX];
    int handles[DISK_HANDLES_MAX];            /* index of the file, or -1 */
    struct io_file_op *queue[DISK_QUEUE_MAX]; /* submitted, not run */
    unsigned queued;
    struct io_file_op *done[DISK_QUEUE_MAX]; /* run, event not taken */
    unsigned done_count;
    uint64_t space; /* bytes all files may have together; 0: no limit */
    int fail_kind;  /* enum io_file_kind, -1: none */
    int fail_result;
    unsigned fail_skip;   /* so many operations of that kind succeed first */
    const char *bad_name; /* a file with bytes that cannot be read; NULL: none */
    uint64_t bad_from, bad_to;
    unsigned machine_boots; /* times the power came back */
    bool dead; /* the process has died: whatever it still does fails and changes nothing */
    uint64_t counts[32]; /* operations run, by kind */
};

static inline struct disk *disk_of(struct io *io)
{
    return (struct disk *)io;
}

static inline struct disk_file *disk_find(struct disk *disk, const char *name)
{
    for (unsigned i = 0; i < DISK_FILES_MAX; i++) {
        if (disk->files[i].exists && strcmp(disk->files[i].name, name) == 0) {
            return &disk->files[i];
        }
    }
    return NULL;
}

/* A file that must be there. */
static inline struct disk_file *disk_need(struct disk *disk, const char *name)
{
    struct disk_file *file = disk_find(disk, name);
    if (file == NULL) {
        abort();
    }
    return file;
}

static inline struct disk_file *disk_create(struct disk *disk, const char *name)
{
    for (unsigned i = 0; i < DISK_FILES_MAX; i++) {
        struct disk_file *file = &disk->files[i];
        if (!file->exists && file->handles == 0) {
            buffer_free(&file->bytes);
            file->exists = true;
            file->lock = -1;
            (void)snprintf(file->name, sizeof(file->name), "%s", name);
            return file;
        }
    }
    abort();
}

static inline int64_t disk_open(struct disk *disk, const struct io_file_op *op)
{
    struct disk_file *file = disk_find(disk, op->path);
    if (file == NULL) {
        if ((op->flags & IO_FILE_CREATE) == 0) {
            return -ENOENT;
        }
        file = disk_create(disk, op->path);
    }
    if ((op->flags & IO_FILE_TRUNC) != 0) {
        file->bytes.size = 0;
    }
    for (int i = 0; i < DISK_HANDLES_MAX; i++) {
        if (disk->handles[i] < 0) {
            disk->handles[i] = (int)(file - disk->files);
            file->handles += 1;
            return i;
        }
    }
    return -EMFILE;
}

static inline uint64_t disk_used(const struct disk *disk)
{
    uint64_t used = 0;
    for (unsigned i = 0; i < DISK_FILES_MAX; i++) {
        used += disk->files[i].exists ? disk->files[i].bytes.size : 0;
    }
    return used;
}

static inline int64_t disk_write(struct disk *disk, struct disk_file *file, const void *data,
                                 uint64_t size, uint64_t offset)
{
    uint64_t end = offset + size;
    if (end > file->bytes.size) {
        uint64_t more = end - file->bytes.size;
        if (disk->space != 0 && disk_used(disk) + more > disk->space) {
            return -ENOSPC;
        }
        memset(buffer_reserve(&file->bytes, more), 0, more);
        file->bytes.size = end;
    }
    if (data != NULL) {
        memcpy(file->bytes.data + offset, data, size);
    } else if (size > 0) {
        memset(file->bytes.data + offset, 0, size);
    }
    return 0;
}

static inline int64_t disk_read(const struct disk *disk, const struct disk_file *file, void *data,
                                uint64_t size, uint64_t offset)
{
    if (disk->bad_name != NULL && strcmp(disk->bad_name, file->name) == 0 &&
        offset < disk->bad_to && offset + size > disk->bad_from) {
        return -EIO;
    }
    uint64_t left = offset < file->bytes.size ? file->bytes.size - offset : 0;
    size = size < left ? size : left;
    if (size > 0) {
        memcpy(data, file->bytes.data + offset, size);
    }
    return (int64_t)size;
}

static inline int disk_name_compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static inline int64_t disk_list(const struct disk *disk, const char *dir, struct buffer *list)
{
    static char names[DISK_FILES_MAX][DISK_NAME_MAX];
    unsigned count = 0;
    size_t size = strlen(dir);
    for (unsigned i = 0; i < DISK_FILES_MAX; i++) {
        const char *name = disk->files[i].name;
        if (disk->files[i].exists && strncmp(name, dir, size) == 0 && name[size] == '/') {
            (void)snprintf(names[count++], DISK_NAME_MAX, "%s", name + size + 1);
        }
    }
    qsort(names, count, DISK_NAME_MAX, disk_name_compare);
    list->size = 0;
    for (unsigned i = 0; i < count; i++) {
        buffer_append(list, names[i], strlen(names[i]) + 1);
    }
    return count;
}

static inline int64_t disk_rename(struct disk *disk, const struct io_file_op *op)
{
    struct disk_file *file = disk_find(disk, op->path);
    if (file == NULL) {
        return -ENOENT;
    }
    struct disk_file *replaced = disk_find(disk, op->path_to);
    if (replaced != NULL) {
        replaced->exists = false;
    }
    (void)snprintf(file->name, sizeof(file->name), "%s", op->path_to);
    return 0;
}

static inline int64_t disk_execute(struct disk *disk, struct io_file_op *op)
{
    if (disk->dead) {
        return -EIO;
    }
    if (disk->fail_kind == (int)op->kind) {
        if (disk->fail_skip == 0) {
            return disk->fail_result;
        }
        disk->fail_skip -= 1;
    }
    disk->counts[op->kind] += 1;
    struct disk_file *file = NULL;
    if (op->kind == IO_FILE_CLOSE || op->kind == IO_FILE_READ || op->kind == IO_FILE_WRITE ||
        op->kind == IO_FILE_SYNC || op->kind == IO_FILE_SIZE || op->kind == IO_FILE_TRUNCATE ||
        op->kind == IO_FILE_ZERO || op->kind == IO_FILE_LOCK) {
        if (op->file < 0 || op->file >= DISK_HANDLES_MAX || disk->handles[op->file] < 0) {
            abort(); /* a closed handle: a bug of the code under test */
        }
        file = &disk->files[disk->handles[op->file]];
    } else {
        file = disk_find(disk, op->path);
    }
    switch (op->kind) {
    case IO_FILE_OPEN:
        return disk_open(disk, op);
    case IO_FILE_CLOSE:
        disk->handles[op->file] = -1;
        file->handles -= 1;
        file->lock = file->lock == op->file ? -1 : file->lock;
        return 0;
    case IO_FILE_READ:
        return disk_read(disk, file, op->data, op->size, op->offset);
    case IO_FILE_WRITE:
        return disk_write(disk, file, op->data, op->size, op->offset);
    case IO_FILE_ZERO:
        return disk_write(disk, file, NULL, op->size, op->offset);
    case IO_FILE_SIZE:
        return (int64_t)file->bytes.size;
    case IO_FILE_TRUNCATE:
        file->bytes.size = op->offset < file->bytes.size ? op->offset : file->bytes.size;
        return 0;
    case IO_FILE_RENAME:
        return disk_rename(disk, op);
    case IO_FILE_UNLINK:
        if (file == NULL) {
            return -ENOENT;
        }
        file->exists = false;
        return 0;
    case IO_FILE_LIST:
        return disk_list(disk, op->path, op->list);
    case IO_FILE_LOCK:
        if (file->lock >= 0 && file->lock != op->file) {
            return -EWOULDBLOCK;
        }
        file->lock = op->file;
        return 0;
    case IO_FILE_FREE_SPACE:
        return disk->space == 0 ? INT64_MAX : (int64_t)(disk->space - disk_used(disk));
    case IO_FILE_SYNC:
    case IO_FILE_MKDIR:
    case IO_FILE_SYNC_DIR:
        return 0;
    }
    abort();
}

static inline int64_t disk_backend_run(struct io *io, struct io_file_op *op)
{
    op->result = disk_execute(disk_of(io), op);
    return op->result;
}

static inline void disk_backend_submit(struct io *io, struct io_file_op *op)
{
    struct disk *disk = disk_of(io);
    if (disk->queued == DISK_QUEUE_MAX) {
        abort();
    }
    disk->queue[disk->queued++] = op;
}

/* Runs the i-th waiting operation; its event follows. */
static inline void disk_run_one(struct disk *disk, unsigned i)
{
    struct io_file_op *op = disk->queue[i];
    disk->queued -= 1;
    memmove(disk->queue + i, disk->queue + i + 1, (disk->queued - i) * sizeof(disk->queue[0]));
    op->result = disk_execute(disk, op);
    disk->done[disk->done_count++] = op;
}

static inline void disk_run_all(struct disk *disk)
{
    while (disk->queued > 0) {
        disk_run_one(disk, 0);
    }
}

static inline void disk_backend_wait(struct io *io, uint64_t deadline_ns)
{
    struct disk *disk = disk_of(io);
    disk_run_all(disk);
    if (disk->done_count == 0 && deadline_ns != UINT64_MAX && deadline_ns > disk->now_ns) {
        disk->now_ns = deadline_ns;
    }
}

static inline bool disk_backend_next(struct io *io, struct io_event *out_event)
{
    struct disk *disk = disk_of(io);
    if (disk->done_count == 0) {
        return false;
    }
    struct io_file_op *op = disk->done[0];
    disk->done_count -= 1;
    memmove(disk->done, disk->done + 1, disk->done_count * sizeof(disk->done[0]));
    *out_event = (struct io_event){
        .kind = IO_EVENT_FILE, .result = op->result, .owner = op->owner, .file_op = op
    };
    return true;
}

static inline uint64_t disk_backend_clock(struct io *io)
{
    return disk_of(io)->now_ns;
}

static inline uint64_t disk_backend_wall(struct io *io)
{
    return disk_of(io)->now_ns / 1000000;
}

static inline uint64_t disk_backend_random(struct io *io)
{
    return disk_of(io)->random += UINT64_C(0x9e3779b97f4a7c15);
}

static inline void disk_backend_machine_boot(struct io *io, char *out)
{
    (void)snprintf(out, IO_MACHINE_BOOT_BYTES, "boot-%u", disk_of(io)->machine_boots);
}

static const struct io_backend disk_backend = {
    .name = "fake disk",
    .clock_ns = disk_backend_clock,
    .wall_ms = disk_backend_wall,
    .random = disk_backend_random,
    .machine_boot = disk_backend_machine_boot,
    .wait = disk_backend_wait,
    .next = disk_backend_next,
    .file_run = disk_backend_run,
    .file_submit = disk_backend_submit,
};

static inline struct disk *disk_new(void)
{
    struct disk *disk = mem_zalloc(sizeof(*disk));
    disk->io.backend = &disk_backend;
    disk->now_ns = UINT64_C(1000000000);
    disk->fail_kind = -1;
    for (unsigned i = 0; i < DISK_HANDLES_MAX; i++) {
        disk->handles[i] = -1;
    }
    return disk;
}

static inline unsigned disk_open_handles(const struct disk *disk)
{
    unsigned count = 0;
    for (unsigned i = 0; i < DISK_HANDLES_MAX; i++) {
        count += disk->handles[i] >= 0;
    }
    return count;
}

/* What a new process finds: no handles, no locks, nothing under way. */
static inline void disk_reboot(struct disk *disk)
{
    for (unsigned i = 0; i < DISK_HANDLES_MAX; i++) {
        disk->handles[i] = -1;
    }
    for (unsigned i = 0; i < DISK_FILES_MAX; i++) {
        disk->files[i].handles = 0;
        disk->files[i].lock = -1;
    }
    disk->queued = 0;
    disk->done_count = 0;
    disk->dead = false;
}

static inline void disk_free(struct disk *disk)
{
    for (unsigned i = 0; i < DISK_FILES_MAX; i++) {
        buffer_free(&disk->files[i].bytes);
    }
    mem_free(disk);
}

/* Puts a file there as it is. */
static inline void disk_put(struct disk *disk, const char *name, struct slice bytes)
{
    struct disk_file *file = disk_find(disk, name);
    if (file == NULL) {
        file = disk_create(disk, name);
    }
    file->bytes.size = 0;
    buffer_append_slice(&file->bytes, bytes);
}
