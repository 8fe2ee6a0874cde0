/*
 * snapshot_reader.c — finding, verifying and loading snapshot files.
 *
 * A file is read once, in large pieces, through a window that holds the item being decoded;
 * verifying and loading are the same pass.  Entries come in hash order, so each insertion touches
 * the segment of the table that the one before it touched.
 *
 * Read next: snapshot_format.h (the decoder), snapshot_writer.c.
 */
#include "storage/snapshot_format.h"

#include "base/assert.h"
#include "base/buffer.h"
#include "base/mem.h"
#include "io/io.h"
#include "storage/snapshot_block.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { READ_BYTES = 1 << 20, PATH_BYTES_MAX = 4096 };

struct window { /* bytes of the file from `offset` on */
    struct io *io;
    int file;
    uint64_t offset;
    struct buffer bytes;
};

/* ── listing ─────────────────────────────────────────────────────────────────────────────────── */

static int file_compare(const void *left, const void *right)
{
    const struct snapshot_file *a = left;
    const struct snapshot_file *b = right;
    if (a->group != b->group) {
        return a->group < b->group ? -1 : 1;
    }
    return a->index > b->index ? -1 : a->index < b->index;
}

static void temporary_remove(struct io *io, const char *dir, const char *name)
{
    char path[PATH_BYTES_MAX];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    struct io_file_op op = { .kind = IO_FILE_UNLINK, .path = path };
    (void)io_file_run(io, &op); /* left over: it does no harm where it is */
}

int64_t snapshot_list(struct io *io, const char *dir, bool clean, struct snapshot_file **out_files)
{
    if (strlen(dir) + SNAPSHOT_NAME_BYTES_MAX >= PATH_BYTES_MAX) {
        return -ENAMETOOLONG;
    }
    struct buffer names = { 0 };
    struct io_file_op op = { .kind = IO_FILE_LIST, .path = dir, .list = &names };
    int64_t names_count = io_file_run(io, &op);
    if (names_count < 0) {
        buffer_free(&names);
        return names_count;
    }
    struct snapshot_file *files = mem_alloc(((size_t)names_count + 1) * sizeof(*files));
    int64_t count = 0;
    const char *name = names.data;
    for (int64_t i = 0; i < names_count; i++, name += strlen(name) + 1) {
        bool is_temporary = false;
        if (!snapshot_name_parse(name, &files[count], &is_temporary)) {
            continue;
        }
        if (!is_temporary) {
            count += 1;
        } else if (clean) {
            temporary_remove(io, dir, name);
        }
    }
    buffer_free(&names);
    qsort(files, (size_t)count, sizeof(*files), file_compare);
    *out_files = files;
    return count;
}

/* ── loading ─────────────────────────────────────────────────────────────────────────────────── */

static struct slice window_from(const struct window *window, uint64_t offset)
{
    ASSERT(offset >= window->offset);
    uint64_t skip = offset - window->offset;
    if (skip >= window->bytes.size) {
        return slice_make("", 0);
    }
    return slice_make(window->bytes.data + skip, window->bytes.size - (size_t)skip);
}

/* Moves the window up to `offset` and reads until it holds `wanted` bytes and a good piece more.
 * < 0: -errno. */
static int64_t window_fill(struct window *window, uint64_t offset, uint64_t wanted)
{
    struct buffer *bytes = &window->bytes;
    buffer_consume(bytes, bytes->size - window_from(window, offset).size);
    window->offset = offset;
    if (bytes->size >= wanted) {
        return 0;
    }
    uint64_t size = wanted - bytes->size;
    size = size < READ_BYTES ? READ_BYTES : size;
    struct io_file_op op = {
        .kind = IO_FILE_READ,
        .file = window->file,
        .data = buffer_reserve(bytes, size),
        .size = size,
        .offset = window->offset + bytes->size,
    };
    int64_t got = io_file_run(window->io, &op);
    bytes->size += got > 0 ? (size_t)got : 0;
    return got < 0 ? got : 0;
}

static enum snapshot_check check_of(enum snapshot_item item)
{
    if (item == SNAPSHOT_ITEM_FOREIGN) {
        return SNAPSHOT_FOREIGN;
    }
    return item == SNAPSHOT_ITEM_TOO_NEW ? SNAPSHOT_TOO_NEW : SNAPSHOT_DAMAGED;
}

