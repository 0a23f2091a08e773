/* A sweep over samples first..last: loss, and where asked for the gradient, the snapshot cache, the outputs. Line
 * "Compute full gradient" of Algorithm 1, and each worker's share of it in Algorithm 3. */
#ifndef ASYSVRG_SWEEP_H
#define ASYSVRG_SWEEP_H

#include "control.h"
#include "outputs.h"

typedef struct {
    input_t in;
    int64_t block;       /* samples that are taken through the network at once */
    real *acts, *deltas; /* so many rows of every layer's units */
    double *losses;      /* as many */
} sweep_scratch;

/* Dense samples at once, since to begin with a matrix costs BLAS as much as some rows do; of them, those whose
 * gradients it adds up at once, where it is fastest with fewer (bench/bench_kernels.py). */
enum { ASV_DENSE_ROWS = 384, ASV_GRADIENT_ROWS = 96 };
enum { ASV_DENSE_UNITS = 128 * ASV_DENSE_ROWS }; /* of all rows, at most: with wide layers fewer rows do */

ASV_INLINE int64_t rows_at_once(const asv_network *net, const asv_samples *data) {
    int64_t rows = ASV_DENSE_UNITS / net->unit[net->layers + 1];
    if (data->values || on_tiles(net, data, ASV_BLOCK_ROWS) || rows < ASV_BLOCK_ROWS) return ASV_BLOCK_ROWS;
    return rows < ASV_DENSE_ROWS ? rows : ASV_DENSE_ROWS;
}

/* Whether a block has entries in so many columns that all of them are gone through. */
ASV_INLINE int fills_columns(const asv_samples *data) {
    return data->values && 2 * ASV_BLOCK_ROWS * (data->start[data->n] - data->start[0]) >= data->n * data->p;
}

ASV_INLINE size_t carve_sweep(sweep_scratch *s, char *base, const asv_network *net, const asv_samples *data) {
    s->block = rows_at_once(net, data);
    size_t used = 0, block = (size_t)s->block * (size_t)net->unit[net->layers + 1] * sizeof(real);
    carve_input(&s->in, base, &used, net, data, s->block, 0, 0, fills_columns(data) ? ASV_IN_ORDER : ASV_EACH);
    s->acts = carve(base, &used, block);
    s->deltas = carve(base, &used, block);
    s->losses = carve(base, &used, (size_t)s->block * sizeof(double));
    return used;
}

size_t ASV_NAME(asv_sweep_scratch)(const asv_network *net, const asv_samples *data) {
    sweep_scratch s = {0};
    return carve_sweep(&s, NULL, net, data);
}

/* The first layer's, from entries. */
ASV_INLINE void add_entries(input_t *in, const factors_t *f, real *dW) {
    const int64_t v = f->width_out;
    if (in->marks) {
        mark_columns(in, NULL);
        for (int64_t i = in->begin; i < in->end; i++)
            if (in->marks[i]) add_terms_to(dW + i * v, f, i); /* a block's rows have one word */
        forget_columns(in);
        return;
    }
    for (int64_t r = 0; r < in->rows; r++)
        for (int64_t c = 0; c < in->count[r]; c++)
            add_scaled(dW + in->column[r][c] * v, in->value[r][c], f->right + r * f->pitch, v);
}

/* The first layer's, on tiles. */
ASV_INLINE void add_panels(input_t *in, factors_t *f, real *dW) {
    tile_right(in, f->right, f->pitch, f->width_out, 0, NULL, 0, NULL);
    for (int64_t i = in->begin; i < in->end; i++) {
        take_panels(in, f, i);
        add_terms_to(dW + i * f->width_out, f, i);
    }
}

ASV_PART void add_gradient(const asv_network *net, sweep_scratch *s, real *gradient) {
    for (int64_t l = 0; l < net->layers; l++) {
        int64_t w = net->width[l], v = net->width[l + 1], rows = s->in.rows;
        real *dW = gradient + net->weight[l];
        const real *left = l ? units_of(net, s->acts, s->block, l) : s->in.dense;
        factors_t f = {.rows = rows,
                       .width_out = v,
                       .pitch = pitch_of(net, l + 1),
                       .input = &s->in,
                       .right = units_of(net, s->deltas, s->block, l + 1)};
        if (l == 0 && s->in.tiles) {
            add_panels(&s->in, &f, dW);
        } else if (left) {
            for (int64_t r = 0, pitch = l ? pitch_of(net, l) : w; r < rows; r += ASV_GRADIENT_ROWS)
                matmul(net, 1, 0, w, v, rows - r < ASV_GRADIENT_ROWS ? rows - r : ASV_GRADIENT_ROWS, 1,
                       left + r * pitch, pitch, f.right + r * f.pitch, f.pitch, 1, dW, v);
        } else {
            add_entries(&s->in, &f, dW);
        }
        add_terms_to(gradient + net->bias[l], &f, BIAS);
    }
}

ASV_CLONES void ASV_NAME(asv_sweep_rows)(asv_sweep *sweep, int64_t first, int64_t last, void *scratch, int thread,
                                         asv_control *control) {
    const asv_network *net = sweep->net;
    const asv_samples *data = sweep->data;
    const parameters_t x = parameters_in(net, sweep->x);
    int64_t outputs = net->width[net->layers], pitch = pitch_of(net, net->layers), stride = asv_cache_stride(net);
    sweep_scratch s = {0};
    carve_sweep(&s, scratch, net, data);
    sweep->loss = sweep->errors = 0;
    sweep->evaluated = 0;
    if (sweep->gradient) memset(sweep->gradient, 0, (size_t)net->d * sizeof(real));
    const int wanted = sweep->gradient || sweep->cache; /* derivatives are */
    for (int64_t at = first; at < last && !asv_stopped(control, thread); at += s.block) {
        int64_t rows = last - at < s.block ? last - at : s.block;
        real *z = units_of(net, s.acts, s.block, net->layers);
        real *delta = units_of(net, s.deltas, s.block, net->layers);
        take_rows(&s.in, data, NULL, at, rows);
        first_layer(net, &x, &s.in, units_of(net, s.acts, s.block, 1), NULL, 0);
        upper_layers(net, &x, rows, s.acts, s.block, 0);
        const int known = data->labels || data->targets;
        take_outputs(net, data, at, z, rows, known ? s.losses : NULL);
        for (int64_t r = 0; r < rows && known; r++) {
            double weight = (double)weight_of(data, at + r);
            sweep->loss += weight * s.losses[r];
            sweep->errors += weight * error_of(net, data, at + r, z + r * pitch, s.losses[r]);
            if (wanted) output_delta(net, data, at + r, z + r * pitch, delta + r * pitch, 1);
        }
        for (int64_t r = 0; r < rows && sweep->outputs; r++)
            memcpy((real *)sweep->outputs + (at + r) * outputs, z + r * pitch, (size_t)outputs * sizeof(real));
        if (wanted) backward(net, &x, rows, s.acts, s.deltas, s.block, 0);
        if (sweep->gradient) add_gradient(net, &s, sweep->gradient);
        if (sweep->cache)
            for (int64_t r = 0; r < rows; r++)
                keep_row(net, s.acts, s.deltas, s.block, r, (real *)sweep->cache + (at + r) * stride);
        sweep->evaluated += rows;
    }
}

#endif
