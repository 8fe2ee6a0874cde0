/*
 * io_sim_inode.c — the bytes of one simulated file: the cache that is read, the platter that stays.
 *
 * Per 512-byte sector `dirty` holds the sequence number of the first write that the platter does
 * not have yet; a sync submitted at sequence s makes durable every sector with dirty <= s, and the
 * size likewise.  The kernel may write back whenever it likes, so a dirty sector that is written
 * again is, now and then, written back in its old form first: after a crash any of its versions
 * may be found, not only the first and the last.
 *
 * Invariant: bytes of the platter beyond platter_size are sectors that were written back before
 * the size was; nothing reads them until the size has followed.
 *
 * Read next: io_sim_disk.c.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "io/io_sim_internal.h"

enum { WRITE_BACK_PPM = 250000 };

struct sim_inode *sim_inode_new(struct sim_disk *disk, bool is_dir)
{
    struct sim_inode *inode = mem_zalloc(sizeof(*inode));
    inode->disk = disk;
    inode->is_dir = is_dir;
    inode->locked_by = -1;
    inode->next = disk->inodes;
    if (disk->inodes != NULL) {
        disk->inodes->previous = inode;
    }
    disk->inodes = inode;
    return inode;
}

struct sim_inode *sim_inode_ref(struct sim_inode *inode)
{
    inode->refs += 1;
    return inode;
}

void sim_inode_unref(struct sim_inode *inode)
{
    ASSERT(inode->refs > 0);
    inode->refs -= 1;
    if (inode->refs > 0) {
        return;
    }
    if (inode->next != NULL) {
        inode->next->previous = inode->previous;
    }
    *(inode->previous != NULL ? &inode->previous->next : &inode->disk->inodes) = inode->next;
    buffer_free(&inode->cache);
    buffer_free(&inode->platter);
    mem_free(inode->dirty);
    mem_free(inode);
}

/* Cuts, or grows with zeros. */
static void bytes_resize(struct buffer *bytes, size_t size)
{
    if (size > bytes->size) {
        size_t more = size - bytes->size;
        memset(buffer_reserve(bytes, more), 0, more);
    }
    bytes->size = size;
}

/* Copies the sector's bytes as the cache has them (zeros beyond its end) to the platter. */
static void sector_write_back(struct sim_inode *inode, size_t sector)
{
    size_t at = sector * SIM_SECTOR_BYTES;
    if (inode->platter.size < at + SIM_SECTOR_BYTES) {
        bytes_resize(&inode->platter, at + SIM_SECTOR_BYTES);
    }
    size_t in_cache = inode->cache.size > at ? inode->cache.size - at : 0;
    in_cache = in_cache < SIM_SECTOR_BYTES ? in_cache : SIM_SECTOR_BYTES;
    memset(inode->platter.data + at, 0, SIM_SECTOR_BYTES);
    if (in_cache > 0) {
        memcpy(inode->platter.data + at, inode->cache.data + at, in_cache);
    }
}

/* To be called before the bytes change. */
static void sectors_dirty(struct sim_inode *inode, uint64_t offset, uint64_t size,
                          uint64_t sequence)
{
    size_t first = offset / SIM_SECTOR_BYTES;
    size_t end = (offset + size + SIM_SECTOR_BYTES - 1) / SIM_SECTOR_BYTES;
    if (end > inode->dirty_count) {
        inode->dirty = mem_realloc(inode->dirty, end * sizeof(*inode->dirty));
        memset(inode->dirty + inode->dirty_count, 0,
               (end - inode->dirty_count) * sizeof(*inode->dirty));
        inode->dirty_count = end;
    }
    for (size_t sector = first; sector < end; sector++) {
        if (inode->dirty[sector] == 0) {
            inode->dirty[sector] = sequence;
        } else if (sim_happens(&inode->disk->prng, WRITE_BACK_PPM)) {
            sector_write_back(inode, sector);
        }
    }
}

static void size_change(struct sim_inode *inode, uint64_t size, uint64_t sequence)
{
    if (inode->size_dirty == 0) {
        inode->size_dirty = sequence;
    }
    bytes_resize(&inode->cache, size);
}

