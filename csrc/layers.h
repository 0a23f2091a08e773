/* The network on a batch of rows: forward, backward, and the gradient's factors; in between, outputs.h.
 *
 * For every layer l the gradient of sum_r loss_r is a sum of outer products,
 *
 *     dW_l = A_l' D_{l+1},   db_l = sum of the rows of D_{l+1},
 *
 * with A_l the activations of layer l (A_0 the input) and D_{l+1} the derivatives by layer l + 1's sums. Nobody forms
 * dW_l where fewer entries are enough: what is passed on is the two factors.
 */
#ifndef ASYSVRG_LAYERS_H
#define ASYSVRG_LAYERS_H

#include "real.h"
#include "tiles.h"

/* A non-zero number of a batch's input, and its row in the batch. */
typedef struct {
    int32_t row;
    real value;
} entry_t;

/* A batch's input. The products of the first layer take it as a dense matrix, or as the data's own rows on tiles, or as
 * the non-zero entries of each row; gradients take it entry by entry, or by columns: from the data's own rows; from
 * chains of the entries of each column, in any order; or all columns in order, as marks of the rows that have an entry,
 * whose values then are those rows' next ones. */
typedef struct {
    int64_t rows;
    int64_t begin, end;     /* the columns that are meant: all, or those of a thread (team.h); */
    int bias;               /* and whether the bias goes with them */
    void *tiles;            /* memory of products on tiles; or NULL: none */
    const real *dense;      /* rows x (end - begin), or NULL: entries, or on tiles */
    const real **row_start; /* rows pointers to dense data; NULL: entries */
    const real **right_start; /* on tiles: pointers to rows of the gradient's right factor, */
    int64_t terms;            /* and how many; */
    const real *product;      /* rows of the gradient */
    int64_t first;            /* from this one on; -1: none yet */
    const int32_t *low, *high; /* of each sample: its entries in these columns; NULL: from the first, to the last */
    const int32_t **column; /* of each row: those entries, */
    const real **value;
    int64_t *count; /* and how many */
    real *start; /* the first layer's bias, and that of a basis behind it */
    entry_t *entry;   /* from 1 on, row by row */
    int32_t *next;    /* of each entry: the next one of its column, or 0; apart, since a chain is as slow as these */
    int32_t *head;    /* p: first entry of the column, or 0; zero between batches */
    uint64_t *marks; /* p x words: a bit for each row with an entry in the column; or NULL: */
    int64_t words;
    const uint64_t **bits; /* from these, of each row; or NULL: marks are zero between batches */
    const real **next_value; /* of each row */
} input_t;

/* Where x^ is read: the first layer from x itself or a private copy, with rows of W_0 that are `apart`; the rest from
 * `rest`, which starts at x's coordinate `offset`: x itself, or that copy, so that backward sees what forward saw. With
 * a `basis` U of the first layer, the batch's rows times U are wanted, `rank` for each; and U shift, where there is a
 * `shift`, belongs to that layer, too (deflate.h). */
typedef struct {
    const real *W, *bias, *rest;
    int64_t apart, offset;
    int64_t rank;
    const real *basis, *shift;
    int beside; /* whether rows of the basis stand behind those of W_0, within their last line */
} parameters_t;

ASV_INLINE parameters_t parameters_in(const asv_network *net, const real *x) {
    return (parameters_t){.W = x + net->weight[0], .bias = x + net->bias[0], .rest = x, .apart = net->width[1]};
}

ASV_INLINE const real *rest_of(const parameters_t *x, int64_t k) { return x->rest + (k - x->offset); }

/* Whether the first layer's products are formed on tiles. Skipping zeros, where that is possible, costs as much for a
 * sixth of the inputs as tiles do for all, apart from what these cost once a batch (bench/bench_kernels.py). */
ASV_INLINE int on_tiles(const asv_network *net, const asv_samples *data, int64_t rows) {
    if (!net->tiles || !data->rows) return 0;
    if (!data->values) return rows >= net->tiles;
    double density = (double)(data->start[data->n] - data->start[0]) / (double)(data->n * data->p);
    return (double)rows * (6 * density - 1) >= 2 * (double)net->tiles;
}

