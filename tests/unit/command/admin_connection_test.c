/*
 * admin_connection_test.c — what a connection asks about itself and others: greeting, login,
 * CLIENT, and CONFIG.
 *
 * The texts are those of Redis 7.0 and 7.2 where Redis has the command.
 */
#include "admin_fixture.h"

/* ── connection ──────────────────────────────────────────────────────────────────────────────── */

TEST(ping_echo_select)
{
    struct fixture f;
    begin(&f);
    ANSWERS("PING", "+PONG\r\n");
    ANSWERS("ping hello", "$5\r\nhello\r\n");
    ANSWERS("PING a b", "-ERR wrong number of arguments for 'ping' command\r\n");
    ANSWERS("ECHO hi", "$2\r\nhi\r\n");
    ANSWERS("ECHO", "-ERR wrong number of arguments for 'echo' command\r\n");
    ANSWERS("SELECT 0", "+OK\r\n");
    ANSWERS("SELECT 1", "-ERR DB index is out of range\r\n");
    ANSWERS("SELECT -1", "-ERR DB index is out of range\r\n");
    ANSWERS("SELECT abc", "-ERR value is not an integer or out of range\r\n");
    ANSWERS("SWAPDB 0 0", "+OK\r\n");
    ANSWERS("SWAPDB a 0", "-ERR invalid first DB index\r\n");
    ANSWERS("SWAPDB 0 a", "-ERR invalid second DB index\r\n");
    ANSWERS("SWAPDB 0 99", "-ERR DB index is out of range\r\n");
    ANSWERS("READONLY", "-ERR This instance has cluster support disabled\r\n");
    ANSWERS("READWRITE", "-ERR This instance has cluster support disabled\r\n");
    ANSWERS("ASKING", "-ERR This instance has cluster support disabled\r\n");
    CHECK(!f.conn->is_closing);
    ANSWERS("QUIT", "+OK\r\n");
    CHECK(f.conn->is_closing);
    end(&f);
}

static const char no_password[] =
    "-ERR AUTH <password> called without any password configured for the default user. Are you "
    "sure your configuration is correct?\r\n";
static const char wrong_password[] =
    "-WRONGPASS invalid username-password pair or user is disabled.\r\n";

TEST(auth)
{
    struct fixture f;
    begin(&f);
    ANSWERS("AUTH x", no_password);
    ANSWERS("AUTH default anything", "+OK\r\n");
    ANSWERS("AUTH somebody anything", wrong_password);
    ANSWERS("AUTH a b c", "-ERR syntax error\r\n");
    f.fake.host.auth_failures = 0;
    f.fake.host.password = "secret";
    f.conn->info.authenticated = false;
    static const char *const wrong[] = { "AUTH secre",        "AUTH secret1",
                                         "AUTH ''",           "AUTH Secret",
                                         "AUTH secretsecret", "AUTH default secre",
                                         "AUTH other secret", "AUTH Default secret" };
    for (uint32_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        ANSWERS(wrong[i], wrong_password);
        CHECK(!f.conn->info.authenticated);
        CHECK_EQ(f.fake.host.auth_failures, i + 1);
    }
    ANSWERS("AUTH secret", "+OK\r\n");
    CHECK(f.conn->info.authenticated);
    f.conn->info.authenticated = false;
    ANSWERS("AUTH default secret", "+OK\r\n");
    CHECK(f.conn->info.authenticated);
    ANSWERS("RESET", "+RESET\r\n");
    CHECK(!f.conn->info.authenticated);
    end(&f);
}

