/* What an epoch of importance sampling draws from; asysvrg/core/importance.py says why. */
#ifndef ASYSVRG_LISTING_H
#define ASYSVRG_LISTING_H

#include <float.h>

#include "real.h"
#include "rng.h"

enum { USUAL_TIMES = 2 };

/* Systematic resampling (Kitagawa 1996): with n p_i = uniform + (1 - uniform) lengths_i / their mean in a row, one
 * behind the other from a random number in [0, 1) on, sample i stands in `listed` (n places) as often as there are
 * whole numbers in its stretch. ratio: 1 / (n p_i). Lengths that are all 0 count as alike. Returns the mean length of
 * the samples that were drawn before, whose length is not `unseen`; 0 if none was. */
double ASV_NAME(asv_list)(const void *lengths, int64_t n, double uniform, double unseen, uint64_t seed, uint64_t epoch,
                          int32_t *listed, void *ratio) {
    const real *length = lengths;
    real largest = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < n; i++) largest = length[i] > largest ? length[i] : largest;
    const double unit = largest > DBL_MIN ? 1 / (double)largest : 0; /* sums of huge lengths would not be finite */
    double total = 0, seen = 0;
    int64_t drawn = 0;
#pragma omp simd reduction(+ : total, seen, drawn)
    for (int64_t i = 0; i < n; i++) {
        double share = (double)length[i] * unit;
        int before = (double)length[i] != unseen;
        total += share;
        seen += before ? share : 0;
        drawn += before;
    }
    const double least = unit > 0 ? uniform : 1, each = unit > 0 ? (1 - uniform) * (double)n / total : 0;
    double end = asv_draw_unit(asv_key(seed, epoch, 0, ASV_DRAW_OFFSET), 0);
    int64_t place = 0;
    for (int64_t i = 0; i < n; i++) {
        double expected = least + each * ((double)length[i] * unit);
        ((real *)ratio)[i] = 1 / (real)expected;
        end += expected;
        int64_t until = (int64_t)end < n ? (int64_t)end : n;
        /* Whether these two are in its stretch or overwritten next: a branch on that would be guessed wrong too often.
         */
        for (int64_t k = 0; k < USUAL_TIMES && place + k < n; k++) listed[place + k] = (int32_t)i;
        for (int64_t k = place + USUAL_TIMES; k < until; k++) listed[k] = (int32_t)i;
        place = until;
    }
    while (place < n) listed[place++] = (int32_t)(n - 1); /* rounding */
    return drawn && unit > 0 ? seen / (double)drawn * (double)largest : 0;
}

#endif
