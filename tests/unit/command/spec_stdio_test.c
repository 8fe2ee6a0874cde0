/*
 * spec_stdio_test.c — commands without a server, for tests/spec: requests on stdin, replies on
 * stdout, and time that stands still until it is told to go on.
 *
 *   spec_stdio_test serve     u32 argc, argc x (u32 size, bytes)   ->   u32 size, encoded reply
 *
 * Requests of one argument that begins with '@' steer: "@advance ms", "@time ms", "@protocol
 * resp2|resp3|json",
 * "@effects 1" (conditional writes always by effects).  Their reply is empty.  Without an argument
 * the program only checks that it can do that.
 */
#include "test_db.h"

#include <stdio.h>
#include <stdlib.h>

enum { ARGS_MAX = 1 << 16, ARG_BYTES_MAX = 64 << 20 };

static bool read_all(char *to, size_t size)
{
    return size == 0 || fread(to, 1, size, stdin) == size;
}

static bool read_u32(uint32_t *out)
{
    return read_all((char *)out, sizeof(*out));
}

/* "@name value" */
static void steer(struct test_db *db, struct slice text)
{
    char line[64] = { 0 };
    memcpy(line, text.data, text.size < sizeof(line) ? text.size : sizeof(line) - 1);
    char *value = strchr(line, ' ');
    ASSERT(value != NULL);
    *value++ = '\0';
    if (strcmp(line, "@advance") == 0) {
        db->now_ms += strtoull(value, NULL, 10);
    } else if (strcmp(line, "@time") == 0) {
        db->now_ms = strtoull(value, NULL, 10);
    } else if (strcmp(line, "@effects") == 0) {
        db->is_effects_always = value[0] == '1';
    } else {
        ASSERT(strcmp(line, "@protocol") == 0);
        db->protocol = strcmp(value, "resp2") == 0   ? PROTOCOL_RESP2
                       : strcmp(value, "resp3") == 0 ? PROTOCOL_RESP3
                                                     : PROTOCOL_JSON;
    }
}

static struct slice *read_request(uint32_t *out_argc)
{
    if (!read_u32(out_argc)) {
        return NULL;
    }
    ASSERT(*out_argc > 0 && *out_argc <= ARGS_MAX);
    struct slice *argv = mem_zalloc(*out_argc * sizeof(*argv));
    for (uint32_t i = 0; i < *out_argc; i++) {
        uint32_t size = 0;
        bool ok = read_u32(&size);
        ASSERT(ok && size <= ARG_BYTES_MAX);
        char *bytes = mem_alloc(size + 1u);
        ok = read_all(bytes, size);
        ASSERT(ok);
        argv[i] = (struct slice){ bytes, size };
    }
    return argv;
}

static void free_request(uint32_t argc, struct slice *argv)
{
    for (uint32_t i = 0; i < argc; i++) {
        mem_free((void *)(uintptr_t)argv[i].data);
    }
    mem_free(argv);
}

static int serve(void)
{
    struct test_db db;
    test_db_init(&db);
    uint32_t argc = 0;
    struct slice *argv = NULL;
    while ((argv = read_request(&argc)) != NULL) {
        db.out.size = 0;
        if (argc == 1 && argv[0].size > 0 && argv[0].data[0] == '@') {
            steer(&db, argv[0]);
        } else {
            test_db_run(&db, argc, argv);
        }
        free_request(argc, argv);
        uint32_t size = (uint32_t)db.out.size;
        (void)fwrite(&size, sizeof(size), 1, stdout);
        if (size > 0) {
            (void)fwrite(db.out.data, 1, size, stdout);
        }
        (void)fflush(stdout);
    }
    test_db_deinit(&db);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "serve") == 0) {
        return serve();
    }
    struct test_db db;
    test_db_init(&db);
    struct slice words[] = { slice_from("DBSIZE") };
    test_db_run(&db, 1, words);
    bool ok = slice_equal(buffer_slice(&db.out), slice_from(":0\r\n"));
    test_db_deinit(&db);
    printf("spec_stdio_test: %d passed, %d failed\n", ok, !ok);
    return ok ? 0 : 1;
}
