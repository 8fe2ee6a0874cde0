/*
 * io_worker.h — threads that run file operations, so that no disk can stall the loop.
 *
 * One thread (the loop's) submits and takes; the workers execute.  Private to src/io.
 */
#pragma once

#include "io/io.h"

struct io_workers;

/* `notify(context)` is called, on a worker's thread, after each operation that ended. */
struct io_workers *io_workers_new(void (*notify)(void *context), void *context);
/* Waits until everything submitted has ended. */
void io_workers_free(struct io_workers *workers);
void io_workers_submit(struct io_workers *workers, struct io_file_op *op);
/* True when io_workers_take would return something. */
bool io_workers_has_done(struct io_workers *workers);
/* The operations that ended since the last call, linked by `next`, in the order they ended. */
struct io_file_op *io_workers_take(struct io_workers *workers);
