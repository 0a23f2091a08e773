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
typedef uint64_t bits_t; /* of as many bits */
#define ASV_NAME(name) name##_f64
#define ASV_EXP exp
#define ASV_TANH_FUNCTION tanh
#else
typedef float real;
typedef uint32_t bits_t;
#define ASV_NAME(name) name##_f32
#define ASV_EXP expf
#define ASV_TANH_FUNCTION tanhf
#endif

ASV_DEFINE_ATOMIC_SUBTRACT(atomic_subtract, real)
ASV_DEFINE_ATOMIC_STEP(atomic_step, real)
ASV_DEFINE_RELAXED_LOAD(load_relaxed, real)
ASV_DEFINE_RELAXED_STORE(store_relaxed, real)

/* A cache line of reals; the compiler splits it where registers are narrower. */
typedef real vec __attribute__((vector_size(64), aligned(__alignof__(real)), may_alias));
enum { VEC = ASV_LINE / (int)sizeof(real) };

typedef bits_t bits_vec __attribute__((vector_size(64), aligned(__alignof__(real)), may_alias));

/* a where `mask` has ones, else b. */
ASV_INLINE vec chosen_by(bits_vec mask, vec a, vec b) { return (vec)((mask & (bits_vec)a) | (~mask & (bits_vec)b)); }

/* e^x, x <= 0: 2^n e^r with x = n log 2 + r, and Taylor's series for e^r. NaN for NaN; where e^x is next to nothing,
 * what it is at `lowest`. */
ASV_INLINE vec exp_of(vec x) {
    enum { TERMS = ASV_DOUBLE ? 13 : 7, MANTISSA = ASV_DOUBLE ? 52 : 23 };
    const real lowest = ASV_DOUBLE ? -708 : -87, to_whole = ASV_DOUBLE ? 0x1.8p52 : 0x1.8p23; /* adding it rounds */
    const real log_2 = ASV_DOUBLE ? (real)0x1.62e42feep-1 : (real)0x1.62e4p-1; /* n times it is exact */
    const real rest = ASV_DOUBLE ? (real)0x1.a39ef35793c76p-33 : (real)0x1.7f7d1cf79abcap-20;
    const vec one = (vec){0} + 1;
    x = chosen_by((bits_vec)(x < lowest), (vec){0} + lowest, x);
    vec rounded = x * (real)1.4426950408889634 + to_whole, n = rounded - to_whole, power = one;
    vec r = x - n * log_2 - n * rest;
    for (int k = TERMS; k > 0; k--) power = power * r * (1 / (real)k) + 1;
    return power * (vec)(((bits_vec)rounded << MANTISSA) + (bits_vec)one); /* n is in the last bits of `rounded` */
}

typedef void gemm_t(char *, char *, int *, int *, int *, real *, real *, int *, real *, int *, real *, real *, int *);

/* C (m x n) = scale op(A) op(B) + beta C, all row-major, op(A) m x k; transposed where the flag says so. */
ASV_INLINE void matmul(const asv_network *net, int transpose_a, int transpose_b, int64_t m, int64_t n, int64_t k,
                       real scale, const real *A, int64_t lda, const real *B, int64_t ldb, real beta, real *C,
                       int64_t ldc) {
    int im = (int)m, in = (int)n, ik = (int)k, ia = (int)lda, ib = (int)ldb, ic = (int)ldc;
    /* Fortran is column-major and so computes C' = op(B)' op(A)'. */
    ((gemm_t *)net->gemm)(transpose_b ? "T" : "N", transpose_a ? "T" : "N", &in, &im, &ik, &scale, (real *)B, &ib,
                          (real *)A, &ia, &beta, C, &ic);
}

/* Writes the first `keep` of a line of reals and touches nothing behind them. */
ASV_INLINE void store_line(real *out, vec line, int64_t keep) {
    if (keep >= VEC) {
        *(vec *)out = line;
        return;
    }
    /* One masked store where the processor has it, if GCC does not unroll the loop before it sees that. */
#pragma GCC unroll 1
    for (int j = 0; j < VEC; j++)
        if (j < (int)keep) out[j] = line[j];
}

/* A row is cut into pieces of at most ASV_LINES lines of reals. In each call their number is a constant, so that sums
 * stay in registers. The last line may reach past the end of the row (never past an array's ASV_LINE spare bytes): it
 * is read as a whole, and only the reals in front of the end are written. */