/* How gradients take the entries of rows that have few. */
typedef enum { ASV_EACH, ASV_IN_ORDER, ASV_CHAINED } order_t;

/* For `rows` rows, and with gradients of `more` terms besides (deflate.h). */
ASV_INLINE void carve_input(input_t *in, char *base, size_t *used, const asv_network *net, const asv_samples *data,
                            int64_t rows, int64_t more, int gather_dense, order_t order) {
    size_t count = (size_t)rows;
    if (data->rows) in->row_start = carve(base, used, (size_t)(rows + more) * sizeof(real *));
    in->end = data->p;
    in->bias = 1;
    if (on_tiles(net, data, rows)) {
        int64_t widest = net->width[1] > more ? net->width[1] : more;
        in->tiles = carve(base, used, asv_tiles_scratch(rows + more, widest));
        in->right_start = carve(base, used, (size_t)(rows + more) * sizeof(real *));
        return;
    }
    if (!data->values) {
        if (gather_dense) in->dense = carve(base, used, (size_t)(rows * data->p) * sizeof(real));
        return;
    }
    in->column = carve(base, used, count * sizeof(int32_t *));
    in->value = carve(base, used, count * sizeof(real *));
    in->count = carve(base, used, count * sizeof(int64_t));
    in->start = carve(base, used, (size_t)(net->unit[2] - net->unit[1]) * sizeof(real));
    if (order == ASV_IN_ORDER) {
        in->words = ASV_WORDS(rows);
        in->marks = carve(base, used, (size_t)(ASV_WORDS(data->p) * 64 * in->words) * sizeof(uint64_t));
        if (data->bits) in->bits = carve(base, used, count * sizeof(uint64_t *));
        in->next_value = carve(base, used, count * sizeof(real *));
    } else if (order == ASV_CHAINED) {
        in->entry = carve(base, used, (size_t)(rows * data->longest + 1) * sizeof(entry_t));
        in->next = carve(base, used, (size_t)(rows * data->longest + 1) * sizeof(int32_t));
        in->head = carve(base, used, (size_t)data->p * sizeof(int32_t));
    }
}

/* The right factor of the first layer's gradient on tiles: rows of D, and `more` further rows, to which those of
 * `turned` are left. */
ASV_INLINE void tile_right(input_t *in, const real *D, int64_t pitch, int64_t v, int64_t more, const real *turned,
                           int64_t p, const real *against) {
    for (int64_t r = 0; r < in->rows; r++) in->right_start[r] = D + r * pitch;
    for (int64_t k = 0; k < more; k++) {
        in->row_start[in->rows + k] = turned + k * p;
        in->right_start[in->rows + k] = against + k * pitch;
    }
    in->terms = in->rows + more;
    in->first = -1;
    asv_tiles_right((const float *const *)in->right_start, in->terms, v, in->tiles);
}

/* Where the entries of sample i in the input's columns begin in the data, and end. */
ASV_INLINE int64_t entries_from(const input_t *in, const asv_samples *data, int64_t i) {
    return data->start[i] + (in->low ? in->low[i] : 0);
}

ASV_INLINE int64_t entries_to(const input_t *in, const asv_samples *data, int64_t i) {
    return in->high ? data->start[i] + in->high[i] : data->start[i + 1];
}

/* Rows index[0..rows) of the data, or first, first + 1, ... where index is NULL. */
ASV_INLINE void take_rows(input_t *in, const asv_samples *data, const int64_t *index, int64_t first, int64_t rows) {
    in->rows = rows;
    for (int64_t r = 0; r < rows; r++) {
        int64_t i = index ? index[r] : first + r;
        if (data->rows) in->row_start[r] = (const real *)data->rows + i * data->p;
        if (data->values && !in->tiles) {
            int64_t from = entries_from(in, data, i);
            in->column[r] = data->columns + from;
            in->value[r] = (const real *)data->values + from;
            in->count[r] = entries_to(in, data, i) - from;
            if (in->bits) in->bits[r] = data->bits + i * ASV_WORDS(data->p);
        }
    }
    if (data->values || in->tiles) return;
    if (!index)
        in->dense = in->row_start[0];
    else
        for (int64_t r = 0, columns = in->end - in->begin; r < rows; r++)
            memcpy((real *)in->dense + r * columns, in->row_start[r] + in->begin, (size_t)columns * sizeof(real));
}

