/*
 * sim.h — a simulated cluster: machines with whole nodes, clients, faults, and what is recorded.
 *
 * One `struct sim` is one life of a cluster, decided by one seed.  The parts, in reading order:
 *
 *   cluster_sim.c     the list of faults and invariants; the phases of a life; main
 *   sim_plan.c        what the seed decides: sizes, policies, which faults and how strong
 *   sim_machine.c     starting, stepping and crashing nodes
 *   sim_fault.c       faults while the clients work, and healing
 *   sim_members.c     nodes that join, are forgotten, replaced, wiped: what an operator does
 *   sim_rot.c         files that go bad on the disk of one machine
 *   sim_point.c       named points at which a node crashes
 *   sim_client.c      clients: what they ask, how they retry (sim_wire.c: the bytes)
 *   sim_keyspace.c    all keys at once, in the end
 *   sim_history.c     keys and operations, as the clients saw them
 *   sim_probe.c       a look into a node's groups
 *   invariants/       what must be true; each is told of steps, starts, crashes and answers
 *
 * Everything is owned by the struct sim.  Whoever finds something wrong calls sim_fail once; the
 * life ends at the next opportunity.
 */
#pragma once

#include "base/buffer.h"
#include "base/prng.h"
#include "config.h"
#include "io/io_sim.h"
#include "linearizability.h"
#include "node.h"

struct checks;
struct log_field;
struct sim;

enum {
    SIM_MACHINES_MAX = 8, /* of a life, those that join later included */
    SIM_CLIENTS_MAX = 8,
    SIM_DEPTH_MAX = 32, /* requests of a client without an answer */
    SIM_PORT = 7001,
    SIM_CLUSTER_PORT = 8001,
    SIM_PARTITIONS = 16, /* as few as there may be */
    SIM_GROUPS = SIM_PARTITIONS + 1,
    SIM_GROUP_META = SIM_PARTITIONS, /* the last one */
    SIM_POINTS_MAX = 64,
};

static const uint64_t SIM_MS = 1000000;
static const uint64_t SIM_S = 1000000000;

/* ── the plan ────────────────────────────────────────────────────────────────────────────────── */

enum fault {
    FAULT_CRASH,       /* a process or a machine, at a random operation; back after a while */
    FAULT_CRASH_ALL,   /* the power of the building */
    FAULT_PAUSE,       /* SIGSTOP, a virtual machine being moved */
    FAULT_ISOLATE,     /* a node from all others, both ways */
    FAULT_ONE_WAY,     /* a node is not heard, or does not hear */
    FAULT_LEADER,      /* isolate the node that leads most */
    FAULT_CHAIN,       /* a link between two nodes, all else works */
    FAULT_CLIENTS_CUT, /* clients do not reach a node, or get no answers */
    FAULT_CLOG,        /* a link delivers nothing for seconds */
    FAULT_CLOCK_RATE,  /* within what the lease allows for */
    FAULT_CLOCK_STEP,  /* the wall clock jumps */
    FAULT_SNAPSHOT,    /* no fault: a snapshot now */
    FAULT_FAILOVER,    /* an operator moves leadership */
    FAULT_HEAL,
    FAULT_JOIN,    /* a new node asks to join */
    FAULT_FORGET,  /* a node that works is removed */
    FAULT_REPLACE, /* a machine is gone for good: another joins, the old one is forgotten */
    FAULT_WIPE,    /* a disk is empty; the node asks to join again, under its old id */
    FAULT_ROT,     /* a file of the one bad disk changes or vanishes */
    FAULT_POINT,   /* whoever gets to a certain point crashes there */
    FAULT_TRAFFIC, /* of two nodes only datagrams pass, or only connections */
    FAULT_DRAIN,   /* an operator lets a node leave */
    FAULT_KINDS
};

