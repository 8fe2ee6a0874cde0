/*
 * members.c — see members.h.
 *
 * Bytes, little-endian; a text is u8 size and its bytes:
 *
 *   member   text id, text host, text zone, u64 incarnation, u16 cluster port, u16 port,
 *            u16 slot port, u8 weight, u8 enum member_state
 *   change   u8 format (3), u8 enum member_change, member;
 *            MEMBER_SETTING: u8 enum setting, u64 value, once or more often
 *   all      u8 format (3), u64 epoch, u64 index, u64 term, u16 size and the configuration
 *            (cluster/confchange.h), u8 count, members in the order in which they joined,
 *            u8 count, u64 settings, u8 count, (u64 number, u64 incarnation) of the removed
 *
 * Format 2 had neither weight nor state, settings nor removed ones, and is read as if all were
 * ACTIVE and of weight 1.  A member's number is not written: it follows from its id.
 */
#include "members.h"

#include "base/assert.h"
#include "base/endian.h"
#include "base/hash.h"
#include "base/limits.h"
#include "cluster/confchange.h"
#include "replica.h"

enum {
    MEMBERS_FORMAT = 3,
    MEMBERS_FORMAT_OLD = 2,
    MEMBER_OLD_BYTES = 8 + 2 + 2 + 2, /* behind the texts */
    MEMBER_FIXED_BYTES = MEMBER_OLD_BYTES + 1 + 1,
    MEMBER_BYTES_MAX = 3 * (1 + MEMBER_TEXT_MAX) + MEMBER_FIXED_BYTES,
    SETTINGS_CHANGE_HEADER_BYTES = 1 + 1,
    SETTING_VALUE_BYTES = 1 + 8,
    MEMBERS_HEADER_BYTES = 1 + 3 * 8 + 2,
    MEMBERS_TAIL_BYTES_MAX = 1 + SETTINGS_COUNT * 8 + 1 + MEMBERS_GONE_MAX * 16,
};

_Static_assert(MEMBERS_HEADER_BYTES + RAFT_CONFIG_BYTES_MAX + 1 + MEMBERS_MAX * MEMBER_BYTES_MAX +
                       MEMBERS_TAIL_BYTES_MAX <=
                   MEMBERS_BYTES_MAX,
               "a full list keeps its bound");
_Static_assert(RING_WEIGHT_MAX <= UINT8_MAX, "a weight fits");

/* Fixed for ever: every node of a cluster must compute the same numbers. */
static const uint64_t NUMBER_SEED = UINT64_C(0x6d656d6265727331);

static char *member_write(const struct member *member, char *to);
static bool member_read(struct slice *left, unsigned format, struct member *out);
static void member_change(struct members *members, enum member_change change,
                          const struct member *member);
static void member_add(struct members *members, const struct member *member);
static void member_update(struct members *members, const struct member *member);
static void member_remove(struct members *members, const struct member *member);
static void member_move(struct members *members, const struct member *member);
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
    ASSERT(self->weight >= 1);
    *members = (struct members){ .epoch = 1, .count = 1, .items = { *self } };
    members->items[0].state = MEMBER_ACTIVE;
    settings_default(&members->settings);
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

uint32_t members_active(const struct members *members)
{
    uint32_t active = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        active += members->items[i].state == MEMBER_ACTIVE;
    }
    return active;
}

bool members_is_gone(const struct members *members, uint64_t number, uint64_t incarnation)
{
    for (uint32_t i = 0; i < members->gone_count; i++) {
        if (members->gone[i].number == number && members->gone[i].incarnation == incarnation) {
            return true;
        }
    }
    return false;
}

const char *member_state_name(enum member_state state)
{
    static const char *const names[] = { "ACTIVE", "DRAINING", "LEFT", "DOWN" };
    ASSERT(state >= MEMBER_ACTIVE);
    ASSERT(state <= MEMBER_DOWN);
    return names[state - MEMBER_ACTIVE];
}

