/*
 * prng.h — a seeded pseudo-random generator (xoshiro256**, Blackman and Vigna 2018).
 *
 * Randomness is a parameter: whoever needs some takes a struct prng pointer.  Not for secrets.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct prng {
    uint64_t state[4];
};

void prng_init(struct prng *prng, uint64_t seed);
/* A generator of its own for a part of the program, fixed by the parent's seed and `name`. */
struct prng prng_fork(struct prng *parent, const char *name);
uint64_t prng_next(struct prng *prng);
/* Uniform in [0, bound); bound > 0. */
uint64_t prng_below(struct prng *prng, uint64_t bound);
/* True with probability numerator/denominator. */
bool prng_chance(struct prng *prng, uint32_t numerator, uint32_t denominator);
