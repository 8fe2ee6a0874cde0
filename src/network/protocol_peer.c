/*
 * protocol_peer.c — HELLO lines and frames: to bytes and back.
 *
 * HELLO is described by tables (one row a member), which both directions walk.  A decoder trusts
 * nothing: sizes, nesting and types are checked, and what is too long for its field is an error,
 * never cut.
 *
 * Read next: protocol_peer.h, peer_link.c.
 */
#include "network/protocol_peer.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/endian.h"
#include "base/text.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

static const char *const channel_names[PEER_CHANNELS] = { "raft", "client", "bulk", "join" };

/* Where the members of a HELLO line lie in the struct. */
static const struct hello_member {
    const char *name;
    size_t offset;
    size_t size; /* of the member; a text is NUL-terminated in it */
} hello_texts[] = {
    { "node", offsetof(struct peer_hello, node), sizeof(((struct peer_hello *)0)->node) },
    { "cluster", offsetof(struct peer_hello, cluster), sizeof(((struct peer_hello *)0)->cluster) },
    { "host", offsetof(struct peer_hello, host), sizeof(((struct peer_hello *)0)->host) },
    { "version", offsetof(struct peer_hello, version), sizeof(((struct peer_hello *)0)->version) },
    { "zone", offsetof(struct peer_hello, zone), sizeof(((struct peer_hello *)0)->zone) },
    { "nonce", offsetof(struct peer_hello, nonce), sizeof(((struct peer_hello *)0)->nonce) },
};

static const struct hello_member hello_numbers[] = {
    { "number", offsetof(struct peer_hello, number), sizeof(uint64_t) },
    { "incarnation", offsetof(struct peer_hello, incarnation), sizeof(uint64_t) },
    { "boot", offsetof(struct peer_hello, boot), sizeof(uint64_t) },
    { "epoch", offsetof(struct peer_hello, epoch), sizeof(uint64_t) }, /* may be missing */
};

static const struct hello_member hello_shorts[] = {
    { "cluster_port", offsetof(struct peer_hello, cluster_port), sizeof(uint16_t) },
    { "port", offsetof(struct peer_hello, port), sizeof(uint16_t) },
    { "slot_port", offsetof(struct peer_hello, slot_port), sizeof(uint16_t) },
    { "weight", offsetof(struct peer_hello, weight), sizeof(uint16_t) },
};

enum {
    NESTING_MAX = 64,     /* brackets in a HELLO line; the parser below recurses */
    CRC_MEMBER_BYTES = 18 /* ,"crc":"01234567"} */
};

/* Larger integers lose digits in parsers that keep numbers as doubles: they are sent as text. */
static const uint64_t JSON_INTEGER_MAX = (uint64_t)1 << 53;

static const char crc_prefix[] = ",\"crc\":\"";

const char *peer_channel_name(enum peer_channel channel)
{
    ASSERT(channel < PEER_CHANNELS);
    return channel_names[channel];
}

/* ── encoding ────────────────────────────────────────────────────────────────────────────────── */

static json_t *text_to_json(const char *text)
{
    return json_string(text_is_utf8(slice_from(text)) ? text : "?");
}

static json_t *number_to_json(uint64_t number)
{
    if (number <= JSON_INTEGER_MAX) {
        return json_integer((json_int_t)number);
    }
    char digits[TEXT_I64_BYTES_MAX];
    return json_stringn(digits, text_from_u64(number, digits));
}

static void member_set(json_t *object, const char *name, json_t *value)
{
    int failed = json_object_set_new(object, name, value);
    ASSERT(failed == 0); /* only without memory, or for a value that is none */
}

static size_t line_write(json_t *object, char *out, size_t size_max)
{
    size_t size = json_dumpb(object, out, size_max, JSON_COMPACT);
    ASSERT(size > 0);
    ASSERT(size <= size_max);
    json_decref(object);
    return size;
}

