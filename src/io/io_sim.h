/*
 * io_sim.h — the simulated machine: several nodes, one thread, virtual time, one seed.
 *
 * A world holds nodes, the network between them and test clients outside of them.  Each node has a
 * disk that survives its crashes and, while it is up, one `struct io *`, with which the node's real
 * code runs unchanged.  Nothing happens by itself: the driver asks the world for the next turn,
 * gives that node (or looks at that client) one turn, and asks again.
 *
 *   world = sim_world_new(seed, &options);
 *   node = sim_node_new(world, "n1");
 *   io = sim_node_boot(node);                  ... start the node's program with io ...
 *   while (sim_world_step(world, until_ns, &turn)) {
 *       turn.node:    events with io_next(io), then work, then io_wait(io, next deadline) LAST
 *       turn.client:  something arrived or ended: sim_client_recv
 *   }
 *
 * io_wait does not sleep: it notes the deadline, and a later sim_world_step returns the node when
 * something happened to it or the deadline came.  (Code that waits in a loop of its own, as when
 * closing a file for good, is served too: after some waits in vain within one turn the node's file
 * operations end at once, and then its clock jumps.)
 *
 * Determinism: everything random comes from the seed.  The same seed, options and driver give the
 * same world; sim_trace_hash tells whether two runs were the same, event by event.
 *
 * What the disk does.  Writes go to a page cache; fdatasync makes durable what was written before
 * it was submitted; directory changes become durable by IO_FILE_SYNC_DIR of the directory only.
 * A crash of the process keeps the page cache.  A power loss keeps or loses each 512-byte sector
 * and each directory change not yet durable on its own (a rename is atomic), and a file's size may
 * survive without its data (zeros).  Operations in flight at a crash happened, did not, or in part.
 *
 * What the network does.  Connections deliver bytes in order, cut into random pieces, after a
 * latency, within a window (so that sends are short when the reader is slow).  Blocked links delay
 * (the sender repeats); a crashed process resets its connections; a machine without power says
 * nothing, and resets when it is back and is spoken to on an old connection.  Datagrams have
 * latencies of their own, so they overtake each other; blocked, they are lost.
 *
 * Read next: io_sim_internal.h, io_sim.c, io_sim_net.c, io_sim_datagram.c, io_sim_disk.c.
 */
#pragma once

#include "base/buffer.h"
#include "base/prng.h"
#include "base/slice.h"
#include "io/io.h"

struct sim_world;
struct sim_node;
struct sim_client;

enum { SIM_NODES_MAX = 32, SIM_SECTOR_BYTES = 512 };

/* Rates are per million (ppm) of the operations they concern; 0: never. */
struct sim_options {
    /* Processor: what one turn of a node takes. */
    uint64_t turn_min_ns;
    uint64_t turn_mean_ns;

    /* Network. */
    uint64_t latency_min_ns;
    uint64_t latency_mean_ns;       /* added to the minimum, exponentially distributed */
    uint64_t bandwidth_bytes_per_s; /* of one connection; 0: no limit */
    uint32_t segment_bytes_max;     /* sends are cut into pieces of 1 to this many bytes */
    uint32_t window_bytes;          /* sent and not yet read by the other side */
    uint64_t connect_timeout_ns;
    uint32_t short_send_ppm; /* a send takes less than there is room for */
    uint32_t short_recv_ppm; /* a receive hands out less than has arrived */
    uint32_t reset_ppm;      /* per piece: the connection breaks, on one side or both */
    uint32_t stall_ppm;      /* per piece: it and what follows is late */
    uint64_t stall_max_ns;
    uint32_t corrupt_ppm;      /* per piece between nodes: one bit flips */
    uint32_t accept_error_ppm; /* accept fails with EMFILE; the connection stays in line */
    uint32_t datagram_loss_ppm;
    uint32_t datagram_double_ppm; /* it arrives twice, each after a latency of its own */
    uint32_t datagram_late_ppm;   /* by up to stall_max_ns */
    uint32_t datagram_corrupt_ppm;

