/*
 * admin_test.c — admin commands against a fake host: what they answer in RESP2, RESP3 and JSON, and
 * what they do to the host.
 *
 * The texts are those of Redis 7.0 and 7.2 where Redis has the command.
 */
#include "admin_fixture.h"

#include <errno.h>
#include <jansson.h>

/* ── INFO, STATS ─────────────────────────────────────────────────────────────────────────────── */

TEST(info_has_the_fields_that_software_parses)
{
    static const char *const fields[] = {
        "\r\nredis_version:7.2.4\r\n",
        "\r\nredis_mode:standalone\r\n",
        "\r\nminidb_version:0.1.0\r\n",
        "\r\nrole:master\r\n",
        "\r\nconnected_slaves:0\r\n",
        "\r\nloading:0\r\n",
        "\r\nasync_loading:0\r\n",
        "\r\nmaxmemory:0\r\n",
        "\r\nmaxmemory_policy:noeviction\r\n",
        "\r\nused_memory:1536\r\nused_memory_human:1.50K\r\n",
        "\r\nused_memory_rss:3072\r\n",
        "\r\nused_memory_peak:2048\r\n",
        "\r\nmem_fragmentation_ratio:2.00\r\n",
        "\r\ncluster_enabled:0\r\n",
        "\r\nrdb_bgsave_in_progress:0\r\n",
        "\r\nrdb_last_save_time:1699999999\r\n",
        "\r\nrdb_last_bgsave_status:ok\r\n",
        "\r\nrdb_changes_since_last_save:0\r\n",
        "\r\naof_enabled:1\r\n",
        "\r\naof_rewrite_in_progress:0\r\n",
        "\r\naof_last_write_status:ok\r\n",
        "\r\nuptime_in_seconds:90061\r\nuptime_in_days:1\r\n",
        "\r\nconnected_clients:2\r\n",
        "\r\nblocked_clients:0\r\n",
        "\r\nmaxclients:10000\r\n",
        "\r\ninstantaneous_ops_per_sec:0\r\n",
        "\r\ntotal_commands_processed:0\r\n",
        "\r\nkeyspace_hits:0\r\nkeyspace_misses:0\r\n",
        "\r\nexpired_keys:0\r\n",
        "\r\nevicted_keys:0\r\n",
        "\r\ntcp_port:7001\r\n",
        "\r\nrun_id:1b8e2f7601b7d66c5d234706e2ee75b0593f26f9\r\n",
        "\r\nused_cpu_sys:0.000000\r\n",
    };
    struct fixture f;
    begin(&f);
    for (uint32_t i = 0; i < ARRAY_COUNT(fields); i++) {
        if (strstr(run(&f, "INFO"), fields[i]) == NULL) {
            test_fail(__FILE__, __LINE__, fields[i]);
        }
    }
    f.conn->info.protocol = PROTOCOL_RESP3;
    CHECK(run(&f, "INFO")[0] == '=');
    CONTAINS("INFO", "\r\ntxt:# Server\r\n");
    end(&f);
}

TEST(info_sections)
{
    struct fixture f;
    begin(&f);
    ANSWERS("INFO cluster", "$30\r\n# Cluster\r\ncluster_enabled:0\r\n\r\n");
    ANSWERS("INFO nothing", "$0\r\n\r\n");
    ANSWERS("INFO MODULES", "$11\r\n# Modules\r\n\r\n");
    CONTAINS("INFO cluster cpu", "# CPU\r\n");
    CONTAINS("INFO cluster cpu", "\r\n\r\n# Cluster\r\n");
    LACKS("INFO cluster cpu", "# Server");
    static const char *const own[] = { "# Raft", "# Gossip", "# Partitions" };
    for (uint32_t i = 0; i < ARRAY_COUNT(own); i++) {
        CONTAINS("INFO", own[i]);
    }
    CONTAINS("INFO", "# Errorstats");
    CONTAINS("INFO", "# Modules");
    LACKS("INFO", "# Commandstats");
    LACKS("INFO default", "# Latencystats");
    CONTAINS("INFO default cpu commandstats", "# Commandstats");
    CONTAINS("INFO all", "# Commandstats");
    LACKS("INFO all", "# Modules");
    CONTAINS("INFO everything", "# Modules");
    CONTAINS("INFO EVERYTHING", "# Latencystats");
    LACKS("INFO keyspace", "db0");
    struct slice key = slice_from("k");
    struct kv *kv = f.fake.keyspace.partitions[keyspace_partition(&f.fake.keyspace, key)];
    kv_put(kv, key, kv_hash(kv, key), slice_from("v"), now_ms + 1000, 1);
    ANSWERS("INFO keyspace", "$44\r\n# Keyspace\r\ndb0:keys=1,expires=1,avg_ttl=0\r\n\r\n");
    end(&f);
}

TEST(info_statistics)
{
    struct fixture f;
    begin(&f);
    struct command_stats *get = &f.fake.host.command_stats[command_lookup(slice_from("get"))->id];
    command_stats_add(get, 3000, 1);
    command_stats_add(get, 3000, 2);
    get->failed = 1;
    error_stats_add(&f.fake.errors, slice_from("WRONGTYPE Operation"));
    error_stats_add(&f.fake.errors, slice_from("ERR x"));
    error_stats_add(&f.fake.errors, slice_from("ERR y"));
    CONTAINS("INFO commandstats", "\r\ncmdstat_get:calls=3,usec=6,usec_per_call=2.00,"
                                  "rejected_calls=0,failed_calls=1\r\n");
    CONTAINS("INFO errorstats", "\r\nerrorstat_WRONGTYPE:count=1\r\nerrorstat_ERR:count=2\r\n");
    CONTAINS("INFO stats", "\r\ntotal_error_replies:3\r\n");
    CONTAINS("INFO latencystats", "\r\nlatency_percentiles_usec_get:p50=");
    LACKS("INFO latencystats", "usec_set:");
    CONTAINS("STATS", "$3\r\nget\r\n*14\r\n$5\r\ncalls\r\n:3\r\n");
    end(&f);
}

