/*
 * config_load.c — options from the command line, the environment and the file; --help.
 *
 * The sources are read from the weakest to the strongest, so that each simply overwrites the one
 * before: file, environment, flags.  The command line is looked at twice, because it names the
 * file.
 */
#include "config.h"

#include "base/mem.h"
#include "base/text.h"

#include <ctype.h>
#include <stdlib.h>

enum { HELP_COLUMN = 30, HELP_WIDTH = 100, ENV_NAME_MAX = 64 };

/* ── flags ───────────────────────────────────────────────────────────────────────────────────── */

struct flags {
    int argc;
    char **argv;
    int at;
    struct slice name;  /* of the current flag, without dashes; size 0: a bare argument */
    struct slice value; /* after '=', or the argument itself */
    bool has_value;
};

/* The next argument; false at the end. */
static bool flags_next(struct flags *flags)
{
    if (flags->at >= flags->argc) {
        return false;
    }
    const char *text = flags->argv[flags->at++];
    if (strcmp(text, "-h") == 0 || strcmp(text, "-v") == 0) {
        text = text[1] == 'h' ? "--help" : "--version";
    }
    if (strncmp(text, "--", 2) != 0 || text[2] == '\0') {
        flags->name = slice_make(NULL, 0);
        flags->value = slice_from(text);
        flags->has_value = true;
        return true;
    }
    const char *equals = strchr(text, '=');
    flags->has_value = equals != NULL;
    flags->name =
        equals != NULL ? slice_make(text + 2, (size_t)(equals - text - 2)) : slice_from(text + 2);
    flags->value = slice_from(equals != NULL ? equals + 1 : "");
    return true;
}

/* The flag's value, when it was not given with '=': the next argument. */
static bool flags_take_value(struct flags *flags)
{
    if (!flags->has_value && flags->at < flags->argc &&
        strncmp(flags->argv[flags->at], "--", 2) != 0) {
        flags->value = slice_from(flags->argv[flags->at++]);
        flags->has_value = true;
    }
    return flags->has_value;
}

/* `--insecure` alone means yes; a yes or no behind it belongs to it. */
static void flags_take_yesno(struct flags *flags)
{
    if (flags->has_value) {
        return;
    }
    if (flags->at < flags->argc) {
        struct slice next = slice_from(flags->argv[flags->at]);
        if (slice_equal_nocase(next, "yes") || slice_equal_nocase(next, "no")) {
            flags->value = next;
            flags->at++;
            return;
        }
    }
    flags->value = slice_from("yes");
}

static void unknown_option(struct buffer *error, const char *before, struct slice name)
{
    buffer_append_text(error, "unknown option ");
    buffer_append_text(error, before);
    buffer_append(error, name.data, name.size < 64 ? name.size : 64);
    const char *near = config_option_suggest(name);
    if (near != NULL) {
        buffer_printf(error, "; did you mean %s%s?", before, near);
    } else {
        buffer_append_text(error, "; --help lists them");
    }
}

/* Sets one option; what is wrong with the value comes with the flag's name. */
static bool flag_assign(struct config *config, struct flags *flags, struct buffer *error)
{
    int id = config_option_find(flags->name);
    if (id < 0) {
        unknown_option(error, "--", flags->name);
        return false;
    }
    const struct config_option *option = config_option_at((enum config_id)id);
    buffer_printf(error, "--%s: ", option->name);
    if (option->kind == CONFIG_YESNO) {
        flags_take_yesno(flags);
    } else if (!flags_take_value(flags)) {
        buffer_printf(error, "needs a value: --%s <%s>", option->name, option->hint);
        return false;
    }
    if (!config_assign(config, (enum config_id)id, SOURCE_FLAG, flags->value, error)) {
        return false;
    }
    error->size = 0;
    return true;
}

static bool is_flag(const struct flags *flags, const char *name)
{
    return slice_equal(flags->name, slice_from(name));
}

static bool flags_load(struct config *config, int argc, char **argv, struct buffer *error)
{
    struct flags flags = { .argc = argc, .argv = argv, .at = 1 };
    while (flags_next(&flags)) {
        if (flags.name.size == 0 || is_flag(&flags, "check-config")) {
            continue; /* seen by the first look */
        }
        if (is_flag(&flags, "config")) {
            (void)flags_take_value(&flags);
        } else if (!flag_assign(config, &flags, error)) {
            return false;
        }
    }
    return true;
}

