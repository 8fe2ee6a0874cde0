/*
 * io_sim_disk.c — file operations on the simulated disk, their faults, and what a crash leaves.
 *
 * Idea: a submitted operation is a flight that ends after a random delay and takes effect when it
 * ends.  So operations in flight together may take effect in any order, as the contract of
 * io_file_submit allows, and at a crash each flight may have happened, in part or not at all.
 *
 * A synchronous operation (io_file_run) takes effect at once and costs no time.
 *
 * Read next: io_sim_inode.c (what is durable), io_sim_dir.c (names).
 */
#include "base/assert.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "io/io_sim_internal.h"

#include <errno.h>

enum { FILE_FIRST = 3, MISDIRECT_SECTORS_MAX = 16 };

static int64_t file_execute(struct sim_io *io, const struct io_file_op *op, uint64_t sequence);
static void file_maybe_execute(struct sim_io *io, const struct io_file_op *op, uint64_t sequence);
static int64_t file_open(struct sim_io *io, const struct io_file_op *op);
static int64_t file_close(struct sim_io *io, int file);
static int64_t file_read(struct sim_io *io, const struct io_file_op *op);
static int64_t file_write(struct sim_io *io, const struct io_file_op *op, bool zeros);
static int64_t file_sync(struct sim_io *io, int file, uint64_t sequence);
static int64_t file_size(struct sim_io *io, int file);
static int64_t file_truncate(struct sim_io *io, const struct io_file_op *op);
static int64_t file_lock(struct sim_io *io, int file);
static int64_t path_rename(struct sim_io *io, const struct io_file_op *op);
static int64_t path_unlink(struct sim_io *io, const struct io_file_op *op);
static int64_t path_mkdir(struct sim_io *io, const struct io_file_op *op);
static int64_t path_sync(struct sim_io *io, const struct io_file_op *op, uint64_t sequence);
static int64_t path_list(struct sim_io *io, const struct io_file_op *op);
static int64_t free_space(struct sim_io *io);
static struct sim_handle *handle_find(struct sim_io *io, int file);
static bool goes_bad(struct sim_disk *disk, uint32_t rate_ppm);

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

void sim_disk_init(struct sim_disk *disk, struct prng *parent)
{
    disk->prng = prng_fork(parent, "disk");
    disk->capacity_bytes = UINT64_MAX;
}

static void disk_empty(struct sim_disk *disk)
{
    sim_dir_power_loss(disk, 0); /* forgets the changes not yet durable */
    sim_names_free(&disk->cache);
    sim_names_free(&disk->platter);
    ASSERT(disk->inodes == NULL);
}

void sim_disk_free(struct sim_disk *disk)
{
    disk_empty(disk);
    mem_free(disk->changes);
}

/* ── running and submitting ──────────────────────────────────────────────────────────────────── */

static void op_trace(struct sim_io *io, const struct io_file_op *op, const char *what)
{
    sim_trace(io->world, io->node, what, (uint64_t)op->kind, (uint64_t)op->result);
    sim_trace(io->world, io->node, "bytes", op->size, op->offset);
}

static uint32_t op_crc(const struct io_file_op *op)
{
    return op->kind == IO_FILE_WRITE ? crc32c(0, op->data, op->size) : 0;
}

int64_t sim_file_run(struct io *base, struct io_file_op *op)
{
    struct sim_io *io = sim_io_from(base);
    if (!io->is_dead && io->node->crash_countdown == 1) {
        file_maybe_execute(io, op, io->node->disk.sequence);
    }
    op->result = sim_io_tick(io) ? file_execute(io, op, io->node->disk.sequence) : -EIO;
    op_trace(io, op, "file-run");
    return op->result;
}

static void done_push(struct sim_io *io, struct io_file_op *op)
{
    op->next = NULL;
    if (io->done_first == NULL) {
        io->done_first = op;
    } else {
        io->done_last->next = op;
    }
    io->done_last = op;
}

