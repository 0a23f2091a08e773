/* float64.c for x86-64-v3. */
#define ASV_KERNELS "float64.c"
#include "v3.inc"
