/*
 * cmd_set.c — SET and its relatives: whole values, conditions and expiries.
 *
 *   SET SETNX SETEX PSETEX GETSET GET GETDEL GETEX
 *
 * What the log holds is canonical: SET key value [NX | XX] [GET] [KEEPTTL | PXAT ms] and
 * GETEX key [PXAT ms | PERSIST].  The same parser reads what clients send and what the log holds.
 *
 * Read next: cmd_string.c.
 */
#include "base/assert.h"
#include "base/text.h"
#include "command/args.h"
#include "command/command_table.h"

enum expiry_kind {
    EXPIRY_NONE,
    EXPIRY_EX,
    EXPIRY_PX,
    EXPIRY_EXAT,
    EXPIRY_PXAT,
    EXPIRY_KEEPTTL, /* SET only */
    EXPIRY_PERSIST, /* GETEX only */
};

struct set_options {
    bool nx;
    bool xx;
    bool get;
    enum expiry_kind expiry;
    struct slice expiry_text; /* the number after EX, PX, EXAT, PXAT */
};

static bool options_parse(struct command_ctx *ctx, uint32_t from, struct set_options *out);
static bool options_expire_ms(struct command_ctx *ctx, const struct set_options *options,
                              uint64_t *out_ms);

/* A value that expires at once is not stored at all. */
static void put_until(struct command_ctx *ctx, struct slice key, struct slice value,
                      uint64_t expire_ms)
{
    if (expire_ms != KV_NO_EXPIRY && expire_ms <= ctx->now_ms) {
        (void)db_delete(ctx, key);
    } else {
        db_put(ctx, key, value, expire_ms);
    }
}

static void reply_value(struct command_ctx *ctx, const struct kv_entry *entry)
{
    if (entry == NULL) {
        reply_null(ctx->reply);
        return;
    }
    struct kv_scratch scratch;
    reply_bulk(ctx->reply, kv_entry_value(entry, &scratch));
}

/* ── GET ─────────────────────────────────────────────────────────────────────────────────────── */

/* GET key [level]: anything else in the level's place is what Redis calls it, an argument too
 * many. */
int get_prepare(struct command_ctx *ctx)
{
    static const struct {
        const char *name;
        enum consistency level;
    } levels[] = {
        { "any", CONSISTENCY_ANY },
        { "quorum", CONSISTENCY_QUORUM },
        { "all", CONSISTENCY_ALL },
        { "strong", CONSISTENCY_STRONG },
    };
    if (LIKELY(ctx->argc == 2)) {
        return 0;
    }
    for (size_t i = 0; ctx->argc == 3 && i < ARRAY_COUNT(levels); i++) {
        if (args_is(ctx, 2, levels[i].name)) {
            ctx->consistency = levels[i].level;
            return 0;
        }
    }
    command_reply_arity(ctx->reply, ctx->command);
    return 1;
}

void get_command(struct command_ctx *ctx)
{
    const struct kv_entry *entry = db_read(ctx, ctx->argv[1]);
    if (entry != NULL) {
        reply_version(ctx->reply, kv_entry_version(entry));
    }
    reply_value(ctx, entry);
}

/* ── SET ─────────────────────────────────────────────────────────────────────────────────────── */

/* Logs SET key value with the options in canonical form. */
static int log_set(struct command_ctx *ctx, struct slice value, const struct set_options *options)
{
    uint64_t expire_ms = KV_NO_EXPIRY;
    if (!options_expire_ms(ctx, options, &expire_ms)) {
        return 1;
    }
    struct slice key = ctx->argv[1];
    args_begin(ctx, COMMAND_ID_set);
    args_add(ctx, key);
    args_add(ctx, value);
    if (options->nx || options->xx) {
        args_add_word(ctx, options->nx ? "NX" : "XX");
    }
    if (options->get) {
        args_add_word(ctx, "GET");
    }
    if (options->expiry == EXPIRY_KEEPTTL) {
        args_add_word(ctx, "KEEPTTL");
    } else if (expire_ms != KV_NO_EXPIRY) {
        args_add_word(ctx, "PXAT");
        args_add_u64(ctx, expire_ms);
    }
    return 0;
}

