/*
 * sim_members.c — changes of members, as operators make them: nodes join, are forgotten, die for
 * good and are replaced, lose their disk and come back.
 *
 * A change is begun by a fault (sim_members_change) and driven to its end by the operator, who
 * looks a few times a second (sim_members_step), whatever else fails meanwhile.  The operator keeps
 * to docs/OPERATIONS.md: one removal at a time, and none that would leave fewer than three members;
 * of what a group's majority needs only one machine is ever gone for good.
 *
 *   JOIN      a machine is added and asks the members it knows; several may be at it at once
 *   DRAIN     CLUSTER DRAIN: what a node holds moves away, then it ends by itself
 *   FORGET    a working node is removed, as if it were taken for dead: it is told nothing and runs
 *             on as a stranger.  The command refuses it, so it is rare
 *   REPLACE   a machine never comes back; another joins; then the old one is forgotten
 *   WIPE      a machine comes back with an empty disk under its old id: it must be refused until
 *             the old one is forgotten, and then comes in as another
 *
 * Who was forgotten may be started again at any time (sim_fault.c crashes and restarts it like any
 * other), and must not disturb.
 */
#include "base/compiler.h"
#include "cluster/confchange.h"
#include "coordinator.h"
#include "invariants/checks.h"
#include "replica.h"
#include "sim.h"

#include <stdio.h>

static const uint64_t LOOK_EVERY_NS = UINT64_C(200000000);

enum { MEMBERS_MIN = 3 }; /* CLUSTER FORGET says no with three, and with fewer one votes alone */

/* ── what there is ───────────────────────────────────────────────────────────────────────────── */

static uint32_t count_of(const struct sim *sim, enum sim_standing standing)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < sim->count; i++) {
        count += sim->machines[i].standing == standing;
    }
    return count;
}

static struct sim_machine *leaving(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->count; i++) {
        if (sim->machines[i].standing == STANDING_LEAVING) {
            return &sim->machines[i];
        }
    }
    return NULL;
}

static uint64_t number_of(const struct sim_machine *machine)
{
    return members_number(sim_node_name(machine->machine));
}

/* It serves, as a member. */
static bool serves(const struct sim_machine *machine)
{
    return machine->is_serving && machine->node->consensus != NULL && machine->node->is_serving;
}

/* The one who leads the meta group, as he believes; NULL: nobody. */
static struct sim_machine *coordinator_of(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->count; i++) {
        struct sim_machine *machine = &sim->machines[i];
        struct probe probe;
        if (machine->standing != STANDING_OUT && serves(machine) &&
            probe_group(machine, SIM_GROUP_META, &probe) && probe.role == RAFT_LEADER) {
            return machine;
        }
    }
    return NULL;
}

/* The machine's data directory of before belongs no more to the group's configuration, as somebody
 * knows who leads it.  (Who has left follows the meta group until it goes from the list.) */
static bool is_out_of_group(const struct sim *sim, const struct sim_machine *gone, uint32_t group)
{
    for (uint32_t i = 0; i < sim->count; i++) {
        const struct sim_machine *machine = &sim->machines[i];
        struct probe probe;
        uint64_t index = 0;
        if (!serves(machine) || !probe_group(machine, group, &probe) || probe.raft == NULL ||
            probe.role != RAFT_LEADER || machine->node->members.epoch <= gone->listed_epoch) {
            continue; /* it does not lead, or knows of nothing yet */
        }
        const struct raft_config *config = raft_config(probe.raft, &index);
        int at = raft_config_find(config, number_of(gone));
        bool is_member = at >= 0 && config->members[at].incarnation == gone->incarnation &&
                         (!gone->is_draining || group != SIM_GROUP_META ||
                          raft_member_votes(&config->members[at]));
        if (!is_member && !raft_config_is_joint(config) && index <= probe.commit) {
            return true;
        }
    }
    return false;
}

static bool is_out(const struct sim *sim, const struct sim_machine *gone)
{
    for (uint32_t group = 0; group < SIM_GROUPS; group++) {
        if (!is_out_of_group(sim, gone, group)) {
            return false;
        }
    }
    return true;
}

