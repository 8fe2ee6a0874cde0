/*
 * kv_bench.c — what the keyspace costs: bytes a key, nanoseconds an operation.
 *
 *   kv_bench [keys] [ttl-keys]
 *
 * Keys of 16 bytes with values of 64 bytes, spread over 256 partitions as on a node.  Memory is
 * what the process grew by (resident), less the payload.  Staged means as the pipeline does it:
 * hashes of a batch first, then buckets, then entries, then the operations.
 */
#include "base/mem.h"
#include "base/prng.h"
#include "storage/kv_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_MS UINT64_C(1700000000000) /* the time at which keys are loaded */

enum { PARTITIONS = 256, KEY_BYTES = 16, VALUE_BYTES = 64, BATCH = 32, SEED = 99 };

struct bench {
    struct kv *kvs[PARTITIONS];
    uint64_t keys;
    char value[VALUE_BYTES];
};

struct op {
    char key[KEY_BYTES];
    uint64_t hash;
    struct kv *kv;
};

static uint64_t clock_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    uint64_t total = 0;
    uint64_t resident = 0;
    if (file == NULL || fscanf(file, "%" SCNu64 " %" SCNu64, &total, &resident) != 2) {
        exit(1);
    }
    (void)fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static struct slice op_key(const struct op *op)
{
    return slice_make(op->key, KEY_BYTES);
}

static void op_prepare(const struct bench *bench, struct op *op, uint64_t number)
{
    memcpy(op->key, "key:000000000000", KEY_BYTES);
    uint64_t left = number;
    for (uint32_t at = KEY_BYTES; left > 0; left /= 10) {
        op->key[--at] = (char)('0' + left % 10);
    }
    /* As good as a CRC16 slot: any spread that does not depend on the table's hash. */
    op->kv = bench->kvs[(number * 0x9e3779b97f4a7c15u) >> 56];
}

static void op_hash(struct op *op)
{
    op->hash = kv_hash(op->kv, op_key(op));
}

static void bench_open(struct bench *bench, uint64_t keys)
{
    bench->keys = keys;
    memset(bench->value, 'v', VALUE_BYTES);
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        bench->kvs[i] = kv_new(SEED);
    }
}

static void bench_close(struct bench *bench)
{
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        kv_free(bench->kvs[i]);
    }
}

/* Loads all keys; ttl_ms 0: none expires.  Prints the slowest single put. */
static void bench_load(struct bench *bench, uint64_t ttl_ms)
{
    struct prng prng;
    prng_init(&prng, 1);
    uint64_t spent_ns = 0;
    uint64_t slowest_ns = 0;
    for (uint64_t i = 0; i < bench->keys; i++) {
        struct op op;
        op_prepare(bench, &op, i);
        uint64_t expire_ms = ttl_ms != 0 ? START_MS + prng_below(&prng, ttl_ms) : 0;
        uint64_t begin_ns = clock_ns();
        op_hash(&op);
        kv_put(op.kv, op_key(&op), op.hash, slice_make(bench->value, VALUE_BYTES), expire_ms, i);
        uint64_t took_ns = clock_ns() - begin_ns;
        spent_ns += took_ns;
        slowest_ns = took_ns > slowest_ns ? took_ns : slowest_ns;
    }
    printf("  insert                %6.1f ns (clock included), slowest %" PRIu64 " us\n",
           (double)spent_ns / (double)bench->keys, slowest_ns / 1000);
}

enum mode { MODE_NONE, MODE_FIND, MODE_PUT };

static bool op_run(const struct bench *bench, struct op *op, enum mode mode)
{
    if (mode == MODE_FIND) {
        return kv_find(op->kv, op_key(op), op->hash, /* now_ms= */ 1) != NULL;
    }
    struct slice value = slice_make(bench->value, VALUE_BYTES);
    kv_put(op->kv, op_key(op), op->hash, value, KV_NO_EXPIRY, /* version= */ 7);
    return true;
}

/* One pass over random keys; returns nanoseconds an operation. */
static double bench_pass(struct bench *bench, enum mode mode, bool is_staged, uint64_t span)
{
    struct prng prng;
    prng_init(&prng, 2);
    uint64_t rounds = 4000000 / BATCH;
    uint64_t hits = 0;
    uint64_t begin_ns = clock_ns();
    for (uint64_t round = 0; round < rounds; round++) {
        struct op ops[BATCH];
        for (uint32_t i = 0; i < BATCH; i++) {
            op_prepare(bench, &ops[i], prng_below(&prng, span));
        }
        if (mode == MODE_NONE) {
            hits += ops[round % BATCH].kv != NULL;
            continue;
        }
        for (uint32_t i = 0; i < BATCH; i++) {
            op_hash(&ops[i]);
        }
        struct kv_wanted keys[BATCH];
        for (uint32_t i = 0; i < BATCH && is_staged; i++) {
            keys[i] = (struct kv_wanted){ ops[i].kv, ops[i].hash };
        }
        kv_prefetch(keys, is_staged ? BATCH : 0);
        for (uint32_t i = 0; i < BATCH; i++) {
            hits += op_run(bench, &ops[i], mode);
        }
    }
    uint64_t spent_ns = clock_ns() - begin_ns;
    if (mode == MODE_FIND && hits != rounds * BATCH) {
        printf("  %" PRIu64 " lookups missed!\n", rounds * BATCH - hits);
    }
    return (double)spent_ns / (double)(rounds * BATCH);
}

