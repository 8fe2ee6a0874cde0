/*
 * config.c — the table of options, their values as text and as fields, and CONFIG SET.
 *
 * Read next: config_load.c, config_file.c.
 */
#include "config.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>

/* ── the table ───────────────────────────────────────────────────────────────────────────────── */

static const struct config_word consistency_words[] = { { "ANY", CONSISTENCY_ANY },
                                                        { "QUORUM", CONSISTENCY_QUORUM },
                                                        { "ALL", CONSISTENCY_ALL },
                                                        { "STRONG", CONSISTENCY_STRONG },
                                                        { NULL, 0 } };
static const struct config_word appendfsync_words[] = { { "always", AOF_SYNC_ALWAYS },
                                                        { "everysec", AOF_SYNC_EVERYSEC },
                                                        { "no", AOF_SYNC_NO },
                                                        { NULL, 0 } };
static const struct config_word recover_words[] = { { "strict", RECOVER_STRICT },
                                                    { "salvage", RECOVER_SALVAGE },
                                                    { NULL, 0 } };
static const struct config_word strong_reads_words[] = { { "lease", STRONG_READS_LEASE },
                                                         { "readindex", STRONG_READS_READINDEX },
                                                         { NULL, 0 } };
static const struct config_word maxmemory_policy_words[] = { { "noeviction", MAXMEMORY_NOEVICTION },
                                                             { NULL, 0 } };
/* Redis's names of levels are understood too. */
static const struct config_word log_level_words[] = {
    { "debug", LOG_DEBUG },  { "info", LOG_INFO },
    { "warn", LOG_WARN },    { "error", LOG_ERROR },
    { "verbose", LOG_INFO }, { "notice", LOG_INFO },
    { "warning", LOG_WARN }, { NULL, 0 }
};
static const struct config_word log_format_words[] = { { "logfmt", LOG_LOGFMT },
                                                       { "json", LOG_JSON },
                                                       { NULL, 0 } };