    /* Disk. */
    uint64_t disk_min_ns;
    uint64_t disk_mean_ns;
    uint32_t disk_stall_ppm;
    uint64_t disk_stall_max_ns;
    uint32_t read_error_ppm;
    uint32_t write_error_ppm;
    uint32_t sync_error_ppm; /* EIO, and what was dirty may be lost although it reads back */
    uint32_t sync_lie_ppm;   /* success, but nothing was made durable */
    uint32_t rot_ppm;        /* per read: one bit is wrong, this time or for ever */
    uint32_t misdirect_ppm;  /* a write lands some sectors away */
    uint32_t full_ppm;       /* per write: the disk is full for a while */
    uint64_t full_max_ns;
    uint32_t crash_garbage_ppm; /* per lost sector in a grown file: garbage instead of zeros */
};

/* A fast, healthy machine: latencies and fragments, but no faults. */
struct sim_options sim_options_calm(void);
/* A random subset of the faults at random rates.  Faults that no single node can survive (bit rot,
 * lying syncs, misdirected writes, garbage) are left at zero: set them where there are replicas. */
struct sim_options sim_options_draw(struct prng *prng);
void sim_options_print(const struct sim_options *options, struct buffer *out);

/* ── the world ───────────────────────────────────────────────────────────────────────────────── */

struct sim_world *sim_world_new(uint64_t seed, const struct sim_options *options);
/* Frees nodes, disks and clients too.  What the driver still has of a node's io is freed first. */
void sim_world_free(struct sim_world *world);
uint64_t sim_world_now_ns(const struct sim_world *world);
struct sim_options *sim_world_options(struct sim_world *world); /* may be changed at any time */

/* Whose turn it is: exactly one of the two. */
struct sim_turn {
    struct sim_node *node;
    struct sim_client *client;
};
/* Lets time go on until somebody has a turn; false when `until_ns` was reached first. */
bool sim_world_step(struct sim_world *world, uint64_t until_ns, struct sim_turn *out_turn);

/* A fingerprint of everything that has happened so far. */
uint64_t sim_trace_hash(const struct sim_world *world);
/* Calls `line` with one line per event from now on; NULL: stops. */
void sim_trace_to(struct sim_world *world, void (*line)(void *context, const char *text),
                  void *context);

/* ── nodes ───────────────────────────────────────────────────────────────────────────────────── */

/* A powered machine with an empty disk and no process.  The name (below 32 bytes, copied) is also
 * its host name.  Lives as long as the world. */
struct sim_node *sim_node_new(struct sim_world *world, const char *name);
/* Starts a process (there must be none).  The driver owns the io and frees it, also after a crash.
 */
struct io *sim_node_boot(struct sim_node *node);
/* Ends the process at once; with power_loss the machine too, until the next boot.  The io stays as
 * an empty shell: whatever is asked of it fails, operations in flight end with -EIO, nothing
 * reaches disk or network.  The driver drops the program's state and calls io_free. */
void sim_node_crash(struct sim_node *node, bool power_loss);
/* The same, by itself, in the middle of the n-th (n >= 1) send or file operation from now; 0: not
 * any more. */
void sim_node_crash_after(struct sim_node *node, uint64_t operations, bool power_loss);
bool sim_node_is_up(const struct sim_node *node); /* has a process */
/* No turn until then (SIGSTOP, a virtual machine being moved). */
void sim_node_pause(struct sim_node *node, uint64_t duration_ns);
/* Makes the node's clocks run at rate_ppm (1000000: true) from now on. */
void sim_node_clock_rate(struct sim_node *node, uint32_t rate_ppm);
/* Moves the node's wall clock. */
void sim_node_wall_step(struct sim_node *node, int64_t step_ms);
const char *sim_node_name(const struct sim_node *node);
uint64_t sim_node_turns(const struct sim_node *node); /* turns given so far: finds busy loops */
void sim_node_owner_set(struct sim_node *node, void *owner);
void *sim_node_owner(const struct sim_node *node); /* for the driver */

/* ── network ─────────────────────────────────────────────────────────────────────────────────── */