ASV_PART void chain_columns(input_t *in) {
    int32_t e = 0;
    for (int64_t r = 0; r < in->rows; r++)
        for (int64_t c = 0; c < in->count[r]; c++) {
            int32_t *head = in->head + in->column[r][c];
            in->entry[++e] = (entry_t){(int32_t)r, in->value[r][c]};
            in->next[e] = *head;
            *head = e;
        }
}

/* Makes all rows' next values those of columns from `column` on. */
ASV_INLINE void seek_column(input_t *in, int64_t column) {
    for (int64_t r = 0; r < in->rows; r++) {
        const int32_t *at = in->column[r];
        int64_t left = in->count[r];
        while (column && left) { /* no branch depends on what is found */
            int64_t half = (left + 1) / 2;
            at += at[half - 1] < column ? half : 0;
            left -= half;
        }
        in->next_value[r] = in->value[r] + (at - in->column[r]);
    }
}

/* Bit k of word j becomes bit j of word k, for 64 words (Warren, "Hacker's Delight", 2012, section 7-3). */
ASV_INLINE void turn_words(uint64_t *word) {
#define ASV_TURN(apart, mask) /* squares of so many bits, of which two change places */                                \
    for (int first = 0; first < 64; first += 2 * (apart))                                                              \
        for (int k = first; k < first + (apart); k++) {                                                                \
            uint64_t differ = (word[k] >> (apart) ^ word[k + (apart)]) & (mask);                                       \
            word[k] ^= differ << (apart);                                                                              \
            word[k + (apart)] ^= differ;                                                                               \
        }
    ASV_TURN(32, 0x00000000ffffffffULL)
    ASV_TURN(16, 0x0000ffff0000ffffULL)
    ASV_TURN(8, 0x00ff00ff00ff00ffULL)
    ASV_TURN(4, 0x0f0f0f0f0f0f0f0fULL)
    ASV_TURN(2, 0x3333333333333333ULL)
    ASV_TURN(1, 0x5555555555555555ULL)
#undef ASV_TURN
}

/* Marks of the rows that have a share, from their bits: 64 rows and 64 columns at a time. */
ASV_INLINE void turn_bits(input_t *in, const real *share) {
    for (int64_t w = 0; w < in->words; w++) {
        const int64_t first = w * 64, rows = in->rows - first < 64 ? in->rows - first : 64;
        uint64_t word[64], with = 0;
        for (int64_t k = 0; k < rows; k++) with |= (uint64_t)(!share || share[first + k] != 0) << k;
        for (int64_t j = in->begin / 64; j < ASV_WORDS(in->end); j++) {
            for (int64_t k = 0; k < 64; k++) word[k] = k < rows ? in->bits[first + k][j] : 0;
            turn_words(word);
            for (int64_t k = 0; k < 64; k++) in->marks[(j * 64 + k) * in->words + w] = word[k] & with;
        }
    }
}

/* The same from their entries. */
ASV_INLINE void mark_entries(input_t *in, const real *share) {
    for (int64_t r = 0; r < in->rows; r++) {
        if (share && share[r] == 0) continue;
        const int32_t *column = in->column[r];
        uint64_t *marks = in->marks + (r >> 6), bit = 1ULL << (r & 63);
        for (int64_t c = 0; c < in->count[r]; c++) marks[column[c] * in->words] |= bit;
    }
}

/* Makes the entries of all rows ready to be taken by column; or of those alone that have a share. */
ASV_PART void mark_columns(input_t *in, const real *share) {
    if (in->bits)
        turn_bits(in, share);
    else
        mark_entries(in, share);
    seek_column(in, 0);
}

