/* The direction of one inner iteration as a dense vector: what a worker of Algorithm 3 sends, Eq. (16). */
#ifndef ASYSVRG_DIRECTION_H
#define ASYSVRG_DIRECTION_H

#include "step.h"

/* Completes the cache where iteration t's mini-batch needs it: of its samples first..last, a pass at x~ for those that
 * it lacks and that no other thread has taken. Returns their number. */
ASV_CLONES int64_t ASV_NAME(asv_complete)(const asv_inner *p, int64_t t, int64_t first, int64_t last, void *scratch) {
    const asv_network *net = p->net;
    const parameters_t x_snap = parameters_in(net, p->x_snap);
    const asv_inner single = alone(p);
    step_scratch s = {0};
    carve_step(&s, scratch, &single);
    draw_batch(p, t, s.index);
    int64_t rows = 0, capacity = 2 * p->b, pitch = pitch_of(net, net->layers), stride = asv_cache_stride(net);
    for (int64_t r = first; r < last; r++)
        if (asv_try_lock(p->known + s.index[r])) s.index[rows++] = s.index[r];
    if (rows == 0) return 0;
    take_rows(&s.in, p->data, s.index, 0, rows);
    first_layer(net, &x_snap, &s.in, units_of(net, s.acts, capacity, 1), NULL, 0);
    upper_layers(net, &x_snap, rows, s.acts, capacity, 0);
    real *z = units_of(net, s.acts, capacity, net->layers), *delta = units_of(net, s.deltas, capacity, net->layers);
    take_outputs(net, p->data, 0, z, rows, NULL);
    for (int64_t r = 0; r < rows; r++) output_delta(net, p->data, s.index[r], z + r * pitch, delta + r * pitch, 1);
    backward(net, &x_snap, rows, s.acts, s.deltas, capacity, 0);
    for (int64_t r = 0; r < rows; r++)
        keep_row(net, s.acts, s.deltas, capacity, r, (real *)p->cache + s.index[r] * stride);
    return rows;
}

/* v = (last - first) / b times the direction of samples first..last of iteration t's mini-batch, at an x^ that nobody
 * writes to: parts of a mini-batch, computed by several threads, add up to its direction. The l2 term is in the part
 * that begins at 0. The scratch is that of asv_work. */
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