enum { ASV_LINES = 8 };

#define ASV_BY_LINES(length, call)                                                                                     \
    for (int64_t at = 0, left; (left = (length) - at) > 0; at += ASV_LINES * VEC) {                                    \
        int64_t lines = (left + VEC - 1) / VEC;                                                                        \
        if (lines == 1)                                                                                                \
            call(1, left);                                                                                             \
        else if (lines == 2)                                                                                           \
            call(2, left);                                                                                             \
        else if (lines == 3)                                                                                           \
            call(3, left);                                                                                             \
        else if (lines == 4)                                                                                           \
            call(4, left);                                                                                             \
        else if (lines == 5)                                                                                           \
            call(5, left);                                                                                             \
        else if (lines == 6)                                                                                           \
            call(6, left);                                                                                             \
        else if (lines == 7)                                                                                           \
            call(7, left);                                                                                             \
        else                                                                                                           \
            call(ASV_LINES, left);                                                                                     \
    }

/* A line of x. Where a row ends within it, what is read behind the end may be about to change, and is not used. */
ASV_INLINE vec whole_line(const real *x) { return *(const vec *)x; }

ASV_INLINE void load_lines(vec *sum, const real *from, const int lines) {
    for (int i = 0; i < lines; i++) sum[i] = from ? *(const vec *)(from + i * VEC) : (vec){0};
}

/* Writes the first `length` reals of the lines. */
ASV_INLINE void store_lines(real *out, const vec *sum, const int lines, int64_t length) {
    for (int i = 0; i + 1 < lines; i++) *(vec *)(out + i * VEC) = sum[i];
    store_line(out + (lines - 1) * VEC, sum[lines - 1], length - (lines - 1) * VEC);
}

/* sum += scale * row */
ASV_INLINE void add_row(vec *sum, real scale, const real *row, const int lines) {
    for (int i = 0; i < lines; i++) sum[i] += scale * *(const vec *)(row + i * VEC);
}

ASV_INLINE void add_scaled_lines(real *out, real scale, const real *row, const int lines, int64_t length) {
    vec sum[ASV_LINES];
    for (int i = 0; i < lines; i++) sum[i] = whole_line(out + i * VEC);
    add_row(sum, scale, row, lines);
    store_lines(out, sum, lines, length);
}

/* out[j] += scale * row[j] for j < length. */
ASV_INLINE void add_scaled(real *out, real scale, const real *row, int64_t length) {
    if (length == 1) { /* a line would be fetched for nothing */
        *out += scale * *row;
        return;
    }
#define ASV_ADD_SCALED(lines, length) add_scaled_lines(out + at, scale, row + at, lines, length)
    ASV_BY_LINES(length, ASV_ADD_SCALED)
#undef ASV_ADD_SCALED
}

ASV_INLINE void row_sum_lines(real *out, const real *start, const real *M, int64_t ld, const int32_t *which,
                              const real *value, int64_t terms, const int lines, int64_t length) {
    enum { WAYS = 4 }; /* sums side by side where a row has too few lines to keep the adders busy */
    const int ways = lines > 2 ? 1 : WAYS;
    vec sum[WAYS][ASV_LINES];
    load_lines(sum[0], start, lines);
    for (int way = 1; way < ways; way++) load_lines(sum[way], NULL, lines);
    int64_t e = 0;
    for (; e + ways <= terms; e += ways)
        for (int way = 0; way < ways; way++) add_row(sum[way], value[e + way], M + (int64_t)which[e + way] * ld, lines);
    for (; e < terms; e++) add_row(sum[0], value[e], M + (int64_t)which[e] * ld, lines);
    for (int way = 1; way < ways; way++)
        for (int i = 0; i < lines; i++) sum[0][i] += sum[way][i];
    store_lines(out, sum[0], lines, length);
}

/* out[j] = start[j] (NULL: 0) + sum_e value[e] M[which[e] ld + j] for j < length: weighted rows of M. */
ASV_INLINE void row_sum(real *out, const real *start, const real *M, int64_t ld, const int32_t *which,
                        const real *value, int64_t terms, int64_t length){
#define ASV_ROW_SUM(lines, length)                                                                                     \
    row_sum_lines(out + at, start ? start + at : NULL, M + at, ld, which, value, terms, lines, length)
    ASV_BY_LINES(length, ASV_ROW_SUM)
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
