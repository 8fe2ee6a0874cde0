/*
 * raft_spec_test.c — golden interaction scripts: commands and what the replicas did.
 *
 * Every tests/spec/raft/x.txt is read as a dialogue: lines that begin with "> " are commands, "#"
 * begins a comment, and the lines after a command are the trace it must produce.  REWRITE=1 writes
 * the files anew; the review reads the difference.  The invariants of world_check.h hold besides.
 *
 *   > cluster 3 [voters=n] [lease] [window=bytes]   makes nodes; 1..voters are members
 *   > disk 1 term=6 log=1,1,4,5         what a node remembers before it starts (terms of entries)
 *   > start 1 | all      > crash 1 [writes that still reached the disk]
 *   > timeout 1          time moves to this node's next deadline, and it looks at its clock
 *   > tick 1 50          50 ms pass, and it looks       > elapse 50    nobody looks
 *   > deliver 1 2 [n|KIND]  messages from 1 to 2: all, the first n, those of a kind   > drop 1 2
 *   > pass 100 [without=3] [hold=1]   100 ms pass for all in steps of 10, everything is delivered
 *                        (but to and from 3) and written (but not by 1)
 *   > persist 1 [n]      its oldest writes complete     > settle [without=3,4]   all of it
 *   > propose 1 [n]      > read 1       > transfer 1 2       > members 1 1,2,3,4~   (~ learner)
 *   > compact 1 keep     > fetched 3    > fetch-fails 3      > quiet | loud
 *   > log 1,2            > status       prints
 */
#include "test.h"

#include "world.h"

#include <dirent.h>

enum { SCRIPT_BYTES_MAX = 1 << 20, WORDS_MAX = 8, LINE_BYTES_MAX = 512 };

struct text {
    char *data;
    size_t size;
};

struct script {
    struct world *world;
    struct text out;
    bool is_quiet;
    struct world_options options;
    uint64_t seen_config[WORLD_NODES_MAX + 1];
};

__attribute__((format(printf, 2, 3))) static void say(struct script *script, const char *format,
                                                      ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(script->out.data + script->out.size, SCRIPT_BYTES_MAX - script->out.size,
                         format, arguments);
    va_end(arguments);
    if (size < 0 || script->out.size + (size_t)size >= SCRIPT_BYTES_MAX) {
        abort();
    }
    script->out.size += (size_t)size;
}

/* ── the trace ──────────────────────────────────────────────────────────────────────────────── */

static const char *role_name(enum raft_role role)
{
    static const char *const names[] = { "follower", "precandidate", "candidate", "leader" };
    return names[role];
}

static const char *kind_name(enum raft_message_kind kind)
{
    static const char *const names[RAFT_MESSAGE_KINDS] = {
        [RAFT_MESSAGE_PREVOTE] = "PREVOTE",
        [RAFT_MESSAGE_PREVOTE_RESPONSE] = "PREVOTE_RESPONSE",
        [RAFT_MESSAGE_VOTE] = "VOTE",
        [RAFT_MESSAGE_VOTE_RESPONSE] = "VOTE_RESPONSE",
        [RAFT_MESSAGE_APPEND] = "APPEND",
        [RAFT_MESSAGE_APPEND_RESPONSE] = "APPEND_RESPONSE",
        [RAFT_MESSAGE_HEARTBEAT] = "HEARTBEAT",
        [RAFT_MESSAGE_HEARTBEAT_RESPONSE] = "HEARTBEAT_RESPONSE",
        [RAFT_MESSAGE_COMMIT] = "COMMIT",
        [RAFT_MESSAGE_SNAPSHOT] = "SNAPSHOT",
        [RAFT_MESSAGE_TIMEOUT_NOW] = "TIMEOUT_NOW",
        [RAFT_MESSAGE_READ] = "READ",
        [RAFT_MESSAGE_READ_RESPONSE] = "READ_RESPONSE",
    };
    return names[kind];
}

