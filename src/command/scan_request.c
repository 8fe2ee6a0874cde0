/*
 * scan_request.c — see scan_request.h.
 */
#include "command/scan_request.h"

#include "base/text.h"

static const char syntax[] = "ERR syntax error";
const char keyspace_too_large[] =
    "ERR the keys exceed the maximum allowed size of a reply; ask with SCAN";

/* COUNT, MATCH or TYPE with its value. */
static const char *option_read(struct slice name, struct slice value, struct scan_request *out)
{
    int64_t count = 0;
    if (slice_equal_nocase(name, "count")) {
        if (!text_to_i64(value, &count)) {
            return "ERR value is not an integer or out of range";
        }
        out->count = (uint64_t)count;
        return count >= 1 ? NULL : syntax;
    }
    if (slice_equal_nocase(name, "match")) {
        out->pattern = value;
        out->has_pattern = !slice_equal(value, slice_from("*"));
        return NULL;
    }
    if (slice_equal_nocase(name, "type")) {
        out->has_no_type = !slice_equal_nocase(value, "string");
        return NULL;
    }
    return syntax;
}

const char *scan_request_read(uint32_t argc, const struct slice *argv, struct scan_request *out)
{
    *out = (struct scan_request){ .count = SCAN_COUNT_DEFAULT };
    if (!text_to_u64(argv[1], &out->cursor)) {
        return "ERR invalid cursor";
    }
    for (uint32_t i = 2; i < argc; i += 2) {
        const char *wrong = i + 1 < argc ? option_read(argv[i], argv[i + 1], out) : syntax;
        if (wrong != NULL) {
            return wrong;
        }
    }
    return NULL;
}
