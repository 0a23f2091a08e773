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
#include "layers.h"
#include "rng.h"

enum { ASV_SPINS = 1000 };  /* looks at the stripes that are left before a thread gives way */

typedef struct {
    int64_t *index; /* b */
    input_t in;
    real *acts, *deltas; /* 2 b rows of every layer's units: at x^, then at x~ */
    const real **left;   /* L x 2 b: where those rows start, layer by layer; layer 0: the input's */
    real *rest;          /* private copy of all layers but the first */
    int64_t *chosen;     /* block numbers of this update */
    uint64_t *marks;     /* a bit a block */
    real *change;        /* eta v of the chosen coordinates, block == 1 */
    uint64_t *pending;   /* a bit a stripe */
} step_scratch;

ASV_INLINE int64_t stripes_of(int64_t d) { return (d + ASV_STRIPE - 1) / ASV_STRIPE; }

ASV_INLINE int64_t rest_from(const asv_network *net) { return net->layers > 1 ? net->weight[1] : net->d; }

ASV_INLINE size_t carve_step(step_scratch *s, char *base, const asv_inner *p) {
    const asv_network *net = p->net;
    size_t used = 0, b = (size_t)p->b, units = 2 * b * (size_t)net->units * sizeof(real);
    s->index = carve(base, &used, b * sizeof(int64_t));
    carve_input(&s->in, base, &used, p->data, p->b, 1);
    s->acts = carve(base, &used, units);
    s->deltas = carve(base, &used, units);
    s->left = carve(base, &used, 2 * b * (size_t)net->layers * sizeof(real *));
    if (p->threads > 1) s->rest = carve(base, &used, (size_t)(net->d - rest_from(net)) * sizeof(real));
    if (p->subset) {
        size_t blocks = (size_t)((net->d + p->block - 1) / p->block);
        size_t most = (size_t)asv_most_blocks(net->d, p->subset, p->block);
        s->chosen = carve(base, &used, most * sizeof(int64_t));
        s->marks = carve(base, &used, (blocks + 63) / 64 * sizeof(uint64_t));
        if (p->block == 1) s->change = carve(base, &used, most * sizeof(real));
    }
    if (p->update == ASV_STRIPED)
        s->pending = carve(base, &used, (size_t)(stripes_of(net->d) + 63) / 64 * sizeof(uint64_t));
    return used;
}

size_t ASV_NAME(asv_step_scratch)(const asv_inner *p) {
    step_scratch s = {0};
    return carve_step(&s, NULL, p);
}

/* Forward and backward at `x`, into rows row..row + b; deltas carry weight_i / b, and `sign`. */
ASV_INLINE void batch_gradient(const asv_inner *p, const parameters_t *x, step_scratch *s, int64_t row, real sign) {
    const asv_network *net = p->net;
    int64_t capacity = 2 * p->b, outputs = net->width[net->layers];
    forward(net, x, &s->in, s->acts, capacity, row);
    for (int64_t r = 0; r < p->b; r++) {
        int64_t at = (row + r) * outputs;
        output_delta(net, p->data, s->index[r], units_of(net, s->acts, capacity, net->layers) + at,
                     units_of(net, s->deltas, capacity, net->layers) + at, sign / (real)p->b, NULL, NULL);
    }
    backward(net, x, p->b, s->acts, s->deltas, capacity, row);
}

/* The same at x~ from the cache: copies instead of a pass through the network. */
ASV_PART void cached_gradient(const asv_inner *p, step_scratch *s) {
    const asv_network *net = p->net;
    const real scale = -1 / (real)p->b;
    int64_t capacity = 2 * p->b, stride = asv_cache_stride(net);
    for (int64_t r = 0; r < p->b; r++) {
        const real *line = (const real *)p->cache + s->index[r] * stride;
        for (int64_t l = 1; l < net->layers; l++) {
            int64_t v = net->width[l];
            memcpy(units_of(net, s->acts, capacity, l) + (p->b + r) * v, line, (size_t)v * sizeof(real));
            line += v;
        }
        for (int64_t l = 1; l <= net->layers; l++) {
            int64_t v = net->width[l];
            real *delta = units_of(net, s->deltas, capacity, l) + (p->b + r) * v;
            for (int64_t j = 0; j < v; j++) delta[j] = scale * line[j];
            line += v;
        }
    }
}