/* A list of members on which it is not (any more). */
static bool is_listed(const struct sim_machine *coordinator, const struct sim_machine *machine)
{
    const struct member *member = members_find(&coordinator->node->members, number_of(machine));
    return member != NULL && member->incarnation == machine->incarnation;
}

/* Every member that is to be one has come in. */
static bool all_have_joined(const struct sim *sim)
{
    for (uint32_t i = 0; i < sim->count; i++) {
        const struct sim_machine *machine = &sim->machines[i];
        if (machine->standing == STANDING_MEMBER && !serves(machine)) {
            return false;
        }
    }
    return true;
}

/* ── beginning ───────────────────────────────────────────────────────────────────────────────── */

static bool join(struct sim *sim)
{
    uint32_t members = count_of(sim, STANDING_MEMBER) + count_of(sim, STANDING_LEAVING);
    if (sim->count == SIM_MACHINES_MAX || members >= sim->plan.members_max) {
        return false;
    }
    struct sim_machine *machine = sim_machine_add(sim);
    sim_machine_seeds_set(machine);
    sim_say(sim, "%s is to join", sim_node_name(machine->machine));
    return true;
}

/* Every group has the members that its leader's list asks for: what was lost before is made good,
 * and something else may be lost. */
static bool are_whole(const struct sim *sim)
{
    for (uint32_t group = 0; group < SIM_GROUPS; group++) {
        bool is_whole = false;
        for (uint32_t i = 0; i < sim->count && !is_whole; i++) {
            const struct sim_machine *machine = &sim->machines[i];
            struct probe probe;
            is_whole = machine->standing == STANDING_MEMBER && serves(machine) &&
                       probe_group(machine, group, &probe) && probe.role == RAFT_LEADER &&
                       probe_is_as_wanted(machine, group, &probe);
        }
        if (!is_whole) {
            return false;
        }
    }
    return true;
}

/* A member to part with.  Its number, should it be forgotten, is that of its present directory. */
static struct sim_machine *victim_draw(struct sim *sim)
{
    struct sim_machine *machine = &sim->machines[prng_below(&sim->prng, sim->count)];
    bool may = machine->standing == STANDING_MEMBER && serves(machine) && leaving(sim) == NULL;
    if (!may || !are_whole(sim)) {
        return NULL;
    }
    machine->incarnation = machine->node->meta.identity;
    machine->listed_epoch = 0;
    return machine;
}

/* The cluster can do without it. */
static struct sim_machine *leaver_draw(struct sim *sim)
{
    struct sim_machine *machine = victim_draw(sim);
    if (machine == NULL || count_of(sim, STANDING_MEMBER) <= MEMBERS_MIN) {
        return NULL;
    }
    machine->standing = STANDING_LEAVING;
    return machine;
}

static bool forget(struct sim *sim)
{
    return leaver_draw(sim) != NULL;
}

static bool drain(struct sim *sim)
{
    struct sim_machine *machine = leaver_draw(sim);
    if (machine == NULL) {
        return false;
    }
    machine->is_draining = true;
    machine->has_left = false;
    return true;
}

static bool replace(struct sim *sim)
{
    struct sim_machine *machine = all_have_joined(sim) ? victim_draw(sim) : NULL;
    if (machine == NULL ||
        (count_of(sim, STANDING_MEMBER) <= MEMBERS_MIN && sim->count == SIM_MACHINES_MAX)) {
        return false;
    }
    sim_say(sim, "%s never comes back", sim_node_name(machine->machine));
    machine->standing = STANDING_LEAVING;
    machine->is_banned = true;
    sim->core &= ~(1u << machine->number);
    sim_machine_crash(machine, /* power_loss= */ true);
    if (count_of(sim, STANDING_MEMBER) < MEMBERS_MIN) {
        struct sim_machine *next = sim_machine_add(sim);
        sim_machine_seeds_set(next);
    }
    return true;
}

