/* The activations of hidden layers: the one table that C, Cython and Python take their names and formulas from.
 *
 * ACTIVATION(name, value, slope): `value` is the activation of the sum z; `slope` is `delta` times its derivative, in
 * terms of the activation a. */
#ifndef ASYSVRG_ACTIVATIONS_H
#define ASYSVRG_ACTIVATIONS_H

#define ASV_ACTIVATIONS(ACTIVATION)                                                                                    \
    ACTIVATION(relu, z > 0 ? z : 0, a > 0 ? delta : 0)                                                                 \
    ACTIVATION(tanh, ASV_TANH(z), delta * (1 - a * a))                                                                 \
    ACTIVATION(logistic, 1 / (1 + ASV_EXP(-z)), delta * (a * (1 - a)))                                                 \
    ACTIVATION(identity, z, delta)

#endif