size_t peer_hello_encode(const struct peer_hello *hello, char *out)
{
    const char *base = (const char *)hello;
    json_t *object = json_object();
    member_set(object, "type", json_string("HELLO"));
    member_set(object, "protocol", json_integer(PEER_PROTOCOL));
    member_set(object, "channel", json_string(peer_channel_name(hello->channel)));
    for (size_t i = 0; i < ARRAY_COUNT(hello_texts); i++) {
        const char *text = base + hello_texts[i].offset;
        if (text[0] != '\0' || text != hello->nonce) { /* without a secret nothing is new */
            member_set(object, hello_texts[i].name, text_to_json(text));
        }
    }
    for (size_t i = 0; i < ARRAY_COUNT(hello_numbers); i++) {
        member_set(object, hello_numbers[i].name,
                   number_to_json(load_u64(base + hello_numbers[i].offset)));
    }
    for (size_t i = 0; i < ARRAY_COUNT(hello_shorts); i++) {
        member_set(object, hello_shorts[i].name,
                   json_integer(load_u16(base + hello_shorts[i].offset)));
    }
    member_set(object, "features", json_array());
    size_t size = line_write(object, out, PEER_HELLO_BYTES_MAX - CRC_MEMBER_BYTES - 1) - 1;
    int more =
        snprintf(out + size, CRC_MEMBER_BYTES + 2, "%s%08x\"}\n", crc_prefix, crc32c(0, out, size));
    ASSERT(more == CRC_MEMBER_BYTES + 1);
    return size + (size_t)more;
}

size_t peer_refusal_encode(const char *code, const char *error, char *out)
{
    char text[512];
    (void)snprintf(text, sizeof(text), "%s", error);
    json_t *object = json_object();
    member_set(object, "success", json_false());
    member_set(object, "error", text_to_json(text));
    member_set(object, "code", text_to_json(code));
    size_t size = line_write(object, out, PEER_HELLO_BYTES_MAX - 1);
    out[size] = '\n';
    return size + 1;
}

/* ── decoding ────────────────────────────────────────────────────────────────────────────────── */

/* Where a decoder says what is wrong. */
struct complaint {
    char *text;
    size_t size;
};

PRINTF(2, 3) static bool fail(const struct complaint *complaint, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(complaint->text, complaint->size, format, args);
    va_end(args);
    return false;
}

static struct slice line_trim(struct slice line)
{
    while (line.size > 0 &&
           (line.data[line.size - 1] == '\n' || line.data[line.size - 1] == '\r')) {
        line.size -= 1;
    }
    return line;
}

static bool nesting_ok(struct slice line)
{
    size_t brackets = 0;
    for (size_t i = 0; i < line.size; i++) {
        brackets += line.data[i] == '[' || line.data[i] == '{';
    }
    return brackets <= NESTING_MAX;
}

/* Whether the line ends with a crc as encode writes it. */
static bool has_crc(struct slice line)
{
    size_t prefix = sizeof(crc_prefix) - 1;
    return line.size > CRC_MEMBER_BYTES &&
           memcmp(line.data + line.size - CRC_MEMBER_BYTES, crc_prefix, prefix) == 0;
}

static bool crc_ok(struct slice line)
{
    char expected[CRC_MEMBER_BYTES + 1];
    size_t covered = line.size - CRC_MEMBER_BYTES;
    (void)snprintf(expected, sizeof(expected), "%s%08x\"}", crc_prefix,
                   crc32c(0, line.data, covered));
    return memcmp(line.data + covered, expected, CRC_MEMBER_BYTES) == 0;
}

static json_t *line_parse(struct slice line, const struct complaint *complaint)
{
    if (line.size >= PEER_HELLO_BYTES_MAX || !nesting_ok(line)) {
        (void)fail(complaint, "the line is too long or nested too deeply");
        return NULL;
    }
    json_error_t error;
    json_t *root = json_loadb(line.data, line.size, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        (void)fail(complaint, "the line is no JSON: %.100s", error.text);
    } else if (has_crc(line) ? !crc_ok(line) : json_object_get(root, "crc") != NULL) {
        (void)fail(complaint, "the line was damaged on its way");
        json_decref(root);
        root = NULL;
    }
    return root;
}

/* Missing texts stay empty. */
static bool text_decode(const json_t *root, const struct hello_member *member,
                        struct peer_hello *hello, const struct complaint *complaint)
{
    const json_t *value = json_object_get(root, member->name);
    if (value == NULL) {
        return true;
    }
    if (!json_is_string(value) || json_string_length(value) >= member->size) {
        return fail(complaint, "\"%s\" must be a string of less than %zu bytes", member->name,
                    member->size);
    }
    memcpy((char *)hello + member->offset, json_string_value(value), json_string_length(value));
    return true;
}

