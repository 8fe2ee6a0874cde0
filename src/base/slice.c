/*
 * slice.c — the slice functions too long to inline.
 */
#include "base/slice.h"

#include "base/text.h"

bool slice_equal_nocase(struct slice a, const char *word)
{
    for (size_t i = 0; i < a.size; i++) {
        if (word[i] == '\0' || text_lower(a.data[i]) != text_lower(word[i])) {
            return false;
        }
    }
    return word[a.size] == '\0';
}