/* ── COMMAND ─────────────────────────────────────────────────────────────────────────────────── */

TEST(command_info)
{
    struct fixture f;
    begin(&f);
    static const char strlen_entry[] =
        "*10\r\n$6\r\nstrlen\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n"
        "*3\r\n+@read\r\n+@string\r\n+@fast\r\n*0\r\n"
        "*1\r\n*6\r\n$5\r\nflags\r\n*1\r\n+RO\r\n$12\r\nbegin_search\r\n*4\r\n$4\r\ntype\r\n"
        "$5\r\nindex\r\n$4\r\nspec\r\n*2\r\n$5\r\nindex\r\n:1\r\n$9\r\nfind_keys\r\n*4\r\n"
        "$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n*6\r\n$7\r\nlastkey\r\n:0\r\n$7\r\n"
        "keystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n*0\r\n";
    char wanted[1024];
    (void)snprintf(wanted, sizeof(wanted), "*2\r\n$-1\r\n%s", strlen_entry);
    ANSWERS("COMMAND INFO foo strlen", wanted);
    (void)snprintf(wanted, sizeof(wanted), "*1\r\n%s", strlen_entry);
    ANSWERS("COMMAND INFO STRLEN", wanted);
    CONTAINS("COMMAND INFO config|get", "$10\r\nconfig|get\r\n:-3\r\n");
    ANSWERS("COMMAND INFO config|foo", "*1\r\n$-1\r\n");
    ANSWERS("COMMAND INFO foo|get", "*1\r\n$-1\r\n");
    CONTAINS("COMMAND INFO memory",
             "$12\r\nmemory|usage\r\n:-3\r\n*1\r\n+readonly\r\n:2\r\n:2\r\n");
    char count[32];
    (void)snprintf(count, sizeof(count), ":%u\r\n", command_count());
    ANSWERS("COMMAND COUNT", count);
    (void)snprintf(count, sizeof(count), "*%u\r\n", command_count());
    CHECK(strncmp(run(&f, "COMMAND"), count, strlen(count)) == 0);
    CHECK(strncmp(run(&f, "COMMAND INFO"), count, strlen(count)) == 0);
    ANSWERS("COMMAND FOO", "-ERR unknown subcommand 'FOO'. Try COMMAND HELP.\r\n");
    end(&f);
}

TEST(command_list)
{
    struct fixture f;
    begin(&f);
    ANSWERS("COMMAND LIST foo", "-ERR syntax error\r\n");
    ANSWERS("COMMAND LIST FILTERBY foo x", "-ERR syntax error\r\n");
    ANSWERS("COMMAND LIST FILTERBY ACLCAT foo", "*0\r\n");
    ANSWERS("COMMAND LIST FILTERBY MODULE foo", "*0\r\n");
    ANSWERS("COMMAND LIST FILTERBY PATTERN GETR*", "*1\r\n$8\r\ngetrange\r\n");
    CONTAINS("COMMAND LIST FILTERBY ACLCAT connection", "$4\r\nping\r\n");
    CONTAINS("COMMAND LIST FILTERBY ACLCAT dangerous", "$4\r\nkeys\r\n");
    LACKS("COMMAND LIST FILTERBY ACLCAT dangerous", "$3\r\nget\r\n");
    CONTAINS("COMMAND LIST", "$10\r\nconfig|get\r\n");
    CONTAINS("ACL CAT string", "$6\r\nstrlen\r\n");
    ANSWERS("ACL CAT foo", "-ERR Unknown category 'foo'\r\n");
    end(&f);
}

TEST(command_getkeys)
{
    struct fixture f;
    begin(&f);
    ANSWERS("COMMAND GETKEYS get a", "*1\r\n$1\r\na\r\n");
    ANSWERS("COMMAND GETKEYS mset a b c d", "*2\r\n$1\r\na\r\n$1\r\nc\r\n");
    ANSWERS("COMMAND GETKEYS memory usage k", "*1\r\n$1\r\nk\r\n");
    ANSWERS("COMMAND GETKEYS object encoding k", "*1\r\n$1\r\nk\r\n");
    ANSWERS("COMMAND GETKEYS foo x", "-ERR Invalid command specified\r\n");
    ANSWERS("COMMAND GETKEYS object foo", "-ERR Invalid command specified\r\n");
    ANSWERS("COMMAND GETKEYS ping", "-ERR The command has no key arguments\r\n");
    ANSWERS("COMMAND GETKEYS config get x", "-ERR The command has no key arguments\r\n");
    ANSWERS("COMMAND GETKEYS strlen a b",
            "-ERR Invalid number of arguments specified for command\r\n");
    ANSWERS("COMMAND GETKEYS", "-ERR wrong number of arguments for 'command|getkeys' command\r\n");
    ANSWERS("COMMAND GETKEYSANDFLAGS mset a b", "*1\r\n*2\r\n$1\r\na\r\n*2\r\n+OW\r\n+update\r\n");
    end(&f);
}

TEST(command_docs)
{
    struct fixture f;
    begin(&f);
    ANSWERS("COMMAND DOCS foo", "*0\r\n");
    CONTAINS("COMMAND DOCS strlen",
             "$9\r\narguments\r\n*1\r\n*6\r\n$4\r\nname\r\n$3\r\nkey\r\n$4\r\ntype\r\n$3\r\nkey\r\n"
             "$14\r\nkey_spec_index\r\n:0\r\n");
    CONTAINS("COMMAND DOCS config", "$11\r\nsubcommands\r\n");
    CONTAINS("COMMAND DOCS config|get", "*2\r\n$10\r\nconfig|get\r\n");
    f.conn->info.protocol = PROTOCOL_RESP3;
    CONTAINS("COMMAND DOCS time", "%1\r\n$4\r\ntime\r\n%4\r\n$7\r\nsummary\r\n");
    char count[32];
    (void)snprintf(count, sizeof(count), "%%%u\r\n", command_count());
    CHECK(strncmp(run(&f, "COMMAND DOCS"), count, strlen(count)) == 0);
    end(&f);
}