static uint64_t op_delay_draw(struct sim_io *io, const struct io_file_op *op)
{
    const struct sim_options *options = &io->world->options;
    struct prng *prng = &io->node->disk.prng;
    uint64_t delay_ns = sim_delay_draw(prng, options->disk_min_ns, options->disk_mean_ns);
    if (sim_happens(prng, options->disk_stall_ppm)) {
        delay_ns += prng_below(prng, options->disk_stall_max_ns);
    }
    bool moves_data =
        op->kind == IO_FILE_READ || op->kind == IO_FILE_WRITE || op->kind == IO_FILE_ZERO;
    return delay_ns + (moves_data ? op->size : 0); /* a gigabyte a second */
}

void sim_file_submit(struct io *base, struct io_file_op *op)
{
    struct sim_io *io = sim_io_from(base);
    if (io->is_dead) {
        op->result = -EIO;
        done_push(io, op);
        return;
    }
    struct sim_world *world = io->world;
    struct sim_flight *flight = mem_alloc(sizeof(*flight));
    *flight = (struct sim_flight){
        .op = op,
        .number = ++world->sequence,
        .sequence = io->node->disk.sequence,
        .data_crc = op_crc(op),
    };
    struct sim_flight **at = &io->flights;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    *at = flight;
    sim_trace(world, io->node, "file-submit", (uint64_t)op->kind, op->size);
    sim_schedule(world, op_delay_draw(io, op),
                 (struct sim_event){
                     .kind = SIM_EVENT_FILE_DONE, .node = io->node, .value = flight->number });
    (void)sim_io_tick(io);
}

/* Takes the flight out of the line and hands its operation back with `result`. */
static void flight_end(struct sim_io *io, struct sim_flight **at, int64_t result)
{
    struct sim_flight *flight = *at;
    *at = flight->next;
    flight->op->result = result;
    done_push(io, flight->op);
    mem_free(flight);
}

static void flight_land(struct sim_io *io, struct sim_flight **at)
{
    const struct sim_flight *flight = *at;
    /* The contract: data stays unchanged until the operation has ended. */
    ASSERT(op_crc(flight->op) == flight->data_crc);
    struct io_file_op *op = flight->op;
    flight_end(io, at, file_execute(io, op, flight->sequence));
    op_trace(io, op, "file-done");
}

void sim_file_done(struct sim_node *node, uint64_t number)
{
    struct sim_io *io = node->io;
    if (io == NULL) {
        return; /* its process has ended: sim_disk_io_dies decided what became of it */
    }
    for (struct sim_flight **at = &io->flights; *at != NULL; at = &(*at)->next) {
        if ((*at)->number == number) {
            flight_land(io, at);
            return;
        }
    }
}

bool sim_file_hurry(struct sim_io *io)
{
    if (io->flights == NULL) {
        return false;
    }
    flight_land(io, &io->flights);
    return true;
}

/* ── crashes ─────────────────────────────────────────────────────────────────────────────────── */

/* What a crash leaves of an operation that was underway: nothing, a part, all. */
static void file_maybe_execute(struct sim_io *io, const struct io_file_op *op, uint64_t sequence)
{
    struct prng *prng = &io->node->disk.prng;
    uint64_t luck = prng_below(prng, 3);
    bool only_reads = op->kind == IO_FILE_READ || op->kind == IO_FILE_LIST;
    if (luck == 0 || only_reads) {
        return;
    }
    struct io_file_op part = *op;
    if (luck == 1 && (op->kind == IO_FILE_WRITE || op->kind == IO_FILE_ZERO)) {
        part.flags &= ~(uint32_t)IO_FILE_THEN_SYNC;
        part.size = op->size > 0 ? prng_below(prng, op->size) : 0;
    }
    (void)file_execute(io, &part, sequence);
}

void sim_disk_io_dies(struct sim_io *io)
{
    size_t count = 0;
    for (const struct sim_flight *at = io->flights; at != NULL; at = at->next) {
        count += 1;
    }
    for (; count > 0; count--) {
        struct sim_flight **at = &io->flights;
        for (uint64_t skip = prng_below(&io->node->disk.prng, count); skip > 0; skip--) {
            at = &(*at)->next;
        }
        file_maybe_execute(io, (*at)->op, (*at)->sequence);
        flight_end(io, at, -EIO);
    }
    for (size_t i = 0; i < io->handles_count; i++) {
        (void)file_close(io, (int)i + FILE_FIRST);
    }
}

