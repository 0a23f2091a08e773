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
 */
#ifndef ASYSVRG_DEFLATE_H
#define ASYSVRG_DEFLATE_H

#include "update.h"

/* against = -U' v for every layer, from the factors of v. */
ASV_PART void deflate(const asv_inner *p, step_scratch *s) {
    const asv_network *net = p->net;
    for (int64_t l = 0; l < net->layers; l++) {
        if (!p->basis[l]) continue;
        factors_t f = factors_of(p, s, l);
        const real *U = p->basis[l], *fixed = p->fixed[l], *acts = l ? units_of(net, s->acts, 2 * p->b, l) : NULL;
        real *against = units_of(net, s->against, p->rank, l + 1);
        weighted_sums(net, l, &s->in, f.rows, acts, U, f.basis, p->rank, s->along, p->rank);
        for (int64_t k = 0; k < p->rank; k++)
            for (int64_t j = 0; j < f.width_out; j++) against[k * f.pitch + j] = -fixed[k * f.width_out + j];
        matmul(net, 1, 0, p->rank, f.width_out, f.rows, -1, s->along, p->rank, f.right, f.pitch, 1, against, f.pitch);
    }
}

#endif