/* ── server ──────────────────────────────────────────────────────────────────────────────────── */

/* Commands that read keys run without a host: the two kinds must not be mixed up. */
TEST(commands_that_need_the_host_are_no_reads)
{
    static const char *const names[] = { "info",   "stats", "config",  "client", "debug", "memory",
                                         "acl",    "hello", "auth",    "reset",  "save",  "waitaof",
                                         "bgsave", "nodes", "slowlog", "route",  "shards" };
    for (uint32_t i = 0; i < ARRAY_COUNT(names); i++) {
        uint32_t flags = command_lookup(slice_from(names[i]))->flags;
        CHECK_EQ(flags & (COMMAND_READ | COMMAND_WRITE | COMMAND_KEYSPACE), 0);
    }
}

TEST(time_role_lastsave)
{
    struct fixture f;
    begin(&f);
    ANSWERS("TIME", "*2\r\n$10\r\n1700000000\r\n$6\r\n123000\r\n");
    ANSWERS("ROLE", "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    ANSWERS("LASTSAVE", ":1699999999\r\n");
    end(&f);
}

TEST(snapshots)
{
    struct fixture f;
    begin(&f);
    ANSWERS("SAVE", "+OK\r\n");
    CHECK_EQ(f.wait, COMMAND_WAIT_SNAPSHOT);
    ANSWERS("BGSAVE foo", "-ERR syntax error\r\n");
    CHECK_EQ(f.fake.snapshots, 1);
    ANSWERS("BGSAVE", "+Background saving started\r\n");
    ANSWERS("BGSAVE schedule", "+Background saving started\r\n");
    ANSWERS("SNAPSHOT", "+Background saving started\r\n");
    ANSWERS("BGREWRITEAOF", "+Background append only file rewriting started\r\n");
    CHECK_EQ(f.fake.snapshots, 5);
    f.fake.snapshot_result = -EALREADY;
    ANSWERS("SAVE", "-ERR Background save already in progress\r\n");
    CHECK_EQ(f.wait, COMMAND_WAIT_NONE);
    ANSWERS("BGSAVE", "-ERR Background save already in progress\r\n");
    ANSWERS("BGREWRITEAOF", "-ERR Background append only file rewriting already in progress\r\n");
    f.fake.snapshot_result = -ENOSPC;
    ANSWERS("BGSAVE", "-ERR the snapshot could not be started: No space left on device\r\n");
    end(&f);
}

TEST(shutdown)
{
    struct fixture f;
    begin(&f);
    ANSWERS("SHUTDOWN foo", "-ERR syntax error\r\n");
    ANSWERS("SHUTDOWN NOSAVE SAVE", "-ERR syntax error\r\n");
    ANSWERS("SHUTDOWN SAVE NOSAVE", "-ERR syntax error\r\n");
    ANSWERS("SHUTDOWN ABORT NOW", "-ERR syntax error\r\n");
    ANSWERS("SHUTDOWN ABORT", "-ERR No shutdown in progress.\r\n");
    CHECK_EQ(f.fake.shutdowns, 0);
    f.fake.shutdown_result = -EIO;
    ANSWERS("SHUTDOWN", "-ERR Errors trying to SHUTDOWN. Check logs.\r\n");
    CHECK(!f.conn->is_killed);
    f.fake.shutdown_result = 0;
    (void)run(&f, "SHUTDOWN NOSAVE NOW FORCE");
    CHECK_EQ(f.fake.shutdowns, 2);
    CHECK_EQ(f.fake.shutdown_how, HOST_SHUTDOWN_NOSAVE);
    CHECK(f.fake.shutdown_now);
    CHECK(f.conn->is_killed);
    end(&f);
}

TEST(redis_replication)
{
    struct fixture f;
    begin(&f);
    ANSWERS("WAIT 0 0", ":0\r\n");
    ANSWERS("WAIT 3 100000", ":0\r\n");
    ANSWERS("WAIT a 0", "-ERR value is not an integer or out of range\r\n");
    ANSWERS("WAIT 0 a", "-ERR timeout is not an integer or out of range\r\n");
    ANSWERS("WAIT 0 -1", "-ERR timeout is negative\r\n");
    ANSWERS("WAITAOF 2 0 0", "-ERR value is out of range, must be between 0 and 1\r\n");
    ANSWERS("WAITAOF 1 -1 0", "-ERR value is out of range, must be positive\r\n");
    ANSWERS("WAITAOF 1 0 -1", "-ERR timeout is negative\r\n");
    ANSWERS("WAITAOF 1 0 0", "*2\r\n:1\r\n:0\r\n");
    CHECK_EQ(f.wait, COMMAND_WAIT_NONE);
    f.fake.facts.aof_sequence = 1; /* not below what is synced: not synced */
    ANSWERS("WAITAOF 0 0 0", "*2\r\n:0\r\n:0\r\n");
    CHECK_EQ(f.wait, COMMAND_WAIT_NONE);
    (void)run(&f, "WAITAOF 1 0 0");
    CHECK_EQ(f.wait, COMMAND_WAIT_SYNC);
    CHECK_EQ(f.wait_until_ms, 0);
    (void)run(&f, "WAITAOF 1 0 50");
    CHECK_EQ(f.wait_until_ms, now_ms + 50);
    CONTAINS("INFO persistence", "\r\naof_enabled:1\r\n");
    f.fake.options[3].name = "appendonly";
    (void)snprintf(f.fake.options[3].value, sizeof(f.fake.options[3].value), "no");
    f.fake.facts.aof_sequence = 0; /* all of nothing is synced */
    ANSWERS("WAITAOF 1 0 0", "-ERR WAITAOF cannot be used when numlocal is set but appendonly is "
                             "disabled.\r\n");
    ANSWERS("WAITAOF 0 0 0", "*2\r\n:0\r\n:0\r\n");
    CONTAINS("INFO persistence", "\r\naof_enabled:0\r\n");
    ANSWERS("REPLICAOF NO ONE", "+OK\r\n");
    ANSWERS("SLAVEOF no one", "+OK\r\n");
    ANSWERS("REPLICAOF a b", "-ERR Invalid master port\r\n");
    ANSWERS("REPLICAOF a 70000", "-ERR Invalid master port\r\n");
    CONTAINS("REPLICAOF a 6379", "-ERR minidb cannot replicate a Redis server");
    ANSWERS("FAILOVER", "-ERR FAILOVER requires connected replicas.\r\n");
    ANSWERS("FAILOVER ABORT", "-ERR No failover in progress.\r\n");
    ANSWERS("SENTINEL MASTERS",
            "-ERR unknown command 'SENTINEL', with args beginning with: 'MASTERS' \r\n");
    ANSWERS("MODULE LIST", "*0\r\n");
    ANSWERS("MODULE LOAD x", "-ERR minidb has no loadable modules\r\n");
    end(&f);
}

TEST(moving_leadership_and_forgetting_nodes)
{
    struct fixture f;
    begin(&f);
    ANSWERS("CLUSTER FORGET node1", "-ERR This instance has cluster support disabled\r\n");
    f.fake.member_count = 2;
    f.fake.members[1] = f.fake.members[0];
    f.fake.members[1].is_self = false;
    (void)snprintf(f.fake.members[1].id, HOST_ID_MAX, "7");
    f.fake.failover_result = HOST_FAILOVER_OK;
    ANSWERS("FAILOVER", "+OK\r\n");
    CHECK_EQ(f.fake.failover_partition, HOST_ALL);
    CHECK(f.fake.failover_member == -1);
    ANSWERS("FAILOVER node1", "+OK\r\n"); /* away from here */
    CHECK(f.fake.failover_member == -1);
    ANSWERS("FAILOVER 7", "+OK\r\n"); /* a node's name comes first */
    CHECK_EQ(f.fake.failover_partition, HOST_ALL);
    CHECK(f.fake.failover_member == 1);
    ANSWERS("FAILOVER 3", "+OK\r\n");
    CHECK_EQ(f.fake.failover_partition, 3);
    CHECK(f.fake.failover_member == -1);
    ANSWERS("FAILOVER meta", "+OK\r\n");
    CHECK_EQ(f.fake.failover_partition, HOST_META);
    ANSWERS("FAILOVER 16", "-ERR '16' is neither a node nor a partition\r\n");
    ANSWERS("FAILOVER node9", "-ERR 'node9' is neither a node nor a partition\r\n");
    ANSWERS("FAILOVER a b", "-ERR syntax error\r\n");
    ANSWERS("WAIT x 0", "-ERR value is not an integer or out of range\r\n");
    ANSWERS("WAIT 1 -1", "-ERR timeout is negative\r\n");
    CHECK_EQ(f.wait, COMMAND_WAIT_NONE);
    ANSWERS("WAIT 2 100", ":1\r\n"); /* the fixture's root says so */
    CHECK_EQ(f.wait, COMMAND_WAIT_REPLICAS);
    f.fake.failover_result = HOST_FAILOVER_NOT_LEADER;
    f.fake.partition.leader = 1;
    ANSWERS("FAILOVER", "-ERR this node leads nothing\r\n");
    ANSWERS("FAILOVER 3", "-ERR partition 3 is led by 7 (127.0.0.1:7001): ask there\r\n");
    f.fake.partition.leader = -1;
    ANSWERS("FAILOVER META", "-ERR the cluster has no leader right now\r\n");

    f.fake.member_count = 2;
    ANSWERS("CLUSTER FORGET 7", "+OK\r\n");
    CHECK_EQ(f.fake.forgotten, 1);
    ANSWERS("CLUSTER FORGET node1", "-ERR I tried hard but I can't forget myself...\r\n");
    ANSWERS("CLUSTER FORGET node9", "-ERR Unknown node node9\r\n");
    ANSWERS("CLUSTER DRAIN 7", "+OK\r\n");
    CHECK_EQ(f.fake.drained, 1);
    CHECK(!f.fake.drain_cancelled);
    ANSWERS("CLUSTER DRAIN node1 cancel", "+OK\r\n");
    CHECK_EQ(f.fake.drained, 0);
    CHECK(f.fake.drain_cancelled);
    ANSWERS("CLUSTER DRAIN node1 now", "-ERR syntax error\r\n");
    ANSWERS("CLUSTER DRAIN node9", "-ERR Unknown node node9\r\n");
    f.fake.change_result = HOST_CHANGE_REFUSED;
    f.fake.change_error = "ERR never";
    ANSWERS("CLUSTER DRAIN 7", "-ERR never\r\n");
    f.fake.partition.replicas[0].is_unknown = true;
    CONTAINS("REPLICAS k", "\r\n$13\r\napplied_index\r\n$-1\r\n");
    end(&f);
}

/* What the leader of the cluster decides is left to it, whatever this node knows of the nodes. */
TEST(changes_of_the_cluster_are_passed_on)
{
    static const char *const lines[] = { "CLUSTER FORGET 7", "CLUSTER FORGET node9",
                                         "CLUSTER DRAIN node9", "CLUSTER DRAIN node1 CANCEL",
                                         "CONFIG SET CLUSTER apples x" };
    struct fixture f;
    begin(&f);
    f.fake.member_count = 2;
    f.fake.is_led_elsewhere = true;
    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        ANSWERS(lines[i], "-LEADER answers\r\n");
        CHECK_EQ(f.wait, COMMAND_WAIT_LEADER);
    }
    ANSWERS("CLUSTER FORGET node1", "-ERR I tried hard but I can't forget myself...\r\n");
    ANSWERS("CLUSTER DRAIN node1 now", "-ERR syntax error\r\n");
    ANSWERS("CONFIG SET timeout 1", "+OK\r\n"); /* this node's own */
    end(&f);
}

