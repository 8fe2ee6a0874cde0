/*
 * fuzz_sessions.c — sessions made of anything: refused, or these bytes are their one encoding, and
 * they go on working.
 */
#include "storage/sessions.h"

#include "base/assert.h"

/* A new write of a new sender is remembered, whatever was there. */
static void use(struct sessions *sessions)
{
    static const uint64_t node = UINT64_C(0x0123456789abcdef);
    struct slice reply = { 0 };
    enum session_answer answer = sessions_look(sessions, node, UINT64_MAX, 7, &reply);
    if (answer == SESSION_NEW) {
        sessions_note(sessions, UINT64_MAX, node, UINT64_MAX, 7, 3, slice_from(":1\r\n"));
        answer = sessions_look(sessions, node, UINT64_MAX, 7, &reply);
        /* STALE when so much is kept above it that it had to go at once. */
        ASSERT(answer == SESSION_STALE ||
               (answer == SESSION_DONE && slice_equal(reply, slice_from(":1\r\n"))) ||
               slice_equal(reply, slice_from(SESSION_REPLY_TOO_LARGE)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sessions sessions = { 0 };
    if (sessions_decode(&sessions, slice_make(data, size))) {
        struct buffer again = { 0 };
        sessions_encode(&sessions, &again);
        ASSERT(slice_equal(buffer_slice(&again), slice_make(data, size)));
        buffer_free(&again);
        use(&sessions);
    }
    sessions_deinit(&sessions);
    return 0;
}