ASV_INLINE void forget_columns(input_t *in) {
    if (in->marks && !in->bits)
        memset(in->marks + in->begin * in->words, 0, (size_t)((in->end - in->begin) * in->words) * sizeof(uint64_t));
    for (int64_t r = 0; in->head && r < in->rows; r++)
        for (int64_t c = 0; c < in->count[r]; c++) in->head[in->column[r][c]] = 0;
}

/* Reals from a row of layer l >= 1 to the next one: whole lines, so that vectors do not reach over two of them. */
ASV_INLINE int64_t pitch_of(const asv_network *net, int64_t l) { return net->unit[l + 1] - net->unit[l]; }

/* Matrix of layer l >= 1 in a buffer that holds `capacity` rows of every layer's units. */
ASV_INLINE real *units_of(const asv_network *net, real *buffer, int64_t capacity, int64_t l) {
    return buffer + capacity * net->unit[l];
}

ASV_INLINE void activate(int activation, real *a, int64_t count) {
    if (activation == ASV_RELU)
        for (int64_t i = 0; i < count; i++) a[i] = a[i] > 0 ? a[i] : 0;
    else if (activation == ASV_TANH)
        for (int64_t i = 0; i < count; i++) a[i] = ASV_TANH_FUNCTION(a[i]);
    else if (activation == ASV_LOGISTIC)
        for (int64_t i = 0; i < count; i++) a[i] = 1 / (1 + ASV_EXP(-a[i]));
}

/* D *= activation'(sum), written in terms of the activation a. */
ASV_INLINE void multiply_derivative(int activation, real *delta, const real *a, int64_t count) {
    if (activation == ASV_RELU)
        for (int64_t i = 0; i < count; i++) delta[i] = a[i] > 0 ? delta[i] : 0;
    else if (activation == ASV_TANH)
        for (int64_t i = 0; i < count; i++) delta[i] *= 1 - a[i] * a[i];
    else if (activation == ASV_LOGISTIC)
        for (int64_t i = 0; i < count; i++) delta[i] *= a[i] * (1 - a[i]);
}

/* A batch's rows of sums, `pitch` apart, begin as the bias; NULL: as zeros. */
ASV_INLINE void start_sums(const real *bias, int64_t rows, int64_t v, real *out, int64_t pitch) {
    for (int64_t r = 0; r < rows; r++)
        if (bias)
            memcpy(out + r * pitch, bias, (size_t)v * sizeof(real));
        else
            memset(out + r * pitch, 0, (size_t)v * sizeof(real));
}

enum { ASV_NEAR = 24 * 1024 }; /* bytes of W that the nearest cache holds beside other things */

/* out = bias + A_0 W from the entries of A_0; W has v columns, and rows that are `apart`. Rows have most of their
 * columns in common, so that what one has fetched of W the next one finds; therefore no more at a time than stays near.
 */
ASV_INLINE void entry_sums(const input_t *in, const real *bias, const real *W, int64_t apart, int64_t v, real *out,
                           int64_t pitch) {
    int64_t entries = 0;
    for (int64_t r = 0; r < in->rows; r++) entries += in->count[r];
    int64_t times = 1 + entries * v * (int64_t)sizeof(real) / (ASV_NEAR * in->rows);
    for (int64_t k = 0; k < times; k++)
        for (int64_t r = 0; r < in->rows; r++) {
            int64_t first = in->count[r] * k / times, last = in->count[r] * (k + 1) / times;
            row_sum(out + r * pitch, k ? out + r * pitch : bias, W, apart, in->column[r] + first, in->value[r] + first,
                    last - first, v);
        }
}

/* The same in the input's columns, however these are given. */
ASV_INLINE void input_sums(const asv_network *net, const input_t *in, const real *bias, const real *W, int64_t apart,
                           int64_t v, real *out, int64_t pitch) {
    int64_t rows = in->rows, terms = in->end - in->begin;
    if (!in->dense && !in->tiles) {
        entry_sums(in, bias, W, apart, v, out, pitch);
        return;
    }
    start_sums(bias, rows, v, out, pitch);
    if (in->tiles) /* no network of doubles has them */
        asv_tiles_forward((const float *const *)in->row_start, rows, in->begin, in->end, (const float *)W, apart, v,
                          NULL, 0, (float *)out, pitch, in->tiles);
    else if (terms)
        matmul(net, 0, 0, rows, v, terms, 1, in->dense, terms, W + in->begin * apart, apart, 1, out, pitch);
}

