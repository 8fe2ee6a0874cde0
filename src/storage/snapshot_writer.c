/*
 * snapshot_writer.c — writes one partition's view to a file while the partition serves.
 *
 * Two buffers take turns: one is encoded into while the other is on its way to the disk.  The
 * life of a file is a line of phases, each with one kind of operation:
 *
 *   OPEN  ->  WRITE ... (aux, blocks, then the footer)  ->  SYNC  ->  VERIFY ... (read back,
 * decode)
 *         ->  CLOSE  ->  RENAME  ->  SYNC_DIR  ->  LIST  ->  PRUNE ... (old generations)  ->  DONE
 *
 * Anything that goes wrong before the rename leads to ABANDON: close, delete, FAILED.  Failing to
 * delete an old generation is not a failure: it is tried again by the next snapshot.
 *
 * Only the loop's thread runs this; encoding and verifying are done in bounded steps.
 *
 * Read next: snapshot_format.h, snapshot_reader.c.
 */
#include "storage/snapshot_format.h"

#include "base/assert.h"
#include "base/buffer.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "io/io.h"
#include "storage/kv_store.h"
#include "storage/snapshot_block.h"

#include <errno.h>
#include <stdio.h>

enum {
    PATH_BYTES_MAX = 4096,
    VERIFY_BYTES = 256 << 10, /* read back, and checked, at a time */
    KEEP_BYTES = 1 << 20,     /* capacity a buffer keeps for the next snapshot */
};

enum phase {
    PHASE_IDLE,
    PHASE_OPEN,
    PHASE_WRITE,
    PHASE_SYNC,
    PHASE_VERIFY,
    PHASE_CLOSE,
    PHASE_RENAME,
    PHASE_SYNC_DIR,
    PHASE_LIST,
    PHASE_PRUNE,
    PHASE_DONE,
    PHASE_ABANDON_CLOSE,
    PHASE_ABANDON_DELETE,
    PHASE_FAILED,
};

struct snapshot_writer {
    struct io *io;
    const char *dir;
    enum phase phase;
    bool busy; /* op is under way */
    struct io_file_op op;
    int file;
    int error;

    struct snapshot_meta meta;
    struct kv_view *view; /* the caller's */
    struct snapshot_totals totals;

    struct buffer buffers[2];
    unsigned filling;       /* buffers[filling] is encoded into; the other one is being written */
    size_t block_at;        /* of the frame of the open block in it */
    uint32_t block_entries; /* in the open block */
    bool is_full;           /* the filling buffer is ready to be written */
    bool is_last;           /* and it ends with the footer */
    bool last_is_written;
    uint64_t written_bytes;

    struct snapshot_decoder decoder; /* of VERIFY, over buffers[0] */

    struct buffer names;  /* of LIST */
    size_t name_at;       /* next one to look at */
    uint32_t prune_count; /* files still to delete */
    char path[PATH_BYTES_MAX];
    char path_to[PATH_BYTES_MAX];
};

static void submit(struct snapshot_writer *writer, enum io_file_kind kind);
static void write_start(struct snapshot_writer *writer);
static void block_begin(struct snapshot_writer *writer);
static void encode(struct snapshot_writer *writer, uint32_t budget);
static void verify_start(struct snapshot_writer *writer);
static void verify_step(struct snapshot_writer *writer);
static void on_read(struct snapshot_writer *writer, int64_t result);
static void prune_start(struct snapshot_writer *writer, int64_t names_count);
static void prune_next(struct snapshot_writer *writer);
static void abandon(struct snapshot_writer *writer, int error);
static void finish(struct snapshot_writer *writer, enum phase phase);

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

struct snapshot_writer *snapshot_writer_new(struct io *io, const char *dir)
{
    struct snapshot_writer *writer = mem_zalloc(sizeof(*writer));
    writer->io = io;
    writer->dir = dir;
    writer->file = -1;
    return writer;
}

bool snapshot_writer_is_busy(const struct snapshot_writer *writer)
{
    return writer->busy;
}

