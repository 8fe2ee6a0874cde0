/*
 * io_file.h — one file operation on the real machine, executed now.  Private to src/io.
 */
#pragma once

#include "io/io.h"

/* Executes `op` on the calling thread, sets and returns op->result. */
int64_t io_file_execute(struct io_file_op *op);