void sim_disk_power_loss(struct sim_node *node)
{
    struct sim_disk *disk = &node->disk;
    static const uint32_t keep_choices[] = { 0, SIM_PPM };
    uint64_t choice = prng_below(&disk->prng, 4);
    uint32_t keep_ppm =
        choice < 2 ? keep_choices[choice] : (uint32_t)prng_below(&disk->prng, SIM_PPM);
    for (struct sim_inode *inode = disk->inodes; inode != NULL; inode = inode->next) {
        sim_inode_power_loss(inode, keep_ppm,
                             disk->is_sound ? 0 : node->world->options.crash_garbage_ppm);
    }
    sim_dir_power_loss(disk, keep_ppm);
    sim_trace(node->world, node, "power-loss", keep_ppm, disk->cache.count);
}

/* ── the operations ──────────────────────────────────────────────────────────────────────────── */

static int64_t file_execute(struct sim_io *io, const struct io_file_op *op, uint64_t sequence)
{
    int64_t result = 0;
    switch (op->kind) {
    case IO_FILE_OPEN:
        return file_open(io, op);
    case IO_FILE_CLOSE:
        return file_close(io, op->file);
    case IO_FILE_READ:
        return file_read(io, op);
    case IO_FILE_WRITE:
        result = file_write(io, op, false);
        if (result == 0 && (op->flags & IO_FILE_THEN_SYNC) != 0) {
            result = file_sync(io, op->file, io->node->disk.sequence);
        }
        return result;
    case IO_FILE_SYNC:
        return file_sync(io, op->file, sequence);
    case IO_FILE_SIZE:
        return file_size(io, op->file);
    case IO_FILE_TRUNCATE:
        return file_truncate(io, op);
    case IO_FILE_ZERO:
        result = file_write(io, op, true);
        return result == 0 ? file_sync(io, op->file, io->node->disk.sequence) : result;
    case IO_FILE_RENAME:
        return path_rename(io, op);
    case IO_FILE_UNLINK:
        return path_unlink(io, op);
    case IO_FILE_MKDIR:
        return path_mkdir(io, op);
    case IO_FILE_SYNC_DIR:
        return path_sync(io, op, sequence);
    case IO_FILE_LIST:
        return path_list(io, op);
    case IO_FILE_LOCK:
        return file_lock(io, op->file);
    case IO_FILE_FREE_SPACE:
        return free_space(io);
    }
    UNREACHABLE();
}

/* What happens to disks that are not sound. */
static bool goes_bad(struct sim_disk *disk, uint32_t rate_ppm)
{
    return !disk->is_sound && sim_happens(&disk->prng, rate_ppm);
}

static struct sim_handle *handle_find(struct sim_io *io, int file)
{
    if (file < FILE_FIRST || (size_t)(file - FILE_FIRST) >= io->handles_count) {
        return NULL;
    }
    struct sim_handle *handle = &io->handles[file - FILE_FIRST];
    return handle->inode != NULL ? handle : NULL;
}

static int handle_new(struct sim_io *io, struct sim_inode *inode, bool is_writable)
{
    size_t at = 0;
    while (at < io->handles_count && io->handles[at].inode != NULL) {
        at += 1;
    }
    if (at == io->handles_count) {
        io->handles_count += 1;
        io->handles = mem_realloc(io->handles, io->handles_count * sizeof(*io->handles));
    }
    io->handles[at] =
        (struct sim_handle){ .inode = sim_inode_ref(inode), .is_writable = is_writable };
    return (int)at + FILE_FIRST;
}

static bool disk_is_full(const struct sim_io *io)
{
    return io->world->now_ns < io->node->disk.full_until_ns;
}

