/*
 * snapshot_test.c — snapshot files: what a view held is what is read, and nothing wrong is
 * accepted.
 */
#include "storage/snapshot.h"

#include "base/crc32c.h"
#include "base/endian.h"
#include "base/prng.h"
#include "fake_disk.h"
#include "storage/kv_store.h"
#include "storage/snapshot_format.h"
#include "test.h"

enum { KEYS_MAX = 20000, STEPS_MAX = 1000000 };

static const uint64_t IDENTITY = 4711;
static const uint64_t HASH_SEED = 99;

/* What a key holds; a key is named by its place. */
struct item {
    bool exists;
    bool is_raw;
    uint64_t seed; /* of the value's bytes */
    uint64_t expire_ms;
    uint64_t version;
};

struct model {
    struct kv *kv;
    struct item items[KEYS_MAX];
    unsigned keys;
    uint64_t version;
    unsigned value_max;
};

static struct slice key_make(unsigned i, char to[32])
{
    int size = snprintf(to, 32, "key:%u", i);
    return slice_make(to, (size_t)size);
}

/* Numbers, short texts, empty ones, and some large ones. */
static struct slice value_make(const struct model *model, uint64_t seed, char *to)
{
    struct prng prng;
    prng_init(&prng, seed);
    if (seed % 3 == 0) {
        int size = snprintf(to, 32, "%" PRId64, (int64_t)prng_next(&prng) >> seed % 60);
        return slice_make(to, (size_t)size);
    }
    uint64_t bound = seed % 101 == 0 ? model->value_max : 100;
    size_t size = (size_t)prng_below(&prng, bound);
    for (size_t i = 0; i < size; i++) {
        to[i] = (char)prng_next(&prng);
    }
    return slice_make(to, size);
}

static void put(struct model *model, struct prng *prng)
{
    static char value_bytes[1 << 20];
    char key_bytes[32];
    unsigned i = (unsigned)prng_below(prng, model->keys);
    struct slice key = key_make(i, key_bytes);
    uint64_t hash = kv_hash(model->kv, key);
    struct item *item = &model->items[i];
    if (prng_chance(prng, 1, 5)) {
        CHECK_EQ(kv_delete(model->kv, key, hash), item->exists);
        item->exists = false;
        return;
    }
    *item = (struct item){
        .exists = true,
        .is_raw = prng_chance(prng, 1, 4),
        .seed = prng_next(prng),
        .expire_ms = prng_chance(prng, 1, 3) ? prng_next(prng) >> 16 : KV_NO_EXPIRY,
        .version = ++model->version,
    };
    struct slice value = value_make(model, item->seed, value_bytes);
    if (item->is_raw) {
        kv_put_raw(model->kv, key, hash, value, item->expire_ms, item->version);
    } else {
        kv_put(model->kv, key, hash, value, item->expire_ms, item->version);
    }
}

static struct model *model_new(unsigned keys, unsigned puts, unsigned value_max, struct prng *prng)
{
    struct model *model = mem_zalloc(sizeof(*model));
    model->kv = kv_new(HASH_SEED);
    model->keys = keys;
    model->value_max = value_max;
    for (unsigned i = 0; i < puts; i++) {
        put(model, prng);
    }
    return model;
}

static void model_free(struct model *model)
{
    kv_free(model->kv);
    mem_free(model);
}

/* The loaded keyspace holds exactly what `items` say. */
static void compare(const struct model *model, const struct item *items, const struct kv *loaded)
{
    static char value_bytes[1 << 20];
    uint64_t count = 0;
    for (unsigned i = 0; i < model->keys; i++) {
        char key_bytes[32];
        struct slice key = key_make(i, key_bytes);
        const struct kv_entry *entry = kv_find(loaded, key, kv_hash(loaded, key), 0);
        CHECK_EQ(entry != NULL, items[i].exists);
        if (entry == NULL || !items[i].exists) {
            continue;
        }
        count += 1;
        struct kv_scratch scratch;
        CHECK(slice_equal(kv_entry_value(entry, &scratch),
                          value_make(model, items[i].seed, value_bytes)));
        CHECK_EQ(kv_entry_expire_ms(entry), items[i].expire_ms);
        CHECK_EQ(kv_entry_version(entry), items[i].version);
        CHECK(!items[i].is_raw || kv_entry_encoding(entry) == KV_ENCODING_RAW);
    }
    CHECK_EQ(kv_stats(loaded)->keys, count);
}

