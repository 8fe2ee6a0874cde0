/*
 * members.c — see members.h.
 *
 * Bytes, little-endian; a text is u8 size and its bytes:
 *
 *   member   text id, text host, text zone, u64 incarnation, u16 cluster port, u16 port,
 *            u16 slot port
 *   change   u8 format (2), u8 enum member_change, member
 *   all      u8 format (2), u64 epoch, u64 index, u64 term, u16 size and the configuration
 *            (cluster/confchange.h), u8 count, members in the order in which they joined
 *
 * A member's number is not written: it follows from its id.
 */
#include "members.h"

#include "base/assert.h"
#include "base/endian.h"
#include "base/hash.h"
#include "cluster/confchange.h"
#include "replica.h"

enum {
    MEMBERS_FORMAT = 2,
    MEMBER_FIXED_BYTES = 8 + 2 + 2 + 2,
    MEMBER_BYTES_MAX = 3 * (1 + MEMBER_TEXT_MAX) + MEMBER_FIXED_BYTES,
    MEMBERS_HEADER_BYTES = 1 + 3 * 8 + 2,
};

_Static_assert(MEMBERS_HEADER_BYTES + RAFT_CONFIG_BYTES_MAX + 1 + MEMBERS_MAX * MEMBER_BYTES_MAX <=
                   MEMBERS_BYTES_MAX,
               "a full list keeps its bound");

/* Fixed for ever: every node of a cluster must compute the same numbers. */
static const uint64_t NUMBER_SEED = UINT64_C(0x6d656d6265727331);

static char *member_write(const struct member *member, char *to);
static bool member_read(struct slice *left, struct member *out);
static void member_add(struct members *members, const struct member *member);
static void member_update(struct members *members, const struct member *member);
static void member_remove(struct members *members, const struct member *member);
static bool members_are_sane(const struct members *members);
static uint64_t lone_voter(const struct members *members, const struct raft_config *current);
static const uint8_t *replicas_of(const struct placement *placement, uint32_t group);

/* ── the list ────────────────────────────────────────────────────────────────────────────────── */

uint64_t members_number(const char *id)
{
    uint64_t number = hash_key(slice_from(id), NUMBER_SEED);
    return number != 0 ? number : 1;
}

void members_found(struct members *members, const struct member *self)
{
    ASSERT(self->number == members_number(self->id));
    ASSERT(self->incarnation != 0);
    *members = (struct members){ .epoch = 1, .count = 1, .items = { *self } };
    bool added = raft_config_add(&members->config, self->number, self->incarnation, RAFT_VOTER);
    ASSERT(added);
}

static int member_position(const struct members *members, uint64_t number)
{
    for (uint32_t i = 0; i < members->count; i++) {
        if (members->items[i].number == number) {
            return (int)i;
        }
    }
    return -1;
}

const struct member *members_find(const struct members *members, uint64_t number)
{
    int at = member_position(members, number);
    return at >= 0 ? &members->items[at] : NULL;
}

/* ── changes ─────────────────────────────────────────────────────────────────────────────────── */

void members_change_encode(enum member_change change, const struct member *member,
                           struct buffer *out)
{
    char *start = buffer_reserve(out, 2 + MEMBER_BYTES_MAX);
    start[0] = MEMBERS_FORMAT;
    start[1] = (char)change;
    out->size += (size_t)(member_write(member, start + 2) - start);
}

bool members_change_decode(struct slice body, enum member_change *out_change,
                           struct member *out_member)
{
    if (body.size < 2 || body.data[0] != MEMBERS_FORMAT) {
        return false;
    }
    unsigned change = (unsigned char)body.data[1];
    struct slice left = slice_make(body.data + 2, body.size - 2);
    *out_change = (enum member_change)change;
    return change >= MEMBER_ADD && change <= MEMBER_REMOVE && member_read(&left, out_member) &&
           left.size == 0;
}

