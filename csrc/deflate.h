/* Shorter steps along the leading directions of a layer's inputs.
 *
 * With a~ = (1, a) the inputs of layer l, M = E[a~ a~'] and its largest eigenvalues lambda_1 >= ... with eigenvectors
 * u_k, the curvature of f in the layer's parameters is about lambda_k along u_k, and the largest one bounds the
 * learning rate for all. In place of v an iteration subtracts P v from the rows of W~ = (b; W), which has the same
 * zeros:
 *
 *     P = I - U U',   column k of U = sqrt(1 - lambda_ref / lambda_k) u_k,
 *
 * so that along u_k a step is as long as lambda_ref allows. v keeps its form (layers.h): U' v is rank x width_out,
 * and its rows are further right factors, U their left one. Of the l2 term, U' sees alpha x~ in place of alpha x^,
 * which is the same where x settles.
 *
 * The first layer's U U' v costs `rank` products for each row of W_0. Its sum over the iterations is U times a matrix
 * of few rows, `shift`. Where updates of all coordinates come one after the other and alpha is the same for all rows,
 * it is kept as that until the last iteration: forward adds A~ U shift to its sums, and the l2 term makes all of
 * `shift` smaller. (Of two threads that do not wait for each other one would often see v without its shift, a step too
 * long along U.)
 */
#ifndef ASYSVRG_DEFLATE_H
#define ASYSVRG_DEFLATE_H

#include "update.h"

/* against = -U' v for every layer, from the factors of v: what samples first..last add to it; with the first sample,
 * what does not depend on them, too. */
ASV_PART void deflate(const asv_inner *p, step_scratch *s, int64_t first, int64_t last) {
    const asv_network *net = p->net;
    int64_t pitch = along_pitch(p);
    for (int64_t l = 0; l < net->layers; l++) {
        if (!p->basis[l]) continue;
        factors_t f = factors_of(p, s, l);
        const real *fixed = p->fixed[l], *U = p->basis[l], *acts = l ? f.left[0] : NULL;
        real *against = units_of(net, s->part_against, p->rank, l + 1), *along = l ? s->upper_along : s->along;
        for (int64_t k = 0; k < p->rank; k++)
            for (int64_t j = 0; j < f.width_out; j++)
                against[k * f.pitch + j] = s->part ? 0 : -fixed[k * f.width_out + j];
        stretch_t at = stretch_of(p, f.rows, first, last);
        for (int64_t row = at.first; row < f.rows; row += at.apart) {
            real *here = along + row * pitch;
            if (l) upper_sums(net, l, at.count, acts + row * pitch_of(net, l), U, U + p->rank, p->rank, here, pitch);
            matmul(net, 1, 0, p->rank, f.width_out, at.count, -1, here, pitch, f.right + row * f.pitch, f.pitch, 1,
                   against, f.pitch);
        }
    }
}

/* This thread's copy of `shift`. */
ASV_INLINE real *shift_of(const asv_inner *p, const step_scratch *s) {
    return p->shift ? (real *)p->shift + s->member * p->rank * pitch_of(p->net, 1) : NULL;
}

/* Eq. (4) on `shift`. The bias, whose l2 term is zero, gets back what it lost of it. */
ASV_INLINE void update_shift(const asv_inner *p, step_scratch *s) {
    const asv_network *net = p->net;
    real *shift = shift_of(p, s), *bias = (real *)p->x + net->bias[0];
    const real *U = p->basis[0], *against = units_of(net, s->against, p->rank, 1);
    const real eta = (real)p->eta, decay = eta * l2_of(p, 0, 0);
    int64_t pitch = pitch_of(net, 1);
    for (int64_t k = 0; k < p->rank; k++) {
        real *row = shift + k * pitch;
        for (int64_t j = 0; j < net->width[1] && s->member == 0; j++) bias[j] += decay * U[k] * row[j];
        for (int64_t j = 0; j < pitch; j++) row[j] -= decay * row[j] + eta * against[k * pitch + j];
    }
}

/* U shift, of W~_0's rows. */
ASV_INLINE factors_t shift_factors(const asv_inner *p) {
    const asv_network *net = p->net;
    factors_t f = {.width_out = net->width[1], .pitch = pitch_of(net, 1)};
    if (p->shift) {
        f.rank = p->rank;
        f.basis = (const real *)p->basis[0] + p->rank;
        f.against = p->shift;
    }
    return f;
}

/* Row i of W_0 or its bias += that of U shift. */
ASV_INLINE void settle_shift(const asv_inner *p, int64_t i) {
    factors_t f = shift_factors(p);
    add_terms_to((real *)p->x + (i == BIAS ? p->net->bias[0] : p->net->weight[0] + i * f.width_out), &f, i);
}

#endif
