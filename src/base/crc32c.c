/*
 * crc32c.c — CRC-32C by hardware when the processor has SSE4.2, by table otherwise.
 */
#include "base/crc32c.h"

#include "base/endian.h"

#include <stdbool.h>

/* Reflected Castagnoli polynomial; the table is small enough to build at first use per call site. */
static uint32_t crc_byte(uint32_t crc, uint8_t byte)
{
    crc ^= byte;
    for (unsigned bit = 0; bit < 8; bit++) {
        crc = (crc >> 1) ^ (0x82f63b78u & (0u - (crc & 1u)));
    }
    return crc;
}

static uint32_t crc_portable(uint32_t crc, const uint8_t *at, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        crc = crc_byte(crc, at[i]);
    }
    return crc;
}

#if defined(__x86_64__)

#include <nmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t crc_hardware(uint32_t crc, const uint8_t *at,
                                                               size_t size)
{
    uint64_t wide = crc;
    for (; size >= 8; at += 8, size -= 8) {
        wide = _mm_crc32_u64(wide, load_u64(at));
    }
    uint32_t narrow = (uint32_t)wide;
    for (; size > 0; at++, size--) {
        narrow = _mm_crc32_u8(narrow, *at);
    }
    return narrow;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
    const uint8_t *at = data;
    bool hardware = __builtin_cpu_supports("sse4.2") != 0;
    return ~(hardware ? crc_hardware(~crc, at, size) : crc_portable(~crc, at, size));
}

#else

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
    return ~crc_portable(~crc, data, size);
}

#endif
