/*
 * hash.c — CRC16/XMODEM eight bytes at a time, and Redis Cluster's hashtag rule.
 *
 * A CRC is linear: the CRC of a message is the XOR of the CRCs of its bits, each followed by
 * zeros.  crc16_slices[k][b] is the CRC of byte b followed by k zero bytes, so that eight bytes
 * take eight independent look-ups.  The tables are spelled out by the compiler from the CRCs of
 * the 64 single bits (the SLICE rows below).
 */
#include "base/hash.h"

enum { CRC_SLICES = 8 };

#define BIT(b, i, crc) (((b) >> (i)) & 1 ? (crc) : 0)
#define BYTE(b, c0, c1, c2, c3, c4, c5, c6, c7)                                                    \
    (BIT(b, 0, c0) ^ BIT(b, 1, c1) ^ BIT(b, 2, c2) ^ BIT(b, 3, c3) ^ BIT(b, 4, c4) ^               \
     BIT(b, 5, c5) ^ BIT(b, 6, c6) ^ BIT(b, 7, c7))
#define BYTES_4(b, ...)                                                                            \
    BYTE(b, __VA_ARGS__), BYTE((b) + 1, __VA_ARGS__), BYTE((b) + 2, __VA_ARGS__),                  \
        BYTE((b) + 3, __VA_ARGS__)
#define BYTES_16(b, ...)                                                                           \
    BYTES_4(b, __VA_ARGS__), BYTES_4((b) + 4, __VA_ARGS__), BYTES_4((b) + 8, __VA_ARGS__),         \
        BYTES_4((b) + 12, __VA_ARGS__)
#define BYTES_64(b, ...)                                                                           \
    BYTES_16(b, __VA_ARGS__), BYTES_16((b) + 16, __VA_ARGS__), BYTES_16((b) + 32, __VA_ARGS__),    \
        BYTES_16((b) + 48, __VA_ARGS__)
#define SLICE(...)                                                                                 \
    {                                                                                              \
        BYTES_64(0, __VA_ARGS__), BYTES_64(64, __VA_ARGS__), BYTES_64(128, __VA_ARGS__),           \
            BYTES_64(192, __VA_ARGS__)                                                             \
    }

/* Row k: the CRCs of the bytes 1, 2, 4 ... 128, each followed by k zero bytes. */
static const uint16_t crc16_slices[CRC_SLICES][256] = {
    SLICE(0x1021, 0x2042, 0x4084, 0x8108, 0x1231, 0x2462, 0x48c4, 0x9188),
    SLICE(0x3331, 0x6662, 0xccc4, 0x89a9, 0x0373, 0x06e6, 0x0dcc, 0x1b98),
    SLICE(0x3730, 0x6e60, 0xdcc0, 0xa9a1, 0x4363, 0x86c6, 0x1dad, 0x3b5a),
    SLICE(0x76b4, 0xed68, 0xcaf1, 0x85c3, 0x1ba7, 0x374e, 0x6e9c, 0xdd38),
    SLICE(0xaa51, 0x4483, 0x8906, 0x022d, 0x045a, 0x08b4, 0x1168, 0x22d0),
    SLICE(0x45a0, 0x8b40, 0x06a1, 0x0d42, 0x1a84, 0x3508, 0x6a10, 0xd420),
    SLICE(0xb861, 0x60e3, 0xc1c6, 0x93ad, 0x377b, 0x6ef6, 0xddec, 0xabf9),
    SLICE(0x47d3, 0x8fa6, 0x0f6d, 0x1eda, 0x3db4, 0x7b68, 0xf6d0, 0xfd81),
};

uint16_t hash_crc16(const char *data, size_t size)
{
    const unsigned char *at = (const unsigned char *)data;
    const uint16_t(*t)[256] = crc16_slices;
    unsigned crc = 0;
    for (; size >= 8; at += 8, size -= 8) {
        unsigned late = (unsigned)t[5][at[2]] ^ t[4][at[3]] ^ t[3][at[4]] ^ t[2][at[5]] ^
                        t[1][at[6]] ^ t[0][at[7]];
        crc = (unsigned)t[7][at[0] ^ (crc >> 8)] ^ t[6][at[1] ^ (crc & 0xff)] ^ late;
    }
    for (; size > 0; at++, size--) {
        crc = ((crc << 8) & 0xffff) ^ t[0][*at ^ (crc >> 8)];
    }
    return (uint16_t)crc;
}

uint16_t hash_slot(struct slice key)
{
    /* Only what is between the first '{' and the first '}' behind it counts, unless that is empty.
     */
    const char *open = key.size > 0 ? memchr(key.data, '{', key.size) : NULL;
    if (open != NULL) {
        const char *tag = open + 1;
        const char *close = memchr(tag, '}', (size_t)(key.data + key.size - tag));
        if (close != NULL && close > tag) {
            key = (struct slice){ tag, (size_t)(close - tag) };
        }
    }
    return hash_crc16(key.data, key.size) & (HASH_SLOTS - 1);
}
