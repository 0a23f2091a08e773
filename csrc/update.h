/* Eq. (4): what an iteration subtracts from which coordinates of x, and how threads keep out of each other's way. */
#ifndef ASYSVRG_UPDATE_H
#define ASYSVRG_UPDATE_H

#include "layers.h"
#include "rng.h"

typedef struct {
    uint64_t lots; /* key of the draws by which samples are left out (step.h) */
    int64_t seen; /* updates that were complete when x was read */
    int64_t *index; /* b */
    real *share;    /* b: what the gradient of each counts in the mini-batch's; 0: left out (step.h) */
    int64_t *next;  /* this thread's next mini-batch, */
    int64_t fetched; /* of which so many samples have been asked for */
    input_t in;
    real *acts, *deltas; /* 2 b rows of every layer's units: at x^, then at x~ */
    const real **left;   /* L x 2 b: where those rows start, layer by layer; layer 0: the input's */
    real *sums;          /* in a team, this thread's part of the first layer's sums: at x^, then at x~; */
    real *part_along;    /* and of `along`; */
    int64_t behind, along_behind; /* where those of every other iteration are: so far behind them */
    real *copied; /* private copy of x^; in a team of the upper layers, and updated, too */
    real *product; /* v's data part in these layers, where all coordinates are updated; in a team at first a part */
    real *along; /* b rows of `rank`: the batch along the first layer's basis (deflate.h) */
    real *upper_along; /* 2 b rows of `rank`: an upper layer's left factor along its basis */
    real *against; /* rank rows of every layer's units */
    real *part_against; /* in a team, this thread's part of it; else the same */
    int64_t *chosen; /* block numbers of this update */
    uint64_t *marks; /* a bit a block */
    char *finished; /* a stripe each */
    real *change; /* eta v of the chosen coordinates, block == 1 */
    int64_t member, members; /* this thread in its team (team.h): 0 of 1 where it works alone; */
    int64_t part, parts; /* and its share of the samples and of the upper layers' rows: where it has all, 0 of 1 */
} step_scratch;

ASV_INLINE int64_t stripes_of(int64_t d) { return (d + ASV_STRIPE - 1) / ASV_STRIPE; }

/* What a thread has of `count` samples, or rows of an upper layer. */
ASV_INLINE int64_t from_part(const step_scratch *s, int64_t count) { return count * s->part / s->parts; }
ASV_INLINE int64_t to_part(const step_scratch *s, int64_t count) { return count * (s->part + 1) / s->parts; }

ASV_INLINE int64_t rest_from(const asv_network *net) { return net->layers > 1 ? net->weight[1] : net->d; }

enum { ASV_COPIED = 512 * 1024 }; /* bytes of x^ that stay in a core's own cache */

/* From which coordinate on x^ is copied where several threads write to x. BLAS may read W_0 more than once, and would
 * wait for each line that another core writes meanwhile; who skips zeros reads only some of it. */
ASV_INLINE int64_t copied_from(const asv_inner *p) {
    const int all = p->update != ASV_OWNED && !p->data->values && !on_tiles(p->net, p->data, p->b);
    return all && p->net->d <= ASV_COPIED / (int64_t)sizeof(real) ? 0 : rest_from(p->net);
}

ASV_INLINE int64_t along_pitch(const asv_inner *p) { return (p->rank + VEC - 1) / VEC * VEC; }

/* Whether other threads write to rows of W_0 that this one writes to. */
ASV_INLINE int shares_rows(const asv_inner *p) { return p->update == ASV_ATOMIC || p->update == ASV_STRIPED; }

