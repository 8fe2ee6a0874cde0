/*
 * config_test.c — sources and their order, values and what is wrong with them, CONFIG SET as a
 * transaction, and rewriting the file.
 */
#include "base/mem.h"
#include "base/prng.h"
#include "config.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ARGS_MAX = 32 };

/* config_load on words; fills `config`, which the caller deinitialises. */
static enum config_outcome load(struct config *config, struct buffer *error,
                                const char *const *environment, const char *const *args)
{
    char *argv[ARGS_MAX + 1] = { (char *)(uintptr_t) "minidb" };
    int argc = 1;
    for (; *args != NULL && argc < ARGS_MAX; args++) {
        argv[argc++] = (char *)(uintptr_t)*args;
    }
    error->size = 0;
    enum config_outcome outcome =
        config_load(argc, argv, (char **)(uintptr_t)environment, config, error);
    buffer_append_byte(error, '\0');
    return outcome;
}
#define ARGS(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define ENV(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define NO_ENV ((const char *const[]){ NULL })

static void check_error(enum config_outcome outcome, enum config_outcome expected,
                        const struct buffer *error, const char *text)
{
    CHECK_EQ(outcome, expected);
    bool same = strcmp(error->data, text) == 0;
    if (!same) {
        printf("  got      %s\n  expected %s\n", error->data, text);
    }
    CHECK(same);
}

static void check_value(const struct config *config, const char *name, const char *expected)
{
    int id = config_option_find(slice_from(name));
    CHECK(id >= 0);
    struct buffer text = { 0 };
    config_value_text(config, (enum config_id)id, &text);
    bool same = slice_equal(buffer_slice(&text), slice_from(expected));
    if (!same) {
        printf("  %s is '%.*s', not '%s'\n", name, (int)text.size, text.data, expected);
    }
    CHECK(same);
    buffer_free(&text);
}

/* A file with this text; the caller unlinks the path. */
static void file_make(char path[32], const char *text)
{
    (void)snprintf(path, 32, "/tmp/minidb-conf-XXXXXX");
    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    (void)close(fd);
}

static void check_file(const char *path, const char *expected)
{
    char text[4096] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) >= 0);
    (void)close(fd);
    if (strcmp(text, expected) != 0) {
        printf("--- got\n%s--- expected\n%s---\n", text, expected);
    }
    CHECK(strcmp(text, expected) == 0);
}

TEST(defaults)
{
    struct config config;
    struct buffer error = { 0 };
    CHECK_EQ(load(&config, &error, NO_ENV, ARGS(NULL)), CONFIG_SERVE);
    CHECK_EQ(config.port, 7001);
    CHECK_EQ(config.partitions, 256);
    CHECK_EQ(config.host.count, 1);
    CHECK(strcmp(config.host.items[0], "127.0.0.1") == 0);
    CHECK(strcmp(config.data_dir, "./data/node1") == 0);
    CHECK_EQ(config.appendfsync, AOF_SYNC_EVERYSEC);
    CHECK_EQ(config.consistency, CONSISTENCY_STRONG);
    CHECK_EQ(config.client_output_limit, CONFIG_OUTPUT_LIMIT_DEFAULT);
    CHECK_EQ(config.slowlog_log_slower_than, 10000);
    CHECK(config.appendonly && !config.insecure);
    check_value(&config, "client-output-buffer-limit",
                "normal 268435456 0 0 slave 0 0 0 pubsub 0 0 0");
    check_value(&config, "save", "");
    check_value(&config, "databases", "1");
    check_value(&config, "bind", "127.0.0.1");
    config_deinit(&config);
    buffer_free(&error);
}