int set_prepare(struct command_ctx *ctx)
{
    if (LIKELY(ctx->argc == 3)) {
        return 0;
    }
    struct set_options options;
    if (!options_parse(ctx, 3, &options)) {
        return 1;
    }
    return log_set(ctx, ctx->argv[2], &options);
}

int setex_prepare(struct command_ctx *ctx)
{
    struct set_options options = { .expiry = EXPIRY_EX, .expiry_text = ctx->argv[2] };
    return log_set(ctx, ctx->argv[3], &options);
}

int psetex_prepare(struct command_ctx *ctx)
{
    struct set_options options = { .expiry = EXPIRY_PX, .expiry_text = ctx->argv[2] };
    return log_set(ctx, ctx->argv[3], &options);
}

static void set_with_options(struct command_ctx *ctx)
{
    struct set_options options;
    uint64_t expire_ms = KV_NO_EXPIRY;
    if (!options_parse(ctx, 3, &options) || !options_expire_ms(ctx, &options, &expire_ms)) {
        return;
    }
    struct slice key = ctx->argv[1];
    const struct kv_entry *old = options.get ? db_read(ctx, key) : db_peek(ctx, key);
    bool is_refused = (options.nx && old != NULL) || (options.xx && old == NULL);
    if (options.get) {
        reply_value(ctx, old);
    } else if (is_refused) {
        reply_null(ctx->reply);
    } else {
        reply_ok(ctx->reply);
    }
    if (is_refused) {
        return;
    }
    if (options.expiry == EXPIRY_KEEPTTL && old != NULL) {
        expire_ms = kv_entry_expire_ms(old);
    }
    put_until(ctx, key, ctx->argv[2], expire_ms);
    reply_version(ctx->reply, ctx->version);
}

void set_command(struct command_ctx *ctx)
{
    if (UNLIKELY(ctx->argc != 3)) {
        set_with_options(ctx);
        return;
    }
    db_put(ctx, ctx->argv[1], ctx->argv[2], KV_NO_EXPIRY);
    reply_ok(ctx->reply);
    reply_version(ctx->reply, ctx->version);
}

void setnx_command(struct command_ctx *ctx)
{
    bool is_new = db_peek(ctx, ctx->argv[1]) == NULL;
    if (is_new) {
        db_put(ctx, ctx->argv[1], ctx->argv[2], KV_NO_EXPIRY);
    }
    reply_integer(ctx->reply, is_new);
}

void getset_command(struct command_ctx *ctx)
{
    reply_value(ctx, db_read(ctx, ctx->argv[1]));
    db_put(ctx, ctx->argv[1], ctx->argv[2], KV_NO_EXPIRY);
}

void getdel_command(struct command_ctx *ctx)
{
    reply_value(ctx, db_read(ctx, ctx->argv[1]));
    (void)db_delete(ctx, ctx->argv[1]);
}

/* ── GETEX ───────────────────────────────────────────────────────────────────────────────────── */

int getex_prepare(struct command_ctx *ctx)
{
    struct set_options options;
    uint64_t expire_ms = KV_NO_EXPIRY;
    if (!options_parse(ctx, 2, &options) || !options_expire_ms(ctx, &options, &expire_ms)) {
        return 1;
    }
    struct slice key = ctx->argv[1];
    args_begin(ctx, COMMAND_ID_getex);
    args_add(ctx, key);
    if (options.expiry == EXPIRY_PERSIST) {
        args_add_word(ctx, "PERSIST");
    } else if (expire_ms != KV_NO_EXPIRY) {
        args_add_word(ctx, "PXAT");
        args_add_u64(ctx, expire_ms);
    }
    return 0;
}