/* Reads to the end of the file, or to what is wrong with it. */
static enum snapshot_check file_load(struct window *window, struct snapshot_decoder *decoder,
                                     struct kv *kv, struct buffer *out_aux,
                                     struct snapshot_report *report)
{
    for (;;) {
        struct slice body;
        uint32_t entries = 0;
        struct slice bytes = window_from(window, decoder->offset);
        enum snapshot_item item = snapshot_decode(decoder, bytes, &body, &entries);
        enum snapshot_check check = SNAPSHOT_GOOD;
        switch (item) {
        case SNAPSHOT_ITEM_HEADER:
            break;
        case SNAPSHOT_ITEM_AUX:
            if (out_aux != NULL) {
                buffer_append_slice(out_aux, body);
            }
            break;
        case SNAPSHOT_ITEM_BLOCK:
            if (kv != NULL) {
                check = snapshot_block_check_load(kv, body, entries, &decoder->detail);
            }
            break;
        case SNAPSHOT_ITEM_MORE: {
            int64_t result = window_fill(window, decoder->offset, decoder->wanted);
            if (result < 0) {
                report->error = (int)result;
                return SNAPSHOT_UNREADABLE;
            }
            if (window->bytes.size < decoder->wanted) { /* it was longer a moment ago */
                decoder->detail = "the file is cut short";
                check = SNAPSHOT_DAMAGED;
            }
            break;
        }
        case SNAPSHOT_ITEM_FOOTER:
            return SNAPSHOT_GOOD;
        case SNAPSHOT_ITEM_DAMAGED:
        case SNAPSHOT_ITEM_FOREIGN:
        case SNAPSHOT_ITEM_TOO_NEW:
            check = check_of(item);
            break;
        }
        if (check != SNAPSHOT_GOOD) {
            return check;
        }
    }
}

/* Opens the file and takes its size.  < 0: -errno. */
static int64_t file_open(struct io *io, const char *path, int *out_file)
{
    struct io_file_op op = { .kind = IO_FILE_OPEN, .path = path, .flags = IO_FILE_RDONLY };
    int64_t file = io_file_run(io, &op);
    if (file < 0) {
        return file;
    }
    *out_file = (int)file;
    struct io_file_op size = { .kind = IO_FILE_SIZE, .file = (int)file };
    return io_file_run(io, &size);
}

enum snapshot_check snapshot_load(struct io *io, const char *dir, const struct snapshot_file *file,
                                  uint64_t identity, struct kv *kv, struct buffer *out_aux,
                                  struct snapshot_meta *out_meta,
                                  struct snapshot_report *out_report)
{
    char path[PATH_BYTES_MAX];
    struct snapshot_report report = { .check = SNAPSHOT_UNREADABLE };
    struct snapshot_decoder decoder = { 0 };
    struct window window = { .io = io, .file = -1 };
    if (out_aux != NULL) {
        out_aux->size = 0;
    }
    snapshot_name(file->group, file->index, false, report.file);
    int path_size = snprintf(path, sizeof(path), "%s/%s", dir, report.file);
    int64_t size = path_size < PATH_BYTES_MAX ? file_open(io, path, &window.file) : -ENAMETOOLONG;
    if (size >= 0) {
        snapshot_decoder_init(&decoder, file, identity, (uint64_t)size);
        report.check = file_load(&window, &decoder, kv, out_aux, &report);
    } else {
        report.error = (int)size;
    }
    if (report.check == SNAPSHOT_GOOD && kv != NULL && kv_stats(kv)->keys != decoder.meta.keys) {
        report.check = SNAPSHOT_DAMAGED;
        decoder.detail = "a key is in it twice";
    }
    if (window.file >= 0) {
        struct io_file_op close = { .kind = IO_FILE_CLOSE, .file = window.file };
        (void)io_file_run(io, &close); /* it was only read */
    }
    buffer_free(&window.bytes);
    report.offset = decoder.offset;
    if (report.check == SNAPSHOT_UNREADABLE) {
        decoder.detail = strerrordesc_np(-report.error);
    }
    if (report.check != SNAPSHOT_GOOD && decoder.detail != NULL) {
        (void)snprintf(report.detail, sizeof(report.detail), "%s", decoder.detail);
    }
    *out_meta = decoder.meta;
    *out_report = report;
    return report.check;
}
