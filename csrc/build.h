/* What this build is and what it runs on. */
#ifndef ASYSVRG_BUILD_H
#define ASYSVRG_BUILD_H

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

#endif
