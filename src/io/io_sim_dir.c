/*
 * io_sim_dir.c — names on the simulated disk: what processes see and what the platter has.
 *
 * Two flat lists of (path, inode), sorted by path: the cache's and the platter's.  A change of
 * names takes effect in the cache at once and waits in a list, in order, until its directory is
 * synced.  At a power loss each waiting change is kept or lost on its own, whatever came before or
 * after it: POSIX promises no order.  A rename is one change, so it is never half done.
 *
 * Read next: io_sim_disk.c.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "io/io_sim_internal.h"

static char *text_copy(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = mem_alloc(size);
    memcpy(copy, text, size);
    return copy;
}

/* ── paths ───────────────────────────────────────────────────────────────────────────────────── */

bool sim_path_normalize(const char *path, char *out)
{
    size_t size = 0;
    for (const char *at = path; *at != '\0'; at++) {
        bool is_start = at == path || at[-1] == '/';
        if (at[0] == '/' && at[1] == '/') {
            continue;
        }
        if (is_start && at[0] == '.' && (at[1] == '/' || at[1] == '\0')) {
            at += at[1] == '/'; /* "./" means nothing */
            continue;
        }
        if (size == SIM_PATH_MAX - 1) {
            return false;
        }
        out[size++] = *at;
    }
    if (size > 1 && out[size - 1] == '/') {
        size -= 1;
    }
    if (size == 0) {
        out[size++] = '.';
    }
    out[size] = '\0';
    return true;
}

/* Bytes of the directory part; 0 when the path stands in the working or the root directory. */
static size_t parent_size(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? (size_t)(slash - path) : 0;
}

static bool is_in_dir(const char *path, const char *dir)
{
    size_t size = parent_size(path);
    if (strcmp(dir, ".") == 0) {
        return strchr(path, '/') == NULL;
    }
    if (strcmp(dir, "/") == 0) {
        return size == 0 && path[0] == '/';
    }
    return size == strlen(dir) && memcmp(path, dir, size) == 0;
}

/* ── lists of names ──────────────────────────────────────────────────────────────────────────── */

