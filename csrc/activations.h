/* The activations of hidden layers: the one table that C, Cython and Python take their names and formulas from.
 *
 * ACTIVATION(name, value, slope): `value` is the activation of the sum z; `slope` is `delta` times its derivative, in
 * terms of the activation a, or of z for ASV_NEEDS_SUMS. */
#ifndef ASYSVRG_ACTIVATIONS_H
#define ASYSVRG_ACTIVATIONS_H

#define ASV_ACTIVATIONS(ACTIVATION)                                                                                    \
    ACTIVATION(relu, z > 0 ? z : 0, a > 0 ? delta : 0)                                                                 \
    ACTIVATION(tanh, ASV_TANH(z), delta * (1 - a * a))                                                                 \
    ACTIVATION(logistic, 1 / (1 + ASV_EXP(-z)), delta * (a * (1 - a)))                                                 \
    ACTIVATION(identity, z, delta)                                                                                     \
    ACTIVATION(leaky_relu, z > 0 ? z : ASV_LEAK * z, a > 0 ? delta : ASV_LEAK * delta)                                 \
    ACTIVATION(gelu, z *ASV_NORMAL(z), delta *(ASV_NORMAL(z) + z * ASV_EXP(-z * z / 2) * (real)0.3989422804014327))

#define ASV_LEAK ((real)0.01)
/* Distribution function of the normal distribution. */
#define ASV_NORMAL(z) ((1 + ASV_ERF((z) * (real)0.7071067811865476)) / 2)

/* a = gelu(z) has two values z for some a. Such activations keep their sums for the way back. */
#define ASV_NEEDS_SUMS(activation) ((activation) == ASV_gelu)

#endif
