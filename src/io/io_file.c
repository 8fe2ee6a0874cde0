/*
 * io_file.c — file operations as system calls.
 *
 * Shared by io_file_run (the caller's thread) and the workers.  Interrupted calls are repeated and
 * short transfers continued, so that a caller sees either all of its operation or an error.  An
 * error of fsync is passed on at once and never retried: the kernel may have dropped the pages and
 * a second fsync would report success for data that is gone.
 *
 * Read next: io_worker.c.
 */
#include "io/io_file.h"

#include "base/assert.h"
#include "base/buffer.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    ZERO_CHUNK_BYTES = 256 << 10,
    FILE_MODE = 0600, /* users' data: the owner's alone */
    DIR_MODE = 0700,
};

static int64_t file_dispatch(struct io_file_op *op);
static int64_t file_open(const struct io_file_op *op);
static int64_t file_read(const struct io_file_op *op);
static int64_t file_write(const struct io_file_op *op);
static int64_t file_size(int file);
static int64_t file_zero(const struct io_file_op *op);
static int64_t dir_make(const char *path);
static int64_t dir_sync(const char *path);
static int64_t dir_list(const char *path, struct buffer *list);
static int64_t free_space(const char *path);

/* 0, or what errno says. */
static int64_t outcome(int returned)
{
    return returned == 0 ? 0 : -errno;
}

int64_t io_file_execute(struct io_file_op *op)
{
    op->result = file_dispatch(op);
    return op->result;
}

static int64_t file_sync(int file)
{
    int returned = 0;
    do {
        returned = fdatasync(file);
    } while (returned != 0 && errno == EINTR);
    return outcome(returned);
}

static int64_t file_dispatch(struct io_file_op *op)
{
    switch (op->kind) {
    case IO_FILE_OPEN:
        return file_open(op);
    case IO_FILE_CLOSE:
        return outcome(close(op->file));
    case IO_FILE_READ:
        return file_read(op);
    case IO_FILE_WRITE:
        return file_write(op);
    case IO_FILE_SYNC:
        return file_sync(op->file);
    case IO_FILE_SIZE:
        return file_size(op->file);
    case IO_FILE_TRUNCATE:
        return outcome(ftruncate(op->file, (off_t)op->offset));
    case IO_FILE_ZERO:
        return file_zero(op);
    case IO_FILE_RENAME:
        return outcome(rename(op->path, op->path_to));
    case IO_FILE_UNLINK:
        return outcome(unlink(op->path));
    case IO_FILE_MKDIR:
        return dir_make(op->path);
    case IO_FILE_SYNC_DIR:
        return dir_sync(op->path);
    case IO_FILE_LIST:
        return dir_list(op->path, op->list);
    case IO_FILE_LOCK:
        return outcome(flock(op->file, LOCK_EX | LOCK_NB));
    case IO_FILE_FREE_SPACE:
        return free_space(op->path);
    }
    UNREACHABLE();
}

static int64_t file_open(const struct io_file_op *op)
{
    int flags = O_CLOEXEC | ((op->flags & IO_FILE_RDWR) != 0 ? O_RDWR : O_RDONLY);
    flags |= (op->flags & IO_FILE_CREATE) != 0 ? O_CREAT : 0;
    flags |= (op->flags & IO_FILE_EXCLUSIVE) != 0 ? O_EXCL : 0;
    flags |= (op->flags & IO_FILE_TRUNC) != 0 ? O_TRUNC : 0;
    int file = -1;
    do {
        file = open(op->path, flags, FILE_MODE);
    } while (file < 0 && errno == EINTR);
    return file >= 0 ? file : -errno;
}

