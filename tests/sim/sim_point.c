/*
 * sim_point.c — named points of a node's life, at which it can be made to crash.
 *
 * A point is an event that the node logs (log.h: the tap is told of debug events, too), in a role:
 * as leader of the group that it speaks of, as a follower, or whoever.  An armed point crashes the
 * first node that gets there (or the one after a few that were let pass), right there or in the
 * middle of one of its next sends or file operations, with power loss or without.  Points on the
 * way of a migration: join, learner, snapshot, joint change, leadership, moves, vacating, drain,
 * removal, meta file, compaction.
 *
 * A new point is a row of `points`, and an event in the node where there is none yet.
 */
#include "base/assert.h"
#include "base/compiler.h"
#include "log.h"
#include "replica.h"
#include "sim.h"
#include "sim_probe.h"

#include <stdio.h>

enum acting { ANYBODY, LEADING, FOLLOWING };

/* What a configuration entry does, as it follows from the one before. */
enum config_step { STEP_ANY, STEP_JOINT, STEP_LEFT, STEP_SIMPLE };

static const struct {
    const char *event;
    enum acting acting;
    enum config_step kind;
    const char *name;
} points[] = {
    { "starting", ANYBODY, STEP_ANY, "start" },
    { "recovered", ANYBODY, STEP_ANY, "recovered" },
    { "ready", ANYBODY, STEP_ANY, "ready" },
    { "joining", ANYBODY, STEP_ANY, "join: newcomer starts" },
    { "join_asked", ANYBODY, STEP_ANY, "join: asked" },
    { "join_proposed", ANYBODY, STEP_ANY, "join: proposed" },
    { "join_welcomed", ANYBODY, STEP_ANY, "join: welcomed" },
    { "joined", ANYBODY, STEP_ANY, "join: newcomer is in" },
    { "members_changed", ANYBODY, STEP_ANY, "list of members changes" },
    { "meta_writing", ANYBODY, STEP_ANY, "meta file: before" },
    { "meta_written", ANYBODY, STEP_ANY, "meta file: after" },
    { "forget_asked", ANYBODY, STEP_ANY, "forget" },
    { "config_appended", LEADING, STEP_SIMPLE, "learners change: appended, leader" },
    { "config_appended", FOLLOWING, STEP_SIMPLE, "learners change: appended, follower" },
    { "config_applied", ANYBODY, STEP_SIMPLE, "learners change: applied" },
    { "config_appended", LEADING, STEP_JOINT, "voters change: joint appended, leader" },
    { "config_appended", FOLLOWING, STEP_JOINT, "voters change: joint appended, follower" },
    { "config_applied", ANYBODY, STEP_JOINT, "voters change: joint applied" },
    { "config_appended", LEADING, STEP_LEFT, "voters change: final appended, leader" },
    { "config_appended", FOLLOWING, STEP_LEFT, "voters change: final appended, follower" },
    { "config_applied", ANYBODY, STEP_LEFT, "voters change: final applied" },
    { "leadership_offered", ANYBODY, STEP_ANY, "leadership: offered" },
    { "leader_changed", LEADING, STEP_ANY, "leadership: taken" },
    { "leader_changed", FOLLOWING, STEP_ANY, "leadership: another leads" },
    { "snapshot_asked", ANYBODY, STEP_ANY, "snapshot: asked for" },
    { "snapshot_sending", ANYBODY, STEP_ANY, "snapshot: sender begins" },
    { "snapshot_sent", ANYBODY, STEP_ANY, "snapshot: sender is done" },
    { "snapshot_writing", ANYBODY, STEP_ANY, "snapshot: received" },
    { "snapshot_written", ANYBODY, STEP_ANY, "snapshot: on disk" },
    { "log_reset", ANYBODY, STEP_ANY, "snapshot: log reset" },
    { "snapshot_received", ANYBODY, STEP_ANY, "snapshot: adopted" },
    { "snapshot_started", ANYBODY, STEP_ANY, "own snapshots: begun" },
    { "snapshot_file_done", ANYBODY, STEP_ANY, "own snapshots: a file" },
    { "snapshot_done", ANYBODY, STEP_ANY, "own snapshots: done" },
    { "log_released", ANYBODY, STEP_ANY, "own snapshots: log released" },
    { "listening", ANYBODY, STEP_ANY, "start: listens" },
    { "cluster_listening", ANYBODY, STEP_ANY, "start: listens for members" },
    { "peer_connected", ANYBODY, STEP_ANY, "link: up" },
    { "peer_lost", ANYBODY, STEP_ANY, "link: down" },
    { "failover", ANYBODY, STEP_ANY, "leadership: an operator moves it" },
    { "move_changes", ANYBODY, STEP_ANY, "move: next configuration" },
    { "move_hands_over", ANYBODY, STEP_ANY, "move: leader goes first" },
    { "replica_vacated", ANYBODY, STEP_ANY, "vacating: forgotten" },
    { "files_deleting", ANYBODY, STEP_ANY, "vacating: looks for files" },
    { "file_deleting", ANYBODY, STEP_ANY, "vacating: deletes a file" },
    { "files_deleted", ANYBODY, STEP_ANY, "vacating: files are gone" },
    { "drain_asked", ANYBODY, STEP_ANY, "drain: asked" },
    { "member_state", ANYBODY, STEP_ANY, "drain: leader says it has left" },
    { "left", ANYBODY, STEP_ANY, "drain: it learns that it has left" },
    { "stopping", ANYBODY, STEP_ANY, "drain: it stops" },
};

