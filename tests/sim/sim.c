/*
 * sim.c — what all parts of the simulated cluster need: the time, chance, and saying that something
 * is wrong.
 */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>

uint64_t sim_now(const struct sim *sim)
{
    return sim_world_now_ns(sim->world);
}

void sim_fail(struct sim *sim, const char *invariant, const char *format, ...)
{
    if (sim->invariant != NULL) {
        return;
    }
    sim->invariant = invariant;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(sim->detail, sizeof(sim->detail), format, args);
    va_end(args);
    sim_say(sim, "FAIL %s: %s", invariant, sim->detail);
}

void sim_say(struct sim *sim, const char *format, ...)
{
    if (!sim->is_traced) {
        return;
    }
    printf("%12.3f ms  ", (double)sim_now(sim) / 1e6);
    va_list args;
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    printf("\n");
}

uint64_t sim_draw_ns(struct sim *sim, uint64_t mean_ns)
{
    uint64_t bits = prng_next(&sim->prng);
    uint64_t halvings = bits == 0 ? 63 : (uint64_t)__builtin_ctzll(bits);
    uint64_t fraction = prng_below(&sim->prng, 1024);
    return mean_ns * (halvings * 1024 + fraction) / 1024 * 693 / 1000 + 1;
}