/* 1 voter, 1~ learner; in a joint configuration: 1+ in both halves, -1 going, -1~ going to learn.
 */
static void say_config(struct script *script, const struct raft_config *config)
{
    for (uint32_t i = 0; i < config->members_count; i++) {
        unsigned roles = config->members[i].roles;
        bool is_going = (roles & RAFT_OUTGOING) != 0 && (roles & RAFT_VOTER) == 0;
        bool is_both = (roles & RAFT_OUTGOING) != 0 && (roles & RAFT_VOTER) != 0;
        say(script, " %s%" PRIu64 "%s%s", is_going ? "-" : "", config->members[i].node,
            is_both ? "+" : "", (roles & RAFT_LEARNER) != 0 ? "~" : "");
    }
}

static void say_message(struct script *script, const struct raft_message *m)
{
    say(script, "  %" PRIu64 " -> %" PRIu64 " %s term %" PRIu64, m->from, m->to, kind_name(m->kind),
        m->term);
    switch (m->kind) {
    case RAFT_MESSAGE_PREVOTE:
    case RAFT_MESSAGE_VOTE:
        say(script, " log %" PRIu64 "/%" PRIu64 "%s", m->index, m->log_term,
            m->is_transfer ? " transfer" : "");
        break;
    case RAFT_MESSAGE_APPEND:
        say(script, " after %" PRIu64 "/%" PRIu64 " entries %u commit %" PRIu64, m->index,
            m->log_term, m->entries_count, m->commit);
        break;
    case RAFT_MESSAGE_APPEND_RESPONSE:
        if (m->is_rejected) {
            say(script, " after %" PRIu64 " try %" PRIu64 "/%" PRIu64, m->index, m->hint,
                m->log_term);
        } else {
            say(script, " upto %" PRIu64, m->index);
        }
        break;
    case RAFT_MESSAGE_HEARTBEAT:
    case RAFT_MESSAGE_COMMIT:
        say(script, " commit %" PRIu64, m->commit);
        break;
    case RAFT_MESSAGE_SNAPSHOT:
        say(script, " at %" PRIu64 "/%" PRIu64 " members", m->index, m->log_term);
        say_config(script, m->config);
        break;
    case RAFT_MESSAGE_READ_RESPONSE:
        say(script, " index %" PRIu64, m->index);
        break;
    case RAFT_MESSAGE_PREVOTE_RESPONSE:
    case RAFT_MESSAGE_VOTE_RESPONSE:
    case RAFT_MESSAGE_HEARTBEAT_RESPONSE:
    case RAFT_MESSAGE_TIMEOUT_NOW:
    case RAFT_MESSAGE_READ:
    case RAFT_MESSAGE_KINDS:
        break;
    }
    say(script, "%s%s\n", m->is_rejected ? " rejected" : "", m->is_suspect ? " suspect" : "");
}

static void say_writes(struct script *script, const struct world_node *node,
                       const struct raft_output *output)
{
    if (output->persist.id == 0) {
        return;
    }
    say(script, "  %" PRIu64 " writes", node->id);
    if (output->hard_state_changed) {
        say(script, " term %" PRIu64 " vote %" PRIu64, output->term, output->voted_for);
    }
    if (output->log_reset) {
        say(script, " reset %" PRIu64 "/%" PRIu64, output->log_reset_index, output->log_reset_term);
    }
    for (uint32_t i = 0; i < output->entries_count; i++) {
        const struct raft_entry *entry = &output->entries[i];
        const char *kind = entry->kind == RAFT_ENTRY_CONFIG ? "c"
                           : entry->kind == RAFT_ENTRY_NOOP ? "n"
                                                            : "";
        say(script, " %" PRIu64 "/%" PRIu64 "%s", entry->index, entry->term, kind);
    }
    say(script, "\n");
}

