/*
 * conn_list.c — the lists of connections, and the table that knows them by address.
 *
 * Read next: conn.h.
 */
#include "network/conn.h"

#include "base/assert.h"
#include "base/mem.h"

enum { BUCKETS_FIRST = 64 };

void conn_list_push(struct conn_list *list, enum conn_list_kind kind, struct conn *conn)
{
    struct conn_link *link = &conn->links[kind];
    ASSERT(link->previous == NULL);
    ASSERT(link->next == NULL);
    link->previous = list->last;
    if (list->last != NULL) {
        list->last->links[kind].next = conn;
    } else {
        list->first = conn;
    }
    list->last = conn;
}

void conn_list_remove(struct conn_list *list, enum conn_list_kind kind, struct conn *conn)
{
    struct conn_link *link = &conn->links[kind];
    if (link->previous != NULL) {
        link->previous->links[kind].next = link->next;
    } else {
        ASSERT(list->first == conn);
        list->first = link->next;
    }
    if (link->next != NULL) {
        link->next->links[kind].previous = link->previous;
    } else {
        ASSERT(list->last == conn);
        list->last = link->previous;
    }
    *link = (struct conn_link){ 0 };
}

/* ── the table ───────────────────────────────────────────────────────────────────────────────── */

static struct conn **bucket_of(const struct server *server, const void *address)
{
    uint64_t mixed = (uint64_t)(uintptr_t)address * 0x9e3779b97f4a7c15u;
    return &server->buckets[(mixed >> 32) & (server->buckets_count - 1)];
}

static void table_grow(struct server *server)
{
    uint32_t count = server->buckets_count == 0 ? BUCKETS_FIRST : server->buckets_count * 2;
    mem_free(server->buckets);
    server->buckets = mem_zalloc(count * sizeof(struct conn *));
    server->buckets_count = count;
    for (struct conn *conn = server->open.first; conn != NULL;
         conn = conn->links[CONN_LIST_LIFE].next) {
        struct conn **bucket = bucket_of(server, conn);
        conn->next_in_bucket = *bucket;
        *bucket = conn;
    }
}

void conn_table_add(struct server *server, struct conn *conn)
{
    if (server->stats.clients >= server->buckets_count) {
        table_grow(server);
    }
    struct conn **bucket = bucket_of(server, conn);
    conn->next_in_bucket = *bucket;
    *bucket = conn;
}

void conn_table_remove(struct server *server, struct conn *conn)
{
    struct conn **at = bucket_of(server, conn);
    while (*at != conn) {
        ASSERT(*at != NULL);
        at = &(*at)->next_in_bucket;
    }
    *at = conn->next_in_bucket;
}

bool conn_table_has(const struct server *server, const void *owner)
{
    if (server->buckets_count == 0) {
        return false;
    }
    const struct conn *conn = *bucket_of(server, owner);
    while (conn != NULL && conn != owner) {
        conn = conn->next_in_bucket;
    }
    return conn != NULL;
}

void conn_table_free(struct server *server)
{
    mem_free(server->buckets);
    server->buckets = NULL;
    server->buckets_count = 0;
}