ASV_INLINE size_t carve_step(step_scratch *s, char *base, const asv_inner *p) {
    const asv_network *net = p->net;
    size_t used = 0, b = (size_t)p->b, units = 2 * b * (size_t)net->unit[net->layers + 1] * sizeof(real);
    size_t along = b * (size_t)along_pitch(p) * sizeof(real);
    s->members = s->parts = 1;
    s->index = carve(base, &used, b * sizeof(int64_t));
    s->share = carve(base, &used, b * sizeof(real));
    s->next = carve(base, &used, b * sizeof(int64_t));
    order_t order = !p->done ? ASV_IN_ORDER : shares_rows(p) ? ASV_CHAINED : ASV_EACH;
    if (p->subset) order = p->data->rows ? ASV_EACH : ASV_CHAINED;
    carve_input(&s->in, base, &used, net, p->data, p->b, p->rank, 1, order);
    s->acts = carve(base, &used, units);
    s->deltas = carve(base, &used, units);
    s->left = carve(base, &used, 2 * b * (size_t)net->layers * sizeof(real *));
    size_t rest = (size_t)(net->d - rest_from(net)) * sizeof(real);
    if (p->update == ASV_OWNED) {
        s->behind = p->divided ? 0 : 2 * p->b * pitch_of(net, 1);
        s->along_behind = p->divided ? 0 : p->b * along_pitch(p);
        s->sums = carve(base, &used, (size_t)(2 * p->b * pitch_of(net, 1) + s->behind) * sizeof(real));
        s->part_along = carve(base, &used, along + (size_t)s->along_behind * sizeof(real));
    }
    if (p->update == ASV_OWNED ? !p->divided : p->threads > 1 && shares_rows(p))
        s->copied = carve(base, &used, (size_t)(net->d - copied_from(p)) * sizeof(real));
    if (!p->subset) s->product = carve(base, &used, rest);
    if (p->rank) {
        s->along = carve(base, &used, along);
        s->upper_along = carve(base, &used, 2 * along);
        size_t against = (size_t)(p->rank * net->unit[net->layers + 1]) * sizeof(real);
        s->part_against = s->against = carve(base, &used, against);
        if (p->divided) s->part_against = carve(base, &used, against);
    }
    if (p->subset) {
        size_t blocks = (size_t)((net->d + p->block - 1) / p->block);
        size_t most = (size_t)asv_most_blocks(net->d, p->subset, p->block);
        s->chosen = carve(base, &used, most * sizeof(int64_t));
        s->marks = carve(base, &used, ASV_WORDS(blocks) * sizeof(uint64_t));
        if (p->block == 1) s->change = carve(base, &used, most * sizeof(real));
    }
    if (p->update == ASV_STRIPED && !p->subset) s->finished = carve(base, &used, (size_t)stripes_of(net->d));
    return used;
}

/* Whether gradients of the first layer look into each row of the batch: else the entries are sorted by columns, which
 * pays where all coordinates are updated. */
ASV_INLINE int by_rows(const asv_inner *p, const step_scratch *s) {
    return p->data->rows && (p->subset || s->in.tiles || !p->data->values);
}

ASV_INLINE factors_t factors_of(const asv_inner *p, const step_scratch *s, int64_t l) {
    const asv_network *net = p->net;
    int64_t capacity = 2 * p->b;
    factors_t f = {.rows = p->b,
                   .width_out = net->width[l + 1],
                   .pitch = pitch_of(net, l + 1),
                   .input = &s->in,
                   .right = units_of(net, s->deltas, capacity, l + 1)};
    if (l) {
        if (s->product) f.product = s->product + (net->weight[l] - rest_from(net));
        f.left = s->left + l * capacity;
        if (p->direction == ASV_SVRG) f.rows = capacity;
    } else if (by_rows(p, s)) {
        f.left = s->in.row_start;
    }
    if (p->rank && p->basis[l] && (l || !p->shift)) {
        f.rank = p->rank;
        f.basis = (const real *)p->basis[l] + p->rank;
        f.against = units_of(net, s->against, p->rank, l + 1);
    }
    return f;
}

/* The rows of an upper layer's factors that come from samples first..last: those at x^, and under ASV_SVRG those at x~,
 * `apart` from them. The rows of all samples are one stretch. */
typedef struct {
    int64_t first, count, apart;
} stretch_t;