static void on_step(struct world *world, struct world_node *node, const struct raft_input *input,
                    const struct raft_output *output)
{
    struct script *script = world->hooks.context;
    (void)input;
    if (script->is_quiet) {
        return;
    }
    if (raft_role(node->raft) != node->seen_role || raft_term(node->raft) != node->seen_term) {
        say(script, "  %" PRIu64 " is %s in term %" PRIu64 "\n", node->id,
            role_name(raft_role(node->raft)), raft_term(node->raft));
    }
    uint64_t at = 0;
    const struct raft_config *config = raft_config(node->raft, &at);
    if (!raft_config_equal(config, &node->seen_config)) {
        say(script, "  %" PRIu64 " members from %" PRIu64 ":", node->id, at);
        say_config(script, config);
        say(script, "\n");
    }
    say_writes(script, node, output);
    for (uint32_t i = 0; i < output->messages_count; i++) {
        say_message(script, &output->messages[i]);
    }
    if (output->commit_index != node->seen_commit) {
        say(script, "  %" PRIu64 " commits %" PRIu64 "\n", node->id, output->commit_index);
    }
    if (output->read_id_confirmed != 0) {
        say(script, "  %" PRIu64 " reads at %" PRIu64 "\n", node->id, output->read_index);
    }
    if (output->snapshot_wanted) {
        say(script, "  %" PRIu64 " wants snapshot %" PRIu64 " from %" PRIu64 "\n", node->id,
            output->snapshot.index, output->snapshot_from);
    }
}

/* ── commands ───────────────────────────────────────────────────────────────────────────────── */

static const char *option(char **words, uint32_t count, const char *name)
{
    size_t size = strlen(name);
    for (uint32_t i = 0; i < count; i++) {
        if (strncmp(words[i], name, size) == 0) {
            return words[i] + size;
        }
    }
    return NULL;
}

static uint64_t number(char **words, uint32_t count, uint32_t at, uint64_t otherwise)
{
    return at < count ? strtoull(words[at], NULL, 10) : otherwise;
}

static void do_cluster(struct script *script, char **words, uint32_t count)
{
    uint32_t nodes = (uint32_t)number(words, count, 1, 3);
    const char *voters = option(words, count, "voters=");
    const char *window = option(words, count, "window=");
    struct world_options options = world_options_default(nodes);
    if (voters != NULL) {
        options.voters_count = (uint32_t)atoi(voters);
    }
    if (window != NULL) {
        options.append_bytes_max = (uint32_t)atoi(window);
        options.inflight_bytes_max = (uint64_t)atoi(window) * 2;
    }
    options.lease_reads = option(words, count, "lease") != NULL;
    script->world = world_new(nodes, &options);
    script->world->hooks = (struct world_hooks){ .context = script, .on_step = on_step };
}

/* Entry (index, term) always has the same content, whoever is given it. */
static void do_disk(struct script *script, char **words, uint32_t count)
{
    struct world_node *node = world_node(script->world, number(words, count, 1, 1));
    const char *term = option(words, count, "term=");
    const char *vote = option(words, count, "vote=");
    const char *log = option(words, count, "log=");
    node->disk.term = term != NULL ? strtoull(term, NULL, 10) : 0;
    node->disk.voted_for = vote != NULL ? strtoull(vote, NULL, 10) : 0;
    while (log != NULL && *log != '\0') {
        char *end = NULL;
        uint64_t entry_term = strtoull(log, &end, 10);
        uint64_t index = ++node->disk.last;
        node->disk.log[index] =
            (struct world_entry){ .term = entry_term,
                                  .payload = 1000000 + index * 1000 + entry_term,
                                  .size = WORLD_ENTRY_BYTES,
                                  .kind = 1 };
        log = *end == ',' ? end + 1 : end;
    }
}

static bool is_chosen(const struct raft_message *message, uint64_t from, uint64_t to,
                      const char *kind)
{
    return message->from == from && message->to == to &&
           (kind == NULL || strcmp(kind, kind_name(message->kind)) == 0);
}

