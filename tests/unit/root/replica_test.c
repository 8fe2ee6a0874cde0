/*
 * replica_test.c — the window of entry bytes against a plain array, and what a replica starts from.
 *
 * The window is driven with random appends, truncations and forgetting; the array beside it is
 * never a ring.  Booting is tested with logs whose tails were rewritten, as recovery may find them.
 */
#include "replica.h"

#include "base/endian.h"
#include "base/mem.h"
#include "base/prng.h"
#include "cluster/confchange.h"
#include "storage/entry.h"
#include "test.h"

enum { MODEL_MAX = 1 << 15, SELF = 1, OTHER = 2 };

static struct raft_options options_make(void)
{
    return (struct raft_options){
        .cluster = 7,
        .node = SELF,
        .incarnation = 11,
        .group = 3,
        .boot = 1,
        .seed = 5,
        .heartbeat_ms = 50,
        .election_timeout_ms = 500,
        .disk_stall_ms = 1000,
        .clock_drift_percent = 5,
        .entry_overhead_bytes = ENTRY_HEADER_BYTES,
        .append_bytes_max = 1 << 16,
        .inflight_bytes_max = 1 << 20,
        .uncommitted_bytes_max = 1 << 24,
    };
}

static struct raft_config config_make(void)
{
    struct raft_config config = { .members_count = 0 };
    CHECK(raft_config_add(&config, SELF, 11, RAFT_VOTER));
    CHECK(raft_config_add(&config, OTHER, 12, RAFT_VOTER));
    return config;
}

static char *entry_make(uint64_t index, uint64_t term, enum entry_kind kind, size_t body_size,
                        uint8_t fill, uint32_t *out_size)
{
    struct entry entry = {
        .index = index, .term = term, .time_ms = 1000 + index, .kind = kind, .group = 3
    };
    char *bytes = mem_alloc(ENTRY_HEADER_BYTES + body_size);
    entry_header_write(&entry, bytes);
    memset(bytes + ENTRY_HEADER_BYTES, fill, body_size);
    *out_size = (uint32_t)(ENTRY_HEADER_BYTES + body_size);
    return bytes;
}

/* ── the window ──────────────────────────────────────────────────────────────────────────────── */

/* What an entry in the window should be; the array is indexed by the entry's index. */
struct model {
    uint32_t size[MODEL_MAX];
    uint8_t fill[MODEL_MAX];
    uint64_t first, last, queued_first;
};

static void window_check(const struct replica *replica, const struct model *model)
{
    uint64_t bytes = 0;
    CHECK_EQ(replica->window_first, model->first);
    CHECK_EQ(replica->window_last, model->last);
    CHECK_EQ(replica->queued_first, model->queued_first);
    CHECK_EQ(replica_has_queued(replica), model->queued_first <= model->last);
    for (uint64_t i = model->first; i <= model->last; i++) {
        struct slice at = replica_bytes(replica, i);
        bytes += model->size[i];
        CHECK_EQ(at.size, model->size[i]);
        CHECK(at.size > 0 && (uint8_t)at.data[0] == model->fill[i] &&
              (uint8_t)at.data[at.size - 1] == model->fill[i]);
    }
    CHECK_EQ(replica->window_bytes, bytes);
}

static void model_append(struct replica *replica, struct model *model, struct prng *prng)
{
    uint32_t size = 1 + (uint32_t)prng_below(prng, 200);
    uint8_t fill = (uint8_t)prng_next(prng);
    bool queued = model->queued_first <= model->last || prng_chance(prng, 1, 2);
    char *bytes = mem_alloc(size);
    memset(bytes, fill, size);
    replica_window_append(replica, bytes, size, queued);
    model->last++;
    model->size[model->last] = size;
    model->fill[model->last] = fill;
    if (!queued) {
        model->queued_first = model->last + 1;
    }
}

