/*
 * test.h — the unit test harness: one program per file, one line per failure.
 *
 *   TEST(name) { CHECK(x == y); CHECK_EQ(a, b); }
 *   TEST_MAIN
 *
 * Every TEST registers itself.  The program prints "name: N passed, N failed" and exits 1 when any
 * failed.  An argument runs only the tests whose name contains it.
 */
#pragma once

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TESTS_MAX = 512 };

struct test_case {
    const char *name;
    void (*run)(void);
};

static struct test_case test_cases[TESTS_MAX];
static unsigned test_count;
static unsigned test_failures; /* in the running test */
static const char *test_name;

static inline void test_register(const char *name, void (*run)(void))
{
    if (test_count == TESTS_MAX) {
        abort();
    }
    test_cases[test_count++] = (struct test_case){ name, run };
}

static inline void test_fail(const char *file, int line, const char *text)
{
    if (test_failures++ < 20) {
        printf("%s:%d: in %s: %s\n", file, line, test_name, text);
    }
}

static inline void test_check_eq(const char *file, int line, const char *text, uint64_t a,
                                 uint64_t b)
{
    if (a != b) {
        char line_text[512];
        (void)snprintf(line_text, sizeof(line_text),
                       "%s: %" PRIu64 " (%" PRId64 ") != %" PRIu64 " (%" PRId64 ")", text, a,
                       (int64_t)a, b, (int64_t)b);
        test_fail(file, line, line_text);
    }
}

#define TEST(name)                                                                                 \
    static void test_##name(void);                                                                 \
    __attribute__((constructor)) static void test_register_##name(void)                            \
    {                                                                                              \
        test_register(#name, test_##name);                                                         \
    }                                                                                              \
    static void test_##name(void)

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            test_fail(__FILE__, __LINE__, #condition);                                             \
        }                                                                                          \
    } while (0)
#define CHECK_EQ(a, b) test_check_eq(__FILE__, __LINE__, #a " == " #b, (uint64_t)(a), (uint64_t)(b))

#define TEST_MAIN                                                                                  \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        unsigned passed = 0;                                                                       \
        unsigned failed = 0;                                                                       \
        for (unsigned i = 0; i < test_count; i++) {                                                \
            if (argc > 1 && strstr(test_cases[i].name, argv[1]) == NULL) {                         \
                continue;                                                                          \
            }                                                                                      \
            test_name = test_cases[i].name;                                                        \
            test_failures = 0;                                                                     \
            test_cases[i].run();                                                                   \
            *(test_failures == 0 ? &passed : &failed) += 1;                                        \
            (void)fflush(stdout);                                                                  \
        }                                                                                          \
        const char *slash = strrchr(argv[0], '/');                                                 \
        printf("%s: %u passed, %u failed\n", slash != NULL ? slash + 1 : argv[0], passed, failed); \
        return failed > 0 || passed == 0;                                                          \
    }
