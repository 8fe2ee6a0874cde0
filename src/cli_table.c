/*
 * cli_table.c — replies that are tables, with aligned columns.
 *
 *   a list of maps with the same keys      a row each, the keys as heading
 *   SLOWLOG GET, LATENCY LATEST            a row an entry, headings known here
 *   a map that a command of ours returned  two columns; a map inside is a section, a map of alike
 *                                          maps is a table of its own below
 *
 * Values are shown as they are but for line breaks and other control characters, and cut where a
 * column would become too wide (--raw and --json show all of it).
 */
#include "base/compiler.h"
#include "base/mem.h"
#include "cli_print.h"

#include <time.h>

enum { COLUMNS_MAX = 32, CELL_COLUMNS_MAX = 60, ROWS_MAX = 100000 };

struct cell {
    uint32_t at, size; /* in table.text */
    uint32_t width;    /* columns of the terminal */
    bool is_number;
};

struct table {
    struct buffer text;
    struct cell *cells; /* owned: the heading, then row after row */
    uint32_t columns, count, capacity;
};

/* ── cells ───────────────────────────────────────────────────────────────────────────────────── */

/* Copies one line of printable text, at most CELL_COLUMNS_MAX characters. */
static uint32_t text_copy(struct buffer *out, struct slice text)
{
    uint32_t width = 0;
    for (size_t i = 0; i < text.size; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        bool continues = (byte & 0xC0) == 0x80;
        if (!continues && width == CELL_COLUMNS_MAX) {
            buffer_append_text(out, "...");
            return width + 3;
        }
        buffer_append_byte(out, byte < ' ' || byte == 0x7F ? '.' : (char)byte);
        width += continues ? 0 : 1;
    }
    return width;
}

static void cell_add(struct table *table, struct slice text, bool is_number)
{
    if (table->count == table->capacity) {
        table->capacity = table->capacity == 0 ? 64 : table->capacity * 2;
        table->cells = mem_realloc(table->cells, table->capacity * sizeof(*table->cells));
    }
    struct cell *cell = &table->cells[table->count++];
    cell->at = (uint32_t)table->text.size;
    cell->width = text_copy(&table->text, text);
    cell->size = (uint32_t)table->text.size - cell->at;
    cell->is_number = is_number;
}

/* Of a list of maps the first value of each, which names it. */
static void names_print(struct buffer *out, const struct cli_reply *reply, uint32_t node)
{
    for (uint32_t at = node + 1; at < reply->nodes[node].end; at = reply->nodes[at].end) {
        buffer_append_text(out, at > node + 1 ? " " : "");
        bool is_map = reply->nodes[at].kind == CLI_MAP && reply->nodes[at].count > 0;
        cli_print_cell(out, reply, is_map ? reply->nodes[at + 1].end : at);
    }
}

static void node_cell_add(struct table *table, const struct cli_reply *reply, uint32_t node)
{
    enum cli_kind kind = reply->nodes[node].kind;
    struct buffer text = { 0 };
    if (kind == CLI_ARRAY && reply->nodes[node].count > 0 &&
        reply->nodes[node + 1].kind == CLI_MAP) {
        names_print(&text, reply, node);
    } else {
        cli_print_cell(&text, reply, node);
    }
    cell_add(table, buffer_slice(&text), kind == CLI_INTEGER || kind == CLI_DOUBLE);
    buffer_free(&text);
}

static void heading_add(struct table *table, const char *text)
{
    cell_add(table, slice_from(text), /* is_number= */ false);
}

/* ── layout ──────────────────────────────────────────────────────────────────────────────────── */

static void cell_print(struct buffer *out, const struct table *table, uint32_t index,
                       uint32_t width, bool to_right)
{
    const struct cell *cell = &table->cells[index];
    bool is_last = index % table->columns == table->columns - 1;
    int pad = (int)(width - cell->width);
    if (to_right) {
        buffer_printf(out, "%*s", pad, "");
    }
    if (cell->size > 0) {
        buffer_append(out, table->text.data + cell->at, cell->size);
    }
    if (!to_right && !is_last) {
        buffer_printf(out, "%*s", pad, "");
    }
    buffer_append_text(out, is_last ? "\n" : "  ");
}

static void table_print(struct buffer *out, const struct table *table)
{
    uint32_t widths[COLUMNS_MAX] = { 0 };
    bool numbers[COLUMNS_MAX];
    for (uint32_t i = 0; i < table->columns; i++) {
        numbers[i] = table->count > table->columns;
    }
    for (uint32_t i = 0; i < table->count; i++) {
        uint32_t column = i % table->columns;
        const struct cell *cell = &table->cells[i];
        widths[column] = cell->width > widths[column] ? cell->width : widths[column];
        numbers[column] = numbers[column] && (i < table->columns || cell->is_number);
    }
    for (uint32_t i = 0; i < table->count; i++) {
        uint32_t column = i % table->columns;
        cell_print(out, table, i, widths[column], numbers[column]);
    }
}

