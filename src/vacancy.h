/*
 * vacancy.h — groups this node does not belong to any more: it asks, forgets, deletes.
 *
 * A replica that its group has removed is not told so.  It notices that the leader is silent, or
 * finds in its own log that it is leaving, and asks whoever leads:
 *
 *   the removed replica                    the group's leader
 *   GONE_ASK  groups       ────────────>   surely no member?  (raft_is_gone)
 *             GONE         <────────────   group, term, index
 *   VACATE (cluster/vacate.c): log, contents, sessions go; it stays a suspect
 *   the reset is synced -> snapshot files are deleted -> the directory is synced
 *   and not before that a snapshot of the group may be written again, or the log be released
 *
 * Every step can be repeated: after a crash the log says that the replica is vacated, and files
 * that are left are deleted; without that record it asks again.
 *
 * Read next: src/cluster/vacate.c, hints.h, docs/decisions/0007-hosting.md.
 */
#pragma once

#include "replica.h"

struct io_event;
struct node;
struct peer_event;
struct vacancy;

enum { /* RAFT channel */
       PEER_FRAME_GONE_ASK = 5,
       PEER_FRAME_GONE = 6,
};

/* dir: where the snapshot files are; NULL: there are none. */
struct vacancy *vacancy_new(const char *dir, uint32_t replicas);
/* Waits for what is under way; before snapshots and transfers wait for theirs. */
void vacancy_free(struct node *node);

/* Once per iteration: files that go. */
void vacancy_step(struct node *node);
/* A few times a second: asks where this node may be removed. */
void vacancy_ask(struct node *node);
/* A frame of a RAFT link: true when it was for us. */
bool vacancy_on_frame(struct node *node, const struct peer_event *event);
/* Events of the files it deletes. */
bool vacancy_owns(const struct vacancy *vacancy, const struct io_event *event);
void vacancy_on_event(struct node *node, const struct io_event *event);
/* Something can be done right now, without waiting for the disk. */
bool vacancy_has_work(const struct node *node);