bool members_apply(struct members *members, struct slice body, uint64_t index, uint64_t term)
{
    enum member_change change;
    struct member member;
    ASSERT(index > members->index);
    ASSERT(term >= members->term);
    if (!members_change_decode(body, &change, &member)) {
        return false;
    }
    switch (change) {
    case MEMBER_ADD:
        member_add(members, &member);
        break;
    case MEMBER_UPDATE:
        member_update(members, &member);
        break;
    case MEMBER_REMOVE:
        member_remove(members, &member);
        break;
    }
    members->index = index;
    members->term = term;
    return true;
}

/* A member that is there already asked twice, perhaps from another address. */
static void member_add(struct members *members, const struct member *member)
{
    if (member_position(members, member->number) >= 0) {
        member_update(members, member);
        return;
    }
    if (members->count < MEMBERS_MAX) {
        members->items[members->count++] = *member;
        members->epoch++;
    }
}

static bool is_same_node(const struct member *a, const struct member *b)
{
    return a->number == b->number && a->incarnation == b->incarnation && strcmp(a->id, b->id) == 0;
}

static void member_update(struct members *members, const struct member *member)
{
    int at = member_position(members, member->number);
    if (at < 0 || !is_same_node(&members->items[at], member)) {
        return;
    }
    struct member *known = &members->items[at];
    bool is_same = strcmp(known->host, member->host) == 0 &&
                   strcmp(known->zone, member->zone) == 0 && known->port == member->port &&
                   known->cluster_port == member->cluster_port &&
                   known->slot_port == member->slot_port;
    if (!is_same) {
        *known = *member;
        members->epoch++;
    }
}

/* The last one cannot leave: a cluster has a member. */
static void member_remove(struct members *members, const struct member *member)
{
    int at = member_position(members, member->number);
    if (at < 0 || !is_same_node(&members->items[at], member) || members->count == 1) {
        return;
    }
    uint32_t behind = members->count - (uint32_t)at - 1;
    memmove(&members->items[at], &members->items[at + 1], behind * sizeof(members->items[0]));
    members->count--;
    members->items[members->count] = (struct member){ .number = 0 };
    members->epoch++;
}

/* ── bytes ───────────────────────────────────────────────────────────────────────────────────── */

static char *text_write(const char text[MEMBER_TEXT_MAX], char *to)
{
    size_t size = strnlen(text, MEMBER_TEXT_MAX);
    ASSERT(size < MEMBER_TEXT_MAX);
    *to++ = (char)size;
    memcpy(to, text, size);
    return to + size;
}

static char *member_write(const struct member *member, char *to)
{
    to = text_write(member->id, to);
    to = text_write(member->host, to);
    to = text_write(member->zone, to);
    store_u64(to, member->incarnation);
    store_u16(to + 8, member->cluster_port);
    store_u16(to + 10, member->port);
    store_u16(to + 12, member->slot_port);
    return to + MEMBER_FIXED_BYTES;
}

/* The next `size` bytes, or NULL when there are not so many. */
static const char *take(struct slice *left, size_t size)
{
    if (left->size < size) {
        return NULL;
    }
    const char *at = left->data;
    *left = slice_make(at + size, left->size - size);
    return at;
}

static bool text_read(struct slice *left, char out[MEMBER_TEXT_MAX])
{
    const char *head = take(left, 1);
    size_t size = head != NULL ? (unsigned char)*head : 0;
    const char *text = head != NULL && size < MEMBER_TEXT_MAX ? take(left, size) : NULL;
    if (text == NULL || memchr(text, '\0', size) != NULL) {
        return false;
    }
    memcpy(out, text, size);
    return true;
}

static bool member_read(struct slice *left, struct member *out)
{
    *out = (struct member){ .number = 0 };
    if (!text_read(left, out->id) || !text_read(left, out->host) || !text_read(left, out->zone)) {
        return false;
    }
    const char *rest = take(left, MEMBER_FIXED_BYTES);
    if (rest == NULL || out->id[0] == '\0') {
        return false;
    }
    out->number = members_number(out->id);
    out->incarnation = load_u64(rest);
    out->cluster_port = load_u16(rest + 8);
    out->port = load_u16(rest + 10);
    out->slot_port = load_u16(rest + 12);
    return out->incarnation != 0;
}

