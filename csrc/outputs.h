/* From the last layer's sums to outputs, losses, errors and D_L. */
#ifndef ASYSVRG_OUTPUTS_H
#define ASYSVRG_OUTPUTS_H

#include "layers.h"

/* Softmax in place over rows of sums, VEC of them side by side. losses: - log of their labels' probabilities, out; or
 * NULL. */
ASV_PART void softmax(real *z, int64_t rows, int64_t pitch, int64_t classes, const int32_t *labels, double *losses) {
    for (int64_t first = 0; first < rows; first += VEC, z += VEC * pitch) {
        const int64_t some = rows - first < VEC ? rows - first : VEC;
        real *row[VEC];
        for (int k = 0; k < VEC; k++) row[k] = z + (k < some ? k : 0) * pitch; /* which is there, and changes nothing */
        vec top = {0}, sum = {0}, here;
        for (int64_t c = 0; c < classes; c++) {
            for (int k = 0; k < VEC; k++) here[k] = row[k][c];
            top = c ? chosen_by((bits_vec)(here > top), here, top) : here;
        }
        for (int k = 0; k < some && losses; k++) losses[first + k] = (double)top[k] - (double)row[k][labels[first + k]];
        for (int64_t c = 0; c < classes; c++) {
            for (int k = 0; k < VEC; k++) here[k] = row[k][c];
            here = exp_of(here - top);
            sum += here;
            for (int k = 0; k < some; k++) row[k][c] = here[k];
        }
        for (int k = 0; k < some; k++) {
            for (int64_t c = 0; c < classes; c++) row[k][c] /= sum[k];
            if (losses) losses[first + k] += log((double)sum[k]);
        }
    }
}

/* Logistic function in place over one row of sums. loss: that of targets y, out; or NULL. */
ASV_INLINE void sigmoids(real *z, int64_t outputs, const real *y, double *loss) {
    for (int64_t c = 0; c < outputs; c++) {
        double s = (double)z[c];
        if (loss) *loss += (s > 0 ? s : 0) + log1p(exp(s > 0 ? -s : s)) - (double)y[c] * s;
        z[c] = 1 / (1 + ASV_EXP(-z[c]));
    }
}

/* From rows of sums to outputs, in place. losses: those of samples first, first + 1, ..., without their weights; or
 * NULL. */
ASV_INLINE void take_outputs(const asv_network *net, const asv_samples *data, int64_t first, real *z, int64_t rows,
                             double *losses) {
    const int64_t outputs = net->width[net->layers], pitch = pitch_of(net, net->layers);
    if (net->loss == ASV_SOFTMAX) {
        softmax(z, rows, pitch, outputs, losses ? data->labels + first : NULL, losses);
        return;
    }
    for (int64_t r = 0; r < rows; r++, z += pitch) {
        const real *y = losses ? (const real *)data->targets + (first + r) * outputs : NULL;
        if (losses) losses[r] = 0;
        if (net->loss == ASV_BINARY) sigmoids(z, outputs, y, losses ? losses + r : NULL);
        for (int64_t c = 0; c < outputs && losses && net->loss == ASV_SQUARED; c++)
            losses[r] += ((double)z[c] - (double)y[c]) * ((double)z[c] - (double)y[c]) / 2;
    }
}

/* What sample i adds to the errors, from its outputs and its loss, without its weight. */
ASV_INLINE double error_of(const asv_network *net, const asv_samples *data, int64_t i, const real *z, double loss) {
    int64_t outputs = net->width[net->layers], best = 0;
    if (net->loss == ASV_SQUARED) return 2 * loss;
    if (net->loss == ASV_SOFTMAX) {
        for (int64_t c = 1; c < outputs; c++) best = z[c] > z[best] ? c : best;
        return best != data->labels[i];
    }
    const real *y = (const real *)data->targets + i * outputs;
    for (int64_t c = 0; c < outputs; c++)
        if ((z[c] > (real)0.5) != (y[c] > (real)0.5)) return 1;
    return 0;
}

ASV_INLINE real weight_of(const asv_samples *data, int64_t i) {
    return data->weight ? ((const real *)data->weight)[i] : 1;
}

/* D_L for sample i: scale * weight_i * d loss / d sums, which with each loss is the outputs z without their targets. */
ASV_INLINE void output_delta(const asv_network *net, const asv_samples *data, int64_t i, const real *z, real *delta,
                             real scale) {
    const int64_t outputs = net->width[net->layers];
    scale *= weight_of(data, i);
    if (net->loss == ASV_SOFTMAX) {
        for (int64_t c = 0; c < outputs; c++) delta[c] = scale * z[c];
        delta[data->labels[i]] = scale * (z[data->labels[i]] - 1);
        return;
    }
    const real *y = (const real *)data->targets + i * outputs;
    for (int64_t c = 0; c < outputs; c++) delta[c] = scale * (z[c] - y[c]);
}

#endif
