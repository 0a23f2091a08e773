/* Sparse input: updates of all coordinates at the cost of the batch's non-zero entries.
 *
 * Where a column of the input has no entry in the batch, row i of W_0 sees only the dense part of v, mu_i + alpha_i
 * x_i. k updates of this kind one after the other are
 *
 *     x_i <- r^k x_i - eta s mu_i = x_i - eta s (mu_i + alpha_i x_i)
 *
 * with r = 1 - eta alpha_i and s = 1 + r + ... + r^(k-1),
 * and can wait until a batch has entries in the column again. done[i] counts the updates whose dense part row i has
 * had; after the last iteration all rows are brought up to date, so that each has had that of every update. A row that
 * threads share is changed under its lock. */
#ifndef ASYSVRG_LAZY_H
#define ASYSVRG_LAZY_H

#include "update.h"

/* 1 + r + ... + r^(k-1) of row i. */
ASV_INLINE double geometric_sum(const asv_inner *p, int64_t i, int64_t k) {
    if (p->sums) return p->sums[k];
    double z = p->eta * p->alpha[i];
    if (z == 0) return (double)k;
    return (z < 0.5 ? -expm1((double)k * log1p(-z)) : 1 - pow(1 - z, (double)k)) / z;
}

ASV_INLINE void advance_lines(real *x, real sum, const real *mu, real decay, const real *row, real scale,
                              const int lines, int64_t length) {
    vec now[ASV_LINES];
    load_lines(now, mu, lines);
    for (int c = 0; c < lines; c++) {
        vec before = whole_line(x + c * VEC);
        now[c] = before - sum * (now[c] + decay * before);
    }
    if (row) add_row(now, scale, row, lines);
    store_lines(x, now, lines, length);
}

/* x <- x - sum (mu + decay x) + scale row; without a mu or a row, without them. To multiply x by 1 - sum decay would
 * round what may be next to 1. */
ASV_INLINE void advance_row(real *x, real sum, const real *mu, real decay, const real *row, real scale,
                            int64_t length) {
    if (length == 1) {
        *x += scale * (row ? *row : 0) - sum * ((mu ? *mu : 0) + decay * *x);
        return;
    }
#define ASV_ADVANCE(lines, length)                                                                                     \
    advance_lines(x + at, sum, mu ? mu + at : NULL, decay, row ? row + at : NULL, scale, lines, length)
    ASV_BY_LINES(length, ASV_ADVANCE)
#undef ASV_ADVANCE
}

ASV_INLINE void lock_row(const asv_inner *p, int64_t i) {
    if (shares_rows(p)) asv_lock(p->row_locks + i);
}

ASV_INLINE void unlock_row(const asv_inner *p, int64_t i) {
    if (shares_rows(p)) asv_unlock(p->row_locks + i);
}

ASV_INLINE const real *mu_from(const asv_inner *p, int64_t k) { return p->mu ? (const real *)p->mu + k : NULL; }

/* Brings row i of W_0 to where the dense parts of `now` updates have taken it. */
ASV_INLINE void settle_row(const asv_inner *p, int64_t i, int64_t now) {
    const int64_t v = p->net->width[1], k = p->net->weight[0] + i * v;
    if (asv_flag_read(p->done + i) >= now) return;
    lock_row(p, i);
    if (p->done[i] < now) {
        double sum = p->eta * geometric_sum(p, i, now - p->done[i]);
        advance_row((real *)p->x + k, (real)sum, mu_from(p, k), l2_of(p, 0, i), NULL, 0, v);
        asv_flag_raise(p->done + i, (int)now);
    }
    unlock_row(p, i);
}

/* Brings the rows that the batch multiplies to where they are read. */
ASV_PART void settle_batch(const asv_inner *inner, const step_scratch *s) {
    const asv_inner copy = *inner, *p = &copy; /* what no store to x can change */
    for (int64_t r = 0; r < s->in.rows; r++)
        for (int64_t c = 0; c < s->in.count[r]; c++) settle_row(p, s->in.column[r][c], s->seen);
}

/* Eq. (4) on these rows, their dense part included. Where threads share them, a column's entries are added up first:
 * who waits for a lock whose owner has no core waits long. */
ASV_PART void update_batch(const asv_inner *inner, const step_scratch *s) {
    const asv_inner copy = *inner, *p = &copy;
    const factors_t f = factors_of(p, s, 0);
    const int64_t v = f.width_out;
    const real eta = (real)p->eta;
    for (int64_t r = 0; r < s->in.rows; r++)
        for (int64_t c = 0; c < s->in.count[r]; c++) {
            int64_t i = s->in.column[r][c], k = p->net->weight[0] + i * v;
            const real *delta = f.right + r * f.pitch, scale = -eta * s->in.value[r][c];
            real *x = (real *)p->x + k;
            if (shares_rows(p)) {
                if (!s->in.head[i]) continue; /* the column is done */
                lock_row(p, i);
                subtract(p, &f, i, 0, x, k, l2_of(p, 0, i), v, 0);
                asv_flag_raise(p->done + i, p->done[i] + 1);
                unlock_row(p, i);
                s->in.head[i] = 0;
            } else if (p->done[i] > s->seen) {
                add_scaled(x, scale, delta, v);
            } else {
                advance_row(x, eta, mu_from(p, k), l2_of(p, 0, i), delta, scale, v);
                p->done[i]++;
            }
        }
}

#endif
