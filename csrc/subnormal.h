/* Subnormal numbers are those too close to 0 for full precision: below 1e-38 in float32. Many processors compute with
 * them some hundred times more slowly. A run that diverges can have so many of them that an epoch takes thirty times as
 * long. So the kernels treat them as 0. */
#ifndef ASYSVRG_SUBNORMAL_H
#define ASYSVRG_SUBNORMAL_H

#include <stdint.h>

/* From now on this thread treats subnormal numbers as 0. Returns the state before, for asv_keep_subnormals. */
static inline uint64_t asv_flush_subnormals(void) {
#if defined(__x86_64__)
    const unsigned before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(before | 0x8040); /* results (FTZ) and operands (DAZ) */
    return before;
#elif defined(__aarch64__)
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | (uint64_t)1 << 24)); /* FZ */
    return before;
#else
    return 0;
#endif
}

/* Returns this thread to the state before asv_flush_subnormals. */
static inline void asv_keep_subnormals(uint64_t before) {
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr((unsigned)before);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(before));
#else
    (void)before;
#endif
}

#endif