TEST(flag_beats_environment_beats_file_beats_default)
{
    char path[32];
    file_make(path, "port 1\nmaxclients 1\nhz 1\n# a comment\n\n  host  ::1 127.0.0.2\r\nhost "
                    "127.0.0.3\n");
    struct config config;
    struct buffer error = { 0 };
    const char *const *env = ENV("MINIDB_PORT=2", "MINIDB_MAXCLIENTS=2", "OTHER=1", "MINIDB_X");
    CHECK_EQ(load(&config, &error, env, ARGS(path, "--port", "3")), CONFIG_SERVE);
    CHECK_EQ(config.port, 3);
    CHECK_EQ(config.maxclients, 2);
    CHECK_EQ(config.hz, 1);
    check_value(&config, "host", "::1 127.0.0.2 127.0.0.3");
    CHECK_EQ(config.source[CONFIG_ID_port], SOURCE_FLAG);
    CHECK_EQ(config.source[CONFIG_ID_maxclients], SOURCE_ENV);
    CHECK_EQ(config.source[CONFIG_ID_hz], SOURCE_FILE);
    CHECK_EQ(config.source[CONFIG_ID_timeout], SOURCE_DEFAULT);
    CHECK(strcmp(config.file, path) == 0);
    config_deinit(&config);
    /* The three ways to name the file. */
    char variable[64];
    (void)snprintf(variable, sizeof(variable), "MINIDB_CONFIG=%s", path);
    CHECK_EQ(load(&config, &error, ENV(variable), ARGS("--host=127.0.0.1")), CONFIG_SERVE);
    CHECK_EQ(config.hz, 1);
    check_value(&config, "host", "127.0.0.1");
    config_deinit(&config);
    CHECK_EQ(load(&config, &error, NO_ENV, ARGS("--hz=5", "--config", path)), CONFIG_SERVE);
    CHECK_EQ(config.hz, 5);
    CHECK_EQ(config.port, 1);
    config_deinit(&config);
    (void)unlink(path);
    buffer_free(&error);
}

TEST(forms_of_flags)
{
    struct config config;
    struct buffer error = { 0 };
    CHECK_EQ(load(&config, &error, NO_ENV,
                  ARGS("--Node_ID=a.b-c", "--host", "127.0.0.1", "--host", "::1", "--insecure",
                       "--appendonly", "no", "--requirepass=--x", "--loglevel", "warning")),
             CONFIG_SERVE);
    check_value(&config, "node-id", "a.b-c");
    check_value(&config, "host", "127.0.0.1 ::1");
    CHECK(config.insecure && !config.appendonly);
    check_value(&config, "requirepass", "--x");
    CHECK_EQ(config.log_level, LOG_WARN);
    CHECK(strcmp(config.data_dir, "./data/a.b-c") == 0);
    config_deinit(&config);
    CHECK_EQ(load(&config, &error, NO_ENV, ARGS("--port", "1", "--check-config")), CONFIG_CHECK);
    config_deinit(&config);
    CHECK_EQ(load(&config, &error, NO_ENV, ARGS("--port", "1", "-h")), CONFIG_HELP);
    config_deinit(&config);
    CHECK_EQ(load(&config, &error, NO_ENV, ARGS("--help=markdown")), CONFIG_HELP_DOCS);
    config_deinit(&config);
    CHECK_EQ(load(&config, &error, NO_ENV, ARGS("--version")), CONFIG_VERSION);
    config_deinit(&config);
    buffer_free(&error);
}

static void bad_flag(const char *a, const char *b, const char *text)
{
    struct config config;
    struct buffer error = { 0 };
    enum config_outcome outcome = load(&config, &error, NO_ENV, ARGS(a, b));
    check_error(outcome, CONFIG_BAD_USAGE, &error, text);
    config_deinit(&config);
    buffer_free(&error);
}

