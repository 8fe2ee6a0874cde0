/*
 * command_test.c — the table, the log form, and what cannot be written as a spec table: time,
 * scans while keys change, replicas that must agree, hostile log bytes.
 */
#include "test.h"

#include "base/prng.h"
#include "base/text.h"
#include "test_db.h"

#include <stdarg.h>

enum { WORDS_MAX = 16 };

/* Splits at spaces, runs, returns the reply as RESP2 (NUL-terminated, until the next call). */
static const char *run(struct test_db *db, const char *line)
{
    struct slice words[WORDS_MAX];
    uint32_t count = 0;
    while (*line != '\0') {
        size_t size = strcspn(line, " ");
        ASSERT(count < WORDS_MAX);
        words[count++] = (struct slice){ line, size };
        line += size + (line[size] == ' ');
    }
    test_db_run(db, count, words);
    buffer_append_byte(&db->out, '\0');
    return db->out.data;
}

__attribute__((format(printf, 2, 3))) static const char *runf(struct test_db *db,
                                                              const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    return run(db, line);
}

#define CHECK_REPLY(db, line, expected)                                                            \
    do {                                                                                           \
        const char *reply_ = run(db, line);                                                        \
        if (strcmp(reply_, expected) != 0) {                                                       \
            test_fail(__FILE__, __LINE__, reply_);                                                 \
        }                                                                                          \
    } while (0)

/* ── the table ───────────────────────────────────────────────────────────────────────────────── */

static const struct command *lookup_slowly(struct slice name)
{
    for (uint32_t i = 0; i < command_count(); i++) {
        if (slice_equal_nocase(name, command_at(i)->name)) {
            return command_at(i);
        }
    }
    return NULL;
}

TEST(lookup_finds_every_name_in_any_case)
{
    struct prng prng;
    prng_init(&prng, 1);
    for (uint32_t i = 0; i < command_count(); i++) {
        const char *name = command_at(i)->name;
        char text[32];
        for (int round = 0; round < 20; round++) {
            size_t size = strlen(name);
            for (size_t c = 0; c < size; c++) {
                bool is_letter = name[c] >= 'a' && name[c] <= 'z';
                text[c] = (char)(is_letter && prng_chance(&prng, 1, 2) ? name[c] - 32 : name[c]);
            }
            CHECK(command_lookup((struct slice){ text, size }) == command_at(i));
        }
    }
}

TEST(lookup_agrees_with_a_slow_one_on_near_misses)
{
    struct prng prng;
    prng_init(&prng, 2);
    for (uint32_t i = 0; i < 200000; i++) {
        const char *name = command_at((uint32_t)prng_below(&prng, command_count()))->name;
        char text[64] = { 0 };
        size_t size = strlen(name);
        memcpy(text, name, size);
        text[prng_below(&prng, size)] = (char)prng_next(&prng);
        size = prng_chance(&prng, 1, 4) ? prng_below(&prng, 40) : size;
        struct slice near = { text, size };
        CHECK(command_lookup(near) == lookup_slowly(near));
    }
    CHECK(command_lookup((struct slice){ NULL, 0 }) == NULL);
}

TEST(rows_are_sound)
{
    for (uint32_t i = 0; i < command_count(); i++) {
        const struct command *command = command_at(i);
        CHECK_EQ(command->id, i);
        CHECK(command->run != NULL && command->arity != 0);
        CHECK(command->summary[0] != '\0' && command->group[0] != '\0');
        bool is_write = (command->flags & COMMAND_WRITE) != 0;
        CHECK_EQ(is_write, command->opcode != 0);
        CHECK(command->opcode == 0 || command_by_opcode(command->opcode) == command);
        if (command->spread == SPREAD_SPLIT) {
            CHECK_EQ(command->first_key, 1); /* the root splits by this */
            CHECK(command->last_key == -1 && command->key_step > 0);
        }
    }
    CHECK(command_by_opcode(0) == NULL);
    CHECK(command_by_opcode(1023) == NULL);
    CHECK(command_by_opcode(UINT64_MAX) == NULL);
}