_Static_assert(ARRAY_COUNT(points) <= SIM_POINTS_MAX, "there is a place for each");

uint32_t sim_points_count(void)
{
    return ARRAY_COUNT(points);
}

const char *sim_point_name(uint32_t point)
{
    return points[point].name;
}

void sim_point_arm(struct sim *sim, const struct sim_kill *kill)
{
    ASSERT(kill->point < ARRAY_COUNT(points));
    sim->kill = *kill;
    sim->is_kill_armed = true;
}

void sim_point_draw(struct sim *sim)
{
    struct sim_kill kill = {
        .point = (uint32_t)prng_below(&sim->prng, ARRAY_COUNT(points)),
        .stage = (enum sim_stage)prng_below(&sim->prng, STAGES),
        .power_loss = prng_below(&sim->prng, 100) < sim->plan.power_loss_percent,
        .skip = (uint32_t)prng_below(&sim->prng, 4),
    };
    sim_point_arm(sim, &kill);
}

static const struct log_field *field_find(const struct log_field *fields, const char *key)
{
    for (; fields->kind != LOG_FIELD_END; fields++) {
        if (fields->kind != LOG_FIELD_SKIP && strcmp(fields->key, key) == 0) {
            return fields;
        }
    }
    return NULL;
}

/* The group the event speaks of; SIM_GROUPS: none. */
static uint32_t group_of(const struct log_field *fields)
{
    const struct log_field *field = field_find(fields, "group");
    uint64_t group = field != NULL ? field->number : SIM_GROUPS;
    return group == GROUP_META ? (uint32_t)SIM_GROUP_META : (uint32_t)group;
}

static enum config_step kind_of(struct sim_machine *machine, const char *event,
                                const struct log_field *fields)
{
    const struct log_field *joint = field_find(fields, "joint");
    uint32_t group = group_of(fields);
    if (joint == NULL || group >= SIM_GROUPS) {
        return STEP_ANY;
    }
    uint32_t *was_joint =
        strcmp(event, "config_applied") == 0 ? &machine->applied_joint : &machine->appended_joint;
    bool was = (*was_joint >> group & 1) != 0;
    *was_joint = joint->number != 0 ? *was_joint | 1u << group : *was_joint & ~(1u << group);
    return joint->number != 0 ? STEP_JOINT : was ? STEP_LEFT : STEP_SIMPLE;
}

static bool acts_so(const struct sim_machine *machine, uint32_t group, enum acting acting)
{
    struct probe probe;
    if (acting == ANYBODY) {
        return true;
    }
    bool is_leader = group < SIM_GROUPS && probe_group(machine, group, &probe) &&
                     probe.raft != NULL && probe.role == RAFT_LEADER;
    return is_leader == (acting == LEADING);
}

static void strike(struct sim *sim, struct sim_machine *machine)
{
    const struct sim_kill *kill = &sim->kill;
    bool power_loss = kill->power_loss && sim_machine_may_lose_power(machine);
    sim->is_kill_armed = false;
    sim->kills += 1;
    machine->lost_power |= power_loss;
    sim_say(sim, "%s reaches \"%s\"", sim_node_name(machine->machine), points[kill->point].name);
    if (kill->stage == STAGE_THERE) {
        sim_node_crash(machine->machine, power_loss);
    } else {
        uint64_t after = kill->stage == STAGE_NEXT ? 1 : 2 + prng_below(&sim->prng, 10);
        sim_node_crash_after(machine->machine, after, power_loss);
    }
}

void sim_point_tap(void *owner, const char *event, const struct log_field *fields)
{
    struct sim_machine *machine = owner;
    struct sim *sim = machine->sim;
    enum config_step kind = kind_of(machine, event, fields);
    const uint32_t at = sim->kill.point;
    if (!sim->is_kill_armed || sim->phase != PHASE_SAFETY || !sim_node_is_up(machine->machine) ||
        strcmp(points[at].event, event) != 0 ||
        (points[at].kind != STEP_ANY && points[at].kind != kind) ||
        !acts_so(machine, group_of(fields), points[at].acting)) {
        return;
    }
    if (sim->kill.skip > 0) {
        sim->kill.skip -= 1;
        return;
    }
    strike(sim, machine);
}