TEST(bad_flags)
{
    bad_flag("--prot", "1", "unknown option --prot; did you mean --port?");
    bad_flag("--maxclient=1", NULL, "unknown option --maxclient; did you mean --maxclients?");
    bad_flag("--xyzzy", NULL, "unknown option --xyzzy; --help lists them");
    bad_flag("--port", NULL, "--port: needs a value: --port <port>");
    bad_flag("--port", "--insecure", "--port: needs a value: --port <port>");
    bad_flag("--port", "x", "--port: argument couldn't be parsed into an integer");
    bad_flag("--port", "65536", "--port: argument must be between 0 and 65535 inclusive");
    bad_flag("--port=", NULL, "--port: argument couldn't be parsed into an integer");
    bad_flag("--partitions", "100", "--partitions: argument must be a power of two");
    bad_flag("--partitions", "8", "--partitions: argument must be between 16 and 4096 inclusive");
    bad_flag("--appendfsync", "soon",
             "--appendfsync: argument(s) must be one of the following: always, everysec, no");
    bad_flag("--maxmemory", "1tb", "--maxmemory: argument must be a memory value");
    bad_flag("--insecure=maybe", NULL, "--insecure: argument must be 'yes' or 'no'");
    bad_flag("--node-id", "a/b",
             "--node-id: argument must consist of letters, digits, '.', '_' and '-'");
    bad_flag("--node-id", "..",
             "--node-id: argument must consist of letters, digits, '.', '_' and '-'");
    bad_flag("--host", "example.com",
             "--host: argument must be numeric addresses such as 127.0.0.1 or ::1");
    bad_flag("--host", " ", "--host: argument must be at least one address");
#define BAD_SEED                                                                                   \
    "--seed: argument must be numeric addresses with the cluster's port, such as 10.0.0.1:8001 "   \
    "or [fd00::1]:8001"
    bad_flag("--seed", "h:1", BAD_SEED);
    bad_flag("--seed", "127.0.0.1", BAD_SEED);
    bad_flag("--seed", "127.0.0.1:0", BAD_SEED);
    bad_flag("--seed", "127.0.0.1:65536", BAD_SEED);
    bad_flag("--seed", ":8001", BAD_SEED);
    bad_flag("--seed", "fd00::1:8001", BAD_SEED);
    bad_flag("--seed", "[10.0.0.1]:8001", BAD_SEED);
    bad_flag("--seed", "10.0.0.1:8001,10.0.0.2", BAD_SEED);
    bad_flag("--zone", "a b", "--zone: argument must consist of letters, digits, '.', '_' and '-'");
    bad_flag("--replication-factor", "8",
             "--replication-factor: argument must be between 1 and 7 inclusive");
    bad_flag("--strong-reads", "x",
             "--strong-reads: argument(s) must be one of the following: lease, readindex");
    bad_flag("--metrics-port", "1", "--metrics-port: not available in this version");
    bad_flag("--daemonize", NULL,
             "--daemonize: minidb stays in the foreground; systemd, or '&' in a shell, puts it "
             "into the background");
    bad_flag("--aof-segment-size", "65537",
             "--aof-segment-size: argument must be a multiple of 4096");
    bad_flag("--save", "900 1", "--save: the only value available is \"\"");
    bad_flag("--config", NULL, "--config: needs a value: --config <path>");
    bad_flag("a.conf", "b.conf", "unexpected argument 'b.conf'");
}

static void bad_together(const char *const *args, const char *expected)
{
    struct config config;
    struct buffer error = { 0 };
    enum config_outcome outcome = load(&config, &error, NO_ENV, args);
    check_error(outcome, CONFIG_BAD, &error, expected);
    config_deinit(&config);
    buffer_free(&error);
}

TEST(what_a_cluster_needs_of_several_options)
{
    bad_together(ARGS("--heartbeat-ms", "126"),
                 "election-timeout-ms: must be at least twice heartbeat-ms: one lost heartbeat is "
                 "no reason for an election");
    bad_together(ARGS("--seed", "127.0.0.1:8001", "--appendonly", "no"),
                 "appendonly: a member of a cluster keeps its votes on disk: with seed or "
                 "cluster-port it must be yes");
    bad_together(ARGS("--cluster-port", "8001", "--host", "0.0.0.0", "--insecure"),
                 "announce-host: must say where other nodes reach this one, as host is a wildcard");
    bad_together(ARGS("--announce-host", "::"), "announce-host: nobody can reach a wildcard "
                                                "address");
    bad_together(ARGS("--announce-host", "db1"),
                 "announce-host: must be a numeric address such as 10.0.0.1");
    bad_together(ARGS("--cluster-port", "7001"), "cluster-port: must differ from port");
    bad_together(ARGS("--seed", "127.0.0.1:1", "--port", "65000"),
                 "cluster-port: must be given, as port + 1000 is no port");
}

