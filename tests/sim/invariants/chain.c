/*
 * chain.c — I2 and I4: one (index, term) is one entry everywhere; what is committed forms one chain
 * that never changes, and every replica follows it.
 *
 * After each turn of a node its new log entries are registered by (group, index, term) with a hash
 * of their bytes and the term before them.  The first commit seen of an index makes it a link of
 * the chain; every later one must be the same.  A node that restarts is looked at from scratch.
 * Values that clients write carry the number of their operation (#00000012), so the chain also
 * knows which operations took effect and where.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "checks.h"
#include "storage/entry.h"

#include <inttypes.h>

struct link {
    uint64_t term, hash;
    uint64_t commit_term;
    bool is_known; /* false: it was compacted before anybody saw it */
};

struct chain {
    struct link *links; /* links[index] */
    uint64_t count, capacity;
};

struct follower {
    uint64_t *terms; /* terms[index], as last seen */
    uint64_t capacity;
    uint64_t last, commit, applied;
};

struct created {
    uint64_t key; /* 0: free */
    uint64_t hash, prev_term;
};

struct effect_place {
    uint64_t index;
    uint32_t group, count;
};

struct check_chain {
    struct sim *sim;
    struct check_configs *configs; /* owned; told of what is committed */
    struct chain chains[SIM_GROUPS];
    struct follower followers[SIM_MACHINES_MAX][SIM_GROUPS];
    struct created *registry;
    uint64_t registry_count, registry_capacity;
    struct effect_place *places; /* by operation */
    uint64_t places_capacity;
    uint64_t entries;
};

struct check_chain *check_chain_new(struct sim *sim)
{
    struct check_chain *check = mem_zalloc(sizeof(*check));
    check->sim = sim;
    check->configs = check_configs_new(sim);
    check->registry_capacity = 1 << 12;
    check->registry = mem_zalloc(check->registry_capacity * sizeof(*check->registry));
    return check;
}

void check_chain_free(struct check_chain *check)
{
    for (uint32_t group = 0; group < SIM_GROUPS; group++) {
        mem_free(check->chains[group].links);
        for (uint32_t i = 0; i < SIM_MACHINES_MAX; i++) {
            mem_free(check->followers[i][group].terms);
        }
    }
    check_configs_free(check->configs);
    mem_free(check->registry);
    mem_free(check->places);
    mem_free(check);
}

void check_chain_start(struct check_chain *check, const struct sim_machine *machine, uint32_t group)
{
    struct follower *follower = &check->followers[machine->number][group];
    follower->last = 0;
    follower->commit = 0;
    follower->applied = 0;
}

uint64_t check_chain_committed(const struct check_chain *check, uint32_t group)
{
    return check->chains[group].count;
}

uint64_t check_chain_term(const struct check_chain *check, uint32_t group, uint64_t index,
                          uint64_t *out_commit_term)
{
    const struct link *link = &check->chains[group].links[index];
    *out_commit_term = link->commit_term;
    return link->is_known ? link->term : 0;
}

const struct raft_config *check_chain_config(const struct check_chain *check, uint32_t group)
{
    return check_configs_last(check->configs, group);
}

void check_chain_leave(const struct check_chain *check, const struct sim_machine *machine)
{
    check_configs_leave(check->configs, machine);
}

uint64_t check_chain_entries(const struct check_chain *check)
{
    return check->entries;
}

uint64_t check_chain_find(const struct check_chain *check, uint32_t number, uint32_t *out_group,
                          uint32_t *out_count)
{
    *out_count = 0;
    if (number >= check->places_capacity || check->places[number].count == 0) {
        return 0;
    }
    *out_group = check->places[number].group;
    *out_count = check->places[number].count;
    return check->places[number].index;
}

/* ── the registry ────────────────────────────────────────────────────────────────────────────── */

static struct created *registry_place(struct created *registry, uint64_t capacity, uint64_t key)
{
    uint64_t at = key * UINT64_C(0x9e3779b97f4a7c15) >> 20;
    while (registry[at % capacity].key != 0 && registry[at % capacity].key != key) {
        at += 1;
    }
    return &registry[at % capacity];
}

static uint64_t registry_key(uint32_t group, uint64_t index, uint64_t term)
{
    return (uint64_t)(group + 1) << 56 ^ term << 32 ^ index;
}