TEST(keys_are_found)
{
    uint32_t first = 0, last = 0, step = 0;
    CHECK(command_keys(command_lookup(slice_from("get")), 2, &first, &last, &step));
    CHECK(first == 1 && last == 1 && step == 1);
    CHECK(command_keys(command_lookup(slice_from("mset")), 7, &first, &last, &step));
    CHECK(first == 1 && last == 6 && step == 2);
    CHECK(command_keys(command_lookup(slice_from("object")), 3, &first, &last, &step));
    CHECK(first == 2 && last == 2);
    CHECK(!command_keys(command_lookup(slice_from("object")), 2, &first, &last, &step));
    CHECK(!command_keys(command_lookup(slice_from("dbsize")), 1, &first, &last, &step));
}

TEST(subcommands_are_found)
{
    const struct command *object = command_lookup(slice_from("object"));
    uint32_t count = 0;
    for (; command_subcommand_at(object, count) != NULL; count++) {
        const struct subcommand *row = command_subcommand_at(object, count);
        CHECK(command_subcommand_lookup(object, slice_from(row->name)) == row);
    }
    CHECK_EQ(count, 5);
    CHECK(command_subcommand_lookup(object, slice_from("ENCODING")) != NULL);
    CHECK(command_subcommand_lookup(object, slice_from("nope")) == NULL);
    CHECK(command_subcommand_at(command_lookup(slice_from("get")), 0) == NULL);
}

TEST(unknown_commands_are_quoted_as_redis_does)
{
    struct test_db db;
    test_db_init(&db);
    CHECK_REPLY(&db, "nope", "-ERR unknown command 'nope', with args beginning with: \r\n");
    CHECK_REPLY(&db, "nope a b",
                "-ERR unknown command 'nope', with args beginning with: 'a' 'b' \r\n");
    char big[400];
    memset(big, 'x', sizeof(big));
    struct slice words[] = { { big, sizeof(big) }, { big, 100 }, { big, 100 }, { big, 100 } };
    test_db_run(&db, 4, words);
    CHECK(db.out.size < 400); /* cut */
    struct slice hostile[] = { slice_from("a\r\nb%s"), { "\0\n%n", 4 } };
    test_db_run(&db, 2, hostile);
    CHECK(memchr(db.out.data, '\n', db.out.size) == db.out.data + db.out.size - 1);
    test_db_deinit(&db);
}

/* ── the log form ────────────────────────────────────────────────────────────────────────────── */

TEST(what_is_encoded_decodes)
{
    struct prng prng;
    prng_init(&prng, 3);
    struct command_args args = { 0 };
    for (int round = 0; round < 3000; round++) {
        const struct command *command = command_lookup(slice_from("mset"));
        char bytes[600];
        for (size_t i = 0; i < sizeof(bytes); i++) {
            bytes[i] = (char)prng_next(&prng);
        }
        struct slice argv[41] = { slice_from("mset") };
        uint32_t argc = 3 + 2 * (uint32_t)prng_below(&prng, 20);
        for (uint32_t i = 1; i < argc; i++) {
            argv[i] = (struct slice){ bytes + prng_below(&prng, 300), prng_below(&prng, 300) };
        }
        char *body = mem_alloc(command_encode_max(argc, argv));
        size_t size = command_encode(command, argc, argv, body);
        CHECK(size <= command_encode_max(argc, argv));
        struct command_decoded out;
        CHECK(command_decode((struct slice){ body, size }, &args, &out));
        CHECK(out.command == command && out.argc == argc);
        for (uint32_t i = 0; i < argc; i++) {
            CHECK(slice_equal(out.argv[i], argv[i]));
        }
        size_t cut = prng_below(&prng, size);
        CHECK(!command_decode((struct slice){ body, cut }, &args, &out));
        mem_free(body);
    }
    mem_free(args.argv);
}