/* Another node's client asked, so "myself" is not this one; and its options are its own. */
TEST(what_another_node_passes_on)
{
    struct fixture f;
    begin(&f);
    f.is_passed_on = true;
    f.fake.member_count = 2;
    f.fake.change_result = HOST_CHANGE_REFUSED;
    f.fake.change_error = "ERR node1 is alive";
    ANSWERS("CLUSTER FORGET node1", "-ERR node1 is alive\r\n");
    f.fake.member_count = 1;
    ANSWERS("CLUSTER FORGET 7", "-ERR Unknown node 7\r\n");
    ANSWERS("CONFIG SET timeout 1", "-ERR syntax error\r\n");
    end(&f);
}

TEST(settings_of_the_cluster)
{
    struct fixture f;
    begin(&f);
    f.fake.settings[0] = 3;
    f.fake.settings[1] = 600;
    ANSWERS("CONFIG GET CLUSTER *",
            "*4\r\n$6\r\napples\r\n$1\r\n3\r\n$5\r\npears\r\n$3\r\n600\r\n");
    ANSWERS("CONFIG GET CLUSTER plums PEA*", "*2\r\n$5\r\npears\r\n$3\r\n600\r\n");
    ANSWERS("CONFIG SET CLUSTER apples 12 pears 345", "+OK\r\n");
    CHECK_EQ(f.fake.settings[0], 4);
    CHECK_EQ(f.fake.settings[1], 3);
    f.fake.change_result = HOST_CHANGE_BUSY;
    ANSWERS("CONFIG SET CLUSTER apples 1", "-TRYAGAIN the cluster is busy\r\n");
    end(&f);
}