/* ── driving the writer ──────────────────────────────────────────────────────────────────────── */

static void events(struct disk *disk, struct snapshot_writer *writer)
{
    struct io_event event;
    while (io_next(&disk->io, &event)) {
        CHECK(event.owner == writer);
        snapshot_writer_on_event(writer, &event);
    }
}

/* One step of whatever is possible; false when the writer is done. */
static bool turn(struct disk *disk, struct snapshot_writer *writer, uint32_t budget)
{
    enum snapshot_state state = snapshot_writer_state(writer);
    if (state == SNAPSHOT_DONE || state == SNAPSHOT_FAILED) {
        return false;
    }
    if (state == SNAPSHOT_READY) {
        snapshot_writer_step(writer, budget);
    } else {
        CHECK(disk->queued > 0);
        disk_run_all(disk);
        events(disk, writer);
    }
    return true;
}

static struct snapshot_meta meta_make(uint32_t group, uint64_t index)
{
    return (struct snapshot_meta){
        .identity = IDENTITY, .group = group, .index = index, .term = 3, .time_ms = 1234567
    };
}

/* Bytes that are only known to whoever has the seed. */
static struct buffer aux_make(uint64_t seed, size_t size)
{
    struct prng prng;
    prng_init(&prng, seed);
    struct buffer aux = { 0 };
    for (size_t i = 0; i < size; i++) {
        buffer_append_byte(&aux, (char)prng_next(&prng));
    }
    return aux;
}

static enum snapshot_state write_all(struct disk *disk, struct snapshot_writer *writer,
                                     struct kv *kv, uint32_t group, uint64_t index)
{
    struct snapshot_meta meta = meta_make(group, index);
    struct buffer aux = aux_make(index, 100);
    struct kv_view *view = kv_view_begin(kv);
    meta.aux = buffer_slice(&aux);
    snapshot_writer_begin(writer, &meta, view);
    buffer_free(&aux); /* it was copied */
    while (turn(disk, writer, 100)) {
    }
    kv_view_end(view);
    return snapshot_writer_state(writer);
}

/* Of what write_all wrote. */
static enum snapshot_check load(struct disk *disk, uint32_t group, uint64_t index, struct kv *kv,
                                struct snapshot_meta *meta, struct snapshot_report *report)
{
    struct snapshot_file file = { .group = group, .index = index };
    struct buffer aux = { 0 };
    buffer_append_text(&aux, "what was there before");
    enum snapshot_check check =
        snapshot_load(&disk->io, "d", &file, IDENTITY, kv, &aux, meta, report);
    if (check == SNAPSHOT_GOOD) {
        struct buffer wanted = aux_make(index, 100);
        CHECK(slice_equal(buffer_slice(&aux), buffer_slice(&wanted)));
        CHECK_EQ(meta->aux_bytes, 100);
        buffer_free(&wanted);
    }
    buffer_free(&aux);
    return check;
}

/* ── round trips ─────────────────────────────────────────────────────────────────────────────── */

