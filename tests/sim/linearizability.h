/*
 * linearizability.h — does a history of operations on one key have a sequential explanation?
 *
 * A history is a set of operations with the moment each was invoked and the moment its answer
 * came back.  It is linearizable when every operation can be given one instant between the two at
 * which it took effect, so that all answers are right (Herlihy and Wing 1990).  An operation whose
 * answer never came (returned == LIN_NEVER) may have taken effect at any time after its
 * invocation, or never.  One that was refused for certain does not belong into the history: if it
 * took effect nevertheless, what it wrote has no writer and the history has no explanation.
 *
 * Method: Wing and Gong's search, in the order of Lowe's "just in time" linearization (2017): we
 * walk through the returns in order of time and keep the set of all configurations that explain
 * everything so far.  A configuration is the state of the key plus the set of operations under way
 * that have already taken effect.  At each return those configurations survive in which the
 * operation took effect, after any sequence of others under way.  What keeps the sets small:
 *
 *   greedy reads     a read that is right in the current state is placed there: it can do no harm
 *   domination       of two configurations that differ only in which reads were placed and which
 *                    unanswered operations took effect, the one with more of the former and fewer
 *                    of the latter can do whatever the other can
 *   twins            of operations with the same effect only the one that returns first is tried
 *   doomed texts     a text that no answer ever showed, nor any continuation of it, is only
 *                    existence and (where something is appended) length
 *
 * Read next: linearizability.c, linearizability_test.c.
 */
#pragma once

#include "base/compiler.h"
#include "base/slice.h"

#include <stdint.h>

enum lin_kind {
    LIN_GET,    /* -> LIN_NIL or LIN_TEXT */
    LIN_EXISTS, /* -> LIN_NUMBER 0 or 1 */
    LIN_SET,    /* argument -> LIN_OK */
    LIN_SETNX,  /* argument -> LIN_OK (was missing) or LIN_NIL (nothing done) */
    LIN_GETSET, /* argument -> the old value: LIN_NIL or LIN_TEXT */
    LIN_DEL,    /* -> LIN_NUMBER 0 or 1 */
    LIN_INCR,   /* -> LIN_NUMBER, or LIN_NOT_A_NUMBER */
    LIN_APPEND, /* argument -> LIN_NUMBER, the new length */
    LIN_KINDS
};

enum lin_answer { LIN_OK, LIN_NIL, LIN_TEXT, LIN_NUMBER, LIN_NOT_A_NUMBER };

#define LIN_NEVER UINT64_MAX

struct lin_op {
    enum lin_kind kind;
    uint32_t client;  /* for reports */
    uint64_t invoked; /* any clock that all operations share; at equal times they overlap */
    uint64_t returned;
    struct slice argument; /* borrowed */
    enum lin_answer answer;
    struct slice text; /* LIN_TEXT; borrowed */
    int64_t number;
};

enum {
    LIN_OPEN_MAX = 512,           /* operations under way at a time, unanswered ones included */
    LIN_CONFIGS_MAX = 1 << 16,    /* configurations looked at for one return */
    LIN_STATES_MAX = 1 << 16,     /* different states of the key */
    LIN_TEXT_BYTES_MAX = 64 << 20 /* of all of them */
};

enum lin_verdict {
    LIN_YES,
    LIN_NO,      /* report: the first return that nothing explains */
    LIN_GAVE_UP, /* report: which bound was met */
};

struct lin_report {
    size_t op;              /* LIN_NO: the operation whose answer is inexplicable */
    const char *why;        /* LIN_GAVE_UP */
    uint64_t configs_tried; /* work done */
    uint32_t configs_peak;
};

/* Checks a history that begins with the key missing. */
MUST_USE enum lin_verdict lin_check(const struct lin_op *ops, size_t count,
                                    struct lin_report *out_report);
