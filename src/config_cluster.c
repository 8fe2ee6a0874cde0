/*
 * config_cluster.c — what the options say about the cluster: addresses, seeds, and what must fit
 * together.
 *
 * Read next: config.h, node_start.c.
 */
#include "config.h"

#include "base/text.h"

#include <arpa/inet.h>

enum { CLUSTER_PORT_OFFSET = 1000 };

bool config_is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1) {
        return (ntohl(v4.s_addr) >> 24) == 127;
    }
    if (inet_pton(AF_INET6, host, &v6) == 1) {
        return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
    }
    return strcmp(host, "localhost") == 0;
}

static bool is_numeric(const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

/* Listening there means listening everywhere; nobody can dial it. */
static bool is_wildcard(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1) {
        return v4.s_addr == INADDR_ANY;
    }
    return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_UNSPECIFIED(&v6);
}

/* ── derived ─────────────────────────────────────────────────────────────────────────────────── */

bool config_wants_cluster(const struct config *config)
{
    return config->seed[0] != '\0' || config->cluster_port != 0;
}

uint16_t config_cluster_port(const struct config *config)
{
    if (config->cluster_port != 0) {
        return config->cluster_port;
    }
    bool has_room = config->port != 0 && config->port <= UINT16_MAX - CLUSTER_PORT_OFFSET;
    return has_room ? (uint16_t)(config->port + CLUSTER_PORT_OFFSET) : 0;
}

const char *config_announce_host(const struct config *config)
{
    const char *host =
        config->announce_host[0] != '\0' ? config->announce_host : config->host.items[0];
    if (strcmp(host, "localhost") == 0) {
        return "127.0.0.1";
    }
    return is_wildcard(host) ? NULL : host;
}

/* ── seeds ───────────────────────────────────────────────────────────────────────────────────── */

/* "10.0.0.1:8001", "localhost:8001", "[fd00::1]:8001". */
static bool seed_parse(struct slice text, char out_host[CONFIG_HOST_BYTES_MAX], uint16_t *out_port)
{
    const char *colon = text.size > 0 ? memrchr(text.data, ':', text.size) : NULL;
    if (colon == NULL) {
        return false;
    }
    struct slice host = slice_make(text.data, (size_t)(colon - text.data));
    struct slice port = slice_make(colon + 1, text.size - host.size - 1);
    bool is_v6 = host.size > 2 && host.data[0] == '[' && host.data[host.size - 1] == ']';
    if (is_v6) {
        host = slice_make(host.data + 1, host.size - 2);
    }
    int64_t number = 0;
    bool is_port = text_to_i64(port, &number) && number >= 1 && number <= UINT16_MAX;
    if (!is_port || host.size == 0 || host.size >= CONFIG_HOST_BYTES_MAX) {
        return false;
    }
    memcpy(out_host, host.data, host.size);
    out_host[host.size] = '\0';
    *out_port = (uint16_t)number;
    bool has_colon = memchr(host.data, ':', host.size) != NULL;
    return has_colon == is_v6 && (is_numeric(out_host) || strcmp(out_host, "localhost") == 0);
}

/* The next word of a list separated by commas or spaces; empty at the end. */
static struct slice seed_word(struct slice *rest)
{
    if (rest->size == 0) {
        return *rest; /* may have no data to point into */
    }
    size_t at = 0;
    while (at < rest->size && (rest->data[at] == ',' || rest->data[at] == ' ')) {
        at++;
    }
    size_t end = at;
    while (end < rest->size && rest->data[end] != ',' && rest->data[end] != ' ') {
        end++;
    }
    struct slice word = slice_make(rest->data + at, end - at);
    *rest = slice_make(rest->data + end, rest->size - end);
    return word;
}

bool config_seed_next(struct slice *rest, char out_host[CONFIG_HOST_BYTES_MAX], uint16_t *out_port)
{
    struct slice word = seed_word(rest);
    return word.size > 0 && seed_parse(word, out_host, out_port);
}

bool config_seeds_ok(struct slice value, struct buffer *error)
{
    uint32_t count = 0;
    struct slice word = seed_word(&value);
    for (; word.size > 0; word = seed_word(&value)) {
        char host[CONFIG_HOST_BYTES_MAX];
        uint16_t port = 0;
        if (!seed_parse(word, host, &port)) {
            buffer_append_text(error, "argument must be numeric addresses with the cluster's port, "
                                      "such as 10.0.0.1:8001 or [fd00::1]:8001");
            return false;
        }
        if (++count > CONFIG_SEEDS_MAX) {
            buffer_printf(error, "at most %d addresses", (int)CONFIG_SEEDS_MAX);
            return false;
        }
    }
    return true;
}

/* ── what must fit together ──────────────────────────────────────────────────────────────────── */

static const char *cluster_trouble(const struct config *config)
{
    if (config->election_timeout_ms < 2 * config->heartbeat_ms) {
        return "election-timeout-ms: must be at least twice heartbeat-ms: one lost heartbeat is no "
               "reason for an election";
    }
    if (config->announce_host[0] != '\0' && config_announce_host(config) == NULL) {
        return "announce-host: nobody can reach a wildcard address";
    }
    if (config->announce_host[0] != '\0' && !is_numeric(config_announce_host(config))) {
        return "announce-host: must be a numeric address such as 10.0.0.1";
    }
    if (config->slot_port != 0 &&
        (config->slot_port == config->port || config->slot_port == config_cluster_port(config))) {
        return "slot-port: must differ from port and cluster-port";
    }
    if (!config_wants_cluster(config)) {
        return NULL;
    }
    if (!config->appendonly) {
        return "appendonly: a member of a cluster keeps its votes on disk: with seed or "
               "cluster-port it must be yes";
    }
    if (config_announce_host(config) == NULL) {
        return "announce-host: must say where other nodes reach this one, as host is a wildcard";
    }
    if (config->cluster_port != 0 && config->cluster_port == config->port) {
        return "cluster-port: must differ from port";
    }
    if (config->port != 0 && config_cluster_port(config) == 0) {
        return "cluster-port: must be given, as port + 1000 is no port";
    }
    return NULL;
}

bool config_cluster_ok(const struct config *config, struct buffer *error)
{
    const char *trouble = cluster_trouble(config);
    if (trouble != NULL) {
        buffer_append_text(error, trouble);
    }
    return trouble == NULL;
}
