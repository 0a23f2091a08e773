/* What this x86-64 processor has and the system lets programs use. The compilers' __builtin_cpu_supports needs a
 * library that not all of them bring. */
#ifndef ASYSVRG_PROCESSOR_H
#define ASYSVRG_PROCESSOR_H

#if defined(__x86_64__) || defined(_M_X64)
#include <cpuid.h>
#include <stdint.h>

enum asv_register { ASV_EAX, ASV_EBX, ASV_ECX, ASV_EDX };

/* Whether cpuid's answer has all of these bits. */
static inline int asv_has_bits(unsigned leaf, enum asv_register which, uint32_t bits) {
    unsigned found[4];
    if (!__get_cpuid_count(leaf, 0, &found[ASV_EAX], &found[ASV_EBX], &found[ASV_ECX], &found[ASV_EDX])) return 0;
    return (found[which] & bits) == bits;
}

#define ASV_BIT(k) (1u << (k))

/* Whether the system keeps these registers when it changes threads. */
static inline int asv_keeps(uint32_t states) {
    uint32_t low, high;
    if (!asv_has_bits(1, ASV_ECX, ASV_BIT(27))) return 0; /* OSXSAVE */
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & states) == states;
}

/* AVX, AVX2, BMI1, BMI2, F16C, FMA, LZCNT, MOVBE. */
static inline int asv_has_v3(void) {
    return asv_has_bits(1, ASV_ECX, ASV_BIT(12) | ASV_BIT(22) | ASV_BIT(28) | ASV_BIT(29)) &&
           asv_has_bits(7, ASV_EBX, ASV_BIT(3) | ASV_BIT(5) | ASV_BIT(8)) &&
           asv_has_bits(0x80000001, ASV_ECX, ASV_BIT(5)) && asv_keeps(ASV_BIT(1) | ASV_BIT(2));
}

/* AVX-512 F, DQ, CD, BW, VL. */
static inline int asv_has_v4(void) {
    const uint32_t wanted = ASV_BIT(16) | ASV_BIT(17) | ASV_BIT(28) | ASV_BIT(30) | ASV_BIT(31);
#ifdef __APPLE__
    const uint32_t states = 0; /* it keeps them from their first use on, and says so only then */
#else
    const uint32_t states = ASV_BIT(5) | ASV_BIT(6) | ASV_BIT(7);
#endif
    return asv_has_v3() && asv_has_bits(7, ASV_EBX, wanted) && asv_keeps(states);
}
#endif

#endif