void snapshot_writer_free(struct snapshot_writer *writer)
{
    if (writer != NULL) {
        buffer_free(&writer->buffers[0]);
        buffer_free(&writer->buffers[1]);
        buffer_free(&writer->names);
        mem_free(writer);
    }
}

static const char *path_of(const struct snapshot_writer *writer, char *to, const char *name)
{
    (void)snprintf(to, PATH_BYTES_MAX, "%s/%s", writer->dir, name);
    return to;
}

static const char *path_of_file(const struct snapshot_writer *writer, char *to, bool temporary)
{
    char name[SNAPSHOT_NAME_BYTES_MAX];
    snapshot_name(writer->meta.group, writer->meta.index, temporary, name);
    return path_of(writer, to, name);
}

/* Puts what comes before the keys into the first buffer, and opens a block. */
static void begin_encode(struct snapshot_writer *writer, const struct snapshot_meta *meta)
{
    struct buffer *buffer = &writer->buffers[0];
    size_t aux_size = meta->aux.size;
    char *to = buffer_reserve(buffer, SNAPSHOT_HEADER_BYTES + SNAPSHOT_FRAME_BYTES + aux_size);
    snapshot_header_write(meta, to, &writer->totals);
    buffer->size = SNAPSHOT_HEADER_BYTES;
    if (aux_size > 0) {
        to += SNAPSHOT_HEADER_BYTES;
        memcpy(to + SNAPSHOT_FRAME_BYTES, meta->aux.data, aux_size);
        snapshot_aux_write(to, aux_size, &writer->totals);
        buffer->size += SNAPSHOT_FRAME_BYTES + aux_size;
    }
    block_begin(writer);
}

void snapshot_writer_begin(struct snapshot_writer *writer, const struct snapshot_meta *meta,
                           struct kv_view *view)
{
    ASSERT(writer->phase == PHASE_IDLE);
    ASSERT(!writer->busy && writer->file < 0);
    writer->meta = *meta;
    writer->meta.aux = (struct slice){ 0 };
    writer->view = view;
    writer->error = 0;
    writer->filling = 0;
    writer->buffers[0].size = 0;
    writer->buffers[1].size = 0;
    writer->is_full = false;
    writer->is_last = false;
    writer->last_is_written = false;
    writer->written_bytes = 0;
    if (strlen(writer->dir) + SNAPSHOT_NAME_BYTES_MAX >= PATH_BYTES_MAX) {
        finish(writer, PHASE_FAILED);
        writer->error = -ENAMETOOLONG;
        return;
    }
    begin_encode(writer, meta);
    writer->phase = PHASE_OPEN;
    writer->op.path = path_of_file(writer, writer->path, /* temporary= */ true);
    writer->op.flags = IO_FILE_RDWR | IO_FILE_CREATE | IO_FILE_TRUNC;
    submit(writer, IO_FILE_OPEN);
}

enum snapshot_state snapshot_writer_state(const struct snapshot_writer *writer)
{
    switch (writer->phase) {
    case PHASE_IDLE:
        return SNAPSHOT_IDLE;
    case PHASE_DONE:
        return SNAPSHOT_DONE;
    case PHASE_FAILED:
        return SNAPSHOT_FAILED;
    case PHASE_OPEN:
    case PHASE_WRITE:
        return writer->is_full ? SNAPSHOT_WAITING : SNAPSHOT_READY;
    case PHASE_VERIFY:
        return writer->busy ? SNAPSHOT_WAITING : SNAPSHOT_READY;
    case PHASE_SYNC:
    case PHASE_CLOSE:
    case PHASE_RENAME:
    case PHASE_SYNC_DIR:
    case PHASE_LIST:
    case PHASE_PRUNE:
    case PHASE_ABANDON_CLOSE:
    case PHASE_ABANDON_DELETE:
        return SNAPSHOT_WAITING;
    }
    UNREACHABLE();
}

struct snapshot_meta snapshot_writer_take(struct snapshot_writer *writer)
{
    ASSERT(writer->phase == PHASE_DONE || writer->phase == PHASE_FAILED);
    writer->phase = PHASE_IDLE;
    return writer->meta;
}

int snapshot_writer_error(const struct snapshot_writer *writer)
{
    return writer->error;
}