TEST(hello)
{
    struct fixture f;
    begin(&f);
    ANSWERS("HELLO 4", "-NOPROTO unsupported protocol version\r\n");
    ANSWERS("HELLO 1", "-NOPROTO unsupported protocol version\r\n");
    ANSWERS("HELLO a", "-ERR Protocol version is not an integer or out of range\r\n");
    ANSWERS("HELLO 2 foo", "-ERR Syntax error in HELLO option 'foo'\r\n");
    ANSWERS("HELLO 2 AUTH default", "-ERR Syntax error in HELLO option 'AUTH'\r\n");
    ANSWERS("HELLO 2 SETNAME", "-ERR Syntax error in HELLO option 'SETNAME'\r\n");
    ANSWERS("HELLO 3 SETNAME 'a b'",
            "-ERR Client names cannot contain spaces, newlines or special characters.\r\n");
    CHECK_EQ(f.conn->info.protocol, PROTOCOL_RESP2);
    ANSWERS("HELLO", "*16\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.4\r\n"
                     "$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n"
                     "$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n"
                     "$14\r\nminidb_version\r\n$5\r\n0.1.0\r\n");
    CONTAINS("HELLO 3 SETNAME bob", "%8\r\n$6\r\nserver\r\n");
    CHECK_EQ(f.conn->info.protocol, PROTOCOL_RESP3);
    ANSWERS("CLIENT GETNAME", "$3\r\nbob\r\n");
    CONTAINS("HELLO 2", "*16\r\n");
    ANSWERS("CLIENT GETNAME", "$3\r\nbob\r\n");
    ANSWERS("CLIENT SETNAME ''", "+OK\r\n");
    ANSWERS("CLIENT GETNAME", "$-1\r\n");
    end(&f);
}

TEST(hello_logs_in)
{
    struct fixture f;
    begin(&f);
    f.fake.host.password = "secret";
    f.conn->info.authenticated = false;
    CONTAINS("HELLO 3", "-NOAUTH HELLO must be called with the client already authenticated");
    CHECK_EQ(f.conn->info.protocol, PROTOCOL_RESP2);
    ANSWERS("HELLO 3 AUTH default wrong SETNAME x", wrong_password);
    CHECK_EQ(f.conn->info.name.size, 0);
    CHECK_EQ(f.conn->info.protocol, PROTOCOL_RESP2);
    CONTAINS("HELLO 3 SETNAME x AUTH default secret", "%8\r\n");
    CHECK(f.conn->info.authenticated);
    CHECK_EQ(f.conn->info.name.size, 1);
    end(&f);
}

TEST(hello_leaves_json_alone)
{
    struct fixture f;
    begin(&f);
    f.conn->info.protocol = PROTOCOL_JSON;
    CONTAINS("HELLO 3", "\"success\":true");
    CHECK_EQ(f.conn->info.protocol, PROTOCOL_JSON);
    CONTAINS("RESET", "\"RESET\"");
    CHECK_EQ(f.conn->info.protocol, PROTOCOL_JSON);
    end(&f);
}

TEST(reset_makes_the_connection_new)
{
    struct fixture f;
    begin(&f);
    (void)run(&f, "HELLO 3 SETNAME bob");
    ANSWERS("CLIENT NO-EVICT on", "+OK\r\n");
    ANSWERS("CLIENT NO-TOUCH on", "+OK\r\n");
    ANSWERS("CONSISTENCY any", "+OK\r\n");
    ANSWERS("CONSISTENCY", "$3\r\nANY\r\n");
    CHECK(f.conn->info.no_evict && f.conn->info.no_touch);
    ANSWERS("RESET", "+RESET\r\n");
    CHECK(!f.conn->info.no_evict && !f.conn->info.no_touch);
    CHECK_EQ(f.conn->info.protocol, PROTOCOL_RESP2);
    CHECK_EQ(f.conn->info.name.size, 0);
    CHECK(f.conn->info.authenticated);
    ANSWERS("CONSISTENCY", "$6\r\nSTRONG\r\n");
    end(&f);
}

TEST(consistency)
{
    struct fixture f;
    begin(&f);
    f.fake.host.consistency_default = CONSISTENCY_QUORUM;
    ANSWERS("CONSISTENCY", "$6\r\nQUORUM\r\n");
    ANSWERS("CONSISTENCY all", "+OK\r\n");
    ANSWERS("CONSISTENCY", "$3\r\nALL\r\n");
    ANSWERS("CONSISTENCY weak", "-ERR unknown consistency level, must be ANY, QUORUM, ALL, STRONG "
                                "or DEFAULT\r\n");
    CHECK_EQ(f.conn->info.consistency, CONSISTENCY_ALL);
    ANSWERS("CONSISTENCY DEFAULT", "+OK\r\n");
    ANSWERS("CONSISTENCY", "$6\r\nQUORUM\r\n");
    ANSWERS("CONSISTENCY a b", "-ERR wrong number of arguments for 'consistency' command\r\n");
    end(&f);
}

