/*
 * checks.c — see checks.h.
 */
#include "checks.h"

#include "base/mem.h"

struct checks {
    struct check_leaders *leaders;
    struct check_chain *chain;
    struct check_promises *promises;
    struct check_digests *digests;
    struct check_gossip *gossip;
    struct check_hosting *hosting;
    uint64_t fingerprints[SIM_MACHINES_MAX][SIM_GROUPS]; /* when last looked at */
};

struct checks *checks_new(struct sim *sim)
{
    struct checks *checks = mem_zalloc(sizeof(*checks));
    checks->leaders = check_leaders_new(sim);
    checks->chain = check_chain_new(sim);
    checks->promises = check_promises_new(sim);
    checks->digests = check_digests_new(sim);
    checks->gossip = check_gossip_new(sim);
    checks->hosting = check_hosting_new(sim);
    return checks;
}

void checks_free(struct checks *checks)
{
    check_leaders_free(checks->leaders);
    check_chain_free(checks->chain);
    check_promises_free(checks->promises);
    check_digests_free(checks->digests);
    check_gossip_free(checks->gossip);
    check_hosting_free(checks->hosting);
    mem_free(checks);
}

void checks_after_turn(struct sim_machine *machine)
{
    struct checks *checks = machine->sim->checks;
    struct probe probe;
    for (uint32_t group = 0; group < SIM_GROUPS; group++) {
        uint64_t *seen = &checks->fingerprints[machine->number][group];
        uint64_t fingerprint = probe_fingerprint(machine, group);
        if (fingerprint == *seen || !probe_group(machine, group, &probe)) {
            continue;
        }
        *seen = fingerprint;
        if (probe.raft != NULL) {
            check_chain_turn(checks->chain, machine, group, &probe);
            check_leaders_turn(checks->leaders, checks->chain, machine, group, &probe);
            check_promises_turn(checks->promises, machine, group, &probe);
            check_gossip_group(checks->gossip, machine, group, &probe);
            check_hosting_turn(checks->hosting, checks->chain, machine, group, &probe);
        }
        check_digests_turn(checks->digests, machine, group, &probe);
    }
    check_gossip_turn(checks->gossip, machine);
    check_resources_turn(machine);
}

void checks_on_start(struct sim_machine *machine)
{
    struct checks *checks = machine->sim->checks;
    struct probe probe;
    check_gossip_start(checks->gossip, machine);
    for (uint32_t group = 0; group < SIM_GROUPS; group++) {
        checks->fingerprints[machine->number][group] = 0;
        check_chain_start(checks->chain, machine, group);
        check_digests_start(checks->digests, machine, group);
        if (probe_group(machine, group, &probe) && probe.raft != NULL) {
            check_promises_start(checks->promises, machine, group, &probe);
            check_hosting_start(checks->hosting, machine, group, &probe);
        }
    }
}

/* What it committed, or said of itself, in its last turn others may know before it died. */
void checks_on_crash(struct sim_machine *machine)
{
    struct checks *checks = machine->sim->checks;
    struct probe probe;
    (void)check_gossip_own(checks->gossip, machine);
    for (uint32_t group = 0; group < SIM_GROUPS; group++) {
        if (probe_group(machine, group, &probe) && probe.raft != NULL) {
            check_chain_turn(checks->chain, machine, group, &probe);
        }
    }
}

void checks_on_wipe(const struct sim_machine *machine)
{
    check_promises_wipe(machine->sim->checks->promises, machine);
    check_hosting_wipe(machine->sim->checks->hosting, machine);
}

void checks_on_leave(const struct sim_machine *machine)
{
    check_chain_leave(machine->sim->checks->chain, machine);
}

void checks_on_answer(struct sim *sim, const struct sim_op *op)
{
    check_effects_answer(sim, sim->checks->chain, op);
}

struct checks_seen checks_seen(const struct sim *sim)
{
    return (struct checks_seen){
        .elections = check_leaders_elections(sim->checks->leaders),
        .entries = check_chain_entries(sim->checks->chain),
        .digests = check_digests_compared(sim->checks->digests),
    };
}

void checks_end(struct sim *sim)
{
    check_effects_end(sim, sim->checks->chain);
}