/* What the command line asks for, and the file it names (borrowed; NULL: none). */
static enum config_outcome flags_look(int argc, char **argv, const char **out_path,
                                      struct buffer *error)
{
    enum config_outcome outcome = CONFIG_SERVE;
    struct flags flags = { .argc = argc, .argv = argv, .at = 1 };
    while (flags_next(&flags)) {
        if (is_flag(&flags, "help")) {
            bool is_docs = slice_equal(flags.value, slice_from("markdown"));
            return is_docs ? CONFIG_HELP_DOCS : CONFIG_HELP;
        }
        if (is_flag(&flags, "version")) {
            return CONFIG_VERSION;
        }
        if (is_flag(&flags, "check-config")) {
            outcome = CONFIG_CHECK;
            continue;
        }
        int id = flags.name.size > 0 ? config_option_find(flags.name) : -1;
        if (id >= 0) {
            if (config_option_at((enum config_id)id)->kind == CONFIG_YESNO) {
                flags_take_yesno(&flags);
            } else {
                (void)flags_take_value(&flags);
            }
            continue;
        }
        if (flags.name.size > 0 && !is_flag(&flags, "config")) {
            unknown_option(error, "--", flags.name);
            return CONFIG_BAD_USAGE;
        }
        bool is_bare = flags.name.size == 0;
        if (!flags_take_value(&flags) || flags.value.size == 0) {
            buffer_append_text(error, "--config: needs a value: --config <path>");
            return CONFIG_BAD_USAGE;
        }
        if (*out_path != NULL) {
            buffer_printf(error,
                          is_bare ? "unexpected argument '%.64s'"
                                  : "a second configuration file, '%.64s'",
                          flags.value.data);
            return CONFIG_BAD_USAGE;
        }
        *out_path = flags.value.data;
    }
    return outcome;
}

/* ── environment ─────────────────────────────────────────────────────────────────────────────── */

static const char *environment_find(char **environment, const char *name)
{
    size_t size = strlen(name);
    for (char **entry = environment; entry != NULL && *entry != NULL; entry++) {
        if (strncmp(*entry, name, size) == 0 && (*entry)[size] == '=') {
            return *entry + size + 1;
        }
    }
    return NULL;
}

static void environment_name(const char *option, char out[ENV_NAME_MAX])
{
    struct buffer name = { 0 };
    buffer_append_text(&name, "MINIDB_");
    for (const char *c = option; *c != '\0'; c++) {
        buffer_append_byte(&name, *c == '-' ? '_' : (char)toupper((unsigned char)*c));
    }
    buffer_append_byte(&name, '\0');
    memcpy(out, name.data, name.size < ENV_NAME_MAX ? name.size : ENV_NAME_MAX);
    out[ENV_NAME_MAX - 1] = '\0';
    buffer_free(&name);
}

/* A variable that is almost an option's name is worth a warning.  Others are none of our business:
 * orchestrators set some that begin alike. */
static void environment_warn(struct config *config, char **environment)
{
    for (char **entry = environment; entry != NULL && *entry != NULL; entry++) {
        const char *equals = strchr(*entry, '=');
        if (strncmp(*entry, "MINIDB_", 7) != 0 || equals == NULL) {
            continue;
        }
        struct slice name = slice_make(*entry + 7, (size_t)(equals - *entry - 7));
        bool is_ours = slice_equal(name, slice_from("CONFIG")) ||
                       slice_equal(name, slice_from("PASSWORD")) || config_option_find(name) >= 0;
        const char *near = is_ours ? NULL : config_option_suggest(name);
        if (near != NULL) {
            char known[ENV_NAME_MAX];
            environment_name(near, known);
            buffer_printf(&config->warnings, "MINIDB_%.*s is not an option; did you mean %s?\n",
                          (int)name.size, name.data, known);
        }
    }
}

static bool environment_load(struct config *config, char **environment, struct buffer *error)
{
    for (uint32_t id = 0; id < CONFIG_OPTIONS_COUNT; id++) {
        const struct config_option *option = config_option_at(id);
        if (option->kind == CONFIG_CONSTANT) {
            continue;
        }
        char name[ENV_NAME_MAX];
        environment_name(option->name, name);
        const char *value = environment_find(environment, name);
        if (value == NULL) {
            continue;
        }
        buffer_printf(error, "environment variable %s: ", name);
        if (!config_assign(config, id, SOURCE_ENV, slice_from(value), error)) {
            return false;
        }
        error->size = 0;
    }
    environment_warn(config, environment);
    return true;
}

/* ── all of it ───────────────────────────────────────────────────────────────────────────────── */

/* The default that depends on another option. */
static void data_dir_derive(struct config *config)
{
    if (config->data_dir[0] == '\0') {
        struct buffer path = { 0 };
        struct buffer error = { 0 };
        buffer_printf(&path, "./data/%s", config->node_id);
        bool ok = config_value_set(config, CONFIG_ID_data_dir, buffer_slice(&path), &error);
        (void)ok; /* the name of a node is short */
        buffer_free(&path);
        buffer_free(&error);
    }
}

enum config_outcome config_load(int argc, char **argv, char **environment, struct config *config,
                                struct buffer *error)
{
    config_defaults(config);
    const char *path = NULL;
    enum config_outcome outcome = flags_look(argc, argv, &path, error);
    if (outcome != CONFIG_SERVE && outcome != CONFIG_CHECK) {
        return outcome;
    }
    path = path != NULL ? path : environment_find(environment, "MINIDB_CONFIG");
    if (path != NULL && path[0] != '\0' && !config_file_load(config, path, error)) {
        return CONFIG_BAD;
    }
    if (!environment_load(config, environment, error)) {
        return CONFIG_BAD;
    }
    if (!flags_load(config, argc, argv, error)) {
        return CONFIG_BAD_USAGE;
    }
    data_dir_derive(config);
    return config_check(config, error) ? outcome : CONFIG_BAD;
}