/* The direction's data part as factors. x^ is read here, between the two looks at the counters. */
ASV_INLINE void compute_direction(const asv_inner *p, step_scratch *s) {
    const asv_network *net = p->net;
    parameters_t x_hat = {p->x, p->x, 0};
    if (p->threads > 1) {
        x_hat.offset = rest_from(net);
        const real *shared = (const real *)p->x + x_hat.offset;
        for (int64_t k = 0; k < net->d - x_hat.offset; k++) s->rest[k] = load_relaxed(shared + k);
        x_hat.rest = s->rest;
    }
    batch_gradient(p, &x_hat, s, 0, 1);
    if (p->direction == ASV_SGD) return;
    if (p->cache) {
        cached_gradient(p, s);
    } else {
        const parameters_t x_snap = {p->x_snap, p->x_snap, 0};
        batch_gradient(p, &x_snap, s, p->b, -1);
    }
    real *delta = units_of(net, s->deltas, 2 * p->b, 1);
    int64_t count = p->b * net->width[1];
    for (int64_t j = 0; j < count; j++) delta[j] += delta[count + j];
}

/* Lists where the rows of every layer's left factor start. */
ASV_INLINE void list_rows(const asv_inner *p, step_scratch *s) {
    const asv_network *net = p->net;
    int64_t capacity = 2 * p->b;
    for (int64_t l = 1; l < net->layers; l++)
        for (int64_t r = 0; r < capacity; r++)
            s->left[l * capacity + r] = units_of(net, s->acts, capacity, l) + r * net->width[l];
}

/* Whether gradients of the first layer look into each row of the batch: else the entries are sorted by columns, which
 * pays where all coordinates are updated. */
ASV_INLINE int by_rows(const asv_inner *p) { return p->data->rows && (p->subset || !p->data->values); }

ASV_INLINE factors_t factors_of(const asv_inner *p, const step_scratch *s, int64_t l) {
    int64_t capacity = 2 * p->b;
    factors_t f = {l && p->direction == ASV_SVRG ? capacity : p->b, p->net->width[l + 1],
                   l            ? s->left + l * capacity
                   : by_rows(p) ? s->in.row_start
                                : NULL,
                   &s->in, units_of(p->net, s->deltas, capacity, l + 1)};
    return f;
}

ASV_INLINE int64_t layer_of(const asv_network *net, int64_t k) {
    int64_t l = 0;
    while (l + 1 < net->layers && k >= net->weight[l + 1]) l++;
    return l;
}

/* Unsigned and narrow where it can be: a 64-bit division costs several times as much. */
ASV_INLINE int64_t quotient(int64_t a, int64_t b) { return a >> 32 ? a / b : (uint32_t)a / (uint32_t)b; }

/* alpha of row i of W_l. */
ASV_INLINE real l2_of(const asv_inner *p, int64_t l, int64_t i) {
    return (real)p->alpha[l ? p->net->width[0] + l - 1 : i];
}

/* x_k -= eta (g_k + mu_k + decay x_k) for `length` coordinates from k on, in row i of a layer from column j on. */
ASV_INLINE void subtract_lines(const asv_inner *p, const factors_t *f, int64_t i, int64_t j, int64_t k, real decay,
                               const int lines, int64_t length, int atomic) {
    real *x = (real *)p->x + k;
    const real eta = (real)p->eta;
    vec sum[ASV_LINES];
    load_lines(sum, p->mu ? (const real *)p->mu + k : NULL, lines);
    add_terms(sum, f, i, j, lines);
    if (atomic) {
        const real *g = (const real *)sum;
        for (int64_t c = 0; c < length && c < lines * VEC; c++)
            atomic_subtract(x + c, eta * (g[c] + decay * load_relaxed(x + c)));
        return;
    }
    for (int c = 0; c < lines; c++) {
        vec now = whole_line(x + c * VEC);
        sum[c] = now - eta * (sum[c] + decay * now);
    }
    store_lines(x, sum, lines, length);
}

ASV_INLINE void subtract(const asv_inner *p, const factors_t *f, int64_t i, int64_t j, int64_t k, real decay,
                         int64_t length, int atomic){
#define ASV_SUBTRACT(lines, length) subtract_lines(p, f, i, j + at, k + at, decay, lines, length, atomic)
    ASV_BY_LINES(length, ASV_SUBTRACT)
#undef ASV_SUBTRACT
}