static void window_step(struct replica *replica, struct model *model, struct prng *prng)
{
    uint64_t what = prng_below(prng, 100);
    uint64_t unapplied = model->last - replica->applied;
    if (what < 70) {
        for (uint64_t n = prng_below(prng, 20); n > 0; n--) {
            model_append(replica, model, prng);
        }
    } else if (what < 78) { /* raft has taken some of the queued ones */
        uint64_t more = model->last + 1 - model->queued_first;
        model->queued_first += prng_below(prng, more + 1);
        replica->queued_first = model->queued_first;
    } else if (what < 84 && unapplied > 0) {
        uint64_t index = replica->applied + 1 + prng_below(prng, unapplied);
        replica_window_truncate(replica, index);
        model->last = index - 1;
        model->queued_first = model->queued_first < index ? model->queued_first : model->last + 1;
    } else if (what < 92 && unapplied > 0 && model->queued_first > replica->applied + 1) {
        replica->applied += prng_below(prng, model->queued_first - replica->applied);
    } else if (what < 99) {
        uint64_t kept = replica->applied + 1 - model->first;
        uint64_t index = model->first - 1 + prng_below(prng, kept + 1);
        replica_window_forget(replica, index);
        model->first = index + 1;
    } else {
        uint64_t first = model->last + 1 + prng_below(prng, 10);
        replica_window_reset(replica, first);
        replica->applied = first - 1;
        *model = (struct model){ .first = first, .last = first - 1, .queued_first = first };
    }
}

TEST(window_is_an_array)
{
    struct model *model = mem_zalloc(sizeof(*model));
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct prng prng;
        prng_init(&prng, seed);
        struct raft_options options = options_make();
        struct replica_boot boot = { .base = { .config = config_make() } };
        boot.base.index = boot.base.term = prng_below(&prng, 2) * 9;
        struct replica *replica = replica_new(3, &options, &boot, 1000, NULL, 0);
        *model = (struct model){ .first = boot.base.index + 1,
                                 .last = boot.base.index,
                                 .queued_first = boot.base.index + 1 };
        for (unsigned i = 0; i < 400; i++) {
            window_step(replica, model, &prng);
            window_check(replica, model);
        }
        replica_free(replica);
    }
    mem_free(model);
}

/* ── boot ────────────────────────────────────────────────────────────────────────────────────── */

enum { WRITTEN_MAX = 4000 };

/* A log as it was written, and what is left of it. */
struct history {
    struct slice written[WRITTEN_MAX];
    uint32_t written_count;
    uint64_t terms[WRITTEN_MAX + 1];
    uint8_t fills[WRITTEN_MAX + 1];
    uint64_t base, last, commit;
};

static void history_write(struct history *history, uint64_t index, uint64_t term, uint8_t fill)
{
    uint32_t size = 0;
    char *bytes = entry_make(index, term, ENTRY_COMMAND, 1u + fill % 50u, fill, &size);
    history->written[history->written_count++] = slice_make(bytes, size);
    history->terms[index] = term;
    history->fills[index] = fill;
    history->last = index;
}

/* Leaves out what was replaced. */
static void history_tidy(struct history *history)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < history->written_count; i++) {
        uint64_t index = load_u64(history->written[i].data);
        bool is_final = index <= history->last;
        for (uint32_t k = i + 1; k < history->written_count; k++) {
            is_final = is_final && load_u64(history->written[k].data) > index;
        }
        if (is_final) {
            history->written[count++] = history->written[i];
        } else {
            mem_free((char *)(uintptr_t)history->written[i].data);
        }
    }
    history->written_count = count;
}

/* What is known to be committed comes without what was replaced before. */
static struct history *history_make(struct prng *prng)
{
    struct history *history = mem_zalloc(sizeof(*history));
    uint64_t term = 1 + prng_below(prng, 3);
    history->base = history->last = history->commit = prng_below(prng, 2) * 100;
    uint64_t base_term = history->base == 0 ? 0 : term;
    history->terms[history->base] = base_term;
    for (unsigned i = 0; i < prng_below(prng, 600); i++) {
        uint64_t uncommitted = history->last - history->commit;
        if (prng_chance(prng, 1, 20)) { /* another leader replaces the end */
            term += 1 + prng_below(prng, 2);
            history->last -= prng_below(prng, uncommitted + 1);
        } else if (prng_chance(prng, 1, 20)) {
            history->commit += prng_below(prng, uncommitted + 1);
        }
        history_write(history, history->last + 1, term, (uint8_t)prng_next(prng));
    }
    if (prng_chance(prng, 1, 2)) {
        history->commit = history->base;
    } else {
        history_tidy(history);
    }
    return history;
}