/* out = bias + A_l W, l >= 1. */
ASV_INLINE void upper_sums(const asv_network *net, int64_t l, int64_t rows, const real *below, const real *bias,
                           const real *W, int64_t v, real *out, int64_t pitch) {
    start_sums(bias, rows, v, out, pitch);
    matmul(net, 0, 0, rows, v, net->width[l], 1, below, pitch_of(net, l), W, v, 1, out, pitch);
}

/* The first layer's sums over the input's columns; and where there is a basis, the batch's rows along it. */
ASV_PART void first_layer(const asv_network *net, const parameters_t *x, const input_t *in, real *out, real *along,
                          int64_t along_pitch) {
    int64_t v = net->width[1], pitch = pitch_of(net, 1), rank = x->basis ? x->rank : 0;
    const real *bias = in->bias ? x->bias : NULL, *U_bias = in->bias ? x->basis : NULL;
    const real *U = rank ? x->basis + rank : NULL;
    if (!rank || !(in->tiles ? v + rank <= pitch : x->beside)) {
        input_sums(net, in, bias, x->W, x->apart, v, out, pitch);
        if (rank) input_sums(net, in, U_bias, U, rank, rank, along, along_pitch);
        return;
    }
    if (in->tiles) {
        start_sums(bias, in->rows, v, out, pitch);
        start_sums(U_bias, in->rows, rank, out + v, pitch);
        asv_tiles_forward((const float *const *)in->row_start, in->rows, in->begin, in->end, (const float *)x->W,
                          x->apart, v, (const float *)U, rank, (float *)out, pitch, in->tiles);
    } else {
        start_sums(bias, 1, v, in->start, pitch);
        start_sums(U_bias, 1, rank, in->start + v, pitch);
        entry_sums(in, in->start, x->W, x->apart, v + rank, out, pitch);
    }
    for (int64_t r = 0; r < in->rows; r++)
        memcpy(along + r * along_pitch, out + r * pitch + v, (size_t)rank * sizeof(real));
}

/* From the first layer's sums to A_1 .. A_{L-1} and the last layer's sums; rows row..row + rows of `capacity`. */
ASV_PART void upper_layers(const asv_network *net, const parameters_t *x, int64_t rows, real *acts, int64_t capacity,
                           int64_t row) {
    for (int64_t l = 0; l < net->layers; l++) {
        int64_t v = net->width[l + 1], pitch = pitch_of(net, l + 1);
        real *a = units_of(net, acts, capacity, l + 1) + row * pitch;
        if (l)
            upper_sums(net, l, rows, units_of(net, acts, capacity, l) + row * pitch_of(net, l),
                       rest_of(x, net->bias[l]), rest_of(x, net->weight[l]), v, a, pitch);
        if (l + 1 < net->layers) activate(net->activation, a, rows * pitch);
    }
}

/* D_{L-1} .. D_1 from D_L, rows row..row + rows. */
ASV_PART void backward(const asv_network *net, const parameters_t *x, int64_t rows, real *acts, real *deltas,
                       int64_t capacity, int64_t row) {
    for (int64_t l = net->layers - 1; l > 0; l--) {
        int64_t w = net->width[l], v = net->width[l + 1], pitch = pitch_of(net, l), above = pitch_of(net, l + 1);
        real *below = units_of(net, deltas, capacity, l) + row * pitch;
        matmul(net, 0, 1, rows, w, v, 1, units_of(net, deltas, capacity, l + 1) + row * above, above,
               rest_of(x, net->weight[l]), v, 0, below, pitch);
        multiply_derivative(net->activation, below, units_of(net, acts, capacity, l) + row * pitch, rows * pitch);
    }
}