/* ── CLIENT ──────────────────────────────────────────────────────────────────────────────────── */

TEST(client_names)
{
    struct fixture f;
    begin(&f);
    ANSWERS("CLIENT ID", ":1\r\n");
    ANSWERS("CLIENT ID x", "-ERR wrong number of arguments for 'client|id' command\r\n");
    ANSWERS("CLIENT FOO", "-ERR unknown subcommand 'FOO'. Try CLIENT HELP.\r\n");
    ANSWERS("CLIENT", "-ERR wrong number of arguments for 'client' command\r\n");
    ANSWERS("CLIENT MAINT_NOTIFICATIONS ON",
            "-ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP.\r\n");
    ANSWERS("CLIENT SETINFO LIB-NAME redis-py", "+OK\r\n");
    ANSWERS("CLIENT SETINFO lib-ver 8.0.0", "+OK\r\n");
    ANSWERS("CLIENT SETINFO lib-x 8", "-ERR Unrecognized option 'lib-x'\r\n");
    ANSWERS("CLIENT SETINFO lib-ver 'a b'",
            "-ERR lib-ver cannot contain spaces, newlines or special characters.\r\n");
    ANSWERS("CLIENT SETNAME 'a b'",
            "-ERR Client names cannot contain spaces, newlines or special characters.\r\n");
    ANSWERS("CLIENT SETNAME \"a\\nb\"",
            "-ERR Client names cannot contain spaces, newlines or special characters.\r\n");
    CONTAINS("CLIENT LIST", " lib-name=redis-py lib-ver=8.0.0\n");
    char line[CLIENT_NAME_BYTES_MAX + 32];
    memset(line, 'x', sizeof(line));
    memcpy(line, "CLIENT SETNAME ", 15);
    line[15 + CLIENT_NAME_BYTES_MAX] = '\0';
    ANSWERS(line, "+OK\r\n");
    line[15 + CLIENT_NAME_BYTES_MAX] = 'x';
    line[16 + CLIENT_NAME_BYTES_MAX] = '\0';
    ANSWERS(line, "-ERR Client names cannot be longer than 1024 bytes.\r\n");
    end(&f);
}

TEST(client_list)
{
    struct fixture f;
    begin(&f);
    static const char one[] =
        "id=1 addr=127.0.0.1:5000 laddr=127.0.0.1:7001 fd=8 name= age=5 idle=0 flags=N db=0 sub=0 "
        "psub=0 ssub=0 multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 "
        "omem=0 tot-mem=0 events=r cmd=NULL user=default redir=-1 resp=2 lib-name= lib-ver=\n";
    char wanted[512];
    (void)snprintf(wanted, sizeof(wanted), "$%zu\r\n%s\r\n", strlen(one), one);
    ANSWERS("CLIENT INFO", wanted);
    ANSWERS("CLIENT LIST ID 1", wanted);
    ANSWERS("CLIENT LIST ID 1 77", wanted);
    CONTAINS("CLIENT LIST", "id=1 ");
    CONTAINS("CLIENT LIST", "id=2 ");
    CONTAINS("CLIENT LIST TYPE normal", "id=2 ");
    CONTAINS("CLIENT LIST ID 2 1", "\nid=1 ");
    ANSWERS("CLIENT LIST TYPE pubsub", "$0\r\n\r\n");
    ANSWERS("CLIENT LIST TYPE replica", "$0\r\n\r\n");
    ANSWERS("CLIENT LIST TYPE foo", "-ERR Unknown client type 'foo'\r\n");
    ANSWERS("CLIENT LIST ID abc", "-ERR Invalid client ID\r\n");
    ANSWERS("CLIENT LIST ID", "-ERR syntax error\r\n");
    ANSWERS("CLIENT LIST foo", "-ERR syntax error\r\n");
    ANSWERS("CLIENT LIST ID 99999", "$0\r\n\r\n");
    f.conn->info.protocol = PROTOCOL_RESP3;
    CONTAINS("CLIENT LIST", "\r\ntxt:id=1 ");
    CONTAINS("CLIENT INFO", " resp=3 ");
    end(&f);
}