void sim_inode_write(struct sim_inode *inode, const char *data, uint64_t size, uint64_t offset)
{
    if (size == 0) {
        return;
    }
    uint64_t sequence = ++inode->disk->sequence;
    sectors_dirty(inode, offset, size, sequence);
    if (offset + size > inode->cache.size) {
        size_change(inode, offset + size, sequence);
    } else if (offset + size > inode->platter_size && inode->size_dirty == 0) {
        inode->size_dirty = sequence; /* data beyond the durable size takes the size along */
    }
    if (data != NULL) {
        memcpy(inode->cache.data + offset, data, size);
    } else {
        memset(inode->cache.data + offset, 0, size);
    }
}

void sim_inode_truncate(struct sim_inode *inode, uint64_t size)
{
    if (size == inode->cache.size) {
        return;
    }
    uint64_t sequence = ++inode->disk->sequence;
    if (size < inode->cache.size) {
        sectors_dirty(inode, size, inode->cache.size - size, sequence);
    }
    size_change(inode, size, sequence);
}

static bool is_covered(uint64_t dirty, uint64_t sequence)
{
    return dirty != 0 && dirty <= sequence;
}

void sim_inode_sync(struct sim_inode *inode, uint64_t sequence)
{
    for (size_t sector = 0; sector < inode->dirty_count; sector++) {
        if (is_covered(inode->dirty[sector], sequence)) {
            sector_write_back(inode, sector);
            inode->dirty[sector] = 0;
        }
    }
    if (is_covered(inode->size_dirty, sequence)) {
        inode->platter_size = inode->cache.size;
        inode->size_dirty = 0;
    }
}

void sim_inode_sync_failed(struct sim_inode *inode, bool reverts)
{
    struct prng *prng = &inode->disk->prng;
    for (size_t sector = 0; sector < inode->dirty_count; sector++) {
        if (inode->dirty[sector] == 0) {
            continue;
        }
        inode->dirty[sector] = 0;
        size_t at = sector * SIM_SECTOR_BYTES;
        if (prng_chance(prng, 1, 2)) {
            sector_write_back(inode, sector);
        } else if (reverts && at + SIM_SECTOR_BYTES <= inode->cache.size &&
                   at + SIM_SECTOR_BYTES <= inode->platter.size) {
            memcpy(inode->cache.data + at, inode->platter.data + at, SIM_SECTOR_BYTES);
        }
    }
    if (inode->size_dirty != 0 && prng_chance(prng, 1, 2)) {
        inode->platter_size = inode->cache.size;
    }
    inode->size_dirty = 0;
}

/* The size found after a crash: the durable one, the last one, or one in between. */
static uint64_t size_after_loss(const struct sim_inode *inode, uint32_t keep_ppm)
{
    struct prng *prng = &inode->disk->prng;
    uint64_t last = inode->cache.size;
    if (inode->size_dirty == 0 || !sim_happens(prng, keep_ppm)) {
        return inode->platter_size;
    }
    if (last <= inode->platter_size || keep_ppm == SIM_PPM || prng_chance(prng, 1, 2)) {
        return last;
    }
    uint64_t grown = (last - inode->platter_size) / SIM_SECTOR_BYTES;
    return inode->platter_size + prng_below(prng, grown + 1) * SIM_SECTOR_BYTES;
}

void sim_inode_power_loss(struct sim_inode *inode, uint32_t keep_ppm, uint32_t garbage_ppm)
{
    struct prng *prng = &inode->disk->prng;
    for (size_t sector = 0; sector < inode->dirty_count; sector++) {
        size_t at = sector * SIM_SECTOR_BYTES;
        if (inode->dirty[sector] == 0) {
            continue;
        }
        inode->dirty[sector] = 0;
        if (sim_happens(prng, keep_ppm)) {
            sector_write_back(inode, sector);
        } else if (at >= inode->platter_size && sim_happens(prng, garbage_ppm)) {
            sector_write_back(inode, sector);
            for (size_t i = 0; i < SIM_SECTOR_BYTES; i++) {
                inode->platter.data[at + i] = (char)prng_next(prng);
            }
        }
    }
    inode->platter_size = size_after_loss(inode, keep_ppm);
    inode->size_dirty = 0;
    inode->locked_by = -1;
    bytes_resize(&inode->platter, inode->platter_size);
    inode->cache.size = 0;
    buffer_append(&inode->cache, inode->platter.data, inode->platter.size);
}

void sim_inode_platter(const struct sim_inode *inode, struct buffer *out)
{
    size_t size = inode->platter_size;
    out->size = 0;
    buffer_append(out, inode->platter.data,
                  inode->platter.size < size ? inode->platter.size : size);
    bytes_resize(out, size);
}
