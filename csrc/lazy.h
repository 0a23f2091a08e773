/* Sparse input: updates of all coordinates at the cost of the batch's non-zero entries.
 *
 * Where a column of the input has no entry in the batch, row i of W_0 sees only the dense part of v, mu_i + alpha_i
 * x_i. k updates of this kind one after the other are
 *
 *     x_i <- r^k x_i - eta (1 + r + ... + r^(k-1)) mu_i,    r = 1 - eta alpha_i,
 *
 * and can wait until a batch has entries in the column again. done[i] counts the updates whose dense part row i has
 * had; after the last iteration all rows are brought up to date, so that each has had that of every update. A row is
 * changed under its lock.
 */
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

ASV_INLINE void scale_lines(real *x, const real *mu, real power, real sum, const int lines, int64_t length) {
    vec now[ASV_LINES];
    load_lines(now, mu, lines);
    for (int c = 0; c < lines; c++) now[c] = power * whole_line(x + c * VEC) - sum * now[c];
    store_lines(x, now, lines, length);
}

ASV_INLINE int shares_rows(const asv_inner *p) { return p->update == ASV_ATOMIC || p->update == ASV_STRIPED; }

ASV_INLINE void lock_row(const asv_inner *p, int64_t i) {
    if (!shares_rows(p)) return;
    for (int64_t looks = 0; !asv_try_lock(p->row_locks + i); looks++) asv_wait(looks, ASV_LOOKS_AT_LOCK);
}

ASV_INLINE void unlock_row(const asv_inner *p, int64_t i) {
    if (shares_rows(p)) asv_unlock(p->row_locks + i);
}

/* Brings row i of W_0 to where `now` updates have taken it. */
ASV_INLINE void settle_row(const asv_inner *p, int64_t i, int64_t now) {
    const asv_network *net = p->net;
    int64_t v = net->width[1], k = net->weight[0] + i * v;
    lock_row(p, i);
    if (p->done[i] < now) {
        real *x = (real *)p->x + k;
        const real *mu = p->mu ? (const real *)p->mu + k : NULL;
        double sum = p->eta * geometric_sum(p, i, now - p->done[i]), power = 1 - p->alpha[i] * sum;
#define ASV_SCALE(lines, length) scale_lines(x + at, mu ? mu + at : NULL, (real)power, (real)sum, lines, length)
        ASV_BY_LINES(v, ASV_SCALE)
#undef ASV_SCALE
        p->done[i] = (int32_t)now;
    }
    unlock_row(p, i);
}

ASV_PART void settle_batch(const asv_inner *p, const step_scratch *s, int64_t now) {
    for (int64_t c = 0; c < s->in.distinct; c++) settle_row(p, s->in.touched[c], now);
}

/* Eq. (4) on the rows of the batch's columns, their dense part included. */
ASV_PART void update_batch(const asv_inner *p, const step_scratch *s) {
    factors_t f = factors_of(p, s, 0);
    for (int64_t c = 0; c < s->in.distinct; c++) {
        int64_t i = s->in.touched[c];
        lock_row(p, i);
        int64_t k = p->net->weight[0] + i * f.width_out;
        subtract(p, &f, i, 0, (real *)p->x + k, k, l2_of(p, 0, i), f.width_out, 0);
        p->done[i]++;
        unlock_row(p, i);
    }
}

#endif