ASV_INLINE stretch_t stretch_of(const asv_inner *p, int64_t rows, int64_t first, int64_t last) {
    return last - first == p->b ? (stretch_t){0, rows, rows} : (stretch_t){first, last - first, p->b};
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

ASV_INLINE void subtract_atomically(real *x, const real *g, int64_t length, real eta, real decay) {
    for (int64_t c = 0; c < length;) {
        if ((uintptr_t)(x + c) % ASV_WORD == 0 && length - c >= ASV_WORD / (int)sizeof(real)) {
            atomic_step(x + c, g + c, eta, decay);
            c += ASV_WORD / (int)sizeof(real);
        } else {
            atomic_subtract(x + c, eta * (g[c] + decay * load_relaxed(x + c)));
            c++;
        }
    }
}

/* x_k -= eta (g_k + mu_k + decay x_k) for `length` coordinates from k on, which stand at x, in row i of a layer from
 * column j on. */
ASV_INLINE void subtract_lines(const asv_inner *p, const factors_t *f, int64_t i, int64_t j, real *x, int64_t k,
                               real decay, const int lines, int64_t length, int atomic) {
    const real eta = (real)p->eta;
    vec sum[ASV_LINES];
    load_lines(sum, p->mu ? (const real *)p->mu + k : NULL, lines);
    const int64_t here = length < lines * VEC ? length : lines * VEC;
    add_terms(sum, f, i, j, lines, j + here == f->width_out);
    if (atomic) {
        subtract_atomically(x, (const real *)sum, here, eta, decay);
        return;
    }
    for (int c = 0; c < lines; c++) {
        vec now = whole_line(x + c * VEC);
        sum[c] = now - eta * (sum[c] + decay * now);
    }
    store_lines(x, sum, lines, length);
}

ASV_INLINE void subtract(const asv_inner *p, const factors_t *f, int64_t i, int64_t j, real *x, int64_t k, real decay,
                         int64_t length, int atomic){
#define ASV_SUBTRACT(lines, length) subtract_lines(p, f, i, j + at, x + at, k + at, decay, lines, length, atomic)
    ASV_BY_LINES(length, ASV_SUBTRACT)
#undef ASV_SUBTRACT
}

ASV_INLINE void prefetch(const void *from, int64_t bytes) {
    for (int64_t at = 0; at < bytes; at += ASV_LINE) __builtin_prefetch((const char *)from + at, 0, 2);
}

/* Asks for a line that is about to be written. (Without -mprfchw, GCC's own would ask for one to be read.) */
ASV_INLINE void prefetch_to_write(const void *at) {
#if defined(__x86_64__) && defined(__GNUC__)
    __asm__ volatile("prefetchw %0" : : "m"(*(const char *)at));
#else
    __builtin_prefetch(at, 1);
#endif
}

/* Asks for `count` further samples of this thread's next mini-batch. */
ASV_INLINE void prefetch_samples(const asv_inner *p, step_scratch *s, int64_t count) {
    const asv_samples *data = p->data;
    int64_t stride = asv_cache_stride(p->net);
    for (; count > 0 && s->fetched < p->b; count--) {
        int64_t r = s->fetched++, i = s->next[r];
        if (data->values && !s->in.tiles) {
            int64_t from = entries_from(&s->in, data, i), entries = entries_to(&s->in, data, i) - from;
            prefetch(data->columns + from, entries * (int64_t)sizeof(int32_t));
            prefetch((const real *)data->values + from, entries * (int64_t)sizeof(real));
            if (data->bits)
                prefetch(data->bits + i * ASV_WORDS(data->p), ASV_WORDS(data->p) * (int64_t)sizeof(uint64_t));
        }
        if (by_rows(p, s))
            prefetch((const real *)data->rows + i * data->p + s->in.begin,
                     (s->in.end - s->in.begin) * (int64_t)sizeof(real));
        if (p->cache && r >= from_part(s, p->b) && r < to_part(s, p->b))
            prefetch((const real *)p->cache + i * stride, stride * (int64_t)sizeof(real));
    }
}

/* take_panels; and a share of the next samples is asked for first: memory has time while tiles multiply. */
ASV_INLINE void take_gradient(const asv_inner *p, step_scratch *s, factors_t *f, int64_t i) {
    int64_t columns = s->in.end - s->in.begin;
    if (s->in.first != panels_of(&s->in, i)) prefetch_samples(p, s, p->b * ASV_PANELS / columns + 1);
    take_panels(&s->in, f, i);
}

/* Where coordinate k, of layer l, is updated. */
ASV_INLINE real *target_of(const asv_inner *p, const step_scratch *s, int64_t l, int64_t k) {
    if (l && p->update == ASV_OWNED && s->copied) return s->copied + (k - rest_from(p->net));
    return (real *)p->x + k;
}

/* The update on the range k..end of coordinates, row by row of each layer's matrix. */
ASV_INLINE void update_range(const asv_inner *p, step_scratch *s, int64_t k, int64_t end, const int atomic) {
    const asv_network *net = p->net;
    while (k < end) {
        int64_t l = layer_of(net, k);
        factors_t f = factors_of(p, s, l);
        int64_t v = f.product ? net->bias[l] - net->weight[l] : f.width_out; /* one long row */
        if (k >= net->bias[l]) {
            int64_t layer_end = net->bias[l] + f.width_out < end ? net->bias[l] + f.width_out : end;
            subtract(p, &f, BIAS, k - net->bias[l], target_of(p, s, l, k), k, 0, layer_end - k, atomic);
            k = layer_end;
            continue;
        }
        int64_t layer_end = net->bias[l] < end ? net->bias[l] : end;
        int64_t i = quotient(k - net->weight[l], v), j = k - net->weight[l] - i * v;
        for (; k < layer_end; i++, j = 0) {
            int64_t length = v - j < layer_end - k ? v - j : layer_end - k;
            if (l == 0 && s->in.tiles && !p->subset) take_gradient(p, s, &f, i);
            real *x = l == 0 && p->wide ? (real *)p->wide + i * f.pitch + j : target_of(p, s, l, k);
            subtract(p, &f, i, j, x, k, l2_of(p, l, i), length, atomic);
            k += length;
        }
    }
}

ASV_PART void update_plain(const asv_inner *p, step_scratch *s, int64_t k, int64_t end) {
    update_range(p, s, k, end, 0);
}

ASV_PART void update_atomic(const asv_inner *p, step_scratch *s, int64_t k, int64_t end) {
    update_range(p, s, k, end, 1);
}

/* Entry k of the direction's data part, for single coordinates. *row: its row of W_l, or -1 for a bias. */
ASV_INLINE real entry(const asv_network *net, const factors_t *f, int64_t l, int64_t k, int64_t *row) {
    int64_t v = f->width_out;
    int64_t i = k >= net->bias[l] ? BIAS : quotient(k - net->weight[l], v);
    int64_t j = i == BIAS ? k - net->bias[l] : k - net->weight[l] - i * v;
    real sum = 0;
    *row = i;
    for (int64_t r = 0; r < f->rank; r++) sum += f->basis[i * f->rank + r] * f->against[r * f->pitch + j];
    if (i == BIAS)
        for (int64_t r = 0; r < f->rows; r++) sum += f->right[r * f->pitch + j];
    else if (f->left)
        for (int64_t r = 0; r < f->rows; r++) sum += f->left[r][i] * f->right[r * f->pitch + j];
    else
        for (int32_t e = f->input->head[i]; e; e = f->input->next[e])
            sum += f->input->entry[e].value * f->right[f->input->entry[e].row * f->pitch + j];
    return sum;
}

enum { ASV_AHEAD = 8 }; /* how far the writes to come are prefetched */

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
        if (c + ASV_AHEAD < count) prefetch_to_write(x + s->chosen[c + ASV_AHEAD]);
        if (atomic)
            atomic_subtract(x + s->chosen[c], s->change[c]);
        else
            x[s->chosen[c]] -= s->change[c];
    }
}