void snapshot_writer_step(struct snapshot_writer *writer, uint32_t budget)
{
    ASSERT(snapshot_writer_state(writer) == SNAPSHOT_READY);
    if (writer->phase == PHASE_VERIFY) {
        verify_step(writer);
        return;
    }
    encode(writer, budget);
    if (writer->phase == PHASE_WRITE && writer->is_full && !writer->busy) {
        write_start(writer);
    }
}

static void finish(struct snapshot_writer *writer, enum phase phase)
{
    for (unsigned i = 0; i < 2; i++) {
        if (writer->buffers[i].capacity > KEEP_BYTES) {
            buffer_free(&writer->buffers[i]);
        }
    }
    writer->view = NULL;
    writer->phase = phase;
}

/* ── operations ──────────────────────────────────────────────────────────────────────────────── */

/* The caller has filled in what the kind needs; nothing is left over from the operation before. */
static void submit(struct snapshot_writer *writer, enum io_file_kind kind)
{
    ASSERT(!writer->busy);
    writer->op.kind = kind;
    writer->op.flags |= IO_FILE_BULK;
    writer->op.owner = writer;
    writer->busy = true;
    io_file_submit(writer->io, &writer->op);
}

static void close_start(struct snapshot_writer *writer, enum phase phase)
{
    writer->phase = phase;
    writer->op.file = writer->file;
    writer->file = -1;
    submit(writer, IO_FILE_CLOSE);
}

static void on_open(struct snapshot_writer *writer, int64_t result)
{
    writer->file = (int)result;
    writer->phase = PHASE_WRITE;
    if (writer->is_full) {
        write_start(writer);
    }
}

static void on_write(struct snapshot_writer *writer)
{
    if (writer->last_is_written) {
        writer->phase = PHASE_SYNC;
        writer->op.file = writer->file;
        submit(writer, MUTANT(MUT_SNAPSHOT_NOT_SYNCED) ? IO_FILE_SIZE : IO_FILE_SYNC);
    } else if (writer->is_full) {
        write_start(writer);
    }
}

static void on_close(struct snapshot_writer *writer)
{
    writer->phase = PHASE_RENAME;
    writer->op.path = path_of_file(writer, writer->path, /* temporary= */ true);
    writer->op.path_to = path_of_file(writer, writer->path_to, /* temporary= */ false);
    submit(writer, IO_FILE_RENAME);
}

static void sync_dir_start(struct snapshot_writer *writer)
{
    writer->phase = PHASE_SYNC_DIR;
    writer->op.path = writer->dir;
    submit(writer, IO_FILE_SYNC_DIR);
}

static void list_start(struct snapshot_writer *writer)
{
    writer->phase = PHASE_LIST;
    writer->op.path = writer->dir;
    writer->op.list = &writer->names;
    submit(writer, IO_FILE_LIST);
}

/* An operation has failed.  Behind the rename there is only tidying up, which can wait. */
static void on_error(struct snapshot_writer *writer, int error)
{
    if (writer->phase == PHASE_LIST) {
        finish(writer, PHASE_DONE);
    } else if (writer->phase == PHASE_PRUNE) {
        prune_next(writer);
    } else {
        abandon(writer, error);
    }
}

static void delete_start(struct snapshot_writer *writer)
{
    writer->phase = PHASE_ABANDON_DELETE;
    writer->op.path = path_of_file(writer, writer->path, /* temporary= */ true);
    submit(writer, IO_FILE_UNLINK);
}

static void abandon(struct snapshot_writer *writer, int error)
{
    ASSERT(error < 0);
    writer->error = error;
    writer->op = (struct io_file_op){ 0 };
    if (writer->file >= 0) {
        close_start(writer, PHASE_ABANDON_CLOSE);
    } else {
        delete_start(writer);
    }
}

