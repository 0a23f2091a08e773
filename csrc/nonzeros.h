/* Dense rows with many zeros, made CSR. */
#ifndef ASYSVRG_NONZEROS_H
#define ASYSVRG_NONZEROS_H

#include "real.h"

/* The non-zero entries of n dense rows of p. `values` and `columns` have room for one entry more. */
void ASV_NAME(asv_nonzeros)(const void *rows, int64_t n, int64_t p, void *values, int32_t *columns, int64_t *start) {
    const real *x = rows;
    int64_t e = 0;
    for (int64_t i = 0; i < n; i++, x += p) {
        start[i] = e;
        for (int64_t j = 0; j < p; j++) {
            ((real *)values)[e] = x[j];
            columns[e] = (int32_t)j;
            e += x[j] != 0;
        }
    }
    start[n] = e;
}

#endif