/* The update on the range k..end of coordinates, row by row of each layer's matrix. */
ASV_INLINE void update_range(const asv_inner *p, const step_scratch *s, int64_t k, int64_t end, const int atomic) {
    const asv_network *net = p->net;
    while (k < end) {
        int64_t l = layer_of(net, k), v = net->width[l + 1];
        factors_t f = factors_of(p, s, l);
        if (k >= net->bias[l]) {
            int64_t layer_end = net->bias[l] + v < end ? net->bias[l] + v : end;
            subtract(p, &f, BIAS, k - net->bias[l], k, 0, layer_end - k, atomic);
            k = layer_end;
            continue;
        }
        int64_t layer_end = net->bias[l] < end ? net->bias[l] : end;
        int64_t i = quotient(k - net->weight[l], v), j = k - net->weight[l] - i * v;
        for (; k < layer_end; i++, j = 0) {
            int64_t length = v - j < layer_end - k ? v - j : layer_end - k;
            subtract(p, &f, i, j, k, l2_of(p, l, i), length, atomic);
            k += length;
        }
    }
}

ASV_PART void update_plain(const asv_inner *p, const step_scratch *s, int64_t k, int64_t end) {
    update_range(p, s, k, end, 0);
}

ASV_PART void update_atomic(const asv_inner *p, const step_scratch *s, int64_t k, int64_t end) {
    update_range(p, s, k, end, 1);
}

/* Entry k of the direction's data part, for single coordinates. *row: its row of W_l, or -1 for a bias. */
ASV_INLINE real entry(const asv_network *net, const factors_t *f, int64_t l, int64_t k, int64_t *row) {
    int64_t v = f->width_out;
    real sum = 0;
    *row = BIAS;
    if (k >= net->bias[l]) {
        const real *right = f->right + (k - net->bias[l]);
        for (int64_t r = 0; r < f->rows; r++) sum += right[r * v];
        return sum;
    }
    int64_t i = quotient(k - net->weight[l], v), j = k - net->weight[l] - i * v;
    *row = i;
    if (f->left)
        for (int64_t r = 0; r < f->rows; r++) sum += f->left[r][i] * f->right[r * v + j];
    else
        for (int32_t e = f->input->head[i]; e; e = f->input->chain[e - 1].next)
            sum += f->input->chain[e - 1].value * f->right[f->input->chain[e - 1].row * v + j];
    return sum;
}

enum { ASV_AHEAD = 16 }; /* how far the writes to come are prefetched */

/* B single coordinates. All directions first, then all writes: an atomic write lets nothing behind it start. */
ASV_PART void update_singles(const asv_inner *p, step_scratch *s, int64_t count, int atomic) {
    const asv_network *net = p->net;
    real *x = p->x;
    const real *mu = p->mu;
    for (int64_t c = 0; c < count; c++) {
        int64_t k = s->chosen[c], l = layer_of(net, k);
        int64_t row;
        factors_t f = factors_of(p, s, l);
        real v = entry(net, &f, l, k, &row);
        if (mu) v += mu[k];
        if (row >= 0) v += l2_of(p, l, row) * load_relaxed(x + k);
        s->change[c] = (real)p->eta * v;
    }
    for (int64_t c = 0; c < count; c++) {
        if (c + ASV_AHEAD < count) __builtin_prefetch(x + s->chosen[c + ASV_AHEAD], 1);
        if (atomic)
            atomic_subtract(x + s->chosen[c], s->change[c]);
        else
            x[s->chosen[c]] -= s->change[c];
    }
}

/* All coordinates under one lock for each stripe: whole-vector stores, none lost. A thread that finds a stripe taken
 * goes on to another, and waits only when all that it has left are taken. */
ASV_INLINE void update_striped(const asv_inner *p, step_scratch *s, int64_t t) {
    int64_t d = p->net->d, stripes = stripes_of(d), left = stripes;
    int64_t from = asv_draw_below(asv_key(p->seed, p->epoch, (uint64_t)t, ASV_DRAW_STRIPE), 0, stripes);
    for (int64_t i = 0; i < stripes; i++) s->pending[i >> 6] |= 1ULL << (i & 63);
    for (int idle = 0; left;) {
        int64_t before = left;
        for (int64_t c = 0; c < stripes; c++) {
            int64_t i = from + c < stripes ? from + c : from + c - stripes;
            int32_t *lock = p->locks + i * (ASV_LINE / (int64_t)sizeof(int32_t));
            if (!(s->pending[i >> 6] >> (i & 63) & 1) || !asv_try_lock(lock)) continue;
            int64_t end = (i + 1) * ASV_STRIPE < d ? (i + 1) * ASV_STRIPE : d;
            update_plain(p, s, i * ASV_STRIPE, end);
            asv_unlock(lock);
            s->pending[i >> 6] &= ~(1ULL << (i & 63));
            left--;
        }
        /* Giving way at once would let another thread start from an x that this update is about to change. */
        idle = left < before ? 0 : idle + 1;
        if (idle) asv_pause();
        if (idle > ASV_SPINS) sched_yield();
    }
}