TEST(hostile_log_bytes_are_refused_or_decode_within_bounds)
{
    struct prng prng;
    prng_init(&prng, 4);
    struct command_args args = { 0 };
    uint32_t accepted = 0;
    for (int round = 0; round < 300000; round++) {
        size_t size = prng_below(&prng, 24);
        char *body = mem_alloc(size + 1); /* on the heap, so that a read past it is seen */
        for (size_t i = 0; i < size; i++) {
            body[i] = (char)prng_below(&prng, prng_chance(&prng, 1, 2) ? 4 : 256);
        }
        struct command_decoded out;
        if (command_decode((struct slice){ body, size }, &args, &out)) {
            accepted++;
            CHECK(command_arity_ok(out.command, out.argc));
            for (uint32_t i = 1; i < out.argc; i++) {
                CHECK(out.argv[i].data >= body);
                CHECK(out.argv[i].data + out.argv[i].size <= body + size);
            }
        }
        mem_free(body);
    }
    CHECK(accepted > 0);
    CHECK(args.capacity <= 64); /* counts that lie take no memory */
    mem_free(args.argv);
}

/* ── effects ─────────────────────────────────────────────────────────────────────────────────── */

TEST(effects_apply_in_order)
{
    struct kv *kv = kv_new(7);
    struct effects effects = { 0 };
    struct slice a = slice_from("a");
    struct slice b = slice_from("b");
    effects_put(&effects, 3, b, slice_from("old"), 0, false);
    effects_clear(&effects, 3);
    effects_put(&effects, 3, a, slice_from("1"), 5000, false);
    effects_put(&effects, 3, b, slice_from("text"), 0, true);
    effects_expiry(&effects, 3, b, 9000);
    effects_delete(&effects, 3, a);
    effects_put(&effects, 9, a, slice_from("elsewhere"), 0, false);
    CHECK_EQ(effects.count, 2);
    CHECK_EQ(effects.parts[0].partition, 3);
    CHECK(effects_apply(kv, buffer_slice(&effects.parts[0].body), 77));
    CHECK_EQ(kv_stats(kv)->keys, 1);
    const struct kv_entry *entry = kv_find(kv, b, kv_hash(kv, b), 0);
    CHECK(entry != NULL);
    CHECK_EQ(kv_entry_expire_ms(entry), 9000);
    CHECK_EQ(kv_entry_version(entry), 77);
    CHECK_EQ(kv_entry_encoding(entry), KV_ENCODING_RAW);
    effects_deinit(&effects);
    CHECK(effects.parts == NULL && effects.count == 0);
    effects_deinit(&effects);
    kv_free(kv);
}

TEST(malformed_effects_are_refused)
{
    struct effects effects = { 0 };
    effects_put(&effects, 0, slice_from("key"), slice_from("value"), 123456, false);
    struct slice whole = buffer_slice(&effects.parts[0].body);
    for (size_t cut = 1; cut < whole.size; cut++) {
        struct kv *kv = kv_new(7);
        CHECK(!effects_apply(kv, (struct slice){ whole.data, cut }, 1));
        CHECK_EQ(kv_stats(kv)->keys, 0);
        kv_free(kv);
    }
    effects_deinit(&effects);
    struct kv *kv = kv_new(7);
    CHECK(!effects_apply(kv, slice_make("\x00\x01k", 3), 1));
    CHECK(!effects_apply(kv, slice_make("\x06\x01k", 3), 1));
    CHECK(!effects_apply(kv, slice_make("\x05\x01k", 3), 1));
    /* An expiry of more than 48 bits. */
    CHECK(!effects_apply(kv, slice_make("\x04\x01k\xff\xff\xff\xff\xff\xff\xff\x01", 11), 1));
    CHECK(effects_apply(kv, slice_make("", 0), 1));
    struct prng prng;
    prng_init(&prng, 5);
    for (int round = 0; round < 100000; round++) {
        size_t size = 1 + prng_below(&prng, 16);
        char *body = mem_alloc(size);
        for (size_t i = 0; i < size; i++) {
            body[i] = (char)prng_below(&prng, prng_chance(&prng, 1, 2) ? 6 : 256);
        }
        (void)effects_apply(kv, (struct slice){ body, size }, 1);
        mem_free(body);
    }
    kv_free(kv);
}