TEST(client_kill)
{
    struct fixture f;
    begin(&f);
    struct conn *other = &f.fake.server.conns[1];
    ANSWERS("CLIENT KILL foo", "-ERR No such client\r\n");
    ANSWERS("CLIENT KILL addr", "-ERR No such client\r\n");
    ANSWERS("CLIENT KILL ID abc", "-ERR client-id should be greater than 0\r\n");
    ANSWERS("CLIENT KILL ID 0", "-ERR client-id should be greater than 0\r\n");
    ANSWERS("CLIENT KILL ID 9999", ":0\r\n");
    ANSWERS("CLIENT KILL ID 9999 TYPE foo", "-ERR Unknown client type 'foo'\r\n");
    ANSWERS("CLIENT KILL USER foo", "-ERR No such user 'foo'\r\n");
    ANSWERS("CLIENT KILL SKIPME maybe", "-ERR syntax error\r\n");
    ANSWERS("CLIENT KILL ID 1 ADDR", "-ERR syntax error\r\n");
    ANSWERS("CLIENT KILL TYPE pubsub", ":0\r\n");
    ANSWERS("CLIENT KILL ADDR 127.0.0.1:5001 MAXAGE 6", ":0\r\n");
    ANSWERS("CLIENT KILL ID 1", ":0\r\n"); /* skips itself */
    CHECK(!other->is_killed && !f.conn->is_closing);
    ANSWERS("CLIENT KILL LADDR 127.0.0.1:7001 MAXAGE 5 USER default TYPE normal", ":1\r\n");
    CHECK(other->is_killed && !f.conn->is_closing);
    ANSWERS("CLIENT KILL 127.0.0.1:5001", "-ERR No such client\r\n");
    ANSWERS("CLIENT KILL ID 1 SKIPME no", ":1\r\n");
    CHECK(f.conn->is_closing && !f.conn->is_killed);
    f.conn->is_closing = false;
    ANSWERS("CLIENT KILL 127.0.0.1:5000", "+OK\r\n");
    CHECK(f.conn->is_closing);
    end(&f);
}

TEST(client_modes)
{
    struct fixture f;
    begin(&f);
    ANSWERS("CLIENT NO-EVICT maybe", "-ERR syntax error\r\n");
    ANSWERS("CLIENT REPLY maybe", "-ERR syntax error\r\n");
    ANSWERS("CLIENT REPLY on", "+OK\r\n");
    (void)run(&f, "CLIENT REPLY SKIP");
    CHECK_EQ(f.conn->info.reply_mode, CONN_REPLY_SKIP_NEXT);
    (void)run(&f, "CLIENT REPLY OFF");
    CHECK_EQ(f.conn->info.reply_mode, CONN_REPLY_OFF);
    (void)run(&f, "CLIENT REPLY SKIP");
    CHECK_EQ(f.conn->info.reply_mode, CONN_REPLY_OFF);
    (void)run(&f, "CLIENT REPLY ON");
    CHECK_EQ(f.conn->info.reply_mode, CONN_REPLY_ON);
    ANSWERS("CLIENT PAUSE -1", "-ERR timeout is negative\r\n");
    ANSWERS("CLIENT PAUSE abc", "-ERR timeout is not an integer or out of range\r\n");
    ANSWERS("CLIENT PAUSE 9223372036854775807", "-ERR timeout is out of range\r\n");
    ANSWERS("CLIENT PAUSE 10 foo", "-ERR CLIENT PAUSE mode must be WRITE or ALL\r\n");
    CHECK_EQ(f.fake.pause_until_ms, 0);
    ANSWERS("CLIENT PAUSE 10 write", "+OK\r\n");
    CHECK_EQ(f.fake.pause_until_ms, now_ms + 10);
    CHECK(f.fake.pause_writes_only);
    ANSWERS("CLIENT PAUSE 20", "+OK\r\n");
    CHECK(!f.fake.pause_writes_only);
    ANSWERS("CLIENT UNPAUSE", "+OK\r\n");
    CHECK_EQ(f.fake.pause_until_ms, 0);
    ANSWERS("CLIENT UNBLOCK abc", "-ERR value is not an integer or out of range\r\n");
    ANSWERS("CLIENT UNBLOCK 99 foo", "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR\r\n");
    ANSWERS("CLIENT UNBLOCK 99 error", ":0\r\n");
    ANSWERS("CLIENT TRACKING foo", "-ERR syntax error\r\n");
    ANSWERS("CLIENT TRACKING off", "+OK\r\n");
    ANSWERS("CLIENT TRACKING on bcast", "-ERR CLIENT TRACKING is not supported by this server\r\n");
    ANSWERS("CLIENT TRACKINGINFO",
            "*6\r\n$5\r\nflags\r\n*1\r\n$3\r\noff\r\n$8\r\nredirect\r\n:-1\r\n"
            "$8\r\nprefixes\r\n*0\r\n");
    CONTAINS("CLIENT CACHING yes", "-ERR CLIENT CACHING can be called only when the client is in");
    ANSWERS("CLIENT GETREDIR", ":-1\r\n");
    f.conn->info.protocol = PROTOCOL_RESP3;
    ANSWERS("CLIENT TRACKINGINFO",
            "%3\r\n$5\r\nflags\r\n~1\r\n$3\r\noff\r\n$8\r\nredirect\r\n:-1\r\n"
            "$8\r\nprefixes\r\n*0\r\n");
    end(&f);
}