static void registry_grow(struct check_chain *check)
{
    uint64_t capacity = check->registry_capacity * 2;
    struct created *bigger = mem_zalloc(capacity * sizeof(*bigger));
    for (uint64_t i = 0; i < check->registry_capacity; i++) {
        if (check->registry[i].key != 0) {
            *registry_place(bigger, capacity, check->registry[i].key) = check->registry[i];
        }
    }
    mem_free(check->registry);
    check->registry = bigger;
    check->registry_capacity = capacity;
}

/* I2.  hash 0: the bytes are not in memory any more. */
static void register_entry(struct check_chain *check, const struct sim_machine *machine,
                           uint32_t group, uint64_t index, const struct created *seen)
{
    struct created *created = registry_place(check->registry, check->registry_capacity, seen->key);
    if (created->key == 0) {
        *created = *seen;
        if (++check->registry_count * 2 > check->registry_capacity) {
            registry_grow(check);
        }
        return;
    }
    bool is_other = created->hash != 0 && seen->hash != 0 && created->hash != seen->hash;
    bool is_after_other =
        created->prev_term != 0 && seen->prev_term != 0 && created->prev_term != seen->prev_term;
    if (is_other || is_after_other) {
        sim_fail(check->sim, "I2 log matching", "%s, group %u: another entry %" PRIu64 "%s",
                 sim_node_name(machine->machine), group, index,
                 is_other ? "" : " (after another term)");
    }
    created->hash = created->hash != 0 ? created->hash : seen->hash;
}

static void look_at_entry(struct check_chain *check, const struct sim_machine *machine,
                          uint32_t group, const struct probe *probe, uint64_t index, uint64_t term)
{
    struct slice bytes;
    uint8_t kind;
    struct created seen = { .key = registry_key(group, index, term) };
    if (probe_entry(machine, group, index, &bytes)) {
        seen.hash = hash_key(bytes, index) | 1;
    }
    if (index > probe->first) {
        (void)raft_entry_at(probe->raft, index - 1, &seen.prev_term, &kind);
    }
    register_entry(check, machine, group, index, &seen);
}

static void follower_grow(struct follower *follower, uint64_t last)
{
    if (last >= follower->capacity) {
        uint64_t capacity = (last + 1) * 2;
        follower->terms = mem_realloc(follower->terms, capacity * sizeof(*follower->terms));
        memset(follower->terms + follower->capacity, 0,
               (capacity - follower->capacity) * sizeof(*follower->terms));
        follower->capacity = capacity;
    }
}

/* From the end of the log down to where nothing has changed since it was last looked at. */
static void look_at_log(struct check_chain *check, const struct sim_machine *machine,
                        uint32_t group, const struct probe *probe)
{
    struct follower *follower = &check->followers[machine->number][group];
    follower_grow(follower, probe->last);
    uint64_t term = 0;
    uint8_t kind = 0;
    for (uint64_t index = probe->last; index >= probe->first && index > 0; index--) {
        if (!raft_entry_at(probe->raft, index, &term, &kind)) {
            break;
        }
        if (index <= follower->last && follower->terms[index] == term) {
            break;
        }
        follower->terms[index] = term;
        look_at_entry(check, machine, group, probe, index, term);
    }
    follower->last = probe->last;
}

/* ── the chain ───────────────────────────────────────────────────────────────────────────────── */

static void note_effect(struct check_chain *check, uint32_t group, uint64_t index, uint32_t number)
{
    if (number >= check->sim->history.count) {
        return;
    }
    if (number >= check->places_capacity) {
        uint64_t capacity = (number + 1024u) * 2u;
        check->places = mem_realloc(check->places, capacity * sizeof(*check->places));
        memset(check->places + check->places_capacity, 0,
               (capacity - check->places_capacity) * sizeof(*check->places));
        check->places_capacity = capacity;
    }
    struct effect_place *place = &check->places[number];
    if (place->count++ == 0) {
        place->group = group;
        place->index = index;
    }
}

