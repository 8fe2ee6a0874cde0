/*
 * assert.c — the one way a broken invariant ends the process.
 */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

void panic_fail(const char *file, int line, const char *condition)
{
    (void)fprintf(stderr, "minidb: broken invariant at %s:%d: %s\n", file, line, condition);
    abort();
}
