/* The SIMD levels of this build (simd.h), and how many of them this processor has. */
#ifndef ASYSVRG_LEVELS_H
#define ASYSVRG_LEVELS_H

#include "types.h"

typedef struct {
    const char *name, *has;
    const asv_kernels *f32, *f64;
} asv_level;

/* The lowest level first. */
extern const asv_level asv_levels[];

/* So many of them, from the first on, run here. */
int asv_levels_here(void);

#endif