TEST(meeting_a_cluster)
{
    struct fixture f;
    begin(&f);
    ANSWERS("CLUSTER MEET 10.0.0.1 7001", "+OK\r\n");
    CHECK(strcmp(f.fake.met, "10.0.0.1:8001") == 0);
    ANSWERS("CLUSTER MEET fd00::1 7001 9000", "+OK\r\n");
    CHECK(strcmp(f.fake.met, "[fd00::1]:9000") == 0);
    ANSWERS("CLUSTER MEET a b", "-ERR value is not an integer or out of range\r\n");
    ANSWERS("CLUSTER MEET a 65000", "-ERR Invalid node address specified: a\r\n");
    ANSWERS("CLUSTER MEET a 1 2 3", "-ERR syntax error\r\n");
    f.fake.change_result = HOST_CHANGE_REFUSED;
    f.fake.change_error = "ERR never";
    ANSWERS("CLUSTER MEET 10.0.0.1 7001", "-ERR never\r\n");
    f.fake.member_count = 2;
    CONTAINS("CLUSTER MEET 10.0.0.1 7001", "-ERR this node is a member of a cluster already");
    end(&f);
}

TEST(partitions_on_their_way)
{
    struct fixture f;
    begin(&f);
    ANSWERS("MIGRATE STATUS", "*12\r\n$7\r\nrunning\r\n:0\r\n$7\r\nwaiting\r\n:0\r\n$10\r\n"
                              "bytes_left\r\n:0\r\n$16\r\nbytes_per_second\r\n:0\r\n$12\r\n"
                              "seconds_left\r\n:0\r\n$5\r\nmoves\r\n*0\r\n");
    f.fake.moves = (struct host_moves){ .running = 1, .waiting = 1, .bytes_left = 1000 };
    f.fake.move = (struct host_move){
        .partition = 4, .to_count = 1, .phase = "copying", .bytes = 1000, .bytes_left = 250
    };
    f.fake.move_count = 2;
    CONTAINS("MIGRATE STATUS", "$12\r\nseconds_left\r\n$-1\r\n");
    f.fake.moves.bytes_per_second = 100;
    CONTAINS("MIGRATE STATUS", "$12\r\nseconds_left\r\n:10\r\n");
    CONTAINS("MIGRATE STATUS",
             "$1\r\n5\r\n*12\r\n$4\r\nfrom\r\n*0\r\n$2\r\nto\r\n*1\r\n$5\r\nnode1\r\n$5\r\n"
             "phase\r\n$7\r\ncopying\r\n$5\r\nbytes\r\n:1000\r\n$10\r\nbytes_done\r\n:750\r\n"
             "$7\r\npercent\r\n:75\r\n");
    ANSWERS("MIGRATE host 6379 key 0 100",
            "-ERR MIGRATE STATUS is all there is: partitions move by themselves\r\n");
    ANSWERS("REBALANCE", "*4\r\n$7\r\nleaders\r\n:7\r\n$5\r\nmoves\r\n:2\r\n");
    end(&f);
}

TEST(acl)
{
    struct fixture f;
    begin(&f);
    ANSWERS("ACL WHOAMI", "$7\r\ndefault\r\n");
    ANSWERS("ACL USERS", "*1\r\n$7\r\ndefault\r\n");
    ANSWERS("ACL LIST", "*1\r\n$51\r\nuser default on nopass sanitize-payload ~* &* +@all\r\n");
    ANSWERS("ACL LOG", "*0\r\n");
    ANSWERS("ACL LOG RESET", "+OK\r\n");
    ANSWERS("ACL LOG x", "-ERR value is not an integer or out of range\r\n");
    ANSWERS("ACL GETUSER foo", "$-1\r\n");
    CONTAINS("ACL GETUSER default", "nopass");
    ANSWERS("ACL SETUSER x", "-ERR unknown subcommand 'SETUSER'. Try ACL HELP.\r\n");
    f.fake.host.password = "secret";
    LACKS("ACL GETUSER default", "nopass");
    LACKS("ACL GETUSER default", "secret");
    LACKS("ACL LIST", "secret");
    end(&f);
}