/* A sample's line of the cache: its rows of A_1 .. A_{L-1}, then of D_1 .. D_L; from row r of `capacity`. */
ASV_INLINE void keep_row(const asv_network *net, real *acts, real *deltas, int64_t capacity, int64_t r, real *line) {
    for (int part = 0; part < 2; part++)
        for (int64_t l = 1; l < net->layers + part; l++) {
            size_t v = (size_t)net->width[l];
            memcpy(line, units_of(net, part ? deltas : acts, capacity, l) + r * pitch_of(net, l), v * sizeof(real));
            line += v;
        }
}

enum { BIAS = -1 }; /* in the place of a row of weights; a basis has its row in front of the others */

/* One layer's gradient: its two factors, sum over rows r of left[r][i] right[r, j]; or their product. */
typedef struct {
    int64_t rows, width_out, pitch;
    const real *product; /* W_l's, its rows from `first` on, `apart` from each other; or NULL */
    int64_t first, apart;
    const real *const *left; /* rows pointers; or NULL: the columns of `input` */
    const input_t *input;
    const real *right; /* rows x width_out, `pitch` apart */
    int64_t rank; /* further terms: sum over k < rank of basis[i][k] against[k, j] (deflate.h) */
    const real *basis, *against;
} factors_t;

/* The first of the panels that row i of the gradient is in. */
ASV_INLINE int64_t panels_of(const input_t *in, int64_t i) {
    return in->begin + (i - in->begin) / ASV_PANELS * ASV_PANELS;
}

/* On tiles: has row i of the first layer's gradient among those at f->product. */
ASV_INLINE void take_panels(input_t *in, factors_t *f, int64_t i) {
    int64_t first = panels_of(in, i), left = in->end - first;
    if (in->first != first)
        in->product = (const real *)asv_tiles_product((const float *const *)in->row_start, in->terms, first,
                                                      left < ASV_PANELS ? left : ASV_PANELS, f->width_out, in->tiles);
    in->first = f->first = first;
    f->product = in->product;
    f->apart = asv_tiles_pitch(f->width_out);
}

/* sum += row i of the layer's weight gradient from column j on; its bias's gradient for i = BIAS. `last`: these are
 * the last columns of the row. */
ASV_INLINE void add_terms(vec *sum, const factors_t *f, int64_t i, int64_t j, const int lines, int last) {
    const real *right = f->right + j;
    int64_t pitch = f->pitch;
    if (f->product && i != BIAS) {
        add_row(sum, 1, f->product + (i - f->first) * f->apart + j, lines);
        return;
    }
    if (i == BIAS) {
        for (int64_t r = 0; r < f->rows; r++) add_row(sum, 1, right + r * pitch, lines);
    } else if (f->left) {
        for (int64_t r = 0; r < f->rows; r++) add_row(sum, f->left[r][i], right + r * pitch, lines);
    } else if (f->input && f->input->marks) {
        int64_t words = f->input->words;
        for (int64_t w = 0; w < words; w++)
            for (uint64_t left = f->input->marks[i * words + w]; left; left &= left - 1) {
                int64_t r = w * 64 + __builtin_ctzll(left);
                const real **value = f->input->next_value + r;
                add_row(sum, **value, right + r * pitch, lines);
                *value += last;
            }
    } else if (f->input) {
        const entry_t *entry = f->input->entry;
        const int32_t *next = f->input->next;
        for (int32_t e = f->input->head[i]; e; e = next[e])
            add_row(sum, entry[e].value, right + entry[e].row * pitch, lines);
    }
    for (int64_t k = 0; k < f->rank; k++) add_row(sum, f->basis[i * f->rank + k], f->against + k * pitch + j, lines);
}

ASV_INLINE void add_terms_lines(real *row, const factors_t *f, int64_t i, int64_t j, const int lines, int64_t length) {
    vec sum[ASV_LINES];
    load_lines(sum, row, lines);
    add_terms(sum, f, i, j, lines, length <= lines * VEC);
    store_lines(row, sum, lines, length);
}

/* row += row i of the gradient. */
ASV_INLINE void add_terms_to(real *row, const factors_t *f, int64_t i) {
#define ASV_ADD(lines, length) add_terms_lines(row + at, f, i, at, lines, length)
    ASV_BY_LINES(f->width_out, ASV_ADD)
#undef ASV_ADD
}

#endif
