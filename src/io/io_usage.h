/*
 * io_usage.h — what the process uses of the machine, as the operating system counts it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct io_usage {
    uint64_t cpu_user_us, cpu_system_us;                   /* this process, all threads */
    uint64_t cpu_user_children_us, cpu_system_children_us; /* ended children */
    uint64_t resident_bytes;
    uint64_t system_memory_bytes;
    uint32_t process_id;
};

/* Costs some microseconds. */
void io_usage_read(struct io_usage *out_usage);
/* "Linux 6.1.0 x86_64", NUL-terminated, cut to size. */
void io_os_name(char *out, size_t size);
