/* Half precision on the wire: a sign, 5 bits of exponent, 10 of fraction (IEEE 754 binary16). */
#ifndef ASYSVRG_HALF_H
#define ASYSVRG_HALF_H

#include "real.h"

ASV_INLINE uint32_t bits_of(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

ASV_INLINE float float_of(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* half <- scale u, rounded to nearest, ties to even (in double precision, by way of a float). Right for numbers below
 * 2^15; others, and NaN, become anything. Integers without a branch, hence vector code on every processor. */
ASV_CLONES void ASV_NAME(asv_to_half)(const void *u, int64_t n, double scale, uint16_t *half) {
    const real factor = (real)scale;
    for (int64_t i = 0; i < n; i++) {
        const uint32_t bits = bits_of((float)(((const real *)u)[i] * factor)), size = bits & 0x7fffffff;
        const uint32_t normal = (size - 0x38000000 + 0xfff + (size >> 13 & 1)) >> 13; /* another bias, fewer bits */
        const uint32_t small = bits_of(float_of(size) + 0.5f) - bits_of(0.5f); /* in units of 2^-24: below 2^-14 */
        half[i] = (uint16_t)((bits >> 16 & 0x8000) | (size < 0x38800000 ? small : normal));
    }
}

/* u <- scale half, exact but for what is too small or too large for a real. */
ASV_CLONES void ASV_NAME(asv_from_half)(const uint16_t *half, int64_t n, double scale, void *u) {
    const real factor = (real)scale;
    for (int64_t i = 0; i < n; i++) {
        const float size = float_of((uint32_t)(half[i] & 0x7fff) << 13) * 0x1p112f;
        const uint32_t sign = (uint32_t)(half[i] & 0x8000) << 16;
        ((real *)u)[i] = (real)float_of(bits_of(size) | sign) * factor;
    }
}

#endif
