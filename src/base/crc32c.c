/*
 * crc32c.c — CRC-32C by hardware when the processor has SSE4.2, by plain arithmetic otherwise.
 *
 * The features were read at program start, so choosing costs one load and one predicted branch.
 */
#include "base/crc32c.h"

#include "base/compiler.h"
#include "base/endian.h"

uint32_t crc32c_portable(uint32_t crc, const void *data, size_t size)
{
    const uint8_t *at = data;
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= at[i];
        for (unsigned bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (0x82f63b78u & (0u - (crc & 1u))); /* reflected Castagnoli */
        }
    }
    return ~crc;
}

#if defined(__x86_64__)

#include <nmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t crc_hardware(uint32_t crc, const uint8_t *at,
                                                               size_t size)
{
    uint64_t wide = ~crc;
    for (; size >= 8; at += 8, size -= 8) {
        wide = _mm_crc32_u64(wide, load_u64(at));
    }
    uint32_t narrow = (uint32_t)wide;
    if ((size & 4) != 0) {
        narrow = _mm_crc32_u32(narrow, load_u32(at));
        at += 4;
    }
    if ((size & 2) != 0) {
        narrow = _mm_crc32_u16(narrow, load_u16(at));
        at += 2;
    }
    if ((size & 1) != 0) {
        narrow = _mm_crc32_u8(narrow, *at);
    }
    return ~narrow;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
    if (LIKELY(__builtin_cpu_supports("sse4.2"))) {
        return crc_hardware(crc, data, size);
    }
    return crc32c_portable(crc, data, size);
}

#else

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
    return crc32c_portable(crc, data, size);
}

#endif