TEST(what_follows_from_cluster_options)
{
    struct config config;
    struct buffer error = { 0 };
    CHECK_EQ(load(&config, &error, NO_ENV, ARGS(NULL)), CONFIG_SERVE);
    CHECK(!config_wants_cluster(&config));
    CHECK_EQ(config_cluster_port(&config), 8001);
    CHECK(strcmp(config_announce_host(&config), "127.0.0.1") == 0);
    config_deinit(&config);

    CHECK_EQ(load(&config, &error, NO_ENV,
                  ARGS("--host", "* 10.0.0.7", "--insecure", "--announce-host", "10.0.0.7",
                       "--seed", "10.0.0.1:8001, [fd00::1]:9,localhost:8003", "--port", "64536",
                       "--cluster-port", "5")),
             CONFIG_SERVE);
    CHECK(config_wants_cluster(&config));
    CHECK_EQ(config_cluster_port(&config), 5);
    CHECK(strcmp(config_announce_host(&config), "10.0.0.7") == 0);
    struct slice rest = slice_from(config.seed);
    char host[CONFIG_HOST_BYTES_MAX];
    uint16_t port = 0;
    CHECK(config_seed_next(&rest, host, &port) && port == 8001 && strcmp(host, "10.0.0.1") == 0);
    CHECK(config_seed_next(&rest, host, &port) && port == 9 && strcmp(host, "fd00::1") == 0);
    CHECK(config_seed_next(&rest, host, &port) && port == 8003 && strcmp(host, "localhost") == 0);
    CHECK(!config_seed_next(&rest, host, &port));
    config_deinit(&config);

    CHECK_EQ(load(&config, &error, NO_ENV, ARGS("--host", "localhost", "--port", "64535")),
             CONFIG_SERVE);
    CHECK_EQ(config_cluster_port(&config), 65535);
    CHECK(strcmp(config_announce_host(&config), "127.0.0.1") == 0);
    config_deinit(&config);
    buffer_free(&error);
}

static void bad_file(const char *text, const char *expected)
{
    struct config config;
    config_defaults(&config);
    struct buffer error = { 0 };
    CHECK(!config_file_parse(&config, "m.conf", slice_from(text), &error));
    buffer_append_byte(&error, '\0');
    check_error(CONFIG_BAD, CONFIG_BAD, &error, expected);
    buffer_free(&error);
    config_deinit(&config);
}

TEST(bad_files)
{
    bad_file("# x\nport 1\nprot 2\n", "m.conf:3: unknown option prot; did you mean port?");
    bad_file("port", "m.conf:1: port: needs a value");
    bad_file("port 1 # two\n", "m.conf:1: port: takes one value: put quotes around spaces, and "
                               "comments on lines of their own");
    bad_file("port \"1\n", "m.conf:1: unbalanced quotes");
    bad_file("\n\nport 99999", "m.conf:3: port: argument must be between 0 and 65535 inclusive");
    bad_file("databases 16", "m.conf:1: databases: the only value available is \"1\"");
    bad_file("client-output-buffer-limit normal 1 2 3",
             "m.conf:1: client-output-buffer-limit: soft limits are not available: write 'normal "
             "<bytes> 0 0'");
    struct config config;
    struct buffer error = { 0 };
    enum config_outcome outcome = load(&config, &error, NO_ENV, ARGS("/no/such/file"));
    check_error(outcome, CONFIG_BAD, &error,
                "cannot read the configuration file /no/such/file: No such file or directory");
    config_deinit(&config);
    outcome = load(&config, &error, ENV("MINIDB_PORT=tcp://1.2.3.4:7001"), ARGS(NULL));
    check_error(outcome, CONFIG_BAD, &error,
                "environment variable MINIDB_PORT: argument couldn't be parsed into an integer");
    config_deinit(&config);
    outcome = load(&config, &error, ENV("MINIDB_PROT=1", "MINIDB_PORT_7001_TCP_ADDR=1.2.3.4"),
                   ARGS(NULL));
    CHECK_EQ(outcome, CONFIG_SERVE);
    CHECK(slice_equal(buffer_slice(&config.warnings),
                      slice_from("MINIDB_PROT is not an option; did you mean MINIDB_PORT?\n")));
    config_deinit(&config);
    buffer_free(&error);
}

