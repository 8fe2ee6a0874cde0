/*
 * fuzz_hints.c — frames of who leads what, and of groups that were left, made of anything.
 *
 * The first byte chooses: hints, groups asked for, groups that are gone.  What is read is sane, and
 * says the same when it is written and read again.
 */
#include "hints_wire.h"
#include "vacancy_wire.h"

#include "base/assert.h"
#include "base/mem.h"

enum { PARTITIONS = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void entries_compare(const struct hints_wire_entry *a, const struct hints_wire_entry *b)
{
    ASSERT(a->partition == b->partition && a->term == b->term && a->flags == b->flags);
    ASSERT(a->bytes_left == b->bytes_left && raft_config_equal(&a->members, &b->members));
}

/* The entry alone, in a frame of its own. */
static void entry_again(const struct hints_wire_entry *entry)
{
    char bytes[HINTS_WIRE_HEAD_BYTES + HINTS_WIRE_ENTRY_BYTES_MAX];
    struct hints_wire_head head = { .held = 1, .count = 1 };
    struct hints_wire_reader reader;
    struct hints_wire_entry again;
    hints_wire_head_write(&head, bytes);
    size_t size = hints_wire_entry_write(entry, bytes + HINTS_WIRE_HEAD_BYTES);
    struct slice body = slice_make(bytes, HINTS_WIRE_HEAD_BYTES + size);
    bool is_open = hints_wire_open(body, PARTITIONS, &reader, &head);
    ASSERT(is_open && head.held == 1 && head.count == 1 && !head.is_all);
    bool is_read = hints_wire_next(&reader, &again);
    ASSERT(is_read && hints_wire_is_whole(&reader));
    entries_compare(entry, &again);
}

static void hints_read(struct slice body)
{
    struct hints_wire_reader reader;
    struct hints_wire_head head;
    struct hints_wire_entry entry;
    uint32_t next = 0;
    uint32_t count = 0;
    if (!hints_wire_open(body, PARTITIONS, &reader, &head)) {
        return;
    }
    ASSERT(head.held <= PARTITIONS && head.count <= PARTITIONS);
    while (hints_wire_next(&reader, &entry)) {
        bool is_leading = (entry.flags & HINT_NOT_LEADING) == 0;
        ASSERT(entry.partition >= next && entry.partition < PARTITIONS);
        ASSERT(entry.term > 0 && entry.term < UINT64_C(1) << 48);
        ASSERT(is_leading ? raft_config_is_valid(&entry.members)
                          : entry.members.members_count == 0);
        entry_again(&entry);
        next = entry.partition + 1;
        count++;
    }
    ASSERT(count <= head.count && (count == head.count || !hints_wire_is_whole(&reader)));
}

static void asks_read(struct slice left)
{
    const char *at = left.data;
    uint32_t group = 0;
    while (vacancy_ask_read(&left, &group)) {
        char bytes[VACANCY_ASK_BYTES];
        ASSERT(vacancy_ask_write(bytes, group) == bytes + sizeof(bytes));
        ASSERT(memcmp(bytes, at, sizeof(bytes)) == 0);
        at += sizeof(bytes);
        ASSERT(left.data == at);
    }
}

static void gone_read(struct slice left)
{
    const char *at = left.data;
    struct vacancy_gone gone;
    while (vacancy_gone_read(&left, &gone)) {
        char bytes[VACANCY_GONE_BYTES];
        ASSERT(gone.term < UINT64_C(1) << 48 && gone.index < UINT64_C(1) << 48);
        ASSERT(vacancy_gone_write(bytes, &gone) == bytes + sizeof(bytes));
        ASSERT(memcmp(bytes, at, sizeof(bytes)) == 0);
        at += sizeof(bytes);
        ASSERT(left.data == at);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    /* A copy of its own size, so that the sanitizer notices a look behind it. */
    char *copy = mem_alloc(size);
    memcpy(copy, data + 1, size - 1);
    struct slice input = slice_make(copy, size - 1);
    switch (data[0] % 3) {
    case 0:
        hints_read(input);
        break;
    case 1:
        asks_read(input);
        break;
    default:
        gone_read(input);
        break;
    }
    mem_free(copy);
    return 0;
}
