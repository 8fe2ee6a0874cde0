/*
 * io_sim_internal.h — the simulator's own parts, as they see each other.  Private to src/io.
 *
 *   io_sim.c       world, time, event heap, turns, nodes, the backend's table
 *   io_sim_net.c   connections, links, clients
 *   io_sim_datagram.c  UDP
 *   io_sim_disk.c  file operations and their faults, crashes, the tests' access to disks
 *   io_sim_inode.c the bytes of one file, in the cache and on the platter
 *   io_sim_dir.c   names: the directory tree in the cache and on the platter
 *
 * Ownership: the world owns nodes, connections and clients; a node owns its disk; the driver owns
 * each `struct sim_io` (it calls io_free).  A connection lives until both ends were released by
 * their holders and no scheduled event points at it.
 */
#pragma once

#include "io/io_backend.h"
#include "io/io_sim.h"

enum { SIM_NAME_MAX = 32, SIM_OUTSIDE = SIM_NODES_MAX, SIM_PATH_MAX = 512, SIM_PPM = 1000000 };

/* ── events ──────────────────────────────────────────────────────────────────────────────────── */

enum sim_event_kind {
    SIM_EVENT_SYN,       /* a connection's first packet, from side 0 to side 1 */
    SIM_EVENT_PUMP,      /* the first packet in side's line arrives at the other side */
    SIM_EVENT_ACK,       /* side learns that `value` bytes of its bytes were read */
    SIM_EVENT_RESET,     /* side learns that the connection is broken */
    SIM_EVENT_DATAGRAM,  /* `datagram` arrives */
    SIM_EVENT_FILE_DONE, /* operation number `value` of the node ends */
};

struct sim_event {
    uint64_t time_ns;
    uint64_t sequence; /* order among events of the same time */
    enum sim_event_kind kind;
    uint32_t side;
    uint32_t attempt; /* how often it was repeated because the link was blocked */
    struct sim_conn *conn;
    struct sim_node *node;
    struct sim_datagram *datagram; /* owned */
    uint64_t value;
};

/* ── network ─────────────────────────────────────────────────────────────────────────────────── */

enum sim_packet_kind { SIM_PACKET_OPENED, SIM_PACKET_DATA, SIM_PACKET_FIN };

struct sim_packet {
    enum sim_packet_kind kind;
    uint32_t bytes;
    uint64_t ready_ns; /* when it arrives, if nothing holds it up */
};

struct sim_datagram {
    const struct sim_node *from;
    struct sim_node *to;
    uint16_t from_port, to_port;
    uint32_t size;
    struct sim_datagram *next; /* in the socket that it has arrived at */
    char data[];
};

/* One end of a connection, a listener, or a UDP socket. */
struct io_socket {
    struct sim_io *io;         /* the process that holds it; NULL: a client, or nobody */
    struct sim_client *client; /* the client that holds it, if one does */
    struct sim_conn *conn;     /* NULL: a listener, or a UDP socket */
    bool is_datagram;
    struct sim_datagram *arrived; /* UDP: in order */
    uint32_t arrived_count;
    const struct sim_node *heard_from; /* of the packet handed out last */
    uint16_t heard_port;
    uint32_t side;
    uint16_t port;
    int descriptor;
    void *owner;
    bool open;     /* established as this end sees it */
    bool gone;     /* the network no longer knows this end: closed, reset, crashed */
    bool released; /* whoever held it will not touch it again */
    bool recv_paused;
    bool recv_ended;  /* the end of the stream or an error was handed out */
    bool send_wanted; /* SEND_READY is owed */
    bool fin_sent;
    bool fin_received;
    bool connect_due;     /* the result of io_connect was not handed out yet */
    bool is_ready;        /* in io->ready or io->later */
    int error;            /* errno of a broken connection */
    uint64_t unread;      /* bytes sent and, as far as this end knows, not yet read by the other */
    struct buffer outbox; /* sent, not yet arrived */
    struct buffer inbox;  /* arrived, not yet read */
    struct sim_packet *packets; /* in order; the first is the one SIM_EVENT_PUMP is for */
    size_t packets_count;
    size_t packets_capacity;
    struct sim_conn *backlog;   /* listener: connections to accept, linked by backlog_next */
    struct io_socket *previous; /* in io->sockets */
    struct io_socket *next;
};

struct sim_conn {
    struct sim_world *world;
    struct io_socket ends[2];  /* 0 connected to 1 */
    struct sim_node *nodes[2]; /* whose machine; NULL: outside */
    uint64_t syn_ns;
    uint32_t events_count; /* scheduled events that point here */
    struct sim_conn *backlog_next;
    struct sim_conn *previous; /* in world->conns */
    struct sim_conn *next;
};

struct sim_client {
    struct sim_world *world;
    struct sim_conn *conn;
    void *owner;
    bool has_news;
    struct sim_client *previous; /* in world->clients */
    struct sim_client *next;
};

/* ── disk ────────────────────────────────────────────────────────────────────────────────────── */

