/* Subnormal numbers are those too close to 0 for full precision: below 1e-38 in float32. Many processors compute with
 * them some hundred times more slowly. A run that diverges can have so many of them that an epoch takes thirty times as
 * long. So the inner loops treat them as 0. */
#ifndef ASYSVRG_SUBNORMAL_H
#define ASYSVRG_SUBNORMAL_H

#include <stdint.h>

#if defined(__x86_64__)
#define ASV_FLUSH 0x8040 /* results (FTZ) and operands (DAZ) */
#else
#define ASV_FLUSH (1 << 24) /* FZ */
#endif

/* Gives this thread a state that asv_subnormals has returned. */
static inline void asv_restore_subnormals(uint64_t state) {
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr((unsigned)state);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(state));
#else
    (void)state;
#endif
}

/* From now on this thread treats subnormal numbers as 0, or not. Returns its state before. */
static inline uint64_t asv_subnormals(int flushed) {
    uint64_t before = 0;
#if defined(__x86_64__)
    before = __builtin_ia32_stmxcsr();
#elif defined(__aarch64__)
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
#endif
    asv_restore_subnormals(flushed ? before | ASV_FLUSH : before & ~(uint64_t)ASV_FLUSH);
    return before;
}

#endif
