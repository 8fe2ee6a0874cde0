/*
 * endian.h — explicit little-endian loads and stores: the only way integers reach disk or wire.
 */
#pragma once

#include <stdint.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "add byte swaps for a big-endian host");

static inline uint16_t load_u16(const void *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static inline uint32_t load_u32(const void *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static inline uint64_t load_u64(const void *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static inline void store_u16(void *at, uint16_t value)
{
    memcpy(at, &value, sizeof(value));
}

static inline void store_u32(void *at, uint32_t value)
{
    memcpy(at, &value, sizeof(value));
}

static inline void store_u64(void *at, uint64_t value)
{
    memcpy(at, &value, sizeof(value));
}