static void boot_check(const struct history *history, const struct replica *replica)
{
    CHECK_EQ(replica->window_first, history->base + 1);
    CHECK_EQ(replica->window_last, history->last);
    CHECK_EQ(replica->commit_index, history->commit);
    CHECK_EQ(replica->applied, history->base);
    CHECK_EQ(raft_last_index(replica->raft), history->last);
    for (uint64_t i = history->base + 1; i <= history->last; i++) {
        struct entry entry;
        uint64_t term = 0;
        uint8_t kind = 0;
        CHECK(entry_decode(replica_bytes(replica, i), &entry));
        CHECK_EQ(entry.index, i);
        CHECK_EQ(entry.term, history->terms[i]);
        CHECK_EQ((uint8_t)entry.body.data[0], history->fills[i]);
        CHECK(raft_entry_at(replica->raft, i, &term, &kind));
        CHECK_EQ(term, history->terms[i]);
        CHECK_EQ(kind, ENTRY_COMMAND);
        CHECK(replica->last_time_ms >= entry.time_ms);
    }
}

static struct replica *boot_of(const struct history *history, const struct replica_boot *boot)
{
    struct raft_options options = options_make();
    return replica_new(3, &options, boot, 1000, history->written, history->written_count);
}

TEST(boot_takes_rewritten_tails)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct prng prng;
        prng_init(&prng, seed);
        struct history *history = history_make(&prng);
        struct replica_boot boot = {
            .term = history->terms[history->last] + prng_below(&prng, 2),
            .base = { history->base, history->terms[history->base], config_make() },
            .commit_index = history->commit,
        };
        struct replica *replica = boot_of(history, &boot);
        CHECK(replica != NULL);
        if (replica != NULL) {
            boot_check(history, replica);
        }
        replica_free(replica);
        mem_free(history);
    }
}

/* Nothing of what was given leaks when the log is refused: the address sanitizer sees to it. */
TEST(boot_refuses_what_cannot_be)
{
    for (unsigned kind = 0; kind < 4; kind++) {
        struct history *history = mem_zalloc(sizeof(*history));
        for (uint64_t i = 1; i <= 10; i++) {
            bool is_gap = kind == 0 && i > 5;
            bool is_future = kind == 1 && i > 5;
            history_write(history, i + is_gap, is_future ? 9 : 2, (uint8_t)i);
        }
        if (kind == 2) {
            struct slice at = history->written[4];
            history->written[4] = slice_make(at.data, 20); /* no entry at all */
        } else if (kind == 3) {
            ((char *)(uintptr_t)history->written[4].data)[24] = ENTRY_CONFIG; /* a bad one */
        }
        struct replica_boot boot = { .term = 3, .base = { .config = config_make() } };
        CHECK(boot_of(history, &boot) == NULL);
        mem_free(history);
    }
}

/* The log is of another history than the snapshot: the first output resets it. */
TEST(boot_conflict_resets)
{
    struct history *history = mem_zalloc(sizeof(*history));
    history_write(history, 49, 2, 1);
    history_write(history, 50, 2, 1);
    struct replica_boot boot = { .term = 4, .base = { 50, 3, config_make() } };
    struct replica *replica = boot_of(history, &boot);
    CHECK(replica != NULL);
    CHECK_EQ(replica->window_first, 51);
    CHECK_EQ(replica->window_last, 50);
    struct raft_output *output = mem_zalloc(sizeof(*output));
    struct raft_input tick = { .kind = RAFT_INPUT_TICK, .now_ms = 1000 };
    raft_step(replica->raft, &tick, output);
    CHECK(output->log_reset);
    CHECK_EQ(output->log_reset_index, 50);
    CHECK_EQ(output->log_reset_term, 3);
    mem_free(output);
    replica_free(replica);
    mem_free(history);
}

/* Once removed, it stood for election in vain: its own term says nothing about who leads. */
TEST(vacant_replica_believes_hints)
{
    struct raft_options options = options_make();
    struct replica_boot boot = { .term = 12, .is_suspect = true, .is_vacated = true };
    CHECK(raft_config_add(&boot.base.config, OTHER, 12, RAFT_VOTER));
    struct replica *replica = replica_new(3, &options, &boot, 1000, NULL, 0);
    CHECK(replica->is_vacant);
    CHECK_EQ(replica->leader, 0);
    CHECK_EQ(replica->term, 12);
    replica->hint_leader = OTHER;
    replica->hint_term = 11;
    replica_refresh(replica);
    CHECK_EQ(replica->leader, OTHER);
    CHECK_EQ(replica->term, 11);
    replica_free(replica);
    boot.base.config = config_make(); /* but a member with a term of its own knows better */
    boot.is_vacated = false;
    replica = replica_new(3, &options, &boot, 1000, NULL, 0);
    replica->hint_leader = OTHER;
    replica->hint_term = 11;
    replica_refresh(replica);
    CHECK_EQ(replica->leader, 0);
    CHECK_EQ(replica->term, 12);
    replica_free(replica);
}

TEST_MAIN
