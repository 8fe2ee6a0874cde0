/*
 * io_address.h — numeric addresses: from text and back.  No resolver, hence no blocking.
 *
 * Private to src/io.
 */
#pragma once

#include "base/compiler.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct io_address {
    struct sockaddr_storage storage;
    socklen_t size;
};

/* "127.0.0.1", "::1" or "localhost".  -EINVAL when it is none of these. */
MUST_USE int io_address_parse(const char *host, uint16_t port, struct io_address *out_address);
/* "127.0.0.1:7001" or "[::1]:7001", NUL-terminated, cut to size. */
void io_address_print(const struct io_address *address, char *out, size_t size);
uint16_t io_address_port(const struct io_address *address);