struct sim_plan {
    uint32_t nodes; /* that form the cluster; others may join */
    uint32_t replication;
    uint32_t members_max;
    uint32_t down_replace_s; /* until others take the place of a dead node; 0: never in a life */
    uint32_t bad_disk;       /* number of the machine whose disk is not sound; UINT32_MAX: none */
    uint32_t clients, json_clients;
    enum aof_sync sync;
    bool lease_reads;
    uint32_t keys;           /* of each class, at a time */
    uint32_t key_operations; /* then another key takes its place */
    uint32_t depth;
    uint32_t think_mean_us;
    uint32_t value_bytes_max;
    uint32_t segment_bytes, snapshot_log_bytes;
    uint32_t any_percent, quorum_percent; /* of the connections */
    uint32_t fault_mean_ms;
    uint32_t weights[FAULT_KINDS];
    uint32_t power_loss_percent;
    uint32_t restart_mean_ms;
    uint32_t drift_percent;
    uint32_t heartbeat_ms, election_timeout_ms;
    uint32_t safety_ms;
    struct sim_options machine; /* of network and disks while faults happen */
    bool faults_from_start;     /* also while the cluster forms */
    bool has_secret;            /* links are proved */
};

/* is_fixed: the members stay what they are, and disks keep what is synced. */
void sim_plan_draw(struct sim_plan *plan, uint64_t seed, bool is_fixed);
/* Members change all the time, so that every point is reached; nothing else happens. */
void sim_plan_for_points(struct sim_plan *plan);
void sim_plan_print(const struct sim_plan *plan, struct buffer *out);

/* ── machines ────────────────────────────────────────────────────────────────────────────────── */

/* What its operator wants of a machine. */
enum sim_standing {
    STANDING_MEMBER,  /* is a member, or asks to become one */
    STANDING_LEAVING, /* is to be forgotten, or to leave */
    STANDING_OUT,     /* was forgotten, or has left; it may not know, and run on */
};

struct sim_machine {
    struct sim *sim;
    uint32_t number; /* 0, 1 ... */
    struct sim_node *machine;
    struct io *io;
    struct node *node;
    struct log *log; /* writes with --trace only */
    struct config config;
    bool has_node;   /* node and io are to be dropped */
    bool is_serving; /* started, and no crash since */
    bool is_banned;  /* stays down */
    enum sim_standing standing;
    uint64_t incarnation;  /* LEAVING: of the data directory that is to be forgotten */
    bool is_wiped;         /* LEAVING: and comes back with another */
    bool is_draining;      /* LEAVING: by itself, when nothing is left on it */
    bool has_left;         /* its process ended, or did not start, as it is no member any more */
    uint64_t listed_epoch; /* LEAVING: of the latest list of members seen that had it; 0: none */
    uint64_t restart_ns;
    uint32_t starts;
    uint32_t starts_failed; /* in a row */
    bool lost_power;        /* since its last start */
    bool is_meta_bad;       /* one of its meta files, since its last start */
    uint32_t damages;       /* done to its files */
    uint64_t turns_seen, turns_since_ns;
    uint32_t appended_joint, applied_joint; /* sim_point.c: groups in a joint change */
    size_t found_at;                        /* durable.c: where in a log file it found something */
};

void sim_machines_new(struct sim *sim);
void sim_machines_free(struct sim *sim);
/* One more machine, which is to join; its node is started when the world goes on. */
struct sim_machine *sim_machine_add(struct sim *sim);
/* Where it asks to be let in, should its data directory be empty. */
void sim_machine_seeds_set(struct sim_machine *machine);
/* Boots and starts the node; when that fails it is tried again later. */
void sim_machine_start(struct sim_machine *machine);
/* With a relaxed appendfsync only node1 loses its power: if a majority forgets at once, what was
 * acknowledged may be gone (docs/OPERATIONS.md says so). */
bool sim_machine_may_lose_power(const struct sim_machine *machine);
void sim_machine_crash(struct sim_machine *machine, bool power_loss);
/* One iteration of the node's loop, then the checks. */
void sim_machine_turn(struct sim_machine *machine);
/* The process ended by itself in the middle of something (sim_node_crash_after). */
void sim_machine_reap(struct sim_machine *machine);
uint32_t sim_machines_up(const struct sim *sim); /* a set, bit n for machine n */