static void round_trip(unsigned keys, unsigned puts, unsigned value_max, size_t aux_size,
                       uint64_t seed)
{
    struct prng prng;
    prng_init(&prng, seed);
    struct disk *disk = disk_new();
    struct model *model = model_new(keys, puts, value_max, &prng);
    struct item *items = mem_alloc(sizeof(model->items));
    memcpy(items, model->items, sizeof(model->items));
    struct snapshot_writer *writer = snapshot_writer_new(&disk->io, "d");
    CHECK_EQ(snapshot_writer_state(writer), SNAPSHOT_IDLE);
    struct snapshot_meta meta = meta_make(12, 345);
    struct buffer aux = aux_make(seed, aux_size);
    meta.aux = buffer_slice(&aux);
    struct kv_view *view = kv_view_begin(model->kv);
    snapshot_writer_begin(writer, &meta, view);
    while (turn(disk, writer, 1 + (uint32_t)prng_below(&prng, 50))) {
        for (uint64_t i = prng_below(&prng, 20); i > 0; i--) {
            put(model, &prng); /* the partition goes on serving */
        }
    }
    kv_view_end(view);
    CHECK_EQ(snapshot_writer_state(writer), SNAPSHOT_DONE);
    struct snapshot_meta written = snapshot_writer_take(writer);
    CHECK_EQ(snapshot_writer_state(writer), SNAPSHOT_IDLE);

    struct kv *loaded = kv_new(HASH_SEED);
    struct snapshot_report report;
    struct snapshot_file file = { .group = 12, .index = 345 };
    struct buffer got = { 0 };
    CHECK_EQ(snapshot_load(&disk->io, "d", &file, IDENTITY, loaded, &got, &meta, &report),
             SNAPSHOT_GOOD);
    CHECK(slice_equal(buffer_slice(&got), buffer_slice(&aux)));
    CHECK_EQ(meta.aux_bytes, aux_size);
    compare(model, items, loaded);
    CHECK(memcmp(&meta, &written, sizeof(meta)) == 0);
    CHECK_EQ(meta.term, 3);
    CHECK_EQ(meta.time_ms, 1234567);
    CHECK_EQ(meta.keys, kv_stats(loaded)->keys);
    CHECK_EQ(snapshot_load(&disk->io, "d", &file, IDENTITY, NULL, NULL, &meta, &report),
             SNAPSHOT_GOOD); /* only verifying */
    CHECK_EQ(meta.aux_bytes, aux_size);
    buffer_free(&got);
    buffer_free(&aux);
    CHECK_EQ(disk_open_handles(disk), 0);
    kv_free(loaded);
    snapshot_writer_free(writer);
    mem_free(items);
    model_free(model);
    disk_free(disk);
}

TEST(round_trips_while_writes_go_on)
{
    round_trip(KEYS_MAX, 60000, 1 << 20, SNAPSHOT_AUX_BYTES_MAX, 1);
    round_trip(KEYS_MAX, 30000, 2000, 0, 2);
    round_trip(100, 300, 300000, 1, 3);
    round_trip(1, 1, 100, 5000, 4);
    round_trip(1, 0, 100, 0, 5); /* an empty partition */
    round_trip(1, 0, 100, 300000, 6);
}

TEST(the_same_contents_give_the_same_bytes)
{
    struct buffer first = { 0 };
    for (unsigned round = 0; round < 2; round++) {
        struct prng prng;
        prng_init(&prng, 8);
        struct disk *disk = disk_new();
        struct model *model = model_new(5000, 20000, 1000, &prng);
        struct snapshot_writer *writer = snapshot_writer_new(&disk->io, "d");
        CHECK_EQ(write_all(disk, writer, model->kv, 1, 10), SNAPSHOT_DONE);
        struct buffer *bytes = &disk_need(disk, "d/snap-00001-000000000000010.mdb")->bytes;
        if (round == 0) {
            buffer_append_slice(&first, buffer_slice(bytes));
        } else {
            CHECK(slice_equal(buffer_slice(&first), buffer_slice(bytes)));
        }
        snapshot_writer_free(writer);
        model_free(model);
        disk_free(disk);
    }
    buffer_free(&first);
}

/* Two files that differ in nothing but aux do not have the same digest. */
TEST(the_digest_covers_aux)
{
    uint64_t digests[3];
    for (unsigned i = 0; i < 3; i++) {
        struct disk *disk = disk_new();
        struct kv *kv = kv_new(HASH_SEED);
        struct snapshot_writer *writer = snapshot_writer_new(&disk->io, "d");
        struct snapshot_meta meta = meta_make(1, 10);
        struct kv_view *view = kv_view_begin(kv);
        meta.aux = slice_from(i == 0 ? "" : i == 1 ? "one" : "two");
        snapshot_writer_begin(writer, &meta, view);
        while (turn(disk, writer, 100)) {
        }
        digests[i] = snapshot_writer_take(writer).digest;
        kv_view_end(view);
        snapshot_writer_free(writer);
        kv_free(kv);
        disk_free(disk);
    }
    CHECK(digests[0] != digests[1] && digests[0] != digests[2] && digests[1] != digests[2]);
}

