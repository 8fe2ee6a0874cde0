/*
 * assert.h — assertions that stay on in release builds.
 *
 * ASSERT is for programmer errors only: a state the code itself must make impossible.  Bad input
 * and a bad environment are never asserted; they are errors that are returned.  ASSERT_SLOW is for
 * checks that cost more than constant time; it is on in debug and sanitizer builds.
 */
#pragma once

#include "base/compiler.h"

/* Prints one line to stderr and aborts.  Never returns. */
NORETURN COLD void panic_fail(const char *file, int line, const char *condition);

#define ASSERT(condition)                                                                          \
    do {                                                                                           \
        if (UNLIKELY(!(condition))) {                                                              \
            panic_fail(__FILE__, __LINE__, #condition);                                            \
        }                                                                                          \
    } while (0)

#ifdef MINIDB_SLOW_CHECKS
#define ASSERT_SLOW(condition) ASSERT(condition)
#else
#define ASSERT_SLOW(condition) ((void)0)
#endif

#define UNREACHABLE() panic_fail(__FILE__, __LINE__, "unreachable")