/* Eq. (4) on the coordinates of iteration t. */
ASV_INLINE void update(const asv_inner *p, step_scratch *s, int64_t t) {
    int64_t d = p->net->d;
    int atomic = p->update != ASV_SERIAL;
    if (!p->subset) {
        if (p->update == ASV_STRIPED)
            update_striped(p, s, t);
        else if (atomic)
            update_atomic(p, s, 0, d);
        else
            update_plain(p, s, 0, d);
        return;
    }
    int64_t count = asv_draw_blocks(p->seed, p->epoch, (uint64_t)t, d, p->subset, p->block, s->chosen, s->marks);
    if (p->block == 1) {
        update_singles(p, s, count, atomic);
        return;
    }
    for (int64_t c = 0; c < count; c++) {
        int64_t k = s->chosen[c] * p->block, end = k + p->block < d ? k + p->block : d;
        if (atomic)
            update_atomic(p, s, k, end);
        else
            update_plain(p, s, k, end);
    }
}

ASV_INLINE void prefetch(const void *from, int64_t bytes) {
    for (int64_t at = 0; at < bytes; at += ASV_LINE) __builtin_prefetch((const char *)from + at, 0, 2);
}

/* Asks for what iteration t reads of the samples: most likely this thread's next one. */
ASV_INLINE void prefetch_batch(const asv_inner *p, int64_t t) {
    const asv_samples *data = p->data;
    int64_t stride = asv_cache_stride(p->net);
    uint64_t key = asv_key(p->seed, p->epoch, (uint64_t)t, ASV_DRAW_BATCH);
    for (int64_t r = 0; r < p->b; r++) {
        int64_t i = asv_draw_below(key, (uint64_t)r, data->n);
        if (data->values) {
            int64_t from = data->start[i], count = data->start[i + 1] - from;
            prefetch(data->columns + from, count * (int64_t)sizeof(int32_t));
            prefetch((const real *)data->values + from, count * (int64_t)sizeof(real));
        }
        if (by_rows(p)) {
            prefetch((const real *)data->rows + i * data->p, data->p * (int64_t)sizeof(real));
        }
        if (p->cache) prefetch((const real *)p->cache + i * stride, stride * (int64_t)sizeof(real));
    }
}

/* Iteration t, the body of Algorithm 1's loop. Its delay is the number of updates that were claimed before its own
 * and not complete when it read x: |J(t)| of Eq. (6), never counted too low. Where that would exceed max_delay, x^ is
 * read again, with the same draws, so that max_delay holds for every update carried out. */
ASV_CLONES void ASV_NAME(asv_step)(const asv_inner *p, int64_t t, void *scratch, int thread) {
    if (asv_stopped(p->control, thread)) return;
    step_scratch s = {0};
    carve_step(&s, scratch, p);
    asv_draw_batch(p->seed, p->epoch, (uint64_t)t, p->data->n, p->b, s.index);
    take_rows(&s.in, p->data, s.index, 0, p->b);
    if (!by_rows(p)) chain_columns(&s.in);
    list_rows(p, &s);
    int64_t *claimed = p->counters, *completed = p->counters + ASV_COUNTER_STRIDE;
    for (;;) {
        int64_t read_at = asv_count_read(completed);
        compute_direction(p, &s);
        int64_t turn = asv_claim(claimed, read_at, p->max_delay);
        if (turn >= 0) {
            prefetch_batch(p, t + p->threads);
            update(p, &s, t);
            asv_count_up(completed);
            p->delays[t] = (int32_t)(turn - read_at);
            break;
        }
        if (asv_stopped(p->control, thread)) break;
        sched_yield();
    }
    if (!by_rows(p)) unchain_columns(&s.in);
}

void ASV_NAME(asv_atomic_subtract)(void *x, int64_t k, double delta) { atomic_subtract((real *)x + k, (real)delta); }

#endif