static int64_t file_open(struct sim_io *io, const struct io_file_op *op)
{
    struct sim_disk *disk = &io->node->disk;
    char path[SIM_PATH_MAX];
    if (!sim_path_normalize(op->path, path)) {
        return -ENAMETOOLONG;
    }
    struct sim_inode *inode = sim_names_find(&disk->cache, path);
    bool is_writable = (op->flags & IO_FILE_RDWR) != 0;
    bool creates = (op->flags & IO_FILE_CREATE) != 0;
    if (inode != NULL && creates && (op->flags & IO_FILE_EXCLUSIVE) != 0) {
        return -EEXIST;
    }
    if (inode != NULL && inode->is_dir) {
        return -EISDIR;
    }
    if (inode == NULL) {
        if (!creates || !sim_names_has_parent(&disk->cache, path)) {
            return -ENOENT;
        }
        if (disk_is_full(io)) {
            return -ENOSPC;
        }
        inode = sim_inode_new(disk, /* is_dir= */ false);
        sim_dir_change(disk, path, NULL, inode);
    } else if ((op->flags & IO_FILE_TRUNC) != 0) {
        sim_inode_truncate(inode, 0);
    }
    return handle_new(io, inode, is_writable);
}

static int64_t file_close(struct sim_io *io, int file)
{
    struct sim_handle *handle = handle_find(io, file);
    if (handle == NULL) {
        return -EBADF;
    }
    struct sim_inode *inode = handle->inode;
    handle->inode = NULL;
    inode->locked_by = inode->locked_by == file ? -1 : inode->locked_by;
    sim_inode_unref(inode);
    return 0;
}

/* One bit is wrong: in this answer only, or in the file from now on. */
static void rot(struct sim_io *io, struct sim_inode *inode, const struct io_file_op *op,
                uint64_t size)
{
    struct prng *prng = &io->node->disk.prng;
    uint64_t bit = prng_below(prng, size * 8);
    char mask = (char)(1 << bit % 8);
    ((char *)op->data)[bit / 8] ^= mask;
    uint64_t at = op->offset + bit / 8;
    if (prng_chance(prng, 1, 2)) {
        inode->cache.data[at] ^= mask;
        if (at < inode->platter.size) {
            inode->platter.data[at] ^= mask;
        }
    }
}

static int64_t file_read(struct sim_io *io, const struct io_file_op *op)
{
    const struct sim_options *options = &io->world->options;
    const struct sim_handle *handle = handle_find(io, op->file);
    if (handle == NULL) {
        return -EBADF;
    }
    struct sim_inode *inode = handle->inode;
    if (goes_bad(&io->node->disk, options->read_error_ppm)) {
        return -EIO;
    }
    uint64_t left = inode->cache.size > op->offset ? inode->cache.size - op->offset : 0;
    uint64_t size = op->size < left ? op->size : left;
    if (size == 0) {
        return 0;
    }
    memcpy(op->data, inode->cache.data + op->offset, size);
    if (goes_bad(&io->node->disk, options->rot_ppm)) {
        rot(io, inode, op, size);
    }
    return (int64_t)size;
}

/* How far a write that ends at `end` may go; end when there is room for all of it. */
static uint64_t write_end(struct sim_io *io, const struct sim_inode *inode, uint64_t end)
{
    struct sim_disk *disk = &io->node->disk;
    const struct sim_options *options = &io->world->options;
    if (end <= inode->cache.size) {
        return end; /* the blocks are there */
    }
    if (sim_happens(&disk->prng, options->full_ppm)) {
        disk->full_until_ns = io->world->now_ns + prng_below(&disk->prng, options->full_max_ns);
    }
    uint64_t used = sim_disk_used(io->node);
    uint64_t room = disk->capacity_bytes > used ? disk->capacity_bytes - used : 0;
    room = disk_is_full(io) ? 0 : room;
    return end - inode->cache.size <= room ? end : inode->cache.size + room;
}

