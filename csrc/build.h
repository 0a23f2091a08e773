/* What this build is and what it runs on. */
#ifndef ASYSVRG_BUILD_H
#define ASYSVRG_BUILD_H

#include "simd.h"

#ifdef _OPENMP
#include <omp.h>
#define ASV_OPENMP _OPENMP
static inline int asv_thread_number(void) { return omp_get_thread_num(); }
static inline int asv_team_size(void) { return omp_get_num_threads(); }
/* Sets whether the calling thread may get fewer threads than it asks for; returns what it was. */
static inline int asv_set_dynamic(int value) {
    int before = omp_get_dynamic();
    omp_set_dynamic(value);
    return before;
}
#else
#define ASV_OPENMP 0
static inline int asv_thread_number(void) { return 0; }
static inline int asv_team_size(void) { return 1; }
static inline int asv_set_dynamic(int value) { return value; }
#endif

/* yyyymm of the OpenMP standard, or 0 for a serial build. */
static inline int asv_openmp_version(void) { return ASV_OPENMP; }

/* The level that ASV_CLONES takes on this processor. */
static inline const char *asv_simd_level(void) {
#ifdef ASV_HAS_CLONES
    __builtin_cpu_init();
    if (__builtin_cpu_supports("x86-64-v4")) return "x86-64-v4 (AVX-512)";
    if (__builtin_cpu_supports("x86-64-v3")) return "x86-64-v3 (AVX2, FMA)";
    return "x86-64 (SSE2)";
#else
    return "compiler's default";
#endif
}

#endif
