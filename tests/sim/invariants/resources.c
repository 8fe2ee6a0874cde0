/*
 * resources.c — I25 and I26: no node spins, and its disk does not grow for ever.
 */
#include "checks.h"

#include <inttypes.h>

enum {
    TURNS_PER_SECOND_MAX = 60000, /* under load; a node that spins takes more than 100 000 */
    DISK_BYTES_MAX = 64 << 20,    /* what a life writes is far less, several times over */
};

void check_resources_turn(struct sim_machine *machine)
{
    struct sim *sim = machine->sim;
    uint64_t passed_ns = sim_now(sim) - machine->turns_since_ns;
    if (passed_ns < SIM_S) {
        return;
    }
    uint64_t turns = sim_node_turns(machine->machine) - machine->turns_seen;
    if (turns * SIM_S / passed_ns > TURNS_PER_SECOND_MAX) {
        sim_fail(sim, "I26 no busy loop", "%s: %" PRIu64 " turns in %" PRIu64 " ms",
                 sim_node_name(machine->machine), turns, passed_ns / SIM_MS);
    }
    if (sim_disk_used(machine->machine) > DISK_BYTES_MAX) {
        sim_fail(sim, "I25 bounded disk", "%s: %" PRIu64 " bytes on disk",
                 sim_node_name(machine->machine), sim_disk_used(machine->machine));
    }
    machine->turns_seen += turns;
    machine->turns_since_ns = sim_now(sim);
}
