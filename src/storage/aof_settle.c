/*
 * aof_settle.c — see aof_settle.h.  Segments are taken newest first, because each one's header
 * says how much of those before it was durable when it was written.
 */
#include "storage/aof_settle.h"

#include "base/assert.h"
#include "base/buffer.h"
#include "base/mem.h"
#include "io/io.h"
#include "storage/aof_format.h"

#include <stdio.h>

enum { SETTLE_CHUNK_BYTES = 1 << 20, SETTLE_PATH_BYTES = 4096 };

/* What the newer segments have shown so far. */
struct settling {
    struct io *io;
    const char *dir;
    char *chunk;         /* SETTLE_CHUNK_BYTES; owned */
    uint64_t bytes_max;  /* of the segment at hand that count */
    uint64_t next_first; /* first sequence of the segment behind it */
    uint64_t durable;    /* records below were durable */
};

static int64_t sync_with_size(struct io *io, int file);

/* Writes the file's bytes over themselves and syncs. */
static int64_t rewrite(const struct settling *settling, int file)
{
    uint64_t offset = 0;
    while (offset < settling->bytes_max) {
        uint64_t left = settling->bytes_max - offset;
        struct io_file_op op = {
            .kind = IO_FILE_READ,
            .file = file,
            .data = settling->chunk,
            .size = left < SETTLE_CHUNK_BYTES ? left : SETTLE_CHUNK_BYTES,
            .offset = offset,
        };
        int64_t got = io_file_run(settling->io, &op);
        if (got <= 0) {
            break; /* the end; or unreadable, which recovery has judged already */
        }
        op.kind = IO_FILE_WRITE;
        op.size = (uint64_t)got;
        int64_t written = io_file_run(settling->io, &op);
        if (written < 0) {
            return written;
        }
        offset += (uint64_t)got;
    }
    return sync_with_size(settling->io, file);
}

/* Syncs bytes and size: the size may have been lost by the failed sync just as the bytes were, and
 * is written again only when it changes. */
static int64_t sync_with_size(struct io *io, int file)
{
    struct io_file_op op = { .kind = IO_FILE_SIZE, .file = file };
    int64_t size = io_file_run(io, &op);
    if (size < 0) {
        return size;
    }
    op = (struct io_file_op){ .kind = IO_FILE_TRUNCATE,
                              .file = file,
                              .offset = (uint64_t)size + AOF_HEADER_COPY_BYTES };
    int64_t result = io_file_run(io, &op);
    if (result < 0) {
        return result;
    }
    op = (struct io_file_op){ .kind = IO_FILE_SYNC, .file = file };
    return io_file_run(io, &op);
}

static int64_t segment_settle(struct settling *settling, const char *path)
{
    struct io_file_op open = { .kind = IO_FILE_OPEN, .path = path, .flags = IO_FILE_RDWR };
    int64_t file = io_file_run(settling->io, &open);
    if (file < 0) {
        return file;
    }
    struct io_file_op read = {
        .kind = IO_FILE_READ,
        .file = (int)file,
        .data = settling->chunk,
        .size = AOF_SEGMENT_START,
    };
    int64_t got = io_file_run(settling->io, &read);
    struct aof_header header;
    bool is_good =
        got == AOF_SEGMENT_START &&
        aof_header_read(slice_make(settling->chunk, AOF_SEGMENT_START), &header) == AOF_HEADER_GOOD;
    int64_t result = 0;
    if (!is_good || settling->durable < settling->next_first) {
        result = rewrite(settling, (int)file);
    }
    if (is_good) {
        settling->next_first = header.first_sequence;
        settling->durable = header.durable_sequence > settling->durable ? header.durable_sequence
                                                                        : settling->durable;
    }
    struct io_file_op close = { .kind = IO_FILE_CLOSE, .file = (int)file };
    (void)io_file_run(settling->io, &close);
    return result;
}

static int64_t file_settle(struct settling *settling, const char *name)
{
    char path[SETTLE_PATH_BYTES];
    uint64_t number = 0;
    (void)snprintf(path, sizeof(path), "%s/%s", settling->dir, name);
    if (aof_name_parse(name, &number)) {
        int64_t result = segment_settle(settling, path);
        settling->bytes_max = UINT64_MAX;
        return result;
    }
    if (strcmp(name, AOF_NAME_NEXT) == 0 || strcmp(name, AOF_NAME_SPARE) == 0) {
        struct io_file_op op = { .kind = IO_FILE_UNLINK, .path = path };
        return io_file_run(settling->io, &op);
    }
    return 0;
}

int aof_settle(struct io *io, const char *dir, uint64_t end_offset)
{
    struct buffer names = { 0 };
    struct io_file_op op = { .kind = IO_FILE_LIST, .path = dir, .list = &names };
    int64_t result = io_file_run(io, &op);
    struct settling settling = {
        .io = io,
        .dir = dir,
        .chunk = mem_alloc(SETTLE_CHUNK_BYTES),
        .bytes_max = end_offset == 0 ? UINT64_MAX : end_offset,
        .next_first = UINT64_MAX,
    };
    /* The list is sorted, and so numbers of one width are in order: walk it from its end. */
    size_t end = names.size;
    while (result >= 0 && end > 0) {
        size_t begin = end - 1;
        while (begin > 0 && names.data[begin - 1] != '\0') {
            begin--;
        }
        result = file_settle(&settling, names.data + begin);
        end = begin;
    }
    mem_free(settling.chunk);
    buffer_free(&names);
    return result < 0 ? (int)result : 0;
}
