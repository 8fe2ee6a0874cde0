/*
 * config_file.c — the configuration file: reading it, and writing back what CONFIG SET changed.
 *
 * The form is redis.conf's: one option a line, name and values separated by spaces, quotes where a
 * value holds spaces, '#' begins a line that is a comment.
 *
 * Rewriting touches only options that CONFIG SET has set: their last line gets the new value, or a
 * line is added at the end.  Everything else stays byte for byte, and values that came from flags
 * or the environment (a password, say) never slip into the file.
 */
#include "config.h"

#include "base/assert.h"
#include "base/mem.h"
#include "network/protocol_resp.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ── lines ───────────────────────────────────────────────────────────────────────────────────── */

/* The next line with its newline; false at the end. */
static bool line_next(struct slice *rest, struct slice *out_line)
{
    if (rest->size == 0) {
        return false;
    }
    const char *newline = memchr(rest->data, '\n', rest->size);
    size_t size = newline != NULL ? (size_t)(newline - rest->data) + 1 : rest->size;
    *out_line = slice_make(rest->data, size);
    *rest = slice_make(rest->data + size, rest->size - size);
    return true;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct slice trimmed(struct slice text)
{
    while (text.size > 0 && is_space(text.data[0])) {
        text = slice_make(text.data + 1, text.size - 1);
    }
    while (text.size > 0 && is_space(text.data[text.size - 1])) {
        text.size--;
    }
    return text;
}

static bool is_setting(struct slice line)
{
    return line.size > 0 && line.data[0] != '#';
}

/* ── reading ─────────────────────────────────────────────────────────────────────────────────── */

/* Values of several words are one text for the options that take such; else there must be one. */
static bool line_value(const struct config_option *option, const struct slice *words, int64_t count,
                       struct buffer *value, struct buffer *error)
{
    bool takes_many = option->kind == CONFIG_ADDRESSES || option->kind == CONFIG_OUTPUT_LIMIT ||
                      option->kind == CONFIG_CONSTANT;
    if (count == 0) {
        buffer_append_text(error, "needs a value");
        return false;
    }
    if (count > 1 && !takes_many) {
        buffer_append_text(error, "takes one value: put quotes around spaces, and comments on "
                                  "lines of their own");
        return false;
    }
    for (int64_t i = 0; i < count; i++) {
        buffer_append_text(value, i > 0 ? " " : "");
        buffer_append_slice(value, words[i]);
    }
    return true;
}

static bool words_assign(struct config *config, const struct slice *words, int64_t count,
                         struct buffer *error)
{
    int id = config_option_find(words[0]);
    if (id < 0) {
        buffer_append_text(error, "unknown option ");
        buffer_append(error, words[0].data, words[0].size < 64 ? words[0].size : 64);
        const char *near = config_option_suggest(words[0]);
        if (near != NULL) {
            buffer_printf(error, "; did you mean %s?", near);
        }
        return false;
    }
    const struct config_option *option = config_option_at((enum config_id)id);
    buffer_printf(error, "%s: ", option->name);
    struct buffer value = { 0 };
    bool ok = line_value(option, words + 1, count - 1, &value, error) &&
              config_assign(config, (enum config_id)id, SOURCE_FILE, buffer_slice(&value), error);
    buffer_free(&value);
    return ok;
}

static bool line_assign(struct config *config, struct slice line, struct buffer *error)
{
    struct slice *words = NULL;
    int64_t count = resp_split_line(line, &words);
    if (count < 0) {
        buffer_append_text(error, "unbalanced quotes");
        return false;
    }
    bool ok = count == 0 || words_assign(config, words, count, error);
    mem_free(words);
    return ok;
}

bool config_file_parse(struct config *config, const char *name, struct slice text,
                       struct buffer *error)
{
    struct slice line;
    for (uint32_t number = 1; line_next(&text, &line); number++) {
        line = trimmed(line);
        if (!is_setting(line)) {
            continue;
        }
        size_t before = error->size;
        buffer_printf(error, "%s:%u: ", name, number);
        if (!line_assign(config, line, error)) {
            return false;
        }
        error->size = before;
    }
    return true;
}

/* The whole file; < 0: -errno. */
static int file_read(const char *path, struct buffer *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    ssize_t size = 1;
    while (size > 0 && out->size <= CONFIG_FILE_BYTES_MAX) {
        size = read(fd, buffer_reserve(out, 4096), 4096);
        out->size += size > 0 ? (size_t)size : 0;
    }
    int error = size < 0 ? -errno : 0;
    (void)close(fd);
    return error == 0 && out->size > CONFIG_FILE_BYTES_MAX ? -EFBIG : error;
}

bool config_file_load(struct config *config, const char *path, struct buffer *error)
{
    struct buffer text = { 0 };
    int result = file_read(path, &text);
    if (result < 0) {
        buffer_printf(error, "cannot read the configuration file %.512s: %s", path,
                      strerror(-result));
        buffer_free(&text);
        return false;
    }
    bool ok = config_file_parse(config, path, buffer_slice(&text), error);
    buffer_free(&text);
    char *absolute = realpath(path, NULL);
    if (ok && absolute != NULL) {
        size_t size = strlen(absolute) + 1;
        mem_free(config->file);
        config->file = memcpy(mem_alloc(size), absolute, size);
    }
    free(absolute); /* realpath's own */
    return ok;
}

/* ── rewriting ───────────────────────────────────────────────────────────────────────────────── */

/* The option a line sets, or -1. */
static int line_option(struct slice line)
{
    line = trimmed(line);
    if (!is_setting(line)) {
        return -1;
    }
    size_t size = 0;
    while (size < line.size && !is_space(line.data[size])) {
        size++;
    }
    return config_option_find(slice_make(line.data, size));
}

/* A value as one word of the file, in quotes where it needs them. */
static void word_append(struct buffer *out, struct slice value)
{
    bool is_plain = value.size > 0 && value.data[0] != '#';
    for (size_t i = 0; i < value.size; i++) {
        unsigned char byte = (unsigned char)value.data[i];
        is_plain =
            is_plain && byte > ' ' && byte < 0x7F && byte != '"' && byte != '\'' && byte != '\\';
    }
    if (is_plain) {
        buffer_append_slice(out, value);
        return;
    }
    buffer_append_byte(out, '"');
    for (size_t i = 0; i < value.size; i++) {
        unsigned char byte = (unsigned char)value.data[i];
        if (byte == '"' || byte == '\\') {
            buffer_append_byte(out, '\\');
            buffer_append_byte(out, (char)byte);
        } else if (byte < ' ' || byte >= 0x7F) {
            buffer_printf(out, "\\x%02x", (unsigned)byte);
        } else {
            buffer_append_byte(out, (char)byte);
        }
    }
    buffer_append_byte(out, '"');
}

static void setting_append(const struct config *config, enum config_id id, struct buffer *out)
{
    const struct config_option *option = config_option_at(id);
    struct buffer value = { 0 };
    config_value_text(config, id, &value);
    buffer_printf(out, "%s ", option->name);
    if (option->kind == CONFIG_OUTPUT_LIMIT || option->kind == CONFIG_ADDRESSES) {
        buffer_append_slice(out, buffer_slice(&value)); /* several words */
    } else {
        word_append(out, buffer_slice(&value));
    }
    buffer_append_byte(out, '\n');
    buffer_free(&value);
}

/* True when the line already says what the config holds: then it keeps its looks. */
static bool line_says(const struct config *config, enum config_id id, struct slice line)
{
    struct config parsed;
    config_defaults(&parsed);
    struct buffer error = { 0 };
    struct buffer a = { 0 };
    struct buffer b = { 0 };
    bool ok = line_assign(&parsed, trimmed(line), &error);
    config_value_text(&parsed, id, &a);
    config_value_text(config, id, &b);
    ok = ok && slice_equal(buffer_slice(&a), buffer_slice(&b));
    buffer_free(&error);
    buffer_free(&a);
    buffer_free(&b);
    config_deinit(&parsed);
    return ok;
}

void config_file_rewritten(const struct config *config, struct slice text, struct buffer *out)
{
    uint32_t lines_left[CONFIG_OPTIONS_COUNT] = { 0 }; /* that set the option, from here on */
    struct slice line;
    for (struct slice rest = text; line_next(&rest, &line);) {
        int id = line_option(line);
        if (id >= 0) {
            lines_left[id]++;
        }
    }
    bool is_written[CONFIG_OPTIONS_COUNT] = { false };
    for (struct slice rest = text; line_next(&rest, &line);) {
        int id = line_option(line);
        bool is_last = id >= 0 && --lines_left[id] == 0;
        if (is_last && config->source[id] == SOURCE_RUNTIME) {
            is_written[id] = true;
            if (!line_says(config, (enum config_id)id, line)) {
                setting_append(config, (enum config_id)id, out);
                continue;
            }
        }
        buffer_append_slice(out, line);
    }
    bool has_heading = false;
    for (uint32_t id = 0; id < CONFIG_OPTIONS_COUNT; id++) {
        if (config->source[id] != SOURCE_RUNTIME || is_written[id] ||
            config_option_at(id)->kind == CONFIG_CONSTANT) {
            continue;
        }
        if (out->size > 0 && out->data[out->size - 1] != '\n') {
            buffer_append_byte(out, '\n');
        }
        buffer_append_text(out, has_heading ? "" : "\n# Set at run time by CONFIG SET\n");
        has_heading = true;
        setting_append(config, id, out);
    }
}

/* Writes, syncs and closes.  < 0: -errno. */
static int file_fill(int fd, struct slice text)
{
    int error = 0;
    while (text.size > 0 && error == 0) {
        ssize_t written = write(fd, text.data, text.size);
        if (written > 0) {
            text = slice_make(text.data + written, text.size - (size_t)written);
        } else if (written < 0 && errno != EINTR) {
            error = -errno;
        }
    }
    if (error == 0 && fsync(fd) != 0) {
        error = -errno;
    }
    return close(fd) != 0 && error == 0 ? -errno : error;
}

static int directory_sync(const char *path)
{
    char directory[PATH_MAX];
    (void)snprintf(directory, sizeof(directory), "%s", path);
    char *slash = strrchr(directory, '/');
    ASSERT(slash != NULL); /* the path is absolute */
    slash[slash == directory ? 1 : 0] = '\0';
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int error = fsync(fd) != 0 ? -errno : 0;
    (void)close(fd);
    return error;
}

/* A new file beside the old one takes its place in one step; mode and owner stay. */
static int file_replace(const char *path, struct slice text)
{
    char temporary[PATH_MAX];
    if (snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >= (int)sizeof(temporary)) {
        return -ENAMETOOLONG;
    }
    struct stat old;
    if (stat(path, &old) != 0) {
        return -errno;
    }
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    /* The owner can be kept only by root; anybody else is the owner already, or may not be. */
    bool kept = fchown(fd, old.st_uid, old.st_gid) == 0 || errno == EPERM;
    kept = kept && fchmod(fd, old.st_mode & 07777) == 0;
    int error = kept ? file_fill(fd, text) : -errno;
    if (error == 0 && rename(temporary, path) != 0) {
        error = -errno;
    }
    if (error != 0) {
        if (!kept) {
            (void)close(fd);
        }
        (void)unlink(temporary);
        return error;
    }
    return directory_sync(path);
}

int config_rewrite(struct config *config, struct buffer *error)
{
    if (config->file[0] == '\0') {
        buffer_append_text(error, "ERR The server is running without a config file");
        return -ENOENT;
    }
    struct buffer before = { 0 };
    struct buffer after = { 0 };
    int result = file_read(config->file, &before);
    if (result == 0) {
        config_file_rewritten(config, buffer_slice(&before), &after);
        bool same = slice_equal(buffer_slice(&before), buffer_slice(&after));
        result = same ? 0 : file_replace(config->file, buffer_slice(&after));
    }
    buffer_free(&before);
    buffer_free(&after);
    if (result < 0) {
        buffer_printf(error, "ERR Rewriting config file: %s", strerror(-result));
    }
    return result;
}
