/* One precision: `real`, and the two products that everything else is made of. Included by float32.c and float64.c
 * with ASV_DOUBLE 0 or 1. */
#ifndef ASYSVRG_REAL_H
#define ASYSVRG_REAL_H

#include <math.h>
#include <string.h>

#include "atomic.h"
#include "clones.h"
#include "types.h"

#if ASV_DOUBLE
typedef double real;
#define ASV_NAME(name) name##_f64
#define ASV_EXP exp
#define ASV_TANH_FUNCTION tanh
#else
typedef float real;
#define ASV_NAME(name) name##_f32
#define ASV_EXP expf
#define ASV_TANH_FUNCTION tanhf
#endif

ASV_DEFINE_ATOMIC_SUBTRACT(atomic_subtract, real)
ASV_DEFINE_RELAXED_LOAD(load_relaxed, real)

/* A cache line of reals; the compiler splits it where registers are narrower. */
typedef real vec __attribute__((vector_size(64), aligned(__alignof__(real)), may_alias));
enum { VEC = ASV_LINE / (int)sizeof(real) };

typedef void gemm_t(char *, char *, int *, int *, int *, real *, real *, int *, real *, int *, real *, real *, int *);

/* C (m x n) = scale op(A) op(B) + beta C, all row-major, op(A) m x k; transposed where the flag says so. */
ASV_INLINE void matmul(const asv_network *net, int transpose_a, int transpose_b, int64_t m, int64_t n, int64_t k,
                       real scale, const real *A, int64_t lda, const real *B, int64_t ldb, real beta, real *C) {
    int im = (int)m, in = (int)n, ik = (int)k, ia = (int)lda, ib = (int)ldb;
    /* Fortran is column-major and so computes C' = op(B)' op(A)'. */
    ((gemm_t *)net->gemm)(transpose_b ? "T" : "N", transpose_a ? "T" : "N", &in, &im, &ik, &scale, (real *)B, &ib,
                          (real *)A, &ia, &beta, C, &in);
}

/* out[j] = start[j] + sum_e value[e] M[which[e] ld + j] for j < `lines` lines of reals: weighted rows of M.
 * The last line may reach past the end of the row (never past an array's ASV_LINE spare bytes); only the first
 * `keep` reals are written. */
ASV_INLINE void row_sum_lines(real *out, const real *start, const real *M, int64_t ld, const int32_t *which,
                              const real *value, int64_t terms, const int lines, int64_t keep) {
    vec sum[4];
    for (int i = 0; i < lines; i++) sum[i] = start ? *(const vec *)(start + i * VEC) : (vec){0};
    for (int64_t e = 0; e < terms; e++) {
        const real *row = M + (int64_t)which[e] * ld;
        const real scale = value[e];
        for (int i = 0; i < lines; i++) sum[i] += scale * *(const vec *)(row + i * VEC);
    }
    for (int i = 0; i + 1 < lines; i++) *(vec *)(out + i * VEC) = sum[i];
    if (keep == lines * VEC)
        *(vec *)(out + (lines - 1) * VEC) = sum[lines - 1];
    else
        memcpy(out + (lines - 1) * VEC, &sum[lines - 1], (size_t)(keep - (lines - 1) * VEC) * sizeof(real));
}

/* The same for a row of any length. `lines` is a constant in each call, so that the sums stay in registers. */
ASV_INLINE void row_sum(real *out, const real *start, const real *M, int64_t ld, const int32_t *which,
                        const real *value, int64_t terms, int64_t length) {
    int64_t j = 0;
#define ASV_ROW_SUM(lines, keep)                                                                                       \
    row_sum_lines(out + j, start ? start + j : NULL, M + j, ld, which, value, terms, lines, keep)
    for (; length - j > 3 * VEC; j += 4 * VEC) ASV_ROW_SUM(4, length - j < 4 * VEC ? length - j : 4 * VEC);
    if (length - j > 2 * VEC)
        ASV_ROW_SUM(3, length - j);
    else if (length - j > VEC)
        ASV_ROW_SUM(2, length - j);
    else if (length - j > 0)
        ASV_ROW_SUM(1, length - j);
#undef ASV_ROW_SUM
}

/* Divides a thread's scratch into arrays, each on its own lines and with spare bytes behind it. A cursor that
 * starts at 0 only adds up the size. */
ASV_INLINE void *carve(char *base, size_t *used, size_t bytes) {
    void *piece = base ? base + *used : NULL;
    *used += (bytes + 2 * ASV_LINE - 1) / ASV_LINE * ASV_LINE;
    return piece;
}

#endif
