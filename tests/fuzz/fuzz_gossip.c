/*
 * fuzz_gossip.c — packets of gossip made of anything, sealed as if by a member: each is refused and
 * changes nothing, or has exactly these bytes as its encoding; and whatever is believed, what the
 * membership says next is well-formed.
 */
#include "cluster/membership.h"

#include "base/assert.h"
#include "base/mem.h"

enum { NODES = 4, TICKS = 20 };

/* What was read is written again: the same bytes. */
static void again(struct slice packet)
{
    struct membership_head head;
    struct membership_item item;
    struct slice items;
    char out[MEMBERSHIP_PACKET_BYTES_MAX];
    if (!membership_packet_read(packet, &head, &items)) {
        return;
    }
    membership_head_write(&head, out);
    char *end = out + MEMBERSHIP_HEAD_BYTES;
    while (membership_item_next(&items, &item)) {
        ASSERT(end + membership_item_size(&item) <= out + packet.size);
        end = membership_item_write(&item, end);
    }
    ASSERT(slice_equal(slice_make(out, (size_t)(end - out)), packet));
}

static void check(const struct membership_output *output)
{
    for (uint32_t i = 0; i < output->datagrams_count; i++) {
        const struct membership_datagram *datagram = &output->datagrams[i];
        struct membership_head head;
        struct slice items;
        ASSERT(membership_packet_read(slice_make(datagram->bytes, datagram->size), &head, &items));
        ASSERT(head.to == datagram->to && head.to != head.from);
    }
}

/* Makes it a packet that counts: fresh, of a member, to us. */
static void adopt(char *packet, size_t size, uint64_t counter)
{
    struct membership_head head;
    struct slice items;
    if (membership_packet_read(slice_make(packet, size), &head, &items)) {
        head.cluster = 1;
        head.from = 2 + head.from % (NODES - 1);
        head.from_identity = head.from;
        head.from_boot = 1;
        head.to = 1;
        head.to_identity = 1;
        head.to_boot = 1;
        head.counter = counter;
        membership_head_write(&head, packet);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct membership_output output;
    static const struct membership_member members[NODES] = {
        { 1, 1 }, { 2, 2 }, { 3, 3 }, { 4, 4 }
    };
    struct membership *core = mem_zalloc(membership_sizeof());
    struct membership_input input = {
        .kind = MEMBERSHIP_MEMBERS, .now_ms = 1000, .members = members, .members_count = NODES
    };
    membership_init(core, &(struct membership_options){
                              .cluster = 1, .number = 1, .identity = 1, .boot = 1, .seed = 1 });
    membership_step(core, &input, &output);
    uint64_t counter = 0;
    while (size > 2) { /* each packet behind two bytes of its size */
        size_t bytes = (size_t)(data[0] | data[1] << 8) % (MEMBERSHIP_PACKET_BYTES_MAX + 2);
        bytes = bytes < size - 2 ? bytes : size - 2;
        char *packet = mem_alloc(bytes + 1);
        memcpy(packet, data + 2, bytes);
        again(slice_make(packet, bytes));
        adopt(packet, bytes, ++counter);
        input = (struct membership_input){ .kind = MEMBERSHIP_PACKET,
                                           .now_ms = input.now_ms + 10,
                                           .packet = slice_make(packet, bytes) };
        membership_step(core, &input, &output);
        check(&output);
        mem_free(packet);
        data += 2 + bytes;
        size -= 2 + bytes;
    }
    input.kind = MEMBERSHIP_TICK;
    for (uint32_t i = 0; i < TICKS; i++) {
        input.now_ms = output.deadline_ms;
        membership_step(core, &input, &output);
        check(&output);
    }
    mem_free(core);
    return 0;
}
