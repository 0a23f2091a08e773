/* The losses: the one table that C, Cython and Python take their names and formulas from.
 *
 * LOSS(name, kind, degree, output, loss, delta). kind: LABELS (one class of several, int32 labels), INDICATORS (each
 * output is a label that is there or not) or REALS (targets to be fitted). degree: where outputs and targets are c times
 * as large, the loss is c^degree times as large; 0: no such rule. `output` is made of the last layer's sum z; `loss` is
 * in terms of z and the target y, in double precision; `delta`, its derivative by z, in terms of the output and y.
 * Losses of several outputs are summed. Softmax looks at all outputs at once and has functions of its own
 * (outputs.inc). */
#ifndef ASYSVRG_LOSSES_H
#define ASYSVRG_LOSSES_H

enum asv_loss_kind { ASV_LABELS, ASV_INDICATORS, ASV_REALS };

#define ASV_LOSSES(LOSS)                                                                                               \
    LOSS(softmax, LABELS, 0, z, z - y, output - y)                                                                     \
    LOSS(squared_error, REALS, 2, z, (z - y) * (z - y) / 2, output - y)                                                \
    LOSS(binary, INDICATORS, 0, 1 / (1 + ASV_EXP(-z)), (z > 0 ? z : 0) + log1p(exp(z > 0 ? -z : z)) - y * z,           \
         output - y)

#endif
