/* The kernels with a watched scratch: carve() leaves a poisoned gap behind each piece, so that AddressSanitizer sees
 * where a piece ends, and looks whether the spare bytes, which may only be read, have been written to.
 * Included, after ASV_DOUBLE, in front of a precision's source file. */
#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/real.inc"

enum { UNTOUCHED = 0xff };

static void *watched_carve(char *base, size_t *used, size_t bytes) {
    size_t start = *used;
    char *piece = carve(base, used, bytes);
    if (start % ASV_LINE || *used < start + bytes + ASV_LINE) {
        fputs("carve: a piece does not start on a line, or has no spare bytes\n", stderr);
        abort();
    }
    if (base && !__asan_address_is_poisoned(base + *used)) { /* seen for the first time */
        memset(piece + bytes, UNTOUCHED, *used - start - bytes);
        __asan_poison_memory_region(base + *used, ASV_LINE);
    }
    for (size_t i = start + bytes; base && i < *used; i++)
        if ((unsigned char)base[i] != UNTOUCHED) {
            fputs("a kernel wrote behind the end of a piece of its scratch\n", stderr);
            abort();
        }
    *used += ASV_LINE;
    return piece;
}

#define carve watched_carve
