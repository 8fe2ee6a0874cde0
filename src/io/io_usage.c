/*
 * io_usage.c — getrusage, sysconf and /proc/self/statm.
 */
#include "io/io_usage.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

static uint64_t microseconds(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

static uint64_t resident_bytes(uint64_t page_bytes)
{
    char text[128];
    int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return 0;
    }
    ssize_t size = read(file, text, sizeof(text) - 1);
    (void)close(file);
    if (size <= 0) {
        return 0;
    }
    text[size] = '\0';
    unsigned long long total = 0;
    unsigned long long resident = 0;
    return sscanf(text, "%llu %llu", &total, &resident) == 2 ? resident * page_bytes : 0;
}

void io_usage_read(struct io_usage *out_usage)
{
    struct rusage self;
    struct rusage children;
    memset(&self, 0, sizeof(self));
    memset(&children, 0, sizeof(children));
    (void)getrusage(RUSAGE_SELF, &self);
    (void)getrusage(RUSAGE_CHILDREN, &children);
    uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    *out_usage = (struct io_usage){
        .cpu_user_us = microseconds(self.ru_utime),
        .cpu_system_us = microseconds(self.ru_stime),
        .cpu_user_children_us = microseconds(children.ru_utime),
        .cpu_system_children_us = microseconds(children.ru_stime),
        .resident_bytes = resident_bytes(page_bytes),
        .system_memory_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * page_bytes,
        .process_id = (uint32_t)getpid(),
    };
}

void io_os_name(char *out, size_t size)
{
    struct utsname name;
    if (uname(&name) < 0) {
        memset(&name, 0, sizeof(name));
    }
    (void)snprintf(out, size, "%s %s %s", name.sysname, name.release, name.machine);
}