static void table_free(struct table *table)
{
    buffer_free(&table->text);
    mem_free(table->cells);
}

/* ── a list of maps ──────────────────────────────────────────────────────────────────────────── */

static bool keys_equal(const struct cli_reply *reply, uint32_t a, uint32_t b)
{
    if (reply->nodes[a].kind != CLI_MAP || reply->nodes[b].kind != CLI_MAP ||
        reply->nodes[a].count != reply->nodes[b].count) {
        return false;
    }
    uint32_t in_a = a + 1;
    uint32_t in_b = b + 1;
    for (uint32_t i = 0; i < reply->nodes[a].count; i++) {
        bool is_key = i % 2 == 0;
        bool is_deep = cli_is_aggregate(&reply->nodes[in_b]) && reply->nodes[in_b].count > 0 &&
                       (is_key || reply->nodes[in_b].kind == CLI_MAP);
        if (is_deep || (is_key && !slice_equal(cli_text(reply, in_a), cli_text(reply, in_b)))) {
            return false;
        }
        in_a = reply->nodes[in_a].end;
        in_b = reply->nodes[in_b].end;
    }
    return true;
}

static bool is_list_of_maps(const struct cli_reply *reply)
{
    const struct cli_node *root = &reply->nodes[0];
    if (root->kind != CLI_ARRAY || root->count == 0 || root->count > ROWS_MAX) {
        return false;
    }
    uint32_t columns = reply->nodes[1].count / 2;
    bool is_table = reply->nodes[1].kind == CLI_MAP && columns > 0 && columns <= COLUMNS_MAX;
    for (uint32_t at = 1; at < root->end && is_table; at = reply->nodes[at].end) {
        is_table = keys_equal(reply, 1, at);
    }
    return is_table;
}

/* The keys (part 0) or the values (part 1) of the map at `node` as a row. */
static void map_row_add(struct table *table, const struct cli_reply *reply, uint32_t node,
                        uint32_t part)
{
    uint32_t at = node + 1;
    for (uint32_t i = 0; i < reply->nodes[node].count; i++) {
        if (i % 2 == part) {
            node_cell_add(table, reply, at);
        }
        at = reply->nodes[at].end;
    }
}

static void list_of_maps_print(struct buffer *out, const struct cli_reply *reply)
{
    struct table table = { .columns = reply->nodes[1].count / 2 };
    map_row_add(&table, reply, 1, 0);
    for (uint32_t at = 1; at < reply->nodes[0].end; at = reply->nodes[at].end) {
        map_row_add(&table, reply, at, 1);
    }
    table_print(out, &table);
    table_free(&table);
}

/* ── lists of lists whose columns are known ──────────────────────────────────────────────────── */

struct known_list {
    const char *command, *subcommand;
    uint32_t columns;
    uint32_t time_column; /* seconds since 1970, shown as a date */
    const char *headings[6];
};

static const struct known_list known_lists[] = {
    { "slowlog", "get", 6, 1, { "id", "time", "usec", "command", "client", "name" } },
    { "latency", "latest", 4, 1, { "event", "time", "latest ms", "max ms", NULL, NULL } },
};

static const struct known_list *known_list_find(const struct cli_reply *reply,
                                                const struct slice *args, uint32_t count)
{
    const struct cli_node *root = &reply->nodes[0];
    for (size_t i = 0; i < ARRAY_COUNT(known_lists) && count >= 2; i++) {
        const struct known_list *list = &known_lists[i];
        bool is_it = slice_equal_nocase(args[0], list->command) &&
                     slice_equal_nocase(args[1], list->subcommand) && root->kind == CLI_ARRAY &&
                     root->count > 0 && root->count <= ROWS_MAX;
        for (uint32_t at = 1; is_it && at < root->end; at = reply->nodes[at].end) {
            is_it = reply->nodes[at].kind == CLI_ARRAY && reply->nodes[at].count == list->columns;
        }
        if (is_it) {
            return list;
        }
    }
    return NULL;
}

static void time_cell_add(struct table *table, int64_t seconds)
{
    char text[32];
    time_t when = (time_t)seconds;
    struct tm utc;
    bool ok = gmtime_r(&when, &utc) != NULL;
    size_t size = ok ? strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%SZ", &utc) : 0;
    cell_add(table, slice_make(text, size), /* is_number= */ false);
}

