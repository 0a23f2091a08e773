/* Dense rows with many zeros, made CSR. */
#ifndef ASYSVRG_NONZEROS_H
#define ASYSVRG_NONZEROS_H

#include "real.h"

/* The non-zero entries of n dense rows of p. `values` and `columns` have room for one entry more. */
void ASV_NAME(asv_nonzeros)(const void *rows, int64_t n, int64_t p, void *values, int32_t *columns, int64_t *start,
                            uint64_t *bits) {
    const real *x = rows;
    int64_t e = 0;
    for (int64_t i = 0; i < n; i++, x += p) {
        start[i] = e;
        for (int64_t j = 0; j < p; bits++) {
            uint64_t word = 0;
            for (int64_t k = 0; k < 64 && j < p; k++, j++) {
                const int here = x[j] != 0;
                ((real *)values)[e] = x[j];
                columns[e] = (int32_t)j;
                word |= (uint64_t)here << k;
                e += here;
            }
            *bits = word;
        }
    }
    start[n] = e;
}

#endif
