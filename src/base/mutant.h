/*
 * mutant.h — known bugs, compiled in on demand to prove that the tests find them.
 *
 * MUTANT(MUT_X) is the constant false unless the compiler is given -DMUT_X; then it is true and
 * the code around it has the bug of that name.  tests/unit/cluster/mutants.sh builds the Raft core
 * with each of its bugs and demands that the random test catches it; tests/sim/mutants.sh does so
 * with whole nodes and the simulators.  A normal build carries nothing of this.
 */
#pragma once

#define MUTANT(name) MUTANT_PASTE(name)
#define MUTANT_PASTE(value) MUTANT_PICK(MUTANT_ARG_##value)
#define MUTANT_PICK(junk_or_comma) MUTANT_SECOND(junk_or_comma 1, 0, 0)
#define MUTANT_SECOND(ignored, second, ...) (second)
#define MUTANT_ARG_1 0,
