/*
 * group_aux.c — see group_aux.h.
 */
#include "group_aux.h"

#include "base/assert.h"
#include "base/endian.h"
#include "base/limits.h"
#include "base/mutant.h"
#include "cluster/confchange.h"

enum { AUX_FORMAT = 1, AUX_HEADER_BYTES = 3 };

_Static_assert(AUX_HEADER_BYTES + RAFT_CONFIG_BYTES_MAX + SESSIONS_BYTES_MAX <=
                   SNAPSHOT_AUX_BYTES_MAX,
               "every group's aux fits into its snapshot");

void group_aux_encode(const struct raft_config *config, const struct sessions *sessions,
                      struct buffer *out)
{
    char *to = buffer_reserve(out, AUX_HEADER_BYTES + RAFT_CONFIG_BYTES_MAX);
    size_t size = 0;
    if (config->members_count > 0 && !MUTANT(MUT_SNAPSHOT_WITHOUT_MEMBERS)) {
        size = raft_config_encode(config, to + AUX_HEADER_BYTES);
    }
    ASSERT(size <= RAFT_CONFIG_BYTES_MAX);
    to[0] = AUX_FORMAT;
    store_u16(to + 1, (uint16_t)size);
    out->size += AUX_HEADER_BYTES + size;
    struct sessions none = { 0 };
    sessions_encode(MUTANT(MUT_SNAPSHOT_WITHOUT_SESSIONS) ? &none : sessions, out);
}

bool group_aux_decode(struct slice bytes, struct raft_config *out_config, struct sessions *sessions)
{
    struct raft_config config = { .members_count = 0 };
    *out_config = config;
    sessions_deinit(sessions);
    if (bytes.size == 0) {
        return true;
    }
    if (bytes.size < AUX_HEADER_BYTES || bytes.data[0] != AUX_FORMAT) {
        return false;
    }
    size_t size = load_u16(bytes.data + 1);
    if (size > bytes.size - AUX_HEADER_BYTES) {
        return false;
    }
    struct slice encoded = slice_make(bytes.data + AUX_HEADER_BYTES, size);
    struct slice rest = slice_make(encoded.data + size, bytes.size - AUX_HEADER_BYTES - size);
    if ((size > 0 && !raft_config_decode(encoded, &config)) || !sessions_decode(sessions, rest)) {
        return false;
    }
    *out_config = config;
    return true;
}
