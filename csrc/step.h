/* One inner iteration of Algorithm 1: draw a mini-batch, compute v, subtract eta v on a subset of coordinates.
 *
 *     v = 1/b sum_{i in I} (grad f_i(x^) - grad f_i(x~)) + grad f(x~)          Eq. (5)
 *
 * With f_i = l_i + alpha/2 |weights|^2 the l2 terms of x~ cancel, so that the kernels carry only the loss's part,
 * mu = grad l(x~), and
 *
 *     v = 1/b sum_{i in I} (grad l_i(x^) - grad l_i(x~)) + mu + alpha x^ (weights only).
 *
 * The sum is kept as factors (layers.h). The input of the first layer is the same at x^ and x~, so there only the
 * deltas are subtracted; above it, the rows of x~ are appended with a minus sign.
 */
#ifndef ASYSVRG_STEP_H
#define ASYSVRG_STEP_H

#include "control.h"
#include "deflate.h"
#include "lazy.h"
#include "outputs.h"
#include "replica.h"

/* As if one thread updated all coordinates of a vector of its own, which is how a direction is formed (direction.h). */
ASV_INLINE asv_inner alone(const asv_inner *p) {
    asv_inner result = *p;
    result.threads = 1; /* x^ is read in place */
    result.divided = 0;
    result.subset = 0;
    result.shift = result.wide = NULL;
    result.done = NULL;
    result.update = ASV_SERIAL;
    return result;
}

size_t ASV_NAME(asv_step_scratch)(const asv_inner *p) {
    step_scratch s = {0};
    const asv_inner single = alone(p);
    size_t together = carve_step(&s, NULL, p), apart = carve_step(&s, NULL, &single);
    return together > apart ? together : apart;
}

/* What the gradient of sample i counts in the mini-batch's, before any lot. */
ASV_INLINE real share_of(const asv_inner *p, int64_t i) {
    return (p->ratio ? ((const real *)p->ratio)[i] : 1) / (real)p->b;
}

/* |d l_i / d outputs| from a row of output deltas. */
ASV_INLINE real length_of(const asv_network *net, const real *delta) {
    double squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t c = 0; c < net->width[net->layers]; c++) squares += (double)delta[c] * (double)delta[c];
    return (real)sqrt(squares);
}

/* Whether samples are left out by lot: where the work on the first layer is one on entries, and their number counts. */
ASV_INLINE int by_lot(const asv_inner *p, const step_scratch *s) {
    return p->enough > 0 && s->in.marks && (p->direction == ASV_SGD || p->cache);
}

/* What sample i, the r-th of the mini-batch, counts after its lot, drawn by `key`: with a probability that is its
 * contribution by what is enough, 1 / probability times its share; else nothing. `length` is that of the derivative by
 * the outputs; under ASV_SVRG the gradient at x~ counts as much, and may be the longer one. */
ASV_INLINE real after_lot(const asv_inner *p, uint64_t key, int64_t r, int64_t i, real share, real length) {
    const asv_network *net = p->net;
    if (p->direction == ASV_SVRG) {
        int64_t stride = asv_cache_stride(net);
        const real *line = (const real *)p->cache + i * stride;
        real before = length_of(net, line + stride - net->width[net->layers]);
        length = before > length ? before : length;
    }
    real probability = share * (real)p->b * length / (real)p->enough;
    if (!(probability < 1)) return share;
    return asv_draw_unit(key, (uint64_t)r) < (double)probability ? share / probability : 0;
}

/* What the first look at sample i, the r-th, tells: its length, to be kept; and its share, after the lot. */
ASV_INLINE void settle_share(const asv_inner *p, step_scratch *s, int64_t r, int64_t i, real *delta) {
    const asv_network *net = p->net;
    real share = share_of(p, i);
    s->share[r] = share;
    if (!p->lengths) return;
    real length = length_of(net, delta) / share;
    if (isfinite(length) && (p->divided || s->member == 0)) store_relaxed((real *)p->lengths + i, length);
    if (!by_lot(p, s)) return;
    s->share[r] = after_lot(p, s->lots, r, i, share, length);
    for (int64_t c = 0; c < net->width[net->layers]; c++) delta[c] *= s->share[r] / share;
}

/* From the first layer's sums to the deltas, at `x`, of the mini-batch's samples first..last, which stand in rows row +
 * first..row + last; deltas carry weight_i, the sample's share, and `sign`. The first time, with sign 1, the shares are
 * settled. */