static bool number_decode(const json_t *root, const struct hello_member *member,
                          struct peer_hello *hello, const struct complaint *complaint)
{
    const json_t *value = json_object_get(root, member->name);
    uint64_t number = 0;
    bool is_good = value == NULL && member->offset == offsetof(struct peer_hello, epoch);
    if (json_is_string(value)) {
        is_good =
            text_to_u64(slice_make(json_string_value(value), json_string_length(value)), &number);
    } else if (json_is_integer(value) && json_integer_value(value) >= 0) {
        number = (uint64_t)json_integer_value(value);
        is_good = true;
    }
    store_u64((char *)hello + member->offset, number);
    return is_good ||
           fail(complaint, "\"%s\" must be an unsigned integer or its digits", member->name);
}

static bool short_decode(const json_t *root, const struct hello_member *member,
                         struct peer_hello *hello, const struct complaint *complaint)
{
    const json_t *value = json_object_get(root, member->name);
    if (value == NULL) {
        return true;
    }
    json_int_t number = json_is_integer(value) ? json_integer_value(value) : -1;
    if (number < 0 || number > UINT16_MAX) {
        return fail(complaint, "\"%s\" must be 0 to 65535", member->name);
    }
    store_u16((char *)hello + member->offset, (uint16_t)number);
    return true;
}

static bool channel_decode(const json_t *root, struct peer_hello *hello,
                           const struct complaint *complaint)
{
    const char *name = json_string_value(json_object_get(root, "channel"));
    for (uint8_t channel = 0; name != NULL && channel < PEER_CHANNELS; channel++) {
        if (strcmp(name, channel_names[channel]) == 0) {
            hello->channel = channel;
            return true;
        }
    }
    return fail(complaint, "\"channel\" must be raft, client, bulk or join");
}

/* 16 bytes as hex digits, or nothing. */
static bool is_hex_or_empty(const char *text)
{
    size_t digits = strspn(text, "0123456789abcdef");
    return text[digits] == '\0' && (digits == 0 || digits == 32);
}

static bool members_decode(const json_t *root, struct peer_hello *hello,
                           const struct complaint *complaint)
{
    bool is_good = channel_decode(root, hello, complaint);
    for (size_t i = 0; is_good && i < ARRAY_COUNT(hello_texts); i++) {
        is_good = text_decode(root, &hello_texts[i], hello, complaint);
    }
    for (size_t i = 0; is_good && i < ARRAY_COUNT(hello_numbers); i++) {
        is_good = number_decode(root, &hello_numbers[i], hello, complaint);
    }
    for (size_t i = 0; is_good && i < ARRAY_COUNT(hello_shorts); i++) {
        is_good = short_decode(root, &hello_shorts[i], hello, complaint);
    }
    if (is_good && (!is_hex_or_empty(hello->cluster) || !is_hex_or_empty(hello->nonce))) {
        return fail(complaint, "\"cluster\" and \"nonce\" must be 32 hex digits or empty");
    }
    if (is_good && (hello->node[0] == '\0' || hello->number == 0)) {
        return fail(complaint, "\"node\" and \"number\" must not be empty");
    }
    return is_good;
}

/* The text is shown to people: no control characters from strangers. */
static enum peer_hello_result refusal_decode(const json_t *root, const struct complaint *complaint)
{
    const char *code = json_string_value(json_object_get(root, "code"));
    const char *error = json_string_value(json_object_get(root, "error"));
    (void)fail(complaint, "%.32s: %.300s", code != NULL ? code : "REFUSED",
               error != NULL ? error : "no reason given");
    for (char *at = complaint->text; *at != '\0'; at++) {
        *at = (unsigned char)*at < ' ' || *at == 0x7f ? '?' : *at;
    }
    return PEER_HELLO_REFUSAL;
}

