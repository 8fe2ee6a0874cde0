/*
 * pipeline_keyspace.c — KEYS, SCAN, DBSIZE and RANDOMKEY on a member of a cluster: they cover all
 * of it, whatever this node holds.
 *
 * Each partition is asked by itself, at its leader, like any read of a key: linearizable, behind
 * the connection's own writes.  The parts for one node leave in one frame.  With level ANY
 * this node's replicas answer, whatever they have applied.  gather.c makes one answer of the parts;
 * the whole is no snapshot of all partitions at one moment (nor is a SCAN anywhere).
 *
 * A SCAN asks as many partitions at once, from the cursor's on, as should hold COUNT keys: a small
 * database is done in one call, and in a large one no partition is asked in vain.  What was found
 * beyond COUNT is not used; the cursor stops behind the last partition that was, or inside it.
 *
 * Read next: gather.h, command/scan_request.h, command/cmd_keyspace.c (a part).
 */
#include "base/assert.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "base/text.h"
#include "command/command_table.h"
#include "command/scan_request.h"
#include "gather.h"
#include "io/io.h"
#include "node.h"
#include "pipeline_internal.h"

enum { SCAN_PARTS_MAX = 256 }; /* partitions asked in one call, however few keys they hold */

/* The partitions that are asked, in order. */
struct range {
    uint32_t count;
    uint16_t partitions[PARTITIONS_MAX];
};

static bool is_shown(const bool *shown, uint32_t partition)
{
    return shown == NULL || shown[partition];
}

static struct range range_all(const struct pipeline *pipeline, const bool *shown)
{
    struct range range = { .count = 0 };
    for (uint32_t i = 0; i < pipeline->shard->keyspace.count; i++) {
        if (is_shown(shown, i)) {
            range.partitions[range.count++] = (uint16_t)i;
        }
    }
    return range;
}

/* ── one part ────────────────────────────────────────────────────────────────────────────────── */

static void part_route(struct pipeline *pipeline, const struct routed *whole, uint32_t partition,
                       struct asker asker)
{
    struct routed part = *whole;
    part.staged.asker = asker;
    part.staged.place = (struct key_place){ .is_known = true, .partition = partition };
    part.partition = partition;
    struct replica *replica = consensus_replica(pipeline->shard->consensus, partition);
    if ((whole->is_any && route_any_is_here(pipeline, replica)) || MUTANT(MUT_READ_LOCAL)) {
        pipeline_read_now(pipeline, &part.staged);
    } else {
        route_one(pipeline, &part);
    }
}

/* ── KEYS, DBSIZE, RANDOMKEY ─────────────────────────────────────────────────────────────────── */

static struct gather *gather_for(struct pipeline *pipeline, const struct staged *staged,
                                 uint32_t parts)
{
    switch (staged->command->id) {
    case COMMAND_ID_keys:
        return gather_keys_new(&staged->asker, staged->command, parts);
    case COMMAND_ID_randomkey:
        return gather_randomkey_new(&staged->asker, staged->command, parts,
                                    prng_next(&pipeline->shard->prng));
    default:
        ASSERT(staged->command->id == COMMAND_ID_dbsize);
        return gather_new(&staged->asker, staged->command, parts, /* order= */ NULL, 0);
    }
}

static void route_over(struct pipeline *pipeline, struct staged *staged, const struct range *range)
{
    struct routed whole = routed_of(pipeline, staged, /* is_write= */ false);
    struct gather *gather = gather_for(pipeline, &whole.staged, range->count);
    for (uint32_t i = 0; i < range->count; i++) {
        part_route(pipeline, &whole, range->partitions[i], gather_part(gather, i, 0));
    }
}

/* ── SCAN ────────────────────────────────────────────────────────────────────────────────────── */

/* Keys of a partition from the position on, as far as this node knows. */
static uint64_t keys_expected(const struct pipeline *pipeline, uint32_t partition,
                              uint64_t position)
{
    uint64_t keys = kv_stats(pipeline->shard->keyspace.partitions[partition])->keys;
    return keys - (uint64_t)((unsigned __int128)keys * position >> 64);
}