/* Blocks or unblocks one direction.  NULL stands for all test clients. */
void sim_net_block(struct sim_world *world, struct sim_node *from, struct sim_node *to,
                   bool blocked);
/* The same of connections alone, or of datagrams. */
enum sim_traffic { SIM_STREAMS, SIM_DATAGRAMS, SIM_TRAFFICS };
void sim_net_block_traffic(struct sim_world *world, struct sim_node *from, struct sim_node *to,
                           enum sim_traffic traffic, bool blocked);
/* Nothing arrives in this direction before the time has passed. */
void sim_net_clog(struct sim_world *world, struct sim_node *from, struct sim_node *to,
                  uint64_t duration_ns);
/* Unblocks and unclogs everything. */
void sim_net_heal(struct sim_world *world);

/* ── test clients ────────────────────────────────────────────────────────────────────────────── */

enum sim_client_state {
    SIM_CLIENT_CONNECTING,
    SIM_CLIENT_OPEN,
    SIM_CLIENT_ENDED,  /* the node closed its side; what arrived before can still be read */
    SIM_CLIENT_BROKEN, /* refused, timed out or reset */
};

struct sim_client *sim_client_connect(struct sim_world *world, struct sim_node *node, uint16_t port,
                                      void *owner);
/* Returns the bytes taken: fewer than given when the window is full; 0 when not open.  After a
 * short send the client gets a turn when there is room. */
size_t sim_client_send(struct sim_client *client, struct slice data);
/* Appends what has arrived; returns its size. */
size_t sim_client_recv(struct sim_client *client, struct buffer *out);
enum sim_client_state sim_client_state(const struct sim_client *client);
void *sim_client_owner(const struct sim_client *client);
void sim_client_close(struct sim_client *client); /* frees it */

/* ── disks, as tests see them ────────────────────────────────────────────────────────────────── */

/* What a process sees, or what would be left after a power loss now if nothing more was kept. */
enum sim_disk_view { SIM_DISK_CACHE, SIM_DISK_PLATTER };

/* Replaces `out` by the file's bytes.  False when there is no such file. */
bool sim_disk_read(struct sim_node *node, const char *path, enum sim_disk_view view,
                   struct buffer *out);
/* The bytes of the file's platter without the zeros that follow them, borrowed until the disk
 * changes.  False when there is no such file. */
bool sim_disk_platter(struct sim_node *node, const char *path, struct slice *out);
/* Creates or replaces the file, durably, behind everybody's back (its directory must exist). */
void sim_disk_write(struct sim_node *node, const char *path, struct slice data);
/* Replaces the bytes of a file in place, in cache and platter; its size stays.  False when there is
 * no such file. */
bool sim_disk_overwrite(struct sim_node *node, const char *path, struct slice data);
/* Removes the file, durably.  False when there is no such file. */
bool sim_disk_remove(struct sim_node *node, const char *path);
/* Flips one bit in cache and platter.  False when the file has no such bit. */
bool sim_disk_flip(struct sim_node *node, const char *path, uint64_t bit);
/* Sorted, NUL-terminated names of all files (not directories) below `dir`, relative to it. */
size_t sim_disk_list(struct sim_node *node, const char *dir, enum sim_disk_view view,
                     struct buffer *out);
/* Makes `to`'s disk a copy of what `from`'s processes see (an old backup, a swapped disk).  `to`
 * must have no process. */
void sim_disk_copy(struct sim_node *to, const struct sim_node *from);
void sim_disk_wipe(struct sim_node *node); /* the node must have no process */
/* A sound disk keeps and returns what was synced, whatever the rates of bit rot, read errors, lying
 * syncs, misdirected writes and garbage say: those are for the others.  A new one is not sound. */
void sim_disk_sound_set(struct sim_node *node, bool is_sound);
/* Writes beyond this many bytes in all files fail with ENOSPC; UINT64_MAX: no limit. */
void sim_disk_capacity_set(struct sim_node *node, uint64_t bytes);
uint64_t sim_disk_used(const struct sim_node *node);