/* With three members the old one cannot be forgotten before a fourth is there. */
static bool wipe(struct sim *sim)
{
    struct sim_machine *machine =
        all_have_joined(sim) && count_of(sim, STANDING_MEMBER) > MEMBERS_MIN ? victim_draw(sim)
                                                                             : NULL;
    if (machine == NULL) {
        return false;
    }
    sim_say(sim, "%s loses its disk", sim_node_name(machine->machine));
    machine->standing = STANDING_LEAVING;
    machine->is_wiped = true;
    sim_machine_crash(machine, /* power_loss= */ true);
    sim_disk_wipe(machine->machine);
    checks_on_wipe(machine);
    sim_machine_seeds_set(machine);
    return true;
}

static const struct {
    enum fault fault;
    bool (*begin)(struct sim *sim);
} changes[] = {
    { FAULT_JOIN, join }, { FAULT_FORGET, forget }, { FAULT_REPLACE, replace },
    { FAULT_WIPE, wipe }, { FAULT_DRAIN, drain },
};

bool sim_members_change(struct sim *sim, enum fault fault)
{
    for (size_t i = 0; i < ARRAY_COUNT(changes); i++) {
        if (changes[i].fault == fault) {
            return sim->phase == PHASE_SAFETY && changes[i].begin(sim);
        }
    }
    return false;
}

/* ── going on ────────────────────────────────────────────────────────────────────────────────── */

/* The command refuses to forget a node that lives; but who is taken for dead may live. */
static void forget_at(struct node *node, uint32_t at)
{
    struct buffer error = { 0 };
    struct buffer body = { 0 };
    if (node->host.forget(&node->host, at, &error) == HOST_CHANGE_REFUSED) {
        members_change_encode(MEMBER_REMOVE, &node->members.items[at], &body);
        (void)shard_propose_entry(&node->shard, GROUP_META, ENTRY_META, buffer_slice(&body));
    }
    buffer_free(&body);
    buffer_free(&error);
}

/* CLUSTER FORGET, as the command does it.  A node does not forget itself: first another one has to
 * lead. */
static void ask_to_forget(struct sim_machine *coordinator, const struct sim_machine *machine)
{
    struct node *node = coordinator->node;
    if (coordinator == machine) {
        (void)coordinator_failover(node, GROUP_META, /* target= */ 0);
        return;
    }
    for (uint32_t i = 0; i < node->members.count; i++) {
        if (node->members.items[i].number == number_of(machine)) {
            sim_say(coordinator->sim, "%s: CLUSTER FORGET %s", sim_node_name(coordinator->machine),
                    node->members.items[i].id);
            forget_at(node, i);
            return;
        }
    }
}

/* Gone from the list, or LEFT on it. */
static bool has_gone(const struct sim_machine *coordinator, const struct sim_machine *machine)
{
    const struct member *member = members_find(&coordinator->node->members, number_of(machine));
    return !is_listed(coordinator, machine) ||
           (machine->is_draining && member->state == MEMBER_LEFT);
}

/* CLUSTER DRAIN, again and again: the entry may be lost with its leader. */
static void ask_to_drain(struct sim_machine *coordinator, const struct sim_machine *machine)
{
    struct node *node = coordinator->node;
    const struct member *member = members_find(&node->members, number_of(machine));
    struct buffer error = { 0 };
    if (member->state != MEMBER_DRAINING) {
        sim_say(coordinator->sim, "%s: CLUSTER DRAIN %s", sim_node_name(coordinator->machine),
                member->id);
        (void)node->host.drain(&node->host, (uint32_t)(member - node->members.items),
                               /* is_cancelled= */ false, &error);
    }
    buffer_free(&error);
}

/* CONFIG SET CLUSTER down-replace-after, until it is so. */
static void set_down_replace(struct sim *sim)
{
    struct sim_machine *coordinator = sim->phase == PHASE_SAFETY ? coordinator_of(sim) : NULL;
    char value[16];
    int size = snprintf(value, sizeof(value), "%u", sim->plan.down_replace_s);
    struct slice pair[2] = { slice_from("down-replace-after"), { value, (size_t)size } };
    struct buffer error = { 0 };
    if (coordinator != NULL && sim->plan.down_replace_s != 0 &&
        coordinator->node->members.settings.values[SETTING_DOWN_REPLACE_AFTER] !=
            sim->plan.down_replace_s) {
        struct host *host = &coordinator->node->host;
        (void)host->settings_set(host, pair, ARRAY_COUNT(pair), &error);
    }
    buffer_free(&error);
}