struct sim_inode {
    struct sim_disk *disk;
    struct sim_inode *previous; /* in disk->inodes */
    struct sim_inode *next;
    uint32_t refs; /* names (cache, platter, pending changes) and open files */
    bool is_dir;
    int locked_by;         /* file number; -1: not locked */
    struct buffer cache;   /* what processes see */
    struct buffer platter; /* sectors that reached the platter, zeros between */
    uint64_t platter_size; /* the durable size; platter.size may be larger */
    uint64_t *dirty;       /* per sector: sequence of its first write not yet durable; 0: clean */
    size_t dirty_count;
    uint64_t size_dirty; /* sequence of the first change of size not yet durable; 0: none */
};

struct sim_names {
    struct sim_name {
        char *path;
        struct sim_inode *inode;
    } * list; /* sorted by path */
    size_t count;
    size_t capacity;
};

/* A change of names that the platter does not have yet: a path gets an inode (NULL: goes), and in
 * the same instant `path_from` (NULL: none) goes. */
struct sim_change {
    char *path;
    char *path_from;
    struct sim_inode *inode;
    uint64_t sequence;
};

struct sim_disk {
    struct prng prng;
    struct sim_inode *inodes;
    struct sim_names cache;
    struct sim_names platter;
    struct sim_change *changes;
    size_t changes_count;
    size_t changes_capacity;
    uint64_t sequence; /* of the last change of anything */
    uint64_t capacity_bytes;
    uint64_t full_until_ns;
    bool is_sound;
};

struct sim_handle {
    struct sim_inode *inode; /* NULL: free */
    bool is_writable;
};

/* A file operation between submit and end. */
struct sim_flight {
    struct io_file_op *op;
    uint64_t number;
    uint64_t sequence; /* the disk's when it was submitted: what a sync covers */
    uint32_t data_crc; /* of a write's data: it must not change meanwhile */
    struct sim_flight *next;
};

/* ── nodes and the world ─────────────────────────────────────────────────────────────────────── */

struct sim_io {
    struct io io;
    struct sim_world *world;
    struct sim_node *node;
    bool is_dead;
    bool wake_requested;
    uint64_t deadline_ns; /* in the node's time ... */
    uint64_t due_ns;      /* ... and in the world's */
    uint32_t idle_waits;  /* io_wait calls in this turn since the last event */
    struct io_socket *sockets;
    struct io_socket **ready; /* sockets that may have an event */
    size_t ready_count;
    size_t ready_capacity;
    struct io_socket **later; /* and those that had one in this turn and may have more */
    size_t later_count;
    size_t later_capacity;
    struct sim_flight *flights;
    struct io_file_op *done_first;
    struct io_file_op *done_last;
    struct sim_handle *handles;
    size_t handles_count;
    int next_descriptor;
    uint16_t next_port;
    struct buffer received; /* what the last RECV event lent out */
};

struct sim_node {
    struct sim_world *world;
    uint32_t index;
    char name[SIM_NAME_MAX];
    struct sim_io *io; /* NULL: no process */
    bool is_powered;
    uint64_t machine_boots; /* times it was switched on */
    uint64_t busy_until_ns;
    uint64_t turns;
    uint64_t clock_true_ns;  /* at this true time ... */
    uint64_t clock_local_ns; /* ... the node's clock showed this */
    uint32_t clock_rate_ppm;
    int64_t wall_offset_ms;
    uint64_t crash_countdown; /* 0: none */
    bool crash_power_loss;
    struct prng random;
    struct sim_disk disk;
    void *owner;
};

struct sim_world {
    struct sim_options options;
    uint64_t now_ns;
    uint64_t sequence;
    uint64_t trace_hash;
    void (*trace_line)(void *context, const char *text);
    void *trace_context;
    struct prng prng_net;
    struct prng prng_turn;
    struct prng prng_datagram;
    struct prng prng_seed; /* parent of the nodes' generators */
    struct sim_event *heap;
    size_t heap_count;
    size_t heap_capacity;
    struct sim_node *nodes[SIM_NODES_MAX];
    uint32_t nodes_count;
    struct sim_conn *conns;
    struct sim_client *clients;
    bool blocked[SIM_TRAFFICS][SIM_NODES_MAX + 1][SIM_NODES_MAX + 1];
    uint64_t clogged_until_ns[SIM_NODES_MAX + 1][SIM_NODES_MAX + 1];
};

/* io_sim.c */
void sim_schedule(struct sim_world *world, uint64_t delay_ns, struct sim_event event);
/* Folds what happened into the fingerprint.  `what` is a word for the trace. */
void sim_trace(struct sim_world *world, const struct sim_node *node, const char *what, uint64_t a,
               uint64_t b);
/* minimum + an exponentially distributed part. */
uint64_t sim_delay_draw(struct prng *prng, uint64_t min_ns, uint64_t mean_ns);
bool sim_happens(struct prng *prng, uint32_t rate_ppm);
/* Counts an operation towards sim_node_crash_after.  False: the process is (now) dead. */
bool sim_io_tick(struct sim_io *io);
struct sim_io *sim_io_from(struct io *io);
/* Appends one element's room to a growing array. */
void *sim_array_grow(void *array, size_t count, size_t *capacity, size_t element_bytes);