static int64_t file_write(struct sim_io *io, const struct io_file_op *op, bool zeros)
{
    const struct sim_options *options = &io->world->options;
    struct prng *prng = &io->node->disk.prng;
    struct sim_handle *handle = handle_find(io, op->file);
    if (handle == NULL || !handle->is_writable) {
        return -EBADF;
    }
    uint64_t offset = op->offset;
    uint64_t size = op->size;
    int64_t result = 0;
    if (goes_bad(&io->node->disk, options->misdirect_ppm)) {
        offset += SIM_SECTOR_BYTES * (1 + prng_below(prng, MISDIRECT_SECTORS_MAX));
    }
    if (size > 0 && sim_happens(prng, options->write_error_ppm)) {
        size = prng_below(prng, size);
        result = -EIO;
    }
    uint64_t end = write_end(io, handle->inode, offset + size);
    if (end < offset + size) {
        size = end > offset ? end - offset : 0;
        result = -ENOSPC;
    }
    sim_inode_write(handle->inode, zeros ? NULL : op->data, size, offset);
    return result;
}

static int64_t file_sync(struct sim_io *io, int file, uint64_t sequence)
{
    const struct sim_options *options = &io->world->options;
    struct prng *prng = &io->node->disk.prng;
    struct sim_handle *handle = handle_find(io, file);
    if (handle == NULL) {
        return -EBADF;
    }
    if (sim_happens(prng, options->sync_error_ppm)) {
        sim_inode_sync_failed(handle->inode, /* reverts= */ prng_chance(prng, 1, 2));
        return -EIO;
    }
    if (!goes_bad(&io->node->disk, options->sync_lie_ppm)) {
        sim_inode_sync(handle->inode, sequence);
    }
    return 0;
}

static int64_t file_size(struct sim_io *io, int file)
{
    const struct sim_handle *handle = handle_find(io, file);
    return handle != NULL ? (int64_t)handle->inode->cache.size : -EBADF;
}

static int64_t file_truncate(struct sim_io *io, const struct io_file_op *op)
{
    struct sim_handle *handle = handle_find(io, op->file);
    if (handle == NULL || !handle->is_writable) {
        return -EBADF;
    }
    sim_inode_truncate(handle->inode, op->offset); /* growing makes a hole: takes no room */
    return 0;
}

static int64_t file_lock(struct sim_io *io, int file)
{
    struct sim_handle *handle = handle_find(io, file);
    if (handle == NULL) {
        return -EBADF;
    }
    if (handle->inode->locked_by >= 0 && handle->inode->locked_by != file) {
        return -EWOULDBLOCK;
    }
    handle->inode->locked_by = file;
    return 0;
}

static int64_t path_rename(struct sim_io *io, const struct io_file_op *op)
{
    struct sim_disk *disk = &io->node->disk;
    char from[SIM_PATH_MAX];
    char to[SIM_PATH_MAX];
    if (!sim_path_normalize(op->path, from) || !sim_path_normalize(op->path_to, to)) {
        return -ENAMETOOLONG;
    }
    struct sim_inode *inode = sim_names_find(&disk->cache, from);
    const struct sim_inode *target = sim_names_find(&disk->cache, to);
    if (inode == NULL || !sim_names_has_parent(&disk->cache, to)) {
        return -ENOENT;
    }
    if (inode->is_dir || (target != NULL && target->is_dir)) {
        return -EISDIR; /* renaming directories is not simulated */
    }
    if (inode != target) {
        sim_dir_change(disk, to, from, inode);
    }
    return 0;
}

static int64_t path_unlink(struct sim_io *io, const struct io_file_op *op)
{
    struct sim_disk *disk = &io->node->disk;
    char path[SIM_PATH_MAX];
    if (!sim_path_normalize(op->path, path)) {
        return -ENAMETOOLONG;
    }
    const struct sim_inode *inode = sim_names_find(&disk->cache, path);
    if (inode == NULL || inode->is_dir) {
        return inode == NULL ? -ENOENT : -EISDIR;
    }
    sim_dir_change(disk, path, NULL, NULL);
    return 0;
}

static bool is_root(const char *path)
{
    return strcmp(path, ".") == 0 || strcmp(path, "/") == 0;
}