/* ── what is wrong is found ──────────────────────────────────────────────────────────────────── */

struct small { /* a small snapshot, written */
    struct disk *disk;
    struct model *model;
    struct buffer *bytes;
};

static struct small small_make(unsigned keys)
{
    struct prng prng;
    prng_init(&prng, 77);
    struct small small = { .disk = disk_new(), .model = model_new(keys, keys * 2, 200, &prng) };
    struct snapshot_writer *writer = snapshot_writer_new(&small.disk->io, "d");
    CHECK_EQ(write_all(small.disk, writer, small.model->kv, 5, 9), SNAPSHOT_DONE);
    snapshot_writer_free(writer);
    small.bytes = &disk_need(small.disk, "d/snap-00005-000000000000009.mdb")->bytes;
    return small;
}

static void small_free(struct small *small)
{
    model_free(small->model);
    disk_free(small->disk);
}

static enum snapshot_check small_load(struct small *small)
{
    struct kv *loaded = kv_new(HASH_SEED);
    struct snapshot_meta meta;
    struct snapshot_report report;
    enum snapshot_check check = load(small->disk, 5, 9, loaded, &meta, &report);
    CHECK((check == SNAPSHOT_GOOD) == (report.detail[0] == '\0'));
    CHECK(strcmp(report.file, "snap-00005-000000000000009.mdb") == 0);
    if (check == SNAPSHOT_GOOD) {
        compare(small->model, small->model->items, loaded);
    }
    kv_free(loaded);
    return check;
}

TEST(every_bit)
{
    struct small small = small_make(40);
    CHECK_EQ(small_load(&small), SNAPSHOT_GOOD);
    for (size_t bit = 0; bit < small.bytes->size * 8; bit++) {
        small.bytes->data[bit / 8] ^= (char)(1u << bit % 8);
        CHECK(small_load(&small) != SNAPSHOT_GOOD);
        small.bytes->data[bit / 8] ^= (char)(1u << bit % 8);
    }
    CHECK_EQ(small_load(&small), SNAPSHOT_GOOD);
    small_free(&small);
}

TEST(every_length)
{
    struct small small = small_make(100);
    size_t size = small.bytes->size;
    for (size_t cut = 0; cut < size; cut++) {
        small.bytes->size = cut;
        CHECK_EQ(small_load(&small), SNAPSHOT_DAMAGED);
    }
    small.bytes->size = size;
    buffer_append_byte(small.bytes, 0);
    CHECK_EQ(small_load(&small), SNAPSHOT_DAMAGED);
    small_free(&small);
}

/* A file put together by hand, every checksum right: header, then frames, then footer. */
enum piece { PIECE_END, PIECE_AUX, PIECE_BLOCK };

static enum snapshot_check made_load(size_t aux_size, uint32_t format, const enum piece *pieces)
{
    struct disk *disk = disk_new();
    struct buffer bytes = { 0 };
    struct snapshot_totals totals;
    struct snapshot_meta meta = meta_make(5, 9);
    meta.aux = slice_make("AUX of this and that", aux_size);
    char *header = buffer_reserve(&bytes, SNAPSHOT_HEADER_BYTES);
    snapshot_header_write(&meta, header, &totals);
    store_u32(header + 8, format);
    store_u32(header + SNAPSHOT_HEADER_BYTES - 4, crc32c(0, header, SNAPSHOT_HEADER_BYTES - 4));
    bytes.size = SNAPSHOT_HEADER_BYTES;
    for (; *pieces != PIECE_END; pieces++) {
        static const char entry[] = "\0\1\1\0\0\0\0\0\0kv"; /* without the 0 behind it */
        char *to = buffer_reserve(&bytes, SNAPSHOT_FRAME_BYTES + 100);
        if (*pieces == PIECE_AUX) {
            totals.blocks = 0; /* as if it were the first */
            memcpy(to + SNAPSHOT_FRAME_BYTES, "AUX of this and that", 10);
            snapshot_aux_write(to, 10, &totals);
            bytes.size += SNAPSHOT_FRAME_BYTES + 10;
        } else {
            memcpy(to + SNAPSHOT_FRAME_BYTES, entry, sizeof(entry) - 1);
            snapshot_frame_write(to, sizeof(entry) - 1, 1, &totals);
            bytes.size += SNAPSHOT_FRAME_BYTES + sizeof(entry) - 1;
        }
    }
    snapshot_footer_write(buffer_reserve(&bytes, SNAPSHOT_FOOTER_BYTES), &totals);
    bytes.size += SNAPSHOT_FOOTER_BYTES;
    disk_put(disk, "d/snap-00005-000000000000009.mdb", buffer_slice(&bytes));
    struct kv *kv = kv_new(HASH_SEED);
    struct snapshot_file file = { .group = 5, .index = 9 };
    struct snapshot_report report;
    enum snapshot_check check =
        snapshot_load(&disk->io, "d", &file, IDENTITY, kv, NULL, &meta, &report);
    kv_free(kv);
    buffer_free(&bytes);
    disk_free(disk);
    return check;
}