/* ── history ─────────────────────────────────────────────────────────────────────────────────── */

enum key_class { KEY_REGISTER, KEY_COUNTER, KEY_TEXT, KEY_BRIEF, KEY_CLASSES };

struct sim_key {
    char name[32];
    enum key_class class;
    uint32_t number;
    uint32_t operations, pending, unanswered;
    uint32_t first_op, last_op; /* linked by next_of_key */
};

enum op_fate {
    OP_PENDING,
    OP_ANSWERED,
    OP_REFUSED, /* definitely not done */
    OP_UNKNOWN,
};

struct sim_op {
    uint32_t number; /* written into values: #00000012. */
    uint32_t key;
    uint32_t next_of_key;
    enum lin_kind kind;
    enum consistency level; /* of reads */
    uint32_t client;
    uint32_t attempts;
    uint64_t seq;  /* of the client's session; 0: none */
    uint64_t time; /* world time when it was invoked */
    enum op_fate fate;
    uint64_t invoked, returned; /* on the history's own clock, which never stands still */
    uint32_t value_bytes;
    enum lin_answer answer;
    int64_t number_answer;
    struct slice text; /* owned */
};

struct sim_history {
    struct sim_op *ops; /* ops[number] */
    uint32_t count, capacity;
    struct sim_key *keys;
    uint32_t keys_count, keys_capacity;
    uint32_t *current; /* per place: the key there now */
    uint32_t places;
    uint64_t clock;
    uint64_t answered, refused, unknown;
    uint32_t not_judged; /* keys whose histories were too hard for the checker */
};

void sim_history_init(struct sim_history *history, const struct sim_plan *plan);
void sim_history_free(struct sim_history *history);
/* A new operation on some key; its number. */
uint32_t sim_history_draw(struct sim *sim, uint32_t client);
uint32_t sim_history_add(struct sim *sim, uint32_t client, uint32_t key, enum lin_kind kind);
bool sim_op_is_write(const struct sim_op *op);
/* What it writes: key, number and padding. */
void sim_op_value(const struct sim *sim, const struct sim_op *op, struct buffer *out);
/* The answer came. */
void sim_op_end(struct sim *sim, struct sim_op *op, enum op_fate fate);
/* I9: every key's operations have a sequential explanation. */
void sim_history_check(struct sim *sim);

/* ── clients ─────────────────────────────────────────────────────────────────────────────────── */

struct sim_reply {
    enum {
        REPLY_NONE,
        REPLY_SIMPLE,
        REPLY_ERROR,
        REPLY_NUMBER,
        REPLY_TEXT,
        REPLY_NIL,
        REPLY_ARRAY, /* its head: `number` replies follow */
        REPLY_BAD
    } kind;
    struct slice text; /* borrowed */
    int64_t number;
    int64_t id; /* JSON */
};

struct sim_connected {
    struct sim *sim;
    uint32_t number;
    bool is_json;
    bool has_session;          /* repeats what was not answered */
    bool is_asking;            /* sim_keyspace.c's: keeps no history, only bytes */
    struct sim_client *socket; /* NULL: not connected */
    struct sim_machine *to;
    enum consistency level;
    bool is_level_owed; /* the answer to CONSISTENCY is still to come */
    struct buffer in, out;
    uint32_t waiting[SIM_DEPTH_MAX]; /* ring: sent, or to be sent again */
    uint32_t head, tail;
    uint64_t next_seq;
    uint64_t wake_ns;    /* something to do by itself */
    uint64_t next_op_ns; /* thinking until then */
    uint64_t connected_ns;
    struct {
        uint32_t key;
        uint64_t index;
    } any_seen[64]; /* per place: how far ANY reads of this connection have seen its key */
};

void sim_clients_new(struct sim *sim);
void sim_clients_free(struct sim *sim);
/* Something arrived. */
void sim_client_turn(struct sim_connected *client);
/* Its wake_ns has come. */
void sim_client_wake(struct sim_connected *client);
bool sim_clients_are_idle(const struct sim *sim);
/* New connections, for idle clients: the old ones may be broken without their knowing. */
void sim_clients_renew(struct sim *sim);
/* Queues one operation on an otherwise idle client. */
void sim_client_ask(struct sim_connected *client, uint32_t op);