ASV_INLINE void batch_gradient(const asv_inner *p, const parameters_t *x, step_scratch *s, int64_t first, int64_t last,
                               int64_t row, real sign) {
    const asv_network *net = p->net;
    int64_t capacity = 2 * p->b, pitch = pitch_of(net, net->layers), sums = pitch_of(net, 1);
    row += first;
    if (x->shift)
        matmul(net, 0, 0, last - first, net->width[1], x->rank, 1, s->along + first * along_pitch(p), along_pitch(p),
               x->shift, sums, 1, units_of(net, s->acts, capacity, 1) + row * sums, sums);
    upper_layers(net, x, last - first, s->acts, capacity, row);
    real *z = units_of(net, s->acts, capacity, net->layers);
    take_outputs(net, p->data, 0, z + row * pitch, last - first, NULL);
    for (int64_t r = first; r < last; r++, row++) {
        int64_t i = s->index[r];
        real *delta = units_of(net, s->deltas, capacity, net->layers) + row * pitch;
        output_delta(net, p->data, i, z + row * pitch, delta, sign > 0 ? share_of(p, i) : -s->share[r]);
        if (sign > 0) settle_share(p, s, r, i, delta);
    }
    backward(net, x, last - first, s->acts, s->deltas, capacity, row - (last - first));
}

/* The same at x~ from the cache: copies instead of a pass through the network. */
ASV_PART void cached_gradient(const asv_inner *p, step_scratch *s, int64_t first, int64_t last) {
    const asv_network *net = p->net;
    int64_t capacity = 2 * p->b, stride = asv_cache_stride(net);
    for (int64_t r = first; r < last; r++) {
        const real *line = (const real *)p->cache + s->index[r] * stride, scale = -s->share[r];
        for (int64_t l = 1; l < net->layers; l++) {
            int64_t v = net->width[l];
            memcpy(units_of(net, s->acts, capacity, l) + (p->b + r) * pitch_of(net, l), line, (size_t)v * sizeof(real));
            line += v;
        }
        for (int64_t l = 1; l <= net->layers; l++) {
            int64_t v = net->width[l];
            real *delta = units_of(net, s->deltas, capacity, l) + (p->b + r) * pitch_of(net, l);
            for (int64_t j = 0; j < v; j++) delta[j] = scale * line[j];
            line += v;
        }
    }
}

/* - 1/b sum_{i in I} grad l_i(x~), samples first..last of it. */
ASV_INLINE void subtract_at_snapshot(const asv_inner *p, step_scratch *s, int64_t first, int64_t last) {
    if (p->cache) {
        cached_gradient(p, s, first, last);
    } else {
        const parameters_t x_snap = parameters_in(p->net, p->x_snap);
        batch_gradient(p, &x_snap, s, first, last, p->b, -1);
    }
    real *delta = units_of(p->net, s->deltas, 2 * p->b, 1);
    int64_t pitch = pitch_of(p->net, 1), count = p->b * pitch;
    for (int64_t j = first * pitch; j < last * pitch; j++) delta[j] += delta[count + j];
}

/* What samples first..last add to the products of the factors of W_1 .. W_{L-1}. */
ASV_INLINE void form_products(const asv_inner *p, step_scratch *s, int64_t first, int64_t last) {
    const asv_network *net = p->net;
    for (int64_t l = 1; l < net->layers; l++) {
        factors_t f = factors_of(p, s, l);
        int64_t w = net->width[l], pitch = pitch_of(net, l);
        stretch_t at = stretch_of(p, f.rows, first, last);
        for (int64_t row = at.first; row < f.rows; row += at.apart)
            matmul(net, 1, 0, w, f.width_out, at.count, 1, f.left[0] + row * pitch, pitch, f.right + row * f.pitch,
                   f.pitch, row > at.first, (real *)f.product, f.width_out);
    }
}

/* The shortening's terms on this thread's rows of these; the product of W_0's factors on tiles is begun. */
ASV_INLINE void shorten_products(const asv_inner *p, step_scratch *s) {
    const asv_network *net = p->net;
    if (s->in.tiles) {
        factors_t f = factors_of(p, s, 0);
        tile_right(&s->in, f.right, f.pitch, f.width_out, f.rank, p->turned, net->width[0], f.against);
    }
    for (int64_t l = 1; l < net->layers; l++) {
        factors_t f = factors_of(p, s, l);
        int64_t first = from_part(s, net->width[l]), w = to_part(s, net->width[l]) - first, v = f.width_out;
        if (f.rank && w)
            matmul(net, 0, 0, w, v, f.rank, 1, f.basis + first * f.rank, f.rank, f.against, f.pitch, 1,
                   (real *)f.product + first * v, v);
    }
}

