/* The table of SIMD levels. */
#include "levels.h"

#include "processor.h"
#include "simd.h"

#ifdef ASV_HAS_LEVELS
extern const asv_kernels asv_kernels_f32_v3, asv_kernels_f64_v3, asv_kernels_f32_v4, asv_kernels_f64_v4;
#endif

#define ASV_ENTRY(suffix, name, has) {name, has, &asv_kernels_f32##suffix, &asv_kernels_f64##suffix},
const asv_level asv_levels[] = {ASV_LEVELS(ASV_ENTRY)};

int asv_levels_here(void) {
#ifdef ASV_HAS_LEVELS
    return asv_has_v4() ? 3 : asv_has_v3() ? 2 : 1;
#else
    return 1;
#endif
}