static void known_list_print(struct buffer *out, const struct cli_reply *reply,
                             const struct known_list *list)
{
    struct table table = { .columns = list->columns };
    for (uint32_t i = 0; i < list->columns; i++) {
        heading_add(&table, list->headings[i]);
    }
    for (uint32_t row = 1; row < reply->nodes[0].end; row = reply->nodes[row].end) {
        uint32_t at = row + 1;
        for (uint32_t i = 0; i < list->columns; i++) {
            if (i == list->time_column && reply->nodes[at].kind == CLI_INTEGER) {
                time_cell_add(&table, reply->nodes[at].integer);
            } else {
                node_cell_add(&table, reply, at);
            }
            at = reply->nodes[at].end;
        }
    }
    table_print(out, &table);
    table_free(&table);
}

/* ── a map of facts ──────────────────────────────────────────────────────────────────────────── */

static bool is_facts_command(const struct slice *args, uint32_t count)
{
    static const char *const commands[] = { "stats",   "leader", "route",     "replicas", "verify",
                                            "migrate", "ring",   "ratelimit", "snapshot", "fault",
                                            "repair",  "merkle", "rebalance" };
    for (size_t i = 0; i < ARRAY_COUNT(commands) && count > 0; i++) {
        if (slice_equal_nocase(args[0], commands[i])) {
            return true;
        }
    }
    return count == 2 && slice_equal_nocase(args[0], "memory") &&
           slice_equal_nocase(args[1], "stats");
}

/* A map whose values are maps with the same keys. */
static bool is_map_of_maps(const struct cli_reply *reply, uint32_t node)
{
    const struct cli_node *map = &reply->nodes[node];
    if (map->kind != CLI_MAP || map->count == 0) {
        return false;
    }
    uint32_t first = reply->nodes[node + 1].end;
    bool is_table = reply->nodes[first].kind == CLI_MAP && reply->nodes[first].count > 0 &&
                    reply->nodes[first].count / 2 < COLUMNS_MAX;
    for (uint32_t key = node + 1; key < map->end && is_table;) {
        uint32_t value = reply->nodes[key].end;
        is_table = keys_equal(reply, first, value);
        key = reply->nodes[value].end;
    }
    return is_table;
}

static void map_of_maps_print(struct buffer *out, const struct cli_reply *reply, uint32_t title,
                              uint32_t node)
{
    uint32_t first = reply->nodes[node + 1].end;
    struct table table = { .columns = reply->nodes[first].count / 2 + 1 };
    node_cell_add(&table, reply, title);
    map_row_add(&table, reply, first, 0);
    for (uint32_t key = node + 1; key < reply->nodes[node].end;) {
        uint32_t value = reply->nodes[key].end;
        node_cell_add(&table, reply, key);
        map_row_add(&table, reply, value, 1);
        key = reply->nodes[value].end;
    }
    buffer_append_byte(out, '\n');
    table_print(out, &table);
    table_free(&table);
}

/* The two columns.  A section is a map within the map; what is nested deeper stands in one cell. */
static void facts_columns(struct table *table, const struct cli_reply *reply)
{
    uint32_t section_end = 0;
    struct buffer name = { 0 };
    for (uint32_t at = 1; at < reply->nodes[0].end;) {
        uint32_t value = reply->nodes[at].end;
        const struct cli_node *node = &reply->nodes[value];
        bool is_inside = at < section_end;
        if (!is_inside && is_map_of_maps(reply, value)) {
            at = node->end;
            continue;
        }
        name.size = 0;
        buffer_append_text(&name, is_inside ? "  " : "");
        cli_print_cell(&name, reply, at);
        cell_add(table, buffer_slice(&name), /* is_number= */ false);
        if (node->kind == CLI_MAP && node->count > 0 && !is_inside) {
            cell_add(table, slice_from(""), /* is_number= */ false);
            section_end = node->end;
            at = value + 1;
        } else {
            node_cell_add(table, reply, value);
            at = node->end;
        }
    }
    buffer_free(&name);
}

static void facts_print(struct buffer *out, const struct cli_reply *reply)
{
    struct table table = { .columns = 2 };
    facts_columns(&table, reply);
    table_print(out, &table);
    table_free(&table);
    for (uint32_t at = 1; at < reply->nodes[0].end;) {
        uint32_t value = reply->nodes[at].end;
        if (is_map_of_maps(reply, value)) {
            map_of_maps_print(out, reply, at, value);
        }
        at = reply->nodes[value].end;
    }
}

bool cli_table_print(struct buffer *out, const struct cli_reply *reply, const struct slice *args,
                     uint32_t count)
{
    const struct cli_node *root = &reply->nodes[0];
    const struct known_list *list = known_list_find(reply, args, count);
    if (list != NULL) {
        known_list_print(out, reply, list);
        return true;
    }
    if (is_list_of_maps(reply)) {
        list_of_maps_print(out, reply);
        return true;
    }
    if (root->kind == CLI_MAP && root->count > 0 && is_facts_command(args, count)) {
        facts_print(out, reply);
        return true;
    }
    return false;
}
