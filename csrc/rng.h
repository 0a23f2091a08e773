/* Counter-based random draws. A draw is a function of (seed, epoch, iteration, stream, j) alone. Threads therefore
 * share no generator, and the draws of an iteration do not depend on the thread that carries it out. */
#ifndef ASYSVRG_RNG_H
#define ASYSVRG_RNG_H

#include <stdint.h>

#include "simd.h"

enum asv_stream { ASV_DRAW_BATCH, ASV_DRAW_COORDINATES, ASV_DRAW_STRIPE, ASV_DRAW_ORDER, ASV_DRAW_OFFSET };

#define ASV_GOLDEN 0x9e3779b97f4a7c15ULL

/* Finaliser of SplitMix64 (Steele, Lea & Flood 2014). */
static inline uint64_t asv_mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

static inline uint64_t asv_key(uint64_t seed, uint64_t epoch, uint64_t t, enum asv_stream stream) {
    uint64_t key = asv_mix(seed + ASV_GOLDEN);
    key = asv_mix(key + epoch + ASV_GOLDEN);
    key = asv_mix(key + t + ASV_GOLDEN);
    return asv_mix(key + (uint64_t)stream + ASV_GOLDEN);
}

static inline uint64_t asv_draw(uint64_t key, uint64_t j) { return asv_mix(key + (j + 1) * ASV_GOLDEN); }

/* Uniform in 0..bound-1; the bias is below bound / 2^64. */
static inline int64_t asv_draw_below(uint64_t key, uint64_t j, int64_t bound) {
    return (int64_t)(((unsigned __int128)asv_draw(key, j) * (uint64_t)bound) >> 64);
}

enum { ASV_ROUNDS = 8 }; /* with fewer, orders of a dozen samples are visibly uneven */

/* A Feistel cipher on numbers of so many bits (Luby & Rackoff 1988). */
ASV_INLINE uint64_t asv_enciphered(uint64_t key, uint64_t z, int bits) {
    int low = bits / 2;
    uint64_t low_mask = (1ULL << low) - 1, high_mask = (1ULL << (bits - low)) - 1, high = z >> low;
    z &= low_mask;
    for (uint64_t round = 0; round < ASV_ROUNDS; round += 2) {
        high ^= asv_draw(key, round << 32 | z) & high_mask;
        z ^= asv_draw(key, (round + 1) << 32 | high) & low_mask;
    }
    return z | high << low;
}

enum { ASV_AT_ONCE = 64 };

/* Numbers first..first + count of a random order of 0..n-1. Each is enciphered within the smallest power of two that
 * holds n, again and again until it is below n (Black & Rogaway 2002). A cipher is one long chain of operations, so
 * many numbers are enciphered side by side. */
ASV_PART void asv_shuffled(uint64_t key, int64_t first, int64_t count, int64_t n, int64_t *out) {
    int bits = n > 1 ? 64 - __builtin_clzll((uint64_t)n - 1) : 0;
    for (; count > 0; first += ASV_AT_ONCE, count -= ASV_AT_ONCE, out += ASV_AT_ONCE) {
        int64_t here = count < ASV_AT_ONCE ? count : ASV_AT_ONCE;
        uint64_t open = 0;
        for (int64_t r = 0; r < here; r++) out[r] = (int64_t)asv_enciphered(key, (uint64_t)(first + r), bits);
        for (int64_t r = 0; r < here; r++) open |= (uint64_t)(out[r] >= n) << r;
        while (open)
            for (uint64_t left = open; left; left &= left - 1) {
                int r = __builtin_ctzll(left);
                out[r] = (int64_t)asv_enciphered(key, (uint64_t)out[r], bits);
                open ^= (uint64_t)(out[r] < n) << r;
            }
    }
}

/* Uniform in [0, 1). */
static inline double asv_draw_unit(uint64_t key, uint64_t j) { return (double)(asv_draw(key, j) >> 11) * 0x1p-53; }

/* Samples first..last of I_t of Eq. (5), which has b. With replacement: they are independent (Assumption 1). Without:
 * successive iterations go through all samples in a random order, then in another one. */
static inline void asv_draw_batch(uint64_t seed, uint64_t epoch, uint64_t t, int64_t n, int64_t b, int64_t first,
                                  int64_t last, int replacement, int64_t *index) {
    if (replacement) {
        uint64_t key = asv_key(seed, epoch, t, ASV_DRAW_BATCH);
        for (int64_t r = first; r < last; r++) index[r] = asv_draw_below(key, (uint64_t)r, n);
        return;
    }
    uint64_t drawn = t * (uint64_t)b + (uint64_t)first, pass = drawn / (uint64_t)n;
    int64_t at = (int64_t)(drawn % (uint64_t)n);
    for (int64_t r = first, count; r < last; r += count, pass++, at = 0) {
        count = last - r < n - at ? last - r : n - at;
        asv_shuffled(asv_key(seed, epoch, pass, ASV_DRAW_ORDER), at, count, n, index + r);
    }
}

/* How many of the ceil(d / block) blocks an update takes at most, for B coordinates. */
static inline int64_t asv_most_blocks(int64_t d, int64_t subset, int64_t block) {
    int64_t blocks = (d + block - 1) / block, most = (subset * blocks + d - 1) / d;
    return most < blocks ? most : blocks;
}

/* k_t of Eq. (4): a uniform subset of the blocks of [0, d), distinct, by Floyd's method (Bentley & Floyd 1987).
 * Every coordinate is in it with probability B / d. Where B / d of the blocks is no whole number, it is rounded up or
 * down at random. chosen: asv_most_blocks(...) block numbers, out. marks: a bit for each block, zero before and after.
 * Returns the number of chosen blocks. */
static inline int64_t asv_draw_blocks(uint64_t seed, uint64_t epoch, uint64_t t, int64_t d, int64_t subset,
                                      int64_t block, int64_t *chosen, uint64_t *marks) {
    uint64_t key = asv_key(seed, epoch, t, ASV_DRAW_COORDINATES);
    int64_t blocks = (d + block - 1) / block;
    int64_t count = (subset * blocks) / d, rest = (subset * blocks) % d;
    if (asv_draw_below(key, 0, d) < rest) count++;
    if (count > blocks) count = blocks;
    for (int64_t c = 0; c < count; c++) {
        int64_t last = blocks - count + c;
        int64_t k = asv_draw_below(key, (uint64_t)c + 1, last + 1);
        if (marks[k >> 6] >> (k & 63) & 1) k = last;
        marks[k >> 6] |= 1ULL << (k & 63);
        chosen[c] = k;
    }
    for (int64_t c = 0; c < count; c++) marks[chosen[c] >> 6] = 0;
    return count;
}

#endif
