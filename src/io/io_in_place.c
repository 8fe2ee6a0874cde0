/*
 * io_in_place.c — a moving average, and rests that double while a disk stays slow.
 *
 * Read next: io_epoll.c, which asks.
 */
#include "io/io_in_place.h"

#include "base/assert.h"

static const uint64_t NS_PER_US = 1000;
static const uint64_t NS_PER_MS = 1000000;

enum { WEIGHT = 8 }; /* one slow sync of eight is forgiven */

bool io_in_place_allows(const struct io_in_place *in_place, uint64_t now_ns)
{
    return now_ns >= in_place->resume_ns;
}

static void rest(struct io_in_place *in_place, uint64_t now_ns)
{
    uint64_t longer_ms = in_place->rest_ms * 2;
    longer_ms = longer_ms < IN_PLACE_REST_MIN_MS ? IN_PLACE_REST_MIN_MS : longer_ms;
    in_place->rest_ms = longer_ms < IN_PLACE_REST_MAX_MS ? longer_ms : IN_PLACE_REST_MAX_MS;
    in_place->resume_ns = now_ns + in_place->rest_ms * NS_PER_MS;
    in_place->average_ns = IN_PLACE_AVERAGE_MAX_US * NS_PER_US; /* the next one decides */
}

void io_in_place_took(struct io_in_place *in_place, uint64_t began_ns, uint64_t ended_ns)
{
    ASSERT(ended_ns >= began_ns);
    uint64_t took_ns = ended_ns - began_ns;
    if (took_ns > IN_PLACE_STALL_US * NS_PER_US) {
        rest(in_place, ended_ns);
        return;
    }
    in_place->average_ns = (in_place->average_ns * (WEIGHT - 1) + took_ns) / WEIGHT;
    if (in_place->average_ns > IN_PLACE_AVERAGE_MAX_US * NS_PER_US) {
        rest(in_place, ended_ns);
    } else if (in_place->average_ns < IN_PLACE_AVERAGE_MAX_US * NS_PER_US / 2) {
        in_place->rest_ms = 0;
    }
}