void members_encode(const struct members *members, struct buffer *out)
{
    ASSERT(members->count >= 1);
    ASSERT(members->count <= MEMBERS_MAX);
    size_t most = MEMBERS_HEADER_BYTES + RAFT_CONFIG_BYTES_MAX + 1 +
                  (size_t)members->count * MEMBER_BYTES_MAX;
    char *start = buffer_reserve(out, most);
    char *to = start;
    size_t config_size = raft_config_encoded_size(&members->config);
    *to = MEMBERS_FORMAT;
    store_u64(to + 1, members->epoch);
    store_u64(to + 9, members->index);
    store_u64(to + 17, members->term);
    store_u16(to + 25, (uint16_t)config_size);
    to += MEMBERS_HEADER_BYTES;
    to += raft_config_encode(&members->config, to);
    *to++ = (char)members->count;
    for (uint32_t i = 0; i < members->count; i++) {
        to = member_write(&members->items[i], to);
    }
    ASSERT((size_t)(to - start) <= most);
    out->size += (size_t)(to - start);
}

bool members_decode(struct members *members, struct slice bytes)
{
    struct members found = { .count = 0 };
    const char *head = take(&bytes, MEMBERS_HEADER_BYTES);
    if (head == NULL || head[0] != MEMBERS_FORMAT) {
        return false;
    }
    found.epoch = load_u64(head + 1);
    found.index = load_u64(head + 9);
    found.term = load_u64(head + 17);
    size_t config_size = load_u16(head + 25);
    const char *config = take(&bytes, config_size);
    const char *count = config != NULL ? take(&bytes, 1) : NULL;
    if (count == NULL || !raft_config_decode(slice_make(config, config_size), &found.config)) {
        return false;
    }
    found.count = (unsigned char)*count;
    if (found.count < 1 || found.count > MEMBERS_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < found.count; i++) {
        if (!member_read(&bytes, &found.items[i])) {
            return false;
        }
    }
    if (bytes.size != 0 || !members_are_sane(&found)) {
        return false;
    }
    *members = found;
    return true;
}

static bool members_are_sane(const struct members *members)
{
    for (uint32_t i = 0; i < members->count; i++) {
        /* The first with this number must be this one: no node stands there twice. */
        if (member_position(members, members->items[i].number) != (int)i) {
            return false;
        }
    }
    return members->epoch >= 1;
}

/* ── who should hold and lead what ───────────────────────────────────────────────────────────── */

void members_target(const struct members *members, const struct placement *placement,
                    uint32_t group, const struct raft_config *current,
                    struct raft_config *out_target)
{
    uint64_t voters[RAFT_VOTERS_MAX];
    uint32_t voters_count = 1;
    ASSERT(members->count >= 1);
    ASSERT(members->count == placement->members_count);
    voters[0] = lone_voter(members, current);
    if (members->count >= 3) {
        const uint8_t *replicas = replicas_of(placement, group);
        voters_count = placement->replicas_count;
        for (uint32_t r = 0; r < voters_count; r++) {
            voters[r] = placement->nodes[replicas[r]];
        }
    }
    struct raft_config target = { .members_count = 0 };
    bool all_learn = group == GROUP_META || members->count < 3;
    for (uint32_t i = 0; i < members->count; i++) {
        const struct member *member = &members->items[i];
        bool votes = false;
        for (uint32_t v = 0; v < voters_count; v++) {
            votes = votes || voters[v] == member->number;
        }
        if (!votes && !all_learn) {
            continue; /* holds nothing of it */
        }
        bool added = raft_config_add(&target, member->number, member->incarnation,
                                     votes ? RAFT_VOTER : RAFT_LEARNER);
        ASSERT(added);
    }
    *out_target = target; /* which may be where `current` lies */
}