/* ── against a model, with time ──────────────────────────────────────────────────────────────── */

enum { MODEL_KEYS = 12, MODEL_STEPS = 60000 };

/* Everything about a key, kept in the plainest way. */
struct model_key {
    bool exists;
    int64_t value;
    uint64_t expire_ms;
};

struct model {
    struct model_key keys[MODEL_KEYS];
    uint64_t now_ms;
};

static struct model_key *model_at(struct model *model, uint32_t key)
{
    struct model_key *at = &model->keys[key];
    if (at->exists && at->expire_ms != 0 && at->expire_ms <= model->now_ms) {
        *at = (struct model_key){ 0 };
    }
    return at;
}

/* One random step: which key, which other key, and numbers to use. */
struct step {
    uint32_t key, other, number, ttl;
    struct model_key *at, *to;
    char expected[128];
};

__attribute__((format(printf, 2, 3))) static void expect(struct step *step, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(step->expected, sizeof(step->expected), format, args);
    va_end(args);
}

static const char *step_set(struct test_db *db, struct step *step, uint64_t kind)
{
    struct model_key fresh = { true, step->number, 0 };
    const char *reply = NULL;
    expect(step, "+OK\r\n");
    switch (kind) {
    case 0:
        reply = runf(db, "SET k%u %u", step->key, step->number);
        *step->at = fresh;
        break;
    case 1:
        reply = runf(db, "SET k%u %u PX %u", step->key, step->number, step->ttl);
        fresh.expire_ms = db->now_ms + step->ttl;
        *step->at = fresh;
        break;
    case 2:
        reply = runf(db, "SET k%u %u KEEPTTL", step->key, step->number);
        fresh.expire_ms = step->at->expire_ms;
        *step->at = fresh;
        break;
    default:
        reply = runf(db, "SET k%u %u NX", step->key, step->number);
        if (step->at->exists) {
            expect(step, "$-1\r\n");
        } else {
            *step->at = fresh;
        }
    }
    return reply;
}

static const char *step_expire(struct test_db *db, struct step *step, uint64_t kind)
{
    struct model_key *at = step->at;
    uint64_t until = db->now_ms + step->ttl;
    bool takes = at->exists;
    const char *word = "";
    if (kind == 1) {
        word = " GT";
        takes = takes && at->expire_ms != 0 && until > at->expire_ms;
    } else if (kind == 2) {
        word = " LT";
        takes = takes && (at->expire_ms == 0 || until < at->expire_ms);
    } else if (kind == 3) {
        word = " NX";
        takes = takes && at->expire_ms == 0;
    }
    const char *reply = runf(db, "PEXPIRE k%u %u%s", step->key, step->ttl, word);
    expect(step, ":%d\r\n", takes);
    at->expire_ms = takes ? until : at->expire_ms;
    return reply;
}