TEST(memory)
{
    struct fixture f;
    begin(&f);
    struct slice key = slice_from("k");
    struct kv *kv = f.fake.keyspace.partitions[keyspace_partition(&f.fake.keyspace, key)];
    kv_put(kv, key, kv_hash(kv, key), slice_from("v"), KV_NO_EXPIRY, 42);
    ANSWERS("MEMORY USAGE", "-ERR wrong number of arguments for 'memory|usage' command\r\n");
    ANSWERS("MEMORY USAGE nope", "$-1\r\n");
    CHECK(run(&f, "MEMORY USAGE k")[0] == ':');
    CHECK(run(&f, "MEMORY USAGE k SAMPLES 5")[0] == ':');
    ANSWERS("MEMORY USAGE k SAMPLES", "-ERR syntax error\r\n");
    ANSWERS("MEMORY USAGE k SAMPLES a", "-ERR value is not an integer or out of range\r\n");
    ANSWERS("MEMORY USAGE k SAMPLES -1", "-ERR syntax error\r\n");
    ANSWERS("MEMORY PURGE", "+OK\r\n");
    CONTAINS("MEMORY DOCTOR", "empty or uses very little");
    CONTAINS("DEBUG OBJECT k", "encoding:embstr serializedlength:2 ");
    CONTAINS("DEBUG OBJECT k", " version:42 ");
    ANSWERS("DEBUG OBJECT nope", "-ERR no such key\r\n");
    end(&f);
}

TEST(debug)
{
    struct fixture f;
    begin(&f);
    static const char zeros[] = "+0000000000000000000000000000000000000000\r\n";
    ANSWERS("DEBUG DIGEST", zeros);
    ANSWERS("DEBUG DIGEST-VALUE nope", "*1\r\n+0000000000000000000000000000000000000000\r\n");
    char before[64];
    for (uint32_t i = 0; i < 100; i++) {
        char text[16];
        (void)snprintf(text, sizeof(text), "key%u", i);
        struct slice key = slice_from(text);
        struct kv *kv = f.fake.keyspace.partitions[keyspace_partition(&f.fake.keyspace, key)];
        kv_put(kv, key, kv_hash(kv, key), key, KV_NO_EXPIRY, i + 1);
        if (i == 98) {
            (void)snprintf(before, sizeof(before), "%s", run(&f, "DEBUG DIGEST"));
            CHECK(strcmp(before, zeros) != 0);
        }
    }
    CHECK(strcmp(run(&f, "DEBUG DIGEST"), before) != 0);
    struct slice last = slice_from("key99");
    struct kv *kv = f.fake.keyspace.partitions[keyspace_partition(&f.fake.keyspace, last)];
    kv_put(kv, last, kv_hash(kv, last), last, now_ms, 200);
    ANSWERS("DEBUG DIGEST", before); /* expired: as if it were not there */
    ANSWERS("DEBUG SLEEP 0.5", "+OK\r\n");
    CHECK_EQ(f.fake.slept_ms, 500);
    ANSWERS("DEBUG SLEEP 1e300", "+OK\r\n");
    CHECK_EQ(f.fake.slept_ms, 60500);
    ANSWERS("DEBUG SLEEP a", "-ERR value is not a valid float\r\n");
    ANSWERS("DEBUG SET-ACTIVE-EXPIRE 0", "+OK\r\n");
    CHECK(!f.fake.is_expire_active);
    CHECK(run(&f, "DEBUG JMAP")[0] == '-');
    ANSWERS("DEBUG SEGFAULT", "-ERR unknown subcommand 'SEGFAULT'. Try DEBUG HELP.\r\n");
    f.fake.host.debug = HOST_DEBUG_LOCAL;
    ANSWERS("DEBUG SET-ACTIVE-EXPIRE 1", "+OK\r\n");
    (void)snprintf(f.conn->info.address, sizeof(f.conn->info.address), "10.0.0.1:5000");
    CONTAINS("DEBUG DIGEST", "-ERR DEBUG command not allowed.");
    f.fake.host.debug = HOST_DEBUG_NO;
    (void)snprintf(f.conn->info.address, sizeof(f.conn->info.address), "127.0.0.1:5000");
    CONTAINS("DEBUG DIGEST", "-ERR DEBUG command not allowed.");
    end(&f);
}

/* ── SLOWLOG, LATENCY ────────────────────────────────────────────────────────────────────────── */