/* As many as should hold the keys wanted. */
static struct range range_scan(const struct pipeline *pipeline, const bool *shown,
                               const struct scan_request *request)
{
    struct range range = { .count = 0 };
    uint32_t first = scan_cursor_partition(request->cursor);
    uint64_t position = scan_cursor_position(request->cursor);
    uint64_t expected = 0;
    for (uint32_t i = first; i < pipeline->shard->keyspace.count; i++) {
        if (range.count == SCAN_PARTS_MAX || expected >= request->count) {
            break;
        }
        if (is_shown(shown, i)) {
            range.partitions[range.count++] = (uint16_t)i;
            expected += keys_expected(pipeline, i, i == first ? position : 0);
        }
    }
    return range;
}

/* Where each part begins, and what follows the last one. */
static uint64_t *cursors_new(const struct pipeline *pipeline, const bool *shown,
                             const struct range *range, uint64_t cursor)
{
    uint64_t *cursors = mem_alloc((range->count + 1) * sizeof(*cursors));
    for (uint32_t i = 0; i < range->count; i++) {
        bool is_inside = scan_cursor_partition(cursor) == range->partitions[i];
        cursors[i] = is_inside ? cursor : scan_cursor_make(range->partitions[i], 0);
    }
    uint32_t next = range->partitions[range->count - 1] + 1u;
    while (next < pipeline->shard->keyspace.count && !is_shown(shown, next)) {
        next++;
    }
    bool is_end = next == pipeline->shard->keyspace.count;
    cursors[range->count] = is_end ? 0 : scan_cursor_make(next, 0);
    return cursors;
}

static void scan_over(struct pipeline *pipeline, struct staged *staged,
                      const struct scan_request *request, const bool *shown,
                      const struct range *range)
{
    struct routed whole = routed_of(pipeline, staged, /* is_write= */ false);
    uint64_t *cursors = cursors_new(pipeline, shown, range, request->cursor);
    struct gather *gather = gather_scan_new(&whole.staged.asker, staged->command, range->count,
                                            cursors, request->count);
    struct slice *argv = mem_alloc(staged->argc * sizeof(*argv));
    memcpy(argv, staged->argv, staged->argc * sizeof(*argv));
    whole.staged.argv = argv;
    for (uint32_t i = 0; i < range->count; i++) {
        char text[TEXT_I64_BYTES_MAX];
        struct asker asker = gather_part(gather, i, 0);
        argv[1] = slice_make(text, text_from_u64(cursors[i], text));
        part_route(pipeline, &whole, range->partitions[i], asker);
    }
    mem_free(argv);
}

/* ── all of them ─────────────────────────────────────────────────────────────────────────────── */

/* The answer of a node that leads nothing to a cluster-aware client, or of a SCAN behind the end.
 */
static void answer_nothing(struct pipeline *pipeline, const struct staged *staged)
{
    struct reply *reply = pipeline_answer_begin(pipeline, staged);
    switch (staged->command->id) {
    case COMMAND_ID_keys:
        reply_array(reply, 0);
        break;
    case COMMAND_ID_scan:
        reply_array(reply, 2);
        reply_bulk(reply, slice_from("0"));
        reply_array(reply, 0);
        break;
    case COMMAND_ID_randomkey:
        reply_null(reply);
        break;
    default:
        reply_integer(reply, 0);
        break;
    }
    pipeline_answer_end(pipeline, staged, reply);
}

static void route_parts(struct pipeline *pipeline, struct staged *staged, const bool *shown)
{
    struct range range = range_all(pipeline, shown);
    if (range.count == 0) {
        answer_nothing(pipeline, staged);
    } else {
        route_over(pipeline, staged, &range);
    }
}

static void route_scan(struct pipeline *pipeline, struct staged *staged, const bool *shown)
{
    struct scan_request request;
    const char *wrong = scan_request_read(staged->argc, staged->argv, &request);
    if (wrong != NULL) {
        pipeline_answer_error(pipeline, staged, wrong);
        return;
    }
    struct range range = range_scan(pipeline, shown, &request);
    if (range.count == 0) {
        answer_nothing(pipeline, staged);
    } else {
        scan_over(pipeline, staged, &request, shown, &range);
    }
}

void route_keyspace(struct pipeline *pipeline, struct staged *staged, const bool *shown)
{
    uint64_t start_ns = io_clock_ns(pipeline->node->io);
    if (staged->command->id == COMMAND_ID_scan) {
        route_scan(pipeline, staged, shown);
    } else {
        route_parts(pipeline, staged, shown);
    }
    /* What other nodes do for it is not counted anywhere. */
    meter_one(pipeline->shard->meter, staged->command, staged->argv, staged->argc, staged->conn,
              pipeline->shard->now_ms, io_clock_ns(pipeline->node->io) - start_ns);
}