TEST(file_values)
{
    struct config config;
    config_defaults(&config);
    struct buffer error = { 0 };
    CHECK(config_file_parse(&config, "f",
                            slice_from("requirepass \"a \\\"b\\\" \\x41\"\nlogfile ''\nsave \"\"\n"
                                       "client-output-buffer-limit normal 1gb 0 0 slave 256mb 64mb "
                                       "60\nmaxmemory 2gb\nport 1\nport 2"),
                            &error));
    check_value(&config, "requirepass", "a \"b\" A");
    check_value(&config, "maxmemory", "2147483648");
    CHECK_EQ(config.client_output_limit, 1 << 30);
    CHECK_EQ(config.port, 2);
    CHECK_EQ(error.size, 0);
    config_deinit(&config);
    buffer_free(&error);
}

static const char open_text[] = "host 0.0.0.0 can be reached from other machines and there is no "
                                "password: set requirepass, or insecure yes to allow it";

TEST(open_doors_are_refused)
{
    struct config config;
    struct buffer error = { 0 };
    enum config_outcome outcome = load(&config, &error, NO_ENV, ARGS("--host", "127.0.0.1,*"));
    check_error(outcome, CONFIG_BAD, &error, open_text);
    config_deinit(&config);
    const char *const fine[][4] = { { "--host=0.0.0.0", "--insecure" },
                                    { "--host=::", "--requirepass=x" },
                                    { "--host=127.9.9.9", "--host=::1" },
                                    { "--host=localhost", "--host=::ffff:127.0.0.1" } };
    for (size_t i = 0; i < ARRAY_COUNT(fine); i++) {
        CHECK_EQ(load(&config, &error, NO_ENV, fine[i]), CONFIG_SERVE);
        config_deinit(&config);
    }
    const char *const open[] = { "::", "10.0.0.1", "fe80::1", "::ffff:10.0.0.1", "128.0.0.1" };
    for (size_t i = 0; i < ARRAY_COUNT(open); i++) {
        CHECK_EQ(load(&config, &error, NO_ENV, ARGS("--host", open[i])), CONFIG_BAD);
        config_deinit(&config);
    }
    /* Taking the password away at run time would open the door as well. */
    CHECK_EQ(load(&config, &error, NO_ENV, ARGS("--host=0.0.0.0", "--requirepass=x")),
             CONFIG_SERVE);
    struct config_changes changes;
    struct slice pair[2] = { slice_from("requirepass"), slice_from("") };
    error.size = 0;
    CHECK(config_set(&config, pair, 1, &changes, &error) < 0);
    CHECK(strcmp(config.requirepass, "x") == 0);
    config_deinit(&config);
    buffer_free(&error);
}

static void set_fails(struct config *config, const char *words, const char *expected)
{
    char copy[256];
    (void)snprintf(copy, sizeof(copy), "%s", words);
    struct slice pairs[8];
    uint32_t count = 0;
    char *save = NULL;
    for (char *word = strtok_r(copy, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save)) {
        pairs[count++] = slice_from(word);
    }
    struct buffer error = { 0 };
    struct config_changes changes;
    CHECK(config_set(config, pairs, count / 2, &changes, &error) < 0);
    buffer_append_byte(&error, '\0');
    check_error(CONFIG_BAD, CONFIG_BAD, &error, expected);
    buffer_free(&error);
}