/* Commands on two keys. */
static const char *step_pair(struct test_db *db, struct step *step, uint64_t kind)
{
    struct model_key *at = step->at;
    struct model_key *to = step->to;
    const char *reply = NULL;
    if (kind == 0) {
        reply = runf(db, "DEL k%u k%u", step->key, step->other);
        expect(step, ":%d\r\n", at->exists + (to != at && to->exists));
        *at = (struct model_key){ 0 };
        *to = (struct model_key){ 0 };
    } else if (kind == 1) {
        reply = runf(db, "RENAME k%u k%u", step->key, step->other);
        expect(step, at->exists ? "+OK\r\n" : "-ERR no such key\r\n");
        if (at->exists && at != to) {
            *to = *at;
            *at = (struct model_key){ 0 };
        }
    } else {
        reply = runf(db, "MSETNX k%u 5 k%u 6", step->key, step->other);
        bool takes = !at->exists && !to->exists;
        expect(step, ":%d\r\n", takes);
        if (takes) {
            *at = (struct model_key){ true, 5, 0 };
            *to = (struct model_key){ true, 6, 0 };
        }
    }
    return reply;
}

static const char *step_one(struct test_db *db, struct step *step, uint64_t kind)
{
    struct model_key *at = step->at;
    const char *reply = NULL;
    if (kind == 0) {
        reply = runf(db, "INCRBY k%u %u", step->key, step->number);
        *at = (struct model_key){ true, at->value + step->number, at->expire_ms };
        expect(step, ":%" PRId64 "\r\n", at->value);
    } else if (kind == 1) {
        reply = runf(db, "PERSIST k%u", step->key);
        expect(step, ":%d\r\n", at->expire_ms != 0);
        at->expire_ms = 0;
    } else if (kind == 2) {
        int64_t left = (int64_t)(at->expire_ms - db->now_ms);
        reply = runf(db, "PTTL k%u", step->key);
        expect(step, ":%" PRId64 "\r\n", !at->exists ? -2 : at->expire_ms == 0 ? -1 : left);
    } else {
        char text[32];
        int size = snprintf(text, sizeof(text), "%" PRId64, at->value);
        reply = runf(db, "GET k%u", step->key);
        expect(step, "$-1\r\n");
        if (at->exists) {
            expect(step, "$%d\r\n%s\r\n", size, text);
        }
    }
    return reply;
}

static void model_step(struct test_db *db, struct model *model, struct prng *prng)
{
    struct step step = {
        .key = (uint32_t)prng_below(prng, MODEL_KEYS),
        .other = (uint32_t)prng_below(prng, MODEL_KEYS),
        .number = (uint32_t)prng_below(prng, 1000),
        .ttl = 1 + (uint32_t)prng_below(prng, 400),
    };
    db->now_ms += prng_below(prng, 5);
    model->now_ms = db->now_ms;
    step.at = model_at(model, step.key);
    step.to = model_at(model, step.other);
    uint64_t kind = prng_below(prng, 4);
    const char *reply = NULL;
    switch (prng_below(prng, 4)) {
    case 0:
        reply = step_set(db, &step, kind);
        break;
    case 1:
        reply = step_expire(db, &step, kind);
        break;
    case 2:
        reply = step_pair(db, &step, kind);
        break;
    default:
        reply = step_one(db, &step, kind);
    }
    if (strcmp(reply, step.expected) != 0) {
        test_fail(__FILE__, __LINE__, reply);
    }
}

static void check_against_model(bool is_effects_always, uint64_t seed)
{
    struct test_db db;
    struct prng prng;
    test_db_init(&db);
    prng_init(&prng, seed);
    db.is_effects_always = is_effects_always;
    struct model model = { .now_ms = db.now_ms };
    for (int step = 0; step < MODEL_STEPS; step++) {
        model_step(&db, &model, &prng);
    }
    test_db_deinit(&db);
}

TEST(random_commands_with_time_match_a_model)
{
    check_against_model(/* is_effects_always= */ false, 11);
}

TEST(the_same_by_effects)
{
    check_against_model(/* is_effects_always= */ true, 12);
}

/* ── relative times become absolute before the log ───────────────────────────────────────────── */