static int64_t path_mkdir(struct sim_io *io, const struct io_file_op *op)
{
    struct sim_disk *disk = &io->node->disk;
    char path[SIM_PATH_MAX];
    if (!sim_path_normalize(op->path, path)) {
        return -ENAMETOOLONG;
    }
    const struct sim_inode *inode = sim_names_find(&disk->cache, path);
    if (inode != NULL || is_root(path)) {
        return is_root(path) || inode->is_dir ? 0 : -EEXIST;
    }
    if (!sim_names_has_parent(&disk->cache, path)) {
        return -ENOENT;
    }
    if (disk_is_full(io)) {
        return -ENOSPC;
    }
    sim_dir_change(disk, path, NULL, sim_inode_new(disk, /* is_dir= */ true));
    return 0;
}

/* 0 when the normalized path is a directory. */
static int64_t dir_check(const struct sim_disk *disk, const char *path)
{
    const struct sim_inode *inode = sim_names_find(&disk->cache, path);
    if (is_root(path) || (inode != NULL && inode->is_dir)) {
        return 0;
    }
    return inode == NULL ? -ENOENT : -ENOTDIR;
}

static int64_t path_sync(struct sim_io *io, const struct io_file_op *op, uint64_t sequence)
{
    struct sim_disk *disk = &io->node->disk;
    const struct sim_options *options = &io->world->options;
    char path[SIM_PATH_MAX];
    if (!sim_path_normalize(op->path, path)) {
        return -ENAMETOOLONG;
    }
    int64_t result = dir_check(disk, path);
    if (result != 0) {
        return result;
    }
    if (sim_happens(&disk->prng, options->sync_error_ppm)) {
        return -EIO;
    }
    if (!goes_bad(disk, options->sync_lie_ppm)) {
        sim_dir_sync(disk, path, sequence);
    }
    return 0;
}

static int64_t path_list(struct sim_io *io, const struct io_file_op *op)
{
    struct sim_disk *disk = &io->node->disk;
    char path[SIM_PATH_MAX];
    if (!sim_path_normalize(op->path, path)) {
        return -ENAMETOOLONG;
    }
    int64_t result = dir_check(disk, path);
    op->list->size = 0;
    return result == 0 ? sim_dir_list(&disk->cache, path, /* deep= */ false, op->list) : result;
}

static int64_t free_space(struct sim_io *io)
{
    const struct sim_disk *disk = &io->node->disk;
    uint64_t used = sim_disk_used(io->node);
    if (disk_is_full(io) || used >= disk->capacity_bytes) {
        return 0;
    }
    uint64_t room = disk->capacity_bytes - used;
    return room < INT64_MAX ? (int64_t)room : INT64_MAX;
}

/* ── the tests' access ───────────────────────────────────────────────────────────────────────── */

static struct sim_inode *inode_at(const struct sim_node *node, const char *path,
                                  enum sim_disk_view view)
{
    char normal[SIM_PATH_MAX];
    bool fits = sim_path_normalize(path, normal);
    ASSERT(fits);
    const struct sim_disk *disk = &node->disk;
    struct sim_inode *inode =
        sim_names_find(view == SIM_DISK_CACHE ? &disk->cache : &disk->platter, normal);
    return inode != NULL && !inode->is_dir ? inode : NULL;
}

bool sim_disk_read(struct sim_node *node, const char *path, enum sim_disk_view view,
                   struct buffer *out)
{
    const struct sim_inode *inode = inode_at(node, path, view);
    if (inode == NULL) {
        return false;
    }
    if (view == SIM_DISK_PLATTER) {
        sim_inode_platter(inode, out);
    } else {
        out->size = 0;
        buffer_append(out, inode->cache.data, inode->cache.size);
    }
    return true;
}

bool sim_disk_platter(struct sim_node *node, const char *path, struct slice *out)
{
    const struct sim_inode *inode = inode_at(node, path, SIM_DISK_PLATTER);
    if (inode == NULL) {
        return false;
    }
    size_t durable = inode->platter_size;
    size_t size = inode->platter.size < durable ? inode->platter.size : durable;
    *out = slice_make(inode->platter.data, size);
    return true;
}