TEST(config_set_is_all_or_nothing)
{
    struct config config;
    config_defaults(&config);
    struct buffer error = { 0 };
    struct config_changes changes;
    struct slice pairs[] = { slice_from("MaxClients"), slice_from("77"), slice_from("appendfsync"),
                             slice_from("always"),     slice_from("hz"), slice_from("10") };
    const char *data_dir = config.data_dir;
    CHECK_EQ(config_set(&config, pairs, 3, &changes, &error), 0);
    CHECK(config.data_dir == data_dir); /* what did not change stays where it is */
    CHECK_EQ(config.maxclients, 77);
    CHECK_EQ(config.appendfsync, AOF_SYNC_ALWAYS);
    CHECK(changes.changed[CONFIG_ID_maxclients] && changes.changed[CONFIG_ID_appendfsync]);
    CHECK(!changes.changed[CONFIG_ID_hz] && !changes.changed[CONFIG_ID_port]);
    CHECK_EQ(error.size, 0);
    set_fails(&config, "maxclients 78 port 1",
              "ERR CONFIG SET failed (possibly related to argument 'port') - can't set immutable "
              "config");
    set_fails(&config, "hz 20 nope 1",
              "ERR Unknown option or number of arguments for CONFIG SET - 'nope'");
    set_fails(&config, "maxclients 78 maxclients 79",
              "ERR CONFIG SET failed (possibly related to argument 'maxclients') - duplicate "
              "parameter");
    set_fails(&config, "loglevel warn log-level info",
              "ERR CONFIG SET failed (possibly related to argument 'log-level') - duplicate "
              "parameter");
    set_fails(&config, "hz 20 maxclients 0",
              "ERR CONFIG SET failed (possibly related to argument 'maxclients') - argument must "
              "be between 1 and 1000000 inclusive");
    set_fails(&config, "maxmemory-policy allkeys-lru",
              "ERR CONFIG SET failed (possibly related to argument 'maxmemory-policy') - "
              "argument(s) must be one of the following: noeviction");
    CHECK_EQ(config.maxclients, 77);
    CHECK_EQ(config.hz, 10);
    struct slice same[] = { slice_from("save"), slice_from("") };
    CHECK_EQ(config_set(&config, same, 1, &changes, &error), 0);
    config_deinit(&config);
    buffer_free(&error);
}

static void rewrite(const char *text, const char *sets, const char *expected)
{
    char path[32];
    file_make(path, text);
    CHECK(chmod(path, 0604) == 0);
    struct config config;
    struct buffer error = { 0 };
    CHECK_EQ(load(&config, &error, ENV("MINIDB_REQUIREPASS=secret"), ARGS(path, "--timeout", "9")),
             CONFIG_SERVE);
    char copy[256];
    (void)snprintf(copy, sizeof(copy), "%s", sets);
    char *save = NULL;
    for (char *word = strtok_r(copy, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save)) {
        struct slice pair[2] = { slice_from(word), slice_from(strtok_r(NULL, " ", &save)) };
        if (slice_equal(pair[1], slice_from("-"))) {
            pair[1] = slice_from("a b\"\\\n");
        }
        struct config_changes changes;
        CHECK_EQ(config_set(&config, pair, 1, &changes, &error), 0);
    }
    CHECK_EQ(config_rewrite(&config, &error), 0);
    check_file(path, expected);
    struct stat after;
    CHECK(stat(path, &after) == 0 && (after.st_mode & 0777) == 0604);
    /* What was written reads back as what is in force, and rewriting again changes nothing. */
    struct config again;
    CHECK_EQ(load(&again, &error, ENV("MINIDB_REQUIREPASS=secret"), ARGS(path, "--timeout", "9")),
             CONFIG_SERVE);
    for (uint32_t id = 0; id < CONFIG_OPTIONS_COUNT && sets[0] != '!'; id++) {
        struct buffer value = { 0 };
        config_value_text(&config, id, &value);
        buffer_append_byte(&value, '\0');
        if (id != CONFIG_ID_timeout && id != CONFIG_ID_requirepass) {
            check_value(&again, config_name(id), value.data);
        }
        buffer_free(&value);
    }
    CHECK_EQ(config_rewrite(&config, &error), 0);
    check_file(path, expected);
    config_deinit(&again);
    config_deinit(&config);
    buffer_free(&error);
    (void)unlink(path);
}

