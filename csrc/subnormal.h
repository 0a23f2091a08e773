/* Subnormal numbers, below 1e-38 in float32, take many processors some hundred times as long as others. A run that
 * diverges can be full of them, and then an epoch takes thirty times as long. In the kernels they count as 0. */
#ifndef ASYSVRG_SUBNORMAL_H
#define ASYSVRG_SUBNORMAL_H

#include <stdint.h>

/* From here on they are 0, in this thread. Returns what asv_keep_subnormals needs. */
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

/* As before asv_flush_subnormals. */
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