static const struct config_option options[CONFIG_OPTIONS_COUNT] = {
#define GROUP(title, field)
#define OPTION(kind_, field, name_, initial_, min_, max_, words_, flags_, hint_, help_)            \
    [CONFIG_ID_##field] = { .kind = (kind_),                                                       \
                            .name = (name_),                                                       \
                            .offset = offsetof(struct config, field),                              \
                            .width = sizeof(((struct config *)0)->field),                          \
                            .min = (min_),                                                         \
                            .max = (max_),                                                         \
                            .initial = (initial_),                                                 \
                            .words = (words_),                                                     \
                            .flags = (flags_),                                                     \
                            .hint = (hint_),                                                       \
                            .help = (help_) },
#define CONSTANT(id, name_, value)                                                                 \
    [CONFIG_ID_##id] = { .kind = CONFIG_CONSTANT, .name = (name_), .initial = (value) },
#define ALIAS(name, field)
#include "config_table.def"
};

static const struct {
    const char *title;
    enum config_id first;
} groups[] = {
#define GROUP(title, field) { title, CONFIG_ID_##field },
#define OPTION(kind, field, ...)
#define CONSTANT(id, name, value)
#define ALIAS(name, field)
#include "config_table.def"
};

static const struct {
    const char *name;
    enum config_id id;
} aliases[] = {
#define GROUP(title, field)
#define OPTION(kind, field, ...)
#define CONSTANT(id, name, value)
#define ALIAS(name, field) { name, CONFIG_ID_##field },
#include "config_table.def"
};

/* A row's kind and its field's type must agree: fields are reached through their offset. */
#define FIELD_FITS(kind, field)                                                                    \
    _Generic((field),                                                                              \
        char *: (kind) == CONFIG_TEXT || (kind) == CONFIG_PASSWORD,                                \
        bool: (kind) == CONFIG_YESNO,                                                              \
        uint16_t: (kind) == CONFIG_INTEGER,                                                        \
        int64_t: (kind) == CONFIG_INTEGER,                                                         \
        uint64_t: (kind) == CONFIG_BYTES || (kind) == CONFIG_OUTPUT_LIMIT,                         \
        struct config_addresses: (kind) == CONFIG_ADDRESSES,                                       \
        default: sizeof(field) == sizeof(uint32_t) &&                                              \
            ((kind) == CONFIG_INTEGER || (kind) == CONFIG_ENUM))
#define GROUP(title, field)
#define OPTION(kind, field, ...)                                                                   \
    _Static_assert(FIELD_FITS(kind, ((struct config *)0)->field), #field ": kind and type "        \
                                                                         "differ");
#define CONSTANT(id, name, value)
#define ALIAS(name, field)
#include "config_table.def"

_Static_assert(REQUEST_BYTES_MAX == 8388608, "the constant proto-max-bulk-len says so");

const struct config_option *config_option_at(enum config_id id)
{
    ASSERT((uint32_t)id < CONFIG_OPTIONS_COUNT);
    return &options[id];
}

const char *config_group_title(enum config_id id)
{
    for (size_t i = 0; i < ARRAY_COUNT(groups); i++) {
        if (groups[i].first == id) {
            return groups[i].title;
        }
    }
    return NULL;
}

uint32_t config_count(void)
{
    return CONFIG_OPTIONS_COUNT + ARRAY_COUNT(aliases);
}

const char *config_name(uint32_t at)
{
    ASSERT(at < config_count());
    return at < CONFIG_OPTIONS_COUNT ? options[at].name : aliases[at - CONFIG_OPTIONS_COUNT].name;
}

static enum config_id id_of(uint32_t at)
{
    ASSERT(at < config_count());
    return at < CONFIG_OPTIONS_COUNT ? (enum config_id)at : aliases[at - CONFIG_OPTIONS_COUNT].id;
}

static bool name_equal(struct slice a, const char *name)
{
    for (size_t i = 0; i < a.size; i++) {
        char c = a.data[i] == '_' ? '-' : text_lower(a.data[i]);
        if (c != name[i]) { /* also at the name's end: c is not NUL unless the text holds one */
            return false;
        }
        if (c == '\0') {
            return false;
        }
    }
    return name[a.size] == '\0';
}

int config_option_find(struct slice name)
{
    for (uint32_t at = 0; at < config_count(); at++) {
        if (name_equal(name, config_name(at))) {
            return (int)id_of(at);
        }
    }
    return -1;
}

enum { NAME_BYTES_MAX = 64, NEAR_DISTANCE_MAX = 3 };

/* Levenshtein's distance, row by row. */
static uint32_t edit_distance(struct slice a, struct slice b)
{
    uint32_t row[NAME_BYTES_MAX + 1];
    for (uint32_t j = 0; j <= b.size; j++) {
        row[j] = j;
    }
    for (uint32_t i = 1; i <= a.size; i++) {
        uint32_t diagonal = row[0];
        row[0] = i;
        for (uint32_t j = 1; j <= b.size; j++) {
            bool same = text_lower(a.data[i - 1]) == text_lower(b.data[j - 1]);
            uint32_t best = diagonal + (same ? 0 : 1);
            best = row[j] + 1 < best ? row[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[b.size];
}

const char *config_option_suggest(struct slice name)
{
    if (name.size < 3 || name.size > NAME_BYTES_MAX) {
        return NULL;
    }
    const char *best = NULL;
    uint32_t best_distance = NEAR_DISTANCE_MAX + 1;
    for (uint32_t at = 0; at < config_count(); at++) {
        struct slice known = slice_from(config_name(at));
        ASSERT(known.size <= NAME_BYTES_MAX);
        uint32_t distance = edit_distance(name, known);
        if (distance < best_distance && distance * 2 <= name.size) {
            best = known.data;
            best_distance = distance;
        }
    }
    return best;
}

/* ── fields ──────────────────────────────────────────────────────────────────────────────────── */

static void *field_of(struct config *config, const struct config_option *option)
{
    return (char *)config + option->offset;
}

static const void *field_in(const struct config *config, const struct config_option *option)
{
    return (const char *)config + option->offset;
}

static char *text_copy(struct slice text)
{
    char *copy = mem_alloc(text.size + 1);
    if (text.size > 0) {
        memcpy(copy, text.data, text.size);
    }
    copy[text.size] = '\0';
    return copy;
}

static void addresses_free(struct config_addresses *addresses)
{
    for (uint32_t i = 0; i < addresses->count; i++) {
        mem_free(addresses->items[i]);
    }
    *addresses = (struct config_addresses){ 0 };
}

static void integer_store(void *field, size_t width, int64_t value)
{
    if (width == sizeof(uint16_t)) {
        *(uint16_t *)field = (uint16_t)value;
    } else if (width == sizeof(uint32_t)) {
        *(uint32_t *)field = (uint32_t)value;
    } else {
        *(int64_t *)field = value;
    }
}

static int64_t integer_load(const void *field, size_t width)
{
    if (width == sizeof(uint16_t)) {
        return *(const uint16_t *)field;
    }
    return width == sizeof(uint32_t) ? (int64_t) * (const uint32_t *)field
                                     : *(const int64_t *)field;
}

/* ── values from text ────────────────────────────────────────────────────────────────────────── */

static bool fail(struct buffer *error, const char *text)
{
    buffer_append_text(error, text);
    return false;
}

static bool integer_set(const struct config_option *option, void *field, struct slice value,
                        struct buffer *error)
{
    int64_t number = 0;
    if (!text_to_i64(value, &number)) {
        return fail(error, "argument couldn't be parsed into an integer");
    }
    if (number < option->min || number > option->max) {
        buffer_printf(error, "argument must be between %lld and %lld inclusive",
                      (long long)option->min, (long long)option->max);
        return false;
    }
    if (option->offset == offsetof(struct config, partitions) && (number & (number - 1)) != 0) {
        return fail(error, "argument must be a power of two");
    }
    integer_store(field, option->width, number);
    return true;
}

static bool bytes_set(const struct config_option *option, uint64_t *field, struct slice value,
                      struct buffer *error)
{
    uint64_t number = 0;
    if (!text_to_bytes(value, &number)) {
        return fail(error, "argument must be a memory value");
    }
    if (number < (uint64_t)option->min || number > (uint64_t)option->max) {
        buffer_printf(error, "argument must be between %lld and %lld inclusive",
                      (long long)option->min, (long long)option->max);
        return false;
    }
    if (option->offset == offsetof(struct config, aof_segment_size) && number % 4096 != 0) {
        return fail(error, "argument must be a multiple of 4096");
    }
    *field = number;
    return true;
}

static bool enum_set(const struct config_option *option, void *field, struct slice value,
                     struct buffer *error)
{
    for (const struct config_word *word = option->words; word->text != NULL; word++) {
        if (slice_equal_nocase(value, word->text)) {
            memcpy(field, &word->value, sizeof(word->value));
            return true;
        }
    }
    buffer_append_text(error, "argument(s) must be one of the following: ");
    for (const struct config_word *word = option->words; word->text != NULL; word++) {
        buffer_printf(error, "%s%s", word == option->words ? "" : ", ", word->text);
    }
    return false;
}

static bool yesno_set(bool *field, struct slice value, struct buffer *error)
{
    bool yes = slice_equal_nocase(value, "yes");
    if (!yes && !slice_equal_nocase(value, "no")) {
        return fail(error, "argument must be 'yes' or 'no'");
    }
    *field = yes;
    return true;
}

/* Names of nodes and zones stand in file names, log lines and gossip. */
static bool name_ok(struct slice value)
{
    for (size_t i = 0; i < value.size; i++) {
        char c = text_lower(value.data[i]);
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
        if (!word && (c != '.' || i == 0)) {
            return false;
        }
    }
    return true;
}

static bool text_set(const struct config_option *option, char **field, struct slice value,
                     struct buffer *error)
{
    if (value.size < (size_t)option->min || value.size > (size_t)option->max) {
        buffer_printf(error, "argument must have between %lld and %lld characters",
                      (long long)option->min, (long long)option->max);
        return false;
    }
    if (value.size > 0 && memchr(value.data, '\0', value.size) != NULL) {
        return fail(error, "argument must not contain a zero byte");
    }
    bool is_name = option->offset == offsetof(struct config, node_id) ||
                   option->offset == offsetof(struct config, zone);
    if (is_name && !name_ok(value)) {
        return fail(error, "argument must consist of letters, digits, '.', '_' and '-'");
    }
    if (option->offset == offsetof(struct config, seed) && !config_seeds_ok(value, error)) {
        return false;
    }
    mem_free(*field);
    *field = text_copy(value);
    return true;
}

/* The next word of a text separated by spaces or commas; false at the end. */
static bool word_next(struct slice *rest, struct slice *out_word)
{
    size_t at = 0;
    while (at < rest->size && strchr(" ,\t", rest->data[at]) != NULL && rest->data[at] != '\0') {
        at++;
    }
    size_t end = at;
    while (end < rest->size && (strchr(" ,\t", rest->data[end]) == NULL || rest->data[end] == 0)) {
        end++;
    }
    *out_word = slice_make(rest->data + at, end - at);
    *rest = slice_make(rest->data + end, rest->size - end);
    return end > at;
}

static bool address_ok(const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return strcmp(host, "localhost") == 0 || inet_pton(AF_INET, host, bytes) == 1 ||
           inet_pton(AF_INET6, host, bytes) == 1;
}

static bool addresses_add(struct config_addresses *addresses, struct slice value,
                          struct buffer *error)
{
    struct slice word;
    while (word_next(&value, &word)) {
        if (addresses->count == CONFIG_HOSTS_MAX) {
            buffer_printf(error, "at most %d addresses", (int)CONFIG_HOSTS_MAX);
            return false;
        }
        char *host = text_copy(slice_equal(word, slice_from("*")) ? slice_from("0.0.0.0") : word);
        addresses->items[addresses->count++] = host;
        if (strlen(host) < word.size || !address_ok(host)) {
            return fail(error, "argument must be numeric addresses such as 127.0.0.1 or ::1");
        }
    }
    return addresses->count > 0 || fail(error, "argument must be at least one address");
}

/* `keep`: what is there already stays, in front. */
static bool addresses_set(struct config_addresses *field, bool keep, struct slice value,
                          struct buffer *error)
{
    struct config_addresses fresh = { 0 };
    for (uint32_t i = 0; keep && i < field->count; i++) {
        fresh.items[fresh.count++] = text_copy(slice_from(field->items[i]));
    }
    if (!addresses_add(&fresh, value, error)) {
        addresses_free(&fresh);
        return false;
    }
    addresses_free(field);
    *field = fresh;
    return true;
}

/* Redis's form: groups of four words, class, hard limit, soft limit, seconds.  There are no replica
 * and no pubsub clients to which the other classes could apply. */
static bool output_limit_set(uint64_t *field, struct slice value, struct buffer *error)
{
    uint64_t hard = *field;
    struct slice words[4];
    uint32_t count = 0;
    while (word_next(&value, &words[count])) {
        if (++count < 4) {
            continue;
        }
        count = 0;
        uint64_t numbers[3];
        for (size_t i = 0; i < 3; i++) {
            if (!text_to_bytes(words[i + 1], &numbers[i])) {
                return fail(error, "Error in hard, soft or soft_seconds setting in buffer limit "
                                   "configuration.");
            }
        }
        if (slice_equal_nocase(words[0], "normal")) {
            if (numbers[1] != 0 || numbers[2] != 0) {
                return fail(error, "soft limits are not available: write 'normal <bytes> 0 0'");
            }
            hard = numbers[0];
        } else if (!slice_equal_nocase(words[0], "slave") &&
                   !slice_equal_nocase(words[0], "replica") &&
                   !slice_equal_nocase(words[0], "pubsub")) {
            return fail(error, "Invalid client class specified in buffer limit configuration.");
        }
    }
    if (count != 0) {
        return fail(error, "Wrong number of arguments in buffer limit configuration.");
    }
    *field = hard;
    return true;
}

static const char *later_text(enum config_id id)
{
    switch ((int)id) {
    case CONFIG_ID_daemonize:
        return "minidb stays in the foreground; systemd, or '&' in a shell, puts it into the "
               "background";
    default:
        return "not available in this version";
    }
}

static bool value_parse(struct config *config, enum config_id id, bool keep, struct slice value,
                        struct buffer *error)
{
    const struct config_option *option = &options[id];
    void *field = field_of(config, option);
    switch (option->kind) {
    case CONFIG_TEXT:
    case CONFIG_PASSWORD:
        return text_set(option, field, value, error);
    case CONFIG_INTEGER:
        return integer_set(option, field, value, error);
    case CONFIG_BYTES:
        return bytes_set(option, field, value, error);
    case CONFIG_ENUM:
        return enum_set(option, field, value, error);
    case CONFIG_YESNO:
        return yesno_set(field, value, error);
    case CONFIG_ADDRESSES:
        return addresses_set(field, keep, value, error);
    case CONFIG_OUTPUT_LIMIT:
        return output_limit_set(field, value, error);
    case CONFIG_CONSTANT:
        if (!slice_equal_nocase(value, option->initial)) {
            buffer_printf(error, "the only value available is \"%s\"", option->initial);
            return false;
        }
        return true;
    }
    UNREACHABLE();
}

/* Options of later versions take their default and nothing else. */
static bool later_ok(const struct config *config, enum config_id id, struct buffer *error)
{
    struct buffer text = { 0 };
    config_value_text(config, id, &text);
    bool same = slice_equal(buffer_slice(&text), slice_from(options[id].initial));
    buffer_free(&text);
    return same || fail(error, later_text(id));
}

static bool value_set(struct config *config, enum config_id id, bool keep, struct slice value,
                      struct buffer *error)
{
    if (value.size > CONFIG_TEXT_BYTES_MAX) {
        return fail(error, "argument is too long");
    }
    if (!value_parse(config, id, keep, value, error)) {
        return false;
    }
    return (options[id].flags & CONFIG_LATER) == 0 || later_ok(config, id, error);
}

bool config_value_set(struct config *config, enum config_id id, struct slice value,
                      struct buffer *error)
{
    return value_set(config, id, /* keep: */ false, value, error);
}

bool config_assign(struct config *config, enum config_id id, enum config_source source,
                   struct slice value, struct buffer *error)
{
    ASSERT(config->source[id] <= source);
    bool keep = config->source[id] == source;
    if (!value_set(config, id, keep, value, error)) {
        return false;
    }
    config->source[id] = source;
    return true;
}

/* ── values as text ──────────────────────────────────────────────────────────────────────────── */

static void enum_text(const struct config_option *option, const void *field, struct buffer *out)
{
    uint32_t value = 0;
    memcpy(&value, field, sizeof(value));
    for (const struct config_word *word = option->words; word->text != NULL; word++) {
        if (word->value == value) {
            buffer_append_text(out, word->text);
            return;
        }
    }
    UNREACHABLE();
}

static void addresses_text(const struct config_addresses *addresses, struct buffer *out)
{
    for (uint32_t i = 0; i < addresses->count; i++) {
        buffer_printf(out, "%s%s", i == 0 ? "" : " ", addresses->items[i]);
    }
}

void config_value_text(const struct config *config, enum config_id id, struct buffer *out)
{
    const struct config_option *option = &options[id];
    const void *field = field_in(config, option);
    switch (option->kind) {
    case CONFIG_TEXT:
    case CONFIG_PASSWORD:
        buffer_append_text(out, *(char *const *)field);
        return;
    case CONFIG_INTEGER:
        buffer_printf(out, "%lld", (long long)integer_load(field, option->width));
        return;
    case CONFIG_BYTES:
        buffer_printf(out, "%llu", (unsigned long long)*(const uint64_t *)field);
        return;
    case CONFIG_ENUM:
        enum_text(option, field, out);
        return;
    case CONFIG_YESNO:
        buffer_append_text(out, *(const bool *)field ? "yes" : "no");
        return;
    case CONFIG_ADDRESSES:
        addresses_text(field, out);
        return;
    case CONFIG_OUTPUT_LIMIT:
        buffer_printf(out, "normal %llu 0 0 slave 0 0 0 pubsub 0 0 0",
                      (unsigned long long)*(const uint64_t *)field);
        return;
    case CONFIG_CONSTANT:
        buffer_append_text(out, option->initial);
        return;
    }
    UNREACHABLE();
}

void config_get_text(const struct config *config, uint32_t at, struct buffer *out)
{
    config_value_text(config, id_of(at), out);
}

/* ── life ────────────────────────────────────────────────────────────────────────────────────── */

void config_defaults(struct config *config)
{
    *config = (struct config){ 0 };
    config->file = text_copy(slice_from(""));
    for (uint32_t id = 0; id < CONFIG_OPTIONS_COUNT; id++) {
        struct buffer error = { 0 };
        bool ok = config_value_set(config, id, slice_from(options[id].initial), &error);
        ASSERT(ok);
    }
}

void config_deinit(struct config *config)
{
    for (uint32_t id = 0; id < CONFIG_OPTIONS_COUNT; id++) {
        if (options[id].kind == CONFIG_TEXT || options[id].kind == CONFIG_PASSWORD) {
            mem_free(*(char **)field_of(config, &options[id]));
        } else if (options[id].kind == CONFIG_ADDRESSES) {
            addresses_free(field_of(config, &options[id]));
        }
    }
    mem_free(config->file);
    buffer_free(&config->warnings);
    *config = (struct config){ 0 };
}

/* A copy that owns its strings. */
static void config_copy(const struct config *config, struct config *out)
{
    *out = *config;
    out->file = text_copy(slice_from(config->file));
    out->warnings = (struct buffer){ 0 };
    buffer_append_slice(&out->warnings, buffer_slice(&config->warnings));
    for (uint32_t id = 0; id < CONFIG_OPTIONS_COUNT; id++) {
        void *field = field_of(out, &options[id]);
        if (options[id].kind == CONFIG_TEXT || options[id].kind == CONFIG_PASSWORD) {
            char **text = field;
            *text = text_copy(slice_from(*text));
        } else if (options[id].kind == CONFIG_ADDRESSES) {
            struct config_addresses *addresses = field;
            for (uint32_t i = 0; i < addresses->count; i++) {
                addresses->items[i] = text_copy(slice_from(addresses->items[i]));
            }
        }
    }
}

bool config_check(const struct config *config, struct buffer *error)
{
    for (uint32_t i = 0; i < config->host.count; i++) {
        bool is_guarded = config->requirepass[0] != '\0' || config->insecure;
        if (!is_guarded && !config_is_loopback(config->host.items[i])) {
            buffer_printf(error,
                          "host %s can be reached from other machines and there is no password: "
                          "set requirepass, or insecure yes to allow it",
                          config->host.items[i]);
            return false;
        }
    }
    return config_cluster_ok(config, error);
}

/* ── CONFIG SET ──────────────────────────────────────────────────────────────────────────────── */

/* Sets one pair in the copy.  On error the text is whole. */
static bool pair_set(struct config *copy, const struct slice *pair, bool *seen,
                     struct buffer *error)
{
    int id = config_option_find(pair[0]);
    if (id < 0) {
        buffer_append_text(error, "ERR Unknown option or number of arguments for CONFIG SET - '");
        buffer_append(error, pair[0].data, pair[0].size < 128 ? pair[0].size : 128);
        buffer_append_text(error, "'");
        return false;
    }
    size_t before = error->size;
    buffer_append_text(error, "ERR CONFIG SET failed (possibly related to argument '");
    buffer_append(error, pair[0].data, pair[0].size);
    buffer_append_text(error, "') - ");
    bool is_fixed =
        (options[id].flags & CONFIG_MUTABLE) == 0 && options[id].kind != CONFIG_CONSTANT;
    if (seen[id] || is_fixed) {
        return fail(error, seen[id] ? "duplicate parameter" : "can't set immutable config");
    }
    seen[id] = true;
    if (!config_value_set(copy, (enum config_id)id, pair[1], error)) {
        return false;
    }
    copy->source[id] = SOURCE_RUNTIME;
    error->size = before;
    return true;
}

static bool value_equal(const struct config *a, const struct config *b, enum config_id id)
{
    struct buffer in_a = { 0 };
    struct buffer in_b = { 0 };
    config_value_text(a, id, &in_a);
    config_value_text(b, id, &in_b);
    bool equal = slice_equal(buffer_slice(&in_a), buffer_slice(&in_b));
    buffer_free(&in_a);
    buffer_free(&in_b);
    return equal;
}

/* Exchanges one option's field: what it owns goes along. */
static void field_swap(struct config *a, struct config *b, const struct config_option *option)
{
    char saved[sizeof(struct config_addresses)];
    ASSERT(option->width <= sizeof(saved));
    memcpy(saved, field_of(a, option), option->width);
    memcpy(field_of(a, option), field_of(b, option), option->width);
    memcpy(field_of(b, option), saved, option->width);
}

/* Takes over what changed and nothing else: others may hold pointers to strings that stay. */
static void changes_take(struct config *config, struct config *copy, struct config_changes *out)
{
    *out = (struct config_changes){ 0 };
    for (uint32_t id = 0; id < CONFIG_OPTIONS_COUNT; id++) {
        config->source[id] = copy->source[id];
        out->changed[id] = !value_equal(config, copy, id);
        if (out->changed[id]) {
            field_swap(config, copy, &options[id]);
        }
    }
}

int config_set(struct config *config, const struct slice *pairs, uint32_t count,
               struct config_changes *out_changes, struct buffer *error)
{
    struct config copy;
    config_copy(config, &copy);
    bool seen[CONFIG_OPTIONS_COUNT] = { false };
    bool ok = true;
    for (uint32_t i = 0; i < count && ok; i++) {
        ok = pair_set(&copy, &pairs[2 * (size_t)i], seen, error);
    }
    if (ok) {
        size_t before = error->size;
        buffer_append_text(error, "ERR CONFIG SET failed - ");
        ok = config_check(&copy, error);
        error->size = ok ? before : error->size;
    }
    if (!ok) {
        config_deinit(&copy);
        return -EINVAL;
    }
    changes_take(config, &copy, out_changes);
    config_deinit(&copy);
    return 0;
}