static void bench_operations(struct bench *bench, uint64_t span)
{
    double none = bench_pass(bench, MODE_NONE, false, span);
    printf("  %" PRIu64 " keys in use:\n", span);
    printf("    find, one by one    %6.1f ns\n", bench_pass(bench, MODE_FIND, false, span) - none);
    printf("    find, staged        %6.1f ns\n", bench_pass(bench, MODE_FIND, true, span) - none);
    printf("    put, one by one     %6.1f ns\n", bench_pass(bench, MODE_PUT, false, span) - none);
    printf("    put, staged         %6.1f ns\n", bench_pass(bench, MODE_PUT, true, span) - none);
}

static void bench_walks(struct bench *bench)
{
    uint64_t begin_ns = clock_ns();
    uint64_t seen = 0;
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        struct kv_view *view = kv_view_begin(bench->kvs[i]);
        while (kv_view_next(view) != NULL) {
            seen += 1;
        }
        kv_view_end(view);
    }
    printf("  view                  %6.1f ns a key\n",
           (double)(clock_ns() - begin_ns) / (double)seen);
    begin_ns = clock_ns();
    const struct kv_entry *out[KV_SCAN_SLACK + 10];
    uint64_t calls = 0;
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        uint64_t position = 0;
        do {
            (void)kv_scan(bench->kvs[i], &position, 10, out, KV_SCAN_SLACK + 10);
            calls += 1;
        } while (position != 0);
    }
    printf("  scan count 10         %6.1f ns a call\n",
           (double)(clock_ns() - begin_ns) / (double)calls);
}

/* Lets the allocator give back what it keeps for ten seconds in case it is wanted again. */
static void bench_settle(struct bench *bench)
{
    sleep(11);
    for (uint64_t i = 0; i < 100000; i++) {
        struct op op;
        op_prepare(bench, &op, bench->keys + i % 1000);
        op_hash(&op);
        if (i % 2000 < 1000) {
            kv_put(op.kv, op_key(&op), op.hash, op_key(&op), KV_NO_EXPIRY, /* version= */ 1);
        } else {
            (void)kv_delete(op.kv, op_key(&op), op.hash);
        }
    }
}

static void bench_memory(struct bench *bench, uint64_t before_bytes)
{
    uint64_t counted = 0;
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        counted += kv_stats(bench->kvs[i])->memory_bytes;
    }
    double keys = (double)bench->keys;
    double payload = KEY_BYTES + VALUE_BYTES;
    double fresh = (double)(resident_bytes() - before_bytes) / keys - payload;
    bench_settle(bench);
    double settled = (double)(resident_bytes() - before_bytes) / keys - payload;
    printf("  overhead              %6.1f bytes a key resident (%.1f before the allocator gives "
           "back), %.1f as counted\n",
           settled, fresh, (double)counted / keys - payload);
}

static void bench_expiry(struct bench *bench, uint64_t now_ms)
{
    uint64_t dropped = 0;
    uint64_t slowest_ns = 0;
    uint64_t begin_ns = clock_ns();
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        struct kv *kv = bench->kvs[i];
        while (kv_expiry_next_ms(kv) <= now_ms) {
            uint64_t hashes[100];
            uint64_t call_ns = clock_ns();
            uint32_t count = kv_expiry_collect(kv, now_ms, hashes, 100);
            call_ns = clock_ns() - call_ns;
            slowest_ns = call_ns > slowest_ns ? call_ns : slowest_ns;
            for (uint32_t j = 0; j < count; j++) {
                dropped += kv_expire_hash(kv, hashes[j], now_ms);
            }
        }
    }
    printf("  expiry                %6.1f ns a key, slowest collect of 100 %" PRIu64 " us\n",
           (double)(clock_ns() - begin_ns) / (double)dropped, slowest_ns / 1000);
}

static void bench_volatile(uint64_t keys)
{
    static const uint64_t hour_ms = 3600 * 1000;
    struct bench bench;
    uint64_t before_bytes = resident_bytes();
    bench_open(&bench, keys);
    printf("empty partitions: %" PRIu64 " KiB\n", (resident_bytes() - before_bytes) / 1024);
    printf("%" PRIu64 " keys with a TTL:\n", keys);
    bench_load(&bench, hour_ms);
    bench_memory(&bench, before_bytes);
    bench_expiry(&bench, START_MS + hour_ms);
    bench_close(&bench);
}

static void bench_persistent(uint64_t keys)
{
    struct bench bench;
    uint64_t before_bytes = resident_bytes();
    bench_open(&bench, keys);
    printf("%" PRIu64 " keys:\n", keys);
    bench_load(&bench, /* ttl_ms= */ 0);
    bench_memory(&bench, before_bytes);
    bench_operations(&bench, keys < 1000 ? keys : 1000);
    bench_operations(&bench, keys < 1000000 ? keys : 1000000);
    bench_operations(&bench, keys);
    bench_walks(&bench);
    bench_close(&bench);
}

/* Each part in a process of its own, so that resident memory means something. */
static void run_apart(void (*part)(uint64_t keys), uint64_t keys)
{
    (void)fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        part(keys);
        exit(0);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
        exit(1);
    }
}

int main(int argc, char **argv)
{
    run_apart(bench_persistent, argc > 1 ? strtoull(argv[1], NULL, 10) : 5000000);
    run_apart(bench_volatile, argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000);
    return 0;
}