/* All coordinates from `start` on under one lock for each stripe: whole-vector stores, none lost. Stripes are taken in
 * order from a random one on; a thread that finds one taken goes on half way round, out of the other's way, and waits
 * only when all that it has left are taken. */
ASV_INLINE void update_striped(const asv_inner *p, step_scratch *s, int64_t t, int64_t start) {
    int64_t d = p->net->d, lowest = start / ASV_STRIPE, count = stripes_of(d) - lowest, follows = -1;
    int64_t i = asv_draw_below(asv_key(p->seed, p->epoch, (uint64_t)t, ASV_DRAW_STRIPE), 0, count);
    memset(s->finished, 0, (size_t)count);
    for (int64_t left = count, looks = 0; left; i = i + 1 < count ? i + 1 : 0) {
        if (s->finished[i]) continue;
        int32_t *lock = p->locks + (lowest + i) * (ASV_LINE / (int64_t)sizeof(int32_t));
        if (!asv_try_lock(lock)) {
            i = (i + count / 2) % count;
            asv_wait(++looks, ASV_LOOKS_AT_LOCK);
            continue;
        }
        int64_t k = i ? (lowest + i) * ASV_STRIPE : start, end = (lowest + i + 1) * ASV_STRIPE;
        if (s->in.marks && i != follows) seek_column(&s->in, quotient(k, p->net->width[1]));
        update_plain(p, s, k, end < d ? end : d);
        asv_unlock(lock);
        s->finished[i] = 1;
        follows = i + 1;
        left--;
        looks = 0;
    }
}

