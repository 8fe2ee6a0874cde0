/*
 * hiredis_session.c — a session of the C client hiredis: formatted and binary commands, a pipeline
 * of appended commands, errors, a reconnection.
 *
 *     hiredis_session PORT          exit status 0 when every reply was the expected one
 */
#include <hiredis/hiredis.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIPELINE = 5000 };

/* One reply as text: "type:value", the types named by RESP's first bytes. */
static void reply_text(const redisReply *reply, char *text, size_t size)
{
    switch (reply->type) {
    case REDIS_REPLY_STRING:
        snprintf(text, size, "$%s", reply->str);
        break;
    case REDIS_REPLY_STATUS:
        snprintf(text, size, "+%s", reply->str);
        break;
    case REDIS_REPLY_ERROR:
        snprintf(text, size, "-%.12s", reply->str);
        break;
    case REDIS_REPLY_INTEGER:
        snprintf(text, size, ":%lld", reply->integer);
        break;
    case REDIS_REPLY_NIL:
        snprintf(text, size, "nil");
        break;
    default:
        snprintf(text, size, "*%zu", reply->elements);
        break;
    }
}

static void fail(const char *what, const char *got, const char *expected)
{
    fprintf(stderr, "%s: got %s, expected %s\n", what, got, expected);
    exit(1);
}

static void expect(redisContext *context, const char *expected, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = redisvCommand(context, format, args);
    va_end(args);
    if (reply == NULL) {
        fail(format, context->errstr, expected);
    }
    char text[256];
    reply_text(reply, text, sizeof(text));
    if (strcmp(text, expected) != 0) {
        fail(format, text, expected);
    }
    freeReplyObject(reply);
}

static void check_binary(redisContext *context)
{
    char bytes[256];
    for (int i = 0; i < 256; i++) {
        bytes[i] = (char)i;
    }
    expect(context, "+OK", "SET %b %b", bytes, sizeof(bytes), bytes, sizeof(bytes));
    redisReply *reply = redisCommand(context, "GET %b", bytes, sizeof(bytes));
    if (reply == NULL || reply->type != REDIS_REPLY_STRING || reply->len != sizeof(bytes) ||
        memcmp(reply->str, bytes, sizeof(bytes)) != 0) {
        fail("binary GET", "something else", "256 bytes");
    }
    freeReplyObject(reply);
}

/* Replies come in the order of the requests, whichever partitions they concern. */
static void check_pipeline(redisContext *context)
{
    for (int i = 0; i < PIPELINE; i++) {
        redisAppendCommand(context, "SET pipe:%d value:%d", i, i);
        redisAppendCommand(context, "GET pipe:%d", i);
    }
    for (int i = 0; i < 2 * PIPELINE; i++) {
        void *reply = NULL;
        if (redisGetReply(context, &reply) != REDIS_OK) {
            fail("pipeline", context->errstr, "a reply");
        }
        char text[256], expected[256] = "+OK";
        reply_text(reply, text, sizeof(text));
        if (i % 2 == 1) {
            snprintf(expected, sizeof(expected), "$value:%d", i / 2);
        }
        if (strcmp(text, expected) != 0) {
            fail("pipeline", text, expected);
        }
        freeReplyObject(reply);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        return 2;
    }
    redisContext *context = redisConnect("127.0.0.1", atoi(argv[1]));
    if (context == NULL || context->err) {
        fail("connect", context ? context->errstr : "no memory", "a connection");
    }
    expect(context, "+PONG", "PING");
    expect(context, "+OK", "SET %s %s", "key", "a value with spaces");
    expect(context, "$a value with spaces", "GET key");
    expect(context, "nil", "GET missing");
    expect(context, ":42", "INCRBY counter 42");
    expect(context, "*3", "MGET key counter missing");
    expect(context, "-ERR value is", "INCR key");
    expect(context, "-ERR unknown ", "NOSUCH command");
    expect(context, ":2", "DEL key counter");
    check_binary(context);
    check_pipeline(context);
    expect(context, "+OK", "QUIT");
    if (redisReconnect(context) != REDIS_OK) {
        fail("reconnect", context->errstr, "a connection");
    }
    expect(context, "$value:7", "GET pipe:7");
    redisFree(context);
    return 0;
}