TEST(aux_has_its_place)
{
    static const enum piece none[] = { PIECE_END };
    static const enum piece aux[] = { PIECE_AUX, PIECE_END };
    static const enum piece block[] = { PIECE_BLOCK, PIECE_END };
    static const enum piece aux_block[] = { PIECE_AUX, PIECE_BLOCK, PIECE_END };
    static const enum piece block_aux[] = { PIECE_BLOCK, PIECE_AUX, PIECE_END };
    static const enum piece aux_aux[] = { PIECE_AUX, PIECE_AUX, PIECE_END };
    CHECK_EQ(made_load(0, SNAPSHOT_FORMAT, none), SNAPSHOT_GOOD);
    CHECK_EQ(made_load(0, SNAPSHOT_FORMAT, block), SNAPSHOT_GOOD);
    CHECK_EQ(made_load(10, SNAPSHOT_FORMAT, aux), SNAPSHOT_GOOD);
    CHECK_EQ(made_load(10, SNAPSHOT_FORMAT, aux_block), SNAPSHOT_GOOD);
    CHECK_EQ(made_load(10, SNAPSHOT_FORMAT, none), SNAPSHOT_DAMAGED);
    CHECK_EQ(made_load(10, SNAPSHOT_FORMAT, block), SNAPSHOT_DAMAGED);
    CHECK_EQ(made_load(10, SNAPSHOT_FORMAT, block_aux), SNAPSHOT_DAMAGED);
    CHECK_EQ(made_load(10, SNAPSHOT_FORMAT, aux_aux), SNAPSHOT_DAMAGED);
    CHECK_EQ(made_load(11, SNAPSHOT_FORMAT, aux_block), SNAPSHOT_DAMAGED);
    CHECK_EQ(made_load(0, SNAPSHOT_FORMAT, aux), SNAPSHOT_DAMAGED);
    CHECK_EQ(made_load(0, 1, block), SNAPSHOT_GOOD); /* before there was aux */
    CHECK_EQ(made_load(0, SNAPSHOT_FORMAT + 1, block), SNAPSHOT_TOO_NEW);
}

TEST(zeroed_and_swapped_pieces)
{
    struct small small = small_make(KEYS_MAX); /* several blocks */
    struct prng prng;
    prng_init(&prng, 3);
    struct buffer copy = { 0 };
    buffer_append_slice(&copy, buffer_slice(small.bytes));
    CHECK(copy.size > 3 * SNAPSHOT_BLOCK_BYTES);
    for (unsigned i = 0; i < 100; i++) {
        uint64_t from = prng_below(&prng, copy.size / 512 - 1) * 512;
        uint64_t to = prng_below(&prng, copy.size / 512 - 1) * 512;
        if (i % 2 == 0) {
            memset(small.bytes->data + to, 0, 512);
        } else {
            memcpy(small.bytes->data + to, copy.data + from, 512);
        }
        bool is_same = memcmp(small.bytes->data, copy.data, copy.size) == 0;
        CHECK_EQ(small_load(&small) == SNAPSHOT_GOOD, is_same);
        memcpy(small.bytes->data, copy.data, copy.size);
    }
    buffer_free(&copy);
    small_free(&small);
}