void snapshot_writer_on_event(struct snapshot_writer *writer, const struct io_event *event)
{
    ASSERT(event->kind == IO_EVENT_FILE && event->file_op == &writer->op);
    ASSERT(writer->busy);
    int64_t result = writer->op.result;
    writer->busy = false;
    writer->op = (struct io_file_op){ 0 };
    bool is_abandoning =
        writer->phase == PHASE_ABANDON_CLOSE || writer->phase == PHASE_ABANDON_DELETE;
    if (result < 0 && !is_abandoning) {
        on_error(writer, (int)result);
        return;
    }
    switch (writer->phase) {
    case PHASE_OPEN:
        on_open(writer, result);
        break;
    case PHASE_WRITE:
        on_write(writer);
        break;
    case PHASE_SYNC:
        verify_start(writer);
        break;
    case PHASE_VERIFY:
        on_read(writer, result);
        break;
    case PHASE_CLOSE:
        on_close(writer);
        break;
    case PHASE_RENAME:
        sync_dir_start(writer);
        break;
    case PHASE_SYNC_DIR:
        list_start(writer);
        break;
    case PHASE_LIST:
        prune_start(writer, result);
        break;
    case PHASE_PRUNE:
        prune_next(writer);
        break;
    case PHASE_ABANDON_CLOSE:
        delete_start(writer);
        break;
    case PHASE_ABANDON_DELETE:
        finish(writer, PHASE_FAILED);
        break;
    case PHASE_IDLE:
    case PHASE_DONE:
    case PHASE_FAILED:
        UNREACHABLE();
    }
}

/* ── encoding and writing ────────────────────────────────────────────────────────────────────── */

/* Leaves room for the frame of a block at the end of the filling buffer. */
static void block_begin(struct snapshot_writer *writer)
{
    struct buffer *buffer = &writer->buffers[writer->filling];
    (void)buffer_reserve(buffer, SNAPSHOT_FRAME_BYTES);
    writer->block_at = buffer->size;
    writer->block_entries = 0;
    buffer->size += SNAPSHOT_FRAME_BYTES;
}

/* Ends the open block of the filling buffer, if it holds anything. */
static void block_end(struct snapshot_writer *writer)
{
    struct buffer *buffer = &writer->buffers[writer->filling];
    if (writer->block_entries == 0) {
        buffer->size = writer->block_at; /* an empty view: no block at all */
        return;
    }
    size_t body_size = buffer->size - writer->block_at - SNAPSHOT_FRAME_BYTES;
    snapshot_frame_write(buffer->data + writer->block_at, body_size, writer->block_entries,
                         &writer->totals);
}

static void encode(struct snapshot_writer *writer, uint32_t budget)
{
    if (writer->is_full) {
        return;
    }
    struct buffer *buffer = &writer->buffers[writer->filling];
    size_t open_bytes = buffer->size - writer->block_at;
    ASSERT(open_bytes < SNAPSHOT_BLOCK_BYTES);
    uint32_t entries = 0;
    bool has_more = snapshot_block_fill(writer->view, budget, SNAPSHOT_BLOCK_BYTES - open_bytes,
                                        buffer, &entries);
    writer->block_entries += entries;
    if (!has_more) {
        block_end(writer);
        char *to = buffer_reserve(buffer, SNAPSHOT_FOOTER_BYTES);
        snapshot_footer_write(to, &writer->totals);
        buffer->size += SNAPSHOT_FOOTER_BYTES;
        writer->is_full = true;
        writer->is_last = true;
    } else if (buffer->size - writer->block_at >= SNAPSHOT_BLOCK_BYTES) {
        block_end(writer);
        writer->is_full = true;
    }
}

/* Hands the full buffer to the disk and begins a block in the other one. */
static void write_start(struct snapshot_writer *writer)
{
    ASSERT(writer->is_full && writer->file >= 0);
    struct buffer *full = &writer->buffers[writer->filling];
    writer->op.file = writer->file;
    writer->op.data = full->data;
    writer->op.size = full->size;
    writer->op.offset = writer->written_bytes;
    writer->written_bytes += full->size;
    writer->last_is_written = writer->is_last;
    writer->is_full = writer->is_last; /* behind the footer nothing is encoded any more */
    writer->filling ^= 1u;
    writer->buffers[writer->filling].size = 0;
    block_begin(writer);
    submit(writer, IO_FILE_WRITE);
}

