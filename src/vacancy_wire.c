/*
 * vacancy_wire.c — see vacancy_wire.h.
 */
#include "vacancy_wire.h"

#include "base/assert.h"
#include "base/endian.h"
#include "raft_wire.h"

char *vacancy_ask_write(char *to, uint32_t group)
{
    ASSERT(group <= UINT16_MAX);
    store_u16(to, (uint16_t)group);
    return to + VACANCY_ASK_BYTES;
}

char *vacancy_gone_write(char *to, const struct vacancy_gone *gone)
{
    ASSERT(gone->group <= UINT16_MAX);
    store_u16(to, (uint16_t)gone->group);
    store_u64(to + 2, gone->term);
    store_u64(to + 10, gone->index);
    return to + VACANCY_GONE_BYTES;
}

bool vacancy_ask_read(struct slice *left, uint32_t *out_group)
{
    if (left->size == 0 || left->size % VACANCY_ASK_BYTES != 0) {
        return false;
    }
    *out_group = load_u16(left->data);
    *left = slice_make(left->data + VACANCY_ASK_BYTES, left->size - VACANCY_ASK_BYTES);
    return true;
}

bool vacancy_gone_read(struct slice *left, struct vacancy_gone *out)
{
    if (left->size == 0 || left->size % VACANCY_GONE_BYTES != 0) {
        return false;
    }
    struct vacancy_gone gone = { .group = load_u16(left->data),
                                 .term = load_u64(left->data + 2),
                                 .index = load_u64(left->data + 10) };
    if (gone.term >= RAFT_WIRE_POSITION_LIMIT || gone.index >= RAFT_WIRE_POSITION_LIMIT) {
        return false;
    }
    *out = gone;
    *left = slice_make(left->data + VACANCY_GONE_BYTES, left->size - VACANCY_GONE_BYTES);
    return true;
}
