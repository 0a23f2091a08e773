/* Eq. (4): x_k <- x_k - eta v_k with v = g + decay x. Every memory mode subtracts this step, of single coordinates, of
 * words, and of vectors of them. */
#ifndef ASYSVRG_RULE_H
#define ASYSVRG_RULE_H

#define ASV_STEP(x, g, eta, decay) ((eta) * ((g) + (decay) * (x)))

#endif
