/*
 * sim_rot.c — files of one machine go bad: a bit flips, a sector is zeros or another's, a file
 * vanishes.
 *
 * The machine must report it when it reads the file, take no part in votes of the groups that may
 * have lost something, and get everything back from its peers.  What may go bad is what a majority
 * of intact copies can make good, and what can be told from a crash or a compaction
 * (docs/OPERATIONS.md, Damage): not the end of the log, not the whole of its oldest file, and one
 * of the two meta files at most.
 */
#include "sim.h"

#include <stdio.h>

enum { FILES_MAX = 256, TAIL_BYTES = 16384 };

enum rot { ROT_FLIP, ROT_ZERO, ROT_MISDIRECTED, ROT_VANISHED, ROT_KINDS };

static bool begins(const char *name, const char *word)
{
    return strncmp(name, word, strlen(word)) == 0;
}

/* How much of the file may go bad: not what may still be written, or was last. */
static size_t cold_bytes(const char *name, bool is_newest_log, struct slice bytes)
{
    size_t size = bytes.size;
    if (begins(name, "snap-") || begins(name, "meta-")) {
        return strstr(name, ".tmp") == NULL ? size : 0;
    }
    while (size > 0 && bytes.data[size - 1] == 0) {
        size -= 1;
    }
    if (!begins(name, "aof-0") || (is_newest_log && size < 2 * TAIL_BYTES)) {
        return 0;
    }
    return is_newest_log ? size - TAIL_BYTES : size;
}

/* The name of one file of the data directory; NULL: none. */
static const char *file_draw(struct sim *sim, struct sim_machine *machine, struct buffer *names,
                             bool *out_newest_log, bool *out_oldest_log)
{
    const char *files[FILES_MAX];
    uint32_t count = 0;
    const char *newest = "";
    const char *oldest = NULL;
    (void)sim_disk_list(machine->machine, "/data", SIM_DISK_CACHE, names);
    for (size_t at = 0; at < names->size; at += strlen(names->data + at) + 1) {
        const char *name = names->data + at;
        newest = begins(name, "aof-0") ? name : newest;
        oldest = oldest == NULL && begins(name, "aof-0") ? name : oldest;
        if (count < FILES_MAX) {
            files[count++] = name;
        }
    }
    const char *name = count > 0 ? files[prng_below(&sim->prng, count)] : NULL;
    *out_newest_log = name == newest;
    *out_oldest_log = name == oldest;
    return name;
}

/* Both meta files are never bad at once: that a node may not survive (R3). */
static bool may_rot(struct sim_machine *machine, const char *name)
{
    bool is_meta = begins(name, "meta-");
    bool may = !is_meta || !machine->is_meta_bad;
    machine->is_meta_bad |= is_meta;
    return may;
}

static void change(struct sim *sim, char *bytes, size_t size, size_t cold, enum rot how)
{
    size_t at = prng_below(&sim->prng, cold);
    size_t sector = at / SIM_SECTOR_BYTES * SIM_SECTOR_BYTES;
    size_t from = prng_below(&sim->prng, cold) / SIM_SECTOR_BYTES * SIM_SECTOR_BYTES;
    size_t count = size - (sector > from ? sector : from);
    count = count < SIM_SECTOR_BYTES ? count : SIM_SECTOR_BYTES;
    switch (how) {
    case ROT_FLIP:
        bytes[at] ^= (char)(1 << prng_below(&sim->prng, 8));
        break;
    case ROT_ZERO:
        memset(bytes + sector, 0, count);
        break;
    case ROT_MISDIRECTED:
        memmove(bytes + sector, bytes + from, count);
        break;
    case ROT_VANISHED:
    case ROT_KINDS:
        break;
    }
}

void sim_rot(struct sim *sim)
{
    if (sim->phase != PHASE_SAFETY || sim->plan.bad_disk >= sim->count) {
        return;
    }
    struct sim_machine *machine = &sim->machines[sim->plan.bad_disk];
    enum rot how = (enum rot)prng_below(&sim->prng, ROT_KINDS);
    struct buffer names = { 0 };
    struct buffer file = { 0 };
    bool is_newest_log = false;
    bool is_oldest_log = false;
    char path[512];
    const char *name = file_draw(sim, machine, &names, &is_newest_log, &is_oldest_log);
    if (name != NULL) {
        (void)snprintf(path, sizeof(path), "/data/%s", name);
        (void)sim_disk_read(machine->machine, path, SIM_DISK_CACHE, &file);
        size_t cold = cold_bytes(name, is_newest_log, buffer_slice(&file));
        bool vanishes = how == ROT_VANISHED && !is_newest_log && !is_oldest_log;
        if (cold > 0 && may_rot(machine, name)) {
            sim_say(sim, "%s: %s goes bad (%d)", sim_node_name(machine->machine), name, (int)how);
            machine->damages += 1;
            change(sim, file.data, file.size, cold, how);
            sim_disk_overwrite(machine->machine, path, buffer_slice(&file));
            if (vanishes) {
                (void)sim_disk_remove(machine->machine, path);
            }
            if (machine->has_node && prng_chance(&sim->prng, 1, 2)) {
                sim_machine_crash(machine, /* power_loss= */ false); /* a start reads files */
            }
        }
    }
    buffer_free(&names);
    buffer_free(&file);
}
