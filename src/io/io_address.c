/*
 * io_address.c — inet_pton and inet_ntop with the ports put on.
 */
#include "io/io_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

int io_address_parse(const char *host, uint16_t port, struct io_address *out_address)
{
    const char *numeric = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
    if (inet_pton(AF_INET, numeric, &v4.sin_addr) == 1) {
        memcpy(&out_address->storage, &v4, sizeof(v4));
        out_address->size = sizeof(v4);
        return 0;
    }
    if (inet_pton(AF_INET6, numeric, &v6.sin6_addr) == 1) {
        memcpy(&out_address->storage, &v6, sizeof(v6));
        out_address->size = sizeof(v6);
        return 0;
    }
    return -EINVAL;
}

void io_address_print(const struct io_address *address, char *out, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->storage.ss_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, &address->storage, sizeof(v6));
        (void)inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof(host));
        (void)snprintf(out, size, "[%s]:%u", host, ntohs(v6.sin6_port));
        return;
    }
    struct sockaddr_in v4;
    memcpy(&v4, &address->storage, sizeof(v4));
    if (address->storage.ss_family == AF_INET) {
        (void)inet_ntop(AF_INET, &v4.sin_addr, host, sizeof(host));
    }
    (void)snprintf(out, size, "%s:%u", host, io_address_port(address));
}

uint16_t io_address_port(const struct io_address *address)
{
    if (address->storage.ss_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, &address->storage, sizeof(v6));
        return ntohs(v6.sin6_port);
    }
    if (address->storage.ss_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, &address->storage, sizeof(v4));
        return ntohs(v4.sin_port);
    }
    return 0;
}