/* Every "#00000012" in the entry. */
static void note_effects(struct check_chain *check, struct slice bytes, uint32_t group,
                         uint64_t index)
{
    for (size_t at = 0; at + 9 <= bytes.size; at++) {
        const char *mark = memchr(bytes.data + at, '#', bytes.size - at - 8);
        if (mark == NULL) {
            return;
        }
        uint32_t number = 0;
        uint32_t digits = 0;
        while (digits < 8 && mark[digits + 1] >= '0' && mark[digits + 1] <= '9') {
            number = number * 10 + (uint32_t)(mark[++digits] - '0');
        }
        if (digits == 8) {
            note_effect(check, group, index, number);
        }
        at = (size_t)(mark - bytes.data);
    }
}

static void chain_add(struct check_chain *check, const struct sim_machine *machine, uint32_t group,
                      const struct probe *probe, const struct link *link, bool is_config)
{
    struct chain *chain = &check->chains[group];
    if (chain->count + 1 >= chain->capacity) {
        chain->capacity = chain->capacity == 0 ? 256 : chain->capacity * 2;
        chain->links = mem_realloc(chain->links, chain->capacity * sizeof(*chain->links));
    }
    chain->count += 1;
    chain->links[chain->count] = *link;
    chain->links[chain->count].commit_term = probe->term;
    check->entries += 1;
    struct slice bytes = { 0 };
    if (probe_entry(machine, group, chain->count, &bytes)) {
        note_effects(check, bytes, group, chain->count);
        check_durable_commit(check->sim, probe, group, chain->count, bytes);
    }
    /* One that was compacted before anybody saw it may have been a configuration. */
    check_configs_commit(check->configs, group, chain->count, is_config || !link->is_known, bytes);
}

static void look_at_commit(struct check_chain *check, const struct sim_machine *machine,
                           uint32_t group, const struct probe *probe, uint64_t index)
{
    struct chain *chain = &check->chains[group];
    struct link link = { 0 };
    uint8_t kind = 0;
    if (raft_entry_at(probe->raft, index, &link.term, &kind)) {
        link.is_known = true;
        link.hash = registry_place(check->registry, check->registry_capacity,
                                   registry_key(group, index, link.term))
                        ->hash;
    }
    if (index > chain->count) {
        chain_add(check, machine, group, probe, &link, kind == ENTRY_CONFIG);
        return;
    }
    const struct link *known = &chain->links[index];
    bool is_other = link.is_known && known->is_known &&
                    (link.term != known->term ||
                     (link.hash != 0 && known->hash != 0 && link.hash != known->hash));
    if (is_other) {
        sim_fail(check->sim, "I4 committed prefix",
                 "%s, group %u: commits entry %" PRIu64 " of term %" PRIu64
                 ", it was of term %" PRIu64,
                 sim_node_name(machine->machine), group, index, link.term, known->term);
    }
}

void check_chain_turn(struct check_chain *check, const struct sim_machine *machine, uint32_t group,
                      const struct probe *probe)
{
    struct follower *follower = &check->followers[machine->number][group];
    uint64_t last_term = 0;
    uint8_t kind = 0;
    (void)raft_entry_at(probe->raft, probe->last, &last_term, &kind);
    bool has_new =
        probe->last != follower->last || (last_term != 0 && probe->last < follower->capacity &&
                                          follower->terms[probe->last] != last_term);
    if (has_new) {
        look_at_log(check, machine, group, probe);
    }
    if (probe->last == 0 && raft_is_suspect(probe->raft)) {
        check_chain_start(check, machine, group); /* vacated: hosting.c */
    }
    if (probe->commit < follower->commit || probe->applied < follower->applied) {
        sim_fail(check->sim, "I5 monotone", "%s, group %u: commit or applied went back",
                 sim_node_name(machine->machine), group);
    }
    uint64_t begin = follower->commit + 1;
    uint64_t chain_next = check->chains[group].count + 1;
    begin = begin < probe->first && probe->first <= chain_next ? probe->first : begin;
    for (uint64_t index = begin; index <= probe->commit; index++) {
        look_at_commit(check, machine, group, probe, index);
    }
    if (probe->applied > check->chains[group].count) {
        sim_fail(check->sim, "I4 applied", "%s, group %u: applied %" PRIu64 ", committed %" PRIu64,
                 sim_node_name(machine->machine), group, probe->applied,
                 check->chains[group].count);
    }
    follower->commit = probe->commit;
    follower->applied = probe->applied;
}
