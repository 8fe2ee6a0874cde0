/*
 * confchange.c — see confchange.h.
 */
#include "cluster/confchange.h"

#include "base/assert.h"
#include "base/endian.h"

enum { CONFIG_FORMAT = 1, CONFIG_HEADER_BYTES = 2, CONFIG_MEMBER_BYTES = 17 };

static bool roles_are_valid(unsigned roles)
{
    bool is_known = (roles & ~(unsigned)(RAFT_VOTER | RAFT_OUTGOING | RAFT_LEARNER)) == 0;
    bool is_both = (roles & RAFT_VOTER) != 0 && (roles & RAFT_LEARNER) != 0;
    return roles != 0 && is_known && !is_both;
}

bool raft_config_is_valid(const struct raft_config *config)
{
    uint32_t voters = 0;
    uint32_t outgoing = 0;
    uint64_t before = 0;
    if (config->members_count > RAFT_PEERS_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < config->members_count; i++) {
        const struct raft_member *member = &config->members[i];
        if (member->node <= before || !roles_are_valid(member->roles)) {
            return false;
        }
        before = member->node;
        voters += (member->roles & RAFT_VOTER) != 0;
        outgoing += (member->roles & RAFT_OUTGOING) != 0;
    }
    return voters >= 1 && voters <= RAFT_VOTERS_MAX && outgoing <= RAFT_VOTERS_MAX;
}

bool raft_config_equal(const struct raft_config *a, const struct raft_config *b)
{
    if (a->members_count != b->members_count) {
        return false;
    }
    for (uint32_t i = 0; i < a->members_count; i++) {
        const struct raft_member *x = &a->members[i];
        const struct raft_member *y = &b->members[i];
        if (x->node != y->node || x->incarnation != y->incarnation || x->roles != y->roles) {
            return false;
        }
    }
    return true;
}

bool raft_config_add(struct raft_config *config, uint64_t node, uint64_t incarnation,
                     unsigned roles)
{
    ASSERT(node > 0);
    ASSERT(roles_are_valid(roles));
    if (config->members_count == RAFT_PEERS_MAX || raft_config_find(config, node) >= 0) {
        return false;
    }
    uint32_t at = config->members_count++;
    for (; at > 0 && config->members[at - 1].node > node; at--) {
        config->members[at] = config->members[at - 1];
    }
    config->members[at] = (struct raft_member){ node, incarnation, (uint8_t)roles };
    return true;
}

/* How many voters come or go; `*out_clash` when a node would change its incarnation. */
static uint32_t voters_changed(const struct raft_config *current, const struct raft_config *wanted,
                               bool *out_clash)
{
    uint32_t changed = 0;
    *out_clash = false;
    for (uint32_t i = 0; i < current->members_count; i++) {
        const struct raft_member *old = &current->members[i];
        int at = raft_config_find(wanted, old->node);
        bool votes = at >= 0 && (wanted->members[at].roles & RAFT_VOTER) != 0;
        changed += votes != ((old->roles & RAFT_VOTER) != 0);
        *out_clash |= at >= 0 && wanted->members[at].incarnation != old->incarnation;
    }
    for (uint32_t i = 0; i < wanted->members_count; i++) {
        const struct raft_member *new = &wanted->members[i];
        changed += (new->roles &RAFT_VOTER) != 0 && raft_config_find(current, new->node) < 0;
    }
    return changed;
}

static bool joint_config(const struct raft_config *current, const struct raft_config *wanted,
                         struct raft_config *out)
{
    *out = *wanted;
    for (uint32_t i = 0; i < current->members_count; i++) {
        const struct raft_member *old = &current->members[i];
        if ((old->roles & RAFT_VOTER) == 0) {
            continue;
        }
        int at = raft_config_find(out, old->node);
        if (at >= 0) {
            out->members[at].roles |= RAFT_OUTGOING;
        } else if (!raft_config_add(out, old->node, old->incarnation, RAFT_OUTGOING)) {
            return false;
        }
    }
    return raft_config_is_valid(out);
}

enum confchange_outcome confchange_next(const struct raft_config *current,
                                        const struct raft_config *wanted,
                                        struct raft_config *out_next)
{
    ASSERT(raft_config_is_valid(current));
    ASSERT(!raft_config_is_joint(current));
    bool is_clash = false;
    if (!raft_config_is_valid(wanted) || raft_config_is_joint(wanted)) {
        return CONFCHANGE_INVALID;
    }
    if (raft_config_equal(current, wanted)) {
        return CONFCHANGE_SAME;
    }
    uint32_t changed = voters_changed(current, wanted, &is_clash);
    if (is_clash) {
        return CONFCHANGE_INVALID;
    }
    if (changed <= 1) {
        *out_next = *wanted;
        return CONFCHANGE_SIMPLE;
    }
    return joint_config(current, wanted, out_next) ? CONFCHANGE_JOINT : CONFCHANGE_INVALID;
}

void confchange_leave(const struct raft_config *joint, struct raft_config *out_next)
{
    ASSERT(raft_config_is_joint(joint));
    *out_next = (struct raft_config){ 0 };
    for (uint32_t i = 0; i < joint->members_count; i++) {
        struct raft_member member = joint->members[i];
        member.roles &= (uint8_t)~RAFT_OUTGOING;
        if (member.roles != 0) {
            out_next->members[out_next->members_count++] = member;
        }
    }
    ASSERT(raft_config_is_valid(out_next));
}

size_t raft_config_encoded_size(const struct raft_config *config)
{
    return CONFIG_HEADER_BYTES + (size_t)config->members_count * CONFIG_MEMBER_BYTES;
}

size_t raft_config_encode(const struct raft_config *config, char *to)
{
    ASSERT(raft_config_is_valid(config));
    to[0] = CONFIG_FORMAT;
    to[1] = (char)config->members_count;
    char *at = to + CONFIG_HEADER_BYTES;
    for (uint32_t i = 0; i < config->members_count; i++, at += CONFIG_MEMBER_BYTES) {
        store_u64(at, config->members[i].node);
        store_u64(at + 8, config->members[i].incarnation);
        at[16] = (char)config->members[i].roles;
    }
    return (size_t)(at - to);
}

bool raft_config_decode(struct slice bytes, struct raft_config *out_config)
{
    if (bytes.size < CONFIG_HEADER_BYTES || bytes.data[0] != CONFIG_FORMAT) {
        return false;
    }
    uint32_t count = (unsigned char)bytes.data[1];
    if (count > RAFT_PEERS_MAX || bytes.size != CONFIG_HEADER_BYTES + count * CONFIG_MEMBER_BYTES) {
        return false;
    }
    struct raft_config config = { .members_count = count };
    const char *at = bytes.data + CONFIG_HEADER_BYTES;
    for (uint32_t i = 0; i < count; i++, at += CONFIG_MEMBER_BYTES) {
        config.members[i].node = load_u64(at);
        config.members[i].incarnation = load_u64(at + 8);
        config.members[i].roles = (uint8_t)at[16];
    }
    if (!raft_config_is_valid(&config)) {
        return false;
    }
    *out_config = config;
    return true;
}