/* ── verifying ───────────────────────────────────────────────────────────────────────────────── */

static void verify_read(struct snapshot_writer *writer)
{
    struct buffer *buffer = &writer->buffers[0];
    uint64_t offset = writer->decoder.offset + buffer->size;
    uint64_t size = writer->decoder.wanted - buffer->size;
    writer->op.file = writer->file;
    writer->op.size = size < VERIFY_BYTES ? VERIFY_BYTES : size;
    writer->op.data = buffer_reserve(buffer, writer->op.size);
    writer->op.offset = offset;
    submit(writer, IO_FILE_READ);
}

static void verify_start(struct snapshot_writer *writer)
{
    struct snapshot_file file = { .group = writer->meta.group, .index = writer->meta.index };
    snapshot_decoder_init(&writer->decoder, &file, writer->meta.identity, writer->written_bytes);
    writer->buffers[0].size = 0;
    writer->phase = PHASE_VERIFY;
    verify_read(writer);
}

static void on_read(struct snapshot_writer *writer, int64_t result)
{
    writer->buffers[0].size += (size_t)result; /* checked by the next step */
    if (result == 0) {
        abandon(writer, -EIO); /* shorter than what was written */
    }
}

/* Checks what has been read; asks for more, or goes on to give the file its name. */
static void verify_step(struct snapshot_writer *writer)
{
    struct snapshot_decoder *decoder = &writer->decoder;
    struct buffer *buffer = &writer->buffers[0];
    size_t used = 0;
    enum snapshot_item item = SNAPSHOT_ITEM_HEADER;
    while (item == SNAPSHOT_ITEM_HEADER || item == SNAPSHOT_ITEM_AUX ||
           item == SNAPSHOT_ITEM_BLOCK) {
        uint64_t before = decoder->offset;
        struct slice body;
        uint32_t entries = 0;
        struct slice bytes = slice_make(buffer->data + used, buffer->size - used);
        item = snapshot_decode(decoder, bytes, &body, &entries);
        used += (size_t)(decoder->offset - before);
    }
    buffer_consume(buffer, used);
    if (item == SNAPSHOT_ITEM_MORE) {
        verify_read(writer);
        return;
    }
    if (item != SNAPSHOT_ITEM_FOOTER || decoder->meta.digest != writer->totals.digest ||
        decoder->meta.keys != writer->totals.keys) {
        abandon(writer, -EIO);
        return;
    }
    writer->meta = decoder->meta;
    close_start(writer, PHASE_CLOSE);
}

/* ── old generations ─────────────────────────────────────────────────────────────────────────── */

/* A snapshot file of this writer's group. */
static bool is_ours(const struct snapshot_writer *writer, const char *name,
                    struct snapshot_file *out_file)
{
    bool is_temporary = false;
    return snapshot_name_parse(name, out_file, &is_temporary) && !is_temporary &&
           out_file->group == writer->meta.group;
}

/* Counts the group's files; those beyond SNAPSHOT_GENERATIONS go, oldest first (names are sorted).
 */
static void prune_start(struct snapshot_writer *writer, int64_t names_count)
{
    uint32_t ours = 0;
    struct snapshot_file file;
    const char *name = writer->names.data;
    for (int64_t i = 0; i < names_count; i++, name += strlen(name) + 1) {
        ours += is_ours(writer, name, &file);
    }
    writer->phase = PHASE_PRUNE;
    writer->name_at = 0;
    writer->prune_count = ours > SNAPSHOT_GENERATIONS ? ours - SNAPSHOT_GENERATIONS : 0;
    prune_next(writer);
}

static void prune_next(struct snapshot_writer *writer)
{
    while (writer->prune_count > 0 && writer->name_at < writer->names.size) {
        const char *name = writer->names.data + writer->name_at;
        writer->name_at += strlen(name) + 1;
        struct snapshot_file file;
        if (is_ours(writer, name, &file) && file.index != writer->meta.index) {
            writer->prune_count -= 1;
            writer->op.path = path_of(writer, writer->path, name);
            submit(writer, IO_FILE_UNLINK);
            return;
        }
    }
    finish(writer, PHASE_DONE);
}
