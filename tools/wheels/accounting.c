/* The accounting of tests/sanitize/threads.c by the kernels of the highest SIMD level that runs here, for Windows. */
#include <malloc.h>
#include <stdlib.h>

#include "levels.h"

#define posix_memalign(start, line, bytes) ((*(start) = _aligned_malloc(bytes, line)) == NULL)
#define free _aligned_free
#define alarm(seconds) ((void)(seconds))
#define asv_kernels_f32 (*asv_levels[asv_levels_here() - 1].f32)
#define asv_kernels_f64 (*asv_levels[asv_levels_here() - 1].f64)
#include "threads.c"
