/*
 * world_check.h — the invariants, checked at every step of every replica (included by world.h).
 *
 *   I1   at most one leader per term
 *   I2   log matching: one (index, term), one payload and one predecessor
 *   I3   a leader's log holds everything committed in earlier terms
 *   I4   one committed chain: every replica's entry k, and its state after k, is the chain's
 *   I5   nobody votes twice in a term; terms and commit never go back; what is promised in a
 *        message (a vote, a vote request, an acknowledgement) is on the sender's platter
 *   I7   consecutive configurations have no disjoint quorums; no change while one is pending or
 *        before the term has committed an entry
 *   I10  what commits is on the platters of a majority of each half, at that moment
 *   RD   a read is served at no index below what was completed when it began
 */
#pragma once

/* One bit a node id. */
static inline bool world_is_quorum(const struct raft_config *config, uint32_t nodes)
{
    unsigned voters = 0, have = 0, outgoing = 0, outgoing_have = 0;
    for (uint32_t i = 0; i < config->members_count; i++) {
        const struct raft_member *member = &config->members[i];
        bool is_in = (nodes >> member->node & 1) != 0;
        voters += (member->roles & RAFT_VOTER) != 0;
        have += (member->roles & RAFT_VOTER) != 0 && is_in;
        outgoing += (member->roles & RAFT_OUTGOING) != 0;
        outgoing_have += (member->roles & RAFT_OUTGOING) != 0 && is_in;
    }
    return have > voters / 2 && (outgoing == 0 || outgoing_have > outgoing / 2);
}

/* I7: no two disjoint sets of nodes can decide, one in each configuration. */
static inline bool world_configs_intersect(const struct raft_config *a, const struct raft_config *b)
{
    uint32_t all = 1u << (WORLD_NODES_MAX + 1);
    for (uint32_t nodes = 0; nodes < all; nodes += 2) {
        if (world_is_quorum(a, nodes) && world_is_quorum(b, ~nodes)) {
            return false;
        }
    }
    return true;
}

/* I2: registers the entry a node just put into its log. */
static inline void world_check_entry(struct world *world, struct world_node *node, uint64_t index)
{
    const struct world_entry *entry = &node->log[index];
    uint64_t prev_term = 0;
    if (index > 1) {
        bool is_base = index == node->disk.snapshot.meta.index + 1;
        prev_term = is_base ? node->disk.snapshot.meta.term : node->log[index - 1].term;
    }
    uint64_t key = index << 32 | entry->term;
    uint32_t at = (uint32_t)(world_mix(key, 1) % WORLD_REGISTRY);
    while (world->registry[at].key != 0 && world->registry[at].key != key) {
        at = (at + 1) % WORLD_REGISTRY;
    }
    struct world_created *created = &world->registry[at];
    if (created->key == 0) {
        if (++world->registry_count == WORLD_REGISTRY) {
            abort();
        }
        *created = (struct world_created){ key, entry->payload, prev_term };
    } else if (created->payload != entry->payload || created->prev_term != prev_term) {
        world_fail(world, "I2: node %u has another entry (%u, term %u)", (unsigned)node->id,
                   (unsigned)index, (unsigned)entry->term);
    }
}

/* True when the platter of this node holds the entry. */
static inline bool world_disk_holds(const struct world_node *node, uint64_t index,
                                    const struct world_entry *entry)
{
    const struct world_disk *disk = &node->disk;
    if (index <= disk->snapshot.meta.index) {
        return true; /* a snapshot is committed state */
    }
    return index >= disk->first && index <= disk->last && disk->log[index].term == entry->term &&
           disk->log[index].payload == entry->payload;
}

static inline bool world_is_on_platters(const struct world *world, const struct raft_config *config,
                                        const struct world_entry *entry, uint64_t index)
{
    uint32_t holders = 0;
    for (uint32_t i = 0; i < config->members_count; i++) {
        const struct raft_member *member = &config->members[i];
        const struct world_node *node = &world->nodes[member->node];
        /* Who lost its disk or its tail since it acknowledged has no vote (any more, or yet). */
        bool is_gone = member->incarnation != node->incarnation || node->is_suspect_next ||
                       (node->is_up && raft_is_suspect(node->raft));
        if (is_gone || world_disk_holds(node, index, entry)) {
            holders |= 1u << member->node;
        }
    }
    return world_is_quorum(config, holders);
}