/* This thread's rows of W_l, l >= lowest, with plain stores; the first one's are the biases, too. */
ASV_INLINE void update_own(const asv_inner *p, step_scratch *s, int64_t lowest) {
    const asv_network *net = p->net;
    for (int64_t l = 0; l < net->layers; l++) {
        int64_t v = net->width[l + 1], first = l ? from_part(s, net->width[l]) : s->in.begin;
        int64_t last = l ? to_part(s, net->width[l]) : s->in.end;
        if (l >= lowest) update_plain(p, s, net->weight[l] + first * v, net->weight[l] + last * v);
        if ((l ? s->part : s->member) == 0) update_plain(p, s, net->bias[l], net->bias[l] + v);
    }
}

/* One block of coordinates. */
ASV_INLINE void update_block(const asv_inner *p, step_scratch *s, int64_t c) {
    int64_t k = c * p->block, end = k + p->block < p->net->d ? k + p->block : p->net->d;
    if (p->update == ASV_ATOMIC) {
        update_atomic(p, s, k, end);
    } else if (p->update == ASV_STRIPED) {
        asv_lock(p->locks + c);
        update_plain(p, s, k, end);
        asv_unlock(p->locks + c);
    } else {
        update_plain(p, s, k, end);
    }
}

/* A random subset of coordinates. Lines of them may be in another core's cache: they are asked for in time. */
ASV_INLINE void update_subset(const asv_inner *p, step_scratch *s, int64_t t) {
    int64_t count =
        asv_draw_blocks(p->seed, p->epoch, (uint64_t)t, p->net->d, p->subset, p->block, s->chosen, s->marks);
    if (p->block == 1) {
        update_singles(p, s, count, p->update != ASV_SERIAL);
        return;
    }
    for (int64_t c = -ASV_AHEAD; c < count; c++) {
        if (c + ASV_AHEAD < count) {
            int64_t next = s->chosen[c + ASV_AHEAD];
            prefetch_to_write((real *)p->x + next * p->block);
            if (p->mu) __builtin_prefetch((const real *)p->mu + next * p->block);
            if (p->update == ASV_STRIPED) prefetch_to_write(p->locks + next);
        }
        if (c >= 0) update_block(p, s, s->chosen[c]);
    }
}

#endif