void getex_command(struct command_ctx *ctx)
{
    struct set_options options;
    uint64_t expire_ms = KV_NO_EXPIRY;
    if (!options_parse(ctx, 2, &options) || !options_expire_ms(ctx, &options, &expire_ms)) {
        return;
    }
    struct slice key = ctx->argv[1];
    const struct kv_entry *entry = db_read(ctx, key);
    reply_value(ctx, entry);
    if (entry == NULL || options.expiry == EXPIRY_NONE) {
        return;
    }
    if (options.expiry != EXPIRY_PERSIST && expire_ms <= ctx->now_ms) {
        (void)db_delete(ctx, key);
    } else if (kv_entry_expire_ms(entry) != expire_ms) {
        (void)db_set_expiry(ctx, key, expire_ms);
    }
}

/* ── options ─────────────────────────────────────────────────────────────────────────────────── */

static const struct {
    const char *word;
    enum expiry_kind kind;
    bool has_number;
    bool for_set;
    bool for_getex;
} expiry_words[] = {
    { "ex", EXPIRY_EX, true, true, true },
    { "px", EXPIRY_PX, true, true, true },
    { "exat", EXPIRY_EXAT, true, true, true },
    { "pxat", EXPIRY_PXAT, true, true, true },
    { "keepttl", EXPIRY_KEEPTTL, false, true, false },
    { "persist", EXPIRY_PERSIST, false, false, true },
};

/* Takes the expiry option at argv[at]; returns how many arguments it is, 0 when it is none or may
 * not stand here.  The same option twice is allowed and the last one counts, as in Redis. */
static uint32_t take_expiry(const struct command_ctx *ctx, uint32_t at, bool is_set,
                            struct set_options *options)
{
    for (size_t i = 0; i < ARRAY_COUNT(expiry_words); i++) {
        if (!args_is(ctx, at, expiry_words[i].word)) {
            continue;
        }
        bool is_known = is_set ? expiry_words[i].for_set : expiry_words[i].for_getex;
        bool is_alone = options->expiry == EXPIRY_NONE || options->expiry == expiry_words[i].kind;
        bool is_complete = !expiry_words[i].has_number || at + 1 < ctx->argc;
        if (!is_known || !is_alone || !is_complete) {
            return 0;
        }
        options->expiry = expiry_words[i].kind;
        if (!expiry_words[i].has_number) {
            return 1;
        }
        options->expiry_text = ctx->argv[at + 1];
        return 2;
    }
    return 0;
}

/* Reads options from argv[from] on; false when a syntax error has been written. */
static bool options_parse(struct command_ctx *ctx, uint32_t from, struct set_options *out)
{
    bool is_set = ctx->command->id == COMMAND_ID_set;
    *out = (struct set_options){ 0 };
    uint32_t at = from;
    while (at < ctx->argc) {
        if (is_set && args_is(ctx, at, "nx") && !out->xx) {
            out->nx = true;
            at += 1;
        } else if (is_set && args_is(ctx, at, "xx") && !out->nx) {
            out->xx = true;
            at += 1;
        } else if (is_set && args_is(ctx, at, "get")) {
            out->get = true;
            at += 1;
        } else {
            uint32_t taken = take_expiry(ctx, at, is_set, out);
            if (taken == 0) {
                (void)args_syntax_error(ctx);
                return false;
            }
            at += taken;
        }
    }
    return true;
}

/* The point in time an option means; KV_NO_EXPIRY for those without one. */
static bool options_expire_ms(struct command_ctx *ctx, const struct set_options *options,
                              uint64_t *out_ms)
{
    *out_ms = KV_NO_EXPIRY;
    switch (options->expiry) {
    case EXPIRY_NONE:
    case EXPIRY_KEEPTTL:
    case EXPIRY_PERSIST:
        return true;
    case EXPIRY_EX:
        return args_expiry(ctx, options->expiry_text, ARGS_SECONDS, true, out_ms);
    case EXPIRY_PX:
        return args_expiry(ctx, options->expiry_text, ARGS_MILLISECONDS, true, out_ms);
    case EXPIRY_EXAT:
        return args_expiry(ctx, options->expiry_text, ARGS_SECONDS, false, out_ms);
    case EXPIRY_PXAT:
        return args_expiry(ctx, options->expiry_text, ARGS_MILLISECONDS, false, out_ms);
    }
    UNREACHABLE();
}