/* The place of `path`, or where it would stand. */
static size_t names_place(const struct sim_names *names, const char *path)
{
    size_t low = 0;
    size_t high = names->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (strcmp(names->list[middle].path, path) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool names_has_at(const struct sim_names *names, size_t place, const char *path)
{
    return place < names->count && strcmp(names->list[place].path, path) == 0;
}

struct sim_inode *sim_names_find(const struct sim_names *names, const char *path)
{
    size_t place = names_place(names, path);
    return names_has_at(names, place, path) ? names->list[place].inode : NULL;
}

static void names_remove_at(struct sim_names *names, size_t place)
{
    sim_inode_unref(names->list[place].inode);
    mem_free(names->list[place].path);
    names->count -= 1;
    memmove(&names->list[place], &names->list[place + 1],
            (names->count - place) * sizeof(*names->list));
}

/* Gives the path an inode (of which it takes a reference); NULL removes the path. */
void sim_names_set(struct sim_names *names, const char *path, struct sim_inode *inode)
{
    size_t place = names_place(names, path);
    if (inode != NULL) {
        (void)sim_inode_ref(inode); /* first: it may be the one that stands there */
    }
    if (names_has_at(names, place, path)) {
        names_remove_at(names, place);
    }
    if (inode == NULL) {
        return;
    }
    names->list = sim_array_grow(names->list, names->count, &names->capacity, sizeof(*names->list));
    memmove(&names->list[place + 1], &names->list[place],
            (names->count - place) * sizeof(*names->list));
    names->list[place] = (struct sim_name){ .path = text_copy(path), .inode = inode };
    names->count += 1;
}

void sim_names_free(struct sim_names *names)
{
    while (names->count > 0) {
        names_remove_at(names, names->count - 1);
    }
    mem_free(names->list);
    *names = (struct sim_names){ 0 };
}

bool sim_names_has_parent(const struct sim_names *names, const char *path)
{
    size_t size = parent_size(path);
    if (size == 0) {
        return true;
    }
    char parent[SIM_PATH_MAX];
    memcpy(parent, path, size);
    parent[size] = '\0';
    const struct sim_inode *inode = sim_names_find(names, parent);
    return inode != NULL && inode->is_dir;
}

int64_t sim_dir_list(const struct sim_names *names, const char *dir, bool deep, struct buffer *out)
{
    size_t prefix = strcmp(dir, ".") == 0 ? 0 : strlen(dir) + (strcmp(dir, "/") != 0);
    int64_t count = 0;
    for (size_t i = 0; i < names->count; i++) {
        const char *path = names->list[i].path;
        bool is_below = strlen(path) > prefix &&
                        (prefix == 0 ? path[0] != '/' : path[prefix - 1] == '/') &&
                        (prefix <= 1 || memcmp(path, dir, prefix - 1) == 0);
        if (deep ? is_below && !names->list[i].inode->is_dir : is_in_dir(path, dir)) {
            buffer_append(out, path + prefix, strlen(path + prefix) + 1);
            count += 1;
        }
    }
    return count;
}

/* ── changes ─────────────────────────────────────────────────────────────────────────────────── */

static void names_change(struct sim_names *names, const char *path, const char *path_from,
                         struct sim_inode *inode)
{
    /* A name may have got another file meanwhile: then it is not this change's to take away. */
    if (path_from != NULL && sim_names_find(names, path_from) == inode) {
        (void)sim_inode_ref(inode);
        sim_names_set(names, path_from, NULL);
        sim_names_set(names, path, inode);
        sim_inode_unref(inode);
    } else {
        sim_names_set(names, path, inode);
    }
}

void sim_dir_change(struct sim_disk *disk, const char *path, const char *path_from,
                    struct sim_inode *inode)
{
    ASSERT(path_from == NULL || inode != NULL);
    disk->changes = sim_array_grow(disk->changes, disk->changes_count, &disk->changes_capacity,
                                   sizeof(*disk->changes));
    disk->changes[disk->changes_count++] = (struct sim_change){
        .path = text_copy(path),
        .path_from = path_from != NULL ? text_copy(path_from) : NULL,
        .inode = inode != NULL ? sim_inode_ref(inode) : NULL,
        .sequence = ++disk->sequence,
    };
    names_change(&disk->cache, path, path_from, inode);
}

static void change_free(struct sim_change *change)
{
    mem_free(change->path);
    mem_free(change->path_from);
    if (change->inode != NULL) {
        sim_inode_unref(change->inode);
    }
}

static void change_keep(struct sim_disk *disk, struct sim_change *change)
{
    names_change(&disk->platter, change->path, change->path_from, change->inode);
    change_free(change);
}

void sim_dir_sync(struct sim_disk *disk, const char *path, uint64_t sequence)
{
    size_t left = 0;
    for (size_t i = 0; i < disk->changes_count; i++) {
        struct sim_change *change = &disk->changes[i];
        if (change->sequence <= sequence && is_in_dir(change->path, path)) {
            change_keep(disk, change);
        } else {
            disk->changes[left++] = *change;
        }
    }
    disk->changes_count = left;
}

void sim_dir_power_loss(struct sim_disk *disk, uint32_t keep_ppm)
{
    for (size_t i = 0; i < disk->changes_count; i++) {
        if (sim_happens(&disk->prng, keep_ppm)) {
            change_keep(disk, &disk->changes[i]);
        } else {
            change_free(&disk->changes[i]);
        }
    }
    disk->changes_count = 0;
    /* What stands in a directory that was lost is lost with it.  Parents sort before their
     * children, so one pass sees every loss. */
    for (size_t i = 0; i < disk->platter.count;) {
        if (sim_names_has_parent(&disk->platter, disk->platter.list[i].path)) {
            i += 1;
        } else {
            names_remove_at(&disk->platter, i);
        }
    }
    sim_names_free(&disk->cache);
    for (size_t i = 0; i < disk->platter.count; i++) {
        sim_names_set(&disk->cache, disk->platter.list[i].path, disk->platter.list[i].inode);
    }
}