/* sim_keyspace.c: to be called at rest, when every key in use was read last. */
typedef bool sim_run_fn(struct sim *sim, uint64_t until_ns, bool (*is_done)(struct sim *sim));
void sim_keyspace_check(struct sim *sim, sim_run_fn *run);

/* sim_wire.c */
void sim_wire_resp(const struct sim *sim, const struct sim_op *op, struct buffer *out);
void sim_wire_json(const struct sim *sim, const struct sim_op *op, struct buffer *out);
/* The next complete reply; its size, 0: none yet. */
size_t sim_wire_resp_read(struct slice in, struct sim_reply *out);
size_t sim_wire_json_read(struct slice in, struct sim_reply *out, struct buffer *scratch);

/* ── faults ──────────────────────────────────────────────────────────────────────────────────── */

void sim_fault_draw(struct sim *sim);
/* Everything works again; who stays down or cut off for good is not of the core. */
void sim_faults_end(struct sim *sim);

/* sim_members.c: begins a change of members; false when it is not the time for it. */
bool sim_members_change(struct sim *sim, enum fault fault);
/* What the operator has begun goes on, until it is complete. */
void sim_members_step(struct sim *sim);
/* Every change is complete; `out_why`: what is missing. */
bool sim_members_are_settled(const struct sim *sim, char *out_why, size_t why_size);
/* How many voters of a group may be down for good, without what is gone already. */
uint32_t sim_members_spare(const struct sim *sim);

/* sim_rot.c */
void sim_rot(struct sim *sim);

/* sim_point.c */
enum sim_stage { STAGE_THERE, STAGE_NEXT, STAGE_SOON, STAGES };

/* A crash at a named point: right there, in the next operation, or in one of the next dozen. */
struct sim_kill {
    uint32_t point;
    enum sim_stage stage;
    bool power_loss;
    uint32_t skip; /* so often the point is let pass */
};

uint32_t sim_points_count(void);
const char *sim_point_name(uint32_t point);
void sim_point_arm(struct sim *sim, const struct sim_kill *kill);
/* Arms some point. */
void sim_point_draw(struct sim *sim);
/* For log_options.tap; its owner is the machine. */
void sim_point_tap(void *owner, const char *event, const struct log_field *fields);

/* ── a life ──────────────────────────────────────────────────────────────────────────────────── */

enum sim_phase { PHASE_FORM, PHASE_SAFETY, PHASE_LIVENESS, PHASE_END };

struct sim {
    uint64_t seed;
    bool is_traced, is_fixed;
    struct prng prng;
    struct sim_plan plan;
    enum sim_phase phase;
    bool is_settled; /* PHASE_END: leaders and rumours have come to rest */
    struct sim_world *world;
    struct sim_machine machines[SIM_MACHINES_MAX];
    uint32_t count;        /* of the machines that there are */
    uint64_t operator_ns;  /* when the operator looks again */
    uint32_t changes_done; /* of members */
    struct sim_kill kill;  /* valid while armed */
    bool is_kill_armed;
    const struct sim_kill *to_kill; /* armed again and again; NULL: none */
    uint32_t kills;
    uint32_t core; /* the machines that clients use: all, and in the end the healed majority */
    struct sim_connected clients[SIM_CLIENTS_MAX];
    bool clients_may_ask;
    uint64_t next_fault_ns;
    uint32_t faults_done[FAULT_KINDS];
    struct sim_history history;
    struct checks *checks;
    uint64_t turns;
    const char *invariant; /* NULL: all is well */
    char detail[1024];
};

uint64_t sim_now(const struct sim *sim);
void sim_fail(struct sim *sim, const char *invariant, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* One line for --trace. */
void sim_say(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* An exponentially distributed time. */
uint64_t sim_draw_ns(struct sim *sim, uint64_t mean_ns);
