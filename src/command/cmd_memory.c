/*
 * cmd_memory.c — MEMORY: where the bytes are.
 */
#include "base/mem.h"
#include "command/admin.h"

#include <inttypes.h>

static uint64_t percent_x100(uint64_t part, uint64_t whole);

/* MEMORY USAGE key [SAMPLES count]; a string is never sampled. */
void memory_usage_command(struct command_ctx *ctx)
{
    for (uint32_t i = 3; i < ctx->argc; i += 2) {
        int64_t samples = 0;
        if (i + 1 == ctx->argc || !admin_word(ctx, i, "samples")) {
            reply_syntax_error(ctx->reply);
            return;
        }
        if (!admin_integer(ctx, i + 1, &samples)) {
            return;
        }
        if (samples < 0) {
            reply_syntax_error(ctx->reply);
            return;
        }
    }
    const struct kv_entry *entry = db_peek(ctx, ctx->argv[2]);
    if (entry == NULL) {
        reply_null(ctx->reply);
    } else {
        reply_integer(ctx->reply, (int64_t)kv_entry_memory(entry));
    }
}

void memory_stats_command(struct command_ctx *ctx)
{
    struct reply *reply = ctx->reply;
    struct host_facts facts = { .now_ms = 0 };
    ctx->host->facts(ctx->host, &facts);
    struct kv_stats kv = keyspace_stats(ctx->host->keyspace);
    const struct server_stats *stats = server_stats(ctx->host->server);
    uint64_t used = facts.memory_used;
    uint64_t overhead = used > kv.memory_bytes ? used - kv.memory_bytes : 0;
    uint64_t unused = facts.memory_resident > used ? facts.memory_resident - used : 0;
    reply_map(reply, 17);
    reply_field_integer(reply, "peak.allocated", facts.memory_peak);
    reply_field_integer(reply, "total.allocated", used);
    reply_field_integer(reply, "startup.allocated", 0);
    reply_field_integer(reply, "replication.backlog", 0);
    reply_field_integer(reply, "clients.slaves", 0);
    reply_field_integer(reply, "clients.normal",
                        stats->input_buffer_bytes + stats->output_buffer_bytes);
    reply_field_integer(reply, "aof.buffer", facts.aof_pending_bytes);
    reply_field_integer(reply, "snapshot.kept", facts.snapshot_kept_bytes);
    reply_field_integer(reply, "overhead.total", overhead);
    reply_field_integer(reply, "keys.count", kv.keys);
    reply_field_integer(reply, "keys.bytes-per-key", kv.keys == 0 ? 0 : kv.memory_bytes / kv.keys);
    reply_field_integer(reply, "dataset.bytes", kv.memory_bytes);
    reply_field_double(reply, "dataset.percentage",
                       (double)percent_x100(kv.memory_bytes, used) / 100);
    reply_field_double(reply, "peak.percentage",
                       (double)percent_x100(used, facts.memory_peak) / 100);
    reply_field_integer(reply, "allocator.resident", facts.memory_resident);
    reply_field_double(reply, "fragmentation",
                       (double)percent_x100(facts.memory_resident, used) / 10000);
    reply_field_integer(reply, "fragmentation.bytes", unused);
}

void memory_doctor_command(struct command_ctx *ctx)
{
    enum { SMALL_BYTES = 5 << 20 };
    struct host_facts facts = { .now_ms = 0 };
    ctx->host->facts(ctx->host, &facts);
    uint64_t used = facts.memory_used;
    struct buffer text = { 0 };
    if (used < SMALL_BYTES) {
        buffer_append_text(&text, "This instance is empty or uses very little memory.\n");
    } else {
        if (facts.memory_resident > used + used / 2) {
            buffer_append_text(&text, "High fragmentation: the process holds more than 1.5 times "
                                      "the memory it uses.\n");
        }
        if (facts.memory_peak > used + used / 2) {
            buffer_append_text(&text, "Big peak: 1.5 times the memory used now was in use once; "
                                      "the allocator may still hold some of it.\n");
        }
        if (facts.memory_limit > 0 && used > facts.memory_limit / 10 * 9) {
            buffer_append_text(&text, "Nearly full: more than 90 % of maxmemory is in use; writes "
                                      "will be refused.\n");
        }
        if (text.size == 0) {
            buffer_append_text(&text, "No memory problem found.\n");
        }
    }
    reply_verbatim_buffer(ctx->reply, &text);
}

void memory_malloc_stats_command(struct command_ctx *ctx)
{
    struct buffer text = { 0 };
    mem_stats_refresh();
    buffer_printf(&text, "allocator: %s\nallocated: %zu\nresident: %zu\n", mem_allocator_name(),
                  mem_allocated_bytes(), mem_resident_bytes());
    reply_verbatim_buffer(ctx->reply, &text);
}

/* The allocator gives pages back by itself. */
void memory_purge_command(struct command_ctx *ctx)
{
    reply_ok(ctx->reply);
}

/* Hundredths of a percent. */
static uint64_t percent_x100(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : (uint64_t)((double)part / (double)whole * 10000);
}
