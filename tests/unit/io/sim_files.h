/*
 * sim_files.h — file operations on a simulated machine, as one-liners for its tests.
 */
#pragma once

#include "base/buffer.h"
#include "io/io_sim.h"

static const uint64_t NS_PER_S = 1000000000;
static const uint64_t NS_PER_MS = 1000000;

static inline int64_t file_run(struct io *io, struct io_file_op op)
{
    return io_file_run(io, &op);
}

static inline int file_open(struct io *io, const char *path, uint32_t flags)
{
    return (int)file_run(io,
                         (struct io_file_op){ .kind = IO_FILE_OPEN, .path = path, .flags = flags });
}

static inline int64_t file_close(struct io *io, int file)
{
    return file_run(io, (struct io_file_op){ .kind = IO_FILE_CLOSE, .file = file });
}

static inline int64_t file_write(struct io *io, int file, const void *data, uint64_t size,
                                 uint64_t at)
{
    union { /* the op's data is not const because reads fill it */
        const void *in;
        void *out;
    } pointer = { .in = data };
    return file_run(
        io,
        (struct io_file_op){
            .kind = IO_FILE_WRITE, .file = file, .data = pointer.out, .size = size, .offset = at });
}

static inline int64_t file_sync(struct io *io, int file)
{
    return file_run(io, (struct io_file_op){ .kind = IO_FILE_SYNC, .file = file });
}

static inline int64_t dir_sync(struct io *io, const char *path)
{
    return file_run(io, (struct io_file_op){ .kind = IO_FILE_SYNC_DIR, .path = path });
}

static inline bool disk_has(struct sim_node *node, const char *path, enum sim_disk_view view,
                            const char *text)
{
    struct buffer got = { 0 };
    bool same =
        sim_disk_read(node, path, view, &got) && slice_equal(buffer_slice(&got), slice_from(text));
    buffer_free(&got);
    return same;
}