/* ── CONFIG ──────────────────────────────────────────────────────────────────────────────────── */

TEST(config)
{
    struct fixture f;
    begin(&f);
    ANSWERS("CONFIG GET", "-ERR wrong number of arguments for 'config|get' command\r\n");
    ANSWERS("CONFIG GET nothing", "*0\r\n");
    ANSWERS("CONFIG GET TIMEOUT", "*2\r\n$7\r\nTIMEOUT\r\n$1\r\n0\r\n");
    ANSWERS("CONFIG GET max* timeout maxmemory",
            "*6\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n$16\r\nmaxmemory-policy\r\n$10\r\nnoeviction\r\n"
            "$7\r\ntimeout\r\n$1\r\n0\r\n");
    ANSWERS("CONFIG SET a", "-ERR wrong number of arguments for 'config|set' command\r\n");
    ANSWERS("CONFIG SET a b c", "-ERR syntax error\r\n");
    ANSWERS("CONFIG SET a b",
            "-ERR Unknown option or number of arguments for CONFIG SET - 'a'\r\n");
    ANSWERS("CONFIG SET timeout 1 Timeout 2",
            "-ERR CONFIG SET failed (possibly related to argument 'Timeout') - duplicate "
            "parameter\r\n");
    ANSWERS("CONFIG SET timeout 5 maxmemory bad",
            "-ERR CONFIG SET failed (possibly related to argument 'maxmemory') - bad value\r\n");
    ANSWERS("CONFIG GET timeout", "*2\r\n$7\r\ntimeout\r\n$1\r\n0\r\n");
    ANSWERS("CONFIG SET timeout 5 maxmemory 7", "+OK\r\n");
    ANSWERS("CONFIG GET timeout", "*2\r\n$7\r\ntimeout\r\n$1\r\n5\r\n");
    ANSWERS("CONFIG REWRITE", "-ERR The server is running without a config file\r\n");
    f.fake.can_rewrite = true;
    ANSWERS("CONFIG REWRITE", "+OK\r\n");
    f.conn->info.protocol = PROTOCOL_RESP3;
    ANSWERS("CONFIG GET timeout", "%1\r\n$7\r\ntimeout\r\n$1\r\n5\r\n");
    end(&f);
}

TEST(config_resetstat)
{
    struct fixture f;
    begin(&f);
    command_stats_add(&f.fake.host.command_stats[3], 100, 1);
    error_stats_add(&f.fake.errors, slice_from("ERR x"));
    f.fake.host.auth_failures = 3;
    ANSWERS("CONFIG RESETSTAT", "+OK\r\n");
    CHECK_EQ(f.fake.host.command_stats[3].calls, 0);
    CHECK_EQ(f.fake.errors.total, 0);
    CHECK_EQ(f.fake.errors.count, 0);
    CHECK_EQ(f.fake.host.auth_failures, 0);
    CHECK_EQ(f.fake.stat_resets, 1);
    end(&f);
}

TEST_MAIN
