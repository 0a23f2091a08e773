/* float32.c for x86-64-v3. */
#define ASV_KERNELS "float32.c"
#include "v3.inc"