/* Forgotten, and out of every group: it may be switched off for good, run on, or come back. */
static void say_good_bye(struct sim *sim, struct sim_machine *machine)
{
    sim_say(sim, "%s is out", sim_node_name(machine->machine));
    sim->changes_done += 1;
    machine->incarnation = 0;
    machine->is_draining = false;
    if (machine->is_wiped) { /* another data directory asks under this id */
        machine->is_wiped = false;
        machine->standing = STANDING_MEMBER;
        sim->core |= 1u << machine->number;
        return;
    }
    machine->standing = STANDING_OUT;
    machine->is_banned = prng_chance(&sim->prng, 1, 2);
    if (machine->is_banned && machine->has_node) {
        sim_machine_crash(machine, /* power_loss= */ false);
    } else if (!machine->is_banned && !machine->has_node) {
        machine->restart_ns = sim_now(sim) + sim_draw_ns(sim, SIM_S);
    }
    sim->core &= ~(1u << machine->number);
}

void sim_members_step(struct sim *sim)
{
    sim->operator_ns = sim_now(sim) + LOOK_EVERY_NS;
    set_down_replace(sim);
    struct sim_machine *machine = leaving(sim);
    struct sim_machine *coordinator = machine != NULL ? coordinator_of(sim) : NULL;
    if (coordinator == NULL) {
        return;
    }
    if (has_gone(coordinator, machine)) {
        bool has_ended = machine->has_left || !machine->is_draining;
        if (machine->listed_epoch != 0 && has_ended && is_out(sim, machine)) {
            say_good_bye(sim, machine);
        }
        return;
    }
    machine->listed_epoch = coordinator->node->members.epoch;
    if (machine->is_draining) {
        ask_to_drain(coordinator, machine);
    } else if (coordinator->node->members.count > MEMBERS_MIN) {
        ask_to_forget(coordinator, machine);
    }
}

/* On its own list it is: one that was DOWN is taken back. */
static bool is_active(const struct sim_machine *machine)
{
    if (machine->sim->plan.nodes == 1) {
        return true;
    }
    const struct member *self =
        serves(machine) ? members_find(&machine->node->members, number_of(machine)) : NULL;
    return self != NULL && self->state == MEMBER_ACTIVE;
}

bool sim_members_are_settled(const struct sim *sim, char *out_why, size_t why_size)
{
    for (uint32_t i = 0; i < sim->count; i++) {
        if (sim->machines[i].standing == STANDING_LEAVING) {
            (void)snprintf(out_why, why_size, "node%u is not out of all groups", i + 1);
            return false;
        }
        if ((sim->core >> i & 1) != 0 && !is_active(&sim->machines[i])) {
            (void)snprintf(out_why, why_size, "node%u is not an active member", i + 1);
            return false;
        }
    }
    return true;
}

uint32_t sim_members_spare(const struct sim *sim)
{
    uint32_t members = 0; /* by the list; who still asks to become one has no vote anywhere */
    for (uint32_t i = 0; i < sim->count; i++) {
        const struct sim_machine *machine = &sim->machines[i];
        members += machine->standing == STANDING_MEMBER && is_active(machine);
    }
    uint32_t voters = sim->plan.replication < members ? sim->plan.replication : members;
    uint32_t spare = (voters - 1) / 2;
    bool may_change = sim->plan.members_max > sim->plan.nodes;
    if (may_change && (count_of(sim, STANDING_LEAVING) > 0 || !are_whole(sim))) {
        return 0; /* somebody who left has not been replaced everywhere */
    }
    return sim->plan.bad_disk != UINT32_MAX && spare > 0 ? spare - 1 : spare;
}
