/* Threads that each iterate on a replica of x, as one thread alone would (ASV_REPLICATED).
 *
 * To write all of x at every iteration moves every line of it to another core each time. Here x is exchanged part by
 * part: after its iteration i a thread adds what its replica has gained in part i mod `parts` since that part's last
 * turn, under the part's lock, and takes what the others have added. (Zhang, Hsieh & Akella, "HogWild++: a new
 * mechanism for decentralized asynchronous stochastic gradient descent", 2016, has replicas for each socket.) No update
 * is lost; each is in x after `parts` iterations of its thread, and in another thread's replica after as many of that
 * one's.
 *
 * What x and the replica both were at the last turn is the base. Where W_0's rows stand on whole lines (`wide`), their
 * base is at their place in the replica. A replica keeps its shortening apart (deflate.h), but what others get has U
 * shift in it: of a step alone, without what shortens it, they would see one that is too long along U. */
#ifndef ASYSVRG_REPLICA_H
#define ASYSVRG_REPLICA_H

#include "deflate.h"

/* The same iterations on a thread's replica, with its base and its counts: of its own updates; then for each part, of
 * the others' updates that were in x when it was exchanged last; then for each part, of its own that are in x since. */
ASV_INLINE asv_inner in_replica(const asv_inner *p, int64_t thread) {
    asv_inner mine = *p;
    int64_t pitch = pitch_of(p->net, 1);
    mine.update = ASV_SERIAL;
    mine.x = p->replicas[thread];
    mine.bases = p->bases + thread;
    mine.counts = p->counts + 3 * ASV_COUNTER_STRIDE * thread;
    if (p->wide) mine.wide = (real *)p->wide + thread * p->net->width[0] * pitch;
    if (p->shift) mine.shift = (real *)p->shift + thread * p->rank * pitch;
    return mine;
}

ASV_INLINE int64_t least(const int64_t *counts, int64_t parts) {
    int64_t result = counts[0];
    for (int64_t j = 1; j < parts; j++) result = counts[j] < result ? counts[j] : result;
    return result;
}

/* Updates that the replica `mine` has, at least: all of its thread's, and those of the others that are in every part.
 */
ASV_INLINE int64_t seen_in(const asv_inner *mine) { return mine->counts[0] + least(mine->counts + 1, mine->parts); }

/* Where part j begins: rows of W~_0 = (W_0; b_0) are whole. */
ASV_INLINE int64_t part_from(const asv_inner *p, int64_t j) {
    int64_t k = p->net->d * j / p->parts, v = p->net->width[1];
    return k < p->net->bias[0] + v ? k - k % v : k;
}

ASV_INLINE void exchange_lines(real *x, real *own, real *base, const factors_t *f, int64_t i, int64_t j,
                               const int lines, int64_t length) {
    vec apart[ASV_LINES], now[ASV_LINES]; /* apart: row i of U shift */
    load_lines(apart, NULL, lines);
    if (f) add_terms(apart, f, i, j, lines, 0);
    for (int c = 0; c < lines; c++) {
        vec gain = whole_line(own + c * VEC) + apart[c] - whole_line(base + c * VEC);
        now[c] = whole_line(x + c * VEC) + gain;
        apart[c] = now[c] - apart[c];
    }
    store_lines(x, now, lines, length);
    store_lines(base, now, lines, length);
    store_lines(own, apart, lines, length);
}

/* `length` numbers of x, of the replica and of their base; with f, row i of W~_0. */
ASV_INLINE void exchange(real *x, real *own, real *base, const factors_t *f, int64_t i, int64_t length) {
#define ASV_EXCHANGE(lines, length) exchange_lines(x + at, own + at, base + at, f, i, at, lines, length)
    ASV_BY_LINES(length, ASV_EXCHANGE)
#undef ASV_EXCHANGE
}

enum { ASV_ROWS_AHEAD = 3 }; /* how far the rows to come are asked for */

/* Part j of x and of the replica `mine`. */
ASV_PART void exchange_part(const asv_inner *p, const asv_inner *mine, int64_t j) {
    const asv_network *net = p->net;
    const factors_t f = shift_factors(mine);
    const int64_t v = f.width_out, bias = net->bias[0], end = part_from(p, j + 1);
    const int64_t rows_end = end < bias + v ? end : bias + v;
    real *x = p->x, *own = mine->x, *base = (real *)mine->bases[0] - (mine->wide ? bias : 0);
    int32_t *lock = p->locks + j * (ASV_LINE / (int64_t)sizeof(int32_t));
    asv_lock(lock);
    int64_t k = part_from(p, j);
    for (int64_t i = k / v; k < rows_end; i++, k += v) {
        for (int64_t c = 0, ahead = k + ASV_ROWS_AHEAD * v; c < v && ahead < end; c += VEC)
            prefetch_to_write(x + ahead + c);
        const int wide = mine->wide && k < bias;
        real *row = wide ? (real *)mine->wide + i * f.pitch : own + k;
        exchange(x + k, row, (wide ? own : base) + k, mine->shift ? &f : NULL, k < bias ? i : BIAS, v);
    }
    if (k < end) exchange(x + k, own + k, base + k, NULL, 0, end - k);
    asv_unlock(lock);
}

/* The same, and what this thread knows of the others, and they of it. */
ASV_INLINE void exchange_counted(const asv_inner *p, const asv_inner *mine, int64_t j) {
    int64_t *completed = p->counters + ASV_COUNTER_STRIDE;
    int64_t *seen = mine->counts + 1, *pushed = seen + p->parts, before = least(pushed, p->parts);
    seen[j] = asv_count_read(completed) - before;
    exchange_part(p, mine, j);
    pushed[j] = mine->counts[0];
    asv_count_up(completed, least(pushed, p->parts) - before);
}

/* After this thread's update: the next part. Threads begin far from each other. */
ASV_INLINE void take_turn(const asv_inner *p, const asv_inner *mine, int64_t thread) {
    int64_t turn = mine->counts[0]++ + thread * p->parts / p->threads;
    exchange_counted(p, mine, turn % p->parts);
}

/* All parts: before the first iteration; where x^ is to be read again, for being too late; after the last. */
ASV_INLINE void exchange_all(const asv_inner *p, const asv_inner *mine) {
    for (int64_t j = 0; j < p->parts; j++) exchange_counted(p, mine, j);
}

/* The replica becomes x: one that is zero, as its base is, has gained nothing. */
ASV_PART void replicate(const asv_inner *p, const asv_inner *mine) {
    const asv_network *net = p->net;
    const int64_t v = net->width[1], pitch = pitch_of(net, 1), first = mine->wide ? net->bias[0] : 0;
    memset(mine->counts, 0, (size_t)(1 + 2 * p->parts) * sizeof(int64_t));
    memset(mine->x, 0, (size_t)net->d * sizeof(real));
    memset(mine->bases[0], 0, (size_t)(net->d - first) * sizeof(real));
    if (mine->wide) memset(mine->wide, 0, (size_t)(net->width[0] * pitch) * sizeof(real));
    for (int64_t i = 0; i < net->width[0] && p->beside; i++)
        memcpy((real *)mine->wide + i * pitch + v, (const real *)p->basis[0] + (i + 1) * p->rank,
               (size_t)p->rank * sizeof(real));
    exchange_all(p, mine);
}

#endif