static enum peer_hello_result hello_decode(const json_t *root, struct peer_hello *hello,
                                           const struct complaint *complaint)
{
    if (json_is_false(json_object_get(root, "success"))) {
        return refusal_decode(root, complaint);
    }
    const char *type = json_string_value(json_object_get(root, "type"));
    if (type == NULL || strcmp(type, "HELLO") != 0) {
        (void)fail(complaint, "the line is no object with \"type\":\"HELLO\"");
        return PEER_HELLO_MALFORMED;
    }
    const json_t *protocol = json_object_get(root, "protocol");
    if (!json_is_integer(protocol) || json_integer_value(protocol) != PEER_PROTOCOL) {
        (void)fail(complaint, "\"protocol\" must be %d: the program there is another version",
                   PEER_PROTOCOL);
        return PEER_HELLO_PROTOCOL;
    }
    return members_decode(root, hello, complaint) ? PEER_HELLO_OK : PEER_HELLO_MALFORMED;
}

enum peer_hello_result peer_hello_decode(struct slice line, struct peer_hello *out_hello,
                                         char *error, size_t error_size)
{
    ASSERT(error_size > 0);
    struct complaint complaint = { error, error_size };
    json_t *root = line_parse(line_trim(line), &complaint);
    if (root == NULL) {
        return PEER_HELLO_MALFORMED;
    }
    struct peer_hello hello = { 0 };
    enum peer_hello_result result = hello_decode(root, &hello, &complaint);
    json_decref(root);
    if (result == PEER_HELLO_OK) {
        *out_hello = hello;
    }
    return result;
}

static unsigned hex_value(char digit)
{
    return (unsigned)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
}

/* `text` has 2 * count digits at least. */
static void bytes_from_hex(const char *text, uint8_t *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        out[i] = (uint8_t)(hex_value(text[2 * i]) << 4 | hex_value(text[2 * i + 1]));
    }
}

uint64_t peer_hello_cluster(const struct peer_hello *hello)
{
    if (hello->cluster[0] == '\0') {
        return 0;
    }
    ASSERT(is_hex_or_empty(hello->cluster));
    uint8_t bytes[8];
    bytes_from_hex(hello->cluster, bytes, sizeof(bytes));
    return load_u64(bytes);
}

/* ── proofs ──────────────────────────────────────────────────────────────────────────────────── */

size_t peer_proof_encode(const uint8_t proof[PEER_PROOF_BYTES], char *out)
{
    char digits[2 * PEER_PROOF_BYTES + 1];
    for (size_t i = 0; i < PEER_PROOF_BYTES; i++) {
        (void)snprintf(digits + 2 * i, 3, "%02x", proof[i]);
    }
    int size =
        snprintf(out, PEER_HELLO_BYTES_MAX, "{\"type\":\"PROOF\",\"proof\":\"%s\"}\n", digits);
    ASSERT(size > 0 && size < PEER_HELLO_BYTES_MAX);
    return (size_t)size;
}

static enum peer_hello_result proof_decode(const json_t *root, uint8_t out_proof[PEER_PROOF_BYTES],
                                           const struct complaint *complaint)
{
    if (json_is_false(json_object_get(root, "success"))) {
        return refusal_decode(root, complaint);
    }
    const char *type = json_string_value(json_object_get(root, "type"));
    const char *digits = json_string_value(json_object_get(root, "proof"));
    if (type == NULL || strcmp(type, "PROOF") != 0 || digits == NULL ||
        strlen(digits) != 2 * (size_t)PEER_PROOF_BYTES ||
        strspn(digits, "0123456789abcdef") != 2 * (size_t)PEER_PROOF_BYTES) {
        (void)fail(complaint, "the line is no proof of cluster-secret");
        return PEER_HELLO_MALFORMED;
    }
    bytes_from_hex(digits, out_proof, PEER_PROOF_BYTES);
    return PEER_HELLO_OK;
}

enum peer_hello_result peer_proof_decode(struct slice line, uint8_t out_proof[PEER_PROOF_BYTES],
                                         char *error, size_t error_size)
{
    ASSERT(error_size > 0);
    struct complaint complaint = { error, error_size };
    json_t *root = line_parse(line_trim(line), &complaint);
    if (root == NULL) {
        return PEER_HELLO_MALFORMED;
    }
    enum peer_hello_result result = proof_decode(root, out_proof, &complaint);
    json_decref(root);
    return result;
}

/* ── frames ──────────────────────────────────────────────────────────────────────────────────── */

enum {
    AT_MAGIC = 0,
    AT_HEADER_CRC = 4,
    AT_BODY_CRC = 8,
    AT_BODY_SIZE = 12,
    AT_KIND = 16,
    AT_FLAGS = 17,
    AT_ZEROS = 18,
    AT_CLUSTER = 24,
    AT_SENDER = 32,
    AT_TARGET = 40,
};