static const uint8_t *replicas_of(const struct placement *placement, uint32_t group)
{
    ASSERT(group == GROUP_META || group < placement->partitions);
    return group == GROUP_META ? placement->meta : placement->replicas[group];
}

/* Of two members one votes: with two voters, either one's death would stop the group. */
static uint64_t lone_voter(const struct members *members, const struct raft_config *current)
{
    for (uint32_t i = 0; i < members->count; i++) {
        const struct member *member = &members->items[i];
        int at = raft_config_find(current, member->number);
        if (at >= 0 && current->members[at].incarnation == member->incarnation &&
            (current->members[at].roles & RAFT_VOTER) != 0) {
            return member->number;
        }
    }
    return members->items[0].number;
}

static const struct raft_member *find(const struct raft_config *config, uint64_t node)
{
    int at = raft_config_find(config, node);
    return at >= 0 ? &config->members[at] : NULL;
}

/* Learners of the target come, what the target does not name goes, voters stay what they are.  A
 * node that is there with another incarnation goes first, voter or not, and comes another time. */
static void learners_step(const struct raft_config *current, const struct raft_config *target,
                          struct raft_config *out)
{
    *out = (struct raft_config){ .members_count = 0 };
    for (uint32_t i = 0; i < current->members_count; i++) {
        const struct raft_member *old = &current->members[i];
        const struct raft_member *wanted = find(target, old->node);
        bool is_replaced = wanted != NULL && wanted->incarnation != old->incarnation;
        bool votes = (old->roles & RAFT_VOTER) != 0;
        if (!is_replaced && (votes || wanted != NULL)) {
            bool kept = raft_config_add(out, old->node, old->incarnation, old->roles);
            ASSERT(kept);
        }
    }
    for (uint32_t i = 0; i < target->members_count; i++) {
        const struct raft_member *wanted = &target->members[i];
        bool is_new = find(current, wanted->node) == NULL;
        if (is_new && !raft_config_add(out, wanted->node, wanted->incarnation, RAFT_LEARNER)) {
            return; /* full: another time, when a voter that is leaving has left */
        }
    }
}

bool members_step(const struct raft_config *current, const struct raft_config *target,
                  const bool is_ready[RAFT_PEERS_MAX], struct raft_config *out_next)
{
    ASSERT(!raft_config_is_joint(current));
    ASSERT(!raft_config_is_joint(target));
    struct raft_config next;
    learners_step(current, target, &next);
    if (!raft_config_equal(&next, current)) {
        bool is_valid = raft_config_is_valid(&next); /* a lone voter is never replaced */
        *out_next = is_valid ? next : *current;
        return is_valid;
    }
    for (uint32_t i = 0; i < target->members_count; i++) {
        const struct raft_member *wanted = &target->members[i];
        int at = raft_config_find(current, wanted->node);
        bool is_coming = (wanted->roles & RAFT_VOTER) != 0 &&
                         (at < 0 || (current->members[at].roles & RAFT_VOTER) == 0);
        if (is_coming && (at < 0 || !is_ready[at])) {
            return false;
        }
    }
    *out_next = *target;
    return !raft_config_equal(target, current);
}

uint64_t members_home(const struct placement *placement, const struct raft_config *config,
                      uint32_t group)
{
    const uint8_t *replicas = replicas_of(placement, group);
    for (uint32_t r = 0; r < placement->replicas_count; r++) {
        const struct raft_member *member = find(config, placement->nodes[replicas[r]]);
        if (member != NULL && (member->roles & RAFT_VOTER) != 0) {
            return member->node;
        }
    }
    /* None of them votes yet. */
    for (uint32_t i = 0; i < config->members_count; i++) {
        if ((config->members[i].roles & RAFT_VOTER) != 0) {
            return config->members[i].node;
        }
    }
    UNREACHABLE();
}
