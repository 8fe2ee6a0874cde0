/*
 * compiler.h — the compiler attributes the project uses, each wrapped once.
 */
#pragma once

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF(format_at, first_at) __attribute__((format(printf, format_at, first_at)))
#define NORETURN __attribute__((noreturn))
#define COLD __attribute__((cold, noinline))
#define CLEANUP(function) __attribute__((cleanup(function)))
#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))