void sim_disk_write(struct sim_node *node, const char *path, struct slice data)
{
    struct sim_disk *disk = &node->disk;
    char normal[SIM_PATH_MAX];
    bool fits = sim_path_normalize(path, normal);
    ASSERT(fits);
    ASSERT(sim_names_has_parent(&disk->cache, normal));
    struct sim_inode *inode = sim_inode_ref(sim_inode_new(disk, /* is_dir= */ false));
    sim_inode_write(inode, data.data, data.size, 0);
    sim_inode_sync(inode, UINT64_MAX);
    sim_names_set(&disk->cache, normal, inode);
    sim_names_set(&disk->platter, normal, inode);
    sim_inode_unref(inode);
}

bool sim_disk_overwrite(struct sim_node *node, const char *path, struct slice data)
{
    struct sim_inode *inode = inode_at(node, path, SIM_DISK_CACHE);
    if (inode == NULL) {
        return false;
    }
    size_t in_cache = data.size < inode->cache.size ? data.size : inode->cache.size;
    size_t in_platter = data.size < inode->platter.size ? data.size : inode->platter.size;
    memcpy(inode->cache.data, data.data, in_cache);
    if (in_platter > 0) {
        memcpy(inode->platter.data, data.data, in_platter);
    }
    return true;
}

bool sim_disk_remove(struct sim_node *node, const char *path)
{
    char normal[SIM_PATH_MAX];
    bool fits = sim_path_normalize(path, normal);
    ASSERT(fits);
    bool exists = inode_at(node, path, SIM_DISK_CACHE) != NULL;
    sim_names_set(&node->disk.cache, normal, NULL);
    sim_names_set(&node->disk.platter, normal, NULL);
    return exists;
}

bool sim_disk_flip(struct sim_node *node, const char *path, uint64_t bit)
{
    struct sim_inode *inode = inode_at(node, path, SIM_DISK_CACHE);
    if (inode == NULL || bit / 8 >= inode->cache.size) {
        return false;
    }
    char mask = (char)(1 << bit % 8);
    inode->cache.data[bit / 8] ^= mask;
    if (bit / 8 < inode->platter.size) {
        inode->platter.data[bit / 8] ^= mask;
    }
    return true;
}

size_t sim_disk_list(struct sim_node *node, const char *dir, enum sim_disk_view view,
                     struct buffer *out)
{
    const struct sim_disk *disk = &node->disk;
    char normal[SIM_PATH_MAX];
    bool fits = sim_path_normalize(dir, normal);
    ASSERT(fits);
    out->size = 0;
    return (size_t)sim_dir_list(view == SIM_DISK_CACHE ? &disk->cache : &disk->platter, normal,
                                /* deep= */ true, out);
}

void sim_disk_copy(struct sim_node *to, const struct sim_node *from)
{
    ASSERT(to != from);
    sim_disk_wipe(to);
    for (size_t i = 0; i < from->disk.cache.count; i++) {
        const struct sim_name *name = &from->disk.cache.list[i];
        struct sim_inode *inode = sim_inode_ref(sim_inode_new(&to->disk, name->inode->is_dir));
        sim_inode_write(inode, name->inode->cache.data, name->inode->cache.size, 0);
        sim_inode_sync(inode, UINT64_MAX);
        sim_names_set(&to->disk.cache, name->path, inode);
        sim_names_set(&to->disk.platter, name->path, inode);
        sim_inode_unref(inode);
    }
}

void sim_disk_wipe(struct sim_node *node)
{
    ASSERT(node->io == NULL);
    disk_empty(&node->disk);
}

void sim_disk_sound_set(struct sim_node *node, bool is_sound)
{
    node->disk.is_sound = is_sound;
}

void sim_disk_capacity_set(struct sim_node *node, uint64_t bytes)
{
    node->disk.capacity_bytes = bytes;
}

uint64_t sim_disk_used(const struct sim_node *node)
{
    uint64_t used = 0;
    for (const struct sim_inode *inode = node->disk.inodes; inode != NULL; inode = inode->next) {
        used += inode->cache.size;
    }
    return used;
}
