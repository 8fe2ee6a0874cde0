/*
 * rdb_string.c — a string as Redis's DUMP serializes it.
 *
 * Read next: rdb_string.h (the layout), cmd_dump.c.
 */
#include "command/rdb_string.h"

#include "base/assert.h"
#include "base/endian.h"
#include "base/limits.h"
#include "base/text.h"

enum {
    RDB_TYPE_STRING = 0,
    RDB_FOOTER_BYTES = 2 + 8,
    /* The two high bits of a length's first byte say how it goes on. */
    RDB_LENGTH_6_BITS = 0x00,
    RDB_LENGTH_14_BITS = 0x40,
    RDB_LENGTH_32_BITS = 0x80, /* the whole byte: 4 bytes follow, big-endian */
    RDB_LENGTH_64_BITS = 0x81,
    RDB_ENCODED_INT8 = 0xc0,
    RDB_ENCODED_INT16 = 0xc1,
    RDB_ENCODED_INT32 = 0xc2,
    RDB_ENCODED_LZF = 0xc3,
};

/* CRC-64 of Jones, reflected, four bits at a time. */
static uint64_t crc64(struct slice bytes)
{
    static const uint64_t table[16] = {
        0x0000000000000000, 0x7d08ff3b88be6f81, 0xfa11fe77117cdf02, 0x8719014c99c2b083,
        0xdf7adabd7a6e2d6f, 0xa2722586f2d042ee, 0x256b24ca6b12f26d, 0x5863dbf1e3ac9dec,
        0x95ac9329ac4bc9b5, 0xe8a46c1224f5a634, 0x6fbd6d5ebd3716b7, 0x12b5926535897936,
        0x4ad64994d625e4da, 0x37deb6af5e9b8b5b, 0xb0c7b7e3c7593bd8, 0xcdcf48d84fe75459,
    };
    uint64_t crc = 0;
    for (size_t i = 0; i < bytes.size; i++) {
        crc ^= (unsigned char)bytes.data[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return crc;
}

/* ── writing ─────────────────────────────────────────────────────────────────────────────────── */

static void append_big_endian(struct buffer *out, uint64_t value, unsigned bytes)
{
    while (bytes-- > 0) {
        buffer_append_byte(out, (char)(value >> 8 * bytes));
    }
}

static void append_length(struct buffer *out, uint64_t length)
{
    if (length < 1 << 6) {
        buffer_append_byte(out, (char)length);
    } else if (length < 1 << 14) {
        append_big_endian(out, RDB_LENGTH_14_BITS << 8 | length, 2);
    } else {
        ASSERT(length <= UINT32_MAX);
        buffer_append_byte(out, (char)RDB_LENGTH_32_BITS);
        append_big_endian(out, length, 4);
    }
}

/* Integers of up to 32 bits are written as such; true when this was one. */
static bool append_integer(struct buffer *out, struct slice value)
{
    int64_t number = 0;
    if (!text_to_i64(value, &number) || number < INT32_MIN || number > INT32_MAX) {
        return false;
    }
    char bytes[4];
    store_u32(bytes, (uint32_t)(int32_t)number);
    if (number >= INT8_MIN && number <= INT8_MAX) {
        buffer_append_byte(out, (char)RDB_ENCODED_INT8);
        buffer_append(out, bytes, 1);
    } else if (number >= INT16_MIN && number <= INT16_MAX) {
        buffer_append_byte(out, (char)RDB_ENCODED_INT16);
        buffer_append(out, bytes, 2);
    } else {
        buffer_append_byte(out, (char)RDB_ENCODED_INT32);
        buffer_append(out, bytes, 4);
    }
    return true;
}

void rdb_string_encode(struct slice value, struct buffer *out)
{
    size_t start = out->size;
    buffer_append_byte(out, RDB_TYPE_STRING);
    if (!append_integer(out, value)) {
        append_length(out, value.size);
        buffer_append_slice(out, value);
    }
    char footer[RDB_FOOTER_BYTES];
    store_u16(footer, RDB_VERSION);
    buffer_append(out, footer, 2);
    store_u64(footer + 2, crc64((struct slice){ out->data + start, out->size - start }));
    buffer_append(out, footer + 2, 8);
}

/* ── reading ─────────────────────────────────────────────────────────────────────────────────── */

/* Takes the first `size` bytes off `rest`; false when there are fewer. */
static bool take(struct slice *rest, uint64_t size, struct slice *out)
{
    if (size > rest->size) {
        return false;
    }
    *out = (struct slice){ rest->data, size };
    rest->data += size;
    rest->size -= size;
    return true;
}

static bool take_big_endian(struct slice *rest, unsigned count, uint64_t *out)
{
    struct slice bytes;
    if (!take(rest, count, &bytes)) {
        return false;
    }
    *out = 0;
    for (unsigned i = 0; i < count; i++) {
        *out = *out << 8 | (unsigned char)bytes.data[i];
    }
    return true;
}

/* A length (not one of the encodings) whose first byte has been taken. */
static bool take_length_after(struct slice *rest, unsigned first, uint64_t *out)
{
    if ((first & 0xc0) == RDB_LENGTH_6_BITS) {
        *out = first;
        return true;
    }
    if ((first & 0xc0) == RDB_LENGTH_14_BITS) {
        bool ok = take_big_endian(rest, 1, out);
        *out |= (uint64_t)(first & 0x3f) << 8;
        return ok;
    }
    if (first == RDB_LENGTH_32_BITS) {
        return take_big_endian(rest, 4, out);
    }
    return first == RDB_LENGTH_64_BITS && take_big_endian(rest, 8, out);
}

static bool take_length(struct slice *rest, uint64_t *out)
{
    uint64_t first = 0;
    return take_big_endian(rest, 1, &first) && take_length_after(rest, (unsigned)first, out);
}

/* LZF: a control byte below 32 begins that many + 1 literal bytes; else its upper three bits are a
 * length (7: more in the next byte) less 2 and the rest, with the next byte, a distance back less
 * 1.  False unless the bytes give exactly `size`. */
static bool lzf_expand(struct slice from, char *to, size_t size)
{
    size_t made = 0;
    while (from.size > 0) {
        struct slice bytes;
        (void)take(&from, 1, &bytes);
        unsigned control = (unsigned char)bytes.data[0];
        size_t length = control < 32 ? control + 1 : (control >> 5) + 2;
        if (control < 32) {
            if (!take(&from, length, &bytes) || length > size - made) {
                return false;
            }
            memcpy(to + made, bytes.data, length);
            made += length;
            continue;
        }
        if (control >> 5 == 7) {
            if (!take(&from, 1, &bytes)) {
                return false;
            }
            length += (unsigned char)bytes.data[0];
        }
        if (!take(&from, 1, &bytes)) {
            return false;
        }
        size_t back = ((size_t)(control & 31) << 8 | (unsigned char)bytes.data[0]) + 1;
        if (back > made || length > size - made) {
            return false;
        }
        for (; length > 0; length--, made++) { /* byte by byte: the ranges may overlap */
            to[made] = to[made - back];
        }
    }
    return made == size;
}

static bool take_lzf(struct slice *rest, struct buffer *room, struct slice *out)
{
    uint64_t compressed_size = 0;
    uint64_t size = 0;
    struct slice compressed;
    if (!take_length(rest, &compressed_size) || !take_length(rest, &size) ||
        size > REQUEST_BYTES_MAX || !take(rest, compressed_size, &compressed)) {
        return false;
    }
    room->size = 0;
    char *to = buffer_reserve(room, size + 1);
    *out = (struct slice){ to, size };
    return lzf_expand(compressed, to, size);
}

static bool take_integer(struct slice *rest, unsigned count, struct buffer *room, struct slice *out)
{
    struct slice bytes;
    if (!take(rest, count, &bytes)) {
        return false;
    }
    char wide[4] = { 0 };
    memcpy(wide, bytes.data, count);
    uint32_t raw = load_u32(wide);
    int64_t value = count == 1 ? (int8_t)raw : count == 2 ? (int16_t)raw : (int32_t)raw;
    room->size = 0;
    char *to = buffer_reserve(room, TEXT_I64_BYTES_MAX);
    *out = (struct slice){ to, text_from_i64(value, to) };
    return true;
}

static bool take_string(struct slice *rest, struct buffer *room, struct slice *out)
{
    uint64_t first = 0;
    uint64_t size = 0;
    if (!take_big_endian(rest, 1, &first)) {
        return false;
    }
    switch (first) {
    case RDB_ENCODED_INT8:
        return take_integer(rest, 1, room, out);
    case RDB_ENCODED_INT16:
        return take_integer(rest, 2, room, out);
    case RDB_ENCODED_INT32:
        return take_integer(rest, 4, room, out);
    case RDB_ENCODED_LZF:
        return take_lzf(rest, room, out);
    default:
        return take_length_after(rest, (unsigned)first, &size) && take(rest, size, out);
    }
}

enum rdb_result rdb_string_decode(struct slice payload, struct buffer *room,
                                  struct slice *out_value)
{
    if (payload.size < RDB_FOOTER_BYTES) {
        return RDB_BAD_CHECKSUM;
    }
    struct slice body = { payload.data, payload.size - RDB_FOOTER_BYTES };
    const char *footer = body.data + body.size;
    struct slice checked = { payload.data, payload.size - 8 };
    if (load_u16(footer) > RDB_VERSION || load_u64(footer + 2) != crc64(checked)) {
        return RDB_BAD_CHECKSUM;
    }
    struct slice type;
    if (!take(&body, 1, &type) || type.data[0] != RDB_TYPE_STRING ||
        !take_string(&body, room, out_value) || body.size > 0) {
        return RDB_BAD_FORMAT;
    }
    return RDB_OK;
}