/* The step may have brought another configuration before or after it committed. */
static inline void world_check_on_platters(struct world *world, struct world_node *node,
                                           uint64_t index)
{
    uint64_t config_index = 0;
    const struct raft_config *config = raft_config(node->raft, &config_index);
    const struct world_entry *entry = &node->log[index];
    if (!world_is_on_platters(world, &node->seen_config, entry, index) &&
        !world_is_on_platters(world, config, entry, index)) {
        world_fail(world, "I10: node %u commits %u, which no majority holds durably",
                   (unsigned)node->id, (unsigned)index);
    }
}

/* I4, I10: the commit index of a node moved to `index`. */
static inline void world_check_commit(struct world *world, struct world_node *node, uint64_t index)
{
    const struct world_entry *entry = &node->log[index];
    if (index <= world->canon_count) {
        const struct world_entry *canon = &world->canon[index];
        if (canon->term != entry->term || canon->payload != entry->payload) {
            world_fail(world,
                       "I4: node %u commits %u as term %u payload %u, it was term %u payload %u",
                       (unsigned)node->id, (unsigned)index, (unsigned)entry->term,
                       (unsigned)entry->payload, (unsigned)canon->term, (unsigned)canon->payload);
        }
        return;
    }
    if (index != world->canon_count + 1) {
        world_fail(world, "I4: node %u commits %u beyond a gap", (unsigned)node->id,
                   (unsigned)index);
        return;
    }
    world->canon[index] = *entry;
    world->canon_hash[index] = world_entry_hash(world->canon_hash[index - 1], entry);
    world->canon_commit_term[index] = raft_term(node->raft);
    world->canon_count = index;
    world_check_on_platters(world, node, index);
}

/* I3: everything committed in earlier terms is in a new leader's log. */
static inline void world_check_leader(struct world *world, struct world_node *node)
{
    uint64_t term = raft_term(node->raft);
    world->elections += 1;
    if (term >= WORLD_TERMS_MAX) {
        abort();
    }
    if (world->leaders[term] != 0 && world->leaders[term] != node->id) {
        world_fail(world, "I1: nodes %u and %u lead in term %u", world->leaders[term],
                   (unsigned)node->id, (unsigned)term);
    }
    world->leaders[term] = (uint8_t)node->id;
    uint64_t first = raft_first_index(node->raft);
    for (uint64_t index = first; index <= world->canon_count; index++) {
        if (world->canon_commit_term[index] >= term) {
            continue;
        }
        if (index > node->last || node->log[index].term != world->canon[index].term) {
            world_fail(world, "I3: leader %u of term %u lacks the committed entry %u",
                       (unsigned)node->id, (unsigned)term, (unsigned)index);
            return;
        }
    }
}

/* I7: a leader appended a configuration. */
static inline void world_check_config(struct world *world, struct world_node *node, uint64_t index)
{
    const struct raft_config *next = &world->configs[node->log[index].config_id];
    const struct raft_config *before = &node->disk.snapshot.meta.config;
    uint64_t before_index = node->disk.snapshot.meta.index;
    for (uint64_t at = index - 1; at > node->disk.snapshot.meta.index; at--) {
        if (node->log[at].kind == RAFT_ENTRY_CONFIG) {
            before = &world->configs[node->log[at].config_id];
            before_index = at;
            break;
        }
    }
    uint64_t commit = raft_commit_index(node->raft);
    world->config_changes += 1;
    if (!world_configs_intersect(before, next)) {
        world_fail(world, "I7: configurations at %u and %u have disjoint quorums",
                   (unsigned)before_index, (unsigned)index);
    }
    bool is_in_term = commit > node->disk.snapshot.meta.index
                          ? node->log[commit].term == raft_term(node->raft)
                          : node->disk.snapshot.meta.term == raft_term(node->raft);
    if (before_index > commit || !is_in_term) {
        world_fail(world, "I7: node %u appends a configuration at %u, commit is %u",
                   (unsigned)node->id, (unsigned)index, (unsigned)commit);
    }
}

