/*
 * crc32c.h — CRC-32C (Castagnoli), by the SSE4.2 instruction where there is one.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Continues `crc` (0 to begin) over the bytes.  crc32c(crc32c(0, a), b) == crc32c(0, ab). */
uint32_t crc32c(uint32_t crc, const void *data, size_t size);
/* The same by plain arithmetic, bit by bit: what other processors run, and what tests compare with.
 */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t size);