static int64_t file_read(const struct io_file_op *op)
{
    uint64_t done = 0;
    while (done < op->size) {
        ssize_t got =
            pread(op->file, (char *)op->data + done, op->size - done, (off_t)(op->offset + done));
        if (got == 0) {
            break;
        }
        if (got > 0) {
            done += (uint64_t)got;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return (int64_t)done;
}

static int64_t write_all(int file, const char *data, uint64_t size, uint64_t offset)
{
    uint64_t done = 0;
    while (done < size) {
        ssize_t put = pwrite(file, data + done, size - done, (off_t)(offset + done));
        if (put == 0) {
            return -EIO; /* POSIX does not say what it would mean; it is not progress */
        }
        if (put > 0) {
            done += (uint64_t)put;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

static int64_t file_write(const struct io_file_op *op)
{
    int64_t result = write_all(op->file, op->data, op->size, op->offset);
    if (result < 0) {
        return result;
    }
    if ((op->flags & IO_FILE_THEN_SYNC) != 0) {
        return file_sync(op->file);
    }
    if ((op->flags & IO_FILE_BULK) != 0) {
        /* Begin the write-back now: the sync at the end would otherwise push out everything at
         * once, and the log's syncs would stand in line behind it.  Advice only. */
        (void)sync_file_range(op->file, (off_t)op->offset, (off_t)op->size, SYNC_FILE_RANGE_WRITE);
    }
    return 0;
}

static int64_t file_size(int file)
{
    struct stat status;
    return fstat(file, &status) == 0 ? (int64_t)status.st_size : -errno;
}

static int64_t file_zero(const struct io_file_op *op)
{
    char *zeros = mem_zalloc(ZERO_CHUNK_BYTES);
    int64_t result = 0;
    for (uint64_t done = 0; done < op->size && result == 0;) {
        uint64_t left = op->size - done;
        uint64_t size = left < ZERO_CHUNK_BYTES ? left : ZERO_CHUNK_BYTES;
        result = write_all(op->file, zeros, size, op->offset + done);
        done += size;
    }
    mem_free(zeros);
    return result == 0 ? file_sync(op->file) : result;
}

static int64_t dir_make(const char *path)
{
    if (mkdir(path, DIR_MODE) == 0) {
        return 0;
    }
    int error = errno;
    struct stat status;
    bool is_dir = error == EEXIST && stat(path, &status) == 0 && S_ISDIR(status.st_mode);
    return is_dir ? 0 : -error;
}

static int64_t dir_sync(const char *path)
{
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        return -errno;
    }
    int64_t result = outcome(fsync(dir));
    (void)close(dir); /* nothing was written through this descriptor */
    return result;
}

static int names_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Appends the NUL-terminated names as the directory yields them; returns their count. */
static int64_t dir_read(DIR *dir, struct buffer *names)
{
    int64_t count = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            return errno == 0 ? count : -errno;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            buffer_append(names, entry->d_name, strlen(entry->d_name) + 1);
            count += 1;
        }
    }
}

static int64_t dir_list(const char *path, struct buffer *list)
{
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return -errno;
    }
    struct buffer names = { 0 };
    int64_t count = dir_read(dir, &names);
    (void)closedir(dir);
    list->size = 0;
    if (count > 0) {
        const char **order = mem_alloc((size_t)count * sizeof(*order));
        const char *at = names.data;
        for (int64_t i = 0; i < count; i++, at += strlen(at) + 1) {
            order[i] = at;
        }
        qsort(order, (size_t)count, sizeof(*order), names_compare);
        for (int64_t i = 0; i < count; i++) {
            buffer_append(list, order[i], strlen(order[i]) + 1);
        }
        mem_free(order);
    }
    buffer_free(&names);
    return count;
}

static int64_t free_space(const char *path)
{
    struct statvfs status;
    if (statvfs(path, &status) != 0) {
        return -errno;
    }
    uint64_t bytes = 0;
    bool overflow = __builtin_mul_overflow(status.f_bavail, status.f_frsize, &bytes);
    return overflow || bytes > INT64_MAX ? INT64_MAX : (int64_t)bytes;
}