/* Only what is in flight now: answers wait for the next command. */
static void do_deliver(struct script *script, char **words, uint32_t count, bool is_lost)
{
    uint64_t from = number(words, count, 1, 0);
    uint64_t to = number(words, count, 2, 0);
    bool is_kind = count > 3 && (words[3][0] < '0' || words[3][0] > '9');
    uint64_t most = is_kind ? UINT64_MAX : number(words, count, 3, UINT64_MAX);
    struct world *world = script->world;
    struct world_flight *last = world->flights.previous;
    struct world_flight *flight = world->flights.next;
    for (uint64_t done = 0; done < most && flight != &world->flights;) {
        struct world_flight *next = flight->next;
        bool was_last = flight == last;
        if (is_chosen(&flight->message, from, to, is_kind ? words[3] : NULL)) {
            if (is_lost) {
                world_flight_free(world, flight);
            } else {
                world_deliver(world, flight);
            }
            done++;
        }
        if (was_last) {
            break;
        }
        flight = next;
    }
}

static uint32_t node_bits(const char *list)
{
    uint32_t bits = 0;
    while (list != NULL && *list != '\0') {
        char *end = NULL;
        bits |= 1u << strtoull(list, &end, 10);
        list = *end == ',' ? end + 1 : end;
    }
    return bits;
}

static void do_pass(struct script *script, uint64_t ms, uint32_t isolated, uint32_t held)
{
    struct world *world = script->world;
    for (uint64_t passed = 0; passed < ms; passed += 10) {
        world->now_us += 10 * 1000;
        for (uint64_t id = 1; id <= world->nodes_count; id++) {
            world_tick_now(world, id);
        }
        world_settle_parts(world, isolated, held);
    }
}

static const char *result_name(enum raft_result result)
{
    static const char *const names[] = { "ok",
                                         "not leader",
                                         "transferring",
                                         "full",
                                         "stale",
                                         "config pending",
                                         "config invalid",
                                         "config same",
                                         "target invalid" };
    return names[result];
}

static void do_members(struct script *script, char **words, uint32_t count)
{
    struct raft_config wanted = { 0 };
    const char *at = count > 2 ? words[2] : "";
    while (*at != '\0') {
        char *end = NULL;
        uint64_t node = strtoull(at, &end, 10);
        bool is_learner = *end == '~';
        end += is_learner;
        (void)!raft_config_add(&wanted, node, 1, is_learner ? RAFT_LEARNER : RAFT_VOTER);
        at = *end == ',' ? end + 1 : end;
    }
    enum raft_result result = world_confchange(script->world, number(words, count, 1, 1), &wanted);
    if (result != RAFT_OK) {
        say(script, "  %s\n", result_name(result));
    }
}

static void say_log(struct script *script, const struct world_node *node)
{
    say(script, "  %" PRIu64 ":", node->id);
    for (uint64_t index = raft_first_index(node->raft); index <= node->last; index++) {
        say(script, "%s%" PRIu64, index == raft_commit_index(node->raft) + 1 ? " | " : " ",
            node->log[index].term);
    }
    say(script, "\n");
}

static void do_log(struct script *script, const char *list)
{
    uint32_t bits = node_bits(list);
    for (uint64_t id = 1; id <= script->world->nodes_count; id++) {
        if ((bits >> id & 1) != 0) {
            say_log(script, world_node(script->world, id));
        }
    }
}

static void do_status(struct script *script)
{
    for (uint64_t id = 1; id <= script->world->nodes_count; id++) {
        const struct world_node *node = world_node(script->world, id);
        if (!node->is_up) {
            say(script, "  %" PRIu64 " down\n", id);
            continue;
        }
        uint64_t at = 0;
        const struct raft_config *config = raft_config(node->raft, &at);
        say(script,
            "  %" PRIu64 " %s term %" PRIu64 " leader %" PRIu64 " last %" PRIu64 " durable %" PRIu64
            " commit %" PRIu64 " members",
            id, role_name(raft_role(node->raft)), raft_term(node->raft), raft_leader(node->raft),
            raft_last_index(node->raft), raft_durable_index(node->raft),
            raft_commit_index(node->raft));
        say_config(script, config);
        say(script, "\n");
    }
}