/* What prepare would log, as text. */
static void prepare_text(struct test_db *db, const char *line, char *out, size_t out_size)
{
    struct slice words[WORDS_MAX];
    uint32_t count = 0;
    while (*line != '\0') {
        size_t size = strcspn(line, " ");
        words[count++] = (struct slice){ line, size };
        line += size + (line[size] == ' ');
    }
    struct reply sink;
    reply_begin_sink(&sink);
    struct command_ctx ctx = test_db_ctx(db, command_lookup(words[0]), count, words, &sink);
    CHECK_EQ(command_prepare(&ctx), 0);
    size_t at = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < ctx.prepared.argc; i++) {
        int wrote = snprintf(out + at, out_size - at, "%s%.*s", i > 0 ? " " : "",
                             (int)ctx.prepared.args[i].size, ctx.prepared.args[i].data);
        at += (size_t)wrote;
    }
    if (ctx.prepared.argc > 0) {
        CHECK(slice_equal_nocase(ctx.prepared.args[0], ctx.command->name));
    }
}

TEST(prepared_commands_are_absolute)
{
    static const char *const cases[][2] = {
        { "SET k v", "" },
        { "SET k v NX", "set k v NX" },
        { "SET k v EX 10 XX GET", "set k v XX GET PXAT 1700000010000" },
        { "SET k v px 10", "set k v PXAT 1700000000010" },
        { "SET k v EXAT 1800000000", "set k v PXAT 1800000000000" },
        { "SET k v KEEPTTL", "set k v KEEPTTL" },
        { "SETEX k 10 v", "set k v PXAT 1700000010000" },
        { "PSETEX k 10 v", "set k v PXAT 1700000000010" },
        { "GETEX k", "getex k" },
        { "GETEX k EX 10", "getex k PXAT 1700000010000" },
        { "GETEX k persist", "getex k PERSIST" },
        { "EXPIRE k 10", "pexpireat k 1700000010000" },
        { "PEXPIRE k 10 gt xx", "pexpireat k 1700000000010 XX GT" },
        { "EXPIREAT k 1800000000 NX", "pexpireat k 1800000000000 NX" },
        { "EXPIRE k -1800000000", "pexpireat k 0" },
        { "PEXPIREAT k 9000000000000000000", "pexpireat k 281474976710655" },
    };
    struct test_db db;
    test_db_init(&db);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char text[256];
        prepare_text(&db, cases[i][0], text, sizeof(text));
        if (strcmp(text, cases[i][1]) != 0) {
            test_fail(__FILE__, __LINE__, text);
        }
    }
    test_db_deinit(&db);
}

/* ── walking ─────────────────────────────────────────────────────────────────────────────────── */

enum { SCAN_KEYS = 3000 };

/* One SCAN step; marks the keys returned; returns the next cursor. */
static uint64_t scan_step(struct test_db *db, uint64_t cursor, uint32_t count, uint8_t *seen)
{
    const char *at = runf(db, "SCAN %" PRIu64 " COUNT %u", cursor, count);
    char *next = NULL;
    at = strchr(strchr(at, '\n') + 1, '\n') + 1; /* behind "*2" and the cursor's "$n" */
    uint64_t result = strtoull(at, &next, 10);
    while ((next = strstr(next, "key:")) != NULL) {
        uint32_t key = (uint32_t)strtoul(next + 4, &next, 10);
        CHECK(key < 2 * SCAN_KEYS);
        seen[key]++;
    }
    return result;
}

