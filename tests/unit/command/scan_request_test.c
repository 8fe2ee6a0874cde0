/*
 * scan_request_test.c — cursors say where they stand, and what SCAN is asked.  (Its error texts:
 * tests/spec/commands/keys.txt.)
 */
#include "command/scan_request.h"

#include "base/prng.h"
#include "test.h"

TEST(cursors_say_where_they_stand)
{
    struct prng prng;
    prng_init(&prng, 1);
    CHECK_EQ(scan_cursor_make(0, 0), 0);
    for (unsigned i = 0; i < 100000; i++) {
        uint32_t partition = (uint32_t)prng_below(&prng, PARTITIONS_MAX);
        uint64_t position = prng_next(&prng) >> (64 - KV_POSITION_BITS) << (64 - KV_POSITION_BITS);
        uint64_t cursor = scan_cursor_make(partition, position);
        CHECK(cursor < 1ull << 53);
        CHECK_EQ(scan_cursor_partition(cursor), partition);
        CHECK_EQ(scan_cursor_position(cursor), position);
    }
}

TEST(cursors_ascend_with_the_place)
{
    CHECK(scan_cursor_make(3, UINT64_MAX) < scan_cursor_make(4, 0));
    CHECK(scan_cursor_make(4, 0) < scan_cursor_make(4, 1ull << 63));
}

TEST(cursors_that_were_never_given_out)
{
    CHECK_EQ(scan_cursor_partition(UINT64_MAX), PARTITIONS_MAX);
    CHECK_EQ(scan_cursor_partition(1ull << 53), PARTITIONS_MAX);
    CHECK_EQ(scan_cursor_partition(12345), 0);
}

TEST(requests)
{
    struct slice argv[] = { slice_from("scan"), slice_from("7"),     slice_from("COUNT"),
                            slice_from("5"),    slice_from("match"), slice_from("a*"),
                            slice_from("TYPE"), slice_from("List") };
    struct scan_request request;
    CHECK(scan_request_read(2, argv, &request) == NULL);
    CHECK_EQ(request.cursor, 7);
    CHECK_EQ(request.count, 10);
    CHECK(!request.has_pattern && !request.has_no_type);
    CHECK(scan_request_read(8, argv, &request) == NULL);
    CHECK_EQ(request.count, 5);
    CHECK(request.has_pattern && request.has_no_type);
    CHECK(slice_equal(request.pattern, slice_from("a*")));
    argv[5] = slice_from("*");
    argv[7] = slice_from("STRING");
    CHECK(scan_request_read(8, argv, &request) == NULL);
    CHECK(!request.has_pattern && !request.has_no_type);
    CHECK(scan_request_read(7, argv, &request) != NULL);
}

TEST_MAIN