static void do_timeout(struct script *script, uint64_t id)
{
    struct world *world = script->world;
    uint64_t deadline_us = world_node(world, id)->deadline_ms * 1000;
    if (deadline_us > world->now_us) {
        world->now_us = deadline_us;
    }
    world_tick_now(world, id);
}

static void do_start(struct script *script, const char *who)
{
    for (uint64_t id = 1; id <= script->world->nodes_count; id++) {
        if (strcmp(who, "all") == 0 || strtoull(who, NULL, 10) == id) {
            world_start(script->world, id);
        }
    }
}

static void do_persist(struct script *script, uint64_t id, uint64_t most)
{
    for (uint64_t i = 0; i < most && world_node(script->world, id)->writes != NULL; i++) {
        world_persist(script->world, id);
    }
}

static void answer(struct script *script, enum raft_result result)
{
    if (result != RAFT_OK) {
        say(script, "  %s\n", result_name(result));
    }
}

/* Commands about one node; false when there is no such command. */
static bool run_node_command(struct script *script, char **words, uint32_t count)
{
    struct world *world = script->world;
    const char *name = words[0];
    uint64_t id = number(words, count, 1, 1);
    if (strcmp(name, "timeout") == 0) {
        do_timeout(script, id);
    } else if (strcmp(name, "tick") == 0) {
        world_tick(world, id, number(words, count, 2, 0));
    } else if (strcmp(name, "persist") == 0) {
        do_persist(script, id, number(words, count, 2, UINT64_MAX));
    } else if (strcmp(name, "propose") == 0) {
        answer(script, world_propose(world, id, (uint32_t)number(words, count, 2, 1)));
    } else if (strcmp(name, "read") == 0) {
        world_read(world, id);
    } else if (strcmp(name, "transfer") == 0) {
        answer(script, world_transfer(world, id, number(words, count, 2, 0)));
    } else if (strcmp(name, "members") == 0) {
        do_members(script, words, count);
    } else if (strcmp(name, "compact") == 0) {
        world_compact(world, id, number(words, count, 2, 0));
    } else if (strcmp(name, "fetched") == 0 || strcmp(name, "fetch-fails") == 0) {
        world_fetch_done(world, id, strcmp(name, "fetched") != 0);
    } else if (strcmp(name, "crash") == 0) {
        world_crash(world, id, (uint32_t)number(words, count, 2, 0));
    } else if (strcmp(name, "start") == 0) {
        do_start(script, count > 1 ? words[1] : "all");
    } else {
        return false;
    }
    return true;
}

static bool run_command(struct script *script, char **words, uint32_t count)
{
    const char *name = words[0];
    const char *without = option(words, count, "without=");
    if (strcmp(name, "cluster") == 0) {
        do_cluster(script, words, count);
    } else if (script->world == NULL) {
        return false;
    } else if (strcmp(name, "disk") == 0) {
        do_disk(script, words, count);
    } else if (strcmp(name, "elapse") == 0) {
        script->world->now_us += number(words, count, 1, 0) * 1000;
    } else if (strcmp(name, "deliver") == 0) {
        do_deliver(script, words, count, false);
    } else if (strcmp(name, "drop") == 0) {
        do_deliver(script, words, count, true);
    } else if (strcmp(name, "pass") == 0) {
        do_pass(script, number(words, count, 1, 0), node_bits(without),
                node_bits(option(words, count, "hold=")));
    } else if (strcmp(name, "settle") == 0) {
        world_settle_without(script->world, node_bits(without));
    } else if (strcmp(name, "quiet") == 0 || strcmp(name, "loud") == 0) {
        script->is_quiet = name[0] == 'q';
    } else if (strcmp(name, "log") == 0) {
        do_log(script, count > 1 ? words[1] : "");
    } else if (strcmp(name, "status") == 0) {
        do_status(script);
    } else {
        return run_node_command(script, words, count);
    }
    return true;
}