TEST(scan_returns_what_stays_while_keys_come_and_go)
{
    struct test_db db;
    struct prng prng;
    test_db_init(&db);
    prng_init(&prng, 6);
    for (uint32_t i = 0; i < SCAN_KEYS; i++) {
        (void)runf(&db, "SET key:%u x", i);
    }
    for (uint32_t count = 1; count < 2000; count = count * 3 + 1) {
        static uint8_t seen[2 * SCAN_KEYS];
        memset(seen, 0, sizeof(seen));
        uint64_t cursor = 0;
        uint32_t calls = 0;
        do {
            uint64_t before = cursor;
            cursor = scan_step(&db, cursor, count, seen);
            CHECK(cursor < 1ull << 53);
            CHECK(cursor == 0 || cursor > before);
            uint32_t extra = SCAN_KEYS + (uint32_t)prng_below(&prng, SCAN_KEYS);
            (void)runf(&db, "%s key:%u x", prng_chance(&prng, 1, 2) ? "SET" : "GETSET", extra);
            (void)runf(&db, "DEL key:%u", SCAN_KEYS + (uint32_t)prng_below(&prng, SCAN_KEYS));
            calls++;
        } while (cursor != 0);
        for (uint32_t i = 0; i < SCAN_KEYS; i++) {
            CHECK_EQ(seen[i], 1);
        }
        CHECK(calls <= SCAN_KEYS / count + PARTITIONS_MIN + SCAN_KEYS);
    }
    test_db_deinit(&db);
}

TEST(randomkey_reaches_every_live_key_and_no_other)
{
    struct test_db db;
    test_db_init(&db);
    for (uint32_t i = 0; i < 20; i++) {
        (void)runf(&db, "SET key:%u x", i);
    }
    for (uint32_t i = 0; i < 20; i++) {
        (void)runf(&db, "SET gone:%u x PX 5", i);
    }
    db.now_ms += 5;
    uint32_t hits[20] = { 0 };
    for (int i = 0; i < 20000; i++) {
        const char *key = strstr(run(&db, "RANDOMKEY"), "key:");
        CHECK(key != NULL);
        if (key != NULL) {
            hits[strtoul(key + 4, NULL, 10)]++;
        }
    }
    for (uint32_t i = 0; i < 20; i++) {
        CHECK(hits[i] > 0);
    }
    CHECK_REPLY(&db, "FLUSHALL", "+OK\r\n");
    CHECK_REPLY(&db, "RANDOMKEY", "$-1\r\n");
    (void)run(&db, "SET k v PX 5");
    db.now_ms += 5;
    CHECK_REPLY(&db, "RANDOMKEY", "$-1\r\n");
    test_db_deinit(&db);
}

/* ── the rest ────────────────────────────────────────────────────────────────────────────────── */

TEST(json_replies_carry_versions)
{
    struct test_db db;
    test_db_init(&db);
    db.protocol = PROTOCOL_JSON;
    db.index = 41;
    CHECK(strstr(run(&db, "SET k v"), "\"version\":42") != NULL);
    (void)run(&db, "SET other v");
    CHECK(strstr(run(&db, "GET k"), "\"version\":42") != NULL);
    CHECK(strstr(run(&db, "SET k v NX"), "version") == NULL);
    CHECK(strstr(run(&db, "SET k w XX GET"), "\"version\":45") != NULL);
    CHECK(strstr(run(&db, "GET missing"), "version") == NULL);
    test_db_deinit(&db);
}

TEST(hits_and_misses_are_counted)
{
    struct test_db db;
    test_db_init(&db);
    (void)run(&db, "SET k v");
    (void)run(&db, "GET k");
    (void)run(&db, "GET missing");
    (void)run(&db, "MGET k missing k");
    (void)run(&db, "EXISTS k missing");
    (void)run(&db, "OBJECT ENCODING k");
    CHECK_EQ(db.stats.hits, 4);
    CHECK_EQ(db.stats.misses, 3);
    test_db_deinit(&db);
}

TEST(a_level_is_read_into_the_context)
{
    struct test_db db;
    test_db_init(&db);
    struct slice words[] = { slice_from("GET"), slice_from("k"), slice_from("Quorum") };
    struct reply sink;
    reply_begin_sink(&sink);
    struct command_ctx ctx = test_db_ctx(&db, command_lookup(words[0]), 3, words, &sink);
    CHECK_EQ(command_prepare(&ctx), 0);
    CHECK_EQ(ctx.consistency, CONSISTENCY_QUORUM);
    test_db_deinit(&db);
}

TEST_MAIN