TEST(foreign_files)
{
    struct small small = small_make(10);
    struct snapshot_file file = { .group = 5, .index = 9 };
    struct snapshot_meta meta;
    struct snapshot_report report;
    struct io *io = &small.disk->io;
    CHECK_EQ(snapshot_load(io, "d", &file, IDENTITY + 1, NULL, NULL, &meta, &report),
             SNAPSHOT_FOREIGN);
    CHECK_EQ(snapshot_load(io, "d", &file, 0, NULL, NULL, &meta, &report), SNAPSHOT_GOOD);
    file.index = 10; /* renamed: its name is not its own */
    disk_put(small.disk, "d/snap-00005-000000000000010.mdb", buffer_slice(small.bytes));
    CHECK_EQ(snapshot_load(io, "d", &file, 0, NULL, NULL, &meta, &report), SNAPSHOT_FOREIGN);
    file.index = 11;
    CHECK_EQ(snapshot_load(io, "d", &file, 0, NULL, NULL, &meta, &report), SNAPSHOT_UNREADABLE);
    CHECK_EQ(report.error, -ENOENT);
    small_free(&small);
}

/* ── failures while writing ──────────────────────────────────────────────────────────────────── */

TEST(every_operation_fails_once)
{
    static const enum io_file_kind kinds[] = { IO_FILE_OPEN,    IO_FILE_WRITE, IO_FILE_SYNC,
                                               IO_FILE_READ,    IO_FILE_CLOSE, IO_FILE_RENAME,
                                               IO_FILE_SYNC_DIR };
    struct prng prng;
    prng_init(&prng, 5);
    struct model *model = model_new(8000, 20000, 1000, &prng);
    for (unsigned k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        for (unsigned skip = 0; skip < 3; skip++) {
            struct disk *disk = disk_new();
            struct snapshot_writer *writer = snapshot_writer_new(&disk->io, "d");
            CHECK_EQ(write_all(disk, writer, model->kv, 1, 10), SNAPSHOT_DONE);
            (void)snapshot_writer_take(writer);
            disk->fail_kind = (int)kinds[k];
            disk->fail_result = kinds[k] == IO_FILE_WRITE ? -ENOSPC : -EIO;
            disk->fail_skip = skip;
            enum snapshot_state state = write_all(disk, writer, model->kv, 1, 20);
            disk->fail_kind = -1;
            bool failed = state == SNAPSHOT_FAILED;
            CHECK(failed || skip > 0);
            CHECK_EQ(failed, snapshot_writer_error(writer) < 0);
            (void)snapshot_writer_take(writer);
            CHECK(disk_find(disk, "d/snap-00001-000000000000020.tmp") == NULL);
            struct snapshot_meta meta;
            struct snapshot_report report;
            CHECK_EQ(load(disk, 1, 10, NULL, &meta, &report), SNAPSHOT_GOOD);
            /* And the next one works. */
            CHECK_EQ(write_all(disk, writer, model->kv, 1, 30), SNAPSHOT_DONE);
            CHECK_EQ(load(disk, 1, 30, NULL, &meta, &report), SNAPSHOT_GOOD);
            snapshot_writer_free(writer);
            disk_free(disk);
        }
    }
    model_free(model);
}

/* What the disk gives back is not what was written: the file never gets its name. */
TEST(a_lying_disk_is_found_out)
{
    struct prng prng;
    prng_init(&prng, 6);
    struct model *model = model_new(8000, 20000, 1000, &prng);
    for (unsigned round = 0; round < 40; round++) {
        struct disk *disk = disk_new();
        struct snapshot_writer *writer = snapshot_writer_new(&disk->io, "d");
        struct snapshot_meta meta = meta_make(1, 10);
        struct kv_view *view = kv_view_begin(model->kv);
        snapshot_writer_begin(writer, &meta, view);
        bool is_changed = false;
        do {
            struct disk_file *file = disk_find(disk, "d/snap-00001-000000000000010.tmp");
            if (!is_changed && disk->queued > 0 && disk->queue[0]->kind == IO_FILE_SYNC) {
                uint64_t at = prng_below(&prng, file->bytes.size);
                file->bytes.data[at] ^= (char)(1u << prng_below(&prng, 8));
                is_changed = true;
            }
        } while (turn(disk, writer, 500));
        CHECK(is_changed);
        CHECK_EQ(snapshot_writer_state(writer), SNAPSHOT_FAILED);
        CHECK(disk_find(disk, "d/snap-00001-000000000000010.mdb") == NULL);
        kv_view_end(view);
        snapshot_writer_free(writer);
        disk_free(disk);
    }
    model_free(model);
}