/* Where x^ is read. */
ASV_INLINE parameters_t parameters_of(const asv_inner *p, step_scratch *s) {
    const asv_network *net = p->net;
    parameters_t x_hat = parameters_in(net, s->copied && copied_from(p) == 0 ? s->copied : p->x);
    if (p->wide) {
        x_hat.W = p->wide;
        x_hat.apart = pitch_of(net, 1);
    }
    if (p->rank && p->basis[0]) {
        x_hat.rank = p->rank;
        x_hat.basis = p->basis[0];
        x_hat.beside = p->wide && p->beside;
        x_hat.shift = shift_of(p, s);
    }
    if (s->copied) {
        x_hat.offset = copied_from(p);
        x_hat.rest = s->copied;
    }
    return x_hat;
}

/* The first layer's sums at x^, and where they are not in the cache at x~, over this thread's columns. */
ASV_INLINE void first_sums(const asv_inner *p, const parameters_t *x_hat, step_scratch *s, real *sums, real *along) {
    const asv_network *net = p->net;
    first_layer(net, x_hat, &s->in, sums, along, along_pitch(p));
    if (p->direction == ASV_SVRG && !p->cache) {
        const parameters_t x_snap = parameters_in(net, p->x_snap);
        first_layer(net, &x_snap, &s->in, sums + p->b * pitch_of(net, 1), NULL, 0);
    }
}

/* From there to the direction's factors, and where all coordinates are updated their products in upper layers: what the
 * mini-batch's samples first..last add to them. */
ASV_INLINE void sample_factors(const asv_inner *p, const parameters_t *x_hat, step_scratch *s, int64_t first,
                               int64_t last) {
    batch_gradient(p, x_hat, s, first, last, 0, 1);
    if (p->direction == ASV_SVRG) subtract_at_snapshot(p, s, first, last);
    if (p->rank) deflate(p, s, first, last);
    if (s->product) form_products(p, s, first, last);
}

/* The direction's data part as factors. x^ is read here, between the two looks at the counters. */
ASV_INLINE void compute_direction(const asv_inner *p, step_scratch *s) {
    const asv_network *net = p->net;
    parameters_t x_hat = parameters_of(p, s);
    if (s->copied) {
        const real *shared = (const real *)p->x + x_hat.offset;
        for (int64_t k = 0; k < net->d - x_hat.offset; k += VEC) *(vec *)(s->copied + k) = whole_line(shared + k);
    }
    first_sums(p, &x_hat, s, units_of(net, s->acts, 2 * p->b, 1), s->along);
    sample_factors(p, &x_hat, s, 0, p->b);
    if (s->product) shorten_products(p, s);
}

/* Lists where the rows of every layer's left factor start. */
ASV_INLINE void list_rows(const asv_inner *p, step_scratch *s) {
    const asv_network *net = p->net;
    int64_t capacity = 2 * p->b;
    for (int64_t l = 1; l < net->layers; l++)
        for (int64_t r = 0; r < capacity; r++)
            s->left[l * capacity + r] = units_of(net, s->acts, capacity, l) + r * pitch_of(net, l);
}

/* Of the mini-batch of iteration t samples first..last. */
ASV_INLINE void draw_samples(const asv_inner *p, int64_t t, int64_t first, int64_t last, int64_t *index) {
    asv_draw_batch(p->seed, p->epoch, (uint64_t)t, p->data->n, p->b, first, last, p->replacement, index);
    for (int64_t r = first; r < last && p->list; r++) index[r] = p->list[index[r]];
}

ASV_INLINE void draw_batch(const asv_inner *p, int64_t t, int64_t *index) { draw_samples(p, t, 0, p->b, index); }

ASV_INLINE uint64_t lots_of(const asv_inner *p, int64_t t) {
    return asv_key(p->seed, p->epoch, (uint64_t)t, ASV_DRAW_LOT);
}

/* Asks for the samples of `next`, but for those that the update, on tiles, asks for. */
ASV_INLINE void prefetch_next(const asv_inner *p, step_scratch *s) {
    s->fetched = 0;
    if (!s->in.tiles || p->subset) prefetch_samples(p, s, p->b);
}

/* The mini-batch in `index`, its samples first..first + p->b: where they stand in the data. */
ASV_INLINE void take_batch(const asv_inner *p, step_scratch *s, int64_t first) {
    s->index += first;
    take_rows(&s->in, p->data, s->index, 0, p->b);
    if (s->in.head) chain_columns(&s->in);
    list_rows(p, s);
}