/* ── help ────────────────────────────────────────────────────────────────────────────────────── */

/* Appends the text, broken between words at HELP_WIDTH and continued at HELP_COLUMN.  `column` is
 * where the line stands now. */
static void wrapped_append(struct buffer *out, size_t column, const char *text)
{
    for (bool is_first = true; *text != '\0'; is_first = false) {
        size_t word = strcspn(text, " ");
        if (!is_first && column + 1 + word > HELP_WIDTH) {
            buffer_printf(out, "\n%*s", (int)HELP_COLUMN, "");
            column = HELP_COLUMN;
        } else if (!is_first) {
            buffer_append_byte(out, ' ');
            column++;
        }
        buffer_append(out, text, word);
        column += word;
        text += word + (text[word] == ' ' ? 1 : 0);
    }
    buffer_append_byte(out, '\n');
}

/* "always|everysec|no", "yes|no" or the hint. */
static void values_append(struct buffer *out, const struct config_option *option)
{
    if (option->kind == CONFIG_YESNO) {
        buffer_append_text(out, "yes|no");
    } else if (option->words == NULL) {
        buffer_append_text(out, option->hint);
    }
    /* Words after the first round are other names for the same values. */
    uint64_t seen = 0;
    for (const struct config_word *word = option->words; word != NULL && word->text != NULL;
         word++) {
        if ((seen >> word->value & 1) == 0) {
            buffer_printf(out, "%s%s", word == option->words ? "" : "|", word->text);
        }
        seen |= (uint64_t)1 << word->value;
    }
}

static void help_row(struct buffer *out, const struct config_option *option)
{
    size_t start = out->size;
    buffer_printf(out, "  --%s ", option->name);
    values_append(out, option);
    size_t column = out->size - start;
    if (column + 2 > HELP_COLUMN) {
        buffer_append_byte(out, '\n');
        column = 0;
    }
    buffer_printf(out, "%*s", (int)(HELP_COLUMN - column), "");
    struct buffer text = { 0 };
    buffer_append_text(&text, option->help);
    if (option->initial[0] != '\0') {
        buffer_printf(&text, " [%s]", option->initial);
    }
    buffer_append_byte(&text, '\0');
    wrapped_append(out, HELP_COLUMN, text.data);
    buffer_free(&text);
}

void config_help(struct buffer *out)
{
    buffer_append_text(
        out, "usage: minidb [minidb.conf] [--option value]...\n\n"
             "Every option is also a line of the file (port 7001) and a variable of the "
             "environment\n"
             "(MINIDB_PORT=7001).  A flag wins over the environment, that over the file, that over "
             "the\ndefault, which stands in brackets.\n\n"
             "  --config path               the file (or MINIDB_CONFIG)\n"
             "  --check-config              check all options and exit\n"
             "  --check DIR                 verify a data directory no node is using, and exit\n"
             "  --help, -h                  this text\n"
             "  --version, -v               version and what was built in\n");
    for (uint32_t id = 0; id < CONFIG_OPTIONS_COUNT; id++) {
        const struct config_option *option = config_option_at(id);
        if (option->kind == CONFIG_CONSTANT || (option->flags & CONFIG_LATER) != 0) {
            continue;
        }
        const char *title = config_group_title(id);
        if (title != NULL) {
            buffer_printf(out, "\n%s\n", title);
        }
        help_row(out, option);
    }
    buffer_append_text(out, "\nSizes: 1024, 64kb, 8mb, 1gb (1024s); 64k, 8m, 1g (1000s).\n");
}

static void markdown_append(struct buffer *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|' || *text == '<') {
            buffer_append_byte(out, '\\');
        }
        buffer_append_byte(out, *text);
    }
}

static void docs_row(struct buffer *out, const struct config_option *option)
{
    struct buffer values = { 0 };
    values_append(&values, option);
    buffer_append_byte(&values, '\0');
    buffer_printf(out, "| `%s` | ", option->name);
    markdown_append(out, values.data);
    buffer_free(&values);
    buffer_printf(out, option->initial[0] != '\0' ? " | `%s` | %s | " : " | %s | %s | ",
                  option->initial, (option->flags & CONFIG_MUTABLE) != 0 ? "yes" : "");
    markdown_append(out, option->help);
    buffer_append_text(out, " |\n");
}

void config_docs(struct buffer *out)
{
    for (uint32_t id = 0; id < CONFIG_OPTIONS_COUNT; id++) {
        const struct config_option *option = config_option_at(id);
        if (option->kind == CONFIG_CONSTANT || (option->flags & CONFIG_LATER) != 0) {
            continue;
        }
        const char *title = config_group_title(id);
        if (title != NULL) {
            buffer_printf(out,
                          "%s**%s**\n\n| option | values | default | CONFIG SET | meaning |\n"
                          "|---|---|---|---|---|\n",
                          out->size > 0 ? "\n" : "", title);
        }
        docs_row(out, option);
    }
}
