/* Iterations that a team of threads carries out together: each thread owns some rows of every W_l, and nobody else
 * writes there (ASV_OWNED).
 *
 * A step of all coordinates by threads that do not wait for each other moves every line of x to another core at every
 * iteration. Here x stays where it is, and what moves is the mini-batch's sums and deltas, b x units numbers:
 *
 *     1. each thread multiplies its columns of the input with its rows of W_0;
 *     2. the mini-batch's samples are divided: a thread adds up all threads' parts of its samples' sums, takes them
 *        through the upper layers and back, and forms their part of these layers' gradients;
 *     3. each thread adds up those parts on its rows, and subtracts eta v there.
 *
 * The threads meet between the parts. Where there is little to divide in 2, each thread takes all samples instead and
 * updates a copy of the upper layers, which is the same in all threads: what moves is the sums alone, and the threads
 * meet once. They compute the serial iteration, but for the order in which the parts are added up: no update is ever
 * late, and for a number of threads results are bit-repeatable. */
#ifndef ASYSVRG_TEAM_H
#define ASYSVRG_TEAM_H

#include "step.h"

/* Another thread's array that is at `mine` here. */
ASV_INLINE const real *of_part(const real *mine, int64_t apart, size_t stride) {
    return (const real *)((const char *)mine + apart * (int64_t)stride);
}

/* Rows first..last of the sum of all threads' parts. */
ASV_INLINE void gather(const step_scratch *s, const real *part, size_t stride, int64_t first, int64_t last,
                       int64_t pitch, real *out) {
    for (int64_t k = 0; k < s->members; k++) {
        const real *from = of_part(part, k - s->member, stride);
        for (int64_t j = first * pitch; j < last * pitch; j++) out[j] = k ? out[j] + from[j] : from[j];
    }
}

/* The parts' sums of this thread's samples, at x^, and where they are not in the cache at x~. */
ASV_PART void gather_sums(const asv_inner *p, step_scratch *s, const real *sums, const real *along, size_t stride,
                          int64_t first, int64_t last) {
    int64_t pitch = pitch_of(p->net, 1), b = p->b;
    real *out = units_of(p->net, s->acts, 2 * b, 1);
    gather(s, sums, stride, first, last, pitch, out);
    if (p->direction == ASV_SVRG && !p->cache) gather(s, sums, stride, b + first, b + last, pitch, out);
    if (p->rank && p->basis[0]) gather(s, along, stride, first, last, along_pitch(p), s->along);
}

/* The parts' sums of what all samples add to: U' v, and the upper layers' products in this thread's rows. */
ASV_PART void gather_products(const asv_inner *p, step_scratch *s, size_t stride) {
    const asv_network *net = p->net;
    if (p->rank) gather(s, s->part_against, stride, 0, p->rank, net->unit[net->layers + 1], s->against);
    for (int64_t l = 1; l < net->layers; l++) {
        int64_t v = net->width[l + 1], first = from_part(s, net->width[l]) * v, last = to_part(s, net->width[l]) * v;
        real *product = s->product + (net->weight[l] - rest_from(net));
        for (int64_t k = 0; k < s->members; k++) {
            const real *from = of_part(product, k - s->member, stride);
            for (int64_t j = first; j < last && k != s->member; j++) product[j] += from[j];
        }
    }
}

/* This thread's scratch, with the columns that it owns. Where samples are divided, what all write to is the first
 * thread's; else the upper layers are this thread's copy. */
ASV_INLINE void carve_part(step_scratch *s, const asv_inner *p, char *scratch, size_t stride, int64_t member,
                           int64_t members) {
    step_scratch first = {0};
    carve_step(&first, scratch, p);
    carve_step(s, scratch + (size_t)member * stride, p);
    s->member = member;
    s->members = members;
    if (p->divided) {
        s->part = member;
        s->parts = members;
        s->acts = first.acts;
        s->deltas = first.deltas;
        s->along = first.along;
        s->share = first.share;
        s->next = first.next;
    }
    int64_t n = p->data->n, from = p->threads * member / members, to = p->threads * (member + 1) / members;
    s->in.begin = p->cuts[from];
    s->in.end = p->cuts[to];
    s->in.bias = member == 0;
    if (p->split && from > 0) s->in.low = p->split + (from - 1) * n;
    if (p->split && to < p->threads) s->in.high = p->split + (to - 1) * n;
}

/* m iterations by thread `member` of `members`, of whom there may be fewer than were asked for. All of them call this;
 * each has its scratch, `stride` bytes behind that of the one before. */
ASV_CLONES void ASV_NAME(asv_team)(const asv_inner *p, int64_t steps, char *scratch, size_t stride, int64_t member,
                                   int64_t members) {
    step_scratch s = {0};
    carve_part(&s, p, scratch, stride, member, members);
    const parameters_t x_hat = parameters_of(p, &s);
    const int64_t first = from_part(&s, p->b), last = to_part(&s, p->b), rest = rest_from(p->net);
    const size_t bytes = (size_t)(p->net->d - rest) * sizeof(real);
    int64_t *arrivals = p->counters, *over = p->counters + ASV_COUNTER_STRIDE, meetings = 0; /* over: before t + 1 */
    if (s.copied) memcpy(s.copied, (const real *)p->x + rest, bytes);
    draw_samples(p, 0, first, last, s.next);
    asv_meet(arrivals, ++meetings * members);
    for (int64_t t = 0; t < steps; t++) {
        if (member == 0 && asv_stopped(p->control, 0)) asv_count_set(over, t + 1);
        take_next(p, &s, t);
        s.seen = t;
        if (p->done) settle_batch(p, &s);
        real *sums = s.sums + t % 2 * s.behind, *along = s.part_along + t % 2 * s.along_behind;
        first_sums(p, &x_hat, &s, sums, along);
        asv_meet(arrivals, ++meetings * members);
        if (asv_count_read(over) == t + 1) {
            forget_columns(&s.in);
            break;
        }
        gather_sums(p, &s, sums, along, stride, first, last);
        sample_factors(p, &x_hat, &s, first, last);
        draw_samples(p, t + 1, first, last, s.next);
        if (p->divided) {
            asv_meet(arrivals, ++meetings * members);
            gather_products(p, &s, stride);
        }
        shorten_products(p, &s);
        prefetch_next(p, &s);
        update(p, &s, t);
        if (member == 0) p->delays[t] = 0;
        forget_columns(&s.in);
    }
    if (s.copied && member == 0) memcpy((real *)p->x + rest, s.copied, bytes);
}

#endif