static uint32_t header_crc(const char *frame)
{
    return crc32c(crc32c(0, frame, AT_HEADER_CRC), frame + AT_BODY_CRC,
                  PEER_FRAME_HEADER_BYTES - AT_BODY_CRC);
}

void peer_frame_seal(char *frame, const struct peer_route *route, uint8_t kind, uint8_t flags,
                     size_t body_size)
{
    ASSERT(body_size <= PEER_FRAME_BYTES_MAX);
    store_u32(frame + AT_MAGIC, PEER_FRAME_MAGIC);
    store_u32(frame + AT_BODY_CRC, crc32c(0, frame + PEER_FRAME_HEADER_BYTES, body_size));
    store_u32(frame + AT_BODY_SIZE, (uint32_t)body_size);
    frame[AT_KIND] = (char)kind;
    frame[AT_FLAGS] = (char)flags;
    memset(frame + AT_ZEROS, 0, AT_CLUSTER - AT_ZEROS);
    store_u64(frame + AT_CLUSTER, route->cluster);
    store_u64(frame + AT_SENDER, route->sender);
    store_u64(frame + AT_TARGET, route->target);
    store_u32(frame + AT_HEADER_CRC, header_crc(frame));
}

static enum peer_frame_result header_check(const char *header, const struct peer_route *route,
                                           size_t body_max)
{
    if (load_u32(header + AT_MAGIC) != PEER_FRAME_MAGIC ||
        load_u32(header + AT_HEADER_CRC) != header_crc(header) ||
        load_u16(header + AT_ZEROS) != 0 || load_u32(header + AT_ZEROS + 2) != 0) {
        return PEER_FRAME_HEADER;
    }
    if (load_u64(header + AT_CLUSTER) != route->cluster) {
        return PEER_FRAME_CLUSTER;
    }
    if (load_u64(header + AT_SENDER) != route->sender) {
        return PEER_FRAME_SENDER;
    }
    if (load_u64(header + AT_TARGET) != route->target) {
        return PEER_FRAME_TARGET;
    }
    return load_u32(header + AT_BODY_SIZE) <= body_max ? PEER_FRAME_OK : PEER_FRAME_SIZE;
}

enum peer_frame_result peer_frame_open(struct slice input, const struct peer_route *route,
                                       size_t body_max, struct peer_frame *out_frame,
                                       size_t *out_bytes)
{
    ASSERT(body_max <= PEER_FRAME_BYTES_MAX);
    *out_bytes = PEER_FRAME_HEADER_BYTES;
    if (input.size < PEER_FRAME_HEADER_BYTES) {
        return PEER_FRAME_MORE;
    }
    const char *header = input.data;
    enum peer_frame_result result = header_check(header, route, body_max);
    if (result != PEER_FRAME_OK) {
        return result;
    }
    struct slice body =
        slice_make(header + PEER_FRAME_HEADER_BYTES, load_u32(header + AT_BODY_SIZE));
    *out_bytes = PEER_FRAME_HEADER_BYTES + body.size;
    if (input.size < *out_bytes) {
        return PEER_FRAME_MORE;
    }
    if (crc32c(0, body.data, body.size) != load_u32(header + AT_BODY_CRC)) {
        return PEER_FRAME_BODY;
    }
    *out_frame = (struct peer_frame){ .kind = (uint8_t)header[AT_KIND],
                                      .flags = (uint8_t)header[AT_FLAGS],
                                      .body = body };
    return PEER_FRAME_OK;
}

const char *peer_frame_result_text(enum peer_frame_result result)
{
    switch (result) {
    case PEER_FRAME_OK:
        return "a good frame";
    case PEER_FRAME_MORE:
        return "a part of a frame";
    case PEER_FRAME_HEADER:
        return "a frame's header is damaged";
    case PEER_FRAME_SIZE:
        return "a frame is too large";
    case PEER_FRAME_CLUSTER:
        return "a frame of another cluster";
    case PEER_FRAME_SENDER:
        return "a frame from another incarnation of the node";
    case PEER_FRAME_TARGET:
        return "a frame for another incarnation of this node";
    case PEER_FRAME_BODY:
        return "a frame's body is damaged";
    }
    UNREACHABLE();
}