TEST(rewriting_keeps_what_it_need_not_change)
{
    rewrite("# mine\n\n  hz   5\n\tmaxmemory 1gb\n", "", "# mine\n\n  hz   5\n\tmaxmemory 1gb\n");
    rewrite("# mine\n\n  hz   5\n\tmaxmemory 1gb\nport 3", "hz 6",
            "# mine\n\nhz 6\n\tmaxmemory 1gb\nport 3");
    rewrite("hz 5\r\nmaxmemory 1gb\r\n", "maxmemory 1073741824 hz 7", "hz 7\nmaxmemory 1gb\r\n");
    rewrite("hz 5\n#hz 6\nhz 7\n", "hz 10", "hz 5\n#hz 6\nhz 10\n");
    rewrite("loglevel notice\n", "log-level warn", "log-level warn\n");
    rewrite("loglevel notice\n", "log-level info", "loglevel notice\n");
    rewrite("timeout 1", "maxclients 3",
            "timeout 1\n\n# Set at run time by CONFIG SET\n"
            "maxclients 3\n");
    rewrite("timeout 1\n", "timeout 5", "timeout 5\n");
    rewrite("", "requirepass - client-output-buffer-limit normal,1mb,0,0",
            "\n# Set at run time by CONFIG SET\nrequirepass \"a b\\\"\\\\\\x0a\"\n"
            "client-output-buffer-limit normal 1048576 0 0 slave 0 0 0 pubsub 0 0 0\n");
}

TEST(rewriting_needs_a_file)
{
    struct config config;
    config_defaults(&config);
    struct buffer error = { 0 };
    CHECK(config_rewrite(&config, &error) < 0);
    CHECK(slice_equal(buffer_slice(&error),
                      slice_from("ERR The server is running without a config file")));
    config_deinit(&config);
    buffer_free(&error);
}

/* Random texts: never accepted half, never a crash, and what is accepted reads back. */
TEST(random_files)
{
    struct prng prng;
    prng_init(&prng, 11);
    const char *const pieces[] = {
        "port", "hz",   "maxmemory", " ",         "\n",   "1",           "64mb",     "\"",   "'",
        "\\",   "#",    "host",      "::1",       "yes",  "no",          "\r",       "\t",   "-1",
        "save", "\"\"", "bind",      "127.0.0.1", "\x01", "requirepass", "loglevel", "debug"
    };
    for (int round = 0; round < 5000; round++) {
        struct buffer text = { 0 };
        for (uint64_t n = prng_below(&prng, 20); n > 0; n--) {
            buffer_append_text(&text, pieces[prng_below(&prng, ARRAY_COUNT(pieces))]);
        }
        struct config config;
        config_defaults(&config);
        struct buffer error = { 0 };
        bool ok = config_file_parse(&config, "f", buffer_slice(&text), &error);
        CHECK_EQ(ok, error.size == 0);
        if (ok) {
            struct buffer out = { 0 };
            config_file_rewritten(&config, buffer_slice(&text), &out);
            CHECK(slice_equal(buffer_slice(&text), buffer_slice(&out)));
            buffer_free(&out);
        }
        config_deinit(&config);
        buffer_free(&error);
        buffer_free(&text);
    }
}

TEST(help_fits_the_terminal)
{
    struct buffer help = { 0 };
    config_help(&help);
    buffer_append_byte(&help, '\0');
    char *save = NULL;
    for (char *line = strtok_r(help.data, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        CHECK(strlen(line) <= 100 && line[strlen(line) - 1] != ' ');
    }
    buffer_free(&help);
    config_docs(&help);
    CHECK(memmem(help.data, help.size, "| `maxmemory` |", 15) != NULL);
    CHECK(memmem(help.data, help.size, "metrics-port", 12) == NULL);
    buffer_free(&help);
}

/* Every name is unique, and every option can be set to the value it shows. */
TEST(table_is_sound)
{
    struct config config;
    config_defaults(&config);
    for (uint32_t at = 0; at < config_count(); at++) {
        for (uint32_t other = 0; other < at; other++) {
            CHECK(strcmp(config_name(at), config_name(other)) != 0);
        }
        struct buffer before = { 0 };
        struct buffer after = { 0 };
        struct buffer error = { 0 };
        config_get_text(&config, at, &before);
        int id = config_option_find(slice_from(config_name(at)));
        CHECK(config_value_set(&config, (enum config_id)id, buffer_slice(&before), &error));
        config_get_text(&config, at, &after);
        CHECK(slice_equal(buffer_slice(&before), buffer_slice(&after)));
        buffer_free(&before);
        buffer_free(&after);
        buffer_free(&error);
    }
    config_deinit(&config);
}

TEST_MAIN