TEST(slowlog_commands)
{
    struct fixture f;
    begin(&f);
    ANSWERS("SLOWLOG LEN", ":0\r\n");
    ANSWERS("SLOWLOG GET", "*0\r\n");
    struct slice words[] = { slice_from("SET"), slice_from("k"), slice_from("v") };
    struct slowlog_record record = { .args = slowlog_args_new(words, 3),
                                     .time_s = NOW_S,
                                     .usec = 12345,
                                     .address = "127.0.0.1:5000",
                                     .client_name = slice_from("bob") };
    slowlog_add(&f.fake.slowlog, &record);
    record.args = slowlog_args_new(words, 1);
    slowlog_add(&f.fake.slowlog, &record);
    ANSWERS("SLOWLOG LEN", ":2\r\n");
    static const char newest[] = "*1\r\n*6\r\n:1\r\n:1700000000\r\n:12345\r\n*1\r\n$3\r\nSET\r\n"
                                 "$14\r\n127.0.0.1:5000\r\n$3\r\nbob\r\n";
    ANSWERS("SLOWLOG GET 1", newest);
    CONTAINS("SLOWLOG GET -1", "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n");
    ANSWERS("SLOWLOG GET -2", "-ERR count should be greater than or equal to -1\r\n");
    ANSWERS("SLOWLOG GET abc", "-ERR count should be greater than or equal to -1\r\n");
    ANSWERS("SLOWLOG RESET", "+OK\r\n");
    ANSWERS("SLOWLOG LEN", ":0\r\n");
    ANSWERS("SLOWLOG FOO", "-ERR unknown subcommand 'FOO'. Try SLOWLOG HELP.\r\n");
    CONTAINS("SLOWLOG HELP", "+SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    end(&f);
}

TEST(latency_commands)
{
    struct fixture f;
    begin(&f);
    CONTAINS("LATENCY DOCTOR", "disabled");
    ANSWERS("LATENCY LATEST", "*0\r\n");
    f.fake.latency.threshold_ms = 10;
    latency_event_add(&f.fake.latency, "command", NOW_S - 10, 9);
    latency_event_add(&f.fake.latency, "command", NOW_S - 9, 30);
    latency_event_add(&f.fake.latency, "command", NOW_S - 9, 20);
    latency_event_add(&f.fake.latency, "command", NOW_S - 5, 15);
    latency_event_add(&f.fake.latency, "aof-fsync", NOW_S - 1, 100);
    ANSWERS("LATENCY LATEST", "*2\r\n*4\r\n$7\r\ncommand\r\n:1699999995\r\n:15\r\n:30\r\n"
                              "*4\r\n$9\r\naof-fsync\r\n:1699999999\r\n:100\r\n:100\r\n");
    ANSWERS("LATENCY HISTORY command",
            "*2\r\n*2\r\n:1699999991\r\n:30\r\n*2\r\n:1699999995\r\n:15\r\n");
    ANSWERS("LATENCY HISTORY nothing", "*0\r\n");
    CONTAINS("LATENCY DOCTOR", "1. command: 2 latency spikes (average 22 ms, worst all time 30 ms, "
                               "last 5 seconds ago).");
    CONTAINS("LATENCY GRAPH command", "command - high 30 ms, low 15 ms (all time high 30 ms)\n");
    CONTAINS("LATENCY GRAPH command", "\n# \n# \n##\n##\nfrom 9 to 5 seconds ago\n");
    ANSWERS("LATENCY GRAPH foo", "-ERR No samples available for event 'foo'\r\n");
    ANSWERS("LATENCY RESET foo command", ":1\r\n");
    CONTAINS("LATENCY LATEST", "*1\r\n*4\r\n$9\r\naof-fsync\r\n");
    ANSWERS("LATENCY RESET", ":1\r\n");
    ANSWERS("LATENCY LATEST", "*0\r\n");
    end(&f);
}

TEST(latency_histogram)
{
    struct fixture f;
    begin(&f);
    ANSWERS("LATENCY HISTOGRAM", "*0\r\n");
    struct command_stats *get = &f.fake.host.command_stats[command_lookup(slice_from("get"))->id];
    struct command_stats *set = &f.fake.host.command_stats[command_lookup(slice_from("set"))->id];
    command_stats_add(get, 300, 1);
    command_stats_add(get, 900, 1);
    command_stats_add(get, 5000 * 4, 4);
    command_stats_add(set, 33000, 1);
    static const char get_part[] = "$3\r\nget\r\n*4\r\n$5\r\ncalls\r\n:6\r\n$14\r\nhistogram_usec"
                                   "\r\n*4\r\n:1\r\n:2\r\n:8\r\n:6\r\n";
    char wanted[256];
    (void)snprintf(wanted, sizeof(wanted), "*2\r\n%s", get_part);
    ANSWERS("LATENCY HISTOGRAM get foo get", wanted);
    ANSWERS("LATENCY HISTOGRAM set", "*2\r\n$3\r\nset\r\n*4\r\n$5\r\ncalls\r\n:1\r\n"
                                     "$14\r\nhistogram_usec\r\n*2\r\n:66\r\n:1\r\n");
    ANSWERS("LATENCY HISTOGRAM foo", "*0\r\n");
    CONTAINS("LATENCY HISTOGRAM", get_part);
    f.conn->info.protocol = PROTOCOL_RESP3;
    CONTAINS("LATENCY HISTOGRAM", "%2\r\n$3\r\nget\r\n%2\r\n$5\r\ncalls\r\n");
    end(&f);
}

/* ── the cluster ─────────────────────────────────────────────────────────────────────────────── */

TEST(cluster_is_disabled)
{
    struct fixture f;
    begin(&f);
    static const char disabled[] = "-ERR This instance has cluster support disabled\r\n";
    ANSWERS("CLUSTER", "-ERR wrong number of arguments for 'cluster' command\r\n");
    ANSWERS("CLUSTER INFO", disabled);
    ANSWERS("CLUSTER nodes", disabled);
    ANSWERS("CLUSTER SLOTS", disabled);
    ANSWERS("CLUSTER SHARDS", disabled);
    ANSWERS("CLUSTER KEYSLOT a", disabled);
    ANSWERS("CLUSTER HELP", disabled);
    ANSWERS("CLUSTER KEYSLOT", "-ERR wrong number of arguments for 'cluster|keyslot' command\r\n");
    ANSWERS("CLUSTER FOO", "-ERR unknown subcommand 'FOO'. Try CLUSTER HELP.\r\n");
    end(&f);
}

TEST(cluster_of_one)
{
    struct fixture f;
    begin(&f);
    f.conn->info.protocol = PROTOCOL_JSON;
    CONTAINS("NODES", "[{\"id\":\"node1\",\"address\":\"127.0.0.1:7001\",\"cluster_port\":8001,"
                      "\"role\":\"leader\",\"state\":\"ALIVE\"");
    CONTAINS("LEADER", "{\"leader\":\"node1\",\"address\":\"127.0.0.1:7001\",\"term\":1}");
    CONTAINS("LEADER foo", "\"term\":1,\"partition\":11}"); /* slot 12182 of 16 partitions */
    CONTAINS("ROUTE foo", "{\"slot\":12182,\"partition\":11,\"leader\":\"node1\","
                          "\"address\":\"127.0.0.1:7001\",\"state\":\"OK\","
                          "\"replicas\":[\"node1\"]}");
    CONTAINS("REPLICAS foo", "[{\"id\":\"node1\",\"address\":\"127.0.0.1:7001\",\"role\":"
                             "\"leader\",\"state\":\"ALIVE\",\"applied_index\":9,\"lag\":1}]");
    CONTAINS("SHARDS", "{\"partition\":15,\"slots\":[15360,16383],\"leader\":\"node1\"");
    CONTAINS("RING", "\"points_count\":2,\"nodes\":[{\"id\":\"node1\",\"virtual_nodes\":128,"
                     "\"partitions_led\":16,\"share\":1");
    CONTAINS("RING", "\"points\":[]");
    CONTAINS("RING 5", "\"points\":[[\"5\",\"node1\"],[\"18446744073709551615\",\"node1\"]]");
    CONTAINS("RING -1", "value is not an integer");
    CONTAINS("LEADER a b", "wrong number of arguments for 'leader' command");
    f.fake.partition.leader = -1;
    CONTAINS("LEADER", "{\"leader\":null,\"address\":null,\"term\":1}");
    end(&f);
}

/* ── every reply of every protocol ───────────────────────────────────────────────────────────── */

TEST(replies_are_bounded)
{
    static const char *const commands[] = { "COMMAND INFO", "COMMAND DOCS", "CLIENT LIST ID",
                                            "CONFIG GET" };
    struct fixture f;
    begin(&f);
    for (uint32_t i = 0; i < ARRAY_COUNT(commands); i++) {
        struct buffer line = { 0 };
        buffer_append_text(&line, commands[i]);
        for (uint32_t at = 0; at < ADMIN_ARGS_MAX; at++) {
            buffer_append_text(&line, " 1");
        }
        buffer_append_byte(&line, '\0');
        ANSWERS(line.data, "-ERR too many arguments, at most 4096 are allowed\r\n");
        buffer_free(&line);
    }
    end(&f);
}

/* Counts one RESP value; returns what follows it, or NULL when it is malformed. */
static const char *resp_skip(const char *at, const char *end)
{
    int64_t values = 1;
    while (values > 0 && at < end) {
        const char *line_end = strstr(at, "\r\n");
        if (line_end == NULL) {
            return NULL;
        }
        int64_t number = strtoll(at + 1, NULL, 10);
        char type = *at;
        at = line_end + 2;
        values--;
        if (strchr("*~%", type) != NULL) {
            values += number < 0 ? 0 : number * (type == '%' ? 2 : 1);
        } else if (strchr("$=", type) != NULL) {
            at += number < 0 ? 0 : number + 2;
        } else if (strchr("+-:,#_", type) == NULL) {
            return NULL;
        }
    }
    return values == 0 && at <= end ? at : NULL;
}

static const char *const lines_answered[] = {
    "HELLO",
    "CLIENT LIST",
    "CLIENT INFO",
    "CLIENT TRACKINGINFO",
    "CLIENT HELP",
    "CONFIG GET *",
    "CONFIG HELP",
    "INFO everything",
    "COMMAND",
    "COMMAND DOCS",
    "COMMAND LIST",
    "COMMAND HELP",
    "COMMAND INFO",
    "STATS",
    "MEMORY STATS",
    "MEMORY DOCTOR",
    "MEMORY HELP",
    "MEMORY MALLOC-STATS",
    "LATENCY DOCTOR",
    "LATENCY LATEST",
    "LATENCY HISTOGRAM",
    "LATENCY GRAPH command",
    "LATENCY HISTORY command",
    "LATENCY HELP",
    "SLOWLOG GET",
    "SLOWLOG HELP",
    "ACL GETUSER default",
    "ACL LIST",
    "ACL CAT",
    "ACL CAT read",
    "ACL HELP",
    "MODULE LIST",
    "MODULE HELP",
    "LOLWUT",
    "LOLWUT VERSION 5",
    "NODES",
    "LEADER",
    "LEADER k",
    "ROUTE k",
    "REPLICAS k",
    "SHARDS",
    "RING 10",
    "DEBUG HELP",
    "TIME",
    "ROLE",
    "DEBUG DIGEST-VALUE a b",
    "WAITAOF 0 0 0",
    "COMMAND GETKEYSANDFLAGS mset a b c d",
};

/* One complete value that is no error. */
static bool is_well_formed(enum protocol protocol, const char *text, size_t size)
{
    if (protocol != PROTOCOL_JSON) {
        return *text != '-' && resp_skip(text, text + size) == text + size;
    }
    json_t *parsed = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    bool ok = parsed != NULL && json_is_true(json_object_get(parsed, "success"));
    json_decref(parsed);
    return ok;
}

TEST(every_command_answers_one_value_in_every_protocol)
{
    static const enum protocol protocols[] = { PROTOCOL_RESP2, PROTOCOL_RESP3, PROTOCOL_JSON };
    struct fixture f;
    begin(&f);
    f.fake.latency.threshold_ms = 1;
    latency_event_add(&f.fake.latency, "command", NOW_S - 10, 9);
    for (uint32_t id = 0; id < command_count(); id++) {
        command_stats_add(&f.fake.host.command_stats[id], id * 1000u, 1 + id);
    }
    struct slice words[] = { slice_from("SET"), slice_from("k") };
    struct slowlog_record record = { .args = slowlog_args_new(words, 2), .address = "a" };
    slowlog_add(&f.fake.slowlog, &record);
    for (uint32_t p = 0; p < ARRAY_COUNT(protocols); p++) {
        for (uint32_t i = 0; i < ARRAY_COUNT(lines_answered); i++) {
            f.conn->info.protocol = protocols[p];
            const char *text = run(&f, lines_answered[i]);
            if (!is_well_formed(protocols[p], text, f.out.size - 1)) {
                test_fail(__FILE__, __LINE__, lines_answered[i]);
            }
        }
    }
    end(&f);
}

TEST_MAIN