/* The mini-batch of iteration t, which was drawn before. */
ASV_INLINE void take_next(const asv_inner *p, step_scratch *s, int64_t t) {
    memcpy(s->index, s->next, (size_t)p->b * sizeof(int64_t));
    s->lots = lots_of(p, t);
    take_batch(p, s, 0);
}

/* Eq. (4) on the coordinates of iteration t. */
ASV_INLINE void update(const asv_inner *p, step_scratch *s, int64_t t) {
    if (s->in.marks) mark_columns(&s->in, s->share);
    const int64_t lowest = p->done ? 1 : 0, start = lowest ? p->net->bias[0] : 0;
    if (p->done) update_batch(p, s);
    if (p->subset)
        update_subset(p, s, t);
    else if (p->update == ASV_STRIPED)
        update_striped(p, s, t, start);
    else if (p->update == ASV_ATOMIC)
        update_atomic(p, s, start, p->net->d);
    else
        update_own(p, s, lowest);
    if (p->shift) update_shift(p, s);
}

/* The next of `steps` iterations that nobody has; its mini-batch is drawn. */
ASV_INLINE int64_t take_iteration(const asv_inner *p, step_scratch *s, int64_t steps) {
    int64_t t = asv_claim(p->counters + 2 * ASV_COUNTER_STRIDE, 0, -1);
    if (t < steps) draw_batch(p, t, s->next);
    return t;
}

/* Computes the direction, and claims the update. Returns its delay: the number of updates that were claimed before it
 * and not complete when it read x, |J(t)| of Eq. (6), never counted too low. Where that would exceed max_delay, x^ is
 * read again, with the same draws, so that max_delay holds for every update carried out. -1: stopped. */
ASV_INLINE int64_t claim_update(const asv_inner *p, const asv_inner *mine, step_scratch *s, int thread) {
    const int replicated = p->update == ASV_REPLICATED;
    int64_t *claimed = p->counters, *completed = p->counters + ASV_COUNTER_STRIDE;
    do {
        const int64_t read_at = s->seen = replicated ? seen_in(mine) : asv_count_read(completed);
        if (p->done) settle_batch(p, s);
        compute_direction(mine, s);
        const int64_t turn = asv_claim(claimed, read_at, p->max_delay);
        if (turn >= 0) return turn - read_at;
        if (replicated) exchange_all(p, mine);
        sched_yield();
    } while (!asv_stopped(p->control, thread));
    return -1;
}

/* Algorithm 1's loop, by a thread that does not wait for others: iterations are handed out one by one. */
ASV_CLONES void ASV_NAME(asv_work)(const asv_inner *p, int64_t steps, void *scratch, int thread) {
    const int replicated = p->update == ASV_REPLICATED;
    const asv_inner mine = replicated ? in_replica(p, thread) : *p;
    step_scratch s = {0};
    carve_step(&s, scratch, &mine);
    if (replicated) replicate(p, &mine);
    for (int64_t t = take_iteration(p, &s, steps), next; t < steps && !asv_stopped(p->control, thread); t = next) {
        take_next(p, &s, t);
        const int64_t delay = claim_update(p, &mine, &s, thread);
        next = delay < 0 ? steps : take_iteration(p, &s, steps);
        if (next < steps) prefetch_next(p, &s);
        if (delay >= 0) {
            update(&mine, &s, t);
            p->delays[t] = (int32_t)delay;
            if (replicated)
                take_turn(p, &mine, thread);
            else
                asv_count_up(p->counters + ASV_COUNTER_STRIDE, 1);
        }
        forget_columns(&s.in);
    }
    if (replicated) exchange_all(p, &mine);
}

/* After `done` iterations: rows first..last of W_0, with row 0 the bias, get what waited. Replicas' has been exchanged.
 */
ASV_CLONES void ASV_NAME(asv_settle)(const asv_inner *p, int64_t done, int64_t first, int64_t last) {
    if (p->update == ASV_REPLICATED) return;
    for (int64_t i = first; i < last; i++) {
        if (p->done) settle_row(p, i, done);
        if (p->shift) settle_shift(p, i);
    }
    if (p->shift && first == 0 && last) settle_shift(p, BIAS);
}

void ASV_NAME(asv_atomic_subtract)(void *x, int64_t k, double delta) { atomic_subtract((real *)x + k, (real)delta); }

#endif