/* ── files ──────────────────────────────────────────────────────────────────────────────────── */

static void run_line(struct script *script, const char *line)
{
    char copy[LINE_BYTES_MAX];
    char *words[WORDS_MAX];
    uint32_t count = 0;
    (void)snprintf(copy, sizeof(copy), "%s", line + 2);
    char *rest = copy;
    for (char *word; count < WORDS_MAX && (word = strsep(&rest, " ")) != NULL;) {
        if (*word != '\0') {
            words[count++] = word;
        }
    }
    if (count == 0 || !run_command(script, words, count)) {
        say(script, "  ??? no such command\n");
        test_fail(__FILE__, __LINE__, line);
    }
    if (script->world != NULL && script->world->violation[0] != '\0') {
        say(script, "  VIOLATION %s\n", script->world->violation);
        test_fail(__FILE__, __LINE__, script->world->violation);
    }
}

/* Comments, blank lines and commands are kept; the trace is made anew. */
static void run_script(struct script *script, char *input)
{
    char *rest = input;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        if (line[0] == '>' && line[1] == ' ') {
            say(script, "%s\n", line);
            run_line(script, line);
        } else if (line[0] == '#' || (line[0] == '\0' && rest != NULL)) {
            say(script, "%s\n", line);
        }
    }
    if (script->world != NULL) {
        world_free(script->world);
    }
}

static bool file_read(const char *path, struct text *out)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    out->data = mem_zalloc(SCRIPT_BYTES_MAX);
    out->size = fread(out->data, 1, SCRIPT_BYTES_MAX - 1, file);
    (void)fclose(file);
    return true;
}

static void report_difference(const char *path, const char *expected, const char *actual)
{
    unsigned line = 1;
    const char *start = actual;
    while (*expected != '\0' && *expected == *actual) {
        if (*actual == '\n') {
            line++;
            start = actual + 1;
        }
        expected++;
        actual++;
    }
    char text[2 * LINE_BYTES_MAX];
    (void)snprintf(text, sizeof(text), "%s:%u: got: %.*s", path, line, (int)strcspn(start, "\n"),
                   start);
    test_fail(__FILE__, __LINE__, text);
}

static void run_file(const char *path)
{
    struct text expected = { 0 };
    CHECK(file_read(path, &expected));
    if (expected.data == NULL) {
        return;
    }
    struct script script = { 0 };
    script.out.data = mem_zalloc(SCRIPT_BYTES_MAX);
    char *input = mem_zalloc(SCRIPT_BYTES_MAX);
    memcpy(input, expected.data, expected.size);
    run_script(&script, input);
    if (getenv("REWRITE") != NULL) {
        FILE *file = fopen(path, "we");
        CHECK(file != NULL && fwrite(script.out.data, 1, script.out.size, file) == script.out.size);
        CHECK(file != NULL && fclose(file) == 0);
    } else if (strcmp(expected.data, script.out.data) != 0) {
        report_difference(path, expected.data, script.out.data);
    }
    mem_free(input);
    mem_free(script.out.data);
    mem_free(expected.data);
}

static int is_script(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');
    return dot != NULL && strcmp(dot, ".txt") == 0;
}

/* Run from the repository's root, as make does. */
TEST(scripts)
{
    static const char folder[] = "tests/spec/raft";
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, is_script, alphasort);
    CHECK(count >= 10);
    for (int i = 0; i < count; i++) {
        char path[LINE_BYTES_MAX];
        (void)snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
        run_file(path);
        free(entries[i]);
    }
    free(entries);
}

TEST_MAIN