/* ── generations and lists ───────────────────────────────────────────────────────────────────── */

TEST(generations_are_kept_and_pruned)
{
    struct prng prng;
    prng_init(&prng, 5);
    struct disk *disk = disk_new();
    struct model *model = model_new(50, 100, 100, &prng);
    struct snapshot_writer *writer = snapshot_writer_new(&disk->io, "d");
    for (uint64_t index = 1; index <= 5; index++) {
        for (uint32_t group = 0; group < 3; group++) {
            CHECK_EQ(write_all(disk, writer, model->kv, group, index * 7), SNAPSHOT_DONE);
            (void)snapshot_writer_take(writer);
        }
    }
    disk_put(disk, "d/snap-00002-000000000000099.tmp", slice_from("half"));
    disk_put(disk, "d/snap-00002-00000000000009x.mdb", slice_from("no name"));
    struct snapshot_file *files = NULL;
    CHECK_EQ(snapshot_list(&disk->io, "d", false, &files), 3 * SNAPSHOT_GENERATIONS);
    for (uint32_t i = 0; i < 3 * SNAPSHOT_GENERATIONS; i++) {
        CHECK_EQ(files[i].group, i / SNAPSHOT_GENERATIONS);
        CHECK_EQ(files[i].index, (5 - i % SNAPSHOT_GENERATIONS) * 7);
    }
    mem_free(files);
    CHECK(disk_find(disk, "d/snap-00002-000000000000099.tmp") != NULL);
    CHECK_EQ(snapshot_list(&disk->io, "d", true, &files), 3 * SNAPSHOT_GENERATIONS);
    CHECK(disk_find(disk, "d/snap-00002-000000000000099.tmp") == NULL);
    mem_free(files);
    snapshot_writer_free(writer);
    model_free(model);
    disk_free(disk);
}

/* A crash anywhere: after it the older generation is whole, and the newer one whole or not there.
 */
TEST(crash_anywhere)
{
    struct prng prng;
    prng_init(&prng, 15);
    struct model *model = model_new(4000, 9000, 300, &prng);
    bool was_complete = false;
    for (unsigned stop = 0; !was_complete; stop++) {
        struct disk *disk = disk_new();
        struct snapshot_writer *writer = snapshot_writer_new(&disk->io, "d");
        CHECK_EQ(write_all(disk, writer, model->kv, 1, 10), SNAPSHOT_DONE);
        (void)snapshot_writer_take(writer);
        struct snapshot_meta meta = meta_make(1, 20);
        struct buffer aux = aux_make(20, 100);
        struct kv_view *view = kv_view_begin(model->kv);
        meta.aux = buffer_slice(&aux);
        snapshot_writer_begin(writer, &meta, view);
        buffer_free(&aux);
        was_complete = true;
        for (unsigned i = 0; turn(disk, writer, 1000); i++) {
            if (i == stop) {
                was_complete = false;
                break;
            }
        }
        disk_reboot(disk);
        snapshot_writer_free(writer);
        kv_view_end(view);
        struct snapshot_file *files = NULL;
        int64_t count = snapshot_list(&disk->io, "d", true, &files);
        CHECK(count == 1 || count == 2);
        for (int64_t i = 0; i < count; i++) {
            struct snapshot_report report;
            CHECK_EQ(load(disk, 1, files[i].index, NULL, &meta, &report), SNAPSHOT_GOOD);
        }
        CHECK_EQ(files[count - 1].index, 10);
        mem_free(files);
        disk_free(disk);
    }
    model_free(model);
}

TEST_MAIN