/* io_sim_net.c */
extern const struct io_backend sim_backend;
void sim_net_event(struct sim_world *world, const struct sim_event *event);
bool sim_net_next(struct sim_io *io, struct io_event *out_event);
void sim_net_turn_end(struct sim_io *io); /* io_wait: what is left over comes in the next turn */
int sim_listen(struct io *io, const char *host, uint16_t port, void *owner,
               struct io_socket **out_socket);
int sim_connect(struct io *io, const char *host, uint16_t port, void *owner,
                struct io_socket **out_socket);
void sim_socket_own(struct io *io, struct io_socket *socket, void *owner);
void sim_recv_pause(struct io *io, struct io_socket *socket);
void sim_recv_resume(struct io *io, struct io_socket *socket);
int64_t sim_send(struct io *io, struct io_socket *socket, struct slice data);
void sim_close(struct io *io, struct io_socket *socket);
void sim_socket_name(struct io *io, struct io_socket *socket, bool remote, char *out, size_t size);
uint16_t sim_socket_port(struct io *io, struct io_socket *socket);
/* Which machine a host name means to `self`: a node's name, 10.0.0.<n>, or itself; NULL: none. */
struct sim_node *sim_host_find(struct sim_node *self, const char *host);
/* Enters a socket into those of the process; says that it has an event. */
void sim_socket_adopt(struct sim_io *io, struct io_socket *socket);
void sim_socket_touch(struct io_socket *socket);
uint16_t sim_port_choose(struct sim_io *io);
/* The process ends: with `silent` nothing is said to the other sides. */
void sim_net_io_dies(struct sim_io *io, bool silent);
void sim_net_io_free(struct sim_io *io);
void sim_net_world_free(struct sim_world *world);

/* io_sim_datagram.c */
int sim_datagram_open(struct io *io, const char *host, uint16_t port, void *owner,
                      struct io_socket **out_socket);
int sim_datagram_send(struct io *io, struct io_socket *socket, const char *host, uint16_t port,
                      struct slice data);
void sim_datagram_from(struct io *io, struct io_socket *socket, char *out, size_t size);
void sim_datagram_arrive(struct sim_world *world, const struct sim_event *event);
/* The socket's next packet; false: none. */
bool sim_datagram_event(struct io_socket *socket, struct io_event *out);
void sim_datagrams_free(struct io_socket *socket);

/* io_sim_disk.c */
void sim_disk_init(struct sim_disk *disk, struct prng *parent);
void sim_disk_free(struct sim_disk *disk);
int64_t sim_file_run(struct io *io, struct io_file_op *op);
void sim_file_submit(struct io *io, struct io_file_op *op);
void sim_file_done(struct sim_node *node, uint64_t number);
/* Ends the flight that was submitted first; false when there is none. */
bool sim_file_hurry(struct sim_io *io);
/* The process ends: decides what became of the operations in flight; closes its files. */
void sim_disk_io_dies(struct sim_io *io);
/* The power fails: decides what the platter kept. */
void sim_disk_power_loss(struct sim_node *node);

/* io_sim_inode.c */
struct sim_inode *sim_inode_new(struct sim_disk *disk, bool is_dir); /* with no reference yet */
struct sim_inode *sim_inode_ref(struct sim_inode *inode);
void sim_inode_unref(struct sim_inode *inode);
/* Writes to the cache (data NULL: zeros). */
void sim_inode_write(struct sim_inode *inode, const char *data, uint64_t size, uint64_t offset);
void sim_inode_truncate(struct sim_inode *inode, uint64_t size);
/* Makes durable what was written up to `sequence`. */
void sim_inode_sync(struct sim_inode *inode, uint64_t sequence);
/* The sync failed: what was dirty counts as clean, whether it reached the platter or not. */
void sim_inode_sync_failed(struct sim_inode *inode, bool reverts);
void sim_inode_power_loss(struct sim_inode *inode, uint32_t keep_ppm, uint32_t garbage_ppm);
/* Replaces `out` by what would be read after a power loss that keeps nothing. */
void sim_inode_platter(const struct sim_inode *inode, struct buffer *out);

/* io_sim_dir.c */
struct sim_inode *sim_names_find(const struct sim_names *names, const char *path);
void sim_names_set(struct sim_names *names, const char *path, struct sim_inode *inode);
void sim_names_free(struct sim_names *names);
/* Writes the one spelling of a path; false when it is too long. */
bool sim_path_normalize(const char *path, char *out);
/* True when the directory that would hold the (normalized) path exists. */
bool sim_names_has_parent(const struct sim_names *names, const char *path);
/* Changes the cache's names now; the platter's follow by sync or luck. */
void sim_dir_change(struct sim_disk *disk, const char *path, const char *path_from,
                    struct sim_inode *inode);
/* Makes the changes in directory `path` up to `sequence` durable. */
void sim_dir_sync(struct sim_disk *disk, const char *path, uint64_t sequence);
/* Each pending change is kept or lost; then the cache's names are the platter's. */
void sim_dir_power_loss(struct sim_disk *disk, uint32_t keep_ppm);
int64_t sim_dir_list(const struct sim_names *names, const char *dir, bool deep, struct buffer *out);