bool members_can_spare(const struct members *members, const struct member *member)
{
    uint32_t active = members_active(members);
    bool is_single = members->settings.values[SETTING_REPLICATION_FACTOR] == 1;
    return member->state != MEMBER_ACTIVE || (active > 1 && (active != MEMBERS_SAFE || is_single));
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

static bool format_is_known(unsigned format)
{
    return format == MEMBERS_FORMAT || format == MEMBERS_FORMAT_OLD;
}

bool members_change_decode(struct slice body, enum member_change *out_change,
                           struct member *out_member)
{
    unsigned format = body.size < 2 ? 0 : (unsigned char)body.data[0];
    if (!format_is_known(format)) {
        return false;
    }
    unsigned change = (unsigned char)body.data[1];
    unsigned last = format == MEMBERS_FORMAT_OLD ? MEMBER_REMOVE : MEMBER_STATE;
    struct slice left = slice_make(body.data + 2, body.size - 2);
    *out_change = (enum member_change)change;
    return change >= MEMBER_ADD && change <= last && member_read(&left, format, out_member) &&
           left.size == 0;
}

void members_settings_encode(const struct setting_value *values, uint32_t count, struct buffer *out)
{
    ASSERT(count >= 1);
    ASSERT(count <= SETTINGS_COUNT);
    buffer_append_byte(out, MEMBERS_FORMAT);
    buffer_append_byte(out, MEMBER_SETTING);
    for (uint32_t i = 0; i < count; i++) {
        char bytes[SETTING_VALUE_BYTES] = { (char)values[i].setting };
        ASSERT(setting_takes(values[i].setting, values[i].value));
        store_u64(bytes + 1, values[i].value);
        buffer_append(out, bytes, sizeof(bytes));
    }
}

static bool is_settings_change(struct slice body)
{
    return body.size > SETTINGS_CHANGE_HEADER_BYTES && body.data[0] == MEMBERS_FORMAT &&
           body.data[1] == MEMBER_SETTING &&
           (body.size - SETTINGS_CHANGE_HEADER_BYTES) % SETTING_VALUE_BYTES == 0;
}

/* What this program does not know, or would not take, it leaves alone. */
static void settings_change(struct members *members, struct slice body)
{
    struct settings before = members->settings;
    for (size_t at = SETTINGS_CHANGE_HEADER_BYTES; at < body.size; at += SETTING_VALUE_BYTES) {
        unsigned setting = (unsigned char)body.data[at];
        uint64_t value = load_u64(body.data + at + 1);
        if (setting < SETTINGS_COUNT && setting_takes((enum setting)setting, value)) {
            members->settings.values[setting] = value;
        }
    }
    bool is_news = memcmp(&before, &members->settings, sizeof(before)) != 0;
    members->epoch += is_news ? 1 : 0;
}

bool members_apply(struct members *members, struct slice body, uint64_t index, uint64_t term)
{
    enum member_change change;
    struct member member;
    ASSERT(index > members->index);
    ASSERT(term >= members->term);
    if (is_settings_change(body)) {
        settings_change(members, body);
    } else if (members_change_decode(body, &change, &member)) {
        member_change(members, change, &member);
    } else {
        return false;
    }
    members->index = index;
    members->term = term;
    return true;
}

static void member_change(struct members *members, enum member_change change,
                          const struct member *member)
{
    switch (change) {
    case MEMBER_ADD:
        member_add(members, member);
        break;
    case MEMBER_UPDATE:
        member_update(members, member);
        break;
    case MEMBER_REMOVE:
        member_remove(members, member);
        break;
    case MEMBER_STATE:
        member_move(members, member);
        break;
    case MEMBER_SETTING:
        UNREACHABLE(); /* no change of a member */
    }
}

/* A member that is there already asked twice, perhaps from another address. */
static void member_add(struct members *members, const struct member *member)
{
    if (member_position(members, member->number) >= 0) {
        member_update(members, member);
        return;
    }
    bool is_gone = members_is_gone(members, member->number, member->incarnation);
    if (members->count < MEMBERS_MAX && !is_gone) {
        members->items[members->count] = *member;
        members->items[members->count++].state = MEMBER_ACTIVE;
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
                   known->slot_port == member->slot_port && known->weight == member->weight;
    if (!is_same) {
        uint8_t state = known->state;
        *known = *member;
        known->state = state;
        members->epoch++;
    }
}

/* Which states lead to which; an operator and the meta leader may be of two minds at once. */
static bool may_move(enum member_state from, enum member_state to)
{
    switch (to) {
    case MEMBER_ACTIVE:
        return from == MEMBER_DRAINING || from == MEMBER_DOWN;
    case MEMBER_DRAINING:
        return from == MEMBER_ACTIVE || from == MEMBER_DOWN;
    case MEMBER_LEFT:
        return from == MEMBER_DRAINING;
    case MEMBER_DOWN:
        return from == MEMBER_ACTIVE;
    }
    UNREACHABLE();
}

static void member_move(struct members *members, const struct member *member)
{
    int at = member_position(members, member->number);
    if (at < 0 || !is_same_node(&members->items[at], member)) {
        return;
    }
    struct member *known = &members->items[at];
    if (may_move(known->state, member->state) && members_can_spare(members, known)) {
        known->state = member->state;
        members->epoch++;
    }
}

static void gone_remember(struct members *members, const struct member *member)
{
    if (members->gone_count == MEMBERS_GONE_MAX) {
        members->gone_count--;
        memmove(&members->gone[0], &members->gone[1],
                members->gone_count * sizeof(members->gone[0]));
    }
    members->gone[members->gone_count++] =
        (struct member_gone){ member->number, member->incarnation };
}

/* The last one cannot leave: a cluster has a member that things are placed on. */
static void member_remove(struct members *members, const struct member *member)
{
    int at = member_position(members, member->number);
    if (at < 0 || !is_same_node(&members->items[at], member)) {
        return;
    }
    bool is_active = members->items[at].state == MEMBER_ACTIVE;
    if (is_active && members_active(members) == 1) {
        return;
    }
    gone_remember(members, member);
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
    to[14] = (char)member->weight;
    to[15] = (char)member->state;
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

static bool member_read(struct slice *left, unsigned format, struct member *out)
{
    bool is_old = format == MEMBERS_FORMAT_OLD;
    *out = (struct member){ .number = 0 };
    if (!text_read(left, out->id) || !text_read(left, out->host) || !text_read(left, out->zone)) {
        return false;
    }
    const char *rest = take(left, is_old ? MEMBER_OLD_BYTES : MEMBER_FIXED_BYTES);
    if (rest == NULL || out->id[0] == '\0') {
        return false;
    }
    out->number = members_number(out->id);
    out->incarnation = load_u64(rest);
    out->cluster_port = load_u16(rest + 8);
    out->port = load_u16(rest + 10);
    out->slot_port = load_u16(rest + 12);
    out->weight = is_old ? 1 : (uint8_t)rest[14];
    out->state = is_old ? MEMBER_ACTIVE : (uint8_t)rest[15];
    return out->incarnation != 0 && out->weight >= 1 && out->weight <= RING_WEIGHT_MAX &&
           out->state >= MEMBER_ACTIVE && out->state <= MEMBER_DOWN;
}

static char *tail_write(const struct members *members, char *to)
{
    *to++ = SETTINGS_COUNT;
    for (uint32_t i = 0; i < SETTINGS_COUNT; i++, to += 8) {
        store_u64(to, members->settings.values[i]);
    }
    *to++ = (char)members->gone_count;
    for (uint32_t i = 0; i < members->gone_count; i++, to += 16) {
        store_u64(to, members->gone[i].number);
        store_u64(to + 8, members->gone[i].incarnation);
    }
    return to;
}

static bool tail_read(struct slice *left, struct members *out)
{
    const char *count = take(left, 1);
    if (count == NULL || *count != SETTINGS_COUNT) {
        return false;
    }
    for (uint32_t i = 0; i < SETTINGS_COUNT; i++) {
        const char *value = take(left, 8);
        if (value == NULL) {
            return false;
        }
        out->settings.values[i] = load_u64(value);
    }
    count = take(left, 1);
    if (count == NULL || (unsigned char)*count > MEMBERS_GONE_MAX) {
        return false;
    }
    out->gone_count = (unsigned char)*count;
    for (uint32_t i = 0; i < out->gone_count; i++) {
        const char *gone = take(left, 16);
        if (gone == NULL) {
            return false;
        }
        out->gone[i] = (struct member_gone){ load_u64(gone), load_u64(gone + 8) };
    }
    return settings_are_sane(&out->settings);
}

void members_encode(const struct members *members, struct buffer *out)
{
    ASSERT(members->count >= 1);
    ASSERT(members->count <= MEMBERS_MAX);
    size_t most = MEMBERS_HEADER_BYTES + RAFT_CONFIG_BYTES_MAX + 1 +
                  (size_t)members->count * MEMBER_BYTES_MAX + MEMBERS_TAIL_BYTES_MAX;
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
    to = tail_write(members, to);
    ASSERT((size_t)(to - start) <= most);
    out->size += (size_t)(to - start);
}

bool members_decode(struct members *members, struct slice bytes)
{
    struct members found = { .count = 0 };
    const char *head = take(&bytes, MEMBERS_HEADER_BYTES);
    unsigned format = head != NULL ? (unsigned char)head[0] : 0;
    if (!format_is_known(format)) {
        return false;
    }
    settings_default(&found.settings);
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
        if (!member_read(&bytes, format, &found.items[i])) {
            return false;
        }
    }
    if (format == MEMBERS_FORMAT && !tail_read(&bytes, &found)) {
        return false;
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
    return members->epoch >= 1 && members_active(members) >= 1;
}

/* ── who should hold and lead what ───────────────────────────────────────────────────────────── */

void members_target(const struct members *members, const struct placement *placement,
                    uint32_t group, const struct raft_config *current,
                    struct raft_config *out_target)
{
    uint64_t voters[RAFT_VOTERS_MAX];
    uint32_t voters_count = 1;
    voters[0] = lone_voter(members, current);
    if (placement->members_count >= MEMBERS_SAFE) {
        const uint8_t *replicas = replicas_of(placement, group);
        voters_count = placement->replicas_count;
        for (uint32_t r = 0; r < voters_count; r++) {
            voters[r] = placement->nodes[replicas[r]];
        }
    }
    struct raft_config target = { .members_count = 0 };
    bool all_learn = placement->members_count < MEMBERS_SAFE;
    for (uint32_t i = 0; i < members->count; i++) {
        const struct member *member = &members->items[i];
        bool votes = false;
        for (uint32_t v = 0; v < voters_count; v++) {
            votes = votes || voters[v] == member->number;
        }
        if (votes || group == GROUP_META || (all_learn && member->state == MEMBER_ACTIVE)) {
            bool added = raft_config_add(&target, member->number, member->incarnation,
                                         votes ? RAFT_VOTER : RAFT_LEARNER);
            ASSERT(added);
        }
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
    uint64_t first = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        const struct member *member = &members->items[i];
        int at = raft_config_find(current, member->number);
        if (member->state != MEMBER_ACTIVE) {
            continue;
        }
        if (at >= 0 && current->members[at].incarnation == member->incarnation &&
            (current->members[at].roles & RAFT_VOTER) != 0) {
            return member->number;
        }
        first = first == 0 ? member->number : first;
    }
    ASSERT(first != 0);
    return first;
}

static const struct raft_member *find(const struct raft_config *config, uint64_t node)
{
    int at = raft_config_find(config, node);
    return at >= 0 ? &config->members[at] : NULL;
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
    return 0;
}