/* After raft_step, before its messages leave. */
static inline void world_check_step(struct world *world, struct world_node *node,
                                    const struct raft_output *output)
{
    bool is_vacated = output->log_reset && output->log_reset_index == 0;
    node->seen_commit = is_vacated ? 0 : node->seen_commit;
    if (raft_term(node->raft) < node->seen_term ||
        raft_commit_index(node->raft) < node->seen_commit) {
        world_fail(world, "I5: term or commit of node %u went back", (unsigned)node->id);
    }
    if (output->snapshot_adopted) {
        if (output->log_reset_index > world->canon_count ||
            node->hash != world->canon_hash[output->log_reset_index]) {
            world_fail(world, "I4: node %u installed a snapshot of another history",
                       (unsigned)node->id);
        }
    }
    uint64_t base = output->snapshot_adopted ? output->log_reset_index : node->seen_commit;
    for (uint64_t index = base + 1; index <= output->commit_index; index++) {
        world_check_commit(world, node, index);
    }
    bool is_leader = raft_role(node->raft) == RAFT_LEADER;
    if (is_leader && (node->seen_role != RAFT_LEADER || node->seen_term != raft_term(node->raft))) {
        world_check_leader(world, node);
    }
    for (uint32_t i = 0; is_leader && i < output->entries_count; i++) {
        if (output->entries[i].kind == RAFT_ENTRY_CONFIG) {
            world_check_config(world, node, output->entries[i].index);
        }
    }
    if (raft_first_index(node->raft) > raft_commit_index(node->raft) + 1 ||
        raft_last_index(node->raft) != node->last) {
        world_fail(world, "the log of node %u ends at %u, its bytes at %u", (unsigned)node->id,
                   (unsigned)raft_last_index(node->raft), (unsigned)node->last);
    }
}

static inline void world_check_vote(struct world *world, struct world_node *node, uint64_t term,
                                    uint64_t candidate)
{
    uint8_t *vote = &world->votes[node->id][term];
    if (*vote != 0 && *vote != candidate) {
        world_fail(world, "I5: node %u votes for %u and %u in term %u", (unsigned)node->id, *vote,
                   (unsigned)candidate, (unsigned)term);
    }
    *vote = (uint8_t)candidate;
    if (node->disk.term != term || node->disk.voted_for != candidate) {
        world_fail(world, "I5: node %u promises a vote for %u in term %u, not durable",
                   (unsigned)node->id, (unsigned)candidate, (unsigned)term);
    }
}

/* I5: what a message promises is on the platter. */
static inline void world_check_message(struct world *world, struct world_node *node,
                                       const struct raft_message *message)
{
    if (message->kind == RAFT_MESSAGE_VOTE) {
        world_check_vote(world, node, message->term, node->id);
    } else if (message->kind == RAFT_MESSAGE_VOTE_RESPONSE && !message->is_rejected) {
        world_check_vote(world, node, message->term, message->to);
    } else if (message->kind == RAFT_MESSAGE_APPEND_RESPONSE && !message->is_rejected &&
               message->index > 0) {
        bool holds = world_disk_holds(node, message->index, &node->log[message->index]);
        if (node->disk.term < message->term || !holds) {
            world_fail(world, "I5: node %u acknowledges %u in term %u, not durable",
                       (unsigned)node->id, (unsigned)message->index, (unsigned)message->term);
        }
    }
}

/* I4: the state after applying.  A leader's own writes are answered now. */
static inline void world_check_applied(struct world *world, struct world_node *node)
{
    if (node->applied > world->canon_count || node->hash != world->canon_hash[node->applied]) {
        world_fail(world, "I4: the state of node %u at %u is another", (unsigned)node->id,
                   (unsigned)node->applied);
    }
    bool is_answered = raft_role(node->raft) == RAFT_LEADER &&
                       node->log[node->applied].term == raft_term(node->raft);
    if (is_answered && node->applied > world->completed) {
        world->completed = node->applied;
    }
}

static inline void world_check_read(struct world *world, struct world_node *node,
                                    const struct world_read *read)
{
    world->reads_served += 1;
    node->reads_served += 1;
    if (node->applied < read->floor) {
        world_fail(world, "RD: node %u serves a read at %u, %u was complete when it began",
                   (unsigned)node->id, (unsigned)node->applied, (unsigned)read->floor);
    }
    if (node->applied > world->completed) {
        world->completed = node->applied;
    }
}

static inline void world_dump(const struct world *world)
{
    for (uint64_t id = 1; id <= world->nodes_count; id++) {
        const struct world_node *node = &world->nodes[id];
        printf("node %u up %d disk term %u last %u snap %u |", (unsigned)id, node->is_up,
               (unsigned)node->disk.term, (unsigned)node->disk.last,
               (unsigned)node->disk.snapshot.meta.index);
        if (node->is_up) {
            uint64_t at = 0;
            const struct raft_config *config = raft_config(node->raft, &at);
            printf(" role %d term %u last %u durable %u commit %u config@%u",
                   (int)raft_role(node->raft), (unsigned)raft_term(node->raft),
                   (unsigned)raft_last_index(node->raft), (unsigned)raft_durable_index(node->raft),
                   (unsigned)raft_commit_index(node->raft), (unsigned)at);
            for (uint32_t i = 0; i < config->members_count; i++) {
                printf(" %u.%u:%x", (unsigned)config->members[i].node,
                       (unsigned)config->members[i].incarnation, config->members[i].roles);
            }
        }
        printf("\n");
    }
}
