/*
 * fuzz_members.c — the list of members, and changes of it, made of anything.
 *
 * A list that is read is written back byte for byte (one of the format before: the same list).  A
 * change is refused, or leaves a list that is whole: it can be written and read, and somebody in it
 * is ACTIVE.
 */
#include "members.h"

#include "base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void again(const struct members *members, struct slice bytes)
{
    static struct members read; /* large */
    struct buffer out = { 0 };
    struct buffer twice = { 0 };
    members_encode(members, &out);
    ASSERT(out.size <= MEMBERS_BYTES_MAX);
    ASSERT(bytes.size == 0 || bytes.data[0] == 2 || slice_equal(buffer_slice(&out), bytes));
    ASSERT(members_decode(&read, buffer_slice(&out)));
    members_encode(&read, &twice);
    ASSERT(slice_equal(buffer_slice(&out), buffer_slice(&twice)));
    buffer_free(&out);
    buffer_free(&twice);
}

static void found(struct members *members)
{
    struct member self = { .id = "a", .host = "10.0.0.1", .incarnation = 7, .weight = 1 };
    self.number = members_number(self.id);
    members_found(members, &self);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct members members;
    struct slice bytes = slice_make(data, size);
    if (members_decode(&members, bytes)) {
        ASSERT(members_active(&members) >= 1);
        again(&members, bytes);
    }
    found(&members);
    uint64_t epoch = members.epoch;
    if (members_apply(&members, bytes, members.index + 1, members.term)) {
        ASSERT(members.epoch - epoch <= 1);
        ASSERT(members_active(&members) >= 1);
        again(&members, slice_make(NULL, 0));
    }
    return 0;
}
