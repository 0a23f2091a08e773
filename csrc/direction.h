/* The direction of one inner iteration as a dense vector: what a worker of Algorithm 3 sends, Eq. (16). */
#ifndef ASYSVRG_DIRECTION_H
#define ASYSVRG_DIRECTION_H

#include "step.h"

/* v = (last - first) / b times the direction of samples first..last of iteration t's mini-batch, at an x^ that nobody
 * writes to: parts of a mini-batch, computed by several threads, add up to its direction. The l2 term is in the part
 * that begins at 0. The scratch is that of asv_step. */
ASV_CLONES void ASV_NAME(asv_direction)(const asv_inner *p, int64_t t, int64_t first, int64_t last, void *v,
                                        void *scratch) {
    const asv_network *net = p->net;
    asv_inner part = alone(p);
    step_scratch s = {0};
    carve_step(&s, scratch, &part);
    draw_batch(p, t, s.index);
    part.b = last - first;
    take_batch(&part, &s, first);
    compute_direction(&part, &s);
    memset(v, 0, (size_t)net->d * sizeof(real)); /* then v -= eta (g + mu + alpha v), eta < 0, leaves g + mu in it */
    part.x = v;
    part.eta = -(double)part.b / (double)p->b;
    if (s.in.marks) mark_columns(&s.in, s.share);
    update_plain(&part, &s, 0, net->d);
    forget_columns(&s.in);
    for (int64_t l = 0; l < net->layers && first == 0; l++)
        for (int64_t i = 0; i < net->width[l]; i++) {
            const real decay = l2_of(p, l, i);
            int64_t k = net->weight[l] + i * net->width[l + 1], end = k + net->width[l + 1];
            for (; decay != 0 && k < end; k++) ((real *)v)[k] += decay * ((const real *)p->x)[k];
        }
}

#endif
