/* float64.c for x86-64-v4. */
#define ASV_KERNELS "float64.c"
#include "v4.inc"
